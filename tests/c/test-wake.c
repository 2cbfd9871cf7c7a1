/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-wake.c: whoever waits is woken by what others do to the channel.
 *
 * Owns: what no descriptor shows any more by the time that somebody sleeps over it: bytes that
 * another has moved into a layer or a read-ahead, ends that another has seen, numbers of
 * descriptors that are another file's by now.  Each test does in one thread, in the order that
 * matters, what threads do at once.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <qio/channel-buffer.h>
#include "channel/channel-priv.h"
#include "loop/context.h"
#include "seam.h"
#include "tls-pair.h"
#include "ws-util.h"

static const char *const psk = "tls-psk-file=@keys.psk";

/* ---- a watch that is asleep ---- */

typedef struct Asleep {
    AioContext *ctx;
    QIOLoopWatch *watch;
    int calls;
} Asleep;

static gboolean on_ready(QIOChannel *ioc, GIOCondition condition, gpointer opaque)
{
    ((Asleep *)opaque)->calls++;
    return TRUE;
}

/* It has been asked, and sleeps over descriptors from now on. */
static void fall_asleep(Asleep *asleep, QIOChannel *ioc, GIOCondition condition)
{
    *asleep = (Asleep){ .ctx = qio_aio_context_new(NULL) };
    asleep->watch = qio_channel_add_aio_watch(ioc, asleep->ctx, condition, on_ready, asleep, NULL,
                                              NULL);
    CHECK(asleep->watch != NULL);
    CHECK_INT(qio_aio_context_dispatch(asleep->ctx, 0, NULL), ==, 0);
}

static void check_awake(Asleep *asleep)
{
    CHECK_INT(qio_aio_context_dispatch(asleep->ctx, 0, NULL), ==, 1);
    CHECK_INT(asleep->calls, ==, 1);
    qio_loop_watch_remove(asleep->watch);
    qio_loop_watch_unref(asleep->watch);
    qio_aio_context_unref(asleep->ctx);
}

/* One thread reads a part while another's watch sleeps: the rest is to be read. */
static void check_part(QIOChannel *from, QIOChannel *to)
{
    Asleep asleep;
    char buf[20];

    CHECK_INT(qio_channel_set_blocking(to, false, NULL), ==, 0);
    fall_asleep(&asleep, to, G_IO_IN);
    CHECK_INT(qio_channel_write(from, "0123456789", 10, NULL), ==, 10);
    CHECK_INT(qio_channel_try_read(to, buf, 4, NULL), ==, 4);
    check_awake(&asleep);
    CHECK_INT(qio_channel_try_read(to, buf, 20, NULL), ==, 6);
    CHECK_MEM(buf, "456789", 6);
}

TEST(what_a_reader_of_tls_leaves_wakes_a_watch)
{
    TlsPair two;

    tls_pair(&two, psk, psk, NULL, NULL);
    tls_shake_well(&two);
    check_part(two.client, two.server);
    tls_drop(&two);
}

TEST(what_a_reader_of_a_websocket_leaves_wakes_a_watch)
{
    QIOChannelWebsock *client, *server;

    ws_pair(&client, &server, NULL, NULL);
    check_part(QIO_CHANNEL(client), QIO_CHANNEL(server));
    drop(QIO_CHANNEL(client), QIO_CHANNEL(server));
}

static void on_websockets(QIOChannel **a, QIOChannel **b)
{
    QIOChannelWebsock *client, *server;

    ws_pair(&client, &server, NULL, NULL);
    *a = QIO_CHANNEL(client);
    *b = QIO_CHANNEL(server);
}

/* Records that the WebSocket below holds while TLS has none. */
TEST(what_is_left_below_a_layer_wakes_a_watch)
{
    Asleep asleep;
    TlsPair two;
    char buf[20];

    tls_pair_on(&two, on_websockets, psk, psk, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_set_blocking(two.server, false, NULL), ==, 0);
    while (qio_channel_try_read(two.server, buf, 20, NULL) > 0) {
    }
    fall_asleep(&asleep, two.server, G_IO_IN);
    CHECK_INT(qio_channel_write(two.client, "first", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_write(two.client, "second", 6, NULL), ==, 6);
    CHECK_INT(qio_channel_try_read(two.server, buf, 5, NULL), ==, 5);
    check_awake(&asleep);
    CHECK_INT(qio_channel_try_read(two.server, buf, 20, NULL), ==, 6);
    tls_drop(&two);
}

/* Somebody only asks whether there is something, and goes. */
TEST(what_a_passer_by_decodes_wakes_a_watch)
{
    QIOChannelWebsock *client, *server;
    QIOChannel *to;
    Asleep asleep;

    ws_pair(&client, &server, NULL, NULL);
    to = QIO_CHANNEL(server);
    fall_asleep(&asleep, to, G_IO_IN);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "0123456789", 10, NULL), ==, 10);
    CHECK_INT(qio_channel_wait_timeout(to, G_IO_IN, 0, NULL), ==, G_IO_IN);
    check_awake(&asleep);
    drop(QIO_CHANNEL(client), QIO_CHANNEL(server));
}

/* One thread ends the layer in order and takes the other side's answer; another reads. */
static void check_end(QIOChannel *ours, QIOChannel *theirs)
{
    QIOStepFunc *bye = QIO_CHANNEL_GET_CLASS(ours)->io_bye;
    Asleep asleep;

    CHECK_INT(bye(ours, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    fall_asleep(&asleep, ours, G_IO_IN);
    CHECK_INT(bye(theirs, NULL), ==, 0);
    CHECK_INT(bye(ours, NULL), ==, 0);
    check_awake(&asleep);
}

TEST(the_end_of_tls_that_another_saw_wakes_a_watch)
{
    TlsPair two;

    tls_pair(&two, psk, psk, NULL, NULL);
    tls_shake_well(&two);
    check_end(two.client, two.server);
    tls_drop(&two);
}

TEST(the_end_of_a_websocket_that_another_saw_wakes_a_watch)
{
    QIOChannelWebsock *client, *server;

    ws_pair(&client, &server, NULL, NULL);
    check_end(QIO_CHANNEL(client), QIO_CHANNEL(server));
    drop(QIO_CHANNEL(client), QIO_CHANNEL(server));
}

/* A pong that the transport did not take: who sleeps over reading has to see it off. */
TEST(a_pong_that_a_reader_left_is_sent_by_a_watch)
{
    static char buf[65536];
    QIOChannel *peer, *ws;
    Asleep asleep;
    int fd, below;

    ws = QIO_CHANNEL(ws_server_on(&fd, &peer, NULL));
    below = fd_of(qio_channel_get_transport(ws));
    while (send(below, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
    }
    fall_asleep(&asleep, ws, G_IO_IN);
    ws_say(fd, 0x89, "ping");
    CHECK_INT(qio_channel_try_read(ws, buf, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_aio_context_dispatch(asleep.ctx, 0, NULL), ==, 0);
    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
    }
    CHECK_INT(qio_aio_context_dispatch(asleep.ctx, 0, NULL), ==, 0);
    CHECK_INT(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), ==, 6);
    CHECK_MEM(buf, "\x8a\x04ping", 6);
    ws_say(fd, 0x82, "x");
    check_awake(&asleep);
    drop(ws, peer);
}

/* What a search that failed has read ahead is there for whoever reads. */
TEST(what_a_failed_search_has_read_wakes_a_watch)
{
    const struct iovec delim = { "\n", 1 };
    QIOChannel *a, *b;
    Asleep asleep;
    char buf[8];

    pair(&a, &b);
    fall_asleep(&asleep, a, G_IO_IN);
    CHECK_INT(qio_channel_write(b, "0123456789", 10, NULL), ==, 10);
    CHECK_INT(qio_channel_try_read_until(a, buf, sizeof(buf), &delim, 1, 8, NULL), ==, -1);
    check_awake(&asleep);
    drop(a, b);
}

/* ---- sleepers ---- */

/* A channel whose look at itself waits for something else of the same thread. */
typedef struct Nested {
    QIOChannel parent;
    QIOChannel *other;
    int looks;
    bool told_by_another;       /* whose call moved what he waits for */
} Nested;

static void *kick_others(void *ioc)
{
    qio_channel_kick_others(ioc);
    return NULL;
}

static int nested_advance(QIOChannel *ioc, GIOCondition condition)
{
    Nested *nested = (Nested *)ioc;
    pthread_t thread;

    if (nested->looks++ == 2) {
        /* It has just found itself not ready; now it becomes so. */
        if (nested->told_by_another) {
            CHECK_INT(pthread_create(&thread, NULL, kick_others, ioc), ==, 0);
            pthread_join(thread, NULL);
        } else {
            qio_channel_notify(ioc, G_IO_IN);
        }
        CHECK_INT(qio_channel_wait_timeout(nested->other, G_IO_IN, 1, NULL), ==, 0);
        return 0;
    }
    return nested->looks > 3 ? G_IO_IN : 0;
}

static int nested_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static void nested_class_init(ObjectClass *klass, void *data)
{
    ((QIOChannelClass *)klass)->io_advance = nested_advance;
    ((QIOChannelClass *)klass)->io_poll = nested_poll;
}

static const TypeInfo nested_type = {
    .name = "test-nested-channel",
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(Nested),
    .class_init = nested_class_init,
};

TEST(a_wait_inside_a_look_leaves_the_outer_one_its_word)
{
    Nested *nested;
    QIOChannel *a, *b;

    qio_type_register_static(&nested_type);
    pair(&a, &b);
    for (int by_another = 0; by_another < 2; by_another++) {
        nested = (Nested *)qio_object_new("test-nested-channel");
        nested->other = a;
        nested->told_by_another = by_another;
        /* One look that passes by, one asleep, the one that waits itself, the last. */
        nested->looks = 1;
        CHECK_INT(qio_channel_wait_timeout(&nested->parent, G_IO_IN, -1, NULL), ==, G_IO_IN);
        CHECK_INT(nested->looks, ==, 4);
        qio_object_unref(nested);
    }
    drop(a, b);
}

/* ---- loops ---- */

static QIOSysTable table;
static AioContext *told;

/* A notify by another thread comes between looking for it and emptying the wake-up descriptor. */
static ssize_t tell_and_read(int fd, void *buf, size_t len)
{
    AioContext *ctx = g_steal_pointer(&told);

    if (ctx) {
        qio_aio_context_notify(ctx);
    }
    return qio_sys_direct.read(fd, buf, len);
}

static void tell_before_read(AioContext *ctx)
{
    table = qio_sys_direct;
    table.read = tell_and_read;
    told = ctx;
    qio_sys = &table;
}

static void nothing(void *opaque)
{
}

static int no_fds(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    return 0;
}

static void no_ref(void *subject)
{
}

static gboolean never(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    CHECK(false);
    return FALSE;
}

TEST(a_notify_is_not_lost_by_who_goes_to_sleep, .timeout_s = 5)
{
    static const QIOLoopSubjectOps ops = { .poll = no_fds, .ref = no_ref, .unref = no_ref };
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOLoopWatch *watch = qio_loop_add_subject(ctx, &table, &ops, G_IO_IN, never, NULL, NULL, NULL);

    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(qio_aio_context_get_fd(ctx), >=, 0);
    qio_loop_watch_kick(watch);
    tell_before_read(ctx);
    CHECK_INT(qio_aio_context_dispatch(ctx, -1, NULL), ==, 0);
    CHECK(told == NULL);
    qio_sys = &qio_sys_direct;
    qio_loop_watch_remove(watch);
    qio_loop_watch_unref(watch);
    qio_aio_context_unref(ctx);
}

TEST(a_notify_is_not_lost_by_who_leaves)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    struct pollfd pfd = { .fd = qio_aio_context_get_fd(ctx), .events = POLLIN };

    CHECK_INT(qio_aio_context_defer(ctx, nothing, NULL, NULL, NULL), ==, 0);
    tell_before_read(ctx);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK(told == NULL);
    qio_sys = &qio_sys_direct;
    CHECK_INT(poll(&pfd, 1, 0), ==, 1);
    qio_aio_context_unref(ctx);
}

static QIOLoopWatch *ends_itself;

static GIOCondition advance_and_end(void *subject, GIOCondition wanted)
{
    int *asked = subject;

    if (++*asked == 2) {
        qio_loop_watch_end(ends_itself);
    }
    return *asked == 1 ? G_IO_IN : 0;
}

/* It is ended, by another thread, while it is asked before it is reported. */
TEST(an_event_that_ends_while_it_is_asked_is_told)
{
    static const QIOLoopSubjectOps ops = {
        .advance = advance_and_end, .poll = no_fds, .ref = no_ref, .unref = no_ref,
    };
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOLoopEvent event;
    int asked = 0;
    bool due;

    ends_itself = qio_loop_add_subject(ctx, &asked, &ops, G_IO_IN, NULL, NULL, NULL, NULL);
    CHECK_INT(qio_loop_next(ctx, &event, 1, 0, &due, NULL), ==, 1);
    CHECK_INT(event.kind, ==, QIO_LOOP_WATCH);
    CHECK_INT(event.condition, ==, G_IO_IN | G_IO_NVAL);
    CHECK_INT(qio_loop_next(ctx, &event, 1, 0, &due, NULL), ==, 1);
    CHECK_INT(event.kind, ==, QIO_LOOP_RELEASED);
    qio_loop_watch_unref(ends_itself);
    qio_aio_context_unref(ctx);
}

/* The number of the timer of a handshake that has ended is the next file's. */
static void check_number(QIOChannel *ours, QIOChannel *theirs)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOTask *task = qio_channel_handshake_task(ours, 60000, ctx, NULL, NULL, NULL);
    QIOPollFd named[4] = { 0 };
    QIOChannel *a, *b;
    Asleep other = { .ctx = ctx };
    int fd;

    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 0);
    CHECK_INT(QIO_CHANNEL_GET_CLASS(ours)->io_poll(ours, G_IO_IN, named, 4), ==, 2);
    while (QIO_CHANNEL_GET_CLASS(ours)->io_handshake(ours, NULL) != 0) {
        CHECK_INT(QIO_CHANNEL_GET_CLASS(theirs)->io_handshake(theirs, NULL), !=, -1);
    }
    pair(&a, &b);
    fd = fd_of(a) == named[1].fd ? fd_of(a) : fd_of(b);
    CHECK_INT(fd, ==, named[1].fd);
    other.watch = qio_channel_add_aio_watch(fd == fd_of(a) ? a : b, ctx, G_IO_IN, on_ready, &other,
                                            NULL, NULL);
    CHECK_INT(qio_channel_write(fd == fd_of(a) ? b : a, "x", 1, NULL), ==, 1);
    CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), ==, 1);
    CHECK_INT(other.calls, ==, 1);
    qio_loop_watch_remove(other.watch);
    qio_loop_watch_unref(other.watch);
    CHECK_INT(qio_task_wait(task, -1, NULL), ==, 1);
    qio_task_unref(task);
    qio_aio_context_unref(ctx);
    drop(a, b);
}

TEST(the_number_of_a_tls_timer_is_free_for_others)
{
    TlsPair two;

    tls_pair(&two, psk, psk, NULL, NULL);
    check_number(two.server, two.client);
    tls_drop(&two);
}

TEST(the_number_of_a_websocket_timer_is_free_for_others)
{
    QIOChannelWebsock *client, *server;
    QIOChannel *a, *b;

    pair(&a, &b);
    client = ws_new(a, NULL, false);
    server = ws_new(b, NULL, true);
    drop(a, b);
    check_number(QIO_CHANNEL(server), QIO_CHANNEL(client));
    drop(QIO_CHANNEL(client), QIO_CHANNEL(server));
}

/* ---- added from another thread than the loop's ---- */

static void *run_loop(void *ctx)
{
    CHECK_INT(qio_aio_context_run(ctx, NULL), ==, 0);
    return NULL;
}

static gboolean once(QIOChannel *ioc, GIOCondition condition, gpointer opaque)
{
    return FALSE;
}

static void count_end(gpointer opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

/* The loop may have called a watch, and let go of it, before its maker has it in any list. */
TEST(watches_that_end_while_they_are_added)
{
    enum { WATCHES = 3000 };
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOChannel *buffer = QIO_CHANNEL(qio_channel_buffer_new(0));
    atomic_int ended = 0;
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, run_loop, ctx), ==, 0);
    for (int i = 0; i < WATCHES; i++) {
        qio_loop_watch_unref(qio_channel_add_aio_watch(buffer, ctx, G_IO_OUT, once, &ended,
                                                       count_end, NULL));
        qio_channel_notify(buffer, G_IO_OUT);
    }
    while (atomic_load(&ended) < WATCHES) {
        sched_yield();
    }
    qio_aio_context_quit(ctx);
    pthread_join(thread, NULL);
    CHECK(qio_channel_priv(buffer)->aio_watches == NULL);
    qio_aio_context_unref(ctx);
    qio_object_unref(buffer);
}

/* ---- a class written from the seed alone ---- */

static ssize_t no_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                        size_t *nfds, Error **errp)
{
    return QIO_CHANNEL_ERR_BLOCK;
}

static GSource *never_ready(QIOChannel *ioc, GIOCondition condition)
{
    static GSourceFuncs none;

    return g_source_new(&none, sizeof(GSource));
}

static void set_handlers(QIOChannel *ioc, AioContext *ctx, IOHandler *io_read, IOHandler *io_write,
                         void *opaque)
{
    ioc->read_coroutine = (Coroutine *)(io_read ? opaque : NULL);
}

static void seed_class_init(ObjectClass *klass, void *data)
{
    ((QIOChannelClass *)klass)->io_readv = no_readv;
    ((QIOChannelClass *)klass)->io_create_watch = never_ready;
    ((QIOChannelClass *)klass)->io_set_aio_fd_handler = set_handlers;
}

static QIOChannel *seed_new(void)
{
    static const TypeInfo type = {
        .name = "test-seed-channel",
        .parent = TYPE_QIO_CHANNEL,
        .instance_size = sizeof(QIOChannel),
        .class_init = seed_class_init,
    };

    qio_type_register_static(&type);
    return QIO_CHANNEL(qio_object_new("test-seed-channel"));
}

static void *wait_for_input(void *ioc)
{
    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN, -1, NULL), ==, G_IO_IN);
    return NULL;
}

TEST(what_is_given_back_wakes_who_waits_for_a_seed_class)
{
    QIOChannel *ioc = seed_new();
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, wait_for_input, ioc), ==, 0);
    while (__atomic_load_n(&qio_channel_priv(ioc)->waiters, __ATOMIC_SEQ_CST) == NULL) {
        sched_yield();
    }
    CHECK_INT(qio_channel_unread(ioc, "x", 1, NULL), ==, 0);
    pthread_join(thread, NULL);
    qio_object_unref(ioc);
}

TEST(a_closed_loop_keeps_its_references_from_a_seed_class)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    QIOChannel *ioc = seed_new();
    atomic_int ended = 0;

    CHECK_INT(qio_aio_context_close(ctx, NULL), ==, 0);
    CHECK(qio_channel_add_aio_watch(ioc, ctx, G_IO_IN, once, &ended, count_end, NULL) == NULL);
    CHECK_INT(ended, ==, 1);
    CHECK(ioc->read_coroutine == NULL);
    CHECK_INT(atomic_load(&ctx->refs), ==, 1);
    qio_aio_context_unref(ctx);
    qio_object_unref(ioc);
}

/* ---- a close that is under way ---- */

static int step_of_closed(QIOChannel *ioc, Error **errp)
{
    /* As its closer does it: first what lies below, then the layer. */
    atomic_fetch_or(&qio_channel_priv(qio_channel_get_transport(ioc))->use, QIO_USE_CLOSING);
    qio_error_set(errp, QIO_ERROR_CLOSED, "met by the step");
    return -1;
}

TEST(a_step_that_meets_a_close_below_was_cancelled)
{
    QIOChannelWebsock *client, *server;
    QIOChannel *ours;
    Error *err = NULL;

    ws_pair(&client, &server, NULL, NULL);
    ours = QIO_CHANNEL(client);
    CHECK_INT(qio_channel_take_steps(ours, step_of_closed, G_IO_IN, QIO_NEVER, false, &err), ==,
              -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CANCELLED);
    qio_error_free(err);
    atomic_fetch_and(&qio_channel_priv(qio_channel_get_transport(ours))->use,
                     ~(uint32_t)QIO_USE_CLOSING);
    drop(ours, QIO_CHANNEL(server));
}
