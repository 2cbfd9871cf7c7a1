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

#include <qio/dns-resolver.h>
#include <qio/net-listener.h>
#include <qio/uri.h>
#include <stdio.h>

static void torture_names(void (*scenario)(void), int at_least)
{
    testclock_install();
    names_install();
    names_at_once();
    names_answer("two", 0, "127.0.0.1 127.0.0.2");
    names_answer("many", 0, "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5 127.0.0.6");
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

/* ---- in a loop ---- */

/* Until the task has ended, unless the wait itself fails. */
static void run_task(QIOTask *task, Error **err)
{
    while (qio_task_wait(task, 60000, err) <= 0) {
        if (qio_error_get_code(*err) != QIO_ERROR_INTR && qio_task_cancel(task)) {
            return;
        }
        g_clear_pointer(err, qio_error_free);
    }
    qio_task_propagate_error(task, err);
}

static void with_loop(void (*run)(AioContext *ctx))
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);

    if (went_well(ctx != NULL, &err)) {
        run(ctx);
        CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
        qio_aio_context_unref(ctx);
    }
}

static void open_second(AioContext *ctx)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.2", &port, 5);
    QIOChannel *ioc;
    QIOTask *task;
    Error *err = NULL;
    char uri[60];

    snprintf(uri, sizeof(uri), "tcp://two:%u", port);
    task = qio_channel_open_uri_task(uri, NULL, ctx, NULL, NULL, NULL);
    run_task(task, &err);
    ioc = qio_task_take_result(task);
    if (went_well(ioc != NULL, &err)) {
        put_away(ioc);
    }
    qio_task_unref(task);
    close(fd);
}

static void open_in_loop(void)
{
    with_loop(open_second);
}

TEST(connect_to_a_name_in_a_loop)
{
    torture_names(open_in_loop, 60);
}

static void listen_to_two(AioContext *ctx)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr = qio_address_new_inet("two", 0);
    QIOTask *task = qio_channel_socket_listen_task(ioc, addr, 5, NULL, ctx, NULL, NULL, NULL);
    Error *err = NULL;

    run_task(task, &err);
    went_well(err == NULL, &err);
    qio_task_unref(task);
    qio_address_free(addr);
    put_away(ioc);
}

static void listen_in_loop(void)
{
    with_loop(listen_to_two);
}

TEST(listen_on_a_name_in_a_loop)
{
    torture_names(listen_in_loop, 60);
}

/* ---- more sockets than a loop takes of one subject ---- */

static gboolean take_client(QIONetListener *listener, GIOCondition condition, gpointer data)
{
    QIOChannelSocket **accepted = data;

    *accepted = qio_net_listener_accept(listener, 0, false, NULL);
    return *accepted == NULL;
}

static void connect_to_last(AioContext *ctx, QIONetListener *listener)
{
    QIOAddress *addr = qio_net_listener_get_address(listener, 5, NULL);
    QIOChannelSocket *client = qio_channel_socket_new(), *accepted = NULL;
    QIOLoopWatch *watch;
    Error *err = NULL;

    if (addr != NULL &&
        went_well(qio_channel_socket_connect_timeout(client, addr, 5000, false, &err) == 0, &err)) {
        watch = qio_net_listener_add_aio_watch(listener, ctx, take_client, &accepted, NULL, &err);
        for (int i = 0; went_well(watch != NULL, &err) && i < 10 && accepted == NULL; i++) {
            qio_aio_context_dispatch(ctx, 5000, NULL);
        }
        CHECK(accepted != NULL || torture_may_fail());
        if (watch != NULL) {
            qio_loop_watch_remove(watch);
        }
        qio_loop_watch_unref(watch);
    }
    CHECK(addr != NULL || torture_struck());
    qio_address_free(addr);
    put_away(accepted);
    put_away(client);
}

static void watch_many(AioContext *ctx)
{
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri("tcp://many:0", NULL, &err);

    if (!went_well(listener != NULL, &err)) {
        return;
    }
    connect_to_last(ctx, listener);
    went_well(qio_net_listener_close(listener, &err) == 0, &err);
    qio_object_unref(listener);
}

static void watch_many_in_loop(void)
{
    with_loop(watch_many);
}

TEST(many_sockets_in_a_loop)
{
    torture_names(watch_many_in_loop, 150);
}
