-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The kinds of channels: files, buffers, commands, null, descriptors passed, URIs, listeners.
local qio = require "qio"

local E = qio.errno
local dir = os.getenv "QIO_TEST_DIR" or "/tmp"

local function fails(code, value, msg, got)
  assert.is_nil(value)
  assert.equal("string", type(msg))
  assert.equal(code, got)
end

describe("a file", function()
  local path = dir .. "/file"

  it("is written, sought and read", function()
    local f = assert(qio.file(path, "rw"))
    assert.equal("file", f:kind())
    assert.equal(f, f:write("0123456789"))
    assert.equal(10, f:size())
    assert.equal(3, f:seek("set", 3))
    assert.equal("345", f:read(3))
    assert.equal(6, f:seek())
    assert.equal(8, f:seek("end", -2))
    assert.equal("89", f:readall())
    assert.equal(5, f:seek("cur", -5))
    assert.equal("567", f:pread(3, 5))
    assert.equal(2, f:pwrite("AB", 5))
    assert.equal("AB789", f:readall())
    assert.is_nil((f:pread(1, 100)))
    f:close()
  end)

  it("reads lines and then seeks from where the reader is", function()
    local f = assert(qio.file(path, "rw"))
    f:write("one\ntwo\nthree\n")
    f:seek("set", 0)
    assert.equal("one", f:readline())
    assert.equal(4, f:seek("cur"))
    assert.equal("two", f:readline())
    f:close()
  end)

  it("that is not there tells so", function()
    local value, msg, code = qio.file(dir .. "/none/such")
    assert.is_nil(value)
    assert.matches("none/such", msg)
    assert.equal(E.ENOENT, code)
  end)

  it("is ready at once in a task", function()
    local f = assert(qio.file(path, "w"))
    f:write("text")
    f:close()
    local task = qio.spawn(function()
      local ch = assert(qio.file(path))
      local all = ch:readall()
      ch:close()
      return all
    end)
    assert.equal("text", task:join())
  end)
end)

describe("a buffer", function()
  it("gives what was put in", function()
    local b = assert(qio.buffer("abc"))
    assert.equal("buffer", b:kind())
    assert.equal("abc", b:readall())
    b:seek("end", 0)
    b:write("def")
    assert.equal("abcdef", b:getvalue())
    assert.equal(6, b:size())
    fails(E.NOTSUP, b:fd())
    b:close()
  end)
end)

describe("null", function()
  it("takes everything and gives the end", function()
    local n = assert(qio.null())
    assert.equal("null", n:kind())
    assert.equal(n, n:write(("x"):rep(100000)))
    fails(E.EOF, n:read())
    assert.equal("", n:readall())
    n:close()
  end)
end)

describe("a command", function()
  it("is written and read, and its exit status waited for", function()
    local c = assert(qio.command({ "cat" }))
    assert.equal("command", c:kind())
    assert.is_true(c:pid() > 1)
    c:write("through a pipe\n")
    assert.equal("through a pipe", c:readline())
    fails(E.AGAIN, c:exitstatus())
    c:shutdown("write")
    assert.equal("", c:readall())
    assert.equal(0, c:waitexit())
    assert.equal(0, c:exitstatus())
    assert.is_true(c:close())
    assert.equal(0, c:exitstatus())
  end)

  it("tells its exit status, or the signal that ended it", function()
    local c = assert(qio.command({ "sh", "-c", "exit 7" }))
    assert.equal(7, c:waitexit())
    c:close()
    c = assert(qio.command({ "sleep", "1000" }))
    assert.is_true(c:kill(9))
    local value, what, signum = c:waitexit()
    assert.is_nil(value)
    assert.equal("signal", what)
    assert.equal(9, signum)
    c:close()
  end)

  it("lets tasks go on while one waits for the exit", function()
    local c = assert(qio.command({ "cat" }))
    local waiter = qio.spawn(function() return c:waitexit() end)
    qio.step()
    assert.equal("waiting", waiter:status())
    qio.spawn(function() c:shutdown("write") end)
    assert.equal(0, waiter:join())
    c:close()
  end)

  it("has no environment when that is empty, and is not allowed by an empty list", function()
    local c = assert(qio.command({ "/usr/bin/env" }, { env = {} }))
    assert.equal("", c:readall())
    c:close()
    assert.error_matches(function() qio.connect("null:", { allow = {} }) end, "'allow'")
  end)

  it("has environment, directory and standard error", function()
    local c = assert(qio.command({ "/bin/sh", "-c", "echo $WHO in $PWD; echo oops >&2" },
                                 { env = { WHO = "me" }, cwd = "/", stderr = "pipe" }))
    assert.equal("me in /\n", c:readall())
    local err = assert(c:stderr())
    assert.equal("oops\n", err:readall())
    err:close()
    assert.equal(0, c:waitexit())
    c:close()
  end)

  it("may have a terminal of its own", function()
    local c = assert(qio.command({ "/bin/sh", "-c", "[ -t 0 ] && [ -t 2 ] && stty size" },
                                 { pty = true, rows = 5, columns = 70 }))
    assert.equal("5 70\r\n", c:readall())
    assert.equal(0, c:waitexit())
    c:close()
  end)

  it("that cannot be started tells so", function()
    local value, msg, code = qio.command({ "no-such-program-here" })
    assert.is_nil(value)
    assert.matches("no%-such%-program%-here", msg)
    assert.equal(E.ENOENT, code)
  end)
end)

describe("descriptors", function()
  it("pass through a unix channel", function()
    local a, b = qio.pair()
    local path = dir .. "/passed"
    local f = assert(qio.file(path, "rw"))
    f:write("in the file")
    assert.equal(a, a:sendfds("take this", { f, f:fd() }))
    local data, fds = b:recvfds()
    assert.equal("take this", data)
    assert.equal(2, #fds)
    assert.matches("^qio.fd %d+$", tostring(fds[1]))
    f:close()
    local again = assert(fds[1]:open())
    assert.is_nil(fds[1]:fileno())
    assert.equal("file", again:kind())
    assert.equal(0, again:seek("set", 0))
    assert.equal("in the file", again:readall())
    again:close()
    assert.is_true(fds[2]:fileno() > 2)
    assert.is_true(fds[2]:close())
    assert.is_nil(fds[2]:fileno())
    assert.error_matches(function() a:sendfds("x", { fds[2] }) end, "open descriptors")
    a:close()
    b:close()
  end)

  it("that nobody keeps are closed", function()
    local a, b = qio.pair()
    local l = qio.listen("tcp://127.0.0.1:0")
    a:sendfds("x", { a, b, l })
    local data, fds = b:recvfds()
    assert.equal(3, #fds)
    data, fds = nil, nil
    l:close()
    a:sendfds("y", { a, b })
    assert.equal("y", b:read())                 -- not asked for
    a:close()
    b:close()
  end)

  it("wait for the reader in a task", function()
    local a, b = qio.pair()
    local task = qio.spawn(function()
      local data, fds = b:recvfds(100)
      local n = #fds
      for _, fd in ipairs(fds) do fd:close() end
      return data, n
    end)
    qio.step()
    a:sendfds("late", { 0, 1, 2 })
    local data, n = task:join()
    assert.equal("late", data)
    assert.equal(3, n)
    a:close()
    b:close()
  end)

  it("become channels, and channels descriptors", function()
    local a, b = qio.pair()
    local number = assert(a:detach())
    fails(E.CLOSED, a:read())
    local again = assert(qio.fromfd(number))
    assert.equal(number, again:fd())
    again:write("x")
    assert.equal("x", b:read())
    again:close()
    b:close()
    fails(E.INVAL, qio.fromfd(number))
  end)
end)

describe("names and addresses", function()
  it("can be read", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local c = assert(qio.connect(l:address()))
    local s = assert(l:accept())
    assert.equal(l:address(), c:peeraddress())
    assert.equal(c:localaddress(), s:peeraddress())
    assert.matches("^tcp://127%.0%.0%.1:%d+$", l:address())
    assert.equal(tonumber(l:address():match("%d+$")), l:port())
    assert.is_true(c:setdelay(false))
    assert.is_true(c:name("mine"))
    assert.equal("mine", c:name())
    c:close()
    s:close()
    l:close()
    local a, b = qio.pair()
    local pid, uid, gid = a:peercred()
    assert.is_true(pid > 0 and uid >= 0 and gid >= 0)
    fails(E.NOTSUP, qio.null():peercred())
    a:close()
    b:close()
  end)
end)

describe("URIs", function()
  it("open every plain kind", function()
    local path = dir .. "/by-uri"
    local f = assert(qio.connect("file:" .. path .. "?mode=w"))
    f:write("x")
    f:close()
    f = assert(qio.connect("file:" .. path))
    assert.equal("x", f:readall())
    f:close()
    for _, kind in ipairs({ "null", "buffer" }) do
      local ch = assert(qio.connect(kind .. ":"))
      assert.equal(kind, ch:kind())
      ch:close()
    end
    local l = assert(qio.listen("unix:" .. dir .. "/sock"))
    local c = assert(qio.connect("unix:" .. dir .. "/sock", { timeout = 5 }))
    c:close()
    l:close()
    local e = assert(qio.connect("exec:/bin/echo?arg=hi", { allow = "all" }))
    assert.equal("hi\n", e:readall())
    e:close()
  end)

  it("that are wrong tell what and where", function()
    local bad = {
      ["nonsense"] = "nonsense", ["tcp://127.0.0.1"] = "port", ["tcp://127.0.0.1:x"] = "port",
      ["file:/x?mode=q"] = "mode", ["null:?tiemout=3"] = "tiemout", ["fd:x"] = "LISTEN_FDS",
      [""] = "", ["exec:/bin/true"] = "allow",
    }
    for uri, word in pairs(bad) do
      local value, msg, code = qio.connect(uri)
      assert.is_nil(value)
      assert.matches(word, msg)
      assert.equal("number", type(code))
    end
  end)

  it("tell the errors of the system", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local address = l:address()
    l:close()
    local value, msg, code = qio.connect(address)
    assert.is_nil(value)
    assert.matches("127%.0%.0%.1", msg)
    assert.equal(E.ECONNREFUSED, code)
    fails(E.ENOENT, qio.connect("unix:" .. dir .. "/no-such-socket"))
  end)
end)

-- Lua 5.1 suspends no task in the iterator of a for.
local LUA51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function each_client(l, body)
  if LUA51 then
    local client = l:accept()
    while client do
      body(client)
      client = l:accept()
    end
  else
    for client in l:clients() do body(client) end
  end
end

local function shout(client)
  local line = client:readline()
  while line do
    client:write(line:upper(), "\n")
    line = client:readline()
  end
  client:close()
end

describe("a listener", function()
  it("serves 50 clients in tasks", function()
    local l = assert(qio.listen("unix:" .. dir .. "/many"))
    local served = 0
    local server = qio.spawn(function()
      each_client(l, function(client)
        qio.spawn(function()
          shout(client)
          served = served + 1
        end)
      end)
      return "closed"
    end)
    local clients = {}
    for i = 1, 50 do
      clients[i] = qio.spawn(function()
        local c = assert(qio.connect("unix:" .. dir .. "/many"))
        local got = {}
        for round = 1, 3 do
          c:write("client ", i, " round ", round, "\n")
          got[round] = assert(c:readline())
        end
        c:close()
        return table.concat(got, ";")
      end)
    end
    for i = 1, 50 do
      assert.equal(("CLIENT %d ROUND 1;CLIENT %d ROUND 2;CLIENT %d ROUND 3"):format(i, i, i),
                   clients[i]:join())
    end
    l:close()
    assert.equal("closed", server:join())
    assert(qio.run())
    assert.equal(50, served)
  end)

  it("accept has a time-out, in the main chunk and in a task", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    assert.is_true(l:fd() > 2)
    fails(E.TIMEOUT, l:accept(0))
    fails(E.TIMEOUT, l:accept(0.01))
    fails(E.TIMEOUT, qio.spawn(l.accept, l, 0.01):join())
    fails(E.TIMEOUT, qio.spawn(l.accept, l, 0):join())
    l:close()
    fails(E.CLOSED, l:accept())
    assert.is_true(l:close())
  end)

  it("that is closed wakes accept", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local task = qio.spawn(function() return l:accept() end)
    qio.step()
    l:close()
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.equal("closed", msg)
    assert.equal(E.CLOSED, code)
  end)

  it("has one that accepts at a time", function()
    local l = assert(qio.listen("tcp://127.0.0.1:0"))
    local first = qio.spawn(l.accept, l)
    local second = qio.spawn(l.accept, l)
    fails(E.BUSY, second:join())
    first:cancel()
    first:join()
    l:close()
  end)
end)
