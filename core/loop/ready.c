/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/ready.c: what is ready, and what comes of it.
 *
 * Owns: the ready lists and the list of subjects to ask.
 * Rule: only the dispatcher asks, fires and reports.  The lock is dropped while a function
 * of a user or subject runs, with watch->running set: whoever removes the watch meanwhile
 * leaves the rest to the dispatcher.
 *
 * What is ready in software is asked once more right before it fires: of two watches on one
 * layer, the first may have read what made both ready.
 */
#include "loop/context.h"

/* ---- the lists ---- */

void qio_loop_watch_push(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    if (watch->ready_in) {
        return;
    }
    watch->ready_in = watch->queued ? &ctx->ready_queued :
                      watch->internal ? &ctx->ready_internal : &ctx->ready[ctx->filling];
    g_queue_push_tail_link(watch->ready_in, &watch->ready_node);
    qio_loop_signal_for(watch);
}

void qio_loop_watch_unpush(QIOLoopWatch *watch)
{
    if (watch->ready_in) {
        g_queue_unlink(watch->ready_in, &watch->ready_node);
        watch->ready_in = NULL;
    }
}

void qio_loop_watch_push_ask(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    if (watch->asking || watch->removed || watch->ended) {
        return;
    }
    watch->asking = true;
    g_queue_push_tail_link(watch->internal ? &ctx->asks_internal : &ctx->asks, &watch->ask_node);
    qio_loop_signal_for(watch);
}

void qio_loop_watch_push_always(QIOLoopWatch *watch)
{
    GIOCondition always = qio_loop_links_always(watch);

    if (!always) {
        return;
    }
    if (watch->ops && !watch->ops->direct) {
        qio_loop_watch_push_ask(watch);
        return;
    }
    watch->standing = always;
    qio_loop_watch_push(watch);
}

void qio_loop_watch_fd_event(QIOLoopWatch *watch, GIOCondition events, QIOLoopHarvest *harvest)
{
    bool for_next = harvest->puller == QIO_LOOP_FOR_NEXT;

    if (watch->ops && !watch->ops->direct) {
        qio_loop_watch_push_ask(watch);
    } else if (watch->queued != for_next && !watch->internal) {
        harvest->others = true;
    } else {
        if (watch->turn != watch->ctx->turn) {
            watch->turn = watch->ctx->turn;
            watch->harvested = 0;
        }
        watch->harvested |= events;
        qio_loop_watch_push(watch);
    }
}

/* ---- asking ---- */

typedef struct Answer {
    GIOCondition ready;
    int n;                      /* descriptors; -1: as before */
    QIOPollFd fds[QIO_POLL_MAX];
} Answer;

static void start_use(QIOLoopWatch *watch)
{
    watch->running = true;
    pthread_mutex_unlock(&watch->ctx->lock);
}

/* False: somebody removed it meanwhile; the watch may be gone. */
static bool finish_use(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    pthread_mutex_lock(&ctx->lock);
    watch->running = false;
    if (!watch->removed) {
        return true;
    }
    qio_loop_watch_retire(watch);
    pthread_mutex_unlock(&ctx->lock);
    qio_loop_watch_drop(watch);
    pthread_mutex_lock(&ctx->lock);
    return false;
}

static GIOCondition advance(QIOLoopWatch *watch)
{
    return watch->ops->advance ? watch->ops->advance(watch->subject, watch->condition) : 0;
}

/* Without the lock. */
static void ask(QIOLoopWatch *watch, Answer *answer)
{
    answer->ready = 0;
    answer->n = -1;
    if (!watch->ops) {
        return;
    }
    answer->ready = advance(watch);
    if (!answer->ready && !watch->ops->direct) {
        answer->n = watch->ops->poll(watch->subject, watch->condition, answer->fds,
                                     QIO_POLL_MAX);
    }
}

/* What a watch waits for from here on. */
static void take_answer(QIOLoopWatch *watch, const Answer *answer)
{
    if (watch->ended) {
        qio_loop_watch_push(watch);
        return;
    }
    if (answer->n >= 0 &&
        qio_loop_links_set(watch, answer->fds, MIN(answer->n, QIO_POLL_MAX)) < 0) {
        /* It could never fire again, which is what NVAL says. */
        qio_loop_watch_end_locked(watch);
        return;
    }
    if (answer->ready) {
        watch->soft = true;
        qio_loop_watch_push(watch);
    }
    qio_loop_watch_push_always(watch);
}

/* Most watches are asked after each event and have nothing to tell; finding that out here spares
 * them the calls without the lock. */
static bool is_still(const QIOLoopWatch *watch)
{
    return watch->ops && watch->ops->still && watch->ops->still(watch->subject);
}

static void ask_all(GQueue *asks)
{
    GList *node;
    Answer answer;

    for (guint left = asks->length; left > 0; left--) {
        QIOLoopWatch *watch;

        node = g_queue_pop_head_link(asks);
        if (!node) {
            return;
        }
        watch = node->data;
        watch->asking = false;
        if (is_still(watch)) {
            continue;
        }
        start_use(watch);
        ask(watch, &answer);
        if (finish_use(watch)) {
            take_answer(watch, &answer);
        }
    }
}

void qio_loop_run_asks(AioContext *ctx)
{
    if (ctx->asks.length) {
        ask_all(&ctx->asks);
    }
}

/* ---- firing ---- */

/* Takes a watch off its list with what it is ready for, apart from what its subject says. */
static GIOCondition take_ready(QIOLoopWatch *watch)
{
    GIOCondition condition = watch->standing;

    qio_loop_watch_unpush(watch);
    if (watch->turn == watch->ctx->turn) {
        condition |= watch->harvested;
    }
    watch->harvested = 0;
    watch->standing = 0;
    return condition;
}

static gboolean call(QIOLoopWatch *watch, GIOCondition condition)
{
    switch (watch->kind) {
    case QIO_LOOP_WATCH_FD:
        return watch->func.fd(watch->links[0].fd, condition, watch->opaque);
    case QIO_LOOP_WATCH_SUBJECT:
        return watch->func.subject(watch, condition, watch->opaque);
    case QIO_LOOP_WATCH_TIMER:
    default:
        return watch->func.timer(watch->opaque);
    }
}

/* Returns 1 when its function ran, else 0; drops the lock. */
static int fire(QIOLoopWatch *watch)
{
    GIOCondition condition = take_ready(watch);
    bool soft = watch->soft;
    bool last = watch->ended || (watch->kind == QIO_LOOP_WATCH_TIMER && !watch->period_ns);
    bool keep = true;
    int ran = 0;
    Answer answer = { .n = -1 };

    watch->soft = false;
    start_use(watch);
    if (soft) {
        condition |= advance(watch);
    }
    if ((condition || watch->kind == QIO_LOOP_WATCH_TIMER) && !watch->removed) {
        keep = call(watch, condition);
        ran = 1;
    }
    if (keep && !last && !watch->removed) {
        ask(watch, &answer);
    }
    if (!finish_use(watch)) {
        return ran;
    }
    if (!keep || last) {
        qio_loop_watch_remove_relock(watch);
    } else if (watch->kind == QIO_LOOP_WATCH_TIMER) {
        qio_loop_timer_repeat(watch);
    } else {
        take_answer(watch, &answer);
    }
    return ran;
}

/* After a break: what did not get its turn comes first in the next. */
static void put_back(AioContext *ctx, GQueue *due)
{
    GList *node;

    while ((node = g_queue_pop_tail_link(due))) {
        QIOLoopWatch *watch = node->data;

        watch->ready_in = &ctx->ready[ctx->filling];
        g_queue_push_head_link(watch->ready_in, node);
    }
}

int qio_loop_run_ready(AioContext *ctx)
{
    GQueue *due = &ctx->ready[ctx->filling];
    int ran = 0;

    /* What becomes ready from here on waits for the next turn. */
    ctx->filling ^= 1;
    while (due->head && !ctx->broken) {
        ran += fire(due->head->data);
    }
    put_back(ctx, due);
    return ran;
}

void qio_loop_run_internals(AioContext *ctx)
{
    if (!qio_loop_internals_due(ctx)) {
        return;
    }
    ask_all(&ctx->asks_internal);
    for (guint left = ctx->ready_internal.length; left > 0 && ctx->ready_internal.head; left--) {
        fire(ctx->ready_internal.head->data);
    }
    qio_loop_run_releases(ctx, &ctx->releases_internal);
    /* They may have made users' watches ready. */
    qio_loop_run_asks(ctx);
}

bool qio_loop_watch_report(QIOLoopWatch *watch, QIOLoopEvent *event)
{
    GIOCondition condition = take_ready(watch);
    bool timer = watch->kind == QIO_LOOP_WATCH_TIMER;

    if (watch->soft) {
        watch->soft = false;
        start_use(watch);
        condition |= advance(watch);
        if (!finish_use(watch)) {
            return false;
        }
    }
    /* Perhaps while it was asked: the last event stands alone. */
    if (watch->ended) {
        condition = watch->condition | G_IO_NVAL;
    }
    if (!condition && !timer) {
        if (watch->ops && !watch->ops->direct) {
            qio_loop_watch_push_ask(watch);
        }
        return false;
    }
    event->kind = timer ? QIO_LOOP_TIMER : QIO_LOOP_WATCH;
    event->condition = condition;
    event->watch = qio_loop_watch_ref(watch);
    event->opaque = watch->opaque;
    if (watch->ended || (timer && !watch->period_ns)) {
        qio_loop_watch_remove_relock(watch);
    } else if (timer) {
        qio_loop_timer_repeat(watch);
    } else {
        if (watch->ops && (watch->ops->advance || !watch->ops->direct)) {
            qio_loop_watch_push_ask(watch);
        }
        qio_loop_watch_push_always(watch);
    }
    return true;
}
