/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-net.c: every system call of listeners, and of opening by URI, fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.  They run on the test clock: a listener
 * that is out of descriptors pauses, and a full backlog is waited for.
 */
#include "testclock.h"
#include "torture-util.h"

#include <qio/net-listener.h>
#include <qio/uri.h>

/* Takes one client and talks to it both ways. */
static void serve_one(QIONetListener *listener, QIOChannel *client)
{
    Error *err = NULL;
    QIOChannelSocket *accepted = qio_net_listener_accept(listener, 5000, false, &err);

    if (went_well(accepted != NULL, &err) && exchange(client, accepted)) {
        exchange(accepted, client);
    }
    put_away(accepted);
}

static void listen_and_serve(const char *uri)
{
    QIONetListener *listener;
    QIOAddress *address = NULL;
    QIOChannel *client = NULL;
    char *chosen = NULL;
    Error *err = NULL;

    listener = qio_net_listener_open_uri(uri, NULL, &err);
    if (!went_well(listener != NULL, &err)) {
        return;
    }
    address = qio_net_listener_get_address(listener, 0, &err);
    if (went_well(address != NULL, &err)) {
        chosen = qio_address_format(address);
        client = qio_channel_open_uri(chosen, NULL, false, &err);
        if (went_well(client != NULL, &err)) {
            serve_one(listener, client);
        }
    }
    put_away(client);
    g_free(chosen);
    qio_address_free(address);
    went_well(qio_net_listener_close(listener, &err) == 0, &err);
    CHECK_INT(qio_net_listener_close(listener, NULL), ==, 0);
    qio_object_unref(listener);
}

static void listen_unix(void)
{
    char uri[128];
    char *path;

    g_snprintf(uri, sizeof(uri), "unix:%s/listener", test_dir());
    path = uri + strlen("unix:");
    listen_and_serve(uri);
    unlink(path);       /* the listener's own removal may have been made to fail */
}

static void listen_tcp(void)
{
    listen_and_serve("tcp://127.0.0.1:0");
}

static void on_test_clock(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

TEST(listener_unix)
{
    on_test_clock(listen_unix, 120);
}

TEST(listener_tcp)
{
    on_test_clock(listen_tcp, 120);
}

static gboolean take_client(QIONetListener *listener, GIOCondition condition, gpointer data)
{
    QIOChannelSocket **accepted = data;
    Error *err = NULL;

    *accepted = qio_net_listener_accept(listener, 0, false, &err);
    if (*accepted == NULL && qio_error_get_code(err) == QIO_ERROR_TIMEOUT) {
        qio_error_free(err);        /* gone meanwhile, or accepting pauses */
        return TRUE;
    }
    return !went_well(*accepted != NULL, &err);
}

/* A client is accepted from a loop, if need be after pauses. */
static void watch_for_client(AioContext *ctx, QIONetListener *listener)
{
    QIOChannelSocket *accepted = NULL;
    QIOLoopWatch *watch;
    Error *err = NULL;

    watch = qio_net_listener_add_aio_watch(listener, ctx, take_client, &accepted, NULL, &err);
    if (!went_well(watch != NULL, &err)) {
        return;
    }
    for (int i = 0; i < 10 && accepted == NULL; i++) {
        if (qio_aio_context_dispatch(ctx, 5000, &err) < 0) {
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
            qio_error_free(err);
            err = NULL;
        }
    }
    CHECK(accepted != NULL || torture_may_fail());
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    put_away(accepted);
}

static void listen_in_loop(void)
{
    QIONetListener *listener = NULL;
    QIOChannel *client = NULL;
    char uri[128];
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    g_snprintf(uri, sizeof(uri), "unix:%s/listener", test_dir());
    listener = qio_net_listener_open_uri(uri, NULL, &err);
    if (went_well(listener != NULL, &err)) {
        client = qio_channel_open_uri(uri, NULL, false, &err);
        if (went_well(client != NULL, &err)) {
            watch_for_client(ctx, listener);
        }
        put_away(client);
        went_well(qio_net_listener_close(listener, &err) == 0, &err);
        qio_object_unref(listener);
    }
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    qio_aio_context_unref(ctx);
    unlink(uri + strlen("unix:"));
}

TEST(listener_in_a_loop)
{
    on_test_clock(listen_in_loop, 130);
}
