-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Tasks: spawn, join, cancel, sleep, who waits for what, and what becomes of errors.
local qio = require "qio"
local core = require "qio.core"

-- Plain Lua 5.1 cannot yield through C.
local LUA51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local E = qio.errno

local function collect_errors()
  local errors = {}
  local before = qio.onerror(function(err) errors[#errors + 1] = err end)
  return errors, function() qio.onerror(before) end
end

describe("a task", function()
  it("gets its arguments and gives its results", function()
    local task = qio.spawn(function(...) return select("#", ...), ... end, 1, nil, 3, nil)
    assert.equal("ready", task:status())
    local n, a, b, c, d = task:join()
    assert.same({ 4, 1, 3 }, { n, a, c })
    assert.is_nil(b)
    assert.is_nil(d)
    assert.equal("done", task:status())
    assert.equal(4, (task:join()))
  end)

  it("connects while others go on", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local client = qio.spawn(function() return qio.connect(l:address()) end)
    qio.step()
    assert.equal("waiting", client:status())
    local server = qio.spawn(function() return l:accept() end)
    local a, b = assert(server:join()), assert(client:join())
    b:write("hello")
    assert.equal("hello", a:read())
    a:close()
    b:close()
    l:close()
    local task = qio.spawn(function() return qio.connect(l:address()) end)
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.equal(E.ECONNREFUSED, code, msg)
  end)

  it("gives a wrong URI as a result", function()
    local task = qio.spawn(function() return qio.connect("nothing:") end)
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.matches("nothing", msg)
    assert.equal(E.INVAL, code)
  end)

  it("can be cancelled while it connects", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local task = qio.spawn(function() return qio.connect(l:address()) end)
    qio.step()
    assert.is_true(task:cancel())
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.equal("cancelled", msg)
    assert.equal(E.CANCELLED, code)
    l:close()
  end)

  it("waits for an exit, can be cancelled meanwhile, and wait again", function()
    local c = assert(qio.command({ "cat" }))
    local task = qio.spawn(function()
      local value, _, code = c:waitexit()
      assert.is_nil(value)
      assert.equal(E.CANCELLED, code)
      return c:waitexit()
    end)
    qio.step()
    assert.is_true(task:cancel())
    qio.step()
    assert.equal("waiting", task:status())
    c:shutdown("write")
    assert.equal(0, task:join())
    c:close()
  end)

  it("closes a command while others go on", function()
    local c = assert(qio.command({ "sh", "-c", "cat; exit 5" }))
    local closer = qio.spawn(function() return c:close() end)
    qio.step()
    assert.equal("waiting", closer:status())
    assert.is_true(qio.spawn(function() return true end):join())
    assert.is_true(closer:join())
    assert.equal(5, c:exitstatus())
  end)

  it("waits while others go on", function()
    local a, b = qio.pair()
    local order = {}
    local reader = qio.spawn(function()
      order[#order + 1] = "wait"
      local data = b:read()
      order[#order + 1] = data
    end)
    qio.spawn(function()
      order[#order + 1] = "write"
      a:write("data")
    end)
    qio.step()
    assert.equal("waiting", reader:status())
    assert(qio.run())
    assert.same({ "wait", "write", "data" }, order)
    a:close()
    b:close()
  end)

  it("lets others go on with a plain yield", function()
    local order = {}
    for name in ("ab"):gmatch(".") do
      qio.spawn(function()
        for i = 1, 3 do
          order[#order + 1] = name .. i
          coroutine.yield()
        end
      end)
    end
    qio.run()
    assert.equal("a1 b1 a2 b2 a3 b3", table.concat(order, " "))
  end)

  it("goes on while the main chunk blocks", function()
    local a, b = qio.pair()
    qio.spawn(function()
      qio.sleep(0.001)
      a:write("late")
    end)
    assert.equal("late", b:read())
    a:close()
    b:close()
  end)

  it("waits through pcall and iterators", function()
    if LUA51 then return end                    -- the next test
    local a, b = qio.pair()
    local task = qio.spawn(function()
      local ok, line = pcall(b.readline, b)
      local rest = {}
      for more in b:lines() do rest[#rest + 1] = more end
      return ok, line, table.concat(rest, ",")
    end)
    qio.step()
    a:write("first\n2\n3\n")
    a:close()
    local ok, line, rest = task:join()
    assert.is_true(ok)
    assert.equal("first", line)
    assert.equal("2,3", rest)
    b:close()
  end)

  it("is told where Lua 5.1 cannot wait, and goes on", function()
    if not LUA51 then return end
    local a, b = qio.pair()
    local task = qio.spawn(function()
      local said = {}
      local function refused(fn, ...)
        local ok, err = pcall(fn, ...)
        said[#said + 1] = not ok and err:match("^cannot wait here: Lua 5%.1") or "waited"
      end
      refused(b.readline, b)
      refused(function() for _ in b:lines() do end end)
      refused(string.gsub, "x", "x", function() return b:read(1) end)
      refused(function() return setmetatable({}, { __index = function() return b:read(1) end }).x end)
      b:settimeout(10)
      refused(b.readline, b)                    -- with a timer
      refused(qio.sleep, 0)
      return table.concat(said, ";"), b:readline()
    end)
    qio.step()
    assert.equal("waiting", task:status())
    a:write("first\n")
    local said, line = task:join()
    assert.equal(("cannot wait here: Lua 5.1;"):rep(6):sub(1, -2), said)
    assert.equal("first", line)
    a:close()
    b:close()
  end)

  it("may be a function written in C", function()
    local ok, n = qio.spawn(select, "#", 1, 2):join()
    assert.equal(2, ok)
    assert.is_nil(n)
  end)

  it("may use a coroutine of its own that reads", function()
    local a, b = qio.pair()
    local task = qio.spawn(function()
      local words = coroutine.wrap(function()
        for line in b:lines() do coroutine.yield(line) end
      end)
      return words() .. words()
    end)
    qio.spawn(function()
      a:write("x\n")
      qio.sleep(0.001)
      a:write("y\n")
    end)
    assert.equal("xy", task:join())
    a:close()
    b:close()
  end)

  it("may wait where it cannot be suspended", function()
    if LUA51 then return end                    -- it raises there
    local a, b = qio.pair()
    local task = qio.spawn(function()
      return (("x y"):gsub("%a", function() return b:read(1) end))
    end)
    qio.spawn(function()
      a:write("1")
      qio.sleep(0.001)
      a:write("2")
    end)
    assert.equal("1 2", task:join())
    a:write("z")
    assert.equal("z", b:read())
    a:close()
    b:close()
  end)

  it("bounces a byte between two thousands of times", function()
    local a, b = qio.pair()
    local function player(ch, serve, n)
      if serve then ch:write("x") end
      for _ = 1, n do
        assert(ch:readexactly(1))
        ch:write("x")
      end
      return n
    end
    local one, two = qio.spawn(player, a, true, 2000), qio.spawn(player, b, false, 2000)
    assert(qio.run())
    assert.equal(4000, one:join() + two:join())
    a:close()
    b:close()
  end)
end)

describe("join", function()
  it("gives the error of a task that failed, which onerror gets too", function()
    local errors, restore = collect_errors()
    local task = qio.spawn(function() error("broken", 0) end)
    local value, err, code = task:join()
    restore()
    assert.is_nil(value)
    assert.equal("broken", err)
    assert.equal(E.CALLBACK, code)
    assert.equal("failed", task:status())
    assert.equal(1, #errors)
    assert.matches("broken", errors[1])
    assert.matches("traceback", errors[1])
  end)

  it("keeps an error that is no string as it is", function()
    local errors, restore = collect_errors()
    local object = { code = 7 }
    local _, err = qio.spawn(function() error(object) end):join()
    restore()
    assert.equal(object, err)
    assert.equal(object, errors[1])
  end)

  it("has a time-out", function()
    local task = qio.spawn(qio.sleep, 1000)
    local value, msg, code = task:join(0.01)
    assert.is_nil(value)
    assert.equal("timeout", msg)
    assert.equal(E.TIMEOUT, code)
    task:cancel()
    assert(qio.run())
  end)

  it("of oneself raises", function()
    local task
    task = qio.spawn(function() return pcall(task.join, task) end)
    local ok, msg = task:join()
    assert.is_false(ok)
    assert.matches("cannot join itself", msg)
  end)

  it("serves several that wait", function()
    local a, b = qio.pair()
    local target = qio.spawn(function() return b:read() end)
    local first, second = qio.spawn(target.join, target), qio.spawn(target.join, target)
    qio.step()
    a:write("v")
    assert.equal("v", first:join())
    assert.equal("v", second:join())
    a:close()
    b:close()
  end)

  it("an error in the error handler goes nowhere else", function()
    local before = qio.onerror(function() error("handler") end)
    local stderr = io.stderr
    io.stderr = { write = function() end }
    local ok, err = pcall(function() return select(2, qio.spawn(error, "e", 0):join()) end)
    io.stderr = stderr
    qio.onerror(before)
    assert.is_true(ok)
    assert.equal("e", err)
  end)
end)

describe("cancel", function()
  it("ends a wait", function()
    local a, b = qio.pair()
    local task = qio.spawn(function()
      local value, msg, code = b:read()
      a:write("cleanup")                        -- the next operations work again
      return value, msg, code, b:read()
    end)
    qio.step()
    assert.is_true(task:cancel())
    local value, msg, code, after = task:join()
    assert.is_nil(value)
    assert.equal("cancelled", msg)
    assert.equal(E.CANCELLED, code)
    assert.equal("cleanup", after)
    assert.is_false(task:cancel())
    a:close()
    b:close()
  end)

  it("before the first turn keeps the function from running", function()
    local ran = false
    local task = qio.spawn(function() ran = true end)
    task:cancel()
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.equal("cancelled", msg)
    assert.equal(E.CANCELLED, code)
    assert.is_false(ran)
    assert.equal("cancelled", task:status())
  end)

  it("loses no byte", function()
    local a, b = qio.pair()
    local task = qio.spawn(function() return b:readexactly(10) end)
    a:write("12345")
    qio.step()
    qio.step()
    task:cancel()
    assert.is_nil((task:join()))
    a:write("67890")
    assert.equal("1234567890", b:readexactly(10))
    a:close()
    b:close()
  end)

  it("ends sleep, join and accept", function()
    local listener = assert(qio.listen("tcp://127.0.0.1:0"))
    local sleeper = qio.spawn(qio.sleep, 1000)
    local joiner = qio.spawn(sleeper.join, sleeper)
    local acceptor = qio.spawn(listener.accept, listener)
    qio.step()
    for _, task in ipairs({ joiner, acceptor, sleeper }) do
      task:cancel()
      local value, msg = task:join()
      assert.is_nil(value)
      assert.equal("cancelled", msg)
    end
    listener:close()
  end)
end)

describe("sleep", function()
  it("orders tasks by time", function()
    local order = {}
    for _, ms in ipairs({ 30, 10, 20, 0 }) do
      qio.spawn(function()
        assert.is_true(qio.sleep(ms / 1000))
        order[#order + 1] = ms
      end)
    end
    qio.run()
    assert.same({ 0, 10, 20, 30 }, order)
  end)

  it("works in the main chunk", function()
    assert.is_true(qio.sleep(0.001))
  end)
end)

describe("a channel", function()
  it("that is closed wakes who waits, reader and writer", function()
    local a, b = qio.pair()
    local reader = qio.spawn(function() return a:read() end)
    local writer = qio.spawn(function() return a:write(("x"):rep(3000000)) end)
    qio.step()
    assert.equal("waiting", reader:status())
    assert.equal("waiting", writer:status())
    assert.is_true(a:close())
    for _, task in ipairs({ reader, writer }) do
      local value, msg, code = task:join()
      assert.is_nil(value)
      assert.equal("closed", msg)
      assert.equal(E.CLOSED, code)
    end
    b:close()
  end)

  it("has one reader at a time", function()
    local a, b = qio.pair()
    local first = qio.spawn(function() return b:read() end)
    local second = qio.spawn(function() return b:read() end)
    local value, msg, code = second:join()
    assert.is_nil(value)
    assert.equal("operation already in progress", msg)
    assert.equal(E.BUSY, code)
    assert.equal(E.BUSY, select(3, b:readline()))
    a:write("x")
    assert.equal("x", first:join())
    a:close()
    b:close()
  end)

  it("has one writer at a time, also between the parts of a message", function()
    local a, b = qio.pair()
    local first = qio.spawn(function() return a:write(("x"):rep(3000000)) end)
    local got = 0
    local reader = qio.spawn(function()
      while got < 3000000 do
        local data = b:read()
        assert.is_nil(data:find("y"))
        got = got + #data
      end
    end)
    qio.step()
    local busy = 0
    while first:status() ~= "done" do
      local value, _, code = a:write("y")
      if first:status() == "done" then break end
      assert.is_nil(value)
      assert.equal(E.BUSY, code)
      busy = busy + 1
      qio.step(1)
    end
    assert.is_true(busy > 0)
    reader:join()
    a:close()
    b:close()
  end)

  it("that waits is held, though nobody else has it", function()
    local a, b = qio.pair()
    local task
    do
      local ch = b
      task = qio.spawn(function() return ch:read() end)
    end
    b = nil
    qio.step()
    collectgarbage()
    collectgarbage()
    a:write("alive")
    assert.equal("alive", task:join())
    a:close()
  end)

  it("is read and written at once by two tasks", function()
    local a, b = qio.pair()
    local reader = qio.spawn(function() return a:readexactly(5) end)
    local writer = qio.spawn(function() return a:write(("x"):rep(1000000)) end)
    local echo = qio.spawn(function()
      assert(b:readexactly(1000000))
      b:write("reply")
    end)
    assert(qio.run())
    assert.equal("reply", reader:join())
    assert.equal(a, writer:join())
    echo:join()
    a:close()
    b:close()
  end)
end)

describe("driving", function()
  it("inside a task raises", function()
    local ok, msg = qio.spawn(function() return pcall(qio.run) end):join()
    assert.is_false(ok)
    assert.matches("inside a task", msg)
  end)

  it("step tells whether anything happened", function()
    qio.step()
    assert.is_false(qio.step())
    qio.spawn(function() end)
    assert.is_true(qio.step())
  end)

  it("setwaiter replaces the waiting", function()
    local a, b = qio.pair()
    local calls = 0
    local before = qio.setwaiter(function(fd, seconds)
      calls = calls + 1
      assert.equal(qio.pollfd(), fd)
      assert.is_nil(seconds)
      a:write("x")
    end)
    local task = qio.spawn(function() return b:read() end)
    assert.equal("x", task:join())
    qio.setwaiter(before)
    assert.equal(1, calls)
    a:close()
    b:close()
  end)

  it("pollfd is readable exactly while there is something to do", function()
    -- A loop of its own looks at the descriptor, as a host's would.
    local host = assert(core.loop_new())
    local watch = assert(core.watch_new_fd_queued(host, qio.pollfd(), qio.IN, 99))
    local function readable()
      local events = {}
      local n = assert(core.next_events(host, events, 0))
      return n > 0 and events[2] == 99
    end
    local a, b = qio.pair()
    repeat until not qio.step()
    assert.is_false(readable())
    local task = qio.spawn(function() return b:read() end)
    assert.is_true(readable())
    repeat until not qio.step()
    assert.is_false(readable())
    a:write("x")
    assert.is_true(readable())
    repeat qio.step() until task:status() == "done"
    repeat until not qio.step()
    assert.is_false(readable())
    assert.equal(qio.pollfd(), qio.pollable():pollfd())
    assert.equal(qio.pollfd(), qio.pollable():getfd())
    assert.equal("r", qio.pollable():events())
    core.watch_remove(watch)
    core.loop_close(host)
    a:close()
    b:close()
  end)
end)
