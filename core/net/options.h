/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/options.h: named settings for opening things; the keys are those of URIs.
 *
 * Owns: QIOOptions, a small table of key -> list of byte strings, and the register of known
 * keys (type, whether a list, whether a URI may carry it).
 * Rule: a value is checked when it is set, so an error names the key and what would be right;
 * an unknown key names the nearest known one.  One thread at a time.
 */
#ifndef QIO_OPTIONS_H
#define QIO_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <qio/error.h>

G_BEGIN_DECLS

typedef struct QIOOptions QIOOptions;

QIOOptions *qio_options_new(void);
QIOOptions *qio_options_copy(const QIOOptions *options);
void qio_options_free(QIOOptions *options);

/** qio_options_set_str: sets @key, replacing what it had.  Returns: 0, or -1 (INVAL) */
int qio_options_set_str(QIOOptions *options, const char *key, const char *value, Error **errp);
/** qio_options_add_str: one more value of a list key (arg, env, allow, ...). */
int qio_options_add_str(QIOOptions *options, const char *key, const char *value, Error **errp);
int qio_options_set_int(QIOOptions *options, const char *key, int64_t value, Error **errp);
/** qio_options_set_bytes: values that no URI may carry. */
int qio_options_set_bytes(QIOOptions *options, const char *key, const void *buf, size_t len,
                          Error **errp);

bool qio_options_has(const QIOOptions *options, const char *key);
/** qio_options_get_str: the (last) value, or @fallback. */
const char *qio_options_get_str(const QIOOptions *options, const char *key,
                                const char *fallback);
/** qio_options_get_list: the values, NULL-terminated, valid until the next change; NULL = none. */
const char *const *qio_options_get_list(const QIOOptions *options, const char *key);
int64_t qio_options_get_int(const QIOOptions *options, const char *key, int64_t fallback);
bool qio_options_get_bool(const QIOOptions *options, const char *key, bool fallback);
/** qio_options_get_ms: a time in seconds (decimal fractions allowed) as milliseconds; "none" and
 * "off" = -1. */
int qio_options_get_ms(const QIOOptions *options, const char *key, int fallback_ms);

G_END_DECLS
#endif
