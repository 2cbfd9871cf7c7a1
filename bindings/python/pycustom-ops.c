/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pycustom-ops.c: the library calls the methods of a channel that is written in Python.
 *
 * Owns: one function for each member of qioh_channel_ops.  Rules: memory that a method is given is
 * Python's: it reads into a bytearray of ours, of which it may keep a view for good, and it writes
 * bytes; what it returns is checked here, where the class and the method can be named.  None means
 * "would block", and so does BlockingIOError.  Called on any thread, with the GIL or without; once
 * the interpreter ends nothing takes it any more.
 */
#include "pycustom.h"

enum {
    TRANSFER_MAX = 1024 * 1024, /* one call's worth: more comes with the next */
    BOUNCE_KEPT = 65536,
};

/* One call of a method; those that a thread is in, the innermost first. */
typedef struct Call {
    QioCustom *custom;
    QioObject *self;            /* a reference */
    QioOp op;
    PyGILState_STATE state;
    bool held;                  /* the GIL was this thread's already */
    qioh_error *error;
    struct Call *outer;
} Call;

static _Thread_local Call *calls QIO_TLS;

bool qiopy_op_inside(const QioObject *self, QioOp op)
{
    const Call *call = calls;

    while (call && (call->self != self || call->op != op)) {
        call = call->outer;
    }
    return call != NULL;
}

static int32_t refuse(qioh_error *error, int32_t code, const char *message)
{
    error->code = code;
    snprintf(error->message, sizeof error->message, "%s", message);
    return code;
}

/* Returns: 0, and end() has to follow; or a code */
static int32_t begin(Call *call, void *user_data, QioOp op, qioh_error *error)
{
    QioCustom *custom = user_data;

    call->held = qiopy_thread.holding > 0;
    if (!call->held) {
        if (qiopy_finalizing()) {
            return refuse(error, QIOH_E_CALLBACK, "the Python interpreter is ending");
        }
        call->state = PyGILState_Ensure();
    }
    if (!custom->self || Py_REFCNT(custom->self) == 0) {
        if (!call->held) {
            PyGILState_Release(call->state);
        }
        return refuse(error, QIOH_E_CLOSED, "the Python object of the channel is gone");
    }
    call->custom = custom;
    call->self = (QioObject *)Py_NewRef((PyObject *)custom->self);
    call->op = op;
    call->error = error;
    call->outer = calls;
    calls = call;
    return 0;
}

static void end(Call *call)
{
    calls = call->outer;
    Py_DECREF(call->self);
    if (!call->held) {
        PyGILState_Release(call->state);
    }
}

/* Calls the method with up to two arguments; NULL ends them. */
static PyObject *call_method(const Call *call, PyObject *a, PyObject *b)
{
    PyObject *self = (PyObject *)call->self;
    PyObject *fn = qiopy_op_function(Py_TYPE(self), call->op);
    PyObject *args[] = {self, a, b};
    size_t count = 1 + (a != NULL) + (b != NULL);
    PyObject *result, *bound;
    descrgetfunc get;

    if (!fn) {
        PyErr_Format(PyExc_AttributeError, "%.100s has no %s() any more", Py_TYPE(self)->tp_name,
                     qiopy_op_names[call->op]);
        return NULL;
    }
    Py_INCREF(fn);
    get = Py_TYPE(fn)->tp_descr_get;
    if (PyFunction_Check(fn) || !get) {
        result = PyFunction_Check(fn) ? PyObject_Vectorcall(fn, args, count, NULL)
                                      : PyObject_Vectorcall(fn, args + 1, count - 1, NULL);
    } else {
        bound = get(fn, self, (PyObject *)Py_TYPE(self));
        result = bound ? PyObject_Vectorcall(bound, args + 1, count - 1, NULL) : NULL;
        Py_XDECREF(bound);
    }
    Py_DECREF(fn);
    return result;
}

/* ---- what a method gave ---- */

/* The exception that is set as the result of the op. */
static int32_t failed(const Call *call, bool may_block)
{
    if (may_block && PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
        PyErr_Clear();
        return QIOH_E_AGAIN;
    }
    return qiopy_custom_keep(call->custom, call->op, call->error);
}

static int32_t wrong(const Call *call, PyObject *result, const char *right)
{
    PyErr_Format(PyExc_TypeError, "%.100s.%s() has to return %s, not %.100s",
                 Py_TYPE(call->self)->tp_name, qiopy_op_names[call->op], right,
                 Py_TYPE(result)->tp_name);
    return qiopy_custom_keep(call->custom, call->op, call->error);
}

/* A number from least to most, None for "would block"; takes the reference. */
static int64_t count_of(const Call *call, PyObject *result, int64_t least, int64_t most)
{
    PyObject *number;
    int64_t n;

    if (!result) {
        return failed(call, true);
    }
    if (result == Py_None) {
        Py_DECREF(result);
        return QIOH_E_AGAIN;
    }
    if (PyBool_Check(result) || !PyIndex_Check(result)) {
        n = wrong(call, result, "a number of bytes, or None when it would block");
        Py_DECREF(result);
        return n;
    }
    number = PyNumber_Index(result);
    Py_DECREF(result);
    if (!number) {
        return failed(call, false);
    }
    n = PyLong_AsLongLong(number);
    if (n < least || n > most) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%.100s.%s() returned %S; it has to be from %lld to %lld, "
                     "the size of what it was given, or None when it would block",
                     Py_TYPE(call->self)->tp_name, qiopy_op_names[call->op], number,
                     (long long)least, (long long)most);
        n = failed(call, false);
    }
    Py_DECREF(number);
    return n;
}

/* ---- reading ---- */

static size_t wanted(const qioh_iovec *iov, size_t niov)
{
    size_t total = 0;

    for (size_t i = 0; i < niov && total < TRANSFER_MAX; i++) {
        total += iov[i].len < TRANSFER_MAX ? iov[i].len : TRANSFER_MAX;
    }
    return total < TRANSFER_MAX ? total : TRANSFER_MAX;
}

static void scatter(const qioh_iovec *iov, size_t niov, const char *bytes, size_t len)
{
    for (size_t i = 0; i < niov && len > 0; i++) {
        size_t n = iov[i].len < len ? iov[i].len : len;

        memcpy(iov[i].base, bytes, n);
        bytes += n;
        len -= n;
    }
}

/* A bytearray of this size that nobody refers to: the one of the last call, unless a method has
 * kept it or a view of it. */
static PyObject *take_bounce(QioCustom *custom, size_t size)
{
    PyObject *bounce = custom->bounce;

    custom->bounce = NULL;
    if (bounce && PyByteArray_GET_SIZE(bounce) != (Py_ssize_t)size &&
        PyByteArray_Resize(bounce, (Py_ssize_t)size) < 0) {
        PyErr_Clear();
        Py_CLEAR(bounce);
    }
    return bounce ? bounce : PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
}

static void give_bounce(QioCustom *custom, PyObject *bounce)
{
    if (Py_REFCNT(bounce) == 1 && PyByteArray_GET_SIZE(bounce) <= BOUNCE_KEPT &&
        !custom->bounce) {
        custom->bounce = bounce;
    } else {
        Py_DECREF(bounce);
    }
}

static int64_t read_into(const Call *call, const qioh_iovec *iov, size_t niov)
{
    size_t size = wanted(iov, niov);
    PyObject *bounce = take_bounce(call->custom, size);
    PyObject *view = bounce ? PyMemoryView_FromObject(bounce) : NULL;
    int64_t n;

    n = count_of(call, view ? call_method(call, view, NULL) : NULL, 0, (int64_t)size);
    /* The bytearray cannot be resized while the view lives, but a method can release that. */
    if (n > 0 && PyByteArray_GET_SIZE(bounce) < (Py_ssize_t)size) {
        PyErr_Format(PyExc_BufferError, "%.100s.readinto() has shrunk what it had to read into",
                     Py_TYPE(call->self)->tp_name);
        n = failed(call, false);
    }
    if (n > 0) {
        scatter(iov, niov, PyByteArray_AS_STRING(bounce), (size_t)n);
    }
    Py_XDECREF(view);
    if (bounce) {
        give_bounce(call->custom, bounce);
    }
    return n;
}

/* Descriptors that a method gave are the channel's from here on. */
static int add_fds(PyObject *fds, qioh_fdset *set, qioh_error *error)
{
    PyObject *list = PySequence_Fast(fds, "descriptors have to be a sequence");
    int result = list ? 0 : -1;

    for (Py_ssize_t i = 0; list && i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(list, i);
        int32_t fd;

        if (qiopy_arg_fd(item, "a descriptor", &fd) < 0) {
            result = -1;
            continue;
        }
        if (result == 0 && set && qioh_fdset_add(set, fd, error) < 0) {
            qiopy_raise(error);
            result = -1;
        }
        if (qiopy_fd_drop(item, fd) < 0) {
            result = -1;
        }
    }
    Py_XDECREF(list);
    return result;
}

static int64_t take_message(const Call *call, PyObject *result, const qioh_iovec *iov,
                            size_t niov, qioh_fdset *set)
{
    size_t size = wanted(iov, niov);
    Py_buffer view;
    int64_t n;

    if (!PyTuple_Check(result) || PyTuple_GET_SIZE(result) != 2) {
        return wrong(call, result, "(bytes, descriptors), or None when it would block");
    }
    if (add_fds(PyTuple_GET_ITEM(result, 1), set, call->error) < 0 ||
        qiopy_arg_buffer(PyTuple_GET_ITEM(result, 0), "data", false, &view) < 0) {
        return failed(call, false);
    }
    if ((size_t)view.len > size) {
        PyErr_Format(PyExc_ValueError, "%.100s.recv_fds() returned %zd bytes, and %zu were asked "
                     "for", Py_TYPE(call->self)->tp_name, view.len, size);
        n = failed(call, false);
    } else {
        scatter(iov, niov, view.buf, (size_t)view.len);
        n = view.len;
    }
    PyBuffer_Release(&view);
    return n;
}

static int64_t recv_fds(const Call *call, const qioh_iovec *iov, size_t niov, qioh_fdset *set)
{
    PyObject *size = PyLong_FromSize_t(wanted(iov, niov));
    PyObject *most = PyLong_FromLong(253);
    PyObject *result = size && most ? call_method(call, size, most) : NULL;
    int64_t n = QIOH_E_AGAIN;

    Py_XDECREF(size);
    Py_XDECREF(most);
    if (!result) {
        return failed(call, true);
    }
    if (result != Py_None) {
        n = take_message(call, result, iov, niov, set);
    }
    Py_DECREF(result);
    return n;
}

static int64_t on_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                        qioh_fdset *fds, qioh_error *error)
{
    QioCustom *custom = user_data;
    bool message = qiopy_op_written(custom, QIO_OP_RECV_FDS) &&
                   (fds || !qiopy_op_written(custom, QIO_OP_READINTO));
    Call call;
    int64_t n = begin(&call, custom, message ? QIO_OP_RECV_FDS : QIO_OP_READINTO, error);

    if (n == 0) {
        n = message ? recv_fds(&call, iov, niov, fds) : read_into(&call, iov, niov);
        end(&call);
    }
    return n;
}

/* ---- writing ---- */

static PyObject *gather(const qioh_iovec *iov, size_t niov)
{
    size_t left = wanted(iov, niov);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)left);
    char *to = bytes ? PyBytes_AS_STRING(bytes) : NULL;

    for (size_t i = 0; bytes && left > 0; i++) {
        size_t n = iov[i].len < left ? iov[i].len : left;

        memcpy(to, iov[i].base, n);
        to += n;
        left -= n;
    }
    return bytes;
}

/* Numbers that are good for the call. */
static PyObject *numbers_of(qioh_fdset *set)
{
    int32_t count = qioh_fdset_count(set, NULL);
    PyObject *list = PyList_New(0);

    for (int32_t i = 0; list && i < count; i++) {
        PyObject *number = PyLong_FromLong(qioh_fdset_get_fd(set, (uint32_t)i, NULL));

        if (!number || PyList_Append(list, number) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(number);
    }
    return list;
}

static int64_t on_writev(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                         qioh_fdset *fds, qioh_error *error)
{
    QioCustom *custom = user_data;
    bool message = qiopy_op_written(custom, QIO_OP_SEND_FDS) &&
                   (fds || !qiopy_op_written(custom, QIO_OP_WRITE));
    PyObject *bytes, *list = NULL;
    Call call;
    int64_t n = begin(&call, custom, message ? QIO_OP_SEND_FDS : QIO_OP_WRITE, error);

    if (n != 0) {
        return n;
    }
    bytes = gather(iov, niov);
    list = !message ? NULL : fds ? numbers_of(fds) : PyList_New(0);
    n = count_of(&call, bytes && (!message || list) ? call_method(&call, bytes, list) : NULL, 1,
                 bytes ? (int64_t)PyBytes_GET_SIZE(bytes) : 1);
    Py_XDECREF(list);
    Py_XDECREF(bytes);
    end(&call);
    return n;
}

/* ---- the rest ---- */

/* Calls a method that has nothing to tell; takes the reference of its argument. */
static int32_t call_plain(void *user_data, QioOp op, PyObject *(*argument)(uint32_t),
                          uint32_t value, bool may_block, qioh_error *error)
{
    PyObject *object = NULL, *result;
    Call call;
    int32_t status = begin(&call, user_data, op, error);

    if (status != 0) {
        return status;
    }
    object = argument ? argument(value) : NULL;
    result = argument && !object ? NULL : call_method(&call, object, NULL);
    status = result ? 0 : failed(&call, may_block);
    Py_XDECREF(object);
    Py_XDECREF(result);
    end(&call);
    return status;
}

static int32_t on_close(void *user_data, qioh_error *error)
{
    return call_plain(user_data, QIO_OP_CLOSE, NULL, 0, false, error);
}

static PyObject *direction(uint32_t how)
{
    return PyUnicode_FromString(how == QIOH_SHUTDOWN_READ ? "read"
                                : how == QIOH_SHUTDOWN_WRITE ? "write" : "both");
}

static int32_t on_shutdown(void *user_data, uint32_t how, qioh_error *error)
{
    return call_plain(user_data, QIO_OP_SHUTDOWN, direction, how, false, error);
}

static int32_t on_flush(void *user_data, qioh_error *error)
{
    return call_plain(user_data, QIO_OP_FLUSH, NULL, 0, true, error);
}

static int64_t on_seek(void *user_data, int64_t offset, int32_t whence, qioh_error *error)
{
    PyObject *a, *b, *result;
    Call call;
    int64_t n = begin(&call, user_data, QIO_OP_SEEK, error);

    if (n != 0) {
        return n;
    }
    a = PyLong_FromLongLong(offset);
    b = PyLong_FromLong(whence);
    result = a && b ? call_method(&call, a, b) : NULL;
    if (result == Py_None) {
        n = wrong(&call, result, "the new position");
        Py_DECREF(result);
    } else {
        n = result ? count_of(&call, result, 0, INT64_MAX) : failed(&call, false);
    }
    Py_XDECREF(a);
    Py_XDECREF(b);
    end(&call);
    return n;
}

/* A descriptor, or what has one; (descriptor, condition); True: ready; None, False, -1: there is
 * none, notify() tells. */
static int32_t poll_of(const Call *call, PyObject *result, int32_t *fd, uint32_t *events)
{
    PyObject *object = result;

    if (result == Py_True) {
        return 1;
    }
    if (PyTuple_Check(result) && PyTuple_GET_SIZE(result) == 2) {
        object = PyTuple_GET_ITEM(result, 0);
        if (qiopy_arg_condition(PyTuple_GET_ITEM(result, 1), "condition", events) < 0) {
            return failed(call, false);
        }
    }
    if (object == Py_None || object == Py_False ||
        (PyLong_Check(object) && PyLong_AsLong(object) == -1)) {
        PyErr_Clear();
        return QIOH_E_NOTSUP;
    }
    if (PyTuple_Check(object) || PyUnicode_Check(object)) {
        return wrong(call, result, "a descriptor, (descriptor, condition), True when it is ready, "
                     "or None without one");
    }
    return qiopy_arg_fd(object, "a descriptor", fd) < 0 ? failed(call, false) : 0;
}

static int32_t on_get_poll(void *user_data, uint32_t condition, int32_t *fd, uint32_t *events,
                           qioh_error *error)
{
    bool asks = qiopy_op_written(user_data, QIO_OP_GET_POLL);
    PyObject *argument = NULL, *result;
    Call call;
    int32_t status = begin(&call, user_data, asks ? QIO_OP_GET_POLL : QIO_OP_FILENO, error);

    if (status != 0) {
        return status;
    }
    *events = condition;
    argument = asks ? qiopy_condition(condition) : NULL;
    result = asks && !argument ? NULL : call_method(&call, argument, NULL);
    status = result ? poll_of(&call, result, fd, events) : failed(&call, false);
    Py_XDECREF(argument);
    Py_XDECREF(result);
    end(&call);
    return status;
}

static void on_release(void *user_data)
{
    qiopy_custom_unref(user_data);
}

qioh_channel_ops qiopy_custom_ops(const QioCustom *custom)
{
    bool reads = qiopy_op_written(custom, QIO_OP_READINTO);
    bool writes = qiopy_op_written(custom, QIO_OP_WRITE);
    bool receives = qiopy_op_written(custom, QIO_OP_RECV_FDS);
    bool sends = qiopy_op_written(custom, QIO_OP_SEND_FDS);
    bool polls = qiopy_op_written(custom, QIO_OP_GET_POLL) ||
                 qiopy_op_written(custom, QIO_OP_FILENO);

    return (qioh_channel_ops){
        .struct_size = sizeof(qioh_channel_ops),
        .flags = receives && sends ? QIOH_OPS_FD_PASS : 0,
        .readv = reads || receives ? on_readv : NULL,
        .writev = writes || sends ? on_writev : NULL,
        .close = qiopy_op_written(custom, QIO_OP_CLOSE) ? on_close : NULL,
        .shutdown = qiopy_op_written(custom, QIO_OP_SHUTDOWN) ? on_shutdown : NULL,
        .seek = qiopy_op_written(custom, QIO_OP_SEEK) ? on_seek : NULL,
        .get_poll = polls ? on_get_poll : NULL,
        .flush = qiopy_op_written(custom, QIO_OP_FLUSH) ? on_flush : NULL,
        .release = on_release,
    };
}
