/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * line.h: a channel of each class with what is at its other end, for the tests of promises that
 * hold on all of them.
 *
 * Owns: Line and the makers in line.c.  The other end is bare descriptors, so that the library is
 * not checked against itself.  A command's pipes are the test's own, around a child that does
 * nothing: what becomes of a byte is then known at once.
 */
#ifndef TESTS_LINE_H
#define TESTS_LINE_H

#include "runner.h"

#include <glib.h>
#include <qio/channel.h>

typedef struct Line {
    const char *name;
    QIOChannel *ioc;
    int feed;           /* what is written here is what the channel reads; -1 = it is not fed */
    int drain;          /* what the channel writes is read here, may be the same; -1 = nowhere */
} Line;

typedef struct LineKind {
    const char *name;
    void (*make)(Line *line);
    bool flows;         /* bytes go from one end to the other: can be full and empty */
    bool late;          /* ... and may take their time (a network) */
} LineKind;

extern const LineKind line_kinds[];     /* ends in a NULL name */

void line_make(Line *line, const LineKind *kind);
/* Ends what is written to feed; what is in there stays to be read. */
void line_end_feed(Line *line);
/* Closes the channel; a command's child is killed first, so that nothing is waited for. */
int line_close(Line *line, Error **errp);
void line_drop(Line *line);

#endif
