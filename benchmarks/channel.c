/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/channel.c: what one transfer and one wait cost over the system calls underneath.
 *
 * Owns the cases: 64 B over a unix pair (channel API, flat ABI), a one-byte file write, waiting
 * on a ready channel, coroutine switches.  One operation of the pair is a write and a read.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <qio/qio.h>
#include <qio/qioh-glib.h>
#include "bench.h"

enum { MESSAGE = 64 };

static char buf[MESSAGE];

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "benchmark: %s failed\n", what);
        exit(1);
    }
}

/* ---- 64 B over a unix pair ---- */

static void send_recv(void *arg, uint64_t n)
{
    int *fds = arg;

    while (n--) {
        must(send(fds[0], buf, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
        must(recv(fds[1], buf, MESSAGE, 0) == MESSAGE, "recv");
    }
}

static void channel_pair(void *arg, uint64_t n)
{
    QIOChannel **pair = arg;

    while (n--) {
        must(qio_channel_write(pair[0], buf, MESSAGE, NULL) == MESSAGE, "qio_channel_write");
        must(qio_channel_read(pair[1], buf, MESSAGE, NULL) == MESSAGE, "qio_channel_read");
    }
}

static void abi_pair(void *arg, uint64_t n)
{
    qioh_channel **pair = arg;

    while (n--) {
        must(qioh_channel_write(pair[0], buf, MESSAGE, NULL) == MESSAGE, "qioh_channel_write");
        must(qioh_channel_read(pair[1], buf, MESSAGE, NULL) == MESSAGE, "qioh_channel_read");
    }
}

static void compare_pair(void)
{
    QIOChannelSocket *a, *b;
    QIOChannel *pair[2];
    qioh_channel *handles[2];
    int fds[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    must(qio_channel_socket_new_pair(&a, &b, NULL) == 0, "qio_channel_socket_new_pair");
    pair[0] = QIO_CHANNEL(a);
    pair[1] = QIO_CHANNEL(b);
    must(qioh_channel_new_pair(handles, NULL) == QIOH_OK, "qioh_channel_new_pair");
    bench_compare("channel: 64 B write + read / send + recv", channel_pair, pair, send_recv, fds,
                  1.05);
    bench_compare("flat ABI: 64 B write + read / send + recv", abi_pair, handles, send_recv, fds,
                  1.08);
    qioh_channel_unref(handles[0]);
    qioh_channel_unref(handles[1]);
    qio_object_unref(a);
    qio_object_unref(b);
    close(fds[0]);
    close(fds[1]);
}

/* ---- a handle ---- */

static void channel_get(void *arg, uint64_t n)
{
    while (n--) {
        must(qio_channel_get_blocking(arg), "qio_channel_get_blocking");
    }
}

static void abi_get(void *arg, uint64_t n)
{
    while (n--) {
        must(qioh_channel_get_blocking(arg, NULL) == 1, "qioh_channel_get_blocking");
    }
}

/* The look-up is the difference of the two: at most 15 ns. */
static void report_handle(void)
{
    QIOChannel *ioc = QIO_CHANNEL(qio_channel_null_new());
    qioh_channel *handle = qio_channel_export(ioc);

    bench_compare("flat ABI: getter with look-up / without (difference: 15 ns)", abi_get, handle,
                  channel_get, ioc, 0);
    qioh_channel_unref(handle);
    qio_object_unref(ioc);
}

/* ---- one byte to a file ---- */

static void file_write(void *arg, uint64_t n)
{
    int *fd = arg;

    must(lseek(*fd, 0, SEEK_SET) == 0, "lseek");
    while (n--) {
        must(write(*fd, buf, 1) == 1, "write");
    }
}

static void channel_file_write(void *arg, uint64_t n)
{
    QIOChannel *file = arg;

    must(qio_channel_io_seek(file, 0, SEEK_SET, NULL) == 0, "qio_channel_io_seek");
    while (n--) {
        must(qio_channel_write(file, buf, 1, NULL) == 1, "qio_channel_write");
    }
}

static int temp_file(void)
{
    char path[] = "/dev/shm/qio-bench-XXXXXX";
    int fd = mkstemp(path);

    must(fd >= 0, "mkstemp in /dev/shm");
    unlink(path);
    return fd;
}

static void compare_file(void)
{
    int fd = temp_file();
    QIOChannelFile *file = qio_channel_file_new_fd(temp_file());

    bench_compare("channel: 1 B file write / write(2)", channel_file_write, QIO_CHANNEL(file),
                  file_write, &fd, 1.10);
    qio_object_unref(file);
    close(fd);
}

/* ---- waiting ---- */

static void look_with_poll(void *arg, uint64_t n)
{
    struct pollfd fds = { .fd = *(int *)arg, .events = POLLIN };

    while (n--) {
        must(poll(&fds, 1, 0) == 1, "poll");
    }
}

static void channel_wait_ready(void *arg, uint64_t n)
{
    while (n--) {
        qio_channel_wait(arg, G_IO_IN);
    }
}

static void compare_wait(void)
{
    QIOChannelSocket *a, *b;
    int fds[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    must(send(fds[0], buf, 1, 0) == 1, "send");
    must(qio_channel_socket_new_pair(&a, &b, NULL) == 0, "qio_channel_socket_new_pair");
    must(qio_channel_write(QIO_CHANNEL(a), buf, 1, NULL) == 1, "qio_channel_write");
    bench_compare("channel: wait, ready / poll(2)", channel_wait_ready, QIO_CHANNEL(b),
                  look_with_poll, &fds[1], 1.20);
    qio_object_unref(a);
    qio_object_unref(b);
    close(fds[0]);
    close(fds[1]);
}

/* ---- coroutines ---- */

static void coroutine_body(void *opaque)
{
    const bool *stop = opaque;

    while (!*stop) {
        qio_coroutine_yield();
    }
}

static void coroutine_switch(void *arg, uint64_t n)
{
    while (n--) {
        qio_coroutine_enter(arg);
    }
}

static void empty_call(void *arg, uint64_t n)
{
    while (n--) {
        __asm__ volatile("" ::: "memory");
    }
}

static void report_coroutine(void)
{
    bool stop = false;
    Coroutine *co = qio_coroutine_create(coroutine_body, &stop);

    bench_compare("coroutine: enter + yield / nothing", coroutine_switch, co, empty_call, NULL, 0);
    stop = true;
    qio_coroutine_enter(co);
}

int main(void)
{
    compare_pair();
    report_handle();
    compare_file();
    compare_wait();
    report_coroutine();
    return 0;
}
