/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/help.c: waiting for an operation while nobody dispatches its loop.
 *
 * Owns: qio_loop_help(), the helper and the standbys.
 * Rule: a helper is the dispatcher as far as others can see, but runs internal watches only and
 * leaves as soon as somebody wants to dispatch.  It does not sleep in epoll, where users' watches
 * that are ready would keep it awake, but polls the descriptors of the internal watches itself.
 * Who finds the loop dispatched stands by until it is free or the operation has ended.
 * Each sleeps with an eventfd of its own in the poll; without one it looks again every 20 ms.
 */
#include "loop/context.h"

enum { NO_FD_LOOK_MS = 20 };

struct QIOLoopSleeper {
    int fd;                     /* -1 = out of descriptors */
    bool woken;
    QIOLoopSleeper *next;       /* of the standbys */
};

/* What qio_loop_help() is called with. */
typedef struct Wait {
    AioContext *ctx;
    bool (*done)(void *opaque);
    bool (*stuck)(void *opaque);
    void *opaque;
    int64_t deadline_ns;
    QIOLoopSleeper sleeper;
} Wait;

/* What a step of waiting leads to. */
typedef enum Step {
    STEP_FAILED = -1,
    STEP_TIME_OUT = 0,
    STEP_DONE = 1,
    STEP_AGAIN,
} Step;

static void wake(QIOLoopSleeper *sleeper)
{
    const uint64_t one = 1;
    ssize_t n;

    if (sleeper->woken || sleeper->fd < 0) {
        return;
    }
    sleeper->woken = true;
    do {
        n = sys_write(sleeper->fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
}

static void drain(QIOLoopSleeper *sleeper)
{
    uint64_t count;
    ssize_t n;

    if (!sleeper->woken) {
        return;
    }
    sleeper->woken = false;
    do {
        n = sys_read(sleeper->fd, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
}

void qio_loop_wake_helper(AioContext *ctx)
{
    if (ctx->helper && !qio_loop_is_dispatching(ctx)) {
        wake(ctx->helper);
    }
}

void qio_loop_wake_standbys(AioContext *ctx)
{
    for (QIOLoopSleeper *sleeper = ctx->standbys; sleeper; sleeper = sleeper->next) {
        wake(sleeper);
    }
}

void qio_loop_take_over(AioContext *ctx)
{
    bool waited = false;

    while (ctx->helper && !qio_loop_is_dispatching(ctx)) {
        ctx->wanted++;
        wake(ctx->helper);
        pthread_cond_wait(&ctx->helper_left, &ctx->lock);
        ctx->wanted--;
        waited = true;
    }
    if (waited && ctx->closed) {
        /* They let the caller go first, who goes away instead. */
        qio_loop_wake_standbys(ctx);
    }
}

bool qio_loop_is_helping(AioContext *ctx)
{
    return qio_loop_is_dispatching(ctx) && ctx->helper;
}

void qio_loop_poke(AioContext *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    qio_loop_wake_helper(ctx);
    qio_loop_wake_standbys(ctx);
    pthread_mutex_unlock(&ctx->lock);
}

/* Polls n descriptors, the first of which is the sleeper's; drops the lock.  As poll(2), with
 * errno. */
static int sleep_on(Wait *wait, struct pollfd *fds, nfds_t n, int64_t until_ns)
{
    int timeout_ms = sys_ms_left(MIN(until_ns, wait->deadline_ns));
    int ret, number;

    fds[0] = (struct pollfd) { .fd = wait->sleeper.fd, .events = POLLIN };
    if (wait->sleeper.fd < 0 && (timeout_ms < 0 || timeout_ms > NO_FD_LOOK_MS)) {
        timeout_ms = NO_FD_LOOK_MS;
    }
    pthread_mutex_unlock(&wait->ctx->lock);
    ret = sys_poll(fds, n, timeout_ms);
    number = errno;
    pthread_mutex_lock(&wait->ctx->lock);
    drain(&wait->sleeper);
    errno = number;
    return ret;
}

static Step poll_failed(Error **errp)
{
    if (errno == EINTR) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal interrupted the wait for the operation");
    } else {
        qio_error_set_errno(errp, errno, "cannot wait for the operation");
    }
    return STEP_FAILED;
}

/* ---- the helper ---- */

/* The descriptors of the internal watches behind a first entry; *until_ns: their next timer. */
static GArray *collect(AioContext *ctx, int64_t *until_ns)
{
    GArray *fds = g_array_new(FALSE, TRUE, sizeof(struct pollfd));

    g_array_set_size(fds, 1);
    *until_ns = QIO_NEVER;
    for (GList *node = ctx->internals.head; node; node = node->next) {
        QIOLoopWatch *watch = node->data;

        for (int i = 0; i < watch->n_links; i++) {
            struct pollfd pfd = {
                .fd = watch->links[i].fd, .events = (short)watch->links[i].events,
            };

            if (watch->links[i].reg) {
                g_array_append_val(fds, pfd);
            }
        }
        if (watch->heap_index >= 0) {
            *until_ns = MIN(*until_ns, watch->deadline_ns);
        }
    }
    return fds;
}

static void expire(AioContext *ctx)
{
    int64_t now_ns = sys_now_ns();

    for (GList *node = ctx->internals.head; node; node = node->next) {
        QIOLoopWatch *watch = node->data;

        if (watch->heap_index >= 0 && watch->deadline_ns <= now_ns) {
            qio_loop_timer_stop(watch);
            qio_loop_watch_push(watch);
        }
    }
}

/* One sleep until an internal watch may be due.  0, or -1 with errno. */
static int look(Wait *wait)
{
    AioContext *ctx = wait->ctx;
    int64_t until_ns;
    GArray *fds = collect(ctx, &until_ns);
    const struct pollfd *pfd = (const struct pollfd *)fds->data;
    int n, number;

    if (qio_loop_internals_due(ctx)) {
        until_ns = 0;
    }
    n = sleep_on(wait, (struct pollfd *)fds->data, fds->len, until_ns);
    number = errno;
    ctx->turn++;
    for (guint i = 1; n > 0 && i < fds->len; i++) {
        /* By number: what was watched then may be gone, or another's, by now. */
        if (pfd[i].revents) {
            qio_loop_registration_fire_internal(ctx, pfd[i].fd, (GIOCondition)pfd[i].revents);
        }
    }
    g_array_free(fds, TRUE);
    expire(ctx);
    errno = number;
    return n < 0 ? -1 : 0;
}

/* Asked without the lock, since it may look into channels, and that none of the internal watches
 * has anything to do is still true after it. */
static bool is_stuck(Wait *wait, Error **errp)
{
    bool stuck;

    if (!wait->stuck || wait->deadline_ns == 0 || qio_loop_internals_due(wait->ctx)) {
        return false;
    }
    pthread_mutex_unlock(&wait->ctx->lock);
    stuck = wait->stuck(wait->opaque);
    pthread_mutex_lock(&wait->ctx->lock);
    if (!stuck || qio_loop_internals_due(wait->ctx)) {
        return false;
    }
    qio_error_set(errp, QIO_ERROR_BUSY, "this thread is what the operation's channel waits for: it "
                  "cannot wait for the operation");
    return true;
}

static Step help_on(Wait *wait, Error **errp)
{
    bool last = false;

    for (;;) {
        qio_loop_run_internals(wait->ctx);
        if (wait->done(wait->opaque)) {
            return STEP_DONE;
        }
        if (wait->ctx->wanted) {
            return STEP_AGAIN;
        }
        if (last) {
            return STEP_TIME_OUT;
        }
        if (is_stuck(wait, errp)) {
            return STEP_FAILED;
        }
        if (look(wait) < 0) {
            return poll_failed(errp);
        }
        last = qio_loop_is_past(wait->deadline_ns);
    }
}

static Step help(Wait *wait, Error **errp)
{
    AioContext *ctx = wait->ctx;
    Step step;

    /* Keeps the loop open, as a dispatch does; what ended meanwhile ends after it. */
    qio_aio_context_ref(ctx);
    atomic_store(&ctx->dispatcher, qio_loop_this_thread());
    ctx->helper = &wait->sleeper;
    step = help_on(wait, errp);
    ctx->helper = NULL;
    qio_loop_settle(ctx);
    atomic_store(&ctx->dispatcher, NULL);
    pthread_cond_broadcast(&ctx->helper_left);
    qio_loop_wake_standbys(ctx);
    pthread_mutex_unlock(&ctx->lock);
    qio_aio_context_unref(ctx);
    pthread_mutex_lock(&ctx->lock);
    return step;
}

/* ---- standing by ---- */

static Step stand_by(Wait *wait, Error **errp)
{
    AioContext *ctx = wait->ctx;
    QIOLoopSleeper *me = &wait->sleeper;
    QIOLoopSleeper **link;
    struct pollfd pfd;
    int ret, number;

    if (qio_loop_is_past(wait->deadline_ns)) {
        return STEP_TIME_OUT;
    }
    me->next = ctx->standbys;
    ctx->standbys = me;
    ret = sleep_on(wait, &pfd, 1, QIO_NEVER);
    number = errno;
    for (link = &ctx->standbys; *link != me; link = &(*link)->next) {
    }
    *link = me->next;
    errno = number;
    return ret < 0 ? poll_failed(errp) : STEP_AGAIN;
}

static Step step_on(Wait *wait, Error **errp)
{
    AioContext *ctx = wait->ctx;

    if (wait->done(wait->opaque)) {
        return STEP_DONE;
    }
    if (qio_loop_is_dispatching(ctx) && wait->deadline_ns == 0) {
        return STEP_TIME_OUT;
    }
    if (qio_loop_is_dispatching(ctx)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "waiting inside a callback of the loop that the operation needs would "
                      "never end");
        return STEP_FAILED;
    }
    /* Who wants to dispatch goes first. */
    if (atomic_load(&ctx->dispatcher) || ctx->wanted) {
        return stand_by(wait, errp);
    }
    if (ctx->closed) {
        qio_loop_set_closed_error(errp);
        return STEP_FAILED;
    }
    return help(wait, errp);
}

int qio_loop_help(AioContext *ctx, bool (*done)(void *opaque), bool (*stuck)(void *opaque),
                  void *opaque, int timeout_ms, Error **errp)
{
    Wait wait = {
        .ctx = ctx, .done = done, .stuck = stuck, .opaque = opaque,
        .deadline_ns = qio_loop_deadline_ns(timeout_ms),
        .sleeper.fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    Step step;

    atomic_fetch_add(&ctx->struct_refs, 1);
    pthread_mutex_lock(&ctx->lock);
    do {
        step = step_on(&wait, errp);
    } while (step == STEP_AGAIN);
    pthread_mutex_unlock(&ctx->lock);
    qio_loop_struct_unref(ctx);
    if (wait.sleeper.fd >= 0) {
        sys_close(wait.sleeper.fd);
    }
    return step;
}
