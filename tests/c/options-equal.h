/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options-equal.h: whether two sets of options are the same, for the tests that copy, print and
 * parse them.
 */
#ifndef TESTS_OPTIONS_EQUAL_H
#define TESTS_OPTIONS_EQUAL_H

#include <string.h>
#include "options/options-priv.h"

static inline bool option_equal(const QIOOptions *a, const QIOOptions *b, const char *key)
{
    const char *const *a_list = qio_options_get_list(a, key);
    const char *const *b_list = qio_options_get_list(b, key);
    size_t a_len = 0, b_len = 0;
    const void *a_bytes = qio_options_get_bytes(a, key, &a_len);
    const void *b_bytes = qio_options_get_bytes(b, key, &b_len);

    if (qio_options_has(a, key) != qio_options_has(b, key) || !a_list != !b_list ||
        !a_bytes != !b_bytes || a_len != b_len ||
        qio_options_get_object(a, key) != qio_options_get_object(b, key)) {
        return false;
    }
    if (a_bytes && memcmp(a_bytes, b_bytes, a_len) != 0) {
        return false;
    }
    return !a_list || g_strv_equal(a_list, b_list);
}

static inline bool options_equal(const QIOOptions *a, const QIOOptions *b)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);

    for (size_t i = 0; i < count; i++) {
        if (!option_equal(a, b, keys[i].name)) {
            return false;
        }
    }
    return true;
}

#endif
