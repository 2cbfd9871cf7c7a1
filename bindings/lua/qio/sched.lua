-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.sched: tasks over the event loop.
--
-- Owns: the loop of this Lua state, the tasks, and every wait.  A wait suspends the task it is
-- called in; anywhere else (main chunk, a coroutine of somebody else) it turns the loop until it
-- is over, so that tasks go on meanwhile.
-- Rules: only coroutines started by spawn are suspended, never somebody else's.  One waiter for
-- each object and direction; a second one gets BUSY.  While somebody waits the object is held in
-- `waiting`, and its slot stays taken until the waiter has the word again, so that nobody writes
-- between two parts of a message.  Inside a callback of the loop nothing may turn the loop: a
-- wait there is a plain wait for that one object.

local core = require "qio.core"

local errno = core.errno
local AGAIN, INTR, BUSY = errno.AGAIN, errno.INTR, errno.BUSY
local TIMEOUT, CANCELLED, CALLBACK = errno.TIMEOUT, errno.CANCELLED, errno.CALLBACK
local EV_WATCH, EV_TIMER, EV_ACCEPT = core.EV_WATCH, core.EV_TIMER, core.EV_ACCEPT
local EV_TASK, EV_DISPATCH = core.EV_TASK, core.EV_DISPATCH
local NVAL, MORE, OUT = core.NVAL, core.MORE, core.OUT
local arm, disarm, now, in_method = core.arm, core.disarm, core.now, core.in_method
local running = coroutine.running
local co_status, isyieldable = coroutine.status, coroutine.isyieldable
-- In Lua 5.1 false where it cannot; everywhere else `current` knows.
local yield = (isyieldable or rawget(_G, "jit")) and coroutine.yield or core.yield
local unpack = table.unpack or unpack

-- Lua 5.1 makes coroutines of Lua functions only.
local function create(fn)
  local ok, co = pcall(coroutine.create, fn)
  return ok and co or coroutine.create(function(...) return fn(...) end)
end

local READ, WRITE = 1, 2
local UNABLE = {}                               -- a task that Lua 5.1 cannot suspend here
local ROUNDS = 100

local sched = { READ = READ, WRITE = WRITE }

-- Who answers the request of a WebSocket's client: listener or channel -> function.
sched.requests = setmetatable({}, { __mode = "k" })

local loop                                      -- made on first use
local tasks = setmetatable({}, { __mode = "k" })    -- coroutine -> task
local alive = 0                                 -- tasks that have not ended
local ready, head, tail = {}, 1, 0              -- tasks to resume, first come first served
local waiting = { {}, {} }                      -- direction -> object -> waiter
local deadlines, operations = {}, {}            -- cookie -> waiter; expiry, the end of one
local last_cookie = 2                           -- 1 and 2 are the directions
local turning, dispatching = 0, false
local used, quitting, hosted = false, false, false
local forbidden = false                         -- a wait outside of a task holds the program up
local waiter_fn                                 -- setwaiter's function
-- [1]: operations since the last turn, see sched.pass; [2]: not nil, something is to be done.
local streak = { 0, nil, most = 128 }
sched.streak = streak
local hot                                       -- what qio_core_task.c does, see there
local urgent = 0                                -- cancels that wait for the next wait

local Task = {}                                 -- qio.task fills it
sched.Task = Task

-- The loop, or nil, message, code: it takes descriptors to make one.
local function get_loop()
  if loop then return loop end
  local made, msg, code = core.loop_new()
  loop = made
  return made, msg, code
end

-- The running task, or nil.
local function running_task()
  local co = running()
  return co and tasks[co]
end

-- The running task if it can be suspended here: not under table.sort or string.gsub, which are
-- C and cannot be left and entered again.  (Lua 5.1 tells when it is tried.)
local function current()
  local task = running_task()
  if task and isyieldable and not isyieldable() then return nil end
  return task
end

-- Whether a wait here suspends a task.
function sched.in_task()
  return current() ~= nil
end

-- ---- errors of tasks and callbacks ----

local function default_onerror(err)
  io.stderr:write("qio: ", tostring(err), "\n")
end

local onerror = default_onerror

local function report(err)
  local ok, second = pcall(onerror, err)
  if not ok then
    io.stderr:write("qio: error in the error handler: ", tostring(second), "\n")
  end
end

core.onerror(report)

function sched.onerror(fn)
  local before = onerror
  onerror = fn or default_onerror
  return before
end

-- ---- waking and running tasks ----

-- A waiter is a task, or a plain table for whoever turns the loop itself.  The first reason
-- to wake it counts.
local function wake(w, ok, msg, code)
  if w.woken then return end
  w.woken, w.ok, w.msg, w.code = true, ok, msg, code
  streak[2] = true
  if w.co then
    tail = tail + 1
    ready[tail] = w
    if hosted and turning == 0 then core.loop_wakeup(loop) end
  elseif waiter_fn and turning > 1 then
    core.loop_wakeup(loop)                      -- it may wait in another coroutine
  end
end

local function pack(...)
  return { n = select("#", ...), ... }
end

-- A cancel that no wait has told of yet: meanwhile every wait comes by here.
local function set_cancelling(task, flag)
  if (task.cancelling or false) == flag then return end
  task.cancelling = flag
  urgent = urgent + (flag and 1 or -1)
  hot.urgent(urgent)
end

local function finish(task, state, results)
  alive, streak[2] = alive - 1, true
  set_cancelling(task, false)
  tasks[task.co] = nil
  task.co, task.fn, task.args = nil, nil, nil
  task.state, task.results = state, results
  for w in pairs(task.joiners) do wake(w, true) end
  task.joiners = {}
  if task.nursery then task.ended(task.nursery, task) end
end

local function after_resume(co, ok, ...)
  local task = tasks[co]
  if not task then return end                   -- somebody else has resumed it to its end
  if co_status(co) ~= "dead" then
    -- A plain coroutine.yield() lets the others go on.
    if not task.suspended then wake(task, true) end
    return
  end
  if ok then
    finish(task, "done", pack(...))
    return
  end
  local err = ...
  finish(task, "failed", pack(nil, err, CALLBACK))
  report(type(err) == "string" and debug.traceback(co, err) or err)
end

local function run_task(task)
  task.state = "running"
  streak[1] = 0
  if task.args then
    local args = task.args
    task.args, task.woken = nil, false
    if task.cancelling then
      finish(task, "cancelled", pack(nil, "cancelled", CANCELLED))
      return
    end
    hot.resume(task.co, unpack(args, 1, args.n))
  elseif task.parked then
    task.parked, task.woken = false, false
    hot.answer(task.co, nil, task.msg, task.code)
  elseif task.co then
    if not task.suspended then task.woken = false end
    hot.resume(task.co)
  end
end

-- Who waits for what is in here; a task parked by qio_core_task.c as its coroutine.
sched.waiting = waiting
hot = core.scheduler(waiting[READ], streak, after_resume)
sched.hot = hot

-- ---- one turn of the loop ----

local batches = {}                              -- one for each turn that is under way

local function handle_event(kind, cookie, condition, object)
  if cookie > WRITE then
    if kind == EV_TIMER then
      local w = deadlines[cookie]
      if w then wake(w, nil, "timeout", TIMEOUT) end
    elseif kind == EV_TASK then
      local w = operations[cookie]
      if w then wake(w, true) end
    end
  elseif object and (kind == EV_WATCH or kind == EV_ACCEPT) then
    local w = waiting[cookie][object]
    if w then wake(w, true) end
    -- The watch stays after a wait, since the next one comes soon; it goes when it fires
    -- for nobody.
    if not w or condition >= NVAL then disarm(object, cookie) end
  end
end

local function dispatch()
  dispatching = true
  local ok, msg, code = core.loop_dispatch(loop, 0)
  dispatching = false
  -- A filter that failed: its relay tells.
  if not ok and code ~= INTR and code ~= CALLBACK then return nil, msg, code end
  return true
end

local function poll(timeout_ms, rounds)
  if waiter_fn and timeout_ms ~= 0 then
    waiter_fn(core.loop_get_fd(loop), timeout_ms > 0 and timeout_ms / 1000 or nil)
    timeout_ms, rounds = 0, 1
  end
  local batch = batches[turning] or {}
  batches[turning] = batch
  streak[2] = nil
  local n, msg, code = hot.turn(loop, batch, timeout_ms, rounds)
  if not n then
    -- A signal: back to the caller, which may be interrupted before it comes again.
    if code == INTR then return 0 end
    return nil, msg, code
  end
  local due, served = false, msg
  for i = 1, 4 * n, 4 do
    if batch[i] == EV_DISPATCH then
      due = true
    else
      handle_event(batch[i], batch[i + 1], batch[i + 2], batch[i + 3])
    end
    batch[i + 3] = false                        -- holds no object
  end
  if due then
    local ok
    ok, msg, code = dispatch()
    if not ok then return nil, msg, code end
  end
  return n + served
end

local function turn_body(timeout_ms, rounds)
  local n, msg, code = poll(timeout_ms, rounds)
  -- Those that are ready now; who makes itself ready again lets the events have a turn.
  local last = tail
  while head <= last and head <= tail do
    local task = ready[head]
    ready[head] = nil
    head = head + 1
    n = n and n + 1
    run_task(task)
  end
  if head > tail then head, tail = 1, 0 end
  return n, msg, code
end

-- Waits up to timeout_ms for events and runs the tasks that are ready; rounds: how often, while
-- that is all (see qio_core_task.c).  Returns how much happened, or nil, message, code.  The interpreter's Ctrl-C raises at the first instruction
-- after a call into C, so the state is put right outside a pcall.
local function turn(timeout_ms, rounds)
  local made, why, number = get_loop()
  if not made then return nil, why, number end
  if head <= tail then timeout_ms = 0 end
  turning = turning + 1
  local ok, n, msg, code = pcall(turn_body, timeout_ms, timeout_ms < 0 and rounds or 1)
  turning = turning - 1
  -- What became ready meanwhile has its turn when the host comes again.
  if hosted and turning == 0 and head <= tail then core.loop_wakeup(loop) end
  if not ok then
    dispatching = false
    error(n, 0)
  end
  return n, msg, code
end

-- ---- waiting ----

local function next_cookie()
  last_cookie = last_cookie + 1
  return last_cookie
end

local function milliseconds_until(deadline)
  local ms = deadline - now()
  if ms <= 0 then return 0 end
  return ms < 2147483647 and math.ceil(ms) or 2147483647
end

local function suspend_task(task, deadline)
  if task.cancelling then
    set_cancelling(task, false)
    return nil, "cancelled", CANCELLED
  end
  local cookie, timer
  if deadline then
    local ok, msg, code = get_loop()
    if not ok then return nil, msg, code end
    cookie = next_cookie()
    timer, msg, code = core.watch_new_timer_queued(loop, milliseconds_until(deadline), 0, cookie)
    if not timer then return nil, msg, code end
    deadlines[cookie] = task
  end
  task.suspended, task.state = true, "waiting"
  local able
  repeat                                        -- whoever else resumes it wakes nothing
    able = yield() ~= false
  until task.woken or not able
  task.suspended, task.woken, task.state = false, false, "running"
  if timer then
    deadlines[cookie] = nil
    core.watch_remove(timer)
  end
  if not able then return UNABLE end
  return task.ok, task.msg, task.code
end

local function turn_until(w, deadline)
  while not w.woken do
    local n, msg, code = turn(deadline and milliseconds_until(deadline) or -1, ROUNDS)
    if not n then return nil, msg, code end
    if not w.woken and deadline and now() >= deadline then return nil, "timeout", TIMEOUT end
  end
  return w.ok, w.msg, w.code
end

local function check_blocking()
  if forbidden then
    error("cannot wait outside of a task: the program runs the loop (start one with qio.spawn)", 0)
  end
  if in_method() then
    error("cannot wait inside of a method of a channel: return nil, \"timeout\" and notify", 0)
  end
end

-- Until wake(w, ...) or the deadline (a time of core.now(), or nil or false); meanwhile w is in
-- slots[key].
local function suspend(w, slots, key, deadline)
  local direction = slots == waiting[READ] and READ or slots == waiting[WRITE] and WRITE
  if not w.co then check_blocking() end
  slots[key] = w
  if direction then hot.take(key, direction, true) end
  local ok, msg, code
  if w.co then
    ok, msg, code = suspend_task(w, deadline)
  else
    local fine
    fine, ok, msg, code = pcall(turn_until, w, deadline)
    if not fine then
      slots[key] = nil
      if direction then hot.take(key, direction, false) end
      error(ok, 0)
    end
  end
  slots[key] = nil
  if direction then hot.take(key, direction, false) end
  if ok == UNABLE then
    error("cannot wait here: Lua 5.1 suspends no task inside of pcall, the iterator of a for, " ..
          "or a metamethod", 0)
  end
  return ok, msg, code
end

-- Whether a wait here has nobody else to let run: then one system call will do.
local function alone()
  return dispatching or (alive == 0 and not used and not waiter_fn)
end
-- The same for a call: also not in a task.
function sched.alone()
  return not forbidden and alone() and not current() and not in_method()
end

-- Whether others can run while a call waits.
function sched.can_suspend() return current() or not (forbidden or in_method() or alone()) end

local function plain_wait(channel, direction, deadline)
  while true do
    local bits, msg, code = core.channel_wait(channel, direction == READ and MORE or OUT,
                                              deadline and milliseconds_until(deadline) or -1)
    if bits and bits > 0 then return true end
    if not bits and code ~= INTR then return nil, msg, code end
    if bits == 0 then return nil, "timeout", TIMEOUT end
  end
end

function sched.busy() return nil, "operation already in progress", BUSY end

-- Waits until the object (a channel, a listener) may be worth trying again.
function sched.wait(object, direction, deadline)
  local w = current()
  if not w then
    if in_method() then return nil, "timeout", AGAIN end
    check_blocking()
    if alone() then return plain_wait(object, direction, deadline) end
    w = {}
  end
  local slots = waiting[direction]
  if slots[object] then return sched.busy() end
  local ok, msg, code = get_loop()
  if ok then ok, msg, code = arm(loop, object, direction) end
  if not ok then return nil, msg, code end
  return suspend(w, slots, object, deadline)
end

-- An error at the line of the user's code; level: where that is, counted from the caller (1).
-- Plain Lua 5.1 counts a tail call as a level.
local function refuse(text, level)
  local info = debug and debug.getinfo(level + 1, "S")
  error(text, info and info.what == "tail" and level + 2 or level + 1)
end

-- level: as for refuse.
local function refuse_in_callback(what, level)
  if dispatching and not running_task() then
    refuse(what .. " inside a callback of the loop: start a task with qio.spawn", level + 1)
  end
end

sched.refuse_in_callback = refuse_in_callback
sched.wake, sched.set_cancelling, sched.running_task = wake, set_cancelling, running_task

-- Waits until somebody wakes a key of `slots`, or the deadline.
function sched.park(slots, deadline)
  local w = current() or {}
  return suspend(w, slots, w, deadline)
end

-- Who finds its bytes every time never waits: after so many operations of one task (or of the
-- main chunk) the others have a turn, and a cancel gets through.  Meanwhile the waiter is in its
-- slot, so that nobody else writes between two parts of a message.
function sched.pass(object, direction)
  streak[1] = 0
  local task = current()
  if task then
    if not task.cancelling then wake(task, true) end
    return suspend(task, waiting[direction], object)
  end
  if not alone() and not in_method() then return turn(0) end
  return true
end

-- Outside a task an error may come out of the loop while it turns (Ctrl-C).
local function await(operation, w, cookie)
  if w.co then return suspend(w, operations, cookie) end
  local fine, ok, msg, code = pcall(suspend, w, operations, cookie)
  if not fine then
    core.task_cancel(operation)
    error(ok, 0)
  end
  return ok, msg, code
end

-- Waits for an operation of the library, which start(loop, cookie) makes: the operation, once it
-- has succeeded.  Who is cancelled meanwhile cancels it.  what: in the words of an error, for one
-- that waits two levels up.
function sched.operate(what, start)
  refuse_in_callback(what, 3)
  local cookie, w = next_cookie(), current() or {}
  local ok, msg, code = get_loop()
  if not ok then return nil, msg, code end
  local operation
  operation, msg, code = start(loop, cookie)
  if not operation then return nil, msg, code end
  ok, msg, code = await(operation, w, cookie)
  if not ok then
    -- What it held is free at its end only, which its event tells.
    core.task_cancel(operation)
    await(operation, w, cookie)
    return nil, msg, code
  end
  ok, msg, code = core.task_status(operation)
  if not ok then return nil, msg, code end
  return operation
end

function sched.sleep(seconds)
  refuse_in_callback("sleeping", 2)
  local ok, msg, code = suspend(current() or {}, {}, 1, now() + seconds * 1000)
  if ok or code == TIMEOUT then return true end
  return nil, msg, code
end

-- ---- tasks ----

function sched.spawn(fn, ...)
  local task = setmetatable({ args = pack(...), joiners = {}, state = "ready" }, Task)
  task.co = create(fn)
  tasks[task.co] = task
  alive = alive + 1
  wake(task, true)
  return task
end

-- ---- driving ----

local function check_driver(what)
  if running_task() then refuse(what .. " inside a task", 3) end
  if forbidden then refuse(what .. ": the program runs the loop", 3) end
  if in_method() then refuse(what .. " inside of a method of a channel", 3) end
  refuse_in_callback(what, 3)
end

-- Turns the loop until every task has ended, or quit.
function sched.run()
  check_driver("qio.run")
  quitting = false
  while alive > 0 and not quitting do
    local n, msg, code = turn(-1, ROUNDS)
    if not n then return nil, msg, code end
  end
  return true
end

-- Turns the loop until quit.
function sched.run_loop()
  check_driver("loop:run")
  quitting = false
  while not quitting do
    local n, msg, code = turn(-1, ROUNDS)
    if not n then return nil, msg, code end
  end
  return true
end

-- One turn; whether anything happened.
function sched.step(seconds)
  check_driver("qio.step")
  local n, msg, code = turn(math.min(math.ceil(seconds * 1000), 2147483647))
  if not n then return nil, msg, code end
  return n > 0
end

function sched.quit()
  quitting, streak[2] = true, true
  if loop then core.loop_wakeup(loop) end
  return true
end

-- The descriptor that is readable while there is something to do.
function sched.pollfd()
  local ok, msg, code = get_loop()
  if not ok then return nil, msg, code end
  hosted = true
  if head <= tail then core.loop_wakeup(loop) end
  return core.loop_get_fd(loop)
end

-- ---- a C program around it ----

function sched.forbid_blocking(yes) forbidden = yes end

-- One turn, by the program.
function sched.hosted_turn(timeout_ms)
  if running_task() or in_method() then
    return nil, "a turn of the loop inside a task or a method of a channel", BUSY
  end
  local n, msg, code = turn(timeout_ms)
  if head <= tail then core.loop_wakeup(loop) end
  if not n then return nil, msg, code end
  return n > 0
end

-- The program's loop calls it while ours has something to do.
function sched.on_host()
  sched.hosted_turn(0)
end

function sched.is_waited(object)
  return (waiting[READ][object] or waiting[WRITE][object]) ~= nil
end

function sched.setwaiter(fn)
  local before = waiter_fn
  waiter_fn = fn
  return before
end

-- The loop, for callbacks: from now on a wait outside a task lets them run.
function sched.loop()
  used = true
  return get_loop()
end

return sched
