/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/loop.c: what one event costs beside idle watches.
 *
 * Owns the cases: an event with 1 to 9,900 idle watches, in raw epoll (the floor), in an
 * AioContext, and in an AioContext inside a GMainContext.  One operation is: write a byte into a
 * unix pair, wait for the event, read the byte in its callback.
 * The idle ones are eventfds, one descriptor each; the limit on descriptors is raised to its
 * hard maximum.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>
#include <qio/qio.h>
#include "bench.h"

enum { IDLE_MAX = 9900 };

static int idle_fds[IDLE_MAX];

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

typedef struct Side {
    int fds[2];             /* written to, read from */
    int epfd;               /* raw */
    AioContext *ctx;        /* ours */
    GMainContext *context;  /* ours inside GLib */
    QIOChannel *ioc;
    QIOLoopWatch *watch;
    QIOLoopWatch *idle[IDLE_MAX];
    int got;
} Side;

static void make_idle(void)
{
    struct rlimit limit;
    int i;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (i = 0; i < IDLE_MAX; i++) {
        idle_fds[i] = eventfd(0, EFD_CLOEXEC);
        must(idle_fds[i] >= 0, "eventfd (the limit on descriptors must be 10,000 or more)");
    }
}

static void make_pair(Side *side)
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, side->fds) == 0, "socketpair");
}

/* ---- raw epoll ---- */

static void raw_add(Side *side, int fd, uint64_t data)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };

    must(epoll_ctl(side->epfd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void raw_start(Side *side, int idle)
{
    int i;

    make_pair(side);
    side->epfd = epoll_create1(EPOLL_CLOEXEC);
    raw_add(side, side->fds[1], 1);
    for (i = 0; i < idle; i++) {
        raw_add(side, idle_fds[i], 0);
    }
}

static void raw_events(void *arg, uint64_t n)
{
    Side *side = arg;
    struct epoll_event events[64];
    char byte = 0;

    while (n--) {
        must(send(side->fds[0], &byte, 1, MSG_NOSIGNAL) == 1, "send");
        must(epoll_wait(side->epfd, events, 64, -1) == 1, "epoll_wait");
        must(recv(side->fds[1], &byte, 1, MSG_DONTWAIT) == 1, "recv");
    }
}

static void raw_stop(Side *side)
{
    close(side->epfd);
    close(side->fds[0]);
    close(side->fds[1]);
}

/* ---- ours ---- */

static gboolean on_byte(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Side *side = data;
    char byte;

    side->got += qio_channel_read(ioc, &byte, 1, NULL) == 1;
    return TRUE;
}

static gboolean on_idle(int fd, GIOCondition condition, void *opaque)
{
    return TRUE;
}

static void ours_start(Side *side, int idle, bool in_glib)
{
    GSource *source;
    int i;

    make_pair(side);
    side->ctx = qio_aio_context_new(NULL);
    must(side->ctx != NULL, "qio_aio_context_new");
    side->ioc = qio_channel_new_fd(side->fds[1], NULL);
    side->watch = qio_channel_add_aio_watch(side->ioc, side->ctx, G_IO_IN, on_byte, side, NULL,
                                            NULL);
    for (i = 0; i < idle; i++) {
        side->idle[i] = qio_aio_context_add_fd_watch(side->ctx, idle_fds[i], G_IO_IN, on_idle,
                                                     NULL, NULL, NULL);
        must(side->idle[i] != NULL, "qio_aio_context_add_fd_watch");
    }
    if (in_glib) {
        side->context = g_main_context_new();
        source = qio_aio_context_get_g_source(side->ctx);
        g_source_attach(source, side->context);
        g_source_unref(source);
    }
}

static void ours_events(void *arg, uint64_t n)
{
    Side *side = arg;
    char byte = 0;

    while (n--) {
        int before = side->got;

        must(send(side->fds[0], &byte, 1, MSG_NOSIGNAL) == 1, "send");
        while (side->got == before) {
            if (side->context) {
                g_main_context_iteration(side->context, TRUE);
            } else {
                qio_aio_context_poll(side->ctx, true);
            }
        }
    }
}

static void ours_stop(Side *side, int idle)
{
    int i;

    for (i = 0; i < idle; i++) {
        qio_loop_watch_unref(side->idle[i]);
    }
    qio_loop_watch_unref(side->watch);
    if (side->context) {
        g_main_context_unref(side->context);
    }
    qio_aio_context_close(side->ctx, NULL);
    qio_aio_context_unref(side->ctx);
    qio_object_unref(side->ioc);
    close(side->fds[0]);
}

/* ---- a GLib watch against GLib's own ---- */

typedef struct GlibSide {
    int fds[2];
    GMainContext *context;
    GSource *source;
    QIOChannel *ioc;
    int got;
} GlibSide;

static gboolean on_glib_channel(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    GlibSide *side = data;
    char byte;

    side->got += qio_channel_read(ioc, &byte, 1, NULL) == 1;
    return TRUE;
}

static gboolean on_glib_fd(gint fd, GIOCondition condition, gpointer data)
{
    GlibSide *side = data;
    char byte;

    side->got += recv(fd, &byte, 1, MSG_DONTWAIT) == 1;
    return TRUE;
}

static void glib_events(void *arg, uint64_t n)
{
    GlibSide *side = arg;
    char byte = 0;

    while (n--) {
        int before = side->got;

        must(send(side->fds[0], &byte, 1, MSG_NOSIGNAL) == 1, "send");
        while (side->got == before) {
            g_main_context_iteration(side->context, TRUE);
        }
    }
}

static void glib_start(GlibSide *side, bool channel)
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, side->fds) == 0, "socketpair");
    side->context = g_main_context_new();
    if (channel) {
        side->ioc = qio_channel_new_fd(side->fds[1], NULL);
        side->source = qio_channel_add_watch_source(side->ioc, G_IO_IN, on_glib_channel, side,
                                                    NULL, side->context);
        return;
    }
    side->source = g_unix_fd_source_new(side->fds[1], G_IO_IN);
    g_source_set_callback(side->source, G_SOURCE_FUNC(on_glib_fd), side, NULL);
    g_source_attach(side->source, side->context);
}

static void glib_stop(GlibSide *side)
{
    g_source_destroy(side->source);
    g_source_unref(side->source);
    g_main_context_unref(side->context);
    close(side->fds[0]);
    if (side->ioc) {
        qio_object_unref(side->ioc);
    } else {
        close(side->fds[1]);
    }
}

static void compare_glib_watch(void)
{
    static GlibSide ours, floor;

    glib_start(&ours, true);
    glib_start(&floor, false);
    bench_compare("GLib watch on a channel: event / g_unix_fd_source", glib_events, &ours,
                  glib_events, &floor, 0);
    glib_stop(&ours);
    glib_stop(&floor);
}

static void compare(int idle, bool in_glib, double goal)
{
    static Side raw, ours;
    char name[80];

    ours = (Side){ 0 };
    raw_start(&raw, idle);
    ours_start(&ours, idle, in_glib);
    snprintf(name, sizeof(name), "loop%s: event beside %d idle / epoll",
             in_glib ? " inside a GMainContext" : "", idle);
    bench_compare(name, ours_events, &ours, raw_events, &raw, goal);
    ours_stop(&ours, idle);
    raw_stop(&raw);
}

int main(void)
{
    static const int idle[] = { 1, 10, 100, 1000, IDLE_MAX };
    size_t i;

    make_idle();
    for (i = 0; i < G_N_ELEMENTS(idle); i++) {
        compare(idle[i], false, idle[i] == IDLE_MAX ? 1.15 : 0);
    }
    compare_glib_watch();
    compare(10, true, 0);
    compare(IDLE_MAX, true, 0);
    return 0;
}
