/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-deflate.c: permessage-deflate: what is agreed on, what goes each way, and its bound.
 *
 * Rule: what comes in are the examples of RFC 7692 and zlib's own output; what goes out is read
 * back by zlib, here.
 */
#include <zlib.h>
#include "websock/deflate.h"
#include "ws-talk.h"

#define ON "ws-deflate=on"
#define EXT "permessage-deflate"

/* ---- what comes in ---- */

static const Talk examples[] = {
    { "one block", "c1:%f2%48%cd%c9%c9%07%00", "t(Hello)", "", ON, EXT },
    { "fragments", "41:%f2%48%cd 80:%c9%c9%07%00", "t(Hello)", "", ON, EXT },
    { "a ping between", "41:%f2%48%cd 89:p 80:%c9%c9%07%00", "t(Hello)", "pong(p)", ON, EXT },
    { "the window goes on", "c1:%f2%48%cd%c9%c9%07%00 c1:%f2%00%11%00%00", "t(Hello) t(Hello)", "",
      ON, EXT },
    { "not compressed", "c1:%00%05%00%fa%ffHello%00", "t(Hello)", "", ON, EXT },
    { "a last block", "c1:%f3%48%cd%c9%c9%07%00%00", "t(Hello)", "", ON, EXT },
    { "two blocks", "c1:%f2%48%05%00%00%00%ff%ff%ca%c9%c9%07%00", "t(Hello)", "", ON, EXT },
    { "empty", "c2:%00", "b()", "", ON, EXT },
    { "empty fragments", "41: 00:%f2%48%cd%c9 00: 00:%c9%07%00 80:", "t(Hello)", "", ON, EXT },
    { "plain ones among them", "81:a c1:%f2%48%cd%c9%c9%07%00 82:b", "t(a) t(Hello) b(b)", "", ON,
      EXT },
    { "as a stream", "c2:%f2%48%cd%c9%c9%07%00 c2:%f2%00%11%00%00", "s(HelloHello)", "",
      ON " ws-mode=stream", EXT },
    { "the window outlasts a last block", "c1:%f3%48%cd%c9%c9%07%00%00 c1:%f2%00%11%00%00",
      "t(Hello) t(Hello)", "", ON, EXT },
    { "no stream of deflate", "c1:%ff%ff%ff", "error(1007)", "close(1007)", ON, EXT },
    { "bad UTF-8 inside", "c1:%00%03%00%fc%ffa%ffb%00", "t(a~ error(1007)", "close(1007)", ON,
      EXT },
    { "rsv1 of a continuation", "41:%f2%48 c0:%cd", "t(H~ error(1002)", "close(1002)", ON, EXT },
    { "not agreed on", "c1:%f2%48%cd%c9%c9%07%00", "error(1002)", "close(1002)" },
    { "as long as may be", "c1:%f2%48%cd%c9%c9%07%00", "t(Hello)", "", ON " ws-max-inflated=5",
      EXT },
    { "one byte longer", "c1:%f2%48%cd%c9%c9%07%00", "t(Hell~ error(1009)", "close(1009)",
      ON " ws-max-inflated=4", EXT },
    { "each for itself", "c1:%f2%48%cd%c9%c9%07%00 c1:%f2%00%11%00%00", "t(Hello) t(Hello)", "",
      ON " ws-max-inflated=5", EXT },
    { "the window is forgotten", "c1:%f2%48%cd%c9%c9%07%00 c1:%f2%00%11%00%00",
      "t(Hello) t(H~ error(1007)", "close(1007)", ON,
      EXT "; client_no_context_takeover; server_no_context_takeover" },
};

TEST(ws_deflate_examples)
{
    for (size_t i = 0; i < G_N_ELEMENTS(examples); i++) {
        talk_run_all(&examples[i], true);
        talk_run_all(&examples[i], false);
    }
}

/* An offer that nobody asked us to take leaves the answer without one. */
TEST(ws_deflate_is_declined_when_off)
{
    static const Talk talk = { "off", "81:x", "t(x)", "", NULL, EXT };

    talk_run_all(&talk, true);
}

/* Zeros that would be 32 MiB: no more than the limit is ever made. */
TEST(ws_deflate_bomb)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), ws_options(
        "ws-deflate", "on", "ws-mode", "messages", "ws-max-inflated", "1000000", NULL), true);
    GByteArray *bytes = g_byte_array_new();
    uLong packed_len = 200000;
    g_autofree uint8_t *zeros = g_malloc0(1 << 20);
    g_autofree uint8_t *packed = g_malloc(packed_len);
    z_stream z = { 0 };
    static uint8_t buf[1 << 16];
    size_t got = 0;
    Error *err = NULL;
    ssize_t n;

    CHECK_INT(deflateInit2(&z, 1, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), ==, Z_OK);
    z.next_out = packed;
    z.avail_out = (uInt)packed_len;
    for (int i = 0; i < 32; i++) {
        z.next_in = zeros;
        z.avail_in = 1 << 20;
        CHECK_INT(deflate(&z, i < 31 ? Z_NO_FLUSH : Z_SYNC_FLUSH), ==, Z_OK);
    }
    g_byte_array_append(bytes, (guint8 *)WS_REQUEST, strlen(WS_REQUEST));
    g_byte_array_append(bytes, (guint8 *)"Sec-WebSocket-Extensions: " EXT "\r\n\r\n", 48);
    ws_frame(bytes, 0xc2, packed, z.total_out, true);
    deflateEnd(&z);
    scripted_bytes(s, bytes->data, bytes->len);
    scripted_step(s, STEP_STALL);
    s->write_room = 4096;
    while ((n = qio_channel_websock_recv(ws, buf, sizeof(buf), QIO_WEBSOCK_DONTWAIT, NULL, NULL,
                                         &err)) > 0) {
        got += (size_t)n;
    }
    CHECK_INT(n, ==, -1);
    CHECK_INT(qio_error_get_number(err), ==, 1009);
    CHECK_INT(got, ==, 1000000);
    qio_error_free(err);
    g_byte_array_unref(bytes);
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* ---- what is agreed on ---- */

static const struct { const char *offer, *answer; } offers[] = {
    { EXT, EXT },
    { " Permessage-Deflate ", EXT },
    { EXT "; client_max_window_bits", EXT },
    { EXT "; client_max_window_bits=10", EXT "; client_max_window_bits=10" },
    { EXT ";client_max_window_bits=\"10\"", EXT "; client_max_window_bits=10" },
    { EXT "; server_max_window_bits=9", EXT "; server_max_window_bits=9" },
    { EXT "; server_max_window_bits=8", EXT "; server_max_window_bits=8" },
    { EXT "; server_no_context_takeover", EXT "; server_no_context_takeover" },
    { EXT "; client_no_context_takeover", EXT "; client_no_context_takeover" },
    { EXT "; server_max_window_bits=12; server_no_context_takeover",
      EXT "; server_no_context_takeover; server_max_window_bits=12" },
    { "x-other, " EXT, EXT },
    { EXT "; x=1, " EXT "; server_no_context_takeover", EXT "; server_no_context_takeover" },
    { EXT "; unknown", NULL },
    { EXT "; server_max_window_bits", NULL },
    { EXT "; server_max_window_bits=7", NULL },
    { EXT "; server_max_window_bits=16", NULL },
    { EXT "; server_max_window_bits=09", NULL },
    { EXT "; server_max_window_bits=1x", NULL },
    { EXT "; server_max_window_bits=10; server_max_window_bits=10", NULL },
    { EXT "; client_max_window_bits; client_max_window_bits", NULL },
    { EXT "; client_max_window_bits=", NULL },
    { EXT "; server_no_context_takeover=1", NULL },
    { EXT "; server_no_context_takeover; server_no_context_takeover", NULL },
    { EXT ";", NULL },
    { "permessage-deflate2", NULL },
    { "x-webkit-deflate-frame", NULL },
};

TEST(ws_deflate_offers)
{
    for (size_t i = 0; i < G_N_ELEMENTS(offers); i++) {
        Scripted *s = scripted_new();
        QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), ws_options("ws-deflate", "on", NULL), true);
        char *field, *end;

        test_note("%s", offers[i].offer);
        scripted_text(s, WS_REQUEST "Sec-WebSocket-Extensions: ");
        scripted_text(s, offers[i].offer);
        scripted_text(s, "\r\n\r\n");
        s->write_room = 4096;
        CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
        g_byte_array_append(s->written, (guint8 *)"", 1);
        field = strstr((char *)s->written->data, "Sec-WebSocket-Extensions: ");
        CHECK_INT(field != NULL, ==, offers[i].answer != NULL);
        if (field) {
            end = strstr(field, "\r\n");
            *end = '\0';
            CHECK_STR(field + 26, offers[i].answer);
        }
        qio_object_unref(ws);
        qio_object_unref(s);
    }
}

TEST(ws_deflate_answers)
{
    static const struct { const char *answer; bool good; } answers[] = {
        { EXT, true }, { EXT "; client_max_window_bits=9", true },
        { EXT "; client_max_window_bits=8", true }, { EXT "; server_max_window_bits=15", true },
        { EXT "; client_max_window_bits", false }, { EXT "; server_max_window_bits=20", false },
        { EXT "; other", false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        QIOWsDeflateTerms terms;

        test_note("%s", answers[i].answer);
        CHECK(qio_ws_deflate_is(answers[i].answer, strlen(answers[i].answer)));
        CHECK_INT(qio_ws_deflate_parse(answers[i].answer, strlen(answers[i].answer), false, &terms),
                  ==, answers[i].good);
    }
}

/* ---- what goes out ---- */

/* Reads one message of a client off the wire and inflates it, keeping the window or not. */
static void check_sent(int fd, z_stream *z, const char *want, size_t len, bool keep)
{
    static uint8_t wire[200000], plain[200000];
    size_t packed = 0;
    uint8_t head[14];
    bool first = true;

    do {
        size_t n = 0, have = 0, extra;

        CHECK_INT(read(fd, head, 2), ==, 2);
        CHECK_INT(head[0] & 0x40, ==, first ? 0x40 : 0);
        extra = (head[1] & 0x7f) == 126 ? 2 : (head[1] & 0x7f) == 127 ? 8 : 0;
        CHECK_INT(read(fd, head + 2, extra + 4), ==, extra + 4);
        n = extra ? 0 : head[1] & 0x7f;
        for (size_t i = 0; i < extra; i++) {
            n = n << 8 | head[2 + i];
        }
        while (have < n) {
            ssize_t r = read(fd, wire + packed + have, n - have);

            CHECK_INT(r, >, 0);
            have += (size_t)r;
        }
        for (size_t i = 0; i < n; i++) {
            wire[packed + i] ^= head[2 + extra + i % 4];
        }
        packed += n;
        first = false;
    } while (!(head[0] & 0x80));
    memcpy(wire + packed, "\0\0\xff\xff", 4);
    z->next_in = wire;
    z->avail_in = (uInt)packed + 4;
    z->next_out = plain;
    z->avail_out = sizeof(plain);
    CHECK_INT(inflate(z, Z_SYNC_FLUSH), ==, Z_OK);
    CHECK_INT(z->avail_in, ==, 0);
    CHECK_INT(sizeof(plain) - z->avail_out, ==, len);
    CHECK_MEM(plain, want, len);
    if (!keep) {
        inflateReset(z);
    }
}

static void check_sending(const char *extension, bool keep)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *ws;
    static char text[60000], request[2048];
    z_stream z = { 0 };
    g_autofree char *accept = NULL, *both = NULL, *reply = NULL;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    guint8 digest[20];
    gsize len = 20;

    test_note("%s", extension);
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = "abcdefgh"[(i * i >> 5) % 8];
    }
    pair(&a, &b);
    ws = ws_new(a, ws_options("ws-deflate", "on", "ws-mode", "messages", NULL), false);
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(read(fd_of(b), request, sizeof(request) - 1), >, 0);
    CHECK_STR_HAS(request, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
    both = g_strdup_printf("%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                           strstr(request, "Sec-WebSocket-Key: ") + 19);
    g_checksum_update(sum, (guchar *)both, -1);
    g_checksum_get_digest(sum, digest, &len);
    accept = g_base64_encode(digest, len);
    reply = g_strdup_printf("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: %s\r\n\r\n",
                            accept, extension);
    CHECK_INT(write(fd_of(b), reply, strlen(reply)), ==, strlen(reply));
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
    CHECK_INT(inflateInit2(&z, -15), ==, Z_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(qio_channel_websock_send(ws, "Hello", 5, QIO_WEBSOCK_TEXT, 0, NULL), ==, 5);
        check_sent(fd_of(b), &z, "Hello", 5, keep);
        CHECK_INT(qio_channel_websock_send(ws, text, sizeof(text), QIO_WEBSOCK_BINARY, 0, NULL),
                  ==, sizeof(text));
        check_sent(fd_of(b), &z, text, sizeof(text), keep);
        CHECK_INT(qio_channel_websock_send(ws, text, 1000, QIO_WEBSOCK_BINARY,
                                           QIO_WEBSOCK_PARTIAL, NULL), ==, 1000);
        CHECK_INT(qio_channel_websock_send(ws, text + 1000, 1, QIO_WEBSOCK_BINARY, 0, NULL), ==,
                  1);
        check_sent(fd_of(b), &z, text, 1001, keep);
        CHECK_INT(qio_channel_websock_send(ws, "", 0, QIO_WEBSOCK_BINARY, 0, NULL), ==, 0);
        check_sent(fd_of(b), &z, "", 0, keep);
    }
    inflateEnd(&z);
    qio_object_unref(ws);
    drop(a, b);
}

TEST(ws_deflate_sends)
{
    check_sending(EXT, true);
    check_sending(EXT "; client_no_context_takeover", false);
    check_sending(EXT "; client_max_window_bits=9", true);
}

TEST(ws_deflate_both_ways)
{
    static const char *const modes[] = { "messages", "stream" };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        QIOChannelWebsock *client, *server;
        static char text[50000], back[50000];
        size_t got = 0;

        for (size_t k = 0; k < sizeof(text); k++) {
            text[k] = (char)(k * k >> 7);
        }
        ws_pair(&client, &server, ws_options("ws-deflate", "on", "ws-mode", modes[i], NULL),
                ws_options("ws-deflate", "on", "ws-mode", modes[i], NULL));
        for (int round = 0; round < 4; round++) {
            QIOChannelWebsock *from = round % 2 ? client : server;
            QIOChannelWebsock *to = round % 2 ? server : client;

            if (i == 0) {
                CHECK_INT(qio_channel_websock_send(from, text, sizeof(text), QIO_WEBSOCK_BINARY, 0,
                                                   NULL), ==, sizeof(text));
                for (got = 0; got < sizeof(back); ) {
                    ssize_t n = qio_channel_websock_recv(to, back + got, sizeof(back) - got, 0,
                                                         NULL, NULL, NULL);

                    CHECK_INT(n, >, 0);
                    got += (size_t)n;
                }
            } else {
                CHECK_INT(qio_channel_write_all(QIO_CHANNEL(from), text, sizeof(text), NULL), ==,
                          0);
                CHECK_INT(qio_channel_read_all(QIO_CHANNEL(to), back, sizeof(back), NULL), ==, 0);
            }
            CHECK_MEM(back, text, sizeof(text));
        }
        qio_object_unref(client);
        qio_object_unref(server);
    }
}
