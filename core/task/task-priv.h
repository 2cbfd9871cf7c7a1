/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task/task-priv.h: what the library needs of tasks beyond qio/task.h.
 *
 * Owns: the other ways to be told of the end: for a task that was made without a function an event
 * of qio_loop_next(), or a function that is set later; and a call inside the library.  Any thread.
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

/* Whether all is over but the telling: it has its result, and finish has run. */
bool qio_task_is_finished(QIOTask *task);
/* Calls func once that is so, where internal watches run or the loop closes; it must call nothing
 * of a user.  Returns: false, and does nothing, when it is so already. */
bool qio_task_on_finished(QIOTask *task, void (*func)(void *opaque), void *opaque);

/* stuck: whether the operation, which has done what it could, goes on by nobody but the thread that
 * asks, which is about to sleep until its end.  By who makes the task, before others have it; asked
 * where the loop is dispatched, without any lock. */
void qio_task_set_stuck(QIOTask *task, bool (*stuck)(Object *source));
bool qio_task_is_stuck(QIOTask *task);

/* The result of an operation that completed with GINT_TO_POINTER(number) and no function that
 * frees it; else 0. */
int qio_task_get_number(QIOTask *task);

#endif
