/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop-subject.h: a scripted subject and what became of its watch, for the tests of the loop.
 */
#ifndef TESTS_LOOP_SUBJECT_H
#define TESTS_LOOP_SUBJECT_H

#include "loop-util.h"

/* A subject whose readiness is a number, and what became of its watch. */
typedef struct Subject {
    QIOLoopSubjectOps ops;      /* first: the functions find the rest */
    int soft;                   /* how many calls it is ready for in software */
    int fd;                     /* -1: none */
    GIOCondition fd_events;
    bool opens;                 /* an event of the descriptor makes it ready once */
    int advances, polls, refs;

    int calls, destroyed, keep;
    GIOCondition condition;
    QIOLoopWatch *watch;
    AioContext *ctx;
    void (*act)(struct Subject *s);
} Subject;

static inline GIOCondition advance(void *subject, GIOCondition wanted)
{
    Subject *s = subject;
    struct pollfd pfd = { .fd = s->fd, .events = s->fd_events };
    char byte;

    CHECK(!s->ctx || qio_loop_is_dispatching(s->ctx));
    s->advances++;
    if (s->opens && poll(&pfd, 1, 0) == 1 && read(s->fd, &byte, 1) == 1 && byte == '!') {
        s->soft++;
    }
    return s->soft > 0 ? wanted & G_IO_IN : 0;
}

static inline int name_fds(void *subject, GIOCondition wanted, QIOPollFd *out, int cap)
{
    Subject *s = subject;

    CHECK_INT(cap, ==, QIO_POLL_MAX);
    s->polls++;
    if (s->fd < 0) {
        return 0;
    }
    out[0] = (QIOPollFd) { .fd = s->fd, .events = s->fd_events ? s->fd_events : wanted };
    return 1;
}

static inline void ref(void *subject)
{
    ((Subject *)subject)->refs++;
}

static inline void unref(void *subject)
{
    ((Subject *)subject)->refs--;
}

static inline Subject layer(int fd)
{
    return (Subject) {
        .ops = { .advance = advance, .poll = name_fds, .ref = ref, .unref = unref },
        .fd = fd, .fd_events = G_IO_IN, .opens = fd >= 0,
    };
}

static inline Subject direct(int fd)
{
    return (Subject) {
        .ops = { .poll = name_fds, .direct = true, .ref = ref, .unref = unref }, .fd = fd,
    };
}

static inline gboolean on_ready(QIOLoopWatch *watch, GIOCondition condition, void *opaque)
{
    Subject *s = opaque;

    CHECK_PTR(watch, ==, s->watch);
    CHECK_INT(s->refs, ==, 1);
    CHECK_INT(s->destroyed, ==, 0);
    s->calls++;
    s->condition = condition;
    if (s->soft > 0) {
        s->soft--;
    }
    if (s->act) {
        s->act(s);
    }
    return s->keep == 0 || s->calls < s->keep;
}

static inline void on_destroy(void *opaque)
{
    ((Subject *)opaque)->destroyed++;
}

static inline void watch(AioContext *ctx, Subject *s, GIOCondition condition)
{
    Error *err = NULL;

    s->ctx = ctx;
    s->watch = qio_loop_add_subject(ctx, s, &s->ops, condition, on_ready, s, on_destroy, &err);
    CHECK_PTR(err, ==, NULL);
    CHECK_PTR(s->watch, !=, NULL);
}

static inline void drop(Subject *s)
{
    qio_loop_watch_remove(s->watch);
    qio_loop_watch_unref(s->watch);
    CHECK_INT(s->refs, ==, 0);
}

#endif
