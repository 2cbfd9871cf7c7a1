/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-loop.c: every system call of the loop fails in turn: watches, timers,
 * coroutines that wait.
 *
 * Owns: the scenarios; torture-util.h has their rules.
 */
#include "torture-util.h"

#include <qio/channel-socket.h>

static int notified;

static void count_notify(void *opaque)
{
    notified++;
}

static gboolean read_once(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Error *err = NULL;
    char byte;
    ssize_t n = qio_channel_read(ioc, &byte, 1, &err);

    went_well(n == 1 || n == QIO_CHANNEL_ERR_BLOCK, &err);
    *(bool *)data = true;
    return FALSE;
}

/* Dispatches until the flag is set, at most a few times: faults may cost a turn. */
static void dispatch_until(AioContext *ctx, const bool *flag)
{
    for (int i = 0; i < 10 && !*flag; i++) {
        Error *err = NULL;

        if (qio_aio_context_dispatch(ctx, 100, &err) < 0) {
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
            qio_error_free(err);
        }
    }
}

static void loop_watch(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    QIOLoopWatch *watch;
    bool called = false;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    notified = 0;
    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_write_all(QIO_CHANNEL(a), "x", 1, &err) == 0, &err)) {
        watch = qio_channel_add_aio_watch(QIO_CHANNEL(b), ctx, G_IO_IN, read_once, &called,
                                          count_notify, &err);
        if (went_well(watch != NULL, &err)) {
            dispatch_until(ctx, &called);
            CHECK(called || torture_may_fail());
            qio_loop_watch_unref(watch);
        }
        put_away(a);
        put_away(b);
        CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
        CHECK_INT(notified, ==, 1);
    } else {
        put_away(a);
        put_away(b);
    }
    qio_aio_context_unref(ctx);
}

TEST(loop_watches_a_channel)
{
    torture(loop_watch, 60);
}

static gboolean set_flag(void *opaque)
{
    *(bool *)opaque = true;
    return FALSE;
}

static void loop_timer(void)
{
    QIOLoopWatch *timer;
    bool called = false;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    notified = 0;
    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    timer = qio_aio_context_add_timer(ctx, 1, 0, set_flag, &called, count_notify, &err);
    if (went_well(timer != NULL, &err)) {
        dispatch_until(ctx, &called);
        CHECK(called || torture_may_fail());
        qio_loop_watch_unref(timer);
    }
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(notified, ==, 1);
    qio_aio_context_unref(ctx);
}

TEST(loop_fires_a_timer)
{
    torture(loop_timer, 30);
}

typedef struct Reading {
    QIOChannelSocket *from;
    bool done;
} Reading;

static void read_in_coroutine(void *opaque)
{
    Reading *reading = opaque;
    char buf[TEXT_LEN];
    Error *err = NULL;

    if (went_well(qio_channel_read_all(QIO_CHANNEL(reading->from), buf, TEXT_LEN, &err) == 0,
                  &err)) {
        CHECK_MEM(buf, TEXT, TEXT_LEN);
    }
    reading->done = true;
}

/* A coroutine that waits comes to its end whatever fails, at the latest when its channel is
 * closed. */
static void resume_reader(AioContext *ctx, QIOChannelSocket *to, QIOChannelSocket *from)
{
    Reading reading = { .from = from };
    Coroutine *co = qio_coroutine_create(read_in_coroutine, &reading);
    Error *err = NULL;

    if (co == NULL) {
        CHECK(torture_may_fail());      /* no stack for it */
        return;
    }
    qio_channel_attach_aio_context(QIO_CHANNEL(from), ctx);
    qio_coroutine_enter(co);
    if (went_well(qio_channel_write_all(QIO_CHANNEL(to), TEXT, TEXT_LEN, &err) == 0, &err)) {
        dispatch_until(ctx, &reading.done);
    }
    CHECK(reading.done || torture_may_fail());
    went_well(qio_channel_close(QIO_CHANNEL(from), &err) == 0, &err);
    dispatch_until(ctx, &reading.done);
    CHECK(reading.done);
}

static void loop_coroutine(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        resume_reader(ctx, a, b);
    }
    put_away(a);
    put_away(b);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    qio_aio_context_unref(ctx);
}

TEST(loop_resumes_a_coroutine)
{
    torture(loop_coroutine, 60);
}
