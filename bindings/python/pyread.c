/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyread.c: every way to read from a channel.
 *
 * Owns: the loops {try, wait, try again}.  Results: bytes or a count, None where a non-blocking
 * channel has nothing, b"" or 0 at the end.  A call that fails half-way (time-out, signal,
 * cancel) puts what it has read back into the channel, so nothing is lost.
 * The GIL is kept for a small try, released for a large one and for every wait.
 */
#include "qiopy.h"

#define CHUNK 65536
#define LINE_BUFFER 4096
#define DELIMS_MAX 16

static QioPatience reading(QioObject *self, QioTimeout timeout, bool always)
{
    return (QioPatience){.self = self, .condition = QIOH_IN, .always = always,
                         .timeout = timeout};
}

qioh_ssize qiopy_try_read(QioObject *self, void *buf, size_t len, qioh_error *error)
{
    PyThreadState *unlocked = qiopy_unlock(self, len);
    qioh_ssize n = qioh_channel_try_read(self->h.channel, buf, len, error);

    return qiopy_relock(self, unlocked, n, error);
}

/* Goes on after a first try with the result n.  Returns: as read_once() */
static qioh_ssize read_on(QioPatience *patience, void *buf, size_t len, qioh_ssize n,
                          qioh_error *error)
{
    for (;; n = qiopy_try_read(patience->self, buf, len, error)) {
        int again;

        if (n >= 0) {
            return n;
        }
        if (n != QIOH_E_AGAIN) {
            qiopy_raise(error);
            return -1;
        }
        again = qiopy_wait(patience, 0);
        if (again <= 0) {
            return again < 0 ? -1 : QIOH_E_AGAIN;
        }
    }
}

/* Reads once, waiting if that is wanted.  Returns: bytes, QIOH_E_AGAIN, or -1 with exception */
static qioh_ssize read_once(QioPatience *patience, void *buf, size_t len)
{
    qioh_error error;

    qiopy_error_init(&error);
    return read_on(patience, buf, len, qiopy_try_read(patience->self, buf, len, &error), &error);
}

/* Gives bytes back to the channel while an exception is on its way. */
void qiopy_give_back(QioObject *self, const void *buf, size_t len)
{
    PyObject *e1, *e2, *e3;
    qioh_error error;

    if (!len) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    qiopy_error_init(&error);
    if (qioh_channel_unread(self->h.channel, buf, len, &error) < 0 &&
        error.code != QIOH_E_CLOSED) {
        qiopy_raise(&error);
        PyErr_WriteUnraisable((PyObject *)self);
    }
    qiopy_looked(self, QIO_READING);
    PyErr_Restore(e1, e2, e3);
}

static PyObject *count_or_none(qioh_ssize n)
{
    if (n >= 0) {
        return PyLong_FromLongLong(n);
    }
    if (n == QIOH_E_AGAIN) {
        Py_RETURN_NONE;
    }
    return NULL;
}

PyObject *qiopy_readinto_on(QioObject *self, void *buf, size_t len, qioh_ssize n,
                            qioh_error *error)
{
    QioPatience patience = reading(self, QIO_TIMEOUT_DEFAULT, false);
    PyObject *result;

    if (!qiopy_begin(self, QIO_READING)) {
        return NULL;
    }
    result = count_or_none(read_on(&patience, buf, len, n, error));
    qiopy_end(self, QIO_READING);
    return result;
}

PyObject *qiopy_readinto(QioObject *self, void *buf, size_t len, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);

    return count_or_none(read_once(&patience, buf, len));
}

PyObject *qiopy_read_some(QioObject *self, Py_ssize_t n, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    PyObject *bytes;
    qioh_ssize got;

    if (n <= LINE_BUFFER) {
        char small[LINE_BUFFER];

        got = read_once(&patience, small, (size_t)n);
        return got >= 0 ? PyBytes_FromStringAndSize(small, (Py_ssize_t)got) : count_or_none(got);
    }
    bytes = PyBytes_FromStringAndSize(NULL, n);
    if (!bytes) {
        return NULL;
    }
    got = read_once(&patience, PyBytes_AS_STRING(bytes), (size_t)n);
    if (got < 0) {
        Py_DECREF(bytes);
        return count_or_none(got);
    }
    if (got < n) {
        _PyBytes_Resize(&bytes, (Py_ssize_t)got);
    }
    return bytes;
}

/* How much is left of a file or a buffer, so that reading it whole takes one buffer. */
static Py_ssize_t first_size(QioObject *self)
{
    int64_t size = qioh_channel_get_size(self->h.channel, NULL);
    int64_t here = size > 0 ? qioh_channel_seek(self->h.channel, 0, SEEK_CUR, NULL) : -1;

    return here >= 0 && size - here >= CHUNK && size - here < PY_SSIZE_T_MAX - 1
           ? (Py_ssize_t)(size - here) + 1 : CHUNK;
}

/* Twice the room; on failure what was read goes back to the channel. */
static PyObject *grow(QioObject *self, PyObject *bytes, Py_ssize_t have)
{
    PyObject *larger = have > PY_SSIZE_T_MAX / 2 ? PyErr_NoMemory()
                                                 : PyBytes_FromStringAndSize(NULL, have * 2);

    if (larger) {
        memcpy(PyBytes_AS_STRING(larger), PyBytes_AS_STRING(bytes), (size_t)have);
    } else {
        qiopy_give_back(self, PyBytes_AS_STRING(bytes), (size_t)have);
    }
    Py_DECREF(bytes);
    return larger;
}

static PyObject *read_to_end(QioObject *self, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    Py_ssize_t have = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, first_size(self));

    while (bytes) {
        char *buf = PyBytes_AS_STRING(bytes);
        Py_ssize_t room = PyBytes_GET_SIZE(bytes) - have;
        qioh_ssize n = read_once(&patience, buf + have, (size_t)room);

        if (n == 0 || (n == QIOH_E_AGAIN && have > 0)) {
            _PyBytes_Resize(&bytes, have);
            return bytes;
        }
        if (n < 0) {
            if (n != QIOH_E_AGAIN) {
                qiopy_give_back(self, buf, (size_t)have);
            }
            Py_DECREF(bytes);
            return count_or_none(n);
        }
        have += (Py_ssize_t)n;
        if (n == room) {
            bytes = grow(self, bytes, have);
        }
    }
    return NULL;
}

PyObject *qiopy_read(QioObject *self, Py_ssize_t n, QioTimeout timeout)
{
    return n < 0 ? read_to_end(self, timeout) : qiopy_read_some(self, n, timeout);
}

PyObject *qiopy_incomplete(const char *buf, Py_ssize_t have, Py_ssize_t expected)
{
    PyObject *factory = qiopy_hook(QIO_HOOK_INCOMPLETE);
    PyObject *value;

    if (!factory) {
        qiopy_raise_code(QIOH_E_EOF, (uint64_t)have, NULL);
        return NULL;
    }
    value = PyObject_CallFunction(factory, "y#n", buf, have, expected);
    if (value) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        Py_DECREF(value);
    }
    return NULL;
}

PyObject *qiopy_read_exactly(QioObject *self, Py_ssize_t n, int eof_ok, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, true);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, n);
    Py_ssize_t have = 0;
    char *buf;

    if (!bytes) {
        return NULL;
    }
    buf = PyBytes_AS_STRING(bytes);
    while (have < n) {
        qioh_ssize got = read_once(&patience, buf + have, (size_t)(n - have));

        if (got > 0) {
            have += (Py_ssize_t)got;
            continue;
        }
        if (got < 0) {
            qiopy_give_back(self, buf, (size_t)have);
            Py_CLEAR(bytes);
            return count_or_none(got);
        } else if (have == 0 && eof_ok) {
            _PyBytes_Resize(&bytes, 0);
        } else {
            qiopy_incomplete(buf, have, n);
            Py_CLEAR(bytes);
        }
        return bytes;
    }
    return bytes;
}

PyObject *qiopy_readv(QioObject *self, PyObject *object, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    QioBuffers buffers;
    qioh_error error;
    qioh_ssize n;
    int again = 1;

    if (qiopy_arg_buffers(object, "buffers", true, &buffers) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    do {
        PyThreadState *unlocked = qiopy_unlock(self, buffers.total);

        n = qioh_channel_readv(self->h.channel, buffers.iov,
                               buffers.count < QIO_IOV_MAX ? buffers.count : QIO_IOV_MAX,
                               QIOH_DONTWAIT, NULL, &error);
        n = qiopy_relock(self, unlocked, n, &error);
        if (n == QIOH_E_AGAIN) {
            again = qiopy_wait(&patience, 0);
        } else if (n < 0) {
            qiopy_raise(&error);
        }
    } while (n == QIOH_E_AGAIN && again == 1);
    qiopy_buffers_release(&buffers);
    return n == QIOH_E_AGAIN && again < 0 ? NULL
         : n >= 0 || n == QIOH_E_AGAIN ? count_or_none(n) : NULL;
}

PyObject *qiopy_peek(QioObject *self, Py_ssize_t n, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, n);
    qioh_error error;

    qiopy_error_init(&error);
    while (bytes) {
        PyThreadState *unlocked = qiopy_unlock(self, 0);
        qioh_ssize got = qioh_channel_peek(self->h.channel, PyBytes_AS_STRING(bytes), (size_t)n,
                                           QIOH_DONTWAIT, &error);
        int again;

        got = qiopy_relock(self, unlocked, got, &error);
        if (got >= 0) {
            _PyBytes_Resize(&bytes, (Py_ssize_t)got);
            return bytes;
        }
        if (got != QIOH_E_AGAIN) {
            qiopy_raise(&error);
            break;
        }
        again = qiopy_wait(&patience, 0);
        if (again <= 0) {
            Py_DECREF(bytes);
            return again < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    Py_XDECREF(bytes);
    return NULL;
}

/* ---- read_until ---- */

/* One delimiter or a sequence of them. */
static int delimiters(PyObject *object, QioBuffers *out)
{
    PyObject *one;
    int result;

    if (PyUnicode_Check(object) || !(PyObject_CheckBuffer(object) || PySequence_Check(object))) {
        PyErr_Format(PyExc_TypeError, "delims has to be bytes or a sequence of bytes, not %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!PyObject_CheckBuffer(object)) {
        result = qiopy_arg_buffers(object, "delims", false, out);
        if (result == 0 && (out->count < 1 || out->count > DELIMS_MAX)) {
            PyErr_Format(PyExc_ValueError, "delims has to be from 1 to %d delimiters, not %zu",
                         DELIMS_MAX, out->count);
            qiopy_buffers_release(out);
            result = -1;
        }
        return result;
    }
    one = PyTuple_Pack(1, object);
    result = one ? qiopy_arg_buffers(one, "delims", false, out) : -1;
    Py_XDECREF(one);
    return result;
}

/* Tries once, first into a buffer on the stack, then into one of the right size. */
static qioh_ssize try_read_until(QioObject *self, const QioBuffers *delims, size_t limit,
                                 PyObject **bytes, qioh_error *error)
{
    char small[LINE_BUFFER];
    qioh_channel *channel = self->h.channel;
    PyThreadState *unlocked = qiopy_unlock(self, 0);
    qioh_ssize n = qioh_channel_read_until(channel, small, sizeof small, delims->iov,
                                           delims->count, limit, QIOH_DONTWAIT, error);

    n = qiopy_relock(self, unlocked, n, error);
    if (n >= 0) {
        *bytes = PyBytes_FromStringAndSize(small, (Py_ssize_t)n);
        return n;
    }
    while (n == QIOH_E_TRUNCATED) {
        size_t size = (size_t)error->bytes;

        *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (!*bytes) {
            return 0;
        }
        qiopy_error_init(error);
        n = qioh_channel_read_until(channel, PyBytes_AS_STRING(*bytes), size, delims->iov,
                                    delims->count, limit, QIOH_DONTWAIT, error);
        if (n < 0) {
            Py_CLEAR(*bytes);
        } else {
            _PyBytes_Resize(bytes, (Py_ssize_t)n);
        }
    }
    return n;
}

static PyObject *read_up_to(QioObject *self, const QioBuffers *delims, size_t limit,
                            QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    PyObject *bytes = NULL;
    qioh_error error;
    qioh_ssize n;
    int again = 1;

    patience.condition = QIOH_MORE;             /* the bytes without delimiter are there already */
    qiopy_error_init(&error);
    do {
        n = try_read_until(self, delims, limit, &bytes, &error);
        if (n == QIOH_E_AGAIN) {
            again = qiopy_wait(&patience, 0);
        } else if (n < 0) {
            qiopy_raise(&error);
        }
    } while (n == QIOH_E_AGAIN && again == 1);
    return n == QIOH_E_AGAIN && again == 0 ? Py_NewRef(Py_None) : bytes;
}

PyObject *qiopy_read_until(QioObject *self, PyObject *object, Py_ssize_t limit,
                           QioTimeout timeout)
{
    QioBuffers delims;
    PyObject *bytes;

    if (delimiters(object, &delims) < 0) {
        return NULL;
    }
    bytes = read_up_to(self, &delims, (size_t)limit, timeout);
    qiopy_buffers_release(&delims);
    return bytes;
}

PyObject *qiopy_read_line(QioObject *self, QioTimeout timeout)
{
    qioh_iovec newline = {"\n", 1};
    const QioBuffers delims = {.iov = &newline, .count = 1, .total = 1};

    return read_up_to(self, &delims, QIO_LINE_LIMIT, timeout);
}

/* ---- at an offset ---- */

/*
 * The positioned calls obey the channel's mode by themselves and end with INTR on a signal; on
 * what can be positioned (files, buffers) they hardly ever wait.
 */
static qioh_ssize pread_once(QioObject *self, void *buf, size_t len, int64_t offset)
{
    qioh_error error;
    qioh_ssize n;
    int again;

    qiopy_error_init(&error);
    do {
        Py_BEGIN_ALLOW_THREADS
        n = qioh_channel_pread(self->h.channel, buf, len, offset, &error);
        Py_END_ALLOW_THREADS
        if (n >= 0 || n == QIOH_E_AGAIN) {
            return n;
        }
        again = qiopy_interrupted(&error);
    } while (again == 1);
    if (again == 0) {
        qiopy_raise(&error);
    }
    return -1;
}

PyObject *qiopy_pread_into(QioObject *self, void *buf, size_t len, int64_t offset)
{
    return count_or_none(pread_once(self, buf, len, offset));
}

PyObject *qiopy_pread(QioObject *self, Py_ssize_t n, int64_t offset)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, n);
    qioh_ssize got;

    if (!bytes) {
        return NULL;
    }
    got = pread_once(self, PyBytes_AS_STRING(bytes), (size_t)n, offset);
    if (got < 0) {
        Py_DECREF(bytes);
        return count_or_none(got);
    }
    _PyBytes_Resize(&bytes, (Py_ssize_t)got);
    return bytes;
}

/* ---- with descriptors ---- */

static PyObject *take_fds(qioh_fdset *fds, int32_t count)
{
    PyObject *list = PyList_New(0);
    qioh_error error;

    qiopy_error_init(&error);
    for (int32_t i = 0; list && i < count; i++) {
        int32_t number = qioh_fdset_take_fd(fds, (uint32_t)i, &error);
        PyObject *fd;

        if (number < 0) {
            qiopy_raise(&error);
            Py_CLEAR(list);
            break;
        }
        fd = qiopy_fd_new(number);
        if (!fd || PyList_Append(list, fd) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(fd);
    }
    return list;
}

/* More descriptors than the caller wants are closed, and said so: dropping them silently would
 * hide a protocol error, handing them out would leak them. */
static PyObject *bytes_and_fds(const char *buf, Py_ssize_t n, qioh_fdset *fds, Py_ssize_t maxfds)
{
    int32_t count = qioh_fdset_count(fds, NULL);
    PyObject *list;

    if (count > maxfds) {
        char message[100];

        snprintf(message, sizeof message, "%d descriptors came, maxfds is %zd: all are closed",
                 (int)count, maxfds);
        qiopy_raise_code(QIOH_E_TRUNCATED, (uint64_t)n, message);
        return NULL;
    }
    list = take_fds(fds, count);
    return list ? Py_BuildValue("(y#N)", buf, n, list) : NULL;
}

PyObject *qiopy_recv_fds(QioObject *self, Py_ssize_t n, Py_ssize_t maxfds, QioTimeout timeout)
{
    QioPatience patience = reading(self, timeout, false);
    char *buf = PyMem_Malloc((size_t)n + 1);
    qioh_iovec iov = {buf, (size_t)n};
    PyObject *result = NULL;
    qioh_fdset *fds = NULL;
    qioh_error error;
    int again = 1;

    if (!buf) {
        return PyErr_NoMemory();
    }
    qiopy_error_init(&error);
    fds = qioh_fdset_new(&error);
    if (!fds) {
        qiopy_raise(&error);
    }
    while (fds && again == 1) {
        qioh_ssize got = qioh_channel_readv(self->h.channel, &iov, 1, QIOH_DONTWAIT, fds, &error);

        if (got == QIOH_E_AGAIN) {
            again = qiopy_wait(&patience, 0);
            continue;
        }
        if (got < 0) {
            qiopy_raise(&error);
        } else {
            result = bytes_and_fds(buf, (Py_ssize_t)got, fds, maxfds);
        }
        break;
    }
    qioh_fdset_unref(fds);
    PyMem_Free(buf);
    return again == 0 ? Py_NewRef(Py_None) : result;
}
