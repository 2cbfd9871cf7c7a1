/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-relay-end.c: how a relay ends before its channels do, what bounds it, and its filter.
 */
#include "relay-util.h"
#include "testclock.h"

#include <qio/channel-buffer.h>

/* Two bytes of room at the far end's reader: the rest is stuck in the relay. */
static void stick(Scene *scene, size_t *sent)
{
    static char block[4096];
    ssize_t n;

    *sent = 0;
    do {
        for (size_t i = 0; i < sizeof(block); i++) {
            block[i] = (char)((*sent + i) * 7 % 253);
        }
        n = qio_channel_try_write(scene->near[0], block, sizeof(block), NULL);
        *sent += n > 0 ? (size_t)n : 0;
        scene_settle(scene);
    } while (n > 0);
}

static void check_bytes(QIOChannel *ioc, size_t *at, size_t until)
{
    static char buf[4096];

    while (*at < until) {
        ssize_t n = qio_channel_try_read(ioc, buf, MIN(sizeof(buf), until - *at), NULL);

        CHECK_INT(n, >, 0);
        for (ssize_t i = 0; i < n; i++) {
            CHECK_INT((unsigned char)buf[i], ==, (*at + (size_t)i) * 7 % 253);
        }
        *at += (size_t)n;
    }
}

static void shared(Scene *scene)
{
    for (int i = 0; i < 2; i++) {
        int fd = qio_channel_take_fd(scene->ends[i], NULL);

        qio_object_unref(scene->ends[i]);
        scene->ends[i] = QIO_CHANNEL(qio_channel_socket_new_fd(fd, NULL));
    }
}

/* Every byte is at the far side (and counted), or still to be read from the near one. */
TEST(a_cancel_loses_nothing)
{
    for (int copy = 0; copy < 2; copy++) {
        size_t sent, at = 0;
        uint64_t given;
        Scene scene;

        scene_open(&scene);
        if (copy) {
            shared(&scene);
        }
        scene_start(&scene);
        stick(&scene, &sent);
        CHECK(qio_task_cancel(scene.task));
        scene_run(&scene);
        CHECK_INT(scene_code(&scene), ==, QIO_ERROR_CANCELLED);
        CHECK_INT(qio_relay_get_counts(scene.task, &given, NULL, NULL), ==, 0);
        CHECK_INT(given, <, sent);
        check_bytes(scene.near[1], &at, given);
        CHECK_INT(qio_channel_try_read(scene.near[1], (char[1]) { 0 }, 1, NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        check_bytes(scene.ends[0], &at, sent);
        CHECK_INT(qio_channel_try_read(scene.ends[0], (char[1]) { 0 }, 1, NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        scene_drop(&scene);
    }
}

/* While it runs it has both channels; afterwards they are as they were. */
TEST(it_holds_the_channels_while_it_runs)
{
    Scene scene, other;
    Error *err = NULL;

    scene_open(&scene);
    scene_open(&other);
    scene_start(&scene);
    for (int i = 0; i < 2; i++) {
        CHECK_PTR(qio_relay_start(scene.ends[i], other.ends[1], NULL, scene.ctx, NULL, NULL, NULL,
                                  &err), ==, NULL);
        CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
        err = NULL;
        CHECK_PTR(qio_relay_start(other.ends[1], scene.ends[i], NULL, scene.ctx, NULL, NULL, NULL,
                                  &err), ==, NULL);
        CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
        err = NULL;
    }
    qio_task_cancel(scene.task);
    scene_run(&scene);
    qio_task_unref(scene.task);
    scene.calls = 0;
    scene_start(&scene);
    scene_write(scene.near[0], "again");
    scene_settle(&scene);
    scene_read(scene.near[1], "again");
    qio_task_cancel(scene.task);
    scene_run(&scene);
    scene_drop(&scene);
    scene_drop(&other);
}

TEST(closing_either_side_cancels)
{
    for (int i = 0; i < 4; i++) {
        Scene scene;

        test_note("%d", i);
        scene_open(&scene);
        scene_start(&scene);
        if (i >= 2) {
            scene_write(scene.near[0], "x");
            scene_settle(&scene);
        }
        CHECK_INT(qio_channel_close(scene.ends[i % 2], NULL), ==, 0);
        scene_run(&scene);
        CHECK_INT(scene_code(&scene), ==, QIO_ERROR_CANCELLED);
        /* The transport is gone: the far side sees the end. */
        if (i >= 2) {
            scene_read(scene.near[1], "x");
        }
        CHECK_INT(qio_channel_read(scene.near[i % 2], (char[1]) { 0 }, 1, NULL), ==, 0);
        scene_drop(&scene);
    }
}

TEST(closing_the_loop_cancels)
{
    Scene scene;

    scene_open(&scene);
    scene_start(&scene);
    scene_write(scene.near[0], "x");
    scene_settle(&scene);
    CHECK_INT(qio_aio_context_close(scene.ctx, NULL), ==, 0);
    CHECK_INT(scene.calls, ==, 1);
    CHECK_INT(scene_code(&scene), ==, QIO_ERROR_CANCELLED);
    scene_write(scene.near[0], "y");
    scene_read(scene.ends[0], "y");
    scene_drop(&scene);
}

TEST(what_cannot_be_relayed)
{
    Scene scene;
    Error *err = NULL;

    scene_open(&scene);
    CHECK_PTR(qio_relay_start(scene.ends[0], scene.ends[0], NULL, scene.ctx, NULL, NULL, NULL,
                              &err), ==, NULL);
    CHECK_INT(code_of(err), ==, QIO_ERROR_INVAL);
    err = NULL;
    CHECK_INT(qio_options_set_str(scene.options, "mode", "r", NULL), ==, 0);
    CHECK_PTR(qio_relay_start(scene.ends[0], scene.ends[1], scene.options, scene.ctx, NULL, NULL,
                              NULL, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "\"mode\"");
    CHECK_INT(code_of(err), ==, QIO_ERROR_INVAL);
    err = NULL;
    qio_channel_close(scene.ends[1], NULL);
    CHECK_PTR(qio_relay_start(scene.ends[0], scene.ends[1], NULL, scene.ctx, NULL, NULL, NULL,
                              &err), ==, NULL);
    CHECK_INT(code_of(err), ==, QIO_ERROR_CLOSED);
    /* The first was let go. */
    scene_write(scene.near[0], "x");
    scene_read(scene.ends[0], "x");
    scene_drop(&scene);
}

TEST(what_is_no_relay_has_no_counts)
{
    AioContext *ctx = new_loop();
    QIOTask *task = qio_task_new(NULL, ctx, NULL, NULL, NULL);
    uint64_t count;
    Error *err = NULL;

    CHECK_INT(qio_relay_get_counts(task, &count, NULL, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_NOTSUP);
    err = NULL;
    CHECK_INT(qio_relay_put(task, "x", 1, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_NOTSUP);
    qio_task_cancel(task);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
}

/* ---- bounds ---- */

TEST(a_limit_is_for_each_direction)
{
    for (int copy = 0; copy < 2; copy++) {
        Scene scene;

        scene_open(&scene);
        if (copy) {
            shared(&scene);
        }
        CHECK_INT(qio_options_set_int(scene.options, "limit", 5, NULL), ==, 0);
        scene_start(&scene);
        scene_write(scene.near[0], "12345");
        scene_write(scene.near[1], "abc");
        scene_settle(&scene);
        scene_read(scene.near[1], "12345");
        scene_read(scene.near[0], "abc");
        CHECK(!qio_task_is_done(scene.task));
        scene_write(scene.near[0], "67");
        scene_run(&scene);
        CHECK_INT(scene_code(&scene), ==, QIO_ERROR_LIMIT);
        scene_check_counts(&scene, 5, 3);
        scene_read(scene.ends[0], "67");
        scene_drop(&scene);
    }
}

TEST(exactly_the_limit_is_fine)
{
    Scene scene;

    scene_open(&scene);
    CHECK_INT(qio_options_set_int(scene.options, "limit", 5, NULL), ==, 0);
    scene_start(&scene);
    scene_write(scene.near[0], "12345");
    scene_end(scene.near[0]);
    scene_end(scene.near[1]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_read(scene.near[1], "12345");
    scene_drop(&scene);
}

TEST(nothing_moves_for_too_long)
{
    Scene scene;

    testclock_install();
    scene_open(&scene);
    CHECK_INT(qio_options_set_str(scene.options, "idle-timeout", "2", NULL), ==, 0);
    scene_start(&scene);
    scene_settle(&scene);
    testclock_advance_ms(1500);
    scene_write(scene.near[0], "x");
    scene_settle(&scene);
    testclock_advance_ms(1500);
    scene_settle(&scene);
    CHECK(!qio_task_is_done(scene.task));
    scene_run(&scene);
    CHECK_INT(scene_code(&scene), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 3500);
    scene_drop(&scene);
    testclock_remove();
}

/* ---- without anybody who dispatches ---- */

TEST(it_runs_while_somebody_waits_for_it)
{
    Scene scene;

    scene_open(&scene);
    scene_start(&scene);
    scene_write(scene.near[0], "hello");
    scene_end(scene.near[0]);
    scene_end(scene.near[1]);
    CHECK_INT(qio_task_wait(scene.task, -1, NULL), ==, 1);
    scene_read(scene.near[1], "hello");
    CHECK_INT(scene.calls, ==, 0);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_drop(&scene);
}

TEST(it_runs_under_next_events)
{
    bool due = false;
    Scene scene;
    QIOLoopEvent event;

    scene_open(&scene);
    scene_start(&scene);
    scene_write(scene.near[0], "hello");
    scene_end(scene.near[0]);
    scene_end(scene.near[1]);
    while (!due) {
        CHECK_INT(qio_loop_next(scene.ctx, &event, 1, -1, &due, NULL), ==, 0);
    }
    scene_read(scene.near[1], "hello");
    CHECK(qio_task_is_done(scene.task));
    scene_run(&scene);
    scene_drop(&scene);
}

/* ---- the filter ---- */

typedef struct Filter {
    Scene *scene;
    int calls[2];
    int ends[2];
    int destroyed;
    size_t grow;            /* times that each chunk is given again */
    int fail_at;            /* which call fails, from 1 */
    bool cancel;
} Filter;

static int upper(QIOTask *task, unsigned direction, const void *buf, size_t len, gpointer opaque,
                 Error **errp)
{
    Filter *filter = opaque;
    char *text;

    CHECK(qio_loop_is_dispatching(filter->scene->ctx));
    CHECK_INT(direction, <, 2);
    filter->calls[direction]++;
    if (filter->calls[direction] == filter->fail_at) {
        qio_error_set(errp, QIO_ERROR_PROTOCOL, "no such word");
        return -1;
    }
    if (filter->cancel) {
        CHECK(qio_task_cancel(task));
    }
    if (len == 0) {
        filter->ends[direction]++;
        return direction == 0 ? qio_relay_put(task, "(end)", 5, errp) + 1 : 0;
    }
    if (direction == 1) {
        return 0;
    }
    text = g_ascii_strup(buf, (gssize)len);
    for (size_t i = 0; i <= filter->grow; i++) {
        if (qio_relay_put(task, text, len, errp) < 0) {
            g_free(text);
            return -1;
        }
    }
    g_free(text);
    return 1;
}

static void filter_gone(gpointer opaque)
{
    ((Filter *)opaque)->destroyed++;
}

static void start_filtered(Scene *scene, Filter *filter)
{
    filter->scene = scene;
    scene_start(scene);
    CHECK_INT(qio_relay_set_filter(scene->task, upper, filter, filter_gone, NULL), ==, 0);
}

TEST(a_filter_sees_and_changes_everything)
{
    Filter filter = { 0 };
    Scene scene;
    Error *err = NULL;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    scene_write(scene.near[0], "hello");
    scene_settle(&scene);
    scene_read(scene.near[1], "HELLO");
    scene_write(scene.near[1], "plain");
    scene_settle(&scene);
    scene_read(scene.near[0], "plain");
    CHECK_INT(qio_relay_put(scene.task, "x", 1, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_INVAL);
    scene_end(scene.near[0]);
    scene_end(scene.near[1]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_read(scene.near[1], "(end)");
    CHECK_INT(filter.calls[0], ==, 2);
    CHECK_INT(filter.calls[1], ==, 2);
    CHECK_INT(filter.ends[0], ==, 1);
    CHECK_INT(filter.ends[1], ==, 1);
    scene_check_counts(&scene, 10, 5);
    scene_settle(&scene);
    CHECK_INT(filter.destroyed, ==, 1);
    scene_drop(&scene);
}

/* A thousand times what came in waits for the far side, and nothing more is read meanwhile. */
TEST(what_a_filter_gives_pushes_back)
{
    Filter filter = { .grow = 999 };
    static char buf[65536];
    size_t got = 0;
    Scene scene;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    CHECK_INT(qio_channel_write_all(scene.near[0], memset(buf, 'a', 4000), 4000, NULL), ==, 0);
    scene_settle(&scene);
    CHECK_INT(filter.calls[0], ==, 1);
    scene_write(scene.near[0], "a");
    scene_settle(&scene);
    CHECK_INT(filter.calls[0], ==, 1);
    check_quiet(scene.ctx);
    while (got < 4001000) {
        ssize_t n = qio_channel_try_read(scene.near[1], buf, sizeof(buf), NULL);

        CHECK_INT(n, >, 0);
        CHECK_INT(buf[n - 1], ==, 'A');
        got += (size_t)n;
        scene_settle(&scene);
    }
    CHECK_INT(filter.calls[0], ==, 2);
    qio_task_cancel(scene.task);
    scene_run(&scene);
    scene_drop(&scene);
    CHECK_INT(filter.destroyed, ==, 1);
}

TEST(a_filter_that_gives_too_much_is_stopped)
{
    Filter filter = { .grow = 20000 };
    char buf[1000];
    Scene scene;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    memset(buf, 'a', sizeof(buf));
    CHECK_INT(qio_channel_write_all(scene.near[0], buf, sizeof(buf), NULL), ==, 0);
    scene_run(&scene);
    CHECK_INT(scene_code(&scene), ==, QIO_ERROR_LIMIT);
    scene_drop(&scene);
}

TEST(a_filter_that_fails_ends_it_and_the_chunk_stays)
{
    Filter filter = { .fail_at = 2 };
    Error *err = NULL;
    Scene scene;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    scene_write(scene.near[0], "one");
    scene_settle(&scene);
    scene_write(scene.near[0], "two");
    scene_run(&scene);
    CHECK(qio_task_propagate_error(scene.task, &err));
    CHECK_STR(qio_error_get_pretty(err), "no such word");
    CHECK_INT(code_of(err), ==, QIO_ERROR_PROTOCOL);
    scene_read(scene.near[1], "ONE");
    scene_read(scene.ends[0], "two");
    scene_drop(&scene);
    CHECK_INT(filter.destroyed, ==, 1);
}

/* What it gave for the last chunk is neither here nor there, and is told of. */
TEST(a_filter_may_cancel)
{
    Filter filter = { .cancel = true };
    uint64_t lost;
    Scene scene;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    scene_write(scene.near[0], "gone");
    scene_run(&scene);
    CHECK_INT(scene_code(&scene), ==, QIO_ERROR_CANCELLED);
    CHECK_INT(qio_relay_get_lost(scene.task, &lost, NULL, NULL), ==, 0);
    CHECK_INT(lost, ==, 4);
    scene_drop(&scene);
    CHECK_INT(filter.destroyed, ==, 1);
}

TEST(a_filter_comes_before_the_first_step_and_once)
{
    Filter filter = { 0 }, late = { 0 };
    Error *err = NULL;
    Scene scene;

    scene_open(&scene);
    start_filtered(&scene, &filter);
    CHECK_INT(qio_relay_set_filter(scene.task, upper, &late, filter_gone, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
    err = NULL;
    CHECK_INT(late.destroyed, ==, 1);
    qio_task_cancel(scene.task);
    scene_run(&scene);
    qio_task_unref(scene.task);
    scene.calls = 0;
    scene_start(&scene);
    scene_settle(&scene);
    CHECK_INT(qio_relay_set_filter(scene.task, upper, &late, filter_gone, &err), ==, -1);
    CHECK_INT(code_of(err), ==, QIO_ERROR_BUSY);
    CHECK_INT(late.destroyed, ==, 2);
    qio_task_cancel(scene.task);
    scene_run(&scene);
    scene_drop(&scene);
    CHECK_INT(filter.destroyed, ==, 1);
}
