/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/activation.h: the descriptors that a service manager passed (LISTEN_FDS).
 *
 * Owns: their names and which of them were taken.  Any thread.
 */
#ifndef QIO_NET_ACTIVATION_H
#define QIO_NET_ACTIVATION_H

#include <glib.h>
#include <stdbool.h>
#include <qio/error.h>

typedef struct QIOActivated {
    int fd;         /* a copy, close-on-exec */
    int original;   /* what the service manager passed */
} QIOActivated;

/* Copies of the descriptors of that name that nobody has taken, at least one, as QIOActivated,
 * which end with qio_activation_end().  NULL: INVAL, SYSTEM */
GArray *qio_activation_begin(const char *name, Error **errp);
/* taken: the copies have found an owner; the originals are closed and not given out again.  Else
 * the copies are closed and nothing has happened. */
void qio_activation_end(GArray *fds, bool taken);

#endif
