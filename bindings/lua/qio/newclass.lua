-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.newclass: channels written in Lua.
--
-- Owns: classes and their instances.  A channel of a class is one like any other: the library calls
-- its methods, whoever uses it (Lua, TLS, a WebSocket, a relay, C).
-- Rules: a method never waits: it returns nil, "timeout", and tells by poll what to wait for, or
-- later with self:notify.  The instance knows its channel by number only, so both are collected
-- when nobody has the channel; what an instance keeps of its own channel is a cycle until close.

local core = require "qio.core"
local check = require "qio.check"

local describe = check.describe

-- In the order that qio_core_custom.c has them, after the instance.
local METHODS = { "read", "write", "close", "shutdown", "seek", "poll", "flush" }
local OURS = { notify = true, channel = true }
local CONDITIONS = {
  ["in"] = core.IN, out = core.OUT, inout = core.IN + core.OUT,
  [core.IN] = core.IN, [core.OUT] = core.OUT, [core.IN + core.OUT] = core.IN + core.OUT,
}

local tokens = setmetatable({}, { __mode = "k" })       -- instance -> its channel's token

local function token_of(self, method)
  local token = type(self) == "table" and tokens[self]
  if not token then
    error(("calling '%s' on bad self (instance of qio.newclass expected, got %s)"):format(method,
          core.typename(self)), 3)
  end
  return token
end

-- Whoever waits for the channel in this direction ("in", "out", "inout") looks again.
local function notify(self, condition)
  local token = token_of(self, "notify")
  condition = check.choice(condition == nil and "inout" or condition, 1, "notify", CONDITIONS,
                           '"in", "out" or "inout"')
  return core.custom_notify(token, condition)
end

-- The channel of the instance; nil, message, code once it is gone.
local function channel(self)
  return core.custom_channel(token_of(self, "channel"))
end

local function make(class, instance)
  if instance == nil then instance = {} end
  if type(instance) ~= "table" or getmetatable(instance) ~= nil then
    check.bad(1, "class", "table without a metatable, or nil,", describe(instance))
  end
  local behind = { instance }
  for i, name in ipairs(METHODS) do behind[i + 1] = class.methods[name] or false end
  setmetatable(instance, class.instances)
  local made, msg, code = core.custom_new(behind)
  if not made then return nil, msg, code end
  tokens[instance] = core.token(made)
  return made, instance
end

local Class = { __name = "qio.class", __call = make }

--- A class of channels from a table of methods: read(self, max), write(self, data), close(self),
-- shutdown(self, how), seek(self, whence, offset), poll(self, direction), flush(self), and any of
-- your own.  Calling the class with a table (or nothing) makes that an instance and gives its
-- channel and the instance.
local function newclass(methods)
  check.is(methods, "table", 1, "newclass")
  local index = {}
  for name, value in pairs(methods) do
    if OURS[name] then check.bad(1, "newclass", "other names than notify and channel", name) end
    index[name] = value
  end
  for _, name in ipairs(METHODS) do
    if index[name] ~= nil and type(index[name]) ~= "function" then
      check.bad(1, "newclass", name .. " = function", describe(index[name]))
    end
  end
  if not index.read and not index.write then
    check.bad(1, "newclass", "read or write", "neither")
  end
  index.notify, index.channel = notify, channel
  return setmetatable({ methods = index, instances = { __index = index } }, Class)
end

return newclass
