/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lua-state.h: Lua states for the tests of a C host, the same for every Lua.
 *
 * Owns: states whose memory runs out when it is told to, running scripts, reading globals.
 * Rule: a state belongs to the test's thread that made it.
 */
#ifndef TESTS_LUA_STATE_H
#define TESTS_LUA_STATE_H

#include <stdbool.h>
#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <qio/qioh.h>
#include "runner.h"

#ifndef LUA_OK
#define LUA_OK 0
#endif

/* An allocator that fails from the left-th allocation on; -1 = never. */
typedef struct Memory {
    lua_Alloc inner;
    void *inner_ud;
    long left;
    bool failed;
} Memory;

static inline void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    Memory *memory = ud;

    /* Shrinking must not fail; of a new object Lua tells the type as its old size. */
    if (memory->left >= 0 && nsize > 0 && (!ptr || nsize > osize)) {
        if (memory->left == 0) {
            memory->failed = true;
            return NULL;
        }
        memory->left--;
    }
    return memory->inner(memory->inner_ud, ptr, osize, nsize);
}

/* Puts an allocator around the state's own, which LuaJIT insists on. */
static inline void limit_memory(lua_State *L, Memory *memory, long left)
{
    memory->left = left;
    memory->failed = false;
    memory->inner = lua_getallocf(L, &memory->inner_ud);
    lua_setallocf(L, allocate, memory);
}

static inline void unlimit_memory(lua_State *L, const Memory *memory)
{
    lua_setallocf(L, memory->inner, memory->inner_ud);
}

/* A value that calls fn when it is collected: tables cannot in 5.1. */
#define FINALISER \
    "local function finaliser(fn)\n" \
    "  if not newproxy then return setmetatable({}, { __gc = fn }) end\n" \
    "  local value = newproxy(true)\n" \
    "  getmetatable(value).__gc = fn\n" \
    "  return value\n" \
    "end\n"

static inline void run(lua_State *L, const char *script)
{
    if (luaL_dostring(L, script) != LUA_OK) {
        test_fail(__FILE__, __LINE__, "%s", lua_tostring(L, -1));
    }
    lua_settop(L, 0);
}

static inline long long global_int(lua_State *L, const char *name)
{
    long long value;

    lua_getglobal(L, name);
    value = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static inline const char *global_str(lua_State *L, const char *name)
{
    const char *value;

    lua_getglobal(L, name);
    value = lua_tostring(L, -1);
    lua_pop(L, 1);                      /* the global keeps it */
    return value ? value : "(none)";
}

static inline void check_nothing_lives(void)
{
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

#endif
