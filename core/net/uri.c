/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/uri.c: the grammar of URIs.
 *
 * Owns: parsing and printing: layer "+" ... scheme ":" what "?" key "=" value "&" ...  What stands
 * between scheme and query is an address (address-text.c reads it), a path, or nothing.  ws:// and
 * wss:// are another spelling of layers over tcp://, and the one that is printed.
 * Rules: one left-to-right pass, pure functions over the text, any thread.  Everything is
 * said in one way only: no user info, no fragment, no empty pair, no raw space or control
 * byte, no NUL in any form.  A position counts bytes from 0.
 */
#include "net/layers.h"

#include <string.h>
#include "channel/address-priv.h"

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

static const char *const layer_names[] = {
    [QIO_LAYER_TLS] = "tls",
    [QIO_LAYER_WS] = "ws",
    NULL
};

static const uint32_t layer_uses[] = {
    [QIO_LAYER_TLS] = QIO_FOR_BIT(QIO_FOR_TLS) | QIO_FOR_BIT(QIO_FOR_CREDS),
    [QIO_LAYER_WS] = QIO_FOR_BIT(QIO_FOR_WS),
};

/* All that may stand in front of a colon, for the nearest one. */
static const char *const first_names[] = {
    "tcp", "unix", "abstract", "vsock", "fd", "file", "exec", "null", "buffer", "ws", "wss", NULL
};

#define SUPPORTED "tcp, unix, abstract, vsock, fd, file, exec, null, buffer, ws and wss"

/* The register of keys has a bit for each scheme. */
G_STATIC_ASSERT((int)QIO_FOR_TCP == (int)QIO_SCHEME_TCP);
G_STATIC_ASSERT((int)QIO_FOR_FILE == (int)QIO_SCHEME_FILE);
G_STATIC_ASSERT((int)QIO_FOR_BUFFER == (int)QIO_SCHEME_BUFFER);

const char *qio_scheme_name(QIOScheme scheme)
{
    return scheme_names[scheme];
}

bool qio_uri_has_layer(const QIOUri *uri, QIOLayer layer)
{
    for (unsigned i = 0; i < uri->layer_count; i++) {
        if (uri->layers[i] == layer) {
            return true;
        }
    }
    return false;
}

uint32_t qio_uri_uses(const QIOUri *uri)
{
    uint32_t uses = QIO_FOR_BIT(uri->scheme);

    for (unsigned i = 0; i < uri->layer_count; i++) {
        uses |= layer_uses[uri->layers[i]];
    }
    return uses;
}

char *qio_uri_describe(const QIOUri *uri)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < uri->layer_count; i++) {
        g_string_append_printf(out, "%s+", layer_names[uri->layers[i]]);
    }
    g_string_append_printf(out, "%s:", scheme_names[uri->scheme]);
    return g_string_free(out, FALSE);
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

/* ---- layers and scheme ---- */

static int find_name(const char *const *names, const char *text, size_t len)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strlen(names[i]) == len && memcmp(text, names[i], len) == 0) {
            return i;
        }
    }
    return -1;
}

/* hint: what else may help */
static void unknown_name(Error **errp, const char *text, size_t from, size_t to, const char *kind,
                         const char *const *names, const char *hint)
{
    char *name = g_strndup(text + from, to - from);
    char piece[64];

    qio_error_set(errp, QIO_ERROR_INVAL, "URI at position %zu: unknown %s \"%s\"; the nearest is "
                  "\"%s\"; %s", from, kind,
                  qio_escape_bytes(name, to - from, piece, sizeof(piece)),
                  qio_nearest_name(name, names), hint);
    g_free(name);
}

static const char *layer_hint(const char *text, size_t from, size_t to)
{
    return find_name(first_names, text + from, to - from) >= 0
        ? "layers stand in front of the scheme, as in tls+tcp://host:port"
        : "there are the layers tls and ws";
}

/* Of what others call so, and of a host where the scheme should be. */
static const char *scheme_hint(const char *text, size_t from, size_t to)
{
    static const char *const with_tls[] = { "tls", "ssl", "tcps", NULL };

    if (find_name(with_tls, text + from, to - from) >= 0) {
        return "TLS is a layer in front of a scheme, as in tls+tcp://host:port";
    }
    if (g_ascii_isdigit(text[to + 1])) {
        return "a host and a port are written tcp://host:port";
    }
    return "there are " SUPPORTED;
}

static bool add_layer(QIOUri *uri, QIOLayer layer, const char *text, size_t from, size_t to,
                      Error **errp)
{
    if (uri->layer_count == QIO_LAYERS_MAX) {
        fault(errp, text, from, to, "there are more than "
              G_STRINGIFY(QIO_LAYERS_MAX) " layers");
        return false;
    }
    uri->layers[uri->layer_count++] = layer;
    return true;
}

/* The layers in front, "tls+ws+".  *at moves to the scheme. */
static bool parse_layers(QIOUri *uri, const char *text, size_t *at, Error **errp)
{
    for (;;) {
        size_t end = *at + strcspn(text + *at, "+:/?");
        int layer;

        if (text[end] != '+') {
            return true;
        }
        layer = find_name(layer_names, text + *at, end - *at);
        if (layer < 0) {
            unknown_name(errp, text, *at, end, "layer", layer_names, layer_hint(text, *at, end));
            return false;
        }
        if (!add_layer(uri, (QIOLayer)layer, text, *at, end + 1, errp)) {
            return false;
        }
        *at = end + 1;
    }
}

/* The scheme at text[from], which for ws:// and wss:// has layers too (*port is their usual port,
 * else 0).  *end is the position of its colon. */
static bool parse_scheme(QIOUri *uri, const char *text, size_t from, size_t *end, uint32_t *port,
                         Error **errp)
{
    int scheme;

    *port = 0;
    *end = from + strcspn(text + from, ":/?");
    if (text[*end] != ':') {
        fault(errp, text, from, *end, text[from] == '/'
              ? "a ':' has to follow the scheme; a path is written file:/path, that of a socket "
                "unix:/path"
              : "a ':' has to follow the scheme, which is one of " SUPPORTED);
        return false;
    }
    scheme = find_name(scheme_names, text + from, *end - from);
    if (scheme >= 0) {
        uri->scheme = (QIOScheme)scheme;
        return true;
    }
    if (find_name(first_names, text + from, *end - from) < 0) {
        unknown_name(errp, text, from, *end, "scheme", first_names,
                     scheme_hint(text, from, *end));
        return false;
    }
    uri->scheme = QIO_SCHEME_TCP;
    *port = *end - from == strlen("ws") ? 80 : 443;
    return add_layer(uri, QIO_LAYER_WS, text, from, *end, errp) &&
           (*port == 80 || add_layer(uri, QIO_LAYER_TLS, text, from, *end, errp));
}

/* ---- what it names ---- */

static bool parse_path(QIOUri *uri, const char *text, size_t scheme, size_t from, size_t to,
                       Error **errp)
{
    if (from == to) {
        fault(errp, text, scheme, to, uri->scheme == QIO_SCHEME_EXEC ? "the program is missing"
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

static bool add_value(QIOUri *uri, const QIOOptionKey *key, const char *value, Error **errp)
{
    return qio_options_add_str(uri->options, key->name, value, errp) == 0 &&
           qio_layers_check_value(key, value, errp);
}

/* "//host:port/path" of ws: and wss:, where the port and the path may be missing.  The path is
 * taken as it is, since a server is to see the escapes that were written. */
static bool parse_web(QIOUri *uri, const char *text, size_t from, size_t to, uint32_t port,
                      Error **errp)
{
    size_t host = from + 2;
    size_t slash = host + strcspn(text + host, "/?");
    const char *bracket, *colon;
    Error *err = NULL;
    char *target, *path;

    if (strncmp(text + from, "//", 2) != 0) {
        fault(errp, text, from, to, "\"//\" and a host have to follow here");
        return false;
    }
    target = g_strndup(text, slash);
    bracket = strchr(target + host, ']');
    colon = strchr(bracket != NULL ? bracket : target + host, ':');
    if (colon == NULL && (bracket == NULL || bracket[1] == '\0')) {
        char *whole = g_strdup_printf("%s:%u", target, port);

        g_free(target);
        target = whole;
    }
    uri->address = qio_address_parse_inet_at(target, host, errp);
    g_free(target);
    if (uri->address == NULL || slash == to) {
        return uri->address != NULL;
    }
    path = g_strndup(text + slash, to - slash);
    if (!add_value(uri, qio_option_key_find("ws-path", NULL), path, &err)) {
        fault_at(errp, err, slash);
    }
    g_free(path);
    return err == NULL;
}

/* What stands between the scheme's colon and the query; the scheme starts at text[scheme]. */
static bool parse_target(QIOUri *uri, const char *text, size_t scheme, size_t from, size_t to,
                         Error **errp)
{
    char *target;

    switch (uri->scheme) {
    case QIO_SCHEME_FILE:
    case QIO_SCHEME_EXEC:
        return parse_path(uri, text, scheme, from, to, errp);
    case QIO_SCHEME_NULL:
    case QIO_SCHEME_BUFFER:
        if (from != to) {
            fault(errp, text, from, to, "nothing but a query may follow here");
        }
        return from == to;
    default:
        target = g_strndup(text, to);
        uri->address = qio_address_parse_at(target, scheme, errp);
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
    if (!(key->uses & qio_uri_uses(uri))) {
        char *what = qio_uri_describe(uri);

        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" has no use with %s", key->name,
                      what);
        g_free(what);
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
    if (!add_value(uri, key, value, &err)) {
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

static bool parse_parts(QIOUri *uri, const char *text, Error **errp)
{
    size_t query = strcspn(text, "?");
    size_t scheme = 0;
    size_t colon;
    uint32_t port;

    if (!parse_layers(uri, text, &scheme, errp) ||
        !parse_scheme(uri, text, scheme, &colon, &port, errp)) {
        return false;
    }
    if (port != 0 ? !parse_web(uri, text, colon + 1, query, port, errp)
                  : !parse_target(uri, text, scheme, colon + 1, query, errp)) {
        return false;
    }
    return text[query] == '\0' || parse_query(uri, text, query + 1, errp);
}

QIOUri *qio_uri_parse(const char *text, Error **errp)
{
    QIOUri *uri;

    if (text == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the URI is NULL");
        return NULL;
    }
    if (!check_bytes(text, errp)) {
        return NULL;
    }
    uri = g_new0(QIOUri, 1);
    uri->options = qio_options_new();
    if (!parse_parts(uri, text, errp)) {
        qio_uri_free(uri);
        return NULL;
    }
    return uri;
}

size_t qio_uri_find_key(const char *text, const char *name)
{
    const char *p = text + strcspn(text, "?");
    size_t len = strlen(name);

    while (*p != '\0' && (strncmp(p + 1, name, len) != 0 || p[1 + len] != '=')) {
        p += 1 + strcspn(p + 1, "&");
    }
    return *p != '\0' ? (size_t)(p + 1 - text) : 0;
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

/* skipped: a key that has been said already, or NULL */
static void append_query(GString *out, const QIOOptions *options, const char *skipped)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);
    char separator = '?';

    for (size_t i = 0; i < count; i++) {
        const char *const *values = qio_options_get_list(options, keys[i].name);

        if (!keys[i].in_uri || g_strcmp0(keys[i].name, skipped) == 0) {
            continue;
        }
        for (; values != NULL && *values != NULL; values++) {
            g_string_append_printf(out, "%c%s=", separator, keys[i].name);
            append_encoded(out, *values);
            separator = '&';
        }
    }
}

/* How many of the innermost layers ws: or wss: says together with tcp:. */
static unsigned web_layers(const QIOUri *uri)
{
    unsigned n = uri->layer_count;
    bool tls = n > 0 && uri->layers[n - 1] == QIO_LAYER_TLS;
    const char *path;

    if (uri->scheme != QIO_SCHEME_TCP || n < 1u + tls || uri->layers[n - 1 - tls] != QIO_LAYER_WS) {
        return 0;
    }
    path = qio_options_get_str(uri->options, "ws-path", "/");
    if (path[0] != '/' || strpbrk(path, "?#") != NULL || !check_bytes(path, NULL)) {
        return 0;
    }
    return 1u + tls;
}

char *qio_uri_format(const QIOUri *uri)
{
    unsigned web = web_layers(uri);
    GString *out = g_string_new(NULL);
    char *address = uri->address != NULL ? qio_address_format(uri->address) : NULL;

    for (unsigned i = 0; i + web < uri->layer_count; i++) {
        g_string_append_printf(out, "%s+", layer_names[uri->layers[i]]);
    }
    if (web > 0) {
        g_string_append_printf(out, "%s%s%s", web == 1 ? "ws" : "wss", address + strlen("tcp"),
                               qio_options_get_str(uri->options, "ws-path", ""));
    } else if (address != NULL) {
        g_string_append(out, address);
    } else {
        g_string_append_printf(out, "%s:", scheme_names[uri->scheme]);
        if (uri->path != NULL) {
            append_path(out, uri->path);
        }
    }
    append_query(out, uri->options, web > 0 ? "ws-path" : NULL);
    g_free(address);
    return g_string_free(out, FALSE);
}
