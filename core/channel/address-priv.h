/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/address-priv.h: what the files about addresses share with the sockets.
 *
 * Owns: nothing; declares the makers that have no public name.  Any thread.
 */
#ifndef QIO_ADDRESS_PRIV_H
#define QIO_ADDRESS_PRIV_H

#include <qio/address.h>

QIOAddress *qio_address_new_vsock(uint32_t cid, uint32_t port);
QIOAddress *qio_address_new_fd(int fd);
QIOAddress *qio_address_new_fd_name(const char *name);
/* Whether the bytes can be a descriptor's name in LISTEN_FDNAMES. */
bool qio_address_is_fd_name(const char *name, size_t len);

/* The address that starts at text[from]; an error counts the place of the fault from text[0]. */
QIOAddress *qio_address_parse_at(const char *text, size_t from, Error **errp);
/* The same for "host:port" alone. */
QIOAddress *qio_address_parse_inet_at(const char *text, size_t from, Error **errp);

/* A socket address as text for a message; never NULL; for the caller to g_free(). */
char *qio_sockaddr_describe(const struct sockaddr *sa, socklen_t len);

#endif
