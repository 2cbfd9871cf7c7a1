/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/qio-lua.h: libqio in the Lua states of a C program: the module qio without files, a loop
 * that may be the program's, and channels handed to and fro.
 *
 * It is made for one Lua: link libqio-lua5.1.a, -lua5.3.a, -lua5.4.a or libqio-luajit.a
 * (pkg-config qio-lua5.4 and so on) and the Lua of that name.
 * Rules: a Lua state belongs to one thread at a time, the one that opened qio in it until
 * qio_lua_set_owner(); every function here is called on that thread.  Those that return a status
 * raise nothing: 0 or more is good, -1 leaves an error value on the Lua stack, as lua_pcall()
 * does.  The others raise as Lua's own do, so call them from a C function of Lua.
 */
#ifndef QIO_LUA_H
#define QIO_LUA_H

#include <qio/channel.h>
#include <qio/qioh.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <lua.h>

/** QIO_LUA_HOSTED: for qio_lua_init(): the program runs the loop, and nothing in the script may
 * hold it up.  A wait outside of a task raises, as do qio.run, qio.step and loop:run. */
#define QIO_LUA_HOSTED 1u

/** luaopen_qio: opens the module: a lua_CFunction for luaL_requiref(), package.preload or a plain
 * call.  It gives the table that require "qio" gives, and puts the parts (qio.core, qio.sched ...)
 * into package.preload, so that no file is looked for.  Needs the libraries base, package, table,
 * string, math, coroutine and debug, and io for the errors of tasks. */
int luaopen_qio(lua_State *L);

/** qio_lua_init: opens qio in a state (it is required, not set as a global).
 * @loop: what the tasks of the state run on, which stays the caller's: whoever dispatches it
 *   (qioh_loop_dispatch(), qioh_loop_run(), a GMainContext it is attached to) runs the tasks, on
 *   the state's thread; several states may share one.  NULL: a loop of its own, for
 *   qio_lua_get_fd() and qio_lua_dispatch().  It has to outlive the state or qio_lua_close().
 * @flags: 0 or QIO_LUA_HOSTED.
 * Returns: 0, or -1 with an error value pushed */
int qio_lua_init(lua_State *L, qioh_loop *loop, unsigned int flags);

/** qio_lua_get_fd: the descriptor that is readable while qio_lua_dispatch() has something to do; it
 * stays the loop's.
 * Returns: it, or -1 with an error value pushed (no descriptor left) */
int qio_lua_get_fd(lua_State *L);

/** qio_lua_dispatch: one turn of the state's loop (the program's, if it gave one): waits up to
 * @timeout_ms (0: not at all, -1: for ever) for something to do, then does it: events, callbacks,
 * those that came due on other threads, tasks that are ready.  Errors of those go to qio.onerror.
 * Returns: 1 when anything was done, 0 when nothing was, or -1 with an error value pushed */
int qio_lua_dispatch(lua_State *L, int timeout_ms);

/** qio_lua_push: pushes a channel, with a reference of its own; the same one is the same value.
 * Raises when memory or the state's time is over.
 * Returns: 1, the number of values, for the end of a C function */
int qio_lua_push(lua_State *L, QIOChannel *channel);

/** qio_lua_check: the channel at an index; anything else raises.
 * Returns: it, borrowed: alive as long as the value is */
QIOChannel *qio_lua_check(lua_State *L, int index);

/** qio_lua_test: the channel at an index, borrowed, or NULL when there is none; raises nothing. */
QIOChannel *qio_lua_test(lua_State *L, int index);

/** qio_lua_detach: takes the channel at an index out of the script's hands, open: its value there
 * is one of a channel that is gone.  Raises as qio_lua_check(), and while a task waits for it.
 * Returns: the channel; the caller gives its reference up with qio_object_unref() */
QIOChannel *qio_lua_detach(lua_State *L, int index);

/** qio_lua_set_owner: the calling thread is the state's from now on.  Nothing may run in the state
 * meanwhile, and a loop of its own may not be waited on. */
void qio_lua_set_owner(lua_State *L);

/** qio_lua_close: ends qio in the state as lua_close() does, earlier: for a program whose loop or
 * channels do not outlive the state.  Every handle of the script is given up, no callback comes
 * any more, tasks stay where they are; a call of the script raises, and so does the turn of the
 * loop if this comes from inside of a task or callback.  A second time does nothing. */
void qio_lua_close(lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
