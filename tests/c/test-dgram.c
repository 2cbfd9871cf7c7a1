/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-dgram.c: datagram sockets, against sockets of the test's own.
 *
 * Owns: the promises of qio_channel_socket_dgram_sync() and its operation.
 */
#include "hole.h"
#include "loop-util.h"
#include "names.h"
#include "seam.h"
#include "torture-util.h"

#include <qio/channel-socket.h>
#include <stdio.h>

/* The other side: bound, and connected once it knows whom to. */
static int peer_at(const char *host, uint16_t *port)
{
    Place place = place_at(host, 0);
    int fd = socket(place.addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (struct sockaddr *)&place.addr, place.len), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&place.addr, &place.len), ==, 0);
    *port = ntohs(((struct sockaddr_in *)&place.addr)->sin_port);
    return fd;
}

static void connect_peer(int fd, QIOChannelSocket *ioc)
{
    struct sockaddr_storage addr;
    int len = qio_channel_socket_get_sockaddr(ioc, false, &addr, NULL);

    CHECK_INT(connect(fd, (struct sockaddr *)&addr, (socklen_t)len), ==, 0);
}

static void open_to(QIOChannelSocket *ioc, const char *local_host, const char *host,
                    uint16_t port)
{
    QIOAddress *local = local_host ? qio_address_new_inet(local_host, 0) : NULL;
    QIOAddress *remote = qio_address_new_inet(host, port);
    Error *err = NULL;

    if (qio_channel_socket_dgram_sync(ioc, local, remote, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    qio_address_free(local);
    qio_address_free(remote);
}

/* Each datagram by itself, both ways. */
static void talk(const char *local, const char *host)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOChannel *base = (QIOChannel *)ioc;
    uint16_t port;
    int fd = peer_at(host, &port);
    char buf[16] = "";

    open_to(ioc, local, host, port);
    connect_peer(fd, ioc);
    CHECK_INT(qio_channel_write(base, "one", 3, NULL), ==, 3);
    CHECK_INT(qio_channel_write(base, "twice", 5, NULL), ==, 5);
    CHECK_INT(recv(fd, buf, sizeof(buf), 0), ==, 3);
    CHECK_INT(recv(fd, buf, sizeof(buf), 0), ==, 5);
    CHECK_INT(send(fd, "first", 5, 0), ==, 5);
    CHECK_INT(send(fd, "", 0, 0), ==, 0);
    CHECK_INT(send(fd, "third", 5, 0), ==, 5);
    CHECK_INT(qio_channel_read(base, buf, sizeof(buf), NULL), ==, 5);
    CHECK_MEM(buf, "first", 5);
    CHECK_INT(qio_channel_read(base, buf, sizeof(buf), NULL), ==, 0);
    CHECK_INT(qio_channel_read(base, buf, 2, NULL), ==, 2);
    qio_channel_set_blocking(base, false, NULL);
    CHECK_INT(qio_channel_read(base, buf, sizeof(buf), NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK(!(fcntl(qio_channel_get_fd(base, NULL), F_GETFL) & O_NONBLOCK));
    CHECK(!qio_channel_has_feature(base, QIO_CHANNEL_FEATURE_FD_PASS));
    qio_object_unref(ioc);
    close(fd);
}

TEST(ipv4)
{
    talk("127.0.0.1", "127.0.0.1");
    talk("", "127.0.0.1");
    talk(NULL, "127.0.0.1");
}

TEST(ipv6)
{
    talk("::1", "::1");
    talk(NULL, "::1");
}

TEST(addresses)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr;
    uint16_t port;
    int fd = peer_at("127.0.0.1", &port);

    open_to(ioc, "127.0.0.2", "127.0.0.1", port);
    addr = qio_channel_socket_get_local_address(ioc, NULL);
    CHECK_STR(addr->host, "127.0.0.2");
    CHECK_INT(addr->port, >, 0);
    qio_address_free(addr);
    addr = qio_channel_socket_get_remote_address(ioc, NULL);
    CHECK_STR(addr->host, "127.0.0.1");
    CHECK_INT(addr->port, ==, port);
    qio_address_free(addr);
    qio_object_unref(ioc);
    close(fd);
}

/* Of a name the first pair that the system takes. */
TEST(names)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr;
    uint16_t port;
    int fd = peer_at("127.0.0.1", &port);

    names_install();
    names_answer("here", 0, "127.0.0.2 127.0.0.3");
    names_answer("there", 0, "::1 127.0.0.1");
    seam_fail(SEAM_bind, 1, 1, EADDRNOTAVAIL);
    open_to(ioc, "here", "there", port);
    addr = qio_channel_socket_get_local_address(ioc, NULL);
    CHECK_STR(addr->host, "127.0.0.3");
    qio_address_free(addr);
    addr = qio_channel_socket_get_remote_address(ioc, NULL);
    CHECK_STR(addr->host, "127.0.0.1");
    qio_address_free(addr);
    qio_object_unref(ioc);
    close(fd);
}

static void check_refused(QIOAddress *local, QIOAddress *remote, QIOErrorCode code,
                          const char *part)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;

    test_note("%s", part);
    CHECK_INT(qio_channel_socket_dgram_sync(ioc, local, remote, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(err), part);
    qio_error_free(err);
    qio_address_free(local);
    qio_address_free(remote);
    qio_object_unref(ioc);
}

TEST(what_is_refused)
{
    check_refused(NULL, NULL, QIO_ERROR_INVAL, "remote: NULL");
    check_refused(NULL, qio_address_new_unix("/a"), QIO_ERROR_NOTSUP, "remote: a datagram socket");
    check_refused(qio_address_new_unix("/a"), qio_address_new_inet("127.0.0.1", 1),
                  QIO_ERROR_NOTSUP, "local: a datagram socket");
    check_refused(NULL, qio_address_new_inet("", 1), QIO_ERROR_INVAL, "remote: a host");
    check_refused(NULL, qio_address_new_inet("127.0.0.1", 0), QIO_ERROR_INVAL, "remote: a host");
    check_refused(qio_address_new_inet("::1", 0), qio_address_new_inet("127.0.0.1", 1),
                  QIO_ERROR_INVAL, "no family in common");
}

/* ---- in a loop ---- */

static void on_end(QIOTask *task, gpointer opaque)
{
    CHECK(!qio_task_propagate_error(task, NULL));
    *(bool *)opaque = true;
}

TEST(in_a_loop)
{
    AioContext *ctx = new_loop();
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *local = qio_address_new_inet("here", 0), *remote;
    bool ended = false;
    uint16_t port;
    int fd = peer_at("127.0.0.1", &port);
    char buf[4];

    names_install();
    names_answer("here", 0, "127.0.0.1");
    names_answer("there", 0, "127.0.0.1");
    remote = qio_address_new_inet("there", port);
    qio_channel_socket_dgram_async(ioc, local, remote, on_end, &ended, NULL, ctx);
    while (!ended) {
        qio_aio_context_dispatch(ctx, -1, NULL);
    }
    CHECK_INT(qio_channel_write((QIOChannel *)ioc, "abc", 3, NULL), ==, 3);
    CHECK_INT(recv(fd, buf, sizeof(buf), 0), ==, 3);
    qio_address_free(local);
    qio_address_free(remote);
    qio_object_unref(ioc);
    qio_aio_context_unref(ctx);
    close(fd);
}

/* ---- torture ---- */

static void send_one(void)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;
    uint16_t port;
    int fd = peer_at("127.0.0.1", &port);
    QIOAddress *remote = qio_address_new_inet("127.0.0.1", port);
    char buf[TEXT_LEN + 1];

    if (went_well(qio_channel_socket_dgram_sync(ioc, NULL, remote, &err) == 0, &err) &&
        went_well(qio_channel_write_all((QIOChannel *)ioc, TEXT, TEXT_LEN, &err) == 0, &err)) {
        CHECK_INT(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), >, 0);
    }
    qio_address_free(remote);
    put_away(ioc);
    close(fd);
}

TEST(every_call_fails_in_turn)
{
    torture(send_one, 10);
}
