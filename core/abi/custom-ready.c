/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/custom-ready.c: when a custom channel is ready, and its transfers, which know of it.
 *
 * Owns: the answer to "would a transfer wait", from what the op get_poll says: ready; a descriptor,
 * which is polled here, so that a watch fires if and only if it is ready; or neither, where
 * qioh_channel_notify() and the last "would block" decide.
 * Rules: in the last case the bit of a direction is cleared before the op is called and set again
 * unless it says "would block": a notify that comes in between is not lost.  Input is looked for
 * by reading it (AbiStage), output is taken for ready until a write says that it is not.
 */
#include "abi/custom.h"
#include "base/sys.h"

#include <string.h>

enum {
    STAGE_SIZE = 16 * 1024,
    ASKS_MAX = 4,               /* how often an op may say "poll this" of what is ready */
};

/* The bits of `state`; a way is G_IO_IN, G_IO_OUT or both. */
#define MAYBE(way) ((uint32_t)(way))            /* no transfer said "would block" since notify */
#define MISSED(way) ((uint32_t)(way) << 8)      /* somebody looked while that bit was cleared */
#define STATE_READING (1u << 16)        /* somebody is in readv, or about to keep what it read */
#define STATE_TURNED_AWAY (1u << 17)    /* and somebody else was told "would block" for that */

/* ---- what was read for a waiter ---- */

void abi_custom_drop_stage(AbiCustom *custom)
{
    AbiStage dropped;

    pthread_mutex_lock(&custom->lock);
    dropped = custom->stage;
    custom->stage = (AbiStage){ 0 };
    atomic_store(&custom->staged, false);
    pthread_mutex_unlock(&custom->lock);
    g_free(dropped.bytes);
    qio_close_fds(dropped.fds, dropped.nfds);
    qio_error_free(dropped.error);
}

static void give_fds(AbiStage *stage, int **fds, size_t *nfds)
{
    if (fds) {
        *fds = stage->fds;
        *nfds = stage->nfds;
    } else {
        qio_close_fds(stage->fds, stage->nfds);
    }
    stage->fds = NULL;
    stage->nfds = 0;
}

static ssize_t take_bytes(AbiStage *stage, const struct iovec *iov, size_t niov, int **fds,
                          size_t *nfds)
{
    size_t left = stage->end - stage->start;
    size_t total = 0;

    for (size_t i = 0; i < niov; i++) {
        total += iov[i].iov_len;
    }
    total = MIN(total, left);
    qio_iov_fill(iov, niov, stage->bytes + stage->start, total);
    stage->start += total;
    give_fds(stage, fds, nfds);
    return (ssize_t)total;
}

static bool is_staged(AbiCustom *custom)
{
    return G_UNLIKELY(atomic_load_explicit(&custom->staged, memory_order_acquire));
}

/* Delivers what a waiter has read.  Returns false when there is nothing. */
static bool take_stage(AbiCustom *custom, const struct iovec *iov, size_t niov, int **fds,
                       size_t *nfds, ssize_t *n, Error **errp)
{
    AbiStage *stage = &custom->stage;
    bool there;

    pthread_mutex_lock(&custom->lock);
    there = atomic_load(&custom->staged);
    if (there && stage->start < stage->end) {
        *n = take_bytes(stage, iov, niov, fds, nfds);
    } else if (there) {
        *n = stage->error ? -1 : 0;
        qio_error_propagate(errp, g_steal_pointer(&stage->error));
        stage->ended = false;
    }
    if (there && stage->start == stage->end && !stage->ended) {
        atomic_store(&custom->staged, false);
    }
    pthread_mutex_unlock(&custom->lock);
    return there;
}

/* ---- the state ---- */

/* Each step of a transfer is one change of the word: changes cost as much as the calls around. */
static uint32_t change(AbiCustom *custom, uint32_t clear, uint32_t set)
{
    uint32_t now = atomic_load_explicit(&custom->state, memory_order_relaxed);

    while (!atomic_compare_exchange_weak(&custom->state, &now, (now & ~clear) | set)) {
    }
    return now;
}

/* One reader at a time: false for the others, who are woken at its end.  Clears the bit of input
 * as begin_writing() does for output. */
static bool begin_reading(AbiCustom *custom)
{
    uint32_t now = atomic_load_explicit(&custom->state, memory_order_relaxed);
    uint32_t next;

    do {
        next = now & STATE_READING ? now | STATE_TURNED_AWAY
                                   : (now & ~MAYBE(G_IO_IN)) | STATE_READING;
    } while (!atomic_compare_exchange_weak(&custom->state, &now, next));
    return !(now & STATE_READING);
}

static void end_reading(AbiCustom *custom, bool blocked)
{
    uint32_t clear = STATE_READING | STATE_TURNED_AWAY | (blocked ? 0 : MISSED(G_IO_IN));
    uint32_t before = change(custom, clear, blocked ? 0 : MAYBE(G_IO_IN));

    if (G_UNLIKELY(before & clear & ~STATE_READING)) {
        qio_channel_notify(&custom->parent, G_IO_IN);
    }
}

static void begin_writing(AbiCustom *custom)
{
    change(custom, MAYBE(G_IO_OUT), 0);
}

static void end_writing(AbiCustom *custom, bool blocked)
{
    if (!blocked &&
        G_UNLIKELY(change(custom, MISSED(G_IO_OUT), MAYBE(G_IO_OUT)) & MISSED(G_IO_OUT))) {
        qio_channel_notify(&custom->parent, G_IO_OUT);
    }
}

/* Whether the bit is set; when not, whoever sets it knows that somebody asked. */
static bool may_transfer(AbiCustom *custom, GIOCondition way)
{
    return (atomic_load(&custom->state) & MAYBE(way)) ||
           (change(custom, 0, MISSED(way)) & MAYBE(way));
}

/* ---- looking by reading ---- */

/* Reads into the stage, by whoever has claimed reading.  Returns: whether a read is answered. */
static bool read_ahead(AbiCustom *custom)
{
    bool passes = qio_channel_has_feature(&custom->parent, QIO_CHANNEL_FEATURE_FD_PASS);
    AbiStage *stage = &custom->stage;
    struct iovec iov = { .iov_len = STAGE_SIZE };
    Error *err = NULL;
    uint8_t *bytes;
    size_t nfds = 0;
    int *fds = NULL;
    ssize_t n;

    /* A close by another thread may be dropping it. */
    pthread_mutex_lock(&custom->lock);
    bytes = g_steal_pointer(&stage->bytes);
    pthread_mutex_unlock(&custom->lock);
    if (!bytes) {
        bytes = g_malloc(STAGE_SIZE);
    }
    iov.iov_base = bytes;
    n = abi_custom_call_readv(custom, &iov, 1, passes ? &fds : NULL, passes ? &nfds : NULL, &err);
    pthread_mutex_lock(&custom->lock);
    stage->bytes = bytes;
    stage->start = 0;
    stage->end = n > 0 ? (size_t)n : 0;
    stage->fds = fds;
    stage->nfds = nfds;
    stage->ended = n == 0 || n == -1;
    stage->error = err;
    atomic_store(&custom->staged, n != QIO_CHANNEL_ERR_BLOCK);
    pthread_mutex_unlock(&custom->lock);
    return n != QIO_CHANNEL_ERR_BLOCK;
}

/* Whether a read would be answered, found out by reading. */
static bool look_for_input(AbiCustom *custom)
{
    bool there;

    /* Who can seek could not undo it, and has no end that it would wait for. */
    if (!may_transfer(custom, G_IO_IN)) {
        return false;
    }
    if (custom->ops.seek) {
        return true;
    }
    if (!begin_reading(custom)) {
        return false;
    }
    /* A reader may have it by now; who looked looks again then, as there may be more. */
    there = atomic_load(&custom->staged) || read_ahead(custom);
    end_reading(custom, !there);
    return there;
}

/* ---- transfers ---- */

/* A failure of get_poll, told once. */
static bool give_owed(AbiCustom *custom, Error **errp)
{
    Error *owed;

    if (G_LIKELY(!atomic_load_explicit(&custom->owed, memory_order_relaxed))) {
        return false;
    }
    owed = atomic_exchange(&custom->owed, NULL);
    qio_error_propagate(errp, owed);
    return owed != NULL;
}

ssize_t abi_custom_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                         size_t *nfds, Error **errp)
{
    AbiCustom *custom = (AbiCustom *)ioc;
    ssize_t n = -1;

    if (give_owed(custom, errp)) {
        return -1;
    }
    if (is_staged(custom) && take_stage(custom, iov, niov, fds, nfds, &n, errp)) {
        return n;
    }
    if (!begin_reading(custom)) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (!is_staged(custom) || !take_stage(custom, iov, niov, fds, nfds, &n, errp)) {
        n = abi_custom_call_readv(custom, iov, niov, fds, nfds, errp);
    }
    end_reading(custom, n == QIO_CHANNEL_ERR_BLOCK);
    return n;
}

ssize_t abi_custom_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                          size_t nfds, Error **errp)
{
    AbiCustom *custom = (AbiCustom *)ioc;
    ssize_t n;

    if (give_owed(custom, errp)) {
        return -1;
    }
    begin_writing(custom);
    n = abi_custom_call_writev(custom, iov, niov, fds, nfds, errp);
    end_writing(custom, n == QIO_CHANNEL_ERR_BLOCK);
    return n;
}

/* ---- readiness ---- */

static void owe(AbiCustom *custom, Error *err)
{
    Error *none = NULL;

    /* Closed meanwhile: every transfer says so itself. */
    if (qio_error_get_code(err) == QIO_ERROR_CLOSED ||
        !atomic_compare_exchange_strong(&custom->owed, &none, err)) {
        qio_error_free(err);
    }
}

/* Asks the op, and notes whether this channel is woken by notify alone. */
static AbiCustomPoll ask(AbiCustom *custom, GIOCondition way, QIOPollFd *out)
{
    Error *err = NULL;
    AbiCustomPoll how = abi_custom_call_get_poll(custom, way, out, &err);

    if (how == ABI_POLL_FAILED) {
        owe(custom, err);
    }
    if (how == ABI_POLL_FD || how == ABI_POLL_NOTIFY) {
        atomic_store(&custom->software, how == ABI_POLL_NOTIFY);
    }
    return how;
}

/* What poll(2) says of a descriptor right now; -1 after a failure that is owed. */
static int poll_now(AbiCustom *custom, const QIOPollFd *named)
{
    struct pollfd fd = { .fd = named->fd, .events = (short)named->events };
    Error *err = NULL;
    int r;

    do {
        r = sys_poll(&fd, 1, 0);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        qio_error_set_errno(&err, errno, "cannot poll the descriptor of a custom channel");
    } else if (r > 0 && (fd.revents & POLLNVAL)) {
        qio_error_set(&err, QIO_ERROR_CALLBACK, "op get_poll of a custom channel named the "
                      "descriptor %d, which is not open", named->fd);
    }
    if (err) {
        owe(custom, err);
        return -1;
    }
    return r > 0 ? fd.revents : 0;
}

/*
 * Whether a transfer in one direction would be answered; G_IO_ERR and G_IO_HUP come along.  What
 * is polled may have come only in part, which the op finds out when it is asked again; one that
 * says twice "poll this" of a descriptor that is ready means that it is.
 */
static GIOCondition ready_now(AbiCustom *custom, GIOCondition way)
{
    QIOPollFd named, before = { .fd = -1 };

    for (int i = 0; i < ASKS_MAX; i++) {
        AbiCustomPoll how = ask(custom, way, &named);
        int found;

        if (how == ABI_POLL_NOTIFY) {
            return (way == G_IO_IN ? look_for_input(custom) : may_transfer(custom, way)) ? way : 0;
        }
        if (how != ABI_POLL_FD) {
            return way;
        }
        found = poll_now(custom, &named);
        if (found == 0) {
            return 0;
        }
        if (found < 0 || (before.fd == named.fd && before.events == named.events)) {
            return way | (found < 0 ? 0 : (GIOCondition)found & (G_IO_ERR | G_IO_HUP));
        }
        before = named;
    }
    return way;
}

int abi_custom_advance(QIOChannel *ioc, GIOCondition condition)
{
    AbiCustom *custom = (AbiCustom *)ioc;
    GIOCondition ready = 0;

    if ((condition & G_IO_IN) && atomic_load(&custom->staged)) {
        ready = G_IO_IN;
    } else if (condition & G_IO_IN) {
        ready = ready_now(custom, G_IO_IN);
    }
    if (condition & G_IO_OUT) {
        ready |= ready_now(custom, G_IO_OUT);
    }
    return atomic_load(&custom->owed) ? -1 : (int)ready;
}

static int add(QIOPollFd *out, int n, int cap, const QIOPollFd *named)
{
    for (int i = 0; i < n; i++) {
        if (out[i].fd == named->fd) {
            out[i].events |= named->events;
            return n;
        }
    }
    if (n < cap) {
        out[n++] = *named;
    }
    return n;
}

/* Who polls has just been told "not ready": where the op has changed its mind, all look again. */
int abi_custom_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    static const GIOCondition ways[] = { G_IO_IN, G_IO_OUT };
    AbiCustom *custom = (AbiCustom *)ioc;
    bool look_again = false;
    QIOPollFd named;
    int n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        AbiCustomPoll how;

        if (!(condition & ways[i])) {
            continue;
        }
        how = ask(custom, ways[i], &named);
        look_again |= how == ABI_POLL_READY || how == ABI_POLL_FAILED;
        if (named.fd >= 0 && (how == ABI_POLL_FD || how == ABI_POLL_READY)) {
            named.events = named.events ? named.events : ways[i];
            n = add(out, n, cap, &named);
        }
    }
    if (look_again && !qio_channel_closing(ioc)) {
        qio_channel_notify(ioc, condition);
    }
    return n;
}

/* From inside an op, or where the loop that runs the other side is this thread's to run. */
bool abi_custom_waits_for_itself(QIOChannel *ioc)
{
    AbiCustom *custom = (AbiCustom *)ioc;

    return abi_custom_calls(custom) ||
           (custom->notifier && atomic_load(&custom->software) &&
            qio_loop_is_dispatching(custom->notifier) &&
            !qio_loop_is_helping(custom->notifier));
}

void abi_custom_notify(AbiCustom *custom, GIOCondition condition)
{
    GIOCondition ways = qio_channel_class_condition(condition);

    /* An error or a hang-up is news for who reads and for who writes. */
    if (condition & (G_IO_ERR | G_IO_HUP)) {
        ways = G_IO_IN | G_IO_OUT;
    }
    change(custom, MISSED(ways), MAYBE(ways));
    qio_channel_notify(&custom->parent, ways);
}
