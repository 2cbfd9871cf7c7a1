/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/relay.c: what a relay costs over the loop that one would write by hand.
 *
 * Owns the cases: 64 KiB through two unix pairs, by splice(2) against splicing by hand, by copying
 * against read and write.  One operation is a send at one end, the relay's work, and a receive at
 * the other.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <qio/qio.h>
#include "bench.h"

enum { BLOCK = 64 * 1024 };

static char buf[BLOCK], middle[BLOCK];

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "benchmark: %s failed\n", what);
        exit(1);
    }
}

/* in[0] - in[1] = the middle = out[0] - out[1] */
typedef struct Line {
    int in[2], out[2], pipe[2];
    AioContext *ctx;
    QIOTask *task;
} Line;

static void send_block(const Line *line)
{
    must(send(line->in[0], buf, BLOCK, MSG_NOSIGNAL) == BLOCK, "send");
}

static void receive_block(const Line *line)
{
    must(recv(line->out[1], buf, BLOCK, MSG_WAITALL) == BLOCK, "recv");
}

static void by_splicing(void *arg, uint64_t n)
{
    const Line *line = arg;

    while (n--) {
        size_t moved = 0;

        send_block(line);
        while (moved < BLOCK) {
            ssize_t got = splice(line->in[1], NULL, line->pipe[1], NULL, BLOCK,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

            must(got > 0, "splice");
            must(splice(line->pipe[0], NULL, line->out[0], NULL, (size_t)got, SPLICE_F_MOVE) ==
                 got, "splice");
            moved += (size_t)got;
        }
        receive_block(line);
    }
}

static void by_copying(void *arg, uint64_t n)
{
    const Line *line = arg;

    while (n--) {
        size_t moved = 0;

        send_block(line);
        while (moved < BLOCK) {
            ssize_t got = read(line->in[1], middle, BLOCK);

            must(got > 0 && write(line->out[0], middle, (size_t)got) == got, "read and write");
            moved += (size_t)got;
        }
        receive_block(line);
    }
}

static void by_relay(void *arg, uint64_t n)
{
    const Line *line = arg;
    uint64_t before, now;

    while (n--) {
        qio_relay_get_counts(line->task, &before, NULL, NULL);
        send_block(line);
        do {
            must(qio_aio_context_dispatch(line->ctx, 0, NULL) >= 0, "dispatch");
            qio_relay_get_counts(line->task, &now, NULL, NULL);
        } while (now - before < BLOCK);
        receive_block(line);
    }
}

static void open_raw(Line *line)
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line->in) == 0 &&
         socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line->out) == 0 &&
         pipe2(line->pipe, O_CLOEXEC) == 0, "socketpair and pipe");
}

static QIOChannelSocket *end_of(int *far, bool own)
{
    QIOChannelSocket *near, *end;
    int fds[2];

    if (own) {
        must(qio_channel_socket_new_pair(&near, &end, NULL) == 0, "qio_channel_socket_new_pair");
        *far = qio_channel_take_fd(QIO_CHANNEL(near), NULL);
        qio_object_unref(near);
        return end;
    }
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    *far = fds[0];
    return qio_channel_socket_new_fd(fds[1], NULL);
}

static void compare(const char *name, bool splices, BenchFn *floor_fn, double goal)
{
    Line raw, line = { .ctx = qio_aio_context_new(NULL) };
    QIOChannelSocket *a = end_of(&line.in[0], splices);
    QIOChannelSocket *b = end_of(&line.out[1], splices);

    open_raw(&raw);
    must(line.ctx && a && b, "opening");
    line.task = qio_relay_start(QIO_CHANNEL(a), QIO_CHANNEL(b), NULL, line.ctx, NULL, NULL, NULL,
                                NULL);
    must(line.task != NULL, "qio_relay_start");
    bench_compare(name, by_relay, &line, floor_fn, &raw, goal);
    qio_task_cancel(line.task);
    must(qio_task_wait(line.task, -1, NULL) == 1, "qio_task_wait");
    qio_task_unref(line.task);
    qio_object_unref(a);
    qio_object_unref(b);
    qio_aio_context_unref(line.ctx);
    close(line.in[0]);
    close(line.out[1]);
}

int main(void)
{
    compare("relay: 64 KiB spliced / splice by hand", true, by_splicing, 1.25);
    compare("relay: 64 KiB copied / read + write", false, by_copying, 1.15);
    return 0;
}
