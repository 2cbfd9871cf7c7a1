/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-accept-task.c: taking one client as an operation: nobody is lost, and nobody taken twice.
 */
#include "listener-util.h"
#include "loop-util.h"
#include "testclock.h"

typedef struct Scene {
    AioContext *ctx;
    QIONetListener *listener;
    char *uri;
} Scene;

static void begin(Scene *scene)
{
    scene->ctx = new_loop();
    scene->listener = listen_on("tcp://127.0.0.1:0");
    scene->uri = address_of(scene->listener, 0);
}

static void end(Scene *scene)
{
    qio_aio_context_unref(scene->ctx);
    qio_object_unref(scene->listener);
    g_free(scene->uri);
}

static QIOTask *take(Scene *scene, int timeout_ms)
{
    return qio_net_listener_accept_task(scene->listener, timeout_ms, scene->ctx, NULL, NULL, NULL);
}

/* Its end, which comes by waiting: the code, or 0 and a client that is given up. */
static int finish(QIOTask *task)
{
    Error *err = NULL;
    QIOChannel *client;
    int code = 0;

    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    client = qio_task_take_result(task);
    if (qio_task_propagate_error(task, &err)) {
        CHECK_PTR(client, ==, NULL);
        code = code_of(err);
    } else {
        CHECK_PTR(client, !=, NULL);
        qio_object_unref(client);
    }
    qio_task_unref(task);
    return code;
}

TEST(a_client_comes)
{
    Scene scene;
    QIOTask *task;
    QIOChannel *peer;

    begin(&scene);
    task = take(&scene, -1);
    CHECK_INT(qio_task_wait(task, 0, NULL), ==, 0);
    peer = connect_to(scene.uri);
    CHECK_INT(finish(task), ==, 0);
    check_quiet(scene.ctx);
    qio_object_unref(peer);
    end(&scene);
}

TEST(a_client_is_there)
{
    Scene scene;
    QIOChannel *peer;
    QIOLoopEvent event;
    QIOTask *task;
    bool due;

    begin(&scene);
    peer = connect_to(scene.uri);
    task = take(&scene, -1);
    /* Under next_events, which calls nothing. */
    for (int i = 0; i < 5 && !qio_task_is_done(task); i++) {
        CHECK_INT(qio_loop_next(scene.ctx, &event, 1, 0, &due, NULL), ==, 0);
        CHECK(!due);
    }
    CHECK(qio_task_is_done(task));
    CHECK_INT(finish(task), ==, 0);
    qio_object_unref(peer);
    end(&scene);
}

/* As many tasks as come: each gets one client, and one waits on. */
TEST(several_tasks)
{
    enum { N = 5 };
    Scene scene;
    QIOTask *tasks[N + 1];
    QIOChannel *peers[N];
    int done = 0;

    begin(&scene);
    for (int i = 0; i <= N; i++) {
        tasks[i] = take(&scene, -1);
    }
    for (int i = 0; i < N; i++) {
        peers[i] = connect_to(scene.uri);
    }
    while (done < N) {
        CHECK_INT(qio_aio_context_dispatch(scene.ctx, 1, NULL), ==, 0);
        done = 0;
        for (int i = 0; i <= N; i++) {
            done += qio_task_is_done(tasks[i]);
        }
    }
    CHECK_INT(done, ==, N);
    for (int i = 0; i <= N; i++) {
        bool left = !qio_task_is_done(tasks[i]);

        qio_task_cancel(tasks[i]);
        CHECK_INT(finish(tasks[i]), ==, left ? QIO_ERROR_CANCELLED : 0);
    }
    for (int i = 0; i < N; i++) {
        qio_object_unref(peers[i]);
    }
    end(&scene);
}

TEST(cancelling_loses_nobody)
{
    Scene scene;
    QIOTask *task;
    QIOChannel *peer;
    QIOChannelSocket *client;

    begin(&scene);
    task = take(&scene, -1);
    CHECK_INT(qio_task_wait(task, 0, NULL), ==, 0);
    peer = connect_to(scene.uri);
    CHECK(qio_task_cancel(task));
    CHECK_INT(finish(task), ==, QIO_ERROR_CANCELLED);
    client = qio_net_listener_accept(scene.listener, -1, false, NULL);
    CHECK_PTR(client, !=, NULL);
    qio_object_unref(client);
    qio_object_unref(peer);
    end(&scene);
}

TEST(deadline)
{
    Scene scene;

    testclock_install();
    begin(&scene);
    CHECK_INT(finish(take(&scene, 700)), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 700);
    testclock_remove();
    end(&scene);
}

TEST(listener_closes)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = take(&scene, -1);
    CHECK_INT(qio_task_wait(task, 0, NULL), ==, 0);
    CHECK_INT(qio_net_listener_close(scene.listener, NULL), ==, 0);
    CHECK_INT(finish(task), ==, QIO_ERROR_CANCELLED);
    CHECK_INT(finish(take(&scene, -1)), ==, QIO_ERROR_CLOSED);
    end(&scene);
}

TEST(loop_closes)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = take(&scene, -1);
    CHECK_INT(qio_aio_context_close(scene.ctx, NULL), ==, 0);
    CHECK_INT(finish(task), ==, QIO_ERROR_CANCELLED);
    CHECK_INT(finish(take(&scene, -1)), ==, QIO_ERROR_CLOSED);
    end(&scene);
}

/* Out of descriptors: it pauses instead of failing or spinning, and goes on. */
TEST(shortage)
{
    Scene scene;
    QIOTask *task;
    QIOChannel *peer;

    testclock_install();
    begin(&scene);
    peer = connect_to(scene.uri);
    seam_fail(SEAM_accept4, 1, 3, EMFILE);
    task = take(&scene, 60000);
    CHECK_INT(finish(task), ==, 0);
    CHECK_INT(seam_struck(), ==, 3);
    CHECK_INT(testclock_elapsed_ms(), >, 0);
    CHECK_INT(testclock_elapsed_ms(), <, 10000);
    testclock_remove();
    qio_object_unref(peer);
    end(&scene);
}
