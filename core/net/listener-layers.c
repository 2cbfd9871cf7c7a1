/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listener-layers.c: clients of a listener whose URI has layers.
 *
 * Owns: putting the layers on an accepted socket, and the address with the layers as text.
 * Rules: nothing here shakes hands or waits for a client that is there; where layers are asked for,
 * nobody ever gets the bare socket.  Any thread.
 */
#include "net/listener-priv.h"

QIOChannel *qio_net_listener_accept_channel(QIONetListener *listener, int timeout_ms,
                                            bool interruptible, Error **errp)
{
    QIOChannelSocket *client = qio_listener_accept_socket(listener, timeout_ms, interruptible,
                                                          errp);

    if (client == NULL) {
        return NULL;
    }
    return qio_listener_put_layers(listener, client, errp);
}

QIOChannel *qio_listener_put_layers(QIONetListener *listener, QIOChannelSocket *client,
                                    Error **errp)
{
    QIOChannel *ioc = qio_layers_put_all(listener->layers, (QIOChannel *)client, errp);
    char *name = NULL;

    if (ioc == NULL || ioc == (QIOChannel *)client) {
        return ioc;
    }
    pthread_mutex_lock(&listener->lock);
    if (listener->name != NULL) {
        name = g_strdup_printf("%s-client", listener->name);
    }
    pthread_mutex_unlock(&listener->lock);
    if (name != NULL) {
        qio_channel_set_name(ioc, name);
        g_free(name);
    }
    return ioc;
}

char *qio_net_listener_get_uri(QIONetListener *listener, size_t index, Error **errp)
{
    QIOAddress *address = qio_net_listener_get_address(listener, index, errp);
    char *text;

    if (address == NULL) {
        return NULL;
    }
    text = qio_layers_format_uri(listener->layers, address);
    qio_address_free(address);
    return text;
}
