/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/creds.c: what credentials of every kind have in common.
 *
 * Owns: the life of QIOTlsCreds, its priorities and callbacks, and the messages of GnuTLS errors.
 * Rules: GnuTLS is set up by the first credentials and stays so; an invalid priority fails here
 * and not in a handshake; what is secret is wiped by whoever frees it, and stands in no message.
 * Any thread.
 */
#include "tls/tls-priv.h"

#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* ---- GnuTLS ---- */

static pthread_once_t gnutls_once = PTHREAD_ONCE_INIT;
static int gnutls_state;

static void start_gnutls(void)
{
    gnutls_state = gnutls_global_init();
}

void qio_tls_set_gnutls_error(Error **errp, int rc, const char *fmt, ...)
{
    va_list args;
    char *what;

    va_start(args, fmt);
    what = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (rc == GNUTLS_E_MEMORY_ERROR) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "%s: no memory", what);
    } else {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: %s", what, gnutls_strerror(rc));
    }
    g_free(what);
}

void qio_tls_set_fault(Error **errp, QIOTlsFault fault, const char *fmt, ...)
{
    va_list args;
    char *what;

    va_start(args, fmt);
    what = g_strdup_vprintf(fmt, args);
    va_end(args);
    qio_error_set_number(errp, QIO_ERROR_TLS, QIO_ERROR_DOMAIN_TLS, fault, "%s", what);
    g_free(what);
}

/* ---- secrets ---- */

QIOTlsSecret *qio_tls_secret_new(const void *bytes, size_t len)
{
    QIOTlsSecret *secret = g_malloc(sizeof(*secret) + len);

    secret->len = len;
    memcpy(secret->bytes, bytes, len);
    return secret;
}

void qio_tls_secret_free(gpointer data)
{
    QIOTlsSecret *secret = data;

    if (secret) {
        explicit_bzero(secret->bytes, secret->len);
        g_free(secret);
    }
}

/* ---- priorities ---- */

/* Without instructions for AES the other cipher is the faster one, and GnuTLS's order stands. */
static bool processor_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
    return getauxval(AT_HWCAP) & (1 << 3);
#else
    return false;
#endif
}

static const char *default_priority(void)
{
    return processor_has_aes()
        ? "-VERS-TLS1.0:-VERS-TLS1.1:-CHACHA20-POLY1305:+CHACHA20-POLY1305:%SERVER_PRECEDENCE:"
          "%PROFILE_MEDIUM"
        : "-VERS-TLS1.0:-VERS-TLS1.1:%PROFILE_MEDIUM";
}

/* What GnuTLS takes without a word and no handshake can come from. */
static bool priority_is_empty(gnutls_priority_t priority)
{
    const unsigned *list;

    return gnutls_priority_protocol_list(priority, &list) <= 0 ||
           gnutls_priority_cipher_list(priority, &list) <= 0;
}

static int set_priority(QIOTlsCreds *creds, const char *wish, const char *extra, Error **errp)
{
    const char *fault = NULL;
    char *text = g_strconcat(wish ? wish : default_priority(), extra, NULL);
    char piece[64];
    int rc = gnutls_priority_init2(&creds->priority, text, &fault,
                                   wish ? 0 : GNUTLS_PRIORITY_INIT_DEF_APPEND);

    if (rc == 0 && !priority_is_empty(creds->priority)) {
        g_free(text);
        return 0;
    }
    if (rc == GNUTLS_E_MEMORY_ERROR) {
        qio_tls_set_gnutls_error(errp, rc, "tls-priority");
    } else if (rc == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-priority: it leaves no protocol, or no cipher; "
                      "begin with NORMAL");
    } else {
        fault = fault ? fault : text;
        qio_error_set(errp, QIO_ERROR_INVAL, "tls-priority: GnuTLS does not understand it from "
                      "\"%s\" on", qio_escape_bytes(fault, strlen(fault), piece, sizeof(piece)));
    }
    g_free(text);
    return -1;
}

/* ---- life ---- */

QIOTlsCreds *qio_tls_creds_alloc(QIOTlsKind kind, const QIOOptions *options, bool server,
                                 const char *extra, Error **errp)
{
    QIOTlsCreds *creds;

    pthread_once(&gnutls_once, start_gnutls);
    if (gnutls_state < 0) {
        qio_tls_set_gnutls_error(errp, gnutls_state, "GnuTLS does not start");
        return NULL;
    }
    creds = g_new0(QIOTlsCreds, 1);
    g_atomic_ref_count_init(&creds->refs);
    pthread_mutex_init(&creds->tickets_lock, NULL);
    creds->kind = kind;
    creds->server = server;
    if (set_priority(creds, qio_options_get_str(options, "tls-priority", NULL), extra,
                     errp) < 0) {
        qio_tls_creds_unref(creds);
        return NULL;
    }
    return creds;
}

QIOTlsCreds *qio_tls_creds_ref(QIOTlsCreds *creds)
{
    if (creds) {
        g_atomic_ref_count_inc(&creds->refs);
    }
    return creds;
}

static void free_gnutls_parts(QIOTlsCreds *creds)
{
    if (creds->priority) {
        gnutls_priority_deinit(creds->priority);
    }
    if (creds->x509) {
        gnutls_certificate_free_credentials(creds->x509);
    }
    if (creds->ticket_key.data) {
        explicit_bzero(creds->ticket_key.data, creds->ticket_key.size);
        gnutls_free(creds->ticket_key.data);
    }
    if (creds->psk_server) {
        gnutls_psk_free_server_credentials(creds->psk_server);
    }
    if (creds->psk_client) {
        gnutls_psk_free_client_credentials(creds->psk_client);
    }
    if (creds->anon_server) {
        gnutls_anon_free_server_credentials(creds->anon_server);
    }
    if (creds->anon_client) {
        gnutls_anon_free_client_credentials(creds->anon_client);
    }
    if (creds->dh_params) {
        gnutls_dh_params_deinit(creds->dh_params);
    }
}

void qio_tls_creds_unref(QIOTlsCreds *creds)
{
    if (!creds || !g_atomic_ref_count_dec(&creds->refs)) {
        return;
    }
    free_gnutls_parts(creds);
    g_clear_pointer(&creds->psk_keys, g_hash_table_unref);
    g_clear_pointer(&creds->tickets, g_hash_table_unref);
    pthread_mutex_destroy(&creds->tickets_lock);
    g_free(creds->psk_user);
    if (creds->psk_destroy) {
        creds->psk_destroy(creds->psk_opaque);
    }
    if (creds->authorize_destroy) {
        creds->authorize_destroy(creds->authorize_opaque);
    }
    g_free(creds);
}

bool qio_tls_creds_is_server(QIOTlsCreds *creds)
{
    return creds->server;
}

bool qio_tls_creds_refuse(const QIOOptions *options, const char *kind, const char *const *keys,
                          Error **errp)
{
    for (; *keys != NULL; keys++) {
        if (qio_options_has(options, *keys)) {
            qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" has no use with %s credentials",
                          *keys, kind);
            return false;
        }
    }
    return true;
}

QIOTlsCreds *qio_tls_creds_new(const QIOOptions *options, bool server, Error **errp)
{
    if (qio_options_get_bool(options, "tls-anon", false)) {
        return qio_tls_creds_new_anon(options, server, errp);
    }
    if (qio_options_has(options, "tls-psk-file") || qio_options_has(options, "tls-psk-key") ||
        qio_options_has(options, "tls-psk-user")) {
        return qio_tls_creds_new_psk(options, server, errp);
    }
    return qio_tls_creds_new_x509(options, server, errp);
}

/* ---- callbacks ---- */

bool qio_tls_creds_identify(const QIOTlsCreds *creds)
{
    return (creds->kind == QIO_TLS_X509 && creds->verify) ||
           (creds->kind == QIO_TLS_PSK && creds->server);
}

static bool check_settable(QIOTlsCreds *creds, const void *fn, Error **errp)
{
    if (!fn) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fn is NULL");
        return false;
    }
    if (atomic_load(&creds->used)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "a channel uses these credentials: set the function before");
        return false;
    }
    return true;
}

static void call_destroy(GDestroyNotify destroy, gpointer opaque)
{
    if (destroy) {
        destroy(opaque);
    }
}

int qio_tls_creds_set_psk_lookup(QIOTlsCreds *creds, QIOTlsPskFunc fn, gpointer opaque,
                                 GDestroyNotify destroy, Error **errp)
{
    bool settable = check_settable(creds, (const void *)fn, errp);

    if (settable && creds->kind != QIO_TLS_PSK) {
        qio_error_set(errp, QIO_ERROR_INVAL, "only psk credentials look keys up");
        settable = false;
    }
    if (!settable) {
        call_destroy(destroy, opaque);
        return -1;
    }
    call_destroy(creds->psk_destroy, creds->psk_opaque);
    creds->psk_lookup = fn;
    creds->psk_opaque = opaque;
    creds->psk_destroy = destroy;
    return 0;
}

int qio_tls_creds_set_authorize(QIOTlsCreds *creds, QIOTlsAuthorizeFunc fn, gpointer opaque,
                                GDestroyNotify destroy, Error **errp)
{
    bool settable = check_settable(creds, (const void *)fn, errp);

    if (settable && !qio_tls_creds_identify(creds)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "these credentials give the peer no identity, so that "
                      "the function would never be asked: use x509 with tls-verify=on, or a psk "
                      "server");
        settable = false;
    }
    if (!settable) {
        call_destroy(destroy, opaque);
        return -1;
    }
    call_destroy(creds->authorize_destroy, creds->authorize_opaque);
    creds->authorize = fn;
    creds->authorize_opaque = opaque;
    creds->authorize_destroy = destroy;
    return 0;
}
