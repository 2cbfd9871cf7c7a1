/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-activation.c: descriptors that a service manager passed (LISTEN_FDS).
 *
 * Owns: what fd:NAME finds, takes and refuses.  A test starts with nothing open above 2, so what
 * it opens first is where a manager's descriptors are; and in a process of its own, for what was
 * taken once is never found again.
 */
#include "hole.h"
#include "seam.h"
#include "net/net-priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define PASSED_TEST(name) \
    static void in_child_##name(void); \
    TEST(name) { in_child(in_child_##name); } \
    static void in_child_##name(void)

static void in_child(void (*run)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        run();
        _exit(fcntl(3, F_GETFD) < 0 ? 0 : 3);   /* nothing is left open */
    }
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(status, ==, 0);
}

static void pass(const char *pid, const char *count, const char *names)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", pid ? pid : text, 1);
    setenv("LISTEN_FDS", count, 1);
    if (names) {
        setenv("LISTEN_FDNAMES", names, 1);
    } else {
        unsetenv("LISTEN_FDNAMES");
    }
}

static int pass_listener(int number, uint16_t *port)
{
    int fd;

    *port = 0;
    fd = listen_at_port("127.0.0.1", port, 5);
    CHECK_INT(fd, ==, number);
    CHECK_INT(fcntl(fd, F_SETFD, 0), ==, 0);    /* as a manager passes it */
    return fd;
}

static QIONetListener *listen_to(const char *uri)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri(uri, NULL, &err);

    if (!listener) {
        test_fail(__FILE__, __LINE__, "%s: %s", uri, qio_error_get_pretty(err));
    }
    return listener;
}

static void check_refused(const char *uri, const char *part)
{
    Error *err = NULL;

    test_note("%s", uri);
    CHECK_PTR(qio_net_listener_open_uri(uri, NULL, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), part);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
}

static void talk(QIONetListener *listener, size_t index, uint16_t port)
{
    QIOAddress *addr = qio_net_listener_get_address(listener, index, NULL);
    QIOChannelSocket *client = qio_channel_socket_new(), *server;

    CHECK_INT(addr->port, ==, port);
    CHECK_INT(qio_channel_socket_connect_sync(client, addr, NULL), ==, 0);
    server = qio_net_listener_accept(listener, 10000, false, NULL);
    CHECK(server != NULL);
    qio_object_unref(client);
    qio_object_unref(server);
    qio_address_free(addr);
}

PASSED_TEST(every_descriptor_of_a_name_is_listened_on)
{
    QIONetListener *listener;
    uint16_t ports[3];
    char *environment = NULL;

    for (int i = 0; i < 3; i++) {
        pass_listener(3 + i, &ports[i]);
    }
    pass(NULL, "3", "web:control:web");
    listener = listen_to("fd:web");
    talk(listener, 0, ports[0]);
    talk(listener, 1, ports[2]);
    CHECK_PTR(qio_net_listener_get_address(listener, 2, NULL), ==, NULL);
    for (size_t i = 0; i < 2; i++) {
        int fd = qio_net_listener_get_fd(listener, i, NULL);

        CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
        CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    }
    /* What the manager passed is ours now; what has another name is as it was. */
    CHECK_ERRNO(fcntl(3, F_GETFD), EBADF);
    CHECK_INT(fcntl(4, F_GETFD), ==, 0);
    environment = getenv("LISTEN_FDS");
    CHECK_STR(environment, "3");
    qio_object_unref(listener);
    close(4);
}

/* Its number may be anything's by now. */
PASSED_TEST(one_that_was_opened_is_not_found_again)
{
    QIONetListener *listener, *other;
    uint16_t port;

    pass_listener(3, &port);
    pass(NULL, "1", "web");
    listener = listen_to("fd:web");
    other = listen_to("tcp://127.0.0.1:0");
    CHECK(fcntl(3, F_GETFD) >= 0);
    check_refused("fd:web", "\"web\" was opened already");
    CHECK(fcntl(3, F_GETFD) >= 0);
    talk(listener, 0, port);
    qio_object_unref(other);
    qio_object_unref(listener);
}

PASSED_TEST(names_that_are_not_given)
{
    QIONetListener *listener;
    uint16_t port;

    pass_listener(3, &port);
    pass(NULL, "1", NULL);
    check_refused("fd:web", "no descriptor in LISTEN_FDNAMES has the name \"web\"");
    listener = listen_to("fd:unknown");
    talk(listener, 0, port);
    qio_object_unref(listener);
}

PASSED_TEST(what_is_not_meant_for_this_process)
{
    uint16_t port;
    int fd = pass_listener(3, &port);

    check_refused("fd:web", "LISTEN_PID and LISTEN_FDS are not set");
    pass("1", "1", "web");
    check_refused("fd:web", "LISTEN_PID is 1, and this is");
    pass(" 1", "1", "web");
    check_refused("fd:web", "not set");
    pass(NULL, "0", "web");
    check_refused("fd:web", "LISTEN_FDS is 0");
    pass(NULL, "1000000", "web");
    check_refused("fd:web", "LISTEN_FDS is 1000000");
    pass(NULL, "2", "web");
    check_refused("fd:web", "LISTEN_FDNAMES has 1 names for the 2 descriptors");
    CHECK_INT(fcntl(fd, F_GETFD), ==, 0);
    close(fd);
}

/* A name is taken as a whole, or not at all. */
PASSED_TEST(one_that_does_not_listen)
{
    uint16_t port;
    int fd = pass_listener(3, &port);
    int other = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_INT(other, ==, 4);
    pass(NULL, "2", "web:web");
    check_refused("fd:web", "not a listening socket");
    CHECK_INT(fcntl(fd, F_GETFD), ==, 0);
    CHECK_INT(fcntl(other, F_GETFD), ==, 0);
    close(fd);
    close(other);
}

PASSED_TEST(out_of_descriptors)
{
    QIONetListener *listener;
    Error *err = NULL;
    uint16_t port;

    pass_listener(3, &port);
    pass(NULL, "1", "web");
    seam_install();
    seam_fail(SEAM_fcntl, 1, 1, EMFILE);
    CHECK_PTR(qio_net_listener_open_uri("fd:web", NULL, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EMFILE);
    qio_error_free(err);
    listener = listen_to("fd:web");
    talk(listener, 0, port);
    qio_object_unref(listener);
}

/* A manager that accepts passes the connection itself. */
PASSED_TEST(a_connection)
{
    QIOChannel *ioc;
    Error *err = NULL;
    int pair[2];
    char text[4] = "";

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    CHECK_INT(pair[0], ==, 3);
    pass(NULL, "1", "connection");
    ioc = qio_channel_open_uri("fd:connection", NULL, false, &err);
    CHECK(ioc != NULL);
    CHECK_STR(qio_object_get_typename((Object *)ioc), TYPE_QIO_CHANNEL_SOCKET);
    CHECK_INT(fcntl(qio_channel_get_fd(ioc, NULL), F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(write(pair[1], "abc", 3), ==, 3);
    CHECK_INT(qio_channel_read_all(ioc, text, 3, NULL), ==, 0);
    CHECK_STR(text, "abc");
    qio_object_unref(ioc);
    close(pair[1]);
}

PASSED_TEST(a_channel_takes_one)
{
    Error *err = NULL;
    uint16_t port;
    int first = pass_listener(3, &port), second = pass_listener(4, &port);
    QIOAddress *addr = qio_address_parse("fd:web", NULL);
    QIOChannelSocket *ioc = qio_channel_socket_new();

    pass(NULL, "2", "web:web");
    CHECK_PTR(qio_channel_open_uri("fd:web", NULL, false, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "stands for 2 descriptors");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_socket_listen_sync(ioc, addr, 1, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "a channel has one");
    g_clear_pointer(&err, qio_error_free);
    close(second);
    pass(NULL, "1", "web");
    CHECK_INT(qio_channel_socket_listen_sync(ioc, addr, 1, &err), ==, 0);
    CHECK(qio_channel_has_feature((QIOChannel *)ioc, QIO_CHANNEL_FEATURE_LISTEN));
    CHECK_ERRNO(fcntl(first, F_GETFD), EBADF);
    qio_object_unref(ioc);
    qio_address_free(addr);
}
