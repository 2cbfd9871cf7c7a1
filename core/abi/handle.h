/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/handle.h: the table that turns a token of the flat ABI into an object, and says when
 * it cannot.
 *
 * Owns: AbiSlot, the token's layout, pins and references.
 *     bit  0    1..20    21..44         45..52
 *          1    slot     generation     kind        53 bits: a double holds it
 * Rules:
 *  - A look-up takes no lock: slots live in chunks that never move.
 *  - `word` is kind:8 generation:24 pins:32, so that the check and the pin are one step.  A
 *    slot that is retiring or free has kind 0, which no token has.
 *  - A pin keeps the object, not the token: it goes stale at the last unref, the object goes
 *    at the last unpin after that.
 *  - Every public function pins on entry and unpins before it returns.
 */
#ifndef QIO_ABI_HANDLE_H
#define QIO_ABI_HANDLE_H

#include <glib.h>
#include <qio/qioh.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/fork.h"

/* For what stands on the way of every transfer. */
#define ABI_INLINE static inline __attribute__((always_inline))

#define ABI_CHUNK_BITS 10
#define ABI_CHUNK_SLOTS (1u << ABI_CHUNK_BITS)
#define ABI_SLOT_BITS 20
#define ABI_CHUNKS (1u << (ABI_SLOT_BITS - ABI_CHUNK_BITS))
#define ABI_SLOTS (1u << ABI_SLOT_BITS)

typedef struct AbiSlot {
    _Atomic uint64_t word;
    _Atomic uint32_t refs;
    _Atomic uint32_t epoch;         /* the process it was made in (base/fork.h) */
    void *_Atomic object;
    uint32_t next;                  /* free list or graveyard */
} AbiSlot;

extern AbiSlot *_Atomic abi_chunks[ABI_CHUNKS];

static inline uint64_t abi_token(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static inline uint32_t abi_slot_index(uint64_t token)
{
    return (uint32_t)(token >> 1) & (ABI_SLOTS - 1);
}

/* The slot behind a token's number, or NULL where none was ever made. */
static inline AbiSlot *abi_slot_at(uint32_t index)
{
    AbiSlot *chunk = atomic_load_explicit(&abi_chunks[index >> ABI_CHUNK_BITS],
                                          memory_order_acquire);

    return chunk ? &chunk[index & (ABI_CHUNK_SLOTS - 1)] : NULL;
}

/* Pins the object of a live handle of this kind, whatever process made it; NULL if it is
 * not one. */
static inline AbiSlot *abi_try_pin(const void *handle, uint32_t kind)
{
    uint64_t token = abi_token(handle);
    AbiSlot *slot = abi_slot_at(abi_slot_index(token));
    uint64_t word;

    if (__builtin_expect(!(token & 1) || (token >> 45) != kind || !slot, 0)) {
        return NULL;
    }
    word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    while (__builtin_expect((word >> 32) == (token >> 21), 1)) {
        if (atomic_compare_exchange_weak_explicit(&slot->word, &word, word + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return slot;
        }
    }
    return NULL;
}

/* The last pin of a retired slot is out: destroys the object. */
void abi_slot_finish(AbiSlot *slot, uint32_t index);

static inline void abi_unpin(const void *handle)
{
    uint32_t index = abi_slot_index(abi_token(handle));
    AbiSlot *slot = abi_slot_at(index);
    uint64_t word = atomic_fetch_sub_explicit(&slot->word, 1, memory_order_acq_rel);

    if (__builtin_expect((uint32_t)word == 1 && (word >> 56) == 0, 0)) {
        abi_slot_finish(slot, index);
    }
}

/* The same where nothing may be destroyed, in a signal handler: leaves that to a later call. */
void abi_unpin_signal_safe(const void *handle);

/* Says why a handle cannot be pinned: BADHANDLE, WRONGTYPE. */
int32_t abi_pin_failed(const void *handle, uint32_t kind, qioh_error *error);
/* The same for one that was pinned and is the parent's; unpins it: FORKED. */
int32_t abi_pin_forked(const void *handle, uint32_t kind, qioh_error *error);

/*
 * The entry of every public function: pins `handle` and gives its object.
 * Returns: 0, or a code with the error filled
 */
static inline int32_t abi_pin(const void *handle, uint32_t kind, void **object, qioh_error *error)
{
    AbiSlot *slot = abi_try_pin(handle, kind);
    int32_t code;

    if (__builtin_expect(slot && atomic_load_explicit(&slot->epoch, memory_order_relaxed) ==
                         qio_fork_epoch(), 1)) {
        *object = atomic_load_explicit(&slot->object, memory_order_relaxed);
        return 0;
    }
    *object = NULL;
    code = slot ? abi_pin_forked(handle, kind, error) : abi_pin_failed(handle, kind, error);
    return MIN(code, QIOH_E_SYSTEM);    /* negative, as compilers cannot know */
}

/*
 * A new handle with `refs` references.  The object is destroyed by its kind's function at the
 * last unpin after the last unref; on failure it stays the caller's.
 * Returns: the token, or NULL (LIMIT: 2^20 handles are alive; NOMEM)
 */
void *abi_handle_new(uint32_t kind, void *object, uint32_t refs, qioh_error *error);
/* One more reference: 0, or a code. */
int32_t abi_handle_ref(const void *handle, uint32_t kind, qioh_error *error);
/* Gives one up; a handle that is none is ignored. */
void abi_handle_unref(const void *handle, uint32_t kind);

/* Whether this process made it; a forked child's parent's handles are not its own. */
bool abi_handle_is_ours(const void *handle);

/* "channel", or NULL for a number that is no kind. */
const char *abi_kind_name(uint32_t kind);
/* How many handles of a kind are alive; QIOH_KIND_ANY for all. */
int64_t abi_handles_alive(uint32_t kind);
/* Whether a token names a live handle, with its references and pins as seen now. */
bool abi_handle_look(uint64_t token, uint32_t *refs, uint32_t *pins);

#endif
