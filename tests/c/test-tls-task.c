/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-task.c: TLS, and WebSocket over TLS, begun and ended by operations in one loop.
 */
#include "loop-util.h"
#include "testclock.h"
#include "tls-pair.h"

#include <pthread.h>
#include <qio/channel-websock.h>

static const char *const psk = "tls-psk-file=@keys.psk";
static const char *const psk_client = "tls-psk-file=@keys.psk;tls-psk-user=alice";

typedef QIOTask *(*StartFunc)(QIOChannel *ioc, int timeout_ms, AioContext *ctx, QIOTaskFunc func,
                              gpointer opaque, GDestroyNotify destroy);

/* The code of an end, and gives the task up. */
static int end_of(QIOTask *task)
{
    Error *err = NULL;
    int code = 0;

    CHECK(qio_task_is_done(task));
    if (qio_task_propagate_error(task, &err)) {
        test_note("%s", qio_error_get_pretty(err));
        code = code_of(err);
    }
    qio_task_unref(task);
    return code;
}

/* Both ends at once, by next_events or by a dispatch. */
static void both(AioContext *ctx, StartFunc start, QIOChannel *a, QIOChannel *b, int code_a,
                 int code_b)
{
    QIOTask *tasks[2] = {
        start(a, 20000, ctx, NULL, NULL, NULL), start(b, 20000, ctx, NULL, NULL, NULL),
    };
    QIOLoopEvent event;
    bool due;

    for (int i = 0; i < 2000 && !(qio_task_is_done(tasks[0]) && qio_task_is_done(tasks[1])); i++) {
        if (i % 2) {
            CHECK_INT(qio_loop_next(ctx, &event, 1, 1, &due, NULL), ==, 0);
            CHECK(!due);
        } else {
            CHECK_INT(qio_aio_context_dispatch(ctx, 1, NULL), ==, 0);
        }
    }
    CHECK_INT(end_of(tasks[0]), ==, code_a);
    CHECK_INT(end_of(tasks[1]), ==, code_b);
}

static void shake_both(AioContext *ctx, TlsPair *two)
{
    both(ctx, qio_channel_handshake_task, two->client, two->server, 0, 0);
}

TEST(both_ends_begin_and_end)
{
    const char *const kinds[][2] = {
        { NULL, NULL }, { psk_client, psk }, { "tls-anon=on", "tls-anon=on" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        AioContext *ctx = new_loop();
        TlsPair two;
        QIOChannel *held[2];
        char byte;

        test_note("kind %zu", i);
        tls_pair(&two, kinds[i][0], kinds[i][1], NULL, NULL);
        shake_both(ctx, &two);
        tls_send(two.client, two.server, 100000);
        held[0] = g_object_ref(two.client);
        held[1] = g_object_ref(two.server);
        both(ctx, qio_channel_close_task, two.client, two.server, 0, 0);
        for (int end = 0; end < 2; end++) {
            CHECK(qio_channel_is_closed(held[end]));
            CHECK(qio_channel_is_closed(two.below[end]));
            CHECK_INT(qio_channel_read(held[end], &byte, 1, NULL), ==, -1);
            g_object_unref(held[end]);
        }
        check_quiet(ctx);
        tls_drop(&two);
        qio_aio_context_unref(ctx);
    }
}

/* What was said before the end arrives, and the end is one, not a truncation. */
TEST(the_other_end_sees_a_clean_end)
{
    AioContext *ctx = new_loop();
    TlsPair two;
    QIOTask *task;
    char buf[8];

    tls_pair(&two, psk_client, psk, NULL, NULL);
    shake_both(ctx, &two);
    CHECK_INT(qio_channel_write_all(two.client, "so long", 7, NULL), ==, 0);
    task = qio_channel_close_task(two.client, -1, ctx, NULL, NULL, NULL);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    }
    CHECK(!qio_task_is_done(task));
    CHECK_INT(qio_channel_read_all(two.server, buf, 7, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, buf, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_bye(two.server, -1, false, NULL), ==, 0);
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(end_of(task), ==, 0);
    tls_drop(&two);
    qio_aio_context_unref(ctx);
}

TEST(nothing_in_common_fails_both)
{
    AioContext *ctx = new_loop();
    TlsPair two;
    QIOTask *tasks[2];

    tls_pair(&two, psk_client, "tls-anon=on", NULL, NULL);
    tasks[0] = qio_channel_handshake_task(two.client, 20000, ctx, NULL, NULL, NULL);
    tasks[1] = qio_channel_handshake_task(two.server, 20000, ctx, NULL, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qio_task_wait(tasks[i], -1, NULL), ==, 1);
        CHECK_INT(end_of(tasks[i]), ==, QIO_ERROR_TLS);
    }
    tls_drop(&two);
    qio_aio_context_unref(ctx);
}

/* The handshake has a deadline in all, and so has a farewell that nobody answers. */
TEST(a_silent_peer)
{
    AioContext *ctx;
    TlsPair two;
    QIOTask *task;

    testclock_install();
    ctx = new_loop();
    tls_pair(&two, psk_client, psk, "handshake-timeout=100", "handshake-timeout=100");
    task = qio_channel_handshake_task(two.server, 4000, ctx, NULL, NULL, NULL);
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 4000);
    CHECK_INT(end_of(task), ==, QIO_ERROR_TIMEOUT);
    tls_drop(&two);

    tls_pair(&two, psk_client, psk, NULL, NULL);
    tls_shake_well(&two);
    task = qio_channel_close_task(two.client, 3000, ctx, NULL, NULL, NULL);
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 7000);
    CHECK_INT(end_of(task), ==, QIO_ERROR_TIMEOUT);
    CHECK(qio_channel_is_closed(two.client));
    tls_drop(&two);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(cancelled_in_the_middle)
{
    AioContext *ctx = new_loop();
    TlsPair two;
    QIOTask *task;

    tls_pair(&two, psk_client, psk, NULL, NULL);
    task = qio_channel_handshake_task(two.client, -1, ctx, NULL, NULL, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK(qio_task_cancel(task));
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(end_of(task), ==, QIO_ERROR_CANCELLED);
    /* It can go on where it was. */
    shake_both(ctx, &two);
    tls_send(two.client, two.server, 1000);
    tls_drop(&two);
    qio_aio_context_unref(ctx);
}

/* ---- WebSocket over TLS ---- */

TEST(a_stack_begins_and_ends)
{
    AioContext *ctx = new_loop();
    TlsPair two;
    QIOChannel *client, *server;
    Error *err = NULL;

    tls_pair(&two, psk_client, psk, NULL, NULL);
    client = (QIOChannel *)qio_channel_websock_new_client(two.client, "localhost", NULL, &err);
    CHECK_PTR(err, ==, NULL);
    server = (QIOChannel *)qio_channel_websock_new_server(two.server);
    both(ctx, qio_channel_handshake_task, client, server, 0, 0);
    tls_send(client, server, 50000);
    both(ctx, qio_channel_close_task, client, server, 0, 0);
    CHECK(qio_channel_is_closed(two.client));
    CHECK(qio_channel_is_closed(two.below[0]));
    check_quiet(ctx);
    g_object_unref(client);
    g_object_unref(server);
    tls_drop(&two);
    qio_aio_context_unref(ctx);
}

static void *close_thread(void *opaque)
{
    qio_channel_close(opaque, NULL);
    return NULL;
}

/* Whoever closes in the middle of it all: each task ends, once, and nothing hangs. */
TEST(closed_in_the_middle, .timeout_s = 60)
{
    for (int round = 0; round < 60; round++) {
        AioContext *ctx = new_loop();
        TlsPair two;
        QIOTask *tasks[4];
        pthread_t closer;

        tls_pair(&two, psk_client, psk, NULL, NULL);
        tasks[0] = qio_channel_handshake_task(two.client, -1, ctx, NULL, NULL, NULL);
        tasks[1] = qio_channel_handshake_task(two.server, -1, ctx, NULL, NULL, NULL);
        for (int i = 0; i < round % 6; i++) {
            CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
        }
        tasks[2] = qio_channel_close_task(two.server, 60000, ctx, NULL, NULL, NULL);
        tasks[3] = qio_channel_close_task(two.server, 60000, ctx, NULL, NULL, NULL);
        CHECK_INT(pthread_create(&closer, NULL, close_thread, round % 2 ? two.below[0]
                                                                        : two.client), ==, 0);
        for (int i = 0; i < 4; i++) {
            CHECK_INT(qio_task_wait(tasks[i], -1, NULL), ==, 1);
            end_of(tasks[i]);
        }
        pthread_join(closer, NULL);
        CHECK(qio_channel_is_closed(two.server));
        CHECK(qio_channel_is_closed(two.client));
        tls_drop(&two);
        qio_aio_context_unref(ctx);
    }
}
