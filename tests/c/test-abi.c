/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi.c: what the flat ABI promises of channels, descriptors and options, beyond what core
 * promises below it.  Loops and watches: test-abi-loop.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <qio/qioh-glib.h>
#include <qio/channel-null.h>
#include "runner.h"

static void make_pair(qioh_channel **pair)
{
    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
}

static void drop_pair(qioh_channel **pair)
{
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

/* ---- arguments ---- */

TEST(bad_arguments_are_inval_and_named)
{
    qioh_iovec iov[1025] = { { NULL, 0 } };
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    uint32_t events;
    int32_t number;
    char buf[8];

    make_pair(pair);
    CHECK_INT(qioh_channel_read(pair[0], NULL, 1, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "buf");
    CHECK_INT(qioh_channel_write(pair[0], NULL, 1, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_read(pair[0], buf, (size_t)INT64_MAX + 1, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "len");
    CHECK_INT(qioh_channel_try_write(pair[0], buf, SIZE_MAX, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_readv(pair[0], NULL, 1, 0, NULL, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "iov");
    CHECK_INT(qioh_channel_readv(pair[0], iov, 1025, 0, NULL, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "1024");
    CHECK_INT(qioh_channel_readv(pair[0], iov, 1, 2, NULL, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "flags");
    iov[0].len = 3;
    CHECK_INT(qioh_channel_writev(pair[0], iov, 1, 0, NULL, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "iov[0]");
    CHECK_INT(qioh_channel_wait(pair[0], 0, 0, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_wait(pair[0], QIOH_NVAL, 0, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "condition");
    CHECK_INT(qioh_channel_wait(pair[0], QIOH_IN, -2, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "timeout_ms");
    CHECK_INT(qioh_channel_set_timeout(pair[0], -7, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_get_timeout(pair[0], NULL, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_shutdown(pair[0], 3, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_has_feature(pair[0], 3, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_get_poll(pair[0], QIOH_IN, NULL, &events, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_get_poll(pair[0], QIOH_IN | QIOH_OUT, &number, &events, &error), ==,
              QIOH_E_INVAL);
    CHECK_INT(qioh_channel_peek(pair[0], buf, 4, 8, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_pread(pair[0], buf, 4, -1, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_new_pair(NULL, &error), ==, QIOH_E_INVAL);
    CHECK_PTR(qioh_channel_new_fd(-1, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_INVAL);
    CHECK_PTR(qioh_channel_new_file(NULL, "r", 0, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "path");
    CHECK_PTR(qioh_channel_new_file("/dev/null", "q", 0, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "mode");
    CHECK_PTR(qioh_channel_new_file("/dev/null", NULL, 0, &error), ==, NULL);
    CHECK_PTR(qioh_channel_new_file("/dev/null", "r", 010000, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "permissions");
    CHECK_PTR(qioh_channel_new_buffer(NULL, 1, &error), ==, NULL);
    CHECK_PTR(qioh_channel_new_buffer(buf, SIZE_MAX, &error), ==, NULL);
    CHECK_PTR(qioh_channel_open_uri(NULL, NULL, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "uri");
    CHECK_PTR(qioh_channel_new_command(NULL, NULL, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "argv");
    drop_pair(pair);
}

TEST(transfers_of_nothing_are_0_and_touch_nothing)
{
    qioh_iovec empty[2] = { { NULL, 0 }, { NULL, 0 } };
    qioh_channel *pair[2];

    make_pair(pair);
    CHECK_INT(qioh_channel_read(pair[0], NULL, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_write(pair[0], NULL, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_readv(pair[0], empty, 2, 0, NULL, NULL), ==, 0);
    CHECK_INT(qioh_channel_writev(pair[0], NULL, 0, 0, NULL, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(pair[0], NULL, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all_eof(pair[0], NULL, 0, NULL), ==, 1);
    CHECK_INT(qioh_channel_write_all(pair[0], NULL, 0, NULL), ==, 0);
    drop_pair(pair);
}

/* ---- blocking and its ends ---- */

TEST(mode_decides_and_try_forms_do_not_care)
{
    qioh_iovec iov;
    qioh_channel *pair[2];
    char buf[8];

    iov = (qioh_iovec){ buf, sizeof(buf) };
    make_pair(pair);
    CHECK_INT(qioh_channel_get_blocking(pair[0], NULL), ==, 1);
    CHECK_INT(qioh_channel_try_read(pair[0], buf, 8, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_readv(pair[0], &iov, 1, QIOH_DONTWAIT, NULL, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_peek(pair[0], buf, 8, QIOH_DONTWAIT, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_set_blocking(pair[0], 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_get_blocking(pair[0], NULL), ==, 0);
    CHECK_INT(qioh_channel_read(pair[0], buf, 8, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_readv(pair[0], &iov, 1, 0, NULL, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_set_blocking(pair[0], 7, NULL), ==, 0);
    CHECK_INT(qioh_channel_get_blocking(pair[0], NULL), ==, 1);
    drop_pair(pair);
}

TEST(blocking_read_times_out)
{
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    int32_t timeout_ms = 0;
    char buf[8];

    make_pair(pair);
    CHECK_INT(qioh_channel_get_timeout(pair[0], &timeout_ms, NULL), ==, 0);
    CHECK_INT(timeout_ms, ==, -1);
    CHECK_INT(qioh_channel_set_timeout(pair[0], 20, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(pair[0], buf, 8, &error), ==, QIOH_E_TIMEOUT);
    CHECK_INT(error.code, ==, QIOH_E_TIMEOUT);
    CHECK_INT(qioh_channel_get_timeout(pair[0], &timeout_ms, NULL), ==, 0);
    CHECK_INT(timeout_ms, ==, 20);
    drop_pair(pair);
}

TEST(blocking_write_is_all_or_an_error_with_bytes)
{
    const size_t len = 4 << 20;     /* more than a socket holds */
    char *bytes = calloc(1, len);
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    int64_t n, got;

    make_pair(pair);
    CHECK_INT(qioh_channel_set_timeout(pair[0], 20, NULL), ==, 0);
    n = qioh_channel_write(pair[0], bytes, len, &error);
    CHECK_INT(n, ==, QIOH_E_TIMEOUT);
    CHECK_INT(error.bytes, >, 0);
    CHECK_INT(error.bytes, <, len);
    for (got = 0; (n = qioh_channel_try_read(pair[1], bytes, len, NULL)) > 0; got += n) {
    }
    CHECK_INT(n, ==, QIOH_E_AGAIN);
    CHECK_INT(got, ==, error.bytes);

    CHECK_INT(qioh_channel_set_blocking(pair[0], 0, NULL), ==, 0);
    n = qioh_channel_write(pair[0], bytes, len, NULL);
    CHECK_INT(n, >, 0);
    CHECK_INT(n, <, len);
    CHECK_INT(qioh_channel_write(pair[0], bytes, len, NULL), ==, QIOH_E_AGAIN);
    free(bytes);
    drop_pair(pair);
}

static void on_signal(int signum)
{
}

/* A signal every 2 ms until told otherwise: one of them finds the thread asleep. */
static void signal_often(int every_us)
{
    struct itimerval period = { { 0, every_us }, { 0, every_us } };

    CHECK_INT(setitimer(ITIMER_REAL, &period, NULL), ==, 0);
}

TEST(a_signal_ends_every_wait_with_intr)
{
    struct sigaction action = { .sa_handler = on_signal };
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    char buf[8];

    make_pair(pair);
    sigaction(SIGALRM, &action, NULL);
    signal_often(2000);
    CHECK_INT(qioh_channel_read(pair[0], buf, 8, &error), ==, QIOH_E_INTR);
    CHECK_INT(error.code, ==, QIOH_E_INTR);
    CHECK_INT(qioh_channel_wait(pair[0], QIOH_IN, -1, NULL), ==, QIOH_E_INTR);
    CHECK_INT(qioh_channel_write_all(pair[0], "12", 2, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(pair[1], buf, 8, &error), ==, QIOH_E_INTR);
    CHECK_INT(error.bytes, ==, 2);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, QIOH_E_INTR);
    CHECK_INT(qioh_loop_wait(loop, -1, NULL), ==, QIOH_E_INTR);
    CHECK_INT(qioh_loop_run(loop, NULL), ==, QIOH_E_INTR);
    signal_often(0);
    signal(SIGALRM, SIG_DFL);
    qioh_loop_unref(loop);
    drop_pair(pair);
}

TEST(the_all_forms_tell_how_far_they_came)
{
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    char buf[8];

    make_pair(pair);
    CHECK_INT(qioh_channel_write_all(pair[0], "abc", 3, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(pair[0], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all_eof(pair[1], buf, 5, &error), ==, QIOH_E_EOF);
    CHECK_INT(error.bytes, ==, 3);
    CHECK_INT(qioh_channel_read_all_eof(pair[1], buf, 5, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(pair[1], buf, 5, &error), ==, QIOH_E_EOF);
    CHECK_INT(error.bytes, ==, 0);
    CHECK_INT(qioh_channel_read(pair[1], buf, 5, NULL), ==, 0);
    drop_pair(pair);
}

/* ---- after close ---- */

TEST(closed_is_closed_and_what_is_known_stays)
{
    qioh_channel *channel = qioh_channel_new_buffer("abc", 3, NULL);
    qioh_error error = { 0 };
    int32_t number;
    char buf[8];

    CHECK_INT(qioh_channel_set_name(channel, "b", NULL), ==, 0);
    CHECK_INT(qioh_channel_close(channel, NULL), ==, 0);
    CHECK_INT(qioh_channel_close(channel, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(channel, buf, 8, &error), ==, QIOH_E_CLOSED);
    CHECK_STR_HAS(error.message, "closed");
    CHECK_INT(qioh_channel_read(channel, buf, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_write(channel, buf, 8, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_peek(channel, buf, 8, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_seek(channel, 0, SEEK_SET, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_flush(channel, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_get_size(channel, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_get_pending(channel, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_set_blocking(channel, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_cancel(channel, QIOH_IN, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_get_fd(channel, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_dup_fd(channel, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_CHANNEL_BUFFER);
    CHECK_INT(qioh_channel_get_name(channel, buf, 8, NULL), ==, 1);
    CHECK_INT(qioh_channel_get_blocking(channel, NULL), ==, 1);
    CHECK_INT(qioh_channel_get_timeout(channel, &number, NULL), ==, 0);
    qioh_channel_unref(channel);
    CHECK_INT(qioh_channel_close(channel, NULL), ==, QIOH_E_BADHANDLE);
}

/* ---- one reader and one writer ---- */

static void *read_one(void *channel)
{
    char buf[4];
    int64_t n;

    /* The other thread looks in from time to time. */
    do {
        n = qioh_channel_read(channel, buf, 4, NULL);
    } while (n == QIOH_E_BUSY);
    CHECK_INT(n, ==, 2);
    return NULL;
}

TEST(a_second_reader_is_busy_and_a_writer_is_not)
{
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    pthread_t thread;
    char buf[4];
    int64_t n;

    make_pair(pair);
    pthread_create(&thread, NULL, read_one, pair[0]);
    /* The other has to be inside first: until then this finds nothing to read. */
    while ((n = qioh_channel_try_read(pair[0], buf, 4, &error)) == QIOH_E_AGAIN) {
        sched_yield();
    }
    CHECK_INT(n, ==, QIOH_E_BUSY);
    CHECK_STR_HAS(error.message, "read");
    CHECK_INT(qioh_channel_seek(pair[0], 0, SEEK_SET, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_take_fd(pair[0], NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_write(pair[0], "x", 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_write(pair[1], "yz", 2, NULL), ==, 2);
    pthread_join(thread, NULL);
    drop_pair(pair);
}

/* ---- descriptors ---- */

TEST(fdset_keeps_indexes_and_owns_what_is_left)
{
    qioh_fdset *set = qioh_fdset_new(NULL);
    qioh_error error = { 0 };
    int first, second;

    CHECK_INT(qioh_fdset_add(set, 0, NULL), ==, 0);
    CHECK_INT(qioh_fdset_add(set, 0, NULL), ==, 0);
    CHECK_INT(qioh_fdset_count(set, NULL), ==, 2);
    first = qioh_fdset_get_fd(set, 0, NULL);
    second = qioh_fdset_get_fd(set, 1, NULL);
    CHECK_INT(fcntl(first, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    CHECK_INT(qioh_fdset_take_fd(set, 0, NULL), ==, first);
    CHECK_INT(qioh_fdset_count(set, NULL), ==, 2);
    CHECK_INT(qioh_fdset_take_fd(set, 0, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "taken");
    CHECK_INT(qioh_fdset_get_fd(set, 2, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "index");
    CHECK_INT(qioh_fdset_get_fd(set, 1, NULL), ==, second);
    CHECK_INT(qioh_fdset_add(set, 987654, &error), ==, QIOH_E_SYSTEM);
    CHECK_INT(error.sys_errno, ==, EBADF);
    qioh_fdset_unref(set);
    CHECK_ERRNO(fcntl(second, F_GETFD), EBADF);
    CHECK_INT(fcntl(first, F_GETFD), >=, 0);
    close(first);
}

TEST(fdset_holds_what_one_message_carries)
{
    qioh_fdset *set = qioh_fdset_new(NULL);
    qioh_error error = { 0 };

    for (int i = 0; i < 253; i++) {
        CHECK_INT(qioh_fdset_add(set, 0, NULL), ==, 0);
    }
    CHECK_INT(qioh_fdset_add(set, 0, &error), ==, QIOH_E_LIMIT);
    CHECK_STR_HAS(error.message, "253");
    qioh_fdset_unref(set);
}

TEST(descriptors_travel_with_the_bytes)
{
    qioh_fdset *out = qioh_fdset_new(NULL), *in = qioh_fdset_new(NULL);
    char text[4] = "abc", buf[8];
    qioh_iovec send = { text, 3 }, receive = { buf, sizeof(buf) };
    qioh_channel *pair[2], *null = qioh_channel_new_null(NULL);
    qioh_error error = { 0 };
    int pipe_fds[2];

    make_pair(pair);
    CHECK_INT(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    CHECK_INT(qioh_fdset_add(out, pipe_fds[0], NULL), ==, 0);
    CHECK_INT(qioh_fdset_add(out, pipe_fds[1], NULL), ==, 0);
    CHECK_INT(qioh_channel_writev(pair[0], &send, 1, 0, out, NULL), ==, 3);
    CHECK_INT(qioh_fdset_count(out, NULL), ==, 2);
    CHECK_INT(qioh_channel_readv(pair[1], &receive, 1, 0, in, NULL), ==, 3);
    CHECK_INT(qioh_fdset_count(in, NULL), ==, 2);
    CHECK_INT(write(qioh_fdset_get_fd(in, 1, NULL), "!", 1), ==, 1);
    CHECK_INT(read(pipe_fds[0], buf, 1), ==, 1);
    /* Descriptors need bytes and a channel that passes them. */
    CHECK_INT(qioh_channel_writev(pair[0], &send, 0, 0, out, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_writev(null, &send, 1, 0, out, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "fds");
    CHECK_INT(qioh_channel_readv(pair[1], &receive, 1, QIOH_DONTWAIT, in, NULL), ==,
              QIOH_E_AGAIN);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    qioh_fdset_unref(in);
    qioh_fdset_unref(out);
    qioh_channel_unref(null);
    drop_pair(pair);
}

TEST(new_fd_takes_the_descriptor_on_success_only)
{
    qioh_error error = { 0 };
    qioh_channel *channel;
    int fds[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    channel = qioh_channel_new_fd(fds[0], &error);
    CHECK_PTR(channel, !=, NULL);
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_CHANNEL_SOCKET);
    CHECK_INT(qioh_channel_get_fd(channel, NULL), ==, fds[0]);
    qioh_channel_unref(channel);
    CHECK_ERRNO(fcntl(fds[0], F_GETFD), EBADF);
    close(fds[1]);
}

TEST(take_fd_leaves_a_closed_channel)
{
    qioh_channel *pair[2];
    int fd, copy;
    char buf[4];

    make_pair(pair);
    copy = qioh_channel_dup_fd(pair[0], NULL);
    CHECK_INT(copy, >=, 0);
    CHECK_INT(fcntl(copy, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    fd = qioh_channel_take_fd(pair[0], NULL);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(qioh_channel_read(pair[0], buf, 4, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_take_fd(pair[0], NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_get_kind(pair[0], NULL), ==, QIOH_CHANNEL_SOCKET);
    CHECK_INT(write(fd, "z", 1), ==, 1);
    CHECK_INT(qioh_channel_read(pair[1], buf, 4, NULL), ==, 1);
    close(fd);
    close(copy);
    drop_pair(pair);
}

TEST(get_poll_says_ready_or_what_to_poll)
{
    qioh_channel *null = qioh_channel_new_null(NULL);
    qioh_channel *pair[2];
    uint32_t events = 77;
    int32_t fd = 77;
    char buf[4];

    make_pair(pair);
    CHECK_INT(qioh_channel_get_poll(pair[0], QIOH_IN, &fd, &events, NULL), ==, 0);
    CHECK_INT(fd, ==, qioh_channel_get_fd(pair[0], NULL));
    CHECK_INT(events, ==, QIOH_IN);
    CHECK_INT(qioh_channel_write_all(pair[1], "ab", 2, NULL), ==, 0);
    CHECK_INT(qioh_channel_peek(pair[0], buf, 1, 0, NULL), ==, 1);
    fd = 77;
    CHECK_INT(qioh_channel_get_poll(pair[0], QIOH_IN, &fd, &events, NULL), ==, 1);
    CHECK_INT(fd, ==, 77);
    CHECK_INT(qioh_channel_get_poll(null, QIOH_OUT, &fd, &events, NULL), ==, 1);
    qioh_channel_unref(null);
    drop_pair(pair);
}

/* ---- kinds ---- */

TEST(sizes_and_positions)
{
    qioh_channel *buffer = qioh_channel_new_buffer("hello", 5, NULL);
    qioh_channel *pair[2];
    char path[200], buf[8];
    qioh_channel *file;

    make_pair(pair);
    CHECK_INT(qioh_channel_get_size(buffer, NULL), ==, 5);
    CHECK_INT(qioh_channel_read(buffer, buf, 8, NULL), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(qioh_channel_seek(buffer, 1, SEEK_SET, NULL), ==, 1);
    CHECK_INT(qioh_channel_seek(buffer, 0, 99, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_get_size(pair[0], NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_seek(pair[0], 0, SEEK_SET, NULL), ==, QIOH_E_NOTSUP);
    snprintf(path, sizeof(path), "%s/f", test_dir());
    file = qioh_channel_new_file(path, "rw", 0600, NULL);
    CHECK_PTR(file, !=, NULL);
    CHECK_INT(qioh_channel_write(file, "abc", 3, NULL), ==, 3);
    CHECK_INT(qioh_channel_get_size(file, NULL), ==, 3);
    CHECK_INT(qioh_channel_get_kind(file, NULL), ==, QIOH_CHANNEL_FILE);
    CHECK_INT(qioh_channel_pread(file, buf, 8, 1, NULL), ==, 2);
    qioh_channel_unref(file);
    qioh_channel_unref(buffer);
    drop_pair(pair);
}

TEST(peer_credentials_of_a_pair_are_ours)
{
    qioh_channel *null = qioh_channel_new_null(NULL);
    qioh_channel *pair[2];
    uint32_t uid, gid;
    int32_t pid;
    char buf[8];

    make_pair(pair);
    CHECK_INT(qioh_channel_get_peer_cred(pair[0], &pid, &uid, &gid, NULL), ==, 0);
    CHECK_INT(pid, ==, getpid());
    CHECK_INT(uid, ==, getuid());
    CHECK_INT(gid, ==, getgid());
    CHECK_INT(qioh_channel_get_peer_cred(null, &pid, &uid, &gid, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_get_peer_address(null, buf, 8, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_get_pid(null, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_kill(null, 15, NULL), ==, QIOH_E_NOTSUP);
    CHECK_PTR(qioh_channel_take_stderr(null, NULL), ==, NULL);
    qioh_channel_unref(null);
    drop_pair(pair);
}

TEST(a_command_is_found_in_path_and_its_end_is_known)
{
    const char *argv[] = { "sh", "-c", "read x; echo $x$V; echo oops >&2; exit 3", NULL };
    qioh_options *options = qioh_options_new(NULL);
    int32_t exit_status = 77, signum = 77;
    qioh_channel *command, *errors;
    qioh_error error = { 0 };
    char buf[16] = "";

    CHECK_INT(qioh_options_add_str(options, "env", "V=wert", &error), ==, 0);
    CHECK_INT(qioh_options_set_str(options, "stderr", "pipe", &error), ==, 0);
    command = qioh_channel_new_command(argv, options, &error);
    CHECK_STR(error.message, "");
    CHECK_PTR(command, !=, NULL);
    CHECK_INT(qioh_channel_get_kind(command, NULL), ==, QIOH_CHANNEL_COMMAND);
    CHECK_INT(qioh_channel_get_pid(command, NULL), >, 0);
    CHECK_INT(qioh_channel_get_exit_status(command, &exit_status, &signum, NULL), ==,
              QIOH_E_AGAIN);
    CHECK_INT(exit_status, ==, 77);
    CHECK_INT(qioh_channel_wait_exit(command, 0, &exit_status, &signum, NULL), ==, 0);
    errors = qioh_channel_take_stderr(command, NULL);
    CHECK_PTR(errors, !=, NULL);
    CHECK_PTR(qioh_channel_take_stderr(command, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_write_all(command, "ein\n", 4, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(command, buf, 8, NULL), ==, 0);
    CHECK_MEM(buf, "einwert\n", 8);
    CHECK_INT(qioh_channel_read_all(errors, buf, 5, NULL), ==, 0);
    CHECK_INT(qioh_channel_wait_exit(command, -1, &exit_status, &signum, NULL), ==, 1);
    CHECK_INT(exit_status, ==, 3);
    CHECK_INT(signum, ==, 0);
    CHECK_INT(qioh_channel_close(command, NULL), ==, 0);
    exit_status = 77;
    CHECK_INT(qioh_channel_get_exit_status(command, &exit_status, &signum, NULL), ==, 0);
    CHECK_INT(exit_status, ==, 3);
    qioh_channel_unref(errors);
    qioh_channel_unref(command);
    qioh_options_unref(options);
}

TEST(options_name_the_key_that_is_wrong)
{
    qioh_options *options = qioh_options_new(NULL);
    qioh_error error = { 0 };

    CHECK_INT(qioh_options_set_str(options, "nodely", "on", &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "nodelay");
    CHECK_INT(qioh_options_set_str(options, NULL, "on", &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_options_set_str(options, "nodelay", NULL, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_options_set_int(options, "backlog", -3, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "backlog");
    CHECK_INT(qioh_options_set_bytes(options, "backlog", NULL, 3, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_options_set_int(options, "backlog", 3, &error), ==, 0);
    qioh_options_unref(options);
    CHECK_INT(qioh_options_set_int(options, "backlog", 3, NULL), ==, QIOH_E_BADHANDLE);
}

/* ---- the bridge ---- */

TEST(an_object_has_one_token_and_comes_back)
{
    QIOChannel *ioc = (QIOChannel *)qio_channel_null_new();
    qioh_channel *a = qio_channel_export(ioc), *b = qio_channel_export(ioc);
    QIOChannel *again;

    CHECK_PTR(a, ==, b);
    again = qio_channel_import(a);
    CHECK_PTR(again, ==, ioc);
    g_object_unref(again);
    qioh_channel_unref(a);
    CHECK_INT(qioh_channel_get_kind(b, NULL), ==, QIOH_CHANNEL_NULL);
    qioh_channel_unref(b);
    CHECK_PTR(qio_channel_import(b), ==, NULL);
    a = qio_channel_export(ioc);
    CHECK_PTR(a, !=, b);
    g_object_unref(ioc);
    CHECK_INT(qioh_channel_get_kind(a, NULL), ==, QIOH_CHANNEL_NULL);
    qioh_channel_unref(a);
}
