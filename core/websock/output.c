/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/output.c: what goes out: frames, control frames that are due, masks.
 *
 * Owns: QIOWsOutput.  Rules: at most the rest of one frame is held, and a data frame is accepted
 * only when nothing is; so memory is bounded and a control frame never waits for more than one.
 * A server's frame goes straight from the caller's buffer, only what the transport did not take
 * is copied; a client's is copied once, while it is masked.  Of unsent pongs the newest is kept.
 */
#include <string.h>
#include "base/fork.h"
#include "websock/mask.h"
#include "websock/websock-priv.h"

enum {
    BUFFER_LEAST = 512,
    PIECES_MAX = 64,        /* blocks of the caller that go in one system call */
};

/* ---- random bytes ---- */

static int fill_pool(QIOWsOutput *out, Error **errp)
{
    size_t have = 0;

    while (have < sizeof(out->random)) {
        ssize_t n = sys_getrandom(out->random + have, sizeof(out->random) - have, 0);

        if (n < 0 && errno != EINTR) {
            qio_error_set_errno(errp, errno, "no random bytes for the WebSocket");
            return -1;
        }
        have += n > 0 ? (size_t)n : 0;
    }
    out->random_left = sizeof(out->random);
    out->random_epoch = qio_fork_epoch();
    return 0;
}

int qio_ws_random(QIOChannelWebsock *ws, void *bytes, size_t len, Error **errp)
{
    QIOWsOutput *out = &ws->out;

    /* A forked child has the bytes of its parent, which must not be used twice. */
    if ((out->random_left < len || out->random_epoch != qio_fork_epoch()) &&
        fill_pool(out, errp) < 0) {
        return -1;
    }
    out->random_left -= (unsigned)len;
    memcpy(bytes, out->random + out->random_left, len);
    memset(out->random + out->random_left, 0, len);
    return 0;
}

/* ---- the queue ---- */

bool qio_ws_reserve(QIOWsOutput *out, size_t len)
{
    size_t need = out->end - out->start + len;
    size_t cap = MAX(out->cap, BUFFER_LEAST);
    uint8_t *buf;

    if (out->start > 0) {
        memmove(out->buf, out->buf + out->start, out->end - out->start);
        out->end -= out->start;
        out->start = 0;
    }
    if (need <= out->cap) {
        return true;
    }
    while (cap < need) {
        cap *= 2;
    }
    buf = g_try_realloc(out->buf, cap);
    if (!buf) {
        return false;
    }
    out->buf = buf;
    out->cap = cap;
    return true;
}

int qio_ws_queue(QIOChannelWebsock *ws, const void *bytes, size_t len, Error **errp)
{
    QIOWsOutput *out = &ws->out;

    if (!qio_ws_reserve(out, len)) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for %zu bytes on their way out", len);
        return -1;
    }
    memcpy(out->buf + out->end, bytes, len);
    out->end += len;
    return 0;
}

static int out_failed(QIOWsOutput *out, Error *err, Error **errp)
{
    out->failure = err;
    out->start = out->end = 0;
    out->pong_due = out->close_due = false;
    qio_error_propagate(errp, qio_error_copy(err));
    return -1;
}

/* Pushes the queue.  Returns as qio_ws_flush(). */
static int push(QIOChannelWebsock *ws, Error **errp)
{
    QIOWsOutput *out = &ws->out;
    Error *err = NULL;

    while (out->start < out->end) {
        struct iovec iov = { out->buf + out->start, out->end - out->start };
        ssize_t n = qio_layer_writev(&ws->parent, &iov, 1, &err);

        if (n == QIO_CHANNEL_ERR_BLOCK) {
            return QIO_CHANNEL_ERR_BLOCK;
        }
        if (n < 0) {
            return out_failed(out, err, errp);
        }
        out->start += (size_t)n;
    }
    out->start = out->end = 0;
    return 0;
}

/* The key of a frame, if it is to have one. */
static int set_key(QIOChannelWebsock *ws, QIOWsHeader *header, Error **errp)
{
    header->masked = !ws->server;
    return header->masked ? qio_ws_random(ws, header->key, sizeof(header->key), errp) : 0;
}

static int queue_control(QIOChannelWebsock *ws, uint8_t opcode, const uint8_t *bytes, uint8_t len,
                         Error **errp)
{
    QIOWsHeader header = { .opcode = opcode, .fin = true, .length = len };
    uint8_t frame[QIO_WS_HEADER_MAX + QIO_WS_CONTROL_MAX];
    Error *err = NULL;
    size_t n;

    if (set_key(ws, &header, &err) < 0) {
        return out_failed(&ws->out, err, errp);
    }
    n = qio_ws_encode(&header, frame);
    if (header.masked) {
        qio_ws_mask(frame + n, bytes, len, header.key, 0);
    } else {
        memcpy(frame + n, bytes, len);
    }
    if (qio_ws_queue(ws, frame, n + len, &err) < 0) {
        return out_failed(&ws->out, err, errp);
    }
    return 0;
}

int qio_ws_flush(QIOChannelWebsock *ws, Error **errp)
{
    QIOWsOutput *out = &ws->out;
    int ret;

    if (out->failure) {
        qio_error_propagate(errp, qio_error_copy(out->failure));
        return -1;
    }
    while (qio_ws_pending(ws)) {
        ret = push(ws, errp);
        if (ret != 0) {
            return ret;
        }
        if (out->pong_due) {
            out->pong_due = false;
            ret = queue_control(ws, QIO_WS_OP_PONG, out->pong, out->pong_len, errp);
        } else if (out->close_due) {
            out->close_due = false;
            ret = queue_control(ws, QIO_WS_OP_CLOSE, out->close, out->close_len, errp);
        }
        if (ret != 0) {
            return ret;
        }
    }
    return 0;
}

void qio_ws_due_pong(QIOChannelWebsock *ws, const void *bytes, size_t len)
{
    QIOWsOutput *out = &ws->out;

    /* Each ping has its pong as long as pongs can go. */
    if (out->pong_due) {
        qio_ws_flush(ws, NULL);
    }
    if (out->closed || out->failure) {
        return;
    }
    memcpy(out->pong, bytes, len);
    out->pong_len = (uint8_t)len;
    out->pong_due = true;
}

void qio_ws_due_close(QIOChannelWebsock *ws, unsigned code, const char *reason, size_t len)
{
    QIOWsOutput *out = &ws->out;

    if (out->closed) {
        return;
    }
    out->closed = true;
    ws->kick = true;
    if (out->failure) {
        return;
    }
    out->close_due = true;
    out->close_len = 0;
    if (code != 0) {
        len = MIN(len, QIO_WS_CONTROL_MAX - 2u);
        out->close[0] = (uint8_t)(code >> 8);
        out->close[1] = (uint8_t)code;
        if (len > 0) {
            memcpy(out->close + 2, reason, len);
        }
        out->close_len = (uint8_t)(2 + len);
    }
}

/* ---- frames ---- */

/* Masks a client's frame into the queue. */
static int put_masked(QIOChannelWebsock *ws, const QIOWsHeader *header, const struct iovec *iov,
                      size_t niov, size_t len, Error **errp)
{
    QIOWsOutput *out = &ws->out;
    size_t done = 0;

    if (!qio_ws_reserve(out, QIO_WS_HEADER_MAX + len)) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for a frame of %zu bytes", len);
        return -1;
    }
    out->end += qio_ws_encode(header, out->buf + out->end);
    for (size_t i = 0; i < niov && done < len; i++) {
        size_t n = MIN(iov[i].iov_len, len - done);

        qio_ws_mask(out->buf + out->end, iov[i].iov_base, n, header->key, done);
        out->end += n;
        done += n;
    }
    return push(ws, errp) == -1 ? -1 : 0;
}

/* Copies what lies behind the first `sent` bytes of a frame into the queue. */
static int queue_rest(QIOChannelWebsock *ws, const struct iovec *iov, size_t niov, size_t sent,
                      Error **errp)
{
    Error *err = NULL;

    for (size_t i = 0; i < niov; i++) {
        size_t skip = MIN(sent, iov[i].iov_len);

        sent -= skip;
        if (skip < iov[i].iov_len &&
            qio_ws_queue(ws, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip,
                         &err) < 0) {
            return out_failed(&ws->out, err, errp);
        }
    }
    return 0;
}

/* Sends a server's frame from where the caller has it. */
static int put_plain(QIOChannelWebsock *ws, const QIOWsHeader *header, const struct iovec *iov,
                     size_t niov, size_t len, Error **errp)
{
    uint8_t bytes[QIO_WS_HEADER_MAX];
    struct iovec pieces[1 + PIECES_MAX];
    size_t count = 1, left = len, total;
    Error *err = NULL;
    ssize_t n;

    pieces[0].iov_base = bytes;
    pieces[0].iov_len = qio_ws_encode(header, bytes);
    total = pieces[0].iov_len + len;
    for (size_t i = 0; i < niov && left > 0 && count < G_N_ELEMENTS(pieces); i++) {
        pieces[count].iov_base = iov[i].iov_base;
        pieces[count].iov_len = MIN(iov[i].iov_len, left);
        left -= pieces[count].iov_len;
        count += pieces[count].iov_len > 0;
    }
    n = qio_layer_writev(&ws->parent, pieces, count, &err);
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        n = 0;
    }
    if (n < 0) {
        return out_failed(&ws->out, err, errp);
    }
    return (size_t)n < total ? queue_rest(ws, pieces, count, (size_t)n, errp) : 0;
}

int qio_ws_put_frame(QIOChannelWebsock *ws, QIOWsHeader *header, const struct iovec *iov,
                     size_t niov, size_t len, Error **errp)
{
    int ret;

    header->length = len;
    if (set_key(ws, header, errp) < 0) {
        return -1;
    }
    ret = header->masked ? put_masked(ws, header, iov, niov, len, errp)
                         : put_plain(ws, header, iov, niov, len, errp);
    /* Who sleeps over reading has to see the rest off, too. */
    ws->kick |= ws->out.start < ws->out.end;
    return ret;
}

/* ---- messages ---- */

int qio_ws_check_writable(QIOChannelWebsock *ws, Error **errp)
{
    if (qio_ws_failed(ws, errp)) {
        return -1;
    }
    if (ws->out.closed) {
        qio_error_set_errno(errp, EPIPE, "the WebSocket is closed for writing");
        return -1;
    }
    return qio_ws_flush(ws, errp);
}

/* How many of the bytes go into one frame, and in how many blocks they are. */
static size_t frame_length(const struct iovec *iov, size_t niov, size_t *pieces)
{
    size_t len = 0;
    size_t i;

    for (i = 0; i < niov && i < PIECES_MAX && len < QIO_WS_FRAME_MAX; i++) {
        len += MIN(iov[i].iov_len, QIO_WS_FRAME_MAX - len);
    }
    *pieces = i;
    return len;
}

/* Text is looked at before it goes: the other side would end the connection over it. */
static bool check_text(const QIOWsOutput *out, QIOWsUtf8 *utf8, const struct iovec *iov,
                       size_t niov, size_t len, bool last, Error **errp)
{
    *utf8 = out->utf8;
    for (size_t i = 0; i < niov && len > 0; i++) {
        size_t n = MIN(iov[i].iov_len, len);

        if (qio_ws_utf8_feed(utf8, iov[i].iov_base, n) < n) {
            qio_error_set(errp, QIO_ERROR_INVAL, "buf: text has to be UTF-8");
            return false;
        }
        len -= n;
    }
    if (last && !qio_ws_utf8_complete(utf8)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: the text ends inside a character");
        return false;
    }
    return true;
}

/* Compresses the bytes and sends them. */
static int put_compressed(QIOChannelWebsock *ws, QIOWsHeader *header, const struct iovec *iov,
                          size_t niov, size_t len, Error **errp)
{
    size_t cap = qio_ws_deflate_bound(ws->deflate, len);
    uint8_t *plain = g_try_malloc(len + 1);
    uint8_t *packed = g_try_malloc(cap);
    size_t have = 0;
    ssize_t n = -1;
    int ret = -1;

    for (size_t i = 0; plain && i < niov && have < len; i++) {
        size_t piece = MIN(iov[i].iov_len, len - have);

        memcpy(plain + have, iov[i].iov_base, piece);
        have += piece;
    }
    if (plain && packed) {
        n = qio_ws_deflate_part(ws->deflate, plain, len, header->fin, packed, cap);
    }
    if (n < 0) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory to compress %zu bytes", len);
    } else {
        struct iovec one = { packed, (size_t)n };

        ret = qio_ws_put_frame(ws, header, &one, 1, (size_t)n, errp);
    }
    /* What was compressed and is lost, later messages may refer to. */
    if (ret < 0 && !ws->out.failure) {
        qio_error_set(&ws->out.failure, QIO_ERROR_NOMEM, "a compressed message was lost");
    }
    g_free(plain);
    g_free(packed);
    return ret;
}

ssize_t qio_ws_put_message(QIOChannelWebsock *ws, const struct iovec *iov, size_t niov,
                           uint8_t opcode, bool more, Error **errp)
{
    QIOWsOutput *out = &ws->out;
    bool compress = ws->deflate && qio_ws_deflate_sends(ws->deflate);
    size_t pieces;
    size_t len = frame_length(iov, niov, &pieces);
    /* A stream has no messages to keep together: each write is one. */
    bool last = !ws->messages || (!more && (ssize_t)len == qio_iov_length(iov, niov, NULL));
    QIOWsHeader header = { .opcode = out->in_message ? QIO_WS_OP_CONTINUATION : opcode,
                           .fin = last, .rsv1 = compress && !out->in_message };
    QIOWsUtf8 utf8 = { 0 };
    int ret = qio_ws_check_writable(ws, errp);

    if (ret != 0) {
        return ret;
    }
    if (opcode == QIO_WS_OP_TEXT &&
        !check_text(out, &utf8, iov, pieces, len, last, errp)) {
        return -1;
    }
    ret = compress ? put_compressed(ws, &header, iov, pieces, len, errp)
                   : qio_ws_put_frame(ws, &header, iov, pieces, len, errp);
    if (ret < 0) {
        return -1;
    }
    out->in_message = !last;
    out->opcode = opcode;
    out->utf8 = last ? (QIOWsUtf8){ 0 } : utf8;
    return (ssize_t)len;
}
