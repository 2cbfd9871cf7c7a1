/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/pty.c: pseudo-terminals.
 *
 * Owns: the calls of the kernel that make a pair.  The slave is asked of the master itself
 * (TIOCGPTPEER), not opened by a name that may mean another in this mount namespace.
 * Rule: no state.  Any thread.
 */
#include "channel/pty.h"

#include <qio/channel.h>
#include "base/sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static int open_master(void)
{
    int fd;

    do {
        fd = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int open_slave(int master)
{
    const intptr_t flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    int unlocked = 0;

    if (sys_ioctl(master, TIOCSPTLCK, &unlocked) < 0) {
        return -1;
    }
    return sys_ioctl(master, TIOCGPTPEER, (void *)flags);
}

static int set_size(int master, int rows, int columns)
{
    struct winsize size = {
        .ws_row = (unsigned short)rows,
        .ws_col = (unsigned short)columns,
    };

    return rows || columns ? sys_ioctl(master, TIOCSWINSZ, &size) : 0;
}

int qio_pty_open(int *master, int *slave, int rows, int columns, Error **errp)
{
    *slave = -1;
    *master = open_master();
    if (*master < 0) {
        qio_error_set_errno(errp, errno, "cannot make a pseudo-terminal");
        return -1;
    }
    *slave = open_slave(*master);
    if (*slave >= 0 && set_size(*master, rows, columns) == 0) {
        return 0;
    }
    qio_error_set_errno(errp, errno, "cannot set a pseudo-terminal up");
    if (*slave >= 0) {
        sys_close(*slave);
    }
    sys_close(*master);
    *master = *slave = -1;
    return -1;
}

static int type_character(int master, char c, Error **errp)
{
    ssize_t ret;

    do {
        ret = sys_write(master, &c, 1);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0 && errno == EAGAIN) {
        qio_error_set(errp, QIO_ERROR_BUSY, "the command does not read what its terminal holds");
    } else if (ret < 0) {
        qio_error_set_errno(errp, errno, "cannot tell the command of the end of its input");
    }
    return ret < 0 ? -1 : 0;
}

int qio_pty_type_end(int master, bool *mid_line, Error **errp)
{
    struct termios tio;

    if (sys_tcgetattr(master, &tio) < 0) {
        qio_error_set_errno(errp, errno, "cannot ask for the settings of the terminal");
        return -1;
    }
    if (!(tio.c_lflag & ICANON) || tio.c_cc[VEOF] == _POSIX_VDISABLE) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "the command has its terminal in a mode without an end of file");
        return -1;
    }
    if (*mid_line && type_character(master, (char)tio.c_cc[VEOF], errp) < 0) {
        return -1;
    }
    *mid_line = false;
    return type_character(master, (char)tio.c_cc[VEOF], errp);
}

bool qio_pty_hung_up(int master)
{
    struct pollfd pfd = { .fd = master, .events = 0 };

    return sys_poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP);
}
