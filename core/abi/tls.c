/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/tls.c: TLS channels.
 *
 * Owns: nothing; a TLS channel's handle is a channel's like any other.  Rule: what only TLS has
 * answers WRONGTYPE on another channel, before anything else is looked at.
 */
#include "abi/creds.h"
#include "abi/channel.h"
#include "abi/options.h"

#include <qio/channel-tls.h>
#include "options/options-priv.h"

/* ---- making one ---- */

static qioh_channel *tls_new(qioh_channel *channel, qioh_creds *creds, qioh_options *options,
                             bool server, qioh_error *error)
{
    QIOOptions *settings = NULL;
    QIOChannelTls *tls = NULL;
    QIOTlsCreds *tls_creds;
    Error *err = NULL;
    QIOChannel *below;
    int32_t status = abi_channel_pin(channel, &below, error);

    if (status < 0) {
        return NULL;
    }
    status = abi_creds_pin(creds, &tls_creds, error);
    if (status < 0) {
        abi_unpin(channel);
        return NULL;
    }
    status = abi_options_copy(options, &settings, error);
    if (status == 0 &&
        qio_options_check_uses(settings, QIO_FOR_BIT(QIO_FOR_TLS), "a TLS channel", &err)) {
        tls = qio_channel_tls_new_options(below, tls_creds, settings, server, &err);
    }
    if (tls && qio_options_has(settings, "name")) {
        qio_channel_set_name((QIOChannel *)tls, qio_options_get_str(settings, "name", NULL));
    }
    qio_options_free(settings);
    abi_unpin(creds);
    abi_unpin(channel);
    return status < 0 ? NULL : abi_channel_wrap((QIOChannel *)tls, err, error);
}

qioh_channel *qioh_channel_new_tls_client(qioh_channel *channel, qioh_creds *creds,
                                          qioh_options *options, qioh_error *error)
{
    return tls_new(channel, creds, options, false, error);
}

qioh_channel *qioh_channel_new_tls_server(qioh_channel *channel, qioh_creds *creds,
                                          qioh_options *options, qioh_error *error)
{
    return tls_new(channel, creds, options, true, error);
}

/* ---- what was agreed ---- */

static int32_t tls_pin(qioh_channel *channel, QIOChannelTls **tls, qioh_error *error)
{
    static GType type;

    return abi_channel_pin_class(channel, TYPE_QIO_CHANNEL_TLS, &type, "TLS", (QIOChannel **)tls,
                                 error);
}

qioh_ssize qioh_channel_tls_get_str(qioh_channel *channel, const char *key, char *buf, size_t cap,
                                    qioh_error *error)
{
    QIOChannelTls *tls;
    Error *err = NULL;
    qioh_ssize len = tls_pin(channel, &tls, error);

    if (len < 0) {
        return len;
    }
    len = abi_check_out(buf, cap, error);
    if (len == 0 && !key) {
        len = abi_fail(error, QIOH_E_INVAL, "key is NULL");
    }
    if (len == 0) {
        len = qio_channel_tls_get_str(tls, key, buf, cap, &err);
        len = len < 0 ? abi_take_error(error, err) : len;
    }
    abi_unpin(channel);
    return len;
}

qioh_ssize qioh_channel_tls_get_peer_certificate(qioh_channel *channel, uint32_t index,
                                                 void *buf, size_t cap, qioh_error *error)
{
    QIOChannelTls *tls;
    Error *err = NULL;
    qioh_ssize len = tls_pin(channel, &tls, error);

    if (len < 0) {
        return len;
    }
    len = abi_check_out(buf, cap, error);
    if (len == 0) {
        len = qio_channel_tls_get_peer_certificate(tls, index, buf, cap, &err);
        len = len < 0 ? abi_take_error(error, err) : len;
    }
    abi_unpin(channel);
    return len;
}

qioh_status qioh_channel_tls_export(qioh_channel *channel, const char *label,
                                    const void *context, size_t context_len, void *buf,
                                    size_t len, qioh_error *error)
{
    QIOChannelTls *tls;
    Error *err = NULL;
    int32_t status = tls_pin(channel, &tls, error);

    if (status < 0) {
        return status;
    }
    if (!label || (!context && context_len > 0) || (!buf && len > 0)) {
        status = abi_fail(error, QIOH_E_INVAL, "%s is NULL",
                          !label ? "label" : buf || len == 0 ? "context" : "buf");
    } else if (qio_channel_tls_export(tls, label, context, context_len, buf, len, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}

qioh_status qioh_channel_tls_rekey(qioh_channel *channel, qioh_error *error)
{
    QIOChannelTls *tls;
    Error *err = NULL;
    int32_t status = tls_pin(channel, &tls, error);

    if (status < 0) {
        return status;
    }
    if (qio_channel_tls_rekey(tls, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}
