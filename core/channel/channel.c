/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/channel.c: the base class as a type, its features, name and the plain methods.
 *
 * Owns: making and ending of the base class's state.  Rule: dispose closes a channel that was
 * not closed, without waiting for the other side; it runs before any subclass frees its own
 * state.
 */
#include <string.h>
#include "channel/channel-priv.h"
#include "channel/layer.h"
#include "channel/orphan.h"

int qio_channel_private_offset;

static gpointer channel_parent_class;

static void channel_init(GTypeInstance *instance, gpointer klass)
{
    QIOChannelPrivate *priv = qio_channel_priv((QIOChannel *)instance);

    qio_orphans_look();
    atomic_init(&priv->timeout_ms, -1);
    pthread_mutex_init(&priv->lock, NULL);
}

static void channel_dispose(GObject *object)
{
    qio_channel_close_now((QIOChannel *)object, NULL);
    G_OBJECT_CLASS(channel_parent_class)->dispose(object);
}

static void channel_finalize(GObject *object)
{
    QIOChannel *ioc = (QIOChannel *)object;

    qio_layer_free(ioc);
    qio_channel_free_yields(ioc);
    qio_readahead_free(ioc);
    pthread_mutex_destroy(&qio_channel_priv(ioc)->lock);
    g_free(ioc->name);
    if (ioc->ctx) {
        qio_aio_context_unref(ioc->ctx);
    }
    G_OBJECT_CLASS(channel_parent_class)->finalize(object);
}

static void channel_class_init(gpointer klass, gpointer data)
{
    channel_parent_class = g_type_class_peek_parent(klass);
    G_OBJECT_CLASS(klass)->dispose = channel_dispose;
    G_OBJECT_CLASS(klass)->finalize = channel_finalize;
    g_type_class_adjust_private_offset(klass, &qio_channel_private_offset);
}

static GType channel_get_type(void)
{
    const GTypeInfo info = {
        .class_size = sizeof(QIOChannelClass),
        .class_init = channel_class_init,
        .instance_size = sizeof(QIOChannel),
        .instance_init = channel_init,
    };
    GType type = g_type_register_static(G_TYPE_OBJECT, TYPE_QIO_CHANNEL, &info,
                                        G_TYPE_FLAG_ABSTRACT);

    qio_channel_private_offset =
        g_type_add_instance_private(type, sizeof(QIOChannelPrivate));
    return type;
}

static void __attribute__((constructor)) channel_register(void)
{
    qio_type_register_builtin(TYPE_QIO_CHANNEL, channel_get_type);
}

/* ---- features and name ---- */

bool qio_channel_has_feature(QIOChannel *ioc, QIOChannelFeature feature)
{
    return (unsigned)feature < 32 &&
           (__atomic_load_n(&ioc->features, __ATOMIC_RELAXED) & (1u << feature)) != 0;
}

void qio_channel_set_feature(QIOChannel *ioc, QIOChannelFeature feature)
{
    if ((unsigned)feature < 32) {
        __atomic_fetch_or(&ioc->features, 1u << feature, __ATOMIC_RELAXED);
    }
}

void qio_channel_set_name(QIOChannel *ioc, const char *name)
{
    char *old;

    pthread_mutex_lock(&qio_channel_priv(ioc)->lock);
    old = ioc->name;
    ioc->name = g_strdup(name);
    pthread_mutex_unlock(&qio_channel_priv(ioc)->lock);
    g_free(old);
}

/* ---- mode ---- */

int qio_channel_set_blocking(QIOChannel *ioc, bool enabled, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (klass->io_set_blocking && klass->io_set_blocking(ioc, enabled, errp) < 0) {
        return -1;
    }
    atomic_store_explicit(&qio_channel_priv(ioc)->nonblocking, !enabled, memory_order_relaxed);
    return 0;
}

bool qio_channel_get_blocking(QIOChannel *ioc)
{
    return !atomic_load_explicit(&qio_channel_priv(ioc)->nonblocking, memory_order_relaxed);
}

void qio_channel_set_timeout(QIOChannel *ioc, int timeout_ms)
{
    atomic_store_explicit(&qio_channel_priv(ioc)->timeout_ms, timeout_ms < 0 ? -1 : timeout_ms,
                          memory_order_relaxed);
}

int qio_channel_get_timeout(QIOChannel *ioc)
{
    return atomic_load_explicit(&qio_channel_priv(ioc)->timeout_ms, memory_order_relaxed);
}

/* ---- plain methods: each enters, so that no close releases the transport under it ---- */

static int enter_for(QIOChannel *ioc, const void *method, const char *what, Error **errp)
{
    if (!method) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "%s is not supported by a channel of type '%s'",
                      what, G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    return qio_channel_enter(ioc, QIO_USE_ONE, errp);
}

int qio_channel_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    int ret;

    if ((int)how < QIO_CHANNEL_SHUTDOWN_BOTH || how > QIO_CHANNEL_SHUTDOWN_WRITE) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "how: %d is no direction: both is 0, read 1, write 2", (int)how);
        return -1;
    }
    if (enter_for(ioc, (const void *)klass->io_shutdown, "shutdown", errp) < 0) {
        return -1;
    }
    ret = klass->io_shutdown(ioc, how, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

void qio_channel_set_delay(QIOChannel *ioc, bool enabled)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (klass->io_set_delay && qio_channel_enter(ioc, QIO_USE_ONE, NULL) == 0) {
        klass->io_set_delay(ioc, enabled);
        qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    }
}

void qio_channel_set_cork(QIOChannel *ioc, bool enabled)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (klass->io_set_cork && qio_channel_enter(ioc, QIO_USE_ONE, NULL) == 0) {
        klass->io_set_cork(ioc, enabled);
        qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    }
}

off_t qio_channel_io_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    off_t from = offset;
    off_t ret;

    if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "whence: %d is none of SEEK_SET, SEEK_CUR, SEEK_END", whence);
        return -1;
    }
    if (!qio_channel_check_free(ioc, errp) ||
        enter_for(ioc, (const void *)klass->io_seek, "seek", errp) < 0) {
        return -1;
    }
    if (whence == SEEK_CUR &&
        __builtin_sub_overflow(offset, (off_t)qio_readahead_pending(ioc), &from)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "offset: %lld is out of range", (long long)offset);
        ret = -1;
    } else {
        ret = klass->io_seek(ioc, from, whence, errp);
    }
    if (ret >= 0) {
        qio_readahead_reset(ioc);
    }
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

off_t qio_channel_get_size(QIOChannel *ioc, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    off_t size;

    if (enter_for(ioc, (const void *)klass->io_get_size, "a size", errp) < 0) {
        return -1;
    }
    size = klass->io_get_size(ioc, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return size;
}

static int check_positioned(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                            Error **errp)
{
    if (offset < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "offset: %lld is negative", (long long)offset);
        return -1;
    }
    if (!buf && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: NULL with a len of %zu", len);
        return -1;
    }
    return qio_channel_check_free(ioc, errp) ? 0 : -1;
}

ssize_t qio_channel_pread(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    ssize_t ret;

    if (check_positioned(ioc, buf, len, offset, errp) < 0 ||
        enter_for(ioc, (const void *)klass->io_pread, "pread", errp) < 0) {
        return -1;
    }
    ret = len == 0 ? 0 : klass->io_pread(ioc, buf, MIN(len, (size_t)SSIZE_MAX), offset, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

ssize_t qio_channel_pwrite(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                           Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    ssize_t ret;

    if (check_positioned(ioc, buf, len, offset, errp) < 0 ||
        enter_for(ioc, (const void *)klass->io_pwrite, "pwrite", errp) < 0) {
        return -1;
    }
    ret = len == 0 ? 0 : klass->io_pwrite(ioc, buf, MIN(len, (size_t)SSIZE_MAX), offset, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

int qio_channel_get_fd(QIOChannel *ioc, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    QIOPollFd in, out;
    bool both;

    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    /* What the class polls for both directions is what stands for it; always-ready classes
     * name theirs too, though nobody has to poll it.  What a layer polls is not its own. */
    both = klass->io_poll && !qio_layer_below(ioc) &&
           klass->io_poll(ioc, G_IO_IN, &in, 1) == 1 &&
           klass->io_poll(ioc, G_IO_OUT, &out, 1) == 1 && in.fd == out.fd;
    if (!both) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "a channel of type '%s' has no single descriptor", G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    return in.fd;
}
