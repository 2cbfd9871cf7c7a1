/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/event.h: what the opaque of a queued registration starts with, so that events.c can tell
 * what came of it.
 */
#ifndef QIO_ABI_EVENT_H
#define QIO_ABI_EVENT_H

#include <qio/qioh.h>
#include "loop/loop.h"

/* The first member of whatever is the opaque of a queued watch of the core. */
typedef struct AbiEventSource {
    qioh_event (*tell)(const QIOLoopEvent *event);
} AbiEventSource;

#endif
