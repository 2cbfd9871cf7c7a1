/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/error.h: filling in the caller's qioh_error.
 *
 * Owns: the way from Error to qioh_error.  Rules: struct_size says how much of the struct the
 * caller has; nothing beyond is touched, and no field is written in part.  AGAIN leaves
 * the error alone.  NULL is allowed everywhere.
 */
#ifndef QIO_ABI_ERROR_H
#define QIO_ABI_ERROR_H

#include <qio/error.h>
#include <qio/address.h>
#include <qio/qioh.h>

/* Fills `error` and returns `code`. */
int32_t abi_fail(qioh_error *error, int32_t code, const char *fmt, ...) G_GNUC_PRINTF(3, 4)
    __attribute__((cold));
/* The same for a failed system call; the errno's text is appended. */
int32_t abi_fail_errno(qioh_error *error, int sys_errno, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4) __attribute__((cold));
/* Moves `err` into `error`, frees it, returns its code. */
int32_t abi_take_error(qioh_error *error, Error *err) __attribute__((cold));
/* What a callback that failed with `result` has put into `error`, as an Error.  Returns: -1 */
int abi_give_error(Error **errp, int32_t result, const qioh_error *error);
/* Copies what a callback filled in (always a whole struct) to a caller's error. */
void abi_copy_error(qioh_error *error, const qioh_error *from);

/* 0, or INVAL for a NULL buffer with a capacity: (NULL, 0) asks for the length. */
int32_t abi_check_out(const void *buf, size_t cap, qioh_error *error);
/*
 * The end of every function that copies a string out: len bytes of text and a final NUL.
 * Returns: len; TRUNCATED when it does not fit, INVAL for a NULL buffer with a capacity
 */
qioh_ssize abi_copy_out(const char *text, size_t len, char *buf, size_t cap, qioh_error *error);
/* The same for an address, which it frees; a NULL one moves err to error. */
qioh_ssize abi_copy_address(QIOAddress *address, Error *err, char *buf, size_t cap,
                            qioh_error *error);

#endif
