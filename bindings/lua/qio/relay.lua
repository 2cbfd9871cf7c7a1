-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.relay: bytes copied between two channels, both ways, by the library.
--
-- Owns: the checks of a relay's arguments.  Rules: a relay waits as everything does (qio.sched):
-- it suspends a task, and turns the loop anywhere else.  Its filter is called by the loop, inside
-- a dispatch, where nothing may wait.

local core = require "qio.core"
local sched = require "qio.sched"
local check = require "qio.check"

local typename, describe = core.typename, check.describe

local KEYS = { buffer = "buffer", limit = "limit", idle_timeout = "idle-timeout" }

-- A number as the option has it.
local function text_of(value)
  if type(value) ~= "number" then return nil end
  return (value == math.floor(value) and "%.0f" or "%.6f"):format(value)
end

-- level: where the user's code is, counted from the caller.
local function settings(options, index, level)
  local set = assert(core.options_new())
  for key, value in pairs(options) do
    local name, text = KEYS[key], text_of(value)
    local ok, msg = name and text and core.options_set_str(set, name, text)
    if key ~= "filter" and not name then
      check.bad(index, "relay", "buffer, limit, idle_timeout and filter", describe(key), level)
    elseif name and not ok then
      check.bad(index, "relay", msg or key .. " = number", describe(value), level)
    end
  end
  return set
end

-- The arguments of a relay, two levels below the user's code.
local function arguments(a, b, options)
  if typename(a) ~= "qio.channel" then check.bad(1, "relay", "qio.channel", describe(a), 3) end
  if typename(b) ~= "qio.channel" then check.bad(2, "relay", "qio.channel", describe(b), 3) end
  if options == nil then options = {} end
  if type(options) ~= "table" then check.bad(3, "relay", "table", describe(options), 3) end
  if options.filter ~= nil and type(options.filter) ~= "function" then
    check.bad(3, "relay", "filter = function", describe(options.filter), 3)
  end
  return settings(options, 3, 4), options.filter
end

local function start(a, b, keys, filter, loop, cookie)
  local operation, msg, code = core.task_start_relay(a, b, keys, loop, cookie)
  if not operation or not filter then return operation, msg, code end
  local ok
  ok, msg, code = core.task_set_filter(operation, filter)
  if ok then return operation end
  core.task_cancel(operation)
  return nil, msg, code
end

-- The counts; or nil, message, code and the counts.
local function run(a, b, keys, filter)
  local operation
  local done, msg, code = sched.operate("relaying", function(loop, cookie)
    local made, why, number = start(a, b, keys, filter, loop, cookie)
    operation = made
    return made, why, number
  end)
  if not operation then return nil, msg, code end
  local _, a_to_b, b_to_a = core.task_get_counts(operation)
  if not done then return nil, msg, code, a_to_b, b_to_a end
  return a_to_b, b_to_a
end

local relay = {}

function relay.relay(a, b, options)
  local keys, filter = arguments(a, b, options)
  return run(a, b, keys, filter)
end

-- As a task of its own.
function relay.start(a, b, options)
  local keys, filter = arguments(a, b, options)
  return sched.spawn(run, a, b, keys, filter)
end

return relay
