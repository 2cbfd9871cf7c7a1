/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task/task.c: an operation that finishes later, exactly once.
 *
 * Owns: QIOTask: its result, and the way from the result to whoever asked.
 * Rule: the first result counts.  It wakes the task's internal watch, by which the loop's own
 * thread runs finish (never beside a step of the operation), then hands func to a later dispatch
 * or lets the event out.  When the loop closes, the same happens in its closing, with CANCELLED
 * for a task that still ran.  The lock guards the fields; nothing is called under it but the
 * loop, when the task is made: the loop's lock comes after it.
 */
#include "task/task-priv.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum Stage {
    RUNNING,
    DONE,                           /* has its result */
    FINISHING,                      /* finish runs */
    FINISHED,                       /* finish has run */
} Stage;

/* Somebody inside the library who waits for the end. */
typedef struct Listener {
    void (*func)(void *opaque);
    void *opaque;
} Listener;

struct QIOTask {
    atomic_int refs;
    _Atomic(Stage) stage;           /* written under the lock */
    pthread_mutex_t lock;
    Object *source;
    AioContext *ctx;                /* its memory (qio_loop_keep); NULL: there is no main loop */
    QIOLoopWatch *watch;            /* ended when there is a result; NULL: the loop was closed */
    QIOLoopWatch *event;
    GPtrArray *watches;             /* of the operation, removed when it finishes; or NULL */
    _Atomic(const void *) maker;    /* the thread inside qio_task_new() */

    bool (*stuck)(Object *source);
    void (*finish)(QIOTask *task, gpointer state);
    gpointer state;

    Error *err;
    gpointer result;
    GDestroyNotify free_result;

    GSList *listeners;              /* Listener, called when FINISHED */

    QIOTaskFunc func;               /* what is called once FINISHED, by whoever posts it */
    gpointer opaque;
    GDestroyNotify destroy;
    bool called;
};

/* ---- life ---- */

QIOTask *qio_task_ref(QIOTask *task)
{
    g_return_val_if_fail(task != NULL, NULL);
    atomic_fetch_add(&task->refs, 1);
    return task;
}

bool qio_task_is_finished(QIOTask *task)
{
    return atomic_load(&task->stage) == FINISHED;
}

static void drop_result(gpointer result, GDestroyNotify free_result)
{
    if (result && free_result) {
        free_result(result);
    }
}

void qio_task_unref(QIOTask *task)
{
    if (!task || atomic_fetch_sub(&task->refs, 1) != 1) {
        return;
    }
    drop_result(task->result, task->free_result);
    qio_error_free(task->err);
    qio_object_unref(task->source);
    qio_loop_watch_unref(task->event);
    qio_loop_watch_unref(task->watch);
    qio_loop_let_go(task->ctx);
    pthread_mutex_destroy(&task->lock);
    g_free(task);
}

static void unref_task(void *opaque)
{
    qio_task_unref(opaque);
}

/* ---- telling ---- */

static void call_func(void *opaque)
{
    QIOTask *task = opaque;

    task->called = true;
    if (task->func) {
        task->func(task, task->opaque);
    }
}

/* Also when the loop closed before it came to call. */
static void call_destroy(void *opaque)
{
    QIOTask *task = opaque;

    if (!task->called) {
        call_func(task);
    }
    if (task->destroy) {
        task->destroy(task->opaque);
    }
    qio_task_unref(task);
}

static void post(QIOTask *task)
{
    qio_task_ref(task);
    if (task->ctx) {
        qio_aio_context_defer(task->ctx, call_func, task, call_destroy, NULL);
    } else {
        call_destroy(task);
    }
}

/* ---- from the result to the end ---- */

static void drop_watch(gpointer watch)
{
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
}

static void run_finish(QIOTask *task)
{
    void (*finish)(QIOTask *, gpointer);
    GPtrArray *watches;
    gpointer state;

    pthread_mutex_lock(&task->lock);
    atomic_store(&task->stage, FINISHING);
    finish = g_steal_pointer(&task->finish);
    state = g_steal_pointer(&task->state);
    watches = g_steal_pointer(&task->watches);
    pthread_mutex_unlock(&task->lock);
    if (watches) {
        g_ptr_array_free(watches, TRUE);
    }
    if (finish) {
        finish(task, state);
    }
}

/* In the order in which they came. */
static void call_listeners(GSList *listeners)
{
    listeners = g_slist_reverse(listeners);
    for (GSList *node = listeners; node; node = node->next) {
        const Listener *listener = node->data;

        listener->func(listener->opaque);
    }
    g_slist_free_full(listeners, g_free);
}

/* Once, on the thread that runs the internal watches or closes the loop. */
static void finish_up(QIOTask *task)
{
    QIOLoopWatch *event = NULL;
    GSList *listeners;
    bool has_func;

    run_finish(task);
    pthread_mutex_lock(&task->lock);
    atomic_store(&task->stage, FINISHED);
    has_func = task->func || task->destroy;
    listeners = g_steal_pointer(&task->listeners);
    if (task->event) {
        event = qio_loop_watch_ref(task->event);
    }
    pthread_mutex_unlock(&task->lock);
    if (has_func) {
        post(task);
    }
    call_listeners(listeners);
    if (event) {
        qio_loop_watch_end(event);
        qio_loop_watch_unref(event);
    }
    if (task->ctx) {
        qio_loop_poke(task->ctx);
    }
}

static const void *this_thread(void)
{
    static __thread char marker;

    return &marker;
}

static gboolean on_done(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    finish_up(opaque);
    return FALSE;
}

static void on_watch_gone(void *opaque)
{
    QIOTask *task = opaque;
    Error *err = NULL;

    /* In the making: the loop did not take the watch. */
    if (atomic_load(&task->maker) == this_thread()) {
        qio_task_unref(task);
        return;
    }
    if (!qio_task_is_finished(task)) {
        qio_error_set(&err, QIO_ERROR_CANCELLED, "the operation's loop was closed");
        qio_task_fail(task, err);
        finish_up(task);
    }
    qio_task_unref(task);
}

/* The first result counts. */
static bool set_result(QIOTask *task, Error *err, gpointer result, GDestroyNotify free_result)
{
    bool first;

    pthread_mutex_lock(&task->lock);
    first = atomic_load(&task->stage) == RUNNING;
    if (first) {
        task->err = err;
        task->result = result;
        task->free_result = free_result;
        atomic_store(&task->stage, DONE);
    }
    pthread_mutex_unlock(&task->lock);
    if (!first) {
        qio_error_free(err);
        drop_result(result, free_result);
    } else if (task->watch) {
        qio_loop_watch_end(task->watch);
    }
    return first;
}

bool qio_task_complete(QIOTask *task, gpointer result, GDestroyNotify free_result)
{
    return set_result(task, NULL, result, free_result);
}

bool qio_task_fail(QIOTask *task, Error *err)
{
    if (!err) {
        qio_error_set(&err, QIO_ERROR_SYSTEM, "the operation failed");
    }
    return set_result(task, err, NULL, NULL);
}

bool qio_task_cancel(QIOTask *task)
{
    Error *err = NULL;

    if (qio_task_is_done(task)) {
        return false;
    }
    qio_error_set(&err, QIO_ERROR_CANCELLED, "the operation was cancelled");
    return qio_task_fail(task, err);
}

/* ---- making ---- */

/* Something without descriptors, which becomes ready by being ended. */
static int no_fds(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    return 0;
}

/* The watch's opaque keeps the task. */
static void no_ref(void *subject)
{
}

static const QIOLoopSubjectOps end_ops = {
    .poll = no_fds, .direct = true, .ref = no_ref, .unref = no_ref,
};

QIOTask *qio_task_new(Object *source, AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                      GDestroyNotify destroy)
{
    QIOTask *task = g_new0(QIOTask, 1);
    Error *err = NULL;

    atomic_init(&task->refs, 2);
    atomic_init(&task->stage, RUNNING);
    pthread_mutex_init(&task->lock, NULL);
    task->source = qio_object_ref(source);
    task->ctx = qio_loop_keep(ctx);
    task->func = func;
    task->opaque = opaque;
    task->destroy = destroy;
    atomic_init(&task->maker, this_thread());
    /* Under the lock: another thread may close the loop meanwhile, and must find it complete. */
    pthread_mutex_lock(&task->lock);
    task->watch = qio_loop_add_internal_subject(ctx, task, &end_ops, G_IO_IN, on_done, task,
                                                on_watch_gone, &err);
    atomic_store(&task->maker, NULL);
    pthread_mutex_unlock(&task->lock);
    if (!task->watch) {
        qio_task_fail(task, err);
        finish_up(task);
    }
    return task;
}

void qio_task_set_finish(QIOTask *task, void (*finish)(QIOTask *task, gpointer state),
                         gpointer state)
{
    bool late;

    pthread_mutex_lock(&task->lock);
    late = atomic_load(&task->stage) >= FINISHING;
    if (!late) {
        task->finish = finish;
        task->state = state;
    }
    pthread_mutex_unlock(&task->lock);
    if (late && finish) {
        finish(task, state);
    }
}

void qio_task_set_stuck(QIOTask *task, bool (*stuck)(Object *source))
{
    task->stuck = stuck;
}

bool qio_task_is_stuck(QIOTask *task)
{
    return task->stuck && task->stuck(task->source);
}

gpointer qio_task_get_state(QIOTask *task)
{
    gpointer state;

    pthread_mutex_lock(&task->lock);
    state = task->state;
    pthread_mutex_unlock(&task->lock);
    return state;
}

void qio_task_add_watch(QIOTask *task, QIOLoopWatch *watch)
{
    bool late;

    pthread_mutex_lock(&task->lock);
    late = atomic_load(&task->stage) >= FINISHING;
    if (!late && !task->watches) {
        task->watches = g_ptr_array_new_with_free_func(drop_watch);
    }
    if (!late) {
        g_ptr_array_add(task->watches, watch);
    }
    pthread_mutex_unlock(&task->lock);
    if (late) {
        drop_watch(watch);
    }
}

static gboolean on_deadline(void *opaque)
{
    Error *err = NULL;

    qio_error_set(&err, QIO_ERROR_TIMEOUT, "the operation did not end in time");
    qio_task_fail(opaque, err);
    return FALSE;
}

void qio_task_set_deadline(QIOTask *task, int timeout_ms)
{
    QIOLoopWatch *timer;
    Error *err = NULL;

    if (timeout_ms < 0 || !task->ctx) {
        return;
    }
    timer = qio_loop_add_internal_timer(task->ctx, timeout_ms, 0, on_deadline, qio_task_ref(task),
                                        unref_task, &err);
    if (timer) {
        qio_task_add_watch(task, timer);
    } else {
        qio_task_fail(task, err);
    }
}

/* ---- other ways to be told ---- */

int qio_task_add_event(QIOTask *task, void *opaque, GDestroyNotify destroy, Error **errp)
{
    QIOLoopWatch *event = qio_loop_add_subject(qio_task_get_context(task), task, &end_ops, G_IO_IN,
                                               NULL, opaque, destroy, errp);
    bool late;

    if (!event) {
        return -1;
    }
    pthread_mutex_lock(&task->lock);
    task->event = qio_loop_watch_ref(event);
    late = atomic_load(&task->stage) == FINISHED;
    pthread_mutex_unlock(&task->lock);
    if (late) {
        qio_loop_watch_end(event);
    }
    qio_loop_watch_unref(event);
    return 0;
}

/* Whether this call is the one that puts a function to the task. */
static bool take_place(QIOTask *task)
{
    QIOLoopWatch *event;

    pthread_mutex_lock(&task->lock);
    event = task->event ? qio_loop_watch_ref(task->event) : NULL;
    pthread_mutex_unlock(&task->lock);
    if (!event) {
        return true;
    }
    if (!qio_loop_watch_withdraw(event)) {
        qio_loop_watch_unref(event);
        return false;
    }
    qio_loop_watch_unref(event);
    return true;
}

int qio_task_set_func(QIOTask *task, QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                      Error **errp)
{
    bool ok, now;

    ok = take_place(task);
    pthread_mutex_lock(&task->lock);
    ok = ok && !task->func && !task->destroy;
    if (ok) {
        task->func = func;
        task->opaque = opaque;
        task->destroy = destroy;
    }
    now = ok && atomic_load(&task->stage) == FINISHED;
    pthread_mutex_unlock(&task->lock);
    if (!ok) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "the task has a function already, or its event was reported");
        if (destroy) {
            destroy(opaque);
        }
        return -1;
    }
    if (now) {
        post(task);
    }
    return 0;
}

bool qio_task_on_finished(QIOTask *task, void (*func)(void *opaque), void *opaque)
{
    Listener *listener;
    bool runs;

    pthread_mutex_lock(&task->lock);
    runs = atomic_load(&task->stage) != FINISHED;
    if (runs) {
        listener = g_new(Listener, 1);
        *listener = (Listener) { func, opaque };
        task->listeners = g_slist_prepend(task->listeners, listener);
    }
    pthread_mutex_unlock(&task->lock);
    return runs;
}

/* ---- asking ---- */

bool qio_task_is_done(QIOTask *task)
{
    return atomic_load(&task->stage) != RUNNING;
}

bool qio_task_propagate_error(QIOTask *task, Error **errp)
{
    Error *err;

    pthread_mutex_lock(&task->lock);
    err = qio_error_copy(task->err);
    pthread_mutex_unlock(&task->lock);
    if (!err) {
        return false;
    }
    qio_error_propagate(errp, err);
    return true;
}

gpointer qio_task_take_result(QIOTask *task)
{
    gpointer result;

    pthread_mutex_lock(&task->lock);
    result = g_steal_pointer(&task->result);
    pthread_mutex_unlock(&task->lock);
    return result;
}

int qio_task_get_number(QIOTask *task)
{
    int number;

    pthread_mutex_lock(&task->lock);
    number = task->free_result ? 0 : GPOINTER_TO_INT(task->result);
    pthread_mutex_unlock(&task->lock);
    return number;
}

Object *qio_task_get_source(QIOTask *task)
{
    return task->source;
}

AioContext *qio_task_get_context(QIOTask *task)
{
    return task->ctx;
}
