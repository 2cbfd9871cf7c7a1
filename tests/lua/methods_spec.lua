-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Channels written in Lua: what each method may return, and what becomes of what it may not.
local qio = require "qio"

local E = qio.errno

local function fails(code, text, value, msg, number, ...)
  assert.is_nil(value)
  assert.equal(code, number, msg)
  if type(text) == "string" then assert.matches(text, msg) else assert.equal(text, msg) end
  return ...
end

local function reader(fn, more)
  local methods = { read = fn }
  for name, value in pairs(more or {}) do methods[name] = value end
  return (qio.newclass(methods)())
end

describe("what read returns", function()
  it("may be no longer than it was asked for", function()
    local ch = reader(function(_, max) return ("x"):rep(max + 1) end)
    fails(E.CALLBACK, "read returned 6 bytes, but was asked for at most 5", ch:read(5))
    fails(E.CALLBACK, "at most 65536", ch:read())
    ch:close()
  end)

  it("is a string, or nil and a reason", function()
    for value, text in pairs { [42] = "number", [true] = "boolean", [{}] = "table",
                               [print] = "function", [io.stdout] = "userdata" } do
      local ch = reader(function() return value end)
      fails(E.CALLBACK, "read has to return a string, or nil and a reason, not a " .. text,
            ch:read(5))
      ch:close()
    end
    local ch = reader(function() end)
    fails(E.CALLBACK, "returned nil without a reason", ch:read(5))
    ch:close()
  end)

  it("is the end as closed or as nothing", function()
    for _, at_end in ipairs { function() return nil, "closed" end, function() return "" end,
                              function() return nil, "closed", E.EOF end } do
      local ch = reader(at_end)
      fails(E.EOF, "closed", ch:read(5))
      assert.equal("", ch:readall())
      ch:close()
    end
  end)

  it("is an error with its message and code", function()
    local ch = reader(function() return nil, "no such thing", E.ENOENT end)
    fails(E.ENOENT, "no such thing", ch:read())
    ch:close()
    ch = reader(function() return nil, "what a protocol", E.PROTOCOL end)
    fails(E.PROTOCOL, "what a protocol", ch:read())
    ch:close()
    ch = reader(function() return nil, "no code" end)
    fails(E.CALLBACK, "no code", ch:read())
    ch:close()
    ch = reader(function() return nil, "bad code", -99 end)
    fails(E.CALLBACK, "%-99", ch:read())
    ch:close()
    ch = reader(function() return nil, "bytes that are no text \255", E.EIO end)
    fails(E.EIO, "bytes that are no text ?", ch:read())
    ch:close()
    ch = reader(function() return nil, ("long "):rep(1000) .. "\195\182", E.EIO end)
    fails(E.EIO, "long long", ch:read())
    ch:close()
  end)
end)

describe("what write returns", function()
  local function writer(fn)
    return (qio.newclass { write = fn }())
  end

  it("is how much it took, or true or a channel for all", function()
    local got = {}
    local ch = writer(function(_, data)
      got[#got + 1] = data:sub(1, 2)
      return #got[#got]
    end)
    assert.equal(ch, ch:write("abcde"))
    assert.equal("ab cd e", table.concat(got, " "))
    ch:close()
    ch = writer(function() return true end)
    assert.equal(ch, ch:write("abcde"))
    ch:close()
    ch = writer(function() return qio.null() end)
    assert.equal(ch, ch:write("abcde"))
    ch:close()
  end)

  it("is nothing else", function()
    for value, text in pairs { [6] = "write returned 6, but was given 5 bytes",
                               [-1] = "write returned %-1", [1.5] = "integer expected",
                               x = "how many bytes it took, true for all", [{}] = "not a table" } do
      local ch = writer(function() return value end)
      fails(E.CALLBACK, text, ch:write("abcde"))
      ch:close()
    end
  end)

  it("may be a part with the reason for the rest", function()
    local calls = 0
    local ch = writer(function(_, data)
      calls = calls + 1
      if calls == 1 then return nil, "No space", E.ENOSPC, 3 end
      assert.equal("de", data)
      return nil, "No space", E.ENOSPC
    end)
    local sent = fails(E.ENOSPC, "No space", ch:write("abcde"))
    assert.equal(3, sent)
    ch:close()
  end)
end)

describe("the other methods", function()
  it("are told what to do and tell how it went", function()
    local log = {}
    local ch = qio.newclass {
      read = function() return nil, "closed" end,
      write = function() return true end,
      seek = function(_, whence, offset) log[#log + 1] = whence .. offset return 100 + offset end,
      shutdown = function(_, how) log[#log + 1] = how end,
      flush = function() log[#log + 1] = "flush" return true end,
      close = function() log[#log + 1] = "close" end,
    }()
    assert.equal(105, ch:seek("cur", 5))
    assert.equal(98, ch:seek("end", -2))
    assert.equal(100, ch:seek("set"))
    assert.is_true(ch:flush())
    assert(ch:shutdown("write"))
    assert.is_true(ch:close())
    assert.is_true(ch:close())
    assert.equal("cur5 end-2 set0 flush write flush close", table.concat(log, " "))
  end)

  it("may fail", function()
    local class = qio.newclass {
      read = function() return "" end,
      seek = function() return nil, "Illegal seek", E.ESPIPE end,
      shutdown = function() return nil, "not now", E.EBUSY end,
      close = function() return nil, "lost", E.EIO end,
    }
    local ch = class()
    fails(E.ESPIPE, "Illegal seek", ch:seek("cur", 5))
    fails(E.EBUSY, "not now", ch:shutdown())
    fails(E.EIO, "lost", ch:close())
    fails(E.CLOSED, "closed", ch:read())
    assert.is_true(ch:close())
  end)

  it("are not supported when they are not there", function()
    local ch = reader(function() return "x" end)
    fails(E.NOTSUP, "seek", ch:seek("cur", 1))
    assert.is_nil((ch:shutdown()))
    fails(E.NOTSUP, "write", ch:write("x"))
    assert.is_true(ch:close())
  end)
end)

-- ---- poll ----

describe("poll", function()
  it("may give a descriptor, another direction, or that it is ready", function()
    local a, b = qio.pair()
    local class = qio.newclass {
      read = function(_, max) return b:read(max) end,
      poll = function(self, direction) return self.answer(direction) end,
    }
    for _, answer in ipairs {
      function() return b:fd(), "in" end, function() return b:fd() end, function() return b end,
      function(direction) return b, direction end,
    } do
      local ch = class { answer = answer }
      local task = qio.spawn(ch.read, ch)
      qio.step()
      assert.equal("waiting", task:status())
      a:write("x")
      assert.equal("x", task:join())
      ch:close()
    end
    local ch = class { answer = function() return true end }
    a:write("y")
    assert.equal("y", ch:read())
    ch:close()
    a:close()
    b:close()
  end)

  it("may be wrong", function()
    for _, value in ipairs { "x", {}, -5, 1e9 } do
      local ch = reader(function() return nil, "timeout" end, { poll = function() return value end })
      ch:settimeout(0.05)
      local ok, msg, code = ch:read()
      assert.is_nil(ok)
      assert.equal("string", type(msg))
      assert.is_true(code ~= E.EOF)
      ch:close()
    end
  end)
end)
