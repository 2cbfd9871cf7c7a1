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
#include <sys/socket.h>
#include <unistd.h>

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

static void end_listener(QIONetListener *listener)
{
    Error *err = NULL;

    went_well(qio_net_listener_close(listener, &err) == 0, &err);
    CHECK(!qio_net_listener_is_connected(listener));
    qio_object_unref(listener);
}

/* What a listener chose, or NULL when that could not be told. */
static char *chosen_by(QIONetListener *listener)
{
    Error *err = NULL;
    QIOAddress *address = qio_net_listener_get_address(listener, 0, &err);
    char *text = NULL;

    if (went_well(address != NULL, &err)) {
        text = qio_address_format(address);
    }
    qio_address_free(address);
    return text;
}

static void wildcard_listener(void)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri("tcp://:0", NULL, &err);

    if (went_well(listener != NULL, &err)) {
        end_listener(listener);
    }
}

TEST(listen_tcp_wildcard)
{
    on_test_clock(wildcard_listener, 35);
}

/* Another listener's path is never taken, whatever fails while looking. */
static void live_path(void)
{
    char *path = g_strdup_printf("%s/s", test_dir());
    char *uri = g_strconcat("unix:", path, NULL);
    Error *err = NULL;
    QIONetListener *first = qio_net_listener_open_uri(uri, NULL, &err);
    QIONetListener *second;

    if (went_well(first != NULL, &err)) {
        second = qio_net_listener_open_uri(uri, NULL, &err);
        /* Refused by the seam, the look at the first one finds it dead. */
        if (torture_call() == SEAM_connect && second != NULL) {
            end_listener(second);
        } else {
            CHECK_PTR(second, ==, NULL);
            CHECK_PTR(err, !=, NULL);
            qio_error_free(err);
            CHECK_INT(access(path, F_OK), ==, 0);
        }
        end_listener(first);
    }
    unlink(path);
    g_free(path);
    g_free(uri);
}

TEST(listen_on_a_live_path)
{
    on_test_clock(live_path, 95);
}

static void fresh_path(void)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri("unix:", NULL, &err);
    char *chosen;

    if (!went_well(listener != NULL, &err)) {
        return;
    }
    chosen = chosen_by(listener);
    end_listener(listener);
    if (chosen != NULL) {
        unlink(chosen + strlen("unix:"));
        g_free(chosen);
    }
}

TEST(listen_on_a_fresh_path)
{
    on_test_clock(fresh_path, 50);
}

/* A descriptor is the caller's until it was taken. */
static void fd_by_uri(void)
{
    char uri[32];
    Error *err = NULL;
    QIOChannel *ioc;
    int fds[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
    ioc = qio_channel_open_uri(uri, NULL, false, &err);
    if (went_well(ioc != NULL, &err)) {
        put_away(ioc);
    } else {
        CHECK_INT(close(fds[0]), ==, 0);
    }
    close(fds[1]);
}

TEST(open_fd)
{
    on_test_clock(fd_by_uri, 12);
}
