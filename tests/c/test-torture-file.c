/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-file.c: every system call of files, pipes and commands fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.
 */
#include "torture-util.h"

#include <qio/channel-command.h>
#include <stdlib.h>
#include "channel/file-priv.h"

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

/* A full terminal is not told of the end; the next try is. */
static bool end_input(void *ioc)
{
    Error *err = NULL;
    int ret;

    for (int i = 0; i < 10; i++) {
        ret = qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_WRITE, &err);
        if (ret == 0 || qio_error_get_code(err) != QIO_ERROR_BUSY) {
            break;
        }
        CHECK(torture_struck());
        g_clear_pointer(&err, qio_error_free);
    }
    return went_well(ret == 0, &err);
}

static void run_on_terminal(void)
{
    static const char *const argv[] = { "/bin/cat", NULL };
    const QIOCommandOptions options = { .flags = O_RDWR, .pty = true, .rows = 24, .columns = 80,
                                        .close_timeout_ms = -1 };
    QIOChannelCommand *command;
    Error *err = NULL;

    command = qio_channel_command_new_full(argv, &options, &err);
    if (!went_well(command != NULL, &err)) {
        return;
    }
    /* The echo of the terminal. */
    if (exchange(command, command) && end_input(command)) {
        went_well(qio_channel_command_wait_exit(command, 5000, false, &err) == 1, &err);
    }
    put_command_away(command);
}

TEST(command_on_a_terminal, .timeout_s = 60)
{
    torture(run_on_terminal, 60);
}

static void set_a_line_up(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    QIOChannelFile *line;
    Error *err = NULL;

    CHECK_INT(master, >=, 0);
    CHECK_INT(unlockpt(master), ==, 0);
    line = qio_channel_file_open_line(ptsname(master), O_RDWR, true, 9600, &err);
    if (went_well(line != NULL, &err)) {
        put_away(line);
    }
    close(master);
}

TEST(terminal_line, .timeout_s = 60)
{
    torture(set_a_line_up, 8);
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
