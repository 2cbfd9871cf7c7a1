/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-custom-life.c: the end of custom channels in unusual company: forked children, threads that
 * close while an op runs, a loop that goes first with watches on the channel, and ops that end
 * other channels.
 */
#include <glib.h>
#include <sys/wait.h>

#include "custom-util.h"

/* ---- forked children ---- */

TEST(a_forked_child_calls_no_op_but_release)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        int status;
        pid_t child;

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        child = fork();
        if (child == 0) {
            qioh_error error = { 0 };
            char buf[1];

            CHECK_INT(qioh_channel_read(pair.ends[0].channel, buf, 1, &error), ==, QIOH_E_FORKED);
            CHECK_INT(qioh_channel_notify(pair.ends[0].channel, QIOH_IN, NULL), ==,
                      QIOH_E_FORKED);
            qioh_channel_unref(pair.ends[0].channel);
            CHECK_INT(pair.ends[0].closes, ==, 0);
            CHECK_INT(pair.ends[0].reads, ==, 0);
            CHECK_INT(pair.ends[0].releases, ==, 1);
            _exit(0);
        }
        CHECK_INT(waitpid(child, &status, 0), ==, child);
        CHECK_INT(status, ==, 0);
        CHECK_INT(qioh_channel_write(pair.ends[1].channel, "x", 1, NULL), ==, 1);
        CHECK_INT(qioh_channel_wait(pair.ends[0].channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
        custom_pair_end(&pair);
    }
}

/* ---- another thread closes ---- */

typedef struct Meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool inside, closed;
    int closes, releases;
    qioh_channel *channel;
} Meeting;

static int64_t met_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                         qioh_fdset *fds, qioh_error *error)
{
    Meeting *meeting = user_data;

    pthread_mutex_lock(&meeting->lock);
    meeting->inside = true;
    pthread_cond_broadcast(&meeting->changed);
    while (!meeting->closed) {
        pthread_cond_wait(&meeting->changed, &meeting->lock);
    }
    CHECK_INT(meeting->closes, ==, 0);
    pthread_mutex_unlock(&meeting->lock);
    memcpy(iov[0].base, "x", 1);
    return 1;
}

static int32_t met_close(void *user_data, qioh_error *error)
{
    ((Meeting *)user_data)->closes++;
    return 0;
}

static void met_release(void *user_data)
{
    ((Meeting *)user_data)->releases++;
}

static void *close_while_inside(void *opaque)
{
    Meeting *meeting = opaque;

    pthread_mutex_lock(&meeting->lock);
    while (!meeting->inside) {
        pthread_cond_wait(&meeting->changed, &meeting->lock);
    }
    pthread_mutex_unlock(&meeting->lock);
    CHECK_INT(qioh_channel_close(meeting->channel, NULL), ==, 0);
    qioh_channel_unref(meeting->channel);
    pthread_mutex_lock(&meeting->lock);
    CHECK_INT(meeting->closes, ==, 0);
    CHECK_INT(meeting->releases, ==, 0);
    meeting->closed = true;
    pthread_cond_broadcast(&meeting->changed);
    pthread_mutex_unlock(&meeting->lock);
    return NULL;
}

TEST(a_close_by_another_thread_comes_when_the_op_is_out)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = met_readv, .close = met_close,
                             .release = met_release };
    Meeting meeting = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    pthread_t thread;
    char buf[1];

    meeting.channel = qioh_channel_new_custom(NULL, &ops, &meeting, NULL);
    CHECK_INT(pthread_create(&thread, NULL, close_while_inside, &meeting), ==, 0);
    CHECK_INT(qioh_channel_read(meeting.channel, buf, 1, NULL), ==, 1);
    pthread_join(thread, NULL);
    CHECK_INT(meeting.closes, ==, 1);
    CHECK_INT(meeting.releases, ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- the loop goes first ---- */

static int32_t on_watch(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                        void *user_data, qioh_error *error)
{
    return 1;
}

TEST(a_loop_that_goes_first_leaves_the_channel)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        qioh_watch *watch;
        CustomPair pair;
        char buf[1];

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, loop);
        watch = qioh_watch_new(loop, pair.ends[0].channel, QIOH_IN, on_watch, NULL, NULL, NULL);
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
        qioh_loop_unref(loop);
        qioh_watch_unref(watch);
        CHECK_INT(qioh_channel_write(pair.ends[1].channel, "x", 1, NULL), ==, 1);
        CHECK_INT(qioh_channel_read(pair.ends[0].channel, buf, 1, NULL), ==, 1);
        CHECK_INT(qioh_channel_wait(pair.ends[0].channel, QIOH_IN, 1, NULL), ==, 0);
        custom_pair_end(&pair);
        CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
    }
}

/* ---- an op ends another channel ---- */

typedef struct Killer {
    CustomPair *victims;
    int releases;
} Killer;

static int64_t killer_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                            qioh_fdset *fds, qioh_error *error)
{
    Killer *killer = user_data;

    for (int i = 0; i < 2; i++) {
        qioh_channel_unref(killer->victims->ends[i].channel);
        CHECK_INT(killer->victims->ends[i].closes, ==, 1);
        CHECK_INT(killer->victims->ends[i].releases, ==, 0);    /* never inside of an op */
    }
    return 0;
}

static void killer_release(void *user_data)
{
    ((Killer *)user_data)->releases++;
}

TEST(an_op_may_end_other_channels)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = killer_readv,
                             .release = killer_release };
    CustomPair victims;
    Killer killer = { &victims, 0 };
    qioh_channel *channel;
    char buf[1];

    custom_pair_make(&victims, CUSTOM_ASKED, NULL);
    channel = qioh_channel_new_custom(NULL, &ops, &killer, NULL);
    CHECK_INT(qioh_channel_read(channel, buf, 1, NULL), ==, 0);
    custom_pair_check_gone(&victims);
    qioh_channel_unref(channel);
    CHECK_INT(killer.releases, ==, 1);
}

/* ---- ops inside of ops, whose channels are given up meanwhile ---- */

typedef enum NestOp {
    NEST_READ, NEST_WRITE, NEST_FLUSH, NEST_SHUTDOWN, NEST_POLL, NEST_OPS
} NestOp;

typedef struct Nest Nest;

/* On the heap and freed by the release, so that a call that comes too late is seen. */
typedef struct Shell {
    Nest *nest;
    int level;
} Shell;

/* Each one's op does the same op to the next one; the innermost gives all of them up. */
struct Nest {
    qioh_channel *channels[3];
    NestOp op;
    int depth;          /* ops that are running */
    int innermost;      /* times that all were given up */
    int closes[3], releases[3];
};

static int64_t do_op(qioh_channel *channel, NestOp op, qioh_error *error)
{
    char buf[1] = { 'x' };

    switch (op) {
    case NEST_READ:
        return qioh_channel_read(channel, buf, 1, error);
    case NEST_WRITE:
        return qioh_channel_write(channel, buf, 1, error);
    case NEST_FLUSH:
        return qioh_channel_flush(channel, error);
    case NEST_SHUTDOWN:
        return qioh_channel_shutdown(channel, QIOH_SHUTDOWN_BOTH, error);
    default:
        return qioh_channel_wait(channel, QIOH_IN, 0, error);
    }
}

/* Another op comes of itself, such as the flush before a close. */
static int64_t nest_op(Shell *shell, NestOp op)
{
    Nest *nest = shell->nest;
    int level = shell->level;

    if (op != nest->op) {
        return 1;
    }
    nest->depth++;
    if (level < 2) {
        do_op(nest->channels[level + 1], nest->op, NULL);
        CHECK_INT(do_op(nest->channels[level + 1], nest->op, NULL), ==, QIOH_E_BADHANDLE);
    } else {
        CHECK_INT(nest->depth, ==, 3);
        nest->innermost++;
        for (int i = 0; i < 3; i++) {
            qioh_channel_unref(nest->channels[i]);
        }
    }
    for (int i = 0; i < 3; i++) {
        CHECK_INT(nest->releases[i], ==, 0);
    }
    nest->depth--;
    CHECK_INT(shell->level, ==, level);
    return 1;
}

static int64_t nest_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                          qioh_fdset *fds, qioh_error *error)
{
    return nest_op(user_data, NEST_READ);
}

static int64_t nest_writev(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                           qioh_fdset *fds, qioh_error *error)
{
    return nest_op(user_data, NEST_WRITE);
}

static int32_t nest_flush(void *user_data, qioh_error *error)
{
    nest_op(user_data, NEST_FLUSH);
    return 0;
}

static int32_t nest_shutdown(void *user_data, uint32_t how, qioh_error *error)
{
    nest_op(user_data, NEST_SHUTDOWN);
    return 0;
}

static int32_t nest_poll(void *user_data, uint32_t condition, int32_t *fd, uint32_t *events,
                         qioh_error *error)
{
    return (int32_t)nest_op(user_data, NEST_POLL);
}

static int32_t nest_close(void *user_data, qioh_error *error)
{
    Shell *shell = user_data;

    shell->nest->closes[shell->level]++;
    return 0;
}

static void nest_release(void *user_data)
{
    Shell *shell = user_data;

    CHECK_INT(shell->nest->depth, ==, 0);
    shell->nest->releases[shell->level]++;
    g_free(shell);
}

static void check_nest(NestOp op, qioh_loop *loop)
{
    qioh_channel_ops ops = {
        .struct_size = sizeof(ops), .readv = nest_readv, .writev = nest_writev,
        .flush = nest_flush, .shutdown = nest_shutdown, .get_poll = nest_poll,
        .close = nest_close, .release = nest_release,
    };
    Nest nest = { .op = op };

    test_note("op %d, %s", op, loop ? "with a loop" : "without a loop");
    for (int i = 0; i < 3; i++) {
        Shell *shell = g_new(Shell, 1);

        *shell = (Shell) { &nest, i };
        nest.channels[i] = qioh_channel_new_custom(loop, &ops, shell, NULL);
        CHECK(nest.channels[i] != NULL);
    }
    do_op(nest.channels[0], op, NULL);
    CHECK_INT(nest.innermost, ==, 1);
    if (loop) {
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), >=, 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_INT(nest.closes[i], ==, 1);
        CHECK_INT(nest.releases[i], ==, 1);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_CHANNEL), ==, 0);
}

TEST(channels_given_up_inside_of_each_others_ops_are_released_once_after_the_outer_call)
{
    for (NestOp op = 0; op < NEST_OPS; op++) {
        qioh_loop *loop = qioh_loop_new(NULL);

        check_nest(op, NULL);
        check_nest(op, loop);
        qioh_loop_unref(loop);
        CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
    }
}

/* ---- a look that a close overtakes ---- */

static int64_t read_nothing(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                            qioh_fdset *fds, qioh_error *error)
{
    return QIOH_E_AGAIN;
}

typedef struct Turner {
    qioh_loop *loop;
    _Atomic bool done;
} Turner;

static void *turn_the_loop(void *opaque)
{
    Turner *turner = opaque;
    qioh_event event = { 0 };

    while (!turner->done) {
        qioh_loop_next_events(turner->loop, &event, 1, 0, NULL);
    }
    return NULL;
}

/* What a look has read into is taken away by the close under its lock only. */
TEST(a_close_meets_the_look_of_a_loop)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = read_nothing };
    Turner turner = { .loop = qioh_loop_new(NULL) };
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, turn_the_loop, &turner), ==, 0);
    for (int i = 0; i < 500; i++) {
        qioh_channel *channel = qioh_channel_new_custom(NULL, &ops, NULL, NULL);
        qioh_watch *watch = qioh_watch_new_queued(turner.loop, channel, QIOH_IN, 1, NULL);

        for (int k = 0; k < i % 7; k++) {
            qioh_channel_notify(channel, QIOH_IN, NULL);
            sched_yield();
        }
        CHECK_INT(qioh_channel_close(channel, NULL), ==, 0);
        qioh_watch_unref(watch);
        qioh_channel_unref(channel);
    }
    turner.done = true;
    pthread_join(thread, NULL);
    qioh_loop_unref(turner.loop);
}
