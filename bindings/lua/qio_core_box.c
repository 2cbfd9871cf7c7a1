/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_box.c: the context of a Lua state and the boxes that handles come in.
 *
 * Owns: both, the kinds of boxes with their metatables, and the weak table from token to box.
 * Rules: every metamethod and function tests the metatable of what it is given, so that nil,
 * another library's userdata and a light userdata are ordinary errors.  The context's userdata
 * is made before any box, so it is finalised after all of them and releases what finalisers of
 * others have made meanwhile.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "qio_core_rt.h"

/* Registry keys by address; &kinds[k] are those of the metatables. */
static const char ctx_key, cache_key;

static void channel_unref(void *h) { qioh_channel_unref(h); }
static void listener_unref(void *h) { qioh_listener_unref(h); }
static void loop_unref(void *h) { qioh_loop_unref(h); }
static void watch_unref(void *h) { qioh_watch_unref(h); }
static void fdset_unref(void *h) { qioh_fdset_unref(h); }
static void options_unref(void *h) { qioh_options_unref(h); }
static void operation_unref(void *h) { qioh_task_unref(h); }
static void creds_unref(void *h) { qioh_creds_unref(h); }
static void fd_unref(void *h) { close((int)(intptr_t)h - 1); }
static void nothing(void *h) { }

/* A signal cannot be served before a <close> scope is left: on with the wait for a command. */
static void channel_close(void *h)
{
    while (qioh_channel_close(h, NULL) == QIOH_E_INTR) {
    }
}

static void listener_close(void *h) { qioh_listener_close(h, NULL); }
static void loop_close(void *h) { qioh_loop_close(h, NULL); }
static void watch_remove(void *h) { qioh_watch_remove(h, NULL); }
static void operation_cancel(void *h) { qioh_task_cancel(h, NULL); }

/* close NULL: leaving a <close> scope gives the handle up. */
static const struct {
    const char *name;
    void (*unref)(void *h);
    void (*close)(void *h);
} kinds[QIOL_NKIND] = {
    [QIOL_CHANNEL] = { "qio.channel", channel_unref, channel_close },
    [QIOL_LISTENER] = { "qio.listener", listener_unref, listener_close },
    [QIOL_LOOP] = { "qio.loop", loop_unref, loop_close },
    [QIOL_WATCH] = { "qio.watch", watch_unref, watch_remove },
    [QIOL_FDSET] = { "qio.fdset", fdset_unref, NULL },
    [QIOL_OPTIONS] = { "qio.options", options_unref, NULL },
    [QIOL_OPERATION] = { "qio.operation", operation_unref, operation_cancel },
    [QIOL_CREDS] = { "qio.creds", creds_unref, NULL },
    [QIOL_FD] = { "qio.fd", fd_unref, NULL },
    [QIOL_BYTES] = { "qio.bytes", nothing, nothing },
};

/* ---- the context ---- */

static qiol_ctx **find_ctx(lua_State *L)
{
    qiol_ctx **p;

    qiol_rawgetp(L, &ctx_key);
    p = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return p;
}

bool qiol_is_open(lua_State *L)
{
    return find_ctx(L) != NULL;
}

qiol_ctx *qiol_ctx_find(lua_State *L)
{
    qiol_ctx **p = find_ctx(L);

    return p ? *p : NULL;
}

qiol_ctx *qiol_ctx_get(lua_State *L)
{
    qiol_ctx **p = find_ctx(L);

    if (!p || !*p) {
        luaL_error(L, p ? "the Lua state is closing" : "qio is not open in this Lua state");
        return NULL;
    }
    return *p;
}

qiol_ctx *qiol_ctx_ref(qiol_ctx *ctx)
{
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void qiol_ctx_unref(qiol_ctx *ctx)
{
    if (atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    pthread_mutex_destroy(&ctx->mu);
    free(ctx);
}

static void disarm(qiol_ud *u)
{
    for (int i = 0; i < 2; i++) {
        qioh_watch *watch = u->standing[i];

        u->standing[i] = NULL;
        if (watch) {
            qioh_watch_remove(watch, NULL);
            qioh_watch_unref(watch);
        }
    }
}

void qiol_empty(qiol_ud *u)
{
    void *h = u->h;

    u->h = NULL;
    disarm(u);
    if (h) {
        kinds[u->kind].unref(h);
    }
}

static void unlink_box(qiol_ud *u)
{
    if (!u->link) {
        return;
    }
    *u->link = u->next;
    if (u->next) {
        u->next->link = u->link;
    }
    u->next = NULL;
    u->link = NULL;
}

static void close_ctx(qiol_ctx **p)
{
    qiol_ctx *ctx = *p;

    if (!ctx) {
        return;
    }
    *p = NULL;
    if (ctx->host_watch) {
        qioh_watch_remove(ctx->host_watch, NULL);
        qioh_watch_unref(ctx->host_watch);
    }
    qiol_cb_close(ctx);
    while (ctx->boxes) {
        qiol_ud *u = ctx->boxes;

        unlink_box(u);
        qiol_empty(u);
    }
}

void qiol_ctx_close(lua_State *L)
{
    qiol_ctx **p = find_ctx(L);

    if (p) {
        close_ctx(p);
    }
}

static int ctx_gc(lua_State *L)
{
    qiol_ctx **p = lua_touserdata(L, 1);

    /* Nobody but the collector reaches this userdata: it is in the registry only. */
    if (p && p[1]) {
        close_ctx(p);
        qiol_ctx_unref(p[1]);
        p[1] = NULL;
    }
    return 0;
}

static void ctx_open(lua_State *L)
{
    qiol_ctx **p = lua_newuserdata(L, 2 * sizeof *p);
    qiol_ctx *ctx;

    p[0] = p[1] = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, ctx_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        luaL_error(L, "not enough memory");
        return;
    }
    atomic_init(&ctx->refs, 1);
    pthread_mutex_init(&ctx->mu, NULL);
    ctx->owner = pthread_self();
    ctx->queue_tail = &ctx->queue;
    /* The first is NULL once qio is closed.  The second is the reference: what closes it may have
     * been called from inside of it, and goes on. */
    p[0] = p[1] = ctx;
    /* Our own Lua thread, kept alive in the registry under the context's address. */
    ctx->L = lua_newthread(L);
    qiol_rawsetp(L, ctx);
    qiol_rawsetp(L, &ctx_key);
}

/* ---- boxes ---- */

qiol_ud *qiol_box(lua_State *L, int index, int kind)
{
    qiol_ud *u = lua_touserdata(L, index);
    bool same;

    if (!u || !lua_getmetatable(L, index)) {
        return NULL;
    }
    qiol_rawgetp(L, &kinds[kind]);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? u : NULL;
}

/* What a value is, in the words of our error messages. */
const char *qiol_typename(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TUSERDATA) {
        for (int kind = 0; kind < QIOL_NKIND; kind++) {
            if (qiol_box(L, index, kind)) {
                return kinds[kind].name;
            }
        }
    }
    return luaL_typename(L, index);
}

qiol_ud *qiol_check_box(lua_State *L, int index, int kind)
{
    qiol_ud *u = qiol_box(L, index, kind);

    if (!u) {
        luaL_argerror(L, index, lua_pushfstring(L, "%s expected, got %s", kinds[kind].name,
                                                qiol_typename(L, index)));
    }
    return u;
}

/* A released box gives NULL, which the ABI answers with BADHANDLE. */
void *qiol_check(lua_State *L, int index, int kind)
{
    return qiol_check_box(L, index, kind)->h;
}

void *qiol_opt(lua_State *L, int index, int kind)
{
    return lua_isnoneornil(L, index) ? NULL : qiol_check(L, index, kind);
}

qiol_ud *qiol_new_sized(lua_State *L, int kind, size_t extra)
{
    qiol_ctx *ctx = qiol_ctx_get(L);
    qiol_ud *u = lua_newuserdata(L, sizeof *u + extra);

    memset(u, 0, sizeof *u + extra);
    u->kind = kind;
    u->next = ctx->boxes;
    if (u->next) {
        u->next->link = &u->next;
    }
    u->link = &ctx->boxes;
    ctx->boxes = u;
    qiol_rawgetp(L, &kinds[kind]);
    lua_setmetatable(L, -2);
    return u;
}

qiol_ud *qiol_new(lua_State *L, int kind)
{
    return qiol_new_sized(L, kind, 0);
}

static void push_token(lua_State *L, const void *token)
{
    qiol_pushint(L, (int64_t)(uintptr_t)token);     /* 53 bits: exact in a double */
}

bool qiol_holds_back(const qiol_ud *u)
{
    return u->layer && qioh_channel_flush_within(u->h, 0, NULL) == QIOH_E_AGAIN;
}

int qiol_box_result(lua_State *L, qiol_ud *u, void *h, int index)
{
    if (!h) {
        return 0;               /* the argout of the error answers */
    }
    u->h = h;
    if (u->kind == QIOL_CHANNEL) {
        int32_t kind = qioh_channel_get_kind(h, NULL);

        u->layer = kind == QIOH_CHANNEL_TLS || kind == QIOH_CHANNEL_WEBSOCKET;
        u->socket = kind == QIOH_CHANNEL_SOCKET;
    }
    if (u->kind == QIOL_CHANNEL || u->kind == QIOL_LISTENER) {
        qiol_rawgetp(L, &cache_key);
        push_token(L, h);
        lua_pushvalue(L, index);
        lua_rawset(L, -3);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, index);
    return 1;
}

int qiol_push_channel(lua_State *L, qiol_ud *fresh, int at, qioh_channel *channel, bool owned)
{
    qioh_error error = { .struct_size = sizeof error };

    qiol_push_known(L, channel);
    if (!lua_isnil(L, -1)) {
        if (owned) {
            qioh_channel_unref(channel);
        }
        return 1;
    }
    lua_pop(L, 1);
    if (!owned && !qioh_channel_ref(channel, &error)) {
        return qiol_fail(L, &error);
    }
    return qiol_box_result(L, fresh, channel, at);
}

void qiol_push_known(lua_State *L, const void *token)
{
    qiol_rawgetp(L, &cache_key);
    push_token(L, token);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

/* ---- metamethods; the kind is their upvalue ---- */

static qiol_ud *meta_box(lua_State *L)
{
    return qiol_check_box(L, 1, (int)lua_tointeger(L, lua_upvalueindex(1)));
}

static int meta_gc(lua_State *L)
{
    qiol_ud *u = meta_box(L);

    unlink_box(u);
    qiol_empty(u);
    return 0;
}

static int meta_close(lua_State *L)
{
    qiol_ud *u = meta_box(L);

    if (!u->h) {
        return 0;
    }
    if (kinds[u->kind].close) {
        kinds[u->kind].close(u->h);
    } else {
        qiol_empty(u);
    }
    return 0;
}

/* Pushes " (fd 5)" or " (closed)" for what has a descriptor, "" for everything else. */
static void push_state(lua_State *L, const qiol_ud *u)
{
    int fd = QIOH_E_NOTSUP;

    if (u->kind == QIOL_CHANNEL) {
        fd = qioh_channel_get_fd(u->h, NULL);
    } else if (u->kind == QIOL_LISTENER) {
        fd = qioh_listener_get_fd(u->h, 0, NULL);
    }
    if (fd >= 0) {
        lua_pushfstring(L, " (fd %d)", fd);
    } else {
        lua_pushstring(L, fd == QIOH_E_CLOSED ? " (closed)" : "");
    }
}

static int meta_tostring(lua_State *L)
{
    qiol_ud *u = meta_box(L);

    if (u->kind == QIOL_BYTES) {
        lua_pushlstring(L, (const char *)(u + 1), lua_rawlen(L, 1) - sizeof *u);
    } else if (!u->h) {
        lua_pushfstring(L, "%s (released)", kinds[u->kind].name);
    } else if (u->kind == QIOL_FD) {
        lua_pushfstring(L, "%s %d", kinds[u->kind].name, (int)(intptr_t)u->h - 1);
    } else {
        push_state(L, u);
        lua_pushfstring(L, "%s: %p%s", kinds[u->kind].name, u->h, lua_tostring(L, -1));
    }
    return 1;
}

static int meta_len(lua_State *L)
{
    qiol_check_box(L, 1, QIOL_BYTES);
    qiol_pushint(L, (int64_t)(lua_rawlen(L, 1) - sizeof(qiol_ud)));
    return 1;
}

static void push_meta(lua_State *L, int kind, const char *name, lua_CFunction fn)
{
    lua_pushinteger(L, kind);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

static void open_kind(lua_State *L, int kind)
{
    lua_createtable(L, 0, 8);
    lua_pushstring(L, kinds[kind].name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    push_meta(L, kind, "__gc", meta_gc);
    push_meta(L, kind, "__close", meta_close);
    push_meta(L, kind, "__tostring", meta_tostring);
    if (kind == QIOL_BYTES) {
        push_meta(L, kind, "__len", meta_len);
    }
    lua_newtable(L);
    lua_setfield(L, -2, "__index");
    qiol_rawsetp(L, &kinds[kind]);
}

/* methods(name): the method table of a kind, for the Lua layer to fill. */
int qiol_get_methods(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (int kind = 0; kind < QIOL_NKIND; kind++) {
        if (strcmp(name, kinds[kind].name) == 0) {
            qiol_rawgetp(L, &kinds[kind]);
            lua_getfield(L, -1, "__index");
            return 1;
        }
    }
    return luaL_argerror(L, 1, "no such kind");
}

/* is_channel(value): what every method of a channel asks first. */
int qiol_is_channel(lua_State *L)
{
    lua_pushboolean(L, qiol_box(L, 1, QIOL_CHANNEL) != NULL);
    return 1;
}

int qiol_get_typename(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushstring(L, qiol_typename(L, 1));
    return 1;
}

/* token(object): its token as a number, for debugging; nil when it was released. */
int qiol_get_token(lua_State *L)
{
    for (int kind = 0; kind < QIOL_FD; kind++) {
        qiol_ud *u = qiol_box(L, 1, kind);

        if (u && u->h) {
            push_token(L, u->h);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

void qiol_push_state(lua_State *L)
{
    qiol_rawgetp(L, &ctx_key);
    qiol_rawgetp(L, &kinds[QIOL_CHANNEL]);
    qiol_rawgetp(L, &cache_key);
}

/* ---- opening ---- */

void qiol_open_state(lua_State *L)
{
    qiol_rawgetp(L, &ctx_key);
    if (!lua_isnil(L, -1)) {            /* qio.core was unloaded and is required again */
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 1);
    ctx_open(L);
    lua_newtable(L);                    /* token -> box, weak */
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    qiol_rawsetp(L, &cache_key);
    for (int kind = 0; kind < QIOL_NKIND; kind++) {
        open_kind(L, kind);
    }
}
