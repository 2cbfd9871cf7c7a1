/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture.c: every system call of the plain channels fails in turn, see torture.h.
 *
 * Owns: the scenarios.  Each makes what it needs, uses it, closes it.  An operation either
 * completes, and then its result is checked, or reports an error, and then something hard
 * must have struck; clean-up always runs to its end.
 * The numbers of runs are the counts measured when a scenario was written, less a margin: a
 * class that went past the seam would bring fewer.
 */
#include "runner.h"
#include "seam.h"
#include "testclock.h"
#include "torture.h"

#include <netinet/in.h>
#include <sys/un.h>
#include <qio/channel.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>
#include <qio/channel-socket.h>

#define TEXT "the quick brown fox"
#define TEXT_LEN ((ssize_t)sizeof(TEXT) - 1)

/* Says whether an operation went well; if not, there is an error and reason for one. */
static bool went_well(bool good, Error **err)
{
    if (good) {
        CHECK_PTR(*err, ==, NULL);
        return true;
    }
    CHECK_PTR(*err, !=, NULL);
    test_note("%s", qio_error_get_pretty(*err));
    CHECK(torture_may_fail());
    qio_error_free(*err);
    *err = NULL;
    return false;
}

/* Closes and drops; a close may report its own failure, but the channel is closed then. */
static void put_away(void *ioc)
{
    Error *err = NULL;

    if (ioc == NULL) {
        return;
    }
    went_well(qio_channel_close(ioc, &err) == 0, &err);
    CHECK(qio_channel_is_closed(ioc));
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    qio_object_unref(ioc);
}

/* Sends the text one way and checks it at the other end. */
static bool exchange(void *from, void *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN];

    if (!went_well(qio_channel_write_all(from, TEXT, TEXT_LEN, &err) == 0, &err) ||
        !went_well(qio_channel_read_all(to, buf, TEXT_LEN, &err) == 0, &err)) {
        return false;
    }
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

static void pair_exchange(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    char byte;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) && exchange(a, b) &&
        exchange(b, a) &&
        went_well(qio_channel_shutdown(QIO_CHANNEL(a), QIO_CHANNEL_SHUTDOWN_WRITE, &err) == 0,
                  &err)) {
        went_well(qio_channel_read(QIO_CHANNEL(b), &byte, 1, &err) == 0, &err);
    }
    put_away(a);
    put_away(b);
}

TEST(socket_pair)
{
    torture(pair_exchange, 40);
}

/* Single vectored transfers, as far as each goes. */
static void pair_vectors(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    char buf[TEXT_LEN];
    struct iovec out[2] = { { (char *)TEXT, 4 }, { (char *)TEXT + 4, TEXT_LEN - 4 } };
    struct iovec in[2] = { { buf, 7 }, { buf + 7, TEXT_LEN - 7 } };

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        ssize_t sent = qio_channel_writev(QIO_CHANNEL(a), out, 2, &err);

        if (went_well(sent > 0, &err)) {
            ssize_t got = qio_channel_readv(QIO_CHANNEL(b), in, 2, &err);

            if (went_well(got > 0, &err)) {
                CHECK_INT(got, <=, sent);
                CHECK_MEM(buf, TEXT, (size_t)got);
            }
        }
    }
    put_away(a);
    put_away(b);
}

TEST(socket_vectors)
{
    torture(pair_vectors, 20);
}

/* More than the socket holds, without blocking: the bytes go back and forth in pieces. */
static void pair_bulk(void)
{
    enum { BULK = 20000 };
    static char out[BULK];
    static char in[BULK];
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    ssize_t sent = 0;
    ssize_t got = 0;

    for (int i = 0; i < BULK; i++) {
        out[i] = (char)(i * 31 + i / 251);
    }
    if (!went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) ||
        !went_well(qio_channel_set_blocking(QIO_CHANNEL(a), false, &err) == 0, &err) ||
        !went_well(qio_channel_set_blocking(QIO_CHANNEL(b), false, &err) == 0, &err)) {
        goto out;
    }
    setsockopt(qio_channel_get_fd(QIO_CHANNEL(a), NULL), SOL_SOCKET, SO_SNDBUF, &(int) { 4096 },
               sizeof(int));
    while (got < BULK) {
        ssize_t n = 0;

        if (sent < BULK) {
            n = qio_channel_write(QIO_CHANNEL(a), out + sent, (size_t)(BULK - sent), &err);
            if (n != QIO_CHANNEL_ERR_BLOCK && !went_well(n > 0, &err)) {
                goto out;
            }
            sent += n > 0 ? n : 0;
        }
        n = qio_channel_read(QIO_CHANNEL(b), in + got, (size_t)(BULK - got), &err);
        if (n != QIO_CHANNEL_ERR_BLOCK && !went_well(n > 0, &err)) {
            goto out;
        }
        got += n > 0 ? n : 0;
    }
    CHECK_INT(sent, ==, BULK);
    CHECK_MEM(in, out, BULK);
out:
    put_away(a);
    put_away(b);
}

TEST(socket_bulk)
{
    torture(pair_bulk, 70);
}

/* Reading to a line's end and looking ahead keep what came with it. */
static void pair_read_ahead(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    struct iovec newline = { (char *)"\n", 1 };
    char buf[16] = { 0 };

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_write_all(QIO_CHANNEL(a), "one\ntwo\n", 8, &err) == 0, &err) &&
        went_well(qio_channel_peek(QIO_CHANNEL(b), buf, 1, &err) == 1, &err)) {
        CHECK_STR(buf, "o");
        if (went_well(qio_channel_read_until(QIO_CHANNEL(b), buf, sizeof(buf), &newline, 1, 100,
                                             &err) == 4, &err)) {
            CHECK_STR(buf, "one\n");
            if (went_well(qio_channel_read_all(QIO_CHANNEL(b), buf, 4, &err) == 0, &err)) {
                CHECK_STR(buf, "two\n");
            }
        }
    }
    put_away(a);
    put_away(b);
}

TEST(socket_read_ahead)
{
    torture(pair_read_ahead, 30);
}

/* A server and a client of one thread: connecting is done when the kernel has queued it. */
static void connect_and_accept(struct sockaddr *addr, socklen_t len)
{
    QIOChannelSocket *server = qio_channel_socket_new();
    QIOChannelSocket *client = qio_channel_socket_new();
    QIOChannelSocket *accepted = NULL;
    struct sockaddr_storage chosen = { 0 };
    Error *err = NULL;
    int chosen_len;

    if (!went_well(qio_channel_socket_listen_sockaddr(server, addr, len, 4, &err) == 0, &err)) {
        goto out;
    }
    chosen_len = qio_channel_socket_get_sockaddr(server, false, &chosen, &err);
    if (!went_well(chosen_len > 0, &err) ||
        !went_well(qio_channel_socket_connect_sockaddr(client, (struct sockaddr *)&chosen,
                                                       (socklen_t)chosen_len, 5000, false,
                                                       &err) == 0, &err)) {
        goto out;
    }
    accepted = qio_channel_socket_accept(server, &err);
    if (went_well(accepted != NULL, &err) && exchange(client, accepted)) {
        exchange(accepted, client);
    }
out:
    put_away(accepted);
    put_away(client);
    put_away(server);
}

/* A full backlog is waited for until the deadline: no time passes on the test clock. */
static void torture_connect(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

static void unix_connect(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", test_dir());
    connect_and_accept((struct sockaddr *)&addr, sizeof(addr));
    unlink(addr.sun_path);
}

TEST(connect_unix)
{
    torture_connect(unix_connect, 80);
}

static void tcp_connect(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

    connect_and_accept((struct sockaddr *)&addr, sizeof(addr));
}

TEST(connect_tcp)
{
    torture_connect(tcp_connect, 80);
}

static void refused_connect(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    QIOChannelSocket *client = qio_channel_socket_new();
    Error *err = NULL;

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/nobody", test_dir());
    CHECK_INT(qio_channel_socket_connect_sockaddr(client, (struct sockaddr *)&addr, sizeof(addr),
                                                  5000, false, &err), ==, -1);
    CHECK_PTR(err, !=, NULL);
    qio_error_free(err);
    put_away(client);
}

TEST(connect_to_nobody)
{
    torture_connect(refused_connect, 10);
}

/* Descriptors arrive with the bytes they were sent with, or not at all. */
static void pass_fds(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    struct iovec out = { (char *)TEXT, TEXT_LEN };
    char buf[TEXT_LEN];
    struct iovec in = { buf, TEXT_LEN };
    int sent[2] = { STDIN_FILENO, STDERR_FILENO };
    int *fds = NULL;
    size_t nfds = 0;
    Error *err = NULL;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_writev_full(QIO_CHANNEL(a), &out, 1, sent, 2, &err) > 0, &err) &&
        went_well(qio_channel_readv_full(QIO_CHANNEL(b), &in, 1, &fds, &nfds, &err) > 0, &err)) {
        CHECK_INT(nfds, ==, 2);
    } else {
        CHECK_PTR(fds, ==, NULL);
        CHECK_INT(nfds, ==, 0);
    }
    for (size_t i = 0; i < nfds; i++) {
        CHECK_INT(fcntl(fds[i], F_GETFD), ==, FD_CLOEXEC);
        CHECK_INT(close(fds[i]), ==, 0);
    }
    g_free(fds);
    put_away(a);
    put_away(b);
}

TEST(socket_fds)
{
    torture(pass_fds, 30);
}

/* Descriptors that nobody asked for are closed. */
static void pass_unwanted_fds(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    struct iovec out = { (char *)TEXT, 1 };
    char byte;
    int sent[2] = { STDIN_FILENO, STDERR_FILENO };
    Error *err = NULL;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_writev_full(QIO_CHANNEL(a), &out, 1, sent, 2, &err) > 0, &err)) {
        went_well(qio_channel_read(QIO_CHANNEL(b), &byte, 1, &err) == 1, &err);
    }
    put_away(a);
    put_away(b);
}

TEST(socket_unwanted_fds)
{
    torture(pass_unwanted_fds, 20);
}

static void file_transfer(void)
{
    QIOChannelFile *file;
    Error *err = NULL;
    char path[128];
    char buf[TEXT_LEN];
    ssize_t n;

    g_snprintf(path, sizeof(path), "%s/file", test_dir());
    file = qio_channel_file_new_path(path, O_RDWR | O_CREAT | O_TRUNC, 0600, &err);
    if (!went_well(file != NULL, &err)) {
        return;
    }
    if (went_well(qio_channel_write_all(QIO_CHANNEL(file), TEXT, TEXT_LEN, &err) == 0, &err) &&
        went_well(qio_channel_io_seek(QIO_CHANNEL(file), 0, SEEK_SET, &err) == 0, &err) &&
        went_well(qio_channel_read_all(QIO_CHANNEL(file), buf, TEXT_LEN, &err) == 0, &err)) {
        CHECK_MEM(buf, TEXT, TEXT_LEN);
        n = qio_channel_pwrite(QIO_CHANNEL(file), "THE", 3, 0, &err);
        if (went_well(n > 0, &err)) {
            ssize_t got = qio_channel_pread(QIO_CHANNEL(file), buf, 3, 0, &err);

            if (went_well(got > 0, &err)) {
                CHECK_MEM(buf, "THE", (size_t)MIN(got, n));
            }
        }
        went_well(qio_channel_flush(QIO_CHANNEL(file), &err) == 0, &err);
    }
    put_away(file);
}

TEST(file)
{
    torture(file_transfer, 40);
}

/* A pipe that came from outside is never made non-blocking. */
static void pipe_transfer(void)
{
    QIOChannelFile *reader;
    QIOChannelFile *writer;
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    reader = qio_channel_file_new_fd(fds[0]);
    writer = qio_channel_file_new_fd(fds[1]);
    exchange(writer, reader);
    CHECK_INT(fcntl(fds[0], F_GETFL) & O_NONBLOCK, ==, 0);
    put_away(writer);
    put_away(reader);
}

TEST(inherited_pipe)
{
    torture(pipe_transfer, 20);
}

/* A child whose end the core was made not to see, or not to wait for, is the test's. */
static void put_command_away(QIOChannelCommand *command)
{
    pid_t pid = qio_channel_command_get_pid(command);
    Error *err = NULL;

    went_well(qio_channel_close(QIO_CHANNEL(command), &err) == 0, &err);
    if (torture_may_fail() && (torture_call() == SEAM_waitid || torture_call() == SEAM_poll)) {
        waitpid(pid, NULL, 0);
    }
    put_away(command);
}

static void run_cat(void)
{
    static const char *const argv[] = { "/bin/cat", NULL };
    QIOChannelCommand *command;
    Error *err = NULL;
    int exit_status = -2;
    int signum = 0;
    char byte;

    command = qio_channel_command_new_spawn(argv, O_RDWR, &err);
    if (!went_well(command != NULL, &err)) {
        return;
    }
    if (exchange(command, command) &&
        went_well(qio_channel_shutdown(QIO_CHANNEL(command), QIO_CHANNEL_SHUTDOWN_WRITE,
                                       &err) == 0, &err) &&
        went_well(qio_channel_read(QIO_CHANNEL(command), &byte, 1, &err) == 0, &err) &&
        went_well(qio_channel_command_wait_exit(command, 5000, false, &err) == 1, &err)) {
        CHECK_INT(qio_channel_command_get_exit_status(command, &exit_status, &signum), ==, 1);
        CHECK(exit_status == 0 || (exit_status == -1 && torture_may_fail()));
        CHECK_INT(signum, ==, 0);
    }
    put_command_away(command);
}

TEST(command, .timeout_s = 60)
{
    torture(run_cat, 60);
}

static void kill_child(void)
{
    static const char *const argv[] = { "/bin/cat", NULL };
    QIOChannelCommand *command;
    Error *err = NULL;

    command = qio_channel_command_new_spawn(argv, O_RDWR, &err);
    if (!went_well(command != NULL, &err)) {
        return;
    }
    went_well(qio_channel_command_kill(command, SIGKILL, &err) == 0, &err);
    put_command_away(command);
}

TEST(command_killed, .timeout_s = 60)
{
    torture(kill_child, 30);
}

static void spawn_nothing(void)
{
    static const char *const argv[] = { "/no/such/program", NULL };
    Error *err = NULL;

    CHECK_PTR(qio_channel_command_new_spawn(argv, O_RDWR, &err), ==, NULL);
    CHECK_PTR(err, !=, NULL);
    qio_error_free(err);
}

TEST(command_that_is_not_there)
{
    torture(spawn_nothing, 5);
}

/* A wait that a signal ended says so, and is begun again. */
static bool wait_gives(QIOChannelSocket *ioc, GIOCondition condition, int timeout_ms,
                       GIOCondition *ready)
{
    Error *err = NULL;
    int ret;

    do {
        qio_error_free(err);
        err = NULL;
        ret = qio_channel_wait_timeout(QIO_CHANNEL(ioc), condition, timeout_ms, &err);
    } while (ret < 0 && qio_error_get_code(err) == QIO_ERROR_INTR);
    *ready = ret >= 0 ? (GIOCondition)ret : 0;
    return went_well(ret >= 0, &err);
}

static void wait_both_ways(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    GIOCondition ready;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        if (wait_gives(b, G_IO_IN, 1, &ready)) {
            CHECK_INT(ready, ==, 0);
        }
        if (wait_gives(b, G_IO_OUT, 5000, &ready)) {
            CHECK_INT(ready, ==, G_IO_OUT);
        }
        put_away(a);
        a = NULL;
        if (wait_gives(b, G_IO_IN, 5000, &ready)) {
            CHECK_INT(ready & G_IO_IN, ==, G_IO_IN);
        }
    }
    put_away(a);
    put_away(b);
}

TEST(wait)
{
    torture(wait_both_ways, 15);
}

/* -- the loop ---------------------------------------------------------------------- */

static int notified;

static void count_notify(void *opaque)
{
    notified++;
}

static gboolean read_once(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Error *err = NULL;
    char byte;
    ssize_t n = qio_channel_read(ioc, &byte, 1, &err);

    went_well(n == 1 || n == QIO_CHANNEL_ERR_BLOCK, &err);
    *(bool *)data = true;
    return FALSE;
}

/* Dispatches until the flag is set, at most a few times: faults may cost a turn. */
static void dispatch_until(AioContext *ctx, const bool *flag)
{
    for (int i = 0; i < 10 && !*flag; i++) {
        Error *err = NULL;

        if (qio_aio_context_dispatch(ctx, 100, &err) < 0) {
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
            qio_error_free(err);
        }
    }
}

static void loop_watch(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    QIOLoopWatch *watch;
    bool called = false;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    notified = 0;
    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_write_all(QIO_CHANNEL(a), "x", 1, &err) == 0, &err)) {
        watch = qio_channel_add_aio_watch(QIO_CHANNEL(b), ctx, G_IO_IN, read_once, &called,
                                          count_notify, &err);
        if (went_well(watch != NULL, &err)) {
            dispatch_until(ctx, &called);
            CHECK(called || torture_may_fail());
            qio_loop_watch_unref(watch);
        }
        put_away(a);
        put_away(b);
        CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
        CHECK_INT(notified, ==, 1);
    } else {
        put_away(a);
        put_away(b);
    }
    qio_aio_context_unref(ctx);
}

TEST(loop_watches_a_channel)
{
    torture(loop_watch, 60);
}

static gboolean set_flag(void *opaque)
{
    *(bool *)opaque = true;
    return FALSE;
}

static void loop_timer(void)
{
    QIOLoopWatch *timer;
    bool called = false;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    notified = 0;
    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    timer = qio_aio_context_add_timer(ctx, 1, 0, set_flag, &called, count_notify, &err);
    if (went_well(timer != NULL, &err)) {
        dispatch_until(ctx, &called);
        CHECK(called || torture_may_fail());
        qio_loop_watch_unref(timer);
    }
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(notified, ==, 1);
    qio_aio_context_unref(ctx);
}

TEST(loop_fires_a_timer)
{
    torture(loop_timer, 30);
}

typedef struct Reading {
    QIOChannelSocket *from;
    bool done;
} Reading;

static void read_in_coroutine(void *opaque)
{
    Reading *reading = opaque;
    char buf[TEXT_LEN];
    Error *err = NULL;

    if (went_well(qio_channel_read_all(QIO_CHANNEL(reading->from), buf, TEXT_LEN, &err) == 0,
                  &err)) {
        CHECK_MEM(buf, TEXT, TEXT_LEN);
    }
    reading->done = true;
}

/* A coroutine that waits comes to its end whatever fails, at the latest when its channel is
 * closed. */
static void resume_reader(AioContext *ctx, QIOChannelSocket *to, QIOChannelSocket *from)
{
    Reading reading = { .from = from };
    Coroutine *co = qio_coroutine_create(read_in_coroutine, &reading);
    Error *err = NULL;

    if (co == NULL) {
        CHECK(torture_may_fail());      /* no stack for it */
        return;
    }
    qio_channel_attach_aio_context(QIO_CHANNEL(from), ctx);
    qio_coroutine_enter(co);
    if (went_well(qio_channel_write_all(QIO_CHANNEL(to), TEXT, TEXT_LEN, &err) == 0, &err)) {
        dispatch_until(ctx, &reading.done);
    }
    CHECK(reading.done || torture_may_fail());
    went_well(qio_channel_close(QIO_CHANNEL(from), &err) == 0, &err);
    dispatch_until(ctx, &reading.done);
    CHECK(reading.done);
}

static void loop_coroutine(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        resume_reader(ctx, a, b);
    }
    put_away(a);
    put_away(b);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    qio_aio_context_unref(ctx);
}

TEST(loop_resumes_a_coroutine)
{
    torture(loop_coroutine, 60);
}
