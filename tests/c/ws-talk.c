/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ws-talk.c: the conversations of ws-talk.h.
 *
 * Rule: nothing of core/websock but the channel's public functions.
 */
#include <stdlib.h>
#include "ws-talk.h"

/* ---- frames from a text ---- */

static GByteArray *unescape(const char *text, size_t len, unsigned times)
{
    GByteArray *bytes = g_byte_array_new();

    for (; times > 0; times--) {
        for (size_t i = 0; i < len; i++) {
            guint8 byte = (guint8)text[i];

            if (byte == '%') {
                byte = (guint8)(g_ascii_xdigit_value(text[i + 1]) * 16 +
                                g_ascii_xdigit_value(text[i + 2]));
                i += 2;
            }
            g_byte_array_append(bytes, &byte, 1);
        }
    }
    return bytes;
}

static void append_raw(GByteArray *to, const char *hex, size_t len)
{
    for (size_t i = 1; i + 1 < len; i += 2) {
        guint8 byte = (guint8)(g_ascii_xdigit_value(hex[i]) * 16 +
                               g_ascii_xdigit_value(hex[i + 1]));

        g_byte_array_append(to, &byte, 1);
    }
}

void talk_frames(GByteArray *to, const char *text, bool masked)
{
    while (*text) {
        size_t len = strcspn(text, " ");

        if (text[0] == '=') {
            append_raw(to, text, len);
        } else {
            char *p;
            unsigned long first = strtoul(text, &p, 16);
            unsigned long times = *p == '*' ? strtoul(p + 1, &p, 10) : 1;
            GByteArray *payload = unescape(p + 1, len - (size_t)(p + 1 - text), (unsigned)times);

            ws_frame(to, (uint8_t)first, payload->data, payload->len, masked);
            g_byte_array_unref(payload);
        }
        text += len;
        text += strspn(text, " ");
    }
}

size_t talk_length(const Talk *talk, bool server)
{
    GByteArray *bytes = g_byte_array_new();
    size_t len;

    talk_frames(bytes, talk->says, server);
    len = bytes->len;
    g_byte_array_unref(bytes);
    return len;
}

/* ---- the texts that come of it ---- */

static void append_escaped(GString *to, const void *bytes, size_t len)
{
    const guint8 *p = bytes;

    for (size_t i = 0; i < len; i++) {
        if (g_ascii_isalnum(p[i]) || p[i] == '-') {
            g_string_append_c(to, (char)p[i]);
        } else {
            g_string_append_printf(to, "%%%02x", p[i]);
        }
    }
}

/* Long runs of one byte as "x*300". */
static void append_payload(GString *to, const guint8 *bytes, size_t len)
{
    bool same = len > 40;

    for (size_t i = 1; i < len && same; i++) {
        same = bytes[i] == bytes[0];
    }
    append_escaped(to, bytes, same ? 1 : len);
    if (same) {
        g_string_append_printf(to, "*%zu", len);
    }
}

typedef struct Heard {
    GString *text;
    GByteArray *part;       /* of a message that goes on */
    int opcode;
} Heard;

static void heard_piece(Heard *heard, const void *buf, size_t n, int opcode, bool fin)
{
    const guint8 *bytes = buf;

    if (opcode == QIO_WEBSOCK_CLOSE || opcode == QIO_WEBSOCK_PONG) {
        g_string_append(heard->text, opcode == QIO_WEBSOCK_CLOSE ? " close(" : " pong(");
        if (opcode == QIO_WEBSOCK_CLOSE && n >= 2) {
            g_string_append_printf(heard->text, "%d", bytes[0] << 8 | bytes[1]);
            g_string_append(heard->text, n > 2 ? " " : "");
            append_escaped(heard->text, bytes + 2, n - 2);
        } else {
            append_escaped(heard->text, bytes, n);
        }
        g_string_append(heard->text, ")");
        return;
    }
    heard->opcode = opcode;
    g_byte_array_append(heard->part, bytes, (guint)n);
    if (fin) {
        g_string_append(heard->text, opcode == QIO_WEBSOCK_TEXT ? " t(" : " b(");
        append_payload(heard->text, heard->part->data, heard->part->len);
        g_string_append(heard->text, ")");
        g_byte_array_set_size(heard->part, 0);
        heard->opcode = 0;
    }
}

static void heard_end(Heard *heard, ssize_t n, Error *err, bool stream)
{
    if (stream && heard->part->len > 0) {
        g_string_append(heard->text, " s(");
        append_payload(heard->text, heard->part->data, heard->part->len);
        g_string_append(heard->text, ")");
    } else if (heard->opcode) {
        g_string_append(heard->text, heard->opcode == QIO_WEBSOCK_TEXT ? " t(" : " b(");
        append_payload(heard->text, heard->part->data, heard->part->len);
        g_string_append(heard->text, "~");
    }
    if (n == 0) {
        g_string_append(heard->text, " end");
    } else if (n == -1) {
        g_string_append_printf(heard->text, " error(%d)", (int)qio_error_get_number(err));
        qio_error_free(err);
    }
}

static bool script_over(const Scripted *s)
{
    return s->next >= s->steps->len;
}

static char *overhear(QIOChannelWebsock *ws, Scripted *s)
{
    bool stream = !qio_channel_websock_is_messages(ws);
    Heard heard = { g_string_new(NULL), g_byte_array_new(), 0 };
    static char buf[70000];
    Error *err = NULL;
    ssize_t n;

    for (;;) {
        int opcode = QIO_WEBSOCK_BINARY;
        bool fin = false;

        n = stream ? qio_channel_try_read(QIO_CHANNEL(ws), buf, sizeof(buf), &err)
                   : qio_channel_websock_recv(ws, buf, sizeof(buf),
                                              QIO_WEBSOCK_DONTWAIT | QIO_WEBSOCK_PONGS, &opcode,
                                              &fin, &err);
        if (n == QIO_CHANNEL_ERR_BLOCK) {
            if (script_over(s)) {
                break;
            }
            continue;
        }
        /* The end is told after the close frame, which may be empty. */
        if (n < 0 || (n == 0 && stream) ||
            (n == 0 && opcode == QIO_WEBSOCK_CLOSE && strstr(heard.text->str, "close("))) {
            break;
        }
        heard_piece(&heard, buf, (size_t)n, opcode, fin);
    }
    heard_end(&heard, n, err, stream);
    g_byte_array_unref(heard.part);
    return g_string_free(heard.text, FALSE);
}

/* Takes apart what our end wrote: every frame has to be right. */
static char *answers(const GByteArray *bytes, size_t at, bool masked)
{
    GString *text = g_string_new(NULL);

    while (at < bytes->len) {
        const guint8 *p = bytes->data + at;
        size_t len = p[1] & 0x7f;
        guint8 payload[125];

        CHECK_INT(p[1] >> 7, ==, masked);
        CHECK_INT(len, <=, 125);
        CHECK_INT(at + 2 + (masked ? 4 : 0) + len, <=, bytes->len);
        for (size_t i = 0; i < len; i++) {
            payload[i] = masked ? p[6 + i] ^ p[2 + i % 4] : p[2 + i];
        }
        if (p[0] == 0x8a) {
            g_string_append(text, " pong(");
            append_payload(text, payload, len);
        } else {
            CHECK_INT(p[0], ==, 0x88);
            g_string_append(text, " close(");
            if (len >= 2) {
                g_string_append_printf(text, "%d", payload[0] << 8 | payload[1]);
            }
        }
        g_string_append(text, ")");
        at += 2 + (masked ? 4 : 0) + len;
    }
    return g_string_free(text, FALSE);
}

/* ---- the run ---- */

static QIOOptions *options_of(const Talk *talk)
{
    QIOOptions *options = qio_options_new();
    char **pairs = g_strsplit(talk->options ? talk->options : "", " ", -1);

    qio_options_set_str(options, "ws-mode", "messages", NULL);
    for (char **pair = pairs; *pair && **pair; pair++) {
        char *equals = strchr(*pair, '=');

        *equals = '\0';
        CHECK_INT(qio_options_set_str(options, *pair, equals + 1, NULL), ==, 0);
    }
    g_strfreev(pairs);
    return options;
}

/* The peer's part of the handshake; of a client's peer only after the request has come. */
static GByteArray *handshake(const Talk *talk, bool server, const Scripted *s)
{
    GByteArray *bytes = g_byte_array_new();
    g_autoptr(GString) head = g_string_new(NULL);

    if (server) {
        g_string_append(head, WS_REQUEST);
    } else {
        char *key = strstr((char *)s->written->data, "Sec-WebSocket-Key: ") + 19;
        g_autofree char *both = g_strdup_printf("%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
        guint8 digest[20];
        gsize len = 20;
        g_autofree char *accept = NULL;

        g_checksum_update(sum, (guchar *)both, -1);
        g_checksum_get_digest(sum, digest, &len);
        accept = g_base64_encode(digest, len);
        g_string_append_printf(head, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", accept);
    }
    if (talk->extensions) {
        g_string_append_printf(head, "Sec-WebSocket-Extensions: %s\r\n", talk->extensions);
    }
    g_string_append(head, "\r\n");
    g_byte_array_append(bytes, (guint8 *)head->str, (guint)head->len);
    return bytes;
}

static void script_cut(Scripted *s, const GByteArray *bytes, size_t head, TalkCut cut)
{
    size_t at = 0;

    while (at < bytes->len) {
        size_t stop = bytes->len;

        if (cut.every) {
            stop = MIN(at + cut.every, bytes->len);
        } else if (cut.at && at < head + cut.at) {
            stop = head + cut.at;
        }
        scripted_bytes(s, bytes->data + at, stop - at);
        scripted_step(s, STEP_BLOCK);
        at = stop;
    }
}

void talk_outcome(const Talk *talk, const GByteArray *says, bool server, TalkCut cut, char **heard,
                  char **answered)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), options_of(talk), server);
    GByteArray *bytes;
    size_t sent;

    test_note("%s, of a %s, cut at %zu, every %zu", talk->name, server ? "server" : "client",
              cut.at, cut.every);
    s->write_room = 1 << 20;
    if (!server) {
        CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        g_byte_array_append(s->written, (guint8 *)"", 1);
    }
    bytes = handshake(talk, server, s);
    sent = bytes->len;
    g_byte_array_append(bytes, says->data, says->len);
    script_cut(s, bytes, sent, cut);
    if (talk->leaves) {
        scripted_step(s, STEP_END);
    }
    sent = server ? 0 : s->written->len;
    *heard = overhear(ws, s);
    if (server) {
        const char *blank = g_strstr_len((char *)s->written->data, s->written->len, "\r\n\r\n");

        CHECK(blank != NULL);
        sent = (size_t)(blank + 4 - (char *)s->written->data);
    }
    *answered = answers(s->written, sent, !server);
    g_byte_array_unref(bytes);
    qio_object_unref(ws);
    qio_object_unref(s);
}

void talk_run(const Talk *talk, bool server, TalkCut cut)
{
    GByteArray *says = g_byte_array_new();
    char *heard, *answered;

    talk_frames(says, talk->says, server);
    talk_outcome(talk, says, server, cut, &heard, &answered);
    CHECK_STR(heard[0] ? heard + 1 : "", talk->hears);
    CHECK_STR(answered[0] ? answered + 1 : "", talk->answers ? talk->answers : "");
    g_free(heard);
    g_free(answered);
    g_byte_array_unref(says);
}

void talk_run_all(const Talk *talk, bool server)
{
    size_t len = talk_length(talk, server);

    talk_run(talk, server, (TalkCut){ 0 });
    talk_run(talk, server, (TalkCut){ .every = len > 5000 ? 1000 : 1 });
    for (size_t at = 1; at < len && len < 500; at++) {
        talk_run(talk, server, (TalkCut){ .at = at });
    }
}
