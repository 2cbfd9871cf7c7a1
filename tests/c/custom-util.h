/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * custom-util.h: two custom channels that are connected to each other.
 *
 * Owns: CustomPair.  Memory pairs hold up to CUSTOM_ROOM bytes a direction and tell of readiness by
 * notify (CUSTOM_MEMORY), or answer get_poll as well (CUSTOM_ASKED); CUSTOM_SOCKET is a socketpair
 * whose descriptors get_poll names.  The lock is never held around a call of the library.
 */
#ifndef TESTS_CUSTOM_UTIL_H
#define TESTS_CUSTOM_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <qio/qioh.h>
#include "runner.h"

enum { CUSTOM_ROOM = 4096 };

typedef enum CustomWay { CUSTOM_MEMORY, CUSTOM_ASKED, CUSTOM_SOCKET, CUSTOM_WAYS } CustomWay;

static const char *const custom_ways[] = { "memory", "asked", "socket" };

typedef struct CustomPair CustomPair;

typedef struct CustomEnd {
    CustomPair *pair;
    int side;
    int fd;
    qioh_channel *channel;
    char bytes[CUSTOM_ROOM];        /* what this end may read */
    size_t len;
    bool ended;
    _Atomic int reads, writes, closes, shutdowns, flushes, releases, calls_after_release;
    int32_t fail_read, fail_write;  /* a code to answer instead */
    qioh_channel *victim;           /* closed by the next read */
} CustomEnd;

struct CustomPair {
    pthread_mutex_t lock;
    CustomWay way;
    CustomEnd ends[2];
};

static inline int32_t custom_failed(int32_t code, const char *text, qioh_error *error)
{
    error->code = code;
    error->number = 4711;
    strcpy(error->message, text);
    return code;
}

static inline CustomEnd *custom_entered(void *user_data)
{
    CustomEnd *end = user_data;

    if (end->releases) {
        end->calls_after_release++;
    }
    return end;
}

static inline int64_t custom_socket_result(ssize_t n, qioh_error *error)
{
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return QIOH_E_AGAIN;
    }
    error->code = QIOH_E_SYSTEM;
    error->sys_errno = errno;
    strcpy(error->message, "the test's socket failed");
    return QIOH_E_SYSTEM;
}

static inline int64_t custom_readv(void *user_data, const qioh_iovec *iov, size_t niov,
                                   uint32_t flags, qioh_fdset *fds, qioh_error *error)
{
    CustomEnd *end = custom_entered(user_data);
    CustomPair *pair = end->pair;
    size_t done = 0;
    int64_t result;

    end->reads++;
    if (end->victim) {
        CHECK_INT(qioh_channel_close(end->victim, NULL), ==, 0);
        end->victim = NULL;
    }
    if (end->fail_read) {
        return custom_failed(end->fail_read, "the test refuses to read", error);
    }
    if (pair->way == CUSTOM_SOCKET) {
        return custom_socket_result(recv(end->fd, iov[0].base, iov[0].len, MSG_DONTWAIT), error);
    }
    pthread_mutex_lock(&pair->lock);
    for (size_t i = 0; i < niov && done < end->len; i++) {
        size_t n = iov[i].len < end->len - done ? iov[i].len : end->len - done;

        memcpy(iov[i].base, end->bytes + done, n);
        done += n;
    }
    end->len -= done;
    memmove(end->bytes, end->bytes + done, end->len);
    result = done > 0 ? (int64_t)done : end->ended ? 0 : QIOH_E_AGAIN;
    pthread_mutex_unlock(&pair->lock);
    if (done > 0) {
        qioh_channel_notify(pair->ends[!end->side].channel, QIOH_OUT, NULL);
    }
    return result;
}

static inline int64_t custom_writev(void *user_data, const qioh_iovec *iov, size_t niov,
                                    uint32_t flags, qioh_fdset *fds, qioh_error *error)
{
    CustomEnd *end = custom_entered(user_data);
    CustomEnd *peer = &end->pair->ends[!end->side];
    size_t done = 0;

    end->writes++;
    if (end->fail_write) {
        return custom_failed(end->fail_write, "the test refuses to write", error);
    }
    if (end->pair->way == CUSTOM_SOCKET) {
        return custom_socket_result(send(end->fd, iov[0].base, iov[0].len,
                                         MSG_DONTWAIT | MSG_NOSIGNAL), error);
    }
    pthread_mutex_lock(&end->pair->lock);
    for (size_t i = 0; i < niov && peer->len < CUSTOM_ROOM; i++) {
        size_t n = iov[i].len < CUSTOM_ROOM - peer->len ? iov[i].len : CUSTOM_ROOM - peer->len;

        memcpy(peer->bytes + peer->len, iov[i].base, n);
        peer->len += n;
        done += n;
    }
    pthread_mutex_unlock(&end->pair->lock);
    qioh_channel_notify(peer->channel, QIOH_IN, NULL);
    return done > 0 ? (int64_t)done : QIOH_E_AGAIN;
}

static inline void custom_end_stream(CustomEnd *end)
{
    CustomEnd *peer = &end->pair->ends[!end->side];

    pthread_mutex_lock(&end->pair->lock);
    peer->ended = true;
    pthread_mutex_unlock(&end->pair->lock);
    qioh_channel_notify(peer->channel, QIOH_IN, NULL);
}

static inline int32_t custom_close(void *user_data, qioh_error *error)
{
    CustomEnd *end = custom_entered(user_data);

    end->closes++;
    if (end->fd >= 0) {
        close(end->fd);
        end->fd = -1;
    } else {
        custom_end_stream(end);
    }
    return 0;
}

static inline int32_t custom_shutdown(void *user_data, uint32_t how, qioh_error *error)
{
    CustomEnd *end = custom_entered(user_data);

    end->shutdowns++;
    if (end->fd >= 0) {
        shutdown(end->fd, how == QIOH_SHUTDOWN_BOTH ? SHUT_RDWR
                          : how == QIOH_SHUTDOWN_READ ? SHUT_RD : SHUT_WR);
    } else if (how != QIOH_SHUTDOWN_READ) {
        custom_end_stream(end);
    }
    return 0;
}

static inline int32_t custom_flush(void *user_data, qioh_error *error)
{
    custom_entered(user_data)->flushes++;
    return 0;
}

static inline int32_t custom_get_poll(void *user_data, uint32_t condition, int32_t *fd,
                                      uint32_t *events, qioh_error *error)
{
    CustomEnd *end = custom_entered(user_data);
    bool ready;

    if (end->pair->way == CUSTOM_SOCKET) {
        *fd = end->fd;
        *events = condition;
        return 0;
    }
    pthread_mutex_lock(&end->pair->lock);
    ready = condition == QIOH_IN ? end->len > 0 || end->ended
                                 : end->pair->ends[!end->side].len < CUSTOM_ROOM;
    pthread_mutex_unlock(&end->pair->lock);
    return ready ? 1 : QIOH_E_NOTSUP;
}

static inline void custom_release(void *user_data)
{
    ((CustomEnd *)user_data)->releases++;
}

static inline qioh_channel_ops custom_ops(CustomWay way)
{
    return (qioh_channel_ops){
        .struct_size = sizeof(qioh_channel_ops),
        .readv = custom_readv, .writev = custom_writev, .close = custom_close,
        .shutdown = custom_shutdown, .flush = custom_flush,
        .get_poll = way == CUSTOM_MEMORY ? NULL : custom_get_poll,
        .release = custom_release,
    };
}

static inline void custom_pair_make(CustomPair *pair, CustomWay way, qioh_loop *loop)
{
    qioh_channel_ops ops = custom_ops(way);
    int fds[2] = { -1, -1 };

    memset(pair, 0, sizeof(*pair));
    pthread_mutex_init(&pair->lock, NULL);
    pair->way = way;
    if (way == CUSTOM_SOCKET) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    }
    for (int i = 0; i < 2; i++) {
        CustomEnd *end = &pair->ends[i];

        end->pair = pair;
        end->side = i;
        end->fd = fds[i];
        end->channel = qioh_channel_new_custom(loop, &ops, end, NULL);
        CHECK_PTR(end->channel, !=, NULL);
        CHECK_INT(qioh_channel_get_kind(end->channel, NULL), ==, QIOH_CHANNEL_CUSTOM);
    }
}

/* Without a loop, or after its last dispatch. */
static inline void custom_pair_check_gone(CustomPair *pair)
{
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pair->ends[i].closes, ==, 1);
        CHECK_INT(pair->ends[i].releases, ==, 1);
        CHECK_INT(pair->ends[i].calls_after_release, ==, 0);
    }
    pthread_mutex_destroy(&pair->lock);
}

static inline void custom_pair_end(CustomPair *pair)
{
    qioh_channel_unref(pair->ends[0].channel);
    qioh_channel_unref(pair->ends[1].channel);
    custom_pair_check_gone(pair);
}

#endif
