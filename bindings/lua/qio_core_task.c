/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_task.c: the part of the scheduler that every message goes through.
 *
 * Owns: turning the loop, resuming tasks, the read of a plain channel that suspends its task
 * and is finished by the turn that finds the bytes, the write that goes at once.  All the
 * rest is qio/sched.lua's: whatever these functions cannot do they answer with false, and Lua
 * does it the general way.
 * Rules: a task that is parked here has yielded the channel, which stays on its stack, and is
 * in the table of readers, which keeps both alive; box->reader tells who.  It is resumed with
 * a key before the results, so that a stranger's resume is no answer.  Only the coroutine
 * that is running here (ctx->running) is ever parked.  Values for another thread are made on
 * ours and moved there: making them may throw.
 */
#include <limits.h>
#include "qio_core_rt.h"

#define READ_MAX 65536          /* the scratch block's size */
#define STREAK_MAX 128          /* operations before others have a turn */
#define MISSES_SURE 4           /* reads in a row that found nothing: the next will not either */
#define MISSES_PROBE 32         /* so many waits after that it is tried again */
#define LOOKS_MAX 8             /* reads in a row without asking the loop */
#define REST_MAX 1023           /* rounds without such a look after looks in vain */

/* What the closures have in common; see qiol_scheduler(). */
enum { UP_CTX = 1, UP_META, UP_CACHE, UP_READERS, UP_STREAK, UP_AFTER, UP_SCRATCH };
#define UP_COUNT UP_SCRATCH

static const char answer_key;

static qiol_ctx *get_ctx(lua_State *L)
{
    qiol_ctx **p = lua_touserdata(L, lua_upvalueindex(UP_CTX));

    if (!*p) {
        luaL_error(L, "the Lua state is closing");
    }
    return *p;
}

static qiol_ud *channel_box(lua_State *L, int index)
{
    qiol_ud *u = lua_touserdata(L, index);
    bool same;

    if (!u || !lua_getmetatable(L, index)) {
        return NULL;
    }
    same = lua_rawequal(L, -1, lua_upvalueindex(UP_META));
    lua_pop(L, 1);
    return same ? u : NULL;
}

/* Whether the others are to have a turn first; the general way sees to it. */
static bool is_streak(lua_State *L, qiol_ctx *ctx)
{
    if (++ctx->streak <= STREAK_MAX) {
        return false;
    }
    ctx->streak = 0;
    lua_pushinteger(L, INT_MAX - 1);
    lua_rawseti(L, lua_upvalueindex(UP_STREAK), 1);
    return true;
}

/* ---- resuming ---- */

static int resume(lua_State *co, lua_State *from, int nargs, int *count)
{
#if LUA_VERSION_NUM >= 504
    return lua_resume(co, from, nargs, count);
#else
#if LUA_VERSION_NUM >= 502
    int status = lua_resume(co, from, nargs);
#else
    int status = lua_resume(co, nargs);
#endif

    *count = lua_gettop(co);
    return status;
#endif
}

/* after(coroutine, whether it has yielded or returned, what) */
static void call_after(lua_State *L, lua_State *co, bool fine, int count)
{
    luaL_checkstack(L, count + 4, "too many results of a task");
    lua_pushvalue(L, lua_upvalueindex(UP_AFTER));
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    lua_pushboolean(L, fine);
    lua_xmove(co, L, count);
    lua_call(L, count + 2, 0);
}

/* The arguments are on co's stack. */
static void run(lua_State *L, qiol_ctx *ctx, lua_State *co, int nargs)
{
    lua_State *before = ctx->running;
    int count = 0, status;

    ctx->running = co;
    ctx->parked = false;
    ctx->streak = 0;
    status = resume(co, L, nargs, &count);
    ctx->running = before;
    if (!ctx->L) {
        luaL_error(L, "the Lua state is closing");      /* the task has ended qio */
    }
    if (status == LUA_YIELD && ctx->parked) {
        ctx->parked = false;
        return;
    }
    if (status == LUA_YIELD) {
        lua_pop(co, count);
        count = 0;
    } else if (status != 0) {
        count = 1;
    }
    call_after(L, co, status == 0 || status == LUA_YIELD, count);
}

/* resume(coroutine, ...): one that is not parked here. */
static int task_resume(lua_State *L)
{
    qiol_ctx *ctx = get_ctx(L);
    lua_State *co = lua_tothread(L, 1);
    int nargs = lua_gettop(L) - 1;

    luaL_argcheck(L, co, 1, "coroutine expected");
    if (!lua_checkstack(co, nargs + 1)) {
        return luaL_error(L, "too many arguments of a task");
    }
    lua_xmove(L, co, nargs);
    run(L, ctx, co, nargs);
    return 0;
}

/* ---- parking ---- */

static void note_parked(qiol_ctx *ctx, qiol_ud *u)
{
    if (ctx->recent[0] != u) {
        ctx->recent[1] = ctx->recent[0];
        ctx->recent[0] = u;
    }
}

static void note_answered(qiol_ctx *ctx, const qiol_ud *u)
{
    if (ctx->recent[0] == u) {
        ctx->recent[0] = ctx->recent[1];
        ctx->recent[1] = NULL;
    } else if (ctx->recent[1] == u) {
        ctx->recent[1] = NULL;
    }
}

static bool park(lua_State *L, qiol_ctx *ctx, qiol_ud *u, size_t want)
{
    int32_t timeout_ms = -1;

    if (L != ctx->running || ctx->urgent || !ctx->loop || !qiol_is_yieldable(L) ||
        qioh_channel_get_timeout(u->h, &timeout_ms, NULL) != 0 || timeout_ms >= 0 ||
        !qiol_arm(ctx->loop, u, 1, NULL)) {
        return false;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushthread(L);
    lua_rawset(L, lua_upvalueindex(UP_READERS));
    u->reader = L;
    u->want = want;
    note_parked(ctx, u);
    ctx->parked = true;
    return true;
}

/* Pushes the channel that a coroutine is parked at, or nothing: NULL. */
static qiol_ud *parked_at(lua_State *L, lua_State *co)
{
    qiol_ud *u;

    if (!co || lua_status(co) != LUA_YIELD || !lua_checkstack(co, 1)) {
        return NULL;
    }
    if (lua_gettop(co) > 0) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1);
        u = channel_box(L, -1);
        if (u && u->reader == co) {
            return u;
        }
        lua_pop(L, 1);
    }
    /* A stranger's resume has taken the channel off its stack. */
    lua_pushnil(L);
    while (lua_next(L, lua_upvalueindex(UP_READERS))) {
        bool same = lua_tothread(L, -1) == co;

        lua_pop(L, 1);
        if (same) {
            return lua_touserdata(L, -1);
        }
    }
    return NULL;
}

/* Ends the wait with the values on top of L; the channel's own box is at `at`. */
static void answer(lua_State *L, qiol_ctx *ctx, qiol_ud *u, int at, int count)
{
    lua_State *co = u->reader;

    lua_pushvalue(L, at);
    lua_pushnil(L);
    lua_rawset(L, lua_upvalueindex(UP_READERS));
    u->reader = NULL;
    note_answered(ctx, u);
    lua_pop(co, lua_gettop(co) > 0);
    lua_pushlightuserdata(L, (void *)&answer_key);
    lua_insert(L, -count - 1);
    lua_xmove(L, co, count + 1);
    run(L, ctx, co, count + 1);
}

/* parked(coroutine): whether it waits here. */
static int task_parked(lua_State *L)
{
    lua_pushboolean(L, parked_at(L, lua_tothread(L, 1)) != NULL);
    return 1;
}

/* cancel(coroutine): whether it waited here; it reads no more, and is to be given an answer. */
static int task_cancel(lua_State *L)
{
    qiol_ud *u = parked_at(L, lua_tothread(L, 1));

    if (u) {
        u->want = 0;
    }
    lua_pushboolean(L, u != NULL);
    return 1;
}

/* answer(coroutine, ...): ends its wait with these results. */
static int task_answer(lua_State *L)
{
    qiol_ctx *ctx = get_ctx(L);
    int count = lua_gettop(L) - 1;
    qiol_ud *u = parked_at(L, lua_tothread(L, 1));

    luaL_argcheck(L, u && count <= 8, 1, "a coroutine that waits expected");
    lua_insert(L, 2);
    answer(L, ctx, u, 2, count);
    return 0;
}

/* ---- reading ---- */

/* Pushes what there is: how many values, or 0 when it would block. */
static int read_now(lua_State *L, qiol_ud *u, size_t want)
{
    qioh_error error = { .struct_size = sizeof error };
    void *buf = lua_touserdata(L, lua_upvalueindex(UP_SCRATCH));
    qioh_ssize n = qioh_channel_try_read(u->h, buf, want, &error);

    if (n > 0 || (n == 0 && want == 0)) {
        lua_pushlstring(L, buf, (size_t)n);
        return 1;
    }
    if (n == QIOH_E_AGAIN) {
        return 0;
    }
    if (n == 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        lua_pushinteger(L, QIOH_E_EOF);
        return 3;
    }
    return qiol_fail(L, &error);
}

static bool is_sure_to_wait(qiol_ud *u)
{
    if (u->misses < MISSES_SURE) {
        return false;
    }
    if (++u->misses > MISSES_PROBE) {
        u->misses = MISSES_SURE - 1;
        return false;
    }
    return qioh_channel_get_pending(u->h, NULL) == 0;
}

static int general_way(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&answer_key);
    lua_pushboolean(L, 0);
    return 2;
}

/*
 * read(channel, max or nil): a key, then the data; or nil, message, code; or false.  Suspends
 * the task when there is nothing, and the key is wrong when a stranger resumed it.
 */
static int task_read(lua_State *L)
{
    qiol_ctx *ctx = get_ctx(L);
    qiol_ud *u = channel_box(L, 1);
    int type = lua_type(L, 2);
    lua_Number want = type == LUA_TNUMBER ? lua_tonumber(L, 2) : type <= LUA_TNIL ? READ_MAX : 0;
    int count = 0;
    bool sure;

    if (!u || u->layer || !(want >= 1 && want <= READ_MAX) || want != (lua_Number)(int)want ||
        u->taken[0] || u->reader || ctx->in_ops || is_streak(L, ctx)) {
        return general_way(L);
    }
    lua_pushlightuserdata(L, (void *)&answer_key);
    sure = is_sure_to_wait(u);
    if (!sure) {
        count = read_now(L, u, (size_t)want);
    }
    if (count) {
        u->misses = 0;
        return count + 1;
    }
    if (!sure) {
        u->misses += u->misses < MISSES_SURE;
    }
    /* What the general way finds is right whatever was found here. */
    return park(L, ctx, u, (size_t)want) ? lua_yield(L, 1) : general_way(L);
}

/* read_again(channel): for who was resumed by a stranger: waits on. */
static int task_read_again(lua_State *L)
{
    qiol_ctx *ctx = get_ctx(L);
    qiol_ud *u = channel_box(L, 1);

    if (!u || u->reader != L || !qiol_is_yieldable(L)) {
        return general_way(L);
    }
    ctx->parked = L == ctx->running;
    lua_settop(L, 1);
    return lua_yield(L, 1);
}

/* write(channel, data): the channel when all of it is gone; or nil, message, code; or false and
 * how much is. */
static int task_write(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qiol_ctx *ctx = get_ctx(L);
    qiol_ud *u = channel_box(L, 1);
    qioh_ssize n;
    size_t len;
    const char *data;

    if (!u || u->layer || lua_gettop(L) != 2 || lua_type(L, 2) != LUA_TSTRING ||
        u->taken[1] || is_streak(L, ctx)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    data = lua_tolstring(L, 2, &len);
    n = qioh_channel_try_write(u->h, data, len, &error);
    if (n >= 0 && (size_t)n == len) {
        lua_settop(L, 1);
        return 1;
    }
    if (n < 0 && n != QIOH_E_AGAIN) {
        return qiol_fail(L, &error);
    }
    lua_pushboolean(L, 0);
    qiol_pushint(L, n > 0 ? n : 0);
    return 2;
}

/* ---- turning ---- */

/* Pushes the box of a token, or nil. */
static void push_known(lua_State *L, const void *token)
{
    qiol_pushint(L, (int64_t)(uintptr_t)token);
    lua_rawget(L, lua_upvalueindex(UP_CACHE));
}

/* Whether a parked task has the event. */
static bool serve(lua_State *L, qiol_ctx *ctx, const qioh_event *ev)
{
    qiol_ud *u;
    int at, count;

    if (ev->kind != QIOH_EV_WATCH || ev->cookie != 1) {
        return false;
    }
    push_known(L, ev->channel);
    at = lua_gettop(L);
    u = lua_touserdata(L, at);
    if (!u || !u->reader) {
        lua_settop(L, at - 1);
        return false;
    }
    count = u->want ? read_now(L, u, u->want) : 0;
    if (ev->condition >= QIOH_NVAL) {
        qiol_disarm(u, 1);
    }
    if (count == 1 && !u->want) {
        /* A method of the channel has cancelled the task meanwhile. */
        size_t len;
        const char *data = lua_tolstring(L, -1, &len);

        qioh_channel_unread(u->h, data, len, NULL);
    } else if (count && u->want) {
        answer(L, ctx, u, at, count);
    }
    lua_settop(L, at - 1);
    return true;
}

/*
 * A task often wakes another of this state: the one that was parked before it.  Reading that one's
 * socket costs half of asking the loop first.  Looks in vain make it rest ever longer.
 */
static bool look(lua_State *L, qiol_ctx *ctx)
{
    qiol_ud *u = ctx->recent[1];
    int at, count;

    if (ctx->rest > 0) {
        ctx->rest--;
        return false;
    }
    if (!u || !u->socket || !u->want || ctx->event < ctx->events_end) {
        return false;
    }
    push_known(L, u->h);
    at = lua_gettop(L);
    count = lua_touserdata(L, at) == u ? read_now(L, u, u->want) : 0;
    ctx->next_rest = count ? 0 : ctx->next_rest * 2 + 1;
    ctx->rest = ctx->next_rest = ctx->next_rest < REST_MAX ? ctx->next_rest : REST_MAX;
    if (count) {
        answer(L, ctx, u, at, count);
    }
    lua_settop(L, at - 1);
    return count > 0;
}

static int fetch(lua_State *L, qiol_ctx *ctx, int32_t timeout_ms, qioh_error *error)
{
    int n;

    if (ctx->event < ctx->events_end) {
        return 0;
    }
    qiol_cb_drain(L);
    ctx->event = ctx->events_end = 0;
    ctx->events[0].struct_size = sizeof ctx->events[0];
    n = qioh_loop_next_events(ctx->loop, ctx->events, QIOL_EVENTS, timeout_ms, error);
    ctx->events_end = n > 0 ? n : 0;
    return n;
}

/*
 * turn(loop, t, timeout_ms, rounds): waits for events, gives parked tasks theirs, and fills t
 * with the rest, four values each.  Returns how many are in t and how many were served.  It goes
 * up to so many rounds while each serves somebody, and Lua has nothing to do: no event is told,
 * and streak[2], which says so, is nil; a hook ends it, too, which is how Ctrl-C comes.  What an
 * error kept it from doing is done next time.
 */
static int task_turn(lua_State *L)
{
    qioh_error error = { .struct_size = sizeof error };
    qiol_ctx *ctx = get_ctx(L);
    int64_t timeout_ms = qiol_toint(L, 3), rounds = qiol_toint(L, 4);
    int told = 0, served = 0, looks = 0;
    bool idle;

    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_argcheck(L, timeout_ms >= -1 && timeout_ms <= INT32_MAX, 3, "milliseconds or -1 expected");
    ctx->loop = qiol_check(L, 1, QIOL_LOOP);
    do {
        int n = 0, before = served;

        if (rounds > 1 && looks < LOOKS_MAX && look(L, ctx)) {
            looks++;
            served++;
        } else {
            looks = 0;
            n = fetch(L, ctx, (int32_t)timeout_ms, &error);
        }
        if (n < 0) {
            return n == QIOH_E_AGAIN ? qiol_again(L) : qiol_fail(L, &error);
        }
        while (ctx->event < ctx->events_end) {
            const qioh_event ev = ctx->events[ctx->event++];

            if (serve(L, ctx, &ev)) {
                served++;
            } else {
                qiol_tell(L, 2, told++, &ev);
            }
        }
        lua_rawgeti(L, lua_upvalueindex(UP_STREAK), 2);
        idle = lua_isnil(L, -1) && served > before;
        lua_settop(L, 4);
    } while (--rounds > 0 && idle && !told && !lua_gethook(L));
    lua_pushinteger(L, told);
    lua_pushinteger(L, served);
    return 2;
}

/* take(object, direction, flag): whether somebody waits for it in the general way. */
static int task_take(lua_State *L)
{
    qiol_ud *u = channel_box(L, 1);

    if (u) {
        u->taken[lua_tointeger(L, 2) == 2] = lua_toboolean(L, 3);
    }
    return 0;
}

/* urgent(n): while n > 0 nobody is parked: a cancel waits for the next wait. */
static int task_urgent(lua_State *L)
{
    get_ctx(L)->urgent = (int)lua_tointeger(L, 1);
    return 0;
}

/*
 * scheduler(readers, streak, after): a table of the functions above.  readers: object -> who
 * waits; streak: see is_streak() and task_turn(); after: what
 * is told of a coroutine that did something other than to wait here.
 */
int qiol_scheduler(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "turn", task_turn }, { "resume", task_resume }, { "parked", task_parked },
        { "answer", task_answer }, { "cancel", task_cancel }, { "read", task_read },
        { "read_again", task_read_again },
        { "write", task_write }, { "urgent", task_urgent }, { "take", task_take },
        { NULL, NULL },
    };

    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 3);
    lua_newtable(L);
    lua_newuserdata(L, READ_MAX);
    for (const luaL_Reg *reg = functions; reg->name; reg++) {
        qiol_push_state(L);             /* context, metatable of channels, cache */
        for (int i = 1; i <= 3; i++) {
            lua_pushvalue(L, i);
        }
        lua_pushvalue(L, 5);
        lua_pushcclosure(L, reg->func, UP_COUNT);
        lua_setfield(L, 4, reg->name);
    }
    lua_pushlightuserdata(L, (void *)&answer_key);
    lua_setfield(L, 4, "key");
    lua_settop(L, 4);
    return 1;
}
