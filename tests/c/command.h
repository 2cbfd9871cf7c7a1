/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * command.h: starting child processes, for the tests of commands.
 */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include "runner.h"

#include <fcntl.h>
#include <glib.h>
#include <qio/channel-command.h>

static inline QIOChannelCommand *start(const char *const argv[], const QIOCommandOptions *options)
{
    Error *err = NULL;
    QIOChannelCommand *ioc = qio_channel_command_new_full(argv, options, &err);

    if (!ioc) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    return ioc;
}

static inline QIOChannelCommand *shell(const char *script, QIOCommandOptions options)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };

    return start(argv, &options);
}

static inline QIOChannelCommand *cat(void)
{
    const char *const argv[] = { "cat", NULL };

    return start(argv, &(QIOCommandOptions) { .flags = O_RDWR, .search_path = true,
                                              .close_timeout_ms = -1 });
}

/* All it says, as a string to g_free(). */
static inline char *output_of(QIOChannel *ioc)
{
    GString *out = g_string_new(NULL);
    char buf[500];
    ssize_t n;

    while ((n = qio_channel_read(ioc, buf, sizeof(buf), NULL)) > 0) {
        g_string_append_len(out, buf, n);
    }
    CHECK_INT(n, ==, 0);
    return g_string_free(out, FALSE);
}

static inline void drop(QIOChannelCommand *ioc)
{
    CHECK_INT(qio_channel_close(QIO_CHANNEL(ioc), NULL), ==, 0);
    qio_object_unref(ioc);
}

static inline void check_output(QIOChannelCommand *ioc, const char *want)
{
    char *out = output_of(QIO_CHANNEL(ioc));

    CHECK_STR(out, want);
    g_free(out);
    drop(ioc);
}

static inline void check_ended(QIOChannelCommand *ioc, int want_status, int want_signum)
{
    int status = 99, signum = 99;

    CHECK_INT(qio_channel_command_wait_exit(ioc, -1, false, NULL), ==, 1);
    CHECK_INT(qio_channel_command_get_exit_status(ioc, &status, &signum), ==, 1);
    CHECK_INT(status, ==, want_status);
    CHECK_INT(signum, ==, want_signum);
}

#endif
