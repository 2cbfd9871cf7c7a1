/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/channel-priv.h: what the files of the base class, its subclasses and the flat ABI
 * share, and programs do not see.
 *
 * Owns: QIOChannelPrivate, the base class's state.  Rules:
 *  - `use` counts who is inside; the one that takes the count to "closing, nobody inside"
 *    runs io_close.  So no descriptor is closed under a thread that may still use it.
 *  - `lock` guards the lists and is never held while anything is called that may call out.
 *  - the read-ahead belongs to the reader; only its length is read by others.
 */
#ifndef QIO_CHANNEL_PRIV_H
#define QIO_CHANNEL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <qio/channel.h>
#include "base/sys.h"
#include "loop/loop.h"

typedef struct QIOReadAhead QIOReadAhead;       /* readahead.c */
typedef struct QIOWaiter QIOWaiter;             /* wait.c */
typedef struct QIOChannelSource QIOChannelSource;   /* watch.c */
typedef struct QIOChannelAioWatch QIOChannelAioWatch; /* aio-watch.c */
typedef struct QIOYield QIOYield;               /* yield.c */
typedef struct QIOHandlers QIOHandlers;         /* yield.c: set_aio_fd_handler's pair */

/* The bits of `use`. */
enum {
    QIO_USE_READ = 1,       /* a reader is inside (flat ABI: exclusive) */
    QIO_USE_WRITE = 2,      /* a writer is inside */
    QIO_USE_CLOSING = 4,
    QIO_USE_FINISHED = 8,   /* io_close has run or is running */
    QIO_USE_ONE = 16,       /* counts sleepers and everybody else */
};

typedef struct QIOChannelPrivate {
    _Atomic uint32_t use;
    _Atomic bool nonblocking;
    _Atomic int timeout_ms;         /* -1 = none */
    _Atomic bool watched;           /* some list below is not empty */
    QIOReadAhead *ahead;            /* NULL until first used */
    pthread_mutex_t lock;
    QIOWaiter *waiters;             /* sleeping threads */
    QIOChannelSource *sources;      /* GLib watches */
    QIOChannelAioWatch *aio_watches;
    QIOYield *yields[2];            /* waiting coroutines, first come first served: IN, OUT */
    QIOLoopWatch *yield_watch[2];
    QIOHandlers *handlers;
} QIOChannelPrivate;

extern int qio_channel_private_offset;

static inline QIOChannelPrivate *qio_channel_priv(QIOChannel *ioc)
{
    return (QIOChannelPrivate *)((char *)ioc + qio_channel_private_offset);
}

/* No cast check: the I/O path pays for none. */
static inline QIOChannelClass *qio_channel_class(QIOChannel *ioc)
{
    return (QIOChannelClass *)ioc->parent.g_type_instance.g_class;
}

static inline bool qio_channel_closing(QIOChannel *ioc)
{
    return atomic_load_explicit(&qio_channel_priv(ioc)->use, memory_order_relaxed) &
           QIO_USE_CLOSING;
}

/* ---- life.c ---- */

/*
 * Enters the channel for reading, writing (both: READ | WRITE) or anything else (QIO_USE_ONE);
 * while inside, close does not release the transport.
 * Returns: 0, or -1: CLOSED; BUSY when somebody is in that direction already
 */
int qio_channel_enter(QIOChannel *ioc, uint32_t use, Error **errp);
/* Leaves again; the last one out of a closing channel releases the transport. */
void qio_channel_leave(QIOChannel *ioc, uint32_t use);
void qio_channel_set_closed_error(QIOChannel *ioc, Error **errp);

/* ---- io.c ---- */

/* One transfer of the class itself, past the read-ahead; answers ERR_BLOCK, never waits for a
 * class that has io_poll. */
ssize_t qio_channel_class_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, Error **errp);

/*
 * The common body of what is tried, and waited for in blocking mode: waits for `condition`
 * until `deadline_ns`, or yields inside a coroutine.
 * interruptible: a signal ends it with INTR (the flat ABI); else it goes on.
 * Returns: 0 try again, -1 error (TIMEOUT, CANCELLED, CLOSED, INTR)
 */
int qio_channel_block(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                      bool interruptible, Error **errp);
/* The deadline of a transfer that starts now, by the channel's time-out. */
int64_t qio_channel_io_deadline(QIOChannel *ioc);

/* ---- wait.c ---- */

/* qio_channel_wait_timeout() with a deadline, and signals hidden on request. */
int qio_channel_wait_deadline(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                              bool interruptible, Error **errp);
/* Which of `condition` are ready in software: read-ahead, layers. */
GIOCondition qio_channel_soft_ready(QIOChannel *ioc, GIOCondition condition);
/* Wakes sleepers of `condition`: reason CLOSED, CANCELLED or 0 (look again).  lock held. */
void qio_channel_wake_waiters(QIOChannel *ioc, GIOCondition condition, QIOErrorCode reason);

/*
 * Plain waiting for descriptors that are not one channel's (connect, listeners): poll(2)
 * until the deadline.  Returns: > 0 how many are ready (revents set), 0 time-out, -1 with
 * errno (EINTR only if interruptible).
 */
int qio_poll_fds(struct pollfd *fds, nfds_t nfds, int64_t deadline_ns, bool interruptible);

/* ---- readahead.c ---- */

size_t qio_readahead_pending(QIOChannel *ioc);
/* Whether a read would be answered from the read-ahead: bytes, or an end or error that came
 * after bytes that were handed out. */
bool qio_readahead_ready(QIOChannel *ioc);
ssize_t qio_readahead_drain(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp);
void qio_readahead_free(QIOChannel *ioc);

/* ---- watch.c, aio-watch.c, yield.c: what close and notify do to them ---- */

void qio_channel_end_sources(QIOChannel *ioc);
void qio_channel_end_aio_watches(QIOChannel *ioc);
void qio_channel_end_yields(QIOChannel *ioc);
void qio_channel_kick(QIOChannel *ioc);         /* software readiness changed */

/* ---- iovec.c ---- */

/* The total length, or -1 with an INVAL error when it does not fit ssize_t. */
ssize_t qio_iov_length(const struct iovec *iov, size_t niov, Error **errp);
/* Copies iov less its first `skip` bytes to out, which has room for niov; the new count. */
size_t qio_iov_skip(struct iovec *out, const struct iovec *iov, size_t niov, size_t skip);
void qio_close_fds(int *fds, size_t nfds);      /* closes each and frees the array */

#endif
