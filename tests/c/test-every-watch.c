/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-every-watch.c: on every class of channel, after any random step, whoever waits is told what
 * a transfer finds: a watch for reading fires if and only if a read would not block.
 *
 * Owns: the model of a line: which bytes were sent and which have come.  For writing, a kernel may
 * say "not yet" although one byte would still go (a socket wants a good part of its buffer free),
 * so a watch that fires means a write that does not block, and an emptied line fires.
 */
#include "line.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEPS = 150, SEEDS = 12, CHUNK = 6000 };

typedef struct Model {
    const LineKind *kind;
    Line line;
    GRand *rnd;
    uint64_t fed, got;          /* bytes of the feed, counted; byte i is i % 251 */
    uint64_t sent, drained;     /* the same the other way */
    GMainContext *context;
    AioContext *loop;
    int glib_calls, loop_calls;
    GIOCondition glib_said, loop_said;
} Model;

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i % 251);
}

static void fill(uint8_t *bytes, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = byte_at(from + i);
    }
}

static void check(const uint8_t *bytes, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != byte_at(from + i)) {
            test_fail(__FILE__, __LINE__, "byte %zu of %zu is %u, not %u", i, n, bytes[i],
                      byte_at(from + i));
        }
    }
}

/* ---- what those who wait are told ---- */

static gboolean on_glib(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Model *)data)->glib_calls++;
    ((Model *)data)->glib_said = condition;
    return TRUE;
}

static gboolean on_loop(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    ((Model *)data)->loop_calls++;
    ((Model *)data)->loop_said = condition;
    return TRUE;
}

static bool says_poll(QIOChannel *ioc, GIOCondition condition)
{
    QIOPollFd named;
    struct pollfd pfd;
    int ready = qio_channel_get_poll(ioc, condition, &named, NULL);

    CHECK_INT(ready, >=, 0);
    if (ready == 1) {
        return true;
    }
    pfd = (struct pollfd) { .fd = named.fd, .events = (short)named.events };
    return poll(&pfd, 1, 0) == 1;
}

/* One look by each: how many of four say that it is ready. */
static int ask_all(Model *model, GIOCondition condition)
{
    QIOChannel *ioc = model->line.ioc;
    GSource *source = qio_channel_create_watch(ioc, condition);
    QIOLoopWatch *watch = qio_channel_add_aio_watch(ioc, model->loop, condition, on_loop, model,
                                                    NULL, NULL);
    bool waits = qio_channel_wait_timeout(ioc, condition, 0, NULL) > 0;

    g_source_set_callback(source, (GSourceFunc)(void (*)(void))on_glib, model, NULL);
    g_source_attach(source, model->context);
    model->glib_calls = model->loop_calls = 0;
    model->glib_said = model->loop_said = 0;
    g_main_context_iteration(model->context, FALSE);
    qio_aio_context_dispatch(model->loop, 0, NULL);
    g_source_destroy(source);
    g_source_unref(source);
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    CHECK_INT(model->glib_said & ~(condition | G_IO_ERR | G_IO_HUP), ==, 0);
    CHECK_INT(model->loop_said & ~(condition | G_IO_ERR | G_IO_HUP), ==, 0);
    return waits + model->glib_calls + model->loop_calls + says_poll(ioc, condition);
}

/* They agree, or the test fails; where bytes may come between two looks, they agree soon. */
static bool is_told(Model *model, GIOCondition condition)
{
    int told = ask_all(model, condition);

    for (int i = 0; model->kind->late && told != 0 && told != 4 && i < 1000; i++) {
        told = ask_all(model, condition);
    }
    CHECK(told == 0 || told == 4);
    return told == 4;
}

/* ---- what a transfer finds ---- */

static void took(Model *model, const uint8_t *bytes, ssize_t n)
{
    if (n > 0) {
        check(bytes, (size_t)n, model->got);
        model->got += (uint64_t)n;
    }
}

static void compare(Model *model)
{
    bool told = is_told(model, G_IO_IN);
    uint8_t byte = byte_at(model->sent);
    ssize_t n;

    n = qio_channel_try_read(model->line.ioc, &byte, 1, NULL);
    CHECK(told == (n != QIO_CHANNEL_ERR_BLOCK) || (model->kind->late && !told));
    took(model, &byte, n);

    told = is_told(model, G_IO_OUT);
    byte = byte_at(model->sent);
    n = qio_channel_try_write(model->line.ioc, &byte, 1, NULL);
    CHECK(n != QIO_CHANNEL_ERR_BLOCK || !told);
    model->sent += n > 0;
}

/* ---- steps ---- */

static size_t any_size(Model *model)
{
    return (size_t)g_rand_int_range(model->rnd, 1, g_rand_boolean(model->rnd) ? 20 : CHUNK);
}

static void feed(Model *model)
{
    uint8_t bytes[CHUNK];
    size_t n = any_size(model);
    ssize_t put;

    if (model->line.feed < 0) {
        return;
    }
    fill(bytes, n, model->fed);
    put = send(model->line.feed, bytes, n, MSG_NOSIGNAL);
    if (put < 0) {
        put = write(model->line.feed, bytes, n);
    }
    model->fed += put > 0 ? (uint64_t)put : 0;
}

static void drain(Model *model, size_t n)
{
    uint8_t bytes[CHUNK];
    ssize_t got;

    if (model->line.drain < 0) {
        return;
    }
    got = read(model->line.drain, bytes, n);
    if (got > 0) {
        check(bytes, (size_t)got, model->drained);
        model->drained += (uint64_t)got;
    }
}

static void read_some(Model *model)
{
    uint8_t bytes[CHUNK];
    ssize_t n = qio_channel_try_read(model->line.ioc, bytes, any_size(model), NULL);

    took(model, bytes, n);
    if (n > 0 && g_rand_boolean(model->rnd)) {
        size_t back = (size_t)g_rand_int_range(model->rnd, 0, (gint32)n + 1);

        CHECK_INT(qio_channel_unread(model->line.ioc, bytes + n - (ssize_t)back, back, NULL), ==,
                  0);
        model->got -= back;
    }
}

static void peek(Model *model)
{
    uint8_t bytes[CHUNK];
    ssize_t n = qio_channel_try_peek(model->line.ioc, bytes, any_size(model), NULL);

    if (n > 0) {
        check(bytes, (size_t)n, model->got);
        CHECK_INT(qio_channel_get_pending(model->line.ioc), >=, n);
    }
}

/* Who finds no delimiter waits for more than what is read ahead. */
static void look_for(Model *model)
{
    uint8_t bytes[CHUNK], value = (uint8_t)g_rand_int_range(model->rnd, 0, 256);
    struct iovec delim = { .iov_base = &value, .iov_len = 1 };
    ssize_t n = qio_channel_try_read_until(model->line.ioc, bytes, sizeof(bytes), &delim, 1,
                                           sizeof(bytes), NULL);

    took(model, bytes, n);
    if (n == QIO_CHANNEL_ERR_BLOCK && !model->kind->late) {
        CHECK(!is_told(model, QIO_CHANNEL_MORE));
    }
}

static void write_some(Model *model)
{
    uint8_t bytes[CHUNK];
    bool until_full = g_rand_int_range(model->rnd, 0, 4) == 0;
    size_t n = until_full ? CHUNK : any_size(model);
    ssize_t put;

    do {
        fill(bytes, n, model->sent);
        put = qio_channel_try_write(model->line.ioc, bytes, n, NULL);
        model->sent += put > 0 ? (uint64_t)put : 0;
    } while (until_full && put > 0 && model->line.drain >= 0);
}

static void step(Model *model)
{
    switch (g_rand_int_range(model->rnd, 0, 12)) {
    case 0: case 1: case 2:
        feed(model);
        break;
    case 3: case 4:
        drain(model, any_size(model));
        break;
    case 5: case 6:
        read_some(model);
        break;
    case 7:
        peek(model);
        break;
    case 8:
        look_for(model);
        break;
    default:
        write_some(model);
        break;
    }
}

/* An end of one kind or another, after which the promise holds as well. */
static void end(Model *model)
{
    Line *line = &model->line;

    switch (g_rand_int_range(model->rnd, 0, 4)) {
    case 0:
        line_end_feed(line);
        break;
    case 1:
        if (line->drain >= 0) {
            CHECK_INT(close(line->drain), ==, 0);
            line->feed = line->feed == line->drain ? -1 : line->feed;
            line->drain = -1;
        }
        break;
    case 2:
        qio_channel_shutdown(line->ioc, QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
        break;
    default:
        break;
    }
}

/* Takes all that was sent; it may be on its way. */
static void empty(Model *model)
{
    struct pollfd pfd = { .fd = model->line.drain, .events = POLLIN };

    while (model->drained < model->sent) {
        CHECK_INT(poll(&pfd, 1, model->kind->late ? 5000 : 0), ==, 1);
        drain(model, CHUNK);
    }
}

static void run(const LineKind *kind, guint32 seed)
{
    Model model = {
        .kind = kind, .rnd = g_rand_new_with_seed(seed), .context = g_main_context_new(),
        .loop = qio_aio_context_new(NULL),
    };

    line_make(&model.line, kind);
    CHECK_INT(qio_channel_set_blocking(model.line.ioc, seed & 1, NULL), ==, 0);
    for (int i = 0; i < STEPS; i++) {
        test_note("%s, seed %u, step %d", kind->name, seed, i);
        if (i == STEPS - 20) {
            end(&model);
        }
        step(&model);
        compare(&model);
        if (kind->flows && model.line.drain >= 0 && i % 10 == 0) {
            empty(&model);
            CHECK(is_told(&model, G_IO_OUT));
        }
    }
    line_drop(&model.line);
    qio_aio_context_unref(model.loop);
    g_main_context_unref(model.context);
    g_rand_free(model.rnd);
}

static void run_all(const char *name)
{
    const LineKind *kind = line_kinds;

    while (strcmp(kind->name, name) != 0) {
        kind++;
    }
    for (guint32 seed = 1; seed <= SEEDS; seed++) {
        run(kind, seed);
    }
}

TEST(unix_socket)
{
    run_all("unix");
}

TEST(tcp_socket)
{
    run_all("tcp");
}

TEST(pipe_to_read)
{
    run_all("pipe to read");
}

TEST(pipe_to_write)
{
    run_all("pipe to write");
}

TEST(command)
{
    run_all("command");
}

TEST(file)
{
    run_all("file");
}

TEST(buffer)
{
    run_all("buffer");
}

TEST(null)
{
    run_all("null");
}
