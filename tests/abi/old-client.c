/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * old-client.c: a program that was compiled long ago, on today's library.
 *
 * Owns: a conversation with each part of the flat ABI, compiled against a frozen copy of the header
 * (frozen/), and structs of three ages: as frozen, smaller than any library now knows, larger than
 * it knows.  Behind each struct stands memory that the library has no business with.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qioh-abi.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "old-client.c:%d: %s (%s)\n", __LINE__, #condition, failure()); \
            exit(1); \
        } \
    } while (0)

enum { FENCE = 0x5a, ROOM = 1024 };

/* The sizes that this client was compiled with. */
typedef struct Age {
    const char *name;
    uint32_t error, event, ops;
} Age;

static const Age ages[] = {
    { "frozen", sizeof(qioh_error), sizeof(qioh_event), sizeof(qioh_channel_ops) },
    { "smaller", 96, 64, offsetof(qioh_channel_ops, shutdown) },
    { "larger", 700, 128, ROOM - 64 },
};

static const Age *age;
static _Alignas(16) unsigned char error_space[ROOM];

static const char *failure(void)
{
    return (const char *)error_space + offsetof(qioh_error, message);
}

/* An error as this client knows it, fenced. */
static qioh_error *fresh_error(void)
{
    memset(error_space, FENCE, sizeof(error_space));
    memset(error_space, 0, age->error);
    memcpy(error_space, &age->error, sizeof(age->error));
    return (qioh_error *)(void *)error_space;
}

static void check_fence(const unsigned char *space, size_t size)
{
    for (size_t i = size; i < ROOM; i++) {
        CHECK(space[i] == FENCE);
    }
}

static void talk_by_sockets(void)
{
    qioh_channel *pair[2];
    char buf[16];

    CHECK(qioh_channel_new_pair(pair, fresh_error()) == 0);
    CHECK(qioh_channel_write_all(pair[0], "hello", 5, NULL) == 0);
    CHECK(qioh_channel_read(pair[1], buf, sizeof(buf), NULL) == 5);
    CHECK(qioh_channel_get_kind(pair[0], NULL) == QIOH_CHANNEL_SOCKET);
    CHECK(qioh_channel_close(pair[0], NULL) == 0);
    CHECK(qioh_channel_read(pair[0], buf, 1, fresh_error()) == QIOH_E_CLOSED);
    CHECK(((qioh_error *)(void *)error_space)->code == QIOH_E_CLOSED);
    CHECK(strstr(failure(), "closed") != NULL);
    check_fence(error_space, age->error);
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

/* Four events at this client's distance from each other. */
static void take_events(void)
{
    static _Alignas(16) unsigned char space[4 * ROOM];
    qioh_event *events = (qioh_event *)(void *)space;
    qioh_loop *loop = qioh_loop_new(fresh_error());
    qioh_channel *null = qioh_channel_new_null(NULL);
    qioh_watch *watches[2];
    int32_t n;

    for (uint64_t i = 0; i < 2; i++) {
        watches[i] = qioh_watch_new_queued(loop, null, QIOH_IN, 40 + i, NULL);
        CHECK(watches[i] != NULL);
    }
    memset(space, FENCE, sizeof(space));
    memcpy(space, &age->event, sizeof(age->event));
    n = qioh_loop_next_events(loop, events, 4, 1000, NULL);
    CHECK(n == 2);
    for (int32_t i = 0; i < n; i++) {
        qioh_event *event = (qioh_event *)(void *)(space + (size_t)i * age->event);

        CHECK(event->kind == QIOH_EV_WATCH);
        CHECK(event->cookie == 40 || event->cookie == 41);
        CHECK(event->channel == null);
    }
    check_fence(space, 2 * age->event);
    for (int i = 0; i < 2; i++) {
        qioh_watch_unref(watches[i]);
    }
    qioh_channel_unref(null);
    qioh_loop_unref(loop);
}

static int64_t give(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                    qioh_fdset *fds, qioh_error *error)
{
    memset(iov[0].base, 'c', iov[0].len);
    return (int64_t)iov[0].len;
}

static int32_t note_close(void *user_data, qioh_error *error)
{
    ++*(int *)user_data;
    return 0;
}

/* A member that the library cannot know of must not be called, nor one that is not there. */
static void be_a_channel(void)
{
    static _Alignas(16) unsigned char space[ROOM];
    qioh_channel_ops *ops = (qioh_channel_ops *)(void *)space;
    qioh_channel *channel;
    int closes = 0;
    char buf[8];

    memset(space, FENCE, sizeof(space));
    memset(space, 0, age->ops);
    ops->struct_size = age->ops;
    ops->readv = give;
    ops->close = note_close;
    channel = qioh_channel_new_custom(NULL, ops, &closes, fresh_error());
    CHECK(channel != NULL);
    CHECK(qioh_channel_read_all(channel, buf, sizeof(buf), NULL) == 0);
    CHECK(buf[7] == 'c');
    CHECK(qioh_channel_write(channel, "x", 1, NULL) == QIOH_E_NOTSUP);
    CHECK(qioh_channel_shutdown(channel, QIOH_SHUTDOWN_READ, NULL) < 0);
    CHECK(qioh_channel_flush(channel, NULL) == 0);
    CHECK(qioh_channel_close(channel, NULL) == 0);
    CHECK(closes == 1);
    qioh_channel_unref(channel);
    check_fence(space, age->ops);
}

static void answer_a_channel(void)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *channel = qioh_channel_new_queued(loop, 1, fresh_error());
    char buf[8];

    CHECK(channel != NULL);
    CHECK(qioh_channel_push(channel, "abc", 3, NULL) == 3);
    CHECK(qioh_channel_read(channel, buf, sizeof(buf), NULL) == 3);
    CHECK(qioh_channel_write(channel, "de", 2, NULL) == 2);
    CHECK(qioh_channel_pull(channel, buf, sizeof(buf), NULL) == 2);
    CHECK(qioh_channel_push_end(channel, QIOH_E_PROTOCOL, "no more", NULL) == 0);
    CHECK(qioh_channel_read(channel, buf, 1, fresh_error()) == QIOH_E_PROTOCOL);
    CHECK(strcmp(failure(), "no more") == 0);
    check_fence(error_space, age->error);
    qioh_channel_unref(channel);
    qioh_loop_unref(loop);
}

static void add(qioh_closure *closure, void *const *args, void *result, void *user_data)
{
    *(int32_t *)result = *(int32_t *)args[0] + *(int32_t *)args[1];
}

static void use_the_rest(void)
{
    qioh_options *options = qioh_options_new(NULL);
    qioh_fdset *fds = qioh_fdset_new(NULL);
    qioh_closure *closure = qioh_closure_new("i32(i32,i32)", add, NULL, NULL, fresh_error());
    qioh_listener *listener;
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_task *task;
    int32_t (*code)(int32_t, int32_t);
    void *pointer;

    CHECK(closure != NULL);
    pointer = qioh_closure_get_code(closure, NULL);
    memcpy(&code, &pointer, sizeof(code));
    CHECK(code(20, 22) == 42);
    CHECK(qioh_options_set_int(options, "backlog", 5, fresh_error()) == 0);
    listener = qioh_listener_open_uri("unix:", options, fresh_error());
    CHECK(listener != NULL);
    CHECK(qioh_fdset_add(fds, 0, NULL) == 0);
    CHECK(qioh_fdset_count(fds, NULL) == 1);
    task = qioh_task_start_open_uri("null:", NULL, loop, 3, fresh_error());
    CHECK(qioh_task_wait(task, 10000, NULL) == 1);
    CHECK(qioh_task_status(task, NULL) == 0);
    qioh_task_unref(task);
    qioh_loop_unref(loop);
    qioh_closure_unref(closure);
    qioh_fdset_unref(fds);
    qioh_listener_unref(listener);
    qioh_options_unref(options);
}

int main(void)
{
    CHECK(qioh_abi_version() == QIOH_ABI_VERSION);
    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
        age = &ages[i];
        talk_by_sockets();
        take_events();
        be_a_channel();
        answer_a_channel();
        use_the_rest();
        CHECK(qioh_debug_live(QIOH_KIND_ANY) == 0);
        printf("%s\n", age->name);
    }
    return 0;
}
