/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pywait.c: deadlines, signals, and waiting for a channel.
 *
 * Owns: the rule how a call of the Python module waits: it tries without waiting, asks here when
 * that would block, and tries again.  The wait itself is qioh_channel_wait() without the GIL; a
 * signal ends it, its Python handler runs, and the wait goes on with what time is left.
 */
#include <time.h>
#include "pyaio.h"

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL

int64_t qiopy_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int qiopy_keyword_only(PyObject *kwargs, const char *name)
{
    PyObject *key, *value;
    Py_ssize_t pos = 0;

    while (kwargs && PyDict_Next(kwargs, &pos, &key, &value)) {
        if (PyUnicode_Check(key) && PyUnicode_CompareWithASCIIString(key, name) == 0) {
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s has to be given by keyword: %s=...", name, name);
    return -1;
}

/* qio.Deadline carries the moment itself, as time.monotonic() counts. */
static int seconds_of(PyObject *object, const char *name, bool *absolute, double *out)
{
    PyObject *when;

    *absolute = false;
    if (PyFloat_Check(object) || PyLong_Check(object)) {
        *out = PyFloat_AsDouble(object);
        return *out == -1.0 && PyErr_Occurred() ? -1 : 0;
    }
    when = PyObject_GetAttrString(object, "_monotonic_");
    if (!when) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError,
                     "%s has to be seconds, a qio.Deadline or None (no limit), not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    *absolute = true;
    *out = PyFloat_AsDouble(when);
    Py_DECREF(when);
    return *out == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int qiopy_timeout(PyObject *object, const char *name, QioTimeout *out)
{
    double seconds;
    bool absolute;

    if (object == Py_Ellipsis) {
        *out = QIO_TIMEOUT_DEFAULT;
        return 0;
    }
    if (object == qiopy_try) {
        *out = QIO_TIMEOUT_TRY;
        return 0;
    }
    if (object == Py_None || object == Py_False) {
        *out = QIO_TIMEOUT_NONE;
        return 0;
    }
    if (object == Py_True) {
        PyErr_Format(PyExc_TypeError, "%s=True means nothing: give seconds, or None for no limit",
                     name);
        return -1;
    }
    if (seconds_of(object, name, &absolute, &seconds) < 0) {
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_Format(PyExc_ValueError, "%s has to be at least 0, not %R", name, object);
        return -1;
    }
    if (seconds > 1e9) {                        /* 31 years; and infinity */
        *out = QIO_TIMEOUT_NONE;
        return 0;
    }
    *out = (absolute ? 0 : qiopy_now()) + (int64_t)(seconds * NS_PER_S);
    return 0;
}

/* Rounded up, so that a wait never ends before its time and the last one is not a spin. */
int32_t qiopy_ms_left(QioTimeout timeout)
{
    int64_t left;

    if (timeout == QIO_TIMEOUT_NONE || timeout == QIO_TIMEOUT_DEFAULT) {
        return -1;
    }
    if (timeout == QIO_TIMEOUT_TRY) {
        return 0;
    }
    left = timeout - qiopy_now();
    if (left <= 0) {
        return 0;
    }
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    return left > INT32_MAX ? INT32_MAX : (int32_t)left;
}

/* Waits once.  Returns: the conditions, 0 on time-out, -1 with an exception */
static int32_t wait_once(QioObject *self, uint32_t condition, QioTimeout timeout, uint64_t done)
{
    qioh_error error;
    int32_t result;
    int again;

    do {
        int32_t ms = qiopy_ms_left(timeout);

        qiopy_error_init(&error);
        Py_BEGIN_ALLOW_THREADS
        result = qioh_channel_wait(self->h.channel, condition, ms, &error);
        Py_END_ALLOW_THREADS
        if (result >= 0) {
            return result;
        }
        again = qiopy_interrupted(&error);
    } while (again == 1);
    if (again == 0) {
        error.bytes = done;
        qiopy_raise(&error);
    }
    return -1;
}

void qiopy_raise_busy(unsigned way)
{
    qiopy_raise_code(QIOH_E_BUSY, 0, way == QIO_READING ? "another call is reading the channel"
                                                        : "another call is writing the channel");
}

/* What the channel says about waiting, when the call does not. */
static int settle(QioPatience *patience)
{
    qioh_channel *channel = patience->self->h.channel;
    qioh_error error;
    int32_t ms = -1;
    int32_t blocking;

    if (patience->timeout == QIO_TIMEOUT_TRY) {
        return 0;
    }
    patience->settled = true;
    if (patience->timeout != QIO_TIMEOUT_DEFAULT) {
        return 1;
    }
    qiopy_error_init(&error);
    blocking = qioh_channel_get_blocking(channel, &error);
    if (blocking < 0 || qioh_channel_get_timeout(channel, &ms, &error) < 0) {
        qiopy_raise(&error);
        return -1;
    }
    if (!blocking && !patience->always) {
        return 0;
    }
    patience->timeout = !blocking || ms < 0 ? QIO_TIMEOUT_NONE : qiopy_now() + ms * NS_PER_MS;
    return 1;
}

/* A WebSocket server whose request may still have to be answered: does the handshake. */
static int wait_for_request(QioPatience *patience)
{
    QioObject *self = patience->self;
    int status = qiopy_do_handshake(self, patience->timeout);

    if (status == 1) {
        return qiopy_answer_request(self) < 0 ? -1 : 1;
    }
    if (status == 0) {
        Py_CLEAR(self->on_request);
    }
    return status < 0 ? -1 : 1;
}

/* A non-blocking channel.  Returns: 1 again, a request was answered; 0; -1 */
static int look_for_request(QioObject *self)
{
    int32_t status = qioh_channel_handshake(self->h.channel, 0, NULL);

    if (status == 1) {
        return qiopy_answer_request(self) < 0 ? -1 : 1;
    }
    return 0;
}

int qiopy_wait(QioPatience *patience, uint64_t done)
{
    int32_t result;

    if (!patience->settled) {
        int settled = settle(patience);

        if (settled <= 0) {
            patience->settled = false;
            return settled == 0 && patience->self->on_request ? look_for_request(patience->self)
                                                              : settled;
        }
    }
    if (patience->self->on_request) {
        return wait_for_request(patience);
    }
    result = wait_once(patience->self, patience->condition, patience->timeout, done);
    if (result == 0) {
        qiopy_raise_code(QIOH_E_TIMEOUT, done,
                         patience->condition == QIOH_OUT ? "timed out waiting to write"
                                                         : "timed out waiting to read");
        return -1;
    }
    return result < 0 ? -1 : 1;
}

int qiopy_push_out(QioPatience *patience, uint64_t done)
{
    QioObject *self = patience->self;
    qioh_error error;
    int32_t status;
    int again;

    if (self->keep == QIO_UNLOCK_BYTES) {
        return 0;                               /* no layer */
    }
    qiopy_error_init(&error);
    status = qioh_channel_flush_within(self->h.channel, 0, &error);
    if (status != QIOH_E_AGAIN) {
        return 0;                               /* a failure is the next write's */
    }
    if (!patience->settled && (again = settle(patience)) <= 0) {
        return again;
    }
    do {
        int32_t ms = qiopy_ms_left(patience->timeout);

        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_flush_within(self->h.channel, ms, &error);
        Py_END_ALLOW_THREADS
        again = status < 0 ? qiopy_interrupted(&error) : 0;
    } while (again == 1);
    if (again == 0 && (status == QIOH_E_AGAIN || error.code == QIOH_E_TIMEOUT)) {
        qiopy_raise_code(QIOH_E_TIMEOUT, done, "timed out sending what was written");
        again = -1;
    } else if (again == 0 && status < 0) {
        error.bytes = done;
        qiopy_raise(&error);
        again = -1;
    }
    return again;
}

PyObject *qiopy_condition(uint32_t condition)
{
    PyObject *members = qiopy_hook(QIO_HOOK_CONDITIONS);

    if (members && PyTuple_Check(members) && condition < (size_t)PyTuple_GET_SIZE(members)) {
        return Py_NewRef(PyTuple_GET_ITEM(members, condition));
    }
    return PyLong_FromUnsignedLong(condition);
}

PyObject *qiopy_channel_wait(QioObject *self, uint32_t condition, QioTimeout timeout)
{
    QioPatience patience = {.self = self, .condition = condition, .always = true,
                            .timeout = timeout};
    int32_t result;

    if (settle(&patience) < 0) {
        return NULL;
    }
    result = wait_once(self, condition, patience.timeout, 0);
    qiopy_looked(self, 0);
    return result < 0 ? NULL : qiopy_condition((uint32_t)result);
}

/* ms: -1 no limit, 0 non-blocking, else the limit of each call. */
PyObject *qiopy_set_mode(QioObject *self, int32_t ms)
{
    qioh_error error;

    qiopy_error_init(&error);
    if (qioh_channel_set_timeout(self->h.channel, ms == 0 ? -1 : ms, &error) < 0 ||
        qioh_channel_set_blocking(self->h.channel, ms != 0, &error) < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* As a socket's: None blocks for ever, 0 does not block, seconds are the limit of each call. */
PyObject *qiopy_settimeout(QioObject *self, PyObject *value)
{
    QioTimeout timeout;

    if (qiopy_timeout(value, "timeout", &timeout) < 0) {
        return NULL;
    }
    if (timeout == QIO_TIMEOUT_DEFAULT) {
        PyErr_SetString(PyExc_TypeError, "timeout has to be seconds or None, not Ellipsis");
        return NULL;
    }
    return qiopy_set_mode(self, qiopy_ms_left(timeout));
}

PyObject *qiopy_gettimeout(QioObject *self)
{
    qioh_error error;
    int32_t ms = -1;
    int32_t blocking;

    qiopy_error_init(&error);
    blocking = qioh_channel_get_blocking(self->h.channel, &error);
    if (blocking < 0 || qioh_channel_get_timeout(self->h.channel, &ms, &error) < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    if (!blocking) {
        return PyFloat_FromDouble(0.0);
    }
    if (ms < 0) {
        Py_RETURN_NONE;
    }
    return PyFloat_FromDouble(ms / 1000.0);
}

PyObject *qiopy_getblocking(QioObject *self)
{
    qioh_error error;
    int32_t blocking;

    qiopy_error_init(&error);
    blocking = qioh_channel_get_blocking(self->h.channel, &error);
    if (blocking < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    return PyBool_FromLong(blocking);
}
