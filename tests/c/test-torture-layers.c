/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-layers.c: every system call of opening and serving by a URI with layers fails in
 * turn.
 *
 * Owns: the scenario, in one thread: both ends shake hands by turns; torture-util.h has the rules.
 */
#include "testclock.h"
#include "torture-util.h"

#include <unistd.h>
#include "net/layers.h"

/* The client's side of a URI, without its handshakes, which would wait for the server. */
static QIOChannel *open_quietly(const char *text, Error **errp)
{
    QIOUri *uri = qio_uri_parse(text, errp);
    QIOLayers *layers = uri != NULL ? qio_layers_new(uri, false, errp) : NULL;
    QIOChannelSocket *sioc = NULL;
    QIOChannel *ioc = NULL;

    if (layers != NULL) {
        sioc = qio_channel_socket_new();
        if (qio_channel_socket_connect_timeout(sioc, uri->address, 5000, false, errp) < 0) {
            qio_object_unref(sioc);
        } else {
            ioc = qio_layers_put_all(layers, (QIOChannel *)sioc, errp);
        }
    }
    qio_layers_unref(layers);
    qio_uri_free(uri);
    return ioc;
}

/* As exchange(), pushing out what the layers hold back, since nobody else does in this thread. */
static bool exchange_all(QIOChannel *from, QIOChannel *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN];

    if (!went_well(qio_channel_write_all(from, TEXT, TEXT_LEN, &err) == 0, &err) ||
        !went_well(qio_channel_flush(from, &err) == 0, &err) ||
        !went_well(qio_channel_read_all(to, buf, TEXT_LEN, &err) == 0, &err)) {
        return false;
    }
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

/* The last words of a layer may find no room, which its close tells, but it is closed. */
static void drop(QIOChannel *ioc)
{
    if (ioc != NULL) {
        qio_channel_close(ioc, NULL);
        CHECK(qio_channel_is_closed(ioc));
        qio_object_unref(ioc);
    }
}

/* Takes turns; false when one end failed. */
static bool shake(QIOChannel *a, QIOChannel *b)
{
    QIOChannel *ends[2] = { a, b };
    bool done[2] = { false, false };

    for (int turn = 0; turn < 20000 && !(done[0] && done[1]); turn++) {
        for (int i = 0; i < 2; i++) {
            Error *err = NULL;

            if (done[i]) {
                continue;
            }
            done[i] = qio_channel_handshake(ends[i], 0, false, &err) == 0;
            if (done[i]) {
                qio_channel_flush(ends[i], NULL);   /* a layer below may hold its last words */
            } else if (qio_error_get_code(err) == QIO_ERROR_TIMEOUT) {
                qio_error_free(err);
            } else if (!went_well(done[i], &err)) {
                return false;
            }
        }
    }
    CHECK((done[0] && done[1]) || torture_may_fail());
    return done[0] && done[1];
}

static void serve(const char *uri, const char *keys)
{
    QIONetListener *listener;
    QIOChannel *client = NULL, *accepted = NULL;
    char *address = NULL, *with_keys = NULL;
    char *text = g_strconcat(uri, keys, NULL);
    Error *err = NULL;

    listener = qio_net_listener_open_uri(text, NULL, &err);
    g_free(text);
    if (!went_well(listener != NULL, &err)) {
        return;
    }
    address = qio_net_listener_get_uri(listener, 0, &err);
    if (went_well(address != NULL, &err)) {
        with_keys = g_strconcat(address, keys, NULL);
        client = open_quietly(with_keys, &err);
    }
    if (address != NULL && went_well(client != NULL, &err)) {
        accepted = qio_net_listener_accept_channel(listener, 5000, false, &err);
        if (went_well(accepted != NULL, &err) && shake(client, accepted) &&
            exchange_all(client, accepted)) {
            exchange_all(accepted, client);
        }
    }
    drop(client);
    drop(accepted);
    g_free(address);
    g_free(with_keys);
    went_well(qio_net_listener_close(listener, &err) == 0, &err);
    qio_object_unref(listener);
}

static void serve_at(const char *layers, const char *keys)
{
    char *uri = g_strdup_printf("%s+unix:%s/listener", layers, test_dir());
    char *path = g_strdup_printf("%s/listener", test_dir());

    serve(uri, keys);
    unlink(path);       /* the listener's own removal may have been made to fail */
    g_free(path);
    g_free(uri);
}

static void serve_tls(void)
{
    serve_at("tls", "?tls-anon=on");
}

static void serve_web(void)
{
    serve_at("ws", "");
}

static void serve_stack(void)
{
    serve_at("ws+tls", "?tls-anon=on");
}

static void on_test_clock(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

TEST(tls, .timeout_s = 60)
{
    on_test_clock(serve_tls, 450);
}

TEST(web, .timeout_s = 60)
{
    on_test_clock(serve_web, 230);
}

TEST(web_over_tls, .timeout_s = 60)
{
    on_test_clock(serve_stack, 650);
}
