-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- exports: lists the exports of an NBD server, from LuaJIT, over the flat ABI alone.
--
--   luajit exports.lua URI
--
-- Owns nothing but a loop, a channel and a watch: the header goes to ffi.cdef as it is, the
-- library is loaded, and events are fetched with qioh_loop_next_events: C never calls Lua.
-- The conversation is written top to bottom in a coroutine that yields when it needs bytes.

local ffi = require "ffi"

local here = arg[0]:match("^(.*/)") or "./"
ffi.cdef(assert(io.open(here .. "../../core/abi/qioh-abi.h")):read("*a"))
local qio = ffi.load("qio")

local TIMEOUT_MS = 20000                        -- for the next event
local EXPORTS_MAX, REPLY_MAX = 1000, 65536      -- what a server may choose, bounded
local COOKIE = 1

local err = ffi.new("qioh_error")

local function check(result)
  local failed = type(result) == "cdata" and result == nil or
                 type(result) == "number" and result < 0
  if failed then
    error(ffi.string(qio.qioh_status_name(err.code)) .. ": " .. ffi.string(err.message), 2)
  end
  return result
end

-- ---- numbers on the wire: the highest byte first ----

local function put32(n)
  return string.char(bit.rshift(n, 24), bit.band(bit.rshift(n, 16), 255),
                     bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

local function get32(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- ---- the conversation ----

local OPT_ABORT, OPT_LIST = 2, 3
local REP_ACK, REP_SERVER = 1, 2
local REPLY_MAGIC = "\0\3\232\137\4\85\101\169"

-- need(n) gives the next n bytes, send(s) queues bytes.
local function list_exports(need, send)
  local exports = {}
  assert(need(16) == "NBDMAGICIHAVEOPT", "this is no NBD server of today")
  assert(need(2):byte(2) % 2 == 1, "the server cannot do fixed newstyle negotiation")
  send(put32(1) .. "IHAVEOPT" .. put32(OPT_LIST) .. put32(0))
  while true do
    local head = need(20)
    assert(head:sub(1, 8) == REPLY_MAGIC and get32(head, 9) == OPT_LIST, "not a reply to a list")
    local kind, length = get32(head, 13), get32(head, 17)
    assert(length <= REPLY_MAX and #exports < EXPORTS_MAX, "the server's list is too long")
    local data = need(length)
    if kind == REP_ACK then break end
    assert(kind == REP_SERVER and length >= 4 and get32(data, 1) <= length - 4,
           "the server refuses to list its exports")
    local name_end = 4 + get32(data, 1)
    exports[#exports + 1] = { name = data:sub(5, name_end), description = data:sub(name_end + 1) }
  end
  send("IHAVEOPT" .. put32(OPT_ABORT) .. put32(0))
  return exports
end

-- ---- what moves its bytes ----

local uri = assert(arg[1], "usage: luajit exports.lua URI")
local channel = check(qio.qioh_channel_open_uri(uri, nil, err))
local loop = check(qio.qioh_loop_new(err))
local watch = check(qio.qioh_watch_new_queued(loop, channel, qio.QIOH_IN, COOKIE, err))

local input = ""
local chunk = ffi.new("char[4096]")

local talk = coroutine.wrap(function()
  return list_exports(function(n)
    while #input < n do coroutine.yield() end
    local bytes = input:sub(1, n)
    input = input:sub(n + 1)
    return bytes
  end, function(s)
    check(qio.qioh_channel_write_all(channel, s, #s, err))
  end)
end)

-- All that is there now; false at the end of the stream.
local function fetch()
  while true do
    local n = tonumber(qio.qioh_channel_try_read(channel, chunk, 4096, err))
    if n == qio.QIOH_E_AGAIN then return true end
    if check(n) == 0 then return false end
    input = input .. ffi.string(chunk, n)
  end
end

local events = ffi.new("qioh_event[8]")
events[0].struct_size = ffi.sizeof("qioh_event")

-- Calls handle(event) for each event until it gives something.
local function next_result(handle)
  while true do
    local count = check(qio.qioh_loop_next_events(loop, events, 8, TIMEOUT_MS, err))
    assert(count > 0, "the server says nothing")
    for i = 0, count - 1 do
      local result = handle(events[i])
      if result then return result end
    end
  end
end

local wakeups = 0
local exports = talk() or next_result(function(event)
  if event.kind ~= qio.QIOH_EV_WATCH or event.cookie ~= COOKIE then return end
  wakeups = wakeups + 1
  local more = fetch()
  local result = talk()
  assert(result or more, "the server closed the connection")
  return result
end)

-- A watch that goes says so once, after its last event: whatever the cookie stood for may go.
check(qio.qioh_watch_remove(watch, err))
next_result(function(event)
  return event.kind == qio.QIOH_EV_RELEASED and event.cookie == COOKIE
end)
qio.qioh_watch_unref(watch)
check(qio.qioh_channel_close(channel, err))
qio.qioh_channel_unref(channel)
qio.qioh_loop_unref(loop)

table.sort(exports, function(a, b) return a.name < b.name end)
for _, export in ipairs(exports) do
  print(("export %q: %s"):format(export.name, export.description))
end
print(("%d exports, from %d events, no callback"):format(#exports, wakeups))
local left = 0
for _, kind in ipairs { qio.QIOH_KIND_CHANNEL, qio.QIOH_KIND_LOOP, qio.QIOH_KIND_WATCH } do
  left = left + tonumber(qio.qioh_debug_live(kind))
end
assert(left == 0, left .. " handles were left")
