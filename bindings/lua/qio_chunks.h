/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qio_chunks.h: the Lua layer as text inside the library; embed.py derives the table. */
#ifndef QIO_CHUNKS_H
#define QIO_CHUNKS_H

#include <stddef.h>

typedef struct qio_chunk {
    const char *name;           /* what require calls it */
    const char *file;           /* where it comes from, below bindings/lua */
    const char *text;
    size_t len;
} qio_chunk;

/* Ends with a NULL name. */
extern const qio_chunk qio_chunks[];

#endif
