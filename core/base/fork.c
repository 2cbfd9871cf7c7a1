/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/fork.c: the page that a fork wipes.
 *
 * Owns: the epoch's word and the count behind it.  Rule: no lock, because a child may start
 * with any lock held by a thread that it does not have.
 */
#include "base/fork.h"
#include "base/sys.h"

#include <pthread.h>

static _Atomic(uint32_t) plain_word;        /* where the page cannot be had */
static _Atomic(uint32_t) last_epoch;

_Atomic(uint32_t) *qio_fork_word = &plain_word;

static void wipe_plain_word(void)
{
    atomic_store(&plain_word, 0);
}

/* When the library is loaded, so that no thread and no fork comes before it.  A kernel
 * without MADV_WIPEONFORK (before 4.14) leaves the plain word, which a handler wipes. */
__attribute__((constructor)) static void map_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page != MAP_FAILED && sys_madvise(page, size, MADV_WIPEONFORK) == 0) {
        qio_fork_word = page;
        return;
    }
    if (page != MAP_FAILED) {
        sys_munmap(page, size);
    }
    pthread_atfork(NULL, NULL, wipe_plain_word);
}

uint32_t qio_fork_renew(void)
{
    uint32_t epoch = atomic_fetch_add(&last_epoch, 1) + 1;
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(qio_fork_word, &none, epoch)) {
        return none;        /* another thread of this process was first */
    }
    return epoch;
}
