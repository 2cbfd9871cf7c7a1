/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/defer.c: functions and coroutines that run once in a later dispatch.
 *
 * Owns: the queue of deferred calls.
 * Rule: first in, first out; what is deferred while the queue runs waits for the next turn,
 * so a function that defers itself starves nobody.  When the loop closes, functions are
 * released without running, but coroutines are entered: they find the loop closed and can
 * end, where a suspended one would keep its stack for ever.
 */
#include "loop/context.h"
#include "loop/coroutine-priv.h"

struct QIOLoopDeferred {
    QIOLoopDeferred *next;
    QIODeferFunc func;              /* NULL: opaque is a coroutine to enter */
    void *opaque;
    GDestroyNotify destroy;
};

static QIOLoopDeferred *steal(AioContext *ctx)
{
    QIOLoopDeferred *head = ctx->deferred;

    ctx->deferred = NULL;
    ctx->deferred_end = &ctx->deferred;
    return head;
}

/* Back in front, after a break. */
static void put_back(AioContext *ctx, QIOLoopDeferred *rest)
{
    QIOLoopDeferred **end = &rest->next;

    while (*end) {
        end = &(*end)->next;
    }
    *end = ctx->deferred;
    if (!ctx->deferred) {
        ctx->deferred_end = end;
    }
    ctx->deferred = rest;
}

static void finish(QIOLoopDeferred *call, bool run)
{
    if (!call->func) {
        qio_coroutine_enter(call->opaque);
    } else if (run) {
        call->func(call->opaque);
    }
    if (call->destroy) {
        call->destroy(call->opaque);
    }
    g_free(call);
}

static int finish_all(AioContext *ctx, bool run)
{
    QIOLoopDeferred *call = steal(ctx);
    int n = 0;

    if (!call) {
        return 0;
    }
    pthread_mutex_unlock(&ctx->lock);
    while (call && !(run && ctx->broken)) {
        QIOLoopDeferred *next = call->next;

        finish(call, run);
        call = next;
        n++;
    }
    pthread_mutex_lock(&ctx->lock);
    if (call) {
        put_back(ctx, call);
    }
    return n;
}

int qio_loop_run_deferred(AioContext *ctx)
{
    return finish_all(ctx, true);
}

void qio_loop_close_deferred(AioContext *ctx)
{
    finish_all(ctx, false);
}

static bool post(AioContext *ctx, QIODeferFunc func, void *opaque, GDestroyNotify destroy)
{
    QIOLoopDeferred *call;
    bool open;

    pthread_mutex_lock(&ctx->lock);
    open = !ctx->closed;
    if (open) {
        call = g_new0(QIOLoopDeferred, 1);
        call->func = func;
        call->opaque = opaque;
        call->destroy = destroy;
        *ctx->deferred_end = call;
        ctx->deferred_end = &call->next;
        qio_loop_signal(ctx);
    }
    pthread_mutex_unlock(&ctx->lock);
    return open;
}

int qio_aio_context_defer(AioContext *ctx, QIODeferFunc func, void *opaque,
                          GDestroyNotify destroy, Error **errp)
{
    ctx = qio_loop_resolve(ctx, errp);
    if (ctx && !func) {
        qio_error_set(errp, QIO_ERROR_INVAL, "func: a deferred call needs a function");
    } else if (ctx && post(ctx, func, opaque, destroy)) {
        return 0;
    } else if (ctx) {
        qio_loop_set_closed_error(errp);
    }
    if (destroy) {
        destroy(opaque);
    }
    return -1;
}

/* ---- coroutines ---- */

static void post_coroutine(Coroutine *co, void *opaque)
{
    AioContext *ctx = opaque;

    if (co && !post(ctx, NULL, co, NULL)) {
        g_critical("coroutine %p was scheduled on a loop that is closed", (void *)co);
    }
    qio_aio_context_unref(ctx);
}

void qio_aio_co_schedule(AioContext *ctx, Coroutine *co)
{
    g_return_if_fail(co != NULL);
    ctx = qio_loop_resolve(ctx, NULL);
    if (!ctx) {
        g_critical("coroutine %p cannot be scheduled: there is no main loop", (void *)co);
        return;
    }
    /* It usually schedules itself and then yields; another thread's loop must not enter it
     * before it has. */
    qio_coroutine_when_suspended(co, post_coroutine, qio_aio_context_ref(ctx));
}
