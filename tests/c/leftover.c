/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * leftover.c: pictures of a process before and after a test, see leftover.h.
 *
 * Owns: nothing that lasts.  Rule: any thread, none may open or close descriptors meanwhile.
 */
#include "leftover.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void take_fds(Leftover *now)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    now->nfds = 0;
    if (dir == NULL) {
        test_fail(__FILE__, __LINE__, "cannot open /proc/self/fd: %m");
    }
    while ((entry = readdir(dir)) != NULL) {
        LeftoverFd *row = &now->fds[now->nfds];
        ssize_t len;

        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir)) {
            continue;
        }
        if (now->nfds == LEFTOVER_FDS) {
            test_fail(__FILE__, __LINE__, "more than %d descriptors are open", LEFTOVER_FDS);
        }
        len = readlinkat(dirfd(dir), entry->d_name, row->link, sizeof(row->link) - 1);
        if (len < 0) {
            len = 0;
        }
        row->link[len] = '\0';
        row->fd = atoi(entry->d_name);
        now->nfds++;
    }
    closedir(dir);
}

void leftover_take(Leftover *now)
{
    take_fds(now);
    pthread_sigmask(SIG_SETMASK, NULL, &now->mask);
    now->heap = alloc_count();
}

static const LeftoverFd *find_fd(const Leftover *picture, int fd)
{
    for (int i = 0; i < picture->nfds; i++) {
        if (picture->fds[i].fd == fd) {
            return &picture->fds[i];
        }
    }
    return NULL;
}

static TestVerdict compare_fds(const Leftover *before, const Leftover *now, char *message,
                               size_t cap)
{
    for (int i = 0; i < before->nfds; i++) {
        const LeftoverFd *was = &before->fds[i];
        const LeftoverFd *is = find_fd(now, was->fd);

        if (is == NULL || strcmp(is->link, was->link) != 0) {
            snprintf(message, cap, "descriptor %d was %s and is %s: it was not the test's",
                     was->fd, was->link, is != NULL ? is->link : "closed");
            return TEST_FD_LOST;
        }
    }
    for (int i = 0; i < now->nfds; i++) {
        if (find_fd(before, now->fds[i].fd) == NULL) {
            snprintf(message, cap, "descriptor %d was left open: %s (%d more than before)",
                     now->fds[i].fd, now->fds[i].link, now->nfds - before->nfds);
            return TEST_FD_LEAK;
        }
    }
    return TEST_PASSED;
}

TestVerdict leftover_compare(const Leftover *before, const Leftover *now, char *message,
                             size_t cap)
{
    long long bytes = now->heap.bytes - before->heap.bytes;
    long long blocks = now->heap.blocks - before->heap.blocks;

    TestVerdict verdict = compare_fds(before, now, message, cap);

    if (verdict != TEST_PASSED) {
        return verdict;
    }
    for (int signum = 1; signum < 32; signum++) {
        if (sigismember(&before->mask, signum) != sigismember(&now->mask, signum)) {
            snprintf(message, cap, "signal %d was left %s", signum,
                     sigismember(&now->mask, signum) ? "blocked" : "unblocked");
            return TEST_SIGNAL_LEFT;
        }
    }
    if (bytes > 0 || blocks > 0) {
        snprintf(message, cap, "%lld bytes in %lld blocks were left allocated", bytes, blocks);
        return TEST_BYTE_LEAK;
    }
    return TEST_PASSED;
}

int leftover_child(void)
{
    siginfo_t info = { 0 };

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
        return 0;       /* ECHILD: none at all */
    }
    /* A running child has no info yet: waitid gives 0 and leaves si_pid alone. */
    return info.si_pid != 0 ? info.si_pid : -1;
}
