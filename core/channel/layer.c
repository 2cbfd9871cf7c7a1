/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/layer.c: one channel on top of another.
 *
 * Owns: the pair of links: the layer's reference on the channel below (`below`), and the weak one
 * back (`above`), by which close and notify reach the layer.
 * Rules: while it lies under a layer a channel is held in both directions (QIO_USE_READ and
 * QIO_USE_WRITE), which is what answers BUSY to the flat ABI and what keeps its transport until
 * the layer has let go; plain C transfers, which do not enter, are turned away in their slow path,
 * into which the read-ahead that is made here sends them.  So no transfer pays for the question.
 */
#include "channel/channel-buffer.h"
#include "channel/channel-command.h"
#include "channel/channel-file.h"
#include "channel/channel-null.h"
#include "channel/channel-socket.h"
#include "channel/layer.h"
#include "channel/readahead.h"

enum { BOTH_WAYS = QIO_USE_READ | QIO_USE_WRITE };

/* ---- the links ---- */

/* Whether transfers may call functions of a program: those of a lowest channel that is not the
 * library's own, or what a layer between asks when hands are shaken. */
static bool may_call_program(QIOChannel *ioc)
{
    static const char *const own[] = {
        TYPE_QIO_CHANNEL_SOCKET, TYPE_QIO_CHANNEL_FILE, TYPE_QIO_CHANNEL_COMMAND,
        TYPE_QIO_CHANNEL_BUFFER, TYPE_QIO_CHANNEL_NULL, NULL
    };
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    if (priv->below) {
        return priv->asks_program || priv->layer_lock;
    }
    return !g_strv_contains(own, G_OBJECT_TYPE_NAME(ioc));
}

void qio_layer_asks_program(QIOChannel *layer)
{
    qio_channel_priv(layer)->asks_program = true;
}

int qio_layer_attach(QIOChannel *layer, QIOLayerLock *lock, QIOChannel *below, Error **errp)
{
    QIOChannelPrivate *under = qio_channel_priv(below);

    if (!qio_channel_class(below)->io_poll) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' has no io_poll: no layer can "
                      "wait for it", G_OBJECT_TYPE_NAME(below));
        return -1;
    }
    if (qio_channel_enter(below, BOTH_WAYS, errp) < 0) {
        return -1;
    }
    /* Made before the mark is set: who finds no read-ahead does not look at the mark. */
    qio_readahead_get(below);
    g_weak_ref_set(&under->above, layer);
    qio_channel_priv(layer)->below = g_object_ref(below);
    qio_channel_priv(layer)->layer_lock = may_call_program(below) ? lock : NULL;
    atomic_store(&under->layered, true);
    /* A close that came meanwhile did not see the layer. */
    if (qio_channel_closing(below)) {
        qio_channel_close_now(layer, NULL);
    }
    return 0;
}

static QIOChannel *unlink_below(QIOChannel *layer)
{
    QIOChannelPrivate *priv = qio_channel_priv(layer);
    QIOChannel *below;

    pthread_mutex_lock(&priv->lock);
    below = priv->below;
    priv->below = NULL;
    pthread_mutex_unlock(&priv->lock);
    return below;
}

/* Lets go of the channel below.  Returns false when that was done before. */
static bool let_go(QIOChannel *below, Error **errp, int *ret)
{
    if (!atomic_exchange(&qio_channel_priv(below)->layered, false)) {
        return false;
    }
    g_weak_ref_set(&qio_channel_priv(below)->above, NULL);
    *ret = qio_channel_leave(below, BOTH_WAYS, errp);
    return true;
}

QIOChannel *qio_layer_detach(QIOChannel *layer)
{
    QIOChannel *below = unlink_below(layer);
    int ret;

    if (below) {
        let_go(below, NULL, &ret);
    }
    return below;
}

QIOChannel *qio_layer_below(QIOChannel *layer)
{
    return qio_channel_priv(layer)->below;
}

QIOChannel *qio_layer_ref_below(QIOChannel *layer)
{
    QIOChannelPrivate *priv = qio_channel_priv(layer);
    QIOChannel *below;

    pthread_mutex_lock(&priv->lock);
    below = priv->below ? g_object_ref(priv->below) : NULL;
    pthread_mutex_unlock(&priv->lock);
    return below;
}

QIOChannel *qio_layer_above(QIOChannel *below)
{
    QIOChannelPrivate *priv = qio_channel_priv(below);

    return atomic_load_explicit(&priv->layered, memory_order_acquire)
        ? g_weak_ref_get(&priv->above) : NULL;
}

void qio_layer_free(QIOChannel *ioc)
{
    QIOChannel *below = qio_layer_detach(ioc);

    if (below) {
        g_object_unref(below);
    }
}

int qio_layer_close_below(QIOChannel *layer, Error **errp)
{
    QIOChannel *below = qio_layer_below(layer);
    int ret = 0;

    if (!below) {
        return 0;
    }
    /* First marked closed, then let go: nobody gets in between. */
    qio_channel_close_now(below, NULL);
    let_go(below, errp, &ret);
    return ret;
}

bool qio_channel_ends(QIOChannel *ioc)
{
    QIOChannel *below;
    bool ends;

    if (qio_channel_closing(ioc)) {
        return true;
    }
    below = qio_layer_ref_below(ioc);
    ends = below && qio_channel_ends(below);
    if (below) {
        g_object_unref(below);
    }
    return ends;
}

bool qio_channel_check_free(QIOChannel *ioc, Error **errp)
{
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return false;
    }
    if (atomic_load_explicit(&qio_channel_priv(ioc)->layered, memory_order_relaxed)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "the channel lies under another one: transfer through that");
        return false;
    }
    return true;
}

/* ---- transfers ---- */

static void call_out(QIOChannel *layer, bool begin)
{
    QIOLayerLock *lock = qio_channel_priv(layer)->layer_lock;

    if (G_UNLIKELY(lock)) {
        qio_layer_lock_call_out(lock, begin);
    }
}

static QIOChannel *open_below(QIOChannel *layer, Error **errp)
{
    QIOChannel *below = qio_layer_below(layer);

    if (!below || qio_channel_closing(below)) {
        qio_channel_set_closed_error(layer, errp);
        return NULL;
    }
    return below;
}

ssize_t qio_layer_readv(QIOChannel *layer, const struct iovec *iov, size_t niov, Error **errp)
{
    QIOChannel *below = open_below(layer, errp);
    ssize_t n;

    if (!below) {
        return -1;
    }
    call_out(layer, true);
    /* Who reads waits for an answer: the question has to get out of the layers below, too. */
    if (qio_layer_below(below) && qio_channel_class(below)->io_flush) {
        qio_channel_class(below)->io_flush(below, NULL);
    }
    n = qio_readahead_ready(below)
        ? qio_readahead_drain(below, iov, niov, NULL, NULL, errp)
        : qio_channel_class(below)->io_readv(below, iov, niov, NULL, NULL, errp);
    call_out(layer, false);
    return n;
}

ssize_t qio_layer_writev(QIOChannel *layer, const struct iovec *iov, size_t niov, Error **errp)
{
    QIOChannel *below = open_below(layer, errp);
    ssize_t n;

    if (!below) {
        return -1;
    }
    call_out(layer, true);
    n = qio_channel_class(below)->io_writev(below, iov, niov, NULL, 0, errp);
    call_out(layer, false);
    return n;
}

int qio_layer_poll(QIOChannel *layer, GIOCondition condition, QIOPollFd *out, int cap)
{
    QIOChannel *below = qio_layer_below(layer);
    int n;

    if (!below || qio_channel_closing(below) || !(condition & (G_IO_IN | G_IO_OUT))) {
        return 0;
    }
    call_out(layer, true);
    n = qio_channel_class(below)->io_poll(below, condition & (G_IO_IN | G_IO_OUT), out, cap);
    call_out(layer, false);
    return n;
}

int qio_layer_shutdown_unlocked(QIOChannel *layer, QIOChannelShutdown how, Error **errp)
{
    QIOChannel *below = qio_layer_ref_below(layer);
    int ret;

    if (!below) {
        qio_channel_set_closed_error(layer, errp);
        return -1;
    }
    ret = qio_channel_shutdown(below, how, errp);
    g_object_unref(below);
    return ret;
}

int qio_layer_shutdown(QIOChannel *layer, QIOChannelShutdown how, Error **errp)
{
    QIOChannel *below = open_below(layer, errp);
    int ret;

    if (!below) {
        return -1;
    }
    call_out(layer, true);
    ret = qio_channel_shutdown(below, how, errp);
    call_out(layer, false);
    return ret;
}
