/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/task.c: operations that finish later.
 *
 * Owns: AbiTask, its trampoline, and the exactly-once release.
 * Rules: the handle's slot holds an AbiTask, and so does each way of being told (the event, the
 * callback), which also holds one reference on the handle, so that whoever is told gets a handle
 * that is alive.  Giving the handle up does not end the operation.  Any thread.
 */
#include "abi/task.h"
#include "abi/channel.h"
#include "abi/event.h"
#include "abi/kind.h"
#include "abi/listener.h"
#include "abi/release.h"
#include "task/task-priv.h"

typedef struct AbiTask {
    AbiEventSource source;          /* first: what the core's events lead to */
    _Atomic int refs;
    AbiLoop *loop;
    QIOTask *task;
    AbiTaskGives gives;
    qioh_task *handle;
    uint64_t cookie;

    qioh_task_fn fn;                /* written by the one that set it, before the core knows */
    void *user_data;
    qioh_release_fn release;
    atomic_bool has_fn;
} AbiTask;

static void task_unref(AbiTask *task)
{
    if (atomic_fetch_sub(&task->refs, 1) != 1) {
        return;
    }
    qio_task_unref(task->task);
    abi_loop_unref(task->loop);
    g_free(task);
}

void abi_task_destroyed(void *object, uint64_t token)
{
    task_unref(object);
}

static int32_t task_pin(qioh_task *handle, AbiTask **task, qioh_error *error)
{
    return abi_pin(handle, QIOH_KIND_TASK, (void **)task, error);
}

int32_t abi_task_pin_in(qioh_task *handle, QIOTask **task, AbiLoop **loop, qioh_error *error)
{
    AbiTask *object;
    int32_t status = task_pin(handle, &object, error);

    *task = status == 0 ? object->task : NULL;
    *loop = status == 0 ? object->loop : NULL;
    return status;
}

int32_t abi_task_pin(qioh_task *handle, QIOTask **task, qioh_error *error)
{
    AbiLoop *loop;

    return abi_task_pin_in(handle, task, &loop, error);
}

/* ---- being told ---- */

static int32_t result_of(AbiTask *task, qioh_error *error)
{
    Error *err = NULL;

    if (!qio_task_is_done(task->task)) {
        return QIOH_E_AGAIN;
    }
    if (qio_task_propagate_error(task->task, &err)) {
        return abi_take_error(error, err);
    }
    return task->gives == ABI_TASK_NUMBER ? qio_task_get_number(task->task) : 0;
}

static qioh_event task_event(const QIOLoopEvent *event)
{
    AbiTask *task = event->opaque;
    bool released = event->kind == QIO_LOOP_RELEASED;

    return (qioh_event){
        .kind = released ? QIOH_EV_RELEASED : QIOH_EV_TASK,
        .status = released ? 0 : result_of(task, NULL),
        .cookie = task->cookie,
        .task = task->handle,
    };
}

/* What a way of being told holds; without it nothing tells any more. */
static int32_t hold(AbiTask *task, qioh_error *error)
{
    int32_t status = abi_handle_ref(task->handle, QIOH_KIND_TASK, error);

    if (status == 0) {
        atomic_fetch_add(&task->refs, 1);
    }
    return status;
}

static void let_go(AbiTask *task)
{
    abi_handle_unref(task->handle, QIOH_KIND_TASK);
    task_unref(task);
}

static void event_end(gpointer opaque)
{
    abi_scope_enter();
    let_go(opaque);
    abi_scope_leave();
}

static void callback_call(QIOTask *core, gpointer opaque)
{
    AbiTask *task = opaque;
    int32_t status = result_of(task, NULL);
    qioh_error error;
    int32_t result;

    abi_callback_begin(task->loop, &error);
    result = task->fn(task->handle, status, task->user_data, &error);
    abi_callback_end(task->loop, MIN(result, 0), &error);
}

static void callback_end(gpointer opaque)
{
    AbiTask *task = opaque;

    abi_scope_enter();
    abi_loop_release(task->loop, task, task->release, task->user_data);
    let_go(task);
    abi_scope_leave();
}

/* ---- life ---- */

qioh_task *abi_task_new(QIOTask *core, AbiTaskGives gives, AbiLoop *loop, uint64_t cookie,
                        qioh_error *error)
{
    AbiTask *task = g_new0(AbiTask, 1);
    Error *err = NULL;

    atomic_init(&task->refs, 2);        /* the slot, the event */
    task->source.tell = task_event;
    task->task = core;
    task->gives = gives;
    task->cookie = cookie;
    task->loop = abi_loop_ref(loop);
    task->handle = abi_handle_new(QIOH_KIND_TASK, task, 2, error);
    if (!task->handle) {
        qio_task_cancel(core);
        atomic_store(&task->refs, 1);
        task_unref(task);
        return NULL;
    }
    if (qio_task_add_event(core, task, event_end, &err) < 0) {
        abi_take_error(error, err);
        qio_task_cancel(core);
        abi_handle_unref(task->handle, QIOH_KIND_TASK);
        return NULL;
    }
    return task->handle;
}

void qioh_task_unref(qioh_task *task)
{
    abi_handle_unref(task, QIOH_KIND_TASK);
}

/* ---- the callback ---- */

/* Whether a pinned task may have the callback: 0, or a code.  At most one call gets a 0. */
static int32_t claim_callback(AbiTask *task, qioh_task_fn fn, qioh_error *error)
{
    int32_t status;

    if (!fn) {
        return abi_fail(error, QIOH_E_INVAL, "fn is NULL");
    }
    if (atomic_exchange(&task->has_fn, true)) {
        return abi_fail(error, QIOH_E_BUSY,
                        "task: it has a callback already, or its event was reported");
    }
    status = hold(task, error);
    if (status != 0) {
        atomic_store(&task->has_fn, false);
    }
    return status;
}

/* Gives a claimed callback to the core, which has its release from then on, also on failure. */
static int32_t set_callback(AbiTask *task, qioh_task_fn fn, void *user_data,
                            qioh_release_fn release, qioh_error *error)
{
    Error *err = NULL;
    int result;

    task->fn = fn;
    task->user_data = user_data;
    task->release = release;
    abi_registering(task);
    result = qio_task_set_func(task->task, callback_call, task, callback_end, &err);
    abi_registering(NULL);
    return result < 0 ? abi_take_error(error, err) : 0;
}

qioh_status qioh_task_set_callback(qioh_task *task, qioh_task_fn fn, void *user_data,
                                   qioh_release_fn release, qioh_error *error)
{
    AbiTask *object;
    int32_t status;

    abi_scope_enter();
    status = task_pin(task, &object, error);
    if (status != 0) {
        abi_release_later(release, user_data);
    } else {
        status = claim_callback(object, fn, error);
        if (status == 0) {
            status = set_callback(object, fn, user_data, release, error);
        } else {
            abi_loop_release_soon(object->loop, release, user_data);
        }
        abi_unpin(task);
    }
    abi_scope_leave();
    return status;
}

/* ---- asking ---- */

qioh_status qioh_task_wait(qioh_task *task, int32_t timeout_ms, qioh_error *error)
{
    AbiTask *object;
    Error *err = NULL;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = task_pin(task, &object, error);
    }
    if (status != 0) {
        return status;
    }
    abi_scope_enter();
    status = qio_task_wait(object->task, timeout_ms, &err);
    abi_unpin(task);
    abi_scope_leave();
    return status < 0 ? abi_take_error(error, err) : status;
}

qioh_status qioh_task_cancel(qioh_task *task, qioh_error *error)
{
    AbiTask *object;
    int32_t status = task_pin(task, &object, error);

    if (status != 0) {
        return status;
    }
    qio_task_cancel(object->task);
    abi_unpin(task);
    return 0;
}

qioh_status qioh_task_status(qioh_task *task, qioh_error *error)
{
    AbiTask *object;
    int32_t status = task_pin(task, &object, error);

    if (status != 0) {
        return status;
    }
    status = result_of(object, error);
    abi_unpin(task);
    return status;
}

qioh_status qioh_task_get_error(qioh_task *task, qioh_error *out, qioh_error *error)
{
    AbiTask *object;
    int32_t status;

    if (!out) {
        return abi_fail(error, QIOH_E_INVAL, "out is NULL");
    }
    status = task_pin(task, &object, error);
    if (status != 0) {
        return status;
    }
    status = result_of(object, out);
    abi_unpin(task);
    return status < 0 && status != QIOH_E_AGAIN;
}

/* The channel or listener of a pinned task, or NULL. */
static void *take_result(AbiTask *task, AbiTaskGives gives, qioh_error *error)
{
    const char *what = gives == ABI_TASK_CHANNEL ? "channel" : "listener";
    int32_t status = result_of(task, error);
    void *object;

    if (task->gives != gives) {
        abi_fail(error, QIOH_E_NOTSUP, "task: an operation of this kind gives no %s", what);
        return NULL;
    }
    if (status == QIOH_E_AGAIN) {
        abi_fail(error, QIOH_E_TIMEOUT, "task: it has not ended yet");
    }
    if (status < 0) {
        return NULL;
    }
    object = qio_task_take_result(task->task);
    if (!object) {
        abi_fail(error, QIOH_E_BUSY, "task: its %s was taken already", what);
    }
    return object;
}

static void *take(qioh_task *task, AbiTaskGives gives, qioh_error *error)
{
    AbiTask *object;
    void *result;

    if (task_pin(task, &object, error) < 0) {
        return NULL;
    }
    result = take_result(object, gives, error);
    abi_unpin(task);
    return result;
}

qioh_channel *qioh_task_take_channel(qioh_task *task, qioh_error *error)
{
    QIOChannel *ioc = take(task, ABI_TASK_CHANNEL, error);

    return ioc ? abi_channel_wrap(ioc, NULL, error) : NULL;
}

qioh_listener *qioh_task_take_listener(qioh_task *task, qioh_error *error)
{
    QIONetListener *listener = take(task, ABI_TASK_LISTENER, error);

    return listener ? abi_listener_wrap(listener, error) : NULL;
}
