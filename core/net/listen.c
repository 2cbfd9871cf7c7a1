/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listen.c: listening by QIOAddress.
 *
 * Owns: which sockets an address stands for when it is listened on (one for each address of a
 * name, the wildcard, the descriptors of a name, a range of ports), and the order in which unix
 * listeners of one directory take their paths.
 * Rules: a wildcard listens on both families through one IPv6 socket where it can; the sockets of
 * one name have one port.  A name is looked up in the resolver's threads while this one waits.
 * Any thread; the channels are new.
 */
#include "net/listen.h"

#include <netinet/in.h>
#include <string.h>
#include "base/sys.h"
#include "channel/channel-priv.h"
#include "channel/socket-priv.h"
#include "net/activation.h"
#include "net/resolver.h"

/* How long to wait for another process to be done with a directory of unix sockets, which
 * takes it microseconds; and how often to look. */
#define LOCK_WAIT_MS 1000
#define LOCK_LOOK_MS 10
/* How often another port is chosen when the one that one address of a name got is not free for
 * the next. */
#define PORT_ATTEMPTS 16

/* What is listened on. */
typedef struct Plan {
    int backlog;
    bool one;
    const QIOSockaddr *places;
    int count;
    bool wildcard;              /* places[0] is it, for both families */
    GPtrArray *made;            /* the sockets, QIOChannelSocket */
    Error *failure;             /* the first */
    bool in_use;                /* a port was not free */
} Plan;

/* ---- inet ---- */

static void set_port(QIOSockaddr *place, uint32_t port)
{
    if (place->addr.ss_family == AF_INET) {
        ((struct sockaddr_in *)&place->addr)->sin_port = htons((uint16_t)port);
    } else if (place->addr.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&place->addr)->sin6_port = htons((uint16_t)port);
    }
}

static uint32_t get_port(QIOChannelSocket *ioc)
{
    QIOAddress *addr = qio_channel_socket_get_local_address(ioc, NULL);
    uint32_t port = addr != NULL ? addr->port : 0;

    qio_address_free(addr);
    return port;
}

static int listen_at(QIOChannelSocket *ioc, const QIOSockaddr *place, int backlog,
                     QIOSocketFamilies families, Error **errp)
{
    return qio_socket_listen(ioc, (const struct sockaddr *)&place->addr, place->len, backlog,
                             families, errp);
}

/*
 * The wildcard of both families: one socket for both; where the machine has no IPv6, IPv4
 * alone; where another program has the IPv4 side of the port, IPv6 alone.
 */
static int listen_on_both(QIOChannelSocket *ioc, const QIOSockaddr *any6, int backlog,
                          Error **errp)
{
    QIOSockaddr any4 = { .len = sizeof(struct sockaddr_in), .addr.ss_family = AF_INET };
    Error *err = NULL;
    int ret = listen_at(ioc, any6, backlog, QIO_SOCKET_IPV6_AND_IPV4, &err);
    int number = ret < 0 ? qio_error_get_errno(err) : 0;

    if (number == EAFNOSUPPORT || number == EADDRNOTAVAIL || number == EADDRINUSE) {
        qio_error_free(err);
        set_port(&any4, ntohs(((const struct sockaddr_in6 *)&any6->addr)->sin6_port));
        return number == EADDRINUSE
            ? listen_at(ioc, any6, backlog, QIO_SOCKET_IPV6_ONLY, errp)
            : listen_at(ioc, &any4, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
    }
    if (ret < 0) {
        qio_error_propagate(errp, err);
    }
    return ret;
}

static bool is_any6(const QIOSockaddr *place)
{
    const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&place->addr;

    return place->addr.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&sin6->sin6_addr);
}

/* One socket of the plan. */
static bool add_socket(Plan *plan, const QIOSockaddr *place)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;
    int ret = plan->wildcard
        ? listen_on_both(ioc, place, plan->backlog, &err)
        : listen_at(ioc, place, plan->backlog, is_any6(place) ? QIO_SOCKET_IPV6_ONLY
                                                              : QIO_SOCKET_FAMILIES_DEFAULT, &err);

    if (ret == 0) {
        g_ptr_array_add(plan->made, ioc);
        return true;
    }
    plan->in_use |= qio_error_get_errno(err) == EADDRINUSE;
    qio_error_propagate(&plan->failure, err);
    qio_object_unref(ioc);
    return false;
}

/* Every place on one port, where 0 is what the first one gets.  Leaves what there is. */
static void try_port(Plan *plan, uint32_t port)
{
    g_ptr_array_set_size(plan->made, 0);
    g_clear_pointer(&plan->failure, qio_error_free);
    plan->in_use = false;
    for (int i = 0; i < plan->count && !(plan->one && plan->made->len > 0); i++) {
        QIOSockaddr place = plan->places[i];

        set_port(&place, port);
        if (add_socket(plan, &place) && port == 0) {
            port = get_port(g_ptr_array_index(plan->made, 0));
        }
    }
}

/* The first port of the range that is free everywhere; with none, what the last one gave. */
static void try_ports(Plan *plan, uint32_t first, uint32_t last)
{
    int attempts = PORT_ATTEMPTS;
    uint32_t port = first;

    for (;;) {
        try_port(plan, port);
        if (!plan->in_use || (first != 0 && port == last) || (first == 0 && --attempts == 0)) {
            return;
        }
        port += first != 0;
    }
}

static bool get_range(const QIOAddress *addr, const QIOOptions *options, uint32_t *last,
                      Error **errp)
{
    *last = (uint32_t)qio_options_get_int(options, "to", addr->port);
    if (qio_options_has(options, "to") && (addr->port == 0 || *last < addr->port)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"to\" is the last port of a range that "
                      "begins with %u; it cannot be %u", addr->port, *last);
        return false;
    }
    return true;
}

/* The wildcard of the families that the options leave. */
static int get_any(const QIOAddress *addr, const QIOOptions *options, Plan *plan,
                   QIOSockaddr **places, Error **errp)
{
    bool ipv4 = qio_options_get_bool(options, "ipv4", true);
    bool ipv6 = qio_options_get_bool(options, "ipv6", true);
    QIOAddress *any = qio_address_new_inet(ipv6 ? "::" : "0.0.0.0", addr->port);
    int count = qio_address_resolve(any, options, NULL, 0, false, places, errp);

    plan->wildcard = ipv4 && ipv6;
    qio_address_free(any);
    return count;
}

static bool is_any(const QIOAddress *addr)
{
    return addr->host == NULL || addr->host[0] == '\0' || strcmp(addr->host, "::") == 0;
}

static void listen_inet(Plan *plan, const QIOAddress *addr, const QIOListenHow *how)
{
    QIOSockaddr *places = NULL;
    uint32_t last;

    if (!get_range(addr, how->options, &last, &plan->failure)) {
        return;
    }
    if (how->count > 0) {
        plan->count = how->count;
    } else if (is_any(addr)) {
        plan->count = get_any(addr, how->options, plan, &places, &plan->failure);
    } else {
        plan->count = qio_address_resolve(addr, how->options, how->waiter, how->deadline_ns,
                                          how->interruptible, &places, &plan->failure);
    }
    if (plan->count > 0) {
        plan->places = how->count > 0 ? how->found : places;
        try_ports(plan, addr->port, last);
    }
    g_free(places);
}

/* ---- unix ---- */

/*
 * Holds a lock on the directory of a path, so that of two processes that find the same stale
 * socket the second one meets the first one's listener, and none looks between another's bind
 * and listen.  Nothing is left behind.  It is a help, not a condition: who may read a directory
 * may lock it for good, so after a while this goes on without.
 * Returns: a descriptor to close, or -1 without a lock
 */
static int lock_directory(const char *path)
{
    int64_t deadline_ns = sys_deadline_ns(LOCK_WAIT_MS);
    char *directory = g_path_get_dirname(path);
    int fd = sys_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    g_free(directory);
    while (fd >= 0 && sys_flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || sys_ms_left(deadline_ns) == 0) {
            sys_close(fd);
            return -1;
        }
        qio_poll_fds(NULL, 0, sys_deadline_ns(LOCK_LOOK_MS), false);
    }
    return fd;
}

/* An address that is one place. */
static int listen_one(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog, Error **errp)
{
    QIOSockaddr place;

    if (qio_address_to_one(addr, &place, errp) < 0) {
        return -1;
    }
    return listen_at(ioc, &place, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
}

static int listen_unix(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog, Error **errp)
{
    int lock = lock_directory(addr->path);
    int ret = listen_one(ioc, addr, backlog, errp);

    if (lock >= 0) {
        sys_close(lock);
    }
    return ret;
}

static int random_bytes(uint8_t *out, size_t len, Error **errp)
{
    ssize_t n;

    do {
        n = sys_getrandom(out, len, 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len) {
        qio_error_set_errno(errp, n < 0 ? errno : EIO, "cannot make up a name for a socket");
        return -1;
    }
    return 0;
}

/* An empty path: a name that nobody has, in the directory for temporary files. */
static int listen_unix_anywhere(QIOChannelSocket *ioc, int backlog, Error **errp)
{
    Error *err = NULL;
    int ret = -1;

    for (int attempt = 0; attempt < 100 && ret < 0; attempt++) {
        uint8_t random[8];
        QIOAddress *addr;
        char *path;

        g_clear_pointer(&err, qio_error_free);
        if (random_bytes(random, sizeof(random), errp) < 0) {
            return -1;
        }
        path = g_strdup_printf("%s/qio-%02x%02x%02x%02x%02x%02x%02x%02x", g_get_tmp_dir(),
                               random[0], random[1], random[2], random[3], random[4],
                               random[5], random[6], random[7]);
        addr = qio_address_new_unix(path);
        ret = listen_unix(ioc, addr, backlog, &err);
        qio_address_free(addr);
        g_free(path);
        if (ret < 0 && qio_error_get_errno(err) != EADDRINUSE) {
            break;
        }
    }
    if (ret < 0) {
        qio_error_propagate(errp, err);
    }
    return ret;
}

static void listen_path(Plan *plan, const QIOAddress *addr)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    int ret = addr->kind == QIO_ADDRESS_UNIX && addr->path_len == 0
        ? listen_unix_anywhere(ioc, plan->backlog, &plan->failure)
        : addr->kind == QIO_ADDRESS_UNIX ? listen_unix(ioc, addr, plan->backlog, &plan->failure)
                                         : listen_one(ioc, addr, plan->backlog, &plan->failure);

    if (ret == 0) {
        g_ptr_array_add(plan->made, ioc);
    } else {
        qio_object_unref(ioc);
    }
}

/* ---- descriptors ---- */

static bool listen_fd(Plan *plan, int fd, const char *name)
{
    QIOChannelSocket *ioc;

    if (!qio_socket_is_listening(fd)) {
        qio_error_set(&plan->failure, QIO_ERROR_INVAL, "fd: %s is not a listening socket", name);
        return false;
    }
    ioc = qio_channel_socket_new_fd(fd, &plan->failure);
    if (ioc != NULL) {
        g_ptr_array_add(plan->made, ioc);
    }
    return ioc != NULL;
}

/* Gives the descriptors back that the channels of a failed attempt have. */
static void forget_fds(Plan *plan)
{
    for (guint i = 0; i < plan->made->len; i++) {
        QIOChannel *ioc = g_ptr_array_index(plan->made, i);

        qio_channel_class(ioc)->io_take_fd(ioc, NULL);
    }
    g_ptr_array_set_size(plan->made, 0);
}

static void listen_named(Plan *plan, const char *name)
{
    GArray *fds = qio_activation_begin(name, &plan->failure);
    bool all = fds != NULL;

    if (all && plan->one && fds->len > 1) {
        qio_error_set(&plan->failure, QIO_ERROR_INVAL, "fd: %u descriptors have the name, and a "
                      "channel has one", fds->len);
        all = false;
    }
    for (guint i = 0; all && i < fds->len; i++) {
        all = listen_fd(plan, g_array_index(fds, QIOActivated, i).fd, name);
    }
    if (!all) {
        forget_fds(plan);
    }
    if (fds != NULL) {
        qio_activation_end(fds, all);
    }
}

static void listen_number(Plan *plan, int fd)
{
    char name[16];

    g_snprintf(name, sizeof(name), "%d", fd);
    listen_fd(plan, fd, name);
}

/* ---- all of them ---- */

static void run_plan(Plan *plan, const QIOAddress *addr, const QIOListenHow *how)
{
    switch (addr->kind) {
    case QIO_ADDRESS_INET:
        listen_inet(plan, addr, how);
        break;
    case QIO_ADDRESS_FD:
        if (addr->fd < 0) {
            listen_named(plan, addr->path);
        } else {
            listen_number(plan, addr->fd);
        }
        break;
    default:
        listen_path(plan, addr);
        break;
    }
}

static bool apply_options(const GPtrArray *made, const QIOOptions *options, Error **errp)
{
    for (guint i = 0; i < made->len; i++) {
        if (qio_channel_socket_apply_options(g_ptr_array_index(made, i), options, errp) < 0) {
            return false;
        }
    }
    return true;
}

GPtrArray *qio_address_listen(const QIOAddress *addr, const QIOListenHow *how, Error **errp)
{
    Plan plan = { .backlog = how->backlog, .one = how->one };

    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: NULL is no address");
        return NULL;
    }
    if (how->backlog < 1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "backlog: %d has to be at least 1", how->backlog);
        return NULL;
    }
    if (!qio_address_check_family(addr, how->options, errp)) {
        return NULL;
    }
    plan.made = g_ptr_array_new_with_free_func(qio_object_unref);
    run_plan(&plan, addr, how);
    if (plan.made->len == 0) {
        qio_error_propagate(errp, plan.failure);
        g_ptr_array_unref(plan.made);
        return NULL;
    }
    qio_error_free(plan.failure);
    if (!apply_options(plan.made, how->options, errp)) {
        g_ptr_array_unref(plan.made);
        return NULL;
    }
    return plan.made;
}

int qio_channel_socket_listen_how(QIOChannelSocket *ioc, const QIOAddress *addr,
                                  const QIOListenHow *how, Error **errp)
{
    QIOListenHow inside = *how;
    GPtrArray *made;

    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    inside.waiter = ioc;
    made = qio_address_listen(addr, &inside, errp);
    if (made != NULL) {
        qio_socket_move_listener(ioc, g_ptr_array_index(made, 0));
        g_ptr_array_unref(made);
    }
    return qio_socket_leave_opened(ioc, made != NULL ? 0 : -1, errp);
}

int qio_channel_socket_listen_sync(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                   Error **errp)
{
    QIOListenHow how = { .backlog = backlog, .deadline_ns = QIO_NEVER, .one = true };

    return qio_channel_socket_listen_how(ioc, addr, &how, errp);
}
