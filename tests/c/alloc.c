/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alloc.c: the counting allocator of test programs, see alloc.h.
 *
 * Owns: the two counters and the table of marked blocks.
 * Rule: counters are relaxed atomics; the table has a lock of its own, and a call made
 * while the same thread is inside the table (backtrace may allocate) is not recorded.
 */
#include "alloc.h"
#include "runner.h"

#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if TEST_UNDER_SANITIZER

AllocCount alloc_count(void)
{
    return (AllocCount) { 0, 0 };
}

void alloc_mark(void)
{
}

void alloc_print_new(void)
{
}

#else

#define TABLE_SIZE 65536        /* a power of two */
#define TRACE_DEPTH 16

typedef struct Block {
    void *address;
    size_t bytes;
    int depth;
    void *trace[TRACE_DEPTH];
} Block;

extern void *__libc_malloc(size_t len);
extern void *__libc_calloc(size_t n, size_t len);
extern void *__libc_realloc(void *old, size_t len);
extern void *__libc_memalign(size_t align, size_t len);
extern void __libc_free(void *block);

static atomic_llong bytes_in_use;
static atomic_llong blocks_in_use;
static atomic_bool marked;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static Block table[TABLE_SIZE];
static __thread bool in_table __attribute__((tls_model("initial-exec")));

/* The slot of the address, or a free one for it; NULL when the table is full. */
static Block *find_slot(void *address, bool insert)
{
    size_t first = ((uintptr_t)address >> 4) * 0x9e3779b97f4a7c15u % TABLE_SIZE;

    for (size_t i = 0; i < TABLE_SIZE; i++) {
        Block *slot = &table[(first + i) % TABLE_SIZE];
        if (slot->address == address) {
            return slot;
        }
        /* A freed slot keeps its depth of -1, so that probing goes on past it. */
        if (slot->address == NULL && (insert || slot->depth == 0)) {
            return insert ? slot : NULL;
        }
    }
    return NULL;
}

static void remember(void *address, size_t bytes)
{
    Block *slot;

    if (!atomic_load_explicit(&marked, memory_order_relaxed) || in_table) {
        return;
    }
    in_table = true;
    pthread_mutex_lock(&table_lock);
    slot = find_slot(address, true);
    if (slot != NULL) {
        slot->address = address;
        slot->bytes = bytes;
        slot->depth = backtrace(slot->trace, TRACE_DEPTH);
    }
    pthread_mutex_unlock(&table_lock);
    in_table = false;
}

static void forget(void *address)
{
    Block *slot;

    if (!atomic_load_explicit(&marked, memory_order_relaxed) || in_table) {
        return;
    }
    in_table = true;
    pthread_mutex_lock(&table_lock);
    slot = find_slot(address, false);
    if (slot != NULL) {
        slot->address = NULL;
        slot->depth = -1;
    }
    pthread_mutex_unlock(&table_lock);
    in_table = false;
}

static void *count_in(void *block)
{
    size_t bytes;

    if (block != NULL) {
        bytes = malloc_usable_size(block);
        atomic_fetch_add_explicit(&bytes_in_use, (long long)bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&blocks_in_use, 1, memory_order_relaxed);
        remember(block, bytes);
    }
    return block;
}

static void count_out(void *block)
{
    long long bytes;

    if (block != NULL) {
        bytes = (long long)malloc_usable_size(block);
        atomic_fetch_sub_explicit(&bytes_in_use, bytes, memory_order_relaxed);
        atomic_fetch_sub_explicit(&blocks_in_use, 1, memory_order_relaxed);
        forget(block);
    }
}

void *malloc(size_t len)
{
    return count_in(__libc_malloc(len));
}

void *calloc(size_t n, size_t len)
{
    return count_in(__libc_calloc(n, len));
}

void *realloc(void *old, size_t len)
{
    void *block;

    if (old != NULL && len == 0) {
        free(old);
        return NULL;
    }
    count_out(old);
    block = __libc_realloc(old, len);
    if (block == NULL) {
        count_in(old);
        return NULL;
    }
    return count_in(block);
}

void free(void *block)
{
    count_out(block);
    __libc_free(block);
}

void *memalign(size_t align, size_t len)
{
    return count_in(__libc_memalign(align, len));
}

void *aligned_alloc(size_t align, size_t len)
{
    return memalign(align, len);
}

int posix_memalign(void **out, size_t align, size_t len)
{
    void *block;

    if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0) {
        return EINVAL;
    }
    block = memalign(align, len);
    if (block == NULL) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

void *valloc(size_t len)
{
    return memalign((size_t)sysconf(_SC_PAGESIZE), len);
}

void *pvalloc(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return memalign(page, (len + page - 1) / page * page);
}

AllocCount alloc_count(void)
{
    return (AllocCount) {
        .bytes = atomic_load_explicit(&bytes_in_use, memory_order_relaxed),
        .blocks = atomic_load_explicit(&blocks_in_use, memory_order_relaxed),
    };
}

void alloc_mark(void)
{
    void *trace[1];

    atomic_store(&marked, false);
    backtrace(trace, 1);        /* loads libgcc_s now, not inside malloc() */
    pthread_mutex_lock(&table_lock);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        table[i] = (Block) { 0 };
    }
    pthread_mutex_unlock(&table_lock);
    atomic_store(&marked, true);
}

void alloc_print_new(void)
{
    atomic_store(&marked, false);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        if (table[i].address == NULL) {
            continue;
        }
        fprintf(stderr, "# %zu bytes at %p from:\n", table[i].bytes, table[i].address);
        backtrace_symbols_fd(table[i].trace, table[i].depth, STDERR_FILENO);
    }
}

#endif
