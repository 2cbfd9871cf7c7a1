/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/acl.c: who may come in, by rules.
 *
 * Owns: matching.  Rules: they are globs (* and ?) of the whole identity, in order; the first that
 * fits decides; one that starts with "!" refuses; whom none fits is refused.  Any thread.
 */
#include "tls/tls-priv.h"

bool qio_tls_acl_allows(const char *const *rules, const char *identity)
{
    for (; *rules != NULL; rules++) {
        bool refuses = (*rules)[0] == '!';

        if (g_pattern_match_simple(*rules + refuses, identity)) {
            return !refuses;
        }
    }
    return false;
}
