/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/read-until.c: peek and read_until, over the read-ahead.
 *
 * Owns: the search for delimiters.  Rules: nothing is consumed but what is returned; the match
 * that ends first wins, so that any chunking of the stream gives the same result; bytes once
 * searched are not searched again, also across calls that ended in a time-out.
 */
#include <string.h>
#include "channel/layer.h"
#include "channel/readahead.h"

enum {
    DELIMS_MAX = 16,
    DELIM_LENGTH_MAX = 64,
};

static int check_buffer(const void *buf, size_t len, const char *name, Error **errp)
{
    if (!buf && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL with a length of %zu", name, len);
        return -1;
    }
    return 0;
}

static int check_open(QIOChannel *ioc, Error **errp)
{
    return qio_channel_check_free(ioc, errp) ? 0 : -1;
}

/* ---- peek ---- */

ssize_t qio_channel_peek_flags(QIOChannel *ioc, void *buf, size_t len, unsigned flags,
                               Error **errp)
{
    int64_t deadline_ns = 0;
    QIOReadAhead *ahead;
    ssize_t n;
    int blocked;

    if (check_buffer(buf, len, "buf", errp) < 0 || check_open(ioc, errp) < 0) {
        return -1;
    }
    if (len > QIO_CHANNEL_PEEK_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "len: %zu is more than a peek's %d", len,
                      QIO_CHANNEL_PEEK_MAX);
        return -1;
    }
    if (len == 0) {
        return 0;
    }
    ahead = qio_readahead_get(ioc);
    for (;;) {
        size_t held = ahead->end - ahead->start;

        n = 1;
        if (held < len && !ahead->fds && ahead->deferred == AHEAD_NONE) {
            n = qio_readahead_fill(ioc, ahead, len - held, errp);
        }
        held = ahead->end - ahead->start;
        if (held > 0) {
            n = (ssize_t)MIN(held, len);
            memcpy(buf, ahead->buf + ahead->start, (size_t)n);
            qio_channel_kick(ioc);
            return n;
        }
        if (ahead->deferred != AHEAD_NONE) {
            return qio_readahead_drain(ioc, NULL, 0, NULL, NULL, errp);
        }
        if (n != QIO_CHANNEL_ERR_BLOCK) {
            return n;
        }
        blocked = qio_channel_block(ioc, G_IO_IN, flags, &deadline_ns, errp);
        if (blocked != 0 || check_open(ioc, errp) < 0) {
            return blocked > 0 ? QIO_CHANNEL_ERR_BLOCK : -1;
        }
    }
}

ssize_t qio_channel_peek(QIOChannel *ioc, void *buf, size_t len, Error **errp)
{
    return qio_channel_peek_flags(ioc, buf, len, 0, errp);
}

ssize_t qio_channel_try_peek(QIOChannel *ioc, void *buf, size_t len, Error **errp)
{
    return qio_channel_peek_flags(ioc, buf, len, QIO_IO_DONTWAIT, errp);
}

/* ---- read_until ---- */

static int check_delims(const struct iovec *delims, size_t ndelims, size_t limit, Error **errp)
{
    size_t i;

    if (!delims || ndelims < 1 || ndelims > DELIMS_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "ndelims: %zu delimiters, 1 to %d are possible",
                      ndelims, DELIMS_MAX);
        return -1;
    }
    for (i = 0; i < ndelims; i++) {
        if (!delims[i].iov_base || delims[i].iov_len < 1 ||
            delims[i].iov_len > DELIM_LENGTH_MAX) {
            qio_error_set(errp, QIO_ERROR_INVAL,
                          "delims[%zu]: a delimiter has 1 to %d bytes, not %zu", i,
                          DELIM_LENGTH_MAX, delims[i].iov_len);
            return -1;
        }
    }
    if (limit < 1 || limit > QIO_CHANNEL_PEEK_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "limit: %zu is not between 1 and %d", limit,
                      QIO_CHANNEL_PEEK_MAX);
        return -1;
    }
    return 0;
}

/* FNV-1a over the delimiters and their lengths: tells one set from another between calls. */
static uint64_t delims_key(const struct iovec *delims, size_t ndelims)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325);
    size_t i, j;

    for (i = 0; i < ndelims; i++) {
        const uint8_t *bytes = delims[i].iov_base;

        for (j = 0; j < delims[i].iov_len; j++) {
            key = (key ^ bytes[j]) * UINT64_C(0x100000001b3);
        }
        key = (key ^ 0x100 ^ delims[i].iov_len) * UINT64_C(0x100000001b3);
    }
    return key;
}

/* Where the first match ends, counted from the first held byte; 0 = none in `len` bytes. */
static size_t find_end(const QIOReadAhead *ahead, size_t len, const struct iovec *delims,
                       size_t ndelims)
{
    const uint8_t *bytes = ahead->buf + ahead->start;
    size_t first = 0;
    size_t i;

    for (i = 0; i < ndelims; i++) {
        size_t dlen = delims[i].iov_len;
        size_t from = ahead->scanned - MIN(ahead->scanned, dlen - 1);
        size_t upto = first ? first - 1 : len;      /* only an earlier end matters */
        const uint8_t *hit;

        if (from >= upto) {
            continue;
        }
        hit = memmem(bytes + from, upto - from, delims[i].iov_base, dlen);
        if (hit) {
            first = (size_t)(hit - bytes) + dlen;
        }
    }
    return first;
}

/* Hands out exactly the first `len` held bytes. */
static ssize_t take(QIOChannel *ioc, void *buf, size_t cap, size_t len, Error **errp)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };

    if (len > cap) {
        Error *err = NULL;

        qio_error_set(&err, QIO_ERROR_TRUNCATED, "cap: %zu bytes are needed, %zu are given", len,
                      cap);
        qio_error_set_bytes(err, len);
        qio_error_propagate(errp, err);
        return -1;
    }
    return qio_readahead_drain(ioc, &iov, 1, NULL, NULL, errp);
}

/* What the held bytes say.  Returns: a result, or QIO_CHANNEL_ERR_BLOCK for "more is needed". */
static ssize_t look(QIOChannel *ioc, QIOReadAhead *ahead, void *buf, size_t cap,
                    const struct iovec *delims, size_t ndelims, size_t limit, Error **errp)
{
    size_t held = ahead->end - ahead->start;
    size_t end = held ? find_end(ahead, MIN(held, limit), delims, ndelims) : 0;

    if (end) {
        return take(ioc, buf, cap, end, errp);
    }
    ahead->scanned = MIN(held, limit);
    if (held >= limit) {
        qio_error_set(errp, QIO_ERROR_LIMIT, "no delimiter in the first %zu bytes", limit);
        return -1;
    }
    if (ahead->deferred == AHEAD_END && held > 0) {
        return take(ioc, buf, cap, held, errp);
    }
    if (ahead->deferred == AHEAD_ERROR && held > 0) {
        qio_error_propagate(errp, qio_error_copy(ahead->error));
        return -1;
    }
    if (ahead->deferred != AHEAD_NONE) {
        return qio_readahead_drain(ioc, NULL, 0, NULL, NULL, errp);
    }
    return QIO_CHANNEL_ERR_BLOCK;
}

ssize_t qio_channel_read_until_flags(QIOChannel *ioc, void *buf, size_t cap,
                                     const struct iovec *delims, size_t ndelims, size_t limit,
                                     unsigned flags, Error **errp)
{
    int64_t deadline_ns = 0;
    QIOReadAhead *ahead;
    uint64_t key;
    ssize_t n;
    int blocked;

    if (check_buffer(buf, cap, "buf", errp) < 0 ||
        check_delims(delims, ndelims, limit, errp) < 0 || check_open(ioc, errp) < 0) {
        return -1;
    }
    ahead = qio_readahead_get(ioc);
    key = delims_key(delims, ndelims);
    if (ahead->scan_key != key) {
        ahead->scan_key = key;
        ahead->scanned = 0;
    }
    for (;;) {
        n = look(ioc, ahead, buf, cap, delims, ndelims, limit, errp);
        if (n != QIO_CHANNEL_ERR_BLOCK) {
            qio_channel_kick(ioc);      /* what is held, and what is not any more */
            return n;
        }
        qio_readahead_drop_fds(ahead);
        n = qio_readahead_fill(ioc, ahead, 1, errp);
        if (n > 0 || ahead->deferred != AHEAD_NONE) {
            continue;
        }
        if (n != QIO_CHANNEL_ERR_BLOCK) {
            return n;
        }
        qio_channel_kick(ioc);
        blocked = qio_channel_block(ioc, QIO_CHANNEL_MORE, flags, &deadline_ns, errp);
        if (blocked != 0 || check_open(ioc, errp) < 0) {
            return blocked > 0 ? QIO_CHANNEL_ERR_BLOCK : -1;
        }
    }
}

ssize_t qio_channel_read_until(QIOChannel *ioc, void *buf, size_t cap, const struct iovec *delims,
                               size_t ndelims, size_t limit, Error **errp)
{
    return qio_channel_read_until_flags(ioc, buf, cap, delims, ndelims, limit, 0, errp);
}

ssize_t qio_channel_try_read_until(QIOChannel *ioc, void *buf, size_t cap,
                                   const struct iovec *delims, size_t ndelims, size_t limit,
                                   Error **errp)
{
    return qio_channel_read_until_flags(ioc, buf, cap, delims, ndelims, limit, QIO_IO_DONTWAIT,
                                        errp);
}
