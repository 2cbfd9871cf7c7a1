/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alloc.h: counts what the heap of a test program holds.
 *
 * Owns: malloc() and its family in test programs, as thin counters over the C library's
 * own (mallinfo2() will not do: it counts freed blocks of the per-thread cache as used).
 * Rule: any thread.  In sanitizer builds the family is the sanitizer's and the counters
 * stay 0; under valgrind use --soname-synonyms=somalloc=NONE.
 */
#ifndef TESTS_ALLOC_H
#define TESTS_ALLOC_H

#include <stddef.h>

typedef struct AllocCount {
    long long bytes;        /* usable bytes of the blocks in use */
    long long blocks;
} AllocCount;

AllocCount alloc_count(void);

/* Forgets, and from now on remembers, where each block comes from, for alloc_print_new(). */
void alloc_mark(void);
/* Prints the blocks taken since alloc_mark() and still in use, with their callers. */
void alloc_print_new(void);

#endif
