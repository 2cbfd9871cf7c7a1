/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/pty.h: a pseudo-terminal for a command: making one, and telling its reader of an end.
 *
 * Owns: nothing; the descriptors are the caller's.  Any thread.
 */
#ifndef QIO_PTY_H
#define QIO_PTY_H

#include <stdbool.h>
#include <qio/error.h>

/*
 * Makes a pair, both close-on-exec and nobody's controlling terminal.
 * rows, columns: the size of the window, 0 = the kernel's (0 by 0: unknown)
 * Returns: 0, or -1 with an error, and then both are -1
 */
int qio_pty_open(int *master, int *slave, int rows, int columns, Error **errp);
/*
 * Types the end-of-file character, twice in the middle of a line (the first only hands over what
 * there is of it; *mid_line is false from then on).
 * Returns: 0, or -1 (NOTSUP: the line is raw and knows no end; BUSY: its queue is full, so
 * wait for G_IO_OUT)
 */
int qio_pty_type_end(int master, bool *mid_line, Error **errp);
/* Whether nobody has the other side open any more. */
bool qio_pty_hung_up(int master);

#endif
