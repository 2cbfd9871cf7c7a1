/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chunking.c: however a stream is cut into pieces, a stack gives the same result.
 *
 * Rule: the transport is memory.h's, so what is cut where is the test's choice, and a wake-up that
 * gets lost shows as a conversation that is stuck.
 */
#include <string.h>
#include <qio/channel-tls.h>
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

static void with_creds(void (*check)(void))
{
    client_creds = creds_new(false);
    server_creds = creds_new(true);
    check();
    qio_tls_creds_unref(client_creds);
    qio_tls_creds_unref(server_creds);
}

/* ---- conversations ---- */

static void plain(QIOChannel *end[2])
{
}

TEST(plain_channels_give_the_same_however_the_stream_is_cut)
{
    for (uint32_t number = 0; number < 40; number++) {
        conversation_check(number, plain, 20, 10);
    }
}

static void check_tls(void)
{
    for (uint32_t number = 0; number < 24; number++) {
        conversation_check(number, tls, 6, 4);
    }
    /* Every place of one. */
    conversation_check(3, tls, 3000, 1);
}

TEST(tls_gives_the_same_however_the_stream_is_cut)
{
    with_creds(check_tls);
}

static void check_tls_in_tls(void)
{
    for (uint32_t number = 0; number < 12; number++) {
        conversation_check(number, tls_in_tls, 6, 4);
    }
}

TEST(tls_in_tls_gives_the_same_however_the_stream_is_cut)
{
    with_creds(check_tls_in_tls);
}
