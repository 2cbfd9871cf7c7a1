/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hole.h: addresses that nobody answers at: listeners with a queue that is full.
 *
 * Owns: Hole, a listener of the test's own and the clients that fill it; and ports that refuse.
 */
#ifndef TESTS_HOLE_H
#define TESTS_HOLE_H

#include "runner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Place {
    struct sockaddr_storage addr;
    socklen_t len;
} Place;

/* A loopback address and a port, 0 = to be chosen. */
static inline Place place_at(const char *host, uint16_t port)
{
    Place place = { .len = 0 };
    struct sockaddr_in *sin = (struct sockaddr_in *)&place.addr;
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&place.addr;

    if (strchr(host, ':')) {
        CHECK_INT(inet_pton(AF_INET6, host, &sin6->sin6_addr), ==, 1);
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(port);
        place.len = sizeof(*sin6);
    } else {
        CHECK_INT(inet_pton(AF_INET, host, &sin->sin_addr), ==, 1);
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
        place.len = sizeof(*sin);
    }
    return place;
}

/* Listens with that backlog; *port is the port that was chosen when it is 0. */
static inline int listen_at_port(const char *host, uint16_t *port, int backlog)
{
    Place place = place_at(host, *port);
    int fd = socket(place.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (place.addr.ss_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    CHECK_INT(bind(fd, (struct sockaddr *)&place.addr, place.len), ==, 0);
    CHECK_INT(listen(fd, backlog), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&place.addr, &place.len), ==, 0);
    *port = ntohs(((struct sockaddr_in *)&place.addr)->sin_port);
    return fd;
}

/* A port that refuses, held by a socket that is bound and does not listen. */
static inline int hold_port(const char *host, uint16_t *port)
{
    Place place = place_at(host, 0);
    int fd = socket(place.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (struct sockaddr *)&place.addr, place.len), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&place.addr, &place.len), ==, 0);
    *port = ntohs(((struct sockaddr_in *)&place.addr)->sin_port);
    return fd;
}

typedef struct Hole {
    int fds[18];
    int count;
} Hole;

/* Nobody answers there; *port as above. */
static inline void hole_open(Hole *hole, const char *host, uint16_t *port)
{
    hole->fds[0] = listen_at_port(host, port, 0);
    for (hole->count = 1; hole->count < 18; hole->count++) {
        Place place = place_at(host, *port);
        int fd = socket(place.addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pollfd pfd = { .fd = fd, .events = POLLOUT };

        hole->fds[hole->count] = fd;
        if (connect(fd, (struct sockaddr *)&place.addr, place.len) < 0 &&
            poll(&pfd, 1, 100) == 0) {
            hole->count++;
            return;
        }
    }
    test_fail(__FILE__, __LINE__, "the queue never fills");
}

static inline void hole_close(Hole *hole)
{
    while (hole->count > 0) {
        close(hole->fds[--hole->count]);
    }
}

#endif
