/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-fork.c: what a forked child may do with the handles of its parent: give them up, and
 * take descriptors; and that nothing it does reaches the parent or its peers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/handle.h"
#include "runner.h"

/* Runs fn in a child; a failed CHECK there ends it with another status than 0. */
static void in_child(void (*fn)(void *), void *opaque)
{
    pid_t pid = fork();
    int status;

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        alarm(20);
        fn(opaque);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

typedef struct Inherited {
    qioh_channel *pair[2];
    qioh_channel *command;
    qioh_listener *listener;
    qioh_loop *loop;
    qioh_watch *watch;
    qioh_task *task;
    qioh_fdset *set;
    qioh_options *options;
} Inherited;

static int32_t never(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                     void *user_data, qioh_error *error)
{
    (*(int *)user_data)++;
    return 1;
}

static void forked_everywhere(void *opaque)
{
    Inherited *all = opaque;
    qioh_error error = { 0 };
    qioh_event event = { 0 };
    char buf[8];

    CHECK_INT(qioh_channel_read(all->pair[0], buf, 8, &error), ==, QIOH_E_FORKED);
    CHECK_INT(error.code, ==, QIOH_E_FORKED);
    CHECK_STR_HAS(error.message, "parent");
    CHECK_INT(qioh_channel_try_write(all->pair[0], buf, 8, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_channel_close(all->pair[0], NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_channel_get_kind(all->pair[0], NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_channel_dup_fd(all->pair[0], NULL), ==, QIOH_E_FORKED);
    CHECK_PTR(qioh_channel_ref(all->pair[0], NULL), ==, NULL);
    CHECK_INT(qioh_channel_kill(all->command, SIGTERM, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_channel_close(all->command, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_listener_close(all->listener, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_loop_dispatch(all->loop, 0, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_loop_next_events(all->loop, &event, 1, 0, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_loop_wakeup(all->loop, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_loop_close(all->loop, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_watch_remove(all->watch, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_task_wait(all->task, -1, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_task_cancel(all->task, NULL), ==, QIOH_E_FORKED);
    CHECK_PTR(qioh_task_start_close(all->pair[0], -1, all->loop, 1, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_FORKED);
    CHECK_INT(qioh_fdset_count(all->set, NULL), ==, QIOH_E_FORKED);
    CHECK_INT(qioh_options_set_str(all->options, "name", "x", NULL), ==, QIOH_E_FORKED);
}

static void give_everything_up(void *opaque)
{
    Inherited *all = opaque;
    int fd = qioh_channel_get_fd(all->pair[1], NULL);

    qioh_watch_unref(all->watch);
    qioh_task_unref(all->task);
    qioh_loop_unref(all->loop);
    qioh_channel_unref(all->pair[0]);
    qioh_channel_unref(all->pair[1]);
    qioh_channel_unref(all->command);
    qioh_listener_unref(all->listener);
    qioh_fdset_unref(all->set);
    qioh_options_unref(all->options);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    CHECK_INT(qioh_channel_get_kind(all->pair[1], NULL), ==, QIOH_E_BADHANDLE);
}

static void own_things_work(void *opaque)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *pair[2];
    char buf[4];

    CHECK_PTR(loop, !=, NULL);
    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    CHECK_INT(qioh_channel_write(pair[0], "ab", 2, NULL), ==, 2);
    CHECK_INT(qioh_channel_read(pair[1], buf, 4, NULL), ==, 2);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    qioh_loop_unref(loop);
}

static void take_and_use(void *opaque)
{
    Inherited *all = opaque;
    int fd = qioh_channel_get_fd(all->pair[0], NULL);

    CHECK_INT(fd, >=, 0);
    CHECK_INT(qioh_channel_take_fd(all->pair[0], NULL), ==, fd);
    CHECK_INT(write(fd, "child", 5), ==, 5);
    close(fd);
    CHECK_INT(qioh_channel_take_fd(all->command, NULL), ==, QIOH_E_FORKED);
}

static void make(Inherited *all, int *calls)
{
    const char *argv[] = { "cat", NULL };
    char uri[200];

    CHECK_INT(qioh_channel_new_pair(all->pair, NULL), ==, 0);
    all->command = qioh_channel_new_command(argv, NULL, NULL);
    CHECK_PTR(all->command, !=, NULL);
    snprintf(uri, sizeof(uri), "unix:%s/sock", test_dir());
    all->listener = qioh_listener_open_uri(uri, NULL, NULL);
    CHECK_PTR(all->listener, !=, NULL);
    all->loop = qioh_loop_new(NULL);
    all->watch = qioh_watch_new(all->loop, all->pair[0], QIOH_IN, never, calls, NULL, NULL);
    all->task = qioh_task_start_wait_exit(all->command, all->loop, 5, NULL);
    CHECK_PTR(all->task, !=, NULL);
    all->set = qioh_fdset_new(NULL);
    CHECK_INT(qioh_fdset_add(all->set, 0, NULL), ==, 0);
    all->options = qioh_options_new(NULL);
}

static void drop(Inherited *all)
{
    qioh_watch_unref(all->watch);
    qioh_task_unref(all->task);
    qioh_loop_unref(all->loop);
    qioh_channel_unref(all->pair[0]);
    qioh_channel_unref(all->pair[1]);
    CHECK_INT(qioh_channel_close(all->command, NULL), ==, 0);
    qioh_channel_unref(all->command);
    qioh_listener_unref(all->listener);
    qioh_fdset_unref(all->set);
    qioh_options_unref(all->options);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* That the parent's things are as they were. */
static void still_works(Inherited *all, int *calls)
{
    struct stat st;
    char path[200], buf[8];

    CHECK_INT(qioh_channel_write(all->pair[1], "ab", 2, NULL), ==, 2);
    *calls = 0;
    CHECK_INT(qioh_loop_dispatch(all->loop, 2000, NULL), ==, 1);
    CHECK_INT(*calls, ==, 1);
    CHECK_INT(qioh_channel_read(all->pair[0], buf, 8, NULL), ==, 2);
    CHECK_INT(qioh_channel_write_all(all->command, "cd", 2, NULL), ==, 0);
    CHECK_INT(qioh_channel_read_all(all->command, buf, 2, NULL), ==, 0);
    snprintf(path, sizeof(path), "%s/sock", test_dir());
    CHECK_INT(stat(path, &st), ==, 0);
}

TEST(every_call_with_an_inherited_handle_is_forked)
{
    Inherited all;
    int calls = 0;

    make(&all, &calls);
    in_child(forked_everywhere, &all);
    still_works(&all, &calls);
    drop(&all);
}

TEST(giving_up_in_the_child_reaches_nobody)
{
    Inherited all;
    int calls = 0;

    make(&all, &calls);
    in_child(give_everything_up, &all);
    still_works(&all, &calls);
    drop(&all);
}

TEST(a_child_makes_handles_of_its_own)
{
    Inherited all;
    int calls = 0;

    make(&all, &calls);
    in_child(own_things_work, &all);
    still_works(&all, &calls);
    drop(&all);
}

TEST(descriptors_can_be_taken_in_the_child)
{
    Inherited all;
    int calls = 0;
    char buf[8];

    make(&all, &calls);
    in_child(take_and_use, &all);
    CHECK_INT(qioh_channel_read(all.pair[1], buf, 8, NULL), ==, 5);
    still_works(&all, &calls);
    drop(&all);
}

/* ---- with threads that the child does not have ---- */

static _Atomic int reading;

static void *read_one(void *channel)
{
    char buf[4];

    atomic_store(&reading, 1);
    CHECK_INT(qioh_channel_read(channel, buf, 4, NULL), ==, 2);
    return NULL;
}

static void give_up_a_channel_in_use(void *opaque)
{
    qioh_channel **pair = opaque;
    int fd = qioh_channel_get_fd(pair[0], NULL);

    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);
    qioh_channel_unref(pair[0]);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    CHECK_INT(qioh_channel_get_fd(pair[0], NULL), ==, QIOH_E_BADHANDLE);
    own_things_work(NULL);
}

TEST(a_call_inside_at_the_fork_does_not_keep_the_copy_open)
{
    qioh_channel *pair[2];
    pthread_t thread;
    uint32_t refs, pins;

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    pthread_create(&thread, NULL, read_one, pair[0]);
    do {
        sched_yield();
        CHECK(abi_handle_look((uint64_t)(uintptr_t)pair[0], &refs, &pins));
    } while (pins == 0);
    in_child(give_up_a_channel_in_use, pair);
    CHECK_INT(qioh_channel_write(pair[1], "ab", 2, NULL), ==, 2);
    pthread_join(thread, NULL);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

/* The sanitizers' allocator is not fork-safe as the C library's is: a child that allocates
 * while other threads did hangs in it, so that build has nothing to say about our locks. */
#if !TEST_UNDER_SANITIZER
static _Atomic bool churning;

/* No channels: GObject's own locks are not for us to free in a child. */
static void *churn(void *opaque)
{
    while (atomic_load(&churning)) {
        qioh_options *options = qioh_options_new(NULL);
        qioh_fdset *set = qioh_fdset_new(NULL);
        qioh_loop *loop = qioh_loop_new(NULL);

        qioh_fdset_add(set, 0, NULL);
        qioh_loop_unref(loop);
        qioh_fdset_unref(set);
        qioh_options_unref(options);
    }
    return NULL;
}

static void give_up_and_make(void *opaque)
{
    qioh_channel **pair = opaque;

    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    own_things_work(NULL);
}

/* The table's and the loops' locks may be held at the moment of the fork. */
TEST(forks_while_other_threads_make_and_give_up_handles, .timeout_s = 60)
{
    pthread_t threads[2];

    atomic_store(&churning, true);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, churn, NULL);
    }
    for (int i = 0; i < 60; i++) {
        qioh_channel *pair[2];

        CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
        in_child(give_up_and_make, pair);
        qioh_channel_unref(pair[0]);
        qioh_channel_unref(pair[1]);
    }
    atomic_store(&churning, false);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void *accept_and_accept(void *listener)
{
    while (atomic_load(&churning)) {
        CHECK_PTR(qioh_listener_accept(listener, 0, NULL), ==, NULL);
    }
    return NULL;
}

static void give_up_a_listener(void *listener)
{
    int fd = open("/dev/null", O_RDONLY);

    close(fd);
    qioh_listener_unref(listener);
    /* What it had is free now. */
    CHECK_INT(open("/dev/null", O_RDONLY), <, fd);
}

/* Its own lock may be held, and a call may be inside. */
TEST(forks_while_another_thread_accepts, .timeout_s = 60)
{
    qioh_listener *listener = qioh_listener_open_uri("abstract:fork-test", NULL, NULL);
    pthread_t thread;

    CHECK_PTR(listener, !=, NULL);
    atomic_store(&churning, true);
    pthread_create(&thread, NULL, accept_and_accept, listener);
    for (int i = 0; i < 60; i++) {
        in_child(give_up_a_listener, listener);
    }
    atomic_store(&churning, false);
    pthread_join(thread, NULL);
    qioh_listener_unref(listener);
}

#endif

static void grandchild(void *opaque)
{
    qioh_channel *channel = qioh_channel_new_null(NULL);

    CHECK_PTR(channel, !=, NULL);
    in_child(own_things_work, NULL);
    CHECK_INT(qioh_channel_get_kind(channel, NULL), ==, QIOH_CHANNEL_NULL);
    qioh_channel_unref(channel);
}

TEST(a_child_forks_again)
{
    in_child(grandchild, NULL);
}
