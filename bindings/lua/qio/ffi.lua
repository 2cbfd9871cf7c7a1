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

-- ---- channels ----

function qio.open(uri)
  check(uri, "string", 1, "open")
  return owned(C.qioh_channel_open_uri(uri, nil, err), C.qioh_channel_unref)
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
local function get_room(n)
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

function qio.listen(uri)
  check(uri, "string", 1, "listen")
  return owned(C.qioh_listener_open_uri(uri, nil, err), C.qioh_listener_unref)
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

local watch = {}

function watch:remove()
  return result(C.qioh_watch_remove(self, err))
end

ffi.metatype("qioh_watch", { __index = watch })

return qio
