/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-relay.c: what a relay carries, both ways, between channels of any kind.
 */
#include "line.h"
#include "relay-util.h"
#include "scripted.h"

#include <fcntl.h>
#include <qio/channel-buffer.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>

/* Which way is taken. */
static void copying(Scene *scene)
{
    /* Bytes that are read ahead, and a filter, forbid splicing; a shared socket does too. */
    for (int i = 0; i < 2; i++) {
        int fd = qio_channel_take_fd(scene->ends[i], NULL);

        qio_object_unref(scene->ends[i]);
        scene->ends[i] = QIO_CHANNEL(qio_channel_socket_new_fd(fd, NULL));
    }
}

static void both_ways(bool copy)
{
    Scene scene;

    scene_open(&scene);
    if (copy) {
        copying(&scene);
    }
    scene_start(&scene);
    scene_write(scene.near[0], "hello");
    scene_settle(&scene);
    scene_read(scene.near[1], "hello");
    scene_write(scene.near[1], "and back");
    scene_write(scene.near[0], "more");
    scene_settle(&scene);
    scene_read(scene.near[0], "and back");
    scene_read(scene.near[1], "more");
    scene_check_counts(&scene, 9, 8);
    check_quiet(scene.ctx);

    /* The end goes through, and the other way goes on. */
    scene_end(scene.near[0]);
    scene_settle(&scene);
    CHECK_INT(qio_channel_read(scene.near[1], (char[1]) { 0 }, 1, NULL), ==, 0);
    CHECK(!qio_task_is_done(scene.task));
    scene_write(scene.near[1], "late");
    scene_settle(&scene);
    scene_read(scene.near[0], "late");
    check_quiet(scene.ctx);
    scene_end(scene.near[1]);
    scene_run(&scene);
    CHECK_INT(qio_channel_read(scene.near[0], (char[1]) { 0 }, 1, NULL), ==, 0);
    scene_check_good(&scene);
    scene_check_counts(&scene, 9, 12);
    scene_drop(&scene);
}

TEST(both_ways_by_copying)
{
    seam_install();
    both_ways(true);
    CHECK_INT(seam_hits(SEAM_splice), ==, 0);
    seam_remove();
}

TEST(both_ways_by_splicing)
{
    both_ways(false);
}

TEST(plain_descriptors_are_spliced)
{
    Scene scene;

    scene_open(&scene);
    scene_start(&scene);
    seam_install();
    scene_write(scene.near[0], "hello");
    scene_settle(&scene);
    CHECK_INT(seam_hits(SEAM_splice), >=, 2);
    CHECK_INT(seam_hits(SEAM_recv), ==, 0);
    seam_remove();
    scene_read(scene.near[1], "hello");
    CHECK(fcntl(qio_channel_get_fd(scene.ends[0], NULL), F_GETFL) & O_NONBLOCK);
    qio_task_cancel(scene.task);
    scene_run(&scene);
    CHECK_INT(scene_code(&scene), ==, QIO_ERROR_CANCELLED);
    /* O_NONBLOCK was a loan. */
    CHECK(!(fcntl(qio_channel_get_fd(scene.ends[0], NULL), F_GETFL) & O_NONBLOCK));
    CHECK(!(fcntl(qio_channel_get_fd(scene.ends[1], NULL), F_GETFL) & O_NONBLOCK));
    scene_drop(&scene);
}

/* What splice refuses is copied, with what it has taken in already. */
TEST(a_splice_that_fails_halfway)
{
    for (int hit = 1; hit <= 3; hit++) {
        Scene scene;

        test_note("%d", hit);
        scene_open(&scene);
        scene_start(&scene);
        seam_install();
        seam_fail(SEAM_splice, hit, SEAM_ALWAYS, EINVAL);
        scene_write(scene.near[0], "hello");
        scene_settle(&scene);
        scene_write(scene.near[0], "again");
        scene_settle(&scene);
        seam_remove();
        scene_read(scene.near[1], "helloagain");
        scene_check_counts(&scene, 10, 0);
        qio_channel_close(scene.near[0], NULL);
        qio_channel_close(scene.near[1], NULL);
        scene_run(&scene);
        scene_check_good(&scene);
        scene_drop(&scene);
    }
}

TEST(what_was_read_ahead_comes_first)
{
    Scene scene;
    char byte;

    scene_open(&scene);
    scene_write(scene.near[0], "peeked");
    CHECK_INT(qio_channel_peek(scene.ends[0], &byte, 1, NULL), ==, 1);
    scene_start(&scene);
    scene_write(scene.near[0], " and not");
    scene_settle(&scene);
    scene_read(scene.near[1], "peeked and not");
    qio_task_cancel(scene.task);
    scene_run(&scene);
    scene_drop(&scene);
}

/* Nobody reads at the far end: what is held is bounded, and the near end feels it. */
static void push_back(bool copy)
{
    static char block[100000], got[100000];
    size_t sent = 0, received = 0;
    Scene scene;
    ssize_t n;

    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = (char)(i * 31 % 251);
    }
    scene_open(&scene);
    if (copy) {
        copying(&scene);
    }
    CHECK_INT(qio_options_set_int(scene.options, "buffer", 10000, NULL), ==, 0);
    scene_start(&scene);
    do {
        n = qio_channel_try_write(scene.near[0], block + sent % 1000, 90000, NULL);
        sent += n > 0 ? (size_t)n : 0;
        scene_settle(&scene);
        CHECK_INT(sent, <, 16 << 20);
    } while (n > 0);
    check_quiet(scene.ctx);
    scene_end(scene.near[0]);
    do {
        n = qio_channel_try_read(scene.near[1], got, sizeof(got), NULL);
        received += n > 0 ? (size_t)n : 0;
        scene_settle(&scene);
    } while (n > 0);
    CHECK_INT(received, ==, sent);
    scene_end(scene.near[1]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_check_counts(&scene, sent, 0);
    scene_drop(&scene);
}

TEST(back_pressure_by_copying)
{
    push_back(true);
}

TEST(back_pressure_by_splicing)
{
    push_back(false);
}

/* ---- kinds of channels ---- */

static void feed_line(Line *line, const char *text)
{
    if (line->feed >= 0) {
        CHECK_INT(write(line->feed, text, strlen(text)), ==, strlen(text));
    }
}

static void drain_line(Line *line, const char *text)
{
    char buf[64];

    if (line->drain >= 0) {
        CHECK_INT(read(line->drain, buf, sizeof(buf)), ==, strlen(text));
        CHECK_MEM(buf, text, strlen(text));
    }
}

/* Each class against a socket, as either end. */
static void check_kind(const LineKind *kind, int end)
{
    Scene scene;
    Line line;

    scene_open(&scene);
    line_make(&line, kind);
    qio_object_unref(scene.ends[end]);
    scene.ends[end] = line.ioc;
    /* A file, a buffer and the null channel are at their end at once, and end the socket's
     * reading side. */
    scene_start(&scene);
    feed_line(&line, "in");
    if (strcmp(kind->name, "pipe to read") != 0) {
        scene_write(scene.near[!end], "out");
    }
    scene_settle(&scene);
    drain_line(&line, "out");
    if (line.feed >= 0) {
        scene_read(scene.near[!end], "in");
    }
    line_end_feed(&line);
    scene_end(scene.near[!end]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene.ends[end] = NULL;
    line_drop(&line);
    scene_drop(&scene);
}

TEST(every_kind_at_either_end)
{
    for (const LineKind *kind = line_kinds; kind->name; kind++) {
        for (int end = 0; end < 2; end++) {
            test_note("%s %d", kind->name, end);
            check_kind(kind, end);
        }
    }
}

TEST(from_a_file_into_a_file)
{
    char *names[] = { g_build_filename(test_dir(), "from", NULL),
                      g_build_filename(test_dir(), "to", NULL) };
    Scene scene;
    char *text = g_strnfill(300000, 'x'), *got;
    size_t len;

    CHECK(g_file_set_contents(names[0], text, 300000, NULL));
    scene_open(&scene);
    for (int i = 0; i < 2; i++) {
        qio_object_unref(scene.ends[i]);
        scene.ends[i] = QIO_CHANNEL(qio_channel_file_new_path(
            names[i], i == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0600, NULL));
    }
    scene_start(&scene);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_check_counts(&scene, 300000, 0);
    scene_drop(&scene);
    CHECK(g_file_get_contents(names[1], &got, &len, NULL));
    CHECK_INT(len, ==, 300000);
    CHECK_MEM(got, text, len);
    g_free(got);
    g_free(text);
    g_free(names[0]);
    g_free(names[1]);
}

TEST(a_command_filters_a_stream)
{
    const char *const argv[] = { "sort", NULL };
    QIOCommandOptions options = { .flags = O_RDWR, .search_path = true, .close_timeout_ms = -1 };
    Scene scene;
    char buf[20];

    scene_open(&scene);
    qio_object_unref(scene.ends[1]);
    scene.ends[1] = QIO_CHANNEL(qio_channel_command_new_full(argv, &options, NULL));
    CHECK_PTR(scene.ends[1], !=, NULL);
    scene_start(&scene);
    scene_write(scene.near[0], "b\nc\na\n");
    scene_end(scene.near[0]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_check_counts(&scene, 6, 6);
    CHECK_INT(qio_channel_read_all(scene.near[0], buf, 6, NULL), ==, 0);
    CHECK_MEM(buf, "a\nb\nc\n", 6);
    CHECK_INT(qio_channel_close(scene.ends[1], NULL), ==, 0);
    scene_drop(&scene);
}

/* What can only be written is not waited for. */
TEST(a_command_that_only_takes)
{
    const char *const argv[] = { "/bin/cat", NULL };
    Scene scene;

    scene_open(&scene);
    qio_object_unref(scene.ends[1]);
    scene.ends[1] = QIO_CHANNEL(qio_channel_command_new_spawn(argv, O_WRONLY, NULL));
    CHECK_PTR(scene.ends[1], !=, NULL);
    scene_start(&scene);
    scene_write(scene.near[0], "gone");
    scene_end(scene.near[0]);
    scene_run(&scene);
    scene_check_good(&scene);
    scene_check_counts(&scene, 4, 0);
    CHECK_INT(qio_channel_close(scene.ends[1], NULL), ==, 0);
    scene_drop(&scene);
}

/* A channel without a descriptor wakes the relay by notifying. */
TEST(a_channel_in_memory)
{
    Scripted *script = scripted_new();
    Scene scene;

    scene_open(&scene);
    qio_object_unref(scene.ends[0]);
    scene.ends[0] = &script->parent;
    script->write_room = 3;
    scripted_text(script, "one");
    scripted_step(script, STEP_STALL);
    scripted_text(script, "two");
    scripted_step(script, STEP_END);
    scene_start(&scene);
    scene_settle(&scene);
    scene_read(scene.near[1], "one");
    check_quiet(scene.ctx);
    scripted_go(script);
    scene_settle(&scene);
    scene_read(scene.near[1], "two");
    CHECK_INT(qio_channel_read(scene.near[1], (char[1]) { 0 }, 1, NULL), ==, 0);
    scene_write(scene.near[1], "eleven bytes");
    scene_end(scene.near[1]);
    scene_run(&scene);
    scene_check_good(&scene);
    CHECK_INT(script->written->len, ==, 12);
    CHECK_MEM(script->written->data, "eleven bytes", 12);
    scene_drop(&scene);
}

TEST(an_error_of_one_side_names_the_direction)
{
    Scripted *script = scripted_new();
    Error *err = NULL;
    Scene scene;

    scene_open(&scene);
    qio_object_unref(scene.ends[1]);
    scene.ends[1] = &script->parent;
    scripted_text(script, "part");
    scripted_step(script, STEP_ERROR);
    scene_start(&scene);
    scene_run(&scene);
    CHECK(qio_task_propagate_error(scene.task, &err));
    CHECK_STR_HAS(qio_error_get_pretty(err), "b to a: ");
    CHECK_INT(qio_error_get_errno(err), ==, ECONNRESET);
    qio_error_free(err);
    scene_read(scene.near[0], "part");
    scene_check_counts(&scene, 0, 4);
    scene_drop(&scene);
}

TEST(who_is_gone_breaks_the_pipe_and_no_signal_comes)
{
    for (int copy = 0; copy < 2; copy++) {
        Error *err = NULL;
        Scene scene;

        scene_open(&scene);
        if (copy) {
            copying(&scene);
        }
        scene_start(&scene);
        scene_settle(&scene);
        CHECK_INT(qio_channel_shutdown(scene.near[1], QIO_CHANNEL_SHUTDOWN_READ, NULL), ==, 0);
        scene_write(scene.near[0], "lost?");
        scene_run(&scene);
        CHECK(qio_task_propagate_error(scene.task, &err));
        CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
        qio_error_free(err);
        /* It is still there for whoever reads next. */
        scene_read(scene.ends[0], "lost?");
        scene_drop(&scene);
    }
}
