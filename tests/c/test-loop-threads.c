/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-threads.c: threads that add, kick, end and remove watches while another one
 * dispatches.  Worth most under ThreadSanitizer.
 */
#include "loop-util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

typedef struct Churn {
    AioContext *ctx;
    int fd;
    atomic_int calls, destroyed;
} Churn;

static gboolean churn_call(int fd, GIOCondition condition, void *opaque)
{
    atomic_fetch_add(&((Churn *)opaque)->calls, 1);
    return TRUE;
}

static void churn_destroy(void *opaque)
{
    atomic_fetch_add(&((Churn *)opaque)->destroyed, 1);
}

enum { CHURNS = 3000 };

static void *churn(void *opaque)
{
    Churn *c = opaque;

    for (int i = 0; i < CHURNS; i++) {
        QIOLoopWatch *watch = qio_aio_context_add_fd_watch(c->ctx, c->fd, G_IO_OUT, churn_call, c,
                                                           churn_destroy, NULL);

        CHECK_PTR(watch, !=, NULL);
        qio_loop_watch_remove(watch);
        qio_loop_watch_remove(watch);
        qio_loop_watch_unref(watch);
    }
    return NULL;
}

static void *run(void *opaque)
{
    CHECK_INT(qio_aio_context_run(opaque, NULL), ==, 0);
    return NULL;
}

TEST(added_and_removed_while_another_thread_dispatches)
{
    AioContext *ctx = new_loop();
    pthread_t threads[3];
    Churn churns[2] = { 0 };
    int fds[2];

    make_pair(fds);
    CHECK(pthread_create(&threads[0], NULL, run, ctx) == 0);
    for (int i = 0; i < 2; i++) {
        churns[i].ctx = ctx;
        churns[i].fd = fds[0];      /* both the same, so the registration is shared */
        CHECK(pthread_create(&threads[1 + i], NULL, churn, &churns[i]) == 0);
    }
    pthread_join(threads[1], NULL);
    pthread_join(threads[2], NULL);
    qio_aio_context_quit(ctx);
    pthread_join(threads[0], NULL);
    qio_aio_context_unref(ctx);
    CHECK_INT(churns[0].destroyed, ==, CHURNS);
    CHECK_INT(churns[1].destroyed, ==, CHURNS);
    close_pair(fds);
}

/* ---- subjects ---- */

typedef struct Source {
    atomic_int soft, refs;
    int calls, last_calls;      /* on the dispatching thread only */
    atomic_int destroyed;
} Source;

static GIOCondition source_advance(void *subject, GIOCondition wanted)
{
    return atomic_load(&((Source *)subject)->soft) > 0 ? wanted : 0;
}

static int source_poll(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    return 0;
}

static void source_ref(void *subject)
{
    atomic_fetch_add(&((Source *)subject)->refs, 1);
}

static void source_unref(void *subject)
{
    atomic_fetch_sub(&((Source *)subject)->refs, 1);
}

static const QIOLoopSubjectOps source_ops = {
    .advance = source_advance, .poll = source_poll, .ref = source_ref, .unref = source_unref,
};

static gboolean source_call(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    Source *source = opaque;

    CHECK_INT(source->last_calls, ==, 0);
    CHECK_INT(atomic_load(&source->destroyed), ==, 0);
    source->calls++;
    source->last_calls += (condition & G_IO_NVAL) != 0;
    atomic_fetch_sub(&source->soft, 1);
    return source->calls % 5 != 4;
}

static void source_destroy(void *opaque)
{
    atomic_fetch_add(&((Source *)opaque)->destroyed, 1);
}

enum { SOURCES = 2000 };

typedef struct Feeder {
    AioContext *ctx;
    Source *sources;
} Feeder;

static void *feed(void *opaque)
{
    Feeder *feeder = opaque;

    for (int i = 0; i < SOURCES; i++) {
        Source *source = &feeder->sources[i];
        QIOLoopWatch *watch = qio_loop_add_subject(feeder->ctx, source, &source_ops, G_IO_IN,
                                                   source_call, source, source_destroy, NULL);

        CHECK_PTR(watch, !=, NULL);
        for (int n = 0; n < i % 4; n++) {
            atomic_fetch_add(&source->soft, 1);
            qio_loop_watch_kick(watch);
        }
        if (i % 3 == 0) {
            qio_loop_watch_end(watch);
        }
        if (i % 3 != 1) {
            qio_loop_watch_kick(watch);
            qio_loop_watch_unref(watch);
            continue;
        }
        qio_loop_watch_remove(watch);
        qio_loop_watch_end(watch);
        qio_loop_watch_unref(watch);
    }
    return NULL;
}

TEST(subjects_fed_from_other_threads)
{
    AioContext *ctx = new_loop();
    pthread_t runner, threads[2];
    Feeder feeders[2];

    CHECK(pthread_create(&runner, NULL, run, ctx) == 0);
    for (int i = 0; i < 2; i++) {
        feeders[i] = (Feeder) { .ctx = ctx, .sources = g_new0(Source, SOURCES) };
        CHECK(pthread_create(&threads[i], NULL, feed, &feeders[i]) == 0);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    qio_aio_context_quit(ctx);
    pthread_join(runner, NULL);
    qio_aio_context_unref(ctx);
    for (int i = 0; i < 2; i++) {
        for (int n = 0; n < SOURCES; n++) {
            test_note("feeder %d, source %d", i, n);
            CHECK_INT(feeders[i].sources[n].destroyed, ==, 1);
            CHECK_INT(feeders[i].sources[n].refs, ==, 0);
            CHECK_INT(feeders[i].sources[n].last_calls, <=, 1);
        }
        g_free(feeders[i].sources);
    }
}

/* ---- the loop goes while others use it ---- */

static void *add_until_closed(void *opaque)
{
    AioContext *ctx = opaque;
    int calls = 0;

    /* Each call that is refused releases at once, each other one when the loop closes. */
    while (qio_aio_context_defer(ctx, count, &calls, NULL, NULL) == 0) {
        qio_aio_context_set_fd_handler(ctx, 0, NULL, NULL, NULL);
        sched_yield();
    }
    qio_aio_context_unref(ctx);
    return NULL;
}

TEST(closed_while_others_add)
{
    AioContext *ctx = new_loop();
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, add_until_closed, qio_aio_context_ref(ctx)) == 0);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    qio_aio_context_unref(ctx);
}
