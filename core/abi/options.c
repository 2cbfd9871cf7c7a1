/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/options.c: named settings for opening things.
 *
 * Owns: the object behind an options handle.  Which keys there are, and what they take, is
 * core/net's.  Rule: one thread at a time; a second gets BUSY.
 */
#include "abi/options.h"
#include "abi/error.h"
#include "abi/handle.h"
#include "abi/kind.h"
#include <qio/uri.h>

typedef struct AbiOptions {
    atomic_flag busy;
    QIOOptions *settings;
} AbiOptions;

qioh_options *qioh_options_new(qioh_error *error)
{
    AbiOptions *object = g_new0(AbiOptions, 1);
    qioh_options *options;

    object->settings = qio_options_new();
    options = abi_handle_new(QIOH_KIND_OPTIONS, object, 1, error);
    if (!options) {
        abi_options_destroyed(object, 0);
    }
    return options;
}

void qioh_options_unref(qioh_options *options)
{
    abi_handle_unref(options, QIOH_KIND_OPTIONS);
}

void abi_options_destroyed(void *object, uint64_t token)
{
    AbiOptions *options = object;

    qio_options_free(options->settings);
    g_free(options);
}

static int32_t options_enter(qioh_options *options, AbiOptions **object, qioh_error *error)
{
    int32_t status = abi_pin(options, QIOH_KIND_OPTIONS, (void **)object, error);

    if (status != 0) {
        return status;
    }
    if (atomic_flag_test_and_set_explicit(&(*object)->busy, memory_order_acquire)) {
        abi_unpin(options);
        return abi_fail(error, QIOH_E_BUSY, "options: another thread uses them");
    }
    return 0;
}

static void options_leave(qioh_options *options, AbiOptions *object)
{
    atomic_flag_clear_explicit(&object->busy, memory_order_release);
    abi_unpin(options);
}

/* The end of each setter: what core said, as a status. */
static int32_t options_done(qioh_options *options, AbiOptions *object, int result, Error *err,
                            qioh_error *error)
{
    options_leave(options, object);
    return result < 0 ? abi_take_error(error, err) : 0;
}

qioh_status qioh_options_set_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error)
{
    AbiOptions *object;
    Error *err = NULL;
    int32_t status = options_enter(options, &object, error);

    if (status != 0) {
        return status;
    }
    status = qio_options_set_str(object->settings, key, value, &err);
    return options_done(options, object, status, err, error);
}

qioh_status qioh_options_add_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error)
{
    AbiOptions *object;
    Error *err = NULL;
    int32_t status = options_enter(options, &object, error);

    if (status != 0) {
        return status;
    }
    status = qio_options_add_str(object->settings, key, value, &err);
    return options_done(options, object, status, err, error);
}

qioh_status qioh_options_set_int(qioh_options *options, const char *key, int64_t value,
                                 qioh_error *error)
{
    AbiOptions *object;
    Error *err = NULL;
    int32_t status = options_enter(options, &object, error);

    if (status != 0) {
        return status;
    }
    status = qio_options_set_int(object->settings, key, value, &err);
    return options_done(options, object, status, err, error);
}

qioh_status qioh_options_set_bytes(qioh_options *options, const char *key, const void *buf,
                                   size_t len, qioh_error *error)
{
    AbiOptions *object;
    Error *err = NULL;
    int32_t status;

    if (!buf && len > 0) {
        return abi_fail(error, QIOH_E_INVAL, "buf is NULL with a len of %zu", len);
    }
    status = options_enter(options, &object, error);
    if (status != 0) {
        return status;
    }
    status = qio_options_set_bytes(object->settings, key, buf, len, &err);
    return options_done(options, object, status, err, error);
}

int32_t abi_options_set_creds(qioh_options *options, QIOTlsCreds *creds, qioh_error *error)
{
    AbiOptions *object;
    Error *err = NULL;
    int32_t status = options_enter(options, &object, error);

    if (status != 0) {
        return status;
    }
    status = qio_options_set_creds(object->settings, creds, &err);
    return options_done(options, object, status, err, error);
}

int32_t abi_options_copy(qioh_options *options, QIOOptions **copy, qioh_error *error)
{
    AbiOptions *object;
    int32_t status;

    *copy = NULL;
    if (!options) {
        return 0;
    }
    status = options_enter(options, &object, error);
    if (status != 0) {
        return status;
    }
    *copy = qio_options_copy(object->settings);
    options_leave(options, object);
    return 0;
}
