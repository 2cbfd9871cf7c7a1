/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-layer-lock.c: one at a time inside a layer, and nobody waits for a function of the program.
 *
 * Owns: the lock alone, under threads that come and go; and a WebSocket over TLS whose peer check
 * is a function that waits.  That of TLS over TLS is in test-tls-life.c.
 */
#include "tls-pair.h"
#include "ws-util.h"

#include "channel/layer-lock.h"

/* ---- the lock alone ---- */

enum { THREADS = 4, ROUNDS = 20000 };

typedef struct {
    QIOLayerLock lock;
    int inside;                 /* changed by the holder only: a race for the thread sanitizer */
    int entered, blocked;
    atomic_int to_wake, woken;
} Crowd;

static void *come_and_go(void *opaque)
{
    Crowd *crowd = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        int ret = qio_layer_lock_enter(&crowd->lock, i % 3 == 0);

        CHECK(ret == 0 || ret == QIO_CHANNEL_ERR_BLOCK);
        if (ret != 0) {
            CHECK_INT(i % 3, !=, 0);
            atomic_fetch_add(&crowd->to_wake, 1);
            continue;
        }
        CHECK_INT(++crowd->inside, ==, 1);
        crowd->entered++;
        if (i % 7 == 0) {
            qio_layer_lock_call_out(&crowd->lock, true);
            CHECK_INT(qio_layer_lock_enter(&crowd->lock, i % 2), ==, -1);
            qio_layer_lock_call_out(&crowd->lock, false);
        }
        crowd->inside--;
        atomic_fetch_add(&crowd->woken, qio_layer_lock_leave(&crowd->lock));
    }
    return NULL;
}

TEST(one_at_a_time, .timeout_s = 60)
{
    pthread_t threads[THREADS];
    Crowd crowd = { .inside = 0 };

    qio_layer_lock_init(&crowd.lock);
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, &crowd), ==, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(crowd.entered + atomic_load(&crowd.to_wake), ==, THREADS * ROUNDS);
    /* Each who was turned away is told by a leave that came later; one leave may tell many. */
    CHECK(atomic_load(&crowd.woken) > 0 || atomic_load(&crowd.to_wake) == 0);
    CHECK(atomic_load(&crowd.woken) <= atomic_load(&crowd.to_wake));
    qio_layer_lock_destroy(&crowd.lock);
}

/* ---- a WebSocket above ---- */

typedef struct {
    QIOChannel *ioc;
    pthread_barrier_t inside, looked;
} Meeting;

static int waits_for_other(QIOChannel *ioc, const char *identity, gpointer opaque, Error **errp)
{
    Meeting *meeting = opaque;

    pthread_barrier_wait(&meeting->inside);
    pthread_barrier_wait(&meeting->looked);
    return 1;
}

static void *other_thread(void *opaque)
{
    Meeting *meeting = opaque;
    char byte;

    pthread_barrier_wait(&meeting->inside);
    CHECK_INT(qio_channel_try_read(meeting->ioc, &byte, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_try_write(meeting->ioc, "x", 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_wait_timeout(meeting->ioc, G_IO_IN | G_IO_OUT, 0, NULL), ==, 0);
    pthread_barrier_wait(&meeting->looked);
    return NULL;
}

TEST(nobody_waits_in_a_websocket_while_a_function_is_called_below)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    QIOChannelWebsock *a, *b;
    pthread_t thread;
    Meeting meeting;
    char buf[5];
    TlsPair two;
    int c, s;

    pthread_barrier_init(&meeting.inside, NULL, 2);
    pthread_barrier_init(&meeting.looked, NULL, 2);
    CHECK_INT(qio_tls_creds_set_authorize(server, waits_for_other, &meeting, NULL, NULL), ==, 0);
    tls_pair_creds(&two, pair, client, server, "tls-hostname=server.example", NULL);
    a = ws_new(two.client, NULL, false);
    b = ws_new(two.server, NULL, true);
    meeting.ioc = QIO_CHANNEL(b);
    CHECK_INT(pthread_create(&thread, NULL, other_thread, &meeting), ==, 0);
    do {
        c = QIO_CHANNEL_GET_CLASS(a)->io_handshake(QIO_CHANNEL(a), NULL);
        s = QIO_CHANNEL_GET_CLASS(b)->io_handshake(QIO_CHANNEL(b), NULL);
        CHECK(c != -1 && s != -1);
    } while (c != 0 || s != 0);
    pthread_join(thread, NULL);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(a), "hello", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(b), buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "hello", 5);
    drop(QIO_CHANNEL(a), QIO_CHANNEL(b));
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    pthread_barrier_destroy(&meeting.inside);
    pthread_barrier_destroy(&meeting.looked);
}
