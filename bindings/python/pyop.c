/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyop.c: operations as Python objects.
 *
 * Owns: the type of what qio.aio's calls return.  It has two faces: of a coroutine that has not
 * started (await, create_task, gather, wait_for take it so), and, only while it waits, of a future,
 * which is what a task that is given one asks for: its loop, a place for its callback, the result,
 * and to be cancelled.  What it does is in pyawait.c.
 * Memory comes from a list of spares: one is made for each message.  GIL held.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>

#define SPARES_MAX 32

static PyTypeObject *op_type;
static QioOp *spare[SPARES_MAX];
static int spares;

/* ---- as a coroutine ---- */

static PyObject *op_next(PyObject *self)
{
    PyObject *result, *stop;

    switch (qiopy_op_send(self, Py_None, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
        Py_DECREF(result);
        return NULL;
    default:
        return NULL;
    }
}

static PyObject *op_send_method(PyObject *self, PyObject *arg)
{
    return op_next(self);
}

/* Sets the exception of throw(type[, value[, traceback]]).  Returns: 0, -1 it is none */
static int set_thrown(PyObject *type, PyObject *value, PyObject *traceback)
{
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
        return 0;
    }
    if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError, "exceptions have to be classes or instances deriving from "
                     "BaseException, not %.100s", Py_TYPE(type)->tp_name);
        return -1;
    }
    if (traceback && traceback != Py_None) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_NewRef(traceback));
    } else {
        PyErr_SetObject(type, value ? value : Py_None);
    }
    return 0;
}

static PyObject *op_throw(PyObject *self, PyObject *args)
{
    QioOp *op = (QioOp *)self;
    PyObject *type, *value = NULL, *traceback = NULL;

    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return NULL;
    }
    if (op->state == OP_RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, "an operation that runs cannot be thrown into");
        return NULL;
    }
    if (set_thrown(type, value, traceback) == 0 && op->state != OP_DONE) {
        qiopy_op_stop_waiting(op);
        qiopy_op_tell_written(op);
        qiopy_op_fail(op);
    }
    return NULL;
}

static PyObject *op_close(PyObject *self, PyObject *unused)
{
    QioOp *op = (QioOp *)self;

    if (op->state == OP_RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, "an operation that runs cannot be closed");
        return NULL;
    }
    if (op->state != OP_DONE) {
        qiopy_op_stop_waiting(op);
        qiopy_op_fail(op);
    }
    Py_RETURN_NONE;
}

/* ---- as a future, of which a task uses so much ---- */

/* None but while it waits: asyncio takes it for a coroutine else. */
static PyObject *op_get_blocking(PyObject *self, void *unused)
{
    QioOp *op = (QioOp *)self;

    return op->state == OP_WAITING ? PyBool_FromLong(op->blocking) : Py_NewRef(Py_None);
}

static int op_set_blocking(PyObject *self, PyObject *value, void *unused)
{
    int blocking = value ? PyObject_IsTrue(value) : 0;

    if (blocking >= 0) {
        ((QioOp *)self)->blocking = blocking;
    }
    return blocking < 0 ? -1 : 0;
}

static PyObject *op_get_loop(PyObject *self, PyObject *unused)
{
    QioOp *op = (QioOp *)self;

    if (!op->home || !op->home->loop) {
        PyErr_SetString(PyExc_RuntimeError, "the operation does not wait");
        return NULL;
    }
    return Py_NewRef(op->home->loop);
}

static PyObject *op_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *names)
{
    QioOp *op = (QioOp *)self;

    if (nargs != 1 || op->callback || op->state != OP_WAITING) {
        PyErr_SetString(PyExc_RuntimeError, "one task may await an operation, while it waits");
        return NULL;
    }
    op->callback = Py_NewRef(args[0]);
    if (names && PyTuple_GET_SIZE(names) == 1 && args[1] != Py_None) {
        op->context = Py_NewRef(args[1]);
    }
    Py_RETURN_NONE;
}

static PyObject *op_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names)
{
    QioOp *op = (QioOp *)self;

    if (op->state != OP_WAITING) {
        Py_RETURN_FALSE;
    }
    qiopy_op_stop_waiting(op);
    op->state = OP_YIELDED;
    op->cancelled = true;
    if (nargs == 1 || names) {
        Py_XSETREF(op->message, Py_NewRef(args[0]));
    }
    qiopy_op_wake_soon(op);
    Py_RETURN_TRUE;
}

/* Of the wait: nothing, or that it was cancelled. */
static PyObject *op_result(PyObject *self, PyObject *unused)
{
    QioOp *op = (QioOp *)self;
    PyObject *class;

    if (!op->cancelled) {
        Py_RETURN_NONE;
    }
    op->cancelled = false;
    class = PyObject_GetAttrString((PyObject *)op->home, "cancelled_error");
    if (class) {
        PyErr_SetObject(class, op->message && op->message != Py_None ? op->message : NULL);
        Py_DECREF(class);
    }
    return NULL;
}

/* From a watch of the library's loop, which is to be left before the task goes on. */
static PyObject *op_fire_method(PyObject *self, PyObject *args)
{
    QioOp *op = (QioOp *)self;

    if (op->state == OP_WAITING) {
        qiopy_op_stop_waiting(op);
        op->state = OP_YIELDED;
        qiopy_op_wake_soon(op);
    }
    Py_RETURN_FALSE;
}

static PyObject *op_repr(PyObject *self)
{
    static const char *const states[] = {"not started", "running", "about to try", "waiting",
                                         "aborted", "done"};
    QioOp *op = (QioOp *)self;

    return PyUnicode_FromFormat("<qio %s of %R, %s>",
                                op->way == QIO_READING ? "read" : op->way ? "write" : "wait",
                                op->channel, states[op->state]);
}

/* ---- memory ---- */

static int op_traverse(PyObject *self, visitproc visit, void *arg)
{
    QioOp *op = (QioOp *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->channel);
    Py_VISIT(op->home);
    Py_VISIT(op->place.waits[0].spot);
    Py_VISIT(op->place.waits[1].spot);
    Py_VISIT(op->place.watch);
    Py_VISIT(op->callback);
    Py_VISIT(op->context);
    Py_VISIT(op->message);
    Py_VISIT(op->result);
    Py_VISIT(op->fn);
    Py_VISIT(op->args);
    Py_VISIT(op->kwargs);
    Py_VISIT(op->bytes);
    Py_VISIT(op->view.obj);
    return 0;
}

static int op_clear(PyObject *self)
{
    QioOp *op = (QioOp *)self;

    if (op->state != OP_DONE) {
        qiopy_op_finish(op);
    }
    Py_CLEAR(op->home);
    Py_CLEAR(op->message);
    Py_CLEAR(op->result);
    Py_CLEAR(op->fn);
    Py_CLEAR(op->args);
    Py_CLEAR(op->kwargs);
    Py_CLEAR(op->bytes);
    Py_CLEAR(op->channel);
    return 0;
}

/* As Python says of a coroutine: a read that nobody awaits is a mistake that looks like none. */
static void op_finalize(PyObject *self)
{
    QioOp *op = (QioOp *)self;
    PyObject *e1, *e2, *e3;

    PyErr_Fetch(&e1, &e2, &e3);
    if (op->state == OP_NEW &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "a %s of %R was never awaited",
                         op->way == QIO_READING ? "read" : op->way ? "write" : "wait",
                         op->channel) < 0) {
        PyErr_WriteUnraisable(self);
    }
    if (op->state != OP_NEW && op->state != OP_DONE) {
        qiopy_op_undo(op);
    }
    PyErr_Restore(e1, e2, e3);
}

static void op_dealloc(PyObject *self)
{
    QioOp *op = (QioOp *)self;
    PyTypeObject *class = Py_TYPE(self);
    bool again = op->state == OP_DONE;

    if (!again && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    op_clear(self);
    if (again && spares < SPARES_MAX && !PyObject_GC_IsFinalized(self)) {
        spare[spares++] = op;
    } else {
        PyObject_GC_Del(self);
    }
    Py_DECREF(class);
}

QioOp *qiopy_op_new(QioObject *channel, unsigned way, uint32_t condition, QioAttempt attempt)
{
    QioOp *op;

    if (spares) {
        op = spare[--spares];
        PyObject_Init((PyObject *)op, op_type);
    } else {
        op = PyObject_GC_New(QioOp, op_type);
        if (!op) {
            return NULL;
        }
    }
    memset((char *)op + offsetof(QioOp, turn), 0, sizeof *op - offsetof(QioOp, turn));
    qio_list_init(&op->turn);
    qiopy_place_init(&op->place, (PyObject *)op, qiopy_op_fire, qiopy_op_abort);
    op->channel = (QioObject *)Py_NewRef((PyObject *)channel);
    op->way = (uint8_t)way;
    op->condition = condition;
    op->attempt = attempt;
    PyObject_GC_Track(op);
    return op;
}

/* ---- the type ---- */

static PyObject *op_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyMethodDef methods[] = {
    {"send", op_send_method, METH_O, PyDoc_STR("send($self, value, /)\n--\n\n")},
    {"throw", op_throw, METH_VARARGS, PyDoc_STR("throw($self, *args)\n--\n\n")},
    {"close", op_close, METH_NOARGS, PyDoc_STR("close($self, /)\n--\n\n")},
    {"cancel", (PyCFunction)(void (*)(void))op_cancel, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("cancel($self, /, msg=None)\n--\n\n")},
    {"result", op_result, METH_NOARGS, PyDoc_STR("result($self, /)\n--\n\n")},
    {"get_loop", op_get_loop, METH_NOARGS, PyDoc_STR("get_loop($self, /)\n--\n\n")},
    {"add_done_callback", (PyCFunction)(void (*)(void))op_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_done_callback($self, fn, /, *, context=None)\n--\n\n")},
    {"_fire", op_fire_method, METH_VARARGS, PyDoc_STR("_fire($self, *args)\n--\n\n")},
    {NULL},
};

static PyGetSetDef getset[] = {
    {"_asyncio_future_blocking", op_get_blocking, op_set_blocking, NULL, NULL},
    {NULL},
};

int qiopy_op_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_dealloc, op_dealloc}, {Py_tp_traverse, op_traverse}, {Py_tp_clear, op_clear},
        {Py_tp_finalize, op_finalize}, {Py_tp_repr, op_repr}, {Py_tp_methods, methods},
        {Py_tp_getset, getset}, {Py_am_await, op_self}, QIOPY_AM_SEND(qiopy_op_send)
        {Py_tp_iter, op_self}, {Py_tp_iternext, op_next},
        {Py_tp_doc, "What a call of qio.aio gives to await."}, {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.Operation", sizeof(QioOp), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots,
    };

    op_type = (PyTypeObject *)qiopy_type_without_new(&spec);
    return op_type ? PyDict_SetItemString(dict, "Operation", (PyObject *)op_type) : -1;
}
