/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/channel-websock.c: the class.
 *
 * Owns: making and ending of a WebSocket, its lock, readiness, the close handshake.  Rule: the lock
 * is held around work that never waits; whoever leaves sends what is due of control frames, and
 * makes the others look again if something changed for them.
 */
#include <string.h>
#include "websock/websock-priv.h"

/* ---- the lock ---- */

int qio_ws_enter(QIOChannelWebsock *ws, bool patient, Error **errp)
{
    int ret = qio_layer_lock_enter(&ws->lock, patient);

    if (G_UNLIKELY(ret == -1)) {
        qio_error_set(errp, QIO_ERROR_BUSY,
                      "the WebSocket is in use by this very thread, which it called");
    }
    return ret;
}

/* Whether something to read may have come out of the descriptor and not been taken. */
static bool has_left(QIOWsInput *in)
{
    bool filled = in->filled;

    in->filled = false;
    return filled && (in->start < in->end || in->event || in->ended || in->closed ||
                      (in->in_frame && in->compressed));
}

/* Whether there is something else to wait for than when the lock was let go before: who waits to
 * write has to look, and who waits to read has to see off what is held. */
static bool out_changed(QIOChannelWebsock *ws)
{
    enum { OUT_FREE, OUT_HELD, OUT_FAILED };
    int was = ws->out_was;

    ws->out_was = ws->out.failure ? OUT_FAILED : qio_ws_pending(ws) ? OUT_HELD : OUT_FREE;
    return ws->out_was != was;
}

void qio_ws_leave(QIOChannelWebsock *ws)
{
    bool kick, tell;

    if (ws->out.pong_due || ws->out.close_due) {
        qio_ws_flush(ws, NULL);
    }
    kick = ws->kick;
    ws->kick = false;
    tell = has_left(&ws->in);
    tell |= out_changed(ws);
    kick |= qio_layer_lock_leave(&ws->lock);
    if (kick) {
        qio_channel_kick(&ws->parent);
    } else if (G_UNLIKELY(tell)) {
        qio_channel_kick_others(&ws->parent);
    }
}

int qio_ws_enter_open(QIOChannelWebsock *ws, Error **errp)
{
    int ret;

    if (qio_channel_closing(&ws->parent)) {
        qio_channel_set_closed_error(&ws->parent, errp);
        return -1;
    }
    ret = qio_ws_enter(ws, false, errp);
    if (G_UNLIKELY(ret != 0)) {
        return ret;
    }
    if (G_UNLIKELY(ws->phase != QIO_WS_OPEN)) {
        ret = qio_ws_handshake_step(ws, errp);
        if (ret == 1) {
            qio_error_set(errp, QIO_ERROR_BUSY, "the client's request waits for "
                          "qio_channel_websock_accept_request() or _reject_request()");
            ret = -1;
        }
        if (ret != 0) {
            qio_ws_leave(ws);
        }
    }
    return ret;
}

bool qio_ws_failed(QIOChannelWebsock *ws, Error **errp)
{
    if (!ws->failure) {
        return false;
    }
    qio_error_propagate(errp, qio_error_copy(ws->failure));
    return true;
}

void qio_ws_fail_with(QIOChannelWebsock *ws, Error *err)
{
    if (ws->failure) {
        qio_error_free(err);
        return;
    }
    ws->failure = err;
    ws->in.start = ws->in.end = 0;
    ws->kick = true;
}

void qio_ws_fail(QIOChannelWebsock *ws, unsigned code, const char *problem)
{
    Error *err = NULL;

    qio_error_set_number(&err, QIO_ERROR_PROTOCOL, QIO_ERROR_DOMAIN_WEBSOCKET, code,
                         "the other side broke the rules of WebSocket (%u): %s", code, problem);
    qio_ws_due_close(ws, code, problem, strlen(problem));
    qio_ws_fail_with(ws, err);
}

/* ---- readiness ---- */

static int websock_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    GIOCondition below;
    int n;

    if (qio_ws_enter(ws, false, NULL) != 0) {
        return 0;       /* who holds the lock wakes everybody when it leaves */
    }
    if (ws->phase != QIO_WS_OPEN) {
        n = qio_ws_handshake_poll(ws, out, cap);
    } else {
        /* OUT also when nothing is held any more: who found the queue full before may come here
         * after another has sent it off. */
        below = condition | (qio_ws_pending(ws) ? G_IO_OUT : 0);
        n = qio_layer_poll(ioc, below, out, cap);
    }
    qio_ws_leave(ws);
    return n;
}

/* What is ready once hands are shaken. */
static GIOCondition open_ready(QIOChannelWebsock *ws, GIOCondition condition)
{
    GIOCondition ready = 0;

    if (qio_ws_pending(ws)) {
        qio_ws_flush(ws, NULL);
    }
    if ((condition & G_IO_IN) && qio_ws_input_ready(ws)) {
        ready |= G_IO_IN;
    }
    /* A write would be taken, or told why not. */
    if ((condition & G_IO_OUT) &&
        (!qio_ws_pending(ws) || ws->failure || ws->out.closed || ws->out.failure)) {
        ready |= G_IO_OUT;
    }
    return ready;
}

static int websock_advance(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    GIOCondition ready = 0;
    int ret;

    if (qio_ws_enter(ws, false, NULL) != 0) {
        return 0;
    }
    ret = qio_ws_handshake_step(ws, NULL);
    if (ret == 0) {
        ready = open_ready(ws, condition);
    } else if (ret != QIO_CHANNEL_ERR_BLOCK) {
        ready = condition;
        if (ws->failure && qio_ws_pending(ws)) {
            qio_ws_flush(ws, NULL);
        }
    }
    qio_ws_leave(ws);
    return (int)ready;
}

/* ---- the beginning and the end ---- */

static int websock_handshake(QIOChannel *ioc, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    int ret = qio_ws_enter(ws, false, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_ws_handshake_step(ws, errp);
    qio_ws_leave(ws);
    return ret;
}

static int websock_flush(QIOChannel *ioc, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    int ret = qio_ws_enter(ws, false, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_ws_flush(ws, errp);
    qio_ws_leave(ws);
    return ret;
}

void qio_channel_websock_handshake(QIOChannelWebsock *ws, QIOTaskFunc func, gpointer opaque,
                                   GDestroyNotify destroy)
{
    qio_task_unref(qio_channel_handshake_task(&ws->parent, -1, NULL, func, opaque, destroy));
}

static int websock_bye(QIOChannel *ioc, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    int ret = qio_ws_enter(ws, false, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_ws_handshake_step(ws, errp);
    if (ret == 1) {
        qio_error_set(errp, QIO_ERROR_BUSY, "the client's request waits for an answer");
        ret = -1;
    }
    if (ret == 0) {
        qio_ws_due_close(ws, QIO_WS_CLOSE_NORMAL, NULL, 0);
        ret = qio_ws_flush(ws, errp);
    }
    if (ret == 0) {
        ret = qio_ws_drop_input(ws, errp);
    }
    /* What came with the other side's close frame may have made something due. */
    if (ret == 0) {
        ret = qio_ws_flush(ws, errp);
    }
    qio_ws_leave(ws);
    return ret;
}

int qio_channel_websock_close_code(QIOChannelWebsock *ws, unsigned code, const char *reason,
                                   Error **errp)
{
    size_t len = reason ? strlen(reason) : 0;
    int ret;

    if ((code != 0 && !qio_ws_close_code_valid(code)) || (code == 0 && len > 0)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "code: %u is none of 1000-1003, 1007-1014, 3000-4999, "
                      "or 0 without a reason", code);
        return -1;
    }
    if (len > QIO_WS_CONTROL_MAX - 2 || !qio_ws_utf8_valid(reason, len)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "reason: at most %d bytes of UTF-8 are wanted",
                      QIO_WS_CONTROL_MAX - 2);
        return -1;
    }
    ret = qio_ws_enter_open(ws, errp);
    if (ret != 0) {
        if (ret == QIO_CHANNEL_ERR_BLOCK) {
            qio_error_set(errp, QIO_ERROR_AGAIN, "the WebSocket handshake is not done");
        }
        return -1;
    }
    if (qio_ws_failed(ws, errp)) {
        ret = -1;
    } else {
        qio_ws_due_close(ws, code, reason, len);
    }
    qio_ws_leave(ws);
    return ret;
}

static int websock_close(QIOChannel *ioc, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;

    if (qio_ws_enter(ws, false, NULL) == 0) {
        if (ws->phase == QIO_WS_OPEN) {
            qio_ws_due_close(ws, QIO_WS_CLOSE_NORMAL, NULL, 0);
        }
        if (qio_ws_pending(ws)) {
            qio_ws_flush(ws, NULL);
        }
        qio_ws_stop_timer(ws);
        ws->kick = false;
        qio_layer_lock_leave(&ws->lock);
    }
    return qio_layer_close_below(ioc, errp);
}

static int websock_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)ioc;
    QIOChannel *below = qio_layer_below(ioc);
    bool open = false;
    int ret = qio_ws_enter(ws, false, errp);

    if (ret == -1) {
        return -1;
    }
    if (ret != 0) {
        return qio_layer_shutdown_unlocked(ioc, how, errp);
    }
    /* Without hands shaken there are no frames that could tell the other side. */
    open = ws->phase == QIO_WS_OPEN;
    if (open && how != QIO_CHANNEL_SHUTDOWN_READ) {
        qio_ws_due_close(ws, QIO_WS_CLOSE_NORMAL, NULL, 0);
    }
    if (open && how != QIO_CHANNEL_SHUTDOWN_WRITE) {
        ws->in.shut = true;
    }
    ws->kick = true;
    qio_ws_leave(ws);
    return (open && how == QIO_CHANNEL_SHUTDOWN_WRITE) || !below
        ? 0 : qio_channel_shutdown(below, how, errp);
}

static void websock_set_delay(QIOChannel *ioc, bool enabled)
{
    QIOChannel *below = qio_layer_below(ioc);

    if (below) {
        qio_channel_set_delay(below, enabled);
    }
}

static void websock_set_cork(QIOChannel *ioc, bool enabled)
{
    QIOChannel *below = qio_layer_below(ioc);

    if (below) {
        qio_channel_set_cork(below, enabled);
    }
}

/* ---- what was said in the handshake ---- */

static char *find_text(QIOChannelWebsock *ws, const char *key)
{
    if (strcmp(key, "protocol") == 0) {
        return g_strdup(ws->protocol);
    }
    if (strcmp(key, "path") == 0) {
        return g_strdup(ws->server ? ws->head->target : ws->settings.path);
    }
    if (ws->head->authority && g_ascii_strcasecmp(key, "host") == 0) {
        return g_strdup(ws->head->authority);
    }
    if (strcmp(key, "protocols") == 0) {
        return ws->server ? qio_http_get_all(ws->head, "Sec-WebSocket-Protocol")
                          : ws->settings.protocols ? g_strjoinv(", ", ws->settings.protocols)
                                                   : NULL;
    }
    return qio_http_get_all(ws->head, key);
}

ssize_t qio_channel_websock_get_request(QIOChannelWebsock *ws, const char *key, char *buf,
                                        size_t cap, Error **errp)
{
    char *text = NULL;
    char piece[64];
    ssize_t len = -1;

    if (!key || (!buf && cap > 0)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL", key ? "buf" : "key");
        return -1;
    }
    if (qio_ws_enter(ws, true, errp) != 0) {
        return -1;
    }
    if (strcmp(key, "mode") == 0) {
        text = g_strdup(ws->messages ? "messages" : "stream");
        len = (ssize_t)(cap > 0 ? g_strlcpy(buf, text, cap) : strlen(text));
    } else if (!ws->head) {
        qio_error_set(errp, QIO_ERROR_AGAIN, "the other side has not said anything yet");
    } else if (!(text = find_text(ws, key))) {
        qio_error_set(errp, QIO_ERROR_INVAL, "key: the handshake has no \"%s\"",
                      qio_escape_bytes(key, strlen(key), piece, sizeof(piece)));
    } else {
        len = (ssize_t)(cap > 0 ? g_strlcpy(buf, text, cap) : strlen(text));
    }
    qio_ws_leave(ws);
    g_free(text);
    return len;
}

bool qio_channel_websock_is_messages(QIOChannelWebsock *ws)
{
    return ws->messages;
}

/* ---- the type ---- */

static void websock_init(Object *obj)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)obj;

    qio_layer_lock_init(&ws->lock);
    ws->timer_fd = -1;
}

static void websock_finalize(Object *obj)
{
    QIOChannelWebsock *ws = (QIOChannelWebsock *)obj;

    /* A close that came from a function of the program found the lock taken. */
    qio_ws_stop_timer(ws);
    qio_error_free(ws->failure);
    qio_error_free(ws->refusal);
    qio_error_free(ws->out.failure);
    qio_ws_settings_free(&ws->settings);
    qio_http_head_free(ws->head);
    qio_ws_deflate_free(ws->deflate);
    g_free(ws->key);
    g_free(ws->protocol);
    g_free(ws->in.buf);
    g_free(ws->out.buf);
    memset(ws->out.random, 0, sizeof(ws->out.random));
    qio_layer_lock_destroy(&ws->lock);
}

static void websock_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = qio_ws_stream_readv;
    ioc_class->io_writev = qio_ws_stream_writev;
    ioc_class->io_close = websock_close;
    ioc_class->io_shutdown = websock_shutdown;
    ioc_class->io_set_delay = websock_set_delay;
    ioc_class->io_set_cork = websock_set_cork;
    ioc_class->io_poll = websock_poll;
    ioc_class->io_advance = websock_advance;
    ioc_class->io_flush = websock_flush;
    ioc_class->io_handshake = websock_handshake;
    ioc_class->io_bye = websock_bye;
}

static const TypeInfo websock_type = {
    .name = TYPE_QIO_CHANNEL_WEBSOCK,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelWebsock),
    .instance_init = websock_init,
    .instance_finalize = websock_finalize,
    .class_init = websock_class_init,
};

static void __attribute__((constructor)) websock_register(void)
{
    qio_type_register_static(&websock_type);
}

QIOChannelWebsock *qio_channel_websock_new_options(QIOChannel *master, const QIOOptions *options,
                                                   bool server, Error **errp)
{
    QIOChannelWebsock *ws;

    if (!master) {
        qio_error_set(errp, QIO_ERROR_INVAL, "master: NULL, a WebSocket lies on a channel");
        return NULL;
    }
    ws = (QIOChannelWebsock *)qio_object_new(TYPE_QIO_CHANNEL_WEBSOCK);
    ws->server = server;
    ws->messages = strcmp(qio_options_get_str(options, "ws-mode", "stream"), "messages") == 0;
    if (qio_ws_settings_take(&ws->settings, options, server, errp) < 0 ||
        qio_layer_attach(&ws->parent, &ws->lock, master, errp) < 0) {
        qio_object_unref(ws);
        return NULL;
    }
    if (qio_channel_has_feature(master, QIO_CHANNEL_FEATURE_SHUTDOWN)) {
        qio_channel_set_feature(&ws->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
    }
    return ws;
}

QIOChannelWebsock *qio_channel_websock_new_server(QIOChannel *master)
{
    return qio_channel_websock_new_options(master, NULL, true, NULL);
}

QIOChannelWebsock *qio_channel_websock_new_client(QIOChannel *master, const char *host,
                                                  const char *path, Error **errp)
{
    QIOOptions *options = qio_options_new();
    QIOChannelWebsock *ws = NULL;

    if ((!host || qio_options_set_str(options, "ws-host", host, errp) == 0) &&
        (!path || qio_options_set_str(options, "ws-path", path, errp) == 0)) {
        ws = qio_channel_websock_new_options(master, options, false, errp);
    }
    qio_options_free(options);
    return ws;
}
