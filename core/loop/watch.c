/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/watch.c: the life of a watch, from adding to letting go.
 *
 * Owns: QIOLoopWatch, the adders for descriptors and subjects, remove, end, kick.
 * Rule: a watch has one reference of the loop from new until it is let go, beside those of
 * its handles.  Removing unlinks it under the lock and returns at once.  What it leaves is
 * given up in two steps: the subject at once without the lock, or, when its function runs
 * just then, by the thread that runs it; opaque by a later dispatch, which is a clean stack.
 */
#include "loop/context.h"

G_STATIC_ASSERT((int)G_IO_IN == EPOLLIN && (int)G_IO_PRI == EPOLLPRI);
G_STATIC_ASSERT((int)G_IO_OUT == EPOLLOUT && (int)G_IO_ERR == EPOLLERR);
G_STATIC_ASSERT((int)G_IO_HUP == EPOLLHUP);

QIOLoopWatch *qio_loop_watch_new(AioContext *ctx, QIOLoopWatchKind kind, QIOLoopWay way,
                                 void *opaque, GDestroyNotify destroy, Error **errp)
{
    QIOLoopWatch *watch;

    ctx = qio_loop_resolve(ctx, errp);
    if (!ctx) {
        if (destroy) {
            destroy(opaque);
        }
        return NULL;
    }
    watch = g_new0(QIOLoopWatch, 1);
    atomic_init(&watch->refs, 2);
    atomic_fetch_add(&ctx->struct_refs, 1);
    watch->ctx = ctx;
    watch->kind = kind;
    watch->queued = way == QIO_LOOP_QUEUES;
    watch->internal = way == QIO_LOOP_INTERNAL;
    watch->opaque = opaque;
    watch->destroy = destroy;
    watch->heap_index = -1;
    watch->ready_node.data = watch;
    watch->ask_node.data = watch;
    watch->all_node.data = watch;
    return watch;
}

static GQueue *all_of(QIOLoopWatch *watch)
{
    return watch->internal ? &watch->ctx->internals : &watch->ctx->watches;
}

bool qio_loop_watch_enter(QIOLoopWatch *watch, bool ok, Error **errp)
{
    AioContext *ctx = watch->ctx;

    pthread_mutex_lock(&ctx->lock);
    if (ctx->closed) {
        if (ok) {
            qio_loop_set_closed_error(errp);
        }
        return false;
    }
    watch->last_report = ctx->last_report;
    g_queue_push_tail_link(all_of(watch), &watch->all_node);
    return ok;
}

QIOLoopWatch *qio_loop_watch_entered(QIOLoopWatch *watch, bool ok)
{
    AioContext *ctx = watch->ctx;

    if (ok) {
        if (watch->internal) {
            qio_loop_wake_helper(ctx);
        }
        pthread_mutex_unlock(&ctx->lock);
        return watch;
    }
    if (ctx->closed) {
        /* No later dispatch: what the caller handed over goes here. */
        atomic_store(&watch->removed, true);
        pthread_mutex_unlock(&ctx->lock);
        if (watch->destroy) {
            watch->destroy(watch->opaque);
        }
        qio_loop_watch_drop(watch);
    } else {
        qio_loop_watch_remove_relock(watch);
        pthread_mutex_unlock(&ctx->lock);
    }
    qio_loop_watch_unref(watch);
    return NULL;
}

QIOLoopWatch *qio_loop_watch_ref(QIOLoopWatch *watch)
{
    g_return_val_if_fail(watch != NULL, NULL);
    atomic_fetch_add(&watch->refs, 1);
    return watch;
}

void qio_loop_watch_unref(QIOLoopWatch *watch)
{
    if (!watch || atomic_fetch_sub(&watch->refs, 1) != 1) {
        return;
    }
    qio_loop_struct_unref(watch->ctx);
    g_free(watch);
}

bool qio_loop_watch_is_removed(QIOLoopWatch *watch)
{
    return atomic_load(&watch->removed);
}

/* ---- adding ---- */

static bool check_condition(GIOCondition condition, Error **errp)
{
    if (!condition || condition & ~QIO_LOOP_ASKABLE) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "condition: 0x%x is not made of IN (1), PRI (2), OUT (4), ERR (8) and "
                      "HUP (16)", (unsigned int)condition);
        return false;
    }
    return true;
}

static bool add_link(QIOLoopWatch *watch, int fd, GIOCondition events, Error **errp)
{
    if (qio_loop_link_add(watch, fd, events) < 0) {
        qio_error_set_errno(errp, errno, "fd: cannot watch descriptor %d", fd);
        return false;
    }
    return true;
}

static QIOLoopWatch *add_fd(AioContext *ctx, int fd, GIOCondition condition, QIOFdFunc func,
                            QIOLoopWay way, void *opaque, GDestroyNotify destroy, Error **errp)
{
    QIOLoopWatch *watch = qio_loop_watch_new(ctx, QIO_LOOP_WATCH_FD, way, opaque, destroy, errp);
    bool ok = false;

    if (!watch) {
        return NULL;
    }
    watch->func.fd = func;
    watch->condition = condition;
    if (way != QIO_LOOP_QUEUES && !func) {
        qio_error_set(errp, QIO_ERROR_INVAL, "func: a watch needs a function");
    } else if (fd < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fd: %d is not a descriptor", fd);
    } else {
        ok = check_condition(condition, errp);
    }
    ok = qio_loop_watch_enter(watch, ok, errp) && add_link(watch, fd, condition, errp);
    if (ok) {
        qio_loop_watch_push_always(watch);
    }
    return qio_loop_watch_entered(watch, ok);
}

QIOLoopWatch *qio_aio_context_add_fd_watch(AioContext *ctx, int fd, GIOCondition condition,
                                           QIOFdFunc func, void *opaque, GDestroyNotify destroy,
                                           Error **errp)
{
    return add_fd(ctx, fd, condition, func, QIO_LOOP_CALLS, opaque, destroy, errp);
}

QIOLoopWatch *qio_loop_add_fd_queued(AioContext *ctx, int fd, GIOCondition condition,
                                     void *opaque, GDestroyNotify destroy, Error **errp)
{
    return add_fd(ctx, fd, condition, NULL, QIO_LOOP_QUEUES, opaque, destroy, errp);
}

QIOLoopWatch *qio_loop_add_internal_fd(AioContext *ctx, int fd, GIOCondition condition,
                                       QIOFdFunc func, void *opaque, GDestroyNotify destroy,
                                       Error **errp)
{
    return add_fd(ctx, fd, condition, func, QIO_LOOP_INTERNAL, opaque, destroy, errp);
}

/* A direct subject's descriptors are known now and for good; the others' only after they
 * were asked to advance, which is for the dispatching thread. */
static bool start_subject(QIOLoopWatch *watch, const QIOPollFd *fds, int n, Error **errp)
{
    for (int i = 0; i < n; i++) {
        if (!add_link(watch, fds[i].fd, fds[i].events, errp)) {
            return false;
        }
    }
    qio_loop_watch_push_always(watch);
    if (watch->ops->advance || !watch->ops->direct) {
        qio_loop_watch_push_ask(watch);
    }
    return true;
}

static QIOLoopWatch *add_subject(AioContext *ctx, void *subject, const QIOLoopSubjectOps *ops,
                                 GIOCondition condition, QIOSubjectFunc func, QIOLoopWay way,
                                 void *opaque, GDestroyNotify destroy, Error **errp)
{
    QIOLoopWatch *watch = qio_loop_watch_new(ctx, QIO_LOOP_WATCH_SUBJECT, way, opaque, destroy,
                                             errp);
    QIOPollFd fds[QIO_POLL_MAX];
    int n = 0;
    bool ok;

    if (!watch) {
        return NULL;
    }
    watch->func.subject = func;
    watch->condition = condition;
    watch->subject = subject;
    watch->ops = ops;
    ops->ref(subject);
    /* What its bits mean is between whoever adds the watch and the subject. */
    ok = condition != 0;
    if (!ok) {
        qio_error_set(errp, QIO_ERROR_INVAL, "condition: 0 waits for nothing");
    } else if (ops->direct) {
        n = ops->poll(subject, condition, fds, QIO_POLL_MAX);
        n = MIN(n, QIO_POLL_MAX);
    }
    ok = qio_loop_watch_enter(watch, ok, errp) && start_subject(watch, fds, n, errp);
    return qio_loop_watch_entered(watch, ok);
}

QIOLoopWatch *qio_loop_add_subject(AioContext *ctx, void *subject, const QIOLoopSubjectOps *ops,
                                   GIOCondition condition, QIOSubjectFunc func, void *opaque,
                                   GDestroyNotify destroy, Error **errp)
{
    return add_subject(ctx, subject, ops, condition, func,
                       func ? QIO_LOOP_CALLS : QIO_LOOP_QUEUES, opaque, destroy, errp);
}

QIOLoopWatch *qio_loop_add_internal_subject(AioContext *ctx, void *subject,
                                            const QIOLoopSubjectOps *ops,
                                            GIOCondition condition, QIOSubjectFunc func,
                                            void *opaque, GDestroyNotify destroy, Error **errp)
{
    return add_subject(ctx, subject, ops, condition, func, QIO_LOOP_INTERNAL, opaque, destroy,
                       errp);
}

/* ---- letting go ---- */

void qio_loop_watch_retire(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    if (watch->destroy || watch->queued) {
        /* The loop's reference goes along; drop gets one of its own. */
        qio_loop_watch_ref(watch);
        g_queue_push_tail_link(watch->queued ? &ctx->releases_queued :
                               watch->internal ? &ctx->releases_internal : &ctx->releases,
                               &watch->ready_node);
        qio_loop_signal_for(watch);
    }
}

void qio_loop_watch_drop(QIOLoopWatch *watch)
{
    if (watch->ops) {
        watch->ops->unref(watch->subject);
    }
    qio_loop_watch_unref(watch);
}

bool qio_loop_watch_remove_locked(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    if (watch->removed) {
        return false;
    }
    atomic_store(&watch->removed, true);
    g_queue_unlink(all_of(watch), &watch->all_node);
    qio_loop_watch_unpush(watch);
    if (watch->asking) {
        watch->asking = false;
        g_queue_unlink(watch->internal ? &ctx->asks_internal : &ctx->asks, &watch->ask_node);
    }
    qio_loop_timer_stop(watch);
    /* Only what belongs to a subject tells when its descriptor closes (qio_loop_forget_fd),
     * and only a direct one names its own. */
    qio_loop_links_drop(watch, watch->ops && watch->ops->direct);
    if (watch->internal) {
        qio_loop_wake_helper(ctx);
    }
    if (watch->running) {
        return false;
    }
    qio_loop_watch_retire(watch);
    return true;
}

void qio_loop_watch_remove_relock(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    if (qio_loop_watch_remove_locked(watch)) {
        pthread_mutex_unlock(&ctx->lock);
        qio_loop_watch_drop(watch);
        pthread_mutex_lock(&ctx->lock);
    }
}

void qio_loop_watch_remove(QIOLoopWatch *watch)
{
    AioContext *ctx;
    bool drop;

    g_return_if_fail(watch != NULL);
    ctx = watch->ctx;
    pthread_mutex_lock(&ctx->lock);
    drop = qio_loop_watch_remove_locked(watch);
    pthread_mutex_unlock(&ctx->lock);
    if (drop) {
        qio_loop_watch_drop(watch);
    }
}

bool qio_loop_watch_withdraw(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;
    bool there, drop = false;

    pthread_mutex_lock(&ctx->lock);
    there = !watch->removed;
    if (there) {
        qio_loop_watch_unpush(watch);
        watch->queued = false;
        drop = qio_loop_watch_remove_locked(watch);
    }
    pthread_mutex_unlock(&ctx->lock);
    if (drop) {
        qio_loop_watch_drop(watch);
    }
    return there;
}

void qio_loop_watch_end_locked(QIOLoopWatch *watch)
{
    if (watch->removed || watch->ended) {
        return;
    }
    watch->ended = true;
    qio_loop_links_drop(watch, false);
    watch->soft = false;
    watch->harvested = 0;
    watch->standing = watch->condition | G_IO_NVAL;
    /* Off the list of this turn, if it is on it: the last call stands alone. */
    qio_loop_watch_unpush(watch);
    if (!watch->running) {
        qio_loop_watch_push(watch);
    }
}

void qio_loop_watch_end(QIOLoopWatch *watch)
{
    g_return_if_fail(watch != NULL);
    pthread_mutex_lock(&watch->ctx->lock);
    qio_loop_watch_end_locked(watch);
    pthread_mutex_unlock(&watch->ctx->lock);
}

void qio_loop_watch_kick(QIOLoopWatch *watch)
{
    g_return_if_fail(watch != NULL);
    if (!watch->ops) {
        return;
    }
    pthread_mutex_lock(&watch->ctx->lock);
    qio_loop_watch_push_ask(watch);
    pthread_mutex_unlock(&watch->ctx->lock);
}

void qio_loop_watch_kick_other(QIOLoopWatch *watch)
{
    AioContext *ctx = watch->ctx;

    pthread_mutex_lock(&ctx->lock);
    if (watch->ops && !(watch->running && qio_loop_is_dispatching(ctx))) {
        qio_loop_watch_push_ask(watch);
    }
    pthread_mutex_unlock(&ctx->lock);
}
