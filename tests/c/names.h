/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * names.h: what the names of a test stand for.
 *
 * Owns: getaddrinfo as the core sees it through the sys seam: answers by host, which may be held
 * back until they are let go.
 * Rule: names_install() first, after testclock_install() if there is one; both put the seam in
 * force.  A host that has no answer is EAI_NONAME.
 *
 *     names_install();
 *     names_answer("two", 0, "::1 127.0.0.1");
 *     names_answer("none", EAI_AGAIN, NULL);
 *     names_hold("slow");            its look-ups wait in their threads
 *     names_wait_held(1);            until one does
 *     names_release();
 */
#ifndef TESTS_NAMES_H
#define TESTS_NAMES_H

#include <netdb.h>

void names_install(void);
/* Look-ups are answered while they are started, in the same thread: for the test clock, whose one
 * waiting thread has to make everything ready itself. */
void names_at_once(void);
/* addresses: numeric, with spaces between. */
void names_answer(const char *host, int eai, const char *addresses);
void names_hold(const char *host);
/* Until so many look-ups are held back at once. */
void names_wait_held(int count);
/* Lets those that are held back go, and holds none from then on. */
void names_release(void);
/* The look-ups so far, those that were held back among them. */
int names_asked(void);
/* Until every look-up that began has an answer. */
void names_settle(void);

#endif
