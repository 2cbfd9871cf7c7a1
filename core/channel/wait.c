/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/wait.c: plain waiting, the one place where a thread sleeps for readiness.
 *
 * Owns: sleepers (QIOWaiter) and each thread's wake-up descriptor, one per thread that ever
 * slept here, not one per channel.
 * Rules: {advance; poll what io_poll names} until ready or the deadline; time-out 0 first, the
 * wake-up descriptor only to sleep (it costs three quarters of a poll more).  A sleeper is
 * inside the channel, so close wakes it and the last one out releases the transport.  No
 * callback of anybody runs here.  Without a descriptor left for the wake-up the thread looks
 * again every 20 ms: running out of descriptors never turns into a failed read.
 */
#include "channel/layer.h"
#include "channel/orphan.h"
#include "channel/wait-seed.h"

enum { NO_WAKE_FD_LOOK_MS = 20 };

/* ---- conditions ---- */

GIOCondition qio_channel_class_condition(GIOCondition condition)
{
    return (condition & G_IO_OUT) |
           (condition & (G_IO_IN | QIO_CHANNEL_MORE) ? G_IO_IN : 0);
}

GIOCondition qio_channel_report(GIOCondition asked, GIOCondition ready)
{
    GIOCondition always = G_IO_ERR | G_IO_HUP | G_IO_NVAL;

    if ((ready & G_IO_IN) && (asked & QIO_CHANNEL_MORE)) {
        ready |= QIO_CHANNEL_MORE;
    }
    return ready & (asked | always);
}

/* A layer whose transfers may call functions of the program is entered for it, so that a close
 * inside of one of them comes when the layer can still say goodbye. */
static int advance(QIOChannel *ioc, GIOCondition condition)
{
    bool inside = G_UNLIKELY(qio_channel_priv(ioc)->layer_lock) &&
                  qio_channel_enter(ioc, QIO_USE_ONE, NULL) == 0;
    int advanced = qio_channel_class(ioc)->io_advance(ioc, qio_channel_class_condition(condition));

    if (inside) {
        qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    }
    return advanced;
}

GIOCondition qio_channel_soft_ready(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    GIOCondition ready = 0;
    int advanced;

    if ((condition & G_IO_IN) && qio_channel_priv(ioc)->ahead && qio_readahead_ready(ioc)) {
        ready = G_IO_IN;
    }
    if (klass->io_advance) {
        advanced = advance(ioc, condition);
        /* An error that stops the layer is ready: the next transfer tells what it is. */
        ready |= qio_channel_report(condition, advanced < 0 ? G_IO_IN | G_IO_OUT | G_IO_ERR
                                                            : (GIOCondition)advanced);
    }
    return ready;
}

/* ---- the thread's wake-up descriptor ---- */

static pthread_key_t wake_key;
static pthread_once_t wake_once = PTHREAD_ONCE_INIT;

static void wake_fd_close(void *value)
{
    sys_close(GPOINTER_TO_INT(value) - 1);
}

static void wake_key_make(void)
{
    pthread_key_create(&wake_key, wake_fd_close);
}

/* Returns: the descriptor, -1 when none could be had. */
static int thread_wake_fd(void)
{
    int fd;

    pthread_once(&wake_once, wake_key_make);
    fd = GPOINTER_TO_INT(pthread_getspecific(wake_key)) - 1;
    if (fd < 0) {
        fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd >= 0) {
            pthread_setspecific(wake_key, GINT_TO_POINTER(fd + 1));
        }
    }
    return fd;
}

static void wake_fd_drain(int fd)
{
    uint64_t count;
    ssize_t n;

    do {
        n = sys_read(fd, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
}

/* ---- sleepers ---- */

void qio_channel_waiter_add(QIOChannel *ioc, QIOWaiter *waiter)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);

    waiter->thread = pthread_self();
    pthread_mutex_lock(&priv->lock);
    waiter->next = priv->waiters;
    priv->waiters = waiter;
    pthread_mutex_unlock(&priv->lock);
}

void qio_channel_waiter_remove(QIOChannel *ioc, QIOWaiter *waiter)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    QIOWaiter **link;

    pthread_mutex_lock(&priv->lock);
    for (link = &priv->waiters; *link != waiter; link = &(*link)->next) {
    }
    *link = waiter->next;
    pthread_mutex_unlock(&priv->lock);
    if (waiter->woken && waiter->wake_fd >= 0) {
        wake_fd_drain(waiter->wake_fd);
    }
}

static void wake(QIOWaiter *waiter)
{
    const uint64_t one = 1;
    ssize_t n;

    waiter->woken = true;
    atomic_store(&waiter->due, true);
    if (waiter->context) {
        g_main_context_wakeup(waiter->context);
    } else if (waiter->wake_fd >= 0) {
        do {
            n = sys_write(waiter->wake_fd, &one, sizeof(one));
        } while (n < 0 && errno == EINTR);
    }
}

void qio_channel_wake_waiters(QIOChannel *ioc, GIOCondition condition, QIOErrorCode reason)
{
    QIOWaiter *waiter;

    for (waiter = qio_channel_priv(ioc)->waiters; waiter; waiter = waiter->next) {
        if (!(qio_channel_class_condition(waiter->condition) &
              qio_channel_class_condition(condition))) {
            continue;
        }
        if (reason != 0) {
            atomic_store(&waiter->reason, reason);
        }
        wake(waiter);
    }
}

void qio_channel_wake_other_waiters(QIOChannel *ioc)
{
    QIOWaiter *waiter;

    for (waiter = qio_channel_priv(ioc)->waiters; waiter; waiter = waiter->next) {
        if (!pthread_equal(waiter->thread, pthread_self())) {
            wake(waiter);
        }
    }
}

void qio_channel_set_waiter_error(QIOWaiter *waiter, Error **errp)
{
    qio_error_set(errp, QIO_ERROR_CANCELLED, "waiting was cancelled");
}

/* ---- waiting ---- */

static int watch_fds(QIOChannel *ioc, GIOCondition condition, struct pollfd *fds)
{
    QIOPollFd named[QIO_POLL_MAX];
    int n = qio_channel_class(ioc)->io_poll(ioc, qio_channel_class_condition(condition), named,
                                            QIO_POLL_MAX);
    int i;

    for (i = 0; i < n; i++) {
        fds[i].fd = named[i].fd;
        fds[i].events = (short)named[i].events;
        fds[i].revents = 0;
    }
    return n;
}

static GIOCondition fired(const struct pollfd *fds, int n)
{
    GIOCondition ready = 0;
    int i;

    for (i = 0; i < n; i++) {
        ready |= (GIOCondition)fds[i].revents;
    }
    return ready;
}

/* One look, without sleeping.  Returns: conditions, 0 = not ready, -1 */
static int look(QIOChannel *ioc, GIOCondition condition, Error **errp)
{
    struct pollfd fds[QIO_POLL_MAX];
    GIOCondition ready = qio_channel_soft_ready(ioc, condition);
    int n, r;

    if (ready) {
        return (int)ready;
    }
    n = watch_fds(ioc, condition, fds);
    if (n <= 0) {
        return 0;
    }
    do {
        r = sys_poll(fds, (nfds_t)n, 0);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        qio_error_set_errno(errp, errno, "cannot poll the channel's descriptor");
        return -1;
    }
    if (r == 0) {
        return 0;
    }
    if (qio_channel_direct(ioc)) {
        return (int)qio_channel_report(condition, fired(fds, n));
    }
    return (int)qio_channel_soft_ready(ioc, condition);
}

/* One poll of n descriptors, behind which there is room for QIO_POLL_OURS.  Returns as poll, with
 * errno.  Who was woken since the last one does not sleep: what he looked at in between may have
 * waited for something itself, with the same wake-up descriptor, and emptied it. */
static int poll_as_waiter(QIOWaiter *waiter, struct pollfd *fds, int n, int64_t deadline_ns)
{
    int timeout_ms = sys_ms_left(deadline_ns);
    int r;

    /* poll(2) passes a negative descriptor over. */
    fds[n] = (struct pollfd){ .fd = waiter->wake_fd, .events = POLLIN };
    fds[n + 1] = (struct pollfd){ .fd = qio_orphans_fd(), .events = POLLIN };
    if (waiter->wake_fd < 0 && (timeout_ms < 0 || timeout_ms > NO_WAKE_FD_LOOK_MS)) {
        timeout_ms = NO_WAKE_FD_LOOK_MS;
    }
    if (atomic_exchange(&waiter->due, false)) {
        timeout_ms = 0;
    }
    r = sys_poll(fds, (nfds_t)n + (fds[n + 1].fd >= 0 ? 2 : 1), timeout_ms);
    if (r > 0 && fds[n].revents) {
        wake_fd_drain(waiter->wake_fd);
    }
    if (r > 0 && fds[n + 1].revents) {
        qio_orphans_reap();
    }
    return r;
}

bool qio_channel_waits_for_itself(QIOChannel *ioc)
{
    QIOChannel *bottom = g_object_ref(ioc);
    QIOChannel *below;
    bool itself;

    while ((below = qio_layer_ref_below(bottom))) {
        g_object_unref(bottom);
        bottom = below;
    }
    itself = qio_channel_class(bottom)->io_waits_for_itself &&
             qio_channel_class(bottom)->io_waits_for_itself(bottom);
    g_object_unref(bottom);
    return itself;
}

static bool check_itself(QIOChannel *ioc, int64_t deadline_ns, Error **errp)
{
    if (!qio_channel_waits_for_itself(ioc) ||
        (deadline_ns != QIO_NEVER && sys_ms_left(deadline_ns) == 0)) {
        return true;
    }
    qio_error_set(errp, QIO_ERROR_BUSY, "this thread is what the channel waits for: it cannot "
                  "wait for the channel");
    return false;
}

/* One sleep.  Returns: > 0 conditions, 0 look at the time and go on, -1 */
static int sleep_once(QIOChannel *ioc, GIOCondition condition, QIOWaiter *waiter,
                      int64_t deadline_ns, bool interruptible, Error **errp)
{
    struct pollfd fds[QIO_POLL_MAX + QIO_POLL_OURS];
    int n = watch_fds(ioc, condition, fds);
    int r = poll_as_waiter(waiter, fds, n, deadline_ns);

    if (r < 0 && errno == EINTR) {
        if (interruptible) {
            qio_error_set(errp, QIO_ERROR_INTR, "a signal ended the wait");
            return -1;
        }
        return 0;
    }
    if (r < 0) {
        qio_error_set_errno(errp, errno, "cannot poll the channel's descriptor");
        return -1;
    }
    if (!qio_channel_direct(ioc)) {
        return 0;
    }
    return (int)qio_channel_report(condition, fired(fds, n));
}

static int sleep_until(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                       bool interruptible, Error **errp)
{
    QIOWaiter waiter = { .condition = condition, .wake_fd = thread_wake_fd() };
    int ready = 0;

    if (qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    qio_channel_waiter_add(ioc, &waiter);
    for (;;) {
        if (atomic_load(&waiter.reason) != 0 || qio_channel_closing(ioc)) {
            qio_channel_set_waiter_error(&waiter, errp);
            ready = -1;
            break;
        }
        ready = (int)qio_channel_soft_ready(ioc, condition);
        if (ready) {
            break;
        }
        if (!check_itself(ioc, deadline_ns, errp)) {
            ready = -1;
            break;
        }
        ready = sleep_once(ioc, condition, &waiter, deadline_ns, interruptible, errp);
        if (ready || (deadline_ns != QIO_NEVER && sys_ms_left(deadline_ns) == 0)) {
            break;
        }
    }
    qio_channel_waiter_remove(ioc, &waiter);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ready;
}

/* One sleep for a step's sake.  Returns: 1 go on, 0 the deadline has passed, -1 */
static int sleep_for_step(QIOChannel *ioc, GIOCondition condition, QIOWaiter *waiter,
                          int64_t deadline_ns, bool interruptible, Error **errp)
{
    struct pollfd fds[QIO_POLL_MAX + 2];
    int n;

    if (atomic_load(&waiter->reason) != 0 || qio_channel_closing(ioc)) {
        qio_channel_set_waiter_error(waiter, errp);
        return -1;
    }
    if (!check_itself(ioc, deadline_ns, errp)) {
        return -1;
    }
    n = watch_fds(ioc, condition, fds);
    if (poll_as_waiter(waiter, fds, n, deadline_ns) < 0 && (errno != EINTR || interruptible)) {
        if (errno == EINTR) {
            qio_error_set(errp, QIO_ERROR_INTR, "a signal ended the wait");
        } else {
            qio_error_set_errno(errp, errno, "cannot poll the channel's descriptor");
        }
        return -1;
    }
    return deadline_ns == QIO_NEVER || sys_ms_left(deadline_ns) > 0;
}

int qio_channel_take_steps(QIOChannel *ioc, QIOStepFunc *step, GIOCondition condition,
                           int64_t deadline_ns, bool interruptible, Error **errp)
{
    QIOWaiter waiter = { .condition = G_IO_IN | G_IO_OUT, .wake_fd = thread_wake_fd() };
    Error *err = NULL;
    int ret, more = 1;

    if (qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    qio_channel_waiter_add(ioc, &waiter);
    while ((ret = step(ioc, &err)) == QIO_CHANNEL_ERR_BLOCK && more > 0) {
        more = sleep_for_step(ioc, condition, &waiter, deadline_ns, interruptible, &err);
        if (more < 0) {
            break;
        }
    }
    /* Whatever the step met when its transport went away: the close is what ended it. */
    if (ret == -1 && qio_channel_ends(ioc)) {
        g_clear_pointer(&err, qio_error_free);
        qio_channel_set_waiter_error(&waiter, &err);
    }
    qio_channel_waiter_remove(ioc, &waiter);
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    if (ret == QIO_CHANNEL_ERR_BLOCK && more == 0) {
        qio_error_set(&err, QIO_ERROR_TIMEOUT, "the other side did not answer in time");
    }
    if (err) {
        qio_error_propagate(errp, err);
    }
    return ret == QIO_CHANNEL_ERR_BLOCK ? -1 : ret;
}

static int check_condition(GIOCondition condition, Error **errp)
{
    GIOCondition known = G_IO_IN | G_IO_OUT | QIO_CHANNEL_MORE | G_IO_ERR | G_IO_HUP | G_IO_NVAL;

    if ((condition & ~known) || !qio_channel_class_condition(condition)) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "condition: 0x%x; wait for IN (1), OUT (4) or both", (unsigned)condition);
        return -1;
    }
    return 0;
}

/* The first look, before any deadline is worked out. */
static int begin_wait(QIOChannel *ioc, GIOCondition condition, Error **errp)
{
    int ready;

    if (check_condition(condition, errp) < 0) {
        return -1;
    }
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (!qio_channel_class(ioc)->io_poll) {
        return 0;
    }
    ready = look(ioc, condition, errp);
    /* The look is not inside the channel, to be cheap: it may have polled a descriptor that a
     * close released meanwhile, and what that said means nothing. */
    if (ready > 0 && qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    return ready;
}

static int go_on_waiting(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                         bool interruptible, Error **errp)
{
    if (!qio_channel_class(ioc)->io_poll) {
        return qio_channel_wait_seed(ioc, condition, deadline_ns, errp);
    }
    if (deadline_ns == 0) {
        return 0;
    }
    return sleep_until(ioc, condition, deadline_ns, interruptible, errp);
}

int qio_channel_wait_deadline(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                              bool interruptible, Error **errp)
{
    int ready = begin_wait(ioc, condition, errp);

    if (ready != 0) {
        return ready;
    }
    return go_on_waiting(ioc, condition, deadline_ns, interruptible, errp);
}

int qio_channel_wait_timeout(QIOChannel *ioc, GIOCondition condition, int timeout_ms,
                             Error **errp)
{
    int ready = begin_wait(ioc, condition, errp);

    if (ready != 0) {
        return ready;
    }
    return go_on_waiting(ioc, condition, timeout_ms == 0 ? 0 : sys_deadline_ns(timeout_ms), true,
                         errp);
}

void qio_channel_wait(QIOChannel *ioc, GIOCondition condition)
{
    Error *err = NULL;

    if (qio_channel_wait_deadline(ioc, condition, QIO_NEVER, false, &err) < 0 &&
        qio_error_get_code(err) == QIO_ERROR_INVAL) {
        g_critical("qio_channel_wait: %s", qio_error_get_pretty(err));
    }
    qio_error_free(err);
}

int qio_channel_get_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    QIOPollFd named[QIO_POLL_MAX];
    int n;

    if (condition != G_IO_IN && condition != G_IO_OUT && condition != QIO_CHANNEL_MORE) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "condition: 0x%x; ask for exactly one of IN (1), MORE (2), OUT (4)",
                      (unsigned)condition);
        return -1;
    }
    if (qio_channel_closing(ioc)) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (!klass->io_poll) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' names no descriptor",
                      G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    if (qio_channel_soft_ready(ioc, condition)) {
        return 1;
    }
    n = klass->io_poll(ioc, qio_channel_class_condition(condition), named, QIO_POLL_MAX);
    if (n != 1) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "this channel is not waited for by one descriptor: watch it in a loop");
        return -1;
    }
    *out = named[0];
    return 0;
}

int qio_channel_poll_fds(QIOChannel *ioc, struct pollfd *fds, int n, int64_t deadline_ns,
                         bool interruptible)
{
    QIOWaiter waiter = { .condition = G_IO_OUT, .wake_fd = thread_wake_fd() };
    int number = 0;
    int ready = 0;

    qio_channel_waiter_add(ioc, &waiter);
    do {
        int r;

        if (atomic_load(&waiter.reason) != 0 || qio_channel_closing(ioc)) {
            number = ECANCELED;
            break;
        }
        r = poll_as_waiter(&waiter, fds, n, deadline_ns);
        if (r < 0 && (errno != EINTR || interruptible)) {
            number = errno;
            break;
        }
        for (int i = 0; r > 0 && i < n; i++) {
            ready += fds[i].revents != 0;
        }
    } while (ready == 0 && (deadline_ns == QIO_NEVER || sys_ms_left(deadline_ns) > 0));
    qio_channel_waiter_remove(ioc, &waiter);
    errno = number;
    return number != 0 ? -1 : ready;
}

int qio_poll_fds(struct pollfd *fds, nfds_t nfds, int64_t deadline_ns, bool interruptible)
{
    for (;;) {
        int timeout_ms = sys_ms_left(deadline_ns);
        int r = sys_poll(fds, nfds, timeout_ms);

        if (r > 0 || (r < 0 && (errno != EINTR || interruptible))) {
            return r;
        }
        if (r == 0 && deadline_ns != QIO_NEVER && sys_ms_left(deadline_ns) == 0) {
            return 0;
        }
    }
}
