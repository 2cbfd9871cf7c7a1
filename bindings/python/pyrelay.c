/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyrelay.c: relays.
 *
 * Owns: the type behind qio.Relay, a task's handle; the trampolines of its filter and of its end,
 * whose shells belong to the loop (pyloop.c), so that the collector sees the functions there.
 * What a filter raises leaves from the call that dispatches the loop.  Trampolines run on the
 * dispatching thread without the GIL and take it.  GIL held elsewhere.
 */
#include "qiopy.h"

typedef struct RelayObject {
    PyObject_HEAD
    qioh_task *task;
} RelayObject;

static PyTypeObject *relay_type;

/* ---- trampolines ---- */

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

static int32_t on_end(qioh_task *task, int32_t status, void *user_data, qioh_error *error)
{
    PyGILState_STATE state;
    PyObject *fn, *result;
    int32_t ret = 0;

    if (qiopy_finalizing()) {
        return 0;
    }
    state = PyGILState_Ensure();
    fn = qiopy_shell_fn(user_data);
    if (fn) {
        result = PyObject_CallNoArgs(fn);
        ret = result ? 0 : qiopy_stash(fn, error);
        Py_XDECREF(result);
        Py_DECREF(fn);
    }
    PyGILState_Release(state);
    return ret;
}

/* ---- starting ---- */

/* Hands a function over; 0, or -1 with an exception.  The loop must not be dispatched before. */
static int set_filter(QioObject *loop, qioh_task *task, PyObject *fn)
{
    QioShell *shell = qiopy_shell_new(loop, "filter", fn);
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

static int set_end(QioObject *loop, qioh_task *task, PyObject *fn)
{
    QioShell *shell = qiopy_shell_new(loop, "on_done", fn);
    qioh_error error;
    int32_t status;

    if (!shell) {
        return -1;
    }
    qiopy_error_init(&error);
    status = qioh_task_set_callback(task, on_end, shell, qiopy_shell_release, &error);
    qiopy_shell_unref(shell);
    if (status < 0) {
        qiopy_raise(&error);
    }
    return status < 0 ? -1 : 0;
}

static PyObject *wrap(qioh_task *task)
{
    RelayObject *self = (RelayObject *)relay_type->tp_alloc(relay_type, 0);

    if (self) {
        self->task = task;
    }
    return (PyObject *)self;
}

PyObject *qiopy_loop_relay(QioObject *self, PyObject *a, PyObject *b, qioh_options *options,
                           PyObject *filter, PyObject *fn)
{
    QioObject *ends[2] = { qiopy_unwrap(a, QIO_TYPE_CHANNEL, "a"), NULL };
    PyObject *object = NULL;
    qioh_task *task;
    qioh_error error;

    ends[1] = ends[0] ? qiopy_unwrap(b, QIO_TYPE_CHANNEL, "b") : NULL;
    if (!ends[1]) {
        return NULL;
    }
    qiopy_error_init(&error);
    task = qioh_task_start_relay(ends[0]->h.channel, ends[1]->h.channel, options, self->h.loop, 0,
                                 &error);
    if (!task) {
        qiopy_raise(&error);
        return NULL;
    }
    if ((filter == Py_None || set_filter(self, task, filter) == 0) &&
        set_end(self, task, fn) == 0) {
        object = wrap(task);
    }
    if (!object) {
        qioh_task_cancel(task, NULL);
        qioh_task_unref(task);
    }
    return object;
}

/* ---- the object ---- */

static PyObject *relay_cancel(PyObject *object, PyObject *unused)
{
    qioh_task_cancel(((RelayObject *)object)->task, NULL);
    Py_RETURN_NONE;
}

/* False while it runs, True when it succeeded; else its error is raised. */
static PyObject *relay_status(PyObject *object, PyObject *unused)
{
    qioh_error error;
    int32_t status;

    qiopy_error_init(&error);
    status = qioh_task_status(((RelayObject *)object)->task, &error);
    if (status < 0 && status != QIOH_E_AGAIN) {
        qiopy_raise(&error);
        return NULL;
    }
    return PyBool_FromLong(status != QIOH_E_AGAIN);
}

static PyObject *relay_done(PyObject *object, PyObject *unused)
{
    return PyBool_FromLong(qioh_task_status(((RelayObject *)object)->task, NULL) !=
                           QIOH_E_AGAIN);
}

typedef int32_t (*PairFunc)(qioh_task *, uint64_t *, uint64_t *, qioh_error *);

static PyObject *pair_of(PyObject *object, PairFunc func)
{
    uint64_t a_to_b = 0, b_to_a = 0;

    func(((RelayObject *)object)->task, &a_to_b, &b_to_a, NULL);
    return Py_BuildValue("(KK)", (unsigned long long)a_to_b, (unsigned long long)b_to_a);
}

static PyObject *relay_counts(PyObject *object, PyObject *unused)
{
    return pair_of(object, qioh_task_get_counts);
}

static PyObject *relay_lost(PyObject *object, PyObject *unused)
{
    return pair_of(object, qioh_task_get_lost);
}

static void relay_dealloc(PyObject *object)
{
    qioh_task *task = ((RelayObject *)object)->task;
    PyTypeObject *class = Py_TYPE(object);

    Py_BEGIN_ALLOW_THREADS
    qioh_task_unref(task);
    Py_END_ALLOW_THREADS
    class->tp_free(object);
    Py_DECREF(class);
}

static PyMethodDef relay_methods[] = {
    {"cancel", relay_cancel, METH_NOARGS, PyDoc_STR("cancel($self, /)\n--\n\n")},
    {"counts", relay_counts, METH_NOARGS, PyDoc_STR("counts($self, /)\n--\n\n")},
    {"done", relay_done, METH_NOARGS, PyDoc_STR("done($self, /)\n--\n\n")},
    {"lost", relay_lost, METH_NOARGS, PyDoc_STR("lost($self, /)\n--\n\n")},
    {"status", relay_status, METH_NOARGS, PyDoc_STR("status($self, /)\n--\n\n")},
    {NULL},
};

int qiopy_relay_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_dealloc, relay_dealloc}, {Py_tp_methods, relay_methods},
        {Py_tp_doc, "What a relay has from C; see qio.Relay."}, {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.Relay", sizeof(RelayObject), 0,
        Py_TPFLAGS_DEFAULT, slots,
    };

    relay_type = (PyTypeObject *)qiopy_type_without_new(&spec);
    return relay_type ? PyDict_SetItemString(dict, "Relay", (PyObject *)relay_type) : -1;
}
