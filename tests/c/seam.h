/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seam.h: faults in the system calls of the core.
 *
 * Owns: a table for qio_sys (core/base/sys.h) that counts each call and makes chosen hits
 * of it fail, or move fewer bytes than asked.  Only calls of the core go through it: the
 * test's own and GLib's do not, so they neither fail nor count.
 * Rule: seam_install() and the seam_fail family before threads start; counting is atomic.
 * A body may run again, so it starts with seam_install(), which forgets everything.
 *
 *     seam_install();
 *     seam_fail(SEAM_recv, 2, SEAM_ALWAYS, ECONNRESET);    from the second recv on
 *     seam_fail(SEAM_poll, 1, 3, EINTR);                   three times, then fine
 *     seam_shorten(SEAM_send, 1, SEAM_ALWAYS, SEAM_ONE_BYTE);
 */
#ifndef TESTS_SEAM_H
#define TESTS_SEAM_H

#include "base/sys.h"

typedef enum SeamCall {
#define SEAM_NAME(ret, name, params, args) SEAM_##name,
    QIO_SYS_CALLS(SEAM_NAME)
#undef SEAM_NAME
    SEAM_NCALLS
} SeamCall;

#define SEAM_ALWAYS 0       /* as times: from then on */

typedef enum SeamShort {
    SEAM_SHORT_BY_1 = 1,    /* one byte less than asked, when more than one was */
    SEAM_ONE_BYTE,
} SeamShort;

/* Puts the table in force: no faults, counters at 0, the clock as it is. */
void seam_install(void);
/* Back to the direct calls. */
void seam_remove(void);

/*
 * Hits `hit`, `hit`+1, ... of the call (the first is 1) fail with an errno (getaddrinfo with an
 * EAI code), `times` of them.
 * The call is not made, with two exceptions: close() is, since Linux has closed the
 * descriptor whatever it says; connect() with EINTR or EINPROGRESS is, since the kernel
 * goes on connecting then.
 */
void seam_fail(SeamCall call, int hit, int times, int number);
/* Each k-th hit. */
void seam_fail_every(SeamCall call, int k, int number);
/* The read, write, recv and send families only. */
void seam_shorten(SeamCall call, int hit, int times, SeamShort how);

long seam_hits(SeamCall call);
long seam_hits_of_all(void);
/* How many calls were made to fail or shortened so far. */
long seam_struck(void);

const char *seam_name(SeamCall call);
/* Moves bytes, so that seam_shorten() means something. */
bool seam_is_transfer(SeamCall call);

/* For the test clock and names: what the seam calls when nothing is to go wrong. */
void seam_set_below(const QIOSysTable *table);
const QIOSysTable *seam_get_below(void);

#endif
