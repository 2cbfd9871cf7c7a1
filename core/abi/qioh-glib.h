/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/qioh-glib.h: the bridge between the channel API and the flat ABI, for C programs that
 * hand channels to a script or take them from one.
 *
 * Owns nothing; the handle table is core/abi/handle.c.  Any thread.
 */
#ifndef QIOH_GLIB_H
#define QIOH_GLIB_H

#include <qio/channel.h>
#include <qio/qioh.h>

G_BEGIN_DECLS

/** qio_channel_export: a handle for @ioc: the one it has, with one more reference, or a new one.
 * Returns: an owned handle (qioh_channel_unref() it), or NULL (out of memory) */
qioh_channel *qio_channel_export(QIOChannel *ioc);
/** qio_channel_import: the channel behind a handle, with a reference for the caller; NULL for a
 * handle that stands for none. */
QIOChannel *qio_channel_import(qioh_channel *channel);

G_END_DECLS
#endif
