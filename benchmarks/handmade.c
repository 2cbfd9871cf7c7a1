/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/handmade.c: the floor for the Lua benchmark: one object with one method that
 * checks its argument and returns an integer, as one writes it by hand.
 */
#include <lauxlib.h>
#include <lua.h>

int luaopen_handmade(lua_State *L);

static int handmade_pending(lua_State *L)
{
    int *box = luaL_checkudata(L, 1, "handmade");

    lua_pushinteger(L, *box);
    return 1;
}

static int handmade_new(lua_State *L)
{
    int *box = lua_newuserdata(L, sizeof(*box));

    *box = 0;
    luaL_getmetatable(L, "handmade");
    lua_setmetatable(L, -2);
    return 1;
}

int luaopen_handmade(lua_State *L)
{
    luaL_newmetatable(L, "handmade");
    lua_newtable(L);
    lua_pushcfunction(L, handmade_pending);
    lua_setfield(L, -2, "pending");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handmade_new);
    return 1;
}
