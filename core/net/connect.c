/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/connect.c: connecting by QIOAddress.
 *
 * Owns: what each kind of address means to a socket channel that connects, and the options of
 * connected sockets.
 * Rules: a name is looked up in the resolver's threads while this one waits; every address that it
 * stands for takes part in the race.  The channel is entered before anything is looked up, so that
 * a close or a cancel ends that wait too.  Any thread.
 */
#include "net/net-priv.h"

#include <netinet/in.h>
#include "base/sys.h"
#include "channel/socket-priv.h"
#include "net/activation.h"
#include "net/resolver.h"

static bool is_family(const QIOAddress *addr, int family)
{
    struct sockaddr_storage sa;

    return addr->host[0] != '\0' && qio_address_to_sockaddr(addr, &sa, NULL) >= 0 &&
           sa.ss_family == family;
}

/* ---- options ---- */

bool qio_address_check_family(const QIOAddress *addr, const QIOOptions *options, Error **errp)
{
    bool ipv4 = qio_options_get_bool(options, "ipv4", true);
    bool ipv6 = qio_options_get_bool(options, "ipv6", true);

    if (addr->kind != QIO_ADDRESS_INET || (ipv4 && ipv6)) {
        return true;
    }
    if (!ipv4 && !ipv6) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the keys \"ipv4\" and \"ipv6\" are both off");
        return false;
    }
    if (is_family(addr, ipv4 ? AF_INET6 : AF_INET)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the host \"%s\" is an %s address, and the key "
                      "\"%s\" is off", addr->host, ipv4 ? "IPv6" : "IPv4",
                      ipv4 ? "ipv6" : "ipv4");
        return false;
    }
    return true;
}

int qio_channel_socket_apply_options(QIOChannelSocket *ioc, const QIOOptions *options,
                                     Error **errp)
{
    int fd, on;

    if (qio_options_has(options, "nodelay")) {
        qio_channel_set_delay((QIOChannel *)ioc, !qio_options_get_bool(options, "nodelay", false));
    }
    if (!qio_options_has(options, "keep-alive")) {
        return 0;
    }
    fd = qio_channel_get_fd((QIOChannel *)ioc, errp);
    if (fd < 0) {
        return -1;
    }
    on = qio_options_get_bool(options, "keep-alive", false);
    if (sys_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0) {
        qio_error_set_errno(errp, errno, "cannot set keep-alive");
        return -1;
    }
    return 0;
}

/* ---- connecting ---- */

bool qio_address_check_target(const QIOAddress *addr, const QIOOptions *options, Error **errp)
{
    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: NULL is no address");
        return false;
    }
    if (addr->kind == QIO_ADDRESS_INET && (addr->host == NULL || addr->host[0] == '\0')) {
        qio_error_set(errp, QIO_ERROR_INVAL, "host: there has to be one to connect to, "
                      "as in tcp://localhost:%u", addr->port);
        return false;
    }
    if ((addr->kind == QIO_ADDRESS_INET || addr->kind == QIO_ADDRESS_VSOCK) && addr->port == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "port: there has to be one to connect to, not 0");
        return false;
    }
    return qio_address_check_family(addr, options, errp);
}

/* The descriptor that a service manager passed under a name, of which there has to be one. */
static GArray *begin_one(const char *name, Error **errp)
{
    GArray *fds = qio_activation_begin(name, errp);

    if (fds != NULL && fds->len > 1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fd: the name \"%s\" stands for %u descriptors; they "
                      "can be listened on, but a channel has one", name, fds->len);
        qio_activation_end(fds, false);
        return NULL;
    }
    return fds;
}

int qio_socket_connect_fd(QIOChannelSocket *ioc, const QIOAddress *addr, Error **errp)
{
    GArray *fds;
    int ret;

    if (addr->fd >= 0) {
        return qio_socket_open_fd(ioc, addr->fd, errp);
    }
    fds = begin_one(addr->path, errp);
    if (fds == NULL) {
        return -1;
    }
    ret = qio_socket_open_fd(ioc, g_array_index(fds, QIOActivated, 0).fd, errp);
    qio_activation_end(fds, ret == 0);
    return ret;
}

QIOChannel *qio_address_open_fd(const QIOAddress *addr, Error **errp)
{
    QIOChannel *ioc;
    GArray *fds;

    if (addr->fd >= 0) {
        return qio_channel_new_fd(addr->fd, errp);
    }
    fds = begin_one(addr->path, errp);
    if (fds == NULL) {
        return NULL;
    }
    ioc = qio_channel_new_fd(g_array_index(fds, QIOActivated, 0).fd, errp);
    qio_activation_end(fds, ioc != NULL);
    return ioc;
}

void qio_address_prepend(Error *err, const QIOAddress *addr)
{
    char *text;

    if (qio_address_is_name(addr)) {
        text = qio_address_format(addr);
        qio_error_prepend(err, "%s: ", text);
        g_free(text);
    }
}

static int connect_inside(QIOChannelSocket *ioc, const QIOAddress *addr,
                          const QIOOptions *options, int64_t deadline_ns, bool interruptible,
                          Error **errp)
{
    QIOSockaddr *found;
    int count = qio_address_resolve(addr, options, ioc, deadline_ns, interruptible, &found, errp);
    Error *err = NULL;
    int ret;

    if (count < 0) {
        return -1;
    }
    ret = qio_connect_run(qio_connect_new(found, (size_t)count), ioc, deadline_ns, interruptible,
                          &err);
    g_free(found);
    if (ret < 0) {
        qio_address_prepend(err, addr);
        qio_error_propagate(errp, err);
    }
    return ret;
}

int qio_channel_socket_connect_options(QIOChannelSocket *ioc, const QIOAddress *addr,
                                       const QIOOptions *options, int64_t deadline_ns,
                                       bool interruptible, Error **errp)
{
    int ret;

    if (!qio_address_check_target(addr, options, errp)) {
        return -1;
    }
    if (addr->kind == QIO_ADDRESS_FD) {
        return qio_socket_connect_fd(ioc, addr, errp);
    }
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    ret = connect_inside(ioc, addr, options, deadline_ns, interruptible, errp);
    ret = qio_socket_leave_opened(ioc, ret, errp);
    return ret < 0 ? -1 : qio_channel_socket_apply_options(ioc, options, errp);
}

int qio_channel_socket_connect_timeout(QIOChannelSocket *ioc, const QIOAddress *addr,
                                       int timeout_ms, bool interruptible, Error **errp)
{
    return qio_channel_socket_connect_options(ioc, addr, NULL, sys_deadline_ns(timeout_ms),
                                              interruptible, errp);
}

int qio_channel_socket_connect_sync(QIOChannelSocket *ioc, const QIOAddress *addr, Error **errp)
{
    return qio_channel_socket_connect_timeout(ioc, addr, -1, false, errp);
}
