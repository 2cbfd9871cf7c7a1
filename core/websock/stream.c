/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/stream.c: the face of a stream of bytes.
 *
 * Owns: reads and writes as the base class makes them.  Rules: one write is one binary message of
 * one frame, as much of it as a frame takes; a read joins what messages carry.  Nothing waits.
 */
#include "websock/websock-priv.h"

static int check_face(const QIOChannelWebsock *ws, Error **errp)
{
    if (ws->messages) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "this WebSocket carries messages, which are sent and "
                      "received; a stream has ws-mode=stream");
        return -1;
    }
    return 0;
}

ssize_t qio_ws_stream_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                            size_t *nfds, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    ssize_t total = 0, n = 0;
    int opcode, ret;
    bool fin;

    if (check_face(ws, errp) < 0) {
        return -1;
    }
    ret = qio_ws_enter_open(ws, errp);
    if (ret != 0) {
        return ret;
    }
    for (size_t i = 0; i < niov; i++) {
        if (iov[i].iov_len == 0) {
            continue;
        }
        n = qio_ws_take(ws, iov[i].iov_base, iov[i].iov_len, &opcode, &fin,
                        total > 0 ? NULL : errp);
        total += MAX(n, 0);
        if (n < (ssize_t)iov[i].iov_len) {
            break;
        }
    }
    qio_ws_leave(ws);
    return total > 0 ? total : n;
}

ssize_t qio_ws_stream_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                             size_t nfds, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    ssize_t n;
    int ret;

    if (check_face(ws, errp) < 0) {
        return -1;
    }
    ret = qio_ws_enter_open(ws, errp);
    if (ret != 0) {
        return ret;
    }
    n = qio_ws_put_message(ws, iov, niov, QIO_WS_OP_BINARY, false, errp);
    qio_ws_leave(ws);
    return n;
}
