/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/coroutine-priv.h: what the loop needs of coroutines beyond qio/coroutine.h.
 */
#ifndef QIO_LOOP_COROUTINE_PRIV_H
#define QIO_LOOP_COROUTINE_PRIV_H

#include <qio/coroutine.h>

/*
 * Calls func(co, opaque) once co is suspended: in this call when it is, else on the thread
 * that runs it, right after it has yielded.  A coroutine that ended, or ends without another
 * yield, is a critical warning, and func gets NULL.  One call at a time for a coroutine: a
 * second one is a critical warning too, and its func gets NULL.  Any thread.
 */
void qio_coroutine_when_suspended(Coroutine *co, void (*func)(Coroutine *co, void *opaque),
                                  void *opaque);

/* Enters co if it is suspended; one that another thread is about to suspend is left alone, for
 * qio_aio_co_schedule().  Returns whether it was entered. */
bool qio_coroutine_enter_suspended(Coroutine *co);

#endif
