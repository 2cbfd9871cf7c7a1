/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay/splice.h: bytes from one descriptor to another that no process looks at.
 *
 * Owns: QIOSplice, the pipe between the two, and what is in it.  Rule: one thread at a time, who
 * is inside both channels.
 */
#ifndef QIO_SPLICE_H
#define QIO_SPLICE_H

#include <qio/channel.h>
#include "base/sys.h"

/* Beside the results of a transfer: splice(2) does not do it, copy. */
#define QIO_SPLICE_NOT (-3)

typedef struct QIOSplice {
    QIOChannel *from, *to;
    int from_fd, to_fd;
    int pipe[2];
    size_t held;                    /* bytes in the pipe */
    size_t cap;                     /* how much one fill asks for */
    bool muted;                     /* SIGPIPE is blocked: qio_splice_unmute() */
    bool pending;                   /* it was pending before */
    bool broken;                    /* a write met EPIPE */
    sigset_t old;                   /* the signal mask before */
} QIOSplice;

/*
 * Whether bytes can go from one channel to the other by splice(2); want: how many the pipe should
 * hold.  Nothing is said when they cannot: copying always can.
 */
bool qio_splice_open(QIOSplice *splice, QIOChannel *from, QIOChannel *to, size_t want);
/* Gives back what it took of the channels; what the pipe holds is lost. */
void qio_splice_close(QIOSplice *splice);

/* One transfer into the empty pipe, of at most len bytes, and one out of it.  Returns: > 0, 0 at
 * the end (in), -1, QIO_CHANNEL_ERR_BLOCK, QIO_SPLICE_NOT */
ssize_t qio_splice_in(QIOSplice *splice, size_t len, Error **errp);
ssize_t qio_splice_out(QIOSplice *splice, Error **errp);
/* After any number of qio_splice_out(), before anybody else has the thread again: undoes what they
 * did to the thread's signal mask.  Also after the close. */
void qio_splice_unmute(QIOSplice *splice);
/* Takes out all that is in the pipe, into buf of held bytes. */
void qio_splice_drain(QIOSplice *splice, void *buf);

#endif
