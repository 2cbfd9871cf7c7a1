/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * line.c: making a channel of each class with its other end.
 */
#include "line.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <qio/channel-buffer.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>

/* The test's side never waits, whatever it does. */
static int never_wait(int fd)
{
    CHECK_INT(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), ==, 0);
    return fd;
}

static void socket_line(Line *line, const int fds[2])
{
    line->ioc = QIO_CHANNEL(qio_channel_socket_new_fd(fds[0], NULL));
    line->feed = line->drain = never_wait(fds[1]);
}

static void make_unix(Line *line)
{
    int fds[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    socket_line(line, fds);
}

static void make_tcp(Line *line)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fds[2] = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1 };
    int small = 32 * 1024;

    /* Else it takes megabytes to fill. */
    CHECK_INT(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), ==, 0);
    CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), ==, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&addr, len), ==, 0);
    CHECK_INT(listen(listener, 1), ==, 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&addr, &len), ==, 0);
    CHECK_INT(connect(fds[0], (struct sockaddr *)&addr, len), ==, 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_INT(fds[1], >=, 0);
    close(listener);
    socket_line(line, fds);
    qio_channel_set_delay(line->ioc, false);
}

static void make_pipe_to_read(Line *line)
{
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    line->ioc = QIO_CHANNEL(qio_channel_file_new_fd(fds[0]));
    line->feed = never_wait(fds[1]);
}

static void make_pipe_to_write(Line *line)
{
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    line->ioc = QIO_CHANNEL(qio_channel_file_new_fd(fds[1]));
    line->drain = never_wait(fds[0]);
}

static void make_command(Line *line)
{
    int in[2], out[2];
    pid_t pid = fork();

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    CHECK_INT(pipe2(in, O_CLOEXEC), ==, 0);
    CHECK_INT(pipe2(out, O_CLOEXEC), ==, 0);
    line->ioc = QIO_CHANNEL(qio_channel_command_new_pid(in[1], out[0], pid));
    line->feed = never_wait(out[1]);
    line->drain = never_wait(in[0]);
}

static void make_file(Line *line)
{
    char *path = g_build_filename(test_dir(), "line", NULL);

    line->ioc = QIO_CHANNEL(qio_channel_file_new_path(path, O_RDWR | O_CREAT | O_TRUNC, 0600,
                                                      NULL));
    g_free(path);
}

static void make_buffer(Line *line)
{
    line->ioc = QIO_CHANNEL(qio_channel_buffer_new(0));
}

static void make_null(Line *line)
{
    line->ioc = QIO_CHANNEL(qio_channel_null_new());
}

const LineKind line_kinds[] = {
    { "unix", make_unix, true, false },
    { "tcp", make_tcp, true, true },
    { "pipe to read", make_pipe_to_read, true, false },
    { "pipe to write", make_pipe_to_write, true, false },
    { "command", make_command, true, false },
    { "file", make_file, false, false },
    { "buffer", make_buffer, false, false },
    { "null", make_null, false, false },
    { NULL, NULL, false, false },
};

void line_make(Line *line, const LineKind *kind)
{
    *line = (Line) { .name = kind->name, .feed = -1, .drain = -1 };
    kind->make(line);
    CHECK_PTR(line->ioc, !=, NULL);
}

void line_end_feed(Line *line)
{
    if (line->feed >= 0 && line->feed == line->drain) {
        CHECK_INT(shutdown(line->feed, SHUT_WR), ==, 0);
    } else if (line->feed >= 0) {
        CHECK_INT(close(line->feed), ==, 0);
    }
    line->feed = -1;
}

int line_close(Line *line, Error **errp)
{
    if (strcmp(line->name, "command") == 0) {
        CHECK_INT(qio_channel_command_kill(QIO_CHANNEL_COMMAND(line->ioc), SIGKILL, NULL), ==, 0);
    }
    return qio_channel_close(line->ioc, errp);
}

void line_drop(Line *line)
{
    if (line->feed >= 0 && line->feed != line->drain) {
        CHECK_INT(close(line->feed), ==, 0);
    }
    if (line->drain >= 0) {
        CHECK_INT(close(line->drain), ==, 0);
    }
    CHECK_INT(line_close(line, NULL), ==, 0);
    qio_object_unref(line->ioc);
}
