/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-connect.h: connecting to one of several socket addresses, step by step.
 *
 * Owns: QIOConnect, a race of attempts after RFC 8305: the families take turns, a new attempt
 * begins when the last one has had QIO_CONNECT_DELAY_MS or has failed, the first one that is
 * connected wins, and the others are closed.
 * Rules: nothing here waits.  A step only closes descriptors that were noted as ready before it,
 * so that a caller who watches them takes its watches away first.  One thread at a time.
 */
#ifndef QIO_CHANNEL_SOCKET_CONNECT_H
#define QIO_CHANNEL_SOCKET_CONNECT_H

#include <poll.h>
#include <qio/channel-socket.h>

/* RFC 8305's Connection Attempt Delay. */
#define QIO_CONNECT_DELAY_MS 250
/* The most addresses of one name that are tried: whoever answers for the name chooses how many. */
#define QIO_CONNECT_MAX 32

typedef struct QIOSockaddr {
    socklen_t len;
    struct sockaddr_storage addr;
} QIOSockaddr;

typedef struct QIOConnect QIOConnect;

/* A race to up to QIO_CONNECT_MAX addresses in the order of preference; the rest is left out. */
QIOConnect *qio_connect_new(const QIOSockaddr *to, size_t count);
/* Ends what is under way. */
void qio_connect_free(QIOConnect *race);

/* Does what is due.  Returns: 1 connected (then take the socket), 0 wait, -1 nothing is left to
 * try; the error is that of the last attempt to fail, after those of the others */
int qio_connect_step(QIOConnect *race, Error **errp);
/* When the next step is due whatever the descriptors say; QIO_NEVER. */
int64_t qio_connect_due_ns(const QIOConnect *race);
/* How many attempts there are at most. */
size_t qio_connect_count(const QIOConnect *race);
/* The descriptor of the i-th attempt, to wait for writing, or -1: it waits for none. */
int qio_connect_fd(const QIOConnect *race, size_t index);
/* The descriptor became ready: the next step looks at it. */
void qio_connect_note(QIOConnect *race, size_t index);
/* Where it goes, for messages, of the newest attempt; for the caller to g_free(). */
char *qio_connect_describe(const QIOConnect *race);

/* Gives the winner's descriptor to the channel, whose maker or user from inside this is. */
void qio_connect_adopt(QIOConnect *race, QIOChannelSocket *ioc);

/* Runs the race to its end for a channel that the caller is inside of; frees it.  Returns: 0, or
 * -1 (TIMEOUT; INTR when interruptible; CANCELLED; SYSTEM) */
int qio_connect_run(QIOConnect *race, QIOChannelSocket *ioc, int64_t deadline_ns,
                    bool interruptible, Error **errp);

#endif
