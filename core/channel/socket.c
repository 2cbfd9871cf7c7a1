/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket.c: the socket channel: transfers, shutdown, options, close.
 *
 * Owns: the class.  Rules: no transfer waits (MSG_DONTWAIT) or raises SIGPIPE (MSG_NOSIGNAL),
 * so the descriptor's own O_NONBLOCK, which other processes may share, is never looked at or
 * changed.  One block goes by recv and send, which are cheaper than the message calls and let
 * the kernel drop descriptors that nobody asked for.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include "channel/socket-priv.h"

#define SOCKET(ioc) ((QIOChannelSocket *)(ioc))

/* ---- transfers ---- */

static ssize_t transfer_failed(QIOChannelSocket *sioc, const char *what, Error **errp)
{
    int number = errno;

    if (number == EAGAIN || number == EWOULDBLOCK) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (sioc->fd < 0) {
        number = ENOTCONN;
    }
    qio_error_set_errno(errp, number, "cannot %s the socket", what);
    return -1;
}

static ssize_t socket_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp)
{
    QIOChannelSocket *sioc = SOCKET(ioc);
    ssize_t ret;

    if (G_UNLIKELY(fds)) {
        return qio_socket_receive_fds(sioc->fd, iov, niov, fds, nfds, errp);
    }
    do {
        ret = G_LIKELY(niov == 1)
            ? sys_recv(sioc->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT)
            : qio_socket_receive_message(sioc->fd, iov, niov);
    } while (G_UNLIKELY(ret < 0) && errno == EINTR);
    return G_LIKELY(ret >= 0) ? ret : transfer_failed(sioc, "read from", errp);
}

static ssize_t socket_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                             int *fds, size_t nfds, Error **errp)
{
    QIOChannelSocket *sioc = SOCKET(ioc);
    ssize_t ret;

    do {
        ret = G_LIKELY(niov == 1 && nfds == 0)
            ? sys_send(sioc->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
            : qio_socket_send_message(sioc->fd, iov, niov, fds, nfds);
    } while (G_UNLIKELY(ret < 0) && errno == EINTR);
    return G_LIKELY(ret >= 0) ? ret : transfer_failed(sioc, "write to", errp);
}

/* ---- the rest of the class ---- */

static int socket_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    int fd = SOCKET(ioc)->fd;

    if (fd < 0 || cap < 1) {
        return 0;
    }
    out[0].fd = fd;
    out[0].events = condition;
    return 1;
}

static int socket_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    static const int directions[] = {
        [QIO_CHANNEL_SHUTDOWN_BOTH] = SHUT_RDWR,
        [QIO_CHANNEL_SHUTDOWN_READ] = SHUT_RD,
        [QIO_CHANNEL_SHUTDOWN_WRITE] = SHUT_WR,
    };
    int number;

    if (sys_shutdown(SOCKET(ioc)->fd, directions[how]) == 0) {
        return 0;
    }
    number = SOCKET(ioc)->fd < 0 ? ENOTCONN : errno;
    qio_error_set_errno(errp, number, "cannot shut the socket down");
    return -1;
}

/* Hints: a socket that knows no such option ignores them. */
static void set_tcp_flag(QIOChannel *ioc, int option, int value)
{
    sys_setsockopt(SOCKET(ioc)->fd, IPPROTO_TCP, option, &value, sizeof(value));
}

static bool is_inet(QIOChannel *ioc)
{
    return SOCKET(ioc)->family == AF_INET || SOCKET(ioc)->family == AF_INET6;
}

static void socket_set_cork(QIOChannel *ioc, bool enabled)
{
    if (is_inet(ioc)) {
        set_tcp_flag(ioc, TCP_CORK, enabled);
    }
}

static void socket_set_delay(QIOChannel *ioc, bool enabled)
{
    if (is_inet(ioc)) {
        set_tcp_flag(ioc, TCP_NODELAY, !enabled);
    }
}

static int socket_close(QIOChannel *ioc, Error **errp)
{
    QIOChannelSocket *sioc = SOCKET(ioc);
    int fd = sioc->fd;

    if (fd < 0) {
        return 0;
    }
    sioc->fd = -1;
    /* While the socket still listens, so that no other listener can have taken the path for
     * stale and put its own there in between. */
    qio_socket_remove_path(sioc);
    qio_loop_forget_fd(fd);
    /* EINTR: Linux has closed the descriptor all the same. */
    if (sys_close(fd) < 0 && errno != EINTR) {
        qio_error_set_errno(errp, errno, "cannot close the socket");
        return -1;
    }
    return 0;
}

static int socket_take_fd(QIOChannel *ioc, Error **errp)
{
    QIOChannelSocket *sioc = SOCKET(ioc);
    int fd = sioc->fd;

    if (fd < 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "the socket channel has no descriptor yet");
        return -1;
    }
    sioc->fd = -1;
    qio_loop_forget_fd(fd);
    /* It listens on, with its new owner. */
    g_clear_pointer(&sioc->unlink_path, g_free);
    return fd;
}

/* ---- splice ---- */

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* splice has no MSG_DONTWAIT: O_NONBLOCK is set meanwhile if the socket is the library's own. */
static bool begin_splice(QIOChannelSocket *sioc)
{
    int flags = sys_fcntl(sioc->fd, F_GETFL, 0);

    if (flags < 0 || !is_stream(sioc->fd)) {
        return false;
    }
    if (!(flags & O_NONBLOCK)) {
        if (sioc->shared || qio_socket_set_nonblocking(sioc->fd, true) < 0) {
            return false;
        }
        sioc->flag_set = true;
    }
    return true;
}

static int socket_splice_fd(QIOChannel *ioc, GIOCondition condition, bool begin)
{
    QIOChannelSocket *sioc = SOCKET(ioc);

    if (!begin) {
        if (--sioc->splicing == 0 && sioc->flag_set) {
            qio_socket_set_nonblocking(sioc->fd, false);
            sioc->flag_set = false;
        }
        return -1;
    }
    if (sioc->splicing == 0 && !begin_splice(sioc)) {
        return -1;
    }
    sioc->splicing++;
    return sioc->fd;
}

static void socket_instance_init(Object *obj)
{
    SOCKET(obj)->fd = -1;
    SOCKET(obj)->family = AF_UNSPEC;
    qio_channel_set_feature((QIOChannel *)obj, QIO_CHANNEL_FEATURE_SHUTDOWN);
}

static void socket_instance_finalize(Object *obj)
{
    g_free(SOCKET(obj)->unlink_path);
}

static void socket_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = socket_readv;
    ioc_class->io_writev = socket_writev;
    ioc_class->io_close = socket_close;
    ioc_class->io_splice_fd = socket_splice_fd;
    ioc_class->io_shutdown = socket_shutdown;
    ioc_class->io_set_cork = socket_set_cork;
    ioc_class->io_set_delay = socket_set_delay;
    ioc_class->io_poll = socket_poll;
    ioc_class->io_take_fd = socket_take_fd;
}

static const TypeInfo socket_type = {
    .name = TYPE_QIO_CHANNEL_SOCKET,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelSocket),
    .instance_init = socket_instance_init,
    .instance_finalize = socket_instance_finalize,
    .class_init = socket_class_init,
};

static void __attribute__((constructor)) socket_register(void)
{
    qio_type_register_static(&socket_type);
}

/* ---- making ---- */

QIOChannelSocket *qio_channel_socket_new(void)
{
    return (QIOChannelSocket *)qio_object_new(TYPE_QIO_CHANNEL_SOCKET);
}

void qio_socket_adopt(QIOChannelSocket *ioc, int fd, int family)
{
    socklen_t len = sizeof(ioc->local);

    ioc->family = family;
    if (family == AF_UNIX) {
        qio_channel_set_feature(&ioc->parent, QIO_CHANNEL_FEATURE_FD_PASS);
    }
    ioc->local_len = sys_getsockname(fd, (struct sockaddr *)&ioc->local, &len) == 0
        ? MIN(len, (socklen_t)sizeof(ioc->local)) : 0;
    ioc->fd = fd;
}

void qio_socket_set_remote(QIOChannelSocket *ioc, const struct sockaddr *addr, socklen_t len)
{
    ioc->remote_len = MIN(len, (socklen_t)sizeof(ioc->remote));
    memcpy(&ioc->remote, addr, ioc->remote_len);
}

int qio_socket_enter_unopened(QIOChannelSocket *ioc, Error **errp)
{
    if (qio_channel_enter(&ioc->parent, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    if (ioc->fd >= 0) {
        qio_error_set(errp, QIO_ERROR_BUSY, "the socket channel is open already");
        qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
        return -1;
    }
    return 0;
}

int qio_socket_check_unopened(QIOChannelSocket *ioc, Error **errp)
{
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    return qio_channel_leave(&ioc->parent, QIO_USE_ONE, errp);
}

int qio_socket_leave_opened(QIOChannelSocket *ioc, int ret, Error **errp)
{
    if (ret == 0 && qio_channel_closing(&ioc->parent)) {
        qio_error_set(errp, QIO_ERROR_CANCELLED, "the channel was closed while it was opened");
        ret = -1;
    }
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    return ret;
}

static int open_fd_inside(QIOChannelSocket *ioc, int fd, Error **errp)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(int);
    int family;

    if (sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0) {
        if (errno == ENOTSOCK || errno == EBADF) {
            qio_error_set(errp, QIO_ERROR_INVAL, "fd: %d is %s", fd,
                          errno == EBADF ? "not an open descriptor" : "not a socket");
        } else {
            qio_error_set_errno(errp, errno, "cannot ask what kind of socket %d is", fd);
        }
        return -1;
    }
    if (qio_socket_is_listening(fd) && qio_socket_set_nonblocking(fd, true) < 0) {
        qio_error_set_errno(errp, errno, "cannot make the listening socket %d non-blocking", fd);
        return -1;
    }
    ioc->shared = true;
    qio_socket_adopt(ioc, fd, family);
    if (qio_socket_is_listening(fd)) {
        qio_channel_set_feature(&ioc->parent, QIO_CHANNEL_FEATURE_LISTEN);
    }
    len = sizeof(addr);
    if (sys_getpeername(fd, (struct sockaddr *)&addr, &len) == 0) {
        qio_socket_set_remote(ioc, (struct sockaddr *)&addr, len);
    }
    return 0;
}

int qio_socket_open_fd(QIOChannelSocket *ioc, int fd, Error **errp)
{
    int ret;

    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    ret = open_fd_inside(ioc, fd, errp);
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    return ret;
}

QIOChannelSocket *qio_channel_socket_new_fd(int fd, Error **errp)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();

    if (qio_socket_open_fd(ioc, fd, errp) < 0) {
        qio_object_unref(ioc);
        return NULL;
    }
    return ioc;
}

int qio_channel_socket_new_pair(QIOChannelSocket **a, QIOChannelSocket **b, Error **errp)
{
    int fds[2];

    if (!a || !b) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL is no place for a channel", a ? "b" : "a");
        return -1;
    }
    if (sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        qio_error_set_errno(errp, errno, "cannot make a pair of sockets");
        return -1;
    }
    *a = qio_channel_socket_new();
    *b = qio_channel_socket_new();
    qio_socket_adopt(*a, fds[0], AF_UNIX);
    qio_socket_adopt(*b, fds[1], AF_UNIX);
    qio_socket_set_remote(*a, (struct sockaddr *)&(*b)->local, (*b)->local_len);
    qio_socket_set_remote(*b, (struct sockaddr *)&(*a)->local, (*a)->local_len);
    return 0;
}

/* ---- addresses ---- */

int qio_channel_socket_get_sockaddr(QIOChannelSocket *ioc, bool remote,
                                    struct sockaddr_storage *out, Error **errp)
{
    socklen_t len = remote ? ioc->remote_len : ioc->local_len;

    if (len == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, remote ? "the socket is not connected"
                                                    : "the socket has no address yet");
        return -1;
    }
    *out = remote ? ioc->remote : ioc->local;
    return (int)len;
}

static QIOAddress *get_address(QIOChannelSocket *ioc, bool remote, Error **errp)
{
    struct sockaddr_storage addr;
    int len = qio_channel_socket_get_sockaddr(ioc, remote, &addr, errp);

    return len < 0 ? NULL
                   : qio_address_from_sockaddr((struct sockaddr *)&addr, (socklen_t)len, errp);
}

QIOAddress *qio_channel_socket_get_local_address(QIOChannelSocket *ioc, Error **errp)
{
    return get_address(ioc, false, errp);
}

QIOAddress *qio_channel_socket_get_remote_address(QIOChannelSocket *ioc, Error **errp)
{
    return get_address(ioc, true, errp);
}

int qio_channel_socket_get_peer_cred(QIOChannelSocket *ioc, pid_t *pid, uid_t *uid, gid_t *gid,
                                     Error **errp)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    int ret;

    if (qio_channel_enter(&ioc->parent, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    if (ioc->family != AF_UNIX || ioc->remote_len == 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "only a connected unix socket knows who its peer is");
        ret = -1;
    } else {
        ret = sys_getsockopt(ioc->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
        if (ret < 0) {
            qio_error_set_errno(errp, errno, "cannot ask who the peer is");
        }
    }
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    if (ret == 0) {
        if (pid) {
            *pid = cred.pid;
        }
        if (uid) {
            *uid = cred.uid;
        }
        if (gid) {
            *gid = cred.gid;
        }
    }
    return ret;
}
