/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listener-aio.c: watching a listener in a loop.
 *
 * Owns: QIOListenerEntry, what a loop's watch on a listener stands on.  The entry is the loop's
 * subject: it names the listening descriptors; while accepting pauses its timer's instead, which
 * it has from the start, since a pause begins when no descriptor is to be had.  (A timer of the
 * loop would need a dispatch to end the pause, and queued watches do without.)
 * Rules: an entry's count is under the listener's lock, so that whoever finds it in the list
 * may hold it.  The loop holds one while the watch exists, a function's data another until its
 * notify has run.
 */
#include "net/listener-priv.h"

#include "base/sys.h"
#include "channel/channel-priv.h"

struct QIOListenerEntry {
    int refs;
    QIONetListener *listener;       /* a reference */
    QIOListenerEntry *next;
    QIOLoopWatch *watch;            /* a reference; NULL until the loop has it */
    int timer_fd;
    bool paused;                    /* until the timer fires */
    bool ended;
    QIONetListenerFunc func;
    gpointer data;
    GDestroyNotify notify;
};

static void entry_ref(void *subject)
{
    QIOListenerEntry *entry = subject;

    pthread_mutex_lock(&entry->listener->lock);
    entry->refs++;
    pthread_mutex_unlock(&entry->listener->lock);
}

static void entry_unref(void *subject)
{
    QIOListenerEntry *entry = subject;
    QIONetListener *listener = entry->listener;
    QIOListenerEntry **link;

    pthread_mutex_lock(&listener->lock);
    if (--entry->refs > 0) {
        pthread_mutex_unlock(&listener->lock);
        return;
    }
    for (link = &listener->entries; *link != entry; link = &(*link)->next) {
    }
    *link = entry->next;
    pthread_mutex_unlock(&listener->lock);
    if (entry->watch != NULL) {
        qio_loop_watch_unref(entry->watch);
    }
    qio_loop_forget_fd(entry->timer_fd);
    sys_close(entry->timer_fd);
    g_free(entry);
    qio_object_unref(listener);
}

/* ---- the loop's subject ---- */

/* Whether the pause goes on; lock held. */
static bool is_paused(QIOListenerEntry *entry)
{
    uint64_t fired;
    ssize_t n;

    if (entry->paused) {
        do {
            n = sys_read(entry->timer_fd, &fired, sizeof(fired));
        } while (n < 0 && errno == EINTR);
        entry->paused = n < 0 && errno == EAGAIN;
    }
    return entry->paused;
}

/* The sockets to wait for, none during a pause or after the end. */
static QIOListenerSet *entry_get_set(QIOListenerEntry *entry)
{
    bool waits;

    pthread_mutex_lock(&entry->listener->lock);
    waits = !entry->ended && !is_paused(entry);
    pthread_mutex_unlock(&entry->listener->lock);
    return waits ? qio_listener_get_set(entry->listener) : NULL;
}

static int entry_poll(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    QIOListenerEntry *entry = subject;
    QIOListenerSet *set = entry_get_set(entry);
    int n = 0;

    if (set == NULL) {
        out[0] = (QIOPollFd){ .fd = entry->timer_fd, .events = G_IO_IN };
        return 1;
    }
    if (set->poll_fd >= 0) {
        out[n++] = (QIOPollFd){ .fd = set->poll_fd, .events = G_IO_IN };
    }
    for (; set->poll_fd < 0 && (size_t)n < set->count && n < cap; n++) {
        out[n] = (QIOPollFd){ .fd = set->sockets[n].fd, .events = G_IO_IN };
    }
    qio_listener_set_unref(set);
    return n;
}

/* What the sockets of a set are ready for.  When that cannot be told, one look too many by
 * accept is better than an event that is never handed on and comes back at once. */
static GIOCondition poll_set(const QIOListenerSet *set)
{
    struct pollfd fds[QIO_POLL_MAX];
    GIOCondition ready = 0;
    nfds_t n = 0;

    if (set->poll_fd >= 0) {
        fds[n++] = (struct pollfd){ .fd = set->poll_fd, .events = POLLIN };
    }
    for (; set->poll_fd < 0 && n < set->count && n < QIO_POLL_MAX; n++) {
        fds[n] = (struct pollfd){ .fd = set->sockets[n].fd, .events = POLLIN };
    }
    if (qio_poll_fds(fds, n, 0, false) < 0) {
        return G_IO_IN;
    }
    for (nfds_t i = 0; i < n; i++) {
        ready |= (GIOCondition)fds[i].revents;
    }
    return ready;
}

static GIOCondition entry_advance(void *subject, GIOCondition wanted)
{
    QIOListenerSet *set = entry_get_set(subject);
    GIOCondition ready = 0;

    if (set != NULL) {
        ready = poll_set(set);
        qio_listener_set_unref(set);
    }
    return ready;
}

/* Not direct: a direct subject's descriptors are fixed, and these come and go with pauses. */
static const QIOLoopSubjectOps entry_ops = {
    .advance = entry_advance,
    .poll = entry_poll,
    .direct = false,
    .ref = entry_ref,
    .unref = entry_unref,
};

static gboolean entry_call(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    QIOListenerEntry *entry = opaque;

    return entry->func(entry->listener, condition, entry->data);
}

static void entry_notify(gpointer opaque)
{
    QIOListenerEntry *entry = opaque;

    if (entry->notify != NULL) {
        entry->notify(entry->data);
    }
    entry_unref(entry);
}

/* ---- what the listener does to its watches ---- */

/* The entries that are in a loop, each with a reference; the caller lets go of them. */
static GPtrArray *entries_in_loops(QIONetListener *listener)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(entry_unref);

    for (QIOListenerEntry *entry = listener->entries; entry != NULL; entry = entry->next) {
        if (entry->watch != NULL) {
            entry->refs++;
            g_ptr_array_add(found, entry);
        }
    }
    return found;
}

void qio_listener_kick_entries(QIONetListener *listener)
{
    GPtrArray *found;

    pthread_mutex_lock(&listener->lock);
    found = entries_in_loops(listener);
    pthread_mutex_unlock(&listener->lock);
    for (size_t i = 0; i < found->len; i++) {
        QIOListenerEntry *entry = g_ptr_array_index(found, i);

        qio_loop_watch_kick(entry->watch);
    }
    g_ptr_array_free(found, TRUE);
}

void qio_listener_end_entries(QIONetListener *listener)
{
    GPtrArray *found;

    pthread_mutex_lock(&listener->lock);
    found = entries_in_loops(listener);
    for (QIOListenerEntry *entry = listener->entries; entry != NULL; entry = entry->next) {
        entry->ended = true;        /* one that is not in its loop yet learns it then */
    }
    pthread_mutex_unlock(&listener->lock);
    for (size_t i = 0; i < found->len; i++) {
        QIOListenerEntry *entry = g_ptr_array_index(found, i);

        qio_loop_watch_end(entry->watch);
    }
    g_ptr_array_free(found, TRUE);
}

static bool start_pause(QIOListenerEntry *entry, int ms)
{
    struct itimerspec when = {
        .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 },
    };

    return sys_timerfd_settime(entry->timer_fd, 0, &when, NULL) == 0;
}

void qio_listener_pause_entries(QIONetListener *listener, int ms)
{
    pthread_mutex_lock(&listener->lock);
    for (QIOListenerEntry *entry = listener->entries; entry != NULL; entry = entry->next) {
        if (!entry->paused) {
            entry->paused = start_pause(entry, ms);
        }
    }
    pthread_mutex_unlock(&listener->lock);
    qio_listener_kick_entries(listener);
}

/* ---- adding ---- */

static bool can_watch(QIONetListener *listener, Error **errp)
{
    if (listener->closed) {
        qio_error_set(errp, QIO_ERROR_CLOSED, "the listener is closed");
    } else if (listener->set == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the listener has no socket: open one first");
    } else {
        return true;
    }
    return false;
}

/* A new entry in the list, with one reference for the caller; NULL with an error. */
static QIOListenerEntry *entry_new(QIONetListener *listener, Error **errp)
{
    QIOListenerEntry *entry = NULL;
    int timer_fd = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (timer_fd < 0) {
        qio_error_set_errno(errp, errno, "cannot make the timer descriptor of a watch");
        return NULL;
    }
    pthread_mutex_lock(&listener->lock);
    if (can_watch(listener, errp)) {
        entry = g_new0(QIOListenerEntry, 1);
        entry->refs = 1;
        entry->listener = qio_object_ref(listener);
        entry->timer_fd = timer_fd;
        entry->next = listener->entries;
        listener->entries = entry;
    }
    pthread_mutex_unlock(&listener->lock);
    if (entry == NULL) {
        sys_close(timer_fd);
    }
    return entry;
}

/* Lets the listener know of the watch that the loop made of an entry. */
static void entry_set_watch(QIOListenerEntry *entry, QIOLoopWatch *watch)
{
    bool ended;

    pthread_mutex_lock(&entry->listener->lock);
    entry->watch = qio_loop_watch_ref(watch);
    ended = entry->ended;
    pthread_mutex_unlock(&entry->listener->lock);
    /* Its loop, another thread's, may have asked it already: what changed since it learns here. */
    if (ended) {
        qio_loop_watch_end(watch);
    } else {
        qio_loop_watch_kick(watch);
    }
}

/* How the loop's adders are called. */
typedef QIOLoopWatch *(*AddFunc)(AioContext *ctx, void *subject, const QIOLoopSubjectOps *ops,
                                 GIOCondition condition, QIOSubjectFunc func, void *opaque,
                                 GDestroyNotify destroy, Error **errp);

static QIOLoopWatch *add_watch(QIONetListener *listener, AioContext *ctx, AddFunc add,
                               QIONetListenerFunc func, gpointer data, GDestroyNotify notify,
                               Error **errp)
{
    QIOListenerEntry *entry = entry_new(listener, errp);
    QIOLoopWatch *watch;

    if (entry == NULL) {
        if (notify != NULL) {
            notify(data);
        }
        return NULL;
    }
    if (func == NULL) {
        watch = add(ctx, entry, &entry_ops, G_IO_IN, NULL, data, notify, errp);
    } else {
        entry->func = func;
        entry->data = data;
        entry->notify = notify;
        entry_ref(entry);
        watch = add(ctx, entry, &entry_ops, G_IO_IN, entry_call, entry, entry_notify, errp);
    }
    if (watch != NULL) {
        entry_set_watch(entry, watch);
    }
    entry_unref(entry);
    return watch;
}

QIOLoopWatch *qio_net_listener_add_aio_watch(QIONetListener *listener, AioContext *ctx,
                                             QIONetListenerFunc func, gpointer data,
                                             GDestroyNotify notify, Error **errp)
{
    return add_watch(listener, ctx, qio_loop_add_subject, func, data, notify, errp);
}

QIOLoopWatch *qio_listener_add_internal_watch(QIONetListener *listener, AioContext *ctx,
                                              QIONetListenerFunc func, gpointer data,
                                              GDestroyNotify notify, Error **errp)
{
    return add_watch(listener, ctx, qio_loop_add_internal_subject, func, data, notify, errp);
}
