/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/connect.c: connecting and listening by QIOAddress.
 *
 * Owns: what each kind of address means to a socket channel, and the order in which unix
 * listeners of one directory take their paths.
 * Rules: numeric hosts only, so nothing here looks a name up; a wildcard listens on both
 * families through one IPv6 socket where it can.  Any thread; the channel is new and the
 * caller's.
 */
#include "net/net-priv.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/file.h>
#include "base/sys.h"
#include "channel/socket-priv.h"

/* How long to wait for another process to be done with a directory of unix sockets, which
 * takes it microseconds; and how often to look. */
#define LOCK_WAIT_MS 1000
#define LOCK_LOOK_MS 10

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

static bool check_target(const QIOAddress *addr, Error **errp)
{
    if (addr->kind == QIO_ADDRESS_INET && (addr->host == NULL || addr->host[0] == '\0')) {
        qio_error_set(errp, QIO_ERROR_INVAL, "host: there has to be one to connect to");
        return false;
    }
    if ((addr->kind == QIO_ADDRESS_INET || addr->kind == QIO_ADDRESS_VSOCK) && addr->port == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "port: there has to be one to connect to, not 0");
        return false;
    }
    return true;
}

int qio_channel_socket_connect_timeout(QIOChannelSocket *ioc, const QIOAddress *addr,
                                       int timeout_ms, bool interruptible, Error **errp)
{
    struct sockaddr_storage sa;
    int len;

    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: NULL is no address");
        return -1;
    }
    if (addr->kind == QIO_ADDRESS_FD) {
        return qio_socket_open_fd(ioc, addr->fd, errp);
    }
    if (!check_target(addr, errp)) {
        return -1;
    }
    len = qio_address_to_sockaddr(addr, &sa, errp);
    if (len < 0) {
        return -1;
    }
    return qio_channel_socket_connect_sockaddr(ioc, (struct sockaddr *)&sa, (socklen_t)len,
                                               timeout_ms, interruptible, errp);
}

int qio_channel_socket_connect_sync(QIOChannelSocket *ioc, const QIOAddress *addr, Error **errp)
{
    return qio_channel_socket_connect_timeout(ioc, addr, -1, false, errp);
}

/* ---- listening ---- */

static int listen_on(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                     QIOSocketFamilies families, Error **errp)
{
    struct sockaddr_storage sa;
    int len = qio_address_to_sockaddr(addr, &sa, errp);

    if (len < 0) {
        return -1;
    }
    return qio_socket_listen(ioc, (struct sockaddr *)&sa, (socklen_t)len, backlog, families,
                             errp);
}

/* Moves the error of a first attempt up, unless another attempt has a point. */
static bool is_final(int ret, Error *err, Error **errp, bool other_helps)
{
    if (ret < 0 && other_helps) {
        qio_error_free(err);
        return false;
    }
    if (ret < 0) {
        qio_error_propagate(errp, err);
    }
    return true;
}

/*
 * The wildcard of both families: one socket for both; where the machine has no IPv6, IPv4
 * alone; where another program has the IPv4 side of the port, IPv6 alone.
 */
static int listen_on_both(QIOChannelSocket *ioc, uint32_t port, int backlog, Error **errp)
{
    QIOAddress *any6 = qio_address_new_inet("::", port);
    QIOAddress *any4 = qio_address_new_inet("0.0.0.0", port);
    Error *err = NULL;
    int ret = listen_on(ioc, any6, backlog, QIO_SOCKET_IPV6_AND_IPV4, &err);
    int number = ret < 0 ? qio_error_get_errno(err) : 0;

    if (!is_final(ret, err, errp, number == EAFNOSUPPORT || number == EADDRNOTAVAIL ||
                                  number == EADDRINUSE)) {
        ret = number == EADDRINUSE
            ? listen_on(ioc, any6, backlog, QIO_SOCKET_IPV6_ONLY, errp)
            : listen_on(ioc, any4, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
    }
    qio_address_free(any6);
    qio_address_free(any4);
    return ret;
}

static int listen_inet(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                       const QIOOptions *options, Error **errp)
{
    bool ipv4 = qio_options_get_bool(options, "ipv4", true);
    bool ipv6 = qio_options_get_bool(options, "ipv6", true);
    bool any = addr->host == NULL || addr->host[0] == '\0';
    QIOAddress *one;
    int ret;

    if (!any && strcmp(addr->host, "::") != 0) {
        return listen_on(ioc, addr, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
    }
    if (ipv4 && ipv6) {
        return listen_on_both(ioc, addr->port, backlog, errp);
    }
    one = qio_address_new_inet(ipv6 ? "::" : "0.0.0.0", addr->port);
    ret = listen_on(ioc, one, backlog, ipv6 ? QIO_SOCKET_IPV6_ONLY : QIO_SOCKET_FAMILIES_DEFAULT,
                    errp);
    qio_address_free(one);
    return ret;
}

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

static int listen_unix(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog, Error **errp)
{
    int lock = lock_directory(addr->path);
    int ret = listen_on(ioc, addr, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);

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

static int listen_fd(QIOChannelSocket *ioc, int fd, Error **errp)
{
    if (!qio_socket_is_listening(fd)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fd: %d is not a listening socket", fd);
        return -1;
    }
    return qio_socket_open_fd(ioc, fd, errp);
}

static int listen_kind(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                       const QIOOptions *options, Error **errp)
{
    switch (addr->kind) {
    case QIO_ADDRESS_INET:
        return listen_inet(ioc, addr, backlog, options, errp);
    case QIO_ADDRESS_UNIX:
        return addr->path_len == 0 ? listen_unix_anywhere(ioc, backlog, errp)
                                   : listen_unix(ioc, addr, backlog, errp);
    case QIO_ADDRESS_FD:
        return listen_fd(ioc, addr->fd, errp);
    default:
        return listen_on(ioc, addr, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
    }
}

int qio_channel_socket_listen_options(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                      const QIOOptions *options, Error **errp)
{
    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: NULL is no address");
        return -1;
    }
    if (backlog < 1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "backlog: %d has to be at least 1", backlog);
        return -1;
    }
    if (!qio_address_check_family(addr, options, errp) ||
        listen_kind(ioc, addr, backlog, options, errp) < 0) {
        return -1;
    }
    return qio_channel_socket_apply_options(ioc, options, errp);
}

int qio_channel_socket_listen_sync(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                   Error **errp)
{
    return qio_channel_socket_listen_options(ioc, addr, backlog, NULL, errp);
}
