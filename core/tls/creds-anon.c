/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/creds-anon.c: credentials without any identity.
 *
 * Owns: making them.  They keep who only listens out, and nobody else; TLS 1.3 has no such thing.
 * A server takes dh-params.pem of tls-dir where there is one, and the groups of RFC 7919 else;
 * parameters are never made here.  Any thread.
 */
#include "tls/tls-priv.h"

static int import_dh_params(QIOTlsCreds *creds, const gnutls_datum_t *pem)
{
    int rc = gnutls_dh_params_init(&creds->dh_params);

    if (rc == 0) {
        rc = gnutls_dh_params_import_pkcs3(creds->dh_params, pem, GNUTLS_X509_FMT_PEM);
    }
    if (rc == 0) {
        gnutls_anon_set_server_dh_params(creds->anon_server, creds->dh_params);
    }
    return rc;
}

static int use_dh_params(QIOTlsCreds *creds, const QIOOptions *options, Error **errp)
{
    QIOTlsMaterial m;
    int rc;

    if (qio_tls_material_get(&m, options, NULL, "dh-params.pem", errp) < 0) {
        return -1;
    }
    if (m.data.data) {
        rc = import_dh_params(creds, &m.data);
    } else {
        rc = gnutls_anon_set_server_known_dh_params(creds->anon_server, GNUTLS_SEC_PARAM_MEDIUM);
    }
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "%s", m.where ? m.where : "Diffie-Hellman parameters");
    }
    qio_tls_material_clear(&m);
    return rc < 0 ? -1 : 0;
}

QIOTlsCreds *qio_tls_creds_new_anon(const QIOOptions *options, bool server, Error **errp)
{
    static const char *const foreign[] = {
        "tls-ca", "tls-cert", "tls-key", "tls-crl", "tls-password", "tls-psk-file", "tls-psk-user",
        "tls-psk-key", NULL
    };
    QIOTlsCreds *creds;
    int rc;

    if (!qio_tls_creds_refuse(options, "anonymous", foreign, errp)) {
        return NULL;
    }
    /* The others must go: a server would choose one that needs a certificate, and then fail. */
    creds = qio_tls_creds_alloc(QIO_TLS_ANON, options, server,
                                ":-VERS-TLS1.3:-KX-ALL:+ANON-ECDH:+ANON-DH", errp);
    if (!creds) {
        return NULL;
    }
    rc = server ? gnutls_anon_allocate_server_credentials(&creds->anon_server)
                : gnutls_anon_allocate_client_credentials(&creds->anon_client);
    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "anonymous credentials");
    } else if (!server || use_dh_params(creds, options, errp) == 0) {
        return creds;
    }
    qio_tls_creds_unref(creds);
    return NULL;
}
