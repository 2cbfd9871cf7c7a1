/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core_rt.h: what the generated wrapper and the files of qio.core share.
 *
 * Owns: the context of a Lua state, the box every handle comes in, and the small helpers that
 * the typemaps of qio_lua.swg call.
 * Rules: a Lua state belongs to the thread that opened qio in it; callbacks run on a Lua thread
 * of our own, never on the one that registered them, which may be a dead coroutine.  Anything
 * that can throw (running out of memory included) runs before a handle is in hand.
 */
#ifndef QIO_CORE_RT_H
#define QIO_CORE_RT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <lua.h>
#include <lauxlib.h>
#include <qio/qioh.h>

typedef enum qiol_kind {
    QIOL_CHANNEL,
    QIOL_LISTENER,
    QIOL_LOOP,
    QIOL_WATCH,
    QIOL_FDSET,
    QIOL_OPTIONS,
    QIOL_OPERATION,     /* a task of the ABI; qio.sched's tasks are coroutines */
    QIOL_CREDS,
    QIOL_FD,            /* a descriptor that its box owns; h is the number + 1 */
    QIOL_BYTES,         /* a block of memory behind the box; h is unused */
    QIOL_NKIND,
} qiol_kind;

/* A userdata with one owned handle; h is NULL when it was released. */
typedef struct qiol_ud {
    void *h;
    int kind;
    bool layer;                 /* a channel that may hold back what it accepted */
    bool socket;                /* a socket without a layer */
    bool taken[2];              /* a task waits in the general way: read, write */
    uint8_t misses;             /* reads in a row that found nothing at once */
    struct qiol_ud *next;
    struct qiol_ud **link;      /* what points here; NULL = off the context's list */
    qioh_watch *standing[2];    /* channel, listener: the scheduler's watches, read and write */
    lua_State *reader;          /* the task parked in a read (qio_core_task.c), of `want` bytes */
    size_t want;
} qiol_ud;

typedef struct qiol_cb qiol_cb;

#define QIOL_ERRORS 16          /* error values of methods that are remembered */

#define QIOL_EVENTS 64

#define QIOL_DEPTH_MAX 100      /* methods inside of methods: LuaJIT would use up the C stack */

/*
 * One for each Lua state.  It outlives the state while callbacks are registered.
 * mu guards L against other threads, and the queue of callbacks that came due on them.
 */
typedef struct qiol_ctx {
    atomic_int refs;
    lua_State *L;               /* our own Lua thread; NULL = the state is closed */
    _Atomic pthread_t owner;
    pthread_mutex_t mu;
    qiol_cb *queue;
    qiol_cb **queue_tail;
    qiol_ud *boxes;
    void *scratch;              /* a block of the state's for one call at a time */
    /* the scheduler's (qio_core_task.c) */
    lua_State *running;         /* the task's coroutine that runs; NULL = none */
    bool parked;                /* it has just been parked in a read */
    int streak;                 /* operations since it was resumed */
    int urgent;                 /* cancels that wait for the next wait of a task */
    qioh_loop *loop;            /* borrowed; may be stale */
    qiol_ud *recent[2];         /* parked last, and before that; NULL = none or answered */
    int rest, next_rest;        /* rounds until the next look without the loop; then the next */
    int event, events_end;      /* what is left of the batch */
    qioh_event events[QIOL_EVENTS];
    qioh_loop *host_loop;       /* borrowed: of the program around it, if it gave one */
    qioh_watch *host_watch;     /* there */
    int in_ops;                 /* methods of channels that are being called */
    int64_t errors[QIOL_ERRORS];        /* the numbers of the errors that are remembered */
} qiol_ctx;

/* ---- qio_core_box.c: context and boxes ---- */

qiol_ctx *qiol_ctx_find(lua_State *L);          /* NULL when there is none */
bool qiol_is_open(lua_State *L);                /* whether qio.core, this one, was opened */
qiol_ctx *qiol_ctx_get(lua_State *L);           /* throws when the state is closing */
void qiol_ctx_close(lua_State *L);              /* as the end of the state does */
qiol_ctx *qiol_ctx_ref(qiol_ctx *ctx);
void qiol_ctx_unref(qiol_ctx *ctx);

qiol_ud *qiol_box(lua_State *L, int index, int kind);       /* NULL: something else */
qiol_ud *qiol_check_box(lua_State *L, int index, int kind); /* throws instead */
void *qiol_check(lua_State *L, int index, int kind);        /* its handle */
void *qiol_opt(lua_State *L, int index, int kind);          /* nil or none is NULL */
qiol_ud *qiol_new(lua_State *L, int kind);                  /* an empty box, pushed */
qiol_ud *qiol_new_sized(lua_State *L, int kind, size_t extra);
/* Puts h into the box at the absolute index and pushes it: the result of a constructor. */
int qiol_box_result(lua_State *L, qiol_ud *u, void *h, int index);
/* Whether a layer has accepted what it could not send yet; what could be sent is. */
bool qiol_holds_back(const qiol_ud *u);
/* The box of a channel that is somebody's already, or `fresh` at the absolute index `at`; pushed.
 * owned: the reference of `channel` goes into it. */
int qiol_push_channel(lua_State *L, qiol_ud *fresh, int at, qioh_channel *channel, bool owned);
/* Gives up what the box holds; it may be finalised or closed again later. */
void qiol_empty(qiol_ud *u);
/* Pushes the one box of a live channel or listener token, or nil. */
void qiol_push_known(lua_State *L, const void *token);

void qiol_open_state(lua_State *L);             /* once for each state */
/* Pushes what closures of the scheduler hold: a pointer to the context, NULL once the state
 * closes; the metatable of channels; the table from token to box. */
void qiol_push_state(lua_State *L);
const char *qiol_typename(lua_State *L, int index);     /* in the words of our errors */
int qiol_get_methods(lua_State *L);
int qiol_is_channel(lua_State *L);
int qiol_get_typename(lua_State *L);
int qiol_get_token(lua_State *L);

/* ---- qio_core_rt.c: arguments and results ---- */

int qiol_fail(lua_State *L, const qioh_error *error);   /* nil, message, code [, bytes] */
int qiol_again(lua_State *L);
int64_t qiol_toint(lua_State *L, int index);
void qiol_pushint(lua_State *L, int64_t value);
const char *qiol_tostr(lua_State *L, int index);        /* nil is NULL; no zeros inside */
void *qiol_room(lua_State *L, int64_t size);            /* memory for one call to fill */
#define QIOL_ROOM_MAX (1 << 30)

/* Arrays made of a string or a table of strings; the memory is Lua's and stays on the stack. */
qioh_iovec *qiol_strings(lua_State *L, int index, size_t *count);
const char *const *qiol_argv(lua_State *L, int index);

/* ---- qio_core_cb.c: callbacks ---- */

qiol_cb *qiol_cb_new(lua_State *L, int index, qioh_loop *loop);
void qiol_cb_release(void *user_data);
int32_t qiol_watch_fn(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                      void *user_data, qioh_error *error);
int32_t qiol_listener_fn(qioh_watch *watch, qioh_listener *listener, void *user_data,
                         qioh_error *error);
int32_t qiol_fd_fn(qioh_watch *watch, int32_t fd, uint32_t condition, void *user_data,
                   qioh_error *error);
int32_t qiol_timer_fn(qioh_watch *watch, void *user_data, qioh_error *error);
int32_t qiol_defer_fn(qioh_loop *loop, void *user_data, qioh_error *error);
/* For a function that has to answer at once: pushes it; the Lua thread to call it on, NULL when
 * this is not the owner's thread or the state is closed. */
void qiol_cb_push_function(lua_State *L, const qiol_cb *cb);
lua_State *qiol_cb_enter(const qiol_cb *cb);
int32_t qiol_filter_fn(qioh_task *task, uint32_t direction, const void *buf, size_t len,
                       void *user_data, qioh_error *error);
/* Runs what came due on other threads.  Owner thread. */
void qiol_cb_drain(lua_State *L);
/* The state closes: nothing may call into it any more. */
void qiol_cb_close(qiol_ctx *ctx);
int qiol_set_onerror(lua_State *L);

/* A block that holds a table, for qio_core_custom.c; object and read: where in it is what is read
 * from, and its method. */
qiol_cb *qiol_cb_new_table(lua_State *L, int index, int object, int read, bool has_close);
void qiol_cb_push_read(lua_State *L, const qiol_cb *cb);    /* the method and the object */
qiol_ctx *qiol_cb_ctx(const qiol_cb *cb);
bool qiol_cb_has_close(const qiol_cb *cb);
void qiol_cb_let_go(qiol_cb *cb);               /* of the table, on the owner's thread */

/* ---- qio_core_custom.c: channels written in Lua ---- */

extern const luaL_Reg qiol_custom_functions[];
void qiol_custom_open(lua_State *L);
/* Pushes the value that a method raised, if this error is one of the last. */
bool qiol_push_error_value(lua_State *L, const qioh_error *error);

/* ---- qio_core_layer.c: TLS and WebSocket ---- */

extern const luaL_Reg qiol_layer_functions[];
int32_t qiol_authorize_fn(qioh_channel *channel, const char *identity, void *user_data,
                          qioh_error *error);
int32_t qiol_psk_fn(qioh_creds *creds, const char *user, void *key, size_t cap, void *user_data,
                    qioh_error *error);

/* ---- qio_core_io.c: functions written by hand ---- */

extern const luaL_Reg qiol_functions[];
void qiol_push_errno(lua_State *L);

/* Puts kind, cookie, condition and object (false for one that is gone or that Lua does not know)
 * of the event with this index (from 0) into the table. */
void qiol_tell(lua_State *L, int table, int index, const qioh_event *ev);
/* The scheduler's standing watch of a channel or listener; direction: 1 read, 2 write. */
bool qiol_arm(qioh_loop *loop, qiol_ud *u, int direction, qioh_error *error);
void qiol_disarm(qiol_ud *u, int direction);

/* ---- qio_core_task.c ---- */

int qiol_scheduler(lua_State *L);

/*
 * Runs body with user_data as its one argument in protected mode, from outside of Lua, where
 * nothing may throw: in 5.1 pushing a function takes memory.  0, or an error with its value pushed.
 */
int qiol_protect(lua_State *L, lua_CFunction body, void *user_data);

/* ---- 5.1 ---- */

/* Lua 5.1 and 5.2 cannot tell; LuaJIT, which says 5.1, can. */
#if LUA_VERSION_NUM >= 503 || defined(LUA_LJDIR)
#define qiol_is_yieldable(L) lua_isyieldable(L)
#else
#define qiol_is_yieldable(L) false
#endif

#if LUA_VERSION_NUM < 502 && !defined(lua_rawlen)
#define lua_rawlen(L, i) lua_objlen(L, (i))
#endif
/* The key is an address, not what is there. */
void qiol_rawgetp(lua_State *L, const void *key);       /* from the registry */
void qiol_rawsetp(lua_State *L, const void *key);

#endif
