/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-channel.c: the base class: transfers, their results, waiting, the close protocol.
 *
 * Rule: the peer is a script in memory (scripted.h); time is the test clock's where a deadline
 * is waited for, threads are joined.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "channel/channel-priv.h"
#include "runner.h"
#include "scripted.h"
#include "testclock.h"

static void take_error(Error **err, QIOErrorCode code)
{
    CHECK(*err != NULL);
    test_note("%s", qio_error_get_pretty(*err));
    CHECK_INT(qio_error_get_code(*err), ==, code);
    qio_error_free(*err);
    *err = NULL;
}

TEST(a_blocking_channel_never_answers_would_block)
{
    Scripted *s = scripted_new();
    char buf[8];

    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "ab");
    scripted_step(s, STEP_BLOCK);
    scripted_step(s, STEP_END);
    CHECK_INT(qio_channel_read(&s->parent, buf, sizeof(buf), NULL), ==, 2);
    CHECK_INT(qio_channel_read(&s->parent, buf, sizeof(buf), NULL), ==, 0);
    qio_object_unref(s);
}

TEST(a_non_blocking_channel_answers_would_block_and_leaves_the_error_alone)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[8];

    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "ab");
    CHECK_INT(qio_channel_set_blocking(&s->parent, false, NULL), ==, 0);
    CHECK(!qio_channel_get_blocking(&s->parent));
    CHECK_INT(qio_channel_read(&s->parent, buf, 8, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK(err == NULL);
    CHECK_INT(qio_channel_read(&s->parent, buf, 8, &err), ==, 2);
    s->write_room = 0;
    CHECK_INT(qio_channel_write(&s->parent, "x", 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK(err == NULL);
    qio_object_unref(s);
}

TEST(try_forms_never_wait_even_when_the_channel_is_blocking)
{
    Scripted *s = scripted_new();
    char buf[8];

    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_try_read(&s->parent, buf, 8, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    s->write_room = 0;
    CHECK_INT(qio_channel_try_write(&s->parent, buf, 8, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    qio_object_unref(s);
}

TEST(a_request_of_no_bytes_is_0_whatever_errno_says)
{
    static const int numbers[] = { EINTR, EAGAIN, EPIPE };
    struct iovec empty[3] = { { 0 } };
    Scripted *s = scripted_new();
    size_t i;

    scripted_step(s, STEP_STALL);
    for (i = 0; i < G_N_ELEMENTS(numbers); i++) {
        errno = numbers[i];
        CHECK_INT(qio_channel_read(&s->parent, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_write(&s->parent, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_readv(&s->parent, empty, 3, NULL), ==, 0);
        CHECK_INT(qio_channel_writev(&s->parent, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_read_all_eof(&s->parent, NULL, 0, NULL), ==, 1);
        CHECK_INT(qio_channel_read_all(&s->parent, NULL, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_write_all(&s->parent, NULL, 0, NULL), ==, 0);
    }
    CHECK_INT(s->reads, ==, 0);
    qio_object_unref(s);
}

TEST(lengths_that_do_not_fit_are_refused)
{
    Scripted *s = scripted_new();
    struct iovec iov[2] = { { s, SSIZE_MAX }, { s, 1 } };
    Error *err = NULL;

    CHECK_INT(qio_channel_readv(&s->parent, iov, 2, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_writev_all(&s->parent, iov, 2, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_readv_all(&s->parent, iov, 2, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    qio_object_unref(s);
}

TEST(read_all_tells_the_end_before_the_first_byte_from_one_later)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[8];

    scripted_text(s, "abc");
    scripted_step(s, STEP_END);
    CHECK_INT(qio_channel_read_all_eof(&s->parent, buf, 4, &err), ==, -1);
    CHECK_INT(qio_error_get_bytes(err), ==, 3);
    take_error(&err, QIO_ERROR_EOF);
    CHECK_INT(qio_channel_read_all_eof(&s->parent, buf, 4, &err), ==, 0);
    CHECK(err == NULL);
    CHECK_INT(qio_channel_read_all(&s->parent, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_EOF);
    qio_object_unref(s);
}

TEST(all_forms_wait_on_a_non_blocking_channel_and_keep_the_callers_iov)
{
    Scripted *s = scripted_new();
    char a[3], b[5];
    struct iovec iov[3] = { { a, 3 }, { NULL, 0 }, { b, 5 } };
    struct iovec before[3];
    char many[2000];
    struct iovec blocks[2000];
    size_t i;

    memcpy(before, iov, sizeof(iov));
    qio_channel_set_blocking(&s->parent, false, NULL);
    for (i = 0; i < 8; i++) {
        scripted_step(s, STEP_BLOCK);
        scripted_bytes(s, &"01234567"[i], 1);
    }
    CHECK_INT(qio_channel_readv_all(&s->parent, iov, 3, NULL), ==, 0);
    CHECK_MEM(a, "012", 3);
    CHECK_MEM(b, "34567", 5);
    CHECK_MEM(iov, before, sizeof(iov));

    /* more blocks than one call takes, empty ones among them, a few bytes at a time */
    s->write_room = 7;
    memset(many, 'x', sizeof(many));
    for (i = 0; i < G_N_ELEMENTS(blocks); i++) {
        blocks[i].iov_base = &many[i];
        blocks[i].iov_len = i % 3 ? 1 : 0;
    }
    CHECK_INT(qio_channel_writev_all(&s->parent, blocks, G_N_ELEMENTS(blocks), NULL), ==, 0);
    CHECK_INT(s->written->len, ==, 1333);
    qio_object_unref(s);
}

TEST(descriptors_are_refused_where_none_can_go)
{
    Scripted *s = scripted_new();
    struct iovec iov = { (char *)"x", 1 };
    int fd = 0, *fds = &fd;
    size_t nfds = 9;
    Error *err = NULL;

    CHECK_INT(qio_channel_readv_full(&s->parent, &iov, 1, &fds, &nfds, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK(fds == NULL && nfds == 0);
    CHECK_INT(qio_channel_readv_full(&s->parent, &iov, 1, &fds, NULL, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_writev_full(&s->parent, &iov, 1, &fd, 1, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    qio_channel_set_feature(&s->parent, QIO_CHANNEL_FEATURE_FD_PASS);
    CHECK_INT(qio_channel_writev_full(&s->parent, &iov, 0, &fd, 1, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_writev_full(&s->parent, &iov, 1, NULL, 1, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_writev_full(&s->parent, &iov, 1, &fd, 254, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(s->written->len, ==, 0);
    qio_object_unref(s);
}

TEST(a_time_out_ends_a_blocking_transfer_and_loses_nothing)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[8];

    testclock_install();
    scripted_text(s, "ab");
    scripted_step(s, STEP_STALL);
    scripted_text(s, "cd");
    qio_channel_set_timeout(&s->parent, 30000);
    CHECK_INT(qio_channel_read_all(&s->parent, buf, 4, &err), ==, -1);
    CHECK_INT(qio_error_get_bytes(err), ==, 2);
    take_error(&err, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 30000);
    s->write_room = 0;
    CHECK_INT(qio_channel_write(&s->parent, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_TIMEOUT);
    scripted_go(s);
    CHECK_INT(qio_channel_read(&s->parent, buf, 8, &err), ==, 2);
    CHECK_MEM(buf, "cd", 2);
    qio_object_unref(s);
    testclock_remove();
}

TEST(wait_reports_what_is_ready_and_0_on_time_out)
{
    Scripted *s = scripted_new();
    Error *err = NULL;

    testclock_install();
    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN | G_IO_OUT, -1, NULL), ==, G_IO_OUT);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN, 0, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN, 250, NULL), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 250);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, 0, 0, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, 64, 0, &err), ==, -1);
    take_error(&err, QIO_ERROR_INVAL);
    qio_channel_wait(&s->parent, G_IO_OUT);
    qio_object_unref(s);
    testclock_remove();
}

/* ---- threads ---- */

typedef struct Sleeper {
    QIOChannel *ioc;
    pthread_t thread;
    char buf[8];
    ssize_t result;
    QIOErrorCode code;
} Sleeper;

static void *sleeper_run(void *opaque)
{
    Sleeper *sleeper = opaque;
    Error *err = NULL;

    sleeper->result = qio_channel_read(sleeper->ioc, sleeper->buf, sizeof(sleeper->buf), &err);
    sleeper->code = qio_error_get_code(err);
    qio_error_free(err);
    return NULL;
}

/* Starts the thread and returns when it sleeps. */
static void sleeper_start(Sleeper *sleeper, QIOChannel *ioc)
{
    QIOChannelPrivate *priv = qio_channel_priv(ioc);
    bool there = false;

    sleeper->ioc = ioc;
    CHECK_INT(pthread_create(&sleeper->thread, NULL, sleeper_run, sleeper), ==, 0);
    while (!there) {
        pthread_mutex_lock(&priv->lock);
        there = priv->waiters != NULL;
        pthread_mutex_unlock(&priv->lock);
        sched_yield();
    }
}

TEST(a_notify_wakes_a_sleeper)
{
    Scripted *s = scripted_new();
    Sleeper sleeper = { 0 };

    scripted_step(s, STEP_STALL);
    scripted_text(s, "hello");
    sleeper_start(&sleeper, &s->parent);
    scripted_go(s);
    pthread_join(sleeper.thread, NULL);
    CHECK_INT(sleeper.result, ==, 5);
    qio_object_unref(s);
}

TEST(close_wakes_a_sleeper_and_the_last_one_out_releases_the_transport)
{
    Scripted *s = scripted_new();
    Sleeper sleeper = { 0 };
    Error *err = NULL;
    char buf[4];

    scripted_step(s, STEP_STALL);
    sleeper_start(&sleeper, &s->parent);
    CHECK_INT(qio_channel_close(&s->parent, NULL), ==, 0);
    pthread_join(sleeper.thread, NULL);
    CHECK_INT(sleeper.result, ==, -1);
    CHECK_INT(sleeper.code, ==, QIO_ERROR_CANCELLED);
    CHECK_INT(s->closes, ==, 1);
    CHECK_INT(qio_channel_close(&s->parent, NULL), ==, 0);
    CHECK_INT(s->closes, ==, 1);
    CHECK(qio_channel_is_closed(&s->parent));
    CHECK_INT(qio_channel_read(&s->parent, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    CHECK_INT(qio_channel_write(&s->parent, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 4, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN, 0, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    CHECK_INT(qio_channel_set_blocking(&s->parent, true, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    CHECK_INT(qio_channel_flush(&s->parent, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    qio_object_unref(s);
}

TEST(cancel_ends_a_wait_and_the_channel_goes_on)
{
    Scripted *s = scripted_new();
    Sleeper sleeper = { 0 };
    char buf[8];

    scripted_step(s, STEP_STALL);
    scripted_text(s, "late");
    sleeper_start(&sleeper, &s->parent);
    qio_channel_cancel(&s->parent, G_IO_OUT);
    qio_channel_cancel(&s->parent, G_IO_IN);
    pthread_join(sleeper.thread, NULL);
    CHECK_INT(sleeper.code, ==, QIO_ERROR_CANCELLED);
    CHECK_INT(s->closes, ==, 0);
    scripted_go(s);
    CHECK_INT(qio_channel_read(&s->parent, buf, 8, NULL), ==, 4);
    qio_object_unref(s);
}

TEST(a_second_reader_is_busy_and_close_waits_for_nobody)
{
    Scripted *s = scripted_new();
    Error *err = NULL;

    CHECK_INT(qio_channel_enter(&s->parent, QIO_USE_READ, NULL), ==, 0);
    CHECK_INT(qio_channel_enter(&s->parent, QIO_USE_READ, &err), ==, -1);
    take_error(&err, QIO_ERROR_BUSY);
    CHECK_INT(qio_channel_enter(&s->parent, QIO_USE_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_close(&s->parent, NULL), ==, 0);
    CHECK_INT(s->closes, ==, 0);
    CHECK_INT(qio_channel_enter(&s->parent, QIO_USE_ONE, &err), ==, -1);
    take_error(&err, QIO_ERROR_CLOSED);
    qio_channel_leave(&s->parent, QIO_USE_READ, NULL);
    CHECK_INT(s->closes, ==, 0);
    qio_channel_leave(&s->parent, QIO_USE_WRITE, NULL);
    CHECK_INT(s->closes, ==, 1);
    qio_object_unref(s);
}

TEST(dropping_the_last_reference_closes)
{
    Scripted *s = scripted_new();
    Scripted *watched = scripted_new();

    qio_object_unref(s);
    g_object_add_weak_pointer((GObject *)watched, (gpointer *)&watched);
    qio_channel_close(&watched->parent, NULL);
    qio_object_unref(watched);
    CHECK(watched == NULL);
}

/* ---- plain methods ---- */

TEST(methods_a_class_lacks_are_not_supported_and_bad_arguments_are_named)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[4];

    CHECK_INT(qio_channel_shutdown(&s->parent, QIO_CHANNEL_SHUTDOWN_WRITE, &err), ==, -1);
    take_error(&err, QIO_ERROR_NOTSUP);
    CHECK_INT(qio_channel_shutdown(&s->parent, (QIOChannelShutdown)3, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "how");
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_io_seek(&s->parent, 0, SEEK_SET, &err), ==, -1);
    take_error(&err, QIO_ERROR_NOTSUP);
    CHECK_INT(qio_channel_io_seek(&s->parent, 0, 77, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "whence");
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_pread(&s->parent, buf, 4, -1, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "offset");
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_pwrite(&s->parent, NULL, 4, 0, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "buf");
    take_error(&err, QIO_ERROR_INVAL);
    CHECK_INT(qio_channel_get_fd(&s->parent, &err), ==, -1);
    take_error(&err, QIO_ERROR_NOTSUP);
    CHECK_INT(qio_channel_take_fd(&s->parent, &err), ==, -1);
    take_error(&err, QIO_ERROR_NOTSUP);
    CHECK_INT(qio_channel_flush(&s->parent, NULL), ==, 0);
    qio_channel_set_delay(&s->parent, true);
    qio_channel_set_cork(&s->parent, true);
    CHECK(!qio_channel_has_feature(&s->parent, QIO_CHANNEL_FEATURE_SHUTDOWN));
    CHECK(!qio_channel_has_feature(&s->parent, (QIOChannelFeature)40));
    qio_channel_set_name(&s->parent, "console");
    CHECK_STR(s->parent.name, "console");
    qio_channel_set_name(&s->parent, NULL);
    CHECK(s->parent.name == NULL);
    qio_object_unref(s);
}
