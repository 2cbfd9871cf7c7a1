/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-frames.c: what a peer sends after the handshake, rule by rule, and what becomes of it.
 *
 * Rule: every conversation runs as server and as client, whole, byte by byte and in every two
 * parts, with the same outcome.
 */
#include "ws-talk.h"

static const Talk framing[] = {
    { "nothing", "", "", "" },
    { "empty text", "81:", "t()" },
    { "text", "81:hello", "t(hello)" },
    { "empty binary", "82:", "b()" },
    { "binary", "82:%00%ff", "b(%00%ff)" },
    { "125 bytes", "82*125:x", "b(x*125)" },
    { "126 bytes", "82*126:x", "b(x*126)" },
    { "127 bytes", "81*127:x", "t(x*127)" },
    { "65535 bytes", "82*65535:x", "b(x*65535)" },
    { "65536 bytes", "81*65536:x", "t(x*65536)" },
    { "200000 bytes", "82*200000:x", "b(x*200000)" },
    { "several", "81:a 82:b 81:c", "t(a) b(b) t(c)" },
    { "left in the middle", "81:hello =81", "t(hello) error(1006)", .leaves = true },
    { "left without a word", "81:hello", "t(hello) error(1006)", .leaves = true },
    { "left between fragments", "01:hello", "t(hello~ error(1006)", .leaves = true },
};

static const Talk controls[] = {
    { "ping", "89:abc", "", "pong(abc)" },
    { "empty ping", "89:", "", "pong()" },
    { "ping of 125 bytes", "89*125:x 82:", "b()", "pong(x*125)" },
    { "binary ping", "89:%00%ff", "", "pong(%00%ff)" },
    { "ping and data in one", "89:p 81:data", "t(data)", "pong(p)" },
    { "ten pings", "89:0 89:1 89:2 89:3 89:4 89:5 89:6 89:7 89:8 89:9", "",
      "pong(0) pong(1) pong(2) pong(3) pong(4) pong(5) pong(6) pong(7) pong(8) pong(9)" },
    { "pong", "8a:late 81:x", "pong(late) t(x)" },
    { "ping between fragments", "01:hel 89:p 80:lo", "t(hello)", "pong(p)" },
    { "pong between fragments", "02:a 8a:p 80:b", "pong(p) b(ab)" },
    { "pings between fragments", "02:a 89:1 00:b 89:2 80:c", "b(abc)", "pong(1) pong(2)" },
};

static const Talk broken[] = {
    { "rsv1", "c1:x", "error(1002)", "close(1002)" },
    { "rsv2", "a1:x", "error(1002)", "close(1002)" },
    { "rsv3", "91:x", "error(1002)", "close(1002)" },
    { "all of them", "f1:x", "error(1002)", "close(1002)" },
    { "rsv of a ping", "99:x", "error(1002)", "close(1002)" },
    { "after good ones", "81:a d1:x 81:b", "t(a) error(1002)", "close(1002)" },
    { "opcode 3", "83:x", "error(1002)", "close(1002)" },
    { "opcode 7", "87:x", "error(1002)", "close(1002)" },
    { "opcode 11", "8b:x", "error(1002)", "close(1002)" },
    { "opcode 15", "8f:x", "error(1002)", "close(1002)" },
    { "ping of 126 bytes", "89*126:x", "error(1002)", "close(1002)" },
    { "fragmented ping", "09:x", "error(1002)", "close(1002)" },
    { "fragmented pong", "0a:x", "error(1002)", "close(1002)" },
    { "continuation of nothing", "80:x", "error(1002)", "close(1002)" },
    { "continuation after the end", "01:a 80:b 80:c", "t(ab) error(1002)", "close(1002)" },
    { "message in a message", "01:a 81:b", "t(a~ error(1002)", "close(1002)" },
    { "length with too many bytes", "=827e0001", "error(1002)", "close(1002)" },
    { "length of 2^63", "=827f80", "error(1002)", "close(1002)" },
};

static const Talk fragments[] = {
    { "two", "01:hel 80:lo", "t(hello)" },
    { "with empty ones", "01: 00: 00:x 00: 80:", "t(x)" },
    { "all empty", "02: 00: 80:", "b()" },
    { "many", "02:a 00:b 00:c 00:d 00:e 00:f 80:g", "b(abcdefg)" },
    { "then whole ones", "01:a 80:b 82:c", "t(ab) b(c)" },
};

static const Talk texts[] = {
    { "a character cut by fragments", "01:%e2%82 80:%ac", "t(%e2%82%ac)" },
    { "bad byte", "81:ab%ffcd", "t(ab~ error(1007)", "close(1007)" },
    { "surrogate", "81:%ed%a0%80", "t(%ed~ error(1007)", "close(1007)" },
    { "overlong", "81:%c0%af", "error(1007)", "close(1007)" },
    { "above the last", "81:%f4%90%80%80", "t(%f4~ error(1007)", "close(1007)" },
    { "the last", "81:%f4%8f%bf%bf", "t(%f4%8f%bf%bf)" },
    { "ends inside a character", "81:x%e2%82", "t(x%e2%82~ error(1007)", "close(1007)" },
    { "bad at once, message goes on", "01:%ce%ff", "t(%ce~ error(1007)", "close(1007)" },
    { "bad in a later fragment", "01:ok 00:%80", "t(ok~ error(1007)", "close(1007)" },
    { "binary may be anything", "82:%ff%fe", "b(%ff%fe)" },
};

static const Talk closes[] = {
    { "normal", "88:%03%e8", "close(1000) end", "close(1000)" },
    { "with a reason", "88:%03%e8bye", "close(1000 bye) end", "close(1000)" },
    { "empty", "88:", "close() end", "close()" },
    { "going away", "88:%03%e9", "close(1001) end", "close(1001)" },
    { "of an error", "88:%03%f3oops", "close(1011 oops) error(1011)", "close(1011)" },
    { "private", "88:%0f%a0", "close(4000) error(4000)", "close(4000)" },
    { "one byte", "88:x", "error(1002)", "close(1002)" },
    { "bad reason", "88:%03%e8%ff", "error(1007)", "close(1007)" },
    { "half a character of reason", "88:%03%e8%e2%82", "error(1007)", "close(1007)" },
    { "code 999", "88:%03%e7", "error(1002)", "close(1002)" },
    { "code 1004", "88:%03%ec", "error(1002)", "close(1002)" },
    { "code 1005", "88:%03%ed", "error(1002)", "close(1002)" },
    { "code 1006", "88:%03%ee", "error(1002)", "close(1002)" },
    { "code 1015", "88:%03%f7", "error(1002)", "close(1002)" },
    { "code 1016", "88:%03%f8", "error(1002)", "close(1002)" },
    { "code 2999", "88:%0b%b7", "error(1002)", "close(1002)" },
    { "code 5000", "88:%13%88", "error(1002)", "close(1002)" },
    { "what comes after it", "88:%03%e8 81:x 89:p =ff", "close(1000) end", "close(1000)" },
    { "inside a message", "01:a 88:%03%e8", "close(1000) t(a~ end", "close(1000)" },
    { "of 124 bytes of reason", "=887e007e", "error(1002)", "close(1002)" },
    { "after data", "81:x 88:%03%e8", "t(x) close(1000) end", "close(1000)" },
    { "then the end", "88:%03%e8", "close(1000) end", "close(1000)", .leaves = true },
};

static const Talk streams[] = {
    { "binary", "82:hello", "s(hello)", "", "ws-mode=stream" },
    { "joined", "82:ab 02:cd 00: 80:ef 82:", "s(abcdef)", "", "ws-mode=stream" },
    { "text", "82:a 81:b", "s(a) error(1003)", "close(1003)", "ws-mode=stream" },
    { "text, by its first byte", "=81", "error(1003)", "close(1003)", "ws-mode=stream" },
    { "pings do not show", "89:p 82:a 89:q", "s(a)", "pong(p) pong(q)", "ws-mode=stream" },
    { "clean end", "82:a 88:%03%e8", "s(a) end", "close(1000)", "ws-mode=stream" },
    { "other end", "82:a 88:%03%f3", "s(a) error(1011)", "close(1011)", "ws-mode=stream" },
    { "left", "82:a", "s(a) error(1006)", "", "ws-mode=stream", .leaves = true },
    { "left inside a header", "82:a =827e00", "s(a) error(1006)", "", "ws-mode=stream",
      .leaves = true },
    { "longer than any message", "82*100000:x 82*100000:x", "s(x*200000)", "",
      "ws-mode=stream ws-max-message=10" },
};

static const Talk limits[] = {
    { "as long as may be", "82*10:x", "b(xxxxxxxxxx)", "", "ws-max-message=10" },
    { "longer, told by its length", "=827f4000000000000000", "error(1009)", "close(1009)" },
    { "longer, in fragments", "02:abcdef 80:ghijk", "b(abcdef~ error(1009)", "close(1009)",
      "ws-max-message=10" },
    { "longer, declared", "82:abcdefghijk", "error(1009)", "close(1009)", "ws-max-message=10" },
    { "each for itself", "82:abcdef 82:ghijkl", "b(abcdef) b(ghijkl)", "", "ws-max-message=10" },
};

static void run_table(const Talk *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        Talk talk = table[i];

        /* A client's frames are masked: raw bytes of a header say so themselves. */
        talk_run_all(&talk, false);
        if (!strchr(talk.says, '=')) {
            talk_run_all(&talk, true);
        }
    }
}

TEST(ws_framing, .timeout_s = 60)
{
    run_table(framing, G_N_ELEMENTS(framing));
}

TEST(ws_pings_and_pongs, .timeout_s = 60)
{
    run_table(controls, G_N_ELEMENTS(controls));
}

TEST(ws_broken_frames)
{
    run_table(broken, G_N_ELEMENTS(broken));
}

TEST(ws_fragments)
{
    run_table(fragments, G_N_ELEMENTS(fragments));
}

TEST(ws_texts)
{
    run_table(texts, G_N_ELEMENTS(texts));
}

TEST(ws_closes)
{
    run_table(closes, G_N_ELEMENTS(closes));
}

TEST(ws_streams)
{
    run_table(streams, G_N_ELEMENTS(streams));
}

TEST(ws_limits)
{
    run_table(limits, G_N_ELEMENTS(limits));
}

/* Each code that may be sent is echoed, each other one is 1002: all there are. */
TEST(ws_every_close_code)
{
    for (unsigned code = 0; code <= 5100; code++) {
        char says[32], hears[64], answers[32];
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        Talk talk = { "code", says, hears, answers };

        g_snprintf(says, sizeof(says), "88:%%%02x%%%02x", code >> 8, code & 0xff);
        g_snprintf(answers, sizeof(answers), "close(%u)", valid ? code : 1002);
        g_snprintf(hears, sizeof(hears), !valid ? "error(1002)"
                   : code <= 1001 ? "close(%u) end" : "close(%u) error(%u)", code, code);
        talk_run(&talk, true, (TalkCut){ 0 });
    }
}

TEST(ws_fragments_are_counted)
{
    g_autoptr(GString) says = g_string_new("02:a");
    Talk talk = { "1024 fragments", NULL, "b(a*1024)", "" };

    for (int i = 0; i < 1022; i++) {
        g_string_append(says, " 00:a");
    }
    g_string_append(says, " 80:a");
    talk.says = says->str;
    talk_run(&talk, true, (TalkCut){ 0 });
    talk.name = "1025 fragments";
    says = g_string_insert(says, 0, "02:a ");
    says->str[5] = '0';
    says->str[6] = '0';
    talk.hears = "b(a*1024~ error(1009)";
    talk.answers = "close(1009)";
    talk.says = says->str;
    talk_run(&talk, true, (TalkCut){ 0 });
}
