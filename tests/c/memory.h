/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory.h: a pair of connected channels in memory, whose chunks are chosen by the test.
 *
 * Owns: Memory, a class with io_poll and io_advance and no descriptor.  What one end writes the
 * other reads, in pieces that a Chunking says: no layer on top may be able to tell.
 * Rules: one thread; the same seed gives the same pieces; a piece that is held back is notified at
 * once, so that who waits goes on.
 */
#ifndef TESTS_MEMORY_H
#define TESTS_MEMORY_H

#include <qio/channel.h>

typedef enum ChunkKind {
    CHUNK_WHOLE,        /* whatever there is */
    CHUNK_BYTES,        /* one byte, and would block before the next */
    CHUNK_SPLIT,        /* up to the at-th byte of the stream, would block, then the rest */
    CHUNK_RANDOM,       /* pieces by seed, each way, with would-blocks between; short writes */
} ChunkKind;

typedef struct Chunking {
    ChunkKind kind;
    size_t at;
    uint32_t seed;
} Chunking;

/* Two ends, a reference on each for the caller. */
void memory_pair(QIOChannel *out[2], const Chunking *chunking);
/* The other end reads what was written so far, and then the end, as if the line was cut. */
void memory_cut(QIOChannel *end);
/* How many bytes this end has read. */
size_t memory_read(QIOChannel *end);

#endif
