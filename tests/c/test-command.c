/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-command.c: child processes as channels.
 *
 * Owns: the promises of channel-command.h on its pipes, on watches, and on children that others
 * started; what a child starts with is test-command-start.c, its end test-command-end.c.  The
 * runner fails a test that leaves a child.
 */
#include "command.h"
#include "seam.h"
#include "torture.h"

#include <pthread.h>
#include <unistd.h>

/* ---- pipes ---- */

TEST(round_trip)
{
    QIOChannelCommand *ioc = cat();
    char buf[8];

    CHECK_INT(qio_channel_command_get_pid(ioc), >, 0);
    CHECK(qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_SHUTDOWN));
    CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ioc), buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "hello", 5, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(qio_channel_get_fd(QIO_CHANNEL(ioc), NULL), ==, -1);
    CHECK_INT(qio_channel_take_fd(QIO_CHANNEL(ioc), NULL), ==, -1);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    check_ended(ioc, 0, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), buf, 1, NULL), ==, -1);
    qio_object_unref(ioc);
}

TEST(read_only)
{
    const char *const argv[] = { "/bin/sh", "-c", "cat; echo done", NULL };
    QIOChannelCommand *ioc = qio_channel_command_new_spawn(argv, O_RDONLY, NULL);
    Error *err = NULL;

    CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ioc), G_IO_OUT, -1, NULL), ==, G_IO_OUT);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(ioc), "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    check_output(ioc, "done\n");
}

TEST(write_only)
{
    const char *const argv[] = { "/bin/sh", "-c", "read x; [ \"$x\" = ping ] || exit 1; exit 3",
                                 NULL };
    QIOChannelCommand *ioc = qio_channel_command_new_spawn(argv, O_WRONLY, NULL);
    char byte;

    CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ioc), G_IO_IN, -1, NULL), ==, G_IO_IN);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, -1);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "ping\n", 5, NULL), ==, 0);
    check_ended(ioc, 3, 0);
    drop(ioc);
}

TEST(half_close_lets_filters_end)
{
    QIOChannelCommand *ioc = shell("sort", (QIOCommandOptions) { .flags = O_RDWR,
                                                                .close_timeout_ms = -1 });
    QIOChannel *base = QIO_CHANNEL(ioc);
    Error *err = NULL;

    CHECK_INT(qio_channel_write_all(base, "b\nc\na\n", 6, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(base, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(base, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_write(base, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    CHECK_INT(qio_channel_wait_timeout(base, G_IO_OUT, -1, NULL), ==, G_IO_OUT);
    check_output(ioc, "a\nb\nc\n");
}

TEST(shutdown_of_reading)
{
    QIOChannelCommand *ioc = cat();
    QIOChannel *base = QIO_CHANNEL(ioc);
    char byte;

    CHECK_INT(qio_channel_shutdown(base, QIO_CHANNEL_SHUTDOWN_READ, NULL), ==, 0);
    CHECK_INT(qio_channel_read(base, &byte, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_write_all(base, "x", 1, NULL), ==, 0);
    check_ended(ioc, -1, SIGPIPE);
    drop(ioc);
    ioc = cat();
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(ioc), QIO_CHANNEL_SHUTDOWN_BOTH, NULL), ==, 0);
    check_ended(ioc, 0, 0);
    drop(ioc);
}

static void *write_until_it_fails(void *opaque)
{
    static const char big[100000];
    Error *err = NULL;

    while (qio_channel_write_all(opaque, big, sizeof(big), &err) == 0) {
        continue;
    }
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    return NULL;
}

TEST(shutdown_wakes_a_writer)
{
    QIOChannelCommand *ioc = shell("read x; exit 0", (QIOCommandOptions) { .flags = O_RDWR });
    QIOChannelCommand *deaf = shell("trap '' TERM; sleep 100",
                                    (QIOCommandOptions) { .flags = O_RDWR });
    pthread_t writer;

    CHECK_INT(pthread_create(&writer, NULL, write_until_it_fails, deaf), ==, 0);
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(deaf), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    pthread_join(writer, NULL);
    drop(deaf);
    drop(ioc);
}

TEST(no_sigpipe)
{
    QIOChannelCommand *ioc = shell("exit 0", (QIOCommandOptions) { .flags = O_RDWR });
    Error *err = NULL;

    check_ended(ioc, 0, 0);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(ioc), "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    drop(ioc);
}

/* ---- watches ---- */

typedef struct Seen {
    int calls;
    GIOCondition last;
    GIOCondition all;
} Seen;

static gboolean see(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Seen *seen = data;

    seen->calls++;
    seen->last = condition;
    seen->all |= condition;
    return TRUE;
}

TEST(watches_live_through_a_half_close)
{
    QIOChannelCommand *ioc = cat();
    QIOChannel *base = QIO_CHANNEL(ioc);
    AioContext *ctx = qio_aio_context_new(NULL);
    Seen in = { 0 }, out = { 0 };
    QIOLoopWatch *win, *wout;
    static char big[1 << 20];
    char byte;

    /* Full, so that the watch has nothing to say but through the shutdown. */
    while (qio_channel_try_write(base, big, sizeof(big), NULL) > 0) {
        continue;
    }
    wout = qio_channel_add_aio_watch(base, ctx, G_IO_OUT, see, &out, NULL, NULL);
    win = qio_channel_add_aio_watch(base, ctx, G_IO_IN, see, &in, NULL, NULL);
    while (in.calls == 0) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(qio_channel_shutdown(base, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    out = (Seen) { 0 };
    while (out.calls == 0) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(out.last, ==, G_IO_OUT);
    CHECK(!(in.all & G_IO_NVAL));
    qio_loop_watch_remove(wout);
    qio_loop_watch_unref(wout);
    while (qio_channel_read(base, &byte, 1, NULL) > 0) {
        CHECK_INT(qio_channel_try_read(base, big, sizeof(big), NULL), !=, -1);
    }
    in = (Seen) { 0 };
    while (in.calls == 0) {
        CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(in.last, ==, G_IO_HUP);
    drop(ioc);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), >=, 1);
    CHECK(in.last & G_IO_NVAL);
    qio_loop_watch_unref(win);
    qio_aio_context_unref(ctx);
}

TEST(glib_watch_on_an_ended_child)
{
    QIOChannelCommand *ioc = shell("exit 0", (QIOCommandOptions) { .flags = O_RDWR });
    GMainContext *context = g_main_context_new();
    Seen in = { 0 }, out = { 0 };

    check_ended(ioc, 0, 0);
    qio_channel_add_watch_full(QIO_CHANNEL(ioc), G_IO_IN, see, &in, NULL, context);
    qio_channel_add_watch_full(QIO_CHANNEL(ioc), G_IO_OUT, see, &out, NULL, context);
    CHECK(g_main_context_iteration(context, TRUE));
    CHECK_INT(in.last, ==, G_IO_HUP);
    CHECK_INT(out.last, ==, G_IO_OUT | G_IO_ERR);
    drop(ioc);
    CHECK(g_main_context_iteration(context, FALSE));
    CHECK(in.last & G_IO_NVAL);
    CHECK(!g_main_context_iteration(context, FALSE));
    g_main_context_unref(context);
}

/* ---- children that others started ---- */

TEST(new_pid)
{
    int to[2], from[2];
    QIOChannelCommand *ioc;
    char buf[4];
    pid_t pid;

    CHECK_INT(pipe2(to, O_CLOEXEC), ==, 0);
    CHECK_INT(pipe2(from, O_CLOEXEC), ==, 0);
    pid = fork();
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("/bin/cat", "cat", NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    ioc = qio_channel_command_new_pid(to[1], from[0], pid);
    CHECK_INT(qio_channel_command_get_pid(ioc), ==, pid);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "abcd", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), buf, 4, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(ioc), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), buf, 4, NULL), ==, 0);
    check_ended(ioc, 0, 0);
    drop(ioc);
}

TEST(new_pid_with_one_descriptor_for_both)
{
    QIOChannelCommand *ioc;
    char buf[4];
    int fds[2];
    pid_t pid;

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[0], 0);
        dup2(fds[0], 1);
        execl("/bin/cat", "cat", NULL);
        _exit(127);
    }
    close(fds[0]);
    ioc = qio_channel_command_new_pid(fds[1], fds[1], pid);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "abcd", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), buf, 4, NULL), ==, 0);
    drop(ioc);
}

TEST(new_pid_that_is_none)
{
    const pid_t pids[] = { -1, 0, 1 };

    for (size_t i = 0; i < G_N_ELEMENTS(pids); i++) {
        QIOChannelCommand *ioc = qio_channel_command_new_pid(-1, -1, pids[i]);
        int status = 0, signum = 1;

        test_note("pid %d", (int)pids[i]);
        CHECK_INT(qio_channel_command_get_exit_status(ioc, &status, &signum), ==, 1);
        CHECK_INT(status, ==, -1);
        CHECK_INT(signum, ==, 0);
        CHECK_INT(qio_channel_command_get_pidfd(ioc), ==, -1);
        drop(ioc);
    }
}

/* ---- every call fails in turn ---- */

/* Told that a child is not ours, the library leaves it to whoever reaps it; unable to wait for
 * its end, to the next command. */
static void leave_nothing(pid_t pid)
{
    siginfo_t info;

    if (torture_call() == SEAM_waitid) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
            continue;
        }
    } else if (torture_call() == SEAM_poll) {
        waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
        qio_object_unref(qio_channel_command_new_pid(-1, -1, -1));
    }
}

static void command_scenario(void)
{
    pid_t pid;
    const char *const argv[] = { "/bin/cat", NULL };
    const QIOCommandOptions options = { .flags = O_RDWR, .close_timeout_ms = 2000,
                                        .stderr_mode = QIO_COMMAND_STDERR_PIPE, .cwd = "/" };
    QIOChannelCommand *ioc = qio_channel_command_new_full(argv, &options, NULL);
    char buf[4];

    if (!ioc) {
        CHECK(torture_may_fail());
        return;
    }
    if (qio_channel_write_all(QIO_CHANNEL(ioc), "1234", 4, NULL) == 0 &&
        qio_channel_read_all(QIO_CHANNEL(ioc), buf, 4, NULL) == 0) {
        CHECK_MEM(buf, "1234", 4);
    } else {
        CHECK(torture_may_fail());
    }
    if (qio_channel_shutdown(QIO_CHANNEL(ioc), QIO_CHANNEL_SHUTDOWN_WRITE, NULL) == 0) {
        CHECK(qio_channel_read(QIO_CHANNEL(ioc), buf, 4, NULL) == 0 || torture_may_fail());
    } else {
        CHECK(torture_may_fail());
    }
    CHECK(qio_channel_close(QIO_CHANNEL(ioc), NULL) == 0 || torture_may_fail());
    pid = qio_channel_command_get_pid(ioc);
    qio_object_unref(ioc);
    leave_nothing(pid);
}

TEST(torture_command, .timeout_s = 200)
{
    torture(command_scenario, 40);
}
