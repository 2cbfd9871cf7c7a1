/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-task.c: an operation has one result, one call of its function and one destroy, whichever
 * way it ends.
 */
#include "loop-util.h"
#include "testclock.h"

#include "task/task-priv.h"

#include <pthread.h>
#include <stdatomic.h>

/* What became of a task. */
typedef struct Story {
    AioContext *ctx;
    QIOTask *task;
    atomic_int finished, called, destroyed, freed;
    int code;                       /* what func found */
    gpointer result;
    bool in_dispatch;
} Story;

static void on_finish(QIOTask *task, gpointer state)
{
    Story *story = state;

    CHECK(qio_task_is_done(task));
    CHECK_PTR(qio_task_get_state(task), ==, NULL);
    CHECK_INT(atomic_load(&story->called), ==, 0);
    atomic_fetch_add(&story->finished, 1);
}

static void on_end(QIOTask *task, gpointer opaque)
{
    Story *story = opaque;
    Error *err = NULL;

    CHECK_INT(atomic_load(&story->finished), ==, 1);
    CHECK_INT(atomic_load(&story->destroyed), ==, 0);
    CHECK(qio_task_is_done(task));
    if (qio_task_propagate_error(task, &err)) {
        story->code = code_of(err);
    }
    story->result = qio_task_take_result(task);
    story->in_dispatch = story->ctx && qio_loop_is_dispatching(story->ctx);
    atomic_fetch_add(&story->called, 1);
}

static void on_destroy(gpointer opaque)
{
    Story *story = opaque;

    CHECK_INT(atomic_load(&story->called), ==, 1);
    atomic_fetch_add(&story->destroyed, 1);
}

static void free_result(gpointer opaque)
{
    atomic_fetch_add(&((Story *)opaque)->freed, 1);
}

static void begin(Story *story, AioContext *ctx)
{
    *story = (Story) { .ctx = ctx };
    story->task = qio_task_new(NULL, ctx, on_end, story, on_destroy);
    qio_task_set_finish(story->task, on_finish, story);
    CHECK_PTR(qio_task_get_state(story->task), ==, story);
    CHECK_PTR(qio_task_get_context(story->task), ==, ctx);
    CHECK(!qio_task_is_done(story->task));
    CHECK(!qio_task_propagate_error(story->task, NULL));
    CHECK_PTR(qio_task_take_result(story->task), ==, NULL);
}

/* Once of everything, and nothing more of whatever comes. */
static void check_told(Story *story, int code)
{
    Error *err = NULL;

    CHECK_INT(atomic_load(&story->finished), ==, 1);
    CHECK_INT(atomic_load(&story->called), ==, 1);
    CHECK_INT(atomic_load(&story->destroyed), ==, 1);
    CHECK_INT(story->code, ==, code);
    CHECK(!qio_task_cancel(story->task));
    CHECK(!qio_task_complete(story->task, story, free_result));
    CHECK_INT(atomic_load(&story->freed), ==, 1);
    qio_error_set(&err, QIO_ERROR_INVAL, "too late");
    CHECK(!qio_task_fail(story->task, err));
    if (story->ctx && qio_aio_context_wait(story->ctx, 0, NULL) >= 0) {
        check_quiet(story->ctx);
    }
    CHECK_INT(atomic_load(&story->called), ==, 1);
    qio_task_unref(story->task);
}

TEST(success)
{
    AioContext *ctx = new_loop();
    Story story;

    begin(&story, ctx);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK(qio_task_complete(story.task, "result", NULL));
    CHECK(qio_task_is_done(story.task));
    CHECK_INT(atomic_load(&story.called), ==, 0);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_STR(story.result, "result");
    CHECK(story.in_dispatch);
    check_told(&story, 0);
    qio_aio_context_unref(ctx);
}

TEST(failure)
{
    AioContext *ctx = new_loop();
    Error *err = NULL;
    Story story;

    begin(&story, ctx);
    qio_error_set_errno(&err, ECONNREFUSED, "cannot connect");
    CHECK(qio_task_fail(story.task, err));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    err = NULL;
    /* As often as it is asked. */
    for (int i = 0; i < 2; i++) {
        CHECK(qio_task_propagate_error(story.task, &err));
        CHECK_INT(qio_error_get_errno(err), ==, ECONNREFUSED);
        CHECK_STR_HAS(qio_error_get_pretty(err), "cannot connect");
        qio_error_free(g_steal_pointer(&err));
    }
    CHECK(qio_task_propagate_error(story.task, NULL));
    check_told(&story, QIO_ERROR_SYSTEM);
    qio_aio_context_unref(ctx);
}

TEST(cancel)
{
    AioContext *ctx = new_loop();
    Story story;

    begin(&story, ctx);
    CHECK(qio_task_cancel(story.task));
    CHECK(!qio_task_cancel(story.task));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    check_told(&story, QIO_ERROR_CANCELLED);
    qio_aio_context_unref(ctx);
}

TEST(deadline)
{
    AioContext *ctx;
    Story story;

    testclock_install();
    ctx = new_loop();
    begin(&story, ctx);
    qio_task_set_deadline(story.task, 30000);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 30000);
    testclock_remove();
    check_told(&story, QIO_ERROR_TIMEOUT);
    qio_aio_context_unref(ctx);
}

TEST(deadline_in_vain)
{
    AioContext *ctx;
    Story story;

    testclock_install();
    ctx = new_loop();
    begin(&story, ctx);
    qio_task_set_deadline(story.task, -1);
    qio_task_set_deadline(story.task, 100);
    CHECK(qio_task_complete(story.task, NULL, NULL));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 200, NULL), ==, 0);
    qio_task_set_deadline(story.task, 5);
    CHECK_INT(qio_aio_context_dispatch(ctx, 200, NULL), ==, 0);
    testclock_remove();
    check_told(&story, 0);
    qio_aio_context_unref(ctx);
}

TEST(loop_closes)
{
    AioContext *ctx = new_loop();
    Story running, done, told;

    begin(&running, ctx);
    begin(&done, ctx);
    begin(&told, ctx);
    CHECK(qio_task_complete(told.task, "told", NULL));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK(qio_task_complete(done.task, "done", NULL));
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK(running.in_dispatch);
    CHECK_STR(done.result, "done");
    check_told(&running, QIO_ERROR_CANCELLED);
    check_told(&done, 0);
    check_told(&told, 0);
    qio_aio_context_unref(ctx);
}

/* Its function was handed to the loop, which closes before it calls it. */
TEST(loop_closes_before_the_call)
{
    AioContext *ctx = new_loop();
    Story story;

    begin(&story, ctx);
    CHECK(qio_task_complete(story.task, "done", NULL));
    CHECK_INT(qio_task_wait(story.task, -1, NULL), ==, 1);
    CHECK_INT(atomic_load(&story.finished), ==, 1);
    CHECK_INT(atomic_load(&story.called), ==, 0);
    qio_aio_context_unref(ctx);
    CHECK_STR(story.result, "done");
    story.ctx = NULL;
    check_told(&story, 0);
}

TEST(loop_is_closed_already)
{
    AioContext *ctx = new_loop();
    Story story = { 0 };

    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    atomic_store(&story.finished, 1);
    story.task = qio_task_new(NULL, ctx, on_end, &story, on_destroy);
    CHECK(qio_task_is_done(story.task));
    CHECK_INT(atomic_load(&story.destroyed), ==, 1);
    atomic_store(&story.finished, 0);
    atomic_store(&story.called, 0);
    qio_task_set_finish(story.task, on_finish, &story);
    CHECK_INT(atomic_load(&story.finished), ==, 1);
    atomic_store(&story.called, 1);
    qio_task_set_deadline(story.task, 5);
    CHECK_INT(qio_task_wait(story.task, -1, NULL), ==, 1);
    check_told(&story, QIO_ERROR_CLOSED);
    qio_aio_context_unref(ctx);
}

TEST(result_that_nobody_takes)
{
    AioContext *ctx = new_loop();
    Story story = { 0 };
    QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);

    CHECK(qio_task_complete(task, &story, free_result));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    check_quiet(ctx);
    CHECK_INT(atomic_load(&story.freed), ==, 0);
    qio_task_unref(task);
    CHECK_INT(atomic_load(&story.freed), ==, 1);
    qio_task_unref(NULL);
    qio_aio_context_unref(ctx);
}

TEST(source_lives_as_long)
{
    AioContext *ctx = new_loop();
    GObject *source = g_object_new(G_TYPE_OBJECT, NULL);
    QIOTask *task = qio_task_new((Object *)source, ctx, NULL, NULL, NULL);

    g_object_add_weak_pointer(source, (gpointer *)&source);
    g_object_unref(source);
    CHECK_PTR(source, !=, NULL);
    CHECK_PTR(qio_task_get_source(task), ==, source);
    CHECK(qio_task_cancel(task));
    qio_task_unref(task);
    CHECK_PTR(source, !=, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_PTR(source, ==, NULL);
    qio_aio_context_unref(ctx);
}

/* It runs on without any reference. */
TEST(nobody_holds_it)
{
    AioContext *ctx;
    Story story;

    testclock_install();
    ctx = new_loop();
    begin(&story, ctx);
    qio_task_set_deadline(story.task, 10);
    qio_task_unref(story.task);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(story.code, ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(atomic_load(&story.destroyed), ==, 1);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(main_loop)
{
    Story story = { 0 };

    story.ctx = qio_get_main_aio_context();
    story.task = qio_task_new(NULL, NULL, on_end, &story, on_destroy);
    qio_task_set_finish(story.task, on_finish, &story);
    CHECK_PTR(qio_task_get_context(story.task), ==, story.ctx);
    CHECK(qio_task_complete(story.task, NULL, NULL));
    while (!atomic_load(&story.destroyed)) {
        g_main_context_iteration(NULL, TRUE);
    }
    check_told(&story, 0);
}

/* ---- waiting ---- */

TEST(wait_does_the_work)
{
    AioContext *ctx;
    Story story;

    testclock_install();
    ctx = new_loop();
    begin(&story, ctx);
    CHECK_INT(qio_task_wait(story.task, 0, NULL), ==, 0);
    CHECK_INT(qio_task_wait(story.task, 50, NULL), ==, 0);
    qio_task_set_deadline(story.task, 50);
    CHECK_INT(qio_task_wait(story.task, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 100);
    CHECK_INT(atomic_load(&story.finished), ==, 1);
    CHECK_INT(atomic_load(&story.called), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    testclock_remove();
    check_told(&story, QIO_ERROR_TIMEOUT);
    qio_aio_context_unref(ctx);
}

static void wait_inside(QIOTask *task, gpointer opaque)
{
    QIOTask *other = opaque;
    Error *err = NULL;

    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(qio_task_wait(other, -1, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
}

TEST(wait_inside_a_callback)
{
    AioContext *ctx = new_loop();
    QIOTask *other = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    QIOTask *task = qio_task_new(NULL, ctx, wait_inside, other, NULL);

    CHECK(qio_task_complete(task, NULL, NULL));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK(qio_task_cancel(other));
    CHECK_INT(qio_task_wait(other, -1, NULL), ==, 1);
    qio_task_unref(task);
    qio_task_unref(other);
    qio_aio_context_unref(ctx);
}

/* ---- events, and a function set late ---- */

static int next(AioContext *ctx, QIOLoopEvent *event, bool *due)
{
    return qio_loop_next(ctx, event, 1, 0, due, NULL);
}

TEST(an_event)
{
    AioContext *ctx = new_loop();
    QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    QIOLoopEvent event;
    int destroyed = 0;
    bool due;

    CHECK_INT(qio_task_add_event(task, &destroyed, count, NULL), ==, 0);
    CHECK_INT(next(ctx, &event, &due), ==, 0);
    CHECK(qio_task_complete(task, NULL, NULL));
    CHECK_INT(next(ctx, &event, &due), ==, 1);
    CHECK(!due);
    CHECK_INT(event.kind, ==, QIO_LOOP_WATCH);
    CHECK_PTR(event.opaque, ==, &destroyed);
    CHECK_INT(next(ctx, &event, &due), ==, 1);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    CHECK_PTR(event.opaque, ==, &destroyed);
    CHECK_INT(next(ctx, &event, &due), ==, 0);
    CHECK(!due);
    CHECK_INT(destroyed, ==, 1);
    CHECK(!is_readable(ctx));
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
}

TEST(an_event_of_one_that_has_ended)
{
    AioContext *ctx = new_loop();
    QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    QIOLoopEvent event;
    Error *err = NULL;
    int destroyed = 0;
    bool due;

    CHECK(qio_task_cancel(task));
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    CHECK_INT(qio_task_add_event(task, &destroyed, count, NULL), ==, 0);
    CHECK_INT(next(ctx, &event, &due), ==, 1);
    CHECK_INT(event.kind, ==, QIO_LOOP_WATCH);
    CHECK_INT(next(ctx, &event, &due), ==, 1);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    qio_task_unref(task);
    task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    qio_aio_context_close(ctx, NULL);
    CHECK_INT(destroyed, ==, 1);
    CHECK_INT(qio_task_add_event(task, &destroyed, count, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_CLOSED);
    CHECK_INT(destroyed, ==, 2);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
}

/* The function takes the event's place: while it runs, when it has ended, and once only. */
TEST(a_function_instead_of_the_event)
{
    for (int ended = 0; ended < 2; ended++) {
        AioContext *ctx = new_loop();
        QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
        QIOLoopEvent event;
        Story story = { .ctx = ctx, .finished = 1, .task = task };
        Error *err = NULL;
        int destroyed = 0, refused = 0;
        bool due;

        test_note("ended %d", ended);
        CHECK_INT(qio_task_add_event(task, &destroyed, count, NULL), ==, 0);
        if (ended) {
            CHECK(qio_task_cancel(task));
            CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
        }
        CHECK_INT(qio_task_set_func(task, on_end, &story, on_destroy, NULL), ==, 0);
        CHECK_INT(qio_task_set_func(task, on_end, &refused, count, &err), ==, -1);
        CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
        CHECK_INT(refused, ==, 1);
        qio_task_cancel(task);
        CHECK_INT(next(ctx, &event, &due), ==, 0);
        CHECK(due);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 1);
        CHECK_INT(destroyed, ==, 1);
        check_told(&story, QIO_ERROR_CANCELLED);
        qio_aio_context_unref(ctx);
    }
}

TEST(a_function_after_the_event)
{
    AioContext *ctx = new_loop();
    QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    QIOLoopEvent event;
    Error *err = NULL;
    int refused = 0;
    bool due;

    CHECK_INT(qio_task_add_event(task, NULL, NULL, NULL), ==, 0);
    CHECK(qio_task_cancel(task));
    CHECK_INT(next(ctx, &event, &due), ==, 1);
    CHECK_INT(qio_task_set_func(task, on_end, &refused, count, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
    CHECK_INT(refused, ==, 1);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
}

/* ---- races ---- */

typedef struct Race {
    Story *stories;
    int n;
    unsigned seed;
} Race;

/* Ends tasks in an order of its own, some this way, some that way. */
static void *end_them(void *opaque)
{
    Race *race = opaque;
    GRand *rand = g_rand_new_with_seed(race->seed);

    for (int i = 0; i < 4 * race->n; i++) {
        Story *story = &race->stories[g_rand_int_range(rand, 0, race->n)];
        Error *err = NULL;

        switch (g_rand_int_range(rand, 0, 4)) {
        case 0:
            qio_task_cancel(story->task);
            break;
        case 1:
            qio_task_complete(story->task, story, free_result);
            break;
        case 2:
            qio_error_set(&err, QIO_ERROR_INVAL, "lost");
            qio_task_fail(story->task, err);
            break;
        default:
            CHECK_INT(qio_task_wait(story->task, 0, NULL), >=, 0);
            break;
        }
    }
    g_rand_free(rand);
    return NULL;
}

TEST(everybody_ends_everything)
{
    enum { TASKS = 300, THREADS = 4 };
    AioContext *ctx = new_loop();
    Story *stories = g_new0(Story, TASKS);
    Race races[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < TASKS; i++) {
        begin(&stories[i], ctx);
        qio_task_set_deadline(stories[i].task, i % 3 ? 10000 : 0);
    }
    for (int i = 0; i < THREADS; i++) {
        races[i] = (Race) { .stories = stories, .n = TASKS, .seed = 1000 + (unsigned)i };
        CHECK_INT(pthread_create(&threads[i], NULL, end_them, &races[i]), ==, 0);
    }
    for (int i = 0; i < 100; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), >=, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    /* The rest ends with the loop. */
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    for (int i = 0; i < TASKS; i++) {
        Story *story = &stories[i];

        CHECK_INT(atomic_load(&story->finished), ==, 1);
        CHECK_INT(atomic_load(&story->called), ==, 1);
        CHECK_INT(atomic_load(&story->destroyed), ==, 1);
        CHECK(story->code || story->result == story);
        qio_task_unref(story->task);
    }
    qio_aio_context_unref(ctx);
    g_free(stories);
}

/* By the thread that closes, and beside it by the one that makes tasks. */
static void count_beside(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

static void *close_it(void *opaque)
{
    CHECK_INT(qio_aio_context_close(opaque, NULL), ==, 0);
    return NULL;
}

/* A loop that closes in another thread while tasks are made, ended and waited for. */
TEST(loop_closes_meanwhile)
{
    for (int round = 0; round < 200; round++) {
        AioContext *ctx = new_loop();
        pthread_t closer;
        atomic_int ended = 0;
        int i;

        CHECK_INT(pthread_create(&closer, NULL, close_it, ctx), ==, 0);
        for (i = 0; i < 10; i++) {
            QIOTask *task = qio_task_new(NULL, ctx, NULL, &ended, count_beside);

            if (i % 2) {
                qio_task_cancel(task);
            }
            CHECK_INT(qio_task_wait(task, i == 8 ? -1 : 0, NULL), >=, 0);
            qio_task_unref(task);
        }
        pthread_join(closer, NULL);
        CHECK_INT(atomic_load(&ended), ==, i);
        qio_aio_context_unref(ctx);
    }
}
