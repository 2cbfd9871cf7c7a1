/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyerror.c: from a qioh_error to a Python exception, and exceptions across C frames.
 *
 * Owns: the exception that a callback raised below a call into the library.  It travels beside
 * the C error (QIOH_E_CALLBACK), in a thread-local, and the outermost call from Python raises
 * the same object again; one that left a channel written in Python is found by the error's number
 * (pycustom.c).  Where no Python call is below (a finaliser, a foreign thread) it goes
 * to sys.unraisablehook.  How an exception looks is decided in qio/errors.py.
 * GIL held everywhere.
 */
#include "qiopy.h"

#if PY_VERSION_HEX >= 0x030d0000
#define qiopy_is_finalizing Py_IsFinalizing
#else
#define qiopy_is_finalizing _Py_IsFinalizing
#endif

_Thread_local QioThread qiopy_thread QIO_TLS;

bool qiopy_finalizing(void)
{
    return qiopy_is_finalizing();
}

/* A C layer that swallowed QIOH_E_CALLBACK has left an exception behind: it is not lost. */
void qiopy_report_leftover(void)
{
    PyObject *value = qiopy_thread.stashed;

    qiopy_thread.stashed = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_DECREF(value);
    PyErr_WriteUnraisable(NULL);
}

PyObject *qiopy_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void qiopy_describe_exception(PyObject *value, qioh_error *error)
{
    PyObject *text = PyObject_Str(value);
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;

    snprintf(error->message, sizeof error->message, "%s: %s", Py_TYPE(value)->tp_name,
             utf8 ? utf8 : "");
    Py_XDECREF(text);
    PyErr_Clear();
}

/*
 * The first exception of a call wins its way out; a later one has it as context, which is what
 * a Python `finally` that raises would show.
 */
int32_t qiopy_stash(PyObject *where, qioh_error *error)
{
    PyObject *value;

    if (error) {
        error->code = QIOH_E_CALLBACK;
        error->sys_errno = 0;
        error->domain = QIOH_DOMAIN_LIBRARY;
        error->number = 0;
        snprintf(error->message, sizeof error->message, "a Python callback failed");
    }
    if (qiopy_thread.depth == 0) {
        PyErr_WriteUnraisable(where);
        return QIOH_E_CALLBACK;
    }
    value = qiopy_take_exception();
    if (error) {
        qiopy_describe_exception(value, error);
    }
    if (qiopy_thread.stashed) {
        PyException_SetContext(value, qiopy_thread.stashed);
    }
    qiopy_thread.stashed = value;
    return QIOH_E_CALLBACK;
}

int qiopy_raise_stashed(void)
{
    PyObject *value = qiopy_thread.stashed;

    if (!value) {
        return 0;
    }
    qiopy_thread.stashed = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_DECREF(value);
    return 1;
}

void qiopy_raise(const qioh_error *error)
{
    PyObject *factory = qiopy_hook(QIO_HOOK_ERROR);
    PyObject *message, *value;

    if (error->code == QIOH_E_CALLBACK &&
        (error->number > 0 ? qiopy_raise_kept(error->number) : qiopy_raise_stashed())) {
        return;
    }
    if (error->code == QIOH_E_BADHANDLE) {      /* the only handle given up before its object */
        qiopy_raise_code(QIOH_E_CLOSED, 0, "the loop is closed");
        return;
    }
    message = PyUnicode_DecodeUTF8(error->message, (Py_ssize_t)strlen(error->message), "replace");
    if (!message) {
        return;
    }
    if (!factory) {
        PyErr_Format(PyExc_OSError, "%U (code %d)", message, (int)error->code);
        Py_DECREF(message);
        return;
    }
    value = PyObject_CallFunction(factory, "iiiLKN", (int)error->code, (int)error->sys_errno,
                                  (int)error->domain, (long long)error->number,
                                  (unsigned long long)error->bytes, message);
    if (value) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        Py_DECREF(value);
    }
}

void qiopy_raise_code(int32_t code, uint64_t bytes, const char *message)
{
    qioh_error error = {.struct_size = sizeof error, .code = code, .bytes = bytes};

    snprintf(error.message, sizeof error.message, "%s",
             message ? message : qioh_status_name(code));
    qiopy_raise(&error);
}

/* PEP 475: a signal whose handler raises nothing does not end a call. */
int qiopy_interrupted(qioh_error *error)
{
    if (error->code != QIOH_E_INTR) {
        return 0;
    }
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    qiopy_error_init(error);
    return 1;
}
