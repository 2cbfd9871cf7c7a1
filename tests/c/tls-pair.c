/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls-pair.c: see tls-pair.h.
 */
#include "tls-pair.h"

static void set_option(QIOOptions *options, const char *key, const char *value)
{
    char *path = g_build_filename(TLS_PKI, value + 1, NULL);
    char *bytes;
    gsize len;
    int ret;

    if (value[0] == '<') {
        CHECK(g_file_get_contents(path, &bytes, &len, NULL));
        ret = qio_options_set_bytes(options, key, bytes, len, NULL);
        g_free(bytes);
    } else if (value[0] == '#') {
        ret = qio_options_set_bytes(options, key, value + 1, strlen(value + 1), NULL);
    } else {
        ret = qio_options_add_str(options, key, value[0] == '@' ? path : value, NULL);
    }
    test_note("%s=%s", key, value);
    CHECK_INT(ret, ==, 0);
    g_free(path);
}

QIOOptions *tls_options(const char *text)
{
    QIOOptions *options = qio_options_new();
    char **pairs = g_strsplit(text ? text : "", ";", -1);

    for (char **pair = pairs; *pair; pair++) {
        char *equals = strchr(*pair, '=');

        if (equals) {
            *equals = '\0';
            set_option(options, *pair, equals + 1);
        }
    }
    g_strfreev(pairs);
    return options;
}

static QIOTlsCreds *creds_or_error(const char *text, bool server, Error **errp)
{
    QIOOptions *options = tls_options(text);
    QIOTlsCreds *creds = qio_tls_creds_new(options, server, errp);

    qio_options_free(options);
    return creds;
}

QIOTlsCreds *tls_creds(const char *text, bool server)
{
    Error *err = NULL;
    QIOTlsCreds *creds = creds_or_error(text ? text : "tls-dir=@good", server, &err);

    if (!creds) {
        test_fail(__FILE__, __LINE__, "credentials %s: %s", text, qio_error_get_pretty(err));
    }
    return creds;
}

Error *tls_creds_error(const char *text, bool server)
{
    Error *err = NULL;

    qio_tls_creds_unref(creds_or_error(text, server, &err));
    return err;
}

void tls_pair_creds(TlsPair *two, TlsTransport *transport, QIOTlsCreds *client,
                    QIOTlsCreds *server, const char *client_options, const char *server_options)
{
    QIOOptions *options[] = { tls_options(client_options), tls_options(server_options) };
    Error *err = NULL;

    transport(&two->below[0], &two->below[1]);
    two->client = (QIOChannel *)qio_channel_tls_new_options(two->below[0], client, options[0],
                                                            false, &err);
    two->server = (QIOChannel *)qio_channel_tls_new_options(two->below[1], server, options[1],
                                                            true, &err);
    if (!two->client || !two->server) {
        test_fail(__FILE__, __LINE__, "no channel: %s", qio_error_get_pretty(err));
    }
    qio_options_free(options[0]);
    qio_options_free(options[1]);
}

void tls_pair_on(TlsPair *two, TlsTransport *transport, const char *client_creds,
                 const char *server_creds, const char *client_options, const char *server_options)
{
    QIOTlsCreds *client = tls_creds(client_creds, false), *server = tls_creds(server_creds, true);

    tls_pair_creds(two, transport, client, server,
                   client_options ? client_options : "tls-hostname=server.example",
                   server_options);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

void tls_pair(TlsPair *two, const char *client_creds, const char *server_creds,
              const char *client_options, const char *server_options)
{
    tls_pair_on(two, pair, client_creds, server_creds, client_options, server_options);
}

static int step(QIOChannel *ioc, int before, Error **errp)
{
    return before == QIO_CHANNEL_ERR_BLOCK ? QIO_CHANNEL_GET_CLASS(ioc)->io_handshake(ioc, errp)
                                           : before;
}

int tls_shake(TlsPair *two, Error **client_err, Error **server_err)
{
    int client = QIO_CHANNEL_ERR_BLOCK, server = QIO_CHANNEL_ERR_BLOCK;

    for (int i = 0; i < 100; i++) {
        client = step(two->client, client, client_err);
        server = step(two->server, server, server_err);
        if (client != QIO_CHANNEL_ERR_BLOCK && server != QIO_CHANNEL_ERR_BLOCK) {
            return client == 0 && server == 0 ? 0 : -1;
        }
        /* One that has failed says no more: its end is all the other can wait for; and so it is
         * when both wait for ever. */
        if (client == -1 || i > 50) {
            qio_channel_shutdown(two->below[0], QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
        }
        if (server == -1 || i > 50) {
            qio_channel_shutdown(two->below[1], QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
        }
    }
    test_fail(__FILE__, __LINE__, "the handshake does not come to an end");
}

void tls_shake_well(TlsPair *two)
{
    Error *client_err = NULL, *server_err = NULL;

    if (tls_shake(two, &client_err, &server_err) < 0) {
        test_fail(__FILE__, __LINE__, "handshake: client: %s; server: %s",
                  qio_error_get_pretty(client_err), qio_error_get_pretty(server_err));
    }
}

void tls_drop(TlsPair *two)
{
    qio_object_unref(two->client);
    qio_object_unref(two->server);
    drop(two->below[0], two->below[1]);
}

void tls_send(QIOChannel *from, QIOChannel *to, size_t len)
{
    uint8_t *out = g_malloc(len), *in = g_malloc0(len);
    size_t written = 0, read = 0;
    Error *err = NULL;

    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)(i * 7 + i / 251);
    }
    qio_channel_set_blocking(from, false, NULL);
    while (read < len) {
        ssize_t n = written < len ? qio_channel_try_write(from, out + written, len - written, &err)
                                  : QIO_CHANNEL_ERR_BLOCK;

        CHECK_INT(n, !=, 0);
        if (n > 0) {
            written += (size_t)n;
        } else if (n == QIO_CHANNEL_ERR_BLOCK) {
            CHECK_INT(qio_channel_flush(from, &err), !=, -1);
        }
        n = qio_channel_try_read(to, in + read, len - read, &err);
        read += n > 0 ? (size_t)n : 0;
        if (n == -1 || err) {
            test_fail(__FILE__, __LINE__, "transfer: %s", qio_error_get_pretty(err));
        }
        CHECK_INT(n, !=, 0);
    }
    CHECK_MEM(in, out, len);
    qio_channel_set_blocking(from, true, NULL);
    g_free(out);
    g_free(in);
}

const char *tls_str(QIOChannel *ioc, const char *key, char *buf)
{
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(ioc), key, buf, 256, NULL), >=, 0);
    return buf;
}
