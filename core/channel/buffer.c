/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/buffer.c: memory as a seekable channel.
 *
 * Owns: the bytes.  Rules: every size is worked out from the position that is written, with
 * overflow checked, before anything changes; a peer can make it grow, so growing may fail with
 * NOMEM but never aborts.  One thread may read while another writes, as on every channel, and
 * writing moves the bytes: hence the lock, which is held for the copying only.
 */
#include <string.h>
#include <qio/channel-buffer.h>
#include "channel/channel-priv.h"

enum { CAPACITY_LEAST = 64 };

/* What is allocated: the public part, and the lock behind it. */
typedef struct BufferInstance {
    QIOChannelBuffer buffer;
    pthread_mutex_t lock;
} BufferInstance;

static QIOChannelBuffer *buffer_lock(QIOChannel *ioc)
{
    BufferInstance *instance = (BufferInstance *)ioc;

    pthread_mutex_lock(&instance->lock);
    return &instance->buffer;
}

static void buffer_unlock(QIOChannelBuffer *buffer)
{
    pthread_mutex_unlock(&((BufferInstance *)buffer)->lock);
}

/* Makes room for `end` bytes; doubles, so that a stream of small writes costs little each. */
static int reserve(QIOChannelBuffer *buffer, size_t end, Error **errp)
{
    size_t capacity = buffer->capacity;
    uint8_t *data;

    if (end <= capacity) {
        return 0;
    }
    capacity = MAX(capacity <= SSIZE_MAX / 2 ? capacity * 2 : end, MAX(end, CAPACITY_LEAST));
    data = g_try_realloc(buffer->data, capacity);
    if (!data && capacity > end) {
        capacity = end;
        data = g_try_realloc(buffer->data, capacity);
    }
    if (!data) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for a buffer of %zu bytes", end);
        return -1;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

static size_t read_at(const QIOChannelBuffer *buffer, size_t at, const struct iovec *iov,
                      size_t niov)
{
    size_t left = at < buffer->usage ? buffer->usage - at : 0;
    size_t done = 0;

    for (size_t i = 0; i < niov && left > 0; i++) {
        size_t n = MIN(iov[i].iov_len, left);

        if (n > 0) {
            memcpy(iov[i].iov_base, buffer->data + at + done, n);
        }
        done += n;
        left -= n;
    }
    return done;
}

static ssize_t write_at(QIOChannelBuffer *buffer, size_t at, const struct iovec *iov, size_t niov,
                        Error **errp)
{
    ssize_t total = qio_iov_length(iov, niov, errp);

    if (total <= 0) {
        return total;
    }
    if (at > (size_t)SSIZE_MAX - (size_t)total) {
        qio_error_set_errno(errp, EFBIG, "cannot write %zd bytes to the buffer at offset %zu",
                            total, at);
        return -1;
    }
    if (reserve(buffer, at + (size_t)total, errp) < 0) {
        return -1;
    }
    if (at > buffer->usage) {
        memset(buffer->data + buffer->usage, 0, at - buffer->usage);
    }
    for (size_t i = 0; i < niov; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(buffer->data + at, iov[i].iov_base, iov[i].iov_len);
            at += iov[i].iov_len;
        }
    }
    buffer->usage = MAX(buffer->usage, at);
    return total;
}

/* ---- the class ---- */

static ssize_t buffer_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp)
{
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    size_t n = read_at(buffer, buffer->offset, iov, niov);

    buffer->offset += n;
    buffer_unlock(buffer);
    return (ssize_t)n;
}

static ssize_t buffer_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                             int *fds, size_t nfds, Error **errp)
{
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    ssize_t n = write_at(buffer, buffer->offset, iov, niov, errp);

    if (n > 0) {
        buffer->offset += (size_t)n;
    }
    buffer_unlock(buffer);
    return n;
}

static ssize_t buffer_pread(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp)
{
    const struct iovec iov = { .iov_base = buf, .iov_len = len };
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    size_t n = read_at(buffer, (size_t)offset, &iov, 1);

    buffer_unlock(buffer);
    return (ssize_t)n;
}

static ssize_t buffer_pwrite(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                             Error **errp)
{
    const struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    ssize_t n = write_at(buffer, (size_t)offset, &iov, 1, errp);

    buffer_unlock(buffer);
    return n;
}

static off_t buffer_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp)
{
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    off_t base = whence == SEEK_SET ? 0
               : (off_t)(whence == SEEK_CUR ? buffer->offset : buffer->usage);
    off_t target;

    if (__builtin_add_overflow(base, offset, &target) || target < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "offset: %lld from %lld is no place in a buffer", (long long)offset,
                      (long long)base);
        target = -1;
    } else {
        buffer->offset = (size_t)target;
    }
    buffer_unlock(buffer);
    return target;
}

static off_t buffer_get_size(QIOChannel *ioc, Error **errp)
{
    QIOChannelBuffer *buffer = buffer_lock(ioc);
    off_t size = (off_t)buffer->usage;

    buffer_unlock(buffer);
    return size;
}

static int buffer_close(QIOChannel *ioc, Error **errp)
{
    QIOChannelBuffer *buffer = buffer_lock(ioc);

    g_clear_pointer(&buffer->data, g_free);
    buffer->capacity = buffer->usage = buffer->offset = 0;
    buffer_unlock(buffer);
    return 0;
}

static int buffer_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static int buffer_advance(QIOChannel *ioc, GIOCondition condition)
{
    return (int)condition;
}

static void buffer_instance_init(Object *obj)
{
    pthread_mutex_init(&((BufferInstance *)obj)->lock, NULL);
}

static void buffer_instance_finalize(Object *obj)
{
    pthread_mutex_destroy(&((BufferInstance *)obj)->lock);
}

static void buffer_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = buffer_readv;
    ioc_class->io_writev = buffer_writev;
    ioc_class->io_pread = buffer_pread;
    ioc_class->io_pwrite = buffer_pwrite;
    ioc_class->io_seek = buffer_seek;
    ioc_class->io_get_size = buffer_get_size;
    ioc_class->io_close = buffer_close;
    ioc_class->io_poll = buffer_poll;
    ioc_class->io_advance = buffer_advance;
}

static const TypeInfo buffer_type = {
    .name = TYPE_QIO_CHANNEL_BUFFER,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(BufferInstance),
    .instance_init = buffer_instance_init,
    .instance_finalize = buffer_instance_finalize,
    .class_init = buffer_class_init,
};

static void __attribute__((constructor)) buffer_register(void)
{
    qio_type_register_static(&buffer_type);
}

QIOChannelBuffer *qio_channel_buffer_new(size_t capacity)
{
    QIOChannelBuffer *buffer = (QIOChannelBuffer *)qio_object_new(TYPE_QIO_CHANNEL_BUFFER);

    /* A hint: if there is no memory for it, the first write will tell. */
    if (capacity > 0 && capacity <= SSIZE_MAX) {
        buffer->data = g_try_malloc(capacity);
        buffer->capacity = buffer->data ? capacity : 0;
    }
    return buffer;
}
