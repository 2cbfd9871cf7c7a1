/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/loop.h: what the rest of the core sees of the loop beyond qio/aio.h.
 *
 * Owns: subjects (things that tell how they are waited for: channels, listeners) and the
 * queued form of a watch, which the flat ABI's next_events pulls.
 * Rule: the loop knows descriptors and subjects, never channels.  Functions of a subject
 * are called on the dispatching thread with no lock held and the watch referenced.
 */
#ifndef QIO_LOOP_LOOP_H
#define QIO_LOOP_LOOP_H

#include <qio/aio.h>

#define QIO_POLL_MAX 4      /* descriptors one subject may name */

/*
 * How a subject is waited for.  All calls: subject, the conditions the watch wants.
 *   advance  moves bytes into a layer and says which of `wanted` are ready now in software.
 *   poll     names the descriptors to wait for; the count, 0 when software alone decides.
 *            Asked once of a direct subject, by the thread that adds the watch; of the others
 *            whenever advance left them not ready.
 *   direct   true: readiness of the descriptors is readiness of the subject (a socket);
 *            false: a descriptor's event only means that advance must be asked again (TLS).
 *   still    NULL, or of a direct subject: whether advance would have nothing to tell.  Called
 *            with the loop's lock held, so it only looks.
 *   ref/unref keep the subject alive while the watch exists.
 * A watch is asked to advance when it is added, when it has fired, after each event of its
 * descriptors unless direct, and after qio_loop_watch_kick(); an idle one costs nothing.
 */
typedef struct QIOLoopSubjectOps {
    GIOCondition (*advance)(void *subject, GIOCondition wanted);
    int (*poll)(void *subject, GIOCondition wanted, QIOPollFd *out, int cap);
    bool direct;
    bool (*still)(void *subject);
    void (*ref)(void *subject);
    void (*unref)(void *subject);
} QIOLoopSubjectOps;

typedef enum QIOLoopKind {
    QIO_LOOP_WATCH,         /* a subject or a descriptor */
    QIO_LOOP_TIMER,
    QIO_LOOP_RELEASED,      /* the last event of a queued watch */
} QIOLoopKind;

/* Callback of a watch on a subject: TRUE keeps it. */
typedef gboolean (*QIOSubjectFunc)(QIOLoopWatch *watch, GIOCondition condition, void *opaque);

/*
 * Adds a watch on a subject.  func NULL makes it queued: qio_loop_next() reports it, with
 * opaque as it was given, and never calls anything.  destroy runs exactly once, also on
 * failure: for a queued watch at the start of the first call (next, dispatch, close) after
 * its QIO_LOOP_RELEASED was reported, so that the event's opaque is good until then; at once
 * when the loop is closed, or there is no main loop.
 */
QIOLoopWatch *qio_loop_add_subject(AioContext *ctx, void *subject, const QIOLoopSubjectOps *ops,
                                   GIOCondition condition, QIOSubjectFunc func, void *opaque,
                                   GDestroyNotify destroy, Error **errp);

/* The queued forms of the public adders. */
QIOLoopWatch *qio_loop_add_fd_queued(AioContext *ctx, int fd, GIOCondition condition,
                                     void *opaque, GDestroyNotify destroy, Error **errp);
QIOLoopWatch *qio_loop_add_timer_queued(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                        void *opaque, GDestroyNotify destroy, Error **errp);

/*
 * Internal watches: functions of the library itself, which a user's operations need (tasks).
 * They run in a dispatch, in qio_loop_next() and in qio_loop_help(), never count as callbacks
 * that are due, and must call nothing of a user.  destroy likewise, but for the closing of the
 * loop, where it may call out.  Otherwise as the public adders; func is required.
 */
QIOLoopWatch *qio_loop_add_internal_subject(AioContext *ctx, void *subject,
                                            const QIOLoopSubjectOps *ops,
                                            GIOCondition condition, QIOSubjectFunc func,
                                            void *opaque, GDestroyNotify destroy, Error **errp);
QIOLoopWatch *qio_loop_add_internal_fd(AioContext *ctx, int fd, GIOCondition condition,
                                       QIOFdFunc func, void *opaque, GDestroyNotify destroy,
                                       Error **errp);
QIOLoopWatch *qio_loop_add_internal_timer(AioContext *ctx, int64_t after_ms, int64_t every_ms,
                                          QIOTimerFunc func, void *opaque,
                                          GDestroyNotify destroy, Error **errp);

/*
 * Waits until done(opaque), which is asked under the loop's lock and must call nothing of the
 * loop.  While nobody dispatches, this thread runs the internal watches itself, and nothing
 * else; whoever comes to dispatch gets the loop from it at once.  stuck(opaque) is asked before
 * each sleep of these, without the lock: whether nobody but this thread could end it.
 * NULL: never.
 * Returns: 1 done, 0 time-out, -1 with an error: BUSY (called from inside a dispatch of this
 * loop, which it would wait for; stuck), INTR, CLOSED (the loop is, and it is not done).  Any
 * thread.
 */
int qio_loop_help(AioContext *ctx, bool (*done)(void *opaque), bool (*stuck)(void *opaque),
                  void *opaque, int timeout_ms, Error **errp);
/* What done() of somebody in qio_loop_help() says may have changed.  Any thread. */
void qio_loop_poke(AioContext *ctx);

/*
 * Takes a descriptor out of every loop: call it before a descriptor that some subject named
 * is closed or given away, after ending the subject's watches.  A loop keeps a registration
 * for the next waiter, and epoll itself keeps it as long as a copy is open in any process.
 * Watches that still wait for it are ended, or asked again when their subject is not direct.
 * Any thread.
 */
void qio_loop_forget_fd(int fd);

/*
 * A descriptor of the library's own that every loop waits for, now and later ones; each that finds
 * it readable calls func, with no lock held, as no callback of anybody.  There is one such; -1 =
 * none, before it is closed.  A loop without room for it goes without.  Any thread.
 */
void qio_loop_set_common(int fd, void (*func)(void));

/* Asks a watch to advance again in the next dispatch.  Any thread. */
void qio_loop_watch_kick(QIOLoopWatch *watch);
/* The same, but for one whose function or subject is just being called by this thread: it is asked
 * after that anyway. */
void qio_loop_watch_kick_other(QIOLoopWatch *watch);

/*
 * The subject closed: one last call (or event) with condition | G_IO_NVAL in the next
 * dispatch, then the watch is removed.  Its descriptors leave the epoll set in this call,
 * so the caller may close them when it returns.  Any thread.
 */
void qio_loop_watch_end(QIOLoopWatch *watch);

/* Removes a queued watch without any further event, not even QIO_LOOP_RELEASED; destroy runs in
 * a dispatch.  False: it was removed already.  Any thread. */
bool qio_loop_watch_withdraw(QIOLoopWatch *watch);

bool qio_loop_watch_is_removed(QIOLoopWatch *watch);

/* What qio_loop_next() reports. */
typedef struct QIOLoopEvent {
    QIOLoopKind kind;
    GIOCondition condition;
    QIOLoopWatch *watch;    /* borrowed: good until the next call that dispatches or reports */
    void *opaque;
} QIOLoopEvent;

/*
 * Reports up to cap due events of queued watches and calls nothing (no func, no destroy of
 * a watch with a func; destroy of queued watches only).  *callbacks_due is set to whether a
 * dispatch would run something.
 * Returns: the number of events, 0 on time-out, wake-up or when only callbacks are due;
 * -1 BUSY, INTR, CLOSED.  Loop thread.
 */
int qio_loop_next(AioContext *ctx, QIOLoopEvent *events, int cap, int timeout_ms,
                  bool *callbacks_due, Error **errp);
/* The same; before anybody else may take the loop, whose next call ends what the events lend out,
 * look() is shown them.  It must call nothing of the loop. */
typedef void (QIOLoopLookFunc)(const QIOLoopEvent *events, int n, void *opaque);
int qio_loop_next_look(AioContext *ctx, QIOLoopEvent *events, int cap, int timeout_ms,
                       bool *callbacks_due, QIOLoopLookFunc *look, void *opaque, Error **errp);

/*
 * In a forked child, whoever still holds references: closes this process's copies of the
 * loop's descriptors and leaves the rest alone.  Its locks may be held by threads that the
 * child does not have, and its epoll set is the parent's too.
 */
void qio_loop_abandon(AioContext *ctx);

/* Called inside a callback: the dispatch that runs it ends after it, and what else is due stays
 * due.  For the flat ABI, whose dispatch returns a callback's failure at once and must lose
 * neither the later callbacks nor the error of a second one. */
void qio_loop_break(AioContext *ctx);

/* Keeps the memory of a loop, not the loop open: calls on it say CLOSED when it is.  NULL stands
 * for the main loop, and is the answer when there is none. */
AioContext *qio_loop_keep(AioContext *ctx);
void qio_loop_let_go(AioContext *ctx);

/* True on the thread that is dispatching ctx right now. */
bool qio_loop_is_dispatching(AioContext *ctx);
/* True on the thread that is inside qio_loop_help() with it, where the one above is, too. */
bool qio_loop_is_helping(AioContext *ctx);
/* True on the thread that dispatches ctx or takes its events, by who did so last; before anybody
 * has, where there is only one thread.  Who sleeps there sleeps for ever if the loop has to act. */
bool qio_loop_is_served_here(AioContext *ctx);

#endif
