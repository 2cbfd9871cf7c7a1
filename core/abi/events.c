/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/events.c: qioh_loop_next_events, events without callbacks.
 *
 * Owns: the translation of the core's events and the stride.  Rule: nothing of the caller's
 * is called.  The struct_size of the first event is the distance between two, and stays as it
 * is, so that an array can be used again without a look.
 */
#include "abi/channel.h"
#include "abi/event.h"
#include "abi/loop.h"
#include "abi/release.h"
#include "loop/loop.h"

#include <string.h>

#define EVENT_BATCH 256

/* The first event struct ever published. */
#define EVENT_SIZE_MIN 64u

G_STATIC_ASSERT(sizeof(qioh_event) == 64);

static void put(qioh_event *events, uint32_t stride, uint32_t index, qioh_event event)
{
    char *at = (char *)events + (size_t)index * stride;

    event.struct_size = events->struct_size;
    if (G_LIKELY(stride == sizeof(event))) {
        memcpy(at, &event, sizeof(event));      /* of a size that the compiler knows */
        return;
    }
    memcpy(at, &event, MIN(stride, sizeof(event)));
    if (stride > sizeof(event)) {
        memset(at + sizeof(event), 0, stride - sizeof(event));
    }
}

static int32_t check(qioh_event *events, uint32_t cap, int32_t timeout_ms, qioh_error *error)
{
    if (!events || cap == 0) {
        return abi_fail(error, QIOH_E_INVAL, "%s: room for one event is needed at least",
                        events ? "cap is 0" : "events is NULL");
    }
    if (cap > INT32_MAX) {
        return abi_fail(error, QIOH_E_INVAL, "cap is %u, more than the result can say", cap);
    }
    if (events->struct_size != 0 && events->struct_size < EVENT_SIZE_MIN) {
        return abi_fail(error, QIOH_E_INVAL, "events[0].struct_size is %u; it is the size of one "
                        "event, %u or more, or 0 for %u", events->struct_size, EVENT_SIZE_MIN,
                        (unsigned)sizeof(*events));
    }
    return abi_check_timeout(timeout_ms, error);
}

/* The caller's array. */
typedef struct Array {
    qioh_event *events;
    uint32_t stride;
} Array;

/* While no other thread can take the loop: its next events end what these are made of. */
static void tell(const QIOLoopEvent *batch, int n, void *opaque)
{
    const Array *array = opaque;

    for (int i = 0; i < n; i++) {
        const AbiEventSource *source = batch[i].opaque;

        put(array->events, array->stride, (uint32_t)i, source->tell(&batch[i]));
    }
}

/* Room for the DISPATCH that did not fit last time is kept free, so that queued events cannot
 * hide it for ever.  Inline, as each return across the wait is one that the processor forgot. */
ABI_INLINE int collect(AbiLoop *loop, qioh_event *events, uint32_t stride, uint32_t cap,
                       int32_t timeout_ms, Error **errp)
{
    Array array = { .events = events, .stride = stride };
    QIOLoopEvent batch[EVENT_BATCH];
    bool owed = atomic_load(&loop->owes_dispatch) &&
                atomic_exchange(&loop->owes_dispatch, false);
    uint32_t room = MIN(cap - owed, EVENT_BATCH);
    bool due = false;
    int n = 0;

    if (room > 0) {
        n = qio_loop_next_look(loop->ctx, batch, (int)room, owed ? 0 : timeout_ms, &due, tell,
                               &array, errp);
    }
    if (n < 0 || !(due || owed)) {
        return n;
    }
    if ((uint32_t)n == cap) {
        atomic_store(&loop->owes_dispatch, true);
        return n;
    }
    put(events, stride, (uint32_t)n, (qioh_event){ .kind = QIOH_EV_DISPATCH });
    return n + 1;
}

qioh_status qioh_loop_next_events(qioh_loop *loop, qioh_event *events, uint32_t cap,
                                  int32_t timeout_ms, qioh_error *error)
{
    Error *err = NULL;
    AbiScope *scope;
    uint32_t stride;
    AbiLoop *object;
    int32_t status = check(events, cap, timeout_ms, error);

    if (status == 0) {
        status = abi_loop_pin(loop, &object, error);
    }
    if (status != 0) {
        return status;
    }
    stride = events->struct_size ? events->struct_size : (uint32_t)sizeof(*events);
    scope = abi_scope();
    abi_scope_begin(scope);
    status = collect(object, events, stride, cap, timeout_ms, &err);
    abi_unpin(loop);
    abi_scope_end(scope);
    return status < 0 ? abi_take_error(error, err) : status;
}
