/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * one-thread.h: a second thread for tests that use TLS in it.
 *
 * Owns: one thread for the whole process, and its one job at a time.  GnuTLS keeps the random state
 * of each thread that used it until the process ends, so a new thread for each run of a test would
 * look like a leak.
 */
#ifndef TESTS_ONE_THREAD_H
#define TESTS_ONE_THREAD_H

#include <pthread.h>
#include "runner.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*job)(void *opaque);      /* NULL: done */
    void *opaque;
    bool started;
} one_thread = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void *one_thread_main(void *unused)
{
    pthread_mutex_lock(&one_thread.lock);
    for (;;) {
        if (one_thread.job == NULL) {
            pthread_cond_wait(&one_thread.changed, &one_thread.lock);
            continue;
        }
        pthread_mutex_unlock(&one_thread.lock);
        one_thread.job(one_thread.opaque);
        pthread_mutex_lock(&one_thread.lock);
        one_thread.job = NULL;
        pthread_cond_broadcast(&one_thread.changed);
    }
    return NULL;
}

/* Starts job(opaque) there; the one before has to be done. */
static inline void one_thread_start(void (*job)(void *opaque), void *opaque)
{
    pthread_t thread;

    pthread_mutex_lock(&one_thread.lock);
    CHECK(one_thread.job == NULL);
    one_thread.job = job;
    one_thread.opaque = opaque;
    if (!one_thread.started) {
        CHECK_INT(pthread_create(&thread, NULL, one_thread_main, NULL), ==, 0);
        pthread_detach(thread);
        one_thread.started = true;
    }
    pthread_cond_broadcast(&one_thread.changed);
    pthread_mutex_unlock(&one_thread.lock);
}

static inline void one_thread_wait(void)
{
    pthread_mutex_lock(&one_thread.lock);
    while (one_thread.job != NULL) {
        pthread_cond_wait(&one_thread.changed, &one_thread.lock);
    }
    pthread_mutex_unlock(&one_thread.lock);
}

#endif
