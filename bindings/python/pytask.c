/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pytask.c: operations that end later.
 *
 * Owns: the type of a task's handle, behind qio.Relay and qio.aio; the trampoline of its end,
 * whose shell belongs to the loop (pyloop.c), so that the collector sees the function there; and
 * the starts of those that the event loops of Python await.  The trampoline runs on the
 * dispatching thread without the GIL and takes it.  GIL held elsewhere.
 */
#include "qiopy.h"

typedef struct TaskObject {
    PyObject_HEAD
    qioh_task *task;
} TaskObject;

static PyTypeObject *task_type;

/* ---- the end ---- */

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

/* keeps, or NULL: what has to live until then, for a channel that is written in Python lives as
 * long as its object. */
static int set_end(QioObject *loop, qioh_task *task, PyObject *fn, PyObject *keeps)
{
    QioShell *shell = qiopy_shell_new(loop, "on_done", fn, keeps);
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

/* ---- starting ---- */

PyObject *qiopy_task_new(QioObject *loop, qioh_task *task, PyObject *fn, PyObject *keeps,
                         const qioh_error *error)
{
    TaskObject *self = NULL;

    if (!task) {
        qiopy_raise(error);
        return NULL;
    }
    if (set_end(loop, task, fn, keeps) == 0) {
        self = (TaskObject *)task_type->tp_alloc(task_type, 0);
    }
    if (self) {
        self->task = task;
    } else {
        qioh_task_cancel(task, NULL);
        qioh_task_unref(task);
    }
    return (PyObject *)self;
}

PyObject *qiopy_loop_open(QioObject *self, const char *uri, qioh_options *options, PyObject *fn)
{
    qioh_error error;

    qiopy_error_init(&error);
    return qiopy_task_new(self, qioh_task_start_open_uri(uri, options, self->h.loop, 0, &error),
                          fn, NULL, &error);
}

PyObject *qiopy_loop_listen(QioObject *self, const char *uri, qioh_options *options, PyObject *fn)
{
    qioh_error error;

    qiopy_error_init(&error);
    return qiopy_task_new(self, qioh_task_start_listen_uri(uri, options, self->h.loop, 0, &error),
                          fn, NULL, &error);
}

PyObject *qiopy_loop_handshake(QioObject *self, PyObject *channel, int32_t ms, PyObject *fn)
{
    QioObject *object = qiopy_unwrap(channel, QIO_TYPE_CHANNEL, "channel");
    qioh_error error;

    qiopy_error_init(&error);
    return object ? qiopy_task_new(self, qioh_task_start_handshake(object->h.channel, ms,
                                                                   self->h.loop, 0, &error),
                                   fn, channel, &error) : NULL;
}

PyObject *qiopy_loop_close_channel(QioObject *self, PyObject *channel, int32_t ms, PyObject *fn)
{
    QioObject *object = qiopy_unwrap(channel, QIO_TYPE_CHANNEL, "channel");
    qioh_error error;

    qiopy_error_init(&error);
    return object ? qiopy_task_new(self, qioh_task_start_close(object->h.channel, ms,
                                                               self->h.loop, 0, &error),
                                   fn, channel, &error) : NULL;
}

PyObject *qiopy_loop_wait_exit(QioObject *self, PyObject *channel, PyObject *fn)
{
    QioObject *object = qiopy_unwrap(channel, QIO_TYPE_CHANNEL, "channel");
    qioh_error error;

    qiopy_error_init(&error);
    return object ? qiopy_task_new(self, qioh_task_start_wait_exit(object->h.channel,
                                                                   self->h.loop, 0, &error),
                                   fn, channel, &error) : NULL;
}

/* ---- the object ---- */

static PyObject *task_cancel(PyObject *object, PyObject *unused)
{
    qioh_task_cancel(((TaskObject *)object)->task, NULL);
    Py_RETURN_NONE;
}

/* False while it runs, True when it succeeded; else its error is raised. */
static PyObject *task_status(PyObject *object, PyObject *unused)
{
    qioh_error error;
    int32_t status;

    qiopy_error_init(&error);
    status = qioh_task_status(((TaskObject *)object)->task, &error);
    if (status < 0 && status != QIOH_E_AGAIN) {
        qiopy_raise(&error);
        return NULL;
    }
    return PyBool_FromLong(status != QIOH_E_AGAIN);
}

/* As status(), and what the operation says of its success. */
static PyObject *task_result(PyObject *object, PyObject *unused)
{
    qioh_error error;
    int32_t status;

    qiopy_error_init(&error);
    status = qioh_task_status(((TaskObject *)object)->task, &error);
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return PyLong_FromLong(status);
}

static PyObject *task_take_channel(PyObject *object, PyObject *unused)
{
    qioh_channel *channel;
    qioh_error error;

    qiopy_error_init(&error);
    channel = qioh_task_take_channel(((TaskObject *)object)->task, &error);
    if (!channel) {
        qiopy_raise(&error);
        return NULL;
    }
    return qiopy_wrap_channel(channel, true);
}

static PyObject *task_take_listener(PyObject *object, PyObject *unused)
{
    qioh_listener *listener;
    qioh_error error;

    qiopy_error_init(&error);
    listener = qioh_task_take_listener(((TaskObject *)object)->task, &error);
    if (!listener) {
        qiopy_raise(&error);
        return NULL;
    }
    return qiopy_wrap_listener(listener);
}

static PyObject *task_done(PyObject *object, PyObject *unused)
{
    return PyBool_FromLong(qioh_task_status(((TaskObject *)object)->task, NULL) !=
                           QIOH_E_AGAIN);
}

typedef int32_t (*PairFunc)(qioh_task *, uint64_t *, uint64_t *, qioh_error *);

static PyObject *pair_of(PyObject *object, PairFunc func)
{
    uint64_t a_to_b = 0, b_to_a = 0;

    func(((TaskObject *)object)->task, &a_to_b, &b_to_a, NULL);
    return Py_BuildValue("(KK)", (unsigned long long)a_to_b, (unsigned long long)b_to_a);
}

static PyObject *task_counts(PyObject *object, PyObject *unused)
{
    return pair_of(object, qioh_task_get_counts);
}

static PyObject *task_lost(PyObject *object, PyObject *unused)
{
    return pair_of(object, qioh_task_get_lost);
}

static void task_dealloc(PyObject *object)
{
    qioh_task *task = ((TaskObject *)object)->task;
    PyTypeObject *class = Py_TYPE(object);

    Py_BEGIN_ALLOW_THREADS
    qioh_task_unref(task);
    Py_END_ALLOW_THREADS
    class->tp_free(object);
    Py_DECREF(class);
}

static PyMethodDef task_methods[] = {
    {"cancel", task_cancel, METH_NOARGS, PyDoc_STR("cancel($self, /)\n--\n\n")},
    {"counts", task_counts, METH_NOARGS, PyDoc_STR("counts($self, /)\n--\n\n")},
    {"done", task_done, METH_NOARGS, PyDoc_STR("done($self, /)\n--\n\n")},
    {"lost", task_lost, METH_NOARGS, PyDoc_STR("lost($self, /)\n--\n\n")},
    {"result", task_result, METH_NOARGS, PyDoc_STR("result($self, /)\n--\n\n")},
    {"status", task_status, METH_NOARGS, PyDoc_STR("status($self, /)\n--\n\n")},
    {"take_channel", task_take_channel, METH_NOARGS,
     PyDoc_STR("take_channel($self, /)\n--\n\n")},
    {"take_listener", task_take_listener, METH_NOARGS,
     PyDoc_STR("take_listener($self, /)\n--\n\n")},
    {NULL},
};

int qiopy_task_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_dealloc, task_dealloc}, {Py_tp_methods, task_methods},
        {Py_tp_doc, "An operation that ends later, in a Loop."}, {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.Task", sizeof(TaskObject), 0,
        Py_TPFLAGS_DEFAULT, slots,
    };

    task_type = (PyTypeObject *)qiopy_type_without_new(&spec);
    return task_type ? PyDict_SetItemString(dict, "Task", (PyObject *)task_type) : -1;
}
