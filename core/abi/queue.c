/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/queue.c: what lies between the two sides of a queued channel: the bytes on their way, and
 * which event is due.
 *
 * Owns: the rings, the queued watch in the program's loop, and its end.  Any thread.
 */
#include "abi/queue.h"
#include "abi/release.h"

#include <string.h>

/* ---- rings ---- */

ssize_t abi_ring_put(AbiRing *ring, const void *buf, size_t len, Error **errp)
{
    size_t n = MIN(len, abi_ring_room(ring));
    size_t at = (ring->start + ring->used) % QIOH_QUEUED_ROOM;
    size_t first = MIN(n, QIOH_QUEUED_ROOM - at);

    if (n == 0) {
        return 0;
    }
    if (!ring->data) {
        ring->data = g_try_malloc(QIOH_QUEUED_ROOM);
    }
    if (!ring->data) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for a queue of %d bytes",
                      QIOH_QUEUED_ROOM);
        return -1;
    }
    memcpy(ring->data + at, buf, first);
    memcpy(ring->data, (const uint8_t *)buf + first, n - first);
    ring->used += n;
    return (ssize_t)n;
}

size_t abi_ring_get(AbiRing *ring, void *buf, size_t len)
{
    size_t n = MIN(len, ring->used);
    size_t first = MIN(n, QIOH_QUEUED_ROOM - ring->start);

    if (n > 0) {
        memcpy(buf, ring->data + ring->start, first);
        memcpy((uint8_t *)buf + first, ring->data, n - first);
        ring->start = (ring->start + n) % QIOH_QUEUED_ROOM;
        ring->used -= n;
    }
    return n;
}

void abi_ring_clear(AbiRing *ring)
{
    g_clear_pointer(&ring->data, g_free);
    ring->start = ring->used = 0;
}

/* ---- life ---- */

AbiQueue *abi_queue_new(void)
{
    AbiQueue *queue = g_new0(AbiQueue, 1);

    atomic_init(&queue->refs, 1);
    queue->epoch = qio_fork_epoch();
    g_weak_ref_init(&queue->ioc, NULL);
    pthread_mutex_init(&queue->lock, NULL);
    return queue;
}

static AbiQueue *queue_ref(AbiQueue *queue)
{
    atomic_fetch_add(&queue->refs, 1);
    return queue;
}

void abi_queue_unref(AbiQueue *queue)
{
    if (atomic_fetch_sub(&queue->refs, 1) != 1) {
        return;
    }
    g_weak_ref_clear(&queue->ioc);
    abi_ring_clear(&queue->in);
    abi_ring_clear(&queue->out);
    qio_error_free(queue->in_error);
    pthread_mutex_destroy(&queue->lock);
    g_free(queue);
}

/* ---- what there is to tell; under the lock ---- */

static bool read_due(const AbiQueue *queue)
{
    return queue->wants && !queue->want_told && !queue->in_ended;
}

static bool write_due(const AbiQueue *queue)
{
    return !queue->out_told &&
           (queue->out.used > 0 || (queue->writer_done && !queue->end_pulled));
}

bool abi_queue_due(const AbiQueue *queue)
{
    return read_due(queue) || write_due(queue);
}

QIOLoopWatch *abi_queue_due_watch(AbiQueue *queue, bool was_due)
{
    bool due = abi_queue_due(queue);

    return due && !was_due && queue->watch ? qio_loop_watch_ref(queue->watch) : NULL;
}

void abi_queue_kick(QIOLoopWatch *watch)
{
    if (watch) {
        qio_loop_watch_kick(watch);
        qio_loop_watch_unref(watch);
    }
}

void abi_queue_want(AbiQueue *queue, size_t len)
{
    if (!queue->wants) {
        queue->wants = true;
        queue->want_told = false;
        queue->wanted = QIOH_QUEUED_ROOM;
    }
    if (len > 0) {
        queue->wanted = MIN(len, QIOH_QUEUED_ROOM);
    }
}

/* ---- the watch that tells ---- */

static GIOCondition source_advance(void *subject, GIOCondition wanted)
{
    AbiQueue *queue = subject;
    GIOCondition ready;

    pthread_mutex_lock(&queue->lock);
    ready = (read_due(queue) ? G_IO_IN : 0) | (write_due(queue) ? G_IO_OUT : 0);
    pthread_mutex_unlock(&queue->lock);
    return ready;
}

static int source_poll(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    return 0;
}

static void source_ref(void *subject)
{
    queue_ref(subject);
}

static void source_unref(void *subject)
{
    abi_queue_unref(subject);
}

static const QIOLoopSubjectOps source_ops = {
    .advance = source_advance, .poll = source_poll, .direct = false,
    .ref = source_ref, .unref = source_unref,
};

/* One event of the two that may be due; the other comes with the next call. */
static bool read_has_its_turn(AbiQueue *queue, GIOCondition condition)
{
    bool may_read = read_due(queue), may_write = write_due(queue);

    if (!may_read && !may_write) {
        return (condition & G_IO_IN) != 0;      /* answered meanwhile: told late */
    }
    return may_read && !(may_write && queue->read_was_last);
}

static qioh_event source_tell(const QIOLoopEvent *event)
{
    AbiQueue *queue = event->opaque;
    qioh_event told = { .kind = QIOH_EV_RELEASED, .cookie = queue->cookie,
                        .channel = queue->handle };

    if (event->kind == QIO_LOOP_RELEASED) {
        return told;
    }
    pthread_mutex_lock(&queue->lock);
    if (!(event->condition & G_IO_NVAL) && read_has_its_turn(queue, event->condition)) {
        told.kind = QIOH_EV_CUSTOM_READ;
        told.bytes = MIN(queue->wanted, abi_ring_room(&queue->in));
        queue->want_told = queue->read_was_last = true;
    } else {
        told.kind = QIOH_EV_CUSTOM_WRITE;
        told.condition = (queue->writer_done ? QIOH_HUP : 0) | (event->condition & G_IO_NVAL);
        told.bytes = queue->out.used;
        queue->out_told = true;
        queue->read_was_last = false;
    }
    pthread_mutex_unlock(&queue->lock);
    return told;
}

/* The core's destroy notify: after RELEASED, or because the loop was closed. */
static void registration_end(gpointer opaque)
{
    AbiQueue *queue = opaque;
    QIOLoopWatch *watch;
    QIOChannel *ioc;

    abi_scope_enter();
    pthread_mutex_lock(&queue->lock);
    queue->orphaned = !queue->closed;
    queue->let_go = true;
    watch = queue->watch;
    queue->watch = NULL;
    pthread_mutex_unlock(&queue->lock);
    if (watch) {
        qio_loop_watch_unref(watch);
    }
    ioc = g_weak_ref_get(&queue->ioc);
    if (ioc) {
        qio_channel_notify(ioc, G_IO_IN | G_IO_OUT);
        g_object_unref(ioc);
    }
    abi_queue_unref(queue);
    abi_scope_leave();
}

int abi_queue_start(AbiQueue *queue, AioContext *ctx, Error **errp)
{
    QIOLoopWatch *watch;

    queue->source.tell = source_tell;
    watch = qio_loop_add_subject(ctx, queue, &source_ops, G_IO_IN | G_IO_OUT, NULL,
                                 queue_ref(queue), registration_end, errp);
    if (!watch) {
        return -1;
    }
    pthread_mutex_lock(&queue->lock);
    if (!queue->let_go) {
        queue->watch = g_steal_pointer(&watch);
    }
    pthread_mutex_unlock(&queue->lock);
    /* Another thread has closed the loop meanwhile. */
    if (watch) {
        qio_loop_watch_unref(watch);
    }
    return 0;
}
