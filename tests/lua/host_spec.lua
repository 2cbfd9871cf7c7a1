-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Our loop inside of others': luv, cqueues and GLib (through lgi), by the one descriptor.
--
-- A host is a table: wait_for(done) runs its loop until done(); after(ms, fn) calls once;
-- every(ms, fn) gives a function that stops it; echo(fd) sends back what comes on a descriptor;
-- attach() has it step ours, and gives a function that detaches.  Each counts its steps.
local qio = require "qio"

local E = qio.errno
local steps

local function step()
  steps = steps + 1
  qio.step()
end

local hosts = {}

function hosts.luv()
  local uv = require "luv"
  local host = {}
  local function timer(first, again, fn)
    local one = uv.new_timer()
    one:start(first, again, fn)
    return function() if not one:is_closing() then one:close() end end
  end
  function host.wait_for(done)
    while not done() do uv.run("once") end
  end
  function host.after(ms, fn)
    local stop
    stop = timer(ms, 0, function()
      stop()
      fn()
    end)
  end
  function host.every(ms, fn) return timer(ms, ms, fn) end
  function host.attach()
    local poll = uv.new_poll(qio.pollfd())
    poll:start("r", step)
    return function()
      poll:close()
      uv.run("nowait")
    end
  end
  function host.echo(fd)
    local pipe = uv.new_pipe(false)
    pipe:open(fd)
    pipe:read_start(function(err, data)
      assert(not err, err)
      if data then pipe:write(data) else pipe:close() end
    end)
  end
  -- Waits in its own way where we would wait; it looks at the descriptor already.
  function host.waiter(_, seconds)
    local before, over = steps, false
    local stop = seconds and timer(math.ceil(seconds * 1000), 0, function() over = true end)
    while steps == before and not over do uv.run("once") end
    if stop then stop() end
  end
  uv.new_pipe(false):close()                    -- opens a descriptor that it keeps
  uv.run("nowait")
  return host
end

function hosts.cqueues()
  local cqueues, cs = require "cqueues", require "cqueues.socket"
  local queue = cqueues.new()
  local host = {}
  function host.wait_for(done)
    while not done() do
      assert(queue:step())
      if not done() then cqueues.poll(queue) end
    end
  end
  function host.after(ms, fn)
    queue:wrap(function()
      cqueues.sleep(ms / 1000)
      fn()
    end)
  end
  function host.every(ms, fn)
    local stopped = false
    queue:wrap(function()
      while not stopped do
        cqueues.sleep(ms / 1000)
        if not stopped then fn() end
      end
    end)
    return function() stopped = true end
  end
  function host.attach()
    local stopped, over = false, false
    local pollable = qio.pollable()
    queue:wrap(function()
      while not stopped do
        cqueues.poll(pollable)
        step()
      end
      cqueues.cancel(pollable:pollfd())
      over = true
    end)
    return function()
      stopped = true
      qio.spawn(function() end)                 -- something to do
      host.wait_for(function() return over end)
      repeat until not qio.step()
    end
  end
  function host.echo(fd)
    local socket = cs.fdopen(fd)
    socket:setmode("bn", "bn")
    queue:wrap(function()
      for data in function() return socket:read(-4096) end do socket:write(data) end
      socket:close()
    end)
  end
  function host.waiter(_, seconds)
    cqueues.poll(qio.pollable(), seconds)
  end
  host.wrap = function(fn) queue:wrap(fn) end
  cqueues.sleep(0)                              -- outside of a queue it makes one that it keeps
  return host
end

function hosts.glib()
  local GLib = require("lgi").GLib
  local main = GLib.MainLoop.new(nil, false)
  local context = main:get_context()
  local host = {}
  local function source(fd, fn)
    local channel = GLib.IOChannel.unix_new(fd)
    return GLib.io_add_watch(channel, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN, fn)
  end
  function host.wait_for(done)
    while not done() do context:iteration(true) end
  end
  function host.after(ms, fn)
    GLib.timeout_add(GLib.PRIORITY_DEFAULT, ms, function()
      fn()
      return false
    end)
  end
  function host.every(ms, fn)
    local id = GLib.timeout_add(GLib.PRIORITY_DEFAULT, ms, function()
      fn()
      return true
    end)
    return function() GLib.source_remove(id) end
  end
  function host.attach()
    local id = source(qio.pollfd(), function()
      step()
      return true
    end)
    return function() GLib.source_remove(id) end
  end
  function host.echo(fd)
    local channel = qio.fromfd(fd)              -- GLib waits, we read
    source(fd, function()
      local data = channel:read()
      if data then channel:write(data) else channel:close() end
      return data ~= nil
    end)
  end
  function host.waiter(fd, seconds)
    local over = false
    local id = source(fd, function()
      over = true
      return false
    end)
    local timer = seconds and GLib.timeout_add(GLib.PRIORITY_DEFAULT, math.ceil(seconds * 1000),
                                               function()
      over, id = true, GLib.source_remove(id) and nil
      return false
    end)
    while not over do context:iteration(true) end
    if timer and id then GLib.source_remove(timer) end
  end
  return host
end

local function tests(name, make)
  make()                                        -- what is made once and stays
  describe("inside " .. name, function()
    local host, detach

    before_each(function()
      host = make()
      steps = 0
      detach = host.attach()
    end)
    after_each(function()
      detach()
      host, detach = nil, nil
    end)

    it("tasks run, and timers of both", function()
      local listener = assert(qio.listen("tcp://127.0.0.1:0"))
      local ticks, naps, echoed, over = 0, 0, 0, 0
      local stop = host.every(1, function() ticks = ticks + 1 end)
      qio.spawn(function()
        local peer = assert(listener:accept())
        repeat
          local line = peer:readline()
          if line then peer:write(line:upper(), "\n") end
        until not line
        peer:close()
        over = over + 1
      end)
      qio.spawn(function()
        local client = assert(qio.connect(listener:address()))
        repeat
          client:write("line\n")
          assert(client:readline() == "LINE")
          echoed = echoed + 1
          qio.sleep(0.0005)
        until ticks > 5 and naps > 5 and echoed > 5
        client:close()
        over = over + 1
      end)
      qio.spawn(function()
        repeat
          qio.sleep(0.001)
          naps = naps + 1
        until over == 2
        over = 3
      end)
      host.wait_for(function() return over == 3 end)
      stop()
      listener:close()
    end)

    it("tasks that tasks start run, and those that only yield", function()
      local depth, yields = 0, 0
      local function go_down()
        depth = depth + 1
        if depth < 10 then qio.spawn(go_down) end
        for _ = 1, 5 do
          coroutine.yield()
          yields = yields + 1
        end
      end
      qio.spawn(go_down)
      host.wait_for(function() return yields == 50 end)
      assert.equal(10, depth)
    end)

    it("its sockets answer our tasks", function()
      local a, b = qio.pair()
      host.echo(b:detach())
      local task = qio.spawn(function()
        for i = 1, 200 do
          local text = ("message %d"):format(i)
          assert(a:write(text))
          assert(a:readexactly(#text) == text)
        end
        a:close()
        return "all"
      end)
      host.wait_for(function() return task:status() == "done" end)
      assert.equal("all", (task:join()))
      host.after(1, function() b = nil end)     -- it sees the end, too
      host.wait_for(function() return b == nil end)
    end)

    it("an idle loop of ours costs no step", function()
      local a, b = qio.pair()
      local reader = qio.spawn(function() return b:read() end)
      local sleeper = qio.spawn(qio.sleep, 1000)
      local ticks = 0
      local stop = host.every(1, function() ticks = ticks + 1 end)
      host.wait_for(function() return ticks >= 3 end)
      assert.is_true(steps > 0)
      steps, ticks = 0, 0
      host.wait_for(function() return ticks >= 10 end)
      assert.equal(0, steps)
      a:write("x")                              -- one event: a step or two
      host.wait_for(function() return reader:status() == "done" end)
      ticks = 0
      host.wait_for(function() return ticks >= 5 end)
      assert.is_true(steps >= 1 and steps <= 3, steps)
      sleeper:cancel()
      host.wait_for(function() return sleeper:status() == "done" end)
      ticks = 0
      host.wait_for(function() return ticks >= 3 end)
      stop()
      a:close()
      b:close()
    end)

    it("what its callbacks start begins without delay", function()
      local seen = {}
      host.after(1, function()
        qio.spawn(function() seen[#seen + 1] = "spawned" end)
        qio.loop():defer(function() seen[#seen + 1] = "deferred" end)
      end)
      host.wait_for(function() return #seen == 2 end)
      local waiting = qio.spawn(qio.sleep, 1000)
      host.after(1, function() waiting:cancel() end)
      host.wait_for(function() return waiting:status() == "done" end)
      assert.equal(E.CANCELLED, select(3, waiting:join()))
      local a, b = qio.pair()
      local reader = qio.spawn(function() return b:read() end)
      host.after(1, function() b:close() end)
      host.wait_for(function() return reader:status() == "done" end)
      assert.equal(E.CLOSED, select(3, reader:join()))
      a:close()
    end)

    it("an error of a task is reported and ends nothing else", function()
      local errors, over = {}, false
      local before = qio.onerror(function(err) errors[#errors + 1] = err end)
      qio.spawn(function() error("in a task") end)
      qio.loop():defer(function() error("in a callback") end)
      qio.spawn(function()
        qio.sleep(0.001)
        over = true
      end)
      host.wait_for(function() return over end)
      qio.onerror(before)
      assert.equal(2, #errors)
      table.sort(errors)
      assert.matches("in a callback", errors[1] .. errors[2])
      assert.matches("in a task", errors[1] .. errors[2])
    end)

    it("our waits become its, with setwaiter", function()
      local a, b = qio.pair()
      local ticks, over = 0, false
      local stop = host.every(1, function() ticks = ticks + 1 end)
      qio.spawn(function()
        repeat qio.sleep(0.001) until ticks > 2
        a:write("late")
      end)
      local function wait_here()
        local before = qio.setwaiter(host.waiter)
        assert.equal("late", b:read())
        b:settimeout(0.002)
        assert.equal("timeout", select(2, b:read()))
        qio.setwaiter(before)
        over = true
      end
      if host.wrap then                         -- in a coroutine of its own
        host.wrap(wait_here)
        host.wait_for(function() return over end)
      else
        wait_here()
      end
      assert.is_true(ticks > 2)
      stop()
      host.after(1, function() ticks = -1 end)
      host.wait_for(function() return ticks == -1 end)
      a:close()
      b:close()
    end)
  end)
end

local plain51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

-- Coroutines of cqueues that wait for our channels by themselves, without tasks.
local function coroutine_tests()
  describe("coroutines of cqueues", function()
    it("wait for our channels side by side, with setwaiter", function()
      local cqueues = require "cqueues"
      local queue = cqueues.new()
      local before = qio.setwaiter(function(_, seconds) cqueues.poll(qio.pollable(), seconds) end)
      local left, failure = 0, nil
      local function start(fn)
        left = left + 1
        queue:wrap(function()
          local ok, err = xpcall(fn, debug.traceback)
          left, failure = left - 1, failure or not ok and err or nil
        end)
      end
      for i = 1, 5 do
        local a, b = qio.pair()
        start(function()
          for n = 1, 20 do
            a:write(i .. ":" .. n .. "\n")
            assert.equal("ok", a:readline())
          end
          a:close()
        end)
        start(function()
          for n = 1, 20 do
            assert.equal(i .. ":" .. n, b:readline())
            if n % 5 == i % 5 then qio.sleep(0.0002 * i) end
            b:write("ok\n")
          end
          b:close()
        end)
      end
      while left > 0 and not failure do
        assert(queue:step(1))
      end
      qio.setwaiter(before)
      cqueues.cancel(qio.pollfd())
      if failure then error(failure, 0) end
    end)
  end)
end

for _, name in ipairs({ "luv", "cqueues", "glib" }) do
  local module = name == "glib" and "lgi" or name
  -- lgi is not made for 5.4; the coroutines of cqueues cannot wait through our pcall in 5.1.
  if not (name == "glib" and _VERSION == "Lua 5.4") and not (name == "cqueues" and plain51) then
    local found, err = pcall(require, module)
    if found then
      tests(name, hosts[name])
      if name == "cqueues" then coroutine_tests() end
    elseif os.getenv "CI" then
      error(err)
    end
  end
end

describe("LuaSocket's select", function()
  local found, socket = pcall(require, "socket")
  if not found then
    if os.getenv "CI" then error(socket) end
    return
  end

  it("tells when there is something for us to do", function()
    local a, b = qio.pair()
    local pollable = qio.pollable()
    repeat until not qio.step()
    local task = qio.spawn(function() return b:read() end)
    assert.equal(pollable, socket.select({ pollable }, nil, 5)[1])
    repeat until not qio.step()
    assert.equal("timeout", (select(3, socket.select({ pollable }, nil, 0.001))))
    a:write("x")
    assert.equal(pollable, socket.select({ pollable }, nil, 5)[1])
    qio.step()
    assert.equal("x", task:join())
    a:close()
    b:close()
  end)
end)
