/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/session.c: a GnuTLS session, and how its bytes come and go.
 *
 * Owns: setting the session up, the queue of encrypted bytes, and the meaning of GnuTLS's errors.
 * Rules: GnuTLS is never told that sending would block, nor that it failed: what the transport
 * does not take waits in the queue, in whole records, and a failure waits for the next write.  So
 * GnuTLS has no interrupted record to be called back with, whatever else it wants to send in
 * between.  The lock is held.
 */
#include "tls/tls-priv.h"

#include <string.h>

/* A flight of a handshake with long chains, or a record and what an eager peer asks for. */
enum { OUT_MAX = 512 * 1024 };

/* ---- the queue ---- */

static void drop_out(QIOChannelTls *tls)
{
    g_clear_pointer(&tls->out, g_free);
    tls->out_cap = tls->out_start = tls->out_end = 0;
}

static int queue_more(QIOChannelTls *tls, const void *bytes, size_t len)
{
    size_t used = tls->out_end - tls->out_start;
    uint8_t *grown;

    if (len > OUT_MAX - used) {
        qio_error_set(&tls->write_error, QIO_ERROR_LIMIT,
                      "the peer takes none of %zu encrypted bytes and makes us send more", used);
        return -1;
    }
    if (len > tls->out_cap - tls->out_end) {
        grown = g_try_malloc(used + len);
        if (!grown) {
            qio_error_set(&tls->write_error, QIO_ERROR_NOMEM, "no memory for %zu encrypted bytes",
                          used + len);
            return -1;
        }
        if (used > 0) {
            memcpy(grown, tls->out + tls->out_start, used);
        }
        g_free(tls->out);
        tls->out = grown;
        tls->out_cap = used + len;
        tls->out_start = 0;
        tls->out_end = used;
    }
    memcpy(tls->out + tls->out_end, bytes, len);
    tls->out_end += len;
    return 0;
}

int qio_tls_flush(QIOChannelTls *tls)
{
    struct iovec iov;
    ssize_t n;

    while (tls->out_start < tls->out_end && !tls->write_error) {
        iov.iov_base = tls->out + tls->out_start;
        iov.iov_len = tls->out_end - tls->out_start;
        n = qio_layer_writev(&tls->parent, &iov, 1, &tls->write_error);
        if (n == QIO_CHANNEL_ERR_BLOCK) {
            return QIO_CHANNEL_ERR_BLOCK;
        }
        tls->out_start += n > 0 ? (size_t)n : 0;
    }
    if (tls->out) {
        tls->lost |= tls->out_start < tls->out_end;
        drop_out(tls);
    }
    if (tls->write_error) {
        return -1;
    }
    if (tls->shut_below && tls->bye_said) {
        tls->shut_below = false;
        qio_layer_shutdown(&tls->parent, QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
    }
    return 0;
}

/* ---- what GnuTLS calls ---- */

static void queue_rest(QIOChannelTls *tls, const giovec_t *iov, int niov, size_t skip)
{
    for (int i = 0; i < niov && !tls->write_error; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        queue_more(tls, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        skip = 0;
    }
}

static ssize_t push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int niov)
{
    QIOChannelTls *tls = ptr;
    ssize_t total = qio_iov_length(iov, (size_t)niov, NULL);
    ssize_t n = 0;

    if (tls->write_error) {
        return total;
    }
    if (tls->out_start == tls->out_end) {
        n = qio_layer_writev(&tls->parent, iov, (size_t)niov, &tls->write_error);
    }
    if (n < total) {
        queue_rest(tls, iov, niov, (size_t)MAX(n, 0));
    }
    return total;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
    QIOChannelTls *tls = ptr;
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    ssize_t n = qio_layer_readv(&tls->parent, &iov, 1, &tls->call_error);

    tls->cut = n == 0;
    if (n >= 0) {
        return n;
    }
    tls->blocked = n == QIO_CHANNEL_ERR_BLOCK;
    gnutls_transport_set_errno(tls->session, tls->blocked ? EAGAIN : EIO);
    return -1;
}

/* GnuTLS never waits here: a pull says itself that there is nothing. */
static int pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
    return 1;
}

static int ticket_hook(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *msg)
{
    ((QIOChannelTls *)gnutls_session_get_ptr(session))->ticket_came = true;
    return 0;
}

/* ---- setting up ---- */

static int set_credentials(QIOChannelTls *tls)
{
    QIOTlsCreds *creds = tls->creds;

    switch (creds->kind) {
    case QIO_TLS_X509:
        return gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, creds->x509);
    case QIO_TLS_PSK:
        return gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK,
                                      creds->server ? (void *)creds->psk_server
                                                    : (void *)creds->psk_client);
    case QIO_TLS_ANON:
        return gnutls_credentials_set(tls->session, GNUTLS_CRD_ANON,
                                      creds->server ? (void *)creds->anon_server
                                                    : (void *)creds->anon_client);
    }
    return GNUTLS_E_INTERNAL_ERROR;
}

static int set_alpn(QIOChannelTls *tls, const char *const *alpn)
{
    gnutls_datum_t names[8];
    unsigned count;

    for (count = 0; alpn && alpn[count] && count < G_N_ELEMENTS(names); count++) {
        names[count].data = (unsigned char *)alpn[count];
        names[count].size = (unsigned)strlen(alpn[count]);
    }
    if (count == 0) {
        return 0;
    }
    return gnutls_alpn_set_protocols(tls->session, names, count,
                                     GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
}

/* Only names go into the hello, not addresses (RFC 6066). */
static int set_server_name(QIOChannelTls *tls)
{
    if (!tls->name || tls->address_len > 0) {
        return 0;
    }
    return gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, tls->name, strlen(tls->name));
}

static int set_up_client(QIOChannelTls *tls)
{
    int rc = set_server_name(tls);

    if (rc == 0 && tls->resume) {
        qio_tls_ticket_use(tls->creds, tls->name, tls->session);
        gnutls_handshake_set_hook_function(tls->session, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET,
                                           GNUTLS_HOOK_POST, ticket_hook);
    }
    return rc;
}

static int set_up_server(QIOChannelTls *tls)
{
    if (tls->creds->kind != QIO_TLS_X509) {
        return 0;
    }
    gnutls_certificate_server_set_request(tls->session, tls->creds->verify ? GNUTLS_CERT_REQUIRE
                                                                            : GNUTLS_CERT_IGNORE);
    return tls->resume ? gnutls_session_ticket_enable_server(tls->session,
                                                             &tls->creds->ticket_key) : 0;
}

static int set_up(QIOChannelTls *tls, const char *const *alpn)
{
    int rc = gnutls_priority_set(tls->session, tls->creds->priority);

    if (rc == 0) {
        rc = set_credentials(tls);
    }
    if (rc == 0) {
        rc = set_alpn(tls, alpn);
    }
    if (rc == 0) {
        rc = tls->server ? set_up_server(tls) : set_up_client(tls);
    }
    return rc;
}

int qio_tls_session_start(QIOChannelTls *tls, const char *const *alpn, Error **errp)
{
    unsigned flags = (tls->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
                     GNUTLS_NO_SIGNAL | (tls->resume ? 0 : GNUTLS_NO_TICKETS);
    int rc = gnutls_init(&tls->session, flags);

    if (rc < 0) {
        tls->session = NULL;
        qio_tls_set_gnutls_error(errp, rc, "a TLS session");
        return -1;
    }
    gnutls_session_set_ptr(tls->session, tls);
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_vec_push_function(tls->session, push);
    gnutls_transport_set_pull_function(tls->session, pull);
    gnutls_transport_set_pull_timeout_function(tls->session, pull_timeout);
    if (tls->creds->kind == QIO_TLS_X509 && tls->creds->verify) {
        gnutls_session_set_verify_function(tls->session, qio_tls_verify_in_handshake);
    }
    rc = set_up(tls, alpn);
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "a TLS session");
        return -1;
    }
    return 0;
}

void qio_tls_send_bye(QIOChannelTls *tls)
{
    if (tls->state != QIO_TLS_OPEN || tls->bye_said || tls->write_error) {
        return;
    }
    tls->write_shut = tls->bye_said = true;
    gnutls_bye(tls->session, GNUTLS_SHUT_WR);
}

/* ---- errors ---- */

static void set_alert_error(QIOChannelTls *tls, const char *what, Error **errp)
{
    gnutls_alert_description_t alert = gnutls_alert_get(tls->session);
    const char *name = gnutls_alert_get_name(alert);

    qio_error_set_number(errp, QIO_ERROR_TLS, QIO_ERROR_DOMAIN_TLS, alert,
                         "%s: the peer sent the alert %d (%s)", what, (int)alert,
                         name ? name : "unknown");
}

bool qio_tls_is_truncation(QIOChannelTls *tls, int rc)
{
    return !tls->call_error && (rc == GNUTLS_E_PREMATURE_TERMINATION ||
                                (rc == GNUTLS_E_UNEXPECTED_PACKET_LENGTH && tls->cut));
}

void qio_tls_set_session_error(QIOChannelTls *tls, int rc, const char *what, Error **errp)
{
    int level;

    if (tls->call_error) {
        qio_error_prepend(tls->call_error, "%s: ", what);
        qio_error_propagate(errp, g_steal_pointer(&tls->call_error));
        return;
    }
    if (qio_tls_is_truncation(tls, rc)) {
        qio_error_set(errp, QIO_ERROR_TLS_TRUNCATED,
                      "%s: the peer's bytes ended without its close_notify", what);
        return;
    }
    switch (rc) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
    case GNUTLS_E_WARNING_ALERT_RECEIVED:
        set_alert_error(tls, what, errp);
        return;
    case GNUTLS_E_MEMORY_ERROR:
        qio_error_set(errp, QIO_ERROR_NOMEM, "%s: no memory", what);
        return;
    case GNUTLS_E_NO_CERTIFICATE_FOUND:
    case GNUTLS_E_CERTIFICATE_REQUIRED:
        qio_tls_set_fault(errp, QIO_TLS_CERT_MISSING, "%s: the peer has no certificate", what);
        return;
    default:
        qio_error_set_number(errp, QIO_ERROR_TLS, QIO_ERROR_DOMAIN_TLS,
                             MAX(gnutls_error_to_alert(rc, &level), 0), "%s: %s", what,
                             gnutls_strerror(rc));
    }
}
