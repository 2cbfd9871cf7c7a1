/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/layers.h: the layers that a URI asks for, ready to be put on any number of channels.
 *
 * Owns: QIOLayers: which layers, the credentials, and the settings with what the URI implies (the
 * host whose certificate is expected, the Host of a request).  Made once, before anything is
 * opened, so that a bad certificate or key is told first.  Immutable; any thread.
 */
#ifndef QIO_NET_LAYERS_H
#define QIO_NET_LAYERS_H

#include "net/net-priv.h"

typedef struct QIOLayers QIOLayers;

/*
 * uri: with the caller's options, as qio_uri_parse_allowed() gives it
 * Returns: one reference, or NULL with an error.  A URI without layers has them too: none.
 */
QIOLayers *qio_layers_new(const QIOUri *uri, bool server, Error **errp);
QIOLayers *qio_layers_ref(QIOLayers *layers);
void qio_layers_unref(QIOLayers *layers);

/* Whether the layer that a key is for will take the value, as far as one value alone tells, so that
 * a URI can name the place.  INVAL */
bool qio_layers_check_value(const QIOOptionKey *key, const char *value, Error **errp);

/* How many; NULL has none. */
unsigned qio_layers_count(const QIOLayers *layers);
/*
 * Makes the layer `index`, counted from the inside, on `below`, which has the ones before it and
 * stays the caller's reference.  Sends nothing.
 * Returns: one reference, or NULL with an error
 */
QIOChannel *qio_layers_put(QIOLayers *layers, unsigned index, QIOChannel *below, Error **errp);
/* How long the handshake of a layer may take, of what is left of a deadline in all. */
int qio_layers_handshake_ms(const QIOLayers *layers, int64_t deadline_ns);

/* The URI of a client for an address that is served with the layers; for the caller to g_free(). */
char *qio_layers_format_uri(const QIOLayers *layers, const QIOAddress *address);

/*
 * All of them on a channel whose reference it takes, also on failure, when it closes it.
 * Returns: the outermost channel, or NULL with an error
 */
QIOChannel *qio_layers_put_all(QIOLayers *layers, QIOChannel *ioc, Error **errp);
/* The same with a handshake after each, until the deadline in all. */
QIOChannel *qio_layers_shake_all(QIOLayers *layers, QIOChannel *ioc, int64_t deadline_ns,
                                 bool interruptible, Error **errp);

#endif
