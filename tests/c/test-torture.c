/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture.c: every system call of sockets, and of waiting for them, fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.
 */
#include "testclock.h"
#include "torture-util.h"

#include <netinet/in.h>
#include <sys/un.h>
#include <qio/channel-socket.h>

static void pair_exchange(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    char byte;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) && exchange(a, b) &&
        exchange(b, a) &&
        went_well(qio_channel_shutdown(QIO_CHANNEL(a), QIO_CHANNEL_SHUTDOWN_WRITE, &err) == 0,
                  &err)) {
        went_well(qio_channel_read(QIO_CHANNEL(b), &byte, 1, &err) == 0, &err);
    }
    put_away(a);
    put_away(b);
}

TEST(socket_pair)
{
    torture(pair_exchange, 40);
}

/* Single vectored transfers, as far as each goes. */
static void pair_vectors(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    char buf[TEXT_LEN];
    struct iovec out[2] = { { (char *)TEXT, 4 }, { (char *)TEXT + 4, TEXT_LEN - 4 } };
    struct iovec in[2] = { { buf, 7 }, { buf + 7, TEXT_LEN - 7 } };

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        ssize_t sent = qio_channel_writev(QIO_CHANNEL(a), out, 2, &err);

        if (went_well(sent > 0, &err)) {
            ssize_t got = qio_channel_readv(QIO_CHANNEL(b), in, 2, &err);

            if (went_well(got > 0, &err)) {
                CHECK_INT(got, <=, sent);
                CHECK_MEM(buf, TEXT, (size_t)got);
            }
        }
    }
    put_away(a);
    put_away(b);
}

TEST(socket_vectors)
{
    torture(pair_vectors, 20);
}

/* More than the socket holds, without blocking: the bytes go back and forth in pieces. */
static void pair_bulk(void)
{
    enum { BULK = 20000 };
    static char out[BULK];
    static char in[BULK];
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    ssize_t sent = 0;
    ssize_t got = 0;

    for (int i = 0; i < BULK; i++) {
        out[i] = (char)(i * 31 + i / 251);
    }
    if (!went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) ||
        !went_well(qio_channel_set_blocking(QIO_CHANNEL(a), false, &err) == 0, &err) ||
        !went_well(qio_channel_set_blocking(QIO_CHANNEL(b), false, &err) == 0, &err)) {
        goto out;
    }
    setsockopt(qio_channel_get_fd(QIO_CHANNEL(a), NULL), SOL_SOCKET, SO_SNDBUF, &(int) { 4096 },
               sizeof(int));
    while (got < BULK) {
        ssize_t n = 0;

        if (sent < BULK) {
            n = qio_channel_write(QIO_CHANNEL(a), out + sent, (size_t)(BULK - sent), &err);
            if (n != QIO_CHANNEL_ERR_BLOCK && !went_well(n > 0, &err)) {
                goto out;
            }
            sent += n > 0 ? n : 0;
        }
        n = qio_channel_read(QIO_CHANNEL(b), in + got, (size_t)(BULK - got), &err);
        if (n != QIO_CHANNEL_ERR_BLOCK && !went_well(n > 0, &err)) {
            goto out;
        }
        got += n > 0 ? n : 0;
    }
    CHECK_INT(sent, ==, BULK);
    CHECK_MEM(in, out, BULK);
out:
    put_away(a);
    put_away(b);
}

TEST(socket_bulk)
{
    torture(pair_bulk, 70);
}

/* Reading to a line's end and looking ahead keep what came with it. */
static void pair_read_ahead(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    struct iovec newline = { (char *)"\n", 1 };
    char buf[16] = { 0 };

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_write_all(QIO_CHANNEL(a), "one\ntwo\n", 8, &err) == 0, &err) &&
        went_well(qio_channel_peek(QIO_CHANNEL(b), buf, 1, &err) == 1, &err)) {
        CHECK_STR(buf, "o");
        if (went_well(qio_channel_read_until(QIO_CHANNEL(b), buf, sizeof(buf), &newline, 1, 100,
                                             &err) == 4, &err)) {
            CHECK_STR(buf, "one\n");
            if (went_well(qio_channel_read_all(QIO_CHANNEL(b), buf, 4, &err) == 0, &err)) {
                CHECK_STR(buf, "two\n");
            }
        }
    }
    put_away(a);
    put_away(b);
}

TEST(socket_read_ahead)
{
    torture(pair_read_ahead, 30);
}

/* A server and a client of one thread: connecting is done when the kernel has queued it. */
static void connect_and_accept(struct sockaddr *addr, socklen_t len)
{
    QIOChannelSocket *server = qio_channel_socket_new();
    QIOChannelSocket *client = qio_channel_socket_new();
    QIOChannelSocket *accepted = NULL;
    struct sockaddr_storage chosen = { 0 };
    Error *err = NULL;
    int chosen_len;

    if (!went_well(qio_channel_socket_listen_sockaddr(server, addr, len, 4, &err) == 0, &err)) {
        goto out;
    }
    chosen_len = qio_channel_socket_get_sockaddr(server, false, &chosen, &err);
    if (!went_well(chosen_len > 0, &err) ||
        !went_well(qio_channel_socket_connect_sockaddr(client, (struct sockaddr *)&chosen,
                                                       (socklen_t)chosen_len, 5000, false,
                                                       &err) == 0, &err)) {
        goto out;
    }
    accepted = qio_channel_socket_accept(server, &err);
    if (went_well(accepted != NULL, &err) && exchange(client, accepted)) {
        exchange(accepted, client);
    }
out:
    put_away(accepted);
    put_away(client);
    put_away(server);
}

/* A full backlog is waited for until the deadline: no time passes on the test clock. */
static void torture_connect(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

static void unix_connect(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", test_dir());
    connect_and_accept((struct sockaddr *)&addr, sizeof(addr));
    unlink(addr.sun_path);
}

TEST(connect_unix)
{
    torture_connect(unix_connect, 80);
}

static void tcp_connect(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

    connect_and_accept((struct sockaddr *)&addr, sizeof(addr));
}

TEST(connect_tcp)
{
    torture_connect(tcp_connect, 80);
}

static void refused_connect(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    QIOChannelSocket *client = qio_channel_socket_new();
    Error *err = NULL;

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/nobody", test_dir());
    CHECK_INT(qio_channel_socket_connect_sockaddr(client, (struct sockaddr *)&addr, sizeof(addr),
                                                  5000, false, &err), ==, -1);
    CHECK_PTR(err, !=, NULL);
    qio_error_free(err);
    put_away(client);
}

TEST(connect_to_nobody)
{
    torture_connect(refused_connect, 10);
}

/* Descriptors arrive with the bytes they were sent with, or not at all. */
static void pass_fds(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    struct iovec out = { (char *)TEXT, TEXT_LEN };
    char buf[TEXT_LEN];
    struct iovec in = { buf, TEXT_LEN };
    int sent[2] = { STDIN_FILENO, STDERR_FILENO };
    int *fds = NULL;
    size_t nfds = 0;
    Error *err = NULL;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_writev_full(QIO_CHANNEL(a), &out, 1, sent, 2, &err) > 0, &err) &&
        went_well(qio_channel_readv_full(QIO_CHANNEL(b), &in, 1, &fds, &nfds, &err) > 0, &err)) {
        CHECK_INT(nfds, ==, 2);
    } else {
        CHECK_PTR(fds, ==, NULL);
        CHECK_INT(nfds, ==, 0);
    }
    for (size_t i = 0; i < nfds; i++) {
        CHECK_INT(fcntl(fds[i], F_GETFD), ==, FD_CLOEXEC);
        CHECK_INT(close(fds[i]), ==, 0);
    }
    g_free(fds);
    put_away(a);
    put_away(b);
}

TEST(socket_fds)
{
    torture(pass_fds, 30);
}

/* Descriptors that nobody asked for are closed. */
static void pass_unwanted_fds(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    struct iovec out = { (char *)TEXT, 1 };
    char byte;
    int sent[2] = { STDIN_FILENO, STDERR_FILENO };
    Error *err = NULL;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err) &&
        went_well(qio_channel_writev_full(QIO_CHANNEL(a), &out, 1, sent, 2, &err) > 0, &err)) {
        went_well(qio_channel_read(QIO_CHANNEL(b), &byte, 1, &err) == 1, &err);
    }
    put_away(a);
    put_away(b);
}

TEST(socket_unwanted_fds)
{
    torture(pass_unwanted_fds, 20);
}

/* A wait that a signal ended says so, and is begun again. */
static bool wait_gives(QIOChannelSocket *ioc, GIOCondition condition, int timeout_ms,
                       GIOCondition *ready)
{
    Error *err = NULL;
    int ret;

    do {
        qio_error_free(err);
        err = NULL;
        ret = qio_channel_wait_timeout(QIO_CHANNEL(ioc), condition, timeout_ms, &err);
    } while (ret < 0 && qio_error_get_code(err) == QIO_ERROR_INTR);
    *ready = ret >= 0 ? (GIOCondition)ret : 0;
    return went_well(ret >= 0, &err);
}

static void wait_both_ways(void)
{
    QIOChannelSocket *a = NULL;
    QIOChannelSocket *b = NULL;
    Error *err = NULL;
    GIOCondition ready;

    if (went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        if (wait_gives(b, G_IO_IN, 1, &ready)) {
            CHECK_INT(ready, ==, 0);
        }
        if (wait_gives(b, G_IO_OUT, 5000, &ready)) {
            CHECK_INT(ready, ==, G_IO_OUT);
        }
        put_away(a);
        a = NULL;
        if (wait_gives(b, G_IO_IN, 5000, &ready)) {
            CHECK_INT(ready & G_IO_IN, ==, G_IO_IN);
        }
    }
    put_away(a);
    put_away(b);
}

TEST(wait)
{
    torture(wait_both_ways, 15);
}
