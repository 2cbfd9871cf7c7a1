/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyfd.c: a descriptor that somebody owns.
 *
 * Owns: the type behind qio.Fd.  A received descriptor is born inside one, so neither an
 * exception nor a forgotten variable leaks it: dropping one that is still open warns and
 * closes.  In C, so that no signal handler runs between taking a descriptor and owning it.
 * GIL held, but for the close itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "qiopy.h"

typedef struct FdObject {
    PyObject_HEAD
    int fd;                     /* -1: closed or given away */
} FdObject;

static PyTypeObject *fd_type;

static PyObject *fd_create(PyTypeObject *class, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", NULL};
    PyObject *object;
    FdObject *self;
    int32_t fd;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Fd", names, &object) ||
        qiopy_arg_int32(object, "fd", &fd) < 0) {
        return NULL;
    }
    if (fd < 0 || fcntl(fd, F_GETFD) < 0) {
        qioh_error error = {.struct_size = sizeof error, .code = QIOH_E_SYSTEM,
                            .sys_errno = EBADF, .domain = QIOH_DOMAIN_ERRNO, .number = EBADF};

        snprintf(error.message, sizeof error.message, "fd: %d is not an open descriptor", (int)fd);
        qiopy_raise(&error);
        return NULL;
    }
    self = (FdObject *)class->tp_alloc(class, 0);
    if (self) {
        self->fd = fd;
    }
    return (PyObject *)self;
}

PyObject *qiopy_fd_new(int fd)
{
    PyObject *hook = qiopy_hook(QIO_HOOK_FD);
    PyTypeObject *class = hook && PyType_Check(hook) &&
                          PyType_IsSubtype((PyTypeObject *)hook, fd_type)
                          ? (PyTypeObject *)hook : fd_type;
    FdObject *self = (FdObject *)class->tp_alloc(class, 0);

    if (!self) {
        close(fd);
        return NULL;
    }
    self->fd = fd;
    return (PyObject *)self;
}

static int fd_closed_error(FdObject *self)
{
    if (self->fd >= 0) {
        return 0;
    }
    qiopy_raise_code(QIOH_E_CLOSED, 0, "the descriptor is closed or was given away");
    return -1;
}

static PyObject *fd_fileno(PyObject *object, PyObject *unused)
{
    FdObject *self = (FdObject *)object;

    return fd_closed_error(self) < 0 ? NULL : PyLong_FromLong(self->fd);
}

static PyObject *fd_detach(PyObject *object, PyObject *unused)
{
    FdObject *self = (FdObject *)object;
    PyObject *number;

    if (fd_closed_error(self) < 0) {
        return NULL;
    }
    number = PyLong_FromLong(self->fd);
    if (number) {
        self->fd = -1;
    }
    return number;
}

/* Linux has closed the descriptor even when close() says EINTR, so it is never repeated. */
static void close_now(FdObject *self)
{
    int fd = self->fd;

    if (fd >= 0) {
        self->fd = -1;
        Py_BEGIN_ALLOW_THREADS
        close(fd);
        Py_END_ALLOW_THREADS
    }
}

int qiopy_fd_drop(PyObject *object, int fd)
{
    PyObject *result;

    if (PyLong_Check(object)) {
        Py_BEGIN_ALLOW_THREADS
        close(fd);
        Py_END_ALLOW_THREADS
        return 0;
    }
    if (PyObject_TypeCheck(object, fd_type)) {
        close_now((FdObject *)object);
        return 0;
    }
    result = PyObject_CallMethod(object, "close", NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static PyObject *fd_close(PyObject *object, PyObject *unused)
{
    close_now((FdObject *)object);
    Py_RETURN_NONE;
}

static PyObject *fd_enter(PyObject *object, PyObject *unused)
{
    return fd_closed_error((FdObject *)object) < 0 ? NULL : Py_NewRef(object);
}

static PyObject *fd_exit(PyObject *object, PyObject *args)
{
    return fd_close(object, NULL);
}

static PyObject *fd_repr(PyObject *object)
{
    FdObject *self = (FdObject *)object;

    return self->fd < 0 ? PyUnicode_FromString("<Fd closed>")
                        : PyUnicode_FromFormat("<Fd %d>", self->fd);
}

static void fd_finalize(PyObject *object)
{
    FdObject *self = (FdObject *)object;
    PyObject *e1, *e2, *e3;

    if (self->fd < 0) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    if (PyErr_ResourceWarning(object, 1, "unclosed %R", object) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Warning)) {
            PyErr_WriteUnraisable(object);
        } else {
            PyErr_Clear();
        }
    }
    PyErr_Restore(e1, e2, e3);
    close_now(self);
}

static void fd_dealloc(PyObject *object)
{
    PyTypeObject *class = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    class->tp_free(object);
    Py_DECREF(class);
}

static PyObject *fd_get_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(((FdObject *)object)->fd < 0);
}

static PyMethodDef fd_methods[] = {
    {"fileno", fd_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nThe descriptor, which stays this object's.")},
    {"detach", fd_detach, METH_NOARGS,
     PyDoc_STR("detach($self, /)\n--\n\nGive the descriptor to the caller.")},
    {"close", fd_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nClose the descriptor; a second time does nothing.")},
    {"__enter__", fd_enter, METH_NOARGS, PyDoc_STR("__enter__($self, /)\n--\n\n")},
    {"__exit__", fd_exit, METH_VARARGS, PyDoc_STR("__exit__($self, /, *exc)\n--\n\n")},
    {NULL},
};

static PyGetSetDef fd_getset[] = {
    {"closed", fd_get_closed, NULL, PyDoc_STR("Whether it was closed or given away."), NULL},
    {NULL},
};

int qiopy_fd_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_new, fd_create}, {Py_tp_dealloc, fd_dealloc}, {Py_tp_finalize, fd_finalize},
        {Py_tp_repr, fd_repr}, {Py_tp_methods, fd_methods}, {Py_tp_getset, fd_getset},
        {Py_tp_doc, "Fd(fd)\n--\n\nWhat an owned descriptor has from C; see qio.Fd."},
        {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.Fd", sizeof(FdObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
    };

    fd_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return fd_type ? PyDict_SetItemString(dict, "Fd", (PyObject *)fd_type) : -1;
}
