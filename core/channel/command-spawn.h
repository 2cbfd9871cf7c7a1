/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/command-spawn.h: starting a program with pipes.
 */
#ifndef QIO_COMMAND_SPAWN_H
#define QIO_COMMAND_SPAWN_H

#include <qio/channel-command.h>

/* What was started, and our ends of its pipes, or two descriptors of our side of its
 * terminal; -1 = there is none. */
typedef struct QIOSpawned {
    pid_t pid;
    int stdin_fd;
    int stdout_fd;
    int stderr_fd;
} QIOSpawned;

/* Returns: 0, or -1 with an error, and then nothing runs and nothing is open. */
int qio_command_spawn(const char *const argv[], const QIOCommandOptions *options,
                      QIOSpawned *spawned, Error **errp);
/* Closes our ends. */
void qio_command_spawned_close(QIOSpawned *spawned);

#endif
