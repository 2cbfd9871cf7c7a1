/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-next.c: queued watches and qio_loop_next(), which never calls back.
 */
#include "loop-util.h"
#include "testclock.h"

#include <fcntl.h>

/* The one event that is due now. */
static QIOLoopEvent next_one(AioContext *ctx)
{
    QIOLoopEvent event;
    bool due = true;

    CHECK_INT(qio_loop_next(ctx, &event, 1, -1, &due, NULL), ==, 1);
    CHECK(!due);
    return event;
}

static void check_none(AioContext *ctx)
{
    QIOLoopEvent event;
    bool due = true;

    CHECK_INT(qio_loop_next(ctx, &event, 1, 0, &due, NULL), ==, 0);
    CHECK(!due);
}

static void drop(QIOLoopWatch *watch)
{
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
}

TEST(a_watch_from_first_to_last_event)
{
    AioContext *ctx = new_loop();
    QIOLoopWatch *watch;
    QIOLoopEvent event;
    int fds[2], destroyed = 0;

    make_pair(fds);
    watch = qio_loop_add_fd_queued(ctx, fds[0], G_IO_IN, &destroyed, count, NULL);
    CHECK_PTR(watch, !=, NULL);
    check_none(ctx);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    for (int i = 0; i < 3; i++) {
        event = next_one(ctx);
        CHECK_INT(event.kind, ==, QIO_LOOP_WATCH);
        CHECK_INT(event.condition, ==, G_IO_IN);
        CHECK_PTR(event.watch, ==, watch);
        CHECK_PTR(event.opaque, ==, &destroyed);
    }
    qio_loop_watch_remove(watch);
    CHECK(is_readable(ctx));
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    CHECK_PTR(event.watch, ==, watch);
    CHECK_PTR(event.opaque, ==, &destroyed);
    /* The caller reads the event after the call that gave it. */
    CHECK_INT(destroyed, ==, 0);
    CHECK(!is_readable(ctx));
    check_none(ctx);
    CHECK_INT(destroyed, ==, 1);
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
    CHECK_INT(destroyed, ==, 1);
    close_pair(fds);
}

TEST(lent_watch_is_good_until_the_next_call)
{
    AioContext *ctx = new_loop();
    QIOLoopEvent event;
    int fds[2];

    make_pair(fds);
    qio_loop_watch_unref(qio_loop_add_fd_queued(ctx, fds[0], G_IO_OUT, NULL, NULL, NULL));
    event = next_one(ctx);
    qio_loop_watch_remove(event.watch);
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    CHECK(qio_loop_watch_is_removed(event.watch));
    check_none(ctx);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

TEST(released_is_not_starved)
{
    AioContext *ctx = new_loop();
    QIOLoopWatch *gone, *stays;
    QIOLoopEvent event;
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    gone = qio_loop_add_fd_queued(ctx, file, G_IO_OUT, NULL, NULL, NULL);
    stays = qio_loop_add_fd_queued(ctx, file, G_IO_OUT, NULL, NULL, NULL);
    drop(gone);
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    CHECK_PTR(event.watch, ==, gone);
    CHECK_PTR(next_one(ctx).watch, ==, stays);
    drop(stays);
    qio_aio_context_unref(ctx);
    close(file);
}

/* With room for one at a time they still take turns, whatever makes them ready. */
TEST(one_at_a_time_in_turns)
{
    enum { N = 100, FILES = 3 };
    AioContext *ctx = new_loop();
    QIOLoopWatch *watches[N + FILES];
    int counts[N + FILES] = { 0 };
    int fds[N][2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < N; i++) {
        make_pair(fds[i]);
        watches[i] = qio_loop_add_fd_queued(ctx, fds[i][0], G_IO_OUT, &counts[i], NULL, NULL);
    }
    for (int i = N; i < N + FILES; i++) {
        watches[i] = qio_loop_add_fd_queued(ctx, file, G_IO_IN, &counts[i], NULL, NULL);
    }
    for (int n = 0; n < 10 * (N + FILES); n++) {
        ++*(int *)next_one(ctx).opaque;
    }
    for (int i = 0; i < N + FILES; i++) {
        test_note("watch %d", i);
        CHECK_INT(counts[i], >=, 3);
        drop(watches[i]);
    }
    for (int i = 0; i < N + FILES; i++) {
        CHECK_INT(next_one(ctx).kind, ==, QIO_LOOP_RELEASED);
    }
    check_none(ctx);
    for (int i = 0; i < N; i++) {
        close_pair(fds[i]);
    }
    close(file);
    qio_aio_context_unref(ctx);
}

TEST(what_did_not_fit_is_confirmed)
{
    AioContext *ctx = new_loop();
    QIOLoopWatch *watches[2];
    QIOLoopEvent event;
    int fds[2][2], first;
    char byte;

    for (int i = 0; i < 2; i++) {
        make_pair(fds[i]);
        watches[i] = qio_loop_add_fd_queued(ctx, fds[i][0], G_IO_IN, GINT_TO_POINTER(i), NULL,
                                            NULL);
        CHECK_INT(write(fds[i][1], "x", 1), ==, 1);
    }
    event = next_one(ctx);
    first = GPOINTER_TO_INT(event.opaque);
    /* Both are read before the next call: neither is ready any more. */
    CHECK_INT(read(fds[0][0], &byte, 1), ==, 1);
    CHECK_INT(read(fds[1][0], &byte, 1), ==, 1);
    check_none(ctx);
    CHECK_INT(write(fds[first][1], "x", 1), ==, 1);
    CHECK_PTR(next_one(ctx).watch, ==, watches[first]);
    drop(watches[0]);
    drop(watches[1]);
    qio_aio_context_unref(ctx);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

/* ---- beside callbacks ---- */

static gboolean count_fd(int fd, GIOCondition condition, void *opaque)
{
    char byte;

    ++*(int *)opaque;
    CHECK_INT(read(fd, &byte, 1), ==, 1);
    return TRUE;
}

TEST(callbacks_are_due)
{
    AioContext *ctx = new_loop();
    QIOLoopEvent events[4];
    QIOLoopWatch *called, *queued;
    int fds[2][2], calls = 0, destroyed = 0;
    bool due;

    make_pair(fds[0]);
    make_pair(fds[1]);
    called = qio_aio_context_add_fd_watch(ctx, fds[0][0], G_IO_IN, count_fd, &calls, NULL, NULL);
    queued = qio_loop_add_fd_queued(ctx, fds[1][0], G_IO_IN, NULL, NULL, NULL);
    CHECK_INT(write(fds[0][1], "x", 1), ==, 1);
    /* Only a callback: it is said, not called, as often as it is asked. */
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qio_loop_next(ctx, events, 4, -1, &due, NULL), ==, 0);
        CHECK(due);
        CHECK_INT(calls, ==, 0);
    }
    CHECK_INT(write(fds[1][1], "x", 1), ==, 1);
    CHECK_INT(qio_loop_next(ctx, events, 4, -1, &due, NULL), ==, 1);
    CHECK(due);
    CHECK_PTR(events[0].watch, ==, queued);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(calls, ==, 1);
    /* Only a queued event: a dispatch runs nothing, and does not sleep over it. */
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 0);
    CHECK_PTR(next_one(ctx).watch, ==, queued);

    /* A deferred call and a release are callbacks. */
    CHECK_INT(qio_aio_context_defer(ctx, count, &calls, NULL, NULL), ==, 0);
    CHECK_INT(qio_loop_next(ctx, events, 4, 0, &due, NULL), ==, 1);
    CHECK(due);
    CHECK_INT(calls, ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(calls, ==, 2);
    drop(qio_aio_context_add_fd_watch(ctx, fds[0][0], G_IO_IN, count_fd, &destroyed, count,
                                      NULL));
    CHECK_INT(qio_loop_next(ctx, events, 4, 0, &due, NULL), ==, 1);
    CHECK(due);
    CHECK_INT(destroyed, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(destroyed, ==, 1);
    drop(called);
    drop(queued);
    qio_aio_context_unref(ctx);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

TEST(run_cannot_report)
{
    AioContext *ctx = new_loop();
    Error *err = NULL;
    QIOLoopWatch *watch;
    int fds[2], calls = 0;

    make_pair(fds);
    watch = qio_loop_add_fd_queued(ctx, fds[0], G_IO_OUT, NULL, NULL, NULL);
    CHECK_INT(qio_aio_context_defer(ctx, count, &calls, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_run(ctx, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "queued");
    qio_error_free(err);
    CHECK_INT(calls, ==, 1);
    drop(watch);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

/* ---- timers and subjects ---- */

TEST(queued_timers)
{
    AioContext *ctx;
    QIOLoopWatch *once, *often;
    QIOLoopEvent event, events[4];
    bool due;

    testclock_install();
    ctx = new_loop();
    once = qio_loop_add_timer_queued(ctx, 15, 0, "once", NULL, NULL);
    often = qio_loop_add_timer_queued(ctx, 10, 10, "often", NULL, NULL);
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_TIMER);
    CHECK_STR(event.opaque, "often");
    CHECK_STR(next_one(ctx).opaque, "once");
    CHECK_INT(testclock_elapsed_ms(), ==, 15);
    CHECK(qio_loop_watch_is_removed(once));
    CHECK_INT(next_one(ctx).kind, ==, QIO_LOOP_RELEASED);
    CHECK_STR(next_one(ctx).opaque, "often");
    CHECK_INT(testclock_elapsed_ms(), ==, 20);
    /* A dispatch moves it to the list, where it waits. */
    testclock_advance_ms(15);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 0);
    CHECK_STR(next_one(ctx).opaque, "often");
    CHECK_INT(qio_loop_next(ctx, events, 4, 4, &due, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 39);
    CHECK_STR(next_one(ctx).opaque, "often");
    CHECK_INT(testclock_elapsed_ms(), ==, 40);
    qio_loop_watch_unref(once);
    drop(often);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

typedef struct Layer {
    int ready;
} Layer;

static GIOCondition advance(void *subject, GIOCondition wanted)
{
    return ((Layer *)subject)->ready ? wanted : 0;
}

static int no_fds(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    return 0;
}

static void nothing(void *subject)
{
}

static const QIOLoopSubjectOps layer_ops = {
    .advance = advance, .poll = no_fds, .ref = nothing, .unref = nothing,
};

TEST(queued_subjects)
{
    AioContext *ctx = new_loop();
    Layer layer = { 1 };
    QIOLoopEvent event;
    QIOLoopWatch *watch = qio_loop_add_subject(ctx, &layer, &layer_ops, G_IO_IN, NULL, &layer,
                                               NULL, NULL);

    CHECK_PTR(watch, !=, NULL);
    event = next_one(ctx);
    CHECK_INT(event.condition, ==, G_IO_IN);
    /* Nobody read: it is still ready, and the descriptor says so. */
    CHECK(is_readable(ctx));
    CHECK_PTR(next_one(ctx).watch, ==, watch);
    layer.ready = 0;
    check_none(ctx);
    CHECK(!is_readable(ctx));
    layer.ready = 1;
    qio_loop_watch_kick(watch);
    CHECK(is_readable(ctx));
    CHECK_PTR(next_one(ctx).watch, ==, watch);

    qio_loop_watch_end(watch);
    event = next_one(ctx);
    CHECK_INT(event.condition, ==, G_IO_IN | G_IO_NVAL);
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    check_none(ctx);
    CHECK(!is_readable(ctx));
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
}

/* ---- errors ---- */

TEST(bad_calls)
{
    AioContext *ctx = new_loop();
    QIOLoopEvent event;
    Error *err = NULL;
    bool due;
    int destroyed = 0;

    CHECK_INT(qio_loop_next(ctx, &event, 0, 0, &due, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "cap: 0");
    qio_error_free(g_steal_pointer(&err));

    /* A watch that could not be has its last event all the same. */
    CHECK_PTR(qio_loop_add_fd_queued(ctx, -3, G_IO_IN, &destroyed, count, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "fd: -3");
    qio_error_free(g_steal_pointer(&err));
    event = next_one(ctx);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    CHECK_PTR(event.opaque, ==, &destroyed);

    seam_install();
    seam_fail(SEAM_epoll_wait, 1, 1, EINTR);
    CHECK_INT(qio_loop_next(ctx, &event, 1, -1, &due, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    qio_error_free(g_steal_pointer(&err));
    seam_remove();
    CHECK_INT(destroyed, ==, 1);

    qio_aio_context_notify(ctx);
    CHECK_INT(qio_loop_next(ctx, &event, 1, -1, &due, NULL), ==, 0);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(qio_loop_next(ctx, &event, 1, -1, &due, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    qio_aio_context_unref(ctx);
}

TEST(close_releases_what_is_queued)
{
    AioContext *ctx = new_loop();
    int fds[2], destroyed = 0;
    QIOLoopWatch *watch;

    make_pair(fds);
    /* One that is there, one whose RELEASED was not fetched, one whose was. */
    qio_loop_watch_unref(qio_loop_add_fd_queued(ctx, fds[0], G_IO_IN, &destroyed, count, NULL));
    watch = qio_loop_add_fd_queued(ctx, fds[0], G_IO_IN, &destroyed, count, NULL);
    drop(watch);
    CHECK_INT(next_one(ctx).kind, ==, QIO_LOOP_RELEASED);
    watch = qio_loop_add_fd_queued(ctx, fds[0], G_IO_IN, &destroyed, count, NULL);
    drop(watch);
    CHECK_INT(destroyed, ==, 0);
    qio_aio_context_unref(ctx);
    CHECK_INT(destroyed, ==, 3);
    close_pair(fds);
}
