/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/aio.c: the life of a loop, and the one descriptor that stands for it.
 *
 * Owns: AioContext from new to close, the list of all loops, wakefd.
 * Rule: two counts.  Users' references keep the loop open; the last one closes it.  Struct
 * references keep the memory for watch handles that outlive it, so that removing a watch
 * late is harmless.  Whoever dispatches holds a user's reference.
 *
 * wakefd is written only when somebody can see it: another thread is inside a dispatch or a
 * wait, or the loop's descriptor was given out.  A thread that dispatches looks at the lists
 * before it sleeps, so it never has to wake itself.
 */
#include "base/fork.h"
#include "loop/context.h"

/* Guards the list; taken before any loop's lock. */
static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;
static GQueue loops = G_QUEUE_INIT;

/* What every loop waits for beside its own; under loops_lock. */
static struct {
    int fd;                     /* -1 = nothing */
    void (*func)(void);
    uint32_t epoch;             /* base/fork.h: a child's loops have no use for the parent's */
} common = { .fd = -1 };

/* A child finds the list whole and its lock free. */
static void lock_loops(void)
{
    pthread_mutex_lock(&loops_lock);
}

static void unlock_loops(void)
{
    pthread_mutex_unlock(&loops_lock);
}

static void __attribute__((constructor)) guard_fork(void)
{
    pthread_atfork(lock_loops, unlock_loops, unlock_loops);
}

static bool is_inherited(AioContext *ctx)
{
    return ctx->epoch != qio_fork_epoch();
}

/* Not inlined: a coroutine may go on in another thread, and the compiler would keep the
 * address that it took in the first. */
const void *__attribute__((noinline)) qio_loop_this_thread(void)
{
    static __thread char marker;
    const void *address = &marker;

    __asm__ volatile("" : "+r"(address));
    return address;
}

void qio_loop_set_closed_error(Error **errp)
{
    qio_error_set(errp, QIO_ERROR_CLOSED, "the loop is closed");
}

static int add_internal(AioContext *ctx, int fd, uint64_t data)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };

    return sys_epoll_ctl(ctx->epfd, EPOLL_CTL_ADD, fd, &event);
}

static void init_lists(AioContext *ctx)
{
    g_queue_init(&ctx->watches);
    g_queue_init(&ctx->ready[0]);
    g_queue_init(&ctx->ready[1]);
    g_queue_init(&ctx->ready_queued);
    g_queue_init(&ctx->asks);
    g_queue_init(&ctx->releases);
    g_queue_init(&ctx->releases_queued);
    g_queue_init(&ctx->internals);
    g_queue_init(&ctx->ready_internal);
    g_queue_init(&ctx->asks_internal);
    g_queue_init(&ctx->releases_internal);
    ctx->reported = g_ptr_array_new();
    ctx->deferred_end = &ctx->deferred;
    ctx->by_fd = g_hash_table_new(NULL, NULL);
    ctx->handlers = g_hash_table_new(NULL, NULL);
    ctx->timers = g_ptr_array_new();
    ctx->armed_ns = QIO_NEVER;
    ctx->loops_node.data = ctx;
}

AioContext *qio_aio_context_new(Error **errp)
{
    AioContext *ctx = g_new0(AioContext, 1);

    ctx->epfd = sys_epoll_create1(EPOLL_CLOEXEC);
    if (ctx->epfd < 0) {
        qio_error_set_errno(errp, errno, "cannot make the epoll descriptor of a loop");
        goto no_epoll;
    }
    ctx->wakefd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ctx->wakefd < 0) {
        qio_error_set_errno(errp, errno, "cannot make the wake-up descriptor of a loop");
        goto no_eventfd;
    }
    ctx->timerfd = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (ctx->timerfd < 0) {
        qio_error_set_errno(errp, errno, "cannot make the timer descriptor of a loop");
        goto no_timerfd;
    }
    if (add_internal(ctx, ctx->wakefd, QIO_LOOP_DATA_WAKE) < 0 ||
        add_internal(ctx, ctx->timerfd, QIO_LOOP_DATA_TIMER) < 0) {
        qio_error_set_errno(errp, errno, "cannot fill the epoll set of a loop");
        goto no_room;
    }
    ctx->epoch = qio_fork_epoch();
    atomic_init(&ctx->refs, 1);
    atomic_init(&ctx->struct_refs, 1);
    pthread_mutex_init(&ctx->lock, NULL);
    pthread_mutex_init(&ctx->handlers_lock, NULL);
    pthread_cond_init(&ctx->helper_left, NULL);
    init_lists(ctx);
    pthread_mutex_lock(&loops_lock);
    g_queue_push_tail_link(&loops, &ctx->loops_node);
    if (common.fd >= 0 && common.epoch == ctx->epoch) {
        add_internal(ctx, common.fd, QIO_LOOP_DATA_COMMON);
    }
    pthread_mutex_unlock(&loops_lock);
    return ctx;

no_room:
    sys_close(ctx->timerfd);
no_timerfd:
    sys_close(ctx->wakefd);
no_eventfd:
    sys_close(ctx->epfd);
no_epoll:
    g_free(ctx);
    return NULL;
}

void qio_loop_struct_unref(AioContext *ctx)
{
    if (atomic_fetch_sub(&ctx->struct_refs, 1) != 1) {
        return;
    }
    g_ptr_array_free(ctx->reported, TRUE);
    if (ctx->spare_reported) {
        g_ptr_array_free(ctx->spare_reported, TRUE);
    }
    g_ptr_array_free(ctx->timers, TRUE);
    g_hash_table_destroy(ctx->by_fd);
    g_hash_table_destroy(ctx->handlers);
    g_free(ctx->slots);
    pthread_cond_destroy(&ctx->helper_left);
    pthread_mutex_destroy(&ctx->handlers_lock);
    pthread_mutex_destroy(&ctx->lock);
    g_free(ctx);
}

AioContext *qio_loop_keep(AioContext *ctx)
{
    ctx = qio_loop_resolve(ctx, NULL);
    if (ctx) {
        atomic_fetch_add(&ctx->struct_refs, 1);
    }
    return ctx;
}

void qio_loop_let_go(AioContext *ctx)
{
    if (ctx) {
        qio_loop_struct_unref(ctx);
    }
}

AioContext *qio_aio_context_ref(AioContext *ctx)
{
    g_return_val_if_fail(ctx != NULL, NULL);
    atomic_fetch_add(&ctx->refs, 1);
    return ctx;
}

/* Everything that still waits in the loop ends here.  The caller is the dispatcher, so a
 * function that runs in here finds the loop closed and busy. */
static void close_contents(AioContext *ctx)
{
    GList *node;

    while ((node = ctx->watches.head)) {
        qio_loop_watch_remove_relock(node->data);
    }
    while ((node = ctx->internals.head)) {
        qio_loop_watch_remove_relock(node->data);
    }
    qio_loop_registrations_free(ctx);
    pthread_mutex_unlock(&ctx->lock);
    qio_loop_handlers_free(ctx);
    pthread_mutex_lock(&ctx->lock);
    qio_loop_close_deferred(ctx);
    qio_loop_drop_reported(ctx);
    while ((node = g_queue_pop_head_link(&ctx->releases_queued))) {
        g_queue_push_tail_link(&ctx->releases, node);
    }
    qio_loop_run_releases(ctx, &ctx->releases_internal);
    qio_loop_run_releases(ctx, &ctx->releases);
}

static void wake(AioContext *ctx)
{
    const uint64_t one = 1;
    ssize_t n;

    do {
        n = sys_write(ctx->wakefd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
}

int qio_aio_context_close(AioContext *ctx, Error **errp)
{
    const void *nobody = NULL;

    g_return_val_if_fail(ctx != NULL, -1);
    if (is_inherited(ctx)) {
        qio_error_set(errp, QIO_ERROR_FORKED, "the loop belongs to the parent process");
        return -1;
    }
    pthread_mutex_lock(&ctx->lock);
    qio_loop_take_over(ctx);
    if (!atomic_compare_exchange_strong(&ctx->dispatcher, &nobody, qio_loop_this_thread())) {
        pthread_mutex_unlock(&ctx->lock);
        qio_error_set(errp, QIO_ERROR_BUSY, "the loop cannot close while it dispatches");
        return -1;
    }
    if (!ctx->closed) {
        ctx->closed = true;
        close_contents(ctx);
        /* For good: what polls the descriptor comes in and learns that the loop is closed. */
        wake(ctx);
    }
    atomic_store(&ctx->dispatcher, NULL);
    qio_loop_wake_standbys(ctx);
    pthread_mutex_unlock(&ctx->lock);
    return 0;
}

static void close_fds(AioContext *ctx)
{
    sys_close(ctx->timerfd);
    sys_close(ctx->wakefd);
    sys_close(ctx->epfd);
    ctx->timerfd = ctx->wakefd = ctx->epfd = -1;
}

void qio_loop_abandon(AioContext *ctx)
{
    if (is_inherited(ctx) && ctx->epfd >= 0) {
        close_fds(ctx);
    }
}

void qio_aio_context_unref(AioContext *ctx)
{
    if (!ctx || atomic_fetch_sub(&ctx->refs, 1) != 1) {
        return;
    }
    if (is_inherited(ctx)) {
        qio_loop_abandon(ctx);
        return;
    }
    /* A destroy notify that takes and drops a reference passes 1 again. */
    if (atomic_exchange(&ctx->dying, true)) {
        return;
    }
    qio_aio_context_close(ctx, NULL);
    pthread_mutex_lock(&loops_lock);
    g_queue_unlink(&loops, &ctx->loops_node);
    pthread_mutex_unlock(&loops_lock);
    close_fds(ctx);
    qio_loop_struct_unref(ctx);
}

void qio_loop_forget_fd(int fd)
{
    pthread_mutex_lock(&loops_lock);
    for (GList *node = loops.head; node; node = node->next) {
        AioContext *ctx = node->data;

        /* The parent's epoll set is the parent's: a copy of the descriptor is closed here. */
        if (is_inherited(ctx)) {
            continue;
        }
        pthread_mutex_lock(&ctx->lock);
        qio_loop_registration_forget(ctx, fd);
        pthread_mutex_unlock(&ctx->lock);
    }
    pthread_mutex_unlock(&loops_lock);
}

void qio_loop_set_common(int fd, void (*func)(void))
{
    struct epoll_event none = { 0 };

    pthread_mutex_lock(&loops_lock);
    for (GList *node = loops.head; node; node = node->next) {
        AioContext *ctx = node->data;

        if (is_inherited(ctx)) {
            continue;
        }
        if (common.fd >= 0 && common.epoch == ctx->epoch) {
            sys_epoll_ctl(ctx->epfd, EPOLL_CTL_DEL, common.fd, &none);
        }
        if (fd >= 0) {
            add_internal(ctx, fd, QIO_LOOP_DATA_COMMON);
        }
    }
    common.fd = fd;
    common.func = func;
    common.epoch = qio_fork_epoch();
    pthread_mutex_unlock(&loops_lock);
}

void qio_loop_call_common(void)
{
    void (*func)(void);

    pthread_mutex_lock(&loops_lock);
    func = common.fd >= 0 ? common.func : NULL;
    pthread_mutex_unlock(&loops_lock);
    if (func) {
        func();
    }
}

static bool is_due(AioContext *ctx)
{
    return qio_loop_callbacks_due(ctx) || qio_loop_queued_due(ctx) || ctx->asks.length ||
           qio_loop_internals_due(ctx) || atomic_load(&ctx->notified) || ctx->closed;
}

void qio_loop_signal(AioContext *ctx)
{
    /* A helper does nothing about it. */
    const void *dispatcher = ctx->helper ? NULL : atomic_load(&ctx->dispatcher);

    if (ctx->signalled || dispatcher == qio_loop_this_thread()) {
        return;
    }
    if (dispatcher || ctx->exposed || ctx->waiting) {
        wake(ctx);
        ctx->signalled = true;
    }
}

void qio_loop_signal_for(const QIOLoopWatch *watch)
{
    if (watch->internal && watch->ctx->helper) {
        qio_loop_wake_helper(watch->ctx);
    } else {
        qio_loop_signal(watch->ctx);
    }
}

void qio_loop_drain(AioContext *ctx)
{
    uint64_t count;
    ssize_t n;

    do {
        n = sys_read(ctx->wakefd, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
    ctx->signalled = false;
}

void qio_loop_settle(AioContext *ctx)
{
    bool due = is_due(ctx);

    if (!due && ctx->signalled) {
        qio_loop_drain(ctx);
        /* A notify needs no lock: what was read may have been its word. */
        due = atomic_load(&ctx->notified);
    }
    if (due && !ctx->signalled && (ctx->exposed || ctx->waiting)) {
        wake(ctx);
        ctx->signalled = true;
    }
}

/* Async-signal-safe: an atomic and one write. */
void qio_aio_context_notify(AioContext *ctx)
{
    int saved_errno = errno;

    g_return_if_fail(ctx != NULL);
    atomic_store(&ctx->notified, true);
    wake(ctx);
    errno = saved_errno;
}

void qio_aio_context_quit(AioContext *ctx)
{
    g_return_if_fail(ctx != NULL);
    atomic_store(&ctx->quit, true);
    qio_aio_context_notify(ctx);
}

int qio_aio_context_get_fd(AioContext *ctx)
{
    ctx = qio_loop_resolve(ctx, NULL);
    if (!ctx) {
        return -1;
    }
    pthread_mutex_lock(&ctx->lock);
    ctx->exposed = true;
    if (!atomic_load(&ctx->dispatcher) || ctx->helper) {
        qio_loop_settle(ctx);
    }
    pthread_mutex_unlock(&ctx->lock);
    return ctx->epfd;
}

/* Waits for epfd itself: a poll of it takes nothing away from who dispatches. */
static int wait_for_epfd(AioContext *ctx, int timeout_ms, Error **errp)
{
    struct pollfd pfd = { .fd = ctx->epfd, .events = POLLIN };
    int n = sys_poll(&pfd, 1, timeout_ms);

    if (n < 0 && errno == EINTR) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal interrupted the wait for the loop");
    } else if (n < 0) {
        qio_error_set_errno(errp, errno, "cannot wait for the loop");
    }
    return n;
}

int qio_aio_context_wait(AioContext *ctx, int timeout_ms, Error **errp)
{
    int ret = 1;
    bool closed;

    ctx = qio_loop_resolve(ctx, errp);
    if (!ctx) {
        return -1;
    }
    qio_aio_context_ref(ctx);
    pthread_mutex_lock(&ctx->lock);
    if (!is_due(ctx)) {
        ctx->waiting++;
        pthread_mutex_unlock(&ctx->lock);
        ret = wait_for_epfd(ctx, timeout_ms, errp);
        pthread_mutex_lock(&ctx->lock);
        ctx->waiting--;
    }
    closed = ctx->closed;
    pthread_mutex_unlock(&ctx->lock);
    qio_aio_context_unref(ctx);
    if (closed && ret >= 0) {
        qio_loop_set_closed_error(errp);
        return -1;
    }
    return ret;
}
