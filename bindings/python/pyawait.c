/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyawait.c: what `await` is given by qio.aio.
 *
 * Owns: operations.  One is a coroutine without a frame: sent to, it tries; when that would block
 * it waits at its descriptor and yields itself, which a task takes for a future.  The loop then
 * calls the spot, the spot the task, and the task tries again: no future is made and no turn of
 * the loop is lost.  Bytes leave the channel only in a try, and there is nothing to await after
 * one that succeeds, so a cancellation finds either all of an operation or nothing of it done.
 * One reader at a time, BusyError for another; writers take turns, each goes out whole.
 * All in the thread of the loop, GIL held.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>

/* Calls that succeeded at once before the loop gets its turn. */
#define STREAK_MAX 16

/* ---- waking ---- */

/* Takes what the task is to be called with; false when nobody is to be called. */
static bool take_callback(QioOp *op, PyObject **callback, PyObject **context)
{
    *callback = op->callback;
    *context = op->context;
    op->callback = op->context = NULL;
    return *callback != NULL;
}

/* In the next turn of the loop: for who is inside a task.  Raises nothing. */
void qiopy_op_wake_soon(QioOp *op)
{
    PyObject *callback, *context, *e1, *e2, *e3;

    if (take_callback(op, &callback, &context)) {
        PyErr_Fetch(&e1, &e2, &e3);
        if (qiopy_aio_call_soon(op->home, callback, (PyObject *)op, context) < 0) {
            PyErr_Clear();                      /* the loop is closed, and the task with it */
        }
        Py_DECREF(callback);
        Py_XDECREF(context);
        PyErr_Restore(e1, e2, e3);
    }
}

/* Here and now: for who is called by the loop itself. */
static int wake_now(QioOp *op)
{
    PyObject *callback, *context, *result;

    if (!op->callback || !op->context || PyContext_Enter(op->context) < 0) {
        PyErr_Clear();
        qiopy_op_wake_soon(op);
        return 0;
    }
    take_callback(op, &callback, &context);
    result = PyObject_CallOneArg(callback, (PyObject *)op);
    Py_XDECREF(result);
    if (PyContext_Exit(context) < 0) {
        result = NULL;
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return result ? 0 : -1;
}

void qiopy_op_stop_waiting(QioOp *op)
{
    qiopy_place_leave(&op->place);
    if (op->turn.next != &op->turn) {
        qio_list_remove(&op->turn);
    }
}

int qiopy_op_fire(PyObject *self)
{
    QioOp *op = (QioOp *)self;

    if (op->state != OP_WAITING) {
        return 0;
    }
    qiopy_op_stop_waiting(op);
    op->state = OP_YIELDED;
    return wake_now(op);
}

void qiopy_op_abort(PyObject *self)
{
    QioOp *op = (QioOp *)self;

    if (op->state == OP_WAITING || op->state == OP_YIELDED) {
        qiopy_op_stop_waiting(op);
        op->state = OP_ABORTED;
        qiopy_op_wake_soon(op);
    }
}

void qiopy_await_abort(QioAio *aio, unsigned ways)
{
    if (ways & QIO_READING && aio->reader) {
        qiopy_op_abort((PyObject *)aio->reader);
    }
    while (ways & QIO_WRITING && !qio_list_empty(&aio->writers)) {
        qiopy_op_abort((PyObject *)((char *)aio->writers.next - offsetof(QioOp, turn)));
    }
    if (ways & QIO_WRITING && aio->writer) {
        qiopy_op_abort((PyObject *)aio->writer);
    }
}

/* ---- attempts ---- */

/* What a try gave, where None is would block. */
static int taken(QioOp *op, PyObject *result)
{
    if (result == Py_None) {
        Py_DECREF(result);
        return 0;
    }
    op->result = result;
    return result ? 1 : -1;
}

/* What a failed try means: 0 would block, -1 exception, 1 somebody's request is answered: again. */
static int failed(QioOp *op, qioh_ssize n, const qioh_error *error)
{
    QioPatience patience = {.self = op->channel, .timeout = QIO_TIMEOUT_TRY};

    if (n == QIOH_E_AGAIN) {
        return op->channel->on_request ? qiopy_wait(&patience, 0) : 0;
    }
    qiopy_raise(error);
    return -1;
}

int qiopy_attempt_readinto(QioOp *op)
{
    qioh_error error;
    qioh_ssize n;
    int again;

    qiopy_error_init(&error);
    do {
        n = qiopy_try_read(op->channel, op->view.buf, (size_t)op->view.len, &error);
        again = n >= 0 ? 0 : failed(op, n, &error);
    } while (again == 1);
    if (n < 0) {
        return again;
    }
    op->result = PyLong_FromSsize_t((Py_ssize_t)n);
    return op->result ? 1 : -1;
}

int qiopy_attempt_read(QioOp *op)
{
    return taken(op, qiopy_read_some(op->channel, op->size, QIO_TIMEOUT_TRY));
}

/* The end before all of it.  What came goes with the exception. */
static int ended_early(QioOp *op)
{
    if (op->done == 0 && op->eof_ok) {
        op->result = PyBytes_FromStringAndSize(NULL, 0);
        return op->result ? 1 : -1;
    }
    qiopy_incomplete(PyBytes_AS_STRING(op->bytes), op->done, op->size);
    op->done = 0;
    return -1;
}

int qiopy_attempt_exactly(QioOp *op)
{
    qioh_error error;

    if (!op->bytes && !(op->bytes = PyBytes_FromStringAndSize(NULL, op->size))) {
        return -1;
    }
    qiopy_error_init(&error);
    while (op->done < op->size) {
        qioh_ssize n = qiopy_try_read(op->channel, PyBytes_AS_STRING(op->bytes) + op->done,
                                      (size_t)(op->size - op->done), &error);
        int again = n >= 0 ? 1 : failed(op, n, &error);

        if (again <= 0) {
            return again;
        }
        if (n == 0) {
            return ended_early(op);
        }
        op->done += n > 0 ? (Py_ssize_t)n : 0;
    }
    op->result = op->bytes;
    op->bytes = NULL;
    return 1;
}

/* All of it, and out of every layer. */
int qiopy_attempt_write(QioOp *op)
{
    qioh_error error;
    int flushed;

    qiopy_error_init(&error);
    do {
        qioh_ssize n = qiopy_try_write(op->channel, (char *)op->view.buf + op->done,
                                       (size_t)(op->view.len - op->done), &error);
        int again = n >= 0 ? 1 : failed(op, n, &error);

        if (again <= 0) {
            return again;
        }
        op->done += n > 0 ? (Py_ssize_t)n : 0;
        if (n == 0 && op->view.len == 0) {
            break;
        }
    } while (op->done < op->view.len || op->view.len == 0);
    flushed = qiopy_try_flush(op->channel);
    if (flushed == 1) {
        op->result = PyLong_FromSsize_t(op->done);
    }
    return flushed <= 0 ? flushed : op->result ? 1 : -1;
}

/* Of any function that takes timeout= and gives None where it would block. */
int qiopy_attempt_call(QioOp *op)
{
    return taken(op, PyObject_Call(op->fn, op->args, op->kwargs));
}

/* One reader, one writer, also beside a call of another thread. */
static int attempt(QioOp *op)
{
    bool call = op->attempt == qiopy_attempt_call;
    int result;

    if (!call && !qiopy_begin(op->channel, op->way)) {
        return -1;
    }
    qiopy_enter();
    result = op->attempt(op);
    qiopy_leave();
    if (!call) {
        qiopy_end(op->channel, op->way);
    }
    return result;
}

/* ---- the life of an operation ---- */

/* Whose turn to write it is then.  Raises nothing. */
static void next_writer(QioAio *aio)
{
    QioOp *next;

    aio->writer = NULL;
    if (qio_list_empty(&aio->writers)) {
        return;
    }
    next = (QioOp *)((char *)aio->writers.next - offsetof(QioOp, turn));
    qio_list_remove(&next->turn);
    aio->writer = next;
    next->state = OP_YIELDED;
    qiopy_op_wake_soon(next);
}

/* What a function that gives up half-way has to do: its attribute undo, if it has one. */
void qiopy_op_undo(QioOp *op)
{
    PyObject *e1, *e2, *e3, *fn, *result = NULL;

    if (op->bytes && op->done) {
        qiopy_give_back(op->channel, PyBytes_AS_STRING(op->bytes), (size_t)op->done);
        op->done = 0;
    }
    if (!op->fn) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    fn = PyObject_GetAttrString(op->fn, "undo");
    if (fn) {
        result = PyObject_CallNoArgs(fn);
        if (!result) {
            PyErr_WriteUnraisable(fn);
        }
        Py_XDECREF(result);
        Py_DECREF(fn);
    } else {
        PyErr_Clear();
    }
    PyErr_Restore(e1, e2, e3);
}

void qiopy_op_finish(QioOp *op)
{
    QioAio *aio = op->channel ? op->channel->aio : NULL;

    qiopy_op_stop_waiting(op);
    op->state = OP_DONE;
    if (aio && aio->reader == op) {
        aio->reader = NULL;
    }
    if (aio && aio->writer == op) {
        next_writer(aio);
    }
    if (op->view.obj) {
        PyBuffer_Release(&op->view);
    }
    Py_CLEAR(op->callback);
    Py_CLEAR(op->context);
}

/* Gives up half-way, with an exception set. */
void qiopy_op_fail(QioOp *op)
{
    qiopy_op_undo(op);
    qiopy_op_finish(op);
}

/* Adds what an operation has written before to the .bytes_written of the exception that is set. */
void qiopy_op_tell_written(QioOp *op)
{
    PyObject *e1, *e2, *e3, *count, *total;
    long long before = 0;

    if (op->way != QIO_WRITING || op->done == 0) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    PyErr_NormalizeException(&e1, &e2, &e3);
    count = PyObject_GetAttrString(e2, "bytes_written");
    if (count) {
        before = PyLong_AsLongLong(count);
        Py_DECREF(count);
    }
    PyErr_Clear();
    total = PyLong_FromLongLong((before > 0 ? before : 0) + op->done);
    if (total) {
        PyObject_SetAttrString(e2, "bytes_written", total);
        Py_DECREF(total);
    }
    PyErr_Clear();
    PyErr_Restore(e1, e2, e3);
}

/* Returns: 1 waits, 0 try again in the next turn of the loop, -1 exception */
static int begin_to_wait(QioOp *op)
{
    QioHome *home = qiopy_aio_home();

    if (!home) {
        return -1;
    }
    Py_XSETREF(op->home, (QioHome *)Py_NewRef((PyObject *)home));
    return qiopy_place_wait(&op->place, op->channel, home, op->condition, "_fire");
}

/* Lets the task wait for this operation. */
static PySendResult suspend(QioOp *op, PyObject **result)
{
    op->state = OP_WAITING;
    op->blocking = true;
    *result = Py_NewRef((PyObject *)op);
    return PYGEN_NEXT;
}

/* Lets the loop have a turn. */
static PySendResult yield(QioOp *op, QioOpState state, PyObject **result)
{
    op->state = state;
    *result = Py_NewRef(Py_None);
    return PYGEN_NEXT;
}

static PySendResult run(QioOp *op, bool first, PyObject **result)
{
    int status;

    op->state = OP_RUNNING;
    status = attempt(op);
    if (status == 1) {
        if (first) {
            op->channel->aio->streak++;
        }
        qiopy_op_finish(op);
        *result = op->result;
        op->result = NULL;
        return PYGEN_RETURN;
    }
    if (status == 0) {
        op->channel->aio->streak = 0;
        status = begin_to_wait(op);
        qiopy_place_look_again(op->channel, &op->place);
        if (status >= 0) {
            return status ? suspend(op, result) : yield(op, OP_YIELDED, result);
        }
    }
    qiopy_op_tell_written(op);
    qiopy_op_fail(op);
    return PYGEN_ERROR;
}

/* A streak is long: whether the loop had no turn since it began, which another channel's streak
 * may have given it.  Returns: 1, 0, -1 */
static int owes_a_turn(QioAio *aio)
{
    QioHome *home = qiopy_aio_home();

    if (!home) {
        return -1;
    }
    aio->streak = 0;
    if (aio->turn != home->turn) {
        aio->turn = home->turn;
        return 0;
    }
    aio->turn = ++home->turn;
    return 1;
}

/* Waits for its turn to write. */
static PySendResult queue(QioOp *op, QioAio *aio, PyObject **result)
{
    QioHome *home = qiopy_aio_home();

    if (!home) {
        qiopy_op_fail(op);
        return PYGEN_ERROR;
    }
    op->home = (QioHome *)Py_NewRef((PyObject *)home);
    qio_list_append(&aio->writers, &op->turn);
    return suspend(op, result);
}

/* The first time: whether the loop is due a turn, and whether it is this one's. */
static PySendResult begin(QioOp *op, PyObject **result)
{
    QioAio *aio = qiopy_aio_of(op->channel);
    int owes = aio && aio->streak >= STREAK_MAX ? owes_a_turn(aio) : 0;

    if (!aio || owes < 0) {
        qiopy_op_fail(op);
        return PYGEN_ERROR;
    }
    if (owes) {
        return yield(op, OP_NEW, result);
    }
    if (op->way == QIO_READING) {
        if (aio->reader) {
            qiopy_raise_busy(QIO_READING);
            qiopy_op_fail(op);
            return PYGEN_ERROR;
        }
        aio->reader = op;
    } else if (op->way == QIO_WRITING) {
        if (aio->writer) {
            return queue(op, aio, result);
        }
        aio->writer = op;
    }
    return run(op, true, result);
}

PySendResult qiopy_op_send(PyObject *self, PyObject *arg, PyObject **result)
{
    QioOp *op = (QioOp *)self;

    *result = NULL;
    switch ((QioOpState)op->state) {
    case OP_NEW:
        return begin(op, result);
    case OP_YIELDED:
        return run(op, false, result);
    case OP_WAITING:
        if (op->turn.next != &op->turn) {
            return suspend(op, result);
        }
        qiopy_op_stop_waiting(op);
        return run(op, false, result);
    case OP_ABORTED:
        qiopy_raise_code(QIOH_E_CANCELLED, 0, "the channel was closed, or the wait cancelled");
        qiopy_op_tell_written(op);
        qiopy_op_fail(op);
        return PYGEN_ERROR;
    case OP_RUNNING:
        PyErr_SetString(PyExc_RuntimeError, "an operation that runs cannot be sent to");
        return PYGEN_ERROR;
    default:
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse an awaited operation");
        return PYGEN_ERROR;
    }
}
