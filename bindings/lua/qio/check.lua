-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.check: the arguments of methods.
--
-- Owns: the checks and the form of their errors: the argument, what would be right, what came.
-- Rule: an error is raised at the line of the user's code, so a check knows how far up that is.

local typename = require "qio.core".typename

local check = {}

-- level: where the user's code is, counted from the caller (1); a method calls with 2, the
-- default, a check called by a method with 3.
function check.bad(index, method, expected, got, level)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(index, method, expected, got),
        (level or 2) + 1)
end

local function describe(value)
  if type(value) == "number" then return "number " .. tostring(value) end
  if type(value) == "string" then
    local text = ("%q"):format(value:sub(1, 60)):gsub("\\\n", "\\n")
    return "string " .. text .. (#value > 60 and "..." or "")
  end
  return typename(value)
end

function check.self(self, kind, method)
  if typename(self) ~= kind then
    error(("calling '%s' on bad self (%s expected, got %s)"):format(method, kind,
          typename(self)), 3)
  end
end

function check.is(value, kind, index, method)
  if type(value) ~= kind then check.bad(index, method, kind, describe(value), 3) end
  return value
end

-- A string that C takes whole.
function check.text(value, index, method)
  if type(value) ~= "string" then check.bad(index, method, "string", describe(value), 3) end
  if value:find("\0", 1, true) then
    check.bad(index, method, "string without zero bytes", describe(value), 3)
  end
  return value
end

-- A whole number in a range, or the default for nil.
function check.count(value, index, method, least, most, default)
  if value == nil and default then return default end
  if type(value) ~= "number" or value ~= math.floor(value) or value < least or value > most then
    check.bad(index, method, ("integer from %d to %d"):format(least, most), describe(value),
              3)
  end
  return value
end

-- Seconds as milliseconds; nil and false are -1: no limit.
function check.seconds(value, index, method)
  if not value then return -1 end
  if type(value) ~= "number" or value ~= value or value < 0 then
    check.bad(index, method, "seconds of 0 or more, or nil,", describe(value), 3)
  end
  return math.min(math.ceil(value * 1000), 2147483647)
end

function check.choice(value, index, method, choices, text)
  local choice = choices[value]
  if value == nil or choice == nil then check.bad(index, method, text, describe(value), 3) end
  return choice
end

check.describe = describe

return check
