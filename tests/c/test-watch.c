/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-watch.c: watches on channels, in GLib and in a loop, and coroutines that wait.
 *
 * Rule: the peer is a script in memory (scripted.h), so readiness is in software; what
 * descriptors add is tested with the classes that have them.
 */
#include <pthread.h>
#include "channel/channel-priv.h"
#include "runner.h"
#include "scripted.h"

typedef struct Log {
    int calls;
    GIOCondition last;
    int keep;               /* how many more calls to keep the watch for */
    int freed;
    bool reads;             /* the callback reads one byte each time */
} Log;

static gboolean on_watch(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Log *log = data;
    char byte;

    log->calls++;
    log->last = condition;
    if (log->reads && !(condition & G_IO_NVAL)) {
        CHECK_INT(qio_channel_read(ioc, &byte, 1, NULL), ==, 1);
    }
    return log->keep-- > 0;
}

static void on_free(gpointer data)
{
    ((Log *)data)->freed++;
}

/* ---- GLib ---- */

TEST(a_glib_watch_fires_while_a_read_would_not_block)
{
    GMainContext *context = g_main_context_new();
    Scripted *s = scripted_new();
    Log log = { .keep = 1000, .reads = true };
    GSource *source;
    int i;

    scripted_text(s, "abc");
    scripted_step(s, STEP_STALL);
    scripted_text(s, "d");
    source = qio_channel_add_watch_source(&s->parent, G_IO_IN, on_watch, &log, on_free, context);
    for (i = 0; i < 10; i++) {
        g_main_context_iteration(context, FALSE);
    }
    CHECK_INT(log.calls, ==, 3);
    scripted_go(s);
    g_main_context_iteration(context, TRUE);
    CHECK_INT(log.calls, ==, 4);
    CHECK_INT(g_main_context_iteration(context, FALSE), ==, FALSE);
    g_source_destroy(source);
    CHECK_INT(log.freed, ==, 1);
    g_source_unref(source);
    g_main_context_unref(context);
    CHECK_INT(((GObject *)s)->ref_count, ==, 1);
    qio_object_unref(s);
}

TEST(bytes_read_ahead_keep_a_glib_watch_firing)
{
    GMainContext *context = g_main_context_new();
    Scripted *s = scripted_new();
    Log log = { .keep = 1000, .reads = true };
    char buf[8];
    int i;

    scripted_text(s, "abcd");
    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 8, NULL), ==, 4);
    qio_channel_add_watch_full(&s->parent, G_IO_IN, on_watch, &log, NULL, context);
    for (i = 0; i < 10; i++) {
        g_main_context_iteration(context, FALSE);
    }
    CHECK_INT(log.calls, ==, 4);
    g_main_context_unref(context);
    qio_object_unref(s);
}

TEST(close_gives_a_glib_watch_one_last_call)
{
    GMainContext *context = g_main_context_new();
    Scripted *s = scripted_new();
    Log log = { .keep = 1000 }, late = { .keep = 1000 };
    int i;

    scripted_step(s, STEP_STALL);
    CHECK(qio_channel_add_watch_full(&s->parent, G_IO_IN, on_watch, &log, on_free, context) != 0);
    CHECK_INT(g_main_context_iteration(context, FALSE), ==, FALSE);
    CHECK_INT(qio_channel_close(&s->parent, NULL), ==, 0);
    for (i = 0; i < 5; i++) {
        g_main_context_iteration(context, FALSE);
    }
    CHECK_INT(log.calls, ==, 1);
    CHECK_INT(log.last, ==, G_IO_IN | G_IO_NVAL);
    CHECK_INT(log.freed, ==, 1);
    /* a watch on a closed channel says so, once */
    qio_channel_add_watch_full(&s->parent, G_IO_IN, on_watch, &late, on_free, context);
    for (i = 0; i < 5; i++) {
        g_main_context_iteration(context, FALSE);
    }
    CHECK_INT(late.calls, ==, 1);
    CHECK_INT(late.last & G_IO_NVAL, ==, G_IO_NVAL);
    g_main_context_unref(context);
    qio_object_unref(s);
}

TEST(a_glib_watch_has_the_channel_s_name)
{
    Scripted *s = scripted_new();
    GSource *before = qio_channel_create_watch(&s->parent, G_IO_IN), *after;

    qio_channel_set_name(&s->parent, "monitor");
    after = qio_channel_create_watch(&s->parent, G_IO_OUT);
    CHECK_PTR(g_source_get_name(before), ==, NULL);
    CHECK_STR(g_source_get_name(after), "monitor");
    qio_channel_set_name(&s->parent, NULL);
    CHECK_STR(g_source_get_name(after), "monitor");
    g_source_unref(before);
    g_source_unref(after);
    qio_object_unref(s);
}

static void *run_context(void *context)
{
    g_main_context_iteration(context, TRUE);
    return NULL;
}

TEST(add_watch_source_gives_a_source_even_when_it_has_run_already)
{
    GMainContext *context = g_main_context_new();
    Scripted *s = scripted_new();
    Log log = { .keep = 0 };
    GSource *source;
    pthread_t thread;

    scripted_text(s, "x");
    CHECK_INT(pthread_create(&thread, NULL, run_context, context), ==, 0);
    source = qio_channel_add_watch_source(&s->parent, G_IO_IN, on_watch, &log, on_free, context);
    CHECK(source != NULL);
    pthread_join(thread, NULL);
    g_main_context_iteration(context, FALSE);
    CHECK_INT(log.calls, ==, 1);
    CHECK(g_source_is_destroyed(source));
    g_source_unref(source);
    g_main_context_unref(context);
    qio_object_unref(s);
}

/* ---- a loop ---- */

TEST(a_loop_watch_fires_while_a_read_would_not_block)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Log log = { .keep = 1000, .reads = true };
    QIOLoopWatch *watch;
    int i;

    scripted_text(s, "abc");
    scripted_step(s, STEP_STALL);
    scripted_text(s, "de");
    watch = qio_channel_add_aio_watch(&s->parent, ctx, G_IO_IN, on_watch, &log, on_free, NULL);
    CHECK(watch != NULL);
    for (i = 0; i < 10; i++) {
        qio_aio_context_poll(ctx, false);
    }
    CHECK_INT(log.calls, ==, 3);
    CHECK(!qio_aio_context_poll(ctx, false));
    scripted_go(s);
    while (log.calls < 5) {
        qio_aio_context_poll(ctx, true);
    }
    CHECK(!qio_aio_context_poll(ctx, false));
    qio_loop_watch_remove(watch);
    CHECK_INT(log.freed, ==, 0);
    qio_aio_context_poll(ctx, false);
    CHECK_INT(log.freed, ==, 1);
    qio_loop_watch_unref(watch);
    CHECK_INT(((GObject *)s)->ref_count, ==, 1);
    qio_object_unref(s);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    qio_aio_context_unref(ctx);
}

TEST(close_gives_a_loop_watch_one_last_call)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Log log = { .keep = 1000 };
    Error *err = NULL;
    int i;

    scripted_step(s, STEP_STALL);
    qio_loop_watch_unref(qio_channel_add_aio_watch(&s->parent, ctx, G_IO_IN, on_watch, &log,
                                                   on_free, NULL));
    qio_aio_context_poll(ctx, false);
    qio_channel_close(&s->parent, NULL);
    for (i = 0; i < 5; i++) {
        qio_aio_context_poll(ctx, false);
    }
    CHECK_INT(log.calls, ==, 1);
    CHECK_INT(log.last & G_IO_NVAL, ==, G_IO_NVAL);
    CHECK_INT(log.freed, ==, 1);
    CHECK(qio_channel_add_aio_watch(&s->parent, ctx, G_IO_IN, on_watch, &log, on_free, &err) ==
          NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    CHECK_INT(log.freed, ==, 2);
    qio_error_free(err);
    qio_object_unref(s);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

TEST(a_peek_outside_the_loop_makes_a_loop_watch_fire)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Log log = { .keep = 1000, .reads = true };
    char buf[8];

    scripted_step(s, STEP_STALL);
    scripted_text(s, "ab");
    qio_loop_watch_unref(qio_channel_add_aio_watch(&s->parent, ctx, G_IO_IN, on_watch, &log, NULL,
                                                   NULL));
    CHECK(!qio_aio_context_poll(ctx, false));
    s->open_gate = true;
    CHECK_INT(qio_channel_peek(&s->parent, buf, 8, NULL), ==, 2);
    qio_aio_context_poll(ctx, true);
    qio_aio_context_poll(ctx, true);
    CHECK_INT(log.calls, ==, 2);
    CHECK(!qio_aio_context_poll(ctx, false));
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
    qio_object_unref(s);
}

static void count_call(void *opaque)
{
    ++*(int *)opaque;
}

TEST(set_aio_fd_handler_calls_until_it_is_taken_away)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    int calls = 0;

    qio_channel_set_aio_fd_handler(&s->parent, ctx, NULL, count_call, &calls);
    qio_aio_context_poll(ctx, true);
    qio_aio_context_poll(ctx, true);
    CHECK_INT(calls, ==, 2);
    qio_channel_set_aio_fd_handler(&s->parent, ctx, NULL, NULL, NULL);
    qio_aio_context_poll(ctx, false);
    qio_aio_context_poll(ctx, false);
    CHECK_INT(calls, ==, 2);
    qio_object_unref(s);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

/* ---- coroutines ---- */

typedef struct Reader {
    QIOChannel *ioc;
    char buf[8];
    size_t len;
    int result;
    QIOErrorCode code;
    bool done;
} Reader;

static void read_all_in_coroutine(void *opaque)
{
    Reader *reader = opaque;
    Error *err = NULL;

    reader->result = qio_channel_read_all(reader->ioc, reader->buf, reader->len, &err);
    reader->code = qio_error_get_code(err);
    qio_error_free(err);
    reader->done = true;
}

TEST(read_all_in_a_coroutine_lets_the_loop_run_and_two_take_turns)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Reader one = { .ioc = &s->parent, .len = 2 }, two = { .ioc = &s->parent, .len = 2 };

    qio_channel_attach_aio_context(&s->parent, ctx);
    scripted_step(s, STEP_STALL);
    scripted_text(s, "ab");
    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "cd");
    qio_coroutine_enter(qio_coroutine_create(read_all_in_coroutine, &one));
    qio_coroutine_enter(qio_coroutine_create(read_all_in_coroutine, &two));
    CHECK(!one.done && !two.done);
    CHECK(s->parent.read_coroutine != NULL);
    CHECK(!qio_aio_context_poll(ctx, false));
    scripted_go(s);
    while (!two.done) {
        qio_aio_context_poll(ctx, true);
    }
    CHECK(one.done);
    CHECK_MEM(one.buf, "ab", 2);
    CHECK_MEM(two.buf, "cd", 2);
    CHECK(s->parent.read_coroutine == NULL);
    qio_aio_context_poll(ctx, false);
    qio_aio_context_poll(ctx, false);
    CHECK_INT(((GObject *)s)->ref_count, ==, 1);
    qio_object_unref(s);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

static void check_ended(void (*end)(QIOChannel *ioc), QIOErrorCode code, int timeout_ms)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Reader reader = { .ioc = &s->parent, .len = 2 };

    qio_channel_attach_aio_context(&s->parent, ctx);
    qio_channel_set_timeout(&s->parent, timeout_ms);
    scripted_step(s, STEP_STALL);
    qio_coroutine_enter(qio_coroutine_create(read_all_in_coroutine, &reader));
    if (end) {
        end(&s->parent);
    }
    while (!reader.done) {
        qio_aio_context_poll(ctx, true);
    }
    CHECK_INT(reader.result, ==, -1);
    CHECK_INT(reader.code, ==, code);
    qio_aio_context_poll(ctx, false);
    qio_object_unref(s);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

static void end_by_close(QIOChannel *ioc)
{
    qio_channel_close(ioc, NULL);
}

static void end_by_cancel(QIOChannel *ioc)
{
    qio_channel_cancel(ioc, G_IO_IN);
}

TEST(close_cancel_and_a_time_out_end_a_waiting_coroutine)
{
    check_ended(end_by_close, QIO_ERROR_CANCELLED, -1);
    check_ended(end_by_cancel, QIO_ERROR_CANCELLED, -1);
    check_ended(NULL, QIO_ERROR_TIMEOUT, 5);
}

static void yield_once(void *opaque)
{
    Reader *reader = opaque;

    qio_channel_yield(reader->ioc, G_IO_IN);
    reader->done = true;
}

TEST(detach_forgets_the_waiters_and_their_owner_enters_them)
{
    AioContext *ctx = qio_aio_context_new(NULL), *other = qio_aio_context_new(NULL);
    Scripted *s = scripted_new();
    Reader reader = { .ioc = &s->parent };
    Coroutine *co = qio_coroutine_create(yield_once, &reader);

    scripted_step(s, STEP_STALL);
    qio_channel_attach_aio_context(&s->parent, ctx);
    qio_coroutine_enter(co);
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "*a coroutine waits*");
    qio_channel_attach_aio_context(&s->parent, other);
    g_test_assert_expected_messages();
    qio_channel_detach_aio_context(&s->parent);
    CHECK(s->parent.read_coroutine == NULL);
    qio_channel_attach_aio_context(&s->parent, other);
    qio_aio_co_schedule(other, co);
    while (!reader.done) {
        qio_aio_context_poll(other, true);
    }
    qio_object_unref(s);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_close(other, NULL);
    qio_aio_context_unref(ctx);
    qio_aio_context_unref(other);
}

typedef struct Runner {
    AioContext *ctx;
    _Atomic bool stop;
} Runner;

static void *run_loop(void *opaque)
{
    Runner *runner = opaque;

    while (!runner->stop) {
        qio_aio_context_poll(runner->ctx, true);
    }
    return NULL;
}

static void yield_often(void *opaque)
{
    Reader *reader = opaque;

    for (int i = 0; i < 200; i++) {
        qio_channel_yield(reader->ioc, G_IO_OUT);
    }
    __atomic_store_n(&reader->done, true, __ATOMIC_RELEASE);
}

/* The loop's thread finds the channel ready while the coroutine, on another thread, has only just
 * queued itself. */
TEST(a_coroutine_may_wait_on_a_thread_that_does_not_run_the_loop)
{
    Runner runner = { .ctx = qio_aio_context_new(NULL) };
    pthread_t thread;
    int fds[2];

    CHECK_INT(pthread_create(&thread, NULL, run_loop, &runner), ==, 0);
    for (int round = 0; round < 100; round++) {
        Reader reader = { 0 };

        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        reader.ioc = qio_channel_new_fd(fds[0], NULL);
        qio_channel_attach_aio_context(reader.ioc, runner.ctx);
        qio_coroutine_enter(qio_coroutine_create(yield_often, &reader));
        while (!__atomic_load_n(&reader.done, __ATOMIC_ACQUIRE)) {
            sched_yield();
        }
        qio_object_unref(reader.ioc);
        close(fds[1]);
    }
    runner.stop = true;
    qio_aio_context_notify(runner.ctx);
    pthread_join(thread, NULL);
    qio_aio_context_close(runner.ctx, NULL);
    qio_aio_context_unref(runner.ctx);
}

TEST(yield_outside_a_coroutine_or_for_two_conditions_is_a_warning)
{
    Scripted *s = scripted_new();

    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "*coroutine*");
    qio_channel_yield(&s->parent, G_IO_IN);
    g_test_assert_expected_messages();
    qio_object_unref(s);
}
