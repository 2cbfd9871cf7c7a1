/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/utf8.c: whether bytes are UTF-8, as they arrive.
 *
 * Owns: an automaton of nine states.  A class of bytes is one 64-bit word that holds, six bits for
 * each state, the state that follows; a state is how far to shift such a word.  So a byte costs two
 * loads that do not depend on the one before, and one shift that does.
 * Rule: strict: nothing longer than needed, no surrogates, nothing above U+10FFFF, and each byte
 * is judged when it comes.  Runs of ASCII, or of anything where the processor has wide registers
 * (utf8-wide.c), are taken many bytes at a time.  Pure.
 */
#include <string.h>
#include "websock/utf8-wide.h"
#include "websock/utf8.h"

enum { PIECE = 64 };

/* The states: what has to follow. */
enum {
    DONE = 0,       /* a new character */
    ONE = 6,        /* one, two, three more bytes 80-BF */
    TWO = 12,
    THREE = 18,
    AFTER_E0 = 24,  /* A0-BF, then one */
    AFTER_ED = 30,  /* 80-9F, then one: no surrogates */
    AFTER_F0 = 36,  /* 90-BF, then two */
    AFTER_F4 = 42,  /* 80-8F, then two: up to U+10FFFF */
    BAD = 48,
};

#define GO(from, to) ((uint64_t)(to) << (from))
/* Where nothing else is said a byte is bad. */
#define ALL_BAD (GO(DONE, BAD) | GO(ONE, BAD) | GO(TWO, BAD) | GO(THREE, BAD) | \
                 GO(AFTER_E0, BAD) | GO(AFTER_ED, BAD) | GO(AFTER_F0, BAD) | \
                 GO(AFTER_F4, BAD) | GO(BAD, BAD))
#define LEAD(to) ((ALL_BAD & ~GO(DONE, 63)) | GO(DONE, to))
#define FOLLOW(e0, ed, f0, f4) (GO(DONE, BAD) | GO(ONE, DONE) | GO(TWO, ONE) | GO(THREE, TWO) | \
                                GO(AFTER_E0, e0) | GO(AFTER_ED, ed) | GO(AFTER_F0, f0) | \
                                GO(AFTER_F4, f4) | GO(BAD, BAD))

static const uint64_t follows[] = {
    LEAD(DONE),                         /* 0: 00-7F */
    FOLLOW(BAD, ONE, BAD, TWO),         /* 1: 80-8F */
    FOLLOW(BAD, ONE, TWO, BAD),         /* 2: 90-9F */
    FOLLOW(ONE, BAD, TWO, BAD),         /* 3: A0-BF */
    ALL_BAD,                            /* 4: C0 C1 F5-FF */
    LEAD(ONE),                          /* 5: C2-DF */
    LEAD(AFTER_E0),                     /* 6: E0 */
    LEAD(TWO),                          /* 7: E1-EC EE EF */
    LEAD(AFTER_ED),                     /* 8: ED */
    LEAD(AFTER_F0),                     /* 9: F0 */
    LEAD(THREE),                        /* 10: F1-F3 */
    LEAD(AFTER_F4),                     /* 11: F4 */
};

/* The classes of all bytes: those from 00 to 7F are 0. */
static const uint8_t classes[256] = {
    [0x80] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
    5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
    6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 7,
    9, 10, 10, 10, 11, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
};

/* Only the lowest six bits of the result are the state; shifting looks at no others. */
static inline uint64_t step(uint64_t state, uint8_t byte)
{
    return follows[classes[byte]] >> (state & 63);
}

typedef uint64_t Vector __attribute__((vector_size(32)));

/* How many of the first bytes are surely ASCII: a multiple of PIECE. */
static size_t ascii_run(const uint8_t *bytes, size_t len)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    size_t n = 0;

    for (; len - n >= PIECE; n += PIECE) {
        Vector v[PIECE / sizeof(Vector)], all;

        memcpy(v, bytes + n, sizeof(v));
        all = v[0] | v[1];
        if ((all[0] | all[1] | all[2] | all[3]) & high) {
            break;
        }
    }
    return n;
}

/* Where the byte is that leads to BAD, for the sake of which bytes before it are good. */
static size_t find_bad(uint64_t *state, const uint8_t *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        uint64_t next = step(*state, bytes[i]) & 63;

        if (next == BAD) {
            break;
        }
        *state = next;
    }
    return i;
}

/* Many bytes at once, from the start of a character to the end of one.  Returns: how many are
 * surely good; the automaton looks at the rest. */
static size_t good_run(const uint8_t *bytes, size_t len)
{
    return qio_ws_utf8_wide ? qio_ws_utf8_wide(bytes, len) : ascii_run(bytes, len);
}

size_t qio_ws_utf8_feed(QIOWsUtf8 *utf8, const void *bytes, size_t len)
{
    const uint8_t *text = bytes;
    size_t done = 0;

    while (done < len) {
        uint64_t state = utf8->state;
        size_t i;

        if (state == DONE) {
            done += good_run(text + done, len - done);
        }
        /* A piece, and on to the end of a character. */
        for (i = done; i < len && (i - done < PIECE || (state & 63) != DONE); i++) {
            state = step(state, text[i]);
        }
        /* What is bad stays so. */
        if ((state & 63) == BAD) {
            return done + find_bad(&utf8->state, text + done, i - done);
        }
        utf8->state = state & 63;
        done = i;
    }
    return done;
}

bool qio_ws_utf8_valid(const void *bytes, size_t len)
{
    QIOWsUtf8 utf8 = { 0 };

    return qio_ws_utf8_feed(&utf8, bytes, len) == len && qio_ws_utf8_complete(&utf8);
}
