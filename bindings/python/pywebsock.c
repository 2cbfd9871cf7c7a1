/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pywebsock.c: messages of a WebSocket, and answering the request of one.
 *
 * Owns: send and recv, one C call for a message each; the pieces of a message whose end has not
 * come yet, and the rest of one that was begun to be sent (both stay with the channel's object, so
 * a time-out or a signal loses nothing and tears nothing); and on_request, the function that says
 * whether a client is let in.  It is called by whichever call finds the request: handshake(), or
 * the first one that would have to wait.
 */
#include "qiopy.h"

#define SMALL 4096
#define FIRST_SIZE 65536
#define REASON_MAX 124
#define CONTROL_MAX 125         /* of a close frame, which has to come whole */

/* What a call leaves to the next one.  A message that was begun is never given up. */
struct QioMessage {
    PyObject *buf;              /* what came of a message, NULL for none */
    Py_ssize_t have;
    uint32_t opcode;
    PyObject *rest;             /* what is left of one that was begun to be sent; NULL for none */
    Py_ssize_t sent;            /* how much of rest went since */
    uint32_t rest_opcode;
    bool ended;                 /* the other side has closed: why */
    int code;
    char reason[REASON_MAX];
};

void qiopy_message_free(QioObject *self)
{
    if (self->message) {
        Py_XDECREF(self->message->buf);
        Py_XDECREF(self->message->rest);
        PyMem_Free(self->message);
        self->message = NULL;
    }
}

static struct QioMessage *message_of(QioObject *self)
{
    if (!self->message) {
        self->message = PyMem_Calloc(1, sizeof *self->message);
        if (!self->message) {
            PyErr_NoMemory();
        }
    }
    return self->message;
}

/* ---- receiving ---- */

static PyObject *message_object(const char *buf, Py_ssize_t len, uint32_t opcode)
{
    return opcode == QIOH_WS_TEXT ? PyUnicode_DecodeUTF8(buf, len, NULL)
                                  : PyBytes_FromStringAndSize(buf, len);
}

/* The end: WebSocketError with the code and the reason of the other side, each time the same.
 * The library gives the close frame once, and after that just the end. */
static void raise_end(QioObject *self, const char *frame, Py_ssize_t len)
{
    qioh_error error = {.struct_size = sizeof error, .code = QIOH_E_EOF,
                        .domain = QIOH_DOMAIN_WEBSOCKET};
    struct QioMessage *message = message_of(self);

    if (!message) {
        return;
    }
    if (!message->ended) {
        Py_ssize_t n = len > 2 ? len - 2 : 0;

        message->ended = true;
        message->code = len < 2 ? 1005 : (unsigned char)frame[0] << 8 | (unsigned char)frame[1];
        n = n < REASON_MAX ? n : REASON_MAX - 1;
        memcpy(message->reason, frame + 2, (size_t)n);
        message->reason[n] = '\0';
    }
    error.number = message->code;
    snprintf(error.message, sizeof error.message, "%s", message->reason);
    qiopy_raise(&error);
}

static qioh_ssize try_recv(QioObject *self, void *buf, size_t len, uint32_t *opcode,
                           uint32_t *fin, qioh_error *error)
{
    PyThreadState *unlocked = qiopy_unlock(self, len);
    qioh_ssize n = qioh_channel_ws_recv(self->h.channel, buf, len, QIOH_DONTWAIT, opcode, fin,
                                        error);

    return qiopy_relock(self, unlocked, n, error);
}

/* Keeps a piece that came into the small buffer.  Returns: 0, -1 */
static int begin_message(QioObject *self, const char *buf, Py_ssize_t len, uint32_t opcode)
{
    struct QioMessage *message = message_of(self);

    if (!message || !(message->buf = PyBytes_FromStringAndSize(NULL, FIRST_SIZE + SMALL))) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(message->buf), buf, (size_t)len);
    message->have = len;
    message->opcode = opcode;
    return 0;
}

static PyObject *end_message(struct QioMessage *message)
{
    PyObject *result = message->buf;

    message->buf = NULL;
    if (message->opcode == QIOH_WS_TEXT) {
        PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(result), message->have, NULL);

        Py_DECREF(result);
        return text;
    }
    _PyBytes_Resize(&result, message->have);
    return result;
}

/* Room for more of a message.  Without memory what has come stays: a message is not torn.
 * Returns: 0, -1 */
static int grow(struct QioMessage *message)
{
    PyObject *larger = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(message->buf) * 2);

    if (!larger) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(larger), PyBytes_AS_STRING(message->buf), (size_t)message->have);
    Py_SETREF(message->buf, larger);
    return 0;
}

/*
 * One try, which goes on with a message that has begun.  Returns: the message, or NULL with what
 * is to do in *again: 1 for more of the message, 0 with an exception, else what the library said
 */
static PyObject *receive_more(QioObject *self, qioh_ssize *again, qioh_error *error)
{
    struct QioMessage *message = self->message;
    Py_ssize_t size = PyBytes_GET_SIZE(message->buf);
    uint32_t opcode, fin;
    qioh_ssize n;

    *again = 0;
    if (size - message->have < CONTROL_MAX && grow(message) < 0) {
        return NULL;
    }
    n = try_recv(self, PyBytes_AS_STRING(message->buf) + message->have,
                 (size_t)(PyBytes_GET_SIZE(message->buf) - message->have), &opcode, &fin, error);
    if (n < 0) {
        *again = n;
        return NULL;
    }
    if (opcode == QIOH_WS_CLOSE) {
        raise_end(self, PyBytes_AS_STRING(message->buf) + message->have, (Py_ssize_t)n);
        return NULL;
    }
    message->have += (Py_ssize_t)n;
    *again = 1;
    return fin ? end_message(message) : NULL;
}

/* As receive_more(), for a new message: most fit into a small buffer. */
static PyObject *receive(QioObject *self, qioh_ssize *again, qioh_error *error)
{
    uint32_t opcode, fin;
    char small[SMALL];
    qioh_ssize n;

    if (self->message && self->message->buf) {
        return receive_more(self, again, error);
    }
    n = try_recv(self, small, sizeof small, &opcode, &fin, error);
    *again = n < 0 ? n : 0;
    if (n < 0) {
        return NULL;
    }
    if (opcode == QIOH_WS_CLOSE) {
        raise_end(self, small, (Py_ssize_t)n);
        return NULL;
    }
    if (fin) {
        return message_object(small, (Py_ssize_t)n, opcode);
    }
    *again = begin_message(self, small, (Py_ssize_t)n, opcode) < 0 ? 0 : 1;
    return NULL;
}

PyObject *qiopy_recv(QioObject *self, QioTimeout timeout)
{
    QioPatience patience = {.self = self, .condition = QIOH_IN, .timeout = timeout};
    qioh_error error;

    qiopy_error_init(&error);
    for (;;) {
        qioh_ssize status;
        PyObject *result = receive(self, &status, &error);
        int again;

        if (result || status == 0) {
            return result;
        }
        if (status == 1) {
            continue;
        }
        if (status != QIOH_E_AGAIN) {
            if (self->message && self->message->ended && error.code != QIOH_E_CLOSED) {
                raise_end(self, NULL, 0);
            } else {
                qiopy_raise(&error);
            }
            return NULL;
        }
        again = qiopy_wait(&patience, 0);
        if (again <= 0) {
            return again < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
}

/* ---- sending ---- */

static qioh_ssize try_send(QioObject *self, const char *buf, size_t len, uint32_t opcode,
                           qioh_error *error)
{
    PyThreadState *unlocked = qiopy_unlock(self, len);
    qioh_ssize n = qioh_channel_ws_send(self->h.channel, buf, len, opcode, QIOH_DONTWAIT, error);

    return qiopy_relock(self, unlocked, n, error);
}

/*
 * Sends, waiting as the patience says.  Returns: 1 all accepted; 0 would block, -1 exception, with
 * in *done how much was accepted
 */
static int send_all(QioPatience *patience, const char *buf, size_t len, uint32_t opcode,
                    size_t *done)
{
    qioh_error error;

    qiopy_error_init(&error);
    *done = 0;
    for (;;) {
        qioh_ssize n = try_send(patience->self, buf + *done, len - *done, opcode, &error);
        int again;

        if (n >= 0) {
            *done += (size_t)n;
            if (*done == len) {
                return qiopy_push_out(patience, *done) < 0 ? -1 : 1;
            }
            continue;
        }
        if (n != QIOH_E_AGAIN) {
            qiopy_raise(&error);
            return -1;
        }
        again = qiopy_wait(patience, *done);
        if (again <= 0) {
            return again;
        }
    }
}

/* The rest of the last message, which goes before everything else.  Returns: as send_all() */
static int send_rest(QioPatience *patience)
{
    struct QioMessage *message = patience->self->message;
    size_t done;
    int result;

    if (!message || !message->rest) {
        return 1;
    }
    result = send_all(patience, PyBytes_AS_STRING(message->rest) + message->sent,
                      (size_t)(PyBytes_GET_SIZE(message->rest) - message->sent),
                      message->rest_opcode, &done);
    message->sent += (Py_ssize_t)done;
    if (result == 1) {
        Py_CLEAR(message->rest);
    }
    return result;
}

/* Keeps what is left of a message, also while an exception is on its way.  Returns: 0, -1 */
static int keep_rest(QioObject *self, const char *buf, size_t len, uint32_t opcode)
{
    PyObject *e1, *e2, *e3;
    struct QioMessage *message;
    PyObject *rest;

    PyErr_Fetch(&e1, &e2, &e3);
    message = message_of(self);
    rest = message ? PyBytes_FromStringAndSize(buf, (Py_ssize_t)len) : NULL;
    if (!rest) {
        Py_XDECREF(e1);
        Py_XDECREF(e2);
        Py_XDECREF(e3);
        return -1;
    }
    message->rest = rest;
    message->sent = 0;
    message->rest_opcode = opcode;
    PyErr_Restore(e1, e2, e3);
    return 0;
}

static PyObject *send_message(QioObject *self, const char *buf, size_t len, uint32_t opcode,
                              QioTimeout timeout)
{
    QioPatience patience = {.self = self, .condition = QIOH_OUT, .timeout = timeout};
    int result = send_rest(&patience);
    size_t done = 0;

    if (result == 1) {
        result = send_all(&patience, buf, len, opcode, &done);
        if (result < 1 && done && done < len &&
            keep_rest(self, buf + done, len - done, opcode) < 0) {
            return NULL;
        }
    }
    if (result < 0) {
        return NULL;
    }
    if (result == 0 && !done) {
        Py_RETURN_NONE;
    }
    Py_RETURN_TRUE;
}

int qiopy_flush_message(QioObject *self, QioTimeout timeout)
{
    QioPatience patience = {.self = self, .condition = QIOH_OUT, .always = true,
                            .timeout = timeout};

    return send_rest(&patience);
}

PyObject *qiopy_send(QioObject *self, PyObject *object, QioTimeout timeout)
{
    Py_buffer view;
    PyObject *result;

    if (PyUnicode_Check(object)) {
        Py_ssize_t len;
        const char *text = PyUnicode_AsUTF8AndSize(object, &len);

        return text ? send_message(self, text, (size_t)len, QIOH_WS_TEXT, timeout) : NULL;
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Format(PyExc_TypeError, "message has to be a str or a bytes-like object, not "
                     "%.100s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    result = send_message(self, view.buf, (size_t)view.len, QIOH_WS_BINARY, timeout);
    PyBuffer_Release(&view);
    return result;
}

PyObject *qiopy_ping(QioObject *self, const void *buf, size_t len)
{
    QioPatience patience = {.self = self, .condition = QIOH_OUT, .always = true,
                            .timeout = QIO_TIMEOUT_DEFAULT};
    qioh_error error;

    qiopy_error_init(&error);
    for (;;) {
        int32_t status = qioh_channel_ws_ping(self->h.channel, buf, len, &error);
        int again = 0;

        if (status >= 0) {
            Py_RETURN_NONE;
        }
        if (status == QIOH_E_AGAIN) {
            again = qiopy_wait(&patience, 0);
        } else {
            qiopy_raise(&error);
        }
        if (again <= 0) {
            return NULL;
        }
    }
}

/* ---- the request ---- */

PyObject *qiopy_new_websocket(QioObject *self, PyObject *keys, int server)
{
    qioh_options *options;
    qioh_channel *layer;
    qioh_error error;

    if (qiopy_arg_options(keys, "keys", &options) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    layer = (server ? qioh_channel_new_ws_server : qioh_channel_new_ws_client)(
        self->h.channel, options, &error);
    qioh_options_unref(options);
    return qiopy_layered(self, layer, &error);
}

PyObject *qiopy_set_on_request(QioObject *self, PyObject *fn)
{
    if (!PyCallable_Check(fn)) {
        PyErr_Format(PyExc_TypeError, "on_request has to be callable, not %.100s",
                     Py_TYPE(fn)->tp_name);
        return NULL;
    }
    Py_XSETREF(self->on_request, Py_NewRef(fn));
    Py_RETURN_NONE;
}

static PyObject *reject(QioObject *self, uint32_t status, const char *reason)
{
    qioh_error error;

    qiopy_error_init(&error);
    int32_t done;

    /* The lock of the layer may be held while a function of ours is called, which needs the GIL. */
    Py_BEGIN_ALLOW_THREADS
    done = qioh_channel_ws_reject(self->h.channel, status, reason, &error);
    Py_END_ALLOW_THREADS
    if (done < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *qiopy_ws_accept(QioObject *self, const char *protocol)
{
    qioh_error error;
    int32_t done;

    qiopy_error_init(&error);
    Py_BEGIN_ALLOW_THREADS
    done = qioh_channel_ws_accept(self->h.channel, protocol, &error);
    Py_END_ALLOW_THREADS
    if (done < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *qiopy_ws_reject(QioObject *self, uint32_t status, const char *reason)
{
    return reject(self, status, reason);
}

/*
 * Asks on_request(channel), which answers: True or None lets the client in, a str does with that
 * subprotocol, False or a number refuses with that HTTP status.
 * Returns: 0, -1 with an exception, the client is refused then
 */
static int obey(QioObject *self, PyObject *answer)
{
    PyObject *done = NULL;

    if (answer == Py_None || answer == Py_True) {
        done = qiopy_ws_accept(self, NULL);
    } else if (answer == Py_False) {
        done = reject(self, 403, NULL);
    } else if (PyUnicode_Check(answer)) {
        const char *protocol = qiopy_arg_text(answer, "the answer of on_request");

        done = protocol ? qiopy_ws_accept(self, protocol) : NULL;
    } else if (PyLong_Check(answer)) {
        uint32_t status;

        done = qiopy_arg_uint32(answer, "the answer of on_request", &status) == 0
               ? reject(self, status, NULL) : NULL;
    } else {
        PyErr_Format(PyExc_TypeError, "the answer of on_request has to be a bool, None, a "
                     "subprotocol or an HTTP status, not %.100s", Py_TYPE(answer)->tp_name);
    }
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int qiopy_answer_request(QioObject *self)
{
    PyObject *fn, *answer;
    int result;

    /* It comes back to its own channel, or another thread does: asking again would never end. */
    if (self->answering) {
        qiopy_raise_code(QIOH_E_BUSY, 0, "on_request is being asked about the client");
        return -1;
    }
    fn = Py_XNewRef(self->on_request);
    self->answering = true;
    answer = fn ? PyObject_CallOneArg(fn, (PyObject *)self) : Py_NewRef(Py_None);
    self->answering = false;
    result = answer ? obey(self, answer) : -1;
    Py_XDECREF(answer);
    Py_XDECREF(fn);
    if (result < 0) {
        PyObject *e1, *e2, *e3;

        PyErr_Fetch(&e1, &e2, &e3);
        Py_BEGIN_ALLOW_THREADS
        qioh_channel_ws_reject(self->h.channel, 500, NULL, NULL);
        Py_END_ALLOW_THREADS
        PyErr_Restore(e1, e2, e3);
        return -1;
    }
    return 0;
}

/* ---- send and recv, called once for each message ---- */

static PyObject *recv_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    QioTimeout timeout = QIO_TIMEOUT_DEFAULT;
    PyObject *result;

    if ((nargs || kwnames) &&
        qiopy_arg_timeout(args, nargs, kwnames, 0, "recv", &timeout) < 0) {
        return NULL;
    }
    if (!qiopy_begin((QioObject *)self, QIO_READING)) {
        return NULL;
    }
    qiopy_enter();
    result = qiopy_recv((QioObject *)self, timeout);
    qiopy_leave();
    qiopy_end((QioObject *)self, QIO_READING);
    return result;
}

static PyObject *send_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    QioTimeout timeout = QIO_TIMEOUT_DEFAULT;
    PyObject *result;

    if ((nargs != 1 || kwnames) &&
        qiopy_arg_timeout(args, nargs, kwnames, 1, "send", &timeout) < 0) {
        return NULL;
    }
    if (!qiopy_begin((QioObject *)self, QIO_WRITING)) {
        return NULL;
    }
    qiopy_enter();
    result = qiopy_send((QioObject *)self, args[0], timeout);
    qiopy_leave();
    qiopy_end((QioObject *)self, QIO_WRITING);
    return result;
}

static PyMethodDef methods[] = {
    {"recv", (PyCFunction)(void (*)(void))recv_method, METH_FASTCALL | METH_KEYWORDS,
     "recv($self, /, *, timeout=...)\n--\n\n"
     "Wait for a message: str or bytes.  None on a non-blocking channel that has none.\n"
     "WebSocketError, with close_code and reason, when the other side has closed."},
    {"send", (PyCFunction)(void (*)(void))send_method, METH_FASTCALL | METH_KEYWORDS,
     "send($self, message, /, *, timeout=...)\n--\n\n"
     "Send a str as text, a bytes-like object as binary, as one message.  True; None when a\n"
     "non-blocking channel would have to wait: nothing was sent then.  Once a part is accepted\n"
     "(TimeoutError has .bytes_written) the rest goes with the next send() or flush()."},
    {NULL},
};

PyObject *qiopy_adopt_messages(PyObject *class)
{
    if (!PyType_Check(class) ||
        !PyType_IsSubtype((PyTypeObject *)class, qiopy_types[QIO_TYPE_CHANNEL])) {
        PyErr_SetString(PyExc_TypeError, "class has to be one of channels");
        return NULL;
    }
    for (PyMethodDef *m = methods; m->ml_name; m++) {
        PyObject *method = PyDescr_NewMethod((PyTypeObject *)class, m);
        int result = method ? PyObject_SetAttrString(class, m->ml_name, method) : -1;

        Py_XDECREF(method);
        if (result < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}
