-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Relays: in the main chunk, in tasks, with a filter, and how they end.
local qio = require "qio"

local E = qio.errno

-- near a - end a, end b - near b
local function scene()
  local near_a, a = qio.pair()
  local b, near_b = qio.pair()
  return near_a, a, b, near_b
end

local function drop(...)
  for i = 1, select("#", ...) do (select(i, ...)):close() end
end

describe("a relay", function()
  it("carries both ways until both have ended", function()
    local near_a, a, b, near_b = scene()
    near_a:write("hello")
    near_a:shutdown("write")
    near_b:write("back")
    near_b:shutdown("write")
    local ab, ba = qio.relay(a, b)
    assert.equal(5, ab)
    assert.equal(4, ba)
    assert.equal("hello", near_b:readall())
    assert.equal("back", near_a:readall())
    drop(near_a, a, b, near_b)
  end)

  it("runs in a task beside others", function()
    local near_a, a, b, near_b = scene()
    local ab, ba
    qio.spawn(function() ab, ba = qio.relay(a, b) end)
    local heard
    qio.spawn(function()
      near_a:write("ping")
      heard = near_a:read(4)
      near_a:shutdown("write")
    end)
    qio.spawn(function()
      near_b:write((near_b:read(4):upper()))
      near_b:shutdown("write")
    end)
    assert.is_true(qio.run())
    assert.equal("PING", heard)
    assert.equal(4, ab)
    assert.equal(4, ba)
    drop(near_a, a, b, near_b)
  end)

  it("goes through a command, and many at once", function()
    local results = {}
    for i = 1, 10 do
      qio.spawn(function()
        local near, a = qio.pair()
        local cat = assert(qio.command({ "cat" }))
        near:write(("x"):rep(i))
        near:shutdown("write")
        results[i] = { qio.relay(a, cat) }
        assert.equal(("x"):rep(i), near:read(i))
        drop(near, a)
        cat:close()
      end)
    end
    assert.is_true(qio.run())
    for i = 1, 10 do
      assert.equal(i, results[i][1])
      assert.equal(i, results[i][2])
    end
  end)

  it("holds its channels meanwhile, and gives them back when it is cancelled", function()
    local near_a, a, b, near_b = scene()
    local task = qio.loop():relay(a, b)
    local result
    qio.spawn(function()
      near_a:write("x")
      assert.equal("x", near_b:read(1))
      local value, _, code = b:read(1)
      assert.is_nil(value)
      assert.equal(E.BUSY, code)
      assert.is_true(task:cancel())
      result = { task:join() }
      near_a:write("y")
      assert.equal("y", a:read(1))
    end)
    assert.is_true(qio.run())
    assert.is_nil(result[1])
    assert.equal("cancelled", result[2])
    assert.equal(E.CANCELLED, result[3])
    assert.equal(1, result[4])
    assert.equal(0, result[5])
    drop(near_a, a, b, near_b)
  end)

  it("ends with a channel that is closed", function()
    local near_a, a, b, near_b = scene()
    local result
    qio.spawn(function() result = { qio.relay(a, b) } end)
    qio.spawn(function()
      near_a:write("x")
      near_b:read(1)
      a:close()
    end)
    assert.is_true(qio.run())
    assert.is_nil(result[1])
    assert.equal(E.CANCELLED, result[3])
    drop(near_a, b, near_b)
  end)

  it("has a limit for each direction and for idle time", function()
    local near_a, a, b, near_b = scene()
    near_a:write("hello")
    local value, _, code, ab, ba = qio.relay(a, b, { limit = 3 })
    assert.is_nil(value)
    assert.equal(E.LIMIT, code)
    assert.equal(3, ab)
    assert.equal(0, ba)
    assert.equal("lo", a:read(2))
    local msg
    value, msg, code = qio.relay(a, b, { idle_timeout = 0.01, buffer = 10 })
    assert.is_nil(value)
    assert.equal("timeout", msg)
    assert.equal(E.TIMEOUT, code)
    drop(near_a, a, b, near_b)
  end)
end)

describe("a filter", function()
  it("changes, passes, swallows and adds", function()
    local near_a, a, b, near_b = scene()
    local seen = {}
    near_a:write("hello")
    near_a:shutdown("write")
    near_b:write("back")
    near_b:shutdown("write")
    local ab, ba = qio.relay(a, b, { filter = function(direction, data)
      seen[#seen + 1] = direction .. data
      if direction == 1 then return data == "" and "!" or "" end
      return data ~= "" and data:upper() or nil
    end })
    assert.equal(5, ab)
    assert.equal(1, ba)
    assert.equal("HELLO", near_b:readall())
    assert.equal("!", near_a:readall())
    table.sort(seen)
    assert.equal("0 0hello 1 1back", table.concat(seen, " "))
    drop(near_a, a, b, near_b)
  end)

  it("ends the relay when it fails, and what it saw is not lost", function()
    for _, fn in ipairs({ function() error("no such word", 0) end, function() return 5 end }) do
      local near_a, a, b, near_b = scene()
      near_a:write("hello")
      local value, msg, code = qio.relay(a, b, { filter = fn })
      assert.is_nil(value)
      assert.is_true(msg == "no such word" or msg:find("string or nil") ~= nil)
      assert.equal(E.CALLBACK, code)
      assert.equal("hello", a:read(5))
      drop(near_a, a, b, near_b)
    end
  end)

  it("may not wait", function()
    local near_a, a, b, near_b = scene()
    near_a:write("hello")
    local value, msg = qio.relay(a, b, { filter = function() qio.relay(near_a, near_b) end })
    assert.is_nil(value)
    assert.matches("inside a callback", msg)
    drop(near_a, a, b, near_b)
  end)
end)

describe("misuse of a relay", function()
  it("names the argument", function()
    local near, a = qio.pair()
    assert.error_matches(function() qio.relay(5, a) end, "#1 to 'relay' %(qio.channel")
    assert.error_matches(function() qio.relay(a) end, "#2 to 'relay' %(qio.channel")
    assert.error_matches(function() qio.relay(a, near, 5) end, "#3 to 'relay' %(table")
    assert.error_matches(function() qio.relay(a, near, { filter = 5 }) end, "filter = function")
    assert.error_matches(function() qio.relay(a, near, { nonsense = 5 }) end, "idle_timeout")
    assert.error_matches(function() qio.relay(a, near, { limit = "x" }) end, "limit = number")
    assert.error_matches(function() qio.relay(a, near, { buffer = 0 }) end, "buffer")
    local value, msg, code = qio.relay(a, a)
    assert.is_nil(value)
    assert.matches("two channels", msg)
    assert.equal(E.INVAL, code)
    drop(near, a)
  end)
end)
