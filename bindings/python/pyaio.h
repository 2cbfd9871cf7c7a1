/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyaio.h: what the C files behind qio.aio share.
 *
 * Owns: the layout of homes (an asyncio loop and what is registered in it), spots (one direction of
 * one descriptor in it), and operations (what `await` is given).  Everything here belongs to the
 * thread of its loop; the GIL is held throughout.
 */
#ifndef PYAIO_H
#define PYAIO_H

#include "qiopy.h"

/* A circular list; each link is in at most one. */
typedef struct QioLink {
    struct QioLink *prev, *next;
} QioLink;

static inline void qio_list_init(QioLink *list)
{
    list->prev = list->next = list;
}

static inline bool qio_list_empty(const QioLink *list)
{
    return list->next == list;
}

static inline void qio_list_append(QioLink *list, QioLink *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static inline void qio_list_remove(QioLink *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    qio_list_init(link);
}

/* ---- homes (pyaio.c) and spots (pyspot.c) ---- */

/* An asyncio loop, as its own methods, and the spots of its descriptors. */
typedef struct QioHome {
    PyObject_HEAD
    PyObject *loop;
    PyObject *add[2], *remove[2];       /* bound: add_reader, add_writer ... */
    PyObject *call_soon, *call_soon_threadsafe;
    PyObject *spots;                    /* dict: fd * 2 + way to a spot */
    unsigned long thread;               /* whose loop it is */
    int pid;                            /* in a forked child the loop is the parent's */
    unsigned turn;                      /* how often a streak has given it one */
    QioLink link;                       /* in the list of all homes */
    PyObject *weakrefs;
} QioHome;

/*
 * One direction of a descriptor in a loop: registered when somebody waits, and left so until it
 * fires with nobody waiting.  Any number may wait: of several layers one may have to write in
 * order to read.
 */
typedef struct QioSpot {
    PyObject_HEAD
    vectorcallfunc call;
    QioHome *home;                      /* NULL once the descriptor is given up */
    QioLink waiting;                    /* QioWait.link */
    int fd;
    int way;                            /* 0 reading, 1 writing */
    bool registered;
} QioSpot;

/* Who waits at a spot.  Either function is called once, after the wait was taken off. */
typedef struct QioWait {
    QioLink link;
    QioSpot *spot;                      /* owned while it waits; NULL else */
    PyObject *owner;                    /* the object that this is a part of; owned by the spot */
    int (*fire)(PyObject *owner);       /* it is ready, in the loop: 0, -1 exception */
    void (*abort)(PyObject *owner);     /* the descriptor is given up; raises nothing */
} QioWait;

/* The home of the running loop, borrowed from its loop; NULL with an exception. */
QioHome *qiopy_aio_home(void);
/* Waits at the spot of a channel's descriptor; the channel remembers the spot. */
int qiopy_aio_wait(QioObject *channel, QioHome *home, int fd, int way, QioWait *wait);
void qiopy_aio_unwait(QioWait *wait);
/* The descriptor is about to be closed, or was: nobody is called for it any more. */
void qiopy_spot_give_up(QioSpot *spot);
int qiopy_spot_init(void);
/* loop.call_soon(callback, argument, context=context), from any thread; without what is NULL. */
int qiopy_aio_call_soon(QioHome *home, PyObject *callback, PyObject *argument, PyObject *context);

/* Where one waits for a channel (pyplace.c). */
typedef struct QioPlace {
    QioWait waits[2];                   /* for reading, for writing */
    PyObject *watch;                    /* a Watch, where there is no one descriptor */
    QioLink link;                       /* in QioAio.places, at a descriptor */
    QioHome *home;                      /* borrowed from the owner while it is in there */
    uint32_t condition;
    const char *method;
} QioPlace;

void qiopy_place_init(QioPlace *place, PyObject *owner, int (*fire)(PyObject *),
                      void (*abort)(PyObject *));
/*
 * Waits for a condition; at one that has no descriptor, the owner's method of that name is called.
 * Returns: 1 it waits, 0 the channel is ready now, -1 exception
 */
int qiopy_place_wait(QioPlace *place, QioObject *channel, QioHome *home, uint32_t condition,
                     const char *method);
/* Waits no more.  Raises nothing, and keeps an exception. */
void qiopy_place_leave(QioPlace *place);
/*
 * After a try or a look, which may have taken from a layer's descriptor what others wait for: who
 * of them (but me) has something now is called in the next turn of its loop.  Raises nothing,
 * keeps an exception.
 */
void qiopy_place_look_again(QioObject *channel, const QioPlace *me);

#define QIO_AIO_SPOTS 4

/* What a channel that somebody has awaited keeps: QioObject.aio. */
typedef struct QioAio {
    struct QioOp *reader;               /* borrowed; one at a time */
    struct QioOp *writer;               /* borrowed; whose turn it is */
    QioLink writers;                    /* QioOp.turn: who waits for a turn, in order */
    QioLink places;                     /* QioPlace.link: who waits at a descriptor */
    unsigned looks;                     /* how often who waits there was looked after */
    QioSpot *spots[QIO_AIO_SPOTS];      /* owned: where it has waited; the oldest goes */
    unsigned spot;                      /* the next to replace */
    unsigned streak;                    /* calls that were done at once since one that was not */
    unsigned turn;                      /* QioHome.turn when a streak was looked at last */
} QioAio;

/* NULL with an exception */
QioAio *qiopy_aio_of(QioObject *channel);

/* ---- operations (pyawait.c; as objects pyop.c) ---- */

typedef struct QioOp QioOp;

typedef enum QioOpState {
    OP_NEW,
    OP_RUNNING,
    OP_YIELDED,                 /* gave the loop a turn, or is woken: tries next */
    OP_WAITING,                 /* for its descriptor, or for a turn to write */
    OP_ABORTED,                 /* raises AbortedError next */
    OP_DONE,
} QioOpState;

/* 1 done, with op->result; 0 would block; -1 exception */
typedef int (*QioAttempt)(QioOp *op);

struct QioOp {
    PyObject_HEAD
    QioLink turn;               /* in QioAio.writers */
    QioPlace place;             /* where it waits */
    QioObject *channel;
    QioHome *home;              /* since it first waited */
    QioAttempt attempt;
    uint32_t condition;
    uint8_t way;                /* QIO_READING, QIO_WRITING, 0 neither */
    uint8_t state;
    bool blocking;              /* what a task sees of it as a future */
    bool cancelled;
    PyObject *callback, *context;       /* the task's, while it waits */
    PyObject *message;          /* of the cancellation */
    PyObject *result;
    PyObject *fn, *args, *kwargs;       /* qiopy_attempt_call */
    Py_buffer view;             /* what is read into or written */
    PyObject *bytes;            /* what is read, until all of it came */
    Py_ssize_t size, done;      /* bytes wanted; bytes that were moved */
    bool eof_ok;
};

int qiopy_attempt_readinto(QioOp *op);
int qiopy_attempt_read(QioOp *op);
int qiopy_attempt_exactly(QioOp *op);
int qiopy_attempt_write(QioOp *op);
int qiopy_attempt_call(QioOp *op);

/* Ends the waits of a channel that is being closed with AbortedError. */
void qiopy_await_abort(QioAio *aio, unsigned ways);
PySendResult qiopy_op_send(PyObject *op, PyObject *value, PyObject **result);
void qiopy_op_stop_waiting(QioOp *op);
void qiopy_op_wake_soon(QioOp *op);
/* Ends it, whichever way. */
void qiopy_op_finish(QioOp *op);
/* As finish, half-way, with an exception set. */
void qiopy_op_fail(QioOp *op);
void qiopy_op_undo(QioOp *op);
void qiopy_op_tell_written(QioOp *op);
int qiopy_op_fire(PyObject *op);
void qiopy_op_abort(PyObject *op);

QioOp *qiopy_op_new(QioObject *channel, unsigned way, uint32_t condition, QioAttempt attempt);
int qiopy_op_init(PyObject *dict);

/* ---- AsyncChannel (pyasync.c) ---- */

int qiopy_async_init(PyObject *dict);

/* ---- transports (pytransport.c) ---- */

int qiopy_transport_init(PyObject *dict);

#endif
