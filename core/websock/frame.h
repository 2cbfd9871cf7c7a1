/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/frame.h: the headers of frames (RFC 6455, 5.2) and the codes of closing.
 *
 * Owns: QIOWsDecoder, a header as far as it has come, and where in a message it stands.  Rules:
 * each byte is judged when it comes and no rule waits for more than it needs; what is said of a
 * bad header is a constant text, its close code is 1002.  Pure; one thread at a time.
 */
#ifndef QIO_WEBSOCK_FRAME_H
#define QIO_WEBSOCK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The opcodes, as the wire has them. */
enum {
    QIO_WS_OP_CONTINUATION = 0,
    QIO_WS_OP_TEXT = 1,
    QIO_WS_OP_BINARY = 2,
    QIO_WS_OP_CLOSE = 8,
    QIO_WS_OP_PING = 9,
    QIO_WS_OP_PONG = 10,
};

enum {
    QIO_WS_HEADER_MAX = 14,
    QIO_WS_CONTROL_MAX = 125,
};

typedef struct QIOWsHeader {
    uint8_t opcode;
    bool fin;
    bool rsv1;              /* the first frame of a compressed message */
    bool masked;
    uint8_t key[4];
    uint64_t length;
} QIOWsHeader;

typedef struct QIOWsDecoder {
    bool expect_masked;     /* of a server; of a client: must not be */
    bool allow_rsv1;        /* permessage-deflate is in force */
    bool in_message;        /* kept by the decoder: a message was begun and goes on */
    bool whole;             /* header is one */
    uint8_t have;           /* bytes of it so far */
    uint8_t need;           /* bytes it has, by what has come */
    uint8_t bytes[QIO_WS_HEADER_MAX];
    QIOWsHeader header;
    const char *problem;    /* what is wrong with it */
} QIOWsDecoder;

/*
 * Goes on with the header.  Returns: how many bytes belong to it; the decoder's `whole` says
 * whether it ended with them (the next call starts another).  -1: `problem` is set, and nothing
 * may be fed any more.
 */
ssize_t qio_ws_decode(QIOWsDecoder *decoder, const void *bytes, size_t len);

static inline bool qio_ws_is_control(uint8_t opcode)
{
    return opcode & 8;
}

/* Writes a header, as short as it can be.  Returns: its length */
size_t qio_ws_encode(const QIOWsHeader *header, uint8_t out[QIO_WS_HEADER_MAX]);

/* Whether a close frame may carry the code. */
bool qio_ws_close_code_valid(unsigned code);

#endif
