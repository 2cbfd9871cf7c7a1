/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/mask.c: the masking of frame payloads, at the speed of memory.
 *
 * Owns: one loop over the vectors that every processor of the kind has, and one over twice as wide
 * ones for those that have them.  They are two and not one inlined twice, because the compiler
 * takes wide vectors apart before it inlines: 4 GB/s instead of 50.
 * Rule: no alignment is asked for.  Pure; any thread.
 */
#include <string.h>
#include "websock/mask.h"

/* Anywhere in memory, over bytes of any type. */
typedef uint64_t Vector __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t Wide __attribute__((vector_size(32), aligned(1), may_alias));

enum { STEP = 128 };    /* in which the key comes out where it was */

/* Whole steps.  Returns: bytes done. */
static size_t mask_steps(uint8_t *dst, const uint8_t *src, size_t len, uint64_t word)
{
    const Vector key = { word, word };
    size_t done, i;

    for (done = 0; len - done >= STEP; done += STEP) {
        Vector *to = (Vector *)(dst + done);
        const Vector *from = (const Vector *)(src + done);

        for (i = 0; i < STEP / sizeof(Vector); i++) {
            to[i] = from[i] ^ key;
        }
    }
    return done;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t mask_wide_steps(uint8_t *dst, const uint8_t *src,
                                                              size_t len, uint64_t word)
{
    const Wide key = { word, word, word, word };
    size_t done;

    for (done = 0; len - done >= STEP; done += STEP) {
        Wide *to = (Wide *)(dst + done);
        const Wide *from = (const Wide *)(src + done);
        Wide a = from[0] ^ key, b = from[1] ^ key, c = from[2] ^ key, d = from[3] ^ key;

        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
    return done;
}

static size_t mask_many(uint8_t *dst, const uint8_t *src, size_t len, uint64_t word)
{
    return __builtin_cpu_supports("avx2") ? mask_wide_steps(dst, src, len, word)
                                          : mask_steps(dst, src, len, word);
}
#else
static size_t mask_many(uint8_t *dst, const uint8_t *src, size_t len, uint64_t word)
{
    return mask_steps(dst, src, len, word);
}
#endif

void qio_ws_mask(void *dst, const void *src, size_t len, const uint8_t key[4], uint64_t offset)
{
    uint8_t turned[8];
    uint8_t *to = dst;
    const uint8_t *from = src;
    uint64_t word, part;
    size_t done = 0;

    for (size_t i = 0; i < sizeof(turned); i++) {
        turned[i] = key[(offset + i) % 4];
    }
    memcpy(&word, turned, sizeof(word));
    if (len >= STEP) {
        done = mask_many(to, from, len, word);
    }
    for (; len - done >= sizeof(part); done += sizeof(part)) {
        memcpy(&part, from + done, sizeof(part));
        part ^= word;
        memcpy(to + done, &part, sizeof(part));
    }
    for (size_t i = 0; done < len; done++, i++) {
        to[done] = from[done] ^ turned[i];
    }
}
