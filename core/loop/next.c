/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/next.c: queued events, for programs that take no callbacks.
 *
 * Owns: qio_loop_next().
 * Rule: it calls no function and no destroy notify of a watch that has a function, apart from
 * the library's own (internal) watches, so that operations go on under it.  Readiness
 * of a descriptor is a level: what does not fit into the caller's array is reported later
 * only if a new look at epoll confirms it.  When more is ready than fits, those go first
 * whose last report is longest ago, so with room for one event the watches take turns.
 * What an event lends out (the watch, opaque) stays good until the next call.
 */
#include "loop/context.h"

static void remember(AioContext *ctx, QIOLoopWatch *watch)
{
    g_ptr_array_add(ctx->reported, watch);
}

/* Gives them back under the lock when that calls nobody, which is the usual case. */
static bool drop_quietly(GPtrArray *lent)
{
    for (guint i = 0; i < lent->len; i++) {
        if (((const QIOLoopWatch *)lent->pdata[i])->let_go) {
            return false;
        }
    }
    for (guint i = 0; i < lent->len; i++) {
        qio_loop_watch_unref(lent->pdata[i]);
    }
    lent->len = 0;
    return true;
}

void qio_loop_drop_reported(AioContext *ctx)
{
    GPtrArray *lent = ctx->reported;

    if (!lent->len || drop_quietly(lent)) {
        return;
    }
    ctx->reported = ctx->spare_reported ? ctx->spare_reported : g_ptr_array_new();
    ctx->spare_reported = NULL;
    pthread_mutex_unlock(&ctx->lock);
    for (guint i = 0; i < lent->len; i++) {
        QIOLoopWatch *watch = lent->pdata[i];
        GDestroyNotify destroy = watch->let_go ? watch->destroy : NULL;

        if (destroy) {
            watch->destroy = NULL;
            destroy(watch->opaque);
        }
        qio_loop_watch_unref(watch);
    }
    pthread_mutex_lock(&ctx->lock);
    /* One is kept: to make one for each turn costs more than the turn's own work. */
    if (ctx->spare_reported) {
        g_ptr_array_free(lent, TRUE);
        return;
    }
    lent->len = 0;
    ctx->spare_reported = lent;
}

static gint compare_reports(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const QIOLoopWatch *x = a, *y = b;

    return x->last_report < y->last_report ? -1 : x->last_report > y->last_report;
}

static int report_ready(AioContext *ctx, QIOLoopEvent *events, int cap)
{
    int n = 0;

    if ((int)ctx->ready_queued.length > cap) {
        g_queue_sort(&ctx->ready_queued, compare_reports, NULL);
    }
    for (guint left = ctx->ready_queued.length; left > 0 && n < cap; left--) {
        GList *node = ctx->ready_queued.head;

        if (!node) {
            break;
        }
        if (qio_loop_watch_report(node->data, &events[n])) {
            events[n].watch->last_report = ++ctx->last_report;
            remember(ctx, events[n].watch);
            n++;
        }
    }
    return n;
}

/* Before the ready ones: each watch has only one, so they cannot starve anything. */
static int report_released(AioContext *ctx, QIOLoopEvent *events, int cap)
{
    int n = 0;
    GList *node;

    while (n < cap && (node = g_queue_pop_head_link(&ctx->releases_queued))) {
        QIOLoopWatch *watch = node->data;

        watch->let_go = true;
        events[n++] = (QIOLoopEvent) {
            .kind = QIO_LOOP_RELEASED,
            .watch = watch,
            .opaque = watch->opaque,
        };
        remember(ctx, watch);   /* with the loop's reference */
    }
    return n;
}

static void show(AioContext *ctx, const QIOLoopEvent *events, int n, QIOLoopLookFunc *look,
                 void *opaque)
{
    if (n > 0 && look) {
        pthread_mutex_unlock(&ctx->lock);
        look(events, n, opaque);
        pthread_mutex_lock(&ctx->lock);
    }
}

int qio_loop_next(AioContext *ctx, QIOLoopEvent *events, int cap, int timeout_ms,
                  bool *callbacks_due, Error **errp)
{
    return qio_loop_next_look(ctx, events, cap, timeout_ms, callbacks_due, NULL, NULL, errp);
}

int qio_loop_next_look(AioContext *ctx, QIOLoopEvent *events, int cap, int timeout_ms,
                       bool *callbacks_due, QIOLoopLookFunc *look, void *opaque, Error **errp)
{
    QIOLoopHarvest harvest = { .puller = QIO_LOOP_FOR_NEXT };
    int64_t deadline_ns = qio_loop_deadline_ns(timeout_ms);
    int n = 0;

    *callbacks_due = false;
    if (cap < 1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "cap: %d events is no room for any", cap);
        return -1;
    }
    ctx = qio_loop_resolve(ctx, errp);
    if (!ctx || qio_loop_begin(ctx, errp) < 0) {
        return -1;
    }
    do {
        qio_loop_run_asks(ctx);
        if (qio_loop_harvest(ctx, deadline_ns, &harvest, errp) < 0) {
            n = -1;
            break;
        }
        qio_loop_run_asks(ctx);
        qio_loop_run_internals(ctx);
        n = report_released(ctx, events, cap);
        n += report_ready(ctx, events + n, cap - n);
        *callbacks_due = harvest.others || qio_loop_callbacks_due(ctx);
    } while (!n && !harvest.woken && !*callbacks_due && !qio_loop_is_past(deadline_ns));
    show(ctx, events, n, look, opaque);
    qio_loop_end(ctx);
    return n;
}
