/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/timer.c: timers.
 *
 * Owns: a binary heap of the timer watches by deadline, and timerfd.
 * Rule: timerfd is armed for the earliest deadline and armed again only when that moves
 * earlier, or when it has fired: removing the earliest timer leaves it armed, which costs
 * one look in vain instead of a system call for each removal (most timers are time-outs that
 * are removed).  Time is sys_now_ns() only.
 */
#include "loop/context.h"

static bool is_before(const QIOLoopWatch *a, const QIOLoopWatch *b)
{
    return a->deadline_ns < b->deadline_ns ||
           (a->deadline_ns == b->deadline_ns && a->timer_seq < b->timer_seq);
}

static void place(AioContext *ctx, QIOLoopWatch *watch, int index)
{
    ctx->timers->pdata[index] = watch;
    watch->heap_index = index;
}

static void sift_up(AioContext *ctx, QIOLoopWatch *watch, int index)
{
    while (index > 0) {
        QIOLoopWatch *parent = ctx->timers->pdata[(index - 1) / 2];

        if (!is_before(watch, parent)) {
            break;
        }
        place(ctx, parent, index);
        index = (index - 1) / 2;
    }
    place(ctx, watch, index);
}

static void sift_down(AioContext *ctx, QIOLoopWatch *watch, int index)
{
    int len = (int)ctx->timers->len;

    for (int child = 2 * index + 1; child < len; child = 2 * index + 1) {
        if (child + 1 < len &&
            is_before(ctx->timers->pdata[child + 1], ctx->timers->pdata[child])) {
            child++;
        }
        if (!is_before(ctx->timers->pdata[child], watch)) {
            break;
        }
        place(ctx, ctx->timers->pdata[child], index);
        index = child;
    }
    place(ctx, watch, index);
}

static QIOLoopWatch *earliest(AioContext *ctx)
{
    return ctx->timers->len ? ctx->timers->pdata[0] : NULL;
}

static void arm(AioContext *ctx)
{
    QIOLoopWatch *first = earliest(ctx);
    struct itimerspec when = { 0 };
    int ret;

    if (!first || first->deadline_ns >= ctx->armed_ns) {
        return;
    }
    when.it_value.tv_sec = first->deadline_ns / 1000000000;
    when.it_value.tv_nsec = first->deadline_ns % 1000000000;
    do {
        ret = sys_timerfd_settime(ctx->timerfd, TFD_TIMER_ABSTIME, &when, NULL);
    } while (ret < 0 && errno == EINTR);
    /* When it fails the wait itself is cut to the deadline: qio_loop_timers_unarmed_ns(). */
    ctx->armed_ns = ret < 0 ? QIO_NEVER : first->deadline_ns;
}

static void start(QIOLoopWatch *watch, int64_t deadline_ns)
{
    AioContext *ctx = watch->ctx;

    watch->deadline_ns = MAX(deadline_ns, 1);   /* 0 would disarm timerfd */
    watch->timer_seq = ctx->timer_seq++;
    g_ptr_array_add(ctx->timers, watch);
    sift_up(ctx, watch, (int)ctx->timers->len - 1);
    arm(ctx);
}

void qio_loop_timer_stop(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;
    int index = watch->heap_index;
    QIOLoopWatch *last;

    if (index < 0) {
        return;
    }
    watch->heap_index = -1;
    last = ctx->timers->pdata[ctx->timers->len - 1];
    g_ptr_array_set_size(ctx->timers, (int)ctx->timers->len - 1);
    if (last == watch) {
        return;
    }
    sift_down(ctx, last, index);
    sift_up(ctx, last, last->heap_index);
}

void qio_loop_timer_repeat(QIOLoopWatch *watch)
{
    int64_t now_ns = sys_now_ns();
    int64_t missed = MAX(now_ns - watch->deadline_ns, 0) / watch->period_ns;
    int64_t next_ns;

    if (__builtin_mul_overflow(missed + 1, watch->period_ns, &next_ns) ||
        __builtin_add_overflow(next_ns, watch->deadline_ns, &next_ns)) {
        next_ns = QIO_NEVER - 1;
    }
    start(watch, next_ns);
}

void qio_loop_timers_expire(AioContext *ctx, bool fired)
{
    QIOLoopWatch *first;
    uint64_t count;
    ssize_t n;
    int64_t now_ns;

    if (fired) {
        do {
            n = sys_read(ctx->timerfd, &count, sizeof(count));
        } while (n < 0 && errno == EINTR);
        ctx->armed_ns = QIO_NEVER;
    } else if (qio_loop_timers_unarmed_ns(ctx) == QIO_NEVER) {
        return;
    }
    now_ns = sys_now_ns();
    while ((first = earliest(ctx)) && first->deadline_ns <= now_ns) {
        qio_loop_timer_stop(first);
        qio_loop_watch_push(first);
    }
    arm(ctx);
}

int64_t qio_loop_timers_unarmed_ns(AioContext *ctx)
{
    QIOLoopWatch *first = earliest(ctx);

    return first && first->deadline_ns < ctx->armed_ns ? first->deadline_ns : QIO_NEVER;
}

static QIOLoopWatch *add_timer(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                               QIOTimerFunc func, QIOLoopWay way, void *opaque,
                               GDestroyNotify destroy, Error **errp)
{
    QIOLoopWatch *watch = qio_loop_watch_new(ctx, QIO_LOOP_WATCH_TIMER, way, opaque, destroy,
                                             errp);
    bool ok = false;
    int64_t deadline_ns;

    if (!watch) {
        return NULL;
    }
    watch->func.timer = func;
    if (way != QIO_LOOP_QUEUES && !func) {
        qio_error_set(errp, QIO_ERROR_INVAL, "func: a timer needs a function");
    } else if (after_ms < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "after_ms: %" G_GINT64_FORMAT
                      " is negative; 0 fires at once", after_ms);
    } else if (every_ms < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "every_ms: %" G_GINT64_FORMAT
                      " is negative; 0 fires only once", every_ms);
    } else {
        ok = true;
    }
    if (__builtin_mul_overflow(after_ms, 1000000, &deadline_ns) ||
        __builtin_add_overflow(deadline_ns, sys_now_ns(), &deadline_ns)) {
        deadline_ns = QIO_NEVER - 1;
    }
    if (__builtin_mul_overflow(every_ms, 1000000, &watch->period_ns)) {
        watch->period_ns = QIO_NEVER - 1;
    }
    ok = qio_loop_watch_enter(watch, ok, errp);
    if (ok) {
        start(watch, deadline_ns);
    }
    return qio_loop_watch_entered(watch, ok);
}

QIOLoopWatch *qio_aio_context_add_timer(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                        QIOTimerFunc func, void *opaque, GDestroyNotify destroy,
                                        Error **errp)
{
    return add_timer(ctx, after_ms, every_ms, func, QIO_LOOP_CALLS, opaque, destroy, errp);
}

QIOLoopWatch *qio_loop_add_timer_queued(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                        void *opaque, GDestroyNotify destroy, Error **errp)
{
    return add_timer(ctx, after_ms, every_ms, NULL, QIO_LOOP_QUEUES, opaque, destroy, errp);
}

QIOLoopWatch *qio_loop_add_internal_timer(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                          QIOTimerFunc func, void *opaque,
                                          GDestroyNotify destroy, Error **errp)
{
    return add_timer(ctx, after_ms, every_ms, func, QIO_LOOP_INTERNAL, opaque, destroy, errp);
}
