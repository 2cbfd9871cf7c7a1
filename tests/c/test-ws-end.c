/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-end.c: how a WebSocket ends: by the close handshake, by close, shutdown, or a peer that
 * goes away.
 */
#include <pthread.h>
#include <sys/socket.h>
#include "testclock.h"
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

static void check_epipe(ssize_t ret, Error *err)
{
    CHECK_INT(ret, ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
}

static void check_code(ssize_t ret, Error *err, int code)
{
    CHECK_INT(ret, ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_PROTOCOL);
    CHECK_INT(qio_error_get_domain(err), ==, QIO_ERROR_DOMAIN_WEBSOCKET);
    CHECK_INT(qio_error_get_number(err), ==, code);
    qio_error_free(err);
}

/* The call fails so; it has `err` for its error. */
#define EXPECT_EPIPE(call) \
    do { \
        Error *err = NULL; \
        ssize_t ret_ = (call); \
        check_epipe(ret_, err); \
    } while (0)

#define EXPECT_CODE(call, code) \
    do { \
        Error *err = NULL; \
        ssize_t ret_ = (call); \
        check_code(ret_, err, code); \
    } while (0)

/* ---- the close handshake ---- */

TEST(ws_close_code_and_reason)
{
    QIOChannelWebsock *a, *b;
    char buf[32];
    int opcode;
    bool fin;

    ws_pair(&a, &b, messages(), messages());
    CHECK_INT(qio_channel_websock_send(a, "last", 4, 1, 0, NULL), ==, 4);
    CHECK_INT(qio_channel_websock_send(b, "words", 5, 1, 0, NULL), ==, 5);
    CHECK_INT(qio_channel_websock_close_code(a, 4001, "enough", NULL), ==, 0);
    CHECK_INT(qio_channel_websock_close_code(a, 1000, NULL, NULL), ==, 0);
    EXPECT_EPIPE(qio_channel_websock_send(a, "x", 1, 1, 0, &err));
    EXPECT_EPIPE(qio_channel_websock_ping(a, "x", 1, &err));
    CHECK_INT(qio_channel_websock_recv(b, buf, sizeof(buf), 0, &opcode, &fin, NULL), ==, 4);
    CHECK_INT(qio_channel_websock_recv(b, buf, sizeof(buf), 0, &opcode, &fin, NULL), ==, 8);
    CHECK_INT(opcode, ==, QIO_WEBSOCK_CLOSE);
    CHECK_MEM(buf, "\x0f\xa1" "enough", 8);
    for (int i = 0; i < 2; i++) {
        EXPECT_CODE(qio_channel_websock_recv(b, buf, sizeof(buf), 0, NULL, NULL, &err), 4001);
        EXPECT_EPIPE(qio_channel_websock_send(b, "x", 1, 1, 0, &err));
    }
    /* What was on its way still comes, then the echo. */
    CHECK_INT(qio_channel_websock_recv(a, buf, sizeof(buf), 0, &opcode, &fin, NULL), ==, 5);
    CHECK_INT(qio_channel_websock_recv(a, buf, sizeof(buf), 0, &opcode, &fin, NULL), ==, 2);
    CHECK_INT(opcode, ==, QIO_WEBSOCK_CLOSE);
    CHECK_MEM(buf, "\x0f\xa1", 2);
    drop_ws(a, b);
}

static void *say_bye(void *opaque)
{
    CHECK_INT(qio_channel_bye(opaque, -1, false, NULL), ==, 0);
    return NULL;
}

TEST(ws_bye_on_both_sides)
{
    for (int both = 0; both < 2; both++) {
        QIOChannelWebsock *a, *b;
        pthread_t thread;
        char buf[8];

        ws_pair(&a, &b, NULL, NULL);
        CHECK_INT(qio_channel_write(QIO_CHANNEL(b), "unread", 6, NULL), ==, 6);
        CHECK_INT(pthread_create(&thread, NULL, say_bye, a), ==, 0);
        if (both) {
            CHECK_INT(qio_channel_bye(QIO_CHANNEL(b), -1, false, NULL), ==, 0);
        } else {
            CHECK_INT(qio_channel_read(QIO_CHANNEL(b), buf, sizeof(buf), NULL), ==, 0);
        }
        pthread_join(thread, NULL);
        CHECK_INT(qio_channel_read(QIO_CHANNEL(a), buf, sizeof(buf), NULL), ==, 0);
        drop_ws(a, b);
    }
}

TEST(ws_bye_gives_the_transport_back)
{
    QIOChannelWebsock *a, *b;
    QIOChannel *below;
    pthread_t thread;
    char buf[8];

    ws_pair(&a, &b, NULL, NULL);
    CHECK_INT(pthread_create(&thread, NULL, say_bye, a), ==, 0);
    below = qio_channel_take_transport(QIO_CHANNEL(b), -1, false, NULL);
    CHECK(below != NULL);
    pthread_join(thread, NULL);
    CHECK_INT(qio_channel_write(below, "bare", 4, NULL), ==, 4);
    CHECK_INT(read(fd_of(qio_channel_get_transport(QIO_CHANNEL(a))), buf, 8), ==, 4);
    qio_object_unref(below);
    drop_ws(a, b);
}

TEST(ws_bye_has_a_deadline)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    Error *err = NULL;
    char buf[8];

    testclock_install();
    CHECK_INT(qio_channel_bye(QIO_CHANNEL(ws), 3000, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 3000);
    testclock_remove();
    qio_error_free(err);
    CHECK_INT(read(fd, buf, sizeof(buf)), ==, 4);
    CHECK_MEM(buf, "\x88\x02\x03\xe8", 4);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

/* The other side may answer with a code of its own: that is an end in order, too. */
TEST(ws_bye_that_is_answered_with_a_code)
{
    for (int face = 0; face < 2; face++) {
        QIOChannel *peer;
        int fd;
        QIOChannelWebsock *ws = ws_server_on(&fd, &peer, face ? messages() : NULL);
        Error *err = NULL;

        ws_say(fd, 0x88, "\x0f\xa1" "why");
        CHECK_INT(qio_channel_bye(QIO_CHANNEL(ws), -1, false, &err), ==, 0);
        CHECK(err == NULL);
        qio_object_unref(ws);
        qio_object_unref(peer);
    }
}

/* ---- close ---- */

TEST(ws_close_says_so)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    char buf[16];

    CHECK_INT(qio_channel_write(QIO_CHANNEL(ws), "x", 1, NULL), ==, 1);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ws), NULL), ==, 0);
    CHECK_INT(read(fd, buf, sizeof(buf)), ==, 7);
    CHECK_MEM(buf, "\x82\x01x\x88\x02\x03\xe8", 7);
    CHECK_INT(read(fd, buf, sizeof(buf)), ==, 0);
    qio_object_unref(ws);
    qio_object_unref(peer);
}

/* A peer that reads nothing does not hold close up, and gets no frame cut by another. */
TEST(ws_close_of_a_full_queue)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), NULL, true);
    char big[1000] = { 0 };

    scripted_text(s, WS_REQUEST "\r\n");
    scripted_step(s, STEP_STALL);
    s->write_room = 4096;
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
    g_byte_array_set_size(s->written, 0);
    s->write_room = 0;
    CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), big, sizeof(big), NULL), ==, sizeof(big));
    CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), big, sizeof(big), NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ws), NULL), ==, 0);
    CHECK_INT(s->written->len, ==, 0);
    CHECK_INT(s->closes, ==, 1);
    qio_object_unref(ws);
    qio_object_unref(s);
}

static void *read_one(void *opaque)
{
    char byte;
    Error *err = NULL;
    ssize_t n = qio_channel_read(opaque, &byte, 1, &err);

    CHECK(n == 0 || (n == -1 && err));
    qio_error_free(err);
    return NULL;
}

TEST(ws_shutdown_wakes_a_reader)
{
    static const QIOChannelShutdown ways[] = { QIO_CHANNEL_SHUTDOWN_READ,
                                               QIO_CHANNEL_SHUTDOWN_BOTH };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        QIOChannelWebsock *a, *b;
        pthread_t thread;

        ws_pair(&a, &b, NULL, NULL);
        CHECK_INT(pthread_create(&thread, NULL, read_one, a), ==, 0);
        CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(a), ways[i], NULL), ==, 0);
        pthread_join(thread, NULL);
        drop_ws(a, b);
    }
}

TEST(ws_shutdown_of_writing_begins_the_end)
{
    QIOChannelWebsock *a, *b;
    char buf[8];

    ws_pair(&a, &b, NULL, NULL);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(b), "later", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(a), "first", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(a), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    EXPECT_EPIPE(qio_channel_write(QIO_CHANNEL(a), "x", 1, &err));
    CHECK_INT(qio_channel_read(QIO_CHANNEL(b), buf, sizeof(buf), NULL), ==, 5);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(b), buf, sizeof(buf), NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(a), buf, sizeof(buf), NULL), ==, 5);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(a), buf, sizeof(buf), NULL), ==, 0);
    drop_ws(a, b);
}

TEST(ws_shutdown_before_hands_are_shaken)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *ws;
    char byte;

    pair(&a, &b);
    ws = ws_new(a, NULL, true);
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(ws), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_read(b, &byte, 1, NULL), ==, 0);
    qio_object_unref(ws);
    drop(a, b);
}

/* ---- a peer that goes away ---- */

static int by_read(QIOChannel *ioc, Error **errp)
{
    char byte;

    return (int)qio_channel_read(ioc, &byte, 1, errp);
}

static int by_read_all(QIOChannel *ioc, Error **errp)
{
    char buf[4];

    return qio_channel_read_all_eof(ioc, buf, sizeof(buf), errp);
}

static int by_nonblocking_read_all(QIOChannel *ioc, Error **errp)
{
    CHECK_INT(qio_channel_set_blocking(ioc, false, NULL), ==, 0);
    return by_read_all(ioc, errp);
}

static int by_wait(QIOChannel *ioc, Error **errp)
{
    char byte;

    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN, -1, NULL), >, 0);
    return (int)qio_channel_try_read(ioc, &byte, 1, errp);
}

static int by_bye(QIOChannel *ioc, Error **errp)
{
    return qio_channel_bye(ioc, -1, false, errp);
}

typedef struct Watched {
    bool called;
} Watched;

static gboolean was_called(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Watched *)data)->called = true;
    return FALSE;
}

static int by_watch(QIOChannel *ioc, Error **errp)
{
    Watched watched = { false };
    char byte;

    qio_channel_add_watch(ioc, G_IO_IN, was_called, &watched, NULL);
    while (!watched.called) {
        g_main_context_iteration(NULL, TRUE);
    }
    return (int)qio_channel_try_read(ioc, &byte, 1, errp);
}

/* At every byte of a frame, in every way of waiting: an error, at once. */
TEST(ws_peer_goes_away)
{
    int (*const ways[])(QIOChannel *ioc, Error **errp) = {
        by_read, by_read_all, by_nonblocking_read_all, by_wait, by_bye, by_watch,
    };
    static const char frame[] = "\x82\xfe\x00\x80\1\2\3\4";

    for (size_t w = 0; w < G_N_ELEMENTS(ways); w++) {
        for (size_t len = 0; len < sizeof(frame); len++) {
            QIOChannel *peer;
            int fd;
            QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);

            test_note("way %zu after %zu bytes", w, len);
            CHECK_INT(write(fd, frame, len), ==, len);
            CHECK_INT(shutdown(fd, SHUT_WR), ==, 0);
            EXPECT_CODE(ways[w](QIO_CHANNEL(ws), &err), 1006);
            qio_object_unref(ws);
            qio_object_unref(peer);
        }
    }
}

/* An error of the transport is told as it is, after what came before it. */
TEST(ws_transport_fails)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), NULL, true);
    GByteArray *bytes = g_byte_array_new();
    char buf[8];

    ws_text_frame(bytes, 0x82, "abc", true);
    scripted_text(s, WS_REQUEST "\r\n");
    scripted_bytes(s, bytes->data, bytes->len - 1);
    scripted_step(s, STEP_ERROR);
    s->write_room = 4096;
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL), ==, 2);
    for (int i = 0; i < 2; i++) {
        Error *err = NULL;

        CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), buf, sizeof(buf), &err), ==, -1);
        CHECK_INT(qio_error_get_errno(err), ==, ECONNRESET);
        qio_error_free(err);
    }
    g_byte_array_unref(bytes);
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* The writer learns that the other side closed, also if it waits. */
TEST(ws_writer_learns_of_the_close)
{
    QIOChannel *peer;
    int fd;
    QIOChannelWebsock *ws = ws_server_on(&fd, &peer, NULL);
    static char big[300000];
    char byte;

    CHECK_INT(qio_channel_set_blocking(QIO_CHANNEL(ws), false, NULL), ==, 0);
    while (qio_channel_write(QIO_CHANNEL(ws), big, sizeof(big), NULL) > 0) {
    }
    CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ws), G_IO_OUT, 0, NULL), ==, 0);
    ws_say(fd, 0x88, "\x03\xe8");
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), &byte, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ws), G_IO_OUT, 0, NULL), ==, G_IO_OUT);
    EXPECT_EPIPE(qio_channel_write(QIO_CHANNEL(ws), big, 1, &err));
    qio_object_unref(ws);
    qio_object_unref(peer);
}

/* ---- a handshake as an operation, ended in each of its states ---- */

typedef struct Outcome {
    int calls, frees;
    QIOErrorCode code;      /* 0 = it went well */
} Outcome;

static void came_out(QIOTask *task, gpointer opaque)
{
    Outcome *outcome = opaque;
    Error *err = NULL;

    outcome->calls++;
    qio_task_propagate_error(task, &err);
    outcome->code = err ? qio_error_get_code(err) : 0;
    qio_error_free(err);
}

static void was_freed(gpointer opaque)
{
    ((Outcome *)opaque)->frees++;
}

enum { BY_CANCEL, BY_CLOSE, BY_CLOSE_BELOW, BY_UNREF, BY_DEADLINE, BY_PEER, BY_NOTHING, N_ENDS };

/* Returns: what it is to end with when it was not done before. */
static QIOErrorCode end_it(int how, QIOTask *task, QIOChannelWebsock **ws, QIOChannel *below,
                           QIOChannel **peer)
{
    switch (how) {
    case BY_CANCEL:
        qio_task_cancel(task);
        return QIO_ERROR_CANCELLED;
    case BY_CLOSE:
        CHECK_INT(qio_channel_close(QIO_CHANNEL(*ws), NULL), ==, 0);
        return QIO_ERROR_CANCELLED;
    case BY_CLOSE_BELOW:
        CHECK_INT(qio_channel_close(below, NULL), ==, 0);
        return QIO_ERROR_CANCELLED;
    case BY_UNREF:
        g_clear_pointer(ws, qio_object_unref);
        return QIO_ERROR_TIMEOUT;
    case BY_PEER:
        g_clear_pointer(peer, qio_object_unref);
        return QIO_ERROR_PROTOCOL;
    default:
        return QIO_ERROR_TIMEOUT;
    }
}

static void check_operation(const char *request, int how)
{
    Outcome outcome = { 0 };
    QIOChannel *below, *peer;
    QIOChannelWebsock *ws;
    AioContext *ctx;
    QIOErrorCode want;
    QIOTask *task;
    char buf[1024];
    bool whole = strstr(request, "\r\n\r\n") != NULL;

    test_note("after %zu bytes, end %d", strlen(request), how);
    testclock_install();
    ctx = qio_aio_context_new(NULL);
    pair(&below, &peer);
    ws = ws_new(below, NULL, true);
    task = qio_channel_handshake_task(QIO_CHANNEL(ws), how == BY_DEADLINE ? 5000 : -1, ctx,
                                      came_out, &outcome, was_freed);
    CHECK_INT(write(fd_of(peer), request, strlen(request)), ==, strlen(request));
    if (request[0]) {
        qio_aio_context_dispatch(ctx, 0, NULL);
    }
    want = whole ? 0 : end_it(how, task, &ws, below, &peer);
    while (outcome.calls == 0) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
    }
    while (qio_aio_context_dispatch(ctx, 0, NULL) > 0) {
    }
    CHECK_INT(outcome.calls, ==, 1);
    CHECK_INT(outcome.code, ==, want);
    if (whole) {
        end_it(how, task, &ws, below, &peer);
    }
    if (peer && want == QIO_ERROR_TIMEOUT) {
        CHECK_INT(testclock_elapsed_ms(), ==, how == BY_DEADLINE ? 5000 : 10000);
    }
    qio_task_unref(task);
    qio_object_unref(ws);
    qio_object_unref(below);
    if (peer) {
        CHECK_INT(qio_channel_set_blocking(peer, false, NULL), ==, 0);
        while (qio_channel_read(peer, buf, sizeof(buf), NULL) > 0) {
        }
        qio_object_unref(peer);
    }
    qio_aio_context_unref(ctx);
    CHECK_INT(outcome.calls, ==, 1);
    CHECK_INT(outcome.frees, ==, 1);
    testclock_remove();
}

TEST(ws_operation_ends_once)
{
    static const char *const requests[] = { "", "GET / HT", WS_REQUEST, WS_REQUEST "\r\n" };

    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        for (int how = 0; how < N_ENDS; how++) {
            check_operation(requests[i], how);
        }
    }
}

/* Who says goodbye to a peer whose few bytes become many goes on where the last step stopped. */
TEST(ws_bye_to_what_inflates)
{
    for (int as_task = 0; as_task < 2; as_task++) {
        QIOChannelWebsock *a, *b;
        AioContext *ctx = qio_aio_context_new(NULL);
        g_autofree char *zeros = g_malloc0(12 << 20);
        Outcome outcome = { 0 };

        ws_pair(&a, &b, ws_options("ws-deflate", "on", NULL),
                ws_options("ws-deflate", "on", NULL));
        CHECK_INT(qio_channel_write_all(QIO_CHANNEL(a), zeros, 12 << 20, NULL), ==, 0);
        CHECK_INT(qio_channel_websock_close_code(a, 1000, NULL, NULL), ==, 0);
        if (as_task) {
            QIOTask *task = qio_channel_close_task(QIO_CHANNEL(b), -1, ctx, came_out, &outcome,
                                                   was_freed);

            while (outcome.calls == 0) {
                CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
            }
            CHECK_INT(outcome.code, ==, 0);
            qio_task_unref(task);
        } else {
            CHECK_INT(qio_channel_bye(QIO_CHANNEL(b), -1, false, NULL), ==, 0);
        }
        drop_ws(a, b);
        qio_aio_context_unref(ctx);
    }
}
