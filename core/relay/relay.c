/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay/relay.c: two pumps as one operation in a loop.
 *
 * Owns: QIORelay, the task's source, which is what outlives the task's work (counters), and the
 * two internal watches by which the pumps run.
 * Rules: from the first step on everything but the counters is touched where the loop's internal
 * watches run, or in a deferred call of the same loop (the filter), never both at once; before
 * that by who starts it, under the lock.  Each end has one watch, which polls for what the pumps
 * need of that end; a pump that comes to need something else of the other end kicks its watch.
 */
#include <qio/relay.h>

#include <string.h>
#include "channel/channel-priv.h"
#include "options/options-priv.h"
#include "relay/pump.h"
#include "task/task-priv.h"

#define TYPE_QIO_RELAY "qio-relay"

enum {
    BUFFER = 64 * 1024,
    BOTH_WAYS = QIO_USE_READ | QIO_USE_WRITE,
};

typedef struct QIORelay QIORelay;

/* The opaque of a deferred call. */
typedef struct FilterCall {
    QIORelay *relay;
    unsigned direction;
} FilterCall;

struct QIORelay {
    Object parent;
    QIOTask *task;                  /* borrowed: it has us as its source */
    AioContext *ctx;
    QIOChannel *ends[2];            /* held in both ways while it runs */
    QIOPump pumps[2];               /* [0] from ends[0] to ends[1] */
    QIOLoopWatch *watches[2];
    GIOCondition polled[2];
    QIOLoopWatch *timer;
    int64_t idle_ns;
    int64_t moved_ns;               /* when bytes moved last */
    uint64_t moved;
    _Atomic uint64_t lost[2];
    pthread_mutex_t lock;           /* for the start, and of the filter until it has begun */
    bool ready;                     /* everything is set up */
    bool begun;
    QIORelayFilter filter;
    gpointer filter_opaque;
    GDestroyNotify filter_destroy;
    FilterCall calls[2];
    QIOPump *filtering;             /* inside the filter */
};

static void run_pump(QIORelay *relay, unsigned direction);
static void note_moved(QIORelay *relay);

/* ---- the type ---- */

static void relay_instance_init(Object *obj)
{
    QIORelay *relay = (QIORelay *)obj;

    pthread_mutex_init(&relay->lock, NULL);
    for (unsigned i = 0; i < 2; i++) {
        relay->calls[i] = (FilterCall) { relay, i };
    }
}

static void relay_instance_finalize(Object *obj)
{
    QIORelay *relay = (QIORelay *)obj;

    for (unsigned i = 0; i < 2; i++) {
        qio_loop_watch_unref(relay->watches[i]);
        qio_object_unref(relay->ends[i]);
    }
    pthread_mutex_destroy(&relay->lock);
}

static const TypeInfo relay_type = {
    .name = TYPE_QIO_RELAY,
    .instance_size = sizeof(QIORelay),
    .instance_init = relay_instance_init,
    .instance_finalize = relay_instance_finalize,
};

static void __attribute__((constructor)) relay_register(void)
{
    qio_type_register_static(&relay_type);
}

static QIORelay *relay_of(QIOTask *task, Error **errp)
{
    Object *source = qio_task_get_source(task);

    if (!source || strcmp(G_OBJECT_TYPE_NAME(source), TYPE_QIO_RELAY) != 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "task: it is no relay");
        return NULL;
    }
    return (QIORelay *)source;
}

static void unref_relay(gpointer relay)
{
    qio_object_unref(relay);
}

/* ---- what the pumps need ---- */

static GIOCondition needs(QIORelay *relay, unsigned end)
{
    GIOCondition condition = 0;

    if (relay->pumps[end].state == QIO_PUMP_READ || relay->pumps[end].state == QIO_PUMP_TURN) {
        condition |= G_IO_IN;
    }
    if (relay->pumps[!end].state == QIO_PUMP_WRITE) {
        condition |= G_IO_OUT;
    }
    return condition;
}

static bool is_stuck(Object *source)
{
    QIORelay *relay = (QIORelay *)source;

    for (unsigned end = 0; end < 2; end++) {
        if (needs(relay, end) && qio_channel_waits_for_itself(relay->ends[end])) {
            return true;
        }
    }
    return false;
}

static void kick_changed(QIORelay *relay)
{
    for (unsigned end = 0; end < 2; end++) {
        if (needs(relay, end) != relay->polled[end]) {
            qio_loop_watch_kick(relay->watches[end]);
        }
    }
}

/* ---- the filter ---- */

static void call_filter(void *opaque)
{
    FilterCall *call = opaque;
    QIORelay *relay = call->relay;
    QIOPump *pump = &relay->pumps[call->direction];
    Error *err = NULL;
    const void *chunk;
    size_t len;
    int ret;

    if (qio_task_is_done(relay->task) || pump->state != QIO_PUMP_FILTER) {
        return;
    }
    len = qio_pump_chunk(pump, &chunk);
    relay->filtering = pump;
    ret = relay->filter(relay->task, call->direction, chunk, len, relay->filter_opaque, &err);
    relay->filtering = NULL;
    if (ret < 0) {
        if (!err) {
            qio_error_set(&err, QIO_ERROR_CALLBACK, "the filter failed");
        }
        qio_task_fail(relay->task, err);
        return;
    }
    qio_pump_filtered(pump, ret > 0);
    if (!qio_task_is_done(relay->task)) {
        run_pump(relay, call->direction);
        note_moved(relay);
        kick_changed(relay);
    }
}

static void drop_call(void *opaque)
{
    FilterCall *call = opaque;

    qio_task_unref(call->relay->task);
}

static void defer_filter(QIORelay *relay, unsigned direction)
{
    Error *err = NULL;

    qio_task_ref(relay->task);
    if (qio_aio_context_defer(relay->ctx, call_filter, &relay->calls[direction], drop_call,
                              &err) < 0) {
        qio_task_fail(relay->task, err);
    }
}

/* ---- running ---- */

static void fail_pump(QIORelay *relay, unsigned direction, Error *err)
{
    /* A close by somebody else shows here first when it comes between two steps. */
    if (qio_channel_closing(relay->ends[0]) || qio_channel_closing(relay->ends[1])) {
        qio_error_free(err);
        err = NULL;
        qio_error_set(&err, QIO_ERROR_CANCELLED, "a channel of the relay was closed");
    } else {
        qio_error_prepend(err, "%s: ", direction == 0 ? "a to b" : "b to a");
    }
    qio_task_fail(relay->task, err);
}

/* A direction has ended. */
static void end_pump(QIORelay *relay, unsigned direction)
{
    QIOPump *other = &relay->pumps[!direction];

    if (relay->pumps[direction].untold && !other->ended) {
        qio_pump_stop(other);
        if (other->state == QIO_PUMP_READ) {
            run_pump(relay, !direction);
            return;
        }
    }
    if (other->state == QIO_PUMP_DONE) {
        qio_task_complete(relay->task, NULL, NULL);
    }
}

static void run_pump(QIORelay *relay, unsigned direction)
{
    QIOPump *pump = &relay->pumps[direction];
    Error *err = NULL;

    switch (qio_pump_run(pump, &err)) {
    case QIO_PUMP_FAILED:
        fail_pump(relay, direction, err);
        break;
    case QIO_PUMP_DONE:
        end_pump(relay, direction);
        break;
    case QIO_PUMP_FILTER:
        defer_filter(relay, direction);
        break;
    case QIO_PUMP_TURN:
        qio_loop_watch_kick(relay->watches[direction]);
        break;
    case QIO_PUMP_READ:
    case QIO_PUMP_WRITE:
        break;
    }
}

static void note_moved(QIORelay *relay)
{
    uint64_t moved = relay->pumps[0].taken + relay->pumps[0].given + relay->pumps[1].taken +
                     relay->pumps[1].given;

    if (moved != relay->moved && relay->idle_ns) {
        relay->moved_ns = sys_now_ns();
    }
    relay->moved = moved;
}

/* Everything has been set up and no filter comes any more. */
static bool begin(QIORelay *relay)
{
    if (relay->begun) {
        return true;
    }
    pthread_mutex_lock(&relay->lock);
    relay->begun = relay->ready;
    pthread_mutex_unlock(&relay->lock);
    return relay->begun;
}

static bool waits_at(QIORelay *relay, unsigned direction, unsigned end)
{
    switch (relay->pumps[direction].state) {
    case QIO_PUMP_READ:
    case QIO_PUMP_TURN:
        return direction == end;
    case QIO_PUMP_WRITE:
        return direction != end;
    default:
        return false;
    }
}

static void relay_advance(QIOChannel *ioc, gpointer opaque)
{
    QIORelay *relay = opaque;
    unsigned end = ioc == relay->ends[1];

    if (qio_task_is_done(relay->task) || !begin(relay)) {
        return;
    }
    /* The reader of this end first: reading pushes a layer's held output out, after which it no
     * longer names a descriptor to a writer that was refused before. */
    for (unsigned i = 0; i < 2; i++) {
        unsigned direction = i == 0 ? end : !end;

        if (waits_at(relay, direction, end) && !qio_task_is_done(relay->task)) {
            run_pump(relay, direction);
        }
    }
    note_moved(relay);
    relay->polled[end] = needs(relay, end);     /* which is asked next */
    kick_changed(relay);
}

static int relay_poll(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap)
{
    QIORelay *relay = opaque;
    unsigned end = ioc == relay->ends[1];
    GIOCondition condition = relay->begun ? needs(relay, end) : 0;

    if (!relay->begun || qio_task_is_done(relay->task) || qio_channel_closing(ioc)) {
        return 0;
    }
    relay->polled[end] = condition;
    return condition ? qio_channel_class(ioc)->io_poll(ioc, condition, out, cap) : 0;
}

static void relay_closed(QIOChannel *ioc, gpointer opaque)
{
    QIORelay *relay = opaque;
    Error *err = NULL;

    qio_error_set(&err, QIO_ERROR_CANCELLED, "a channel of the relay was closed");
    qio_task_fail(relay->task, err);
}

static const QIOStepOps relay_ops = {
    .advance = relay_advance, .poll = relay_poll, .closed = relay_closed,
};

/* ---- the idle time-out ---- */

static void set_timer(QIORelay *relay, int64_t left_ns);

static gboolean on_idle(void *opaque)
{
    QIORelay *relay = opaque;
    int64_t left_ns = relay->moved_ns + relay->idle_ns - sys_now_ns();
    Error *err = NULL;

    if (qio_task_is_done(relay->task)) {
        return FALSE;
    }
    if (left_ns > 0) {
        set_timer(relay, left_ns);
        return FALSE;
    }
    qio_error_set(&err, QIO_ERROR_TIMEOUT, "nothing moved for %" G_GINT64_FORMAT " ms",
                  relay->idle_ns / 1000000);
    qio_task_fail(relay->task, err);
    return FALSE;
}

static void set_timer(QIORelay *relay, int64_t left_ns)
{
    Error *err = NULL;

    qio_loop_watch_unref(relay->timer);
    relay->timer = qio_loop_add_internal_timer(relay->ctx, (left_ns + 999999) / 1000000, 0,
                                               on_idle, qio_object_ref(relay), unref_relay, &err);
    if (!relay->timer) {
        qio_task_fail(relay->task, err);
    }
}

/* ---- the end ---- */

static void drop_watch(QIOLoopWatch *watch)
{
    if (watch) {
        qio_loop_watch_remove(watch);
    }
}

static void nothing(void *opaque)
{
}

/* Nothing of a user is called here: the filter's opaque goes in a later dispatch. */
static void drop_filter(QIORelay *relay)
{
    GDestroyNotify destroy = g_steal_pointer(&relay->filter_destroy);

    if (destroy) {
        qio_aio_context_defer(relay->ctx, nothing, relay->filter_opaque, destroy, NULL);
    }
}

static void relay_finish(QIOTask *task, gpointer opaque)
{
    QIORelay *relay = opaque;

    pthread_mutex_lock(&relay->lock);
    relay->begun = true;
    pthread_mutex_unlock(&relay->lock);
    for (unsigned i = 0; i < 2; i++) {
        drop_watch(relay->watches[i]);
        relay->lost[i] = qio_pump_finish(&relay->pumps[i]);
    }
    drop_watch(relay->timer);
    g_clear_pointer(&relay->timer, qio_loop_watch_unref);
    for (unsigned i = 0; i < 2; i++) {
        qio_channel_leave(relay->ends[i], BOTH_WAYS, NULL);
    }
    drop_filter(relay);
}

/* ---- making ---- */

static int check_ends(QIOChannel *a, QIOChannel *b, const QIOOptions *options, Error **errp)
{
    QIOChannel *ends[] = { a, b };

    if (a == b) {
        qio_error_set(errp, QIO_ERROR_INVAL, "a and b: they have to be two channels");
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        if (!qio_channel_class(ends[i])->io_poll) {
            qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' has no io_poll: a relay "
                          "cannot wait for it", G_OBJECT_TYPE_NAME(ends[i]));
            return -1;
        }
    }
    return options && !qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_RELAY), "a relay", errp)
        ? -1 : 0;
}

static int hold(QIOChannel *a, QIOChannel *b, Error **errp)
{
    if (qio_channel_enter(a, BOTH_WAYS, errp) < 0) {
        return -1;
    }
    if (qio_channel_enter(b, BOTH_WAYS, errp) < 0) {
        qio_channel_leave(a, BOTH_WAYS, NULL);
        return -1;
    }
    return 0;
}

static QIORelay *relay_new(QIOChannel *a, QIOChannel *b, const QIOOptions *options)
{
    QIORelay *relay = (QIORelay *)qio_object_new(TYPE_QIO_RELAY);
    size_t size = (size_t)qio_options_get_int(options, "buffer", BUFFER);
    int64_t limit = qio_options_get_int(options, "limit", -1);
    int idle_ms = qio_options_get_ms(options, "idle-timeout", -1);

    relay->ends[0] = qio_object_ref(a);
    relay->ends[1] = qio_object_ref(b);
    for (unsigned i = 0; i < 2; i++) {
        qio_pump_init(&relay->pumps[i], relay->ends[i], relay->ends[!i], size,
                      limit < 0 ? UINT64_MAX : (uint64_t)limit);
    }
    relay->idle_ns = idle_ms < 0 ? 0 : (int64_t)MAX(idle_ms, 1) * 1000000;
    relay->moved_ns = sys_now_ns();
    return relay;
}

/* Under the lock: a step, or the end, may come at once on another thread. */
static void start(QIORelay *relay, AioContext *ctx)
{
    Error *err = NULL;

    for (unsigned i = 0; i < 2; i++) {
        relay->watches[i] = qio_channel_add_steps(relay->ends[i], ctx, &relay_ops,
                                                  qio_object_ref(relay), unref_relay, &err);
        if (!relay->watches[i]) {
            qio_task_fail(relay->task, err);
            return;
        }
    }
    if (relay->idle_ns) {
        set_timer(relay, relay->idle_ns);
    }
    relay->ready = true;
    for (unsigned i = 0; i < 2; i++) {
        qio_loop_watch_kick(relay->watches[i]);
    }
}

QIOTask *qio_relay_start(QIOChannel *a, QIOChannel *b, const QIOOptions *options, AioContext *ctx,
                         QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy, Error **errp)
{
    QIORelay *relay;
    QIOTask *task;

    if (check_ends(a, b, options, errp) < 0 || hold(a, b, errp) < 0) {
        if (destroy) {
            destroy(opaque);
        }
        return NULL;
    }
    relay = relay_new(a, b, options);
    task = qio_task_new(&relay->parent, ctx, func, opaque, destroy);
    relay->task = task;
    relay->ctx = qio_task_get_context(task);
    qio_task_set_stuck(task, is_stuck);
    qio_task_set_finish(task, relay_finish, relay);
    pthread_mutex_lock(&relay->lock);
    if (!qio_task_is_done(task)) {
        start(relay, relay->ctx);
    }
    pthread_mutex_unlock(&relay->lock);
    qio_object_unref(relay);
    return task;
}

/* ---- while it runs, and after ---- */

int qio_relay_set_filter(QIOTask *task, QIORelayFilter filter, gpointer opaque,
                         GDestroyNotify destroy, Error **errp)
{
    QIORelay *relay = relay_of(task, errp);
    bool ok = false;

    if (relay) {
        pthread_mutex_lock(&relay->lock);
        ok = !relay->begun && !relay->filter && filter;
        if (ok) {
            relay->filter = filter;
            relay->filter_opaque = opaque;
            relay->filter_destroy = destroy;
            relay->pumps[0].has_filter = relay->pumps[1].has_filter = true;
        }
        pthread_mutex_unlock(&relay->lock);
        if (!ok) {
            qio_error_set(errp, QIO_ERROR_BUSY, "the relay has begun, or has a filter already");
        }
    }
    if (!ok && destroy) {
        destroy(opaque);
    }
    return ok ? 0 : -1;
}

int qio_relay_put(QIOTask *task, const void *buf, size_t len, Error **errp)
{
    QIORelay *relay = relay_of(task, errp);

    if (!relay) {
        return -1;
    }
    if (!qio_loop_is_dispatching(relay->ctx) || !relay->filtering) {
        qio_error_set(errp, QIO_ERROR_INVAL, "only the filter of the relay may put bytes");
        return -1;
    }
    if (!buf && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: NULL with a len of %zu", len);
        return -1;
    }
    return qio_pump_put(relay->filtering, buf, len, errp);
}

static int get_pair(QIORelay *relay, uint64_t first, uint64_t second, uint64_t *a_to_b,
                    uint64_t *b_to_a)
{
    if (!relay) {
        return -1;
    }
    if (a_to_b) {
        *a_to_b = first;
    }
    if (b_to_a) {
        *b_to_a = second;
    }
    return 0;
}

int qio_relay_get_counts(QIOTask *task, uint64_t *a_to_b, uint64_t *b_to_a, Error **errp)
{
    QIORelay *relay = relay_of(task, errp);

    return relay ? get_pair(relay, atomic_load(&relay->pumps[0].given),
                            atomic_load(&relay->pumps[1].given), a_to_b, b_to_a) : -1;
}

int qio_relay_get_lost(QIOTask *task, uint64_t *a_to_b, uint64_t *b_to_a, Error **errp)
{
    QIORelay *relay = relay_of(task, errp);

    return relay ? get_pair(relay, atomic_load(&relay->lost[0]), atomic_load(&relay->lost[1]),
                            a_to_b, b_to_a) : -1;
}
