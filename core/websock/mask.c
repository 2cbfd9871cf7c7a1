/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/mask.c: the masking of frame payloads, at the speed of memory.
 *
 * Owns: one loop over vectors of the compiler, which is compiled twice where the processor may
 * have wider registers than the least one that the program runs on.
 * Rule: no alignment is asked for: what is read and written goes through memcpy(), which is a
 * plain load or store.  Pure; any thread.
 */
#include <string.h>
#include "websock/mask.h"

typedef uint64_t Vector __attribute__((vector_size(32)));

/* Whole steps of 128 bytes, in which the key comes out where it was.  Returns: bytes done. */
static inline __attribute__((always_inline)) size_t mask_steps(uint8_t *dst, const uint8_t *src,
                                                               size_t len, uint64_t word)
{
    const Vector key = { word, word, word, word };
    size_t done = 0;

    for (; len - done >= 4 * sizeof(Vector); done += 4 * sizeof(Vector)) {
        Vector v[4];

        memcpy(v, src + done, sizeof(v));
        v[0] ^= key;
        v[1] ^= key;
        v[2] ^= key;
        v[3] ^= key;
        memcpy(dst + done, v, sizeof(v));
    }
    return done;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t mask_steps_wide(uint8_t *dst, const uint8_t *src,
                                                              size_t len, uint64_t word)
{
    return mask_steps(dst, src, len, word);
}

static size_t mask_many(uint8_t *dst, const uint8_t *src, size_t len, uint64_t word)
{
    return __builtin_cpu_supports("avx2") ? mask_steps_wide(dst, src, len, word)
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
    if (len >= 4 * sizeof(Vector)) {
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
