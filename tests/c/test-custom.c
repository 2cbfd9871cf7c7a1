/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-custom.c: channels over an ops struct: every member reaches its function, what it returns is
 * checked, and release comes exactly once, whatever happens.
 */
#include "custom-util.h"

#include <fcntl.h>
#include <stdio.h>

/* ---- members ---- */

TEST(every_transfer_goes_through_the_ops)
{
    for (CustomWay way = 0; way < CUSTOM_WAYS; way++) {
        CustomPair pair;
        qioh_channel *a, *b;
        char buf[64] = "";

        test_note("%s", custom_ways[way]);
        custom_pair_make(&pair, way, NULL);
        a = pair.ends[0].channel;
        b = pair.ends[1].channel;
        CHECK_INT(qioh_channel_try_read(b, buf, sizeof(buf), NULL), ==, QIOH_E_AGAIN);
        CHECK_INT(qioh_channel_write(a, "hello\nworld", 11, NULL), ==, 11);
        CHECK_INT(pair.ends[0].flushes, ==, 1);
        CHECK_INT(qioh_channel_peek(b, buf, 3, 0, NULL), ==, 3);
        CHECK_INT(qioh_channel_read_until(b, buf, sizeof(buf),
                                          &(qioh_iovec){ "\n", 1 }, 1, 64, 0, NULL), ==, 6);
        CHECK_MEM(buf, "hello\n", 6);
        CHECK_INT(qioh_channel_read_all(b, buf, 5, NULL), ==, 0);
        CHECK_MEM(buf, "world", 5);
        CHECK_INT(qioh_channel_has_feature(a, QIOH_FEATURE_SHUTDOWN, NULL), ==, 1);
        CHECK_INT(qioh_channel_has_feature(a, QIOH_FEATURE_FD_PASS, NULL), ==, 0);
        CHECK_INT(qioh_channel_shutdown(a, QIOH_SHUTDOWN_WRITE, NULL), ==, 0);
        CHECK_INT(qioh_channel_read(b, buf, sizeof(buf), NULL), ==, 0);
        CHECK_INT(qioh_channel_close(a, NULL), ==, 0);
        CHECK_INT(pair.ends[0].closes, ==, 1);
        CHECK_INT(pair.ends[0].releases, ==, 0);
        CHECK_INT(qioh_channel_close(a, NULL), ==, 0);
        CHECK_INT(qioh_channel_read(a, buf, 1, NULL), ==, QIOH_E_CLOSED);
        CHECK_INT(qioh_channel_notify(a, QIOH_IN, NULL), ==, QIOH_E_CLOSED);
        custom_pair_end(&pair);
    }
}

/* ---- a channel whose every op does as it is told ---- */

typedef struct Told {
    int64_t result;
    qioh_error error;           /* copied where code, message or number is set */
    int32_t fd;
    uint32_t events;
    qioh_channel *channel;
    void (*act)(struct Told *told);
    int calls, releases, closes;
} Told;

static int64_t told(void *user_data, qioh_error *error)
{
    Told *me = user_data;

    me->calls++;
    if (me->act) {
        me->act(me);
    }
    if (me->error.code || me->error.message[0]) {
        *error = me->error;
    }
    return me->result;
}

static int64_t told_transfer(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_fdset *fds, qioh_error *error)
{
    return told(user_data, error);
}

static int32_t told_close(void *user_data, qioh_error *error)
{
    ((Told *)user_data)->closes++;
    return (int32_t)told(user_data, error);
}

static int32_t told_shutdown(void *user_data, uint32_t how, qioh_error *error)
{
    CHECK_INT(how, ==, QIOH_SHUTDOWN_READ);
    return (int32_t)told(user_data, error);
}

static int64_t told_seek(void *user_data, int64_t offset, int32_t whence, qioh_error *error)
{
    CHECK_INT(offset, ==, 5);
    CHECK_INT(whence, ==, SEEK_SET);
    return told(user_data, error);
}

static int32_t told_get_poll(void *user_data, uint32_t condition, int32_t *fd, uint32_t *events,
                             qioh_error *error)
{
    Told *me = user_data;

    *fd = me->fd;
    *events = me->events;
    return (int32_t)told(user_data, error);
}

static int32_t told_flush(void *user_data, qioh_error *error)
{
    return (int32_t)told(user_data, error);
}

static void told_release(void *user_data)
{
    ((Told *)user_data)->releases++;
}

typedef enum Op { READV, WRITEV, CLOSE, SHUTDOWN, SEEK, GET_POLL, FLUSH, OPS } Op;

static const char *const op_names[] = {
    "op readv", "op writev", "op close", "op shutdown", "op seek", "op get_poll", "op flush"
};

static void told_make(Told *me, Op op)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .release = told_release };

    switch (op) {
    case READV: ops.readv = told_transfer; break;
    case WRITEV: ops.writev = told_transfer; break;
    case CLOSE: ops.close = told_close; break;
    case SHUTDOWN: ops.shutdown = told_shutdown; break;
    case SEEK: ops.seek = told_seek; break;
    case GET_POLL: ops.get_poll = told_get_poll; break;
    case FLUSH: ops.flush = told_flush; break;
    case OPS: break;
    }
    me->channel = qioh_channel_new_custom(NULL, &ops, me, NULL);
    CHECK_PTR(me->channel, !=, NULL);
}

static int64_t call(Told *me, Op op, qioh_error *error)
{
    char buf[16];
    int32_t fd;
    uint32_t events;

    switch (op) {
    case READV: return qioh_channel_try_read(me->channel, buf, sizeof(buf), error);
    case WRITEV: return qioh_channel_try_write(me->channel, "0123456789abcdef", 16, error);
    case CLOSE: return qioh_channel_close(me->channel, error);
    case SHUTDOWN: return qioh_channel_shutdown(me->channel, QIOH_SHUTDOWN_READ, error);
    case SEEK: return qioh_channel_seek(me->channel, 5, SEEK_SET, error);
    case GET_POLL:
        /* Ready, for the next transfer tells. */
        if (qioh_channel_get_poll(me->channel, QIOH_IN, &fd, &events, error) == 1) {
            return qioh_channel_try_read(me->channel, buf, sizeof(buf), error);
        }
        return QIOH_OK;
    case FLUSH: return qioh_channel_flush_within(me->channel, 0, error);
    case OPS: break;
    }
    return QIOH_E_INVAL;
}

static void told_end(Told *me)
{
    me->result = 0;
    me->act = NULL;
    qioh_channel_unref(me->channel);
    CHECK_INT(me->releases, ==, 1);
}

static void check_misreturn(Op op, int64_t result, const char *part)
{
    Told me = { .result = result, .fd = -1 };
    qioh_error error = { 0 };

    test_note("%s returns %lld", op_names[op], (long long)result);
    told_make(&me, op);
    CHECK_INT(call(&me, op, &error), ==, QIOH_E_CALLBACK);
    CHECK_INT(error.code, ==, QIOH_E_CALLBACK);
    CHECK_STR_HAS(error.message, op_names[op]);
    CHECK_STR_HAS(error.message, part);
    told_end(&me);
}

TEST(what_an_op_may_not_return_is_told_by_name)
{
    check_misreturn(READV, 17, "17 for a request of 16");
    check_misreturn(READV, INT64_MAX, "for a request of 16");
    check_misreturn(WRITEV, 17, "17 for a request of 16");
    check_misreturn(WRITEV, 0, "accepts nothing");
    for (Op op = 0; op < OPS; op++) {
        check_misreturn(op, -99, "none of QIOH_E_*");
        check_misreturn(op, QIOH_E_INTR, "wait for");
        if (op != READV && op != WRITEV && op != FLUSH) {
            check_misreturn(op, QIOH_E_AGAIN, "wait for");
        }
        if (op != READV && op != WRITEV && op != SEEK) {
            check_misreturn(op, 2, "2");
        }
    }
    check_misreturn(READV, INT64_MIN, "none of QIOH_E_*");
    check_misreturn(GET_POLL, 0, "descriptor -1");
}

TEST(a_descriptor_that_get_poll_names_is_checked)
{
    Told me = { .fd = 999, .events = QIOH_IN };
    qioh_error error = { 0 };

    told_make(&me, GET_POLL);
    CHECK_INT(call(&me, GET_POLL, &error), ==, QIOH_E_CALLBACK);
    CHECK_STR_HAS(error.message, "999, which is not open");
    me.fd = 0;
    me.events = QIOH_HUP;
    CHECK_INT(call(&me, GET_POLL, &error), ==, QIOH_E_CALLBACK);
    CHECK_STR_HAS(error.message, "events 0x10");
    told_end(&me);
}

TEST(a_failure_comes_up_as_the_op_told_it)
{
    static const int32_t codes[] = {
        QIOH_E_CALLBACK, QIOH_E_SYSTEM, QIOH_E_INVAL, QIOH_E_CLOSED, QIOH_E_TIMEOUT, QIOH_E_TLS,
        QIOH_E_LIMIT, QIOH_E_PROTOCOL, QIOH_E_BUSY, QIOH_E_TLS_TRUNCATED,
    };

    for (Op op = 0; op < OPS; op++) {
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
            Told me = { .result = codes[i], .fd = -1 };
            qioh_error error = { 0 };

            /* For get_poll this says that the channel was closed meanwhile. */
            if (op == GET_POLL && codes[i] == QIOH_E_CLOSED) {
                continue;
            }
            test_note("%s fails with %d", op_names[op], codes[i]);
            me.error.code = codes[i];
            me.error.domain = QIOH_DOMAIN_WEBSOCKET;
            me.error.number = 1234567890123;
            strcpy(me.error.message, "the op's own words");
            told_make(&me, op);
            CHECK_INT(call(&me, op, &error), ==, codes[i]);
            CHECK_STR(error.message, "the op's own words");
            CHECK_INT(error.number, ==, 1234567890123);
            CHECK_INT(error.domain, ==, QIOH_DOMAIN_WEBSOCKET);
            told_end(&me);

            /* And without a word. */
            me = (Told){ .result = codes[i], .fd = -1 };
            told_make(&me, op);
            CHECK_INT(call(&me, op, &error), ==, codes[i]);
            CHECK_STR_HAS(error.message, op_names[op]);
            CHECK_STR_HAS(error.message, qioh_status_name(codes[i]));
            told_end(&me);
        }
    }
}

TEST(an_errno_of_an_op_comes_up)
{
    Told me = { .result = QIOH_E_SYSTEM };
    qioh_error error = { 0 };

    me.error.code = QIOH_E_SYSTEM;
    me.error.sys_errno = ECONNRESET;
    strcpy(me.error.message, "the line is dead");
    told_make(&me, READV);
    CHECK_INT(call(&me, READV, &error), ==, QIOH_E_SYSTEM);
    CHECK_INT(error.sys_errno, ==, ECONNRESET);
    CHECK_INT(error.domain, ==, QIOH_DOMAIN_ERRNO);
    CHECK_STR(error.message, "the line is dead");
    told_end(&me);
}

TEST(what_no_member_does_is_not_supported_or_nothing)
{
    Told me = { 0 };
    qioh_error error = { 0 };

    told_make(&me, OPS);
    CHECK_INT(call(&me, READV, &error), ==, QIOH_E_NOTSUP);
    CHECK_STR_HAS(error.message, "no op readv");
    CHECK_INT(call(&me, WRITEV, &error), ==, QIOH_E_NOTSUP);
    CHECK_STR_HAS(error.message, "no op writev");
    CHECK_INT(call(&me, SHUTDOWN, &error), ==, QIOH_E_NOTSUP);
    CHECK_INT(call(&me, SEEK, &error), ==, QIOH_E_NOTSUP);
    CHECK_INT(call(&me, FLUSH, &error), ==, 0);
    CHECK_INT(qioh_channel_pread(me.channel, &error, 1, 0, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_get_fd(me.channel, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_take_fd(me.channel, NULL), ==, QIOH_E_NOTSUP);
    CHECK_INT(qioh_channel_has_feature(me.channel, QIOH_FEATURE_SHUTDOWN, NULL), ==, 0);
    CHECK_INT(call(&me, CLOSE, &error), ==, 0);
    told_end(&me);
}

/* ---- the struct ---- */

TEST(a_struct_of_another_size_is_taken_as_far_as_it_goes)
{
    qioh_channel_ops ops = {
        .struct_size = offsetof(qioh_channel_ops, writev) + 3,
        .readv = told_transfer, .writev = told_transfer, .release = told_release,
    };
    struct { qioh_channel_ops ops; void *more[4]; } newer = { { 0 }, { &ops } };
    Told me = { .result = 3 };
    qioh_error error = { 0 };

    me.channel = qioh_channel_new_custom(NULL, &ops, &me, NULL);
    CHECK_INT(call(&me, READV, &error), ==, 3);
    CHECK_INT(call(&me, WRITEV, &error), ==, QIOH_E_NOTSUP);
    qioh_channel_unref(me.channel);
    CHECK_INT(me.releases, ==, 0);          /* the caller's struct ends before it */

    newer.ops = ops;
    newer.ops.struct_size = sizeof(newer);
    me.channel = qioh_channel_new_custom(NULL, &newer.ops, &me, NULL);
    CHECK_INT(call(&me, WRITEV, &error), ==, 3);
    told_end(&me);
}

TEST(what_cannot_be_made_is_released_at_once)
{
    qioh_channel_ops good = { .struct_size = sizeof(good), .release = told_release };
    qioh_channel_ops bad = good;
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_error error = { 0 };
    Told me = { 0 };

    CHECK_PTR(qioh_channel_new_custom(NULL, NULL, &me, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_INVAL);
    bad.flags = 2;
    CHECK_PTR(qioh_channel_new_custom(NULL, &bad, &me, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "ops->flags are 0x2");
    CHECK_INT(me.releases, ==, 1);
    CHECK_PTR(qioh_channel_new_custom(loop, &bad, &me, &error), ==, NULL);
    CHECK_INT(me.releases, ==, 1);
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0);
    CHECK_INT(me.releases, ==, 2);
    bad.struct_size = 4;
    CHECK_PTR(qioh_channel_new_custom(NULL, &bad, &me, &error), ==, NULL);
    CHECK_STR_HAS(error.message, "struct_size is 4");
    CHECK_INT(qioh_loop_close(loop, NULL), ==, 0);
    CHECK_PTR(qioh_channel_new_custom(loop, &good, &me, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_CLOSED);
    CHECK_INT(me.releases, ==, 3);
    qioh_loop_unref(loop);
    CHECK_PTR(qioh_channel_new_custom(loop, &good, &me, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_BADHANDLE);
    CHECK_INT(me.releases, ==, 4);
}

/* ---- release ---- */

TEST(the_loop_of_a_channel_releases_in_its_next_dispatch)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .release = told_release };

    for (int how = 0; how < 4; how++) {
        qioh_loop *loop = qioh_loop_new(NULL);
        Told me = { 0 };

        test_note("how %d", how);
        me.channel = qioh_channel_new_custom(loop, &ops, &me, NULL);
        if (how == 3) {
            /* The loop goes first: what is left has none. */
            qioh_loop_unref(loop);
            CHECK_INT(me.releases, ==, 0);
            qioh_channel_unref(me.channel);
            CHECK_INT(me.releases, ==, 1);
            continue;
        }
        qioh_channel_unref(me.channel);
        CHECK_INT(me.releases, ==, 0);
        switch (how) {
        case 0: CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), ==, 0); break;
        case 1: CHECK_INT(qioh_loop_close(loop, NULL), ==, 0); break;
        case 2: break;
        }
        CHECK_INT(me.releases, ==, how < 2);
        qioh_loop_unref(loop);
        CHECK_INT(me.releases, ==, 1);
    }
}

/* ---- coming back in ---- */

static void act_unref(Told *me)
{
    qioh_channel_unref(me->channel);
    CHECK_INT(me->releases, ==, 0);
    CHECK_INT(me->closes, ==, 0);
}

TEST(an_op_may_give_its_own_channel_up)
{
    for (Op op = 0; op < OPS; op++) {
        Told me = { .fd = -1, .result = op == GET_POLL ? 1 : op == WRITEV, .act = act_unref };
        qioh_error error = { 0 };

        test_note("%s", op_names[op]);
        told_make(&me, op);
        if (op == CLOSE) {
            me.act = NULL;
            qioh_channel_unref(me.channel);
        } else if (op == GET_POLL) {
            CHECK_INT(qioh_channel_wait(me.channel, QIOH_IN, 0, &error), ==, QIOH_IN);
        } else {
            CHECK_INT(call(&me, op, &error), ==, op == WRITEV);
        }
        CHECK_INT(me.releases, ==, 1);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

static void act_close(Told *me)
{
    if (me->calls == 1) {
        CHECK_INT(qioh_channel_close(me->channel, NULL), ==, 0);
        CHECK_INT(qioh_channel_read(me->channel, NULL, 0, NULL), ==, QIOH_E_CLOSED);
    }
}

static int64_t close_and_read(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                              qioh_fdset *fds, qioh_error *error)
{
    Told *me = user_data;

    act_close(me);
    CHECK_INT(me->closes, ==, 0);       /* comes when nobody is inside */
    return told(user_data, error);
}

TEST(an_op_may_close_its_own_channel)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .readv = close_and_read,
                             .close = told_close, .release = told_release };
    Told me = { .calls = 1 };
    char buf[4];

    me.result = 2;
    me.channel = qioh_channel_new_custom(NULL, &ops, &me, NULL);
    me.closes = 0;
    me.calls = 1;
    me.result = 0;
    CHECK_INT(qioh_channel_read(me.channel, buf, 4, NULL), ==, 0);
    CHECK_INT(me.closes, ==, 1);
    CHECK_INT(qioh_channel_read(me.channel, buf, 4, NULL), ==, QIOH_E_CLOSED);
    told_end(&me);
    CHECK_INT(me.closes, ==, 1);
}

static void act_come_back(Told *me)
{
    char buf[4];
    qioh_error error = { 0 };

    if (me->calls > 1) {
        return;
    }
    CHECK_INT(qioh_channel_try_read(me->channel, buf, 4, &error), ==, QIOH_E_BUSY);
    CHECK_INT(qioh_channel_wait(me->channel, QIOH_IN, 1000, &error), ==, QIOH_E_BUSY);
    CHECK_STR_HAS(error.message, "this thread");
    CHECK_INT(qioh_channel_wait(me->channel, QIOH_IN, 0, &error), ==, 0);
    CHECK_INT(qioh_channel_notify(me->channel, QIOH_IN, NULL), ==, 0);
    CHECK_INT(qioh_channel_set_name(me->channel, "still here", NULL), ==, 0);
}

TEST(an_op_may_use_its_own_channel)
{
    Told me = { .result = 1, .act = act_come_back };
    qioh_error error = { 0 };

    told_make(&me, READV);
    CHECK_INT(call(&me, READV, &error), ==, 1);
    CHECK_INT(me.calls, ==, 1);
    told_end(&me);
}

/* ---- descriptors ---- */

typedef struct Passing {
    int held;
    int seen;
    int releases;
} Passing;

static int64_t passing_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_fdset *fds, qioh_error *error)
{
    Passing *me = user_data;

    if (me->held < 0) {
        return QIOH_E_AGAIN;
    }
    memcpy(iov[0].base, "d", 1);
    me->seen += fds != NULL;
    if (fds) {
        CHECK_INT(qioh_fdset_add(fds, me->held, error), ==, 0);
    }
    close(me->held);
    me->held = -1;
    return 1;
}

static int64_t passing_writev(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                              qioh_fdset *fds, qioh_error *error)
{
    Passing *me = user_data;

    CHECK_PTR(fds, !=, NULL);
    CHECK_INT(qioh_fdset_count(fds, NULL), ==, 1);
    me->held = qioh_fdset_take_fd(fds, 0, error);
    return (int64_t)iov[0].len;
}

static void passing_release(void *user_data)
{
    ((Passing *)user_data)->releases++;
}

static void check_passed(Passing *me, qioh_channel *channel, bool wait_first)
{
    qioh_fdset *set = qioh_fdset_new(NULL);
    qioh_iovec iov = { (char[]){ "d" }, 1 };

    CHECK_INT(qioh_fdset_add(set, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_writev(channel, &iov, 1, 0, set, NULL), ==, 1);
    CHECK_INT(qioh_fdset_count(set, NULL), ==, 1);
    qioh_fdset_unref(set);
    if (wait_first) {
        CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
        CHECK_INT(me->held, ==, -1);
    }
    set = qioh_fdset_new(NULL);
    CHECK_INT(qioh_channel_readv(channel, &iov, 1, 0, set, NULL), ==, 1);
    CHECK_INT(qioh_fdset_count(set, NULL), ==, 1);
    CHECK(fcntl(qioh_fdset_get_fd(set, 0, NULL), F_GETFD) & FD_CLOEXEC);
    qioh_fdset_unref(set);
}

TEST(descriptors_travel_through_the_set)
{
    qioh_channel_ops ops = { .struct_size = sizeof(ops), .flags = QIOH_OPS_FD_PASS,
                             .readv = passing_readv, .writev = passing_writev,
                             .release = passing_release };
    Passing me = { .held = -1 };
    qioh_channel *channel = qioh_channel_new_custom(NULL, &ops, &me, NULL);
    char buf[1];

    CHECK_INT(qioh_channel_has_feature(channel, QIOH_FEATURE_FD_PASS, NULL), ==, 1);
    check_passed(&me, channel, false);
    check_passed(&me, channel, true);
    /* A read that did not ask for them closes them, also those that a waiter has read. */
    me.held = dup(0);
    CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
    CHECK_INT(qioh_channel_read(channel, buf, 1, NULL), ==, 1);
    CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, 0);
    me.held = dup(0);
    CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, 0);
    CHECK_INT(qioh_channel_notify(channel, QIOH_IN, NULL), ==, 0);
    CHECK_INT(qioh_channel_wait(channel, QIOH_IN, 0, NULL), ==, QIOH_IN);
    CHECK_INT(me.held, ==, -1);
    qioh_channel_unref(channel);
    CHECK_INT(me.releases, ==, 1);
}

TEST(only_what_does_not_know_itself_is_notified)
{
    qioh_channel *null = qioh_channel_new_null(NULL);
    qioh_error error = { 0 };

    CHECK_INT(qioh_channel_notify(null, QIOH_IN, &error), ==, QIOH_E_WRONGTYPE);
    CHECK_INT(qioh_channel_notify(null, 0, &error), ==, QIOH_E_INVAL);
    qioh_channel_unref(null);
    CHECK_INT(qioh_channel_notify(null, QIOH_IN, &error), ==, QIOH_E_BADHANDLE);
}
