/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task/wait.c: waiting for the end of an operation.
 *
 * Owns: qio_task_wait(), and what stands for a coroutine that waits.
 * Rule: a coroutine is woken once, by the end or by its time-out, and entered in a dispatch of the
 * task's loop; when that closes instead, in the closing.
 */
#include "loop/coroutine-priv.h"
#include "task/task-priv.h"

#include <stdatomic.h>

typedef struct Sleep {
    atomic_int refs;
    atomic_bool woken;
    bool entered;
    Coroutine *co;
    AioContext *ctx;                /* its memory (qio_loop_keep) */
} Sleep;

static Sleep *sleep_ref(Sleep *sleep)
{
    atomic_fetch_add(&sleep->refs, 1);
    return sleep;
}

static void sleep_unref(void *opaque)
{
    Sleep *sleep = opaque;

    if (atomic_fetch_sub(&sleep->refs, 1) == 1) {
        qio_loop_let_go(sleep->ctx);
        g_free(sleep);
    }
}

static void enter(void *opaque)
{
    Sleep *sleep = opaque;

    sleep->entered = true;
    qio_coroutine_enter(sleep->co);
}

/* Also when the loop closed before it came to enter. */
static void enter_end(void *opaque)
{
    if (!((Sleep *)opaque)->entered) {
        enter(opaque);
    }
    sleep_unref(opaque);
}

static void post(Coroutine *co, void *opaque)
{
    Sleep *sleep = opaque;

    if (co) {
        qio_aio_context_defer(sleep->ctx, enter, sleep, enter_end, NULL);
    } else {
        sleep_unref(sleep);
    }
}

static void wake(void *opaque)
{
    Sleep *sleep = opaque;

    /* It may be on its way to the yield, on another thread. */
    if (!atomic_exchange(&sleep->woken, true)) {
        qio_coroutine_when_suspended(sleep->co, post, sleep_ref(sleep));
    }
}

static void on_finished(void *opaque)
{
    wake(opaque);
    sleep_unref(opaque);
}

static gboolean on_time_out(void *opaque)
{
    wake(opaque);
    return FALSE;
}

static int wait_in_coroutine(QIOTask *task, int timeout_ms, Error **errp)
{
    Sleep *sleep = g_new0(Sleep, 1);
    QIOLoopWatch *timer = NULL;
    int ret = 0;

    atomic_init(&sleep->refs, 1);
    sleep->co = qio_coroutine_self();
    sleep->ctx = qio_loop_keep(qio_task_get_context(task));
    if (timeout_ms > 0) {
        timer = qio_loop_add_internal_timer(sleep->ctx, timeout_ms, 0, on_time_out,
                                            sleep_ref(sleep), sleep_unref, errp);
        ret = timer ? 0 : -1;
    }
    /* A timer that was quicker has woken it already, and it yields to nobody in vain. */
    if (ret == 0 && qio_task_on_finished(task, on_finished, sleep_ref(sleep))) {
        qio_coroutine_yield();
    } else if (ret == 0) {
        sleep_unref(sleep);
        if (atomic_exchange(&sleep->woken, true)) {
            qio_coroutine_yield();
        }
    }
    if (timer) {
        qio_loop_watch_remove(timer);
        qio_loop_watch_unref(timer);
    }
    sleep_unref(sleep);
    return ret < 0 ? -1 : qio_task_is_finished(task);
}

static bool is_finished(void *opaque)
{
    return qio_task_is_finished(opaque);
}

static bool is_stuck(void *opaque)
{
    return qio_task_is_stuck(opaque);
}

int qio_task_wait(QIOTask *task, int timeout_ms, Error **errp)
{
    if (qio_task_is_finished(task)) {
        return 1;
    }
    if (timeout_ms != 0 && qio_in_coroutine()) {
        return wait_in_coroutine(task, timeout_ms, errp);
    }
    return qio_loop_help(qio_task_get_context(task), is_finished, is_stuck, task, timeout_ms,
                         errp);
}
