/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws.c: WebSocket channels that talk to each other: both faces, waiting, the end.
 */
#include "ws-util.h"

#include <pthread.h>

TEST(ws_stream_both_ways)
{
    QIOChannelWebsock *client, *server;
    char buf[16];

    ws_pair(&client, &server, NULL, NULL);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(client), "hello", 5, NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(server), buf, sizeof(buf), NULL), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(server), "there", 5, NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(client), buf, 2, NULL), ==, 2);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(client), buf + 2, 3, NULL), ==, 0);
    CHECK_MEM(buf, "there", 5);
    qio_object_unref(client);
    qio_object_unref(server);
}

static void expect(QIOChannelWebsock *ws, const char *text, int opcode)
{
    char buf[256];
    int got = 0;
    bool fin = false;
    ssize_t n = qio_channel_websock_recv(ws, buf, sizeof(buf), 0, &got, &fin, NULL);

    CHECK_INT(n, ==, strlen(text));
    CHECK_MEM(buf, text, (size_t)n);
    CHECK_INT(got, ==, opcode);
    CHECK(fin);
}

static QIOOptions *messages(void)
{
    return ws_options("ws-mode", "messages", NULL);
}

TEST(ws_messages_both_ways)
{
    QIOChannelWebsock *client, *server;

    ws_pair(&client, &server, messages(), messages());
    CHECK(qio_channel_websock_is_messages(client));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(qio_channel_websock_send(client, "grüß", 6, QIO_WEBSOCK_TEXT, 0, NULL), ==, 6);
        CHECK_INT(qio_channel_websock_send(client, "", 0, QIO_WEBSOCK_BINARY, 0, NULL), ==, 0);
        expect(server, "grüß", QIO_WEBSOCK_TEXT);
        expect(server, "", QIO_WEBSOCK_BINARY);
        CHECK_INT(qio_channel_websock_send(server, "x", 1, QIO_WEBSOCK_BINARY, 0, NULL), ==, 1);
        expect(client, "x", QIO_WEBSOCK_BINARY);
    }
    qio_object_unref(client);
    qio_object_unref(server);
}
