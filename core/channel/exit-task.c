/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/exit-task.c: waiting for the end of a child process, as an operation in a loop.
 *
 * Owns: the task that qio_channel_command_wait_exit_task() makes.
 * Rule: what is known of a child stays known, so the channel may be closed meanwhile.  The pidfd
 * is the child's; it may go when the channel has been closed and the child has ended, of which the
 * loop tells (qio_loop_forget_fd).
 */
#include "channel/channel-priv.h"
#include <qio/channel-command.h>

/* A child that has ended and cannot be waited for yet, because a debugger holds it. */
enum { HELD_LOOK_MS = 10 };

static void unref_task(gpointer task)
{
    qio_task_unref(task);
}

static bool complete_if_ended(QIOTask *task)
{
    QIOChannelCommand *ioc = (QIOChannelCommand *)qio_task_get_source(task);

    if (qio_channel_command_get_exit_status(ioc, NULL, NULL)) {
        qio_task_complete(task, NULL, NULL);
    }
    return qio_task_is_done(task);
}

static gboolean look_again(void *opaque)
{
    return !complete_if_ended(opaque);
}

static void add_watch(QIOTask *task, QIOLoopWatch *watch, Error *err)
{
    if (watch) {
        qio_task_add_watch(task, watch);
    } else {
        qio_task_fail(task, err);
    }
}

static gboolean pidfd_ready(int fd, GIOCondition condition, void *opaque)
{
    QIOTask *task = opaque;
    QIOLoopWatch *watch;
    Error *err = NULL;

    if (!complete_if_ended(task)) {
        watch = qio_loop_add_internal_timer(qio_task_get_context(task), HELD_LOOK_MS, HELD_LOOK_MS,
                                            look_again, qio_task_ref(task), unref_task, &err);
        add_watch(task, watch, err);
    }
    return FALSE;
}

QIOTask *qio_channel_command_wait_exit_task(QIOChannelCommand *ioc, int timeout_ms,
                                            AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                                            GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    QIOLoopWatch *watch;
    Error *err = NULL;
    int pidfd;

    qio_task_set_deadline(task, timeout_ms);
    pidfd = qio_channel_command_get_pidfd(ioc);
    if (complete_if_ended(task)) {
        return task;
    }
    if (pidfd < 0) {
        qio_error_set(&err, QIO_ERROR_NOTSUP, "the child process cannot be waited for");
        qio_task_fail(task, err);
        return task;
    }
    watch = qio_loop_add_internal_fd(qio_task_get_context(task), pidfd, G_IO_IN, pidfd_ready,
                                     qio_task_ref(task), unref_task, &err);
    add_watch(task, watch, err);
    /* A close may have taken the pidfd away before it was watched. */
    complete_if_ended(task);
    return task;
}
