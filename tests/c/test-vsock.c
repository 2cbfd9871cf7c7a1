/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-vsock.c: connecting to vsock://cid:port.
 *
 * Owns: a sys table whose vsocks are unix sockets: what the library asks the kernel for is noted,
 * and a connect reaches a listener of the test, since few machines reach a vsock of their own.
 * Rule: everything but the family and the address is the kernel's real answer.
 */
#include <linux/vm_sockets.h>
#include <qio/uri.h>

#include "seam.h"
#include "socket-place.h"

static const QIOSysTable *plain;
static QIOSysTable table;
static Place there;                 /* of the listener */
static int sockets, connects, refusal;
static struct sockaddr_vm asked;

static int socket_of(int domain, int type, int protocol)
{
    CHECK_INT(domain, ==, AF_VSOCK);
    CHECK_INT(type, ==, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    CHECK_INT(protocol, ==, 0);
    sockets++;
    return plain->socket(AF_UNIX, type, 0);
}

static int connect_to_it(int fd, const struct sockaddr *addr, socklen_t len)
{
    CHECK_INT(len, ==, sizeof(asked));
    memcpy(&asked, addr, sizeof(asked));
    connects++;
    if (refusal) {
        errno = refusal;
        return -1;
    }
    return plain->connect(fd, (const struct sockaddr *)&there.addr, there.len);
}

static QIOChannelSocket *begin(void)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5);

    there = place_of(listener);
    sockets = connects = refusal = 0;
    memset(&asked, 0xff, sizeof(asked));
    plain = seam_get_below();
    table = *plain;
    table.socket = socket_of;
    table.connect = connect_to_it;
    seam_set_below(&table);
    seam_install();
    return listener;
}

static void end(QIOChannelSocket *listener)
{
    seam_set_below(plain);
    seam_remove();
    qio_object_unref(listener);
}

static void check_asked(uint32_t cid, uint32_t port)
{
    static const unsigned char none[sizeof(asked.svm_zero)];

    CHECK_INT(asked.svm_family, ==, AF_VSOCK);
    CHECK_INT(asked.svm_cid, ==, cid);
    CHECK_INT(asked.svm_port, ==, port);
    CHECK_INT(asked.svm_reserved1, ==, 0);
    CHECK_MEM(asked.svm_zero, none, sizeof(none));
}

/* late: the kernel says that it goes on by itself. */
static void check_connects(bool late)
{
    QIOChannelSocket *listener = begin();
    QIOChannel *client;
    QIOChannel *server;
    char buf[4];

    if (late) {
        seam_fail(SEAM_connect, 1, 1, EINPROGRESS);
    }
    client = qio_channel_open_uri("vsock://3:1025?timeout=60", NULL, false, NULL);
    CHECK_PTR(client, !=, NULL);
    CHECK_INT(sockets, ==, 1);
    CHECK_INT(connects, ==, 1);
    check_asked(3, 1025);
    server = QIO_CHANNEL(qio_channel_socket_accept(listener, NULL));
    CHECK_INT(qio_channel_write_all(client, "ping", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(server, buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "ping", 4);
    qio_object_unref(client);
    CHECK_INT(qio_channel_read(server, buf, 4, NULL), ==, 0);
    qio_object_unref(server);
    end(listener);
}

TEST(a_connect_asks_for_cid_and_port)
{
    check_connects(false);
    check_connects(true);
}

TEST(the_largest_numbers_and_the_host_arrive_whole)
{
    static const struct {
        const char *uri;
        uint32_t cid, port;
    } rows[] = {
        { "vsock://2:1", VMADDR_CID_HOST, 1 },
        { "vsock://1:22", VMADDR_CID_LOCAL, 22 },
        { "vsock://4294967294:4294967294", 4294967294u, 4294967294u },
    };
    QIOChannelSocket *listener = begin();

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOChannel *client = qio_channel_open_uri(rows[i].uri, NULL, false, NULL);

        CHECK_PTR(client, !=, NULL);
        check_asked(rows[i].cid, rows[i].port);
        qio_object_unref(client);
    }
    end(listener);
}

/* What the kernel says of a guest that is not there, of nobody who listens, of no vsocks. */
TEST(a_connect_that_fails_names_address_and_errno)
{
    static const int numbers[] = { ECONNRESET, ECONNREFUSED, ENODEV, ETIMEDOUT, EHOSTUNREACH };
    QIOChannelSocket *listener = begin();
    Error *err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        refusal = numbers[i];
        CHECK_PTR(qio_channel_open_uri("vsock://77:5", NULL, false, &err), ==, NULL);
        CHECK_INT(qio_error_get_errno(err), ==, numbers[i]);
        CHECK_STR_HAS(qio_error_get_pretty(err), "vsock://77:5");
        check_asked(77, 5);
        g_clear_pointer(&err, qio_error_free);
    }
    seam_fail(SEAM_socket, (int)seam_hits(SEAM_socket) + 1, 1, EAFNOSUPPORT);
    CHECK_PTR(qio_channel_open_uri("vsock://77:5", NULL, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EAFNOSUPPORT);
    g_clear_pointer(&err, qio_error_free);
    connects = 0;
    CHECK_PTR(qio_channel_open_uri("vsock://77:0", NULL, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_INT(connects, ==, 0);
    qio_error_free(err);
    end(listener);
}
