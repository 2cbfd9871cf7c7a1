-- SPDX-License-Identifier: LGPL-2.1-or-later
local qio = require "qio"

-- Each task reads as if it blocked; while it waits the other goes on.
local function shout(word)
  local tr <close> = assert(qio.command { "tr", "a-z", "A-Z" })
  assert(tr:write("hello from ", word, "\n"))
  assert(tr:shutdown("write"))
  print((assert(tr:read("l"))))
end
qio.spawn(shout, "lua")
qio.spawn(shout, "another task")
qio.run()
