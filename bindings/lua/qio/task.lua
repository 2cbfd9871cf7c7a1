-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.task: what one can do with a task that qio.spawn started.
--
-- Owns: the methods of tasks.  Running them and ending their waits is qio.sched's, which has the
-- table that this file fills.
-- Rules: join is a wait like any other, of who joins.  A cancel ends one wait, the one that the
-- task is in or else its next; a task that has not begun never begins.

local core = require "qio.core"
local sched = require "qio.sched"
local check = require "qio.check"

local CANCELLED = core.errno.CANCELLED
local hot = sched.hot
local unpack = table.unpack or unpack

local Task = sched.Task
Task.__index = Task
Task.__name = "qio.task"

local function check_task(self, method)
  if getmetatable(self) ~= Task then
    error(("calling '%s' on bad self (task expected, got %s)"):format(method,
          core.typename(self)), 3)
  end
end

-- Waits for the end: what the function returned; nil, error, CALLBACK when it failed.
function Task:join(timeout)
  check_task(self, "join")
  local ms = check.seconds(timeout, 1, "join")
  if not self.results then
    if sched.running_task() == self then error("a task cannot join itself", 2) end
    sched.refuse_in_callback("joining", 2)
    local ok, msg, code = sched.park(self.joiners, ms >= 0 and core.now() + ms)
    if not ok then return nil, msg, code end
  end
  return unpack(self.results, 1, self.results.n)
end

-- Ends the wait that the task is in, or else the next one, with CANCELLED.  Returns whether
-- the task was still alive.
function Task:cancel()
  check_task(self, "cancel")
  if self.results then return false end
  if self.suspended and not self.woken then
    sched.wake(self, nil, "cancelled", CANCELLED)
  elseif not self.woken and hot.cancel(self.co) then
    self.parked = true
    sched.wake(self, nil, "cancelled", CANCELLED)
  else
    sched.set_cancelling(self, true)
  end
  return true
end

-- "ready" "running" "waiting" "done" "failed" "cancelled"
function Task:status()
  check_task(self, "status")
  if self.state == "running" and hot.parked(self.co) then return "waiting" end
  return self.state
end

function Task:__tostring()
  return "qio.task (" .. tostring(rawget(self, "state")) .. ")"
end

return Task
