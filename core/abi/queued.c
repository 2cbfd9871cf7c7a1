/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/queued.c: channels that a program implements without any callback: requests are events.
 *
 * Owns: the class, whose transfers copy from and to its queue (abi/queue.h), and the functions of
 * the side that answers.
 * Rules: the queue's lock is held for the copying only; who waits is told after it.  A close keeps
 * what was written, for the side that answers, as long as that has a reference.  Any thread.
 */
#include "abi/queue.h"
#include "abi/queued.h"
#include "abi/release.h"

#include <string.h>

typedef struct QueuedChannel {
    QIOChannel parent;
    AbiQueue *queue;
    AioContext *ctx;            /* its memory only: the loop in which it is answered */
} QueuedChannel;

static AbiQueue *queue_of(QIOChannel *ioc)
{
    return ((QueuedChannel *)ioc)->queue;
}

/* ---- the class ---- */

static void set_orphaned_error(Error **errp)
{
    qio_error_set(errp, QIO_ERROR_CLOSED,
                  "the loop in which the channel is answered is closed");
}

/* What a read that finds no bytes gives. */
static ssize_t read_nothing(AbiQueue *queue, size_t len, Error **errp)
{
    if (queue->reader_gone || (queue->in_ended && !queue->in_error)) {
        return 0;
    }
    if (queue->in_error) {
        qio_error_propagate(errp, qio_error_copy(queue->in_error));
        return -1;
    }
    if (queue->orphaned) {
        set_orphaned_error(errp);
        return -1;
    }
    abi_queue_want(queue, len);
    return QIO_CHANNEL_ERR_BLOCK;
}

static size_t total_length(const struct iovec *iov, size_t niov)
{
    size_t total = 0;

    for (size_t i = 0; i < niov; i++) {
        total += MIN(iov[i].iov_len, SIZE_MAX - total);
    }
    return total;
}

static ssize_t queued_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp)
{
    AbiQueue *queue = queue_of(ioc);
    QIOLoopWatch *due;
    ssize_t ret = 0;
    bool was_due;

    pthread_mutex_lock(&queue->lock);
    was_due = abi_queue_due(queue);
    for (size_t i = 0; i < niov && queue->in.used > 0; i++) {
        ret += (ssize_t)abi_ring_get(&queue->in, iov[i].iov_base, iov[i].iov_len);
    }
    if (ret == 0) {
        ret = read_nothing(queue, total_length(iov, niov), errp);
    }
    due = abi_queue_due_watch(queue, was_due);
    pthread_mutex_unlock(&queue->lock);
    abi_queue_kick(due);
    return ret;
}

/* Whether a write is over before it begins. */
static bool write_fails(AbiQueue *queue, Error **errp)
{
    if (queue->writer_done) {
        qio_error_set_errno(errp, EPIPE, "cannot write to a channel that was shut down");
    } else if (queue->orphaned) {
        set_orphaned_error(errp);
    } else {
        return false;
    }
    return true;
}

static ssize_t put_all(AbiRing *ring, const struct iovec *iov, size_t niov, Error **errp)
{
    ssize_t done = 0;

    for (size_t i = 0; i < niov && abi_ring_room(ring) > 0; i++) {
        ssize_t n = abi_ring_put(ring, iov[i].iov_base, iov[i].iov_len, errp);

        if (n < 0) {
            return -1;      /* the first time memory is needed: nothing is in yet */
        }
        done += n;
    }
    return done > 0 ? done : QIO_CHANNEL_ERR_BLOCK;
}

static ssize_t queued_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                             int *fds, size_t nfds, Error **errp)
{
    AbiQueue *queue = queue_of(ioc);
    QIOLoopWatch *due;
    ssize_t ret = -1;
    bool was_due;

    pthread_mutex_lock(&queue->lock);
    was_due = abi_queue_due(queue);
    if (!write_fails(queue, errp)) {
        ret = put_all(&queue->out, iov, niov, errp);
    }
    due = abi_queue_due_watch(queue, was_due);
    pthread_mutex_unlock(&queue->lock);
    abi_queue_kick(due);
    return ret;
}

static int queued_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

/* Who waits to read wants something, too. */
static int queued_advance(QIOChannel *ioc, GIOCondition condition)
{
    AbiQueue *queue = queue_of(ioc);
    QIOLoopWatch *due;
    int ready = 0;
    bool was_due;

    pthread_mutex_lock(&queue->lock);
    was_due = abi_queue_due(queue);
    if (condition & G_IO_IN) {
        if (queue->in.used > 0 || queue->reader_gone || queue->in_ended || queue->orphaned) {
            ready |= G_IO_IN;
        } else {
            abi_queue_want(queue, 0);
        }
    }
    if ((condition & G_IO_OUT) &&
        (abi_ring_room(&queue->out) > 0 || queue->writer_done || queue->orphaned)) {
        ready |= G_IO_OUT;
    }
    due = abi_queue_due_watch(queue, was_due);
    pthread_mutex_unlock(&queue->lock);
    abi_queue_kick(due);
    return ready;
}

static int queued_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    AbiQueue *queue = queue_of(ioc);
    QIOLoopWatch *due;
    bool was_due;

    pthread_mutex_lock(&queue->lock);
    was_due = abi_queue_due(queue);
    if (how != QIO_CHANNEL_SHUTDOWN_WRITE) {
        queue->reader_gone = true;
        queue->wants = false;
        abi_ring_clear(&queue->in);
    }
    if (how != QIO_CHANNEL_SHUTDOWN_READ && !queue->writer_done) {
        queue->writer_done = true;
        queue->out_told = false;
    }
    due = abi_queue_due_watch(queue, was_due);
    pthread_mutex_unlock(&queue->lock);
    abi_queue_kick(due);
    qio_channel_notify(ioc, G_IO_IN | G_IO_OUT);
    return 0;
}

/* What was written stays, to be pulled. */
static int queued_close(QIOChannel *ioc, Error **errp)
{
    AbiQueue *queue = queue_of(ioc);
    QIOLoopWatch *watch;

    /* In a forked child a thread that is not here may hold the locks. */
    if (queue->epoch != qio_fork_epoch()) {
        return 0;
    }
    pthread_mutex_lock(&queue->lock);
    queue->closed = queue->writer_done = true;
    queue->wants = false;
    abi_ring_clear(&queue->in);
    watch = queue->watch;
    queue->watch = NULL;
    pthread_mutex_unlock(&queue->lock);
    if (watch) {
        qio_loop_watch_end(watch);
        qio_loop_watch_unref(watch);
    }
    return 0;
}

/* A thread that takes the loop's events cannot sleep until they are answered. */
static bool queued_waits_for_itself(QIOChannel *ioc)
{
    return qio_loop_is_served_here(((QueuedChannel *)ioc)->ctx);
}

static void queued_instance_init(Object *obj)
{
    QueuedChannel *channel = (QueuedChannel *)obj;

    channel->queue = abi_queue_new();
    g_weak_ref_set(&channel->queue->ioc, obj);
    qio_channel_set_feature(&channel->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
}

static void queued_instance_finalize(Object *obj)
{
    QueuedChannel *channel = (QueuedChannel *)obj;

    abi_queue_unref(channel->queue);
    qio_loop_let_go(channel->ctx);
}

static void queued_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = queued_readv;
    ioc_class->io_writev = queued_writev;
    ioc_class->io_shutdown = queued_shutdown;
    ioc_class->io_close = queued_close;
    ioc_class->io_poll = queued_poll;
    ioc_class->io_advance = queued_advance;
    ioc_class->io_waits_for_itself = queued_waits_for_itself;
}

static const TypeInfo queued_type = {
    .name = TYPE_ABI_QUEUED,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QueuedChannel),
    .instance_init = queued_instance_init,
    .instance_finalize = queued_instance_finalize,
    .class_init = queued_class_init,
};

static void __attribute__((constructor)) queued_register(void)
{
    qio_type_register_static(&queued_type);
}

/* ---- making one ---- */

/* In a pinned loop. */
static qioh_channel *queued_new_in(AbiLoop *loop, uint64_t cookie, qioh_error *error)
{
    QIOChannel *ioc = (QIOChannel *)qio_object_new(TYPE_ABI_QUEUED);
    AbiQueue *queue = queue_of(ioc);
    Error *err = NULL;

    queue->cookie = cookie;
    ((QueuedChannel *)ioc)->ctx = qio_loop_keep(loop->ctx);
    queue->handle = abi_channel_wrap(ioc, NULL, error);
    if (!queue->handle) {
        return NULL;
    }
    if (abi_queue_start(queue, loop->ctx, &err) < 0) {
        abi_take_error(error, err);
        qioh_channel_unref(queue->handle);
        return NULL;
    }
    return queue->handle;
}

qioh_channel *qioh_channel_new_queued(qioh_loop *loop, uint64_t cookie, qioh_error *error)
{
    qioh_channel *channel;
    AbiLoop *object;

    abi_scope_enter();
    channel = NULL;
    if (abi_loop_pin(loop, &object, error) == 0) {
        channel = queued_new_in(object, cookie, error);
        abi_unpin(loop);
    }
    abi_scope_leave();
    return channel;
}

/* ---- the side that answers ---- */

static int32_t queued_pin(qioh_channel *channel, QIOChannel **ioc, qioh_error *error)
{
    static GType cache;

    return abi_channel_pin_class(channel, TYPE_ABI_QUEUED, &cache, "queued", ioc, error);
}

static int32_t check_block(const void *buf, size_t len, qioh_error *error)
{
    if (!buf && len > 0) {
        return abi_fail(error, QIOH_E_INVAL, "buf is NULL with a len of %zu", len);
    }
    return 0;
}

/* Whether anything can be pushed any more; under the lock. */
static int32_t check_push(const AbiQueue *queue, qioh_error *error)
{
    if (queue->closed) {
        return abi_fail(error, QIOH_E_CLOSED, "the channel is closed");
    }
    if (queue->orphaned) {
        return abi_fail(error, QIOH_E_CLOSED,
                        "the loop in which the channel is answered is closed");
    }
    if (queue->in_ended) {
        return abi_fail(error, QIOH_E_INVAL, "the end was pushed already: nothing follows it");
    }
    if (queue->reader_gone) {
        return abi_fail_errno(error, EPIPE, "cannot push: the reader has shut down");
    }
    return 0;
}

/* Whatever was pushed, whoever waits to read looks; the scope, since a layer may end by it. */
static void notify_unpin(qioh_channel *channel, QIOChannel *ioc, GIOCondition condition)
{
    abi_scope_enter();
    qio_channel_notify(ioc, condition);
    abi_unpin(channel);
    abi_scope_leave();
}

qioh_ssize qioh_channel_push(qioh_channel *channel, const void *buf, size_t len,
                             qioh_error *error)
{
    QIOChannel *ioc;
    AbiQueue *queue;
    Error *err = NULL;
    ssize_t n = 0;
    int32_t status = check_block(buf, len, error);

    if (status == 0) {
        status = queued_pin(channel, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    queue = queue_of(ioc);
    pthread_mutex_lock(&queue->lock);
    status = check_push(queue, error);
    if (status == 0) {
        n = abi_ring_put(&queue->in, buf, len, &err);
        queue->wants = queue->wants && n <= 0;
    }
    pthread_mutex_unlock(&queue->lock);
    if (n <= 0) {
        abi_unpin(channel);
        return n < 0 ? abi_take_error(error, err) :
               status == 0 && len > 0 ? QIOH_E_AGAIN : status;
    }
    notify_unpin(channel, ioc, G_IO_IN);
    return n;
}

/* What reads fail with; NULL for a plain end.  Returns: 0, or INVAL */
static int32_t make_end(qioh_status code, const char *message, Error **end, qioh_error *error)
{
    qioh_error said = { .code = code };

    if (code == 0) {
        return 0;
    }
    if (code > 0 || code == QIOH_E_AGAIN || code < QIOH_E_TLS_TRUNCATED) {
        return abi_fail(error, QIOH_E_INVAL, "code is %d; 0 is the end, and a failure one of "
                        "QIOH_E_* but AGAIN", code);
    }
    g_strlcpy(said.message, message && *message ? message : qioh_status_name(code),
              sizeof(said.message));
    abi_give_error(end, code, &said);
    return 0;
}

qioh_status qioh_channel_push_end(qioh_channel *channel, qioh_status code, const char *message,
                                  qioh_error *error)
{
    QIOChannel *ioc;
    AbiQueue *queue;
    Error *end = NULL;
    int32_t status = make_end(code, message, &end, error);

    if (status == 0) {
        status = queued_pin(channel, &ioc, error);
    }
    if (status != 0) {
        qio_error_free(end);
        return status;
    }
    queue = queue_of(ioc);
    pthread_mutex_lock(&queue->lock);
    status = check_push(queue, error);
    if (status == 0) {
        queue->in_ended = true;
        queue->wants = false;
        queue->in_error = g_steal_pointer(&end);
    }
    pthread_mutex_unlock(&queue->lock);
    qio_error_free(end);
    notify_unpin(channel, ioc, G_IO_IN);
    return status;
}

/* Under the lock. */
static qioh_ssize pull_locked(AbiQueue *queue, void *buf, size_t len)
{
    size_t n = abi_ring_get(&queue->out, buf, len);

    queue->out_told = false;
    if (n > 0) {
        return (qioh_ssize)n;
    }
    if (queue->writer_done || queue->orphaned) {
        queue->end_pulled = true;
        return 0;
    }
    return QIOH_E_AGAIN;
}

qioh_ssize qioh_channel_pull(qioh_channel *channel, void *buf, size_t len, qioh_error *error)
{
    QIOLoopWatch *due;
    QIOChannel *ioc;
    AbiQueue *queue;
    bool was_due;
    qioh_ssize n = check_block(buf, len, error);

    if (n == 0) {
        n = queued_pin(channel, &ioc, error);
    }
    if (n != 0) {
        return n;
    }
    if (len == 0) {
        abi_unpin(channel);
        return abi_fail(error, QIOH_E_INVAL, "len is 0: that nothing was pulled would look like "
                        "the end; ask for 1 byte or more");
    }
    queue = queue_of(ioc);
    pthread_mutex_lock(&queue->lock);
    was_due = abi_queue_due(queue);
    n = pull_locked(queue, buf, len);
    due = abi_queue_due_watch(queue, was_due);
    pthread_mutex_unlock(&queue->lock);
    abi_queue_kick(due);
    if (n > 0) {
        notify_unpin(channel, ioc, G_IO_OUT);
    } else {
        abi_unpin(channel);
    }
    return n;
}
