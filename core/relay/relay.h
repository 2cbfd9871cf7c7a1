/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/relay.h: copying between two channels, both ways.
 *
 * Owns: the public face of a relay, which is an operation (qio/task.h).  Rules: while it runs it is
 * the one reader and writer of both channels, others get BUSY; closing either ends it CANCELLED.
 * However it ends, what was read and not written is read again by the next reader of its channel.
 * What came out of a filter cannot go back: qio_relay_get_lost() tells how much.
 */
#ifndef QIO_RELAY_H
#define QIO_RELAY_H

#include <stddef.h>
#include <stdint.h>
#include <qio/channel.h>
#include <qio/options.h>
#include <qio/task.h>

G_BEGIN_DECLS

/** QIORelayFilter: sees each chunk that goes in @direction (0: from a to b, 1: from b to a), and
 * @len 0 once at its end.  Called in a dispatch of the relay's loop, never from qio_loop_next() or
 * qio_task_wait(); may close, cancel and call qio_relay_put().  Returns: 0 the chunk goes on as it
 * is; 1 what it put goes on instead, which may be nothing; -1 with an error, which ends the relay
 */
typedef int (*QIORelayFilter)(QIOTask *task, unsigned direction, const void *buf, size_t len,
                              gpointer opaque, Error **errp);

/**
 * qio_relay_start:
 * @options: NULL, or buffer (bytes held in each direction, default 65536), limit (the most bytes
 *   read in each direction; more is LIMIT, and stays in the channel), idle-timeout (seconds in
 *   which nothing moves in either direction: TIMEOUT; default none)
 *
 * Copies from @a to @b and from @b to @a.  The end of one is passed on by shutting the other's
 * writing down once everything is written, and the relay succeeds when both have ended; where
 * writing cannot be shut down by itself (a file, a buffer), the first end is the end of all, after
 * what has been read the other way is written.  A channel that can only be written (a pipe) has
 * nothing to give and is not waited for.  Descriptors that travel along are closed.  By splice(2)
 * where both are plain descriptors and no filter looks.  Any thread.
 * Returns: a task for the caller; or NULL (INVAL; BUSY: somebody reads or writes one of them;
 * CLOSED; NOTSUP: a channel of a class without io_poll), and then @destroy has been called
 */
QIOTask *qio_relay_start(QIOChannel *a, QIOChannel *b, const QIOOptions *options, AioContext *ctx,
                         QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy, Error **errp);
/** qio_relay_set_filter: before the next dispatch of its loop; @destroy exactly once, also on
 * failure.  Returns: 0, or -1 (NOTSUP: no relay; BUSY: it has begun, or has a filter) */
int qio_relay_set_filter(QIOTask *task, QIORelayFilter filter, gpointer opaque,
                         GDestroyNotify destroy, Error **errp);
/** qio_relay_put: inside the filter: bytes to send in place of the chunk, at most 16 MiB for one.
 * Copies.  Returns: 0, or -1 (NOTSUP; INVAL: not inside the filter; LIMIT; NOMEM) */
int qio_relay_put(QIOTask *task, const void *buf, size_t len, Error **errp);
/** qio_relay_get_counts: bytes that were accepted by the other side so far, each way; either may
 * be NULL.  Any thread, also after the end.  Returns: 0, or -1 (NOTSUP: no relay) */
int qio_relay_get_counts(QIOTask *task, uint64_t *a_to_b, uint64_t *b_to_a, Error **errp);
/** qio_relay_get_lost: bytes that neither side has, once it has ended: what a filter gave and was
 * not sent.  Returns: 0, or -1 (NOTSUP) */
int qio_relay_get_lost(QIOTask *task, uint64_t *a_to_b, uint64_t *b_to_a, Error **errp);

G_END_DECLS
#endif
