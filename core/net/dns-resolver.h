/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/dns-resolver.h: the addresses that a host name stands for.
 *
 * Owns: QIODNSResolver, of which there is one.  Connecting and listening look names up themselves;
 * this is for who wants the addresses.
 * Rules: getaddrinfo runs in at most four threads of the resolver's own; waiting for one, or in a
 * loop, holds nobody up.  Any thread.
 */
#ifndef QIO_DNS_RESOLVER_H
#define QIO_DNS_RESOLVER_H

#include <qio/address.h>
#include <qio/object.h>
#include <qio/options.h>
#include <qio/task.h>

G_BEGIN_DECLS

#define TYPE_QIO_DNS_RESOLVER "qio-dns-resolver"
#define QIO_DNS_RESOLVER(obj) OBJECT_CHECK(QIODNSResolver, (obj), TYPE_QIO_DNS_RESOLVER)

typedef struct QIODNSResolver QIODNSResolver;

/** qio_dns_resolver_get_instance: the resolver, which is the library's. */
QIODNSResolver *qio_dns_resolver_get_instance(void);

/**
 * qio_dns_resolver_lookup_sync:
 * @addr: of any kind
 * @naddrs, @addrs: an array of addresses, for the caller to qio_address_free() each and g_free()
 *
 * An INET address becomes the numeric ones that it stands for, in the order of preference; any
 * other, and one that is numeric, a copy of itself.  Waits as long as it takes.
 * Returns: 0, or -1 (RESOLVE, with the EAI code as the error's number)
 */
int qio_dns_resolver_lookup_sync(QIODNSResolver *resolver, const QIOAddress *addr,
                                 size_t *naddrs, QIOAddress ***addrs, Error **errp);

/**
 * qio_dns_resolver_lookup_task, qio_dns_resolver_lookup_async:
 * @options: the keys ipv4, ipv6, numeric and timeout (without one there is no limit), or NULL
 * @ctx ... @destroy: as qio_task_new(); its source is the resolver
 *
 * The same as an operation; see qio_dns_resolver_lookup_result().
 * Returns: a task, one reference to the caller
 */
QIOTask *qio_dns_resolver_lookup_task(QIODNSResolver *resolver, const QIOAddress *addr,
                                      const QIOOptions *options, AioContext *ctx,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
void qio_dns_resolver_lookup_async(QIODNSResolver *resolver, const QIOAddress *addr,
                                   QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                   AioContext *ctx);
/** qio_dns_resolver_lookup_result: what a task of these found, once; as
 * qio_dns_resolver_lookup_sync().  *@naddrs is 0 when it failed or somebody has taken it. */
void qio_dns_resolver_lookup_result(QIODNSResolver *resolver, QIOTask *task, size_t *naddrs,
                                    QIOAddress ***addrs);

G_END_DECLS
#endif
