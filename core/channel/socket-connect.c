/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/socket-connect.c: connecting to socket addresses.
 *
 * Owns: the attempts of a race and connect with a deadline.  Rules: the descriptors are our own
 * until one is connected, and only then that one is the channel's, so a failure leaves the channel
 * as it was; O_NONBLOCK is on only meanwhile.  A connect that was started is never repeated: it is
 * completed by poll and SO_ERROR.  Who connects is inside the channel and waits as its writer, so
 * that a close or a cancel from another thread ends the wait.
 */
#include "channel/socket-connect.h"

#include <string.h>
#include "channel/address-priv.h"
#include "channel/socket-priv.h"

/* How long to wait before asking a unix listener again whose queue is full: the kernel has no
 * event for room in it. */
enum { NAP_FIRST_MS = 1, NAP_MOST_MS = 20 };

typedef enum AttemptState {
    ATTEMPT_NEW,
    ATTEMPT_WAITING,        /* for the descriptor */
    ATTEMPT_NAPPING,        /* until again_ns */
    ATTEMPT_CONNECTED,
    ATTEMPT_FAILED,
} AttemptState;

typedef struct Attempt {
    QIOSockaddr to;
    AttemptState state;
    bool ready;             /* the descriptor is */
    int fd;                 /* -1 = none */
    int nap_ms;
    int64_t again_ns;
} Attempt;

struct QIOConnect {
    size_t count;
    size_t begun;
    int64_t next_ns;        /* when the next attempt is to begin */
    Attempt *winner;
    Error *failure;
    Attempt attempts[];
};

/* ---- one attempt ---- */

static void attempt_nap(Attempt *attempt)
{
    attempt->nap_ms = attempt->nap_ms == 0 ? NAP_FIRST_MS
                                           : MIN(attempt->nap_ms * 2, NAP_MOST_MS);
    attempt->again_ns = sys_deadline_ns(attempt->nap_ms);
    attempt->state = ATTEMPT_NAPPING;
}

static void attempt_connected(Attempt *attempt)
{
    attempt->state = qio_socket_set_nonblocking(attempt->fd, false) < 0 ? ATTEMPT_FAILED
                                                                       : ATTEMPT_CONNECTED;
}

/* Sets the state, and errno when that is FAILED. */
static void attempt_connect(Attempt *attempt)
{
    if (sys_connect(attempt->fd, (struct sockaddr *)&attempt->to.addr, attempt->to.len) == 0 ||
        errno == EISCONN) {
        attempt_connected(attempt);
    } else if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY) {
        attempt->state = ATTEMPT_WAITING;
    } else if (errno == EAGAIN) {
        attempt_nap(attempt);
    } else {
        attempt->state = ATTEMPT_FAILED;
    }
}

static void attempt_begin(Attempt *attempt)
{
    attempt->fd = sys_socket(attempt->to.addr.ss_family,
                             SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (attempt->fd < 0) {
        attempt->state = ATTEMPT_FAILED;
        return;
    }
    attempt_connect(attempt);
}

/* The descriptor of a connect in progress is ready: what became of it? */
static void attempt_look(Attempt *attempt)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(int);
    int number;

    if (sys_getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &number, &len) < 0) {
        attempt->state = ATTEMPT_FAILED;
        return;
    }
    if (number != 0) {
        attempt->state = ATTEMPT_FAILED;
        errno = number;
        return;
    }
    len = sizeof(peer);
    if (sys_getpeername(attempt->fd, (struct sockaddr *)&peer, &len) == 0) {
        attempt_connected(attempt);
    } else if (errno == ENOTCONN) {
        attempt_nap(attempt);       /* it was never started */
    } else {
        attempt->state = ATTEMPT_FAILED;
    }
}

static void attempt_end(Attempt *attempt)
{
    if (attempt->fd >= 0) {
        sys_close(attempt->fd);
        attempt->fd = -1;
    }
}

/* ---- the race ---- */

/* The next address of the same family (or another) as one that went before, or count. */
static size_t find_next(const QIOSockaddr *to, size_t count, const bool *taken, int family,
                        bool same)
{
    size_t i = 0;

    while (i < count && (taken[i] || (to[i].addr.ss_family == family) != same)) {
        i++;
    }
    return i;
}

/* RFC 8305, 4: the family that comes first, then the other, in turns. */
static void interleave(QIOConnect *race, const QIOSockaddr *to)
{
    bool taken[QIO_CONNECT_MAX] = { false };
    int last = to[0].addr.ss_family;
    size_t next = 0;

    for (size_t n = 0; n < race->count; n++) {
        if (n > 0) {
            next = find_next(to, race->count, taken, last, false);
            next = next < race->count ? next : find_next(to, race->count, taken, last, true);
        }
        taken[next] = true;
        last = to[next].addr.ss_family;
        race->attempts[n].to = to[next];
        race->attempts[n].fd = -1;
    }
}

QIOConnect *qio_connect_new(const QIOSockaddr *to, size_t count)
{
    QIOConnect *race;

    count = MIN(count, QIO_CONNECT_MAX);
    race = g_malloc0(sizeof(*race) + count * sizeof(race->attempts[0]));
    race->count = count;
    if (count > 0) {
        interleave(race, to);
    }
    return race;
}

void qio_connect_free(QIOConnect *race)
{
    if (race == NULL) {
        return;
    }
    for (size_t i = 0; i < race->begun; i++) {
        attempt_end(&race->attempts[i]);
    }
    qio_error_free(race->failure);
    g_free(race);
}

/* The error of the last attempt to fail is the one that is told; what befell the others before
 * it goes in front. */
static void note_failure(QIOConnect *race, Attempt *attempt)
{
    char *where = qio_sockaddr_describe((struct sockaddr *)&attempt->to.addr, attempt->to.len);
    Error *earlier = race->failure;

    race->failure = NULL;
    qio_error_set_errno(&race->failure, errno, attempt->fd < 0 ? "cannot make a socket for %s"
                                                               : "cannot connect to %s", where);
    if (earlier != NULL) {
        qio_error_prepend(race->failure, "%s; ", qio_error_get_pretty(earlier));
        qio_error_free(earlier);
    }
    g_free(where);
    attempt_end(attempt);
}

/* What follows from an attempt's new state. */
static void judge(QIOConnect *race, Attempt *attempt)
{
    if (attempt->state == ATTEMPT_CONNECTED) {
        race->winner = attempt;
    } else if (attempt->state == ATTEMPT_FAILED) {
        note_failure(race, attempt);
        race->next_ns = 0;          /* the next one need not wait */
    }
}

static bool go_on(Attempt *attempt, int64_t now_ns)
{
    if (attempt->state == ATTEMPT_WAITING && attempt->ready) {
        attempt->ready = false;
        attempt_look(attempt);
        return true;
    }
    if (attempt->state == ATTEMPT_NAPPING && now_ns >= attempt->again_ns) {
        attempt_connect(attempt);
        return true;
    }
    return false;
}

static bool is_under_way(const QIOConnect *race)
{
    for (size_t i = 0; i < race->begun; i++) {
        if (race->attempts[i].state != ATTEMPT_FAILED) {
            return true;
        }
    }
    return false;
}

int qio_connect_step(QIOConnect *race, Error **errp)
{
    int64_t now_ns = sys_now_ns();

    for (size_t i = 0; i < race->begun && race->winner == NULL; i++) {
        if (go_on(&race->attempts[i], now_ns)) {
            judge(race, &race->attempts[i]);
        }
    }
    while (race->winner == NULL && race->begun < race->count && now_ns >= race->next_ns) {
        Attempt *attempt = &race->attempts[race->begun++];

        race->next_ns = now_ns + QIO_CONNECT_DELAY_MS * INT64_C(1000000);
        attempt_begin(attempt);
        judge(race, attempt);
    }
    if (race->winner != NULL) {
        return 1;
    }
    if (is_under_way(race)) {
        return 0;
    }
    if (race->failure == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "there is no address to connect to");
    } else {
        qio_error_propagate(errp, g_steal_pointer(&race->failure));
    }
    return -1;
}

int64_t qio_connect_due_ns(const QIOConnect *race)
{
    int64_t due_ns = race->begun < race->count ? race->next_ns : QIO_NEVER;

    for (size_t i = 0; i < race->begun; i++) {
        if (race->attempts[i].state == ATTEMPT_NAPPING) {
            due_ns = MIN(due_ns, race->attempts[i].again_ns);
        }
    }
    return due_ns;
}

size_t qio_connect_count(const QIOConnect *race)
{
    return race->count;
}

int qio_connect_fd(const QIOConnect *race, size_t index)
{
    const Attempt *attempt = &race->attempts[index];

    return attempt->state == ATTEMPT_WAITING ? attempt->fd : -1;
}

void qio_connect_note(QIOConnect *race, size_t index)
{
    race->attempts[index].ready = true;
}

char *qio_connect_describe(const QIOConnect *race)
{
    const Attempt *attempt = &race->attempts[MAX(race->begun, 1) - 1];

    return qio_sockaddr_describe((const struct sockaddr *)&attempt->to.addr, attempt->to.len);
}

void qio_connect_adopt(QIOConnect *race, QIOChannelSocket *ioc)
{
    Attempt *winner = race->winner;

    qio_socket_set_remote(ioc, (struct sockaddr *)&winner->to.addr, winner->to.len);
    qio_socket_adopt(ioc, winner->fd, winner->to.addr.ss_family);
    winner->fd = -1;
}

/* ---- waiting for it ---- */

static void set_wait_error(const QIOConnect *race, int number, Error **errp)
{
    char *where = qio_connect_describe(race);

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

/* One sleep until a step is due.  Returns 0, or a positive errno; ETIME is the deadline. */
static int sleep_once(QIOConnect *race, QIOChannelSocket *ioc, int64_t deadline_ns,
                      bool interruptible)
{
    struct pollfd fds[QIO_CONNECT_MAX + QIO_POLL_OURS];
    size_t index[QIO_CONNECT_MAX];
    int n = 0;
    int ready;

    for (size_t i = 0; i < race->begun; i++) {
        int fd = qio_connect_fd(race, i);

        if (fd >= 0) {
            index[n] = i;
            fds[n++] = (struct pollfd){ .fd = fd, .events = POLLOUT };
        }
    }
    ready = qio_channel_poll_fds(&ioc->parent, fds, n, MIN(qio_connect_due_ns(race), deadline_ns),
                                 interruptible);
    if (ready < 0) {
        return errno;
    }
    for (int i = 0; ready > 0 && i < n; i++) {
        if (fds[i].revents != 0) {
            qio_connect_note(race, index[i]);
        }
    }
    return ready == 0 && deadline_ns != QIO_NEVER && sys_now_ns() >= deadline_ns ? ETIME : 0;
}

int qio_connect_run(QIOConnect *race, QIOChannelSocket *ioc, int64_t deadline_ns,
                    bool interruptible, Error **errp)
{
    int number;
    int ret;

    while ((ret = qio_connect_step(race, errp)) == 0) {
        number = sleep_once(race, ioc, deadline_ns, interruptible);
        if (number != 0) {
            set_wait_error(race, number, errp);
            ret = -1;
            break;
        }
    }
    if (ret > 0) {
        qio_connect_adopt(race, ioc);
    }
    qio_connect_free(race);
    return ret > 0 ? 0 : -1;
}

int qio_channel_socket_connect_sockaddr(QIOChannelSocket *ioc, const struct sockaddr *addr,
                                        socklen_t len, int timeout_ms, bool interruptible,
                                        Error **errp)
{
    int64_t deadline_ns;
    QIOSockaddr to;
    int ret;

    if (!addr || len < sizeof(addr->sa_family) || len > sizeof(struct sockaddr_storage)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "addr: %u bytes at %p are no socket address",
                      len, (const void *)addr);
        return -1;
    }
    if (qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    deadline_ns = sys_deadline_ns(timeout_ms);
    to.len = len;
    memcpy(&to.addr, addr, len);
    ret = qio_connect_run(qio_connect_new(&to, 1), ioc, deadline_ns, interruptible, errp);
    return qio_socket_leave_opened(ioc, ret, errp);
}
