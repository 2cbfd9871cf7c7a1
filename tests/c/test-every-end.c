/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-every-end.c: on every class of channel: what moves no bytes touches nothing, and what is
 * closed is closed, from whatever state it was closed in.
 */
#include "line.h"
#include "seam.h"

#include <unistd.h>
#include <qio/channel-socket.h>

static char buf[64];
static struct iovec empty[2] = { { buf, 0 }, { NULL, 0 } };

static void for_each_line(void (*func)(Line *line))
{
    for (const LineKind *kind = line_kinds; kind->name; kind++) {
        Line line;

        test_note("%s", kind->name);
        line_make(&line, kind);
        func(&line);
        line_drop(&line);
    }
}

/* ---- no bytes ---- */

static void move_nothing(Line *line)
{
    static const int numbers[] = { EINTR, EAGAIN, EPIPE };
    QIOChannel *ioc = line->ioc;

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(numbers); i++) {
        CHECK_INT(qio_channel_set_blocking(ioc, i & 1, NULL), ==, 0);
        seam_install();
        errno = numbers[i / 2];
        CHECK_INT(qio_channel_read(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_write(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_readv(ioc, empty, 2, NULL), ==, 0);
        CHECK_INT(qio_channel_writev(ioc, empty, 2, NULL), ==, 0);
        CHECK_INT(qio_channel_readv(ioc, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_writev(ioc, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_try_read(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_try_write(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_read_all(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_read_all_eof(ioc, buf, 0, NULL), ==, 1);
        CHECK_INT(qio_channel_write_all(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_peek(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_unread(ioc, buf, 0, NULL), ==, 0);
        CHECK_INT(seam_hits_of_all(), ==, 0);
        seam_remove();
    }
}

TEST(nothing_to_move_touches_nothing)
{
    for_each_line(move_nothing);
}

/* ---- closed ---- */

static bool says_closed(int64_t result, Error *err, bool may_lack)
{
    QIOErrorCode code = qio_error_get_code(err);

    qio_error_free(err);
    return result == -1 && (code == QIO_ERROR_CLOSED || (may_lack && code == QIO_ERROR_NOTSUP));
}

#define CLOSED(call) \
    do { \
        Error *err = NULL; \
        long long result = (call); \
        CHECK(says_closed(result, err, false)); \
    } while (0)
/* A class may not have the method at all, and says that first. */
#define CLOSED_OR_LACKING(call) \
    do { \
        Error *err = NULL; \
        long long result = (call); \
        CHECK(says_closed(result, err, true)); \
    } while (0)

static void check_transfers(QIOChannel *ioc)
{
    const struct iovec newline = { (char *)"\n", 1 };
    struct iovec iov[2] = { { buf, 1 }, { buf + 1, 1 } };

    CLOSED(qio_channel_read(ioc, buf, 1, &err));
    CLOSED(qio_channel_write(ioc, buf, 1, &err));
    CLOSED(qio_channel_readv(ioc, iov, 2, &err));
    CLOSED(qio_channel_writev(ioc, iov, 2, &err));
    CLOSED(qio_channel_try_read(ioc, buf, 1, &err));
    CLOSED(qio_channel_try_write(ioc, buf, 1, &err));
    CLOSED(qio_channel_read_all(ioc, buf, 1, &err));
    CLOSED(qio_channel_read_all_eof(ioc, buf, 1, &err));
    CLOSED(qio_channel_write_all(ioc, buf, 1, &err));
    CLOSED(qio_channel_peek(ioc, buf, 1, &err));
    CLOSED(qio_channel_read_until(ioc, buf, 1, &newline, 1, 64, &err));
    CLOSED(qio_channel_unread(ioc, buf, 1, &err));
    CLOSED(qio_channel_flush(ioc, &err));
    CLOSED_OR_LACKING(qio_channel_pread(ioc, buf, 1, 0, &err));
    CLOSED_OR_LACKING(qio_channel_pwrite(ioc, buf, 1, 0, &err));
}

static void check_rest(QIOChannel *ioc)
{
    QIOPollFd poll_fd;

    CLOSED(qio_channel_set_blocking(ioc, true, &err));
    CLOSED(qio_channel_wait_timeout(ioc, G_IO_IN, 0, &err));
    CLOSED(qio_channel_wait_timeout(ioc, G_IO_OUT, -1, &err));
    CLOSED_OR_LACKING(qio_channel_get_poll(ioc, G_IO_IN, &poll_fd, &err));
    CLOSED_OR_LACKING(qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_BOTH, &err));
    CLOSED_OR_LACKING(qio_channel_io_seek(ioc, 0, SEEK_SET, &err));
    CLOSED_OR_LACKING(qio_channel_get_size(ioc, &err));
    CLOSED_OR_LACKING(qio_channel_get_fd(ioc, &err));
    CLOSED_OR_LACKING(qio_channel_take_fd(ioc, &err));
    qio_channel_set_delay(ioc, false);
    qio_channel_set_cork(ioc, true);
    qio_channel_wait(ioc, G_IO_IN);
    qio_channel_cancel(ioc, G_IO_IN | G_IO_OUT);
    CHECK_INT(qio_channel_get_pending(ioc), ==, 0);
    CHECK(!qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_FD_PASS));
    CHECK(!qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_LISTEN));
    CHECK(qio_channel_is_closed(ioc));
}

static int calls, frees;
static GIOCondition last;

static gboolean on_watch(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    calls++;
    last = condition;
    return TRUE;
}

static void on_free(gpointer data)
{
    frees++;
}

/* A later watch of GLib tells once and is gone; a loop refuses it. */
static void check_watches(QIOChannel *ioc)
{
    GMainContext *context = g_main_context_new();
    AioContext *loop = qio_aio_context_new(NULL);
    Error *err = NULL;

    calls = frees = 0;
    CHECK_INT(qio_channel_add_watch_full(ioc, G_IO_IN, on_watch, NULL, on_free, context), >, 0);
    for (int i = 0; i < 3; i++) {
        g_main_context_iteration(context, FALSE);
    }
    CHECK_INT(calls, ==, 1);
    CHECK_INT(last & G_IO_NVAL, ==, G_IO_NVAL);
    CHECK_INT(frees, ==, 1);
    CHECK_PTR(qio_channel_add_aio_watch(ioc, loop, G_IO_IN, on_watch, NULL, on_free, &err), ==,
              NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    CHECK_INT(frees, ==, 2);
    qio_error_free(err);
    qio_aio_context_unref(loop);
    g_main_context_unref(context);
}

/* The transfers look at nothing that another file may be by now. */
static void check_closed(Line *line)
{
    seam_install();
    check_transfers(line->ioc);
    CHECK_INT(seam_hits_of_all(), ==, 0);
    seam_remove();
    check_rest(line->ioc);
    check_watches(line->ioc);
    CHECK_INT(qio_channel_close(line->ioc, NULL), ==, 0);
}

static void close_fresh(Line *line)
{
    CHECK_INT(line_close(line, NULL), ==, 0);
    check_closed(line);
}

static void close_with_bytes_ahead(Line *line)
{
    if (line->feed >= 0) {
        CHECK_INT(write(line->feed, "abc", 3), ==, 3);
        CHECK_INT(qio_channel_peek(line->ioc, buf, 1, NULL), ==, 1);
        CHECK_INT(qio_channel_read(line->ioc, buf, 1, NULL), ==, 1);
    } else {
        CHECK_INT(qio_channel_unread(line->ioc, "abc", 3, NULL), ==, 0);
    }
    close_fresh(line);
}

static void close_shut_down(Line *line)
{
    qio_channel_shutdown(line->ioc, QIO_CHANNEL_SHUTDOWN_BOTH, NULL);
    close_fresh(line);
}

/* The far end is gone, and the error of a read waits behind bytes. */
static void close_failing(Line *line)
{
    if (line->feed >= 0) {
        CHECK_INT(write(line->feed, "abc", 3), ==, 3);
    }
    if (line->drain >= 0) {
        CHECK_INT(close(line->drain), ==, 0);
        line->feed = line->feed == line->drain ? -1 : line->feed;
        line->drain = -1;
    }
    qio_channel_try_peek(line->ioc, buf, 2, NULL);
    qio_channel_try_peek(line->ioc, buf, 60, NULL);
    qio_channel_try_write(line->ioc, buf, 1, NULL);
    close_fresh(line);
}

static void close_that_fails(Line *line)
{
    Error *err = NULL;
    int ret;

    seam_install();
    seam_fail(SEAM_close, 1, 1, EIO);
    ret = line_close(line, &err);
    CHECK_INT(ret, ==, seam_hits(SEAM_close) > 0 ? -1 : 0);
    CHECK(ret == 0 || qio_error_get_errno(err) == EIO);
    seam_remove();
    qio_error_free(err);
    check_closed(line);
}

TEST(closed_when_it_was_fresh)
{
    for_each_line(close_fresh);
}

TEST(closed_with_bytes_read_ahead)
{
    for_each_line(close_with_bytes_ahead);
}

TEST(closed_after_a_shutdown)
{
    for_each_line(close_shut_down);
}

TEST(closed_when_it_had_failed)
{
    for_each_line(close_failing);
}

TEST(closed_by_a_close_that_fails)
{
    for_each_line(close_that_fails);
}
