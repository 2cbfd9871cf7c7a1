/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/handshake.c: the handshake as steps, and its deadline.
 *
 * Owns: the order of phases (a server reads, may ask, writes; a client writes, reads), and the
 * timer that is the deadline for whoever waits, however: it is made when a step first has to wait
 * and closed when the handshake ends.  Rule: a handshake that failed has failed for good.
 */
#include <string.h>
#include "websock/websock-priv.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

char *qio_ws_accept_value(const char *key)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA1);
    guint8 digest[20];
    gsize len = sizeof(digest);

    g_checksum_update(sum, (const guchar *)key, (gssize)strlen(key));
    g_checksum_update(sum, (const guchar *)GUID, (gssize)strlen(GUID));
    g_checksum_get_digest(sum, digest, &len);
    g_checksum_free(sum);
    return g_base64_encode(digest, len);
}

/* ---- the deadline ---- */

static int start_timer(QIOChannelWebsock *ws, Error **errp)
{
    struct itimerspec when = { 0 };

    ws->timer_fd = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (ws->timer_fd < 0) {
        qio_error_set_errno(errp, errno, "no timer for the WebSocket handshake");
        return -1;
    }
    when.it_value.tv_sec = (time_t)(ws->deadline_ns / 1000000000);
    when.it_value.tv_nsec = (long)(ws->deadline_ns % 1000000000);
    if (sys_timerfd_settime(ws->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0) {
        qio_error_set_errno(errp, errno, "no timer for the WebSocket handshake");
        return -1;
    }
    return 0;
}

void qio_ws_stop_timer(QIOChannelWebsock *ws)
{
    if (ws->timer_fd >= 0) {
        /* A loop that takes the number for ours would not look at the next file that gets it. */
        qio_loop_forget_fd(ws->timer_fd);
        sys_close(ws->timer_fd);
        ws->timer_fd = -1;
    }
}

/* A step has to wait, for the other side or for the program. */
static int check_deadline(QIOChannelWebsock *ws, Error **errp)
{
    if (ws->deadline_ns == QIO_NEVER) {
        return 0;
    }
    if (sys_now_ns() >= ws->deadline_ns) {
        qio_error_set(errp, QIO_ERROR_TIMEOUT,
                      "the WebSocket handshake took more than %d ms (handshake-timeout)",
                      ws->settings.timeout_ms);
        return -1;
    }
    return ws->timer_fd < 0 ? start_timer(ws, errp) : 0;
}

/* ---- steps: 0 the phase is over, 1, -1, QIO_CHANNEL_ERR_BLOCK ---- */

static int read_head(QIOChannelWebsock *ws, Error **errp)
{
    QIOWsInput *in = &ws->in;
    ssize_t length, n;
    int ret;

    while (in->start == in->end ||
           (length = qio_http_scan(&in->scan, (const char *)in->buf, in->end)) == 0) {
        n = qio_ws_fill(ws, NULL, errp);
        if (n == 0) {
            qio_error_set_number(errp, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET,
                                 QIO_WS_CLOSE_GONE,
                                 "the other side went away in the WebSocket handshake");
            return -1;
        }
        if (n < 0) {
            return (int)n;
        }
    }
    if (ws->server) {
        qio_ws_server_answer(ws, (const char *)in->buf, length);
        ret = 0;
    } else {
        ret = qio_ws_client_judge(ws, (const char *)in->buf, length, errp);
    }
    if (ret == 0) {
        in->start = length > 0 ? (size_t)length : in->end;
    }
    return ret;
}

/* Takes what has come behind a request that is refused: a socket that is closed with unread bytes
 * resets the connection, and takes the answer with it. */
static void drop_unread(QIOChannelWebsock *ws)
{
    int fills = 0;

    do {
        ws->in.start = ws->in.end = 0;
    } while (fills++ < QIO_WS_FILLS_MAX && qio_ws_fill(ws, NULL, NULL) > 0);
}

static int take_step(QIOChannelWebsock *ws, Error **errp)
{
    int ret;

    switch (ws->phase) {
    case QIO_WS_START:
        ws->deadline_ns = sys_deadline_ns(ws->settings.timeout_ms);
        ws->phase = ws->server ? QIO_WS_READING : QIO_WS_WRITING;
        return ws->server ? 0 : qio_ws_client_ask(ws, errp);
    case QIO_WS_READING:
        return read_head(ws, errp);
    case QIO_WS_ASKING:
        return 1;
    case QIO_WS_WRITING:
        ret = qio_ws_flush(ws, errp);
        if (ret == 0) {
            ws->phase = ws->server ? QIO_WS_OPEN : QIO_WS_READING;
        }
        return ret;
    case QIO_WS_REFUSING:
        ret = qio_ws_flush(ws, errp);
        if (ret == 0) {
            drop_unread(ws);
            qio_error_propagate(errp, g_steal_pointer(&ws->refusal));
            return -1;
        }
        return ret;
    default:
        return 0;
    }
}

int qio_ws_handshake_done(QIOChannelWebsock *ws, Error **errp)
{
    QIOWsInput *in = &ws->in;

    in->decoder.expect_masked = ws->server;
    if (ws->agreed_deflate) {
        ws->deflate = qio_ws_deflate_new(&ws->terms, ws->server, ws->settings.max_inflated);
        if (!ws->deflate) {
            qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for permessage-deflate");
            return -1;
        }
        in->decoder.allow_rsv1 = true;
    }
    g_clear_pointer(&ws->key, g_free);
    qio_ws_stop_timer(ws);
    ws->kick = true;
    return 0;
}

int qio_ws_handshake_step(QIOChannelWebsock *ws, Error **errp)
{
    Error *err = NULL;
    int ret = 0;

    if (qio_ws_failed(ws, errp)) {
        return -1;
    }
    if (ws->phase == QIO_WS_OPEN) {
        return 0;
    }
    while (ret == 0 && ws->phase != QIO_WS_OPEN) {
        ret = take_step(ws, &err);
    }
    if (ret == 0) {
        ret = qio_ws_handshake_done(ws, &err);
    } else if (ret != -1 && check_deadline(ws, &err) < 0) {
        ret = -1;
    }
    if (ret == -1) {
        qio_ws_stop_timer(ws);
        qio_ws_fail_with(ws, err);
        qio_ws_failed(ws, errp);
    }
    return ret;
}

int qio_ws_handshake_poll(QIOChannelWebsock *ws, QIOPollFd *out, int cap)
{
    bool writes = ws->phase == QIO_WS_WRITING || ws->phase == QIO_WS_REFUSING;
    int n = ws->phase == QIO_WS_ASKING ? 0
          : qio_layer_poll(&ws->parent, writes ? G_IO_OUT : G_IO_IN, out, cap);

    if (ws->timer_fd >= 0 && n < cap) {
        out[n].fd = ws->timer_fd;
        out[n].events = G_IO_IN;
        n++;
    }
    return n;
}
