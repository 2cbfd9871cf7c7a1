-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- talk: the conversation of ../README.md from LuaJIT.
--
--   luajit talk.lua URI FILE [KEYS USER]
--
-- The header of the flat ABI goes to ffi.cdef as it is.  Handles get a finalizer, so that an
-- error gives them up as well; whoever gives one up by hand takes the finalizer off first.

local ffi = require "ffi"

local here = arg[0]:match("^(.*/)") or "./"
ffi.cdef(assert(io.open(here .. "../../../core/abi/qioh-abi.h")):read("*a"))
ffi.cdef "int open(const char *path, int flags, ...); int close(int fd);"
local qio = ffi.load("libqio.so.0")

local PATIENCE_MS, COOKIE, O_CLOEXEC = 20000, 7, 0x80000

local err = ffi.new("qioh_error")

local function status_name(code) return ffi.string(qio.qioh_status_name(code)) end

-- Passes a result on, or raises what the error of the call says.  AGAIN is a result here.
local function check(result)
  local failed = result == nil
  if not failed and (type(result) == "number" or ffi.istype("int64_t", result)) then
    result = tonumber(result)
    failed = result < 0 and result ~= qio.QIOH_E_AGAIN
  end
  if failed then error(status_name(err.code) .. ": " .. ffi.string(err.message), 0) end
  return result
end

local function owned(handle, unref) return ffi.gc(check(handle), unref) end

local function give_up(handle, unref)
  ffi.gc(handle, nil)
  unref(handle)
end

-- ---- a channel with a loop whose queue says when there is something to read ----

local Connection = {}
Connection.__index = Connection

local function connect(uri, keys, user)
  local options = owned(qio.qioh_options_new(err), qio.qioh_options_unref)
  if keys then
    check(qio.qioh_options_set_str(options, "tls-psk-file", keys, err))
    check(qio.qioh_options_set_str(options, "tls-psk-user", user, err))
  end
  local self = setmetatable({ input = "" }, Connection)
  self.channel = owned(qio.qioh_channel_open_uri(uri, options, err), qio.qioh_channel_unref)
  give_up(options, qio.qioh_options_unref)
  self.loop = owned(qio.qioh_loop_new(err), qio.qioh_loop_unref)
  self.watch = owned(qio.qioh_watch_new_queued(self.loop, self.channel, qio.QIOH_IN, COOKIE, err),
                     qio.qioh_watch_unref)
  self.events = ffi.new("qioh_event[8]")
  self.events[0].struct_size = ffi.sizeof("qioh_event")
  return self
end

-- Fetches events until one of the kind has come; nothing calls back.
function Connection:wait_event(kind)
  while true do
    local count = check(qio.qioh_loop_next_events(self.loop, self.events, 8, PATIENCE_MS, err))
    if count == 0 then error("the server says nothing", 0) end
    for i = 0, count - 1 do
      if self.events[i].kind == kind and self.events[i].cookie == COOKIE then return end
    end
  end
end

local chunk = ffi.new("char[4096]")

function Connection:read_line()
  while not self.input:find("\n", 1, true) do
    local n = check(qio.qioh_channel_try_read(self.channel, chunk, ffi.sizeof(chunk), err))
    if n == qio.QIOH_E_AGAIN then
      self:wait_event(qio.QIOH_EV_WATCH)
    elseif n == 0 then
      error("the server closed the connection", 0)
    else
      self.input = self.input .. ffi.string(chunk, n)
    end
  end
  local line, rest = self.input:match("^(.-)\n(.*)$")
  self.input = rest
  return line
end

function Connection:send(text)
  check(qio.qioh_channel_write_all(self.channel, text, #text, err))
end

-- The descriptor goes along with the first byte; the set has a copy of it.
function Connection:send_fd(text, fd)
  local fds = owned(qio.qioh_fdset_new(err), qio.qioh_fdset_unref)
  check(qio.qioh_fdset_add(fds, fd, err))
  local data = ffi.new("char[?]", #text, text)
  local iov = ffi.new("qioh_iovec", data, #text)
  check(qio.qioh_channel_writev(self.channel, iov, 1, 0, fds, err))
  give_up(fds, qio.qioh_fdset_unref)
end

-- A watch that goes says so once: then whatever its cookie stood for may go.
function Connection:close()
  check(qio.qioh_watch_remove(self.watch, err))
  self:wait_event(qio.QIOH_EV_RELEASED)
  check(qio.qioh_channel_close(self.channel, err))
  give_up(self.watch, qio.qioh_watch_unref)
  give_up(self.channel, qio.qioh_channel_unref)
  give_up(self.loop, qio.qioh_loop_unref)
end

-- ---- a channel of our own, which turns the letters of what passes through it ----

local released = 0

local function rot13(text)
  return (text:gsub("%a", function(letter)
    local first = letter:lower() == letter and 97 or 65
    return string.char((letter:byte() - first + 13) % 26 + first)
  end))
end

-- No error leaves a callback: it becomes the error of the call that needed it.
local function guarded(op, error_of)
  return function(...)
    local ok, result = pcall(op, ...)
    if ok then return result end
    ffi.copy((select(error_of, ...)).message, tostring(result):sub(1, 479))
    return qio.QIOH_E_CALLBACK
  end
end

-- The callbacks live for as long as the program: a program with many channels would tell them
-- apart by user_data and make each function once.
local function rot13_ops(channel)
  local ops = ffi.new("qioh_channel_ops")
  ops.struct_size = ffi.sizeof(ops)
  ops.readv = guarded(function(_, iov, _, _, _, e)
    local n = qio.qioh_channel_try_read(channel, iov[0].base, iov[0].len, e)
    if n > 0 then ffi.copy(iov[0].base, rot13(ffi.string(iov[0].base, n)), n) end
    return n                                    -- also AGAIN, or a failure that is in e
  end, 6)
  ops.writev = guarded(function(_, iov, _, _, _, e)
    local text = ffi.string(iov[0].base, iov[0].len)
    if text:find("[\128-\255]") then error("only ASCII is turned", 0) end
    return qio.qioh_channel_try_write(channel, rot13(text), #text, e)
  end, 6)
  ops.get_poll = guarded(function(_, condition, fd, events, e)
    return qio.qioh_channel_get_poll(channel, condition, fd, events, e)
  end, 5)
  ops.release = function() released = released + 1 end
  return ops
end

local function talk_in_rot13(channel)
  local turning = owned(qio.qioh_channel_new_custom(nil, rot13_ops(channel), nil, err),
                        qio.qioh_channel_unref)
  local secret = "a secret of luajit\n"
  check(qio.qioh_channel_write_all(turning, secret, #secret, err))
  check(qio.qioh_channel_read_all(turning, chunk, #secret, err))
  io.write("rot13: ", ffi.string(chunk, #secret))
  local _, refused = pcall(check, qio.qioh_channel_write_all(turning, "\255", 1, err))
  print("refused: " .. refused)
  give_up(turning, qio.qioh_channel_unref)
  print("released: " .. released)
end

-- Code that calls C which calls Lua back is not for the compiler.
jit.off(talk_in_rot13)
jit.off(give_up)

-- ---- the conversation ----

local function pass_file(connection, path)
  local fd = ffi.C.open(path, O_CLOEXEC)
  if fd < 0 then error(path .. ": cannot be opened", 0) end
  local ok, message = pcall(connection.send_fd, connection, "file\n", fd)
  ffi.C.close(fd)
  if not ok then error(message, 0) end
end

local function talk(uri, path, keys, user)
  local connection = connect(uri, keys, user)
  connection:send("hello from luajit\n")
  print("event: " .. connection:read_line())
  local passes = qio.qioh_channel_has_feature(connection.channel, qio.QIOH_FEATURE_FD_PASS, err)
  if check(passes) == 1 then
    pass_file(connection, path)
    print("file: " .. connection:read_line())
  end
  talk_in_rot13(connection.channel)
  connection:close()
  print("stale: " .. status_name(qio.qioh_channel_write_all(connection.channel, "x", 1, err)))
  print("left: " .. tonumber(qio.qioh_debug_live(qio.QIOH_KIND_ANY)))
end

if #arg ~= 2 and #arg ~= 4 then
  io.stderr:write("usage: talk.lua URI FILE [KEYS USER]\n")
  os.exit(2)
end
local ok, message = pcall(talk, unpack(arg))
if not ok then
  io.stderr:write("talk.lua: ", message, "\n")
  os.exit(1)
end
