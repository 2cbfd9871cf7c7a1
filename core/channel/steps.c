/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/steps.c: what a class does step by step: its handshake, flushing, its orderly end.
 *
 * Owns: the functions that take a class's io_handshake, io_flush and io_bye steps with one total
 * deadline, and giving the channel below a layer back.
 * Rule: a step never waits and the sleeping is wait.c's, so close and cancel from any thread end
 * it.  As operations in a loop the same steps are operation.c's, and a coroutine waits for such
 * an operation.
 */
#include "channel/layer.h"
#include "loop/coroutine-priv.h"
#include "task/task-priv.h"

/* ---- in a coroutine ---- */

struct QIOSleeper {
    Coroutine *co;
    AioContext *ctx;
    atomic_int state;
    QIOTask *task;
    QIOSleeper *next;       /* of the channel's, under its lock */
};

enum {
    SLEEPER_AWAKE,
    SLEEPER_YIELDS,         /* it has, or is about to: who wakes it enters it */
    SLEEPER_WOKEN,
};

static void wake(QIOTask *task, gpointer opaque)
{
    QIOSleeper *sleeper = opaque;

    if (atomic_exchange(&sleeper->state, SLEEPER_WOKEN) == SLEEPER_YIELDS &&
        !qio_coroutine_enter_suspended(sleeper->co)) {
        qio_aio_co_schedule(sleeper->ctx, sleeper->co);
    }
}

static void sleeper_add(QIOChannel *ioc, QIOSleeper *sleeper)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    pthread_mutex_lock(&priv->lock);
    sleeper->next = priv->sleepers;
    priv->sleepers = sleeper;
    pthread_mutex_unlock(&priv->lock);
}

static void sleeper_remove(QIOChannel *ioc, QIOSleeper *sleeper)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOSleeper **link;

    pthread_mutex_lock(&priv->lock);
    for (link = &priv->sleepers; *link != sleeper; link = &(*link)->next) {
    }
    *link = sleeper->next;
    pthread_mutex_unlock(&priv->lock);
}

void qio_channel_cancel_sleepers(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    GSList *tasks = NULL;

    pthread_mutex_lock(&priv->lock);
    for (QIOSleeper *sleeper = priv->sleepers; sleeper; sleeper = sleeper->next) {
        tasks = g_slist_prepend(tasks, qio_task_ref(sleeper->task));
    }
    pthread_mutex_unlock(&priv->lock);
    /* Without the lock: it calls the loop. */
    for (GSList *node = tasks; node; node = node->next) {
        qio_task_cancel(node->data);
        qio_task_unref(node->data);
    }
    g_slist_free(tasks);
}

static int take_steps_yielding(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                               int64_t deadline_ns, Error **errp)
{
    AioContext *ctx = ioc->ctx ? ioc->ctx : qio_get_main_aio_context();
    QIOSleeper sleeper = { .co = qio_coroutine_self(), .ctx = ctx };
    int state = SLEEPER_AWAKE;
    QIOTask *task;
    int ret;

    task = qio_channel_steps_task(ioc, step, condition,
                                  deadline_ns == QIO_NEVER ? -1 : sys_ms_left(deadline_ns), ctx,
                                  wake, &sleeper, NULL);
    sleeper.task = task;
    sleeper_add(ioc, &sleeper);
    if (atomic_compare_exchange_strong(&sleeper.state, &state, SLEEPER_YIELDS)) {
        qio_coroutine_yield();
    }
    sleeper_remove(ioc, &sleeper);
    ret = qio_task_propagate_error(task, errp) ? -1 : GPOINTER_TO_INT(qio_task_take_result(task));
    qio_task_unref(task);
    return ret;
}

/* ---- steps ---- */

static int take_steps_waiting(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                              int64_t deadline_ns, bool interruptible, Error **errp)
{
    if (qio_in_coroutine()) {
        return take_steps_yielding(ioc, step, condition, deadline_ns, errp);
    }
    return qio_channel_take_steps(ioc, step, condition, deadline_ns, interruptible, errp);
}

static int take_steps(QIOChannel *ioc, QIOStepFunc *step, int timeout_ms, bool interruptible,
                      Error **errp)
{
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (!step) {
        return 0;
    }
    return take_steps_waiting(ioc, step, G_IO_IN, sys_deadline_ns(timeout_ms), interruptible,
                              errp);
}

int qio_channel_bye(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp)
{
    return take_steps(ioc, qio_channel_class(ioc)->io_bye, timeout_ms, interruptible, errp);
}

/* *below: a reference on what has to be flushed next.  Taken inside, where nobody else can take
 * the transport back. */
static int flush_one(QIOChannel *ioc, QIOChannel **below, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    QIOChannel *next;
    int ret;

    *below = NULL;
    if (qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    ret = klass->io_flush ? klass->io_flush(ioc, errp) : 0;
    next = qio_layer_below(ioc);
    if (next && (qio_channel_class(next)->io_flush || qio_layer_below(next))) {
        *below = g_object_ref(next);
    }
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}

/* From the top down: what one layer sends, the next may hold back.  deadline_ns 0: the time-out of
 * the top, from the moment on that it would block. */
static int flush_all(QIOChannel *ioc, bool waits, int64_t deadline_ns, bool interruptible,
                     Error **errp)
{
    QIOChannel *one = ioc, *below;
    int ret = 0;

    while (one && ret == 0) {
        ret = flush_one(one, &below, errp);
        if (ret == QIO_CHANNEL_ERR_BLOCK && waits) {
            if (deadline_ns == 0) {
                deadline_ns = qio_channel_io_deadline(ioc);
            }
            ret = take_steps_waiting(one, qio_channel_class(one)->io_flush, G_IO_OUT,
                                     deadline_ns, interruptible, errp);
        }
        if (one != ioc) {
            g_object_unref(one);
        }
        one = below;
    }
    if (one) {
        g_object_unref(one);
    }
    return ret;
}

/* What does not get out now goes with the next transfer, so no failure is one of the handshake.  A
 * signal's handler has to run, though; who then calls again comes back to here.
 * Returns: 0, or -1 INTR */
static int flush_last_word(QIOChannel *ioc, int timeout_ms, int64_t deadline_ns,
                           bool interruptible, Error **errp)
{
    Error *err = NULL;

    if (flush_all(ioc, timeout_ms != 0, deadline_ns, interruptible, &err) == -1 &&
        qio_error_get_code(err) == QIO_ERROR_INTR) {
        qio_error_free(err);
        qio_error_set(errp, QIO_ERROR_INTR, "a signal came while the last bytes of the handshake, "
                      "which is done, were sent: call again to send them");
        return -1;
    }
    qio_error_free(err);
    return 0;
}

int qio_channel_handshake(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp)
{
    /* Without a limit of its own: the channel's, from the moment on that it would block. */
    int64_t deadline_ns = timeout_ms < 0 ? 0 : sys_deadline_ns(timeout_ms);
    int ret = take_steps(ioc, qio_channel_class(ioc)->io_handshake, timeout_ms, interruptible,
                         errp);

    /* The last word of the handshake may be held back, here or by a layer below. */
    if (ret >= 0 && qio_channel_get_blocking(ioc) &&
        flush_last_word(ioc, timeout_ms, deadline_ns, interruptible, errp) < 0) {
        return -1;
    }
    return ret;
}

int qio_channel_flush_flags(QIOChannel *ioc, unsigned flags, Error **errp)
{
    bool waits = !(flags & QIO_IO_DONTWAIT) &&
                 ((flags & QIO_IO_WAIT) || qio_channel_get_blocking(ioc));

    return flush_all(ioc, waits, 0, (flags & QIO_IO_INTERRUPTIBLE) != 0, errp);
}

int qio_channel_flush_within(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp)
{
    return flush_all(ioc, timeout_ms != 0, timeout_ms != 0 ? sys_deadline_ns(timeout_ms) : 0,
                     interruptible, errp);
}

int qio_channel_flush(QIOChannel *ioc, Error **errp)
{
    return qio_channel_flush_flags(ioc, 0, errp);
}

QIOChannel *qio_channel_get_transport(QIOChannel *ioc)
{
    return qio_layer_below(ioc);
}

QIOChannel *qio_channel_take_transport(QIOChannel *ioc, int timeout_ms, bool interruptible,
                                       Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannel *below;
    uint32_t idle = 0;

    if (!qio_layer_below(ioc) && !qio_channel_closing(ioc)) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' lies on no other",
                      G_OBJECT_TYPE_NAME(ioc));
        return NULL;
    }
    if (qio_readahead_ready(ioc)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "%zu bytes are read ahead and would be lost: read them first",
                      qio_readahead_pending(ioc));
        return NULL;
    }
    if (qio_channel_bye(ioc, timeout_ms, interruptible, errp) < 0) {
        return NULL;
    }
    /* Exclusive for the moment of the handing over, as in qio_channel_take_fd(). */
    if (!atomic_compare_exchange_strong(&priv->use, &idle, QIO_USE_CLOSING | QIO_USE_ONE)) {
        if (idle & QIO_USE_CLOSING) {
            qio_channel_set_closed_error(ioc, errp);
        } else {
            qio_error_set(errp, QIO_ERROR_BUSY, "another call uses the channel");
        }
        return NULL;
    }
    qio_channel_end_sources(ioc);
    qio_channel_end_aio_watches(ioc);
    below = qio_layer_detach(ioc);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return below;
}
