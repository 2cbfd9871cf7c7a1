/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-random.c: conversations nobody wrote down: right frames, some bytes of them spoiled, cut
 * at random.
 *
 * Rule: whatever they are, they end, what our end writes is right, and the outcome is the same
 * however the bytes are cut.  The numbers come from a seed, so that a failure comes again.
 */
#include "ws-talk.h"

static uint32_t seed;

static uint32_t pick(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static void append_random_frame(GByteArray *to, bool masked)
{
    static const uint8_t firsts[] = { 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1,
                                      0xc2, 0x41 };
    static const char *const payloads[] = {
        "", "hello", "gr\xc3\xbc\xc3\x9f", "\x03\xe8", "\x03\xe8" "bye", "\xe2\x82", "\xac",
        "\xf2\x48\xcd\xc9\xc9\x07", "\xf2\x48", "\xff\xfe",
    };
    uint8_t first = firsts[pick(pick(4) ? 9 : G_N_ELEMENTS(firsts))];
    char big[400];

    if (pick(8) == 0 && !(first & 8)) {
        memset(big, 'a' + (int)pick(26), sizeof(big));
        ws_frame(to, first, big, pick(sizeof(big)), masked);
    } else {
        const char *payload = payloads[pick(G_N_ELEMENTS(payloads))];

        ws_frame(to, first, payload, strlen(payload), masked);
    }
}

static GByteArray *random_bytes(bool masked)
{
    GByteArray *bytes = g_byte_array_new();

    for (uint32_t i = 1 + pick(12); i > 0; i--) {
        append_random_frame(bytes, masked);
    }
    for (uint32_t i = pick(3); i > 0; i--) {
        bytes->data[pick(bytes->len)] ^= (uint8_t)(1u << pick(8));
    }
    if (pick(4) == 0) {
        g_byte_array_set_size(bytes, 1 + pick(bytes->len));
    }
    return bytes;
}

static void converse(uint32_t number)
{
    static const char *const options[] = { "", "ws-mode=stream", "ws-deflate=on",
                                           "ws-max-message=20", "ws-deflate=on ws-max-inflated=9" };
    bool server = pick(2), deflate;
    Talk talk = { "random", .leaves = pick(2) };
    char name[32];
    GByteArray *says;
    char *heard[2], *answered[2];

    talk.options = options[pick(G_N_ELEMENTS(options))];
    deflate = strstr(talk.options, "deflate") != NULL;
    talk.extensions = deflate ? "permessage-deflate" : NULL;
    g_snprintf(name, sizeof(name), "random %u", number);
    talk.name = name;
    says = random_bytes(server);
    talk_outcome(&talk, says, server, (TalkCut){ 0 }, &heard[0], &answered[0]);
    for (int i = 0; i < 3; i++) {
        TalkCut cut = { .every = i == 0 ? 1 : 1 + pick(40) };

        talk_outcome(&talk, says, server, cut, &heard[1], &answered[1]);
        CHECK_STR(heard[1], heard[0]);
        CHECK_STR(answered[1], answered[0]);
        g_free(heard[1]);
        g_free(answered[1]);
    }
    g_free(heard[0]);
    g_free(answered[0]);
    g_byte_array_unref(says);
}

TEST(ws_random_conversations, .timeout_s = 60)
{
    for (uint32_t i = 0; i < 5000; i++) {
        seed = i;
        converse(i);
    }
}
