/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire.h: two ends of a wire in memory, which can be slow, whimsical and cut.
 *
 * Owns: Wire, a class with io_poll and io_advance and no descriptor: what one end writes the other
 * reads.  Rule: one thread.  Members may be changed between calls.
 */
#ifndef TESTS_WIRE_H
#define TESTS_WIRE_H

#include <qio/channel.h>

#define TYPE_WIRE "test-wire"

typedef struct Wire Wire;
struct Wire {
    QIOChannel parent;
    Wire *peer;             /* NULL when that is closed */
    GByteArray *in;         /* on the way to this end */
    gsize arrived;          /* bytes that were ever put on the way to this end */
    gint64 cut;             /* so many arrive, then the end; -1 = no cut */
    bool ended;             /* the peer has closed, or shut its writing down */
    guint32 whim;           /* 0: none; else a seed: would block, or moves a few bytes only */
    gsize in_max;           /* a write blocks when so many are on the way; 0 = no limit */
    GByteArray *seen;       /* a copy of all that arrived; NULL = none kept */
    int spoil_at;           /* a byte of the stream that is changed on the way; -1 = none */
};

void wire_pair(QIOChannel **a, QIOChannel **b);

/* The next number of a seed: below `limit`. */
guint32 wire_random(guint32 *seed, guint32 limit);

#endif
