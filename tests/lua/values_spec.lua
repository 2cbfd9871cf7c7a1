-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Integers, strings with zeros, constants, and what require leaves behind.
local qio = require "qio"
local core = require "qio.core"
local dir = os.getenv "QIO_TEST_DIR" or "/tmp"

describe("integers", function()
  it("are exact, and not floats", function()
    local fd = assert(qio.file(dir .. "/sparse", "rw"))
    local at = assert(fd:seek("set", 1099511627776))
    assert.equal(1099511627776, at)
    if math.type then assert.equal("integer", math.type(at)) end
    assert.equal("5", tostring(assert(qio.buffer("12345"):size())))
    fd:close()
  end)

  it("out of the range of their type are errors", function()
    local ch = qio.null()
    for _, bad in ipairs({ 2 ^ 31, -2 ^ 31 - 1, 2 ^ 63, -2 ^ 63 * 2, 0.5, 0 / 0, 1 / 0, "7" }) do
      assert.is_false(pcall(core.channel_set_timeout, ch, bad))
    end
    assert.error_matches(function() core.channel_wait(ch, -1, 0) end, "out of range")
    assert.error_matches(function() core.channel_wait(ch, 2 ^ 32, 0) end, "out of range")
    assert.error_matches(function() core.channel_set_timeout(ch, 2 ^ 31) end, "#2 .*out of range")
    assert.error_matches(function() core.channel_set_timeout(ch, "7") end, "integer expected")
    assert.equal(0, core.channel_set_timeout(ch, 2 ^ 31 - 1))
    ch:close()
  end)

  if math.type then
    it("of 64 bits are kept on Lua 5.3 and later", function()
      local loop = assert(core.loop_new())
      local cookie = 9007199254740993           -- 2^53 + 1
      local watch = assert(core.watch_new_timer_queued(loop, 0, 0, cookie))
      local events, seen = {}, nil
      for _ = 1, 10 do
        local n = core.next_events(loop, events, 1000)
        if n > 0 and events[1] == core.EV_TIMER then seen = events[2] break end
      end
      assert.equal(cookie, seen)
      core.watch_remove(watch)
      core.loop_close(loop)
    end)
  else
    it("are doubles, which are exact up to 2^53 and refused beyond", function()
      local file = assert(qio.file(dir .. "/sparse", "rw"))
      local far = 2 ^ 53 - 1
      assert(file:seek("set", 2 ^ 40 + 1))
      assert.equal(2 ^ 40 + 1, file:seek())
      local ok, msg, code = file:seek("set", far)
      if not ok then assert.equal(qio.errno.EINVAL, code, msg) end
      if ok then assert.equal(far, ok) end
      assert.error_matches(function() file:seek("set", 2 ^ 54) end, "bad argument #2 to 'seek'")
      assert.error_matches(function() file:pread(1, 2 ^ 54) end, "bad argument #2 to 'pread'")
      file:close()
    end)
  end
end)

describe("strings", function()
  it("may hold zeros and any byte", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    all = table.concat(all)
    local a, b = qio.pair()
    a:write(all)
    assert.equal(all, b:readexactly(256))
    a:write("x\0y\0z\n")
    assert.equal("x\0y\0z", b:readuntil("\0z"))
    assert.equal("", b:readline())
    a:close()
    b:close()
  end)
end)

describe("a block of bytes", function()
  it("has length, parts and text", function()
    local b = qio.bytes(8)
    assert.equal(8, #b)
    assert.equal(("\0"):rep(8), tostring(b))
    assert.equal(b, b:put("abc"):put("de", 3))
    assert.equal("abcde\0\0\0", tostring(b))
    assert.equal("bcd", b:sub(2, 4))
    assert.equal("\0", b:sub(-1))
    assert.equal("", b:sub(5, 4))
    assert.equal("abcde\0\0\0", b:sub(-100, 100))
    assert.equal("", qio.bytes(0):sub())
    assert.error_matches(function() b:put("abc", 6) end, "at most 2 bytes expected, got 3 bytes")
  end)

  it("is written and read into", function()
    local a, b = qio.pair()
    local block = qio.bytes(5):put("hello")
    assert.equal(a, a:write(block, " ", 42))
    local into = qio.bytes(10)
    assert.equal(8, b:readinto(into, 1, 9))
    assert.equal("\0hello 42\0", tostring(into))
    a:close()
    local n, msg, code = b:readinto(into)
    assert.is_nil(n)
    assert.equal("closed", msg)
    assert.equal(qio.errno.EOF, code)
    b:close()
  end)
end)

describe("the module", function()
  it("has its constants", function()
    assert.equal("qio", qio._NAME)
    assert.matches("^qio %d+%.%d+", qio._VERSION)
    assert.equal(-13, qio.errno.TIMEOUT)
    assert.equal(-8, qio.errno.CLOSED)
    assert.equal(-18, qio.errno.EOF)
    assert.equal(111, qio.errno.ECONNREFUSED)
    assert.equal(1, qio.IN)
    assert.equal(32, qio.NVAL)
  end)

  it("sets no global, and may be required again", function()
    local before = {}
    for k, v in pairs(_G) do before[k] = v end
    for name in pairs(package.loaded) do
      if name:match("^qio") then package.loaded[name] = nil end
    end
    local again = require "qio"
    assert.is_true(again ~= qio)
    local a, b = again.pair()
    a:write("x")
    assert.equal("x", b:read())
    a:close()
    b:close()
    for k, v in pairs(_G) do assert.equal(before[k], v) end
    -- The second copy has a loop of its own when it is used; this test does not make one.
  end)
end)

describe("tostring", function()
  it("tells which object it is and whether it is open", function()
    local a, b = qio.pair()
    local l = qio.listen("tcp://127.0.0.1:0")
    assert.matches("^qio.channel: 0x%x+ %(fd " .. a:fd() .. "%)$", tostring(a))
    assert.matches("^qio.listener: 0x%x+ %(fd " .. l:fd() .. "%)$", tostring(l))
    assert.matches("^qio.channel: 0x%x+$", tostring(qio.buffer()))
    assert.matches("^qio.loop: 0x%x+$", tostring(qio.loop()))
    assert.is_true(tostring(a) ~= tostring(b))
    a:close()
    b:close()
    l:close()
    assert.matches("^qio.channel: 0x%x+ %(closed%)$", tostring(a))
    assert.matches("^qio.listener: 0x%x+ %(closed%)$", tostring(l))
  end)
end)
