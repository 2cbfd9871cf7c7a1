/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-end.c: the end of a subject, at every point of its watch's life, and of the loop.
 */
#include "loop-subject.h"

/* ---- the end of a subject ---- */

TEST(one_last_call)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject s;

    make_pair(fds);
    s = direct(fds[0]);
    watch(ctx, &s, G_IO_IN);
    qio_loop_watch_end(s.watch);
    qio_loop_watch_end(s.watch);
    close_pair(fds);
    CHECK(is_readable(ctx));
    CHECK_INT(s.calls, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN | G_IO_NVAL);
    /* TRUE does not keep it. */
    CHECK(qio_loop_watch_is_removed(s.watch));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.destroyed, ==, 1);
    check_quiet(ctx);
    CHECK_INT(s.calls, ==, 1);
    qio_loop_watch_end(s.watch);
    drop(&s);
    qio_aio_context_unref(ctx);
}

static void end_self(Subject *s)
{
    qio_loop_watch_end(s->watch);
}

TEST(ended_inside_its_callback)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);

    s.soft = 5;
    s.act = end_self;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.condition, ==, G_IO_IN | G_IO_NVAL);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 2);
    CHECK_INT(s.destroyed, ==, 1);
    drop(&s);

    /* Who says FALSE in that very call does not get the last one. */
    s = layer(-1);
    s.soft = 5;
    s.keep = 1;
    s.act = end_self;
    watch(ctx, &s, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 1);
    CHECK_INT(s.destroyed, ==, 1);
    drop(&s);
    qio_aio_context_unref(ctx);
}

static Subject *ends_too;

static void end_both(Subject *s)
{
    s->act = NULL;
    qio_loop_watch_end(s->watch);
    qio_loop_watch_end(ends_too->watch);
}

TEST(ended_while_it_was_due)
{
    AioContext *ctx = new_loop();
    Subject a = layer(-1), b = layer(-1);

    a.soft = b.soft = 5;
    a.act = end_both;
    ends_too = &b;
    watch(ctx, &a, G_IO_IN);
    watch(ctx, &b, G_IO_IN);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(b.calls, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 2);
    CHECK_INT(a.calls, ==, 2);
    CHECK_INT(b.calls, ==, 1);
    CHECK_INT(b.condition, ==, G_IO_IN | G_IO_NVAL);
    drop(&a);
    drop(&b);
    qio_aio_context_unref(ctx);
}

TEST(removed_after_its_end)
{
    AioContext *ctx = new_loop();
    Subject s = layer(-1);

    watch(ctx, &s, G_IO_IN);
    qio_loop_watch_end(s.watch);
    drop(&s);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(s.calls, ==, 0);
    CHECK_INT(s.destroyed, ==, 1);
    qio_aio_context_unref(ctx);
}

/* ---- the loop goes first ---- */

TEST(loop_closes_under_its_watches)
{
    AioContext *ctx = new_loop();
    int fds[2];
    Subject a, b = layer(-1);

    make_pair(fds);
    a = direct(fds[0]);
    b.soft = 1;
    watch(ctx, &a, G_IO_OUT);
    watch(ctx, &b, G_IO_IN);
    qio_aio_context_unref(ctx);
    CHECK_INT(a.destroyed + b.destroyed, ==, 2);
    CHECK_INT(a.calls + b.calls, ==, 0);
    qio_loop_watch_kick(b.watch);
    qio_loop_watch_end(a.watch);
    drop(&a);
    drop(&b);
    close_pair(fds);
}
