/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/defer.c: functions that a loop calls once, and release functions that wait for it.
 *
 * Owns: AbiDefer, freed by the core's destroy notify, which runs exactly once.  Any thread.
 */
#include "abi/loop.h"
#include "abi/release.h"

typedef struct AbiDefer {
    AbiLoop *loop;
    qioh_defer_fn fn;           /* NULL: only to release */
    void *user_data;
    qioh_release_fn release;
} AbiDefer;

static _Thread_local const void *registering;

void abi_registering(const void *registration)
{
    registering = registration;
}

void abi_loop_release(AbiLoop *loop, const void *registration, qioh_release_fn release,
                      void *user_data)
{
    if (!release) {
        return;
    }
    abi_scope_enter();
    if (registration == registering || atomic_load(&loop->dying)) {
        abi_release_later(release, user_data);
    } else {
        release(user_data);
    }
    abi_scope_leave();
}

static void run(void *opaque)
{
    AbiDefer *defer = opaque;
    qioh_error error;
    int32_t result;

    if (!defer->fn) {
        return;
    }
    abi_callback_begin(defer->loop, &error);
    result = defer->fn(defer->loop->handle, defer->user_data, &error);
    abi_callback_end(defer->loop, MIN(result, 0), &error);
}

static void destroy(gpointer opaque)
{
    AbiDefer *defer = opaque;

    abi_loop_release(defer->loop, defer, defer->release, defer->user_data);
    abi_loop_unref(defer->loop);
    g_free(defer);
}

static int32_t add(AbiLoop *loop, qioh_defer_fn fn, void *user_data, qioh_release_fn release,
                   qioh_error *error)
{
    AbiDefer *defer = g_new(AbiDefer, 1);
    Error *err = NULL;
    int result;

    *defer = (AbiDefer){ .loop = abi_loop_ref(loop), .fn = fn, .user_data = user_data,
                         .release = release };
    abi_registering(defer);
    result = qio_aio_context_defer(loop->ctx, run, defer, destroy, &err);
    abi_registering(NULL);
    return result < 0 ? abi_take_error(error, err) : 0;
}

void abi_loop_release_soon(AbiLoop *loop, qioh_release_fn release, void *user_data)
{
    if (release) {
        add(loop, NULL, user_data, release, NULL);
    }
}

qioh_status qioh_loop_defer(qioh_loop *loop, qioh_defer_fn fn, void *user_data,
                            qioh_release_fn release, qioh_error *error)
{
    AbiLoop *object;
    int32_t status;

    abi_scope_enter();
    status = abi_loop_pin(loop, &object, error);
    if (status < 0) {
        abi_release_later(release, user_data);
    } else if (!fn) {
        status = abi_fail(error, QIOH_E_INVAL, "fn is NULL");
        abi_loop_release_soon(object, release, user_data);
        abi_unpin(loop);
    } else {
        status = add(object, fn, user_data, release, error);
        abi_unpin(loop);
    }
    abi_scope_leave();
    return status;
}
