/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/library.c: what the library says of itself and of handles.  Owns nothing.  Any thread.
 */
#include "abi/error.h"
#include "abi/handle.h"

#include <inttypes.h>
#include <stdio.h>

uint32_t qioh_abi_version(void)
{
    return QIOH_ABI_VERSION;
}

const char *qioh_version_string(void)
{
    return QIO_VERSION;
}

const char *qioh_status_name(qioh_status code)
{
    static const char *const names[] = {
        [-QIOH_OK] = "QIOH_OK",
        [-QIOH_E_SYSTEM] = "QIOH_E_SYSTEM",
        [-QIOH_E_AGAIN] = "QIOH_E_AGAIN",
        [-QIOH_E_INTR] = "QIOH_E_INTR",
        [-QIOH_E_INVAL] = "QIOH_E_INVAL",
        [-QIOH_E_BADHANDLE] = "QIOH_E_BADHANDLE",
        [-QIOH_E_WRONGTYPE] = "QIOH_E_WRONGTYPE",
        [-QIOH_E_BUSY] = "QIOH_E_BUSY",
        [-QIOH_E_CLOSED] = "QIOH_E_CLOSED",
        [-QIOH_E_NOMEM] = "QIOH_E_NOMEM",
        [-QIOH_E_NOTSUP] = "QIOH_E_NOTSUP",
        [-QIOH_E_TLS] = "QIOH_E_TLS",
        [-QIOH_E_PROTOCOL] = "QIOH_E_PROTOCOL",
        [-QIOH_E_TIMEOUT] = "QIOH_E_TIMEOUT",
        [-QIOH_E_CANCELLED] = "QIOH_E_CANCELLED",
        [-QIOH_E_FORKED] = "QIOH_E_FORKED",
        [-QIOH_E_CALLBACK] = "QIOH_E_CALLBACK",
        [-QIOH_E_TRUNCATED] = "QIOH_E_TRUNCATED",
        [-QIOH_E_EOF] = "QIOH_E_EOF",
        [-QIOH_E_RESOLVE] = "QIOH_E_RESOLVE",
        [-QIOH_E_LIMIT] = "QIOH_E_LIMIT",
        [-QIOH_E_TLS_TRUNCATED] = "QIOH_E_TLS_TRUNCATED",
    };

    if (code > 0) {
        return names[0];        /* a good result */
    }
    return code > -(int)G_N_ELEMENTS(names) ? names[-code] : "unknown status";
}

qioh_ssize qioh_debug_describe(uint64_t handle, char *buf, size_t cap, qioh_error *error)
{
    const char *kind = handle >> 53 ? NULL : abi_kind_name((uint32_t)(handle >> 45));
    uint32_t refs, pins;
    char text[160];
    int len;

    if (handle == 0) {
        len = snprintf(text, sizeof(text), "no handle");
    } else if (!(handle & 1) || !kind) {
        len = snprintf(text, sizeof(text), "0x%" PRIx64 ": not a handle", handle);
    } else if (!abi_handle_look(handle, &refs, &pins)) {
        len = snprintf(text, sizeof(text), "%s, slot %u, generation %u: given up", kind,
                       abi_slot_index(handle), (uint32_t)(handle >> 21) & 0xffffff);
    } else {
        len = snprintf(text, sizeof(text),
                       "%s, slot %u, generation %u: %u references, %u calls inside", kind,
                       abi_slot_index(handle), (uint32_t)(handle >> 21) & 0xffffff, refs, pins);
    }
    return abi_copy_out(text, (size_t)len, buf, cap, error);
}

int64_t qioh_debug_live(uint32_t kind)
{
    if (kind != QIOH_KIND_ANY && !abi_kind_name(kind)) {
        return QIOH_E_INVAL;
    }
    return abi_handles_alive(kind);
}
