/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/iovec.c: arithmetic on arrays of blocks, and on arrays of received descriptors.
 *
 * Owns nothing.  Rule: a caller's array is never modified.  Any thread.
 */
#include <string.h>
#include "channel/channel-priv.h"

ssize_t qio_iov_length(const struct iovec *iov, size_t niov, Error **errp)
{
    size_t total = 0;
    size_t i;

    for (i = 0; i < niov; i++) {
        if (iov[i].iov_len > (size_t)SSIZE_MAX - total) {
            qio_error_set(errp, QIO_ERROR_INVAL, "iov: the lengths add up to more than %zd",
                          (ssize_t)SSIZE_MAX);
            return -1;
        }
        total += iov[i].iov_len;
    }
    return (ssize_t)total;
}

size_t qio_iov_skip(struct iovec *out, size_t cap, const struct iovec *iov, size_t niov,
                    size_t skip)
{
    size_t count = 0;
    size_t i;

    for (i = 0; i < niov && count < cap; i++) {
        if (iov[i].iov_len <= skip) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[count].iov_base = (char *)iov[i].iov_base + skip;
        out[count].iov_len = iov[i].iov_len - skip;
        skip = 0;
        count++;
    }
    return count;
}

void qio_iov_fill(const struct iovec *iov, size_t niov, const void *bytes, size_t len)
{
    const char *from = bytes;
    size_t i;

    for (i = 0; i < niov && len > 0; i++) {
        size_t part = MIN(len, iov[i].iov_len);

        if (part > 0) {
            memcpy(iov[i].iov_base, from, part);
        }
        from += part;
        len -= part;
    }
}

void qio_close_fds(int *fds, size_t nfds)
{
    size_t i;

    for (i = 0; i < nfds; i++) {
        sys_close(fds[i]);
    }
    g_free(fds);
}
