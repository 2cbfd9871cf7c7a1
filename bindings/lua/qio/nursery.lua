-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.nursery: tasks that end before who started them goes on.
--
-- Owns: the set of tasks of a nursery and the wait for the last of them.
-- Rules: the first task that fails cancels the others; the nursery tells its error, and onerror
-- gets it as from every task.  Who is cancelled while it waits cancels the tasks and waits on:
-- nothing of a nursery is alive after it, unless an error comes out of the loop (Ctrl-C).

local core = require "qio.core"
local sched = require "qio.sched"
local check = require "qio.check"

local CLOSED, CALLBACK = core.errno.CLOSED, core.errno.CALLBACK
local unpack = table.unpack or unpack

local Nursery = {}
Nursery.__index = Nursery
Nursery.__name = "qio.nursery"

local function check_nursery(self, method)
  if getmetatable(self) ~= Nursery then
    error(("calling '%s' on bad self (nursery expected, got %s)"):format(method,
          core.typename(self)), 3)
  end
end

local function cancel_all(self)
  for task in pairs(self.tasks) do task:cancel() end
end

local function ended(self, task)
  self.tasks[task] = nil
  self.count = self.count - 1
  if task.state == "failed" and not self.failed then
    self.failed, self.err = true, task.results[2]
    cancel_all(self)
  end
  if self.count == 0 then
    for w in pairs(self.waiters) do sched.wake(w, true) end
  end
end

local function start(self, fn, ...)
  local task = sched.spawn(fn, ...)
  task.nursery, task.ended = self, ended
  self.tasks[task], self.count = true, self.count + 1
  return task
end

--- Starts a task of the nursery; nil, "closed", -8 once the nursery is over.
function Nursery:spawn(fn, ...)
  check_nursery(self, "spawn")
  check.is(fn, "function", 1, "spawn")
  if self.over or self.failed then return nil, "closed", CLOSED end
  return start(self, fn, ...)
end

--- Cancels its tasks; it takes new ones afterwards.
function Nursery:cancel()
  check_nursery(self, "cancel")
  cancel_all(self)
  return true
end

-- The first reason not to go on, if any; every task has ended.
local function wait_all(self)
  local msg, code
  while self.count > 0 do
    local ok, why, number = sched.park(self.waiters)
    if not ok and not msg then
      msg, code = why, number
      cancel_all(self)
    end
  end
  return msg, code
end

--- Waits until all of its tasks have ended: true; nil, error, CALLBACK when one has failed; nil,
-- "cancelled", CANCELLED for who was cancelled meanwhile.
function Nursery:join()
  check_nursery(self, "join")
  sched.refuse_in_callback("joining", 2)
  local msg, code = wait_all(self)
  if self.failed then return nil, self.err, CALLBACK end
  if msg then return nil, msg, code end
  return true
end

-- Leaving a <close> scope: after an error nobody needs the rest.
function Nursery:__close(err)
  if err ~= nil then cancel_all(self) end
  wait_all(self)
  self.over = true
  if err == nil and self.failed then error(self.err, 0) end
end

--- With a function: calls fn(nursery) as a task of the nursery, waits for all of its tasks and
-- gives what fn returned; or nil, message, code as join does.  Without: the nursery, for a <close>
-- variable, whose end waits and raises the error of a task that has failed.
local function nursery(fn)
  local self = setmetatable({ tasks = {}, count = 0, waiters = {} }, Nursery)
  if fn == nil then return self end
  check.is(fn, "function", 1, "nursery")
  sched.refuse_in_callback("a nursery", 2)
  local body = start(self, fn, self)
  local msg, code = wait_all(self)
  self.over = true
  if self.failed then return nil, self.err, CALLBACK end
  if msg then return nil, msg, code end
  return unpack(body.results, 1, body.results.n)
end

return nursery
