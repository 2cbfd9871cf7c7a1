/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/dns-resolver.c: the addresses that a host name stands for, for programs.
 *
 * Owns: the one object, which lives as long as the process, and the operation of looking up.
 * Any thread.
 */
#include <qio/dns-resolver.h>

#include <pthread.h>
#include "base/sys.h"
#include "net/search.h"

struct QIODNSResolver {
    Object parent;
};

static const TypeInfo resolver_type = {
    .name = TYPE_QIO_DNS_RESOLVER,
    .instance_size = sizeof(QIODNSResolver),
};

static void __attribute__((constructor)) resolver_register(void)
{
    qio_type_register_static(&resolver_type);
}

static QIODNSResolver *instance;
static pthread_once_t instance_once = PTHREAD_ONCE_INIT;

static void make_instance(void)
{
    instance = (QIODNSResolver *)qio_object_new(TYPE_QIO_DNS_RESOLVER);
}

QIODNSResolver *qio_dns_resolver_get_instance(void)
{
    pthread_once(&instance_once, make_instance);
    return instance;
}

/* ---- what was found ---- */

static void free_address(gpointer addr)
{
    qio_address_free(addr);
}

static void free_addresses(gpointer addresses)
{
    g_ptr_array_unref(addresses);
}

static GPtrArray *addresses_new(void)
{
    return g_ptr_array_new_with_free_func(free_address);
}

static GPtrArray *addresses_of(const QIOSockaddr *found, int count)
{
    GPtrArray *addresses = addresses_new();

    for (int i = 0; i < count; i++) {
        QIOAddress *addr = qio_address_from_sockaddr((const struct sockaddr *)&found[i].addr,
                                                     found[i].len, NULL);

        if (addr != NULL) {
            g_ptr_array_add(addresses, addr);
        }
    }
    return addresses;
}

/* Gives the addresses to the caller; NULL has none. */
static void give(GPtrArray *addresses, size_t *naddrs, QIOAddress ***addrs)
{
    *naddrs = addresses != NULL ? addresses->len : 0;
    *addrs = NULL;
    if (addresses != NULL) {
        *addrs = g_new0(QIOAddress *, addresses->len + 1);
        for (guint i = 0; i < addresses->len; i++) {
            (*addrs)[i] = qio_address_copy(g_ptr_array_index(addresses, i));
        }
        g_ptr_array_unref(addresses);
    }
}

int qio_dns_resolver_lookup_sync(QIODNSResolver *resolver, const QIOAddress *addr,
                                 size_t *naddrs, QIOAddress ***addrs, Error **errp)
{
    GPtrArray *addresses;
    QIOSockaddr *found;
    int count;

    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: NULL is no address");
        return -1;
    }
    if (qio_address_is_name(addr)) {
        count = qio_address_resolve(addr, NULL, NULL, QIO_NEVER, false, &found, errp);
        if (count < 0) {
            return -1;
        }
        addresses = addresses_of(found, count);
        g_free(found);
    } else {
        addresses = addresses_new();
        g_ptr_array_add(addresses, qio_address_copy(addr));
    }
    give(addresses, naddrs, addrs);
    return 0;
}

/* ---- in a loop ---- */

static void lookup_finish(QIOTask *task, gpointer opaque)
{
    qio_search_clear(opaque);
    g_free(opaque);
}

static void lookup_found(QIOTask *task, const QIOSockaddr *found, int count)
{
    qio_task_complete(task, addresses_of(found, count), free_addresses);
}

static void lookup_begin(QIOTask *task)
{
    QIOSearch *search = qio_task_get_state(task);
    GPtrArray *addresses;

    if (qio_address_is_name(search->addr)) {
        qio_search_begin(task);
        return;
    }
    addresses = addresses_new();
    g_ptr_array_add(addresses, qio_address_copy(search->addr));
    qio_task_complete(task, addresses, free_addresses);
}

QIOTask *qio_dns_resolver_lookup_task(QIODNSResolver *resolver, const QIOAddress *addr,
                                      const QIOOptions *options, AioContext *ctx,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)resolver, ctx, func, opaque, destroy);
    Error *err = NULL;
    QIOSearch *search;

    if (addr == NULL) {
        qio_error_set(&err, QIO_ERROR_INVAL, "addr: NULL is no address");
        qio_task_fail(task, err);
        return task;
    }
    search = g_new0(QIOSearch, 1);
    qio_search_init(search, addr, options, lookup_found);
    qio_task_set_deadline(task, qio_options_get_ms(options, "timeout", -1));
    qio_task_set_finish(task, lookup_finish, search);
    qio_task_begin_in_loop(task, lookup_begin);
    return task;
}

void qio_dns_resolver_lookup_async(QIODNSResolver *resolver, const QIOAddress *addr,
                                   QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                   AioContext *ctx)
{
    qio_task_unref(qio_dns_resolver_lookup_task(resolver, addr, NULL, ctx, func, opaque, destroy));
}

void qio_dns_resolver_lookup_result(QIODNSResolver *resolver, QIOTask *task, size_t *naddrs,
                                    QIOAddress ***addrs)
{
    give(qio_task_take_result(task), naddrs, addrs);
}
