/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-layers.c: opening and listening by URIs with layers: what gets on top of what, what the URI
 * implies for them, who shakes hands and when, and that nobody ever gets less than was asked for.
 *
 * Owns: credentials by a shared key, and a thread that opens while the test accepts.
 */
#include "listener-util.h"
#include "one-thread.h"

#include <qio/channel-tls.h>
#include <qio/channel-websock.h>
#include <qio/uri.h>

/* ---- credentials ---- */

static int give_key(QIOTlsCreds *creds, const char *user, void *key, size_t cap, gpointer opaque,
                    Error **errp)
{
    memcpy(key, "0123456789abcdef", 16);
    return strcmp(user, "alice") == 0 ? 16 : 0;
}

static QIOOptions *with_creds(QIOTlsCreds *creds)
{
    QIOOptions *options = qio_options_new();

    CHECK(creds != NULL);
    CHECK_INT(qio_options_set_creds(options, creds, NULL), ==, 0);
    qio_tls_creds_unref(creds);
    return options;
}

static QIOOptions *server_options(void)
{
    QIOTlsCreds *creds = qio_tls_creds_new_psk(NULL, true, NULL);

    CHECK_INT(qio_tls_creds_set_psk_lookup(creds, give_key, NULL, NULL, NULL), ==, 0);
    return with_creds(creds);
}

static QIOOptions *client_options(void)
{
    QIOOptions *options = qio_options_new();
    QIOTlsCreds *creds;

    qio_options_set_str(options, "tls-psk-user", "alice", NULL);
    qio_options_set_bytes(options, "tls-psk-key", "0123456789abcdef", 16, NULL);
    creds = qio_tls_creds_new_psk(options, false, NULL);
    qio_options_free(options);
    return with_creds(creds);
}

/* Credentials are refused where there is no use for them. */
static bool has_tls(const char *uri)
{
    return strstr(uri, "tls") != NULL || strstr(uri, "wss") != NULL;
}

static QIONetListener *listen_layered(const char *uri)
{
    QIOOptions *options = has_tls(uri) ? server_options() : NULL;
    Error *err = NULL;
    QIONetListener *listener = qio_net_listener_open_uri(uri, options, &err);

    qio_options_free(options);
    if (listener == NULL) {
        test_fail(__FILE__, __LINE__, "%s: %s", uri, qio_error_get_pretty(err));
    }
    return listener;
}

/* ---- a thread that opens ---- */

typedef struct Opener {
    char *uri;
    bool in_loop;               /* as an operation, whose work is done by who waits for it */
    QIOChannel *ioc;
    Error *err;
} Opener;

static void open_in_loop(Opener *opener, const QIOOptions *options)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOTask *task = qio_channel_open_uri_task(opener->uri, options, ctx, NULL, NULL, NULL);

    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    qio_task_propagate_error(task, &opener->err);
    opener->ioc = qio_task_take_result(task);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
}

static void opener_run(void *opaque)
{
    Opener *opener = opaque;
    QIOOptions *options = has_tls(opener->uri) ? client_options() : NULL;

    if (opener->in_loop) {
        open_in_loop(opener, options);
    } else {
        opener->ioc = qio_channel_open_uri(opener->uri, options, false, &opener->err);
    }
    qio_options_free(options);
}

/* Opens what the listener prints. */
static void opener_start_how(Opener *opener, QIONetListener *listener, bool in_loop)
{
    *opener = (Opener){
        .uri = qio_net_listener_get_uri(listener, 0, NULL),
        .in_loop = in_loop,
    };
    CHECK(opener->uri != NULL);
    one_thread_start(opener_run, opener);
}

static void opener_start(Opener *opener, QIONetListener *listener)
{
    opener_start_how(opener, listener, false);
}

static void opener_end(Opener *opener)
{
    one_thread_wait();
    g_free(opener->uri);
    if (opener->ioc == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(opener->err));
    }
}

static void drop(QIOChannel *ioc)
{
    qio_channel_close(ioc, NULL);
    qio_object_unref(ioc);
}

static QIOChannel *accept_channel(QIONetListener *listener)
{
    Error *err = NULL;
    QIOChannel *client = qio_net_listener_accept_channel(listener, 20000, false, &err);

    if (client == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return client;
}

/* ---- tests ---- */

static void check_stack(QIOChannel *ioc, const char *const *types)
{
    for (; *types != NULL; types++) {
        CHECK(ioc != NULL);
        CHECK_STR(G_OBJECT_TYPE_NAME(ioc), *types);
        ioc = qio_channel_get_transport(ioc);
    }
    CHECK_PTR(ioc, ==, NULL);
}

static void check_talk_how(const char *uri, const char *prefix, const char *const *types,
                           bool in_loop)
{
    QIONetListener *listener = listen_layered(uri);
    QIOChannel *client;
    Opener opener;
    char buf[8];

    test_note("%s", uri);
    opener_start_how(&opener, listener, in_loop);
    CHECK(g_str_has_prefix(opener.uri, prefix));
    client = accept_channel(listener);
    CHECK_INT(qio_channel_handshake(client, 20000, false, NULL), ==, 0);
    opener_end(&opener);
    check_stack(client, types);
    check_stack(opener.ioc, types);
    CHECK_INT(qio_channel_write_all(opener.ioc, "question", 8, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(client, buf, 8, NULL), ==, 0);
    CHECK_MEM(buf, "question", 8);
    CHECK_INT(qio_channel_write_all(client, "answer", 6, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(opener.ioc, buf, 6, NULL), ==, 0);
    CHECK_MEM(buf, "answer", 6);
    drop(client);
    drop(opener.ioc);
    qio_object_unref(listener);
}

static void check_talk(const char *uri, const char *prefix, const char *const *types)
{
    check_talk_how(uri, prefix, types, false);
    check_talk_how(uri, prefix, types, true);
}

TEST(layers_lie_on_each_other_as_the_uri_says)
{
    static const char *const one[] = { TYPE_QIO_CHANNEL_TLS, TYPE_QIO_CHANNEL_SOCKET, NULL };
    static const char *const two[] = {
        TYPE_QIO_CHANNEL_TLS, TYPE_QIO_CHANNEL_TLS, TYPE_QIO_CHANNEL_SOCKET, NULL
    };
    static const char *const web[] = { TYPE_QIO_CHANNEL_WEBSOCK, TYPE_QIO_CHANNEL_SOCKET, NULL };
    static const char *const secure_web[] = {
        TYPE_QIO_CHANNEL_WEBSOCK, TYPE_QIO_CHANNEL_TLS, TYPE_QIO_CHANNEL_SOCKET, NULL
    };
    static const char *const odd[] = {
        TYPE_QIO_CHANNEL_TLS, TYPE_QIO_CHANNEL_WEBSOCK, TYPE_QIO_CHANNEL_SOCKET, NULL
    };
    static const char *const none[] = { TYPE_QIO_CHANNEL_SOCKET, NULL };
    Opener opener;
    QIONetListener *listener;
    QIOChannel *client;

    check_talk("tls+unix:", "tls+unix:/", one);
    check_talk("tls+tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:", one);
    check_talk("tls+tls+unix:", "tls+tls+unix:/", two);
    check_talk("ws://127.0.0.1:0/chat", "ws://127.0.0.1:", web);
    check_talk("ws+unix:", "ws+unix:/", web);
    check_talk("wss://127.0.0.1:0", "wss://127.0.0.1:", secure_web);
    check_talk("ws+tls+unix:?ws-path=/a/b", "ws+tls+unix:/", secure_web);
    check_talk("tls+ws+unix:", "tls+ws+unix:/", odd);

    /* The same functions serve a listener without layers. */
    listener = listen_on("unix:");
    opener = (Opener){ .uri = qio_net_listener_get_uri(listener, 0, NULL) };
    opener.ioc = connect_to(opener.uri);
    client = accept_channel(listener);
    check_stack(client, none);
    g_free(opener.uri);
    drop(client);
    drop(opener.ioc);
    qio_object_unref(listener);
}

TEST(the_host_of_the_uri_is_whom_a_client_expects)
{
    static const struct {
        const char *listen, *host;
    } rows[] = {
        { "tls+tcp://127.0.0.1:0", "127.0.0.1" },
        { "tls+unix:", "" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIONetListener *listener = listen_layered(rows[i].listen);
        QIOChannel *client;
        Opener opener;
        char host[64];

        opener_start(&opener, listener);
        client = accept_channel(listener);
        CHECK_INT(qio_channel_handshake(client, 20000, false, NULL), ==, 0);
        opener_end(&opener);
        CHECK_INT(qio_channel_tls_get_str((QIOChannelTls *)opener.ioc, "hostname", host,
                                          sizeof(host), NULL), >=, 0);
        CHECK_STR(host, rows[i].host);
        drop(client);
        drop(opener.ioc);
        qio_object_unref(listener);
    }
}

TEST(the_host_and_the_path_of_the_uri_are_what_a_web_client_asks_for)
{
    static const struct {
        const char *listen, *host, *path;
    } rows[] = {
        { "ws://127.0.0.1:0/chat/a%20b", "127.0.0.1", "/chat/a%20b" },
        { "wss://[::1]:0", "[::1]", "/" },
        { "ws+unix:", "localhost", "/" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIONetListener *listener;
        QIOAddress *address;
        QIOChannel *client;
        Opener opener;
        char text[64];
        char *host;

        test_note("%s", rows[i].listen);
        listener = listen_layered(rows[i].listen);
        opener_start(&opener, listener);
        client = accept_channel(listener);
        CHECK_INT(qio_channel_handshake(client, 20000, false, NULL), ==, 0);
        opener_end(&opener);
        address = qio_net_listener_get_address(listener, 0, NULL);
        host = i == 2 ? g_strdup(rows[i].host)
                      : g_strdup_printf("%s:%u", rows[i].host, address->port);
        CHECK_INT(qio_channel_websock_get_request((QIOChannelWebsock *)client, "host", text,
                                                  sizeof(text), NULL), >=, 0);
        CHECK_STR(text, host);
        CHECK_INT(qio_channel_websock_get_request((QIOChannelWebsock *)client, "path", text,
                                                  sizeof(text), NULL), >=, 0);
        CHECK_STR(text, rows[i].path);
        g_free(host);
        qio_address_free(address);
        drop(client);
        drop(opener.ioc);
        qio_object_unref(listener);
    }
}

/* The URI's address without its layers. */
static QIOChannel *connect_bare(QIONetListener *listener)
{
    char *bare = address_of(listener, 0);
    QIOChannel *ioc = connect_to(bare);

    g_free(bare);
    return ioc;
}

/* What ends the handshake of a client that opens in a loop. */
static Error *fail_in_loop(const char *query, void (*meanwhile)(int fd))
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIONetListener *listener = listen_on("unix:");
    char *bare = address_of(listener, 0);
    char *uri = g_strdup_printf("tls+%s%s", bare, query);
    QIOOptions *options = client_options();
    QIOTask *task = qio_channel_open_uri_task(uri, options, ctx, NULL, NULL, NULL);
    QIOChannelSocket *accepted;
    Error *err = NULL;

    CHECK_INT(qio_task_wait(task, 0, NULL), ==, 0);
    accepted = accept_one(listener);
    meanwhile(qio_channel_get_fd((QIOChannel *)accepted, NULL));
    CHECK_INT(qio_task_wait(task, 20000, NULL), ==, 1);
    CHECK(qio_task_propagate_error(task, &err));
    CHECK_PTR(qio_task_take_result(task), ==, NULL);
    qio_task_unref(task);
    qio_object_unref(accepted);
    qio_object_unref(listener);
    qio_options_free(options);
    qio_aio_context_unref(ctx);
    g_free(uri);
    g_free(bare);
    return err;
}

static void say_nothing(int fd)
{
}

static void talk_nonsense(int fd)
{
    CHECK_INT(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), ==, 18);
}

static void go_away(int fd)
{
    CHECK_INT(shutdown(fd, SHUT_RDWR), ==, 0);
}

TEST(handshakes_in_a_loop_end_too)
{
    static const struct {
        const char *query;
        void (*meanwhile)(int fd);
        QIOErrorCode code;
    } rows[] = {
        { "?timeout=0.05", say_nothing, QIO_ERROR_TIMEOUT },
        { "?handshake-timeout=0.05", say_nothing, QIO_ERROR_TIMEOUT },
        { "", talk_nonsense, QIO_ERROR_TLS },
        { "", go_away, QIO_ERROR_TLS_TRUNCATED },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = fail_in_loop(rows[i].query, rows[i].meanwhile);

        test_note("%zu: %s", i, qio_error_get_pretty(err));
        CHECK_INT(qio_error_get_code(err), ==, rows[i].code);
        qio_error_free(err);
    }
}

TEST(accept_shakes_no_hands)
{
    QIONetListener *listener = listen_layered("tls+unix:");
    QIOChannel *mute = connect_bare(listener);
    QIOChannel *client = accept_channel(listener);
    Error *err = NULL;
    char byte;

    CHECK_STR(G_OBJECT_TYPE_NAME(client), TYPE_QIO_CHANNEL_TLS);
    qio_channel_set_blocking(client, false, NULL);
    CHECK_INT(qio_channel_read(client, &byte, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write_all(mute, "GET / HTTP/1.1\r\n\r\n", 18, NULL), ==, 0);
    CHECK_INT(qio_channel_read(client, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS);
    qio_error_free(err);
    drop(client);
    drop(mute);
    qio_object_unref(listener);
}

TEST(nobody_gets_the_bare_socket)
{
    QIONetListener *listener = listen_layered("tls+unix:");
    QIOChannel *mute = connect_bare(listener);
    Error *err = NULL;

    CHECK_PTR(qio_net_listener_accept(listener, 0, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    qio_error_free(err);
    CHECK_PTR(qio_net_listener_wait_client(listener), ==, NULL);
    drop(accept_channel(listener));
    drop(mute);
    qio_object_unref(listener);
}

static void keep_channel(QIONetListener *listener, QIOChannel *ioc, gpointer data)
{
    *(QIOChannel **)data = qio_object_ref(ioc);
}

TEST(the_channel_function_gets_the_layers)
{
    static const char *const uris[] = { "tls+unix:", "unix:" };

    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        GMainContext *context = g_main_context_new();
        QIONetListener *listener = listen_layered("tls+unix:");
        QIOChannel *client = NULL;
        QIOChannel *mute;

        if (i > 0) {
            qio_object_unref(listener);
            listener = listen_on(uris[i]);
        }
        qio_net_listener_set_name(listener, "here");
        qio_net_listener_set_channel_func(listener, keep_channel, &client, NULL, context);
        mute = connect_bare(listener);
        while (client == NULL) {
            g_main_context_iteration(context, TRUE);
        }
        CHECK_STR(G_OBJECT_TYPE_NAME(client), i == 0 ? TYPE_QIO_CHANNEL_TLS
                                                     : TYPE_QIO_CHANNEL_SOCKET);
        CHECK_STR(client->name, "here-client");
        drop(client);
        drop(mute);
        qio_net_listener_set_channel_func(listener, NULL, NULL, NULL, NULL);
        qio_object_unref(listener);
        g_main_context_unref(context);
    }
}

TEST(the_deadline_is_in_all)
{
    QIONetListener *listener = listen_on("unix:");
    char *bare = address_of(listener, 0);
    static const char *const keys[] = { "timeout", "handshake-timeout" };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        char *uri = g_strdup_printf("tls+%s?%s=0.05", bare, keys[i]);
        QIOOptions *options = client_options();
        Error *err = NULL;

        CHECK_PTR(qio_channel_open_uri(uri, options, false, &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
        qio_error_free(err);
        qio_options_free(options);
        g_free(uri);
    }
    g_free(bare);
    qio_object_unref(listener);
}

static void check_open_fails(const char *uri, QIOOptions *options, int code, const char *part)
{
    Error *err = NULL;

    test_note("%s", uri);
    CHECK_PTR(qio_channel_open_uri(uri, options, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(err), part);
    g_clear_pointer(&err, qio_error_free);
    qio_options_free(options);
}

TEST(what_is_wrong_with_the_credentials_is_told_before_anything_is_opened)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    check_open_fails("tls+unix:/no/such/s", server_options(), QIO_ERROR_INVAL, "of a client");
    qio_options_set_str(options, "allow", "all", NULL);
    check_open_fails("tls+unix:/no/such/s?tls-ca=/no/such/file", options, QIO_ERROR_SYSTEM,
                     "/no/such/file");
    check_open_fails("tls+unix:/no/such/s", client_options(), QIO_ERROR_SYSTEM, "/no/such/s");

    options = client_options();
    CHECK_PTR(qio_net_listener_open_uri("tls+unix:/no/such/s", options, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "of a server");
    g_clear_pointer(&err, qio_error_free);
    qio_options_free(options);
}

TEST(a_command_may_lie_below)
{
    QIOOptions *options = client_options();
    Error *err = NULL;

    qio_options_set_str(options, "allow", "exec", NULL);
    /* What cat sends back is no server's. */
    check_open_fails("tls+exec:cat", options, QIO_ERROR_TLS, "");
    options = client_options();
    qio_options_set_str(options, "cwd", "/no/such/folder", NULL);
    CHECK_PTR(qio_channel_open_uri("tls+exec:cat", options, false, &err), ==, NULL);
    qio_error_free(err);
    qio_options_free(options);
}
