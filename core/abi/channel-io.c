/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/channel-io.c: transfers.
 *
 * Owns: the checks of what a foreign caller may get wrong, and the mapping of results; the
 * transfers themselves are core/channel/io.c's.
 * Rule: one reader and one writer at a time; more get BUSY.  Results: >= 0, or a code; would
 * block is AGAIN, with the error untouched.
 */
#include "abi/channel.h"
#include "abi/fdset.h"
#include "channel/io.h"

#define ABI_IOV_MAX 1024u

G_STATIC_ASSERT(sizeof(qioh_iovec) == sizeof(struct iovec));
G_STATIC_ASSERT(offsetof(qioh_iovec, base) == offsetof(struct iovec, iov_base));
G_STATIC_ASSERT(offsetof(qioh_iovec, len) == offsetof(struct iovec, iov_len));

/* ---- checks ---- */

static int32_t check_buffer(const void *buf, size_t len, qioh_error *error)
{
    if (G_UNLIKELY(!buf && len > 0)) {
        return abi_fail(error, QIOH_E_INVAL, "buf is NULL with a len of %zu", len);
    }
    if (G_UNLIKELY(len > INT64_MAX)) {
        return abi_fail(error, QIOH_E_INVAL, "len is %zu, more than a result can say", len);
    }
    return 0;
}

static int32_t check_flags(uint32_t flags, qioh_error *error)
{
    if (flags & ~(uint32_t)QIOH_DONTWAIT) {
        return abi_fail(error, QIOH_E_INVAL, "flags are 0x%x; only QIOH_DONTWAIT (1) is known",
                        flags);
    }
    return 0;
}

static int32_t check_blocks(const char *name, const qioh_iovec *iov, size_t niov,
                            qioh_error *error)
{
    if (!iov && niov > 0) {
        return abi_fail(error, QIOH_E_INVAL, "%s is NULL with a count of %zu", name, niov);
    }
    if (niov > ABI_IOV_MAX) {
        return abi_fail(error, QIOH_E_INVAL, "%s has %zu entries; %u is the most", name, niov,
                        ABI_IOV_MAX);
    }
    for (size_t i = 0; i < niov; i++) {
        if (!iov[i].base && iov[i].len > 0) {
            return abi_fail(error, QIOH_E_INVAL, "%s[%zu].base is NULL with a len of %zu", name,
                            i, iov[i].len);
        }
    }
    return 0;
}

/* ---- results ---- */

/* The result of a transfer that gave n: leaves the channel. */
ABI_INLINE int64_t done(qioh_channel *channel, QIOChannel *ioc, uint32_t use, ssize_t n,
                        Error *err, qioh_error *error)
{
    abi_channel_leave(channel, ioc, use);
    if (G_LIKELY(n >= 0)) {
        return n;
    }
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return QIOH_E_AGAIN;
    }
    return abi_take_error(error, err);
}

static int64_t read_one(qioh_channel *channel, void *buf, size_t len, unsigned flags,
                        qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_buffer(buf, len, error);

    if (G_UNLIKELY(status < 0)) {
        return status;
    }
    status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    if (G_UNLIKELY(status < 0)) {
        return status;
    }
    n = qio_channel_read_flags(ioc, buf, len, flags, &err);
    return done(channel, ioc, QIO_USE_READ, n, err, error);
}

static int64_t write_one(qioh_channel *channel, const void *buf, size_t len, unsigned flags,
                         qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_buffer(buf, len, error);

    if (G_UNLIKELY(status < 0)) {
        return status;
    }
    status = abi_channel_enter(channel, QIO_USE_WRITE, &ioc, error);
    if (G_UNLIKELY(status < 0)) {
        return status;
    }
    n = qio_channel_write_flags(ioc, buf, len, flags, &err);
    return done(channel, ioc, QIO_USE_WRITE, n, err, error);
}

/* ---- one buffer ---- */

qioh_ssize qioh_channel_read(qioh_channel *channel, void *buf, size_t len, qioh_error *error)
{
    return read_one(channel, buf, len, QIO_IO_INTERRUPTIBLE, error);
}

qioh_ssize qioh_channel_write(qioh_channel *channel, const void *buf, size_t len,
                              qioh_error *error)
{
    return write_one(channel, buf, len, QIO_IO_INTERRUPTIBLE | QIO_IO_ALL, error);
}

qioh_ssize qioh_channel_try_read(qioh_channel *channel, void *buf, size_t len,
                                 qioh_error *error)
{
    return read_one(channel, buf, len, QIO_IO_DONTWAIT, error);
}

qioh_ssize qioh_channel_try_write(qioh_channel *channel, const void *buf, size_t len,
                                  qioh_error *error)
{
    return write_one(channel, buf, len, QIO_IO_DONTWAIT, error);
}

/* ---- many buffers and descriptors ---- */

static int32_t check_vectors(const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_error *error)
{
    int32_t status = check_flags(flags, error);

    return status < 0 ? status : check_blocks("iov", iov, niov, error);
}

qioh_ssize qioh_channel_readv(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                              uint32_t flags, qioh_fdset *fds, qioh_error *error)
{
    unsigned how = flags & QIOH_DONTWAIT ? QIO_IO_DONTWAIT : QIO_IO_INTERRUPTIBLE;
    AbiFdset *set = NULL;
    int *received = NULL;
    size_t nreceived = 0;
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int64_t result = check_vectors(iov, niov, flags, error);

    if (result < 0) {
        return result;
    }
    result = abi_fdset_begin_receive(fds, &set, error);
    if (result < 0) {
        return result;
    }
    result = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    if (result == 0) {
        n = qio_channel_readv_flags(ioc, (const struct iovec *)iov, niov,
                                    set ? &received : NULL, set ? &nreceived : NULL, how, &err);
        result = done(channel, ioc, QIO_USE_READ, n, err, error);
    }
    abi_fdset_end_receive(fds, set, received, nreceived);
    return result;
}

qioh_ssize qioh_channel_writev(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                               uint32_t flags, qioh_fdset *fds, qioh_error *error)
{
    unsigned how = flags & QIOH_DONTWAIT ? QIO_IO_DONTWAIT : QIO_IO_INTERRUPTIBLE | QIO_IO_ALL;
    int sent[QIO_CHANNEL_MAX_FDS];
    AbiFdset *set = NULL;
    size_t nsent = 0;
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int64_t result = check_vectors(iov, niov, flags, error);

    if (result < 0) {
        return result;
    }
    result = abi_fdset_begin_send(fds, &set, sent, &nsent, error);
    if (result < 0) {
        return result;
    }
    result = abi_channel_enter(channel, QIO_USE_WRITE, &ioc, error);
    if (result == 0) {
        n = qio_channel_writev_flags(ioc, (const struct iovec *)iov, niov,
                                     nsent ? sent : NULL, nsent, how, &err);
        result = done(channel, ioc, QIO_USE_WRITE, n, err, error);
    }
    abi_fdset_end_send(fds, set);
    return result;
}

/* ---- everything or nothing ---- */

/* 1, 0 at the end before the first byte, or a code. */
static int32_t read_all(qioh_channel *channel, void *buf, size_t len, qioh_error *error)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    Error *err = NULL;
    QIOChannel *ioc;
    int n;
    int32_t status = check_buffer(buf, len, error);

    if (status != 0) {
        return status;
    }
    status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    if (status != 0) {
        return status;
    }
    n = qio_channel_readv_all_flags(ioc, &iov, 1, QIO_IO_INTERRUPTIBLE, &err);
    return (int32_t)done(channel, ioc, QIO_USE_READ, n, err, error);
}

qioh_status qioh_channel_read_all_eof(qioh_channel *channel, void *buf, size_t len,
                                      qioh_error *error)
{
    return read_all(channel, buf, len, error);
}

qioh_status qioh_channel_read_all(qioh_channel *channel, void *buf, size_t len,
                                  qioh_error *error)
{
    int32_t status = read_all(channel, buf, len, error);

    if (status == 0) {
        return abi_fail(error, QIOH_E_EOF, "the stream ended before the first of %zu bytes", len);
    }
    return status < 0 ? status : 0;
}

qioh_status qioh_channel_write_all(qioh_channel *channel, const void *buf, size_t len,
                                   qioh_error *error)
{
    int64_t n = write_one(channel, buf, len, QIO_IO_INTERRUPTIBLE | QIO_IO_ALL | QIO_IO_WAIT,
                          error);

    return n < 0 ? (int32_t)n : 0;
}

/* ---- read-ahead ---- */

qioh_ssize qioh_channel_peek(qioh_channel *channel, void *buf, size_t len, uint32_t flags,
                             qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_flags(flags, error);

    if (status == 0) {
        status = check_buffer(buf, len, error);
    }
    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    n = qio_channel_peek_flags(ioc, buf, len, flags & QIOH_DONTWAIT ? QIO_IO_DONTWAIT
                                                                    : QIO_IO_INTERRUPTIBLE, &err);
    return done(channel, ioc, QIO_USE_READ, n, err, error);
}

qioh_ssize qioh_channel_read_until(qioh_channel *channel, void *buf, size_t cap,
                                   const qioh_iovec *delims, size_t ndelims, size_t limit,
                                   uint32_t flags, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_flags(flags, error);

    if (status == 0) {
        status = check_buffer(buf, cap, error);
    }
    if (status == 0) {
        status = check_blocks("delims", delims, ndelims, error);
    }
    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    n = qio_channel_read_until_flags(ioc, buf, cap, (const struct iovec *)delims, ndelims, limit,
                                     flags & QIOH_DONTWAIT ? QIO_IO_DONTWAIT
                                                           : QIO_IO_INTERRUPTIBLE, &err);
    return done(channel, ioc, QIO_USE_READ, n, err, error);
}

qioh_status qioh_channel_unread(qioh_channel *channel, const void *buf, size_t len,
                                qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int ret;
    int32_t status = check_buffer(buf, len, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    ret = qio_channel_unread(ioc, buf, len, &err);
    return (int32_t)done(channel, ioc, QIO_USE_READ, ret, err, error);
}

/* ---- positioned ---- */

qioh_ssize qioh_channel_pread(qioh_channel *channel, void *buf, size_t len, int64_t offset,
                              qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_buffer(buf, len, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_READ, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    n = qio_channel_pread(ioc, buf, len, offset, &err);
    return done(channel, ioc, QIO_USE_READ, n, err, error);
}

qioh_ssize qioh_channel_pwrite(qioh_channel *channel, const void *buf, size_t len,
                               int64_t offset, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    ssize_t n;
    int32_t status = check_buffer(buf, len, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_WRITE, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    n = qio_channel_pwrite(ioc, buf, len, offset, &err);
    return done(channel, ioc, QIO_USE_WRITE, n, err, error);
}

qioh_status qioh_channel_flush_within(qioh_channel *channel, int32_t timeout_ms,
                                      qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int ret;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_WRITE, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    ret = qio_channel_flush_within(ioc, timeout_ms, true, &err);
    return (int32_t)done(channel, ioc, QIO_USE_WRITE, ret, err, error);
}

qioh_status qioh_channel_flush(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int ret;
    int32_t status = abi_channel_enter(channel, QIO_USE_WRITE, &ioc, error);

    if (status != 0) {
        return status;
    }
    ret = qio_channel_flush_flags(ioc, QIO_IO_INTERRUPTIBLE, &err);
    return (int32_t)done(channel, ioc, QIO_USE_WRITE, ret, err, error);
}
