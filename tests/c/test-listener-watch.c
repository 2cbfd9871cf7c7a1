/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-listener-watch.c: a listener in a loop, as callback and queued, and in a GMainContext.
 */
#include "listener-util.h"

#include <pthread.h>
#include "seam.h"
#include "testclock.h"

/* What a watch saw. */
typedef struct Seen {
    int calls;
    int clients;
    int nvals;
    int released;
    bool keep;
    bool close_inside;
    bool accept;
} Seen;

static void released(gpointer data)
{
    ((Seen *)data)->released++;
}

static gboolean on_client(QIONetListener *listener, GIOCondition condition, gpointer data)
{
    Seen *seen = data;
    QIOChannelSocket *client;

    seen->calls++;
    if (condition & G_IO_NVAL) {
        seen->nvals++;
        return TRUE;
    }
    CHECK(condition & G_IO_IN);
    client = seen->accept ? qio_net_listener_accept(listener, 0, false, NULL) : NULL;
    if (client != NULL) {
        seen->clients++;
        qio_object_unref(client);
    }
    if (seen->close_inside) {
        qio_net_listener_close(listener, NULL);
    }
    return seen->keep;
}

static QIOLoopWatch *watch(QIONetListener *listener, AioContext *ctx, Seen *seen)
{
    Error *err = NULL;
    QIOLoopWatch *handle = qio_net_listener_add_aio_watch(listener, ctx, on_client, seen,
                                                          released, &err);

    if (handle == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return handle;
}

/* Dispatches until nothing is due. */
static void dispatch_all(AioContext *ctx)
{
    while (qio_aio_context_dispatch(ctx, 0, NULL) > 0) {
    }
}

static void connect_and_go(QIONetListener *listener, size_t index)
{
    char *address = address_of(listener, index);

    qio_object_unref(connect_to(address));
    g_free(address);
}

static void open_more(QIONetListener *listener, int times)
{
    QIOAddress *addr = qio_address_new_inet("127.0.0.1", 0);

    for (int i = 0; i < times; i++) {
        CHECK_INT(qio_net_listener_open_sync(listener, addr, 8, NULL), ==, 0);
    }
    qio_address_free(addr);
}

/* ---- in a loop ---- */

TEST(a_watch_sees_each_client)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = qio_net_listener_new();
    Seen seen = { .keep = true, .accept = true };
    QIOLoopWatch *handle;

    open_more(listener, 2);
    handle = watch(listener, ctx, &seen);
    dispatch_all(ctx);
    CHECK_INT(seen.calls, ==, 0);
    for (int i = 0; i < 6; i++) {
        connect_and_go(listener, (size_t)(i % 2));
    }
    dispatch_all(ctx);
    CHECK_INT(seen.clients, ==, 6);
    connect_and_go(listener, 0);
    CHECK_INT(qio_aio_context_dispatch(ctx, 5000, NULL), >, 0);
    CHECK_INT(seen.clients, ==, 7);

    qio_loop_watch_remove(handle);
    connect_and_go(listener, 0);
    dispatch_all(ctx);
    CHECK_INT(seen.clients, ==, 7);
    CHECK_INT(seen.nvals, ==, 0);
    CHECK_INT(seen.released, ==, 1);
    qio_loop_watch_unref(handle);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(false_removes_the_watch)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .accept = true };

    qio_loop_watch_unref(watch(listener, ctx, &seen));
    connect_and_go(listener, 0);
    connect_and_go(listener, 0);
    dispatch_all(ctx);
    CHECK_INT(seen.calls, ==, 1);
    CHECK_INT(seen.released, ==, 1);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(a_client_that_is_not_taken_is_told_again)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true };
    QIOLoopWatch *handle = watch(listener, ctx, &seen);

    connect_and_go(listener, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 5000, NULL), >, 0);
    }
    CHECK_INT(seen.calls, ==, 3);
    qio_loop_watch_remove(handle);
    qio_loop_watch_unref(handle);
    qio_aio_context_unref(ctx);
    CHECK_INT(seen.released, ==, 1);
    qio_object_unref(listener);
}

TEST(close_is_the_last_call)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true };
    QIOLoopWatch *handle = watch(listener, ctx, &seen);

    connect_and_go(listener, 0);
    qio_net_listener_close(listener, NULL);
    dispatch_all(ctx);
    dispatch_all(ctx);
    CHECK_INT(seen.calls, ==, 1);
    CHECK_INT(seen.nvals, ==, 1);
    CHECK_INT(seen.released, ==, 1);
    CHECK(qio_loop_watch_is_removed(handle));
    qio_loop_watch_unref(handle);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(close_from_inside_the_callback)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true, .close_inside = true };

    qio_loop_watch_unref(watch(listener, ctx, &seen));
    connect_and_go(listener, 0);
    dispatch_all(ctx);
    CHECK_INT(seen.clients, ==, 1);
    CHECK_INT(seen.nvals, ==, 1);
    CHECK_INT(seen.released, ==, 1);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(the_watch_keeps_the_listener)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true };
    char *address = address_of(listener, 0);

    qio_loop_watch_unref(watch(listener, ctx, &seen));
    qio_object_unref(listener);
    qio_object_unref(connect_to(address));
    CHECK_INT(qio_aio_context_dispatch(ctx, 5000, NULL), >, 0);
    CHECK_INT(seen.clients, ==, 1);
    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK_INT(seen.released, ==, 1);
    qio_aio_context_unref(ctx);
    g_free(address);
}

/* Also more than a loop takes of one subject. */
TEST(sockets_that_come_later_are_watched)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true }, later = { .keep = true };
    QIOLoopWatch *handle = watch(listener, ctx, &seen);

    dispatch_all(ctx);
    open_more(listener, QIO_POLL_MAX - 1);
    connect_and_go(listener, QIO_POLL_MAX - 1);
    dispatch_all(ctx);
    CHECK_INT(seen.clients, ==, 1);
    open_more(listener, 3);
    for (size_t i = 0; i < QIO_POLL_MAX + 3; i++) {
        connect_and_go(listener, i);
        dispatch_all(ctx);
        CHECK_INT(seen.clients, ==, (int)i + 2);
    }
    qio_loop_watch_remove(handle);
    qio_loop_watch_unref(handle);
    dispatch_all(ctx);
    CHECK_INT(seen.released, ==, 1);

    qio_loop_watch_unref(watch(listener, ctx, &later));
    qio_net_listener_disconnect(listener);
    dispatch_all(ctx);
    CHECK_INT(later.nvals, ==, 1);
    CHECK_INT(later.released, ==, 1);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(a_watch_that_cannot_be)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = qio_net_listener_new();
    Seen seen = { .keep = true };
    Error *err = NULL;

    CHECK_PTR(qio_net_listener_add_aio_watch(listener, ctx, on_client, &seen, released, &err),
              ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    qio_net_listener_close(listener, NULL);
    CHECK_PTR(qio_net_listener_add_aio_watch(listener, ctx, NULL, &seen, released, &err), ==,
              NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    CHECK_INT(seen.released, ==, 2);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(a_shortage_pauses_the_watch)
{
    AioContext *ctx;
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true };
    QIOLoopWatch *handle;

    testclock_install();
    ctx = qio_aio_context_new(NULL);
    handle = watch(listener, ctx, &seen);
    connect_and_go(listener, 0);
    seam_fail(SEAM_accept4, 1, SEAM_ALWAYS, EMFILE);
    while (testclock_elapsed_ms() < 10000) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 10000, NULL), >=, 0);
    }
    CHECK_INT(seen.clients, ==, 0);
    CHECK_INT(seen.calls, >=, 20);
    CHECK_INT(seen.calls, <=, 30);
    CHECK_INT(seam_hits(SEAM_epoll_wait), <, 300);
    seam_install();
    while (seen.clients == 0 && testclock_elapsed_ms() < 11000) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 1000, NULL), >=, 0);
    }
    CHECK_INT(seen.clients, ==, 1);
    CHECK_INT(testclock_elapsed_ms(), <, 11000);
    qio_loop_watch_remove(handle);
    qio_loop_watch_unref(handle);
    qio_aio_context_unref(ctx);
    qio_object_unref(listener);
    testclock_remove();
}

TEST(a_loop_that_ends_during_a_pause)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true, .accept = true };

    qio_loop_watch_unref(watch(listener, ctx, &seen));
    connect_and_go(listener, 0);
    seam_install();
    seam_fail(SEAM_accept4, 1, SEAM_ALWAYS, EMFILE);
    CHECK_INT(qio_aio_context_dispatch(ctx, 5000, NULL), >, 0);
    CHECK_INT(seen.calls, ==, 1);
    qio_aio_context_unref(ctx);
    CHECK_INT(seen.released, ==, 1);
    seam_remove();
    qio_object_unref(listener);
}

/* ---- queued ---- */

TEST(a_queued_watch)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { 0 };
    QIOLoopWatch *handle = qio_net_listener_add_aio_watch(listener, ctx, NULL, &seen, released,
                                                          NULL);
    QIOLoopEvent events[4];
    bool callbacks;

    CHECK_INT(qio_loop_next(ctx, events, 4, 0, &callbacks, NULL), ==, 0);
    connect_and_go(listener, 0);
    CHECK_INT(qio_loop_next(ctx, events, 4, 5000, &callbacks, NULL), ==, 1);
    CHECK_INT(events[0].kind, ==, QIO_LOOP_WATCH);
    CHECK_INT(events[0].condition, ==, G_IO_IN);
    CHECK_PTR(events[0].opaque, ==, &seen);
    qio_object_unref(accept_one(listener));
    CHECK_INT(qio_loop_next(ctx, events, 4, 0, &callbacks, NULL), ==, 0);

    qio_net_listener_close(listener, NULL);
    CHECK_INT(qio_loop_next(ctx, events, 1, 5000, &callbacks, NULL), ==, 1);
    CHECK(events[0].condition & G_IO_NVAL);
    CHECK_INT(qio_loop_next(ctx, events, 4, 5000, &callbacks, NULL), ==, 1);
    CHECK_INT(events[0].kind, ==, QIO_LOOP_RELEASED);
    CHECK_PTR(events[0].opaque, ==, &seen);
    CHECK_INT(qio_loop_next(ctx, events, 4, 0, &callbacks, NULL), ==, 0);
    CHECK_INT(seen.released, ==, 1);
    qio_loop_watch_unref(handle);
    qio_object_unref(listener);
    qio_aio_context_unref(ctx);
}

TEST(a_shortage_pauses_a_queued_watch)
{
    AioContext *ctx;
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { 0 };
    QIOLoopWatch *handle;
    QIOLoopEvent event;
    bool callbacks;
    int events = 0;

    testclock_install();
    ctx = qio_aio_context_new(NULL);
    handle = qio_net_listener_add_aio_watch(listener, ctx, NULL, &seen, released, NULL);
    connect_and_go(listener, 0);
    seam_fail(SEAM_accept4, 1, SEAM_ALWAYS, EMFILE);
    while (testclock_elapsed_ms() < 10000) {
        int n = qio_loop_next(ctx, &event, 1, 10000, &callbacks, NULL);

        CHECK_INT(n, >=, 0);
        events += n;
        if (n > 0) {
            CHECK_PTR(qio_net_listener_accept(listener, 0, false, NULL), ==, NULL);
        }
        CHECK(!callbacks);      /* who only takes events need not dispatch */
    }
    CHECK_INT(events, >=, 20);
    CHECK_INT(events, <=, 30);
    qio_loop_watch_remove(handle);
    qio_loop_watch_unref(handle);
    qio_aio_context_unref(ctx);
    CHECK_INT(seen.released, ==, 1);
    qio_object_unref(listener);
    testclock_remove();
}

/* ---- watches that come while the listener goes ---- */

static void *open_and_disconnect(void *opaque)
{
    for (int i = 0; i < 300; i++) {
        open_more(opaque, 1);
        qio_net_listener_disconnect(opaque);
    }
    return NULL;
}

TEST(watches_come_while_sockets_go)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = qio_net_listener_new();
    Seen seen = { .keep = true, .accept = true };
    pthread_t thread;
    int added = 0;

    CHECK_INT(pthread_create(&thread, NULL, open_and_disconnect, listener), ==, 0);
    for (; added < 300; added++) {
        QIOLoopWatch *handle = qio_net_listener_add_aio_watch(listener, ctx, on_client, &seen,
                                                              released, NULL);

        dispatch_all(ctx);
        if (handle != NULL) {
            if (added % 2) {
                qio_loop_watch_remove(handle);
            }
            qio_loop_watch_unref(handle);
        }
    }
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    qio_net_listener_close(listener, NULL);
    dispatch_all(ctx);
    qio_aio_context_unref(ctx);
    CHECK_INT(seen.released, ==, added);
    CHECK_INT(seen.clients, ==, 0);
    qio_object_unref(listener);
}

/* ---- in a GMainContext ---- */

static void take_client(QIONetListener *listener, QIOChannelSocket *client, gpointer data)
{
    Seen *seen = data;

    CHECK(client != NULL);
    seen->clients++;
    if (seen->close_inside) {
        qio_net_listener_close(listener, NULL);
    }
    if (!seen->keep) {
        qio_net_listener_set_client_func(listener, NULL, NULL, NULL);
    }
}

static void iterate(GMainContext *context, Seen *seen, int clients)
{
    while (seen->clients < clients) {
        g_main_context_iteration(context, TRUE);
    }
}

static void iterate_idle(GMainContext *context)
{
    while (g_main_context_iteration(context, FALSE)) {
    }
}

TEST(a_client_function_in_the_default_context)
{
    QIONetListener *listener = qio_net_listener_new();
    Seen seen = { .keep = true };

    /* The function may be there before the sockets. */
    qio_net_listener_set_client_func(listener, take_client, &seen, released);
    open_more(listener, 2);
    connect_and_go(listener, 0);
    connect_and_go(listener, 1);
    iterate(NULL, &seen, 2);

    qio_net_listener_set_client_func(listener, NULL, NULL, NULL);
    CHECK_INT(seen.released, ==, 1);
    connect_and_go(listener, 0);
    iterate_idle(NULL);
    CHECK_INT(seen.clients, ==, 2);
    qio_object_unref(accept_one(listener));
    qio_object_unref(listener);
    CHECK_INT(seen.released, ==, 1);
}

TEST(a_client_function_in_another_context)
{
    GMainContext *context = g_main_context_new();
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true };
    Seen later = { .keep = true };

    qio_net_listener_set_client_func_full(listener, take_client, &seen, released, context);
    connect_and_go(listener, 0);
    iterate_idle(NULL);
    CHECK_INT(seen.clients, ==, 0);
    iterate(context, &seen, 1);
    qio_net_listener_set_client_func_full(listener, take_client, &later, released, context);
    CHECK_INT(seen.released, ==, 1);
    connect_and_go(listener, 0);
    iterate(context, &later, 1);
    CHECK_INT(seen.clients, ==, 1);

    qio_net_listener_disconnect(listener);
    iterate_idle(context);
    open_more(listener, 1);
    connect_and_go(listener, 0);
    iterate(context, &later, 2);
    qio_object_unref(listener);
    CHECK_INT(later.released, ==, 1);
    g_main_context_unref(context);
}

TEST(a_context_that_goes_away_first)
{
    GMainContext *context = g_main_context_new();
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true };

    qio_net_listener_set_client_func_full(listener, take_client, &seen, released, context);
    g_main_context_unref(context);
    open_more(listener, 1);
    qio_net_listener_disconnect(listener);
    open_more(listener, 1);
    qio_object_unref(listener);
    CHECK_INT(seen.released, ==, 1);
}

TEST(a_client_function_that_ends_it)
{
    QIONetListener *listener = qio_net_listener_new();
    Seen pausing = { .keep = false };
    Seen closing = { .keep = true, .close_inside = true };

    open_more(listener, 2);
    qio_net_listener_set_client_func(listener, take_client, &pausing, released);
    connect_and_go(listener, 0);
    connect_and_go(listener, 1);
    iterate(NULL, &pausing, 1);
    iterate_idle(NULL);
    CHECK_INT(pausing.clients, ==, 1);
    CHECK_INT(pausing.released, ==, 1);

    qio_net_listener_set_client_func(listener, take_client, &closing, released);
    iterate(NULL, &closing, 1);
    iterate_idle(NULL);
    CHECK_INT(closing.clients, ==, 1);
    CHECK(!qio_net_listener_is_connected(listener));
    qio_object_unref(listener);
    CHECK_INT(closing.released, ==, 1);
}

/* A notify that uses the listener: no lock is held around it. */
typedef struct Curious {
    QIONetListener *listener;
    int asked;
} Curious;

static void ask_listener(gpointer data)
{
    Curious *curious = data;

    CHECK(qio_net_listener_is_connected(curious->listener));
    qio_net_listener_set_name(curious->listener, "renamed");
    curious->asked++;
}

TEST(a_notify_that_calls_the_listener)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Curious curious = { .listener = listener };

    qio_net_listener_set_client_func(listener, take_client, &curious, ask_listener);
    qio_net_listener_set_client_func(listener, NULL, &curious, ask_listener);
    CHECK_INT(curious.asked, ==, 1);
    qio_net_listener_set_client_func(listener, NULL, NULL, NULL);
    CHECK_INT(curious.asked, ==, 2);
    qio_object_unref(listener);
}

TEST(a_shortage_pauses_the_client_function)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true };
    gint64 start_us = g_get_monotonic_time();
    int iterations = 0;

    qio_net_listener_set_client_func(listener, take_client, &seen, released);
    connect_and_go(listener, 0);
    seam_install();
    seam_fail(SEAM_accept4, 1, 5, EMFILE);
    for (; seen.clients == 0; iterations++) {
        g_main_context_iteration(NULL, TRUE);
    }
    /* 10, 20, 40, 80, 160 ms, and never a turn without a reason. */
    CHECK_INT(g_get_monotonic_time() - start_us, >=, 300 * 1000);
    CHECK_INT(iterations, <, 30);
    CHECK_INT(seam_hits(SEAM_accept4), <=, 7);
    seam_remove();
    qio_object_unref(listener);
}

TEST(the_client_function_s_notify_runs_after_the_call)
{
    QIONetListener *listener = listen_on("tcp://127.0.0.1:0");
    Seen seen = { .keep = true };

    qio_net_listener_set_client_func(listener, take_client, &seen, released);
    qio_object_unref(listener);
    CHECK_INT(seen.released, ==, 1);
    iterate_idle(NULL);
}
