/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-custom.c: custom channels while every system call of the library fails in turn: what
 * waits for them, directly, in a loop and in a WebSocket over them.
 */
#include <qio/qio.h>
#include <qio/qioh-glib.h>

#include "custom-util.h"
#include "torture-util.h"

typedef struct Ends {
    CustomPair pair;
    QIOChannel *ioc[2];
} Ends;

static void open_ends(Ends *ends, CustomWay way)
{
    custom_pair_make(&ends->pair, way, NULL);
    for (int i = 0; i < 2; i++) {
        ends->ioc[i] = qio_channel_import(ends->pair.ends[i].channel);
    }
}

static void close_ends(Ends *ends)
{
    for (int i = 0; i < 2; i++) {
        put_away(ends->ioc[i]);
    }
    custom_pair_end(&ends->pair);
}

/* What was looked at in vain is told by the transfer that follows. */
static void wait_for(QIOChannel *ioc, GIOCondition condition)
{
    Error *err = NULL;
    int ready = qio_channel_wait_timeout(ioc, condition, 20000, &err);

    if (went_well(ready >= 0, &err)) {
        CHECK(ready & (int)condition || torture_struck());
    }
}

static void over_a_socket(void)
{
    Ends ends;

    open_ends(&ends, CUSTOM_SOCKET);
    wait_for(ends.ioc[0], G_IO_OUT);
    if (exchange(ends.ioc[0], ends.ioc[1])) {
        exchange(ends.ioc[1], ends.ioc[0]);
    }
    close_ends(&ends);
}


static gboolean on_input(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    *(int *)data += 1;
    return FALSE;
}

static void in_a_loop(void)
{
    QIOLoopWatch *watch = NULL;
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    int calls = 0;
    Ends ends;

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    open_ends(&ends, CUSTOM_SOCKET);
    watch = qio_channel_add_aio_watch(ends.ioc[1], ctx, G_IO_IN, on_input, &calls, NULL, &err);
    if (went_well(watch != NULL, &err) &&
        went_well(qio_channel_write_all(ends.ioc[0], "x", 1, &err) == 0, &err)) {
        went_well(qio_aio_context_dispatch(ctx, 1000, &err) >= 0, &err);
        CHECK(calls == 1 || torture_struck());
    }
    if (watch) {
        qio_loop_watch_remove(watch);
        qio_loop_watch_unref(watch);
    }
    qio_aio_context_unref(ctx);
    close_ends(&ends);
}

static void under_a_websocket(void)
{
    QIOChannel *ws[2] = { NULL, NULL };
    Error *err = NULL;
    Ends ends;

    open_ends(&ends, CUSTOM_SOCKET);
    ws[0] = (QIOChannel *)qio_channel_websock_new_client(ends.ioc[0], NULL, NULL, &err);
    ws[1] = (QIOChannel *)qio_channel_websock_new_server(ends.ioc[1]);
    CHECK(ws[0] && ws[1]);
    for (int i = 0; i < 20 && !err; i++) {
        bool shaken = qio_channel_handshake(ws[0], 0, false, NULL) == 0;

        if (qio_channel_handshake(ws[1], 0, false, NULL) == 0 && shaken) {
            exchange(ws[0], ws[1]);
            break;
        }
    }
    put_away(ws[0]);
    put_away(ws[1]);
    close_ends(&ends);
}

TEST(transfers_over_a_socket, .timeout_s = 60)
{
    torture(over_a_socket, 7);
}

TEST(watches, .timeout_s = 60)
{
    torture(in_a_loop, 55);
}

TEST(layers, .timeout_s = 60)
{
    torture(under_a_websocket, 55);
}
