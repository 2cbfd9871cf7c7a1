/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/resolver.h: names to socket addresses, in threads of the resolver's own.
 *
 * Owns: QIOLookup, one look-up.  Rules: getaddrinfo runs in a worker thread and nowhere else; at
 * most QIO_RESOLVER_THREADS of them, made when there is something to do and gone when there is
 * not.  Who asked waits for a descriptor, and may give the look-up up at any time: it goes on at
 * once and the worker's answer is dropped.  One thread at a time uses a look-up; any may start one.
 */
#ifndef QIO_NET_RESOLVER_H
#define QIO_NET_RESOLVER_H

#include "channel/socket-connect.h"
#include "options/options-priv.h"

#define QIO_RESOLVER_THREADS 4
/* The most addresses of one name that are kept. */
#define QIO_LOOKUP_MAX QIO_CONNECT_MAX

typedef struct QIOLookup QIOLookup;

/* Whether the address is a name, which takes a look-up to become socket addresses. */
bool qio_address_is_name(const QIOAddress *addr);
/* The one socket address of an address that is no name.  Returns: 0, or -1 as
 * qio_address_to_sockaddr() */
int qio_address_to_one(const QIOAddress *addr, QIOSockaddr *out, Error **errp);

/* Begins to look a name up, with the keys ipv4, ipv6 and numeric.  Returns: NULL (INVAL: numeric
 * is on; SYSTEM: no thread or descriptor) */
QIOLookup *qio_lookup_start(const QIOAddress *addr, const QIOOptions *options, Error **errp);
/* Ready for G_IO_IN once it is done; nobody reads it. */
int qio_lookup_fd(const QIOLookup *lookup);
bool qio_lookup_is_done(QIOLookup *lookup);
/* What a look-up that is done found, at least one, in the order of preference; the array is the
 * look-up's.  Returns: how many, or -1 (RESOLVE, with the EAI code as its number) */
int qio_lookup_result(QIOLookup *lookup, const QIOSockaddr **found, Error **errp);
/* Waits, as one who waits for the channel (whose close and cancel end it) if there is one.
 * Returns: 0 it is done, or -1 (TIMEOUT, INTR, CANCELLED) */
int qio_lookup_wait(QIOLookup *lookup, QIOChannelSocket *ioc, int64_t deadline_ns,
                    bool interruptible, Error **errp);
/* Frees it, done or not. */
void qio_lookup_free(QIOLookup *lookup);

/* All that in one: the socket addresses of any address but FD, of which there is at least one, as
 * an array to g_free(); waits only for a name.  Returns: how many, or -1 */
int qio_address_resolve(const QIOAddress *addr, const QIOOptions *options, QIOChannelSocket *ioc,
                        int64_t deadline_ns, bool interruptible, QIOSockaddr **found,
                        Error **errp);

#endif
