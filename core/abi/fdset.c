/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/fdset.c: a set of descriptors, to send or as received.
 *
 * Owns: AbiFdset and its descriptors; what is not taken out is closed with it.
 * Rules: one thread at a time, more get BUSY.  An entry that was taken leaves a hole, so the
 * others keep their index; count counts holes too.  Received descriptors come after those that
 * are there; a set from which all were taken starts again at 0.
 */
#include "abi/fdset.h"
#include "abi/error.h"
#include "abi/handle.h"
#include "abi/kind.h"
#include "base/sys.h"

/* Received sets pile up to here; one message more may come on top. */
#define FDSET_FULL 1024u

struct AbiFdset {
    atomic_flag busy;
    GArray *fds;        /* int; -1 = taken */
};

static int *entry(AbiFdset *set, size_t index)
{
    return &g_array_index(set->fds, int, index);
}

static size_t count_held(AbiFdset *set)
{
    size_t held = 0;

    for (size_t i = 0; i < set->fds->len; i++) {
        held += *entry(set, i) >= 0;
    }
    return held;
}

static int32_t fdset_enter(qioh_fdset *fds, AbiFdset **set, qioh_error *error)
{
    int32_t status = abi_pin(fds, QIOH_KIND_FDSET, (void **)set, error);

    if (status != 0) {
        return status;
    }
    if (atomic_flag_test_and_set_explicit(&(*set)->busy, memory_order_acquire)) {
        abi_unpin(fds);
        return abi_fail(error, QIOH_E_BUSY, "fdset: another call uses it");
    }
    return 0;
}

static void fdset_leave(qioh_fdset *fds, AbiFdset *set)
{
    atomic_flag_clear_explicit(&set->busy, memory_order_release);
    abi_unpin(fds);
}

/* ---- handles ---- */

qioh_fdset *qioh_fdset_new(qioh_error *error)
{
    AbiFdset *set = g_new0(AbiFdset, 1);
    qioh_fdset *fds;

    set->fds = g_array_new(FALSE, FALSE, sizeof(int));
    fds = abi_handle_new(QIOH_KIND_FDSET, set, 1, error);
    if (!fds) {
        abi_fdset_destroyed(set, 0);
    }
    return fds;
}

void qioh_fdset_unref(qioh_fdset *fds)
{
    abi_handle_unref(fds, QIOH_KIND_FDSET);
}

void abi_fdset_destroyed(void *object, uint64_t token)
{
    AbiFdset *set = object;

    for (size_t i = 0; i < set->fds->len; i++) {
        if (*entry(set, i) >= 0) {
            sys_close(*entry(set, i));
        }
    }
    g_array_free(set->fds, TRUE);
    g_free(set);
}

/* ---- entries ---- */

static int32_t add_copy(AbiFdset *set, int32_t fd, qioh_error *error)
{
    int copy;

    if (count_held(set) >= QIO_CHANNEL_MAX_FDS) {
        return abi_fail(error, QIOH_E_LIMIT, "fdset: it holds %d, the most that can be sent",
                        QIO_CHANNEL_MAX_FDS);
    }
    copy = sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
        return abi_fail_errno(error, errno, "cannot copy fd %d", fd);
    }
    g_array_append_val(set->fds, copy);
    return 0;
}

qioh_status qioh_fdset_add(qioh_fdset *fds, int32_t fd, qioh_error *error)
{
    AbiFdset *set;
    int32_t status = fdset_enter(fds, &set, error);

    if (status != 0) {
        return status;
    }
    status = add_copy(set, fd, error);
    fdset_leave(fds, set);
    return status;
}

qioh_status qioh_fdset_count(qioh_fdset *fds, qioh_error *error)
{
    AbiFdset *set;
    int32_t status = fdset_enter(fds, &set, error);

    if (status != 0) {
        return status;
    }
    status = (int32_t)set->fds->len;
    fdset_leave(fds, set);
    return status;
}

static int32_t look(AbiFdset *set, uint32_t index, qioh_error *error)
{
    if (index >= set->fds->len) {
        return abi_fail(error, QIOH_E_INVAL, "index is %u, and the set has %u entries", index,
                        set->fds->len);
    }
    if (*entry(set, index) < 0) {
        return abi_fail(error, QIOH_E_INVAL, "index is %u, which was taken before", index);
    }
    return *entry(set, index);
}

qioh_status qioh_fdset_get_fd(qioh_fdset *fds, uint32_t index, qioh_error *error)
{
    AbiFdset *set;
    int32_t status = fdset_enter(fds, &set, error);

    if (status != 0) {
        return status;
    }
    status = look(set, index, error);
    fdset_leave(fds, set);
    return status;
}

qioh_status qioh_fdset_take_fd(qioh_fdset *fds, uint32_t index, qioh_error *error)
{
    AbiFdset *set;
    int32_t status = fdset_enter(fds, &set, error);

    if (status != 0) {
        return status;
    }
    status = look(set, index, error);
    if (status >= 0) {
        *entry(set, index) = -1;
    }
    fdset_leave(fds, set);
    return status;
}

/* ---- transfers ---- */

int32_t abi_fdset_begin_receive(qioh_fdset *fds, AbiFdset **set, qioh_error *error)
{
    int32_t status;

    if (!fds) {
        return 0;
    }
    status = fdset_enter(fds, set, error);
    if (status != 0) {
        return status;
    }
    if (count_held(*set) == 0) {
        g_array_set_size((*set)->fds, 0);
    }
    if ((*set)->fds->len >= FDSET_FULL) {
        status = abi_fail(error, QIOH_E_LIMIT, "fdset: it has %u entries: take them out first",
                          (*set)->fds->len);
        fdset_leave(fds, *set);
        return status;
    }
    return 0;
}

void abi_fdset_end_receive(qioh_fdset *fds, AbiFdset *set, int *received, size_t count)
{
    if (!set) {
        return;
    }
    g_array_append_vals(set->fds, received, (guint)count);
    g_free(received);
    fdset_leave(fds, set);
}

void abi_fdset_take_all(qioh_fdset *fds, int **out, size_t *count)
{
    AbiFdset *set;
    size_t n = 0;

    if (fdset_enter(fds, &set, NULL) < 0) {
        return;
    }
    *out = g_new(int, MAX(set->fds->len, 1));
    for (size_t i = 0; i < set->fds->len; i++) {
        if (*entry(set, i) >= 0) {
            (*out)[n++] = *entry(set, i);
        }
    }
    g_array_set_size(set->fds, 0);
    if (n == 0) {
        g_clear_pointer(out, g_free);
    }
    *count = n;
    fdset_leave(fds, set);
}

int32_t abi_fdset_begin_send(qioh_fdset *fds, AbiFdset **set, int sent[QIO_CHANNEL_MAX_FDS],
                             size_t *count, qioh_error *error)
{
    size_t n = 0;
    int32_t status;

    if (!fds) {
        return 0;
    }
    status = fdset_enter(fds, set, error);
    if (status != 0) {
        return status;
    }
    if (count_held(*set) > QIO_CHANNEL_MAX_FDS) {
        status = abi_fail(error, QIOH_E_INVAL, "fdset: it holds %zu, and %d is the most that one "
                          "message carries", count_held(*set), QIO_CHANNEL_MAX_FDS);
        fdset_leave(fds, *set);
        return status;
    }
    for (size_t i = 0; i < (*set)->fds->len; i++) {
        if (*entry(*set, i) >= 0) {
            sent[n++] = *entry(*set, i);
        }
    }
    *count = n;
    return 0;
}

void abi_fdset_end_send(qioh_fdset *fds, AbiFdset *set)
{
    if (set) {
        fdset_leave(fds, set);
    }
}
