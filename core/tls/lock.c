/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/lock.c: getting into a TLS channel and out.
 *
 * Owns: what comes with the lock of the layer (channel/layer-lock.h).  Rules: whoever was told
 * "would block", since the holder called a function of the program, is woken when the holder
 * leaves, and so is who waits for what the holder has decrypted and not taken: the descriptor has
 * nothing more to say of it.  In a forked child nobody gets in, since two processes that send under
 * one key break it, and since the lock may have been held when the child was made.
 */
#include "tls/tls-priv.h"
#include "base/fork.h"

static int enter(QIOChannelTls *tls, bool patient, Error **errp)
{
    int ret;

    if (G_UNLIKELY(tls->epoch != qio_fork_epoch())) {
        qio_error_set(errp, QIO_ERROR_FORKED,
                      "the TLS session belongs to the process that this one was forked from");
        return -1;
    }
    ret = qio_layer_lock_enter(&tls->lock, patient);
    if (G_UNLIKELY(ret == -1)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "a function called from inside the TLS channel cannot use it");
    }
    return ret;
}

int qio_tls_enter(QIOChannelTls *tls, Error **errp)
{
    return enter(tls, false, errp);
}

int qio_tls_enter_open(QIOChannelTls *tls, Error **errp)
{
    bool open = tls->state == QIO_TLS_OPEN;
    int ret = enter(tls, open, errp);

    if (ret == 0 && tls->state == QIO_TLS_OPEN) {
        return 0;
    }
    if (ret == 0 && tls->failure) {
        qio_error_propagate(errp, qio_error_copy(tls->failure));
    } else if (ret != -1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the TLS handshake has not been done yet");
    }
    if (ret == 0) {
        qio_tls_leave(tls);
    }
    return -1;
}

/* Whether there is something else to wait for than when the lock was let go before: who waits to
 * write has to look, and who waits to read has to see off what is held. */
static bool out_changed(QIOChannelTls *tls)
{
    enum { OUT_FREE, OUT_HELD, OUT_FAILED };
    int was = tls->out_was;

    tls->out_was = tls->write_error ? OUT_FAILED
                 : tls->out_start < tls->out_end ? OUT_HELD : OUT_FREE;
    return tls->out_was != was;
}

void qio_tls_leave(QIOChannelTls *tls)
{
    bool kick = tls->kick;
    bool left = tls->packet || tls->read_end || tls->read_error;
    bool tell = left && !tls->told;

    tell |= out_changed(tls);
    tls->kick = false;
    tls->told = left;
    kick |= qio_layer_lock_leave(&tls->lock);
    if (G_UNLIKELY(kick)) {
        qio_channel_notify(&tls->parent, G_IO_IN | G_IO_OUT);
    } else if (G_UNLIKELY(tell)) {
        qio_channel_kick_others(&tls->parent);
    }
}
