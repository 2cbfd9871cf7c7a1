/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/new.c: making TLS channels.
 *
 * Owns: the checks of what a channel is made from, all before the first byte: credentials of that
 * end, rules only where the peer has an identity that they can be held against, names that can be
 * compared.  Rule: the channel below is taken last, so that a failure leaves it as it was.
 */
#include "tls/tls-priv.h"

#include <arpa/inet.h>
#include <qio/channel-buffer.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>
#include <string.h>

enum {
    HANDSHAKE_MS_CLIENT = 30000,
    HANDSHAKE_MS_SERVER = 10000,
    HOST_MAX = 255,
    ALPN_MAX = 8,
    ALPN_NAME_MAX = 32,         /* GnuTLS's limits */
};

static bool check_creds(QIOTlsCreds *creds, bool server, Error **errp)
{
    if (!creds) {
        qio_error_set(errp, QIO_ERROR_INVAL, "creds: NULL");
        return false;
    }
    if (creds->server != server) {
        qio_error_set(errp, QIO_ERROR_INVAL, "creds: they are of a %s, and this is a %s",
                      creds->server ? "server" : "client", server ? "server" : "client");
        return false;
    }
    if (creds->kind == QIO_TLS_PSK && !creds->psk_keys && !creds->psk_lookup) {
        qio_error_set(errp, QIO_ERROR_INVAL, "creds: they have no key: give tls-psk-file%s, or a "
                      "function that looks keys up", server ? "" : " or tls-psk-key");
        return false;
    }
    return true;
}

static bool check_acl(QIOTlsCreds *creds, const char *const *acl, Error **errp)
{
    if (acl && !creds->server) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-acl: it is for servers");
        return false;
    }
    if (acl && !qio_tls_creds_identify(creds)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-acl: these credentials give the peer no identity "
                      "to hold the rules against: use x509 with tls-verify=on, or psk");
        return false;
    }
    return true;
}

static bool check_alpn(const char *const *alpn, Error **errp)
{
    size_t i;

    for (i = 0; alpn && alpn[i]; i++) {
        size_t len = strlen(alpn[i]);

        if (len == 0 || len > ALPN_NAME_MAX) {
            qio_error_set(errp, QIO_ERROR_INVAL, "tls-alpn: a protocol has 1 to %d bytes",
                          ALPN_NAME_MAX);
            return false;
        }
    }
    if (i > ALPN_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-alpn: at most %d protocols", ALPN_MAX);
        return false;
    }
    return true;
}

/* A name as it is compared and sent; NULL with an error. */
static char *plain_name(const char *hostname, Error **errp)
{
    size_t len = strlen(hostname);
    bool bracketed = len > 2 && hostname[0] == '[' && hostname[len - 1] == ']';
    char *name = bracketed ? g_strndup(hostname + 1, len - 2) : g_strdup(hostname);

    len = strlen(name);
    if (len > 1 && name[len - 1] == '.') {
        name[--len] = '\0';
    }
    /* An empty label would pass for one that a wildcard stands for. */
    if (len > 0 && len <= HOST_MAX && name[0] != '.' && !strstr(name, "..")) {
        return name;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "tls-hostname: it takes a DNS name or an address, of 1 "
                  "to %d bytes", HOST_MAX);
    g_free(name);
    return NULL;
}

static int set_hostname(QIOChannelTls *tls, const char *hostname, Error **errp)
{
    if (!hostname || tls->server) {
        return 0;
    }
    tls->hostname = g_strdup(hostname);
    tls->name = plain_name(hostname, errp);
    if (!tls->name) {
        return -1;
    }
    if (inet_pton(AF_INET, tls->name, tls->address) == 1) {
        tls->address_len = 4;
    } else if (inet_pton(AF_INET6, tls->name, tls->address) == 1) {
        tls->address_len = 16;
    }
    return 0;
}

static int set_up(QIOChannelTls *tls, QIOChannel *master, const QIOOptions *options,
                  const char *const *acl, const char *hostname, Error **errp)
{
    const char *const *alpn = qio_options_get_list(options, "tls-alpn");

    if (!check_alpn(alpn, errp) || set_hostname(tls, hostname, errp) < 0) {
        return -1;
    }
    tls->acl = g_strdupv((char **)acl);
    tls->relaxed = qio_options_get_bool(options, "tls-relaxed", false);
    tls->resume = qio_options_get_bool(options, "tls-resume", true) &&
                  tls->creds->kind == QIO_TLS_X509 && (tls->server || tls->name);
    if (tls->creds->authorize || tls->creds->psk_lookup) {
        qio_layer_asks_program(&tls->parent);
    }
    tls->handshake_ms = qio_options_get_ms(options, "handshake-timeout",
                                           tls->server ? HANDSHAKE_MS_SERVER
                                                       : HANDSHAKE_MS_CLIENT);
    if (qio_tls_session_start(tls, alpn, errp) < 0 ||
        qio_layer_attach(&tls->parent, &tls->lock, master, errp) < 0) {
        return -1;
    }
    if (qio_channel_has_feature(master, QIO_CHANNEL_FEATURE_SHUTDOWN)) {
        qio_channel_set_feature(&tls->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
    }
    return 0;
}

static QIOChannelTls *make(QIOChannel *master, QIOTlsCreds *creds, const QIOOptions *options,
                           const char *const *acl, const char *hostname, bool server,
                           Error **errp)
{
    QIOChannelTls *tls;

    if (!check_creds(creds, server, errp) || !check_acl(creds, acl, errp)) {
        return NULL;
    }
    tls = qio_tls_channel_alloc(errp);
    if (!tls) {
        return NULL;
    }
    atomic_store(&creds->used, true);
    tls->creds = qio_tls_creds_ref(creds);
    tls->server = server;
    if (set_up(tls, master, options, acl, hostname, errp) < 0) {
        qio_object_unref(tls);
        return NULL;
    }
    return tls;
}

QIOChannelTls *qio_channel_tls_new_client(QIOChannel *master, QIOTlsCreds *creds,
                                          const char *hostname, Error **errp)
{
    return make(master, creds, NULL, NULL, hostname, false, errp);
}

QIOChannelTls *qio_channel_tls_new_server(QIOChannel *master, QIOTlsCreds *creds,
                                          const char *aclname, Error **errp)
{
    const char *rules[] = { aclname, NULL };

    return make(master, creds, NULL, aclname ? rules : NULL, NULL, true, errp);
}

QIOChannelTls *qio_channel_tls_new_options(QIOChannel *master, QIOTlsCreds *creds,
                                           const QIOOptions *options, bool server, Error **errp)
{
    return make(master, creds, options, qio_options_get_list(options, "tls-acl"),
                qio_options_get_str(options, "tls-hostname", NULL), server, errp);
}
