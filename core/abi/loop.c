/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/loop.c: loops: life, waiting, dispatch.
 *
 * Owns: AbiLoop, and how the failure of a callback becomes the result of the dispatch.
 * Rules: dispatching needs a scope (abi/release.h), because everything of the caller's is
 * called from it.  A loop ends with its handle, attached to GLib or not: what is registered
 * is removed and released.
 */
#include "abi/loop.h"
#include "abi/channel.h"
#include "abi/kind.h"
#include "abi/release.h"
#include "loop/loop.h"

#include <string.h>

struct AbiDispatch {
    AbiLoop *loop;
    int32_t ran;
    int32_t failure;            /* what the first callback that failed returned */
    qioh_error error;           /* and what it filled in */
    AbiDispatch *outer;         /* a callback may dispatch another loop */
};

static _Thread_local AbiDispatch *current;

/* ---- life ---- */

AbiLoop *abi_loop_ref(AbiLoop *loop)
{
    atomic_fetch_add(&loop->refs, 1);
    return loop;
}

void abi_loop_unref(AbiLoop *loop)
{
    if (atomic_fetch_sub(&loop->refs, 1) == 1) {
        pthread_mutex_destroy(&loop->lock);
        g_free(loop);
    }
}

qioh_loop *qioh_loop_new(qioh_error *error)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    AbiLoop *loop;

    if (!ctx) {
        abi_take_error(error, err);
        return NULL;
    }
    loop = g_new0(AbiLoop, 1);
    atomic_init(&loop->refs, 1);
    pthread_mutex_init(&loop->lock, NULL);
    loop->ctx = ctx;
    loop->handle = abi_handle_new(QIOH_KIND_LOOP, loop, 1, error);
    if (!loop->handle) {
        qio_aio_context_unref(ctx);
        abi_loop_unref(loop);
        return NULL;
    }
    return loop->handle;
}

void qioh_loop_unref(qioh_loop *loop)
{
    abi_handle_unref(loop, QIOH_KIND_LOOP);
}

/* Nobody can wake it any more: whoever sleeps in it comes back. */
void abi_loop_retired(void *object)
{
    AbiLoop *loop = object;

    if (abi_handle_is_ours(loop->handle)) {
        qio_aio_context_quit(loop->ctx);
    }
}

static void detach(AbiLoop *loop)
{
    GSource *source;

    pthread_mutex_lock(&loop->lock);
    source = loop->source;
    loop->source = NULL;
    pthread_mutex_unlock(&loop->lock);
    if (source) {
        g_source_destroy(source);
        g_source_unref(source);
    }
}

/* BUSY, when GLib is dispatching it on another thread, is no harm: that dispatch holds the
 * context, which then closes at its end. */
void abi_loop_destroyed(void *object, uint64_t token)
{
    AbiLoop *loop = object;

    if (!abi_handle_is_ours(loop->handle)) {
        qio_loop_abandon(loop->ctx);
        return;
    }
    detach(loop);
    atomic_store(&loop->dying, true);
    qio_aio_context_close(loop->ctx, NULL);
    qio_aio_context_unref(loop->ctx);
    abi_loop_unref(loop);
}

qioh_status qioh_loop_close(qioh_loop *loop, qioh_error *error)
{
    Error *err = NULL;
    AbiLoop *object;
    int32_t status = abi_loop_pin(loop, &object, error);

    if (status != 0) {
        return status;
    }
    abi_scope_enter();
    if (qio_aio_context_close(object->ctx, &err) < 0) {
        status = abi_take_error(error, err);
    } else {
        atomic_store(&object->closed, true);
        detach(object);
    }
    abi_unpin(loop);
    abi_scope_leave();
    return status;
}

/* ---- callbacks ---- */

void abi_callback_begin(AbiLoop *loop, qioh_error *error)
{
    /* The message's other bytes are nobody's to read. */
    memset(error, 0, offsetof(qioh_error, message) + 1);
    error->struct_size = sizeof(*error);
    abi_scope_enter();
}

void abi_callback_end(AbiLoop *loop, int32_t result, const qioh_error *error)
{
    AbiDispatch *dispatch = current && current->loop == loop ? current : NULL;

    if (dispatch) {
        dispatch->ran++;
    }
    if (result < 0 && dispatch && dispatch->failure == 0) {
        dispatch->failure = result;
        dispatch->error = *error;
    } else if (result < 0 && !dispatch) {
        /* Attached to GLib, whose dispatch returns nothing to anybody. */
        g_warning("a callback of a loop failed: %s",
                  error->message[0] ? error->message : qioh_status_name(result));
    }
    if (result < 0) {
        qio_loop_break(loop->ctx);
    }
    abi_scope_leave();
}

static void dispatch_begin(AbiDispatch *dispatch, AbiLoop *loop)
{
    dispatch->loop = loop;
    dispatch->ran = 0;
    dispatch->failure = 0;
    dispatch->outer = current;
    current = dispatch;
    atomic_store_explicit(&loop->owes_dispatch, false, memory_order_relaxed);
    abi_scope_enter();
}

/* What the call returns: a callback's failure, else the core's, else how many ran. */
static int32_t dispatch_end(AbiDispatch *dispatch, qioh_loop *loop, int result, Error *err,
                            qioh_error *error)
{
    int32_t status = dispatch->ran;

    current = dispatch->outer;
    if (dispatch->failure < 0) {
        if (dispatch->error.code == 0) {
            abi_fail(&dispatch->error, dispatch->failure, "a callback failed (%s)",
                     qioh_status_name(dispatch->failure));
        }
        dispatch->error.code = dispatch->failure;
        abi_copy_error(error, &dispatch->error);
        status = dispatch->failure;
        qio_error_free(err);
    } else if (result < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(loop);
    abi_scope_leave();
    return status;
}

qioh_status qioh_loop_dispatch(qioh_loop *loop, int32_t timeout_ms, qioh_error *error)
{
    AbiDispatch dispatch;
    Error *err = NULL;
    AbiLoop *object;
    int result;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = abi_loop_pin(loop, &object, error);
    }
    if (status != 0) {
        return status;
    }
    dispatch_begin(&dispatch, object);
    result = qio_aio_context_dispatch(object->ctx, timeout_ms, &err);
    return dispatch_end(&dispatch, loop, result, err, error);
}

qioh_status qioh_loop_run(qioh_loop *loop, qioh_error *error)
{
    AbiDispatch dispatch;
    Error *err = NULL;
    AbiLoop *object;
    int result;
    int32_t status = abi_loop_pin(loop, &object, error);

    if (status != 0) {
        return status;
    }
    dispatch_begin(&dispatch, object);
    result = qio_aio_context_run(object->ctx, &err);
    status = dispatch_end(&dispatch, loop, result, err, error);
    return status < 0 ? status : 0;
}

/* ---- from any thread ---- */

/* Pins a loop that is not closed. */
static int32_t open_loop_pin(qioh_loop *loop, AbiLoop **object, qioh_error *error)
{
    int32_t status = abi_loop_pin(loop, object, error);

    if (status == 0 && atomic_load(&(*object)->closed)) {
        abi_unpin_signal_safe(loop);
        status = abi_fail(error, QIOH_E_CLOSED, "the loop is closed");
    }
    return status;
}

qioh_status qioh_loop_get_fd(qioh_loop *loop, qioh_error *error)
{
    AbiLoop *object;
    int32_t fd = open_loop_pin(loop, &object, error);

    if (fd < 0) {
        return fd;
    }
    fd = qio_aio_context_get_fd(object->ctx);
    abi_unpin(loop);
    return fd;
}

qioh_status qioh_loop_wait(qioh_loop *loop, int32_t timeout_ms, qioh_error *error)
{
    Error *err = NULL;
    AbiLoop *object;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = open_loop_pin(loop, &object, error);
    }
    if (status != 0) {
        return status;
    }
    status = qio_aio_context_wait(object->ctx, timeout_ms, &err);
    abi_unpin(loop);
    return status < 0 ? abi_take_error(error, err) : status;
}

qioh_status qioh_loop_quit(qioh_loop *loop, qioh_error *error)
{
    AbiLoop *object;
    int32_t status = open_loop_pin(loop, &object, error);

    if (status != 0) {
        return status;
    }
    qio_aio_context_quit(object->ctx);
    abi_unpin(loop);
    return 0;
}

/* Async-signal-safe with a NULL error: atomics and one write(2), and nothing is destroyed. */
qioh_status qioh_loop_wakeup(qioh_loop *loop, qioh_error *error)
{
    AbiLoop *object;
    int32_t status = open_loop_pin(loop, &object, error);

    if (status != 0) {
        return status;
    }
    qio_aio_context_notify(object->ctx);
    abi_unpin_signal_safe(loop);
    return 0;
}

qioh_status qioh_loop_attach_glib(qioh_loop *loop, void *main_context, qioh_error *error)
{
    AbiLoop *object;
    GSource *source;
    int32_t status = open_loop_pin(loop, &object, error);

    if (status != 0) {
        return status;
    }
    pthread_mutex_lock(&object->lock);
    if (object->source) {
        status = abi_fail(error, QIOH_E_BUSY, "loop: it is attached to a GMainContext already");
    } else {
        source = qio_aio_context_get_g_source(object->ctx);
        g_source_attach(source, main_context);
        object->source = source;
    }
    pthread_mutex_unlock(&object->lock);
    abi_unpin(loop);
    return status;
}
