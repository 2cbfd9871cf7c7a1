/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/yield.c: coroutines that wait for a channel, and the seed's pair of loop handlers.
 *
 * Owns: the queues of waiting coroutines, one a direction, and the standing loop watch behind
 * each.  Rules: the first that came goes first; a waiter leaves its queue under the channel's
 * lock and is entered once, by whoever took it out; it queues first and looks for the watch then,
 * for the loop may be another thread's; the watch stays as long as somebody waits again at once,
 * and goes with the last, since it holds a reference on the channel.
 */
#include "channel/channel-priv.h"
#include "loop/coroutine-priv.h"

struct QIOYield {
    QIOYield *next;
    Coroutine *co;
    QIOChannel *ioc;
    int way;
    int reason;             /* a QIOErrorCode, 0 = go on */
};

static const GIOCondition way_condition[QIO_WAYS] = {
    [QIO_WAY_IN] = G_IO_IN,
    [QIO_WAY_OUT] = G_IO_OUT,
    [QIO_WAY_MORE] = QIO_CHANNEL_MORE,
};

static int way_of(GIOCondition condition)
{
    int way;

    for (way = 0; way < QIO_WAYS; way++) {
        if (way_condition[way] == condition) {
            return way;
        }
    }
    return -1;
}

static AioContext *context_of(QIOChannel *ioc)
{
    return ioc->ctx ? ioc->ctx : qio_get_main_aio_context();
}

/* ---- the queues; lock held ---- */

static void show_first(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOYield *reader = priv->yields[QIO_WAY_IN] ? priv->yields[QIO_WAY_IN]
                                                : priv->yields[QIO_WAY_MORE];

    ioc->read_coroutine = reader ? reader->co : NULL;
    ioc->write_coroutine = priv->yields[QIO_WAY_OUT] ? priv->yields[QIO_WAY_OUT]->co : NULL;
}

static void queue_add(QIOYield *yield)
{
    QIOYield **link = &qio_channel_priv(yield->ioc)->yields[yield->way];

    while (*link) {
        link = &(*link)->next;
    }
    *link = yield;
    show_first(yield->ioc);
}

static bool queue_remove(QIOYield *yield)
{
    QIOYield **link = &qio_channel_priv(yield->ioc)->yields[yield->way];

    while (*link && *link != yield) {
        link = &(*link)->next;
    }
    if (!*link) {
        return false;
    }
    *link = yield->next;
    show_first(yield->ioc);
    return true;
}

static QIOYield *queue_take_first(QIOChannel *ioc, int way, int reason)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOYield *yield;

    pthread_mutex_lock(&priv->lock);
    yield = priv->yields[way];
    if (yield) {
        priv->yields[way] = yield->next;
        yield->reason = reason;
        show_first(ioc);
    }
    pthread_mutex_unlock(&priv->lock);
    return yield;
}

/* Its thread may have queued it and not suspended it yet; who schedules it waits for that. */
static void enter_waiter(QIOChannel *ioc, Coroutine *co)
{
    if (!qio_coroutine_enter_suspended(co)) {
        qio_aio_co_schedule(context_of(ioc), co);
    }
}

/* ---- the standing watch ---- */

static void drop_yield_watch(QIOChannel *ioc, int way)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOLoopWatch *watch;

    pthread_mutex_lock(&priv->lock);
    watch = priv->yield_watch[way];
    priv->yield_watch[way] = NULL;
    pthread_mutex_unlock(&priv->lock);
    if (watch) {
        qio_loop_watch_remove(watch);
        qio_loop_watch_unref(watch);
    }
}

/*
 * Nobody waits: the watch goes.  Decided under the lock, in which a waiter queues itself before it
 * looks for the watch, so that none is left without one.  Returns whether it went.
 */
static bool drop_idle_watch(QIOChannel *ioc, int way)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOLoopWatch *watch = NULL;
    bool idle;

    pthread_mutex_lock(&priv->lock);
    /* Who is adding one looks again itself. */
    idle = priv->yields[way] == NULL && !priv->yield_adding[way];
    if (idle) {
        watch = priv->yield_watch[way];
        priv->yield_watch[way] = NULL;
    }
    pthread_mutex_unlock(&priv->lock);
    if (watch) {
        qio_loop_watch_remove(watch);
        qio_loop_watch_unref(watch);
    }
    return idle;
}

/* The watch has ended.  Who came since the queue was found empty, and saw a watch, has none now. */
static void end_yields(QIOChannel *ioc, int way)
{
    QIOYield *yield;

    drop_yield_watch(ioc, way);
    while ((yield = queue_take_first(ioc, way, QIO_ERROR_CANCELLED))) {
        qio_aio_co_schedule(context_of(ioc), yield->co);
    }
}

static gboolean on_yield_ready(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    int way = GPOINTER_TO_INT(data);
    bool closed = (condition & G_IO_NVAL) != 0;
    QIOYield *yield = queue_take_first(ioc, way, closed ? QIO_ERROR_CANCELLED : 0);

    while (yield) {
        enter_waiter(ioc, yield->co);
        yield = closed ? queue_take_first(ioc, way, QIO_ERROR_CANCELLED) : NULL;
    }
    if (closed) {
        end_yields(ioc, way);
        return FALSE;
    }
    return !drop_idle_watch(ioc, way);
}

/* Whether the caller is the one to add the watch. */
static bool claim_adding(QIOChannel *ioc, int way)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    bool claimed;

    pthread_mutex_lock(&priv->lock);
    claimed = !priv->yield_watch[way] && !priv->yield_adding[way];
    if (claimed) {
        priv->yield_adding[way] = true;
    }
    pthread_mutex_unlock(&priv->lock);
    return claimed;
}

/* The caller is in the queue already: what fires while the watch is added finds it there. */
static int need_yield_watch(QIOChannel *ioc, int way, Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOLoopWatch *watch;

    if (!claim_adding(ioc, way)) {
        return 0;
    }
    watch = qio_channel_add_aio_watch(ioc, context_of(ioc), way_condition[way], on_yield_ready,
                                      GINT_TO_POINTER(way), NULL, errp);
    pthread_mutex_lock(&priv->lock);
    priv->yield_watch[way] = watch;
    priv->yield_adding[way] = false;
    pthread_mutex_unlock(&priv->lock);
    if (!watch) {
        return -1;
    }
    if (qio_channel_closing(ioc)) {
        end_yields(ioc, way);       /* its last call may have come before it was known here */
    } else {
        drop_idle_watch(ioc, way);
    }
    return 0;
}

/* ---- waiting ---- */

static gboolean on_yield_deadline(void *opaque)
{
    QIOYield *yield = opaque;
    QIOChannelPrivate *priv = qio_channel_priv(yield->ioc);
    bool waiting;

    pthread_mutex_lock(&priv->lock);
    waiting = queue_remove(yield);
    pthread_mutex_unlock(&priv->lock);
    if (waiting) {
        QIOChannel *ioc = g_object_ref(yield->ioc);
        int way = yield->way;

        yield->reason = QIO_ERROR_TIMEOUT;
        enter_waiter(ioc, yield->co);
        drop_idle_watch(ioc, way);
        g_object_unref(ioc);
    }
    return FALSE;
}

static int yield_result(const QIOYield *yield, Error **errp)
{
    if (yield->reason == 0) {
        return 0;
    }
    qio_error_set(errp, (QIOErrorCode)yield->reason,
                  yield->reason == QIO_ERROR_TIMEOUT ? "the channel was not ready in time"
                  : yield->reason == QIO_ERROR_SYSTEM ? "the loop could not watch the channel"
                                                      : "waiting was cancelled");
    return -1;
}

/* Leaves the queue of who cannot be woken; false: somebody has taken it out. */
static bool give_up(QIOYield *yield)
{
    QIOChannelPrivate *priv = qio_channel_priv(yield->ioc);
    bool waiting;

    pthread_mutex_lock(&priv->lock);
    waiting = queue_remove(yield);
    pthread_mutex_unlock(&priv->lock);
    return waiting;
}

/* Others that relied on the watch which could not be added. */
static void fail_waiters(QIOChannel *ioc, int way)
{
    QIOYield *yield;

    while ((yield = queue_take_first(ioc, way, QIO_ERROR_SYSTEM))) {
        qio_aio_co_schedule(context_of(ioc), yield->co);
    }
}

int qio_channel_yield_deadline(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                               Error **errp)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOYield yield = { .co = qio_coroutine_self(), .ioc = ioc, .way = way_of(condition) };
    QIOLoopWatch *timer = NULL;
    Error *err = NULL;

    pthread_mutex_lock(&priv->lock);
    queue_add(&yield);
    pthread_mutex_unlock(&priv->lock);
    if (deadline_ns != QIO_NEVER) {
        timer = qio_aio_context_add_timer(context_of(ioc), sys_ms_left(deadline_ns), 0,
                                          on_yield_deadline, &yield, NULL, &err);
    }
    if (!err && need_yield_watch(ioc, yield.way, &err) < 0) {
        fail_waiters(ioc, yield.way);
    }
    if (!err || !give_up(&yield)) {
        qio_coroutine_yield();
    }
    if (timer) {
        qio_loop_watch_remove(timer);
        qio_loop_watch_unref(timer);
    }
    if (err) {
        qio_error_propagate(errp, err);
        return -1;
    }
    return yield_result(&yield, errp);
}

void qio_channel_yield(QIOChannel *ioc, GIOCondition condition)
{
    Error *err = NULL;

    if (!qio_in_coroutine() || way_of(condition) < 0) {
        g_critical("qio_channel_yield: call it in a coroutine, for exactly one of IN and OUT");
        return;
    }
    if (qio_channel_yield_deadline(ioc, condition, QIO_NEVER, &err) < 0 &&
        qio_error_get_code(err) == QIO_ERROR_NOTSUP) {
        g_critical("qio_channel_yield: %s", qio_error_get_pretty(err));
    }
    qio_error_free(err);
}

void qio_channel_cancel_yields(QIOChannel *ioc, GIOCondition condition)
{
    QIOYield *yield;
    int way;

    for (way = 0; way < QIO_WAYS; way++) {
        if (!(qio_channel_class_condition(way_condition[way]) &
              qio_channel_class_condition(condition))) {
            continue;
        }
        while ((yield = queue_take_first(ioc, way, QIO_ERROR_CANCELLED))) {
            /* Asked for here only: looking for it may make the main loop. */
            qio_aio_co_schedule(context_of(ioc), yield->co);
        }
        drop_yield_watch(ioc, way);
    }
}

/* ---- attach and detach ---- */

void qio_channel_free_yields(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    int way;

    for (way = 0; way < QIO_WAYS; way++) {
        drop_yield_watch(ioc, way);
        if (priv->handlers[way]) {
            qio_loop_watch_unref(priv->handlers[way]);
            priv->handlers[way] = NULL;
        }
    }
}

void qio_channel_attach_aio_context(QIOChannel *ioc, AioContext *ctx)
{
    AioContext *old = ioc->ctx;
    int way;

    if (ioc->read_coroutine || ioc->write_coroutine) {
        g_critical("qio_channel_attach_aio_context: a coroutine waits for the channel: detach "
                   "first");
        return;
    }
    for (way = 0; way < QIO_WAYS; way++) {
        drop_yield_watch(ioc, way);
    }
    ioc->ctx = ctx ? qio_aio_context_ref(ctx) : NULL;
    if (old) {
        qio_aio_context_unref(old);
    }
}

void qio_channel_detach_aio_context(QIOChannel *ioc)
{
    AioContext *old = ioc->ctx;
    int way;

    for (way = 0; way < QIO_WAYS; way++) {
        drop_yield_watch(ioc, way);
        while (queue_take_first(ioc, way, 0)) {
        }
    }
    ioc->ctx = NULL;
    if (old) {
        qio_aio_context_unref(old);
    }
}

/* ---- handlers ---- */

typedef struct Handler {
    IOHandler *func;
    void *opaque;
} Handler;

static gboolean on_handler_ready(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Handler *handler = data;

    handler->func(handler->opaque);
    return TRUE;
}

static void set_handler(QIOChannel *ioc, AioContext *ctx, int way, IOHandler *func, void *opaque)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOLoopWatch *watch = NULL, *old;
    Error *err = NULL;
    Handler *handler;

    if (func) {
        handler = g_new(Handler, 1);
        handler->func = func;
        handler->opaque = opaque;
        watch = qio_channel_add_aio_watch(ioc, ctx, way_condition[way], on_handler_ready, handler,
                                          g_free, &err);
        if (!watch) {
            g_critical("qio_channel_set_aio_fd_handler: %s", qio_error_get_pretty(err));
            qio_error_free(err);
        }
    }
    pthread_mutex_lock(&priv->lock);
    old = priv->handlers[way];
    priv->handlers[way] = watch;
    pthread_mutex_unlock(&priv->lock);
    if (old) {
        qio_loop_watch_remove(old);
        qio_loop_watch_unref(old);
    }
}

void qio_channel_set_aio_fd_handler(QIOChannel *ioc, AioContext *ctx, IOHandler *io_read,
                                    IOHandler *io_write, void *opaque)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (klass->io_set_aio_fd_handler) {
        klass->io_set_aio_fd_handler(ioc, ctx, io_read, io_write, opaque);
        return;
    }
    if (!klass->io_poll) {
        g_critical("a channel of type '%s' has no handlers to set", G_OBJECT_TYPE_NAME(ioc));
        return;
    }
    set_handler(ioc, ctx, QIO_WAY_IN, io_read, opaque);
    set_handler(ioc, ctx, QIO_WAY_OUT, io_write, opaque);
}
