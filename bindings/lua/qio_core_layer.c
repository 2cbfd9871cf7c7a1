/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_layer.c: what qio.core has of TLS and WebSocket beside the plain functions.
 *
 * Owns: messages from an offset, the channel below a layer, exported key material, and the two
 * functions that credentials may have.  Those run in the middle of a handshake, on whichever
 * thread does it, and have to answer at once: on another thread than the state's owner they
 * refuse.  Rule: as in qio_core_rt.h.
 */
#include <stdio.h>
#include <string.h>
#include "qio_core_rt.h"

#define EXPORT_MAX 16384

/* ---- messages ---- */

/* ws_send(channel, data, offset, opcode, flags): how many bytes after the offset were accepted;
 * and true when all are, but a layer holds some of them back. */
static int ws_send(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qiol_ud *u = qiol_check_box(L, 1, QIOL_CHANNEL);
    int64_t offset = qiol_toint(L, 3), opcode = qiol_toint(L, 4), flags = qiol_toint(L, 5);
    size_t len;
    const char *data;
    qioh_ssize n;

    luaL_checktype(L, 2, LUA_TSTRING);
    data = lua_tolstring(L, 2, &len);
    luaL_argcheck(L, offset >= 0 && (uint64_t)offset <= len, 3, "offset in the string expected");
    luaL_argcheck(L, opcode >= 0 && opcode < 16, 4, "opcode expected");
    luaL_argcheck(L, flags >= 0 && flags < 256, 5, "flags expected");
    n = qioh_channel_ws_send(u->h, data + offset, len - (size_t)offset, (uint32_t)opcode,
                             (uint32_t)flags, &error);
    if (n < 0) {
        return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
    }
    qiol_pushint(L, n);
    lua_pushboolean(L, (size_t)n == len - (size_t)offset && qiol_holds_back(u));
    return 2;
}

/* ws_recv(channel, size, flags): data, opcode, whether this was the last of the message */
static int ws_recv(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = qiol_check(L, 1, QIOL_CHANNEL);
    int64_t size = qiol_toint(L, 2), flags = qiol_toint(L, 3);
    uint32_t opcode = 0, fin = 0;
    qioh_ssize n;
    void *buf;

    luaL_argcheck(L, size > 0 && size <= QIOL_ROOM_MAX, 2, "1 to 2^30 expected");
    luaL_argcheck(L, flags >= 0 && flags < 256, 3, "flags expected");
    buf = qiol_room(L, size);
    n = qioh_channel_ws_recv(channel, buf, (size_t)size, (uint32_t)flags, &opcode, &fin, &error);
    if (n < 0) {
        return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
    }
    lua_pushlstring(L, buf, (size_t)n);
    lua_pushinteger(L, (lua_Integer)opcode);
    lua_pushboolean(L, fin != 0);
    return 3;
}

/* ---- the channel below ---- */

/* transport(channel): the one below, or nil, message, code */
static int transport(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = qiol_check(L, 1, QIOL_CHANNEL);
    qiol_ud *fresh = qiol_new(L, QIOL_CHANNEL);
    int at = lua_gettop(L);
    qioh_channel *below = qioh_channel_get_transport(channel, &error);

    return below ? qiol_push_channel(L, fresh, at, below, false) : qiol_fail(L, &error);
}

/* take_transport(channel, timeout_ms) */
static int take_transport(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = qiol_check(L, 1, QIOL_CHANNEL);
    int64_t ms = qiol_toint(L, 2);
    qioh_channel *below;
    qiol_ud *fresh;
    int at;

    luaL_argcheck(L, ms >= -1 && ms <= INT32_MAX, 2, "milliseconds or -1 expected");
    fresh = qiol_new(L, QIOL_CHANNEL);
    at = lua_gettop(L);
    below = qioh_channel_take_transport(channel, (int32_t)ms, &error);
    return below ? qiol_push_channel(L, fresh, at, below, true) : qiol_fail(L, &error);
}

/* tls_export(channel, label, length, context or nil) */
static int tls_export(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = qiol_check(L, 1, QIOL_CHANNEL);
    const char *label = luaL_checkstring(L, 2);
    int64_t len = qiol_toint(L, 3);
    const char *context = NULL;
    size_t context_len = 0;
    char buf[EXPORT_MAX];

    luaL_argcheck(L, len > 0 && len <= EXPORT_MAX, 3, "1 to 16384 expected");
    if (!lua_isnoneornil(L, 4)) {
        context = luaL_checklstring(L, 4, &context_len);
    }
    if (qioh_channel_tls_export(channel, label, context, context_len, buf, (size_t)len,
                                &error) < 0) {
        return qiol_fail(L, &error);
    }
    lua_pushlstring(L, buf, (size_t)len);
    return 1;
}

/* ---- functions of credentials ---- */

/* One question, and what came of it. */
typedef struct question {
    qiol_cb *cb;
    qioh_channel *channel;
    const char *text;
    void *key;                  /* NULL: the answer is yes or no */
    size_t cap;
    int32_t answer;
} question;

static int ask_body(lua_State *L)
{
    question *q = lua_touserdata(L, 1);
    const char *data;
    size_t len;

    qiol_cb_push_function(L, q->cb);
    if (!q->key) {
        qiol_push_known(L, q->channel);         /* nil when its box is not made yet */
    }
    lua_pushstring(L, q->text);
    lua_call(L, q->key ? 1 : 2, 1);
    if (!q->key) {
        q->answer = lua_toboolean(L, -1);
        return 0;
    }
    if (!lua_toboolean(L, -1)) {
        q->answer = 0;
        return 0;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        return luaL_error(L, "lookup has to return a string or nil, not a %s",
                          luaL_typename(L, -1));
    }
    data = lua_tolstring(L, -1, &len);
    if (len < 1 || len > q->cap) {
        return luaL_error(L, "the key from lookup has to be of 1 to %d bytes", (int)q->cap);
    }
    memcpy(q->key, data, len);
    q->answer = (int32_t)len;
    return 0;
}

static int32_t failed(qioh_error *error, const char *text)
{
    error->code = QIOH_E_CALLBACK;
    error->sys_errno = 0;
    error->domain = QIOH_DOMAIN_LIBRARY;
    snprintf(error->message, sizeof error->message, "%s", text ? text : "a Lua function failed");
    return QIOH_E_CALLBACK;
}

static int32_t ask(question *q, qioh_error *error)
{
    lua_State *L = qiol_cb_enter(q->cb);
    int32_t answer;
    int top;

    if (!L) {
        return failed(error, "the Lua state of the function is closed, or of another thread");
    }
    top = lua_gettop(L);
    answer = qiol_protect(L, ask_body, q) == 0 ? q->answer : failed(error, lua_tostring(L, -1));
    lua_settop(L, top);
    return answer;
}

int32_t qiol_authorize_fn(qioh_channel *channel, const char *identity, void *user_data,
                          qioh_error *error)
{
    return ask(&(question){ .cb = user_data, .channel = channel, .text = identity }, error);
}

int32_t qiol_psk_fn(qioh_creds *creds, const char *user, void *key, size_t cap, void *user_data,
                    qioh_error *error)
{
    return ask(&(question){ .cb = user_data, .text = user, .key = key, .cap = cap }, error);
}

const luaL_Reg qiol_layer_functions[] = {
    { "ws_send", ws_send },
    { "ws_recv", ws_recv },
    { "transport", transport },
    { "take_transport", take_transport },
    { "tls_export", tls_export },
    { NULL, NULL },
};
