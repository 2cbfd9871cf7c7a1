/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/layer.c: what all channels on top of others have: a handshake, and the channel below.
 *
 * Owns: the reference that makes a borrowed handle of a transport last: the layer's object keeps it
 * from the first question on, until its own handle is given up, or the transport is taken.
 * Rule: the object below has one token, whoever asks.  Any thread.
 */
#include <qio/qioh-glib.h>

#include "abi/channel.h"
#include "abi/release.h"

#include "channel/layer.h"

static GQuark transport_quark(void)
{
    return g_quark_from_static_string("qioh-transport");
}

qioh_status qioh_channel_handshake(qioh_channel *channel, int32_t timeout_ms, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int result;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = abi_channel_pin(channel, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    result = qio_channel_handshake(ioc, timeout_ms, true, &err);
    abi_unpin(channel);
    return result < 0 ? abi_take_error(error, err) : result;
}

/* ---- the channel below ---- */

static pthread_mutex_t transports_lock = PTHREAD_MUTEX_INITIALIZER;

/* Keeps one reference on the transport's handle for the layer: the given one, or one there was. */
static void keep_handle(QIOChannel *ioc, qioh_channel *transport)
{
    qioh_channel *kept;

    pthread_mutex_lock(&transports_lock);
    kept = g_object_get_qdata((GObject *)ioc, transport_quark());
    if (!kept) {
        g_object_set_qdata((GObject *)ioc, transport_quark(), transport);
    }
    pthread_mutex_unlock(&transports_lock);
    if (kept) {
        abi_handle_unref(transport, QIOH_KIND_CHANNEL);
    }
}

void abi_layer_drop_handle(QIOChannel *ioc)
{
    qioh_channel *kept;

    pthread_mutex_lock(&transports_lock);
    kept = g_object_steal_qdata((GObject *)ioc, transport_quark());
    pthread_mutex_unlock(&transports_lock);
    abi_handle_unref(kept, QIOH_KIND_CHANNEL);
}

qioh_channel *qioh_channel_get_transport(qioh_channel *channel, qioh_error *error)
{
    QIOChannel *ioc, *below;
    qioh_channel *transport = NULL;

    if (abi_channel_pin(channel, &ioc, error) < 0) {
        return NULL;
    }
    below = qio_layer_ref_below(ioc);
    if (!below) {
        abi_fail(error, QIOH_E_NOTSUP, "a channel of type '%s' lies on no other",
                 G_OBJECT_TYPE_NAME(ioc));
    } else {
        transport = qio_channel_export(below);
        g_object_unref(below);
        if (transport) {
            keep_handle(ioc, transport);
        } else {
            abi_fail(error, QIOH_E_LIMIT, "there is no handle left for the transport");
        }
    }
    abi_unpin(channel);
    return transport;
}

qioh_channel *qioh_channel_take_transport(qioh_channel *channel, int32_t timeout_ms,
                                          qioh_error *error)
{
    qioh_channel *transport = NULL;
    QIOChannel *ioc, *below;
    Error *err = NULL;

    if (abi_check_timeout(timeout_ms, error) < 0 || abi_channel_pin(channel, &ioc, error) < 0) {
        return NULL;
    }
    below = qio_channel_take_transport(ioc, timeout_ms, true, &err);
    if (!below) {
        abi_take_error(error, err);
    } else {
        transport = qio_channel_export(below);
        g_object_unref(below);
        abi_layer_drop_handle(ioc);
        if (!transport) {
            abi_fail(error, QIOH_E_LIMIT, "there is no handle left for the transport");
        }
    }
    abi_unpin(channel);
    return transport;
}
