/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-file.c: files and pipes as channels.
 *
 * Owns: the promises of channel-file.h; ttys and other devices are test-file-device.c.  What must
 * hold however a descriptor is kept from waiting is run for each way: opened again, RWF_NOWAIT,
 * poll (the seam refuses the others).
 */
#include "file-way.h"
#include "torture.h"

#include <limits.h>
#include <pthread.h>

/* ---- regular files ---- */

TEST(write_and_read_back)
{
    const char *path = path_in_dir("file");
    QIOChannel *ioc;
    struct stat st;
    char buf[10];
    mode_t old = umask(027);

    ioc = QIO_CHANNEL(qio_channel_file_new_path(path, O_RDWR | O_CREAT | O_TRUNC, 0666, NULL));
    umask(old);
    CHECK_INT(fstat(qio_channel_get_fd(ioc, NULL), &st), ==, 0);
    CHECK_INT(st.st_mode & 0777, ==, 0640);
    CHECK_INT(fcntl(qio_channel_get_fd(ioc, NULL), F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(qio_channel_write(ioc, "hello", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_io_seek(ioc, 1, SEEK_SET, NULL), ==, 1);
    CHECK_INT(qio_channel_read(ioc, buf, sizeof(buf), NULL), ==, 4);
    CHECK_MEM(buf, "ello", 4);
    CHECK_INT(qio_channel_read(ioc, buf, sizeof(buf), NULL), ==, 0);
    CHECK_INT(qio_channel_io_seek(ioc, -2, SEEK_END, NULL), ==, 3);
    CHECK_INT(qio_channel_io_seek(ioc, -1, SEEK_CUR, NULL), ==, 2);
    CHECK_INT(qio_channel_io_seek(ioc, -9, SEEK_CUR, NULL), ==, -1);
    CHECK_INT(qio_channel_pwrite(ioc, "L", 1, 2, NULL), ==, 1);
    CHECK_INT(qio_channel_pread(ioc, buf, 5, 0, NULL), ==, 5);
    CHECK_MEM(buf, "heLlo", 5);
    CHECK_INT(qio_channel_io_seek(ioc, 0, SEEK_CUR, NULL), ==, 2);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    CHECK_INT(qio_channel_read(ioc, buf, 1, NULL), ==, -1);
    qio_object_unref(ioc);
}

TEST(errors_name_the_path)
{
    Error *err = NULL;

    CHECK_PTR(qio_channel_file_new_path("/no/such\nplace", O_RDONLY, 0, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, ENOENT);
    CHECK_STR_HAS(qio_error_get_pretty(err), "'/no/such\\x0aplace'");
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_channel_file_new_path(NULL, O_RDONLY, 0, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
}

TEST(what_files_cannot_do)
{
    QIOChannel *ioc = open_path("/", O_RDONLY | O_DIRECTORY);
    Error *err = NULL;
    char byte;
    int *fds;
    size_t nfds;
    struct iovec iov = { &byte, 1 };

    CHECK_INT(qio_channel_read(ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EISDIR);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_WRITE, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_readv_full(ioc, &iov, 1, &fds, &nfds, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    qio_object_unref(ioc);
}

/* A bad number is not used, nor closed, once it means something else. */
TEST(bad_descriptors)
{
    int fd = dup(0);
    QIOChannel *ioc;
    Error *err = NULL;
    char byte;

    CHECK_INT(close(fd), ==, 0);
    CHECK_PTR(qio_channel_file_new_fd_checked(fd, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    ioc = QIO_CHANNEL(qio_channel_file_new_fd(fd));
    CHECK_INT(open("/dev/null", O_RDWR | O_CLOEXEC), ==, fd);
    CHECK_INT(qio_channel_read(ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EBADF);
    qio_error_free(err);
    CHECK_INT(qio_channel_write(ioc, &byte, 1, NULL), ==, -1);
    CHECK_INT(qio_channel_io_seek(ioc, 0, SEEK_SET, NULL), ==, -1);
    CHECK_INT(qio_channel_get_fd(ioc, NULL), ==, -1);
    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN, -1, NULL), ==, G_IO_IN);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    qio_object_unref(ioc);
    CHECK_INT(close(fd), ==, 0);
    qio_object_unref(QIO_CHANNEL(qio_channel_file_new_fd(-1)));
}

TEST(eagain_from_a_file_is_not_the_end)
{
    QIOChannel *ioc;
    char byte;

    seam_install();
    seam_fail(SEAM_read, 1, 2, EAGAIN);
    ioc = open_path("/dev/zero", O_RDWR);
    CHECK_INT(qio_channel_read(ioc, &byte, 1, NULL), ==, 1);
    qio_object_unref(ioc);
    seam_remove();
}

/* ---- always ready ---- */

static gboolean note_condition(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    *(GIOCondition *)data = condition;
    return FALSE;
}

static void check_always_ready(QIOChannel *ioc)
{
    GMainContext *context = g_main_context_new();
    AioContext *ctx = qio_aio_context_new(NULL);
    GIOCondition both = G_IO_IN | G_IO_OUT, seen = 0;
    QIOLoopWatch *watch;
    QIOPollFd pfd;

    CHECK_INT(qio_channel_set_blocking(ioc, false, NULL), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(ioc, both, -1, NULL), ==, both);
    CHECK_INT(qio_channel_get_poll(ioc, G_IO_IN, &pfd, NULL), ==, 1);
    qio_channel_add_watch_full(ioc, both, note_condition, &seen, NULL, context);
    CHECK(g_main_context_iteration(context, FALSE));
    CHECK_INT(seen, ==, both);
    seen = 0;
    watch = qio_channel_add_aio_watch(ioc, ctx, both, note_condition, &seen, NULL, NULL);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(seen, ==, both);
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
    g_main_context_unref(context);
    qio_object_unref(ioc);
}

TEST(always_ready)
{
    check_always_ready(open_path(path_in_dir("file"), O_RDWR | O_CREAT));
    check_always_ready(open_path("/", O_RDONLY | O_DIRECTORY));
    check_always_ready(open_path("/dev/null", O_RDWR));
    check_always_ready(open_path("/dev/zero", O_RDWR));
    check_always_ready(file_on(open("/dev/null", O_RDWR | O_CLOEXEC)));
}

/* ---- pipes, each way ---- */

static void pipe_basics(Way way, int flags)
{
    int fds[2], flags0, flags1;
    QIOChannel *in, *out;
    Error *err = NULL;
    char buf[8];
    struct iovec iov[2] = { { buf, 2 }, { buf + 2, 6 } };

    choose(way);
    open_pipe(fds, flags);
    flags0 = fcntl(fds[0], F_GETFL);
    flags1 = fcntl(fds[1], F_GETFL);
    in = file_on(fds[0]);
    out = file_on(fds[1]);
    CHECK_INT(qio_channel_try_read(in, buf, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_PTR(err, ==, NULL);
    CHECK_INT(qio_channel_wait_timeout(in, G_IO_IN, 0, NULL), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(out, G_IO_OUT, 0, NULL), ==, G_IO_OUT);
    CHECK_INT(qio_channel_write(out, "hello", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_wait_timeout(in, G_IO_IN, -1, NULL), ==, G_IO_IN);
    CHECK_INT(qio_channel_readv(in, iov, 2, NULL), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(qio_channel_io_seek(in, 0, SEEK_SET, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ESPIPE);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(fcntl(fds[0], F_GETFL), ==, flags0);
    CHECK_INT(fcntl(fds[1], F_GETFL), ==, flags1);
    qio_object_unref(out);
    CHECK_INT(qio_channel_wait_timeout(in, G_IO_IN, -1, NULL), ==, G_IO_HUP);
    CHECK_INT(qio_channel_read(in, buf, 1, NULL), ==, 0);
    qio_object_unref(in);
    seam_remove();
}

TEST(pipes)
{
    for (Way way = 0; way < WAYS; way++) {
        pipe_basics(way, 0);
        pipe_basics(way, O_NONBLOCK);
    }
}

/* POLLOUT does not mean that a large write fits. */
TEST(a_large_write_does_not_wait)
{
    static char big[1 << 20];

    for (Way way = 0; way < WAYS; way++) {
        int fds[2];
        QIOChannel *out;
        size_t total = 0;
        ssize_t n;

        choose(way);
        open_pipe(fds, 0);
        out = file_on(fds[1]);
        while ((n = qio_channel_try_write(out, big, sizeof(big), NULL)) > 0) {
            CHECK(way != WAY_POLL || n <= PIPE_BUF);
            total += (size_t)n;
        }
        CHECK_INT(n, ==, QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(total, ==, 65536);
        qio_object_unref(out);
        close(fds[0]);
        seam_remove();
    }
}

/* With the default disposition: the runner fails a test that SIGPIPE reaches. */
TEST(no_sigpipe)
{
    for (Way way = 0; way < WAYS; way++) {
        int fds[2];
        QIOChannel *out;
        Error *err = NULL;
        struct iovec iov[2] = { { (void *)"a", 1 }, { (void *)"b", 1 } };

        choose(way);
        open_pipe(fds, 0);
        out = file_on(fds[1]);
        close(fds[0]);
        CHECK_INT(qio_channel_write(out, "x", 1, &err), ==, -1);
        CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
        g_clear_pointer(&err, qio_error_free);
        CHECK_INT(qio_channel_writev(out, iov, 2, NULL), ==, -1);
        CHECK_INT(qio_channel_wait_timeout(out, G_IO_OUT, -1, NULL), ==, G_IO_OUT | G_IO_ERR);
        qio_object_unref(out);
        seam_remove();
    }
}

/* A SIGPIPE that was pending before a write stays pending, and one that was not does not. */
TEST(a_pending_sigpipe_stays)
{
    const struct timespec now = { 0, 0 };
    sigset_t set, old, pending;
    int fds[2];
    QIOChannel *out;

    choose(WAY_POLL);
    open_pipe(fds, 0);
    out = file_on(fds[1]);
    close(fds[0]);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    CHECK_INT(pthread_sigmask(SIG_BLOCK, &set, &old), ==, 0);
    CHECK_INT(qio_channel_write(out, "x", 1, NULL), ==, -1);
    CHECK_INT(sigpending(&pending), ==, 0);
    CHECK(!sigismember(&pending, SIGPIPE));
    CHECK_INT(pthread_kill(pthread_self(), SIGPIPE), ==, 0);
    CHECK_INT(qio_channel_write(out, "x", 1, NULL), ==, -1);
    CHECK_INT(sigpending(&pending), ==, 0);
    CHECK(sigismember(&pending, SIGPIPE));
    CHECK_INT(sigtimedwait(&set, NULL, &now), ==, SIGPIPE);
    CHECK_INT(pthread_sigmask(SIG_SETMASK, &old, NULL), ==, 0);
    qio_object_unref(out);
    seam_remove();
}

enum { CHUNK = 4194, CHUNKS = 250 };

static void fill(char *buf, int i)
{
    for (int k = 0; k < CHUNK; k++) {
        buf[k] = (char)(i * 31 + k);
    }
}

static void *send_chunks(void *opaque)
{
    char buf[CHUNK];

    for (int i = 0; i < CHUNKS; i++) {
        fill(buf, i);
        CHECK_INT(qio_channel_write_all(opaque, buf, CHUNK, NULL), ==, 0);
    }
    CHECK_INT(qio_channel_close(opaque, NULL), ==, 0);
    return NULL;
}

/* To a non-blocking reader, the writer's end is G_IO_HUP alone: it ends the wait all the same. */
TEST(one_megabyte)
{
    for (Way way = 0; way < WAYS; way++) {
        for (int mode = 0; mode < 2; mode++) {
            QIOChannel *in, *out;
            pthread_t sender;
            char buf[CHUNK], want[CHUNK];
            int fds[2];

            choose(way);
            open_pipe(fds, 0);
            in = file_on(fds[0]);
            out = file_on(fds[1]);
            qio_channel_set_blocking(in, mode, NULL);
            qio_channel_set_blocking(out, mode, NULL);
            CHECK_INT(pthread_create(&sender, NULL, send_chunks, out), ==, 0);
            for (int i = 0; i < CHUNKS; i++) {
                CHECK_INT(qio_channel_read_all(in, buf, CHUNK, NULL), ==, 0);
                fill(want, i);
                CHECK_MEM(buf, want, CHUNK);
            }
            CHECK_INT(qio_channel_read_all_eof(in, buf, 1, NULL), ==, 0);
            pthread_join(sender, NULL);
            qio_object_unref(in);
            qio_object_unref(out);
            seam_remove();
        }
    }
}

/* The other process goes on with a blocking pipe. */
TEST(an_inherited_pipe_is_shared_unharmed)
{
    int to[2], from[2];
    QIOChannel *in;
    char buf[8];
    pid_t pid;

    CHECK_INT(pipe(to), ==, 0);
    CHECK_INT(pipe(from), ==, 0);
    pid = fork();
    if (pid == 0) {
        close(to[1]);
        _exit(read(to[0], buf, 1) == 1 && write(from[1], "done", 4) == 4 ? 0 : 1);
    }
    in = file_on(dup(to[0]));
    CHECK_INT(qio_channel_try_read(in, buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    qio_object_unref(in);
    CHECK(!(fcntl(to[0], F_GETFL) & O_NONBLOCK));
    in = file_on(from[0]);
    CHECK_INT(write(to[1], "x", 1), ==, 1);
    CHECK_INT(qio_channel_read_all(in, buf, 4, NULL), ==, 0);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    qio_object_unref(in);
    close(from[1]);
    close(to[0]);
    close(to[1]);
}

TEST(the_wrong_direction_fails_at_once)
{
    for (Way way = 0; way < WAYS; way++) {
        int fds[2];
        QIOChannel *in, *out;
        Error *err = NULL;
        char byte;

        choose(way);
        open_pipe(fds, 0);
        in = file_on(fds[0]);
        out = file_on(fds[1]);
        CHECK_INT(qio_channel_wait_timeout(in, G_IO_OUT, -1, NULL), ==, G_IO_OUT);
        CHECK_INT(qio_channel_write(in, "x", 1, &err), ==, -1);
        CHECK_INT(qio_error_get_errno(err), ==, EBADF);
        g_clear_pointer(&err, qio_error_free);
        CHECK_INT(qio_channel_wait_timeout(out, G_IO_IN, -1, NULL), ==, G_IO_IN);
        CHECK_INT(qio_channel_read(out, &byte, 1, NULL), ==, -1);
        qio_object_unref(in);
        qio_object_unref(out);
        seam_remove();
    }
}

/* ---- ending ---- */

TEST(take_fd_gives_the_descriptor_that_came)
{
    for (Way way = 0; way < WAYS; way++) {
        int fds[2];
        QIOChannel *in;

        choose(way);
        open_pipe(fds, 0);
        in = file_on(fds[0]);
        CHECK_INT(qio_channel_take_fd(in, NULL), ==, fds[0]);
        CHECK(!(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
        qio_object_unref(in);
        close(fds[0]);
        close(fds[1]);
        seam_remove();
    }
}

TEST(a_failing_close_closes_once)
{
    QIOChannel *ioc;
    Error *err = NULL;
    int fd;

    seam_install();
    seam_fail(SEAM_close, 1, 1, ENOSPC);
    ioc = open_path(path_in_dir("file"), O_RDWR | O_CREAT);
    fd = qio_channel_get_fd(ioc, NULL);
    CHECK_INT(qio_channel_close(ioc, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOSPC);
    qio_error_free(err);
    CHECK_INT(dup2(0, fd), ==, fd);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    qio_object_unref(ioc);
    CHECK_INT(close(fd), ==, 0);
    seam_remove();
}

/* ---- every call fails in turn ---- */

static void file_scenario(void)
{
    QIOChannelFile *file = qio_channel_file_new_path(path_in_dir("file"),
                                                     O_RDWR | O_CREAT | O_TRUNC, 0600, NULL);
    QIOChannel *ioc = QIO_CHANNEL(file);
    struct iovec iov[2] = { { (void *)"123", 3 }, { (void *)"4567", 4 } };
    char buf[8];

    if (!file) {
        CHECK(torture_may_fail());
        return;
    }
    if (qio_channel_writev_all(ioc, iov, 2, NULL) == 0 &&
        qio_channel_io_seek(ioc, 0, SEEK_SET, NULL) == 0 &&
        qio_channel_read_all(ioc, buf, 7, NULL) == 0) {
        CHECK_MEM(buf, "1234567", 7);
    } else {
        CHECK(torture_may_fail());
    }
    CHECK(qio_channel_close(ioc, NULL) == 0 || torture_may_fail());
    qio_object_unref(ioc);
}

static void pipe_scenario(void)
{
    int fds[2];
    QIOChannel *in, *out;
    char buf[8];

    open_pipe(fds, 0);
    in = file_on(fds[0]);
    out = file_on(fds[1]);
    if (qio_channel_write_all(out, "1234567", 7, NULL) == 0 &&
        qio_channel_read_all(in, buf, 7, NULL) == 0) {
        CHECK_MEM(buf, "1234567", 7);
    } else {
        CHECK(torture_may_fail());
    }
    CHECK(qio_channel_close(out, NULL) == 0 || torture_may_fail());
    CHECK(qio_channel_read(in, buf, 1, NULL) == 0 || torture_may_fail());
    qio_object_unref(in);
    qio_object_unref(out);
}

TEST(torture_file, .timeout_s = 100)
{
    torture(file_scenario, 15);
}

TEST(torture_pipe, .timeout_s = 100)
{
    torture(pipe_scenario, 30);
}
