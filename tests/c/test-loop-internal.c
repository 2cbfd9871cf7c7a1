/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-internal.c: the library's own watches, and waiting while nobody dispatches.
 */
#include "loop-util.h"
#include "testclock.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static gboolean read_one(int fd, GIOCondition condition, void *opaque)
{
    char byte;

    CHECK_INT(condition, ==, G_IO_IN);
    CHECK_INT(read(fd, &byte, 1), ==, 1);
    ++*(int *)opaque;
    return TRUE;
}

static gboolean count_timer(void *opaque)
{
    ++*(int *)opaque;
    return TRUE;
}

static void drop(QIOLoopWatch *watch)
{
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
}

static int next(AioContext *ctx, int timeout_ms, bool *due)
{
    QIOLoopEvent events[4];

    return qio_loop_next(ctx, events, 4, timeout_ms, due, NULL);
}

/* ---- in dispatch and next ---- */

TEST(runs_in_next_and_in_dispatch)
{
    AioContext *ctx = new_loop();
    QIOLoopWatch *watch;
    int fds[2], calls = 0, destroyed = 0;
    bool due;

    make_pair(fds);
    watch = qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, read_one, &calls, NULL, NULL);
    put(fds[1]);
    CHECK(is_readable(ctx));
    CHECK_INT(next(ctx, 0, &due), ==, 0);
    CHECK(!due);
    CHECK_INT(calls, ==, 1);
    CHECK(!is_readable(ctx));
    put(fds[1]);
    /* It is no callback of anybody. */
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(calls, ==, 2);
    check_quiet(ctx);
    drop(watch);
    watch = qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, read_one, &calls, NULL, NULL);
    drop(watch);
    watch = qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, read_one, &destroyed, count, NULL);
    drop(watch);
    CHECK_INT(next(ctx, 0, &due), ==, 0);
    CHECK(!due);
    CHECK_INT(destroyed, ==, 1);
    check_quiet(ctx);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

typedef struct Chain {
    AioContext *ctx;
    int fd, calls;
} Chain;

static gboolean defer_one(int fd, GIOCondition condition, void *opaque)
{
    Chain *chain = opaque;

    CHECK_INT(qio_aio_context_defer(chain->ctx, count, &chain->calls, NULL, NULL), ==, 0);
    return FALSE;
}

/* A wait that nothing else ends goes on over internal work, and ends for what comes of it. */
TEST(what_it_makes_due_ends_the_wait)
{
    AioContext *ctx = new_loop();
    Chain chain = { .ctx = ctx };
    int fds[2];
    bool due;

    make_pair(fds);
    put(fds[1]);
    qio_loop_watch_unref(qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, defer_one, &chain, NULL,
                                                  NULL));
    CHECK_INT(next(ctx, -1, &due), ==, 0);
    CHECK(due);
    CHECK_INT(chain.calls, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(chain.calls, ==, 1);
    /* In one dispatch, too. */
    qio_loop_watch_unref(qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, defer_one, &chain, NULL,
                                                  NULL));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(chain.calls, ==, 2);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

TEST(timers)
{
    AioContext *ctx;
    QIOLoopWatch *watch;
    int calls = 0;
    bool due;

    testclock_install();
    ctx = new_loop();
    watch = qio_loop_add_internal_timer(ctx, 10, 10, count_timer, &calls, NULL, NULL);
    CHECK_INT(next(ctx, 35, &due), ==, 0);
    CHECK(!due);
    CHECK_INT(calls, ==, 3);
    CHECK_INT(testclock_elapsed_ms(), ==, 35);
    CHECK_INT(qio_aio_context_dispatch(ctx, 10, NULL), ==, 0);
    CHECK_INT(calls, ==, 4);
    drop(watch);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(bad_arguments)
{
    AioContext *ctx = new_loop();
    Error *err = NULL;
    int destroyed = 0;
    bool due;

    CHECK_PTR(qio_loop_add_internal_fd(ctx, 0, G_IO_IN, NULL, &destroyed, count, &err), ==, NULL);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INVAL);
    CHECK_PTR(qio_loop_add_internal_timer(ctx, 1, 0, NULL, &destroyed, count, &err), ==, NULL);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INVAL);
    CHECK_INT(next(ctx, 0, &due), ==, 0);
    CHECK(!due);
    CHECK_INT(destroyed, ==, 2);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_PTR(qio_loop_add_internal_timer(ctx, 1, 0, count_timer, &destroyed, count, &err), ==,
              NULL);
    CHECK_INT(code_of(err), ==, QIO_ERROR_CLOSED);
    CHECK_INT(destroyed, ==, 3);
    qio_aio_context_unref(ctx);
}

TEST(close_releases)
{
    AioContext *ctx = new_loop();
    int destroyed = 0;

    qio_loop_watch_unref(qio_loop_add_internal_timer(ctx, 1, 0, count_timer, &destroyed, count,
                                                     NULL));
    qio_aio_context_unref(ctx);
    CHECK_INT(destroyed, ==, 1);
}

/* ---- help ---- */

typedef struct Goal {
    atomic_int left;
    int fd;
} Goal;

static bool reached(void *opaque)
{
    return atomic_load(&((Goal *)opaque)->left) <= 0;
}

static gboolean step(int fd, GIOCondition condition, void *opaque)
{
    Goal *goal = opaque;
    char byte;

    CHECK_INT(read(fd, &byte, 1), ==, 1);
    atomic_fetch_sub(&goal->left, 1);
    return TRUE;
}

static gboolean step_timer(void *opaque)
{
    atomic_fetch_sub(&((Goal *)opaque)->left, 1);
    return TRUE;
}

static gboolean fail_fd(int fd, GIOCondition condition, void *opaque)
{
    CHECK(!"a function of a user ran");
    return FALSE;
}

/* Users' watches that are ready neither run nor keep the helper awake. */
TEST(help_runs_internal_watches_only)
{
    AioContext *ctx;
    QIOLoopWatch *mine, *users, *queued;
    Goal goal = { 3 };
    int fds[2], calls = 0;
    long polls;

    testclock_install();
    ctx = new_loop();
    make_pair(fds);
    users = qio_aio_context_add_fd_watch(ctx, fds[0], G_IO_OUT, fail_fd, NULL, NULL, NULL);
    queued = qio_loop_add_fd_queued(ctx, fds[0], G_IO_OUT, NULL, NULL, NULL);
    CHECK_INT(qio_aio_context_defer(ctx, count, &calls, NULL, NULL), ==, 0);
    mine = qio_loop_add_internal_timer(ctx, 10, 10, step_timer, &goal, NULL, NULL);
    polls = seam_hits(SEAM_poll);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 30);
    CHECK_INT(seam_hits(SEAM_poll) - polls, <=, 6);
    CHECK_INT(calls, ==, 0);
    CHECK(is_readable(ctx));
    drop(users);
    drop(queued);
    drop(mine);
    qio_aio_context_unref(ctx);
    close_pair(fds);
    testclock_remove();
}

TEST(help_times_out)
{
    AioContext *ctx;
    Goal goal = { 3 };
    QIOLoopWatch *mine;

    testclock_install();
    ctx = new_loop();
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, 0, NULL), ==, 0);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, 25, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 25);
    mine = qio_loop_add_internal_timer(ctx, 10, 10, step_timer, &goal, NULL, NULL);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, 20, NULL), ==, 0);
    CHECK_INT(atomic_load(&goal.left), ==, 1);
    testclock_advance_ms(10);
    /* A try does what is due. */
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, 0, NULL), ==, 1);
    drop(mine);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(help_fails)
{
    AioContext *ctx = new_loop();
    Goal goal = { 1 }, done = { 0 };
    Error *err = NULL;

    seam_install();
    seam_fail(SEAM_poll, 1, 1, EINTR);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INTR);
    seam_install();
    seam_fail(SEAM_poll, 1, 1, ENOMEM);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOMEM);
    qio_error_free(g_steal_pointer(&err));
    seam_remove();
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, -1, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_CLOSED);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &done, -1, NULL), ==, 1);
    qio_aio_context_unref(ctx);
}

static void help_inside(void *opaque)
{
    Goal goal = { 1 };
    Error *err = NULL;

    CHECK_INT(qio_loop_help(opaque, reached, NULL, &goal, -1, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
    atomic_store(&goal.left, 0);
    CHECK_INT(qio_loop_help(opaque, reached, NULL, &goal, -1, NULL), ==, 1);
}

TEST(help_inside_a_callback_is_busy)
{
    AioContext *ctx = new_loop();

    CHECK_INT(qio_aio_context_defer(ctx, help_inside, ctx, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    qio_aio_context_unref(ctx);
}

typedef struct Helper {
    AioContext *ctx;
    Goal *goal;
    pthread_t thread;
    int result;
} Helper;

static void *help_thread(void *opaque)
{
    Helper *helper = opaque;

    helper->result = qio_loop_help(helper->ctx, reached, NULL, helper->goal, -1, NULL);
    return NULL;
}

static void start(Helper *helper, AioContext *ctx, Goal *goal)
{
    *helper = (Helper) { .ctx = ctx, .goal = goal };
    CHECK_INT(pthread_create(&helper->thread, NULL, help_thread, helper), ==, 0);
}

/* One who comes to dispatch gets the loop, and the helpers go on after it. */
TEST(dispatch_takes_over)
{
    enum { HELPERS = 3, ROUNDS = 200 };
    AioContext *ctx = new_loop();
    Goal goal = { ROUNDS };
    Helper helpers[HELPERS];
    QIOLoopWatch *mine;
    int fds[2], calls = 0;

    make_pair(fds);
    mine = qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, step, &goal, NULL, NULL);
    for (int i = 0; i < HELPERS; i++) {
        start(&helpers[i], ctx, &goal);
    }
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_INT(qio_aio_context_defer(ctx, count, &calls, NULL, NULL), ==, 0);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
        put(fds[1]);
    }
    CHECK_INT(calls, ==, ROUNDS);
    for (int i = 0; i < HELPERS; i++) {
        qio_loop_poke(ctx);
        pthread_join(helpers[i].thread, NULL);
        CHECK_INT(helpers[i].result, ==, 1);
    }
    drop(mine);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

static gboolean quit_at_end(int fd, GIOCondition condition, void *opaque)
{
    Helper *helper = opaque;

    step(fd, condition, helper->goal);
    qio_loop_poke(helper->ctx);
    if (reached(helper->goal)) {
        qio_aio_context_quit(helper->ctx);
    }
    return TRUE;
}

/* While another thread runs the loop, waiting is standing by. */
TEST(help_beside_run)
{
    AioContext *ctx = new_loop();
    Goal goal = { 50 };
    Helper helper, self = { .ctx = ctx, .goal = &goal };
    QIOLoopWatch *mine;
    int fds[2];

    make_pair(fds);
    mine = qio_loop_add_internal_fd(ctx, fds[0], G_IO_IN, quit_at_end, &self, NULL, NULL);
    start(&helper, ctx, &goal);
    for (int i = 0; i < 50; i++) {
        put(fds[1]);
    }
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
    pthread_join(helper.thread, NULL);
    CHECK_INT(helper.result, ==, 1);
    drop(mine);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

/* Adding from another thread reaches a helper that sleeps already. */
TEST(helper_sees_new_watches)
{
    AioContext *ctx = new_loop();
    Goal goal = { 20 };
    Helper helper;
    QIOLoopWatch *watches[20];
    int fds[20][2];

    start(&helper, ctx, &goal);
    for (int i = 0; i < 20; i++) {
        make_pair(fds[i]);
        put(fds[i][1]);
        watches[i] = qio_loop_add_internal_fd(ctx, fds[i][0], G_IO_IN, step, &goal, NULL, NULL);
    }
    pthread_join(helper.thread, NULL);
    CHECK_INT(helper.result, ==, 1);
    for (int i = 0; i < 20; i++) {
        drop(watches[i]);
        close_pair(fds[i]);
    }
    qio_aio_context_unref(ctx);
}

/* Without a descriptor for itself it looks again and again. */
TEST(help_without_a_descriptor)
{
    AioContext *ctx = new_loop();
    Goal goal = { 2 };
    QIOLoopWatch *mine = qio_loop_add_internal_timer(ctx, 1, 1, step_timer, &goal, NULL, NULL);

    seam_install();
    seam_fail(SEAM_eventfd, 1, 1, EMFILE);
    CHECK_INT(qio_loop_help(ctx, reached, NULL, &goal, -1, NULL), ==, 1);
    CHECK_INT(seam_struck(), ==, 1);
    seam_remove();
    drop(mine);
    qio_aio_context_unref(ctx);
}
