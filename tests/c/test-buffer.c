/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-buffer.c: the channels that are always ready: buffer and null.
 *
 * Owns: the promises of channel-buffer.h and channel-null.h; the buffer is compared with a
 * plain model over random operations.
 */
#include "runner.h"
#include "seam.h"

#include <glib.h>
#include <limits.h>
#include <pthread.h>
#include <qio/channel-buffer.h>
#include <qio/channel-null.h>

static QIOChannel *buffer_new(size_t capacity)
{
    return QIO_CHANNEL(qio_channel_buffer_new(capacity));
}

TEST(buffer_starts_empty)
{
    QIOChannel *ioc = buffer_new(0);
    char byte;

    CHECK_INT(qio_channel_read(ioc, &byte, 1, NULL), ==, 0);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, 0);
    CHECK(!qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_FD_PASS));
    qio_object_unref(ioc);
}

TEST(buffer_overwrites_at_the_position)
{
    QIOChannel *ioc = buffer_new(16);
    char big[100], buf[100];

    memset(big, 'x', sizeof(big));
    CHECK_INT(qio_channel_write(ioc, big, 100, NULL), ==, 100);
    CHECK_INT(qio_channel_io_seek(ioc, 0, SEEK_SET, NULL), ==, 0);
    memset(big, 'y', 50);
    CHECK_INT(qio_channel_write(ioc, big, 50, NULL), ==, 50);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, 100);
    CHECK_INT(qio_channel_io_seek(ioc, 0, SEEK_SET, NULL), ==, 0);
    CHECK_INT(qio_channel_read(ioc, buf, 100, NULL), ==, 100);
    CHECK_MEM(buf, big, 100);
    qio_object_unref(ioc);
}

TEST(buffer_seek_has_three_origins)
{
    QIOChannel *ioc = buffer_new(0);
    Error *err = NULL;

    qio_channel_write(ioc, "0123456789", 10, NULL);
    CHECK_INT(qio_channel_io_seek(ioc, -3, SEEK_END, NULL), ==, 7);
    CHECK_INT(qio_channel_io_seek(ioc, -2, SEEK_CUR, NULL), ==, 5);
    CHECK_INT(qio_channel_io_seek(ioc, 20, SEEK_CUR, NULL), ==, 25);
    CHECK_INT(qio_channel_io_seek(ioc, -1, SEEK_SET, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_io_seek(ioc, INT64_MAX, SEEK_CUR, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->offset, ==, 25);
    qio_object_unref(ioc);
}

/* SEEK_CUR counts from the reader, who is before what is read ahead. */
TEST(buffer_seek_and_what_is_read_ahead)
{
    QIOChannel *ioc = (QIOChannel *)qio_channel_buffer_new(0);
    Error *err = NULL;
    char byte;

    CHECK_INT(qio_channel_write_all(ioc, "0123456789", 10, NULL), ==, 0);
    CHECK_INT(qio_channel_io_seek(ioc, 2, SEEK_SET, NULL), ==, 2);
    CHECK_INT(qio_channel_peek(ioc, &byte, 1, NULL), ==, 1);
    CHECK_INT(qio_channel_get_pending(ioc), >=, 1);
    CHECK_INT(qio_channel_io_seek(ioc, INT64_MIN, SEEK_CUR, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "offset");
    qio_error_free(err);
    CHECK_INT(qio_channel_get_pending(ioc), >=, 1);
    CHECK_INT(qio_channel_io_seek(ioc, 1, SEEK_CUR, NULL), ==, 3);
    CHECK_INT(qio_channel_read(ioc, &byte, 1, NULL), ==, 1);
    CHECK_INT(byte, ==, '3');
    qio_object_unref(ioc);
}

TEST(buffer_fills_just_the_gap)
{
    QIOChannel *ioc = buffer_new(0);
    char buf[8];

    qio_channel_write(ioc, "ab", 2, NULL);
    qio_channel_io_seek(ioc, 5, SEEK_SET, NULL);
    CHECK_INT(qio_channel_read(ioc, buf, 8, NULL), ==, 0);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, 2);
    CHECK_INT(qio_channel_write(ioc, "z", 1, NULL), ==, 1);
    CHECK_INT(qio_channel_pread(ioc, buf, 8, 0, NULL), ==, 6);
    CHECK_MEM(buf, "ab\0\0\0z", 6);
    qio_object_unref(ioc);
}

TEST(buffer_refuses_what_cannot_fit)
{
    QIOChannel *ioc = buffer_new(0);
    Error *err = NULL;

    CHECK_INT(qio_channel_io_seek(ioc, INT64_MAX, SEEK_SET, NULL), ==, INT64_MAX);
    CHECK_INT(qio_channel_write(ioc, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EFBIG);
    g_clear_pointer(&err, qio_error_free);
    /* A sanitizer takes such an allocation for a mistake. */
    if (!TEST_UNDER_SANITIZER) {
        CHECK_INT(qio_channel_pwrite(ioc, "x", 1, INT64_MAX - 1000, &err), ==, -1);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOMEM);
        qio_error_free(err);
    }
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, 0);
    qio_object_unref(ioc);
}

/* What a buffer is to be: a byte array, an end and a position. */
typedef struct Model {
    uint8_t bytes[4096];
    size_t usage, offset;
} Model;

static void model_write(Model *model, size_t at, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (at > model->usage) {
        memset(model->bytes + model->usage, 0, at - model->usage);
    }
    memcpy(model->bytes + at, bytes, len);
    model->usage = MAX(model->usage, at + len);
}

static size_t model_left(const Model *model, size_t at, size_t len)
{
    return at >= model->usage ? 0 : MIN(len, model->usage - at);
}

static void random_step(QIOChannel *ioc, Model *model, GRand *rnd)
{
    uint8_t bytes[200], got[200];
    size_t len = (size_t)g_rand_int_range(rnd, 0, 200);
    size_t cut = (size_t)g_rand_int_range(rnd, 0, (int)len + 1);
    size_t at = (size_t)g_rand_int_range(rnd, 0, 3000), n;
    struct iovec in[3] = { { got, cut }, { got + cut, 0 }, { got + cut, len - cut } };
    struct iovec out[3] = { { bytes, cut }, { NULL, 0 }, { bytes + cut, len - cut } };

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)g_rand_int(rnd);
    }
    switch (g_rand_int_range(rnd, 0, 5)) {
    case 0:
        CHECK_INT(qio_channel_readv(ioc, in, 3, NULL), ==,
                  n = model_left(model, model->offset, len));
        CHECK_MEM(got, model->bytes + model->offset, n);
        model->offset += n;
        break;
    case 1:
        if (model->offset + len <= sizeof(model->bytes)) {
            CHECK_INT(qio_channel_writev(ioc, out, 3, NULL), ==, len);
            model_write(model, model->offset, bytes, len);
            model->offset += len;
        }
        break;
    case 2:
        CHECK_INT(qio_channel_pread(ioc, got, len, (off_t)at, NULL), ==,
                  n = model_left(model, at, len));
        CHECK_MEM(got, model->bytes + at, n);
        break;
    case 3:
        CHECK_INT(qio_channel_pwrite(ioc, bytes, len, (off_t)at, NULL), ==, len);
        model_write(model, at, bytes, len);
        break;
    case 4:
        CHECK_INT(qio_channel_io_seek(ioc, (off_t)at, SEEK_SET, NULL), ==, at);
        model->offset = at;
        break;
    }
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, model->usage);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->offset, ==, model->offset);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->capacity, >=, model->usage);
}

TEST(buffer_is_its_model)
{
    for (guint32 seed = 1; seed <= 40; seed++) {
        GRand *rnd = g_rand_new_with_seed(seed);
        Model *model = g_new0(Model, 1);
        QIOChannel *ioc = buffer_new(seed % 3 == 0 ? 0 : seed);

        test_note("seed %u", seed);
        for (int step = 0; step < 500; step++) {
            random_step(ioc, model, rnd);
        }
        if (model->usage > 0) {
            CHECK_MEM(QIO_CHANNEL_BUFFER(ioc)->data, model->bytes, model->usage);
        }
        qio_object_unref(ioc);
        g_free(model);
        g_rand_free(rnd);
    }
}

TEST(buffer_is_always_ready)
{
    QIOChannel *ioc = buffer_new(0);

    CHECK_INT(qio_channel_set_blocking(ioc, false, NULL), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN | G_IO_OUT, -1, NULL), ==, G_IO_IN | G_IO_OUT);
    qio_channel_wait(ioc, G_IO_IN);
    CHECK_INT(qio_channel_get_fd(ioc, NULL), ==, -1);
    qio_object_unref(ioc);
}

TEST(buffer_after_close)
{
    QIOChannel *ioc = buffer_new(10);
    Error *err = NULL;
    char byte;

    qio_channel_write(ioc, "x", 1, NULL);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    CHECK_INT(qio_channel_read(ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    CHECK_INT(qio_channel_write(ioc, "x", 1, NULL), ==, -1);
    CHECK_INT(qio_channel_io_seek(ioc, 0, SEEK_SET, NULL), ==, -1);
    qio_object_unref(ioc);
}

static void *write_much(void *opaque)
{
    QIOChannel *ioc = opaque;

    for (int i = 0; i < 5000; i++) {
        CHECK_INT(qio_channel_pwrite(ioc, "some bytes", 10, i * 10, NULL), ==, 10);
    }
    return NULL;
}

TEST(buffer_reader_and_writer_at_once)
{
    QIOChannel *ioc = buffer_new(0);
    pthread_t writer;
    char buf[64];

    CHECK_INT(pthread_create(&writer, NULL, write_much, ioc), ==, 0);
    for (int i = 0; i < 5000; i++) {
        CHECK_INT(qio_channel_pread(ioc, buf, sizeof(buf), i, NULL), >=, 0);
    }
    pthread_join(writer, NULL);
    CHECK_INT(QIO_CHANNEL_BUFFER(ioc)->usage, ==, 50000);
    qio_object_unref(ioc);
}

/* ---- null ---- */

TEST(null_reads_nothing_and_swallows_all)
{
    QIOChannel *ioc = QIO_CHANNEL(qio_channel_null_new());
    struct iovec iov[2] = { { (void *)"abc", 3 }, { (void *)"defg", 4 } };
    char buf[10];

    CHECK_INT(qio_channel_read(ioc, buf, 10, NULL), ==, 0);
    CHECK_INT(qio_channel_writev(ioc, iov, 2, NULL), ==, 7);
    CHECK_INT(qio_channel_write_all(ioc, "xyz", 3, NULL), ==, 0);
    CHECK_INT(qio_channel_io_seek(ioc, 12345, SEEK_SET, NULL), ==, 0);
    CHECK_INT(qio_channel_pread(ioc, buf, 10, 5, NULL), ==, 0);
    CHECK_INT(qio_channel_pwrite(ioc, buf, 10, 5, NULL), ==, 10);
    CHECK_INT(qio_channel_read_all_eof(ioc, buf, 10, NULL), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN | G_IO_OUT, -1, NULL), ==, G_IO_IN | G_IO_OUT);
    qio_channel_close(ioc, NULL);
    CHECK_INT(qio_channel_read(ioc, buf, 10, NULL), ==, -1);
    CHECK_INT(qio_channel_write(ioc, buf, 10, NULL), ==, -1);
    qio_object_unref(ioc);
}

static gboolean note_condition(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    *(GIOCondition *)data = condition;
    return FALSE;
}

TEST(null_watch_fires_with_all_that_was_asked)
{
    QIOChannel *ioc = QIO_CHANNEL(qio_channel_null_new());
    GMainContext *context = g_main_context_new();
    GIOCondition seen = 0;

    qio_channel_add_watch_full(ioc, G_IO_IN | G_IO_OUT, note_condition, &seen, NULL, context);
    CHECK(g_main_context_iteration(context, FALSE));
    CHECK_INT(seen, ==, G_IO_IN | G_IO_OUT);
    g_main_context_unref(context);
    qio_object_unref(ioc);
}

TEST(nothing_to_move_ignores_errno)
{
    QIOChannel *iocs[] = { buffer_new(0), QIO_CHANNEL(qio_channel_null_new()) };
    const int numbers[] = { EINTR, EAGAIN, EPIPE };
    char byte;

    for (size_t i = 0; i < G_N_ELEMENTS(iocs); i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(numbers); k++) {
            errno = numbers[k];
            CHECK_INT(qio_channel_read(iocs[i], &byte, 0, NULL), ==, 0);
            CHECK_INT(qio_channel_write(iocs[i], &byte, 0, NULL), ==, 0);
        }
        qio_object_unref(iocs[i]);
    }
}
