/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-layer.c: one channel on top of another: who may transfer, readiness, handshake, end.
 *
 * Rule: the layer is a small one of the test's own, which flips the bits of every byte and begins
 * with a greeting each way; its transport is a script in memory or a pair of sockets.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <qio/channel-socket.h>
#include "channel/layer.h"
#include "runner.h"
#include "scripted.h"
#include "seam.h"
#include "testclock.h"

#define TYPE_FLIP "test-flip"

typedef struct Flip {
    QIOChannel parent;
    bool said, heard;
    bool holds;         /* a byte that flushing sends */
    int closes;
    QIOChannel *taken_from;     /* the layer that loses it while it is flushed */
} Flip;

static void flip_bytes(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= 0x20;
    }
}

static int flip_handshake(QIOChannel *ioc, Error **errp)
{
    Flip *flip = (Flip *)ioc;
    uint8_t byte = '!';
    struct iovec iov = { &byte, 1 };
    ssize_t n;

    if (!flip->said) {
        n = qio_layer_writev(ioc, &iov, 1, errp);
        if (n != 1) {
            return (int)n;
        }
        flip->said = true;
    }
    if (!flip->heard) {
        n = qio_layer_readv(ioc, &iov, 1, errp);
        if (n != 1) {
            return (int)n;
        }
        flip->heard = true;
        qio_channel_kick(ioc);
    }
    return 0;
}

static ssize_t flip_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                          size_t *nfds, Error **errp)
{
    int ret = flip_handshake(ioc, errp);
    ssize_t n;

    if (ret < 0) {
        return ret;
    }
    n = qio_layer_readv(ioc, iov, 1, errp);
    if (n > 0) {
        flip_bytes(iov->iov_base, (size_t)n);
    }
    return n;
}

static ssize_t flip_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                           size_t nfds, Error **errp)
{
    uint8_t bytes[4096];
    struct iovec out = { bytes, MIN(iov->iov_len, sizeof(bytes)) };
    int ret = flip_handshake(ioc, errp);

    if (ret < 0) {
        return ret;
    }
    memcpy(bytes, iov->iov_base, out.iov_len);
    flip_bytes(bytes, out.iov_len);
    return qio_layer_writev(ioc, &out, 1, errp);
}

/* Who flushes still has one. */
static void lose_last_reference(QIOChannel *ioc)
{
    QIOChannel *layer = ((Flip *)ioc)->taken_from;
    GWeakRef weak;

    g_weak_ref_init(&weak, ioc);
    qio_object_unref(qio_channel_take_transport(layer, 0, false, NULL));
    ioc = g_weak_ref_get(&weak);
    CHECK(ioc != NULL);
    g_object_unref(ioc);
    g_weak_ref_clear(&weak);
}

static int flip_flush(QIOChannel *ioc, Error **errp)
{
    Flip *flip = (Flip *)ioc;
    uint8_t byte = '.';
    struct iovec iov = { &byte, 1 };
    ssize_t n = flip->holds ? qio_layer_writev(ioc, &iov, 1, errp) : 1;

    if (flip->taken_from) {
        lose_last_reference(ioc);
    }
    if (n < 0) {
        return (int)n;
    }
    flip->holds = false;
    return 0;
}

static int flip_close(QIOChannel *ioc, Error **errp)
{
    ((Flip *)ioc)->closes++;
    return qio_layer_close_below(ioc, errp);
}

static int flip_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    Flip *flip = (Flip *)ioc;

    return qio_layer_poll(ioc, flip->heard ? condition : G_IO_IN, out, cap);
}

/* It holds nothing back itself: what is below tells it all, once hands were shaken. */
static int flip_advance(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannel *below = qio_layer_below(ioc);
    int ret = flip_handshake(ioc, NULL);

    if (ret == QIO_CHANNEL_ERR_BLOCK || !below) {
        return 0;
    }
    return ret < 0 ? -1 : qio_channel_wait_deadline(below, condition, 0, false, NULL);
}

static void flip_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *k = (QIOChannelClass *)klass;

    k->io_readv = flip_readv;
    k->io_writev = flip_writev;
    k->io_close = flip_close;
    k->io_poll = flip_poll;
    k->io_advance = flip_advance;
    k->io_handshake = flip_handshake;
    k->io_flush = flip_flush;
}

static Flip *flip_new(void *below)
{
    static const TypeInfo info = {
        .name = TYPE_FLIP,
        .parent = TYPE_QIO_CHANNEL,
        .instance_size = sizeof(Flip),
        .class_init = flip_class_init,
    };
    Flip *flip;

    qio_type_register_static(&info);
    flip = (Flip *)qio_object_new(TYPE_FLIP);
    CHECK_INT(qio_layer_attach(&flip->parent, NULL, below, NULL), ==, 0);
    return flip;
}

static void take_error(Error **err, QIOErrorCode code)
{
    CHECK(*err != NULL);
    test_note("%s", qio_error_get_pretty(*err));
    CHECK_INT(qio_error_get_code(*err), ==, code);
    qio_error_free(*err);
    *err = NULL;
}

/* A flip and the bare socket at its other end. */
typedef struct Stack {
    Flip *flip;
    QIOChannel *below, *peer;
} Stack;

static Stack stack_new(void)
{
    Stack stack;
    int fds[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    stack.below = qio_channel_new_fd(fds[0], NULL);
    stack.peer = qio_channel_new_fd(fds[1], NULL);
    stack.flip = flip_new(stack.below);
    return stack;
}

static void stack_free(Stack *stack)
{
    qio_object_unref(stack->flip);
    qio_object_unref(stack->below);
    qio_object_unref(stack->peer);
}

TEST(a_channel_under_a_layer_is_busy_for_everybody_else)
{
    Stack stack = stack_new();
    struct iovec delim = { "\n", 1 };
    Error *err = NULL;
    char buf[4];

    CHECK_INT(qio_channel_write(stack.peer, "!ABC", 4, NULL), ==, 4);
    CHECK_INT(qio_channel_read(stack.below, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_write(stack.below, "x", 1, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_peek(stack.below, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_read_until(stack.below, buf, 4, &delim, 1, 10, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_unread(stack.below, "x", 1, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_take_fd(stack.below, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_enter(stack.below, QIO_USE_READ, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_read_all(&stack.flip->parent, buf, 3, NULL), ==, 0);
    CHECK_MEM(buf, "abc", 3);
    stack_free(&stack);
}

TEST(a_second_layer_and_one_on_a_closed_channel_are_refused)
{
    Stack stack = stack_new();
    Flip *other = (Flip *)qio_object_new(TYPE_FLIP);
    Error *err = NULL;

    CHECK_INT(qio_layer_attach(&other->parent, NULL, stack.below, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_close(stack.peer, NULL), ==, 0);
    CHECK_INT(qio_layer_attach(&other->parent, NULL, stack.peer, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    qio_object_unref(other);
    stack_free(&stack);
}

TEST(what_was_read_ahead_is_the_first_input_of_the_layer)
{
    Scripted *s = scripted_new();
    char buf[8];
    Flip *flip;

    scripted_text(s, "!AB");
    scripted_text(s, "CD");
    CHECK_INT(qio_channel_peek(&s->parent, buf, 2, NULL), ==, 2);
    flip = flip_new(s);
    CHECK_INT(qio_channel_read_all(&flip->parent, buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "abcd", 4);
    qio_object_unref(flip);
    qio_object_unref(s);
}

TEST(closing_the_layer_closes_what_is_below)
{
    Stack stack = stack_new();
    char buf[4];

    CHECK_INT(qio_channel_close(&stack.flip->parent, NULL), ==, 0);
    CHECK(qio_channel_is_closed(stack.below));
    CHECK_INT(qio_channel_read(stack.peer, buf, 4, NULL), ==, 0);
    CHECK_INT(stack.flip->closes, ==, 1);
    stack_free(&stack);
}

TEST(closing_what_is_below_closes_the_layer)
{
    Stack stack = stack_new();
    char buf[4];

    CHECK_INT(qio_channel_close(stack.below, NULL), ==, 0);
    CHECK(qio_channel_is_closed(&stack.flip->parent));
    CHECK_INT(stack.flip->closes, ==, 1);
    CHECK_INT(qio_channel_read(stack.peer, buf, 4, NULL), ==, 0);
    stack_free(&stack);
}

TEST(dropping_the_layer_closes_what_is_below)
{
    Stack stack = stack_new();
    char buf[4];

    qio_object_unref(stack.flip);
    CHECK(qio_channel_is_closed(stack.below));
    CHECK_INT(qio_channel_read(stack.peer, buf, 4, NULL), ==, 0);
    qio_object_unref(stack.below);
    qio_object_unref(stack.peer);
}

TEST(the_handshake_waits_for_the_peer_and_is_done_once)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);

    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "!");
    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_handshake(&flip->parent, -1, false, NULL), ==, 0);
    CHECK_INT(qio_channel_handshake(&flip->parent, 0, false, NULL), ==, 0);
    CHECK_MEM(s->written->data, "!", 1);
    qio_object_unref(flip);
    qio_object_unref(s);
}

/* The handshake is done, whatever becomes of its last word; a signal does not undo it. */
TEST(a_signal_ends_the_wait_for_the_last_word_and_the_next_call_sends_it)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);
    Error *err = NULL;

    scripted_text(s, "!");
    scripted_step(s, STEP_STALL);
    flip->said = flip->holds = true;
    s->write_room = 0;
    for (int i = 0; i < 2; i++) {
        seam_install();
        seam_fail(SEAM_poll, 1, 1, EINTR);
        CHECK_INT(qio_channel_handshake(&flip->parent, 60000, true, &err), ==, -1);
        take_error(&err, QIO_ERROR_INTR);
        CHECK(flip->heard && flip->holds);
        seam_remove();
    }
    s->write_room = 1;
    CHECK_INT(qio_channel_handshake(&flip->parent, 60000, true, &err), ==, 0);
    CHECK_INT(s->written->len, ==, 1);
    CHECK_MEM(s->written->data, ".", 1);
    qio_object_unref(flip);
    qio_object_unref(s);
}

TEST(a_last_word_that_cannot_be_sent_in_time_is_no_failure_of_the_handshake)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);

    testclock_install();
    scripted_text(s, "!");
    scripted_step(s, STEP_STALL);
    flip->said = flip->holds = true;
    s->write_room = 0;
    CHECK_INT(qio_channel_handshake(&flip->parent, 2500, true, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 2500);
    testclock_remove();
    qio_object_unref(flip);
    qio_object_unref(s);
}

TEST(a_handshake_has_a_total_deadline)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);
    Error *err = NULL;

    testclock_install();
    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_handshake(&flip->parent, 2500, false, &err), ==, -1);
    take_error(&err, QIO_ERROR_TIMEOUT);
    testclock_remove();
    qio_object_unref(flip);
    qio_object_unref(s);
}

static void *shake(void *flip)
{
    Error *err = NULL;

    CHECK_INT(qio_channel_handshake(flip, -1, false, &err), ==, -1);
    take_error(&err, QIO_ERROR_CANCELLED);
    return NULL;
}

TEST(close_ends_a_handshake_in_another_thread)
{
    Stack stack = stack_new();
    pthread_t thread;
    char byte;

    CHECK_INT(pthread_create(&thread, NULL, shake, stack.flip), ==, 0);
    CHECK_INT(qio_channel_read(stack.peer, &byte, 1, NULL), ==, 1);
    CHECK_INT(qio_channel_close(stack.below, NULL), ==, 0);
    pthread_join(thread, NULL);
    stack_free(&stack);
}

TEST(a_notice_from_below_wakes_who_waits_for_the_layer)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);
    char byte;

    scripted_text(s, "!");
    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "A");
    CHECK_INT(qio_channel_read(&flip->parent, &byte, 1, NULL), ==, 1);
    CHECK_INT(byte, ==, 'a');
    qio_object_unref(flip);
    qio_object_unref(s);
}

TEST(the_transport_can_be_taken_back_with_what_nobody_has_read)
{
    Stack stack = stack_new();
    QIOChannel *below;
    Error *err = NULL;
    char buf[4];

    CHECK_INT(qio_channel_write(stack.peer, "!Axy", 4, NULL), ==, 4);
    CHECK_INT(qio_channel_read(&stack.flip->parent, buf, 1, NULL), ==, 1);
    below = qio_channel_take_transport(&stack.flip->parent, -1, false, NULL);
    CHECK(below == stack.below);
    CHECK(qio_channel_is_closed(&stack.flip->parent));
    CHECK(!qio_channel_is_closed(below));
    CHECK_INT(qio_channel_read_all(below, buf, 2, NULL), ==, 0);
    CHECK_MEM(buf, "xy", 2);
    CHECK(!qio_channel_take_transport(below, -1, false, &err));
    take_error(&err, QIO_ERROR_NOTSUP);
    qio_object_unref(below);
    stack_free(&stack);
}

TEST(flush_waits_as_the_mode_says_and_reaches_the_lowest_layer)
{
    Scripted *s = scripted_new();
    Flip *low = flip_new(s), *top = flip_new(low);
    Error *err = NULL;

    testclock_install();
    low->holds = true;
    s->write_room = 0;
    qio_channel_set_timeout(&top->parent, 700);
    CHECK_INT(qio_channel_flush(&top->parent, &err), ==, -1);
    take_error(&err, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 700);
    qio_channel_set_blocking(&top->parent, false, NULL);
    CHECK_INT(qio_channel_flush(&top->parent, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    s->write_room = 1;
    CHECK_INT(qio_channel_flush(&top->parent, &err), ==, 0);
    CHECK_MEM(s->written->data, ".", 1);
    testclock_remove();
    qio_object_unref(top);
    qio_object_unref(low);
    qio_object_unref(s);
}

TEST(a_blocking_write_sees_off_what_the_layer_holds_back)
{
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);

    scripted_text(s, "!");
    scripted_step(s, STEP_STALL);
    flip->holds = true;
    CHECK_INT(qio_channel_write(&flip->parent, "AB", 2, NULL), ==, 2);
    CHECK_INT(s->written->len, ==, 4);
    CHECK_MEM(s->written->data, "!ab.", 4);
    flip->holds = true;
    CHECK_INT(qio_channel_try_write(&flip->parent, "C", 1, NULL), ==, 1);
    CHECK_INT(s->written->len, ==, 5);
    CHECK_INT(qio_channel_write_all(&flip->parent, "D", 1, NULL), ==, 0);
    CHECK_MEM(s->written->data, "!ab.cd.", 7);
    qio_object_unref(flip);
    qio_object_unref(s);
}

static int steps;

/* Cancelled while it waits, it could be done after all. */
static int cancelled_step(QIOChannel *ioc, Error **errp)
{
    if (steps++ > 0) {
        return 0;
    }
    qio_channel_cancel(ioc, G_IO_IN);
    return QIO_CHANNEL_ERR_BLOCK;
}

TEST(a_cancel_between_two_steps_is_the_end)
{
    Stack stack = stack_new();
    Error *err = NULL;

    steps = 0;
    CHECK_INT(qio_channel_take_steps(&stack.flip->parent, cancelled_step, G_IO_IN, QIO_NEVER,
                                     false, &err), ==, -1);
    take_error(&err, QIO_ERROR_CANCELLED);
    CHECK_INT(steps, ==, 1);
    stack_free(&stack);
}

TEST(flushing_outlives_a_transport_that_is_taken)
{
    Stack stack = stack_new();
    Flip *top = flip_new(stack.flip);

    /* What another thread may do, once the upper one has been flushed. */
    stack.flip->taken_from = &top->parent;
    qio_object_unref(stack.flip);
    CHECK_INT(qio_channel_flush(&top->parent, NULL), ==, 0);
    qio_object_unref(top);
    qio_object_unref(stack.below);
    qio_object_unref(stack.peer);
}

TEST(layers_lie_on_layers)
{
    Stack stack = stack_new();
    Flip *top = flip_new(stack.flip);
    char buf[4];

    /* The upper greeting passes the lower layer: '!' ^ 0x20 = 1. */
    CHECK_INT(qio_channel_write(stack.peer, "!\001abc", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read_all(&top->parent, buf, 3, NULL), ==, 0);
    CHECK_MEM(buf, "abc", 3);
    CHECK(qio_channel_get_transport(&top->parent) == &stack.flip->parent);
    CHECK_INT(qio_channel_close(stack.below, NULL), ==, 0);
    CHECK(qio_channel_is_closed(&top->parent));
    qio_object_unref(top);
    stack_free(&stack);
}

typedef struct Shaker {
    QIOChannel *ioc;
    int result;
    bool done;
    Error *err;
} Shaker;

static void shake_and_flush(void *opaque)
{
    Shaker *shaker = opaque;

    shaker->result = qio_channel_handshake(shaker->ioc, 5000, false, &shaker->err);
    if (shaker->result == 0) {
        shaker->result = qio_channel_flush(shaker->ioc, &shaker->err);
    }
    shaker->done = true;
}

static void run_shaker(Shaker *shaker, AioContext *ctx)
{
    qio_channel_attach_aio_context(shaker->ioc, ctx);
    qio_coroutine_enter(qio_coroutine_create(shake_and_flush, shaker));
    CHECK(!shaker->done);
    while (!shaker->done) {
        qio_aio_context_poll(ctx, true);
    }
    qio_channel_detach_aio_context(shaker->ioc);
}

TEST(a_coroutine_yields_in_a_handshake_and_in_flushing)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Stack stack = stack_new();
    Shaker shaker = { .ioc = &stack.flip->parent, .result = -1 };
    char buf[2];

    CHECK_INT(qio_channel_write(stack.peer, "!", 1, NULL), ==, 1);
    stack.flip->holds = true;
    run_shaker(&shaker, ctx);
    CHECK_INT(shaker.result, ==, 0);
    CHECK_INT(qio_channel_read_all(stack.peer, buf, 2, NULL), ==, 0);
    CHECK_MEM(buf, "!.", 2);
    stack_free(&stack);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

TEST(a_cancel_ends_a_coroutines_handshake)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    Stack stack = stack_new();
    Shaker shaker = { .ioc = &stack.flip->parent };
    char byte;

    qio_channel_attach_aio_context(shaker.ioc, ctx);
    qio_coroutine_enter(qio_coroutine_create(shake_and_flush, &shaker));
    qio_aio_context_poll(ctx, false);
    CHECK_INT(qio_channel_read(stack.peer, &byte, 1, NULL), ==, 1);
    qio_channel_cancel(shaker.ioc, G_IO_IN);
    while (!shaker.done) {
        qio_aio_context_poll(ctx, true);
    }
    CHECK_INT(shaker.result, ==, -1);
    take_error(&shaker.err, QIO_ERROR_CANCELLED);
    qio_channel_detach_aio_context(shaker.ioc);
    stack_free(&stack);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
}

TEST(a_coroutines_handshake_has_its_deadline)
{
    AioContext *ctx;
    Scripted *s = scripted_new();
    Flip *flip = flip_new(s);
    Shaker shaker = { .ioc = &flip->parent };

    testclock_install();
    ctx = qio_aio_context_new(NULL);
    scripted_step(s, STEP_STALL);
    run_shaker(&shaker, ctx);
    CHECK_INT(shaker.result, ==, -1);
    take_error(&shaker.err, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 5000);
    qio_aio_context_close(ctx, NULL);
    qio_aio_context_unref(ctx);
    testclock_remove();
    qio_object_unref(flip);
    qio_object_unref(s);
}
