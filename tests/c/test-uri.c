/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-uri.c: the grammar of URIs: what is read, where a fault is said to be, and that what
 * was printed reads back equal.
 *
 * Owns: the table of bad URIs with the place of the fault, a generator of good ones and one of
 * junk.  Both are seeded; a failure shows the URI.
 */
#include "options-equal.h"
#include "runner.h"
#include "net/net-priv.h"

#include <stdlib.h>

/* ---- what is read ---- */

static QIOUri *parse(const char *text)
{
    Error *err = NULL;
    QIOUri *uri = qio_uri_parse(text, &err);

    if (uri == NULL) {
        test_fail(__FILE__, __LINE__, "%s: %s", text, qio_error_get_pretty(err));
    }
    return uri;
}

TEST(addresses)
{
    QIOUri *uri = parse("tcp://127.0.0.1:43211?nodelay=on&timeout=2.5");

    CHECK_INT(uri->scheme, ==, QIO_SCHEME_TCP);
    CHECK_STR(uri->address->host, "127.0.0.1");
    CHECK_INT(uri->address->port, ==, 43211);
    CHECK(qio_options_get_bool(uri->options, "nodelay", false));
    CHECK_INT(qio_options_get_ms(uri->options, "timeout", 0), ==, 2500);
    qio_uri_free(uri);

    uri = parse("tcp://[::1]:80");
    CHECK_STR(uri->address->host, "::1");
    qio_uri_free(uri);

    uri = parse("tcp://:0");
    CHECK_STR(uri->address->host, "");
    qio_uri_free(uri);

    uri = parse("unix:/run/a%20b%3f.sock?backlog=3");
    CHECK_INT(uri->scheme, ==, QIO_SCHEME_UNIX);
    CHECK_STR(uri->address->path, "/run/a b?.sock");
    CHECK_INT(qio_options_get_int(uri->options, "backlog", 0), ==, 3);
    qio_uri_free(uri);

    uri = parse("abstract:name");
    CHECK_INT(uri->scheme, ==, QIO_SCHEME_ABSTRACT);
    CHECK_MEM(uri->address->path, "name", 4);
    qio_uri_free(uri);

    uri = parse("vsock://3:1024");
    CHECK_INT(uri->address->cid, ==, 3);
    CHECK_INT(uri->address->port, ==, 1024);
    qio_uri_free(uri);

    uri = parse("fd:0");
    CHECK_INT(uri->scheme, ==, QIO_SCHEME_FD);
    CHECK_INT(uri->address->fd, ==, 0);
    qio_uri_free(uri);
}

TEST(paths_and_programs)
{
    QIOUri *uri = parse("file:/tmp/100%25?mode=rw&permissions=600");

    CHECK_INT(uri->scheme, ==, QIO_SCHEME_FILE);
    CHECK_PTR(uri->address, ==, NULL);
    CHECK_STR(uri->path, "/tmp/100%");
    CHECK_INT(qio_options_get_int(uri->options, "permissions", 0), ==, 0600);
    qio_uri_free(uri);

    uri = parse("file:relative/name");
    CHECK_STR(uri->path, "relative/name");
    qio_uri_free(uri);

    uri = parse("exec:sh?arg=-c&arg=echo%20%22$A%22%26&arg=&env=A=b%3Dc");
    CHECK_INT(uri->scheme, ==, QIO_SCHEME_EXEC);
    CHECK_STR(uri->path, "sh");
    CHECK_STR(qio_options_get_list(uri->options, "arg")[0], "-c");
    CHECK_STR(qio_options_get_list(uri->options, "arg")[1], "echo \"$A\"&");
    CHECK_STR(qio_options_get_list(uri->options, "arg")[2], "");
    CHECK_PTR(qio_options_get_list(uri->options, "arg")[3], ==, NULL);
    CHECK_STR(qio_options_get_str(uri->options, "env", NULL), "A=b=c");
    qio_uri_free(uri);

    uri = parse("null:");
    CHECK_INT(uri->scheme, ==, QIO_SCHEME_NULL);
    qio_uri_free(uri);
    uri = parse("buffer:?name=scratch");
    CHECK_STR(qio_options_get_str(uri->options, "name", NULL), "scratch");
    qio_uri_free(uri);
}

/* ---- layers ---- */

static void check_layers(const char *text, const char *layers, QIOScheme scheme)
{
    QIOUri *uri;
    char *described;
    char *expected;

    test_note("%s", text);
    uri = parse(text);
    described = qio_uri_describe(uri);
    expected = g_strdup_printf("%s%s:", layers, qio_scheme_name(scheme));
    CHECK_STR(described, expected);
    CHECK_INT(uri->scheme, ==, scheme);
    g_free(described);
    g_free(expected);
    qio_uri_free(uri);
}

TEST(layers_from_the_outside_in)
{
    QIOUri *uri = parse("tls+ws+unix:/x?tls-verify=off&ws-mode=messages&handshake-timeout=2");

    CHECK_INT(uri->layer_count, ==, 2);
    CHECK_INT(uri->layers[0], ==, QIO_LAYER_TLS);
    CHECK_INT(uri->layers[1], ==, QIO_LAYER_WS);
    CHECK(qio_uri_has_layer(uri, QIO_LAYER_WS));
    CHECK_STR(uri->address->path, "/x");
    CHECK(!qio_options_get_bool(uri->options, "tls-verify", true));
    CHECK_STR(qio_options_get_str(uri->options, "ws-mode", NULL), "messages");
    qio_uri_free(uri);

    uri = parse("tcp://h:1");
    CHECK(!qio_uri_has_layer(uri, QIO_LAYER_WS));
    qio_uri_free(uri);

    check_layers("tls+tcp://h:1", "tls+", QIO_SCHEME_TCP);
    check_layers("tls+tls+vsock://1:1", "tls+tls+", QIO_SCHEME_VSOCK);
    check_layers("ws+tls+abstract:x", "ws+tls+", QIO_SCHEME_ABSTRACT);
    check_layers("ws+fd:3", "ws+", QIO_SCHEME_FD);
    check_layers("tls+exec:cat", "tls+", QIO_SCHEME_EXEC);
    check_layers("tls+file:/dev/ttyS0", "tls+", QIO_SCHEME_FILE);
    check_layers("ws://h", "ws+", QIO_SCHEME_TCP);
    check_layers("wss://h", "ws+tls+", QIO_SCHEME_TCP);
    check_layers("tls+ws://h/x", "tls+ws+", QIO_SCHEME_TCP);
    check_layers("ws+wss://h/x", "ws+ws+tls+", QIO_SCHEME_TCP);
}

TEST(web_addresses)
{
    static const struct {
        const char *text, *host;
        unsigned port;
        const char *path;
    } rows[] = {
        { "ws://h", "h", 80, NULL },
        { "wss://h", "h", 443, NULL },
        { "ws://h/", "h", 80, "/" },
        { "ws://h:8080", "h", 8080, NULL },
        { "wss://h:1/a/b", "h", 1, "/a/b" },
        { "ws://[::1]", "::1", 80, NULL },
        { "wss://[::1]/x", "::1", 443, "/x" },
        { "ws://[::1]:7/x", "::1", 7, "/x" },
        { "ws://h/a%20b%3Fc:d]", "h", 80, "/a%20b%3Fc:d]" },
        { "ws://h?ws-path=/x%3Fy=z", "h", 80, "/x?y=z" },
        { "ws://:0/", "", 0, "/" },
        { "ws+tcp://h:5?ws-path=/x", "h", 5, "/x" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOUri *uri;

        test_note("%s", rows[i].text);
        uri = parse(rows[i].text);
        CHECK_STR(uri->address->host, rows[i].host);
        CHECK_INT(uri->address->port, ==, rows[i].port);
        if (rows[i].path != NULL) {
            CHECK_STR(qio_options_get_str(uri->options, "ws-path", NULL), rows[i].path);
        } else {
            CHECK(!qio_options_has(uri->options, "ws-path"));
        }
        qio_uri_free(uri);
    }
}

TEST(web_addresses_are_printed_as_such)
{
    static const char *const rows[][2] = {
        { "ws://h", "ws://h:80" },
        { "wss://h/a%20b", "wss://h:443/a%20b" },
        { "ws+tcp://h:5", "ws://h:5" },
        { "ws+tls+tcp://[::1]:5?ws-path=/x&tls-verify=on", "wss://[::1]:5/x?tls-verify=on" },
        { "ws://h?ws-path=/x%3Fy", "ws+tcp://h:80?ws-path=/x%3Fy" },
        { "ws://h?ws-path=/x%2520y", "ws://h:80/x%20y" },
        { "ws://h?ws-path=/x%25", "ws+tcp://h:80?ws-path=/x%25" },
        { "tls+ws+ws+tcp://h:5", "tls+ws+ws://h:5" },
        { "tls+tcp://h:5", "tls+tcp://h:5" },
        { "ws+tls+unix:/x", "ws+tls+unix:/x" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOUri *uri;
        char *text;

        test_note("%s", rows[i][0]);
        uri = parse(rows[i][0]);
        text = qio_uri_format(uri);
        CHECK_STR(text, rows[i][1]);
        g_free(text);
        qio_uri_free(uri);
    }
}

TEST(keys_have_a_place)
{
    CHECK_INT(qio_uri_find_key("null:?name=x", "name"), ==, 6);
    CHECK_INT(qio_uri_find_key("tls+null:?name=tls-ca=&tls-ca=x", "tls-ca"), ==, 23);
    CHECK_INT(qio_uri_find_key("null:", "name"), ==, 0);
    CHECK_INT(qio_uri_find_key("null:?name=x&nam=y", "nam"), ==, 13);
}

/* ---- where the fault is ---- */

static const struct {
    const char *text;
    int position;
    const char *part;
} faults[] = {
    { "", 0, "a ':' has to follow the scheme" },
    { "tcp", 0, "a ':' has to follow the scheme" },
    { "/tmp/socket", 0, "a ':' has to follow the scheme; a path is written file:/path" },
    { "localhost:80", 0, "a host and a port are written tcp://host:port" },
    { ":", 0, "unknown scheme \"\"" },
    { "+", 0, "unknown layer \"\"; the nearest is" },
    { "tls", 0, "a ':' has to follow the scheme" },
    { "tls+", 4, "a ':' has to follow the scheme" },
    { "tls:x", 0, "unknown scheme \"tls\"; the nearest is \"tcp\"; TLS is a layer" },
    { "tcps://h:1", 0, "as in tls+tcp://host:port" },
    { "tcp+tls://h:1", 0, "layers stand in front of the scheme" },
    { "tls+tls:x", 4, "unknown scheme \"tls\"" },
    { "tlss+tcp://h:1", 0, "unknown layer \"tlss\"; the nearest is \"tls\"" },
    { "tls+wss+tcp://h:1", 4, "unknown layer \"wss\"; the nearest is \"ws\"" },
    { "TLS+tcp://h:1", 0, "unknown layer \"TLS\"" },
    { "tls+tpc://h:1", 4, "unknown scheme \"tpc\"; the nearest is \"tcp\"" },
    { "tls+tcp://h:65536", 12, "65535" },
    { "tls+ws+tcp:h:1", 7, "tcp://" },
    { "ws+unix:/a%00b", 8, "NUL" },
    { "tls+file:", 4, "the path is missing" },
    { "ws+exec:?arg=x", 3, "the program is missing" },
    { "tls+null:x", 9, "nothing but a query" },
    { "ws:host", 3, "\"//\" and a host" },
    { "ws:/host", 3, "\"//\" and a host" },
    { "ws://h:65536/", 7, "65535" },
    { "ws://h:/", 7, "port" },
    { "ws://[::1/", 5, "]" },
    { "ws://[::1]x/", 10, "port" },
    { "ws://::1/", 5, "bracket" },
    { "tls+wss://a@h/", 10, "host" },
    { "ws://h/x?y=1", 9, "unknown key \"y\"" },
    { "ws://h/x?ws-path=/y", 9, "\"ws-path\" is given twice" },
    { "tls+tls+tls+tls+tls+tls+tls+tls+tls+null:", 32, "more than 8 layers" },
    { "tls+tls+tls+tls+tls+tls+tls+wss://h", 28, "more than 8 layers" },
    { "ws://h/a\xc3\xa4", 6, "ws-path: 1 to 1024 printable ASCII characters" },
    { "ws+tcp://h:1?ws-path=x", 21, "ws-path: begins with /" },
    { "ws+tcp://h:1?ws-path=", 21, "ws-path: begins with /" },
    { "ws+tcp://h:1?ws-path=/a%20b", 21, "ws-path: 1 to 1024" },
    { "ws://h/?ws-host=a%0ab", 16, "ws-host: 1 to 1024" },
    { "ws://h/?ws-header=x", 18, "ws-header: \"Name: value\" is wanted" },
    { "ws://h/?ws-header=A:b&ws-header=Host:b", 32, "ws-header: this field is the handshake's" },
    { "ws://h/?ws-protocol=a&ws-protocol=a,b", 34, "ws-protocol: a token of HTTP" },
    { "tcp://h:80?tls-verify=on", 11, "the key \"tls-verify\" has no use with tcp:" },
    { "tls+unix:/x?ws-mode=stream", 12, "the key \"ws-mode\" has no use with tls+unix:" },
    { "ws://h/?tls-ca=/x", 8, "the key \"tls-ca\" has no use with ws+tcp:" },
    { "tls+unix:/x?nodelay=on", 12, "the key \"nodelay\" has no use with tls+unix:" },
    { "tls+unix:/x?tls-verfy=on", 12, "unknown key \"tls-verfy\"; the nearest is \"tls-verify\"" },
    { "tls+unix:/x?tls-verify=maybe", 23, "on or off" },
    { "tls+unix:/x?tls-password=x", 12, "\"tls-password\" cannot be part of a URI" },
    { "tls+unix:/x?tls-psk-key=00", 12, "\"tls-psk-key\" cannot be part of a URI" },
    { "tls+unix:/x?tls-creds=1", 12, "\"tls-creds\" cannot be part of a URI" },
    { "ws+unix:/x?ws-request=on", 11, "\"ws-request\" cannot be part of a URI" },
    { "tls+unix:/x?tls-ca=", 19, "takes a path" },
    { "TCP://h:1", 0, "unknown scheme \"TCP\"" },
    { "unux:/x", 0, "unknown scheme \"unux\"; the nearest is \"unix\"" },
    { "http://h:1", 0, "; there are tcp, unix, abstract, vsock, fd, file, exec, null" },
    { "tcp:127.0.0.1:80", 0, "it has to start with tcp://, as in tcp://host:port" },
    { "vsock:1:2", 0, "it has to start with vsock://, as in vsock://cid:port" },
    { "tcp://h:80/", 10, "without a path behind it" },
    { "tcp://*:80", 6, "no host at all: tcp://:port" },
    { "tcp://h", 7, "as in tcp://host:port" },
    { "tcp://127.0.0.1", 15, "port" },
    { "tcp://127.0.0.1:", 16, "port" },
    { "tcp://127.0.0.1:65536", 16, "65535" },
    { "tcp://127.0.0.1:99999999999999999999", 16, "65535" },
    { "tcp://127.0.0.1:080", 16, "65535" },
    { "tcp://127.0.0.1:8o", 17, "65535" },
    { "tcp://127.0.0.1:+8", 16, "65535" },
    { "tcp://127.0.0.1:-1", 16, "65535" },
    { "tcp://127.0.0.1:80/", 18, "65535" },
    { "tcp://127.0.0.1:80 ", 18, "space" },
    { " tcp://127.0.0.1:80", 0, "space" },
    { "tcp://user@127.0.0.1:80", 6, "host" },
    { "tcp://::1:80", 6, "bracket" },
    { "tcp://[::1:80", 6, "]" },
    { "tcp://[::1]", 11, "port" },
    { "tcp://[::1]80", 11, "port" },
    { "tcp://[127.0.0.1]:80", 7, "IPv6" },
    { "tcp://[::g]:80", 7, "IPv6" },
    { "tcp://127.0.0.256:80", 6, "255" },
    { "tcp://h%00:80", 6, "NUL" },
    { "tcp://h:80#x", 10, "fragment" },
    { "tcp://h:80\n", 10, "control byte" },
    { "tcp://h:80?", 11, "key=value" },
    { "tcp://h:80?nodelay", 11, "key=value" },
    { "tcp://h:80?=on", 11, "key=value" },
    { "tcp://h:80?nodelay=on&", 22, "key=value" },
    { "tcp://h:80?nodelay=on&&ipv4=on", 22, "key=value" },
    { "tcp://h:80?nodelay=on&nodelay=on", 22, "\"nodelay\" is given twice" },
    { "tcp://h:80?nodelay=yes", 19, "on or off" },
    { "tcp://h:80?ipv4=on&nodlay=on", 19, "unknown key \"nodlay\"; the nearest is \"nodelay\"" },
    { "tcp://h:80?mode=r", 11, "the key \"mode\" has no use with tcp:" },
    { "tcp://h:80?allow=all", 11, "\"allow\" cannot be part of a URI" },
    { "tcp://h:80?timeout=?", 19, "seconds" },
    { "tcp://h:80?name=a%0", 17, "hexadecimal" },
    { "tcp://h:80?name=a%", 17, "hexadecimal" },
    { "tcp://h:80?name=a%4g", 17, "hexadecimal" },
    { "tcp://h:80?name=a%00b", 17, "NUL" },
    { "unix:/a%00b", 5, "NUL" },
    { "unix:/%", 6, "hexadecimal" },
    { "abstract:", 9, "byte" },
    { "vsock://x:1", 8, "4294967295" },
    { "vsock://4294967296:1", 8, "4294967295" },
    { "vsock://1", 9, "port" },
    { "fd:", 3, "descriptor" },
    { "fd:-1", 3, "descriptor" },
    { "fd:1x", 4, "descriptor" },
    { "fd:2147483648", 3, "descriptor" },
    { "file:", 0, "the path is missing" },
    { "file:?mode=r", 0, "the path is missing" },
    { "file://host/path", 5, "there is no host here" },
    { "file:/a%00b", 7, "NUL" },
    { "exec:", 0, "the program is missing" },
    { "exec:?arg=x", 0, "the program is missing" },
    { "exec:a?stderr-fd=2", 7, "\"stderr-fd\" cannot be part of a URI" },
    { "null:x", 5, "nothing but a query" },
    { "buffer:/", 7, "nothing but a query" },
};

TEST(faults_have_a_place)
{
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        char place[32];
        Error *err = NULL;

        test_note("%s", faults[i].text);
        CHECK_PTR(qio_uri_parse(faults[i].text, &err), ==, NULL);
        g_snprintf(place, sizeof(place), "at position %d", faults[i].position);
        CHECK_STR_HAS(qio_error_get_pretty(err), place);
        CHECK_STR_HAS(qio_error_get_pretty(err), faults[i].part);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        for (const char *p = qio_error_get_pretty(err); *p; p++) {
            CHECK(*p >= ' ' && *p < 0x7f);
        }
        qio_error_free(err);
    }
}

TEST(lengths)
{
    char *path = g_strnfill(107, 'p');
    char *text = g_strconcat("unix:", path, NULL);
    QIOUri *uri = parse(text);
    Error *err = NULL;
    char *longer = g_strconcat(text, "p", NULL);

    CHECK_INT(uri->address->path_len, ==, 107);
    qio_uri_free(uri);
    CHECK_PTR(qio_uri_parse(longer, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "at position 5");
    CHECK_STR_HAS(qio_error_get_pretty(err), "107");
    qio_error_free(err);
    g_free(path);
    g_free(text);
    g_free(longer);

    err = NULL;
    CHECK_PTR(qio_uri_parse(NULL, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "URI is NULL");
    qio_error_free(err);
    qio_uri_free(NULL);
}

/* ---- round trips ---- */

static bool uri_equal(const QIOUri *a, const QIOUri *b)
{
    if (a->layer_count != b->layer_count) {
        return false;
    }
    for (unsigned i = 0; i < a->layer_count; i++) {
        if (a->layers[i] != b->layers[i]) {
            return false;
        }
    }
    return a->scheme == b->scheme && g_strcmp0(a->path, b->path) == 0 &&
           (a->address == NULL) == (b->address == NULL) &&
           (a->address == NULL || qio_address_equal(a->address, b->address)) &&
           options_equal(a->options, b->options);
}

static void check_round_trip(const QIOUri *uri)
{
    char *text = qio_uri_format(uri);
    QIOUri *again;
    char *twice;

    test_note("%s", text);
    again = parse(text);
    CHECK(uri_equal(uri, again));
    twice = qio_uri_format(again);
    CHECK_STR(twice, text);
    qio_uri_free(again);
    g_free(text);
    g_free(twice);
}

static unsigned pick(GRand *rand, unsigned n)
{
    return (unsigned)g_rand_int_range(rand, 0, (gint32)n);
}

/* Bytes that mean something in URIs come often. */
static char *random_text(GRand *rand, unsigned min, unsigned max)
{
    static const char special[] = "?&=%#/:+@[] \"'\\\t\n\x7f\xc3\xff.-_~";
    unsigned len = min + pick(rand, max - min + 1);
    char *text = g_malloc0(len + 1);

    for (unsigned i = 0; i < len; i++) {
        text[i] = pick(rand, 2) ? special[pick(rand, sizeof(special) - 1)]
                                : (char)(1 + pick(rand, 255));
    }
    return text;
}

static char *random_value(GRand *rand, const QIOOptionKey *key)
{
    char *text, *value;

    switch (key->type) {
    case QIO_OPTION_SWITCH:
        return g_strdup(pick(rand, 2) ? "on" : "off");
    case QIO_OPTION_NUMBER:
        return g_strdup_printf("%u", 1 + pick(rand, 60000));
    case QIO_OPTION_OCTAL:
        return g_strdup_printf("%o", pick(rand, 010000));
    case QIO_OPTION_SECONDS:
        return g_strdup_printf("%u.%u", pick(rand, 1000), pick(rand, 1000));
    case QIO_OPTION_CHOICE:
        return g_strdup(key->choices[pick(rand, g_strv_length((char **)key->choices))]);
    case QIO_OPTION_VARIABLE:
        text = random_text(rand, 0, 10);
        value = g_strconcat("N", text, "=", NULL);
        g_free(text);
        return value;
    case QIO_OPTION_PATH:
    case QIO_OPTION_MATERIAL:
        return random_text(rand, 1, 30);
    default:
        return random_text(rand, 0, 30);
    }
}

/* What a WebSocket takes: nothing that could end a line of HTTP. */
static char *random_web_value(GRand *rand, const char *key)
{
    char *text = random_text(rand, 1, 30);
    char *value;

    for (char *p = text; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '#') {
            *p = "?&=%"[pick(rand, 4)];
        }
        if (strcmp(key, "ws-protocol") == 0 && !g_ascii_isalnum(*p)) {
            *p = '.';
        }
    }
    value = g_strconcat(strcmp(key, "ws-path") == 0 ? "/" : strcmp(key, "ws-header") == 0 ? "N: "
                                                                                          : "",
                        text, NULL);
    g_free(text);
    return value;
}

static void random_options(GRand *rand, QIOUri *uri)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);

    for (size_t i = 0; i < count; i++) {
        unsigned times = pick(rand, 3) ? 0 : 1 + (keys[i].list ? pick(rand, 3) : 0);

        if (!keys[i].in_uri || !(keys[i].uses & qio_uri_uses(uri))) {
            continue;
        }
        for (; times > 0; times--) {
            char *value = strncmp(keys[i].name, "ws-", 3) == 0 && keys[i].type == QIO_OPTION_TEXT
                ? random_web_value(rand, keys[i].name) : random_value(rand, &keys[i]);

            CHECK_INT(qio_options_add_str(uri->options, keys[i].name, value, NULL), ==, 0);
            g_free(value);
        }
    }
}

static QIOAddress *random_address(GRand *rand, QIOScheme scheme)
{
    static const char *const hosts[] = {
        "", "127.0.0.1", "::", "::1", "fe80::1%2", "2001:db8::ffff:1.2.3.4", "name",
        "a-b.example", "0.0.0.0",
    };
    QIOAddress *addr = NULL;
    char *text, *printed;

    switch (scheme) {
    case QIO_SCHEME_TCP:
        return qio_address_new_inet(hosts[pick(rand, G_N_ELEMENTS(hosts))], pick(rand, 65536));
    case QIO_SCHEME_UNIX:
    case QIO_SCHEME_ABSTRACT:
        text = random_text(rand, 1, 107);
        addr = scheme == QIO_SCHEME_UNIX ? qio_address_new_unix(text)
                                         : qio_address_new_abstract(text, strlen(text));
        g_free(text);
        return addr;
    default:
        printed = scheme == QIO_SCHEME_FD
            ? g_strdup_printf("fd:%u", pick(rand, 1000))
            : g_strdup_printf("vsock://%u:%u", g_rand_int(rand), g_rand_int(rand));
        addr = qio_address_parse(printed, NULL);
        CHECK(addr != NULL);
        g_free(printed);
        return addr;
    }
}

static QIOUri *random_uri(GRand *rand)
{
    QIOUri *uri = g_new0(QIOUri, 1);

    uri->scheme = (QIOScheme)pick(rand, QIO_SCHEME_BUFFER + 1);
    uri->options = qio_options_new();
    uri->layer_count = pick(rand, 2) ? 0 : pick(rand, QIO_LAYERS_MAX + 1);
    for (unsigned i = 0; i < uri->layer_count; i++) {
        uri->layers[i] = (QIOLayer)pick(rand, QIO_LAYER_WS + 1);
    }
    if (uri->scheme <= QIO_SCHEME_FD) {
        uri->address = random_address(rand, uri->scheme);
    } else if (uri->scheme <= QIO_SCHEME_EXEC) {
        uri->path = random_text(rand, 1, 40);
    }
    random_options(rand, uri);
    return uri;
}

TEST(printed_uris_read_back_equal)
{
    GRand *rand = g_rand_new_with_seed(1);

    for (int i = 0; i < 3000; i++) {
        QIOUri *uri = random_uri(rand);

        check_round_trip(uri);
        qio_uri_free(uri);
    }
    g_rand_free(rand);
}

TEST(odd_paths_read_back_equal)
{
    static const char *const paths[] = { "/", "//", "///x", "//host/x", ".", "a//b", "%", "?" };

    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        QIOUri uri = { .scheme = QIO_SCHEME_FILE, .path = (char *)paths[i] };

        uri.options = qio_options_new();
        check_round_trip(&uri);
        uri.scheme = QIO_SCHEME_EXEC;
        check_round_trip(&uri);
        qio_options_free(uri.options);
    }
}

/* ---- junk ---- */

/* Whatever reads must read back; whatever does not must say where. */
static void try_junk(const char *text)
{
    Error *err = NULL;
    QIOUri *uri;

    test_note("%s", text);
    uri = qio_uri_parse(text, &err);
    if (uri != NULL) {
        CHECK_PTR(err, ==, NULL);
        check_round_trip(uri);
        qio_uri_free(uri);
        return;
    }
    CHECK_STR_HAS(qio_error_get_pretty(err), "at position ");
    qio_error_free(err);
}

static char *mutate(GRand *rand, char *text)
{
    size_t len = strlen(text);
    unsigned at = pick(rand, (unsigned)len + 1);
    char *other = random_text(rand, 0, 4);
    char *head = g_strndup(text, at);
    size_t skip = at + pick(rand, 4);
    char *result = g_strconcat(head, other, text + MIN(len, skip), NULL);

    g_free(other);
    g_free(head);
    g_free(text);
    return result;
}

TEST(junk)
{
    GRand *rand = g_rand_new_with_seed(2);

    for (int i = 0; i < 3000; i++) {
        char *text = random_text(rand, 0, 40);

        try_junk(text);
        g_free(text);
    }
    for (int i = 0; i < 3000; i++) {
        QIOUri *uri = random_uri(rand);
        char *text = qio_uri_format(uri);

        qio_uri_free(uri);
        for (unsigned left = 1 + pick(rand, 3); left > 0; left--) {
            text = mutate(rand, text);
        }
        try_junk(text);
        g_free(text);
    }
    g_rand_free(rand);
}
