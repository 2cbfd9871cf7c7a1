/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_embed.c: what a C program calls to have qio in its Lua states: <qio/qio-lua.h>.
 *
 * Owns: the loaders of the Lua layer, which is in the library as text (qio_chunks.c, derived by
 * embed.py), and the way from a program's loop to the state's.
 * Rules: as in the header.  A state has a loop of its own in any case; a program's loop watches
 * that one's descriptor, so several states and the program's own registrations do not meet.
 */
#include <stdio.h>
#include <string.h>
#pragma GCC visibility push(default)
#include <qio/qio-lua.h>
#pragma GCC visibility pop
#include <qio/qioh-glib.h>
#include "qio_chunks.h"
#include "qio_core_rt.h"

__attribute__((visibility("default"))) int luaopen_qio_core(lua_State *L);

/* ---- the Lua layer ---- */

/* Loads one part; the name, as require gives it, is at 1. */
static int run_chunk(lua_State *L, const qio_chunk *chunk)
{
    char name[100];

    snprintf(name, sizeof name, "@%s", chunk->file);
    if (luaL_loadbuffer(L, chunk->text, chunk->len, name) != 0) {
        return lua_error(L);
    }
    lua_pushstring(L, chunk->name);
    lua_call(L, 1, 1);
    return 1;
}

static int load_part(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (const qio_chunk *chunk = qio_chunks; chunk->name; chunk++) {
        if (strcmp(name, chunk->name) == 0) {
            return run_chunk(L, chunk);
        }
    }
    return luaL_error(L, "there is no part '%s' in the library", name);
}

static void preload(lua_State *L, int table, const char *name, lua_CFunction fn)
{
    lua_pushcfunction(L, fn);
    lua_setfield(L, table, name);
}

/* Pushes package.loaded[name]. */
static void push_loaded(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");      /* the same table in every version */
    if (!lua_istable(L, -1)) {
        luaL_error(L, "qio needs the library 'package' in this state");
    }
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* package.loaded[name] = what is on top, which stays. */
static void set_loaded(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static int open_qio(lua_State *L)
{
    lua_settop(L, 0);
    push_loaded(L, "qio.core");
    if (!lua_isnil(L, 1) && !qiol_is_open(L)) {
        return luaL_error(L, "this state has a qio.core of another library already");
    }
    push_loaded(L, "qio");
    if (lua_istable(L, 2)) {
        return 1;
    }
    push_loaded(L, "package");
    if (!lua_istable(L, 3)) {
        return luaL_error(L, "qio needs the library 'package' in this state");
    }
    lua_getfield(L, 3, "preload");
    luaL_checktype(L, 4, LUA_TTABLE);
    preload(L, 4, "qio.core", luaopen_qio_core);
    for (const qio_chunk *chunk = qio_chunks; chunk->name; chunk++) {
        preload(L, 4, chunk->name, load_part);
    }
    preload(L, 4, "qio", luaopen_qio);
    lua_pushcfunction(L, load_part);
    lua_pushliteral(L, "qio");
    lua_call(L, 1, 1);
    set_loaded(L, "qio");
    return 1;
}

/* What a program has on its stack when it calls this itself is left alone. */
int luaopen_qio(lua_State *L)
{
    luaL_checkstack(L, 2, "qio");
    lua_pushcfunction(L, open_qio);
    lua_call(L, 0, 1);
    return 1;
}

/* ---- calling the scheduler ---- */

/* Pushes a function of qio.sched. */
static void push_function(lua_State *L, const char *name)
{
    push_loaded(L, "qio.sched");
    if (!lua_istable(L, -1)) {
        luaL_error(L, "qio is not open in this state: qio_lua_init() comes first");
    }
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* value = fn(); nil, message: raises the message. */
static void call_function(lua_State *L, int nargs)
{
    lua_call(L, nargs, 2);
    if (lua_isnil(L, -2)) {
        lua_error(L);
    }
    lua_pop(L, 1);
}

typedef struct init_request {
    qioh_loop *loop;
    unsigned int flags;
} init_request;

/* The program's loop calls one function of the scheduler while the state's own has work. */
static void attach(lua_State *L, qioh_loop *loop)
{
    qioh_error error = { .struct_size = sizeof error };
    qiol_ctx *ctx = qiol_ctx_get(L);
    qiol_cb *cb;
    int fd;

    if (ctx->host_watch) {
        luaL_error(L, "qio_lua_init: the state has a loop already");
    }
    push_function(L, "pollfd");
    call_function(L, 0);
    fd = (int)lua_tointeger(L, -1);
    push_function(L, "on_host");
    cb = qiol_cb_new(L, lua_gettop(L), loop);
    ctx->host_watch = qioh_watch_new_fd(loop, fd, QIOH_IN, qiol_fd_fn, cb, qiol_cb_release, &error);
    if (!ctx->host_watch) {
        luaL_error(L, "qio_lua_init: %s", error.message);
    }
    ctx->host_loop = loop;
    lua_pop(L, 2);
}

static int init_body(lua_State *L)
{
    init_request *request = lua_touserdata(L, 1);

    if (request->flags & ~QIO_LUA_HOSTED) {
        return luaL_error(L, "qio_lua_init: flags of 0 or QIO_LUA_HOSTED expected, got %d",
                          (int)request->flags);
    }
    lua_pushcfunction(L, luaopen_qio);
    lua_call(L, 0, 1);
    push_function(L, "forbid_blocking");
    lua_pushboolean(L, (request->flags & QIO_LUA_HOSTED) != 0);
    lua_call(L, 1, 0);
    if (request->loop) {
        attach(L, request->loop);
    }
    return 0;
}

int qio_lua_init(lua_State *L, qioh_loop *loop, unsigned int flags)
{
    return qiol_protect(L, init_body, &(init_request){ loop, flags }) == 0 ? 0 : -1;
}

/* ---- running ---- */

static int get_fd_body(lua_State *L)
{
    int *fd = lua_touserdata(L, 1);
    qiol_ctx *ctx = qiol_ctx_get(L);
    qioh_error error = { .struct_size = sizeof error };

    if (ctx->host_loop) {
        *fd = qioh_loop_get_fd(ctx->host_loop, &error);
        return *fd >= 0 ? 0 : luaL_error(L, "%s", error.message);
    }
    push_function(L, "pollfd");
    call_function(L, 0);
    *fd = (int)lua_tointeger(L, -1);
    return 0;
}

int qio_lua_get_fd(lua_State *L)
{
    int fd = -1;

    return qiol_protect(L, get_fd_body, &fd) == 0 ? fd : -1;
}

/* In: milliseconds; out: whether anything happened. */
static int dispatch_body(lua_State *L)
{
    int *value = lua_touserdata(L, 1);
    qiol_ctx *ctx = qiol_ctx_get(L);
    qioh_error error = { .struct_size = sizeof error };

    if (*value < -1) {
        return luaL_error(L, "qio_lua_dispatch: milliseconds or -1 expected, got %d", *value);
    }
    if (ctx->host_loop) {
        qioh_status n;

        qiol_cb_drain(L);
        n = qioh_loop_dispatch(ctx->host_loop, *value, &error);
        *value = n > 0;
        return n >= 0 || n == QIOH_E_INTR ? 0 : luaL_error(L, "%s", error.message);
    }
    push_function(L, "hosted_turn");
    lua_pushnumber(L, *value);
    call_function(L, 1);
    *value = lua_toboolean(L, -1);
    return 0;
}

int qio_lua_dispatch(lua_State *L, int timeout_ms)
{
    return qiol_protect(L, dispatch_body, &timeout_ms) == 0 ? timeout_ms : -1;
}

void qio_lua_set_owner(lua_State *L)
{
    qiol_ctx_get(L)->owner = pthread_self();
}

void qio_lua_close(lua_State *L)
{
    qiol_ctx_close(L);
}

/* ---- channels ---- */

int qio_lua_push(lua_State *L, QIOChannel *channel)
{
    qiol_ud *u = qiol_new(L, QIOL_CHANNEL);         /* first: what follows must not throw */
    int at = lua_gettop(L);
    qioh_channel *token = qio_channel_export(channel);

    if (!token) {
        return luaL_error(L, "not enough memory");
    }
    qiol_push_channel(L, u, at, token, true);
    lua_replace(L, at);
    lua_settop(L, at);
    return 1;
}

QIOChannel *qio_lua_test(lua_State *L, int index)
{
    qiol_ud *u = lua_checkstack(L, 3) ? qiol_box(L, index, QIOL_CHANNEL) : NULL;
    QIOChannel *channel = u && u->h ? qio_channel_import(u->h) : NULL;

    if (channel) {
        qio_object_unref(channel);                  /* the box has one */
    }
    return channel;
}

QIOChannel *qio_lua_check(lua_State *L, int index)
{
    QIOChannel *channel = qio_lua_test(L, index);

    if (!channel) {
        qiol_check_box(L, index, QIOL_CHANNEL);
        luaL_argerror(L, index, "the channel is gone");
    }
    return channel;
}

/* Whether a task waits for the channel at an absolute index. */
static bool is_waited(lua_State *L, int index)
{
    bool waited;

    push_function(L, "is_waited");
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    waited = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return waited;
}

QIOChannel *qio_lua_detach(lua_State *L, int index)
{
    qiol_ud *u = qiol_check_box(L, index, QIOL_CHANNEL);
    QIOChannel *channel;

    index = index < 0 && index > LUA_REGISTRYINDEX ? lua_gettop(L) + index + 1 : index;
    if (is_waited(L, index)) {
        luaL_argerror(L, index, "a task waits for the channel");
    }
    channel = u->h ? qio_channel_import(u->h) : NULL;
    if (!channel) {
        luaL_argerror(L, index, "the channel is gone");
    }
    qiol_empty(u);
    return channel;
}
