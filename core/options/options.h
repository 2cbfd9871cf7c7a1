/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/options.h: named settings for opening things; the keys are those of URIs.
 *
 * Owns: QIOOptions, a small table of key -> list of values, and the register of known keys (type,
 * whether a list, whether a URI may carry it).  Bytes and objects have no form in a URI; bytes are
 * wiped when they go.
 * Rule: a value is checked when it is set, so an error names the key and what would be right;
 * an unknown key names the nearest known one.  One thread at a time.
 *
 * The keys (a keyword argument is the key with `_`); those marked * are lists:
 *   all schemes   name; timeout (seconds for opening in all, default 30); allow* (not in a URI:
 *                 what the caller lets a URI open, by default net, unix, vsock, fd, file, null,
 *                 buffer; exec and all besides)
 *   tcp           nodelay, keep-alive (of a listener: of its clients), ipv4, ipv6 (off: not that
 *                 family), numeric (on: no look-up of a name), backlog, to (a listener takes the
 *                 first port that is free, up to and with this one)
 *   unix abstract vsock   backlog
 *   file          mode = r, w (made empty), rw (kept), a (appended to), the last three create
 *                 it; permissions (octal, less the umask, default 666); of a terminal line:
 *                 raw (on: bytes as they are), speed (bits a second)
 *   tls+ (layer)  of the credentials: tls-dir tls-ca tls-cert tls-key tls-crl (paths; all but
 *                 tls-dir also PEM as bytes), tls-password (bytes), tls-psk-file (a path),
 *                 tls-psk-user, tls-psk-key (bytes), tls-anon, tls-verify, tls-priority,
 *                 tls-sanity; or tls-creds (an object) in their place; of the channel:
 *                 tls-hostname, tls-alpn*, tls-acl*, tls-relaxed, tls-resume,
 *                 handshake-timeout (seconds)
 *   ws+ (layer)   ws-path, ws-host, ws-origin, ws-protocol*, ws-header* = Name: value, ws-mode =
 *                 stream, messages; ws-deflate; ws-max-message, ws-max-inflated (bytes);
 *                 ws-request (not in a URI); handshake-timeout (seconds)
 *   exec          arg*; env* = NAME=value (the whole environment; empty = none at all); cwd;
 *                 stderr = inherit, null, merge, pipe; stderr-fd (not in a URI); close-timeout
 *                 (seconds, default 5); pty (on: a terminal of its own); rows, columns (of it)
 * and of a relay (qio/relay.h): buffer, limit (bytes), idle-timeout (seconds)
 */
#ifndef QIO_OPTIONS_H
#define QIO_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <qio/error.h>

G_BEGIN_DECLS

typedef struct QIOOptions QIOOptions;

/** qio_options_new: no options, for the caller to qio_options_free().  Any thread. */
QIOOptions *qio_options_new(void);
/** qio_options_copy: an equal set, for the caller; NULL gives an empty one. */
QIOOptions *qio_options_copy(const QIOOptions *options);
/** qio_options_free: frees a set; NULL is allowed. */
void qio_options_free(QIOOptions *options);

/** qio_options_set_str: sets @key, replacing what it had.  Returns: 0, or -1 (INVAL) */
int qio_options_set_str(QIOOptions *options, const char *key, const char *value, Error **errp);
/** qio_options_add_str: one more value of a list key; the first of another.  Returns: 0, or -1
 * (INVAL, also for a second value of what is not a list) */
int qio_options_add_str(QIOOptions *options, const char *key, const char *value, Error **errp);
/** qio_options_set_int: sets a number, a time in seconds, permissions, or a switch (0, 1).
 * Returns: 0, or -1 (INVAL, also for a key that takes text) */
int qio_options_set_int(QIOOptions *options, const char *key, int64_t value, Error **errp);
/** qio_options_set_bytes: sets what is in memory: for tls-ca, tls-cert, tls-key and tls-crl what
 * would be in the file, for tls-password and tls-psk-key the secret; for another key its text,
 * which needs no final NUL and may hold none.  Returns: 0, or -1 (INVAL) */
int qio_options_set_bytes(QIOOptions *options, const char *key, const void *buf, size_t len,
                          Error **errp);

/** qio_options_has: whether @key is set.  This and the getters take NULL @options as empty and
 * an unknown @key as not set; they never fail. */
bool qio_options_has(const QIOOptions *options, const char *key);
/** qio_options_get_str: the (last) value as text, or @fallback, also when it is bytes or an
 * object. */
const char *qio_options_get_str(const QIOOptions *options, const char *key,
                                const char *fallback);
/** qio_options_get_bytes: what qio_options_set_bytes() set for a key of the former two kinds, with
 * its length in *@len, valid until the next change; NULL when the key is not set, or is text. */
const void *qio_options_get_bytes(const QIOOptions *options, const char *key, size_t *len);
/** qio_options_get_list: the values, NULL-terminated, valid until the next change; NULL = none. */
const char *const *qio_options_get_list(const QIOOptions *options, const char *key);
/** qio_options_get_int: a number or permissions. */
int64_t qio_options_get_int(const QIOOptions *options, const char *key, int64_t fallback);
/** qio_options_get_bool: a switch, on or off. */
bool qio_options_get_bool(const QIOOptions *options, const char *key, bool fallback);
/** qio_options_get_ms: a time in seconds (decimal fractions allowed) as milliseconds; "none" and
 * "off" = -1. */
int qio_options_get_ms(const QIOOptions *options, const char *key, int fallback_ms);

G_END_DECLS
#endif
