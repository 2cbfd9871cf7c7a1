/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-ws-bounds.c: what a peer cannot make a WebSocket do: hold much, write without end, use a
 * mask twice, hang; and faults in what it stands on.
 */
#include <sys/wait.h>
#include "seam.h"
#include "websock/websock-priv.h"
#include "ws-util.h"

/* A server over a script, hands shaken; what it writes is taken up to `room` at a time. */
static QIOChannelWebsock *server_over(Scripted *s, QIOOptions *options, size_t room)
{
    QIOChannelWebsock *ws = ws_new(QIO_CHANNEL(s), options, true);

    scripted_text(s, WS_REQUEST "\r\n");
    s->write_room = 4096;
    CHECK_INT(qio_channel_handshake(QIO_CHANNEL(ws), -1, false, NULL), ==, 0);
    g_byte_array_set_size(s->written, 0);
    s->write_room = room;
    return ws;
}

static void drop_both(QIOChannelWebsock *ws, Scripted *s)
{
    qio_object_unref(ws);
    qio_object_unref(s);
}

static size_t held(const QIOChannelWebsock *ws)
{
    return ws->out.cap + (ws->in.buf ? QIO_WS_INPUT_SIZE : 0);
}

/* ---- memory ---- */

TEST(ws_declared_lengths_take_no_memory)
{
    static const uint64_t lengths[] = { (1u << 31) - 1, UINT64_C(1) << 32, UINT64_C(1) << 62,
                                        INT64_MAX };

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        Scripted *s = scripted_new();
        QIOChannelWebsock *ws = server_over(s, NULL, 4096);
        uint8_t frame[18] = { 0x82, 0xff };
        char buf[64];

        for (int k = 0; k < 8; k++) {
            frame[2 + k] = (uint8_t)(lengths[i] >> (56 - 8 * k));
        }
        frame[14] = 'a';
        scripted_bytes(s, frame, sizeof(frame));
        scripted_step(s, STEP_STALL);
        CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL), ==, 4);
        CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(held(ws), <, 32 * 1024);
        drop_both(ws, s);
    }
}

TEST(ws_a_million_fragments)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = server_over(s, NULL, 4096);
    GByteArray *bytes = g_byte_array_new();
    char buf[1000];
    size_t got = 0;

    for (int i = 0; i < 1000000; i++) {
        ws_frame(bytes, i == 0 ? 0x02 : 0x00, "x", 1, true);
    }
    scripted_bytes(s, bytes->data, bytes->len);
    scripted_step(s, STEP_STALL);
    for (ssize_t n; (n = qio_channel_try_read(QIO_CHANNEL(ws), buf, sizeof(buf), NULL)) > 0; ) {
        got += (size_t)n;
    }
    CHECK_INT(got, ==, 1000000);
    CHECK_INT(held(ws), <, 32 * 1024);
    g_byte_array_unref(bytes);
    drop_both(ws, s);
}

/* The peer sends pings and reads nothing: the newest pong is what is kept. */
TEST(ws_pongs_that_nobody_reads)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = server_over(s, NULL, 0);
    GByteArray *bytes = g_byte_array_new();
    char text[16];
    int tries = 0;
    char byte;

    for (int i = 0; i < 100000; i++) {
        g_snprintf(text, sizeof(text), "%06d", i);
        ws_frame(bytes, 0x89, text, 6, true);
    }
    scripted_bytes(s, bytes->data, bytes->len);
    scripted_step(s, STEP_STALL);
    /* No try takes more than its share, and each goes on where the last one stopped. */
    while (s->next + 1 < s->steps->len) {
        s->reads = 0;
        CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), &byte, 1, NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(s->reads, >, 0);
        CHECK_INT(s->reads, <=, QIO_WS_FILLS_MAX);
        tries++;
    }
    CHECK_INT(tries, ==, 2);
    CHECK_INT(held(ws), <, 32 * 1024);
    s->write_room = 4096;
    CHECK_INT(qio_channel_flush(QIO_CHANNEL(ws), NULL), ==, 0);
    /* The first was on its way already. */
    CHECK_INT(s->written->len, ==, 16);
    CHECK_MEM(s->written->data, "\x8a\x06" "000000" "\x8a\x06" "099999", 16);
    g_byte_array_unref(bytes);
    drop_both(ws, s);
}

/* A watch, and a blocking read, go on behind a long run of pings. */
TEST(ws_data_behind_many_pings)
{
    for (int way = 0; way < 2; way++) {
        Scripted *s = scripted_new();
        QIOChannelWebsock *ws = server_over(s, NULL, 1 << 20);
        GByteArray *bytes = g_byte_array_new();
        char byte;

        for (int i = 0; i < 300000; i++) {
            ws_frame(bytes, 0x89, "", 0, true);
        }
        ws_frame(bytes, 0x82, "!", 1, true);
        scripted_bytes(s, bytes->data, bytes->len);
        scripted_step(s, STEP_STALL);
        if (way == 0) {
            CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ws), G_IO_IN, -1, NULL), ==, G_IO_IN);
        }
        CHECK_INT(qio_channel_read(QIO_CHANNEL(ws), &byte, 1, NULL), ==, 1);
        g_byte_array_unref(bytes);
        drop_both(ws, s);
    }
}

/* Nobody reads here: nothing is read from the peer but one buffer. */
TEST(ws_back_pressure_reaches_the_peer)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = server_over(s, NULL, 4096);
    GByteArray *bytes = g_byte_array_new();
    char payload[30000] = { 0 };

    for (int i = 0; i < 10; i++) {
        ws_frame(bytes, 0x82, payload, sizeof(payload), true);
        scripted_bytes(s, bytes->data, bytes->len);
        g_byte_array_set_size(bytes, 0);
    }
    s->reads = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_INT(qio_channel_wait_timeout(QIO_CHANNEL(ws), G_IO_IN, 0, NULL), ==, G_IO_IN);
    }
    CHECK_INT(s->reads, <=, 1);
    g_byte_array_unref(bytes);
    drop_both(ws, s);
}

/* A peer that reads nothing stops the writer, and everything comes in order when it does. */
TEST(ws_back_pressure_of_the_peer)
{
    for (int as_server = 0; as_server < 2; as_server++) {
        QIOChannelWebsock *ends[2];
        QIOChannel *writer, *reader;
        static uint8_t bytes[50000], buf[70000];
        size_t sent = 0, got = 0;
        ssize_t n;

        ws_pair(&ends[0], &ends[1], NULL, NULL);
        writer = QIO_CHANNEL(ends[as_server]);
        reader = QIO_CHANNEL(ends[!as_server]);
        CHECK_INT(qio_channel_set_blocking(writer, false, NULL), ==, 0);
        CHECK_INT(qio_channel_set_blocking(reader, false, NULL), ==, 0);
        for (;;) {
            for (size_t i = 0; i < sizeof(bytes); i++) {
                bytes[i] = (uint8_t)((sent + i) % 251);
            }
            n = qio_channel_write(writer, (char *)bytes, sizeof(bytes), NULL);
            if (n == QIO_CHANNEL_ERR_BLOCK) {
                break;
            }
            CHECK_INT(n, >, 0);
            sent += (size_t)n;
            CHECK_INT(sent, <, 8 << 20);
        }
        CHECK_INT(qio_channel_wait_timeout(writer, G_IO_OUT, 0, NULL), ==, 0);
        CHECK_INT(held(ends[as_server]), <=, 160 * 1024);
        while (got < sent) {
            n = qio_channel_read(reader, (char *)buf, sizeof(buf), NULL);
            if (n == QIO_CHANNEL_ERR_BLOCK) {
                CHECK_INT(qio_channel_wait_timeout(writer, G_IO_OUT, 0, NULL), ==, G_IO_OUT);
                continue;
            }
            CHECK_INT(n, >, 0);
            for (ssize_t i = 0; i < n; i++) {
                CHECK_INT(buf[i], ==, (got + (size_t)i) % 251);
            }
            got += (size_t)n;
        }
        CHECK_INT(qio_channel_read(reader, (char *)buf, sizeof(buf), NULL), ==,
                  QIO_CHANNEL_ERR_BLOCK);
        qio_object_unref(ends[0]);
        qio_object_unref(ends[1]);
    }
}

/* A write that the transport takes byte by byte is whole in the end, and only then the next. */
TEST(ws_slow_transport)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = server_over(s, NULL, 1);

    CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), "abcdef", 6, NULL), ==, 6);
    s->write_room = 0;
    CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), "ghi", 3, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    s->write_room = 1;
    CHECK_INT(qio_channel_try_write(QIO_CHANNEL(ws), "ghi", 3, NULL), ==, 3);
    CHECK_INT(qio_channel_flush(QIO_CHANNEL(ws), NULL), ==, 0);
    CHECK_INT(s->written->len, ==, 13);
    CHECK_MEM(s->written->data, "\x82\x06" "abcdef" "\x82\x03ghi", 13);
    drop_both(ws, s);
}

/* ---- masks ---- */

static int compare_keys(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

TEST(ws_masks_are_fresh)
{
    enum { FRAMES = 100000 };
    QIOChannelWebsock *client, *server;
    g_autofree uint32_t *keys = g_new(uint32_t, FRAMES);
    int repeats = 0, fd;
    uint8_t frame[16];

    ws_pair(&client, &server, NULL, NULL);
    fd = fd_of(qio_channel_get_transport(QIO_CHANNEL(server)));
    for (int i = 0; i < FRAMES; i++) {
        CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "x", 1, NULL), ==, 1);
        CHECK_INT(read(fd, frame, sizeof(frame)), ==, 7);
        memcpy(&keys[i], frame + 2, 4);
        CHECK_INT(frame[6] ^ frame[2], ==, 'x');
    }
    qsort(keys, FRAMES, sizeof(*keys), compare_keys);
    for (int i = 1; i < FRAMES; i++) {
        repeats += keys[i] == keys[i - 1];
    }
    CHECK_INT(repeats, <=, 10);
    qio_object_unref(client);
    qio_object_unref(server);
}

/* Without random bytes nothing is sent, least of all unmasked. */
TEST(ws_no_randomness)
{
    QIOChannelWebsock *client, *server;
    Error *err = NULL;
    char byte;

    ws_pair(&client, &server, NULL, NULL);
    client->out.random_left = 0;
    seam_install();
    seam_fail(SEAM_getrandom, 1, SEAM_ALWAYS, ENOSYS);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOSYS);
    seam_remove();
    qio_error_free(err);
    CHECK_INT(qio_channel_try_read(QIO_CHANNEL(server), &byte, 1, NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "y", 1, NULL), ==, 1);
    CHECK_INT(qio_channel_read(QIO_CHANNEL(server), &byte, 1, NULL), ==, 1);
    qio_object_unref(client);
    qio_object_unref(server);
}

/* A forked child does not mask with what its parent will use. */
TEST(ws_masks_after_a_fork)
{
    QIOChannelWebsock *client, *server;
    uint8_t frames[2][16];
    int status, fd;
    pid_t pid;

    ws_pair(&client, &server, NULL, NULL);
    fd = fd_of(qio_channel_get_transport(QIO_CHANNEL(server)));
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "x", 1, NULL), ==, 1);
    CHECK_INT(read(fd, frames[0], 16), ==, 7);
    pid = fork();
    if (pid == 0) {
        _exit(qio_channel_write(QIO_CHANNEL(client), "x", 1, NULL) == 1 ? 0 : 1);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_INT(read(fd, frames[0], 16), ==, 7);
    CHECK_INT(qio_channel_write(QIO_CHANNEL(client), "x", 1, NULL), ==, 1);
    CHECK_INT(read(fd, frames[1], 16), ==, 7);
    CHECK(memcmp(frames[0] + 2, frames[1] + 2, 4) != 0);
    qio_object_unref(client);
    qio_object_unref(server);
}

/* ---- a channel below that calls its layer ---- */

#define TYPE_CALLER "test-ws-caller"

typedef struct Caller {
    QIOChannel parent;
    QIOChannel *layer;
    int busy;
} Caller;

static ssize_t caller_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                            size_t *nfds, Error **errp)
{
    Caller *caller = (Caller *)ioc;
    Error *err = NULL;
    char byte;

    if (caller->layer && qio_channel_try_read(caller->layer, &byte, 1, &err) == -1 &&
        qio_error_get_code(err) == QIO_ERROR_BUSY) {
        caller->busy++;
    }
    qio_error_free(err);
    return 0;
}

static ssize_t caller_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                             size_t nfds, Error **errp)
{
    return qio_iov_length(iov, niov, errp);
}

static int caller_close(QIOChannel *ioc, Error **errp)
{
    return 0;
}

static int caller_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static void caller_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *k = (QIOChannelClass *)klass;

    k->io_readv = caller_readv;
    k->io_writev = caller_writev;
    k->io_close = caller_close;
    k->io_poll = caller_poll;
}

TEST(ws_below_that_calls_its_layer_is_told_busy)
{
    static const TypeInfo info = { .name = TYPE_CALLER, .parent = TYPE_QIO_CHANNEL,
                                   .instance_size = sizeof(Caller),
                                   .class_init = caller_class_init };
    Caller *caller;
    QIOChannelWebsock *ws;
    char byte;

    qio_type_register_static(&info);
    caller = (Caller *)qio_object_new(TYPE_CALLER);
    ws = ws_new(QIO_CHANNEL(caller), NULL, true);
    caller->layer = QIO_CHANNEL(ws);
    CHECK_INT(qio_channel_try_read(QIO_CHANNEL(ws), &byte, 1, NULL), ==, -1);
    CHECK_INT(caller->busy, ==, 1);
    caller->layer = NULL;
    qio_object_unref(ws);
    qio_object_unref(caller);
}

/* A peer that goes on sending does not keep who says goodbye from looking at the clock. */
TEST(ws_bye_to_a_peer_that_does_not_stop)
{
    Scripted *s = scripted_new();
    QIOChannelWebsock *ws = server_over(s, NULL, 4096);
    GByteArray *bytes = g_byte_array_new();
    char payload[1000] = { 0 };
    int tries = 0, ret;

    while (bytes->len < 4 * QIO_WS_FILLS_MAX * QIO_WS_INPUT_SIZE) {
        ws_frame(bytes, 0x82, payload, sizeof(payload), true);
    }
    ws_frame(bytes, 0x88, "", 0, true);
    scripted_bytes(s, bytes->data, bytes->len);
    do {
        s->reads = 0;
        ret = qio_channel_class(QIO_CHANNEL(ws))->io_bye(QIO_CHANNEL(ws), NULL);
        CHECK_INT(s->reads, <=, QIO_WS_FILLS_MAX);
        tries++;
    } while (ret == QIO_CHANNEL_ERR_BLOCK && tries < 10);
    CHECK_INT(ret, ==, 0);
    g_byte_array_unref(bytes);
    drop_both(ws, s);
}

static gboolean not_called(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    CHECK(false);
    return FALSE;
}

/* What another thread leaves behind goes out as soon as the peer takes it, also when the loop has
 * gone to sleep over reading before. */
TEST(ws_rest_of_a_frame_is_seen_off_by_a_sleeping_loop)
{
    for (int server = 0; server < 2; server++) {
        QIOChannelWebsock *a, *b;
        AioContext *ctx = qio_aio_context_new(NULL);
        QIOChannelWebsock *ws, *peer;
        static char big[60000], buf[60000];
        size_t sent = 0, got = 0;
        QIOLoopWatch *watch;
        ssize_t n;

        ws_pair(&a, &b, NULL, NULL);
        ws = server ? b : a;
        peer = server ? a : b;
        watch = qio_channel_add_aio_watch(QIO_CHANNEL(ws), ctx, G_IO_IN, not_called, NULL, NULL,
                                          NULL);
        while (qio_aio_context_dispatch(ctx, 0, NULL) > 0) {
        }
        while ((n = qio_channel_try_write(QIO_CHANNEL(ws), big, sizeof(big), NULL)) > 0) {
            sent += (size_t)n;
        }
        CHECK(qio_ws_pending(ws));
        for (int idle = 0; got < sent && idle < 100; idle++) {
            while ((n = qio_channel_try_read(QIO_CHANNEL(peer), buf, sizeof(buf), NULL)) > 0) {
                got += (size_t)n;
                idle = 0;
            }
            qio_aio_context_dispatch(ctx, 0, NULL);
        }
        CHECK_INT(got, ==, sent);
        qio_loop_watch_remove(watch);
        qio_loop_watch_unref(watch);
        qio_object_unref(a);
        qio_object_unref(b);
        qio_aio_context_unref(ctx);
    }
}
