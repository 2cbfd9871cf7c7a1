/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-runner.c: the runner is held to its word with planted failures.
 *
 * Owns: one test for each gate that must be caught by that gate, and the clean ones beside
 * them that must pass.
 */
#include "runner.h"
#include "alloc.h"
#include "stuck.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(nothing_at_all)
{
}

TEST(checks_that_hold)
{
    CHECK(true);
    CHECK_INT(1, <, 2);
    CHECK_INT(-1, <, 1u);
    CHECK_PTR(NULL, ==, NULL);
    CHECK_STR("a", "a");
    CHECK_STR(NULL, NULL);
    CHECK_STR_HAS("haystack", "st");
    CHECK_MEM("abc", "abd", 2);
    CHECK_ERRNO(close(-1), EBADF);
}

FAIL_TEST(check, TEST_CHECK_FAILED)
{
    CHECK(2 + 2 == 5);
}

FAIL_TEST(check_int, TEST_CHECK_FAILED)
{
    CHECK_INT(4, ==, 5);
}

FAIL_TEST(check_str, TEST_CHECK_FAILED)
{
    CHECK_STR("a", NULL);
}

FAIL_TEST(check_str_has, TEST_CHECK_FAILED)
{
    CHECK_STR_HAS("haystack", "needle");
}

FAIL_TEST(check_mem, TEST_CHECK_FAILED)
{
    CHECK_MEM("abc", "abd", 3);
}

FAIL_TEST(check_errno_success, TEST_CHECK_FAILED)
{
    CHECK_ERRNO(0, EBADF);
}

FAIL_TEST(check_errno_other, TEST_CHECK_FAILED)
{
    CHECK_ERRNO(close(-1), EPIPE);
}

static void *fail_in_thread(void *opaque)
{
    CHECK(opaque != NULL);
    return NULL;
}

FAIL_TEST(check_in_thread, TEST_CHECK_FAILED)
{
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, fail_in_thread, NULL), ==, 0);
    pthread_join(thread, NULL);
}

FAIL_TEST(check_in_forked_child, TEST_CHECK_FAILED)
{
    pid_t pid = fork();

    if (pid == 0) {
        CHECK(false);
    }
    waitpid(pid, NULL, 0);
}

TEST(starts_clean)
{
    char byte;

    CHECK_ERRNO(fcntl(3, F_GETFD), EBADF);
    CHECK_INT(read(STDIN_FILENO, &byte, 1), ==, 0);
}

TEST(fd_closed_again)
{
    int fds[2];

    CHECK_INT(pipe(fds), ==, 0);
    close(fds[0]);
    close(fds[1]);
}

FAIL_TEST(fd_leak, TEST_FD_LEAK)
{
    CHECK_INT(dup(STDIN_FILENO), >=, 0);
}

/* The number is the same before and after: only the link tells. */
FAIL_TEST(fd_replaced, TEST_FD_LOST)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    dup2(fd, STDIN_FILENO);
    close(fd);
}

FAIL_TEST(fd_closed_by_mistake, TEST_FD_LOST)
{
    close(STDIN_FILENO);
}

TEST(fd_kept_once)
{
    static int cached = -1;

    if (cached < 0) {
        cached = dup(STDIN_FILENO);
    }
}

static void *volatile kept;

TEST(bytes_freed_again)
{
    kept = malloc(100);
    free(kept);
    kept = calloc(2, 50);
    kept = realloc(kept, 5000);
    kept = realloc(kept, 10);
    free(kept);
    kept = aligned_alloc(64, 64);
    free(kept);
}

FAIL_TEST(byte_leak, TEST_BYTE_LEAK)
{
    kept = malloc(1);
    kept = NULL;
}

FAIL_TEST(byte_leak_by_realloc, TEST_BYTE_LEAK)
{
    kept = malloc(1);
    kept = realloc(kept, 1000);
    kept = NULL;
}

#if !TEST_UNDER_SANITIZER
/* Reachable, so LeakSanitizer would not tell; the counters do. */
FAIL_TEST(byte_leak_still_reachable, TEST_BYTE_LEAK)
{
    static void *last;
    void **block = malloc(sizeof(void *));

    *block = last;
    last = block;
}
#endif

TEST(bytes_kept_once)
{
    static void *cache;

    if (cache == NULL) {
        cache = malloc(1000);
    }
}

static int *volatile nowhere;

FAIL_TEST(crash, TEST_CRASHED)
{
    *nowhere = 1;
}

FAIL_TEST(crash_by_abort, TEST_CRASHED)
{
    abort();
}

FAIL_TEST(hang, TEST_TIMED_OUT, .timeout_s = 1)
{
    for (;;) {
        pause();
    }
}

/* What is printed of a process that stands still tells of each thread, with gdb or without. */
static void picture_of_a_hang(const char *path)
{
    int err = dup(STDERR_FILENO);
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    char text[4096] = "";
    pid_t pid = fork();

    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    setenv("PATH", path, 1);
    dup2(fd, STDERR_FILENO);
    stuck_print(pid);
    dup2(err, STDERR_FILENO);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK_INT(pread(fd, text, sizeof(text) - 1, 0), >, 0);
    CHECK_STR_HAS(text, "did not end in time");
    CHECK(strstr(text, "pause") || strstr(text, "  thread "));
    close(fd);
    close(err);
}

TEST(a_hang_is_pictured)
{
    picture_of_a_hang(getenv("PATH"));
    picture_of_a_hang("/nowhere");
}

FAIL_TEST(hang_with_signals_blocked, TEST_TIMED_OUT, .timeout_s = 1)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (;;) {
        pause();
    }
}

FAIL_TEST(exit_in_the_middle, TEST_UNFINISHED)
{
    _exit(0);
}

FAIL_TEST(child_running, TEST_CHILD_LEFT)
{
    if (fork() == 0) {
        pause();
    }
}

FAIL_TEST(child_not_waited_for, TEST_CHILD_LEFT)
{
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

FAIL_TEST(sigpipe, TEST_SIGNAL_LEFT)
{
    int fds[2];

    CHECK_INT(pipe(fds), ==, 0);
    close(fds[0]);
    CHECK_ERRNO(write(fds[1], "x", 1), EPIPE);
    close(fds[1]);
}

FAIL_TEST(signal_left_blocked, TEST_SIGNAL_LEFT)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void leave_a_file(void *opaque)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/file", test_dir());
    fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    CHECK_INT(fd, >=, 0);
    close(fd);
    strcpy(opaque, test_dir());
    if (((char *)opaque)[63] == 'c') {
        abort();
    }
}

TEST(directory_is_removed)
{
    static char dir[64];

    leave_a_file(dir);
    CHECK_STR(dir, test_dir());
}

TEST(a_process_of_processes)
{
    char message[200];

    CHECK_INT(test_process(leave_a_file, (char[64]) { 0 }, 10, false, true, message,
                           sizeof(message)), ==, TEST_PASSED);
    CHECK_INT(test_process(leave_a_file, (char[64]) { [63] = 'c' }, 10, false, true, message,
                           sizeof(message)), ==, TEST_CRASHED);
    CHECK_STR_HAS(message, "Abort");
}

static void note_bytes(void *opaque)
{
    test_note("a\nnot ok\t\xff");
    abort();
}

TEST(note_stays_on_its_line)
{
    char message[200];

    CHECK_INT(test_process(note_bytes, NULL, 10, false, true, message, sizeof(message)), ==,
              TEST_CRASHED);
    CHECK_STR_HAS(message, "at: a?not ok??");
}

FAIL_TEST(note_is_shown, TEST_CRASHED)
{
    test_note("row %d", 7);
    abort();
}

#if !TEST_UNDER_SANITIZER
TEST(allocator_counts)
{
    AllocCount before = alloc_count();
    AllocCount with;

    kept = malloc(1000);
    with = alloc_count();
    free(kept);
    CHECK_INT(with.blocks - before.blocks, ==, 1);
    CHECK_INT(with.bytes - before.bytes, >=, 1000);
    CHECK_INT(alloc_count().bytes, ==, before.bytes);
}
#endif
