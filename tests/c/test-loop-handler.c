/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-loop-handler.c: the pair of handlers of a descriptor.
 */
#include "loop-util.h"

typedef struct Handlers {
    AioContext *ctx;
    int fd, reads, writes;
    bool remove;
} Handlers;

static void on_write(void *opaque)
{
    ((Handlers *)opaque)->writes++;
}

static void on_read(void *opaque)
{
    Handlers *h = opaque;

    h->reads++;
    if (h->remove) {
        qio_aio_context_set_fd_handler(h->ctx, h->fd, NULL, NULL, NULL);
    }
}

TEST(fd_handlers)
{
    Handlers h = { .ctx = new_loop() };
    int fds[2];

    make_pair(fds);
    h.fd = fds[0];
    qio_aio_context_set_fd_handler(h.ctx, h.fd, on_read, NULL, &h);
    check_quiet(h.ctx);
    put(fds[1]);
    CHECK(qio_aio_context_poll(h.ctx, true));
    CHECK_INT(h.reads, ==, 1);
    /* Replaced: now both, in one call. */
    qio_aio_context_set_fd_handler(h.ctx, h.fd, on_read, on_write, &h);
    CHECK(qio_aio_context_poll(h.ctx, true));
    CHECK_INT(h.reads, ==, 2);
    CHECK_INT(h.writes, ==, 1);
    /* The first removes the pair: the second is not called any more. */
    h.remove = true;
    CHECK(qio_aio_context_poll(h.ctx, true));
    CHECK_INT(h.reads, ==, 3);
    CHECK_INT(h.writes, ==, 1);
    qio_aio_context_dispatch(h.ctx, 0, NULL);
    check_quiet(h.ctx);
    /* Removing none is nothing. */
    qio_aio_context_set_fd_handler(h.ctx, h.fd, NULL, NULL, NULL);
    /* One that is there when the loop goes. */
    qio_aio_context_set_fd_handler(h.ctx, h.fd, on_read, NULL, &h);
    qio_aio_context_unref(h.ctx);
    CHECK_INT(h.reads, ==, 3);
    close_pair(fds);
}

TEST(write_handler_hears_of_a_hang_up)
{
    Handlers h = { .ctx = new_loop() };
    int fds[2];

    make_pair(fds);
    qio_aio_context_set_fd_handler(h.ctx, fds[0], NULL, on_write, &h);
    close(fds[1]);
    CHECK(qio_aio_context_poll(h.ctx, true));
    CHECK_INT(h.writes, ==, 1);
    qio_aio_context_unref(h.ctx);
    close(fds[0]);
}

static int warnings;

static void note_warning(const char *domain, GLogLevelFlags level, const char *message,
                         void *opaque)
{
    CHECK_STR_HAS(message, "descriptor 900");
    warnings++;
}

TEST(handlers_that_cannot_be)
{
    Handlers h = { .ctx = new_loop() };

    g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
    g_log_set_default_handler(note_warning, NULL);
    warnings = 0;
    qio_aio_context_set_fd_handler(h.ctx, 900, on_read, NULL, &h);
    CHECK_INT(warnings, ==, 1);
    qio_aio_context_close(h.ctx, NULL);
    qio_aio_context_set_fd_handler(h.ctx, 900, on_read, NULL, &h);
    CHECK_INT(warnings, ==, 2);
    qio_aio_context_unref(h.ctx);
}
