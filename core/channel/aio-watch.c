/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/aio-watch.c: watches on a channel in a loop (AioContext).
 *
 * Owns: QIOChannelAioWatch, the subject that the loop asks how a channel is waited for, and the
 * channel's list of them, by which close and notify reach the loop.
 * Rules: the list is under the channel's lock, which is never held while the loop is called; a
 * watch holds a reference on its channel until the loop lets go of it.  A class written from the
 * seed alone is watched through its io_set_aio_fd_handler, whose handlers mark it ready.
 */
#include "channel/layer.h"

struct QIOChannelAioWatch {
    _Atomic int refs;           /* the loop's subject, the loop's opaque, the maker */
    QIOChannel *ioc;
    QIOChannelFunc func;
    gpointer data;
    GDestroyNotify notify;
    const QIOStepOps *steps;    /* set when it takes the steps of an operation instead */
    AioContext *seed_ctx;       /* set when the class's own handlers feed it */
    _Atomic int seed_ready;
    QIOLoopWatch *watch;        /* NULL until it is in the list; the list's reference */
    bool ended;
    bool gone;                  /* the loop has let go of it */
    QIOChannelAioWatch *next, **pprev;
};

static QIOChannelAioWatch *wrap_ref(QIOChannelAioWatch *wrap)
{
    atomic_fetch_add(&wrap->refs, 1);
    return wrap;
}

static void unlink_wrap(QIOChannelAioWatch *wrap)
{
    QIOChannelPrivate *priv = qio_channel_priv(wrap->ioc);

    pthread_mutex_lock(&priv->lock);
    wrap->gone = true;
    if (wrap->pprev) {
        *wrap->pprev = wrap->next;
        if (wrap->next) {
            wrap->next->pprev = wrap->pprev;
        }
        wrap->pprev = NULL;
    }
    pthread_mutex_unlock(&priv->lock);
}

static void wrap_unref(QIOChannelAioWatch *wrap)
{
    if (atomic_fetch_sub(&wrap->refs, 1) != 1) {
        return;
    }
    if (wrap->watch) {
        qio_loop_watch_unref(wrap->watch);
    }
    if (wrap->seed_ctx) {
        qio_aio_context_unref(wrap->seed_ctx);
    }
    g_object_unref(wrap->ioc);
    g_free(wrap);
}

/* ---- the subject ---- */

static GIOCondition subject_advance(void *subject, GIOCondition wanted)
{
    QIOChannelAioWatch *wrap = subject;
    GIOCondition ready = 0;

    if (wrap->steps) {
        wrap->steps->advance(wrap->ioc, wrap->data);
        return 0;
    }
    if (!wrap->seed_ctx) {
        return qio_channel_soft_ready(wrap->ioc, wanted);
    }
    if ((wanted & G_IO_IN) && qio_readahead_ready(wrap->ioc)) {
        ready = G_IO_IN;
    }
    return ready |
           qio_channel_report(wanted, (GIOCondition)atomic_exchange(&wrap->seed_ready, 0));
}

static int subject_poll(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    QIOChannelAioWatch *wrap = subject;

    if (wrap->steps) {
        return wrap->steps->poll(wrap->ioc, wrap->data, out, cap);
    }
    if (wrap->seed_ctx) {
        return 0;
    }
    return qio_channel_class(wrap->ioc)->io_poll(wrap->ioc, qio_channel_class_condition(wanted),
                                                 out, cap);
}

/* Nothing was ever read ahead, and the class has nothing of its own to look at. */
static bool subject_still(void *subject)
{
    const QIOChannelAioWatch *wrap = subject;

    return !wrap->steps && !wrap->seed_ctx && !qio_channel_class(wrap->ioc)->io_advance &&
           !atomic_load(&qio_channel_priv(wrap->ioc)->ahead);
}

static void subject_ref(void *subject)
{
    wrap_ref(subject);
}

static void subject_unref(void *subject)
{
    QIOChannelAioWatch *wrap = subject;

    unlink_wrap(wrap);
    if (wrap->seed_ctx) {
        qio_channel_class(wrap->ioc)->io_set_aio_fd_handler(wrap->ioc, wrap->seed_ctx, NULL, NULL,
                                                            NULL);
        qio_aio_context_unref(g_steal_pointer(&wrap->seed_ctx));
    }
    wrap_unref(wrap);
}

/* Two tables, since the loop looks at `direct` of the table: sockets' events speak for
 * themselves, a layer's only mean that it must be asked. */
static const QIOLoopSubjectOps direct_ops = {
    .advance = subject_advance, .poll = subject_poll, .direct = true, .still = subject_still,
    .ref = subject_ref, .unref = subject_unref,
};
static const QIOLoopSubjectOps layered_ops = {
    .advance = subject_advance, .poll = subject_poll, .direct = false,
    .ref = subject_ref, .unref = subject_unref,
};

/* ---- a class with the seed's handlers only ---- */

static void seed_mark(QIOChannelAioWatch *wrap, GIOCondition condition)
{
    QIOChannelPrivate *priv = qio_channel_priv(wrap->ioc);
    QIOLoopWatch *watch;

    atomic_fetch_or(&wrap->seed_ready, (int)condition);
    pthread_mutex_lock(&priv->lock);
    watch = wrap->watch ? qio_loop_watch_ref(wrap->watch) : NULL;
    pthread_mutex_unlock(&priv->lock);
    if (watch) {
        qio_loop_watch_kick(watch);
        qio_loop_watch_unref(watch);
    }
}

static void seed_readable(void *opaque)
{
    seed_mark(opaque, G_IO_IN);
}

static void seed_writable(void *opaque)
{
    seed_mark(opaque, G_IO_OUT);
}

static void seed_start(QIOChannelAioWatch *wrap, GIOCondition condition)
{
    GIOCondition wanted = qio_channel_class_condition(condition);

    qio_channel_class(wrap->ioc)->io_set_aio_fd_handler(
        wrap->ioc, wrap->seed_ctx, wanted & G_IO_IN ? seed_readable : NULL,
        wanted & G_IO_OUT ? seed_writable : NULL, wrap);
}

/* ---- making ---- */

static gboolean call_func(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    QIOChannelAioWatch *wrap = opaque;

    return wrap->func(wrap->ioc, condition, wrap->data);
}

/* A step tells its task itself: only the end of the watch comes here. */
static gboolean call_closed(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    QIOChannelAioWatch *wrap = opaque;

    wrap->steps->closed(wrap->ioc, wrap->data);
    return FALSE;
}

static void call_notify(void *opaque)
{
    QIOChannelAioWatch *wrap = opaque;

    if (wrap->notify) {
        wrap->notify(wrap->data);
    }
    wrap_unref(wrap);
}

static int check_watch(QIOChannel *ioc, AioContext *ctx, GIOCondition condition, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (!qio_channel_class_condition(condition)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "condition: 0x%x; watch for IN (1), OUT (4) or both",
                      (unsigned)condition);
        return -1;
    }
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (!klass->io_poll && !klass->io_set_aio_fd_handler) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "a channel of type '%s' has neither io_poll nor io_set_aio_fd_handler: it "
                      "cannot be watched in a loop", G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    if (!ctx) {
        qio_error_set(errp, QIO_ERROR_SYSTEM, "there is no main loop: out of descriptors");
        return -1;
    }
    return 0;
}

/* Puts the watch where close and notify find it.  The loop may be another thread's: a watch that it
 * has let go of already stays out, one that was closed meanwhile ends at once, and one that has
 * looked already looks again, since a notify in between did not find it. */
static void link_wrap(QIOChannelAioWatch *wrap, QIOLoopWatch *watch)
{
    QIOChannelPrivate *priv = qio_channel_priv(wrap->ioc);
    bool closing;

    pthread_mutex_lock(&priv->lock);
    wrap->watch = qio_loop_watch_ref(watch);
    if (wrap->gone) {
        pthread_mutex_unlock(&priv->lock);
        return;
    }
    wrap->next = priv->aio_watches;
    wrap->pprev = &priv->aio_watches;
    if (wrap->next) {
        wrap->next->pprev = &wrap->next;
    }
    priv->aio_watches = wrap;
    closing = qio_channel_closing(wrap->ioc);
    pthread_mutex_unlock(&priv->lock);
    if (closing) {
        qio_loop_watch_end(watch);
    } else {
        qio_loop_watch_kick(watch);
    }
}

static QIOChannelAioWatch *wrap_new(QIOChannel *ioc, AioContext *ctx)
{
    QIOChannelAioWatch *wrap = g_new0(QIOChannelAioWatch, 1);

    atomic_init(&wrap->refs, 1);
    wrap->ioc = g_object_ref(ioc);
    if (!qio_channel_class(ioc)->io_poll) {
        wrap->seed_ctx = qio_aio_context_ref(ctx);
    }
    return wrap;
}

static QIOLoopWatch *wrap_add(QIOChannelAioWatch *wrap, AioContext *ctx, GIOCondition condition,
                              QIOSubjectFunc func, void *opaque, GDestroyNotify destroy,
                              Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(wrap->ioc);
    bool direct = klass->io_poll && qio_channel_direct(wrap->ioc);
    QIOLoopWatch *watch;

    /* First the handlers, which the loop's letting go takes away again. */
    if (wrap->seed_ctx) {
        seed_start(wrap, condition);
    }
    watch = qio_loop_add_subject(ctx, wrap, direct ? &direct_ops : &layered_ops, condition, func,
                                 opaque, destroy, errp);
    if (watch) {
        link_wrap(wrap, watch);
    }
    wrap_unref(wrap);
    return watch;
}

QIOLoopWatch *qio_channel_add_aio_watch(QIOChannel *ioc, AioContext *ctx, GIOCondition condition,
                                        QIOChannelFunc func, gpointer user_data,
                                        GDestroyNotify notify, Error **errp)
{
    QIOChannelAioWatch *wrap;

    ctx = ctx ? ctx : qio_get_main_aio_context();
    if (check_watch(ioc, ctx, condition, errp) < 0) {
        if (notify) {
            notify(user_data);
        }
        return NULL;
    }
    wrap = wrap_new(ioc, ctx);
    if (!func) {
        return wrap_add(wrap, ctx, condition, NULL, user_data, notify, errp);
    }
    wrap->func = func;
    wrap->data = user_data;
    wrap->notify = notify;
    return wrap_add(wrap, ctx, condition, call_func, wrap_ref(wrap), call_notify, errp);
}

QIOLoopWatch *qio_channel_add_steps(QIOChannel *ioc, AioContext *ctx, const QIOStepOps *ops,
                                    gpointer opaque, GDestroyNotify destroy, Error **errp)
{
    QIOChannelAioWatch *wrap;
    QIOLoopWatch *watch;

    ctx = ctx ? ctx : qio_get_main_aio_context();
    if (check_watch(ioc, ctx, G_IO_IN, errp) < 0) {
        if (destroy) {
            destroy(opaque);
        }
        return NULL;
    }
    wrap = wrap_new(ioc, ctx);
    wrap->steps = ops;
    wrap->data = opaque;
    wrap->notify = destroy;
    watch = qio_loop_add_internal_subject(ctx, wrap, &layered_ops, G_IO_IN, call_closed,
                                          wrap_ref(wrap), call_notify, errp);
    if (watch) {
        link_wrap(wrap, watch);
    }
    wrap_unref(wrap);
    return watch;
}

/* ---- what close and notify do ---- */

/* The next watch of the list that has not been ended, referenced. */
static QIOLoopWatch *take_unended(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelAioWatch *wrap;
    QIOLoopWatch *watch = NULL;

    pthread_mutex_lock(&priv->lock);
    for (wrap = priv->aio_watches; wrap; wrap = wrap->next) {
        if (!wrap->ended) {
            wrap->ended = true;
            watch = qio_loop_watch_ref(wrap->watch);
            break;
        }
    }
    pthread_mutex_unlock(&priv->lock);
    return watch;
}

void qio_channel_end_aio_watches(QIOChannel *ioc)
{
    QIOLoopWatch *watch;

    while ((watch = take_unended(ioc))) {
        qio_loop_watch_end(watch);
        qio_loop_watch_unref(watch);
    }
}

static GPtrArray *take_all(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    GPtrArray *watches = NULL;
    QIOChannelAioWatch *wrap;

    pthread_mutex_lock(&priv->lock);
    for (wrap = priv->aio_watches; wrap; wrap = wrap->next) {
        if (!watches) {
            watches = g_ptr_array_new();
        }
        g_ptr_array_add(watches, qio_loop_watch_ref(wrap->watch));
    }
    pthread_mutex_unlock(&priv->lock);
    return watches;
}

static void kick_aio_watches(QIOChannel *ioc, void (*kick)(QIOLoopWatch *))
{
    GPtrArray *watches = take_all(ioc);
    guint i;

    for (i = 0; watches && i < watches->len; i++) {
        kick(watches->pdata[i]);
        qio_loop_watch_unref(watches->pdata[i]);
    }
    if (watches) {
        g_ptr_array_free(watches, TRUE);
    }
}

/* Those that are woken by a look at them: watches, and the layer above. */
static void kick_watches(QIOChannel *ioc)
{
    QIOChannel *layer;

    kick_aio_watches(ioc, qio_loop_watch_kick);
    qio_channel_kick_sources(ioc);
    layer = qio_layer_above(ioc);
    if (layer) {
        qio_channel_kick(layer);
        g_object_unref(layer);
    }
}

void qio_channel_notify(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    pthread_mutex_lock(&priv->lock);
    qio_channel_wake_waiters(ioc, condition, 0);
    pthread_mutex_unlock(&priv->lock);
    kick_watches(ioc);
}

void qio_channel_kick(QIOChannel *ioc)
{
    qio_channel_notify(ioc, G_IO_IN | G_IO_OUT);
}

void qio_channel_kick_others(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannel *layer;

    pthread_mutex_lock(&priv->lock);
    qio_channel_wake_other_waiters(ioc);
    pthread_mutex_unlock(&priv->lock);
    kick_aio_watches(ioc, qio_loop_watch_kick_other);
    qio_channel_kick_other_sources(ioc);
    layer = qio_layer_above(ioc);
    if (layer) {
        qio_channel_kick_others(layer);
        g_object_unref(layer);
    }
}
