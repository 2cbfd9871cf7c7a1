/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-priv.h: the socket channel's state, shared by socket.c (transfers, life),
 * socket-fds.c (messages with descriptors), socket-connect.c and socket-listen.c.
 *
 * Owns: the struct.  Rule: `fd` changes from -1 to a descriptor once, while its maker is the
 * only user or is inside the channel, and back to -1 in io_close and io_take_fd, which run
 * with nobody inside.  It is atomic for the first look of a wait (wait.c), which is not inside.
 */
#ifndef QIO_SOCKET_PRIV_H
#define QIO_SOCKET_PRIV_H

#include <qio/channel-socket.h>
#include "channel/channel-priv.h"

struct QIOChannelSocket {
    QIOChannel parent;
    _Atomic int fd;
    int family;                         /* AF_UNSPEC until there was a descriptor */
    bool shared;                        /* came from outside: others may have it too */
    uint8_t splicing;                   /* ways in which io_splice_fd was begun */
    bool flag_set;                      /* O_NONBLOCK, by io_splice_fd */
    socklen_t local_len;                /* 0 = not known */
    socklen_t remote_len;
    struct sockaddr_storage local;      /* as of connect, listen, accept */
    struct sockaddr_storage remote;
    /* The path that listening made, to be removed by close while it is still this inode. */
    char *unlink_path;
    dev_t unlink_dev;
    ino_t unlink_ino;
    uint32_t unlink_epoch;              /* a forked child's close must not remove it */
};

/* ---- socket.c ---- */

/* Gives a channel its descriptor, and what follows from the family; notes the local address. */
void qio_socket_adopt(QIOChannelSocket *ioc, int fd, int family);
void qio_socket_set_remote(QIOChannelSocket *ioc, const struct sockaddr *addr, socklen_t len);
/* 0 when the channel can get a descriptor, else -1 (CLOSED, BUSY); inside the channel then, to
 * be left with qio_channel_leave(QIO_USE_ONE). */
int qio_socket_enter_unopened(QIOChannelSocket *ioc, Error **errp);
/* The same as a question: 0, or -1. */
int qio_socket_check_unopened(QIOChannelSocket *ioc, Error **errp);
/* Leaves again.  Returns: ret, or -1 (CANCELLED) when it was closed meanwhile */
int qio_socket_leave_opened(QIOChannelSocket *ioc, int ret, Error **errp);

/* qio_channel_socket_new_fd() for a channel that is there already.  0, or -1 (CLOSED, BUSY). */
int qio_socket_open_fd(QIOChannelSocket *ioc, int fd, Error **errp);

/* ---- socket-listen.c ---- */

/* What an IPv6 wildcard listens on; the default is the system's. */
typedef enum QIOSocketFamilies {
    QIO_SOCKET_FAMILIES_DEFAULT,
    QIO_SOCKET_IPV6_AND_IPV4,
    QIO_SOCKET_IPV6_ONLY,
} QIOSocketFamilies;

/* qio_channel_socket_listen_sockaddr() with the choice of families. */
int qio_socket_listen(QIOChannelSocket *ioc, const struct sockaddr *addr, socklen_t len,
                      int backlog, QIOSocketFamilies families, Error **errp);

/* Moves what one channel listens on to another, which has no descriptor and whose user from inside
 * this is; nobody else knows the first one. */
void qio_socket_move_listener(QIOChannelSocket *to, QIOChannelSocket *from);

/* Whether the descriptor listens. */
bool qio_socket_is_listening(int fd);
int qio_socket_set_nonblocking(int fd, bool enabled);
void qio_socket_remove_path(QIOChannelSocket *ioc);

/* ---- socket-fds.c: -1 with errno, as the calls they stand for ---- */

ssize_t qio_socket_send_message(int fd, const struct iovec *iov, size_t niov, const int *fds,
                                size_t nfds);
ssize_t qio_socket_receive_message(int fd, const struct iovec *iov, size_t niov);
/* Reads with descriptors: -1 with an error, ERR_BLOCK, or the bytes, and then *fds, *nfds. */
ssize_t qio_socket_receive_fds(int fd, const struct iovec *iov, size_t niov, int **fds,
                               size_t *nfds, Error **errp);

#endif
