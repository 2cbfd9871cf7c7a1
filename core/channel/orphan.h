/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/orphan.h: child processes whose channel went away while they ran.
 *
 * Owns: the question whether one of them has ended, which costs a load while there is none.
 * Any thread, with no lock held.
 */
#ifndef QIO_ORPHAN_H
#define QIO_ORPHAN_H

#include <stdatomic.h>
#include "channel/child.h"

extern _Atomic int qio_orphans_fd_now;
extern _Atomic bool qio_orphans_exist;

/* Takes over a child that nobody else holds. */
void qio_orphans_adopt(QIOChild *child);
/* Waits for those that have ended. */
void qio_orphans_reap(void);

static inline void qio_orphans_look(void)
{
    if (__builtin_expect(atomic_load_explicit(&qio_orphans_exist, memory_order_relaxed), 0)) {
        qio_orphans_reap();
    }
}

/* Readable once one of them has ended, for who sleeps anyway; -1 = there is none.  Stays the
 * library's, which may close it at any time: a poll of it says no more than that a look is due. */
static inline int qio_orphans_fd(void)
{
    return atomic_load_explicit(&qio_orphans_fd_now, memory_order_relaxed);
}

#endif
