/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-command-pty.c: commands that have a terminal of their own.
 *
 * Owns: the promises of channel-command.h on pty, rows and columns.
 */
#include "command.h"

#include <qio/uri.h>
#include <unistd.h>

static const QIOCommandOptions with_pty = { .flags = O_RDWR, .pty = true, .close_timeout_ms = -1 };

TEST(a_terminal_is_all_three_and_controls)
{
    QIOChannelCommand *ioc = shell("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && exec 3<>/dev/tty &&"
                                   "[ -t 3 ] && echo yes;"
                                   "[ $(cut -d' ' -f6 /proc/$$/stat) = $$ ] && echo leader",
                                   with_pty);

    check_output(ioc, "yes\r\nleader\r\n");
}

TEST(the_terminal_is_all_it_has)
{
    QIOChannelCommand *ioc = shell("i=0; while [ $i -lt 60 ]; do [ -e /proc/$$/fd/$i ] &&"
                                   "echo $i; i=$((i+1)); done; exit 0", with_pty);

    check_output(ioc, "0\r\n1\r\n2\r\n");
}

TEST(the_size_of_the_window)
{
    QIOCommandOptions options = with_pty;

    options.rows = 33;
    options.columns = 101;
    check_output(shell("stty size", options), "33 101\r\n");
}

TEST(standard_error_may_go_elsewhere)
{
    QIOCommandOptions options = with_pty;
    QIOChannelCommand *ioc;
    QIOChannel *error;
    char *text;

    options.stderr_mode = QIO_COMMAND_STDERR_PIPE;
    ioc = shell("echo out; echo err >&2", options);
    error = qio_channel_command_take_stderr(ioc, NULL);
    text = output_of(error);
    CHECK_STR(text, "err\n");
    g_free(text);
    qio_object_unref(error);
    check_output(ioc, "out\r\n");
    options.stderr_mode = QIO_COMMAND_STDERR_MERGE;
    check_output(shell("echo both >&2", options), "both\r\n");
}

/* In the middle of a line the first end-of-file character only hands the line over. */
TEST(shutting_down_types_the_end_of_file)
{
    static const char *const inputs[] = { "", "line\n", "half" };

    for (size_t i = 0; i < G_N_ELEMENTS(inputs); i++) {
        QIOChannelCommand *ioc = shell("stty -echo; echo ready; echo got:$(cat)", with_pty);
        QIOChannel *channel = QIO_CHANNEL(ioc);
        char buf[7];
        char *want = g_strdup_printf("got:%.4s\r\n", inputs[i]);

        test_note("%s", inputs[i]);
        CHECK_INT(qio_channel_read_all(channel, buf, 7, NULL), ==, 0);
        CHECK_INT(qio_channel_write_all(channel, inputs[i], strlen(inputs[i]), NULL), ==, 0);
        CHECK_INT(qio_channel_shutdown(channel, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
        CHECK_INT(qio_channel_write(channel, "x", 1, NULL), ==, -1);
        CHECK_INT(qio_channel_shutdown(channel, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
        check_output(ioc, want);
        g_free(want);
    }
}

TEST(a_raw_line_has_no_end_of_file)
{
    QIOChannelCommand *ioc = shell("stty raw -echo; echo ready; cat", with_pty);
    QIOChannel *channel = QIO_CHANNEL(ioc);
    Error *err = NULL;
    char buf[6];

    CHECK_INT(qio_channel_read_all(channel, buf, 6, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(channel, QIO_CHANNEL_SHUTDOWN_WRITE, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    qio_error_free(err);
    /* It goes on as if nothing had been asked. */
    CHECK_INT(qio_channel_write_all(channel, "\004abcd", 5, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(channel, buf, 5, NULL), ==, 0);
    CHECK_MEM(buf, "\004abcd", 5);
    drop(ioc);
    check_ended(ioc = shell("exit 3", with_pty), 3, 0);
    drop(ioc);
}

TEST(a_terminal_without_its_program_takes_nothing)
{
    QIOChannelCommand *ioc = shell("echo bye", with_pty);
    QIOChannel *channel = QIO_CHANNEL(ioc);
    Error *err = NULL;
    char *text;

    check_ended(ioc, 0, 0);
    CHECK_INT(qio_channel_write(channel, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    text = output_of(channel);
    CHECK_STR(text, "bye\r\n");
    g_free(text);
    CHECK_INT(qio_channel_read(channel, (char[1]) { 0 }, 1, NULL), ==, 0);
    drop(ioc);
}

/* Closing hangs up; who does not heed that is terminated, then killed. */
TEST(close_hangs_up_and_then_insists)
{
    static const struct {
        const char *traps;
        int signum;
    } rows[] = {
        { "", SIGHUP }, { "trap '' HUP;", SIGTERM }, { "trap '' HUP TERM;", SIGKILL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOCommandOptions options = with_pty;
        char *script = g_strdup_printf("%s echo ready; exec sleep 1000", rows[i].traps);
        QIOChannelCommand *ioc;
        char buf[7];

        options.close_timeout_ms = i == 0 ? -1 : 50;
        ioc = shell(script, options);
        CHECK_INT(qio_channel_read_all(QIO_CHANNEL(ioc), buf, 7, NULL), ==, 0);
        CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
        check_ended(ioc, -1, rows[i].signum);
        qio_object_unref(ioc);
        g_free(script);
    }
}

/* More than a terminal holds, in both directions, by a waiting writer. */
TEST(a_terminal_pushes_back)
{
    enum { LINES = 4000 };
    QIOChannelCommand *ioc = shell("stty raw -echo; echo ready; exec cat", with_pty);
    QIOChannel *channel = QIO_CHANNEL(ioc);
    GString *sent = g_string_new(NULL);
    char buf[6], *got;
    size_t in = 0, out = 0;

    CHECK_INT(qio_channel_read_all(channel, buf, 6, NULL), ==, 0);
    for (int i = 0; i < LINES; i++) {
        g_string_append_printf(sent, "%d of some lines\n", i);
    }
    got = g_malloc(sent->len);
    while (in < sent->len) {
        ssize_t n = qio_channel_try_write(channel, sent->str + out, sent->len - out, NULL);

        out += n > 0 ? (size_t)n : 0;
        n = qio_channel_read(channel, got + in, sent->len - in, NULL);
        CHECK_INT(n, >, 0);
        in += (size_t)n;
    }
    CHECK_MEM(got, sent->str, sent->len);
    g_free(got);
    g_string_free(sent, TRUE);
    drop(ioc);
}

TEST(what_cannot_be)
{
    const char *const argv[] = { "/bin/true", NULL };
    const QIOCommandOptions bad[] = {
        { .flags = O_RDONLY, .pty = true }, { .flags = O_RDWR, .pty = true, .rows = -1 },
        { .flags = O_RDWR, .pty = true, .columns = 65536 }, { .flags = O_RDWR, .rows = 1 },
    };
    static const char *const says[] = { "O_RDWR", "-1 by 0", "0 by 65536", "only a pty" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Error *err = NULL;

        CHECK_PTR(qio_channel_command_new_full(argv, &bad[i], &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), says[i]);
        qio_error_free(err);
    }
}

TEST(by_uri)
{
    QIOOptions *options = qio_options_new();
    QIOChannel *ioc;
    Error *err = NULL;

    CHECK_INT(qio_options_add_str(options, "allow", "all", NULL), ==, 0);
    ioc = qio_channel_open_uri("exec:stty?arg=size&pty=on&rows=5&columns=7", options, false, &err);
    CHECK_PTR(err, ==, NULL);
    check_output(QIO_CHANNEL_COMMAND(ioc), "5 7\r\n");
    qio_options_free(options);
}
