/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop-util.h: what the tests of the loop share.
 */
#ifndef TESTS_LOOP_UTIL_H
#define TESTS_LOOP_UTIL_H

#include "runner.h"

#include "loop/loop.h"
#include "seam.h"

#include <glib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static inline AioContext *new_loop(void)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    CHECK_PTR(err, ==, NULL);
    CHECK_PTR(ctx, !=, NULL);
    return ctx;
}

static inline bool is_readable(AioContext *ctx)
{
    struct pollfd pfd = { .fd = qio_aio_context_get_fd(ctx), .events = POLLIN };

    return poll(&pfd, 1, 0) == 1;
}

/* Nothing is due, and a wait sleeps: it goes to epoll once, or once more for a removed timer,
 * instead of spinning. */
static inline void check_quiet(AioContext *ctx)
{
    long waits;

    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    /* The hour of a timer that was removed may come just now: one look in vain. */
    CHECK(!is_readable(ctx) || qio_aio_context_dispatch(ctx, 0, NULL) == 0);
    CHECK(!is_readable(ctx));
    seam_install();
    CHECK_INT(qio_aio_context_dispatch(ctx, 20, NULL), ==, 0);
    waits = seam_hits(SEAM_epoll_wait);
    seam_remove();
    CHECK_INT(waits, <=, 2);
}

/* The code of the error that a call set, which it frees. */
static inline int code_of(Error *err)
{
    int code;

    CHECK_PTR(err, !=, NULL);
    code = qio_error_get_code(err);
    qio_error_free(err);
    return code;
}

static inline void make_pair(int fds[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
}

static inline void close_pair(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static inline void put(int fd)
{
    CHECK_INT(write(fd, "x", 1), ==, 1);
}

/* A destroy notify or deferred function. */
static inline void count(void *opaque)
{
    ++*(int *)opaque;
}

#endif
