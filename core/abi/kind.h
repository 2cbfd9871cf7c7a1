/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/kind.h: what each kind of handle does at the end of its life.
 *
 * Owns: the functions that handle.c's table of kinds points to; each is in the file of its noun.
 * Rules: retired() runs in the last unref, with pins possibly still out, and must not wait;
 * destroyed() runs once, at the last unpin, inside a scope (abi/release.h), and never fails.
 */
#ifndef QIO_ABI_KIND_H
#define QIO_ABI_KIND_H

#include <stdint.h>

typedef struct AbiKind {
    const char *name;
    void (*retired)(void *object);
    void (*destroyed)(void *object, uint64_t token);
} AbiKind;

void abi_channel_destroyed(void *object, uint64_t token);
void abi_listener_destroyed(void *object, uint64_t token);
void abi_loop_retired(void *object);
void abi_loop_destroyed(void *object, uint64_t token);
void abi_watch_destroyed(void *object, uint64_t token);
void abi_task_destroyed(void *object, uint64_t token);
void abi_fdset_destroyed(void *object, uint64_t token);
void abi_creds_destroyed(void *object, uint64_t token);
void abi_closure_destroyed(void *object, uint64_t token);
void abi_options_destroyed(void *object, uint64_t token);

#endif
