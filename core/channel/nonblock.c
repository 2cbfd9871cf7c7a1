/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/nonblock.c: I/O without waiting on descriptors whose O_NONBLOCK is not ours to set.
 *
 * Owns: the choice of the way, and the transfers.  O_NONBLOCK belongs to the open file
 * description, which other processes may share, so a pipe or tty that came from outside is
 * opened again through the proc file system; where that is refused, RWF_NOWAIT serves
 * (pipes since Linux 6.4, no ttys); else poll goes first and a write is at most PIPE_BUF
 * long, which may still wait when another process fills the pipe in between.
 * Rule: the mode only ever changes when a call has shown that it does not work.
 */
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include "base/fork.h"
#include "channel/nonblock.h"
#include "loop/loop.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100     /* Linux 6.18: EPIPE without SIGPIPE */
#endif

/* ---- choosing ---- */

/* Opening a pty's master again makes a new pty, not another description of this one. */
static bool is_pty_master(dev_t rdev)
{
    unsigned number = major(rdev);

    return (number == 5 && minor(rdev) == 2) || (number >= 128 && number <= 135);
}

static bool can_reopen(int fd, const struct stat *st)
{
    struct termios tio;

    if (S_ISFIFO(st->st_mode)) {
        return true;
    }
    return S_ISCHR(st->st_mode) && !is_pty_master(st->st_rdev) && sys_tcgetattr(fd, &tio) == 0;
}

/* thread-self, since a thread may have a descriptor table of its own. */
static int reopen(int fd, int flags)
{
    char path[48];
    int again;

    snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
    do {
        again = sys_open(path, (flags & (O_ACCMODE | O_DIRECT)) | O_NONBLOCK | O_NOCTTY |
                         O_CLOEXEC, 0);
    } while (again < 0 && errno == EINTR);
    return again;
}

/* Whether epoll refuses it, as it does with what is always ready. */
static bool epoll_refuses(int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    int epfd = sys_epoll_create1(EPOLL_CLOEXEC);
    bool refused;

    if (epfd < 0) {
        return false;
    }
    refused = sys_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0 && errno == EPERM;
    sys_close(epfd);
    return refused;
}

static GIOCondition lacking_by_flags(int flags)
{
    switch (flags & O_ACCMODE) {
    case O_RDONLY:
        return G_IO_OUT;
    case O_WRONLY:
        return G_IO_IN;
    default:
        return 0;
    }
}

static void choose_pollable(QIONonblock *nb, const struct stat *st, bool own)
{
    int flags = sys_fcntl(nb->fd, F_GETFL, 0);

    nb->mode = QIO_NONBLOCK_NOWAIT;
    if (flags < 0 || (flags & O_PATH)) {
        return;
    }
    nb->lacking = lacking_by_flags(flags);
    if (own) {
        if (flags & O_NONBLOCK) {
            nb->mode = QIO_NONBLOCK_FLAG;
        } else if (sys_fcntl(nb->fd, F_SETFL, flags | O_NONBLOCK) == 0) {
            nb->mode = QIO_NONBLOCK_FLAG;
            nb->flag_epoch = qio_fork_epoch();
        }
        return;
    }
    if (can_reopen(nb->fd, st)) {
        int again = reopen(nb->fd, flags);

        if (again >= 0) {
            nb->io_fd = again;
            nb->mode = QIO_NONBLOCK_FLAG;
        }
    }
}

void qio_nonblock_init(QIONonblock *nb, int fd, bool own)
{
    struct stat st;

    *nb = (QIONonblock) { .fd = fd, .io_fd = fd, .mode = QIO_NONBLOCK_ALWAYS };
    if (sys_fstat(fd, &st) < 0) {
        if (errno == EBADF) {
            nb->fd = nb->io_fd = -1;
        } else {
            nb->mode = QIO_NONBLOCK_NOWAIT;
            nb->may_sigpipe = true;
        }
        return;
    }
    /* Some regular files can be polled (FUSE, a few in /proc), but reading them with RWF_NOWAIT
     * fails for every page that is not cached, and opening again would lose the position. */
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
        return;
    }
    nb->may_sigpipe = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
    if (nb->may_sigpipe || !epoll_refuses(fd)) {
        choose_pollable(nb, &st, own);
    }
}

/* ---- ending ---- */

/* 0, or a positive errno; EINTR: Linux has closed the descriptor all the same. */
static int close_one(int fd)
{
    return sys_close(fd) < 0 && errno != EINTR ? errno : 0;
}

int qio_nonblock_close(QIONonblock *nb)
{
    int fd = nb->fd;
    int io_fd = nb->io_fd;
    int number = 0, other = 0;

    nb->fd = nb->io_fd = -1;
    if (io_fd != fd) {
        number = close_one(io_fd);
    }
    if (fd >= 0) {
        qio_loop_forget_fd(fd);
        other = close_one(fd);
    }
    errno = number ? number : other;
    return errno != 0 ? -1 : 0;
}

int qio_nonblock_take(QIONonblock *nb)
{
    int fd = nb->fd;

    qio_loop_forget_fd(fd);
    if (nb->io_fd != fd) {
        sys_close(nb->io_fd);
    }
    /* A forked child's description is its parent's, who goes on without waiting. */
    if (nb->flag_epoch == qio_fork_epoch()) {
        int flags = sys_fcntl(fd, F_GETFL, 0);

        if (flags >= 0) {
            sys_fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        }
    }
    nb->fd = nb->io_fd = -1;
    return fd;
}

static int replace(int dead, int fd)
{
    int ret;

    do {
        ret = sys_dup3(dead, fd, O_CLOEXEC);
    } while (ret < 0 && (errno == EINTR || errno == EBUSY));
    return ret < 0 ? -1 : 0;
}

int qio_nonblock_half_close(QIONonblock *nb, bool writing)
{
    int dead;
    int ret;

    do {
        dead = sys_open("/dev/null", (writing ? O_RDONLY : O_WRONLY) | O_CLOEXEC, 0);
    } while (dead < 0 && errno == EINTR);
    if (dead < 0) {
        return -1;
    }
    qio_loop_forget_fd(nb->fd);
    ret = replace(dead, nb->fd);
    if (ret == 0 && nb->io_fd != nb->fd) {
        ret = replace(dead, nb->io_fd);
    }
    sys_close(dead);
    return ret;
}

/* ---- transfers ---- */

/* What poll never says ready, since the access mode lacks it, fails at once when tried. */
static bool poll_says(const QIONonblock *nb, GIOCondition condition)
{
    struct pollfd pfd = { .fd = nb->io_fd, .events = (short)condition };

    /* A failing poll says nothing; the transfer itself will. */
    return (nb->lacking & condition) || sys_poll(&pfd, 1, 0) != 0;
}

/* The mode did not work: another from now on. */
static void change_mode(QIONonblock *nb, QIONonblockMode mode)
{
    atomic_store_explicit(&nb->mode, mode, memory_order_relaxed);
}

static ssize_t read_once(QIONonblock *nb, const struct iovec *iov, size_t niov)
{
    int mode = atomic_load_explicit(&nb->mode, memory_order_relaxed);
    ssize_t ret;

    if (mode == QIO_NONBLOCK_NOWAIT) {
        ret = sys_preadv2(nb->io_fd, iov, (int)niov, -1, RWF_NOWAIT);
        if (ret >= 0 || errno != EOPNOTSUPP) {
            return ret;
        }
        mode = QIO_NONBLOCK_POLL;
        change_mode(nb, mode);
    }
    if (mode == QIO_NONBLOCK_POLL && !poll_says(nb, G_IO_IN)) {
        errno = EAGAIN;
        return -1;
    }
    ret = niov == 1 ? sys_read(nb->io_fd, iov->iov_base, iov->iov_len)
                    : sys_readv(nb->io_fd, iov, (int)niov);
    if (ret < 0 && errno == EAGAIN && mode == QIO_NONBLOCK_ALWAYS) {
        change_mode(nb, QIO_NONBLOCK_FLAG);
    }
    return ret;
}

ssize_t qio_nonblock_readv(QIONonblock *nb, const struct iovec *iov, size_t niov)
{
    ssize_t ret;

    do {
        ret = read_once(nb, iov, niov);
    } while (G_UNLIKELY(ret < 0) && errno == EINTR);
    return ret;
}

static ssize_t write_plain(int fd, const struct iovec *iov, size_t niov, int rwf)
{
    if (rwf) {
        return sys_pwritev2(fd, iov, (int)niov, -1, rwf);
    }
    return niov == 1 ? sys_write(fd, iov->iov_base, iov->iov_len)
                     : sys_writev(fd, iov, (int)niov);
}

/* For kernels without RWF_NOSIGNAL: a SIGPIPE that the write raises goes to this thread, where
 * it is blocked, and is taken away; one that was pending before stays. */
static ssize_t write_signal_blocked(int fd, const struct iovec *iov, size_t niov, int rwf)
{
    const struct timespec now = { 0, 0 };
    sigset_t sigpipe, old, pending;
    ssize_t ret;
    int number;

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigemptyset(&pending);
    sys_pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
    sys_sigpending(&pending);
    ret = write_plain(fd, iov, niov, rwf);
    number = errno;
    if (ret < 0 && number == EPIPE && !sigismember(&pending, SIGPIPE)) {
        while (sys_sigtimedwait(&sigpipe, NULL, &now) < 0 && errno == EINTR) {
            continue;
        }
    }
    sys_pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = number;
    return ret;
}

static ssize_t write_nosignal(int fd, const struct iovec *iov, size_t niov, int rwf)
{
    static atomic_bool missing;     /* the kernel has no RWF_NOSIGNAL */
    bool known = atomic_load_explicit(&missing, memory_order_relaxed);
    ssize_t ret;

    if (G_LIKELY(!known)) {
        ret = sys_pwritev2(fd, iov, (int)niov, -1, rwf | RWF_NOSIGNAL);
        if (ret >= 0 || errno != EOPNOTSUPP) {
            return ret;
        }
    }
    ret = write_signal_blocked(fd, iov, niov, rwf);
    if (!known && (ret >= 0 || errno != EOPNOTSUPP)) {
        atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
    return ret;
}

static ssize_t write_once(QIONonblock *nb, const struct iovec *iov, size_t niov)
{
    int mode = atomic_load_explicit(&nb->mode, memory_order_relaxed);
    ssize_t (*write_by)(int, const struct iovec *, size_t, int) =
        nb->may_sigpipe ? write_nosignal : write_plain;
    struct iovec part;
    ssize_t ret;

    if (mode == QIO_NONBLOCK_NOWAIT) {
        ret = write_by(nb->io_fd, iov, niov, RWF_NOWAIT);
        if (ret >= 0 || errno != EOPNOTSUPP) {
            return ret;
        }
        mode = QIO_NONBLOCK_POLL;
        change_mode(nb, mode);
    }
    if (mode == QIO_NONBLOCK_POLL) {
        if (!poll_says(nb, G_IO_OUT)) {
            errno = EAGAIN;
            return -1;
        }
        part.iov_base = iov->iov_base;
        part.iov_len = MIN(iov->iov_len, (size_t)PIPE_BUF);
        return write_by(nb->io_fd, &part, 1, 0);
    }
    ret = write_by(nb->io_fd, iov, niov, 0);
    if (ret < 0 && errno == EAGAIN && mode == QIO_NONBLOCK_ALWAYS) {
        change_mode(nb, QIO_NONBLOCK_FLAG);
    }
    return ret;
}

ssize_t qio_nonblock_writev(QIONonblock *nb, const struct iovec *iov, size_t niov)
{
    ssize_t ret;

    do {
        ret = write_once(nb, iov, niov);
    } while (G_UNLIKELY(ret < 0) && errno == EINTR);
    return ret;
}

GIOCondition qio_nonblock_ready(QIONonblock *nb, GIOCondition condition)
{
    if (atomic_load_explicit(&nb->mode, memory_order_relaxed) == QIO_NONBLOCK_ALWAYS) {
        return condition;
    }
    return condition & nb->lacking;
}

int qio_nonblock_splice_fd(QIONonblock *nb)
{
    int mode = atomic_load_explicit(&nb->mode, memory_order_relaxed);

    return mode == QIO_NONBLOCK_ALWAYS || mode == QIO_NONBLOCK_FLAG ? nb->io_fd : -1;
}
