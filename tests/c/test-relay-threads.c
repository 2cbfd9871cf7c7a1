/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-relay-threads.c: relays that one thread runs and others start, look at and end.
 */
#include "relay-util.h"

#include <pthread.h>

enum { RELAYS = 200, BYTES = 5 };

static bool loop_runs;      /* in a thread of its own */

static void *run_loop(void *ctx)
{
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
    return NULL;
}

static size_t read_to_the_end(QIOChannel *ioc)
{
    char buf[100];
    size_t got = 0;
    ssize_t n;

    while ((n = qio_channel_read(ioc, buf, sizeof(buf), NULL)) > 0) {
        got += (size_t)n;
    }
    CHECK_INT(n, ==, 0);
    return got;
}

/* Every byte is at one place or the other, whenever the cancel came. */
static void cancelled(Scene *scene)
{
    uint64_t given;

    qio_task_cancel(scene->task);
    CHECK_INT(qio_task_wait(scene->task, -1, NULL), ==, 1);
    scene_end(scene->near[0]);
    scene_end(scene->ends[1]);
    CHECK_INT(qio_relay_get_counts(scene->task, &given, NULL, NULL), ==, 0);
    CHECK_INT(read_to_the_end(scene->near[1]), ==, given);
    CHECK_INT(read_to_the_end(scene->ends[0]), ==, BYTES - given);
}

static void closed(Scene *scene)
{
    Error *err = NULL;

    CHECK_INT(qio_channel_close(scene->ends[1], NULL), ==, 0);
    CHECK_INT(qio_task_wait(scene->task, -1, NULL), ==, 1);
    CHECK(qio_task_propagate_error(scene->task, &err));
    CHECK_INT(code_of(err), ==, QIO_ERROR_CANCELLED);
}

static void ended(Scene *scene)
{
    scene_end(scene->near[0]);
    scene_end(scene->near[1]);
    CHECK_INT(qio_task_wait(scene->task, -1, NULL), ==, 1);
    CHECK(!qio_task_propagate_error(scene->task, NULL));
    CHECK_INT(read_to_the_end(scene->near[1]), ==, BYTES);
}

static void one_relay(AioContext *ctx, int i)
{
    static void (*const ways[])(Scene *) = { cancelled, closed, ended };
    Scene scene;

    scene_open(&scene);
    qio_aio_context_unref(scene.ctx);
    scene.ctx = qio_aio_context_ref(ctx);
    scene.task = qio_relay_start(scene.ends[0], scene.ends[1], NULL, ctx, NULL, NULL, NULL, NULL);
    CHECK_PTR(scene.task, !=, NULL);
    scene_write(scene.near[0], "12345");
    if (loop_runs && (i & 1)) {
        char buf[BYTES];

        CHECK_INT(qio_channel_peek(scene.near[1], buf, 1, NULL), ==, 1);
    }
    ways[i % 3](&scene);
    scene_drop(&scene);
}

static void *start_many(void *ctx)
{
    for (int i = 0; i < RELAYS; i++) {
        one_relay(ctx, i);
    }
    return NULL;
}

TEST(started_and_ended_beside_the_loop_s_thread, .timeout_s = 60)
{
    AioContext *ctx = new_loop();
    pthread_t loop, starters[2];

    loop_runs = true;
    CHECK_INT(pthread_create(&loop, NULL, run_loop, ctx), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_create(&starters[i], NULL, start_many, ctx), ==, 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(starters[i], NULL);
    }
    qio_aio_context_quit(ctx);
    pthread_join(loop, NULL);
    qio_aio_context_unref(ctx);
}

/* Nobody dispatches: who waits does the work, and the next who waits goes on with it. */
TEST(run_by_whoever_waits, .timeout_s = 60)
{
    AioContext *ctx = new_loop();
    pthread_t starters[2];

    loop_runs = false;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_create(&starters[i], NULL, start_many, ctx), ==, 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(starters[i], NULL);
    }
    qio_aio_context_unref(ctx);
}
