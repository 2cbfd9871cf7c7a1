/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/dispatch.c: one turn of a loop, and the calls that take turns.
 *
 * Owns: who the dispatcher is, the wait, the order of a turn.
 * Rule: one thread at a time, from begin to end; a callback that comes back in gets BUSY.
 * A wait that a signal interrupted reports it when nothing was due: who swallows EINTR
 * makes Ctrl-C die.  With something due already the wait becomes a look, so a watch that is
 * always ready in software starves neither descriptors nor timers.
 */
#include "loop/context.h"

#include <sys/single_threaded.h>

/* Of this thread, and of no other, not even after its end.  Not inline: a coroutine that moves to
 * another thread must not keep the address of the first. */
static uint64_t __attribute__((noinline)) thread_number(void)
{
    static _Atomic uint64_t last;
    static _Thread_local uint64_t number;

    if (G_UNLIKELY(number == 0)) {
        number = atomic_fetch_add(&last, 1) + 1;
    }
    return number;
}

int qio_loop_begin(AioContext *ctx, Error **errp)
{
    pthread_mutex_lock(&ctx->lock);
    qio_loop_take_over(ctx);
    if (ctx->closed) {
        pthread_mutex_unlock(&ctx->lock);
        qio_loop_set_closed_error(errp);
        return -1;
    }
    if (atomic_load(&ctx->dispatcher)) {
        pthread_mutex_unlock(&ctx->lock);
        qio_error_set(errp, QIO_ERROR_BUSY, "the loop is being dispatched already");
        return -1;
    }
    atomic_store(&ctx->dispatcher, qio_loop_this_thread());
    atomic_store_explicit(&ctx->server, thread_number(), memory_order_relaxed);
    ctx->broken = false;
    qio_aio_context_ref(ctx);
    qio_loop_drop_reported(ctx);
    return 0;
}

void qio_loop_end(AioContext *ctx)
{
    qio_loop_settle(ctx);
    atomic_store(&ctx->dispatcher, NULL);
    qio_loop_wake_standbys(ctx);
    pthread_mutex_unlock(&ctx->lock);
    qio_aio_context_unref(ctx);
}

void qio_loop_break(AioContext *ctx)
{
    if (qio_loop_is_dispatching(ctx)) {
        ctx->broken = true;
    }
}

bool qio_loop_is_dispatching(AioContext *ctx)
{
    return atomic_load(&ctx->dispatcher) == qio_loop_this_thread();
}

bool qio_loop_is_served_here(AioContext *ctx)
{
    uint64_t server = atomic_load_explicit(&ctx->server, memory_order_relaxed);

    return server != 0 ? server == thread_number() : __libc_single_threaded != 0;
}

int64_t qio_loop_deadline_ns(int timeout_ms)
{
    return timeout_ms == 0 ? 0 : sys_deadline_ns(timeout_ms);
}

bool qio_loop_is_past(int64_t deadline_ns)
{
    return deadline_ns == 0 ||
           (deadline_ns != QIO_NEVER && sys_now_ns() >= deadline_ns);
}

/* Nothing is due that the lists know of. */
static bool is_quiet(AioContext *ctx)
{
    return !ctx->asks.length && !qio_loop_callbacks_due(ctx) && !qio_loop_queued_due(ctx) &&
           !qio_loop_internals_due(ctx);
}

/* The exchange costs as much as the rest of a look; most of the time a load will do. */
static bool take_notified(AioContext *ctx)
{
    return atomic_load(&ctx->notified) && atomic_exchange(&ctx->notified, false);
}

/* How long epoll may sleep; empties wakefd before a sleep that it would cut short. */
static int plan_wait(AioContext *ctx, int64_t deadline_ns, QIOLoopHarvest *harvest)
{
    int64_t unarmed_ns;

    harvest->woken = take_notified(ctx);
    if (harvest->woken || deadline_ns == 0 || !is_quiet(ctx)) {
        return 0;
    }
    if (ctx->signalled) {
        qio_loop_drain(ctx);
        /* A notify needs no lock: what was read may have been its word. */
        harvest->woken = take_notified(ctx);
        if (harvest->woken) {
            return 0;
        }
    }
    unarmed_ns = qio_loop_timers_unarmed_ns(ctx);
    return sys_ms_left(MIN(deadline_ns, unarmed_ns));
}

static void sort_events(AioContext *ctx, const struct epoll_event *events, int n,
                        QIOLoopHarvest *harvest)
{
    bool timer = false;

    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == QIO_LOOP_DATA_WAKE) {
            ctx->signalled = true;
        } else if (events[i].data.u64 == QIO_LOOP_DATA_TIMER) {
            timer = true;
        } else if (events[i].data.u64 == QIO_LOOP_DATA_COMMON) {
            harvest->common = true;
        } else {
            qio_loop_registration_fire(ctx, &events[i], harvest);
        }
    }
    qio_loop_timers_expire(ctx, timer);
}

int qio_loop_harvest(AioContext *ctx, int64_t deadline_ns, QIOLoopHarvest *harvest,
                     Error **errp)
{
    struct epoll_event events[QIO_LOOP_BATCH];
    int timeout_ms = plan_wait(ctx, deadline_ns, harvest);
    int n, error;

    ctx->turn++;
    pthread_mutex_unlock(&ctx->lock);
    n = sys_epoll_wait(ctx->epfd, events, QIO_LOOP_BATCH, timeout_ms);
    error = errno;
    pthread_mutex_lock(&ctx->lock);
    if (take_notified(ctx)) {
        harvest->woken = true;
    }
    if (n < 0 && error != EINTR) {
        qio_error_set_errno(errp, error, "cannot wait for the loop's events");
        return -1;
    }
    if (n < 0 && !harvest->woken && is_quiet(ctx)) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal interrupted the loop's wait");
        return -1;
    }
    harvest->common = false;
    sort_events(ctx, events, n, harvest);
    if (harvest->common) {
        pthread_mutex_unlock(&ctx->lock);
        qio_loop_call_common();
        pthread_mutex_lock(&ctx->lock);
    }
    return 0;
}

int qio_loop_run_releases(AioContext *ctx, GQueue *list)
{
    GQueue due = *list;
    GList *node;
    int ran = 0;

    g_queue_init(list);
    while ((node = g_queue_pop_head_link(&due))) {
        QIOLoopWatch *watch = node->data;

        pthread_mutex_unlock(&ctx->lock);
        if (watch->destroy) {
            watch->destroy(watch->opaque);
            ran++;
        }
        qio_loop_watch_unref(watch);
        pthread_mutex_lock(&ctx->lock);
    }
    return ran;
}

/* Turns until something ran, somebody woke it, or the deadline passed.  Returns the number
 * of callbacks, or -1; *others: a queued event is due, which only qio_loop_next() takes. */
static int take_turns(AioContext *ctx, int64_t deadline_ns, bool *others, Error **errp)
{
    QIOLoopHarvest harvest = { .puller = QIO_LOOP_FOR_DISPATCH };
    int ran;

    do {
        qio_loop_run_asks(ctx);
        if (qio_loop_harvest(ctx, deadline_ns, &harvest, errp) < 0) {
            return -1;
        }
        /* What a descriptor's event says about a layer is known only after asking it. */
        qio_loop_run_asks(ctx);
        qio_loop_run_internals(ctx);
        ran = qio_loop_run_releases(ctx, &ctx->releases);
        ran += qio_loop_run_deferred(ctx);
        if (!ctx->broken) {
            ran += qio_loop_run_ready(ctx);
        }
        qio_loop_run_asks(ctx);
        *others = harvest.others || qio_loop_queued_due(ctx);
    } while (!ran && !harvest.woken && !*others && !qio_loop_is_past(deadline_ns));
    return ran;
}

int qio_aio_context_dispatch(AioContext *ctx, int timeout_ms, Error **errp)
{
    bool others;
    int ran;

    ctx = qio_loop_resolve(ctx, errp);
    if (!ctx || qio_loop_begin(ctx, errp) < 0) {
        return -1;
    }
    ran = take_turns(ctx, qio_loop_deadline_ns(timeout_ms), &others, errp);
    qio_loop_end(ctx);
    return ran;
}

bool qio_aio_context_poll(AioContext *ctx, bool blocking)
{
    return qio_aio_context_dispatch(ctx, blocking ? -1 : 0, NULL) > 0;
}

int qio_aio_context_run(AioContext *ctx, Error **errp)
{
    bool others;
    int ran = 0;

    ctx = qio_loop_resolve(ctx, errp);
    if (!ctx || qio_loop_begin(ctx, errp) < 0) {
        return -1;
    }
    while (ran >= 0 && !ctx->broken && !atomic_exchange(&ctx->quit, false)) {
        ran = take_turns(ctx, QIO_NEVER, &others, errp);
        if (ran == 0 && others) {
            /* qio_loop_next() gets BUSY while run dispatches: this would spin for ever. */
            qio_error_set(errp, QIO_ERROR_INVAL,
                          "events of queued watches are due, which run cannot report");
            ran = -1;
        }
    }
    if (ran >= 0 && atomic_exchange(&ctx->notified, false)) {
        ctx->signalled = true;  /* by quit, which is answered */
    }
    qio_loop_end(ctx);
    return ran < 0 ? -1 : 0;
}
