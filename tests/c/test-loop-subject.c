/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-subject.c: watches on subjects: readiness in software, descriptors that only mean
 * "ask again", registrations that stay for the next waiter.
 */
#include "loop-subject.h"

#include <fcntl.h>
#include <pthread.h>

/* ---- software ---- */

TEST(fires_while_advance_says_ready)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);

    s.soft = 3;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(s.advances, ==, 0);
    for (int i = 1; i <= 3; i++) {
        CHECK(is_readable(ctx));
        CHECK_INT(qio_aio_context_wait(ctx, 0, NULL), ==, 1);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
        CHECK_INT(s.calls, ==, i);
        CHECK_INT(s.condition, ==, G_IO_IN);
    }
    check_quiet(ctx);
    CHECK_INT(s.calls, ==, 3);
    drop(&s);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.destroyed, ==, 1);
    qio_aio_context_unref(ctx);
}

TEST(kicked)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);
    int asked;

    watch(ctx, &s, G_IO_IN);
    check_quiet(ctx);
    asked = s.advances;
    check_quiet(ctx);
    /* An idle one costs nothing. */
    CHECK_INT(s.advances, ==, asked);
    qio_loop_watch_kick(s.watch);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(s.advances, ==, asked + 1);
    s.soft = 1;
    qio_loop_watch_kick(s.watch);
    qio_loop_watch_kick(s.watch);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    check_quiet(ctx);
    /* One that is removed is not asked. */
    asked = s.advances;
    qio_loop_watch_ref(s.watch);
    drop(&s);
    qio_loop_watch_kick(s.watch);
    qio_loop_watch_unref(s.watch);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.destroyed, ==, 1);
    CHECK_INT(s.advances, ==, asked);
    qio_aio_context_unref(ctx);
}

static void *kick(void *opaque)
{
    Subject *s = opaque;

    __atomic_store_n(&s->soft, 1, __ATOMIC_SEQ_CST);
    qio_loop_watch_kick(s->watch);
    return NULL;
}

TEST(kicked_from_another_thread)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);
    pthread_t thread;

    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK(pthread_create(&thread, NULL, kick, &s) == 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    pthread_join(thread, NULL);
    drop(&s);
    qio_aio_context_unref(ctx);
}

static gboolean takes_one(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    Subject *s = opaque;

    CHECK_INT(s->soft, >, 0);
    s->soft--;
    s->calls++;
    return TRUE;
}

/* Of two watches on one layer, the first may take what made both ready. */
TEST(asked_again_right_before_it_fires)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);
    QIOLoopWatch *first, *second;

    s.soft = 1;
    first = qio_loop_add_subject(ctx, &s, &s.ops, G_IO_IN, takes_one, &s, NULL, NULL);
    second = qio_loop_add_subject(ctx, &s, &s.ops, G_IO_IN, takes_one, &s, NULL, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 1);
    check_quiet(ctx);
    qio_loop_watch_remove(first);
    qio_loop_watch_remove(second);
    CHECK_INT(s.refs, ==, 0);
    qio_loop_watch_unref(first);
    qio_loop_watch_unref(second);
    qio_aio_context_unref(ctx);
}

/* ---- descriptors that only mean "ask" ---- */

TEST(event_is_not_readiness)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    s = layer(fds[0]);
    watch(ctx, &s, G_IO_IN);
    check_quiet(ctx);
    /* Half a record: the descriptor has an event, the layer is not ready. */
    CHECK_INT(write(fds[1], "a", 1), ==, 1);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(s.calls, ==, 0);
    check_quiet(ctx);
    CHECK_INT(write(fds[1], "!", 1), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN);
    check_quiet(ctx);
    drop(&s);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

static void want_out(Subject *s)
{
    s->fd_events = G_IO_OUT;
}

TEST(what_it_waits_for_changes)
{
    AioContext *ctx = new_loop();
    int fds[2], other[2];
    Subject s;

    make_pair(fds);
    make_pair(other);
    s = layer(fds[0]);
    s.soft = 1;
    s.opens = false;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    check_quiet(ctx);
    /* A renegotiation: a read now waits for writing, on the same descriptor ... */
    s.act = want_out;
    s.soft = 1;
    qio_loop_watch_kick(s.watch);
    seam_install();
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seam_hits(SEAM_epoll_ctl), ==, 1);
    seam_remove();
    CHECK(is_readable(ctx));
    /* ... and then for another one. */
    s.act = NULL;
    s.fd = other[0];
    s.fd_events = G_IO_IN;
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    check_quiet(ctx);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    check_quiet(ctx);
    drop(&s);
    close_pair(fds);
    close_pair(other);
    qio_aio_context_unref(ctx);
}

TEST(names_a_descriptor_that_is_closed)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);

    s.fd = 900;
    s.opens = false;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN | G_IO_NVAL);
    CHECK(qio_loop_watch_is_removed(s.watch));
    drop(&s);
    qio_aio_context_unref(ctx);
}

/* ---- direct ones ---- */

TEST(direct_with_bytes_in_software)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    s = direct(fds[0]);
    s.ops.advance = advance;
    s.soft = 2;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(s.polls, ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    check_quiet(ctx);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 3);
    CHECK_INT(s.polls, ==, 1);
    drop(&s);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

TEST(direct_on_a_bad_descriptor)
{
    AioContext *ctx = new_loop();
    Subject s = direct(900);
    Error *err = NULL;

    CHECK_PTR(qio_loop_add_subject(ctx, &s, &s.ops, G_IO_IN, on_ready, &s, on_destroy, &err), ==,
              NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EBADF);
    qio_error_free(g_steal_pointer(&err));
    CHECK_PTR(qio_loop_add_subject(ctx, &s, &s.ops, 0, on_ready, &s, on_destroy, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_INT(s.refs, ==, 0);
    qio_aio_context_unref(ctx);
    CHECK_INT(s.destroyed, ==, 2);
}

TEST(direct_on_a_file_is_always_ready)
{
    AioContext *ctx = new_loop();
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    Subject s = direct(fd);

    watch(ctx, &s, G_IO_IN);
    for (int i = 1; i <= 3; i++) {
        CHECK(is_readable(ctx));
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
        CHECK_INT(s.calls, ==, i);
    }
    drop(&s);
    close(fd);
    qio_aio_context_unref(ctx);
}

TEST(a_layer_on_a_file)
{
    AioContext *ctx = new_loop();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    Subject s = layer(fd);

    /* Its descriptor always has an event: each turn asks, and only asks. */
    s.opens = false;
    watch(ctx, &s, G_IO_IN);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
        CHECK(is_readable(ctx));
    }
    s.soft = 1;
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    drop(&s);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    check_quiet(ctx);
    close(fd);
    qio_aio_context_unref(ctx);
}

/* ---- a registration stays for the next waiter ---- */

TEST(beside_another_on_the_same_descriptor)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject both, in;

    make_pair(fds);
    both = direct(fds[0]);
    in = direct(fds[0]);
    seam_install();
    watch(ctx, &both, G_IO_IN | G_IO_OUT);
    watch(ctx, &in, G_IO_IN);
    CHECK_INT(seam_hits(SEAM_epoll_ctl), ==, 1);
    seam_remove();
    drop(&both);
    drop(&in);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

TEST(waiting_again_needs_no_add_and_del)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    seam_install();
    for (int i = 0; i < 10; i++) {
        s = direct(fds[0]);
        watch(ctx, &s, i & 1 ? G_IO_OUT : G_IO_IN);
        drop(&s);
    }
    /* One ADD, then a MOD each. */
    CHECK_INT(seam_hits(SEAM_epoll_ctl), ==, 10);
    seam_remove();
    qio_aio_context_unref(ctx);
    close_pair(fds);
}

TEST(nobody_watches_a_hang_up)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    s = direct(fds[0]);
    watch(ctx, &s, G_IO_IN);
    drop(&s);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    check_quiet(ctx);
    close(fds[1]);
    CHECK(is_readable(ctx));
    /* It fires once, is taken out, and nothing spins. */
    check_quiet(ctx);
    s = direct(fds[0]);
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN | G_IO_HUP);
    drop(&s);
    close(fds[0]);
    qio_aio_context_unref(ctx);
}

TEST(kept_registration_and_a_number_used_again)
{
    AioContext *ctx = new_loop();
    int fds[2], again[2];
    Subject s;

    make_pair(fds);
    s = direct(fds[0]);
    watch(ctx, &s, G_IO_IN);
    drop(&s);
    close_pair(fds);
    make_pair(again);
    CHECK_INT(again[0], ==, fds[0]);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    s = direct(again[0]);
    watch(ctx, &s, G_IO_IN);
    check_quiet(ctx);
    CHECK_INT(write(again[1], "x", 1), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 1);
    drop(&s);
    close_pair(again);
    qio_aio_context_unref(ctx);
}

/* epoll keeps an entry as long as a copy of the descriptor is open anywhere. */
TEST(forgotten_before_it_is_closed)
{
    AioContext *ctx = new_loop(), *other = new_loop();
    int fds[2], copy;
    Subject s, t;

    make_pair(fds);
    copy = dup(fds[0]);
    s = direct(fds[0]);
    watch(ctx, &s, G_IO_IN);
    drop(&s);
    t = direct(fds[0]);
    watch(other, &t, G_IO_IN);
    qio_loop_forget_fd(fds[0]);
    qio_loop_forget_fd(fds[0]);
    close(fds[0]);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    check_quiet(ctx);
    /* Who still waited for it is told. */
    CHECK_INT(qio_aio_context_dispatch(other, -1, NULL), ==, 1);
    CHECK_INT(t.condition, ==, G_IO_IN | G_IO_NVAL);
    drop(&t);
    CHECK_INT(qio_aio_context_dispatch(other, -1, NULL), ==, 1);
    check_quiet(other);
    close(copy);
    close(fds[1]);
    qio_aio_context_unref(other);
    qio_aio_context_unref(ctx);
}

TEST(a_layer_is_asked_when_its_descriptor_is_forgotten)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    s = layer(fds[0]);
    watch(ctx, &s, G_IO_IN);
    check_quiet(ctx);
    s.soft = 1;
    s.fd = -1;
    s.opens = false;
    qio_loop_forget_fd(fds[0]);
    close_pair(fds);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN);
    check_quiet(ctx);
    drop(&s);
    qio_aio_context_unref(ctx);
}
