/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_custom.c: channels that are written in Lua: C calls their methods.
 *
 * Owns: the functions that the library has for such a channel, the checks of what a method
 * returns, and error values on their way up through C.
 * Rules: a method runs on the context's own Lua thread, in protected mode, and cannot wait
 * (ctx->in_ops tells the scheduler so); on a thread that is not the state's owner it is not run.
 * What it returns is copied before it may be collected, and nothing of ours is given to it.  The
 * channel's block holds the instance until it is closed or gone, whichever comes first.
 */
#include <stdio.h>
#include <string.h>
#include "qio_core_rt.h"

#define REQUEST_MAX (1 << 20)   /* the most that a method is asked for, or given, at once */

/* Where a class has what, in the table behind a channel. */
enum { INSTANCE = 1, READ, WRITE, CLOSE, SHUTDOWN, SEEK, POLL, FLUSH };

static const char errors_key, read_failed_key;

/* One call of a method. */
typedef struct op_call {
    qiol_cb *cb;
    const qioh_iovec *iov;
    size_t niov;
    size_t total;               /* bytes in iov, at most REQUEST_MAX */
    int64_t offset;
    int32_t number;             /* whence, how, condition */
    int32_t *fd;
    uint32_t *events;
    qioh_error *error;
    int64_t result;
} op_call;

/* ---- errors ---- */

/* The length of the UTF-8 sequence there, 0 for none. */
static size_t sequence(const unsigned char *p, size_t len)
{
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++) {
        if (i >= len || (p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* overlong, surrogates, above U+10FFFF */
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

/* Text of a script as a message: cut to fit, a byte that is no text as '?'. */
static void set_message(qioh_error *error, const char *text, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; i < len && text[i];) {
        size_t n = sequence((const unsigned char *)text + i, len - i);

        if (used + (n ? n : 1) >= sizeof error->message) {
            break;
        }
        if (n) {
            memcpy(error->message + used, text + i, n);
        } else {
            error->message[used] = '?';
        }
        used += n ? n : 1;
        i += n ? n : 1;
    }
    error->message[used] = '\0';
}

/* One that no other module counts errors by: layers change an error's text, but not its number. */
static int64_t next_id(void)
{
    static atomic_llong last;

    return ((int64_t)((uintptr_t)&last & 0x7fffffff) << 32) + atomic_fetch_add(&last, 1) + 1;
}

static int64_t fill(qioh_error *error, int32_t code, const char *text)
{
    error->code = code;
    error->sys_errno = 0;
    error->domain = QIOH_DOMAIN_LIBRARY;
    error->number = 0;
    set_message(error, text, strlen(text));
    return code;
}

typedef struct described {
    int slot;
    qioh_error *error;
} described;

/* The text of an error value that is no string. */
static int describe(lua_State *L)
{
    described *d = lua_touserdata(L, 1);
    const char *text = NULL;
    size_t len = 0;

    qiol_rawgetp(L, &errors_key);
    lua_rawgeti(L, -1, d->slot);
    if (luaL_callmeta(L, -1, "__tostring")) {
        text = lua_tolstring(L, -1, &len);
    }
    if (text) {
        set_message(d->error, text, len);
    } else {
        snprintf(d->error->message, sizeof d->error->message, "(an error value: %s)",
                 luaL_typename(L, -1));
    }
    return 0;
}

/* Takes the error value on top off; it can be found again while it is one of the last. */
static int64_t keep_error(lua_State *L, qiol_ctx *ctx, qioh_error *error)
{
    int64_t id = next_id();
    int slot = (int)(id % QIOL_ERRORS) + 1;
    int top = lua_gettop(L);
    size_t len = 0;

    fill(error, QIOH_E_CALLBACK, "");
    error->number = id;
    if (lua_type(L, top) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, top, &len);

        set_message(error, text, len);
    }
    /* The slot is there already: this takes no memory. */
    qiol_rawgetp(L, &errors_key);
    lua_insert(L, top);
    lua_rawseti(L, top, slot);
    lua_settop(L, top - 1);
    if (error->message[0] == '\0' &&
        qiol_protect(L, describe, &(described){ slot, error }) != 0) {
        fill(error, QIOH_E_CALLBACK, "(an error value without a text)");
        error->number = id;
    }
    lua_settop(L, top - 1);
    ctx->errors[slot - 1] = id;
    return QIOH_E_CALLBACK;
}

bool qiol_push_error_value(lua_State *L, const qioh_error *error)
{
    qiol_ctx *ctx = error->code == QIOH_E_CALLBACK && error->domain == QIOH_DOMAIN_LIBRARY &&
                            error->number > 0 ? qiol_ctx_find(L) : NULL;
    int slot = (int)(error->number % QIOL_ERRORS) + 1;

    if (!ctx || ctx->errors[slot - 1] != error->number) {
        return false;
    }
    qiol_rawgetp(L, &errors_key);
    lua_rawgeti(L, -1, slot);
    lua_remove(L, -2);
    return true;
}

/* ---- results ---- */

static bool is_literal(lua_State *L, int index, const char *text)
{
    return lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), text) == 0;
}

/* A method's nil, message, code from `index` on, in C's terms. */
static int64_t failure(lua_State *L, int index, const op_call *c)
{
    int64_t code = lua_type(L, index + 2) == LUA_TNUMBER ? qiol_toint(L, index + 2) : 0;
    const char *text;
    size_t len;

    if (is_literal(L, index + 1, "timeout") || code == QIOH_E_AGAIN) {
        return QIOH_E_AGAIN;
    }
    if (is_literal(L, index + 1, "closed") && code == 0) {
        code = QIOH_E_EOF;
    }
    if (lua_isnil(L, index + 1)) {
        luaL_error(L, "a method returned nil without a reason: \"timeout\", \"closed\" or another "
                   "message and a code expected");
    }
    if (lua_type(L, index + 1) != LUA_TSTRING || code == QIOH_E_CALLBACK || code == 0) {
        lua_pushvalue(L, index + 1);
        return keep_error(L, qiol_cb_ctx(c->cb), c->error);
    }
    text = lua_tolstring(L, index + 1, &len);
    fill(c->error, code > 0 ? QIOH_E_SYSTEM : (int32_t)code, "");
    set_message(c->error, text, len);
    if (code > 0) {
        c->error->domain = QIOH_DOMAIN_ERRNO;
        c->error->sys_errno = (int32_t)code;
        c->error->number = code;
    }
    return c->error->code;
}

static int64_t not_entered(const op_call *c)
{
    return qiol_cb_ctx(c->cb)->L
        ? fill(c->error, QIOH_E_CALLBACK, pthread_equal(qiol_cb_ctx(c->cb)->owner, pthread_self())
               ? "methods of channels written in Lua call each other without end"
               : "a channel written in Lua was used on another thread than its state's")
        : fill(c->error, QIOH_E_CLOSED, "the Lua state of the channel has ended");
}

/* Runs a method in the channel's state. */
static int64_t call_method(op_call *c, lua_CFunction body)
{
    qiol_ctx *ctx = qiol_cb_ctx(c->cb);
    lua_State *L = qiol_cb_enter(c->cb);
    int top;

    if (!L) {
        return not_entered(c);
    }
    top = lua_gettop(L);
    ctx->in_ops++;
    if (qiol_protect(L, body, c) != 0) {
        c->result = keep_error(L, ctx, c->error);
    }
    ctx->in_ops--;
    lua_settop(L, top);
    return c->result;
}

/* Pushes the method and its self; the call is at 1. */
static op_call *begin(lua_State *L, int method)
{
    op_call *c = lua_touserdata(L, 1);

    qiol_cb_push_function(L, c->cb);
    lua_rawgeti(L, 2, method);
    lua_rawgeti(L, 2, INSTANCE);
    return c;
}

/* Whether the first of the results at 3 is neither nil nor false. */
static bool is_fine(lua_State *L, op_call *c)
{
    if (lua_toboolean(L, 3)) {
        return true;
    }
    c->result = failure(L, 3, c);
    return false;
}

/* The results at 3 of a method that has none, or nil and a reason. */
static int give_done(lua_State *L, op_call *c)
{
    c->result = 0;
    if (lua_isnil(L, 3) && !lua_isnil(L, 4)) {
        is_fine(L, c);
    }
    return 0;
}

/* ---- methods ---- */

static size_t total_of(const qioh_iovec *iov, size_t niov)
{
    size_t total = 0;

    for (size_t i = 0; i < niov && total < REQUEST_MAX; i++) {
        total += iov[i].len < REQUEST_MAX ? iov[i].len : REQUEST_MAX;
    }
    return total < REQUEST_MAX ? total : REQUEST_MAX;
}

static int64_t scatter(const op_call *c, const char *data, size_t len)
{
    size_t left = len;

    for (size_t i = 0; left > 0; i++) {
        size_t n = left < c->iov[i].len ? left : c->iov[i].len;

        memcpy(c->iov[i].base, data, n);
        data += n;
        left -= n;
    }
    return (int64_t)len;
}

/* What read returned that is no string of the right length; the results are at 2.  It is in the
 * registry: pushing a C function may throw in 5.1. */
static int read_failed(lua_State *L)
{
    op_call *c = lua_touserdata(L, 1);

    if (lua_type(L, 2) == LUA_TSTRING) {
        return luaL_error(L, "read returned %d bytes, but was asked for at most %d",
                          (int)lua_rawlen(L, 2), (int)c->total);
    }
    if (lua_toboolean(L, 2)) {
        return luaL_error(L, "read has to return a string, or nil and a reason, not a %s",
                          qiol_typename(L, 2));
    }
    c->result = failure(L, 2, c);
    c->result = c->result == QIOH_E_EOF ? 0 : c->result;
    return 0;
}

/* What read gave, if it is no string of the right length: up to three values behind `top`, or the
 * error that it raised. */
static int64_t read_gave_none(lua_State *L, int top, int rc, op_call *c)
{
    if (rc == 0) {
        lua_settop(L, top + 3);
        qiol_rawgetp(L, &read_failed_key);
        lua_insert(L, top + 1);
        lua_pushlightuserdata(L, c);
        lua_insert(L, top + 2);
        rc = lua_pcall(L, 4, 0, 0);
    }
    return rc != 0 ? keep_error(L, qiol_cb_ctx(c->cb), c->error) : c->result;
}

/*
 * read(self, max): data; "" or nil, "closed" at the end; nil, "timeout"; nil, message, code.
 * Called straight from here, as nothing but the method itself can throw; every nanosecond beside
 * it is a part of each read.
 */
static int64_t read_directly(lua_State *L, qiol_ctx *ctx, op_call *c)
{
    int top = lua_gettop(L), rc;
    const char *data = NULL;
    int64_t result;
    size_t len;

    qiol_cb_push_read(L, c->cb);
    lua_pushinteger(L, (lua_Integer)c->total);
    ctx->in_ops++;
    rc = lua_pcall(L, 2, LUA_MULTRET, 0);
    if (rc == 0 && lua_type(L, top + 1) == LUA_TSTRING) {
        data = lua_tolstring(L, top + 1, &len);
    }
    result = data && len <= c->total ? scatter(c, data, len) : read_gave_none(L, top, rc, c);
    ctx->in_ops--;
    lua_settop(L, top);
    return result;
}

static void push_bytes(lua_State *L, const op_call *c)
{
    luaL_Buffer b;
    size_t left = c->total;

    if (c->iov[0].len >= left) {
        lua_pushlstring(L, c->iov[0].base, left);
        return;
    }
    luaL_buffinit(L, &b);
    for (size_t i = 0; left > 0; i++) {
        size_t n = left < c->iov[i].len ? left : c->iov[i].len;

        luaL_addlstring(&b, c->iov[i].base, n);
        left -= n;
    }
    luaL_pushresult(&b);
}

/* write(self, data): how many bytes it took, or true or a channel for all; nil, "timeout"; nil,
 * message, code, bytes */
static int write_body(lua_State *L)
{
    op_call *c = begin(L, WRITE);
    int64_t n = (int64_t)c->total;

    push_bytes(L, c);
    lua_call(L, 2, 4);
    if (!lua_toboolean(L, 3)) {
        n = lua_type(L, 6) == LUA_TNUMBER ? qiol_toint(L, 6) : 0;
        if (n == 0) {
            c->result = failure(L, 3, c);
            return 0;
        }
    } else if (lua_type(L, 3) == LUA_TNUMBER) {
        n = qiol_toint(L, 3);
    } else if (!lua_isboolean(L, 3) && !qiol_box(L, 3, QIOL_CHANNEL)) {
        return luaL_error(L, "write has to return how many bytes it took, true for all, or nil and "
                          "a reason, not a %s", qiol_typename(L, 3));
    }
    if (n < 0 || n > (int64_t)c->total) {
        return luaL_error(L, "write returned %d, but was given %d bytes", (int)n, (int)c->total);
    }
    c->result = n > 0 || c->total == 0 ? n : QIOH_E_AGAIN;
    return 0;
}

static int close_body(lua_State *L)
{
    op_call *c = begin(L, CLOSE);

    lua_call(L, 1, 3);
    return give_done(L, c);
}

static int shutdown_body(lua_State *L)
{
    op_call *c = begin(L, SHUTDOWN);

    lua_pushstring(L, c->number == QIOH_SHUTDOWN_BOTH ? "both"
                      : c->number == QIOH_SHUTDOWN_READ ? "read" : "write");
    lua_call(L, 2, 3);
    return give_done(L, c);
}

/* seek(self, whence, offset): the new place from the start */
static int seek_body(lua_State *L)
{
    static const char *const whence[] = { "set", "cur", "end" };
    op_call *c = begin(L, SEEK);

    lua_pushstring(L, c->number >= 0 && c->number <= 2 ? whence[c->number] : "set");
    qiol_pushint(L, c->offset);
    lua_call(L, 3, 3);
    if (!is_fine(L, c)) {
        return 0;
    }
    if (lua_type(L, 3) != LUA_TNUMBER || (c->result = qiol_toint(L, 3)) < 0) {
        return luaL_error(L, "seek has to return the new place, 0 or more");
    }
    return 0;
}

static int flush_body(lua_State *L)
{
    op_call *c = begin(L, FLUSH);

    lua_call(L, 1, 3);
    return give_done(L, c);
}

/* What poll returned at 3, and at 4 in which direction to wait there. */
static int64_t poll_result(lua_State *L, op_call *c)
{
    uint32_t condition = is_literal(L, 4, "in") ? QIOH_IN
                         : is_literal(L, 4, "out") ? QIOH_OUT : (uint32_t)c->number;
    qiol_ud *u;

    if (!lua_toboolean(L, 3)) {
        return QIOH_E_NOTSUP;
    }
    if (lua_isboolean(L, 3)) {
        return 1;
    }
    if ((u = qiol_box(L, 3, QIOL_CHANNEL))) {
        return qioh_channel_get_poll(u->h, condition, c->fd, c->events, c->error);
    }
    if ((u = qiol_box(L, 3, QIOL_FD)) && u->h) {
        *c->fd = (int32_t)(intptr_t)u->h - 1;
    } else if (lua_type(L, 3) == LUA_TNUMBER) {
        *c->fd = (int32_t)qiol_toint(L, 3);
    } else {
        luaL_error(L, "poll has to return a channel, a descriptor, true (ready) or nil (wait for "
                   "notify), not a %s", qiol_typename(L, 3));
    }
    *c->events = condition;
    return 0;
}

/* poll(self, "in" or "out"): what to wait for in its place: a channel or descriptor, and in which
 * direction if it is the other one; true: ready now; nil: wait for notify */
static int poll_body(lua_State *L)
{
    op_call *c = begin(L, POLL);

    lua_pushstring(L, c->number == QIOH_OUT ? "out" : "in");
    lua_call(L, 2, 2);
    c->result = poll_result(L, c);
    return 0;
}

/* ---- what the library calls ---- */

static int64_t custom_readv(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                            qioh_fdset *fds, qioh_error *error)
{
    op_call c = { .cb = user_data, .iov = iov, .niov = niov, .total = total_of(iov, niov),
                  .error = error };
    lua_State *L = qiol_cb_enter(c.cb);

    if (!c.total) {
        return 0;
    }
    return L ? read_directly(L, qiol_cb_ctx(c.cb), &c) : not_entered(&c);
}

static int64_t custom_writev(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                             qioh_fdset *fds, qioh_error *error)
{
    op_call c = { .cb = user_data, .iov = iov, .niov = niov, .total = total_of(iov, niov),
                  .error = error };

    return c.total ? call_method(&c, write_body) : 0;
}

static int32_t custom_close(void *user_data, qioh_error *error)
{
    op_call c = { .cb = user_data, .error = error };
    qiol_ctx *ctx = qiol_cb_ctx(user_data);
    int64_t result;

    if (!ctx->L) {
        return 0;
    }
    result = qiol_cb_has_close(user_data) ? call_method(&c, close_body) : 0;
    qiol_cb_let_go(user_data);          /* no method is called any more: breaks cycles */
    return (int32_t)result;
}

static int32_t custom_shutdown(void *user_data, uint32_t how, qioh_error *error)
{
    op_call c = { .cb = user_data, .number = (int32_t)how, .error = error };

    return (int32_t)call_method(&c, shutdown_body);
}

static int64_t custom_seek(void *user_data, int64_t offset, int32_t whence, qioh_error *error)
{
    op_call c = { .cb = user_data, .offset = offset, .number = whence, .error = error };

    return call_method(&c, seek_body);
}

static int32_t custom_get_poll(void *user_data, uint32_t condition, int32_t *fd, uint32_t *events,
                               qioh_error *error)
{
    op_call c = { .cb = user_data, .number = (int32_t)condition, .fd = fd, .events = events,
                  .error = error };

    return (int32_t)call_method(&c, poll_body);
}

static int32_t custom_flush(void *user_data, qioh_error *error)
{
    op_call c = { .cb = user_data, .error = error };

    return (int32_t)call_method(&c, flush_body);
}

/* ---- making one ---- */

static bool has(lua_State *L, int table, int method)
{
    bool there;

    lua_rawgeti(L, table, method);
    there = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return there;
}

/* custom_new(t): t is the instance and its methods, in the order of the enum above */
static int custom_new(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel_ops ops = { .struct_size = sizeof ops, .close = custom_close,
                             .release = qiol_cb_release };
    qioh_channel *channel;
    qiol_ud *u;
    qiol_cb *cb;
    int count;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgeti(L, 1, INSTANCE);
    luaL_argcheck(L, lua_istable(L, 2), 1, "a table with an instance at [1] expected");
    ops.readv = has(L, 1, READ) ? custom_readv : NULL;
    ops.writev = has(L, 1, WRITE) ? custom_writev : NULL;
    ops.shutdown = has(L, 1, SHUTDOWN) ? custom_shutdown : NULL;
    ops.seek = has(L, 1, SEEK) ? custom_seek : NULL;
    ops.get_poll = has(L, 1, POLL) ? custom_get_poll : NULL;
    ops.flush = has(L, 1, FLUSH) ? custom_flush : NULL;
    u = qiol_new(L, QIOL_CHANNEL);
    cb = qiol_cb_new_table(L, 1, INSTANCE, READ, has(L, 1, CLOSE));
    channel = qioh_channel_new_custom(NULL, &ops, cb, &error);
    count = qiol_box_result(L, u, channel, 3);
    return count ? count : qiol_fail(L, &error);
}

static qioh_channel *check_token(lua_State *L)
{
    return (qioh_channel *)(uintptr_t)qiol_toint(L, 1);
}

/* custom_notify(token, condition) */
static int custom_notify(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = check_token(L);
    int64_t condition = qiol_toint(L, 2);

    luaL_argcheck(L, condition >= 0 && condition < 256, 2, "condition expected");
    if (qioh_channel_notify(channel, (uint32_t)condition, &error) < 0) {
        return qiol_fail(L, &error);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* custom_channel(token): its box, or nil, message, code */
static int custom_channel(lua_State *L)
{
    qioh_channel *channel = check_token(L);
    qiol_ud *fresh = qiol_new(L, QIOL_CHANNEL);

    return qiol_push_channel(L, fresh, lua_gettop(L), channel, false);
}

/* in_method(): whether a method of a channel is being called, which may not wait */
static int in_method(lua_State *L)
{
    qiol_ctx *ctx = qiol_ctx_find(L);

    lua_pushboolean(L, ctx && ctx->in_ops > 0);
    return 1;
}

const luaL_Reg qiol_custom_functions[] = {
    { "custom_new", custom_new },
    { "custom_notify", custom_notify },
    { "custom_channel", custom_channel },
    { "in_method", in_method },
    { NULL, NULL },
};

void qiol_custom_open(lua_State *L)
{
    lua_createtable(L, QIOL_ERRORS, 0);
    for (int slot = 1; slot <= QIOL_ERRORS; slot++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, slot);
    }
    qiol_rawsetp(L, &errors_key);
    lua_pushcfunction(L, read_failed);
    qiol_rawsetp(L, &read_failed_key);
}
