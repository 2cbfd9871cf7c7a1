/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws.c: WebSocket channels that talk to each other: both faces, waiting, readiness, threads.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <qio/aio.h>
#include "seam.h"
#include "ws-util.h"

static QIOOptions *messages(void)
{
    return ws_options("ws-mode", "messages", NULL);
}

static void drop_ws(QIOChannelWebsock *a, QIOChannelWebsock *b)
{
    qio_object_unref(a);
    qio_object_unref(b);
}

/* ---- both faces ---- */

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
    drop_ws(client, server);
}

TEST(ws_stream_takes_blocks)
{
    QIOChannelWebsock *client, *server;
    char a[3], b[4], c[8];
    struct iovec out[] = { { "ab", 2 }, { NULL, 0 }, { "cdef", 4 }, { "g", 1 } };
    struct iovec in[] = { { a, 3 }, { NULL, 0 }, { b, 4 }, { c, 8 } };

    ws_pair(&client, &server, NULL, NULL);
    for (int way = 0; way < 2; way++) {
        QIOChannel *from = QIO_CHANNEL(way ? client : server);
        QIOChannel *to = QIO_CHANNEL(way ? server : client);

        CHECK_INT(qio_channel_writev(from, out, 4, NULL), ==, 7);
        CHECK_INT(qio_channel_write(from, "hi", 2, NULL), ==, 2);
        CHECK_INT(qio_channel_readv(to, in, 4, NULL), ==, 9);
        CHECK_MEM(a, "abc", 3);
        CHECK_MEM(b, "defg", 4);
        CHECK_MEM(c, "hi", 2);
    }
    drop_ws(client, server);
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
    drop_ws(client, server);
}

TEST(ws_messages_in_parts)
{
    QIOChannelWebsock *client, *server;
    int opcode;
    bool fin;
    char buf[4];
    Error *err = NULL;

    ws_pair(&client, &server, messages(), messages());
    CHECK_INT(qio_channel_websock_send(client, "\xe2\x82", 2, QIO_WEBSOCK_TEXT,
                                       QIO_WEBSOCK_PARTIAL, NULL), ==, 2);
    CHECK_INT(qio_channel_websock_send(client, "x", 1, QIO_WEBSOCK_BINARY, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_INT(qio_channel_websock_ping(client, "p", 1, NULL), ==, 0);
    CHECK_INT(qio_channel_websock_send(client, "\xac!", 2, QIO_WEBSOCK_TEXT, 0, NULL), ==, 2);
    expect(server, "€!", QIO_WEBSOCK_TEXT);
    CHECK_INT(qio_channel_websock_recv(client, buf, 4, QIO_WEBSOCK_PONGS, &opcode, &fin, NULL), ==,
              1);
    CHECK_INT(opcode, ==, QIO_WEBSOCK_PONG);
    /* Longer than the buffer. */
    CHECK_INT(qio_channel_websock_send(server, "abcdefgh", 8, QIO_WEBSOCK_BINARY, 0, NULL), ==, 8);
    CHECK_INT(qio_channel_websock_recv(client, buf, 3, 0, &opcode, &fin, NULL), ==, 3);
    CHECK(!fin);
    CHECK_INT(qio_channel_websock_recv(client, buf, 4, 0, &opcode, &fin, NULL), ==, 4);
    CHECK(!fin);
    CHECK_INT(qio_channel_websock_recv(client, buf, 1, 0, &opcode, &fin, NULL), ==, 1);
    CHECK(fin);
    CHECK_INT(buf[0], ==, 'h');
    drop_ws(client, server);
}

static void check_inval(ssize_t ret, QIOErrorCode code, Error *err)
{
    CHECK_INT(ret, ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, code);
    qio_error_free(err);
}

#define BAD(code, call) \
    do { \
        Error *err = NULL; \
        ssize_t ret_ = (call); \
        check_inval(ret_, code, err); \
    } while (0)

TEST(ws_misuse_is_told)
{
    QIOChannelWebsock *m, *s;
    char buf[200] = { 0 };

    ws_pair(&m, &s, messages(), NULL);
    BAD(QIO_ERROR_NOTSUP, qio_channel_read(QIO_CHANNEL(m), buf, 1, &err));
    BAD(QIO_ERROR_NOTSUP, qio_channel_write(QIO_CHANNEL(m), buf, 1, &err));
    BAD(QIO_ERROR_NOTSUP, qio_channel_websock_send(s, buf, 1, 1, 0, &err));
    BAD(QIO_ERROR_NOTSUP, qio_channel_websock_recv(s, buf, 1, 0, NULL, NULL, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, buf, 1, 0, 0, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, buf, 1, 8, 0, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, buf, 1, 2, 64, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, NULL, 1, 2, 0, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, "\xff", 1, 1, 0, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_send(m, "\xc3", 1, 1, 0, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_recv(m, buf, 0, 0, NULL, NULL, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_recv(m, NULL, 1, 0, NULL, NULL, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_recv(m, buf, 1, 2, NULL, NULL, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_ping(m, buf, 126, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_ping(m, NULL, 1, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_close_code(m, 1005, NULL, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_close_code(m, 0, "why", &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_close_code(m, 1000, "\xff", &err));
    memset(buf, 'x', 124);
    BAD(QIO_ERROR_INVAL, qio_channel_websock_close_code(m, 1000, buf, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_get_request(m, NULL, buf, 1, &err));
    BAD(QIO_ERROR_INVAL, qio_channel_websock_accept_request(s, NULL, &err));
    BAD(QIO_ERROR_NOTSUP, qio_channel_io_seek(QIO_CHANNEL(s), 0, SEEK_SET, &err));
    CHECK(!qio_channel_has_feature(QIO_CHANNEL(s), QIO_CHANNEL_FEATURE_FD_PASS));
    CHECK(qio_channel_has_feature(QIO_CHANNEL(s), QIO_CHANNEL_FEATURE_SHUTDOWN));
    /* None of it broke anything. */
    CHECK_INT(qio_channel_websock_send(m, "ok", 2, 2, 0, NULL), ==, 2);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(s), buf, 9, NULL), ==, 2);
    drop_ws(m, s);
}

TEST(ws_transport_is_the_layers)
{
    QIOChannelWebsock *client, *server;
    QIOChannel *below;
    char byte;

    ws_pair(&client, &server, NULL, NULL);
    below = qio_channel_get_transport(QIO_CHANNEL(client));
    BAD(QIO_ERROR_BUSY, qio_channel_try_read(below, &byte, 1, &err));
    CHECK(!qio_channel_websock_new_client(below, NULL, NULL, NULL));
    drop_ws(client, server);
}

/* ---- waiting ---- */

typedef struct Later {
    int fd, reader;
    const char *bytes[3];
    size_t len[3];
} Later;

/* Writes each piece when the one before has been read, so that the reader has to wait for it. */
static void *write_later(void *opaque)
{
    Later *later = opaque;

    for (int i = 0; i < 3 && later->len[i]; i++) {
        int unread;

        do {
            sched_yield();
            CHECK_INT(ioctl(later->reader, FIONREAD, &unread), ==, 0);
        } while (unread > 0);
        CHECK_INT(write(later->fd, later->bytes[i], later->len[i]), ==, later->len[i]);
    }
    return NULL;
}

static int fd_below(QIOChannelWebsock *ws)
{
    return fd_of(qio_channel_get_transport(QIO_CHANNEL(ws)));
}

TEST(ws_blocking_read_outlasts_controls_and_halves)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    Later later = { fd, fd_below(ws), { "\x89\x80\1\2\3\4", "\x82\x83\0\0", "\0\0abc" },
                    { 6, 4, 5 } };
    pthread_t thread;
    char buf[8];

    CHECK_INT(pthread_create(&thread, NULL, write_later, &later), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL), ==, 3);
    CHECK_MEM(buf, "abc", 3);
    pthread_join(thread, NULL);
    CHECK_INT(read(fd, buf, sizeof(buf)), ==, 2);
    CHECK_MEM(buf, "\x8a\0", 2);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

TEST(ws_read_all_without_a_loop)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    Later later = { fd, fd_below(ws), { "\x82\x82\0\0\0\0ab", "\x82", "\x81\0\0\0\0c" },
                    { 8, 1, 6 } };
    pthread_t thread;
    char buf[8];

    CHECK_INT(qio_channel_set_blocking(QIO_CHANNEL(ws), false, NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(pthread_create(&thread, NULL, write_later, &later), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ws), buf, 3, NULL), ==, 0);
    CHECK_MEM(buf, "abc", 3);
    pthread_join(thread, NULL);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

static gboolean take_one(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    GString *got = data;
    char byte;

    CHECK_INT(qio_channel_try_read(ioc, &byte, 1, NULL), ==, 1);
    g_string_append_c(got, byte);
    return TRUE;
}

/* What is decoded, or still to be, is seen by a watch, byte for byte; a ping is not. */
TEST(ws_watches_see_what_is_held)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    g_autoptr(GString) got = g_string_new(NULL);
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOLoopWatch *watch;
    guint id;

    ws_say(fd, 0x82, "abc");
    ws_say(fd, 0x89, "ping");
    ws_say(fd, 0x82, "de");
    id = qio_channel_add_watch(QIO_CHANNEL(ws), G_IO_IN, take_one, got, NULL);
    while (got->len < 3) {
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(id);
    watch = qio_channel_add_aio_watch(QIO_CHANNEL(ws), ctx, G_IO_IN, take_one, got, NULL, NULL);
    while (got->len < 5) {
        qio_aio_context_dispatch(ctx, -1, NULL);
    }
    CHECK_STR(got->str, "abcde");
    ws_say(fd, 0x89, "only");
    while (qio_aio_context_dispatch(ctx, 0, NULL) > 0) {
    }
    CHECK_STR(got->str, "abcde");
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

/* A writer finds the queue full; before it asks what to wait for another thread has sent all. */
TEST(ws_queue_sent_by_another_wakes_the_writer)
{
    QIOChannel *peer;
    int fd;
    QIOChannel *ws = QIO_CHANNEL(ws_server_on(&fd, &peer, NULL));
    g_autofree char *bytes = g_malloc0(100000);
    QIOPollFd named[4];
    struct pollfd waits = { 0 };

    CHECK_INT(qio_channel_set_blocking(ws, false, NULL), ==, 0);
    while (qio_channel_write(ws, bytes, 100000, NULL) > 0) {
    }
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_advance(ws, G_IO_OUT), ==, 0);
    while (QIO_CHANNEL_GET_CLASS(ws)->io_flush(ws, NULL) == QIO_CHANNEL_ERR_BLOCK) {
        CHECK_INT(read(fd, bytes, 100000), >, 0);
    }
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_poll(ws, G_IO_OUT, named, 4), ==, 1);
    waits.fd = named[0].fd;
    waits.events = (short)named[0].events;
    while (recv(fd, bytes, 100000, MSG_DONTWAIT) > 0) {
    }
    CHECK_INT(poll(&waits, 1, 0), ==, 1);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

/* ---- loops and coroutines ---- */

static void shaken(QIOTask *task, gpointer opaque)
{
    CHECK(!qio_task_propagate_error(task, NULL));
    (*(int *)opaque)++;
}

TEST(ws_handshakes_as_operations)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *client, *server;
    int done = 0;

    pair(&a, &b);
    client = ws_new(a, NULL, false);
    server = ws_new(b, NULL, true);
    drop(a, b);
    qio_channel_websock_handshake(server, shaken, &done, NULL);
    qio_channel_websock_handshake(client, shaken, &done, NULL);
    while (done < 2) {
        g_main_context_iteration(NULL, TRUE);
    }
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "x", 1, NULL), ==, 1);
    drop_ws(client, server);
}

/* The echo of one end runs in a coroutine, which also shakes hands there. */
static void echo(void *opaque)
{
    char buf[3];

    CHECK_INT(qio_channel_read_all(opaque, buf, 3, NULL), ==, 0);
    CHECK_INT(qio_channel_write_all(opaque, buf, 3, NULL), ==, 0);
}

TEST(ws_in_a_coroutine)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *client, *server;
    AioContext *ctx = qio_aio_context_new(NULL);
    char buf[3];

    pair(&a, &b);
    client = ws_new(a, NULL, false);
    server = ws_new(b, NULL, true);
    drop(a, b);
    qio_channel_attach_aio_context(QIO_CHANNEL(server), ctx);
    CHECK_INT(qio_channel_set_blocking(QIO_CHANNEL(client), false, NULL), ==, 0);
    qio_coroutine_enter(qio_coroutine_create(echo, server));
    for (int sent = 0; sent < 3; ) {
        ssize_t n = qio_channel_write(QIO_CHANNEL(client), "abc" + sent, 1, NULL);

        CHECK(n == 1 || n == QIO_CHANNEL_ERR_BLOCK);
        sent += n == 1;
        while (qio_aio_context_dispatch(ctx, 0, NULL) > 0) {
        }
    }
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(client), buf, 3, NULL), ==, 0);
    CHECK_MEM(buf, "abc", 3);
    qio_channel_detach_aio_context(QIO_CHANNEL(server));
    drop_ws(client, server);
    qio_aio_context_unref(ctx);
}

/* ---- system calls ---- */

/* A small message is one call to send and one to receive, on either side. */
TEST(ws_small_messages_are_two_calls)
{
    QIOChannelWebsock *client, *server;
    char buf[64];

    ws_pair(&client, &server, messages(), messages());
    memset(buf, 'x', sizeof(buf));
    for (int way = 0; way < 2; way++) {
        QIOChannelWebsock *from = way ? client : server;
        QIOChannelWebsock *to = way ? server : client;

        CHECK_INT(qio_channel_websock_send(from, buf, 64, QIO_WEBSOCK_BINARY, 0, NULL), ==, 64);
        CHECK_INT(qio_channel_websock_recv(to, buf, 64, 0, NULL, NULL, NULL), ==, 64);
        seam_install();
        for (int i = 0; i < 10; i++) {
            CHECK_INT(qio_channel_websock_send(from, buf, 64, QIO_WEBSOCK_BINARY, 0, NULL), ==,
                      64);
            CHECK_INT(qio_channel_websock_recv(to, buf, 64, 0, NULL, NULL, NULL), ==, 64);
        }
        CHECK_INT(seam_hits_of_all(), ==, 20);
        seam_remove();
    }
    drop_ws(client, server);
}

/* ---- threads ---- */

enum { BULK = 3 * 1000 * 1000 };

typedef struct Bulk {
    QIOChannelWebsock *ws;
    uint32_t seed;
    bool messages;
} Bulk;

static uint8_t bulk_byte(uint32_t seed, size_t i)
{
    return (uint8_t)((i * 2654435761u >> 13) + seed);
}

static void *bulk_write(void *opaque)
{
    Bulk *bulk = opaque;
    g_autofree uint8_t *bytes = g_malloc(BULK);
    size_t at = 0;

    for (size_t i = 0; i < BULK; i++) {
        bytes[i] = bulk_byte(bulk->seed, i);
    }
    for (size_t n; at < BULK; at += n) {
        n = MIN(1 + (at * 7919) % 200000, BULK - at);
        if (bulk->messages) {
            CHECK_INT(qio_channel_websock_send(bulk->ws, bytes + at, n, QIO_WEBSOCK_BINARY, 0,
                                               NULL), ==, n);
        } else {
            CHECK_INT(qio_channel_write_all(QIO_CHANNEL(bulk->ws), (char *)bytes + at, n, NULL),
                      ==, 0);
        }
    }
    CHECK_INT(qio_channel_flush(QIO_CHANNEL(bulk->ws), NULL), ==, 0);
    return NULL;
}

static void *bulk_read(void *opaque)
{
    Bulk *bulk = opaque;
    static __thread uint8_t buf[100000];
    size_t at = 0;

    while (at < BULK) {
        ssize_t n = bulk->messages
            ? qio_channel_websock_recv(bulk->ws, buf, sizeof(buf), 0, NULL, NULL, NULL)
            : qio_channel_read(QIO_CHANNEL(bulk->ws), (char *)buf, sizeof(buf), NULL);

        CHECK_INT(n, >, 0);
        for (ssize_t i = 0; i < n; i++) {
            CHECK_INT(buf[i], ==, bulk_byte(bulk->seed, at + (size_t)i));
        }
        at += (size_t)n;
    }
    CHECK_INT(at, ==, BULK);
    return NULL;
}

static void bulk_both_ways(bool as_messages)
{
    QIOChannelWebsock *ends[2];
    pthread_t threads[4];
    Bulk bulks[2];

    ws_pair(&ends[0], &ends[1], as_messages ? messages() : NULL, as_messages ? messages() : NULL);
    for (int i = 0; i < 2; i++) {
        bulks[i] = (Bulk){ ends[i], 0, as_messages };
        CHECK_INT(pthread_create(&threads[2 * i], NULL, bulk_write, &bulks[i]), ==, 0);
        CHECK_INT(pthread_create(&threads[2 * i + 1], NULL, bulk_read, &bulks[i]), ==, 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    drop_ws(ends[0], ends[1]);
}

TEST(ws_bulk_by_four_threads, .timeout_s = 60)
{
    bulk_both_ways(false);
    bulk_both_ways(true);
}

/* ---- a stack ---- */

TEST(ws_over_ws)
{
    QIOChannelWebsock *outer[2], *inner[2];
    char buf[8];
    int c, s;

    ws_pair(&outer[0], &outer[1], NULL, NULL);
    inner[0] = ws_new(QIO_CHANNEL(outer[0]), NULL, false);
    inner[1] = ws_new(QIO_CHANNEL(outer[1]), NULL, true);
    drop_ws(outer[0], outer[1]);
    do {
        c = QIO_CHANNEL_GET_CLASS(inner[0])->io_handshake(QIO_CHANNEL(inner[0]), NULL);
        s = QIO_CHANNEL_GET_CLASS(inner[1])->io_handshake(QIO_CHANNEL(inner[1]), NULL);
        CHECK(c != -1 && s != -1);
    } while (c != 0 || s != 0);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(inner[1]), "deep", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(inner[0]), buf, sizeof(buf), NULL), ==, 4);
    CHECK_MEM(buf, "deep", 4);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(inner[0]), NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(inner[1]), buf, sizeof(buf), NULL), ==, 0);
    drop_ws(inner[0], inner[1]);
}
