/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/layer-lock.h: one at a time inside a layer.
 *
 * Owns: the lock of a layer (TLS, WebSocket).  Rules: its holder waits for nothing but locks below
 * it, with one exception: a function of the program (of a channel that a script implements, of
 * credentials), which may have to wait for a lock of its language that the next one to come holds.
 * So while one is called nobody waits here: who comes is told "would block", and has to be woken
 * to look again when the holder leaves.  The function itself gets BUSY if it comes back.
 */
#ifndef QIO_CHANNEL_LAYER_LOCK_H
#define QIO_CHANNEL_LAYER_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "channel/channel-priv.h"

struct QIOLayerLock {
    atomic_int state;               /* see layer-lock.c */
    _Atomic(pthread_t) owner;       /* while it is held */
    pthread_mutex_t mutex;          /* of what follows; for those who do not get in at once */
    pthread_cond_t freed;
    bool calling_out, turned_away;
    int waiting;
};

void qio_layer_lock_init(QIOLayerLock *lock);
void qio_layer_lock_destroy(QIOLayerLock *lock);

/* Takes the lock.  patient: for what cannot come again later; waits in any case, so the caller must
 * hold no lock that a function of the program may want.
 * Returns: 0; QIO_CHANNEL_ERR_BLOCK while the holder calls a function of the program; -1 when this
 * very thread holds it: that function came back */
int qio_layer_lock_enter(QIOLayerLock *lock, bool patient);
/* Returns: whether somebody was told "would block" meanwhile, who has to be woken. */
bool qio_layer_lock_leave(QIOLayerLock *lock);
/* Around the call of a function of the program, by the holder. */
void qio_layer_lock_call_out(QIOLayerLock *lock, bool begin);

#endif
