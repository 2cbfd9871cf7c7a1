/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-layer.c: handles of layers where threads, loops and forked children meet: what a child
 * that gives them up may not do to the parent's connection, watches on the top of a stack, and
 * calls that wait in it while another thread ends it.
 *
 * Owns: a WebSocket over TLS on two connected sockets, with anonymous credentials.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/handle.h"
#include "one-thread.h"

enum { CLIENT, SERVER };

typedef struct Stack {
    qioh_creds *creds[2];
    qioh_channel *sockets[2], *tls[2], *ws[2];
} Stack;

/* Both ends in turns, from below to above; nothing waits. */
static void shake(qioh_channel *const *ends)
{
    int32_t result[2] = { QIOH_E_TIMEOUT, QIOH_E_TIMEOUT };

    for (int turn = 0; turn < 50 && (result[0] || result[1]); turn++) {
        for (int i = 0; i < 2; i++) {
            if (result[i] == QIOH_E_TIMEOUT) {
                result[i] = qioh_channel_handshake(ends[i], 0, NULL);
            }
        }
    }
    CHECK_INT(result[0], ==, 0);
    CHECK_INT(result[1], ==, 0);
}

static void stack_make(Stack *stack)
{
    CHECK_INT(qioh_channel_new_pair(stack->sockets, NULL), ==, 0);
    for (int i = 0; i < 2; i++) {
        stack->creds[i] = qioh_creds_new_anon(NULL, i == SERVER, NULL);
        CHECK(stack->creds[i] != NULL);
    }
    stack->tls[CLIENT] = qioh_channel_new_tls_client(stack->sockets[CLIENT], stack->creds[CLIENT],
                                                     NULL, NULL);
    stack->tls[SERVER] = qioh_channel_new_tls_server(stack->sockets[SERVER], stack->creds[SERVER],
                                                     NULL, NULL);
    shake(stack->tls);
    stack->ws[CLIENT] = qioh_channel_new_ws_client(stack->tls[CLIENT], NULL, NULL);
    stack->ws[SERVER] = qioh_channel_new_ws_server(stack->tls[SERVER], NULL, NULL);
    shake(stack->ws);
}

static void stack_give_up(Stack *stack)
{
    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(stack->ws[i]);
        qioh_channel_unref(stack->tls[i]);
        qioh_channel_unref(stack->sockets[i]);
        qioh_creds_unref(stack->creds[i]);
    }
}

static void stack_end(Stack *stack)
{
    stack_give_up(stack);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

static void check_talk(Stack *stack)
{
    for (int i = 0; i < 2; i++) {
        char buf[8];

        CHECK_INT(qioh_channel_write_all(stack->ws[i], "still us", 8, NULL), ==, 0);
        CHECK_INT(qioh_channel_read_all(stack->ws[!i], buf, 8, NULL), ==, 0);
        CHECK_MEM(buf, "still us", 8);
    }
}

/* ---- a forked child ---- */

static void in_child(void (*fn)(void *), void *opaque)
{
    pid_t pid = fork();
    int status;

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        alarm(20);
        fn(opaque);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

static void check_forked(void *opaque)
{
    Stack *stack = opaque;
    uint32_t opcode, fin;
    char buf[8];

    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_read(stack->ws[i], buf, 8, NULL), ==, QIOH_E_FORKED);
        CHECK_INT(qioh_channel_handshake(stack->tls[i], 0, NULL), ==, QIOH_E_FORKED);
        CHECK_INT(qioh_channel_tls_rekey(stack->tls[i], NULL), ==, QIOH_E_FORKED);
        CHECK_INT(qioh_channel_tls_get_str(stack->tls[i], "version", buf, 8, NULL), ==,
                  QIOH_E_FORKED);
        CHECK_INT(qioh_channel_ws_recv(stack->ws[i], buf, 8, 0, &opcode, &fin, NULL), ==,
                  QIOH_E_FORKED);
        CHECK_INT(qioh_channel_ws_close(stack->ws[i], 1000, NULL, NULL), ==, QIOH_E_FORKED);
        CHECK_PTR(qioh_channel_get_transport(stack->ws[i], NULL), ==, NULL);
        CHECK_PTR(qioh_channel_take_transport(stack->ws[i], 0, NULL), ==, NULL);
        CHECK_PTR(qioh_channel_new_tls_client(stack->sockets[i], stack->creds[i], NULL, NULL), ==,
                  NULL);
        CHECK_INT(qioh_creds_set_authorize(stack->creds[i], NULL, NULL, NULL, NULL), ==,
                  QIOH_E_FORKED);
    }
}

static void give_up_from_the_top(void *opaque)
{
    Stack *stack = opaque;
    int fds[2];

    for (int i = 0; i < 2; i++) {
        fds[i] = qioh_channel_get_fd(stack->sockets[i], NULL);
        CHECK_INT(fds[i], >=, 0);
    }
    stack_give_up(stack);
    for (int i = 0; i < 2; i++) {
        CHECK_ERRNO(fcntl(fds[i], F_GETFD), EBADF);
    }
}

static void give_up_the_top_alone(void *opaque)
{
    Stack *stack = opaque;

    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(stack->ws[i]);
    }
}

TEST(a_child_gets_forked_for_everything)
{
    Stack stack;

    stack_make(&stack);
    in_child(check_forked, &stack);
    check_talk(&stack);
    stack_end(&stack);
}

TEST(giving_layers_up_in_the_child_says_nothing_to_the_peer)
{
    Stack stack;

    stack_make(&stack);
    in_child(give_up_from_the_top, &stack);
    check_talk(&stack);
    in_child(give_up_the_top_alone, &stack);
    check_talk(&stack);
    stack_end(&stack);
}

static void give_up_the_only_handle(void *opaque)
{
    qioh_channel_unref(opaque);
}

/* As an opened stack is: nothing but the top has a handle, so that all of it goes with that. */
TEST(a_stack_with_one_handle_closes_its_copy_in_the_child)
{
    Stack stack;

    stack_make(&stack);
    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(stack.tls[i]);
        qioh_channel_unref(stack.sockets[i]);
        stack.tls[i] = stack.sockets[i] = NULL;
    }
    in_child(give_up_the_only_handle, stack.ws[CLIENT]);
    in_child(give_up_the_only_handle, stack.ws[SERVER]);
    check_talk(&stack);
    stack_end(&stack);
}

/* ---- loops ---- */

static int32_t count_and_read(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                              void *user_data, qioh_error *error)
{
    char byte;

    ++*(int *)user_data;
    if (condition & QIOH_NVAL) {
        return 0;
    }
    return qioh_channel_try_read(channel, &byte, 1, error) == 1 ? 1 : QIOH_E_CALLBACK;
}

TEST(a_watch_tells_of_what_is_decoded)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_watch *watch;
    int calls = 0;
    Stack stack;

    stack_make(&stack);
    watch = qioh_watch_new(loop, stack.ws[SERVER], QIOH_IN, count_and_read, &calls, NULL, NULL);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(stack.ws[CLIENT], "12345", 5, NULL), ==, 0);
    while (calls < 5) {
        CHECK_INT(qioh_loop_dispatch(loop, 5000, NULL), ==, 1);
    }
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_close(stack.sockets[SERVER], NULL), ==, 0);
    CHECK_INT(qioh_loop_dispatch(loop, 5000, NULL), ==, 1);
    CHECK_INT(calls, ==, 6);
    qioh_watch_unref(watch);
    qioh_loop_unref(loop);
    stack_end(&stack);
}

/* ---- threads ---- */

typedef struct Waiter {
    qioh_channel *channel;
    int64_t (*wait)(qioh_channel *channel);
    int64_t result;
} Waiter;

static int64_t wait_read(qioh_channel *channel)
{
    char byte;

    return qioh_channel_read(channel, &byte, 1, NULL);
}

static int64_t wait_handshake(qioh_channel *channel)
{
    return qioh_channel_handshake(channel, -1, NULL);
}

static int64_t wait_take(qioh_channel *channel)
{
    qioh_error error = { 0 };
    qioh_channel *transport = qioh_channel_take_transport(channel, -1, &error);

    CHECK_PTR(transport, ==, NULL);
    return error.code;
}

static void waiter_run(void *opaque)
{
    Waiter *waiter = opaque;

    waiter->result = waiter->wait(waiter->channel);
}

/* Closes a channel while another thread is in a call that nothing else will end. */
static void check_ended(qioh_channel *channel, qioh_channel *closed,
                        int64_t (*wait)(qioh_channel *channel))
{
    Waiter waiter = { .channel = channel, .wait = wait };
    uint32_t refs, pins;

    one_thread_start(waiter_run, &waiter);
    do {
        sched_yield();
        CHECK(abi_handle_look((uint64_t)(uintptr_t)channel, &refs, &pins));
    } while (pins == 0);
    CHECK_INT(qioh_channel_close(closed, NULL), ==, 0);
    one_thread_wait();
    /* CLOSED: the close was there before the call began to wait. */
    if (waiter.result != QIOH_E_CLOSED) {
        CHECK_INT(waiter.result, ==, QIOH_E_CANCELLED);
    }
}

TEST(a_close_ends_who_waits_in_the_stack)
{
    static int64_t (*const calls[])(qioh_channel *) = { wait_read, wait_take };

    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        for (int below = 0; below < 2; below++) {
            Stack stack;

            stack_make(&stack);
            check_ended(stack.ws[SERVER], below ? stack.sockets[SERVER] : stack.ws[SERVER],
                        calls[i]);
            stack_end(&stack);
        }
    }
}

TEST(a_close_ends_who_shakes_hands)
{
    for (int i = 0; i < 2; i++) {
        qioh_creds *creds = qioh_creds_new_anon(NULL, 0, NULL);
        qioh_channel *pair[2], *tls;

        CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
        tls = qioh_channel_new_tls_client(pair[0], creds, NULL, NULL);
        qioh_creds_unref(creds);
        check_ended(tls, i == 0 ? tls : pair[0], wait_handshake);
        qioh_channel_unref(tls);
        qioh_channel_unref(pair[0]);
        qioh_channel_unref(pair[1]);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- one token an object, from many threads ---- */

static void *ask_for_transport(void *opaque)
{
    qioh_channel **ends = opaque;

    for (int i = 0; i < 300; i++) {
        qioh_channel *transport = qioh_channel_get_transport(ends[0], NULL);

        CHECK(transport != NULL);
        CHECK_INT(qioh_channel_get_kind(transport, NULL), ==, QIOH_CHANNEL_TLS);
        if (ends[1] != NULL) {
            CHECK_PTR(transport, ==, ends[1]);
        }
    }
    return NULL;
}

TEST(the_transport_has_one_token_from_all_threads)
{
    pthread_t threads[3];
    Stack stack;

    stack_make(&stack);
    for (int round = 0; round < 2; round++) {
        qioh_channel *ends[2] = { stack.ws[CLIENT], round == 0 ? stack.tls[CLIENT] : NULL };

        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
            pthread_create(&threads[i], NULL, ask_for_transport, ends);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
            pthread_join(threads[i], NULL);
        }
        /* Then without a handle of anybody's but the layer's. */
        qioh_channel_unref(stack.tls[CLIENT]);
        stack.tls[CLIENT] = NULL;
    }
    stack_end(&stack);
}
