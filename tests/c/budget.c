/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * budget.c: a program whose instructions are counted; see tests/py/test_budget_c.py.
 *
 * usage: budget CASE N.  Does N operations of CASE with the library as it is installed, so that
 * the difference between two N, divided, is what one costs: the same every time, whatever else
 * the machine does.  Cases: pair (channel API: 64 B written and read), abi (the same through the
 * flat ABI), ws (through a WebSocket's two ends), wait (a ready channel), handle (one look-up),
 * custom (a read of a channel whose op is a function here), queue (a message whose arrival comes as
 * an event).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <qio/qio.h>
#include <qio/qioh.h>

enum { MESSAGE = 64 };

static char buf[MESSAGE];

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "budget: %s failed\n", what);
        exit(1);
    }
}

static void count_pair(long n)
{
    QIOChannelSocket *a, *b;

    must(qio_channel_socket_new_pair(&a, &b, NULL) == 0, "new_pair");
    while (n--) {
        must(qio_channel_write((QIOChannel *)a, buf, MESSAGE, NULL) == MESSAGE, "write");
        must(qio_channel_read((QIOChannel *)b, buf, MESSAGE, NULL) == MESSAGE, "read");
    }
    qio_object_unref(a);
    qio_object_unref(b);
}

/* Each step finds what the other end has sent; neither waits. */
static void shake(QIOChannel *a, QIOChannel *b)
{
    bool shaken = false;

    for (int i = 0; i < 10 && !shaken; i++) {
        shaken = qio_channel_handshake(a, 0, false, NULL) == 0;
        shaken = qio_channel_handshake(b, 0, false, NULL) == 0 && shaken;
    }
    must(shaken, "handshake");
}

static void count_ws(long n)
{
    QIOChannelSocket *below[2];
    QIOChannel *a, *b;

    must(qio_channel_socket_new_pair(&below[0], &below[1], NULL) == 0, "new_pair");
    a = (QIOChannel *)qio_channel_websock_new_client((QIOChannel *)below[0], NULL, NULL, NULL);
    b = (QIOChannel *)qio_channel_websock_new_server((QIOChannel *)below[1]);
    shake(a, b);
    while (n--) {
        must(qio_channel_write(a, buf, MESSAGE, NULL) == MESSAGE, "write");
        must(qio_channel_read(b, buf, MESSAGE, NULL) == MESSAGE, "read");
    }
    qio_object_unref(a);
    qio_object_unref(b);
    qio_object_unref(below[0]);
    qio_object_unref(below[1]);
}

static void count_wait(long n)
{
    QIOChannelSocket *a, *b;

    must(qio_channel_socket_new_pair(&a, &b, NULL) == 0, "new_pair");
    must(qio_channel_write((QIOChannel *)a, buf, 1, NULL) == 1, "write");
    while (n--) {
        qio_channel_wait((QIOChannel *)b, G_IO_IN);
    }
    qio_object_unref(a);
    qio_object_unref(b);
}

static void count_abi(long n, bool transfers)
{
    qioh_channel *pair[2];

    must(qioh_channel_new_pair(pair, NULL) == QIOH_OK, "qioh_channel_new_pair");
    while (n--) {
        if (transfers) {
            must(qioh_channel_write(pair[0], buf, MESSAGE, NULL) == MESSAGE, "qioh write");
            must(qioh_channel_read(pair[1], buf, MESSAGE, NULL) == MESSAGE, "qioh read");
        } else {
            must(qioh_channel_get_blocking(pair[0], NULL) == 1, "get_blocking");
        }
    }
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

static int64_t give(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                    qioh_fdset *fds, qioh_error *error)
{
    return (int64_t)iov[0].len;
}

static void count_custom(long n)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = give };
    qioh_channel *channel = qioh_channel_new_custom(NULL, &ops, NULL, NULL);

    must(channel != NULL, "new_custom");
    while (n--) {
        must(qioh_channel_try_read(channel, buf, MESSAGE, NULL) == MESSAGE, "custom read");
    }
    qioh_channel_unref(channel);
}

static void count_queue(long n)
{
    qioh_event event = { .struct_size = sizeof(event) };
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *pair[2];
    qioh_watch *watch;

    must(loop && qioh_channel_new_pair(pair, NULL) == QIOH_OK, "loop and pair");
    watch = qioh_watch_new_queued(loop, pair[1], QIOH_IN, 1, NULL);
    must(watch != NULL, "watch_new_queued");
    while (n--) {
        must(qioh_channel_try_write(pair[0], buf, MESSAGE, NULL) == MESSAGE, "queue write");
        must(qioh_loop_next_events(loop, &event, 1, -1, NULL) == 1, "next_events");
        must(qioh_channel_try_read(pair[1], buf, MESSAGE, NULL) == MESSAGE, "queue read");
    }
    qioh_watch_unref(watch);
    qioh_loop_unref(loop);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

int main(int argc, char **argv)
{
    long n = argc == 3 ? atol(argv[2]) : 0;

    must(n > 0, "usage: budget CASE N;");
    if (strcmp(argv[1], "pair") == 0) {
        count_pair(n);
    } else if (strcmp(argv[1], "ws") == 0) {
        count_ws(n);
    } else if (strcmp(argv[1], "wait") == 0) {
        count_wait(n);
    } else if (strcmp(argv[1], "abi") == 0 || strcmp(argv[1], "handle") == 0) {
        count_abi(n, argv[1][0] == 'a');
    } else if (strcmp(argv[1], "custom") == 0) {
        count_custom(n);
    } else if (strcmp(argv[1], "queue") == 0) {
        count_queue(n);
    } else {
        must(false, "usage: CASE is pair, abi, ws, wait, handle, custom or queue;");
    }
    return 0;
}
