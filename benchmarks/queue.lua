-- SPDX-License-Identifier: LGPL-2.1-or-later
-- benchmarks/queue.lua: LuaJIT over the event queue against a C epoll loop: two ends of a socket
-- pair that bounce 64 bytes, each woken by the loop.
--
-- usage: queue.lua floor.so.  Case and floor alternate in one process, on the CPU clock; the floor
-- has write, read and epoll_wait for each message, and nothing else.  Output: the lines of bench.h.
local qio = require "qio.ffi"
local ffi = require "ffi"

ffi.cdef [[
int64_t floor_epoll_bounce(int a, int b, int len, int64_t n);
]]
local floor = ffi.load(arg[1])
local C = qio.C
local rounds = tonumber(os.getenv "BENCH_ROUNDS" or 200)
local clock = os.clock
local SIZE, CAP = 64, 8

local loop = assert(qio.loop())
local a, b = assert(qio.pair())
local watches = { assert(loop:watch(a, C.QIOH_IN, 1)), assert(loop:watch(b, C.QIOH_IN, 2)) }
local events, buf = qio.events(CAP), ffi.new("uint8_t[?]", SIZE)

local function ours(n)
  local left = 2 * n
  a:try_writefrom(buf, SIZE)
  while left > 0 do
    for i = 0, loop:next_events(events, CAP, -1) - 1 do
      local ch = events[i].channel
      ch:try_readinto(buf, SIZE)
      left = left - 1
      if left > 0 then ch:try_writefrom(buf, SIZE) end
    end
  end
end

local c, d = assert(qio.pair())
local one, two = c:fd(), d:fd()

local function theirs(n)
  assert(floor.floor_epoll_bounce(one, two, SIZE, n) == n)
end

local function slice(fn, n)
  local start = clock()
  fn(n)
  return (clock() - start) / n * 1e9
end

local function count(fn)
  local n = 1
  while slice(fn, n) * n < 2e6 do n = n * 2 end
  return n
end

local n, floor_n = count(ours), count(theirs)
local best, floor_best = math.huge, math.huge
for _ = 1, rounds do
  best = math.min(best, slice(ours, n))
  floor_best = math.min(floor_best, slice(theirs, floor_n))
end
print(("LuaJIT: ping-pong of 64 B over the event queue / epoll in C\t%.1f\t%.1f\t%.3f\t1.10")
      :format(best, floor_best, best / floor_best))
for _, watch in ipairs(watches) do watch:remove() end
loop:close()
