/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-queued.c: queued channels: which events come and when, the bounds of both ways, every
 * end from either side, who may block where, and layers on top.
 *
 * Owns: a loop and a queued channel, asked and answered by the test itself.
 */
#include <errno.h>
#include <pthread.h>
#include <qio/qioh.h>

#include "runner.h"

enum { COOKIE = 77 };

typedef struct Scene {
    qioh_loop *loop;
    qioh_channel *channel;
} Scene;

static void scene_make(Scene *scene)
{
    scene->loop = qioh_loop_new(NULL);
    scene->channel = qioh_channel_new_queued(scene->loop, COOKIE, NULL);
    CHECK(scene->channel != NULL);
    CHECK_INT(qioh_channel_get_kind(scene->channel, NULL), ==, QIOH_CHANNEL_QUEUED);
    CHECK_INT(qioh_channel_set_blocking(scene->channel, 0, NULL), ==, 0);
}

static void scene_end(Scene *scene)
{
    qioh_channel_unref(scene->channel);
    qioh_loop_unref(scene->loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* The next event, which has to be there: its kind. */
static uint32_t next(Scene *scene, qioh_event *event)
{
    event->struct_size = sizeof(*event);
    CHECK_INT(qioh_loop_next_events(scene->loop, event, 1, 10000, NULL), ==, 1);
    CHECK_INT(event->cookie, ==, COOKIE);
    return event->kind;
}

static void check_quiet(Scene *scene)
{
    qioh_event event = { .struct_size = sizeof(event) };

    CHECK_INT(qioh_loop_next_events(scene->loop, &event, 1, 0, NULL), ==, 0);
}

/* ---- reading ---- */

TEST(a_read_that_finds_nothing_is_told_once_with_its_size)
{
    qioh_event event;
    char buf[100];
    Scene scene;

    scene_make(&scene);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 10, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_READ);
    CHECK_INT(event.bytes, ==, 10);
    CHECK_PTR(event.channel, ==, scene.channel);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 20, NULL), ==, QIOH_E_AGAIN);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, "hello", 5, NULL), ==, 5);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 3, NULL), ==, 3);
    CHECK_MEM(buf, "hel", 3);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 100, NULL), ==, 2);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 100, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_READ);
    CHECK_INT(event.bytes, ==, 100);
    scene_end(&scene);
}

TEST(who_waits_to_read_wants_the_whole_room)
{
    qioh_event event;
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_IN, 0, NULL), ==, 0);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_READ);
    CHECK_INT(event.bytes, ==, QIOH_QUEUED_ROOM);
    CHECK_INT(qioh_channel_push(scene.channel, "x", 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
    check_quiet(&scene);
    scene_end(&scene);
}

/* A watch asks for bytes as soon as it is there, and again when they were read up. */
TEST(a_queued_watch_and_the_requests_it_makes_come_from_one_loop)
{
    qioh_event event;
    qioh_watch *watch;
    char buf[8];
    Scene scene;

    scene_make(&scene);
    watch = qioh_watch_new_queued(scene.loop, scene.channel, QIOH_IN, COOKIE, NULL);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_READ);
        check_quiet(&scene);
        CHECK_INT(qioh_channel_push(scene.channel, "abc", 3, NULL), ==, 3);
        CHECK_INT(next(&scene, &event), ==, QIOH_EV_WATCH);
        CHECK_INT(event.condition, ==, QIOH_IN);
        CHECK_INT(next(&scene, &event), ==, QIOH_EV_WATCH);
        CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 3);
    }
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    qioh_watch_unref(watch);
    scene_end(&scene);
}

TEST(a_push_takes_what_there_is_room_for)
{
    static char block[QIOH_QUEUED_ROOM + 10], back[QIOH_QUEUED_ROOM + 10];
    qioh_event event;
    Scene scene;

    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = (char)(i * 7 + i / 251);
    }
    scene_make(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, block, 10, NULL), ==, 10);
    CHECK_INT(qioh_channel_read(scene.channel, back, 10, NULL), ==, 10);
    CHECK_INT(qioh_channel_push(scene.channel, block, sizeof(block), NULL), ==, QIOH_QUEUED_ROOM);
    CHECK_INT(qioh_channel_push(scene.channel, block, 1, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_push(scene.channel, NULL, 0, NULL), ==, 0);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_read(scene.channel, back, sizeof(back), NULL), ==, QIOH_QUEUED_ROOM);
    CHECK_MEM(back, block, QIOH_QUEUED_ROOM);
    CHECK_INT(qioh_channel_read(scene.channel, back, 1, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_READ);
    CHECK_INT(qioh_channel_push(scene.channel, block, 1, NULL), ==, 1);
    scene_end(&scene);
}

/* ---- writing ---- */

TEST(bytes_that_wait_are_told_once_and_again_after_a_pull_that_left_some)
{
    qioh_event event;
    char buf[16];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 16, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_write(scene.channel, "hello ", 6, NULL), ==, 6);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.bytes, ==, 6);
    CHECK_INT(event.condition, ==, 0);
    CHECK_INT(qioh_channel_write(scene.channel, "world", 5, NULL), ==, 5);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 8);
    CHECK_MEM(buf, "hello wo", 8);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.bytes, ==, 3);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 3);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_write(scene.channel, "!", 1, NULL), ==, 1);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    scene_end(&scene);
}

/* 0 is what the end looks like. */
TEST(nothing_is_pushed_at_will_and_never_pulled)
{
    qioh_error error = { 0 };
    char buf[8];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, NULL, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 0, &error), ==, QIOH_E_INVAL);
    CHECK(strncmp(error.message, "len is 0", 8) == 0);
    CHECK_INT(qioh_channel_write(scene.channel, "abc", 3, NULL), ==, 3);
    CHECK_INT(qioh_channel_pull(scene.channel, NULL, 0, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_shutdown(scene.channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 0, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 3);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 0, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 0);
    scene_end(&scene);
}

TEST(a_writer_that_nobody_pulls_from_would_block)
{
    static char block[QIOH_QUEUED_ROOM + 10];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_OUT, 0, NULL), ==, QIOH_OUT);
    CHECK_INT(qioh_channel_write(scene.channel, block, sizeof(block), NULL), ==,
              QIOH_QUEUED_ROOM);
    CHECK_INT(qioh_channel_write(scene.channel, block, 1, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_OUT, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_pull(scene.channel, block, 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_OUT, 0, NULL), ==, QIOH_OUT);
    CHECK_INT(qioh_channel_write(scene.channel, block, 2, NULL), ==, 1);
    scene_end(&scene);
}

/* A flood of one kind does not hide the other. */
TEST(both_kinds_of_request_get_their_turn)
{
    unsigned seen[QIOH_EV_DISPATCH + 1] = { 0 };
    qioh_event event;
    char buf[4];
    Scene scene;

    scene_make(&scene);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(qioh_channel_read(scene.channel, buf, 4, NULL), ==, QIOH_E_AGAIN);
        CHECK_INT(qioh_channel_write(scene.channel, "ab", 2, NULL), ==, 2);
        for (int turn = 0; turn < 2; turn++) {
            seen[next(&scene, &event)]++;
        }
        CHECK_INT(qioh_channel_pull(scene.channel, buf, 4, NULL), ==, 2);
        CHECK_INT(qioh_channel_push(scene.channel, buf, 1, NULL), ==, 1);
        CHECK_INT(qioh_channel_read(scene.channel, buf, 4, NULL), ==, 1);
    }
    CHECK_INT(seen[QIOH_EV_CUSTOM_READ], ==, 10);
    CHECK_INT(seen[QIOH_EV_CUSTOM_WRITE], ==, 10);
    scene_end(&scene);
}

/* ---- ends ---- */

TEST(the_end_comes_after_what_was_pushed)
{
    char buf[8];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, "end", 3, NULL), ==, 3);
    CHECK_INT(qioh_channel_push_end(scene.channel, 0, NULL, NULL), ==, 0);
    CHECK_INT(qioh_channel_push_end(scene.channel, 0, NULL, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_push(scene.channel, "x", 1, NULL), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 3);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 0);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_write(scene.channel, "still", 5, NULL), ==, 5);
    scene_end(&scene);
}

TEST(reads_fail_with_the_code_and_the_message_that_were_pushed)
{
    static const struct {
        int32_t code;
        const char *message, *expected;
    } rows[] = {
        { QIOH_E_PROTOCOL, "the far end talks nonsense", "the far end talks nonsense" },
        { QIOH_E_SYSTEM, "line cut", "line cut" },
        { QIOH_E_TLS_TRUNCATED, NULL, "QIOH_E_TLS_TRUNCATED" },
    };
    qioh_error error;
    char buf[8];
    Scene scene;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        scene_make(&scene);
        CHECK_INT(qioh_channel_push(scene.channel, "a", 1, NULL), ==, 1);
        CHECK_INT(qioh_channel_push_end(scene.channel, rows[i].code, rows[i].message, NULL), ==,
                  0);
        CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 1);
        for (int again = 0; again < 2; again++) {
            memset(&error, 0, sizeof(error));
            CHECK_INT(qioh_channel_read(scene.channel, buf, 8, &error), ==, rows[i].code);
            CHECK_STR(error.message, rows[i].expected);
        }
        scene_end(&scene);
    }
}

TEST(an_end_with_a_code_that_is_none_is_refused)
{
    static const int32_t codes[] = { 1, QIOH_E_AGAIN, QIOH_E_TLS_TRUNCATED - 1, INT32_MIN };
    qioh_error error = { 0 };
    Scene scene;

    scene_make(&scene);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        CHECK_INT(qioh_channel_push_end(scene.channel, codes[i], "no", &error), ==, QIOH_E_INVAL);
        CHECK_STR_HAS(error.message, "code is");
    }
    CHECK_INT(qioh_channel_push(scene.channel, "x", 1, NULL), ==, 1);
    scene_end(&scene);
}

TEST(a_close_leaves_what_was_written_and_is_told_then_released)
{
    qioh_event event;
    char buf[8];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_write(scene.channel, "last", 4, NULL), ==, 4);
    CHECK_INT(qioh_channel_close(scene.channel, NULL), ==, 0);
    CHECK_INT(qioh_channel_close(scene.channel, NULL), ==, 0);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.condition & QIOH_NVAL, ==, QIOH_NVAL);
    CHECK_INT(event.bytes, ==, 4);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_RELEASED);
    CHECK_PTR(event.channel, ==, scene.channel);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, "x", 1, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_push_end(scene.channel, 0, NULL, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 4);
    CHECK_MEM(buf, "last", 4);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 0);
    CHECK_INT(qioh_channel_get_kind(scene.channel, NULL), ==, QIOH_CHANNEL_QUEUED);
    scene_end(&scene);
}

/* Nobody kept a reference for the answers: it ends, and says so. */
TEST(the_last_unref_closes_and_releases)
{
    qioh_event event;
    Scene scene;

    scene_make(&scene);
    qioh_channel_unref(scene.channel);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.condition & QIOH_NVAL, ==, QIOH_NVAL);
    CHECK_INT(qioh_channel_pull(event.channel, NULL, 0, NULL), ==, QIOH_E_BADHANDLE);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_RELEASED);
    check_quiet(&scene);
    qioh_loop_unref(scene.loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

TEST(a_shutdown_of_the_writer_is_told_and_pulled_as_the_end)
{
    qioh_error error = { 0 };
    qioh_event event;
    char buf[8];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_has_feature(scene.channel, QIOH_FEATURE_SHUTDOWN, NULL), ==, 1);
    CHECK_INT(qioh_channel_write(scene.channel, "bye", 3, NULL), ==, 3);
    CHECK_INT(qioh_channel_shutdown(scene.channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.condition, ==, QIOH_HUP);
    CHECK_INT(event.bytes, ==, 3);
    CHECK_INT(qioh_channel_write(scene.channel, "x", 1, &error), ==, QIOH_E_SYSTEM);
    CHECK_INT(error.sys_errno, ==, EPIPE);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 3);
    CHECK_INT(next(&scene, &event), ==, QIOH_EV_CUSTOM_WRITE);
    CHECK_INT(event.bytes, ==, 0);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 0);
    CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 0);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, "more", 4, NULL), ==, 4);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 4);
    scene_end(&scene);
}

TEST(a_shutdown_of_the_reader_is_the_end_of_pushing)
{
    qioh_error error = { 0 };
    char buf[8];
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_push(scene.channel, "unread", 6, NULL), ==, 6);
    CHECK_INT(qioh_channel_shutdown(scene.channel, QIOH_SHUTDOWN_READ, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 0);
    CHECK_INT(qioh_channel_push(scene.channel, "x", 1, &error), ==, QIOH_E_SYSTEM);
    CHECK_INT(error.sys_errno, ==, EPIPE);
    CHECK_INT(qioh_channel_write(scene.channel, "x", 1, NULL), ==, 1);
    scene_end(&scene);
}

TEST(when_the_loop_ends_nobody_answers_any_more)
{
    qioh_error error = { 0 };
    char buf[8];
    Scene scene;

    for (int by_close = 0; by_close < 2; by_close++) {
        scene_make(&scene);
        CHECK_INT(qioh_channel_push(scene.channel, "ab", 2, NULL), ==, 2);
        CHECK_INT(qioh_channel_write(scene.channel, "cd", 2, NULL), ==, 2);
        if (by_close) {
            CHECK_INT(qioh_loop_close(scene.loop, NULL), ==, 0);
        }
        qioh_loop_unref(scene.loop);
        scene.loop = NULL;
        CHECK_INT(qioh_channel_read(scene.channel, buf, 8, NULL), ==, 2);
        CHECK_INT(qioh_channel_wait(scene.channel, QIOH_IN, -1, NULL), ==, QIOH_IN);
        CHECK_INT(qioh_channel_read(scene.channel, buf, 8, &error), ==, QIOH_E_CLOSED);
        CHECK_STR_HAS(error.message, "the loop");
        CHECK_INT(qioh_channel_write(scene.channel, "x", 1, NULL), ==, QIOH_E_CLOSED);
        CHECK_INT(qioh_channel_push(scene.channel, "x", 1, NULL), ==, QIOH_E_CLOSED);
        CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 2);
        CHECK_INT(qioh_channel_pull(scene.channel, buf, 8, NULL), ==, 0);
        scene_end(&scene);
    }
}

TEST(a_closed_loop_and_a_loop_that_is_none_make_no_channel)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };

    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    CHECK(qioh_channel_new_queued(loop, 1, &error) == NULL);
    CHECK_INT(error.code, ==, QIOH_E_CLOSED);
    qioh_loop_unref(loop);
    CHECK(qioh_channel_new_queued(loop, 1, &error) == NULL);
    CHECK_INT(error.code, ==, QIOH_E_BADHANDLE);
    CHECK(qioh_channel_new_queued(NULL, 1, &error) == NULL);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

TEST(other_channels_are_not_answered)
{
    qioh_channel *other = qioh_channel_new_null(NULL);
    qioh_error error = { 0 };
    char buf[4];

    CHECK_INT(qioh_channel_push(other, "x", 1, &error), ==, QIOH_E_WRONGTYPE);
    CHECK_STR_HAS(error.message, "queued");
    CHECK_INT(qioh_channel_push_end(other, 0, NULL, NULL), ==, QIOH_E_WRONGTYPE);
    CHECK_INT(qioh_channel_pull(other, buf, 4, NULL), ==, QIOH_E_WRONGTYPE);
    qioh_channel_unref(other);
}

/* ---- blocking ---- */

TEST(blocking_on_the_thread_that_serves_the_loop_is_busy)
{
    static char block[QIOH_QUEUED_ROOM + 1];
    qioh_error error = { 0 };
    Scene scene;

    scene_make(&scene);
    CHECK_INT(qioh_channel_set_blocking(scene.channel, 1, NULL), ==, 0);
    /* Nobody has served the loop yet, and there is nobody else who could (a sanitizer has a thread
     * of its own). */
    if (!TEST_UNDER_SANITIZER) {
        CHECK_INT(qioh_channel_read(scene.channel, block, 1, &error), ==, QIOH_E_BUSY);
        CHECK_STR_HAS(error.message, "wait");
    }
    scene_end(&scene);

    scene_make(&scene);
    check_quiet(&scene);
    CHECK_INT(qioh_channel_set_blocking(scene.channel, 1, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(scene.channel, block, 1, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_wait(scene.channel, QIOH_IN, -1, NULL), ==, QIOH_E_BUSY);
    memset(&error, 0, sizeof(error));
    CHECK_INT(qioh_channel_write(scene.channel, block, sizeof(block), &error), ==, QIOH_E_BUSY);
    CHECK_INT(error.bytes, ==, QIOH_QUEUED_ROOM);
    scene_end(&scene);
}

/* ---- a loop that another thread closes ---- */

static void *close_loop(void *loop)
{
    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    return NULL;
}

/* Whichever is first: nothing stays behind, and a channel that was made is answered by nobody. */
TEST(made_while_its_loop_is_closed)
{
    for (int i = 0; i < 300; i++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        qioh_channel *channel;
        pthread_t thread;
        char byte;

        CHECK_INT(pthread_create(&thread, NULL, close_loop, loop), ==, 0);
        channel = qioh_channel_new_queued(loop, COOKIE, NULL);
        pthread_join(thread, NULL);
        if (channel) {
            CHECK_INT(qioh_channel_read(channel, &byte, 1, NULL), ==, QIOH_E_CLOSED);
            qioh_channel_unref(channel);
        }
        qioh_loop_unref(loop);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}
