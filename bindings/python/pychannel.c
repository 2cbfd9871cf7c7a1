/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pychannel.c: what a channel is and knows besides its bytes.
 *
 * Owns: closing, descriptor, strings, the child process, and the entry points of readinto and
 * write, which are called once for each message.
 */
#include <errno.h>
#include "qiopy.h"

/* ---- readinto and write ---- */

/*
 * One message is one call of these two, so the plain case (bytes or a bytearray alone, of a size
 * that is moved with the GIL held) does the first try right here, without an export: bytes do
 * not change, and a bytearray is told not to for as long as the try lasts.  SWIG's wrappers
 * serve everything else; what the first try leaves undone goes on in pyread.c and pywrite.c.
 */
static PyCFunction plain_readinto, plain_write;
static PyMethodDef *hottest[2];

int qiopy_arg_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                      Py_ssize_t wanted, const char *method, QioTimeout *timeout)
{
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %s (and timeout=), got %zd positional "
                     "arguments", method, wanted ? "one buffer" : "nothing", nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);

        if (PyUnicode_CompareWithASCIIString(name, "timeout") != 0) {
            PyErr_Format(PyExc_TypeError, "%s() has no argument %R, only timeout", method, name);
            return -1;
        }
        if (qiopy_timeout(args[nargs + i], "timeout", timeout) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The arguments (b, *, timeout=...) of a call that has more than b, or lacks it. */
static PyObject *buffer_and_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                                    const char *method, QioTimeout *timeout)
{
    return qiopy_arg_timeout(args, nargs, kwnames, 1, method, timeout) < 0 ? NULL : args[0];
}

static PyObject *readinto_with(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    QioTimeout timeout = QIO_TIMEOUT_DEFAULT;
    PyObject *object = buffer_and_timeout(args, nargs, kwnames, "readinto", &timeout);
    PyObject *result = NULL;
    Py_buffer view;

    if (!object || qiopy_arg_buffer(object, "b", true, &view) < 0) {
        return NULL;
    }
    if (qiopy_begin((QioObject *)self, QIO_READING)) {
        qiopy_enter();
        result = qiopy_readinto((QioObject *)self, view.buf, (size_t)view.len, timeout);
        qiopy_leave();
        qiopy_end((QioObject *)self, QIO_READING);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *write_with(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    QioTimeout timeout = QIO_TIMEOUT_DEFAULT;
    PyObject *object = buffer_and_timeout(args, nargs, kwnames, "write", &timeout);
    PyObject *result = NULL;
    Py_buffer view;

    if (!object || qiopy_arg_buffer(object, "b", false, &view) < 0) {
        return NULL;
    }
    if (qiopy_begin((QioObject *)self, QIO_WRITING)) {
        qiopy_enter();
        result = qiopy_write((QioObject *)self, view.buf, (size_t)view.len, timeout);
        qiopy_leave();
        qiopy_end((QioObject *)self, QIO_WRITING);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *readinto_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames)
{
    QioObject *o = (QioObject *)self;
    PyByteArrayObject *array;
    qioh_error error;
    qioh_ssize n;
    PyObject *result;

    if (nargs != 1 || kwnames) {
        return readinto_with(self, args, nargs, kwnames);
    }
    array = (PyByteArrayObject *)args[0];
    if (!PyByteArray_CheckExact(args[0]) || (size_t)Py_SIZE(array) >= o->keep ||
        o->inside & (QIO_READING | QIO_AWAITED)) {
        return plain_readinto(self, args[0]);
    }
    qiopy_error_init(&error);
    qiopy_enter();
    array->ob_exports++;
    n = qioh_channel_try_read(o->h.channel, PyByteArray_AS_STRING(array),
                              (size_t)Py_SIZE(array), &error);
    result = n >= 0 ? PyLong_FromSsize_t((Py_ssize_t)n)
                    : qiopy_readinto_on(o, PyByteArray_AS_STRING(array),
                                        (size_t)Py_SIZE(array), n, &error);
    array->ob_exports--;
    qiopy_leave();
    return result;
}

static PyObject *write_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    QioObject *o = (QioObject *)self;
    qioh_error error;
    qioh_ssize n;
    Py_ssize_t len;
    PyObject *result;

    if (nargs != 1 || kwnames) {
        return write_with(self, args, nargs, kwnames);
    }
    if (!PyBytes_CheckExact(args[0]) || (size_t)PyBytes_GET_SIZE(args[0]) >= o->keep ||
        o->inside & (QIO_WRITING | QIO_AWAITED)) {
        return plain_write(self, args[0]);
    }
    len = PyBytes_GET_SIZE(args[0]);
    qiopy_error_init(&error);
    qiopy_enter();
    n = qioh_channel_try_write(o->h.channel, PyBytes_AS_STRING(args[0]), (size_t)len, &error);
    result = n == len && o->keep == QIO_UNLOCK_BYTES
             ? PyLong_FromSsize_t(len)
             : qiopy_write_on(o, PyBytes_AS_STRING(args[0]), (size_t)len, n, &error);
    qiopy_leave();
    return result;
}

void qiopy_channel_methods(PyMethodDef *methods)
{
    for (PyMethodDef *m = methods; m->ml_name; m++) {
        if (strcmp(m->ml_name, "readinto") == 0) {
            hottest[0] = m;
            plain_readinto = m->ml_meth;
            m->ml_meth = (PyCFunction)(void (*)(void))readinto_method;
            m->ml_flags = METH_FASTCALL | METH_KEYWORDS;
        } else if (strcmp(m->ml_name, "write") == 0) {
            hottest[1] = m;
            plain_write = m->ml_meth;
            m->ml_meth = (PyCFunction)(void (*)(void))write_method;
            m->ml_flags = METH_FASTCALL | METH_KEYWORDS;
        }
    }
}

/*
 * Gives a class descriptors of its own for the hottest methods: the interpreter's fast path for
 * calls wants one of exactly the object's class, and does not look at inherited ones.
 */
PyObject *qiopy_adopt(PyObject *class)
{
    if (!PyType_Check(class) ||
        !PyType_IsSubtype((PyTypeObject *)class, qiopy_types[QIO_TYPE_CHANNEL])) {
        PyErr_SetString(PyExc_TypeError, "class has to be one of channels");
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        PyObject *method = PyDescr_NewMethod((PyTypeObject *)class, hottest[i]);
        int result = method ? PyObject_SetAttrString(class, hottest[i]->ml_name, method) : -1;

        Py_XDECREF(method);
        if (result < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* ---- the end ---- */

/* Before a descriptor goes that event loops watch: 0; 1 the close, or refusal, is theirs. */
static int tell_loops(QioObject *self, bool close)
{
    PyObject *hook = !self->closed ? qiopy_hook(QIO_HOOK_CLOSING) : NULL;
    PyObject *result;
    int theirs = qiopy_aio_closing(self, close);

    if (theirs || !hook) {
        return theirs;
    }
    result = PyObject_CallFunctionObjArgs(hook, (PyObject *)self, close ? Py_True : Py_False, NULL);
    theirs = result == Py_True;
    if (!result) {
        PyErr_WriteUnraisable(hook);
    }
    Py_XDECREF(result);
    return theirs;
}

/* A command's close may wait for its child; a signal interrupts that, as every wait. */
PyObject *qiopy_channel_close(QioObject *self)
{
    qioh_error error;
    int32_t status;
    int again;

    self->ending = true;
    if (tell_loops(self, true)) {
        Py_RETURN_NONE;
    }
    qiopy_error_init(&error);
    do {
        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_close(self->h.channel, &error);
        Py_END_ALLOW_THREADS
        again = status < 0 ? qiopy_interrupted(&error) : 0;
    } while (again == 1);
    self->closed = true;
    if (again < 0) {
        return NULL;
    }
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}

/*
 * The library knows best: C code or another thread may have closed it.  Asked in a way that decodes
 * nothing: an event loop may be waiting for the descriptor that a layer would take bytes from.
 */
PyObject *qiopy_channel_closed(QioObject *self)
{
    qioh_error error;

    if (!self->closed) {
        qiopy_error_init(&error);
        self->closed = qioh_channel_get_pending(self->h.channel, &error) == QIOH_E_CLOSED;
    }
    return PyBool_FromLong(self->closed);
}

/* How an event loop waits: True ready now, (descriptor, events), None through a loop of ours. */
PyObject *qiopy_channel_get_poll(QioObject *self, uint32_t condition)
{
    PyThreadState *unlocked;
    qioh_error error;
    int32_t fd, status;
    uint32_t events;

    if (condition & QIOH_OUT && condition & (QIOH_IN | QIOH_MORE)) {
        Py_RETURN_NONE;
    }
    self->inside |= QIO_AWAITED_HOOK;
    qiopy_enter();
    unlocked = qiopy_unlock(self, 0);
    qiopy_error_init(&error);
    status = qioh_channel_get_poll(self->h.channel, condition, &fd, &events, &error);
    qiopy_relock(self, unlocked, -1, NULL);
    qiopy_leave();
    if (status == QIOH_E_NOTSUP) {
        Py_RETURN_NONE;
    }
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return status == 1 ? Py_NewRef(Py_True) : Py_BuildValue("(iI)", (int)fd, (unsigned)events);
}

PyObject *qiopy_channel_fileno(QioObject *self)
{
    qioh_error error;
    int32_t fd;

    qiopy_error_init(&error);
    fd = qioh_channel_get_fd(self->h.channel, &error);
    if (fd >= 0) {
        return PyLong_FromLong(fd);
    }
    if (fd == QIOH_E_CLOSED || self->closed) {
        return PyLong_FromLong(-1);
    }
    qiopy_raise(&error);
    return NULL;
}

PyObject *qiopy_channel_detach(QioObject *self)
{
    qioh_error error;
    int32_t fd;

    if (tell_loops(self, false)) {
        qiopy_raise_code(QIOH_E_BUSY, 0, "an event loop of another thread watches the channel");
        return NULL;
    }
    qiopy_error_init(&error);
    fd = qioh_channel_take_fd(self->h.channel, &error);
    if (fd < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    self->closed = true;
    return PyLong_FromLong(fd);
}

/* ---- strings and the other side ---- */

/* None where the channel has no such thing (a pipe has no address). */
PyObject *qiopy_channel_string(QioObject *self, QioStringFunc func)
{
    char small[256];
    qioh_error error;
    qioh_ssize n;
    PyObject *text;
    char *large;

    qiopy_error_init(&error);
    n = func(self->h.channel, small, sizeof small, &error);
    if (n >= 0) {
        return PyUnicode_DecodeUTF8(small, (Py_ssize_t)n, "surrogateescape");
    }
    if (n == QIOH_E_NOTSUP || n == QIOH_E_INVAL) {
        Py_RETURN_NONE;
    }
    if (n != QIOH_E_TRUNCATED) {
        qiopy_raise(&error);
        return NULL;
    }
    n = func(self->h.channel, NULL, 0, &error);
    large = n >= 0 ? PyMem_Malloc((size_t)n + 1) : NULL;
    if (!large) {
        return PyErr_NoMemory();
    }
    n = func(self->h.channel, large, (size_t)n + 1, &error);
    text = n >= 0 ? PyUnicode_DecodeUTF8(large, (Py_ssize_t)n, "surrogateescape") : NULL;
    if (n < 0) {
        qiopy_raise(&error);
    }
    PyMem_Free(large);
    return text;
}

PyObject *qiopy_channel_peer_cred(QioObject *self)
{
    qioh_error error;
    uint32_t uid, gid;
    int32_t pid;

    qiopy_error_init(&error);
    if (qioh_channel_get_peer_cred(self->h.channel, &pid, &uid, &gid, &error) < 0) {
        if (error.code == QIOH_E_NOTSUP) {
            Py_RETURN_NONE;
        }
        qiopy_raise(&error);
        return NULL;
    }
    return Py_BuildValue("(iII)", (int)pid, (unsigned)uid, (unsigned)gid);
}

/* ---- the child of a command ---- */

/* As subprocess counts: the exit status, or minus the signal. */
static PyObject *returncode(int32_t exit_status, int32_t signum)
{
    if (signum > 0) {
        return PyLong_FromLong(-signum);
    }
    if (exit_status < 0) {
        qioh_error error = {.struct_size = sizeof error, .code = QIOH_E_SYSTEM,
                            .sys_errno = ECHILD, .domain = QIOH_DOMAIN_ERRNO, .number = ECHILD};

        snprintf(error.message, sizeof error.message,
                 "exit status unknown: another part of the program has reaped the child");
        qiopy_raise(&error);
        return NULL;
    }
    return PyLong_FromLong(exit_status);
}

PyObject *qiopy_channel_exit_status(QioObject *self)
{
    int32_t status, exit_status, signum;
    qioh_error error;

    qiopy_error_init(&error);
    status = qioh_channel_get_exit_status(self->h.channel, &exit_status, &signum, &error);
    if (status == QIOH_E_AGAIN) {
        Py_RETURN_NONE;
    }
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return returncode(exit_status, signum);
}

PyObject *qiopy_channel_wait_exit(QioObject *self, QioTimeout timeout)
{
    int32_t status, exit_status = -1, signum = 0;
    qioh_error error;
    int again;

    qiopy_error_init(&error);
    do {
        int32_t ms = qiopy_ms_left(timeout);

        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_wait_exit(self->h.channel, ms, &exit_status, &signum, &error);
        Py_END_ALLOW_THREADS
        again = status < 0 ? qiopy_interrupted(&error) : 0;
    } while (again == 1);
    if (again < 0) {
        return NULL;
    }
    if (status == 0) {
        qiopy_raise_code(QIOH_E_TIMEOUT, 0, "timed out waiting for the command to end");
        return NULL;
    }
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return returncode(exit_status, signum);
}
