/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/info.c: what was agreed, and keys from it.
 *
 * Owns: the questions about a session.  Rule: known from the end of the handshake on, also after
 * close; copied out, never lent.  Any thread.
 */
#include "tls/tls-priv.h"
#include "options/options-priv.h"

#include <string.h>

/* ---- text ---- */

static char *get_version(QIOChannelTls *tls)
{
    return g_strdup(gnutls_protocol_get_name(gnutls_protocol_get_version(tls->session)));
}

static char *get_cipher(QIOChannelTls *tls)
{
    return g_strdup(gnutls_cipher_get_name(gnutls_cipher_get(tls->session)));
}

static char *get_suite(QIOChannelTls *tls)
{
    return g_strdup(gnutls_ciphersuite_get(tls->session));
}

static char *get_group(QIOChannelTls *tls)
{
    return g_strdup(gnutls_group_get_name(gnutls_group_get(tls->session)));
}

static char *get_alpn(QIOChannelTls *tls)
{
    gnutls_datum_t name;

    if (gnutls_alpn_get_selected_protocol(tls->session, &name) < 0) {
        return NULL;
    }
    return g_strndup((const char *)name.data, name.size);
}

static char *asked_name(QIOChannelTls *tls)
{
    char name[256];
    size_t size = sizeof(name) - 1;
    unsigned type;

    if (gnutls_server_name_get(tls->session, name, &size, &type, 0) < 0 ||
        type != GNUTLS_NAME_DNS) {
        return NULL;
    }
    return g_strndup(name, size);
}

static char *get_hostname(QIOChannelTls *tls)
{
    return tls->server ? asked_name(tls) : g_strdup(tls->hostname);
}

static char *get_resumed(QIOChannelTls *tls)
{
    return g_strdup(gnutls_session_is_resumed(tls->session) ? "on" : "off");
}

static const struct {
    const char *key;
    char *(*get)(QIOChannelTls *tls);
} texts[] = {
    { "version", get_version }, { "cipher", get_cipher }, { "suite", get_suite },
    { "group", get_group }, { "alpn", get_alpn }, { "peer-name", qio_tls_peer_name },
    { "hostname", get_hostname }, { "resumed", get_resumed },
};

static void set_unknown_key(const char *key, Error **errp)
{
    const char *names[G_N_ELEMENTS(texts) + 1] = { NULL };
    char piece[64];

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        names[i] = texts[i].key;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "key: \"%s\" is unknown; the nearest is \"%s\"",
                  qio_escape_bytes(key, strlen(key), piece, sizeof(piece)),
                  qio_nearest_name(key, names));
}

static ssize_t copy_out(const void *from, size_t len, size_t final, void *buf, size_t cap,
                        Error **errp)
{
    if (!buf && cap == 0) {
        return (ssize_t)len;
    }
    if (!buf) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "buf: NULL with a cap of %zu; (NULL, 0) asks for the length", cap);
        return -1;
    }
    if (cap < len + final) {
        qio_error_set(errp, QIO_ERROR_TRUNCATED, "cap: %zu, and %zu are needed", cap, len + final);
        return -1;
    }
    memcpy(buf, from, len + final);
    return (ssize_t)len;
}

ssize_t qio_channel_tls_get_str(QIOChannelTls *tls, const char *key, char *buf, size_t cap,
                                Error **errp)
{
    char *text;
    ssize_t n;
    size_t i;

    if (!key) {
        qio_error_set(errp, QIO_ERROR_INVAL, "key: NULL");
        return -1;
    }
    for (i = 0; i < G_N_ELEMENTS(texts) && strcmp(texts[i].key, key) != 0; i++) {
    }
    if (i == G_N_ELEMENTS(texts)) {
        set_unknown_key(key, errp);
        return -1;
    }
    if (qio_tls_enter_open(tls, errp) < 0) {
        return -1;
    }
    text = texts[i].get(tls);
    qio_tls_leave(tls);
    n = copy_out(text ? text : "", text ? strlen(text) : 0, 1, buf, cap, errp);
    g_free(text);
    return n;
}

ssize_t qio_channel_tls_get_peer_certificate(QIOChannelTls *tls, unsigned index, void *buf,
                                             size_t cap, Error **errp)
{
    const gnutls_datum_t *chain;
    unsigned count = 0;
    ssize_t n = 0;

    if (qio_tls_enter_open(tls, errp) < 0) {
        return -1;
    }
    chain = gnutls_certificate_get_peers(tls->session, &count);
    if (chain && index < count) {
        n = copy_out(chain[index].data, chain[index].size, 0, buf, cap, errp);
    }
    qio_tls_leave(tls);
    return n;
}

/* ---- keys ---- */

int qio_channel_tls_export(QIOChannelTls *tls, const char *label, const void *context,
                           size_t context_len, void *buf, size_t len, Error **errp)
{
    int rc;

    if (!label || !buf || (!context && context_len > 0)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL", !label ? "label" : !buf ? "buf"
                                                                                   : "context");
        return -1;
    }
    if (qio_tls_enter_open(tls, errp) < 0) {
        return -1;
    }
    rc = gnutls_prf_rfc5705(tls->session, strlen(label), label, context_len, context, len, buf);
    qio_tls_leave(tls);
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "cannot export %zu bytes", len);
        return -1;
    }
    return 0;
}

int qio_channel_tls_rekey(QIOChannelTls *tls, Error **errp)
{
    int rc;

    if (qio_tls_enter_open(tls, errp) < 0) {
        return -1;
    }
    if (gnutls_protocol_get_version(tls->session) < GNUTLS_TLS1_3) {
        qio_tls_leave(tls);
        qio_error_set(errp, QIO_ERROR_NOTSUP, "keys are changed in TLS 1.3 only");
        return -1;
    }
    /* Not the peer's too: GnuTLS takes two such wishes that cross for a fault. */
    rc = gnutls_session_key_update(tls->session, 0);
    tls->kick |= tls->out_start < tls->out_end;
    qio_tls_leave(tls);
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "cannot change keys");
        return -1;
    }
    return 0;
}
