-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.compat.socket: the names of LuaSocket over qio, so that programs written for it run in
-- tasks: package.preload["socket"] = function() return require "qio.compat.socket" end
--
-- Owns: the objects that tcp() makes, with a buffer of their own; the table that require
-- "socket" gives: tcp, connect, bind, select, try and protect, sources and sinks.
-- Rules: results are LuaSocket's: nil, message, what there was.  Bytes that came before a
-- time-out are given out, not kept.  A time-out of mode "b" (the default) is for each wait,
-- one of mode "t" for the whole call.  docs/lua.md has what differs.

local core = require "qio.core"
local qio = require "qio"
local sched = require "qio.sched"
local check = require "qio.check"

local E, now = qio.errno, core.now

local BLOCK = 8192                      -- what one wait reads or writes, at least

local socket = {
  _VERSION = "LuaSocket 3.1.0 over " .. qio._VERSION,
  _SETSIZE = 1024, BLOCKSIZE = 2048,
  sourcet = {}, sinkt = {}, dns = {},
}

local Tcp = {}
Tcp.__index = Tcp
Tcp.__name = "qio.compat.socket"

-- ---- errors and time-outs ----

local TEXTS = {
  [E.TIMEOUT] = "timeout", [E.AGAIN] = "timeout", [E.ETIMEDOUT] = "timeout",
  [E.EOF] = "closed", [E.CLOSED] = "closed", [E.ECONNRESET] = "closed", [E.EPIPE] = "closed",
  [E.ECONNABORTED] = "closed", [E.TLS_TRUNCATED] = "closed",
  [E.ECONNREFUSED] = "connection refused", [E.EADDRINUSE] = "address already in use",
  [E.EACCES] = "permission denied", [E.EISCONN] = "already connected",
  [E.RESOLVE] = "host or service not provided, or not known",
}

local function text_of(msg, code)
  return TEXTS[code] or code and code > 0 and msg:match("[^:]+$"):gsub("^%s+", "") or msg
end

-- When the call that starts now is to end, for "t".
local function start(self)
  return self.total and now() + self.total * 1000
end

-- Seconds for the next wait; nil: no limit.
local function patience(self, ends)
  local left = ends and math.max(0, (ends - now()) / 1000)
  if self.block and left then return math.min(self.block, left) end
  return self.block or left
end

local function check_tcp(self, method)
  if getmetatable(self) ~= Tcp then
    error(("calling '%s' on bad self (tcp object expected, got %s)"):format(method,
          core.typename(self)), 3)
  end
end

--- The most seconds that a wait ("b", the default) or a call ("t") may take; nil or a negative
-- number: no limit.
function Tcp:settimeout(value, mode)
  check_tcp(self, "settimeout")
  if value ~= nil then
    check.is(value, "number", 1, "settimeout")
    if value < 0 then value = nil end
  end
  mode = mode == nil and "b" or mode
  if mode ~= "b" and mode ~= "t" and mode ~= "r" then
    check.bad(2, "settimeout", '"b", "t" or "r"', check.describe(mode))
  end
  self[mode == "b" and "block" or "total"] = value
  return 1
end

function Tcp:gettimeout()
  check_tcp(self, "gettimeout")
  return self.block or -1, self.total or -1
end

-- ---- making ----

local function new(fields)
  fields.buffer, fields.received, fields.sent, fields.born = "", 0, 0, now()
  fields.kind = fields.kind or "master"
  return setmetatable(fields, Tcp)
end

--- An object that is to be connected or bound.  options (not LuaSocket's): those of qio.connect
-- and qio.listen, such as tls.
function socket.tcp(options)
  if options ~= nil then check.is(options, "table", 1, "tcp") end
  return new{ options = options }
end
socket.tcp4, socket.tcp6 = socket.tcp, socket.tcp

--- An object around a channel of any kind, which it owns from now on.
function socket.wrap(channel)
  if core.typename(channel) ~= "qio.channel" then
    check.bad(1, "wrap", "qio.channel", check.describe(channel))
  end
  return new{ channel = channel, kind = "client" }
end

function socket.udp()
  return nil, "udp is not supported"
end
socket.udp4, socket.udp6 = socket.udp, socket.udp

local function uri_of(host, port)
  if type(host) ~= "string" or host == "" or host:find("[%c%s/?#@]") then
    check.bad(1, "connect", "host", check.describe(host), 3)
  end
  if not tostring(port):match("^%d+$") then
    check.bad(2, "connect", "port", check.describe(port), 3)
  end
  if host == "*" then host = "0.0.0.0" end
  return ("tcp://%s:%s"):format(host:find(":", 1, true) and "[" .. host .. "]" or host, port)
end

local function with_timeout(self, seconds)
  local options = { timeout = seconds or false }
  for key, value in pairs(self.options or {}) do options[key] = value end
  if self.keepalive ~= nil then options.keep_alive = self.keepalive end
  return options
end

function Tcp:connect(host, port)
  check_tcp(self, "connect")
  local uri = uri_of(host, port)
  if self.kind ~= "master" then return nil, self.channel and "already connected" or "closed" end
  local channel, msg, code = qio.connect(uri, with_timeout(self, patience(self, start(self))))
  if not channel then return nil, text_of(msg, code) end
  self.channel, self.kind, self.born = channel, "client", now()
  if self.nodelay ~= nil then channel:setdelay(not self.nodelay) end
  return 1
end
Tcp.setpeername = Tcp.connect

--- Binds and listens, both at once; listen() after it does nothing more.
function Tcp:bind(host, port)
  check_tcp(self, "bind")
  local uri = uri_of(host, port)
  if self.kind ~= "master" then return nil, "already bound" end
  local listener, msg, code = qio.listen(uri, self.options)
  if not listener then return nil, text_of(msg, code) end
  self.listener, self.kind = listener, "server"
  return 1
end
Tcp.setsockname = Tcp.bind

function Tcp:listen()
  check_tcp(self, "listen")
  if self.kind ~= "server" then return nil, "bind to an address first" end
  return 1
end

function Tcp:accept()
  check_tcp(self, "accept")
  if not self.listener then return nil, "closed" end
  local channel, msg, code = self.listener:accept(patience(self, start(self)))
  if not channel then return nil, text_of(msg, code) end
  return new{ channel = channel, kind = "client" }
end

-- ---- receiving ----

-- More bytes in the buffer: true, or nil, message.
local function fill(self, ends, want)
  local channel = self.channel
  if not channel then return nil, "closed" end
  channel:settimeout(patience(self, ends))
  local data, msg, code = channel:read(want)
  if not data then return nil, text_of(msg, code) end
  self.buffer = self.buffer .. data
  self.received = self.received + #data
  return true
end

-- The first n bytes of the buffer.
local function take(self, n)
  local data = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(n + 1)
  return data
end

-- Parts of a long answer, without joining them each time.
local function receive_count(self, ends, n)
  local parts = { take(self, n) }
  local held = #parts[1]
  while held < n do
    local ok, msg = fill(self, ends, math.min(math.max(n - held, BLOCK), 65536))
    if not ok then return nil, msg, table.concat(parts) end
    parts[#parts + 1] = take(self, n - held)
    held = held + #parts[#parts]
  end
  return table.concat(parts)
end

local function receive_line(self, ends)
  local parts = {}
  while true do
    local at = self.buffer:find("\n", 1, true)
    parts[#parts + 1] = take(self, at or #self.buffer)
    if at then break end
    local ok, msg = fill(self, ends, BLOCK)
    if not ok then return nil, msg, (table.concat(parts):gsub("\r", "")) end
  end
  return (table.concat(parts):gsub("[\r\n]", ""))
end

local function receive_all(self, ends)
  local parts = {}
  while true do
    parts[#parts + 1] = take(self, #self.buffer)
    local ok, msg = fill(self, ends, 65536)
    if not ok then
      local data = table.concat(parts)
      if msg == "closed" and data ~= "" then return data end
      return nil, msg, data
    end
  end
end

--- pattern: "*l" (a line without its end, the default), "*a" (all until the end), or how many
-- bytes.  What there was until an error comes as the third result, after the prefix.
function Tcp:receive(pattern, prefix)
  check_tcp(self, "receive")
  prefix = prefix == nil and "" or check.is(prefix, "string", 2, "receive")
  local ends = start(self)
  local data, msg, partial
  if type(pattern) == "number" then
    check.count(pattern, 1, "receive", 0, 2 ^ 53)
    if pattern <= #prefix then return prefix end
    data, msg, partial = receive_count(self, ends, pattern - #prefix)
  elseif pattern == nil or pattern == "*l" or pattern == "l" then
    data, msg, partial = receive_line(self, ends)
  elseif pattern == "*a" or pattern == "a" then
    data, msg, partial = receive_all(self, ends)
  else
    check.bad(1, "receive", '"*l", "*a" or a number', check.describe(pattern))
  end
  if data then return prefix .. data end
  return nil, msg, prefix .. partial
end

--- Whether bytes are in the object's own buffer, which select has to know.
function Tcp:dirty()
  check_tcp(self, "dirty")
  return self.buffer ~= "" or self.channel ~= nil and (self.channel:pending() or 0) > 0
end

-- ---- sending ----

--- Sends data, or its part from i to j: the index of the last byte sent; on an error nil, message
-- and that index.
function Tcp:send(data, i, j)
  check_tcp(self, "send")
  data = type(data) == "number" and tostring(data) or check.is(data, "string", 1, "send")
  i, j = i or 1, j or -1
  if i < 0 then i = math.max(#data + i + 1, 1) end
  if j < 0 then j = #data + j + 1 end
  i, j = math.max(i, 1), math.min(j, #data)
  local channel, ends, at = self.channel, start(self), i
  if not channel then return nil, "closed", i - 1 end
  while at <= j do
    local part = data:sub(at, math.min(at + BLOCK - 1, j))
    channel:settimeout(patience(self, ends))
    local ok, msg, code, sent = channel:write(part)
    at = at + (ok and #part or sent or 0)
    self.sent = self.sent + (ok and #part or sent or 0)
    if not ok then return nil, text_of(msg, code), at - 1 end
  end
  return at - 1
end

local HOW = { both = "both", send = "write", receive = "read" }

function Tcp:shutdown(how)
  check_tcp(self, "shutdown")
  how = check.choice(how == nil and "both" or how, 1, "shutdown", HOW,
                     '"both", "send" or "receive"')
  if not self.channel then return nil, "closed" end
  local ok, msg, code = self.channel:shutdown(how)
  if not ok then return nil, text_of(msg, code) end
  return 1
end

function Tcp:close()
  check_tcp(self, "close")
  local object = self.channel or self.listener
  self.channel, self.listener, self.buffer, self.kind = nil, nil, "", "closed"
  if object then object:close() end
  return 1
end
Tcp.__close = Tcp.close

-- ---- what is known ----

local function split(address)
  local host, port = (address or ""):match("^[a-z+]*://(.*):(%d+)")
  if not host then return nil, "no address of an internet socket" end
  local v6 = host:match("^%[(.*)%]$")
  return v6 or host, port, v6 and "inet6" or "inet"
end

function Tcp:getsockname()
  check_tcp(self, "getsockname")
  if self.listener then return split(self.listener:address()) end
  if not self.channel then return nil, "closed" end
  return split(self.channel:localaddress())
end

function Tcp:getpeername()
  check_tcp(self, "getpeername")
  if not self.channel then return nil, "closed" end
  local host, port, family = split(self.channel:peeraddress())
  return host, family and tonumber(port) or port, family      -- a number here only
end

function Tcp:getfamily()
  check_tcp(self, "getfamily")
  return select(3, self:getsockname()) or "inet"
end

function Tcp:getfd()
  check_tcp(self, "getfd")
  local object = self.channel or self.listener
  return object and object:fd() or -1
end

function Tcp:getstats()
  check_tcp(self, "getstats")
  return self.received, self.sent, (now() - self.born) / 1000
end

function Tcp:setstats(received, sent, age)
  check_tcp(self, "setstats")
  self.received, self.sent = received or self.received, sent or self.sent
  if age then self.born = now() - age * 1000 end
  return 1
end

--- "tcp-nodelay" at any time, "keepalive" before connect; "reuseaddr" is on as it is.
function Tcp:setoption(option, value)
  check_tcp(self, "setoption")
  if option == "tcp-nodelay" then
    self.nodelay = value and true or false
    local ok, msg, code = true, nil, nil
    if self.channel then ok, msg, code = self.channel:setdelay(not self.nodelay) end
    if not ok then return nil, text_of(msg, code) end
    return 1
  elseif option == "keepalive" and self.kind == "master" then
    self.keepalive = value and true or false
    return 1
  elseif option == "reuseaddr" or option == "ipv6-v6only" then
    return 1
  end
  return nil, ("option '%s' is not supported"):format(tostring(option))
end

function Tcp:getoption(option)
  check_tcp(self, "getoption")
  if option == "tcp-nodelay" then return self.nodelay or false end
  if option == "keepalive" then return self.keepalive or false end
  if option == "reuseaddr" then return true end
  return nil, ("option '%s' is not supported"):format(tostring(option))
end

function Tcp:__tostring()
  return ("tcp{%s}: %s"):format(rawget(self, "kind"), tostring(self.channel or self.listener))
end

-- ---- functions ----

function socket.connect(host, port)
  local object = socket.tcp()
  local ok, msg = object:connect(host, port)
  if not ok then return nil, msg end
  return object
end
socket.connect4, socket.connect6 = socket.connect, socket.connect

function socket.bind(host, port, backlog)
  local object = socket.tcp(backlog and { backlog = backlog } or nil)
  local ok, msg = object:bind(host, port)
  if not ok then return nil, msg end
  return object
end

function socket.sleep(seconds)
  qio.sleep(math.max(0, seconds))
end

-- The wall clock has whole seconds here: right to one second, and steady.
local offset = os.time() - now() / 1000

function socket.gettime()
  return offset + now() / 1000
end

function socket.skip(count, ...)
  return select(count + 1, ...)
end

-- ---- select ----

local function has_bytes(object)
  return type(object.dirty) == "function" and object:dirty()
end

-- A watch on what the object is about; nil for what is closed, which is ready.
local function watch(object, condition, note)
  local target = getmetatable(object) == Tcp and (object.channel or object.listener)
  local loop = qio.loop()
  if core.typename(target) == "qio.listener" then
    return core.watch_new_listener(loop, target, note)
  elseif target then
    return core.watch_new(loop, target, condition, note)
  end
  local fd = type(object.getfd) == "function" and object:getfd() or -1
  return fd >= 0 and core.watch_new_fd(loop, fd, condition, note) or nil
end

-- A list that tells of each object where it is, as LuaSocket's do.
local function add(list, object)
  if not list[object] then
    list[#list + 1] = object
    list[object] = #list
  end
end

--- Those of a list that can be read, those of another that can be written, and "timeout" when
-- there are none in so many seconds (nil: no limit).
function socket.select(readers, writers, timeout)
  if timeout ~= nil then check.is(timeout, "number", 3, "select") end
  sched.refuse_in_callback("select", 2)
  local readable, writable, watches, slots = {}, {}, {}, {}
  local function see(list, objects, condition)
    for _, object in ipairs(objects or {}) do
      local function note()
        add(list, object)
        for w in pairs(slots) do sched.wake(w, true) end
        return false
      end
      if condition == core.IN and has_bytes(object) then
        add(list, object)
      else
        local one = watch(object, condition, note)
        if one then watches[#watches + 1] = one else add(list, object) end
      end
    end
  end
  see(readable, readers, core.IN)
  see(writable, writers, core.OUT)
  local seconds = (#readable + #writable > 0) and 0 or timeout
  local _, msg = sched.park(slots, seconds and seconds >= 0 and now() + seconds * 1000)
  for _, one in ipairs(watches) do core.watch_remove(one) end
  if #readable + #writable > 0 then return readable, writable end
  return readable, writable, msg == "cancelled" and msg or "timeout"
end

-- ---- try and protect ----

local Failure = { __tostring = function(self) return tostring(self[1]) end }

--- A function that gives its arguments, but when the first is false calls the finalizer and
-- raises the second for the protect around it.
function socket.newtry(finalizer)
  return function(...)
    if ... then return ... end
    if finalizer then pcall(finalizer) end
    error(setmetatable({ (select(2, ...)) }, Failure), 0)
  end
end

socket.try = socket.newtry()

local function outcome(ok, ...)
  if ok then return ... end
  local err = ...
  if getmetatable(err) == Failure then return nil, err[1] end
  error(err, 0)
end

--- A function that calls fn and gives nil and the message of a try that failed in it.
function socket.protect(fn)
  return function(...) return outcome(pcall(fn, ...)) end
end

-- ---- sources and sinks ----

--- A function that calls the one of a table that its first argument names ("default").
function socket.choose(functions)
  return function(name, first, second)
    if type(name) ~= "string" then name, first, second = "default", name, first end
    local fn = functions[name]
    if not fn then error(("unknown key (%s)"):format(name), 3) end
    return fn(first, second)
  end
end

-- What LTN12 calls, with the methods that select asks for.
local function pump(object, fn)
  return setmetatable({
    getfd = function() return object:getfd() end,
    dirty = function() return object:dirty() end,
  }, { __call = fn })
end

socket.sinkt["close-when-done"] = function(object)
  return pump(object, function(_, chunk)
    if chunk then return object:send(chunk) end
    object:close()
    return 1
  end)
end

socket.sinkt["keep-open"] = function(object)
  return pump(object, function(_, chunk)
    if chunk then return object:send(chunk) end
    return 1
  end)
end
socket.sinkt.default = socket.sinkt["keep-open"]

socket.sourcet["by-length"] = function(object, left)
  return pump(object, function()
    if left <= 0 then return nil end
    local chunk, msg = object:receive(math.min(socket.BLOCKSIZE, left))
    if not chunk then return nil, msg end
    left = left - #chunk
    return chunk
  end)
end

socket.sourcet["until-closed"] = function(object)
  local over = false
  return pump(object, function()
    if over then return nil end
    local chunk, msg, partial = object:receive(socket.BLOCKSIZE)
    if chunk then return chunk end
    if msg ~= "closed" then return nil, msg end
    object:close()
    over = true
    return partial
  end)
end
socket.sourcet.default = socket.sourcet["until-closed"]

socket.sink = socket.choose(socket.sinkt)
socket.source = socket.choose(socket.sourcet)

-- ---- names ----

function socket.dns.gethostname()
  local file = io.open("/proc/sys/kernel/hostname")
  local name = file and file:read("*l")
  if file then file:close() end
  return name or "localhost"
end

--- An address as it is; a name only by connecting to it.
function socket.dns.toip(host)
  if host == "localhost" then host = "127.0.0.1" end
  if host:match("^%d+%.%d+%.%d+%.%d+$") or host:find(":", 1, true) then return host end
  return nil, "names are looked up by connect"
end

function socket.dns.getaddrinfo(host)
  local address, msg = socket.dns.toip(host)
  if not address then return nil, msg end
  return { { family = address:find(":", 1, true) and "inet6" or "inet", addr = address } }
end

return socket
