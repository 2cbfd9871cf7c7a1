/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/net-priv.h: what the files of core/net, the flat ABI and the tests share, and programs
 * do not see.
 *
 * Owns: the shape of the register of option keys, and the few functions that open something
 * from a set of options without a URI.  Any thread.
 */
#ifndef QIO_NET_NET_PRIV_H
#define QIO_NET_NET_PRIV_H

#include <qio/channel-command.h>
#include <qio/channel-socket.h>
#include <qio/net-listener.h>
#include <qio/options.h>
#include <qio/uri.h>
#include "loop/loop.h"

/* How long opening may take in all when the key "timeout" says nothing. */
#define QIO_OPEN_TIMEOUT_MS 30000

/* ---- option-keys.c ---- */

typedef enum QIOOptionType {
    QIO_OPTION_TEXT,
    QIO_OPTION_SWITCH,          /* on, off */
    QIO_OPTION_NUMBER,          /* min to max */
    QIO_OPTION_OCTAL,           /* min to max */
    QIO_OPTION_SECONDS,         /* decimal, at most max; none, off */
    QIO_OPTION_CHOICE,          /* one of choices */
    QIO_OPTION_CHOICES,         /* several of choices, separated by commas */
    QIO_OPTION_VARIABLE,        /* NAME=value; empty = no variable at all */
} QIOOptionType;

/*
 * One key.
 * list: may be given several times
 * in_uri: whether a URI may carry it; "allow" is the caller's alone
 * schemes: bits 1 << QIOScheme of those that have a use for it
 */
typedef struct QIOOptionKey {
    const char *name;
    QIOOptionType type;
    bool list;
    bool in_uri;
    uint32_t schemes;
    int64_t min, max;
    const char *const *choices;
} QIOOptionKey;

/* The register, in alphabetical order. */
const QIOOptionKey *qio_options_known_keys(size_t *count);
/* The key of that name, or NULL with INVAL, which names the nearest one. */
const QIOOptionKey *qio_option_key_find(const char *name, Error **errp);
/* Whether the value is what the key takes; INVAL says what would be right. */
bool qio_option_key_check(const QIOOptionKey *key, const char *value, Error **errp);
/* A time in seconds as milliseconds, a part of one counting whole; -1 = none; -2 = no such. */
int qio_option_parse_ms(const char *value);
/* The one of names (NULL-terminated, not empty) that takes the fewest edits to become text. */
const char *qio_nearest_name(const char *text, const char *const *names);

/* ---- options.c ---- */

/* Whether every key that is set has a use with the scheme; INVAL names both. */
bool qio_options_check_scheme(const QIOOptions *options, QIOScheme scheme, Error **errp);
/* Puts what `over` has in the place of what `options` has. */
void qio_options_override(QIOOptions *options, const QIOOptions *over);
bool qio_options_equal(const QIOOptions *a, const QIOOptions *b);

/* ---- uri.c ---- */

/* The name of a scheme, without the colon. */
const char *qio_scheme_name(QIOScheme scheme);
/* The URI and the caller's options in one: parses, overrides, and checks what the caller's
 * key "allow" says.  The options of the result are complete. */
QIOUri *qio_uri_parse_allowed(const char *text, const QIOOptions *options, Error **errp);

/* ---- open.c ---- */

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
/* qio_channel_socket_listen_sync() with the keys ipv4, ipv6, nodelay, keep-alive; accepted
 * channels inherit the latter two. */
int qio_channel_socket_listen_options(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                      const QIOOptions *options, Error **errp);

#endif
