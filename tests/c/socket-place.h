/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * socket-place.h: places to listen on and connect to, for the tests of sockets.
 */
#ifndef TESTS_SOCKET_PLACE_H
#define TESTS_SOCKET_PLACE_H

#include "runner.h"

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <qio/channel-socket.h>

typedef struct Place {
    struct sockaddr_storage addr;
    socklen_t len;
} Place;

static inline Place place(const char *text)
{
    QIOAddress *addr = qio_address_parse(text, NULL);
    Place result;
    int len;

    CHECK(addr != NULL);
    len = qio_address_to_sockaddr(addr, &result.addr, NULL);
    CHECK_INT(len, >, 0);
    result.len = (socklen_t)len;
    qio_address_free(addr);
    return result;
}

static inline Place unix_place(const char *name)
{
    char text[200];

    snprintf(text, sizeof(text), "unix:%s/%s", test_dir(), name);
    return place(text);
}

static inline const char *path_of(const Place *where)
{
    return ((const struct sockaddr *)&where->addr)->sa_data;
}

static inline QIOChannelSocket *listener_at(const Place *where, int backlog)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;

    if (qio_channel_socket_listen_sockaddr(ioc, (const struct sockaddr *)&where->addr,
                                           where->len, backlog, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return ioc;
}

/* Where clients find it. */
static inline Place place_of(QIOChannelSocket *listener)
{
    Place where;
    int len = qio_channel_socket_get_sockaddr(listener, false, &where.addr, NULL);

    CHECK_INT(len, >, 0);
    where.len = (socklen_t)len;
    return where;
}

static inline int connect_to(QIOChannelSocket *ioc, const Place *where, int timeout_ms,
                             Error **errp)
{
    return qio_channel_socket_connect_sockaddr(ioc, (const struct sockaddr *)&where->addr,
                                               where->len, timeout_ms, false, errp);
}

static inline char *text_of(QIOAddress *addr)
{
    char *text = qio_address_format(addr);

    qio_address_free(addr);
    return text;
}

static inline bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static inline void talk(QIOChannelSocket *a, QIOChannelSocket *b)
{
    char buf[8];

    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(a), "ping", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(b), buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "ping", 4);
}

static inline void *accept_all(void *opaque)
{
    QIOChannelSocket *client;

    while ((client = qio_channel_socket_accept(opaque, NULL))) {
        qio_object_unref(client);
    }
    return NULL;
}

/* A socket that is bound, and is left behind by a plain close. */
static inline int bind_plain(const Place *where)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (const struct sockaddr *)&where->addr, where->len), ==, 0);
    return fd;
}

#endif
