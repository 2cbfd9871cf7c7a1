/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/lock.c: one at a time inside a TLS channel.
 *
 * Owns: taking and leaving the lock, and calling a program's function from inside.  Rules: nobody
 * waits for anything but the lock while holding it, with one exception: a function of the program,
 * which may have to wait for a lock of its language that the next one to come holds.  So while one
 * is called nobody waits: who comes is told "would block", and everybody is woken to look again
 * when the holder leaves.  The function itself gets BUSY if it comes back to the channel.  In a
 * forked child nobody gets in, since two processes that send under one key break it, and since the
 * lock may have been held when the child was made.
 */
#include "tls/tls-priv.h"
#include "base/fork.h"

void qio_tls_lock_init(QIOTlsLock *lock)
{
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->freed, NULL);
}

void qio_tls_lock_destroy(QIOTlsLock *lock)
{
    pthread_cond_destroy(&lock->freed);
    pthread_mutex_destroy(&lock->mutex);
}

/* Returns: 0, QIO_CHANNEL_ERR_BLOCK (not to the patient), or -1 when it is one's own.  The mutex is
 * held. */
static int await_turn(QIOTlsLock *lock, bool patient)
{
    int ret = 0;

    lock->waiting++;
    while (lock->held && ret == 0) {
        if (pthread_equal(lock->owner, pthread_self())) {
            ret = -1;
        } else if (lock->calling_out && !patient) {
            lock->turned_away = true;
            ret = QIO_CHANNEL_ERR_BLOCK;
        } else {
            pthread_cond_wait(&lock->freed, &lock->mutex);
        }
    }
    lock->waiting--;
    return ret;
}

static int enter(QIOChannelTls *tls, bool patient, Error **errp)
{
    QIOTlsLock *lock = &tls->lock;
    int ret = 0;

    if (G_UNLIKELY(tls->epoch != qio_fork_epoch())) {
        qio_error_set(errp, QIO_ERROR_FORKED,
                      "the TLS session belongs to the process that this one was forked from");
        return -1;
    }
    pthread_mutex_lock(&lock->mutex);
    if (G_UNLIKELY(lock->held)) {
        ret = await_turn(lock, patient);
    }
    if (G_LIKELY(ret == 0)) {
        lock->held = true;
        lock->owner = pthread_self();
    }
    pthread_mutex_unlock(&lock->mutex);
    if (G_UNLIKELY(ret == -1)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "a function called from inside the TLS channel cannot use it");
    }
    return ret;
}

int qio_tls_enter(QIOChannelTls *tls, Error **errp)
{
    return enter(tls, false, errp);
}

int qio_tls_enter_open(QIOChannelTls *tls, Error **errp)
{
    bool open = tls->state == QIO_TLS_OPEN;
    int ret = enter(tls, open, errp);

    if (ret == 0 && tls->state == QIO_TLS_OPEN) {
        return 0;
    }
    if (ret == 0 && tls->failure) {
        qio_error_propagate(errp, qio_error_copy(tls->failure));
    } else if (ret != -1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the TLS handshake has not been done yet");
    }
    if (ret == 0) {
        qio_tls_leave(tls);
    }
    return -1;
}

void qio_tls_leave(QIOChannelTls *tls)
{
    QIOTlsLock *lock = &tls->lock;
    bool kick = tls->kick;

    tls->kick = false;
    pthread_mutex_lock(&lock->mutex);
    lock->held = false;
    kick |= lock->turned_away;
    lock->turned_away = false;
    if (G_UNLIKELY(lock->waiting > 0)) {
        pthread_cond_signal(&lock->freed);
    }
    pthread_mutex_unlock(&lock->mutex);
    if (G_UNLIKELY(kick)) {
        qio_channel_notify(&tls->parent, G_IO_IN | G_IO_OUT);
    }
}

void qio_tls_call_out(QIOChannelTls *tls, bool begin)
{
    QIOTlsLock *lock = &tls->lock;

    pthread_mutex_lock(&lock->mutex);
    lock->calling_out = begin;
    if (begin && lock->waiting > 0) {
        pthread_cond_broadcast(&lock->freed);
    }
    pthread_mutex_unlock(&lock->mutex);
}
