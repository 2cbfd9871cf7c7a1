/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-relay.c: every system call of a relay fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.  Whatever fails, each byte that was sent is
 * at the far side or still to be read from the near end.
 */
#include "torture-util.h"

#include <qio/channel-socket.h>
#include <qio/relay.h>

typedef struct Scene {
    AioContext *ctx;
    QIOChannelSocket *near[2], *ends[2];
    QIOTask *task;
    bool done;
} Scene;

static void on_end(QIOTask *task, gpointer opaque)
{
    ((Scene *)opaque)->done = true;
}

static bool open_scene(Scene *scene, bool shared)
{
    Error *err = NULL;

    *scene = (Scene) { .ctx = qio_aio_context_new(&err) };
    if (!went_well(scene->ctx != NULL, &err)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (!went_well(qio_channel_socket_new_pair(&scene->near[i], &scene->ends[i], &err) == 0,
                       &err)) {
            return false;
        }
        if (shared) {
            int fd = qio_channel_take_fd(QIO_CHANNEL(scene->ends[i]), NULL);

            qio_object_unref(scene->ends[i]);
            scene->ends[i] = qio_channel_socket_new_fd(fd, &err);
            if (!went_well(scene->ends[i] != NULL, &err)) {
                close(fd);
                return false;
            }
        }
    }
    return true;
}

static void close_scene(Scene *scene)
{
    qio_task_unref(scene->task);
    for (int i = 0; i < 2; i++) {
        put_away(scene->near[i]);
        put_away(scene->ends[i]);
    }
    if (scene->ctx) {
        CHECK_INT(qio_aio_context_close(scene->ctx, NULL), ==, 0);
    }
    qio_aio_context_unref(scene->ctx);
}

static void dispatch_until_done(Scene *scene)
{
    for (int i = 0; i < 60 && !scene->done; i++) {
        Error *err = NULL;

        if (qio_aio_context_dispatch(scene->ctx, 100, &err) < 0) {
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
            qio_error_free(err);
        }
    }
    CHECK(scene->done || torture_may_fail());
    if (!scene->done) {
        qio_task_cancel(scene->task);
        CHECK_INT(qio_task_wait(scene->task, -1, NULL), ==, 1);
    }
}

/* Where each byte of the text is, by its own reading of both places. */
static void find_bytes(Scene *scene, uint64_t given)
{
    char buf[2 * TEXT_LEN];
    Error *err = NULL;
    size_t got = 0;
    ssize_t n;
    QIOChannelSocket *places[] = { scene->near[1], scene->ends[0] };

    qio_channel_close(QIO_CHANNEL(scene->ends[1]), NULL);
    for (int i = 0; i < 2; i++) {
        while ((n = qio_channel_read(QIO_CHANNEL(places[i]), buf + got, sizeof(buf) - got,
                                     &err)) > 0) {
            got += (size_t)n;
        }
        if (!went_well(n == 0, &err)) {
            return;
        }
        if (i == 0) {
            CHECK_INT(got, ==, given);
        }
    }
    /* A connection that failed may have taken what was on its way with it. */
    CHECK(got == TEXT_LEN || (got < TEXT_LEN && torture_may_fail()));
    CHECK_MEM(buf, TEXT, got);
}

static void relay_text(bool shared)
{
    uint64_t given = 0;
    Error *err = NULL;
    Scene scene;

    if (open_scene(&scene, shared) &&
        went_well(qio_channel_write_all(QIO_CHANNEL(scene.near[0]), TEXT, TEXT_LEN, &err) == 0,
                  &err) &&
        went_well(qio_channel_shutdown(QIO_CHANNEL(scene.near[0]), QIO_CHANNEL_SHUTDOWN_WRITE,
                                       &err) == 0, &err) &&
        went_well(qio_channel_shutdown(QIO_CHANNEL(scene.near[1]), QIO_CHANNEL_SHUTDOWN_WRITE,
                                       &err) == 0, &err)) {
        scene.task = qio_relay_start(QIO_CHANNEL(scene.ends[0]), QIO_CHANNEL(scene.ends[1]), NULL,
                                     scene.ctx, on_end, &scene, NULL, &err);
        if (went_well(scene.task != NULL, &err)) {
            dispatch_until_done(&scene);
            if (qio_task_propagate_error(scene.task, &err)) {
                went_well(false, &err);
            }
            CHECK_INT(qio_relay_get_counts(scene.task, &given, NULL, NULL), ==, 0);
            find_bytes(&scene, given);
        }
    }
    close_scene(&scene);
}

static void relay_by_copying(void)
{
    relay_text(true);
}

static void relay_by_splicing(void)
{
    relay_text(false);
}

TEST(by_copying, .timeout_s = 60)
{
    torture(relay_by_copying, 100);
}

TEST(by_splicing, .timeout_s = 60)
{
    torture(relay_by_splicing, 100);
}
