/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/handshake.c: from the first byte to the moment when data may flow.
 *
 * Owns: the steps, their deadline and how they fail.  Rules: a step never waits; the deadline
 * counts from the first step that anybody takes, and a timerfd, made when somebody has to wait,
 * wakes whoever does, whichever way; the channel is open only when the peer has been let in; a
 * failure is told to the peer once and to every caller.  The lock is held.
 */
#include "tls/tls-priv.h"

/* What a peer may send beside the handshake itself. */
enum { ODDITIES_MAX = 16 };

/* ---- the deadline ---- */

static int make_timer(QIOChannelTls *tls, Error **errp)
{
    struct itimerspec when = { .it_value = { 0 } };

    tls->timer_fd = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    when.it_value.tv_sec = tls->deadline_ns / 1000000000;
    when.it_value.tv_nsec = tls->deadline_ns % 1000000000;
    if (tls->timer_fd < 0 ||
        sys_timerfd_settime(tls->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0) {
        qio_error_set_errno(errp, errno, "cannot set the handshake's deadline");
        return -1;
    }
    return 0;
}

void qio_tls_stop_timer(QIOChannelTls *tls)
{
    if (tls->timer_fd >= 0) {
        /* A loop that takes the number for ours would not look at the next file that gets it. */
        qio_loop_forget_fd(tls->timer_fd);
        sys_close(tls->timer_fd);
        tls->timer_fd = -1;
    }
}

static int check_deadline(QIOChannelTls *tls, Error **errp)
{
    if (tls->deadline_ns == 0) {
        tls->deadline_ns = sys_deadline_ns(tls->handshake_ms);
    }
    if (tls->deadline_ns != QIO_NEVER && sys_now_ns() >= tls->deadline_ns) {
        qio_error_set(errp, QIO_ERROR_TIMEOUT, "the TLS handshake did not end within %d ms",
                      tls->handshake_ms);
        return -1;
    }
    return 0;
}

/* ---- the ends ---- */

/* Takes err. */
static int fail(QIOChannelTls *tls, Error *err, Error **errp)
{
    qio_tls_flush(tls);
    qio_tls_stop_timer(tls);
    tls->state = QIO_TLS_FAILED;
    tls->failure = err;
    tls->kick = true;
    qio_error_propagate(errp, qio_error_copy(err));
    return -1;
}

static int fail_session(QIOChannelTls *tls, int rc, Error **errp)
{
    Error *err = NULL;

    qio_tls_set_session_error(tls, rc, "TLS handshake", &err);
    if (tls->alert != GNUTLS_A_CLOSE_NOTIFY) {
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, tls->alert);
    } else if (rc != GNUTLS_E_FATAL_ALERT_RECEIVED && rc != GNUTLS_E_PREMATURE_TERMINATION &&
               rc != GNUTLS_E_PULL_ERROR) {
        gnutls_alert_send_appropriate(tls->session, rc);
    }
    return fail(tls, err, errp);
}

/* The last flight did not go out: the peer has gone, and may have said why. */
static int fail_unsent(QIOChannelTls *tls, Error **errp)
{
    bool told = qio_tls_readable(tls) && tls->read_error;

    return fail(tls, qio_error_copy(told ? tls->read_error : tls->write_error), errp);
}

static int succeed(QIOChannelTls *tls, Error **errp)
{
    if (tls->write_error) {
        return fail_unsent(tls, errp);
    }
    if (qio_tls_admit(tls) < 0) {
        return fail_session(tls, GNUTLS_E_CERTIFICATE_ERROR, errp);
    }
    qio_tls_stop_timer(tls);
    tls->state = QIO_TLS_OPEN;
    tls->kick = true;
    tls->oddities = 0;
    /* In TLS 1.2 the ticket is part of the handshake. */
    if (tls->resume && !tls->server &&
        gnutls_protocol_get_version(tls->session) < GNUTLS_TLS1_3) {
        qio_tls_ticket_keep(tls->creds, tls->name, tls->session);
        tls->ticket_came = false;
    }
    if (tls->write_shut) {
        qio_tls_send_bye(tls);
        qio_tls_flush(tls);
    }
    return 0;
}

static bool lacks_host(QIOChannelTls *tls)
{
    return !tls->server && !tls->name && tls->creds->kind == QIO_TLS_X509 && tls->creds->verify;
}

void qio_tls_need_timer(QIOChannelTls *tls)
{
    Error *err = NULL;

    if (tls->state == QIO_TLS_SHAKING && !qio_channel_closing(&tls->parent) &&
        tls->timer_fd < 0 && tls->deadline_ns != 0 &&
        tls->deadline_ns != QIO_NEVER && make_timer(tls, &err) < 0) {
        fail(tls, err, NULL);       /* who waits is woken, and told by the next step */
    }
}

/* ---- one step ---- */

/* Returns: 1 go on, 0 nothing more to do now, -1 */
static int look_at(QIOChannelTls *tls, int rc)
{
    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
        return tls->blocked ? 0 : 1;
    }
    if (gnutls_error_is_fatal(rc) || ++tls->oddities > ODDITIES_MAX) {
        return -1;
    }
    return 1;
}

static int shake(QIOChannelTls *tls, Error **errp)
{
    int rc, more;

    do {
        tls->blocked = false;
        rc = gnutls_handshake(tls->session);
        if (rc == 0) {
            return succeed(tls, errp);
        }
        more = look_at(tls, rc);
    } while (more > 0);
    if (more < 0) {
        return fail_session(tls, rc, errp);
    }
    /* What could not be sent is only told when there is no word of the peer about it. */
    if (qio_tls_flush(tls) == -1) {
        return fail(tls, qio_error_copy(tls->write_error), errp);
    }
    return QIO_CHANNEL_ERR_BLOCK;
}

int qio_tls_handshake_step(QIOChannelTls *tls, Error **errp)
{
    Error *err = NULL;

    if (G_LIKELY(tls->state == QIO_TLS_OPEN)) {
        return 0;
    }
    if (tls->state == QIO_TLS_FAILED) {
        qio_error_propagate(errp, qio_error_copy(tls->failure));
        return -1;
    }
    if (lacks_host(tls)) {
        qio_tls_set_fault(&err, QIO_TLS_CERT_WRONG_NAME, "TLS handshake: there is no host name to "
                          "compare the server's certificate with: give tls-hostname, or say "
                          "tls-verify=off");
        return fail(tls, err, errp);
    }
    if (check_deadline(tls, &err) < 0) {
        return fail(tls, err, errp);
    }
    return shake(tls, errp);
}
