/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listen.h: from an address to the sockets that listen on it.
 *
 * Owns: nothing; declares what listeners and socket channels share.  Any thread.
 */
#ifndef QIO_NET_LISTEN_H
#define QIO_NET_LISTEN_H

#include "net/net-priv.h"
#include "net/resolver.h"

/*
 * options: ipv4, ipv6, numeric, to; nodelay and keep-alive, which accepted channels inherit
 * deadline_ns, interruptible: of looking a name up
 * waiter: the channel whose close ends that, which the caller is inside of, or NULL
 * one: the first socket that can be had is enough
 * found, count: what a name stands for, when that is known already
 */
typedef struct QIOListenHow {
    int backlog;
    const QIOOptions *options;
    int64_t deadline_ns;
    bool interruptible;
    QIOChannelSocket *waiter;
    bool one;
    const QIOSockaddr *found;
    int count;
} QIOListenHow;

/* The listening channels (QIOChannelSocket, at least one) of an address, which the array holds the
 * references of.  An address of a name that cannot be listened on is left out unless there is no
 * other.  NULL: INVAL, SYSTEM, RESOLVE, TIMEOUT, INTR */
GPtrArray *qio_address_listen(const QIOAddress *addr, const QIOListenHow *how, Error **errp);

/* The same for one channel, which has no descriptor yet.  Returns: 0, or -1 (BUSY; CLOSED; as
 * above) */
int qio_channel_socket_listen_how(QIOChannelSocket *ioc, const QIOAddress *addr,
                                  const QIOListenHow *how, Error **errp);

#endif
