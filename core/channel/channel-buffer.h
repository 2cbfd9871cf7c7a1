/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-buffer.h: memory as a seekable channel.
 *
 * Owns: QIOChannelBuffer: one position for reading and writing, as in a file.  Writing at the
 * position overwrites and extends; seeking beyond the end is legal and a later write fills the
 * gap with zeros.  Always ready both ways.
 */
#ifndef QIO_CHANNEL_BUFFER_H
#define QIO_CHANNEL_BUFFER_H

#include <qio/channel.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_BUFFER "qio-channel-buffer"
#define QIO_CHANNEL_BUFFER(obj) OBJECT_CHECK(QIOChannelBuffer, (obj), TYPE_QIO_CHANNEL_BUFFER)

/**
 * QIOChannelBuffer: the members may be read by C programs
 * @capacity: bytes allocated
 * @usage: bytes that hold data
 * @offset: the position; may be beyond @usage
 * @data: the bytes; moves when the buffer grows
 */
typedef struct QIOChannelBuffer {
    QIOChannel parent;
    size_t capacity;
    size_t usage;
    size_t offset;
    uint8_t *data;
} QIOChannelBuffer;

/** qio_channel_buffer_new: an empty buffer; @capacity is a hint, 0 is legal. */
QIOChannelBuffer *qio_channel_buffer_new(size_t capacity);

G_END_DECLS
#endif
