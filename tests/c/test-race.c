/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-race.c: connecting to a name that stands for several addresses (RFC 8305).
 *
 * Owns: the order of the attempts, their delay, who wins, and what is told when nobody does.  On
 * the test clock: an address where nobody answers costs no time.
 */
#include "hole.h"
#include "names.h"
#include "seam.h"
#include "testclock.h"
#include "net/net-priv.h"

#include <stdio.h>

static void begin(void)
{
    testclock_install();
    names_install();
    names_at_once();
}

static QIOChannel *open_name(uint16_t port, const char *query, Error **errp)
{
    char uri[100];

    snprintf(uri, sizeof(uri), "tcp://name:%u%s", port, query);
    return qio_channel_open_uri(uri, NULL, true, errp);
}

static void check_peer(QIOChannel *ioc, const char *host, uint16_t port)
{
    QIOAddress *addr = qio_channel_socket_get_remote_address((QIOChannelSocket *)ioc, NULL);

    CHECK_STR(addr->host, host);
    CHECK_INT(addr->port, ==, port);
    qio_address_free(addr);
}

static void end(QIOChannel *ioc, Error *err)
{
    if (ioc == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    CHECK(qio_channel_get_blocking(ioc));
    CHECK_INT(fcntl(qio_channel_get_fd(ioc, NULL), F_GETFL) & O_NONBLOCK, ==, 0);
    qio_object_unref(ioc);
    testclock_remove();
}

TEST(the_first_that_answers_is_taken_at_once)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 5);
    Error *err = NULL;
    QIOChannel *ioc;

    begin();
    names_answer("name", 0, "127.0.0.1 127.0.0.2 ::1");
    ioc = open_name(port, "", &err);
    check_peer(ioc, "127.0.0.1", port);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    CHECK_INT(seam_hits(SEAM_connect), ==, 1);
    end(ioc, err);
    close(fd);
}

TEST(a_refusal_is_not_waited_for)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.2", &port, 5);
    Error *err = NULL;
    QIOChannel *ioc;

    begin();
    names_answer("name", 0, "::1 127.0.0.1 127.0.0.2");
    ioc = open_name(port, "", &err);
    check_peer(ioc, "127.0.0.2", port);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    CHECK_INT(seam_hits(SEAM_connect), ==, 3);
    end(ioc, err);
    close(fd);
}

TEST(the_next_begins_when_one_says_nothing_for_250_ms)
{
    uint16_t port = 0;
    Hole hole;
    Error *err = NULL;
    QIOChannel *ioc;
    int fd;

    hole_open(&hole, "127.0.0.1", &port);
    fd = listen_at_port("127.0.0.2", &port, 5);
    begin();
    names_answer("name", 0, "127.0.0.1 127.0.0.2");
    ioc = open_name(port, "", &err);
    check_peer(ioc, "127.0.0.2", port);
    CHECK_INT(testclock_elapsed_ms(), ==, 250);
    end(ioc, err);
    close(fd);
    hole_close(&hole);
}

TEST(each_silent_one_costs_the_delay_once)
{
    static const char *const silent[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3" };
    Hole holes[G_N_ELEMENTS(silent)];
    uint16_t port = 0;
    Error *err = NULL;
    QIOChannel *ioc;
    int fd;

    for (size_t i = 0; i < G_N_ELEMENTS(silent); i++) {
        hole_open(&holes[i], silent[i], &port);
    }
    fd = listen_at_port("127.0.0.4", &port, 5);
    begin();
    names_answer("name", 0, "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4");
    ioc = open_name(port, "", &err);
    check_peer(ioc, "127.0.0.4", port);
    CHECK_INT(testclock_elapsed_ms(), ==, 750);
    end(ioc, err);
    close(fd);
    for (size_t i = 0; i < G_N_ELEMENTS(silent); i++) {
        hole_close(&holes[i]);
    }
}

TEST(the_families_take_turns)
{
    uint16_t port = 0;
    Hole hole;
    Error *err = NULL;
    QIOChannel *ioc;
    int fd;

    hole_open(&hole, "127.0.0.1", &port);
    fd = listen_at_port("::1", &port, 5);
    begin();
    names_answer("name", 0, "127.0.0.1 127.0.0.2 127.0.0.3 ::1");
    ioc = open_name(port, "", &err);
    check_peer(ioc, "::1", port);
    CHECK_INT(testclock_elapsed_ms(), ==, 250);
    CHECK_INT(seam_hits(SEAM_connect), ==, 2);
    end(ioc, err);
    close(fd);
    hole_close(&hole);
}

TEST(one_deadline_for_all_of_them)
{
    uint16_t port = 0;
    Hole first, second;
    Error *err = NULL;

    hole_open(&first, "127.0.0.1", &port);
    hole_open(&second, "127.0.0.2", &port);
    begin();
    names_answer("name", 0, "127.0.0.1 127.0.0.2");
    CHECK_PTR(open_name(port, "?timeout=0.6", &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_STR_HAS(qio_error_get_pretty(err), "tcp://name:");
    CHECK_INT(testclock_elapsed_ms(), ==, 600);
    CHECK_INT(seam_hits(SEAM_connect), ==, 2);
    qio_error_free(err);
    testclock_remove();
    hole_close(&first);
    hole_close(&second);
}

TEST(what_befell_each_is_told)
{
    uint16_t port = 7;
    Error *err = NULL;
    char expected[400];

    begin();
    seam_fail(SEAM_connect, 1, SEAM_ALWAYS, ECONNREFUSED);
    names_answer("name", 0, "127.0.0.1 127.0.0.2 ::1");
    CHECK_PTR(open_name(port, "", &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNREFUSED);
    snprintf(expected, sizeof(expected), "tcp://name:%u: cannot connect to tcp://127.0.0.1:%u: "
             "Connection refused; cannot connect to tcp://[::1]:%u: Connection refused; cannot "
             "connect to tcp://127.0.0.2:%u: Connection refused", port, port, port, port);
    CHECK_STR(qio_error_get_pretty(err), expected);
    qio_error_free(err);
    testclock_remove();
}

TEST(a_family_can_be_ruled_out)
{
    uint16_t port = 0;
    int six = listen_at_port("::1", &port, 5), four = listen_at_port("127.0.0.1", &port, 5);
    Error *err = NULL;
    QIOChannel *ioc;

    begin();
    names_answer("name", 0, "::1 127.0.0.1");
    ioc = open_name(port, "?ipv6=off", &err);
    check_peer(ioc, "127.0.0.1", port);
    qio_object_unref(ioc);
    ioc = open_name(port, "?ipv4=off", &err);
    check_peer(ioc, "::1", port);
    end(ioc, err);
    close(six);
    close(four);
}

/* Who answers for a name chooses how many addresses it has. */
TEST(a_name_with_too_many_addresses)
{
    GString *many = g_string_new("127.0.0.1");
    Error *err = NULL;

    for (int i = 2; i <= 39; i++) {
        g_string_append_printf(many, " 127.0.0.%d", i);
    }
    begin();
    names_answer("name", 0, many->str);
    seam_fail(SEAM_connect, 1, SEAM_ALWAYS, ECONNREFUSED);
    CHECK_PTR(open_name(7, "", &err), ==, NULL);
    CHECK_INT(seam_hits(SEAM_connect), ==, 32);
    qio_error_free(err);
    g_string_free(many, TRUE);
    testclock_remove();
}
