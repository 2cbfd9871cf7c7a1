/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hello.c: cc hello.c $(pkg-config --cflags --libs qio) */
#include <fcntl.h>
#include <qio/qio.h>
#include <stdio.h>

int main(void)
{
    const char *argv[] = { "/usr/bin/tr", "a-z", "A-Z", NULL };
    Error **fatal = &qio_error_fatal;           /* an error ends the program with its message */
    QIOChannel *tr = QIO_CHANNEL(qio_channel_command_new_spawn(argv, O_RDWR, fatal));
    char line[80];
    ssize_t n;

    qio_channel_write_all(tr, "hello from c\n", 13, fatal);
    qio_channel_shutdown(tr, QIO_CHANNEL_SHUTDOWN_WRITE, fatal);
    n = qio_channel_read(tr, line, sizeof line, fatal);
    printf("%.*s", (int)n, line);
    qio_channel_close(tr, fatal);
    qio_object_unref(tr);
    return 0;
}
