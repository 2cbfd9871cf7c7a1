/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/readahead.c: the one buffer above a channel's descriptor, as storage.
 *
 * Owns: QIOReadAhead, made on first use by peek and read_until (read-until.c): bytes read but not
 * yet handed out, at most one set of descriptors that came with some of them, and the end or
 * error that was met behind them.
 * Rules: the buffer is the reader's; others only see `pending` and `deferred`.  Every read
 * drains it first.  A set of descriptors stays with the chunk it came in and nothing is read ahead
 * of a held set, so at most 253 are ever held.  Never MSG_PEEK: it cannot tell what comes after a
 * set, and costs a second copy.
 */
#include <string.h>
#include "channel/layer.h"
#include "channel/readahead.h"

enum {
    CHUNK_MIN = 8 * 1024,       /* the least and the most that one fill asks for */
    CHUNK_MAX = 64 * 1024,
};

static QIOReadAhead *ahead_of(QIOChannel *ioc)
{
    return atomic_load_explicit(&qio_channel_priv(ioc)->ahead, memory_order_acquire);
}

QIOReadAhead *qio_readahead_get(QIOChannel *ioc)
{
    QIOReadAhead *ahead = ahead_of(ioc);

    if (!ahead) {
        ahead = g_new0(QIOReadAhead, 1);
        atomic_store_explicit(&qio_channel_priv(ioc)->ahead, ahead, memory_order_release);
    }
    return ahead;
}

size_t qio_readahead_pending(QIOChannel *ioc)
{
    QIOReadAhead *ahead = ahead_of(ioc);

    return ahead ? atomic_load_explicit(&ahead->pending, memory_order_relaxed) : 0;
}

bool qio_readahead_ready(QIOChannel *ioc)
{
    QIOReadAhead *ahead = ahead_of(ioc);

    return ahead && (atomic_load_explicit(&ahead->pending, memory_order_relaxed) > 0 ||
                     atomic_load_explicit(&ahead->deferred, memory_order_relaxed) != AHEAD_NONE);
}

size_t qio_channel_get_pending(QIOChannel *ioc)
{
    return qio_readahead_pending(ioc);
}

void qio_readahead_drop_fds(QIOReadAhead *ahead)
{
    qio_close_fds(ahead->fds, ahead->nfds);
    ahead->fds = NULL;
    ahead->nfds = 0;
}

static void set_bounds(QIOReadAhead *ahead, size_t start, size_t end)
{
    ahead->start = start;
    ahead->end = end;
    atomic_store_explicit(&ahead->pending, end - start, memory_order_relaxed);
}

static void free_buffer(QIOReadAhead *ahead)
{
    g_free(ahead->buf);
    ahead->buf = NULL;
    ahead->cap = 0;
}

void qio_readahead_reset(QIOChannel *ioc)
{
    QIOReadAhead *ahead = ahead_of(ioc);

    if (!ahead) {
        return;
    }
    qio_readahead_drop_fds(ahead);
    set_bounds(ahead, 0, 0);
    ahead->scanned = 0;
    atomic_store_explicit(&ahead->deferred, AHEAD_NONE, memory_order_relaxed);
    qio_error_free(ahead->error);
    ahead->error = NULL;
    free_buffer(ahead);
}

void qio_readahead_rewind(QIOChannel *ioc)
{
    off_t pending = (off_t)qio_readahead_pending(ioc);

    if (pending > 0 && qio_channel_class(ioc)->io_seek(ioc, -pending, SEEK_CUR, NULL) >= 0) {
        qio_readahead_reset(ioc);
    }
}

void qio_readahead_free(QIOChannel *ioc)
{
    QIOReadAhead *ahead = ahead_of(ioc);

    qio_readahead_reset(ioc);
    g_free(ahead);
    atomic_store(&qio_channel_priv(ioc)->ahead, NULL);
}

/* ---- taking out ---- */

/* How many bytes one read may take, by what the descriptors that are held ask for. */
static size_t drain_length(QIOReadAhead *ahead, size_t len, bool wants_fds)
{
    size_t n = MIN(len, ahead->end - ahead->start);

    if (ahead->fds && wants_fds && ahead->fds_at > ahead->start) {
        n = MIN(n, ahead->fds_at - ahead->start);
    }
    return n;
}

/*
 * Whoever asks gets the set with the first byte of the chunk it came in; whoever does not ask
 * loses it with the last one: the kernel puts bytes that were sent before the set into the same
 * chunk, so that the line read from its beginning may not be what the set was sent with.
 */
static void hand_out_fds(QIOReadAhead *ahead, size_t n, int **fds, size_t *nfds)
{
    if (!ahead->fds || ahead->start + n <= ahead->fds_at) {
        return;
    }
    if (!fds) {
        if (ahead->start + n == ahead->end) {
            qio_readahead_drop_fds(ahead);
        }
        return;
    }
    *fds = ahead->fds;
    *nfds = ahead->nfds;
    ahead->fds = NULL;
    ahead->nfds = 0;
}

/* The end or the error behind the last byte, delivered once. */
static ssize_t take_deferred(QIOReadAhead *ahead, Error **errp)
{
    int deferred = ahead->deferred;

    atomic_store_explicit(&ahead->deferred, AHEAD_NONE, memory_order_relaxed);
    if (deferred == AHEAD_END) {
        return 0;
    }
    qio_error_propagate(errp, ahead->error);
    ahead->error = NULL;
    return -1;
}

ssize_t qio_readahead_drain(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                            int **fds, size_t *nfds, Error **errp)
{
    QIOReadAhead *ahead = ahead_of(ioc);
    ssize_t len = qio_iov_length(iov, niov, errp);
    size_t n;

    if (len < 0) {
        return -1;
    }
    if (ahead->start == ahead->end) {
        return take_deferred(ahead, errp);
    }
    n = drain_length(ahead, (size_t)len, fds != NULL);
    qio_iov_fill(iov, niov, ahead->buf + ahead->start, n);
    hand_out_fds(ahead, n, fds, nfds);
    ahead->scanned -= MIN(ahead->scanned, n);
    set_bounds(ahead, ahead->start + n, ahead->end);
    if (ahead->start == ahead->end) {
        set_bounds(ahead, 0, 0);
        if (ahead->cap > CHUNK_MAX) {
            free_buffer(ahead);
        }
    }
    return (ssize_t)n;
}

/* ---- filling ---- */

/* Room for `chunk` more bytes at the end.  Moving the bytes down is only done when it costs
 * less than what was taken out since, so a trickle of bytes never makes it quadratic. */
static bool make_room(QIOReadAhead *ahead, size_t chunk, Error **errp)
{
    size_t held = ahead->end - ahead->start;
    size_t cap;
    uint8_t *buf;

    if (ahead->cap - ahead->end >= chunk) {
        return true;
    }
    if (ahead->cap >= held + chunk && ahead->start >= held) {
        memmove(ahead->buf, ahead->buf + ahead->start, held);
        ahead->fds_at -= MIN(ahead->fds_at, ahead->start);
        set_bounds(ahead, 0, held);
        return true;
    }
    cap = MAX(ahead->cap * 2, ahead->end + chunk);
    buf = g_try_realloc(ahead->buf, cap);
    if (!buf) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory to read ahead %zu bytes", cap);
        return false;
    }
    ahead->buf = buf;
    ahead->cap = cap;
    return true;
}

static void note_deferred(QIOReadAhead *ahead, int what, Error *err)
{
    ahead->error = err;
    atomic_store_explicit(&ahead->deferred, what, memory_order_relaxed);
}

ssize_t qio_readahead_fill(QIOChannel *ioc, QIOReadAhead *ahead, size_t want, Error **errp)
{
    bool passes_fds = qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_FD_PASS);
    size_t held = ahead->end - ahead->start;
    size_t chunk = CLAMP(MAX(want, held), CHUNK_MIN, CHUNK_MAX);
    struct iovec iov;
    size_t nfds = 0;
    int *fds = NULL;
    Error *err = NULL;
    ssize_t n;

    if (!make_room(ahead, chunk, errp)) {
        return -1;
    }
    iov.iov_base = ahead->buf + ahead->end;
    iov.iov_len = chunk;
    n = qio_channel_class_readv(ioc, &iov, 1, passes_fds ? &fds : NULL,
                                passes_fds ? &nfds : NULL, &err);
    if (n > 0) {
        if (fds) {
            ahead->fds = fds;
            ahead->nfds = nfds;
            ahead->fds_at = ahead->end;
        }
        set_bounds(ahead, ahead->start, ahead->end + (size_t)n);
        return n;
    }
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return n;
    }
    if (held > 0) {
        note_deferred(ahead, n == 0 ? AHEAD_END : AHEAD_ERROR, err);
        return n == 0 ? 0 : -1;
    }
    qio_error_propagate(errp, err);
    return n;
}

/* ---- giving back ---- */

/* Room for len more bytes in front of what is held. */
static bool make_room_in_front(QIOReadAhead *ahead, size_t len)
{
    size_t held = ahead->end - ahead->start;
    uint8_t *buf;

    if (ahead->start >= len) {
        return true;
    }
    buf = g_try_malloc(len + held + CHUNK_MIN);
    if (!buf) {
        return false;
    }
    if (held > 0) {
        memcpy(buf + len, ahead->buf + ahead->start, held);
    }
    ahead->fds_at = MAX(ahead->fds_at, ahead->start) - ahead->start + len;
    g_free(ahead->buf);
    ahead->buf = buf;
    ahead->cap = len + held + CHUNK_MIN;
    set_bounds(ahead, len, len + held);
    return true;
}

int qio_channel_unread(QIOChannel *ioc, const void *buf, size_t len, Error **errp)
{
    QIOReadAhead *ahead;

    if (!qio_channel_check_free(ioc, errp)) {
        return -1;
    }
    if (len == 0) {
        return 0;
    }
    if (!buf) {
        qio_error_set(errp, QIO_ERROR_INVAL, "buf: NULL with a len of %zu", len);
        return -1;
    }
    ahead = qio_readahead_get(ioc);
    if (len > SSIZE_MAX / 2 || !make_room_in_front(ahead, len)) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory to take back %zu bytes", len);
        return -1;
    }
    memcpy(ahead->buf + ahead->start - len, buf, len);
    set_bounds(ahead, ahead->start - len, ahead->end);
    ahead->scanned = 0;
    qio_channel_kick(ioc);
    return 0;
}
