/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/loop.h: the object behind a loop handle, and what a dispatch keeps while it runs.
 *
 * Owns: AbiLoop; AbiDispatch, one for each dispatch on a thread's stack.
 * Rules: the handle holds one reference, each registration another, so that a watch can be
 * asked about after its loop's handle is gone.  A failure of a callback is kept by the dispatch
 * that ran it and returned by that call.
 */
#ifndef QIO_ABI_LOOP_H
#define QIO_ABI_LOOP_H

#include <pthread.h>
#include <qio/aio.h>
#include "abi/error.h"
#include "abi/handle.h"

typedef struct AbiLoop {
    _Atomic int refs;
    AioContext *ctx;
    qioh_loop *handle;
    atomic_bool closed;
    atomic_bool dying;              /* its handle is gone: what it had is without a loop */
    atomic_bool owes_dispatch;      /* DISPATCH did not fit the last array of events */
    pthread_mutex_t lock;
    GSource *source;                /* attached to a GMainContext, or NULL; under lock */
} AbiLoop;

typedef struct AbiDispatch AbiDispatch;

static inline int32_t abi_loop_pin(qioh_loop *loop, AbiLoop **object, qioh_error *error)
{
    return abi_pin(loop, QIOH_KIND_LOOP, (void **)object, error);
}

AbiLoop *abi_loop_ref(AbiLoop *loop);
void abi_loop_unref(AbiLoop *loop);

/*
 * The end of a registration in `loop`: calls release(user_data), NULL allowed, from a dispatch
 * or a close of it; at the end of the outermost call when the loop is dying, and when this
 * thread is just making the registration (abi_registering()), which then failed.
 */
void abi_loop_release(AbiLoop *loop, const void *registration, qioh_release_fn release,
                      void *user_data);
/* Notes what this thread registers; NULL at the end. */
void abi_registering(const void *registration);
/* For a registration that failed before the core knew of it: by the loop's next dispatch. */
void abi_loop_release_soon(AbiLoop *loop, qioh_release_fn release, void *user_data);

/* Around each call of a function of the caller, in a dispatch of `loop`; `error` is what the
 * function fills.  end takes its result: < 0 ends the dispatch and becomes its result. */
void abi_callback_begin(AbiLoop *loop, qioh_error *error);
void abi_callback_end(AbiLoop *loop, int32_t result, const qioh_error *error);

#endif
