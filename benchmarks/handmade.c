/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/handmade.c: the floor for the Lua benchmark: one object with one method, checked
 * and called as one writes it by hand.
 *
 * Owns: the module `handmade`, whose channel() gives an object with the method fd().
 */
#include <lauxlib.h>
#include <lua.h>
#include <qio/qioh.h>

int luaopen_handmade(lua_State *L);

static qioh_channel **check(lua_State *L)
{
    return luaL_checkudata(L, 1, "handmade");
}

static int handmade_fd(lua_State *L)
{
    qioh_channel **box = check(L);
    qioh_error error = { .struct_size = sizeof(error) };
    qioh_status fd = qioh_channel_get_fd(*box, &error);

    if (fd < 0) {
        lua_pushnil(L);
        lua_pushstring(L, error.message);
        return 2;
    }
    lua_pushinteger(L, fd);
    return 1;
}

static int handmade_gc(lua_State *L)
{
    qioh_channel_unref(*check(L));
    return 0;
}

static int handmade_channel(lua_State *L)
{
    qioh_channel **box = lua_newuserdata(L, sizeof(*box));
    qioh_channel *pair[2];

    if (qioh_channel_new_pair(pair, NULL) != QIOH_OK) {
        return luaL_error(L, "no pair of channels");
    }
    qioh_channel_unref(pair[1]);
    *box = pair[0];
    luaL_getmetatable(L, "handmade");
    lua_setmetatable(L, -2);
    return 1;
}

int luaopen_handmade(lua_State *L)
{
    luaL_newmetatable(L, "handmade");
    lua_pushcfunction(L, handmade_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    lua_pushcfunction(L, handmade_fd);
    lua_setfield(L, -2, "fd");
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, handmade_channel);
    lua_setfield(L, -2, "channel");
    return 1;
}
