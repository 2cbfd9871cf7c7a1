/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/message.c: the face of messages.
 *
 * Owns: send, receive and ping, which wait as the mode and the flags say.  Rule: the lock is held
 * for one try, waiting is the base class's.  One thread may send while another receives.
 */
#include "websock/websock-priv.h"

static bool check_messages(QIOChannelWebsock *ws, const void *buf, size_t len, Error **errp)
{
    if (!ws->messages) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "this WebSocket is a stream, which is read and "
                      "written; messages have ws-mode=messages");
        return false;
    }
    if (!buf && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: NULL with a len of %zu", len);
        return false;
    }
    return true;
}

/* ---- sending ---- */

/* *held: some of what is accepted has not gone, as far as is known here. */
static ssize_t try_send(QIOChannelWebsock *ws, const struct iovec *iov, int opcode, bool more,
                        bool *held, Error **errp)
{
    QIOChannel *below = qio_layer_below(&ws->parent);
    ssize_t n;
    int ret = qio_ws_enter_open(ws, errp);

    if (ret != 0) {
        return ret;
    }
    if (ws->out.in_message && opcode != ws->out.opcode) {
        qio_error_set(errp, QIO_ERROR_INVAL, "opcode: %d while a message of the opcode %d is not "
                      "finished", opcode, ws->out.opcode);
        n = -1;
    } else {
        n = qio_ws_put_message(ws, iov, iov->iov_len > 0, (uint8_t)opcode, more, errp);
    }
    *held = qio_ws_pending(ws) || (below && qio_channel_class(below)->io_flush);
    qio_ws_leave(ws);
    return n;
}

/* All is accepted.  A blocking channel also sees it off, because nobody may come by again for a
 * long time; what stays behind for want of time is accepted all the same. */
static void see_off(QIOChannelWebsock *ws, bool held, unsigned io_flags)
{
    if (held && !(io_flags & QIO_IO_DONTWAIT) && qio_channel_get_blocking(&ws->parent)) {
        qio_channel_flush_flags(&ws->parent, io_flags, NULL);
    }
}

/* What became of a send that did not take all. */
static ssize_t send_stopped(size_t done, bool blocked, Error *err, Error **errp)
{
    if (blocked) {
        return done > 0 ? (ssize_t)done : QIO_CHANNEL_ERR_BLOCK;
    }
    qio_error_set_bytes(err, done);
    qio_error_propagate(errp, err);
    return -1;
}

ssize_t qio_ws_send_flags(QIOChannelWebsock *ws, const void *buf, size_t len, int opcode,
                          unsigned flags, unsigned io_flags, Error **errp)
{
    bool more = flags & QIO_WEBSOCK_PARTIAL;
    int64_t deadline_ns = 0;
    Error *err = NULL;
    size_t done = 0;
    bool held = false;

    if (!check_messages(ws, buf, len, errp)) {
        return -1;
    }
    if (opcode != QIO_WEBSOCK_TEXT && opcode != QIO_WEBSOCK_BINARY) {
        qio_error_set(errp, QIO_ERROR_INVAL, "opcode: %d is neither text (1) nor binary (2)",
                      opcode);
        return -1;
    }
    if (flags & ~(unsigned)(QIO_WEBSOCK_DONTWAIT | QIO_WEBSOCK_PARTIAL) || len > SSIZE_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "flags: 0x%x, len: %zu: out of range", flags, len);
        return -1;
    }
    if (flags & QIO_WEBSOCK_DONTWAIT) {
        io_flags |= QIO_IO_DONTWAIT;
    }
    if (len == 0 && more) {
        return 0;
    }
    for (;;) {
        struct iovec iov = { (uint8_t *)buf + done, len - done };
        ssize_t n = try_send(ws, &iov, opcode, more, &held, &err);
        int blocked;

        if (n >= 0) {
            done += (size_t)n;
            if (done == len) {
                see_off(ws, held, io_flags);
                return (ssize_t)done;
            }
            continue;
        }
        if (n == -1) {
            return send_stopped(done, false, err, errp);
        }
        blocked = qio_channel_block(&ws->parent, G_IO_OUT, io_flags, &deadline_ns, &err);
        if (blocked != 0) {
            return send_stopped(done, blocked > 0, err, errp);
        }
    }
}

ssize_t qio_channel_websock_send(QIOChannelWebsock *ws, const void *buf, size_t len, int opcode,
                                 unsigned flags, Error **errp)
{
    return qio_ws_send_flags(ws, buf, len, opcode, flags, 0, errp);
}

static int try_ping(QIOChannelWebsock *ws, const struct iovec *iov, Error **errp)
{
    QIOWsHeader header = { .opcode = QIO_WS_OP_PING, .fin = true };
    int ret = qio_ws_enter_open(ws, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_ws_check_writable(ws, errp);
    if (ret == 0) {
        ret = qio_ws_put_frame(ws, &header, iov, 1, iov->iov_len, errp);
    }
    qio_ws_leave(ws);
    return ret;
}

int qio_ws_ping_flags(QIOChannelWebsock *ws, const void *buf, size_t len, unsigned io_flags,
                      Error **errp)
{
    struct iovec iov = { (void *)buf, len };
    int64_t deadline_ns = 0;
    int ret;

    if (!buf && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: NULL with a len of %zu", len);
        return -1;
    }
    if (len > QIO_WS_CONTROL_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "len: a ping carries at most %d bytes, not %zu",
                      QIO_WS_CONTROL_MAX, len);
        return -1;
    }
    while ((ret = try_ping(ws, &iov, errp)) == QIO_CHANNEL_ERR_BLOCK) {
        ret = qio_channel_block(&ws->parent, G_IO_OUT, io_flags, &deadline_ns, errp);
        if (ret != 0) {
            return ret > 0 ? QIO_CHANNEL_ERR_BLOCK : -1;
        }
    }
    return ret;
}

int qio_channel_websock_ping(QIOChannelWebsock *ws, const void *buf, size_t len, Error **errp)
{
    return qio_ws_ping_flags(ws, buf, len, 0, errp);
}

/* ---- receiving ---- */

static ssize_t try_recv(QIOChannelWebsock *ws, void *buf, size_t len, unsigned flags, int *opcode,
                        bool *fin, Error **errp)
{
    ssize_t n;
    int ret = qio_ws_enter_open(ws, errp);

    if (ret != 0) {
        return ret;
    }
    ws->in.want_pongs |= (flags & QIO_WEBSOCK_PONGS) != 0;
    n = qio_ws_take(ws, buf, len, opcode, fin, errp);
    qio_ws_leave(ws);
    return n;
}

ssize_t qio_ws_recv_flags(QIOChannelWebsock *ws, void *buf, size_t len, unsigned flags,
                          unsigned io_flags, int *opcode, bool *fin, Error **errp)
{
    int64_t deadline_ns = 0;
    int got_opcode = 0, blocked;
    bool got_fin = false;
    ssize_t n;

    if (!check_messages(ws, buf, len, errp)) {
        return -1;
    }
    if (len == 0 || flags & ~(unsigned)(QIO_WEBSOCK_DONTWAIT | QIO_WEBSOCK_PONGS)) {
        qio_error_set(errp, QIO_ERROR_INVAL, len == 0 ? "len: 0, of at least 1 is needed"
                                                      : "flags: out of range");
        return -1;
    }
    if (flags & QIO_WEBSOCK_DONTWAIT) {
        io_flags |= QIO_IO_DONTWAIT;
    }
    while ((n = try_recv(ws, buf, len, flags, &got_opcode, &got_fin, errp)) ==
           QIO_CHANNEL_ERR_BLOCK) {
        blocked = qio_channel_block(&ws->parent, G_IO_IN, io_flags, &deadline_ns, errp);
        if (blocked != 0) {
            return blocked > 0 ? QIO_CHANNEL_ERR_BLOCK : -1;
        }
    }
    if (n >= 0 && opcode) {
        *opcode = got_opcode;
    }
    if (n >= 0 && fin) {
        *fin = got_fin;
    }
    return n;
}

ssize_t qio_channel_websock_recv(QIOChannelWebsock *ws, void *buf, size_t len, unsigned flags,
                                 int *opcode, bool *fin, Error **errp)
{
    return qio_ws_recv_flags(ws, buf, len, flags, 0, opcode, fin, errp);
}
