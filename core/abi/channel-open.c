/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/channel-open.c: the handles of channels: where they come from and how they end.
 *
 * Owns: the one token that an object has (kept as the object's data, under a lock), and the
 * constructors.  Any thread.
 */
#include <qio/qioh-glib.h>

#include "abi/channel.h"
#include "abi/kind.h"
#include "abi/options.h"

#include <pthread.h>
#include <qio/channel-buffer.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>
#include "base/sys.h"
#include "channel/file-priv.h"
#include "net/net-priv.h"

/* ---- one token per object ---- */

static pthread_mutex_t tokens_lock = PTHREAD_MUTEX_INITIALIZER;

static GQuark token_quark(void)
{
    return g_quark_from_static_string("qioh-token");
}

/* Takes the caller's reference on success. */
static qioh_channel *export_locked(QIOChannel *ioc, qioh_error *error)
{
    GObject *object = (GObject *)ioc;
    qioh_channel *channel = g_object_get_qdata(object, token_quark());

    if (channel && abi_handle_ref(channel, QIOH_KIND_CHANNEL, NULL) == 0) {
        g_object_unref(object);
        return channel;
    }
    channel = abi_handle_new(QIOH_KIND_CHANNEL, ioc, 1, error);
    if (channel) {
        g_object_set_qdata(object, token_quark(), channel);
    }
    return channel;
}

qioh_channel *abi_channel_wrap(QIOChannel *ioc, Error *err, qioh_error *error)
{
    qioh_channel *channel;

    if (!ioc) {
        abi_take_error(error, err);
        return NULL;
    }
    channel = abi_handle_new(QIOH_KIND_CHANNEL, ioc, 1, error);
    if (!channel) {
        g_object_unref(ioc);
        return NULL;
    }
    /* Nobody else has seen the object: no lock. */
    g_object_set_qdata((GObject *)ioc, token_quark(), channel);
    return channel;
}

/*
 * In a forked child: closes this process's copy of the descriptor, past whatever threads that
 * are not here left entered or locked.  The object stays: its end would go through locks of
 * ours and of GObject's that such a thread may hold.  A class without a descriptor to take
 * ends as usual when nobody was inside; a command closes its pipes so.
 */
static void drop_inherited(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelClass *klass = qio_channel_class(ioc);
    int fd;

    if (klass->io_take_fd) {
        fd = klass->io_take_fd(ioc, NULL);
        if (fd >= 0) {
            sys_close(fd);
        }
    } else if ((atomic_load(&priv->use) & ~(uint32_t)(QIO_USE_CLOSING | QIO_USE_FINISHED)) == 0 &&
               pthread_mutex_trylock(&priv->lock) == 0) {
        pthread_mutex_unlock(&priv->lock);
        g_object_unref(ioc);
    }
}

void abi_channel_destroyed(void *object, uint64_t token)
{
    if (!abi_handle_is_ours((void *)(uintptr_t)token)) {
        drop_inherited(object);
        return;
    }
    pthread_mutex_lock(&tokens_lock);
    if (abi_token(g_object_get_qdata(object, token_quark())) == token) {
        g_object_set_qdata(object, token_quark(), NULL);
    }
    pthread_mutex_unlock(&tokens_lock);
    abi_layer_drop_handle(object);
    g_object_unref(object);
}

qioh_channel *qio_channel_export(QIOChannel *ioc)
{
    qioh_channel *channel;

    g_return_val_if_fail(ioc != NULL, NULL);
    g_object_ref(ioc);
    pthread_mutex_lock(&tokens_lock);
    channel = export_locked(ioc, NULL);
    pthread_mutex_unlock(&tokens_lock);
    if (!channel) {
        g_object_unref(ioc);
    }
    return channel;
}

QIOChannel *qio_channel_import(qioh_channel *channel)
{
    QIOChannel *ioc;

    if (abi_channel_pin(channel, &ioc, NULL) < 0) {
        return NULL;
    }
    g_object_ref(ioc);
    abi_unpin(channel);
    return ioc;
}

/* ---- life ---- */

qioh_channel *qioh_channel_ref(qioh_channel *channel, qioh_error *error)
{
    return abi_handle_ref(channel, QIOH_KIND_CHANNEL, error) < 0 ? NULL : channel;
}

void qioh_channel_unref(qioh_channel *channel)
{
    abi_handle_unref(channel, QIOH_KIND_CHANNEL);
}

qioh_status qioh_channel_close(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    if (qio_channel_close_full(ioc, true, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}

qioh_status qioh_channel_cancel(qioh_channel *channel, uint32_t condition, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status;

    status = abi_check_condition(condition, error);
    if (status != 0) {
        return status;
    }
    status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);
    if (status != 0) {
        return status;
    }
    qio_channel_cancel(ioc, condition);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return 0;
}

/* ---- constructors ---- */

qioh_channel *qioh_channel_open_uri(const char *uri, qioh_options *options, qioh_error *error)
{
    QIOOptions *settings = NULL;
    Error *err = NULL;
    QIOChannel *ioc;

    if (abi_options_copy(options, &settings, error) < 0) {
        return NULL;
    }
    if (!uri) {
        qio_error_set(&err, QIO_ERROR_INVAL, "uri is NULL");
        ioc = NULL;
    } else {
        ioc = qio_channel_open_uri(uri, settings, true, &err);
    }
    qio_options_free(settings);
    return abi_channel_wrap(ioc, err, error);
}

qioh_channel *qioh_channel_new_fd(int32_t fd, qioh_error *error)
{
    qioh_channel *channel;
    Error *err = NULL;
    QIOChannel *ioc;

    if (fd < 0) {
        abi_fail(error, QIOH_E_INVAL, "fd is %d, which is no descriptor", fd);
        return NULL;
    }
    ioc = qio_channel_new_fd(fd, &err);
    if (!ioc) {
        abi_take_error(error, err);
        return NULL;
    }
    g_object_ref(ioc);
    channel = abi_channel_wrap(ioc, NULL, error);
    if (!channel) {
        qio_channel_take_fd(ioc, NULL);     /* it stays the caller's */
    }
    g_object_unref(ioc);
    return channel;
}

qioh_status qioh_channel_new_pair(qioh_channel **out2, qioh_error *error)
{
    QIOChannelSocket *a, *b;
    qioh_channel *first, *second;
    Error *err = NULL;

    if (!out2) {
        return abi_fail(error, QIOH_E_INVAL, "out2 is NULL: it takes two handles");
    }
    if (qio_channel_socket_new_pair(&a, &b, &err) < 0) {
        return abi_take_error(error, err);
    }
    first = abi_channel_wrap((QIOChannel *)a, NULL, error);
    second = abi_channel_wrap((QIOChannel *)b, NULL, error);
    if (!first || !second) {
        qioh_channel_unref(first);
        qioh_channel_unref(second);
        return QIOH_E_LIMIT;
    }
    out2[0] = first;
    out2[1] = second;
    return 0;
}

qioh_channel *qioh_channel_new_file(const char *path, const char *mode, uint32_t permissions,
                                    qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int flags;

    if (!path) {
        abi_fail(error, QIOH_E_INVAL, "path is NULL");
        return NULL;
    }
    if (permissions > 07777) {
        abi_fail(error, QIOH_E_INVAL, "permissions are 0%o, and 07777 is all there can be",
                 permissions);
        return NULL;
    }
    flags = qio_file_mode_flags(mode, &err);
    if (flags < 0) {
        return abi_channel_wrap(NULL, err, error);
    }
    ioc = (QIOChannel *)qio_channel_file_open(path, flags, (mode_t)permissions, true, &err);
    return abi_channel_wrap(ioc, err, error);
}

qioh_channel *qioh_channel_new_buffer(const void *buf, size_t len, qioh_error *error)
{
    QIOChannelBuffer *buffer;
    Error *err = NULL;

    if (!buf && len > 0) {
        abi_fail(error, QIOH_E_INVAL, "buf is NULL with a len of %zu", len);
        return NULL;
    }
    if (len > INT64_MAX) {
        abi_fail(error, QIOH_E_INVAL, "len is %zu, more than any count can say", len);
        return NULL;
    }
    buffer = qio_channel_buffer_new(0);
    if (len > 0 && (qio_channel_write_all((QIOChannel *)buffer, buf, len, &err) < 0 ||
                    qio_channel_io_seek((QIOChannel *)buffer, 0, SEEK_SET, &err) < 0)) {
        g_object_unref(buffer);
        buffer = NULL;
    }
    return abi_channel_wrap((QIOChannel *)buffer, err, error);
}

qioh_channel *qioh_channel_new_null(qioh_error *error)
{
    return abi_channel_wrap((QIOChannel *)qio_channel_null_new(), NULL, error);
}
