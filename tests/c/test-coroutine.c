/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-coroutine.c: coroutines, and how a loop enters them.
 *
 * Owns: the tests of core/loop/coroutine.c and of qio_aio_co_schedule().
 */
#include "runner.h"

#include "base/sys.h"
#include "loop/coroutine-priv.h"
#include "loop/fibre.h"
#include "seam.h"

#include <glib.h>
#include <pthread.h>
#include <qio/aio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what GLib complained about ---- */

static atomic_int complaints;
static char complaint[256];

static void note_complaint(const char *domain, GLogLevelFlags level, const char *message,
                           void *opaque)
{
    atomic_fetch_add(&complaints, 1);
    g_strlcpy(complaint, message, sizeof(complaint));
}

static void expect_complaints(void)
{
    complaints = 0;
    complaint[0] = '\0';
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
    g_log_set_default_handler(note_complaint, NULL);
}

/* ---- plain switching ---- */

static char trace[256];

static void note(const char *what)
{
    g_strlcat(trace, what, sizeof(trace));
}

static void two_steps(void *opaque)
{
    CHECK(qio_in_coroutine());
    CHECK(qio_coroutine_in_coroutine());
    note("1");
    qio_coroutine_yield();
    note("2");
    *(int *)opaque += 1;
}

TEST(enter_and_yield)
{
    Coroutine *co;
    int ended = 0;

    trace[0] = '\0';
    CHECK(!qio_in_coroutine());
    CHECK_PTR(qio_coroutine_self(), ==, NULL);
    co = qio_coroutine_create(two_steps, &ended);
    CHECK_PTR(co, !=, NULL);
    CHECK_STR(trace, "");
    qio_coroutine_enter(co);
    note("a");
    CHECK(!qio_in_coroutine());
    CHECK_INT(ended, ==, 0);
    qio_coroutine_enter(co);
    note("b");
    CHECK_STR(trace, "1a2b");
    CHECK_INT(ended, ==, 1);
}

static void inner(void *opaque)
{
    Coroutine *outer = opaque;

    CHECK_PTR(qio_coroutine_self(), !=, outer);
    note("i");
    qio_coroutine_yield();
    note("j");
}

static void outer(void *opaque)
{
    Coroutine *self = qio_coroutine_self();
    Coroutine *child = qio_coroutine_create(inner, self);

    note("o");
    qio_coroutine_enter(child);
    CHECK_PTR(qio_coroutine_self(), ==, self);
    note("p");
    qio_coroutine_yield();
    note("q");
    qio_coroutine_enter(child);
    CHECK_PTR(qio_coroutine_self(), ==, self);
    note("r");
}

TEST(nested)
{
    Coroutine *co = qio_coroutine_create(outer, NULL);

    trace[0] = '\0';
    qio_coroutine_enter(co);
    note("m");
    qio_coroutine_enter(co);
    CHECK_STR(trace, "oipmqjr");
}

/* A child that its parent's enterer, not the parent, goes on with. */
static void makes_child(void *opaque)
{
    Coroutine **child = opaque;

    *child = qio_coroutine_create(two_steps, &(int) { 0 });
    qio_coroutine_enter(*child);
    qio_coroutine_yield();
}

TEST(entered_from_another_place)
{
    Coroutine *child = NULL;
    Coroutine *parent = qio_coroutine_create(makes_child, &child);

    trace[0] = '\0';
    qio_coroutine_enter(parent);
    qio_coroutine_enter(child);
    CHECK_STR(trace, "12");
    qio_coroutine_enter(parent);
}

/* ---- registers and floating point survive ---- */

static void sums(void *opaque)
{
    double *total = opaque;
    double a = total[0], b = a * 1.5, c = b + 0.25;
    long i = (long)a, j = i * 3, k = j - 7;

    for (int n = 0; n < 100; n++) {
        qio_coroutine_yield();
        a += b;
        i += j + k;
    }
    total[1] = a + b + c + (double)(i + j + k);
}

static double plain_sums(double a)
{
    double b = a * 1.5, c = b + 0.25;
    long i = (long)a, j = i * 3, k = j - 7;

    for (int n = 0; n < 100; n++) {
        a += b;
        i += j + k;
    }
    return a + b + c + (double)(i + j + k);
}

TEST(state_survives_switches)
{
    double totals[20][2];
    Coroutine *cos[20];

    for (int i = 0; i < 20; i++) {
        totals[i][0] = i + 0.125;
        cos[i] = qio_coroutine_create(sums, totals[i]);
    }
    for (int n = 0; n <= 100; n++) {
        for (int i = 0; i < 20; i++) {
            qio_coroutine_enter(cos[i]);
        }
    }
    for (int i = 0; i < 20; i++) {
        CHECK(totals[i][1] == plain_sums(i + 0.125));
    }
}

/* ---- many, deep, pooled ---- */

static void count_down(void *opaque)
{
    int *left = opaque;

    qio_coroutine_yield();
    (*left)--;
}

TEST(many_at_once)
{
    enum { N = 2000 };
    Coroutine **cos = g_new(Coroutine *, N);
    int left = N;

    for (int i = 0; i < N; i++) {
        cos[i] = qio_coroutine_create(count_down, &left);
        CHECK_PTR(cos[i], !=, NULL);
        qio_coroutine_enter(cos[i]);
    }
    for (int i = N - 1; i >= 0; i--) {
        qio_coroutine_enter(cos[i]);
    }
    CHECK_INT(left, ==, 0);
    g_free(cos);
}

static int __attribute__((noinline)) recurse(int depth)
{
    volatile char block[1024];

    memset((char *)block, depth & 127, sizeof(block));
    if (depth > 0 && recurse(depth - 1) != depth - 1) {
        return -1;
    }
    return block[17] == (depth & 127) && block[1000] == (depth & 127) ? depth : -1;
}

static void deep(void *opaque)
{
    *(int *)opaque = recurse(400);
    qio_coroutine_yield();
    *(int *)opaque += recurse(400);
}

TEST(deep_stack)
{
    int result = 0;
    Coroutine *co = qio_coroutine_create(deep, &result);

    qio_coroutine_enter(co);
    CHECK_INT(result, ==, 400);
    qio_coroutine_enter(co);
    CHECK_INT(result, ==, 800);
}

static void overflow_stack(void *opaque)
{
    /* More than there is: the guard page must stop it. */
    recurse(1 << 20);
}

FAIL_TEST(guard_page, TEST_CRASHED)
{
    qio_coroutine_enter(qio_coroutine_create(overflow_stack, NULL));
}

static void nothing(void *opaque)
{
    ++*(int *)opaque;
}

#if FIBRE_KEEP > 0
/* Under AddressSanitizer nothing is kept, so that using an ended one is found. */
TEST(ended_ones_are_used_again)
{
    int runs = 0;
    long mapped;

    seam_install();
    for (int i = 0; i < 10; i++) {
        qio_coroutine_enter(qio_coroutine_create(nothing, &runs));
    }
    mapped = seam_hits(SEAM_mmap);
    CHECK_INT(mapped, <=, 1);
    CHECK_INT(runs, ==, 10);
    seam_remove();
}
#endif

TEST(no_stack_to_be_had)
{
    int runs = 0;

    seam_install();
    /* Whatever is pooled goes first; nothing is in a process of its own. */
    seam_fail(SEAM_mmap, 1, SEAM_ALWAYS, ENOMEM);
    CHECK_PTR(qio_coroutine_create(nothing, &runs), ==, NULL);
    seam_install();
    seam_fail(SEAM_mprotect, 1, 1, ENOMEM);
    CHECK_PTR(qio_coroutine_create(nothing, &runs), ==, NULL);
    CHECK_INT(seam_hits(SEAM_munmap), ==, 1);
    qio_coroutine_enter(qio_coroutine_create(nothing, &runs));
    CHECK_INT(runs, ==, 1);
    seam_remove();
}

/* ---- misuse ---- */

static void enters_itself(void *opaque)
{
    qio_coroutine_enter(qio_coroutine_self());
    ++*(int *)opaque;
}

TEST(misuse_is_a_warning)
{
    int runs = 0;
    Coroutine *co;

    expect_complaints();
    qio_coroutine_yield();
    CHECK_INT(complaints, ==, 1);
    CHECK_STR_HAS(complaint, "outside a coroutine");

    qio_coroutine_enter(qio_coroutine_create(enters_itself, &runs));
    CHECK_INT(complaints, ==, 2);
    CHECK_STR_HAS(complaint, "is running");
    CHECK_INT(runs, ==, 1);

    qio_coroutine_enter(NULL);
    CHECK_INT(complaints, ==, 3);
    CHECK_PTR(qio_coroutine_create(NULL, NULL), ==, NULL);
    CHECK_INT(complaints, ==, 4);

#if FIBRE_KEEP > 0
    co = qio_coroutine_create(nothing, &runs);
    qio_coroutine_enter(co);
    qio_coroutine_enter(co);
    CHECK_INT(complaints, ==, 5);
    CHECK_STR_HAS(complaint, "has ended");
#else
    (void)co;
#endif
}

/* ---- threads ---- */

typedef struct Mover {
    Coroutine *co;
    pid_t first, second;        /* gettid(): the compiler keeps what pthread_self() gave */
} Mover;

static void moves(void *opaque)
{
    Mover *mover = opaque;

    mover->first = gettid();
    qio_coroutine_yield();
    mover->second = gettid();
    CHECK_PTR(qio_coroutine_self(), ==, mover->co);
}

static void *enter_thread(void *opaque)
{
    qio_coroutine_enter(opaque);
    CHECK(!qio_in_coroutine());
    return NULL;
}

TEST(goes_on_in_another_thread)
{
    Mover mover = { 0 };
    pthread_t thread;

    mover.co = qio_coroutine_create(moves, &mover);
    qio_coroutine_enter(mover.co);
    CHECK(pthread_create(&thread, NULL, enter_thread, mover.co) == 0);
    pthread_join(thread, NULL);
    CHECK_INT(mover.first, ==, gettid());
    CHECK_INT(mover.second, !=, mover.first);
    CHECK_INT(mover.second, >, 0);
}

/* ---- in a loop ---- */

static void hops(void *opaque)
{
    AioContext *ctx = opaque;

    for (int i = 0; i < 3; i++) {
        note("h");
        qio_aio_co_schedule(ctx, qio_coroutine_self());
        qio_coroutine_yield();
    }
    note("e");
}

TEST(schedules_itself)
{
    AioContext *ctx = qio_aio_context_new(NULL);

    trace[0] = '\0';
    qio_aio_co_schedule(ctx, qio_coroutine_create(hops, ctx));
    CHECK_STR(trace, "");
    /* One step a dispatch: it does not keep the dispatch to itself. */
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_STR(trace, "h");
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_STR(trace, "hh");
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_STR(trace, "hhhe");
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    qio_aio_context_unref(ctx);
}

static void hops_once(void *opaque)
{
    AioContext *ctx = opaque;
    Error *err = NULL;

    qio_aio_co_schedule(ctx, qio_coroutine_self());
    qio_coroutine_yield();
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    note("c");
}

TEST(closing_enters_what_is_scheduled)
{
    AioContext *ctx = qio_aio_context_new(NULL);

    trace[0] = '\0';
    qio_coroutine_enter(qio_coroutine_create(hops_once, ctx));
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_STR(trace, "c");
    qio_aio_context_unref(ctx);
}

static void schedules_twice(void *opaque)
{
    qio_aio_co_schedule(opaque, qio_coroutine_self());
    qio_aio_co_schedule(opaque, qio_coroutine_self());
    qio_coroutine_yield();
}

static void schedules_and_ends(void *opaque)
{
    qio_aio_co_schedule(opaque, qio_coroutine_self());
}

TEST(schedule_misuse)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Coroutine *co;
    int runs = 0;

    expect_complaints();
    qio_coroutine_enter(qio_coroutine_create(schedules_twice, ctx));
    CHECK_INT(complaints, ==, 1);
    CHECK_STR_HAS(complaint, "scheduled already");
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    qio_coroutine_enter(qio_coroutine_create(schedules_and_ends, ctx));
    CHECK_INT(complaints, ==, 2);
    CHECK_STR_HAS(complaint, "ended");
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    qio_aio_context_close(ctx, NULL);
    qio_coroutine_enter(qio_coroutine_create(schedules_and_ends, ctx));
    CHECK_INT(complaints, ==, 3);
    co = qio_coroutine_create(nothing, &runs);
    qio_aio_co_schedule(ctx, co);
    CHECK_INT(complaints, ==, 4);
    CHECK_STR_HAS(complaint, "closed");
    qio_coroutine_enter(co);
    CHECK_INT(runs, ==, 1);
    qio_aio_context_unref(ctx);
}

/* Two loops in two threads hand one coroutine to and fro: it schedules itself on the other
 * loop while still running, which may not enter it before it has left its stack. */
typedef struct PingPong {
    AioContext *loops[2];
    int steps;
} PingPong;

static void ping_pong(void *opaque)
{
    PingPong *game = opaque;

    for (int i = 0; i < 2000; i++) {
        qio_aio_co_schedule(game->loops[i & 1], qio_coroutine_self());
        qio_coroutine_yield();
        CHECK(qio_in_coroutine());
        game->steps++;
    }
    qio_aio_context_quit(game->loops[0]);
    qio_aio_context_quit(game->loops[1]);
}

static void *run_loop(void *opaque)
{
    CHECK_INT(qio_aio_context_run(opaque, NULL), ==, 0);
    return NULL;
}

TEST(between_two_threads)
{
    PingPong game = { .loops = { qio_aio_context_new(NULL), qio_aio_context_new(NULL) } };
    pthread_t thread;

    qio_aio_co_schedule(game.loops[0], qio_coroutine_create(ping_pong, &game));
    CHECK(pthread_create(&thread, NULL, run_loop, game.loops[1]) == 0);
    run_loop(game.loops[0]);
    pthread_join(thread, NULL);
    CHECK_INT(game.steps, ==, 2000);
    qio_aio_context_unref(game.loops[0]);
    qio_aio_context_unref(game.loops[1]);
}
