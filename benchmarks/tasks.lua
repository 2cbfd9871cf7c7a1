-- SPDX-License-Identifier: LGPL-2.1-or-later
-- benchmarks/tasks.lua: two tasks bounce 64 bytes over a socket pair, against cqueues and luv.
--
-- Each peer alternates with ours in one process, on the CPU clock; ratios are of minima.  cqueues
-- does the same with its own tasks; luv with callbacks, which is less work: no task is resumed.
-- Output: the lines of bench.h.
local qio = require "qio"

local rounds = tonumber(os.getenv "BENCH_ROUNDS" or 200)
local clock = os.clock
local msg = ("x"):rep(64)

local function ours()
  local a, b = qio.pair()
  return function(n)
    qio.spawn(function()
      for _ = 1, n do
        a:write(msg)
        a:read(64)
      end
    end)
    qio.spawn(function()
      for _ = 1, n do b:write(b:read(64)) end
    end)
    assert(qio.run())
  end
end

local function cqueues()
  local cq, cs = require "cqueues", require "cqueues.socket"
  local a, b = cs.pair(cs.SOCK_STREAM)
  a:setmode("bn", "bn")
  b:setmode("bn", "bn")
  return function(n)
    local q = cq.new()
    q:wrap(function()
      for _ = 1, n do
        a:write(msg)
        a:read(64)
      end
    end)
    q:wrap(function()
      for _ = 1, n do b:write(b:read(64)) end
    end)
    assert(q:loop())
  end
end

local function luv()
  local uv = require "luv"
  local fds = uv.socketpair("stream", 0, {}, {})
  local a, b = uv.new_pipe(false), uv.new_pipe(false)
  a:open(fds[1])
  b:open(fds[2])
  local left = 0
  local function reader(stream)
    return function(_, data)
      left = left - 1
      if left > 0 then stream:try_write(data) else uv.stop() end
    end
  end
  a:read_start(reader(a))
  b:read_start(reader(b))
  return function(n)
    left = 2 * n
    a:try_write(msg)
    uv.run()
  end
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

local mine = ours()
local n = count(mine)

local function compare(name, make, goal)
  local case = ("Lua tasks: ping-pong of 64 B / %s"):format(name)
  local ok, other = pcall(make)
  if not ok then
    print(case .. "\tnot found")
    return
  end
  local other_n = count(other)
  local best, floor = math.huge, math.huge
  for _ = 1, rounds do
    best = math.min(best, slice(mine, n))
    floor = math.min(floor, slice(other, other_n))
  end
  print(("%s\t%.1f\t%.1f\t%.3f\t%.2f"):format(case, best, floor, best / floor, goal))
end

compare("the same with cqueues", cqueues, 0.75)
compare("callbacks of luv", luv, 1.0)
