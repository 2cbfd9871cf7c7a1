/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/context.h: what the files of the loop share; nothing outside core/loop includes it.
 *
 * Owns: the structs of a loop, its watches and its registrations.
 * Rule: everything not marked otherwise is under ctx->lock, which is never held while a
 * function of a user or of a subject runs.  Functions declared here are called with the
 * lock held unless their comment says otherwise; those that drop it for a while say so.
 *
 * The three steps of a turn keep the rest simple: (1) harvest: all of an epoll batch is
 * turned into entries of the ready lists before any callback runs, so removing a watch is
 * unlinking it, whoever does it and when; (2) run what is on the ready list now, each watch
 * once, so nothing starves; (3) ask the subjects that have to be asked again.
 */
#ifndef QIO_LOOP_CONTEXT_H
#define QIO_LOOP_CONTEXT_H

#include "base/sys.h"
#include "loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>

#define QIO_LOOP_BATCH 64       /* epoll events a turn harvests; epoll hands the rest out next */

/* Conditions are G_IO_* and EPOLL* at once, which are equal. */
#define QIO_LOOP_UNASKED (G_IO_ERR | G_IO_HUP)  /* reported whether asked for or not */
#define QIO_LOOP_ASKABLE (G_IO_IN | G_IO_PRI | G_IO_OUT | QIO_LOOP_UNASKED)

typedef struct QIOLoopRegistration QIOLoopRegistration;
typedef struct QIOLoopDeferred QIOLoopDeferred;
typedef struct QIOLoopSleeper QIOLoopSleeper;   /* help.c */

/* One descriptor of one watch, on the list of its registration. */
typedef struct QIOLoopLink {
    QIOLoopRegistration *reg;       /* NULL: epoll refuses the descriptor, it is always ready */
    QIOLoopWatch *watch;
    struct QIOLoopLink *next, **pprev;
    int fd;
    GIOCondition events;
} QIOLoopLink;

/* One descriptor in the epoll set, for all its watches. */
struct QIOLoopRegistration {
    int fd;
    uint32_t slot;
    GIOCondition mask;              /* what epoll was told */
    QIOLoopLink *links;             /* NULL: nobody, kept for the next waiter or until it fires */
};

/* Where epoll's data leads; the generation must match too. */
typedef struct QIOLoopSlot {
    QIOLoopRegistration *reg;       /* NULL: free */
    uint32_t generation;
    uint32_t next_free;             /* index + 1, 0 = none */
} QIOLoopSlot;

/* How a watch tells that it is due. */
typedef enum QIOLoopWay {
    QIO_LOOP_CALLS,                 /* its function, in a dispatch */
    QIO_LOOP_QUEUES,                /* an event, in qio_loop_next() */
    QIO_LOOP_INTERNAL,              /* its function, in either */
} QIOLoopWay;

typedef enum QIOLoopWatchKind {
    QIO_LOOP_WATCH_FD,
    QIO_LOOP_WATCH_SUBJECT,
    QIO_LOOP_WATCH_TIMER,
} QIOLoopWatchKind;

struct QIOLoopWatch {
    atomic_int refs;                /* handles, and one of the loop until it has let go */
    AioContext *ctx;                /* a struct reference */
    QIOLoopWatchKind kind;
    bool queued;                    /* no function: qio_loop_next() reports it */
    bool internal;                  /* the library's own: fixed at birth */
    atomic_bool removed;            /* written under the lock, read anywhere */
    bool ended;                     /* one call with NVAL is due, then it is removed */
    bool running;                   /* its function, or its subject's, is being called */
    bool soft;                      /* the subject said it is ready, without a descriptor */
    bool let_go;                    /* QIO_LOOP_RELEASED was reported */
    bool asking;                    /* on ctx->asks */
    GIOCondition condition;
    GIOCondition standing;          /* ready until it fires: ended, always ready */
    GIOCondition harvested;         /* what epoll said, true in the turn below only */
    uint64_t turn;
    uint64_t last_report;           /* ctx->last_report then, or when it was made */

    union {
        QIOFdFunc fd;
        QIOSubjectFunc subject;
        QIOTimerFunc timer;
    } func;
    void *opaque;
    GDestroyNotify destroy;

    void *subject;
    const QIOLoopSubjectOps *ops;   /* NULL: not a subject */
    int n_links;
    QIOLoopLink links[QIO_POLL_MAX];

    int64_t deadline_ns;            /* timers */
    int64_t period_ns;
    uint64_t timer_seq;             /* equal deadlines fire in the order they were set */
    int heap_index;                 /* -1: not in the heap */

    GQueue *ready_in;               /* the ready list it is on, or NULL */
    GList ready_node, ask_node, all_node;
};

struct AioContext {
    atomic_int refs;                /* of users; the last one closes the loop */
    atomic_int struct_refs;         /* of watches, which may outlive it, and one of the users */
    atomic_bool dying;              /* the users' last reference is gone */
    pthread_mutex_t lock;
    int epfd, wakefd, timerfd;      /* fixed; closed with the users' last reference */
    GList loops_node;               /* aio.c's list of all loops */
    _Atomic(const void *) dispatcher;   /* the thread inside a dispatch, or NULL */
    _Atomic uint64_t server;        /* the last that dispatched it or took its events; 0 = nobody */
    atomic_bool quit;
    atomic_bool notified;           /* qio_aio_context_notify() since the last harvest */

    uint32_t epoch;                 /* base/fork.h: the process that made it */
    bool broken;                    /* qio_loop_break(); the dispatcher's, without the lock */
    bool closed;
    bool exposed;                   /* somebody may poll epfd outside the library */
    bool signalled;                 /* wakefd is known to be readable */
    int waiting;                    /* threads in qio_aio_context_wait() */
    uint64_t turn;                  /* counts harvests */
    uint64_t last_report;           /* counts events of queued watches */

    GQueue watches;                 /* all that are not removed, but for the internal ones */
    GQueue ready[2];                /* with a function; ready[filling] takes new ones */
    int filling;
    GQueue ready_queued;
    GQueue asks;                    /* subjects to ask in this turn or the next */
    GQueue releases;                /* removed, destroy still to run (by ready_node) */
    GQueue releases_queued;         /* removed, QIO_LOOP_RELEASED still to report */
    GQueue internals;               /* the same lists of the library's own watches */
    GQueue ready_internal;
    GQueue asks_internal;
    GQueue releases_internal;
    GPtrArray *reported;            /* what the last qio_loop_next() lent out */
    GPtrArray *spare_reported;      /* an empty one, or NULL */
    QIOLoopDeferred *deferred, **deferred_end;

    QIOLoopSlot *slots;
    uint32_t n_slots;
    uint32_t free_slot;             /* index + 1, 0 = none */
    GHashTable *by_fd;              /* fd -> QIOLoopRegistration */

    GPtrArray *timers;              /* binary heap of QIOLoopWatch */
    uint64_t timer_seq;
    int64_t armed_ns;               /* when timerfd fires; QIO_NEVER = disarmed */

    QIOLoopSleeper *helper;         /* help.c: the dispatcher is one that only helps */
    QIOLoopSleeper *standbys;       /* help.c: who would help once the loop is free */
    unsigned wanted;                /* threads that wait for the helper to leave */
    pthread_cond_t helper_left;

    pthread_mutex_t handlers_lock;  /* fd-handler.c; taken before lock */
    GHashTable *handlers;           /* fd -> handler */
};

/* epoll's data for what is not a registration: no generation is ever UINT32_MAX. */
#define QIO_LOOP_DATA_WAKE UINT64_MAX
#define QIO_LOOP_DATA_TIMER (UINT64_MAX - 1)
#define QIO_LOOP_DATA_COMMON (UINT64_MAX - 2)

/* Who a harvest is for. */
typedef enum QIOLoopPuller {
    QIO_LOOP_FOR_DISPATCH,          /* fires the watches that have a function */
    QIO_LOOP_FOR_NEXT,              /* reports the queued ones; the internal ones run for both */
} QIOLoopPuller;

typedef struct QIOLoopHarvest {
    QIOLoopPuller puller;
    bool woken;                     /* by qio_aio_context_notify() */
    bool common;                    /* qio_loop_set_common()'s is readable */
    bool others;                    /* a watch of the other puller is ready: it stays so */
} QIOLoopHarvest;

/* ---- what the lists hold; inline, as each turn looks several times ---- */

static inline bool qio_loop_callbacks_due(AioContext *ctx)
{
    return ctx->ready[ctx->filling].length || ctx->releases.length || ctx->deferred;
}

static inline bool qio_loop_queued_due(AioContext *ctx)
{
    return ctx->ready_queued.length || ctx->releases_queued.length;
}

static inline bool qio_loop_internals_due(AioContext *ctx)
{
    return ctx->ready_internal.length || ctx->asks_internal.length ||
           ctx->releases_internal.length;
}

/* ---- aio.c ---- */

/* Without the lock.  NULL stands for the main loop; NULL with an error when there is none. */
AioContext *qio_loop_resolve(AioContext *ctx, Error **errp);
/* Without the lock. */
void qio_loop_struct_unref(AioContext *ctx);
void qio_loop_call_common(void);
/* Something of users became due: wakes whoever sleeps on the loop. */
void qio_loop_signal(AioContext *ctx);
/* The same for a watch; an internal one that became due, came or went wakes the helper too. */
void qio_loop_signal_for(const QIOLoopWatch *watch);
/* Makes wakefd readable exactly while something is due. */
void qio_loop_settle(AioContext *ctx);
void qio_loop_drain(AioContext *ctx);
void qio_loop_set_closed_error(Error **errp);
/* What identifies the calling thread. */
const void *qio_loop_this_thread(void);

/* ---- dispatch.c ---- */

/* Makes the caller the dispatcher and takes the lock: 0, or -1 BUSY, CLOSED without it. */
int qio_loop_begin(AioContext *ctx, Error **errp);
/* Ends that and unlocks. */
void qio_loop_end(AioContext *ctx);
/* A deadline for both pullers: 0 = try. */
int64_t qio_loop_deadline_ns(int timeout_ms);
bool qio_loop_is_past(int64_t deadline_ns);
/* Waits until the deadline unless something is due already, and sorts what epoll says into
 * the ready lists.  Drops the lock.  Returns 0, or -1 INTR, SYSTEM. */
int qio_loop_harvest(AioContext *ctx, int64_t deadline_ns, QIOLoopHarvest *harvest,
                     Error **errp);
/* Runs the destroy notifies of a list; drops the lock.  Returns how many. */
int qio_loop_run_releases(AioContext *ctx, GQueue *list);

/* ---- registration.c ---- */

/* Joins a descriptor of a watch to its registration, made or widened as needed.
 * Returns 0, or -1 with errno. */
int qio_loop_link_add(QIOLoopWatch *watch, int fd, GIOCondition events);
/* Takes the links out; keep: registrations that lose their last one stay for a while. */
void qio_loop_links_drop(QIOLoopWatch *watch, bool keep);
/* Makes the links those of fds; equal ones are not touched.  0, or -1 with errno. */
int qio_loop_links_set(QIOLoopWatch *watch, const QIOPollFd *fds, int n);
/* The conditions of the links that are always ready. */
GIOCondition qio_loop_links_always(const QIOLoopWatch *watch);
/* What to do about one epoll event. */
void qio_loop_registration_fire(AioContext *ctx, const struct epoll_event *event,
                                QIOLoopHarvest *harvest);
/* An event of a descriptor that counts for the internal watches only. */
void qio_loop_registration_fire_internal(AioContext *ctx, int fd, GIOCondition events);
void qio_loop_registration_forget(AioContext *ctx, int fd);
void qio_loop_registrations_free(AioContext *ctx);

/* ---- watch.c ---- */

/*
 * The three steps of adding a watch, without the lock before the second and after the third.
 * new: one reference for the loop, one for the caller; NULL when there is no main loop
 * (destroy has run).  enter: takes the lock and, unless the loop is closed, takes the watch
 * in, also one whose arguments were found wrong (ok false), so that its destroy runs where
 * it should.  entered: unlocks; the handle, or NULL.
 */
QIOLoopWatch *qio_loop_watch_new(AioContext *ctx, QIOLoopWatchKind kind, QIOLoopWay way,
                                 void *opaque, GDestroyNotify destroy, Error **errp);
bool qio_loop_watch_enter(QIOLoopWatch *watch, bool ok, Error **errp);
QIOLoopWatch *qio_loop_watch_entered(QIOLoopWatch *watch, bool ok);
/* Removes; true: the caller must qio_loop_watch_drop() it after unlocking. */
bool qio_loop_watch_remove_locked(QIOLoopWatch *watch) G_GNUC_WARN_UNUSED_RESULT;
/* The same, dropping the lock for the rest. */
void qio_loop_watch_remove_relock(QIOLoopWatch *watch);
/* Without the lock: gives up the subject and the reference that came along. */
void qio_loop_watch_drop(QIOLoopWatch *watch);
/* For a removed watch that nobody is calling (any more): queues what is to be released;
 * the caller must qio_loop_watch_drop() it after unlocking. */
void qio_loop_watch_retire(QIOLoopWatch *watch);
void qio_loop_watch_end_locked(QIOLoopWatch *watch);

/* ---- ready.c ---- */

void qio_loop_watch_push(QIOLoopWatch *watch);
void qio_loop_watch_unpush(QIOLoopWatch *watch);
void qio_loop_watch_push_ask(QIOLoopWatch *watch);
/* The conditions that hold without asking anybody: makes the watch ready for them. */
void qio_loop_watch_push_always(QIOLoopWatch *watch);
/* A descriptor of the watch had an event. */
void qio_loop_watch_fd_event(QIOLoopWatch *watch, GIOCondition events, QIOLoopHarvest *harvest);
/* Asks the subjects that are due to be asked, each once; drops the lock. */
void qio_loop_run_asks(AioContext *ctx);
/* Asks, runs and releases what is due of the internal watches, each once; drops the lock. */
void qio_loop_run_internals(AioContext *ctx);
/* Calls the functions of what is ready, each once; drops the lock.  Returns how many. */
int qio_loop_run_ready(AioContext *ctx);
/* Reports a ready queued watch; drops the lock.  False: it was not ready after all. */
bool qio_loop_watch_report(QIOLoopWatch *watch, QIOLoopEvent *event);

/* ---- timer.c ---- */

void qio_loop_timer_stop(QIOLoopWatch *watch);
/* Puts a repeating timer back after it fired. */
void qio_loop_timer_repeat(QIOLoopWatch *watch);
/* Moves what has expired to the ready lists and arms timerfd for the next. */
void qio_loop_timers_expire(AioContext *ctx, bool fired);
/* The deadline that timerfd does not know of, because arming it failed; else QIO_NEVER. */
int64_t qio_loop_timers_unarmed_ns(AioContext *ctx);

/* ---- defer.c ---- */

/* Runs what was deferred before the call, in order; drops the lock.  Returns how many. */
int qio_loop_run_deferred(AioContext *ctx);
/* The loop closes: releases all, enters scheduled coroutines; drops the lock. */
void qio_loop_close_deferred(AioContext *ctx);

/* ---- fd-handler.c ---- */

/* Without the lock. */
void qio_loop_handlers_free(AioContext *ctx);

/* ---- help.c ---- */

/* Waits until no helper is inside the loop; drops the lock. */
void qio_loop_take_over(AioContext *ctx);
/* The loop is free, or something that a helper may wait for happened. */
void qio_loop_wake_standbys(AioContext *ctx);
/* Something became due that concerns the helper; does nothing on its own thread. */
void qio_loop_wake_helper(AioContext *ctx);

/* ---- next.c ---- */

/* Gives back what the last qio_loop_next() lent out; drops the lock. */
void qio_loop_drop_reported(AioContext *ctx);

#endif
