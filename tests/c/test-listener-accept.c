/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-listener-accept.c: accepting with a deadline, from several sockets, when clients leave
 * again, when descriptors run out, and when the listener is closed meanwhile.
 */
#include "listener-util.h"

#include <fcntl.h>
#include <pthread.h>
#include "seam.h"
#include "testclock.h"

/* ---- accepting ---- */

static void check_accept_fails(QIONetListener *listener, int timeout_ms, QIOErrorCode code)
{
    Error *err = NULL;

    CHECK_PTR(qio_net_listener_accept(listener, timeout_ms, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, code);
    qio_error_free(err);
}

TEST(accept_keeps_its_deadline)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");

    testclock_install();
    check_accept_fails(listener, 0, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    check_accept_fails(listener, 90000, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), >=, 90000);
    CHECK_INT(testclock_elapsed_ms(), <=, 90001);
    testclock_remove();
    qio_object_unref(listener);
}

TEST(a_signal_ends_accept_when_asked_for)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Error *err = NULL;

    testclock_install();
    seam_fail(SEAM_poll, 1, 1, EINTR);
    CHECK_PTR(qio_net_listener_accept(listener, 1000, true, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    g_clear_pointer(&err, qio_error_free);
    testclock_remove();

    testclock_install();
    seam_fail(SEAM_poll, 1, 1, EINTR);
    check_accept_fails(listener, 1000, QIO_ERROR_TIMEOUT);
    testclock_remove();
    qio_object_unref(listener);
}

TEST(an_error_of_poll_comes_out)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");

    seam_install();
    seam_fail(SEAM_poll, 1, 1, ENOMEM);
    check_accept_fails(listener, 1000, QIO_ERROR_SYSTEM);
    seam_remove();
    qio_object_unref(listener);
}

static QIOAddress *loopback(void)
{
    return qio_address_new_inet("127.0.0.1", 0);
}

static void open_more(QIONetListener *listener, int times)
{
    QIOAddress *addr = loopback();

    for (int i = 0; i < times; i++) {
        CHECK_INT(qio_net_listener_open_sync(listener, addr, 8, NULL), ==, 0);
    }
    qio_address_free(addr);
}

/* Which socket of the listener a client came to, by its port. */
static int index_of(QIONetListener *listener, QIOChannelSocket *client, int count)
{
    QIOAddress *address = qio_channel_socket_get_local_address(client, NULL);
    int found = -1;

    for (int i = 0; i < count; i++) {
        QIOAddress *mine = qio_net_listener_get_address(listener, (size_t)i, NULL);

        if (qio_address_equal(mine, address)) {
            found = i;
        }
        qio_address_free(mine);
    }
    qio_address_free(address);
    return found;
}

TEST(clients_of_several_sockets_at_once)
{
    enum { SOCKETS = 6, CLIENTS = 3 };
    QIONetListener *listener = qio_net_listener_new();
    int seen[SOCKETS] = { 0 };

    open_more(listener, SOCKETS);
    for (int i = 0; i < SOCKETS * CLIENTS; i++) {
        char *address = address_of(listener, (size_t)(i % SOCKETS));

        qio_object_unref(connect_to(address));
        g_free(address);
    }
    for (int i = 0; i < SOCKETS * CLIENTS; i++) {
        QIOChannelSocket *client = accept_one(listener);
        int index = index_of(listener, client, SOCKETS);

        CHECK_INT(index, >=, 0);
        seen[index]++;
        /* Each socket has its turn. */
        CHECK_INT(seen[index], <=, i / SOCKETS + 1);
        qio_object_unref(client);
    }
    check_accept_fails(listener, 0, QIO_ERROR_TIMEOUT);
    qio_object_unref(listener);
}

TEST(two_clients_at_the_same_moment)
{
    QIONetListener *listener = qio_net_listener_new();
    QIOChannelSocket *one, *two;
    char *first, *second;

    open_more(listener, 2);
    first = address_of(listener, 0);
    second = address_of(listener, 1);
    qio_object_unref(connect_to(first));
    qio_object_unref(connect_to(second));
    one = qio_net_listener_wait_client(listener);
    two = qio_net_listener_wait_client(listener);
    CHECK(one != NULL && two != NULL);
    CHECK_INT(index_of(listener, one, 2) + index_of(listener, two, 2), ==, 1);
    qio_object_unref(one);
    qio_object_unref(two);
    qio_object_unref(listener);
    g_free(first);
    g_free(second);
}

/* ---- clients that do not stay ---- */

/* Connects and resets the connection. */
static void connect_and_reset(const char *uri)
{
    QIOChannel *ioc = connect_to(uri);
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };

    CHECK_INT(setsockopt(qio_channel_get_fd(ioc, NULL), SOL_SOCKET, SO_LINGER, &linger,
                         sizeof(linger)), ==, 0);
    qio_object_unref(ioc);
}

TEST(clients_that_reset_before_they_are_accepted)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);
    QIOChannel *ours;
    QIOChannelSocket *theirs;
    char byte = 0;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) {
            connect_and_reset(chosen);
        }
        while ((theirs = qio_net_listener_accept(listener, 0, false, NULL)) != NULL) {
            qio_object_unref(theirs);
        }
    }
    ours = connect_to(chosen);
    CHECK_INT(qio_channel_write_all(ours, "x", 1, NULL), ==, 0);
    theirs = accept_one(listener);
    CHECK_INT(qio_channel_read_all((QIOChannel *)theirs, &byte, 1, NULL), ==, 0);
    CHECK_INT(byte, ==, 'x');
    qio_object_unref(ours);
    qio_object_unref(theirs);
    qio_object_unref(listener);
    g_free(chosen);
}

TEST(aborted_connections_are_passed_over)
{
    static const int numbers[] = {
        EINTR, ECONNABORTED, EPROTO, ENETDOWN, EHOSTDOWN, ENONET, EHOSTUNREACH, ENETUNREACH,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
        char *chosen = address_of(listener, 0);

        test_note("errno %d", numbers[i]);
        qio_object_unref(connect_to(chosen));
        seam_install();
        seam_fail(SEAM_accept4, 1, 3, numbers[i]);
        qio_object_unref(accept_one(listener));
        CHECK_INT(seam_struck(), ==, 3);
        seam_remove();
        qio_object_unref(listener);
        g_free(chosen);
    }
}

/* ---- out of descriptors ---- */

TEST(shortage_is_a_pause_and_no_spin)
{
    static const int numbers[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
        char *chosen = address_of(listener, 0);
        Error *err = NULL;

        test_note("errno %d", numbers[i]);
        qio_object_unref(connect_to(chosen));
        testclock_install();
        seam_fail(SEAM_accept4, 1, SEAM_ALWAYS, numbers[i]);
        CHECK_PTR(qio_net_listener_accept(listener, 10000, false, &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
        CHECK_STR_HAS(qio_error_get_pretty(err), "out of descriptors");
        qio_error_free(err);
        CHECK_INT(testclock_elapsed_ms(), >=, 10000);
        /* Pauses of 10 ms, doubling up to half a second. */
        CHECK_INT(seam_hits(SEAM_accept4), >=, 20);
        CHECK_INT(seam_hits(SEAM_accept4), <=, 30);
        CHECK_INT(seam_hits(SEAM_poll), <=, 30);
        testclock_remove();
        qio_object_unref(accept_one(listener));
        qio_object_unref(listener);
        g_free(chosen);
    }
}

TEST(accepting_goes_on_within_a_second)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);
    int64_t freed_ms;

    qio_object_unref(connect_to(chosen));
    testclock_install();
    seam_fail(SEAM_accept4, 1, 14, EMFILE);
    qio_object_unref(accept_one(listener));
    CHECK_INT(seam_hits(SEAM_accept4), ==, 15);
    freed_ms = testclock_elapsed_ms();

    /* The last pause of the longest kind, and a fresh start after a success. */
    testclock_install();
    qio_object_unref(connect_to(chosen));
    seam_fail(SEAM_accept4, 1, 1, EMFILE);
    qio_object_unref(accept_one(listener));
    CHECK_INT(testclock_elapsed_ms(), <=, 20);
    testclock_remove();
    CHECK_INT(freed_ms, <, 14 * 1000);
    qio_object_unref(listener);
    g_free(chosen);
}

/* Takes all descriptors there are; the caller closes them. */
static GArray *take_all_descriptors(void)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    int fd;

    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        g_array_append_val(fds, fd);
    }
    CHECK_INT(errno, ==, EMFILE);
    return fds;
}

static void close_descriptors(GArray *fds)
{
    for (size_t i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    g_array_free(fds, TRUE);
}

static void *free_when_tried(void *opaque)
{
    long tried = seam_hits(SEAM_accept4);

    while (seam_hits(SEAM_accept4) < tried + 3) {
        sched_yield();
    }
    close_descriptors(opaque);
    return NULL;
}

TEST(a_real_shortage_ends)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);
    QIOChannel *ours = connect_to(chosen);
    struct rlimit limit = { .rlim_cur = 40, .rlim_max = 40 };
    pthread_t thread;
    GArray *fds;

    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    seam_install();
    fds = take_all_descriptors();
    check_accept_fails(listener, 0, QIO_ERROR_TIMEOUT);
    check_accept_fails(listener, 50, QIO_ERROR_TIMEOUT);
    CHECK_INT(pthread_create(&thread, NULL, free_when_tried, fds), ==, 0);
    qio_object_unref(accept_one(listener));
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    seam_remove();
    qio_object_unref(ours);
    qio_object_unref(listener);
    g_free(chosen);
}

/* ---- the end ---- */

typedef struct Acceptor {
    pthread_t thread;
    QIONetListener *listener;
    QIOErrorCode code;
} Acceptor;

static void *accept_for_ever(void *opaque)
{
    Acceptor *acceptor = opaque;
    Error *err = NULL;

    CHECK_PTR(qio_net_listener_accept(acceptor->listener, -1, false, &err), ==, NULL);
    acceptor->code = qio_error_get_code(err);
    qio_error_free(err);
    return NULL;
}

/* Starts threads that accept, and comes back when all of them wait. */
static void start_acceptors(QIONetListener *listener, Acceptor *acceptors, int count)
{
    seam_install();
    for (int i = 0; i < count; i++) {
        acceptors[i].listener = listener;
        CHECK_INT(pthread_create(&acceptors[i].thread, NULL, accept_for_ever, &acceptors[i]), ==,
                  0);
    }
    while (seam_hits(SEAM_poll) < count) {
        sched_yield();
    }
}

static void check_all_cancelled(Acceptor *acceptors, int count)
{
    for (int i = 0; i < count; i++) {
        CHECK_INT(pthread_join(acceptors[i].thread, NULL), ==, 0);
        CHECK_INT(acceptors[i].code, ==, QIO_ERROR_CANCELLED);
    }
    seam_remove();
}

TEST(close_wakes_who_waits)
{
    enum { THREADS = 3 };
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Acceptor acceptors[THREADS];
    char *before = address_of(listener, 0);
    char *after;

    start_acceptors(listener, acceptors, THREADS);
    CHECK_INT(qio_net_listener_close(listener, NULL), ==, 0);
    check_all_cancelled(acceptors, THREADS);
    check_accept_fails(listener, 0, QIO_ERROR_CLOSED);
    check_accept_fails(listener, -1, QIO_ERROR_CLOSED);
    CHECK_PTR(qio_net_listener_wait_client(listener), ==, NULL);
    CHECK_INT(qio_net_listener_close(listener, NULL), ==, 0);
    CHECK(!qio_net_listener_is_connected(listener));
    after = address_of(listener, 0);
    CHECK_STR(after, before);
    check_not_listening(before);
    qio_object_unref(listener);
    g_free(before);
    g_free(after);
}

TEST(close_wakes_who_pauses)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    char *chosen = address_of(listener, 0);
    QIOChannel *ours = connect_to(chosen);
    Acceptor acceptor = { .listener = listener };

    seam_install();
    seam_fail(SEAM_accept4, 1, SEAM_ALWAYS, EMFILE);
    CHECK_INT(pthread_create(&acceptor.thread, NULL, accept_for_ever, &acceptor), ==, 0);
    while (seam_hits(SEAM_accept4) < 4) {
        sched_yield();
    }
    CHECK_INT(qio_net_listener_close(listener, NULL), ==, 0);
    check_all_cancelled(&acceptor, 1);
    qio_object_unref(ours);
    qio_object_unref(listener);
    g_free(chosen);
}

TEST(disconnect_and_open_again)
{
    QIONetListener *listener = qio_net_listener_new();
    Acceptor acceptor;
    char *first, *second;

    CHECK(!qio_net_listener_is_connected(listener));
    check_accept_fails(listener, 0, QIO_ERROR_INVAL);
    open_more(listener, 1);
    CHECK(qio_net_listener_is_connected(listener));
    first = address_of(listener, 0);
    start_acceptors(listener, &acceptor, 1);
    qio_net_listener_disconnect(listener);
    check_all_cancelled(&acceptor, 1);
    CHECK(!qio_net_listener_is_connected(listener));
    check_accept_fails(listener, 0, QIO_ERROR_INVAL);
    check_not_listening(first);

    open_more(listener, 1);
    second = address_of(listener, 0);
    CHECK(strcmp(first, second) != 0);
    qio_object_unref(connect_to(second));
    qio_object_unref(accept_one(listener));
    qio_net_listener_close(listener, NULL);
    check_accept_fails(listener, 0, QIO_ERROR_CLOSED);
    qio_object_unref(listener);
    g_free(first);
    g_free(second);
}

static void *accept_and_drop(void *opaque)
{
    QIOChannelSocket *client = qio_net_listener_wait_client(opaque);

    CHECK(client != NULL);
    qio_object_unref(client);
    return NULL;
}

TEST(a_socket_opened_while_somebody_waits)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    pthread_t thread;
    char *second;

    seam_install();
    CHECK_INT(pthread_create(&thread, NULL, accept_and_drop, listener), ==, 0);
    while (seam_hits(SEAM_poll) < 1) {
        sched_yield();
    }
    open_more(listener, 1);
    second = address_of(listener, 1);
    qio_object_unref(connect_to(second));
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    seam_remove();
    qio_object_unref(listener);
    g_free(second);
}

TEST(what_cannot_be_added)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    QIOChannelSocket *sioc = qio_channel_socket_new();
    QIOAddress *addr = loopback();
    Error *err = NULL;

    CHECK_INT(qio_net_listener_add(listener, sioc, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "not a listening socket");
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_net_listener_get_address(listener, 1, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "no address 1; the listener has 1");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_net_listener_get_fd(listener, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);

    qio_net_listener_close(listener, NULL);
    CHECK_INT(qio_channel_socket_listen_sync(sioc, addr, 1, NULL), ==, 0);
    CHECK_INT(qio_net_listener_add(listener, sioc, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_net_listener_get_fd(listener, 0, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    qio_address_free(addr);
    qio_object_unref(sioc);
    qio_object_unref(listener);
}
