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
typedef struct QIOLayerLock QIOLayerLock;       /* layer-lock.h */
typedef struct QIOWaiter QIOWaiter;             /* wait.c */
typedef struct QIOChannelSource QIOChannelSource;   /* watch.c */
typedef struct QIOChannelAioWatch QIOChannelAioWatch; /* aio-watch.c */
typedef struct QIOYield QIOYield;               /* yield.c */
typedef struct QIOSleeper QIOSleeper;           /* steps.c */
/* io_handshake, io_bye or io_flush of a class. */
typedef int (QIOStepFunc)(QIOChannel *ioc, Error **errp);

/* What one may wait for, as an index. */
enum {
    QIO_WAY_IN,
    QIO_WAY_OUT,
    QIO_WAY_MORE,
    QIO_WAYS,
};

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
    bool direct;            /* set at birth by a class with io_advance, see qio_channel_direct() */
    _Atomic int timeout_ms;         /* -1 = none */
    _Atomic(QIOReadAhead *) ahead;  /* NULL until first used */
    _Atomic bool close_waited;      /* io_close_wait has run, or is running */
    _Atomic bool layered;           /* it lies under a layer, see layer.h */
    GWeakRef above;                 /* that layer */
    QIOChannel *below;              /* what this layer lies on, referenced */
    QIOLayerLock *layer_lock;       /* of this layer, when below may call functions of a program */
    bool asks_program;              /* a layer that may call some itself, see layer.h */
    pthread_mutex_t lock;
    QIOWaiter *waiters;             /* sleeping threads */
    QIOChannelSource *sources;      /* GLib watches */
    QIOChannelAioWatch *aio_watches;
    QIOYield *yields[QIO_WAYS];     /* waiting coroutines, first come first served */
    QIOSleeper *sleepers;           /* coroutines that wait for an operation's steps */
    bool yield_adding[QIO_WAYS];            /* a thread is about to set yield_watch */
    QIOLoopWatch *yield_watch[QIO_WAYS];    /* stays after a wait, goes when nobody waits */
    QIOLoopWatch *handlers[QIO_WAYS];       /* qio_channel_set_aio_fd_handler() */
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

/* Whether an event of a descriptor is readiness itself (a socket, a pipe), so that io_advance, if
 * there is one, only adds to it; else (TLS) it only means that io_advance must be asked. */
static inline bool qio_channel_direct(QIOChannel *ioc)
{
    return !qio_channel_class(ioc)->io_advance || qio_channel_priv(ioc)->direct;
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
int qio_channel_enter_slow(QIOChannel *ioc, uint32_t use, Error **errp);

static inline int qio_channel_enter(QIOChannel *ioc, uint32_t use, Error **errp)
{
    _Atomic uint32_t *word = &qio_channel_priv(ioc)->use;
    uint32_t now = atomic_load_explicit(word, memory_order_relaxed);
    uint32_t busy = QIO_USE_CLOSING | (use & (QIO_USE_READ | QIO_USE_WRITE));

    if (G_LIKELY(!(now & busy)) &&
        G_LIKELY(atomic_compare_exchange_strong_explicit(word, &now, now + use,
                                                         memory_order_acquire,
                                                         memory_order_relaxed))) {
        return 0;
    }
    return qio_channel_enter_slow(ioc, use, errp);
}

/* Releases the transport if the channel is closing and nobody is inside. */
int qio_channel_finish_if_last(QIOChannel *ioc, Error **errp);

/* Leaves again; the last one out of a closing channel releases the transport.
 * Returns: 0, or -1 when that failed */
static inline int qio_channel_leave(QIOChannel *ioc, uint32_t use, Error **errp)
{
    uint32_t left = atomic_fetch_sub_explicit(&qio_channel_priv(ioc)->use, use,
                                              memory_order_release) - use;

    return G_LIKELY(left != QIO_USE_CLOSING) ? 0 : qio_channel_finish_if_last(ioc, errp);
}
/* Close without io_close_wait: when the last reference goes. */
int qio_channel_close_now(QIOChannel *ioc, Error **errp);
void qio_channel_set_closed_error(QIOChannel *ioc, Error **errp);

/* ---- io.c ---- */

/* How a transfer waits. */
enum {
    QIO_IO_DONTWAIT = 1,        /* never */
    QIO_IO_INTERRUPTIBLE = 2,   /* a signal ends the wait with INTR; else it is hidden */
    QIO_IO_ALL = 4,             /* a write that waits goes on until everything is accepted */
    QIO_IO_WAIT = 8,            /* also on a non-blocking channel, and by yielding in a coroutine */
};

/*
 * The transfers behind every public form, obeying the mode as flags say.  On failure the
 * error's bytes tell how many were accepted (QIO_IO_ALL).
 */
ssize_t qio_channel_readv_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, unsigned flags, Error **errp);
ssize_t qio_channel_writev_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                 int *fds, size_t nfds, unsigned flags, Error **errp);
/* Fills iov.  Returns: 1, 0 at the end before the first byte, -1 (EOF later; bytes in the
 * error).  Implies QIO_IO_WAIT. */
int qio_channel_readv_all_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                unsigned flags, Error **errp);
ssize_t qio_channel_peek_flags(QIOChannel *ioc, void *buf, size_t len, unsigned flags,
                               Error **errp);
ssize_t qio_channel_read_until_flags(QIOChannel *ioc, void *buf, size_t cap,
                                     const struct iovec *delims, size_t ndelims, size_t limit,
                                     unsigned flags, Error **errp);

/* qio_channel_flush(), waiting as flags say. */
int qio_channel_flush_flags(QIOChannel *ioc, unsigned flags, Error **errp);
/* The same in either mode, within timeout_ms in all; 0 never waits: QIO_CHANNEL_ERR_BLOCK. */
int qio_channel_flush_within(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp);

/* One transfer of the class, past the read-ahead; never waits: answers ERR_BLOCK. */
ssize_t qio_channel_class_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, Error **errp);

/*
 * Waits for `condition` on behalf of a transfer that found ERR_BLOCK.  *deadline_ns: 0 = not
 * known yet (set from the channel's time-out).
 * Returns: 0 try again, 1 the caller must answer ERR_BLOCK, -1 error (TIMEOUT, CANCELLED,
 * CLOSED, INTR)
 */
int qio_channel_block(QIOChannel *ioc, GIOCondition condition, unsigned flags,
                      int64_t *deadline_ns, Error **errp);

/* ---- wait.c ---- */

/* qio_channel_wait_timeout() with a deadline, and signals hidden on request. */
int qio_channel_wait_deadline(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                              bool interruptible, Error **errp);
/* The condition as a class knows it: MORE is its IN. */
GIOCondition qio_channel_class_condition(GIOCondition condition);
/* What a class or a descriptor reported, in the terms that were asked for. */
GIOCondition qio_channel_report(GIOCondition asked, GIOCondition ready);
/* Which of `condition` are ready in software: read-ahead, layers. */
GIOCondition qio_channel_soft_ready(QIOChannel *ioc, GIOCondition condition);
/* Wakes sleepers of `condition`: reason CLOSED, CANCELLED or 0 (look again).  lock held. */
void qio_channel_wake_waiters(QIOChannel *ioc, GIOCondition condition, QIOErrorCode reason);
void qio_channel_wake_other_waiters(QIOChannel *ioc);

/*
 * Sleeps as one who waits to write to the channel, whom its close and cancel wake, on descriptors
 * that are not the channel's yet (connect); none = for the time alone.  Behind the n there is room
 * for QIO_POLL_OURS more.  The caller is inside the channel.
 * Returns: > 0 how many are ready (revents set), 0 time-out, -1 with errno (ECANCELED; EINTR only
 * if interruptible)
 */
enum { QIO_POLL_OURS = 2 };
int qio_channel_poll_fds(QIOChannel *ioc, struct pollfd *fds, int n, int64_t deadline_ns,
                         bool interruptible);

/*
 * Plain waiting for descriptors that are not one channel's (listeners): poll(2) until the
 * deadline.  Returns: > 0 how many are ready (revents set), 0 time-out, -1 with
 * errno (EINTR only if interruptible).
 */
int qio_poll_fds(struct pollfd *fds, nfds_t nfds, int64_t deadline_ns, bool interruptible);

/*
 * Takes steps of a class (io_handshake, io_bye: G_IO_IN; io_flush: G_IO_OUT) until one does not
 * answer ERR_BLOCK, sleeping in between for what io_poll(condition) names, as one whom close and
 * cancel wake.
 * Returns: the last step's result; -1 also TIMEOUT, CANCELLED, INTR (only if interruptible)
 */
int qio_channel_take_steps(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                           int64_t deadline_ns, bool interruptible, Error **errp);

/* ---- readahead.c ---- */

size_t qio_readahead_pending(QIOChannel *ioc);
/* Whether a read would be answered from the read-ahead: bytes, or an end or error that came
 * after bytes that were handed out. */
bool qio_readahead_ready(QIOChannel *ioc);
ssize_t qio_readahead_drain(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp);
/* Drops what is held: bytes, descriptors, a deferred error. */
void qio_readahead_reset(QIOChannel *ioc);
/* Gives the bytes back to a class that can seek; does nothing where that fails (a pipe). */
void qio_readahead_rewind(QIOChannel *ioc);
void qio_readahead_free(QIOChannel *ioc);

/* ---- aio-watch.c: steps ---- */

/*
 * How a step of an operation is taken and waited for, as the library's own watch: both are asked
 * as those of a subject (loop/loop.h), with opaque.  What there is to tell, advance tells its task.
 */
typedef struct QIOStepOps {
    void (*advance)(QIOChannel *ioc, gpointer opaque);
    int (*poll)(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap);
    void (*closed)(QIOChannel *ioc, gpointer opaque);   /* the channel was; nothing comes after */
} QIOStepOps;

/* A watch on a channel with io_poll.  destroy as for an internal watch, also on failure.
 * Returns: one reference to the caller; NULL (CLOSED, SYSTEM) */
QIOLoopWatch *qio_channel_add_steps(QIOChannel *ioc, AioContext *ctx, const QIOStepOps *ops,
                                    gpointer opaque, GDestroyNotify destroy, Error **errp);

/* ---- operation.c ---- */

/* Whether who is at the bottom says that this thread, if it slept until the channel is ready, would
 * be what it waits for (io_waits_for_itself).  Any thread. */
bool qio_channel_waits_for_itself(QIOChannel *ioc);
/* qio_channel_take_steps() as an operation, whose result is the last step's as a pointer. */
QIOTask *qio_channel_steps_task(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                                int timeout_ms, AioContext *ctx, QIOTaskFunc func,
                                gpointer opaque, GDestroyNotify destroy);
/* One step, taken inside the channel.  Results as the step's; -1 CLOSED when it is. */
int qio_channel_take_step(QIOChannel *ioc, QIOStepFunc *step, Error **errp);
/* What a step that answered ERR_BLOCK waits for. */
int qio_channel_poll_step(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap);

/* ---- steps.c ---- */

/* Ends the steps that coroutines wait for. */
void qio_channel_cancel_sleepers(QIOChannel *ioc);

/* ---- watch.c, aio-watch.c, yield.c: what close and notify do to them ---- */

void qio_channel_end_sources(QIOChannel *ioc);
void qio_channel_kick_sources(QIOChannel *ioc);
void qio_channel_kick_other_sources(QIOChannel *ioc);
void qio_channel_end_aio_watches(QIOChannel *ioc);
void qio_channel_cancel_yields(QIOChannel *ioc, GIOCondition condition);
void qio_channel_free_yields(QIOChannel *ioc);
/* Software readiness changed: everybody who waits looks again.  Any thread. */
void qio_channel_kick(QIOChannel *ioc);
/*
 * The same but for who waits in a call of this very thread, which is awake and looks anyway.  For a
 * layer that has moved bytes out of its descriptor and did not hand them all out: whoever found
 * nothing before sleeps at a descriptor that says nothing any more.
 */
void qio_channel_kick_others(QIOChannel *ioc);
/* Suspends the current coroutine until condition holds.  Returns: 0, -1 (TIMEOUT, CANCELLED,
 * CLOSED, NOTSUP) */
int qio_channel_yield_deadline(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                               Error **errp);

/* ---- io.c ---- */

/* When a transfer that waits now has to be done. */
int64_t qio_channel_io_deadline(QIOChannel *ioc);

/* ---- iovec.c ---- */

/* The total length, or -1 with an INVAL error when it does not fit ssize_t. */
ssize_t qio_iov_length(const struct iovec *iov, size_t niov, Error **errp);
/* What of iov lies behind its first `skip` bytes: up to cap entries, none of them empty, in
 * out; their count. */
size_t qio_iov_skip(struct iovec *out, size_t cap, const struct iovec *iov, size_t niov,
                    size_t skip);
/* Copies len bytes into iov (which is long enough). */
void qio_iov_fill(const struct iovec *iov, size_t niov, const void *bytes, size_t len);
void qio_close_fds(int *fds, size_t nfds);      /* closes each and frees the array */

#endif
