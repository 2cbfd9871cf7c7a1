/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/deflate.h: permessage-deflate (RFC 7692).
 *
 * Owns: QIOWsDeflateTerms, what two sides agree on, and QIOWsDeflate, their two streams.  Rules:
 * parameters are parsed strictly; what one message may become is bounded, and nothing is inflated
 * beyond that.  Nothing is made before the first compressed message.  One thread at a time.
 */
#ifndef QIO_WEBSOCK_DEFLATE_H
#define QIO_WEBSOCK_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define QIO_WS_DEFLATE_NAME "permessage-deflate"

/* Bits of 0: the parameter is not there. */
typedef struct QIOWsDeflateTerms {
    bool server_no_takeover, client_no_takeover;
    bool client_bits_any;   /* of an offer: the server may choose them */
    uint8_t server_bits, client_bits;
} QIOWsDeflateTerms;

/* An item of Sec-WebSocket-Extensions.  Returns: whether it is this extension. */
bool qio_ws_deflate_is(const char *item, size_t len);
/* Takes its parameters.  Returns: false when any is unknown, there twice, or wrong. */
bool qio_ws_deflate_parse(const char *item, size_t len, bool offer, QIOWsDeflateTerms *terms);
/* What a server answers to the offer, which becomes what is agreed on.  For the caller to free. */
char *qio_ws_deflate_answer(QIOWsDeflateTerms *terms);

typedef struct QIOWsDeflate QIOWsDeflate;

QIOWsDeflate *qio_ws_deflate_new(const QIOWsDeflateTerms *terms, bool server,
                                 uint64_t max_inflated);
void qio_ws_deflate_free(QIOWsDeflate *deflate);

/* Whether we compress: not with the window of 256 bytes, which zlib does not have. */
bool qio_ws_deflate_sends(const QIOWsDeflate *deflate);
/* The most bytes that `len` become. */
size_t qio_ws_deflate_bound(const QIOWsDeflate *deflate, size_t len);
/*
 * Compresses a part of a message into `out`, which has room for the bound.
 * @last: with it the message ends
 * Returns: bytes, or -1 without memory
 */
ssize_t qio_ws_deflate_part(QIOWsDeflate *deflate, const void *bytes, size_t len, bool last,
                            uint8_t *out, size_t cap);

typedef enum QIOWsInflated {
    QIO_WS_INFLATED_MORE,       /* wants more input */
    QIO_WS_INFLATED_BYTES,      /* there are bytes to take */
    QIO_WS_INFLATED_BAD,
    QIO_WS_INFLATED_TOO_BIG,
    QIO_WS_INFLATED_NOMEM,
} QIOWsInflated;

/* Gives it a part of a compressed message, which has to stay until it wants more; NULL: the end of
 * the message. */
void qio_ws_inflate_feed(QIOWsDeflate *deflate, const void *bytes, size_t len);
/* Goes on until there are bytes to take. */
QIOWsInflated qio_ws_inflate(QIOWsDeflate *deflate);
/* Takes some of them. */
size_t qio_ws_inflate_take(QIOWsDeflate *deflate, void *buf, size_t len);
/* The message has ended, and all of it was taken. */
void qio_ws_inflate_end(QIOWsDeflate *deflate);

#endif
