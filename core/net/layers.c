/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/layers.c: putting the layers of a URI on a channel.
 *
 * Owns: what a URI implies for its layers, and the order in which they come: the innermost first,
 * each with its handshake done before the next one is put on it, so that an error is told by the
 * layer it is of.  A listener's clients get all layers at once and no handshake: the first transfer
 * does that, so that a slow client holds nobody up.
 * Rule: a set is immutable and shared; what fails half-way is closed.  Any thread.
 */
#include "net/layers.h"

#include <string.h>
#include <qio/channel-tls.h>
#include <qio/channel-websock.h>
#include "base/sys.h"
#include "websock/websock-priv.h"

struct QIOLayers {
    gatomicrefcount refs;
    bool server;
    unsigned count;
    QIOLayer from_inside[QIO_LAYERS_MAX];
    QIOTlsCreds *creds;             /* NULL without TLS */
    QIOOptions *options;
};

/* ---- what the URI implies ---- */

/* The host of the address without the zone of a link-local one, which only this machine knows. */
static char *plain_host(const QIOAddress *address)
{
    if (address == NULL || address->kind != QIO_ADDRESS_INET || address->host == NULL ||
        address->host[0] == '\0') {
        return NULL;
    }
    return g_strndup(address->host, strcspn(address->host, "%"));
}

/* The Host of the request: with the port, unless it is the usual one. */
static char *web_host(const QIOUri *uri, const char *host)
{
    unsigned usual = qio_uri_has_layer(uri, QIO_LAYER_TLS) ? 443 : 80;
    bool ipv6 = strchr(host, ':') != NULL;
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, ipv6 ? "[%s]" : "%s", host);
    if (uri->address->port != usual) {
        g_string_append_printf(out, ":%u", uri->address->port);
    }
    return g_string_free(out, FALSE);
}

/* What a client expects and asks for when nobody said otherwise. */
static void set_defaults(QIOLayers *layers, const QIOUri *uri)
{
    char *host = plain_host(uri->address);

    if (host == NULL) {
        return;
    }
    if (!qio_options_has(layers->options, "tls-hostname")) {
        qio_options_set_str(layers->options, "tls-hostname", host, NULL);
    }
    if (!qio_options_has(layers->options, "ws-host")) {
        char *web = web_host(uri, host);

        qio_options_set_str(layers->options, "ws-host", web, NULL);
        g_free(web);
    }
    g_free(host);
}

static bool set_creds(QIOLayers *layers, Error **errp)
{
    QIOTlsCreds *creds = qio_options_get_object(layers->options, "tls-creds");

    if (creds == NULL) {
        layers->creds = qio_tls_creds_new(layers->options, layers->server, errp);
        return layers->creds != NULL;
    }
    if (qio_tls_creds_is_server(creds) != layers->server) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"tls-creds\" has credentials of a %s, and "
                      "they have to be of a %s", layers->server ? "client" : "server",
                      layers->server ? "server" : "client");
        return false;
    }
    layers->creds = qio_tls_creds_ref(creds);
    return true;
}

bool qio_layers_check_value(const QIOOptionKey *key, const char *value, Error **errp)
{
    QIOWsSettings settings = { 0 };
    QIOOptions *one;
    bool good;

    if (key->uses != QIO_FOR_BIT(QIO_FOR_WS)) {
        return true;
    }
    one = qio_options_new();
    qio_options_set_str(one, key->name, value, NULL);
    good = qio_ws_settings_take(&settings, one, false, errp) == 0;
    qio_ws_settings_free(&settings);
    qio_options_free(one);
    return good;
}

static bool check_web(const QIOLayers *layers, Error **errp)
{
    QIOWsSettings settings = { 0 };
    bool good = qio_ws_settings_take(&settings, layers->options, layers->server, errp) == 0;

    qio_ws_settings_free(&settings);
    return good;
}

static gpointer creds_ref(gpointer creds)
{
    return qio_tls_creds_ref(creds);
}

static void creds_unref(gpointer creds)
{
    qio_tls_creds_unref(creds);
}

int qio_options_set_creds(QIOOptions *options, QIOTlsCreds *creds, Error **errp)
{
    return qio_options_set_object(options, "tls-creds", creds, creds_ref, creds_unref, errp);
}

/* ---- life ---- */

QIOLayers *qio_layers_new(const QIOUri *uri, bool server, Error **errp)
{
    QIOLayers *layers = g_new0(QIOLayers, 1);

    g_atomic_ref_count_init(&layers->refs);
    layers->server = server;
    layers->count = uri->layer_count;
    for (unsigned i = 0; i < layers->count; i++) {
        layers->from_inside[i] = uri->layers[layers->count - 1 - i];
    }
    layers->options = qio_options_copy(uri->options);
    if (!server) {
        set_defaults(layers, uri);
    }
    if ((qio_uri_has_layer(uri, QIO_LAYER_WS) && !check_web(layers, errp)) ||
        (qio_uri_has_layer(uri, QIO_LAYER_TLS) && !set_creds(layers, errp))) {
        qio_layers_unref(layers);
        return NULL;
    }
    return layers;
}

QIOLayers *qio_layers_ref(QIOLayers *layers)
{
    if (layers != NULL) {
        g_atomic_ref_count_inc(&layers->refs);
    }
    return layers;
}

void qio_layers_unref(QIOLayers *layers)
{
    if (layers == NULL || !g_atomic_ref_count_dec(&layers->refs)) {
        return;
    }
    qio_tls_creds_unref(layers->creds);
    qio_options_free(layers->options);
    g_free(layers);
}

unsigned qio_layers_count(const QIOLayers *layers)
{
    return layers != NULL ? layers->count : 0;
}

char *qio_layers_format_uri(const QIOLayers *layers, const QIOAddress *address)
{
    static const QIOScheme schemes[] = {
        [QIO_ADDRESS_INET] = QIO_SCHEME_TCP,
        [QIO_ADDRESS_UNIX] = QIO_SCHEME_UNIX,
        [QIO_ADDRESS_ABSTRACT] = QIO_SCHEME_ABSTRACT,
        [QIO_ADDRESS_VSOCK] = QIO_SCHEME_VSOCK,
        [QIO_ADDRESS_FD] = QIO_SCHEME_FD,
    };
    QIOUri uri = {
        .layer_count = qio_layers_count(layers),
        .scheme = schemes[address->kind],
        .address = (QIOAddress *)address,
        .options = qio_options_new(),
    };
    const char *path;
    char *text;

    for (unsigned i = 0; i < uri.layer_count; i++) {
        uri.layers[i] = layers->from_inside[uri.layer_count - 1 - i];
    }
    path = layers != NULL ? qio_options_get_str(layers->options, "ws-path", NULL) : NULL;
    if (path != NULL) {
        qio_options_set_str(uri.options, "ws-path", path, NULL);
    }
    text = qio_uri_format(&uri);
    qio_options_free(uri.options);
    return text;
}

/* ---- putting them on ---- */

int qio_layers_handshake_ms(const QIOLayers *layers, int64_t deadline_ns)
{
    int left_ms = sys_ms_left(deadline_ns);
    int own_ms = qio_options_get_ms(layers->options, "handshake-timeout", -1);

    return own_ms < 0 || (left_ms >= 0 && left_ms < own_ms) ? left_ms : own_ms;
}

QIOChannel *qio_layers_put(QIOLayers *layers, unsigned index, QIOChannel *below, Error **errp)
{
    switch (layers->from_inside[index]) {
    case QIO_LAYER_TLS:
        return (QIOChannel *)qio_channel_tls_new_options(below, layers->creds, layers->options,
                                                         layers->server, errp);
    case QIO_LAYER_WS:
        return (QIOChannel *)qio_channel_websock_new_options(below, layers->options,
                                                             layers->server, errp);
    }
    return NULL;
}

static QIOChannel *put_layers(QIOLayers *layers, QIOChannel *ioc, bool shake, int64_t deadline_ns,
                              bool interruptible, Error **errp)
{
    for (unsigned i = 0; i < qio_layers_count(layers); i++) {
        QIOChannel *layer = qio_layers_put(layers, i, ioc, errp);
        bool good = layer != NULL &&
            (!shake || qio_channel_handshake(layer, qio_layers_handshake_ms(layers, deadline_ns),
                                             interruptible, errp) >= 0);

        if (!good) {
            qio_channel_close(layer != NULL ? layer : ioc, NULL);
            g_clear_object(&layer);
        }
        g_object_unref(ioc);            /* the layer has its own */
        ioc = layer;
        if (!good) {
            break;
        }
    }
    return ioc;
}

QIOChannel *qio_layers_put_all(QIOLayers *layers, QIOChannel *ioc, Error **errp)
{
    return put_layers(layers, ioc, false, 0, false, errp);
}

QIOChannel *qio_layers_shake_all(QIOLayers *layers, QIOChannel *ioc, int64_t deadline_ns,
                                 bool interruptible, Error **errp)
{
    return put_layers(layers, ioc, true, deadline_ns, interruptible, errp);
}
