/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay/splice.c: bytes from one descriptor to another that no process looks at.
 *
 * Owns: the pipe in the middle, since splice(2) wants one on one of its sides.  Its room is asked
 * for and bounded by what the relay would buffer; the kernel may give less.
 * Rule: splice has no MSG_NOSIGNAL, so SIGPIPE is blocked from the first write of a turn to its
 * end, and taken away when one raised it.  A class says on which descriptor splice never waits
 * (io_splice_fd).
 */
#include "relay/splice.h"

#include "channel/channel-priv.h"

enum { MOVE = SPLICE_F_MOVE | SPLICE_F_NONBLOCK };

static int begin(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    return klass->io_splice_fd ? klass->io_splice_fd(ioc, condition, true) : -1;
}

static void end(QIOChannel *ioc, GIOCondition condition)
{
    qio_channel_class(ioc)->io_splice_fd(ioc, condition, false);
}

static bool open_pipe(QIOSplice *splice, size_t want)
{
    int size;

    if (sys_pipe2(splice->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        return false;
    }
    /* A bigger pipe is a wish: who has too many already gets none. */
    sys_fcntl(splice->pipe[1], F_SETPIPE_SZ, (long)want);
    size = sys_fcntl(splice->pipe[1], F_GETPIPE_SZ, 0);
    splice->cap = size > 0 ? MIN((size_t)size, want) : MIN(want, (size_t)4096);
    return true;
}

bool qio_splice_open(QIOSplice *splice, QIOChannel *from, QIOChannel *to, size_t want)
{
    *splice = (QIOSplice) { .from = from, .to = to, .pipe = { -1, -1 } };
    splice->from_fd = begin(from, G_IO_IN);
    if (splice->from_fd < 0) {
        return false;
    }
    splice->to_fd = begin(to, G_IO_OUT);
    if (splice->to_fd < 0) {
        goto fail_from;
    }
    if (open_pipe(splice, want)) {
        return true;
    }
    end(to, G_IO_OUT);
fail_from:
    end(from, G_IO_IN);
    return false;
}

void qio_splice_close(QIOSplice *splice)
{
    sys_close(splice->pipe[0]);
    sys_close(splice->pipe[1]);
    splice->held = 0;
    end(splice->from, G_IO_IN);
    end(splice->to, G_IO_OUT);
}

/* What splice says where it is not for these descriptors; copying finds out what else it may mean,
 * and says it in the words of the channel. */
static bool is_not_for_splice(int number)
{
    return number == EINVAL || number == EBADF || number == ENOSYS || number == EOPNOTSUPP ||
           number == ESPIPE || number == EPERM || number == EXDEV;
}

static ssize_t failed(const char *what, Error **errp)
{
    int number = errno;

    if (number == EAGAIN) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (is_not_for_splice(number)) {
        return QIO_SPLICE_NOT;
    }
    qio_error_set_errno(errp, number, "cannot %s the channel", what);
    return -1;
}

ssize_t qio_splice_in(QIOSplice *splice, size_t len, Error **errp)
{
    ssize_t n;

    do {
        n = sys_splice(splice->from_fd, splice->pipe[1], MIN(len, splice->cap), MOVE);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return failed("read from", errp);
    }
    splice->held += (size_t)n;
    return n;
}

static void only_sigpipe(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

static void mute(QIOSplice *splice)
{
    sigset_t sigpipe, pending;

    if (splice->muted) {
        return;
    }
    only_sigpipe(&sigpipe);
    sigemptyset(&pending);
    sys_pthread_sigmask(SIG_BLOCK, &sigpipe, &splice->old);
    sys_sigpending(&pending);
    splice->pending = sigismember(&pending, SIGPIPE);
    splice->broken = false;
    splice->muted = true;
}

void qio_splice_unmute(QIOSplice *splice)
{
    const struct timespec now = { 0, 0 };
    sigset_t sigpipe;

    if (!splice->muted) {
        return;
    }
    only_sigpipe(&sigpipe);
    while (splice->broken && !splice->pending && sys_sigtimedwait(&sigpipe, NULL, &now) < 0 &&
           errno == EINTR) {
    }
    sys_pthread_sigmask(SIG_SETMASK, &splice->old, NULL);
    splice->muted = false;
}

ssize_t qio_splice_out(QIOSplice *splice, Error **errp)
{
    ssize_t n;

    mute(splice);
    do {
        n = sys_splice(splice->pipe[0], splice->to_fd, splice->held, MOVE);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        splice->broken = splice->broken || errno == EPIPE;
        return failed("write to", errp);
    }
    splice->held -= (size_t)n;
    return n;
}

void qio_splice_drain(QIOSplice *splice, void *buf)
{
    char *at = buf;

    while (splice->held > 0) {
        ssize_t n = sys_read(splice->pipe[0], at, splice->held);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            /* Nobody else has this pipe: what was put in is there. */
            break;
        }
        at += n;
        splice->held -= (size_t)n;
    }
}
