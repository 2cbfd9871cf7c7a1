/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-handle.c: the handle table: tokens, pins, references, and what a token that is none gets.
 */
#include "abi/handle.h"
#include "runner.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t bits(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static void *token(uint64_t value)
{
    return (void *)(uintptr_t)value;
}

static qioh_channel *new_null(void)
{
    qioh_channel *channel = qioh_channel_new_null(NULL);

    CHECK_PTR(channel, !=, NULL);
    return channel;
}

TEST(token_has_53_bits_and_is_no_address)
{
    qioh_channel *channel = new_null();
    double number = (double)bits(channel);

    CHECK_INT(bits(channel) >> 53, ==, 0);
    CHECK_INT(bits(channel) & 1, ==, 1);
    CHECK_INT(bits(channel) >> 45, ==, QIOH_KIND_CHANNEL);
    CHECK((uint64_t)number == bits(channel));
    /* Above the user half of the address space. */
    CHECK(bits(channel) >= UINT64_C(1) << 47);
    qioh_channel_unref(channel);
}

TEST(null_handle_is_badhandle_and_names_the_kind)
{
    qioh_error error = { 0 };

    CHECK_INT(qioh_channel_get_kind(NULL, &error), ==, QIOH_E_BADHANDLE);
    CHECK_INT(error.code, ==, QIOH_E_BADHANDLE);
    CHECK_STR_HAS(error.message, "channel");
    CHECK_STR_HAS(error.message, "NULL");
    CHECK_INT(qioh_channel_get_kind(NULL, NULL), ==, QIOH_E_BADHANDLE);
    qioh_channel_unref(NULL);
}

TEST(stale_handle_is_badhandle_and_names_kind_and_slot)
{
    qioh_channel *channel = new_null();
    qioh_error error = { 0 };
    char slot[32];

    qioh_channel_unref(channel);
    CHECK_INT(qioh_channel_get_kind(channel, &error), ==, QIOH_E_BADHANDLE);
    snprintf(slot, sizeof(slot), "slot %u", abi_slot_index(bits(channel)));
    CHECK_STR_HAS(error.message, "channel");
    CHECK_STR_HAS(error.message, slot);
    qioh_channel_unref(channel);
    qioh_channel_unref(channel);
}

TEST(wrong_kind_is_wrongtype_and_names_both)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };

    CHECK_INT(qioh_channel_get_kind((qioh_channel *)loop, &error), ==, QIOH_E_WRONGTYPE);
    CHECK_STR_HAS(error.message, "channel");
    CHECK_STR_HAS(error.message, "loop");
    qioh_channel_unref((qioh_channel *)loop);       /* nothing happens */
    CHECK_INT(qioh_loop_wakeup(loop, NULL), ==, 0);
    qioh_loop_unref(loop);
}

TEST(every_changed_bit_of_a_live_token_is_refused)
{
    qioh_channel *channel = new_null();
    qioh_error error;

    for (int bit = 0; bit < 64; bit++) {
        void *changed = token(bits(channel) ^ UINT64_C(1) << bit);
        int32_t status;

        test_note("bit %d", bit);
        error = (qioh_error){ 0 };
        status = qioh_channel_get_kind(changed, &error);
        CHECK(status == QIOH_E_BADHANDLE || status == QIOH_E_WRONGTYPE);
        CHECK_INT(error.code, ==, status);
        CHECK(error.message[0] != '\0');
        qioh_channel_unref(changed);
    }
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_CHANNEL_NULL);
    qioh_channel_unref(channel);
}

TEST(references_share_a_token_and_count)
{
    qioh_channel *channel = new_null();

    CHECK_PTR(qioh_channel_ref(channel, NULL), ==, channel);
    qioh_channel_unref(channel);
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_CHANNEL_NULL);
    qioh_channel_unref(channel);
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_E_BADHANDLE);
    CHECK_PTR(qioh_channel_ref(channel, NULL), ==, NULL);
}

TEST(freed_slots_rest_before_they_are_used_again)
{
    enum { ROUNDS = 5000 };
    uint64_t *seen = calloc(ROUNDS, sizeof(*seen));
    int again = 0;

    for (int i = 0; i < ROUNDS; i++) {
        qioh_channel *channel = new_null();

        seen[i] = bits(channel);
        qioh_channel_unref(channel);
        for (int j = 0; j < i; j++) {
            CHECK(seen[j] != seen[i]);
        }
        again += i > 0 && abi_slot_index(seen[i]) == abi_slot_index(seen[i - 1]);
    }
    CHECK_INT(again, ==, 0);
    CHECK(abi_slot_index(seen[ROUNDS - 1]) < 2000);     /* and they are used again */
    free(seen);
}

/* A set whose descriptor shows whether the object is still there. */
static qioh_fdset *set_with_fd(int *fd)
{
    qioh_fdset *set = qioh_fdset_new(NULL);

    CHECK_INT(qioh_fdset_add(set, 0, NULL), ==, 0);
    *fd = qioh_fdset_get_fd(set, 0, NULL);
    CHECK_INT(*fd, >=, 3);
    return set;
}

TEST(a_pin_keeps_the_object_but_not_the_token)
{
    int fd;
    qioh_fdset *set = set_with_fd(&fd);
    int64_t alive = qioh_debug_live(QIOH_KIND_FDSET);
    void *object;

    CHECK_INT(abi_pin(set, QIOH_KIND_FDSET, &object, NULL), ==, 0);
    qioh_fdset_unref(set);
    CHECK_INT(qioh_debug_live(QIOH_KIND_FDSET), ==, alive - 1);
    CHECK_INT(qioh_fdset_count(set, NULL), ==, QIOH_E_BADHANDLE);
    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);
    abi_unpin(set);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
}

TEST(a_signal_handler_leaves_the_object_to_a_later_call)
{
    int fd;
    qioh_fdset *set = set_with_fd(&fd);
    qioh_channel *channel;
    void *object;

    CHECK_INT(abi_pin(set, QIOH_KIND_FDSET, &object, NULL), ==, 0);
    qioh_fdset_unref(set);
    abi_unpin_signal_safe(set);
    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);
    channel = new_null();
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    qioh_channel_unref(channel);
}

TEST(describe_tells_live_from_given_up_from_garbage)
{
    qioh_channel *channel = new_null();
    char text[160];

    CHECK_INT(qioh_debug_describe(bits(channel), text, sizeof(text), NULL), >, 0);
    CHECK_STR_HAS(text, "channel");
    CHECK_STR_HAS(text, "1 references");
    qioh_channel_unref(channel);
    CHECK_INT(qioh_debug_describe(bits(channel), text, sizeof(text), NULL), >, 0);
    CHECK_STR_HAS(text, "given up");
    CHECK_INT(qioh_debug_describe(12345678, text, sizeof(text), NULL), >, 0);
    CHECK_STR_HAS(text, "not a handle");
    CHECK_INT(qioh_debug_describe(0, text, sizeof(text), NULL), >, 0);
    CHECK_INT(qioh_debug_describe(0, NULL, 0, NULL), ==, (long long)strlen(text));
    CHECK_INT(qioh_debug_describe(0, text, 3, NULL), ==, QIOH_E_TRUNCATED);
    CHECK_INT(qioh_debug_describe(0, NULL, 3, NULL), ==, QIOH_E_INVAL);
}

TEST(live_counts_by_kind)
{
    int64_t channels = qioh_debug_live(QIOH_KIND_CHANNEL);
    int64_t all = qioh_debug_live(QIOH_KIND_ANY);
    qioh_channel *channel = new_null();

    CHECK_INT(qioh_debug_live(QIOH_KIND_CHANNEL), ==, channels + 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, all + 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_LOOP), ==, 0);
    CHECK_INT(qioh_debug_live(3), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_debug_live(UINT32_MAX), ==, QIOH_E_INVAL);
    qioh_channel_unref(channel);
    CHECK_INT(qioh_debug_live(QIOH_KIND_CHANNEL), ==, channels);
}

/* ---- no slot left ---- */

static int32_t never(qioh_watch *watch, void *user_data, qioh_error *error)
{
    return 1;
}

static void count(void *user_data)
{
    (*(int *)user_data)++;
}

static void fails_with_limit(int fd, qioh_loop *loop)
{
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    int releases = 0;

    CHECK_PTR(qioh_channel_new_null(&error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_LIMIT);
    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, QIOH_E_LIMIT);
    CHECK_PTR(qioh_channel_new_fd(fd, NULL), ==, NULL);
    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);       /* still the caller's */
    CHECK_PTR(qioh_loop_new(NULL), ==, NULL);
    CHECK_PTR(qioh_fdset_new(NULL), ==, NULL);
    CHECK_PTR(qioh_options_new(NULL), ==, NULL);
    CHECK_PTR(qioh_listener_open_uri("tcp://127.0.0.1:0", NULL, NULL), ==, NULL);
    CHECK_PTR(qioh_watch_new_timer(loop, 0, 0, never, &releases, count, NULL), ==, NULL);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(releases, ==, 1);
}

TEST(a_full_table_is_an_error_and_nothing_is_lost, .timeout_s = 60)
{
    void **handles = calloc(ABI_SLOTS, sizeof(*handles));
    qioh_loop *loop = qioh_loop_new(NULL);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    uint32_t n = 0;

    /* A kind without objects as yet: the slots alone. */
    while ((handles[n] = abi_handle_new(QIOH_KIND_CLOSURE, &n, 1, NULL))) {
        n++;
    }
    CHECK_INT(n, ==, ABI_SLOTS - 1);
    fails_with_limit(fd, loop);
    while (n > 0) {
        abi_handle_unref(handles[--n], QIOH_KIND_CLOSURE);
    }
    qioh_channel_unref(new_null());
    qioh_loop_unref(loop);
    close(fd);
    free(handles);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- random handles ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A call that cannot wait, with a handle of any value. */
static int64_t any_call(unsigned which, void *handle, qioh_error *error)
{
    qioh_iovec iov;
    int32_t number;
    uint32_t word;
    char buf[64];
    qioh_event event = { 0 };

    iov = (qioh_iovec){ buf, sizeof(buf) };
    switch (which % 32) {
    case 0: return qioh_channel_try_read(handle, buf, sizeof(buf), error);
    case 1: return qioh_channel_try_write(handle, "x", 1, error);
    case 2: return qioh_channel_readv(handle, &iov, 1, QIOH_DONTWAIT, NULL, error);
    case 3: return qioh_channel_get_kind(handle, error);
    case 4: return qioh_channel_get_name(handle, buf, sizeof(buf), error);
    case 5: return qioh_channel_set_name(handle, "n", error);
    case 6: return qioh_channel_wait(handle, QIOH_IN, 0, error);
    case 7: return qioh_channel_get_poll(handle, QIOH_IN, &number, &word, error);
    case 8: return qioh_channel_get_fd(handle, error);
    case 9: return qioh_channel_get_pending(handle, error);
    case 10: return qioh_channel_peek(handle, buf, 4, QIOH_DONTWAIT, error);
    case 11: return qioh_channel_seek(handle, 0, 0, error);
    case 12: return qioh_channel_shutdown(handle, QIOH_SHUTDOWN_BOTH, error);
    case 13: return qioh_channel_flush(handle, error);
    case 14: return qioh_channel_get_peer_address(handle, buf, sizeof(buf), error);
    case 15: return qioh_channel_cancel(handle, QIOH_IN, error);
    case 16: return qioh_channel_get_exit_status(handle, &number, &number, error);
    case 17: return qioh_listener_get_address(handle, 0, buf, sizeof(buf), error);
    case 18: return qioh_listener_get_fd(handle, 0, error);
    case 19: return qioh_loop_dispatch(handle, 0, error);
    case 20: return qioh_loop_next_events(handle, &event, 1, 0, error);
    case 21: return qioh_loop_wakeup(handle, error);
    case 22: return qioh_loop_get_fd(handle, error);
    case 23: return qioh_watch_remove(handle, error);
    case 24: return qioh_fdset_count(handle, error);
    case 25: return qioh_fdset_get_fd(handle, 0, error);
    case 26: return qioh_options_set_str(handle, "name", "x", error);
    case 27: return qioh_debug_describe(bits(handle), buf, sizeof(buf), error);
    case 28: return qioh_channel_close(handle, error);
    case 29: return qioh_loop_wait(handle, 0, error);
    case 30: return qioh_channel_ref(handle, error) ? 0 : QIOH_E_BADHANDLE;
    default: return qioh_channel_get_size(handle, error);
    }
}

/* Near misses of live and of given-up tokens, and plain noise. */
static void *any_handle(void *const *known, size_t n)
{
    uint64_t value = random_bits();
    uint64_t near = bits(known[value % n]);

    switch (value >> 60) {
    case 0: case 1: case 2:
        return token(random_bits());
    case 3: case 4: case 5:
        return token(random_bits() & ((UINT64_C(1) << 53) - 1));
    case 6: case 7: case 8: case 9:
        return token(near ^ UINT64_C(1) << (value >> 8 & 63));
    case 10: case 11:
        return token(near ^ (random_bits() & 0xffffff) << 21);
    default:
        return token(near);
    }
}

TEST(a_million_calls_with_any_handle_do_no_harm, .timeout_s = 60)
{
    void *known[6] = {
        qioh_channel_new_null(NULL), qioh_channel_new_buffer("data", 4, NULL),
        qioh_loop_new(NULL), qioh_fdset_new(NULL), qioh_options_new(NULL), new_null(),
    };
    void *channels[2] = { known[0], known[1] };

    qioh_channel_unref(known[5]);
    for (int i = 0; i < 1000000; i++) {
        void *handle = any_handle(known, 6);
        qioh_error error = { .code = 1 };
        unsigned which = (unsigned)(random_bits() >> 11);
        int64_t result = any_call(which, handle, i & 1 ? &error : NULL);

        if (which % 32 == 30 && result == 0) {
            qioh_channel_unref(handle);     /* the reference that it took */
        }
        CHECK(result >= QIOH_E_TLS_TRUNCATED);
        if ((i & 1) && result < 0 && result != QIOH_E_AGAIN) {
            CHECK_INT(error.code, <, 0);
            CHECK(error.message[0] != '\0');
        }
    }
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_close(channels[i], NULL), ==, 0);
        qioh_channel_unref(channels[i]);
    }
    qioh_loop_unref(known[2]);
    qioh_fdset_unref(known[3]);
    qioh_options_unref(known[4]);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- threads ---- */

enum { RACE_THREADS = 4, RACE_ROUNDS = 300 };

static qioh_channel *_Atomic raced;
static atomic_int ready_count;

static void *race(void *opaque)
{
    unsigned seed = (unsigned)(uintptr_t)opaque;

    for (int round = 1; round <= RACE_ROUNDS; round++) {
        qioh_channel *channel;
        char buf[16];

        /* All start on the same handle at about the same moment. */
        atomic_fetch_add(&ready_count, 1);
        while (atomic_load(&ready_count) < round * (RACE_THREADS + 1)) {
            sched_yield();
        }
        channel = atomic_load(&raced);
        for (int i = 0; i < 8; i++) {
            int64_t n = 0;

            switch ((seed + (unsigned)i) % 5) {
            case 0:
                n = qioh_channel_try_read(channel, buf, sizeof(buf), NULL);
                break;
            case 1:
                if (qioh_channel_ref(channel, NULL)) {
                    qioh_channel_unref(channel);
                }
                break;
            case 2:
                n = qioh_channel_get_name(channel, buf, sizeof(buf), NULL);
                break;
            case 3:
                n = qioh_channel_close(channel, NULL);
                break;
            default:
                n = qioh_channel_try_write(channel, "x", 1, NULL);
                break;
            }
            CHECK(n >= 0 || n == QIOH_E_CLOSED || n == QIOH_E_BADHANDLE || n == QIOH_E_BUSY);
        }
        seed += 3;
        qioh_channel_unref(channel);    /* each has one reference to give up */
    }
    return NULL;
}

TEST(threads_that_use_close_and_unref_one_handle_at_once, .timeout_s = 60)
{
    pthread_t threads[RACE_THREADS];

    atomic_store(&ready_count, 0);
    for (int i = 0; i < RACE_THREADS; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, race, (void *)(uintptr_t)i), ==, 0);
    }
    for (int round = 1; round <= RACE_ROUNDS; round++) {
        qioh_channel *channel = qioh_channel_new_buffer("some bytes", 10, NULL);

        for (int i = 1; i < RACE_THREADS; i++) {
            CHECK_PTR(qioh_channel_ref(channel, NULL), ==, channel);
        }
        while (atomic_load(&ready_count) < round * (RACE_THREADS + 1) - 1) {
            sched_yield();
        }
        atomic_store(&raced, channel);
        atomic_fetch_add(&ready_count, 1);
    }
    for (int i = 0; i < RACE_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}
