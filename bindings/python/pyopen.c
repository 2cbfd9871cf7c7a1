/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyopen.c: opening channels, and listeners.
 *
 * Owns: the calls that may block outside a channel.  The GIL is released round them; a signal
 * ends them, its Python handler runs, and they go on with what time is left.
 */
#include "qiopy.h"

/* The time that is left, as the key "timeout" has it: seconds. */
static int set_timeout(qioh_options *options, QioTimeout timeout)
{
    int32_t ms = qiopy_ms_left(timeout);
    char text[32] = "none";
    qioh_error error;

    if (timeout == QIO_TIMEOUT_DEFAULT) {
        return 0;
    }
    if (ms >= 0) {
        snprintf(text, sizeof text, "%d.%03d", (int)(ms / 1000), (int)(ms % 1000));
    }
    qiopy_error_init(&error);
    if (qioh_options_set_str(options, "timeout", text, &error) < 0) {
        qiopy_raise(&error);
        return -1;
    }
    return 0;
}

/* Waits for the operation through signals.  Returns: 0 it has ended, -1 an exception is set */
static int wait_for_task(qioh_task *task, qioh_error *error)
{
    int again, ended;

    do {
        Py_BEGIN_ALLOW_THREADS
        ended = qioh_task_wait(task, -1, error);
        Py_END_ALLOW_THREADS
        again = ended == 1 ? 0 : qiopy_interrupted(error);
    } while (again == 1);
    if (again == 0 && ended != 1) {
        qiopy_raise(error);
        again = -1;
    }
    return again;
}

/* Opens in a loop of its own, where a signal ends a wait and not what is waited for.  Returns: 0
 * with a channel or an error, -1 an exception is set */
static int open_in_loop(const char *uri, qioh_options *options, qioh_channel **channel,
                        qioh_error *error)
{
    qioh_loop *loop = qioh_loop_new(error);
    qioh_task *task = loop ? qioh_task_start_open_uri(uri, options, loop, 0, error) : NULL;
    int failed = 0;

    if (task) {
        failed = wait_for_task(task, error);
        *channel = failed ? NULL : qioh_task_take_channel(task, error);
        qioh_task_cancel(task, NULL);
        qioh_task_unref(task);
    }
    qioh_loop_unref(loop);
    return failed;
}

/* A pipe's other end is waited for in the call itself. */
static bool is_file(const char *uri)
{
    return strncmp(uri, "file:", 5) == 0;
}

/* As open_in_loop(), for an attempt that may be given up: 1 it was interrupted. */
static int open_once(const char *uri, qioh_options *options, qioh_channel **channel,
                     qioh_error *error)
{
    Py_BEGIN_ALLOW_THREADS
    *channel = qioh_channel_open_uri(uri, options, error);
    Py_END_ALLOW_THREADS
    return *channel ? 0 : qiopy_interrupted(error);
}

/* The first attempt costs no loop.  When it is interrupted it is given up, and the second one goes
 * on through any number of signals; both have the same time. */
PyObject *qiopy_open_uri(const char *uri, PyObject *keys, QioTimeout timeout)
{
    qioh_channel *channel = NULL;
    qioh_options *options;
    qioh_error error;
    int again = 1;

    if (qiopy_arg_options(keys, "keys", &options) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    for (int attempt = 0; again == 1; attempt++) {
        if (set_timeout(options, timeout) != 0) {
            again = -1;
        } else if (attempt == 0 || is_file(uri)) {
            again = open_once(uri, options, &channel, &error);
        } else {
            again = open_in_loop(uri, options, &channel, &error);
        }
    }
    qioh_options_unref(options);
    if (again == 0 && !channel) {
        qiopy_raise(&error);
    }
    return channel ? qiopy_wrap_channel(channel, true) : NULL;
}

PyObject *qiopy_new_pair(void)
{
    qioh_channel *pair[2];
    qioh_error error;
    PyObject *a, *b;

    qiopy_error_init(&error);
    if (qioh_channel_new_pair(pair, &error) < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    a = qiopy_wrap_channel(pair[0], true);
    b = qiopy_wrap_channel(pair[1], true);
    if (!a || !b) {
        Py_XDECREF(a);
        Py_XDECREF(b);
        return NULL;
    }
    return Py_BuildValue("(NN)", a, b);
}

PyObject *qiopy_listener_accept(QioObject *self, QioTimeout timeout)
{
    qioh_channel *channel;
    qioh_error error;
    int again;

    qiopy_error_init(&error);
    do {
        int32_t ms = qiopy_ms_left(timeout);

        Py_BEGIN_ALLOW_THREADS
        channel = qioh_listener_accept(self->h.listener, ms, &error);
        Py_END_ALLOW_THREADS
        again = channel ? 0 : qiopy_interrupted(&error);
    } while (again == 1);
    if (again < 0) {
        return NULL;
    }
    if (!channel) {
        qiopy_raise(&error);
        return NULL;
    }
    return qiopy_wrap_channel(channel, true);
}

PyObject *qiopy_listener_accept_now(QioObject *self)
{
    qioh_channel *channel;
    qioh_error error;

    qiopy_error_init(&error);
    channel = qioh_listener_accept(self->h.listener, 0, &error);
    if (!channel && error.code != QIOH_E_TIMEOUT) {
        qiopy_raise(&error);
        return NULL;
    }
    return qiopy_wrap_channel(channel, true);
}

static PyObject *address(QioObject *self, uint32_t index)
{
    char text[512];
    qioh_error error;
    qioh_ssize n;

    qiopy_error_init(&error);
    n = qioh_listener_get_address(self->h.listener, index, text, sizeof text, &error);
    if (n < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)n, "surrogateescape");
}

PyObject *qiopy_listener_addresses(QioObject *self)
{
    PyObject *list = PyList_New(0);
    PyObject *tuple;

    for (uint32_t i = 0; list; i++) {
        qioh_ssize n = qioh_listener_get_address(self->h.listener, i, NULL, 0, NULL);
        PyObject *text;

        if (n == QIOH_E_INVAL && i > 0) {
            break;                              /* after the last */
        }
        text = address(self, i);
        if (!text || PyList_Append(list, text) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(text);
    }
    tuple = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

PyObject *qiopy_listener_fileno(QioObject *self)
{
    qioh_error error;
    int32_t fd;

    qiopy_error_init(&error);
    fd = qioh_listener_get_fd(self->h.listener, 0, &error);
    if (fd >= 0) {
        return PyLong_FromLong(fd);
    }
    if (fd == QIOH_E_CLOSED || self->closed) {
        return PyLong_FromLong(-1);
    }
    qiopy_raise(&error);
    return NULL;
}

PyObject *qiopy_listener_close(QioObject *self)
{
    qioh_error error;
    int32_t status;

    qiopy_error_init(&error);
    self->closed = true;    /* first: whoever the close wakes asks whether it is */
    Py_BEGIN_ALLOW_THREADS
    status = qioh_listener_close(self->h.listener, &error);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}
