/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/task.h: an operation that finishes later, exactly once.
 *
 * Owns: the public face of QIOTask: what was asked for, whether it has ended, and how.
 * Rule: a task has one result, the first that anybody gives it: success, a failure, CANCELLED,
 * TIMEOUT, or CANCELLED because its loop closed.  Its function then runs once in the loop that
 * asked, and nothing else of it runs afterwards.  All calls: any thread.
 */
#ifndef QIO_TASK_H
#define QIO_TASK_H

#include <glib.h>
#include <stdbool.h>
#include <qio/aio.h>
#include <qio/error.h>
#include <qio/object.h>

G_BEGIN_DECLS

/* An operation that finishes later. */
typedef struct QIOTask QIOTask;
/** QIOTaskFunc: the task has ended: see qio_task_propagate_error(), qio_task_take_result(). */
typedef void (*QIOTaskFunc)(QIOTask *task, gpointer opaque);

/* ---- for who asked for the operation ---- */

/** qio_task_ref: one more reference; giving the last one up does not end the operation.  Any
 * thread. */
QIOTask *qio_task_ref(QIOTask *task);
/** qio_task_unref: gives up a reference; NULL is allowed.  Any thread. */
void qio_task_unref(QIOTask *task);
/** qio_task_cancel: ends the operation with CANCELLED.  Any thread.  Returns: true, or false when
 * it had ended already. */
bool qio_task_cancel(QIOTask *task);
/** qio_task_is_done: whether it has its result.  Its function may not have run yet.  Any thread. */
bool qio_task_is_done(QIOTask *task);
/** qio_task_propagate_error: how it failed.  Returns: true when it has failed, with a copy of the
 * error in @errp, as often as it is asked; false while it runs and when it succeeded. */
bool qio_task_propagate_error(QIOTask *task, Error **errp);
/** qio_task_take_result: what came of it (for example a channel), which is the caller's from here
 * on.  Returns: NULL when there is none, it failed, or somebody has taken it. */
gpointer qio_task_take_result(QIOTask *task);
/** qio_task_get_source: the object that qio_task_new() was given, borrowed. */
Object *qio_task_get_source(QIOTask *task);
/** qio_task_get_context: the loop in whose dispatch its function runs, borrowed.  It may be
 * closed.  Returns: NULL when there is no main loop. */
AioContext *qio_task_get_context(QIOTask *task);

/**
 * qio_task_wait:
 * @timeout_ms: how long to wait; -1 = for ever, 0 = try
 *
 * Waits for the end of the operation without dispatching: no callback of anybody runs in this
 * call, that of the task neither.  While nobody else dispatches the loop, this call does the
 * operation's own work; who comes to dispatch it gets it at once.  In a coroutine it yields, and
 * the loop enters the coroutine again.  Any thread but one inside a callback of the same loop.
 * Returns: 1 it has ended, 0 time-out, -1 error: BUSY (called inside a callback of its loop), INTR
 * (a signal came), SYSTEM
 */
int qio_task_wait(QIOTask *task, int timeout_ms, Error **errp);

/* ---- for who implements an operation ---- */

/**
 * qio_task_new:
 * @source: what the operation is about; referenced while it runs; NULL is allowed
 * @ctx: the loop of the operation, NULL = qio_get_main_aio_context()
 * @func: called in a dispatch of @ctx (or in its closing) after the end; NULL = nobody is told
 * @opaque: for @func
 * @destroy: frees @opaque, exactly once, after @func
 *
 * Makes a task that runs.  It stays alive without any reference until it has ended.  When @ctx is
 * closed already, or there is no main loop, the task has failed (CLOSED, SYSTEM), and @func and
 * @destroy run in this call.
 * Returns: a task, one reference to the caller; never NULL
 */
QIOTask *qio_task_new(Object *source, AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                      GDestroyNotify destroy);

/**
 * qio_task_set_finish:
 * @finish: frees @state, and removes watches that qio_task_add_watch() does not
 *
 * @finish runs exactly once, after the task has its result, whichever way it came, and before
 * @func.  It runs where the internal watches of the loop run, so never while a step of the
 * operation does; in this call when all that is over already.  It must call nothing of a user.
 * Watches of the operation have the task as opaque (qio_task_ref, qio_task_unref), so that one
 * that comes late finds qio_task_is_done().
 */
void qio_task_set_finish(QIOTask *task, void (*finish)(QIOTask *task, gpointer state),
                         gpointer state);
/** qio_task_get_state: what qio_task_set_finish() was given; NULL once finish has begun, so a step
 * that gets it has it until it returns. */
gpointer qio_task_get_state(QIOTask *task);
/** qio_task_add_watch: hands @watch over to the task, which removes it before finish runs; at once
 * when that is over. */
void qio_task_add_watch(QIOTask *task, QIOLoopWatch *watch);
/** qio_task_set_deadline: the operation ends with TIMEOUT when it has not ended after
 * @timeout_ms in all; -1 = no deadline.  At most once. */
void qio_task_set_deadline(QIOTask *task, int timeout_ms);
/** qio_task_complete: it succeeded; @free_result frees a @result that nobody takes; both may be
 * NULL.  Returns: false when it had a result already; @result is then freed. */
bool qio_task_complete(QIOTask *task, gpointer result, GDestroyNotify free_result);
/** qio_task_fail: it failed with @err, which the task takes over.  Returns: false when it had a
 * result already; @err is then freed. */
bool qio_task_fail(QIOTask *task, Error *err);

G_END_DECLS
#endif
