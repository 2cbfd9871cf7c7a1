-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.options: tables of options as the library takes them.
--
-- Owns: what Lua values stand for.  The keys are those of URIs with "_" for "-"; what a key takes
-- is checked by the library, whose text becomes an error at the caller's line.

local core = require "qio.core"
local check = require "qio.check"

local describe, typename = check.describe, core.typename

-- Keys that take bytes: PEM text in place of a path, and secrets.
local PEM = "-----BEGIN "
local SECRET = { ["tls-password"] = true, ["tls-psk-key"] = true }
local BYTES = {
  ["tls-ca"] = true, ["tls-cert"] = true, ["tls-key"] = true, ["tls-crl"] = true,
  ["tls-password"] = true, ["tls-psk-key"] = true,
}

local function set_value(options, key, value, add)
  local kind = type(value)
  if typename(value) == "qio.creds" then return core.options_set_creds(options, value) end
  if kind == "boolean" then value = value and "on" or "off" end
  if kind == "number" then
    local whole = value == math.floor(value) and math.abs(value) < 2 ^ 53
    value = (whole and "%d" or "%.17g"):format(value)
  end
  if type(value) ~= "string" then return nil, "a " .. typename(value) .. " is no value" end
  if BYTES[key] and (SECRET[key] or value:find(PEM, 1, true)) then
    return core.options_set_bytes(options, key, value)
  end
  if value:find("\0", 1, true) then return nil, "there is a zero byte in it" end
  return (add and core.options_add_str or core.options_set_str)(options, key, value)
end

-- NAME=value of a table's entry.
local function set_variable(options, key, name, value)
  if name == "" or name:find("=", 1, true) then
    return nil, "a name without '=' expected, got " .. describe(name)
  end
  if type(value) ~= "string" and type(value) ~= "number" then
    return nil, ("the value of %s is a %s"):format(name, typename(value))
  end
  return set_value(options, key, name .. "=" .. value, true)
end

local function set_option(options, key, value)
  if type(value) ~= "table" or BYTES[key] then return set_value(options, key, value) end
  if next(value) == nil and key == "env" then
    return set_value(options, key, "")          -- no variables, which is not ours
  end
  if next(value) == nil and key == "allow" then
    return nil, 'it has to name something, such as "net"'
  end
  if next(value) == nil and key == "tls-acl" then
    return nil, 'it has to have a rule; "!*" lets nobody in'
  end
  for _, one in ipairs(value) do
    local ok, msg = set_value(options, key, one, true)
    if not ok then return nil, msg end
  end
  for name, one in pairs(value) do              -- env = { NAME = "value" }
    if type(name) == "string" then
      local ok, msg = set_variable(options, key, name, one)
      if not ok then return nil, msg end
    end
  end
  return true
end

-- A table of keys ("_" for "-") as options; a wrong one raises.
local function make_options(keys, index, method)
  if keys == nil then return nil end
  if type(keys) ~= "table" then
    check.bad(index, method, "table of options", describe(keys), 3)
  end
  local options, msg = core.options_new()
  if not options then error(msg, 3) end
  for key, value in pairs(keys) do
    if type(key) ~= "string" then
      check.bad(index, method, "names of options as keys", describe(key), 3)
    end
    local ok
    ok, msg = set_option(options, (key:gsub("_", "-")), value)
    if not ok then
      error(("bad argument #%d to '%s' (option '%s': %s)"):format(index, method, key, msg), 3)
    end
  end
  return options
end

return make_options
