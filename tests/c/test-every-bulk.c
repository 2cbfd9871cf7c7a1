/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-every-bulk.c: a megabyte through every class of channel, in each of the ways there are to
 * wait, also while signals rain; and writing when nobody reads any more.
 *
 * Owns: the far end, a thread on bare descriptors, and the four ways.  Rule: what the interval
 * timer raises is handled without SA_RESTART, so every call that can be interrupted is.
 */
#include "line.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

enum { COUNT = 250, SIZE = 4194 };

typedef enum Way {
    BLOCKING,
    NONBLOCKING,
    COROUTINE,
    LOOP,
    WAYS,
} Way;

static void fill(uint8_t *bytes, int i)
{
    for (int k = 0; k < SIZE; k++) {
        bytes[k] = (uint8_t)((i * SIZE + k) % 251);
    }
}

static void check(const uint8_t *bytes, int i)
{
    uint8_t want[SIZE];

    fill(want, i);
    CHECK_MEM(bytes, want, SIZE);
}

/* ---- the far end ---- */

static void wait_for(int fd, short events)
{
    struct pollfd pfd = { .fd = fd, .events = events };

    while (poll(&pfd, 1, -1) < 0) {
        CHECK_INT(errno, ==, EINTR);
    }
}

static void far_transfer(int fd, uint8_t *bytes, bool writing)
{
    for (size_t done = 0; done < SIZE;) {
        ssize_t n = writing ? write(fd, bytes + done, SIZE - done)
                            : read(fd, bytes + done, SIZE - done);

        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        CHECK(n < 0 && (errno == EAGAIN || errno == EINTR));
        wait_for(fd, writing ? POLLOUT : POLLIN);
    }
}

static void *feed_all(void *opaque)
{
    Line *line = opaque;
    uint8_t bytes[SIZE];

    for (int i = 0; i < COUNT; i++) {
        fill(bytes, i);
        far_transfer(line->feed, bytes, true);
    }
    line_end_feed(line);
    return NULL;
}

static void *drain_all(void *opaque)
{
    Line *line = opaque;
    uint8_t bytes[SIZE];

    for (int i = 0; i < COUNT; i++) {
        far_transfer(line->drain, bytes, false);
        check(bytes, i);
    }
    return NULL;
}

/* ---- the near end ---- */

typedef struct Near {
    QIOChannel *ioc;
    AioContext *loop;
    bool writing;
    bool ended;
    int i;                      /* which piece, and how much of it has gone or come */
    size_t done;
    uint8_t bytes[SIZE];
} Near;

/* Whole pieces, and at the end of reading the end. */
static void transfer_all(void *opaque)
{
    Near *near = opaque;
    struct iovec iov[2] = { { near->bytes, 1000 }, { near->bytes + 1000, SIZE - 1000 } };

    for (int i = 0; i < COUNT && near->writing; i++) {
        fill(near->bytes, i);
        CHECK_INT(qio_channel_writev_all(near->ioc, iov, 2, NULL), ==, 0);
    }
    for (int i = 0; i < COUNT && !near->writing; i++) {
        CHECK_INT(qio_channel_readv_all(near->ioc, iov, 2, NULL), ==, 0);
        check(near->bytes, i);
    }
    if (!near->writing) {
        CHECK_INT(qio_channel_read_all_eof(near->ioc, (char *)near->bytes, 1, NULL), ==, 0);
    }
    near->ended = true;
}

static gboolean transfer_some(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Near *near = data;
    uint8_t *at = near->bytes + near->done;
    ssize_t n;

    if (near->writing && near->done == 0) {
        fill(near->bytes, near->i);
    }
    n = near->writing ? qio_channel_try_write(ioc, at, SIZE - near->done, NULL)
                      : qio_channel_try_read(ioc, at, SIZE - near->done, NULL);
    CHECK(n > 0 || (n == 0 && !near->writing && near->i == COUNT));
    near->done += (size_t)n;
    if (near->done == SIZE) {
        if (!near->writing) {
            check(near->bytes, near->i);
        }
        near->i++;
        near->done = 0;
    }
    near->ended = n == 0 || (near->writing && near->i == COUNT);
    return !near->ended;
}

/* -1 is INTR, where signals rain. */
static void run_loop(Near *near, bool storm)
{
    while (!near->ended) {
        CHECK_INT(qio_aio_context_dispatch(near->loop, -1, NULL), >=, storm ? -1 : 0);
    }
}

static void near_transfer(QIOChannel *ioc, bool writing, Way way, bool storm)
{
    Near *near = g_new0(Near, 1);

    near->ioc = ioc;
    near->writing = writing;
    CHECK_INT(qio_channel_set_blocking(ioc, way == BLOCKING, NULL), ==, 0);
    if (way == BLOCKING || way == NONBLOCKING) {
        transfer_all(near);
        g_free(near);
        return;
    }
    near->loop = qio_aio_context_new(NULL);
    if (way == COROUTINE) {
        qio_channel_attach_aio_context(ioc, near->loop);
        qio_coroutine_enter(qio_coroutine_create(transfer_all, near));
        run_loop(near, storm);
        qio_channel_detach_aio_context(ioc);
    } else {
        QIOLoopWatch *watch = qio_channel_add_aio_watch(ioc, near->loop,
                                                        writing ? G_IO_OUT : G_IO_IN,
                                                        transfer_some, near, NULL, NULL);

        run_loop(near, storm);
        qio_loop_watch_unref(watch);
    }
    qio_aio_context_unref(near->loop);
    g_free(near);
}

/* ---- signals ---- */

static _Atomic int alarms;

static void count_alarm(int signum)
{
    alarms++;
}

/* Around what the library does: the test's own making of a line is not proof against it. */
static void set_storm(bool on)
{
    const struct sigaction action = { .sa_handler = count_alarm };
    const struct itimerval every = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };

    CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
    CHECK_INT(setitimer(ITIMER_REAL, on ? &every : &never, NULL), ==, 0);
}

/* ---- all of it ---- */

static void one_way(const LineKind *kind, bool writing, Way way, bool storm)
{
    Line line;
    pthread_t far;

    test_note("%s, %s, way %d%s", kind->name, writing ? "out" : "in", way,
              storm ? ", in a storm" : "");
    line_make(&line, kind);
    if (kind->flows && (writing ? line.drain : line.feed) < 0) {
        line_drop(&line);
        return;
    }
    set_storm(storm);
    if (kind->flows) {
        CHECK_INT(pthread_create(&far, NULL, writing ? drain_all : feed_all, &line), ==, 0);
        near_transfer(line.ioc, writing, way, storm);
        pthread_join(far, NULL);
    } else if (writing) {
        near_transfer(line.ioc, true, way, storm);
        CHECK_INT(qio_channel_io_seek(line.ioc, 0, SEEK_SET, NULL), ==, 0);
        if (strcmp(kind->name, "null") != 0) {
            near_transfer(line.ioc, false, way, storm);
        }
    }
    set_storm(false);
    line_drop(&line);
}

static void every_kind(Way way, bool storm)
{
    for (const LineKind *kind = line_kinds; kind->name; kind++) {
        one_way(kind, true, way, storm);
        one_way(kind, false, way, storm);
    }
    CHECK(!storm || alarms > 10);
}

TEST(blocking)
{
    every_kind(BLOCKING, false);
}

TEST(non_blocking)
{
    every_kind(NONBLOCKING, false);
}

TEST(coroutine)
{
    every_kind(COROUTINE, false);
}

TEST(loop)
{
    every_kind(LOOP, false);
}

/* With the default disposition a SIGPIPE would end the process. */
TEST(writing_to_nobody_raises_no_signal)
{
    const struct sigaction plain = { .sa_handler = SIG_DFL };
    struct iovec iov[2] = { { (char *)"ab", 2 }, { (char *)"cd", 2 } };
    struct sigaction before;

    CHECK_INT(sigaction(SIGPIPE, &plain, &before), ==, 0);
    for (const LineKind *kind = line_kinds; kind->name; kind++) {
        Error *err = NULL;
        Line line;

        test_note("%s", kind->name);
        line_make(&line, kind);
        if (line.drain >= 0) {
            CHECK_INT(close(line.drain), ==, 0);
            line.feed = line.feed == line.drain ? -1 : line.feed;
            line.drain = -1;
            /* A network needs the answer to the first. */
            while (qio_channel_writev_all(line.ioc, iov, 2, &err) == 0) {
            }
            CHECK(qio_error_get_errno(err) == EPIPE || qio_error_get_errno(err) == ECONNRESET);
            qio_error_free(err);
            CHECK_INT(qio_channel_write(line.ioc, "x", 1, NULL), ==, -1);
            CHECK_INT(qio_channel_try_write(line.ioc, "x", 1, NULL), ==, -1);
        }
        line_drop(&line);
    }
    CHECK_INT(sigaction(SIGPIPE, &before, NULL), ==, 0);
}

#if !defined(__SANITIZE_THREAD__)       /* which disturbs the delivery of signals */

TEST(blocking_in_a_storm_of_signals)
{
    every_kind(BLOCKING, true);
}

TEST(non_blocking_in_a_storm_of_signals)
{
    every_kind(NONBLOCKING, true);
}

TEST(coroutine_in_a_storm_of_signals)
{
    every_kind(COROUTINE, true);
}

TEST(loop_in_a_storm_of_signals)
{
    every_kind(LOOP, true);
}

/* Signals neither end a wait of the seed's functions nor put its deadline off. */
TEST(deadlines_in_a_storm_of_signals)
{
    for (const LineKind *kind = line_kinds; kind->name; kind++) {
        Error *err = NULL;
        gint64 start;
        Line line;
        char byte;

        test_note("%s", kind->name);
        line_make(&line, kind);
        set_storm(true);
        if (line.feed >= 0) {
            qio_channel_set_timeout(line.ioc, 30);
            start = g_get_monotonic_time();
            CHECK_INT(qio_channel_read(line.ioc, &byte, 1, &err), ==, -1);
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
            CHECK_INT(g_get_monotonic_time() - start, >=, 30000);
            CHECK_INT(g_get_monotonic_time() - start, <, 10000000);
            qio_error_free(err);
        }
        set_storm(false);
        line_drop(&line);
    }
}

#endif
