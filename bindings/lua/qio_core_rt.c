/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_rt.c: arguments and results, and opening the module.
 *
 * Owns: the checks of arguments that are no handles, the form of results, luaopen_qio_core.
 * Rule: as in qio_core_rt.h.
 */
#include <string.h>
#include "qio_core_rt.h"

#define SCRATCH_SIZE 65536

static const char scratch_key;

void qiol_rawgetp(lua_State *L, const void *key)
{
#if LUA_VERSION_NUM >= 502
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
#else
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
#endif
}

void qiol_rawsetp(lua_State *L, const void *key)
{
#if LUA_VERSION_NUM >= 502
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
#else
    lua_pushlightuserdata(L, (void *)key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
#endif
}

int qiol_protect(lua_State *L, lua_CFunction body, void *user_data)
{
#if LUA_VERSION_NUM >= 502
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, user_data);
    return lua_pcall(L, 1, 0, 0);
#else
    return lua_cpcall(L, body, user_data);
#endif
}

/* ---- results ---- */

int qiol_fail(lua_State *L, const qioh_error *error)
{
    int code = error->code == QIOH_E_SYSTEM ? error->sys_errno : error->code;

    lua_pushnil(L);
    if (error->code == QIOH_E_TIMEOUT) {
        lua_pushliteral(L, "timeout");
    } else if (error->code == QIOH_E_CLOSED || error->code == QIOH_E_EOF) {
        lua_pushliteral(L, "closed");
    } else if (!qiol_push_error_value(L, error)) {
        lua_pushstring(L, error->message);
    }
    lua_pushinteger(L, code);
    if (error->bytes) {
        qiol_pushint(L, (int64_t)error->bytes);
        return 4;
    }
    return 3;
}

int qiol_again(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    lua_pushinteger(L, QIOH_E_AGAIN);
    return 3;
}

/* ---- arguments ---- */

/* No strings, no fractions: what C would make of them is a surprise. */
int64_t qiol_toint(lua_State *L, int index)
{
    int64_t value = 0;
    int ok = lua_type(L, index) == LUA_TNUMBER;

#if LUA_VERSION_NUM >= 503
    if (ok) {
        value = lua_tointegerx(L, index, &ok);
    }
#else
    if (ok) {
        lua_Number n = lua_tonumber(L, index);

        ok = n >= -9223372036854775808.0 && n < 9223372036854775808.0;
        if (ok) {
            value = (int64_t)n;
            ok = (lua_Number)value == n;
        }
    }
#endif
    if (!ok) {
        luaL_argerror(L, index, lua_pushfstring(L, "integer expected, got %s",
                                                lua_type(L, index) == LUA_TNUMBER
                                                ? "a number that is none"
                                                : qiol_typename(L, index)));
    }
    return value;
}

void qiol_pushint(lua_State *L, int64_t value)
{
#if LUA_VERSION_NUM >= 503
    lua_pushinteger(L, (lua_Integer)value);
#else
    lua_pushnumber(L, (lua_Number)value);
#endif
}

const char *qiol_tostr(lua_State *L, int index)
{
    const char *text;
    size_t len;

    if (lua_isnoneornil(L, index)) {
        return NULL;
    }
    if (lua_type(L, index) != LUA_TSTRING) {
        luaL_argerror(L, index, lua_pushfstring(L, "string expected, got %s",
                                                qiol_typename(L, index)));
    }
    text = lua_tolstring(L, index, &len);
    if (strlen(text) != len) {
        luaL_argerror(L, index, "string without zero bytes expected");
    }
    return text;
}

void *qiol_room(lua_State *L, int64_t size)
{
    const qiol_ctx *ctx = size <= SCRATCH_SIZE ? qiol_ctx_find(L) : NULL;

    /* One block for each state: making one for each read costs more than a small read.  In a
     * method of a channel it is in use: by who reads that channel. */
    return ctx && !ctx->in_ops ? ctx->scratch : lua_newuserdata(L, size > 0 ? (size_t)size : 1);
}

static size_t list_length(lua_State *L, int index)
{
    size_t n;

    if (lua_type(L, index) != LUA_TTABLE) {
        luaL_argerror(L, index, lua_pushfstring(L, "table of strings expected, got %s",
                                                qiol_typename(L, index)));
    }
    n = lua_rawlen(L, index);
    if (n > 65536) {
        luaL_argerror(L, index, "at most 65536 entries expected");
    }
    return n;
}

/* The i-th string of a list; the table keeps it alive. */
static const char *list_string(lua_State *L, int index, size_t i, size_t *len)
{
    const char *text;

    lua_rawgeti(L, index, (int)i);
    if (lua_type(L, -1) != LUA_TSTRING) {
        luaL_argerror(L, index, lua_pushfstring(L, "string expected at [%d], got %s", (int)i,
                                                qiol_typename(L, -1)));
    }
    text = lua_tolstring(L, -1, len);
    lua_pop(L, 1);
    return text;
}

qioh_iovec *qiol_strings(lua_State *L, int index, size_t *count)
{
    qioh_iovec *iov;
    bool one = lua_type(L, index) == LUA_TSTRING;
    size_t n = one ? 1 : list_length(L, index);

    iov = lua_newuserdata(L, (n ? n : 1) * sizeof *iov);
    for (size_t i = 0; i < n; i++) {
        iov[i].base = one ? (void *)lua_tolstring(L, index, &iov[i].len)
                          : (void *)list_string(L, index, i + 1, &iov[i].len);
    }
    *count = n;
    return iov;
}

const char *const *qiol_argv(lua_State *L, int index)
{
    size_t n = list_length(L, index);
    const char **argv;
    size_t len;

    if (n == 0) {
        luaL_argerror(L, index, "at least the name of a program expected");
    }
    argv = lua_newuserdata(L, (n + 1) * sizeof *argv);
    for (size_t i = 0; i < n; i++) {
        argv[i] = list_string(L, index, i + 1, &len);
        if (strlen(argv[i]) != len) {
            luaL_argerror(L, index, lua_pushfstring(L, "string without zero bytes expected at "
                                                    "[%d]", (int)(i + 1)));
        }
    }
    argv[n] = NULL;
    return argv;
}

/* ---- opening ---- */

/* Copies functions and constants out of SWIG's module table, which has a metatable. */
static void copy_module(lua_State *L, int from, int to)
{
    lua_pushnil(L);
    while (lua_next(L, from)) {
        int type = lua_type(L, -1);

        if (lua_type(L, -2) == LUA_TSTRING &&
            (type == LUA_TFUNCTION || type == LUA_TNUMBER || type == LUA_TSTRING)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, to);
        } else {
            lua_pop(L, 1);
        }
    }
}

int luaopen_qio_swig(lua_State *L);

static int open_body(lua_State *L)
{
    static const char *const globals[] = { "swig_type", "swig_equals" };

    lua_settop(L, 0);
    qiol_open_state(L);
    qiol_ctx_get(L)->scratch = lua_newuserdata(L, SCRATCH_SIZE);
    qiol_rawsetp(L, &scratch_key);
    qiol_custom_open(L);
    /* SWIG's start sets two globals: put back what was there. */
    lua_getglobal(L, globals[0]);
    lua_getglobal(L, globals[1]);
    lua_pushcfunction(L, luaopen_qio_swig);
    lua_call(L, 0, 1);
    lua_insert(L, 1);
    lua_setglobal(L, globals[1]);
    lua_setglobal(L, globals[0]);
    if (!lua_istable(L, 1)) {
        return luaL_error(L, "qio.core: the wrapper did not give its table");
    }
    lua_newtable(L);
    copy_module(L, 1, 2);
    for (const luaL_Reg *reg = qiol_functions; reg->name; reg++) {
        lua_pushcfunction(L, reg->func);
        lua_setfield(L, 2, reg->name);
    }
    for (const luaL_Reg *reg = qiol_layer_functions; reg->name; reg++) {
        lua_pushcfunction(L, reg->func);
        lua_setfield(L, 2, reg->name);
    }
    for (const luaL_Reg *reg = qiol_custom_functions; reg->name; reg++) {
        lua_pushcfunction(L, reg->func);
        lua_setfield(L, 2, reg->name);
    }
    lua_pushcfunction(L, qiol_get_methods);
    lua_setfield(L, 2, "methods");
    lua_pushcfunction(L, qiol_is_channel);
    lua_setfield(L, 2, "is_channel");
    lua_pushcfunction(L, qiol_get_typename);
    lua_setfield(L, 2, "typename");
    lua_pushcfunction(L, qiol_get_token);
    lua_setfield(L, 2, "token");
    lua_pushcfunction(L, qiol_set_onerror);
    lua_setfield(L, 2, "onerror");
    qiol_push_errno(L);
    lua_setfield(L, 2, "errno");
    return 1;
}

__attribute__((visibility("default"))) int luaopen_qio_core(lua_State *L);

/*
 * The version is checked before any code of SWIG runs: a module built for another Lua would
 * crash there.  SWIG's start changes process-wide tables, hence the lock; it may throw, hence
 * the pcall under it.
 */
int luaopen_qio_core(lua_State *L)
{
    static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
    int rc;

#if LUA_VERSION_NUM >= 502
    luaL_checkversion(L);
#endif
    if (qioh_abi_version() != QIOH_ABI_VERSION) {
        return luaL_error(L, "qio.core was built for ABI %d of libqio, this one has %d",
                          QIOH_ABI_VERSION, (int)qioh_abi_version());
    }
    lua_pushcfunction(L, open_body);
    pthread_mutex_lock(&mu);
    rc = lua_pcall(L, 0, 1, 0);
    pthread_mutex_unlock(&mu);
    return rc ? lua_error(L) : 1;
}
