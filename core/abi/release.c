/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/release.c: release functions of what has no loop.
 *
 * Owns: the per-thread queue.  An object with a loop is released by that loop's dispatch; one
 * without (a registration that failed because the loop was none, a watch whose loop's handle is
 * gone) is released here.
 * Rule: first in, first out, each exactly once; one that queues another is legal.
 */
#include "abi/release.h"

#include <glib.h>

typedef struct AbiRelease {
    struct AbiRelease *next;
    qioh_release_fn fn;
    void *user_data;
} AbiRelease;

static _Thread_local AbiScope here;

AbiScope *abi_scope(void)
{
    return &here;
}

/* Still inside while they run, so that a nested call leaves its own to this loop. */
void abi_scope_run(AbiScope *scope)
{
    AbiRelease *release;

    while ((release = scope->first)) {
        scope->first = release->next;
        release->fn(release->user_data);
        g_free(release);
    }
}

void abi_scope_enter(void)
{
    abi_scope_begin(&here);
}

void abi_scope_leave(void)
{
    abi_scope_end(&here);
}

bool abi_scope_inside(void)
{
    return here.depth > 0;
}

void abi_release_later(qioh_release_fn fn, void *user_data)
{
    AbiRelease *release;

    if (!fn) {
        return;
    }
    release = g_new(AbiRelease, 1);
    *release = (AbiRelease){ .fn = fn, .user_data = user_data };
    if (here.first) {
        here.last->next = release;
    } else {
        here.first = release;
    }
    here.last = release;
}
