/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/command-spawn.c: starting a program with a clean slate.
 *
 * Owns: the way from argv to a running child: finding the program, its pipes or its terminal,
 * descriptors 0 to 2 and nothing else, default SIGPIPE and SIGXFSZ (a Python host ignores both), an
 * empty signal mask, environment and working directory.  By posix_spawn, which is safe in a
 * threaded program and reports a failed exec.  Any thread.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "base/sys.h"
#include "channel/command-spawn.h"
#include "channel/pty.h"

extern char **environ;

/* What the child gets; all of them 3 or more, so that no dup2 in it overwrites a source. */
typedef struct ChildEnds {
    int fds[3];                 /* -1 = as ours (2), or as 1 (2 when merged) */
    int cwd;                    /* -1 = ours */
    int tty;                    /* the child's terminal; -1 = none */
} ChildEnds;

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        sys_close(*fd);
        *fd = -1;
    }
}

void qio_command_spawned_close(QIOSpawned *spawned)
{
    close_fd(&spawned->stdin_fd);
    close_fd(&spawned->stdout_fd);
    close_fd(&spawned->stderr_fd);
}

static void close_ends(ChildEnds *ends)
{
    for (int i = 0; i < 3; i++) {
        close_fd(&ends->fds[i]);
    }
    close_fd(&ends->cwd);
    close_fd(&ends->tty);
}

/* ---- descriptors ---- */

/* A close-on-exec copy that is 3 or more; -1 with errno. */
static int copy_high(int fd)
{
    return sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Takes fd and gives it, or a copy, 3 or more; -1 with errno. */
static int lift(int fd)
{
    int copy;

    if (fd < 0 || fd > 2) {
        return fd;
    }
    copy = copy_high(fd);
    sys_close(fd);
    return copy;
}

static int open_null(int *end, Error **errp)
{
    *end = lift(sys_open("/dev/null", O_RDWR | O_CLOEXEC, 0));
    if (*end < 0) {
        qio_error_set_errno(errp, errno, "cannot open /dev/null");
        return -1;
    }
    return 0;
}

/* A pipe: ours is the end to write to if the child reads. */
static int open_pipe(int *ours, int *end, bool child_reads, Error **errp)
{
    int fds[2];

    if (sys_pipe2(fds, O_CLOEXEC) < 0) {
        qio_error_set_errno(errp, errno, "cannot make a pipe");
        return -1;
    }
    *ours = fds[child_reads ? 1 : 0];
    *end = lift(fds[child_reads ? 0 : 1]);
    if (*end < 0) {
        qio_error_set_errno(errp, errno, "cannot move a pipe's descriptor");
        return -1;
    }
    return 0;
}

static int open_stderr(const QIOCommandOptions *options, QIOSpawned *spawned, int *end,
                       Error **errp)
{
    switch (options->stderr_mode) {
    case QIO_COMMAND_STDERR_INHERIT:
        if (options->pty) {
            return 0;
        }
        /* A host without one: the child has one all the same, lest its first file becomes it. */
        return sys_fcntl(2, F_GETFD, 0) < 0 ? open_null(end, errp) : 0;
    case QIO_COMMAND_STDERR_NULL:
        return open_null(end, errp);
    case QIO_COMMAND_STDERR_MERGE:
        return 0;
    case QIO_COMMAND_STDERR_PIPE:
        return open_pipe(&spawned->stderr_fd, end, false, errp);
    case QIO_COMMAND_STDERR_FD:
        *end = copy_high(options->stderr_fd);
        if (*end < 0 && errno == EBADF) {
            qio_error_set(errp, QIO_ERROR_INVAL, "stderr_fd: %d is not an open descriptor",
                          options->stderr_fd);
        } else if (*end < 0) {
            qio_error_set_errno(errp, errno, "cannot copy stderr_fd");
        }
        return *end < 0 ? -1 : 0;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "stderr_mode: %d is none", (int)options->stderr_mode);
    return -1;
}

static int open_cwd(const char *cwd, int *end, Error **errp)
{
    char text[300];

    if (!cwd) {
        return 0;
    }
    do {
        *end = sys_open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    } while (*end < 0 && errno == EINTR);
    if (*end < 0) {
        qio_error_set_errno(errp, errno, "cwd: cannot use '%s'",
                            qio_escape_bytes(cwd, strlen(cwd), text, sizeof(text)));
        return -1;
    }
    return 0;
}

/* Our two descriptors are of one description: each direction can end by itself. */
static int open_terminal(const QIOCommandOptions *options, QIOSpawned *spawned, ChildEnds *ends,
                         Error **errp)
{
    int slave;

    if (qio_pty_open(&spawned->stdout_fd, &slave, options->rows, options->columns, errp) < 0) {
        return -1;
    }
    ends->tty = lift(slave);
    if (ends->tty >= 0) {
        spawned->stdin_fd = sys_fcntl(spawned->stdout_fd, F_DUPFD_CLOEXEC, 0);
    }
    if (ends->tty < 0 || spawned->stdin_fd < 0) {
        qio_error_set_errno(errp, errno, "cannot copy a pseudo-terminal's descriptor");
        return -1;
    }
    return 0;
}

static int open_pipes(const QIOCommandOptions *options, QIOSpawned *spawned, ChildEnds *ends,
                      Error **errp)
{
    int access_mode = options->flags & O_ACCMODE;
    int ret;

    ret = access_mode == O_RDONLY ? open_null(&ends->fds[0], errp)
                                  : open_pipe(&spawned->stdin_fd, &ends->fds[0], true, errp);
    if (ret < 0) {
        return -1;
    }
    return access_mode == O_WRONLY ? open_null(&ends->fds[1], errp)
                                   : open_pipe(&spawned->stdout_fd, &ends->fds[1], false, errp);
}

static int open_ends(const QIOCommandOptions *options, QIOSpawned *spawned, ChildEnds *ends,
                     Error **errp)
{
    int ret = options->pty ? open_terminal(options, spawned, ends, errp)
                           : open_pipes(options, spawned, ends, errp);

    if (ret < 0 || open_stderr(options, spawned, &ends->fds[2], errp) < 0) {
        return -1;
    }
    return open_cwd(options->cwd, &ends->cwd, errp);
}

/* ---- what the child does before it becomes the program ---- */

/* The first terminal that the leader of a new session opens becomes its controlling one. */
static int add_terminal(posix_spawn_file_actions_t *actions, const ChildEnds *ends)
{
    char path[48];
    int number;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends->tty);
    number = posix_spawn_file_actions_addopen(actions, 0, path, O_RDWR, 0);
    if (number == 0) {
        number = posix_spawn_file_actions_adddup2(actions, 0, 1);
    }
    if (number == 0) {
        number = posix_spawn_file_actions_adddup2(actions, ends->fds[2] >= 0 ? ends->fds[2] : 0,
                                                  2);
    }
    return number;
}

/* Returns 0, or a positive errno. */
static int add_actions(posix_spawn_file_actions_t *actions, const ChildEnds *ends)
{
    int number = 0;

    /* First: the descriptor may be one that is overwritten next. */
    if (ends->cwd >= 0) {
        number = posix_spawn_file_actions_addfchdir_np(actions, ends->cwd);
    }
    if (ends->tty >= 0 && number == 0) {
        number = add_terminal(actions, ends);
    }
    for (int i = 0; ends->tty < 0 && i < 3 && number == 0; i++) {
        /* dup2 to itself takes close-on-exec off. */
        number = posix_spawn_file_actions_adddup2(actions, ends->fds[i] >= 0 ? ends->fds[i] : 2,
                                                  i);
    }
    if (number == 0) {
        number = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    }
    return number;
}

static int set_attributes(posix_spawnattr_t *attr, bool session)
{
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, defaults;
    int number;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    number = posix_spawnattr_setsigmask(attr, &none);
    if (number == 0) {
        number = posix_spawnattr_setsigdefault(attr, &defaults);
    }
    if (number == 0) {
        number = posix_spawnattr_setflags(attr, session ? flags | POSIX_SPAWN_SETSID : flags);
    }
    return number;
}

/* ---- the program ---- */

typedef struct Program {
    const char *const *argv;
    char *const *env;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attr;
    bool own_cwd;               /* the child's working directory is not ours */
} Program;

/* Returns 0, or a positive errno. */
static int start(const Program *program, const char *path, pid_t *pid)
{
    return sys_posix_spawn(pid, path, program->actions, program->attr,
                           (char *const *)program->argv, program->env);
}

static const char *search_path_of(char *const *env)
{
    for (; *env; env++) {
        if (strncmp(*env, "PATH=", 5) == 0) {
            return *env + 5;
        }
    }
    return "/usr/local/bin:/usr/bin:/bin";
}

/* Tries the program in one directory of PATH; "" stands for the current one. */
static int start_in(const Program *program, const char *dir, size_t len, pid_t *pid)
{
    char *path = g_strdup_printf("%.*s/%s", len ? (int)len : 1, len ? dir : ".",
                                 program->argv[0]);
    int number = 0;

    if (path[0] != '/' && program->own_cwd) {
        char *absolute = g_canonicalize_filename(path, NULL);

        g_free(path);
        path = absolute;
    }
    if (sys_access(path, X_OK) < 0) {
        number = errno;
    } else {
        number = start(program, path, pid);
    }
    g_free(path);
    return number;
}

/* As execvp does: what is not there or not executable does not end the search. */
static int start_from_path(const Program *program, pid_t *pid)
{
    const char *dir = search_path_of(program->env);
    int worst = ENOENT;

    for (;;) {
        size_t len = strcspn(dir, ":");
        int number = len > PATH_MAX ? ENAMETOOLONG : start_in(program, dir, len, pid);

        if (number == EACCES) {
            worst = EACCES;
        } else if (number != ENOENT && number != ENOTDIR && number != ENAMETOOLONG &&
                   number != ELOOP) {
            return number;
        }
        if (dir[len] == '\0') {
            return worst;
        }
        dir += len + 1;
    }
}

static int start_program(const Program *program, const QIOCommandOptions *options, pid_t *pid,
                         Error **errp)
{
    const char *name = program->argv[0];
    bool search = options->search_path && !strchr(name, '/');
    int number = search ? start_from_path(program, pid) : start(program, name, pid);
    char text[300];

    if (number == 0) {
        return 0;
    }
    qio_escape_bytes(name, strlen(name), text, sizeof(text));
    if (search && number == ENOENT) {
        qio_error_set_errno(errp, number, "cannot start '%s', which is in no directory of PATH",
                            text);
    } else {
        qio_error_set_errno(errp, number, "cannot start '%s'", text);
    }
    return -1;
}

static int spawn_with_ends(const char *const argv[], const QIOCommandOptions *options,
                           const ChildEnds *ends, pid_t *pid, Error **errp)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    Program program = {
        .argv = argv,
        .env = options->env ? (char *const *)options->env : environ,
        .actions = &actions,
        .attr = &attr,
        .own_cwd = options->cwd != NULL,
    };
    int ret = -1;
    int number = posix_spawn_file_actions_init(&actions);

    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot prepare a child process");
        return -1;
    }
    number = posix_spawnattr_init(&attr);
    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot prepare a child process");
        goto out_actions;
    }
    number = set_attributes(&attr, options->pty);
    if (number == 0) {
        number = add_actions(&actions, ends);
    }
    if (number != 0) {
        qio_error_set_errno(errp, number, "cannot prepare a child process");
    } else {
        ret = start_program(&program, options, pid, errp);
    }
    posix_spawnattr_destroy(&attr);
out_actions:
    posix_spawn_file_actions_destroy(&actions);
    return ret;
}

static int check_options(const char *const argv[], const QIOCommandOptions *options, Error **errp)
{
    if (!argv || !argv[0] || !*argv[0]) {
        qio_error_set(errp, QIO_ERROR_INVAL, "argv: a program has to be named");
        return -1;
    }
    if ((options->flags & O_ACCMODE) == O_ACCMODE) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "flags: 0x%x has to be one of O_RDONLY, O_WRONLY and O_RDWR",
                      (unsigned)options->flags);
        return -1;
    }
    if (options->pty && (options->flags & O_ACCMODE) != O_RDWR) {
        qio_error_set(errp, QIO_ERROR_INVAL, "flags: 0x%x has to be O_RDWR with pty",
                      (unsigned)options->flags);
        return -1;
    }
    if (options->rows < 0 || options->rows > UINT16_MAX || options->columns < 0 ||
        options->columns > UINT16_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "rows and columns: %d by %d have to be 0 to 65535",
                      options->rows, options->columns);
        return -1;
    }
    if (!options->pty && (options->rows || options->columns)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "rows and columns: only a pty has a window");
        return -1;
    }
    if (options->close_timeout_ms < -1) {
        qio_error_set(errp, QIO_ERROR_INVAL, "close_timeout_ms: %d has to be -1 (default) or more",
                      options->close_timeout_ms);
        return -1;
    }
    return 0;
}

int qio_command_spawn(const char *const argv[], const QIOCommandOptions *options,
                      QIOSpawned *spawned, Error **errp)
{
    ChildEnds ends = { .fds = { -1, -1, -1 }, .cwd = -1, .tty = -1 };
    int ret = -1;

    *spawned = (QIOSpawned) { .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
    if (check_options(argv, options, errp) < 0) {
        return -1;
    }
    if (open_ends(options, spawned, &ends, errp) == 0) {
        if (options->stderr_mode == QIO_COMMAND_STDERR_MERGE && !options->pty) {
            ends.fds[2] = copy_high(ends.fds[1]);
            if (ends.fds[2] < 0) {
                qio_error_set_errno(errp, errno, "cannot copy the standard output");
                goto out;
            }
        }
        ret = spawn_with_ends(argv, options, &ends, &spawned->pid, errp);
    }
out:
    close_ends(&ends);
    if (ret < 0) {
        qio_command_spawned_close(spawned);
    }
    return ret;
}
