/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/watch.h: registrations in a loop, for events.c.
 */
#ifndef QIO_ABI_WATCH_H
#define QIO_ABI_WATCH_H

#include <qio/qioh.h>
#include "loop/loop.h"

/* The event of a queued watch, as the flat ABI says it. */
qioh_event abi_watch_event(const QIOLoopEvent *event);

#endif
