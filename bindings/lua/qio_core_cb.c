/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_cb.c: C calls Lua.
 *
 * Owns: the callback block behind each registration, the thunks that the library calls, and
 * what becomes of errors.
 * Rules: a thunk runs the function on the context's own Lua thread, under pcall, so no error
 * crosses a C frame: it goes to the handler set by onerror.  On a thread that is not the
 * state's owner a thunk touches no Lua: it queues the block (once, however often it fires:
 * readiness is a level) and wakes the loop; the owner runs it at its next turn.  A release
 * that comes on another thread takes the same road.  After the state is closed thunks answer
 * "remove".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "qio_core_rt.h"

static const char onerror_key;

/* Everything below `ref` is guarded by ctx->mu. */
struct qiol_cb {
    qiol_ctx *ctx;
    qioh_loop *loop;            /* borrowed: only to wake it; may be stale */
    int ref;                    /* the function in the registry */
    qiol_cb *next;
    bool has_close;             /* of qio_core_custom.c, as the next */
    int read[2];                /* what is behind a channel and its method, in the registry too */
    bool queued;
    bool due;                   /* fired on another thread */
    bool released;
    qioh_watch *watch;          /* borrowed tokens of the call that is due */
    void *object;
    int32_t fd;
    uint32_t condition;
};

/* One call of the function; object NULL and fd -1: no such argument. */
typedef struct call {
    qiol_cb *cb;
    void *object;
    int32_t fd;
    uint32_t condition;
    bool keep;                  /* out: whether the registration stays */
} call;

static qiol_cb *new_block(lua_State *L, int index, qioh_loop *loop)
{
    qiol_ctx *ctx = qiol_ctx_get(L);
    qiol_cb *cb;
    int ref;

    lua_pushvalue(L, index);
    ref = luaL_ref(L, LUA_REGISTRYINDEX);       /* may throw: nothing is held yet */
    cb = calloc(1, sizeof *cb);
    if (!cb) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        luaL_error(L, "not enough memory");
        return NULL;
    }
    cb->ctx = qiol_ctx_ref(ctx);
    cb->loop = loop;
    cb->ref = ref;
    cb->read[0] = cb->read[1] = LUA_NOREF;
    return cb;
}

qiol_cb *qiol_cb_new(lua_State *L, int index, qioh_loop *loop)
{
    if (lua_type(L, index) != LUA_TFUNCTION) {
        luaL_argerror(L, index, lua_pushfstring(L, "function expected, got %s",
                                                luaL_typename(L, index)));
    }
    return new_block(L, index, loop);
}

static void unref_all(lua_State *L, qiol_cb *cb)
{
    luaL_unref(L, LUA_REGISTRYINDEX, cb->ref);
    luaL_unref(L, LUA_REGISTRYINDEX, cb->read[0]);
    luaL_unref(L, LUA_REGISTRYINDEX, cb->read[1]);
    cb->ref = cb->read[0] = cb->read[1] = LUA_NOREF;
}

/* (refs, method, object): puts both into the registry, which may run out of memory. */
static int anchor_read(lua_State *L)
{
    int *refs = lua_touserdata(L, 1);

    refs[0] = luaL_ref(L, LUA_REGISTRYINDEX);
    refs[1] = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

qiol_cb *qiol_cb_new_table(lua_State *L, int index, int object, int read, bool has_close)
{
    qiol_cb *cb;

    lua_pushcfunction(L, anchor_read);          /* may throw in 5.1: nothing is held yet */
    cb = new_block(L, index, NULL);
    cb->has_close = has_close;
    lua_pushlightuserdata(L, cb->read);
    lua_rawgeti(L, index, read);
    lua_rawgeti(L, index, object);
    if (lua_pcall(L, 3, 0, 0) != 0) {
        qiol_cb_release(cb);
        lua_error(L);
    }
    return cb;
}

qiol_ctx *qiol_cb_ctx(const qiol_cb *cb)
{
    return cb->ctx;
}

bool qiol_cb_has_close(const qiol_cb *cb)
{
    return cb->has_close;
}

void qiol_cb_let_go(qiol_cb *cb)
{
    lua_State *L = qiol_cb_enter(cb);

    if (L) {
        unref_all(L, cb);
    }
}

void qiol_cb_push_function(lua_State *L, const qiol_cb *cb)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, cb->ref);
}

void qiol_cb_push_read(lua_State *L, const qiol_cb *cb)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, cb->read[1]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, cb->read[0]);
}

lua_State *qiol_cb_enter(const qiol_cb *cb)
{
    return pthread_equal(cb->ctx->owner, pthread_self()) && cb->ctx->in_ops < QIOL_DEPTH_MAX
        ? cb->ctx->L : NULL;
}

static void free_cb(qiol_cb *cb)
{
    qiol_ctx_unref(cb->ctx);
    free(cb);
}

/* ctx->mu held. */
static void enqueue(qiol_ctx *ctx, qiol_cb *cb)
{
    if (cb->queued) {
        return;
    }
    cb->queued = true;
    cb->next = NULL;
    *ctx->queue_tail = cb;
    ctx->queue_tail = &cb->next;
}

/* ---- errors ---- */

/* debug.traceback as the script has it: not every Lua has luaL_traceback. */
static int add_traceback(lua_State *L)
{
    if (!lua_isstring(L, 1)) {
        return 1;
    }
    lua_getglobal(L, "debug");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "traceback");
        if (lua_isfunction(L, -1)) {
            lua_pushvalue(L, 1);
            lua_pushinteger(L, 2);
            lua_call(L, 2, 1);
            return 1;
        }
    }
    lua_settop(L, 1);
    return 1;
}

static int call_handler(lua_State *L)
{
    qiol_rawgetp(L, &onerror_key);
    if (lua_isfunction(L, -1)) {
        lua_insert(L, 1);
        lua_call(L, 1, 0);
        return 0;
    }
    lua_pop(L, 1);
    fprintf(stderr, "qio: error in a callback: %s\n",
            lua_tostring(L, 1) ? lua_tostring(L, 1) : luaL_typename(L, 1));
    return 0;
}

/* The error on top goes to the handler; an error of the handler goes to standard error. */
static void report(lua_State *L)
{
    lua_pushcfunction(L, call_handler);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        const char *text = lua_tostring(L, -1);

        fprintf(stderr, "qio: error in the error handler: %s\n", text ? text : "(no text)");
        lua_pop(L, 1);
    }
}

/* onerror(fn or nil): sets the handler. */
int qiol_set_onerror(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
    }
    lua_settop(L, 1);
    qiol_rawsetp(L, &onerror_key);
    return 0;
}

/* ---- calling ---- */

/* Pushing may run out of memory, so it happens under the pcall too. */
static int call_body(lua_State *L)
{
    const call *c = lua_touserdata(L, 1);
    int nargs = 0;

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->cb->ref);
    if (c->object) {
        qiol_push_known(L, c->object);
        nargs++;
    }
    if (c->fd >= 0) {
        lua_pushinteger(L, c->fd);
        nargs++;
    }
    if (c->condition) {
        lua_pushinteger(L, (lua_Integer)c->condition);
        nargs++;
    }
    lua_call(L, nargs, 1);
    return 1;
}

/* Runs the function with a traceback for its errors, which go to the handler. */
static int run_body(lua_State *L)
{
    call *c = lua_touserdata(L, 1);

    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, call_body);
    lua_pushlightuserdata(L, c);
    if (lua_pcall(L, 1, 1, 2) != 0) {
        if (c->cb->ctx->L) {            /* else it has ended qio, whose error this is */
            report(L);
        }
    } else {
        c->keep = !(lua_isboolean(L, -1) && !lua_toboolean(L, -1));
    }
    return 0;
}

/* Owner thread.  Returns: false when the function returned false, which removes a watch; an
 * error keeps it, as nothing tells that the next call fails too. */
static bool run(call *c)
{
    lua_State *L = c->cb->ctx->L;
    int top;

    if (!L) {
        return false;
    }
    c->keep = true;
    top = lua_gettop(L);
    if (qiol_protect(L, run_body, c) != 0) {
        fprintf(stderr, "qio: no memory to call back\n");
    }
    lua_settop(L, top);
    return c->keep;
}

static int32_t dispatch(call *c, qioh_watch *watch)
{
    qiol_cb *cb = c->cb;
    qiol_ctx *ctx = cb->ctx;
    bool open;

    if (pthread_equal(ctx->owner, pthread_self())) {
        return run(c);
    }
    pthread_mutex_lock(&ctx->mu);
    open = ctx->L != NULL;
    if (open) {
        cb->due = true;
        cb->watch = watch;
        cb->object = c->object;
        cb->fd = c->fd;
        cb->condition |= c->condition;
        enqueue(ctx, cb);
    }
    pthread_mutex_unlock(&ctx->mu);
    if (open) {
        qioh_loop_wakeup(cb->loop, NULL);
    }
    return open;
}

int32_t qiol_watch_fn(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                      void *user_data, qioh_error *error)
{
    return dispatch(&(call){ user_data, channel, -1, condition }, watch);
}

int32_t qiol_listener_fn(qioh_watch *watch, qioh_listener *listener, void *user_data,
                         qioh_error *error)
{
    return dispatch(&(call){ user_data, listener, -1, 0 }, watch);
}

int32_t qiol_fd_fn(qioh_watch *watch, int32_t fd, uint32_t condition, void *user_data,
                   qioh_error *error)
{
    return dispatch(&(call){ user_data, NULL, fd, condition }, watch);
}

int32_t qiol_timer_fn(qioh_watch *watch, void *user_data, qioh_error *error)
{
    return dispatch(&(call){ user_data, NULL, -1, 0 }, watch);
}

int32_t qiol_defer_fn(qioh_loop *loop, void *user_data, qioh_error *error)
{
    dispatch(&(call){ user_data, NULL, -1, 0 }, NULL);
    return 0;
}

/* ---- the filter of a relay ---- */

typedef struct filter_call {
    const qiol_cb *cb;
    qioh_task *task;
    lua_Integer direction;
    const void *buf;
    size_t len;
    qioh_error *error;
    int32_t status;             /* out */
} filter_call;

static int32_t filter_failed(qioh_error *error, const char *what, const char *more)
{
    error->code = QIOH_E_CALLBACK;
    error->sys_errno = 0;
    error->domain = QIOH_DOMAIN_LIBRARY;
    error->number = 0;
    snprintf(error->message, sizeof error->message, "%s%s", what, more);
    return QIOH_E_CALLBACK;
}

/* What the filter has left on the stack: nil, or what to send. */
static int32_t filter_result(lua_State *L, const filter_call *c)
{
    const char *text;
    int32_t status;
    size_t len;

    if (lua_isnil(L, -1)) {
        return 0;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        return filter_failed(c->error,
                             "a filter has to return a string or nil (unchanged), not a ",
                             luaL_typename(L, -1));
    }
    text = lua_tolstring(L, -1, &len);
    status = qioh_task_put(c->task, text, len, c->error);
    return status < 0 ? status : 1;
}

static int filter_body(lua_State *L)
{
    filter_call *c = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->cb->ref);
    lua_pushinteger(L, c->direction);
    lua_pushlstring(L, c->buf, c->len);
    lua_call(L, 2, 1);
    c->status = filter_result(L, c);
    return 0;
}

int32_t qiol_filter_fn(qioh_task *task, uint32_t direction, const void *buf, size_t len,
                       void *user_data, qioh_error *error)
{
    filter_call c = { user_data, task, (lua_Integer)direction, buf, len, error, 0 };
    lua_State *L = qiol_cb_enter(c.cb);
    int top;

    if (!L) {
        return filter_failed(error, "the filter's Lua state runs on another thread", "");
    }
    top = lua_gettop(L);
    if (qiol_protect(L, filter_body, &c) != 0) {
        const char *text = lua_tostring(L, -1);

        c.status = filter_failed(error, text ? text : luaL_typename(L, -1), "");
    }
    lua_settop(L, top);
    return c.status;
}

void qiol_cb_release(void *user_data)
{
    qiol_cb *cb = user_data;
    qiol_ctx *ctx = cb->ctx;
    bool later = false;

    if (!pthread_equal(ctx->owner, pthread_self())) {
        pthread_mutex_lock(&ctx->mu);
        later = ctx->L != NULL;
        if (later) {
            cb->released = true;
            enqueue(ctx, cb);
        }
        pthread_mutex_unlock(&ctx->mu);
    } else if (cb->queued) {            /* a call that another thread left is still due */
        cb->released = true;
        later = true;
    } else if (ctx->L) {
        unref_all(ctx->L, cb);
    }
    if (!later) {
        free_cb(cb);
    }
}

/* ---- what other threads left ---- */

static qiol_cb *take_queue(qiol_ctx *ctx)
{
    qiol_cb *cb;

    pthread_mutex_lock(&ctx->mu);
    cb = ctx->queue;
    ctx->queue = NULL;
    ctx->queue_tail = &ctx->queue;
    pthread_mutex_unlock(&ctx->mu);
    return cb;
}

/* One block off the queue: its call, then its release. */
static void drain_one(qiol_ctx *ctx, qiol_cb *cb)
{
    call c = { cb, NULL, -1, 0 };
    qioh_watch *watch;
    bool due, released;

    pthread_mutex_lock(&ctx->mu);
    due = cb->due;
    watch = cb->watch;
    c.object = cb->object;
    c.fd = cb->fd;
    c.condition = cb->condition;
    cb->due = false;
    cb->condition = 0;
    pthread_mutex_unlock(&ctx->mu);

    if (due && !run(&c) && watch) {
        qioh_watch_remove(watch, NULL);
    }

    /* Only now may it be queued again: until here it is nobody else's to free. */
    pthread_mutex_lock(&ctx->mu);
    cb->queued = false;
    released = cb->released;
    if (!released && cb->due) {
        enqueue(ctx, cb);
    }
    pthread_mutex_unlock(&ctx->mu);
    if (released) {
        if (ctx->L) {
            unref_all(ctx->L, cb);
        }
        free_cb(cb);
    }
}

void qiol_cb_drain(lua_State *L)
{
    qiol_ctx *ctx = qiol_ctx_get(L);
    qiol_cb *cb = take_queue(ctx);

    while (cb) {
        qiol_cb *next = cb->next;

        drain_one(ctx, cb);
        cb = next;
    }
}

void qiol_cb_close(qiol_ctx *ctx)
{
    qiol_cb *cb;

    pthread_mutex_lock(&ctx->mu);
    ctx->L = NULL;
    pthread_mutex_unlock(&ctx->mu);
    cb = take_queue(ctx);
    while (cb) {
        qiol_cb *next = cb->next;

        drain_one(ctx, cb);
        cb = next;
    }
}
