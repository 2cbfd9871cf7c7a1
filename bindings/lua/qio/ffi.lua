-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.ffi: libqio for LuaJIT without a C module: the ABI header, fed to ffi.cdef as it is.
--
-- Owns: the metatypes of the handles and the event queue.  No callback is ever made: events
-- are fetched with qioh_loop_next_events, so the JIT compiles the loop that does it.
-- Rules: as in qio: nil, message, code for a failure, misuse raises.  Owned handles are given
-- up by the collector; close stops I/O at once.  Every call blocks the state: for tasks use
-- `qio`.  What has no method here is reached through `C`.

local ffi = require "ffi"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

local function read_header()
  local path = here .. "qioh-abi.h"
  local file, msg = io.open(path)
  if not file then error("qio.ffi: the ABI header is not beside it: " .. msg, 0) end
  local text = file:read("*a")
  file:close()
  return text
end

ffi.cdef(read_header())

local C = ffi.load("libqio.so.0")
if C.qioh_abi_version() ~= C.QIOH_ABI_VERSION then
  error("qio.ffi: the library and the header have different ABI versions", 0)
end

local qio = { C = C }

-- One error struct: a state runs one call at a time.
local err = ffi.new("qioh_error[1]")
err[0].struct_size = ffi.sizeof("qioh_error")

local NAMES = {
  [C.QIOH_E_TIMEOUT] = "timeout", [C.QIOH_E_AGAIN] = "timeout",
  [C.QIOH_E_CLOSED] = "closed", [C.QIOH_E_EOF] = "closed",
}

-- The failure in err as nil, message, code.
local function fail()
  local code = err[0].code
  local msg = NAMES[code] or ffi.string(err[0].message)
  if code == C.QIOH_E_SYSTEM then code = err[0].sys_errno end
  return nil, msg, code
end

-- A count or status, or what went wrong; AGAIN leaves err untouched.
local function result(n)
  if n >= 0 then return tonumber(n) end
  if n == C.QIOH_E_AGAIN then return nil, "timeout", C.QIOH_E_AGAIN end
  return fail()
end

local function owned(handle, unref)
  if handle == nil then return fail() end
  return ffi.gc(handle, unref)
end

local function check(value, kind, index, name)
  if type(value) ~= kind then
    error(("bad argument #%d to '%s' (%s expected, got %s)"):format(index, name, kind,
          type(value)), 3)
  end
  return value
end

-- Again after a signal, so that the interpreter's handler runs in between.
local function retry(fn, ...)
  local n
  repeat n = fn(...) until n ~= C.QIOH_E_INTR
  return n
end

--- The number in a handle, for a key in a table: it has 53 bits.
function qio.token(handle)
  return tonumber(ffi.cast("uintptr_t", handle))
end

--- What the last failure was, in all detail: code, errno, domain, number (a TLS alert, a
-- WebSocket's close code, an exit status), bytes (how far it came), message.
function qio.last_error()
  local e = err[0]
  return {
    code = e.code, errno = e.sys_errno, domain = e.domain, number = tonumber(e.number),
    bytes = tonumber(e.bytes), message = ffi.string(e.message),
  }
end

local get_room

-- Calls fill(buf, cap) until the text fits.
local function text_of(fill)
  local cap = 512
  while true do
    local buf = ffi.cast("char *", get_room(cap))
    local n = fill(buf, cap)
    if n >= 0 then return ffi.string(buf, n) end
    if n ~= C.QIOH_E_TRUNCATED or cap > 1048576 then return result(n) end
    cap = cap * 4
  end
end

-- ---- options and credentials ----

local BYTES = { ["tls-psk-key"] = true, ["tls-password"] = true }

local function set_option(set, key, value, add)
  if ffi.istype("qioh_creds *", value) then return C.qioh_options_set_creds(set, value, err) end
  if type(value) == "boolean" then value = value and "on" or "off" end
  if type(value) == "number" then value = ("%.17g"):format(value) end
  if type(value) ~= "string" then
    error(("option '%s': a %s is no value"):format(key, type(value)), 4)
  end
  if BYTES[key] or value:find("-----BEGIN ", 1, true) then
    return C.qioh_options_set_bytes(set, key, value, #value, err)
  end
  return (add and C.qioh_options_add_str or C.qioh_options_set_str)(set, key, value, err)
end

--- Options from a table: the keys of URIs with "_" for "-"; a list gives a key several times; one
-- that is wrong raises.
function qio.options(keys)
  check(keys, "table", 1, "options")
  local set = ffi.gc(C.qioh_options_new(err), C.qioh_options_unref)
  for key, value in pairs(keys) do
    local list = type(value) == "table"
    for _, one in ipairs(list and value or { value }) do
      if set_option(set, (key:gsub("_", "-")), one, list) < 0 then
        error(("option '%s': %s"):format(key, ffi.string(err[0].message)), 3)
      end
    end
  end
  return set
end

local function options_of(keys)
  if keys == nil or ffi.istype("qioh_options *", keys) then return keys end
  return qio.options(keys)
end

--- Credentials for TLS, from options without their "tls_": creds.x509{ dir = ... },
-- creds.psk{ user =, psk_key = }, creds.anon{}; server = true for a server's.
qio.creds = {}
for _, kind in ipairs({ "x509", "psk", "anon" }) do
  qio.creds[kind] = function(keys)
    local options = {}
    for key, value in pairs(keys or {}) do
      if key ~= "server" then
        options[(key == "user" and "tls_psk_" or "tls_") .. key] = value
      end
    end
    return owned(C["qioh_creds_new_" .. kind](qio.options(options), keys and keys.server and 1 or 0,
                                              err), C.qioh_creds_unref)
  end
end

-- ---- channels ----

--- Any kind of channel by its URI; options: a table or what qio.options made.
function qio.open(uri, options)
  check(uri, "string", 1, "open")
  return owned(C.qioh_channel_open_uri(uri, options_of(options), err), C.qioh_channel_unref)
end

--- A program: argv is a list of words.
function qio.command(argv, options)
  check(argv, "table", 1, "command")
  local words = ffi.new("const char *[?]", #argv + 1)
  for i, word in ipairs(argv) do words[i - 1] = check(word, "string", 1, "command") end
  return owned(C.qioh_channel_new_command(words, options_of(options), err), C.qioh_channel_unref)
end

function qio.buffer(data)
  data = check(data or "", "string", 1, "buffer")
  return owned(C.qioh_channel_new_buffer(data, #data, err), C.qioh_channel_unref)
end

function qio.pair()
  local out = ffi.new("qioh_channel *[2]")
  if C.qioh_channel_new_pair(out, err) < 0 then return fail() end
  return ffi.gc(out[0], C.qioh_channel_unref), ffi.gc(out[1], C.qioh_channel_unref)
end

function qio.fromfd(fd)
  check(fd, "number", 1, "fromfd")
  return owned(C.qioh_channel_new_fd(fd, err), C.qioh_channel_unref)
end

local room, room_size = nil, 0

-- Memory for one call, which grows and stays.
function get_room(n)
  if n > room_size then
    room_size = math.max(n, 65536)
    room = ffi.new("uint8_t[?]", room_size)
  end
  return room
end

local channel = {}

-- Reads up to n bytes, waiting for the first; nil, "closed", -18 at the end.
function channel:read(n)
  n = n or 65536
  check(n, "number", 1, "read")
  local buf = get_room(n)
  local got = retry(C.qioh_channel_read, self, buf, n, err)
  if got == 0 and n > 0 then return nil, "closed", C.QIOH_E_EOF end
  if got < 0 then return result(got) end
  return ffi.string(buf, got)
end

--- As read, but never waits.
function channel:try_read(n)
  n = n or 65536
  check(n, "number", 1, "try_read")
  local buf = get_room(n)
  local got = C.qioh_channel_try_read(self, buf, n, err)
  if got == 0 and n > 0 then return nil, "closed", C.QIOH_E_EOF end
  if got < 0 then return result(got) end
  return ffi.string(buf, got)
end

--- Reads into the caller's memory; how many bytes, 0 at the end.
function channel:readinto(buf, n)
  return result(retry(C.qioh_channel_read, self, buf, n, err))
end

--- As readinto, but never waits: a count, or nil, "timeout", -2.
function channel:try_readinto(buf, n)
  return result(C.qioh_channel_try_read(self, buf, n, err))
end

--- Fills the caller's memory; true, or nil, message, code and how much of it came.
function channel:fill(buf, n)
  local got = 0
  while got < n do
    local k = retry(C.qioh_channel_read, self, ffi.cast("uint8_t *", buf) + got, n - got, err)
    if k == 0 then return nil, "closed", C.QIOH_E_EOF, got end
    if k < 0 then
      local _, msg, code = result(k)
      return nil, msg, code, got
    end
    got = got + tonumber(k)
  end
  return true
end

--- Writes from memory what goes at once; how many bytes.
function channel:try_writefrom(buf, n)
  return result(C.qioh_channel_try_write(self, buf, n, err))
end

--- The next bytes, up to n, which stay to be read.
function channel:peek(n)
  local buf = get_room(check(n, "number", 1, "peek"))
  local got = C.qioh_channel_peek(self, buf, n, 0, err)
  if got == 0 and n > 0 then return nil, "closed", C.QIOH_E_EOF end
  if got < 0 then return result(got) end
  return ffi.string(buf, got)
end

--- Writes all of a string; the channel, or nil, message, code, bytes written.
function channel:write(data)
  check(data, "string", 1, "write")
  local sent = 0
  while sent < #data do
    local p = ffi.cast("const char *", data) + sent
    local n = C.qioh_channel_write(self, p, #data - sent, err)
    if n > 0 then
      sent = sent + tonumber(n)
    else
      sent = sent + tonumber(n == C.QIOH_E_AGAIN and 0 or err[0].bytes)
      if n ~= C.QIOH_E_INTR then
        local _, msg, code = result(n)
        return nil, msg, code, sent
      end
    end
  end
  return self
end

--- Writes what goes at once; how many bytes.
function channel:try_write(data)
  check(data, "string", 1, "try_write")
  return result(C.qioh_channel_try_write(self, data, #data, err))
end

--- Waits for conditions (C.QIOH_IN ...); the conditions, 0 on time-out.
function channel:wait(condition, timeout_ms)
  return result(retry(C.qioh_channel_wait, self, condition, timeout_ms or -1, err))
end

function channel:settimeout(timeout_ms)
  return result(C.qioh_channel_set_timeout(self, timeout_ms or -1, err))
end

function channel:setblocking(flag)
  return result(C.qioh_channel_set_blocking(self, flag and 1 or 0, err))
end

local vector = ffi.new("qioh_iovec[1]")

--- Sends data (at least a byte) with descriptors (numbers, which stay the caller's); how many bytes.
function channel:sendfds(data, fds)
  check(data, "string", 1, "sendfds")
  local set = ffi.gc(C.qioh_fdset_new(err), C.qioh_fdset_unref)
  for _, fd in ipairs(check(fds, "table", 2, "sendfds")) do
    if C.qioh_fdset_add(set, fd, err) < 0 then return fail() end
  end
  vector[0].base, vector[0].len = ffi.cast("void *", ffi.cast("const char *", data)), #data
  return result(retry(C.qioh_channel_writev, self, vector, 1, 0, set, err))
end

--- Up to n bytes and a list of the descriptors that came with them, the caller's from then on.
function channel:recvfds(n)
  n = n or 65536
  local set = ffi.gc(C.qioh_fdset_new(err), C.qioh_fdset_unref)
  local buf = get_room(n)
  vector[0].base, vector[0].len = buf, n
  local got = retry(C.qioh_channel_readv, self, vector, 1, 0, set, err)
  if got == 0 then return nil, "closed", C.QIOH_E_EOF end
  if got < 0 then return result(got) end
  local fds = {}
  for i = 1, C.qioh_fdset_count(set, err) do fds[i] = C.qioh_fdset_take_fd(set, i - 1, err) end
  return ffi.string(buf, got), fds
end

function channel:localaddress()
  return text_of(function(buf, cap)
    return C.qioh_channel_get_local_address(self, buf, cap, err)
  end)
end

function channel:peeraddress()
  return text_of(function(buf, cap)
    return C.qioh_channel_get_peer_address(self, buf, cap, err)
  end)
end

--- What TLS agreed on: "version", "cipher", "alpn", "peer-name" ...
function channel:tls(key)
  check(key, "string", 1, "tls")
  return text_of(function(buf, cap)
    return C.qioh_channel_tls_get_str(self, key, buf, cap, err)
  end)
end

--- TLS over the channel, which belongs to the new one from then on; server: a server's side.  The
-- handshake is done by handshake, by loop:handshake or by the first transfer.
function channel:starttls(creds, server, options)
  local new = server and C.qioh_channel_new_tls_server or C.qioh_channel_new_tls_client
  return owned(new(self, creds, options_of(options), err), C.qioh_channel_unref)
end

--- 0 done, 1 a WebSocket's request waits for an answer.
function channel:handshake(timeout_ms)
  return result(retry(C.qioh_channel_handshake, self, timeout_ms or -1, err))
end

--- Of a command: its exit status, and the signal that ended it or 0; nil, "timeout" while it runs.
function channel:exitstatus()
  local out = ffi.new("int32_t[2]")
  local status = C.qioh_channel_get_exit_status(self, out, out + 1, err)
  if status < 0 then return result(status) end
  return out[0], out[1]
end

function channel:fd()
  return result(C.qioh_channel_get_fd(self, err))
end

function channel:shutdown(how)
  return result(C.qioh_channel_shutdown(self, how or C.QIOH_SHUTDOWN_BOTH, err))
end

function channel:close()
  return result(retry(C.qioh_channel_close, self, err))
end

-- A channel that this program answers (loop:channel): what its reader gets, what its writer wrote.

--- Gives bytes to the reader; how many there was room for, or nil, "timeout" until CUSTOM_READ.
function channel:push(data)
  check(data, "string", 1, "push")
  return result(C.qioh_channel_push(self, data, #data, err))
end

--- The end of what the reader gets; with a code (C.QIOH_E_...) its reads fail with the message.
function channel:push_end(code, message)
  return result(C.qioh_channel_push_end(self, code or 0, message, err))
end

--- Takes up to n bytes of the writer; nil, "timeout" when none wait, nil, "closed" after all.
function channel:pull(n)
  n = n or 65536
  check(n, "number", 1, "pull")
  local buf = get_room(n)
  local got = C.qioh_channel_pull(self, buf, n, err)
  if got == 0 and n > 0 then return nil, "closed", C.QIOH_E_EOF end
  if got < 0 then return result(got) end
  return ffi.string(buf, got)
end

ffi.metatype("qioh_channel", { __index = channel })

-- ---- listeners ----

function qio.listen(uri, options)
  check(uri, "string", 1, "listen")
  return owned(C.qioh_listener_open_uri(uri, options_of(options), err), C.qioh_listener_unref)
end

local listener = {}

function listener:accept(timeout_ms)
  return owned(C.qioh_listener_accept(self, timeout_ms or -1, err), C.qioh_channel_unref)
end

function listener:address(index)
  local buf = get_room(512)
  local n = C.qioh_listener_get_address(self, index or 0, ffi.cast("char *", buf), 512, err)
  if n < 0 then return result(n) end
  return ffi.string(buf, n)
end

function listener:close()
  return result(C.qioh_listener_close(self, err))
end

ffi.metatype("qioh_listener", { __index = listener })

-- ---- the event queue ----

local BATCH = 64

local loop = {}

function qio.loop()
  return owned(C.qioh_loop_new(err), C.qioh_loop_unref)
end

--- A watch whose events carry the cookie; it stays until removed or the channel is closed.
function loop:watch(ch, condition, cookie)
  return owned(C.qioh_watch_new_queued(self, ch, condition, cookie, err), C.qioh_watch_unref)
end

function loop:watch_listener(l, cookie)
  return owned(C.qioh_watch_new_listener_queued(self, l, cookie, err), C.qioh_watch_unref)
end

function loop:watch_fd(fd, condition, cookie)
  return owned(C.qioh_watch_new_fd_queued(self, fd, condition, cookie, err), C.qioh_watch_unref)
end

--- A channel that this program answers: CUSTOM_READ and CUSTOM_WRITE carry the cookie, and channel:push,
-- push_end and pull answer them.
function loop:channel(cookie)
  return owned(C.qioh_channel_new_queued(self, cookie, err), C.qioh_channel_unref)
end

--- A timer: first after so many milliseconds, then every so many (0: once).
function loop:timer(after_ms, every_ms, cookie)
  return owned(C.qioh_watch_new_timer_queued(self, after_ms, every_ms, cookie, err),
               C.qioh_watch_unref)
end

-- Operations of the loop: each ends with one event TASK that has the cookie (its status: the
-- event's), then RELEASED.  The handle may be given up before; who keeps it asks it.

local function task_of(handle)
  return owned(handle, C.qioh_task_unref)
end

--- As qio.open; task:channel() is the channel.
function loop:connect(uri, options, cookie)
  check(uri, "string", 1, "connect")
  return task_of(C.qioh_task_start_open_uri(uri, options_of(options), self, cookie, err))
end

--- As qio.listen; task:listener() is the listener.
function loop:listen(uri, options, cookie)
  check(uri, "string", 1, "listen")
  return task_of(C.qioh_task_start_listen_uri(uri, options_of(options), self, cookie, err))
end

function loop:handshake(ch, timeout_ms, cookie)
  return task_of(C.qioh_task_start_handshake(ch, timeout_ms or -1, self, cookie, err))
end

--- The orderly end of a channel, and of a command behind it.
function loop:finish(ch, timeout_ms, cookie)
  return task_of(C.qioh_task_start_close(ch, timeout_ms or -1, self, cookie, err))
end

function loop:wait_exit(ch, cookie)
  return task_of(C.qioh_task_start_wait_exit(ch, self, cookie, err))
end

--- Copies both ways until both have ended; task:counts() tells how much.
function loop:relay(a, b, options, cookie)
  return task_of(C.qioh_task_start_relay(a, b, options_of(options), self, cookie, err))
end

--- Fills the events (an array of `size` qioh_event made by qio.events) and returns their number;
-- 0 on time-out.
function loop:next_events(events, size, timeout_ms)
  events[0].struct_size = ffi.sizeof("qioh_event")
  local n = C.qioh_loop_next_events(self, events, size, timeout_ms or -1, err)
  if n == C.QIOH_E_INTR then return 0 end
  return result(n)
end

--- An iterator over the events of one batch: for ev in loop:events(timeout_ms) do ... end
-- Each event is good until the iterator is called again; a failure raises.
function loop:events(timeout_ms)
  local events = ffi.new("qioh_event[?]", BATCH)
  local n, msg = loop.next_events(self, events, BATCH, timeout_ms)
  if not n then error(msg, 2) end
  local i = -1
  return function()
    i = i + 1
    if i < n then return events[i] end
  end
end

function loop:fd()
  return result(C.qioh_loop_get_fd(self, err))
end

function loop:wakeup()
  return result(C.qioh_loop_wakeup(self, err))
end

function loop:close()
  return result(C.qioh_loop_close(self, err))
end

ffi.metatype("qioh_loop", { __index = loop })

function qio.events(size)
  return ffi.new("qioh_event[?]", size or BATCH)
end

local task = {}

--- Its result, 0 or more, once it has ended; nil, "timeout", -2 while it runs; else its failure.
function task:status()
  return result(C.qioh_task_status(self, err))
end

--- What connect opened, once.
function task:channel()
  return owned(C.qioh_task_take_channel(self, err), C.qioh_channel_unref)
end

--- What listen made, once.
function task:listener()
  return owned(C.qioh_task_take_listener(self, err), C.qioh_listener_unref)
end

--- Of a relay: the bytes from a to b, and from b to a.
function task:counts()
  local out = ffi.new("uint64_t[2]")
  if C.qioh_task_get_counts(self, out, out + 1, err) < 0 then return fail() end
  return tonumber(out[0]), tonumber(out[1])
end

function task:cancel()
  return result(C.qioh_task_cancel(self, err))
end

ffi.metatype("qioh_task", { __index = task })

local watch = {}

function watch:remove()
  return result(C.qioh_watch_remove(self, err))
end

ffi.metatype("qioh_watch", { __index = watch })

return qio
