/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pywrite.c: every way to write to a channel.
 *
 * Owns: the loops {try, wait, try again}.  On a blocking channel, or with timeout= given, a
 * write returns after everything was accepted; on a non-blocking one it gives a count, or None.
 * The _all forms always finish.  An exception says in .bytes_written how far the call came.
 * The GIL is kept for a small try, released for a large one and for every wait.
 */
#include "qiopy.h"

/* What is still to be written, and the descriptors that go with the first byte. */
typedef struct Outgoing {
    qioh_iovec *iov;
    size_t count;
    size_t left;
    uint64_t done;
    qioh_fdset *fds;
} Outgoing;

qioh_ssize qiopy_try_write(QioObject *self, const void *buf, size_t len, qioh_error *error)
{
    PyThreadState *unlocked = qiopy_unlock(self, len);
    qioh_ssize n = qioh_channel_try_write(self->h.channel, buf, len, error);

    return qiopy_relock(self, unlocked, n, error);
}

static qioh_ssize try_writev(QioObject *self, const Outgoing *out, qioh_error *error)
{
    PyThreadState *unlocked;
    qioh_ssize n;

    if (out->count == 1 && !out->fds) {
        return qiopy_try_write(self, out->iov[0].base, out->iov[0].len, error);
    }
    unlocked = qiopy_unlock(self, out->left);
    n = qioh_channel_writev(self->h.channel, out->iov,
                            out->count < QIO_IOV_MAX ? out->count : QIO_IOV_MAX, QIOH_DONTWAIT,
                            out->fds, error);
    return qiopy_relock(self, unlocked, n, error);
}

static void advance(Outgoing *out, size_t n)
{
    out->done += n;
    out->left -= n;
    out->fds = NULL;                            /* they went with the first byte */
    while (out->count && n >= out->iov[0].len) {
        n -= out->iov[0].len;
        out->iov++;
        out->count--;
    }
    if (out->count) {
        out->iov[0].base = (char *)out->iov[0].base + n;
        out->iov[0].len -= n;
    }
}

/* Whether a channel that took a part of the data is to be waited for. */
static int wants_rest(QioPatience *patience)
{
    int32_t blocking;

    if (patience->timeout == QIO_TIMEOUT_TRY) {
        return 0;
    }
    if (patience->always || patience->timeout != QIO_TIMEOUT_DEFAULT) {
        return 1;
    }
    blocking = qioh_channel_get_blocking(patience->self->h.channel, NULL);
    return blocking > 0;
}

/*
 * Goes on after a first try with the result n, as long as the mode asks for it.
 * Returns: 1, 0 when it would block, -1 exception
 */
static int write_on(QioPatience *patience, Outgoing *out, qioh_ssize n, qioh_error *error)
{
    for (;; n = try_writev(patience->self, out, error)) {
        int again;

        if (n >= 0) {
            advance(out, (size_t)n);
            if (!out->left || !wants_rest(patience)) {
                return qiopy_push_out(patience, out->done) < 0 ? -1 : 1;
            }
            continue;
        }
        if (n != QIOH_E_AGAIN) {
            error->bytes += out->done;
            qiopy_raise(error);
            return -1;
        }
        again = qiopy_wait(patience, out->done);
        if (again <= 0) {
            return again < 0 ? -1 : out->done > 0;
        }
    }
}

static int write_out(QioPatience *patience, Outgoing *out)
{
    qioh_error error;

    qiopy_error_init(&error);
    return write_on(patience, out, try_writev(patience->self, out, &error), &error);
}

static QioPatience writing(QioObject *self, QioTimeout timeout, bool always)
{
    return (QioPatience){.self = self, .condition = QIOH_OUT, .always = always,
                         .timeout = timeout};
}

static PyObject *written(int result, const Outgoing *out)
{
    if (result < 0) {
        return NULL;
    }
    if (result == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(out->done);
}

PyObject *qiopy_write_on(QioObject *self, const void *buf, size_t len, qioh_ssize n,
                         qioh_error *error)
{
    QioPatience patience = writing(self, QIO_TIMEOUT_DEFAULT, false);
    qioh_iovec iov = {(void *)buf, len};
    Outgoing out = {.iov = &iov, .count = 1, .left = len};
    PyObject *result;

    if (!qiopy_begin(self, QIO_WRITING)) {
        return NULL;
    }
    result = written(write_on(&patience, &out, n, error), &out);
    qiopy_end(self, QIO_WRITING);
    return result;
}

PyObject *qiopy_write(QioObject *self, const void *buf, size_t len, QioTimeout timeout)
{
    QioPatience patience = writing(self, timeout, false);
    qioh_iovec iov = {(void *)buf, len};
    Outgoing out = {.iov = &iov, .count = 1, .left = len};

    return written(write_out(&patience, &out), &out);
}

PyObject *qiopy_write_all(QioObject *self, const void *buf, size_t len, QioTimeout timeout)
{
    QioPatience patience = writing(self, timeout, true);
    qioh_iovec iov = {(void *)buf, len};
    Outgoing out = {.iov = &iov, .count = 1, .left = len};

    return write_out(&patience, &out) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *qiopy_writev(QioObject *self, PyObject *object, bool all, QioTimeout timeout)
{
    QioPatience patience = writing(self, timeout, all);
    QioBuffers buffers;
    Outgoing out = {0};
    int result;

    if (qiopy_arg_buffers(object, "buffers", false, &buffers) < 0) {
        return NULL;
    }
    out.iov = buffers.iov;
    out.count = buffers.count;
    out.left = buffers.total;
    result = write_out(&patience, &out);
    qiopy_buffers_release(&buffers);
    if (all) {
        return result < 0 ? NULL : Py_NewRef(Py_None);
    }
    return written(result, &out);
}

static int add_fds(qioh_fdset *set, PyObject *fds)
{
    PyObject *items = PyUnicode_Check(fds) || PyObject_CheckBuffer(fds) ? NULL
                                                                       : PySequence_Tuple(fds);
    qioh_error error;

    if (!items) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "fds has to be a sequence of descriptors, not %.100s",
                     Py_TYPE(fds)->tp_name);
        return -1;
    }
    qiopy_error_init(&error);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        char label[32];
        int32_t fd;

        snprintf(label, sizeof label, "fds[%zd]", i);
        if (qiopy_arg_fd(PyTuple_GET_ITEM(items, i), label, &fd) < 0) {
            goto failed;
        }
        if (qioh_fdset_add(set, fd, &error) < 0) {
            qiopy_raise(&error);
            goto failed;
        }
    }
    Py_DECREF(items);
    return 0;

failed:
    Py_DECREF(items);
    return -1;
}

PyObject *qiopy_send_fds(QioObject *self, const void *buf, size_t len, PyObject *fds,
                         QioTimeout timeout)
{
    QioPatience patience = writing(self, timeout, false);
    qioh_iovec iov = {(void *)buf, len};
    Outgoing out = {.iov = &iov, .count = 1, .left = len};
    PyObject *result = NULL;
    qioh_fdset *set;
    qioh_error error;

    qiopy_error_init(&error);
    set = qioh_fdset_new(&error);
    if (!set) {
        qiopy_raise(&error);
        return NULL;
    }
    if (add_fds(set, fds) == 0) {
        out.fds = set;
        result = written(write_out(&patience, &out), &out);
    }
    qioh_fdset_unref(set);
    return result;
}

PyObject *qiopy_pwrite(QioObject *self, const void *buf, size_t len, int64_t offset)
{
    uint64_t done = 0;
    qioh_error error;

    qiopy_error_init(&error);
    for (;;) {
        qioh_ssize n;
        int again;

        Py_BEGIN_ALLOW_THREADS
        n = qioh_channel_pwrite(self->h.channel, (const char *)buf + done, len - done,
                                offset + (int64_t)done, &error);
        Py_END_ALLOW_THREADS
        if (n > 0 && (size_t)n < len - done) {
            done += (uint64_t)n;
            continue;
        }
        if (n >= 0) {
            return PyLong_FromUnsignedLongLong(done + (uint64_t)n);
        }
        if (n == QIOH_E_AGAIN) {
            return done ? PyLong_FromUnsignedLongLong(done) : Py_NewRef(Py_None);
        }
        again = qiopy_interrupted(&error);
        if (again == 1) {
            continue;
        }
        if (again == 0) {
            error.bytes += done;
            qiopy_raise(&error);
        }
        return NULL;
    }
}

PyObject *qiopy_flush(QioObject *self)
{
    QioPatience patience = writing(self, QIO_TIMEOUT_DEFAULT, true);
    qioh_error error;

    if (self->message && qiopy_flush_message(self, QIO_TIMEOUT_DEFAULT) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    for (;;) {
        int32_t status;
        int again;

        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_flush(self->h.channel, &error);
        Py_END_ALLOW_THREADS
        if (status >= 0) {
            Py_RETURN_NONE;
        }
        again = status == QIOH_E_AGAIN ? qiopy_wait(&patience, 0) : qiopy_interrupted(&error);
        if (again == 1) {
            continue;
        }
        if (again == 0) {
            qiopy_raise(&error);
        }
        return NULL;
    }
}

int qiopy_try_flush(QioObject *self)
{
    int result = 1;
    qioh_error error;

    if (self->keep == QIO_UNLOCK_BYTES) {
        return 1;                               /* no layer */
    }
    if (self->message) {
        result = qiopy_flush_message(self, QIO_TIMEOUT_TRY);
    }
    if (result == 1) {
        PyThreadState *unlocked = qiopy_unlock(self, 0);

        qiopy_error_init(&error);
        result = qioh_channel_flush_within(self->h.channel, 0, &error) != QIOH_E_AGAIN;
        qiopy_relock(self, unlocked, -1, NULL);
    }
    return result;                              /* a failure is the next write's */
}

/* The word of the end may be held back as anything that is written. */
PyObject *qiopy_shutdown(QioObject *self, uint32_t how, QioTimeout timeout)
{
    QioPatience patience = writing(self, timeout, false);
    PyThreadState *unlocked = qiopy_unlock(self, 0);
    qioh_error error;
    int32_t status;

    qiopy_error_init(&error);
    status = qioh_channel_shutdown(self->h.channel, how, &error);
    qiopy_relock(self, unlocked, -1, NULL);
    qiopy_looked(self, 0);
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    if (how != QIOH_SHUTDOWN_READ && qiopy_push_out(&patience, 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
