-- SPDX-License-Identifier: LGPL-2.1-or-later
-- What closes what: the collector, <close>, and objects that are dropped while in use.  The
-- runner compares the open descriptors after each test.
local qio = require "qio"
local core = require "qio.core"

local load = loadstring or load

local function live()
  for _ = 1, 3 do
    collectgarbage()
    qio.step()                                  -- where a watch lets go of its channel
  end
  return core.debug_live(core.KIND_CHANNEL) + core.debug_live(core.KIND_LISTENER)
end

describe("the collector", function()
  it("closes what nobody has", function()
    local before = live()
    for _ = 1, 20 do
      qio.pair()
      qio.listen("tcp://127.0.0.1:0")
      qio.buffer("x")
    end
    assert.equal(before, live())
  end)

  it("closes a channel that had waited in a task, with its watch", function()
    local before = live()
    local function use()
      local a, b = qio.pair()
      local task = qio.spawn(function() return b:read() end)
      qio.step()
      a:write("x")
      assert.equal("x", task:join())
    end
    use()
    assert.equal(before, live())
  end)

  it("closes what a cancelled task had", function()
    local before = live()
    local function use()
      local _, b = qio.pair()
      local task = qio.spawn(function() return b:read() end)
      qio.step()
      task:cancel()
      assert.is_nil((task:join()))
    end
    use()
    assert.equal(before, live())
  end)

  it("under stress loses nothing that is in use", function()
    local a, b = qio.pair()
    collectgarbage("setpause", 1)
    local writer = qio.spawn(function()
      for i = 1, 300 do a:write(("%d"):format(i):rep(100), "\n") end
      a:close()
    end)
    local n = 0
    for line in b:lines() do
      n = n + 1
      assert.equal(("%d"):format(n):rep(100), line)
      if n % 50 == 0 then collectgarbage() end
    end
    collectgarbage("setpause", 200)
    writer:join()
    assert.equal(300, n)
    b:close()
  end)
end)

if _VERSION >= "Lua 5.4" then
  describe("<close>", function()
    local function run(text, ...)
      return assert(load(text, "=close"))(qio, ...)
    end

    it("closes at the end of the scope and on an error", function()
      local ch = run [[
        local qio = ...
        local a <close>, keep = qio.pair()
        return a, keep:close()
      ]]
      assert.equal(qio.errno.CLOSED, select(3, ch:read()))
      local inside
      local ok, err = pcall(run, [[
        local qio, out = ...
        local l <close> = assert(qio.listen("tcp://127.0.0.1:0"))
        local f <close> = assert(qio.null())
        out(l, f)
        error("stop", 0)
      ]], function(l, f) inside = { l, f } end)
      assert.is_false(ok)
      assert.equal("stop", err)
      assert.equal(qio.errno.CLOSED, select(3, inside[1]:accept()))
      assert.equal(qio.errno.CLOSED, select(3, inside[2]:write("x")))
    end)

    it("removes a watch and closes a passed descriptor", function()
      local a, b = qio.pair()
      run([[
        local qio, a, b = ...
        local watch <close> = qio.loop():watch(b, "in", function() error("removed") end)
        a:sendfds("x", { a })
        local _, fds = b:recvfds()
        local fd <close> = fds[1]
        a:write("y")
      ]], a, b)
      qio.step()
      assert.equal("y", b:read())
      a:close()
      b:close()
    end)
  end)
end
