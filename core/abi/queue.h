/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/queue.h: what lies between the two sides of a queued channel.
 *
 * Owns: AbiQueue, two rings of QIOH_QUEUED_ROOM bytes: `in` from push to the channel's reader,
 * `out` from its writer to pull; and the one queued watch that tells what is asked for.
 * Rules: an AbiQueue is held by its channel and by the registration in the loop, which holds no
 * reference on the channel, so that a forgotten one ends.  `lock` is held for the copying only,
 * never while a loop or a channel is told.  An event is told once; the answer to it (a push, a
 * pull) is what lets the next of its kind come, so a program that does not answer is not called
 * again and again.
 */
#ifndef QIO_ABI_QUEUE_H
#define QIO_ABI_QUEUE_H

#include <pthread.h>
#include "abi/channel.h"
#include "abi/event.h"
#include "abi/loop.h"

/* Bytes first in, first out. */
typedef struct AbiRing {
    uint8_t *data;              /* NULL until there is a first byte */
    size_t start, used;
} AbiRing;

typedef struct AbiQueue {
    AbiEventSource source;      /* first: what the core's events lead to */
    _Atomic int refs;
    GWeakRef ioc;
    qioh_channel *handle;       /* what events name; it may be stale */
    uint64_t cookie;
    uint32_t epoch;             /* base/fork.h */

    pthread_mutex_t lock;       /* for all below */
    QIOLoopWatch *watch;        /* NULL when nothing more is told */
    AbiRing in, out;
    size_t wanted;              /* by the reader, while `wants` */
    bool wants, want_told;
    bool out_told;              /* since the last pull */
    bool end_pulled;
    bool read_was_last;         /* of two kinds that are due both get their turn */
    bool in_ended;              /* push_end */
    Error *in_error;
    bool reader_gone, writer_done;      /* shutdown */
    bool closed;
    bool orphaned;              /* its loop is closed: nobody answers any more */
    bool let_go;                /* by the loop, for good: no watch comes any more */
} AbiQueue;

static inline size_t abi_ring_room(const AbiRing *ring)
{
    return QIOH_QUEUED_ROOM - ring->used;
}

/* Up to len bytes go in.  Returns: how many, 0 when there is no room; -1 NOMEM */
ssize_t abi_ring_put(AbiRing *ring, const void *buf, size_t len, Error **errp);
size_t abi_ring_get(AbiRing *ring, void *buf, size_t len);
void abi_ring_clear(AbiRing *ring);

AbiQueue *abi_queue_new(void);
void abi_queue_unref(AbiQueue *queue);
/* Begins to tell, in a loop: 0, or -1 (CLOSED).  Once, with cookie, handle and ioc set. */
int abi_queue_start(AbiQueue *queue, AioContext *ctx, Error **errp);

/* ---- under the lock ---- */

/* Whether an event is due. */
bool abi_queue_due(const AbiQueue *queue);
/* The watch to kick after unlocking, when an event became due; NULL when none did. */
QIOLoopWatch *abi_queue_due_watch(AbiQueue *queue, bool was_due);
/* Somebody wants to read and cannot; len 0 = it did not say how much. */
void abi_queue_want(AbiQueue *queue, size_t len);

/* ---- without it ---- */

/* Takes the reference; NULL is allowed. */
void abi_queue_kick(QIOLoopWatch *watch);

#endif
