/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/address.h: where a socket connects or listens, as data and as text.
 *
 * Owns: QIOAddress.  The text form is the URI of the same thing (tcp://127.0.0.1:80,
 * tcp://[::1]:80, unix:/path, abstract:name, vsock://cid:port, fd:N, fd:NAME); parsing what was
 * printed gives an equal address.  No descriptors, no look-ups of names.  Any thread.
 */
#ifndef QIO_ADDRESS_H
#define QIO_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <qio/error.h>

G_BEGIN_DECLS

typedef enum QIOAddressKind {
    QIO_ADDRESS_INET,
    QIO_ADDRESS_UNIX,
    QIO_ADDRESS_ABSTRACT,
    QIO_ADDRESS_VSOCK,
    QIO_ADDRESS_FD,
} QIOAddressKind;

/**
 * QIOAddress:
 * @host: INET: a numeric IPv4 or IPv6 address without brackets, or a name; "" = any, to listen
 * @path: UNIX: a path of at most 107 bytes; ABSTRACT: the name's @path_len bytes, at most 107
 *   FD with @fd -1: the name of a descriptor in LISTEN_FDNAMES
 * @port: INET, VSOCK; 0 = chosen by the kernel, to listen
 */
typedef struct QIOAddress {
    QIOAddressKind kind;
    char *host;
    char *path;
    size_t path_len;
    uint32_t port;
    uint32_t cid;
    int fd;
} QIOAddress;

/** qio_address_parse: reads the text form; the error names the place of the fault. */
QIOAddress *qio_address_parse(const char *text, Error **errp);
/** qio_address_format: the text form, for the caller to g_free(). */
char *qio_address_format(const QIOAddress *addr);
/** qio_address_new_inet, qio_address_new_unix, qio_address_new_abstract: an address of copies of
 * the arguments, for the caller to qio_address_free().  What is wrong with it is found when it is
 * used. */
QIOAddress *qio_address_new_inet(const char *host, uint32_t port);
QIOAddress *qio_address_new_unix(const char *path);
QIOAddress *qio_address_new_abstract(const char *name, size_t len);
/** qio_address_copy: an equal address, for the caller; NULL gives NULL. */
QIOAddress *qio_address_copy(const QIOAddress *addr);
/** qio_address_free: frees an address and what it holds; NULL is allowed. */
void qio_address_free(QIOAddress *addr);
/** qio_address_equal: whether both name the same; the case of a host name does not count, nor how
 * an IPv6 address is written; NULL equals NULL. */
bool qio_address_equal(const QIOAddress *a, const QIOAddress *b);

/** qio_address_to_sockaddr: the socket address of a numeric INET, a UNIX, ABSTRACT or VSOCK
 * address.  Returns: its length, or -1 (INVAL: out of range, too long; NOTSUP: a name) */
int qio_address_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out, Error **errp);
/** qio_address_from_sockaddr: the address a socket address stands for; NULL (NOTSUP) for a
 * family that has none.  An unnamed unix socket gives UNIX with the path "". */
QIOAddress *qio_address_from_sockaddr(const struct sockaddr *sa, socklen_t len, Error **errp);

G_END_DECLS
#endif
