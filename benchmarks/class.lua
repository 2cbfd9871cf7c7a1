-- SPDX-License-Identifier: LGPL-2.1-or-later
-- benchmarks/class.lua: one read and one write of a channel written in Lua, made from C, against
-- the bare call of the same method.
--
-- usage: class.lua FOLDER, where classfloor.so is.  Slices alternate.  Output: the lines of bench.h.
package.cpath = arg[1] .. "/?.so;" .. package.cpath

local qio = require "qio"
local core = require "qio.core"
local floor = require "classfloor"

local rounds = tonumber(os.getenv "BENCH_ROUNDS" or 200)
local clock = os.clock

local function slice(fn, object, verb, size, n)
  local start = clock()
  fn(object, verb, size, n)
  return (clock() - start) / n * 1e9
end

local function compare(verb, size, goal)
  local data = ("x"):rep(size)
  local methods = {
    read = function() return data end,
    write = function(_, s) return #s end,
  }
  local ch, self = qio.newclass(methods)()
  local token = core.token(ch)
  local n = 1
  while slice(floor.floor, self, verb, size, n) * n < 1e6 do n = n * 2 end
  local best, floor_best = math.huge, math.huge
  for _ = 1, rounds do
    best = math.min(best, slice(floor.case, token, verb, size, n))
    floor_best = math.min(floor_best, slice(floor.floor, self, verb, size, n))
  end
  print(("Lua channel, %s of %d B from C\t%.1f\t%.1f\t%.3f\t%s"):format(verb, size, best,
        floor_best, best / floor_best, goal))
  ch:close()
end

for _, size in ipairs { 5, 1024, 16384, 65536 } do
  compare("read", size, 1.2)
  compare("write", size, 1.2)
end
