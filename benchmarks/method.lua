-- SPDX-License-Identifier: LGPL-2.1-or-later
-- benchmarks/method.lua: a method that does next to nothing, through the binding and by hand.
--
-- usage: method.lua FOLDER, where handmade.so is.  Both call the same function of the ABI, so
-- the ratio is what the binding adds.  Output: the lines of bench.h.
package.cpath = arg[1] .. "/?.so;" .. package.cpath

local qio = require "qio"
local handmade = require "handmade"

local rounds = tonumber(os.getenv "BENCH_ROUNDS" or 200)
local clock = os.clock

local function slice(ch, n)
  local start = clock()
  for _ = 1, n do
    ch:fd()
  end
  return (clock() - start) / n * 1e9
end

local function count(ch)
  local n = 1
  while slice(ch, n) * n < 2e6 do
    n = n * 2
  end
  return n
end

local ours, other = qio.pair()
local floor = handmade.channel()
local n, floor_n = count(ours), count(floor)
local best, floor_best = math.huge, math.huge
for _ = 1, rounds do
  best = math.min(best, slice(ours, n))
  floor_best = math.min(floor_best, slice(floor, floor_n))
end
print(string.format("Lua: a method / the same by hand in C\t%.1f\t%.1f\t%.3f\t1.25",
  best, floor_best, best / floor_best))
ours:close()
other:close()
