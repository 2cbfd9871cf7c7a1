/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/error.h: what went wrong, made where it happens.
 *
 * Owns: the Error object.  Rule: an error is made at the point of failure and never
 * re-worded above it; callers may only prepend.  `Error **errp` may be NULL, or point to
 * NULL; when it already holds an error the first one wins.  Making one preserves errno.
 * The codes are those of the flat ABI (QIOH_E_*), so an error crosses it unchanged.
 */
#ifndef QIO_ERROR_H
#define QIO_ERROR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct Error Error;

/* What failed; equal to the QIOH_E_* value of the same name. */
typedef enum QIOErrorCode {
    QIO_ERROR_SYSTEM = -1,      /* see qio_error_get_errno() */
    QIO_ERROR_AGAIN = -2,
    QIO_ERROR_INTR = -3,
    QIO_ERROR_INVAL = -4,
    QIO_ERROR_BADHANDLE = -5,
    QIO_ERROR_WRONGTYPE = -6,
    QIO_ERROR_BUSY = -7,
    QIO_ERROR_CLOSED = -8,
    QIO_ERROR_NOMEM = -9,
    QIO_ERROR_NOTSUP = -10,
    QIO_ERROR_TLS = -11,
    QIO_ERROR_PROTOCOL = -12,
    QIO_ERROR_TIMEOUT = -13,
    QIO_ERROR_CANCELLED = -14,
    QIO_ERROR_FORKED = -15,
    QIO_ERROR_CALLBACK = -16,
    QIO_ERROR_TRUNCATED = -17,
    QIO_ERROR_EOF = -18,
    QIO_ERROR_RESOLVE = -19,
    QIO_ERROR_LIMIT = -20,
    QIO_ERROR_TLS_TRUNCATED = -21,
} QIOErrorCode;

/* What qio_error_get_number() is. */
typedef enum QIOErrorDomain {
    QIO_ERROR_DOMAIN_LIBRARY = 0,
    QIO_ERROR_DOMAIN_ERRNO = 1,
    QIO_ERROR_DOMAIN_RESOLVE = 2,
    QIO_ERROR_DOMAIN_TLS = 3,
    QIO_ERROR_DOMAIN_WEBSOCKET = 4,
    QIO_ERROR_DOMAIN_EXIT = 5,
} QIOErrorDomain;

/**
 * qio_error_abort, qio_error_fatal:
 *
 * Pass their address (`&qio_error_abort`) as @errp where an error is a bug of the program
 * (prints it and aborts) or the end of it (prints it and exits with status 1).  C only:
 * nothing that the flat ABI reaches passes them.
 */
extern Error *qio_error_abort;
extern Error *qio_error_fatal;

/**
 * qio_error_set:
 * @errp: where to put the error, or NULL
 * @code: what failed
 * @fmt: printf format of the message: no final newline or full stop
 *
 * Makes an error of the library.
 */
void qio_error_set(Error **errp, QIOErrorCode code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/**
 * qio_error_set_errno:
 * @errp: where to put the error, or NULL
 * @sys_errno: a positive errno value
 * @fmt: printf format of what was tried; ": " and the errno's text are appended
 *
 * Makes an error of the system: code SYSTEM, domain ERRNO, number = @sys_errno.
 */
void qio_error_set_errno(Error **errp, int sys_errno, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/** qio_error_set_number: as qio_error_set(), with a domain and its number (alert, close code). */
void qio_error_set_number(Error **errp, QIOErrorCode code, QIOErrorDomain domain, int64_t number,
                          const char *fmt, ...) G_GNUC_PRINTF(5, 6);

/** qio_error_set_bytes: notes how far a transfer came before it failed; NULL is allowed. */
void qio_error_set_bytes(Error *err, uint64_t bytes);

/** qio_error_set_payload: hangs data on the error; @free_func runs when the error is freed
 * or the payload is replaced. */
void qio_error_set_payload(Error *err, gpointer payload, GDestroyNotify free_func);

/** qio_error_prepend: puts text before the message, which stays as it is; NULL is allowed. */
void qio_error_prepend(Error *err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/** qio_error_propagate: moves @err to @dst; frees it when @dst is NULL or already holds one. */
void qio_error_propagate(Error **dst, Error *err);

/** qio_error_copy: an equal error without the payload; NULL gives NULL. */
Error *qio_error_copy(const Error *err);
/** qio_error_free: frees an error and its payload; NULL is allowed. */
void qio_error_free(Error *err);

/** qio_error_get_pretty: the message, valid as long as the error. */
const char *qio_error_get_pretty(const Error *err);
/** qio_error_get_code: what failed; 0 for NULL. */
QIOErrorCode qio_error_get_code(const Error *err);
/** qio_error_get_domain: what qio_error_get_number() is. */
QIOErrorDomain qio_error_get_domain(const Error *err);
/** qio_error_get_errno: the errno value, 0 when the system had no part in it. */
int qio_error_get_errno(const Error *err);
/** qio_error_get_number: the errno, alert, close code or exit status, by the domain; else 0. */
int64_t qio_error_get_number(const Error *err);
/** qio_error_get_bytes: how far the transfer came before it failed. */
uint64_t qio_error_get_bytes(const Error *err);
/** qio_error_get_payload: what qio_error_set_payload() hung on it, which stays the error's. */
gpointer qio_error_get_payload(const Error *err);

/** qio_error_report: prints the message to standard error, with a newline, and frees it. */
void qio_error_report(Error *err);

/**
 * qio_escape_bytes:
 * @bytes, @len: what a peer sent
 * @buf, @cap: where the text goes, always with a final NUL
 *
 * Makes peer bytes fit for a message: printable ASCII stays, the rest becomes \xNN, and
 * what does not fit ends in "...".
 * Returns: @buf
 */
char *qio_escape_bytes(const void *bytes, size_t len, char *buf, size_t cap);

G_END_DECLS
#endif
