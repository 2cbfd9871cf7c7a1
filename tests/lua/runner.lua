-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- runner.lua: runs a spec and prints TAP.  usage: lua runner.lua SPEC [pattern]
--
-- Owns: describe, it, before_each, after_each and the few assertions that the specs use, all
-- with the names that busted gives them, so that busted runs the specs too.
-- Rule: after each test the open descriptors must be what they were before it, whatever their
-- number, after a full collection.

local qio = require "qio"

local spec_path, pattern = arg[1], arg[2]
local unpack = table.unpack or unpack

-- ---- assertions ----

local function show(value)
  if type(value) == "string" then
    return #value > 200 and ("%q... (%d bytes)"):format(value:sub(1, 200), #value)
      or ("%q"):format(value)
  end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for k, v in pairs(value) do parts[#parts + 1] = tostring(k) .. " = " .. show(v) end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

local plain_assert = assert
local check = {}

function check.equal(expected, got)
  if expected ~= got then error(("expected %s, got %s"):format(show(expected), show(got)), 2) end
end

function check.same(expected, got)
  if not same(expected, got) then
    error(("expected %s, got %s"):format(show(expected), show(got)), 2)
  end
end

function check.is_true(got)
  if got ~= true then error("expected true, got " .. show(got), 2) end
end

function check.is_false(got)
  if got ~= false then error("expected false, got " .. show(got), 2) end
end

function check.is_nil(got)
  if got ~= nil then error("expected nil, got " .. show(got), 2) end
end

-- text holds a pattern
function check.matches(pat, text)
  if type(text) ~= "string" or not text:find(pat) then
    error(("expected a match of %q, got %s"):format(pat, show(text)), 2)
  end
end

-- Calling fn raises an error whose text holds a pattern.
function check.error_matches(fn, pat)
  local ok, err = pcall(fn)
  if ok then error("expected an error that matches " .. show(pat), 2) end
  if not tostring(err):find(pat) then
    error(("expected an error that matches %q, got %s"):format(pat, show(tostring(err))), 2)
  end
end

assert = setmetatable(check, { __call = function(_, ...) return plain_assert(...) end })

-- ---- descriptors ----

local listing = os.tmpname()
local stat = plain_assert(io.open("/proc/self/stat"))
local pid = stat:read("*l"):match("^(%d+)")
stat:close()

-- { [number] = what it is } of this process: the lister has ended when the list is read.
-- A watch lets go of its channel at the loop's next turn.
local function open_fds()
  for _ = 1, 3 do
    collectgarbage()
    qio.step()
  end
  os.execute(("ls -l /proc/%s/fd >%s"):format(pid, listing))
  local fds = {}
  for line in io.lines(listing) do
    local number, target = line:match("(%d+) %-> (.*)$")
    if number then fds[tonumber(number)] = target end
  end
  return fds
end

local function compare_fds(before, after)
  local left = {}
  for fd, what in pairs(after) do
    if before[fd] ~= what then left[#left + 1] = ("left open: %d %s"):format(fd, what) end
  end
  for fd, what in pairs(before) do
    if after[fd] ~= what then left[#left + 1] = ("gone: %d %s"):format(fd, what) end
  end
  if #left > 0 then error("descriptors: " .. table.concat(left, "; "), 0) end
end

-- ---- tests ----

local count, failures = 0, 0
local names, before, after = {}, {}, {}

function describe(name, body)
  names[#names + 1] = name
  local nb, na = #before, #after
  body()
  names[#names] = nil
  for i = #before, nb + 1, -1 do before[i] = nil end
  for i = #after, na + 1, -1 do after[i] = nil end
end

function before_each(fn) before[#before + 1] = fn end
function after_each(fn) after[#after + 1] = fn end

local function run(body)
  for _, fn in ipairs(before) do fn() end
  local ok, err = xpcall(body, debug.traceback)
  for i = #after, 1, -1 do after[i]() end
  if not ok then error(err, 0) end
end

function it(name, body)
  local full = table.concat(names, " ") .. " " .. name
  if pattern and not full:find(pattern) then return end
  count = count + 1
  local fds = open_fds()
  local ok, err = pcall(run, body)
  if ok then
    body = nil
    ok, err = pcall(function() compare_fds(fds, open_fds()) end)
  end
  if ok then
    print(("ok %d - %s"):format(count, full))
  else
    failures = failures + 1
    print(("not ok %d - %s"):format(count, full))
    print("# " .. tostring(err):gsub("\n", "\n# "))
  end
  io.stdout:flush()
end

-- What is made once and stays: the loop, what a blocked thread is woken by.
do
  local a, b = qio.pair()
  b:settimeout(0.001)
  b:read(1)
  a:close()
  b:close()
  qio.step(0)
end

local chunk = plain_assert(loadfile(spec_path))
chunk()
os.remove(listing)
print("1.." .. count)
io.stdout:flush()
local good = failures == 0 and count > 0
os.exit(_VERSION == "Lua 5.1" and not rawget(_G, "jit") and (good and 0 or 1) or good, true)
