/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-lua-channel.c: channels between a C program and its script: pushed, borrowed, taken out.
 *
 * Built for each Lua.
 */
#include <qio/channel-buffer.h>
#include "lua-embed.h"

static QIOChannel *new_buffer(void)
{
    return QIO_CHANNEL(qio_channel_buffer_new(100));
}

TEST(a_channel_of_the_program_is_one_value)
{
    lua_State *L = new_state(NULL, 0);
    QIOChannel *ioc = new_buffer();
    QIOChannelBuffer *buffer = QIO_CHANNEL_BUFFER(ioc);

    CHECK_INT(qio_lua_push(L, ioc), ==, 1);
    CHECK_INT(qio_lua_push(L, ioc), ==, 1);
    CHECK_INT(lua_gettop(L), ==, 2);
    CHECK(lua_rawequal(L, 1, 2));
    CHECK(qio_lua_check(L, 1) == ioc && qio_lua_test(L, -1) == ioc);
    lua_setglobal(L, "ch");
    run(L, "assert(ch:write('from Lua') == ch) assert(ch:kind() == 'buffer')");
    CHECK_INT(buffer->usage, ==, 8);
    CHECK(memcmp(buffer->data, "from Lua", 8) == 0);
    /* The program's reference outlives the script's. */
    lua_close(L);
    CHECK_INT(buffer->usage, ==, 8);
    qio_object_unref(ioc);
    check_nothing_lives();
}

TEST(a_channel_of_the_script_is_borrowed)
{
    lua_State *L = new_state(NULL, 0);
    QIOChannel *ioc;

    run(L, "ch = require('qio').buffer 'x' file = io.stdout");
    lua_getglobal(L, "ch");
    lua_getglobal(L, "file");
    lua_pushnil(L);
    lua_pushlightuserdata(L, L);
    ioc = qio_lua_check(L, 1);
    CHECK(ioc && qio_lua_test(L, 1) == ioc);
    for (int i = 2; i <= 5; i++) {
        CHECK(!qio_lua_test(L, i));
    }
    CHECK_INT(lua_gettop(L), ==, 4);
    lua_close(L);
    check_nothing_lives();
}

static int check_at_1(lua_State *L)
{
    qio_lua_check(L, 1);
    return 0;
}

static int detach_at_1(lua_State *L)
{
    QIOChannel *ioc = qio_lua_detach(L, 1);

    lua_pushlightuserdata(L, ioc);
    return 1;
}

TEST(check_raises_as_other_checks_do)
{
    lua_State *L = new_state(NULL, 0);

    lua_register(L, "check", check_at_1);
    lua_register(L, "detach", detach_at_1);
    run(L, "local qio = require 'qio'\n"
           "local function fails(fn, value, text)\n"
           "  local ok, msg = pcall(fn, value)\n"
           "  assert(not ok and msg:find(text, 1, true), msg)\n"
           "end\n"
           "for _, fn in ipairs { check, detach } do\n"
           "  fails(fn, nil, 'bad argument #1')\n"
           "  fails(fn, io.stdout, 'qio.channel expected, got userdata')\n"
           "  fails(fn, qio.loop(), 'qio.channel expected, got qio.loop')\n"
           "end\n"
           "check(qio.null())\n"
           "local a, b = qio.pair()\n"
           "task = qio.spawn(a.read, a)\n"
           "qio.step()\n"
           "fails(detach, a, 'a task waits for the channel')\n"
           "b:write 'now' assert(task:join() == 'now')\n");
    lua_close(L);
    check_nothing_lives();
}

TEST(a_detached_channel_is_the_programs)
{
    lua_State *L = new_state(NULL, 0);
    QIOChannel *ioc;
    char data[4];

    lua_register(L, "detach", detach_at_1);
    run(L, "local qio = require 'qio'\n"
           "a, b = qio.pair()\n"
           "a:write 'rest' assert(b:peek(1) == 'r')\n"
           "taken = detach(b)\n"
           "local ok, msg, code = b:read()\n"
           "assert(ok == nil and code == qio.errno.BADHANDLE)\n"
           "assert(not pcall(detach, b))\n");
    lua_getglobal(L, "taken");
    ioc = lua_touserdata(L, -1);
    CHECK(ioc);
    CHECK_INT(qio_channel_read(ioc, data, 4, NULL), ==, 4);
    CHECK(memcmp(data, "rest", 4) == 0);
    lua_close(L);
    qio_object_unref(ioc);
    check_nothing_lives();
}
