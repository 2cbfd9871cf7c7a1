/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/handshake-server.c: what a server makes of a request.
 *
 * Owns: the rules of RFC 6455, 4.2, and the answers.  Rule: every request gets a complete answer,
 * 101 or a refusal with a body; a refusal says nothing of the request but a constant text.
 */
#include <string.h>
#include <time.h>
#include "websock/websock-priv.h"

/* Why a request is turned away. */
typedef struct Verdict {
    unsigned status;        /* 0 = it is not */
    const char *problem;
} Verdict;

/* ---- answers ---- */

static const char *phrase(unsigned status)
{
    static const struct { unsigned status; const char *text; } phrases[] = {
        { 301, "Moved Permanently" }, { 302, "Found" }, { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
        { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
        { 408, "Request Timeout" }, { 426, "Upgrade Required" }, { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
        { 503, "Service Unavailable" }, { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(phrases); i++) {
        if (phrases[i].status == status) {
            return phrases[i].text;
        }
    }
    return status < 400 ? "Redirect" : status < 500 ? "Client Error" : "Server Error";
}

/* The names are HTTP's, whatever the locale. */
static void append_date(GString *text)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct timespec now = { 0 };
    struct tm tm;

    sys_clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &tm)) {
        g_string_append_printf(text, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                               days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
                               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    }
}

/* Queues an answer that is all there is; without memory there is none, and the end all the same. */
static void queue_answer(QIOChannelWebsock *ws, GString *text)
{
    Error *err = NULL;

    ws->out.start = ws->out.end = 0;
    if (qio_ws_queue(ws, text->str, text->len, &err) < 0) {
        g_clear_pointer(&ws->refusal, qio_error_free);
        ws->refusal = err;
        ws->phase = QIO_WS_REFUSING;
    }
    g_string_free(text, TRUE);
    ws->kick = true;
}

static void refuse(QIOChannelWebsock *ws, unsigned status, const char *problem)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "HTTP/1.1 %u %s\r\n", status, phrase(status));
    append_date(text);
    if (status == 426) {
        g_string_append(text, "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n");
    } else if (status == 405) {
        g_string_append(text, "Allow: GET\r\n");
    }
    g_string_append_printf(text, "Connection: %sclose\r\n"
                           "Content-Type: text/plain; charset=utf-8\r\n"
                           "Content-Length: %zu\r\n\r\n%s\n", status == 426 ? "Upgrade, " : "",
                           strlen(problem) + 1, problem);
    ws->phase = QIO_WS_REFUSING;
    qio_error_set_number(&ws->refusal, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET, status,
                         "the WebSocket request was refused with %u: %s", status, problem);
    queue_answer(ws, text);
}

static void let_in(QIOChannelWebsock *ws)
{
    const char *key = qio_http_get(ws->head, "Sec-WebSocket-Key", NULL);
    char *accept = qio_ws_accept_value(key);
    GString *text = g_string_new("HTTP/1.1 101 Switching Protocols\r\n");
    char *extension = ws->agreed_deflate ? qio_ws_deflate_answer(&ws->terms) : NULL;

    append_date(text);
    g_string_append_printf(text, "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\n", accept);
    if (ws->protocol) {
        g_string_append_printf(text, "Sec-WebSocket-Protocol: %s\r\n", ws->protocol);
    }
    if (extension) {
        g_string_append_printf(text, "Sec-WebSocket-Extensions: %s\r\n", extension);
    }
    g_string_append_printf(text, "%s\r\n", ws->settings.headers);
    g_free(extension);
    g_free(accept);
    ws->phase = QIO_WS_WRITING;
    queue_answer(ws, text);
}

/* ---- the request ---- */

/* Base64 of 16 bytes, and the only way to write them. */
static bool is_key(const char *text)
{
    gsize len = 0;
    guchar *bytes = strlen(text) == 24 ? g_base64_decode(text, &len) : NULL;
    char *again = len == 16 ? g_base64_encode(bytes, len) : NULL;
    bool good = again && strcmp(again, text) == 0;

    g_free(bytes);
    g_free(again);
    return good;
}

/* Fields of which there may be one at most. */
static bool has_double(const QIOHttpHead *head)
{
    static const char *const single[] = {
        "Host", "Origin", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Content-Length",
    };
    unsigned count;

    for (size_t i = 0; i < G_N_ELEMENTS(single); i++) {
        qio_http_get(head, single[i], &count);
        if (count > 1) {
            return true;
        }
    }
    return false;
}

static bool has_body(const QIOHttpHead *head)
{
    const char *length = qio_http_get(head, "Content-Length", NULL);

    return (length && strcmp(length, "0") != 0) || qio_http_get(head, "Transfer-Encoding", NULL);
}

static Verdict judge(const QIOHttpHead *head)
{
    const char *host = qio_http_get(head, "Host", NULL);
    const char *version = qio_http_get(head, "Sec-WebSocket-Version", NULL);
    const char *key = qio_http_get(head, "Sec-WebSocket-Key", NULL);

    if (strcmp(head->method, "GET") != 0) {
        return (Verdict){ 405, "a WebSocket begins with GET" };
    }
    if (head->target[0] != '/') {
        return (Verdict){ 400, "the target is no path" };
    }
    if (has_double(head)) {
        return (Verdict){ 400, "a header field that may be there once is there twice" };
    }
    if (!host || host[0] == '\0') {
        return (Verdict){ 400, "there is no Host" };
    }
    if (has_body(head)) {
        return (Verdict){ 400, "the request has a body" };
    }
    if (!qio_http_has_token(head, "Upgrade", "websocket")) {
        return (Verdict){ 426, "this is a WebSocket: Upgrade has to name websocket" };
    }
    if (!qio_http_has_token(head, "Connection", "Upgrade")) {
        return (Verdict){ 400, "Connection has to name Upgrade" };
    }
    if (!version || strcmp(version, "13") != 0) {
        return (Verdict){ 426, "the WebSocket version is 13" };
    }
    if (!key || !is_key(key)) {
        return (Verdict){ 400, "Sec-WebSocket-Key has to be base64 of 16 bytes" };
    }
    return (Verdict){ 0, NULL };
}

/* Whether what is asked for is the path, or the path with a query. */
static bool is_path(const char *target, const char *path)
{
    size_t len = strlen(path);

    return strncmp(target, path, len) == 0 &&
           (target[len] == '\0' || (target[len] == '?' && !strchr(path, '?')));
}

/* ---- subprotocols ---- */

/* Looks through what is offered for the first that is in `list`, or is `wanted`.  Returns: it, for
 * the caller to free; *offers: whether anything is; *bad: something that is no token */
static char *choose(const QIOHttpHead *head, char **list, const char *wanted, bool *offers,
                    bool *bad)
{
    char *all = qio_http_get_all(head, "Sec-WebSocket-Protocol");
    const char *rest = all, *item;
    char *chosen = NULL;
    size_t len;

    *offers = all != NULL;
    *bad = false;
    while (all && qio_http_next_item(&rest, &item, &len)) {
        char *one = g_strndup(item, len);

        *bad |= !qio_http_is_token(item, len);
        if (!chosen && (wanted ? strcmp(one, wanted) == 0
                               : list && g_strv_contains((const char *const *)list, one))) {
            chosen = g_steal_pointer(&one);
        }
        g_free(one);
    }
    g_free(all);
    return chosen;
}

static void choose_extension(QIOChannelWebsock *ws)
{
    char *all = ws->settings.deflate ? qio_http_get_all(ws->head, "Sec-WebSocket-Extensions")
                                     : NULL;
    const char *list = all, *item;
    size_t len;

    while (all && !ws->agreed_deflate && qio_http_next_item(&list, &item, &len)) {
        ws->agreed_deflate = qio_ws_deflate_is(item, len) &&
                             qio_ws_deflate_parse(item, len, true, &ws->terms);
    }
    g_free(all);
}

/* ---- the answer ---- */

void qio_ws_server_answer(QIOChannelWebsock *ws, const char *bytes, ssize_t length)
{
    const char *problem = ws->in.scan.problem;
    unsigned status = ws->in.scan.status;
    bool offers, bad;
    Verdict verdict;

    if (length > 0) {
        ws->head = qio_http_parse_request(bytes, (size_t)length, &status, &problem);
    }
    if (!ws->head) {
        refuse(ws, status, problem);
        return;
    }
    verdict = judge(ws->head);
    if (verdict.status == 0) {
        ws->protocol = choose(ws->head, ws->settings.protocols, NULL, &offers, &bad);
        if (bad) {
            verdict = (Verdict){ 400, "an offered subprotocol is no token" };
        } else if (!ws->settings.ask && !is_path(ws->head->target, ws->settings.path)) {
            verdict = (Verdict){ 404, "there is no WebSocket at this path" };
        } else if (!ws->settings.ask && offers && !ws->protocol) {
            verdict = (Verdict){ 400, "none of the offered subprotocols is spoken here" };
        }
    }
    if (verdict.status != 0) {
        refuse(ws, verdict.status, verdict.problem);
        return;
    }
    choose_extension(ws);
    if (ws->settings.ask) {
        ws->phase = QIO_WS_ASKING;
        ws->kick = true;
    } else {
        let_in(ws);
    }
}

/* ---- the program's word ---- */

static bool is_asking(QIOChannelWebsock *ws, Error **errp)
{
    if (ws->phase != QIO_WS_ASKING || ws->failure) {
        qio_error_set(errp, QIO_ERROR_INVAL, "no request waits for an answer here");
        return false;
    }
    return true;
}

int qio_channel_websock_accept_request(QIOChannelWebsock *ws, const char *protocol, Error **errp)
{
    bool offers, bad;
    char *chosen = NULL;
    int ret = -1;

    if (qio_ws_enter(ws, true, errp) != 0) {
        return -1;
    }
    if (is_asking(ws, errp)) {
        if (protocol && protocol[0]) {
            chosen = choose(ws->head, NULL, protocol, &offers, &bad);
        }
        if (protocol && protocol[0] && !chosen) {
            char piece[64];

            qio_error_set(errp, QIO_ERROR_INVAL, "protocol: the client does not offer \"%s\"",
                          qio_escape_bytes(protocol, strlen(protocol), piece, sizeof(piece)));
        } else {
            if (protocol) {
                g_free(ws->protocol);
                ws->protocol = chosen;
            }
            let_in(ws);
            ret = 0;
        }
    }
    qio_ws_leave(ws);
    return ret;
}

int qio_channel_websock_reject_request(QIOChannelWebsock *ws, unsigned http_status,
                                       const char *reason, Error **errp)
{
    int ret = -1;

    if (http_status < 300 || http_status > 599) {
        qio_error_set(errp, QIO_ERROR_INVAL, "http_status: %u is not in 300 to 599", http_status);
        return -1;
    }
    for (const unsigned char *p = (const unsigned char *)reason; p && *p; p++) {
        if (*p < ' ' || *p == 0x7f) {
            qio_error_set(errp, QIO_ERROR_INVAL, "reason: has a control byte");
            return -1;
        }
    }
    if (qio_ws_enter(ws, true, errp) != 0) {
        return -1;
    }
    if (is_asking(ws, errp)) {
        refuse(ws, http_status, reason ? reason : phrase(http_status));
        ret = 0;
    }
    qio_ws_leave(ws);
    return ret;
}
