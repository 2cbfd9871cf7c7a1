/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/floor.c: the C floor for the benchmarks in scripts, a shared library they load with
 * ctypes or LuaJIT, so that floor and case alternate in one process.
 */
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int64_t floor_write_read(int from, int to, int len, int64_t n);
int64_t floor_send_recv(int from, int to, int len, int64_t n);
int64_t floor_epoll_bounce(int a, int b, int len, int64_t n);

/* One operation: write(2) and read(2).  Returns how many went through. */
int64_t floor_write_read(int from, int to, int len, int64_t n)
{
    char buf[65536];
    int64_t i;

    for (i = 0; i < n; i++) {
        if (write(from, buf, (size_t)len) != len || read(to, buf, (size_t)len) != len) {
            break;
        }
    }
    return i;
}

int64_t floor_send_recv(int from, int to, int len, int64_t n)
{
    char buf[65536];
    int64_t i;

    for (i = 0; i < n; i++) {
        if (send(from, buf, (size_t)len, MSG_NOSIGNAL) != len ||
            recv(to, buf, (size_t)len, 0) != len) {
            break;
        }
    }
    return i;
}

/* Two ends bounce a message n times there and back, each woken by epoll.  Returns n. */
int64_t floor_epoll_bounce(int a, int b, int len, int64_t n)
{
    struct epoll_event events[8];
    char buf[65536];
    int ends[2] = { a, b };
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    int64_t left = 2 * n;

    for (int i = 0; i < 2; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = ends[i] };

        epoll_ctl(epfd, EPOLL_CTL_ADD, ends[i], &event);
    }
    if (write(a, buf, (size_t)len) != len) {
        left = -1;
    }
    while (left > 0) {
        int ready = epoll_wait(epfd, events, 8, -1);

        for (int i = 0; i < ready; i++) {
            if (read(events[i].data.fd, buf, (size_t)len) != len) {
                left = -1;
                break;
            }
            if (--left > 0 && write(events[i].data.fd, buf, (size_t)len) != len) {
                left = -1;
                break;
            }
        }
    }
    close(epfd);
    return left == 0 ? n : -1;
}
