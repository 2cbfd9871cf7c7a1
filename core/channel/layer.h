/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/layer.h: what a layer (TLS, WebSocket) uses of the channel below it.
 *
 * Owns nothing; the state is in both channels' QIOChannelPrivate, the work in layer.c.  Rules:
 *  - Nothing here waits, and nothing here locks more than a channel's short list lock, so a layer
 *    may call it with its own lock held; a stack is locked from the top down.
 *  - What is below may be a channel that a script implements: while it is called, the layer's lock
 *    says so, see layer-lock.h.
 *  - A channel under a layer is transferred through by that layer alone; everybody else gets BUSY.
 *  - Closing either closes both.
 */
#ifndef QIO_CHANNEL_LAYER_H
#define QIO_CHANNEL_LAYER_H

#include "channel/channel-priv.h"
#include "channel/layer-lock.h"

/*
 * Puts `layer`, whose lock this is, on `below`: takes a reference and its two directions.  What
 * below has read ahead comes out of qio_layer_readv() first; whoever notifies below makes all who
 * wait for the layer look again.  Once per layer, before it is shown to anybody.
 * Returns: 0, or -1: BUSY (someone transfers, or there is a layer already), CLOSED, NOTSUP (below
 * has no io_poll)
 */
int qio_layer_attach(QIOChannel *layer, QIOLayerLock *lock, QIOChannel *below, Error **errp);
/* The layer may call functions of the program: the layers on top of it have to know, before they
 * are put there. */
void qio_layer_asks_program(QIOChannel *layer);
/* Takes the layer off: below is a channel of its own again, with what nobody has read.  Returns:
 * the layer's reference on it, for the caller; NULL if there is none any more. */
QIOChannel *qio_layer_detach(QIOChannel *layer);
/* The channel below, borrowed by whoever is inside the layer; NULL after detach. */
QIOChannel *qio_layer_below(QIOChannel *layer);
/* The same with a reference, for anybody. */
QIOChannel *qio_layer_ref_below(QIOChannel *layer);

/* One transfer through below, by whoever holds the layer's lock; reading pushes out what below, if
 * it is a layer itself, holds back.  Returns: > 0, 0 at the end, -1,
 * QIO_CHANNEL_ERR_BLOCK */
ssize_t qio_layer_readv(QIOChannel *layer, const struct iovec *iov, size_t niov, Error **errp);
ssize_t qio_layer_writev(QIOChannel *layer, const struct iovec *iov, size_t niov, Error **errp);
/* For the layer's io_poll: what to poll after below answered ERR_BLOCK in these directions. */
int qio_layer_poll(QIOChannel *layer, GIOCondition condition, QIOPollFd *out, int cap);
/* Shuts below down, by whoever holds the layer's lock. */
int qio_layer_shutdown(QIOChannel *layer, QIOChannelShutdown how, Error **errp);
/* The same by anybody else, while the holder calls a function of the program. */
int qio_layer_shutdown_unlocked(QIOChannel *layer, QIOChannelShutdown how, Error **errp);

/* For the layer's io_close: closes below, without waiting for a child.  Returns: 0, or -1 */
int qio_layer_close_below(QIOChannel *layer, Error **errp);

/* ---- for the base class ---- */

/* The layer on a channel, referenced; NULL when there is none. */
QIOChannel *qio_layer_above(QIOChannel *below);
/* Whether others than its layer may transfer through the channel; BUSY if not, CLOSED. */
bool qio_channel_check_free(QIOChannel *ioc, Error **errp);
void qio_layer_free(QIOChannel *ioc);
/* Whether the channel, or one that it lies on, is closing: who closes that closes this one next. */
bool qio_channel_ends(QIOChannel *ioc);

#endif
