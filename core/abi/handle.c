/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/handle.c: the handle table.
 *
 * Owns: the chunks, the free list, the graveyard and the counts.
 * Rules: `lock` guards making and freeing only; look-ups, references and pins are atomics.
 * Free slots are used first in, first out, and only while many of them wait, so that a
 * token's value returns after at least 2^24 x ABI_FREE_MIN later handles.
 * A forked child may find the lock taken by a thread that it does not have: it starts with a new
 * lock and an empty free list, and the slots that were on it stay unused.
 */
#include "abi/handle.h"
#include "abi/error.h"
#include "abi/kind.h"
#include "abi/release.h"

#include <pthread.h>

#define ABI_FREE_MIN 512u       /* freed slots that rest before the first is used again */
#define ABI_NO_SLOT UINT32_MAX

/* A token is a pointer value: narrower pointers need another layout. */
G_STATIC_ASSERT(sizeof(void *) == sizeof(uint64_t));
G_STATIC_ASSERT(sizeof(AbiSlot) == 32);

AbiSlot *_Atomic abi_chunks[ABI_CHUNKS];

static const AbiKind kinds[] = {
    [QIOH_KIND_CHANNEL] = { "channel", NULL, abi_channel_destroyed },
    [QIOH_KIND_LISTENER] = { "listener", NULL, abi_listener_destroyed },
    [QIOH_KIND_LOOP] = { "loop", abi_loop_retired, abi_loop_destroyed },
    [QIOH_KIND_WATCH] = { "watch", NULL, abi_watch_destroyed },
    [QIOH_KIND_TASK] = { "task", NULL, abi_task_destroyed },
    [QIOH_KIND_FDSET] = { "fdset", NULL, abi_fdset_destroyed },
    [QIOH_KIND_CREDS] = { "creds", NULL, abi_creds_destroyed },
    [QIOH_KIND_OPTIONS] = { "options", NULL, abi_options_destroyed },
    [QIOH_KIND_CLOSURE] = { "closure", NULL, abi_closure_destroyed },
};

#define ABI_RENEWING UINT32_MAX    /* no epoch gets there */

static struct {
    pthread_mutex_t lock;
    _Atomic uint32_t epoch;     /* the process that `lock` and the free list are of */
    uint32_t used;              /* slots ever used */
    uint32_t first, last;       /* the free list */
    uint32_t free;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .first = ABI_NO_SLOT, .last = ABI_NO_SLOT };

/* Slots that a signal handler left to destroy, the newest first. */
static _Atomic uint32_t graveyard = ABI_NO_SLOT;
static _Atomic int64_t alive[G_N_ELEMENTS(kinds)];

const char *abi_kind_name(uint32_t kind)
{
    return kind < G_N_ELEMENTS(kinds) ? kinds[kind].name : NULL;
}

static uint64_t make_token(uint32_t index, uint64_t word)
{
    return 1 | (uint64_t)index << 1 | (word >> 32) << 21;
}

/* ---- free slots ---- */

/* A child's first use, from whichever of its threads comes first. */
static void table_renew(uint32_t epoch)
{
    uint32_t seen = atomic_load(&table.epoch);

    while (seen != epoch) {
        if (seen == ABI_RENEWING ||
            !atomic_compare_exchange_weak(&table.epoch, &seen, ABI_RENEWING)) {
            seen = atomic_load(&table.epoch);
            continue;
        }
        if (seen != 0) {
            pthread_mutex_init(&table.lock, NULL);
            table.first = table.last = ABI_NO_SLOT;
            table.free = 0;
            atomic_store(&graveyard, ABI_NO_SLOT);
        }
        atomic_store(&table.epoch, epoch);
        return;
    }
}

static void table_lock(void)
{
    uint32_t epoch = qio_fork_epoch();

    if (G_UNLIKELY(atomic_load(&table.epoch) != epoch)) {
        table_renew(epoch);
    }
    pthread_mutex_lock(&table.lock);
}

static void free_list_push(uint32_t index)
{
    abi_slot_at(index)->next = ABI_NO_SLOT;
    if (table.free++ == 0) {
        table.first = index;
    } else {
        abi_slot_at(table.last)->next = index;
    }
    table.last = index;
}

static uint32_t free_list_pop(void)
{
    uint32_t index = table.first;

    table.first = abi_slot_at(index)->next;
    table.free--;
    return index;
}

/* A slot that was never used, or ABI_NO_SLOT. */
static uint32_t fresh_slot(void)
{
    uint32_t index = table.used;
    AbiSlot *chunk;

    if (index == ABI_SLOTS) {
        return ABI_NO_SLOT;
    }
    if (index % ABI_CHUNK_SLOTS == 0) {
        chunk = g_try_new0(AbiSlot, ABI_CHUNK_SLOTS);
        if (!chunk) {
            return ABI_NO_SLOT;
        }
        atomic_store_explicit(&abi_chunks[index >> ABI_CHUNK_BITS], chunk, memory_order_release);
    }
    table.used++;
    return index;
}

static uint32_t take_slot(void)
{
    uint32_t index;

    table_lock();
    index = table.free < ABI_FREE_MIN ? fresh_slot() : ABI_NO_SLOT;
    if (index == ABI_NO_SLOT && table.free > 0) {
        index = free_list_pop();
    }
    pthread_mutex_unlock(&table.lock);
    return index;
}

/* ---- the end of a handle ---- */

/* The word of a retired slot keeps its generation; the token that it had is one before. */
static uint64_t retired_token(uint32_t index, uint64_t word)
{
    uint64_t generation = ((word >> 32) - 1) & 0xffffff;

    return 1 | (uint64_t)index << 1 | generation << 21;
}

static void destroy_object(AbiSlot *slot, uint32_t index)
{
    uint32_t kind = atomic_load_explicit(&slot->refs, memory_order_relaxed) >> 24;
    void *object = atomic_exchange(&slot->object, NULL);
    uint64_t token = retired_token(index, atomic_load(&slot->word)) | (uint64_t)kind << 45;

    /* Gone already: a forked child did not wait for the pins of threads it does not have. */
    if (object && kinds[kind].destroyed) {
        kinds[kind].destroyed(object, token);
    }
}

static void bury(AbiSlot *slot, uint32_t index)
{
    destroy_object(slot, index);
    table_lock();
    free_list_push(index);
    pthread_mutex_unlock(&table.lock);
}

static void empty_graveyard(void)
{
    uint32_t index = atomic_exchange(&graveyard, ABI_NO_SLOT);

    while (index != ABI_NO_SLOT) {
        AbiSlot *slot = abi_slot_at(index);
        uint32_t next = slot->next;

        bury(slot, index);
        index = next;
    }
}

void abi_slot_finish(AbiSlot *slot, uint32_t index)
{
    abi_scope_enter();
    bury(slot, index);
    empty_graveyard();
    abi_scope_leave();
}

void abi_unpin_signal_safe(const void *handle)
{
    uint32_t index = abi_slot_index(abi_token(handle));
    AbiSlot *slot = abi_slot_at(index);
    uint64_t word = atomic_fetch_sub_explicit(&slot->word, 1, memory_order_acq_rel);

    if ((uint32_t)word == 1 && (word >> 56) == 0) {
        slot->next = atomic_load(&graveyard);
        while (!atomic_compare_exchange_weak(&graveyard, &slot->next, index)) {
        }
    }
}

/* The last reference is gone: later look-ups fail.  The kind moves to refs, whose count is 0. */
static void retire(AbiSlot *slot, uint32_t kind)
{
    uint64_t word = atomic_load(&slot->word);
    uint64_t next;

    atomic_store(&slot->refs, kind << 24);
    if (kinds[kind].retired) {
        kinds[kind].retired(atomic_load(&slot->object));
    }
    do {
        next = ((word >> 32) + 1) & 0xffffff;
        next = next << 32 | (uint32_t)word;
    } while (!atomic_compare_exchange_weak(&slot->word, &word, next));
    atomic_fetch_sub(&alive[kind], 1);
}

/* ---- handles ---- */

void *abi_handle_new(uint32_t kind, void *object, uint32_t refs, qioh_error *error)
{
    uint32_t index;
    AbiSlot *slot;
    uint64_t word;

    if (G_UNLIKELY(atomic_load_explicit(&graveyard, memory_order_relaxed) != ABI_NO_SLOT)) {
        abi_scope_enter();
        empty_graveyard();
        abi_scope_leave();
    }
    index = take_slot();
    if (index == ABI_NO_SLOT) {
        abi_fail(error, QIOH_E_LIMIT, "%u handles are alive, or memory is out", ABI_SLOTS);
        return NULL;
    }
    slot = abi_slot_at(index);
    atomic_store(&slot->object, object);
    atomic_store(&slot->epoch, qio_fork_epoch());
    atomic_store(&slot->refs, refs);
    word = (atomic_load(&slot->word) >> 32 & 0xffffff) | kind << 24;
    atomic_store(&slot->word, word << 32);
    atomic_fetch_add(&alive[kind], 1);
    return (void *)(uintptr_t)make_token(index, word << 32);
}

/* References stay below 2^24: above is the kind of a retired slot. */
#define ABI_REFS_MAX 0xffffffu

int32_t abi_handle_ref(const void *handle, uint32_t kind, qioh_error *error)
{
    void *object;
    int32_t status = abi_pin(handle, kind, &object, error);
    AbiSlot *slot;
    uint32_t refs;

    if (status != 0) {
        return status;
    }
    slot = abi_slot_at(abi_slot_index(abi_token(handle)));
    refs = atomic_load(&slot->refs);
    do {
        if (refs == 0 || refs > ABI_REFS_MAX) {
            status = abi_pin_failed(handle, kind, error);
            break;
        }
        if (refs == ABI_REFS_MAX) {
            status = abi_fail(error, QIOH_E_LIMIT, "%s: it has %u references already",
                              kinds[kind].name, refs);
            break;
        }
    } while (!atomic_compare_exchange_weak(&slot->refs, &refs, refs + 1));
    abi_unpin(handle);
    return status;
}

/* In a forked child the pins of other threads stay for ever.  Unless this thread is inside a
 * call of its own, nobody uses the object, and its descriptors must not stay open. */
static void drop_in_child(AbiSlot *slot, uint32_t index)
{
    uint32_t pins = (uint32_t)atomic_load(&slot->word);

    if (pins > 1 && !abi_scope_inside()) {
        abi_scope_enter();
        destroy_object(slot, index);
        abi_scope_leave();
    }
}

void abi_handle_unref(const void *handle, uint32_t kind)
{
    AbiSlot *slot = abi_try_pin(handle, kind);
    uint32_t refs;

    if (!slot) {
        return;
    }
    refs = atomic_load(&slot->refs);
    while (refs > 0 && refs <= ABI_REFS_MAX &&
           !atomic_compare_exchange_weak(&slot->refs, &refs, refs - 1)) {
    }
    if (refs == 1) {
        retire(slot, kind);
        if (atomic_load(&slot->epoch) != qio_fork_epoch()) {
            drop_in_child(slot, abi_slot_index(abi_token(handle)));
        }
    }
    abi_unpin(handle);
}

bool abi_handle_is_ours(const void *handle)
{
    AbiSlot *slot = abi_slot_at(abi_slot_index(abi_token(handle)));

    return atomic_load(&slot->epoch) == qio_fork_epoch();
}

int32_t abi_pin_failed(const void *handle, uint32_t kind, qioh_error *error)
{
    uint64_t token = abi_token(handle);
    const char *name = abi_kind_name(kind);
    uint32_t index = abi_slot_index(token);
    const char *other = token >> 53 ? NULL : abi_kind_name((uint32_t)(token >> 45));

    if (!handle) {
        return abi_fail(error, QIOH_E_BADHANDLE, "%s: the handle is NULL", name);
    }
    if (!(token & 1) || !other) {
        return abi_fail(error, QIOH_E_BADHANDLE, "%s: %p is not a handle", name, handle);
    }
    if ((token >> 45) != kind) {
        return abi_fail(error, QIOH_E_WRONGTYPE, "%s: a handle of kind %s (slot %u) was given",
                        name, other, index);
    }
    return abi_fail(error, QIOH_E_BADHANDLE, "%s: the handle (slot %u) was given up before",
                    name, index);
}

int32_t abi_pin_forked(const void *handle, uint32_t kind, qioh_error *error)
{
    abi_unpin(handle);
    return abi_fail(error, QIOH_E_FORKED,
                    "%s: the handle (slot %u) belongs to the parent process",
                    abi_kind_name(kind), abi_slot_index(abi_token(handle)));
}

int64_t abi_handles_alive(uint32_t kind)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kind == QIOH_KIND_ANY || kind == i) {
            sum += atomic_load(&alive[i]);
        }
    }
    return sum;
}

bool abi_handle_look(uint64_t token, uint32_t *refs, uint32_t *pins)
{
    AbiSlot *slot = abi_slot_at(abi_slot_index(token));
    uint64_t word = slot ? atomic_load(&slot->word) : 0;

    if (!(token & 1) || !slot || (word >> 56) == 0 || (word >> 32) != (token >> 21)) {
        return false;
    }
    *refs = atomic_load(&slot->refs) & ABI_REFS_MAX;
    *pins = (uint32_t)word;
    return true;
}
