/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/io.h: the transfer of one block, inline in the few functions that are called for each
 * message.
 *
 * Owns nothing; the rest of the transfers is channel/io.c.  Rule: nothing here waits.  It is
 * inline because after a system call the processor has forgotten where returns go, so each level
 * of calls between a program and the class costs about as much as a handle's look-up.
 */
#ifndef QIO_CHANNEL_IO_H
#define QIO_CHANNEL_IO_H

#include "channel/channel-priv.h"

/* Go on after a try of one block that gave ERR_BLOCK (or, for a write, a part). */
ssize_t qio_channel_read_on(QIOChannel *ioc, const struct iovec *iov, unsigned flags,
                            Error **errp);
ssize_t qio_channel_write_on(QIOChannel *ioc, const struct iovec *iov, ssize_t n, unsigned flags,
                             Error **errp);
/* What a layer accepted also has to leave it, if the write waits.  Returns n. */
ssize_t qio_channel_see_off(QIOChannel *ioc, ssize_t n, unsigned flags);

/* Whether one block can go straight to the class: open, nothing read ahead, and a class that
 * never waits in its transfers. */
static inline bool qio_channel_is_plain(QIOChannel *ioc, size_t len)
{
    return len - 1 < SSIZE_MAX && !qio_channel_closing(ioc) &&
           !atomic_load_explicit(&qio_channel_priv(ioc)->ahead, memory_order_relaxed) &&
           qio_channel_class(ioc)->io_poll;
}

/* qio_channel_readv_flags() of one block. */
static inline ssize_t qio_channel_read_flags(QIOChannel *ioc, void *buf, size_t len,
                                             unsigned flags, Error **errp)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    ssize_t n;

    if (G_UNLIKELY(!qio_channel_is_plain(ioc, len))) {
        return qio_channel_readv_flags(ioc, &iov, 1, NULL, NULL, flags, errp);
    }
    n = qio_channel_class(ioc)->io_readv(ioc, &iov, 1, NULL, NULL, errp);
    if (G_LIKELY(n != QIO_CHANNEL_ERR_BLOCK) || (flags & QIO_IO_DONTWAIT)) {
        return n;
    }
    return qio_channel_read_on(ioc, &iov, flags, errp);
}

/* qio_channel_writev_flags() of one block. */
static inline ssize_t qio_channel_write_flags(QIOChannel *ioc, const void *buf, size_t len,
                                              unsigned flags, Error **errp)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
    ssize_t n;

    if (G_UNLIKELY(!qio_channel_is_plain(ioc, len))) {
        return qio_channel_writev_flags(ioc, &iov, 1, NULL, 0, flags, errp);
    }
    n = qio_channel_class(ioc)->io_writev(ioc, &iov, 1, NULL, 0, errp);
    if (G_LIKELY(n == (ssize_t)len)) {
        return G_LIKELY(!qio_channel_class(ioc)->io_flush) ? n
                                                           : qio_channel_see_off(ioc, n, flags);
    }
    if (n == -1 || (flags & QIO_IO_DONTWAIT) ||
        (n > 0 && !(flags & QIO_IO_ALL))) {
        return n;
    }
    return qio_channel_write_on(ioc, &iov, n, flags, errp);
}

#endif
