/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/creds.c: TLS credentials, and the functions of the caller that they ask.
 *
 * Owns: AbiCreds, the object behind a handle; AbiHook, one registered function, freed with the
 * credentials by the core's destroy notify.
 * Rules: the functions run inside the call that shakes hands, on its thread, with the TLS channel
 * locked: it answers them BUSY, everything else is as in any callback.  The handle that they get is
 * borrowed, and stale once its owner has given it up: a reference of the hook's own would keep the
 * credentials alive for good.  Release functions run at the end of the outermost call of the thread
 * that drops the last reference on the credentials, which channels hold too.
 */
#include "abi/creds.h"
#include "abi/channel.h"
#include "abi/kind.h"
#include "abi/options.h"
#include "abi/release.h"

#include <qio/qioh-glib.h>
#include "options/options-priv.h"

typedef struct AbiCreds {
    QIOTlsCreds *creds;
    qioh_creds *handle;
} AbiCreds;

typedef struct AbiHook {
    qioh_creds *creds;
    qioh_psk_fn psk;
    qioh_authorize_fn authorize;
    void *user_data;
    qioh_release_fn release;
    uint32_t epoch;             /* base/fork.h */
} AbiHook;

/* ---- life ---- */

static qioh_creds *wrap(QIOTlsCreds *creds, Error *err, qioh_error *error)
{
    AbiCreds *object;

    if (!creds) {
        abi_take_error(error, err);
        return NULL;
    }
    object = g_new0(AbiCreds, 1);
    object->creds = creds;
    object->handle = abi_handle_new(QIOH_KIND_CREDS, object, 1, error);
    if (!object->handle) {
        abi_creds_destroyed(object, 0);
        return NULL;
    }
    return object->handle;
}

void abi_creds_destroyed(void *object, uint64_t token)
{
    AbiCreds *creds = object;

    qio_tls_creds_unref(creds->creds);
    g_free(creds);
}

void qioh_creds_unref(qioh_creds *creds)
{
    abi_handle_unref(creds, QIOH_KIND_CREDS);
}

static int32_t creds_pin(qioh_creds *creds, AbiCreds **object, qioh_error *error)
{
    return abi_pin(creds, QIOH_KIND_CREDS, (void **)object, error);
}

int32_t abi_creds_pin(qioh_creds *creds, QIOTlsCreds **object, qioh_error *error)
{
    AbiCreds *found;
    int32_t status = creds_pin(creds, &found, error);

    *object = status == 0 ? found->creds : NULL;
    return status;
}

/* ---- making ---- */

typedef QIOTlsCreds *(*AbiCredsMaker)(const QIOOptions *options, bool server, Error **errp);

static qioh_creds *creds_new(AbiCredsMaker make, qioh_options *options, int32_t server,
                             qioh_error *error)
{
    QIOOptions *settings;
    QIOTlsCreds *creds = NULL;
    Error *err = NULL;

    if (server != 0 && server != 1) {
        abi_fail(error, QIOH_E_INVAL, "server is %d; a server is 1, a client 0", server);
        return NULL;
    }
    if (abi_options_copy(options, &settings, error) < 0) {
        return NULL;
    }
    if (qio_options_check_uses(settings, QIO_FOR_BIT(QIO_FOR_CREDS), "credentials", &err)) {
        creds = make(settings, server, &err);
    }
    qio_options_free(settings);
    return wrap(creds, err, error);
}

qioh_creds *qioh_creds_new_x509(qioh_options *options, int32_t server, qioh_error *error)
{
    return creds_new(qio_tls_creds_new_x509, options, server, error);
}

qioh_creds *qioh_creds_new_psk(qioh_options *options, int32_t server, qioh_error *error)
{
    return creds_new(qio_tls_creds_new_psk, options, server, error);
}

qioh_creds *qioh_creds_new_anon(qioh_options *options, int32_t server, qioh_error *error)
{
    return creds_new(qio_tls_creds_new_anon, options, server, error);
}

/* ---- functions of the caller ---- */

static void hook_destroy(gpointer opaque)
{
    AbiHook *hook = opaque;

    abi_scope_enter();
    /* As with everything of the parent's: what it registered, it releases. */
    if (hook->epoch == qio_fork_epoch()) {
        abi_release_later(hook->release, hook->user_data);
    }
    g_free(hook);
    abi_scope_leave();
}

static AbiHook *hook_new(qioh_creds *creds, void *user_data, qioh_release_fn release)
{
    AbiHook *hook = g_new0(AbiHook, 1);

    hook->creds = creds;
    hook->user_data = user_data;
    hook->release = release;
    hook->epoch = qio_fork_epoch();
    return hook;
}

static int psk_lookup(QIOTlsCreds *creds, const char *user, void *key, size_t cap,
                      gpointer opaque, Error **errp)
{
    AbiHook *hook = opaque;
    qioh_error error = { .struct_size = sizeof(error) };
    int32_t result;

    abi_scope_enter();
    result = hook->psk(hook->creds, user, key, cap, hook->user_data, &error);
    abi_scope_leave();
    if (result > 0 && (size_t)result > cap) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "the function that looks keys up gave a length of "
                      "%d where %zu fit", result, cap);
        return -1;
    }
    return result < 0 ? abi_give_error(errp, result, &error) : result;
}

static int authorize(QIOChannel *ioc, const char *identity, gpointer opaque, Error **errp)
{
    AbiHook *hook = opaque;
    qioh_error error = { .struct_size = sizeof(error) };
    qioh_channel *channel = qio_channel_export(ioc);
    int32_t result;

    if (!channel) {
        qio_error_set(errp, QIO_ERROR_LIMIT, "there is no handle left for the channel that wants "
                      "to be let in");
        return -1;
    }
    abi_scope_enter();
    result = hook->authorize(channel, identity, hook->user_data, &error);
    abi_handle_unref(channel, QIOH_KIND_CHANNEL);
    abi_scope_leave();
    return result < 0 ? abi_give_error(errp, result, &error) : result == 1;
}

/* What the two registrations share; one of the functions is NULL. */
typedef int (HookInstall)(QIOTlsCreds *creds, AbiHook *hook, Error **errp);

static qioh_status set_hook(qioh_creds *creds, const AbiHook *fns, HookInstall *install,
                            void *user_data, qioh_release_fn release, qioh_error *error)
{
    AbiCreds *object;
    Error *err = NULL;
    AbiHook *hook;
    int32_t status;

    abi_scope_enter();
    status = creds_pin(creds, &object, error);
    if (status == 0 && !fns->psk && !fns->authorize) {
        status = abi_fail(error, QIOH_E_INVAL, "fn is NULL");
        abi_unpin(creds);
    }
    if (status < 0) {
        abi_release_later(release, user_data);
    } else {
        hook = hook_new(creds, user_data, release);
        hook->psk = fns->psk;
        hook->authorize = fns->authorize;
        if (install(object->creds, hook, &err) < 0) {
            status = abi_take_error(error, err);
        }
        abi_unpin(creds);
    }
    abi_scope_leave();
    return status;
}

static int install_psk_lookup(QIOTlsCreds *creds, AbiHook *hook, Error **errp)
{
    return qio_tls_creds_set_psk_lookup(creds, psk_lookup, hook, hook_destroy, errp);
}

static int install_authorize(QIOTlsCreds *creds, AbiHook *hook, Error **errp)
{
    return qio_tls_creds_set_authorize(creds, authorize, hook, hook_destroy, errp);
}

qioh_status qioh_creds_set_psk_lookup(qioh_creds *creds, qioh_psk_fn fn, void *user_data,
                                      qioh_release_fn release, qioh_error *error)
{
    return set_hook(creds, &(AbiHook){ .psk = fn }, install_psk_lookup, user_data, release, error);
}

qioh_status qioh_creds_set_authorize(qioh_creds *creds, qioh_authorize_fn fn, void *user_data,
                                     qioh_release_fn release, qioh_error *error)
{
    return set_hook(creds, &(AbiHook){ .authorize = fn }, install_authorize, user_data, release,
                    error);
}

/* ---- as a setting ---- */

qioh_status qioh_options_set_creds(qioh_options *options, qioh_creds *creds, qioh_error *error)
{
    QIOTlsCreds *object;
    int32_t status = abi_creds_pin(creds, &object, error);

    if (status != 0) {
        return status;
    }
    status = abi_options_set_creds(options, object, error);
    abi_unpin(creds);
    return status;
}
