/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-names.c: every system call of what names take fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.  They run on the test clock, with look-ups
 * that are answered at once.
 */
#include "hole.h"
#include "names.h"
#include "testclock.h"
#include "torture-util.h"

#include <qio/net-listener.h>
#include <qio/uri.h>
#include <stdio.h>

static void torture_names(void (*scenario)(void), int at_least)
{
    testclock_install();
    names_install();
    names_at_once();
    names_answer("two", 0, "127.0.0.1 127.0.0.2");
    torture(scenario, at_least);
    testclock_remove();
}

/* A name with an address that refuses and one that does not. */
static void connect_to_the_second(void)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.2", &port, 5);
    QIOChannel *ioc;
    Error *err = NULL;
    char uri[60];

    snprintf(uri, sizeof(uri), "tcp://two:%u", port);
    ioc = qio_channel_open_uri(uri, NULL, false, &err);
    if (went_well(ioc != NULL, &err)) {
        CHECK_INT(qio_channel_write_all(ioc, "", 0, NULL), ==, 0);
        put_away(ioc);
    }
    close(fd);
}

TEST(connect_to_a_name)
{
    torture_names(connect_to_the_second, 25);
}

static void listen_on_two(void)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri("tcp://two:0", NULL, &err);
    QIOAddress *addr;

    if (!went_well(listener != NULL, &err)) {
        return;
    }
    addr = qio_net_listener_get_address(listener, 1, NULL);
    CHECK(addr != NULL || torture_may_fail());
    qio_address_free(addr);
    went_well(qio_net_listener_close(listener, &err) == 0, &err);
    qio_object_unref(listener);
}

TEST(listen_on_a_name)
{
    torture_names(listen_on_two, 40);
}
