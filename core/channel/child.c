/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/child.c: keeping track of child processes by pidfd.
 *
 * Owns: each QIOChild.
 * Rules: a pid is turned into a pidfd once and never signalled itself (but for the one moment
 * in abandon(), when it cannot have been recycled), so no stranger is ever hit.  A status is
 * fetched once, under the lock, and remembered.  Sleeping is done without it.  One whose channel
 * goes away while it runs becomes an orphan (orphan.c).
 */
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/fork.h"
#include "channel/channel-priv.h"
#include "channel/orphan.h"

/* After SIGKILL: only a process stuck in the kernel takes longer. */
enum { KILL_GRACE_MS = 1000 };
/* A dead child that a debugger still holds: its pidfd is readable, its status not there yet. */
enum { HELD_LOOK_MS = 10 };

struct QIOChild {
    pthread_mutex_t lock;
    pid_t pid;
    uint32_t epoch;         /* the process it is a child of: a fork of that must not touch it */
    int pidfd;              /* -1 = not tracked (yet), or of no more use */
    int sleepers;           /* threads that poll the pidfd */
    bool finished;          /* the channel is closed: nobody else has a use for the pidfd */
    unsigned stage;         /* how far qio_child_finish() is, and when that ends (0 = begin it) */
    int64_t stage_end_ns;
    bool ended;
    int status;             /* -1 = unknown, or ended by signum */
    int signum;
};

/* ---- under the child's lock ---- */

static void set_ended(QIOChild *child, int status, int signum)
{
    child->ended = true;
    child->status = status;
    child->signum = signum;
}

/* Opens the pidfd.  Returns 0, or a positive errno; whether the child is gone is in `ended`. */
static int track(QIOChild *child)
{
    siginfo_t info = { 0 };
    int ret;

    if (child->pidfd >= 0 || child->ended) {
        return 0;
    }
    child->pidfd = sys_pidfd_open(child->pid, 0);
    if (child->pidfd < 0) {
        int number = errno;

        if (number == ESRCH || number == EINVAL) {
            set_ended(child, -1, 0);
            return 0;
        }
        return number;
    }
    /* If somebody else has reaped the child, the pid may be another process's by now. */
    do {
        ret = sys_waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0 && errno == ECHILD) {
        sys_close(child->pidfd);
        child->pidfd = -1;
        set_ended(child, -1, 0);
    }
    return 0;
}

/* A failing poll does not deny it: who asks has been told ECHILD already. */
static bool pidfd_is_readable(int pidfd)
{
    struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

    return sys_poll(&pfd, 1, 0) != 0;
}

bool qio_child_update(QIOChild *child)
{
    siginfo_t info = { 0 };
    int ret;

    if (child->ended || track(child) != 0 || child->ended) {
        return child->ended;
    }
    do {
        ret = sys_waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
    } while (ret < 0 && errno == EINTR);
    if (ret == 0 && info.si_pid != 0) {
        if (info.si_code == CLD_EXITED) {
            set_ended(child, info.si_status, 0);
        } else {
            set_ended(child, -1, info.si_status);
        }
    } else if (ret < 0 && errno == ECHILD && pidfd_is_readable(child->pidfd)) {
        set_ended(child, -1, 0);        /* somebody else was told */
    }
    return child->ended;
}

/* A closed channel that is still referenced holds no descriptor, once the status is known. */
static void drop_pidfd(QIOChild *child)
{
    if (child->finished && child->ended && child->sleepers == 0 && child->pidfd >= 0) {
        qio_loop_forget_fd(child->pidfd);
        sys_close(child->pidfd);
        child->pidfd = -1;
    }
}

/* ---- life ---- */

void qio_child_release(QIOChild *child)
{
    if (child->pidfd >= 0) {
        qio_loop_forget_fd(child->pidfd);
        sys_close(child->pidfd);
    }
    pthread_mutex_destroy(&child->lock);
    g_free(child);
}

static QIOChild *child_new(pid_t pid)
{
    QIOChild *child = g_new0(QIOChild, 1);

    pthread_mutex_init(&child->lock, NULL);
    child->pid = pid;
    child->epoch = qio_fork_epoch();
    child->pidfd = -1;
    child->status = -1;
    return child;
}

QIOChild *qio_child_new(pid_t pid)
{
    QIOChild *child = child_new(pid);

    track(child);
    return child;
}

/* The pid is that of our child for as long as nobody has waited for it, so it may be used. */
static void abandon(pid_t pid)
{
    siginfo_t info = { 0 };
    int ret;

    ret = sys_waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    if (ret < 0 && errno == ECHILD) {
        return;
    }
    sys_kill(pid, SIGKILL);
    do {
        ret = sys_waitid(P_PID, (id_t)pid, &info, WEXITED);
    } while (ret < 0 && errno == EINTR);
}

QIOChild *qio_child_new_spawned(pid_t pid, Error **errp)
{
    QIOChild *child = child_new(pid);
    int number = track(child);

    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot keep track of the child process (pidfd_open)");
        abandon(pid);
        qio_child_release(child);
        return NULL;
    }
    return child;
}

void qio_child_free(QIOChild *child)
{
    if (!child) {
        return;
    }
    if (child->epoch != qio_fork_epoch() || qio_child_update(child)) {
        qio_child_release(child);
    } else {
        qio_orphans_adopt(child);
    }
}

/* ---- asking and acting ---- */

pid_t qio_child_get_pid(QIOChild *child)
{
    return child->pid;
}

int qio_child_get_pidfd(QIOChild *child)
{
    int pidfd;

    pthread_mutex_lock(&child->lock);
    track(child);
    pidfd = child->pidfd;
    pthread_mutex_unlock(&child->lock);
    return pidfd;
}

bool qio_child_has_ended(QIOChild *child, int *status, int *signum)
{
    bool ended;

    qio_orphans_look();
    pthread_mutex_lock(&child->lock);
    ended = qio_child_update(child);
    drop_pidfd(child);
    if (status) {
        *status = child->status;
    }
    if (signum) {
        *signum = child->signum;
    }
    pthread_mutex_unlock(&child->lock);
    return ended;
}

/* Sleeps until the child may have ended.  Results as qio_poll_fds(); -1 and ENODEV: not tracked. */
static int sleep_until_ended(QIOChild *child, int64_t deadline_ns, bool interruptible)
{
    struct pollfd pfd = { .events = POLLIN };
    int number, r;

    pthread_mutex_lock(&child->lock);
    track(child);
    if (child->pidfd < 0) {
        r = child->ended;
        pthread_mutex_unlock(&child->lock);
        errno = ENODEV;
        return r ? 1 : -1;
    }
    pfd.fd = child->pidfd;
    child->sleepers++;
    pthread_mutex_unlock(&child->lock);
    r = qio_poll_fds(&pfd, 1, deadline_ns, interruptible);
    number = errno;
    pthread_mutex_lock(&child->lock);
    child->sleepers--;
    drop_pidfd(child);
    pthread_mutex_unlock(&child->lock);
    errno = number;
    return r;
}

int qio_child_wait(QIOChild *child, int64_t deadline_ns, bool interruptible, Error **errp)
{
    while (!qio_child_has_ended(child, NULL, NULL)) {
        int r = sleep_until_ended(child, deadline_ns, interruptible);

        if (r < 0 && errno == ENODEV) {
            qio_error_set(errp, QIO_ERROR_NOTSUP, "the child process cannot be waited for");
            return -1;
        }
        if (r > 0 && !qio_child_has_ended(child, NULL, NULL)) {
            int64_t look_ns = sys_now_ns() + HELD_LOOK_MS * INT64_C(1000000);

            r = qio_poll_fds(NULL, 0, MIN(look_ns, deadline_ns), interruptible);
            r = r == 0 && sys_now_ns() < deadline_ns ? 1 : r;
        }
        if (r < 0 && errno == EINTR) {
            /* The signal may well be the one that tells of the end. */
            if (qio_child_has_ended(child, NULL, NULL)) {
                return 1;
            }
            qio_error_set(errp, QIO_ERROR_INTR, "a signal ended the wait for the child process");
            return -1;
        }
        if (r < 0) {
            qio_error_set_errno(errp, errno, "cannot wait for the child process");
            return -1;
        }
        if (r == 0) {
            return qio_child_has_ended(child, NULL, NULL);
        }
    }
    return 1;
}

int qio_child_kill(QIOChild *child, int signum, Error **errp)
{
    int number = 0;
    int pidfd = -1;
    bool ended;

    if (signum < 0 || signum > SIGRTMAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "signum: %d is no signal", signum);
        return -1;
    }
    pthread_mutex_lock(&child->lock);
    ended = qio_child_update(child);
    pidfd = child->pidfd;
    if (!ended && pidfd >= 0 && sys_pidfd_send_signal(pidfd, signum) < 0) {
        number = errno;
    }
    pthread_mutex_unlock(&child->lock);
    if (ended || number == ESRCH) {
        return 0;
    }
    if (pidfd < 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "the child process is not tracked: signalling its "
                      "pid could hit another process");
        return -1;
    }
    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot send signal %d to the child process", signum);
        return -1;
    }
    return 0;
}

/* From here on the pidfd is closed as soon as the child has ended. */
static void set_finished(QIOChild *child)
{
    pthread_mutex_lock(&child->lock);
    child->finished = true;
    drop_pidfd(child);
    pthread_mutex_unlock(&child->lock);
}

bool qio_child_finish_step(QIOChild *child, int grace_ms, int64_t *until_ns)
{
    static const int signals[] = { 0, SIGTERM, SIGKILL };

    if (child->epoch != qio_fork_epoch()) {
        return false;
    }
    for (; child->stage < G_N_ELEMENTS(signals); child->stage++, child->stage_end_ns = 0) {
        int signum = signals[child->stage];

        if (child->stage_end_ns == 0) {
            if (signum != 0) {
                qio_child_kill(child, signum, NULL);
            }
            child->stage_end_ns = sys_deadline_ns(signum == SIGKILL ? KILL_GRACE_MS : grace_ms);
        }
        if (qio_child_has_ended(child, NULL, NULL)) {
            break;
        }
        if (sys_now_ns() < child->stage_end_ns) {
            *until_ns = child->stage_end_ns;
            return true;
        }
    }
    set_finished(child);
    return false;
}

int qio_child_finish(QIOChild *child, int grace_ms, bool interruptible, Error **errp)
{
    int64_t until_ns;

    while (qio_child_finish_step(child, grace_ms, &until_ns)) {
        Error *err = NULL;

        if (qio_child_wait(child, until_ns, interruptible, &err) >= 0) {
            continue;
        }
        if (qio_error_get_code(err) == QIO_ERROR_INTR) {
            qio_error_propagate(errp, err);
            set_finished(child);
            return -1;
        }
        /* It cannot be waited for: on to the next signal. */
        qio_error_free(err);
        child->stage_end_ns = 1;
    }
    return 0;
}
