/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-null.h: nothing as a channel: reads end at once, writes are swallowed, a seek
 * gives 0.  Always ready both ways.
 */
#ifndef QIO_CHANNEL_NULL_H
#define QIO_CHANNEL_NULL_H

#include <qio/channel.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_NULL "qio-channel-null"
#define QIO_CHANNEL_NULL(obj) OBJECT_CHECK(QIOChannelNull, (obj), TYPE_QIO_CHANNEL_NULL)

typedef struct QIOChannelNull QIOChannelNull;

/** qio_channel_null_new: a null channel. */
QIOChannelNull *qio_channel_null_new(void);

G_END_DECLS
#endif
