/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stuck.h: where a process stands that does not end.
 *
 * Owns: the picture of a test that ran out of time, made before it is killed.  Rule: it takes
 * bounded time itself, and needs nothing that has to be installed: without gdb it says less.
 */
#ifndef TESTS_STUCK_H
#define TESTS_STUCK_H

#include <sys/types.h>

/* Prints the stack of every thread to standard error, or where in the kernel each one waits. */
void stuck_print(pid_t pid);

#endif
