/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-connect.c: connecting to a socket address.
 *
 * Owns: connect with a deadline.  Rules: the descriptor is our own until it is connected and
 * only then the channel's, so a failure leaves the channel as it was; O_NONBLOCK is on only
 * meanwhile.  A connect that was started is never repeated: it is completed by poll and
 * SO_ERROR.  Who connects is inside the channel and waits as its writer, so that a close or a
 * cancel from another thread ends the wait.
 */
#include "channel/address-priv.h"
#include "channel/socket-priv.h"

/* How long to wait before asking a unix listener again whose queue is full: the kernel has no
 * event for room in it. */
enum { NAP_FIRST_MS = 1, NAP_MOST_MS = 20 };

typedef struct Attempt {
    QIOChannel *ioc;
    int fd;
    const struct sockaddr *addr;
    socklen_t len;
    int64_t deadline_ns;
    bool interruptible;
    int nap_ms;
} Attempt;

/* Waits for the descriptor, or (fd < 0) for the time alone.  Returns 0, or a positive errno. */
static int attempt_wait(const Attempt *attempt, int fd, int64_t until_ns)
{
    int ready = qio_channel_poll_fd(attempt->ioc, fd, G_IO_OUT,
                                    MIN(until_ns, attempt->deadline_ns), attempt->interruptible);

    if (ready < 0) {
        return errno;
    }
    if (ready == 0 && attempt->deadline_ns != QIO_NEVER &&
        sys_now_ns() >= attempt->deadline_ns) {
        return ETIME;
    }
    return 0;
}

static int attempt_nap(Attempt *attempt)
{
    int64_t until_ns = sys_now_ns() + (int64_t)attempt->nap_ms * 1000000;

    attempt->nap_ms = MIN(attempt->nap_ms * 2, NAP_MOST_MS);
    return attempt_wait(attempt, -1, until_ns);
}

/* What became of a connect in progress: 0, a positive errno, or EAGAIN: it was never started. */
static int attempt_result(const Attempt *attempt)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(int);
    int number;

    if (sys_getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &number, &len) < 0) {
        return errno;
    }
    if (number != 0) {
        return number;
    }
    len = sizeof(peer);
    if (sys_getpeername(attempt->fd, (struct sockaddr *)&peer, &len) < 0) {
        return errno == ENOTCONN ? EAGAIN : errno;
    }
    return 0;
}

/* Returns 0, or a positive errno; ETIME is the deadline, ETIMEDOUT the network's own. */
static int attempt_run(Attempt *attempt)
{
    int number;

    for (;;) {
        if (sys_connect(attempt->fd, attempt->addr, attempt->len) == 0) {
            return 0;
        }
        if (errno == EAGAIN) {
            number = attempt_nap(attempt);
        } else if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY) {
            number = attempt_wait(attempt, attempt->fd, QIO_NEVER);
            if (number == 0) {
                number = attempt_result(attempt);
                if (number != EAGAIN) {
                    return number;
                }
                number = attempt_nap(attempt);
            }
        } else {
            return errno == EISCONN ? 0 : errno;
        }
        if (number != 0) {
            return number;
        }
    }
}

static void set_connect_error(const Attempt *attempt, int number, Error **errp)
{
    char *where = qio_sockaddr_describe(attempt->addr, attempt->len);

    if (number == ETIME) {
        qio_error_set(errp, QIO_ERROR_TIMEOUT, "no connection to %s within the time given", where);
    } else if (number == EINTR) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal interrupted the connecting to %s", where);
    } else if (number == ECANCELED) {
        qio_error_set(errp, QIO_ERROR_CANCELLED, "the connecting to %s was cancelled", where);
    } else {
        qio_error_set_errno(errp, number, "cannot connect to %s", where);
    }
    g_free(where);
}

static int connect_inside(QIOChannelSocket *ioc, Attempt *attempt, Error **errp)
{
    int number;

    attempt->fd = sys_socket(attempt->addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                             0);
    if (attempt->fd < 0) {
        qio_error_set_errno(errp, errno, "cannot make a socket");
        return -1;
    }
    number = attempt_run(attempt);
    if (number == 0 && qio_socket_set_nonblocking(attempt->fd, false) < 0) {
        number = errno;
    }
    if (number != 0) {
        set_connect_error(attempt, number, errp);
        sys_close(attempt->fd);
        return -1;
    }
    qio_socket_set_remote(ioc, attempt->addr, attempt->len);
    qio_socket_adopt(ioc, attempt->fd, attempt->addr->sa_family);
    return 0;
}

int qio_channel_socket_connect_sockaddr(QIOChannelSocket *ioc, const struct sockaddr *addr,
                                        socklen_t len, int timeout_ms, bool interruptible,
                                        Error **errp)
{
    Attempt attempt = {
        .ioc = &ioc->parent,
        .addr = addr,
        .len = len,
        .interruptible = interruptible,
        .nap_ms = NAP_FIRST_MS,
    };
    int ret;

    if (!addr || len < sizeof(addr->sa_family) || len > sizeof(struct sockaddr_storage)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: %u bytes at %p are no socket address",
                      len, (const void *)addr);
        return -1;
    }
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    attempt.deadline_ns = sys_deadline_ns(timeout_ms);
    ret = connect_inside(ioc, &attempt, errp);
    if (ret == 0 && qio_channel_closing(&ioc->parent)) {
        qio_error_set(errp, QIO_ERROR_CANCELLED, "the channel was closed while it connected");
        ret = -1;
    }
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    return ret;
}
