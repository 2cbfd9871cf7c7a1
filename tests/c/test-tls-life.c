/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-life.c: deadlines, ends, threads and forks of TLS channels.
 *
 * Owns: that a handshake ends in any case, whatever is done to it at whatever step, and that the
 * orderly end is one.
 */
#include "tls-pair.h"
#include "testclock.h"
#include "wire.h"

#include <pthread.h>
#include <sys/wait.h>

static QIOChannel *silent_peer(bool server, const char *options_text, QIOChannel **peer)
{
    QIOTlsCreds *creds = tls_creds(NULL, server);
    QIOOptions *options = tls_options(options_text);
    QIOChannel *below, *tls;

    pair(&below, peer);
    tls = (QIOChannel *)qio_channel_tls_new_options(below, creds, options, server, NULL);
    CHECK_PTR(tls, !=, NULL);
    qio_object_unref(below);
    qio_options_free(options);
    qio_tls_creds_unref(creds);
    return tls;
}

/* ---- the deadline ---- */

static void check_deadline(bool server, const char *options, int64_t ms)
{
    QIOChannel *peer, *tls;
    Error *err = NULL;
    char byte;

    testclock_install();
    tls = silent_peer(server, options, &peer);
    CHECK_INT(qio_channel_read(tls, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, ms);
    g_clear_pointer(&err, qio_error_free);
    /* It has failed for good. */
    CHECK_INT(qio_channel_write(tls, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, ms);
    qio_error_free(err);
    drop(tls, peer);
    testclock_remove();
}

TEST(a_silent_peer_meets_the_deadline)
{
    check_deadline(true, "", 10000);
    check_deadline(false, "tls-hostname=server.example", 30000);
    check_deadline(true, "handshake-timeout=2.5", 2500);
    check_deadline(false, "tls-hostname=server.example;handshake-timeout=0", 0);
}

/* A call's own time-out neither lifts nor moves the deadline of the whole. */
TEST(an_explicit_handshake_meets_it)
{
    QIOChannel *peer, *tls;
    Error *err = NULL;

    testclock_install();
    tls = silent_peer(true, "handshake-timeout=2.5", &peer);
    CHECK_INT(qio_channel_handshake(tls, 1000, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 1000);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_handshake(tls, -1, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 2500);
    g_clear_pointer(&err, qio_error_free);
    drop(tls, peer);

    tls = silent_peer(true, "handshake-timeout=100", &peer);
    CHECK_INT(qio_channel_handshake(tls, 60000, false, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 62500);
    qio_error_free(err);
    drop(tls, peer);
    testclock_remove();
}

TEST(a_slow_peer_meets_it_too)
{
    QIOChannel *peer, *tls;
    Error *err = NULL;
    char byte;

    testclock_install();
    tls = silent_peer(true, "", &peer);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(qio_channel_try_read(tls, &byte, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(qio_channel_write_all(peer, "\x16\x03\x01\x02\x00" + i, 1, NULL), ==, 0);
        testclock_advance_ms(1999);
    }
    CHECK_INT(qio_channel_try_read(tls, &byte, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    testclock_advance_ms(5);
    CHECK_INT(qio_channel_try_read(tls, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    drop(tls, peer);
    testclock_remove();
}

static gboolean note_watch(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    *(int *)data += 1;
    return FALSE;
}

TEST(a_watch_sees_the_deadline)
{
    AioContext *ctx;
    QIOChannel *peer, *tls;
    QIOLoopWatch *watch;
    Error *err = NULL;
    int calls = 0;
    char byte;

    testclock_install();
    ctx = qio_aio_context_new(NULL);
    tls = silent_peer(true, "", &peer);
    watch = qio_channel_add_aio_watch(tls, ctx, G_IO_IN, note_watch, &calls, NULL, &err);
    CHECK_PTR(watch, !=, NULL);
    for (int i = 0; i < 10 && calls == 0; i++) {
        qio_aio_context_poll(ctx, true);
    }
    CHECK_INT(calls, ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 10000);
    CHECK_INT(qio_channel_try_read(tls, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    qio_loop_watch_unref(watch);
    drop(tls, peer);
    qio_aio_context_unref(ctx);
    testclock_remove();
}

/* ---- anything at any step ---- */

enum { CLOSE_LAYER, CLOSE_BELOW, CLOSE_PEER, DROP, ACTIONS };

/* Takes so many half steps, then ends one side so.  Returns whether both were done before. */
static bool end_after(int steps, int action, bool client)
{
    Error *errs[2] = { NULL, NULL };
    QIOChannel *ends[2];
    int done[2] = { QIO_CHANNEL_ERR_BLOCK, QIO_CHANNEL_ERR_BLOCK };
    TlsPair two;
    char byte;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    ends[0] = two.client;
    ends[1] = two.server;
    for (int i = 0; i < steps; i++) {
        if (done[i % 2] == QIO_CHANNEL_ERR_BLOCK) {
            done[i % 2] = QIO_CHANNEL_GET_CLASS(ends[i % 2])->io_handshake(ends[i % 2], NULL);
        }
    }
    switch (action) {
    case CLOSE_LAYER:
        qio_channel_close(ends[client], NULL);
        CHECK(qio_channel_is_closed(two.below[client]));
        break;
    case CLOSE_BELOW:
        qio_channel_close(two.below[client], NULL);
        CHECK(qio_channel_is_closed(ends[client]));
        break;
    case CLOSE_PEER:
        qio_channel_close(ends[!client], NULL);
        break;
    case DROP:
        g_clear_pointer(client ? &two.server : &two.client, qio_object_unref);
        break;
    }
    if (action != DROP) {
        CHECK_INT(qio_channel_read(ends[client], &byte, 1, &errs[0]), <=, 0);
    }
    if (action != CLOSE_PEER) {
        CHECK_INT(qio_channel_read(ends[!client], &byte, 1, &errs[1]), <=, 0);
    }
    qio_error_free(errs[0]);
    qio_error_free(errs[1]);
    tls_drop(&two);
    return done[0] == 0 && done[1] == 0;
}

TEST(anything_may_end_it_at_any_step, .timeout_s = 60)
{
    for (int action = 0; action < ACTIONS; action++) {
        for (int client = 0; client < 2; client++) {
            int steps = 0;

            do {
                test_note("action %d, end %d, after %d steps", action, client, steps);
                CHECK_INT(steps, <, 20);
            } while (!end_after(steps++, action, client));
        }
    }
}

/* ---- the orderly end ---- */

typedef struct Side {
    QIOChannel *ioc;
    const char *says;
    int result;
} Side;

static void *say_bye(void *opaque)
{
    Side *side = opaque;

    side->result = qio_channel_bye(side->ioc, 20000, false, NULL);
    return NULL;
}

TEST(bye_waits_for_the_peers_own)
{
    Side side;
    TlsPair two;
    pthread_t thread;
    char buf[8];

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_write(two.client, "last", 4, NULL), ==, 4);
    side = (Side){ .ioc = two.client, .result = 1 };
    pthread_create(&thread, NULL, say_bye, &side);
    CHECK_INT(qio_channel_read_all(two.server, buf, 4, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, buf, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_write(two.server, "too late", 8, NULL), ==, 8);
    CHECK_INT(qio_channel_bye(two.server, 20000, false, NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(side.result, ==, 0);
    tls_drop(&two);
}

/* What follows the close_notify is the transport's. */
TEST(a_transport_goes_on_in_the_clear)
{
    Side side;
    TlsPair two;
    pthread_t thread;
    QIOChannel *clear[2];
    char buf[16] = "";

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    side = (Side){ .ioc = two.client, .result = 1 };
    pthread_create(&thread, NULL, say_bye, &side);
    CHECK_INT(qio_channel_read(two.server, buf, 1, NULL), ==, 0);
    clear[1] = qio_channel_take_transport(two.server, 20000, false, NULL);
    CHECK_PTR(clear[1], ==, two.below[1]);
    CHECK_INT(qio_channel_write_all(clear[1], "in the clear", 12, NULL), ==, 0);
    pthread_join(thread, NULL);
    clear[0] = qio_channel_take_transport(two.client, 20000, false, NULL);
    CHECK_PTR(clear[0], ==, two.below[0]);
    CHECK_INT(qio_channel_read_all(clear[0], buf, 12, NULL), ==, 0);
    CHECK_STR(buf, "in the clear");
    drop(clear[0], clear[1]);
    tls_drop(&two);
}

static void count_end(QIOTask *task, gpointer opaque)
{
    CHECK(!qio_task_propagate_error(task, NULL));
    *(int *)opaque += 1;
}

/* Both ends in one loop: the beginning and the end are operations. */
TEST(handshake_and_bye_as_operations)
{
    AioContext *ctx = qio_get_main_aio_context();
    QIOTask *tasks[2];
    TlsPair two;
    int done = 0;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    qio_channel_tls_handshake(QIO_CHANNEL_TLS(two.client), count_end, &done, NULL);
    qio_channel_tls_handshake(QIO_CHANNEL_TLS(two.server), count_end, &done, NULL);
    while (done < 2) {
        qio_aio_context_poll(ctx, true);
    }
    tls_send(two.client, two.server, 10);
    tasks[0] = qio_channel_tls_bye(QIO_CHANNEL_TLS(two.client), 20000, NULL, count_end, &done,
                                   NULL);
    tasks[1] = qio_channel_tls_bye(QIO_CHANNEL_TLS(two.server), 20000, NULL, count_end, &done,
                                   NULL);
    while (done < 4) {
        qio_aio_context_poll(ctx, true);
    }
    qio_task_unref(tasks[0]);
    qio_task_unref(tasks[1]);
    tls_drop(&two);
}

TEST(shutdown_of_each_direction)
{
    Error *err = NULL;
    TlsPair two;
    char buf[8];

    tls_pair(&two, NULL, NULL, NULL, NULL);
    CHECK(qio_channel_has_feature(two.client, QIO_CHANNEL_FEATURE_SHUTDOWN));
    tls_shake_well(&two);
    CHECK_INT(qio_channel_shutdown(two.client, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_write(two.client, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    CHECK_INT(qio_channel_read(two.server, buf, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_write(two.server, "reply", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read(two.client, buf, 8, NULL), ==, 5);
    CHECK_INT(qio_channel_shutdown(two.client, QIO_CHANNEL_SHUTDOWN_READ, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.client, buf, 1, NULL), ==, 0);
    tls_drop(&two);

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_shutdown(two.client, QIO_CHANNEL_SHUTDOWN_BOTH, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.client, buf, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, buf, 1, NULL), ==, 0);
    tls_drop(&two);
}

/* Said before the hands are shaken, it is sent when they are. */
TEST(shutdown_before_the_handshake)
{
    TlsPair two;
    char buf[8];

    tls_pair(&two, NULL, NULL, NULL, NULL);
    CHECK_INT(qio_channel_shutdown(two.client, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_try_read(two.server, buf, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_write(two.server, "reply", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read(two.client, buf, 8, NULL), ==, 5);
    tls_drop(&two);
}

/* Writes without waiting until bytes are left with the layer. */
static void fill(QIOChannel *ioc)
{
    char *bytes = g_malloc0(16384);

    while (qio_channel_try_write(ioc, bytes, 16384, NULL) > 0) {
    }
    g_free(bytes);
}

/* The end of the peer stays readable for good: nobody may poll for it who has seen it. */
TEST(bye_waits_only_for_what_is_missing)
{
    QIOPollFd fds[4];
    TlsPair two;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    fill(two.client);
    CHECK_INT(qio_channel_shutdown(two.server, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(QIO_CHANNEL_GET_CLASS(two.client)->io_bye(two.client, NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(QIO_CHANNEL_GET_CLASS(two.client)->io_poll(two.client, G_IO_IN, fds, 4), ==, 1);
    CHECK_INT(fds[0].events, ==, G_IO_OUT);
    tls_drop(&two);
}

TEST(close_tells_of_bytes_that_a_dead_peer_did_not_take)
{
    Error *err = NULL;
    TlsPair two;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    fill(two.client);
    CHECK_INT(qio_channel_close(two.server, NULL), ==, 0);
    CHECK_INT(qio_channel_close(two.client, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_SYSTEM);
    qio_error_free(err);
    tls_drop(&two);
}

/* ---- functions of the program ---- */

static int reads_itself(QIOChannel *ioc, const char *identity, gpointer opaque, Error **errp)
{
    Error *err = NULL;
    char byte;

    CHECK_INT(qio_channel_try_read(ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_BUSY);
    qio_error_free(err);
    *(int *)opaque += 1;
    return 1;
}

TEST(a_function_that_comes_back_gets_busy)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    TlsPair two;
    int calls = 0;

    CHECK_INT(qio_tls_creds_set_authorize(server, reads_itself, &calls, NULL, NULL), ==, 0);
    tls_pair_creds(&two, pair, client, server, "tls-hostname=server.example", NULL);
    tls_shake_well(&two);
    CHECK_INT(calls, ==, 1);
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

/* The function waits for what only another thread can do, which comes to the channel first. */
typedef struct Meeting {
    pthread_barrier_t inside, looked;
    QIOChannel *ioc;
} Meeting;

static int waits_for_other(QIOChannel *ioc, const char *identity, gpointer opaque, Error **errp)
{
    Meeting *meeting = opaque;

    pthread_barrier_wait(&meeting->inside);
    pthread_barrier_wait(&meeting->looked);
    return 1;
}

static void *other_thread(void *opaque)
{
    Meeting *meeting = opaque;
    Error *err = NULL;
    char buf[8];

    pthread_barrier_wait(&meeting->inside);
    CHECK_INT(qio_channel_try_read(meeting->ioc, buf, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_try_write(meeting->ioc, "x", 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_wait_timeout(meeting->ioc, G_IO_IN, 0, &err), ==, 0);
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(meeting->ioc), "alpn", NULL, 0, &err), ==,
              -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    pthread_barrier_wait(&meeting->looked);
    return NULL;
}

/* In this thread: GnuTLS keeps the random state of another that it does the last step in. */
static void check_hello(TlsPair *two, const Meeting *meeting)
{
    char buf[8];

    CHECK_INT(qio_channel_write(two->client, "hello", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read_all(meeting->ioc, buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "hello", 5);
}

TEST(nobody_waits_while_a_function_is_called)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    Meeting meeting;
    pthread_t thread;
    TlsPair two;

    pthread_barrier_init(&meeting.inside, NULL, 2);
    pthread_barrier_init(&meeting.looked, NULL, 2);
    CHECK_INT(qio_tls_creds_set_authorize(server, waits_for_other, &meeting, NULL, NULL), ==, 0);
    tls_pair_creds(&two, pair, client, server, "tls-hostname=server.example", NULL);
    meeting.ioc = two.server;
    pthread_create(&thread, NULL, other_thread, &meeting);
    tls_shake_well(&two);
    pthread_join(thread, NULL);
    check_hello(&two, &meeting);
    pthread_barrier_destroy(&meeting.inside);
    pthread_barrier_destroy(&meeting.looked);
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

static TlsPair outer;

static void on_outer(QIOChannel **a, QIOChannel **b)
{
    *a = g_object_ref(outer.client);
    *b = g_object_ref(outer.server);
}

/* Also not above the layer that calls it. */
TEST(nobody_waits_above_while_a_function_is_called)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    Meeting meeting;
    pthread_t thread;
    TlsPair two;

    pthread_barrier_init(&meeting.inside, NULL, 2);
    pthread_barrier_init(&meeting.looked, NULL, 2);
    CHECK_INT(qio_tls_creds_set_authorize(server, waits_for_other, &meeting, NULL, NULL), ==, 0);
    tls_pair_creds(&outer, pair, client, server, "tls-hostname=server.example", NULL);
    tls_pair_on(&two, on_outer, NULL, NULL, NULL, NULL);
    meeting.ioc = two.server;
    pthread_create(&thread, NULL, other_thread, &meeting);
    tls_shake_well(&two);
    pthread_join(thread, NULL);
    check_hello(&two, &meeting);
    pthread_barrier_destroy(&meeting.inside);
    pthread_barrier_destroy(&meeting.looked);
    tls_drop(&two);
    tls_drop(&outer);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

/* ---- threads ---- */

enum { FLOOD = 4 << 20, CHUNK = 64 << 10 };

static void *send_flood(void *opaque)
{
    Side *side = opaque;
    uint8_t *chunk = g_malloc(CHUNK);

    for (size_t at = 0; at < FLOOD; at += CHUNK) {
        for (size_t i = 0; i < CHUNK; i++) {
            chunk[i] = (uint8_t)((at + i) * 13 >> 3);
        }
        CHECK_INT(qio_channel_write_all(side->ioc, (char *)chunk, CHUNK, NULL), ==, 0);
        /* GnuTLS takes 8 a second. */
        if (at % (FLOOD / 4) == 0) {
            CHECK_INT(qio_channel_tls_rekey(QIO_CHANNEL_TLS(side->ioc), NULL), ==, 0);
        }
    }
    CHECK_INT(qio_channel_flush(side->ioc, NULL), ==, 0);
    g_free(chunk);
    return NULL;
}

static void *take_flood(void *opaque)
{
    Side *side = opaque;
    uint8_t *chunk = g_malloc(CHUNK);

    for (size_t at = 0; at < FLOOD; at += CHUNK) {
        CHECK_INT(qio_channel_read_all(side->ioc, (char *)chunk, CHUNK, NULL), ==, 0);
        for (size_t i = 0; i < CHUNK; i++) {
            CHECK_INT(chunk[i], ==, (uint8_t)((at + i) * 13 >> 3));
        }
    }
    g_free(chunk);
    return NULL;
}

TEST(keys_change_under_a_reader_and_a_writer_at_each_end, .timeout_s = 60)
{
    pthread_t threads[4];
    Side sides[2];
    TlsPair two;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    sides[0] = (Side){ .ioc = two.client };
    sides[1] = (Side){ .ioc = two.server };
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, send_flood, &sides[i]);
        pthread_create(&threads[2 + i], NULL, take_flood, &sides[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    tls_drop(&two);
}

/* A reader that sleeps when a writer leaves output behind pushes it out. */
static void *read_reply(void *opaque)
{
    Side *side = opaque;
    char byte;

    side->result = (int)qio_channel_read(side->ioc, &byte, 1, NULL);
    return NULL;
}

TEST(a_sleeping_reader_pushes_out_what_a_writer_left)
{
    size_t len = 1 << 20, sent = 0, got = 0;
    char *bytes = g_malloc0(len);
    pthread_t thread;
    Side side;
    TlsPair two;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    side = (Side){ .ioc = two.client };
    pthread_create(&thread, NULL, read_reply, &side);
    while (sent < len) {
        ssize_t n = qio_channel_try_write(two.client, bytes, len - sent, NULL);

        if (n < 0) {
            break;
        }
        sent += (size_t)n;
    }
    CHECK_INT(sent, >, 16384);
    /* From here on the writer does nothing. */
    while (got < sent) {
        ssize_t n = qio_channel_read(two.server, bytes, len, NULL);

        CHECK_INT(n, >, 0);
        got += (size_t)n;
    }
    CHECK_INT(qio_channel_write(two.server, "x", 1, NULL), ==, 1);
    pthread_join(thread, NULL);
    CHECK_INT(side.result, ==, 1);
    g_free(bytes);
    tls_drop(&two);
}

/* ---- fork ---- */

TEST(a_forked_child_says_nothing)
{
    TlsPair two;
    int status;
    pid_t pid;
    char byte;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    pid = fork();
    if (pid == 0) {
        Error *err = NULL;

        CHECK_INT(qio_channel_write(two.client, "x", 1, &err), ==, -1);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_FORKED);
        qio_error_free(err);
        qio_channel_close(two.client, NULL);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_INT(qio_channel_try_read(two.server, &byte, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    tls_send(two.client, two.server, 100);
    tls_drop(&two);
}
