/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-listen.c: listening and accepting.
 *
 * Owns: the making of listeners, and the path of a unix one.  Rules: a listener is
 * non-blocking, since a client that goes away between poll and accept would hold a blocking
 * one up.  A path is removed only if we put it there, it is still the same inode, and this is
 * still the process that did; a path in our way is removed only if it is a socket that nobody
 * listens on.
 */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include "base/fork.h"
#include "channel/address-priv.h"
#include "channel/socket-priv.h"

bool qio_socket_is_listening(int fd)
{
    socklen_t len = sizeof(int);
    int listening = 0;

    return sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

int qio_socket_set_nonblocking(int fd, bool enabled)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);

    if (flags < 0) {
        return -1;
    }
    return sys_fcntl(fd, F_SETFL, enabled ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/* ---- the path of a unix listener ---- */

/* The path of a unix socket address, or NULL (another family, unnamed, abstract). */
static char *path_of(const struct sockaddr *addr, socklen_t len)
{
    const struct sockaddr_un *sun = (const struct sockaddr_un *)addr;
    size_t start = offsetof(struct sockaddr_un, sun_path);

    if (addr->sa_family != AF_UNIX || len <= start || sun->sun_path[0] == '\0') {
        return NULL;
    }
    return g_strndup(sun->sun_path, MIN(len - start, sizeof(sun->sun_path)));
}

static bool is_same_file(const char *path, dev_t dev, ino_t ino)
{
    struct stat st;

    return sys_lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == dev &&
           st.st_ino == ino;
}

static void remember_path(QIOChannelSocket *ioc, const char *path)
{
    struct stat st;

    if (sys_lstat(path, &st) == 0) {
        ioc->unlink_path = g_strdup(path);
        ioc->unlink_dev = st.st_dev;
        ioc->unlink_ino = st.st_ino;
        ioc->unlink_epoch = qio_fork_epoch();
    }
}

void qio_socket_remove_path(QIOChannelSocket *ioc)
{
    if (ioc->unlink_path && ioc->unlink_epoch == qio_fork_epoch() &&
        is_same_file(ioc->unlink_path, ioc->unlink_dev, ioc->unlink_ino)) {
        sys_unlink(ioc->unlink_path);
    }
    g_clear_pointer(&ioc->unlink_path, g_free);
}

/* Removes a socket that nobody listens on; false when the path has to stay. */
static bool remove_stale(const char *path, const struct sockaddr *addr, socklen_t len)
{
    struct stat st;
    bool refused;
    int fd;

    if (sys_lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    refused = sys_connect(fd, addr, len) < 0 && errno == ECONNREFUSED;
    sys_close(fd);
    return refused && is_same_file(path, st.st_dev, st.st_ino) && sys_unlink(path) == 0;
}

/* ---- listening ---- */

static int bind_path(int fd, const char *path, const struct sockaddr *addr, socklen_t len)
{
    if (sys_bind(fd, addr, len) == 0) {
        return 0;
    }
    if (errno != EADDRINUSE || !path) {
        return -1;
    }
    if (!remove_stale(path, addr, len)) {
        errno = EADDRINUSE;
        return -1;
    }
    return sys_bind(fd, addr, len);
}

static void set_listen_error(const struct sockaddr *addr, socklen_t len, Error **errp)
{
    int number = errno;
    char *where = qio_sockaddr_describe(addr, len);

    qio_error_set_errno(errp, number, "cannot listen on %s", where);
    g_free(where);
}

/* What has to be set before bind.  Returns 0, or -1 with errno. */
static int prepare(int fd, int family, QIOSocketFamilies families)
{
    int one = 1;
    int ipv6_only = families == QIO_SOCKET_IPV6_ONLY;

    if ((family == AF_INET || family == AF_INET6) &&
        sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0) {
        return -1;
    }
    if (family != AF_INET6 || families == QIO_SOCKET_FAMILIES_DEFAULT) {
        return 0;
    }
    return sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &ipv6_only, sizeof(ipv6_only));
}

static int listen_inside(QIOChannelSocket *ioc, const struct sockaddr *addr, socklen_t len,
                         int backlog, QIOSocketFamilies families, Error **errp)
{
    char *path = path_of(addr, len);
    int fd = sys_socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || prepare(fd, addr->sa_family, families) < 0 ||
        bind_path(fd, path, addr, len) < 0) {
        goto fail;
    }
    if (path) {
        remember_path(ioc, path);
    }
    if (sys_listen(fd, backlog) < 0) {
        goto fail;
    }
    g_free(path);
    qio_socket_adopt(ioc, fd, addr->sa_family);
    qio_channel_set_feature(&ioc->parent, QIO_CHANNEL_FEATURE_LISTEN);
    return 0;

fail:
    set_listen_error(addr, len, errp);
    qio_socket_remove_path(ioc);
    g_free(path);
    if (fd >= 0) {
        sys_close(fd);
    }
    return -1;
}

int qio_socket_listen(QIOChannelSocket *ioc, const struct sockaddr *addr, socklen_t len,
                      int backlog, QIOSocketFamilies families, Error **errp)
{
    int ret;

    if (!addr || len < sizeof(addr->sa_family) || len > sizeof(struct sockaddr_storage)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: %u bytes at %p are no socket address",
                      len, (const void *)addr);
        return -1;
    }
    if (backlog < 1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "backlog: %d has to be at least 1", backlog);
        return -1;
    }
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    ret = listen_inside(ioc, addr, len, backlog, families, errp);
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    return ret;
}

int qio_channel_socket_listen_sockaddr(QIOChannelSocket *ioc, const struct sockaddr *addr,
                                       socklen_t len, int backlog, Error **errp)
{
    return qio_socket_listen(ioc, addr, len, backlog, QIO_SOCKET_FAMILIES_DEFAULT, errp);
}

void qio_socket_move_listener(QIOChannelSocket *to, QIOChannelSocket *from)
{
    int fd = from->fd;

    from->fd = -1;
    to->unlink_path = g_steal_pointer(&from->unlink_path);
    to->unlink_dev = from->unlink_dev;
    to->unlink_ino = from->unlink_ino;
    to->unlink_epoch = from->unlink_epoch;
    qio_socket_adopt(to, fd, from->family);
    qio_channel_set_feature(&to->parent, QIO_CHANNEL_FEATURE_LISTEN);
}

/* ---- accepting ---- */

/* What befell a client that is gone again: the next one may be fine.  EOPNOTSUPP, which is in
 * accept's list of these, also means that the socket cannot accept at all. */
static bool is_passing(int number)
{
    switch (number) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void set_accept_error(QIOChannelSocket *ioc, Error **errp)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        qio_error_set(errp, QIO_ERROR_AGAIN, "no client waits to be accepted");
    } else if (errno == EINVAL || errno == EOPNOTSUPP || ioc->fd < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the socket does not listen");
    } else {
        qio_error_set_errno(errp, errno, "cannot accept a client");
    }
}

static QIOChannelSocket *accept_inside(QIOChannelSocket *ioc, Error **errp)
{
    struct sockaddr_storage addr;
    QIOChannelSocket *client;
    socklen_t len;
    int fd;

    do {
        len = sizeof(addr);
        fd = sys_accept4(ioc->fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC);
    } while (fd < 0 && is_passing(errno));
    if (fd < 0) {
        set_accept_error(ioc, errp);
        return NULL;
    }
    client = qio_channel_socket_new();
    qio_socket_set_remote(client, (struct sockaddr *)&addr, len);
    qio_socket_adopt(client, fd, ioc->family);
    return client;
}

QIOChannelSocket *qio_channel_socket_try_accept(QIOChannelSocket *ioc, Error **errp)
{
    QIOChannelSocket *client;

    if (qio_channel_enter(&ioc->parent, QIO_USE_ONE, errp) < 0) {
        return NULL;
    }
    client = accept_inside(ioc, errp);
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    return client;
}

QIOChannelSocket *qio_channel_socket_accept(QIOChannelSocket *ioc, Error **errp)
{
    int64_t deadline_ns = 0;
    Error *err = NULL;
    QIOChannelSocket *client;

    for (;;) {
        client = qio_channel_socket_try_accept(ioc, &err);
        if (client || qio_error_get_code(err) != QIO_ERROR_AGAIN ||
            !qio_channel_get_blocking(&ioc->parent)) {
            break;
        }
        g_clear_pointer(&err, qio_error_free);
        if (qio_channel_block(&ioc->parent, G_IO_IN, 0, &deadline_ns, &err) < 0) {
            break;
        }
    }
    if (err) {
        qio_error_propagate(errp, err);
    }
    return client;
}
