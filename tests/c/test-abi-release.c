/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-release.c: every registration's release runs exactly once, after its last call, on
 * a clean stack: in success, failure, removal and closing inside the callback, a closed or
 * abandoned loop.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qio/qioh.h>
#include "runner.h"

/* One registration's user_data: what happened to it. */
typedef struct Data {
    _Atomic int calls;
    _Atomic int releases;
    _Atomic int calls_after_release;
    _Atomic int released_inside;        /* a release while some callback ran on this thread */
    qioh_loop *loop;
    qioh_channel *channel;
    qioh_watch *watch;
    int32_t result;
    enum { NOTHING, REMOVE, CLOSE, CLOSE_AND_REMOVE, BAD_REGISTRATION, UNREF_LOOP } what;
    struct Data *other;
} Data;

static _Thread_local int inside;

static void on_release(void *user_data)
{
    Data *data = user_data;

    atomic_fetch_add(&data->releases, 1);
    if (inside) {
        atomic_fetch_add(&data->released_inside, 1);
    }
}

static int32_t on_channel(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                          void *user_data, qioh_error *error);
static int32_t on_timer(qioh_watch *watch, void *user_data, qioh_error *error);

static int32_t act(Data *data, qioh_watch *watch)
{
    inside++;
    atomic_fetch_add(&data->calls, 1);
    if (data->releases) {
        atomic_fetch_add(&data->calls_after_release, 1);
    }
    switch (data->what) {
    case REMOVE:
        CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
        break;
    case CLOSE_AND_REMOVE:
        CHECK_INT(qioh_channel_close(data->channel, NULL), ==, 0);
        CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
        break;
    case CLOSE:
        CHECK_INT(qioh_channel_close(data->channel, NULL), ==, 0);
        break;
    case BAD_REGISTRATION:
        /* No loop: released at the end of the outermost call, which is not this one. */
        CHECK_PTR(qioh_watch_new_timer(NULL, 0, 0, on_timer, data->other, on_release, NULL), ==,
                  NULL);
        CHECK_INT(data->other->releases, ==, 0);
        break;
    case UNREF_LOOP:
        qioh_loop_unref(data->other->loop);
        CHECK_INT(data->other->releases, ==, 0);
        break;
    case NOTHING:
        break;
    }
    inside--;
    return data->result;
}

static int32_t on_channel(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                          void *user_data, qioh_error *error)
{
    return act(user_data, watch);
}

static int32_t on_listener(qioh_watch *watch, qioh_listener *listener, void *user_data,
                           qioh_error *error)
{
    return act(user_data, watch);
}

static int32_t on_fd(qioh_watch *watch, int32_t fd, uint32_t condition, void *user_data,
                     qioh_error *error)
{
    return act(user_data, watch);
}

static int32_t on_timer(qioh_watch *watch, void *user_data, qioh_error *error)
{
    return act(user_data, watch);
}

static int32_t on_defer(qioh_loop *loop, void *user_data, qioh_error *error)
{
    return act(user_data, NULL) < 0 ? QIOH_E_CALLBACK : 0;
}

static void check_once(const Data *data)
{
    CHECK_INT(data->releases, ==, 1);
    CHECK_INT(data->released_inside, ==, 0);
    CHECK_INT(data->calls_after_release, ==, 0);
}

/* What each kind of registration needs, made anew for each scenario. */
typedef struct Scene {
    qioh_loop *loop;
    qioh_channel *pair[2];
    qioh_listener *listener;
    Data data;
} Scene;

enum { KINDS = 5 };

static const char *const kind_names[KINDS] = { "channel", "listener", "fd", "timer", "defer" };

static void setup(Scene *scene)
{
    *scene = (Scene){ .loop = qioh_loop_new(NULL) };
    CHECK_PTR(scene->loop, !=, NULL);
    CHECK_INT(qioh_channel_new_pair(scene->pair, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(scene->pair[1], "x", 1, NULL), ==, 0);
    scene->listener = qioh_listener_open_uri("tcp://127.0.0.1:0", NULL, NULL);
    CHECK_PTR(scene->listener, !=, NULL);
    scene->data.channel = scene->pair[0];
}

static void teardown(Scene *scene)
{
    qioh_channel_unref(scene->pair[0]);
    qioh_channel_unref(scene->pair[1]);
    qioh_listener_unref(scene->listener);
    qioh_loop_unref(scene->loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* Registers; *made says whether it worked. */
static void add(Scene *scene, int kind, qioh_loop *loop, bool good, bool *made)
{
    Data *data = &scene->data;
    qioh_watch *watch = NULL;

    switch (kind) {
    case 0:
        watch = qioh_watch_new(loop, good ? scene->pair[0] : NULL, QIOH_IN, on_channel, data,
                               on_release, NULL);
        break;
    case 1:
        watch = qioh_watch_new_listener(loop, good ? scene->listener : NULL, on_listener, data,
                                        on_release, NULL);
        break;
    case 2:
        watch = qioh_watch_new_fd(loop, good ? 0 : 987654, QIOH_IN, on_fd, data, on_release,
                                  NULL);
        break;
    case 3:
        watch = qioh_watch_new_timer(loop, 0, good ? 0 : -1, on_timer, data, on_release, NULL);
        break;
    default:
        *made = qioh_loop_defer(loop, good ? on_defer : NULL, data, on_release, NULL) == 0;
        return;
    }
    *made = watch != NULL;
    data->watch = watch;
}

/* Until it is released, or nothing more comes. */
static void dispatch_until_released(Scene *scene)
{
    for (int i = 0; i < 50 && scene->data.releases == 0; i++) {
        int32_t n = qioh_loop_dispatch(scene->loop, 20, NULL);

        CHECK(n >= 0 || n == QIOH_E_CALLBACK);
    }
}

TEST(called_once_and_released)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Scene scene;
        qioh_channel *client = NULL;
        char address[80];
        bool made;

        test_note("%s", kind_names[kind]);
        setup(&scene);
        if (kind == 1) {
            CHECK_INT(qioh_listener_get_address(scene.listener, 0, address, 80, NULL), >, 0);
            client = qioh_channel_open_uri(address, NULL, NULL);
        }
        add(&scene, kind, scene.loop, true, &made);
        CHECK(made);
        CHECK_INT(scene.data.releases, ==, 0);
        dispatch_until_released(&scene);
        CHECK_INT(scene.data.calls, ==, 1);
        check_once(&scene.data);
        qioh_watch_unref(scene.data.watch);
        qioh_channel_unref(client);
        teardown(&scene);
        check_once(&scene.data);
    }
}

TEST(a_failing_callback_is_released)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Scene scene;
        bool made;

        if (kind == 1) {
            continue;       /* needs a client; its trampoline is that of the others */
        }
        test_note("%s", kind_names[kind]);
        setup(&scene);
        scene.data.result = QIOH_E_CALLBACK;
        add(&scene, kind, scene.loop, true, &made);
        dispatch_until_released(&scene);
        CHECK_INT(scene.data.calls, ==, 1);
        check_once(&scene.data);
        qioh_watch_unref(scene.data.watch);
        teardown(&scene);
    }
}

TEST(removal_and_closing_inside_the_callback)
{
    static const int whats[] = { REMOVE, CLOSE, CLOSE_AND_REMOVE };

    for (int i = 0; i < 3; i++) {
        for (int keep = 0; keep <= 1; keep++) {
            Scene scene;
            bool made;

            test_note("what %d, result %d", whats[i], keep);
            setup(&scene);
            scene.data.what = whats[i];
            scene.data.result = keep;
            add(&scene, 0, scene.loop, true, &made);
            dispatch_until_released(&scene);
            /* A close that is answered with "keep" is followed by the last call. */
            CHECK_INT(scene.data.calls, ==, whats[i] == CLOSE && keep ? 2 : 1);
            check_once(&scene.data);
            qioh_watch_unref(scene.data.watch);
            teardown(&scene);
        }
    }
}

TEST(removed_outside_a_callback)
{
    for (int kind = 0; kind < KINDS - 1; kind++) {
        Scene scene;
        bool made;

        test_note("%s", kind_names[kind]);
        setup(&scene);
        add(&scene, kind, scene.loop, true, &made);
        CHECK_INT(qioh_watch_remove(scene.data.watch, NULL), ==, 0);
        CHECK_INT(scene.data.releases, ==, 0);      /* not inside the removing call */
        dispatch_until_released(&scene);
        CHECK_INT(scene.data.calls, ==, 0);
        check_once(&scene.data);
        qioh_watch_unref(scene.data.watch);
        teardown(&scene);
    }
}

TEST(a_failed_registration_is_released_by_its_loop)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Scene scene;
        bool made = true;

        test_note("%s", kind_names[kind]);
        setup(&scene);
        add(&scene, kind, scene.loop, false, &made);
        CHECK(!made);
        CHECK_INT(scene.data.releases, ==, 0);
        CHECK_INT(qioh_loop_wait(scene.loop, 0, NULL), ==, 1);      /* a dispatch is due */
        CHECK_INT(qioh_loop_dispatch(scene.loop, 0, NULL), ==, 0);
        CHECK_INT(scene.data.calls, ==, 0);
        check_once(&scene.data);
        teardown(&scene);
    }
}

TEST(without_a_loop_it_is_released_by_the_call_itself)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (int closed = 0; closed <= 1; closed++) {
            Scene scene;
            bool made = true;

            test_note("%s, closed %d", kind_names[kind], closed);
            setup(&scene);
            if (closed) {
                CHECK_INT(qioh_loop_close(scene.loop, NULL), ==, 0);
            }
            add(&scene, kind, closed ? scene.loop : NULL, true, &made);
            CHECK(!made);
            check_once(&scene.data);
            teardown(&scene);
            check_once(&scene.data);
        }
    }
}

TEST(without_a_function_it_is_released)
{
    Scene scene;

    setup(&scene);
    CHECK_PTR(qioh_watch_new_timer(scene.loop, 0, 0, NULL, &scene.data, on_release, NULL), ==,
              NULL);
    CHECK_INT(qioh_loop_dispatch(scene.loop, 0, NULL), ==, 0);
    check_once(&scene.data);
    teardown(&scene);
}

TEST(a_closed_loop_releases_inside_close)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Scene scene;
        bool made;

        test_note("%s", kind_names[kind]);
        setup(&scene);
        add(&scene, kind, scene.loop, true, &made);
        CHECK(made);
        CHECK_INT(qioh_loop_close(scene.loop, NULL), ==, 0);
        CHECK_INT(scene.data.calls, ==, 0);
        check_once(&scene.data);
        qioh_watch_unref(scene.data.watch);
        teardown(&scene);
        check_once(&scene.data);
    }
}

TEST(an_abandoned_loop_releases_in_its_unref)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Scene scene;
        bool made;

        test_note("%s", kind_names[kind]);
        setup(&scene);
        add(&scene, kind, scene.loop, true, &made);
        qioh_loop_unref(scene.loop);
        check_once(&scene.data);
        CHECK_INT(scene.data.calls, ==, 0);
        /* The watch's handle outlives the loop. */
        if (scene.data.watch) {
            CHECK_INT(qioh_watch_remove(scene.data.watch, NULL), ==, 0);
        }
        qioh_watch_unref(scene.data.watch);
        teardown(&scene);
    }
}

TEST(no_release_runs_inside_a_callback)
{
    Data other = { 0 };
    Scene scene;
    bool made;

    setup(&scene);
    scene.data.what = BAD_REGISTRATION;
    scene.data.other = &other;
    add(&scene, 0, scene.loop, true, &made);
    CHECK_INT(qioh_loop_dispatch(scene.loop, -1, NULL), ==, 1);
    check_once(&other);
    dispatch_until_released(&scene);
    check_once(&scene.data);
    qioh_watch_unref(scene.data.watch);
    teardown(&scene);
}

TEST(ending_another_loop_inside_a_callback_releases_after_it)
{
    Data other = { .loop = qioh_loop_new(NULL) };
    Scene scene;
    bool made;

    setup(&scene);
    qioh_watch_unref(qioh_watch_new_timer(other.loop, 1000, 0, on_timer, &other, on_release,
                                          NULL));
    scene.data.what = UNREF_LOOP;
    scene.data.other = &other;
    add(&scene, 0, scene.loop, true, &made);
    CHECK_INT(qioh_loop_dispatch(scene.loop, -1, NULL), ==, 1);
    check_once(&other);
    dispatch_until_released(&scene);
    qioh_watch_unref(scene.data.watch);
    teardown(&scene);
}

TEST(releases_run_in_the_order_they_came)
{
    Data data[3] = { 0 };
    qioh_loop *loop = qioh_loop_new(NULL);

    for (int i = 0; i < 3; i++) {
        qioh_loop_defer(loop, on_defer, &data[i], on_release, NULL);
    }
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 3);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(data[i].calls, ==, 1);
        check_once(&data[i]);
    }
    qioh_loop_unref(loop);
}

TEST(queued_watches_of_a_closed_loop_are_let_go)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *pair[2];

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    qioh_watch_unref(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 1, NULL));
    qioh_watch_unref(qioh_watch_new_timer_queued(loop, 5, 5, 2, NULL));
    qioh_channel_unref(pair[0]);
    CHECK_INT(qioh_debug_live(QIOH_KIND_CHANNEL), ==, 2);
    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    CHECK_INT(qioh_debug_live(QIOH_KIND_CHANNEL), ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_WATCH), ==, 0);
    qioh_channel_unref(pair[1]);
    qioh_loop_unref(loop);
}

/* ---- the end of the process ---- */

static void leave_everything(bool in_thread)
{
    static int calls;
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *pair[2];

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    CHECK_PTR(qioh_listener_open_uri("tcp://127.0.0.1:0", NULL, NULL), !=, NULL);
    CHECK_PTR(qioh_watch_new_timer(loop, 0, 1, on_timer, &calls, NULL, NULL), !=, NULL);
    CHECK_PTR(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 1, NULL), !=, NULL);
    CHECK_PTR(qioh_fdset_new(NULL), !=, NULL);
    if (in_thread) {
        qioh_channel_close(pair[0], NULL);
    }
}

static void *sleep_in_a_read(void *channel)
{
    char buf[4];

    qioh_channel_read(channel, buf, sizeof(buf), NULL);
    return NULL;
}

TEST(exit_with_everything_alive_and_a_thread_inside)
{
    pid_t pid = fork();
    int status;

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        qioh_channel *pair[2];
        pthread_t thread;

        leave_everything(false);
        leave_everything(true);
        CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
        CHECK_INT(pthread_create(&thread, NULL, sleep_in_a_read, pair[0]), ==, 0);
        exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}
