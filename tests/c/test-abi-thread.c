/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-thread.c: the thread classes of the flat ABI: what ends a blocked call, who waits for
 * whom, and what a second caller gets.  Under ThreadSanitizer this is the test of the pins.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "abi/handle.h"
#include "runner.h"

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- a blocked call and what ends it ---- */

typedef struct Blocked {
    qioh_channel *channel;
    qioh_listener *listener;
    qioh_loop *loop;
    int how;
    _Atomic int started;
    int64_t result;
    char buf[1 << 16];
} Blocked;

enum { READ, WAIT, READ_ALL, WRITE, PEEK, ACCEPT, DISPATCH, RUN, EVENTS, HOWS };

static void *block(void *opaque)
{
    Blocked *blocked = opaque;
    qioh_error error = { 0 };
    qioh_event event = { 0 };

    atomic_store(&blocked->started, 1);
    switch (blocked->how) {
    case READ:
        blocked->result = qioh_channel_read(blocked->channel, blocked->buf, 4, NULL);
        break;
    case WAIT:
        blocked->result = qioh_channel_wait(blocked->channel, QIOH_IN, -1, NULL);
        break;
    case READ_ALL:
        blocked->result = qioh_channel_read_all(blocked->channel, blocked->buf, 4, NULL);
        break;
    case WRITE:
        do {
            blocked->result = qioh_channel_write(blocked->channel, blocked->buf,
                                                 sizeof(blocked->buf), NULL);
        } while (blocked->result > 0);
        break;
    case PEEK:
        blocked->result = qioh_channel_peek(blocked->channel, blocked->buf, 4, 0, NULL);
        break;
    case ACCEPT:
        blocked->result = qioh_listener_accept(blocked->listener, -1, &error) ? 1 : error.code;
        break;
    case DISPATCH:
        blocked->result = qioh_loop_dispatch(blocked->loop, -1, NULL);
        break;
    case RUN:
        do {
            blocked->result = qioh_loop_run(blocked->loop, NULL);
        } while (blocked->result == QIOH_E_BUSY);
        break;
    default:
        blocked->result = qioh_loop_next_events(blocked->loop, &event, 1, -1, NULL);
        break;
    }
    return NULL;
}

static void start(Blocked *blocked, pthread_t *thread)
{
    atomic_store(&blocked->started, 0);
    CHECK_INT(pthread_create(thread, NULL, block, blocked), ==, 0);
    while (!atomic_load(&blocked->started)) {
        sched_yield();
    }
}

/* Until some call is inside the object of a handle. */
static void wait_until_inside(const void *handle)
{
    uint32_t refs, pins;

    while (!abi_handle_look((uint64_t)(uintptr_t)handle, &refs, &pins) || pins == 0) {
        sched_yield();
    }
}

static void *cancel_until(void *opaque)
{
    Blocked *blocked = opaque;

    while (atomic_load(&blocked->started) == 1) {
        qioh_channel_cancel(blocked->channel, QIOH_IN | QIOH_OUT, NULL);
        sched_yield();
    }
    return NULL;
}

TEST(close_ends_blocked_calls_and_waits_for_none)
{
    for (int how = READ; how <= ACCEPT; how++) {
        for (int i = 0; i < 20; i++) {
            Blocked *blocked = &(Blocked){ .how = how };
            qioh_channel *pair[2];
            pthread_t thread;
            int64_t at;

            test_note("how %d", how);
            CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
            blocked->listener = qioh_listener_open_uri("tcp://127.0.0.1:0", NULL, NULL);
            blocked->channel = pair[0];
            start(blocked, &thread);
            if (i & 1) {
                wait_until_inside(how == ACCEPT ? (void *)blocked->listener : pair[0]);
            }
            at = now_ms();
            CHECK_INT(how == ACCEPT ? qioh_listener_close(blocked->listener, NULL)
                                    : qioh_channel_close(pair[0], NULL), ==, 0);
            CHECK_INT(now_ms() - at, <, 5000);
            pthread_join(thread, NULL);
            test_note("how %d, result %d", how, (int)blocked->result);
            CHECK(blocked->result == QIOH_E_CANCELLED || blocked->result == QIOH_E_CLOSED);
            qioh_listener_unref(blocked->listener);
            qioh_channel_unref(pair[0]);
            qioh_channel_unref(pair[1]);
        }
    }
}

TEST(the_descriptor_stays_open_until_the_last_call_is_out)
{
    Blocked *blocked = &(Blocked){ .how = READ };
    qioh_channel *pair[2];
    pthread_t thread;
    int fd;

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    blocked->channel = pair[0];
    fd = qioh_channel_get_fd(pair[0], NULL);
    start(blocked, &thread);
    CHECK_INT(qioh_channel_close(pair[0], NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

TEST(cancel_interrupts_without_closing)
{
    Blocked *blocked = &(Blocked){ .how = READ };
    pthread_t thread, canceller;
    qioh_channel *pair[2];

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    blocked->channel = pair[0];
    start(blocked, &thread);
    pthread_create(&canceller, NULL, cancel_until, blocked);
    pthread_join(thread, NULL);
    atomic_store(&blocked->started, 2);
    pthread_join(canceller, NULL);
    CHECK_INT(blocked->result, ==, QIOH_E_CANCELLED);
    CHECK_INT(qioh_channel_write(pair[1], "ab", 2, NULL), ==, 2);
    CHECK_INT(qioh_channel_read(pair[0], blocked->buf, 4, NULL), ==, 2);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

TEST(unref_from_another_thread_lets_a_read_finish)
{
    Blocked *blocked = &(Blocked){ .how = READ };
    qioh_channel *pair[2];
    pthread_t thread;

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    blocked->channel = pair[0];
    start(blocked, &thread);
    wait_until_inside(pair[0]);
    qioh_channel_unref(pair[0]);
    CHECK_INT(qioh_channel_write(pair[1], "ab", 2, NULL), ==, 2);
    pthread_join(thread, NULL);
    CHECK_INT(blocked->result, ==, 2);
    qioh_channel_unref(pair[1]);
}

TEST(wakeup_quit_and_unref_end_a_sleeping_loop)
{
    for (int how = DISPATCH; how < HOWS; how++) {
        for (int end = 0; end < 3; end++) {
            Blocked *blocked = &(Blocked){ .how = how, .loop = qioh_loop_new(NULL) };
            pthread_t thread;

            test_note("how %d, end %d", how, end);
            if (how == RUN && end == 0) {
                qioh_loop_unref(blocked->loop);
                continue;           /* run goes on after a wake-up */
            }
            start(blocked, &thread);
            if (end == 0) {
                CHECK_INT(qioh_loop_wakeup(blocked->loop, NULL), ==, 0);
            } else if (end == 1) {
                CHECK_INT(qioh_loop_quit(blocked->loop, NULL), ==, 0);
            }
            if (end == 2) {
                qioh_loop_unref(blocked->loop);
            }
            pthread_join(thread, NULL);
            CHECK(blocked->result == 0 || (end == 2 && blocked->result == QIOH_E_BADHANDLE));
            if (end != 2) {
                qioh_loop_unref(blocked->loop);
            }
        }
    }
}

TEST(a_second_dispatcher_is_busy)
{
    Blocked *blocked = &(Blocked){ .how = RUN, .loop = qioh_loop_new(NULL) };
    qioh_event event = { 0 };
    pthread_t thread;
    int32_t status;

    start(blocked, &thread);
    while ((status = qioh_loop_dispatch(blocked->loop, 0, NULL)) == 0) {
        sched_yield();
    }
    CHECK_INT(status, ==, QIOH_E_BUSY);
    CHECK_INT(qioh_loop_next_events(blocked->loop, &event, 1, 0, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_loop_close(blocked->loop, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_loop_quit(blocked->loop, NULL), ==, 0);
    pthread_join(thread, NULL);
    qioh_loop_unref(blocked->loop);
}

/* ---- registrations from other threads ---- */

typedef struct Counter {
    _Atomic int calls, deferred;
    _Atomic int releases;
    qioh_loop *loop;
    qioh_channel *channel;
    _Atomic bool stop;
} Counter;

static int32_t count_call(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                          void *user_data, qioh_error *error)
{
    atomic_fetch_add(&((Counter *)user_data)->calls, 1);
    return 1;
}

static int32_t count_defer(qioh_loop *loop, void *user_data, qioh_error *error)
{
    atomic_fetch_add(&((Counter *)user_data)->deferred, 1);
    return 0;
}

static void count_release(void *user_data)
{
    atomic_fetch_add(&((Counter *)user_data)->releases, 1);
}

static void *dispatch_until_stop(void *opaque)
{
    Counter *counter = opaque;

    while (!atomic_load(&counter->stop)) {
        CHECK_INT(qioh_loop_dispatch(counter->loop, -1, NULL), >=, 0);
    }
    return NULL;
}

enum { ADDERS = 2, ADDS = 300 };

static void *add_and_remove(void *opaque)
{
    Counter *counter = opaque;

    for (int i = 0; i < ADDS; i++) {
        qioh_watch *watch = qioh_watch_new(counter->loop, counter->channel, QIOH_OUT, count_call,
                                           counter, count_release, NULL);

        CHECK_PTR(watch, !=, NULL);
        CHECK_INT(qioh_loop_defer(counter->loop, count_defer, counter, count_release, NULL), ==,
                  0);
        if (i % 3) {
            sched_yield();
        }
        CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
        qioh_watch_unref(watch);
    }
    return NULL;
}

TEST(watches_added_and_removed_while_another_thread_dispatches, .timeout_s = 60)
{
    Counter counter = { .loop = qioh_loop_new(NULL) };
    pthread_t dispatcher, adders[ADDERS];
    qioh_channel *pair[2];

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    counter.channel = pair[0];
    pthread_create(&dispatcher, NULL, dispatch_until_stop, &counter);
    for (int i = 0; i < ADDERS; i++) {
        pthread_create(&adders[i], NULL, add_and_remove, &counter);
    }
    for (int i = 0; i < ADDERS; i++) {
        pthread_join(adders[i], NULL);
    }
    while (atomic_load(&counter.deferred) < ADDERS * ADDS) {
        sched_yield();
    }
    atomic_store(&counter.stop, true);
    qioh_loop_wakeup(counter.loop, NULL);
    pthread_join(dispatcher, NULL);
    CHECK_INT(qioh_loop_close(counter.loop, NULL), ==, 0);
    CHECK_INT(counter.releases, ==, 2 * ADDERS * ADDS);
    CHECK_INT(counter.deferred, ==, ADDERS * ADDS);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    qioh_loop_unref(counter.loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- closing against everything ---- */

enum { CLOSE_ROUNDS = 100 };

static void *read_until_closed(void *opaque)
{
    char buf[64];
    int64_t n;

    do {
        n = qioh_channel_read(opaque, buf, sizeof(buf), NULL);
    } while (n > 0);
    CHECK(n == 0 || n == QIOH_E_CANCELLED || n == QIOH_E_CLOSED);
    return NULL;
}

static void *write_until_closed(void *opaque)
{
    int64_t n;

    do {
        n = qioh_channel_write(opaque, "0123456789", 10, NULL);
    } while (n > 0);
    CHECK(n == QIOH_E_CANCELLED || n == QIOH_E_CLOSED || n == QIOH_E_SYSTEM);
    return NULL;
}

TEST(close_against_a_reader_and_a_writer, .timeout_s = 60)
{
    for (int round = 0; round < CLOSE_ROUNDS; round++) {
        pthread_t reader, writer;
        qioh_channel *pair[2];

        CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
        pthread_create(&reader, NULL, read_until_closed, pair[0]);
        pthread_create(&writer, NULL, write_until_closed, pair[1]);
        for (int i = 0; i < round % 7; i++) {
            sched_yield();
        }
        CHECK_INT(qioh_channel_close(pair[round & 1], NULL), ==, 0);
        pthread_join(writer, NULL);
        CHECK_INT(qioh_channel_close(pair[1], NULL), ==, 0);
        pthread_join(reader, NULL);
        qioh_channel_unref(pair[0]);
        qioh_channel_unref(pair[1]);
    }
}

/* ---- several that take a loop's events ---- */

typedef struct Takers {
    qioh_loop *loop;
    atomic_int released;
    atomic_bool stop;
} Takers;

static void *take_events(void *opaque)
{
    Takers *takers = opaque;
    qioh_event events[4];

    while (!atomic_load(&takers->stop)) {
        int32_t n;

        events[0].struct_size = sizeof(events[0]);
        n = qioh_loop_next_events(takers->loop, events, 4, 0, NULL);
        CHECK(n >= 0 || n == QIOH_E_BUSY);
        for (int32_t i = 0; i < n; i++) {
            CHECK_INT(events[i].cookie, ==, 12345);
            atomic_fetch_add(&takers->released, events[i].kind == QIOH_EV_RELEASED);
        }
    }
    return NULL;
}

/* What an event is made of is there until it is made, whoever takes the next ones. */
TEST(threads_take_turns_at_the_events_of_one_loop)
{
    enum { WATCHES = 800 };
    Takers takers = { .loop = qioh_loop_new(NULL) };
    pthread_t threads[3];

    for (int i = 0; i < 3; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, take_events, &takers), ==, 0);
    }
    for (int i = 0; i < WATCHES; i++) {
        qioh_watch *watch = qioh_watch_new_timer_queued(takers.loop, 0, 0, 12345, NULL);

        CHECK(watch != NULL);
        qioh_watch_unref(watch);
    }
    while (atomic_load(&takers.released) < WATCHES) {
        sched_yield();
    }
    atomic_store(&takers.stop, true);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    }
    qioh_loop_unref(takers.loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}
