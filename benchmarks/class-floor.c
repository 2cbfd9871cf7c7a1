/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/class-floor.c: the floor for channels written in Lua: one call of a method from C, as
 * one writes it by hand, and the same call through the library.
 *
 * Owns: the module `classfloor` that benchmarks/class.lua times.  By hand: the object comes out of
 * the registry, its method out of the object, it is called in protected mode, and the string that
 * it gives is copied once.
 */
#include <string.h>
#include <lauxlib.h>
#include <lua.h>
#include <qio/qioh.h>

static char memory[65536];

int luaopen_classfloor(lua_State *L);

static int call_method(lua_State *L, int ref, const char *name, size_t size)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    lua_getfield(L, -1, name);
    lua_insert(L, -2);
    if (name[0] == 'r') {
        lua_pushinteger(L, (lua_Integer)size);
    } else {
        lua_pushlstring(L, memory, size);
    }
    return lua_pcall(L, 2, 1, 0);
}

/* floor(object, "read" or "write", size, count) */
static int floor_calls(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    size_t size = (size_t)luaL_checkinteger(L, 3);
    long count = (long)luaL_checkinteger(L, 4);
    int ref;

    lua_pushvalue(L, 1);
    ref = luaL_ref(L, LUA_REGISTRYINDEX);
    while (count--) {
        size_t len = 0;
        const char *data;

        if (call_method(L, ref, name, size) != 0) {
            return lua_error(L);
        }
        data = lua_tolstring(L, -1, &len);
        if (name[0] == 'r') {
            if (!data || len > size) {
                return luaL_error(L, "read gave too much");
            }
            memcpy(memory, data, len);
        }
        lua_pop(L, 1);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return 0;
}

/* case(token, "read" or "write", size, count) */
static int case_calls(lua_State *L)
{
    qioh_channel *channel = (qioh_channel *)(uintptr_t)luaL_checkinteger(L, 1);
    const char *name = luaL_checkstring(L, 2);
    size_t size = (size_t)luaL_checkinteger(L, 3);
    long count = (long)luaL_checkinteger(L, 4);

    while (count--) {
        qioh_ssize n = name[0] == 'r' ? qioh_channel_try_read(channel, memory, size, NULL)
                                      : qioh_channel_try_write(channel, memory, size, NULL);

        if (n != (qioh_ssize)size) {
            return luaL_error(L, "%s moved %d bytes", name, (int)n);
        }
    }
    return 0;
}

int luaopen_classfloor(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, floor_calls);
    lua_setfield(L, -2, "floor");
    lua_pushcfunction(L, case_calls);
    lua_setfield(L, -2, "case");
    return 1;
}
