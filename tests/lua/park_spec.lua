-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Reads that suspend a task inside qio.core and are finished by the turn that finds the bytes.
local qio = require "qio"
local sched = require "qio.sched"

local E = qio.errno
-- Lua 5.1 cannot tell whether it may yield, so there every read waits the general way.
local parks = jit ~= nil or _VERSION ~= "Lua 5.1"

local function reader_of(ch, max)
  local co
  local task = qio.spawn(function()
    co = coroutine.running()
    return ch:read(max)
  end)
  repeat until not qio.step()
  assert.equal("waiting", task:status())
  assert.equal(parks, sched.hot.parked(co))
  return task, co
end

describe("a parked read", function()
  local a, b

  before_each(function() a, b = qio.pair() end)
  after_each(function()
    a:close()
    b:close()
    a, b = nil, nil
  end)

  it("gives what came, up to its limit", function()
    local task = reader_of(b, 3)
    a:write("abcdef")
    assert.same({ "abc" }, { task:join() })
    task = qio.spawn(function() return b:read() end)
    assert.same({ "def" }, { task:join() })
  end)

  it("gives the end, and an error of the system", function()
    local task = reader_of(b)
    a:shutdown("write")
    assert.same({ nil, "closed", E.EOF }, { task:join() })
    local back = reader_of(a)
    a:write("never read")
    b:close()
    local value, msg, code = back:join()
    assert.is_nil(value)
    assert.is_true(code == E.EOF or code == E.ECONNRESET, msg)
  end)

  it("is ended by close and by shutdown of its channel", function()
    local task = reader_of(b)
    b:close()
    assert.same({ nil, "closed", E.CLOSED }, { task:join() })
    local c, d = qio.pair()
    task = reader_of(c)
    c:shutdown("read")
    assert.same({ nil, "closed", E.EOF }, { task:join() })
    c:close()
    d:close()
  end)

  it("is ended by a cancel, once, and the channel can be read again", function()
    local task = reader_of(b)
    assert.is_true(task:cancel())
    assert.is_true(task:cancel())
    assert.same({ nil, "cancelled", E.CANCELLED }, { task:join() })
    assert.is_false(task:cancel())
    task = reader_of(b)
    a:write("x")
    assert.equal("x", task:join())
  end)

  it("that is cancelled when bytes are there loses none", function()
    local task = reader_of(b)
    a:write("kept")
    task:cancel()
    assert.same({ nil, "cancelled", E.CANCELLED }, { task:join() })
    assert.equal("kept", b:read())
  end)

  it("is no answer to a cancel that came before it", function()
    local task = qio.spawn(function()
      coroutine.yield()
      return b:read()
    end)
    qio.step()
    task:cancel()                               -- it is ready, not waiting: ends the next wait
    assert.same({ nil, "cancelled", E.CANCELLED }, { task:join() })
    task = reader_of(b)                         -- and only that
    a:write("x")
    assert.equal("x", task:join())
  end)

  it("keeps another reader out, of any kind, and a watch in", function()
    local task = reader_of(b)
    for _, verb in ipairs({ "read", "readline", "peek" }) do
      local value, msg, code = b[verb](b, verb == "peek" and 1 or nil)
      assert.is_nil(value)
      assert.equal("operation already in progress", msg)
      assert.equal(E.BUSY, code)
    end
    local fired = 0
    local watch = qio.loop():watch(b, "in", function()
      fired = fired + 1
      return false
    end)
    a:write("x")
    assert.equal("x", task:join())
    watch:remove()
    assert.is_true(fired <= 1)
  end)

  it("waits on when a stranger resumes it", function()
    local task, co = reader_of(b)
    for _ = 1, 3 do
      assert.is_true(coroutine.resume(co, "false data", true))
      assert.equal("waiting", task:status())
    end
    a:write("true data")
    assert.equal("true data", task:join())
  end)

  it("is held with its channel, though nobody else has either", function()
    local got
    do
      local ours, theirs = qio.pair()
      qio.spawn(function() got = theirs:read() end)
      qio.spawn(function()
        qio.sleep(0.002)
        ours:write("alive")
        ours:close()
      end)
    end
    repeat
      collectgarbage()
      qio.step(0.001)
    until got
    assert.equal("alive", got)
  end)

  it("finds its bytes at whatever rhythm they come", function()
    -- After some waits in a row the next is taken for granted, and then looked at again.
    local sent, got = {}, {}
    local task = qio.spawn(function()
      repeat
        local data = b:read(2)
        got[#got + 1] = data
      until not data
    end)
    for i = 1, 200 do
      sent[i] = ("%03d"):format(i)
      a:write(sent[i])
      if i % 7 ~= 0 then qio.step() end
    end
    a:shutdown("write")
    task:join()
    assert.equal(table.concat(sent), table.concat(got))
  end)

  it("sees what was read ahead", function()
    local task = qio.spawn(function()
      local parts = {}
      for _ = 1, 20 do parts[#parts + 1] = b:read(4) end    -- waits each time
      parts[#parts + 1] = b:peek(2)
      for _ = 1, 3 do parts[#parts + 1] = b:read(2) end
      return table.concat(parts)
    end)
    for _ = 1, 20 do
      repeat until not qio.step()
      a:write("wait")
    end
    repeat until not qio.step()
    a:write("peeked")
    assert.equal(("wait"):rep(20) .. "pe" .. "peeked", task:join())
  end)

  it("of a channel with a time-out waits no longer", function()
    b:settimeout(0.01)
    local task = qio.spawn(function() return b:read() end)
    assert.same({ nil, "timeout", E.TIMEOUT }, { task:join() })
    b:settimeout(0)
    task = qio.spawn(function() return b:read() end)
    assert.same({ nil, "timeout", E.AGAIN }, { task:join() })
  end)

  it("may be followed by an error, a yield and an end of the task", function()
    local errors = {}
    local before = qio.onerror(function(err) errors[#errors + 1] = err end)
    local bad = qio.spawn(function() error("after " .. b:read(), 0) end)
    qio.step()
    a:write("it")
    local value, msg = bad:join()
    qio.onerror(before)
    assert.is_nil(value)
    assert.equal("after it", msg)
    assert.matches("traceback", errors[1])
    local rest = qio.spawn(function()
      local first = b:read(1)
      coroutine.yield("nobody sees this")
      return first, nil, b:read(1), nil
    end)
    qio.step()
    a:write("12")
    local pack = function(...) return select("#", ...), ... end
    local n, first, _, second = pack(rest:join())
    assert.same({ 4, "1", "2" }, { n, first, second })
  end)
end)

describe("many rounds in one turn", function()
  -- Two tasks that bounce a byte keep a turn inside of qio.core.
  local function bounce(a, b, times)
    local function player(ch, serve)
      return function()
        if serve then ch:write("x") end
        for _ = 1, times do
          if not ch:read(1) then return end
          ch:write("x")
        end
      end
    end
    return qio.spawn(player(a, true)), qio.spawn(player(b, false))
  end

  it("end with quit, with a timer, with what the main chunk waits for", function()
    local a, b = qio.pair()
    local one, two = bounce(a, b, 1e9)
    local loop, rang = qio.loop(), 0
    loop:add_timer(0.001, function()
      rang = rang + 1
      loop:quit()
    end)
    assert(loop:run())
    assert.equal(1, rang)
    assert.is_true(qio.sleep(0.001))
    assert.equal("in time", qio.spawn(function()
      qio.sleep(0.001)
      return "in time"
    end):join())
    one:cancel()
    two:cancel()
    assert(qio.run())
    a:close()
    b:close()
  end)

  it("are one for step", function()
    local a, b = qio.pair()
    local one, two = bounce(a, b, 1e9)
    for _ = 1, 10 do assert.is_true(qio.step(1)) end
    one:cancel()
    two:cancel()
    assert(qio.run())
    a:close()
    b:close()
  end)

  it("leave no task behind that is spawned meanwhile", function()
    local a, b = qio.pair()
    local ran = 0
    qio.spawn(function()
      for i = 1, 500 do
        b:read(1)
        if i % 50 == 0 then qio.spawn(function() ran = ran + 1 end) end
        b:write("x")
      end
    end)
    qio.spawn(function()
      for _ = 1, 500 do
        a:write("x")
        a:read(1)
      end
    end)
    assert(qio.run())
    assert.equal(10, ran)
    a:close()
    b:close()
  end)
end)
