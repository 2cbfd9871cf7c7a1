/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/nonblock.h: reading and writing a file, pipe, tty or device without waiting.
 *
 * Owns: QIONonblock, one descriptor and the way to do that.  Rules: as for the channel that it
 * is part of: one reader and one writer at a time; set up before, cleared after.
 */
#ifndef QIO_NONBLOCK_H
#define QIO_NONBLOCK_H

#include <qio/aio.h>
#include "base/sys.h"

typedef enum QIONonblockMode {
    QIO_NONBLOCK_ALWAYS,        /* never waits: a regular file, a directory, /dev/null */
    QIO_NONBLOCK_FLAG,          /* io_fd has O_NONBLOCK */
    QIO_NONBLOCK_NOWAIT,        /* RWF_NOWAIT with each call */
    QIO_NONBLOCK_POLL,          /* poll first; at most PIPE_BUF a write, which may wait */
} QIONonblockMode;

/*
 * fd: the descriptor that was given, and that is polled; -1 = none; atomic for the first look of
 *   a wait (wait.c), which a close may overtake
 * io_fd: the one transfers use: fd, or the same file opened again for us alone
 * lacking: the conditions that a transfer can only fail for, by the access mode
 * may_sigpipe: a pipe or a socket
 * flag_epoch: the process (base/fork.h) that set O_NONBLOCK of fd, whose doing it is to take it
 *   off; 0 = nobody
 */
typedef struct QIONonblock {
    _Atomic int fd;
    int io_fd;
    _Atomic int mode;
    GIOCondition lacking;
    bool may_sigpipe;
    uint32_t flag_epoch;
} QIONonblock;

/* Takes fd, whose description nobody else has if own is true; a bad one is taken as -1. */
void qio_nonblock_init(QIONonblock *nb, int fd, bool own);
/* Closes what is open and forgets it.  Returns: 0, or -1 with errno. */
int qio_nonblock_close(QIONonblock *nb);
/* Gives fd back as it was, and forgets it. */
int qio_nonblock_take(QIONonblock *nb);
/*
 * Ends this direction of fd while others may be using it: both descriptors are replaced, in
 * one step each, by one that fails with EBADF, so that their numbers stay ours.
 * Returns: 0, or -1 with errno.
 */
int qio_nonblock_half_close(QIONonblock *nb, bool writing);

/* As readv and writev, but EAGAIN where those would wait, and never EINTR or SIGPIPE. */
ssize_t qio_nonblock_readv(QIONonblock *nb, const struct iovec *iov, size_t niov);
ssize_t qio_nonblock_writev(QIONonblock *nb, const struct iovec *iov, size_t niov);

/* The descriptor that splice(2) may use, since it never waits in it; -1 = none. */
int qio_nonblock_splice_fd(QIONonblock *nb);

/* Which of the conditions hold whatever poll says. */
GIOCondition qio_nonblock_ready(QIONonblock *nb, GIOCondition condition);

#endif
