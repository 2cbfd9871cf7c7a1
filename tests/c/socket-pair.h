/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * socket-pair.h: two connected socket channels, for the tests of sockets.
 */
#ifndef TESTS_SOCKET_PAIR_H
#define TESTS_SOCKET_PAIR_H

#include "runner.h"

#include <glib.h>
#include <unistd.h>
#include <qio/channel-socket.h>

static inline void pair(QIOChannel **a, QIOChannel **b)
{
    QIOChannelSocket *sa, *sb;

    CHECK_INT(qio_channel_socket_new_pair(&sa, &sb, NULL), ==, 0);
    *a = QIO_CHANNEL(sa);
    *b = QIO_CHANNEL(sb);
}

static inline void drop(QIOChannel *a, QIOChannel *b)
{
    qio_object_unref(a);
    qio_object_unref(b);
}

static inline int fd_of(QIOChannel *ioc)
{
    int fd = qio_channel_get_fd(ioc, NULL);

    CHECK_INT(fd, >=, 0);
    return fd;
}

static inline void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(close(fds[i]), ==, 0);
    }
    g_free(fds);
}

#endif
