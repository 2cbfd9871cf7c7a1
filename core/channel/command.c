/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/command.c: the command channel.
 *
 * Owns: the class: our ends of the child's pipes, and the child.  Rules: the pipes are waited
 * for each on its own; a direction that is not there, or was shut down, is always ready, since a
 * transfer in it ends at once.  Shutting a direction down replaces its descriptor, whose number
 * others may be using, and wakes who waits on it.  io_close only closes the pipes, on whatever
 * thread is last; waiting for the child is done by the thread that called close.
 */
#include "channel/channel-priv.h"
#include "channel/child.h"
#include "channel/command-spawn.h"
#include "channel/file-priv.h"
#include "channel/nonblock.h"
#include "channel/pty.h"

enum { DEFAULT_GRACE_MS = 2500 };

/* One direction: a pipe, unless nb.fd is -1 from the start. */
typedef struct CommandWay {
    QIONonblock nb;
    atomic_bool shut;
} CommandWay;

struct QIOChannelCommand {
    QIOChannel parent;
    CommandWay in;              /* its standard output */
    CommandWay out;             /* its standard input */
    QIOChild *child;
    int grace_ms;
    bool stderr_piped;
    bool pty;                   /* both ways are our side of its terminal */
    atomic_bool mid_line;            /* what was written last did not end a line */
    atomic_int stderr_fd;       /* -1 = not piped, taken, or closed */
};

#define COMMAND(ioc) ((QIOChannelCommand *)(ioc))

static bool way_is_shut(CommandWay *way)
{
    return atomic_load_explicit(&way->shut, memory_order_acquire);
}

/* ---- transfers ---- */

static ssize_t no_way(const char *what, const char *which, Error **errp)
{
    qio_error_set(errp, QIO_ERROR_INVAL, "cannot %s the command: its standard %s is not piped",
                  what, which);
    return -1;
}

static ssize_t command_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                             int **fds, size_t *nfds, Error **errp)
{
    CommandWay *way = &COMMAND(ioc)->in;
    ssize_t ret;

    if (way->nb.fd < 0) {
        return no_way("read from", "output", errp);
    }
    ret = way_is_shut(way) ? 0 : qio_nonblock_readv(&way->nb, iov, niov);
    if (ret >= 0) {
        return ret;
    }
    if (way_is_shut(way)) {
        return 0;               /* while we read */
    }
    if (errno == EIO && COMMAND(ioc)->pty) {
        return 0;               /* nobody has its terminal open any more */
    }
    if (errno == EAGAIN) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    qio_error_set_errno(errp, errno, "cannot read from the command");
    return -1;
}

/* A terminal whose other side is gone takes bytes for nobody. */
static ssize_t write_terminal(QIOChannelCommand *cioc, const struct iovec *iov, size_t niov)
{
    ssize_t ret;

    if (qio_pty_hung_up(cioc->out.nb.io_fd)) {
        errno = EPIPE;
        return -1;
    }
    ret = qio_nonblock_writev(&cioc->out.nb, iov, niov);
    if (ret > 0) {
        struct iovec rest;
        char last;

        qio_iov_skip(&rest, 1, iov, niov, (size_t)ret - 1);
        last = *(const char *)rest.iov_base;
        atomic_store(&cioc->mid_line, last != '\n' && last != '\r');
    }
    return ret;
}

static ssize_t command_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                              int *fds, size_t nfds, Error **errp)
{
    CommandWay *way = &COMMAND(ioc)->out;
    ssize_t ret;

    if (way->nb.fd < 0) {
        return no_way("write to", "input", errp);
    }
    if (way_is_shut(way)) {
        ret = -1;
    } else {
        ret = COMMAND(ioc)->pty ? write_terminal(COMMAND(ioc), iov, niov)
                                : qio_nonblock_writev(&way->nb, iov, niov);
    }
    if (ret >= 0) {
        return ret;
    }
    if (way_is_shut(way)) {
        errno = EPIPE;          /* also if that happened while we wrote */
    }
    if (errno == EAGAIN) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    qio_error_set_errno(errp, errno, "cannot write to the command");
    return -1;
}

/* ---- readiness ---- */

static int command_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    CommandWay *ways[] = { &COMMAND(ioc)->in, &COMMAND(ioc)->out };
    const GIOCondition conditions[] = { G_IO_IN, G_IO_OUT };
    int n = 0;

    for (int i = 0; i < 2 && n < cap; i++) {
        int fd = ways[i]->nb.fd;

        if ((condition & conditions[i]) && fd >= 0 && !way_is_shut(ways[i])) {
            out[n].fd = fd;
            out[n++].events = conditions[i];
        }
    }
    return n;
}

/* Asks the pipes themselves: an event in a loop may be that of a pipe which has been shut down
 * since. */
static int command_advance(QIOChannel *ioc, GIOCondition condition)
{
    QIOPollFd named[2];
    struct pollfd fds[2];
    int n = command_poll(ioc, condition, named, 2);
    GIOCondition ready = condition & (G_IO_IN | G_IO_OUT);

    for (int i = 0; i < n; i++) {
        fds[i] = (struct pollfd) { .fd = named[i].fd, .events = (short)named[i].events };
        ready &= ~named[i].events;
    }
    if (n > 0 && sys_poll(fds, (nfds_t)n, 0) > 0) {
        for (int i = 0; i < n; i++) {
            ready |= (GIOCondition)fds[i].revents;
        }
    }
    return (int)ready;
}

static int command_splice_fd(QIOChannel *ioc, GIOCondition condition, bool begin)
{
    QIOChannelCommand *cioc = COMMAND(ioc);

    /* The class has to see what goes through a terminal. */
    if (!begin || cioc->pty) {
        return -1;
    }
    return qio_nonblock_splice_fd(condition == G_IO_IN ? &cioc->in.nb : &cioc->out.nb);
}

/* ---- ending ---- */

static int type_end(QIOChannelCommand *cioc, Error **errp)
{
    bool mid_line = atomic_load(&cioc->mid_line);
    int ret = cioc->pty ? qio_pty_type_end(cioc->out.nb.io_fd, &mid_line, errp) : 0;

    atomic_store(&cioc->mid_line, mid_line);
    return ret;
}

static int shut_way(QIOChannel *ioc, CommandWay *way, GIOCondition condition, Error **errp)
{
    if (way->nb.fd < 0 || atomic_exchange(&way->shut, true)) {
        return 0;
    }
    if (condition == G_IO_OUT && type_end(COMMAND(ioc), errp) < 0) {
        atomic_store(&way->shut, false);
        return -1;
    }
    if (qio_nonblock_half_close(&way->nb, condition == G_IO_OUT) < 0) {
        qio_error_set_errno(errp, errno, "cannot shut the command's pipe down");
        atomic_store(&way->shut, false);
        return -1;
    }
    qio_channel_notify(ioc, condition);
    return 0;
}

static int command_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    int ret = 0;

    if (how != QIO_CHANNEL_SHUTDOWN_READ) {
        ret = shut_way(ioc, &COMMAND(ioc)->out, G_IO_OUT, errp);
    }
    if (how != QIO_CHANNEL_SHUTDOWN_WRITE &&
        shut_way(ioc, &COMMAND(ioc)->in, G_IO_IN, ret < 0 ? NULL : errp) < 0) {
        ret = -1;
    }
    return ret;
}

static void close_stderr(QIOChannelCommand *cioc)
{
    int fd = atomic_exchange(&cioc->stderr_fd, -1);

    if (fd >= 0) {
        sys_close(fd);
    }
}

static int command_close(QIOChannel *ioc, Error **errp)
{
    QIOChannelCommand *cioc = COMMAND(ioc);
    int number = 0;

    if (qio_nonblock_close(&cioc->out.nb) < 0) {
        number = errno;
    }
    if (qio_nonblock_close(&cioc->in.nb) < 0) {
        number = errno;
    }
    close_stderr(cioc);
    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot close the command's pipes");
        return -1;
    }
    return 0;
}

static int command_close_wait(QIOChannel *ioc, bool interruptible, Error **errp)
{
    return qio_child_finish(COMMAND(ioc)->child, COMMAND(ioc)->grace_ms, interruptible, errp);
}

/* With a deadline there must be time for all three: the end of the input, SIGTERM, SIGKILL. */
static int grace_within(int grace_ms, int64_t deadline_ns)
{
    int left_ms = sys_ms_left(deadline_ns);

    return left_ms < 0 ? grace_ms : MIN(grace_ms, left_ms / 3);
}

static int command_close_step(QIOChannel *ioc, int64_t deadline_ns, int *fd, int64_t *until_ns)
{
    QIOChannelCommand *cioc = COMMAND(ioc);

    *fd = qio_child_get_pidfd(cioc->child);
    if (*fd < 0) {
        return 0;               /* nobody could tell of its end */
    }
    return qio_child_finish_step(cioc->child, grace_within(cioc->grace_ms, deadline_ns), until_ns);
}

static void command_instance_init(Object *obj)
{
    QIOChannelCommand *cioc = COMMAND(obj);

    cioc->in.nb.fd = cioc->in.nb.io_fd = -1;
    cioc->out.nb.fd = cioc->out.nb.io_fd = -1;
    cioc->grace_ms = DEFAULT_GRACE_MS;
    atomic_init(&cioc->mid_line, false);
    atomic_init(&cioc->stderr_fd, -1);
    qio_channel_set_feature(&cioc->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
}

static void command_instance_finalize(Object *obj)
{
    qio_child_free(COMMAND(obj)->child);
}

static void command_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = command_readv;
    ioc_class->io_writev = command_writev;
    ioc_class->io_poll = command_poll;
    ioc_class->io_advance = command_advance;
    ioc_class->io_splice_fd = command_splice_fd;
    ioc_class->io_shutdown = command_shutdown;
    ioc_class->io_close = command_close;
    ioc_class->io_close_wait = command_close_wait;
    ioc_class->io_close_step = command_close_step;
}

static const TypeInfo command_type = {
    .name = TYPE_QIO_CHANNEL_COMMAND,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(QIOChannelCommand),
    .instance_init = command_instance_init,
    .instance_finalize = command_instance_finalize,
    .class_init = command_class_init,
};

static void __attribute__((constructor)) command_register(void)
{
    qio_type_register_static(&command_type);
}

/* ---- making ---- */

static QIOChannelCommand *command_new(QIOChild *child)
{
    QIOChannelCommand *ioc = (QIOChannelCommand *)qio_object_new(TYPE_QIO_CHANNEL_COMMAND);

    ioc->child = child;
    return ioc;
}

QIOChannelCommand *qio_channel_command_new_full(const char *const argv[],
                                                const QIOCommandOptions *options, Error **errp)
{
    const QIOCommandOptions defaults = { .flags = O_RDWR, .close_timeout_ms = -1 };
    QIOChannelCommand *ioc;
    QIOSpawned spawned;
    QIOChild *child;

    options = options ? options : &defaults;
    if (qio_command_spawn(argv, options, &spawned, errp) < 0) {
        return NULL;
    }
    child = qio_child_new_spawned(spawned.pid, errp);
    if (!child) {
        qio_command_spawned_close(&spawned);
        return NULL;
    }
    ioc = command_new(child);
    qio_nonblock_init(&ioc->out.nb, spawned.stdin_fd, true);
    qio_nonblock_init(&ioc->in.nb, spawned.stdout_fd, true);
    ioc->pty = options->pty;
    ioc->stderr_piped = spawned.stderr_fd >= 0;
    atomic_store(&ioc->stderr_fd, spawned.stderr_fd);
    if (options->close_timeout_ms >= 0) {
        ioc->grace_ms = options->close_timeout_ms;
    }
    return ioc;
}

QIOChannelCommand *qio_channel_command_new_spawn(const char *const argv[], int flags,
                                                 Error **errp)
{
    const QIOCommandOptions options = { .flags = flags, .close_timeout_ms = -1 };

    return qio_channel_command_new_full(argv, &options, errp);
}

QIOChannelCommand *qio_channel_command_new_pid(int writefd, int readfd, pid_t pid)
{
    QIOChannelCommand *ioc = command_new(qio_child_new(pid));

    /* One descriptor for both (a socket, a pty) would be closed twice. */
    if (writefd == readfd && writefd >= 0) {
        writefd = sys_fcntl(readfd, F_DUPFD_CLOEXEC, 0);
    }
    qio_nonblock_init(&ioc->out.nb, writefd, false);
    qio_nonblock_init(&ioc->in.nb, readfd, false);
    return ioc;
}

/* ---- the child ---- */

pid_t qio_channel_command_get_pid(QIOChannelCommand *ioc)
{
    return qio_child_get_pid(ioc->child);
}

int qio_channel_command_kill(QIOChannelCommand *ioc, int signum, Error **errp)
{
    return qio_child_kill(ioc->child, signum, errp);
}

int qio_channel_command_get_exit_status(QIOChannelCommand *ioc, int *exit_status, int *signum)
{
    return qio_child_has_ended(ioc->child, exit_status, signum);
}

int qio_channel_command_wait_exit(QIOChannelCommand *ioc, int timeout_ms, bool interruptible,
                                  Error **errp)
{
    return qio_child_wait(ioc->child, sys_deadline_ns(timeout_ms), interruptible, errp);
}

int qio_channel_command_get_pidfd(QIOChannelCommand *ioc)
{
    return qio_child_get_pidfd(ioc->child);
}

QIOChannel *qio_channel_command_take_stderr(QIOChannelCommand *ioc, Error **errp)
{
    int fd;

    if (!ioc->stderr_piped) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "the command's standard error is not piped");
        return NULL;
    }
    if (qio_channel_enter(&ioc->parent, QIO_USE_ONE, errp) < 0) {
        return NULL;
    }
    fd = atomic_exchange(&ioc->stderr_fd, -1);
    qio_channel_leave(&ioc->parent, QIO_USE_ONE, NULL);
    if (fd < 0) {
        qio_error_set(errp, QIO_ERROR_BUSY, "the command's standard error was taken already");
        return NULL;
    }
    return (QIOChannel *)qio_channel_file_new_own(fd);
}
