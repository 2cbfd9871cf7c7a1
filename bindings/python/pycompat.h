/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pycompat.h: what the C API of older interpreters lacks, down to Python 3.9.
 *
 * Owns: nothing but spellings.  The glue is written for the newest interpreter; what an older
 * one has not is given here under the name that the newer ones use, so that no other file asks
 * for a version (but pyerror.c, whose two questions differ in kind).
 * GIL held.
 */
#ifndef QIOPY_COMPAT_H
#define QIOPY_COMPAT_H

#if PY_VERSION_HEX < 0x03090000
#error "Python 3.9 or later is needed"
#endif

#if PY_VERSION_HEX < 0x030a0000
static inline PyObject *Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

static inline PyObject *Py_XNewRef(PyObject *object)
{
    Py_XINCREF(object);
    return object;
}
#endif

/* How a coroutine answers; older interpreters take the value out of a StopIteration. */
#if PY_VERSION_HEX < 0x030a0000
typedef enum { PYGEN_RETURN = 0, PYGEN_ERROR = -1, PYGEN_NEXT = 1 } PySendResult;
#define QIOPY_AM_SEND(fn)
#else
#define QIOPY_AM_SEND(fn) {Py_am_send, fn},
#endif

/* A type whose objects C makes; calling it is a TypeError. */
static inline PyObject *qiopy_type_without_new(PyType_Spec *spec)
{
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
    spec->flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    return PyType_FromSpec(spec);
#else
    PyObject *type = PyType_FromSpec(spec);

    if (type) {
        ((PyTypeObject *)type)->tp_new = NULL;
    }
    return type;
#endif
}

#endif
