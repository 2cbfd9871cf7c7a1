/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ws-util.h: a WebSocket of ours against a peer that is bare bytes, or against another of ours.
 *
 * Owns nothing.  The peer's side is written out here, so that the library is not checked against
 * itself where it matters.
 */
#ifndef TESTS_WS_UTIL_H
#define TESTS_WS_UTIL_H

#include "runner.h"
#include "scripted.h"
#include "socket-pair.h"

#include <qio/channel-websock.h>

#define WS_KEY "o9JHNiS3/0/0zYE1wa3yIw=="
#define WS_ACCEPT "b3DnPh7O8hyYE5sIjQxl/c1J+S8="

#define WS_REQUEST \
    "GET / HTTP/1.1\r\n" \
    "Host: example.org\r\n" \
    "Upgrade: websocket\r\n" \
    "Connection: keep-alive, Upgrade\r\n" \
    "Sec-WebSocket-Key: " WS_KEY "\r\n" \
    "Sec-WebSocket-Version: 13\r\n"

/* Options from a list of key, value, ..., NULL. */
static inline QIOOptions *ws_options(const char *key, ...)
{
    QIOOptions *options = qio_options_new();
    va_list args;

    va_start(args, key);
    for (; key; key = va_arg(args, const char *)) {
        CHECK_INT(qio_options_add_str(options, key, va_arg(args, const char *), NULL), ==, 0);
    }
    va_end(args);
    return options;
}

/* Takes the options. */
static inline QIOChannelWebsock *ws_new(QIOChannel *master, QIOOptions *options, bool server)
{
    QIOChannelWebsock *ws = qio_channel_websock_new_options(master, options, server, NULL);

    CHECK(ws != NULL);
    qio_options_free(options);
    return ws;
}

/* Appends a frame of a client (masked, with a key that is not 0) or a server. */
static inline void ws_frame(GByteArray *to, uint8_t first, const void *payload, size_t len,
                            bool masked)
{
    static const uint8_t key[4] = { 0x37, 0xfa, 0x21, 0x3d };
    uint8_t head[10] = { first };
    guint n = 2, at;

    if (len <= 125) {
        head[1] = (uint8_t)len;
    } else if (len <= 0xffff) {
        head[1] = 126;
        head[2] = (uint8_t)(len >> 8);
        head[3] = (uint8_t)len;
        n = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++) {
            head[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
        }
        n = 10;
    }
    head[1] |= masked ? 0x80 : 0;
    g_byte_array_append(to, head, n);
    if (masked) {
        g_byte_array_append(to, key, 4);
    }
    at = to->len;
    if (len > 0) {
        g_byte_array_append(to, payload, (guint)len);
    }
    for (size_t i = 0; masked && i < len; i++) {
        to->data[at + i] ^= key[i % 4];
    }
}

static inline void ws_text_frame(GByteArray *to, uint8_t first, const char *text, bool masked)
{
    ws_frame(to, first, text, strlen(text), masked);
}

/* Two ends with their hands shaken, over a pair of sockets that stay theirs. */
static inline void ws_pair(QIOChannelWebsock **client, QIOChannelWebsock **server,
                           QIOOptions *of_client, QIOOptions *of_server)
{
    QIOChannel *a, *b;
    int c, s;

    pair(&a, &b);
    *client = ws_new(a, of_client, false);
    *server = ws_new(b, of_server, true);
    drop(a, b);
    do {
        c = QIO_CHANNEL_GET_CLASS(*client)->io_handshake(QIO_CHANNEL(*client), NULL);
        s = QIO_CHANNEL_GET_CLASS(*server)->io_handshake(QIO_CHANNEL(*server), NULL);
        CHECK(c != -1 && s != -1);
    } while (c != 0 || s != 0);
}

/* A server of ours whose client is bare bytes on *fd; hands are shaken. */
static inline QIOChannelWebsock *ws_server_on(int *fd, QIOChannel **peer, QIOOptions *options)
{
    QIOChannel *a;
    QIOChannelWebsock *ws;
    char buf[1024];

    pair(&a, peer);
    ws = ws_new(a, options, true);
    qio_object_unref(a);
    *fd = fd_of(*peer);
    CHECK_INT(write(*fd, WS_REQUEST "\r\n", strlen(WS_REQUEST) + 2), ==, strlen(WS_REQUEST) + 2);
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
    CHECK_INT(read(*fd, buf, sizeof(buf)), >, 100);
    return ws;
}

static inline void ws_say(int fd, uint8_t first, const char *text)
{
    GByteArray *bytes = g_byte_array_new();

    ws_text_frame(bytes, first, text, true);
    CHECK_INT(write(fd, bytes->data, bytes->len), ==, bytes->len);
    g_byte_array_unref(bytes);
}

#endif
