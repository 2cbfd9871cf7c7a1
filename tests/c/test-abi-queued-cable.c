/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-queued-cable.c: two queued channels as the ends of a cable that a second thread is:
 * blocking I/O from the thread that does not serve, bulk with back-pressure, TLS and WebSocket
 * and a relay on top, watches of every kind, closes and a fork in the middle.
 *
 * Owns: the cable: a loop, the two channels, and the thread that pulls from each and pushes to
 * the other, by events alone.
 */
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qio/qioh-glib.h>
#include <qio/qio.h>
#include "one-thread.h"

typedef struct Cable {
    qioh_loop *loop;
    qioh_channel *ends[2];
    char held[2][4096];         /* pulled from an end, not yet pushed to the other */
    size_t held_len[2];
    bool ended[2];              /* the end was passed on */
    int released;
    atomic_bool stop;
} Cable;

/* From one end to the other, as far as it goes now. */
static void carry(Cable *cable, int from)
{
    qioh_channel *to = cable->ends[!from];

    for (;;) {
        qioh_ssize n;

        if (cable->held_len[from] == 0) {
            n = qioh_channel_pull(cable->ends[from], cable->held[from], 4096, NULL);
            if (n == 0 && !cable->ended[from]) {
                cable->ended[from] = true;
                qioh_channel_push_end(to, 0, NULL, NULL);
            }
            if (n <= 0) {
                return;
            }
            cable->held_len[from] = (size_t)n;
        }
        n = qioh_channel_push(to, cable->held[from], cable->held_len[from], NULL);
        if (n <= 0) {
            return;         /* until somebody reads */
        }
        memmove(cable->held[from], cable->held[from] + n, cable->held_len[from] - (size_t)n);
        cable->held_len[from] -= (size_t)n;
    }
}

static void serve_event(Cable *cable, const qioh_event *event)
{
    int end = (int)event->cookie;

    switch (event->kind) {
    case QIOH_EV_CUSTOM_READ:
        CHECK_INT(event->bytes, >, 0);
        carry(cable, !end);
        break;
    case QIOH_EV_CUSTOM_WRITE:
        carry(cable, end);
        break;
    case QIOH_EV_RELEASED:
        cable->released++;
        break;
    default:
        CHECK_INT(event->kind, ==, QIOH_EV_NONE);
    }
}

static void serve(void *opaque)
{
    Cable *cable = opaque;
    qioh_event events[8];

    while (!atomic_load(&cable->stop)) {
        int32_t n;

        events[0].struct_size = sizeof(events[0]);
        n = qioh_loop_next_events(cable->loop, events, 8, -1, NULL);
        CHECK_INT(n, >=, 0);
        for (int32_t i = 0; i < n; i++) {
            serve_event(cable, &events[i]);
        }
    }
}

static void cable_make(Cable *cable)
{
    memset(cable, 0, sizeof(*cable));
    cable->loop = qioh_loop_new(NULL);
    for (int i = 0; i < 2; i++) {
        cable->ends[i] = qioh_channel_new_queued(cable->loop, (uint64_t)i, NULL);
        CHECK(cable->ends[i] != NULL);
        /* Far more than ever needed: a fault fails instead of hanging. */
        CHECK_INT(qioh_channel_set_timeout(cable->ends[i], 20000, NULL), ==, 0);
    }
    one_thread_start(serve, cable);
}

static void cable_stop(Cable *cable)
{
    atomic_store(&cable->stop, true);
    CHECK_INT(qioh_loop_wakeup(cable->loop, NULL), ==, 0);
    one_thread_wait();
}

static void cable_end(Cable *cable)
{
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_close(cable->ends[i], NULL), ==, 0);
    }
    cable_stop(cable);
    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(cable->ends[i]);
    }
    qioh_loop_unref(cable->loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

TEST(a_blocking_read_waits_for_the_thread_that_answers)
{
    Cable cable;
    char buf[16];

    cable_make(&cable);
    CHECK_INT(qioh_channel_write(cable.ends[0], "ping", 4, NULL), ==, 4);
    CHECK_INT(qioh_channel_read(cable.ends[1], buf, sizeof(buf), NULL), ==, 4);
    CHECK_INT(qioh_channel_write(cable.ends[1], "pong!", 5, NULL), ==, 5);
    CHECK_INT(qioh_channel_read_all(cable.ends[0], buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "pong!", 5);
    CHECK_INT(qioh_channel_shutdown(cable.ends[0], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_read(cable.ends[1], buf, sizeof(buf), NULL), ==, 0);
    cable_end(&cable);
}

/* ---- bulk ---- */

enum { BULK = 3 * 1024 * 1024 };

static void *write_bulk(void *opaque)
{
    char *block = g_malloc(BULK);

    for (size_t i = 0; i < BULK; i++) {
        block[i] = (char)(i % 249);
    }
    CHECK_INT(qioh_channel_write_all(opaque, block, BULK, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(opaque, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    g_free(block);
    return NULL;
}

TEST(bulk_comes_whole_through_bounded_queues)
{
    char *block = g_malloc(BULK);
    pthread_t writer;
    Cable cable;

    cable_make(&cable);
    CHECK_INT(pthread_create(&writer, NULL, write_bulk, cable.ends[0]), ==, 0);
    CHECK_INT(qioh_channel_read_all(cable.ends[1], block, BULK, NULL), ==, 0);
    for (size_t i = 0; i < BULK; i++) {
        CHECK_INT((unsigned char)block[i], ==, i % 249);
    }
    CHECK_INT(qioh_channel_read(cable.ends[1], block, 1, NULL), ==, 0);
    CHECK_INT(pthread_join(writer, NULL), ==, 0);
    g_free(block);
    cable_end(&cable);
}

/* ---- layers ---- */

static void shake(qioh_channel *const *ends)
{
    int32_t result[2] = { QIOH_E_TIMEOUT, QIOH_E_TIMEOUT };

    for (int turn = 0; turn < 10000 && (result[0] || result[1]); turn++) {
        for (int i = 0; i < 2; i++) {
            if (result[i] == QIOH_E_TIMEOUT) {
                result[i] = qioh_channel_handshake(ends[i], 1, NULL);
            }
        }
    }
    CHECK_INT(result[0], ==, 0);
    CHECK_INT(result[1], ==, 0);
}

TEST(tls_and_websocket_run_over_queued_channels)
{
    static char block[60000], back[60000];
    qioh_channel *tls[2], *ws[2];
    qioh_creds *creds[2];
    Cable cable;

    cable_make(&cable);
    for (int i = 0; i < 2; i++) {
        creds[i] = qioh_creds_new_anon(NULL, i, NULL);
        tls[i] = i ? qioh_channel_new_tls_server(cable.ends[i], creds[i], NULL, NULL)
                   : qioh_channel_new_tls_client(cable.ends[i], creds[i], NULL, NULL);
        CHECK(tls[i] != NULL);
    }
    CHECK_INT(qioh_channel_read(cable.ends[0], back, 1, NULL), ==, QIOH_E_BUSY);
    shake(tls);
    ws[0] = qioh_channel_new_ws_client(tls[0], NULL, NULL);
    ws[1] = qioh_channel_new_ws_server(tls[1], NULL, NULL);
    shake(ws);
    memset(block, 'q', sizeof(block));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_write_all(ws[i], block, sizeof(block), NULL), ==, 0);
        CHECK_INT(qioh_channel_read_all(ws[!i], back, sizeof(back), NULL), ==, 0);
        CHECK_MEM(back, block, sizeof(block));
        memset(back, 0, sizeof(back));
    }
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_channel_close(ws[i], NULL), ==, 0);
        qioh_channel_unref(ws[i]);
        qioh_channel_unref(tls[i]);
        qioh_creds_unref(creds[i]);
    }
    cable_end(&cable);
}

TEST(a_layer_over_a_queued_channel_is_busy_on_the_thread_that_serves)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *channel = qioh_channel_new_queued(loop, 1, NULL);
    qioh_creds *creds = qioh_creds_new_anon(NULL, 0, NULL);
    qioh_channel *tls = qioh_channel_new_tls_client(channel, creds, NULL, NULL);
    qioh_event event = { .struct_size = sizeof(event) };
    unsigned seen[QIOH_EV_DISPATCH + 1] = { 0 };
    char buf[4];

    CHECK_INT(qioh_loop_next_events(loop, &event, 1, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_handshake(tls, -1, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_read(tls, buf, 4, NULL), ==, QIOH_E_BUSY);
    /* The client's first flight waits, and the answer to it is wanted. */
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_loop_next_events(loop, &event, 1, 0, NULL), ==, 1);
        seen[event.kind]++;
    }
    CHECK_INT(seen[QIOH_EV_CUSTOM_READ], ==, 1);
    CHECK_INT(seen[QIOH_EV_CUSTOM_WRITE], ==, 1);
    qioh_channel_unref(tls);
    qioh_channel_unref(channel);
    qioh_creds_unref(creds);
    qioh_loop_unref(loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* On the thread that serves, after all that could be done without it. */
static void check_task_is_busy(qioh_task *task)
{
    qioh_error error = { 0 };

    CHECK(task != NULL);
    CHECK_INT(qioh_task_wait(task, 0, NULL), ==, 0);
    CHECK_INT(qioh_task_wait(task, -1, &error), ==, QIOH_E_BUSY);
    CHECK_STR_HAS(error.message, "this thread");
    CHECK_INT(qioh_task_wait(task, 60000, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_task_status(task, NULL), ==, QIOH_E_AGAIN);
}

static void drain_events(qioh_loop *loop)
{
    qioh_event event = { .struct_size = sizeof(event) };

    while (qioh_loop_next_events(loop, &event, 1, 0, NULL) == 1) {
    }
}

TEST(waiting_for_a_task_over_a_queued_channel_is_busy_on_the_thread_that_serves)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_loop *other = qioh_loop_new(NULL);
    qioh_channel *channel = qioh_channel_new_queued(loop, 1, NULL);
    qioh_creds *creds = qioh_creds_new_anon(NULL, 0, NULL);
    qioh_channel *tls = qioh_channel_new_tls_client(channel, creds, NULL, NULL);
    qioh_task *tasks[2], *close_task;

    drain_events(loop);
    /* In the loop where the channel is answered, and in one that nobody serves. */
    tasks[0] = qioh_task_start_handshake(tls, -1, loop, 2, NULL);
    check_task_is_busy(tasks[0]);
    CHECK_INT(qioh_task_cancel(tasks[0], NULL), ==, 0);
    tasks[1] = qioh_task_start_handshake(tls, -1, other, 2, NULL);
    check_task_is_busy(tasks[1]);
    CHECK_INT(qioh_task_cancel(tasks[1], NULL), ==, 0);
    close_task = qioh_task_start_close(tls, -1, loop, 3, NULL);
    check_task_is_busy(close_task);
    /* With an answer, though it is the end, there is something to go on with. */
    CHECK_INT(qioh_channel_push_end(channel, 0, NULL, NULL), ==, 0);
    CHECK_INT(qioh_task_wait(close_task, -1, NULL), ==, 1);
    qioh_task_unref(close_task);
    qioh_task_unref(tasks[0]);
    qioh_task_unref(tasks[1]);
    qioh_channel_unref(tls);
    qioh_channel_unref(channel);
    qioh_creds_unref(creds);
    qioh_loop_unref(other);
    qioh_loop_unref(loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* A relay waits on for its other end, as long as it needs that only. */
TEST(waiting_for_a_relay_is_busy_once_it_needs_the_thread_that_waits)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *channel = qioh_channel_new_queued(loop, 1, NULL);
    qioh_channel *pair[2];
    qioh_task *relay;
    char buf[8];

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    drain_events(loop);
    relay = qioh_task_start_relay(channel, pair[0], NULL, loop, 2, NULL);
    check_task_is_busy(relay);
    CHECK_INT(qioh_channel_push_end(channel, 0, NULL, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(pair[1], "abc", 3, NULL), ==, 0);
    CHECK_INT(qioh_task_wait(relay, 1, NULL), ==, 0);
    CHECK_INT(qioh_channel_pull(channel, buf, sizeof(buf), NULL), ==, 3);
    CHECK_INT(qioh_channel_close(pair[1], NULL), ==, 0);
    CHECK_INT(qioh_task_wait(relay, -1, NULL), ==, 1);
    CHECK_INT(qioh_task_status(relay, NULL), ==, 0);
    qioh_task_unref(relay);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    qioh_channel_unref(channel);
    qioh_loop_unref(loop);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

TEST(a_relay_carries_between_a_queued_channel_and_a_socket)
{
    qioh_channel *pair[2];
    qioh_loop *loop = qioh_loop_new(NULL);
    uint64_t there, back;
    qioh_task *task;
    Cable cable;
    char buf[8];

    cable_make(&cable);
    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    task = qioh_task_start_relay(cable.ends[1], pair[0], NULL, loop, 5, NULL);
    CHECK(task != NULL);
    CHECK_INT(qioh_channel_write_all(cable.ends[0], "to you", 6, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(pair[1], "to me", 5, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(cable.ends[0], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_channel_shutdown(pair[1], QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qioh_task_wait(task, 20000, NULL), ==, 1);
    CHECK_INT(qioh_task_status(task, NULL), ==, 0);
    CHECK_INT(qioh_task_get_counts(task, &there, &back, NULL), ==, 0);
    CHECK_INT(there, ==, 6);
    CHECK_INT(back, ==, 5);
    CHECK_INT(qioh_channel_read_all(pair[1], buf, 6, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(cable.ends[0], buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "to me", 5);
    qioh_task_unref(task);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    qioh_loop_unref(loop);
    cable_end(&cable);
}

/* ---- every way to be told ---- */

static int32_t count_and_go(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                            void *user_data, qioh_error *error)
{
    char buf[8];

    CHECK_INT(condition, ==, QIOH_IN);
    CHECK_INT(qioh_channel_try_read(channel, buf, 8, NULL), ==, 3);
    ++*(int *)user_data;
    return 0;
}

TEST(a_watch_in_another_loop_fires_when_bytes_were_pushed)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_watch *watch;
    Cable cable;
    int calls = 0;

    cable_make(&cable);
    watch = qioh_watch_new(loop, cable.ends[1], QIOH_IN, count_and_go, &calls, NULL, NULL);
    CHECK(watch != NULL);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_write(cable.ends[0], "abc", 3, NULL), ==, 3);
    while (calls == 0) {
        CHECK_INT(qioh_loop_dispatch(loop, 20000, NULL), >=, 0);
    }
    qioh_watch_unref(watch);
    qioh_loop_unref(loop);
    cable_end(&cable);
}

static gboolean glib_ready(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    CHECK_INT(condition, ==, G_IO_IN);
    *(GIOCondition *)data = condition;
    return FALSE;
}

TEST(a_glib_watch_fires_when_bytes_were_pushed)
{
    GMainContext *context = g_main_context_new();
    GIOCondition seen = 0;
    QIOChannel *ioc;
    GSource *source;
    Cable cable;
    char buf[8];

    cable_make(&cable);
    ioc = qio_channel_import(cable.ends[1]);
    source = qio_channel_add_watch_source(ioc, G_IO_IN, glib_ready, &seen, NULL, context);
    CHECK(!g_main_context_iteration(context, FALSE));
    CHECK_INT(qioh_channel_write(cable.ends[0], "abc", 3, NULL), ==, 3);
    while (!seen) {
        g_main_context_iteration(context, TRUE);
    }
    CHECK_INT(qio_channel_read(ioc, buf, 8, NULL), ==, 3);
    g_source_unref(source);
    g_object_unref(ioc);
    g_main_context_unref(context);
    cable_end(&cable);
}

/* What is pushed below is told above, where only TLS knows whether it is a whole record. */
TEST(watches_on_tls_over_a_queued_channel_fire_when_a_read_would_not_block)
{
    GMainContext *context = g_main_context_new();
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *tls[2];
    qioh_creds *creds[2];
    qioh_watch *watch;
    GIOCondition seen = 0;
    GSource *source;
    QIOChannel *ioc;
    Cable cable;
    int calls = 0;

    cable_make(&cable);
    for (int i = 0; i < 2; i++) {
        creds[i] = qioh_creds_new_anon(NULL, i, NULL);
        tls[i] = i ? qioh_channel_new_tls_server(cable.ends[i], creds[i], NULL, NULL)
                   : qioh_channel_new_tls_client(cable.ends[i], creds[i], NULL, NULL);
    }
    shake(tls);
    watch = qioh_watch_new(loop, tls[1], QIOH_IN, count_and_go, &calls, NULL, NULL);
    CHECK_INT(qioh_channel_write(tls[0], "abc", 3, NULL), ==, 3);
    while (calls == 0) {
        CHECK_INT(qioh_loop_dispatch(loop, 20000, NULL), >=, 0);
    }
    ioc = qio_channel_import(tls[0]);
    source = qio_channel_add_watch_source(ioc, G_IO_IN, glib_ready, &seen, NULL, context);
    CHECK_INT(qioh_channel_write(tls[1], "abc", 3, NULL), ==, 3);
    while (!seen) {
        g_main_context_iteration(context, TRUE);
    }
    g_source_unref(source);
    g_object_unref(ioc);
    qioh_watch_unref(watch);
    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(tls[i]);
        qioh_creds_unref(creds[i]);
    }
    qioh_loop_unref(loop);
    g_main_context_unref(context);
    cable_end(&cable);
}

/* ---- ends while somebody waits ---- */

static void *close_soon(void *opaque)
{
    CHECK_INT(qioh_channel_close(opaque, NULL), ==, 0);
    return NULL;
}

TEST(a_close_from_another_thread_ends_a_blocked_read)
{
    pthread_t closer;
    Cable cable;
    char buf[4];
    int32_t code;

    cable_make(&cable);
    CHECK_INT(pthread_create(&closer, NULL, close_soon, cable.ends[1]), ==, 0);
    code = (int32_t)qioh_channel_read(cable.ends[1], buf, 4, NULL);
    CHECK(code == QIOH_E_CANCELLED || code == QIOH_E_CLOSED);
    CHECK_INT(pthread_join(closer, NULL), ==, 0);
    /* The other end hears of it as of any end. */
    CHECK_INT(qioh_channel_read(cable.ends[0], buf, 4, NULL), ==, 0);
    cable_end(&cable);
}

static void *loop_close_soon(void *opaque)
{
    qioh_loop_unref(opaque);
    return NULL;
}

TEST(a_loop_that_goes_ends_a_blocked_read)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *channel = qioh_channel_new_queued(loop, 1, NULL);
    pthread_t closer;
    char buf[4];

    CHECK_INT(qioh_channel_set_timeout(channel, 20000, NULL), ==, 0);
    CHECK_INT(pthread_create(&closer, NULL, loop_close_soon, loop), ==, 0);
    CHECK_INT(qioh_channel_read(channel, buf, 4, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(pthread_join(closer, NULL), ==, 0);
    qioh_channel_unref(channel);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- fork ---- */

TEST(a_forked_child_gives_its_copy_up_and_the_parent_goes_on)
{
    Cable cable;
    char buf[4];
    int status;
    pid_t pid;

    cable_make(&cable);
    pid = fork();
    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        CHECK_INT(qioh_channel_push(cable.ends[0], "x", 1, NULL), ==, QIOH_E_FORKED);
        CHECK_INT(qioh_channel_pull(cable.ends[0], buf, 1, NULL), ==, QIOH_E_FORKED);
        CHECK_INT(qioh_channel_push_end(cable.ends[0], 0, NULL, NULL), ==, QIOH_E_FORKED);
        qioh_channel_unref(cable.ends[0]);
        qioh_channel_unref(cable.ends[1]);
        qioh_loop_unref(cable.loop);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_INT(qioh_channel_write(cable.ends[0], "abc", 3, NULL), ==, 3);
    CHECK_INT(qioh_channel_read_all(cable.ends[1], buf, 3, NULL), ==, 0);
    cable_end(&cable);
}

/* ---- everybody at once ---- */

typedef struct Crowd {
    qioh_loop *loop;
    qioh_channel *channel;
} Crowd;

static void *crowd_answer(void *opaque)
{
    Crowd *crowd = opaque;
    qioh_event event = { .struct_size = sizeof(event) };
    char buf[1000] = "";

    while (event.kind != QIOH_EV_RELEASED) {
        if (qioh_loop_next_events(crowd->loop, &event, 1, -1, NULL) != 1) {
            continue;
        }
        CHECK(qioh_channel_push(crowd->channel, buf, sizeof(buf), NULL) != 0);
        CHECK_INT(qioh_channel_pull(crowd->channel, buf, sizeof(buf), NULL), >=, QIOH_E_AGAIN);
    }
    return NULL;
}

static void *crowd_push(void *opaque)
{
    char buf[3000] = "";
    qioh_ssize n;

    do {
        n = qioh_channel_push(opaque, buf, sizeof(buf), NULL);
        CHECK(n > 0 || n == QIOH_E_AGAIN || n == QIOH_E_CLOSED);
    } while (n != QIOH_E_CLOSED);
    return NULL;
}

static void *crowd_read(void *opaque)
{
    char buf[700];
    qioh_ssize n;

    do {
        n = qioh_channel_read(opaque, buf, sizeof(buf), NULL);
        CHECK(n > 0 || n == QIOH_E_CLOSED || n == QIOH_E_CANCELLED);
    } while (n > 0);
    return NULL;
}

static void *crowd_write(void *opaque)
{
    char buf[700] = "";
    qioh_ssize n;

    do {
        n = qioh_channel_write(opaque, buf, sizeof(buf), NULL);
        CHECK(n > 0 || n == QIOH_E_CLOSED || n == QIOH_E_CANCELLED);
    } while (n > 0);
    return NULL;
}

TEST(a_close_ends_readers_writers_and_those_who_answer_wherever_they_are)
{
    for (int round = 0; round < 30; round++) {
        Crowd crowd = { .loop = qioh_loop_new(NULL) };
        pthread_t threads[4];
        char buf[1];

        crowd.channel = qioh_channel_new_queued(crowd.loop, 1, NULL);
        CHECK_INT(pthread_create(&threads[0], NULL, crowd_answer, &crowd), ==, 0);
        CHECK_INT(pthread_create(&threads[1], NULL, crowd_push, crowd.channel), ==, 0);
        CHECK_INT(pthread_create(&threads[2], NULL, crowd_read, crowd.channel), ==, 0);
        CHECK_INT(pthread_create(&threads[3], NULL, crowd_write, crowd.channel), ==, 0);
        for (int i = 0; i < round; i++) {
            qioh_channel_pull(crowd.channel, buf, sizeof(buf), NULL);
        }
        CHECK_INT(qioh_channel_close(crowd.channel, NULL), ==, 0);
        for (int i = 0; i < 4; i++) {
            CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
        }
        qioh_channel_unref(crowd.channel);
        qioh_loop_unref(crowd.loop);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}
