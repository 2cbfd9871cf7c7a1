/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/lock.c: one at a time inside a TLS channel.
 *
 * Owns: taking and leaving the lock.  Rules: nobody waits for anything but the lock while holding
 * it; a function that is called from inside and comes back to the same channel gets BUSY; in a
 * forked child nobody gets in, since two processes that send under one key break it, and since the
 * lock may have been held when the child was made.
 */
#include "tls/tls-priv.h"
#include "base/fork.h"

int qio_tls_enter(QIOChannelTls *tls, Error **errp)
{
    if (G_UNLIKELY(tls->epoch != qio_fork_epoch())) {
        qio_error_set(errp, QIO_ERROR_FORKED,
                      "the TLS session belongs to the process that this one was forked from");
        return -1;
    }
    if (G_UNLIKELY(pthread_mutex_lock(&tls->lock) != 0)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "a function called from inside the TLS channel cannot use it");
        return -1;
    }
    return 0;
}

void qio_tls_leave(QIOChannelTls *tls)
{
    bool kick = tls->kick;

    tls->kick = false;
    pthread_mutex_unlock(&tls->lock);
    if (G_UNLIKELY(kick)) {
        qio_channel_kick(&tls->parent);
    }
}
