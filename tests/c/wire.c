/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire.c: the channel of wire.h.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include "channel/channel-priv.h"

guint32 wire_random(guint32 *seed, guint32 limit)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed % limit;
}

/* How many of `len` bytes move now. */
static gsize by_whim(Wire *w, gsize len)
{
    if (w->whim == 0 || len == 0) {
        return len;
    }
    switch (wire_random(&w->whim, 4)) {
    case 0:
        return 0;
    case 1:
        return 1;
    default:
        return 1 + wire_random(&w->whim, (guint32)len);
    }
}

static ssize_t wire_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                          int **fds, size_t *nfds, Error **errp)
{
    Wire *w = (Wire *)ioc;
    gsize wanted = 0, len;

    for (size_t i = 0; i < niov; i++) {
        wanted += iov[i].iov_len;
    }
    if (w->in->len == 0) {
        return w->ended ? 0 : QIO_CHANNEL_ERR_BLOCK;
    }
    len = by_whim(w, MIN(wanted, w->in->len));
    if (len == 0) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    qio_iov_fill(iov, niov, w->in->data, len);
    g_byte_array_remove_range(w->in, 0, (guint)len);
    return (ssize_t)len;
}

static void arrive(Wire *w, const uint8_t *bytes, gsize len)
{
    gsize begin = w->arrived;

    w->arrived += len;
    if (w->cut >= 0 && w->arrived >= (gsize)w->cut) {
        w->ended = true;
        len = (gsize)w->cut > begin ? (gsize)w->cut - begin : 0;
    }
    g_byte_array_append(w->in, bytes, (guint)len);
    if (w->seen) {
        g_byte_array_append(w->seen, bytes, (guint)len);
    }
    if (w->spoil_at >= 0 && (gsize)w->spoil_at >= begin && (gsize)w->spoil_at < begin + len) {
        w->in->data[w->in->len - len + ((gsize)w->spoil_at - begin)] ^= 0x40;
    }
}

static ssize_t wire_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                           int *fds, size_t nfds, Error **errp)
{
    Wire *w = (Wire *)ioc;
    gsize total = 0, len, done = 0;

    if (!w->peer) {
        qio_error_set_errno(errp, EPIPE, "the other end of the wire is closed");
        return -1;
    }
    for (size_t i = 0; i < niov; i++) {
        total += iov[i].iov_len;
    }
    if (w->peer->in_max > 0) {
        total = MIN(total, w->peer->in_max - MIN(w->peer->in_max, w->peer->in->len));
    }
    len = by_whim(w, total);
    if (len == 0) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    for (size_t i = 0; i < niov && done < len; i++) {
        gsize part = MIN(iov[i].iov_len, len - done);

        arrive(w->peer, iov[i].iov_base, part);
        done += part;
    }
    qio_channel_notify(&w->peer->parent, G_IO_IN);
    return (ssize_t)len;
}

static int wire_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    Wire *w = (Wire *)ioc;

    if (w->peer && how != QIO_CHANNEL_SHUTDOWN_READ) {
        w->peer->ended = true;
        qio_channel_notify(&w->peer->parent, G_IO_IN);
    }
    return 0;
}

static int wire_close(QIOChannel *ioc, Error **errp)
{
    Wire *w = (Wire *)ioc;

    if (w->peer) {
        w->peer->ended = true;
        w->peer->peer = NULL;
        qio_channel_notify(&w->peer->parent, G_IO_IN | G_IO_OUT);
        w->peer = NULL;
    }
    return 0;
}

static int wire_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static int wire_advance(QIOChannel *ioc, GIOCondition condition)
{
    Wire *w = (Wire *)ioc;
    int ready = 0;

    if (w->in->len > 0 || w->ended) {
        ready |= G_IO_IN;
    }
    if (!w->peer || w->peer->in_max == 0 || w->peer->in->len < w->peer->in_max) {
        ready |= G_IO_OUT;
    }
    return ready & (int)condition;
}

static void wire_init(Object *obj)
{
    Wire *w = (Wire *)obj;

    w->in = g_byte_array_new();
    w->cut = -1;
    w->spoil_at = -1;
    qio_channel_set_feature(&w->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
}

static void wire_finalize(Object *obj)
{
    Wire *w = (Wire *)obj;

    g_byte_array_unref(w->in);
    if (w->seen) {
        g_byte_array_unref(w->seen);
    }
}

static void wire_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = QIO_CHANNEL_CLASS(klass);

    ioc_class->io_readv = wire_readv;
    ioc_class->io_writev = wire_writev;
    ioc_class->io_shutdown = wire_shutdown;
    ioc_class->io_close = wire_close;
    ioc_class->io_poll = wire_poll;
    ioc_class->io_advance = wire_advance;
}

static const TypeInfo wire_info = {
    .name = TYPE_WIRE,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(Wire),
    .instance_init = wire_init,
    .instance_finalize = wire_finalize,
    .class_init = wire_class_init,
};

void wire_pair(QIOChannel **a, QIOChannel **b)
{
    Wire *one, *two;

    qio_type_register_static(&wire_info);
    one = (Wire *)qio_object_new(TYPE_WIRE);
    two = (Wire *)qio_object_new(TYPE_WIRE);
    one->peer = two;
    two->peer = one;
    *a = &one->parent;
    *b = &two->parent;
}
