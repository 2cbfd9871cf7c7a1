/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/watch.c: registrations in a loop: channels, listeners, descriptors, timers.
 *
 * Owns: AbiWatch, the trampolines, and the exactly-once release.
 * Rules: two things hold an AbiWatch: its handle's slot, and the core's registration, which
 * also holds one reference on the watch's handle and one on the channel's or listener's, so
 * that callbacks get handles that are alive.  The core's destroy notify runs exactly once and
 * ends the registration.  `removed` is looked at before each call: a watch that was removed on
 * this thread is not called again.
 */
#include "abi/event.h"
#include "abi/channel.h"
#include "abi/kind.h"
#include "abi/loop.h"
#include "abi/release.h"

#include <qio/net-listener.h>

static qioh_event watch_event(const QIOLoopEvent *event);

typedef enum AbiWatchKind {
    ABI_WATCH_CHANNEL,
    ABI_WATCH_LISTENER,
    ABI_WATCH_FD,
    ABI_WATCH_TIMER,
} AbiWatchKind;

typedef struct AbiWatch {
    AbiEventSource source;          /* first: what the core's events lead to */
    _Atomic int refs;
    AbiWatchKind kind;
    bool queued;
    atomic_bool removed;
    AbiLoop *loop;
    qioh_watch *handle;
    QIOLoopWatch *_Atomic watch;    /* the core's, one reference; NULL while it is made */

    qioh_channel *channel;          /* as the kind says; one reference each */
    qioh_listener *listener;
    int32_t fd;
    uint32_t condition;
    int64_t after_ms, every_ms;

    union {
        qioh_watch_fn channel;
        qioh_listener_fn listener;
        qioh_fd_fn fd;
        qioh_timer_fn timer;
    } fn;
    void *user_data;
    qioh_release_fn release;
    uint64_t cookie;
} AbiWatch;

static void watch_unref(AbiWatch *watch)
{
    QIOLoopWatch *core;

    if (atomic_fetch_sub(&watch->refs, 1) != 1) {
        return;
    }
    core = atomic_load(&watch->watch);
    if (core) {
        qio_loop_watch_unref(core);
    }
    abi_loop_unref(watch->loop);
    g_free(watch);
}

void abi_watch_destroyed(void *object, uint64_t token)
{
    watch_unref(object);
}

/* The core's destroy notify. */
static void registration_end(gpointer data)
{
    AbiWatch *watch = data;

    abi_scope_enter();
    atomic_store(&watch->removed, true);
    abi_handle_unref(watch->channel, QIOH_KIND_CHANNEL);
    abi_handle_unref(watch->listener, QIOH_KIND_LISTENER);
    abi_loop_release(watch->loop, watch, watch->release, watch->user_data);
    abi_handle_unref(watch->handle, QIOH_KIND_WATCH);
    watch_unref(watch);
    abi_scope_leave();
}

/* ---- trampolines ---- */

static gboolean called(AbiWatch *watch, int32_t result, const qioh_error *error)
{
    if (result <= 0) {
        atomic_store(&watch->removed, true);
    }
    abi_callback_end(watch->loop, MIN(result, 0), error);
    return result > 0;
}

static gboolean call_channel(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    AbiWatch *watch = data;
    qioh_error error;

    if (atomic_load(&watch->removed)) {
        return FALSE;
    }
    abi_callback_begin(watch->loop, &error);
    return called(watch, watch->fn.channel(watch->handle, watch->channel, condition,
                                           watch->user_data, &error), &error);
}

static gboolean call_listener(QIONetListener *listener, GIOCondition condition, gpointer data)
{
    AbiWatch *watch = data;
    qioh_error error;

    if (atomic_load(&watch->removed)) {
        return FALSE;
    }
    abi_callback_begin(watch->loop, &error);
    return called(watch, watch->fn.listener(watch->handle, watch->listener, watch->user_data,
                                            &error), &error);
}

static gboolean call_fd(int fd, GIOCondition condition, void *opaque)
{
    AbiWatch *watch = opaque;
    qioh_error error;

    if (atomic_load(&watch->removed)) {
        return FALSE;
    }
    abi_callback_begin(watch->loop, &error);
    return called(watch, watch->fn.fd(watch->handle, fd, condition, watch->user_data, &error),
                  &error);
}

static gboolean call_timer(void *opaque)
{
    AbiWatch *watch = opaque;
    qioh_error error;

    if (atomic_load(&watch->removed)) {
        return FALSE;
    }
    abi_callback_begin(watch->loop, &error);
    return called(watch, watch->fn.timer(watch->handle, watch->user_data, &error), &error);
}

/* ---- making one ---- */

/* Gives a watch to the core, whose destroy notify it has from then on, also on failure. */
static QIOLoopWatch *core_add(AbiWatch *watch, void *subject, Error **errp)
{
    AioContext *ctx = watch->loop->ctx;

    switch (watch->kind) {
    case ABI_WATCH_CHANNEL:
        return qio_channel_add_aio_watch(subject, ctx, watch->condition,
                                         watch->queued ? NULL : call_channel, watch,
                                         registration_end, errp);
    case ABI_WATCH_LISTENER:
        return qio_net_listener_add_aio_watch(subject, ctx, watch->queued ? NULL : call_listener,
                                              watch, registration_end, errp);
    case ABI_WATCH_FD:
        return watch->queued
            ? qio_loop_add_fd_queued(ctx, watch->fd, watch->condition, watch, registration_end,
                                     errp)
            : qio_aio_context_add_fd_watch(ctx, watch->fd, watch->condition, call_fd, watch,
                                           registration_end, errp);
    case ABI_WATCH_TIMER:
        break;
    }
    return watch->queued
        ? qio_loop_add_timer_queued(ctx, watch->after_ms, watch->every_ms, watch,
                                    registration_end, errp)
        : qio_aio_context_add_timer(ctx, watch->after_ms, watch->every_ms, call_timer, watch,
                                    registration_end, errp);
}

/* The handle and the core's registration.  `watch` has what the caller asked for; on success
 * and failure alike its release is taken care of. */
static qioh_watch *register_watch(AbiWatch *watch, void *subject, qioh_error *error)
{
    qioh_watch *handle;
    Error *err = NULL;
    QIOLoopWatch *core;

    atomic_init(&watch->refs, 3);       /* the slot, the registration, this function */
    handle = abi_handle_new(QIOH_KIND_WATCH, watch, 2, error);
    if (!handle) {
        abi_loop_release_soon(watch->loop, watch->release, watch->user_data);
        abi_handle_unref(watch->channel, QIOH_KIND_CHANNEL);
        abi_handle_unref(watch->listener, QIOH_KIND_LISTENER);
        atomic_store(&watch->refs, 1);
        watch_unref(watch);
        return NULL;
    }
    watch->handle = handle;
    abi_registering(watch);
    core = core_add(watch, subject, &err);
    abi_registering(NULL);
    if (core) {
        /* Another thread's dispatch may have called and removed it already. */
        atomic_store(&watch->watch, core);
        if (atomic_load(&watch->removed)) {
            qio_loop_watch_remove(core);
        }
    } else {
        abi_take_error(error, err);
        abi_handle_unref(handle, QIOH_KIND_WATCH);
        handle = NULL;
    }
    watch_unref(watch);
    return handle;
}

/* Copies the plan and takes the references; NULL after a failure that is told. */
static AbiWatch *watch_new(AbiLoop *loop, const AbiWatch *plan, qioh_error *error)
{
    AbiWatch *watch;

    if (plan->kind == ABI_WATCH_CHANNEL &&
        abi_handle_ref(plan->channel, QIOH_KIND_CHANNEL, error) < 0) {
        return NULL;
    }
    if (plan->kind == ABI_WATCH_LISTENER &&
        abi_handle_ref(plan->listener, QIOH_KIND_LISTENER, error) < 0) {
        return NULL;
    }
    watch = g_new(AbiWatch, 1);
    *watch = *plan;
    watch->source.tell = watch_event;
    watch->loop = abi_loop_ref(loop);
    return watch;
}

static int32_t check(const AbiWatch *plan, qioh_error *error)
{
    /* Any member of the union: each is a pointer to a function. */
    if (!plan->queued && !plan->fn.channel) {
        return abi_fail(error, QIOH_E_INVAL, "fn is NULL");
    }
    switch (plan->kind) {
    case ABI_WATCH_FD:
        if (plan->fd < 0) {
            return abi_fail(error, QIOH_E_INVAL, "fd is %d, which is no descriptor", plan->fd);
        }
        /* fall through */
    case ABI_WATCH_CHANNEL:
        return abi_check_condition(plan->condition, error);
    case ABI_WATCH_TIMER:
        if (plan->after_ms < 0 || plan->every_ms < 0) {
            return abi_fail(error, QIOH_E_INVAL, "%s is negative",
                            plan->after_ms < 0 ? "after_ms" : "every_ms");
        }
        return 0;
    case ABI_WATCH_LISTENER:
        return 0;
    }
    return 0;
}

/* Pins what the watch is on; the kinds without a handle have nothing to pin. */
static int32_t subject_pin(const AbiWatch *plan, void **subject, qioh_error *error)
{
    switch (plan->kind) {
    case ABI_WATCH_CHANNEL:
        return abi_pin(plan->channel, QIOH_KIND_CHANNEL, subject, error);
    case ABI_WATCH_LISTENER:
        return abi_pin(plan->listener, QIOH_KIND_LISTENER, subject, error);
    default:
        return 0;
    }
}

static void subject_unpin(const AbiWatch *plan)
{
    if (plan->kind == ABI_WATCH_CHANNEL) {
        abi_unpin(plan->channel);
    } else if (plan->kind == ABI_WATCH_LISTENER) {
        abi_unpin(plan->listener);
    }
}

/* In a pinned loop. */
static qioh_watch *start_in(AbiLoop *loop, const AbiWatch *plan, qioh_error *error)
{
    qioh_watch *handle = NULL;
    AbiWatch *watch = NULL;
    void *subject = NULL;

    if (check(plan, error) == 0 && subject_pin(plan, &subject, error) == 0) {
        watch = watch_new(loop, plan, error);
        if (watch) {
            handle = register_watch(watch, subject, error);
        }
        subject_unpin(plan);
    }
    if (!watch) {
        abi_loop_release_soon(loop, plan->release, plan->user_data);
    }
    return handle;
}

static qioh_watch *start(qioh_loop *loop, const AbiWatch *plan, qioh_error *error)
{
    qioh_watch *handle = NULL;
    AbiLoop *object;

    abi_scope_enter();
    if (abi_loop_pin(loop, &object, error) == 0) {
        handle = start_in(object, plan, error);
        abi_unpin(loop);
    } else {
        abi_release_later(plan->release, plan->user_data);
    }
    abi_scope_leave();
    return handle;
}

/* ---- the public ones ---- */

qioh_watch *qioh_watch_new(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                           qioh_watch_fn fn, void *user_data, qioh_release_fn release,
                           qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_CHANNEL, .channel = channel,
                                    .condition = condition, .fn.channel = fn,
                                    .user_data = user_data, .release = release }, error);
}

qioh_watch *qioh_watch_new_queued(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                                  uint64_t cookie, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_CHANNEL, .channel = channel,
                                    .condition = condition, .queued = true,
                                    .cookie = cookie }, error);
}

qioh_watch *qioh_watch_new_listener(qioh_loop *loop, qioh_listener *listener,
                                    qioh_listener_fn fn, void *user_data,
                                    qioh_release_fn release, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_LISTENER, .listener = listener,
                                    .fn.listener = fn, .user_data = user_data,
                                    .release = release }, error);
}

qioh_watch *qioh_watch_new_listener_queued(qioh_loop *loop, qioh_listener *listener,
                                           uint64_t cookie, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_LISTENER, .listener = listener,
                                    .queued = true, .cookie = cookie }, error);
}

qioh_watch *qioh_watch_new_fd(qioh_loop *loop, int32_t fd, uint32_t condition, qioh_fd_fn fn,
                              void *user_data, qioh_release_fn release, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_FD, .fd = fd, .condition = condition,
                                    .fn.fd = fn, .user_data = user_data, .release = release },
                 error);
}

qioh_watch *qioh_watch_new_fd_queued(qioh_loop *loop, int32_t fd, uint32_t condition,
                                     uint64_t cookie, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_FD, .fd = fd, .condition = condition,
                                    .queued = true, .cookie = cookie }, error);
}

qioh_watch *qioh_watch_new_timer(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                 qioh_timer_fn fn, void *user_data, qioh_release_fn release,
                                 qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_TIMER, .after_ms = after_ms,
                                    .every_ms = every_ms, .fn.timer = fn,
                                    .user_data = user_data, .release = release }, error);
}

qioh_watch *qioh_watch_new_timer_queued(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                        uint64_t cookie, qioh_error *error)
{
    return start(loop, &(AbiWatch){ .kind = ABI_WATCH_TIMER, .after_ms = after_ms,
                                    .every_ms = every_ms, .queued = true, .cookie = cookie },
                 error);
}

qioh_status qioh_watch_remove(qioh_watch *watch, qioh_error *error)
{
    AbiWatch *object;
    QIOLoopWatch *core;
    int32_t status = abi_pin(watch, QIOH_KIND_WATCH, (void **)&object, error);

    if (status != 0) {
        return status;
    }
    atomic_store(&object->removed, true);
    core = atomic_load(&object->watch);
    if (core) {
        qio_loop_watch_remove(core);
    }
    abi_unpin(watch);
    return 0;
}

void qioh_watch_unref(qioh_watch *watch)
{
    abi_handle_unref(watch, QIOH_KIND_WATCH);
}

/* ---- events ---- */

static qioh_event watch_event(const QIOLoopEvent *event)
{
    static const uint32_t kinds[] = {
        [ABI_WATCH_CHANNEL] = QIOH_EV_WATCH,
        [ABI_WATCH_LISTENER] = QIOH_EV_ACCEPT,
        [ABI_WATCH_FD] = QIOH_EV_WATCH,
        [ABI_WATCH_TIMER] = QIOH_EV_TIMER,
    };
    const AbiWatch *watch = event->opaque;
    bool released = event->kind == QIO_LOOP_RELEASED;

    return (qioh_event){
        .kind = released ? QIOH_EV_RELEASED : kinds[watch->kind],
        .condition = released ? 0 : event->condition,
        .cookie = watch->cookie,
        .channel = watch->channel,
        .watch = watch->handle,
        .listener = watch->listener,
    };
}
