/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/io.c: transfers.
 *
 * Owns: the way from every public read and write to the class's io_readv and io_writev: the
 * read-ahead first, then one try, then waiting as the mode and the flags say.
 * Rules: the try never waits; EINTR never shows; bytes that were moved are reported before a
 * failure; no lock, no allocation and no cast check on the way to the class.
 */
#include "channel/io.h"
#include "channel/layer.h"

/* What the kernel takes in one call (IOV_MAX of limits.h, which is not always defined). */
enum { IO_IOV_MAX = 1024 };

/* ---- one try ---- */

static bool seed_only_blocking(QIOChannel *ioc, QIOChannelClass *klass)
{
    return !klass->io_poll && qio_channel_get_blocking(ioc);
}

ssize_t qio_channel_class_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    /* Such a class waits in io_readv itself, so it is only called when that would not wait. */
    if (G_UNLIKELY(seed_only_blocking(ioc, klass))) {
        int ready = qio_channel_wait_deadline(ioc, G_IO_IN, 0, false, errp);

        if (ready <= 0) {
            return ready < 0 ? -1 : QIO_CHANNEL_ERR_BLOCK;
        }
    }
    return klass->io_readv(ioc, iov, MIN(niov, (size_t)IO_IOV_MAX), fds, nfds, errp);
}

static ssize_t class_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int *fds, size_t nfds, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (G_UNLIKELY(seed_only_blocking(ioc, klass))) {
        int ready = qio_channel_wait_deadline(ioc, G_IO_OUT, 0, false, errp);

        if (ready <= 0) {
            return ready < 0 ? -1 : QIO_CHANNEL_ERR_BLOCK;
        }
    }
    return klass->io_writev(ioc, iov, MIN(niov, (size_t)IO_IOV_MAX), fds, nfds, errp);
}

/* The read-ahead, else the class. */
static inline ssize_t try_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, Error **errp)
{
    if (G_UNLIKELY(qio_channel_closing(ioc))) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (G_UNLIKELY(qio_channel_priv(ioc)->layered) && !qio_channel_check_free(ioc, errp)) {
        return -1;
    }
    if (G_UNLIKELY(qio_channel_priv(ioc)->ahead && qio_readahead_ready(ioc))) {
        return qio_readahead_drain(ioc, iov, niov, fds, nfds, errp);
    }
    return qio_channel_class_readv(ioc, iov, niov, fds, nfds, errp);
}

static inline ssize_t try_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                 int *fds, size_t nfds, Error **errp)
{
    if (G_UNLIKELY(qio_channel_closing(ioc))) {
        qio_channel_set_closed_error(ioc, errp);
        return -1;
    }
    if (G_UNLIKELY(qio_channel_priv(ioc)->layered) && !qio_channel_check_free(ioc, errp)) {
        return -1;
    }
    /* One position for both directions (a file): writing starts where the reader is. */
    if (G_UNLIKELY(qio_channel_priv(ioc)->ahead && qio_channel_class(ioc)->io_seek)) {
        qio_readahead_rewind(ioc);
    }
    return class_writev(ioc, iov, niov, fds, nfds, errp);
}

/* ---- waiting between tries ---- */

int64_t qio_channel_io_deadline(QIOChannel *ioc)
{
    int timeout_ms = qio_channel_get_timeout(ioc);

    return timeout_ms < 0 ? QIO_NEVER : sys_deadline_ns(timeout_ms);
}

int qio_channel_block(QIOChannel *ioc, GIOCondition condition, unsigned flags,
                      int64_t *deadline_ns, Error **errp)
{
    int ready;

    if ((flags & QIO_IO_DONTWAIT) ||
        (!(flags & QIO_IO_WAIT) && !qio_channel_get_blocking(ioc))) {
        return 1;
    }
    if (*deadline_ns == 0) {
        *deadline_ns = qio_channel_io_deadline(ioc);
    }
    if ((flags & QIO_IO_WAIT) && qio_in_coroutine()) {
        return qio_channel_yield_deadline(ioc, condition, *deadline_ns, errp);
    }
    ready = qio_channel_wait_deadline(ioc, condition, *deadline_ns,
                                      (flags & QIO_IO_INTERRUPTIBLE) != 0, errp);
    if (ready == 0) {
        qio_error_set(errp, QIO_ERROR_TIMEOUT, "nothing could be %s within %d ms",
                      condition == G_IO_IN ? "read" : "written", qio_channel_get_timeout(ioc));
    }
    return ready > 0 ? 0 : -1;
}

/* ---- checks of arguments ---- */

/* Leading empty blocks would let a capped array look like an empty request: they go first. */
static void iov_trim(const struct iovec **iov, size_t *niov)
{
    while (*niov > 0 && (*iov)->iov_len == 0) {
        (*iov)++;
        (*niov)--;
    }
}

static int check_read_fds(QIOChannel *ioc, int **fds, size_t *nfds, Error **errp)
{
    if (!fds != !nfds) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fds and nfds: both are needed, or neither");
        return -1;
    }
    if (fds) {
        *fds = NULL;
        *nfds = 0;
        if (!qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_FD_PASS)) {
            qio_error_set(errp, QIO_ERROR_INVAL,
                          "fds: this channel passes no descriptors (a unix socket does)");
            return -1;
        }
    }
    return 0;
}

static int check_write_fds(QIOChannel *ioc, const int *fds, size_t nfds, ssize_t total,
                           Error **errp)
{
    if (nfds == 0) {
        return 0;
    }
    if (!fds) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fds: NULL with an nfds of %zu", nfds);
    } else if (!qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_FD_PASS)) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "fds: this channel passes no descriptors (a unix socket does)");
    } else if (nfds > QIO_CHANNEL_MAX_FDS) {
        qio_error_set(errp, QIO_ERROR_INVAL, "nfds: %zu descriptors are more than the kernel's %d",
                      nfds, QIO_CHANNEL_MAX_FDS);
    } else if (total == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "fds: descriptors need at least one byte of data");
    } else {
        return 0;
    }
    return -1;
}

/* ---- the transfers behind every public form ---- */

/* Goes on after a try that found ERR_BLOCK. */
static ssize_t read_blocked(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, unsigned flags, Error **errp)
{
    int64_t deadline_ns = 0;
    ssize_t n;
    int blocked;

    do {
        blocked = qio_channel_block(ioc, G_IO_IN, flags, &deadline_ns, errp);
        if (blocked != 0) {
            return blocked > 0 ? QIO_CHANNEL_ERR_BLOCK : -1;
        }
        n = try_readv(ioc, iov, niov, fds, nfds, errp);
    } while (n == QIO_CHANNEL_ERR_BLOCK);
    return n;
}

ssize_t qio_channel_readv_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int **fds, size_t *nfds, unsigned flags, Error **errp)
{
    ssize_t n = qio_iov_length(iov, niov, errp);

    if (n < 0 || check_read_fds(ioc, fds, nfds, errp) < 0) {
        return -1;
    }
    if (n == 0) {
        return 0;
    }
    iov_trim(&iov, &niov);
    n = try_readv(ioc, iov, niov, fds, nfds, errp);
    if (G_LIKELY(n != QIO_CHANNEL_ERR_BLOCK)) {
        return n;
    }
    return read_blocked(ioc, iov, niov, fds, nfds, flags, errp);
}

/* A failure after `done` bytes: they belong to the error where everything was asked for, and
 * are the result where any count will do. */
static ssize_t write_failed(unsigned flags, size_t done, ssize_t result, Error **errp)
{
    if (done == 0 || result == QIO_CHANNEL_ERR_BLOCK) {
        return done > 0 ? (ssize_t)done : result;
    }
    if (errp && *errp) {
        qio_error_set_bytes(*errp, done);
    }
    return -1;
}

/* Whether a write that was cut short goes on by itself. */
static bool writes_on(QIOChannel *ioc, unsigned flags)
{
    return (flags & QIO_IO_ALL) && !(flags & QIO_IO_DONTWAIT) &&
           ((flags & QIO_IO_WAIT) || qio_channel_get_blocking(ioc));
}

/*
 * What goes wrong here is told by the next call: these bytes were accepted.  Who writes on a
 * blocking channel and then does something else for long relies on their being gone.
 */
ssize_t qio_channel_see_off(QIOChannel *ioc, ssize_t n, unsigned flags)
{
    bool waits = !(flags & QIO_IO_DONTWAIT) &&
                 ((flags & QIO_IO_WAIT) || qio_channel_get_blocking(ioc));

    if (n > 0 && waits && qio_channel_class(ioc)->io_flush) {
        qio_channel_flush_flags(ioc, flags, NULL);
    }
    return n;
}

/* Goes on after a first try that gave n: a part of `total`, or ERR_BLOCK.  Descriptors that were
 * to go with the first byte are still the caller's to send when that was ERR_BLOCK. */
static ssize_t write_on(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                        size_t nfds, ssize_t total, ssize_t n, unsigned flags, Error **errp)
{
    struct iovec rest[64];
    int64_t deadline_ns = 0;
    size_t done = 0;
    int blocked;

    for (;;) {
        if (n > 0) {
            done += (size_t)n;
            if (done >= (size_t)total || !writes_on(ioc, flags)) {
                return (ssize_t)done;
            }
        } else if (n != QIO_CHANNEL_ERR_BLOCK) {
            return write_failed(flags, done, n, errp);
        } else {
            blocked = qio_channel_block(ioc, G_IO_OUT, flags, &deadline_ns, errp);
            if (blocked != 0) {
                return write_failed(flags, done, blocked > 0 ? QIO_CHANNEL_ERR_BLOCK : -1, errp);
            }
        }
        if (done == 0) {
            n = try_writev(ioc, iov, niov, fds, nfds, errp);
        } else {
            n = try_writev(ioc, rest,
                           qio_iov_skip(rest, G_N_ELEMENTS(rest), iov, niov, done), NULL, 0,
                           errp);
        }
    }
}

ssize_t qio_channel_writev_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                 int *fds, size_t nfds, unsigned flags, Error **errp)
{
    ssize_t total = qio_iov_length(iov, niov, errp);
    ssize_t n;

    if (total < 0 || check_write_fds(ioc, fds, nfds, total, errp) < 0) {
        return -1;
    }
    if (total == 0) {
        return 0;
    }
    iov_trim(&iov, &niov);
    n = try_writev(ioc, iov, niov, fds, nfds, errp);
    if (n != total && n != -1) {
        n = write_on(ioc, iov, niov, fds, nfds, total, n, flags, errp);
    }
    return qio_channel_see_off(ioc, n, flags);
}

ssize_t qio_channel_read_on(QIOChannel *ioc, const struct iovec *iov, unsigned flags,
                            Error **errp)
{
    return read_blocked(ioc, iov, 1, NULL, NULL, flags, errp);
}

ssize_t qio_channel_write_on(QIOChannel *ioc, const struct iovec *iov, ssize_t n, unsigned flags,
                             Error **errp)
{
    n = write_on(ioc, iov, 1, NULL, 0, (ssize_t)iov->iov_len, n, flags, errp);
    return qio_channel_see_off(ioc, n, flags);
}

static int read_all_ended(size_t done, ssize_t n, Error **errp)
{
    if (n == 0 && done == 0) {
        return 0;
    }
    if (n == 0) {
        qio_error_set(errp, QIO_ERROR_EOF, "the stream ended after %zu bytes", done);
    }
    if (errp && *errp) {
        qio_error_set_bytes(*errp, done);
    }
    return -1;
}

int qio_channel_readv_all_flags(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                unsigned flags, Error **errp)
{
    struct iovec rest[64];
    int64_t deadline_ns = 0;
    ssize_t total = qio_iov_length(iov, niov, errp);
    size_t done = 0;
    ssize_t n;

    if (total < 0) {
        return -1;
    }
    while (done < (size_t)total) {
        size_t count = qio_iov_skip(rest, G_N_ELEMENTS(rest), iov, niov, done);

        n = try_readv(ioc, rest, count, NULL, NULL, errp);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n != QIO_CHANNEL_ERR_BLOCK) {
            return read_all_ended(done, n, errp);
        }
        if (qio_channel_block(ioc, G_IO_IN, flags | QIO_IO_WAIT, &deadline_ns, errp) < 0) {
            return read_all_ended(done, -1, errp);
        }
    }
    return 1;
}

/* ---- the seed's functions ---- */

ssize_t qio_channel_readv_full(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                               int **fds, size_t *nfds, Error **errp)
{
    return qio_channel_readv_flags(ioc, iov, niov, fds, nfds, 0, errp);
}

ssize_t qio_channel_writev_full(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int *fds, size_t nfds, Error **errp)
{
    return qio_channel_writev_flags(ioc, iov, niov, fds, nfds, 0, errp);
}

ssize_t qio_channel_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp)
{
    return qio_channel_readv_flags(ioc, iov, niov, NULL, NULL, 0, errp);
}

ssize_t qio_channel_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp)
{
    return qio_channel_writev_flags(ioc, iov, niov, NULL, 0, 0, errp);
}

ssize_t qio_channel_read(QIOChannel *ioc, char *buf, size_t buflen, Error **errp)
{
    return qio_channel_read_flags(ioc, buf, buflen, 0, errp);
}

ssize_t qio_channel_write(QIOChannel *ioc, const char *buf, size_t buflen, Error **errp)
{
    return qio_channel_write_flags(ioc, buf, buflen, 0, errp);
}

ssize_t qio_channel_try_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                              int **fds, size_t *nfds, Error **errp)
{
    return qio_channel_readv_flags(ioc, iov, niov, fds, nfds, QIO_IO_DONTWAIT, errp);
}

ssize_t qio_channel_try_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                               int *fds, size_t nfds, Error **errp)
{
    return qio_channel_writev_flags(ioc, iov, niov, fds, nfds, QIO_IO_DONTWAIT, errp);
}

ssize_t qio_channel_try_read(QIOChannel *ioc, void *buf, size_t len, Error **errp)
{
    return qio_channel_read_flags(ioc, buf, len, QIO_IO_DONTWAIT, errp);
}

ssize_t qio_channel_try_write(QIOChannel *ioc, const void *buf, size_t len, Error **errp)
{
    return qio_channel_write_flags(ioc, buf, len, QIO_IO_DONTWAIT, errp);
}

int qio_channel_readv_all_eof(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp)
{
    return qio_channel_readv_all_flags(ioc, iov, niov, 0, errp);
}

int qio_channel_readv_all(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp)
{
    int ret = qio_channel_readv_all_flags(ioc, iov, niov, 0, errp);

    if (ret == 0) {
        qio_error_set(errp, QIO_ERROR_EOF, "the stream ended before the first byte");
        return -1;
    }
    return ret < 0 ? -1 : 0;
}

int qio_channel_writev_all(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **erp)
{
    ssize_t n = qio_channel_writev_flags(ioc, iov, niov, NULL, 0, QIO_IO_ALL | QIO_IO_WAIT, erp);

    return n < 0 ? -1 : 0;
}

int qio_channel_read_all_eof(QIOChannel *ioc, char *buf, size_t buflen, Error **errp)
{
    struct iovec iov = { .iov_base = buf, .iov_len = buflen };

    return qio_channel_readv_all_eof(ioc, &iov, 1, errp);
}

int qio_channel_read_all(QIOChannel *ioc, char *buf, size_t buflen, Error **errp)
{
    struct iovec iov = { .iov_base = buf, .iov_len = buflen };

    return qio_channel_readv_all(ioc, &iov, 1, errp);
}

int qio_channel_write_all(QIOChannel *ioc, const char *buf, size_t buflen, Error **errp)
{
    struct iovec iov = { .iov_base = (char *)buf, .iov_len = buflen };

    return qio_channel_writev_all(ioc, &iov, 1, errp);
}
