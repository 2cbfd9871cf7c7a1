/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-listener.c: what can be listened on: addresses, families, options, given descriptors.
 */
#include "listener-util.h"

#include <sys/socket.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include "seam.h"

/* ---- addresses ---- */

/* Listens on a URI, connects to what it printed, and sees bytes and addresses through. */
static void check_exchange(const char *uri, const char *chosen_prefix)
{
    QIONetListener *listener = listen_on(uri);
    char *chosen = address_of(listener, 0);
    QIOChannel *ours = connect_to(chosen);
    QIOChannelSocket *theirs = accept_one(listener);
    QIOAddress *address;
    char *text;
    char buf[4];

    test_note("%s", uri);
    CHECK(g_str_has_prefix(chosen, chosen_prefix));
    CHECK_INT(qio_channel_write_all(ours, "ping", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all((QIOChannel *)theirs, buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "ping", 4);
    CHECK_INT(qio_channel_write_all((QIOChannel *)theirs, "pong", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(ours, buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "pong", 4);

    CHECK(qio_channel_get_blocking((QIOChannel *)theirs));
    CHECK(!qio_channel_has_feature((QIOChannel *)theirs, QIO_CHANNEL_FEATURE_LISTEN));
    address = qio_channel_socket_get_local_address(theirs, NULL);
    text = qio_address_format(address);
    CHECK_STR(text, chosen);
    g_free(text);
    qio_address_free(address);

    qio_object_unref(ours);
    qio_object_unref(theirs);
    qio_object_unref(listener);
    g_free(chosen);
}

TEST(each_kind_of_address)
{
    char *unix_uri = g_strdup_printf("unix:%s/s", test_dir());
    char *abstract_uri = g_strdup_printf("abstract:%s", test_dir());

    check_exchange("tcp://127.0.0.1:0", "tcp://127.0.0.1:");
    check_exchange("tcp://[::1]:0", "tcp://[::1]:");
    check_exchange(unix_uri, unix_uri);
    check_exchange(abstract_uri, abstract_uri);
    g_free(unix_uri);
    g_free(abstract_uri);
}

static void check_port_chosen(const char *text)
{
    CHECK_INT(atoi(strrchr(text, ':') + 1), >, 0);
}

static char *with_host(const char *chosen, const char *host)
{
    return g_strdup_printf("tcp://%s%s", host, strrchr(chosen, ':'));
}

TEST(a_wildcard_is_both_families)
{
    static const char *const wildcards[] = { "tcp://:0", "tcp://[::]:0" };

    for (size_t i = 0; i < G_N_ELEMENTS(wildcards); i++) {
        QIONetListener *listener = listen_on(wildcards[i]);
        char *chosen = address_of(listener, 0);
        char *four = with_host(chosen, "127.0.0.1");
        char *six = with_host(chosen, "[::1]");

        check_port_chosen(chosen);
        qio_object_unref(connect_to(four));
        qio_object_unref(connect_to(six));
        qio_object_unref(accept_one(listener));
        qio_object_unref(accept_one(listener));
        qio_object_unref(listener);
        g_free(chosen);
        g_free(four);
        g_free(six);
    }
}

TEST(a_wildcard_of_one_family)
{
    QIONetListener *listener = listen_on("tcp://:0?ipv4=off");
    char *chosen = address_of(listener, 0);
    char *four = with_host(chosen, "127.0.0.1");
    char *six = with_host(chosen, "[::1]");

    qio_object_unref(connect_to(six));
    check_not_listening(four);
    qio_object_unref(listener);
    g_free(chosen);
    g_free(four);
    g_free(six);

    listener = listen_on("tcp://:0?ipv6=off");
    chosen = address_of(listener, 0);
    CHECK(g_str_has_prefix(chosen, "tcp://0.0.0.0:"));
    four = with_host(chosen, "127.0.0.1");
    six = with_host(chosen, "[::1]");
    qio_object_unref(connect_to(four));
    check_not_listening(six);
    qio_object_unref(listener);
    g_free(chosen);
    g_free(four);
    g_free(six);
}

TEST(a_wildcard_whose_ipv4_side_is_taken)
{
    QIONetListener *other = listen_on("tcp://0.0.0.0:0");
    char *chosen = address_of(other, 0);
    char *any = with_host(chosen, "");
    char *six = with_host(chosen, "[::1]");
    QIONetListener *listener = listen_on(any);

    qio_object_unref(connect_to(six));
    qio_object_unref(accept_one(listener));
    qio_object_unref(other);
    qio_object_unref(listener);
    g_free(chosen);
    g_free(any);
    g_free(six);
}

TEST(a_wildcard_on_a_machine_without_ipv6)
{
    static const int numbers[] = { EAFNOSUPPORT, EADDRNOTAVAIL };
    static const SeamCall calls[] = { SEAM_socket, SEAM_bind };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        QIONetListener *listener;
        char *chosen;

        seam_install();
        seam_fail(calls[i], 1, 1, numbers[i]);
        listener = listen_on("tcp://:0");
        CHECK_INT(seam_struck(), ==, 1);
        chosen = address_of(listener, 0);
        CHECK(g_str_has_prefix(chosen, "tcp://0.0.0.0:"));
        g_free(chosen);
        qio_object_unref(listener);
        seam_remove();
    }
}

TEST(options_of_a_listener)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0?nodelay=on&keep-alive=on&name=web"
                                         "&backlog=1");
    char *chosen = address_of(listener, 0);
    QIOChannel *ours = connect_to(chosen);
    QIOChannelSocket *theirs = accept_one(listener);
    int fd = qio_channel_get_fd((QIOChannel *)theirs, NULL);
    socklen_t len = sizeof(int);
    int value = 0;

    CHECK_STR(((QIOChannel *)theirs)->name, "web-client");
    CHECK_INT(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), ==, 0);
    CHECK_INT(value, ==, 1);
    CHECK_INT(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), ==, 0);
    CHECK_INT(value, ==, 1);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    qio_object_unref(ours);
    qio_object_unref(theirs);
    qio_object_unref(listener);
    g_free(chosen);
}

TEST(the_port_can_be_taken_again_at_once)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);
    QIOChannel *ours = connect_to(chosen);
    QIOChannelSocket *theirs = accept_one(listener);

    /* Our side closes first, so the port is left in TIME_WAIT. */
    qio_object_unref(theirs);
    qio_object_unref(listener);
    qio_object_unref(ours);
    listener = listen_on(chosen);
    qio_object_unref(listener);
    g_free(chosen);
}

/* ---- what cannot be listened on ---- */

static void check_refused(const char *uri, QIOErrorCode code, const char *part)
{
    Error *err = NULL;

    test_note("%s", uri);
    CHECK_PTR(qio_net_listener_open_uri(uri, NULL, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(err), part);
    qio_error_free(err);
}

TEST(what_cannot_be_listened_on)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);

    check_refused(chosen, QIO_ERROR_SYSTEM, chosen);
    check_refused("file:/tmp/x", QIO_ERROR_INVAL, "file: cannot be listened on");
    check_refused("null:", QIO_ERROR_INVAL, "null: cannot be listened on");
    check_refused("exec:true", QIO_ERROR_SYSTEM, "\"exec\"");
    check_refused("tcp://127.0.0.1:0?ipv4=off", QIO_ERROR_INVAL, "\"ipv4\" is off");
    check_refused("tcp://127.0.0.1:0?backlog=0", QIO_ERROR_INVAL, "\"backlog\"");
    check_refused("unix:/no/such/directory/s", QIO_ERROR_SYSTEM, "unix:/no/such/directory/s");
    check_refused("fd:0", QIO_ERROR_INVAL, "not a listening socket");
    qio_object_unref(listener);
    g_free(chosen);
}

/* Where there are vsocks at all; whom they reach is a matter of virtual machines. */
TEST(vsock)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    QIONetListener *listener;
    Error *err = NULL;
    QIOAddress *chosen;

    if (fd < 0) {
        CHECK_PTR(qio_net_listener_open_uri("vsock://4294967295:0", NULL, &err), ==, NULL);
        CHECK_INT(qio_error_get_errno(err), ==, EAFNOSUPPORT);
        qio_error_free(err);
        return;
    }
    close(fd);
    listener = listen_on("vsock://4294967295:0");
    chosen = qio_net_listener_get_address(listener, 0, NULL);
    CHECK_INT(chosen->kind, ==, QIO_ADDRESS_VSOCK);
    CHECK_INT(chosen->cid, ==, UINT32_MAX);
    CHECK_INT(chosen->port, !=, 0);
    CHECK_INT(chosen->port, !=, UINT32_MAX);
    CHECK_PTR(qio_net_listener_accept(listener, 0, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    qio_address_free(chosen);
    qio_object_unref(listener);
}

TEST(a_given_descriptor)
{
    QIONetListener *first = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(first, 0);
    int fd = fcntl(qio_net_listener_get_fd(first, 0, NULL), F_DUPFD_CLOEXEC, 3);
    int pair[2];
    char uri[32];
    QIONetListener *listener;
    char *again;

    qio_object_unref(first);
    g_snprintf(uri, sizeof(uri), "fd:%d", fd);
    listener = listen_on(uri);
    again = address_of(listener, 0);
    CHECK_STR(again, chosen);
    qio_object_unref(connect_to(chosen));
    qio_object_unref(accept_one(listener));
    qio_object_unref(listener);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    g_free(chosen);
    g_free(again);

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_snprintf(uri, sizeof(uri), "fd:%d", pair[0]);
    check_refused(uri, QIO_ERROR_INVAL, "not a listening socket");
    CHECK_INT(close(pair[0]), ==, 0);
    CHECK_INT(close(pair[1]), ==, 0);
}
