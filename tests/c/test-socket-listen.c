/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-socket-listen.c: listening, accepting, and the paths of unix sockets.
 *
 * Owns: the promises of channel-socket.h on listeners: what they find in their way, what they
 * leave behind, and which clients they tell of.
 */
#include "socket-place.h"
#include "seam.h"

#include <netinet/in.h>
#include <pthread.h>

/* ---- listening, and paths ---- */

static int try_listen(const Place *where, int backlog, Error **errp)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    int ret = qio_channel_socket_listen_sockaddr(ioc, (const struct sockaddr *)&where->addr,
                                                 where->len, backlog, errp);

    qio_object_unref(ioc);
    return ret;
}

TEST(backlog_of_nothing)
{
    Place where = unix_place("sock");
    Error *err = NULL;

    CHECK_INT(try_listen(&where, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "backlog");
    qio_error_free(err);
    CHECK(!exists(path_of(&where)));
}

TEST(what_is_in_the_way_stays)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5), *client;
    Error *err = NULL;
    int fd;

    CHECK_INT(try_listen(&where, 5, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    CHECK_STR_HAS(qio_error_get_pretty(err), "/sock");
    g_clear_pointer(&err, qio_error_free);
    client = qio_channel_socket_new();
    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    qio_object_unref(client);
    qio_object_unref(listener);
    CHECK(!exists(path_of(&where)));

    fd = open(path_of(&where), O_CREAT | O_WRONLY, 0600);
    CHECK_INT(write(fd, "precious", 8), ==, 8);
    close(fd);
    CHECK_INT(try_listen(&where, 5, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    qio_error_free(err);
    CHECK(exists(path_of(&where)));
}

TEST(a_stale_socket_is_replaced)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener, *client = qio_channel_socket_new();

    close(bind_plain(&where));
    CHECK(exists(path_of(&where)));
    listener = listener_at(&where, 5);
    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    qio_object_unref(client);
    qio_object_unref(listener);
    CHECK(!exists(path_of(&where)));
}

TEST(the_path_of_another_stays)
{
    Place where = unix_place("sock");
    QIOChannelSocket *first = listener_at(&where, 5), *second;

    CHECK_INT(unlink(path_of(&where)), ==, 0);
    second = listener_at(&where, 5);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(first), NULL), ==, 0);
    CHECK(exists(path_of(&where)));
    qio_object_unref(first);
    qio_object_unref(second);
    CHECK(!exists(path_of(&where)));
}

TEST(a_path_we_did_not_make_stays)
{
    Place where = unix_place("sock");
    int fd = bind_plain(&where);
    QIOChannelSocket *ioc = qio_channel_socket_new_fd(fd, NULL);

    CHECK(!qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_LISTEN));
    qio_object_unref(ioc);
    CHECK(exists(path_of(&where)));
    CHECK_INT(unlink(path_of(&where)), ==, 0);

    fd = bind_plain(&where);
    CHECK_INT(listen(fd, 5), ==, 0);
    ioc = qio_channel_socket_new_fd(fd, NULL);
    CHECK(qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_LISTEN));
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    qio_object_unref(ioc);
    CHECK(exists(path_of(&where)));
}

TEST(take_fd_keeps_the_path)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5), *client = qio_channel_socket_new();
    int fd = qio_channel_take_fd(QIO_CHANNEL(listener), NULL);

    CHECK_INT(fd, >=, 0);
    qio_object_unref(listener);
    CHECK(exists(path_of(&where)));
    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    qio_object_unref(client);
    close(fd);
}

static void close_in_child(void *opaque)
{
    qio_channel_close(opaque, NULL);
}

TEST(a_forked_child_leaves_the_path)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5);
    pid_t pid = fork();

    if (pid == 0) {
        close_in_child(listener);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    CHECK(exists(path_of(&where)));
    qio_object_unref(listener);
    CHECK(!exists(path_of(&where)));
}

TEST(no_path_is_left_when_listen_fails)
{
    Place where = unix_place("sock");
    Error *err = NULL;

    seam_install();
    seam_fail(SEAM_listen, 1, 1, EADDRINUSE);
    CHECK_INT(try_listen(&where, 5, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    qio_error_free(err);
    seam_remove();
    CHECK(!exists(path_of(&where)));
}

/* ---- accepting ---- */

static QIOErrorCode accept_code(QIOChannelSocket *listener, int *number)
{
    Error *err = NULL;
    QIOErrorCode code;

    CHECK_PTR(qio_channel_socket_accept(listener, &err), ==, NULL);
    code = qio_error_get_code(err);
    *number = qio_error_get_errno(err);
    qio_error_free(err);
    return code;
}

TEST(nobody_waits)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5);
    Error *err = NULL;
    int number;

    CHECK_PTR(qio_channel_socket_try_accept(listener, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_AGAIN);
    qio_error_free(err);
    qio_channel_set_timeout(QIO_CHANNEL(listener), 30);
    CHECK_INT(accept_code(listener, &number), ==, QIO_ERROR_TIMEOUT);
    qio_channel_set_blocking(QIO_CHANNEL(listener), false, NULL);
    CHECK_INT(accept_code(listener, &number), ==, QIO_ERROR_AGAIN);
    qio_channel_close(QIO_CHANNEL(listener), NULL);
    CHECK_INT(accept_code(listener, &number), ==, QIO_ERROR_CLOSED);
    qio_object_unref(listener);
}

TEST(accept_passes_over_what_is_gone)
{
    static const int passing[] = { EINTR, ECONNABORTED, EPROTO, EHOSTUNREACH };
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5);

    for (size_t i = 0; i < G_N_ELEMENTS(passing); i++) {
        QIOChannelSocket *client = qio_channel_socket_new(), *server;

        CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
        seam_install();
        seam_fail(SEAM_accept4, 1, 3, passing[i]);
        server = qio_channel_socket_accept(listener, NULL);
        seam_remove();
        talk(client, server);
        qio_object_unref(client);
        qio_object_unref(server);
    }
    qio_object_unref(listener);
}

TEST(accept_tells_of_real_failures)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5), *client = qio_channel_socket_new();
    int number;

    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    seam_install();
    seam_fail(SEAM_accept4, 1, 1, EMFILE);
    CHECK_INT(accept_code(listener, &number), ==, QIO_ERROR_SYSTEM);
    CHECK_INT(number, ==, EMFILE);
    seam_remove();
    CHECK_INT(accept_code(client, &number), ==, QIO_ERROR_INVAL);
    qio_object_unref(client);
    client = qio_channel_socket_accept(listener, NULL);
    CHECK(client != NULL);
    qio_object_unref(client);
    qio_object_unref(listener);
}

/* Clients that reset before they are accepted: no accept may wait for the next. */
TEST(reset_before_accept)
{
    Place where = place("tcp://127.0.0.1:0"), there;
    QIOChannelSocket *listener = listener_at(&where, 50);
    struct linger hard = { 1, 0 };

    there = place_of(listener);
    for (int i = 0; i < 200; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        QIOChannelSocket *client;

        CHECK_INT(connect(fd, (struct sockaddr *)&there.addr, there.len), ==, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
        client = qio_channel_socket_try_accept(listener, NULL);
        if (client) {
            qio_object_unref(client);
        }
    }
    CHECK_PTR(qio_channel_socket_try_accept(listener, NULL), ==, NULL);
    qio_object_unref(listener);
}

TEST(close_wakes_an_accept)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5);
    pthread_t accepter;

    CHECK_INT(pthread_create(&accepter, NULL, accept_all, listener), ==, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(listener), NULL), ==, 0);
    pthread_join(accepter, NULL);
    qio_object_unref(listener);
}
