/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-tls.h: TLS over any channel.
 *
 * Owns: the class.  Rules:
 *  - The channel below is the layer's from then on; what it had read ahead is the first input of
 *    TLS, so an upgrade in place loses nothing and lets nothing in.
 *  - Making one sends nothing.  The first transfer shakes hands, within the key handshake-timeout
 *    (default: server 10 s, client 30 s) in all, or qio_channel_handshake() does.
 *  - The peer is verified and let in before any byte can be read.
 *  - A read gives 0 only after the peer's close_notify, or one's own shutdown of reading; an end
 *    without is TLS_TRUNCATED, unless the key tls-relaxed is on.
 *  - Writes are accepted up to a record beyond what the transport takes; qio_channel_flush() and
 *    qio_channel_bye() push it out.  close sends close_notify if that goes without waiting.
 *  - One reader, one writer and a loop may be in it at once, also during a change of keys.
 *  - Renegotiation is refused.  A forked child gets FORKED.
 *  - Keys are written to a log only if the environment names one in SSLKEYLOGFILE, by GnuTLS.
 */
#ifndef QIO_CHANNEL_TLS_H
#define QIO_CHANNEL_TLS_H

#include <qio/tls-creds.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_TLS "qio-channel-tls"
#define QIO_CHANNEL_TLS(obj) OBJECT_CHECK(QIOChannelTls, (obj), TYPE_QIO_CHANNEL_TLS)

typedef struct QIOChannelTls QIOChannelTls;

/**
 * qio_channel_tls_new_client:
 * @master: the channel below; the layer takes a reference of its own
 * @creds: of a client; shared
 * @hostname: whom the certificate must name: a DNS name or an address; NULL fails the handshake
 *   if certificates are verified
 *
 * Returns: a channel, or NULL (INVAL: credentials of a server; BUSY, CLOSED, NOTSUP: @master)
 */
QIOChannelTls *qio_channel_tls_new_client(QIOChannel *master, QIOTlsCreds *creds,
                                          const char *hostname, Error **errp);
/**
 * qio_channel_tls_new_server:
 * @aclname: NULL, or one rule of the key tls-acl: who may come in
 *
 * Returns: a channel, or NULL (INVAL: credentials of a client, or @aclname where these give the
 * peer no identity; as qio_channel_tls_new_client())
 */
QIOChannelTls *qio_channel_tls_new_server(QIOChannel *master, QIOTlsCreds *creds,
                                          const char *aclname, Error **errp);
/**
 * qio_channel_tls_new_options:
 * @options: tls-hostname; tls-alpn*: protocols, the best first; tls-acl*: rules for who may come in
 *   (server), globs of the distinguished name or user; the first that fits decides, one with "!"
 *   before it refuses, whom none fits is refused; tls-relaxed; tls-resume (default on, x509 only):
 *   a client keeps tickets in the credentials by host name, a server gives them out;
 *   handshake-timeout (seconds); other keys are passed over
 *
 * Returns: as the forms above
 */
QIOChannelTls *qio_channel_tls_new_options(QIOChannel *master, QIOTlsCreds *creds,
                                           const QIOOptions *options, bool server, Error **errp);

/** qio_channel_tls_handshake: qio_channel_handshake() as an operation in the main loop, within the
 * key handshake-timeout in all; qio_channel_handshake_task() has a context and a deadline of its
 * own.  @destroy frees @opaque. */
void qio_channel_tls_handshake(QIOChannelTls *ioc, QIOTaskFunc func, gpointer opaque,
                               GDestroyNotify destroy);
/**
 * qio_channel_tls_bye:
 * @timeout_ms: in all; -1 = none
 * @ctx ... @destroy: as qio_task_new()
 *
 * qio_channel_bye() as an operation: what is held back, close_notify, and the peer's.
 * Returns: a task, one reference to the caller
 */
QIOTask *qio_channel_tls_bye(QIOChannelTls *ioc, int timeout_ms, AioContext *ctx,
                             QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);

/**
 * qio_channel_tls_get_str:
 * @key: version ("TLS1.3"), cipher ("AES-256-GCM"), suite, group, alpn (empty = none agreed),
 *   peer-name (as QIOTlsAuthorizeFunc has it, empty = none), hostname (what a client asked for),
 *   resumed ("on", "off")
 * @buf, @cap: where it goes, with a final NUL; (NULL, 0) asks for the length
 *
 * Tells what was agreed; stays known after close.  Any thread.
 * Returns: the length without the NUL, or -1 (INVAL: an unknown key, no handshake yet; TRUNCATED)
 */
ssize_t qio_channel_tls_get_str(QIOChannelTls *ioc, const char *key, char *buf, size_t cap,
                                Error **errp);
/** qio_channel_tls_get_peer_certificate: the peer's certificate (@index 0) or one of its chain, in
 * DER; (NULL, 0) asks for the length.  Returns: the length, 0 when there is none of that index, -1
 * (INVAL: no handshake yet; TRUNCATED) */
ssize_t qio_channel_tls_get_peer_certificate(QIOChannelTls *ioc, unsigned index, void *buf,
                                             size_t cap, Error **errp);
/** qio_channel_tls_export: keying material (RFC 5705) of @len bytes; @context NULL = none.
 * Returns: 0, or -1 (INVAL, CLOSED) */
int qio_channel_tls_export(QIOChannelTls *ioc, const char *label, const void *context,
                           size_t context_len, void *buf, size_t len, Error **errp);
/** qio_channel_tls_rekey: new keys for what this end sends; beside a reader and a writer.  A peer
 * may refuse many at once (GnuTLS: 8 a second).  Returns: 0, or -1 (NOTSUP: not in TLS 1.2; INVAL:
 * no handshake yet) */
int qio_channel_tls_rekey(QIOChannelTls *ioc, Error **errp);

G_END_DECLS
#endif
