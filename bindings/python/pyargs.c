/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyargs.c: arguments from Python to C.
 *
 * Owns: the checks and the messages.  Each error names the argument and says what would be
 * right.  Buffers stay exported from conversion to the end of the call, so that no other thread
 * resizes what C is using.  GIL held everywhere.
 */
#include <limits.h>
#include "qiopy.h"

#define ELEMENT_NAME 64

static int integer(PyObject *object, const char *name, int64_t min, int64_t max, int64_t *out)
{
    PyObject *index;
    int overflow;
    long long value;

    if (!PyIndex_Check(object) || PyBool_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s has to be an integer, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    index = PyNumber_Index(object);
    if (!index) {
        return -1;
    }
    value = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow || value < min || value > max) {
        PyErr_Format(PyExc_ValueError, "%s has to be from %lld to %lld, not %R", name,
                     (long long)min, (long long)max, object);
        return -1;
    }
    *out = value;
    return 0;
}

int qiopy_arg_size(PyObject *object, const char *name, Py_ssize_t *out)
{
    int64_t value;

    if (integer(object, name, 0, PY_SSIZE_T_MAX, &value) < 0) {
        return -1;
    }
    *out = (Py_ssize_t)value;
    return 0;
}

int qiopy_arg_up_to(PyObject *object, const char *name, QioUpTo *out)
{
    int64_t value = -1;

    if (object != Py_None && integer(object, name, -1, PY_SSIZE_T_MAX, &value) < 0) {
        return -1;
    }
    *out = (QioUpTo)value;
    return 0;
}

int qiopy_arg_int32(PyObject *object, const char *name, int32_t *out)
{
    int64_t value;

    if (integer(object, name, INT32_MIN, INT32_MAX, &value) < 0) {
        return -1;
    }
    *out = (int32_t)value;
    return 0;
}

int qiopy_arg_uint32(PyObject *object, const char *name, uint32_t *out)
{
    int64_t value;

    if (integer(object, name, 0, UINT32_MAX, &value) < 0) {
        return -1;
    }
    *out = (uint32_t)value;
    return 0;
}

int qiopy_arg_int64(PyObject *object, const char *name, int64_t *out)
{
    return integer(object, name, INT64_MIN, INT64_MAX, out);
}

/* One word of "in", "out", "in|out", "in,out". */
static int condition_word(const char *word, size_t len, uint32_t *out)
{
    static const struct { const char *word; uint32_t condition; } words[] = {
        {"in", QIOH_IN}, {"more", QIOH_MORE}, {"out", QIOH_OUT}, {"err", QIOH_ERR},
        {"hup", QIOH_HUP},
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i].word) == len && strncmp(words[i].word, word, len) == 0) {
            *out |= words[i].condition;
            return 0;
        }
    }
    return -1;
}

static int condition_text(const char *text, uint32_t *out)
{
    *out = 0;
    for (;;) {
        size_t len = strcspn(text, "|,");

        if (condition_word(text, len, out) < 0) {
            return -1;
        }
        if (!text[len]) {
            return 0;
        }
        text += len + 1;
    }
}

int qiopy_arg_condition(PyObject *object, const char *name, uint32_t *out)
{
    const uint32_t directions = QIOH_IN | QIOH_MORE | QIOH_OUT;
    const uint32_t known = directions | QIOH_ERR | QIOH_HUP | QIOH_NVAL;

    if (PyUnicode_Check(object)) {
        const char *text = PyUnicode_AsUTF8(object);

        if (!text) {
            PyErr_Clear();
        } else if (condition_text(text, out) == 0 && *out & directions) {
            return 0;
        }
    } else if (PyLong_Check(object) && !PyBool_Check(object)) {
        int64_t value;

        if (integer(object, name, 0, INT32_MAX, &value) < 0) {
            return -1;
        }
        if (!(value & ~(int64_t)known) && value & directions) {
            *out = (uint32_t)value;
            return 0;
        }
    } else {
        PyErr_Format(PyExc_TypeError, "%s has to be a qio.Cond, \"in\" or \"out\", not %.100s",
                     name, Py_TYPE(object)->tp_name);
        return -1;
    }
    PyErr_Format(PyExc_ValueError, "%s has to be qio.IN, qio.OUT or both, not %R", name, object);
    return -1;
}

int qiopy_arg_shutdown(PyObject *object, const char *name, uint32_t *out)
{
    /* at the places of SHUT_RD, SHUT_WR, SHUT_RDWR */
    static const struct { const char *word; uint32_t how; } words[] = {
        {"read", QIOH_SHUTDOWN_READ}, {"write", QIOH_SHUTDOWN_WRITE}, {"both", QIOH_SHUTDOWN_BOTH},
    };

    if (PyUnicode_Check(object)) {
        for (size_t i = 0; i < 3; i++) {
            if (PyUnicode_CompareWithASCIIString(object, words[i].word) == 0) {
                *out = words[i].how;
                return 0;
            }
        }
    } else if (PyLong_Check(object) && !PyBool_Check(object)) {
        int64_t value;

        if (integer(object, name, INT32_MIN, INT32_MAX, &value) < 0) {
            return -1;
        }
        if (value >= 0 && value < 3) {
            *out = words[value].how;
            return 0;
        }
    } else {
        PyErr_Format(PyExc_TypeError, "%s has to be a string or a socket.SHUT_ constant, not "
                     "%.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    PyErr_Format(PyExc_ValueError, "%s has to be \"read\", \"write\", \"both\" or a socket.SHUT_ "
                 "constant, not %R", name, object);
    return -1;
}

int qiopy_arg_fd(PyObject *object, const char *name, int32_t *out)
{
    PyObject *number;
    int result;

    if (PyLong_Check(object) && !PyBool_Check(object)) {
        int64_t value;

        if (integer(object, name, 0, INT32_MAX, &value) < 0) {
            return -1;
        }
        *out = (int32_t)value;
        return 0;
    }
    if (!PyObject_HasAttrString(object, "fileno")) {
        PyErr_Format(PyExc_TypeError, "%s has to be a descriptor or have fileno(), not %.100s",
                     name, Py_TYPE(object)->tp_name);
        return -1;
    }
    number = PyObject_CallMethod(object, "fileno", NULL);
    if (!number) {
        return -1;
    }
    if (!PyLong_Check(number)) {
        PyErr_Format(PyExc_TypeError, "%s: fileno() has to give an integer, not %.100s", name,
                     Py_TYPE(number)->tp_name);
        Py_DECREF(number);
        return -1;
    }
    result = qiopy_arg_fd(number, name, out);
    Py_DECREF(number);
    return result;
}

const char *qiopy_arg_text(PyObject *object, const char *name)
{
    Py_ssize_t len;
    const char *text;

    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s has to be a str, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(object, &len);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Format(PyExc_ValueError, "%s has to be text that UTF-8 can encode, not %R", name,
                     object);
    }
    if (text && memchr(text, 0, (size_t)len)) {
        PyErr_Format(PyExc_ValueError, "%s has a NUL in it: %R", name, object);
        return NULL;
    }
    return text;
}

int qiopy_arg_path(PyObject *object, const char *name, PyObject **out)
{
    if (!PyUnicode_Check(object) && !PyBytes_Check(object) &&
        !PyObject_HasAttrString(object, "__fspath__")) {
        PyErr_Format(PyExc_TypeError, "%s has to be a str, bytes or os.PathLike, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (PyUnicode_FSConverter(object, out)) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Format(PyExc_ValueError, "%s has to be text that the file system can encode, not %R",
                     name, object);
    } else if (PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Format(PyExc_ValueError, "%s has a NUL in it: %R", name, object);
    }
    return -1;
}

/* "name[i]", for the errors of an element. */
static const char *element_name(const char *name, Py_ssize_t index, char *out, size_t size)
{
    snprintf(out, size, "%s[%zd]", name, index);
    return out;
}

/* Says what is wrong with what is no buffer; a buffer's own error stays. */
int qiopy_no_buffer(PyObject *object, const char *name, bool writable)
{
    if (!PyObject_CheckBuffer(object)) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s has to be a %s, not %.100s", name,
                     writable ? "writable buffer (bytearray, memoryview ...)"
                              : "bytes-like object", Py_TYPE(object)->tp_name);
    } else if (writable && PyBytes_Check(object)) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s has to be a writable buffer, and bytes are not", name);
    }
    return -1;
}

void qiopy_buffers_release(QioBuffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++) {
        PyBuffer_Release(&buffers->views[i]);
    }
    PyMem_Free(buffers->views);
    PyMem_Free(buffers->iov);
    memset(buffers, 0, sizeof *buffers);
}

int qiopy_arg_buffers(PyObject *object, const char *name, bool writable, QioBuffers *out)
{
    PyObject *items;
    size_t count;

    memset(out, 0, sizeof *out);
    if (PyObject_CheckBuffer(object)) {
        PyErr_Format(PyExc_TypeError, "%s has to be a sequence of buffers, not one buffer", name);
        return -1;
    }
    items = PyUnicode_Check(object) ? NULL : PySequence_Fast(object, "");
    if (!items) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s has to be a sequence of buffers, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    count = (size_t)PySequence_Fast_GET_SIZE(items);
    out->views = PyMem_Calloc(count + 1, sizeof *out->views);
    out->iov = PyMem_Calloc(count + 1, sizeof *out->iov);
    if (!out->views || !out->iov) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < count && i < (size_t)PySequence_Fast_GET_SIZE(items); i++) {
        Py_buffer *view = &out->views[i];
        PyObject *item = PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i);
        char label[ELEMENT_NAME];

        if (PyObject_GetBuffer(item, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
            qiopy_no_buffer(item, element_name(name, (Py_ssize_t)i, label, sizeof label),
                            writable);
            goto failed;
        }
        out->count = i + 1;
        out->iov[i] = (qioh_iovec){view->buf, (size_t)view->len};
        if (out->total > (size_t)PY_SSIZE_T_MAX - (size_t)view->len) {
            PyErr_Format(PyExc_ValueError, "%s are too long together", name);
            goto failed;
        }
        out->total += (size_t)view->len;
    }
    Py_DECREF(items);
    return 0;

failed:
    Py_DECREF(items);
    qiopy_buffers_release(out);
    return -1;
}

void qiopy_strings_release(QioStrings *strings)
{
    PyMem_Free(strings->items);
    Py_CLEAR(strings->owner);
    strings->items = NULL;
}

int qiopy_arg_strings(PyObject *object, const char *name, QioStrings *out)
{
    PyObject *items;
    Py_ssize_t count;

    *out = (QioStrings){NULL, NULL};
    if (PyUnicode_Check(object) || PyBytes_Check(object) ||
        !(items = PySequence_Tuple(object))) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s has to be a sequence of strings, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    count = PyTuple_GET_SIZE(items);
    out->owner = PyTuple_New(count);
    out->items = PyMem_Calloc((size_t)count + 1, sizeof *out->items);
    if (!out->owner || !out->items) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *bytes = NULL;
        char label[ELEMENT_NAME];

        element_name(name, i, label, sizeof label);
        if (qiopy_arg_path(PyTuple_GET_ITEM(items, i), label, &bytes) < 0) {
            goto failed;
        }
        PyTuple_SET_ITEM(out->owner, i, bytes);
        out->items[i] = PyBytes_AS_STRING(bytes);
    }
    Py_DECREF(items);
    return 0;

failed:
    Py_DECREF(items);
    qiopy_strings_release(out);
    return -1;
}

/* Strings of options may be paths, so they go the way of file names (surrogateescape). */
static int option_text(qioh_options *options, const char *key, const char *label,
                       PyObject *value, bool add, qioh_error *error)
{
    PyObject *bytes = NULL;
    qioh_status status;

    if (qiopy_arg_path(value, label, &bytes) < 0) {
        return -1;
    }
    status = add ? qioh_options_add_str(options, key, PyBytes_AS_STRING(bytes), error)
                 : qioh_options_set_str(options, key, PyBytes_AS_STRING(bytes), error);
    Py_DECREF(bytes);
    if (status < 0) {
        qiopy_raise(error);
        return -1;
    }
    return 0;
}

static int option_list(qioh_options *options, const char *key, PyObject *value, qioh_error *error)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++) {
        char label[ELEMENT_NAME];

        element_name(key, i, label, sizeof label);
        if (option_text(options, key, label, PySequence_Fast_GET_ITEM(value, i), true,
                        error) < 0) {
            return -1;
        }
    }
    return 0;
}

static int option(qioh_options *options, const char *key, PyObject *value)
{
    qioh_error error;
    qioh_status status;
    int64_t number;

    qiopy_error_init(&error);
    if (PyList_Check(value) || PyTuple_Check(value)) {
        return option_list(options, key, value, &error);
    }
    if (PyObject_TypeCheck(value, qiopy_types[QIO_TYPE_CREDS])) {
        status = qioh_options_set_creds(options, ((QioObject *)value)->h.creds, &error);
    } else if (PyLong_Check(value)) {
        if (integer(value, key, INT64_MIN, INT64_MAX, &number) < 0) {
            return -1;
        }
        status = qioh_options_set_int(options, key, number, &error);
    } else if (PyObject_CheckBuffer(value)) {
        Py_buffer view;

        if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) {
            return -1;
        }
        status = qioh_options_set_bytes(options, key, view.buf, (size_t)view.len, &error);
        PyBuffer_Release(&view);
    } else {
        return option_text(options, key, key, value, false, &error);
    }
    if (status < 0) {
        qiopy_raise(&error);
        return -1;
    }
    return 0;
}

int qiopy_arg_options(PyObject *object, const char *name, qioh_options **out)
{
    PyObject *key, *value;
    Py_ssize_t pos = 0;
    qioh_error error;

    *out = NULL;
    if (object == Py_None) {
        return 0;
    }
    if (!PyDict_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s has to be a dict, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    qiopy_error_init(&error);
    *out = qioh_options_new(&error);
    if (!*out) {
        qiopy_raise(&error);
        return -1;
    }
    while (PyDict_Next(object, &pos, &key, &value)) {
        const char *text = qiopy_arg_text(key, name);

        if (!text || option(*out, text, value) < 0) {
            qioh_options_unref(*out);
            *out = NULL;
            return -1;
        }
    }
    return 0;
}
