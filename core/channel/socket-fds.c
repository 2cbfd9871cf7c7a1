/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-fds.c: messages: several blocks, and descriptors that travel along.
 *
 * Owns: the building and the taking apart of control data.  Rules: room for all that one
 * message can carry, so that only a real shortage (descriptor table full, a security module)
 * truncates; what was cut short is an error, and what did arrive is closed.  Received
 * descriptors are close-on-exec; their O_NONBLOCK is the sender's too and is left alone.
 */
#include "channel/socket-priv.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

/* Room for the descriptors, and beside them for what a socket set up elsewhere may deliver:
 * credentials (SO_PASSCRED), a pidfd (SO_PASSPIDFD). */
typedef union Control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * QIO_CHANNEL_MAX_FDS) +
               CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
} Control;

static void attach_fds(struct msghdr *msg, Control *control, const int *fds, size_t nfds)
{
    struct cmsghdr *cmsg;

    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
    memset(control, 0, msg->msg_controllen);
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
    memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
}

ssize_t qio_socket_send_message(int fd, const struct iovec *iov, size_t niov, const int *fds,
                                size_t nfds)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = niov };
    Control control;

    if (nfds > QIO_CHANNEL_MAX_FDS) {
        errno = EINVAL;
        return -1;
    }
    if (nfds > 0) {
        attach_fds(&msg, &control, fds, nfds);
    }
    return sys_sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t qio_socket_receive_message(int fd, const struct iovec *iov, size_t niov)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = niov };

    return sys_recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

/* Copies what came to `out`, which has room for all that can come; the count. */
static size_t collect_fds(struct msghdr *msg, int *out)
{
    size_t count = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET) {
            continue;
        }
        if (cmsg->cmsg_type == SCM_RIGHTS && count + n <= QIO_CHANNEL_MAX_FDS) {
            memcpy(out + count, CMSG_DATA(cmsg), n * sizeof(int));
            count += n;
        } else if (cmsg->cmsg_type == SCM_PIDFD) {
            int pidfd;

            memcpy(&pidfd, CMSG_DATA(cmsg), sizeof(pidfd));
            if (pidfd >= 0) {
                sys_close(pidfd);
            }
        }
    }
    return count;
}

ssize_t qio_socket_receive_fds(int fd, const struct iovec *iov, size_t niov, int **fds,
                               size_t *nfds, Error **errp)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = niov };
    Control control;
    int came[QIO_CHANNEL_MAX_FDS];
    size_t count;
    ssize_t ret;

    *fds = NULL;
    *nfds = 0;
    do {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        ret = sys_recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return QIO_CHANNEL_ERR_BLOCK;
        }
        qio_error_set_errno(errp, fd < 0 ? ENOTCONN : errno, "cannot read from the socket");
        return -1;
    }
    count = collect_fds(&msg, came);
    if ((msg.msg_flags & MSG_CTRUNC) || (ret == 0 && count > 0)) {
        for (size_t i = 0; i < count; i++) {
            sys_close(came[i]);
        }
        if (ret == 0) {
            return 0;
        }
        qio_error_set(errp, QIO_ERROR_TRUNCATED,
                      "not all descriptors of a message could be received (%zu could, and were "
                      "closed): the descriptor table is full, or a security module refused some",
                      count);
        if (errp) {
            qio_error_set_bytes(*errp, (uint64_t)ret);
        }
        return -1;
    }
    if (count > 0) {
        *fds = g_new(int, count);
        memcpy(*fds, came, count * sizeof(int));
        *nfds = count;
    }
    return ret;
}
