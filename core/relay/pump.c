/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay/pump.c: one direction of a relay.
 *
 * Owns: the order of things: what was read is written before more is read, which is all the
 * back-pressure there is; then the end is passed on.  So one buffer, or one pipe, bounds what is
 * held, and beside it what one call of the filter gave.
 * Rule: a short read of a channel whose descriptor tells it all is taken as "no more for now",
 * which saves the read that would say so; the caller polls by level.
 */
#include "relay/pump.h"

#include <string.h>
#include "channel/channel-priv.h"

enum {
    ROUNDS = 16,                        /* transfers in one turn */
    OUT_MAX = 16 * 1024 * 1024,         /* what one call of the filter may give */
};

void qio_pump_init(QIOPump *pump, QIOChannel *from, QIOChannel *to, size_t size, uint64_t limit)
{
    *pump = (QIOPump) {
        .from = from, .to = to, .size = size, .limit = limit,
        .state = QIO_PUMP_TURN, .dirty = true,
    };
}

void qio_pump_stop(QIOPump *pump)
{
    pump->ended = true;
    pump->stopped = true;
}

/* ---- what is to be written ---- */

static size_t unsent_out(const QIOPump *pump)
{
    return pump->out_end - pump->out_start;
}

static size_t unsent(const QIOPump *pump)
{
    if (pump->has_filter && !pump->filtered) {
        return 0;
    }
    return unsent_out(pump) + (pump->end - pump->start);
}

static void count_given(QIOPump *pump, size_t n)
{
    atomic_fetch_add_explicit(&pump->given, n, memory_order_relaxed);
    pump->dirty = true;
}

/* Gives > 0, or as a transfer. */
static ssize_t send_some(QIOPump *pump, Error **errp)
{
    size_t out = unsent_out(pump);
    ssize_t n;

    if (out > 0) {
        n = qio_channel_try_write(pump->to, pump->out + pump->out_start, out, errp);
    } else {
        n = qio_channel_try_write(pump->to, pump->buf + pump->start, pump->end - pump->start,
                                  errp);
    }
    if (n <= 0) {
        return n;
    }
    if (out > 0) {
        pump->out_start += (size_t)n;
    } else {
        pump->start += (size_t)n;
    }
    count_given(pump, (size_t)n);
    return n;
}

/* ---- splice ---- */

static bool can_splice(QIOPump *pump)
{
    /* What was read ahead comes first. */
    if (pump->has_filter || pump->splicing == SPLICE_OFF || qio_readahead_ready(pump->from)) {
        return false;
    }
    if (pump->splicing == SPLICE_UNTRIED) {
        pump->splicing = qio_splice_open(&pump->splice, pump->from, pump->to, pump->size)
            ? SPLICE_ON : SPLICE_OFF;
    }
    return pump->splicing == SPLICE_ON;
}

static bool make_buffer(QIOPump *pump, Error **errp)
{
    if (!pump->buf) {
        pump->buf = g_try_malloc(pump->size);
    }
    if (!pump->buf) {
        qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for a buffer of %zu bytes", pump->size);
    }
    return pump->buf != NULL;
}

/* From here on bytes are copied, beginning with those in the pipe. */
static bool give_splice_up(QIOPump *pump, Error **errp)
{
    if (!make_buffer(pump, errp)) {
        return false;
    }
    pump->end = pump->splice.held;
    pump->start = 0;
    qio_splice_drain(&pump->splice, pump->buf);
    qio_splice_close(&pump->splice);
    pump->splicing = SPLICE_OFF;
    return true;
}

/* ---- one step ---- */

/* What a step comes to; else a QIOPumpState. */
enum { GO_ON = -1 };

static int wait_or_fail(ssize_t n, QIOPumpState wait_for)
{
    return n == QIO_CHANNEL_ERR_BLOCK ? (int)wait_for : QIO_PUMP_FAILED;
}

static int write_step(QIOPump *pump, Error **errp)
{
    ssize_t n = send_some(pump, errp);

    return n > 0 ? GO_ON : wait_or_fail(n, QIO_PUMP_WRITE);
}

static int splice_out_step(QIOPump *pump, Error **errp)
{
    ssize_t n = qio_splice_out(&pump->splice, errp);

    if (n == QIO_SPLICE_NOT) {
        return give_splice_up(pump, errp) ? GO_ON : QIO_PUMP_FAILED;
    }
    if (n > 0) {
        count_given(pump, (size_t)n);
    }
    return n > 0 ? GO_ON : wait_or_fail(n, QIO_PUMP_WRITE);
}

/* What a layer holds back must not wait for the next bytes.  GO_ON: nothing is held back. */
static int flush_step(QIOPump *pump, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(pump->to);
    int ret;

    if (!pump->dirty || !klass->io_flush || qio_channel_closing(pump->to)) {
        return GO_ON;
    }
    ret = klass->io_flush(pump->to, errp);
    if (ret < 0) {
        return wait_or_fail(ret, QIO_PUMP_WRITE);
    }
    pump->dirty = false;
    return GO_ON;
}

/* Everything of `from` has been written. */
static int end_step(QIOPump *pump, Error **errp)
{
    Error *err = NULL;
    int code;

    if (pump->stopped || pump->told) {
        return QIO_PUMP_DONE;
    }
    if (qio_channel_shutdown(pump->to, QIO_CHANNEL_SHUTDOWN_WRITE, &err) == 0) {
        /* A layer's word of the end may be held back too. */
        pump->told = pump->dirty = true;
        return GO_ON;
    }
    code = qio_error_get_code(err);
    if (code == QIO_ERROR_BUSY) {
        /* A terminal whose queue is full. */
        qio_error_free(err);
        return QIO_PUMP_WRITE;
    }
    if (code == QIO_ERROR_NOTSUP) {
        pump->untold = true;
    } else if (qio_error_get_errno(err) != ENOTCONN) {
        qio_error_propagate(errp, err);
        return QIO_PUMP_FAILED;
    }
    /* Who is gone need not be told. */
    qio_error_free(err);
    return QIO_PUMP_DONE;
}

static int saw_end(QIOPump *pump)
{
    pump->ended = true;
    return GO_ON;
}

/* As many as may be were taken: there must be no more. */
static int limit_step(QIOPump *pump, Error **errp)
{
    char byte;
    ssize_t n = qio_channel_try_peek(pump->from, &byte, 1, errp);

    if (n == 0) {
        return saw_end(pump);
    }
    if (n > 0) {
        qio_error_set(errp, QIO_ERROR_LIMIT, "there is more than %" G_GUINT64_FORMAT " bytes",
                      pump->limit);
    }
    return n > 0 ? QIO_PUMP_FAILED : wait_or_fail(n, QIO_PUMP_READ);
}

static int splice_in_step(QIOPump *pump, size_t len, Error **errp)
{
    ssize_t n = qio_splice_in(&pump->splice, len, errp);

    if (n == QIO_SPLICE_NOT) {
        return give_splice_up(pump, errp) ? GO_ON : QIO_PUMP_FAILED;
    }
    if (n == 0) {
        return saw_end(pump);
    }
    if (n > 0) {
        pump->taken += (uint64_t)n;
    }
    return n > 0 ? GO_ON : wait_or_fail(n, QIO_PUMP_READ);
}

/* A channel that cannot be read at all (the end of a pipe to write to, a command whose output is
 * not piped) has no such direction. */
static bool is_one_way(QIOPump *pump, Error *err)
{
    return pump->taken == 0 && (qio_error_get_errno(err) == EBADF ||
                                qio_error_get_code(err) == QIO_ERROR_INVAL);
}

static int read_failed(QIOPump *pump, Error *err, Error **errp)
{
    if (!is_one_way(pump, err)) {
        qio_error_propagate(errp, err);
        return QIO_PUMP_FAILED;
    }
    qio_error_free(err);
    qio_pump_stop(pump);
    return GO_ON;
}

static int read_step(QIOPump *pump, size_t len, Error **errp)
{
    Error *err = NULL;
    ssize_t n;

    if (!make_buffer(pump, errp)) {
        return QIO_PUMP_FAILED;
    }
    n = qio_channel_try_read(pump->from, pump->buf, len, &err);
    if (n == 0) {
        return saw_end(pump);
    }
    if (n < 0) {
        return n == QIO_CHANNEL_ERR_BLOCK ? QIO_PUMP_READ : read_failed(pump, err, errp);
    }
    pump->start = 0;
    pump->end = (size_t)n;
    pump->filtered = false;
    pump->drained = (size_t)n < len && qio_channel_direct(pump->from) &&
                    !qio_readahead_ready(pump->from);
    pump->taken += (uint64_t)n;
    return GO_ON;
}

static int take_step(QIOPump *pump, Error **errp)
{
    size_t len = (size_t)MIN(pump->limit - pump->taken, (uint64_t)pump->size);

    if (len == 0) {
        return limit_step(pump, errp);
    }
    return can_splice(pump) ? splice_in_step(pump, len, errp) : read_step(pump, len, errp);
}

static bool needs_filter(const QIOPump *pump)
{
    if (!pump->has_filter) {
        return false;
    }
    if (pump->end > pump->start && !pump->filtered) {
        return true;
    }
    return pump->ended && !pump->stopped && !pump->end_filtered;
}

static int step(QIOPump *pump, Error **errp)
{
    int ret;

    if (pump->splicing == SPLICE_ON && pump->splice.held > 0) {
        return splice_out_step(pump, errp);
    }
    if (unsent(pump) > 0) {
        return write_step(pump, errp);
    }
    if (needs_filter(pump)) {
        return QIO_PUMP_FILTER;
    }
    ret = flush_step(pump, errp);
    if (ret != GO_ON) {
        return ret;
    }
    if (pump->ended) {
        return end_step(pump, errp);
    }
    if (pump->drained) {
        pump->drained = false;
        return QIO_PUMP_READ;
    }
    return take_step(pump, errp);
}

QIOPumpState qio_pump_run(QIOPump *pump, Error **errp)
{
    int ret = GO_ON;

    if (pump->state == QIO_PUMP_DONE || pump->state == QIO_PUMP_FAILED) {
        return pump->state;
    }
    for (int i = 0; i < 2 * ROUNDS && ret == GO_ON; i++) {
        ret = step(pump, errp);
    }
    qio_splice_unmute(&pump->splice);
    pump->state = ret == GO_ON ? QIO_PUMP_TURN : (QIOPumpState)ret;
    return pump->state;
}

/* ---- the filter ---- */

size_t qio_pump_chunk(const QIOPump *pump, const void **chunk)
{
    size_t len = pump->filtered ? 0 : pump->end - pump->start;

    *chunk = len > 0 ? (const void *)(pump->buf + pump->start) : "";
    return len;
}

void qio_pump_filtered(QIOPump *pump, bool replaced)
{
    if (pump->ended && (pump->filtered || pump->end == pump->start)) {
        pump->end_filtered = true;
    }
    pump->filtered = true;
    if (replaced) {
        pump->start = pump->end = 0;
    } else {
        pump->out_start = pump->out_end = 0;
    }
    pump->state = QIO_PUMP_TURN;
}

int qio_pump_put(QIOPump *pump, const void *buf, size_t len, Error **errp)
{
    if (unsent_out(pump) == 0) {
        pump->out_start = pump->out_end = 0;
    }
    if (len > OUT_MAX - pump->out_end) {
        qio_error_set(errp, QIO_ERROR_LIMIT, "a filter may give at most %d bytes for one chunk",
                      (int)OUT_MAX);
        return -1;
    }
    if (len > pump->out_cap - pump->out_end) {
        size_t cap = MIN(MAX(pump->out_cap * 2, pump->out_end + len), (size_t)OUT_MAX);
        uint8_t *out = g_try_realloc(pump->out, cap);

        if (!out) {
            qio_error_set(errp, QIO_ERROR_NOMEM, "no memory for %zu bytes of a filter", cap);
            return -1;
        }
        pump->out = out;
        pump->out_cap = cap;
    }
    if (len > 0) {
        memcpy(pump->out + pump->out_end, buf, len);
        pump->out_end += len;
    }
    return 0;
}

/* ---- the end ---- */

static size_t give_back(QIOPump *pump)
{
    size_t len = pump->end - pump->start;

    if (len == 0 || qio_channel_unread(pump->from, pump->buf + pump->start, len, NULL) == 0) {
        return 0;
    }
    return len;
}

size_t qio_pump_finish(QIOPump *pump)
{
    size_t lost = unsent_out(pump);

    if (pump->splicing == SPLICE_ON) {
        size_t held = pump->splice.held;

        if (!give_splice_up(pump, NULL)) {
            lost += held;
            qio_splice_close(&pump->splice);
            pump->splicing = SPLICE_OFF;
        }
    }
    /* What the filter has let through as it is can go back no more than what it gave. */
    lost += pump->has_filter && pump->filtered ? pump->end - pump->start : give_back(pump);
    pump->start = pump->end = 0;
    pump->out_start = pump->out_end = 0;
    g_clear_pointer(&pump->out, g_free);
    g_clear_pointer(&pump->buf, g_free);
    return lost;
}
