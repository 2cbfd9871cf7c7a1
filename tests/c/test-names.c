/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-names.c: looking names up: in threads, at most four, without holding anybody up.
 *
 * Owns: the promises of net/resolver.h, and names where a URI takes them.
 */
#include "hole.h"
#include "names.h"
#include "seam.h"
#include "net/resolver.h"
#include "net/net-priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

static QIOLookup *start(const char *host)
{
    QIOAddress *addr = qio_address_new_inet(host, 80);
    Error *err = NULL;
    QIOLookup *lookup = qio_lookup_start(addr, NULL, &err);

    if (lookup == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    qio_address_free(addr);
    return lookup;
}

/* What a look-up found, as text. */
static char *finish(QIOLookup *lookup)
{
    const QIOSockaddr *found;
    GString *text = g_string_new(NULL);
    int count;

    CHECK_INT(qio_lookup_wait(lookup, NULL, QIO_NEVER, false, NULL), ==, 0);
    count = qio_lookup_result(lookup, &found, NULL);
    for (int i = 0; i < count; i++) {
        QIOAddress *addr = qio_address_from_sockaddr((const struct sockaddr *)&found[i].addr,
                                                     found[i].len, NULL);
        char *one = qio_address_format(addr);

        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", one);
        g_free(one);
        qio_address_free(addr);
    }
    qio_lookup_free(lookup);
    return g_string_free(text, FALSE);
}

static void check_found(QIOLookup *lookup, const char *expected)
{
    char *text = finish(lookup);

    CHECK_STR(text, expected);
    g_free(text);
}

TEST(found_in_order_with_the_port_and_once)
{
    names_install();
    names_answer("many", 0, "::1 127.0.0.1 ::1 127.0.0.2");
    check_found(start("many"), "tcp://[::1]:80 tcp://127.0.0.1:80 tcp://127.0.0.2:80");
}

TEST(at_most_four_threads)
{
    QIOLookup *lookups[9];

    names_install();
    names_answer("slow", 0, "127.0.0.1");
    names_hold("slow");
    for (int i = 0; i < 9; i++) {
        lookups[i] = start("slow");
    }
    names_wait_held(4);
    CHECK_INT(names_asked(), ==, 4);
    CHECK_INT(seam_hits(SEAM_pthread_create), ==, 4);
    names_release();
    for (int i = 0; i < 9; i++) {
        check_found(lookups[i], "tcp://127.0.0.1:80");
    }
    CHECK_INT(names_asked(), ==, 9);
}

/* Who gave up goes on at once; the answer comes later and is nobody's. */
TEST(given_up)
{
    QIOLookup *lookup;

    names_install();
    names_answer("slow", 0, "127.0.0.1");
    names_hold("slow");
    lookup = start("slow");
    names_wait_held(1);
    CHECK(!qio_lookup_is_done(lookup));
    qio_lookup_free(lookup);
    names_release();
    names_settle();
    check_found(start("slow"), "tcp://127.0.0.1:80");
}

/* One that no thread has taken yet is not asked at all. */
TEST(given_up_while_it_is_queued)
{
    QIOLookup *lookups[5];

    names_install();
    names_answer("slow", 0, "127.0.0.1");
    names_hold("slow");
    for (int i = 0; i < 5; i++) {
        lookups[i] = start("slow");
    }
    names_wait_held(4);
    qio_lookup_free(lookups[4]);
    names_release();
    for (int i = 0; i < 4; i++) {
        check_found(lookups[i], "tcp://127.0.0.1:80");
    }
    CHECK_INT(names_asked(), ==, 4);
}

/* ---- opening ---- */

static Error *open_refused(const char *uri)
{
    Error *err = NULL;

    test_note("%s", uri);
    CHECK_PTR(qio_channel_open_uri(uri, NULL, true, &err), ==, NULL);
    CHECK(err != NULL);
    return err;
}

TEST(a_name_that_is_none)
{
    Error *err;

    names_install();
    names_answer("later", EAI_AGAIN, NULL);
    err = open_refused("tcp://nobody:1");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_RESOLVE);
    CHECK_INT(qio_error_get_domain(err), ==, QIO_ERROR_DOMAIN_RESOLVE);
    CHECK_INT(qio_error_get_number(err), ==, EAI_NONAME);
    CHECK_STR_HAS(qio_error_get_pretty(err), "cannot resolve the host \"nobody\": ");
    qio_error_free(err);
    err = open_refused("tcp://later:1");
    CHECK_INT(qio_error_get_number(err), ==, EAI_AGAIN);
    qio_error_free(err);
}

TEST(numeric_hosts_go_to_no_thread)
{
    names_install();
    seam_fail(SEAM_connect, 1, 2, ECONNREFUSED);
    qio_error_free(open_refused("tcp://127.0.0.1:1"));
    qio_error_free(open_refused("tcp://[::1]:1"));
    CHECK_INT(seam_hits(SEAM_pthread_create), ==, 0);
    CHECK_INT(names_asked(), ==, 0);
}

TEST(numeric_on_looks_nothing_up)
{
    Error *err;

    names_install();
    err = open_refused("tcp://nobody:1?numeric=on");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "\"nobody\" is a name");
    qio_error_free(err);
    seam_fail(SEAM_connect, 1, 1, ECONNREFUSED);
    qio_error_free(open_refused("tcp://127.0.0.1:1?numeric=on"));
    CHECK_INT(names_asked(), ==, 0);
}

TEST(the_deadline_counts_while_a_name_is_looked_up)
{
    Error *err;

    names_install();
    names_hold("slow");
    err = open_refused("tcp://slow:1?timeout=0.05");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_STR_HAS(qio_error_get_pretty(err), "no answer for the host \"slow\"");
    qio_error_free(err);
    names_release();
    names_settle();
}

/* ---- ends from outside ---- */

typedef struct Opener {
    QIOChannelSocket *ioc;
    _Atomic QIOErrorCode code;
} Opener;

static void *open_slow(Opener *opener, bool listen)
{
    QIOAddress *addr = qio_address_new_inet("slow", 1);
    Error *err = NULL;

    CHECK_INT(listen ? qio_channel_socket_listen_sync(opener->ioc, addr, 1, &err)
                     : qio_channel_socket_connect_timeout(opener->ioc, addr, -1, true, &err),
              ==, -1);
    atomic_store(&opener->code, qio_error_get_code(err));
    qio_error_free(err);
    qio_address_free(addr);
    return NULL;
}

static void *connect_to_slow(void *opaque)
{
    return open_slow(opaque, false);
}

static void *listen_on_slow(void *opaque)
{
    return open_slow(opaque, true);
}

static void do_nothing(int signum)
{
}

static void close_while(void *(*opens)(void *))
{
    Opener opener = { .ioc = qio_channel_socket_new() };
    pthread_t thread;

    names_hold("slow");
    CHECK_INT(pthread_create(&thread, NULL, opens, &opener), ==, 0);
    names_wait_held(1);
    CHECK_INT(qio_channel_close((QIOChannel *)opener.ioc, NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(atomic_load(&opener.code), ==, QIO_ERROR_CANCELLED);
    names_release();
    names_settle();
    qio_object_unref(opener.ioc);
}

TEST(a_close_ends_the_look_up)
{
    names_install();
    close_while(connect_to_slow);
    close_while(listen_on_slow);
}

TEST(a_signal_ends_the_look_up)
{
    const struct sigaction action = { .sa_handler = do_nothing };
    Opener opener = { .ioc = qio_channel_socket_new() };
    pthread_t thread;

    names_install();
    names_hold("slow");
    CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, connect_to_slow, &opener), ==, 0);
    names_wait_held(1);
    while (atomic_load(&opener.code) == 0) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    pthread_join(thread, NULL);
    CHECK_INT(atomic_load(&opener.code), ==, QIO_ERROR_INTR);
    names_release();
    names_settle();
    qio_object_unref(opener.ioc);
}

/* The workers of a parent are not there in a child, and one may have held the lock. */
TEST(a_forked_child_looks_names_up_itself)
{
    QIOLookup *lookup;
    pid_t child;
    int status;

    names_install();
    names_answer("fast", 0, "127.0.0.1");
    names_answer("slow", 0, "127.0.0.1");
    names_hold("slow");
    lookup = start("slow");
    names_wait_held(1);
    child = fork();
    if (child == 0) {
        alarm(20);
        check_found(start("fast"), "tcp://127.0.0.1:80");
        qio_lookup_free(lookup);
        _exit(0);
    }
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(status, ==, 0);
    names_release();
    check_found(lookup, "tcp://127.0.0.1:80");
}

/* It has the pipe by which the look-up tells, too, so that hanging up alone would not tell. */
TEST(a_forked_child_that_lives_holds_no_look_up_up)
{
    int hold[2], status;
    QIOLookup *lookup;
    pid_t child;
    char byte;

    names_install();
    names_answer("slow", 0, "127.0.0.1");
    names_hold("slow");
    lookup = start("slow");
    names_wait_held(1);
    CHECK_INT(pipe(hold), ==, 0);
    child = fork();
    if (child == 0) {
        alarm(60);
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    names_release();
    CHECK_INT(qio_lookup_wait(lookup, NULL, sys_deadline_ns(20000), false, NULL), ==, 0);
    check_found(lookup, "tcp://127.0.0.1:80");
    close(hold[0]);
    close(hold[1]);
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(status, ==, 0);
}

TEST(no_thread_to_be_had)
{
    Error *err;

    names_install();
    names_answer("fast", 0, "127.0.0.1");
    seam_fail(SEAM_pthread_create, 1, 1, EAGAIN);
    seam_fail(SEAM_connect, 1, 1, ECONNREFUSED);
    err = open_refused("tcp://fast:1");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_RESOLVE);
    CHECK_STR_HAS(qio_error_get_pretty(err), "temporarily unavailable");
    qio_error_free(err);
    err = open_refused("tcp://fast:1");
    CHECK_INT(qio_error_get_errno(err), ==, ECONNREFUSED);
    qio_error_free(err);
}

/* ---- listening ---- */

static QIONetListener *listen_to(const char *uri, Error **errp)
{
    test_note("%s", uri);
    return qio_net_listener_open_uri(uri, NULL, errp);
}

static char *address_of(QIONetListener *listener, size_t index)
{
    QIOAddress *addr = qio_net_listener_get_address(listener, index, NULL);
    char *text = addr ? qio_address_format(addr) : NULL;

    qio_address_free(addr);
    return text;
}

static uint16_t port_of(QIONetListener *listener, size_t index)
{
    QIOAddress *addr = qio_net_listener_get_address(listener, index, NULL);
    uint16_t port = (uint16_t)addr->port;

    qio_address_free(addr);
    return port;
}

TEST(a_name_is_listened_on_at_every_address)
{
    static const char *const hosts[] = { "::1", "127.0.0.1", "127.0.0.2" };
    QIONetListener *listener;

    names_install();
    names_answer("all", 0, "::1 127.0.0.1 127.0.0.2");
    listener = listen_to("tcp://all:0", NULL);
    CHECK(listener != NULL);
    for (size_t i = 0; i < 3; i++) {
        QIOAddress *addr = qio_net_listener_get_address(listener, i, NULL);
        QIOChannelSocket *client = qio_channel_socket_new(), *server;

        CHECK_STR(addr->host, hosts[i]);
        CHECK_INT(addr->port, ==, port_of(listener, 0));
        CHECK_INT(qio_channel_socket_connect_sync(client, addr, NULL), ==, 0);
        server = qio_net_listener_accept(listener, 10000, false, NULL);
        CHECK(server != NULL);
        qio_object_unref(client);
        qio_object_unref(server);
        qio_address_free(addr);
    }
    CHECK_PTR(address_of(listener, 3), ==, NULL);
    qio_object_unref(listener);
}

TEST(what_cannot_be_listened_on_is_left_out)
{
    QIONetListener *listener;
    Error *err = NULL;
    char *text;

    names_install();
    names_answer("half", 0, "127.0.0.2 127.0.0.1");
    names_answer("none", 0, "127.0.0.1 127.0.0.2");
    seam_fail(SEAM_bind, 1, 1, EADDRNOTAVAIL);
    seam_fail(SEAM_bind, 3, 2, EADDRNOTAVAIL);
    listener = listen_to("tcp://half:0", &err);
    CHECK(listener != NULL);
    text = address_of(listener, 0);
    CHECK_STR_HAS(text, "tcp://127.0.0.1:");
    CHECK_PTR(address_of(listener, 1), ==, NULL);
    g_free(text);
    qio_object_unref(listener);
    CHECK_PTR(listen_to("tcp://none:0", &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRNOTAVAIL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "tcp://127.0.0.1:0");
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(listen_to("tcp://nobody:0", &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_RESOLVE);
    qio_error_free(err);
}

/* The port that the first address got is taken at the second: another is chosen for both. */
TEST(a_chosen_port_is_free_at_every_address)
{
    QIONetListener *listener;

    names_install();
    names_answer("all", 0, "127.0.0.1 127.0.0.2");
    seam_fail(SEAM_bind, 2, 1, EADDRINUSE);
    listener = listen_to("tcp://all:0", NULL);
    CHECK(listener != NULL);
    CHECK_INT(seam_hits(SEAM_bind), ==, 4);
    CHECK_INT(port_of(listener, 0), ==, port_of(listener, 1));
    qio_object_unref(listener);
}

/* ---- ranges of ports ---- */

/* Holds two ports in a row; the lower one. */
static uint16_t hold_two(int *first, int *second)
{
    for (int i = 0; i < 100; i++) {
        uint16_t port = 0, next;
        Place place;
        int one = 1;

        *first = listen_at_port("127.0.0.1", &port, 1);
        next = (uint16_t)(port + 1);
        place = place_at("127.0.0.1", next);
        *second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(*second, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (port < 65000 && bind(*second, (struct sockaddr *)&place.addr, place.len) == 0 &&
            listen(*second, 1) == 0) {
            return port;
        }
        close(*first);
        close(*second);
    }
    test_fail(__FILE__, __LINE__, "no two ports in a row");
}

TEST(the_first_free_port_of_a_range)
{
    QIONetListener *listener;
    Error *err = NULL;
    int first, second;
    uint16_t port;
    char uri[100];

    names_install();
    port = hold_two(&first, &second);
    snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%u?to=%u", port, port + 1);
    CHECK_PTR(listen_to(uri, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    CHECK_INT(seam_hits(SEAM_bind), ==, 2);
    g_clear_pointer(&err, qio_error_free);
    close(second);
    listener = listen_to(uri, &err);
    CHECK(listener != NULL);
    CHECK_INT(port_of(listener, 0), ==, port + 1);
    qio_object_unref(listener);
    close(first);
}

/* Only a port that is taken makes it try the next one. */
TEST(a_range_ends_with_another_error)
{
    Error *err = NULL;

    names_install();
    seam_fail(SEAM_bind, 1, 1, EACCES);
    CHECK_PTR(listen_to("tcp://127.0.0.1:40000?to=40010", &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EACCES);
    CHECK_INT(seam_hits(SEAM_bind), ==, 1);
    qio_error_free(err);
}

TEST(ranges_that_are_none)
{
    static const char *const rows[] = {
        "tcp://127.0.0.1:0?to=10", "tcp://127.0.0.1:20?to=19", "tcp://:20?to=19",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        CHECK_PTR(listen_to(rows[i], &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), "\"to\"");
        qio_error_free(err);
    }
}
