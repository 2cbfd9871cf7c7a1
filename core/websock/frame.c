/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/frame.c: the headers of frames.
 *
 * Owns: the rules of RFC 6455, 5.2 to 5.5, for one header after another.  Pure.
 */
#include <string.h>
#include "websock/frame.h"

static const char *judge_first(QIOWsDecoder *decoder, uint8_t byte)
{
    uint8_t opcode = byte & 0x0f;
    bool fin = byte & 0x80;
    bool rsv1 = byte & 0x40;

    if (byte & 0x30) {
        return "a reserved bit is set";
    }
    if (opcode > QIO_WS_OP_PONG || (opcode > QIO_WS_OP_BINARY && opcode < QIO_WS_OP_CLOSE)) {
        return "the opcode is reserved";
    }
    if (rsv1 && (!decoder->allow_rsv1 || qio_ws_is_control(opcode) ||
                 opcode == QIO_WS_OP_CONTINUATION)) {
        return "a reserved bit is set";
    }
    if (qio_ws_is_control(opcode)) {
        return fin ? NULL : "a control frame is fragmented";
    }
    if (opcode == QIO_WS_OP_CONTINUATION && !decoder->in_message) {
        return "a continuation without a message that goes on";
    }
    if (opcode != QIO_WS_OP_CONTINUATION && decoder->in_message) {
        return "a message begins inside another";
    }
    return NULL;
}

static const char *judge_second(QIOWsDecoder *decoder, uint8_t byte)
{
    uint8_t length = byte & 0x7f;
    bool masked = byte & 0x80;

    if (masked != decoder->expect_masked) {
        return masked ? "a server must not mask" : "a client has to mask";
    }
    if (qio_ws_is_control(decoder->bytes[0]) && length > QIO_WS_CONTROL_MAX) {
        return "a control frame of more than 125 bytes";
    }
    decoder->need = (uint8_t)(2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (masked ? 4 : 0));
    return NULL;
}

/* A byte of a long length, the at-th of the header. */
static const char *judge_length(const QIOWsDecoder *decoder, uint8_t at)
{
    const uint8_t *bytes = decoder->bytes;

    if ((bytes[1] & 0x7f) == 126 && at == 3 && bytes[2] == 0 && bytes[3] < 126) {
        return "a length in more bytes than it needs";
    }
    if ((bytes[1] & 0x7f) == 127 && at == 2 && (bytes[2] & 0x80)) {
        return "a length with its highest bit set";
    }
    if ((bytes[1] & 0x7f) == 127 && at == 7 && memcmp(bytes + 2, "\0\0\0\0\0", 6) == 0) {
        return "a length in more bytes than it needs";
    }
    return NULL;
}

static const char *judge(QIOWsDecoder *decoder, uint8_t at)
{
    uint8_t extra;

    if (at == 0) {
        return judge_first(decoder, decoder->bytes[0]);
    }
    if (at == 1) {
        return judge_second(decoder, decoder->bytes[1]);
    }
    extra = (decoder->bytes[1] & 0x7f) == 126 ? 2 : (decoder->bytes[1] & 0x7f) == 127 ? 8 : 0;
    return at < 2 + extra ? judge_length(decoder, at) : NULL;
}

static void finish(QIOWsDecoder *decoder)
{
    const uint8_t *bytes = decoder->bytes;
    QIOWsHeader *header = &decoder->header;
    uint8_t length = bytes[1] & 0x7f;
    uint8_t extra = length == 126 ? 2 : length == 127 ? 8 : 0;

    header->fin = bytes[0] & 0x80;
    header->rsv1 = bytes[0] & 0x40;
    header->opcode = bytes[0] & 0x0f;
    header->masked = bytes[1] & 0x80;
    header->length = extra ? 0 : length;
    for (uint8_t i = 0; i < extra; i++) {
        header->length = header->length << 8 | bytes[2 + i];
    }
    if (header->masked) {
        memcpy(header->key, bytes + 2 + extra, 4);
    }
    if (!qio_ws_is_control(header->opcode)) {
        decoder->in_message = !header->fin;
    }
    decoder->whole = true;
    decoder->have = 0;
}

ssize_t qio_ws_decode(QIOWsDecoder *decoder, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    size_t n = 0;

    decoder->whole = false;
    if (decoder->have == 0) {
        decoder->need = 2;
    }
    while (n < len) {
        decoder->bytes[decoder->have] = from[n++];
        decoder->problem = judge(decoder, decoder->have);
        if (decoder->problem) {
            return -1;
        }
        if (++decoder->have == decoder->need) {
            finish(decoder);
            break;
        }
    }
    return (ssize_t)n;
}

size_t qio_ws_encode(const QIOWsHeader *header, uint8_t out[QIO_WS_HEADER_MAX])
{
    uint8_t extra = header->length <= 125 ? 0 : header->length <= 0xffff ? 2 : 8;
    size_t n = 2;

    out[0] = (uint8_t)((header->fin ? 0x80 : 0) | (header->rsv1 ? 0x40 : 0) | header->opcode);
    out[1] = (uint8_t)((header->masked ? 0x80 : 0) |
                       (extra == 0 ? header->length : extra == 2 ? 126 : 127));
    for (uint8_t i = extra; i > 0; i--) {
        out[n++] = (uint8_t)(header->length >> (8 * (i - 1)));
    }
    if (header->masked) {
        memcpy(out + n, header->key, 4);
        n += 4;
    }
    return n;
}

bool qio_ws_close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
