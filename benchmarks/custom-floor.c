/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/custom-floor.c: the floor for channels written in Python: one call of a method from C,
 * as one writes it by hand, and the same call through the library.
 *
 * Owns: the loops that benchmarks/custom.py times.  By hand: the interpreter's lock is asked for,
 * the method is called with a view of a bytearray, or bytes, and what it moved is copied once.  The
 * interpreter's lock is held around all loops.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <qio/qioh.h>

static char memory[65536];

static PyObject *view_of(PyObject *array, Py_ssize_t len)
{
    return len == PyByteArray_GET_SIZE(array) ? PyMemoryView_FromObject(array) : NULL;
}

static Py_ssize_t number_of(PyObject *result)
{
    Py_ssize_t n = result ? PyLong_AsSsize_t(result) : -1;

    Py_XDECREF(result);
    return n;
}

/* Returns: 0, or -1 when something went wrong. */
int floor_reads(PyObject *object, size_t len, long count);
int floor_reads(PyObject *object, size_t len, long count)
{
    PyObject *array = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)len);
    int good = array != NULL;

    while (good && count--) {
        PyGILState_STATE state = PyGILState_Ensure();
        PyObject *view = view_of(array, (Py_ssize_t)len);
        Py_ssize_t n = number_of(view ? PyObject_CallMethod(object, "readinto", "O", view) : NULL);

        good = n >= 0 && n <= (Py_ssize_t)len;
        if (good) {
            memcpy(memory, PyByteArray_AS_STRING(array), (size_t)n);
        }
        Py_XDECREF(view);
        PyGILState_Release(state);
    }
    Py_XDECREF(array);
    return good ? 0 : -1;
}

int floor_writes(PyObject *object, size_t len, long count);
int floor_writes(PyObject *object, size_t len, long count)
{
    int good = 1;

    while (good && count--) {
        PyGILState_STATE state = PyGILState_Ensure();
        PyObject *bytes = PyBytes_FromStringAndSize(memory, (Py_ssize_t)len);
        Py_ssize_t n = number_of(bytes ? PyObject_CallMethod(object, "write", "O", bytes) : NULL);

        good = n == (Py_ssize_t)len;
        Py_XDECREF(bytes);
        PyGILState_Release(state);
    }
    return good ? 0 : -1;
}

int case_reads(qioh_channel *channel, size_t len, long count);
int case_reads(qioh_channel *channel, size_t len, long count)
{
    while (count--) {
        if (qioh_channel_try_read(channel, memory, len, NULL) != (qioh_ssize)len) {
            return -1;
        }
    }
    return 0;
}

int case_writes(qioh_channel *channel, size_t len, long count);
int case_writes(qioh_channel *channel, size_t len, long count)
{
    while (count--) {
        if (qioh_channel_try_write(channel, memory, len, NULL) != (qioh_ssize)len) {
            return -1;
        }
    }
    return 0;
}
