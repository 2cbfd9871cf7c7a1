/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/ws.c: WebSockets.
 *
 * Owns: nothing; a WebSocket's handle is a channel's like any other, whose plain transfers are its
 * face of a stream.  Rules: what only a WebSocket has answers WRONGTYPE on another channel, before
 * anything else is looked at; sending is the writer's and receiving the reader's of the channel,
 * everything else any thread's.
 */
#include "abi/channel.h"
#include "abi/options.h"

#include <string.h>
#include <qio/channel-websock.h>
#include "channel/io.h"
#include "options/options-priv.h"
#include "websock/websock-priv.h"

G_STATIC_ASSERT((int)QIOH_DONTWAIT == (int)QIO_WEBSOCK_DONTWAIT);
G_STATIC_ASSERT((int)QIOH_WS_PARTIAL == (int)QIO_WEBSOCK_PARTIAL);
G_STATIC_ASSERT((int)QIOH_WS_PONGS == (int)QIO_WEBSOCK_PONGS);
G_STATIC_ASSERT((int)QIOH_WS_CLOSE == (int)QIO_WEBSOCK_CLOSE);

/* ---- making one ---- */

static qioh_channel *ws_new(qioh_channel *channel, qioh_options *options, bool server,
                            qioh_error *error)
{
    QIOOptions *settings = NULL;
    QIOChannelWebsock *ws = NULL;
    Error *err = NULL;
    QIOChannel *below;
    int32_t status = abi_channel_pin(channel, &below, error);

    if (status < 0) {
        return NULL;
    }
    status = abi_options_copy(options, &settings, error);
    if (status == 0 &&
        qio_options_check_uses(settings, QIO_FOR_BIT(QIO_FOR_WS), "a WebSocket", &err)) {
        ws = qio_channel_websock_new_options(below, settings, server, &err);
    }
    if (ws && qio_options_has(settings, "name")) {
        qio_channel_set_name((QIOChannel *)ws, qio_options_get_str(settings, "name", NULL));
    }
    qio_options_free(settings);
    abi_unpin(channel);
    return status < 0 ? NULL : abi_channel_wrap((QIOChannel *)ws, err, error);
}

qioh_channel *qioh_channel_new_ws_client(qioh_channel *channel, qioh_options *options,
                                         qioh_error *error)
{
    return ws_new(channel, options, false, error);
}

qioh_channel *qioh_channel_new_ws_server(qioh_channel *channel, qioh_options *options,
                                         qioh_error *error)
{
    return ws_new(channel, options, true, error);
}

/* ---- entering ---- */

static int32_t ws_pin(qioh_channel *channel, QIOChannelWebsock **ws, qioh_error *error)
{
    static GType type;

    return abi_channel_pin_class(channel, TYPE_QIO_CHANNEL_WEBSOCK, &type, "WebSocket",
                                 (QIOChannel **)ws, error);
}

/* Pins and enters; 0, or a code. */
static int32_t ws_enter(qioh_channel *channel, uint32_t use, QIOChannelWebsock **ws,
                        qioh_error *error)
{
    Error *err = NULL;
    int32_t status = ws_pin(channel, ws, error);

    if (status == 0 && qio_channel_enter((QIOChannel *)*ws, use, &err) < 0) {
        abi_unpin(channel);
        return abi_take_error(error, err);
    }
    return status;
}

/* The end of a call that entered and gave n. */
static int64_t ws_done(qioh_channel *channel, QIOChannelWebsock *ws, uint32_t use, ssize_t n,
                       Error *err, qioh_error *error)
{
    abi_channel_leave(channel, (QIOChannel *)ws, use);
    if (n >= 0) {
        return n;
    }
    return n == QIO_CHANNEL_ERR_BLOCK ? QIOH_E_AGAIN : abi_take_error(error, err);
}

/* ---- messages ---- */

qioh_ssize qioh_channel_ws_send(qioh_channel *channel, const void *buf, size_t len,
                                uint32_t opcode, uint32_t flags, qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    ssize_t n;
    qioh_ssize status = ws_enter(channel, QIO_USE_WRITE, &ws, error);

    if (status < 0) {
        return status;
    }
    /* What does not fit the core's int is no opcode either way. */
    n = qio_ws_send_flags(ws, buf, len, (int)MIN(opcode, 255), flags, QIO_IO_INTERRUPTIBLE, &err);
    return ws_done(channel, ws, QIO_USE_WRITE, n, err, error);
}

qioh_ssize qioh_channel_ws_recv(qioh_channel *channel, void *buf, size_t len, uint32_t flags,
                                uint32_t *opcode, uint32_t *fin, qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int got_opcode = 0;
    bool got_fin = false;
    ssize_t n;
    qioh_ssize status = ws_enter(channel, QIO_USE_READ, &ws, error);

    if (status < 0) {
        return status;
    }
    n = qio_ws_recv_flags(ws, buf, len, flags, QIO_IO_INTERRUPTIBLE, &got_opcode, &got_fin, &err);
    if (n >= 0 && opcode) {
        *opcode = (uint32_t)got_opcode;
    }
    if (n >= 0 && fin) {
        *fin = got_fin;
    }
    return ws_done(channel, ws, QIO_USE_READ, n, err, error);
}

/* ---- control ---- */

qioh_status qioh_channel_ws_ping(qioh_channel *channel, const void *buf, size_t len,
                                 qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int result;
    int32_t status = ws_enter(channel, QIO_USE_ONE, &ws, error);

    if (status < 0) {
        return status;
    }
    result = qio_ws_ping_flags(ws, buf, len, QIO_IO_INTERRUPTIBLE, &err);
    return (qioh_status)ws_done(channel, ws, QIO_USE_ONE, result, err, error);
}

qioh_status qioh_channel_ws_close(qioh_channel *channel, uint32_t code, const char *reason,
                                  qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int result;
    int32_t status = ws_enter(channel, QIO_USE_ONE, &ws, error);

    if (status < 0) {
        return status;
    }
    result = qio_channel_websock_close_code(ws, code, reason, &err);
    return (qioh_status)ws_done(channel, ws, QIO_USE_ONE, result, err, error);
}

/* ---- the request ---- */

static qioh_ssize get_request(QIOChannelWebsock *ws, const char *key, char *buf, size_t cap,
                              qioh_error *error)
{
    Error *err = NULL;
    ssize_t len = qio_channel_websock_get_request(ws, key, NULL, 0, &err);
    qioh_ssize result;
    char *text;

    if (len < 0) {
        return abi_take_error(error, err);
    }
    if (!buf) {
        return len;
    }
    if (cap <= (size_t)len) {
        return abi_fail(error, QIOH_E_TRUNCATED, "cap is %zu, and %zd are needed", cap, len + 1);
    }
    text = g_malloc((size_t)len + 1);
    len = qio_channel_websock_get_request(ws, key, text, (size_t)len + 1, &err);
    result = len < 0 ? abi_take_error(error, err)
                     : abi_copy_out(text, strlen(text), buf, cap, error);
    g_free(text);
    return result;
}

qioh_ssize qioh_channel_ws_get_request(qioh_channel *channel, const char *key, char *buf,
                                       size_t cap, qioh_error *error)
{
    QIOChannelWebsock *ws;
    qioh_ssize len = ws_pin(channel, &ws, error);

    if (len < 0) {
        return len;
    }
    len = abi_check_out(buf, cap, error);
    if (len == 0 && !key) {
        len = abi_fail(error, QIOH_E_INVAL, "key is NULL");
    }
    if (len == 0) {
        len = get_request(ws, key, buf, cap, error);
    }
    abi_unpin(channel);
    return len;
}

qioh_status qioh_channel_ws_accept(qioh_channel *channel, const char *protocol,
                                   qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int32_t status = ws_pin(channel, &ws, error);

    if (status < 0) {
        return status;
    }
    if (qio_channel_websock_accept_request(ws, protocol, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}

qioh_status qioh_channel_ws_reject(qioh_channel *channel, uint32_t http_status,
                                   const char *reason, qioh_error *error)
{
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int32_t status = ws_pin(channel, &ws, error);

    if (status < 0) {
        return status;
    }
    if (qio_channel_websock_reject_request(ws, http_status, reason, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}
