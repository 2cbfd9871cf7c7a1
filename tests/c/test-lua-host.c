/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-lua-host.c: what only a C host sees of the Lua module: states that end with everything
 * still open, several states and threads, callbacks that come from other threads or too late,
 * and memory that runs out at every allocation.
 *
 * The module is linked in statically, so that its own functions can be called.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <qio/qio-lua.h>
#include "qio_core_rt.h"
#include "lua-state.h"

int luaopen_qio_core(lua_State *L);

/* ---- states ---- */

static void preload(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_qio_core);
    lua_setfield(L, -2, "qio.core");
    lua_pushcfunction(L, luaopen_qio);
    lua_setfield(L, -2, "qio");
    lua_pop(L, 2);
}

static lua_State *new_state(void)
{
    lua_State *L = luaL_newstate();

    CHECK(L);
    preload(L);
    return L;
}

TEST(a_state_that_ends_gives_up_everything)
{
    lua_State *L = new_state();

    run(L,
        "qio = require 'qio'\n"
        "a, b = qio.pair()\n"
        "c, d = qio.pair()\n"
        "l = assert(qio.listen 'tcp://127.0.0.1:0')\n"
        "loop = qio.loop()\n"
        "loop:watch(b, 'in', function() end)\n"
        "loop:watch(l, function() end)\n"
        "loop:add_timer(1000, function() end, 1)\n"
        "loop:defer(function() end)\n"
        "qio.spawn(function() d:read() end)\n"
        "qio.spawn(function() l:accept() end)\n"
        "qio.spawn(qio.sleep, 1000)\n"
        "block = qio.bytes(1000)\n"
        "qio.step()\n"
        "c:write 'x'\n"
        "a:write 'y'\n");
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), >, 5);
    lua_close(L);
    check_nothing_lives();
}

TEST(a_state_ends_inside_of_nothing_but_core)
{
    lua_State *L = new_state();

    run(L, "local core = require 'qio.core'\n"
           "loop = core.loop_new()\n"
           "a, b = core.channel_new_pair()\n"
           "core.arm(loop, a, 1) core.arm(loop, a, 2) core.arm(loop, b, 1)\n"
           "core.next_events(loop, {}, 0)\n");
    lua_close(L);
    check_nothing_lives();
}

TEST(a_finaliser_that_makes_channels_leaks_none)
{
    lua_State *L = new_state();

    run(L, FINALISER
           "core = require 'qio.core'\n"
           "younger = finaliser(function()\n"
           "  made = { core.channel_new_pair() }\n"
           "  l = core.listener_open_uri('tcp://127.0.0.1:0', nil)\n"
           "end)\n");
    lua_close(L);
    check_nothing_lives();
}

static char message[256];

static int keep_message(lua_State *L)
{
    snprintf(message, sizeof message, "%s", lua_tostring(L, 1));
    return 0;
}

TEST(a_finaliser_older_than_the_module_gets_an_error)
{
    lua_State *L = new_state();

    message[0] = '\0';
    run(L, FINALISER
           "older = finaliser(function() late() end)\n"
           "core = require 'qio.core'\n"
           "function late() ok, err = pcall(core.channel_new_pair) report(err) end\n");
    lua_pushcfunction(L, keep_message);
    lua_setglobal(L, "report");
    lua_close(L);
    CHECK_STR_HAS(message, "the Lua state is closing");
    check_nothing_lives();
}

static const char chat[] =
    "local qio = require 'qio'\n"
    "local a, b = qio.pair()\n"
    "local t = qio.spawn(function()\n"
    "  local line = b:readline()\n"
    "  while line do b:write(line, '!\\n') line = b:readline() end\n"
    "end)\n"
    "for i = 1, 20 do a:write(i, '\\n') assert(a:readline() == i .. '!') end\n"
    "a:shutdown 'write'\n"
    "t:join()\n"
    "kept = { a, b, qio.loop():watch(a, 'in', function() end) }\n";

TEST(two_states_are_apart)
{
    lua_State *first = new_state();
    lua_State *second = new_state();

    run(first, chat);
    run(second, chat);
    run(first, chat);
    lua_close(first);
    run(second, chat);
    lua_close(second);
    check_nothing_lives();
}

static void *use_states(void *opaque)
{
    for (int i = 0; i < 5; i++) {
        lua_State *L = new_state();

        run(L, chat);
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

/* ---- callbacks ---- */

static qiol_cb *callback_of(lua_State *L, const char *global)
{
    qiol_cb *cb;

    lua_getglobal(L, global);
    cb = qiol_cb_new(L, lua_gettop(L), NULL);
    lua_pop(L, 1);
    return cb;
}

static atomic_bool drained_enough;

static const char counter[] =
    "core = require 'qio.core'\n"
    "calls, errors = 0, 0\n"
    "core.onerror(function() errors = errors + 1 end)\n"
    "function count() calls = calls + 1 return again end\n"
    "function fail() error 'x' end\n";

TEST(a_call_after_the_state_ended_answers_remove)
{
    lua_State *L = new_state();
    qioh_error error = { 0 };
    qiol_cb *cb;

    run(L, counter);
    cb = callback_of(L, "count");
    CHECK_INT(qiol_timer_fn(NULL, cb, &error), ==, 1);
    CHECK_INT(global_int(L, "calls"), ==, 1);
    lua_close(L);
    CHECK_INT(qiol_timer_fn(NULL, cb, &error), ==, 0);
    CHECK_INT(qiol_watch_fn(NULL, NULL, QIOH_IN, cb, &error), ==, 0);
    qiol_cb_release(cb);
    check_nothing_lives();
}

TEST(a_callback_that_fails_or_returns_false)
{
    lua_State *L = new_state();
    qioh_error error = { 0 };
    qiol_cb *failing, *counting;

    run(L, counter);
    failing = callback_of(L, "fail");
    counting = callback_of(L, "count");
    CHECK_INT(qiol_fd_fn(NULL, 0, QIOH_IN, failing, &error), ==, 1);
    CHECK_INT(global_int(L, "errors"), ==, 1);
    CHECK_INT(qiol_timer_fn(NULL, counting, &error), ==, 1);
    run(L, "again = false");
    CHECK_INT(qiol_timer_fn(NULL, counting, &error), ==, 0);
    run(L, "again = 0");
    CHECK_INT(qiol_listener_fn(NULL, NULL, counting, &error), ==, 1);
    qiol_cb_release(failing);
    qiol_cb_release(counting);
    lua_close(L);
}

static void *fire_and_release(void *opaque)
{
    qioh_error error = { 0 };
    qiol_cb *cb = opaque;

    for (int i = 0; i < 100; i++) {
        CHECK_INT(qiol_watch_fn(NULL, NULL, QIOH_IN, cb, &error), ==, 1);
    }
    qiol_cb_release(cb);
    return NULL;
}

static void on_thread(void *(*body)(void *), void *opaque)
{
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, body, opaque), ==, 0);
    pthread_join(thread, NULL);
}

TEST(a_call_on_another_thread_runs_on_the_owner)
{
    lua_State *L = new_state();

    run(L, counter);
    on_thread(fire_and_release, callback_of(L, "count"));
    CHECK_INT(global_int(L, "calls"), ==, 0);
    qiol_cb_drain(L);
    /* Readiness is a level: a hundred times ready is one call. */
    CHECK_INT(global_int(L, "calls"), ==, 1);
    qiol_cb_drain(L);
    CHECK_INT(global_int(L, "calls"), ==, 1);
    lua_close(L);
}

/* Fires until the owner has run it often enough, so that both are at it at once. */
static void *fire_while_drained(void *opaque)
{
    qioh_error error = { 0 };
    qiol_cb *cb = opaque;

    while (qiol_timer_fn(NULL, cb, &error) == 1 && !atomic_load(&drained_enough)) {
    }
    qiol_cb_release(cb);
    return NULL;
}

TEST(another_thread_fires_while_the_owner_runs)
{
    lua_State *L = new_state();
    pthread_t thread;

    atomic_store(&drained_enough, false);
    run(L, counter);
    CHECK_INT(pthread_create(&thread, NULL, fire_while_drained, callback_of(L, "count")), ==, 0);
    while (global_int(L, "calls") < 50) {
        qiol_cb_drain(L);
    }
    atomic_store(&drained_enough, true);
    pthread_join(thread, NULL);
    qiol_cb_drain(L);
    CHECK_INT(global_int(L, "errors"), ==, 0);
    lua_close(L);
}

TEST(what_another_thread_left_goes_with_the_state)
{
    lua_State *L = new_state();

    run(L, counter);
    on_thread(fire_and_release, callback_of(L, "count"));
    on_thread(fire_and_release, callback_of(L, "fail"));
    lua_close(L);
}

static void *dispatch_loop(void *opaque)
{
    for (int i = 0; i < 3; i++) {
        CHECK_INT(qioh_loop_dispatch(opaque, 1000, NULL), >=, 0);
    }
    return NULL;
}

TEST(a_loop_dispatched_by_another_thread)
{
    lua_State *L = new_state();
    qioh_loop *loop;

    run(L, counter);
    run(L, "loop = core.loop_new()\n"
           "a, b = core.channel_new_pair()\n"
           "core.try_write(a, 'x')\n"
           "function seen(ch, cond)\n"
           "  assert(ch == b and cond == core.IN)\n"
           "  calls = calls + 1\n"
           "  return false\n"
           "end\n"
           "watch = core.watch_new(loop, b, core.IN, seen)\n"
           "deferred = 0\n"
           "core.loop_defer(loop, function() deferred = deferred + 1 end)\n");
    lua_getglobal(L, "loop");
    loop = qiol_check(L, -1, QIOL_LOOP);
    lua_pop(L, 1);
    on_thread(dispatch_loop, loop);
    CHECK_INT(global_int(L, "calls"), ==, 0);
    run(L, "for i = 1, 5 do core.loop_dispatch(loop, 0) end");
    CHECK_INT(global_int(L, "calls"), ==, 1);
    CHECK_INT(global_int(L, "deferred"), ==, 1);
    CHECK_INT(global_int(L, "errors"), ==, 0);
    lua_close(L);
    check_nothing_lives();
}

/* ---- memory runs out ---- */

/* Everything that takes memory beside a handle. */
static const char work[] =
    "local qio = require 'qio'\n"
    "local core = require 'qio.core'\n"
    "return function()\n"
    "  local loop = core.loop_new()\n"
    "  local a, b = qio.pair()\n"
    "  local l = assert(qio.listen 'tcp://127.0.0.1:0')\n"
    "  local c = assert(qio.connect(l:address(), { timeout = 5 }))\n"
    "  local s = assert(l:accept())\n"
    "  local block = qio.bytes(100)\n"
    "  core.watch_new(loop, b, core.IN, function() return false end)\n"
    "  core.watch_new_timer(loop, 0, 0, function() return false end)\n"
    "  core.loop_defer(loop, function() end)\n"
    "  core.arm(loop, c, 1)\n"
    "  a:write('one\\ntwo', 3)\n"
    "  assert(b:peek(3) == 'one')\n"
    "  assert(b:readline() == 'one')\n"
    "  assert(b:readexactly(4) == 'two3')\n"
    "  a:sendfds('x', { a, b })\n"
    "  local data, fds = b:recvfds()\n"
    "  for _ = 1, 3 do core.loop_dispatch(loop, 0) end\n"
    "  core.next_events(loop, {}, 0)\n"
    "  core.loop_close(loop)\n"
    "  qio.onerror(function() end)\n"
    "  local function play(ch, serve)\n"
    "    if serve then ch:write('x') end\n"
    "    for _ = 1, 6 do assert(ch:read(1)) assert(ch:write('x')) end\n"
    "    return 'played'\n"
    "  end\n"
    "  local one, two = qio.spawn(play, a, true), qio.spawn(play, b)\n"
    "  local ended, why = one:join(0.05)\n"
    "  local other = two:join(0.05)\n"
    "  one:cancel() two:cancel()\n"
    "  assert(ended == 'played' and other == 'played', why)\n"
    "  local _, msg, code = qio.connect 'nonsense'\n"
    "  local f = qio.buffer('text')\n"
    "  assert(f:readall() == 'text')\n"
    "end\n";

static int call_work(lua_State *L)
{
    lua_settop(L, 1);
    lua_call(L, 0, 0);
    return 0;
}

TEST(no_handle_leaks_when_memory_runs_out_at_work, .timeout_s = 120)
{
    long fails = 0;

    for (long k = 0;; k++) {
        lua_State *L = new_state();
        Memory memory;
        int rc;

        test_note("allocation %ld", k);
        CHECK_INT(luaL_dostring(L, work), ==, LUA_OK);
        lua_pushcfunction(L, call_work);
        lua_insert(L, -2);
        limit_memory(L, &memory, k);
        rc = lua_pcall(L, 1, 0, 0);
        unlimit_memory(L, &memory);
        if (rc != LUA_OK && rc != LUA_ERRMEM) {
            /* An assert of the script after an error result, or "not enough memory" as text. */
            CHECK(memory.failed);
        }
        fails += memory.failed;
        lua_close(L);
        check_nothing_lives();
        if (!memory.failed) {
            CHECK_INT(rc, ==, LUA_OK);
            break;
        }
    }
    CHECK_INT(fails, >, 30);
}

static int open_all(lua_State *L)
{
    preload(L);
    if (luaL_dostring(L, "local qio = require 'qio' qio.step() a, b = qio.pair()") != LUA_OK) {
        return lua_error(L);
    }
    return 0;
}

/* Opening takes thousands of allocations, most of them by the parser: every 31st. */
TEST(no_handle_leaks_when_memory_runs_out_while_opening, .timeout_s = 120)
{
    long fails = 0;

    for (long k = 0;; k += 31) {
        lua_State *L = luaL_newstate();
        Memory memory;
        int rc;

        test_note("allocation %ld", k);
        CHECK(L);
        lua_pushcfunction(L, open_all);
        limit_memory(L, &memory, k);
        rc = lua_pcall(L, 0, 0, 0);
        unlimit_memory(L, &memory);
        fails += rc != LUA_OK;
        lua_close(L);
        check_nothing_lives();
        if (!memory.failed) {
            CHECK_INT(rc, ==, LUA_OK);
            break;
        }
    }
    CHECK_INT(fails, >, 50);
}
