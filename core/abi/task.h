/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/task.h: from an operation of the core to a handle for it.
 *
 * Owns nothing; the work is in task.c.  A qioh_task_start_X, inside a scope (abi/release.h), pins
 * its loop, makes the core's task in loop->ctx without a function, and hands it to abi_task_new().
 */
#ifndef QIO_ABI_TASK_H
#define QIO_ABI_TASK_H

#include <qio/task.h>
#include "abi/error.h"
#include "abi/handle.h"
#include "abi/loop.h"

/* What a task that succeeded gives. */
typedef enum AbiTaskGives {
    ABI_TASK_NOTHING,
    ABI_TASK_NUMBER,            /* its status; it completes with GINT_TO_POINTER(number) */
    ABI_TASK_CHANNEL,           /* for qioh_task_take_channel(); it completes with a QIOChannel */
    ABI_TASK_LISTENER,          /* for qioh_task_take_listener(); with a QIONetListener */
} AbiTaskGives;

/*
 * A handle for a task, whose reference it takes, also on failure (the task is then cancelled).
 * The end is told by an event with the cookie, unless a callback is set first.
 * Returns: an owned handle, or NULL (CLOSED: the loop is; LIMIT)
 */
qioh_task *abi_task_new(QIOTask *task, AbiTaskGives gives, AbiLoop *loop, uint64_t cookie,
                        qioh_error *error);

/* The core's task, with the handle pinned: 0, or a code.  abi_unpin() when done. */
int32_t abi_task_pin(qioh_task *handle, QIOTask **task, qioh_error *error);
/* The same, with its loop. */
int32_t abi_task_pin_in(qioh_task *handle, QIOTask **task, AbiLoop **loop, qioh_error *error);

#endif
