-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The verbs of reading and writing, lines, the end, and time-outs that lose nothing.
local qio = require "qio"

local E = qio.errno

local function fails(msg, code, value, got_msg, got_code)
  assert.is_nil(value)
  assert.equal(msg, got_msg)
  assert.equal(code, got_code)
end

local modes = {
  ["in the main chunk"] = function(fn) return fn end,
  ["in a task"] = function(fn)
    return function()
      local task = qio.spawn(function() fn() return true end)
      local before = qio.onerror(function() end)
      local ok, err = task:join()
      qio.onerror(before)
      if not ok then error(err, 0) end
    end
  end,
}

for mode, wrap in pairs(modes) do
  describe(mode, function()
    local a, b
    before_each(function() a, b = qio.pair() end)
    after_each(function()
      a:close()
      b:close()
      a, b = nil, nil
    end)

    it("read gives what is there, up to max", wrap(function()
      a:write("hello world")
      assert.equal("hello", b:read(5))
      assert.equal(" world", b:read())
      assert.equal("", b:read(0))
      a:close()
      fails("closed", E.EOF, b:read())
      fails("closed", E.EOF, b:read(1))
    end))

    it("readexactly gives exactly n", wrap(function()
      a:write("abc", "defg")
      assert.equal("abcde", b:readexactly(5))
      assert.equal("", b:readexactly(0))
      a:close()
      fails("closed", E.EOF, b:readexactly(3))
      assert.equal("fg", b:read())
      fails("closed", E.EOF, b:readexactly(1))
    end))

    it("readline, read l and read L", wrap(function()
      a:write("one\ntwo\n\nthree\r\nlast")
      assert.equal("one", b:readline())
      assert.equal("two\n", b:read("L"))
      assert.equal("", b:read("l"))
      assert.equal("three\r", b:read("l"))
      a:close()
      assert.equal("last", b:readline())
      fails("closed", E.EOF, b:readline())
    end))

    it("readuntil takes several delimiters and a limit", wrap(function()
      a:write("GET / HTTP/1.0\r\n\r\nbody;rest")
      assert.equal("GET / HTTP/1.0\r\n\r\n", b:readuntil("\r\n\r\n"))
      assert.equal("body;", b:readuntil({ "|", ";" }))
      local value, msg, code = b:readuntil("|", 3)
      assert.is_nil(value)
      assert.equal("string", type(msg))
      assert.equal(E.LIMIT, code)
      assert.equal("rest", b:read())
      a:write("tail")
      a:close()
      assert.equal("tail", b:readuntil("|"))
    end))

    it("a long line comes whole", wrap(function()
      local line = ("x"):rep(300000)
      local writer = qio.spawn(function() return a:write(line, "\n", "next\n") end)
      assert.equal(line, b:readline())
      assert.equal("next", b:readline())
      assert.equal(a, writer:join())
    end))

    it("readall and read a give all, and the empty string at the end", wrap(function()
      a:write("abc\ndef")
      a:shutdown("write")
      assert.equal("abc\ndef", b:readall())
      assert.equal("", b:readall())
      assert.equal("", b:read("a"))
    end))

    it("lines goes over all lines", wrap(function()
      a:write("1\n2\n3")
      a:close()
      local seen = {}
      for line in b:lines() do seen[#seen + 1] = line end
      assert.same({ "1", "2", "3" }, seen)
    end))

    it("lines raises an error that is not the end", wrap(function()
      b:close()
      assert.error_matches(function() for _ in b:lines("L") do end end, "closed")
    end))

    it("peek leaves the bytes", wrap(function()
      a:write("abcdef")
      assert.equal("abc", b:peek(3))
      assert.equal("abcdef", b:peek(100))
      assert.equal(6, b:pending())
      assert.equal("abcdef", b:read())
      a:close()
      fails("closed", E.EOF, b:peek(1))
    end))

    it("write returns the channel and takes numbers", wrap(function()
      assert.equal(a, a:write("a", 1, "b", 2.5))
      assert.equal("a1b2.5", b:read())
      assert.equal(a, a:write())
      assert.equal(a, a:write(""))
    end))

    it("write to a reader that is gone tells the error", wrap(function()
      b:close()
      local value, msg, code = a:write("x")
      assert.is_nil(value)
      assert.equal(E.EPIPE, code)
      assert.equal("string", type(msg))
    end))

    it("a time-out keeps every byte", wrap(function()
      b:settimeout(0.02)
      a:write("half")
      fails("timeout", E.TIMEOUT, b:readline())
      fails("timeout", E.TIMEOUT, b:readexactly(10))
      fails("timeout", E.TIMEOUT, b:readall())
      fails("timeout", E.TIMEOUT, b:readuntil(";"))
      a:write(" and half\n")
      assert.equal("half and half", b:readline())
      fails("timeout", E.TIMEOUT, b:read())
      b:settimeout(nil)
      a:write("z")
      assert.equal("z", b:read())
    end))

    it("a time-out of 0 never waits", wrap(function()
      b:settimeout(0)
      fails("timeout", E.AGAIN, b:read())
      fails("timeout", E.AGAIN, b:readline())
      a:write("x")
      assert.equal("x", b:read())
    end))

    it("a write that times out says how much went", wrap(function()
      a:settimeout(0.02)
      local big = ("x"):rep(3000000)
      local value, msg, code, sent = a:write("head", big)
      fails("timeout", E.TIMEOUT, value, msg, code)
      assert.is_true(sent > 4 and sent < #big)
      a:shutdown("write")
      assert.equal(sent, #b:readall())
    end))

    it("shutdown ends one direction", wrap(function()
      assert.is_true(a:shutdown("write"))
      fails("closed", E.EOF, b:read())
      b:write("still")
      assert.equal("still", a:read())
    end))
  end)
end

describe("back-pressure", function()
  it("3 MB go through two tasks whole", function()
    local a, b = qio.pair()
    local data = {}
    for i = 1, 3 * 1024 do data[i] = ("%08d"):format(i):rep(128) end
    data = table.concat(data)
    local writer = qio.spawn(function()
      assert(a:write(data))
      a:close()
      return "written"
    end)
    local reader = qio.spawn(function() return b:readall() end)
    assert(qio.run())
    assert.equal("written", writer:join())
    assert.is_true(reader:join() == data)
    b:close()
  end)

  it("3 MB go from a task to the main chunk", function()
    local a, b = qio.pair()
    local data = ("0123456789abcdef"):rep(196608)
    qio.spawn(function()
      a:write(data)
      a:close()
    end)
    assert.is_true(b:readexactly(#data) == data)
    assert.is_nil((b:read()))
    b:close()
  end)
end)
