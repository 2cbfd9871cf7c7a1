/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/file.c: the file channel.
 *
 * Owns: the class; how a transfer is kept from waiting is nonblock.c's matter.  A descriptor
 * that was bad from the start is kept as -1, so that the number, once it names something else,
 * is neither used nor closed by this channel.
 */
#include <string.h>
#include "channel/channel-priv.h"
#include "channel/file-priv.h"
#include "channel/nonblock.h"

struct QIOChannelFile {
    QIOChannel parent;
    QIONonblock nb;
};

#define NONBLOCK(ioc) (&((QIOChannelFile *)(ioc))->nb)

static ssize_t transfer_failed(const char *what, Error **errp)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    qio_error_set_errno(errp, errno, "cannot %s the file", what);
    return -1;
}

static ssize_t file_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                          int **fds, size_t *nfds, Error **errp)
{
    ssize_t ret = qio_nonblock_readv(NONBLOCK(ioc), iov, niov);

    return G_LIKELY(ret >= 0) ? ret : transfer_failed("read from", errp);
}

static ssize_t file_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                           int *fds, size_t nfds, Error **errp)
{
    ssize_t ret = qio_nonblock_writev(NONBLOCK(ioc), iov, niov);

    return G_LIKELY(ret >= 0) ? ret : transfer_failed("write to", errp);
}

static ssize_t file_pread(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp)
{
    ssize_t ret;

    do {
        ret = sys_pread(NONBLOCK(ioc)->fd, buf, len, offset);
    } while (ret < 0 && errno == EINTR);
    return ret >= 0 ? ret : transfer_failed("read from", errp);
}

static ssize_t file_pwrite(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                           Error **errp)
{
    ssize_t ret;

    do {
        ret = sys_pwrite(NONBLOCK(ioc)->fd, buf, len, offset);
    } while (ret < 0 && errno == EINTR);
    return ret >= 0 ? ret : transfer_failed("write to", errp);
}

static off_t file_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp)
{
    off_t ret = sys_lseek(NONBLOCK(ioc)->fd, offset, whence);

    if (ret < 0) {
        qio_error_set_errno(errp, errno, "cannot seek in the file to %lld", (long long)offset);
    }
    return ret;
}

static off_t file_get_size(QIOChannel *ioc, Error **errp)
{
    struct stat st;

    if (sys_fstat(NONBLOCK(ioc)->fd, &st) < 0) {
        qio_error_set_errno(errp, errno, "cannot ask for the size of the file");
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "only a regular file has a size");
        return -1;
    }
    return st.st_size;
}

static int file_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    int fd = NONBLOCK(ioc)->fd;

    if (fd < 0 || cap < 1) {
        return 0;
    }
    out[0].fd = fd;
    out[0].events = condition;
    return 1;
}

static int file_advance(QIOChannel *ioc, GIOCondition condition)
{
    return (int)qio_nonblock_ready(NONBLOCK(ioc), condition);
}

static int file_splice_fd(QIOChannel *ioc, GIOCondition condition, bool begin)
{
    return begin ? qio_nonblock_splice_fd(NONBLOCK(ioc)) : -1;
}

static int file_close(QIOChannel *ioc, Error **errp)
{
    if (qio_nonblock_close(NONBLOCK(ioc)) < 0) {
        qio_error_set_errno(errp, errno, "cannot close the file");
        return -1;
    }
    return 0;
}

static int file_take_fd(QIOChannel *ioc, Error **errp)
{
    if (NONBLOCK(ioc)->fd < 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "the file channel has no descriptor");
        return -1;
    }
    return qio_nonblock_take(NONBLOCK(ioc));
}

static void file_instance_init(Object *obj)
{
    NONBLOCK(obj)->fd = NONBLOCK(obj)->io_fd = -1;
    qio_channel_priv((QIOChannel *)obj)->direct = true;
}

static void file_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = file_readv;
    ioc_class->io_writev = file_writev;
    ioc_class->io_pread = file_pread;
    ioc_class->io_pwrite = file_pwrite;
    ioc_class->io_seek = file_seek;
    ioc_class->io_get_size = file_get_size;
    ioc_class->io_poll = file_poll;
    ioc_class->io_advance = file_advance;
    ioc_class->io_splice_fd = file_splice_fd;
    ioc_class->io_close = file_close;
    ioc_class->io_take_fd = file_take_fd;
}

static const TypeInfo file_type = {
    .name = TYPE_QIO_CHANNEL_FILE,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelFile),
    .instance_init = file_instance_init,
    .class_init = file_class_init,
};

static void __attribute__((constructor)) file_register(void)
{
    qio_type_register_static(&file_type);
}

/* ---- making ---- */

static QIOChannelFile *file_new(int fd, bool own)
{
    QIOChannelFile *ioc = (QIOChannelFile *)qio_object_new(TYPE_QIO_CHANNEL_FILE);

    qio_nonblock_init(&ioc->nb, fd, own);
    return ioc;
}

QIOChannelFile *qio_channel_file_new_own(int fd)
{
    return file_new(fd, true);
}

QIOChannelFile *qio_channel_file_new_fd(int fd)
{
    return file_new(fd, false);
}

QIOChannelFile *qio_channel_file_new_fd_checked(int fd, Error **errp)
{
    if (sys_fcntl(fd, F_GETFD, 0) < 0) {
        if (errno == EBADF) {
            qio_error_set(errp, QIO_ERROR_INVAL, "fd: %d is not an open descriptor", fd);
        } else {
            qio_error_set_errno(errp, errno, "cannot look at descriptor %d", fd);
        }
        return NULL;
    }
    return file_new(fd, false);
}

QIOChannelFile *qio_channel_file_open(const char *path, int flags, mode_t mode,
                                      bool interruptible, Error **errp)
{
    char text[300];
    int fd;

    if (!path) {
        qio_error_set(errp, QIO_ERROR_INVAL, "path: NULL is no path");
        return NULL;
    }
    do {
        fd = sys_open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    } while (fd < 0 && errno == EINTR && !interruptible);
    if (fd < 0 && errno == EINTR) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal ended the wait for the other end of '%s'",
                      qio_escape_bytes(path, strlen(path), text, sizeof(text)));
        return NULL;
    }
    if (fd < 0) {
        qio_error_set_errno(errp, errno, "cannot open '%s'",
                            qio_escape_bytes(path, strlen(path), text, sizeof(text)));
        return NULL;
    }
    return file_new(fd, true);
}

QIOChannelFile *qio_channel_file_new_path(const char *path, int flags, mode_t mode, Error **errp)
{
    return qio_channel_file_open(path, flags, mode, false, errp);
}
