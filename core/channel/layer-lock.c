/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/layer-lock.c: one at a time inside a layer.
 *
 * Owns: the states of QIOLayerLock.  Rules: getting in and out is one atomic step each while nobody
 * else comes.  Who does not get in marks the lock CONTENDED under the mutex before he waits or
 * turns back, so that whoever lets go sees it and looks after him under the mutex; then no
 * wake-up can be lost.
 */
#include "channel/layer-lock.h"

enum { FREE, HELD, CONTENDED };

void qio_layer_lock_init(QIOLayerLock *lock)
{
    atomic_init(&lock->state, FREE);
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->freed, NULL);
}

void qio_layer_lock_destroy(QIOLayerLock *lock)
{
    pthread_cond_destroy(&lock->freed);
    pthread_mutex_destroy(&lock->mutex);
}

static bool take(QIOLayerLock *lock, int state)
{
    int expected = FREE;

    if (!atomic_compare_exchange_strong_explicit(&lock->state, &expected, state,
                                                 memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    atomic_store_explicit(&lock->owner, pthread_self(), memory_order_relaxed);
    return true;
}

/* Returns false: it is free again. */
static bool mark_contended(QIOLayerLock *lock)
{
    int expected = HELD;

    return atomic_compare_exchange_strong(&lock->state, &expected, CONTENDED) ||
           expected == CONTENDED;
}

static bool is_own(QIOLayerLock *lock)
{
    return pthread_equal(atomic_load_explicit(&lock->owner, memory_order_relaxed),
                         pthread_self());
}

static int await_turn(QIOLayerLock *lock, bool patient)
{
    int ret = 1;

    pthread_mutex_lock(&lock->mutex);
    lock->waiting++;
    while (ret == 1) {
        /* Those who wait on have to be seen by whoever leaves next. */
        if (take(lock, lock->waiting > 1 ? CONTENDED : HELD)) {
            ret = 0;
        } else if (is_own(lock)) {
            ret = -1;
        } else if (!mark_contended(lock)) {
            continue;
        } else if (lock->calling_out && !patient) {
            lock->turned_away = true;
            ret = QIO_CHANNEL_ERR_BLOCK;
        } else {
            pthread_cond_wait(&lock->freed, &lock->mutex);
        }
    }
    lock->waiting--;
    pthread_mutex_unlock(&lock->mutex);
    return ret;
}

int qio_layer_lock_enter(QIOLayerLock *lock, bool patient)
{
    return G_LIKELY(take(lock, HELD)) ? 0 : await_turn(lock, patient);
}

bool qio_layer_lock_leave(QIOLayerLock *lock)
{
    bool turned_away;

    /* A thread that reads an owner of its own must be one that holds the lock. */
    atomic_store_explicit(&lock->owner, (pthread_t)0, memory_order_relaxed);
    if (G_LIKELY(atomic_exchange(&lock->state, FREE) == HELD)) {
        return false;
    }
    pthread_mutex_lock(&lock->mutex);
    turned_away = lock->turned_away;
    lock->turned_away = false;
    if (lock->waiting > 0) {
        pthread_cond_signal(&lock->freed);
    }
    pthread_mutex_unlock(&lock->mutex);
    return turned_away;
}

void qio_layer_lock_call_out(QIOLayerLock *lock, bool begin)
{
    pthread_mutex_lock(&lock->mutex);
    lock->calling_out = begin;
    if (begin && lock->waiting > 0) {
        pthread_cond_broadcast(&lock->freed);
    }
    pthread_mutex_unlock(&lock->mutex);
}
