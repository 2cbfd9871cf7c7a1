/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/operation.c: the beginning and the end of a channel as operations in a loop.
 *
 * Owns: the tasks that take a layer's io_handshake and io_bye steps, and that close.
 * Rule: their state is touched where the loop's internal watches run and nowhere else once the
 * task was made, so it needs no lock.  A step is taken inside the channel (qio_channel_enter), so
 * that a close from another thread leaves the transport until it is out.
 */
#include "channel/layer.h"
#include "task/task-priv.h"

/* A child that has ended and cannot be waited for yet, because a debugger holds it. */
enum { HELD_LOOK_MS = 10 };

static void unref_task(gpointer task)
{
    qio_task_unref(task);
}

int qio_channel_take_step(QIOChannel *ioc, QIOStepFunc *step, Error **errp)
{
    int ret;

    if (qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    ret = step(ioc, errp);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

int qio_channel_poll_step(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    int n = 0;

    if (qio_channel_enter(ioc, QIO_USE_ONE, NULL) == 0) {
        n = qio_channel_class(ioc)->io_poll(ioc, condition, out, cap);
        qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    }
    return n;
}

static Error *cancelled(void)
{
    Error *err = NULL;

    qio_error_set(&err, QIO_ERROR_CANCELLED, "the channel was closed");
    return err;
}

static bool is_stuck(Object *source)
{
    return qio_channel_waits_for_itself((QIOChannel *)source);
}

/* ---- handshake, and the steps of a coroutine ---- */

typedef struct Steps {
    QIOTask *task;
    QIOStepFunc *step;
    GIOCondition condition;
} Steps;

static void free_steps(gpointer opaque)
{
    Steps *steps = opaque;

    qio_task_unref(steps->task);
    g_free(steps);
}

static void steps_advance(QIOChannel *ioc, gpointer opaque)
{
    Steps *steps = opaque;
    Error *err = NULL;
    int ret;

    if (qio_task_is_done(steps->task)) {
        return;
    }
    ret = qio_channel_take_step(ioc, steps->step, &err);
    if (ret == QIO_CHANNEL_ERR_BLOCK) {
        return;
    }
    if (ret < 0 && qio_channel_ends(ioc)) {
        qio_error_free(err);
        err = cancelled();
    }
    if (ret < 0) {
        qio_task_fail(steps->task, err);
    } else {
        qio_task_complete(steps->task, GINT_TO_POINTER(ret), NULL);
    }
}

static int steps_poll(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap)
{
    Steps *steps = opaque;

    return qio_task_is_done(steps->task) ? 0 : qio_channel_poll_step(ioc, steps->condition, out,
                                                                     cap);
}

static void steps_closed(QIOChannel *ioc, gpointer opaque)
{
    qio_task_fail(((Steps *)opaque)->task, cancelled());
}

static const QIOStepOps steps_ops = {
    .advance = steps_advance, .poll = steps_poll, .closed = steps_closed,
};

static void start_steps(QIOTask *task, QIOChannel *ioc, QIOStepFunc *step,
                        GIOCondition condition, AioContext *ctx)
{
    Steps *steps = g_new(Steps, 1);
    Error *err = NULL;
    QIOLoopWatch *watch;

    *steps = (Steps) { .task = qio_task_ref(task), .step = step, .condition = condition };
    watch = qio_channel_add_steps(ioc, ctx, &steps_ops, steps, free_steps, &err);
    if (watch) {
        qio_task_add_watch(task, watch);
    } else {
        qio_task_fail(task, err);
    }
}

QIOTask *qio_channel_steps_task(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                                int timeout_ms, AioContext *ctx, QIOTaskFunc func,
                                gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    Error *err = NULL;

    qio_task_set_stuck(task, is_stuck);
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, &err);
        qio_task_fail(task, err);
    } else if (!step) {
        qio_task_complete(task, NULL, NULL);
    } else {
        qio_task_set_deadline(task, timeout_ms);
        start_steps(task, ioc, step, condition, ctx);
    }
    return task;
}

QIOTask *qio_channel_handshake_task(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                    QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    return qio_channel_steps_task(ioc, qio_channel_class(ioc)->io_handshake, G_IO_IN, timeout_ms,
                                  ctx, func, opaque, destroy);
}

/* ---- close ---- */

typedef struct Close {
    QIOChannel *ioc;
    GPtrArray *chain;               /* it and the channels below it, from the top down */
    guint at;                       /* whose io_bye is due */
    bool closed;
    QIOChannel *waited;             /* the one with an io_close_step, or NULL */
    int64_t deadline_ns;
    int64_t until_ns;               /* when a timer takes the next step */
    QIOLoopWatch *fd_watch;         /* borrowed from the task */
    Error *err;                     /* the first failure */
} Close;

static void close_failed(Close *state, Error *err)
{
    if (state->err) {
        qio_error_free(err);
    } else {
        state->err = err;
    }
}

/* Also for a task that was cancelled before it came to close. */
static void close_channel(Close *state)
{
    Error *err = NULL;

    if (!state->closed) {
        state->closed = true;
        if (qio_channel_close_now(state->ioc, &err) < 0) {
            close_failed(state, err);
        }
    }
}

static void close_finish(QIOTask *task, gpointer opaque)
{
    Close *state = opaque;

    close_channel(state);
    if (state->waited) {
        /* Whoever closes once more may wait for it instead. */
        atomic_store(&qio_channel_priv(state->waited)->close_waited, false);
    }
    qio_error_free(state->err);
    g_ptr_array_free(state->chain, TRUE);
    g_free(state);
}

static void close_complete(QIOTask *task, Close *state)
{
    Error *err = g_steal_pointer(&state->err);

    state->waited = NULL;
    if (err) {
        qio_task_fail(task, err);
    } else {
        qio_task_complete(task, NULL, NULL);
    }
}

/* ---- waiting for the other side (a child process) ---- */

static void wait_step(QIOTask *task, Close *state);

static gboolean wait_timer(void *opaque)
{
    Close *state = qio_task_get_state(opaque);

    if (state && !qio_task_is_done(opaque)) {
        state->until_ns = 0;
        wait_step(opaque, state);
    }
    return FALSE;
}

static gboolean wait_again(void *opaque)
{
    Close *state = qio_task_get_state(opaque);

    if (state && !qio_task_is_done(opaque)) {
        wait_step(opaque, state);
    }
    return TRUE;
}

static void wait_with_timer(QIOTask *task, int64_t after_ms, int64_t every_ms, QIOTimerFunc func)
{
    Error *err = NULL;
    QIOLoopWatch *watch = qio_loop_add_internal_timer(qio_task_get_context(task), after_ms,
                                                      every_ms, func, qio_task_ref(task),
                                                      unref_task, &err);

    if (watch) {
        qio_task_add_watch(task, watch);
    } else {
        qio_task_fail(task, err);
    }
}

static gboolean wait_fd(int fd, GIOCondition condition, void *opaque)
{
    QIOTask *task = opaque;
    Close *state = qio_task_get_state(task);

    if (!state || qio_task_is_done(task)) {
        return FALSE;
    }
    wait_step(task, state);
    if (!qio_task_is_done(task)) {
        wait_with_timer(task, HELD_LOOK_MS, HELD_LOOK_MS, wait_again);
    }
    return FALSE;
}

static void wait_step(QIOTask *task, Close *state)
{
    int64_t until_ns = QIO_NEVER;
    Error *err = NULL;
    int fd = -1;

    if (!qio_channel_class(state->waited)->io_close_step(state->waited, state->deadline_ns, &fd,
                                                         &until_ns)) {
        close_complete(task, state);
        return;
    }
    if (until_ns != QIO_NEVER && until_ns != state->until_ns) {
        state->until_ns = until_ns;
        wait_with_timer(task, sys_ms_left(until_ns), 0, wait_timer);
    }
    if (fd >= 0 && !state->fd_watch) {
        state->fd_watch = qio_loop_add_internal_fd(qio_task_get_context(task), fd, G_IO_IN,
                                                   wait_fd, qio_task_ref(task), unref_task, &err);
        if (state->fd_watch) {
            qio_task_add_watch(task, state->fd_watch);
        } else {
            qio_task_fail(task, err);
        }
    }
}

/* The orderly end is over: closes, and waits for who has to be waited for. */
static void close_and_wait(QIOTask *task, Close *state)
{
    close_channel(state);
    for (guint i = 0; i < state->chain->len && !state->waited; i++) {
        QIOChannel *ioc = state->chain->pdata[i];

        if (qio_channel_class(ioc)->io_close_step &&
            !atomic_exchange(&qio_channel_priv(ioc)->close_waited, true)) {
            state->waited = ioc;
        }
    }
    if (state->waited) {
        wait_step(task, state);
    } else {
        close_complete(task, state);
    }
}

/* ---- the layers' orderly end ---- */

static QIOStepFunc *bye_of(QIOChannel *ioc)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (!klass->io_poll) {
        return NULL;
    }
    return klass->io_bye ? klass->io_bye : klass->io_flush;
}

/* Returns: whether one of them has to be waited for. */
static bool take_byes(Close *state)
{
    for (; state->at < state->chain->len; state->at++) {
        QIOChannel *ioc = state->chain->pdata[state->at];
        Error *err = NULL;
        int ret;

        if (!bye_of(ioc)) {
            continue;
        }
        ret = qio_channel_take_step(ioc, bye_of(ioc), &err);
        if (ret == QIO_CHANNEL_ERR_BLOCK) {
            return true;
        }
        if (ret < 0 && qio_channel_ends(ioc)) {
            qio_error_free(err);
            err = cancelled();
        }
        if (ret < 0) {
            close_failed(state, err);
        }
    }
    return false;
}

static void close_advance(QIOChannel *ioc, gpointer opaque)
{
    QIOTask *task = opaque;
    Close *state = qio_task_get_state(task);

    if (state && !qio_task_is_done(task) && !state->closed && !take_byes(state)) {
        close_and_wait(task, state);
    }
}

static int close_poll(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap)
{
    QIOTask *task = opaque;
    Close *state = qio_task_get_state(task);

    if (!state || qio_task_is_done(task) || state->closed || state->at >= state->chain->len) {
        return 0;
    }
    return qio_channel_poll_step(state->chain->pdata[state->at], G_IO_IN, out, cap);
}

/* By this task, or by somebody else before the layers had ended. */
static void close_closed(QIOChannel *ioc, gpointer opaque)
{
    QIOTask *task = opaque;
    Close *state = qio_task_get_state(task);

    if (state && !qio_task_is_done(task) && !state->closed) {
        close_failed(state, cancelled());
        close_and_wait(task, state);
    }
}

static const QIOStepOps close_ops = {
    .advance = close_advance, .poll = close_poll, .closed = close_closed,
};

static gboolean close_now(void *opaque)
{
    QIOTask *task = opaque;
    Close *state = qio_task_get_state(task);

    if (state && !qio_task_is_done(task) && !state->closed) {
        close_and_wait(task, state);
    }
    return FALSE;
}

static void unref_channel(gpointer ioc)
{
    g_object_unref(ioc);
}

static Close *close_new(QIOChannel *ioc, int timeout_ms)
{
    Close *state = g_new0(Close, 1);

    state->ioc = ioc;
    state->deadline_ns = sys_deadline_ns(timeout_ms);
    state->chain = g_ptr_array_new_with_free_func(unref_channel);
    for (QIOChannel *at = ioc; at; at = qio_layer_below(at)) {
        g_ptr_array_add(state->chain, g_object_ref(at));
    }
    return state;
}

static bool has_byes(const Close *state)
{
    for (guint i = 0; i < state->chain->len; i++) {
        if (bye_of(state->chain->pdata[i])) {
            return true;
        }
    }
    return false;
}

QIOTask *qio_channel_close_task(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    Close *state = close_new(ioc, timeout_ms);
    bool byes = has_byes(state) && !qio_channel_closing(ioc);
    QIOLoopWatch *watch = NULL;

    qio_task_set_stuck(task, is_stuck);
    qio_task_set_finish(task, close_finish, state);
    qio_task_set_deadline(task, timeout_ms);
    if (byes) {
        watch = qio_channel_add_steps(ioc, ctx, &close_ops, qio_task_ref(task), unref_task, NULL);
    }
    if (watch) {
        qio_task_add_watch(task, watch);
    } else {
        /* Also when somebody has just closed it: what is left to do is to wait. */
        wait_with_timer(task, 0, 0, close_now);
    }
    return task;
}
