/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-custom-ready.c: a custom channel is ready if and only if a transfer would not wait: for
 * plain waiting, watches of a loop and of GLib, and coroutines; with a descriptor and without one.
 */
#include <qio/qioh-glib.h>
#include <qio/qio.h>

#include "custom-util.h"

/* ---- every way to look, without waiting ---- */

typedef enum Look { PLAIN, WATCH, QUEUED, GLIB, LOOKS } Look;

static const char *const looks[] = { "plain", "watch", "queued", "glib" };

typedef struct Eye {
    Look how;
    qioh_channel *channel;
    uint32_t condition;
    qioh_loop *loop;
    qioh_watch *watch;
    QIOChannel *ioc;
    GMainContext *context;
    GSource *source;
    uint32_t seen;
} Eye;

static int32_t on_watch(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                        void *user_data, qioh_error *error)
{
    ((Eye *)user_data)->seen |= condition;
    return 1;
}

static gboolean on_source(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Eye *)data)->seen |= (uint32_t)condition;
    return TRUE;
}

static void eye_open(Eye *eye, Look how, qioh_channel *channel, uint32_t condition)
{
    *eye = (Eye){ .how = how, .channel = channel, .condition = condition };
    switch (how) {
    case WATCH:
        eye->loop = qioh_loop_new(NULL);
        eye->watch = qioh_watch_new(eye->loop, channel, condition, on_watch, eye, NULL, NULL);
        break;
    case QUEUED:
        eye->loop = qioh_loop_new(NULL);
        eye->watch = qioh_watch_new_queued(eye->loop, channel, condition, 7, NULL);
        break;
    case GLIB:
        eye->context = g_main_context_new();
        eye->ioc = qio_channel_import(channel);
        eye->source = qio_channel_add_watch_source(eye->ioc, (GIOCondition)condition, on_source,
                                                   eye, NULL, eye->context);
        break;
    default:
        break;
    }
}

static void eye_close(Eye *eye)
{
    if (eye->source) {
        g_source_destroy(eye->source);
        g_source_unref(eye->source);
        g_main_context_unref(eye->context);
        g_object_unref(eye->ioc);
    }
    qioh_watch_unref(eye->watch);
    qioh_loop_unref(eye->loop);
}

static uint32_t eye_look(Eye *eye)
{
    qioh_event event = { 0 };

    eye->seen = 0;
    switch (eye->how) {
    case PLAIN:
        eye->seen = (uint32_t)qioh_channel_wait(eye->channel, eye->condition, 0, NULL);
        break;
    case WATCH:
        qioh_loop_dispatch(eye->loop, 0, NULL);
        break;
    case QUEUED:
        if (qioh_loop_next_events(eye->loop, &event, 1, 0, NULL) == 1) {
            CHECK_INT(event.cookie, ==, 7);
            eye->seen = event.condition;
        }
        break;
    default:
        while (g_main_context_iteration(eye->context, FALSE) && !eye->seen) {
        }
        break;
    }
    return eye->seen;
}

static void each_eye(void (*run)(CustomPair *pair, Eye *eye), uint32_t condition)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        for (Look how = 0; how < LOOKS; how++) {
            CustomPair pair;
            Eye eye;

            test_note("%s %s", custom_ways[way], looks[how]);
            custom_pair_make(&pair, way, NULL);
            eye_open(&eye, how, pair.ends[0].channel, condition);
            run(&pair, &eye);
            eye_close(&eye);
            custom_pair_end(&pair);
        }
    }
}

static void input_is_seen(CustomPair *pair, Eye *eye)
{
    qioh_channel *a = pair->ends[0].channel, *b = pair->ends[1].channel;
    char buf[64];

    CHECK_INT(eye_look(eye), ==, 0);
    CHECK_INT(qioh_channel_write(b, "abc", 3, NULL), ==, 3);
    for (int i = 0; i < 3; i++) {
        /* Level-triggered, and every byte in its turn. */
        CHECK_INT(eye_look(eye), ==, QIOH_IN);
        CHECK_INT(eye_look(eye), ==, QIOH_IN);
        CHECK_INT(qioh_channel_try_read(a, buf, 1, NULL), ==, 1);
        CHECK_INT(buf[0], ==, "abc"[i]);
    }
    CHECK_INT(eye_look(eye), ==, 0);
    CHECK_INT(qioh_channel_try_read(a, buf, 1, NULL), ==, QIOH_E_AGAIN);
    CHECK_INT(eye_look(eye), ==, 0);
    /* What was read ahead is ready. */
    CHECK_INT(qioh_channel_write(b, "xy", 2, NULL), ==, 2);
    CHECK_INT(qioh_channel_peek(a, buf, 1, 0, NULL), ==, 1);
    CHECK_INT(eye_look(eye), ==, QIOH_IN);
    CHECK_INT(qioh_channel_read_all(a, buf, 2, NULL), ==, 0);
    CHECK_INT(eye_look(eye), ==, 0);
    /* The end is input, and stays. */
    CHECK_INT(qioh_channel_shutdown(b, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    for (int i = 0; i < 3; i++) {
        CHECK(eye_look(eye) & QIOH_IN);
        CHECK_INT(qioh_channel_try_read(a, buf, 1, NULL), ==, 0);
    }
}

TEST(input_is_seen_in_every_way)
{
    each_eye(input_is_seen, QIOH_IN);
}

static void room_is_seen(CustomPair *pair, Eye *eye)
{
    qioh_channel *a = pair->ends[0].channel, *b = pair->ends[1].channel;
    char buf[4096] = "";

    CHECK_INT(eye_look(eye), ==, QIOH_OUT);
    while (qioh_channel_try_write(a, buf, sizeof(buf), NULL) > 0) {
    }
    CHECK_INT(eye_look(eye), ==, 0);
    CHECK_INT(eye_look(eye), ==, 0);
    while (qioh_channel_try_read(b, buf, sizeof(buf), NULL) > 0) {
    }
    CHECK_INT(eye_look(eye), ==, QIOH_OUT);
}

TEST(room_is_seen_in_every_way)
{
    each_eye(room_is_seen, QIOH_OUT);
}

static void failure_is_seen(CustomPair *pair, Eye *eye)
{
    qioh_error error = { 0 };
    char buf[4];

    CHECK_INT(eye_look(eye), ==, 0);
    pair->ends[0].fail_read = QIOH_E_CALLBACK;
    if (pair->way == CUSTOM_SOCKET) {
        CHECK_INT(qioh_channel_write(pair->ends[1].channel, "x", 1, NULL), ==, 1);
    } else {
        /* Neither notify nor get_poll lies: there is an end to read. */
        CHECK_INT(qioh_channel_shutdown(pair->ends[1].channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    }
    CHECK_INT(eye_look(eye), ==, QIOH_IN);
    CHECK_INT(qioh_channel_try_read(pair->ends[0].channel, buf, 4, &error), ==, QIOH_E_CALLBACK);
    CHECK_STR(error.message, "the test refuses to read");
    CHECK_INT(error.number, ==, 4711);
}

TEST(a_failure_is_something_to_read)
{
    each_eye(failure_is_seen, QIOH_IN);
}

static void close_is_seen(CustomPair *pair, Eye *eye)
{
    CHECK_INT(eye_look(eye), ==, 0);
    CHECK_INT(qioh_channel_close(pair->ends[0].channel, NULL), ==, 0);
    if (eye->how != PLAIN) {
        CHECK_INT(eye_look(eye), ==, QIOH_IN | QIOH_NVAL);
    }
    CHECK_INT(eye_look(eye), ==, eye->how == PLAIN ? (uint32_t)QIOH_E_CLOSED : 0);
}

TEST(a_close_is_the_last_thing_seen)
{
    each_eye(close_is_seen, QIOH_IN);
}

/* ---- waiting ---- */

typedef struct Writer {
    CustomPair *pair;
    int left;
} Writer;

static void *write_slowly(void *opaque)
{
    Writer *writer = opaque;

    for (int i = 0; i < writer->left; i++) {
        CHECK_INT(qioh_channel_write(writer->pair->ends[1].channel, "x", 1, NULL), ==, 1);
        sched_yield();
    }
    return NULL;
}

TEST(a_sleeper_is_woken_from_another_thread)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        Writer writer = { &pair, 500 };
        pthread_t thread;
        char buf[1];

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        CHECK_INT(pthread_create(&thread, NULL, write_slowly, &writer), ==, 0);
        for (int i = 0; i < writer.left; i++) {
            if (i % 2) {
                CHECK_INT(qioh_channel_read(pair.ends[0].channel, buf, 1, NULL), ==, 1);
                continue;
            }
            CHECK_INT(qioh_channel_wait(pair.ends[0].channel, QIOH_IN, 20000, NULL), ==, QIOH_IN);
            CHECK_INT(qioh_channel_try_read(pair.ends[0].channel, buf, 1, NULL), ==, 1);
        }
        pthread_join(thread, NULL);
        custom_pair_end(&pair);
    }
}

static void *read_everything(void *opaque)
{
    CustomEnd *end = opaque;
    char buf[700];
    int64_t n;

    while ((n = qioh_channel_read(end->channel, buf, sizeof(buf), NULL)) > 0) {
    }
    CHECK_INT(n, ==, 0);
    return NULL;
}

TEST(a_blocking_write_sleeps_for_room)
{
    static char big[300000];

    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        pthread_t thread;

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        CHECK_INT(pthread_create(&thread, NULL, read_everything, &pair.ends[1]), ==, 0);
        CHECK_INT(qioh_channel_write(pair.ends[0].channel, big, sizeof(big), NULL), ==,
                  sizeof(big));
        CHECK_INT(qioh_channel_shutdown(pair.ends[0].channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
        pthread_join(thread, NULL);
        custom_pair_end(&pair);
    }
}

/* A watch in one thread and a reader in another: nobody is told BUSY, no byte is lost. */
TEST(a_watch_beside_a_reader_disturbs_nobody)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        Writer writer = { &pair, 2000 };
        pthread_t thread[2];
        Eye eye;

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        eye_open(&eye, WATCH, pair.ends[0].channel, QIOH_IN);
        CHECK_INT(pthread_create(&thread[0], NULL, read_everything, &pair.ends[0]), ==, 0);
        CHECK_INT(pthread_create(&thread[1], NULL, write_slowly, &writer), ==, 0);
        for (int i = 0; i < 2000; i++) {
            eye_look(&eye);
        }
        pthread_join(thread[1], NULL);
        CHECK_INT(qioh_channel_shutdown(pair.ends[1].channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
        pthread_join(thread[0], NULL);
        eye_close(&eye);
        custom_pair_end(&pair);
    }
}

/* ---- a loop that would have to notify ---- */

static int32_t wait_in_dispatch(qioh_loop *loop, void *user_data, qioh_error *error)
{
    CustomPair *pair = user_data;
    qioh_error why = { 0 };
    char buf[4];
    bool software = pair->way != CUSTOM_SOCKET;

    CHECK_INT(qioh_channel_wait(pair->ends[0].channel, QIOH_IN, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_wait(pair->ends[0].channel, QIOH_IN, 5, &why), ==,
              software ? QIOH_E_BUSY : 0);
    CHECK_INT(qioh_channel_set_timeout(pair->ends[0].channel, 5, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(pair->ends[0].channel, buf, 4, &why), ==,
              software ? QIOH_E_BUSY : QIOH_E_TIMEOUT);
    /* What is there already needs no waiting. */
    CHECK_INT(qioh_channel_write(pair->ends[1].channel, "x", 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_wait(pair->ends[0].channel, QIOH_IN, -1, NULL), ==, QIOH_IN);
    CHECK_INT(qioh_channel_read(pair->ends[0].channel, buf, 4, NULL), ==, 1);
    return 0;
}

TEST(who_dispatches_the_loop_cannot_wait_for_it)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        CustomPair pair;

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, loop);
        CHECK_INT(qioh_loop_defer(loop, wait_in_dispatch, &pair, NULL, NULL), ==, 0);
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 1);
        qioh_channel_unref(pair.ends[0].channel);
        qioh_channel_unref(pair.ends[1].channel);
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
        custom_pair_check_gone(&pair);
        qioh_loop_unref(loop);
    }
}

/* ---- coroutines ---- */

typedef struct Story {
    QIOChannel *ioc;
    AioContext *ctx;
    char got[64];
    bool done;
} Story;

static void read_in_coroutine(void *opaque)
{
    Story *story = opaque;
    Error *err = NULL;

    for (int i = 0; i < 5; i++) {
        CHECK_INT(qio_channel_read_all(story->ioc, story->got + i, 1, &err), ==, 0);
    }
    story->done = true;
}

TEST(a_coroutine_waits_for_a_custom_channel)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        Story story = { 0 };

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        story.ctx = qio_aio_context_new(NULL);
        story.ioc = qio_channel_import(pair.ends[0].channel);
        qio_channel_attach_aio_context(story.ioc, story.ctx);
        qio_coroutine_enter(qio_coroutine_create(read_in_coroutine, &story));
        for (int i = 0; i < 5; i++) {
            CHECK(!story.done);
            qio_aio_context_dispatch(story.ctx, 0, NULL);
            CHECK_INT(qioh_channel_write(pair.ends[1].channel, &"hello"[i], 1, NULL), ==, 1);
            qio_aio_context_dispatch(story.ctx, 1000, NULL);
        }
        CHECK(story.done);
        CHECK_STR(story.got, "hello");
        qio_channel_detach_aio_context(story.ioc);
        g_object_unref(story.ioc);
        qio_aio_context_unref(story.ctx);
        custom_pair_end(&pair);
    }
}

/* ---- a look while an op runs ---- */

typedef struct Watched {
    qioh_loop *loop;
    int told;                   /* by a look from inside of the op */
} Watched;

static int64_t look_from_inside(void *user_data)
{
    Watched *watched = user_data;
    qioh_event event = { 0 };

    watched->told += qioh_loop_next_events(watched->loop, &event, 1, 0, NULL);
    return 1;
}

static int64_t watched_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_fdset *fds, qioh_error *error)
{
    return look_from_inside(user_data);
}

static int64_t watched_writev(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                              qioh_fdset *fds, qioh_error *error)
{
    return look_from_inside(user_data);
}

/* The look is told "not ready" for the op's sake; nobody else can wake it. */
TEST(who_looks_while_an_op_runs_looks_again)
{
    const qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = watched_readv,
                                   .writev = watched_writev };
    static const uint32_t ways[] = { QIOH_IN, QIOH_OUT };

    for (int i = 0; i < 2; i++) {
        Watched watched = { .loop = qioh_loop_new(NULL) };
        qioh_channel *channel = qioh_channel_new_custom(NULL, &ops, &watched, NULL);
        qioh_watch *watch = qioh_watch_new_queued(watched.loop, channel, ways[i], 1, NULL);
        qioh_event event = { 0 };
        char buf[1] = "";

        test_note("%s", i ? "out" : "in");
        CHECK_INT(i ? qioh_channel_try_write(channel, buf, 1, NULL)
                    : qioh_channel_try_read(channel, buf, 1, NULL), ==, 1);
        CHECK_INT(watched.told, ==, 0);
        watched.told = 0;
        qioh_loop_next_events(watched.loop, &event, 1, 0, NULL);
        CHECK_INT(event.condition, ==, ways[i]);
        qioh_watch_unref(watch);
        qioh_channel_unref(channel);
        qioh_loop_unref(watched.loop);
    }
}

/* ---- two that take turns ---- */

static int64_t endless_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_fdset *fds, qioh_error *error)
{
    memset(iov[0].base, 'x', 1);
    return 1;
}

typedef struct Looker {
    qioh_loop *loop;
    _Atomic int events;
    _Atomic bool done;
} Looker;

static void *look_on(void *opaque)
{
    Looker *looker = opaque;
    qioh_event event = { 0 };

    while (!looker->done) {
        if (qioh_loop_next_events(looker->loop, &event, 1, -1, NULL) == 1) {
            looker->events++;
        }
    }
    return NULL;
}

/* What a look has read may be gone to a reader when it comes to tell; there is more. */
TEST(a_reader_takes_nothing_from_who_looks)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = endless_readv };
    qioh_channel *channel = qioh_channel_new_custom(NULL, &ops, NULL, NULL);
    Looker looker = { .loop = qioh_loop_new(NULL) };
    qioh_watch *watch = qioh_watch_new_queued(looker.loop, channel, QIOH_IN, 1, NULL);
    pthread_t thread;
    char buf[1];

    CHECK_INT(pthread_create(&thread, NULL, look_on, &looker), ==, 0);
    for (int round = 0; round < 2000; round++) {
        int before;

        for (int i = 0; i < 20; i++) {
            qioh_channel_try_read(channel, buf, 1, NULL);
        }
        before = looker.events;
        while (looker.events == before) {
            sched_yield();
        }
    }
    looker.done = true;
    pthread_join(thread, NULL);
    qioh_watch_unref(watch);
    qioh_loop_unref(looker.loop);
    qioh_channel_unref(channel);
}
