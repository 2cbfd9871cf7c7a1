-- SPDX-License-Identifier: LGPL-2.1-or-later
-- hosted.lua: tasks over qio's channels inside of another library's loop.
--
-- usage: hosted.lua luv|cqueues
-- The loop has one descriptor, which is readable while there is something for qio.step to do.
local qio = require "qio"

local function talk()
  local listener = assert(qio.listen("tcp://127.0.0.1:0"))
  local lines
  qio.nursery(function(n)
    n:spawn(function()
      local peer = assert(listener:accept())
      for line in peer:lines() do peer:write(line:upper(), "\n") end
      peer:close()
    end)
    local client = assert(qio.connect(listener:address()))
    client:write("hello from ", arg[1], "\n")
    client:shutdown("write")
    lines = client:readall()
    client:close()
  end)
  listener:close()
  io.write(lines)
end

if arg[1] == "luv" then
  local uv = require "luv"
  local poll = uv.new_poll(qio.pollfd())
  poll:start("r", function() qio.step() end)
  qio.spawn(function()
    talk()
    poll:close()                                -- nothing else keeps luv's loop alive
  end)
  uv.run()
elseif arg[1] == "cqueues" then
  local cqueues = require "cqueues"
  local queue, over = cqueues.new(), false
  qio.spawn(function()
    talk()
    over = true
  end)
  queue:wrap(function()
    local pollable = qio.pollable()
    while not over do
      cqueues.poll(pollable)
      qio.step()
    end
  end)
  assert(queue:loop())
else
  io.stderr:write("usage: hosted.lua luv|cqueues\n")
  os.exit(2)
end
