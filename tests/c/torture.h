/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture.h: every system call of a scenario fails in turn.
 *
 * Owns: the list of what each call may fail with, and the runs.
 * A scenario is a function that does one thing from nothing to nothing (open, transfer,
 * close) and judges the outcome itself: what it asked for is complete and right, or an
 * error was reported and torture_may_fail() is true.  torture() counts its calls in a clean
 * run; then, for each hit of each call and each way it can fail, it runs the scenario once
 * in a process of its own, under the gates of runner.h: no crash, no hang, no descriptor or
 * byte left, no child left.  Hard errors strike once, and from then on (clean-up code must
 * work, too, when it fails); what is to be tried again (EINTR, EAGAIN, short transfers)
 * strikes a few times, then the call is fine.  Calls that a process makes only the first time
 * (a descriptor it keeps, say) fail in processes of their own that have not run before.
 * Rule: the scenario starts its threads itself and does not touch the seam.
 */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include <stdbool.h>

/*
 * torture: runs a scenario through all its fault points
 * @scenario: as above
 * @at_least: the number of runs there have to be: fewer mean that calls bypass the seam
 *
 * Fails the test when a point went wrong.  Each that did is printed as
 * CALL:HIT:FAULT:TIMES, and TORTURE_POINT set to one in the environment runs that alone.
 */
void torture(void (*scenario)(void), int at_least);

/* A hard error struck in this run, so an error is in order. */
bool torture_may_fail(void);

/* Anything struck, also what is to be tried again. */
bool torture_struck(void);

/* The call (a SeamCall) that was chosen for this run, -1 in a clean run. */
int torture_call(void);

/* The table says how this call (a SeamCall) can fail. */
bool torture_knows(int call);

#endif
