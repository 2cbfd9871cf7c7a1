-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Callbacks of the loop: watches, timers, deferred calls, errors in them, waits in them.
local qio = require "qio"

local function collect_errors()
  local errors = {}
  local before = qio.onerror(function(err) errors[#errors + 1] = err end)
  return errors, function() qio.onerror(before) end
end

describe("a watch", function()
  it("is called while the condition holds, until it returns false", function()
    local loop = qio.loop()
    local a, b = qio.pair()
    local got = {}
    loop:watch(b, "in", function(ch, condition)
      assert.equal(b, ch)
      assert.equal(qio.IN, condition)
      got[#got + 1] = ch:read(1)
      if #got == 3 then
        loop:quit()
        return false
      end
    end)
    a:write("abcd")
    assert.is_true(loop:run())
    assert.equal("abc", table.concat(got))
    qio.step()
    assert.equal("d", b:read())
    a:close()
    b:close()
  end)

  it("returning nothing, nil or 0 stays", function()
    local a, b = qio.pair()
    local calls = 0
    local results = { nil, 0, true, "x" }
    local watch = qio.loop():watch(b, "in", function()
      calls = calls + 1
      return results[calls]
    end)
    a:write("x")
    for _ = 1, 6 do qio.step() end
    assert.equal(6, calls)
    assert.is_true(watch:remove())
    assert.is_true(watch:remove())
    qio.step()
    assert.equal(6, calls)
    a:close()
    b:close()
  end)

  it("has one last call when the channel is closed", function()
    local a, b = qio.pair()
    local last
    qio.loop():watch(b, "in", function(_, condition) last = condition end)
    b:close()
    qio.step()
    assert.is_true(last >= qio.NVAL)
    last = nil
    qio.step()
    assert.is_nil(last)
    a:close()
  end)

  it("for writing, for both, and on a listener", function()
    local loop = qio.loop()
    local a, b = qio.pair()
    local seen = {}
    loop:watch(a, "out", function(_, cond) seen.out = cond return false end)
    loop:watch(b, qio.IN + qio.OUT, function(_, cond) seen.both = cond return false end)
    a:write("x")
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    loop:watch(l, function(listener)
      seen.client = assert(listener:accept(0))
      return false
    end)
    local c = assert(qio.connect(l:address()))
    while not (seen.client and seen.out and seen.both) do qio.step(10) end
    assert.equal(qio.OUT, seen.out)
    assert.equal(qio.IN + qio.OUT, seen.both)
    for _, ch in ipairs({ a, b, c, l, seen.client }) do ch:close() end
    qio.step()
  end)

  it("on a regular file is always ready", function()
    local f = assert(qio.file("/proc/self/exe"))
    local calls = 0
    qio.loop():watch(f, "in", function()
      calls = calls + 1
      return calls < 3
    end)
    for _ = 1, 5 do qio.step() end
    assert.equal(3, calls)
    f:close()
  end)

  it("keeps its channel alive", function()
    local a
    local got
    do
      local b
      a, b = qio.pair()
      qio.loop():watch(b, "in", function(ch)
        got = ch:read()
        ch:close()
        return false
      end)
    end
    collectgarbage()
    collectgarbage()
    a:write("x")
    qio.step(10)
    assert.equal("x", got)
    a:close()
    qio.step()
  end)

  it("may remove and close anything from inside", function()
    local loop = qio.loop()
    local a, b = qio.pair()
    local watch
    watch = loop:watch(b, "in", function(ch)
      watch:remove()
      ch:close()
      a:close()
      loop:defer(function() watch = nil end)
    end)
    a:write("x")
    for _ = 1, 3 do qio.step() end
    assert.is_nil(watch)
  end)
end)

describe("a timer", function()
  it("fires once, or until it returns false", function()
    local loop = qio.loop()
    local once, often = 0, 0
    loop:add_timer(0.001, function() once = once + 1 end)
    loop:add_timer(0, function()
      often = often + 1
      if often == 5 then loop:quit() return false end
    end, 0.001)
    loop:run()
    assert.equal(5, often)
    while once == 0 do qio.step(10) end
    qio.step()
    assert.equal(1, once)
    assert.equal(5, often)
  end)
end)

describe("defer", function()
  it("calls once, in order", function()
    local loop = qio.loop()
    local order = {}
    for i = 1, 3 do loop:defer(function() order[#order + 1] = i end) end
    for _ = 1, 3 do qio.step() end
    assert.same({ 1, 2, 3 }, order)
  end)
end)

describe("an error in a callback", function()
  it("goes to onerror with a traceback, and the watch stays", function()
    local errors, restore = collect_errors()
    local a, b = qio.pair()
    local watch = qio.loop():watch(b, "in", function() error("in a watch") end)
    a:write("x")
    qio.step()
    qio.step()
    watch:remove()
    assert.equal(2, #errors)
    assert.matches("loop_spec.lua:%d+: in a watch", errors[1])
    assert.matches("traceback", errors[1])
    qio.loop():defer(function() error({ code = 1 }) end)
    qio.step()
    restore()
    assert.equal(1, errors[3].code)
    a:close()
    b:close()
  end)

  it("of a dead coroutine's watch too", function()
    local errors, restore = collect_errors()
    local a, b = qio.pair()
    local co = coroutine.create(function()
      qio.loop():watch(b, "in", function(ch)
        ch:read()
        error("late", 0)
      end)
    end)
    coroutine.resume(co)
    co = nil
    collectgarbage()
    collectgarbage()
    a:write("x")
    qio.step()
    assert.equal(1, #errors)
    assert.matches("^late", errors[1])
    a:close()
    b:close()
    qio.step()
    restore()
  end)
end)

describe("inside a callback", function()
  it("tasks are started, and wait", function()
    local loop = qio.loop()
    local a, b = qio.pair()
    local c, d = qio.pair()
    loop:defer(function()
      qio.spawn(function() c:write(b:readexactly(2)) end)
    end)
    qio.spawn(function()
      a:write("1")
      qio.sleep(0.001)
      a:write("2")
    end)
    assert.equal("12", d:readexactly(2))
    for _, ch in ipairs({ a, b, c, d }) do ch:close() end
  end)

  it("a read waits for that channel alone", function()
    local c = assert(qio.command({ "sh", "-c", "read x; echo got $x" }))
    local line
    qio.loop():defer(function()
      c:write("it\n")
      line = c:readline()
    end)
    while not line do qio.step(10) end
    assert.equal("got it", line)
    assert.equal(0, c:waitexit())
    c:close()
  end)

  it("a read has its time-out", function()
    local a, b = qio.pair()
    b:settimeout(0.01)
    local code
    qio.loop():defer(function() code = select(3, b:read()) end)
    while not code do qio.step(10) end
    assert.equal(qio.errno.TIMEOUT, code)
    a:close()
    b:close()
  end)

  it("sleep, join, run and step raise", function()
    local errors, restore = collect_errors()
    local loop = qio.loop()
    local task = qio.spawn(qio.sleep, 0.001)
    loop:defer(function() qio.sleep(1) end)
    loop:defer(function() task:join() end)
    loop:defer(function() qio.run() end)
    loop:defer(function() loop:step() end)
    qio.run()
    restore()
    assert.equal(4, #errors)
    for _, err in ipairs(errors) do assert.matches("inside a callback", err) end
  end)
end)
