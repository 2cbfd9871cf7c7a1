/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/utf8.h: whether bytes are UTF-8 (RFC 3629), as they arrive.
 *
 * Owns: QIOWsUtf8, where in a character the text stopped.  Zero-filled = at the start of a text.
 * Pure; one thread at a time.
 */
#ifndef QIO_WEBSOCK_UTF8_H
#define QIO_WEBSOCK_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct QIOWsUtf8 {
    uint64_t state;     /* 0 = between characters */
} QIOWsUtf8;

/*
 * Goes on with len more bytes.  Returns: how many are good; fewer than len: the next one can be
 * part of no text, whatever comes after it, and nothing more may be fed.
 */
size_t qio_ws_utf8_feed(QIOWsUtf8 *utf8, const void *bytes, size_t len);

/* Whether the text may end here: no character was begun and not finished. */
static inline bool qio_ws_utf8_complete(const QIOWsUtf8 *utf8)
{
    return utf8->state == 0;
}

/* A text that is there as a whole. */
bool qio_ws_utf8_valid(const void *bytes, size_t len);

#endif
