/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-watch.c: watches on descriptors: registrations, removal at every point, what
 * epoll refuses.
 */
#include "loop-util.h"

#include <fcntl.h>

/* A watch and what became of it. */
typedef struct Seen {
    int calls;
    GIOCondition condition;     /* of the last call */
    int destroyed;
    int keep;                   /* calls until it says FALSE; 0 = for ever */
    bool drain;                 /* reads what is there */
    void (*act)(struct Seen *seen);
    QIOLoopWatch *watch, *other;
    AioContext *ctx;
    int fd;
} Seen;

static gboolean see(int fd, GIOCondition condition, void *opaque)
{
    Seen *seen = opaque;
    char buf[64];

    CHECK_INT(seen->destroyed, ==, 0);
    seen->calls++;
    seen->condition = condition;
    if (seen->drain) {
        CHECK_INT(read(fd, buf, sizeof(buf)), >=, 0);
    }
    if (seen->act) {
        seen->act(seen);
    }
    return seen->keep == 0 || seen->calls < seen->keep;
}

static void see_destroyed(void *opaque)
{
    ((Seen *)opaque)->destroyed++;
}

static QIOLoopWatch *watch_fd(AioContext *ctx, int fd, GIOCondition condition, Seen *seen)
{
    Error *err = NULL;

    seen->fd = fd;
    seen->ctx = ctx;
    seen->watch = qio_aio_context_add_fd_watch(ctx, fd, condition, see, seen, see_destroyed,
                                               &err);
    CHECK_PTR(err, ==, NULL);
    CHECK_PTR(seen->watch, !=, NULL);
    return seen->watch;
}

static void drop(Seen *seen)
{
    qio_loop_watch_remove(seen->watch);
    qio_loop_watch_unref(seen->watch);
}

/* ---- levels ---- */

TEST(readable_is_a_level)
{
    AioContext *ctx = new_loop();
    Seen seen = { 0 };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_IN, &seen);
    check_quiet(ctx);
    put(fds[1]);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_wait(ctx, -1, NULL), ==, 1);
    for (int i = 1; i <= 3; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
        CHECK_INT(seen.calls, ==, i);
        CHECK_INT(seen.condition, ==, G_IO_IN);
    }
    seen.drain = true;
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    check_quiet(ctx);

    shutdown(fds[1], SHUT_WR);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.condition, ==, G_IO_IN);
    close(fds[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.condition, ==, G_IO_IN | G_IO_HUP);
    drop(&seen);
    CHECK_INT(seen.destroyed, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.destroyed, ==, 1);
    check_quiet(ctx);
    close(fds[0]);
    qio_aio_context_unref(ctx);
}

TEST(hup_comes_unasked)
{
    AioContext *ctx = new_loop();
    Seen in = { 0 }, hup_only = { 0 };
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    watch_fd(ctx, fds[0], G_IO_IN, &in);
    watch_fd(ctx, fds[0], G_IO_HUP, &hup_only);
    put(fds[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(hup_only.calls, ==, 0);
    in.drain = true;
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    close(fds[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 2);
    CHECK_INT(in.condition, ==, G_IO_HUP);
    CHECK_INT(hup_only.condition, ==, G_IO_HUP);
    drop(&in);
    drop(&hup_only);
    close(fds[0]);
    qio_aio_context_unref(ctx);
}

TEST(masks_are_merged)
{
    AioContext *ctx = new_loop();
    Seen in = { 0 }, out = { 0 }, both = { 0 };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_IN, &in);
    watch_fd(ctx, fds[0], G_IO_OUT, &out);
    watch_fd(ctx, fds[0], G_IO_IN | G_IO_OUT, &both);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 2);
    CHECK_INT(in.calls, ==, 0);
    CHECK_INT(out.condition, ==, G_IO_OUT);
    CHECK_INT(both.condition, ==, G_IO_OUT);
    put(fds[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 3);
    CHECK_INT(in.condition, ==, G_IO_IN);
    CHECK_INT(out.condition, ==, G_IO_OUT);
    CHECK_INT(both.condition, ==, G_IO_IN | G_IO_OUT);
    /* A mask shrinks when it disturbs: then IN alone is quiet. */
    drop(&out);
    drop(&both);
    in.drain = true;
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 3);
    CHECK_INT(out.destroyed + both.destroyed, ==, 2);
    check_quiet(ctx);
    drop(&in);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

TEST(false_removes)
{
    AioContext *ctx = new_loop();
    Seen seen = { .keep = 2 };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_OUT, &seen);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK(!qio_loop_watch_is_removed(seen.watch));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK(qio_loop_watch_is_removed(seen.watch));
    CHECK_INT(seen.destroyed, ==, 0);
    CHECK(is_readable(ctx));
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.destroyed, ==, 1);
    check_quiet(ctx);
    drop(&seen);
    CHECK_INT(seen.calls, ==, 2);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

/* ---- inside a callback ---- */

static void remove_other(Seen *seen)
{
    qio_loop_watch_remove(seen->other);
}

TEST(removed_from_a_harvested_batch)
{
    AioContext *ctx = new_loop();
    Seen a = { .act = remove_other }, b = { .act = remove_other };
    int fds[2];

    /* Both are ready in one batch; whichever is first removes the other. */
    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_OUT, &a);
    watch_fd(ctx, fds[1], G_IO_OUT, &b);
    a.other = b.watch;
    b.other = a.watch;
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(a.calls + b.calls, ==, 1);
    CHECK_INT(a.destroyed + b.destroyed, ==, 0);
    qio_loop_watch_unref(a.watch);
    qio_loop_watch_unref(b.watch);
    close_pair(fds);
    qio_aio_context_unref(ctx);
    CHECK_INT(a.calls + b.calls, ==, 1);
    CHECK_INT(a.destroyed, ==, 1);
    CHECK_INT(b.destroyed, ==, 1);
}

static void remove_self(Seen *seen)
{
    qio_loop_watch_remove(seen->watch);
    qio_loop_watch_unref(seen->watch);
    seen->watch = NULL;
}

TEST(removes_itself)
{
    AioContext *ctx = new_loop();
    Seen seen = { .act = remove_self };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_OUT, &seen);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.destroyed, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(seen.calls, ==, 1);
    CHECK_INT(seen.destroyed, ==, 1);
    check_quiet(ctx);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

static void close_and_reopen(Seen *seen)
{
    int fds[2];
    Seen *next = (Seen *)seen->other;

    /* The number comes back for another file, within the callback. */
    qio_loop_watch_remove(seen->watch);
    close(seen->fd);
    make_pair(fds);
    CHECK_INT(fds[0], ==, seen->fd);
    CHECK_INT(dup2(fds[1], 200), ==, 200);
    close(fds[1]);
    watch_fd(seen->ctx, fds[0], G_IO_IN, next);
    seen->act = NULL;
}

TEST(number_used_again_inside_a_callback)
{
    AioContext *ctx = new_loop();
    Seen next = { 0 };
    Seen seen = { .act = close_and_reopen, .other = (QIOLoopWatch *)&next };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_OUT, &seen);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(seen.destroyed, ==, 1);
    CHECK_INT(next.calls, ==, 0);
    put(200);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(next.calls, ==, 1);
    CHECK_INT(seen.calls, ==, 1);
    qio_loop_watch_unref(seen.watch);
    drop(&next);
    close(fds[0]);
    close(fds[1]);
    close(200);
    qio_aio_context_unref(ctx);
}

/* A program that closes a descriptor under its watch gets told when the number comes back. */
TEST(closed_under_its_watch)
{
    AioContext *ctx = new_loop();
    Seen old = { 0 }, seen = { 0 };
    int fds[2], again[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_IN, &old);
    close_pair(fds);
    check_quiet(ctx);
    make_pair(again);
    CHECK_INT(again[0], ==, fds[0]);
    watch_fd(ctx, again[0], G_IO_IN, &seen);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(old.condition, ==, G_IO_IN | G_IO_NVAL);
    CHECK(qio_loop_watch_is_removed(old.watch));
    put(again[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >, 0);
    CHECK_INT(seen.calls, ==, 1);
    CHECK_INT(old.calls, ==, 1);
    qio_loop_watch_unref(old.watch);
    drop(&seen);
    close_pair(again);
    qio_aio_context_unref(ctx);
}

static void add_one(Seen *seen)
{
    watch_fd(seen->ctx, seen->fd, G_IO_OUT, (Seen *)seen->other);
    seen->act = NULL;
}

TEST(added_inside_a_callback)
{
    AioContext *ctx = new_loop();
    Seen next = { 0 };
    Seen seen = { .act = add_one, .other = (QIOLoopWatch *)&next };
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_OUT, &seen);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(next.calls, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 2);
    CHECK_INT(next.calls, ==, 1);
    drop(&seen);
    drop(&next);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

/* ---- what epoll refuses ---- */

TEST(always_ready)
{
    static const char *const paths[] = { "/dev/null", "/dev/zero", "/proc/self/exe", "/" };

    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        AioContext *ctx = new_loop();
        Seen in = { 0 }, out = { 0 }, socket = { 0 };
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        int fds[2], times = 0;

        test_note("%s", paths[i]);
        CHECK_INT(fd, >=, 0);
        make_pair(fds);
        watch_fd(ctx, fd, G_IO_IN, &in);
        watch_fd(ctx, fd, G_IO_OUT, &out);
        watch_fd(ctx, fds[0], G_IO_IN, &socket);
        for (times = 1; times <= 3; times++) {
            CHECK(is_readable(ctx));
            CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 2);
            CHECK_INT(in.calls, ==, times);
            CHECK_INT(in.condition, ==, G_IO_IN);
            CHECK_INT(out.condition, ==, G_IO_OUT);
        }
        /* It starves nobody. */
        put(fds[1]);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 3);
        CHECK_INT(socket.calls, ==, 1);
        drop(&socket);
        drop(&in);
        drop(&out);
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 3);
        check_quiet(ctx);
        close_pair(fds);
        close(fd);
        qio_aio_context_unref(ctx);
    }
}

static gboolean tick(void *opaque)
{
    ++*(int *)opaque;
    return FALSE;
}

TEST(always_ready_starves_no_timer)
{
    AioContext *ctx = new_loop();
    Seen seen = { 0 };
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), ticks = 0;
    QIOLoopWatch *timer;

    watch_fd(ctx, fd, G_IO_IN, &seen);
    timer = qio_aio_context_add_timer(ctx, 2, 0, tick, &ticks, NULL, NULL);
    while (!ticks) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >, 0);
    }
    qio_loop_watch_unref(timer);
    drop(&seen);
    close(fd);
    qio_aio_context_unref(ctx);
}

/* ---- errors ---- */

TEST(bad_arguments)
{
    AioContext *ctx = new_loop();
    Seen seen = { 0 };
    static const struct {
        int fd;
        GIOCondition condition;
        bool func;
        const char *text;
        int code;
    } rows[] = {
        { -1, G_IO_IN, true, "fd: -1", QIO_ERROR_INVAL },
        { 999, G_IO_IN, true, "descriptor 999", QIO_ERROR_SYSTEM },
        { 0, 0, true, "condition: 0x0", QIO_ERROR_INVAL },
        { 0, G_IO_NVAL, true, "condition: 0x20", QIO_ERROR_INVAL },
        { 0, G_IO_IN, false, "func", QIO_ERROR_INVAL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        test_note("row %zu", i);
        CHECK_PTR(qio_aio_context_add_fd_watch(ctx, rows[i].fd, rows[i].condition,
                                               rows[i].func ? see : NULL, &seen, see_destroyed,
                                               &err), ==, NULL);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].text);
        CHECK_INT(qio_error_get_code(err), ==, rows[i].code);
        qio_error_free(err);
    }
    CHECK_INT(seen.destroyed, ==, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, G_N_ELEMENTS(rows));
    CHECK_INT(seen.destroyed, ==, G_N_ELEMENTS(rows));
    CHECK_INT(seen.calls, ==, 0);
    qio_aio_context_unref(ctx);
}

TEST(epoll_has_no_room)
{
    AioContext *ctx = new_loop();
    Seen seen = { 0 }, stays = { 0 };
    Error *err = NULL;
    int fds[2];

    make_pair(fds);
    watch_fd(ctx, fds[0], G_IO_IN, &stays);
    seam_install();
    seam_fail(SEAM_epoll_ctl, 1, SEAM_ALWAYS, ENOSPC);
    /* A new one, and one that would widen another's. */
    for (int i = 0; i < 2; i++) {
        CHECK_PTR(qio_aio_context_add_fd_watch(ctx, fds[1 - i], G_IO_OUT, see, &seen,
                                               see_destroyed, &err), ==, NULL);
        CHECK_INT(qio_error_get_errno(err), ==, ENOSPC);
        qio_error_free(g_steal_pointer(&err));
    }
    seam_remove();
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 2);
    CHECK_INT(seen.destroyed, ==, 2);
    put(fds[1]);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 1);
    CHECK_INT(stays.condition, ==, G_IO_IN);
    drop(&stays);
    close_pair(fds);
    qio_aio_context_unref(ctx);
}

TEST(closed_loop_destroys_at_once)
{
    AioContext *ctx = new_loop();
    Seen seen = { 0 };
    Error *err = NULL;

    qio_aio_context_close(ctx, NULL);
    CHECK_PTR(qio_aio_context_add_fd_watch(ctx, 0, G_IO_IN, see, &seen, see_destroyed, &err), ==,
              NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    CHECK_INT(seen.destroyed, ==, 1);
    qio_aio_context_unref(ctx);
}

static void destroy_comes_back(void *opaque)
{
    Seen *seen = opaque;
    Error *err = NULL;

    seen->destroyed++;
    CHECK_PTR(qio_aio_context_add_fd_watch(seen->ctx, seen->fd, G_IO_IN, see, seen, NULL, &err),
              ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(g_steal_pointer(&err));
    CHECK_INT(qio_aio_context_dispatch(seen->ctx, 0, &err), ==, -1);
    qio_error_free(err);
    qio_aio_context_unref(qio_aio_context_ref(seen->ctx));
}

TEST(close_from_which_destroy_comes_back)
{
    AioContext *ctx = new_loop();
    Seen seen = { .ctx = ctx };
    QIOLoopWatch *watch;
    int fds[2];

    make_pair(fds);
    seen.fd = fds[0];
    watch = qio_aio_context_add_fd_watch(ctx, fds[0], G_IO_IN, see, &seen, destroy_comes_back,
                                         NULL);
    CHECK_PTR(watch, !=, NULL);
    qio_aio_context_unref(ctx);
    CHECK_INT(seen.destroyed, ==, 1);
    qio_loop_watch_unref(watch);
    close_pair(fds);
}

/* ---- many ---- */

TEST(more_than_a_batch)
{
    enum { N = 150 };
    AioContext *ctx = new_loop();
    Seen seen[N] = { { 0 } };
    int fds[N][2], total = 0;

    for (int i = 0; i < N; i++) {
        make_pair(fds[i]);
        watch_fd(ctx, fds[i][0], G_IO_OUT, &seen[i]);
    }
    /* Every one has its turn before any has its third. */
    while (total < 2 * N) {
        total += qio_aio_context_dispatch(ctx, -1, NULL);
    }
    for (int i = 0; i < N; i++) {
        CHECK_INT(seen[i].calls, >=, 1);
        CHECK_INT(seen[i].calls, <=, 3);
        drop(&seen[i]);
        close_pair(fds[i]);
    }
    qio_aio_context_unref(ctx);
}
