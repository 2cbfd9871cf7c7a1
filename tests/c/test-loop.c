/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop.c: a loop as a whole: its life, its one descriptor, who may dispatch it, waking
 * and quitting, deferred calls, the bridge to GLib.
 */
#include "loop-util.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

/* ---- life ---- */

TEST(empty)
{
    AioContext *ctx = new_loop();

    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(qio_aio_context_wait(ctx, 0, NULL), ==, 0);
    CHECK(!qio_aio_context_poll(ctx, false));
    CHECK(!is_readable(ctx));
    CHECK_PTR(qio_aio_context_ref(ctx), ==, ctx);
    qio_aio_context_unref(ctx);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    qio_aio_context_unref(NULL);
}

TEST(out_of_descriptors)
{
    static const struct {
        SeamCall call;
        int hit, number;
    } points[] = {
        { SEAM_epoll_create1, 1, EMFILE }, { SEAM_eventfd, 1, EMFILE },
        { SEAM_timerfd_create, 1, ENFILE }, { SEAM_epoll_ctl, 1, ENOSPC },
        { SEAM_epoll_ctl, 2, ENOMEM },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(points); i++) {
        Error *err = NULL;

        test_note("%s, hit %d", seam_name(points[i].call), points[i].hit);
        seam_install();
        seam_fail(points[i].call, points[i].hit, 1, points[i].number);
        CHECK_PTR(qio_aio_context_new(&err), ==, NULL);
        CHECK_INT(qio_error_get_errno(err), ==, points[i].number);
        CHECK_STR_HAS(qio_error_get_pretty(err), "loop");
        CHECK_INT(code_of(err), ==, QIO_ERROR_SYSTEM);
        CHECK_INT(seam_struck(), ==, 1);
    }
    seam_remove();
}

TEST(closed_loop_refuses)
{
    AioContext *ctx = new_loop();
    Error *err = NULL;
    int destroyed = 0;

    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_CLOSED);
    CHECK_INT(qio_aio_context_run(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_CLOSED);
    CHECK_INT(qio_aio_context_wait(ctx, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_CLOSED);
    CHECK_INT(qio_aio_context_defer(ctx, count, &destroyed, count, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_CLOSED);
    CHECK_INT(destroyed, ==, 1);
    CHECK(!qio_aio_context_poll(ctx, true));
    /* A foreign loop that polls the descriptor comes in and learns it. */
    CHECK(is_readable(ctx));
    qio_aio_context_unref(ctx);
}

/* ---- deferred calls ---- */

static char order[64];

static void append(void *opaque)
{
    g_strlcat(order, opaque, sizeof(order));
}

TEST(deferred_in_order)
{
    AioContext *ctx = new_loop();
    int destroyed = 0;
    Error *err = NULL;

    order[0] = '\0';
    for (const char *p = "a\0b\0c\0"; *p; p += 2) {
        CHECK_INT(qio_aio_context_defer(ctx, append, (void *)p, NULL, NULL), ==, 0);
    }
    CHECK_INT(qio_aio_context_defer(ctx, count, &destroyed, count, NULL), ==, 0);
    CHECK_STR(order, "");
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_wait(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 4);
    CHECK_STR(order, "abc");
    CHECK_INT(destroyed, ==, 2);
    CHECK(!is_readable(ctx));

    CHECK_INT(qio_aio_context_defer(ctx, NULL, &destroyed, count, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "func");
    CHECK_INT(code_of(err), ==, QIO_ERROR_INVAL);
    CHECK_INT(destroyed, ==, 3);
    qio_aio_context_unref(ctx);
}

typedef struct Again {
    AioContext *ctx;
    int runs;
} Again;

static void defer_again(void *opaque)
{
    Again *again = opaque;

    again->runs++;
    CHECK_INT(qio_aio_context_defer(again->ctx, defer_again, again, NULL, NULL), ==, 0);
}

TEST(deferred_in_deferred_waits_for_the_next_turn)
{
    Again again = { .ctx = new_loop() };

    defer_again(&again);
    CHECK_INT(qio_aio_context_dispatch(again.ctx, 0, NULL), ==, 1);
    CHECK_INT(again.runs, ==, 2);
    CHECK(is_readable(again.ctx));
    CHECK_INT(qio_aio_context_dispatch(again.ctx, -1, NULL), ==, 1);
    CHECK_INT(again.runs, ==, 3);
    qio_aio_context_unref(again.ctx);
    CHECK_INT(again.runs, ==, 3);
}

TEST(close_releases_what_is_deferred)
{
    AioContext *ctx = new_loop();
    int destroyed = 0;

    order[0] = '\0';
    CHECK_INT(qio_aio_context_defer(ctx, append, "x", NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, count, &destroyed, count, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    CHECK_STR(order, "");
    CHECK_INT(destroyed, ==, 1);
}

/* A callback ends its dispatch: what is behind it stays due, in its order. */
static void breaks(void *opaque)
{
    g_strlcat(order, "!", sizeof(order));
    qio_loop_break(opaque);
    CHECK_INT(qio_aio_context_defer(opaque, append, "z", NULL, NULL), ==, 0);
}

static gboolean append_once(int fd, GIOCondition condition, void *opaque)
{
    append(opaque);
    return FALSE;
}

static gboolean breaks_once(int fd, GIOCondition condition, void *opaque)
{
    breaks(opaque);
    return FALSE;
}

TEST(a_callback_ends_the_dispatch)
{
    AioContext *ctx = new_loop();
    int fds[2];

    make_pair(fds);
    order[0] = '\0';
    qio_loop_break(ctx);
    CHECK_INT(qio_aio_context_defer(ctx, append, "a", NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, breaks, ctx, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, append, "b", NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, append, "c", NULL, NULL), ==, 0);
    qio_loop_watch_unref(qio_aio_context_add_fd_watch(ctx, fds[0], G_IO_OUT, append_once, "w",
                                                      NULL, NULL));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 2);
    CHECK_STR(order, "a!");
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 4);
    CHECK_STR(order, "a!bczw");

    order[0] = '\0';
    qio_loop_watch_unref(qio_aio_context_add_fd_watch(ctx, fds[0], G_IO_OUT, breaks_once, ctx,
                                                      NULL, NULL));
    qio_loop_watch_unref(qio_aio_context_add_fd_watch(ctx, fds[1], G_IO_OUT, append_once, "w",
                                                      NULL, NULL));
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 1);
    CHECK_INT(strlen(order), ==, 3);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

/* ---- who may dispatch ---- */

static void comes_back_in(void *opaque)
{
    AioContext *ctx = opaque;
    QIOLoopEvent event;
    Error *err = NULL;
    bool due;

    CHECK(qio_loop_is_dispatching(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK_INT(qio_aio_context_run(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK_INT(qio_loop_next(ctx, &event, 1, 0, &due, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK_INT(qio_aio_context_close(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK(!qio_aio_context_poll(ctx, true));
    /* Another loop is another matter, and waiting is allowed. */
    CHECK_INT(qio_aio_context_wait(ctx, 0, NULL), ==, 0);
    order[0] = '!';
}

TEST(nested_dispatch_is_busy)
{
    AioContext *ctx = new_loop();

    memset(order, 0, sizeof(order));
    CHECK(!qio_loop_is_dispatching(ctx));
    CHECK_INT(qio_aio_context_defer(ctx, comes_back_in, ctx, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_STR(order, "!");
    CHECK(!qio_loop_is_dispatching(ctx));
    qio_aio_context_unref(ctx);
}

static void dispatch_other(void *opaque)
{
    AioContext *other = opaque;

    CHECK_INT(qio_aio_context_dispatch(other, 0, NULL), ==, 1);
}

TEST(another_loop_inside_a_callback)
{
    AioContext *ctx = new_loop(), *other = new_loop();

    order[0] = '\0';
    CHECK_INT(qio_aio_context_defer(other, append, "o", NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, dispatch_other, other, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_STR(order, "o");
    qio_aio_context_unref(other);
    qio_aio_context_unref(ctx);
}

static void drops_last_reference(void *opaque)
{
    qio_aio_context_unref(opaque);
}

static gboolean never(void *opaque)
{
    test_fail(__FILE__, __LINE__, "called");
}

TEST(last_reference_dropped_in_a_callback)
{
    AioContext *ctx = new_loop();
    QIOLoopWatch *watch;
    int destroyed = 0;

    CHECK_INT(qio_aio_context_defer(ctx, drops_last_reference, ctx, NULL, NULL), ==, 0);
    watch = qio_aio_context_add_timer(ctx, 60000, 0, never, &destroyed, count, NULL);
    CHECK_PTR(watch, !=, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    /* The loop went with the dispatch; the handle outlives it. */
    CHECK_INT(destroyed, ==, 1);
    CHECK(qio_loop_watch_is_removed(watch));
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
}

static void *run(void *opaque)
{
    CHECK_INT(qio_aio_context_run(opaque, NULL), ==, 0);
    return NULL;
}

static void post_semaphore(void *opaque)
{
    sem_post(opaque);
}

/* Starts a thread that runs the loop, and returns when it is inside. */
static pthread_t start_running(AioContext *ctx)
{
    pthread_t thread;
    sem_t inside;

    sem_init(&inside, 0, 0);
    CHECK_INT(qio_aio_context_defer(ctx, post_semaphore, &inside, NULL, NULL), ==, 0);
    CHECK(pthread_create(&thread, NULL, run, ctx) == 0);
    while (sem_wait(&inside) < 0) {
    }
    sem_destroy(&inside);
    return thread;
}

TEST(second_thread_is_busy)
{
    AioContext *ctx = new_loop();
    pthread_t thread = start_running(ctx);
    Error *err = NULL;

    CHECK(!qio_loop_is_dispatching(ctx));
    CHECK_INT(qio_aio_context_run(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    CHECK_INT(qio_aio_context_close(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_BUSY);
    qio_aio_context_quit(ctx);
    pthread_join(thread, NULL);
    qio_aio_context_unref(ctx);
}

/* ---- waking, quitting, signals ---- */

static void *wait_for_ever(void *opaque)
{
    CHECK_INT(qio_aio_context_wait(opaque, -1, NULL), ==, 1);
    return NULL;
}

TEST(woken_from_another_thread)
{
    AioContext *ctx = new_loop();
    pthread_t thread;
    int runs = 0;

    /* Whichever comes first, the wait ends. */
    CHECK(pthread_create(&thread, NULL, wait_for_ever, ctx) == 0);
    qio_aio_context_notify(ctx);
    pthread_join(thread, NULL);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 0);
    CHECK(!is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);

    CHECK(pthread_create(&thread, NULL, wait_for_ever, ctx) == 0);
    CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(runs, ==, 1);
    qio_aio_context_unref(ctx);
}

static void quit(void *opaque)
{
    qio_aio_context_quit(opaque);
}

TEST(quit_from_anywhere)
{
    AioContext *ctx = new_loop();
    pthread_t thread;

    /* Before: the next run returns. */
    qio_aio_context_quit(ctx);
    run(ctx);
    CHECK(!is_readable(ctx));
    /* From a callback. */
    CHECK_INT(qio_aio_context_defer(ctx, quit, ctx, NULL, NULL), ==, 0);
    run(ctx);
    CHECK(!is_readable(ctx));
    /* From another thread. */
    thread = start_running(ctx);
    qio_aio_context_quit(ctx);
    pthread_join(thread, NULL);
    qio_aio_context_unref(ctx);
}

TEST(a_storm_of_wake_ups_loses_none)
{
    AioContext *ctx = new_loop();
    pthread_t thread;
    int runs = 0;

    CHECK(pthread_create(&thread, NULL, run, ctx) == 0);
    for (int i = 0; i < 20000; i++) {
        CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
        if (i % 7 == 0) {
            qio_aio_context_notify(ctx);
        }
    }
    CHECK_INT(qio_aio_context_defer(ctx, quit, ctx, NULL, NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(runs, ==, 20000);
    qio_aio_context_unref(ctx);
}

static void ignore(int signum)
{
}

typedef struct Victim {
    pthread_t thread;
    atomic_int done;
} Victim;

static void *signal_until_done(void *opaque)
{
    Victim *victim = opaque;

    while (!atomic_load(&victim->done)) {
        pthread_kill(victim->thread, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

TEST(a_signal_is_reported)
{
    struct sigaction action = { .sa_handler = ignore };
    Victim victim = { .thread = pthread_self() };
    AioContext *ctx = new_loop();
    Error *err = NULL;
    pthread_t thread;

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, signal_until_done, &victim) == 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INTR);
    CHECK_INT(qio_aio_context_wait(ctx, -1, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INTR);
    CHECK_INT(qio_aio_context_run(ctx, &err), ==, -1);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_INTR);
    CHECK(!qio_aio_context_poll(ctx, true));
    atomic_store(&victim.done, 1);
    pthread_join(thread, NULL);
    qio_aio_context_unref(ctx);
}

TEST(what_is_due_comes_before_a_signal)
{
    AioContext *ctx = new_loop();
    int runs = 0;

    seam_install();
    seam_fail(SEAM_epoll_wait, 1, SEAM_ALWAYS, EINTR);
    CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(runs, ==, 1);
    qio_aio_context_notify(ctx);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 0);
    seam_remove();
    qio_aio_context_unref(ctx);
}

TEST(a_wait_that_fails)
{
    AioContext *ctx = new_loop();
    Error *err = NULL;

    seam_install();
    seam_fail(SEAM_epoll_wait, 1, 1, EBADF);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EBADF);
    CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_SYSTEM);
    seam_fail(SEAM_poll, 1, 1, ENOMEM);
    CHECK_INT(qio_aio_context_wait(ctx, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOMEM);
    qio_error_free(err);
    seam_remove();
    qio_aio_context_unref(ctx);
}

/* wakefd is for others: a thread that dispatches its own loop needs it never. */
TEST(nobody_watches_nobody_is_written_to)
{
    AioContext *ctx = new_loop();
    int runs = 0;

    seam_install();
    for (int i = 0; i < 5; i++) {
        CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    }
    CHECK_INT(seam_hits(SEAM_write), ==, 0);
    CHECK_INT(seam_hits(SEAM_epoll_wait), ==, 5);
    seam_remove();
    qio_aio_context_unref(ctx);
}

/* ---- GLib ---- */

TEST(inside_a_main_context)
{
    GMainContext *main_context = g_main_context_new();
    AioContext *ctx = new_loop();
    GSource *source = qio_aio_context_get_g_source(ctx);
    int runs = 0;

    g_source_attach(source, main_context);
    CHECK(!g_main_context_iteration(main_context, FALSE));
    CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
    CHECK(g_main_context_iteration(main_context, TRUE));
    CHECK_INT(runs, ==, 2);
    CHECK(!g_main_context_iteration(main_context, FALSE));

    /* The source keeps the loop open, and goes when the loop is closed. */
    qio_aio_context_ref(ctx);
    qio_aio_context_unref(ctx);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK(g_main_context_iteration(main_context, TRUE));
    CHECK(g_source_is_destroyed(source));
    qio_aio_context_unref(ctx);
    g_source_unref(source);
    g_main_context_unref(main_context);
}

TEST(source_holds_a_reference)
{
    GMainContext *main_context = g_main_context_new();
    AioContext *ctx = new_loop();
    GSource *source = qio_aio_context_get_g_source(ctx);
    int runs = 0;

    g_source_attach(source, main_context);
    CHECK_INT(qio_aio_context_defer(ctx, count, &runs, NULL, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    CHECK(g_main_context_iteration(main_context, TRUE));
    CHECK_INT(runs, ==, 1);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(main_context);
}

TEST(the_main_loop)
{
    AioContext *ctx = qio_get_main_aio_context();
    int runs = 0;

    CHECK_PTR(ctx, !=, NULL);
    CHECK_PTR(qio_get_main_aio_context(), ==, ctx);
    CHECK_INT(qio_aio_context_defer(NULL, count, &runs, NULL, NULL), ==, 0);
    CHECK(g_main_context_iteration(NULL, TRUE));
    CHECK_INT(runs, ==, 1);
    CHECK_INT(qio_aio_context_defer(NULL, count, &runs, NULL, NULL), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(NULL, 0, NULL), ==, 1);
    CHECK_INT(runs, ==, 2);
}

TEST(no_main_loop_without_descriptors)
{
    Error *err = NULL;
    int destroyed = 0;

    seam_install();
    /* The loop's own, then those that GLib would abort without. */
    for (int hit = 1; hit <= 3; hit++) {
        test_note("eventfd %d", hit);
        seam_fail(SEAM_eventfd, hit, SEAM_ALWAYS, EMFILE);
        CHECK_PTR(qio_get_main_aio_context(), ==, NULL);
        CHECK_INT(qio_aio_context_defer(NULL, count, &destroyed, count, &err), ==, -1);
        CHECK_INT(qio_error_get_errno(err), ==, EMFILE);
        CHECK_INT(code_of(g_steal_pointer(&err)), ==, QIO_ERROR_SYSTEM);
        CHECK_INT(destroyed, ==, 2 * hit - 1);
        CHECK_INT(qio_aio_context_get_fd(NULL), ==, -1);
        CHECK_PTR(qio_aio_context_get_g_source(NULL), ==, NULL);
        CHECK_PTR(qio_aio_context_add_timer(NULL, 1, 0, never, &destroyed, count, NULL), ==,
                  NULL);
        CHECK_INT(qio_aio_context_dispatch(NULL, 0, NULL), ==, -1);
        seam_install();
    }
    seam_remove();
}
