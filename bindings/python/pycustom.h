/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pycustom.h: what pycustom.c and pycustom-ops.c share.
 *
 * Owns: QioCustom, what stands between the library and the object of a channel that is written in
 * Python.  Rules: the object owns the handle, and the library holds only this, so that a cycle
 * through the channel is the collector's alone to see; once the object is gone the functions fail.
 * Everything but the count is under the GIL.
 */
#ifndef QIOPY_CUSTOM_H
#define QIOPY_CUSTOM_H

#include <stdatomic.h>
#include "qiopy.h"

/* The methods of a channel that a class may write; their numbers are those of qio/custom.py. */
typedef enum QioOp {
    QIO_OP_READINTO,
    QIO_OP_WRITE,
    QIO_OP_CLOSE,
    QIO_OP_SHUTDOWN,
    QIO_OP_SEEK,
    QIO_OP_FLUSH,
    QIO_OP_FILENO,
    QIO_OP_GET_POLL,
    QIO_OP_RECV_FDS,
    QIO_OP_SEND_FDS,
    QIO_OPS,
} QioOp;

extern const char *const qiopy_op_names[QIO_OPS];

/* An exception that left a method and waits for the call that the library fails with it. */
typedef struct QioRaised {
    int64_t id;                 /* 0: none */
    PyObject *value;
    bool quiet;                 /* nobody is told if nobody asks */
} QioRaised;

#define QIO_RAISED_MAX 4

typedef struct QioCustom {
    atomic_int refs;            /* the object, the library */
    QioObject *self;            /* borrowed; NULL: gone */
    unsigned written;           /* bits of the methods that the class has */
    bool told;                  /* a failure of it has been raised */
    PyObject *bounce;           /* a bytearray that nobody else refers to, for the next read */
    QioRaised raised[QIO_RAISED_MAX];   /* the oldest first */
    struct QioCustom *next, **pprev;    /* all of them, for whoever looks for an exception */
} QioCustom;

static inline bool qiopy_op_written(const QioCustom *custom, QioOp op)
{
    return (custom->written >> op & 1) != 0;
}

/* Keeps the exception that is set, which left the method, and fills error; the code to return. */
int32_t qiopy_custom_keep(QioCustom *custom, QioOp op, qioh_error *error);
void qiopy_custom_unref(QioCustom *custom);

/* The method that a class has written, past what stands in its place: borrowed, or NULL. */
PyObject *qiopy_op_function(PyTypeObject *class, QioOp op);
/* Whether this thread is inside of that method of the object. */
bool qiopy_op_inside(const QioObject *self, QioOp op);

/* The functions of the library for what the class has. */
qioh_channel_ops qiopy_custom_ops(const QioCustom *custom);

#endif
