/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/release.h: calling out, and when it is safe to call release functions.
 *
 * Owns: per thread, how deep it is inside calls of the flat ABI that may call out, and the
 * release functions that wait for the outermost of them to end.
 * Rule: whatever may run a function of the caller, or destroy an object, stands between
 * abi_scope_enter() and abi_scope_leave(); the outermost leave runs what waits, on a stack
 * with nothing of the library's but that call.  No lock is held around either.
 */
#ifndef QIO_ABI_RELEASE_H
#define QIO_ABI_RELEASE_H

#include <qio/qioh.h>
#include <stdbool.h>

/* What a thread has of its own. */
typedef struct AbiScope {
    unsigned depth;
    struct AbiRelease *first, *last;
    void *innermost;            /* custom-call.c: the call of an op that it is in */
} AbiScope;

/* This thread's.  Finding it costs a call, so who enters and leaves for each message keeps it. */
AbiScope *abi_scope(void);
void abi_scope_run(AbiScope *scope);

static inline void abi_scope_begin(AbiScope *scope)
{
    scope->depth++;
}

static inline void abi_scope_end(AbiScope *scope)
{
    if (__builtin_expect(scope->depth == 1 && scope->first, 0)) {
        abi_scope_run(scope);
    }
    scope->depth--;
}

void abi_scope_enter(void);
void abi_scope_leave(void);
/* Whether the thread is inside a call that called out. */
bool abi_scope_inside(void);
/* Runs release(user_data) at the end of the outermost call; NULL is allowed.  Inside a scope. */
void abi_release_later(qioh_release_fn release, void *user_data);

#endif
