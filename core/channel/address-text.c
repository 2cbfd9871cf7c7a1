/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/address-text.c: addresses as text: tcp://host:port, unix:/path, abstract:name,
 * vsock://cid:port, fd:N, fd:NAME.
 *
 * Owns: the grammar.  Strict: a text that a person could read two ways is refused, and the
 * error names the place, counted in bytes from 0.  What is neither a letter, a digit nor one
 * of "-._~/:" is percent-encoded when printed; '?' and '#' must be when read, since they end
 * this part of a longer URI.  parse(format(a)) equals a.  Any thread.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <string.h>
#include "channel/address-priv.h"

/* Where reading stands: text is all of it, for the messages. */
typedef struct Reader {
    const char *text;
    const char *at;
    Error **errp;
} Reader;

static void refuse(const Reader *reader, const char *at, const char *why)
{
    char text[160];

    qio_error_set(reader->errp, QIO_ERROR_INVAL, "address '%s', at position %zu: %s",
                  qio_escape_bytes(reader->text, strlen(reader->text), text, sizeof(text)),
                  (size_t)(at - reader->text), why);
}

/*
 * Takes percent-encoded text up to `end` into a new string; its length goes to *len.
 * NUL bytes are the caller's to judge.
 */
static char *decode(const Reader *reader, const char *end, size_t *len)
{
    GString *out = g_string_sized_new((gsize)(end - reader->at));
    const char *p = reader->at;

    while (p < end) {
        if (*p == '?' || *p == '#') {
            refuse(reader, p, *p == '?' ? "'?' has to be written %3F" :
                                          "'#' has to be written %23");
            goto fail;
        }
        if (*p != '%') {
            g_string_append_c(out, *p++);
            continue;
        }
        if (end - p < 3 || !g_ascii_isxdigit(p[1]) || !g_ascii_isxdigit(p[2])) {
            refuse(reader, p, "'%' needs two hexadecimal digits after it");
            goto fail;
        }
        g_string_append_c(out, (gchar)(g_ascii_xdigit_value(p[1]) * 16 +
                                       g_ascii_xdigit_value(p[2])));
        p += 3;
    }
    *len = out->len;
    return g_string_free(out, FALSE);

fail:
    g_string_free(out, TRUE);
    return NULL;
}

/* A decimal number up to `end`, without sign, spaces or leading zeros. */
static bool parse_number(const Reader *reader, const char *end, uint64_t max, const char *why,
                         uint64_t *out)
{
    const char *p = reader->at;
    uint64_t value = 0;

    if (p == end || (*p == '0' && end - p > 1)) {
        refuse(reader, p, why);
        return false;
    }
    for (; p < end; p++) {
        if (!g_ascii_isdigit(*p)) {
            refuse(reader, p, why);
            return false;
        }
        value = value * 10 + (uint64_t)(*p - '0');
        if (value > max) {
            refuse(reader, reader->at, why);
            return false;
        }
    }
    *out = value;
    return true;
}

/* ---- tcp:// ---- */

#define NO_PORT "':' and a port have to follow the host, as in tcp://host:port"

static bool host_is_ipv6(const char *host)
{
    struct in6_addr addr;
    size_t len = strcspn(host, "%");
    char numeric[INET6_ADDRSTRLEN];

    if (len >= sizeof(numeric)) {
        return false;
    }
    memcpy(numeric, host, len);
    numeric[len] = '\0';
    return inet_pton(AF_INET6, numeric, &addr) == 1 && (!host[len] || host[len + 1]);
}

/* A last label of digits alone means an IPv4 address; "127.1" is neither that nor a name. */
static bool looks_numeric(const char *host)
{
    const char *last = strrchr(host, '.');

    last = last ? last + 1 : host;
    return *last && strspn(last, "0123456789") == strlen(last);
}

static const char *check_name(const char *host, size_t len)
{
    struct in_addr addr;

    if (strlen(host) != len) {
        return "a host name has no NUL byte";
    }
    if (len > 253) {
        return "a host name has at most 253 bytes";
    }
    if (strcmp(host, "*") == 0) {
        return "all addresses of this machine are no host at all: tcp://:port";
    }
    for (const char *p = host; *p; p++) {
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p)) {
            return *p == ':' ? "an IPv6 address has to be in brackets" :
                               "a host name has letters, digits, '-', '.' and '_' only";
        }
    }
    if (host[0] == '.' || strstr(host, "..")) {
        return "a part of the host name is empty";
    }
    if (looks_numeric(host) && inet_pton(AF_INET, host, &addr) != 1) {
        return "an IPv4 address has four numbers from 0 to 255";
    }
    return NULL;
}

static char *parse_bracketed(Reader *reader)
{
    const char *open = reader->at;
    const char *end = strchr(open, ']');
    size_t len;
    char *host;

    if (!end) {
        refuse(reader, open, "'[' has no ']'");
        return NULL;
    }
    reader->at = open + 1;
    host = decode(reader, end, &len);
    if (host && (strlen(host) != len || !host_is_ipv6(host))) {
        refuse(reader, open + 1, "there has to be an IPv6 address in the brackets");
        g_clear_pointer(&host, g_free);
    }
    reader->at = end + 1;
    return host;
}

static char *parse_host(Reader *reader)
{
    const char *start = reader->at;
    const char *end = strrchr(start, ':');
    const char *why;
    size_t len;
    char *host;

    if (*start == '[') {
        return parse_bracketed(reader);
    }
    if (!end) {
        refuse(reader, start + strlen(start), NO_PORT);
        return NULL;
    }
    host = decode(reader, end, &len);
    why = host ? check_name(host, len) : NULL;
    if (why) {
        refuse(reader, start, why);
        g_clear_pointer(&host, g_free);
    }
    reader->at = end;
    return host;
}

static QIOAddress *parse_tcp(Reader *reader)
{
    QIOAddress *addr = NULL;
    char *host = parse_host(reader);
    const char *behind;
    uint64_t port;

    if (!host) {
        return NULL;
    }
    if (*reader->at != ':') {
        refuse(reader, reader->at, NO_PORT);
        goto out;
    }
    reader->at++;
    behind = reader->at + strspn(reader->at, "0123456789");
    if (*behind == '/' && behind > reader->at) {
        refuse(reader, behind, "the port has to be a number from 0 to 65535, without a "
               "path behind it");
        goto out;
    }
    if (parse_number(reader, reader->at + strlen(reader->at), 65535,
                     "the port has to be a number from 0 to 65535", &port)) {
        addr = qio_address_new_inet(host, (uint32_t)port);
    }

out:
    g_free(host);
    return addr;
}

/* ---- the others ---- */

static QIOAddress *parse_unix(Reader *reader, bool abstract)
{
    QIOAddress *addr = NULL;
    const char *start = reader->at;
    size_t len;
    char *path = decode(reader, start + strlen(start), &len);

    if (!path) {
        return NULL;
    }
    if (len > 107) {
        refuse(reader, start, abstract ? "an abstract name has at most 107 bytes" :
                                         "a unix path has at most 107 bytes");
    } else if (abstract && len == 0) {
        refuse(reader, start, "an abstract name has at least one byte");
    } else if (!abstract && strlen(path) != len) {
        refuse(reader, start, "a unix path has no NUL byte");
    } else {
        addr = abstract ? qio_address_new_abstract(path, len) : qio_address_new_unix(path);
    }
    g_free(path);
    return addr;
}

static QIOAddress *parse_vsock(Reader *reader)
{
    const char *colon = strchr(reader->at, ':');
    uint64_t cid, port;

    if (!colon) {
        refuse(reader, reader->at + strlen(reader->at), "':' and a port have to follow the cid");
        return NULL;
    }
    if (!parse_number(reader, colon, UINT32_MAX, "the cid has to be a number up to 4294967295",
                      &cid)) {
        return NULL;
    }
    reader->at = colon + 1;
    if (!parse_number(reader, reader->at + strlen(reader->at), UINT32_MAX,
                      "the port has to be a number up to 4294967295", &port)) {
        return NULL;
    }
    return qio_address_new_vsock((uint32_t)cid, (uint32_t)port);
}

/* A number, or the name that a service manager gave a descriptor.  What begins with a digit or a
 * sign is meant as a number; a name that does so has that byte encoded. */
static QIOAddress *parse_fd(Reader *reader)
{
    const char *start = reader->at;
    QIOAddress *addr = NULL;
    uint64_t fd;
    size_t len;
    char *name;

    if (*start == '\0' || g_ascii_isdigit(*start) || strchr("+-", *start)) {
        return parse_number(reader, start + strlen(start), INT32_MAX,
                            "the descriptor has to be a number from 0 to 2147483647, or a name",
                            &fd) ? qio_address_new_fd((int)fd) : NULL;
    }
    name = decode(reader, start + strlen(start), &len);
    if (!name) {
        return NULL;
    }
    if (qio_address_is_fd_name(name, len)) {
        addr = qio_address_new_fd_name(name);
    } else {
        refuse(reader, start, "the name of a descriptor has 1 to 255 printable ASCII characters, "
               "and no ':'");
    }
    g_free(name);
    return addr;
}

static bool skip_prefix(Reader *reader, const char *prefix)
{
    size_t len = strlen(prefix);

    if (strncmp(reader->at, prefix, len) != 0) {
        return false;
    }
    reader->at += len;
    return true;
}

QIOAddress *qio_address_parse_inet_at(const char *text, size_t from, Error **errp)
{
    Reader reader = { text, text + from, errp };

    return parse_tcp(&reader);
}

QIOAddress *qio_address_parse_at(const char *text, size_t from, Error **errp)
{
    Reader reader = { text, text + from, errp };

    if (skip_prefix(&reader, "tcp://")) {
        return parse_tcp(&reader);
    }
    if (skip_prefix(&reader, "unix:")) {
        return parse_unix(&reader, false);
    }
    if (skip_prefix(&reader, "abstract:")) {
        return parse_unix(&reader, true);
    }
    if (skip_prefix(&reader, "vsock://")) {
        return parse_vsock(&reader);
    }
    if (skip_prefix(&reader, "fd:")) {
        return parse_fd(&reader);
    }
    refuse(&reader, reader.at, g_str_has_prefix(reader.at, "tcp:")
           ? "it has to start with tcp://, as in tcp://host:port"
           : g_str_has_prefix(reader.at, "vsock:")
           ? "it has to start with vsock://, as in vsock://cid:port"
           : "it has to start with tcp://, unix:, abstract:, vsock:// or fd:");
    return NULL;
}

QIOAddress *qio_address_parse(const char *text, Error **errp)
{
    if (!text) {
        qio_error_set(errp, QIO_ERROR_INVAL, "address: NULL is no text");
        return NULL;
    }
    return qio_address_parse_at(text, 0, errp);
}

/* ---- printing ---- */

static void encode(GString *out, const char *bytes, size_t len, const char *plain)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if (g_ascii_isalnum(c) || (c && strchr(plain, c))) {
            g_string_append_c(out, (gchar)c);
        } else {
            g_string_append_printf(out, "%%%02X", c);
        }
    }
}

static void format_inet(GString *out, const QIOAddress *addr)
{
    const char *host = addr->host ? addr->host : "";

    if (host_is_ipv6(host)) {
        g_string_append(out, "tcp://[");
        encode(out, host, strlen(host), "-._~:");
        g_string_append_printf(out, "]:%u", addr->port);
        return;
    }
    g_string_append(out, "tcp://");
    encode(out, host, strlen(host), "-._~");
    g_string_append_printf(out, ":%u", addr->port);
}

static void format_fd(GString *out, const QIOAddress *addr)
{
    if (addr->fd >= 0 || addr->path_len == 0) {
        g_string_append_printf(out, "fd:%d", addr->fd);
        return;
    }
    g_string_append(out, "fd:");
    encode(out, addr->path, 1, "._~");
    if (g_ascii_isdigit(addr->path[0])) {
        g_string_truncate(out, strlen("fd:"));
        g_string_append_printf(out, "%%%02X", (unsigned char)addr->path[0]);
    }
    encode(out, addr->path + 1, addr->path_len - 1, "-._~");
}

char *qio_address_format(const QIOAddress *addr)
{
    GString *out;

    if (!addr) {
        return NULL;
    }
    out = g_string_new(NULL);
    switch (addr->kind) {
    case QIO_ADDRESS_INET:
        format_inet(out, addr);
        break;
    case QIO_ADDRESS_UNIX:
    case QIO_ADDRESS_ABSTRACT:
        g_string_append(out, addr->kind == QIO_ADDRESS_UNIX ? "unix:" : "abstract:");
        encode(out, addr->path, addr->path_len, "-._~/:");
        break;
    case QIO_ADDRESS_VSOCK:
        g_string_append_printf(out, "vsock://%u:%u", addr->cid, addr->port);
        break;
    case QIO_ADDRESS_FD:
        format_fd(out, addr);
        break;
    }
    return g_string_free(out, FALSE);
}

char *qio_sockaddr_describe(const struct sockaddr *sa, socklen_t len)
{
    QIOAddress *addr = qio_address_from_sockaddr(sa, len, NULL);
    char *text;

    if (!addr) {
        return g_strdup_printf("an address of family %d", sa ? sa->sa_family : -1);
    }
    text = qio_address_format(addr);
    qio_address_free(addr);
    return text;
}
