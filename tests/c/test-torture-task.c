/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-task.c: every system call of operations fails in turn: each still ends once, and
 * is told of once.
 *
 * Owns: the scenarios; torture-util.h has their rules.
 */
#include "testclock.h"
#include "torture-util.h"

#include "task/task-priv.h"

#include <fcntl.h>
#include <qio/channel-command.h>
#include <qio/net-listener.h>
#include <qio/uri.h>
#include <unistd.h>

typedef struct Told {
    int calls, destroyed;
} Told;

static void on_end(QIOTask *task, gpointer opaque)
{
    CHECK(qio_task_is_done(task));
    ((Told *)opaque)->calls++;
}

static void on_destroy(gpointer opaque)
{
    ((Told *)opaque)->destroyed++;
}

/* Signals end waits, and anything may end one by an error; where nothing can be waited for, the
 * task is cancelled, and a try ends it, whose wait may fail again. */
static void wait_for(QIOTask *task)
{
    int ret = 0;

    for (int i = 0; i < 10 && ret <= 0; i++) {
        Error *err = NULL;

        ret = qio_task_wait(task, -1, &err);
        CHECK(ret == 1 || torture_struck());
        qio_error_free(err);
    }
    if (ret != 1) {
        CHECK(torture_may_fail());
        qio_task_cancel(task);
        qio_task_wait(task, 0, NULL);
    }
    CHECK(qio_task_is_done(task));
}

/* Whether the task went well; gives it up. */
static bool ended_well(QIOTask *task)
{
    Error *err = NULL;
    bool good;

    wait_for(task);
    good = went_well(!qio_task_propagate_error(task, &err), &err);
    qio_task_unref(task);
    return good;
}

static void dispatch_all(AioContext *ctx, const Told *told)
{
    for (int i = 0; i < 10 && !told->destroyed; i++) {
        Error *err = NULL;

        if (qio_aio_context_dispatch(ctx, 0, &err) < 0) {
            CHECK(torture_struck());
            qio_error_free(err);
        }
    }
}

/* ---- the task alone ---- */

static void deadline(void)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    Told told = { 0 };
    QIOTask *task;

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    task = qio_task_new(NULL, ctx, on_end, &told, on_destroy);
    qio_task_set_deadline(task, 5);
    wait_for(task);
    CHECK(qio_task_propagate_error(task, &err));
    CHECK(qio_error_get_code(err) == QIO_ERROR_TIMEOUT || torture_may_fail());
    qio_error_free(err);
    qio_task_unref(task);
    dispatch_all(ctx, &told);
    CHECK_INT(told.calls, ==, 1);
    qio_aio_context_unref(ctx);
    CHECK_INT(told.destroyed, ==, 1);
    CHECK_INT(told.calls, ==, 1);
}

TEST(task_deadline)
{
    torture(deadline, 30);
}

/* ---- on channels ---- */

/* A child whose end the core was made not to see, or not to wait for, is the test's. */
static void put_command_away(QIOChannelCommand *command)
{
    pid_t pid = qio_channel_command_get_pid(command);
    Error *err = NULL;

    went_well(qio_channel_close(QIO_CHANNEL(command), &err) == 0, &err);
    if (torture_may_fail() && (torture_call() == SEAM_waitid || torture_call() == SEAM_poll)) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    put_away(command);
}

static QIOChannelCommand *start_cat(Error **errp)
{
    static const char *const argv[] = { "/bin/cat", NULL };

    return qio_channel_command_new_spawn(argv, O_RDWR, errp);
}

static void close_command(void)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    QIOChannelCommand *command;
    Told told = { 0 };
    QIOTask *task;

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    command = start_cat(&err);
    if (went_well(command != NULL, &err)) {
        task = qio_channel_close_task(QIO_CHANNEL(command), -1, ctx, on_end, &told, on_destroy);
        if (ended_well(task)) {
            CHECK(qio_channel_command_get_exit_status(command, NULL, NULL) || torture_may_fail());
        }
        CHECK(qio_channel_is_closed(QIO_CHANNEL(command)));
        put_command_away(command);
        dispatch_all(ctx, &told);
        CHECK_INT(told.calls, ==, 1);
    }
    qio_aio_context_unref(ctx);
    CHECK_INT(told.destroyed, ==, told.calls);
}

TEST(close_of_a_command)
{
    torture(close_command, 60);
}

static void exit_of_command(void)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    QIOChannelCommand *command;
    QIOTask *task;

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    command = start_cat(&err);
    if (went_well(command != NULL, &err)) {
        task = qio_channel_command_wait_exit_task(command, -1, ctx, NULL, NULL, NULL);
        if (!went_well(qio_channel_shutdown(QIO_CHANNEL(command), QIO_CHANNEL_SHUTDOWN_WRITE,
                                            &err) == 0, &err)) {
            qio_task_unref(task);
        } else if (ended_well(task)) {
            CHECK(qio_channel_command_get_exit_status(command, NULL, NULL));
        }
        put_command_away(command);
    }
    qio_aio_context_unref(ctx);
}

TEST(exit_of_a_command)
{
    torture(exit_of_command, 60);
}

/* ---- clients and servers ---- */

static void meet(AioContext *ctx, QIONetListener *listener, const char *uri)
{
    QIOTask *client = qio_channel_open_uri_task(uri, NULL, ctx, NULL, NULL, NULL);
    QIOTask *server = qio_net_listener_accept_task(listener, 60000, ctx, NULL, NULL, NULL);
    Error *err = NULL;
    QIOChannel *near, *far;

    wait_for(client);
    near = qio_task_take_result(client);
    went_well(!qio_task_propagate_error(client, &err), &err);
    if (near == NULL) {
        qio_task_cancel(server);
    }
    wait_for(server);
    far = qio_task_take_result(server);
    if (near != NULL && far != NULL) {
        exchange(near, far);
    } else {
        CHECK(torture_may_fail());
    }
    put_away(near);
    put_away(far);
    qio_task_unref(client);
    qio_task_unref(server);
}

static void open_and_accept(void)
{
    Error *err = NULL;
    AioContext *ctx = qio_aio_context_new(&err);
    QIONetListener *listener;
    char uri[128];

    if (!went_well(ctx != NULL, &err)) {
        return;
    }
    g_snprintf(uri, sizeof(uri), "unix:%s/meet", test_dir());
    listener = qio_net_listener_open_uri(uri, NULL, &err);
    if (went_well(listener != NULL, &err)) {
        meet(ctx, listener, uri);
        went_well(qio_net_listener_close(listener, &err) == 0, &err);
        qio_object_unref(listener);
    }
    qio_aio_context_unref(ctx);
    unlink(uri + strlen("unix:"));
}

TEST(opening_and_accepting)
{
    /* Who is always out of descriptors gives up at the deadline. */
    testclock_install();
    torture(open_and_accept, 100);
    testclock_remove();
}
