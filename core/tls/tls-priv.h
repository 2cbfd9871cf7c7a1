/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/tls-priv.h: what the files of core/tls share.
 *
 * Owns: the state of credentials and of a TLS channel.  Rules:
 *  - Credentials do not change once a channel uses them, but for the tickets, which have a lock.
 *  - The members of a channel from `session` on are under its lock (lock.c), which is held around
 *    work that never waits.
 */
#ifndef QIO_TLS_TLS_PRIV_H
#define QIO_TLS_TLS_PRIV_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <qio/channel-tls.h>
#include "channel/layer.h"

typedef enum QIOTlsKind {
    QIO_TLS_X509,
    QIO_TLS_PSK,
    QIO_TLS_ANON,
} QIOTlsKind;

struct QIOTlsCreds {
    gatomicrefcount refs;
    QIOTlsKind kind;
    bool server;
    bool verify;                    /* x509: the peer must have a good certificate */
    _Atomic bool used;              /* by a channel: immutable now */
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t x509;
    gnutls_datum_t ticket_key;      /* x509 server */
    gnutls_psk_server_credentials_t psk_server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_anon_server_credentials_t anon_server;
    gnutls_anon_client_credentials_t anon_client;
    gnutls_dh_params_t dh_params;   /* of anon_server, which refers to it */
    GHashTable *psk_keys;           /* user -> QIOTlsSecret; NULL = no file */
    char *psk_user;                 /* client */
    QIOTlsPskFunc psk_lookup;
    gpointer psk_opaque;
    GDestroyNotify psk_destroy;
    QIOTlsAuthorizeFunc authorize;
    gpointer authorize_opaque;
    GDestroyNotify authorize_destroy;
    pthread_mutex_t tickets_lock;
    GHashTable *tickets;            /* client: host name -> QIOTlsSecret */
};

/* Bytes that are wiped when they go. */
typedef struct QIOTlsSecret {
    size_t len;
    uint8_t bytes[];
} QIOTlsSecret;

/* ---- creds.c ---- */

QIOTlsSecret *qio_tls_secret_new(const void *bytes, size_t len);
void qio_tls_secret_free(gpointer secret);

/* Empty credentials with their priorities: `extra` is added to what tls-priority says. */
QIOTlsCreds *qio_tls_creds_alloc(QIOTlsKind kind, const QIOOptions *options, bool server,
                                 const char *extra, Error **errp);
/* Whether the peer will have an identity to authorise. */
bool qio_tls_creds_identify(const QIOTlsCreds *creds);
/* Refuses keys that are not for the kind, as NAME, NULL. */
bool qio_tls_creds_refuse(const QIOOptions *options, const char *kind, const char *const *keys,
                          Error **errp);
/* Sets an error from what GnuTLS answered. */
void qio_tls_set_gnutls_error(Error **errp, int rc, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
void qio_tls_set_fault(Error **errp, QIOTlsFault fault, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* ---- material.c ---- */

/* What a key of the options, or a file of tls-dir, gives. */
typedef struct QIOTlsMaterial {
    gnutls_datum_t data;            /* with a final NUL behind it; data NULL = there is none */
    char *where;                    /* for messages */
} QIOTlsMaterial;

/*
 * Bytes of the key, the file that it names, or `file` of tls-dir, in that order.
 * Returns: 0 (also when there is none of it), or -1 (SYSTEM, INVAL, LIMIT, NOMEM)
 */
int qio_tls_material_get(QIOTlsMaterial *m, const QIOOptions *options, const char *key,
                         const char *file, Error **errp);
void qio_tls_material_clear(QIOTlsMaterial *m);

/* ---- sanity.c ---- */

/* Whether own certificates in PEM are fit for that end; at least one of a list of authorities has
 * to be fit to be one. */
int qio_tls_check_own(const QIOTlsMaterial *m, bool server, Error **errp);
int qio_tls_check_authorities(const QIOTlsMaterial *m, Error **errp);

/* ---- acl.c ---- */

/* Whether the rules (NULL-terminated globs, "!" refuses) let the identity in. */
bool qio_tls_acl_allows(const char *const *rules, const char *identity);

/* ---- names.c ---- */

/*
 * What a certificate in DER says besides its common name: whether there are DNS names, and whether
 * the address is among the addresses.
 * Returns: 1; 0 when it has no alternative names; -1 when they cannot be read
 */
int qio_tls_alternative_names(const gnutls_datum_t *der, const void *address, size_t address_len,
                              bool *has_dns, bool *has_address);

/* ---- tickets.c ---- */

/* Takes what is known of the host out of the credentials into the session. */
void qio_tls_ticket_use(QIOTlsCreds *creds, const char *hostname, gnutls_session_t session);
void qio_tls_ticket_keep(QIOTlsCreds *creds, const char *hostname, gnutls_session_t session);

/* ---- the channel ---- */

typedef enum QIOTlsState {
    QIO_TLS_SHAKING,
    QIO_TLS_OPEN,
    QIO_TLS_FAILED,                 /* the handshake did; see failure */
} QIOTlsState;

struct QIOChannelTls {
    QIOChannel parent;
    QIOTlsCreds *creds;
    bool server;
    bool relaxed;
    bool resume;
    char *hostname;                 /* as given; NULL = none */
    char *name;                     /* as it is compared: no brackets, no final dot */
    uint8_t address[16];            /* when it is one */
    size_t address_len;
    char **acl;
    int handshake_ms;               /* -1 = no limit */
    uint32_t epoch;                 /* of the process that made it, see base/fork.h */

    QIOLayerLock lock;
    bool kick;                      /* when the lock is let go: everybody looks again */
    int out_was;                    /* what lock.c found of the outgoing side the last time */
    bool told;                      /* something to read was left, and the others know */
    gnutls_session_t session;
    _Atomic QIOTlsState state;      /* changed under the lock */
    bool verified;                  /* the peer's certificate, in this handshake */
    Error *failure;                 /* of the handshake: every transfer gives it */
    Error *call_error;              /* what a function below GnuTLS failed with */
    gnutls_alert_description_t alert;   /* what it wants the peer to be told */

    Error *read_error;              /* after which nothing can be read */
    bool read_end;                  /* close_notify came, or tls-relaxed */
    bool read_shut;                 /* by shutdown */
    bool blocked;                   /* the transport gave nothing more in this call */
    bool cut;                       /* the transport is at its end */
    gnutls_packet_t packet;         /* decrypted, not read yet */
    gnutls_datum_t left;            /* what is left of it */
    int oddities;                   /* warning alerts and wishes to renegotiate so far */
    bool ticket_came;

    Error *write_error;             /* after which nothing can be written */
    bool lost;                      /* accepted bytes went with it, and nobody was told yet */
    bool write_shut;                /* by shutdown or by close_notify */
    bool bye_said;                  /* close_notify is queued or sent */
    bool shut_below;                /* when it is sent: shut the channel below too */
    uint8_t *out;                   /* encrypted, not taken by the transport yet */
    size_t out_cap, out_start, out_end;

    int64_t deadline_ns;            /* of the handshake; 0 = not started */
    int timer_fd;                   /* wakes who waits at the deadline; -1 = none */
};

/* ---- channel-tls.c ---- */

QIOChannelTls *qio_tls_channel_alloc(Error **errp);
/* Whether a read would not block; decrypts a record to find out. */
bool qio_tls_readable(QIOChannelTls *tls);

/* ---- session.c ---- */

int qio_tls_session_start(QIOChannelTls *tls, const char *const *alpn, Error **errp);
/* Sends what is queued, as far as it goes.  Returns: 0 all, QIO_CHANNEL_ERR_BLOCK, -1 with
 * write_error set */
int qio_tls_flush(QIOChannelTls *tls);
/* Sets the error of a failed GnuTLS call, by its cause if the transport or a callback was it. */
void qio_tls_set_session_error(QIOChannelTls *tls, int rc, const char *what, Error **errp);
/* Whether that call failed since the transport ended before the peer's close_notify. */
bool qio_tls_is_truncation(QIOChannelTls *tls, int rc);
/* Queues close_notify, once. */
void qio_tls_send_bye(QIOChannelTls *tls);

/* ---- handshake.c ---- */

/* One step.  Returns: 0 done, QIO_CHANNEL_ERR_BLOCK, -1 */
int qio_tls_handshake_step(QIOChannelTls *tls, Error **errp);
/* Before somebody waits for a step. */
void qio_tls_need_timer(QIOChannelTls *tls);
void qio_tls_stop_timer(QIOChannelTls *tls);

/* ---- verify.c ---- */

/* GnuTLS's hook: looks at the peer's certificate when it comes.  Returns 0 or a GnuTLS error, with
 * call_error and alert set. */
int qio_tls_verify_in_handshake(gnutls_session_t session);
/* What is left to do when the hands are shaken: resumed sessions, who the peer is, who may come
 * in.  Returns: 0, or -1 with call_error and alert set */
int qio_tls_admit(QIOChannelTls *tls);
/* The peer's identity, for g_free(); NULL = it has none. */
char *qio_tls_peer_name(QIOChannelTls *tls);

/* ---- lock.c ---- */

/* Takes the lock.  Returns: 0; QIO_CHANNEL_ERR_BLOCK while the holder calls a function of the
 * program; -1: BUSY (that function comes back to its own channel), FORKED */
int qio_tls_enter(QIOChannelTls *tls, Error **errp);
/* For questions about what was agreed, which cannot come again: waits when the hands are shaken.
 * Returns: 0, -1 (INVAL: they are not; what the handshake failed with; as above) */
int qio_tls_enter_open(QIOChannelTls *tls, Error **errp);
void qio_tls_leave(QIOChannelTls *tls);

#endif
