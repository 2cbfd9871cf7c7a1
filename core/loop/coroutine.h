/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/coroutine.h: stackful coroutines.
 *
 * Owns: Coroutine.  Rule: a coroutine runs on the thread that enters it and may be entered
 * from another thread only while it is suspended.  It belongs to itself: it is freed when
 * its entry function returns.  One that is suspended for ever leaks its stack.
 * Misuse (entering a running coroutine, yielding outside one) is a critical warning and
 * does nothing; never an abort.
 */
#ifndef QIO_COROUTINE_H
#define QIO_COROUTINE_H

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

typedef struct Coroutine Coroutine;
typedef void CoroutineEntry(void *opaque);

/**
 * qio_coroutine_create:
 * @entry: the function it runs
 * @opaque: handed to @entry
 *
 * Makes a coroutine, suspended before its first step (stack from a pool, guard page below).
 * Any thread.
 * Returns: the coroutine, or NULL when no stack could be had
 */
Coroutine *qio_coroutine_create(CoroutineEntry *entry, void *opaque);

/** qio_coroutine_enter: runs @co until it yields or ends.  Any thread, also from inside
 * another coroutine; afterwards @co may be gone. */
void qio_coroutine_enter(Coroutine *co);
/** qio_coroutine_yield: goes back to whoever entered the current coroutine. */
void qio_coroutine_yield(void);
/** qio_coroutine_self: the current coroutine, or NULL outside any. */
Coroutine *qio_coroutine_self(void);
/** qio_in_coroutine, qio_coroutine_in_coroutine: whether the caller runs inside one. */
bool qio_in_coroutine(void);
bool qio_coroutine_in_coroutine(void);

G_END_DECLS
#endif
