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

/* A socket address as text for a message; never NULL; for the caller to g_free(). */
char *qio_sockaddr_describe(const struct sockaddr *sa, socklen_t len);

#endif
