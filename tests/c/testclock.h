/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * testclock.h: time that moves when it is told to.
 *
 * Owns: CLOCK_MONOTONIC, timerfds and waiting, as the core sees them through the sys seam.
 * The clock stands still; poll() or epoll_wait() with nothing ready moves it to the first
 * deadline there is (its own time-out, or a timerfd in its set) and does not sleep.  So a
 * test of a 30 s deadline takes no time and cannot be late.
 * Rule: one thread waits, and it alone makes things ready: another thread or process that
 * is about to would find the deadline passed.  A wait without any deadline is a real one.
 */
#ifndef TESTS_TESTCLOCK_H
#define TESTS_TESTCLOCK_H

#include <stdint.h>

#define TESTCLOCK_START_NS 1000000000000

/* Starts at TESTCLOCK_START_NS with no timers, and installs the seam. */
void testclock_install(void);
void testclock_remove(void);

int64_t testclock_now_ns(void);
/* Milliseconds since the start. */
int64_t testclock_elapsed_ms(void);
void testclock_advance_ms(int64_t ms);

#endif
