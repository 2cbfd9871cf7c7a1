/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/tty.c: the settings of a terminal line behind a file channel.
 *
 * Owns: the list of speeds that Linux knows by name.  The settings are the line's, not the
 * channel's: they stay when it is closed, as those of stty do; nothing is put back.
 */
#include <string.h>
#include "channel/channel-priv.h"
#include "channel/file-priv.h"

static const struct {
    int speed;
    speed_t constant;
} speeds[] = {
    { 50, B50 }, { 75, B75 }, { 110, B110 }, { 134, B134 }, { 150, B150 }, { 200, B200 },
    { 300, B300 }, { 600, B600 }, { 1200, B1200 }, { 1800, B1800 }, { 2400, B2400 },
    { 4800, B4800 }, { 9600, B9600 }, { 19200, B19200 }, { 38400, B38400 }, { 57600, B57600 },
    { 115200, B115200 }, { 230400, B230400 }, { 460800, B460800 }, { 500000, B500000 },
    { 576000, B576000 }, { 921600, B921600 }, { 1000000, B1000000 }, { 1152000, B1152000 },
    { 1500000, B1500000 }, { 2000000, B2000000 }, { 2500000, B2500000 }, { 3000000, B3000000 },
    { 3500000, B3500000 }, { 4000000, B4000000 },
};

static int set_speed(struct termios *tio, int speed, Error **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(speeds); i++) {
        if (speeds[i].speed == speed) {
            cfsetispeed(tio, speeds[i].constant);
            cfsetospeed(tio, speeds[i].constant);
            return 0;
        }
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "speed: %d is none of a line's (9600, 115200 ... 4000000)",
                  speed);
    return -1;
}

static int set_line(int fd, bool raw, int speed, Error **errp)
{
    struct termios tio, now;
    int ret;

    if (sys_tcgetattr(fd, &tio) < 0) {
        if (errno == ENOTTY) {
            qio_error_set(errp, QIO_ERROR_NOTSUP, "only a terminal line has a mode and a speed");
        } else {
            qio_error_set_errno(errp, errno, "cannot ask for the settings of the line");
        }
        return -1;
    }
    if (raw) {
        cfmakeraw(&tio);
        /* Three wires are enough: nobody waits for a modem's carrier. */
        tio.c_cflag |= CLOCAL | CREAD;
    }
    if (speed != 0 && set_speed(&tio, speed, errp) < 0) {
        return -1;
    }
    do {
        ret = sys_tcsetattr(fd, TCSANOW, &tio);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0 || sys_tcgetattr(fd, &now) < 0) {
        qio_error_set_errno(errp, errno, "cannot change the settings of the line");
        return -1;
    }
    /* The call succeeds when it could do any part of it. */
    if (speed != 0 && cfgetospeed(&now) != cfgetospeed(&tio)) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "speed: the line cannot do %d", speed);
        return -1;
    }
    return 0;
}

/* A line without a carrier would keep open() waiting, so it is opened without. */
QIOChannelFile *qio_channel_file_open_line(const char *path, int flags, bool raw, int speed,
                                           Error **errp)
{
    char text[300];
    Error *err = NULL;
    int fd;

    qio_escape_bytes(path, strlen(path), text, sizeof(text));
    do {
        fd = sys_open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        qio_error_set_errno(errp, errno, "cannot open '%s'", text);
        return NULL;
    }
    if (set_line(fd, raw, speed, &err) < 0) {
        qio_error_prepend(err, "'%s': ", text);
        qio_error_propagate(errp, err);
        sys_close(fd);
        return NULL;
    }
    /* From here on O_NONBLOCK is the channel's own, which takes it off when it gives the
     * descriptor away. */
    sys_fcntl(fd, F_SETFL, flags & O_ACCMODE);
    return qio_channel_file_new_own(fd);
}

int qio_channel_file_set_line(QIOChannelFile *file, bool raw, int speed, Error **errp)
{
    QIOChannel *ioc = (QIOChannel *)file;
    int ret = -1;
    int fd;

    if (qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    fd = qio_channel_get_fd(ioc, errp);
    if (fd >= 0) {
        ret = set_line(fd, raw, speed, errp);
    }
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ret;
}
