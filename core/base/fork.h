/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/fork.h: noticing that this process is a forked child.
 *
 * Owns: the fork epoch, a number that differs between a process and its forked children.
 * What must not be done twice for one thing (signals to a child, unlinking a socket, epoll_ctl on
 * an epoll descriptor that parent and child share) is done only where the epoch is the one in
 * which the thing was made.
 * Rule: any thread, no lock; a look costs one load.  The kernel wipes the word's page in a
 * child, so raw clone() is noticed too, which a pthread_atfork() handler would not be told of.
 */
#ifndef QIO_BASE_FORK_H
#define QIO_BASE_FORK_H

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic(uint32_t) *qio_fork_word;    /* set when the library is loaded */

uint32_t qio_fork_renew(void);

/* The epoch of this process: never 0; larger in a child than in its parent. */
static inline uint32_t qio_fork_epoch(void)
{
    uint32_t epoch = atomic_load_explicit(qio_fork_word, memory_order_relaxed);

    return __builtin_expect(epoch != 0, 1) ? epoch : qio_fork_renew();
}

#endif
