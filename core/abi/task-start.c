/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/task-start.c: operations: opening, listening, handshake, orderly close, the end of a command.
 *
 * Owns nothing.  Rule: those on a channel only pin it; the operation holds its own reference, and
 * closing the channel ends what needs it open.  Any thread.
 */
#include "abi/channel.h"
#include "abi/command.h"
#include "abi/options.h"
#include "abi/release.h"
#include "abi/task.h"
#include <qio/net-listener.h>
#include <qio/uri.h>

typedef QIOTask *(*OpenFunc)(const char *uri, const QIOOptions *options, AioContext *ctx,
                             QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);

static qioh_task *open_in(AbiLoop *loop, const char *uri, qioh_options *options, OpenFunc func,
                          AbiTaskGives gives, uint64_t cookie, qioh_error *error)
{
    QIOOptions *settings;
    QIOTask *task;

    if (abi_options_copy(options, &settings, error) < 0) {
        return NULL;
    }
    task = func(uri, settings, loop->ctx, NULL, NULL, NULL);
    qio_options_free(settings);
    return abi_task_new(task, gives, loop, cookie, error);
}

static qioh_task *start_open(const char *uri, qioh_options *options, OpenFunc func,
                             AbiTaskGives gives, qioh_loop *loop, uint64_t cookie,
                             qioh_error *error)
{
    qioh_task *task = NULL;
    AbiLoop *object;

    abi_scope_enter();
    if (abi_loop_pin(loop, &object, error) == 0) {
        if (uri) {
            task = open_in(object, uri, options, func, gives, cookie, error);
        } else {
            abi_fail(error, QIOH_E_INVAL, "uri is NULL");
        }
        abi_unpin(loop);
    }
    abi_scope_leave();
    return task;
}

qioh_task *qioh_task_start_open_uri(const char *uri, qioh_options *options, qioh_loop *loop,
                                    uint64_t cookie, qioh_error *error)
{
    return start_open(uri, options, qio_channel_open_uri_task, ABI_TASK_CHANNEL, loop, cookie,
                      error);
}

qioh_task *qioh_task_start_listen_uri(const char *uri, qioh_options *options, qioh_loop *loop,
                                      uint64_t cookie, qioh_error *error)
{
    return start_open(uri, options, qio_net_listener_open_uri_task, ABI_TASK_LISTENER, loop,
                      cookie, error);
}

/* ---- on a channel ---- */

/* What an operation is made from: a pinned channel, in a pinned loop.  NULL: it is not for this
 * channel, as the error tells. */
typedef QIOTask *(*StartFunc)(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                              qioh_error *error);

static qioh_task *start_in(AbiLoop *loop, qioh_channel *channel, int32_t timeout_ms,
                           StartFunc start, AbiTaskGives gives, uint64_t cookie,
                           qioh_error *error)
{
    QIOChannel *ioc;
    QIOTask *task;

    if (abi_check_timeout(timeout_ms, error) < 0 || abi_channel_pin(channel, &ioc, error) < 0) {
        return NULL;
    }
    task = start(ioc, timeout_ms, loop->ctx, error);
    abi_unpin(channel);
    return !task ? NULL : abi_task_new(task, gives, loop, cookie, error);
}

static qioh_task *start(qioh_channel *channel, int32_t timeout_ms, StartFunc func,
                        AbiTaskGives gives, qioh_loop *loop, uint64_t cookie, qioh_error *error)
{
    qioh_task *task = NULL;
    AbiLoop *object;

    abi_scope_enter();
    if (abi_loop_pin(loop, &object, error) == 0) {
        task = start_in(object, channel, timeout_ms, func, gives, cookie, error);
        abi_unpin(loop);
    }
    abi_scope_leave();
    return task;
}

static QIOTask *start_handshake(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                qioh_error *error)
{
    return qio_channel_handshake_task(ioc, timeout_ms, ctx, NULL, NULL, NULL);
}

qioh_task *qioh_task_start_handshake(qioh_channel *channel, int32_t timeout_ms, qioh_loop *loop,
                                     uint64_t cookie, qioh_error *error)
{
    return start(channel, timeout_ms, start_handshake, ABI_TASK_NUMBER, loop, cookie, error);
}

static QIOTask *start_close(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                            qioh_error *error)
{
    return qio_channel_close_task(ioc, timeout_ms, ctx, NULL, NULL, NULL);
}

qioh_task *qioh_task_start_close(qioh_channel *channel, int32_t timeout_ms, qioh_loop *loop,
                                 uint64_t cookie, qioh_error *error)
{
    return start(channel, timeout_ms, start_close, ABI_TASK_NOTHING, loop, cookie, error);
}

static QIOTask *start_wait_exit(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                qioh_error *error)
{
    if (!abi_is_command(ioc, error)) {
        return NULL;
    }
    return qio_channel_command_wait_exit_task((QIOChannelCommand *)ioc, timeout_ms, ctx, NULL, NULL,
                                              NULL);
}

qioh_task *qioh_task_start_wait_exit(qioh_channel *channel, qioh_loop *loop, uint64_t cookie,
                                     qioh_error *error)
{
    return start(channel, -1, start_wait_exit, ABI_TASK_NOTHING, loop, cookie, error);
}
