/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-socket.h: sockets as channels.
 *
 * Owns: QIOChannelSocket on the level of descriptors and socket addresses.  The forms that
 * take a QIOAddress are declared here too and live in core/net.
 * Rule: never touches O_NONBLOCK of a socket it did not make, except on listening sockets
 * (accept must not block a loop); every transfer says MSG_DONTWAIT and MSG_NOSIGNAL.
 */
#ifndef QIO_CHANNEL_SOCKET_H
#define QIO_CHANNEL_SOCKET_H

#include <sys/socket.h>
#include <qio/address.h>
#include <qio/channel.h>
#include <qio/options.h>
#include <qio/task.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_SOCKET "qio-channel-socket"
#define QIO_CHANNEL_SOCKET(obj) OBJECT_CHECK(QIOChannelSocket, (obj), TYPE_QIO_CHANNEL_SOCKET)

typedef struct QIOChannelSocket QIOChannelSocket;

/** qio_channel_socket_new: a socket channel without a descriptor yet. */
QIOChannelSocket *qio_channel_socket_new(void);
/** qio_channel_socket_new_fd: around a socket, connected, listening or neither; taken on
 * success only.  The path of a unix listener that came this way is not removed by close: other
 * processes may listen on it too.  Returns: NULL with INVAL when @fd is not a socket */
QIOChannelSocket *qio_channel_socket_new_fd(int fd, Error **errp);
/** qio_channel_socket_new_pair: two connected unix sockets.  Returns: 0, or -1 */
int qio_channel_socket_new_pair(QIOChannelSocket **a, QIOChannelSocket **b, Error **errp);

/**
 * qio_channel_socket_connect_sockaddr:
 * @timeout_ms: how long it may take, -1 = no limit
 *
 * Connects a channel that has no descriptor.  An interrupted connect is completed by poll and
 * SO_ERROR; a unix listener whose queue is full is asked again until there is room.  A close or
 * a cancel by another thread ends it.
 * Returns: 0, or -1 (BUSY: it has one; TIMEOUT; INTR when @interruptible; CANCELLED; CLOSED;
 * SYSTEM)
 */
int qio_channel_socket_connect_sockaddr(QIOChannelSocket *ioc, const struct sockaddr *addr,
                                        socklen_t len, int timeout_ms, bool interruptible,
                                        Error **errp);
/** qio_channel_socket_listen_sockaddr: binds (SO_REUSEADDR for inet) and listens, close-on-exec
 * and non-blocking.  On a unix path a socket that nobody listens on is replaced, anything else is
 * EADDRINUSE; close removes the path while it is still the same inode.  @backlog: at least 1.
 * Returns: 0, or -1 (INVAL; BUSY: it is open; CLOSED; SYSTEM) */
int qio_channel_socket_listen_sockaddr(QIOChannelSocket *ioc, const struct sockaddr *addr,
                                       socklen_t len, int backlog, Error **errp);

/** qio_channel_socket_connect_sync, qio_channel_socket_connect_timeout:
 * qio_channel_socket_connect_sockaddr() to an address; the first waits as long as it takes and
 * hides signals.  A host name is looked up, by a thread of the resolver's, and its addresses race:
 * the families take turns, a new attempt begins every 250 ms or when one has failed, the first
 * connection is taken (RFC 8305).  FD is a connected socket, taken on success only.  Returns: 0, or
 * -1 (INVAL: an address to listen on; RESOLVE) */
int qio_channel_socket_connect_sync(QIOChannelSocket *ioc, const QIOAddress *addr, Error **errp);
int qio_channel_socket_connect_timeout(QIOChannelSocket *ioc, const QIOAddress *addr,
                                       int timeout_ms, bool interruptible, Error **errp);
/** qio_channel_socket_listen_sync: qio_channel_socket_listen_sockaddr() on an address; @backlog as
 * for listen(2), at least 1.  No host is every address of both families; of a host name it is the
 * first address that can be listened on (a listener takes all); port 0 and an empty unix path are
 * chosen; FD is a listening socket, taken on success only. */
int qio_channel_socket_listen_sync(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                   Error **errp);
/**
 * qio_channel_socket_connect_task, qio_channel_socket_connect_async:
 * @options: the keys ipv4, ipv6, numeric, nodelay, keep-alive and timeout (without one there is no
 *   limit), or NULL
 * @ctx ... @destroy: as qio_task_new(); its source is the channel
 *
 * qio_channel_socket_connect_sync() as an operation in a loop, which goes on meanwhile, also while
 * a name is looked up.  The channel is changed in the loop, when it is connected.
 * Returns: a task, one reference to the caller
 */
QIOTask *qio_channel_socket_connect_task(QIOChannelSocket *ioc, const QIOAddress *addr,
                                         const QIOOptions *options, AioContext *ctx,
                                         QIOTaskFunc func, gpointer opaque,
                                         GDestroyNotify destroy);
void qio_channel_socket_connect_async(QIOChannelSocket *ioc, const QIOAddress *addr,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                      AioContext *ctx);
/** qio_channel_socket_listen_task, qio_channel_socket_listen_async:
 * qio_channel_socket_listen_sync() likewise; @options: ipv4, ipv6, numeric, to, nodelay,
 * keep-alive, timeout. */
QIOTask *qio_channel_socket_listen_task(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                        const QIOOptions *options, AioContext *ctx,
                                        QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
void qio_channel_socket_listen_async(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                     QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                     AioContext *ctx);
/**
 * qio_channel_socket_dgram_sync:
 * @local: where it is bound; NULL or no host is every address, port 0 is chosen
 * @remote: who it sends to, and alone receives from
 *
 * Makes it a datagram socket (UDP).  Of names the first pair of addresses that the system takes is
 * it.  Each write is one datagram, and each read: what does not fit is lost, and one without bytes
 * reads as 0.  (What is read ahead, by a peek or a readline, forgets where they ended.)  Nothing
 * tells of one that was lost on the way; that nobody is there is the error of a later transfer.
 * Returns: 0, or -1 (NOTSUP: not a host and a port; INVAL; RESOLVE; BUSY: it is open; CLOSED;
 * SYSTEM)
 */
int qio_channel_socket_dgram_sync(QIOChannelSocket *ioc, const QIOAddress *local,
                                  const QIOAddress *remote, Error **errp);
/** qio_channel_socket_dgram_task, qio_channel_socket_dgram_async: the same as an operation in a
 * loop; @ctx ... @destroy: as qio_task_new(). */
QIOTask *qio_channel_socket_dgram_task(QIOChannelSocket *ioc, const QIOAddress *local,
                                       const QIOAddress *remote, AioContext *ctx,
                                       QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
void qio_channel_socket_dgram_async(QIOChannelSocket *ioc, const QIOAddress *local,
                                    const QIOAddress *remote, QIOTaskFunc func, gpointer opaque,
                                    GDestroyNotify destroy, AioContext *ctx);
/** qio_channel_socket_get_local_address, qio_channel_socket_get_remote_address: the address as
 * known at connect or accept, also after close.  Returns: a copy for the caller to free with
 * qio_address_free(), or NULL */
QIOAddress *qio_channel_socket_get_local_address(QIOChannelSocket *ioc, Error **errp);
QIOAddress *qio_channel_socket_get_remote_address(QIOChannelSocket *ioc, Error **errp);
/** qio_channel_socket_get_sockaddr: the bytes behind those (@remote or local).  Returns: their
 * length, or -1 (INVAL: never connected or bound) */
int qio_channel_socket_get_sockaddr(QIOChannelSocket *ioc, bool remote,
                                    struct sockaddr_storage *out, Error **errp);
/** qio_channel_socket_get_peer_cred: who is on the other side of a unix socket, as the kernel
 * knew it at connect.  Returns: 0, or -1 (NOTSUP, CLOSED, SYSTEM) */
int qio_channel_socket_get_peer_cred(QIOChannelSocket *ioc, pid_t *pid, uid_t *uid, gid_t *gid,
                                     Error **errp);

/**
 * qio_channel_socket_accept, qio_channel_socket_try_accept:
 *
 * Takes one waiting client of a listening channel; the first waits for one if the channel is
 * blocking, at most its time-out, the second never does.
 * The new channel is blocking and close-on-exec; nothing is handshaken.  ECONNABORTED and its
 * like are passed over.
 * Returns: a channel for the caller, or NULL with an error (AGAIN: nobody waits and the channel
 * does not; INVAL: it does not listen; TIMEOUT; CANCELLED; CLOSED; SYSTEM)
 */
QIOChannelSocket *qio_channel_socket_accept(QIOChannelSocket *ioc, Error **errp);
QIOChannelSocket *qio_channel_socket_try_accept(QIOChannelSocket *ioc, Error **errp);

G_END_DECLS
#endif
