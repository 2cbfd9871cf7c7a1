/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pytransport.c: the engine of qio.aio's transports.
 *
 * Owns: what a transport does for each message: reading when its channel is ready and handing the
 * bytes to the protocol; writing at once, and keeping what the channel does not take, with the
 * marks at which the protocol is told to pause and to go on.  What happens once in the life of a
 * connection is the owner's, in Python (qio/aio.py): _eof, _fatal, _pause, _resume, _drained.
 * An exception of the protocol ends the connection; KeyboardInterrupt and SystemExit leave.
 * Thread of the loop, GIL held.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>

#define READ_SIZE 65536
#define HIGH_MARK 65536

typedef struct Engine {
    PyObject_HEAD
    QioObject *channel;
    QioHome *home;
    PyObject *owner;            /* the transport, until stop() */
    PyObject *received;         /* protocol.data_received, or buffer_updated */
    PyObject *get_buffer;       /* of a BufferedProtocol, or NULL */
    QioPlace reads, writes;
    PyObject *backlog;          /* a bytearray, NULL while there is none */
    Py_ssize_t sent;            /* of backlog */
    PyObject *late;             /* a bytearray: what is written from inside of a write */
    bool writing;               /* inside of one: what it writes from stays where it is */
    Py_ssize_t high, low;
    bool reading, paused;       /* wanted; the protocol was told to pause */
    bool unflushed;             /* a layer holds back what it accepted */
} Engine;

static PyTypeObject *engine_type;

static bool reads(const Engine *e)
{
    return e->reading && e->owner;
}

/* Calls a method of the owner.  Returns: 0, -1 */
static int tell(Engine *e, const char *method, PyObject *argument)
{
    PyObject *owner = Py_XNewRef(e->owner);
    PyObject *result;

    if (!owner) {
        return 0;
    }
    result = PyObject_CallMethod(owner, method, argument ? "O" : NULL, argument);
    Py_XDECREF(result);
    Py_DECREF(owner);
    return result ? 0 : -1;
}

/* The exception that is set ends the connection, unless it is for the program. */
static int fatal(Engine *e)
{
    PyObject *type, *value, *traceback;
    int result;

    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) {
        PyException_SetTraceback(value, traceback);
    }
    result = tell(e, "_fatal", value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return result;
}

/* What waits at a place; a channel that is ready already is looked at in the next turn. */
static int arm(Engine *e, QioPlace *place, uint32_t condition, const char *method)
{
    PyObject *bound;
    int status = qiopy_place_wait(place, e->channel, e->home, condition, method);

    if (status == 0) {
        bound = PyObject_GetAttrString((PyObject *)e, method);
        status = bound ? qiopy_aio_call_soon(e->home, bound, NULL, NULL) : -1;
        Py_XDECREF(bound);
    }
    return status < 0 ? -1 : 0;
}

/* ---- reading ---- */

/* Returns: 1 something came, 0 nothing, -1 exception */
static int deliver(Engine *e, const char *buf, qioh_ssize n)
{
    PyObject *data = PyBytes_FromStringAndSize(buf, (Py_ssize_t)n);
    PyObject *received = Py_XNewRef(e->received);
    PyObject *result = data && received ? PyObject_CallOneArg(received, data) : NULL;

    Py_XDECREF(received);
    Py_XDECREF(data);
    Py_XDECREF(result);
    return result ? 1 : -1;
}

static int ended(Engine *e, qioh_ssize n, const qioh_error *error)
{
    if (n == QIOH_E_AGAIN) {
        return 0;
    }
    e->reading = false;
    if (n == 0) {
        return tell(e, "_eof", NULL) < 0 ? -1 : 0;
    }
    qiopy_raise(error);
    return -1;
}

static int read_bytes(Engine *e)
{
    char buf[READ_SIZE];
    qioh_error error;
    qioh_ssize n;

    qiopy_error_init(&error);
    qiopy_enter();
    n = qiopy_try_read(e->channel, buf, sizeof buf, &error);
    qiopy_leave();
    return n > 0 ? deliver(e, buf, n) : ended(e, n, &error);
}

/* Into the protocol's own buffer. */
static int read_buffered(Engine *e)
{
    PyObject *buffer = PyObject_CallFunction(e->get_buffer, "i", -1);
    PyObject *received, *result;
    qioh_error error;
    Py_buffer view;
    qioh_ssize n;

    if (!buffer || qiopy_arg_buffer(buffer, "what get_buffer() gives", true, &view) < 0) {
        Py_XDECREF(buffer);
        return -1;
    }
    Py_DECREF(buffer);
    if (view.len == 0) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        return -1;
    }
    qiopy_error_init(&error);
    qiopy_enter();
    n = qiopy_try_read(e->channel, view.buf, (size_t)view.len, &error);
    qiopy_leave();
    PyBuffer_Release(&view);
    if (n <= 0) {
        return ended(e, n, &error);
    }
    received = Py_XNewRef(e->received);
    result = received ? PyObject_CallFunction(received, "n", (Py_ssize_t)n) : NULL;
    Py_XDECREF(received);
    Py_XDECREF(result);
    return result ? 1 : -1;
}

static int on_readable(PyObject *self)
{
    Engine *e = (Engine *)self;

    if (!reads(e)) {
        return 0;
    }
    qiopy_place_leave(&e->reads);
    if ((e->get_buffer ? read_buffered(e) : read_bytes(e)) < 0 ||
        (reads(e) && arm(e, &e->reads, QIOH_IN, "_readable") < 0)) {
        e->reading = false;
        return fatal(e);
    }
    qiopy_place_look_again(e->channel, &e->reads);
    return 0;
}

static void on_abort(PyObject *self)
{
    Engine *e = (Engine *)self;

    if (e->owner) {
        PyObject *bound = PyObject_GetAttrString(e->owner, "abort");

        if (!bound || qiopy_aio_call_soon(e->home, bound, NULL, NULL) < 0) {
            PyErr_Clear();                      /* the loop is closed */
        }
        Py_XDECREF(bound);
    }
}

/* ---- writing ---- */

static Py_ssize_t waiting(const Engine *e)
{
    return e->backlog ? PyByteArray_GET_SIZE(e->backlog) - e->sent : 0;
}

/* What layers hold back.  Returns: 0, -1 */
static int push_out(Engine *e)
{
    int flushed = qiopy_try_flush(e->channel);

    e->unflushed = flushed == 0;
    return flushed < 0 ? -1 : 0;
}

/* Writes what it can.  Returns: how much, or -1 */
static Py_ssize_t write_some(Engine *e, const char *buf, Py_ssize_t len)
{
    qioh_error error;
    Py_ssize_t done = 0;

    qiopy_error_init(&error);
    qiopy_enter();
    e->writing = true;
    while (done < len && e->owner) {
        qioh_ssize n = qiopy_try_write(e->channel, buf + done, (size_t)(len - done), &error);

        if (n == QIOH_E_AGAIN) {
            break;
        }
        if (n < 0) {
            qiopy_raise(&error);
            done = -1;
            break;
        }
        done += (Py_ssize_t)n;
    }
    if (done >= 0 && e->channel->keep != QIO_UNLOCK_BYTES && push_out(e) < 0) {
        done = -1;
    }
    e->writing = false;
    qiopy_leave();
    return done;
}

static int arm_writing(Engine *e)
{
    if (e->writes.waits[0].spot || e->writes.waits[1].spot || e->writes.watch) {
        return 0;
    }
    return arm(e, &e->writes, QIOH_OUT, "_writable");
}

static int append(PyObject **array, const char *buf, Py_ssize_t len)
{
    Py_ssize_t have = *array ? PyByteArray_GET_SIZE(*array) : 0;

    if (!*array) {
        *array = PyByteArray_FromStringAndSize(buf, len);
        return *array ? 0 : -1;
    }
    if (PyByteArray_Resize(*array, have + len) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(*array) + have, buf, (size_t)len);
    return 0;
}

/* Keeps what the channel did not take. */
static int keep(Engine *e, const char *buf, Py_ssize_t len)
{
    Py_ssize_t have;

    if (e->backlog && e->sent > HIGH_MARK && e->sent > waiting(e)) {    /* what went makes room */
        have = waiting(e);
        memmove(PyByteArray_AS_STRING(e->backlog), PyByteArray_AS_STRING(e->backlog) + e->sent,
                (size_t)have);
        e->sent = 0;
        if (PyByteArray_Resize(e->backlog, have) < 0) {
            return -1;
        }
    }
    if (!e->backlog) {
        e->sent = 0;
    }
    return append(&e->backlog, buf, len);
}

/* What a channel written in Python wrote from inside of its own write goes behind that. */
static int keep_late(Engine *e)
{
    PyObject *late = e->late;
    int result;

    if (!late) {
        return 0;
    }
    e->late = NULL;
    result = keep(e, PyByteArray_AS_STRING(late), PyByteArray_GET_SIZE(late));
    Py_DECREF(late);
    return result;
}

/* After a write: waits for room for the rest, and tells the protocol of a lot of it. */
static int wait_for_room(Engine *e)
{
    if (!e->owner) {
        return 0;
    }
    if (keep_late(e) < 0 || ((e->backlog || e->unflushed) && arm_writing(e) < 0)) {
        return -1;
    }
    if (!e->paused && waiting(e) > e->high) {
        e->paused = true;
        return tell(e, "_pause", NULL);
    }
    return 0;
}

static int write_or_keep(Engine *e, const char *buf, Py_ssize_t len)
{
    Py_ssize_t done;

    if (e->writing) {
        return append(&e->late, buf, len);
    }
    done = e->backlog ? 0 : write_some(e, buf, len);
    if (done < 0) {
        return -1;
    }
    if (e->owner && done < len && keep(e, buf + done, len - done) < 0) {
        return -1;
    }
    return wait_for_room(e);
}

static PyObject *engine_write(PyObject *self, PyObject *data)
{
    Engine *e = (Engine *)self;
    Py_buffer view;
    int result;

    if (qiopy_arg_buffer(data, "data", false, &view) < 0) {
        return NULL;
    }
    if (!e->owner) {
        PyBuffer_Release(&view);
        Py_RETURN_NONE;                         /* as asyncio: the connection is lost */
    }
    result = write_or_keep(e, view.buf, view.len);
    PyBuffer_Release(&view);
    if (result < 0 && fatal(e) < 0) {
        return NULL;
    }
    qiopy_place_look_again(e->channel, &e->writes);
    Py_RETURN_NONE;
}

static int go_on_writing(Engine *e)
{
    PyObject *backlog = Py_XNewRef(e->backlog);     /* stop() may be called from inside */

    if (backlog) {
        Py_ssize_t n = write_some(e, PyByteArray_AS_STRING(backlog) + e->sent, waiting(e));

        Py_DECREF(backlog);
        if (n < 0) {
            return -1;
        }
        e->sent += n;
        if (waiting(e) == 0) {
            Py_CLEAR(e->backlog);
        }
    } else if (e->unflushed && push_out(e) < 0) {
        return -1;
    }
    if (wait_for_room(e) < 0) {
        return -1;
    }
    if (e->paused && waiting(e) <= e->low) {
        e->paused = false;
        if (tell(e, "_resume", NULL) < 0) {
            return -1;
        }
    }
    return e->backlog || e->unflushed ? 0 : tell(e, "_drained", NULL);
}

static int on_writable(PyObject *self)
{
    Engine *e = (Engine *)self;

    if (!e->owner) {
        return 0;
    }
    qiopy_place_leave(&e->writes);
    if (go_on_writing(e) < 0) {
        return fatal(e);
    }
    qiopy_place_look_again(e->channel, &e->writes);
    return 0;
}

/* ---- for the owner ---- */

/* Called with arguments by a watch of the library's loop, which is to be left first. */
static PyObject *later(PyObject *self, QioPlace *place, const char *method)
{
    PyObject *bound = PyObject_GetAttrString(self, method);
    int result = bound ? qiopy_aio_call_soon(((Engine *)self)->home, bound, NULL, NULL) : -1;

    qiopy_place_leave(place);
    Py_XDECREF(bound);
    return result < 0 ? NULL : Py_NewRef(Py_False);
}

static PyObject *engine_readable(PyObject *self, PyObject *args)
{
    if (PyTuple_GET_SIZE(args)) {
        return later(self, &((Engine *)self)->reads, "_readable");
    }
    return on_readable(self) < 0 ? NULL : Py_NewRef(Py_False);
}

static PyObject *engine_writable(PyObject *self, PyObject *args)
{
    if (PyTuple_GET_SIZE(args)) {
        return later(self, &((Engine *)self)->writes, "_writable");
    }
    return on_writable(self) < 0 ? NULL : Py_NewRef(Py_False);
}

/* start(): begins to read, and again after pause() */
static PyObject *engine_start(PyObject *self, PyObject *unused)
{
    Engine *e = (Engine *)self;

    if (e->owner && !e->reading) {
        e->reading = true;
        if (arm(e, &e->reads, QIOH_IN, "_readable") < 0) {
            e->reading = false;
            return fatal(e) < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *engine_pause(PyObject *self, PyObject *unused)
{
    ((Engine *)self)->reading = false;
    qiopy_place_leave(&((Engine *)self)->reads);
    Py_RETURN_NONE;
}

/* The connection is lost: nobody is told anything any more. */
static PyObject *engine_stop(PyObject *self, PyObject *unused)
{
    Engine *e = (Engine *)self;

    e->reading = false;
    qiopy_place_leave(&e->reads);
    qiopy_place_leave(&e->writes);
    Py_CLEAR(e->backlog);
    Py_CLEAR(e->late);
    Py_CLEAR(e->owner);
    Py_RETURN_NONE;
}

static PyObject *engine_set_protocol(PyObject *self, PyObject *args)
{
    Engine *e = (Engine *)self;
    PyObject *received, *get_buffer;

    if (!PyArg_ParseTuple(args, "OO", &received, &get_buffer)) {
        return NULL;
    }
    Py_XSETREF(e->received, Py_NewRef(received));
    Py_XSETREF(e->get_buffer, get_buffer == Py_None ? NULL : Py_NewRef(get_buffer));
    Py_RETURN_NONE;
}

static PyObject *engine_set_limits(PyObject *self, PyObject *args)
{
    Engine *e = (Engine *)self;

    if (!PyArg_ParseTuple(args, "nn", &e->high, &e->low)) {
        return NULL;
    }
    if (!e->paused && waiting(e) > e->high) {
        e->paused = true;
        if (tell(e, "_pause", NULL) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *engine_limits(PyObject *self, PyObject *unused)
{
    return Py_BuildValue("(nn)", ((Engine *)self)->low, ((Engine *)self)->high);
}

static PyObject *engine_waiting(PyObject *self, PyObject *unused)
{
    return PyLong_FromSsize_t(waiting((Engine *)self));
}

/* Whether anything that was written is not out yet. */
static PyObject *engine_pending(PyObject *self, PyObject *unused)
{
    Engine *e = (Engine *)self;

    return PyBool_FromLong(e->backlog || e->late || e->unflushed);
}

static PyObject *engine_is_reading(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((Engine *)self)->reading);
}

/* ---- the object ---- */

static int engine_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Engine *e = (Engine *)self;
    PyObject *owner, *channel;
    QioObject *object;
    QioHome *home;

    if (!PyArg_ParseTuple(args, "OO:Engine", &owner, &channel)) {
        return -1;
    }
    object = qiopy_unwrap(channel, QIO_TYPE_CHANNEL, "channel");
    if (e->channel) {
        PyErr_SetString(PyExc_RuntimeError, "an engine is made once");
        return -1;
    }
    home = object && qiopy_aio_of(object) ? qiopy_aio_home() : NULL;
    if (!home) {
        return -1;
    }
    qiopy_place_init(&e->reads, self, on_readable, on_abort);
    qiopy_place_init(&e->writes, self, on_writable, on_abort);
    e->owner = Py_NewRef(owner);
    e->channel = (QioObject *)Py_NewRef((PyObject *)object);
    e->home = (QioHome *)Py_NewRef((PyObject *)home);
    e->high = HIGH_MARK;
    e->low = HIGH_MARK / 4;
    return 0;
}

static int engine_traverse(PyObject *self, visitproc visit, void *arg)
{
    Engine *e = (Engine *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(e->channel);
    Py_VISIT(e->home);
    Py_VISIT(e->owner);
    Py_VISIT(e->received);
    Py_VISIT(e->get_buffer);
    Py_VISIT(e->reads.watch);
    Py_VISIT(e->writes.watch);
    for (int i = 0; i < 2; i++) {
        Py_VISIT(e->reads.waits[i].spot);
        Py_VISIT(e->writes.waits[i].spot);
    }
    return 0;
}

static int engine_clear(PyObject *self)
{
    Engine *e = (Engine *)self;

    if (e->channel) {
        qiopy_place_leave(&e->reads);
        qiopy_place_leave(&e->writes);
    }
    Py_CLEAR(e->owner);
    Py_CLEAR(e->received);
    Py_CLEAR(e->get_buffer);
    Py_CLEAR(e->backlog);
    Py_CLEAR(e->late);
    Py_CLEAR(e->home);
    Py_CLEAR(e->channel);
    return 0;
}

static void engine_dealloc(PyObject *self)
{
    PyTypeObject *class = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    engine_clear(self);
    class->tp_free(self);
    Py_DECREF(class);
}

#define NOARGS(NAME, FUNC) {NAME, FUNC, METH_NOARGS, PyDoc_STR(NAME "($self, /)\n--\n\n")}

static PyMethodDef methods[] = {
    {"write", engine_write, METH_O,
     PyDoc_STR("write($self, data, /)\n--\n\nWrite, keeping what the channel does not take.")},
    NOARGS("start", engine_start), NOARGS("pause", engine_pause), NOARGS("stop", engine_stop),
    NOARGS("limits", engine_limits), NOARGS("waiting", engine_waiting),
    NOARGS("pending", engine_pending), NOARGS("is_reading", engine_is_reading),
    {"set_protocol", engine_set_protocol, METH_VARARGS,
     PyDoc_STR("set_protocol($self, received, get_buffer, /)\n--\n\n")},
    {"set_limits", engine_set_limits, METH_VARARGS,
     PyDoc_STR("set_limits($self, high, low, /)\n--\n\n")},
    {"_readable", engine_readable, METH_VARARGS, PyDoc_STR("_readable($self, *args)\n--\n\n")},
    {"_writable", engine_writable, METH_VARARGS, PyDoc_STR("_writable($self, *args)\n--\n\n")},
    {NULL},
};

int qiopy_transport_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_init, engine_init}, {Py_tp_dealloc, engine_dealloc},
        {Py_tp_traverse, engine_traverse}, {Py_tp_clear, engine_clear},
        {Py_tp_methods, methods}, {Py_tp_doc, "What a transport of qio.aio has from C."},
        {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.Engine", sizeof(Engine), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots,
    };

    engine_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return engine_type ? PyDict_SetItemString(dict, "Engine", (PyObject *)engine_type) : -1;
}
