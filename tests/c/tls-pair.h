/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls-pair.h: two TLS channels that talk to each other, for the tests of TLS.
 *
 * Owns: making credentials from short texts and the handshake of both ends by turns, in one thread.
 * Certificates are in the folder TLS_PKI, made by tls-pki.py when the tests are built.
 */
#ifndef TESTS_TLS_PAIR_H
#define TESTS_TLS_PAIR_H

#include "socket-pair.h"

#include <gnutls/gnutls.h>
#include <qio/channel-tls.h>

/* "key=value;key=value" as options; a value that starts with "<" names a file of TLS_PKI whose
 * bytes it is, one with "@" a path in TLS_PKI. */
QIOOptions *tls_options(const char *text);
QIOTlsCreds *tls_creds(const char *text, bool server);
/* The same, and what it failed with; NULL when it did not fail. */
Error *tls_creds_error(const char *text, bool server);

/* Two ends on a socket pair; NULL credentials are those of the folder "good". */
typedef struct TlsPair {
    QIOChannel *below[2];
    QIOChannel *client, *server;
} TlsPair;

void tls_pair(TlsPair *pair, const char *client_creds, const char *server_creds,
              const char *client_options, const char *server_options);
/* The same on another transport. */
typedef void TlsTransport(QIOChannel **a, QIOChannel **b);
void tls_pair_on(TlsPair *pair, TlsTransport *transport, const char *client_creds,
                 const char *server_creds, const char *client_options, const char *server_options);
/* With credentials that exist; takes no reference. */
void tls_pair_creds(TlsPair *pair, TlsTransport *transport, QIOTlsCreds *client,
                    QIOTlsCreds *server, const char *client_options, const char *server_options);
/* Takes steps of both until both are done or failed.  Returns: 0, or -1 when one failed. */
int tls_shake(TlsPair *pair, Error **client_err, Error **server_err);
/* tls_shake() that must succeed. */
void tls_shake_well(TlsPair *pair);
void tls_drop(TlsPair *pair);

/* Sends len bytes of a pattern from one end to the other and compares. */
void tls_send(QIOChannel *from, QIOChannel *to, size_t len);
/* What qio_channel_tls_get_str() gives, in a buffer of the caller of 256 bytes. */
const char *tls_str(QIOChannel *ioc, const char *key, char *buf);

#endif
