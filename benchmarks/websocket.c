/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/websocket.c: what the WebSocket layer costs over the least that an echo takes.
 *
 * Owns the cases: messages of 64 B and 64 KiB to a server and back, both ends in one thread over a
 * unix pair; masking and checking UTF-8 against memcpy.  The latter are functions of the core that
 * it does not export: their files are compiled in.
 */
#include <sys/socket.h>
#include <qio/qio.h>
#include <string.h>
#include "bench.h"
#include "websock-floor.h"
#include "websock/mask.h"
#include "websock/utf8.h"

typedef struct Echo {
    QIOChannelWebsock *client, *server;
    int fd[2];
    size_t len;
} Echo;

static char data[FLOOR_MAX], copy[FLOOR_MAX + 1];

static void must(bool good, const char *what, Error *err)
{
    if (!good) {
        fprintf(stderr, "benchmark: %s failed: %s\n", what,
                err ? qio_error_get_pretty(err) : "no error");
        exit(1);
    }
}

/* ---- memory ---- */

static void copy_memory(void *arg, uint64_t n)
{
    while (n--) {
        memcpy(copy, data, sizeof(data));
        __asm__ volatile("" : : : "memory");
    }
}

static void mask_memory(void *arg, uint64_t n)
{
    static const uint8_t key[4] = { 0x12, 0x34, 0x56, 0x78 };

    while (n--) {
        qio_ws_mask(copy, data, sizeof(data), key, 0);
        __asm__ volatile("" : : : "memory");
    }
}

static void check_utf8(void *text, uint64_t n)
{
    while (n--) {
        must(qio_ws_utf8_valid(text, FLOOR_MAX), "qio_ws_utf8_valid", NULL);
    }
}

/* Characters of one, two and three bytes. */
static void fill_mixed(char *text, size_t len)
{
    static const char piece[] = "gr\xc3\xbc\xc3\x9f \xe2\x98\x83 plain ASCII words ";
    size_t i;

    memset(text, ' ', len);
    for (i = 0; i + sizeof(piece) - 1 <= len; i += sizeof(piece) - 1) {
        memcpy(text + i, piece, sizeof(piece) - 1);
    }
}

/* ---- echo ---- */

static void floor_echo(void *arg, uint64_t n)
{
    Echo *echo = arg;

    must(floor_ws_echo(echo->fd[0], echo->fd[1], (int)echo->len, (int64_t)n) == (int64_t)n,
         "the floor", NULL);
}

static void transfer(QIOChannelWebsock *from, QIOChannelWebsock *to, size_t len)
{
    size_t sent = 0, got = 0;
    Error *err = NULL;
    bool fin = false;

    while (!fin) {
        ssize_t ret = 0;

        if (sent < len) {
            ret = qio_channel_websock_send(from, data + sent, len - sent, QIO_WEBSOCK_BINARY, 0,
                                           &err);
            must(ret >= 0 || ret == QIO_CHANNEL_ERR_BLOCK, "send", err);
            sent += ret > 0 ? (size_t)ret : 0;
        }
        ret = qio_channel_websock_recv(to, copy + got, sizeof(copy) - got, 0, NULL, &fin, &err);
        must(ret >= 0 || ret == QIO_CHANNEL_ERR_BLOCK, "recv", err);
        if (ret == QIO_CHANNEL_ERR_BLOCK) {
            must(qio_channel_flush(QIO_CHANNEL(from), &err) != -1, "flush", err);
        } else {
            got += (size_t)ret;
        }
    }
    must(got == len, "a message of that length", NULL);
}

static void qio_echo(void *arg, uint64_t n)
{
    Echo *echo = arg;

    while (n--) {
        transfer(echo->client, echo->server, echo->len);
        transfer(echo->server, echo->client, echo->len);
    }
}

static QIOChannelWebsock *open_end(QIOChannelSocket *below, bool server)
{
    QIOOptions *options = qio_options_new();
    QIOChannelWebsock *websock;
    Error *err = NULL;

    qio_options_set_str(options, "ws-mode", "messages", NULL);
    websock = qio_channel_websock_new_options(QIO_CHANNEL(below), options, server, &err);
    must(websock != NULL, "qio_channel_websock_new_options", err);
    must(qio_channel_set_blocking(QIO_CHANNEL(websock), false, &err) == 0, "non-blocking", err);
    qio_options_free(options);
    qio_object_unref(below);
    return websock;
}

static void open_echo(Echo *echo)
{
    QIOChannelSocket *below[2];
    bool done[2] = { false, false };
    QIOChannel *end[2];
    Error *err = NULL;
    int i, ret;

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, echo->fd) == 0, "socketpair", NULL);
    must(qio_channel_socket_new_pair(&below[0], &below[1], &err) == 0, "pair", err);
    echo->client = open_end(below[0], false);
    echo->server = open_end(below[1], true);
    end[0] = QIO_CHANNEL(echo->client);
    end[1] = QIO_CHANNEL(echo->server);
    for (i = 0; !done[0] || !done[1]; i = !i) {
        if (!done[i]) {
            ret = QIO_CHANNEL_GET_CLASS(end[i])->io_handshake(end[i], &err);
            must(ret == 0 || ret == QIO_CHANNEL_ERR_BLOCK, "handshake", err);
            done[i] = ret == 0;
        }
    }
}

int main(void)
{
    static char ascii[FLOOR_MAX], mixed[FLOOR_MAX];
    Echo echo;

    memset(ascii, 'x', sizeof(ascii));
    fill_mixed(mixed, sizeof(mixed));
    bench_compare("WebSocket: masking 64 KiB / memcpy", mask_memory, NULL, copy_memory, NULL, 2);
    bench_compare("WebSocket: UTF-8 check of 64 KiB of ASCII / memcpy", check_utf8, ascii,
                  copy_memory, NULL, 0);
    bench_compare("WebSocket: UTF-8 check of 64 KiB of mixed text / memcpy", check_utf8, mixed,
                  copy_memory, NULL, 0);
    open_echo(&echo);
    echo.len = 64;
    bench_compare("WebSocket: 64 B echo in C / the least", qio_echo, &echo, floor_echo, &echo, 0);
    echo.len = FLOOR_MAX;
    bench_compare("WebSocket: 64 KiB echo in C / the least", qio_echo, &echo, floor_echo, &echo,
                  0);
    qio_object_unref(echo.client);
    qio_object_unref(echo.server);
    return 0;
}
