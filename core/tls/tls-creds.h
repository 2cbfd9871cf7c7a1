/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/tls-creds.h: who one is in TLS, and whom one trusts.
 *
 * Owns: QIOTlsCreds: certificates and keys (x509), a shared key (psk) or neither (anon), read and
 * checked once, for any number of channels.  The keys of the options:
 *   all kinds   tls-priority: what GnuTLS calls a priority string, in place of its default without
 *               TLS below 1.2 and with AES before ChaCha20 where the processor has AES; what the
 *               kind needs is added to it
 *   x509        tls-dir: a folder with ca-cert.pem, ca-crl.pem (optional) and server-cert.pem and
 *               server-key.pem, or client-cert.pem and client-key.pem (both optional);
 *               tls-ca tls-crl tls-cert tls-key: each a file, or PEM as bytes, before the folder;
 *               tls-password (bytes) of an encrypted key; tls-verify (default on): the peer must
 *               have a certificate of that authority; tls-sanity (default on): one's own
 *               certificates are looked at when they are read.  A client without tls-ca and tls-dir
 *               trusts whom the system trusts; a server needs one of them, or tls-verify=off.
 *   psk         tls-psk-file: lines user:hexkey (or keys.psk in tls-dir); tls-psk-user: who a
 *               client is, "qio" if not said; tls-psk-key: its key itself, not in hex
 *   anon        tls-anon=on (or dh-params.pem in tls-dir): no identity at all, TLS 1.2 only
 * Rule: immutable once a channel uses it; set the callbacks before.  Any thread.
 */
#ifndef QIO_TLS_CREDS_H
#define QIO_TLS_CREDS_H

#include <qio/channel.h>
#include <qio/options.h>

G_BEGIN_DECLS

typedef struct QIOTlsCreds QIOTlsCreds;

/*
 * qio_error_get_number() of an error of TLS: below 256 the alert that the peer sent, or that it was
 * sent; from 256 up what a certificate was found to be, the peer's or one's own.
 */
typedef enum QIOTlsFault {
    QIO_TLS_CERT_BAD = 256,         /* in a way that is none of these */
    QIO_TLS_CERT_MISSING,           /* there is none */
    QIO_TLS_CERT_UNTRUSTED,         /* of no authority that is trusted */
    QIO_TLS_CERT_EXPIRED,
    QIO_TLS_CERT_NOT_YET_VALID,
    QIO_TLS_CERT_REVOKED,
    QIO_TLS_CERT_WRONG_NAME,        /* not of that host; no host to compare with */
    QIO_TLS_CERT_USAGE,             /* not for this: key usage, purpose, basic constraints */
    QIO_TLS_CERT_WEAK,              /* key or signature */
    QIO_TLS_CERT_REFUSED,           /* by the access list, or by the authorisation function */
} QIOTlsFault;

/**
 * qio_tls_creds_new_x509, qio_tls_creds_new_psk, qio_tls_creds_new_anon:
 * @options: the keys above; NULL = none
 * @server: which end
 *
 * Reads and checks the material.  May block on files.
 * Returns: one reference for the caller, or NULL (INVAL; SYSTEM: a file cannot be read; TLS with a
 * QIOTlsFault; NOMEM)
 */
QIOTlsCreds *qio_tls_creds_new_x509(const QIOOptions *options, bool server, Error **errp);
QIOTlsCreds *qio_tls_creds_new_psk(const QIOOptions *options, bool server, Error **errp);
QIOTlsCreds *qio_tls_creds_new_anon(const QIOOptions *options, bool server, Error **errp);
/** qio_tls_creds_new: the kind that the keys speak of: tls-anon=on, tls-psk-*, else x509. */
QIOTlsCreds *qio_tls_creds_new(const QIOOptions *options, bool server, Error **errp);

/** qio_tls_creds_ref: adds a reference; NULL is allowed and returned.  Any thread. */
QIOTlsCreds *qio_tls_creds_ref(QIOTlsCreds *creds);
/** qio_tls_creds_unref: drops a reference; the last wipes the keys.  NULL is allowed. */
void qio_tls_creds_unref(QIOTlsCreds *creds);
/** qio_tls_creds_is_server: which end they are for. */
bool qio_tls_creds_is_server(QIOTlsCreds *creds);

/**
 * QIOTlsPskFunc:
 * @user: who the peer says it is (server), or who one is (client); no control of what is in it
 * @key, @cap: where the key goes
 *
 * Runs inside the handshake of any channel, on the thread that does it, with the channel locked:
 * it must not wait, and must leave that channel alone (it gets BUSY).
 * Returns: the key's length, 0 for an unknown user, -1 with an error
 */
typedef int (*QIOTlsPskFunc)(QIOTlsCreds *creds, const char *user, void *key, size_t cap,
                             gpointer opaque, Error **errp);

/** qio_tls_creds_set_psk_lookup: asks @fn for keys that the file does not have; @destroy frees
 * @opaque exactly once, also on failure.  Returns: 0, or -1 (INVAL: not psk; BUSY: in use) */
int qio_tls_creds_set_psk_lookup(QIOTlsCreds *creds, QIOTlsPskFunc fn, gpointer opaque,
                                 GDestroyNotify destroy, Error **errp);

/**
 * QIOTlsAuthorizeFunc:
 * @identity: the distinguished name of the peer's certificate ("CN=..,O=..", special characters
 *   with a backslash), or the user of its key
 *
 * Runs at the end of each handshake, resumed ones too, before it is reported and before any byte
 * can be read; as QIOTlsPskFunc otherwise.
 * Returns: 1 to let it in, 0 to refuse it, -1 with an error, which refuses it
 */
typedef int (*QIOTlsAuthorizeFunc)(QIOChannel *ioc, const char *identity, gpointer opaque,
                                   Error **errp);

/** qio_tls_creds_set_authorize: asks @fn about every peer; @destroy as above.  Returns: 0, or -1
 * (INVAL: these credentials give no identity, so that it could not be asked; BUSY: in use) */
int qio_tls_creds_set_authorize(QIOTlsCreds *creds, QIOTlsAuthorizeFunc fn, gpointer opaque,
                                GDestroyNotify destroy, Error **errp);

G_END_DECLS
#endif
