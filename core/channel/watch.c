/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/watch.c: watches for GLib's main loop.
 *
 * Owns: QIOChannelSource, the GSource that stands for {advance; poll what io_poll names} of one
 * channel and condition, and the seed's add_watch functions.
 * Rules: level-triggered: it fires while a transfer would not block, or the peer is gone.  A
 * class whose descriptors tell it all has its source polled by GLib alone: prepare and check are
 * cheap.  Close marks each source; it calls once more, with G_IO_NVAL, and is gone.  A source
 * belongs to its context's thread; only the list and the mark are shared, under the channel's
 * lock.
 */
#include "channel/channel-priv.h"

typedef struct SourceFd {
    int fd;
    gpointer tag;
} SourceFd;

struct QIOChannelSource {
    GSource parent;
    QIOChannel *ioc;
    GIOCondition condition;
    GIOCondition ready;             /* found in software by prepare */
    SourceFd fds[QIO_POLL_MAX];
    int nfds;
    bool direct;                    /* the descriptors tell it all, and never change */
    _Atomic bool ended;
    _Atomic bool kicked;            /* its ready time was set to make its context look again */
    _Atomic pthread_t inside;       /* the thread that looks, or calls its function; 0 */
    QIOChannelSource *next, **pprev;
};

/* ---- descriptors ---- */

/* Follows what the class names now; a layer may want to write in order to read. */
static void source_update_fds(QIOChannelSource *source)
{
    QIOPollFd named[QIO_POLL_MAX];
    int n = qio_channel_class(source->ioc)->io_poll(
        source->ioc, qio_channel_class_condition(source->condition), named, QIO_POLL_MAX);
    int i;

    for (i = 0; i < n && i < source->nfds && named[i].fd == source->fds[i].fd; i++) {
        g_source_modify_unix_fd(&source->parent, source->fds[i].tag, named[i].events);
    }
    while (source->nfds > i) {
        source->nfds--;
        g_source_remove_unix_fd(&source->parent, source->fds[source->nfds].tag);
    }
    for (; i < n; i++) {
        source->fds[i].fd = named[i].fd;
        source->fds[i].tag = g_source_add_unix_fd(&source->parent, named[i].fd, named[i].events);
        source->nfds = i + 1;
    }
}

static void source_drop_fds(QIOChannelSource *source)
{
    while (source->nfds > 0) {
        source->nfds--;
        g_source_remove_unix_fd(&source->parent, source->fds[source->nfds].tag);
    }
}

static GIOCondition source_fired(QIOChannelSource *source)
{
    GIOCondition ready = 0;
    int i;

    for (i = 0; i < source->nfds; i++) {
        ready |= g_source_query_unix_fd(&source->parent, source->fds[i].tag);
    }
    return qio_channel_report(source->condition, ready);
}

/* ---- the source ---- */

/* Under the lock: a kick that comes meanwhile either is undone with its mark or not at all, and a
 * ready time without a mark would keep the context awake for good. */
static void source_take_kick(QIOChannelSource *source)
{
    QIOChannelPrivate *priv = qio_channel_priv(source->ioc);

    pthread_mutex_lock(&priv->lock);
    atomic_store_explicit(&source->kicked, false, memory_order_relaxed);
    if (!atomic_load_explicit(&source->ended, memory_order_relaxed)) {
        g_source_set_ready_time(&source->parent, -1);
    }
    pthread_mutex_unlock(&priv->lock);
}

static void set_inside(QIOChannelSource *source, pthread_t thread)
{
    atomic_store_explicit(&source->inside, thread, memory_order_relaxed);
}

static GIOCondition source_soft_ready(QIOChannelSource *source)
{
    GIOCondition ready;

    set_inside(source, pthread_self());
    ready = qio_channel_soft_ready(source->ioc, source->condition);
    set_inside(source, (pthread_t)0);
    return ready;
}

static gboolean source_prepare(GSource *gsource, gint *timeout)
{
    QIOChannelSource *source = (QIOChannelSource *)gsource;

    *timeout = -1;
    if (atomic_load_explicit(&source->ended, memory_order_acquire)) {
        return TRUE;
    }
    if (atomic_load_explicit(&source->kicked, memory_order_relaxed)) {
        source_take_kick(source);
    }
    source->ready = source_soft_ready(source);
    if (source->ready) {
        return TRUE;
    }
    if (!source->direct) {
        source_update_fds(source);
    }
    return FALSE;
}

static gboolean source_check(GSource *gsource)
{
    QIOChannelSource *source = (QIOChannelSource *)gsource;

    if (atomic_load_explicit(&source->ended, memory_order_acquire)) {
        return TRUE;
    }
    source->ready |= source->direct ? source_fired(source)
                                    : source_soft_ready(source);
    return source->ready != 0;
}

static gboolean source_dispatch(GSource *gsource, GSourceFunc callback, gpointer data)
{
    QIOChannelSource *source = (QIOChannelSource *)gsource;
    QIOChannelFunc func = (QIOChannelFunc)(void (*)(void))callback;
    bool ended = atomic_load_explicit(&source->ended, memory_order_acquire);
    GIOCondition ready = ended ? source->condition | G_IO_NVAL : source->ready;
    gboolean keep;

    source->ready = 0;
    if (!ended && !ready) {
        return G_SOURCE_CONTINUE;       /* kicked while its context slept: prepare looks */
    }
    if (ended) {
        source_drop_fds(source);
    }
    if (!func) {
        g_warning("watch on channel '%s' was dispatched without a callback",
                  source->ioc->name ? source->ioc->name : "");
        return G_SOURCE_REMOVE;
    }
    set_inside(source, pthread_self());
    keep = func(source->ioc, ready, data);
    set_inside(source, (pthread_t)0);
    return keep && !ended;
}

static void source_finalize(GSource *gsource)
{
    QIOChannelSource *source = (QIOChannelSource *)gsource;
    QIOChannelPrivate *priv = qio_channel_priv(source->ioc);

    pthread_mutex_lock(&priv->lock);
    *source->pprev = source->next;
    if (source->next) {
        source->next->pprev = source->pprev;
    }
    pthread_mutex_unlock(&priv->lock);
    g_object_unref(source->ioc);
}

static GSourceFuncs source_funcs = {
    .prepare = source_prepare,
    .check = source_check,
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

static GSource *source_new(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    GSource *gsource = g_source_new(&source_funcs, sizeof(QIOChannelSource));
    QIOChannelSource *source = (QIOChannelSource *)gsource;

    source->ioc = g_object_ref(ioc);
    source->condition = condition;
    source->direct = qio_channel_direct(ioc);
    pthread_mutex_lock(&priv->lock);
    source->next = priv->sources;
    source->pprev = &priv->sources;
    if (source->next) {
        source->next->pprev = &source->next;
    }
    priv->sources = source;
    atomic_init(&source->ended, qio_channel_closing(ioc));
    if (ioc->name) {
        g_source_set_name(gsource, ioc->name);
    }
    pthread_mutex_unlock(&priv->lock);
    if (source->direct && !source->ended) {
        source_update_fds(source);
    }
    return gsource;
}

void qio_channel_end_sources(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelSource *source;

    pthread_mutex_lock(&priv->lock);
    for (source = priv->sources; source; source = source->next) {
        atomic_store_explicit(&source->ended, true, memory_order_release);
        /* Due at once; also wakes the context's thread. */
        g_source_set_ready_time(&source->parent, 0);
    }
    pthread_mutex_unlock(&priv->lock);
}

void qio_channel_kick_sources(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelSource *source;

    pthread_mutex_lock(&priv->lock);
    for (source = priv->sources; source; source = source->next) {
        atomic_store_explicit(&source->kicked, true, memory_order_relaxed);
        g_source_set_ready_time(&source->parent, 0);
    }
    pthread_mutex_unlock(&priv->lock);
}

/* One that this thread is in is prepared before its context sleeps. */
void qio_channel_kick_other_sources(QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOChannelSource *source;

    pthread_mutex_lock(&priv->lock);
    for (source = priv->sources; source; source = source->next) {
        if (!pthread_equal(atomic_load_explicit(&source->inside, memory_order_relaxed),
                           pthread_self())) {
            atomic_store_explicit(&source->kicked, true, memory_order_relaxed);
            g_source_set_ready_time(&source->parent, 0);
        }
    }
    pthread_mutex_unlock(&priv->lock);
}

/* ---- the seed's functions ---- */

GSource *qio_channel_create_watch(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    GSource *source;

    if (klass->io_create_watch) {
        source = klass->io_create_watch(ioc, condition);
        if (source && ioc->name) {
            g_source_set_name(source, ioc->name);
        }
        return source;
    }
    if (!klass->io_poll) {
        g_critical("a channel of type '%s' cannot be watched", G_OBJECT_TYPE_NAME(ioc));
        return NULL;
    }
    return source_new(ioc, condition);
}

GSource *qio_channel_add_watch_source(QIOChannel *ioc, GIOCondition condition,
                                      QIOChannelFunc func, gpointer user_data,
                                      GDestroyNotify notify, GMainContext *context)
{
    GSource *source = qio_channel_create_watch(ioc, condition);

    if (!source) {
        if (notify) {
            notify(user_data);
        }
        return NULL;
    }
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))func, user_data, notify);
    g_source_attach(source, context);
    return source;
}

guint qio_channel_add_watch_full(QIOChannel *ioc, GIOCondition condition, QIOChannelFunc func,
                                 gpointer user_data, GDestroyNotify notify,
                                 GMainContext *context)
{
    GSource *source = qio_channel_add_watch_source(ioc, condition, func, user_data, notify,
                                                   context);
    guint id;

    if (!source) {
        return 0;
    }
    id = g_source_get_id(source);
    g_source_unref(source);
    return id;
}

guint qio_channel_add_watch(QIOChannel *ioc, GIOCondition condition, QIOChannelFunc func,
                            gpointer user_data, GDestroyNotify notify)
{
    return qio_channel_add_watch_full(ioc, condition, func, user_data, notify, NULL);
}
