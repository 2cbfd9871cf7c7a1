/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyasync.c: what an AsyncChannel of qio.aio has from C.
 *
 * Owns: the calls that are made once for each message, and _reading, _writing and _waiting, which
 * make an operation of any function that tries: the verbs that both event loops share are written
 * with these (qio/_async.py).  Each call checks its arguments and gives an operation; nothing is
 * done before it is awaited.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>

typedef struct AsyncObject {
    PyObject_HEAD
    QioObject *channel;
    PyObject *weakrefs;
} AsyncObject;

static PyTypeObject *async_type;
static PyObject *timeout_name;
PyObject *qiopy_try;

static QioObject *channel_of(PyObject *self)
{
    QioObject *channel = ((AsyncObject *)self)->channel;

    if (!channel) {
        PyErr_SetString(PyExc_ValueError, "AsyncChannel.__init__() was not called");
    }
    return channel;
}

static QioOp *new_op(PyObject *self, unsigned way, uint32_t condition, QioAttempt attempt)
{
    QioObject *channel = channel_of(self);

    return channel ? qiopy_op_new(channel, way, condition, attempt) : NULL;
}

/* ---- bytes ---- */

static PyObject *with_buffer(PyObject *self, PyObject *buffer, bool reading)
{
    QioOp *op = reading ? new_op(self, QIO_READING, QIOH_IN, qiopy_attempt_readinto)
                        : new_op(self, QIO_WRITING, QIOH_OUT, qiopy_attempt_write);

    if (op && qiopy_arg_buffer(buffer, "b", reading, &op->view) < 0) {
        op->state = OP_DONE;
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}

static PyObject *async_readinto(PyObject *self, PyObject *buffer)
{
    return with_buffer(self, buffer, true);
}

static PyObject *async_write(PyObject *self, PyObject *buffer)
{
    return with_buffer(self, buffer, false);
}

static PyObject *async_read_some(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t n = 65536;
    QioOp *op;

    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "read_some() takes one size, got %zd arguments", nargs);
        return NULL;
    }
    if (nargs == 1 && qiopy_arg_size(args[0], "n", &n) < 0) {
        return NULL;
    }
    op = new_op(self, QIO_READING, QIOH_IN, qiopy_attempt_read);
    if (op) {
        op->size = n;
    }
    return (PyObject *)op;
}

/* The arguments (n, eof_ok=False), also by keyword.  Returns: 0, -1 */
static int exactly_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                             PyObject **n, PyObject **eof_ok)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;

    *n = nargs > 0 ? args[0] : NULL;
    *eof_ok = nargs > 1 ? args[1] : Py_False;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);

        if (PyUnicode_CompareWithASCIIString(name, "n") == 0 && !*n) {
            *n = args[nargs + i];
        } else if (PyUnicode_CompareWithASCIIString(name, "eof_ok") == 0 && nargs < 2) {
            *eof_ok = args[nargs + i];
        } else {
            PyErr_Format(PyExc_TypeError, "read_exactly() has no argument %R, or has it twice",
                         name);
            return -1;
        }
    }
    if (!*n || nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "read_exactly() takes a size, and eof_ok");
        return -1;
    }
    return 0;
}

static PyObject *async_read_exactly(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *names)
{
    PyObject *n, *eof_ok;
    Py_ssize_t size;
    QioOp *op;
    int truth;

    if (exactly_arguments(args, nargs, names, &n, &eof_ok) < 0 ||
        qiopy_arg_size(n, "n", &size) < 0 || (truth = PyObject_IsTrue(eof_ok)) < 0) {
        return NULL;
    }
    op = new_op(self, QIO_READING, QIOH_IN, qiopy_attempt_exactly);
    if (op) {
        op->size = size;
        op->eof_ok = truth;
    }
    return (PyObject *)op;
}

/* ---- any function that tries ---- */

/* (condition, fn, *args, **kwargs): fn is called with timeout=TRY as well. */
static PyObject *with_call(PyObject *self, unsigned way, PyObject *args, PyObject *kwargs)
{
    QioOp *op;
    uint32_t condition;

    if (PyTuple_GET_SIZE(args) < 2 ||
        qiopy_arg_condition(PyTuple_GET_ITEM(args, 0), "condition", &condition) < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "a condition and a function are needed");
        }
        return NULL;
    }
    op = new_op(self, way, condition, qiopy_attempt_call);
    if (!op) {
        return NULL;
    }
    op->fn = Py_NewRef(PyTuple_GET_ITEM(args, 1));
    op->args = PyTuple_GetSlice(args, 2, PyTuple_GET_SIZE(args));
    op->kwargs = kwargs ? PyDict_Copy(kwargs) : PyDict_New();
    if (!op->args || !op->kwargs || PyDict_SetItem(op->kwargs, timeout_name, qiopy_try) < 0) {
        op->state = OP_DONE;
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}

static PyObject *async_reading(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_call(self, QIO_READING, args, kwargs);
}

static PyObject *async_writing(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_call(self, QIO_WRITING, args, kwargs);
}

static PyObject *async_waiting(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return with_call(self, 0, args, kwargs);
}

static PyObject *async_abort(PyObject *self, PyObject *arg)
{
    QioObject *channel = channel_of(self);
    uint32_t condition;

    if (!channel || qiopy_arg_condition(arg, "condition", &condition) < 0) {
        return NULL;
    }
    if (channel->aio) {
        qiopy_await_abort(channel->aio, (condition & QIOH_IN ? QIO_READING : 0) |
                                        (condition & QIOH_OUT ? QIO_WRITING : 0));
    }
    Py_RETURN_NONE;
}

static PyObject *async_look_again(PyObject *self, PyObject *unused)
{
    QioObject *channel = channel_of(self);

    if (!channel) {
        return NULL;
    }
    qiopy_place_look_again(channel, NULL);
    Py_RETURN_NONE;
}

static PyObject *async_forget(PyObject *self, PyObject *unused)
{
    QioObject *channel = channel_of(self);

    if (!channel) {
        return NULL;
    }
    if (qiopy_aio_closing(channel, false)) {
        qiopy_raise_code(QIOH_E_BUSY, 0, "an event loop of another thread watches the channel");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the object ---- */

static int async_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    AsyncObject *async = (AsyncObject *)self;
    PyObject *channel;
    QioObject *object;

    if (!PyArg_ParseTuple(args, "O:AsyncChannel", &channel)) {
        return -1;
    }
    object = qiopy_unwrap(channel, QIO_TYPE_CHANNEL, "channel");
    if (!object) {
        return -1;
    }
    Py_XSETREF(async->channel, (QioObject *)Py_NewRef((PyObject *)object));
    return 0;
}

static int async_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((AsyncObject *)self)->channel);
    return 0;
}

static int async_clear(PyObject *self)
{
    Py_CLEAR(((AsyncObject *)self)->channel);
    return 0;
}

static void async_dealloc(PyObject *self)
{
    PyTypeObject *class = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (((AsyncObject *)self)->weakrefs) {
        PyObject_ClearWeakRefs(self);
    }
    async_clear(self);
    class->tp_free(self);
    Py_DECREF(class);
}

static PyMethodDef methods[] = {
    {"readinto", async_readinto, METH_O,
     PyDoc_STR("readinto($self, b, /)\n--\n\n"
               "Read once into a writable buffer.  Bytes read, 0 at the end.")},
    {"read_some", (PyCFunction)(void (*)(void))async_read_some, METH_FASTCALL,
     PyDoc_STR("read_some($self, n=65536, /)\n--\n\n"
               "Read at most n bytes in one chunk; b'' at the end.")},
    {"read_exactly", (PyCFunction)(void (*)(void))async_read_exactly,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("read_exactly($self, n, eof_ok=False)\n--\n\n"
               "Read n bytes.  The end before that raises IncompleteReadError; with eof_ok an end\n"
               "before the first byte gives b''.")},
    {"write", async_write, METH_O,
     PyDoc_STR("write($self, b, /)\n--\n\n"
               "Write all of b, out of every layer; its length.  Concurrent writes go out whole,\n"
               "one after the other.  Cancelled, the CancelledError has .bytes_written.")},
    {"_reading", (PyCFunction)(void (*)(void))async_reading, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("_reading($self, condition, fn, /, *args, **kwargs)\n--\n\n")},
    {"_writing", (PyCFunction)(void (*)(void))async_writing, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("_writing($self, condition, fn, /, *args, **kwargs)\n--\n\n")},
    {"_waiting", (PyCFunction)(void (*)(void))async_waiting, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("_waiting($self, condition, fn, /, *args, **kwargs)\n--\n\n")},
    {"_abort", async_abort, METH_O, PyDoc_STR("_abort($self, condition, /)\n--\n\n")},
    {"_forget", async_forget, METH_NOARGS, PyDoc_STR("_forget($self, /)\n--\n\n")},
    {"_look_again", async_look_again, METH_NOARGS, PyDoc_STR("_look_again($self, /)\n--\n\n")},
    {NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(AsyncObject, weakrefs), READONLY, NULL},
    {"channel", T_OBJECT_EX, offsetof(AsyncObject, channel), READONLY,
     "The channel, whose own calls do not wait for the event loop."},
    {NULL},
};

static int add_try(PyObject *dict)
{
    timeout_name = PyUnicode_InternFromString("timeout");
    qiopy_try = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    return timeout_name && qiopy_try ? PyDict_SetItemString(dict, "TRY", qiopy_try) : -1;
}

int qiopy_async_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_init, async_init}, {Py_tp_dealloc, async_dealloc},
        {Py_tp_traverse, async_traverse}, {Py_tp_clear, async_clear},
        {Py_tp_methods, methods}, {Py_tp_members, members},
        {Py_tp_doc, "What an AsyncChannel has from C; see qio.aio."}, {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.AsyncChannel", sizeof(AsyncObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots,
    };

    async_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (!async_type ||
        PyDict_SetItemString(dict, "AsyncChannel", (PyObject *)async_type) < 0) {
        return -1;
    }
    return add_try(dict);
}
