/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/listener.c: accepting clients.
 *
 * Owns: the handles of listeners; the object behind one is a QIONetListener.  Addresses stay
 * readable after close.
 */
#include "abi/listener.h"
#include "abi/channel.h"
#include "abi/kind.h"
#include "abi/options.h"

#include <string.h>
#include "net/net-priv.h"

qioh_listener *abi_listener_wrap(QIONetListener *object, qioh_error *error)
{
    qioh_listener *listener = abi_handle_new(QIOH_KIND_LISTENER, object, 1, error);

    if (!listener) {
        g_object_unref(object);
    }
    return listener;
}

qioh_listener *qioh_listener_open_uri(const char *uri, qioh_options *options, qioh_error *error)
{
    QIONetListener *object = NULL;
    QIOOptions *settings;
    Error *err = NULL;

    if (!uri) {
        abi_fail(error, QIOH_E_INVAL, "uri is NULL");
        return NULL;
    }
    if (abi_options_copy(options, &settings, error) < 0) {
        return NULL;
    }
    object = qio_net_listener_open_uri_full(uri, settings, true, &err);
    qio_options_free(settings);
    if (!object) {
        abi_take_error(error, err);
        return NULL;
    }
    return abi_listener_wrap(object, error);
}

void qioh_listener_unref(qioh_listener *listener)
{
    abi_handle_unref(listener, QIOH_KIND_LISTENER);
}

void abi_listener_destroyed(void *object, uint64_t token)
{
    if (abi_handle_is_ours((void *)(uintptr_t)token)) {
        g_object_unref(object);
    } else {
        qio_net_listener_abandon(object);
    }
}

static int32_t listener_pin(qioh_listener *listener, QIONetListener **object, qioh_error *error)
{
    return abi_pin(listener, QIOH_KIND_LISTENER, (void **)object, error);
}

qioh_status qioh_listener_close(qioh_listener *listener, qioh_error *error)
{
    QIONetListener *object;
    Error *err = NULL;
    int32_t status = listener_pin(listener, &object, error);

    if (status != 0) {
        return status;
    }
    if (qio_net_listener_close(object, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(listener);
    return status;
}

qioh_channel *qioh_listener_accept(qioh_listener *listener, int32_t timeout_ms,
                                   qioh_error *error)
{
    QIONetListener *object;
    Error *err = NULL;
    QIOChannel *client;

    if (abi_check_timeout(timeout_ms, error) < 0 || listener_pin(listener, &object, error) < 0) {
        return NULL;
    }
    client = qio_net_listener_accept_channel(object, timeout_ms, true, &err);
    abi_unpin(listener);
    return abi_channel_wrap(client, err, error);
}

qioh_ssize qioh_listener_get_address(qioh_listener *listener, uint32_t index, char *buf,
                                     size_t cap, qioh_error *error)
{
    QIONetListener *object;
    Error *err = NULL;
    char *text;
    qioh_ssize len = listener_pin(listener, &object, error);

    if (len < 0) {
        return len;
    }
    text = qio_net_listener_get_uri(object, index, &err);
    abi_unpin(listener);
    if (!text) {
        return abi_take_error(error, err);
    }
    len = abi_copy_out(text, strlen(text), buf, cap, error);
    g_free(text);
    return len;
}

qioh_status qioh_listener_get_fd(qioh_listener *listener, uint32_t index, qioh_error *error)
{
    QIONetListener *object;
    Error *err = NULL;
    int32_t fd = listener_pin(listener, &object, error);

    if (fd < 0) {
        return fd;
    }
    fd = qio_net_listener_get_fd(object, index, &err);
    abi_unpin(listener);
    return fd < 0 ? abi_take_error(error, err) : fd;
}
