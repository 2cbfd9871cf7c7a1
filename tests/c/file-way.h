/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file-way.h: file channels whose descriptors are kept from waiting in a chosen way.
 *
 * Owns: choose(), which lets the seam refuse the better ways; it installs the seam.
 */
#ifndef TESTS_FILE_WAY_H
#define TESTS_FILE_WAY_H

#include "runner.h"
#include "seam.h"

#include <glib.h>
#include <stdio.h>
#include <unistd.h>
#include <qio/channel-file.h>

typedef enum Way {
    WAY_REOPEN,
    WAY_NOWAIT,
    WAY_POLL,
    WAYS,
} Way;

static inline void choose(Way way)
{
    test_note("way %d", (int)way);
    seam_install();
    if (way != WAY_REOPEN) {
        seam_fail(SEAM_open, 1, SEAM_ALWAYS, EACCES);
    }
    if (way == WAY_POLL) {
        seam_fail(SEAM_preadv2, 1, SEAM_ALWAYS, EOPNOTSUPP);
        seam_fail(SEAM_pwritev2, 1, SEAM_ALWAYS, EOPNOTSUPP);
    }
}

static inline QIOChannel *file_on(int fd)
{
    QIOChannel *ioc = QIO_CHANNEL(qio_channel_file_new_fd(fd));

    CHECK_INT(qio_channel_get_fd(ioc, NULL), ==, fd);
    return ioc;
}

static inline QIOChannel *open_path(const char *path, int flags)
{
    Error *err = NULL;
    QIOChannelFile *ioc = qio_channel_file_new_path(path, flags, 0600, &err);

    if (!ioc) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return QIO_CHANNEL(ioc);
}

static inline const char *path_in_dir(const char *name)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/%s", test_dir(), name);
    return path;
}

static inline void open_pipe(int fds[2], int flags)
{
    CHECK_INT(pipe2(fds, O_CLOEXEC | flags), ==, 0);
}

#endif
