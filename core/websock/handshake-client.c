/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/handshake-client.c: what a client asks, and what it takes for an answer.
 *
 * Owns: the rules of RFC 6455, 4.1.  Rule: strict: only 101, the right Sec-WebSocket-Accept, no
 * subprotocol and no extension that was not asked for.
 */
#include <string.h>
#include "websock/websock-priv.h"

static void append_list(GString *text, const char *name, char **list)
{
    char *all = list && list[0] ? g_strjoinv(", ", list) : NULL;

    if (all) {
        g_string_append_printf(text, "%s: %s\r\n", name, all);
        g_free(all);
    }
}

int qio_ws_client_ask(QIOChannelWebsock *ws, Error **errp)
{
    const QIOWsSettings *settings = &ws->settings;
    guint8 nonce[16];
    GString *text;
    int ret;

    if (qio_ws_random(ws, nonce, sizeof(nonce), errp) < 0) {
        return -1;
    }
    ws->key = g_base64_encode(nonce, sizeof(nonce));
    text = g_string_new(NULL);
    g_string_append_printf(text,
                           "GET %s HTTP/1.1\r\n"
                           "Host: %s\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Key: %s\r\n"
                           "Sec-WebSocket-Version: 13\r\n",
                           settings->path, settings->host, ws->key);
    if (settings->origin) {
        g_string_append_printf(text, "Origin: %s\r\n", settings->origin);
    }
    append_list(text, "Sec-WebSocket-Protocol", settings->protocols);
    if (settings->deflate) {
        g_string_append(text, "Sec-WebSocket-Extensions: " QIO_WS_DEFLATE_NAME
                        "; client_max_window_bits\r\n");
    }
    g_string_append_printf(text, "%s\r\n", settings->headers);
    ret = qio_ws_queue(ws, text->str, text->len, errp);
    g_string_free(text, TRUE);
    return ret;
}

/* ---- the answer ---- */

static const char *judge_protocol(QIOChannelWebsock *ws)
{
    unsigned count;
    const char *chosen = qio_http_get(ws->head, "Sec-WebSocket-Protocol", &count);

    if (count == 0) {
        return NULL;
    }
    if (count > 1 || !ws->settings.protocols ||
        !g_strv_contains((const char *const *)ws->settings.protocols, chosen)) {
        return "a subprotocol was chosen that was not offered";
    }
    ws->protocol = g_strdup(chosen);
    return NULL;
}

static const char *judge_extensions(QIOChannelWebsock *ws)
{
    char *all = qio_http_get_all(ws->head, "Sec-WebSocket-Extensions");
    const char *list = all, *item, *problem = NULL;
    size_t len;

    while (all && !problem && qio_http_next_item(&list, &item, &len)) {
        if (!ws->settings.deflate || ws->agreed_deflate || !qio_ws_deflate_is(item, len)) {
            problem = "an extension was accepted that was not offered";
        } else if (!qio_ws_deflate_parse(item, len, false, &ws->terms)) {
            problem = "permessage-deflate was accepted with wrong parameters";
        }
        ws->agreed_deflate = true;
    }
    g_free(all);
    return problem;
}

static const char *judge(QIOChannelWebsock *ws)
{
    unsigned count;
    const char *accept = qio_http_get(ws->head, "Sec-WebSocket-Accept", &count);
    char *right = qio_ws_accept_value(ws->key);
    bool accepted = count == 1 && strcmp(accept, right) == 0;
    const char *problem;

    g_free(right);
    if (!qio_http_has_token(ws->head, "Upgrade", "websocket")) {
        return "no \"Upgrade: websocket\"";
    }
    if (!qio_http_has_token(ws->head, "Connection", "Upgrade")) {
        return "no \"Connection: Upgrade\"";
    }
    if (!accepted) {
        return "the Sec-WebSocket-Accept is not the one for our key";
    }
    problem = judge_protocol(ws);
    return problem ? problem : judge_extensions(ws);
}

int qio_ws_client_judge(QIOChannelWebsock *ws, const char *bytes, ssize_t length, Error **errp)
{
    const char *problem = ws->in.scan.problem;
    char reason[128];
    unsigned status;

    if (length > 0) {
        ws->head = qio_http_parse_response(bytes, (size_t)length, &status, &problem);
    }
    if (!ws->head) {
        qio_error_set_number(errp, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET,
                             QIO_WS_CLOSE_PROTOCOL, "no answer to a WebSocket handshake: %s",
                             problem);
        return -1;
    }
    if (ws->head->status != 101) {
        qio_error_set_number(errp, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET,
                             ws->head->status, "the server refuses the WebSocket with %u %s",
                             ws->head->status,
                             qio_escape_bytes(ws->head->reason, strlen(ws->head->reason), reason,
                                              sizeof(reason)));
        return -1;
    }
    problem = judge(ws);
    if (problem) {
        qio_error_set_number(errp, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET,
                             QIO_WS_CLOSE_PROTOCOL, "a wrong answer to the WebSocket handshake: %s",
                             problem);
        return -1;
    }
    ws->phase = QIO_WS_OPEN;
    return 0;
}
