/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/readahead.h: the read-ahead's state, for the two files that work on it.
 *
 * Owns: QIOReadAhead.  Rule: only the reader touches it, but for the two atomic members.
 */
#ifndef QIO_CHANNEL_READAHEAD_H
#define QIO_CHANNEL_READAHEAD_H

#include "channel/channel-priv.h"

enum {
    AHEAD_NONE,
    AHEAD_END,      /* the stream ended behind the held bytes */
    AHEAD_ERROR,    /* `error` was met behind them */
};

struct QIOReadAhead {
    uint8_t *buf;
    size_t cap;
    size_t start, end;              /* the bytes held are buf[start..end) */
    int *fds;                       /* the set held, or NULL */
    size_t nfds;
    size_t fds_at;                  /* index in buf of the chunk it came with */
    size_t scanned;                 /* bytes from start known to hold no delimiter ... */
    uint64_t scan_key;              /* ... of the set of delimiters with this hash */
    Error *error;
    _Atomic size_t pending;         /* end - start */
    _Atomic int deferred;
};

/* The channel's read-ahead, made if need be. */
QIOReadAhead *qio_readahead_get(QIOChannel *ioc);
/* Closes the held set: whoever reads on did not ask for it. */
void qio_readahead_drop_fds(QIOReadAhead *ahead);

/*
 * Reads once from the class, behind what is held.  No set may be held and nothing deferred.
 * Returns: bytes added; 0 at the end and -1 on error: kept as deferred when bytes are held
 * (then errp is not set), else delivered; ERR_BLOCK
 */
ssize_t qio_readahead_fill(QIOChannel *ioc, QIOReadAhead *ahead, size_t want, Error **errp);

#endif
