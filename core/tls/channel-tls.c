/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/channel-tls.c: the class.
 *
 * Owns: transfers, readiness, the end, and making channels.  Rules: every method takes the lock
 * (lock.c) and waits for nothing else; what a read finds decrypted beyond its buffers stays in
 * `packet`, and what a watch decrypts to know whether a read would block does too; a write is
 * accepted while the queue of encrypted bytes is empty, so at most a record waits there.
 */
#include "tls/tls-priv.h"
#include "base/fork.h"

#include <string.h>

enum {
    RECORD_MAX = 16384,
    WRITE_MAX = 8 * RECORD_MAX,         /* accepted in one call, then others may have the lock */
    ODDITIES_MAX = 16,
    QUIET_MAX = 256,                    /* messages without data that one call looks through */
};

/* ---- reading ---- */

/* What is no data and no end.  Returns: true to go on */
static bool bear(QIOChannelTls *tls, int rc)
{
    if (gnutls_error_is_fatal(rc) || ++tls->oddities > ODDITIES_MAX) {
        return false;
    }
    if (rc == GNUTLS_E_REHANDSHAKE) {
        gnutls_alert_send(tls->session, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION);
    }
    return true;
}

static void read_failed(QIOChannelTls *tls, int rc)
{
    bool truncated = qio_tls_is_truncation(tls, rc);

    if (truncated && tls->relaxed) {
        tls->read_end = true;
        return;
    }
    qio_tls_set_session_error(tls, rc, "TLS", &tls->read_error);
    if (!truncated && rc != GNUTLS_E_PULL_ERROR && rc != GNUTLS_E_FATAL_ALERT_RECEIVED) {
        gnutls_alert_send_appropriate(tls->session, rc);
    }
}

static void keep_ticket(QIOChannelTls *tls)
{
    tls->ticket_came = false;
    if (tls->resume && !tls->server) {
        qio_tls_ticket_keep(tls->creds, tls->name, tls->session);
    }
}

/* Decrypts one record of data into `packet`, or finds the end or an error.  Returns false when
 * there is nothing of that yet. */
static bool decode(QIOChannelTls *tls)
{
    ssize_t n;

    for (int quiet = 0; quiet < QUIET_MAX; quiet++) {
        tls->blocked = false;
        n = gnutls_record_recv_packet(tls->session, &tls->packet);
        if (G_UNLIKELY(tls->ticket_came)) {
            keep_ticket(tls);
        }
        if (n > 0) {
            gnutls_packet_get(tls->packet, &tls->left, NULL);
            tls->oddities = 0;
            return true;
        }
        if (n == 0) {
            tls->read_end = true;
            return true;
        }
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
            if (tls->blocked) {
                return false;
            }
        } else if (!bear(tls, (int)n)) {
            read_failed(tls, (int)n);
            return true;
        }
    }
    /* The others have their turn; the transport has not said that there is no more. */
    tls->kick = true;
    return false;
}

bool qio_tls_readable(QIOChannelTls *tls)
{
    return tls->packet || tls->read_end || tls->read_error || tls->read_shut || decode(tls);
}

static ssize_t take(QIOChannelTls *tls, const struct iovec *iov, size_t niov)
{
    size_t done = 0;

    for (size_t i = 0; i < niov && tls->left.size > 0; i++) {
        size_t part = MIN(iov[i].iov_len, tls->left.size);

        if (part > 0) {
            memcpy(iov[i].iov_base, tls->left.data, part);
        }
        tls->left.data += part;
        tls->left.size -= (unsigned)part;
        done += part;
    }
    if (tls->left.size == 0) {
        gnutls_packet_deinit(g_steal_pointer(&tls->packet));
    }
    return (ssize_t)done;
}

static ssize_t read_locked(QIOChannelTls *tls, const struct iovec *iov, size_t niov, Error **errp)
{
    int ret = qio_tls_handshake_step(tls, errp);

    if (ret != 0) {
        return ret;
    }
    if (tls->read_shut) {
        return 0;
    }
    if (!qio_tls_readable(tls)) {
        qio_tls_flush(tls);     /* what the peer may be waiting for */
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (tls->packet) {
        return take(tls, iov, niov);
    }
    if (tls->read_error) {
        qio_error_propagate(errp, qio_error_copy(tls->read_error));
        return -1;
    }
    return 0;
}

static ssize_t tls_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                         int **fds, size_t *nfds, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    ssize_t n = qio_tls_enter(tls, errp);

    if (n != 0) {
        return n;
    }
    n = read_locked(tls, iov, niov, errp);
    qio_tls_leave(tls);
    return n;
}

/* ---- writing ---- */

static int give_write_error(QIOChannelTls *tls, Error **errp)
{
    tls->lost = false;
    qio_error_propagate(errp, qio_error_copy(tls->write_error));
    return -1;
}

/* What the reader saw end the session says more than that it has ended. */
static void set_ended_error(QIOChannelTls *tls)
{
    if (tls->read_error) {
        tls->write_error = qio_error_copy(tls->read_error);
        return;
    }
    qio_error_set_errno(&tls->write_error, EPIPE, "TLS: the peer has ended the connection");
}

/* Returns: bytes accepted, or -1 with write_error set. */
static ssize_t send_record(QIOChannelTls *tls, const void *bytes, size_t len)
{
    ssize_t n = gnutls_record_send(tls->session, bytes, MIN(len, (size_t)RECORD_MAX));

    if (n == GNUTLS_E_INVALID_SESSION && (tls->read_error || tls->read_end)) {
        set_ended_error(tls);
        return -1;
    }
    if (n <= 0) {
        qio_tls_set_session_error(tls, n < 0 ? (int)n : GNUTLS_E_INTERNAL_ERROR, "TLS",
                                  &tls->write_error);
        return -1;
    }
    return n;
}

/* A record of several blocks, the first of which is smaller than one. */
static ssize_t send_gathered(QIOChannelTls *tls, const struct iovec *iov, size_t niov)
{
    uint8_t *bytes = g_try_malloc(RECORD_MAX);
    size_t len = 0;
    ssize_t n;

    if (!bytes) {
        return send_record(tls, iov[0].iov_base, iov[0].iov_len);
    }
    for (size_t i = 0; i < niov && len < RECORD_MAX; i++) {
        size_t part = MIN(iov[i].iov_len, RECORD_MAX - len);

        if (part > 0) {
            memcpy(bytes + len, iov[i].iov_base, part);
        }
        len += part;
    }
    n = send_record(tls, bytes, len);
    explicit_bzero(bytes, len);
    g_free(bytes);
    return n;
}

static ssize_t send_some(QIOChannelTls *tls, const struct iovec *iov, size_t niov)
{
    struct iovec rest[64];
    size_t done = 0;
    ssize_t n;

    while (done < WRITE_MAX && tls->out_start == tls->out_end) {
        size_t count = qio_iov_skip(rest, G_N_ELEMENTS(rest), iov, niov, done);

        if (count == 0) {
            break;
        }
        if (count == 1 || rest[0].iov_len >= RECORD_MAX) {
            n = send_record(tls, rest[0].iov_base, rest[0].iov_len);
        } else {
            n = send_gathered(tls, rest, count);
        }
        if (n < 0 || tls->write_error) {
            return done > 0 ? (ssize_t)done : -1;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static ssize_t write_locked(QIOChannelTls *tls, const struct iovec *iov, size_t niov,
                            Error **errp)
{
    int ret = qio_tls_handshake_step(tls, errp);
    ssize_t n;

    if (ret != 0) {
        return ret;
    }
    if (tls->write_shut) {
        qio_error_set_errno(errp, EPIPE, "TLS: writing was shut down");
        return -1;
    }
    ret = qio_tls_flush(tls);
    if (ret != 0) {
        return ret == -1 ? give_write_error(tls, errp) : ret;
    }
    n = send_some(tls, iov, niov);
    if (n < 0) {
        return give_write_error(tls, errp);
    }
    /* Who sleeps until there is something to read has to push the rest out meanwhile. */
    tls->kick |= tls->out_start < tls->out_end;
    return n;
}

static ssize_t tls_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                          int *fds, size_t nfds, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    ssize_t n = qio_tls_enter(tls, errp);

    if (n != 0) {
        return n;
    }
    n = write_locked(tls, iov, niov, errp);
    qio_tls_leave(tls);
    return n;
}

static int tls_flush(QIOChannel *ioc, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ret = qio_tls_enter(tls, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_tls_flush(tls);
    if (ret == -1) {
        give_write_error(tls, errp);
    }
    qio_tls_leave(tls);
    return ret;
}

/* ---- readiness ---- */

static int advance_locked(QIOChannelTls *tls, GIOCondition condition)
{
    int ret = qio_tls_handshake_step(tls, NULL);
    int ready = 0;

    if (ret == -1) {
        return (int)condition;      /* the next transfer tells of it */
    }
    if (ret != 0) {
        return 0;
    }
    ret = qio_tls_flush(tls);
    if ((condition & G_IO_OUT) && (ret != QIO_CHANNEL_ERR_BLOCK || tls->write_shut)) {
        ready |= G_IO_OUT;
    }
    if ((condition & G_IO_IN) && qio_tls_readable(tls)) {
        ready |= G_IO_IN;
    }
    return ready;
}

static int tls_advance(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ready = qio_tls_enter(tls, NULL);

    if (ready != 0) {
        return ready == -1 ? -1 : 0;
    }
    ready = advance_locked(tls, condition);
    qio_tls_leave(tls);
    return ready;
}

static int tls_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    GIOCondition below = 0;
    int n;

    if (qio_tls_enter(tls, NULL) != 0) {
        return 0;       /* who holds the lock wakes everybody when it leaves */
    }
    /* What the transport has beyond the end is nobody's here: it would wake us for ever. */
    if (((condition & G_IO_IN) || tls->state == QIO_TLS_SHAKING) && !tls->read_end &&
        !tls->read_error) {
        below |= G_IO_IN;
    }
    /* OUT also when nothing is held any more: who found records held before may come here after
     * another has sent them off. */
    if (tls->out_start < tls->out_end || (tls->state == QIO_TLS_OPEN && (condition & G_IO_OUT))) {
        below |= G_IO_OUT;
    }
    n = qio_layer_poll(ioc, below, out, cap);
    qio_tls_need_timer(tls);
    if (tls->timer_fd >= 0 && n >= 0 && n < cap) {
        out[n].fd = tls->timer_fd;
        out[n].events = G_IO_IN;
        n++;
    }
    qio_tls_leave(tls);
    return n;
}

/* ---- the beginning and the end ---- */

static int tls_handshake(QIOChannel *ioc, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ret = qio_tls_enter(tls, errp);

    if (ret != 0) {
        return ret;
    }
    ret = qio_tls_handshake_step(tls, errp);
    qio_tls_leave(tls);
    return ret;
}

/* What comes before the peer's close_notify is nobody's any more. */
static int await_end(QIOChannelTls *tls, Error **errp)
{
    while (!tls->read_end && !tls->read_error) {
        if (!qio_tls_readable(tls) || (tls->read_shut && !tls->packet && !decode(tls))) {
            return QIO_CHANNEL_ERR_BLOCK;
        }
        if (tls->packet) {
            gnutls_packet_deinit(g_steal_pointer(&tls->packet));
        }
    }
    if (tls->read_error) {
        qio_error_propagate(errp, qio_error_copy(tls->read_error));
        return -1;
    }
    return 0;
}

static int bye_locked(QIOChannelTls *tls, Error **errp)
{
    int ret = qio_tls_handshake_step(tls, errp);
    int sent;

    if (ret != 0) {
        return ret;
    }
    qio_tls_send_bye(tls);
    sent = qio_tls_flush(tls);
    if (sent == -1) {
        return give_write_error(tls, errp);
    }
    ret = await_end(tls, errp);
    return ret == 0 ? sent : ret;
}

static int tls_bye(QIOChannel *ioc, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ret = qio_tls_enter(tls, errp);

    if (ret != 0) {
        return ret;
    }
    ret = bye_locked(tls, errp);
    qio_tls_leave(tls);
    return ret;
}

void qio_channel_tls_handshake(QIOChannelTls *tls, QIOTaskFunc func, gpointer opaque,
                               GDestroyNotify destroy)
{
    qio_task_unref(qio_channel_handshake_task(&tls->parent, tls->handshake_ms, NULL, func, opaque,
                                              destroy));
}

QIOTask *qio_channel_tls_bye(QIOChannelTls *tls, int timeout_ms, AioContext *ctx,
                             QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    return qio_channel_steps_task(&tls->parent, tls_bye, G_IO_IN, timeout_ms, ctx, func, opaque,
                                  destroy);
}

static void shutdown_locked(QIOChannelTls *tls, QIOChannelShutdown how)
{
    if (how != QIO_CHANNEL_SHUTDOWN_WRITE) {
        tls->read_shut = true;
    }
    if (how != QIO_CHANNEL_SHUTDOWN_READ) {
        /* Without an end of the handshake there is none to tell of: it waits for that. */
        qio_tls_send_bye(tls);
        tls->write_shut = tls->shut_below = true;
        qio_tls_flush(tls);
    }
    tls->kick = true;
}

static int tls_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ret = qio_tls_enter(tls, errp);

    if (ret == QIO_CHANNEL_ERR_BLOCK) {
        return qio_layer_shutdown_unlocked(ioc, how, errp);
    }
    if (ret != 0) {
        return ret;
    }
    shutdown_locked(tls, how);
    if (how == QIO_CHANNEL_SHUTDOWN_BOTH) {
        ret = qio_layer_shutdown(ioc, how, errp);
    }
    qio_tls_leave(tls);
    return ret;
}

static void tls_set_delay(QIOChannel *ioc, bool enabled)
{
    qio_channel_set_delay(qio_layer_below(ioc), enabled);
}

static void tls_set_cork(QIOChannel *ioc, bool enabled)
{
    qio_channel_set_cork(qio_layer_below(ioc), enabled);
}

/* Sends what can be sent without waiting.  Nobody else is inside. */
static int part(QIOChannelTls *tls, Error **errp)
{
    size_t left;
    bool lost;

    if (!qio_layer_below(&tls->parent) || qio_channel_closing(qio_layer_below(&tls->parent))) {
        return 0;
    }
    qio_tls_flush(tls);
    left = tls->out_end - tls->out_start;
    lost = tls->lost;       /* not the close_notify, which a dead peer misses as well */
    /* A ticket that nobody read for is taken now, before it is lost. */
    if (tls->state == QIO_TLS_OPEN && tls->resume && !tls->server) {
        (void)qio_tls_readable(tls);
    }
    qio_tls_send_bye(tls);
    qio_tls_flush(tls);
    if (left > 0 && tls->state == QIO_TLS_OPEN) {
        qio_error_set_errno(errp, EAGAIN, "the transport took none of the last %zu encrypted "
                            "bytes: flush before closing", left);
        return -1;
    }
    return lost && tls->state == QIO_TLS_OPEN ? give_write_error(tls, errp) : 0;
}

static int tls_close(QIOChannel *ioc, Error **errp)
{
    QIOChannelTls *tls = (QIOChannelTls *)ioc;
    int ret = 0;

    /* A forked child says nothing in its parent's name. */
    if (qio_tls_enter(tls, NULL) == 0) {
        ret = part(tls, errp);
        tls->kick = false;
        tls->told = true;
        qio_tls_leave(tls);
    }
    qio_tls_stop_timer(tls);
    if (qio_layer_close_below(ioc, ret < 0 ? NULL : errp) < 0) {
        ret = -1;
    }
    return ret;
}

/* ---- making ---- */

static void tls_init(Object *obj)
{
    QIOChannelTls *tls = (QIOChannelTls *)obj;

    qio_layer_lock_init(&tls->lock);
    tls->timer_fd = -1;
    tls->epoch = qio_fork_epoch();
}

static void tls_finalize(Object *obj)
{
    QIOChannelTls *tls = (QIOChannelTls *)obj;

    if (tls->packet) {
        gnutls_packet_deinit(tls->packet);
    }
    if (tls->session) {
        gnutls_deinit(tls->session);
    }
    qio_error_free(tls->failure);
    qio_error_free(tls->call_error);
    qio_error_free(tls->read_error);
    qio_error_free(tls->write_error);
    g_free(tls->out);
    g_free(tls->hostname);
    g_free(tls->name);
    g_strfreev(tls->acl);
    qio_tls_creds_unref(tls->creds);
    qio_tls_stop_timer(tls);        /* made while a close could not get in */
    qio_layer_lock_destroy(&tls->lock);
}

static void tls_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = tls_readv;
    ioc_class->io_writev = tls_writev;
    ioc_class->io_flush = tls_flush;
    ioc_class->io_advance = tls_advance;
    ioc_class->io_poll = tls_poll;
    ioc_class->io_handshake = tls_handshake;
    ioc_class->io_bye = tls_bye;
    ioc_class->io_shutdown = tls_shutdown;
    ioc_class->io_set_delay = tls_set_delay;
    ioc_class->io_set_cork = tls_set_cork;
    ioc_class->io_close = tls_close;
}

static const TypeInfo tls_type = {
    .name = TYPE_QIO_CHANNEL_TLS,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelTls),
    .instance_init = tls_init,
    .instance_finalize = tls_finalize,
    .class_init = tls_class_init,
};

static void __attribute__((constructor)) tls_register(void)
{
    qio_type_register_static(&tls_type);
}

QIOChannelTls *qio_tls_channel_alloc(Error **errp)
{
    return (QIOChannelTls *)qio_object_new_full(TYPE_QIO_CHANNEL_TLS, errp);
}
