/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay-util.h: a relay between two pairs of sockets, for its tests.
 *
 * Owns: Scene: near[0] - ends[0] = relay = ends[1] - near[1].
 */
#ifndef TESTS_RELAY_UTIL_H
#define TESTS_RELAY_UTIL_H

#include "loop-util.h"

#include <qio/channel-socket.h>
#include <qio/relay.h>

typedef struct Scene {
    AioContext *ctx;
    QIOChannel *near[2];        /* what the test holds */
    QIOChannel *ends[2];        /* what is relayed */
    QIOOptions *options;
    QIOTask *task;
    int calls;                  /* of the task's function */
} Scene;

static inline void scene_called(QIOTask *task, gpointer opaque)
{
    ((Scene *)opaque)->calls++;
}

static inline void scene_open(Scene *scene)
{
    *scene = (Scene) { .ctx = new_loop(), .options = qio_options_new() };
    for (int i = 0; i < 2; i++) {
        QIOChannelSocket *near, *end;

        CHECK_INT(qio_channel_socket_new_pair(&near, &end, NULL), ==, 0);
        scene->near[i] = QIO_CHANNEL(near);
        scene->ends[i] = QIO_CHANNEL(end);
    }
}

static inline void scene_start(Scene *scene)
{
    Error *err = NULL;

    scene->task = qio_relay_start(scene->ends[0], scene->ends[1], scene->options, scene->ctx,
                                  scene_called, scene, NULL, &err);
    if (!scene->task) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
}

/* Lets it run until nothing is due any more. */
static inline void scene_settle(Scene *scene)
{
    while (qio_aio_context_dispatch(scene->ctx, 0, NULL) > 0 || is_readable(scene->ctx)) {
    }
}

static inline void scene_run(Scene *scene)
{
    while (scene->calls == 0) {
        CHECK_INT(qio_aio_context_dispatch(scene->ctx, -1, NULL), >=, 0);
    }
    CHECK(qio_task_is_done(scene->task));
}

/* It succeeded, having carried so many bytes. */
static inline void scene_check_counts(Scene *scene, uint64_t a_to_b, uint64_t b_to_a)
{
    uint64_t ab, ba;

    CHECK_INT(qio_relay_get_counts(scene->task, &ab, &ba, NULL), ==, 0);
    CHECK_INT(ab, ==, a_to_b);
    CHECK_INT(ba, ==, b_to_a);
}

static inline void scene_check_good(Scene *scene)
{
    Error *err = NULL;

    if (qio_task_propagate_error(scene->task, &err)) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    CHECK_INT(scene->calls, ==, 1);
}

static inline int scene_code(Scene *scene)
{
    Error *err = NULL;

    CHECK(qio_task_propagate_error(scene->task, &err));
    test_note("%s", qio_error_get_pretty(err));
    CHECK_INT(scene->calls, ==, 1);
    return code_of(err);
}

static inline void scene_write(QIOChannel *ioc, const char *text)
{
    CHECK_INT(qio_channel_write_all(ioc, text, strlen(text), NULL), ==, 0);
}

static inline void scene_read(QIOChannel *ioc, const char *text)
{
    char buf[200];
    size_t len = strlen(text);

    CHECK_INT(qio_channel_try_read(ioc, buf, sizeof(buf), NULL), ==, len);
    CHECK_MEM(buf, text, len);
}

static inline void scene_end(QIOChannel *ioc)
{
    CHECK_INT(qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
}

static inline void scene_drop(Scene *scene)
{
    qio_task_unref(scene->task);
    for (int i = 0; i < 2; i++) {
        qio_object_unref(scene->near[i]);
        qio_object_unref(scene->ends[i]);
    }
    qio_options_free(scene->options);
    qio_aio_context_unref(scene->ctx);
}

#endif
