/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-file.h: files, pipes, terminals and other devices as channels.
 *
 * Owns: QIOChannelFile.  Rule: O_NONBLOCK belongs to the open file description, which other
 * processes may share, so it is never set on a descriptor that came from outside: a pipe,
 * FIFO or tty is opened again through the proc file system, else RWF_NOWAIT is used, else
 * poll and at most PIPE_BUF a write (which may block; see docs/differences.md).
 */
#ifndef QIO_CHANNEL_FILE_H
#define QIO_CHANNEL_FILE_H

#include <qio/channel.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_FILE "qio-channel-file"
#define QIO_CHANNEL_FILE(obj) OBJECT_CHECK(QIOChannelFile, (obj), TYPE_QIO_CHANNEL_FILE)

typedef struct QIOChannelFile QIOChannelFile;

/** qio_channel_file_new_fd: around @fd, which the channel owns from then on.  A bad descriptor
 * gives a channel whose operations fail (EBADF), as the seed's world expects. */
QIOChannelFile *qio_channel_file_new_fd(int fd);
/** qio_channel_file_new_fd_checked: the same, but a bad descriptor is an error. */
QIOChannelFile *qio_channel_file_new_fd_checked(int fd, Error **errp);
/** qio_channel_file_new_path: opens @path with open(2) @flags (O_CLOEXEC and O_NOCTTY are added)
 * and, when it is created, @mode less the umask.  Returns: NULL with SYSTEM, naming the path */
QIOChannelFile *qio_channel_file_new_path(const char *path, int flags, mode_t mode, Error **errp);

/**
 * qio_channel_file_set_line:
 * @raw: true: bytes go as they are, eight bits, no echo, no signals, no modem lines (cfmakeraw);
 *   false leaves the mode as it is
 * @speed: bits a second, one of those that have a name in termios; 0 leaves it as it is
 *
 * Sets a terminal line up.  The settings are the line's and outlive the channel.
 * Returns: 0, or -1 (INVAL: no such speed; NOTSUP: no terminal; CLOSED; SYSTEM)
 */
int qio_channel_file_set_line(QIOChannelFile *ioc, bool raw, int speed, Error **errp);

G_END_DECLS
#endif
