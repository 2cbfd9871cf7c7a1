/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listener-util.h: what the tests of listeners share.
 *
 * Owns: opening, connecting and accepting that have to work, in one line each.
 */
#ifndef TESTS_LISTENER_UTIL_H
#define TESTS_LISTENER_UTIL_H

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "runner.h"
#include "net/net-priv.h"

static inline QIONetListener *listen_on(const char *uri)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri(uri, NULL, &err);

    if (listener == NULL) {
        test_fail(__FILE__, __LINE__, "%s: %s", uri, qio_error_get_pretty(err));
    }
    return listener;
}

/* The i-th address as text, for the caller to g_free(). */
static inline char *address_of(QIONetListener *listener, size_t index)
{
    QIOAddress *address = qio_net_listener_get_address(listener, index, NULL);
    char *text;

    CHECK(address != NULL);
    text = qio_address_format(address);
    qio_address_free(address);
    return text;
}

static inline QIOChannel *connect_to(const char *uri)
{
    Error *err = NULL;
    QIOChannel *ioc = qio_channel_open_uri(uri, NULL, false, &err);

    if (ioc == NULL) {
        test_fail(__FILE__, __LINE__, "%s: %s", uri, qio_error_get_pretty(err));
    }
    return ioc;
}

static inline void check_not_listening(const char *uri)
{
    Error *err = NULL;

    CHECK_PTR(qio_channel_open_uri(uri, NULL, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNREFUSED);
    qio_error_free(err);
}

static inline QIOChannelSocket *accept_one(QIONetListener *listener)
{
    Error *err = NULL;
    QIOChannelSocket *client = qio_net_listener_accept(listener, 20000, false, &err);

    if (client == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return client;
}

#endif
