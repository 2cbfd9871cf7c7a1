/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task/task-priv.h: what the flat ABI needs of tasks beyond qio/task.h.
 *
 * Owns: the two other ways to be told of the end of a task that was made without a function: an
 * event of qio_loop_next(), or a function that is set later.  Any thread.
 */
#ifndef QIO_TASK_PRIV_H
#define QIO_TASK_PRIV_H

#include <qio/task.h>
#include "loop/loop.h"

/*
 * The end of the task is reported once by qio_loop_next(), as an event of kind QIO_LOOP_WATCH
 * with opaque, and QIO_LOOP_RELEASED follows.  destroy as qio_loop_add_subject() says, also on
 * failure.  Once for each task.
 * Returns: 0, or -1 (CLOSED)
 */
int qio_task_add_event(QIOTask *task, void *opaque, GDestroyNotify destroy, Error **errp);

/*
 * A function in place of the event, which then never comes.  destroy exactly once, also on
 * failure, in a dispatch or in this call.
 * Returns: 0, or -1 BUSY: there is a function already, or the event has been reported
 */
int qio_task_set_func(QIOTask *task, QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                      Error **errp);

/* The result of an operation that completed with GINT_TO_POINTER(number) and no function that
 * frees it; else 0. */
int qio_task_get_number(QIOTask *task);

#endif
