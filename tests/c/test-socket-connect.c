/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-socket-connect.c: connecting, listening, accepting, and the paths of unix sockets.
 *
 * Owns: the promises of channel-socket.h on how a socket comes to be.
 */
#include "runner.h"
#include "seam.h"
#include "torture.h"

#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>
#include <qio/channel-socket.h>

/* ---- helpers ---- */

typedef struct Place {
    struct sockaddr_storage addr;
    socklen_t len;
} Place;

static Place place(const char *text)
{
    QIOAddress *addr = qio_address_parse(text, NULL);
    Place result;
    int len;

    CHECK(addr != NULL);
    len = qio_address_to_sockaddr(addr, &result.addr, NULL);
    CHECK_INT(len, >, 0);
    result.len = (socklen_t)len;
    qio_address_free(addr);
    return result;
}

static Place unix_place(const char *name)
{
    char text[200];

    snprintf(text, sizeof(text), "unix:%s/%s", test_dir(), name);
    return place(text);
}

static const char *path_of(const Place *where)
{
    return ((const struct sockaddr *)&where->addr)->sa_data;
}

static QIOChannelSocket *listener_at(const Place *where, int backlog)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;

    if (qio_channel_socket_listen_sockaddr(ioc, (const struct sockaddr *)&where->addr, where->len,
                                           backlog, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return ioc;
}

/* Where clients find it. */
static Place place_of(QIOChannelSocket *listener)
{
    Place where;
    int len = qio_channel_socket_get_sockaddr(listener, false, &where.addr, NULL);

    CHECK_INT(len, >, 0);
    where.len = (socklen_t)len;
    return where;
}

static int connect_to(QIOChannelSocket *ioc, const Place *where, int timeout_ms, Error **errp)
{
    return qio_channel_socket_connect_sockaddr(ioc, (const struct sockaddr *)&where->addr,
                                               where->len, timeout_ms, false, errp);
}

static char *text_of(QIOAddress *addr)
{
    char *text = qio_address_format(addr);

    qio_address_free(addr);
    return text;
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- each kind from end to end ---- */

static void talk(QIOChannelSocket *a, QIOChannelSocket *b)
{
    char buf[8];

    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(a), "ping", 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(b), buf, 4, NULL), ==, 0);
    CHECK_MEM(buf, "ping", 4);
}

static void end_to_end(const Place *where, bool passes_fds)
{
    QIOChannelSocket *listener = listener_at(where, 5);
    QIOChannelSocket *client = qio_channel_socket_new(), *server;
    Place there = place_of(listener);
    char *listening = text_of(qio_channel_socket_get_local_address(listener, NULL));
    char *remote;
    int fd;

    CHECK(qio_channel_has_feature(QIO_CHANNEL(listener), QIO_CHANNEL_FEATURE_LISTEN));
    fd = qio_channel_get_fd(QIO_CHANNEL(listener), NULL);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(connect_to(client, &there, 5000, NULL), ==, 0);
    server = qio_channel_socket_accept(listener, NULL);
    for (int i = 0; i < 2; i++) {
        QIOChannel *end = QIO_CHANNEL(i ? server : client);

        fd = qio_channel_get_fd(end, NULL);
        CHECK(qio_channel_get_blocking(end));
        CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
        CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
        CHECK(qio_channel_has_feature(end, QIO_CHANNEL_FEATURE_SHUTDOWN));
        CHECK(qio_channel_has_feature(end, QIO_CHANNEL_FEATURE_FD_PASS) == passes_fds);
        CHECK(!qio_channel_has_feature(end, QIO_CHANNEL_FEATURE_LISTEN));
    }
    talk(client, server);
    talk(server, client);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(client), NULL), ==, 0);
    remote = text_of(qio_channel_socket_get_remote_address(client, NULL));
    CHECK_STR(remote, listening);
    g_free(remote);
    remote = text_of(qio_channel_socket_get_local_address(server, NULL));
    CHECK_STR(remote, listening);
    g_free(remote);
    g_free(listening);
    qio_object_unref(client);
    qio_object_unref(server);
    qio_object_unref(listener);
}

TEST(tcp4)
{
    Place where = place("tcp://127.0.0.1:0");

    end_to_end(&where, false);
}

TEST(tcp6)
{
    Place where = place("tcp://[::1]:0");

    end_to_end(&where, false);
}

TEST(unix_path)
{
    Place where = unix_place("sock");

    end_to_end(&where, true);
    CHECK(!exists(path_of(&where)));
}

TEST(abstract_name)
{
    char text[100];
    Place where;

    snprintf(text, sizeof(text), "abstract:qio-test-%d", (int)getpid());
    where = place(text);
    end_to_end(&where, true);
}

TEST(addresses_of_both_ends)
{
    Place where = place("tcp://127.0.0.1:0"), there;
    QIOChannelSocket *listener = listener_at(&where, 5), *server;
    QIOChannelSocket *client = qio_channel_socket_new();
    QIOAddress *mine, *seen;

    there = place_of(listener);
    CHECK_INT(connect_to(client, &there, -1, NULL), ==, 0);
    server = qio_channel_socket_accept(listener, NULL);
    mine = qio_channel_socket_get_local_address(client, NULL);
    seen = qio_channel_socket_get_remote_address(server, NULL);
    CHECK(qio_address_equal(mine, seen));
    CHECK_INT(mine->port, >, 0);
    qio_address_free(mine);
    qio_address_free(seen);
    CHECK_INT(qio_channel_socket_get_peer_cred(client, NULL, NULL, NULL, NULL), ==, -1);
    qio_object_unref(client);
    qio_object_unref(server);
    qio_object_unref(listener);
}

static int tcp_flag(QIOChannelSocket *ioc, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    getsockopt(qio_channel_get_fd(QIO_CHANNEL(ioc), NULL), IPPROTO_TCP, option, &value, &len);
    return value;
}

TEST(delay_and_cork)
{
    Place where = place("tcp://127.0.0.1:0"), there;
    QIOChannelSocket *listener = listener_at(&where, 5);
    QIOChannelSocket *client = qio_channel_socket_new();

    there = place_of(listener);
    CHECK_INT(connect_to(client, &there, -1, NULL), ==, 0);
    qio_channel_set_delay(QIO_CHANNEL(client), false);
    CHECK_INT(tcp_flag(client, TCP_NODELAY), ==, 1);
    qio_channel_set_delay(QIO_CHANNEL(client), true);
    CHECK_INT(tcp_flag(client, TCP_NODELAY), ==, 0);
    qio_channel_set_cork(QIO_CHANNEL(client), true);
    CHECK_INT(tcp_flag(client, TCP_CORK), ==, 1);
    qio_channel_set_cork(QIO_CHANNEL(client), false);
    CHECK_INT(tcp_flag(client, TCP_CORK), ==, 0);
    qio_object_unref(client);
    qio_object_unref(listener);
}

/* ---- connecting ---- */

TEST(refused)
{
    Place where = place("tcp://127.0.0.1:0"), there;
    QIOChannelSocket *listener = listener_at(&where, 5);
    QIOChannelSocket *client = qio_channel_socket_new();
    Error *err = NULL;

    there = place_of(listener);
    qio_object_unref(listener);
    CHECK_INT(connect_to(client, &there, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_SYSTEM);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNREFUSED);
    CHECK_STR_HAS(qio_error_get_pretty(err), "tcp://127.0.0.1:");
    g_clear_pointer(&err, qio_error_free);
    there = unix_place("nobody");
    CHECK_INT(connect_to(client, &there, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOENT);
    CHECK_STR_HAS(qio_error_get_pretty(err), "nobody");
    qio_error_free(err);
    qio_object_unref(client);
}

TEST(an_open_one_is_not_connected_again)
{
    Place where = unix_place("sock");
    QIOChannelSocket *listener = listener_at(&where, 5), *server;
    QIOChannelSocket *client = qio_channel_socket_new();
    Error *err = NULL;

    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    seam_install();
    CHECK_INT(connect_to(client, &where, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_BUSY);
    CHECK_INT(seam_hits_of_all(), ==, 0);
    g_clear_pointer(&err, qio_error_free);
    seam_remove();
    server = qio_channel_socket_accept(listener, NULL);
    talk(client, server);
    qio_channel_close(QIO_CHANNEL(client), NULL);
    CHECK_INT(connect_to(client, &where, -1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_socket_connect_sockaddr(server, NULL, 0, -1, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    qio_object_unref(client);
    qio_object_unref(server);
    qio_object_unref(listener);
}

/* Clients that fill a listener's queue until one does not get in. */
typedef struct Crowd {
    int fds[16];
    int n;
} Crowd;

static void crowd(Crowd *all, const Place *where)
{
    for (all->n = 0; all->n < 16; all->n++) {
        int fd = socket(where->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pollfd pfd = { .fd = fd, .events = POLLOUT };

        all->fds[all->n] = fd;
        if (connect(fd, (const struct sockaddr *)&where->addr, where->len) < 0 &&
            (errno == EAGAIN || poll(&pfd, 1, 100) == 0)) {
            all->n++;
            return;
        }
    }
    test_fail(__FILE__, __LINE__, "the queue never fills");
}

static void disperse(Crowd *all)
{
    while (all->n > 0) {
        close(all->fds[--all->n]);
    }
}

static void times_out(const char *text)
{
    Place where = text ? place(text) : unix_place("full"), there;
    QIOChannelSocket *listener = listener_at(&where, 1);
    QIOChannelSocket *client = qio_channel_socket_new();
    Crowd all;
    Error *err = NULL;
    gint64 start;

    there = place_of(listener);
    crowd(&all, &there);
    start = g_get_monotonic_time();
    CHECK_INT(connect_to(client, &there, 150, &err), ==, -1);
    CHECK_INT(g_get_monotonic_time() - start, >=, 150000);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(connect_to(client, &there, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    disperse(&all);
    qio_object_unref(client);
    qio_object_unref(listener);
}

TEST(a_full_unix_queue_times_out)
{
    times_out(NULL);
}

TEST(a_black_hole_times_out)
{
    times_out("tcp://127.0.0.1:0");
}

static void *accept_all(void *opaque)
{
    QIOChannelSocket *client;

    while ((client = qio_channel_socket_accept(opaque, NULL))) {
        qio_object_unref(client);
    }
    return NULL;
}

TEST(a_full_queue_is_waited_for)
{
    Place where = unix_place("full");
    QIOChannelSocket *listener = listener_at(&where, 1);
    QIOChannelSocket *client = qio_channel_socket_new();
    pthread_t accepter;
    Crowd all;

    crowd(&all, &where);
    CHECK_INT(pthread_create(&accepter, NULL, accept_all, listener), ==, 0);
    CHECK_INT(connect_to(client, &where, -1, NULL), ==, 0);
    qio_channel_close(QIO_CHANNEL(listener), NULL);
    pthread_join(accepter, NULL);
    disperse(&all);
    qio_object_unref(client);
    qio_object_unref(listener);
}

static void do_nothing(int signum)
{
}

static void storm(bool on)
{
    const struct sigaction action = { .sa_handler = do_nothing };
    const struct itimerval every = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };

    CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
    CHECK_INT(setitimer(ITIMER_REAL, on ? &every : &never, NULL), ==, 0);
}

TEST(signals_do_not_hurry_a_deadline)
{
    Place where = unix_place("full");
    QIOChannelSocket *listener = listener_at(&where, 1);
    QIOChannelSocket *client = qio_channel_socket_new();
    Crowd all;
    Error *err = NULL;
    gint64 start;

    crowd(&all, &where);
    start = g_get_monotonic_time();
    storm(true);
    CHECK_INT(connect_to(client, &where, 100, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(g_get_monotonic_time() - start, >=, 100000);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_socket_connect_sockaddr(client, (struct sockaddr *)&where.addr, where.len,
                                                  -1, true, &err), ==, -1);
    storm(false);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    qio_error_free(err);
    disperse(&all);
    qio_object_unref(client);
    qio_object_unref(listener);
}

TEST(an_interrupted_connect_is_not_repeated)
{
    static const int numbers[] = { EINTR, EINPROGRESS };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        Place where = place("tcp://127.0.0.1:0"), there;
        QIOChannelSocket *listener = listener_at(&where, 5), *server;
        QIOChannelSocket *client = qio_channel_socket_new();

        there = place_of(listener);
        seam_install();
        seam_fail(SEAM_connect, 1, 1, numbers[i]);
        CHECK_INT(connect_to(client, &there, -1, NULL), ==, 0);
        CHECK_INT(seam_hits(SEAM_connect), ==, 1);
        seam_remove();
        server = qio_channel_socket_accept(listener, NULL);
        talk(client, server);
        qio_object_unref(client);
        qio_object_unref(server);
        qio_object_unref(listener);
    }
}

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

/* A socket that is bound, and is left behind by a plain close. */
static int bind_plain(const Place *where)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (const struct sockaddr *)&where->addr, where->len), ==, 0);
    return fd;
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

/* ---- every call fails in turn ---- */

static void scenario_at(const Place *where)
{
    QIOChannelSocket *listener = qio_channel_socket_new();
    QIOChannelSocket *client = qio_channel_socket_new(), *server = NULL;
    Place there;
    char buf[4];

    if (qio_channel_socket_listen_sockaddr(listener, (const struct sockaddr *)&where->addr,
                                           where->len, 5, NULL) < 0) {
        CHECK(torture_may_fail());
        goto out;
    }
    there.len = (socklen_t)qio_channel_socket_get_sockaddr(listener, false, &there.addr, NULL);
    if ((int)there.len < 0) {
        CHECK(torture_may_fail());
        goto out;
    }
    if (connect_to(client, &there, 2000, NULL) < 0) {
        CHECK(torture_may_fail());
        goto out;
    }
    server = qio_channel_socket_accept(listener, NULL);
    if (!server) {
        CHECK(torture_may_fail());
        goto out;
    }
    CHECK(qio_channel_write_all(QIO_CHANNEL(client), "1234", 4, NULL) == 0 || torture_may_fail());
    CHECK_INT(qio_channel_close(QIO_CHANNEL(client), NULL), <=, 0);
    CHECK(qio_channel_read_all(QIO_CHANNEL(server), buf, 4, NULL) == 0 || torture_may_fail());
out:
    qio_object_unref(client);
    qio_object_unref(server);
    qio_object_unref(listener);
}

static void tcp_scenario(void)
{
    Place where = place("tcp://127.0.0.1:0");

    scenario_at(&where);
}

static void unix_scenario(void)
{
    Place where = unix_place("sock");

    close(bind_plain(&where));
    scenario_at(&where);
}

TEST(torture_tcp, .timeout_s = 100)
{
    torture(tcp_scenario, 40);
}

TEST(torture_unix, .timeout_s = 100)
{
    torture(unix_scenario, 40);
}
