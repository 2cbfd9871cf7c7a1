/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-operation.c: handshakes, the orderly close and the end of a command as operations.
 *
 * Rule: the layer is a small one of the test's own: it begins with "!" each way and ends with "."
 * each way; what it carries does not matter here.
 */
#include "command.h"
#include "loop-util.h"
#include "testclock.h"

#include <pthread.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>
#include "channel/layer.h"

#define TYPE_POLITE "test-polite"

typedef struct Polite {
    QIOChannel parent;
    bool said, heard;               /* of the greeting, then of the farewell */
    bool asks;                      /* its handshake ends with a question to the program */
    int closes;
} Polite;

/* Says a byte and waits for the same one. */
static int exchange(QIOChannel *ioc, uint8_t word, Error **errp)
{
    Polite *polite = (Polite *)ioc;
    uint8_t byte = word;
    struct iovec iov = { &byte, 1 };
    ssize_t n;

    if (!polite->said) {
        n = qio_layer_writev(ioc, &iov, 1, errp);
        if (n != 1) {
            return (int)n;
        }
        polite->said = true;
    }
    n = qio_layer_readv(ioc, &iov, 1, errp);
    if (n < 0) {
        return (int)n;
    }
    if (n == 0 || byte != word) {
        qio_error_set(errp, QIO_ERROR_PROTOCOL, "the other side is rude");
        return -1;
    }
    return 0;
}

static int polite_handshake(QIOChannel *ioc, Error **errp)
{
    Polite *polite = (Polite *)ioc;
    int ret = polite->heard ? 0 : exchange(ioc, '!', errp);

    if (ret == 0) {
        polite->heard = true;
    }
    return ret == 0 && polite->asks ? 1 : ret;
}

static int polite_bye(QIOChannel *ioc, Error **errp)
{
    return exchange(ioc, '.', errp);
}

static ssize_t polite_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                            size_t *nfds, Error **errp)
{
    return qio_layer_readv(ioc, iov, niov, errp);
}

static ssize_t polite_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                             size_t nfds, Error **errp)
{
    return qio_layer_writev(ioc, iov, niov, errp);
}

static int polite_close(QIOChannel *ioc, Error **errp)
{
    ((Polite *)ioc)->closes++;
    return qio_layer_close_below(ioc, errp);
}

static int polite_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return qio_layer_poll(ioc, condition, out, cap);
}

static int polite_advance(QIOChannel *ioc, GIOCondition condition)
{
    QIOChannel *below = qio_layer_below(ioc);

    return below ? qio_channel_wait_deadline(below, condition, 0, false, NULL) : -1;
}

static void polite_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *k = (QIOChannelClass *)klass;

    k->io_readv = polite_readv;
    k->io_writev = polite_writev;
    k->io_close = polite_close;
    k->io_poll = polite_poll;
    k->io_advance = polite_advance;
    k->io_handshake = polite_handshake;
    k->io_bye = polite_bye;
}

static Polite *polite_new(void *below)
{
    static const TypeInfo info = {
        .name = TYPE_POLITE,
        .parent = TYPE_QIO_CHANNEL,
        .instance_size = sizeof(Polite),
        .class_init = polite_class_init,
    };
    Polite *polite;

    qio_type_register_static(&info);
    polite = (Polite *)qio_object_new(TYPE_POLITE);
    CHECK_INT(qio_layer_attach(&polite->parent, NULL, below, NULL), ==, 0);
    qio_object_unref(below);
    return polite;
}

/* ---- a scene ---- */

typedef struct Scene {
    AioContext *ctx;
    Polite *polite;
    QIOChannelSocket *peer;
    int told, code;
} Scene;

static void begin(Scene *scene)
{
    QIOChannelSocket *below, *peer;

    *scene = (Scene) { .ctx = new_loop(), .code = 77 };
    CHECK_INT(qio_channel_socket_new_pair(&below, &peer, NULL), ==, 0);
    scene->polite = polite_new(below);
    scene->peer = peer;
}

static void end(Scene *scene)
{
    check_quiet(scene->ctx);
    qio_aio_context_unref(scene->ctx);
    qio_object_unref(scene->polite);
    qio_object_unref(scene->peer);
}

static void on_end(QIOTask *task, gpointer opaque)
{
    Scene *scene = opaque;
    Error *err = NULL;

    scene->told++;
    scene->code = qio_task_propagate_error(task, &err) ? code_of(err) : 0;
}

static QIOTask *handshake(Scene *scene, int timeout_ms)
{
    return qio_channel_handshake_task(&scene->polite->parent, timeout_ms, scene->ctx, on_end,
                                      scene, NULL);
}

static QIOTask *close_it(Scene *scene, void *ioc, int timeout_ms)
{
    return qio_channel_close_task(ioc, timeout_ms, scene->ctx, on_end, scene, NULL);
}

static void say(Scene *scene, const char *word)
{
    CHECK_INT(qio_channel_write_all((QIOChannel *)scene->peer, word, strlen(word), NULL), ==, 0);
}

static void hear(Scene *scene, const char *word)
{
    char buf[10] = "";

    CHECK_INT(qio_channel_read((QIOChannel *)scene->peer, buf, sizeof(buf) - 1, NULL), ==,
              (ssize_t)strlen(word));
    CHECK_STR(buf, word);
}

/* Dispatches until the task's function was called. */
static void finish(Scene *scene, QIOTask *task, int code)
{
    while (!scene->told) {
        CHECK_INT(qio_aio_context_dispatch(scene->ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(scene->told, ==, 1);
    CHECK_INT(scene->code, ==, code);
    qio_task_unref(task);
}

/* What is due now. */
static void look(Scene *scene)
{
    CHECK_INT(qio_aio_context_dispatch(scene->ctx, 0, NULL), ==, 0);
    CHECK_INT(scene->told, ==, 0);
}

/* ---- handshake ---- */

TEST(handshake_succeeds)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = handshake(&scene, -1);
    CHECK_PTR(qio_task_get_source(task), ==, scene.polite);
    look(&scene);
    hear(&scene, "!");
    look(&scene);
    say(&scene, "!");
    finish(&scene, task, 0);
    /* Once more is done at once. */
    scene.told = 0;
    finish(&scene, handshake(&scene, -1), 0);
    end(&scene);
}

TEST(handshake_under_next)
{
    Scene scene;
    QIOTask *task;
    QIOLoopEvent event;
    bool due = false;

    begin(&scene);
    task = handshake(&scene, -1);
    CHECK_INT(qio_loop_next(scene.ctx, &event, 1, 0, &due, NULL), ==, 0);
    CHECK(!due);
    hear(&scene, "!");
    say(&scene, "!");
    CHECK_INT(qio_loop_next(scene.ctx, &event, 1, -1, &due, NULL), ==, 0);
    CHECK(due);
    CHECK_INT(scene.told, ==, 0);
    finish(&scene, task, 0);
    end(&scene);
}

TEST(handshake_by_waiting)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    scene.polite->asks = true;
    task = handshake(&scene, -1);
    CHECK_INT(qio_task_wait(task, 0, NULL), ==, 0);
    hear(&scene, "!");
    say(&scene, "!");
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    finish(&scene, task, 0);
    end(&scene);
}

TEST(handshake_fails)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = handshake(&scene, -1);
    say(&scene, "?");
    finish(&scene, task, QIO_ERROR_PROTOCOL);
    end(&scene);
}

TEST(handshake_deadline)
{
    Scene scene;
    QIOTask *task;

    testclock_install();
    begin(&scene);
    task = handshake(&scene, 10000);
    finish(&scene, task, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 10000);
    testclock_remove();
    end(&scene);
}

TEST(handshake_cancelled)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = handshake(&scene, -1);
    look(&scene);
    CHECK(qio_task_cancel(task));
    finish(&scene, task, QIO_ERROR_CANCELLED);
    CHECK(!qio_channel_is_closed(&scene.polite->parent));
    end(&scene);
}

static void *close_thread(void *opaque)
{
    CHECK_INT(qio_channel_close(opaque, NULL), ==, 0);
    return NULL;
}

TEST(handshake_of_a_channel_that_is_closed_meanwhile)
{
    for (int round = 0; round < 100; round++) {
        Scene scene;
        QIOTask *task;
        pthread_t closer;

        begin(&scene);
        task = handshake(&scene, -1);
        if (round % 2) {
            look(&scene);
        }
        CHECK_INT(pthread_create(&closer, NULL, close_thread, scene.polite), ==, 0);
        finish(&scene, task, QIO_ERROR_CANCELLED);
        pthread_join(closer, NULL);
        scene.told = 0;
        finish(&scene, handshake(&scene, -1), QIO_ERROR_CLOSED);
        end(&scene);
    }
}

TEST(handshake_of_a_channel_without)
{
    Scene scene;

    begin(&scene);
    finish(&scene, qio_channel_handshake_task((QIOChannel *)scene.peer, -1, scene.ctx, on_end,
                                              &scene, NULL), 0);
    end(&scene);
}

TEST(handshake_and_the_loop_closes)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = handshake(&scene, -1);
    look(&scene);
    CHECK_INT(qio_aio_context_close(scene.ctx, NULL), ==, 0);
    finish(&scene, task, QIO_ERROR_CANCELLED);
    qio_aio_context_unref(scene.ctx);
    qio_object_unref(scene.polite);
    qio_object_unref(scene.peer);
}

/* ---- close ---- */

TEST(close_waits_for_the_answer)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = close_it(&scene, scene.polite, -1);
    look(&scene);
    hear(&scene, ".");
    CHECK_INT(scene.polite->closes, ==, 0);
    say(&scene, ".");
    finish(&scene, task, 0);
    CHECK_INT(scene.polite->closes, ==, 1);
    CHECK(qio_channel_is_closed(&scene.polite->parent));
    scene.told = 0;
    finish(&scene, close_it(&scene, scene.polite, -1), 0);
    CHECK_INT(scene.polite->closes, ==, 1);
    end(&scene);
}

TEST(close_closes_whatever_comes_of_it)
{
    static const struct {
        const char *word;
        int code;
    } ways[] = {
        { "?", QIO_ERROR_PROTOCOL }, { NULL, QIO_ERROR_TIMEOUT }, { NULL, QIO_ERROR_CANCELLED },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        Scene scene;
        QIOTask *task;

        test_note("way %zu", i);
        testclock_install();
        begin(&scene);
        task = close_it(&scene, scene.polite, 5000);
        look(&scene);
        if (ways[i].word) {
            say(&scene, ways[i].word);
        } else if (ways[i].code == QIO_ERROR_CANCELLED) {
            CHECK(qio_task_cancel(task));
        }
        finish(&scene, task, ways[i].code);
        CHECK_INT(scene.polite->closes, ==, 1);
        testclock_remove();
        end(&scene);
    }
}

TEST(close_of_one_that_somebody_else_closes)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = close_it(&scene, scene.polite, -1);
    look(&scene);
    CHECK_INT(qio_channel_close(&scene.polite->parent, NULL), ==, 0);
    finish(&scene, task, QIO_ERROR_CANCELLED);
    CHECK_INT(scene.polite->closes, ==, 1);
    end(&scene);
}

TEST(close_and_the_loop_closes)
{
    Scene scene;
    QIOTask *task;

    begin(&scene);
    task = close_it(&scene, scene.polite, -1);
    CHECK_INT(qio_aio_context_close(scene.ctx, NULL), ==, 0);
    finish(&scene, task, QIO_ERROR_CANCELLED);
    CHECK_INT(scene.polite->closes, ==, 1);
    /* On a loop that is closed already, too. */
    scene.told = 0;
    finish(&scene, close_it(&scene, scene.peer, -1), QIO_ERROR_CLOSED);
    CHECK(qio_channel_is_closed((QIOChannel *)scene.peer));
    qio_aio_context_unref(scene.ctx);
    qio_object_unref(scene.polite);
    qio_object_unref(scene.peer);
}

/* From the top down, each through those below it. */
TEST(close_of_a_stack)
{
    Scene scene;
    Polite *top;
    QIOTask *task;

    begin(&scene);
    top = polite_new(scene.polite);
    task = close_it(&scene, top, -1);
    look(&scene);
    hear(&scene, ".");
    look(&scene);
    say(&scene, ".");
    look(&scene);
    hear(&scene, ".");
    CHECK_INT(top->closes, ==, 0);
    say(&scene, ".");
    finish(&scene, task, 0);
    CHECK_INT(top->closes, ==, 1);
    CHECK(qio_channel_is_closed(&top->parent));
    scene.polite = top;
    end(&scene);
}

TEST(close_of_a_plain_channel)
{
    Scene scene;

    begin(&scene);
    finish(&scene, close_it(&scene, scene.peer, -1), 0);
    CHECK(qio_channel_is_closed((QIOChannel *)scene.peer));
    end(&scene);
}

/* ---- commands ---- */

static void end_loop(Scene *scene)
{
    check_quiet(scene->ctx);
    qio_aio_context_unref(scene->ctx);
}

/* What a child is told when it does not end by itself: nothing, SIGTERM, SIGKILL. */
TEST(close_of_commands)
{
    static const struct {
        const char *script;
        int status, signum;
    } ways[] = {
        { "cat; exit 3", 3, 0 },
        { "echo; exec sleep 1000", -1, SIGTERM },
        { "trap '' TERM; echo; while :; do sleep 1000; done", -1, SIGKILL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (int timeout_ms = -1; timeout_ms <= 60000; timeout_ms += 60001) {
            Scene scene = { .ctx = new_loop() };
            QIOChannelCommand *ioc = shell(ways[i].script, (QIOCommandOptions) {
                .flags = O_RDWR, .close_timeout_ms = 60 });
            char byte;

            test_note("%s, %d", ways[i].script, timeout_ms);
            if (i > 0) {
                /* It has set its trap. */
                CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 1);
            }
            finish(&scene, close_it(&scene, ioc, timeout_ms), 0);
            check_ended(ioc, ways[i].status, ways[i].signum);
            CHECK_INT(qio_channel_command_get_pidfd(ioc), ==, -1);
            qio_object_unref(ioc);
            end_loop(&scene);
        }
    }
}

/* The deadline is shorter than the command's own patience, which it shortens. */
TEST(close_of_a_command_in_time)
{
    Scene scene = { .ctx = new_loop() };
    QIOChannelCommand *ioc = shell("trap '' TERM; echo; while :; do sleep 1000; done",
                                   (QIOCommandOptions) { .flags = O_RDWR,
                                                         .close_timeout_ms = 1000000 });
    char byte;

    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 1);
    finish(&scene, close_it(&scene, ioc, 2000), 0);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);
    end_loop(&scene);
}

/* A close that was given up can be had once more. */
TEST(close_of_a_command_cancelled)
{
    Scene scene = { .ctx = new_loop() };
    QIOChannelCommand *ioc = shell("echo; exec sleep 1000",
                                   (QIOCommandOptions) { .flags = O_RDWR,
                                                         .close_timeout_ms = 1000000 });
    QIOTask *task;
    char byte;

    CHECK_INT(qio_channel_read(QIO_CHANNEL(ioc), &byte, 1, NULL), ==, 1);
    task = close_it(&scene, ioc, -1);
    look(&scene);
    CHECK(qio_channel_is_closed(QIO_CHANNEL(ioc)));
    CHECK(qio_task_cancel(task));
    finish(&scene, task, QIO_ERROR_CANCELLED);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, NULL, NULL), ==, 0);
    scene.told = 0;
    task = close_it(&scene, ioc, -1);
    look(&scene);
    CHECK_INT(qio_channel_command_kill(ioc, SIGKILL, NULL), ==, 0);
    finish(&scene, task, 0);
    check_ended(ioc, -1, SIGKILL);
    qio_object_unref(ioc);
    end_loop(&scene);
}

TEST(close_of_a_layer_over_a_command)
{
    Scene scene = { .ctx = new_loop() };
    QIOChannelCommand *ioc = qio_object_ref(cat());
    Polite *polite = polite_new(ioc);

    /* What it says comes back to it. */
    finish(&scene, close_it(&scene, polite, -1), 0);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, NULL, NULL), ==, 1);
    check_ended(ioc, 0, 0);
    qio_object_unref(polite);
    qio_object_unref(ioc);
    end_loop(&scene);
}

static QIOTask *wait_exit(Scene *scene, QIOChannelCommand *ioc, int timeout_ms)
{
    return qio_channel_command_wait_exit_task(ioc, timeout_ms, scene->ctx, on_end, scene, NULL);
}

TEST(wait_for_exit)
{
    Scene scene = { .ctx = new_loop() }, other = { .ctx = scene.ctx };
    QIOChannelCommand *ioc = cat();
    QIOTask *tasks[2] = { wait_exit(&scene, ioc, -1), wait_exit(&other, ioc, -1) };

    look(&scene);
    /* Closing it does not end them. */
    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(ioc), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    finish(&scene, tasks[0], 0);
    finish(&other, tasks[1], 0);
    scene.told = 0;
    finish(&scene, wait_exit(&scene, ioc, -1), 0);
    check_ended(ioc, 0, 0);
    qio_object_unref(ioc);
    end_loop(&scene);
}

TEST(wait_for_exit_in_vain)
{
    Scene scene;
    QIOChannelCommand *ioc = cat();

    testclock_install();
    scene = (Scene) { .ctx = new_loop() };
    finish(&scene, wait_exit(&scene, ioc, 500), QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 500);
    testclock_remove();
    end_loop(&scene);
    drop(ioc);
}

/* Somebody else waits for all children: the status is unknown, the end is not. */
TEST(wait_for_exit_of_one_that_is_reaped_elsewhere)
{
    Scene scene = { .ctx = new_loop() };
    QIOChannelCommand *ioc = cat();
    QIOTask *task = wait_exit(&scene, ioc, -1);
    int status;

    CHECK_INT(qio_channel_shutdown(QIO_CHANNEL(ioc), QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(waitpid(qio_channel_command_get_pid(ioc), &status, 0), >, 0);
    finish(&scene, task, 0);
    check_ended(ioc, -1, 0);
    end_loop(&scene);
    drop(ioc);
}
