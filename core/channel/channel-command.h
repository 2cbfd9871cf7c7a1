/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-command.h: a child process as a channel: writing is its standard input, reading
 * its standard output.
 *
 * Owns: QIOChannelCommand, the child and its exit status.  Rules: the child starts clean
 * (descriptors 0 to 2, default SIGPIPE and SIGXFSZ, empty signal mask); it is tracked by a
 * pidfd (Linux 5.4), so that no recycled pid is ever signalled; a host that reaps children itself
 * gets "status unknown".  Dropping a channel without a close waits for nothing and kills nobody:
 * the child sees its end of file, and when it has ended it is reaped by whatever of the library
 * sleeps or is called next: any loop, any wait for a channel, any channel that is made or closed.
 */
#ifndef QIO_CHANNEL_COMMAND_H
#define QIO_CHANNEL_COMMAND_H

#include <qio/channel.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_COMMAND "qio-channel-command"
#define QIO_CHANNEL_COMMAND(obj) OBJECT_CHECK(QIOChannelCommand, (obj), TYPE_QIO_CHANNEL_COMMAND)

typedef struct QIOChannelCommand QIOChannelCommand;

typedef enum QIOCommandStderr {
    QIO_COMMAND_STDERR_INHERIT,
    QIO_COMMAND_STDERR_NULL,
    QIO_COMMAND_STDERR_MERGE,       /* with standard output */
    QIO_COMMAND_STDERR_PIPE,        /* qio_channel_command_take_stderr() */
    QIO_COMMAND_STDERR_FD,
} QIOCommandStderr;

/**
 * QIOCommandOptions: zero-filled = the defaults but for @flags and the two times
 * @flags: O_RDONLY, O_WRONLY, O_RDWR: which of our ends there are; the other is the null device
 * @search_path: look for argv[0] in PATH (of @env when that is given, else ours) unless it has a
 *   slash
 * @env: NULL-terminated "NAME=value" strings, the whole environment; NULL = ours
 * @cwd: the child's working directory; NULL = ours; an argv[0] with a slash that is not absolute
 *   is looked for from there
 * @stderr_fd: for QIO_COMMAND_STDERR_FD; stays the caller's
 * @close_timeout_ms: how long close waits for the child after its end of file, then again after
 *   SIGTERM, before SIGKILL; 0 = not at all; -1 = default (5000 in all)
 * @pty: the child leads a session of its own, whose terminal is its standard input, output and
 *   error (unless @stderr_mode says NULL, PIPE or FD); the channel is the other side of the
 *   terminal.  Needs O_RDWR.  Its end, or that of who has its terminal last, is the end of the
 *   stream; shutting writing down types the end-of-file character (NOTSUP when the child has set
 *   the line raw, BUSY when it does not read); closing hangs up: SIGHUP
 * @rows, @columns: the size of the terminal's window, at most 65535; 0 = not known
 */
typedef struct QIOCommandOptions {
    int flags;
    bool search_path;
    const char *const *env;
    const char *cwd;
    QIOCommandStderr stderr_mode;
    int stderr_fd;
    int close_timeout_ms;
    bool pty;
    int rows;
    int columns;
} QIOCommandOptions;

/** qio_channel_command_new_spawn, qio_channel_command_new_full: starts @argv[0] with the pipes that
 * @flags ask for; the first does not search PATH.  NULL @options are O_RDWR and the defaults.  Any
 * thread.  Returns: a channel for the caller, or NULL when it cannot be started (INVAL, SYSTEM) */
QIOChannelCommand *qio_channel_command_new_spawn(const char *const argv[], int flags,
                                                 Error **errp);
QIOChannelCommand *qio_channel_command_new_full(const char *const argv[],
                                                const QIOCommandOptions *options, Error **errp);
/** qio_channel_command_new_pid: around a child that the caller started; takes the descriptors
 * (-1 = none; the same one for both is fine) and the duty to wait for it. */
QIOChannelCommand *qio_channel_command_new_pid(int writefd, int readfd, pid_t pid);

/** qio_channel_command_get_pid: the child's number, which another process may have once it has
 * been waited for; also after close. */
pid_t qio_channel_command_get_pid(QIOChannelCommand *ioc);
/** qio_channel_command_kill: sends @signum through the pidfd.  Returns: 0, also when the child
 * has ended; -1 (INVAL: no such signal; NOTSUP: its status is unknown) */
int qio_channel_command_kill(QIOChannelCommand *ioc, int signum, Error **errp);

/**
 * qio_channel_command_get_exit_status:
 * @exit_status: the status, -1 = unknown (a host that reaps children itself) or ended by @signum
 * @signum: the signal that ended it, or 0
 *
 * Never waits; also after close.  Returns: 1 it has ended, 0 it runs
 */
int qio_channel_command_get_exit_status(QIOChannelCommand *ioc, int *exit_status, int *signum);
/** qio_channel_command_wait_exit: waits until it has ended.  Any thread, also after close.
 * Returns: 1 ended, 0 time-out, -1 error (INTR when @interruptible) */
int qio_channel_command_wait_exit(QIOChannelCommand *ioc, int timeout_ms, bool interruptible,
                                  Error **errp);
/** qio_channel_command_wait_exit_task: the same as an operation; arguments as qio_task_new().  See
 * qio_channel_command_get_exit_status() for what came of it.  Any thread, also after close, which
 * does not end it.  Returns: a task, one reference to the caller (TIMEOUT, NOTSUP) */
QIOTask *qio_channel_command_wait_exit_task(QIOChannelCommand *ioc, int timeout_ms,
                                            AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                                            GDestroyNotify destroy);
/** qio_channel_command_get_pidfd: readable once the child has ended; stays the channel's, which
 * has none any more once it is closed and the child has ended; -1 when there is none. */
int qio_channel_command_get_pidfd(QIOChannelCommand *ioc);
/** qio_channel_command_take_stderr: the read end of its standard error, once.  Returns: a channel
 * for the caller, or NULL (NOTSUP: not piped; BUSY: taken already) */
QIOChannel *qio_channel_command_take_stderr(QIOChannelCommand *ioc, Error **errp);

G_END_DECLS
#endif
