/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-close-race.c: a close against every call that may just be inside, again and again.
 *
 * Owns: the races that one round shows too rarely.  Two threads stay and go from round to round by
 * a counter, since making a thread takes longer than what is raced for.  Under ThreadSanitizer
 * these are the tests of the close protocol.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>
#include <qio/channel-socket.h>
#include <qio/qioh.h>
#include "runner.h"

enum { MANY = 10000, SOME = 400 };

static uint64_t random_state = 88172645463325252u;

static unsigned random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33);
}

/* ---- one call a round, on a thread that stays ---- */

typedef struct Round {
    int64_t (*call)(void *subject);
    void *subject;
    int64_t result;
    _Atomic int begun;          /* rounds that may start */
    _Atomic int entered;        /* rounds whose call is about to be made */
    _Atomic int ended;
} Round;

static void wait_for(_Atomic int *counter, int value)
{
    while (atomic_load(counter) < value) {
        sched_yield();
    }
}

static void *go_round(void *opaque)
{
    Round *round = opaque;

    for (int i = 1;; i++) {
        wait_for(&round->begun, i);
        if (!round->call) {
            return NULL;
        }
        atomic_store(&round->entered, i);
        round->result = round->call(round->subject);
        atomic_store(&round->ended, i);
    }
}

static void begin(Round *round, int i, void *subject)
{
    round->subject = subject;
    atomic_store(&round->begun, i);
    wait_for(&round->entered, i);
    /* From before the call over its first step to deep asleep. */
    for (unsigned n = random_number() % 6; n > 0; n--) {
        sched_yield();
    }
}

static void finish(Round *round, int i, pthread_t thread)
{
    round->call = NULL;
    atomic_store(&round->begun, i);
    pthread_join(thread, NULL);
}

/* ---- the flat ABI ---- */

static int64_t read_once(void *channel)
{
    char byte;

    return qioh_channel_read(channel, &byte, 1, NULL);
}

static int64_t write_until_full(void *channel)
{
    static char block[1 << 16];
    int64_t n;

    do {
        n = qioh_channel_write(channel, block, sizeof(block), NULL);
    } while (n > 0);
    return n;
}

static int64_t peek(void *channel)
{
    char bytes[4];

    return qioh_channel_peek(channel, bytes, 4, 0, NULL);
}

static int64_t read_until(void *channel)
{
    const qioh_iovec newline = { .base = (void *)"\n", .len = 1 };
    char line[64];

    return qioh_channel_read_until(channel, line, sizeof(line), &newline, 1, 64, 0, NULL);
}

static int64_t read_all(void *channel)
{
    char bytes[4];

    return qioh_channel_read_all(channel, bytes, 4, NULL);
}

static int64_t wait_for_input(void *channel)
{
    return qioh_channel_wait(channel, QIOH_IN, -1, NULL);
}

static int64_t wait_for_more(void *channel)
{
    return qioh_channel_wait(channel, QIOH_MORE, -1, NULL);
}

static int64_t accept_one(void *listener)
{
    qioh_error error = { 0 };
    qioh_channel *client = qioh_listener_accept(listener, -1, &error);

    qioh_channel_unref(client);
    return client ? 1 : error.code;
}

static void make_pair(qioh_channel *out[2])
{
    CHECK_INT(qioh_channel_new_pair(out, NULL), ==, 0);
}

/* Two channels on a pipe, which is the library's for neither. */
static void make_pipe(qioh_channel *out[2])
{
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    out[0] = qioh_channel_new_fd(fds[0], NULL);
    out[1] = qioh_channel_new_fd(fds[1], NULL);
    CHECK(out[0] && out[1]);
}

/* The numbers that the close gave back are used again at once: a call that still looked at them
 * would take the byte. */
static void check_numbers_are_left_alone(Round *round, int i, int fds[2])
{
    char byte = 0;

    CHECK_INT(write(fds[0], "x", 1), ==, 1);
    wait_for(&round->ended, i);
    CHECK_INT(recv(fds[1], &byte, 1, MSG_DONTWAIT), ==, 1);
    CHECK_INT(byte, ==, 'x');
    close(fds[0]);
    close(fds[1]);
}

static void race(int64_t (*call)(void *), void (*make)(qioh_channel *[2]), int which, int rounds)
{
    Round round = { .call = call };
    pthread_t thread;
    int i;

    CHECK_INT(pthread_create(&thread, NULL, go_round, &round), ==, 0);
    for (i = 1; i <= rounds; i++) {
        qioh_channel *ends[2];
        int fds[2];

        make(ends);
        begin(&round, i, ends[which]);
        CHECK_INT(qioh_channel_close(ends[which], NULL), ==, 0);
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        check_numbers_are_left_alone(&round, i, fds);
        test_note("round %d, result %d", i, (int)round.result);
        CHECK(round.result == QIOH_E_CANCELLED || round.result == QIOH_E_CLOSED);
        qioh_channel_unref(ends[0]);
        qioh_channel_unref(ends[1]);
    }
    finish(&round, i, thread);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

TEST(close_against_a_read, .timeout_s = 60)
{
    race(read_once, make_pair, 0, MANY);
}

TEST(close_against_a_write, .timeout_s = 60)
{
    race(write_until_full, make_pair, 0, MANY);
}

TEST(close_against_a_peek)
{
    race(peek, make_pair, 0, SOME);
}

TEST(close_against_read_until)
{
    race(read_until, make_pair, 0, SOME);
}

TEST(close_against_read_all)
{
    race(read_all, make_pair, 0, SOME);
}

TEST(close_against_a_wait)
{
    race(wait_for_input, make_pair, 0, SOME);
    race(wait_for_more, make_pair, 0, SOME);
}

TEST(close_against_a_pipe)
{
    race(read_once, make_pipe, 0, SOME);
    race(write_until_full, make_pipe, 1, SOME);
    race(wait_for_input, make_pipe, 0, SOME);
}

TEST(close_against_an_accept)
{
    Round round = { .call = accept_one };
    pthread_t thread;
    int i;

    CHECK_INT(pthread_create(&thread, NULL, go_round, &round), ==, 0);
    for (i = 1; i <= SOME; i++) {
        qioh_listener *listener = qioh_listener_open_uri("abstract:close-race", NULL, NULL);
        int fds[2];

        CHECK_PTR(listener, !=, NULL);
        begin(&round, i, listener);
        CHECK_INT(qioh_listener_close(listener, NULL), ==, 0);
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        check_numbers_are_left_alone(&round, i, fds);
        test_note("round %d, result %d", i, (int)round.result);
        CHECK(round.result == QIOH_E_CANCELLED || round.result == QIOH_E_CLOSED);
        qioh_listener_unref(listener);
    }
    finish(&round, i, thread);
}

/* ---- plain C, which does not enter: close against wait is safe there as well ---- */

static int64_t wait_in_c(void *ioc)
{
    Error *err = NULL;
    int ready = qio_channel_wait_timeout(ioc, G_IO_IN, -1, &err);
    int64_t result = ready < 0 ? (int64_t)qio_error_get_code(err) : ready;

    qio_error_free(err);
    return result;
}

TEST(close_against_a_wait_in_c)
{
    Round round = { .call = wait_in_c };
    pthread_t thread;
    int i;

    CHECK_INT(pthread_create(&thread, NULL, go_round, &round), ==, 0);
    for (i = 1; i <= SOME; i++) {
        QIOChannelSocket *a, *b;

        CHECK_INT(qio_channel_socket_new_pair(&a, &b, NULL), ==, 0);
        begin(&round, i, a);
        CHECK_INT(qio_channel_close(QIO_CHANNEL(a), NULL), ==, 0);
        wait_for(&round.ended, i);
        test_note("round %d, result %d", i, (int)round.result);
        CHECK(round.result == QIO_ERROR_CANCELLED || round.result == QIO_ERROR_CLOSED);
        qio_object_unref(a);
        qio_object_unref(b);
    }
    finish(&round, i, thread);
}
