/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/deflate.c: permessage-deflate (RFC 7692).
 *
 * Owns: its parameters, and one stream of zlib each way.  Rules: what one message becomes is
 * counted while it is inflated, 16 KiB at a time, and one byte over the limit ends it; a stream is
 * made when it is first needed, with zlib's own allocator, whose failure is an error.
 */
#include <glib.h>
#include <string.h>
#include <zlib.h>
#include "websock/deflate.h"

enum {
    PLAIN_SIZE = 16 * 1024,
    TAIL_SIZE = 4,              /* what the end of each message is stripped of */
    SLACK = 64,                 /* of a flush, over zlib's own bound */
};

static const uint8_t tail[TAIL_SIZE] = { 0x00, 0x00, 0xff, 0xff };

/* ---- parameters ---- */

/* Takes the next piece up to a semicolon, spaces off.  Returns: false when there is none. */
static bool next_piece(const char **text, const char *end, const char **piece, size_t *len)
{
    const char *p = *text;
    const char *stop;

    if (p > end) {
        return false;
    }
    stop = memchr(p, ';', (size_t)(end - p));
    stop = stop ? stop : end;
    *text = stop + 1;
    while (p < stop && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t')) {
        stop--;
    }
    *piece = p;
    *len = (size_t)(stop - p);
    return true;
}

static bool is_text(const char *piece, size_t len, const char *text)
{
    return strlen(text) == len && g_ascii_strncasecmp(piece, text, len) == 0;
}

bool qio_ws_deflate_is(const char *item, size_t len)
{
    const char *piece, *text = item;
    size_t n;

    return next_piece(&text, item + len, &piece, &n) && is_text(piece, n, QIO_WS_DEFLATE_NAME);
}

/* "8" to "15", also in quotes.  Returns: 0 when it is no such thing. */
static uint8_t parse_bits(const char *text, size_t len)
{
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text++;
        len -= 2;
    }
    if (len == 1 && (text[0] == '8' || text[0] == '9')) {
        return (uint8_t)(text[0] - '0');
    }
    return len == 2 && text[0] == '1' && text[1] >= '0' && text[1] <= '5'
        ? (uint8_t)(10 + text[1] - '0') : 0;
}

static bool take_switch(bool *to)
{
    bool first = !*to;

    *to = true;
    return first;
}

static bool take_bits(uint8_t *to, const char *value, size_t len)
{
    bool first = *to == 0;

    *to = parse_bits(value, len);
    return first && *to != 0;
}

static bool take_parameter(const char *piece, size_t len, bool offer, QIOWsDeflateTerms *terms)
{
    const char *equals = memchr(piece, '=', len);
    size_t name = equals ? (size_t)(equals - piece) : len;
    const char *value = equals ? equals + 1 : NULL;
    size_t value_len = equals ? len - name - 1 : 0;

    if (is_text(piece, name, "server_no_context_takeover")) {
        return !value && take_switch(&terms->server_no_takeover);
    }
    if (is_text(piece, name, "client_no_context_takeover")) {
        return !value && take_switch(&terms->client_no_takeover);
    }
    if (is_text(piece, name, "server_max_window_bits")) {
        return value && take_bits(&terms->server_bits, value, value_len);
    }
    if (is_text(piece, name, "client_max_window_bits")) {
        if (terms->client_bits_any) {
            return false;
        }
        terms->client_bits_any = true;
        return value ? take_bits(&terms->client_bits, value, value_len) : offer;
    }
    return false;
}

bool qio_ws_deflate_parse(const char *item, size_t len, bool offer, QIOWsDeflateTerms *terms)
{
    const char *text = item, *piece;
    size_t n;

    memset(terms, 0, sizeof(*terms));
    next_piece(&text, item + len, &piece, &n);
    while (next_piece(&text, item + len, &piece, &n)) {
        if (!take_parameter(piece, n, offer, terms)) {
            memset(terms, 0, sizeof(*terms));
            return false;
        }
    }
    return true;
}

char *qio_ws_deflate_answer(QIOWsDeflateTerms *terms)
{
    GString *text = g_string_new(QIO_WS_DEFLATE_NAME);

    if (terms->server_no_takeover) {
        g_string_append(text, "; server_no_context_takeover");
    }
    if (terms->client_no_takeover) {
        g_string_append(text, "; client_no_context_takeover");
    }
    if (terms->server_bits) {
        g_string_append_printf(text, "; server_max_window_bits=%u", terms->server_bits);
    }
    if (terms->client_bits) {
        g_string_append_printf(text, "; client_max_window_bits=%u", terms->client_bits);
    }
    return g_string_free(text, FALSE);
}

/* ---- the streams ---- */

struct QIOWsDeflate {
    bool forget_sent, forget_received;      /* no context is kept between messages */
    bool deflating, inflating;              /* the stream is made */
    bool full;                              /* of output: there may be more */
    QIOWsInflated ended;                    /* anything but MORE: why nothing more comes */
    int bits;                               /* of the window of what we send */
    uint64_t max_inflated, inflated;
    z_stream out, in;
    size_t start, end;                      /* what of plain is to be taken */
    uint8_t plain[PLAIN_SIZE];
};

QIOWsDeflate *qio_ws_deflate_new(const QIOWsDeflateTerms *terms, bool server,
                                 uint64_t max_inflated)
{
    QIOWsDeflate *d = g_try_new0(QIOWsDeflate, 1);
    uint8_t bits = server ? terms->server_bits : terms->client_bits;

    if (d) {
        d->forget_sent = server ? terms->server_no_takeover : terms->client_no_takeover;
        d->forget_received = server ? terms->client_no_takeover
                                          : terms->server_no_takeover;
        d->bits = bits ? bits : MAX_WBITS;
        d->max_inflated = max_inflated;
    }
    return d;
}

void qio_ws_deflate_free(QIOWsDeflate *d)
{
    if (!d) {
        return;
    }
    if (d->deflating) {
        deflateEnd(&d->out);
    }
    if (d->inflating) {
        inflateEnd(&d->in);
    }
    g_free(d);
}

bool qio_ws_deflate_sends(const QIOWsDeflate *d)
{
    return d->bits > 8;
}

size_t qio_ws_deflate_bound(const QIOWsDeflate *d, size_t len)
{
    return compressBound((uLong)len) + SLACK;
}

ssize_t qio_ws_deflate_part(QIOWsDeflate *d, const void *bytes, size_t len, bool last,
                            uint8_t *out, size_t cap)
{
    z_stream *z = &d->out;
    size_t n;

    if (!d->deflating) {
        if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -d->bits, 8,
                         Z_DEFAULT_STRATEGY) != Z_OK) {
            return -1;
        }
        d->deflating = true;
    }
    z->next_in = (Bytef *)bytes;
    z->avail_in = (uInt)len;
    z->next_out = out;
    z->avail_out = (uInt)cap;
    if (len > 0 && deflate(z, Z_SYNC_FLUSH) != Z_OK) {
        return -1;
    }
    n = cap - z->avail_out;
    if (z->avail_in > 0 || z->avail_out == 0) {
        return -1;
    }
    if (!last) {
        return (ssize_t)n;
    }
    if (n >= TAIL_SIZE) {
        n -= TAIL_SIZE;
    } else {
        out[0] = 0;             /* an empty block, whose end is the tail */
        n = 1;
    }
    if (d->forget_sent) {
        deflateReset(z);
    }
    return (ssize_t)n;
}

void qio_ws_inflate_feed(QIOWsDeflate *d, const void *bytes, size_t len)
{
    d->in.next_in = bytes ? (Bytef *)bytes : (Bytef *)tail;
    d->in.avail_in = (uInt)(bytes ? len : TAIL_SIZE);
}

/* One call of zlib, never for more than one byte over the limit. */
static QIOWsInflated inflate_once(QIOWsDeflate *d)
{
    z_stream *z = &d->in;
    uint64_t left = d->max_inflated - d->inflated;
    size_t cap = left < PLAIN_SIZE ? (size_t)left + 1 : PLAIN_SIZE;
    int ret;

    z->next_out = d->plain;
    z->avail_out = (uInt)cap;
    ret = inflate(z, Z_SYNC_FLUSH);
    d->start = 0;
    d->end = cap - z->avail_out;
    d->full = z->avail_out == 0;
    if (d->end > left) {
        d->end = (size_t)left;
        d->ended = QIO_WS_INFLATED_TOO_BIG;
    } else if (ret == Z_STREAM_END) {
        inflateResetKeep(z);    /* a last block: what follows is a new stream, with the window */
        d->full = false;
    } else if (ret == Z_MEM_ERROR) {
        d->ended = QIO_WS_INFLATED_NOMEM;
    } else if (ret != Z_OK && ret != Z_BUF_ERROR) {
        d->ended = QIO_WS_INFLATED_BAD;
    }
    d->inflated += d->end;
    return d->end > 0 ? QIO_WS_INFLATED_BYTES : d->ended;
}

QIOWsInflated qio_ws_inflate(QIOWsDeflate *d)
{
    QIOWsInflated what;

    if (d->start < d->end) {
        return QIO_WS_INFLATED_BYTES;
    }
    if (d->ended != QIO_WS_INFLATED_MORE) {
        return d->ended;
    }
    if (!d->inflating) {
        if (d->in.avail_in == 0) {
            return QIO_WS_INFLATED_MORE;
        }
        if (inflateInit2(&d->in, -MAX_WBITS) != Z_OK) {
            return QIO_WS_INFLATED_NOMEM;
        }
        d->inflating = true;
    }
    while (d->in.avail_in > 0 || d->full) {
        what = inflate_once(d);
        if (what != QIO_WS_INFLATED_MORE) {
            return what;
        }
    }
    return QIO_WS_INFLATED_MORE;
}

size_t qio_ws_inflate_take(QIOWsDeflate *d, void *buf, size_t len)
{
    size_t n = MIN(len, d->end - d->start);

    if (n > 0) {
        memcpy(buf, d->plain + d->start, n);
    }
    d->start += n;
    return n;
}

void qio_ws_inflate_end(QIOWsDeflate *d)
{
    d->inflated = 0;
    if (d->forget_received && d->inflating) {
        inflateReset(&d->in);
    }
}
