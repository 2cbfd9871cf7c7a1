/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-socket-connect.c: connecting.
 *
 * Owns: the promises of channel-socket.h on each kind of address from end to end, and on a
 * connect that fails, waits, is interrupted, or has every one of its calls fail.
 */
#include "socket-place.h"
#include "seam.h"
#include "testclock.h"
#include "torture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/time.h>

/* ---- each kind from end to end ---- */

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

typedef struct Connecting {
    QIOChannelSocket *client;
    const Place *where;
    _Atomic bool begun;
    QIOErrorCode code;
} Connecting;

static void *connect_for_ever(void *opaque)
{
    Connecting *connecting = opaque;
    Error *err = NULL;

    atomic_store(&connecting->begun, true);
    CHECK_INT(connect_to(connecting->client, connecting->where, -1, &err), ==, -1);
    connecting->code = qio_error_get_code(err);
    qio_error_free(err);
    return NULL;
}

static void close_it(QIOChannel *ioc, _Atomic bool *ended)
{
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
}

/* A cancel reaches who waits now. */
static void cancel_it(QIOChannel *ioc, _Atomic bool *ended)
{
    while (!atomic_load(ended)) {
        qio_channel_cancel(ioc, G_IO_OUT);
        sched_yield();
    }
}

typedef struct Canceller {
    QIOChannel *ioc;
    void (*end)(QIOChannel *ioc, _Atomic bool *ended);
    _Atomic bool ended;
} Canceller;

static void *end_the_wait(void *opaque)
{
    Canceller *canceller = opaque;

    canceller->end(canceller->ioc, &canceller->ended);
    return NULL;
}

static void another_thread_ends_it(const char *text,
                                   void (*end)(QIOChannel *ioc, _Atomic bool *ended), int rounds)
{
    Place where = text ? place(text) : unix_place("full"), there;
    QIOChannelSocket *listener = listener_at(&where, 1);
    Crowd all;

    there = place_of(listener);
    crowd(&all, &there);
    for (int i = 0; i < rounds; i++) {
        Connecting connecting = { .client = qio_channel_socket_new(), .where = &there };
        Canceller canceller = { .ioc = QIO_CHANNEL(connecting.client), .end = end };
        pthread_t connecter, ender;

        CHECK_INT(pthread_create(&connecter, NULL, connect_for_ever, &connecting), ==, 0);
        while (!atomic_load(&connecting.begun)) {
            sched_yield();
        }
        CHECK_INT(pthread_create(&ender, NULL, end_the_wait, &canceller), ==, 0);
        pthread_join(connecter, NULL);
        atomic_store(&canceller.ended, true);
        pthread_join(ender, NULL);
        CHECK(connecting.code == QIO_ERROR_CANCELLED ||
              (end == close_it && connecting.code == QIO_ERROR_CLOSED));
        CHECK_INT(qio_channel_is_closed(canceller.ioc), ==, end == close_it);
        qio_object_unref(connecting.client);
    }
    disperse(&all);
    qio_object_unref(listener);
}

/* A full queue is napped at, a black hole is slept on. */
TEST(a_close_ends_a_connect)
{
    another_thread_ends_it(NULL, close_it, 50);
    another_thread_ends_it("tcp://127.0.0.1:0", close_it, 50);
}

TEST(a_cancel_ends_a_connect_and_the_channel_is_as_it_was)
{
    another_thread_ends_it(NULL, cancel_it, 20);
    another_thread_ends_it("tcp://127.0.0.1:0", cancel_it, 20);
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

/* Where another's socket was left behind, which listening replaces; test-torture.c has the rest. */
static void stale_scenario(void)
{
    Place where = unix_place("sock");

    close(bind_plain(&where));
    scenario_at(&where);
}

TEST(torture_stale_path)
{
    testclock_install();
    torture(stale_scenario, 40);
    testclock_remove();
}
