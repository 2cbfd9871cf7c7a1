/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-client.c: what the client of a WebSocket asks, and which answers it takes.
 *
 * Rule: the accept value is worked out here; each answer comes whole and in small pieces.
 */
#include "ws-util.h"

#define U "Upgrade: websocket\r\n"
#define C "Connection: Upgrade\r\n"

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT "Sec-WebSocket-Accept: @\r\n"

typedef struct ClientCase {
    const char *name;
    const char *answer;         /* @ is the right accept value */
    bool good;
    const char *options[4];
} ClientCase;

static const ClientCase client_cases[] = {
    { "plain", SWITCH U C ACCEPT "\r\n", true },
    { "no reason", "HTTP/1.1 101\r\n" U C ACCEPT "\r\n", true },
    { "in any case", SWITCH "UPGRADE: WebSocket\r\nconnection: x, upgrade\r\n" ACCEPT "\r\n",
      true },
    { "other fields", SWITCH "Server: x\r\n" U C ACCEPT "\r\n", true },
    { "200", "HTTP/1.1 200 OK\r\n" U C ACCEPT "\r\n", false },
    { "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false },
    { "301", "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", false },
    { "100 first", "HTTP/1.1 100 Continue\r\n\r\n" SWITCH U C ACCEPT "\r\n", false },
    { "HTTP/1.0", "HTTP/1.0 101 x\r\n" U C ACCEPT "\r\n", false },
    { "no HTTP", "SSH-2.0-x\r\n\r\n", false },
    { "1011", "HTTP/1.1 1011 x\r\n" U C ACCEPT "\r\n", false },
    { "wrong accept", SWITCH U C "Sec-WebSocket-Accept: " WS_ACCEPT "\r\n\r\n", false },
    { "accept in other case", SWITCH U C "Sec-WebSocket-Accept: x@\r\n\r\n", false },
    { "no accept", SWITCH U C "\r\n", false },
    { "two accepts", SWITCH U C ACCEPT ACCEPT "\r\n", false },
    { "no upgrade", SWITCH C ACCEPT "\r\n", false },
    { "upgrade to h2c", SWITCH "Upgrade: h2c\r\n" C ACCEPT "\r\n", false },
    { "no connection", SWITCH U ACCEPT "\r\n", false },
    { "a protocol", SWITCH U C ACCEPT "Sec-WebSocket-Protocol: chat\r\n\r\n", false },
    { "a protocol that was asked for", SWITCH U C ACCEPT "Sec-WebSocket-Protocol: chat\r\n\r\n",
      true, { "ws-protocol", "chat" } },
    { "another protocol", SWITCH U C ACCEPT "Sec-WebSocket-Protocol: chat2\r\n\r\n", false,
      { "ws-protocol", "chat" } },
    { "two protocols", SWITCH U C ACCEPT "Sec-WebSocket-Protocol: a, b\r\n\r\n", false,
      { "ws-protocol", "a", "ws-protocol", "b" } },
    { "none of the protocols", SWITCH U C ACCEPT "\r\n", true, { "ws-protocol", "chat" } },
    { "an extension", SWITCH U C ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
      false },
    { "an extension that was asked for",
      SWITCH U C ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", true,
      { "ws-deflate", "on" } },
    { "twice", SWITCH U C ACCEPT "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"
      "\r\n\r\n", false, { "ws-deflate", "on" } },
    { "another one", SWITCH U C ACCEPT "Sec-WebSocket-Extensions: x-frame\r\n\r\n", false,
      { "ws-deflate", "on" } },
    { "with an unknown parameter",
      SWITCH U C ACCEPT "Sec-WebSocket-Extensions: permessage-deflate; x\r\n\r\n", false,
      { "ws-deflate", "on" } },
    { "bare line feed", SWITCH U C ACCEPT "\n", false },
    { "frames first", "\x82\x01x", false },
};

/* The answer with the accept value of the request's key in the place of @. */
static char *fill_in(const char *answer, Scripted *s)
{
    char *key, *right;
    g_auto(GStrv) parts = g_strsplit(answer, "@", -1);
    g_autofree char *both = NULL;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    guint8 digest[20];
    gsize len = sizeof(digest);

    g_byte_array_append(s->written, (guint8 *)"", 1);
    key = strstr((char *)s->written->data, "\r\nSec-WebSocket-Key: ");
    CHECK(key != NULL);
    both = g_strdup_printf("%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 21);
    g_checksum_update(sum, (guchar *)both, -1);
    g_checksum_get_digest(sum, digest, &len);
    right = g_base64_encode(digest, len);
    key = g_strjoinv(right, parts);
    g_free(right);
    return key;
}

static void check_client(const ClientCase *c, size_t every)
{
    Scripted *s = scripted_new();
    QIOOptions *options = qio_options_new();
    QIOChannelWebsock *ws;
    g_autofree char *answer = NULL;
    Error *err = NULL;
    int ret;

    test_note("%s, every %zu", c->name, every);
    for (size_t i = 0; i + 1 < G_N_ELEMENTS(c->options) && c->options[i]; i += 2) {
        qio_options_add_str(options, c->options[i], c->options[i + 1], NULL);
    }
    ws = ws_new(QIO_CHANNEL(s), options, false);
    s->write_room = every ? every : 4096;
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    answer = fill_in(c->answer, s);
    for (size_t at = 0, n, len = strlen(answer); at < len; at += n) {
        n = every ? MIN(every, len - at) : len;
        scripted_bytes(s, answer + at, n);
        scripted_step(s, STEP_BLOCK);
    }
    scripted_step(s, STEP_END);
    do {
        ret = QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), &err);
    } while (ret == QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(ret, ==, c->good ? 0 : -1);
    CHECK((err == NULL) == c->good);
    if (!c->good) {
        char byte;

        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_PROTOCOL);
        qio_error_free(err);
        CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), &byte, 1, NULL), ==, -1);
        CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), "x", 1, NULL), ==, -1);
    }
    qio_object_unref(ws);
    qio_object_unref(s);
}

TEST(ws_client_judges)
{
    for (size_t i = 0; i < G_N_ELEMENTS(client_cases); i++) {
        check_client(&client_cases[i], 0);
        check_client(&client_cases[i], 1);
        check_client(&client_cases[i], 7);
    }
}

TEST(ws_client_asks)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), ws_options(
        "ws-path", "/chat?x=1", "ws-host", "example.org:8080", "ws-origin", "https://a.example",
        "ws-protocol", "a", "ws-protocol", "b", "ws-header", "X-One: 1", "ws-header", "X-Two:",
        NULL), false);
    char *key, *rest;

    s->write_room = 4096;
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    g_byte_array_append(s->written, (guint8 *)"", 1);
    key = strstr((char *)s->written->data, "Sec-WebSocket-Key: ") + 19;
    rest = key + 24;
    CHECK_STR(rest, "\r\nSec-WebSocket-Version: 13\r\nOrigin: https://a.example\r\n"
              "Sec-WebSocket-Protocol: a, b\r\nX-One: 1\r\nX-Two:\r\n\r\n");
    *key = '\0';
    CHECK_STR((char *)s->written->data, "GET /chat?x=1 HTTP/1.1\r\nHost: example.org:8080\r\n"
              "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* Nothing that could end a line gets in, whoever gives it. */
TEST(ws_settings_are_checked)
{
    static const struct { const char *key, *before, *after; } places[] = {
        { "ws-path", "/a", "b" }, { "ws-host", "h", "i" }, { "ws-origin", "o", "p" },
        { "ws-protocol", "p", "q" }, { "ws-header", "N: a", "b" }, { "ws-header", "N", "M: b" },
    };
    Scripted *s = scripted_new();

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        for (int byte = 1; byte < 256; byte++) {
            g_autofree char *value = g_strdup_printf("%s%c%s", places[i].before, byte,
                                                     places[i].after);
            QIOOptions *options = ws_options(places[i].key, value, NULL);
            Error *err = NULL;
            QIOChannelWebsock *ws = qio_channel_websock_new_options(QIO_CHANNEL(s), options, i % 2,
                                                                    &err);
            bool control = (byte < ' ' || byte == 0x7f) && !(i == 4 && byte == '\t');

            test_note("%s with %02x", places[i].key, byte);
            CHECK(!(ws && control));
            CHECK(ws || qio_error_get_code(err) == QIO_ERROR_INVAL);
            CHECK(ws || strstr(qio_error_get_pretty(err), places[i].key));
            CHECK(ws || !strchr(qio_error_get_pretty(err), '\n'));
            qio_error_free(err);
            qio_options_free(options);
            if (ws) {
                qio_object_unref(ws);
                qio_object_unref(s);
                s = scripted_new();
            }
        }
    }
    qio_object_unref(s);
}

TEST(ws_settings_leave_the_handshake_its_own)
{
    static const char *const bad[][2] = {
        { "ws-path", "" }, { "ws-path", "x" }, { "ws-path", "/#x" }, { "ws-host", "" },
        { "ws-protocol", "" }, { "ws-protocol", "a,b" }, { "ws-header", "" },
        { "ws-header", ": x" }, { "ws-header", "Host: x" }, { "ws-header", "upgrade: x" },
        { "ws-header", "Sec-WebSocket-Key: x" }, { "ws-header", "Content-Length: 3" },
        { "ws-header", "Transfer-Encoding: chunked" }, { "ws-header", "a b: c" },
    };
    Scripted *s = scripted_new();

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        QIOOptions *options = ws_options(bad[i][0], bad[i][1], NULL);

        test_note("%s=%s", bad[i][0], bad[i][1]);
        CHECK(!qio_channel_websock_new_options(QIO_CHANNEL(s), options, false, NULL));
        qio_options_free(options);
    }
    CHECK_INT(s->written->len, ==, 0);
    CHECK(!qio_channel_websock_new_options(NULL, NULL, false, NULL));
    CHECK(!qio_channel_websock_new_client(QIO_CHANNEL(s), "h\r\nX: y", "/", NULL));
    qio_object_unref(s);
}
