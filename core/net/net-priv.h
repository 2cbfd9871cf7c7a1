/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/net-priv.h: what the files of core/net, the flat ABI and the tests share, and programs
 * do not see.
 *
 * Owns: the few functions that open something from a set of options without a URI.  Any thread.
 */
#ifndef QIO_NET_NET_PRIV_H
#define QIO_NET_NET_PRIV_H

#include <qio/channel-command.h>
#include <qio/channel-socket.h>
#include <qio/net-listener.h>
#include <qio/options.h>
#include <qio/uri.h>
#include "loop/loop.h"
#include "options/options-priv.h"

/* How long opening may take in all when the key "timeout" says nothing. */
#define QIO_OPEN_TIMEOUT_MS 30000

/* ---- uri.c ---- */

/* The name of a scheme, without the colon. */
const char *qio_scheme_name(QIOScheme scheme);
bool qio_uri_has_layer(const QIOUri *uri, QIOLayer layer);
/* The bits of the register for the scheme and the layers. */
uint32_t qio_uri_uses(const QIOUri *uri);
/* "tls+tcp:", for a message; for the caller to g_free(). */
char *qio_uri_describe(const QIOUri *uri);
/* Where a key of the query starts in a text that has been parsed; 0 when it is not there. */
size_t qio_uri_find_key(const char *text, const char *name);
/* The URI and the caller's options in one: parses, overrides, and checks what the caller's
 * key "allow" says.  The options of the result are complete. */
QIOUri *qio_uri_parse_allowed(const char *text, const QIOOptions *options, Error **errp);

/* ---- open.c ---- */

/* Opens what takes no waiting: not a socket that connects.  The other end of a pipe is not waited
 * for. */
QIOChannel *qio_uri_open_at_once(const QIOUri *uri, Error **errp);
/* What open(2) flags the mode r, w, rw or a stands for, or -1 with INVAL. */
int qio_file_mode_flags(const char *mode, Error **errp);
/* A command with the keys env, cwd, stderr, stderr-fd, close-timeout and name; argv is
 * NULL-terminated; searches PATH. */
QIOChannelCommand *qio_channel_command_new_options(const char *const argv[],
                                                   const QIOOptions *options, Error **errp);

/* ---- listener.c ---- */

/* In a forked child: closes the copies of the parent's descriptors, without a lock, which a thread
 * of the parent may have held.  The object stays. */
void qio_net_listener_abandon(QIONetListener *listener);

/* ---- connect.c ---- */

/* Applies nodelay and keep-alive to a socket that has its descriptor. */
int qio_channel_socket_apply_options(QIOChannelSocket *ioc, const QIOOptions *options,
                                     Error **errp);
/* Whether the keys ipv4 and ipv6 leave the address (not INET: any) usable; INVAL if not. */
bool qio_address_check_family(const QIOAddress *addr, const QIOOptions *options, Error **errp);
/* That, and whether it can be connected to at all. */
bool qio_address_check_target(const QIOAddress *addr, const QIOOptions *options, Error **errp);
/* qio_channel_socket_connect_timeout() with the keys ipv4, ipv6, numeric, nodelay, keep-alive. */
int qio_channel_socket_connect_options(QIOChannelSocket *ioc, const QIOAddress *addr,
                                       const QIOOptions *options, int64_t deadline_ns,
                                       bool interruptible, Error **errp);
/* An address of the kind FD as a channel of its own, or in one. */
QIOChannel *qio_address_open_fd(const QIOAddress *addr, Error **errp);
int qio_socket_connect_fd(QIOChannelSocket *ioc, const QIOAddress *addr, Error **errp);
/* Puts what was asked for in front of an error, which names what a name stood for. */
void qio_address_prepend(Error *err, const QIOAddress *addr);

#endif
