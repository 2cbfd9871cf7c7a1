/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * leftover.h: what a run of a test left behind.
 *
 * Owns: a picture of the process (descriptors and what they are, heap, signal mask) and
 * the comparison of two.
 * Rule: taking and comparing allocate nothing that stays.  Pictures are large: keep them
 * static or in a mapping, not on the stack.
 */
#ifndef TESTS_LEFTOVER_H
#define TESTS_LEFTOVER_H

#include "alloc.h"
#include "runner.h"

#include <signal.h>

#define LEFTOVER_FDS 1024
#define LEFTOVER_LINK 128

typedef struct LeftoverFd {
    int fd;
    char link[LEFTOVER_LINK];   /* of /proc/self/fd, such as "socket:[1234]" */
} LeftoverFd;

typedef struct Leftover {
    int nfds;
    LeftoverFd fds[LEFTOVER_FDS];
    AllocCount heap;
    sigset_t mask;
} Leftover;

void leftover_take(Leftover *now);

/* What is there that was not before: TEST_PASSED when nothing, else the reason in
 * message. */
TestVerdict leftover_compare(const Leftover *before, const Leftover *now, char *message,
                             size_t cap);

/* A child of this process, running or not yet waited for; 0 when there is none. */
int leftover_child(void);

#endif
