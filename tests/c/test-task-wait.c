/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-task-wait.c: a coroutine waits for the end of an operation.
 */
#include "loop-util.h"
#include "testclock.h"

#include "task/task-priv.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct Waiter {
    AioContext *ctx;
    QIOTask *task;
    int timeout_ms;
    atomic_int result, code, ended;
} Waiter;

static void wait_for_task(void *opaque)
{
    Waiter *waiter = opaque;
    Error *err = NULL;

    atomic_store(&waiter->result, qio_task_wait(waiter->task, waiter->timeout_ms, &err));
    if (err) {
        atomic_store(&waiter->code, code_of(err));
    }
    atomic_fetch_add(&waiter->ended, 1);
}

static void begin(Waiter *waiter, AioContext *ctx, int timeout_ms)
{
    Coroutine *co;

    *waiter = (Waiter) { .ctx = ctx, .timeout_ms = timeout_ms, .result = 77 };
    waiter->task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    co = qio_coroutine_create(wait_for_task, waiter);
    CHECK_PTR(co, !=, NULL);
    qio_coroutine_enter(co);
}

static void end(Waiter *waiter, int result)
{
    CHECK_INT(atomic_load(&waiter->ended), ==, 1);
    CHECK_INT(atomic_load(&waiter->result), ==, result);
    CHECK_INT(atomic_load(&waiter->code), ==, 0);
    qio_task_unref(waiter->task);
}

TEST(it_goes_on_at_the_end)
{
    AioContext *ctx = new_loop();
    Waiter waiter;

    begin(&waiter, ctx, -1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(atomic_load(&waiter.ended), ==, 0);
    CHECK(qio_task_complete(waiter.task, NULL, NULL));
    CHECK_INT(atomic_load(&waiter.ended), ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    end(&waiter, 1);
    check_quiet(ctx);
    qio_aio_context_unref(ctx);
}

TEST(it_gives_up_after_a_time)
{
    AioContext *ctx;
    Waiter waiter;
    QIOTask *task;

    testclock_install();
    ctx = new_loop();
    begin(&waiter, ctx, 250);
    task = qio_task_ref(waiter.task);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 250);
    end(&waiter, 0);
    /* The end comes to nobody. */
    CHECK(qio_task_cancel(task));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(the_end_comes_in_time)
{
    AioContext *ctx;
    Waiter waiter;

    testclock_install();
    ctx = new_loop();
    begin(&waiter, ctx, 250);
    qio_task_set_deadline(waiter.task, 100);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 100);
    end(&waiter, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 500, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

TEST(what_has_ended_is_not_waited_for)
{
    AioContext *ctx = new_loop();
    Waiter waiter = { .ctx = ctx, .timeout_ms = -1 };

    waiter.task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    CHECK(qio_task_cancel(waiter.task));
    CHECK_INT(qio_task_wait(waiter.task, 0, NULL), ==, 1);
    qio_coroutine_enter(qio_coroutine_create(wait_for_task, &waiter));
    end(&waiter, 1);
    qio_aio_context_unref(ctx);
}

TEST(a_try_does_not_yield)
{
    AioContext *ctx = new_loop();
    Waiter waiter;

    begin(&waiter, ctx, 0);
    CHECK(qio_task_cancel(waiter.task));
    end(&waiter, 0);
    qio_aio_context_unref(ctx);
}

TEST(the_loop_closes)
{
    AioContext *ctx = new_loop();
    Waiter running, done;

    begin(&running, ctx, 1000);
    begin(&done, ctx, -1);
    CHECK(qio_task_complete(done.task, NULL, NULL));
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK(qio_task_propagate_error(running.task, NULL));
    end(&running, 1);
    end(&done, 1);
    qio_aio_context_unref(ctx);
}

static void *run_loop(void *opaque)
{
    CHECK_INT(qio_aio_context_run(opaque, NULL), ==, 0);
    return NULL;
}

/* The coroutine begins here and goes on there, however early the end comes. */
TEST(on_another_threads_loop)
{
    AioContext *ctx = new_loop();
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, run_loop, ctx), ==, 0);
    for (int i = 0; i < 2000; i++) {
        Waiter waiter = { .ctx = ctx, .timeout_ms = i % 3 ? -1 : 10000 };
        Coroutine *co = qio_coroutine_create(wait_for_task, &waiter);

        waiter.task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
        qio_task_set_deadline(waiter.task, i % 2 ? 0 : -1);
        if (i % 5 == 0) {
            qio_task_cancel(waiter.task);
        }
        qio_coroutine_enter(co);
        qio_task_cancel(waiter.task);
        CHECK_INT(qio_task_wait(waiter.task, -1, NULL), ==, 1);
        while (!atomic_load(&waiter.ended)) {
            qio_aio_context_notify(ctx);
        }
        end(&waiter, 1);
    }
    qio_aio_context_quit(ctx);
    pthread_join(thread, NULL);
    qio_aio_context_unref(ctx);
}
