/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-command-start.c: what a child process starts with, and what cannot be started.
 *
 * Owns: the promises of channel-command.h on descriptors, signals, environment, working
 * directory, standard error, the search for the program, and errors.
 */
#include "command.h"
#include "seam.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
