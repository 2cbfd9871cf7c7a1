/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay/pump.h: one direction of a relay.
 *
 * Owns: QIOPump: what was read and not yet written, where the direction stands, its counters.
 * Rule: one thread at a time, who is inside both channels as their reader and writer; `given` may
 * be looked at by any thread.  Nothing here waits, and nothing calls a function of the user: a
 * chunk for the filter is left to the caller (QIO_PUMP_FILTER, qio_pump_filtered()).
 */
#ifndef QIO_PUMP_H
#define QIO_PUMP_H

#include <stdatomic.h>
#include "relay/splice.h"

/* What a pump needs next. */
typedef enum QIOPumpState {
    QIO_PUMP_READ,          /* `from` has to be readable */
    QIO_PUMP_WRITE,         /* `to` has to be writable, or to get rid of what it holds back */
    QIO_PUMP_FILTER,        /* the chunk has to go through the filter */
    QIO_PUMP_TURN,          /* others have to have their turn */
    QIO_PUMP_DONE,
    QIO_PUMP_FAILED,
} QIOPumpState;

typedef struct QIOPump {
    QIOChannel *from, *to;
    QIOPumpState state;
    uint8_t *buf;           /* NULL until something is read */
    size_t size;
    size_t start, end;      /* what of buf is not written yet, or waits for the filter */
    uint64_t limit;         /* the most bytes to take */
    uint64_t taken;
    _Atomic uint64_t given; /* accepted by `to` */
    bool has_filter;
    bool filtered;          /* what is in buf has been through it, or replaced by `out` */
    uint8_t *out;           /* what the filter gave instead */
    size_t out_cap, out_start, out_end;
    bool drained;           /* the last read says that there is no more for now */
    bool ended;             /* nothing more is read */
    bool end_filtered;      /* the filter has seen the end */
    bool stopped;           /* by the caller: `to` is not told of an end */
    bool told;              /* `to` was told of the end */
    bool untold;            /* `to` cannot be told of an end */
    bool dirty;             /* `to` may hold something back */
    enum { SPLICE_UNTRIED, SPLICE_ON, SPLICE_OFF } splicing;
    QIOSplice splice;
} QIOPump;

void qio_pump_init(QIOPump *pump, QIOChannel *from, QIOChannel *to, size_t size, uint64_t limit);
/*
 * Moves bytes until something has to be waited for, or for one turn's worth.
 * Returns: the state, with an error for FAILED (of reading, of writing; LIMIT: there is more than
 * the limit, and the rest is still in `from`)
 */
QIOPumpState qio_pump_run(QIOPump *pump, Error **errp);
/* What the filter has to see: a chunk, or no bytes at the end. */
size_t qio_pump_chunk(const QIOPump *pump, const void **chunk);
/* The filter is through with it; replaced: what qio_pump_put() got is sent instead of it. */
void qio_pump_filtered(QIOPump *pump, bool replaced);
/* Bytes of the filter: 0, or -1 (LIMIT, NOMEM). */
int qio_pump_put(QIOPump *pump, const void *buf, size_t len, Error **errp);
/* Reads no more; what was read is still written. */
void qio_pump_stop(QIOPump *pump);
/*
 * The end, wherever it stands: what was read and not written is read again by the next reader of
 * `from`.  Returns: bytes that are lost, because they came out of the filter or `from` was closed
 */
size_t qio_pump_finish(QIOPump *pump);

#endif
