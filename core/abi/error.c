/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/error.c: qioh_error, filled in for callers of any age.
 *
 * Owns: the rules of struct_size.  A caller built against a smaller struct gets the fields it
 * knows; the message is cut at its end, on a character boundary.  Any thread, no state.
 */
#include "abi/error.h"

#include <stdio.h>
#include <string.h>

G_STATIC_ASSERT(sizeof(qioh_error) == 512);
G_STATIC_ASSERT(offsetof(qioh_error, message) == 32);

/* Where each field before the message ends. */
static const uint8_t field_ends[] = { 8, 12, 16, 24, 32 };

static size_t whole_fields(size_t size)
{
    size_t whole = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(field_ends) && field_ends[i] <= size; i++) {
        whole = field_ends[i];
    }
    return whole;
}

/* Copies text so that it ends in a NUL and not inside a UTF-8 character. */
static void copy_text(char *buf, size_t cap, const char *text)
{
    size_t len = strnlen(text, cap);

    if (len == cap) {
        len--;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
}

static void fill(qioh_error *error, const qioh_error *from, const char *message)
{
    size_t size = error->struct_size ? error->struct_size : sizeof(*error);
    size_t whole;

    if (size > sizeof(*error)) {
        size = sizeof(*error);      /* a newer caller: it zeroed the rest itself */
    }
    whole = whole_fields(size);
    if (whole > offsetof(qioh_error, code)) {
        memcpy((char *)error + offsetof(qioh_error, code),
               (const char *)from + offsetof(qioh_error, code),
               whole - offsetof(qioh_error, code));
    }
    if (size > offsetof(qioh_error, message)) {
        copy_text(error->message, size - offsetof(qioh_error, message), message);
    }
}

int32_t abi_fail(qioh_error *error, int32_t code, const char *fmt, ...)
{
    qioh_error made;
    va_list args;

    if (error) {
        made = (qioh_error){ .code = code };
        va_start(args, fmt);
        vsnprintf(made.message, sizeof(made.message), fmt, args);
        va_end(args);
        fill(error, &made, made.message);
    }
    return code;
}

int32_t abi_fail_errno(qioh_error *error, int sys_errno, const char *fmt, ...)
{
    qioh_error made;
    va_list args;
    size_t len;

    if (error) {
        made = (qioh_error){ .code = QIOH_E_SYSTEM, .sys_errno = sys_errno,
                             .domain = QIOH_DOMAIN_ERRNO, .number = sys_errno };
        va_start(args, fmt);
        vsnprintf(made.message, sizeof(made.message), fmt, args);
        va_end(args);
        len = strlen(made.message);
        snprintf(made.message + len, sizeof(made.message) - len, ": %s", g_strerror(sys_errno));
        fill(error, &made, made.message);
    }
    return QIOH_E_SYSTEM;
}

int32_t abi_take_error(qioh_error *error, Error *err)
{
    qioh_error made;
    int32_t code;

    if (!err) {
        return abi_fail(error, QIOH_E_SYSTEM, "it failed without saying why");
    }
    code = qio_error_get_code(err);
    if (error && code != QIOH_E_AGAIN) {
        made = (qioh_error){ .code = code, .sys_errno = qio_error_get_errno(err),
                             .domain = qio_error_get_domain(err),
                             .number = qio_error_get_number(err),
                             .bytes = qio_error_get_bytes(err) };
        fill(error, &made, qio_error_get_pretty(err));
    }
    qio_error_free(err);
    return code;
}

int abi_give_error(Error **errp, int32_t result, const qioh_error *error)
{
    QIOErrorCode code = result < QIOH_E_TLS_TRUNCATED ? QIO_ERROR_CALLBACK : (QIOErrorCode)result;
    const char *message = error->message;
    size_t len = strnlen(message, sizeof(error->message));

    if (len == 0 || len == sizeof(error->message) || !g_utf8_validate(message, -1, NULL)) {
        message = "a function of the caller failed";
    }
    if (code == QIO_ERROR_SYSTEM && error->sys_errno > 0) {
        qio_error_set_errno(errp, error->sys_errno, "%s", message);
    } else {
        qio_error_set(errp, code == QIO_ERROR_AGAIN ? QIO_ERROR_CALLBACK : code, "%s", message);
    }
    return -1;
}

void abi_copy_error(qioh_error *error, const qioh_error *from)
{
    if (error) {
        fill(error, from, from->message);
    }
}

int32_t abi_check_out(const void *buf, size_t cap, qioh_error *error)
{
    if (!buf && cap > 0) {
        return abi_fail(error, QIOH_E_INVAL, "buf is NULL with a cap of %zu: (NULL, 0) asks for "
                        "the length", cap);
    }
    return 0;
}

qioh_ssize abi_copy_out(const char *text, size_t len, char *buf, size_t cap, qioh_error *error)
{
    int32_t status = abi_check_out(buf, cap, error);

    if (status != 0) {
        return status;
    }
    if (!buf) {
        return (qioh_ssize)len;
    }
    if (cap <= len) {
        return abi_fail(error, QIOH_E_TRUNCATED, "cap is %zu, and %zu are needed", cap, len + 1);
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
    return (qioh_ssize)len;
}

qioh_ssize abi_copy_address(QIOAddress *address, Error *err, char *buf, size_t cap,
                            qioh_error *error)
{
    qioh_ssize len;
    char *text;

    if (!address) {
        return abi_take_error(error, err);
    }
    text = qio_address_format(address);
    len = abi_copy_out(text, strlen(text), buf, cap, error);
    g_free(text);
    qio_address_free(address);
    return len;
}
