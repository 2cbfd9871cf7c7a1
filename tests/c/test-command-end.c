/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-command-end.c: how a child process ends.
 *
 * Owns: the promises of channel-command.h on status, signals, waiting, the escalation of close,
 * and that no zombie is left and no stranger hit.
 */
#include "command.h"
#include "loop/loop.h"
#include "seam.h"

#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>

TEST(exit_status)
{
    QIOChannelCommand *ioc = cat();
    int status, signum;

    CHECK_INT(qio_channel_command_get_exit_status(ioc, &status, &signum), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 0, false, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 20, false, NULL), ==, 0);
    drop(ioc);
    ioc = shell("exit 3", (QIOCommandOptions) { .close_timeout_ms = -1 });
    check_ended(ioc, 3, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    check_ended(ioc, 3, 0);
    qio_object_unref(ioc);
    ioc = shell("kill -USR1 $$", (QIOCommandOptions) { .close_timeout_ms = -1 });
    check_ended(ioc, -1, SIGUSR1);
    drop(ioc);
}

TEST(kill_by_pidfd)
{
    QIOChannelCommand *ioc = cat();
    struct pollfd pfd = { .fd = qio_channel_command_get_pidfd(ioc), .events = POLLIN };
    Error *err = NULL;

    CHECK_INT(qio_channel_command_kill(ioc, 0, NULL), ==, 0);
    CHECK_INT(qio_channel_command_kill(ioc, 1000, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_INT(qio_channel_command_kill(ioc, -1, NULL), ==, -1);
    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    CHECK_INT(qio_channel_command_kill(ioc, SIGTERM, NULL), ==, 0);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    check_ended(ioc, -1, SIGTERM);
    CHECK_INT(qio_channel_command_kill(ioc, SIGTERM, NULL), ==, 0);
    drop(ioc);
}

static void do_nothing(int signum)
{
}

TEST(a_signal_ends_an_interruptible_wait)
{
    const struct sigaction action = { .sa_handler = do_nothing };
    const struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
    QIOChannelCommand *ioc = cat();
    Error *err = NULL;

    CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
    CHECK_INT(setitimer(ITIMER_REAL, &every, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 30, false, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, -1, true, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    qio_error_free(err);
    drop(ioc);
    CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
}

TEST(a_signal_ends_an_interruptible_close_and_the_next_goes_on)
{
    const struct sigaction action = { .sa_handler = do_nothing };
    const struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
    QIOChannelCommand *ioc = shell("exec sleep 1000",
                                   (QIOCommandOptions) { .close_timeout_ms = 30 });
    int interrupted = 0;
    Error *err = NULL;

    CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
    CHECK_INT(setitimer(ITIMER_REAL, &every, NULL), ==, 0);
    while (qio_channel_close_full(QIO_CHANNEL(ioc), true, &err) < 0) {
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
        CHECK(qio_channel_is_closed(QIO_CHANNEL(ioc)));
        qio_error_free(err);
        err = NULL;
        interrupted++;
    }
    CHECK_INT(interrupted, >, 0);
    CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
    check_ended(ioc, -1, SIGTERM);
    CHECK_INT(qio_channel_close_full(QIO_CHANNEL(ioc), true, NULL), ==, 0);
    qio_object_unref(ioc);
}

static gint64 ms_to_close(QIOChannelCommand *ioc)
{
    gint64 start = g_get_monotonic_time();

    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    return (g_get_monotonic_time() - start) / 1000;
}

static void wait_until_it_speaks(QIOChannelCommand *ioc)
{
    char byte;

    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 1);
}

TEST(close_escalates)
{
    const QIOCommandOptions quick = { .flags = O_RDWR, .close_timeout_ms = 60 };
    QIOChannelCommand *ioc = shell("echo; exec sleep 100", quick);
    siginfo_t info;

    wait_until_it_speaks(ioc);
    CHECK_INT(ms_to_close(ioc), >=, 60);
    check_ended(ioc, -1, SIGTERM);
    qio_object_unref(ioc);

    ioc = shell("trap '' TERM; echo; exec sleep 100", quick);
    wait_until_it_speaks(ioc);
    CHECK_INT(ms_to_close(ioc), >=, 120);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);

    ioc = shell("kill -STOP $$", (QIOCommandOptions) { .flags = O_RDWR });
    CHECK_INT(waitid(P_PID, (id_t)qio_channel_command_get_pid(ioc), &info, WSTOPPED | WNOWAIT),
              ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 5000);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);
}

typedef struct Reader {
    QIOChannelCommand *ioc;
    gint64 end;
    ssize_t result;
} Reader;

static void *read_one(void *opaque)
{
    Reader *reader = opaque;
    char byte;

    reader->result = qio_channel_read(QIO_CHANNEL(reader->ioc), &byte, 1, NULL);
    reader->end = g_get_monotonic_time();
    return NULL;
}

/* The reader may well be the last to leave; it does not wait for the child all the same. */
TEST(close_holds_nobody_else_up)
{
    Reader reader = { .ioc = shell("trap '' TERM; echo; exec sleep 100",
                                   (QIOCommandOptions) { .flags = O_RDWR,
                                                         .close_timeout_ms = 200 }) };
    pthread_t thread;
    gint64 end;

    wait_until_it_speaks(reader.ioc);
    CHECK_INT(pthread_create(&thread, NULL, read_one, &reader), ==, 0);
    CHECK_INT(ms_to_close(reader.ioc), >=, 400);
    end = g_get_monotonic_time();
    pthread_join(thread, NULL);
    CHECK_INT(reader.result, ==, -1);
    CHECK_INT(end - reader.end, >=, 200000);
    qio_object_unref(reader.ioc);
}

static bool is_our_child(pid_t pid)
{
    siginfo_t info;

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void *wait_for_exit(void *opaque)
{
    CHECK_INT(qio_channel_command_wait_exit(opaque, -1, false, NULL), ==, 1);
    return NULL;
}

/* Whoever keeps a closed channel, for its exit status, keeps no descriptor. */
TEST(a_closed_command_holds_no_descriptor)
{
    QIOChannelCommand *ioc = cat();
    int pidfd = qio_channel_command_get_pidfd(ioc);
    pthread_t sleeper;

    CHECK_INT(fcntl(pidfd, F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(pthread_create(&sleeper, NULL, wait_for_exit, ioc), ==, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    CHECK_INT(pthread_join(sleeper, NULL), ==, 0);
    CHECK_INT(fcntl(pidfd, F_GETFD), ==, -1);
    CHECK_INT(qio_channel_command_get_pidfd(ioc), ==, -1);
    CHECK_INT(qio_channel_command_kill(ioc, SIGTERM, NULL), ==, 0);
    check_ended(ioc, 0, 0);
    qio_object_unref(ioc);
}

/* Dropped without a close: nothing waits, and the next channel that is made reaps. */
TEST(no_zombie_without_close)
{
    QIOChannelCommand *ioc = cat();
    pid_t pid = qio_channel_command_get_pid(ioc);
    struct pollfd pfd = { .fd = dup(qio_channel_command_get_pidfd(ioc)), .events = POLLIN };

    CHECK(is_our_child(pid));
    qio_object_unref(ioc);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    close(pfd.fd);
    qio_object_unref(qio_channel_null_new());
    CHECK(!is_our_child(pid));

    ioc = shell("exit 0", (QIOCommandOptions) { .flags = O_RDWR });
    pid = qio_channel_command_get_pid(ioc);
    pfd.fd = qio_channel_command_get_pidfd(ioc);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    qio_object_unref(ioc);
    CHECK(!is_our_child(pid));
}

/* A command that was dropped while it runs, to be killed by its pid: ours as long as it is not
 * waited for. */
static pid_t drop_running(void)
{
    QIOChannelCommand *ioc = shell("exec sleep 100", (QIOCommandOptions) { .flags = O_RDWR });
    pid_t pid = qio_channel_command_get_pid(ioc);

    qio_object_unref(ioc);
    CHECK(is_our_child(pid));
    return pid;
}

typedef struct Watched {
    AioContext *ctx;
    pid_t pid;
} Watched;

static gboolean quit_when_reaped(void *opaque)
{
    Watched *watched = opaque;

    if (is_our_child(watched->pid)) {
        return TRUE;
    }
    qio_aio_context_quit(watched->ctx);
    return FALSE;
}

static void run_until_reaped(AioContext *ctx, pid_t pid)
{
    Watched watched = { .ctx = ctx, .pid = pid };

    qio_loop_watch_unref(qio_aio_context_add_timer(ctx, 0, 1, quit_when_reaped, &watched, NULL,
                                                   NULL));
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
}

/* Loops that were there before and that came after: each is woken by the end of a child that
 * nobody asks about, and calls nothing of the program's. */
TEST(a_loop_reaps_what_was_dropped)
{
    AioContext *before = qio_aio_context_new(NULL), *after;
    struct pollfd pfd = { .fd = qio_aio_context_get_fd(before), .events = POLLIN };
    pid_t pid = drop_running();

    CHECK_INT(poll(&pfd, 1, 0), ==, 0);
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    CHECK_INT(poll(&pfd, 1, -1), ==, 1);
    while (is_our_child(pid)) {
        CHECK_INT(qio_aio_context_dispatch(before, 0, NULL), ==, 0);
    }
    CHECK_INT(poll(&pfd, 1, 0), ==, 0);

    pid = drop_running();
    after = qio_aio_context_new(NULL);
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    run_until_reaped(after, pid);
    qio_aio_context_unref(after);
    qio_aio_context_unref(before);
}

TEST(events_are_pulled_and_what_was_dropped_is_none)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOLoopEvent event;
    bool due = true;
    pid_t pid = drop_running();

    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    while (is_our_child(pid)) {
        CHECK_INT(qio_loop_next(ctx, &event, 1, 1, &due, NULL), ==, 0);
        CHECK(!due);
    }
    qio_aio_context_unref(ctx);
}

TEST(a_wait_for_a_channel_reaps_what_was_dropped)
{
    QIOChannelSocket *a, *b;
    pid_t pid = drop_running();

    CHECK_INT(qio_channel_socket_new_pair(&a, &b, NULL), ==, 0);
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    while (is_our_child(pid)) {
        CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(a), G_IO_IN, 1, NULL), ==, 0);
    }
    qio_object_unref(a);
    qio_object_unref(b);
}

/* A child that has ended but cannot be waited for, as when a debugger holds it, keeps no loop
 * awake; whoever looks later collects it. */
TEST(what_cannot_be_reaped_yet_keeps_nobody_awake)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    pid_t pid = drop_running();
    long waits;

    seam_install();
    seam_fail(SEAM_waitid, 1, SEAM_ALWAYS, EIO);
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    while (seam_hits(SEAM_waitid) == 0) {
        CHECK_INT(qio_aio_context_dispatch(ctx, 1, NULL), ==, 0);
    }
    waits = seam_hits(SEAM_epoll_wait);
    CHECK_INT(qio_aio_context_dispatch(ctx, 20, NULL), ==, 0);
    CHECK_INT(seam_hits(SEAM_epoll_wait) - waits, <=, 2);
    seam_remove();
    CHECK(is_our_child(pid));
    qio_object_unref(qio_channel_null_new());
    CHECK(!is_our_child(pid));
    qio_aio_context_unref(ctx);
}

/* Without a descriptor to sleep on, making and ending channels is what looks. */
TEST(what_cannot_be_watched_is_looked_at)
{
    pid_t pid;

    seam_install();
    seam_fail(SEAM_epoll_create1, 1, SEAM_ALWAYS, EMFILE);
    pid = drop_running();
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    while (is_our_child(pid)) {
        qio_object_unref(qio_channel_null_new());
    }
    seam_remove();
}

static void *drop_many(void *opaque)
{
    for (int i = 0; i < 20; i++) {
        qio_object_unref(shell("exit 0", (QIOCommandOptions) { .flags = O_RDWR }));
    }
    return NULL;
}

static gboolean quit_when_childless(void *opaque)
{
    siginfo_t info;

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        return TRUE;
    }
    qio_aio_context_quit(opaque);
    return FALSE;
}

TEST(dropped_by_threads_and_reaped_by_loops)
{
    AioContext *ctx = qio_aio_context_new(NULL), *other = qio_aio_context_new(NULL);
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, drop_many, NULL), ==, 0);
    }
    for (int i = 0; i < 20; i++) {
        /* -1 is INTR: a spawning thread blocks SIGCHLD, so the kernel wakes this one with it. */
        CHECK_INT(qio_aio_context_dispatch(other, 1, NULL), <=, 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    qio_loop_watch_unref(qio_aio_context_add_timer(ctx, 0, 1, quit_when_childless, ctx, NULL,
                                                   NULL));
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
    qio_aio_context_unref(other);
    qio_aio_context_unref(ctx);
}

/* The parent's dropped children are not the forked child's to wait for. */
TEST(a_forked_child_leaves_what_was_dropped_to_its_parent)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    pid_t dropped = drop_running(), pid = fork();
    int status;

    if (pid == 0) {
        AioContext *own = qio_aio_context_new(NULL);
        pid_t of_its_own = drop_running();

        CHECK_INT(kill(of_its_own, SIGKILL), ==, 0);
        run_until_reaped(own, of_its_own);
        qio_aio_context_unref(own);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK(is_our_child(dropped));
    CHECK_INT(kill(dropped, SIGKILL), ==, 0);
    run_until_reaped(ctx, dropped);
    qio_aio_context_unref(ctx);
}

static void check_unknown(QIOChannelCommand *ioc)
{
    check_ended(ioc, -1, 0);
    CHECK_INT(qio_channel_command_kill(ioc, SIGKILL, NULL), ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 1000);
    qio_object_unref(ioc);
}

TEST(a_host_that_reaps)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN }, plain = { .sa_handler = SIG_DFL };
    const QIOCommandOptions options = { .flags = O_RDWR, .close_timeout_ms = -1 };
    QIOChannelCommand *ioc = shell("exit 5", options);
    pid_t pid = qio_channel_command_get_pid(ioc);

    CHECK_INT(waitpid(-1, NULL, 0), ==, pid);
    check_unknown(ioc);

    CHECK_INT(sigaction(SIGCHLD, &ignore, NULL), ==, 0);
    check_unknown(shell("exit 5", options));
    ioc = shell("read x", options);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, NULL, NULL), ==, 0);
    CHECK_INT(qio_channel_command_wait_exit(ioc, 10, false, NULL), ==, 0);
    CHECK_INT(ms_to_close(ioc), <, 2000);
    check_unknown(ioc);
    CHECK_INT(sigaction(SIGCHLD, &plain, NULL), ==, 0);
}

TEST(a_forked_host_does_not_harm_the_child)
{
    QIOChannelCommand *ioc = cat();
    char byte;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        qio_channel_close(QIO_CHANNEL(ioc), NULL);
        qio_object_unref(ioc);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_INT(qio_channel_write_all(QIO_CHANNEL(ioc), "x", 1, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 0);
    drop(ioc);
}
