/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stuck.c: where a process stands that does not end.
 *
 * Owns: what stuck.h says.  A hang that comes once in a thousand runs on a machine that nobody can
 * look into is only understood from what was printed then.
 */
#include "stuck.h"

#include <errno.h>
#include <glob.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Returns: whether gdb was there and did it. */
static int print_stacks(const char *number)
{
    char *argv[] = { "timeout", "30", "gdb", "-nx", "-batch", "-p", (char *)number,
                     "-ex", "thread apply all bt 20", NULL };
    posix_spawn_file_actions_t actions;
    int status = -1;
    pid_t gdb;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    if (posix_spawnp(&gdb, argv[0], &actions, NULL, argv, environ) == 0) {
        TEMP_FAILURE_RETRY(waitpid(gdb, &status, 0));
    }
    posix_spawn_file_actions_destroy(&actions);
    return status == 0;
}

static void print_file(const char *path)
{
    char line[128] = "?";
    FILE *file = fopen(path, "r");

    if (file != NULL) {
        if (fgets(line, sizeof(line), file) == NULL) {
            strcpy(line, "?");
        }
        fclose(file);
    }
    fprintf(stderr, " %.*s", (int)strcspn(line, "\n"), line);
}

void stuck_print(pid_t pid)
{
    char number[16], pattern[64], path[128];
    glob_t tasks;

    snprintf(number, sizeof(number), "%d", (int)pid);
    snprintf(pattern, sizeof(pattern), "/proc/%d/task/*", (int)pid);
    fprintf(stderr, "process %d did not end in time; its threads:\n", (int)pid);
    if (print_stacks(number) || glob(pattern, 0, NULL, &tasks) != 0) {
        return;
    }
    for (size_t i = 0; i < tasks.gl_pathc; i++) {
        fprintf(stderr, "  thread %s:", strrchr(tasks.gl_pathv[i], '/') + 1);
        snprintf(path, sizeof(path), "%s/wchan", tasks.gl_pathv[i]);
        print_file(path);
        snprintf(path, sizeof(path), "%s/syscall", tasks.gl_pathv[i]);
        print_file(path);
        fputc('\n', stderr);
    }
    globfree(&tasks);
}
