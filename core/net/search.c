/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/search.c: looking a name up and connecting as parts of operations in a loop.
 *
 * Owns: the watches of a look-up and of a race.  Rules as in search.h: one thread at a time, which
 * runs the loop's internal watches.  Each watch holds a reference on the task and finds nothing to
 * do once that is done; a descriptor of the race is closed by a step or by the end of the race, and
 * its watch is gone before.
 */
#include "net/search.h"

#include "base/sys.h"
#include "channel/channel-priv.h"

static void unref_task(void *task)
{
    qio_task_unref(task);
}

static void drop_watch(QIOLoopWatch **watch)
{
    if (*watch != NULL) {
        qio_loop_watch_remove(*watch);
        qio_loop_watch_unref(*watch);
        *watch = NULL;
    }
}

/* The state of a task that runs. */
static void *running(QIOTask *task)
{
    return qio_task_is_done(task) ? NULL : qio_task_get_state(task);
}

static QIOLoopWatch *watch_fd(QIOTask *task, int fd, GIOCondition condition, QIOFdFunc func)
{
    Error *err = NULL;
    QIOLoopWatch *watch = qio_loop_add_internal_fd(qio_task_get_context(task), fd, condition, func,
                                                   qio_task_ref(task), unref_task, &err);

    if (watch == NULL) {
        qio_task_fail(task, err);
    }
    return watch;
}

static QIOLoopWatch *watch_time(QIOTask *task, int64_t after_ms, QIOTimerFunc func, void *opaque,
                                GDestroyNotify destroy)
{
    Error *err = NULL;
    QIOLoopWatch *watch = qio_loop_add_internal_timer(qio_task_get_context(task), after_ms, 0,
                                                      func, opaque, destroy, &err);

    if (watch == NULL) {
        qio_task_fail(task, err);
    }
    return watch;
}

/* ---- the first step ---- */

typedef struct Begin {
    QIOTask *task;
    void (*begin)(QIOTask *task);
} Begin;

static gboolean begin_now(void *opaque)
{
    Begin *begin = opaque;

    if (running(begin->task) != NULL) {
        begin->begin(begin->task);
    }
    return FALSE;
}

static void begin_free(void *opaque)
{
    Begin *begin = opaque;

    qio_task_unref(begin->task);
    g_free(begin);
}

void qio_task_begin_in_loop(QIOTask *task, void (*begin)(QIOTask *task))
{
    Begin *state = g_new(Begin, 1);

    state->task = qio_task_ref(task);
    state->begin = begin;
    qio_loop_watch_unref(watch_time(task, 0, begin_now, state, begin_free));
}

/* ---- the caller's channel ---- */

/* Nothing is done to it by steps: only its end counts. */
static void nothing_to_advance(QIOChannel *ioc, gpointer opaque)
{
}

static int nothing_to_poll(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap)
{
    return 0;
}

static void channel_closed(QIOChannel *ioc, gpointer opaque)
{
    qio_task_cancel(opaque);
}

static const QIOStepOps end_ops = {
    .advance = nothing_to_advance, .poll = nothing_to_poll, .closed = channel_closed,
};

void qio_task_end_with(QIOTask *task, QIOChannel *ioc)
{
    Error *err = NULL;
    QIOLoopWatch *watch = qio_channel_add_steps(ioc, qio_task_get_context(task), &end_ops,
                                                qio_task_ref(task), unref_task, &err);

    if (watch != NULL) {
        qio_task_add_watch(task, watch);
    } else {
        qio_task_fail(task, err);
    }
}

/* ---- looking up ---- */

void qio_search_init(QIOSearch *search, const QIOAddress *addr, const QIOOptions *options,
                     void (*found)(QIOTask *task, const QIOSockaddr *found, int count))
{
    search->addr = qio_address_copy(addr);
    search->options = qio_options_copy(options);
    search->found = found;
}

void qio_search_clear(QIOSearch *search)
{
    drop_watch(&search->watch);
    g_clear_pointer(&search->lookup, qio_lookup_free);
    g_clear_pointer(&search->addr, qio_address_free);
    g_clear_pointer(&search->options, qio_options_free);
}

static gboolean lookup_done(int fd, GIOCondition condition, void *opaque)
{
    QIOTask *task = opaque;
    QIOSearch *search = running(task);
    const QIOSockaddr *found;
    Error *err = NULL;
    int count;

    if (search == NULL) {
        return FALSE;
    }
    if (!qio_lookup_is_done(search->lookup)) {
        return TRUE;
    }
    count = qio_lookup_result(search->lookup, &found, &err);
    if (count < 0) {
        qio_task_fail(task, err);
    } else {
        search->found(task, found, count);
    }
    return FALSE;
}

void qio_search_begin(QIOTask *task)
{
    QIOSearch *search = qio_task_get_state(task);
    Error *err = NULL;
    QIOSockaddr one;

    if (!qio_address_is_name(search->addr)) {
        if (qio_address_to_one(search->addr, &one, &err) < 0) {
            qio_task_fail(task, err);
        } else {
            search->found(task, &one, 1);
        }
        return;
    }
    search->lookup = qio_lookup_start(search->addr, search->options, &err);
    if (search->lookup == NULL) {
        qio_task_fail(task, err);
        return;
    }
    search->watch = watch_fd(task, qio_lookup_fd(search->lookup), G_IO_IN, lookup_done);
}

/* ---- connecting ---- */

static void go_on(QIOTask *task);

static gboolean attempt_ready(int fd, GIOCondition condition, void *opaque)
{
    QIOTask *task = opaque;
    QIOPursuit *pursuit = running(task);

    if (pursuit == NULL) {
        return FALSE;
    }
    for (size_t i = 0; i < qio_connect_count(pursuit->race); i++) {
        if (pursuit->watches[i] != NULL && qio_connect_fd(pursuit->race, i) == fd) {
            drop_watch(&pursuit->watches[i]);
            qio_connect_note(pursuit->race, i);
            go_on(task);
            break;
        }
    }
    return FALSE;
}

static gboolean attempt_due(void *opaque)
{
    QIOTask *task = opaque;

    if (running(task) != NULL) {
        go_on(task);
    }
    return FALSE;
}

/* Waits for what the race waits for. */
static void watch_race(QIOTask *task, QIOPursuit *pursuit)
{
    int64_t due_ns = qio_connect_due_ns(pursuit->race);

    for (size_t i = 0; i < qio_connect_count(pursuit->race); i++) {
        int fd = qio_connect_fd(pursuit->race, i);

        if (fd >= 0 && pursuit->watches[i] == NULL) {
            pursuit->watches[i] = watch_fd(task, fd, G_IO_OUT, attempt_ready);
        }
    }
    drop_watch(&pursuit->timer);
    if (due_ns != QIO_NEVER) {
        pursuit->timer = watch_time(task, sys_ms_left(due_ns), attempt_due, qio_task_ref(task),
                                    unref_task);
    }
}

static void go_on(QIOTask *task)
{
    QIOPursuit *pursuit = qio_task_get_state(task);
    Error *err = NULL;
    int ret = qio_connect_step(pursuit->race, &err);

    if (ret == 0) {
        watch_race(task, pursuit);
    } else if (ret > 0) {
        pursuit->connected(task, pursuit->race);
    } else {
        qio_address_prepend(err, pursuit->search.addr);
        qio_task_fail(task, err);
    }
}

static void begin_race(QIOTask *task, const QIOSockaddr *found, int count)
{
    QIOPursuit *pursuit = qio_task_get_state(task);

    pursuit->race = qio_connect_new(found, (size_t)count);
    go_on(task);
}

void qio_pursuit_init(QIOPursuit *pursuit, const QIOAddress *addr, const QIOOptions *options,
                      void (*connected)(QIOTask *task, QIOConnect *race))
{
    qio_search_init(&pursuit->search, addr, options, begin_race);
    pursuit->connected = connected;
}

void qio_pursuit_begin(QIOTask *task)
{
    QIOPursuit *pursuit = qio_task_get_state(task);
    Error *err = NULL;

    if (!qio_address_check_target(pursuit->search.addr, pursuit->search.options, &err)) {
        qio_task_fail(task, err);
        return;
    }
    qio_search_begin(task);
}

void qio_pursuit_clear(QIOPursuit *pursuit)
{
    drop_watch(&pursuit->timer);
    for (size_t i = 0; i < QIO_CONNECT_MAX; i++) {
        drop_watch(&pursuit->watches[i]);
    }
    g_clear_pointer(&pursuit->race, qio_connect_free);
    qio_search_clear(&pursuit->search);
}
