/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/address.c: QIOAddress as data: making, comparing, and to and from socket addresses.
 *
 * Owns: the struct's memory and the numeric forms.  The text form is address-text.c.
 * Rule: no descriptors and no look-ups; a host that is not numeric (a name, or a scope given
 * by an interface's name) is NOTSUP here and a matter of the resolver.  Any thread.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include "channel/address-priv.h"

enum { UNIX_PATH_MAX_LEN = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

QIOAddress *qio_address_new_inet(const char *host, uint32_t port)
{
    QIOAddress *addr = g_new0(QIOAddress, 1);

    addr->kind = QIO_ADDRESS_INET;
    addr->host = g_strdup(host ? host : "");
    addr->port = port;
    addr->fd = -1;
    return addr;
}

QIOAddress *qio_address_new_unix(const char *path)
{
    QIOAddress *addr = g_new0(QIOAddress, 1);

    addr->kind = QIO_ADDRESS_UNIX;
    addr->path = g_strdup(path ? path : "");
    addr->path_len = strlen(addr->path);
    addr->fd = -1;
    return addr;
}

QIOAddress *qio_address_new_abstract(const char *name, size_t len)
{
    QIOAddress *addr = g_new0(QIOAddress, 1);

    addr->kind = QIO_ADDRESS_ABSTRACT;
    addr->path = g_malloc0(len + 1);
    if (len > 0) {
        memcpy(addr->path, name, len);
    }
    addr->path_len = len;
    addr->fd = -1;
    return addr;
}

QIOAddress *qio_address_new_vsock(uint32_t cid, uint32_t port)
{
    QIOAddress *addr = g_new0(QIOAddress, 1);

    addr->kind = QIO_ADDRESS_VSOCK;
    addr->cid = cid;
    addr->port = port;
    addr->fd = -1;
    return addr;
}

QIOAddress *qio_address_new_fd(int fd)
{
    QIOAddress *addr = g_new0(QIOAddress, 1);

    addr->kind = QIO_ADDRESS_FD;
    addr->fd = fd;
    return addr;
}

QIOAddress *qio_address_new_fd_name(const char *name)
{
    QIOAddress *addr = qio_address_new_unix(name);

    addr->kind = QIO_ADDRESS_FD;
    return addr;
}

bool qio_address_is_fd_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isgraph(name[i]) || name[i] == ':') {
            return false;
        }
    }
    return len >= 1 && len <= 255;
}

QIOAddress *qio_address_copy(const QIOAddress *addr)
{
    QIOAddress *copy;

    if (!addr) {
        return NULL;
    }
    copy = g_new(QIOAddress, 1);
    *copy = *addr;
    copy->host = g_strdup(addr->host);
    copy->path = NULL;
    if (addr->path) {
        copy->path = g_malloc0(addr->path_len + 1);
        memcpy(copy->path, addr->path, addr->path_len);
    }
    return copy;
}

void qio_address_free(QIOAddress *addr)
{
    if (addr) {
        g_free(addr->host);
        g_free(addr->path);
        g_free(addr);
    }
}

static bool host_equal(const char *a, const char *b)
{
    struct in6_addr a6, b6;

    if (inet_pton(AF_INET6, a, &a6) == 1 && inet_pton(AF_INET6, b, &b6) == 1) {
        return memcmp(&a6, &b6, sizeof(a6)) == 0;
    }
    return g_ascii_strcasecmp(a, b) == 0;
}

static bool bytes_equal(const QIOAddress *a, const QIOAddress *b)
{
    return a->path_len == b->path_len &&
           (a->path_len == 0 || memcmp(a->path, b->path, a->path_len) == 0);
}

bool qio_address_equal(const QIOAddress *a, const QIOAddress *b)
{
    if (!a || !b || a == b) {
        return a == b;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case QIO_ADDRESS_INET:
        return a->port == b->port && host_equal(a->host ? a->host : "", b->host ? b->host : "");
    case QIO_ADDRESS_UNIX:
    case QIO_ADDRESS_ABSTRACT:
        return bytes_equal(a, b);
    case QIO_ADDRESS_VSOCK:
        return a->cid == b->cid && a->port == b->port;
    case QIO_ADDRESS_FD:
        return a->fd == b->fd && (a->fd >= 0 || bytes_equal(a, b));
    }
    return false;
}

/* ---- to a socket address ---- */

/* The scope of "fe80::1%2"; 0 without one; false when it is no number. */
static bool parse_scope(const char *text, uint32_t *scope)
{
    uint64_t value = 0;

    *scope = 0;
    if (!*text) {
        return true;
    }
    for (text++; g_ascii_isdigit(*text) && value <= UINT32_MAX; text++) {
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *scope = (uint32_t)value;
    return !*text && value > 0 && value <= UINT32_MAX;
}

static int inet6_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out)
{
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)out;
    size_t len = strcspn(addr->host, "%");
    char numeric[INET6_ADDRSTRLEN];

    if (len >= sizeof(numeric)) {
        return -1;
    }
    memcpy(numeric, addr->host, len);
    numeric[len] = '\0';
    if (inet_pton(AF_INET6, numeric, &sin6->sin6_addr) != 1 ||
        !parse_scope(addr->host + len, &sin6->sin6_scope_id)) {
        return -1;
    }
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons((uint16_t)addr->port);
    return sizeof(*sin6);
}

static int inet_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out, Error **errp)
{
    struct sockaddr_in *sin = (struct sockaddr_in *)out;
    char text[300];
    int len;

    if (addr->port > 65535) {
        qio_error_set(errp, QIO_ERROR_INVAL, "port: %u is more than 65535", addr->port);
        return -1;
    }
    if (!addr->host || !*addr->host) {
        qio_error_set(errp, QIO_ERROR_NOTSUP,
                      "host: none is given, which stands for several addresses");
        return -1;
    }
    if (inet_pton(AF_INET, addr->host, &sin->sin_addr) == 1) {
        sin->sin_family = AF_INET;
        sin->sin_port = htons((uint16_t)addr->port);
        return sizeof(*sin);
    }
    len = inet6_to_sockaddr(addr, out);
    if (len < 0) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "host: '%s' is a name, not a numeric address",
                      qio_escape_bytes(addr->host, strlen(addr->host), text, sizeof(text)));
    }
    return len;
}

static int unix_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out, Error **errp)
{
    struct sockaddr_un *sun = (struct sockaddr_un *)out;
    bool abstract = addr->kind == QIO_ADDRESS_ABSTRACT;
    const char *what = abstract ? "abstract name" : "unix path";

    if (addr->path_len == 0 || !addr->path) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: it is empty", what);
        return -1;
    }
    if (addr->path_len > UNIX_PATH_MAX_LEN) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: %zu bytes are too long, %d are possible", what,
                      addr->path_len, UNIX_PATH_MAX_LEN);
        return -1;
    }
    if (!abstract && memchr(addr->path, '\0', addr->path_len)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: it has a NUL byte in it", what);
        return -1;
    }
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path + abstract, addr->path, addr->path_len);
    /* One more byte either way: the final NUL of a path, the leading one of a name. */
    return (int)(offsetof(struct sockaddr_un, sun_path) + addr->path_len + 1);
}

static int vsock_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out)
{
    struct sockaddr_vm *svm = (struct sockaddr_vm *)out;

    svm->svm_family = AF_VSOCK;
    svm->svm_cid = addr->cid;
    svm->svm_port = addr->port == 0 ? VMADDR_PORT_ANY : addr->port;
    return sizeof(*svm);
}

int qio_address_to_sockaddr(const QIOAddress *addr, struct sockaddr_storage *out, Error **errp)
{
    if (!addr || !out) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL is no place for a socket address",
                      addr ? "out" : "addr");
        return -1;
    }
    memset(out, 0, sizeof(*out));
    switch (addr->kind) {
    case QIO_ADDRESS_INET:
        return inet_to_sockaddr(addr, out, errp);
    case QIO_ADDRESS_UNIX:
    case QIO_ADDRESS_ABSTRACT:
        return unix_to_sockaddr(addr, out, errp);
    case QIO_ADDRESS_VSOCK:
        return vsock_to_sockaddr(addr, out);
    case QIO_ADDRESS_FD:
        qio_error_set(errp, QIO_ERROR_NOTSUP, "fd: a descriptor is no socket address");
        return -1;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "kind: %d is no kind of address", (int)addr->kind);
    return -1;
}

/* ---- from a socket address ---- */

static QIOAddress *inet6_from_sockaddr(const struct sockaddr_in6 *sin6)
{
    char host[INET6_ADDRSTRLEN + 12];

    inet_ntop(AF_INET6, &sin6->sin6_addr, host, sizeof(host));
    if (sin6->sin6_scope_id) {
        size_t len = strlen(host);

        g_snprintf(host + len, sizeof(host) - len, "%%%u", sin6->sin6_scope_id);
    }
    return qio_address_new_inet(host, ntohs(sin6->sin6_port));
}

static QIOAddress *unix_from_sockaddr(const struct sockaddr_un *sun, socklen_t len)
{
    size_t path_len = len - offsetof(struct sockaddr_un, sun_path);
    char path[sizeof(sun->sun_path) + 1];

    path_len = MIN(path_len, sizeof(sun->sun_path));
    if (path_len > 0 && sun->sun_path[0] == '\0') {
        return qio_address_new_abstract(sun->sun_path + 1, path_len - 1);
    }
    memcpy(path, sun->sun_path, path_len);
    path[path_len] = '\0';
    return qio_address_new_unix(path);
}

/* Whether len reaches past the members that the family needs. */
static bool sockaddr_complete(const struct sockaddr *sa, socklen_t len)
{
    switch (sa->sa_family) {
    case AF_INET:
        return len >= sizeof(struct sockaddr_in);
    case AF_INET6:
        return len >= sizeof(struct sockaddr_in6);
    case AF_UNIX:
        return len >= offsetof(struct sockaddr_un, sun_path);
    case AF_VSOCK:
        return len >= sizeof(struct sockaddr_vm);
    default:
        return true;
    }
}

QIOAddress *qio_address_from_sockaddr(const struct sockaddr *sa, socklen_t len, Error **errp)
{
    const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;
    const struct sockaddr_vm *svm = (const struct sockaddr_vm *)sa;
    char host[INET_ADDRSTRLEN];

    if (!sa || len < sizeof(sa->sa_family) || !sockaddr_complete(sa, len)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "a socket address of %u bytes is incomplete", len);
        return NULL;
    }
    switch (sa->sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &sin->sin_addr, host, sizeof(host));
        return qio_address_new_inet(host, ntohs(sin->sin_port));
    case AF_INET6:
        return inet6_from_sockaddr((const struct sockaddr_in6 *)sa);
    case AF_UNIX:
        return unix_from_sockaddr((const struct sockaddr_un *)sa, len);
    case AF_VSOCK:
        return qio_address_new_vsock(svm->svm_cid, svm->svm_port);
    default:
        qio_error_set(errp, QIO_ERROR_NOTSUP, "socket addresses of family %d are not supported",
                      sa->sa_family);
        return NULL;
    }
}
