/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/floor.c: the C floor for the Python benchmarks, a shared library they load with
 * ctypes, so that floor and case alternate in one process.
 */
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

int64_t floor_write_read(int from, int to, int len, int64_t n);
int64_t floor_send_recv(int from, int to, int len, int64_t n);

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
