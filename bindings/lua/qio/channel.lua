-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.channel: the methods of channels.
--
-- Owns: what a method does with its arguments and results.  A method tries first, with calls
-- that never wait, and lets qio.sched wait only when it would block.
-- Rules: misuse raises, naming the argument and what would be right; everything else is a
-- result: the value, or nil, message, code (and how many bytes a write got rid of).  A reader
-- that gives up puts back what it holds: a time-out, a cancel or a limit loses nothing.

local core = require "qio.core"
local check = require "qio.check"
local sched = require "qio.sched"

local errno = core.errno
local AGAIN, INTR, EOF, TRUNCATED = errno.AGAIN, errno.INTR, errno.EOF, errno.TRUNCATED
local BUSY = errno.BUSY
local DONTWAIT = core.DONTWAIT
local READ, WRITE = sched.READ, sched.WRITE
local wait, now, typename = sched.wait, core.now, core.typename
local is_channel = core.is_channel
local requests = sched.requests
local readers, writers = sched.waiting[READ], sched.waiting[WRITE]
local streak = sched.streak
local try_read, try_write = core.channel_try_read, core.try_write
local hot_read, hot_write, read_again = sched.hot.read, sched.hot.write, sched.hot.read_again
local answer_key = sched.hot.key
local get_timeout = core.channel_get_timeout

local CHUNK = 65536                     -- what read() asks for
local CHUNK_MAX = 1048576               -- the most that one call into C asks for
local LINE_MAX = 16777216               -- the limit of a line or a delimited record

local Channel = core.methods "qio.channel"

local function check_channel(self, method)
  if not is_channel(self) then
    error(("calling '%s' on bad self (qio.channel expected, got %s)"):format(method,
          typename(self)), 3)
  end
end

-- ---- trying and waiting ----

-- When an operation that starts now is to end: a time, false for never, 0 for at once.
local function deadline_of(channel)
  local ok, ms = get_timeout(channel)
  if not ok or ms < 0 then return false end
  return ms == 0 and 0 or now() + ms
end

-- Calls try(object, a, b, c, d) until it does not answer "would block".  deadline nil: by the
-- channel's time-out, from now.
local function attempt(channel, direction, deadline, try, a, b, c, d)
  local slots = direction == READ and readers or writers
  if slots[channel] then return sched.busy() end
  streak[1] = streak[1] + 1
  if streak[1] > streak.most then
    local ok, msg, code = sched.pass(channel, direction)
    if not ok then return nil, msg, code end
  end
  while true do
    local value, msg, code, extra = try(channel, a, b, c, d)
    if value then return value, msg end
    if code ~= AGAIN and not (code == BUSY and requests[channel]) then
      return nil, msg, code, extra
    end
    if deadline == nil then deadline = deadline_of(channel) end
    if deadline == 0 then return nil, msg, code end
    local ok
    if requests[channel] then                   -- a client of a WebSocket may wait for an answer
      ok, msg, code = sched.answer(channel, deadline)
    else
      ok, msg, code = wait(channel, direction, deadline)
    end
    if not ok then return nil, msg, code end
  end
end

local function closed()
  return nil, "closed", EOF
end

-- ---- reading ----

local function read_some(self, n)
  local data, msg, code = attempt(self, READ, nil, try_read, n)
  if not data then return nil, msg, code end
  if data == "" and n > 0 then return closed() end
  return data
end

local function give_back(self, parts)
  if #parts > 0 then core.channel_unread(self, table.concat(parts)) end
end

-- Exactly n bytes, or with n nil all up to the end.
local function collect(self, n)
  local parts, held, deadline = {}, 0, deadline_of(self)
  while not n or held < n do
    local want = n and math.min(n - held, CHUNK_MAX) or CHUNK
    local data, msg, code = attempt(self, READ, deadline, try_read, want)
    if data == "" then
      if not n then break end
      msg, code = "closed", EOF
    end
    if not data or data == "" then
      give_back(self, parts)
      return nil, msg, code
    end
    parts[#parts + 1] = data
    held = held + #data
  end
  return table.concat(parts)
end

local function read_record(self, delims, limit)
  local cap = math.min(limit, CHUNK)
  local deadline = deadline_of(self)
  while true do
    local data, msg, code, length = attempt(self, READ, deadline, core.channel_read_until, cap,
                                            delims, limit, DONTWAIT)
    if data == "" then return closed() end
    if data then return data end
    if code ~= TRUNCATED then return nil, msg, code end
    cap = length or math.min(2 * cap, limit)
  end
end

local function read_line(self, keep, limit)
  local line, msg, code = read_record(self, "\n", limit)
  if not line then return nil, msg, code end
  if not keep and line:sub(-1) == "\n" then line = line:sub(1, -2) end
  return line
end

local FORMATS = {
  l = function(self) return read_line(self, false, LINE_MAX) end,
  L = function(self) return read_line(self, true, LINE_MAX) end,
  a = function(self) return collect(self) end,
}
local FORMATS_TEXT = '"l", "L", "a" or a number'

local function read_generally(self, what)
  check_channel(self, "read")
  if what == nil then return read_some(self, CHUNK) end
  if type(what) == "number" then
    -- The checks cost as much as a read that finds its bytes: none for a likely number.
    if what < 1 or what > CHUNK_MAX or what % 1 ~= 0 then
      what = math.min(check.count(what, 1, "read", 0, 2 ^ 53), CHUNK_MAX)
    end
    return read_some(self, what)
  end
  return check.choice(what, 1, "read", FORMATS, FORMATS_TEXT)(self)
end

--- Reads up to max bytes as soon as there are any (65536 by default), a line without ("l") or
-- with ("L") its end, or all there is until the end ("a", which may be "").
-- At the end of the stream: nil, "closed", -18.
function Channel:read(what)
  local key, data, msg, code = hot_read(self, what)
  while key ~= answer_key do key, data, msg, code = read_again(self) end
  if data then return data end
  if data == nil then return nil, msg, code end
  return read_generally(self, what)
end

--- Reads n bytes, no fewer; at the end before that nil, "closed", -18, and what there was can
-- still be read.
function Channel:readexactly(n)
  check_channel(self, "readexactly")
  check.count(n, 1, "readexactly", 0, 1073741824)
  return collect(self, n)
end

--- Reads up to and with the first of the delimiters (a string or a table of up to 16, each of
-- 1 to 64 bytes), or what is left at the end.  limit: the most bytes to look through.
function Channel:readuntil(delims, limit)
  check_channel(self, "readuntil")
  local list = type(delims) == "string" and { delims } or delims
  if type(list) ~= "table" or #list < 1 or #list > 16 then
    check.bad(1, "readuntil", "string or table of 1 to 16 strings", check.describe(delims))
  end
  for _, delim in ipairs(list) do
    if type(delim) ~= "string" or #delim < 1 or #delim > 64 then
      check.bad(1, "readuntil", "delimiters of 1 to 64 bytes", check.describe(delim))
    end
  end
  return read_record(self, delims, check.count(limit, 2, "readuntil", 1, LINE_MAX, LINE_MAX))
end

--- Reads a line without its end.
function Channel:readline(limit)
  check_channel(self, "readline")
  return read_line(self, false, check.count(limit, 1, "readline", 1, LINE_MAX, LINE_MAX))
end

--- Reads until the end of the stream.
function Channel:readall()
  check_channel(self, "readall")
  return collect(self)
end

--- Reads into a block made by qio.bytes, from the offset (0) on, up to len bytes (all that has
-- room), as soon as there are any.  Returns how many.
function Channel:readinto(block, offset, len)
  check_channel(self, "readinto")
  if typename(block) ~= "qio.bytes" then
    check.bad(1, "readinto", "qio.bytes", check.describe(block))
  end
  offset = check.count(offset, 2, "readinto", 0, #block, 0)
  len = check.count(len, 3, "readinto", 0, #block - offset, #block - offset)
  local n, msg, code = attempt(self, READ, nil, core.try_readinto, block, offset, len)
  if not n then return nil, msg, code end
  if n == 0 and len > 0 then return closed() end
  return n
end

--- An iterator over lines ("l" or "L"), for `for`; an error other than the end raises.
function Channel:lines(format)
  check_channel(self, "lines")
  local read = check.choice(format == nil and "l" or format, 1, "lines",
                            { l = FORMATS.l, L = FORMATS.L }, '"l" or "L"')
  return function()
    local line, msg, code = read(self)
    if not line and code ~= EOF then error(msg, 2) end
    return line
  end
end

--- The next bytes, up to n, which stay to be read.
function Channel:peek(n)
  check_channel(self, "peek")
  check.count(n, 1, "peek", 1, LINE_MAX)
  local data, msg, code = attempt(self, READ, nil, core.channel_peek, n, DONTWAIT)
  if not data then return nil, msg, code end
  if data == "" then return closed() end
  return data
end

-- ---- writing ----

-- The one of a stack of layers that cannot send.
local function blocked_layer(self)
  local one = self
  while one and core.channel_wait(one, core.OUT, 0) ~= 0 do one = core.transport(one) end
  return one or self
end

-- Sends what layers hold back of what they have accepted; a channel that never waits leaves it.
local function push_out(self, deadline)
  if deadline == nil then deadline = deadline_of(self) end
  while deadline ~= 0 do
    local alone = sched.alone()
    local ms = alone and (deadline and math.max(0, math.ceil(deadline - now())) or -1) or 0
    local ok, msg, code = core.channel_flush_within(self, ms)
    if ok then break end
    if code == AGAIN and not alone then
      ok, msg, code = wait(blocked_layer(self), WRITE, deadline)
      if not ok then return nil, msg, code end
    elseif code == AGAIN then
      return nil, "timeout", errno.TIMEOUT
    elseif code ~= INTR then
      return nil, msg, code
    end
  end
  return true
end

-- All of data (a string or a block): true, or nil, message, code, how many bytes went.
local function write_all(self, data, deadline, sent)
  local size = #data
  sent = sent or 0
  repeat
    local n, msg, code = attempt(self, WRITE, deadline, try_write, data, sent)
    if not n then return nil, msg, code, sent end
    sent = sent + n
    if msg then
      n, msg, code = push_out(self, deadline)
      if not n then return nil, msg, code, sent end
    end
    if sent < size and deadline == nil then deadline = deadline_of(self) end
  until sent >= size
  return true, sent, deadline
end

local function writable(value, index, method)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(value) end
  if typename(value) ~= "qio.bytes" then
    check.bad(index, method, "string, number or qio.bytes", check.describe(value), 3)
  end
  return value
end

local gone                              -- how much of a single string is written already

local function write_generally(self, ...)
  local before = gone
  gone = nil
  check_channel(self, "write")
  local first, count = ..., select("#", ...)
  if count == 1 and type(first) == "string" then
    local ok, msg, code, sent = write_all(self, first, nil, before)
    if ok then return self end
    return nil, msg, code, sent
  end
  local data = { ... }
  before = 0
  for i = 1, count do data[i] = writable(data[i], i, "write") end
  local deadline = deadline_of(self)
  for i = 1, count do
    local ok, msg, code, sent = write_all(self, data[i], deadline)
    if not ok then return nil, msg, code, before + sent end
    before = before + #data[i]
  end
  return self
end

--- Writes all of its arguments (strings, numbers, qio.bytes) and returns the channel; on failure
-- nil, message, code, bytes written.
function Channel:write(...)
  local done, msg, code, sent = hot_write(self, ...)
  if done then return done end
  if done == nil then return nil, msg, code, sent or 0 end
  gone = msg
  return write_generally(self, ...)
end

-- Plain Lua 5.1 suspends no task from C, and a tail call there moves the line of an error.
if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
  Channel.read, Channel.write = read_generally, write_generally
end

-- ---- descriptors ----

local function number_of(fd, index, method)
  if type(fd) == "number" then return check.count(fd, index, method, 0, 2147483647) end
  local kind = typename(fd)
  local number
  if kind == "qio.fd" then number = core.fd_number(fd) end
  if kind == "qio.channel" then number = core.channel_get_fd(fd) end
  if kind == "qio.listener" then number = core.listener_get_fd(fd, 0) end
  if not number then
    check.bad(index, method, "open descriptors (numbers, qio.fd, channels, listeners)",
              check.describe(fd), 3)
  end
  return number
end

--- Writes data (at least a byte) with a list of descriptors, which stay the caller's.
function Channel:sendfds(data, fds)
  check_channel(self, "sendfds")
  check.is(data, "string", 1, "sendfds")
  check.is(fds, "table", 2, "sendfds")
  if data == "" then check.bad(1, "sendfds", "at least one byte", "none") end
  local set, msg, code = core.fdset_new()
  if not set then return nil, msg, code end
  for i = 1, #fds do
    local ok
    ok, msg, code = core.fdset_add(set, number_of(fds[i], 2, "sendfds"))
    if not ok then return nil, msg, code end
  end
  local deadline = deadline_of(self)
  local n
  n, msg, code = attempt(self, WRITE, deadline, core.channel_writev, data, DONTWAIT, set)
  if not n then return nil, msg, code end
  if n == #data then return self end
  local ok, sent
  ok, msg, code, sent = write_all(self, data:sub(n + 1), deadline)
  if not ok then return nil, msg, code, n + sent end
  return self
end

--- Reads up to n bytes and the descriptors that came with them: data, list of qio.fd.
function Channel:recvfds(n)
  check_channel(self, "recvfds")
  n = check.count(n, 1, "recvfds", 1, 2 ^ 53, CHUNK)
  local set, msg, code = core.fdset_new()
  if not set then return nil, msg, code end
  local data
  data, msg, code = attempt(self, READ, nil, core.channel_readv, math.min(n, CHUNK_MAX), DONTWAIT,
                            set)
  if not data then return nil, msg, code end
  if data == "" then return closed() end
  local fds = {}
  for i = 1, core.fdset_count(set) do
    fds[i], msg, code = core.fdset_take(set, i - 1)
    if not fds[i] then return nil, msg, code end
  end
  return data, fds
end

-- ---- state ----

-- Methods that need nothing around the call into C are that call: it costs what a method
-- written by hand in C costs.

--- The descriptor, which stays the channel's.
Channel.fd = core.channel_get_fd

--- Gives the descriptor to the caller and closes the channel around it.
Channel.detach = core.channel_take_fd

--- How many bytes can be read without the descriptor.
Channel.pending = core.channel_get_pending

--- Bytes of a file or a buffer.
Channel.size = core.channel_get_size

Channel.localaddress = core.channel_get_local_address
Channel.peeraddress = core.channel_get_peer_address

local function ok_or_error(value, msg, code)
  if value then return true end
  return nil, msg, code
end

--- Stops I/O; who waits gets nil, "closed", -8.  A second close does nothing.  In a task the wait
-- for a command's end, which close makes it come to, lets the others go on.
function Channel:close()
  check_channel(self, "close")
  local ok, msg, code
  if sched.in_task() and core.channel_get_kind(self) == core.CHANNEL_COMMAND then
    return ok_or_error(sched.operate("closing", function(loop, cookie)
      return core.task_start_close(self, -1, loop, cookie)
    end))
  end
  repeat ok, msg, code = core.channel_close(self) until code ~= INTR
  return ok_or_error(ok, msg, code)
end

local HOW = { both = core.SHUTDOWN_BOTH, read = core.SHUTDOWN_READ, write = core.SHUTDOWN_WRITE }

function Channel:shutdown(how)
  check_channel(self, "shutdown")
  how = check.choice(how == nil and "both" or how, 1, "shutdown", HOW,
                     '"read", "write" or "both"')
  local ok, msg, code = core.channel_shutdown(self, how)
  if not ok then return nil, msg, code end
  if how ~= core.SHUTDOWN_READ then return push_out(self) end     -- the word of the end
  return true
end

local WHENCE = { set = 0, cur = 1, ["end"] = 2 }

--- As file:seek.
function Channel:seek(whence, offset)
  check_channel(self, "seek")
  whence = check.choice(whence == nil and "cur" or whence, 1, "seek", WHENCE,
                        '"set", "cur" or "end"')
  return core.channel_seek(self, check.count(offset, 2, "seek", -2 ^ 53, 2 ^ 53, 0), whence)
end

--- The most seconds that an operation may take; nil: no limit; 0: never wait.
function Channel:settimeout(seconds)
  check_channel(self, "settimeout")
  return ok_or_error(core.channel_set_timeout(self, check.seconds(seconds, 1, "settimeout")))
end

function Channel:name(name)
  check_channel(self, "name")
  if name == nil then return core.channel_get_name(self) end
  return ok_or_error(core.channel_set_name(self, check.text(name, 1, "name")))
end

local KINDS = {
  [core.CHANNEL_OTHER] = "other", [core.CHANNEL_SOCKET] = "socket",
  [core.CHANNEL_FILE] = "file", [core.CHANNEL_COMMAND] = "command",
  [core.CHANNEL_BUFFER] = "buffer", [core.CHANNEL_NULL] = "null",
  [core.CHANNEL_TLS] = "tls", [core.CHANNEL_WEBSOCKET] = "websocket",
  [core.CHANNEL_CUSTOM] = "custom", [core.CHANNEL_QUEUED] = "queued",
}

function Channel:kind()
  check_channel(self, "kind")
  local kind, msg, code = core.channel_get_kind(self)
  if not kind then return nil, msg, code end
  return KINDS[kind]
end

--- The process at the other end of a unix socket: pid, uid, gid.
function Channel:peercred()
  check_channel(self, "peercred")
  local ok, pid, uid, gid = core.channel_get_peer_cred(self)
  if not ok then return nil, pid, uid end
  return pid, uid, gid
end

function Channel:setdelay(enabled)
  check_channel(self, "setdelay")
  check.is(enabled, "boolean", 1, "setdelay")
  return ok_or_error(core.channel_set_delay(self, enabled and 1 or 0))
end

function Channel:setcork(enabled)
  check_channel(self, "setcork")
  check.is(enabled, "boolean", 1, "setcork")
  return ok_or_error(core.channel_set_cork(self, enabled and 1 or 0))
end

function Channel:flush()
  check_channel(self, "flush")
  local deadline = deadline_of(self)
  if deadline == 0 then return ok_or_error(core.channel_flush_within(self, 0)) end
  return push_out(self, deadline)
end

function Channel:pread(n, offset)
  check_channel(self, "pread")
  check.count(n, 1, "pread", 0, 1073741824)
  check.count(offset, 2, "pread", 0, 2 ^ 53)
  local data, msg, code = core.channel_pread(self, n, offset)
  if not data then return nil, msg, code end
  if data == "" and n > 0 then return closed() end
  return data
end

function Channel:pwrite(data, offset)
  check_channel(self, "pwrite")
  check.is(data, "string", 1, "pwrite")
  check.count(offset, 2, "pwrite", 0, 2 ^ 53)
  return core.channel_pwrite(self, data, offset)
end

--- All that a buffer holds, wherever its position is.
function Channel:getvalue()
  check_channel(self, "getvalue")
  local size, msg, code = core.channel_get_size(self)
  if not size then return nil, msg, code end
  return core.channel_pread(self, size, 0)
end

-- ---- commands ----

Channel.pid = core.channel_get_pid

--- The read end of the standard error of a command with stderr = "pipe"; once.
Channel.stderr = core.channel_take_stderr

--- Sends a signal (15 by default).
function Channel:kill(signum)
  check_channel(self, "kill")
  return ok_or_error(core.channel_kill(self, check.count(signum, 1, "kill", 1, 64, 15)))
end

-- The results of a status call as: exit status, or nil, "signal", number.
local function exit_result(status, signum)
  if signum > 0 then return nil, "signal", signum end
  return status
end

--- The exit status of a command that has ended (-1: unknown); nil, "signal", number for one that
-- a signal ended; nil, "timeout", -2 while it runs.
function Channel:exitstatus()
  check_channel(self, "exitstatus")
  local ok, status, signum = core.channel_get_exit_status(self)
  if not ok then return nil, status, signum end
  return exit_result(status, signum)
end

--- Waits until a command has ended; results as exitstatus.
function Channel:waitexit()
  check_channel(self, "waitexit")
  local ok, status, signum = core.channel_get_exit_status(self)
  if not ok and signum == AGAIN then
    local ended, msg, code = sched.operate("waiting for an exit", function(loop, cookie)
      return core.task_start_wait_exit(self, loop, cookie)
    end)
    if not ended then return nil, msg, code end
    ok, status, signum = core.channel_get_exit_status(self)
  end
  if not ok then return nil, status, signum end
  return exit_result(status, signum)
end

return { attempt = attempt, push_out = push_out, check = check_channel, deadline_of = deadline_of, closed = closed }
