/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/tls-qio.c: see tls-qio.h.
 */
#include "tls-qio.h"
#include "tls-raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static QIOTlsCreds *creds[2][2];        /* [psk][server] */

static void must(bool good, const char *what, Error *err)
{
    if (!good) {
        fprintf(stderr, "benchmark: %s failed: %s\n", what,
                err ? qio_error_get_pretty(err) : "no error");
        exit(1);
    }
}

static int find_psk(QIOTlsCreds *creds_of, const char *user, void *key, size_t cap, gpointer opaque,
                    Error **errp)
{
    const RawMaterial *material = raw_material();

    if (strcmp(user, RAW_USER) != 0 || cap < sizeof(material->psk)) {
        return 0;
    }
    memcpy(key, material->psk, sizeof(material->psk));
    return sizeof(material->psk);
}

static QIOTlsCreds *make_creds(bool psk, bool server)
{
    const RawMaterial *material = raw_material();
    QIOOptions *options = qio_options_new();
    QIOTlsCreds *made;
    Error *err = NULL;

    qio_options_set_str(options, "tls-priority", RAW_PRIORITY, NULL);
    if (psk && !server) {
        qio_options_set_str(options, "tls-psk-user", RAW_USER, NULL);
        qio_options_set_bytes(options, "tls-psk-key", material->psk, sizeof(material->psk), NULL);
    } else if (!psk && server) {
        qio_options_set_bytes(options, "tls-cert", material->cert.data, material->cert.size, NULL);
        qio_options_set_bytes(options, "tls-key", material->key.data, material->key.size, NULL);
        qio_options_set_str(options, "tls-verify", "off", NULL);
    } else if (!psk) {
        qio_options_set_bytes(options, "tls-ca", material->ca.data, material->ca.size, NULL);
    }
    made = psk ? qio_tls_creds_new_psk(options, server, &err)
               : qio_tls_creds_new_x509(options, server, &err);
    must(made != NULL, "credentials", err);
    if (psk && server) {
        must(qio_tls_creds_set_psk_lookup(made, find_psk, NULL, NULL, &err) == 0, "lookup", err);
    }
    qio_options_free(options);
    return made;
}

static QIOChannel *open_end(QIOChannelSocket *below, bool psk, bool server)
{
    QIOOptions *options = qio_options_new();
    QIOChannel *tls;
    Error *err = NULL;

    if (!creds[psk][server]) {
        creds[psk][server] = make_creds(psk, server);
    }
    qio_options_set_str(options, "tls-resume", "off", NULL);
    if (!server) {
        qio_options_set_str(options, "tls-hostname", RAW_HOST, NULL);
    }
    tls = (QIOChannel *)qio_channel_tls_new_options(QIO_CHANNEL(below), creds[psk][server],
                                                    options, server, &err);
    must(tls != NULL, "qio_channel_tls_new_options", err);
    must(qio_channel_set_blocking(tls, false, &err) == 0, "qio_channel_set_blocking", err);
    qio_options_free(options);
    qio_object_unref(below);
    return tls;
}

void qio_side_open(QioPair *pair, bool psk)
{
    QIOChannelSocket *below[2];
    bool done[2] = { false, false };
    Error *err = NULL;
    int i, ret;

    must(qio_channel_socket_new_pair(&below[0], &below[1], &err) == 0, "pair", err);
    for (i = 0; i < 2; i++) {
        pair->end[i] = open_end(below[i], psk, i == 1);
    }
    for (i = 0; !done[0] || !done[1]; i = !i) {
        if (!done[i]) {
            ret = QIO_CHANNEL_GET_CLASS(pair->end[i])->io_handshake(pair->end[i], &err);
            must(ret == 0 || ret == QIO_CHANNEL_ERR_BLOCK, "handshake", err);
            done[i] = ret == 0;
        }
    }
}

void qio_side_close(QioPair *pair)
{
    int i;

    for (i = 0; i < 2; i++) {
        qio_channel_close(pair->end[i], NULL);
        qio_object_unref(pair->end[i]);
    }
}

static void send_all(QioPair *pair, int end, const char *data, size_t len)
{
    Error *err = NULL;
    size_t done = 0;

    while (done < len) {
        ssize_t ret = qio_channel_write(pair->end[end], data + done, len - done, &err);

        must(ret > 0, "qio_channel_write", err);
        done += (size_t)ret;
    }
}

static void recv_all(QioPair *pair, int end, char *data, size_t len)
{
    Error *err = NULL;
    size_t done = 0;

    while (done < len) {
        ssize_t ret = qio_channel_read(pair->end[end], data + done, len - done, &err);

        must(ret > 0, "qio_channel_read", err);
        done += (size_t)ret;
    }
}

void qio_side_bulk(void *pair, uint64_t n)
{
    static char out[RAW_RECORD], in[RAW_RECORD];

    while (n--) {
        send_all(pair, 0, out, sizeof(out));
        recv_all(pair, 1, in, sizeof(in));
    }
}

void qio_side_pingpong(void *pair, uint64_t n)
{
    char message[64] = "";

    while (n--) {
        send_all(pair, 0, message, sizeof(message));
        recv_all(pair, 1, message, sizeof(message));
        send_all(pair, 1, message, sizeof(message));
        recv_all(pair, 0, message, sizeof(message));
    }
}

void qio_side_handshakes(void *psk, uint64_t n)
{
    QioPair pair;

    while (n--) {
        qio_side_open(&pair, *(bool *)psk);
        qio_side_close(&pair);
    }
}
