/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/creds-psk.c: credentials of a key that both ends have.
 *
 * Owns: the table of users and keys, and GnuTLS's questions for them.  Rules: a user is compared
 * whole and byte by byte; who is unknown goes through a handshake with a made-up key and learns no
 * more than who has a wrong one; a key stands in no message.  Any thread.
 */
#include "tls/tls-priv.h"

#include <string.h>

#define DEFAULT_USER "qio"
enum { KEY_MAX = 512, USER_MAX = 255 };

/* ---- the file ---- */

static QIOTlsSecret *decode_hex(const char *hex, size_t len)
{
    uint8_t bytes[KEY_MAX];
    QIOTlsSecret *secret = NULL;
    size_t i;

    if (len == 0 || len % 2 != 0 || len / 2 > KEY_MAX) {
        return NULL;
    }
    for (i = 0; i < len / 2; i++) {
        int high = g_ascii_xdigit_value(hex[2 * i]);
        int low = g_ascii_xdigit_value(hex[2 * i + 1]);

        if (high < 0 || low < 0) {
            break;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (i == len / 2) {
        secret = qio_tls_secret_new(bytes, len / 2);
    }
    explicit_bzero(bytes, sizeof(bytes));
    return secret;
}

/* One line, without its end. */
static bool parse_line(GHashTable *keys, const char *line, size_t len, const char **fault)
{
    const char *colon = memrchr(line, ':', len);
    QIOTlsSecret *secret;
    char *user;

    if (!colon || colon == line) {
        *fault = "is not user:hexkey";
        return false;
    }
    if (colon - line > USER_MAX || memchr(line, '\0', len)) {
        *fault = "has a user with a NUL, or of more than 255 bytes";
        return false;
    }
    secret = decode_hex(colon + 1, (size_t)(line + len - colon - 1));
    if (!secret) {
        *fault = "has no key of an even number of hexadecimal digits, at most 1024";
        return false;
    }
    user = g_strndup(line, (size_t)(colon - line));
    if (g_hash_table_contains(keys, user)) {
        *fault = "has a user who was there before";
        g_free(user);
        qio_tls_secret_free(secret);
        return false;
    }
    g_hash_table_insert(keys, user, secret);
    return true;
}

static int parse_file(QIOTlsCreds *creds, const QIOTlsMaterial *m, Error **errp)
{
    const char *at = (const char *)m->data.data;
    const char *end = at + m->data.size;
    const char *fault = NULL;
    int number = 1;

    creds->psk_keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, qio_tls_secret_free);
    for (; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline : end) - at);
        size_t text = len > 0 && at[len - 1] == '\r' ? len - 1 : len;

        if (text > 0 && at[0] != '#' && !parse_line(creds->psk_keys, at, text, &fault)) {
            qio_error_set(errp, QIO_ERROR_INVAL, "%s: line %d %s", m->where, number, fault);
            return -1;
        }
        at += newline ? len + 1 : len;
    }
    return 0;
}

static int read_keys(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    QIOTlsMaterial m;
    int ret;

    if (qio_tls_material_get(&m, options, "tls-psk-file", "keys.psk", errp) < 0) {
        return -1;
    }
    ret = m.data.data ? parse_file(creds, &m, errp) : 0;
    qio_tls_material_clear(&m);
    return ret;
}

/* ---- GnuTLS's questions ---- */

static int give_key(gnutls_datum_t *out, const void *key, size_t len)
{
    out->data = gnutls_malloc(len);
    if (!out->data) {
        return -1;
    }
    memcpy(out->data, key, len);
    out->size = (unsigned)len;
    return 0;
}

/* As GnuTLS asks.  Returns: 0 with the key, 1 for an unknown user, -1 with call_error set */
static int look_up(QIOChannelTls *tls, const char *user, gnutls_datum_t *out)
{
    QIOTlsCreds *creds = tls->creds;
    const QIOTlsSecret *secret = creds->psk_keys ? g_hash_table_lookup(creds->psk_keys, user)
                                                 : NULL;
    uint8_t key[KEY_MAX];
    int n, ret = 1;

    if (secret) {
        return give_key(out, secret->bytes, secret->len);
    }
    if (!creds->psk_lookup) {
        return 1;
    }
    qio_layer_lock_call_out(&tls->lock, true);
    n = creds->psk_lookup(creds, user, key, sizeof(key), creds->psk_opaque, &tls->call_error);
    qio_layer_lock_call_out(&tls->lock, false);
    if (n > KEY_MAX) {
        qio_error_set(&tls->call_error, QIO_ERROR_CALLBACK,
                      "the function for keys says %d bytes, and had room for %d", n, KEY_MAX);
        n = -1;
    }
    if (n > 0) {
        ret = give_key(out, key, (size_t)n);
    } else if (n < 0) {
        qio_error_set(&tls->call_error, QIO_ERROR_CALLBACK, "the function for keys failed");
        ret = -1;
    }
    explicit_bzero(key, sizeof(key));
    return ret;
}

static int server_question(gnutls_session_t session, const gnutls_datum_t *name,
                           gnutls_datum_t *key)
{
    char user[USER_MAX + 1];

    key->data = NULL;
    key->size = 0;
    if (name->size == 0 || name->size > USER_MAX || memchr(name->data, '\0', name->size)) {
        return 1;
    }
    memcpy(user, name->data, name->size);
    user[name->size] = '\0';
    return look_up(gnutls_session_get_ptr(session), user, key);
}

static int client_question(gnutls_session_t session, gnutls_datum_t *name, gnutls_datum_t *key)
{
    QIOChannelTls *tls = gnutls_session_get_ptr(session);
    const char *user = tls->creds->psk_user;
    int found = look_up(tls, user, key);

    if (found > 0) {
        qio_error_set(&tls->call_error, QIO_ERROR_INVAL, "there is no key of the user \"%s\"",
                      user);
    }
    if (found != 0) {
        return -1;
    }
    if (give_key(name, user, strlen(user)) < 0) {
        gnutls_free(key->data);
        key->data = NULL;
        return -1;
    }
    return 0;
}

/* ---- making ---- */

static int set_up_server(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    static const char *const of_client[] = { "tls-psk-user", "tls-psk-key", NULL };
    int rc;

    if (!qio_tls_creds_refuse(options, "a psk server's", of_client, errp)) {
        return -1;
    }
    rc = gnutls_psk_allocate_server_credentials(&creds->psk_server);
    if (rc == 0) {
        rc = gnutls_psk_set_server_known_dh_params(creds->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
    }
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "psk credentials");
        return -1;
    }
    gnutls_psk_set_server_credentials_function2(creds->psk_server, server_question);
    return 0;
}

static int set_client_key(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    size_t len = 0;
    const void *key = qio_options_get_bytes(options, "tls-psk-key", &len);

    creds->psk_user = g_strdup(qio_options_get_str(options, "tls-psk-user", DEFAULT_USER));
    if (creds->psk_user[0] == '\0' || strlen(creds->psk_user) > USER_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-psk-user has from 1 to %d bytes", USER_MAX);
        return -1;
    }
    if (!key) {
        return 0;
    }
    if (creds->psk_keys) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-psk-key and a file of keys: give one of them");
        return -1;
    }
    if (len == 0 || len > KEY_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-psk-key has %zu bytes; it takes 1 to %d", len,
                      KEY_MAX);
        return -1;
    }
    creds->psk_keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, qio_tls_secret_free);
    g_hash_table_insert(creds->psk_keys, g_strdup(creds->psk_user), qio_tls_secret_new(key, len));
    return 0;
}

static int set_up_client(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    int rc;

    if (set_client_key(creds, options, errp) < 0) {
        return -1;
    }
    rc = gnutls_psk_allocate_client_credentials(&creds->psk_client);
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "psk credentials");
        return -1;
    }
    gnutls_psk_set_client_credentials_function2(creds->psk_client, client_question);
    return 0;
}

QIOTlsCreds *qio_tls_creds_new_psk(const QIOOptions *options, bool server, Error **errp)
{
    static const char *const foreign[] = {
        "tls-ca", "tls-cert", "tls-key", "tls-crl", "tls-password", NULL
    };
    QIOTlsCreds *creds;
    int ret;

    if (!qio_tls_creds_refuse(options, "psk", foreign, errp)) {
        return NULL;
    }
    /* The others must go: a server would choose one that needs a certificate, and then fail. */
    creds = qio_tls_creds_alloc(QIO_TLS_PSK, options, server,
                                ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK", errp);
    if (!creds) {
        return NULL;
    }
    ret = read_keys(creds, options, errp);
    if (ret == 0) {
        ret = server ? set_up_server(creds, options, errp) : set_up_client(creds, options, errp);
    }
    if (ret < 0) {
        qio_tls_creds_unref(creds);
        return NULL;
    }
    return creds;
}
