/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/error.c: the Error object.
 *
 * Owns: making, copying, moving and freeing of errors.  Rules: the first error wins; making
 * one leaves errno as it was; a text is bounded, since parts of it may come from a peer.
 * An Error belongs to one thread at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <qio/error.h>

enum { ERROR_TEXT_MAX = 1024 };

struct Error {
    QIOErrorCode code;
    QIOErrorDomain domain;
    int sys_errno;
    int64_t number;
    uint64_t bytes;
    char *message;
    gpointer payload;
    GDestroyNotify payload_free;
};

Error *qio_error_abort;
Error *qio_error_fatal;

/* The only way out of the process in the library, and only for a C program that passed the
 * address of qio_error_abort or qio_error_fatal: nothing else gets here. */
static void error_end_process(Error **errp, const Error *err)
{
    if (errp == &qio_error_abort) {
        fprintf(stderr, "unexpected error: %s\n", err->message);
        abort();
    }
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void error_store(Error **errp, Error *err)
{
    if (errp == &qio_error_abort || errp == &qio_error_fatal) {
        error_end_process(errp, err);
    }
    if (!errp || *errp) {
        qio_error_free(err);
        return;
    }
    *errp = err;
}

static char *error_text(const char *fmt, va_list args)
{
    char text[ERROR_TEXT_MAX];

    if (vsnprintf(text, sizeof(text), fmt, args) < 0) {
        text[0] = '\0';
    }
    return g_strdup(text);
}

static bool error_wanted(Error **errp)
{
    return errp && !*errp;
}

static Error *error_make(QIOErrorCode code, QIOErrorDomain domain, int64_t number, char *message)
{
    Error *err = g_new0(Error, 1);

    err->code = code;
    err->domain = domain;
    err->number = number;
    err->message = message;
    return err;
}

void qio_error_set(Error **errp, QIOErrorCode code, const char *fmt, ...)
{
    int saved_errno = errno;
    va_list args;

    if (error_wanted(errp)) {
        va_start(args, fmt);
        error_store(errp, error_make(code, QIO_ERROR_DOMAIN_LIBRARY, 0, error_text(fmt, args)));
        va_end(args);
    }
    errno = saved_errno;
}

void qio_error_set_errno(Error **errp, int sys_errno, const char *fmt, ...)
{
    int saved_errno = errno;
    va_list args;
    char *tried;
    Error *err;

    if (error_wanted(errp)) {
        va_start(args, fmt);
        tried = error_text(fmt, args);
        va_end(args);
        err = error_make(QIO_ERROR_SYSTEM, QIO_ERROR_DOMAIN_ERRNO, sys_errno,
                         g_strdup_printf("%s: %s", tried, g_strerror(sys_errno)));
        err->sys_errno = sys_errno;
        g_free(tried);
        error_store(errp, err);
    }
    errno = saved_errno;
}

void qio_error_set_number(Error **errp, QIOErrorCode code, QIOErrorDomain domain, int64_t number,
                          const char *fmt, ...)
{
    int saved_errno = errno;
    va_list args;
    Error *err;

    if (error_wanted(errp)) {
        va_start(args, fmt);
        err = error_make(code, domain, number, error_text(fmt, args));
        va_end(args);
        err->sys_errno = domain == QIO_ERROR_DOMAIN_ERRNO ? (int)number : 0;
        error_store(errp, err);
    }
    errno = saved_errno;
}

void qio_error_set_bytes(Error *err, uint64_t bytes)
{
    if (err) {
        err->bytes = bytes;
    }
}

void qio_error_set_payload(Error *err, gpointer payload, GDestroyNotify free_func)
{
    if (!err) {
        return;
    }
    if (err->payload_free) {
        err->payload_free(err->payload);
    }
    err->payload = payload;
    err->payload_free = free_func;
}

void qio_error_prepend(Error *err, const char *fmt, ...)
{
    int saved_errno = errno;
    va_list args;
    char *front, *joined;

    if (!err) {
        return;
    }
    va_start(args, fmt);
    front = error_text(fmt, args);
    va_end(args);
    joined = g_strconcat(front, err->message, NULL);
    g_free(front);
    g_free(err->message);
    err->message = joined;
    errno = saved_errno;
}

void qio_error_propagate(Error **dst, Error *err)
{
    if (err) {
        error_store(dst, err);
    }
}

Error *qio_error_copy(const Error *err)
{
    Error *copy;

    if (!err) {
        return NULL;
    }
    copy = error_make(err->code, err->domain, err->number, g_strdup(err->message));
    copy->sys_errno = err->sys_errno;
    copy->bytes = err->bytes;
    return copy;
}

void qio_error_free(Error *err)
{
    int saved_errno = errno;

    if (!err) {
        return;
    }
    qio_error_set_payload(err, NULL, NULL);
    g_free(err->message);
    g_free(err);
    errno = saved_errno;
}

const char *qio_error_get_pretty(const Error *err)
{
    return err ? err->message : "no error";
}

QIOErrorCode qio_error_get_code(const Error *err)
{
    return err ? err->code : 0;
}

QIOErrorDomain qio_error_get_domain(const Error *err)
{
    return err ? err->domain : QIO_ERROR_DOMAIN_LIBRARY;
}

int qio_error_get_errno(const Error *err)
{
    return err ? err->sys_errno : 0;
}

int64_t qio_error_get_number(const Error *err)
{
    return err ? err->number : 0;
}

uint64_t qio_error_get_bytes(const Error *err)
{
    return err ? err->bytes : 0;
}

gpointer qio_error_get_payload(const Error *err)
{
    return err ? err->payload : NULL;
}

void qio_error_report(Error *err)
{
    if (err) {
        fprintf(stderr, "%s\n", err->message);
    }
    qio_error_free(err);
}

static size_t escaped_length(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '\\' ? 1 : 4;
}

char *qio_escape_bytes(const void *bytes, size_t len, char *buf, size_t cap)
{
    const uint8_t *in = bytes;
    size_t total = 0, used = 0;
    size_t i, room;

    for (i = 0; i < len && total < cap; i++) {
        total += escaped_length(in[i]);
    }
    if (cap == 0) {
        return buf;
    }
    room = total < cap ? cap - 1 : cap - MIN(cap, (size_t)4);   /* "..." and the final NUL */
    for (i = 0; i < len && used + escaped_length(in[i]) <= room; i++) {
        if (escaped_length(in[i]) == 1) {
            buf[used++] = (char)in[i];
        } else {
            used += (size_t)snprintf(buf + used, cap - used, "\\x%02x", in[i]);
        }
    }
    g_strlcpy(buf + used, total < cap ? "" : "...", cap - used);
    return buf;
}
