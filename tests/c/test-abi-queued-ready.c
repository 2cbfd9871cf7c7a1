/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-queued-ready.c: after any random step on a queued channel, a watch of any kind fires if
 * and only if a transfer would not block, and exactly those events come that are due.
 *
 * Owns: the model: which bytes are on their way, what was asked for and what was told.
 */
#include <glib.h>
#include <qio/qio.h>
#include <qio/qioh-glib.h>

#include "runner.h"

enum { STEPS = 400, SEEDS = 20, CHUNK = 30000 };

typedef struct Model {
    qioh_loop *loop;            /* in which the test answers */
    qioh_channel *channel;
    QIOChannel *ioc;
    AioContext *watching;       /* another, with the watches */
    GMainContext *context;
    GRand *rnd;
    uint64_t pushed, got, written, pulled;      /* bytes; byte i of each way is i % 251 */
    bool wants, want_told, out_told, ended, reader_gone, writer_done, end_pulled;
    int glib_calls, loop_calls;
} Model;

static void fill(uint8_t *bytes, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)((from + i) % 251);
    }
}

static void check(const uint8_t *bytes, qioh_ssize n, uint64_t from)
{
    for (qioh_ssize i = 0; i < n; i++) {
        CHECK_INT(bytes[i], ==, (from + (uint64_t)i) % 251);
    }
}

static size_t any_size(Model *model)
{
    return (size_t)g_rand_int_range(model->rnd, 1, g_rand_boolean(model->rnd) ? 20 : CHUNK);
}

/* ---- readiness ---- */

static gboolean on_glib(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Model *)data)->glib_calls++;
    return TRUE;
}

static gboolean on_loop(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Model *)data)->loop_calls++;
    return TRUE;
}

/* A plain wait, a watch in GLib and one in a loop: all say it, or none. */
static bool is_told(Model *model, GIOCondition condition)
{
    GSource *source = qio_channel_create_watch(model->ioc, condition);
    QIOLoopWatch *watch = qio_channel_add_aio_watch(model->ioc, model->watching, condition,
                                                    on_loop, model, NULL, NULL);
    int waits = qio_channel_wait_timeout(model->ioc, condition, 0, NULL);

    CHECK_INT(waits, >=, 0);
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))on_glib, model, NULL);
    g_source_attach(source, model->context);
    model->glib_calls = model->loop_calls = 0;
    g_main_context_iteration(model->context, FALSE);
    qio_aio_context_dispatch(model->watching, 0, NULL);
    g_source_destroy(source);
    g_source_unref(source);
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    CHECK_INT(model->glib_calls, ==, waits > 0);
    CHECK_INT(model->loop_calls, ==, waits > 0);
    return waits > 0;
}

/* Whoever looked for input and found none wants some. */
static void note_want(Model *model, bool found)
{
    if (!found && !model->wants) {
        model->wants = true;
        model->want_told = false;
    }
}

static qioh_ssize read_some(Model *model, size_t n)
{
    uint8_t bytes[CHUNK];
    qioh_ssize got = qioh_channel_try_read(model->channel, bytes, n, NULL);

    if (got > 0) {
        check(bytes, got, model->got);
        model->got += (uint64_t)got;
    }
    note_want(model, got != QIOH_E_AGAIN);
    return got;
}

static qioh_ssize write_some(Model *model, size_t n)
{
    uint8_t bytes[CHUNK];
    qioh_ssize put;

    fill(bytes, n, model->written);
    put = qioh_channel_try_write(model->channel, bytes, n, NULL);
    model->written += put > 0 ? (uint64_t)put : 0;
    CHECK(put != 0);
    CHECK((put < 0 && put != QIOH_E_AGAIN) == model->writer_done);
    return put;
}

static void compare(Model *model)
{
    bool told = is_told(model, G_IO_IN);

    note_want(model, told);
    CHECK(told == (read_some(model, 1) != QIOH_E_AGAIN));
    told = is_told(model, G_IO_OUT);
    CHECK(told == (write_some(model, 1) != QIOH_E_AGAIN));
}

/* ---- the side that answers ---- */

static void push(Model *model)
{
    uint8_t bytes[CHUNK];
    size_t n = any_size(model);
    qioh_ssize put;

    fill(bytes, n, model->pushed);
    put = qioh_channel_push(model->channel, bytes, n, NULL);
    CHECK((put > 0 || put == QIOH_E_AGAIN) == !(model->ended || model->reader_gone));
    if (put > 0) {
        model->pushed += (uint64_t)put;
        model->wants = false;
    }
}

static void pull(Model *model)
{
    uint8_t bytes[CHUNK];
    qioh_ssize got = qioh_channel_pull(model->channel, bytes, any_size(model), NULL);
    uint64_t left = model->written - model->pulled;

    CHECK(got == 0 ? left == 0 && model->writer_done : (got > 0) == (left > 0));
    if (got > 0) {
        check(bytes, got, model->pulled);
        model->pulled += (uint64_t)got;
    }
    model->out_told = false;
    model->end_pulled |= got == 0;
}

static void take_event(Model *model, const qioh_event *event, bool *read_due, bool *write_due)
{
    if (event->kind == QIOH_EV_CUSTOM_READ) {
        CHECK(*read_due);
        CHECK_INT(event->bytes, >, 0);
        model->want_told = true;
        *read_due = false;
    } else {
        CHECK_INT(event->kind, ==, QIOH_EV_CUSTOM_WRITE);
        CHECK(*write_due);
        CHECK_INT(event->bytes, ==, model->written - model->pulled);
        CHECK_INT(event->condition, ==, model->writer_done ? QIOH_HUP : 0);
        model->out_told = true;
        *write_due = false;
    }
}

/* What is due comes, and nothing else. */
static void take_events(Model *model)
{
    bool read_due = model->wants && !model->want_told && !model->ended && !model->reader_gone;
    bool write_due = !model->out_told && (model->written > model->pulled ||
                                          (model->writer_done && !model->end_pulled));
    qioh_event event = { .struct_size = sizeof(event) };

    while (qioh_loop_next_events(model->loop, &event, 1, 0, NULL) == 1) {
        take_event(model, &event, &read_due, &write_due);
    }
    CHECK(!read_due);
    CHECK(!write_due);
}

/* ---- steps ---- */

static void end_something(Model *model)
{
    switch (g_rand_int_range(model->rnd, 0, 3)) {
    case 0:
        if (!model->ended && !model->reader_gone) {
            CHECK_INT(qioh_channel_push_end(model->channel, 0, NULL, NULL), ==, 0);
            model->ended = true;
            model->wants = false;
        }
        break;
    case 1:
        CHECK_INT(qioh_channel_shutdown(model->channel, QIOH_SHUTDOWN_READ, NULL), ==, 0);
        model->reader_gone = true;
        model->wants = false;
        model->got = model->pushed;
        break;
    default:
        CHECK_INT(qioh_channel_shutdown(model->channel, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
        model->out_told = model->writer_done && model->out_told;
        model->writer_done = true;
        break;
    }
}

static void step(Model *model)
{
    switch (g_rand_int_range(model->rnd, 0, 9)) {
    case 0: case 1:
        push(model);
        break;
    case 2: case 3:
        pull(model);
        break;
    case 4: case 5:
        read_some(model, any_size(model));
        break;
    case 6: case 7:
        write_some(model, any_size(model));
        break;
    default:
        take_events(model);
        break;
    }
}

static void run(guint32 seed)
{
    Model model = { .rnd = g_rand_new_with_seed(seed), .context = g_main_context_new(),
                    .watching = qio_aio_context_new(NULL), .loop = qioh_loop_new(NULL) };

    model.channel = qioh_channel_new_queued(model.loop, 1, NULL);
    model.ioc = qio_channel_import(model.channel);
    for (int i = 0; i < STEPS; i++) {
        test_note("seed %u, step %d", seed, i);
        if (i > STEPS - 40 && i % 10 == 0) {
            end_something(&model);
        }
        step(&model);
        if (i % 3 == 0) {
            compare(&model);
        }
        if (i % 5 == 0) {
            take_events(&model);
        }
    }
    g_object_unref(model.ioc);
    qioh_channel_unref(model.channel);
    qioh_loop_unref(model.loop);
    qio_aio_context_unref(model.watching);
    g_main_context_unref(model.context);
    g_rand_free(model.rnd);
}

TEST(who_waits_is_told_what_a_transfer_finds_and_each_request_comes_once)
{
    for (guint32 seed = 0; seed < SEEDS; seed++) {
        run(seed);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- coroutines ---- */

typedef struct Reader {
    qioh_channel *channel;
    char buf[6];
    int result;
} Reader;

static void read_in_coroutine(void *opaque)
{
    Reader *reader = opaque;
    QIOChannel *ioc = qio_channel_import(reader->channel);

    reader->result = qio_channel_read_all(ioc, reader->buf, sizeof(reader->buf), NULL);
    g_object_unref(ioc);
}

TEST(a_coroutine_that_reads_goes_on_when_bytes_were_pushed)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    Reader reader = { .channel = qioh_channel_new_queued(loop, 1, NULL), .result = 1 };
    qioh_event event = { .struct_size = sizeof(event) };

    qio_coroutine_enter(qio_coroutine_create(read_in_coroutine, &reader));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(reader.result, ==, 1);
        /* The first look at the watch is the main loop's. */
        qio_aio_context_dispatch(qio_get_main_aio_context(), 0, NULL);
        CHECK_INT(qioh_loop_next_events(loop, &event, 1, 0, NULL), ==, 1);
        CHECK_INT(event.kind, ==, QIOH_EV_CUSTOM_READ);
        CHECK_INT(qioh_channel_push(reader.channel, i ? "def" : "abc", 3, NULL), ==, 3);
        qio_aio_context_dispatch(qio_get_main_aio_context(), 0, NULL);
    }
    CHECK_INT(reader.result, ==, 0);
    CHECK_MEM(reader.buf, "abcdef", 6);
    qioh_channel_unref(reader.channel);
    qioh_loop_unref(loop);
}
