/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/utf8-wide.c: UTF-8, 32 bytes at a time.
 *
 * Owns: tables of what two neighbours may not be.  Every byte is looked up together with the one
 * before it, in three tables of 16: by the high half of the one before, by its low half, and by the
 * high half of the byte itself.  A bit that all three have is an error of that kind; only the bit
 * for two continuations in a row is none where the third or fourth byte of a character has to be
 * (the method of Keiser and Lemire, 2020).
 * Rule: what is not surely good is left to the automaton, which knows where it is bad.  Pure.
 */
#include "websock/utf8-wide.h"

size_t (*qio_ws_utf8_wide)(const uint8_t *bytes, size_t len);

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    SHORT = 1,              /* a lead byte, and no continuation */
    LONG = 2,               /* ASCII, and a continuation */
    OVERLONG_3 = 4,         /* E0 80-9F */
    LARGE = 8,              /* F4 90-BF, F5-FF 90-BF */
    SURROGATE = 16,         /* ED A0-BF */
    OVERLONG_2 = 32,        /* C0-C1 */
    EDGE_4 = 64,            /* F0 80-8F, F5-FF 80-8F */
    TWO = 128,              /* two continuations */
    ANY_LOW = SHORT | LONG | TWO,
    BLOCK = 32,
};

static const uint8_t before_high[16] = {
    LONG, LONG, LONG, LONG, LONG, LONG, LONG, LONG, TWO, TWO, TWO, TWO,
    SHORT | OVERLONG_2, SHORT, SHORT | OVERLONG_3 | SURROGATE, SHORT | LARGE | EDGE_4,
};

static const uint8_t before_low[16] = {
    ANY_LOW | OVERLONG_2 | OVERLONG_3 | EDGE_4, ANY_LOW | OVERLONG_2, ANY_LOW, ANY_LOW,
    ANY_LOW | LARGE, ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4,
    ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4,
    ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4,
    ANY_LOW | LARGE | EDGE_4 | SURROGATE, ANY_LOW | LARGE | EDGE_4, ANY_LOW | LARGE | EDGE_4,
};

static const uint8_t here_high[16] = {
    SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT,
    LONG | TWO | OVERLONG_2 | OVERLONG_3 | EDGE_4, LONG | TWO | OVERLONG_2 | OVERLONG_3 | LARGE,
    LONG | TWO | OVERLONG_2 | SURROGATE | LARGE, LONG | TWO | OVERLONG_2 | SURROGATE | LARGE,
    SHORT, SHORT, SHORT, SHORT,
};

#define WIDE static inline __attribute__((target("avx2"), always_inline))

WIDE __m256i load_table(const uint8_t table[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

WIDE __m256i high_halves(__m256i bytes)
{
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0f));
}

/* Not 0 where something is wrong in `now`, which follows `last`. */
WIDE __m256i errors_of(__m256i now, __m256i last)
{
    /* The upper half of last, the lower half of now: what shifts in from the left. */
    __m256i middle = _mm256_permute2x128_si256(last, now, 0x21);
    __m256i before = _mm256_alignr_epi8(now, middle, 15);
    __m256i before2 = _mm256_alignr_epi8(now, middle, 14);
    __m256i before3 = _mm256_alignr_epi8(now, middle, 13);
    __m256i low = _mm256_and_si256(before, _mm256_set1_epi8(0x0f));
    __m256i wrong = _mm256_and_si256(
        _mm256_and_si256(_mm256_shuffle_epi8(load_table(before_high), high_halves(before)),
                         _mm256_shuffle_epi8(load_table(before_low), low)),
        _mm256_shuffle_epi8(load_table(here_high), high_halves(now)));
    /* The highest bit stays where two before there is a lead of three, or three before one of
     * four: there two continuations in a row have to be. */
    __m256i third = _mm256_subs_epu8(before2, _mm256_set1_epi8(0xe0 - 0x80));
    __m256i fourth = _mm256_subs_epu8(before3, _mm256_set1_epi8(0xf0 - 0x80));
    __m256i wanted = _mm256_and_si256(_mm256_or_si256(third, fourth),
                                      _mm256_set1_epi8((char)0x80));

    return _mm256_xor_si256(wrong, wanted);
}

/* How many of the last bytes are of a character that goes on behind them. */
static size_t unfinished(const uint8_t *end)
{
    return end[-1] >= 0xc0 ? 1 : end[-2] >= 0xe0 ? 2 : end[-3] >= 0xf0 ? 3 : 0;
}

__attribute__((target("avx2"))) static size_t run_wide(const uint8_t *bytes, size_t len)
{
    __m256i last = _mm256_setzero_si256();
    size_t n;

    for (n = 0; len - n >= BLOCK; n += BLOCK) {
        __m256i now = _mm256_loadu_si256((const __m256i *)(bytes + n));
        __m256i wrong;

        /* ASCII behind ASCII, which the tables would find good, too. */
        if (_mm256_movemask_epi8(_mm256_or_si256(now, last)) == 0) {
            last = now;
            continue;
        }
        wrong = errors_of(now, last);
        if (!_mm256_testz_si256(wrong, wrong)) {
            break;
        }
        last = now;
    }
    return n > 0 ? n - unfinished(bytes + n) : 0;
}

__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        qio_ws_utf8_wide = run_wide;
    }
}
#endif
