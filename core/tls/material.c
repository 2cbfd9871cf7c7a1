/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/material.c: certificates and keys as bytes, from wherever they are.
 *
 * Owns: reading them: bytes of the options, a file that a key names, or one of the folder.
 * Rules: through the sys seam, never by GnuTLS, so that an error says which file and why; a file
 * is regular and of bounded size; the bytes are wiped when they go, as they may be a private key.
 * Any thread; may block on the file.
 */
#include "tls/tls-priv.h"

#include <string.h>

/* Hundreds of authorities fit many times. */
#define FILE_MAX_BYTES (16 << 20)

static int read_all(int fd, uint8_t *buf, size_t len)
{
    size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = sys_read(fd, buf + done, len - done);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -1 : (int)done;
        }
        done += (size_t)n;
    }
    return (int)done;
}

static int check_file(const struct stat *st, const char *path, Error **errp)
{
    if (!S_ISREG(st->st_mode)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s is no regular file", path);
        return -1;
    }
    if (st->st_size > FILE_MAX_BYTES) {
        qio_error_set(errp, QIO_ERROR_LIMIT, "%s has more than %d bytes", path, FILE_MAX_BYTES);
        return -1;
    }
    return 0;
}

static int read_open_file(QIOTlsMaterial *m, int fd, const char *path, Error **errp)
{
    struct stat st;
    int n;

    if (sys_fstat(fd, &st) < 0) {
        qio_error_set_errno(errp, errno, "cannot look at %s", path);
        return -1;
    }
    if (check_file(&st, path, errp) < 0) {
        return -1;
    }
    m->data.data = g_try_malloc((size_t)st.st_size + 1);
    if (!m->data.data) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for %s", path);
        return -1;
    }
    m->data.size = (unsigned)st.st_size;
    n = read_all(fd, m->data.data, (size_t)st.st_size);
    if (n < 0) {
        qio_error_set_errno(errp, errno, "cannot read %s", path);
        return -1;
    }
    m->data.size = (unsigned)n;
    m->data.data[n] = '\0';
    return 0;
}

/* `optional`: that there is no such file is no error. */
static int read_file(QIOTlsMaterial *m, const char *path, bool optional, Error **errp)
{
    char where[200];            /* fit for a message */
    int fd, ret;

    qio_escape_bytes(path, strlen(path), where, sizeof(where));
    do {
        fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == ENOENT && optional) {
        return 0;
    }
    if (fd < 0) {
        qio_error_set_errno(errp, errno, "cannot open %s", where);
        return -1;
    }
    m->where = g_strdup(where);
    ret = read_open_file(m, fd, where, errp);
    sys_close(fd);
    if (ret < 0) {
        qio_tls_material_clear(m);
    }
    return ret;
}

static int copy_bytes(QIOTlsMaterial *m, const char *key, const void *bytes, size_t len,
                      Error **errp)
{
    m->data.data = len < FILE_MAX_BYTES ? g_try_malloc(len + 1) : NULL;
    if (!m->data.data) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for the bytes of %s", key);
        return -1;
    }
    memcpy(m->data.data, bytes, len);
    m->data.data[len] = '\0';
    m->data.size = (unsigned)len;
    m->where = g_strdup_printf("the bytes of %s", key);
    return 0;
}

int qio_tls_material_get(QIOTlsMaterial *m, const QIOOptions *options, const char *key,
                         const char *file, Error **errp)
{
    const char *dir = qio_options_get_str(options, "tls-dir", NULL);
    const void *bytes;
    const char *path;
    size_t len;
    int ret;

    *m = (QIOTlsMaterial){ .where = NULL };
    if (key) {
        bytes = qio_options_get_bytes(options, key, &len);
        if (bytes) {
            return copy_bytes(m, key, bytes, len, errp);
        }
        path = qio_options_get_str(options, key, NULL);
        if (path) {
            return read_file(m, path, false, errp);
        }
    }
    if (!dir || !file) {
        return 0;
    }
    path = g_build_filename(dir, file, NULL);
    ret = read_file(m, path, true, errp);
    g_free((char *)path);
    return ret;
}

void qio_tls_material_clear(QIOTlsMaterial *m)
{
    if (m->data.data) {
        explicit_bzero(m->data.data, m->data.size);
        g_free(m->data.data);
    }
    g_free(m->where);
    *m = (QIOTlsMaterial){ .where = NULL };
}
