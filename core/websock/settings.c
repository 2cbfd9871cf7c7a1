/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/settings.c: what a WebSocket is asked to be.
 *
 * Owns: QIOWsSettings, and the rule that nothing gets into an HTTP header that could end a line, a
 * list or a request: it is checked before a byte is sent.  One thread, at birth.
 */
#include <string.h>
#include "websock/websock-priv.h"

enum {
    SERVER_HANDSHAKE_MS = 10 * 1000,
    CLIENT_HANDSHAKE_MS = 30 * 1000,
    HEADERS_MAX = 6 * 1024,             /* of extra lines: the rest fits into 8 KiB with them */
    TEXT_MAX = 1024,
};

/* Fields that the handshake is made of, or that would change what follows it. */
static const char *const own_fields[] = {
    "Connection", "Content-Length", "Host", "Sec-WebSocket-Accept", "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Transfer-Encoding",
    "Upgrade",
};

/* Only what can be seen, no spaces. */
static bool is_visible(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p <= ' ' || *p > '~') {
            return false;
        }
    }
    return text[0] != '\0' && strlen(text) <= TEXT_MAX;
}

static int take_text(char **to, const char *key, const char *value, Error **errp)
{
    char piece[64];

    if (!is_visible(value)) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "%s: 1 to %d printable ASCII characters without spaces, not \"%s\"", key,
                      TEXT_MAX, qio_escape_bytes(value, strlen(value), piece, sizeof(piece)));
        return -1;
    }
    *to = g_strdup(value);
    return 0;
}

static int take_path(QIOWsSettings *settings, const char *path, Error **errp)
{
    if (path[0] != '/' || strchr(path, '#')) {
        char piece[64];

        qio_error_set(errp, QIO_ERROR_INVAL, "ws-path: begins with / and has no #, not \"%s\"",
                      qio_escape_bytes(path, strlen(path), piece, sizeof(piece)));
        return -1;
    }
    return take_text(&settings->path, "ws-path", path, errp);
}

static int take_protocols(QIOWsSettings *settings, const char *const *list, Error **errp)
{
    size_t total = 0;

    for (size_t i = 0; list && list[i]; i++) {
        total += strlen(list[i]);
        if (!qio_http_is_token(list[i], strlen(list[i])) || total > TEXT_MAX) {
            char piece[64];

            qio_error_set(errp, QIO_ERROR_INVAL, "ws-protocol: a token of HTTP, at most %d bytes "
                          "of them in all, not \"%s\"", TEXT_MAX,
                          qio_escape_bytes(list[i], strlen(list[i]), piece, sizeof(piece)));
            return -1;
        }
    }
    settings->protocols = g_strdupv((char **)list);
    return 0;
}

static bool is_own_field(const char *name, size_t len)
{
    for (size_t i = 0; i < G_N_ELEMENTS(own_fields); i++) {
        if (strlen(own_fields[i]) == len && g_ascii_strncasecmp(own_fields[i], name, len) == 0) {
            return true;
        }
    }
    return false;
}

static const char *judge_header(const char *line, size_t before)
{
    const char *colon = strchr(line, ':');

    if (!colon || !qio_http_is_token(line, (size_t)(colon - line))) {
        return "\"Name: value\" is wanted";
    }
    if (is_own_field(line, (size_t)(colon - line))) {
        return "this field is the handshake's own";
    }
    for (const unsigned char *p = (const unsigned char *)colon; *p; p++) {
        if ((*p < ' ' && *p != '\t') || *p == 0x7f) {
            return "a control byte";
        }
    }
    return before + strlen(line) > HEADERS_MAX ? "more than 6 KiB of headers" : NULL;
}

static int take_headers(QIOWsSettings *settings, const char *const *list, Error **errp)
{
    GString *lines = g_string_new(NULL);

    for (size_t i = 0; list && list[i]; i++) {
        const char *problem = judge_header(list[i], lines->len);
        char piece[64];

        if (i >= QIO_HTTP_FIELDS_MAX / 2) {
            problem = "more than 32 headers";
        }
        if (problem) {
            qio_error_set(errp, QIO_ERROR_INVAL, "ws-header: %s, in \"%s\"", problem,
                          qio_escape_bytes(list[i], strlen(list[i]), piece, sizeof(piece)));
            g_string_free(lines, TRUE);
            return -1;
        }
        g_string_append(lines, list[i]);
        g_string_append(lines, "\r\n");
    }
    settings->headers = g_string_free(lines, FALSE);
    return 0;
}

int qio_ws_settings_take(QIOWsSettings *settings, const QIOOptions *options, bool server,
                         Error **errp)
{
    static const char *const served[] = { "binary", NULL };
    const char *const *protocols = qio_options_get_list(options, "ws-protocol");
    const char *origin = qio_options_get_str(options, "ws-origin", NULL);

    settings->ask = server && qio_options_get_bool(options, "ws-request", false);
    settings->deflate = qio_options_get_bool(options, "ws-deflate", false);
    settings->max_message = (uint64_t)qio_options_get_int(options, "ws-max-message",
                                                          QIO_WS_MESSAGE_MAX);
    settings->max_inflated = (uint64_t)qio_options_get_int(options, "ws-max-inflated",
                                                           QIO_WS_MESSAGE_MAX);
    settings->timeout_ms = qio_options_get_ms(options, "handshake-timeout",
                                              server ? SERVER_HANDSHAKE_MS : CLIENT_HANDSHAKE_MS);
    if (!protocols && server) {
        protocols = served;
    }
    if (take_path(settings, qio_options_get_str(options, "ws-path", "/"), errp) < 0 ||
        take_text(&settings->host, "ws-host",
                  qio_options_get_str(options, "ws-host", "localhost"), errp) < 0 ||
        (origin && take_text(&settings->origin, "ws-origin", origin, errp) < 0) ||
        take_protocols(settings, protocols, errp) < 0) {
        return -1;
    }
    return take_headers(settings, qio_options_get_list(options, "ws-header"), errp);
}

void qio_ws_settings_free(QIOWsSettings *settings)
{
    g_free(settings->path);
    g_free(settings->host);
    g_free(settings->origin);
    g_strfreev(settings->protocols);
    g_free(settings->headers);
}
