/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-file-device.c: FIFOs, ttys, event descriptors and sockets as file channels.
 *
 * Owns: the promises of channel-file.h on what is neither a regular file nor a plain pipe.
 */
#include "file-way.h"

#include <stdlib.h>
#include <qio/uri.h>

TEST(fifo)
{
    const char *path = path_in_dir("fifo");
    QIOChannel *in, *out;
    char buf[4];
    int fd;

    CHECK_INT(mkfifo(path, 0600), ==, 0);
    in = open_path(path, O_RDONLY | O_NONBLOCK);
    out = open_path(path, O_WRONLY);
    CHECK_INT(qio_channel_try_read(in, buf, 4, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write_all(out, "abcd", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(in, buf, 4, NULL), ==, 0);
    /* What was made non-blocking for us is given away as it was asked for. */
    fd = qio_channel_take_fd(out, NULL);
    CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    close(fd);
    fd = qio_channel_take_fd(in, NULL);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    close(fd);
    qio_object_unref(in);
    qio_object_unref(out);
}

/* The child's description is the parent's too, whose channel counts on O_NONBLOCK. */
TEST(a_forked_child_takes_no_flag_off)
{
    const char *path = path_in_dir("fifo");
    QIOChannel *ioc;
    pid_t pid;
    int status;

    CHECK_INT(mkfifo(path, 0600), ==, 0);
    ioc = open_path(path, O_RDWR);
    pid = fork();
    if (pid == 0) {
        _exit(qio_channel_take_fd(ioc, NULL) >= 0 ? 0 : 1);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK(fcntl(qio_channel_get_fd(ioc, NULL), F_GETFL) & O_NONBLOCK);
    qio_object_unref(ioc);
}

static void open_pty(int *master, int *slave)
{
    struct termios tio;

    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_INT(*master, >=, 0);
    CHECK_INT(grantpt(*master), ==, 0);
    CHECK_INT(unlockpt(*master), ==, 0);
    *slave = open(ptsname(*master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_INT(*slave, >=, 0);
    CHECK_INT(tcgetattr(*slave, &tio), ==, 0);
    cfmakeraw(&tio);
    CHECK_INT(tcsetattr(*slave, TCSANOW, &tio), ==, 0);
}

/* A shell's line is set up for a protocol, by name and around a descriptor. */
TEST(settings_of_a_line)
{
    QIOChannelFile *file;
    struct termios tio;
    QIOChannel *ioc;
    int master, slave;
    Error *err = NULL;
    char *uri;

    open_pty(&master, &slave);
    CHECK_INT(tcgetattr(slave, &tio), ==, 0);
    tio.c_lflag |= ICANON | ECHO | ISIG;
    tio.c_iflag |= ICRNL;
    CHECK_INT(tcsetattr(slave, TCSANOW, &tio), ==, 0);
    uri = g_strdup_printf("file:%s?mode=rw&raw=on&speed=115200", ptsname(master));
    ioc = qio_channel_open_uri(uri, NULL, false, &err);
    g_free(uri);
    CHECK_PTR(err, ==, NULL);
    CHECK_INT(tcgetattr(slave, &tio), ==, 0);
    CHECK_INT(tio.c_lflag & (ICANON | ECHO | ISIG), ==, 0);
    CHECK_INT(tio.c_iflag & ICRNL, ==, 0);
    CHECK_INT(cfgetospeed(&tio), ==, B115200);
    CHECK_INT(cfgetispeed(&tio), ==, B115200);

    file = QIO_CHANNEL_FILE(ioc);
    CHECK_INT(qio_channel_file_set_line(file, false, 9600, NULL), ==, 0);
    CHECK_INT(tcgetattr(slave, &tio), ==, 0);
    CHECK_INT(cfgetospeed(&tio), ==, B9600);
    CHECK_INT(qio_channel_file_set_line(file, false, 12345, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "speed: 12345");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    CHECK_INT(qio_channel_file_set_line(file, true, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    g_clear_pointer(&err, qio_error_free);
    qio_object_unref(ioc);
    close(slave);
    close(master);

    CHECK_PTR(qio_channel_open_uri("file:/dev/null?raw=on", NULL, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_channel_open_uri("file:/dev/null?speed=1", NULL, false, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "\"speed\"");
    qio_error_free(err);
}

static void fill_up(QIOChannel *out)
{
    static char big[1 << 20];
    ssize_t n;

    while ((n = qio_channel_try_write(out, big, sizeof(big), NULL)) > 0) {
        continue;
    }
    CHECK_INT(n, ==, QIO_CHANNEL_ERR_BLOCK);
}

TEST(tty)
{
    for (Way way = 0; way < WAYS; way++) {
        int master, slave;
        QIOChannel *here, *there;
        char buf[8];

        choose(way);
        open_pty(&master, &slave);
        here = file_on(master);
        there = file_on(slave);
        CHECK_INT(qio_channel_try_read(here, buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(qio_channel_try_read(there, buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(qio_channel_write_all(here, "to", 2, NULL), ==, 0);
        CHECK_INT(qio_channel_read_all(there, buf, 2, NULL), ==, 0);
        CHECK_INT(qio_channel_write_all(there, "from", 4, NULL), ==, 0);
        CHECK_INT(qio_channel_read_all(here, buf, 4, NULL), ==, 0);
        CHECK_MEM(buf, "from", 4);
        if (way == WAY_REOPEN) {
            fill_up(there);
        }
        CHECK(!(fcntl(master, F_GETFL) & O_NONBLOCK));
        CHECK(!(fcntl(slave, F_GETFL) & O_NONBLOCK));
        qio_object_unref(here);
        qio_object_unref(there);
        seam_remove();
    }
}

TEST(event_and_timer_descriptors)
{
    QIOChannel *event = file_on(eventfd(0, EFD_CLOEXEC));
    QIOChannel *timer = file_on(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const struct itimerspec soon = { .it_value = { 0, 1000000 } };
    uint64_t count = 5;

    CHECK_INT(qio_channel_try_read(event, &count, 8, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write(event, (char *)&count, 8, NULL), ==, 8);
    count = 0;
    CHECK_INT(qio_channel_read(event, (char *)&count, 8, NULL), ==, 8);
    CHECK_INT(count, ==, 5);
    CHECK_INT(qio_channel_try_read(timer, &count, 8, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(timerfd_settime(qio_channel_get_fd(timer, NULL), 0, &soon, NULL), ==, 0);
    CHECK_INT(qio_channel_read(timer, (char *)&count, 8, NULL), ==, 8);
    qio_object_unref(event);
    qio_object_unref(timer);
}

TEST(a_socket_as_a_file)
{
    static char big[1 << 20];

    for (Way way = WAY_NOWAIT; way < WAYS; way++) {
        int fds[2];
        QIOChannel *ioc;
        char buf[4];

        choose(way);
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        ioc = file_on(fds[0]);
        CHECK_INT(qio_channel_try_read(ioc, buf, 4, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(write(fds[1], "abcd", 4), ==, 4);
        CHECK_INT(qio_channel_read(ioc, buf, 4, NULL), ==, 4);
        CHECK_INT(qio_channel_try_write(ioc, big, sizeof(big), NULL), >, 0);
        CHECK(!(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
        close(fds[1]);
        CHECK_INT(qio_channel_write(ioc, "x", 1, NULL), ==, -1);
        qio_object_unref(ioc);
        seam_remove();
    }
}
