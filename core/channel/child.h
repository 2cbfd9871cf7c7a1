/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/child.h: a child process and its end.
 *
 * Owns: QIOChild: the pid, the pidfd by which alone it is signalled and waited for, and what
 * became of it.  Any thread; a lock inside.
 */
#ifndef QIO_CHILD_H
#define QIO_CHILD_H

#include <qio/error.h>
#include "base/sys.h"

typedef struct QIOChild QIOChild;

/* Takes over the duty to wait for a child.  Never fails: one that cannot be tracked (somebody
 * else has reaped it, or it is no child of ours) has an unknown status. */
QIOChild *qio_child_new(pid_t pid);
/* The same right after it was started, but one that cannot be tracked for want of descriptors or
 * memory is killed and reaped, and NULL is the answer. */
QIOChild *qio_child_new_spawned(pid_t pid, Error **errp);
/* Lets go of it.  One that still runs is left to run, as an orphan (orphan.h).  Never waits. */
void qio_child_free(QIOChild *child);

/* For who is alone with it: whether it has ended, and freeing it without a look. */
bool qio_child_update(QIOChild *child);
void qio_child_release(QIOChild *child);

pid_t qio_child_get_pid(QIOChild *child);
/* Readable once it has ended; -1 when it is not tracked.  Stays open until the free, or until
 * qio_child_finish() and the end of the child. */
int qio_child_get_pidfd(QIOChild *child);
/* Never waits.  Whether it has ended; status -1 = unknown, or ended by signal signum. */
bool qio_child_has_ended(QIOChild *child, int *status, int *signum);
/* Returns: 1 ended, 0 the deadline has passed, -1 with an error (INTR if interruptible; NOTSUP:
 * not tracked). */
int qio_child_wait(QIOChild *child, int64_t deadline_ns, bool interruptible, Error **errp);
/* Returns: 0, also when it has ended; -1 (INVAL, NOTSUP, SYSTEM). */
int qio_child_kill(QIOChild *child, int signum, Error **errp);
/* Waits for its end: for grace_ms, then SIGTERM and grace_ms again, then SIGKILL.  From then on
 * the pidfd is closed as soon as the child has ended.  One thread at a time.
 * Returns: 0; -1 with INTR if interruptible: the next call goes on with what time is left. */
int qio_child_finish(QIOChild *child, int grace_ms, bool interruptible, Error **errp);
/* One look of the same, which never waits: false when it is over; true: look again when the pidfd
 * is readable, and at *until_ns. */
bool qio_child_finish_step(QIOChild *child, int grace_ms, int64_t *until_ns);

#endif
