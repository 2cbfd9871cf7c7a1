/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/accept-task.c: taking one client as an operation in a loop.
 *
 * Owns: the task that qio_net_listener_accept_task() makes.
 * Rule: a client is taken only by a task that still runs, so cancelling loses none; one that was
 * cancelled in the very moment gives its client up, as a process does that ends.
 */
#include "net/listener-priv.h"

static void unref_task(gpointer task)
{
    qio_task_unref(task);
}

static gboolean take_client(QIONetListener *listener, GIOCondition condition, gpointer data)
{
    QIOTask *task = data;
    QIOChannel *client;
    Error *err = NULL;

    if (qio_task_is_done(task)) {
        return FALSE;
    }
    if (condition & G_IO_NVAL) {
        qio_error_set(&err, QIO_ERROR_CANCELLED, "the listener was closed");
        qio_task_fail(task, err);
        return FALSE;
    }
    client = qio_net_listener_accept_channel(listener, 0, false, &err);
    if (client != NULL) {
        qio_task_complete(task, client, qio_object_unref);
        return FALSE;
    }
    if (qio_error_get_code(err) == QIO_ERROR_TIMEOUT) {
        qio_error_free(err);        /* somebody else was faster, or a shortage pauses the watch */
        return TRUE;
    }
    qio_task_fail(task, err);
    return FALSE;
}

QIOTask *qio_net_listener_accept_task(QIONetListener *listener, int timeout_ms, AioContext *ctx,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)listener, ctx, func, opaque, destroy);
    QIOLoopWatch *watch;
    Error *err = NULL;

    if (qio_task_is_done(task)) {
        return task;
    }
    qio_task_set_deadline(task, timeout_ms);
    watch = qio_listener_add_internal_watch(listener, ctx, take_client, qio_task_ref(task),
                                            unref_task, &err);
    if (watch != NULL) {
        qio_task_add_watch(task, watch);
    } else {
        qio_task_fail(task, err);
    }
    return task;
}
