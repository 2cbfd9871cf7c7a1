-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The pure LuaJIT road: the header as it is, handles with methods, the event queue.
local qffi = require "qio.ffi"
local ffi = require "ffi"

local C = qffi.C
local dir = os.getenv "QIO_TEST_DIR" or "/tmp"

local function give_up(...)
  for _, handle in ipairs({ ... }) do
    if ffi.istype("qioh_loop *", handle) then assert(handle:close()) end
  end
end

describe("qio.ffi", function()
  it("reads and writes", function()
    local a, b = assert(qffi.pair())
    assert.equal(a, a:write("hello"))
    assert.equal("hel", b:read(3))
    assert.equal("lo", b:try_read())
    local value, msg, code = b:try_read(1)
    assert.is_nil(value)
    assert.equal("timeout", msg)
    assert.equal(-2, code)
    local buf = ffi.new("uint8_t[16]")
    a:write("abc")
    assert.equal(3, b:readinto(buf, 16))
    assert.equal("abc", ffi.string(buf, 3))
    a:close()
    value, msg, code = b:read()
    assert.is_nil(value)
    assert.equal("closed", msg)
    assert.equal(-18, code)
    value, msg, code = a:write("x")
    assert.is_nil(value)
    assert.equal("closed", msg)
    assert.equal(-8, code)
    b:close()
  end)

  it("tells errors, and checks handles", function()
    local value, msg, code = qffi.open("unix:" .. dir .. "/none")
    assert.is_nil(value)
    assert.matches("none", msg)
    assert.equal(2, code)
    value, msg, code = qffi.open("nonsense")
    assert.is_nil(value)
    assert.equal("string", type(msg))
    assert.equal(C.QIOH_E_INVAL, code)
    local bogus = ffi.cast("qioh_channel *", 0x1234567)
    value, msg, code = bogus:close()
    assert.is_nil(value)
    assert.is_true(code == C.QIOH_E_BADHANDLE or code == C.QIOH_E_WRONGTYPE)
    assert.error_matches(function() qffi.open(3) end, "#1 to 'open' %(string expected")
  end)

  it("gets the events of a channel from the queue", function()
    local loop = assert(qffi.loop())
    local a, b = assert(qffi.pair())
    local watch = assert(loop:watch(b, C.QIOH_IN, 77))
    local n = 0
    for _ in loop:events(0) do n = n + 1 end
    assert.equal(0, n)
    a:write("x")
    for ev in loop:events(1000) do
      n = n + 1
      assert.equal(C.QIOH_EV_WATCH, ev.kind)
      assert.equal(77, tonumber(ev.cookie))
      assert.equal(1, ev.condition)
      assert.equal(qffi.token(b), qffi.token(ev.channel))
      assert.equal("x", ev.channel:try_read())
    end
    assert.equal(1, n)
    assert(watch:remove())
    local released = false
    for ev in loop:events(1000) do
      released = released or (ev.kind == C.QIOH_EV_RELEASED and ev.cookie == 77)
    end
    assert.is_true(released)
    a:close()
    b:close()
    give_up(loop)
  end)

  it("gets the events of a regular file, a timer and a descriptor", function()
    local loop = assert(qffi.loop())
    local path = dir .. "/ffi-file"
    local f = assert(qffi.open("file:" .. path .. "?mode=rw"))
    f:write("text")
    local a, b = assert(qffi.pair())
    a:write("x")
    local watches = {
      assert(loop:watch(f, C.QIOH_IN, 1)),
      assert(loop:timer(1, 0, 2)),
      assert(loop:watch_fd(b:fd(), C.QIOH_IN, 3)),
    }
    local seen, count = {}, 0
    while not (seen[1] and seen[2] and seen[3]) do
      for ev in loop:events(1000) do
        if ev.kind ~= C.QIOH_EV_RELEASED then
          seen[tonumber(ev.cookie)] = tonumber(ev.kind)
          count = count + 1
        end
      end
    end
    assert.equal(C.QIOH_EV_WATCH, seen[1])
    assert.equal(C.QIOH_EV_TIMER, seen[2])
    assert.equal(C.QIOH_EV_WATCH, seen[3])
    for _, watch in ipairs(watches) do watch:remove() end
    f:close()
    a:close()
    b:close()
    give_up(loop)
  end)

  it("accepts clients from the queue", function()
    local loop = assert(qffi.loop())
    local l = assert(qffi.listen("tcp://127.0.0.1:0"))
    local watch = assert(loop:watch_listener(l, 5))
    local c = assert(qffi.open(l:address()))
    local client
    while not client do
      for ev in loop:events(1000) do
        assert.equal(C.QIOH_EV_ACCEPT, ev.kind)
        assert.equal(5, tonumber(ev.cookie))
        client = assert(l:accept(0))
      end
    end
    c:write("hi")
    assert.equal("hi", client:read())
    watch:remove()
    c:close()
    client:close()
    l:close()
    give_up(loop)
  end)

  it("moves a megabyte through the queue without a callback", function()
    local loop = assert(qffi.loop())
    local a, b = assert(qffi.pair())
    local data = ("0123456789abcdef"):rep(65536)
    local out = assert(loop:watch(a, C.QIOH_OUT, 1))
    local inp = assert(loop:watch(b, C.QIOH_IN, 2))
    local sent, got, total = 0, {}, 0
    local events = qffi.events(8)
    while total < #data do
      local n = assert(loop:next_events(events, 8, 1000))
      for i = 0, n - 1 do
        if events[i].cookie == 1 and events[i].kind == C.QIOH_EV_WATCH then
          sent = sent + (a:try_write(data:sub(sent + 1, sent + 65536)) or 0)
          if sent == #data then out:remove() end
        elseif events[i].kind == C.QIOH_EV_WATCH then
          local part = b:try_read()
          if part then
            got[#got + 1] = part
            total = total + #part
          end
        end
      end
    end
    inp:remove()
    assert.is_true(table.concat(got) == data)
    a:close()
    b:close()
    give_up(loop)
  end)

  it("answers a channel of its own without a callback", function()
    local loop = assert(qffi.loop())
    local ch = assert(loop:channel(9))
    assert.equal(C.QIOH_CHANNEL_QUEUED, C.qioh_channel_get_kind(ch, nil))
    local value, msg = ch:try_read()
    assert.is_nil(value)
    assert.equal("timeout", msg)
    ch:try_write("some words")
    local asked = {}
    for _ = 1, 2 do
      for ev in loop:events(0) do
        assert.equal(9, tonumber(ev.cookie))
        asked[tonumber(ev.kind)] = tonumber(ev.bytes)
      end
    end
    assert.equal(65536, asked[C.QIOH_EV_CUSTOM_READ])
    assert.equal(10, asked[C.QIOH_EV_CUSTOM_WRITE])
    assert.equal("some", ch:pull(4))
    assert.equal(6, ch:push(ch:pull():upper()))
    assert.equal(" WORDS", ch:read())
    value, msg = ch:pull()
    assert.is_nil(value)
    assert.equal("timeout", msg)
    value, msg = ch:read()      -- this thread serves the loop: it would wait for itself
    assert.is_nil(value)
    assert.matches("wait", msg)
    assert.equal(0, ch:push_end(C.QIOH_E_PROTOCOL, "no more words"))
    value, msg = ch:read()
    assert.is_nil(value)
    assert.equal("no more words", msg)
    ch:try_write("x")
    ch:close()
    local last
    for _ = 1, 4 do
      for ev in loop:events(0) do last = tonumber(ev.kind) end
    end
    assert.equal(C.QIOH_EV_RELEASED, last)
    assert.equal("x", ch:pull())
    value, msg = ch:pull()
    assert.is_nil(value)
    assert.equal("closed", msg)
    give_up(loop)
  end)

  it("carries TLS over a cable that is Lua", function()
    local loop = assert(qffi.loop())
    local ends = { assert(loop:channel(1)), assert(loop:channel(2)) }
    local creds = { C.qioh_creds_new_anon(nil, 0, nil), C.qioh_creds_new_anon(nil, 1, nil) }
    local tls = {
      C.qioh_channel_new_tls_client(ends[1], creds[1], nil, nil),
      C.qioh_channel_new_tls_server(ends[2], creds[2], nil, nil),
    }
    local function turn()
      for ev in loop:events(0) do
        if ev.kind == C.QIOH_EV_CUSTOM_WRITE then
          local from = tonumber(ev.cookie)
          local part = ends[from]:pull()
          while part do
            assert.equal(#part, ends[3 - from]:push(part))
            part = ends[from]:pull()
          end
        end
      end
    end
    local done = { false, false }
    for _ = 1, 100 do
      for i = 1, 2 do
        done[i] = done[i] or C.qioh_channel_handshake(tls[i], 0, nil) == 0
      end
      turn()
    end
    assert.is_true(done[1] and done[2])
    local text = ("0123456789"):rep(1000)
    assert.equal(#text, tls[1]:try_write(text))
    local got = ""
    for _ = 1, 100 do
      turn()
      got = got .. (tls[2]:try_read() or "")
    end
    assert.equal(text, got)
    for i = 1, 2 do
      tls[i]:close()
      C.qioh_channel_unref(tls[i])
      C.qioh_creds_unref(creds[i])
    end
    give_up(loop)
  end)
end)

-- The event of a task, by its cookie; others go by.
local function wait_for_task(loop, cookie)
  while true do
    for ev in loop:events(5000) do
      if ev.kind == C.QIOH_EV_TASK and ev.cookie == cookie then return ev.status end
    end
  end
end

describe("qio.ffi's operations", function()
  local loop

  before_each(function() loop = assert(qffi.loop()) end)
  after_each(function()
    give_up(loop)
    loop = nil
  end)

  it("connect, and tell why not", function()
    local l = assert(qffi.listen("tcp://127.0.0.1:0"))
    local task = assert(loop:connect(l:address(), { timeout = 5, nodelay = true }, 7))
    assert.equal(0, wait_for_task(loop, 7))
    assert.equal(0, task:status())
    local client, server = assert(task:channel()), assert(l:accept(1000))
    assert.equal(client:localaddress(), server:peeraddress())
    assert.is_nil((task:channel()))             -- once
    local address = l:address()
    l:close()
    task = assert(loop:connect(address, nil, 8))
    assert.is_true(wait_for_task(loop, 8) < 0)
    local ok, msg, code = task:status()
    assert.is_nil(ok)
    assert.matches("refused", msg)
    assert.equal(111, code)
    local detail = qffi.last_error()
    assert.equal(C.QIOH_E_SYSTEM, detail.code)
    assert.equal(111, detail.errno)
    assert.equal(msg, detail.message)
    task = assert(loop:connect("unix:" .. dir .. "/nobody", nil, 9))
    task:cancel()
    assert.is_true(wait_for_task(loop, 9) < 0)
    client:close()
    server:close()
  end)

  it("shake hands over a pair", function()
    local key = ("k"):rep(32)
    local psk = qffi.creds.psk
    local file = dir .. "/keys.psk"
    local f = assert(io.open(file, "w"))
    f:write("alice:" .. ("6b"):rep(32) .. "\n")
    f:close()
    local ours = assert(psk{ server = true, psk_file = file })
    local theirs = assert(psk{ user = "alice", psk_key = key })
    local a, b = assert(qffi.pair())
    local server = assert(a:starttls(ours, true))
    local client = assert(b:starttls(theirs))
    local one, two = assert(loop:handshake(server, 5000, 1)), assert(loop:handshake(client, 5000, 2))
    local left = 2
    while left > 0 do
      for ev in loop:events(5000) do
        if ev.kind == C.QIOH_EV_TASK then
          assert.equal(0, ev.status)
          left = left - 1
        end
      end
    end
    assert.equal(0, one:status())
    assert.equal(0, two:status())
    assert.equal("TLS1.3", client:tls("version"))
    assert.equal("alice", server:tls("peer-name"))
    client:write("secret")
    assert.equal("sec", server:peek(3))
    assert.equal("secret", server:read())
    client:close()
    server:close()
  end)

  it("relay, and wait for a command's end", function()
    local a, b = assert(qffi.pair())
    local command = assert(qffi.command({ "tr", "a-z", "A-Z" }, { close_timeout = 5 }))
    local relay = assert(loop:relay(b, command, { buffer = 4096 }, 1))
    a:write("shout\n")
    a:shutdown(C.QIOH_SHUTDOWN_WRITE)
    assert.equal(0, wait_for_task(loop, 1))
    assert.same({ 6, 6 }, { relay:counts() })
    assert.equal("SHOUT\n", a:read())
    local exit = assert(loop:wait_exit(command, 2))
    assert.equal(0, wait_for_task(loop, 2))
    assert.equal(0, exit:status())
    assert.same({ 0, 0 }, { command:exitstatus() })
    assert(loop:finish(command, 1000, 3))
    assert.equal(0, wait_for_task(loop, 3))
    a:close()
    b:close()
  end)

  it("check options", function()
    assert.error_matches(function() qffi.open("null:", { nonsense = 1 }) end, "option 'nonsense'")
    assert.error_matches(function() qffi.open("null:", { timeout = print }) end,
                         "option 'timeout': a function is no value")
  end)
end)

describe("qio.ffi's memory", function()
  it("is filled and written from without a string", function()
    local a, b = assert(qffi.pair())
    local buf, out = ffi.new("uint8_t[8]"), ffi.new("uint8_t[8]")
    for i = 0, 7 do out[i] = i end
    assert.equal(5, a:try_writefrom(out, 5))
    assert.equal(2, b:try_readinto(buf, 2))
    assert.equal(1, buf[1])
    assert.equal(3, a:try_writefrom(out + 5, 3))
    assert.is_true(b:fill(buf, 6))
    assert.equal(7, buf[5])
    assert.same({ nil, "timeout", -2 }, { b:try_readinto(buf, 1) })
    a:write("12")
    a:close()
    local ok, msg, code, got = b:fill(buf, 3)
    assert.same({ nil, "closed", C.QIOH_E_EOF, 2 }, { ok, msg, code, got })
    b:close()
    local memory = assert(qffi.buffer("text"))
    assert.equal("text", memory:read())
    memory:close()
  end)

  it("sends and gets descriptors", function()
    local a, b = assert(qffi.pair())
    local c, d = assert(qffi.pair())
    assert.equal(3, a:sendfds("two", { c:fd(), d:fd() }))
    local data, fds = b:recvfds()
    assert.equal("two", data)
    assert.equal(2, #fds)
    local e = assert(qffi.fromfd(fds[1]))
    assert(qffi.fromfd(fds[2])):close()
    e:write("through")
    assert.equal("through", d:read())
    for _, ch in ipairs({ a, b, c, d, e }) do ch:close() end
  end)
end)
