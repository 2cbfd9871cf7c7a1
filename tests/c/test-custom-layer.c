/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-custom-layer.c: TLS, WebSocket and relays over custom channels: bytes, readiness, failures
 * that come up as the op told them, and who may wait.
 */
#include <poll.h>

#include "custom-util.h"
#include "one-thread.h"

enum { CLIENT, SERVER, LAYERS_MAX = 2 };

/* ---- stacks ---- */

static const char *const stacks[] = { "t", "w", "tw", "wt", "tt" };

typedef struct Stack {
    CustomPair pair;
    qioh_creds *creds[2];
    qioh_channel *all[2][LAYERS_MAX];
    qioh_channel *top[2];
} Stack;

static qioh_channel *put(Stack *stack, int side, char kind)
{
    qioh_channel *below = stack->top[side];

    if (kind == 't') {
        return (side ? qioh_channel_new_tls_server : qioh_channel_new_tls_client)(
            below, stack->creds[side], NULL, NULL);
    }
    return (side ? qioh_channel_new_ws_server : qioh_channel_new_ws_client)(below, NULL, NULL);
}

/* Both ends in turns; nothing waits. */
static void shake(Stack *stack)
{
    int32_t result[2] = { QIOH_E_TIMEOUT, QIOH_E_TIMEOUT };

    for (int turn = 0; turn < 50 && (result[0] || result[1]); turn++) {
        for (int i = 0; i < 2; i++) {
            if (result[i] == QIOH_E_TIMEOUT) {
                result[i] = qioh_channel_handshake(stack->top[i], 0, NULL);
            }
        }
    }
    CHECK_INT(result[0], ==, 0);
    CHECK_INT(result[1], ==, 0);
}

static void stack_make(Stack *stack, const char *kinds, CustomWay way, qioh_loop *loop)
{
    memset(stack, 0, sizeof(*stack));
    custom_pair_make(&stack->pair, way, loop);
    for (int i = 0; i < 2; i++) {
        stack->creds[i] = qioh_creds_new_anon(NULL, i == SERVER, NULL);
        stack->top[i] = stack->pair.ends[i].channel;
    }
    for (int layer = 0; kinds[layer]; layer++) {
        for (int i = 0; i < 2; i++) {
            stack->top[i] = stack->all[i][layer] = put(stack, i, kinds[layer]);
            CHECK_PTR(stack->top[i], !=, NULL);
        }
        shake(stack);
    }
}

static void stack_end(Stack *stack)
{
    for (int i = 0; i < 2; i++) {
        for (int layer = LAYERS_MAX - 1; layer >= 0; layer--) {
            qioh_channel_unref(stack->all[i][layer]);
        }
        qioh_creds_unref(stack->creds[i]);
    }
    custom_pair_end(&stack->pair);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

static void each_stack(void (*run)(Stack *stack))
{
    for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
        for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
            Stack stack;

            test_note("%s over %s", stacks[i], custom_ways[way]);
            stack_make(&stack, stacks[i], way, NULL);
            run(&stack);
            stack_end(&stack);
        }
    }
}

static void bytes_pass(Stack *stack)
{
    char buf[16];

    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_wait(stack->top[!i], QIOH_IN, 0, NULL), ==, 0);
        CHECK_INT(qioh_channel_write(stack->top[i], "question", 8, NULL), ==, 8);
        CHECK_INT(qioh_channel_wait(stack->top[!i], QIOH_IN, 0, NULL), ==, QIOH_IN);
        CHECK_INT(qioh_channel_read_all(stack->top[!i], buf, 8, NULL), ==, 0);
        CHECK_MEM(buf, "question", 8);
        CHECK_INT(qioh_channel_wait(stack->top[!i], QIOH_IN, 0, NULL), ==, 0);
    }
    CHECK_INT(qioh_channel_read(stack->pair.ends[0].channel, buf, 1, NULL), ==, QIOH_E_BUSY);
}

TEST(bytes_pass_through_layers)
{
    each_stack(bytes_pass);
}

/* How a foreign loop waits for the layer. */
static void poll_is_right(Stack *stack)
{
    qioh_channel *top = stack->top[CLIENT];
    bool socket = stack->pair.way == CUSTOM_SOCKET;
    uint32_t events = 0;
    char buf[1];
    int32_t fd = -1;

    CHECK_INT(qioh_channel_get_poll(top, QIOH_IN, &fd, &events, NULL), ==,
              socket ? 0 : QIOH_E_NOTSUP);
    if (socket) {
        CHECK_INT(fd, ==, stack->pair.ends[CLIENT].fd);
        CHECK_INT(events, ==, QIOH_IN);
        CHECK_INT(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0), ==, 0);
    }
    CHECK_INT(qioh_channel_write(stack->top[SERVER], "x", 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_get_poll(top, QIOH_IN, &fd, &events, NULL), ==, 1);
    CHECK_INT(qioh_channel_try_read(top, buf, 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_get_poll(top, QIOH_IN, &fd, &events, NULL), ==,
              socket ? 0 : QIOH_E_NOTSUP);
}

TEST(a_layer_is_polled_as_what_is_below)
{
    each_stack(poll_is_right);
}

/* ---- failures ---- */

static void failures_come_up(Stack *stack)
{
    CustomEnd *end = &stack->pair.ends[CLIENT];
    qioh_channel *top = stack->top[CLIENT];
    qioh_error error = { 0 };
    char buf[4];

    end->fail_read = QIOH_E_CALLBACK;
    if (stack->pair.way != CUSTOM_SOCKET) {
        CHECK_INT(qioh_channel_notify(end->channel, QIOH_IN, NULL), ==, 0);
    }
    CHECK_INT(qioh_channel_read(top, buf, sizeof(buf), &error), ==, QIOH_E_CALLBACK);
    CHECK_INT(error.code, ==, QIOH_E_CALLBACK);
    CHECK_INT(error.number, ==, 4711);
    CHECK_STR_HAS(error.message, "the test refuses to read");
    end->fail_read = 0;
}

TEST(a_failure_of_a_read_comes_up_as_it_was_told)
{
    each_stack(failures_come_up);
}

static void write_failures_come_up(Stack *stack)
{
    CustomEnd *end = &stack->pair.ends[SERVER];
    qioh_error error = { 0 };
    int64_t n;

    end->fail_write = QIOH_E_CALLBACK;
    n = qioh_channel_write(stack->top[SERVER], "x", 1, &error);
    if (n >= 0) {       /* accepted by a layer, and told by the next call */
        n = qioh_channel_write(stack->top[SERVER], "x", 1, &error);
    }
    CHECK_INT(n, ==, QIOH_E_CALLBACK);
    CHECK_INT(error.number, ==, 4711);
    CHECK_STR_HAS(error.message, "the test refuses to write");
    end->fail_write = 0;
}

TEST(a_failure_of_a_write_comes_up_as_it_was_told)
{
    each_stack(write_failures_come_up);
}

TEST(a_failure_in_a_handshake_comes_up)
{
    for (int kind = 0; kind < 2; kind++) {
        for (int fails = 0; fails < 2; fails++) {
            Stack stack = { 0 };
            qioh_error error = { 0 };

            test_note("%s, %s", kind ? "ws" : "tls", fails ? "write" : "read");
            custom_pair_make(&stack.pair, CUSTOM_MEMORY, NULL);
            stack.creds[CLIENT] = qioh_creds_new_anon(NULL, 0, NULL);
            stack.top[CLIENT] = stack.pair.ends[CLIENT].channel;
            stack.all[CLIENT][0] = put(&stack, CLIENT, kind ? 'w' : 't');
            *(fails ? &stack.pair.ends[CLIENT].fail_write : &stack.pair.ends[CLIENT].fail_read) =
                QIOH_E_CALLBACK;
            CHECK_INT(qioh_channel_handshake(stack.all[CLIENT][0], 1000, &error), ==,
                      QIOH_E_CALLBACK);
            CHECK_INT(error.number, ==, 4711);
            CHECK_STR_HAS(error.message, "the test refuses to");
            stack_end(&stack);
        }
    }
}

TEST(a_failure_in_a_task_is_its_error)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };
    Stack stack = { 0 };
    qioh_task *task;

    custom_pair_make(&stack.pair, CUSTOM_ASKED, NULL);
    stack.creds[CLIENT] = qioh_creds_new_anon(NULL, 0, NULL);
    stack.top[CLIENT] = stack.pair.ends[CLIENT].channel;
    stack.all[CLIENT][0] = put(&stack, CLIENT, 't');
    stack.pair.ends[CLIENT].fail_read = QIOH_E_CALLBACK;
    task = qioh_task_start_handshake(stack.all[CLIENT][0], 5000, loop, 1, NULL);
    CHECK_INT(qioh_task_wait(task, 20000, NULL), ==, 1);
    CHECK_INT(qioh_task_status(task, &error), ==, QIOH_E_CALLBACK);
    CHECK_INT(error.number, ==, 4711);
    CHECK_STR_HAS(error.message, "the test refuses to read");
    qioh_task_unref(task);
    qioh_loop_unref(loop);
    stack_end(&stack);
}

/* ---- relays ---- */

static void check_relay(CustomWay way, int32_t fail)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };
    CustomPair pairs[2];
    uint64_t there = 0, back = 0;
    qioh_task *task;
    char buf[8];

    for (int i = 0; i < 2; i++) {
        custom_pair_make(&pairs[i], way, NULL);
    }
    task = qioh_task_start_relay(pairs[0].ends[1].channel, pairs[1].ends[0].channel, NULL, loop, 0,
                                 NULL);
    CHECK_INT(qioh_channel_write(pairs[0].ends[0].channel, "question", 8, NULL), ==, 8);
    CHECK_INT(qioh_task_wait(task, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(pairs[1].ends[1].channel, buf, 8, NULL), ==, 0);
    CHECK_INT(qioh_channel_write(pairs[1].ends[1].channel, "yes", 3, NULL), ==, 3);
    CHECK_INT(qioh_task_wait(task, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(pairs[0].ends[0].channel, buf, 3, NULL), ==, 0);
    pairs[0].ends[1].fail_read = fail;
    CHECK_INT(qioh_channel_shutdown(pairs[0].ends[0].channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(pairs[1].ends[1].channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_task_wait(task, 20000, NULL), ==, 1);
    CHECK_INT(qioh_task_status(task, &error), ==, fail);
    if (fail) {
        CHECK_INT(error.number, ==, 4711);
        CHECK_STR_HAS(error.message, "the test refuses to read");
    }
    CHECK_INT(qioh_task_get_counts(task, &there, &back, NULL), ==, 0);
    CHECK_INT(there, ==, 8);
    CHECK_INT(back, ==, 3);
    qioh_task_unref(task);
    qioh_loop_unref(loop);
    for (int i = 0; i < 2; i++) {
        custom_pair_end(&pairs[i]);
    }
}

TEST(a_relay_copies_between_custom_channels)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        test_note("%s", custom_ways[way]);
        check_relay(way, 0);
        check_relay(way, QIOH_E_CALLBACK);
    }
}

/* ---- waiting ---- */

static int32_t wait_in_dispatch(qioh_loop *loop, void *user_data, qioh_error *error)
{
    Stack *stack = user_data;
    bool socket = stack->pair.way == CUSTOM_SOCKET;
    char buf[4];

    CHECK_INT(qioh_channel_wait(stack->top[CLIENT], QIOH_IN, 1, NULL), ==,
              socket ? 0 : QIOH_E_BUSY);
    CHECK_INT(qioh_channel_set_timeout(stack->top[CLIENT], 1, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(stack->top[CLIENT], buf, 4, NULL), ==,
              socket ? QIOH_E_TIMEOUT : QIOH_E_BUSY);
    return 0;
}

TEST(who_dispatches_the_loop_cannot_wait_for_a_layer_either)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        Stack stack;

        test_note("%s", custom_ways[way]);
        stack_make(&stack, "wt", way, loop);
        CHECK_INT(qioh_loop_defer(loop, wait_in_dispatch, &stack, NULL, NULL), ==, 0);
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 1);
        qioh_loop_unref(loop);
        stack_end(&stack);
    }
}

static int32_t handshake_in_dispatch(qioh_loop *loop, void *user_data, qioh_error *error)
{
    CHECK_INT(qioh_channel_handshake(user_data, 0, NULL), ==, QIOH_E_TIMEOUT);
    CHECK_INT(qioh_channel_handshake(user_data, 1000, NULL), ==, QIOH_E_BUSY);
    return 0;
}

TEST(who_dispatches_the_loop_cannot_wait_for_a_handshake)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    Stack stack = { 0 };

    custom_pair_make(&stack.pair, CUSTOM_MEMORY, loop);
    stack.top[CLIENT] = stack.pair.ends[CLIENT].channel;
    stack.all[CLIENT][0] = put(&stack, CLIENT, 'w');
    CHECK_INT(qioh_loop_defer(loop, handshake_in_dispatch, stack.all[CLIENT][0], NULL, NULL), ==,
              0);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 1);
    qioh_loop_unref(loop);
    stack_end(&stack);
}

typedef enum Calls { BY_READ, BY_WAIT, BY_WATCH } Calls;

/* What calls the op below the client's layer that closes the layer. */
static void call_op(qioh_channel *top, Calls calls)
{
    qioh_event event = { .struct_size = sizeof(event) };
    qioh_loop *loop;
    qioh_watch *watch;
    char buf[1];

    if (calls == BY_READ) {
        qioh_channel_read(top, buf, 1, NULL);
    } else if (calls == BY_WAIT) {
        qioh_channel_wait(top, QIOH_IN, 0, NULL);
    } else {
        loop = qioh_loop_new(NULL);
        watch = qioh_watch_new_queued(loop, top, QIOH_IN, 1, NULL);
        qioh_loop_next_events(loop, &event, 1, 0, NULL);
        qioh_watch_unref(watch);
        qioh_loop_unref(loop);
    }
}

static void close_inside(const char *kind, CustomWay way, Calls calls)
{
    Stack stack;
    char buf[4];

    test_note("%s over %s, %d", kind, custom_ways[way], calls);
    stack_make(&stack, kind, way, NULL);
    CHECK_INT(qioh_channel_set_blocking(stack.top[CLIENT], 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_write(stack.top[SERVER], "x", 1, NULL), ==, 1);
    stack.pair.ends[CLIENT].victim = stack.top[CLIENT];
    call_op(stack.top[CLIENT], calls);
    CHECK_PTR(stack.pair.ends[CLIENT].victim, ==, NULL);
    CHECK_INT(qioh_channel_read(stack.top[CLIENT], buf, 1, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_read(stack.top[SERVER], buf, 4, NULL), ==, 0);
    stack_end(&stack);
}

/* The call that came to the op puts the close off until it is out. */
TEST(a_layer_closed_inside_of_an_op_below_still_says_goodbye)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        for (Calls calls = BY_READ; calls <= BY_WATCH; calls++) {
            close_inside("t", way, calls);
            close_inside("w", way, calls);
            close_inside("wt", way, calls);
        }
    }
}

static void read_rest(void *opaque)
{
    char buf[5000];
    int64_t n;

    while ((n = qioh_channel_read(opaque, buf, sizeof(buf), NULL)) > 0) {
    }
    CHECK_INT(n, ==, 0);
}

static void bulk_passes(Stack *stack)
{
    static char big[200000];

    one_thread_start(read_rest, stack->top[SERVER]);
    CHECK_INT(qioh_channel_write(stack->top[CLIENT], big, sizeof(big), NULL), ==, sizeof(big));
    CHECK_INT(qioh_channel_shutdown(stack->top[CLIENT], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_flush(stack->top[CLIENT], NULL), ==, 0);
    one_thread_wait();
}

TEST(bulk_passes_between_two_threads)
{
    each_stack(bulk_passes);
}

TEST(closing_a_layer_or_what_is_below_ends_both)
{
    for (int from_below = 0; from_below < 2; from_below++) {
        Stack stack;

        stack_make(&stack, "tw", CUSTOM_MEMORY, NULL);
        CHECK_INT(qioh_channel_close(from_below ? stack.pair.ends[CLIENT].channel
                                                : stack.top[CLIENT], NULL), ==, 0);
        CHECK_INT(stack.pair.ends[CLIENT].closes, ==, 1);
        CHECK_INT(qioh_channel_read(stack.top[CLIENT], NULL, 0, NULL), ==, QIOH_E_CLOSED);
        CHECK_INT(qioh_channel_read(stack.pair.ends[CLIENT].channel, NULL, 0, NULL), ==,
                  QIOH_E_CLOSED);
        stack_end(&stack);
    }
}

TEST(a_layer_taken_off_leaves_the_custom_channel)
{
    qioh_channel *below;
    char buf[4];
    Stack stack;

    stack_make(&stack, "t", CUSTOM_ASKED, NULL);
    /* The other side answers the goodbye when it reads. */
    CHECK_PTR(qioh_channel_take_transport(stack.top[CLIENT], 0, NULL), ==, NULL);
    CHECK_INT(qioh_channel_read(stack.top[SERVER], buf, 4, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(stack.top[SERVER], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    below = qioh_channel_take_transport(stack.top[CLIENT], 1000, NULL);
    CHECK_PTR(below, ==, stack.pair.ends[CLIENT].channel);
    CHECK_INT(qioh_channel_get_kind(below, NULL), ==, QIOH_CHANNEL_CUSTOM);
    qioh_channel_unref(below);
    stack_end(&stack);
}

/* ---- closing in the middle ---- */

static qioh_channel *closed_in_read;

static int64_t close_layer_and_read(void *user_data, const qioh_iovec *iov, size_t niov,
                                    uint32_t flags, qioh_fdset *fds, qioh_error *error)
{
    if (closed_in_read) {
        CHECK_INT(qioh_channel_close(closed_in_read, NULL), ==, 0);
    }
    return QIOH_E_AGAIN;
}

static int64_t accept_all(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                          qioh_fdset *fds, qioh_error *error)
{
    int64_t total = 0;

    for (size_t i = 0; i < niov; i++) {
        total += (int64_t)iov[i].len;
    }
    return total;
}

/* The look of a watch holds the layer's lock and counts as nobody inside; what it holds open, the
 * runner sees. */
TEST(a_layer_closed_by_what_is_below_keeps_no_descriptor)
{
    const qioh_channel_ops ops = {
        .struct_size = sizeof(ops), .readv = close_layer_and_read, .writev = accept_all,
    };

    for (int kind = 0; kind < 2; kind++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        qioh_channel *below = qioh_channel_new_custom(NULL, &ops, NULL, NULL);
        qioh_creds *creds = qioh_creds_new_anon(NULL, 0, NULL);
        qioh_channel *top = kind ? qioh_channel_new_ws_client(below, NULL, NULL)
                                 : qioh_channel_new_tls_client(below, creds, NULL, NULL);
        qioh_watch *watch = qioh_watch_new_queued(loop, top, QIOH_IN, 1, NULL);
        qioh_event event = { 0 };

        test_note("%s", kind ? "ws" : "tls");
        CHECK_PTR(watch, !=, NULL);
        CHECK_INT(qioh_loop_next_events(loop, &event, 1, 0, NULL), ==, 0);
        closed_in_read = top;
        CHECK_INT(qioh_channel_notify(below, QIOH_IN, NULL), ==, 0);
        qioh_loop_next_events(loop, &event, 1, 0, NULL);
        closed_in_read = NULL;
        qioh_watch_unref(watch);
        CHECK_INT(qioh_channel_read(top, NULL, 0, NULL), ==, QIOH_E_CLOSED);
        qioh_channel_unref(top);
        qioh_channel_unref(below);
        qioh_creds_unref(creds);
        qioh_loop_unref(loop);
    }
}
