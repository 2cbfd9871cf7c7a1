/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pytls.c: TLS: credentials, putting a layer on a channel and taking it off, what is known of it.
 *
 * Owns: the two functions that credentials may have, authorize and lookup.  Their shells are
 * those of pyloop.c: the TLSCreds object shows the functions to the collector, and when it goes
 * while channels still use the credentials, the library keeps them.  They run inside a
 * handshake, with or without the GIL, so the trampolines take it.
 */
#include "qiopy.h"

/* ---- credentials ---- */

PyObject *qiopy_creds_new(uint32_t kind, PyObject *keys, int server)
{
    static qioh_creds *(*const makers[])(qioh_options *, int32_t, qioh_error *) = {
        qioh_creds_new_x509, qioh_creds_new_psk, qioh_creds_new_anon,
    };
    qioh_options *options;
    qioh_creds *creds;
    qioh_error error;

    if (kind >= sizeof makers / sizeof makers[0]) {
        PyErr_Format(PyExc_ValueError, "kind has to be from 0 to 2, not %u", (unsigned)kind);
        return NULL;
    }
    if (qiopy_arg_options(keys, "keys", &options) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    Py_BEGIN_ALLOW_THREADS                      /* reads files */
    creds = makers[kind](options, server, &error);
    Py_END_ALLOW_THREADS
    qioh_options_unref(options);
    if (!creds) {
        qiopy_raise(&error);
        return NULL;
    }
    return qiopy_wrap_creds(creds);
}

/* A peer chooses the bytes, and may not raise by them: they come as everywhere else. */
static PyObject *peer_text(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* fn(channel, identity): whether to let it in. */
static int32_t authorize(PyObject *fn, qioh_channel *channel, const char *identity,
                         qioh_error *error)
{
    PyObject *object = qiopy_wrap_inner(channel);
    PyObject *result = NULL;
    int32_t answer = -1;

    if (object) {
        result = PyObject_CallFunction(fn, "ON", object, peer_text(identity));
        Py_DECREF(object);
    }
    if (result) {
        answer = PyObject_IsTrue(result);
        Py_DECREF(result);
    }
    return answer < 0 ? qiopy_stash(fn, error) : answer;
}

static int32_t on_authorize(qioh_channel *channel, const char *identity, void *user_data,
                            qioh_error *error)
{
    PyGILState_STATE state;
    PyObject *fn;
    int32_t answer = 0;

    if (qiopy_finalizing()) {
        return 0;
    }
    state = PyGILState_Ensure();
    fn = qiopy_shell_fn(user_data);
    if (fn) {
        answer = authorize(fn, channel, identity, error);
        Py_DECREF(fn);
    }
    PyGILState_Release(state);
    return answer;
}

/* fn(user): the key, or None for a user that is not known. */
static int32_t look_up(PyObject *fn, const char *user, void *key, size_t cap, qioh_error *error)
{
    PyObject *result = PyObject_CallFunction(fn, "N", peer_text(user));
    int32_t len = -1;
    Py_buffer view;

    if (result == Py_None) {
        len = 0;
    } else if (result && qiopy_arg_buffer(result, "the key from lookup", false, &view) == 0) {
        if (view.len < 1 || (size_t)view.len > cap) {
            PyErr_Format(PyExc_ValueError, "the key from lookup has to be from 1 to %zu bytes, "
                         "not %zd", cap, view.len);
        } else {
            memcpy(key, view.buf, (size_t)view.len);
            len = (int32_t)view.len;
        }
        PyBuffer_Release(&view);
    }
    Py_XDECREF(result);
    return len < 0 ? qiopy_stash(fn, error) : len;
}

static int32_t on_lookup(qioh_creds *creds, const char *user, void *key, size_t cap,
                         void *user_data, qioh_error *error)
{
    PyGILState_STATE state;
    PyObject *fn;
    int32_t len = 0;

    if (qiopy_finalizing()) {
        return 0;
    }
    state = PyGILState_Ensure();
    fn = qiopy_shell_fn(user_data);
    if (fn) {
        len = look_up(fn, user, key, cap, error);
        Py_DECREF(fn);
    }
    PyGILState_Release(state);
    return len;
}

static PyObject *registered(QioShell *shell, int32_t status, const qioh_error *error)
{
    qiopy_shell_unref(shell);
    if (status < 0) {
        qiopy_raise(error);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *qiopy_creds_set_authorize(QioObject *self, PyObject *fn)
{
    QioShell *shell = qiopy_shell_new(self, "authorize", fn, NULL);
    qioh_error error;

    qiopy_error_init(&error);
    return shell ? registered(shell, qioh_creds_set_authorize(self->h.creds, on_authorize, shell,
                                                              qiopy_shell_release, &error),
                              &error)
                 : NULL;
}

PyObject *qiopy_creds_set_lookup(QioObject *self, PyObject *fn)
{
    QioShell *shell = qiopy_shell_new(self, "lookup", fn, NULL);
    qioh_error error;

    qiopy_error_init(&error);
    return shell ? registered(shell, qioh_creds_set_psk_lookup(self->h.creds, on_lookup, shell,
                                                               qiopy_shell_release, &error),
                              &error)
                 : NULL;
}

/* ---- layers ---- */

PyObject *qiopy_new_tls(QioObject *self, PyObject *object, PyObject *keys, int server)
{
    QioObject *creds = qiopy_unwrap(object, QIO_TYPE_CREDS, "creds");
    qioh_options *options;
    qioh_channel *layer;
    qioh_error error;

    if (!creds || qiopy_arg_options(keys, "keys", &options) < 0) {
        return NULL;
    }
    qiopy_error_init(&error);
    layer = (server ? qioh_channel_new_tls_server : qioh_channel_new_tls_client)(
        self->h.channel, creds->h.creds, options, &error);
    qioh_options_unref(options);
    return qiopy_layered(self, layer, &error);
}

PyObject *qiopy_layered(QioObject *below, qioh_channel *layer, const qioh_error *error)
{
    if (!layer) {
        qiopy_raise(error);
        return NULL;
    }
    below->lent = true;
    return qiopy_wrap_channel(layer, true);
}

/*
 * timeout QIO_TIMEOUT_DEFAULT: as long as the layer's own deadline lets it.
 * Returns: 0 done, 1 a request waits for its answer, -1 exception
 */
int qiopy_do_handshake(QioObject *self, QioTimeout timeout)
{
    qioh_error error;
    int32_t status;
    int again;

    qiopy_error_init(&error);
    do {
        int32_t ms = qiopy_ms_left(timeout);

        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_handshake(self->h.channel, ms, &error);
        Py_END_ALLOW_THREADS
        if (status >= 0) {
            return status;
        }
        if (status == QIOH_E_AGAIN) {
            qiopy_raise_code(QIOH_E_TIMEOUT, 0, "timed out in the handshake");
            return -1;
        }
        again = qiopy_interrupted(&error);
    } while (again == 1);
    if (again == 0) {
        qiopy_raise(&error);
    }
    return -1;
}

PyObject *qiopy_handshake(QioObject *self, QioTimeout timeout)
{
    int status;

    do {
        status = qiopy_do_handshake(self, timeout);
        if (status == 1 && qiopy_answer_request(self) < 0) {
            return NULL;
        }
    } while (status == 1);
    qiopy_looked(self, 0);
    if (status < 0) {
        return NULL;
    }
    qiopy_established(self);
    Py_RETURN_NONE;
}

/* None when it lies on nothing. */
PyObject *qiopy_transport(QioObject *self)
{
    qioh_error error;
    qioh_channel *below;

    qiopy_error_init(&error);
    below = qioh_channel_get_transport(self->h.channel, &error);
    if (below) {
        return qiopy_wrap_inner(below);
    }
    if (error.code != QIOH_E_NOTSUP && error.code != QIOH_E_INVAL &&
        error.code != QIOH_E_CLOSED) {
        qiopy_raise(&error);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *qiopy_unwrap_layer(QioObject *self, QioTimeout timeout)
{
    qioh_channel *below;
    qioh_error error;
    int again;

    qiopy_error_init(&error);
    do {
        int32_t ms = qiopy_ms_left(timeout);

        Py_BEGIN_ALLOW_THREADS
        below = qioh_channel_take_transport(self->h.channel, ms, &error);
        Py_END_ALLOW_THREADS
        again = below ? 0 : qiopy_interrupted(&error);
    } while (again == 1);
    if (!below) {
        if (again == 0) {
            qiopy_raise(&error);
        }
        return NULL;
    }
    self->closed = true;
    return qiopy_wrap_channel(below, true);
}

/* ---- what is known ---- */

/*
 * All of these take the layer's lock, which a handshake in another thread holds while it asks a
 * function of ours, and that needs the GIL: so they go without it.
 */
static qioh_ssize keyed(QioObject *self, QioKeyedFunc func, const char *key, char *buf,
                        size_t cap, qioh_error *error)
{
    qioh_ssize n;

    Py_BEGIN_ALLOW_THREADS
    n = func(self->h.channel, key, buf, cap, error);
    Py_END_ALLOW_THREADS
    return n;
}

static qioh_ssize certificate(QioObject *self, uint32_t index, void *buf, size_t cap,
                              qioh_error *error)
{
    qioh_ssize n;

    Py_BEGIN_ALLOW_THREADS
    n = qioh_channel_tls_get_peer_certificate(self->h.channel, index, buf, cap, error);
    Py_END_ALLOW_THREADS
    return n;
}

/* A string by its key; None where there is none (yet). */
PyObject *qiopy_keyed_string(QioObject *self, QioKeyedFunc func, const char *key)
{
    char small[512];
    qioh_error error;
    qioh_ssize n;
    PyObject *text;
    char *large;

    qiopy_error_init(&error);
    n = keyed(self, func, key, small, sizeof small, &error);
    if (n >= 0) {
        return PyUnicode_DecodeUTF8(small, (Py_ssize_t)n, "surrogateescape");
    }
    if (n == QIOH_E_NOTSUP || n == QIOH_E_INVAL || n == QIOH_E_AGAIN) {
        Py_RETURN_NONE;
    }
    if (n != QIOH_E_TRUNCATED) {
        qiopy_raise(&error);
        return NULL;
    }
    qiopy_error_init(&error);
    n = keyed(self, func, key, NULL, 0, &error);
    large = n >= 0 ? PyMem_Malloc((size_t)n + 1) : NULL;
    if (!large) {
        return PyErr_NoMemory();
    }
    n = keyed(self, func, key, large, (size_t)n + 1, &error);
    text = n >= 0 ? PyUnicode_DecodeUTF8(large, (Py_ssize_t)n, "surrogateescape") : NULL;
    if (n < 0) {
        qiopy_raise(&error);
    }
    PyMem_Free(large);
    return text;
}

/* DER, 0 the peer's own; None after the last. */
PyObject *qiopy_tls_certificate(QioObject *self, uint32_t index)
{
    PyObject *bytes;
    qioh_error error;
    qioh_ssize n;

    qiopy_error_init(&error);
    n = certificate(self, index, NULL, 0, &error);
    if (n == 0 || n == QIOH_E_INVAL || n == QIOH_E_NOTSUP) {
        Py_RETURN_NONE;
    }
    bytes = n < 0 ? NULL : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes) {
        n = certificate(self, index, PyBytes_AS_STRING(bytes), (size_t)n, &error);
    }
    if (n < 0) {
        Py_CLEAR(bytes);
        qiopy_raise(&error);
    }
    return bytes;
}

#define EXPORT_MAX 16384

PyObject *qiopy_tls_export(QioObject *self, const char *label, Py_ssize_t length,
                           PyObject *context)
{
    Py_buffer view = {0};
    PyObject *bytes;
    int32_t status = 0;
    qioh_error error;

    if (length < 1 || length > EXPORT_MAX) {
        PyErr_Format(PyExc_ValueError, "length has to be from 1 to %d, not %zd", EXPORT_MAX,
                     length);
        return NULL;
    }
    if (context != Py_None && qiopy_arg_buffer(context, "context", false, &view) < 0) {
        return NULL;
    }
    bytes = PyBytes_FromStringAndSize(NULL, length);
    qiopy_error_init(&error);
    if (bytes) {
        Py_BEGIN_ALLOW_THREADS
        status = qioh_channel_tls_export(self->h.channel, label, view.buf, (size_t)view.len,
                                         PyBytes_AS_STRING(bytes), (size_t)length, &error);
        Py_END_ALLOW_THREADS
    }
    if (status < 0) {
        Py_CLEAR(bytes);
        qiopy_raise(&error);
    }
    if (view.obj) {
        PyBuffer_Release(&view);
    }
    return bytes;
}
