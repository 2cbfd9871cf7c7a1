-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Nurseries: nothing of them is alive afterwards, whatever ended them; and fairness of tasks.
local qio = require "qio"

local E = qio.errno
local unpack = table.unpack or unpack

-- Plain Lua 5.1 suspends no task inside of pcall: there the function is called without.
local LUA51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")
local try = LUA51 and function(fn, ...) return true, fn(...) end or pcall

-- Calls fn with the errors that onerror got meanwhile.
local function with_errors(fn)
  local errors = {}
  local before = qio.onerror(function(err) errors[#errors + 1] = err end)
  local ok, err = try(fn, errors)
  qio.onerror(before)
  if not ok then error(err, 0) end
end

-- fn is run in a task and in the main chunk.
local function both(fn)
  return function()
    fn()
    local _, err, code = qio.spawn(fn):join()
    if code == E.CALLBACK then error(err, 0) end
  end
end

describe("a nursery", function()
  it("waits for all of its tasks and gives what its function returns", both(function()
    local ended = 0
    local first, second, third = qio.nursery(function(n)
      for i = 1, 5 do
        n:spawn(function(ms)
          qio.sleep(ms / 1000)
          ended = ended + 1
        end, i)
      end
      return "a", nil, "c"
    end)
    assert.same({ "a", "c" }, { first, third })
    assert.is_nil(second)
    assert.equal(5, ended)
  end))

  it("takes tasks from its tasks", both(function()
    local depth = 0
    assert.equal("top", (qio.nursery(function(n)
      local function go_down(left)
        depth = depth + 1
        if left > 0 then n:spawn(go_down, left - 1) end
      end
      n:spawn(go_down, 9)
      return "top"
    end)))
    assert.equal(10, depth)
  end))

  it("cancels the others when one fails, and tells why", both(function()
    with_errors(function(errors)
      local stopped = 0
      local value, err, code = qio.nursery(function(n)
        for _ = 1, 3 do
          n:spawn(function()
            local _, _, why = qio.sleep(1000)
            if why == E.CANCELLED then stopped = stopped + 1 end
          end)
        end
        n:spawn(function()
          qio.sleep(0.001)
          error("broken", 0)
        end)
        qio.sleep(1000)
      end)
      assert.is_nil(value)
      assert.equal("broken", err)
      assert.equal(E.CALLBACK, code)
      assert.equal(3, stopped)
      assert.equal(1, #errors)
    end)
  end))

  it("cancels its tasks when its function fails", both(function()
    with_errors(function(errors)
      local task
      local value, err, code = qio.nursery(function(n)
        task = n:spawn(qio.sleep, 1000)
        qio.sleep(0)
        error({ 42 })
      end)
      assert.is_nil(value)
      assert.equal(42, err[1])
      assert.equal(E.CALLBACK, code)
      assert.equal("done", task:status())
      assert.equal(1, #errors)
    end)
  end))

  it("is cancelled with who waits for it, and waits for the end of its tasks", function()
    local cleaned = false
    local outer = qio.spawn(function()
      return qio.nursery(function(n)
        n:spawn(function()
          qio.sleep(1000)
          qio.sleep(0.002)                      -- the cancel ended one wait only
          cleaned = true
        end)
        qio.sleep(1000)
      end)
    end)
    repeat qio.step() until outer:status() == "waiting"
    qio.step()
    outer:cancel()
    local value, msg, code = outer:join()
    assert.is_nil(value)
    assert.equal("cancelled", msg)
    assert.equal(E.CANCELLED, code)
    assert.is_true(cleaned)
  end)

  it("that is over takes no task", function()
    local kept
    qio.nursery(function(n) kept = n end)
    local value, msg, code = kept:spawn(print)
    assert.is_nil(value)
    assert.equal("closed", msg)
    assert.equal(E.CLOSED, code)
  end)

  it("can be cancelled and waited for by itself", both(function()
    local n = qio.nursery()
    local tasks = { n:spawn(qio.sleep, 1000), n:spawn(qio.sleep, 1000) }
    qio.sleep(0)
    n:cancel()
    assert.is_true(n:join())
    for _, task in ipairs(tasks) do
      assert.equal(E.CANCELLED, select(3, task:join()))
    end
    assert(n:spawn(function() end))
    assert.is_true(n:join())
  end))

  it("checks what it is given", function()
    assert.error_matches(function() qio.nursery(3) end,
                         "bad argument #1 to 'nursery' %(function expected, got number 3")
    assert.error_matches(function() qio.nursery().spawn(3, print) end, "bad self")
    assert.error_matches(function() qio.nursery():spawn(nil) end,
                         "bad argument #1 to 'spawn' %(function expected, got nil")
  end)

  if _VERSION == "Lua 5.4" then
    it("as a <close> variable waits, and cancels after an error", both(function()
      local run = assert(load([[
        local qio, fail = ...
        local task, ended
        local ok, err = pcall(function()
          local n <close> = qio.nursery()
          task = n:spawn(function()
            ended = select(3, qio.sleep(fail and 1000 or 0.002)) or "in peace"
          end)
          qio.sleep(0)
          if fail then error("scope", 0) end
        end)
        return ok, err, task:status(), ended
      ]]))
      assert.same({ true, nil, "done", "in peace" }, { run(qio, false) })
      assert.same({ false, "scope", "done", E.CANCELLED }, { run(qio, true) })
    end))

    it("as a <close> variable raises the error of a task", both(function()
      with_errors(function()
        local run = assert(load([[
          local qio = ...
          return pcall(function()
            local n <close> = qio.nursery()
            n:spawn(error, "inside", 0)
          end)
        ]]))
        assert.same({ false, "inside" }, { run(qio) })
      end)
    end))
  end
end)

describe("a task whose reads always find their bytes", function()
  local function busy(loops)
    local null = qio.null()
    local task = qio.spawn(function()
      for i = 1, loops do
        local ok, msg = null:write("x")
        if not ok then return i, msg end
      end
      return "all"
    end)
    return task, null
  end

  it("lets others run", function()
    local task, null = busy(1e5)
    local rounds = 0
    local other = qio.spawn(function()
      while task:status() ~= "done" do
        rounds = rounds + 1
        coroutine.yield()
      end
    end)
    assert.equal("all", task:join())
    other:join()
    assert.is_true(rounds > 100, rounds)
    null:close()
  end)

  it("can be cancelled", function()
    local task, null = busy(1e9)
    qio.step()
    qio.step()
    task:cancel()
    local at, msg = task:join()
    assert.is_true(at > 100)
    assert.equal("cancelled", msg)
    null:close()
  end)

  it("lets timers be", function()
    local null = qio.null()
    local rang = false
    local timer = qio.loop():add_timer(0.001, function() rang = true end)
    local task = qio.spawn(function()
      while not rang do assert(null:write("x")) end
    end)
    task:join()
    timer:remove()
    null:close()
  end)

  it("keeps its message together", function()
    local a, b = qio.pair()
    local part = ("x"):rep(1000)
    local parts = {}
    for i = 1, 300 do parts[i] = part end
    local reader = qio.spawn(function() return b:readall() end)
    local writer = qio.spawn(function() return a:write(unpack(parts)) end)
    local refused = 0
    while writer:status() ~= "done" do
      qio.step()
      if writer:status() == "waiting" and select(3, a:write("y")) == E.BUSY then
        refused = refused + 1
      end
    end
    a:close()
    assert.is_true(refused > 0)
    assert.equal(part:rep(300), reader:join())
    b:close()
  end)

  it("accepting lets others run, and the main chunk too", function()
    local null = qio.null()
    local ran = 0
    local task = qio.spawn(function()
      for _ = 1, 10 do
        ran = ran + 1
        coroutine.yield()
      end
    end)
    for _ = 1, 5000 do assert(null:write("x")) end
    assert.equal(10, ran)
    task:join()
    null:close()
  end)
end)
