/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/creds-x509.c: credentials of certificates.
 *
 * Owns: reading them from the folder, from files or from memory, and what is trusted.  Rules: a
 * server has a certificate and a client may have one; verifying without anybody to trust fails
 * here and not in every handshake; a server's tickets are sealed with a key that these credentials
 * alone have, so that others never let a peer in for it.  Any thread.
 */
#include "tls/tls-priv.h"

enum { CHAIN_MAX = 10, KEY_BITS_MAX = 16 * 1024 };

static int use_system_trust(QIOTlsCreds *creds, Error **errp)
{
    int rc = gnutls_certificate_set_x509_system_trust(creds->x509);

    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "the system's list of authorities cannot be read: give "
                                 "tls-ca");
        return -1;
    }
    return 0;
}

static int no_authority(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    const char *dir = qio_options_get_str(options, "tls-dir", NULL);

    if (!creds->verify) {
        return 0;
    }
    if (dir) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_MISSING, "there is no ca-cert.pem in %s, by which to "
                          "verify the peer", dir);
        return -1;
    }
    if (creds->server) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_MISSING, "there is no tls-ca by which to verify "
                          "clients; say tls-verify=off to let them in without a certificate");
        return -1;
    }
    return use_system_trust(creds, errp);
}

static int load_trust(QIOTlsCreds *creds, const QIOOptions *options, bool sanity, Error **errp)
{
    QIOTlsMaterial m;
    int rc, ret = 0;

    if (qio_tls_material_get(&m, options, "tls-ca", "ca-cert.pem", errp) < 0) {
        return -1;
    }
    if (!m.data.data) {
        return no_authority(creds, options, errp);
    }
    if (sanity) {
        ret = qio_tls_check_authorities(&m, errp);
    }
    if (ret == 0) {
        rc = gnutls_certificate_set_x509_trust_mem(creds->x509, &m.data, GNUTLS_X509_FMT_PEM);
        if (rc <= 0) {
            qio_tls_set_gnutls_error(errp, rc < 0 ? rc : GNUTLS_E_NO_CERTIFICATE_FOUND,
                                     "%s: no certificates can be read", m.where);
            ret = -1;
        }
    }
    qio_tls_material_clear(&m);
    return ret;
}

static int load_crl(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    QIOTlsMaterial m;
    int rc = 1;

    if (qio_tls_material_get(&m, options, "tls-crl", "ca-crl.pem", errp) < 0) {
        return -1;
    }
    if (m.data.data) {
        rc = gnutls_certificate_set_x509_crl_mem(creds->x509, &m.data, GNUTLS_X509_FMT_PEM);
        if (rc <= 0) {
            qio_tls_set_gnutls_error(errp, rc < 0 ? rc : GNUTLS_E_NO_CERTIFICATE_FOUND,
                                     "%s: no revocation list can be read", m.where);
        }
    }
    qio_tls_material_clear(&m);
    return rc <= 0 ? -1 : 0;
}

/* ---- one's own certificate ---- */

static void set_pair_error(Error **errp, int rc, const QIOTlsMaterial *cert,
                           const QIOTlsMaterial *key, bool password)
{
    if (rc == GNUTLS_E_DECRYPTION_FAILED || rc == GNUTLS_E_PKCS11_PIN_ERROR) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s is encrypted, and %s", key->where,
                      password ? "tls-password does not open it" : "tls-password is not given");
    } else if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key in %s is not that of the certificate in %s",
                      key->where, cert->where);
    } else {
        qio_tls_set_gnutls_error(errp, rc, "%s with %s: cannot be read", cert->where, key->where);
    }
}

static int set_pair(QIOTlsCreds *creds, const QIOOptions *options, const QIOTlsMaterial *cert,
                    const QIOTlsMaterial *key, Error **errp)
{
    size_t len;
    /* Bytes of options have a NUL behind them. */
    const char *password = qio_options_get_bytes(options, "tls-password", &len);
    int rc = gnutls_certificate_set_x509_key_mem2(creds->x509, &cert->data, &key->data,
                                                  GNUTLS_X509_FMT_PEM, password,
                                                  password ? 0 : GNUTLS_PKCS_PLAIN);

    if (rc < 0) {
        set_pair_error(errp, rc, cert, key, password != NULL);
        return -1;
    }
    return 0;
}

static int load_pair(QIOTlsCreds *creds, const QIOOptions *options, bool sanity,
                     const QIOTlsMaterial *cert, const QIOTlsMaterial *key, Error **errp)
{
    const char *end = creds->server ? "server" : "client";

    if (!cert->data.data && !key->data.data) {
        if (!creds->server) {
            return 0;
        }
        qio_tls_set_fault(errp, QIO_TLS_CERT_MISSING, "a server needs a certificate and its key: "
                          "tls-cert and tls-key, or server-cert.pem and server-key.pem in tls-dir");
        return -1;
    }
    if (!cert->data.data || !key->data.data) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_MISSING, "the %s has %s (%s), and not the %s", end,
                          cert->data.data ? "a certificate" : "a key",
                          cert->data.data ? cert->where : key->where,
                          cert->data.data ? "key of it" : "certificate for it");
        return -1;
    }
    if (sanity && qio_tls_check_own(cert, creds->server, errp) < 0) {
        return -1;
    }
    return set_pair(creds, options, cert, key, errp);
}

static int load_own(QIOTlsCreds *creds, const QIOOptions *options, bool sanity, Error **errp)
{
    QIOTlsMaterial cert, key;
    int ret = -1;

    if (qio_tls_material_get(&cert, options, "tls-cert",
                             creds->server ? "server-cert.pem" : "client-cert.pem", errp) < 0) {
        return -1;
    }
    if (qio_tls_material_get(&key, options, "tls-key",
                             creds->server ? "server-key.pem" : "client-key.pem", errp) == 0) {
        ret = load_pair(creds, options, sanity, &cert, &key, errp);
        qio_tls_material_clear(&key);
    }
    qio_tls_material_clear(&cert);
    return ret;
}

/* ---- making ---- */

static int set_up(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    bool sanity = qio_options_get_bool(options, "tls-sanity", true);
    int rc = gnutls_certificate_allocate_credentials(&creds->x509);

    if (rc == 0 && creds->server) {
        rc = gnutls_certificate_set_known_dh_params(creds->x509, GNUTLS_SEC_PARAM_MEDIUM);
    }
    if (rc == 0 && creds->server) {
        rc = gnutls_session_ticket_key_generate(&creds->ticket_key);
    }
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "x509 credentials");
        return -1;
    }
    /* What a hostile peer may make us compute. */
    gnutls_certificate_set_verify_limits(creds->x509, KEY_BITS_MAX, CHAIN_MAX);
    if (load_trust(creds, options, sanity, errp) < 0 || load_crl(creds, options, errp) < 0) {
        return -1;
    }
    return load_own(creds, options, sanity, errp);
}

QIOTlsCreds *qio_tls_creds_new_x509(const QIOOptions *options, bool server, Error **errp)
{
    static const char *const foreign[] = { "tls-psk-file", "tls-psk-user", "tls-psk-key", NULL };
    QIOTlsCreds *creds;

    if (!qio_tls_creds_refuse(options, "x509", foreign, errp)) {
        return NULL;
    }
    creds = qio_tls_creds_alloc(QIO_TLS_X509, options, server, "", errp);
    if (!creds) {
        return NULL;
    }
    creds->verify = qio_options_get_bool(options, "tls-verify", true);
    if (set_up(creds, options, errp) < 0) {
        qio_tls_creds_unref(creds);
        return NULL;
    }
    return creds;
}
