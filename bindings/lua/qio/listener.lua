-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.listener: the methods of listeners, owned descriptors and blocks of bytes.
--
-- Owns: accepting: one call that never waits, then qio.sched.
-- Rules: as in qio.channel.

local core = require "qio.core"
local check = require "qio.check"
local sched = require "qio.sched"

local errno = core.errno
local INTR, TIMEOUT, CLOSED, CANCELLED = errno.INTR, errno.TIMEOUT, errno.CLOSED, errno.CANCELLED
local READ, now, typename = sched.READ, core.now, core.typename
local readers, streak = sched.waiting[READ], sched.streak

local Listener = core.methods "qio.listener"
local Fd = core.methods "qio.fd"
local Bytes = core.methods "qio.bytes"

--- The next connection.  timeout: seconds, nil for no limit.
function Listener:accept(timeout)
  check.self(self, "qio.listener", "accept")
  local ms = check.seconds(timeout, 1, "accept")
  local deadline = ms >= 0 and now() + ms
  if readers[self] then return sched.busy() end
  streak[1] = streak[1] + 1
  if streak[1] > streak.most then
    local ok, msg, code = sched.pass(self, READ)
    if not ok then return nil, msg, code end
  end
  while true do
    local patience = 0
    if sched.alone() then
      patience = deadline and math.max(0, math.ceil(deadline - now())) or -1
    end
    local channel, msg, code = core.listener_accept(self, patience)
    if channel then
      sched.requests[channel] = sched.requests[self]
      return channel
    end
    if code ~= TIMEOUT and code ~= INTR then return nil, msg, code end
    if deadline and now() >= deadline then return nil, "timeout", TIMEOUT end
    if not sched.alone() then
      local ok
      ok, msg, code = sched.wait(self, READ, deadline)
      if not ok then return nil, msg, code end
    end
  end
end

--- An iterator over connections, for `for`; it ends when the listener is closed or the task
-- cancelled; another error raises.
function Listener:clients()
  check.self(self, "qio.listener", "clients")
  return function()
    local channel, msg, code = self:accept()
    if not channel and code ~= CLOSED and code ~= CANCELLED then error(msg, 2) end
    return channel
  end
end

--- The address as a URI, with what was chosen (a port); index: 1 by default.
function Listener:address(index)
  check.self(self, "qio.listener", "address")
  index = check.count(index, 1, "address", 1, 65536, 1)
  return core.listener_get_address(self, index - 1)
end

--- The port of the first address; nil for addresses without one.
function Listener:port()
  check.self(self, "qio.listener", "port")
  local address, msg, code = core.listener_get_address(self, 0)
  if not address then return nil, msg, code end
  -- With layers or without: tcp://host:port, ws+tcp://[v6]:port?...
  return tonumber(address:match("^[a-z+]*://[^/?]*:(%d+)"))
end

function Listener:fd()
  check.self(self, "qio.listener", "fd")
  return core.listener_get_fd(self, 0)
end

function Listener:close()
  check.self(self, "qio.listener", "close")
  local ok, msg, code = core.listener_close(self)
  if not ok then return nil, msg, code end
  return true
end

-- ---- owned descriptors and blocks of bytes ----

--- The number, which stays owned; nil when it was given away.
Fd.fileno = core.fd_number

--- The number, which is the caller's to close from now on.
Fd.detach = core.fd_detach

Fd.close = core.fd_close

--- A channel around it, which owns it from now on.
function Fd:open()
  check.self(self, "qio.fd", "open")
  local number = core.fd_number(self)
  if not number then return nil, "closed", CLOSED end
  local channel, msg, code = core.channel_new_fd(number)
  if not channel then return nil, msg, code end
  core.fd_detach(self)
  return channel
end

--- As string.sub.
function Bytes:sub(i, j)
  check.self(self, "qio.bytes", "sub")
  return core.bytes_sub(self, check.count(i, 1, "sub", -2 ^ 53, 2 ^ 53, 1),
                        check.count(j, 2, "sub", -2 ^ 53, 2 ^ 53, -1))
end

--- Copies a string or block to the offset (0); returns the block.
function Bytes:put(data, offset)
  check.self(self, "qio.bytes", "put")
  if type(data) ~= "string" and typename(data) ~= "qio.bytes" then
    check.bad(1, "put", "string or qio.bytes", check.describe(data))
  end
  offset = check.count(offset, 2, "put", 0, #self, 0)
  if #data > #self - offset then
    check.bad(1, "put", ("at most %d bytes"):format(#self - offset), ("%d bytes"):format(#data))
  end
  return core.bytes_put(self, data, offset)
end
