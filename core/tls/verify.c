/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/verify.c: whether the peer is who it should be, and may come in.
 *
 * Owns: the look at the peer's certificate, its name, and the asking of access list and
 * authorisation function.  Rules: a certificate is looked at when it comes, before anything more
 * is sent to its owner, and in a resumed session when the hands are shaken; nothing is skipped, and
 * what cannot be looked at is refused.  The lock is held.
 */
#include "tls/tls-priv.h"

#include <string.h>

typedef struct StatusFault {
    unsigned bits;
    QIOTlsFault fault;
    gnutls_alert_description_t alert;
} StatusFault;

/* The first that fits; several bits may be set. */
static const StatusFault status_faults[] = {
    { GNUTLS_CERT_REVOKED, QIO_TLS_CERT_REVOKED, GNUTLS_A_CERTIFICATE_REVOKED },
    { GNUTLS_CERT_INSECURE_ALGORITHM, QIO_TLS_CERT_WEAK, GNUTLS_A_INSUFFICIENT_SECURITY },
    { GNUTLS_CERT_SIGNER_NOT_FOUND, QIO_TLS_CERT_UNTRUSTED, GNUTLS_A_UNKNOWN_CA },
    { GNUTLS_CERT_EXPIRED, QIO_TLS_CERT_EXPIRED, GNUTLS_A_CERTIFICATE_EXPIRED },
    { GNUTLS_CERT_NOT_ACTIVATED, QIO_TLS_CERT_NOT_YET_VALID, GNUTLS_A_CERTIFICATE_EXPIRED },
    { GNUTLS_CERT_PURPOSE_MISMATCH, QIO_TLS_CERT_USAGE, GNUTLS_A_UNSUPPORTED_CERTIFICATE },
    { GNUTLS_CERT_SIGNER_NOT_CA, QIO_TLS_CERT_UNTRUSTED, GNUTLS_A_UNKNOWN_CA },
    { GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, QIO_TLS_CERT_USAGE, GNUTLS_A_BAD_CERTIFICATE },
};

static int refuse(QIOChannelTls *tls, QIOTlsFault fault, gnutls_alert_description_t alert,
                  const char *why)
{
    tls->alert = alert;
    qio_tls_set_fault(&tls->call_error, fault, "the %s's certificate is refused: %s",
                      tls->server ? "client" : "server", why);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

static int refuse_host(QIOChannelTls *tls)
{
    char piece[128];
    char *why = g_strdup_printf("it is not of the host \"%s\"",
                                qio_escape_bytes(tls->name, strlen(tls->name), piece,
                                                 sizeof(piece)));

    refuse(tls, QIO_TLS_CERT_WRONG_NAME, GNUTLS_A_BAD_CERTIFICATE, why);
    g_free(why);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

static int refuse_status(QIOChannelTls *tls, unsigned status)
{
    gnutls_datum_t text = { NULL, 0 };
    QIOTlsFault fault = QIO_TLS_CERT_BAD;
    gnutls_alert_description_t alert = GNUTLS_A_BAD_CERTIFICATE;
    size_t i;

    if ((status & ~(unsigned)GNUTLS_CERT_INVALID) == GNUTLS_CERT_UNEXPECTED_OWNER) {
        return refuse_host(tls);
    }
    for (i = 0; i < G_N_ELEMENTS(status_faults); i++) {
        if (status & status_faults[i].bits) {
            fault = status_faults[i].fault;
            alert = status_faults[i].alert;
            break;
        }
    }
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
    refuse(tls, fault, alert, text.data ? g_strchomp((char *)text.data) : "it does not verify");
    gnutls_free(text.data);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/* ---- the chain ---- */

/* What GnuTLS is to hold the certificate against: the purpose, and a host that is a name.  It
 * compares that with the certificate that it has taken apart already. */
static unsigned wanted(QIOChannelTls *tls, gnutls_typed_vdata_st *data)
{
    data[0] = (gnutls_typed_vdata_st){
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(tls->server ? GNUTLS_KP_TLS_WWW_CLIENT
                                              : GNUTLS_KP_TLS_WWW_SERVER),
    };
    if (tls->server || tls->address_len > 0) {
        return 1;
    }
    data[1] = (gnutls_typed_vdata_st){
        .type = GNUTLS_DT_DNS_HOSTNAME, .data = (unsigned char *)tls->name,
    };
    return 2;
}

static int verify_chain(QIOChannelTls *tls)
{
    gnutls_typed_vdata_st data[2];
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers(tls->session, data, wanted(tls, data), &status);

    if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND) {
        return refuse(tls, QIO_TLS_CERT_MISSING, GNUTLS_A_CERTIFICATE_REQUIRED, "there is none");
    }
    if (rc < 0) {
        return refuse(tls, QIO_TLS_CERT_BAD, GNUTLS_A_BAD_CERTIFICATE, gnutls_strerror(rc));
    }
    return status ? refuse_status(tls, status) : 0;
}

/* The peer's own certificate, for gnutls_x509_crt_deinit(); NULL = there is none to be read. */
static gnutls_x509_crt_t peer_certificate(QIOChannelTls *tls)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(tls->session, &count);
    gnutls_x509_crt_t crt;

    if (!chain || count == 0 || gnutls_x509_crt_init(&crt) < 0) {
        return NULL;
    }
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) < 0) {
        gnutls_x509_crt_deinit(crt);
        return NULL;
    }
    return crt;
}

/* ---- the host ---- */

/* An address has to be among the addresses.  A name was compared by GnuTLS: with the DNS names, or
 * without any with the common name, which is only right when there are no other names at all. */
static int verify_host(QIOChannelTls *tls)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(tls->session, &count);
    bool has_dns, has_address;
    int found;

    if (!chain || count == 0) {
        return refuse(tls, QIO_TLS_CERT_BAD, GNUTLS_A_BAD_CERTIFICATE, "it cannot be read");
    }
    found = qio_tls_alternative_names(&chain[0], tls->address, tls->address_len, &has_dns,
                                      &has_address);
    if (found < 0) {
        return refuse(tls, QIO_TLS_CERT_BAD, GNUTLS_A_BAD_CERTIFICATE, "its names cannot be read");
    }
    if (tls->address_len > 0 ? has_address : found == 0 || has_dns) {
        return 0;
    }
    return refuse_host(tls);
}

int qio_tls_verify_in_handshake(gnutls_session_t session)
{
    QIOChannelTls *tls = gnutls_session_get_ptr(session);
    int rc = verify_chain(tls);

    if (rc == 0 && !tls->server) {
        rc = verify_host(tls);
    }
    tls->verified = rc == 0;
    return rc;
}

/* ---- who it is, and whether it may come in ---- */

static char *certificate_name(QIOChannelTls *tls)
{
    gnutls_x509_crt_t crt = peer_certificate(tls);
    gnutls_datum_t name = { NULL, 0 };
    char *copy = NULL;

    if (!crt) {
        return NULL;
    }
    if (gnutls_x509_crt_get_dn3(crt, &name, 0) == 0) {
        copy = g_strndup((const char *)name.data, name.size);
        gnutls_free(name.data);
    }
    gnutls_x509_crt_deinit(crt);
    return copy;
}

static char *key_user(QIOChannelTls *tls)
{
    return g_strdup(gnutls_psk_server_get_username(tls->session));
}

char *qio_tls_peer_name(QIOChannelTls *tls)
{
    if (!qio_tls_creds_identify(tls->creds)) {
        return NULL;
    }
    return tls->creds->kind == QIO_TLS_X509 ? certificate_name(tls) : key_user(tls);
}

static int deny(QIOChannelTls *tls, const char *name, const char *who)
{
    char piece[128];

    tls->alert = GNUTLS_A_ACCESS_DENIED;
    qio_tls_set_fault(&tls->call_error, QIO_TLS_CERT_REFUSED, "%s refuses the peer \"%s\"", who,
                      qio_escape_bytes(name, strlen(name), piece, sizeof(piece)));
    return -1;
}

static int ask_function(QIOChannelTls *tls, const char *name)
{
    QIOTlsCreds *creds = tls->creds;
    int allowed;

    qio_layer_lock_call_out(&tls->lock, true);
    allowed = creds->authorize(&tls->parent, name, creds->authorize_opaque, &tls->call_error);
    qio_layer_lock_call_out(&tls->lock, false);
    if (allowed == 1) {
        g_clear_pointer(&tls->call_error, qio_error_free);
        return 0;
    }
    /* Does nothing when the function has set an error of its own. */
    return deny(tls, name, "the authorisation function");
}

static int authorize(QIOChannelTls *tls)
{
    char *name;
    int ret = 0;

    if (!tls->acl && !tls->creds->authorize) {
        return 0;
    }
    name = qio_tls_peer_name(tls);
    if (!name) {
        ret = deny(tls, "", "what lets peers in by their identity");
    } else if (tls->acl && !qio_tls_acl_allows((const char *const *)tls->acl, name)) {
        ret = deny(tls, name, "the access list");
    } else if (tls->creds->authorize) {
        ret = ask_function(tls, name);
    }
    g_free(name);
    return ret;
}

int qio_tls_admit(QIOChannelTls *tls)
{
    if (tls->creds->kind == QIO_TLS_X509 && tls->creds->verify && !tls->verified &&
        qio_tls_verify_in_handshake(tls->session) != 0) {
        return -1;
    }
    return authorize(tls);
}
