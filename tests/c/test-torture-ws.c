/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-ws.c: every system call under a WebSocket fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.  Both ends are ours and in one thread, so
 * that what one end lost the other one waits for on the test clock, which makes it a time-out.
 */
#include "testclock.h"
#include "torture-util.h"
#include "ws-util.h"

typedef struct Ends {
    QIOChannelWebsock *client, *server;
} Ends;

/* Makes both over a pair of sockets.  Returns false when one failed. */
static bool make_ends(Ends *ends, const char *mode, const char *deflate)
{
    QIOOptions *options = ws_options("ws-mode", mode, "ws-deflate", deflate, NULL);
    QIOChannelSocket *a, *b;
    Error *err = NULL;

    *ends = (Ends){ NULL, NULL };
    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        ends->client = qio_channel_websock_new_options(QIO_CHANNEL(a), options, false, &err);
        went_well(ends->client != NULL, &err);
        ends->server = qio_channel_websock_new_options(QIO_CHANNEL(b), options, true, &err);
        went_well(ends->server != NULL, &err);
        qio_object_unref(a);
        qio_object_unref(b);
    }
    qio_options_free(options);
    return ends->client && ends->server;
}

static int step(QIOChannelWebsock *ws, Error **errp)
{
    return QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), errp);
}

static bool shake_hands(Ends *ends)
{
    Error *err = NULL;
    int c = QIO_CHANNEL_ERR_BLOCK, s = QIO_CHANNEL_ERR_BLOCK;

    while (c != 0 || s != 0) {
        c = step(ends->client, &err);
        if (!went_well(c != -1, &err)) {
            return false;
        }
        s = step(ends->server, &err);
        if (!went_well(s != -1, &err)) {
            return false;
        }
    }
    return true;
}

static void drop_ends(Ends *ends)
{
    put_away(ends->client);
    put_away(ends->server);
}

/* Sends the text one way.  What the transport did not take at once is pushed: nobody else would. */
static bool stream(QIOChannelWebsock *from, QIOChannelWebsock *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN];

    qio_channel_set_timeout(QIO_CHANNEL(to), 1000);
    if (!went_well(qio_channel_write_all(QIO_CHANNEL(from), TEXT, TEXT_LEN, &err) == 0, &err) ||
        !went_well(qio_channel_flush(QIO_CHANNEL(from), &err) == 0, &err) ||
        !went_well(qio_channel_read_all(QIO_CHANNEL(to), buf, TEXT_LEN, &err) == 0, &err)) {
        return false;
    }
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

static void talk_as_streams(void)
{
    Ends ends;

    if (make_ends(&ends, "stream", "off") && shake_hands(&ends) &&
        stream(ends.client, ends.server)) {
        stream(ends.server, ends.client);
    }
    drop_ends(&ends);
}

static bool carry(QIOChannelWebsock *from, QIOChannelWebsock *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN + 1];
    ssize_t got = 0;
    bool fin = false;

    if (!went_well(qio_channel_websock_ping(from, "p", 1, &err) == 0, &err) ||
        !went_well(qio_channel_websock_send(from, TEXT, TEXT_LEN, QIO_WEBSOCK_TEXT, 0, &err) ==
                   TEXT_LEN, &err) ||
        !went_well(qio_channel_flush(QIO_CHANNEL(from), &err) == 0, &err)) {
        return false;
    }
    while (!fin) {
        ssize_t n = qio_channel_websock_recv(to, buf + got, (size_t)(TEXT_LEN - got) + 1, 0, NULL,
                                             &fin, &err);

        if (!went_well(n >= 0, &err)) {
            return false;
        }
        got += n;
    }
    CHECK_INT(got, ==, TEXT_LEN);
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

static void talk_as_messages(void)
{
    Ends ends;

    if (make_ends(&ends, "messages", "on") && shake_hands(&ends)) {
        qio_channel_set_timeout(QIO_CHANNEL(ends.client), 1000);
        qio_channel_set_timeout(QIO_CHANNEL(ends.server), 1000);
        if (carry(ends.client, ends.server)) {
            carry(ends.server, ends.client);
        }
    }
    drop_ends(&ends);
}

/* One end says bye, the other one hears it. */
static void part(void)
{
    Error *err = NULL;
    char byte;
    Ends ends;

    if (make_ends(&ends, "stream", "off") && shake_hands(&ends)) {
        int ret = QIO_CHANNEL_GET_CLASS(ends.client)->io_bye(QIO_CHANNEL(ends.client), &err);

        if (went_well(ret != -1, &err) &&
            went_well(qio_channel_flush(QIO_CHANNEL(ends.client), &err) == 0, &err)) {
            qio_channel_set_timeout(QIO_CHANNEL(ends.server), 1000);
            went_well(qio_channel_read(QIO_CHANNEL(ends.server), &byte, 1, &err) == 0, &err);
            went_well(qio_channel_flush(QIO_CHANNEL(ends.server), &err) == 0, &err);
            went_well(qio_channel_bye(QIO_CHANNEL(ends.client), 1000, false, &err) == 0, &err);
        }
    }
    drop_ends(&ends);
}

static void on_test_clock(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

TEST(ws_stream, .timeout_s = 60)
{
    on_test_clock(talk_as_streams, 40);
}

TEST(ws_messages, .timeout_s = 60)
{
    on_test_clock(talk_as_messages, 40);
}

TEST(ws_end, .timeout_s = 60)
{
    on_test_clock(part, 40);
}
