/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-timer.c: timers, on the test clock.
 */
#include "runner.h"

#include "loop/loop.h"
#include "seam.h"
#include "testclock.h"

#include <glib.h>
#include <poll.h>
#include <string.h>

/* When each expiry came, in ms since the start, and whose it was. */
static char log_text[512];

typedef struct Tick {
    const char *name;
    int left;               /* expiries to keep it for */
    int64_t work_ms;        /* how long its function takes */
    QIOLoopWatch *remove;   /* what its function removes */
} Tick;

static gboolean tick(void *opaque)
{
    Tick *t = opaque;
    char entry[64];

    g_snprintf(entry, sizeof(entry), "%s%d ", t->name, (int)testclock_elapsed_ms());
    g_strlcat(log_text, entry, sizeof(log_text));
    testclock_advance_ms(t->work_ms);
    if (t->remove) {
        qio_loop_watch_remove(t->remove);
    }
    return --t->left > 0;
}

static AioContext *new_loop(void)
{
    AioContext *ctx;

    testclock_install();
    log_text[0] = '\0';
    ctx = qio_aio_context_new(NULL);
    CHECK_PTR(ctx, !=, NULL);
    return ctx;
}

static QIOLoopWatch *add(AioContext *ctx, int64_t after_ms, int64_t every_ms, Tick *t)
{
    QIOLoopWatch *watch = qio_aio_context_add_timer(ctx, after_ms, every_ms, tick, t, NULL, NULL);

    CHECK_PTR(watch, !=, NULL);
    return watch;
}

static void end(AioContext *ctx)
{
    qio_aio_context_unref(ctx);
    testclock_remove();
}

static void dispatch(AioContext *ctx, int times)
{
    for (int i = 0; i < times; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    }
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

TEST(once)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 5 };
    QIOLoopWatch *watch = add(ctx, 100, 0, &t);

    CHECK_INT(qio_aio_context_dispatch(ctx, 99, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 99);
    CHECK(!qio_loop_watch_is_removed(watch));
    dispatch(ctx, 1);
    CHECK_STR(log_text, "a100 ");
    /* TRUE does not keep what has no period. */
    CHECK(qio_loop_watch_is_removed(watch));
    CHECK_INT(qio_aio_context_dispatch(ctx, 1000, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 1100);
    CHECK_STR(log_text, "a100 ");
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(repeating_until_it_says_no)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 3 };
    QIOLoopWatch *watch = add(ctx, 5, 10, &t);

    dispatch(ctx, 3);
    CHECK_STR(log_text, "a5 a15 a25 ");
    CHECK(qio_loop_watch_is_removed(watch));
    CHECK_INT(qio_aio_context_dispatch(ctx, 100, NULL), ==, 0);
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(late_ones_fire_once)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 4 };
    QIOLoopWatch *watch = add(ctx, 10, 10, &t);

    testclock_advance_ms(57);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    dispatch(ctx, 1);
    /* In step with the first. */
    CHECK_STR(log_text, "a57 a60 ");
    /* A function that takes longer than the period does not make up for it either. */
    t.work_ms = 25;
    dispatch(ctx, 2);
    CHECK_STR(log_text, "a57 a60 a70 a100 ");
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(in_order_of_deadlines)
{
    static const int64_t after_ms[] = { 30, 10, 20, 10, 0, 40, 20, 10 };
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    AioContext *ctx = new_loop();
    Tick ticks[8];
    int total = 0;

    for (int i = 0; i < 8; i++) {
        ticks[i] = (Tick) { names[i], 1 };
        qio_loop_watch_unref(add(ctx, after_ms[i], 0, &ticks[i]));
    }
    while (total < 8) {
        int n = qio_aio_context_dispatch(ctx, -1, NULL);

        CHECK_INT(n, >, 0);
        total += n;
    }
    CHECK_STR(log_text, "e0 b10 d10 h10 c20 g20 a30 f40 ");
    end(ctx);
}

/* Against a simple model: random additions and removals, in random order. */
TEST(heap_against_a_list)
{
    enum { N = 400 };
    AioContext *ctx = new_loop();
    QIOLoopWatch *watches[N];
    Tick ticks[N];
    int64_t due_ms[N];
    GRand *rand = g_rand_new_with_seed(7);

    for (int i = 0; i < N; i++) {
        ticks[i] = (Tick) { "", 1 };
        due_ms[i] = g_rand_int_range(rand, 0, 200);
        watches[i] = add(ctx, due_ms[i], 0, &ticks[i]);
        if (g_rand_int_range(rand, 0, 3) == 0) {
            int gone = g_rand_int_range(rand, 0, i + 1);

            qio_loop_watch_remove(watches[gone]);
            due_ms[gone] = -1;
        }
    }
    for (int64_t now = 0; now < 200; now++) {
        int expected = 0;

        for (int i = 0; i < N; i++) {
            expected += due_ms[i] == now;
        }
        CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, expected);
        testclock_advance_ms(1);
    }
    for (int i = 0; i < N; i++) {
        CHECK(qio_loop_watch_is_removed(watches[i]));
        qio_loop_watch_unref(watches[i]);
    }
    g_rand_free(rand);
    end(ctx);
}

TEST(one_removes_another_that_is_due_too)
{
    AioContext *ctx = new_loop();
    Tick a = { "a", 1 }, b = { "b", 1 };
    QIOLoopWatch *first = add(ctx, 10, 0, &a), *second = add(ctx, 10, 0, &b);

    a.remove = second;
    dispatch(ctx, 1);
    CHECK_STR(log_text, "a10 ");
    CHECK(qio_loop_watch_is_removed(second));
    qio_loop_watch_unref(first);
    qio_loop_watch_unref(second);
    end(ctx);
}

TEST(removes_itself)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 5 };
    QIOLoopWatch *watch = add(ctx, 10, 10, &t);

    t.remove = watch;
    dispatch(ctx, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 100, NULL), ==, 0);
    CHECK_STR(log_text, "a10 ");
    qio_loop_watch_unref(watch);
    end(ctx);
}

static gboolean no_more(void *opaque)
{
    CHECK_INT(*(int *)opaque, ==, 0);
    return FALSE;
}

TEST(destroyed_in_a_later_dispatch)
{
    AioContext *ctx = new_loop();
    int destroyed = 0;
    QIOLoopWatch *watch = qio_aio_context_add_timer(ctx, 1, 1, no_more, &destroyed, count, NULL);
    struct pollfd pfd = { .fd = qio_aio_context_get_fd(ctx), .events = POLLIN };

    qio_loop_watch_unref(watch);
    dispatch(ctx, 1);
    CHECK_INT(destroyed, ==, 0);
    CHECK_INT(poll(&pfd, 1, 0), ==, 1);
    dispatch(ctx, 1);
    CHECK_INT(destroyed, ==, 1);
    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    end(ctx);
}

TEST(armed_only_when_the_earliest_moves_earlier)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 1 };
    QIOLoopWatch *near, *far;
    long hits;

    near = add(ctx, 50, 0, &t);
    hits = seam_hits(SEAM_timerfd_settime);
    CHECK_INT(hits, ==, 1);
    far = add(ctx, 100, 0, &t);
    CHECK_INT(seam_hits(SEAM_timerfd_settime), ==, hits);
    qio_loop_watch_remove(near);
    CHECK_INT(seam_hits(SEAM_timerfd_settime), ==, hits);
    /* The look in vain at 50 arms it for 100 and is not seen from outside. */
    dispatch(ctx, 1);
    CHECK_STR(log_text, "a100 ");
    CHECK_INT(seam_hits(SEAM_timerfd_settime), ==, hits + 1);
    qio_loop_watch_unref(near);
    qio_loop_watch_unref(far);
    end(ctx);
}

TEST(arming_fails)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 2 };
    QIOLoopWatch *watch;

    seam_fail(SEAM_timerfd_settime, 1, SEAM_ALWAYS, ENOMEM);
    watch = add(ctx, 50, 50, &t);
    /* The wait itself keeps the time then. */
    dispatch(ctx, 2);
    CHECK_STR(log_text, "a50 a100 ");
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(interrupted_arming_and_reading)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 1 };
    QIOLoopWatch *watch;

    seam_fail(SEAM_timerfd_settime, 1, 3, EINTR);
    seam_fail(SEAM_read, 1, 3, EINTR);
    watch = add(ctx, 50, 0, &t);
    dispatch(ctx, 1);
    CHECK_STR(log_text, "a50 ");
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(the_loop_descriptor_stands_for_timers)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 1 };
    QIOLoopWatch *watch = add(ctx, 50, 0, &t);
    struct pollfd pfd = { .fd = qio_aio_context_get_fd(ctx), .events = POLLIN };

    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    CHECK_INT(qio_aio_context_wait(ctx, 49, NULL), ==, 0);
    CHECK_INT(qio_aio_context_wait(ctx, 49, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 50);
    CHECK_INT(poll(&pfd, 1, 0), ==, 1);
    dispatch(ctx, 1);
    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    qio_loop_watch_unref(watch);
    end(ctx);
}

TEST(bad_times)
{
    AioContext *ctx = new_loop();
    Tick t = { "a", 1 };
    Error *err = NULL;
    QIOLoopWatch *watch;
    int destroyed = 0;

    CHECK_PTR(qio_aio_context_add_timer(ctx, -1, 0, tick, &destroyed, count, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "after_ms: -1");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(g_steal_pointer(&err));
    CHECK_PTR(qio_aio_context_add_timer(ctx, 1, -7, tick, &destroyed, count, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "every_ms: -7");
    qio_error_free(g_steal_pointer(&err));
    CHECK_PTR(qio_aio_context_add_timer(ctx, 1, 1, NULL, &destroyed, count, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "func");
    qio_error_free(g_steal_pointer(&err));
    /* On a clean stack, as for those that were there. */
    CHECK_INT(destroyed, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 3);
    CHECK_INT(destroyed, ==, 3);

    /* Beyond the end of time is never, not in the past. */
    watch = add(ctx, INT64_MAX, INT64_MAX, &t);
    CHECK_INT(qio_aio_context_dispatch(ctx, 1000, NULL), ==, 0);
    CHECK_STR(log_text, "");
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    end(ctx);
}

/* On the real clock, once: the timerfd and the eventfd are what they should be. */
TEST(real_time)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Tick t = { "", 3 };
    QIOLoopWatch *watch = qio_aio_context_add_timer(ctx, 1, 2, tick, &t, NULL, NULL);

    log_text[0] = '\0';
    dispatch(ctx, 3);
    CHECK_INT(t.left, ==, 0);
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
}
