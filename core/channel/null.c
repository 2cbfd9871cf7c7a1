/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/null.c: the null channel: reads end at once, writes are swallowed.
 *
 * Owns: the class, which has no state.  Any thread.
 */
#include <qio/channel-null.h>
#include "channel/channel-priv.h"

struct QIOChannelNull {
    QIOChannel parent;
};

static ssize_t null_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                          int **fds, size_t *nfds, Error **errp)
{
    return 0;
}

static ssize_t null_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                           int *fds, size_t nfds, Error **errp)
{
    return qio_iov_length(iov, niov, errp);
}

static ssize_t null_pread(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp)
{
    return 0;
}

static ssize_t null_pwrite(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                           Error **errp)
{
    return (ssize_t)len;
}

static off_t null_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp)
{
    return 0;
}

static int null_close(QIOChannel *ioc, Error **errp)
{
    return 0;
}

static int null_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static int null_advance(QIOChannel *ioc, GIOCondition condition)
{
    return (int)condition;
}

static void null_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = null_readv;
    ioc_class->io_writev = null_writev;
    ioc_class->io_pread = null_pread;
    ioc_class->io_pwrite = null_pwrite;
    ioc_class->io_seek = null_seek;
    ioc_class->io_close = null_close;
    ioc_class->io_poll = null_poll;
    ioc_class->io_advance = null_advance;
}

static const TypeInfo null_type = {
    .name = TYPE_QIO_CHANNEL_NULL,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelNull),
    .class_init = null_class_init,
};

static void __attribute__((constructor)) null_register(void)
{
    qio_type_register_static(&null_type);
}

QIOChannelNull *qio_channel_null_new(void)
{
    return (QIOChannelNull *)qio_object_new(TYPE_QIO_CHANNEL_NULL);
}
