/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-lua-embed.c: <qio/qio-lua.h> as a C program uses it: the module without files, a loop of
 * the state's own and of the program's, the order of ends, threads, memory that runs out.
 *
 * Built for each Lua.  test-lua-channel.c has the channels that go to and fro, test-lua-host.c
 * what only the module's insides show.
 */
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <qio/channel-buffer.h>
#include "qio_chunks.h"
#include "lua-embed.h"

/* ---- opening ---- */

TEST(the_module_comes_without_files)
{
    lua_State *L = plain_state();

    lua_pushcfunction(L, luaopen_qio);
    lua_call(L, 0, 1);
    CHECK(lua_istable(L, -1));
    lua_setglobal(L, "opened");
    run(L, "assert(qio == nil and require 'qio' == opened)\n"
           "assert(opened._NAME == 'qio' and require('qio.sched').READ == 1)\n"
           "local a, b = opened.pair()\n"
           "a:write 'x' assert(b:read() == 'x')\n"
           "assert(not pcall(require, 'qio.nonsense'))");
    /* A second time is the same table. */
    lua_pushcfunction(L, luaopen_qio);
    lua_call(L, 0, 1);
    lua_getglobal(L, "opened");
    CHECK(lua_rawequal(L, -1, -2));
    lua_close(L);
    check_nothing_lives();
}

TEST(opening_leaves_the_stack_of_a_plain_call_alone)
{
    lua_State *L = plain_state();

    lua_pushliteral(L, "mine");
    CHECK_INT(luaopen_qio(L), ==, 1);
    CHECK_INT(lua_gettop(L), ==, 2);
    CHECK_STR(lua_tostring(L, 1), "mine");
    CHECK(lua_istable(L, 2));
    lua_close(L);
}

TEST(a_script_may_require_what_a_program_preloads)
{
    lua_State *L = plain_state();

    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_qio);
    lua_setfield(L, -2, "qio");
    lua_settop(L, 0);
    run(L, "local qio = require 'qio'\n"
           "assert(qio == require 'qio' and qio._NAME == 'qio')\n");
    init(L, NULL, 0);
    lua_close(L);
}

TEST(every_file_of_the_layer_is_in_the_library_as_it_is)
{
    char path[500], data[100000];
    int count = 0;

    for (const qio_chunk *chunk = qio_chunks; chunk->name; chunk++, count++) {
        FILE *file;
        size_t len;

        snprintf(path, sizeof path, "%s/%s", QIO_LUA_DIR, chunk->file);
        file = fopen(path, "rb");
        CHECK(file);
        len = fread(data, 1, sizeof data, file);
        fclose(file);
        CHECK_INT(len, ==, chunk->len);
        CHECK(memcmp(data, chunk->text, len) == 0);
    }
    CHECK_INT(count, >=, 9);
}

TEST(what_is_missing_or_wrong_is_an_error_value)
{
    lua_State *L = luaL_newstate();

    CHECK_INT(qio_lua_init(L, NULL, 0), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "needs the library 'package'");
    lua_close(L);

    L = plain_state();
    CHECK_INT(qio_lua_get_fd(L), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "not open in this Lua state");
    CHECK_INT(qio_lua_dispatch(L, 0), ==, -1);
    CHECK(!qio_lua_test(L, 1));
    qio_lua_close(L);
    run(L, "package.loaded['qio.core'] = {}");
    CHECK_INT(qio_lua_init(L, NULL, 0), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "another library");
    lua_close(L);

    L = plain_state();
    CHECK_INT(qio_lua_init(L, NULL, 6), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "flags of 0 or QIO_LUA_HOSTED expected, got 6");
    lua_settop(L, 0);
    init(L, NULL, 0);
    CHECK_INT(qio_lua_dispatch(L, -2), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "milliseconds or -1 expected");
    /* A loop that is gone. */
    CHECK_INT(qio_lua_init(L, (qioh_loop *)(uintptr_t)4711, 0), ==, -1);
    CHECK_STR_HAS(lua_tostring(L, -1), "qio_lua_init: ");
    lua_close(L);
    check_nothing_lives();
}

/* ---- loops ---- */

static const char chat[] =
    "local qio = require 'qio'\n"
    "local a, b = qio.pair()\n"
    "done = 0\n"
    "qio.spawn(function()\n"
    "  for i = 1, 20 do b:write(b:readline(), '!\\n') end\n"
    "end)\n"
    "qio.spawn(function()\n"
    "  for i = 1, 20 do a:write(i, '\\n') assert(a:readline() == i .. '!') end\n"
    "  qio.sleep(0.001)\n"
    "  done = done + 1\n"
    "  if stop then stop() end\n"
    "end)\n"
    "kept = { a, b, qio.loop():watch(a, 'in', function() end) }\n";

/* A program with a poll loop of its own. */
static void serve(lua_State *L)
{
    struct pollfd pfd = { qio_lua_get_fd(L), POLLIN, 0 };

    CHECK_INT(pfd.fd, >=, 0);
    while (global_int(L, "done") == 0) {
        CHECK_INT(poll(&pfd, 1, 10000), ==, 1);
        dispatch(L, 0);
    }
}

TEST(a_program_polls_the_descriptor_and_dispatches)
{
    lua_State *L = new_state(NULL, QIO_LUA_HOSTED);

    run(L, chat);
    serve(L);
    /* Nothing is due any more: only now would it wait. */
    while (qio_lua_dispatch(L, 0) == 1) {
    }
    lua_close(L);
    check_nothing_lives();
}

TEST(two_states_are_apart)
{
    lua_State *first = new_state(NULL, 0);
    lua_State *second = new_state(NULL, 0);

    run(first, chat);
    run(second, chat);
    serve(first);
    CHECK_INT(global_int(second, "done"), ==, 0);
    lua_close(first);
    serve(second);
    lua_close(second);
    check_nothing_lives();
}

static void *use_states(void *opaque)
{
    for (int i = 0; i < 5; i++) {
        lua_State *L = new_state(NULL, i % 2 ? QIO_LUA_HOSTED : 0);

        run(L, chat);
        serve(L);
        if (i == 3) {
            qio_lua_close(L);
        }
        lua_close(L);
    }
    return NULL;
}

TEST(threads_have_states_of_their_own)
{
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, use_states, NULL), ==, 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    check_nothing_lives();
}

static int states_left;

static int stop(lua_State *L)
{
    lua_getglobal(L, "host_loop");
    if (--states_left == 0) {
        qioh_loop_quit(lua_touserdata(L, -1), NULL);
    }
    return 0;
}

static int32_t tick(qioh_watch *watch, void *user_data, qioh_error *error)
{
    ++*(int *)user_data;
    return 1;
}

/* The loop has a timer of the program and two states; nobody calls qio_lua_dispatch. */
TEST(states_run_on_the_loop_of_the_program)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    lua_State *states[2];
    int ticks = 0;
    qioh_watch *timer = qioh_watch_new_timer(loop, 0, 1, tick, &ticks, NULL, NULL);

    CHECK(loop && timer);
    states_left = 2;
    for (int i = 0; i < 2; i++) {
        states[i] = new_state(loop, QIO_LUA_HOSTED);
        lua_pushlightuserdata(states[i], loop);
        lua_setglobal(states[i], "host_loop");
        lua_register(states[i], "stop", stop);
        run(states[i], chat);
        CHECK_INT(qio_lua_init(states[i], loop, 0), ==, -1);
        CHECK_STR_HAS(lua_tostring(states[i], -1), "has a loop already");
        lua_settop(states[i], 0);
    }
    CHECK_INT(qioh_loop_run(loop, NULL), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(global_int(states[i], "done"), ==, 1);
    }
    CHECK_INT(ticks, >, 0);
    /* One goes, the other and the timer stay. */
    lua_close(states[0]);
    ticks = 0;
    run(states[1], chat);
    while (global_int(states[1], "done") == 0 || ticks == 0) {
        dispatch(states[1], 1000);
    }
    CHECK_INT(qio_lua_get_fd(states[1]), ==, qioh_loop_get_fd(loop, NULL));
    lua_close(states[1]);
    qioh_watch_remove(timer, NULL);
    qioh_watch_unref(timer);
    qioh_loop_unref(loop);
    check_nothing_lives();
}

TEST(a_state_runs_in_the_main_context_that_its_loop_is_attached_to)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    GMainContext *context = g_main_context_new();
    lua_State *L = new_state(loop, QIO_LUA_HOSTED);

    CHECK_INT(qioh_loop_attach_glib(loop, context, NULL), ==, 0);
    run(L, chat);
    while (global_int(L, "done") == 0) {
        g_main_context_iteration(context, TRUE);
    }
    lua_close(L);
    qioh_loop_unref(loop);
    g_main_context_unref(context);
    check_nothing_lives();
}

/* A task that is always ready again leaves the program's loop its turns. */
TEST(a_busy_task_leaves_the_loop_of_the_program_alone)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    lua_State *L = new_state(loop, QIO_LUA_HOSTED);
    int ticks = 0;
    qioh_watch *timer = qioh_watch_new_timer(loop, 1, 1, tick, &ticks, NULL, NULL);

    run(L, "local qio = require 'qio'\n"
           "rounds = 0\n"
           "qio.spawn(function() while true do rounds = rounds + 1 coroutine.yield() end end)");
    while (ticks < 3) {
        CHECK_INT(qioh_loop_dispatch(loop, 1000, NULL), >=, 0);
    }
    CHECK_INT(global_int(L, "rounds"), >, 3);
    lua_close(L);
    qioh_watch_unref(timer);
    qioh_loop_unref(loop);
    check_nothing_lives();
}

TEST(a_wait_outside_of_a_task_is_an_error_when_hosted)
{
    static const char *const waits[] = {
        "b:read()", "b:readline()", "b:readall()", "l:accept()", "qio.sleep(0)", "task:join()",
        "qio.connect(l:address())", "while true do a:write(('x'):rep(65536)) end",
        "a:starttls(assert(qio.creds.anon{}))", "qio.relay(a, b)", "qio.run()", "qio.step()",
        "qio.loop():run()", "cat:waitexit()", "coroutine.wrap(function() b:read() end)()",
        "qio.nursery(function() end)",
    };
    lua_State *L = new_state(NULL, QIO_LUA_HOSTED);

    run(L, "qio = require 'qio'\n"
           "a, b = qio.pair()\n"
           "l = assert(qio.listen 'tcp://127.0.0.1:0')\n"
           "task = qio.spawn(qio.sleep, 1000)\n"
           "cat = assert(qio.command { 'cat' })\n");
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        test_note("%s", waits[i]);
        CHECK(luaL_dostring(L, waits[i]) != LUA_OK);
        CHECK(strstr(lua_tostring(L, -1), "cannot wait outside of a task") ||
              strstr(lua_tostring(L, -1), "the program runs the loop"));
        lua_settop(L, 0);
        run(L, "a:close() b:close() a, b = qio.pair()");
    }
    /* What does not have to wait goes well, and so does everything in a task. */
    run(L, "a:write 'one\\ntwo' assert(b:readline() == 'one')\n"
           "b:settimeout(0)\n"
           "local x, msg, code = b:readline()\n"
           "assert(x == nil and msg == 'timeout' and code == -2)\n"
           "b:settimeout(nil)\n"
           "done = 0\n"
           "qio.spawn(function()\n"
           "  local c = assert(qio.connect(l:address()))\n"
           "  local s = assert(l:accept())\n"
           "  c:write 'hello\\n'\n"
           "  assert(s:readline() == 'hello')\n"
           "  cat:close()\n"
           "  done = 1\n"
           "end)\n");
    serve(L);
    lua_close(L);
    check_nothing_lives();
}

static int dispatch_from_lua(lua_State *L)
{
    lua_pushinteger(L, qio_lua_dispatch(L, 0));
    lua_insert(L, 1);
    return lua_gettop(L);
}

TEST(a_turn_inside_of_a_task_or_callback_is_refused)
{
    lua_State *L = new_state(NULL, 0);

    lua_register(L, "dispatch", dispatch_from_lua);
    run(L, "local qio = require 'qio'\n"
           "assert(dispatch() == 0 or dispatch() == 0)\n"
           "done = 0\n"
           "qio.spawn(function()\n"
           "  local n, msg = dispatch()\n"
           "  assert(n == -1 and msg:find('inside a task', 1, true), msg)\n"
           "  done = done + 1\n"
           "end):join()\n"
           "qio.loop():defer(function()\n"
           "  local n, msg = dispatch()\n"
           "  assert(n == -1 and msg:find('dispatch', 1, true), msg)\n"
           "  done = done + 1\n"
           "end)\n"
           "qio.step()\n");
    CHECK_INT(global_int(L, "done"), ==, 2);
    lua_close(L);
}

/* ---- ends ---- */

static const char busy[] =
    "qio = require 'qio'\n"
    "a, b = qio.pair()\n"
    "l = assert(qio.listen 'tcp://127.0.0.1:0')\n"
    "loop = qio.loop()\n"
    "loop:watch(b, 'in', function() end)\n"
    "loop:add_timer(0.001, function() end, 0.001)\n"
    "qio.spawn(function() b:read() end)\n"
    "qio.spawn(function() l:accept() end)\n"
    "qio.spawn(qio.sleep, 1000)\n"
    "qio.spawn(function() qio.connect(l:address()) end)\n"
    "a:write 'y'\n";

TEST(a_state_ends_with_everything_open)
{
    qioh_loop *loop = qioh_loop_new(NULL);

    for (int i = 0; i < 2; i++) {
        lua_State *L = new_state(i ? loop : NULL, 0);

        run(L, busy);
        dispatch(L, 0);
        CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), >, 5);
        lua_close(L);
    }
    CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), >=, 0);
    qioh_loop_unref(loop);
    check_nothing_lives();
}

TEST(the_loop_of_the_program_may_end_first_after_qio_lua_close)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    lua_State *L = new_state(loop, QIO_LUA_HOSTED);

    run(L, busy);
    dispatch(L, 0);
    qio_lua_close(L);
    qioh_loop_unref(loop);
    check_nothing_lives();
    run(L, "local ok, msg = pcall(qio.pair)\n"
           "assert(not ok and msg:find('the Lua state is closing', 1, true), msg)\n"
           "local ok, msg, code = a:fd()\n"
           "assert(ok == nil and code == qio.errno.BADHANDLE)\n"
           "a:close()\n");
    qio_lua_close(L);
    CHECK_INT(qio_lua_dispatch(L, 0), ==, -1);
    lua_close(L);
    check_nothing_lives();
}

static int close_qio(lua_State *L)
{
    qio_lua_close(L);
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* By a task that is resumed, by one that reads, by a callback: what called it goes on after it. */
TEST(a_script_may_end_qio_from_inside)
{
    static const char *const scripts[] = {
        "qio.spawn(close)",
        "qio.spawn(function() b:read() close() end) a:write 'x'",
        "qio.spawn(function() b:read() close() b:read() end)\n"
        "qio.spawn(function() b2:read() error 'resumed after the end' end)\n"
        "a:write 'x' a2:write 'x'",
        "qio.loop():add_timer(0, function() close() end)",
        "qio.loop():watch(b, 'in', function() close() end) a:write 'x'",
        "local ok, err = pcall(close) a = nil b = nil",
    };

    for (int hosted = 0; hosted < 2; hosted++) {
        for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++) {
            qioh_loop *loop = hosted ? qioh_loop_new(NULL) : NULL;
            lua_State *L = new_state(loop, 0);
            int turns = 0;

            test_note("%s, script %zu", hosted ? "hosted" : "alone", i);
            lua_pushcfunction(L, close_qio);
            lua_setglobal(L, "close");
            run(L, "qio = require 'qio' a, b = qio.pair() a2, b2 = qio.pair()");
            run(L, scripts[i]);
            while (turns++ < 10 && qio_lua_dispatch(L, 0) >= 0) {
            }
            CHECK_INT(turns, <, 10);
            CHECK_STR_HAS(lua_tostring(L, -1), "closing");
            lua_close(L);
            qioh_loop_unref(loop);
            check_nothing_lives();
        }
    }
}

TEST(the_loop_of_the_program_may_end_before_the_state)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    lua_State *L = new_state(loop, QIO_LUA_HOSTED);

    run(L, busy);
    dispatch(L, 0);
    qioh_loop_unref(loop);
    CHECK_INT(qio_lua_dispatch(L, 0), ==, -1);
    CHECK_INT(qio_lua_get_fd(L), ==, -1);
    lua_settop(L, 0);
    run(L, "a:write 'more' local c, d = qio.pair() c:write 'x' assert(d:read() == 'x')");
    lua_close(L);
    check_nothing_lives();
}

TEST(finalisers_younger_and_older_than_the_module)
{
    lua_State *L = plain_state();

    run(L, FINALISER
        "older = finaliser(function() pcall(function() late = { qio.pair() } end) end)\n");
    init(L, NULL, 0);
    run(L, FINALISER
        "qio = require 'qio'\n"
        "younger = finaliser(function()\n"
        "  made = { qio.pair() }\n"
        "  l = qio.listen 'tcp://127.0.0.1:0'\n"
        "  qio.spawn(made[1].read, made[1])\n"
        "end)\n");
    lua_close(L);
    check_nothing_lives();
}

/* ---- threads ---- */

static void *run_to_the_end(void *opaque)
{
    lua_State *L = opaque;

    qio_lua_set_owner(L);
    serve(L);
    run(L, "done = 0 qio = require 'qio'\n"
           "qio.loop():defer(function() done = done + 1 end)");
    serve(L);
    return NULL;
}

static void on_thread(void *(*body)(void *), void *opaque)
{
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, body, opaque), ==, 0);
    pthread_join(thread, NULL);
}

TEST(a_state_moves_to_another_thread_and_back)
{
    lua_State *L = new_state(NULL, QIO_LUA_HOSTED);

    run(L, chat);
    on_thread(run_to_the_end, L);
    qio_lua_set_owner(L);
    run(L, chat);
    serve(L);
    lua_close(L);
    check_nothing_lives();
}

static void *dispatch_elsewhere(void *opaque)
{
    while (qioh_loop_dispatch(opaque, 1000, NULL) == 0) {
    }
    return NULL;
}

TEST(a_callback_on_another_thread_is_the_owners)
{
    lua_State *L = new_state(NULL, 0);
    qioh_loop *loop;

    run(L, "qio = require 'qio'\n"
           "done = 0\n"
           "qio.loop():defer(function() done = done + 1 end)\n"
           "token = require('qio.core').token(qio.loop())\n");
    lua_getglobal(L, "token");
    loop = (qioh_loop *)(uintptr_t)lua_tonumber(L, -1);
    lua_settop(L, 0);
    on_thread(dispatch_elsewhere, loop);
    CHECK_INT(global_int(L, "done"), ==, 0);
    serve(L);
    CHECK_INT(global_int(L, "done"), ==, 1);
    lua_close(L);
    check_nothing_lives();
}

/* ---- memory ---- */

/* Opening takes thousands of allocations, most of them of the parser: every 101st. */
TEST(no_handle_leaks_when_memory_runs_out_while_opening, .timeout_s = 120)
{
    qioh_loop *loop = qioh_loop_new(NULL);
    long live = qioh_debug_live(QIOH_KIND_ANY);
    long fails = 0;

    for (long k = 0;; k += 101) {
        lua_State *L = plain_state();
        Memory memory;
        int status;

        test_note("allocation %ld", k);
        limit_memory(L, &memory, k);
        status = qio_lua_init(L, loop, 0);
        unlimit_memory(L, &memory);
        CHECK_INT(lua_gettop(L), ==, status == 0 ? 0 : 1);
        fails += status != 0;
        lua_close(L);
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), >=, 0);        /* what waits for its release */
        CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, live);
        if (!memory.failed) {
            CHECK_INT(status, ==, 0);
            break;
        }
    }
    CHECK_INT(fails, >, 10);
    qioh_loop_unref(loop);
}

static QIOChannel *new_buffer(void)
{
    return QIO_CHANNEL(qio_channel_buffer_new(100));
}

static int push_and_detach(lua_State *L)
{
    QIOChannel *ioc = lua_touserdata(L, 1);

    qio_lua_push(L, ioc);
    qio_object_unref(qio_lua_detach(L, -1));
    return 0;
}

TEST(no_handle_leaks_when_memory_runs_out_at_work, .timeout_s = 120)
{
    QIOChannel *ioc = new_buffer();
    long fails = 0;

    for (long k = 0;; k++) {
        lua_State *L = new_state(NULL, 0);
        Memory memory;
        int rc;

        test_note("allocation %ld", k);
        run(L, chat);
        /* What is pushed before the limit cannot fail. */
        lua_checkstack(L, 10);
        lua_pushcfunction(L, push_and_detach);
        lua_pushlightuserdata(L, ioc);
        limit_memory(L, &memory, k);
        rc = lua_pcall(L, 1, 0, 0);
        for (int i = 0; i < 3 && rc == LUA_OK; i++) {
            if (qio_lua_dispatch(L, 0) < 0) {
                rc = LUA_ERRMEM;
            }
        }
        unlimit_memory(L, &memory);
        CHECK(rc == LUA_OK || memory.failed);
        fails += memory.failed;
        lua_close(L);
        if (!memory.failed) {
            break;
        }
    }
    CHECK_INT(fails, >, 20);
    qio_object_unref(ioc);
    check_nothing_lives();
}
