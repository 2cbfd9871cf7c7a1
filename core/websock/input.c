/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/input.c: what comes in: frames taken apart, control frames dealt with.
 *
 * Owns: QIOWsInput.  Rules: payload is not decoded before somebody takes it, so what is held is the
 * input buffer, at most one control frame and what is inflated of one piece; a peer whose bytes
 * nobody takes is not read from.  Every step takes a byte, ends a frame or returns.  Large
 * payloads are read into the buffer of who takes them and unmasked there.
 */
#include <string.h>
#include "websock/mask.h"
#include "websock/websock-priv.h"

/* What can be taken. */
typedef enum Next {
    NEXT_NOTHING,       /* more has to come */
    NEXT_BYTES,         /* of a message */
    NEXT_END,           /* of a message */
    NEXT_EVENT,         /* a control frame that is reported */
    NEXT_CLOSED,        /* the close frame has come, and is reported if it is to be */
    NEXT_FAILED,
} Next;

/* ---- frames ---- */

static bool begin_data(QIOChannelWebsock *ws, const QIOWsHeader *header)
{
    QIOWsInput *in = &ws->in;

    if (header->opcode != QIO_WS_OP_CONTINUATION) {
        in->opcode = header->opcode;
        in->compressed = header->rsv1;
        in->tail_fed = false;
        in->fragments = 0;
        in->message_len = 0;
        in->utf8 = (QIOWsUtf8){ 0 };
    }
    if (ws->messages && ++in->fragments > QIO_WS_FRAGMENTS_MAX) {
        qio_ws_fail(ws, QIO_WS_CLOSE_TOO_BIG, "a message of more than 1024 fragments");
        return false;
    }
    if (ws->messages && header->length > ws->settings.max_message - in->message_len) {
        qio_ws_fail(ws, QIO_WS_CLOSE_TOO_BIG, "a message that is longer than ws-max-message");
        return false;
    }
    if (ws->messages) {
        in->message_len += header->length;
    }
    return true;
}

/* Takes bytes of a header.  Returns false when there are not enough, or they are wrong. */
static bool take_header(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;
    QIOWsDecoder *decoder = &in->decoder;
    ssize_t n;

    if (in->start == in->end) {
        return false;
    }
    n = qio_ws_decode(decoder, in->buf + in->start, in->end - in->start);
    if (n < 0) {
        qio_ws_fail(ws, QIO_WS_CLOSE_PROTOCOL, decoder->problem);
        return false;
    }
    in->start += (size_t)n;
    if (!ws->messages && (decoder->bytes[0] & 0x0f) == QIO_WS_OP_TEXT) {
        qio_ws_fail(ws, QIO_WS_CLOSE_UNSUPPORTED, "text, where a stream of bytes is spoken");
        return false;
    }
    if (!decoder->whole) {
        return false;
    }
    in->in_frame = true;
    in->left = decoder->header.length;
    in->done = 0;
    if (qio_ws_is_control(decoder->header.opcode)) {
        in->control_len = 0;
        return true;
    }
    return begin_data(ws, &decoder->header);
}

static void got_close(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;
    unsigned code = in->control_len >= 2 ? (unsigned)in->control[0] << 8 | in->control[1] : 0;

    if (in->control_len == 1) {
        qio_ws_fail(ws, QIO_WS_CLOSE_PROTOCOL, "a close frame of one byte");
        return;
    }
    if (in->control_len >= 2 && !qio_ws_close_code_valid(code)) {
        qio_ws_fail(ws, QIO_WS_CLOSE_PROTOCOL, "a close code that may not be sent");
        return;
    }
    if (in->control_len > 2 && !qio_ws_utf8_valid(in->control + 2, in->control_len - 2u)) {
        qio_ws_fail(ws, QIO_WS_CLOSE_INVALID, "a close reason that is not UTF-8");
        return;
    }
    in->closed = true;
    in->event = ws->messages ? QIO_WS_OP_CLOSE : 0;
    in->control_at = 0;
    in->start = in->end = 0;
    qio_ws_due_close(ws, code, NULL, 0);
}

static void got_control(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;

    in->in_frame = false;
    switch (in->decoder.header.opcode) {
    case QIO_WS_OP_PING:
        qio_ws_due_pong(ws, in->control, in->control_len);
        break;
    case QIO_WS_OP_PONG:
        in->event = in->want_pongs ? QIO_WS_OP_PONG : 0;
        in->control_at = 0;
        break;
    default:
        got_close(ws);
        break;
    }
}

static void take_control(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;
    size_t n = MIN(in->left, in->end - in->start);
    const QIOWsHeader *header = &in->decoder.header;

    if (header->masked) {
        qio_ws_mask(in->control + in->control_len, in->buf + in->start, n, header->key, in->done);
    } else if (n > 0) {
        memcpy(in->control + in->control_len, in->buf + in->start, n);
    }
    in->control_len = (uint8_t)(in->control_len + n);
    in->start += n;
    in->done += n;
    in->left -= n;
}

/* ---- compressed messages ---- */

static void inflate_failed(QIOChannelWebsock *ws, QIOWsInflated what)
{
    Error *err = NULL;

    if (what == QIO_WS_INFLATED_TOO_BIG) {
        qio_ws_fail(ws, QIO_WS_CLOSE_TOO_BIG, "a message that inflates to more than "
                    "ws-max-inflated");
    } else if (what == QIO_WS_INFLATED_BAD) {
        qio_ws_fail(ws, QIO_WS_CLOSE_INVALID, "a compressed message that cannot be inflated");
    } else {
        qio_error_set(&err, QIO_ERROR_NOMEM, "no memory to inflate a message");
        qio_ws_fail_with(ws, err);
    }
}

/* Feeds what has come of the frame, then the end of the message. */
static Next next_inflated(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;
    const QIOWsHeader *header = &in->decoder.header;

    for (;;) {
        QIOWsInflated what = qio_ws_inflate(ws->deflate);
        size_t n = MIN(in->left, in->end - in->start);

        if (what != QIO_WS_INFLATED_MORE) {
            if (what != QIO_WS_INFLATED_BYTES) {
                inflate_failed(ws, what);
                return NEXT_FAILED;
            }
            return NEXT_BYTES;
        }
        if (n > 0) {
            if (header->masked) {
                qio_ws_mask(in->buf + in->start, in->buf + in->start, n, header->key, in->done);
            }
            qio_ws_inflate_feed(ws->deflate, in->buf + in->start, n);
            in->start += n;
            in->done += n;
            in->left -= n;
        } else if (in->left > 0 || !header->fin) {
            return in->left > 0 ? NEXT_NOTHING : NEXT_END;
        } else if (!in->tail_fed) {
            in->tail_fed = true;
            qio_ws_inflate_feed(ws->deflate, NULL, 0);
        } else {
            qio_ws_inflate_end(ws->deflate);
            return NEXT_END;
        }
    }
}

/* ---- what comes next ---- */

/* The frame has been taken: is it the last of its message? */
static void end_frame(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;

    in->in_frame = false;
    if (!in->decoder.header.fin) {
        return;
    }
    if (in->opcode == QIO_WS_OP_TEXT && !qio_ws_utf8_complete(&in->utf8)) {
        qio_ws_fail(ws, QIO_WS_CLOSE_INVALID, "a text that ends inside a character");
        return;
    }
    in->ended = ws->messages;
}

static Next next_in_frame(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;

    if (in->compressed) {
        return next_inflated(ws);
    }
    if (in->left == 0) {
        return NEXT_END;
    }
    return in->start < in->end ? NEXT_BYTES : NEXT_NOTHING;
}

static Next next(QIOChannelWebsock *ws)
{
    QIOWsInput *in = &ws->in;

    for (;;) {
        if (ws->failure) {
            return NEXT_FAILED;
        }
        if (in->event) {
            return NEXT_EVENT;
        }
        if (in->closed || in->shut) {
            return NEXT_CLOSED;
        }
        if (in->ended) {
            return NEXT_END;
        }
        if (!in->in_frame) {
            if (!take_header(ws) && !ws->failure) {
                return NEXT_NOTHING;
            }
        } else if (qio_ws_is_control(in->decoder.header.opcode)) {
            take_control(ws);
            if (in->left > 0) {
                return NEXT_NOTHING;
            }
            got_control(ws);
        } else {
            Next what = next_in_frame(ws);

            if (what != NEXT_END) {
                return what;
            }
            end_frame(ws);
        }
    }
}

/* ---- the transport ---- */

static void went_away(QIOChannelWebsock *ws)
{
    const QIOWsInput *in = &ws->in;
    Error *err = NULL;

    qio_error_set_number(&err, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET, QIO_WS_CLOSE_GONE,
                         in->in_frame || in->decoder.have > 0 || in->decoder.in_message
                             ? "the other side went away in the middle of a message"
                             : "the other side went away without a close frame");
    qio_ws_fail_with(ws, err);
}

ssize_t qio_ws_fill(QIOChannelWebsock *ws, const struct iovec *direct, Error **errp)
{
    QIOWsInput *in = &ws->in;
    struct iovec iov[2];
    size_t niov = 0, ahead = 0;
    ssize_t n;

    if (!in->buf) {
        in->buf = g_try_malloc(QIO_WS_INPUT_SIZE);
        if (!in->buf) {
            qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for the input of a WebSocket");
            return -1;
        }
    }
    if (in->start == in->end) {
        in->start = in->end = 0;
    }
    if (direct) {
        iov[niov++] = *direct;
        ahead = direct->iov_len;
    }
    iov[niov].iov_base = in->buf + in->end;
    iov[niov++].iov_len = QIO_WS_INPUT_SIZE - in->end;
    n = qio_layer_readv(&ws->parent, iov, niov, errp);
    if (n > 0 && (size_t)n > ahead) {
        in->end += (size_t)n - ahead;
        in->filled = true;
    }
    return n;
}

/* Fills, and turns an end or an error into a failure.  Returns: > 0, 0 would block or failed */
static ssize_t fill_or_fail(QIOChannelWebsock *ws, const struct iovec *direct)
{
    Error *err = NULL;
    ssize_t n;

    /* A peer that sends nothing but pings keeps nobody here: the others have their turn. */
    if (++ws->in.fills > QIO_WS_FILLS_MAX) {
        ws->kick = true;
        return 0;
    }
    /* A pong goes before one waits for more. */
    if (qio_ws_pending(ws)) {
        qio_ws_flush(ws, NULL);
    }
    n = qio_ws_fill(ws, direct, &err);
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return 0;
    }
    if (n == 0) {
        went_away(ws);
    } else if (n < 0) {
        qio_ws_fail_with(ws, err);
        n = 0;
    }
    return n;
}

bool qio_ws_input_ready(QIOChannelWebsock *ws)
{
    ws->in.fills = 0;
    while (next(ws) == NEXT_NOTHING) {
        if (fill_or_fail(ws, NULL) == 0) {
            return ws->failure != NULL;
        }
    }
    return true;
}

/* ---- taking ---- */

/* Looks at text.  Returns: how much of it may be handed out. */
static size_t check_text(QIOChannelWebsock *ws, const uint8_t *bytes, size_t len)
{
    size_t good = ws->in.opcode == QIO_WS_OP_TEXT ? qio_ws_utf8_feed(&ws->in.utf8, bytes, len)
                                                  : len;

    if (good < len) {
        qio_ws_fail(ws, QIO_WS_CLOSE_INVALID, "a text that is not UTF-8");
    }
    return good;
}

/* Takes payload that is in the input buffer. */
static size_t take_buffered(QIOChannelWebsock *ws, uint8_t *buf, size_t len)
{
    QIOWsInput *in = &ws->in;
    const QIOWsHeader *header = &in->decoder.header;
    size_t n = MIN(len, MIN(in->left, in->end - in->start));

    if (in->compressed) {
        n = qio_ws_inflate_take(ws->deflate, buf, len);
        return check_text(ws, buf, n);
    }
    if (header->masked) {
        qio_ws_mask(buf, in->buf + in->start, n, header->key, in->done);
    } else {
        memcpy(buf, in->buf + in->start, n);
    }
    in->start += n;
    in->done += n;
    in->left -= n;
    return check_text(ws, buf, n);
}

/* Reads payload straight to where it is wanted.  Returns: bytes, 0 = would block or failed, or what
 * came has to be looked at */
static size_t take_direct(QIOChannelWebsock *ws, uint8_t *buf, size_t len)
{
    QIOWsInput *in = &ws->in;
    const QIOWsHeader *header = &in->decoder.header;
    struct iovec direct = { buf, MIN(len, in->left) };
    size_t n = (size_t)fill_or_fail(ws, &direct);

    n = MIN(n, direct.iov_len);
    if (header->masked) {
        qio_ws_mask(buf, buf, n, header->key, in->done);
    }
    in->done += n;
    in->left -= n;
    return check_text(ws, buf, n);
}

static bool wants_payload(const QIOWsInput *in)
{
    return in->in_frame && !qio_ws_is_control(in->decoder.header.opcode) && !in->compressed &&
           in->left > 0;
}

/* Hands out a control frame, in parts if need be. */
static ssize_t take_event(QIOWsInput *in, uint8_t *buf, size_t len, int *opcode, bool *fin)
{
    size_t n = MIN(len, (size_t)(in->control_len - in->control_at));

    if (n > 0) {
        memcpy(buf, in->control + in->control_at, n);
    }
    in->control_at = (uint8_t)(in->control_at + n);
    *opcode = in->event;
    *fin = in->control_at == in->control_len;
    if (*fin) {
        in->event = 0;
    }
    return (ssize_t)n;
}

/* After the close frame: the end, or why the other side closed. */
static ssize_t take_closed(QIOWsInput *in, int *opcode, bool *fin, Error **errp)
{
    unsigned code = in->control_len >= 2 ? (unsigned)in->control[0] << 8 | in->control[1] : 0;
    char reason[QIO_WS_CONTROL_MAX * 2];

    *opcode = QIO_WS_OP_CLOSE;
    *fin = true;
    if (!in->closed || code == 0 || code == QIO_WS_CLOSE_NORMAL || code == QIO_WS_CLOSE_AWAY) {
        return 0;
    }
    qio_error_set_number(errp, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET, code,
                         "the other side closed the WebSocket with %u%s%s", code,
                         in->control_len > 2 ? ": " : "",
                         qio_escape_bytes(in->control + 2, MAX(in->control_len, 2) - 2u, reason,
                                          sizeof(reason)));
    return -1;
}

/* As qio_ws_take(), within what is left of this try's reads. */
static ssize_t take(QIOChannelWebsock *ws, uint8_t *buf, size_t len, int *opcode, bool *fin,
                    Error **errp)
{
    QIOWsInput *in = &ws->in;
    size_t got = 0;

    *fin = false;
    for (;;) {
        Next what = next(ws);

        if (what == NEXT_END && in->ended) {
            in->ended = false;
            *fin = true;
            *opcode = in->opcode;
            return (ssize_t)got;
        }
        if (got > 0 && (what > NEXT_END || got == len)) {
            *opcode = in->opcode;
            return (ssize_t)got;
        }
        if (what == NEXT_EVENT) {
            return take_event(in, buf, len, opcode, fin);
        }
        if (what == NEXT_CLOSED) {
            return take_closed(in, opcode, fin, errp);
        }
        if (what == NEXT_FAILED) {
            qio_ws_failed(ws, errp);
            return -1;
        }
        if (what == NEXT_BYTES) {
            got += take_buffered(ws, buf + got, len - got);
        } else if (wants_payload(in)) {
            size_t n = take_direct(ws, buf + got, len - got);

            got += n;
            if (n == 0 && !ws->failure && in->start == in->end) {
                break;
            }
        } else if (got > 0 || (fill_or_fail(ws, NULL) == 0 && !ws->failure)) {
            break;
        }
    }
    *opcode = in->opcode;
    return got > 0 ? (ssize_t)got : QIO_CHANNEL_ERR_BLOCK;
}

ssize_t qio_ws_take(QIOChannelWebsock *ws, uint8_t *buf, size_t len, int *opcode, bool *fin,
                    Error **errp)
{
    ws->in.fills = 0;
    return take(ws, buf, len, opcode, fin, errp);
}

int qio_ws_drop_input(QIOChannelWebsock *ws, Error **errp)
{
    uint8_t scrap[4096];
    Error *err = NULL;
    int opcode = 0;
    bool fin;

    ws->in.fills = 0;
    for (int i = 0; i < QIO_WS_DROPS_MAX; i++) {
        ssize_t n = take(ws, scrap, sizeof(scrap), &opcode, &fin, &err);

        /* Whatever code it has: it is an answer. */
        if (ws->in.closed || (n == 0 && opcode == QIO_WS_OP_CLOSE)) {
            qio_error_free(err);
            return 0;
        }
        if (n < 0) {
            qio_error_propagate(errp, err);
            return (int)n;
        }
    }
    /* What came may inflate without end: the clock and the others have their turn. */
    ws->kick = true;
    return QIO_CHANNEL_ERR_BLOCK;
}
