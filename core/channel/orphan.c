/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/orphan.c: collecting the end of children that nobody asks about any more.
 *
 * Owns: the orphans, and an epoll descriptor that holds their pidfds while there are any.
 * Rules: `lock` guards the list and is held for calls that do not wait; the loops' lock is taken
 * below it.  A forked child forgets its parent's orphans, which are not its children.
 *
 * Nobody but us can wait for them: a thread or a handler for SIGCHLD is not a library's to
 * impose.  So whatever of the library sleeps anyway sleeps on their descriptor too (every loop,
 * every wait for a channel), and whatever makes or ends a channel looks.  What is left is a
 * program that drops a running command and never comes back: its zombie is init's when it ends.
 * (io_uring could have the kernel wait, since Linux 6.7, where it is not forbidden, as it mostly
 * is in containers.)
 */
#include <glib.h>
#include <pthread.h>
#include "base/fork.h"
#include "channel/orphan.h"
#include "loop/loop.h"

enum { BATCH = 16 };

typedef struct Orphan {
    QIOChild *child;
    bool watched;               /* its pidfd is in epfd */
    bool due;                   /* epoll said that it has ended */
    struct Orphan *next;
} Orphan;

_Atomic int qio_orphans_fd_now = -1;
_Atomic bool qio_orphans_exist;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t epoch;          /* the process whose children they are */
static Orphan *first;
static int epfd = -1;

/* ---- forks ---- */

static void lock_for_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void unlock_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* Later than the loops do theirs, when the library is loaded, so that a fork takes this lock
 * first, as everybody does. */
static void guard_fork(void)
{
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
}

/* In a forked child: closes the copies of the parent's descriptors.  Its epoll set is the
 * parent's too, so nothing is taken out of it. */
static void disown(void)
{
    while (first) {
        Orphan *orphan = first;

        first = orphan->next;
        qio_child_release(orphan->child);
        g_free(orphan);
    }
    if (epfd >= 0) {
        sys_close(epfd);
        epfd = -1;
    }
}

static void enter(void)
{
    pthread_once(&once, guard_fork);
    pthread_mutex_lock(&lock);
    if (epoch != qio_fork_epoch()) {
        disown();
        epoch = qio_fork_epoch();
    }
}

static void leave(void)
{
    atomic_store(&qio_orphans_exist, first != NULL);
    atomic_store(&qio_orphans_fd_now, epfd);
    pthread_mutex_unlock(&lock);
}

/* ---- watching ---- */

/* Edge-triggered: a child that has ended and cannot be waited for yet (a debugger holds it) would
 * keep every sleeper awake.  When it is let go there is another edge. */
static bool watch(Orphan *orphan)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = orphan };

    if (epfd < 0) {
        epfd = sys_epoll_create1(EPOLL_CLOEXEC);
        if (epfd < 0) {
            return false;
        }
        qio_loop_set_common(epfd, qio_orphans_reap);
    }
    return sys_epoll_ctl(epfd, EPOLL_CTL_ADD, qio_child_get_pidfd(orphan->child), &event) == 0;
}

/* Before its pidfd is closed: epoll keeps it while a copy is open in a forked child. */
static void unwatch(Orphan *orphan)
{
    struct epoll_event event = { 0 };

    if (orphan->watched) {
        sys_epoll_ctl(epfd, EPOLL_CTL_DEL, qio_child_get_pidfd(orphan->child), &event);
    }
}

static void note_events(void)
{
    struct epoll_event events[BATCH];
    int n;

    do {
        n = epfd >= 0 ? sys_epoll_wait(epfd, events, BATCH, 0) : 0;
        for (int i = 0; i < n; i++) {
            ((Orphan *)events[i].data.ptr)->due = true;
        }
    } while (n == BATCH);
}

/* ---- the list ---- */

void qio_orphans_adopt(QIOChild *child)
{
    Orphan *orphan = g_new0(Orphan, 1);

    enter();
    orphan->child = child;
    orphan->watched = watch(orphan);
    orphan->next = first;
    first = orphan;
    leave();
}

void qio_orphans_reap(void)
{
    Orphan **link = &first;

    enter();
    note_events();
    while (*link) {
        Orphan *orphan = *link;

        if ((orphan->watched && !orphan->due) || !qio_child_update(orphan->child)) {
            link = &orphan->next;
            continue;
        }
        *link = orphan->next;
        unwatch(orphan);
        qio_child_release(orphan->child);
        g_free(orphan);
    }
    if (!first && epfd >= 0) {
        qio_loop_set_common(-1, NULL);
        sys_close(epfd);
        epfd = -1;
    }
    leave();
}
