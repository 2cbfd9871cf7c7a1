/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyrelay.c: relays.
 *
 * Owns: the start of a relay and the trampoline of its filter, whose shell belongs to the loop
 * (pyloop.c), so that the collector sees the function there; its object is a task's (pytask.c).
 * What a filter raises leaves from the call that dispatches the loop.  The trampoline runs on the
 * dispatching thread without the GIL and takes it.  GIL held elsewhere.
 */
#include "qiopy.h"

/* ---- the filter ---- */

static int32_t put(qioh_task *task, PyObject *result, qioh_error *error)
{
    int32_t status;
    Py_buffer view;

    if (result == Py_None) {
        return 0;
    }
    if (PyObject_GetBuffer(result, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Format(PyExc_TypeError, "a filter has to return bytes or None (unchanged), not "
                     "%.100s", Py_TYPE(result)->tp_name);
        return -1;
    }
    status = qioh_task_put(task, view.buf, (size_t)view.len, error);
    PyBuffer_Release(&view);
    if (status < 0) {
        qiopy_raise(error);
        return -1;
    }
    return 1;
}

static int32_t filter(PyObject *fn, qioh_task *task, uint32_t direction, const void *buf,
                      size_t len, qioh_error *error)
{
    PyObject *result = PyObject_CallFunction(fn, "Iy#", direction, buf, (Py_ssize_t)len);
    int32_t status = result ? put(task, result, error) : -1;

    Py_XDECREF(result);
    return status < 0 ? qiopy_stash(fn, error) : status;
}

static int32_t on_filter(qioh_task *task, uint32_t direction, const void *buf, size_t len,
                         void *user_data, qioh_error *error)
{
    PyGILState_STATE state;
    int32_t status = 0;
    PyObject *fn;

    if (qiopy_finalizing()) {
        return QIOH_E_CALLBACK;
    }
    state = PyGILState_Ensure();
    fn = qiopy_shell_fn(user_data);
    if (fn) {
        status = filter(fn, task, direction, buf, len, error);
        Py_DECREF(fn);
    }
    PyGILState_Release(state);
    return status;
}

/* ---- starting ---- */

/* Hands a function over; 0, or -1 with an exception.  The loop must not be dispatched before. */
static int set_filter(QioObject *loop, qioh_task *task, PyObject *fn)
{
    QioShell *shell = qiopy_shell_new(loop, "filter", fn, NULL);
    qioh_error error;
    int32_t status;

    if (!shell) {
        return -1;
    }
    qiopy_error_init(&error);
    status = qioh_task_set_filter(task, on_filter, shell, qiopy_shell_release, &error);
    qiopy_shell_unref(shell);
    if (status < 0) {
        qiopy_raise(&error);
    }
    return status < 0 ? -1 : 0;
}

PyObject *qiopy_loop_relay(QioObject *self, PyObject *a, PyObject *b, qioh_options *options,
                           PyObject *filter, PyObject *fn)
{
    QioObject *ends[2] = { qiopy_unwrap(a, QIO_TYPE_CHANNEL, "a"), NULL };
    PyObject *both, *object;
    qioh_task *task;
    qioh_error error;

    ends[1] = ends[0] ? qiopy_unwrap(b, QIO_TYPE_CHANNEL, "b") : NULL;
    if (!ends[1]) {
        return NULL;
    }
    qiopy_error_init(&error);
    task = qioh_task_start_relay(ends[0]->h.channel, ends[1]->h.channel, options, self->h.loop, 0,
                                 &error);
    if (task && filter != Py_None && set_filter(self, task, filter) < 0) {
        qioh_task_cancel(task, NULL);
        qioh_task_unref(task);
        return NULL;
    }
    both = PyTuple_Pack(2, a, b);
    object = qiopy_task_new(self, task, fn, both, &error);
    Py_XDECREF(both);
    return object;
}
