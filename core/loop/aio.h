/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/aio.h: the event loop, AioContext.
 *
 * Owns: the loop's public face: descriptors, timers, deferred calls, one pollable fd, one
 * GSource.  Channels are watched through qio_channel_add_aio_watch() (qio/channel.h).
 * Rule: callbacks run only inside a dispatch (qio_aio_context_poll and its kin), on the
 * dispatching thread, with no lock held; anything may be removed, closed or added from
 * inside one.  A loop belongs to whoever is dispatching it, not to its maker.
 */
#ifndef QIO_AIO_H
#define QIO_AIO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <qio/coroutine.h>
#include <qio/error.h>

G_BEGIN_DECLS

typedef struct AioContext AioContext;
typedef void IOHandler(void *opaque);

/* A descriptor to wait for and the conditions to wait for on it (G_IO_IN, G_IO_OUT). */
typedef struct QIOPollFd {
    int fd;
    GIOCondition events;
} QIOPollFd;

/** QIOTimerFunc: returns TRUE to keep a repeating timer, FALSE to remove it. */
typedef gboolean (*QIOTimerFunc)(void *opaque);
/** QIODeferFunc: runs once in a dispatch. */
typedef void (*QIODeferFunc)(void *opaque);
/** QIOFdFunc: returns TRUE to keep the watch, FALSE to remove it. */
typedef gboolean (*QIOFdFunc)(int fd, GIOCondition condition, void *opaque);

/* One registration in a loop: a descriptor, a channel, or a timer. */
typedef struct QIOLoopWatch QIOLoopWatch;

/**
 * qio_aio_context_new:
 * @errp: where to put an error, or NULL
 *
 * Makes a loop: an epoll descriptor with a timerfd and an eventfd in it.  Any thread.
 * Returns: a loop with one reference, or NULL (out of descriptors)
 */
AioContext *qio_aio_context_new(Error **errp);
/** qio_aio_context_ref: one more reference, which keeps the loop open.  Any thread. */
AioContext *qio_aio_context_ref(AioContext *ctx);
/** qio_aio_context_unref: gives a reference up; NULL is allowed.  The last one closes the loop as
 * qio_aio_context_close() does.  Any thread. */
void qio_aio_context_unref(AioContext *ctx);

/**
 * qio_aio_context_close:
 *
 * Ends the loop: every registration is removed, what is to be released is released in this
 * call, later registrations fail with CLOSED.  Loop thread.
 * Returns: 0, or -1 (BUSY: another thread dispatches, or called from inside a callback)
 */
int qio_aio_context_close(AioContext *ctx, Error **errp);

/**
 * qio_get_main_aio_context:
 *
 * The loop that a NULL context stands for, made on first use and attached to the default
 * GMainContext.  Any thread.
 * Returns: a loop that the library owns, or NULL (out of descriptors)
 */
AioContext *qio_get_main_aio_context(void);

/**
 * qio_aio_context_poll:
 * @blocking: whether to wait until something is due
 *
 * Dispatches what is due once.  Loop thread.
 * Returns: true when a callback ran
 */
bool qio_aio_context_poll(AioContext *ctx, bool blocking);

/**
 * qio_aio_context_dispatch:
 * @timeout_ms: how long to wait for the first thing due; -1 = for ever, 0 = try
 *
 * Returns: the number of callbacks that ran (destroy notifies are some), 0 on time-out, after
 * a wake-up, or when only events of queued watches are due, which the flat ABI's next_events
 * takes; -1 on error: BUSY (another thread dispatches, or called from inside a callback),
 * INTR (a signal came and nothing was due), CLOSED, SYSTEM
 */
int qio_aio_context_dispatch(AioContext *ctx, int timeout_ms, Error **errp);

/**
 * qio_aio_context_wait:
 *
 * Waits like a dispatch, but runs nothing.  Any thread.
 * Returns: 1 something is due (a dispatch may still find that nothing comes of it: a layer
 * with half a record, a wake-up), 0 time-out, -1 error (INTR, CLOSED, SYSTEM)
 */
int qio_aio_context_wait(AioContext *ctx, int timeout_ms, Error **errp);

/** qio_aio_context_run: dispatches until qio_aio_context_quit().  Loop thread.
 * Returns: 0, or -1 (BUSY, INTR, CLOSED, SYSTEM; INVAL: nothing but events of queued watches
 * is due, which nobody can take while run dispatches) */
int qio_aio_context_run(AioContext *ctx, Error **errp);
/** qio_aio_context_quit: makes the current or the next run return.  Any thread. */
void qio_aio_context_quit(AioContext *ctx);
/** qio_aio_context_notify: makes the current or the next wait return.  Any thread, also a
 * signal handler. */
void qio_aio_context_notify(AioContext *ctx);
/** qio_aio_context_get_fd: the one descriptor that is readable exactly while something is
 * due.  It stays the loop's.  Returns: -1 when NULL was given and there is no main loop. */
int qio_aio_context_get_fd(AioContext *ctx);

/**
 * qio_aio_context_get_g_source:
 *
 * The loop as one source for a GMainContext; it holds a reference on the loop.
 * Returns: an unattached source, one reference to the caller; NULL when NULL was given and
 * there is no main loop
 */
GSource *qio_aio_context_get_g_source(AioContext *ctx);

/**
 * qio_aio_context_set_fd_handler:
 * @io_read, @io_write: called while @fd is readable, writable; both NULL removes
 *
 * The handlers of a descriptor that is not a channel; replaces those it had.  A descriptor
 * that epoll refuses (a regular file, /dev/null) is always ready.  Hang-ups and errors are
 * told to whichever is set.  Remove them before the descriptor is closed.  A failure is a
 * warning.  Any thread.
 */
void qio_aio_context_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                                    IOHandler *io_write, void *opaque);

/**
 * qio_aio_context_add_fd_watch:
 * @ctx: the loop, NULL = qio_get_main_aio_context()
 * @condition: of G_IO_IN, G_IO_PRI, G_IO_OUT; G_IO_ERR and G_IO_HUP come unasked
 * @func: called with the conditions that hold
 * @destroy: frees @opaque, exactly once, also on failure; on a clean stack: in a later
 * dispatch or in qio_aio_context_close(); in this call when the loop is closed already
 *
 * Remove the watch before the descriptor is closed.  One that was closed under its watch ends
 * it with a last call and G_IO_NVAL, if the loop finds out.  Any thread.
 * Returns: a watch, one reference to the caller, or NULL (INVAL, CLOSED, SYSTEM)
 */
QIOLoopWatch *qio_aio_context_add_fd_watch(AioContext *ctx, int fd, GIOCondition condition,
                                           QIOFdFunc func, void *opaque, GDestroyNotify destroy,
                                           Error **errp);
/**
 * qio_aio_context_add_timer:
 * @after_ms: first expiry from now
 * @every_ms: the period of later ones; 0 = once
 *
 * As qio_aio_context_add_fd_watch().  A late repeating timer fires once, not once for each
 * period it missed.
 */
QIOLoopWatch *qio_aio_context_add_timer(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                        QIOTimerFunc func, void *opaque, GDestroyNotify destroy,
                                        Error **errp);
/** qio_aio_context_defer: runs @func once in a later dispatch, in the order of the calls.
 * Any thread.  Returns: 0, or -1 (CLOSED); @destroy as above. */
int qio_aio_context_defer(AioContext *ctx, QIODeferFunc func, void *opaque,
                          GDestroyNotify destroy, Error **errp);

/** qio_loop_watch_remove: ends a watch; a second time does nothing.  Its function is not
 * called again by this thread; one that is running on another may still finish.  Any thread. */
void qio_loop_watch_remove(QIOLoopWatch *watch);
/** qio_loop_watch_ref: one more reference on the handle.  Any thread. */
QIOLoopWatch *qio_loop_watch_ref(QIOLoopWatch *watch);
/** qio_loop_watch_unref: gives up a reference; the watch itself stays until it is removed. */
void qio_loop_watch_unref(QIOLoopWatch *watch);

/** qio_aio_co_schedule: enters @co in a later dispatch of @ctx, or in its close.  A coroutine
 * may schedule itself, on any loop, and then yield.  Any thread. */
void qio_aio_co_schedule(AioContext *ctx, Coroutine *co);

G_END_DECLS
#endif
