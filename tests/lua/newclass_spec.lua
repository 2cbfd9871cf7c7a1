-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Channels written in Lua: used from Lua, under TLS, WebSocket and relays; what methods raise and
-- may do; what becomes of instances.
local qio = require "qio"
local core = require "qio.core"

local E = qio.errno
local LUA51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function fails(code, text, value, msg, number, ...)
  assert.is_nil(value)
  assert.equal(code, number, msg)
  if type(text) == "string" then assert.matches(text, msg) else assert.equal(text, msg) end
  return ...
end

-- ---- two ends in memory: whoever writes notifies the other ----

local Pipe = qio.newclass {
  read = function(self, max)
    if self.data == "" then
      if self.ended then return nil, "closed" end
      return nil, "timeout"
    end
    local part = self.data:sub(1, math.min(max, self.most or max))
    self.data = self.data:sub(#part + 1)
    self.peer:notify("out")
    return part
  end,
  write = function(self, data)
    local peer = self.peer
    if peer.ended then return nil, "Broken pipe", E.EPIPE end
    local room = (peer.size or 1e9) - #peer.data
    if room <= 0 then return nil, "timeout" end
    local n = math.min(room, #data)
    peer.data = peer.data .. data:sub(1, n)
    peer:notify("in")
    return n
  end,
  finish = function(self)                       -- no method of a channel: the class's own
    self.peer.ended = true
    self.peer:notify("in")
  end,
  shutdown = function(self, how)
    self.how = how
    if how ~= "read" then self:finish() end
    return true
  end,
  close = function(self) self:finish() end,
}

local function pipe(size, most)
  local a, one = Pipe { data = "", size = size, most = most }
  local b, two = Pipe { data = "", size = size, most = most }
  one.peer, two.peer = two, one
  return a, b, one, two
end

-- ---- a class over another channel, which waits where that does ----

local Wrap = qio.newclass {
  read = function(self, max) return self.inner:read(max) end,
  write = function(self, data) return self.inner:write(data) end,
  shutdown = function(self, how) return self.inner:shutdown(how) end,
  close = function(self) return self.inner:close() end,
  poll = function(self) return self.inner end,
}

local function wrapped_pair()
  local a, b = qio.pair()
  return Wrap { inner = a }, Wrap { inner = b }
end

local function random_text(n)
  local parts = {}
  for i = 1, math.ceil(n / 8) do parts[i] = ("%08x"):format(i * 2654435761 % 4294967296) end
  return table.concat(parts):sub(1, n)
end

local KINDS = {
  pipe = function() return pipe() end,
  ["small pipe"] = function() return pipe(7, 3) end,
  wrapper = wrapped_pair,
}

for kind, make in pairs(KINDS) do
  describe("a " .. kind .. " written in Lua", function()
    it("is a channel like any other", function()
      local a, b = make()
      assert.equal("custom", a:kind())
      assert.equal("qio.channel", core.typename(a))
      local task = qio.spawn(function()
        assert.equal("one", b:readline())
        assert.equal("tw", b:peek(2))
        assert.equal("two\n", b:read("L"))
        assert.equal("12345678", b:readexactly(8))
        assert.equal("a;", b:readuntil(";"))
        local block, at = qio.bytes(6), 0
        while at < 6 do at = at + assert(b:readinto(block, at)) end
        assert.equal("block!", tostring(block))
        return b:readall()
      end)
      local writer = qio.spawn(function()
        assert.equal(a, a:write("one\ntwo\n", 1234, "5678"))
        assert(a:write("a;block!"))
        assert(a:write(("rest"):rep(20)))
        assert(a:shutdown("write"))
      end)
      local rest, msg = task:join()
      writer:join()
      assert.equal(("rest"):rep(20), rest, msg)
      fails(E.EOF, "closed", b:read())
      assert.is_true(a:close())
      assert.is_true(b:close())
      fails(E.CLOSED, "closed", a:read())
      fails(E.CLOSED, "closed", a:write("x"))
    end)

    it("carries bytes both ways in every size", function()
      local a, b = make()
      local sent = random_text(kind == "small pipe" and 900 or 60000)
      local function talk(ch)
        local writer = qio.spawn(function()
          local at, step = 1, 1
          while at <= #sent do
            assert(ch:write(sent:sub(at, at + step - 1)))
            at, step = at + step, step % 97 + 13
          end
          assert(ch:shutdown("write"))
        end)
        local got, size = {}, 1
        local data = ch:read(size)
        while data do
          got[#got + 1] = data
          size = size % 61 + 7
          data = ch:read(size)
        end
        writer:join()
        return table.concat(got)
      end
      local one, two = qio.spawn(talk, a), qio.spawn(talk, b)
      assert.equal(sent, one:join())
      assert.equal(sent, two:join())
      a:close()
      b:close()
    end)

    it("goes through a relay", function()
      local a, b = make()
      local c, d = qio.pair()
      local relay = qio.loop():relay(b, c)
      local text = random_text(300)
      local client = qio.spawn(function()
        a:write(text)
        a:shutdown("write")
        return a:readall()
      end)
      local server = qio.spawn(function()
        d:write("answer: ", d:readall())
        d:shutdown("write")
      end)
      assert.equal("answer: " .. text, client:join())
      server:join()
      assert.equal(300, (relay:join()))
      for _, ch in ipairs { a, b, c, d } do ch:close() end
    end)

    it("may have TLS and a WebSocket on it", function()
      local a, b = make()
      local server = qio.spawn(function()
        local tls = assert(b:starttls(assert(qio.creds.anon { server = true }), { server = true }))
        local ws = assert(tls:websocket { server = true, mode = "messages" })
        local message = assert(ws:recv())
        ws:send(message:upper())
        assert(ws:recv() == nil)
        ws:close()
      end)
      local client = qio.spawn(function()
        local tls = assert(a:starttls(assert(qio.creds.anon {})))
        local ws = assert(tls:websocket { mode = "messages" })
        ws:send("over everything")
        local answer = ws:recv()
        ws:closewith(1000)
        ws:recv()
        ws:close()
        return answer
      end)
      assert.equal("OVER EVERYTHING", client:join())
      server:join()
    end)

    it("may be watched", function()
      local a, b = make()
      local seen = {}
      local watch = qio.loop():watch(b, "in", function(ch)
        seen[#seen + 1] = ch:read()
        return #table.concat(seen) < 3 and nil
      end)
      qio.step()
      a:write("abc")
      for _ = 1, 20 do qio.step(0) end
      assert.equal("abc", table.concat(seen))
      watch:remove()
      a:close()
      b:close()
    end)
  end)
end

describe("a channel written in Lua", function()
  it("blocks the main chunk until it is notified or the time is over", function()
    local a, b = pipe()
    qio.spawn(function()
      qio.sleep(0.001)
      a:write("late")
    end)
    assert.equal("late", b:read())
    b:settimeout(0.01)
    fails(E.TIMEOUT, "timeout", b:read())
    b:settimeout(0)
    fails(E.AGAIN, "timeout", b:read())
    a:close()
    b:close()
  end)

  it("says timeout when it is full, and goes on later", function()
    local a, b, _, two = pipe(4)
    a:settimeout(0.01)
    local sent = fails(E.TIMEOUT, "timeout", a:write("123456"))
    assert.equal(4, sent)
    assert.equal("1234", b:read())
    assert(a:write("56"))
    assert.equal("56", two.data)
    a:close()
    b:close()
  end)

  it("wakes who waits for it when it is closed", function()
    local a, b = pipe()
    local task = qio.spawn(b.read, b)
    qio.step()
    b:close()
    fails(E.CLOSED, "closed", task:join())
    a:close()
  end)
end)

local function reader(fn, more)
  local methods = { read = fn }
  for name, value in pairs(more or {}) do methods[name] = value end
  return (qio.newclass(methods)())
end

-- ---- errors ----

describe("an error in a method", function()
  it("is a result where the channel is used, as the value that was raised", function()
    local err = { what = "mine" }
    local ch = reader(function() error(err) end)
    fails(E.CALLBACK, err, ch:read())
    fails(E.CALLBACK, err, ch:readline())
    assert.equal(err, select(2, qio.spawn(ch.read, ch):join()))
    ch:close()
    ch = reader(function() error("at its line") end)
    fails(E.CALLBACK, "newclass_spec.lua:%d+: at its line", ch:read())
    ch:close()
    local long = ("long "):rep(500) .. "\0\255"
    ch = reader(function() error(long, 0) end)
    fails(E.CALLBACK, long:sub(1, 5), ch:read())
    assert.equal(long, select(2, ch:read()))
    ch:close()
  end)

  it("goes through every layer with its value", function()
    local err = setmetatable({}, { __tostring = function() return "told by itself" end })
    local a, b = pipe()
    local broken = qio.newclass {
      read = function(_, max)
        local data, msg, code = b:read(max)
        if data and data:find("\21\3", 1, true) == 1 then data = nil end
        if not data then error(err) end
        return data, msg, code
      end,
      write = function(_, data) return b:write(data) end,
      poll = function() return true end,
    }()
    local tls = assert(broken:starttls(assert(qio.creds.anon {}), { handshake = false }))
    local ws = assert(tls:websocket { handshake = false })
    fails(E.CALLBACK, err, ws:handshake())
    fails(E.CALLBACK, err, tls:handshake())
    for _, ch in ipairs { ws, tls, broken, a, b } do ch:close() end
  end)

  it("has a text for C, which is what is left after many others", function()
    local values = {
      ["TLS handshake: by itself"] = setmetatable({}, { __tostring = function() return "by itself" end }),
      ["TLS handshake: %(an error value without a text"] =
        setmetatable({}, { __tostring = function() error("again") end }),
      ["TLS handshake: %(an error value: table"] = {},
      ["TLS handshake: %(an error value: function"] = print,
    }
    local other = reader(function() error({}) end)
    for text, value in pairs(values) do
      local ch = reader(function() error(value, 0) end, { write = function() return true end })
      local tls = assert(ch:starttls(assert(qio.creds.anon {}), { handshake = false }))
      fails(E.CALLBACK, value, tls:handshake())
      for _ = 1, 20 do other:read() end
      fails(E.CALLBACK, text, tls:handshake())
      tls:close()
    end
    other:close()
  end)

  it("does not hold error values for ever", function()
    local weak = setmetatable({}, { __mode = "k" })
    local ch = reader(function()
      local err = {}
      weak[err] = true
      error(err)
    end)
    for _ = 1, 100 do ch:read() end
    collectgarbage()
    collectgarbage()
    local count = 0
    for _ in pairs(weak) do count = count + 1 end
    assert.is_true(count <= 17, count)
    ch:close()
  end)

  it("of another channel is passed on", function()
    local err = {}
    local inner = reader(function() error(err) end)
    local outer = reader(function(_, max) return inner:read(max) end)
    fails(E.CALLBACK, err, outer:read())
    inner:close()
    fails(E.CLOSED, "closed", outer:read())
    outer:close()
  end)
end)

-- ---- what a method may do ----

describe("a method", function()
  it("cannot wait", function()
    local a, b = qio.pair()
    local seen = {}
    local ch = reader(function(_, max)
      seen[1] = select(2, b:read(max))
      seen[2] = select(2, pcall(qio.sleep, 0))
      seen[3] = select(2, pcall(qio.step))
      seen[4] = select(2, pcall(qio.connect, "tcp://127.0.0.1:1"))
      seen[5] = select(2, pcall(function() return qio.spawn(print):join() end))
      return "done"
    end)
    for _, where in ipairs { function(fn) fn() end,
                             function(fn) assert(select(3, qio.spawn(fn):join()) == nil) end } do
      where(function()
        seen = {}
        assert.equal("done", ch:read())
        assert.equal("timeout", seen[1])
        for i = 2, 5 do assert.matches("inside of a method of a channel", seen[i]) end
      end)
    end
    for _, one in ipairs { ch, a, b } do one:close() end
  end)

  it("may close its own channel", function()
    local ch, self = qio.newclass {
      read = function(self)
        assert(self:channel():close())
        return "last"
      end,
      close = function(self) self.closed = (self.closed or 0) + 1 end,
    }()
    local data, msg = ch:read()
    assert.is_true(data == "last" or msg == "closed")
    fails(E.CLOSED, "closed", ch:read())
    assert.equal(1, self.closed)
    fails(E.BADHANDLE, "", (function()
      ch = nil
      collectgarbage()
      collectgarbage()
      return self:channel()
    end)())
  end)

  it("gets BUSY from its own channel", function()
    local ch = reader(function(self, max)
      fails(E.BUSY, "", self:channel():read(max))
      return "fine"
    end)
    assert.equal("fine", ch:read())
    ch:close()
  end)

  it("may use other channels, and what is read ahead stays what it was", function()
    local a, b = pipe()
    local c, d = wrapped_pair()
    local noise = qio.buffer(("noise"):rep(1000))
    local loud = qio.newclass {
      read = function(_, max)
        noise:seek("set", 0)
        noise:read(4000)
        noise:readline()
        return d:read(math.min(max, 5))
      end,
      write = function(_, data) return d:write(data) end,
      poll = function() return d end,
    }()
    local server = qio.spawn(function()
      local tls = assert(c:starttls(assert(qio.creds.anon { server = true }), { server = true }))
      tls:write(("plain text "):rep(3000))
      tls:close()
    end)
    local client = qio.spawn(function()
      local tls = assert(loud:starttls(assert(qio.creds.anon {})))
      local parts, data = {}, tls:read()
      while data do
        parts[#parts + 1] = data
        data = tls:read()
      end
      tls:close()
      return table.concat(parts)
    end)
    assert.equal(("plain text "):rep(3000), client:join())
    server:join()
    for _, ch in ipairs { a, b, noise } do ch:close() end
  end)

  it("may cancel who reads from it", function()
    local task
    local ch, self = qio.newclass {
      read = function(self)
        if not self.ready then return nil, "timeout" end
        task:cancel()
        return "kept"
      end,
    }()
    task = qio.spawn(function() return ch:read() end)
    qio.step()
    self.ready = true
    self:notify("in")
    local data, msg, code = task:join()
    if not data then fails(E.CANCELLED, "cancelled", data, msg, code) end
    self.ready = false
    if not data then
      ch:settimeout(0)
      assert.equal("kept", ch:read())
    end
    ch:close()
  end)
end)

-- ---- classes and instances ----

describe("qio.newclass", function()
  it("checks its methods", function()
    assert.error_matches(function() qio.newclass() end, "#1 to 'newclass' %(table expected")
    assert.error_matches(function() qio.newclass {} end, "read or write expected, got neither")
    assert.error_matches(function() qio.newclass { read = 1 } end,
                         "read = function expected, got number 1")
    assert.error_matches(function() qio.newclass { read = print, notify = print } end,
                         "other names than notify and channel expected, got notify")
    local class = qio.newclass { read = function() return "" end }
    assert.error_matches(function() class(1) end, "newclass_spec.lua:%d+: .*got number 1")
    assert.error_matches(function() class(setmetatable({}, {})) end, "without a metatable")
  end)

  it("makes instances that know their channel", function()
    local class = qio.newclass {
      read = function(self) return self:greeting() end,
      greeting = function(self) return "hello " .. self.name end,
    }
    local ch, self = class { name = "Lua" }
    assert.equal(ch, self:channel())
    assert.equal("hello Lua", ch:read())
    assert.is_true(self:notify() and self:notify("in") and self:notify(qio.OUT))
    assert.error_matches(function() self:notify("nonsense") end, '"in", "out" or "inout" expected')
    assert.error_matches(function() self.notify({}) end, "calling 'notify' on bad self")
    ch:close()
    local other = class()
    fails(E.CALLBACK, "greeting", (function()
      local _, msg, code = other:read()
      return nil, msg and "greeting: " .. tostring(msg), code
    end)())
    other:close()
  end)

  local function collect()
    for _ = 1, 4 do
      collectgarbage()
      qio.step()
    end
  end

  it("lets the instance go with its channel", function()
    local weak = setmetatable({}, { __mode = "v" })
    local closed = 0
    local class = qio.newclass {
      read = function() return "x" end,
      close = function() closed = closed + 1 end,
    }
    do
      local ch, self = class()
      weak[1], weak[2] = ch, self
      assert.equal("x", ch:read())
    end
    collect()
    assert.is_nil(weak[1])
    assert.is_nil(weak[2])
  end)

  it("lets a cycle go once it is closed", function()
    local weak = setmetatable({}, { __mode = "v" })
    local class = qio.newclass { read = function() return "x" end }
    do
      local ch, self = class()
      self.me = ch
      weak[1], weak[2] = ch, self
    end
    collect()
    assert.is_true(weak[2] ~= nil)
    weak[1]:close()
    collect()
    assert.is_nil(weak[1])
    assert.is_nil(weak[2])
  end)

  it("keeps the instance while a layer has the channel", function()
    local a, b = pipe()
    local tls = a:starttls(assert(qio.creds.anon {}), { handshake = false })
    a = nil
    collect()
    tls:settimeout(0.01)
    fails(E.TIMEOUT, "timeout", tls:read())
    assert.matches("^\22\3", b:read())          -- the start of a handshake
    tls:close()
    b:close()
    assert.is_nil(a)
  end)

  it("ends methods that call each other without end", function()
    local ch
    local class = qio.newclass {
      read = function() return nil, "timeout" end,
      poll = function() return ch end,
    }
    ch = class {}
    local data, msg = ch:read(1)
    assert.is_nil(data)
    assert.matches("without end", msg)
    ch:close()
  end)
end)
