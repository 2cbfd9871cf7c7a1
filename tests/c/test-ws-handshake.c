/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-handshake.c: what the server of a WebSocket answers to requests, right and wrong, and
 * when a handshake ends.
 *
 * Rule: every answer of the server is taken apart by a strict parser of the test's own, and every
 * request is cut in every two parts and byte by byte, with the same answer.
 */
#include <ctype.h>
#include <stdlib.h>
#include "testclock.h"
#include "ws-util.h"

/* ---- a strict reading of an answer ---- */

typedef struct Answer {
    int status;
    size_t head;            /* its length with the blank line */
    char **lines;           /* the fields */
} Answer;

static const char *field(const Answer *answer, const char *name)
{
    const char *value = NULL;

    for (char **line = answer->lines; *line; line++) {
        size_t len = strlen(name);

        if (g_ascii_strncasecmp(*line, name, len) == 0 && (*line)[len] == ':') {
            CHECK(value == NULL);
            value = *line + len + 2;
        }
    }
    return value;
}

static void check_date(const char *date)
{
    struct tm tm = { 0 };

    CHECK(date != NULL);
    CHECK_INT(strlen(date), ==, strlen("Sun, 06 Nov 1994 08:49:37 GMT"));
    CHECK(strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm) != NULL);
}

static Answer take_answer(const GByteArray *bytes)
{
    const char *text = (const char *)bytes->data;
    const char *blank = g_strstr_len(text, bytes->len, "\r\n\r\n");
    g_autofree char *head = NULL;
    Answer answer = { 0 };

    CHECK(blank != NULL);
    answer.head = (size_t)(blank - text) + 4;
    for (size_t i = 0; i < answer.head; i++) {
        CHECK(text[i] == '\r' ? text[i + 1] == '\n' : text[i] == '\n' ? text[i - 1] == '\r'
              : text[i] >= ' ' && text[i] <= '~');
    }
    head = g_strndup(text, answer.head - 4);
    answer.lines = g_strsplit(head, "\r\n", -1);
    CHECK(g_str_has_prefix(answer.lines[0], "HTTP/1.1 "));
    CHECK(isdigit(answer.lines[0][9]) && isdigit(answer.lines[0][11]));
    CHECK_INT(answer.lines[0][12], ==, ' ');
    answer.status = atoi(answer.lines[0] + 9);
    for (char **line = answer.lines + 1; *line; line++) {
        char *colon = strstr(*line, ": ");

        CHECK(colon && colon > *line && !memchr(*line, ' ', (size_t)(colon - *line)));
    }
    check_date(field(&answer, "Date"));
    if (answer.status != 101) {
        CHECK_INT(atoi(field(&answer, "Content-Length")), ==, bytes->len - answer.head);
        CHECK_STR_HAS(field(&answer, "Connection"), "close");
    }
    return answer;
}

/* ---- the server ---- */

typedef struct ServerCase {
    const char *name;
    const char *request;
    int status;
    const char *options[4];
    const char *has;            /* a field of the answer, as "Name: value" */
} ServerCase;

#define HEAD(method, target, version) \
    method " " target " " version "\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: " WS_KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define WITHOUT(fields) "GET / HTTP/1.1\r\n" fields "\r\n"
#define U "Upgrade: websocket\r\n"
#define C "Connection: Upgrade\r\n"
#define K "Sec-WebSocket-Key: " WS_KEY "\r\n"
#define V "Sec-WebSocket-Version: 13\r\n"
#define H "Host: h\r\n"

static const ServerCase server_cases[] = {
    { "plain", WS_REQUEST "\r\n", 101, .has = "Sec-WebSocket-Accept: " WS_ACCEPT },
    { "upgraded", WS_REQUEST "\r\n", 101, .has = "Upgrade: websocket" },
    { "connection", WS_REQUEST "\r\n", 101, .has = "Connection: Upgrade" },
    { "names in any case", "GET / HTTP/1.1\r\nhOST:h\r\nUPGRADE:\tWebSocket \r\n"
      "connection: UPGRADE\r\nsec-websocket-key:" WS_KEY "\r\nSEC-WEBSOCKET-VERSION: 13\r\n\r\n",
      101 },
    { "lists in parts", WITHOUT(H "Upgrade: h2c, websocket\r\nConnection: keep-alive\r\n"
                                "Connection: , Upgrade ,\r\n" K V), 101 },
    { "with a query", HEAD("GET", "/?a=b", "HTTP/1.1") "\r\n", 101 },
    { "another path", HEAD("GET", "/x", "HTTP/1.1") "\r\n", 404 },
    { "a path of its own", HEAD("GET", "/chat", "HTTP/1.1") "\r\n", 101, { "ws-path", "/chat" } },
    { "longer than the path", HEAD("GET", "/chats", "HTTP/1.1") "\r\n", 404,
      { "ws-path", "/chat" } },
    { "no path", "GET  HTTP/1.1\r\n" H U C K V "\r\n", 400 },
    { "no target", "GET HTTP/1.1\r\n" H U C K V "\r\n", 400 },
    { "no slash", HEAD("GET", "x", "HTTP/1.1") "\r\n", 400 },
    { "absolute", HEAD("GET", "http://h/", "HTTP/1.1") "\r\n", 101 },
    { "absolute with a path", HEAD("GET", "WS://h:80/chat?x", "HTTP/1.1") "\r\n", 101,
      { "ws-path", "/chat" } },
    { "absolute with a query alone", HEAD("GET", "wss://h?x", "HTTP/1.1") "\r\n", 101 },
    { "absolute and another path", HEAD("GET", "https://h/x", "HTTP/1.1") "\r\n", 404 },
    { "absolute without a host", HEAD("GET", "http:///", "HTTP/1.1") "\r\n", 400 },
    { "absolute of another kind", HEAD("GET", "ftp://h/", "HTTP/1.1") "\r\n", 400 },
    { "a space in the path", HEAD("GET", "/ x", "HTTP/1.1") "\r\n", 400 },
    { "a byte over 0x7f in the path", HEAD("GET", "/\xc3\xa4", "HTTP/1.1") "\r\n", 400 },
    { "HTTP/1.0", HEAD("GET", "/", "HTTP/1.0") "\r\n", 505 },
    { "HTTP/2.0", HEAD("GET", "/", "HTTP/2.0") "\r\n", 505 },
    { "no version", HEAD("GET", "/", "HTTP") "\r\n", 400 },
    { "version and more", HEAD("GET", "/", "HTTP/1.1x") "\r\n", 400 },
    { "lower case version", HEAD("GET", "/", "http/1.1") "\r\n", 400 },
    { "POST", HEAD("POST", "/", "HTTP/1.1") "\r\n", 405, .has = "Allow: GET" },
    { "lower case method", HEAD("get", "/", "HTTP/1.1") "\r\n", 405 },
    { "no method", " / HTTP/1.1\r\n" H U C K V "\r\n", 400 },
    { "TLS instead", "\x16\x03\x01\x02\x00\x01", 400 },
    { "blank line first", "\r\n" WS_REQUEST "\r\n", 400 },
    { "no Host", WITHOUT(U C K V), 400 },
    { "empty Host", WITHOUT("Host:\r\n" U C K V), 400 },
    { "two Hosts", WITHOUT(H H U C K V), 400 },
    { "no Upgrade", WITHOUT(H C K V), 426, .has = "Upgrade: websocket" },
    { "part of a token in Upgrade", WITHOUT(H "Upgrade: xwebsocket\r\n" C K V), 426 },
    { "no Connection", WITHOUT(H U K V), 400 },
    { "part of a token in Connection", WITHOUT(H U "Connection: NoUpgrade\r\n" K V), 400 },
    { "no version of WebSocket", WITHOUT(H U C K), 426, .has = "Sec-WebSocket-Version: 13" },
    { "version 8", WITHOUT(H U C K "Sec-WebSocket-Version: 8\r\n"), 426 },
    { "version 013", WITHOUT(H U C K "Sec-WebSocket-Version: 013\r\n"), 426 },
    { "two versions", WITHOUT(H U C K V V), 400 },
    { "no key", WITHOUT(H U C V), 400 },
    { "two keys", WITHOUT(H U C K K V), 400 },
    { "a short key", WITHOUT(H U C "Sec-WebSocket-Key: o9JHNiS3/0/0zYE1wa3y\r\n" V), 400 },
    { "a key of 17 bytes", WITHOUT(H U C "Sec-WebSocket-Key: o9JHNiS3/0/0zYE1wa3yI0w=\r\n" V),
      400 },
    { "a key with bits too many",
      WITHOUT(H U C "Sec-WebSocket-Key: o9JHNiS3/0/0zYE1wa3yIx==\r\n" V), 400 },
    { "a key that is not base64",
      WITHOUT(H U C "Sec-WebSocket-Key: o9JHNiS3/0/0zYE1wa3y!w==\r\n" V), 400 },
    { "two origins", WITHOUT(H U C K V "Origin: a\r\nOrigin: b\r\n"), 400 },
    { "a body", WITHOUT(H U C K V "Content-Length: 5\r\n"), 400 },
    { "no body", WITHOUT(H U C K V "Content-Length: 0\r\n"), 101 },
    { "a chunked body", WITHOUT(H U C K V "Transfer-Encoding: chunked\r\n"), 400 },
    { "bare line feed", "GET / HTTP/1.1\n", 400 },
    { "bare carriage return", "GET / HTTP/1.1\rX", 400 },
    { "folded", "GET / HTTP/1.1\r\nHost: h\r\n ", 400 },
    { "a space before the colon", WITHOUT("Host : h\r\n" U C K V), 400 },
    { "no colon", WITHOUT(H U C K V "nonsense\r\n"), 400 },
    { "no name", WITHOUT(H U C K V ": x\r\n"), 400 },
    { "a tab in a value", WITHOUT(H U C K V "X: a\tb\r\n"), 101 },
    { "bytes over 0x7f in a value", WITHOUT(H U C K V "X: \xc3\xa4\r\n"), 101 },
    { "delete", "GET / HTTP/1.1\r\nX: \x7f", 400 },
    { "escape", "GET / HTTP/1.1\r\nX: \x1b", 400 },
    { "binary", WS_REQUEST "Sec-WebSocket-Protocol: binary\r\n\r\n", 101,
      .has = "Sec-WebSocket-Protocol: binary" },
    { "among others", WS_REQUEST "Sec-WebSocket-Protocol: x, binary\r\n\r\n", 101,
      .has = "Sec-WebSocket-Protocol: binary" },
    { "in a second field", WS_REQUEST "Sec-WebSocket-Protocol: x\r\n"
      "Sec-WebSocket-Protocol: binary\r\n\r\n", 101, .has = "Sec-WebSocket-Protocol: binary" },
    { "the client's first", WS_REQUEST "Sec-WebSocket-Protocol: b, a\r\n\r\n", 101,
      { "ws-protocol", "a", "ws-protocol", "b" }, "Sec-WebSocket-Protocol: b" },
    { "another protocol", WS_REQUEST "Sec-WebSocket-Protocol: base64\r\n\r\n", 400 },
    { "holds the name", WS_REQUEST "Sec-WebSocket-Protocol: xbinaryz\r\n\r\n", 400 },
    { "other case", WS_REQUEST "Sec-WebSocket-Protocol: Binary\r\n\r\n", 400 },
    { "no token", WS_REQUEST "Sec-WebSocket-Protocol: binary, a b\r\n\r\n", 400 },
    { "a header of the program's", WS_REQUEST "\r\n", 101, { "ws-header", "X-Me: it is" },
      "X-Me: it is" },
};

/* Lets the server answer what comes in pieces.  Returns: the last step's result. */
static int serve(const ServerCase *c, size_t cut, size_t every, GByteArray *answer)
{
    Scripted *s = scripted_new();
    QIOOptions *options = qio_options_new();
    size_t len = strlen(c->request);
    QIOChannelWebsock *ws;
    int ret;

    for (size_t i = 0; i + 1 < G_N_ELEMENTS(c->options) && c->options[i]; i += 2) {
        qio_options_add_str(options, c->options[i], c->options[i + 1], NULL);
    }
    ws = ws_new(QIO_CHANNEL(s), options, true);
    for (size_t at = 0, n; at < len; at += n) {
        n = every ? MIN(every, len - at) : cut > at ? cut - at : len - at;
        scripted_bytes(s, c->request + at, n);
        scripted_step(s, STEP_BLOCK);
    }
    scripted_step(s, STEP_STALL);
    s->write_room = every ? every : 4096;
    do {
        ret = QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL);
    } while (ret == QIO_CHANNEL_ERR_BLOCK && s->next + 1 < s->steps->len);
    g_byte_array_append(answer, s->written->data, s->written->len);
    qio_object_unref(ws);
    qio_object_unref(s);
    return ret;
}

static void check_served(const ServerCase *c, size_t cut, size_t every)
{
    GByteArray *bytes = g_byte_array_new();
    Answer answer;
    int ret;

    test_note("%s, cut at %zu, every %zu", c->name, cut, every);
    ret = serve(c, cut, every, bytes);
    answer = take_answer(bytes);
    CHECK_INT(answer.status, ==, c->status);
    CHECK_INT(ret, ==, c->status == 101 ? 0 : -1);
    if (c->has) {
        g_auto(GStrv) parts = g_strsplit(c->has, ": ", 2);

        CHECK_STR(field(&answer, parts[0]), parts[1]);
    }
    g_strfreev(answer.lines);
    g_byte_array_unref(bytes);
}

TEST(ws_server_answers)
{
    for (size_t i = 0; i < G_N_ELEMENTS(server_cases); i++) {
        const ServerCase *c = &server_cases[i];

        check_served(c, 0, 0);
        check_served(c, 0, 1);
        for (size_t cut = 1; cut < strlen(c->request); cut++) {
            check_served(c, cut, 0);
        }
    }
}

/* Bytes that no text of C can hold. */
TEST(ws_server_refuses_a_nul)
{
    static const char bytes[] = "GET / HTTP/1.1\r\nHost: h\0.example\r\n";
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), NULL, true);
    Answer answer;

    scripted_bytes(s, bytes, sizeof(bytes) - 1);
    s->write_room = 4096;
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, -1);
    answer = take_answer(s->written);
    CHECK_INT(answer.status, ==, 400);
    g_strfreev(answer.lines);
    qio_object_unref(ws);
    qio_object_unref(s);
}

static int status_of(const char *request)
{
    ServerCase c = { "made", request, 0 };
    GByteArray *bytes = g_byte_array_new();
    Answer answer;
    int status;

    serve(&c, 0, 700, bytes);
    answer = take_answer(bytes);
    status = answer.status;
    g_strfreev(answer.lines);
    g_byte_array_unref(bytes);
    return status;
}

TEST(ws_server_bounds_the_head)
{
    g_autoptr(GString) text = g_string_new(WS_REQUEST);

    /* 64 fields, and one more. */
    for (int i = 5; i < 64; i++) {
        g_string_append_printf(text, "X-%d: y\r\n", i);
    }
    g_string_append(text, "\r\n");
    CHECK_INT(status_of(text->str), ==, 101);
    g_string_insert(text, (gssize)text->len - 2, "X: y\r\n");
    CHECK_INT(status_of(text->str), ==, 431);
    /* 8192 bytes, and one more. */
    g_string_assign(text, WS_REQUEST "X: ");
    while (text->len < 8192 - 4) {
        g_string_append_c(text, 'x');
    }
    g_string_append(text, "\r\n\r\n");
    CHECK_INT(text->len, ==, 8192);
    CHECK_INT(status_of(text->str), ==, 101);
    g_string_insert_c(text, (gssize)text->len - 4, 'x');
    CHECK_INT(status_of(text->str), ==, 431);
    /* No line ever ends. */
    g_string_assign(text, "");
    while (text->len < 100000) {
        g_string_append_c(text, 'x');
    }
    CHECK_INT(status_of(text->str), ==, 431);
}

TEST(ws_server_takes_frames_behind_the_request)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), NULL, true);
    GByteArray *bytes = g_byte_array_new();
    char buf[8];

    g_byte_array_append(bytes, (guint8 *)WS_REQUEST "\r\n", strlen(WS_REQUEST) + 2);
    ws_text_frame(bytes, 0x82, "early", true);
    scripted_bytes(s, bytes->data, bytes->len);
    scripted_step(s, STEP_STALL);
    s->write_room = 4096;
    CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL), ==, 5);
    CHECK_MEM(buf, "early", 5);
    CHECK_INT(s->reads, ==, 1);
    g_byte_array_unref(bytes);
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* A request that is too long is answered, though not all of it was read: over a socket that would
 * otherwise be reset. */
TEST(ws_server_answers_before_it_has_read_all)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *ws;
    static char request[30000], answer[1024];
    ssize_t got = 0, n;

    memset(request, 'x', sizeof(request));
    pair(&a, &b);
    ws = ws_new(a, NULL, true);
    qio_object_unref(a);
    CHECK_INT(write(fd_of(b), request, sizeof(request)), ==, sizeof(request));
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, -1);
    qio_object_unref(ws);
    while ((n = read(fd_of(b), answer + got, sizeof(answer) - (size_t)got)) > 0) {
        got += n;
    }
    CHECK_INT(n, ==, 0);
    CHECK_MEM(answer, "HTTP/1.1 431 ", 13);
    qio_object_unref(b);
}

/* ---- the program decides ---- */

static QIOChannelWebsock *asking(Scripted *s, const char *more)
{
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), ws_options("ws-request", "on", NULL), true);

    scripted_text(s, HEAD("GET", "/any?where", "HTTP/1.1") "Origin: http://a.example\r\n"
                  "X-Thing: one\r\nx-thing: two\r\n");
    scripted_text(s, more);
    scripted_step(s, STEP_STALL);
    s->write_room = 4096;
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 1);
    CHECK_INT(s->written->len, ==, 0);
    return ws;
}

static void check_asked(QIOChannelWebsock *ws, const char *key, const char *want)
{
    char buf[64];
    Error *err = NULL;
    ssize_t n = qio_channel_websock_get_request(ws, key, buf, sizeof(buf), &err);

    if (want) {
        CHECK_INT(n, ==, strlen(want));
        CHECK_STR(buf, want);
        CHECK_INT(qio_channel_websock_get_request(ws, key, buf, 2, NULL), ==, strlen(want));
        CHECK_INT(qio_channel_websock_get_request(ws, key, NULL, 0, NULL), ==, strlen(want));
    } else {
        CHECK_INT(n, ==, -1);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        qio_error_free(err);
    }
}

TEST(ws_request_is_accepted)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = asking(s, "Sec-WebSocket-Protocol: chat, other\r\n\r\n");
    Error *err = NULL;
    Answer answer;
    char byte;

    check_asked(ws, "path", "/any?where");
    check_asked(ws, "protocols", "chat, other");
    check_asked(ws, "origin", "http://a.example");
    check_asked(ws, "X-THING", "one, two");
    check_asked(ws, "protocol", NULL);
    check_asked(ws, "missing", NULL);
    CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_BUSY);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_websock_accept_request(ws, "chats", &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_websock_accept_request(ws, "other", NULL), ==, 0);
    CHECK_INT(qio_channel_websock_accept_request(ws, "chat", NULL), ==, -1);
    CHECK_INT(qio_channel_websock_reject_request(ws, 403, NULL, NULL), ==, -1);
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
    check_asked(ws, "protocol", "other");
    answer = take_answer(s->written);
    CHECK_INT(answer.status, ==, 101);
    CHECK_STR(field(&answer, "Sec-WebSocket-Protocol"), "other");
    g_strfreev(answer.lines);
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* The host of the target counts, and not the field (RFC 9112, 3.2.2). */
TEST(ws_request_with_a_whole_uri)
{
    static const struct {
        const char *target, *host, *path;
    } cases[] = {
        { "http://a.example:81/x?y", "a.example:81", "/x?y" },
        { "ws://b", "b", "/" },
        { "WSS://[::1]?q", "[::1]", "/?q" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Scripted *s = scripted_new();
        QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), ws_options("ws-request", "on", NULL), true);
        char *request = g_strdup_printf("GET %s HTTP/1.1\r\n" H U C K V "\r\n", cases[i].target);

        scripted_text(s, request);
        scripted_step(s, STEP_STALL);
        s->write_room = 4096;
        CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), 0, false, NULL), ==, 1);
        check_asked(ws, "path", cases[i].path);
        check_asked(ws, "Host", cases[i].host);
        g_free(request);
        qio_object_unref(ws);
        qio_object_unref(s);
    }
}

TEST(ws_request_is_rejected)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = asking(s, "\r\n");
    Error *err = NULL;
    Answer answer;

    CHECK_INT(qio_channel_websock_reject_request(ws, 200, NULL, NULL), ==, -1);
    CHECK_INT(qio_channel_websock_reject_request(ws, 600, NULL, NULL), ==, -1);
    CHECK_INT(qio_channel_websock_reject_request(ws, 403, "no\r\nX: y", NULL), ==, -1);
    CHECK_INT(qio_channel_websock_reject_request(ws, 403, "not you", NULL), ==, 0);
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_PROTOCOL);
    CHECK_INT(qio_error_get_number(err), ==, 403);
    qio_error_free(err);
    answer = take_answer(s->written);
    CHECK_INT(answer.status, ==, 403);
    CHECK_MEM(s->written->data + answer.head, "not you\n", 8);
    g_strfreev(answer.lines);
    qio_object_unref(ws);
    qio_object_unref(s);
}

/* ---- the deadline ---- */

static void check_deadline(bool server, int want_ms, int (*use)(QIOChannel *ioc, Error **errp))
{
    QIOChannel *a, *b;
    QIOChannelWebsock *ws;
    Error *err = NULL;

    testclock_install();
    pair(&a, &b);
    ws = ws_new(a, NULL, server);
    CHECK_INT(write(fd_of(b), "G", 1), ==, 1);
    CHECK_INT(use(QIO_CHANNEL(ws), &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), >=, want_ms);
    CHECK_INT(testclock_elapsed_ms(), <=, want_ms + 1000);
    qio_error_free(err);
    qio_object_unref(ws);
    drop(a, b);
    testclock_remove();
}

static int by_handshake(QIOChannel *ioc, Error **errp)
{
    return qio_channel_handshake(ioc, -1, false, errp);
}

static int by_read(QIOChannel *ioc, Error **errp)
{
    char byte;

    return (int)qio_channel_read(ioc, &byte, 1, errp);
}

static int by_write(QIOChannel *ioc, Error **errp)
{
    return (int)qio_channel_write(ioc, "x", 1, errp);
}

/* A watch or a plain wait ends, too, and the transfer then tells why. */
static int by_wait(QIOChannel *ioc, Error **errp)
{
    char byte;

    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN, -1, NULL) & G_IO_IN, ==, G_IO_IN);
    return (int)qio_channel_try_read(ioc, &byte, 1, errp);
}

TEST(ws_handshake_deadline)
{
    int (*const uses[])(QIOChannel *ioc, Error **errp) = { by_handshake, by_read, by_write,
                                                           by_wait };

    for (size_t i = 0; i < G_N_ELEMENTS(uses); i++) {
        test_note("way %zu", i);
        check_deadline(true, 10000, uses[i]);
        check_deadline(false, 30000, uses[i]);
    }
}

/* Drops, byte for byte of a slow peer, do not move the deadline. */
TEST(ws_handshake_deadline_is_total)
{
    QIOChannel *a, *b;
    QIOChannelWebsock *ws;
    Error *err = NULL;
    int ret = QIO_CHANNEL_ERR_BLOCK, sent = 0;

    testclock_install();
    pair(&a, &b);
    ws = ws_new(a, ws_options("handshake-timeout", "2.5", NULL), true);
    while (ret == QIO_CHANNEL_ERR_BLOCK) {
        CHECK_INT(write(fd_of(b), "GET / HTTP/1.1\r\n" + sent++, 1), ==, 1);
        ret = QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), &err);
        testclock_advance_ms(500);
    }
    CHECK_INT(ret, ==, -1);
    CHECK_INT(sent, ==, 6);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    qio_object_unref(ws);
    drop(a, b);
    testclock_remove();
}

/* ---- ends in each state ---- */

TEST(ws_handshake_states_end)
{
    static const char *const parts[] = { "", "GET / HT", WS_REQUEST, WS_REQUEST "\r\n" };

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        for (int how = 0; how < 3; how++) {
            QIOChannel *a, *b;
            QIOChannelWebsock *ws;
            char buf[1024];

            test_note("after %zu bytes, way %d", strlen(parts[i]), how);
            pair(&a, &b);
            ws = ws_new(a, NULL, true);
            CHECK_INT(write(fd_of(b), parts[i], strlen(parts[i])), ==, strlen(parts[i]));
            CHECK_INT(QIO_CHANNEL_GET_CLASS(ws)->io_handshake(QIO_CHANNEL(ws), NULL), ==,
                      i == 3 ? 0 : QIO_CHANNEL_ERR_BLOCK);
            if (how == 0) {
                CHECK_INT(qio_channel_close(QIO_CHANNEL(ws), NULL), ==, 0);
                CHECK(qio_channel_is_closed(a));
                CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), buf, 1, NULL), ==, -1);
                CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, -1);
            } else if (how == 1) {
                CHECK_INT(qio_channel_close(a, NULL), ==, 0);
                CHECK(qio_channel_is_closed(QIO_CHANNEL(ws)));
            }
            qio_object_unref(ws);
            qio_object_unref(a);
            /* Frames, or nothing, and then the end. */
            CHECK_INT(qio_channel_set_blocking(b, false, NULL), ==, 0);
            while (qio_channel_read(b, buf, sizeof(buf), NULL) > 0) {
            }
            CHECK_INT(qio_channel_read(b, buf, sizeof(buf), NULL), ==, 0);
            qio_object_unref(b);
        }
    }
}
