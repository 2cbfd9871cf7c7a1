/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-command.c: child processes as channels.
 *
 * Owns: the promises of channel-command.h: what the child starts with, its pipes, its end, and
 * that none is left behind.  The runner fails a test that leaves a child.
 */
#include "runner.h"
#include "seam.h"
#include "torture.h"

#include <glib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
#include <qio/channel-command.h>

/* ---- helpers ---- */

static QIOChannelCommand *start(const char *const argv[], const QIOCommandOptions *options)
{
    Error *err = NULL;
    QIOChannelCommand *ioc = qio_channel_command_new_full(argv, options, &err);

    if (!ioc) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return ioc;
}

static QIOChannelCommand *shell(const char *script, QIOCommandOptions options)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };

    return start(argv, &options);
}

static QIOChannelCommand *cat(void)
{
    const char *const argv[] = { "cat", NULL };

    return start(argv, &(QIOCommandOptions) { .flags = O_RDWR, .search_path = true,
                                              .close_timeout_ms = -1 });
}

/* All it says, as a string to g_free(). */
static char *output_of(QIOChannel *ioc)
{
    GString *out = g_string_new(NULL);
    char buf[500];
    ssize_t n;

    while ((n = qio_channel_read(ioc, buf, sizeof(buf), NULL)) > 0) {
        g_string_append_len(out, buf, n);
    }
    CHECK_INT(n, ==, 0);
    return g_string_free(out, FALSE);
}

static void drop(QIOChannelCommand *ioc)
{
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    qio_object_unref(ioc);
}

static void check_output(QIOChannelCommand *ioc, const char *want)
{
    char *out = output_of(QIO_CHANNEL(ioc));

    CHECK_STR(out, want);
    g_free(out);
    drop(ioc);
}

static void check_ended(QIOChannelCommand *ioc, int want_status, int want_signum)
{
    int status = 99, signum = 99;

    CHECK_INT(qio_channel_command_wait_exit(ioc, -1, false, NULL), ==, 1);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, &status, &signum), ==, 1);
    CHECK_INT(status, ==, want_status);
    CHECK_INT(signum, ==, want_signum);
}

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

/* ---- what the child starts with ---- */

TEST(exactly_three_descriptors)
{
    int extra[40];
    QIOChannelCommand *ioc;

    for (int i = 0; i < 40; i++) {
        extra[i] = dup(0);
    }
    ioc = shell("i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done;"
                "exit 0", (QIOCommandOptions) { .flags = O_RDWR, .close_timeout_ms = -1 });
    for (int i = 0; i < 40; i++) {
        close(extra[i]);
    }
    check_output(ioc, "0\n1\n2\n");
}

static uint64_t status_line(const char *status, const char *name)
{
    const char *line = strstr(status, name);

    CHECK(line != NULL);
    return g_ascii_strtoull(line + strlen(name), NULL, 16);
}

TEST(signals_of_the_child)
{
    const char *const argv[] = { "/bin/cat", "/proc/self/status", NULL };
    const struct sigaction ignore = { .sa_handler = SIG_IGN }, plain = { .sa_handler = SIG_DFL };
    const int ignored[] = { SIGPIPE, SIGXFSZ };
    sigset_t set, old;
    QIOChannelCommand *ioc;
    char *status;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    CHECK_INT(pthread_sigmask(SIG_BLOCK, &set, &old), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(sigaction(ignored[i], &ignore, NULL), ==, 0);
    }
    ioc = qio_channel_command_new_spawn(argv, O_RDONLY, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(sigaction(ignored[i], &plain, NULL), ==, 0);
    }
    CHECK_INT(pthread_sigmask(SIG_SETMASK, &old, NULL), ==, 0);
    status = output_of(QIO_CHANNEL(ioc));
    CHECK_INT(status_line(status, "SigBlk:"), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK(!(status_line(status, "SigIgn:") & (UINT64_C(1) << (ignored[i] - 1))));
    }
    g_free(status);
    drop(ioc);
}

static int without_standard_descriptors(void)
{
    QIOChannelCommand *ioc;
    char buf[5];
    int ok;

    close(0);
    close(1);
    close(2);
    ioc = shell("cat; echo x >&2", (QIOCommandOptions) { .flags = O_RDWR,
                                                        .close_timeout_ms = -1 });
    ok = qio_channel_write_all(QIO_CHANNEL(ioc), "hello", 5, NULL) == 0 &&
         qio_channel_read_all(QIO_CHANNEL(ioc), buf, 5, NULL) == 0 && memcmp(buf, "hello", 5) == 0;
    drop(ioc);
    return ok ? 0 : 1;
}

TEST(a_host_without_standard_descriptors)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        _exit(without_standard_descriptors());
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

TEST(environment_and_working_directory)
{
    const char *const env[] = { "ONE=1", "TWO=a b", NULL };
    const char *const none[] = { NULL };
    const char *const print[] = { "/usr/bin/env", NULL };

    check_output(start(print, &(QIOCommandOptions) { .env = env, .close_timeout_ms = -1 }),
                 "ONE=1\nTWO=a b\n");
    check_output(start(print, &(QIOCommandOptions) { .env = none, .close_timeout_ms = -1 }), "");
    setenv("QIO_TEST_INHERITED", "yes", 1);
    check_output(shell("echo $QIO_TEST_INHERITED", (QIOCommandOptions) { .close_timeout_ms = -1 }),
                 "yes\n");
    unsetenv("QIO_TEST_INHERITED");
    check_output(shell("pwd", (QIOCommandOptions) { .cwd = "/usr", .close_timeout_ms = -1 }),
                 "/usr\n");
}

/* ---- standard error ---- */

static QIOChannelCommand *noisy(QIOCommandOptions options)
{
    options.close_timeout_ms = -1;
    return shell("echo out; echo err >&2", options);
}

TEST(stderr_choices)
{
    QIOChannelCommand *ioc;
    QIOChannel *errors;
    Error *err = NULL;
    char *text;
    int fds[2], saved;
    char buf[16];

    check_output(noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_NULL }), "out\n");
    check_output(noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_MERGE }),
                 "out\nerr\n");

    ioc = noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_PIPE });
    errors = qio_channel_command_take_stderr(ioc, NULL);
    CHECK_PTR(qio_channel_command_take_stderr(ioc, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_BUSY);
    g_clear_pointer(&err, qio_error_free);
    check_output(ioc, "out\n");
    text = output_of(errors);
    CHECK_STR(text, "err\n");
    g_free(text);
    qio_object_unref(errors);

    check_output(noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_PIPE }), "out\n");

    CHECK_INT(pipe(fds), ==, 0);
    check_output(noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_FD,
                                             .stderr_fd = fds[1] }), "out\n");
    CHECK_INT(read(fds[0], buf, sizeof(buf)), ==, 4);
    saved = dup(2);
    CHECK_INT(dup2(fds[1], 2), ==, 2);
    ioc = noisy((QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_INHERIT });
    CHECK_INT(dup2(saved, 2), ==, 2);
    close(saved);
    CHECK_PTR(qio_channel_command_take_stderr(ioc, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    g_clear_pointer(&err, qio_error_free);
    check_output(ioc, "out\n");
    CHECK_INT(read(fds[0], buf, sizeof(buf)), ==, 4);
    close(fds[0]);
    close(fds[1]);
}

/* ---- what cannot be started ---- */

static void check_refused(const char *const argv[], QIOCommandOptions options, QIOErrorCode code,
                          int number, const char *why)
{
    Error *err = NULL;

    test_note("%s", why);
    CHECK_PTR(qio_channel_command_new_full(argv, &options, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, code);
    CHECK_INT(qio_error_get_errno(err), ==, number);
    CHECK_STR_HAS(qio_error_get_pretty(err), why);
    qio_error_free(err);
}

TEST(what_cannot_be_started)
{
    const char *const missing[] = { "/no/such/program", NULL };
    const char *const unknown[] = { "qio-no-such-program", NULL };
    const char *const directory[] = { "/usr", NULL };
    const char *const here[] = { "true", NULL };
    const char *const truth[] = { "/bin/true", NULL };
    const char *const empty[] = { "", NULL };
    const char *const nothing[] = { NULL };
    const QIOCommandOptions plain = { .flags = O_RDWR }, search = { .search_path = true };

    check_refused(missing, plain, QIO_ERROR_SYSTEM, ENOENT, "cannot start '/no/such/program'");
    check_refused(missing, search, QIO_ERROR_SYSTEM, ENOENT, "cannot start '/no/such/program'");
    check_refused(unknown, search, QIO_ERROR_SYSTEM, ENOENT, "in no directory of PATH");
    check_refused(here, plain, QIO_ERROR_SYSTEM, ENOENT, "cannot start 'true'");
    check_refused(directory, plain, QIO_ERROR_SYSTEM, EACCES, "cannot start '/usr'");
    check_refused(NULL, plain, QIO_ERROR_INVAL, 0, "argv");
    check_refused(nothing, plain, QIO_ERROR_INVAL, 0, "argv");
    check_refused(empty, plain, QIO_ERROR_INVAL, 0, "argv");
    check_refused(truth, (QIOCommandOptions) { .flags = O_ACCMODE }, QIO_ERROR_INVAL, 0, "flags");
    check_refused(truth, (QIOCommandOptions) { .cwd = "/no/such" }, QIO_ERROR_SYSTEM, ENOENT,
                  "cwd: cannot use '/no/such'");
    check_refused(truth, (QIOCommandOptions) { .close_timeout_ms = -2 }, QIO_ERROR_INVAL, 0,
                  "close_timeout_ms");
    check_refused(truth, (QIOCommandOptions) { .stderr_mode = (QIOCommandStderr)9 },
                  QIO_ERROR_INVAL, 0, "stderr_mode");
    check_refused(truth, (QIOCommandOptions) { .stderr_mode = QIO_COMMAND_STDERR_FD,
                                               .stderr_fd = 12345 }, QIO_ERROR_INVAL, 0,
                  "stderr_fd");
}

static void write_script(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    CHECK_INT(write(fd, "#!/bin/sh\necho mine\n", 20), ==, 20);
    close(fd);
}

TEST(path_search)
{
    const char *const argv[] = { "qio-mine", NULL };
    char first[300], second[300], path[700];
    const char *const env[] = { path, NULL };
    QIOCommandOptions options = { .search_path = true, .env = env, .close_timeout_ms = -1 };

    snprintf(first, sizeof(first), "%s/first", test_dir());
    snprintf(second, sizeof(second), "%s/second", test_dir());
    CHECK_INT(mkdir(first, 0700), ==, 0);
    CHECK_INT(mkdir(second, 0700), ==, 0);
    snprintf(path, sizeof(path), "PATH=/no/such:%s:%s", first, second);
    strcat(second, "/qio-mine");
    strcat(first, "/qio-mine");
    write_script(second, 0700);
    check_output(start(argv, &options), "mine\n");
    /* A directory of that name, then a file that may not be executed, do not end the search. */
    CHECK_INT(mkdir(first, 0700), ==, 0);
    check_output(start(argv, &options), "mine\n");
    CHECK_INT(rmdir(first), ==, 0);
    write_script(first, 0600);
    check_output(start(argv, &options), "mine\n");
    CHECK_INT(unlink(second), ==, 0);
    check_refused(argv, options, QIO_ERROR_SYSTEM, EACCES, "cannot start 'qio-mine'");
}

TEST(a_child_that_cannot_be_tracked_is_not_left)
{
    static const int numbers[] = { EMFILE, ENOSYS };
    const char *const argv[] = { "/bin/cat", NULL };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        seam_install();
        seam_fail(SEAM_pidfd_open, 1, 1, numbers[i]);
        check_refused(argv, (QIOCommandOptions) { .flags = O_RDWR }, QIO_ERROR_SYSTEM, numbers[i],
                      "keep track");
        seam_remove();
        CHECK_ERRNO(waitpid(-1, NULL, WNOHANG), ECHILD);
    }
}

/* ---- its end ---- */

TEST(exit_status)
{
    QIOChannelCommand *ioc = cat();
    int status, signum;

    CHECK_INT(qio_channel_command_get_exit_status(ioc, &status, &signum), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 0, false, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 20, false, NULL), ==, 0);
    drop(ioc);
    ioc = shell("exit 3", (QIOCommandOptions) { .close_timeout_ms = -1 });
    check_ended(ioc, 3, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    check_ended(ioc, 3, 0);
    qio_object_unref(ioc);
    ioc = shell("kill -USR1 $$", (QIOCommandOptions) { .close_timeout_ms = -1 });
    check_ended(ioc, -1, SIGUSR1);
    drop(ioc);
}

TEST(kill_by_pidfd)
{
    QIOChannelCommand *ioc = cat();
    struct pollfd pfd = { .fd = qio_channel_command_get_pidfd(ioc), .events = POLLIN };
    Error *err = NULL;

    CHECK_INT(qio_channel_command_kill(ioc, 0, NULL), ==, 0);
    CHECK_INT(qio_channel_command_kill(ioc, 1000, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_INT(qio_channel_command_kill(ioc, -1, NULL), ==, -1);
    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    CHECK_INT(qio_channel_command_kill(ioc, SIGTERM, NULL), ==, 0);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    check_ended(ioc, -1, SIGTERM);
    CHECK_INT(qio_channel_command_kill(ioc, SIGTERM, NULL), ==, 0);
    drop(ioc);
}

static void do_nothing(int signum)
{
}

TEST(a_signal_ends_an_interruptible_wait)
{
    const struct sigaction action = { .sa_handler = do_nothing };
    const struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
    QIOChannelCommand *ioc = cat();
    Error *err = NULL;

    CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
    CHECK_INT(setitimer(ITIMER_REAL, &every, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 30, false, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, -1, true, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    qio_error_free(err);
    drop(ioc);
    CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
}

static gint64 ms_to_close(QIOChannelCommand *ioc)
{
    gint64 start = g_get_monotonic_time();

    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    return (g_get_monotonic_time() - start) / 1000;
}

static void wait_until_it_speaks(QIOChannelCommand *ioc)
{
    char byte;

    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 1);
}

TEST(close_escalates)
{
    const QIOCommandOptions quick = { .flags = O_RDWR, .close_timeout_ms = 60 };
    QIOChannelCommand *ioc = shell("echo; exec sleep 100", quick);
    siginfo_t info;

    wait_until_it_speaks(ioc);
    CHECK_INT(ms_to_close(ioc), >=, 60);
    check_ended(ioc, -1, SIGTERM);
    qio_object_unref(ioc);

    ioc = shell("trap '' TERM; echo; while :; do sleep 0.2; done", quick);
    wait_until_it_speaks(ioc);
    CHECK_INT(ms_to_close(ioc), >=, 120);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);

    ioc = shell("kill -STOP $$", (QIOCommandOptions) { .flags = O_RDWR });
    CHECK_INT(waitid(P_PID, (id_t)qio_channel_command_get_pid(ioc), &info, WSTOPPED | WNOWAIT),
              ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 5000);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);
}

typedef struct Reader {
    QIOChannelCommand *ioc;
    gint64 end;
    ssize_t result;
} Reader;

static void *read_one(void *opaque)
{
    Reader *reader = opaque;
    char byte;

    reader->result = qio_channel_read(QIO_CHANNEL(reader->ioc), &byte, 1, NULL);
    reader->end = g_get_monotonic_time();
    return NULL;
}

/* The reader may well be the last to leave; it does not wait for the child all the same. */
TEST(close_holds_nobody_else_up)
{
    Reader reader = { .ioc = shell("trap '' TERM; echo; while :; do sleep 0.2; done",
                                   (QIOCommandOptions) { .flags = O_RDWR,
                                                         .close_timeout_ms = 200 }) };
    pthread_t thread;
    gint64 end;

    wait_until_it_speaks(reader.ioc);
    CHECK_INT(pthread_create(&thread, NULL, read_one, &reader), ==, 0);
    CHECK_INT(ms_to_close(reader.ioc), >=, 400);
    end = g_get_monotonic_time();
    pthread_join(thread, NULL);
    CHECK_INT(reader.result, ==, -1);
    CHECK_INT(end - reader.end, >=, 200000);
    qio_object_unref(reader.ioc);
}

static bool is_our_child(pid_t pid)
{
    siginfo_t info;

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Dropped without a close: nothing waits, and the next command reaps. */
TEST(no_zombie_without_close)
{
    QIOChannelCommand *ioc = cat();
    pid_t pid = qio_channel_command_get_pid(ioc);
    struct pollfd pfd = { .fd = dup(qio_channel_command_get_pidfd(ioc)), .events = POLLIN };

    CHECK(is_our_child(pid));
    qio_object_unref(ioc);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    close(pfd.fd);
    ioc = cat();
    CHECK(!is_our_child(pid));
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    qio_object_unref(ioc);

    ioc = shell("exit 0", (QIOCommandOptions) { .flags = O_RDWR });
    pid = qio_channel_command_get_pid(ioc);
    pfd.fd = qio_channel_command_get_pidfd(ioc);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    qio_object_unref(ioc);
    CHECK(!is_our_child(pid));
}

static void check_unknown(QIOChannelCommand *ioc)
{
    check_ended(ioc, -1, 0);
    CHECK_INT(qio_channel_command_kill(ioc, SIGKILL, NULL), ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 1000);
    qio_object_unref(ioc);
}

TEST(a_host_that_reaps)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN }, plain = { .sa_handler = SIG_DFL };
    const QIOCommandOptions options = { .flags = O_RDWR, .close_timeout_ms = -1 };
    QIOChannelCommand *ioc = shell("exit 5", options);
    pid_t pid = qio_channel_command_get_pid(ioc);

    CHECK_INT(waitpid(-1, NULL, 0), ==, pid);
    check_unknown(ioc);

    CHECK_INT(sigaction(SIGCHLD, &ignore, NULL), ==, 0);
    check_unknown(shell("exit 5", options));
    ioc = shell("read x", options);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, NULL, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 10, false, NULL), ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 2000);
    check_unknown(ioc);
    CHECK_INT(sigaction(SIGCHLD, &plain, NULL), ==, 0);
}

TEST(a_forked_host_does_not_harm_the_child)
{
    QIOChannelCommand *ioc = cat();
    char byte;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        qio_channel_close(QIO_CHANNEL(ioc), NULL);
        qio_object_unref(ioc);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "x", 1, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 0);
    drop(ioc);
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
