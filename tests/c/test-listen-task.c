/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-listen-task.c: listening by URI in a loop.
 *
 * Owns: that such an operation ends once, whichever way, that what nobody takes is closed, and that
 * the loop goes on while a name is looked up.
 */
#include "loop-util.h"
#include "names.h"
#include "net/net-priv.h"

#include <qio/channel-websock.h>
#include <stdio.h>

/* What became of a task. */
typedef struct Story {
    AioContext *ctx;
    int called, destroyed;
    bool closing;
    Error *err;
    QIONetListener *listener;
    QIOTask *task;
} Story;

static void on_end(QIOTask *task, gpointer opaque)
{
    Story *story = opaque;

    CHECK_INT(story->called++, ==, 0);
    CHECK(story->closing || qio_loop_is_dispatching(story->ctx));
    if (!qio_task_propagate_error(task, &story->err)) {
        story->listener = qio_task_take_result(task);
    }
}

static void on_destroy(gpointer opaque)
{
    Story *story = opaque;

    CHECK_INT(story->called, ==, 1);
    story->destroyed++;
}

static void begin(Story *story)
{
    *story = (Story) { .ctx = new_loop() };
}

/* Until its function has run. */
static void dispatch_to_end(Story *story)
{
    while (story->destroyed == 0) {
        CHECK_INT(qio_aio_context_dispatch(story->ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(story->called, ==, 1);
}

static void end(Story *story)
{
    qio_object_unref(story->listener);
    qio_error_free(story->err);
    qio_task_unref(story->task);
    qio_aio_context_unref(story->ctx);
}

static void check_failed(Story *story, QIOErrorCode code, const char *part)
{
    CHECK_PTR(story->listener, ==, NULL);
    CHECK_INT(qio_error_get_code(story->err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(story->err), part);
}

static void listen_in_loop(Story *story, const char *uri)
{
    begin(story);
    story->task = qio_net_listener_open_uri_task(uri, NULL, story->ctx, on_end, story, on_destroy);
}

/* Every address of the name, and clients have the layers. */
TEST(listening_by_uri)
{
    QIONetListener *listener;
    QIOChannel *client, *accepted;
    QIOAddress *addr;
    char *first, *second, uri[60];
    Story story;

    names_install();
    names_answer("name", 0, "127.0.0.2 127.0.0.1");
    listen_in_loop(&story, "ws+tcp://name:0?name=n");
    dispatch_to_end(&story);
    CHECK_PTR(story.err, ==, NULL);
    listener = story.listener;
    first = qio_net_listener_get_uri(listener, 0, NULL);
    second = qio_net_listener_get_uri(listener, 1, NULL);
    CHECK_STR_HAS(first, "ws://127.0.0.2:");
    CHECK_STR_HAS(second, "ws://127.0.0.1:");
    CHECK_STR(strrchr(first, ':'), strrchr(second, ':'));

    snprintf(uri, sizeof(uri), "tcp://127.0.0.1%s", strrchr(second, ':'));
    client = (QIOChannel *)qio_channel_socket_new();
    addr = qio_address_parse(uri, NULL);
    CHECK_INT(qio_channel_socket_connect_sync((QIOChannelSocket *)client, addr, NULL), ==, 0);
    accepted = qio_net_listener_accept_channel(listener, 20000, false, NULL);
    CHECK_STR(qio_object_get_typename((Object *)accepted), TYPE_QIO_CHANNEL_WEBSOCK);
    qio_object_unref(accepted);
    qio_object_unref(client);
    qio_address_free(addr);
    g_free(first);
    g_free(second);
    end(&story);
}

TEST(what_cannot_be_listened_on)
{
    Story story;

    names_install();
    listen_in_loop(&story, "null:");
    dispatch_to_end(&story);
    check_failed(&story, QIO_ERROR_INVAL, "cannot be listened on");
    end(&story);
    listen_in_loop(&story, "nonsense:");
    dispatch_to_end(&story);
    check_failed(&story, QIO_ERROR_INVAL, "nonsense");
    end(&story);
    listen_in_loop(&story, "tcp://none:0");
    dispatch_to_end(&story);
    check_failed(&story, QIO_ERROR_RESOLVE, "none");
    end(&story);
}

/* The loop goes on while a name hangs: the deadline is kept, and it can be given up. */
TEST(listening_on_a_name_that_hangs)
{
    Story story;

    names_install();
    names_answer("slow", 0, "127.0.0.1");
    for (int cancel = 0; cancel < 2; cancel++) {
        names_hold("slow");
        listen_in_loop(&story, cancel ? "tcp://slow:0" : "tcp://slow:0?timeout=0.05");
        if (cancel) {
            qio_aio_context_dispatch(story.ctx, 0, NULL);
            names_wait_held(1);
            CHECK(qio_task_cancel(story.task));
        }
        dispatch_to_end(&story);
        check_failed(&story, cancel ? QIO_ERROR_CANCELLED : QIO_ERROR_TIMEOUT, "");
        names_release();
        names_settle();
        end(&story);
    }
}

/* A listener that nobody takes is closed, and so is one whose loop is. */
TEST(a_listener_that_nobody_takes)
{
    char directory[] = "/tmp/test-open-task-XXXXXX";
    char path[60], uri[80];
    Story story;

    CHECK_PTR(mkdtemp(directory), ==, directory);
    snprintf(path, sizeof(path), "%s/socket", directory);
    snprintf(uri, sizeof(uri), "unix:%s", path);
    begin(&story);
    story.task = qio_net_listener_open_uri_task(uri, NULL, story.ctx, NULL, NULL, NULL);
    CHECK_INT(qio_task_wait(story.task, 20000, NULL), ==, 1);
    CHECK_INT(access(path, F_OK), ==, 0);
    end(&story);
    CHECK_INT(access(path, F_OK), ==, -1);
    listen_in_loop(&story, uri);
    story.closing = true;
    CHECK_INT(qio_aio_context_close(story.ctx, NULL), ==, 0);
    check_failed(&story, QIO_ERROR_CANCELLED, "");
    end(&story);
    CHECK_INT(rmdir(directory), ==, 0);
}
