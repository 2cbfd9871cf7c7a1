/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/file-priv.h: making a file channel around a descriptor that the library made.
 */
#ifndef QIO_FILE_PRIV_H
#define QIO_FILE_PRIV_H

#include <stdbool.h>
#include <sys/types.h>
#include <qio/channel-file.h>

/* Around a descriptor whose open file description nobody else has. */
QIOChannelFile *qio_channel_file_new_own(int fd);

/* qio_channel_file_new_path(); interruptible: opening a FIFO that nobody has open at the other
 * end waits, and a signal ends that with INTR. */
QIOChannelFile *qio_channel_file_open(const char *path, int flags, mode_t mode,
                                      bool interruptible, Error **errp);

/* A terminal line, set up as qio_channel_file_set_line() does; never makes or empties a file.
 * Returns: NULL also when it is no terminal (NOTSUP). */
QIOChannelFile *qio_channel_file_open_line(const char *path, int flags, bool raw, int speed,
                                           Error **errp);

#endif
