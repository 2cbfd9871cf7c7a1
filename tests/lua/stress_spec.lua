-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Many tasks with time-outs and cancels at random: every byte arrives, once, in order.
local qio = require "qio"

local E = qio.errno

-- The same sequence everywhere: math.random differs between interpreters.
local function generator(seed)
  return function(n)
    seed = (seed * 16807) % 2147483647
    return seed % n + 1
  end
end

local function expected(count)
  local lines = {}
  for i = 1, count do lines[i] = ("line %d of %d"):format(i, count) end
  return lines
end

describe("a reader", function()
  it("that gives up at random, by time-out and by cancel, gets everything", function()
    local random = generator(4711)
    local a, b = qio.pair()
    local lines = expected(400)
    local text = table.concat(lines, "\n") .. "\n"
    local writer = qio.spawn(function()
      local at = 1
      while at <= #text do
        local n = random(60)
        assert(a:write(text:sub(at, at + n - 1)))
        at = at + n
        if random(3) == 1 then qio.sleep(random(20) / 100000) end
      end
      a:close()
    end)

    local got, held = {}, ""
    local function note(data)
      held = held .. data
    end
    local verbs = {
      function() return b:readline() end,
      function() return b:readexactly(random(40)) end,
      function() return b:read(random(30)) end,
      function() return b:readuntil({ "of", "\n" }) end,
      function() return b:peek(random(50)) end,
    }
    local kinds = { timeouts = 0, cancels = 0 }
    while true do
      local which = random(#verbs)
      local data, msg, code
      if random(2) == 1 then
        b:settimeout(random(30) / 100000)
        data, msg, code = verbs[which]()
        b:settimeout(nil)
      else
        local task = qio.spawn(verbs[which])
        qio.step(random(10) / 100000)
        task:cancel()
        data, msg, code = task:join()
      end
      if data and which ~= 5 then
        note(data)
        if which == 1 then got[#got + 1] = #held end    -- the line's end is left out
      elseif not data then
        if code == E.EOF and which ~= 2 then break end
        if code == E.EOF then
          note(b:readall())
          break
        end
        assert.is_true(code == E.TIMEOUT or code == E.CANCELLED)
        if code == E.TIMEOUT then kinds.timeouts = kinds.timeouts + 1
        else kinds.cancels = kinds.cancels + 1 end
        assert.equal("string", type(msg))
      end
    end
    -- Put back the line ends that readline took off.
    local parts, at = {}, 1
    for _, stop in ipairs(got) do
      parts[#parts + 1] = held:sub(at, stop)
      at = stop + 1
    end
    parts[#parts + 1] = held:sub(at)
    assert.is_true(table.concat(parts, "\n") == text)
    assert.is_true(kinds.timeouts > 0 and kinds.cancels > 0)
    writer:join()
    b:close()
  end)
end)

describe("200 tasks", function()
  it("over 100 channels, a third of them cancelled or closed midway, all end", function()
    local random = generator(99)
    local tasks, channels = {}, {}
    for i = 1, 100 do
      local a, b = qio.pair()
      channels[#channels + 1] = a
      channels[#channels + 1] = b
      tasks[#tasks + 1] = qio.spawn(function()
        for n = 1, 50 do
          local ok, msg, code = a:write(("%d.%d\n"):format(i, n))
          if not ok then return msg, code end
          if n % 10 == 0 then qio.sleep(random(10) / 100000) end
        end
        a:close()
        return "sent"
      end)
      tasks[#tasks + 1] = qio.spawn(function()
        local n = 0
        while true do
          local line, _, code = b:readline()
          if not line then return n, code end
          n = n + 1
          assert.equal(("%d.%d"):format(i, n), line)
        end
      end)
    end
    for _ = 1, 30 do
      qio.step()
      tasks[random(#tasks)]:cancel()
      channels[random(#channels)]:close()
    end
    assert(qio.run())
    local whole = 0
    for i, task in ipairs(tasks) do
      assert.equal("done", task:status())
      if i % 2 == 0 then
        local n, code = task:join()
        if n == 50 and code == E.EOF then whole = whole + 1 end
      end
    end
    assert.is_true(whole > 20)
    for _, ch in ipairs(channels) do ch:close() end
  end)
end)
