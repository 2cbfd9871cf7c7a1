/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-pure.c: the parts of the WebSocket that know no channel: masks, UTF-8, frame headers.
 *
 * Rule: each is held against something simpler that is written here, and every way of cutting its
 * input gives the same.
 */
#include "runner.h"

#include <glib.h>
#include "websock/frame.h"
#include "websock/mask.h"
#include "websock/utf8-wide.h"
#include "websock/utf8.h"

/* ---- masks ---- */

TEST(ws_mask_is_the_plain_loop)
{
    const uint8_t key[4] = { 0x12, 0x9a, 0xff, 0x01 };
    uint8_t from[600], to[600], want[600];

    for (size_t i = 0; i < sizeof(from); i++) {
        from[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t len = 0; len < 300; len++) {
        for (size_t at = 0; at < 9; at++) {
            uint64_t offset = at + (len % 5 == 0 ? (UINT64_C(1) << 40) : 0);

            memset(to, 0xee, sizeof(to));
            memset(want, 0xee, sizeof(want));
            for (size_t i = 0; i < len; i++) {
                want[at + i] = from[at + i] ^ key[(offset + i) % 4];
            }
            qio_ws_mask(to + at, from + at, len, key, offset);
            CHECK_MEM(to, want, sizeof(to));
            memcpy(to, from, sizeof(to));
            qio_ws_mask(to + at, to + at, len, key, offset);
            CHECK_MEM(to + at, want + at, len);
        }
    }
}

/* ---- UTF-8 ---- */

/* The definition, by decoding: how long the character at the start is, 0 = it is none. */
static size_t character(const uint8_t *b, size_t len)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = b[0] < 0x80 ? 1 : (b[0] & 0xe0) == 0xc0 ? 2 : (b[0] & 0xf0) == 0xe0 ? 3
             : (b[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t c = n == 1 ? b[0] : b[0] & (0x7f >> n);

    if (n == 0 || n > len) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (b[i] & 0x3f);
    }
    return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

static bool is_utf8(const uint8_t *b, size_t len)
{
    while (len > 0) {
        size_t n = character(b, len);

        if (n == 0) {
            return false;
        }
        b += n;
        len -= n;
    }
    return true;
}

/* Whether some end makes a text of it. */
static bool can_go_on(const uint8_t *b, size_t len)
{
    static const uint8_t ends[][3] = {
        { 0x80, 0x80, 0x80 }, { 0x90, 0x80, 0x80 }, { 0xa0, 0x80, 0x80 },
    };
    uint8_t longer[8];

    if (is_utf8(b, len)) {
        return true;
    }
    memcpy(longer, b, len);
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        memcpy(longer + len, ends[i], 3);
        for (size_t n = 1; n <= 3; n++) {
            if (is_utf8(longer, len + n)) {
                return true;
            }
        }
    }
    return false;
}

/* Feeds and says how much was good. */
static size_t feed(const uint8_t *b, size_t len, bool *complete)
{
    QIOWsUtf8 utf8 = { 0 };
    size_t good = qio_ws_utf8_feed(&utf8, b, len);

    *complete = qio_ws_utf8_complete(&utf8);
    return good;
}

static void check_all_of(size_t len, uint32_t count)
{
    for (uint32_t v = 0; v < count; v++) {
        uint8_t b[3] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16) };
        bool complete;
        size_t good = feed(b, len, &complete);

        if ((good == len && complete) != is_utf8(b, len) ||
            (good == len) != can_go_on(b, len)) {
            test_fail(__FILE__, __LINE__, "%zu bytes %02x %02x %02x: %zu good", len, b[0], b[1],
                      b[2], good);
        }
    }
}

TEST(ws_utf8_of_every_string_of_one_two_and_three_bytes, .timeout_s = 60)
{
    check_all_of(1, 1u << 8);
    check_all_of(2, 1u << 16);
    check_all_of(3, 1u << 24);
}

/* In the middle of a long text, where many bytes are taken at a time, and at each place there. */
TEST(ws_utf8_in_a_long_text, .timeout_s = 60)
{
    static const uint8_t edges[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
                                     0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1,
                                     0xf3, 0xf4, 0xf5, 0xff };
    const size_t count = G_N_ELEMENTS(edges);
    size_t (*const wide)(const uint8_t *, size_t) = qio_ws_utf8_wide;

    for (size_t v = 0; v < count * count * count * count; v++) {
        uint8_t text[160];
        size_t at = 40 + v % 50, good, want = at;
        bool complete;

        memset(text, 'a', sizeof(text));
        for (size_t i = 0, rest = v; i < 4; i++, rest /= count) {
            text[at + i] = edges[rest % count];
        }
        while (want < sizeof(text) && character(text + want, sizeof(text) - want)) {
            want += character(text + want, sizeof(text) - want);
        }
        good = feed(text, sizeof(text), &complete);
        CHECK(want < sizeof(text) ? good >= want && good < want + 4 && good < sizeof(text)
                                  : good == want && complete);
        qio_ws_utf8_wide = NULL;
        CHECK_INT(feed(text, sizeof(text), &complete), ==, good);
        qio_ws_utf8_wide = wide;
    }
}

TEST(ws_utf8_of_four_bytes)
{
    for (unsigned lead = 0xf0; lead <= 0xff; lead++) {
        for (unsigned second = 0; second <= 0xff; second++) {
            for (unsigned i = 0; i < 16; i++) {
                static const uint8_t tails[] = { 0x7f, 0x80, 0xbf, 0xc0 };
                uint8_t b[4] = { (uint8_t)lead, (uint8_t)second, tails[i % 4], tails[i / 4] };
                bool complete;

                CHECK_INT(feed(b, 4, &complete) == 4 && complete, ==, is_utf8(b, 4));
            }
        }
    }
}

/* The quick way over ASCII and the table agree, wherever the other bytes are. */
TEST(ws_utf8_cut_anywhere)
{
    static const char *const pieces[] = { "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                          "the quick brown fox jumps over it" };
    g_autoptr(GString) text = g_string_new(NULL);
    uint32_t seed = 7;

    for (size_t i = 0; i < 60; i++) {
        seed = seed * 1664525 + 1013904223;
        g_string_append(text, pieces[(seed >> 16) % G_N_ELEMENTS(pieces)]);
    }
    for (size_t cut = 0; cut <= text->len; cut++) {
        QIOWsUtf8 utf8 = { 0 };

        CHECK_INT(qio_ws_utf8_feed(&utf8, text->str, cut), ==, cut);
        CHECK_INT(qio_ws_utf8_complete(&utf8), ==, is_utf8((uint8_t *)text->str, cut));
        CHECK_INT(qio_ws_utf8_feed(&utf8, text->str + cut, text->len - cut), ==, text->len - cut);
        CHECK(qio_ws_utf8_complete(&utf8));
    }
    /* A bad byte is found where it is. */
    for (size_t at = 0; at <= text->len; at++) {
        g_autoptr(GString) bad = g_string_new_len(text->str, (gssize)text->len);
        QIOWsUtf8 utf8 = { 0 };

        g_string_insert_c(bad, (gssize)at, '\xff');
        CHECK_INT(qio_ws_utf8_feed(&utf8, bad->str, bad->len), ==, at);
    }
}

/* ---- frame headers ---- */

typedef struct HeaderCase {
    const char *name;
    const char *bytes;
    size_t len;
    bool server, deflate, in_message;
    size_t bad_at;          /* the byte that is one too many; SIZE_MAX = none is */
    const char *problem;
    uint64_t length;
} HeaderCase;

#define GOOD .bad_at = SIZE_MAX
#define BYTES(text) .bytes = text, .len = sizeof(text) - 1

static const HeaderCase header_cases[] = {
    { "empty text", BYTES("\x81\x00"), GOOD },
    { "125 bytes", BYTES("\x82\x7d"), GOOD, .length = 125 },
    { "126 bytes", BYTES("\x82\x7e\x00\x7e"), GOOD, .length = 126 },
    { "65535 bytes", BYTES("\x82\x7e\xff\xff"), GOOD, .length = 65535 },
    { "65536 bytes", BYTES("\x82\x7f\0\0\0\0\0\x01\0\0"), GOOD, .length = 65536 },
    { "2^62 bytes", BYTES("\x82\x7f\x40\0\0\0\0\0\0\0"), GOOD, .length = UINT64_C(1) << 62 },
    { "masked", BYTES("\x82\x85\1\2\3\4"), GOOD, .server = true, .length = 5 },
    { "masked, long", BYTES("\x82\xfe\x01\x00\1\2\3\4"), GOOD, .server = true, .length = 256 },
    { "continuation", BYTES("\x80\x01"), GOOD, .in_message = true, .length = 1 },
    { "first of several", BYTES("\x01\x01"), GOOD, .length = 1 },
    { "ping inside", BYTES("\x89\x00"), GOOD, .in_message = true },
    { "compressed", BYTES("\xc1\x01"), GOOD, .deflate = true, .length = 1 },
    { "rsv1", BYTES("\xc1"), .bad_at = 0, .problem = "reserved bit" },
    { "rsv2", BYTES("\xa1"), .bad_at = 0, .problem = "reserved bit", .deflate = true },
    { "rsv3", BYTES("\x91"), .bad_at = 0, .problem = "reserved bit", .deflate = true },
    { "compressed ping", BYTES("\xc9"), .bad_at = 0, .problem = "reserved bit", .deflate = true },
    { "compressed continuation", BYTES("\xc0"), .bad_at = 0, .problem = "reserved bit",
      .deflate = true, .in_message = true },
    { "opcode 3", BYTES("\x83"), .bad_at = 0, .problem = "opcode" },
    { "opcode 4", BYTES("\x84"), .bad_at = 0, .problem = "opcode" },
    { "opcode 5", BYTES("\x85"), .bad_at = 0, .problem = "opcode" },
    { "opcode 6", BYTES("\x86"), .bad_at = 0, .problem = "opcode" },
    { "opcode 7", BYTES("\x87"), .bad_at = 0, .problem = "opcode" },
    { "opcode 11", BYTES("\x8b"), .bad_at = 0, .problem = "opcode" },
    { "opcode 12", BYTES("\x8c"), .bad_at = 0, .problem = "opcode" },
    { "opcode 13", BYTES("\x8d"), .bad_at = 0, .problem = "opcode" },
    { "opcode 14", BYTES("\x8e"), .bad_at = 0, .problem = "opcode" },
    { "opcode 15", BYTES("\x8f"), .bad_at = 0, .problem = "opcode" },
    { "fragmented close", BYTES("\x08"), .bad_at = 0, .problem = "fragmented" },
    { "fragmented ping", BYTES("\x09"), .bad_at = 0, .problem = "fragmented" },
    { "fragmented pong", BYTES("\x0a"), .bad_at = 0, .problem = "fragmented" },
    { "ping of 126 bytes", BYTES("\x89\x7e"), .bad_at = 1, .problem = "125" },
    { "close of 64 bits of length", BYTES("\x88\x7f"), .bad_at = 1, .problem = "125" },
    { "continuation of nothing", BYTES("\x80"), .bad_at = 0, .problem = "continuation" },
    { "continuation of nothing, not last", BYTES("\x00"), .bad_at = 0, .problem = "continuation" },
    { "text inside", BYTES("\x81"), .bad_at = 0, .problem = "inside", .in_message = true },
    { "binary inside", BYTES("\x02"), .bad_at = 0, .problem = "inside", .in_message = true },
    { "server masks", BYTES("\x81\x80"), .bad_at = 1, .problem = "server must not mask" },
    { "client does not", BYTES("\x81\x00"), .bad_at = 1, .problem = "client has to mask",
      .server = true },
    { "125 in 16 bits", BYTES("\x82\x7e\x00\x7d"), .bad_at = 3, .problem = "more bytes" },
    { "0 in 16 bits", BYTES("\x82\x7e\x00\x00"), .bad_at = 3, .problem = "more bytes" },
    { "65535 in 64 bits", BYTES("\x82\x7f\0\0\0\0\0\0"), .bad_at = 7, .problem = "more bytes" },
    { "2^63", BYTES("\x82\x7f\x80"), .bad_at = 2, .problem = "highest bit" },
};

static QIOWsDecoder decoder_for(const HeaderCase *c)
{
    return (QIOWsDecoder){ .expect_masked = c->server, .allow_rsv1 = c->deflate,
                           .in_message = c->in_message };
}

/* Feeds [from, to).  Returns false when it was refused. */
static bool feed_header(QIOWsDecoder *d, const HeaderCase *c, size_t from, size_t to)
{
    ssize_t n = from < to ? qio_ws_decode(d, c->bytes + from, to - from) : 0;

    CHECK(n == -1 || (size_t)n == to - from);
    return n >= 0;
}

static void check_header(const HeaderCase *c, QIOWsDecoder *d)
{
    const QIOWsHeader *h = &d->header;
    uint8_t again[QIO_WS_HEADER_MAX];

    CHECK(d->whole);
    CHECK_INT(h->length, ==, c->length);
    CHECK_INT(h->opcode, ==, c->bytes[0] & 15);
    CHECK_INT(h->fin, ==, (c->bytes[0] & 0x80) != 0);
    CHECK_INT(h->masked, ==, c->server);
    CHECK_INT(qio_ws_encode(h, again), ==, c->len);
    CHECK_MEM(again, c->bytes, c->len);
    CHECK_INT(d->in_message, ==, qio_ws_is_control(h->opcode) ? c->in_message : !h->fin);
}

TEST(ws_headers_are_judged_at_each_byte)
{
    for (size_t i = 0; i < G_N_ELEMENTS(header_cases); i++) {
        const HeaderCase *c = &header_cases[i];

        test_note("%s", c->name);
        for (size_t cut = 0; cut <= c->len; cut++) {
            QIOWsDecoder d = decoder_for(c);
            bool first = feed_header(&d, c, 0, cut);

            CHECK_INT(first, ==, c->bad_at >= cut);
            if (first && cut < c->len) {
                CHECK(!d.whole);
                CHECK_INT(feed_header(&d, c, cut, c->len), ==, c->bad_at == SIZE_MAX);
            }
            if (c->bad_at == SIZE_MAX) {
                check_header(c, &d);
            } else {
                CHECK_STR_HAS(d.problem, c->problem);
            }
        }
        for (size_t at = 0; at < c->len; at++) {
            QIOWsDecoder d = decoder_for(c);
            size_t n = 0;

            while (n < c->len && feed_header(&d, c, n, n + 1)) {
                n++;
            }
            CHECK_INT(n, ==, MIN(c->bad_at, c->len));
        }
    }
}

TEST(ws_a_header_ends_where_it_ends)
{
    const uint8_t bytes[] = { 0x82, 0x01, 'x', 0x82, 0x00 };
    QIOWsDecoder d = { 0 };

    CHECK_INT(qio_ws_decode(&d, bytes, sizeof(bytes)), ==, 2);
    CHECK(d.whole);
    CHECK_INT(qio_ws_decode(&d, bytes + 3, 2), ==, 2);
    CHECK(d.whole);
    CHECK_INT(d.header.length, ==, 0);
}

TEST(ws_close_codes)
{
    for (unsigned code = 0; code <= 0xffff; code++) {
        bool valid = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
                      code != 1006) || (code >= 3000 && code < 5000);

        CHECK_INT(qio_ws_close_code_valid(code), ==, valid);
    }
}
