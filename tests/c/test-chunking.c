/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chunking.c: however a stream is cut into pieces, a stack gives the same result.
 *
 * Rule: the transport is memory.h's, so what is cut where is the test's choice, and a wake-up that
 * gets lost shows as a conversation that is stuck.
 */
#include <string.h>
#include <qio/channel-tls.h>
#include <qio/channel-websock.h>
#include "conversation.h"
#include "runner.h"

/* ---- layers ---- */

static QIOTlsCreds *client_creds, *server_creds;

#define KEY "0123456789abcdef"

static int give_key(QIOTlsCreds *creds, const char *user, void *key, size_t cap, gpointer opaque,
                    Error **errp)
{
    memcpy(key, KEY, strlen(KEY));
    return (int)strlen(KEY);
}

static QIOTlsCreds *creds_new(bool server)
{
    QIOOptions *options = qio_options_new();
    QIOTlsCreds *creds;

    if (!server) {
        CHECK_INT(qio_options_set_bytes(options, "tls-psk-key", KEY, strlen(KEY), NULL), ==, 0);
    }
    creds = qio_tls_creds_new_psk(options, server, NULL);
    qio_options_free(options);
    CHECK(creds != NULL);
    if (server) {
        CHECK_INT(qio_tls_creds_set_psk_lookup(creds, give_key, NULL, NULL, NULL), ==, 0);
    }
    return creds;
}

static void put_on(QIOChannel **end, void *layer)
{
    CHECK(layer != NULL);
    qio_object_unref(*end);
    *end = layer;
}

static void tls(QIOChannel *end[2])
{
    put_on(&end[0], qio_channel_tls_new_client(end[0], client_creds, NULL, NULL));
    put_on(&end[1], qio_channel_tls_new_server(end[1], server_creds, NULL, NULL));
}

static void tls_in_tls(QIOChannel *end[2])
{
    tls(end);
    tls(end);
}

static void ws(QIOChannel *end[2])
{
    put_on(&end[0], qio_channel_websock_new_client(end[0], "localhost", "/", NULL));
    put_on(&end[1], qio_channel_websock_new_server(end[1]));
}

static void put_on_deflated(QIOChannel **end, bool server)
{
    QIOOptions *options = qio_options_new();

    CHECK_INT(qio_options_set_str(options, "ws-deflate", "on", NULL), ==, 0);
    put_on(end, qio_channel_websock_new_options(*end, options, server, NULL));
    qio_options_free(options);
}

static void ws_deflated(QIOChannel *end[2])
{
    put_on_deflated(&end[0], false);
    put_on_deflated(&end[1], true);
}

static void ws_over_tls(QIOChannel *end[2])
{
    tls(end);
    ws(end);
}

static void tls_over_ws(QIOChannel *end[2])
{
    ws(end);
    tls(end);
}

static void tls_over_ws_over_tls(QIOChannel *end[2])
{
    ws_over_tls(end);
    tls(end);
}

/* ---- conversations ---- */

static void plain(QIOChannel *end[2])
{
}

static void check_some(StackFunc stack, uint32_t conversations)
{
    client_creds = creds_new(false);
    server_creds = creds_new(true);
    for (uint32_t number = 0; number < conversations; number++) {
        conversation_check(number, stack, 6, 4);
    }
    qio_tls_creds_unref(client_creds);
    qio_tls_creds_unref(server_creds);
}

/* A fourth of all the places at which one short conversation can be cut in two. */
static void check_splits(StackFunc stack, unsigned part)
{
    client_creds = creds_new(false);
    server_creds = creds_new(true);
    conversation_check_splits(3, stack, part, 4);
    qio_tls_creds_unref(client_creds);
    qio_tls_creds_unref(server_creds);
}

TEST(plain_channels_give_the_same_however_the_stream_is_cut)
{
    check_some(plain, 80);
}

TEST(tls_gives_the_same_however_the_stream_is_cut)
{
    check_some(tls, 40);
}

TEST(tls_gives_the_same_cut_in_two_at_every_place_1_of_4)
{
    check_splits(tls, 0);
}

TEST(tls_gives_the_same_cut_in_two_at_every_place_2_of_4)
{
    check_splits(tls, 1);
}

TEST(tls_gives_the_same_cut_in_two_at_every_place_3_of_4)
{
    check_splits(tls, 2);
}

TEST(tls_gives_the_same_cut_in_two_at_every_place_4_of_4)
{
    check_splits(tls, 3);
}

TEST(ws_gives_the_same_however_the_stream_is_cut)
{
    check_some(ws, 80);
}

TEST(ws_gives_the_same_cut_in_two_at_every_place)
{
    for (unsigned part = 0; part < 4; part++) {
        check_splits(ws, part);
    }
}

TEST(deflated_ws_gives_the_same_however_the_stream_is_cut)
{
    check_some(ws_deflated, 40);
}

TEST(ws_over_tls_gives_the_same_however_the_stream_is_cut)
{
    check_some(ws_over_tls, 20);
}

TEST(tls_over_ws_gives_the_same_however_the_stream_is_cut)
{
    check_some(tls_over_ws, 20);
}

TEST(tls_in_tls_gives_the_same_however_the_stream_is_cut)
{
    check_some(tls_in_tls, 20);
}

TEST(tls_over_ws_over_tls_gives_the_same_however_the_stream_is_cut)
{
    check_some(tls_over_ws_over_tls, 10);
}
