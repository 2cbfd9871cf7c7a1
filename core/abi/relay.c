/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/relay.c: relays.
 *
 * Owns: AbiFilter, the trampoline of a filter.  Rules: a filter holds a reference on the task's
 * handle, so that it is called with one that is alive; a filter that fails ends its relay, which
 * has the error, and as every callback the dispatch that ran it.  Any thread.
 */
#include <qio/relay.h>
#include "abi/channel.h"
#include "abi/loop.h"
#include "abi/options.h"
#include "abi/release.h"
#include "abi/task.h"

typedef struct AbiFilter {
    AbiLoop *loop;
    qioh_task *handle;
    qioh_filter_fn fn;
    void *user_data;
    qioh_release_fn release;
} AbiFilter;

/* ---- starting ---- */

static QIOTask *start_in(AbiLoop *loop, qioh_channel *a, qioh_channel *b,
                         const QIOOptions *options, qioh_error *error)
{
    QIOChannel *ends[2];
    QIOTask *task = NULL;
    Error *err = NULL;

    if (abi_channel_pin(a, &ends[0], error) < 0) {
        return NULL;
    }
    if (abi_channel_pin(b, &ends[1], error) == 0) {
        task = qio_relay_start(ends[0], ends[1], options, loop->ctx, NULL, NULL, NULL, &err);
        if (!task) {
            abi_take_error(error, err);
        }
        abi_unpin(b);
    }
    abi_unpin(a);
    return task;
}

qioh_task *qioh_task_start_relay(qioh_channel *a, qioh_channel *b, qioh_options *options,
                                 qioh_loop *loop, uint64_t cookie, qioh_error *error)
{
    QIOOptions *copy = NULL;
    qioh_task *handle = NULL;
    AbiLoop *object;
    QIOTask *task;

    abi_scope_enter();
    if (abi_options_copy(options, &copy, error) == 0 && abi_loop_pin(loop, &object, error) == 0) {
        task = start_in(object, a, b, copy, error);
        handle = task ? abi_task_new(task, ABI_TASK_NOTHING, object, cookie, error) : NULL;
        abi_unpin(loop);
    }
    qio_options_free(copy);
    abi_scope_leave();
    return handle;
}

/* ---- the filter ---- */

static int call_filter(QIOTask *task, unsigned direction, const void *buf, size_t len,
                       gpointer opaque, Error **errp)
{
    AbiFilter *filter = opaque;
    qioh_error error;
    int32_t result;

    abi_callback_begin(filter->loop, &error);
    result = filter->fn(filter->handle, direction, buf, len, filter->user_data, &error);
    abi_callback_end(filter->loop, MIN(result, 0), &error);
    return result < 0 ? abi_give_error(errp, result, &error) : result > 0;
}

static void filter_end(gpointer opaque)
{
    AbiFilter *filter = opaque;

    abi_scope_enter();
    abi_loop_release(filter->loop, filter, filter->release, filter->user_data);
    abi_handle_unref(filter->handle, QIOH_KIND_TASK);
    abi_loop_unref(filter->loop);
    g_free(filter);
    abi_scope_leave();
}

/* Has the release from here on, also on failure. */
static int32_t set_filter(QIOTask *task, AbiFilter *filter, qioh_error *error)
{
    Error *err = NULL;
    int result;

    abi_registering(filter);
    result = qio_relay_set_filter(task, call_filter, filter, filter_end, &err);
    abi_registering(NULL);
    return result < 0 ? abi_take_error(error, err) : 0;
}

static int32_t add_filter(qioh_task *handle, AbiLoop *loop, QIOTask *task, qioh_filter_fn fn,
                          void *user_data, qioh_release_fn release, qioh_error *error)
{
    AbiFilter *filter;
    int32_t status = 0;

    if (!fn) {
        status = abi_fail(error, QIOH_E_INVAL, "fn is NULL");
    } else {
        status = abi_handle_ref(handle, QIOH_KIND_TASK, error);
    }
    if (status < 0) {
        abi_loop_release_soon(loop, release, user_data);
        return status;
    }
    filter = g_new(AbiFilter, 1);
    *filter = (AbiFilter) { .loop = abi_loop_ref(loop), .handle = handle, .fn = fn,
                            .user_data = user_data, .release = release };
    return set_filter(task, filter, error);
}

qioh_status qioh_task_set_filter(qioh_task *task, qioh_filter_fn fn, void *user_data,
                                 qioh_release_fn release, qioh_error *error)
{
    AbiLoop *loop;
    QIOTask *core;
    int32_t status;

    abi_scope_enter();
    status = abi_task_pin_in(task, &core, &loop, error);
    if (status < 0) {
        abi_release_later(release, user_data);
    } else {
        status = add_filter(task, loop, core, fn, user_data, release, error);
        abi_unpin(task);
    }
    abi_scope_leave();
    return status;
}

qioh_status qioh_task_put(qioh_task *task, const void *buf, size_t len, qioh_error *error)
{
    QIOTask *core;
    Error *err = NULL;
    int32_t status = abi_task_pin(task, &core, error);

    if (status < 0) {
        return status;
    }
    if (qio_relay_put(core, buf, len, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(task);
    return status;
}

/* ---- counting ---- */

static qioh_status get_pair(int (*get)(QIOTask *, uint64_t *, uint64_t *, Error **),
                            qioh_task *task, uint64_t *a_to_b, uint64_t *b_to_a,
                            qioh_error *error)
{
    QIOTask *core;
    Error *err = NULL;
    int32_t status = abi_task_pin(task, &core, error);

    if (status < 0) {
        return status;
    }
    if (get(core, a_to_b, b_to_a, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(task);
    return status;
}

qioh_status qioh_task_get_counts(qioh_task *task, uint64_t *a_to_b, uint64_t *b_to_a,
                                 qioh_error *error)
{
    return get_pair(qio_relay_get_counts, task, a_to_b, b_to_a, error);
}

qioh_status qioh_task_get_lost(qioh_task *task, uint64_t *a_to_b, uint64_t *b_to_a,
                               qioh_error *error)
{
    return get_pair(qio_relay_get_lost, task, a_to_b, b_to_a, error);
}
