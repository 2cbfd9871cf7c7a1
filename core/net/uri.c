/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/uri.c: the grammar of URIs.
 *
 * Owns: parsing and printing: scheme ":" what "?" key "=" value "&" ...  What stands between
 * scheme and query is an address (address.c reads it), a path, or nothing.
 * Rules: one left-to-right pass, pure functions over the text, any thread.  Everything is
 * said in one way only: no user info, no fragment, no empty pair, no raw space or control
 * byte, no NUL in any form.  A position counts bytes from 0.
 */
#include "net/net-priv.h"

#include <string.h>

static const char *const scheme_names[] = {
    [QIO_SCHEME_TCP] = "tcp",
    [QIO_SCHEME_UNIX] = "unix",
    [QIO_SCHEME_ABSTRACT] = "abstract",
    [QIO_SCHEME_VSOCK] = "vsock",
    [QIO_SCHEME_FD] = "fd",
    [QIO_SCHEME_FILE] = "file",
    [QIO_SCHEME_EXEC] = "exec",
    [QIO_SCHEME_NULL] = "null",
    [QIO_SCHEME_BUFFER] = "buffer",
    NULL
};

#define SUPPORTED "tcp, unix, abstract, vsock, fd, file, exec, null and buffer"

/* The register of keys has a bit for each scheme. */
G_STATIC_ASSERT((int)QIO_FOR_TCP == (int)QIO_SCHEME_TCP);
G_STATIC_ASSERT((int)QIO_FOR_FILE == (int)QIO_SCHEME_FILE);
G_STATIC_ASSERT((int)QIO_FOR_BUFFER == (int)QIO_SCHEME_BUFFER);

const char *qio_scheme_name(QIOScheme scheme)
{
    return scheme_names[scheme];
}

/* Reports what is wrong with text[from, to). */
static void fault(Error **errp, const char *text, size_t from, size_t to, const char *what)
{
    char piece[64];

    qio_error_set(errp, QIO_ERROR_INVAL, "URI at position %zu: \"%s\": %s", from,
                  qio_escape_bytes(text + from, to - from, piece, sizeof(piece)), what);
}

/* Moves an error about a key or value up, with its place. */
static void fault_at(Error **errp, Error *err, size_t position)
{
    qio_error_prepend(err, "URI at position %zu: ", position);
    qio_error_propagate(errp, err);
}

/* Whether every byte may stand in a URI at all, and every '%' starts an escape. */
static bool check_bytes(const char *text, Error **errp)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte <= ' ' || byte == 0x7f) {
            fault(errp, text, i, i + 1, "a space or control byte has to be written as %XX");
            return false;
        }
        if (byte == '#') {
            fault(errp, text, i, len, "there are no fragments; a '#' has to be written as %23");
            return false;
        }
        if (byte == '%') {
            int high = g_ascii_xdigit_value(text[i + 1]);
            int low = high < 0 ? -1 : g_ascii_xdigit_value(text[i + 2]);

            if (low < 0) {
                fault(errp, text, i, MIN(i + 3, len), "two hexadecimal digits have to follow "
                      "a '%', which itself is written as %25");
                return false;
            }
        }
    }
    return true;
}

/* Decodes text[from, to), whose escapes check_bytes() has seen; NULL when there is a NUL byte. */
static char *decode(const char *text, size_t from, size_t to, Error **errp)
{
    char *out = g_malloc(to - from + 1);
    size_t n = 0;

    while (from < to) {
        if (text[from] != '%') {
            out[n++] = text[from++];
            continue;
        }
        out[n] = (char)(g_ascii_xdigit_value(text[from + 1]) << 4 |
                        g_ascii_xdigit_value(text[from + 2]));
        if (out[n++] == '\0') {
            fault(errp, text, from, from + 3, "a NUL byte cannot be part of it");
            g_free(out);
            return NULL;
        }
        from += 3;
    }
    out[n] = '\0';
    return out;
}

/* A layer or scheme that this library has no code for is told from a slip of the pen. */
static bool is_layered(const char *scheme)
{
    return strchr(scheme, '+') != NULL || strcmp(scheme, "tls") == 0 ||
           strcmp(scheme, "ws") == 0 || strcmp(scheme, "wss") == 0;
}

/* The scheme at the start; *end is the position of its colon.  -1 on error. */
static int parse_scheme(const char *text, size_t *end, Error **errp)
{
    char piece[64];
    char *scheme;

    *end = strcspn(text, ":/?");
    if (text[*end] != ':') {
        fault(errp, text, 0, *end, "a ':' has to follow the scheme, which is one of " SUPPORTED);
        return -1;
    }
    for (int i = 0; scheme_names[i] != NULL; i++) {
        if (strlen(scheme_names[i]) == *end && memcmp(text, scheme_names[i], *end) == 0) {
            return i;
        }
    }
    scheme = g_strndup(text, *end);
    qio_escape_bytes(text, *end, piece, sizeof(piece));
    if (is_layered(scheme)) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "URI at position 0: \"%s\" is not among the "
                      "supported schemes " SUPPORTED, piece);
    } else {
        qio_error_set(errp, QIO_ERROR_INVAL, "URI at position 0: unknown scheme \"%s\"; the "
                      "nearest is \"%s\"", piece, qio_nearest_name(scheme, scheme_names));
    }
    g_free(scheme);
    return -1;
}

static bool parse_path(QIOUri *uri, const char *text, size_t from, size_t to, Error **errp)
{
    if (from == to) {
        fault(errp, text, 0, to, uri->scheme == QIO_SCHEME_EXEC ? "the program is missing"
                                                                : "the path is missing");
        return false;
    }
    if (to - from >= 2 && text[from] == '/' && text[from + 1] == '/') {
        fault(errp, text, from, to, "there is no host here; a path has one '/' in front");
        return false;
    }
    uri->path = decode(text, from, to, errp);
    return uri->path != NULL;
}

/* What stands between the scheme's colon and the query. */
static bool parse_target(QIOUri *uri, const char *text, size_t from, size_t to, Error **errp)
{
    char *target;

    switch (uri->scheme) {
    case QIO_SCHEME_FILE:
    case QIO_SCHEME_EXEC:
        return parse_path(uri, text, from, to, errp);
    case QIO_SCHEME_NULL:
    case QIO_SCHEME_BUFFER:
        if (from != to) {
            fault(errp, text, from, to, "nothing but a query may follow here");
        }
        return from == to;
    default:
        target = g_strndup(text, to);
        uri->address = qio_address_parse(target, errp);
        g_free(target);
        return uri->address != NULL;
    }
}

/* Whether the key may be given here. */
static bool check_key(QIOUri *uri, const QIOOptionKey *key, Error **errp)
{
    if (!key->in_uri) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" cannot be part of a URI, only of "
                      "the caller's options", key->name);
        return false;
    }
    if (!(key->uses & QIO_FOR_BIT(uri->scheme))) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" has no use with %s:", key->name,
                      scheme_names[uri->scheme]);
        return false;
    }
    if (!key->list && qio_options_has(uri->options, key->name)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" is given twice and takes one value",
                      key->name);
        return false;
    }
    return true;
}

/* One key=value, text[from, to). */
static bool parse_pair(QIOUri *uri, const char *text, size_t from, size_t to, Error **errp)
{
    const char *equals = memchr(text + from, '=', to - from);
    const QIOOptionKey *key;
    Error *err = NULL;
    size_t value_at;
    char *name, *value;

    if (equals == NULL || equals == text + from) {
        fault(errp, text, from, to, "a query is made of key=value pairs with '&' between them");
        return false;
    }
    value_at = (size_t)(equals - text) + 1;
    name = g_strndup(text + from, value_at - 1 - from);
    key = qio_option_key_find(name, &err);
    g_free(name);
    if (key == NULL || !check_key(uri, key, &err)) {
        fault_at(errp, err, from);
        return false;
    }
    value = decode(text, value_at, to, errp);
    if (value == NULL) {
        return false;
    }
    if (qio_options_add_str(uri->options, key->name, value, &err) < 0) {
        fault_at(errp, err, value_at);
    }
    g_free(value);
    return err == NULL;
}

static bool parse_query(QIOUri *uri, const char *text, size_t from, Error **errp)
{
    for (;;) {
        size_t to = from + strcspn(text + from, "&");

        if (!parse_pair(uri, text, from, to, errp)) {
            return false;
        }
        if (text[to] == '\0') {
            return true;
        }
        from = to + 1;
    }
}

QIOUri *qio_uri_parse(const char *text, Error **errp)
{
    QIOUri *uri;
    size_t colon, query;
    int scheme;

    if (text == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the URI is NULL");
        return NULL;
    }
    if (!check_bytes(text, errp)) {
        return NULL;
    }
    scheme = parse_scheme(text, &colon, errp);
    if (scheme < 0) {
        return NULL;
    }
    uri = g_new0(QIOUri, 1);
    uri->scheme = (QIOScheme)scheme;
    uri->options = qio_options_new();
    query = strcspn(text, "?");
    if (!parse_target(uri, text, colon + 1, query, errp) ||
        (text[query] == '?' && !parse_query(uri, text, query + 1, errp))) {
        qio_uri_free(uri);
        return NULL;
    }
    return uri;
}

void qio_uri_free(QIOUri *uri)
{
    if (uri == NULL) {
        return;
    }
    qio_address_free(uri->address);
    g_free(uri->path);
    qio_options_free(uri->options);
    g_free(uri);
}

static void append_encoded(GString *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (g_ascii_isalnum(byte) || strchr("-._~/:@,=+", byte) != NULL) {
            g_string_append_c(out, (char)byte);
        } else {
            g_string_append_printf(out, "%%%02X", byte);
        }
    }
}

static void append_path(GString *out, const char *path)
{
    if (path[0] == '/' && path[1] == '/') {
        g_string_append(out, "/%2F");
        path += 2;
    }
    append_encoded(out, path);
}

static void append_query(GString *out, const QIOOptions *options)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);
    char separator = '?';

    for (size_t i = 0; i < count; i++) {
        const char *const *values = qio_options_get_list(options, keys[i].name);

        for (; keys[i].in_uri && values != NULL && *values != NULL; values++) {
            g_string_append_printf(out, "%c%s=", separator, keys[i].name);
            append_encoded(out, *values);
            separator = '&';
        }
    }
}

char *qio_uri_format(const QIOUri *uri)
{
    GString *out = g_string_new(NULL);
    char *address;

    if (uri->address != NULL) {
        address = qio_address_format(uri->address);
        g_string_append(out, address);
        g_free(address);
    } else {
        g_string_append_printf(out, "%s:", scheme_names[uri->scheme]);
        if (uri->path != NULL) {
            append_path(out, uri->path);
        }
    }
    append_query(out, uri->options);
    return g_string_free(out, FALSE);
}
