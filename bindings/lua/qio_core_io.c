/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_io.c: functions of qio.core that are written by hand.
 *
 * Owns: events as a flat Lua table, the standing watches of the scheduler, writing a string
 * from an offset, reading into a block, blocks of bytes, owned descriptors, the clock, the
 * table of error numbers.  Everything else is the ABI as SWIG wraps it.
 * Rule: as in qio_core_rt.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "qio_core_rt.h"

/* ---- the loop ---- */

static void set_int(lua_State *L, int table, int at, int64_t value)
{
    qiol_pushint(L, value);
    lua_rawseti(L, table, at);
}

void qiol_tell(lua_State *L, int table, int index, const qioh_event *ev)
{
    const void *object = ev->kind == QIOH_EV_ACCEPT ? (void *)ev->listener : (void *)ev->channel;
    int top = lua_gettop(L), at = 4 * index;

    set_int(L, table, at + 1, ev->kind);
    set_int(L, table, at + 2, (int64_t)ev->cookie);
    set_int(L, table, at + 3, ev->condition);
    if (object) {
        qiol_push_known(L, object);
    }
    if (!object || lua_isnil(L, -1)) {
        lua_pushboolean(L, 0);
    }
    lua_rawseti(L, table, at + 4);
    lua_settop(L, top);
}

/* next_events(loop, t, timeout_ms): how many events, four values each in t: see qiol_tell. */
static int next_events(lua_State *L)
{
    qioh_event events[QIOL_EVENTS];
    qioh_error error = { .struct_size = sizeof error };
    qioh_loop *loop = qiol_check(L, 1, QIOL_LOOP);
    int64_t timeout_ms = qiol_toint(L, 3);
    int n;

    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_argcheck(L, timeout_ms >= -1 && timeout_ms <= INT32_MAX, 3, "milliseconds or -1 expected");
    qiol_cb_drain(L);
    events[0].struct_size = sizeof events[0];
    n = qioh_loop_next_events(loop, events, QIOL_EVENTS, (int32_t)timeout_ms, &error);
    if (n < 0) {
        return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
    }
    for (int i = 0; i < n; i++) {
        qiol_tell(L, 2, i, &events[i]);
    }
    lua_pushinteger(L, n);
    return 1;
}

/* A channel or a listener, for the scheduler. */
static qiol_ud *check_pollable(lua_State *L, int index)
{
    qiol_ud *u = qiol_box(L, index, QIOL_LISTENER);

    return u ? u : qiol_check_box(L, index, QIOL_CHANNEL);
}

static int check_direction(lua_State *L, int index)
{
    int64_t direction = qiol_toint(L, index);

    luaL_argcheck(L, direction == 1 || direction == 2, index, "1 (read) or 2 (write) expected");
    return (int)direction;
}

/*
 * Makes sure that a queued watch stands for it; its events have the direction as cookie.  The
 * watch lives in the object's box, so that it goes with it: a watch that outlived the box would
 * keep the descriptor open.  The read side waits for MORE: who waits has looked at what is read
 * ahead already.
 */
bool qiol_arm(qioh_loop *loop, qiol_ud *u, int direction, qioh_error *error)
{
    qioh_watch **standing = &u->standing[direction - 1];

    if (!*standing) {
        *standing = u->kind == QIOL_LISTENER
            ? qioh_watch_new_listener_queued(loop, u->h, (uint64_t)direction, error)
            : qioh_watch_new_queued(loop, u->h, direction == 1 ? QIOH_MORE : QIOH_OUT,
                                    (uint64_t)direction, error);
    }
    return *standing != NULL;
}

void qiol_disarm(qiol_ud *u, int direction)
{
    qioh_watch *watch = u->standing[direction - 1];

    u->standing[direction - 1] = NULL;
    if (watch) {
        qioh_watch_remove(watch, NULL);
        qioh_watch_unref(watch);
    }
}

/* arm(loop, object, direction) */
static int arm(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_loop *loop = qiol_check(L, 1, QIOL_LOOP);
    qiol_ud *u = check_pollable(L, 2);

    if (!qiol_arm(loop, u, check_direction(L, 3), &error)) {
        return qiol_fail(L, &error);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* disarm(object, direction) */
static int disarm(lua_State *L)
{
    qiol_ud *u = check_pollable(L, 1);

    qiol_disarm(u, check_direction(L, 2));
    return 0;
}

/* loop_dispatch with what other threads left for us run first. */
static int loop_dispatch(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_loop *loop = qiol_check(L, 1, QIOL_LOOP);
    int64_t timeout_ms = qiol_toint(L, 2);
    int n;

    luaL_argcheck(L, timeout_ms >= -1 && timeout_ms <= INT32_MAX, 2, "milliseconds or -1 expected");
    qiol_cb_drain(L);
    n = qioh_loop_dispatch(loop, (int32_t)timeout_ms, &error);
    qiol_cb_drain(L);
    if (n < 0) {
        return qiol_fail(L, &error);
    }
    lua_pushinteger(L, n);
    return 1;
}

/* Milliseconds of a clock that only goes forward. */
static int now(lua_State *L)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    lua_pushnumber(L, (lua_Number)ts.tv_sec * 1e3 + (lua_Number)ts.tv_nsec / 1e6);
    return 1;
}

/* ---- blocks of bytes ---- */

static char *check_bytes(lua_State *L, int index, size_t *len)
{
    qiol_ud *u = qiol_check_box(L, index, QIOL_BYTES);

    *len = lua_rawlen(L, index) - sizeof *u;
    return (char *)(u + 1);
}

/* A string or a block, to be written. */
static const char *check_data(lua_State *L, int index, size_t *len)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        return lua_tolstring(L, index, len);
    }
    if (!qiol_box(L, index, QIOL_BYTES)) {
        luaL_argerror(L, index, lua_pushfstring(L, "string or qio.bytes expected, got %s",
                                                luaL_typename(L, index)));
    }
    return check_bytes(L, index, len);
}

/* bytes(size) */
static int bytes_new(lua_State *L)
{
    int64_t size = qiol_toint(L, 1);

    luaL_argcheck(L, size >= 0 && size <= QIOL_ROOM_MAX, 1, "0 to 2^30 expected");
    qiol_new_sized(L, QIOL_BYTES, (size_t)size);
    return 1;
}

/* A range with the meaning that string.sub gives it: off (from 0) and length. */
static void string_range(lua_State *L, int first, size_t len, size_t *offset, size_t *count)
{
    int64_t size = (int64_t)len;
    int64_t i = lua_isnoneornil(L, first) ? 1 : qiol_toint(L, first);
    int64_t j = lua_isnoneornil(L, first + 1) ? -1 : qiol_toint(L, first + 1);

    i = i < 0 ? (i < -size ? 1 : size + i + 1) : (i == 0 ? 1 : i);
    j = j < 0 ? size + j + 1 : (j > size ? size : j);
    *offset = i > j ? 0 : (size_t)(i - 1);
    *count = i > j ? 0 : (size_t)(j - i + 1);
}

/* bytes_sub(block, i, j): as string.sub */
static int bytes_sub(lua_State *L)
{
    size_t len, offset, count;
    const char *p = check_bytes(L, 1, &len);

    string_range(L, 2, len, &offset, &count);
    lua_pushlstring(L, p + offset, count);
    return 1;
}

/* The block's part from an offset (from 0) on. */
static size_t check_offset(lua_State *L, int index, size_t len)
{
    int64_t offset = lua_isnoneornil(L, index) ? 0 : qiol_toint(L, index);

    if (offset < 0 || (uint64_t)offset > len) {
        luaL_argerror(L, index, lua_pushfstring(L, "offset of 0 to %d expected", (int)len));
    }
    return (size_t)offset;
}

/* bytes_put(block, string, offset): returns the block */
static int bytes_put(lua_State *L)
{
    size_t room, len, offset;
    char *p = check_bytes(L, 1, &room);
    const char *data = check_data(L, 2, &len);

    offset = check_offset(L, 3, room);
    luaL_argcheck(L, len <= room - offset, 2, "it does not fit into the block");
    memmove(p + offset, data, len);
    lua_settop(L, 1);
    return 1;
}

/* ---- transfers ---- */

/* try_write(channel, data, offset): writes what follows the offset, as much as goes at once; and
 * true when all is accepted but a layer holds some of it back. */
static int try_write(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qiol_ud *u = qiol_check_box(L, 1, QIOL_CHANNEL);
    size_t len, offset;
    const char *data = check_data(L, 2, &len);
    qioh_ssize n;

    offset = check_offset(L, 3, len);
    n = qioh_channel_try_write(u->h, data + offset, len - offset, &error);
    if (n < 0) {
        return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
    }
    qiol_pushint(L, n);
    lua_pushboolean(L, (size_t)n == len - offset && qiol_holds_back(u));
    return 2;
}

/* try_readinto(channel, block, offset, len): how many bytes came */
static int try_readinto(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_channel *channel = qiol_check(L, 1, QIOL_CHANNEL);
    size_t room, offset;
    char *p = check_bytes(L, 2, &room);
    int64_t len;
    qioh_ssize n;

    offset = check_offset(L, 3, room);
    len = lua_isnoneornil(L, 4) ? (int64_t)(room - offset) : qiol_toint(L, 4);
    luaL_argcheck(L, len >= 0 && (uint64_t)len <= room - offset, 4,
                  "not more than the block has after the offset expected");
    n = qioh_channel_try_read(channel, p + offset, (size_t)len, &error);
    if (n < 0) {
        return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
    }
    qiol_pushint(L, n);
    return 1;
}

/* ---- owned descriptors; the box holds the number + 1 ---- */

static int push_fd(lua_State *L, qiol_ud *u, int fd)
{
    u->h = (void *)(intptr_t)(fd + 1);
    return 1;
}

/* fd_own(number): from now on closed with its box */
static int fd_own(lua_State *L)
{
    int64_t fd = qiol_toint(L, 1);

    luaL_argcheck(L, fd >= 0 && fd < INT32_MAX, 1, "descriptor expected");
    return push_fd(L, qiol_new(L, QIOL_FD), (int)fd);
}

/* fd_number(fd): nil when it was closed or given away */
static int fd_number(lua_State *L)
{
    qiol_ud *u = qiol_check_box(L, 1, QIOL_FD);

    if (u->h) {
        lua_pushinteger(L, (lua_Integer)(intptr_t)u->h - 1);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* fd_detach(fd): the number, which is the caller's from now on */
static int fd_detach(lua_State *L)
{
    fd_number(L);
    qiol_check_box(L, 1, QIOL_FD)->h = NULL;
    return 1;
}

static int fd_close(lua_State *L)
{
    qiol_ud *u = qiol_check_box(L, 1, QIOL_FD);
    void *h = u->h;

    u->h = NULL;
    if (h) {
        close((int)(intptr_t)h - 1);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* fdset_take(set, index): an owned descriptor */
static int fdset_take(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qioh_fdset *set = qiol_check(L, 1, QIOL_FDSET);
    int64_t index = qiol_toint(L, 2);
    qiol_ud *u = qiol_new(L, QIOL_FD);
    int fd;

    luaL_argcheck(L, index >= 0 && index <= INT32_MAX, 2, "index of 0 or more expected");
    fd = qioh_fdset_take_fd(set, (uint32_t)index, &error);
    return fd < 0 ? qiol_fail(L, &error) : push_fd(L, u, fd);
}

/* ---- suspending in Lua 5.1 ---- */

#if LUA_VERSION_NUM < 502
static const char *try_yield(lua_State *L, void *yieldable, size_t *size)
{
    lua_yield(L, 0);
    *(bool *)yieldable = true;
    lua_pushnil(L);
    lua_error(L);
    return NULL;
}

/*
 * yield(): coroutine.yield() that returns false, instead of raising, where there is a C function
 * in between: pcall, the iterator of a for, a metamethod.  Lua 5.1 (not LuaJIT) can only be asked
 * by trying; the reader of lua_load is the one place where the error of that can be caught
 * without another C call in between, which would itself be an obstacle.
 */
static int yield(lua_State *L)
{
    bool yieldable = false;

    lua_settop(L, 0);
    lua_load(L, try_yield, &yieldable, "=yield");
    lua_settop(L, 0);
    if (yieldable) {
        return lua_yield(L, 0);
    }
    lua_pushboolean(L, 0);
    return 1;
}
#endif

/* ---- error numbers ---- */

#define SYS(name) { #name, name }
#define QIO(name) { #name, QIOH_E_##name }

void qiol_push_errno(lua_State *L)
{
    static const struct {
        const char *name;
        int value;
    } numbers[] = {
        SYS(EACCES), SYS(EADDRINUSE), SYS(EADDRNOTAVAIL), SYS(EAFNOSUPPORT), SYS(EAGAIN),
        SYS(EALREADY), SYS(EBADF), SYS(EBUSY), SYS(ECHILD), SYS(ECONNABORTED),
        SYS(ECONNREFUSED), SYS(ECONNRESET), SYS(EEXIST), SYS(EFBIG), SYS(EHOSTUNREACH),
        SYS(EINPROGRESS), SYS(EINTR), SYS(EINVAL), SYS(EIO), SYS(EISCONN), SYS(EISDIR),
        SYS(ELOOP), SYS(EMFILE), SYS(EMSGSIZE), SYS(ENAMETOOLONG), SYS(ENETUNREACH),
        SYS(ENFILE), SYS(ENOENT), SYS(ENOEXEC), SYS(ENOMEM), SYS(ENOSPC), SYS(ENOTCONN),
        SYS(ENOTDIR), SYS(ENOTSOCK), SYS(EPERM), SYS(EPIPE), SYS(EPROTO), SYS(EROFS),
        SYS(ESPIPE), SYS(ESRCH), SYS(ETIMEDOUT), SYS(ETXTBSY), SYS(EXDEV),
        QIO(AGAIN), QIO(INTR), QIO(INVAL), QIO(BADHANDLE), QIO(WRONGTYPE), QIO(BUSY),
        QIO(CLOSED), QIO(NOMEM), QIO(NOTSUP), QIO(TLS), QIO(PROTOCOL), QIO(TIMEOUT),
        QIO(CANCELLED), QIO(FORKED), QIO(CALLBACK), QIO(TRUNCATED), QIO(EOF), QIO(RESOLVE),
        QIO(LIMIT), QIO(TLS_TRUNCATED),
    };
    size_t n = sizeof numbers / sizeof numbers[0];

    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, numbers[i].value);
        lua_setfield(L, -2, numbers[i].name);
    }
}

const luaL_Reg qiol_functions[] = {
    { "next_events", next_events },
    { "scheduler", qiol_scheduler },
    { "arm", arm },
    { "disarm", disarm },
    { "loop_dispatch", loop_dispatch },
    { "now", now },
    { "bytes", bytes_new },
    { "bytes_sub", bytes_sub },
    { "bytes_put", bytes_put },
    { "try_write", try_write },
    { "try_readinto", try_readinto },
    { "fd_own", fd_own },
    { "fd_number", fd_number },
    { "fd_detach", fd_detach },
    { "fd_close", fd_close },
    { "fdset_take", fdset_take },
#if LUA_VERSION_NUM < 502
    { "yield", yield },
#endif
    { NULL, NULL },
};
