/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/c/loopback.c: keeps a server that can only listen on every address on 127.0.0.1.
 *
 * Owns: bind and listen of a program that has it in LD_PRELOAD (gnutls-serv, see
 * tests/py/peers/tls.py).  The IPv4 wildcard becomes the loopback address, IPv6 is refused, so
 * that there is one socket, and listen() says on standard error "listening on 127.0.0.1:PORT"
 * when clients may come: the port that the kernel chose is told nowhere else.
 * No thread rule: it has no state.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    struct sockaddr_in loopback;

    if (addr->sa_family == AF_INET6) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    if (addr->sa_family != AF_INET) {
        return next(fd, addr, len);
    }
    loopback = *(const struct sockaddr_in *)addr;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(fd, (struct sockaddr *)&loopback, sizeof(loopback));
}

int listen(int fd, int backlog)
{
    int (*next)(int, int) = dlsym(RTLD_NEXT, "listen");
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    int ret = next(fd, backlog);

    if (ret == 0 && getsockname(fd, (struct sockaddr *)&addr, &len) == 0) {
        fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
    }
    return ret;
}
