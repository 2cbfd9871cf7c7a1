/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-lua-class.c: channels written in Lua as a C program meets them: read and written from C,
 * on another thread, after their state has ended, and with memory that runs out.
 *
 * Built for each Lua.  What methods may return is in tests/lua.
 */
#include <pthread.h>
#include <stdlib.h>
#include <qio/qioh-glib.h>
#include "lua-embed.h"

/* A class whose channel gives and takes words; the channel is the global ch. */
static const char class[] =
    "qio = require 'qio'\n"
    "local words = qio.newclass {\n"
    "  read = function(self, max)\n"
    "    if self.broken then error({}) end\n"
    "    return ('word '):rep(100):sub(1, max)\n"
    "  end,\n"
    "  write = function(self, data) self.got = self.got .. data return #data end,\n"
    "  seek = function(self, whence, offset) return offset end,\n"
    "  close = function(self) closed = (closed or 0) + 1 end,\n"
    "}\n"
    "ch, self = words { got = '' }\n";

/* The channel, with a reference for the test. */
static qioh_channel *take(lua_State *L)
{
    qioh_channel *token;
    QIOChannel *ioc;

    lua_getglobal(L, "ch");
    ioc = qio_lua_check(L, -1);
    token = qio_channel_export(ioc);
    lua_pop(L, 1);
    CHECK(token);
    return token;
}

TEST(c_reads_and_writes_a_channel_of_the_script)
{
    lua_State *L = new_state(NULL, QIO_LUA_HOSTED);
    qioh_channel *channel;
    qioh_iovec iov[3];
    char a[3], b[4], c[100];

    run(L, class);
    channel = take(L);
    iov[0] = (qioh_iovec){ a, sizeof a };
    iov[1] = (qioh_iovec){ b, sizeof b };
    iov[2] = (qioh_iovec){ c, 2 };
    CHECK_INT(qioh_channel_readv(channel, iov, 3, 0, NULL, NULL), ==, 9);
    CHECK_MEM(a, "wor", 3);
    CHECK_MEM(b, "d wo", 4);
    CHECK_MEM(c, "rd", 2);
    CHECK_INT(qioh_channel_writev(channel, iov, 3, 0, NULL, NULL), ==, 9);
    run(L, "assert(self.got == 'word word')");
    CHECK_INT(qioh_channel_read(channel, c, 100, NULL), ==, 100);
    CHECK_INT(qioh_channel_seek(channel, 77, 0, NULL), ==, 77);
    CHECK_INT(qioh_channel_close(channel, NULL), ==, 0);
    CHECK_INT(global_int(L, "closed"), ==, 1);
    qioh_channel_unref(channel);
    lua_close(L);
    check_nothing_lives();
}

TEST(an_error_value_is_a_text_for_c)
{
    lua_State *L = new_state(NULL, 0);
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel;
    char data[10];

    run(L, class);
    run(L, "self.broken = true");
    channel = take(L);
    CHECK_INT(qioh_channel_read(channel, data, 10, &error), ==, QIOH_E_CALLBACK);
    CHECK_STR_HAS(error.message, "(an error value: table)");
    qioh_channel_unref(channel);
    lua_close(L);
}

static void *use_elsewhere(void *opaque)
{
    qioh_error error = { .struct_size = sizeof error };
    char data[10];

    CHECK_INT(qioh_channel_read(opaque, data, 10, &error), ==, QIOH_E_CALLBACK);
    CHECK_STR_HAS(error.message, "another thread than its state's");
    CHECK_INT(qioh_channel_write(opaque, "x", 1, &error), ==, QIOH_E_CALLBACK);
    return NULL;
}

static void *close_elsewhere(void *opaque)
{
    CHECK_INT(qioh_channel_close(opaque, NULL), <=, 0);
    qioh_channel_unref(opaque);
    return NULL;
}

static void on_thread(void *(*body)(void *), void *opaque)
{
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, body, opaque), ==, 0);
    pthread_join(thread, NULL);
}

TEST(another_thread_runs_no_method)
{
    lua_State *L = new_state(NULL, 0);
    qioh_channel *channel;

    run(L, class);
    channel = take(L);
    on_thread(use_elsewhere, channel);
    on_thread(close_elsewhere, channel);
    run(L, "assert(self.got == '' and closed == nil)\n"
           "local ok, msg = ch:read() assert(ok == nil and msg == 'closed')");
    /* The instance goes with its channel. */
    run(L, "weak = setmetatable({ self }, { __mode = 'v' }) ch, self = nil\n"
           "collectgarbage() collectgarbage() qio.step() collectgarbage()\n"
           "assert(weak[1] == nil)");
    lua_close(L);
    check_nothing_lives();
}

TEST(a_channel_that_outlives_its_state_is_closed)
{
    lua_State *L = new_state(NULL, 0);
    qioh_channel *channel;
    char data[10];

    run(L, class);
    channel = take(L);
    lua_close(L);
    CHECK_INT(qioh_channel_read(channel, data, 10, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_write(channel, data, 10, NULL), ==, QIOH_E_CLOSED);
    CHECK_INT(qioh_channel_close(channel, NULL), ==, 0);
    qioh_channel_unref(channel);
    check_nothing_lives();
}

static const char another[] =
    "local ch = qio.newclass { read = function() return 'x' end }()\n"
    "assert(ch:read() == 'x') ch:close()";

static int use(lua_State *L)
{
    qioh_channel *channel = lua_touserdata(L, 1);
    char data[10];

    if (qioh_channel_read(channel, data, 10, NULL) < 0 ||
        qioh_channel_write(channel, data, 10, NULL) < 0 ||
        qioh_channel_seek(channel, 1, 0, NULL) < 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_pushboolean(L, 1);
    return 1;
}

TEST(no_handle_leaks_when_memory_runs_out, .timeout_s = 120)
{
    long fails = 0;

    for (long k = 0;; k++) {
        lua_State *L = new_state(NULL, 0);
        qioh_channel *channel;
        Memory memory;
        bool made, used = false;

        test_note("allocation %ld", k);
        run(L, class);
        channel = take(L);
        lua_checkstack(L, 10);
        lua_pushcfunction(L, use);
        lua_pushlightuserdata(L, channel);
        CHECK_INT(luaL_loadstring(L, another), ==, 0);
        limit_memory(L, &memory, k);
        made = lua_pcall(L, 0, 0, 0) == 0;
        if (made) {
            used = lua_pcall(L, 1, 1, 0) == 0 && lua_toboolean(L, -1);
        }
        unlimit_memory(L, &memory);
        CHECK((made && used) || memory.failed);
        fails += memory.failed;
        qioh_channel_unref(channel);
        lua_close(L);
        check_nothing_lives();
        if (!memory.failed) {
            break;
        }
    }
    CHECK_INT(fails, >, 15);
}
