/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/wait-seed.h: what wait.c and wait-seed.c share.
 *
 * Owns: QIOWaiter, a sleeping thread, on that thread's stack; the channel's lock guards the
 * list it is in.
 */
#ifndef QIO_CHANNEL_WAIT_SEED_H
#define QIO_CHANNEL_WAIT_SEED_H

#include "channel/channel-priv.h"

struct QIOWaiter {
    QIOWaiter *next;
    GIOCondition condition;
    int wake_fd;                /* -1: none could be had */
    GMainContext *context;      /* wait-seed.c: what to wake instead */
    pthread_t thread;
    _Atomic int reason;         /* a QIOErrorCode that ends the wait, or 0 */
    bool woken;                 /* ever; lock held */
    _Atomic bool due;           /* woken since the last sleep */
};

void qio_channel_waiter_add(QIOChannel *ioc, QIOWaiter *waiter);
void qio_channel_waiter_remove(QIOChannel *ioc, QIOWaiter *waiter);
void qio_channel_set_waiter_error(QIOWaiter *waiter, Error **errp);

/*
 * Waiting for a class that has only the seed's io_create_watch, in a GMainContext that is
 * private to the thread.  deadline_ns 0 = one look.
 */
int qio_channel_wait_seed(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                          Error **errp);

#endif
