/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-loop.c: loops, watches and events of the flat ABI.  What is released, and when, is in
 * test-abi-release.c.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <glib.h>
#include <qio/qioh.h>
#include "runner.h"

/* What a callback does and saw. */
typedef struct Seen {
    int calls;
    uint32_t condition;
    qioh_watch *watch;
    qioh_channel *channel;
    int32_t result;
    const char *message;
    qioh_channel *to_close;
    bool remove;
    bool reenter;
    qioh_loop *loop;
} Seen;

static int32_t act(Seen *seen, qioh_watch *watch, qioh_error *error)
{
    seen->calls++;
    seen->watch = watch;
    if (seen->to_close) {
        CHECK_INT(qioh_channel_close(seen->to_close, NULL), ==, 0);
        seen->to_close = NULL;
    }
    if (seen->remove) {
        CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    }
    if (seen->reenter) {
        CHECK_INT(qioh_loop_dispatch(seen->loop, 0, NULL), ==, QIOH_E_BUSY);
        CHECK_INT(qioh_loop_run(seen->loop, NULL), ==, QIOH_E_BUSY);
        CHECK_INT(qioh_loop_close(seen->loop, NULL), ==, QIOH_E_BUSY);
    }
    if (seen->message) {
        error->code = seen->result;
        strcpy(error->message, seen->message);
    }
    return seen->result;
}

static int32_t on_channel(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                          void *user_data, qioh_error *error)
{
    Seen *seen = user_data;

    seen->condition = condition;
    seen->channel = channel;
    return act(seen, watch, error);
}

static int32_t on_timer(qioh_watch *watch, void *user_data, qioh_error *error)
{
    return act(user_data, watch, error);
}

static int32_t on_fd(qioh_watch *watch, int32_t fd, uint32_t condition, void *user_data,
                     qioh_error *error)
{
    ((Seen *)user_data)->condition = condition;
    return act(user_data, watch, error);
}

static int32_t on_listener(qioh_watch *watch, qioh_listener *listener, void *user_data,
                           qioh_error *error)
{
    qioh_channel *client = qioh_listener_accept(listener, 0, NULL);

    qioh_channel_unref(client);
    return act(user_data, watch, error);
}

static int32_t on_defer(qioh_loop *loop, void *user_data, qioh_error *error)
{
    CHECK_INT(qioh_loop_wakeup(loop, NULL), ==, 0);
    return act(user_data, NULL, error);
}

static qioh_loop *new_loop(void)
{
    qioh_loop *loop = qioh_loop_new(NULL);

    CHECK_PTR(loop, !=, NULL);
    return loop;
}

static void make_ready_pair(qioh_channel **pair)
{
    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(pair[1], "x", 1, NULL), ==, 0);
}

static void drop(qioh_loop *loop, qioh_channel **pair)
{
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
    qioh_loop_unref(loop);
}

/* ---- callbacks ---- */

TEST(a_watch_is_called_while_its_condition_holds)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 1 };
    qioh_channel *pair[2];
    qioh_watch *watch;
    char buf[4];

    make_ready_pair(pair);
    watch = qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(seen.calls, ==, 2);
    CHECK_INT(seen.condition, ==, QIOH_IN);
    CHECK_PTR(seen.watch, ==, watch);
    CHECK_PTR(seen.channel, ==, pair[0]);
    CHECK_INT(qioh_channel_read(pair[0], buf, 4, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    CHECK_INT(qioh_channel_write_all(pair[1], "x", 1, NULL), ==, 0);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    qioh_watch_unref(watch);
    drop(loop, pair);
}

TEST(a_watch_stays_when_its_handle_is_given_up_and_ends_on_0)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 1 };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_WATCH), ==, 1);
    seen.result = 0;
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(seen.calls, ==, 2);
    CHECK_INT(qioh_debug_live(QIOH_KIND_WATCH), ==, 0);
    drop(loop, pair);
}

TEST(a_watch_keeps_its_channel_alive)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 0 };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    qioh_channel_unref(pair[0]);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_PTR(seen.channel, ==, pair[0]);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_get_kind(pair[0], NULL), ==, QIOH_E_BADHANDLE);
    drop(loop, pair);
}

TEST(closing_a_channel_gives_each_watch_one_last_call)
{
    qioh_loop *loop = new_loop();
    Seen first = { .result = 1 }, second = { .result = 1 };
    qioh_channel *pair[2];
    qioh_watch *a, *b;

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    a = qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &first, NULL, NULL);
    b = qioh_watch_new(loop, pair[0], QIOH_OUT | QIOH_IN, on_channel, &second, NULL, NULL);
    CHECK_INT(qioh_channel_close(pair[0], NULL), ==, 0);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 2);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(first.calls, ==, 1);
    CHECK_INT(second.calls, ==, 1);
    CHECK_INT(first.condition & QIOH_NVAL, ==, QIOH_NVAL);
    CHECK_PTR(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &first, NULL, NULL), ==, NULL);
    qioh_watch_unref(a);
    qioh_watch_unref(b);
    drop(loop, pair);
}

TEST(removing_and_closing_inside_the_callback)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 1, .remove = true };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    seen.to_close = pair[0];
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(seen.calls, ==, 1);
    drop(loop, pair);
}

TEST(coming_back_in_from_a_callback_is_busy)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 0, .reenter = true, .loop = loop };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    drop(loop, pair);
}

TEST(a_loop_may_end_inside_its_own_callback)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 1 };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    qioh_loop_unref(loop);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, QIOH_E_BADHANDLE);
    CHECK_INT(qioh_debug_live(QIOH_KIND_WATCH), ==, 0);
    drop(loop, pair);
}

TEST(a_failure_ends_the_dispatch_and_the_rest_runs_in_the_next)
{
    enum { N = 5 };
    qioh_loop *loop = new_loop();
    qioh_error error = { 0 };
    Seen seen[N] = { 0 };
    int failed = 0, ran = 0;

    for (int i = 0; i < N; i++) {
        seen[i].result = QIOH_E_CALLBACK;
        seen[i].message = "from the script";
        CHECK_INT(qioh_loop_defer(loop, on_defer, &seen[i], NULL, NULL), ==, 0);
    }
    for (int i = 0; i < N; i++) {
        error = (qioh_error){ 0 };
        CHECK_INT(qioh_loop_dispatch(loop, 0, &error), ==, QIOH_E_CALLBACK);
        CHECK_INT(error.code, ==, QIOH_E_CALLBACK);
        CHECK_STR(error.message, "from the script");
        ran = 0;
        for (int j = 0; j < N; j++) {
            ran += seen[j].calls;
        }
        CHECK_INT(ran, ==, ++failed);
    }
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    qioh_loop_unref(loop);
}

TEST(a_failing_watch_is_removed_and_others_are_not_lost)
{
    qioh_loop *loop = new_loop();
    Seen bad = { .result = -77, .message = NULL }, good = { .result = 1 }, once = { 0 };
    qioh_error error = { 0 };
    qioh_channel *pair[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &bad, NULL, NULL));
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &good, NULL, NULL));
    qioh_watch_unref(qioh_watch_new_timer(loop, 0, 0, on_timer, &once, NULL, NULL));
    CHECK_INT(qioh_loop_dispatch(loop, -1, &error), ==, -77);
    CHECK_INT(error.code, ==, -77);
    CHECK(error.message[0] != '\0');
    while (qioh_loop_dispatch(loop, 10, &error) > 0 && once.calls == 0) {
    }
    CHECK_INT(bad.calls, ==, 1);
    CHECK_INT(good.calls, >=, 1);
    CHECK_INT(once.calls, ==, 1);
    drop(loop, pair);
}

TEST(run_returns_a_failure_and_goes_on_after_it)
{
    qioh_loop *loop = new_loop();
    Seen bad = { .result = QIOH_E_CALLBACK };
    qioh_error error = { 0 };

    CHECK_INT(qioh_loop_defer(loop, on_defer, &bad, NULL, NULL), ==, 0);
    CHECK_INT(qioh_loop_run(loop, &error), ==, QIOH_E_CALLBACK);
    CHECK_INT(error.code, ==, QIOH_E_CALLBACK);
    CHECK_INT(qioh_loop_quit(loop, NULL), ==, 0);
    CHECK_INT(qioh_loop_run(loop, &error), ==, 0);
    qioh_loop_unref(loop);
}

/* ---- timers, descriptors, listeners ---- */

TEST(timers_once_and_repeating)
{
    qioh_loop *loop = new_loop();
    Seen once = { .result = 1 }, often = { .result = 1 };
    qioh_error error = { 0 };
    qioh_watch *watch;

    qioh_watch_unref(qioh_watch_new_timer(loop, 1, 0, on_timer, &once, NULL, NULL));
    watch = qioh_watch_new_timer(loop, 0, 1, on_timer, &often, NULL, NULL);
    while (often.calls < 3 || once.calls < 1) {
        CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), >=, 0);
    }
    CHECK_INT(once.calls, ==, 1);
    CHECK_PTR(often.watch, ==, watch);
    CHECK_PTR(qioh_watch_new_timer(loop, -1, 0, on_timer, &once, NULL, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "after_ms");
    CHECK_PTR(qioh_watch_new_timer(loop, 0, -1, on_timer, &once, NULL, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "every_ms");
    /* Never, not at once. */
    qioh_watch_unref(qioh_watch_new_timer(loop, INT64_MAX, INT64_MAX, on_timer, &once, NULL,
                                          NULL));
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    qioh_watch_unref(watch);
    CHECK_INT(qioh_loop_dispatch(loop, 5, NULL), ==, 0);
    CHECK_INT(once.calls, ==, 1);
    qioh_loop_unref(loop);
}

TEST(a_descriptor_of_the_caller)
{
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 1 };
    qioh_error error = { 0 };
    qioh_watch *watch;
    int fds[2];

    CHECK_INT(pipe(fds), ==, 0);
    watch = qioh_watch_new_fd(loop, fds[0], QIOH_IN, on_fd, &seen, NULL, NULL);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(seen.condition, ==, QIOH_IN);
    CHECK_PTR(qioh_watch_new_fd(loop, -1, QIOH_IN, on_fd, &seen, NULL, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "fd");
    CHECK_PTR(qioh_watch_new_fd(loop, 987654, QIOH_IN, on_fd, &seen, NULL, &error), ==, NULL);
    CHECK_INT(error.sys_errno, ==, EBADF);
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    qioh_watch_unref(watch);
    close(fds[0]);
    close(fds[1]);
    qioh_loop_unref(loop);
}

TEST(a_listener_tells_of_clients_and_of_its_end)
{
    qioh_loop *loop = new_loop();
    qioh_listener *listener = qioh_listener_open_uri("tcp://127.0.0.1:0", NULL, NULL);
    Seen seen = { .result = 1 };
    qioh_channel *client;
    char address[80];

    CHECK_PTR(listener, !=, NULL);
    CHECK_INT(qioh_listener_get_address(listener, 0, address, sizeof(address), NULL), >, 0);
    CHECK_INT(qioh_listener_get_address(listener, 1, address, sizeof(address), NULL), ==,
              QIOH_E_INVAL);
    qioh_watch_unref(qioh_watch_new_listener(loop, listener, on_listener, &seen, NULL, NULL));
    client = qioh_channel_open_uri(address, NULL, NULL);
    CHECK_PTR(client, !=, NULL);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_listener_close(listener, NULL), ==, 0);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(seen.calls, ==, 2);
    qioh_channel_unref(client);
    qioh_listener_unref(listener);
    qioh_loop_unref(loop);
}

/* ---- events ---- */

TEST(events_carry_cookies_and_end_in_released)
{
    qioh_loop *loop = new_loop();
    qioh_event events[4] = { { .struct_size = sizeof(qioh_event) } };
    qioh_channel *pair[2];
    qioh_watch *watch;

    make_ready_pair(pair);
    watch = qioh_watch_new_queued(loop, pair[0], QIOH_IN, 4711, NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(qioh_loop_next_events(loop, events, 4, -1, NULL), ==, 1);
        CHECK_INT(events[0].struct_size, ==, sizeof(qioh_event));
        CHECK_INT(events[0].kind, ==, QIOH_EV_WATCH);
        CHECK_INT(events[0].condition, ==, QIOH_IN);
        CHECK_INT(events[0].cookie, ==, 4711);
        CHECK_PTR(events[0].channel, ==, pair[0]);
        CHECK_PTR(events[0].watch, ==, watch);
        CHECK_PTR(events[0].listener, ==, NULL);
    }
    CHECK_INT(qioh_watch_remove(watch, NULL), ==, 0);
    CHECK_INT(qioh_loop_next_events(loop, events, 4, -1, NULL), ==, 1);
    CHECK_INT(events[0].kind, ==, QIOH_EV_RELEASED);
    CHECK_INT(events[0].cookie, ==, 4711);
    CHECK_INT(qioh_loop_next_events(loop, events, 4, 0, NULL), ==, 0);
    qioh_watch_unref(watch);
    drop(loop, pair);
}

TEST(events_of_timers_descriptors_and_closed_channels)
{
    qioh_loop *loop = new_loop();
    qioh_event events[8] = { { .struct_size = 0 } };
    qioh_channel *pair[2];
    int counts[9] = { 0 };

    CHECK_INT(qioh_channel_new_pair(pair, NULL), ==, 0);
    qioh_watch_unref(qioh_watch_new_timer_queued(loop, 0, 0, 1, NULL));
    qioh_watch_unref(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 2, NULL));
    CHECK_INT(qioh_channel_close(pair[0], NULL), ==, 0);
    while (counts[QIOH_EV_RELEASED] < 2) {
        int n = qioh_loop_next_events(loop, events, 8, 1000, NULL);

        CHECK_INT(n, >, 0);
        for (int i = 0; i < n; i++) {
            counts[events[i].kind]++;
            if (events[i].kind == QIOH_EV_WATCH) {
                CHECK_INT(events[i].cookie, ==, 2);
                CHECK_INT(events[i].condition & QIOH_NVAL, ==, QIOH_NVAL);
            }
        }
    }
    CHECK_INT(counts[QIOH_EV_TIMER], ==, 1);
    CHECK_INT(counts[QIOH_EV_WATCH], ==, 1);
    drop(loop, pair);
}

TEST(due_callbacks_are_one_dispatch_event_even_behind_queued_ones)
{
    qioh_loop *loop = new_loop();
    qioh_event event = { 0 };
    Seen seen = { .result = 1 };
    qioh_channel *pair[2];
    int dispatches = 0;

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new(loop, pair[0], QIOH_IN, on_channel, &seen, NULL, NULL));
    qioh_watch_unref(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 1, NULL));
    for (int i = 0; i < 8; i++) {
        CHECK_INT(qioh_loop_next_events(loop, &event, 1, -1, NULL), ==, 1);
        CHECK_INT(seen.calls, ==, dispatches);
        if (event.kind == QIOH_EV_DISPATCH) {
            CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 1);
            dispatches++;
        }
    }
    CHECK_INT(dispatches, >=, 3);
    CHECK_INT(dispatches, <=, 5);
    drop(loop, pair);
}

TEST(the_stride_is_the_struct_size_of_the_first)
{
    typedef struct Larger {
        qioh_event event;
        char more[32];
    } Larger;
    qioh_loop *loop = new_loop();
    qioh_error error = { 0 };
    qioh_channel *pair[2];
    Larger events[2];

    make_ready_pair(pair);
    qioh_watch_unref(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 1, NULL));
    qioh_watch_unref(qioh_watch_new_queued(loop, pair[0], QIOH_IN, 2, NULL));
    memset(events, 0x5a, sizeof(events));
    events[0].event.struct_size = sizeof(Larger);
    CHECK_INT(qioh_loop_next_events(loop, &events[0].event, 2, -1, NULL), ==, 2);
    CHECK_INT(events[0].event.cookie + events[1].event.cookie, ==, 3);
    CHECK_INT(events[1].event.struct_size, ==, sizeof(Larger));
    CHECK_INT(events[1].more[31], ==, 0);
    events[0].event.struct_size = 63;
    CHECK_INT(qioh_loop_next_events(loop, &events[0].event, 2, 0, &error), ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "struct_size");
    CHECK_INT(qioh_loop_next_events(loop, NULL, 2, 0, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_loop_next_events(loop, &events[0].event, 0, 0, &error), ==, QIOH_E_INVAL);
    drop(loop, pair);
}

/* ---- one descriptor, other threads, GLib ---- */

TEST(the_loop_descriptor_is_readable_while_something_is_due)
{
    qioh_loop *loop = new_loop();
    struct pollfd fd = { .fd = qioh_loop_get_fd(loop, NULL), .events = POLLIN };
    Seen seen = { .result = 0 };

    CHECK_INT(poll(&fd, 1, 0), ==, 0);
    CHECK_INT(qioh_loop_wait(loop, 0, NULL), ==, 0);
    CHECK_INT(qioh_loop_defer(loop, on_defer, &seen, NULL, NULL), ==, 0);
    CHECK_INT(poll(&fd, 1, 0), ==, 1);
    CHECK_INT(qioh_loop_wait(loop, -1, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(poll(&fd, 1, 0), ==, 0);
    CHECK_INT(qioh_loop_wakeup(loop, NULL), ==, 0);
    CHECK_INT(poll(&fd, 1, 0), ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, -1, NULL), ==, 0);
    qioh_loop_unref(loop);
}

TEST(a_closed_loop_says_so)
{
    qioh_loop *loop = new_loop();
    qioh_event event = { 0 };
    Seen seen = { 0 };

    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_run(loop, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_next_events(loop, &event, 1, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_wait(loop, 0, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_get_fd(loop, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_wakeup(loop, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_loop_defer(loop, on_defer, &seen, NULL, NULL), ==, QIOH_E_CLOSED);
    CHECK_PTR(qioh_watch_new_timer(loop, 0, 0, on_timer, &seen, NULL, NULL), ==, NULL);
    CHECK_INT(qioh_loop_attach_glib(loop, NULL, NULL), ==, QIOH_E_CLOSED);
    qioh_loop_unref(loop);
}

TEST(glib_dispatches_an_attached_loop)
{
    GMainContext *context = g_main_context_new();
    qioh_loop *loop = new_loop();
    Seen seen = { .result = 0 };

    CHECK_INT(qioh_loop_attach_glib(loop, context, NULL), ==, 0);
    CHECK_INT(qioh_loop_attach_glib(loop, context, NULL), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_loop_defer(loop, on_defer, &seen, NULL, NULL), ==, 0);
    while (seen.calls == 0) {
        g_main_context_iteration(context, TRUE);
    }
    qioh_loop_unref(loop);
    CHECK_INT(g_main_context_iteration(context, FALSE), ==, FALSE);
    g_main_context_unref(context);
}
