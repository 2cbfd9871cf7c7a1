/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lua-embed.h: states with qio in them as a C program has them, for the tests of <qio/qio-lua.h>.
 *
 * Owns: opening and dispatching with the error as the test's.  Rule: as in lua-state.h.
 */
#ifndef TESTS_LUA_EMBED_H
#define TESTS_LUA_EMBED_H

#include <qio/qio-lua.h>
#include "lua-state.h"

static inline lua_State *plain_state(void)
{
    lua_State *L = luaL_newstate();

    CHECK(L);
    luaL_openlibs(L);
    /* Whatever is required from a file is an error. */
    run(L, "package.path = '' package.cpath = ''");
    return L;
}

static inline void init(lua_State *L, qioh_loop *loop, unsigned int flags)
{
    if (qio_lua_init(L, loop, flags) != 0) {
        test_fail(__FILE__, __LINE__, "%s", lua_tostring(L, -1));
    }
    CHECK_INT(lua_gettop(L), ==, 0);
}

static inline lua_State *new_state(qioh_loop *loop, unsigned int flags)
{
    lua_State *L = plain_state();

    init(L, loop, flags);
    return L;
}

static inline void dispatch(lua_State *L, int timeout_ms)
{
    if (qio_lua_dispatch(L, timeout_ms) < 0) {
        test_fail(__FILE__, __LINE__, "%s", lua_tostring(L, -1));
    }
}

#endif
