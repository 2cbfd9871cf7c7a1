/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/open-task.c: opening, connecting and listening as operations in a loop.
 *
 * Owns: the tasks that look a name up, connect, and make what a URI says, one after the other,
 * under one deadline.
 * Rules: their state is touched where the loop's internal watches run and nowhere else once the
 * task was made, so it needs no lock.  A channel of the caller's is only changed there too, and
 * only at the end: until then it is as it was.
 */
#include "net/search.h"

#include "base/sys.h"
#include "channel/socket-priv.h"
#include "net/listener-priv.h"

/* ---- connecting a channel ---- */

typedef struct Connecting {
    QIOPursuit pursuit;             /* first: the task's state is it */
    QIOChannelSocket *ioc;
} Connecting;

static void connecting_finish(QIOTask *task, gpointer opaque)
{
    Connecting *state = opaque;

    qio_pursuit_clear(&state->pursuit);
    qio_object_unref(state->ioc);
    g_free(state);
}

/* Gives the winner to the channel.  Returns: 0, or -1 */
static int adopt(QIOChannelSocket *ioc, QIOConnect *race, const QIOOptions *options, Error **errp)
{
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    qio_connect_adopt(race, ioc);
    if (qio_socket_leave_opened(ioc, 0, errp) < 0) {
        return -1;
    }
    return qio_channel_socket_apply_options(ioc, options, errp);
}

static void end_with(QIOTask *task, int ret, Error *err)
{
    if (ret < 0) {
        qio_task_fail(task, err);
    } else {
        qio_task_complete(task, NULL, NULL);
    }
}

static void connecting_connected(QIOTask *task, QIOConnect *race)
{
    Connecting *state = qio_task_get_state(task);
    Error *err = NULL;
    int ret = adopt(state->ioc, race, state->pursuit.search.options, &err);

    end_with(task, ret, err);
}

static void connecting_begin(QIOTask *task)
{
    Connecting *state = qio_task_get_state(task);
    const QIOAddress *addr = state->pursuit.search.addr;
    Error *err = NULL;
    int ret = qio_socket_check_unopened(state->ioc, &err);

    if (ret == 0 && addr->kind != QIO_ADDRESS_FD) {
        qio_pursuit_begin(task);
        return;
    }
    if (ret == 0) {
        ret = qio_socket_connect_fd(state->ioc, addr, &err);
    }
    end_with(task, ret, err);
}

/* An address is there, else the task has failed. */
static bool has_address(QIOTask *task, const QIOAddress *addr)
{
    Error *err = NULL;

    if (addr == NULL) {
        qio_error_set(&err, QIO_ERROR_INVAL, "addr: NULL is no address");
        qio_task_fail(task, err);
    }
    return addr != NULL;
}

QIOTask *qio_channel_socket_connect_task(QIOChannelSocket *ioc, const QIOAddress *addr,
                                         const QIOOptions *options, AioContext *ctx,
                                         QIOTaskFunc func, gpointer opaque,
                                         GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    Connecting *state;

    if (!has_address(task, addr)) {
        return task;
    }
    state = g_new0(Connecting, 1);
    qio_pursuit_init(&state->pursuit, addr, options, connecting_connected);
    state->ioc = qio_object_ref(ioc);
    qio_task_set_deadline(task, qio_options_get_ms(options, "timeout", -1));
    qio_task_set_finish(task, connecting_finish, state);
    qio_task_end_with(task, (QIOChannel *)ioc);
    qio_task_begin_in_loop(task, connecting_begin);
    return task;
}

void qio_channel_socket_connect_async(QIOChannelSocket *ioc, const QIOAddress *addr,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                      AioContext *ctx)
{
    qio_task_unref(qio_channel_socket_connect_task(ioc, addr, NULL, ctx, func, opaque, destroy));
}

/* ---- listening ---- */

typedef struct Listening {
    QIOSearch search;               /* first: the task's state is it */
    QIOChannelSocket *ioc;
    int backlog;
} Listening;

static void listening_finish(QIOTask *task, gpointer opaque)
{
    Listening *state = opaque;

    qio_search_clear(&state->search);
    qio_object_unref(state->ioc);
    g_free(state);
}

static void listening_found(QIOTask *task, const QIOSockaddr *found, int count)
{
    Listening *state = qio_task_get_state(task);
    QIOListenHow how = {
        .backlog = state->backlog,
        .options = state->search.options,
        .one = true,
        .found = found,
        .count = count,
    };
    Error *err = NULL;
    int ret = qio_channel_socket_listen_how(state->ioc, state->search.addr, &how, &err);

    end_with(task, ret, err);
}

static void listening_begin(QIOTask *task)
{
    Listening *state = qio_task_get_state(task);

    if (qio_address_is_name(state->search.addr)) {
        qio_search_begin(task);
    } else {
        listening_found(task, NULL, 0);
    }
}

QIOTask *qio_channel_socket_listen_task(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                        const QIOOptions *options, AioContext *ctx,
                                        QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    Listening *state;

    if (!has_address(task, addr)) {
        return task;
    }
    state = g_new0(Listening, 1);
    qio_search_init(&state->search, addr, options, listening_found);
    state->ioc = qio_object_ref(ioc);
    state->backlog = backlog;
    qio_task_set_deadline(task, qio_options_get_ms(options, "timeout", -1));
    qio_task_set_finish(task, listening_finish, state);
    qio_task_end_with(task, (QIOChannel *)ioc);
    qio_task_begin_in_loop(task, listening_begin);
    return task;
}

void qio_channel_socket_listen_async(QIOChannelSocket *ioc, const QIOAddress *addr, int backlog,
                                     QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy,
                                     AioContext *ctx)
{
    qio_task_unref(qio_channel_socket_listen_task(ioc, addr, backlog, NULL, ctx, func, opaque,
                                                  destroy));
}

/* ---- listening by URI ---- */

typedef struct Serving {
    QIOSearch search;               /* first: the task's state is it */
    QIOUri *uri;
    QIONetListener *listener;       /* ours until the task has it */
} Serving;

static void serving_finish(QIOTask *task, gpointer opaque)
{
    Serving *state = opaque;

    qio_search_clear(&state->search);
    qio_object_unref(state->listener);
    qio_uri_free(state->uri);
    g_free(state);
}

static void serving_found(QIOTask *task, const QIOSockaddr *found, int count)
{
    Serving *state = qio_task_get_state(task);
    QIOListenHow how;
    Error *err = NULL;

    qio_listener_how(&how, state->uri->options);
    how.found = found;
    how.count = count;
    if (qio_listener_open_address(state->listener, state->uri->address, &how, &err) < 0) {
        qio_task_fail(task, err);
        return;
    }
    qio_task_complete(task, g_steal_pointer(&state->listener), qio_object_unref);
}

static void serving_begin(QIOTask *task)
{
    Serving *state = qio_task_get_state(task);

    if (qio_address_is_name(state->uri->address)) {
        qio_search_begin(task);
    } else {
        serving_found(task, NULL, 0);
    }
}

/* Takes the URI; NULL with an error. */
static Serving *serving_new(QIOUri *uri, Error **errp)
{
    QIONetListener *listener = qio_listener_new_for_uri(uri, errp);
    Serving *state;

    if (listener == NULL) {
        qio_uri_free(uri);
        return NULL;
    }
    state = g_new0(Serving, 1);
    qio_search_init(&state->search, uri->address, uri->options, serving_found);
    state->uri = uri;
    state->listener = listener;
    return state;
}

QIOTask *qio_net_listener_open_uri_task(const char *text, const QIOOptions *options,
                                        AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                                        GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new(NULL, ctx, func, opaque, destroy);
    Error *err = NULL;
    QIOUri *uri = qio_uri_parse_allowed(text, options, &err);
    Serving *state = uri != NULL ? serving_new(uri, &err) : NULL;

    if (state == NULL) {
        qio_task_fail(task, err);
        return task;
    }
    qio_task_set_deadline(task, qio_options_get_ms(uri->options, "timeout", QIO_OPEN_TIMEOUT_MS));
    qio_task_set_finish(task, serving_finish, state);
    qio_task_begin_in_loop(task, serving_begin);
    return task;
}

/* ---- opening by URI ---- */

typedef struct Opening {
    QIOPursuit pursuit;             /* first: the task's state is it; empty without an address */
    QIOUri *uri;
    QIOLayers *layers;
    int64_t deadline_ns;
    QIOChannel *ioc;                /* as far as it has come; ours until the task has it */
    unsigned layer;                 /* how many it has */
    QIOLoopWatch *steps;            /* of the topmost layer's handshake */
    QIOLoopWatch *timer;            /* its end */
} Opening;

static void drop_watch(QIOLoopWatch **watch)
{
    if (*watch != NULL) {
        qio_loop_watch_remove(*watch);
        qio_loop_watch_unref(*watch);
        *watch = NULL;
    }
}

static void opening_finish(QIOTask *task, gpointer opaque)
{
    Opening *state = opaque;

    drop_watch(&state->steps);
    drop_watch(&state->timer);
    if (state->ioc != NULL) {
        qio_channel_close_now(state->ioc, NULL);
        qio_object_unref(state->ioc);
    }
    qio_pursuit_clear(&state->pursuit);
    qio_layers_unref(state->layers);
    qio_uri_free(state->uri);
    g_free(state);
}

static void opening_complete(QIOTask *task, Opening *state)
{
    const char *name = qio_options_get_str(state->uri->options, "name", NULL);

    if (name != NULL) {
        qio_channel_set_name(state->ioc, name);
    }
    qio_task_complete(task, g_steal_pointer(&state->ioc), qio_object_unref);
}

static Opening *opening_of(QIOTask *task)
{
    return qio_task_is_done(task) ? NULL : qio_task_get_state(task);
}

static void opening_put_layer(QIOTask *task, Opening *state);

/* Another layer, or the end. */
static void opening_go_on(QIOTask *task, Opening *state)
{
    if (state->layer < qio_layers_count(state->layers)) {
        opening_put_layer(task, state);
    } else {
        opening_complete(task, state);
    }
}

static void shake_advance(QIOChannel *ioc, gpointer opaque)
{
    QIOTask *task = opaque;
    Opening *state = opening_of(task);
    Error *err = NULL;
    int ret;

    if (state == NULL || state->ioc != ioc) {
        return;
    }
    ret = qio_channel_take_step(ioc, qio_channel_class(ioc)->io_handshake, &err);
    if (ret == QIO_CHANNEL_ERR_BLOCK) {
        return;
    }
    if (ret < 0) {
        qio_task_fail(task, err);
        return;
    }
    drop_watch(&state->steps);
    drop_watch(&state->timer);
    opening_go_on(task, state);
}

static int shake_poll(QIOChannel *ioc, gpointer opaque, QIOPollFd *out, int cap)
{
    Opening *state = opening_of(opaque);

    return state == NULL || state->ioc != ioc ? 0 : qio_channel_poll_step(ioc, G_IO_IN, out, cap);
}

/* Nobody else has the channel. */
static void shake_closed(QIOChannel *ioc, gpointer opaque)
{
}

static const QIOStepOps shake_ops = {
    .advance = shake_advance, .poll = shake_poll, .closed = shake_closed,
};

static gboolean shake_timeout(void *opaque)
{
    QIOTask *task = opaque;
    Error *err = NULL;

    if (opening_of(task) != NULL) {
        qio_error_set(&err, QIO_ERROR_TIMEOUT, "the handshake took too long");
        qio_task_fail(task, err);
    }
    return FALSE;
}

static void unref_task(gpointer task)
{
    qio_task_unref(task);
}

/* Begins the handshake of the topmost layer. */
static void opening_shake(QIOTask *task, Opening *state)
{
    AioContext *ctx = qio_task_get_context(task);
    int timeout_ms = qio_layers_handshake_ms(state->layers, state->deadline_ns);
    Error *err = NULL;

    if (timeout_ms >= 0) {
        state->timer = qio_loop_add_internal_timer(ctx, timeout_ms, 0, shake_timeout,
                                                   qio_task_ref(task), unref_task, &err);
    }
    if (err == NULL) {
        state->steps = qio_channel_add_steps(state->ioc, ctx, &shake_ops, qio_task_ref(task),
                                             unref_task, &err);
    }
    if (err != NULL) {
        qio_task_fail(task, err);
    }
}

static void opening_put_layer(QIOTask *task, Opening *state)
{
    Error *err = NULL;
    QIOChannel *above = qio_layers_put(state->layers, state->layer, state->ioc, &err);

    if (above == NULL) {
        qio_task_fail(task, err);
        return;
    }
    qio_object_unref(state->ioc);
    state->ioc = above;
    state->layer++;
    if (qio_channel_class(above)->io_handshake == NULL) {
        opening_go_on(task, state);
    } else {
        opening_shake(task, state);
    }
}

/* The transport is there, or err. */
static void opening_opened(QIOTask *task, QIOChannel *ioc, Error *err)
{
    Opening *state = qio_task_get_state(task);

    if (ioc == NULL) {
        qio_task_fail(task, err);
        return;
    }
    state->ioc = ioc;
    opening_go_on(task, state);
}

static void opening_connected(QIOTask *task, QIOConnect *race)
{
    Opening *state = qio_task_get_state(task);
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;

    if (adopt(ioc, race, state->uri->options, &err) < 0) {
        g_clear_pointer(&ioc, qio_object_unref);
    }
    opening_opened(task, (QIOChannel *)ioc, err);
}

static void opening_begin(QIOTask *task)
{
    Opening *state = qio_task_get_state(task);
    Error *err = NULL;
    QIOChannel *ioc;

    if (state->uri->address != NULL && state->uri->address->kind != QIO_ADDRESS_FD) {
        qio_pursuit_begin(task);
        return;
    }
    ioc = qio_uri_open_at_once(state->uri, &err);
    opening_opened(task, ioc, err);
}

/* Takes the URI; NULL with an error. */
static Opening *opening_new(QIOUri *uri, Error **errp)
{
    Opening *state;
    QIOLayers *layers = NULL;

    if (uri->layer_count > 0) {
        layers = qio_layers_new(uri, false, errp);
        if (layers == NULL) {
            qio_uri_free(uri);
            return NULL;
        }
    }
    state = g_new0(Opening, 1);
    state->uri = uri;
    state->layers = layers;
    if (uri->address != NULL) {
        qio_pursuit_init(&state->pursuit, uri->address, uri->options, opening_connected);
    }
    return state;
}

QIOTask *qio_channel_open_uri_task(const char *text, const QIOOptions *options, AioContext *ctx,
                                   QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new(NULL, ctx, func, opaque, destroy);
    Error *err = NULL;
    QIOUri *uri = qio_uri_parse_allowed(text, options, &err);
    Opening *state = uri != NULL ? opening_new(uri, &err) : NULL;
    int timeout_ms;

    if (state == NULL) {
        qio_task_fail(task, err);
        return task;
    }
    timeout_ms = qio_options_get_ms(uri->options, "timeout", QIO_OPEN_TIMEOUT_MS);
    state->deadline_ns = sys_deadline_ns(timeout_ms);
    qio_task_set_deadline(task, timeout_ms);
    qio_task_set_finish(task, opening_finish, state);
    qio_task_begin_in_loop(task, opening_begin);
    return task;
}
