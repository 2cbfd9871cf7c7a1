/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/closure.c: bare function pointers that all arrive at one function of the caller.
 *
 * Owns: AbiClosure, the grammar of signatures, and all use of libffi.
 * Rules: a call pins the handle, so that an unref on any thread, its own included, leaves it
 * alone until it is out; a call that comes after the last unref, while another still runs, does
 * nothing and gives 0.  What a closure stands on is freed by a thread that is in no closure at all
 * (the graveyard).  In a forked child nothing of the parent's closures is freed: libffi's memory
 * may be shared with the parent.  Any thread.
 */
#include "abi/closure.h"
#include "abi/error.h"
#include "abi/handle.h"
#include "abi/kind.h"
#include "abi/release.h"

#include <ffi.h>
#include <string.h>

enum { ARGS_MAX = 16 };

typedef struct AbiClosure {
    qioh_closure *handle;
    qioh_closure_fn fn;
    void *user_data;
    qioh_release_fn release;
    ffi_closure *ffi;           /* writable; `code` is the same memory where it may be executed */
    void *code;
    ffi_cif cif;
    ffi_type *result;
    ffi_type *args[ARGS_MAX];
    unsigned nargs;
    uint32_t epoch;             /* base/fork.h */
    struct AbiClosure *next;    /* in the graveyard */
} AbiClosure;

static void *alloc(size_t size, void **code)
{
    return ffi_closure_alloc(size, code);
}

void *(*abi_closure_alloc)(size_t size, void **code) = alloc;

/* ---- the end ---- */

static _Thread_local unsigned depth;    /* closures that this thread is in */
static AbiClosure *_Atomic graveyard;

static void closure_free(AbiClosure *closure)
{
    if (closure->ffi) {
        ffi_closure_free(closure->ffi);
    }
    g_free(closure);
}

static void empty_graveyard(void)
{
    AbiClosure *closure = depth == 0 ? atomic_exchange(&graveyard, NULL) : NULL;

    while (closure) {
        AbiClosure *next = closure->next;

        if (closure->epoch == qio_fork_epoch()) {
            closure_free(closure);
        }
        closure = next;
    }
}

void abi_closure_destroyed(void *object, uint64_t token)
{
    AbiClosure *closure = object;

    if (closure->epoch != qio_fork_epoch()) {
        return;
    }
    abi_release_later(closure->release, closure->user_data);
    if (depth == 0) {
        closure_free(closure);
        return;
    }
    closure->next = atomic_load(&graveyard);
    while (!atomic_compare_exchange_weak(&graveyard, &closure->next, closure)) {
    }
}

void qioh_closure_unref(qioh_closure *closure)
{
    abi_handle_unref(closure, QIOH_KIND_CLOSURE);
    empty_graveyard();
}

/* ---- signatures ---- */

typedef struct Name {
    const char *text;
    ffi_type *type;
} Name;

static ffi_type *type_named(const char *text, size_t len)
{
    const Name names[] = {
        { "v", &ffi_type_void }, { "p", &ffi_type_pointer },
        { "z", sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32 },
        { "i8", &ffi_type_sint8 }, { "u8", &ffi_type_uint8 },
        { "i16", &ffi_type_sint16 }, { "u16", &ffi_type_uint16 },
        { "i32", &ffi_type_sint32 }, { "u32", &ffi_type_uint32 },
        { "i64", &ffi_type_sint64 }, { "u64", &ffi_type_uint64 },
        { "f32", &ffi_type_float }, { "f64", &ffi_type_double },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strlen(names[i].text) == len && memcmp(names[i].text, text, len) == 0) {
            return names[i].type;
        }
    }
    return NULL;
}

static const char *skip_spaces(const char *at)
{
    return at + strspn(at, " ");
}

static int32_t fault(const char *signature, const char *at, const char *what, qioh_error *error)
{
    char shown[64];
    size_t len = strnlen(at, 16);

    return abi_fail(error, QIOH_E_INVAL, "signature: %s at byte %zu, before '%s'", what,
                    (size_t)(at - signature), qio_escape_bytes(at, len, shown, sizeof(shown)));
}

/* One type.  Returns: where it ends, or NULL with the error filled */
static const char *parse_type(const char *signature, const char *at, bool result, ffi_type **type,
                              qioh_error *error)
{
    const char *from = skip_spaces(at);
    size_t len = strspn(from, "abcdefghijklmnopqrstuvwxyz0123456789");

    *type = type_named(from, len);
    if (!*type) {
        fault(signature, from, "a type is needed (p, z, i8 to i64, u8 to u64, f32, f64; v as the "
              "result)", error);
        return NULL;
    }
    if (*type == &ffi_type_void && !result) {
        fault(signature, from, "v is no argument", error);
        return NULL;
    }
    return skip_spaces(from + len);
}

/* The arguments with their brackets.  Returns: as parse_type() */
static const char *parse_args(const char *signature, const char *at, AbiClosure *closure,
                              qioh_error *error)
{
    if (*at != '(') {
        fault(signature, at, "'(' is needed", error);
        return NULL;
    }
    at = skip_spaces(at + 1);
    while (*at != ')' || closure->nargs > 0) {
        if (closure->nargs == ARGS_MAX) {
            fault(signature, at, "more than 16 arguments", error);
            return NULL;
        }
        at = parse_type(signature, at, false, &closure->args[closure->nargs], error);
        if (!at) {
            return NULL;
        }
        closure->nargs++;
        if (*at == ')') {
            break;
        }
        if (*at != ',') {
            fault(signature, at, "',' or ')' is needed", error);
            return NULL;
        }
        at++;
    }
    return skip_spaces(at + 1);
}

static int32_t parse(const char *signature, AbiClosure *closure, qioh_error *error)
{
    const char *at;

    if (!signature) {
        return abi_fail(error, QIOH_E_INVAL, "signature is NULL; one is \"i32(p,p,u32,p,p)\"");
    }
    at = parse_type(signature, signature, true, &closure->result, error);
    if (at) {
        at = parse_args(signature, at, closure, error);
    }
    if (at && *at) {
        fault(signature, at, "nothing is expected", error);
        at = NULL;
    }
    return at ? 0 : QIOH_E_INVAL;
}

/* ---- calls ---- */

/* libffi wants integers that are narrower than a register widened to one. */
static void store_result(const ffi_type *type, const void *space, void *rvalue)
{
    switch (type->type) {
    case FFI_TYPE_VOID:
        return;
    case FFI_TYPE_SINT8:
        *(ffi_sarg *)rvalue = *(const int8_t *)space;
        return;
    case FFI_TYPE_UINT8:
        *(ffi_arg *)rvalue = *(const uint8_t *)space;
        return;
    case FFI_TYPE_SINT16:
        *(ffi_sarg *)rvalue = *(const int16_t *)space;
        return;
    case FFI_TYPE_UINT16:
        *(ffi_arg *)rvalue = *(const uint16_t *)space;
        return;
    case FFI_TYPE_SINT32:
        *(ffi_sarg *)rvalue = *(const int32_t *)space;
        return;
    case FFI_TYPE_UINT32:
        *(ffi_arg *)rvalue = *(const uint32_t *)space;
        return;
    default:
        memcpy(rvalue, space, type->size);
    }
}

static void call(ffi_cif *cif, void *rvalue, void **args, void *opaque)
{
    AbiClosure *closure = opaque;
    const ffi_type *type = closure->result;
    const qioh_closure *handle = closure->handle;
    uint64_t result[2] = { 0 };

    if (abi_try_pin(handle, QIOH_KIND_CLOSURE)) {
        abi_scope_enter();
        depth++;
        closure->fn(closure->handle, args, result, closure->user_data);
        abi_unpin(handle);
        depth--;
        abi_scope_leave();
    }
    store_result(type, result, rvalue);
}

/* ---- making one ---- */

static int32_t prepare(AbiClosure *closure, qioh_error *error)
{
    if (ffi_prep_cif(&closure->cif, FFI_DEFAULT_ABI, closure->nargs, closure->result,
                     closure->args) != FFI_OK) {
        return abi_fail(error, QIOH_E_NOTSUP, "signature: this machine cannot be called so");
    }
    closure->ffi = abi_closure_alloc(sizeof(ffi_closure), &closure->code);
    if (!closure->ffi) {
        return abi_fail(error, QIOH_E_NOTSUP, "a closure cannot be made: the system gives no "
                        "memory for code that is made at run time");
    }
    if (ffi_prep_closure_loc(closure->ffi, &closure->cif, call, closure, closure->code) !=
        FFI_OK) {
        return abi_fail(error, QIOH_E_NOTSUP, "a closure cannot be made for this signature");
    }
    return 0;
}

static qioh_closure *make(const char *signature, const AbiClosure *plan, qioh_error *error)
{
    AbiClosure *closure;

    if (!plan->fn) {
        abi_fail(error, QIOH_E_INVAL, "dispatch is NULL");
        return NULL;
    }
    closure = g_new(AbiClosure, 1);
    *closure = *plan;
    closure->epoch = qio_fork_epoch();
    if (parse(signature, closure, error) == 0 && prepare(closure, error) == 0) {
        closure->handle = abi_handle_new(QIOH_KIND_CLOSURE, closure, 1, error);
    }
    if (!closure->handle) {
        closure_free(closure);
        return NULL;
    }
    return closure->handle;
}

qioh_closure *qioh_closure_new(const char *signature, qioh_closure_fn dispatch, void *user_data,
                               qioh_release_fn release, qioh_error *error)
{
    qioh_closure *handle;

    abi_scope_enter();
    empty_graveyard();
    handle = make(signature, &(AbiClosure){ .fn = dispatch, .user_data = user_data,
                                            .release = release }, error);
    if (!handle) {
        abi_release_later(release, user_data);
    }
    abi_scope_leave();
    return handle;
}

void *qioh_closure_get_code(qioh_closure *closure, qioh_error *error)
{
    AbiClosure *object;
    void *code;

    if (abi_pin(closure, QIOH_KIND_CLOSURE, (void **)&object, error) != 0) {
        return NULL;
    }
    code = object->code;
    abi_unpin(closure);
    return code;
}
