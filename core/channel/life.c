/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/life.c: who is inside a channel, and how it ends.
 *
 * Owns: the `use` word and the close protocol: mark closing; wake sleepers; give each watch and
 * coroutine its last call; the last one out releases the transport.
 * Rule: close never waits for anybody, and io_close runs exactly once, with nobody inside.
 * Plain C transfers do not enter (it would cost them two locked operations), so a C program
 * gets close against wait, not close against read; the flat ABI enters for both.
 */
#include "channel/channel-priv.h"
#include "channel/layer.h"
#include "channel/orphan.h"

void qio_channel_set_closed_error(QIOChannel *ioc, Error **errp)
{
    qio_error_set(errp, QIO_ERROR_CLOSED, "the channel is closed");
}

int qio_channel_enter_slow(QIOChannel *ioc, uint32_t use, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    uint32_t now = atomic_load_explicit(&priv->use, memory_order_relaxed);
    uint32_t next;

    do {
        if (now & QIO_USE_CLOSING) {
            qio_channel_set_closed_error(ioc, errp);
            return -1;
        }
        if (use != QIO_USE_ONE && (now & use)) {
            if (!qio_channel_check_free(ioc, errp)) {
                return -1;
            }
            qio_error_set(errp, QIO_ERROR_BUSY, "another call is %s the channel",
                          now & use & QIO_USE_READ ? "reading from" : "writing to");
            return -1;
        }
        next = now + use;
    } while (!atomic_compare_exchange_weak_explicit(&priv->use, &now, next, memory_order_acquire,
                                                    memory_order_relaxed));
    return 0;
}

/* A socket channel may be used again after close and must not inherit these. */
static void clear_features(QIOChannel *ioc)
{
    unsigned gone = (1u << QIO_CHANNEL_FEATURE_FD_PASS) | (1u << QIO_CHANNEL_FEATURE_LISTEN);

    __atomic_fetch_and(&ioc->features, ~gone, __ATOMIC_RELAXED);
}

int qio_channel_finish_if_last(QIOChannel *ioc, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelClass *klass = qio_channel_class(ioc);
    uint32_t closing = QIO_USE_CLOSING;
    int ret;

    if (!atomic_compare_exchange_strong(&priv->use, &closing,
                                        QIO_USE_CLOSING | QIO_USE_FINISHED)) {
        return 0;
    }
    qio_readahead_reset(ioc);
    ret = klass->io_close ? klass->io_close(ioc, errp) : 0;
    clear_features(ioc);
    return ret;
}

/* Marks the channel closing and stays inside, so that the transport outlives the marking of
 * everybody who waits.  Returns false when it was closing already. */
static bool begin_close(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    uint32_t now = atomic_load(&priv->use);

    do {
        if (now & QIO_USE_CLOSING) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&priv->use, &now,
                                           (now | QIO_USE_CLOSING) + QIO_USE_ONE));
    return true;
}

/* The layer on top goes with the channel below; it is what still holds the transport. */
static void close_above(QIOChannel *ioc)
{
    QIOChannel *layer = qio_layer_above(ioc);

    if (layer) {
        qio_channel_close_now(layer, NULL);
        g_object_unref(layer);
    }
}

int qio_channel_close_now(QIOChannel *ioc, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    if (!begin_close(ioc)) {
        return 0;
    }
    qio_orphans_look();
    pthread_mutex_lock(&priv->lock);
    qio_channel_wake_waiters(ioc, G_IO_IN | G_IO_OUT, QIO_ERROR_CANCELLED);
    pthread_mutex_unlock(&priv->lock);
    qio_channel_end_sources(ioc);
    qio_channel_end_aio_watches(ioc);
    close_above(ioc);
    return qio_channel_leave(ioc, QIO_USE_ONE, errp);
}

/* Waits for who is to be waited for, of a layer without a wait of its own that of what it lies on.
 * That is not closed here: who is inside the layer has its last words to send yet, and then closes
 * both. */
static int close_wait(QIOChannel *ioc, bool interruptible, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelClass *klass = qio_channel_class(ioc);
    QIOChannel *below;
    Error *err = NULL;
    int ret = 0;

    if (!klass->io_close_wait && (below = qio_layer_ref_below(ioc))) {
        ret = close_wait(below, interruptible, errp);
        g_object_unref(below);
        return ret;
    }
    /* Who comes second may return before the first has waited: the channel is closed for both. */
    if (!klass->io_close_wait || atomic_exchange(&priv->close_waited, true)) {
        return 0;
    }
    if (klass->io_close_wait(ioc, interruptible, &err) < 0) {
        if (qio_error_get_code(err) == QIO_ERROR_INTR) {
            atomic_store(&priv->close_waited, false);
        }
        qio_error_propagate(errp, err);
        ret = -1;
    }
    return ret;
}

int qio_channel_close_full(QIOChannel *ioc, bool interruptible, Error **errp)
{
    int ret = qio_channel_close_now(ioc, errp);

    return close_wait(ioc, interruptible, ret < 0 ? NULL : errp) < 0 ? -1 : ret;
}

int qio_channel_close(QIOChannel *ioc, Error **errp)
{
    return qio_channel_close_full(ioc, false, errp);
}

bool qio_channel_is_closed(QIOChannel *ioc)
{
    return qio_channel_closing(ioc);
}

void qio_channel_cancel(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    pthread_mutex_lock(&priv->lock);
    qio_channel_wake_waiters(ioc, condition, QIO_ERROR_CANCELLED);
    pthread_mutex_unlock(&priv->lock);
    qio_channel_cancel_yields(ioc, condition);
    qio_channel_cancel_sleepers(ioc);
}

int qio_channel_take_fd(QIOChannel *ioc, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelClass *klass = qio_channel_class(ioc);
    uint32_t idle = 0;
    int fd;

    if (!klass->io_take_fd) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "a channel of type '%s' has no single descriptor to give away",
                      G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    if (qio_readahead_ready(ioc)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "%zu bytes are read ahead and would be lost: read them first",
                      qio_readahead_pending(ioc));
        return -1;
    }
    /* Exclusive for the moment of the handing over: nobody inside, nobody gets in. */
    if (!atomic_compare_exchange_strong(&priv->use, &idle, QIO_USE_CLOSING | QIO_USE_ONE)) {
        if (idle & QIO_USE_CLOSING) {
            qio_channel_set_closed_error(ioc, errp);
        } else {
            qio_error_set(errp, QIO_ERROR_BUSY, "another call uses the channel");
        }
        return -1;
    }
    qio_channel_end_sources(ioc);
    qio_channel_end_aio_watches(ioc);
    fd = klass->io_take_fd(ioc, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return fd;
}
