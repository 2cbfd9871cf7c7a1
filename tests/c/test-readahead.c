/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-readahead.c: peek, read_until, unread, and what they mean for later reads.
 *
 * Rule: the peer is a script in memory (scripted.h), cut in every way.
 */
#include <stdlib.h>
#include <unistd.h>
#include "channel/channel-priv.h"
#include "runner.h"
#include "scripted.h"
#include "testclock.h"

static const struct iovec newline = { (char *)"\n", 1 };
static const struct iovec crlf = { (char *)"\r\n", 2 };

static ssize_t line(Scripted *s, char *buf, size_t cap, Error **errp)
{
    return qio_channel_read_until(&s->parent, buf, cap, &newline, 1, 1000, errp);
}

TEST(peek_gives_bytes_and_leaves_them)
{
    Scripted *s = scripted_new();
    char buf[16];

    scripted_text(s, "hello");
    scripted_text(s, " world");
    scripted_step(s, STEP_END);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 3, NULL), ==, 3);
    CHECK_MEM(buf, "hel", 3);
    CHECK_INT(qio_channel_get_pending(&s->parent), ==, 5);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 16, NULL), ==, 11);
    CHECK_INT(qio_channel_read(&s->parent, buf, 6, NULL), ==, 6);
    CHECK_MEM(buf, "hello ", 6);
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 5);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 16, NULL), ==, 0);
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 0);
    qio_object_unref(s);
}

TEST(lines_come_whole_and_the_rest_at_the_end)
{
    Scripted *s = scripted_new();
    char buf[16];

    scripted_text(s, "one\ntw");
    scripted_step(s, STEP_BLOCK);
    scripted_text(s, "o\n\nrest");
    scripted_step(s, STEP_END);
    CHECK_INT(line(s, buf, 16, NULL), ==, 4);
    CHECK_MEM(buf, "one\n", 4);
    CHECK_INT(line(s, buf, 16, NULL), ==, 4);
    CHECK_MEM(buf, "two\n", 4);
    CHECK_INT(line(s, buf, 16, NULL), ==, 1);
    CHECK_INT(line(s, buf, 16, NULL), ==, 4);
    CHECK_MEM(buf, "rest", 4);
    CHECK_INT(line(s, buf, 16, NULL), ==, 0);
    qio_object_unref(s);
}

/* Cuts "aXbYYc..." into every pair of pieces and byte by byte: the same lines each time. */
static void check_cut(const char *text, size_t first, size_t second)
{
    const struct iovec delims[2] = { { (char *)"YY", 2 }, { (char *)"X", 1 } };
    static const char *const want[] = { "aX", "bYY", "cYdX", "YY", "Ye" };
    Scripted *s = scripted_new();
    size_t len = strlen(text);
    char buf[16];
    size_t i;

    for (i = 0; i < len;) {
        size_t part = i == 0 ? first : i == first ? second : 1;

        part = MIN(part, len - i);
        scripted_bytes(s, text + i, part);
        scripted_step(s, STEP_BLOCK);
        i += part;
    }
    scripted_step(s, STEP_END);
    for (i = 0; i < G_N_ELEMENTS(want); i++) {
        ssize_t n = qio_channel_read_until(&s->parent, buf, 16, delims, 2, 100, NULL);

        test_note("cut %zu %zu, piece %zu", first, second, i);
        CHECK_INT(n, ==, strlen(want[i]));
        CHECK_MEM(buf, want[i], (size_t)n);
    }
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 16, delims, 2, 100, NULL), ==, 0);
    qio_object_unref(s);
}

TEST(any_chunking_gives_the_same_pieces)
{
    static const char text[] = "aXbYYcYdXYYYe";
    size_t first, second;

    for (first = 1; first < sizeof(text); first++) {
        for (second = 1; second < sizeof(text); second++) {
            check_cut(text, first, second);
        }
    }
}

TEST(limit_and_a_small_buffer_consume_nothing)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[32];

    scripted_text(s, "0123456789\nab\n");
    scripted_step(s, STEP_STALL);
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 32, &newline, 1, 10, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_LIMIT);
    qio_error_free(err);
    err = NULL;
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 5, &newline, 1, 100, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TRUNCATED);
    CHECK_INT(qio_error_get_bytes(err), ==, 11);
    qio_error_free(err);
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 32, &newline, 1, 11, NULL), ==, 11);
    CHECK_INT(line(s, buf, 32, NULL), ==, 3);
    qio_object_unref(s);
}

TEST(bad_delimiters_and_limits_are_named)
{
    Scripted *s = scripted_new();
    char buf[8], big[65] = { 0 };
    struct iovec none = { buf, 0 }, huge = { big, 65 }, null = { NULL, 1 };
    const struct {
        const struct iovec *delims;
        size_t ndelims, limit;
        const char *says;
    } rows[] = {
        { NULL, 1, 9, "ndelims" }, { &newline, 0, 9, "ndelims" }, { &newline, 17, 9, "ndelims" },
        { &none, 1, 9, "delims[0]" }, { &huge, 1, 9, "delims[0]" }, { &null, 1, 9, "delims[0]" },
        { &newline, 1, 0, "limit" }, { &newline, 1, QIO_CHANNEL_PEEK_MAX + 1, "limit" },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        test_note("row %zu", i);
        CHECK_INT(qio_channel_read_until(&s->parent, buf, 8, rows[i].delims, rows[i].ndelims,
                                         rows[i].limit, &err), ==, -1);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
    }
    qio_object_unref(s);
}

TEST(a_time_out_in_the_middle_of_a_line_keeps_what_came)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[16];

    testclock_install();
    scripted_text(s, "half");
    scripted_step(s, STEP_STALL);
    scripted_text(s, " line\n");
    qio_channel_set_timeout(&s->parent, 100);
    CHECK_INT(line(s, buf, 16, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    CHECK_INT(qio_channel_get_pending(&s->parent), ==, 4);
    /* bytes are there, a line is not: the two conditions differ */
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN, 0, NULL), ==, G_IO_IN);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, QIO_CHANNEL_MORE, 0, NULL), ==, 0);
    qio_channel_set_blocking(&s->parent, false, NULL);
    CHECK_INT(line(s, buf, 16, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    scripted_go(s);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, QIO_CHANNEL_MORE, 0, NULL), ==,
              QIO_CHANNEL_MORE);
    CHECK_INT(line(s, buf, 16, NULL), ==, 10);
    CHECK_MEM(buf, "half line\n", 10);
    qio_object_unref(s);
    testclock_remove();
}

TEST(an_error_behind_bytes_is_delivered_after_them_and_once)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[16];

    scripted_text(s, "abc");
    scripted_step(s, STEP_ERROR);
    scripted_step(s, STEP_END);
    CHECK_INT(line(s, buf, 16, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNRESET);
    qio_error_free(err);
    err = NULL;
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 3);
    CHECK_INT(qio_channel_wait_timeout(&s->parent, G_IO_IN, 0, NULL), ==, G_IO_IN);
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNRESET);
    qio_error_free(err);
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 0);
    qio_object_unref(s);
}

TEST(bytes_given_back_are_read_first)
{
    Scripted *s = scripted_new();
    static const char big[70000];
    char buf[16], *all = malloc(sizeof(big) + 16);

    scripted_text(s, "world\n");
    scripted_step(s, STEP_END);
    CHECK_INT(qio_channel_unread(&s->parent, "lo ", 3, NULL), ==, 0);
    CHECK_INT(qio_channel_unread(&s->parent, "hel", 3, NULL), ==, 0);
    CHECK_INT(qio_channel_unread(&s->parent, NULL, 0, NULL), ==, 0);
    CHECK_INT(qio_channel_unread(&s->parent, NULL, 1, NULL), ==, -1);
    CHECK_INT(line(s, buf, 16, NULL), ==, 12);
    CHECK_MEM(buf, "hello world\n", 12);
    CHECK_INT(qio_channel_unread(&s->parent, big, sizeof(big), NULL), ==, 0);
    CHECK_INT(qio_channel_unread(&s->parent, "x", 1, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(&s->parent, all, sizeof(big) + 1, NULL), ==, 0);
    CHECK_INT(all[0], ==, 'x');
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 0);
    free(all);
    qio_object_unref(s);
}

/* ---- descriptors ---- */

static ssize_t read_fds(Scripted *s, char *buf, size_t len, size_t *nfds)
{
    struct iovec iov = { buf, len };
    int *fds = NULL;
    ssize_t n = qio_channel_readv_full(&s->parent, &iov, 1, &fds, nfds, NULL);

    qio_close_fds(fds, *nfds);
    return n;
}

TEST(descriptors_stay_with_their_first_byte)
{
    Scripted *s = scripted_new();
    char buf[16];
    size_t nfds = 0;

    scripted_text(s, "ab");
    scripted_fds(s, "cd", 3);
    scripted_fds(s, "ef", 2);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 4, NULL), ==, 2);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 4, NULL), ==, 4);
    /* nothing is read ahead of a held set */
    CHECK_INT(qio_channel_peek(&s->parent, buf, 6, NULL), ==, 4);
    CHECK_INT(read_fds(s, buf, 16, &nfds), ==, 2);
    CHECK_INT(nfds, ==, 0);
    CHECK_INT(read_fds(s, buf, 1, &nfds), ==, 1);
    CHECK_INT(nfds, ==, 3);
    CHECK_INT(read_fds(s, buf, 16, &nfds), ==, 1);
    CHECK_INT(nfds, ==, 0);
    CHECK_INT(read_fds(s, buf, 16, &nfds), ==, 2);
    CHECK_INT(nfds, ==, 2);
    qio_object_unref(s);
}

TEST(a_read_that_did_not_ask_closes_them_and_so_does_the_end_of_the_channel)
{
    Scripted *s = scripted_new();
    char buf[16];

    scripted_fds(s, "ab", 3);
    scripted_fds(s, "cd\n", 2);
    scripted_fds(s, "ef", 1);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 2, NULL), ==, 2);
    CHECK_INT(line(s, buf, 16, NULL), ==, 5);
    CHECK_INT(qio_channel_peek(&s->parent, buf, 2, NULL), ==, 2);
    qio_object_unref(s);
}

/* A chunk may begin with what was sent before the set: a line of it read leaves the set. */
TEST(they_stay_while_bytes_of_their_chunk_do)
{
    Scripted *s = scripted_new();
    size_t nfds = 0;
    char buf[16];

    scripted_fds(s, "a\nbc", 2);
    scripted_fds(s, "d\nef", 1);
    CHECK_INT(line(s, buf, 16, NULL), ==, 2);
    CHECK_INT(qio_channel_unread(&s->parent, "12345678901", 11, NULL), ==, 0);
    CHECK_INT(read_fds(s, buf, 11, &nfds), ==, 11);
    CHECK_INT(nfds, ==, 0);
    CHECK_INT(read_fds(s, buf, 16, &nfds), ==, 2);
    CHECK_INT(nfds, ==, 2);
    CHECK_INT(line(s, buf, 16, NULL), ==, 2);
    CHECK_INT(qio_channel_read(&s->parent, buf, 16, NULL), ==, 2);
    scripted_text(s, "x");
    CHECK_INT(read_fds(s, buf, 16, &nfds), ==, 1);
    CHECK_INT(nfds, ==, 0);
    qio_object_unref(s);
}

TEST(a_hostile_trickle_is_linear)
{
    Scripted *s = scripted_new();
    Error *err = NULL;
    char buf[8];
    int i;

    for (i = 0; i < 20000; i++) {
        scripted_text(s, "x");
    }
    scripted_step(s, STEP_STALL);
    qio_channel_set_blocking(&s->parent, false, NULL);
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 8, &crlf, 1, 30000, NULL), ==,
              QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_get_pending(&s->parent), ==, 20000);
    CHECK_INT(qio_channel_read_until(&s->parent, buf, 8, &crlf, 1, 20000, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_LIMIT);
    qio_error_free(err);
    qio_object_unref(s);
}
