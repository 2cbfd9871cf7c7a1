-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio: I/O channels for Lua.
--
-- Owns: the table that require "qio" returns: opening channels and listeners, the loop object,
-- what is left of the scheduler's face.  Sets no global.
-- Rules: as in qio.channel: misuse raises, everything else is value or nil, message, code.
-- docs/lua.md is the guide.

-- A module for another Lua fails at the first symbol that this one lacks, or names the versions.
local fine, core = pcall(require, "qio.core")
if not fine then
  if core:find("undefined symbol: lua", 1, true) then
    core = ("qio.core was built for another Lua than this, %s: %s"):format(_VERSION, core)
  end
  error(core, 0)
end
local sched = require "qio.sched"
local check = require "qio.check"
local make_options = require "qio.options"
local relay = require "qio.relay"
local nursery = require "qio.nursery"
require "qio.task"
require "qio.channel"
require "qio.listener"
local layer = require "qio.layer"

local describe, typename = check.describe, core.typename
local INTR = core.errno.INTR

local qio = {
  _NAME = "qio",
  _VERSION = "qio " .. core.version_string(),
  errno = core.errno,
  IN = core.IN, OUT = core.OUT, ERR = core.ERR, HUP = core.HUP, NVAL = core.NVAL,
}

-- Again after a signal: the interpreter's own handler runs in between.
local function retry(fn, ...)
  local object, msg, code
  repeat
    object, msg, code = fn(...)
  until object or code ~= INTR
  if object then return object end
  return nil, msg, code
end

-- ---- opening ----

--- Opens a channel by a URI, within 30 s unless the option timeout says otherwise.  tls in the
-- options: credentials; a URI that has no TLS gets it.
function qio.connect(uri, options)
  check.text(uri, 1, "connect")
  uri = layer.with_tls(uri, options)
  local keys = make_options(options, 2, "connect")
  if sched.alone() then return retry(core.channel_open_uri, uri, keys) end
  local operation, msg, code = sched.operate("connecting", function(loop, cookie)
    return core.task_start_open_uri(uri, keys, loop, cookie)
  end)
  if not operation then return nil, msg, code end
  return core.task_take_channel(operation)
end

--- Listens at a URI; tls as for connect.  on_request in the options: fn(channel) is asked about
-- each client of a ws listener, see channel:websocket.
function qio.listen(uri, options)
  check.text(uri, 1, "listen")
  uri = layer.with_tls(uri, options)
  local keys, on_request = layer.take_on_request(options, "listen")
  keys = make_options(keys, 2, "listen")
  local listener, msg, code
  if sched.can_suspend() then
    listener, msg, code = sched.operate("listening", function(loop, cookie)
      return core.task_start_listen_uri(uri, keys, loop, cookie)
    end)
    if listener then listener, msg, code = core.task_take_listener(listener) end
  else
    listener, msg, code = retry(core.listener_open_uri, uri, keys)
  end
  if not listener then return nil, msg, code end
  layer.answer_with(listener, on_request)
  return listener
end

--- Credentials for TLS: creds.x509{...}, creds.psk{...}, creds.anon{...}.
qio.creds = layer.creds

--- Two connected channels.
function qio.pair()
  return core.channel_new_pair()
end

--- A channel around a descriptor (a number or a qio.fd), which it owns from now on; on failure
-- it stays the caller's.
function qio.fromfd(fd)
  if typename(fd) == "qio.fd" then return fd:open() end
  return core.channel_new_fd(check.count(fd, 1, "fromfd", 0, 2147483647))
end

local MODES = { r = "r", w = "w", rw = "rw", a = "a" }

--- Opens a file; permissions are those of a new one.
function qio.file(path, mode, permissions)
  check.text(path, 1, "file")
  mode = check.choice(mode == nil and "r" or mode, 2, "file", MODES, '"r", "w", "rw" or "a"')
  return core.channel_new_file(path, mode, check.count(permissions, 3, "file", 0, 4095, 438))
end

--- Starts a program (looked for in PATH): writing is its standard input, reading its output.
-- options: env, cwd, stderr, close_timeout, pty, rows, columns ...
function qio.command(argv, options)
  check.is(argv, "table", 1, "command")
  if #argv == 0 then check.bad(1, "command", "at least the name of a program", "none") end
  for i, word in ipairs(argv) do
    if type(word) ~= "string" or word:find("\0", 1, true) then
      check.bad(1, "command", "strings without zero bytes", describe(word) .. " at [" .. i .. "]")
    end
  end
  return core.channel_new_command(argv, make_options(options, 2, "command"))
end

--- A channel over memory.
function qio.buffer(data)
  return core.channel_new_buffer(check.is(data == nil and "" or data, "string", 1, "buffer"))
end

--- A class of channels written in Lua, see qio.newclass.
qio.newclass = require "qio.newclass"

--- Takes everything, gives the end.
function qio.null()
  return core.channel_new_null()
end

--- A block of memory for readinto: #b, b:sub(i, j), b:put(s, offset), tostring(b).
function qio.bytes(size)
  return core.bytes(check.count(size, 1, "bytes", 0, 1073741824))
end

-- ---- tasks ----

local function seconds(value, index, method)
  if type(value) ~= "number" or value ~= value or value < 0 then
    check.bad(index, method, "seconds of 0 or more", describe(value), 3)
  end
  return math.min(value, 1e9)                   -- 31 years
end

local function fn_or_nil(value, index, method)
  if value ~= nil and type(value) ~= "function" then
    check.bad(index, method, "function or nil", describe(value), 3)
  end
  return value
end

--- Starts fn(...) as a task; it first runs at the next turn of the loop.
function qio.spawn(fn, ...)
  check.is(fn, "function", 1, "spawn")
  return sched.spawn(fn, ...)
end

--- Tasks that end together: qio.nursery(function(n) n:spawn(fn, ...) end) returns when all have
-- ended, with the first error of one; local n <close> = qio.nursery() on Lua 5.4.
qio.nursery = nursery

--- Runs until every task has ended, or until quit.
qio.run = sched.run

--- One turn of the loop, waiting up to so many seconds (0); whether anything happened.
function qio.step(timeout)
  return sched.step(seconds(timeout == nil and 0 or timeout, 1, "step"))
end

function qio.sleep(duration)
  return sched.sleep(seconds(duration, 1, "sleep"))
end

--- Sets what gets errors of tasks and callbacks; returns the one before.  nil: a line on
-- standard error.
function qio.onerror(fn)
  return sched.onerror(fn_or_nil(fn, 1, "onerror"))
end

--- Copies from channel a to b and from b to a until both have ended: the bytes that went each way;
-- or nil, message, code and the bytes.  options: filter(direction, data) with direction 0 from a to
-- b and 1 from b to a, and "" once at the end: what to send instead, nil for unchanged;
-- idle_timeout, buffer, limit.
qio.relay = relay.relay

-- ---- other loops around ours ----

--- The descriptor that is readable while there is something for step to do.
qio.pollfd = sched.pollfd

--- fn(fd, seconds or nil) is called instead of waiting: it returns when the descriptor is
-- readable or the time is over.
function qio.setwaiter(fn)
  return sched.setwaiter(fn_or_nil(fn, 1, "setwaiter"))
end

--- An object as cqueues (pollfd, events, timeout) and LuaSocket's select (getfd, dirty) want it.
function qio.pollable()
  return {
    pollfd = function() return sched.pollfd() end,
    events = function() return "r" end,
    timeout = function() return nil end,
    getfd = function() return sched.pollfd() end,
    dirty = function() return false end,
  }
end

-- ---- the loop object ----

local Loop = core.methods "qio.loop"
local Watch = core.methods "qio.watch"

local CONDITIONS = {
  ["in"] = core.IN, out = core.OUT, inout = core.IN + core.OUT,
  [core.IN] = core.IN, [core.OUT] = core.OUT, [core.IN + core.OUT] = core.IN + core.OUT,
}

--- The loop of this Lua state, the one that tasks run on.
function qio.loop()
  return sched.loop()
end

--- Calls fn(object, condition) while the condition ("in", "out", "inout" or qio.IN + qio.OUT)
-- holds on a channel, or fn(listener) while a connection waits; until fn returns false, the watch
-- is removed or the object closed (then once with qio.NVAL).  The object is kept alive.
function Loop:watch(object, condition, fn)
  check.self(self, "qio.loop", "watch")
  local kind = typename(object)
  if kind == "qio.listener" and type(condition) == "function" then
    condition, fn = "in", condition
  end
  if kind ~= "qio.channel" and kind ~= "qio.listener" then
    check.bad(1, "watch", "qio.channel or qio.listener", describe(object))
  end
  condition = check.choice(condition, 2, "watch", CONDITIONS, '"in", "out" or "inout"')
  check.is(fn, "function", 3, "watch")
  if kind == "qio.listener" then
    return core.watch_new_listener(self, object, function() return fn(object) end)
  end
  return core.watch_new(self, object, condition, function(_, cond) return fn(object, cond) end)
end

--- Calls fn() after so many seconds, then every so many if that is given, until it returns false.
function Loop:add_timer(after, fn, every)
  check.self(self, "qio.loop", "add_timer")
  after = seconds(after, 1, "add_timer")
  check.is(fn, "function", 2, "add_timer")
  every = every == nil and 0 or seconds(every, 3, "add_timer")
  return core.watch_new_timer(self, math.ceil(after * 1000), math.ceil(every * 1000), fn)
end

--- Calls fn() once, at the next turn.
function Loop:defer(fn)
  check.self(self, "qio.loop", "defer")
  check.is(fn, "function", 1, "defer")
  local ok, msg, code = core.loop_defer(self, fn)
  if not ok then return nil, msg, code end
  return true
end

--- A relay as a task: join() gives what qio.relay gives.
function Loop:relay(a, b, options)
  check.self(self, "qio.loop", "relay")
  return relay.start(a, b, options)
end

--- Turns until quit.
function Loop:run()
  check.self(self, "qio.loop", "run")
  return sched.run_loop()
end

function Loop:step(timeout)
  check.self(self, "qio.loop", "step")
  return sched.step(seconds(timeout == nil and 0 or timeout, 1, "step"))
end

--- Makes run (and qio.run) return.
function Loop:quit()
  check.self(self, "qio.loop", "quit")
  return sched.quit()
end

function Loop:fd()
  check.self(self, "qio.loop", "fd")
  return sched.pollfd()
end

function Watch:remove()
  check.self(self, "qio.watch", "remove")
  local ok, msg, code = core.watch_remove(self)
  if not ok then return nil, msg, code end
  return true
end

return qio
