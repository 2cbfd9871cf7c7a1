/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/new-fd.c: the right channel for a descriptor.
 *
 * Owns: the choice between a socket and a file channel.  A descriptor is taken on success only.
 */
#include <qio/channel-file.h>
#include <qio/channel-socket.h>
#include "base/sys.h"

QIOChannel *qio_channel_new_fd(int fd, Error **errp)
{
    struct stat st;

    if (sys_fstat(fd, &st) < 0) {
        if (errno == EBADF) {
            qio_error_set(errp, QIO_ERROR_INVAL, "fd: %d is not an open descriptor", fd);
        } else {
            qio_error_set_errno(errp, errno, "cannot look at descriptor %d", fd);
        }
        return NULL;
    }
    if (S_ISSOCK(st.st_mode)) {
        return (QIOChannel *)qio_channel_socket_new_fd(fd, errp);
    }
    return (QIOChannel *)qio_channel_file_new_fd_checked(fd, errp);
}
