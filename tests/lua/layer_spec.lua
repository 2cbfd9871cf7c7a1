-- SPDX-License-Identifier: LGPL-2.1-or-later
-- TLS and WebSocket: credentials, handshakes in tasks and outside, messages, the end.
local qio = require "qio"

local E = qio.errno
local dir = os.getenv "QIO_TEST_DIR" or "/tmp"
local pki = os.getenv "QIO_TEST_PKI"
local KEY = ("k"):rep(32)

local function psk(lookup)
  return assert(qio.creds.psk{ user = "alice", key = KEY }),
         assert(qio.creds.psk{ server = true, lookup = lookup or function(user)
           return user == "alice" and KEY or nil
         end })
end

-- Both ends with a layer: each handshake in a task of its own.
local function both(start_a, start_b)
  local a, b = qio.pair()
  local one = qio.spawn(start_a, a)
  local two = qio.spawn(start_b, b)
  return one, two, a, b
end

local function tls_pair(client, server, client_options, server_options)
  server_options = server_options or {}
  server_options.server = true
  return both(function(ch) return ch:starttls(client, client_options) end,
              function(ch) return ch:starttls(server, server_options) end)
end

local function close_all(...)
  for _, ch in ipairs({ ... }) do ch:close() end
end

describe("TLS", function()
  it("carries bytes both ways", function()
    local one, two, below = tls_pair(psk())
    local a, b = assert(one:join()), assert(two:join())
    assert.equal("tls", a:kind())
    a:write("hello\n")
    assert.equal("hello", b:readline())
    b:write(("x"):rep(100000))
    local reader = qio.spawn(function() return a:readexactly(100000) end)
    assert.equal(100000, #reader:join())
    assert.equal(below, a:transport())
    close_all(a, b)
  end)

  it("suspends the task that shakes hands", function()
    local client, server = psk()
    local a, b = qio.pair()
    local order = {}
    local task = qio.spawn(function()
      local ch = assert(a:starttls(client))
      order[#order + 1] = "shaken"
      ch:close()
    end)
    qio.step()
    assert.equal("waiting", task:status())
    order[#order + 1] = "meanwhile"
    local ch = assert(b:starttls(server, { server = true }))
    task:join()
    assert.same({ "meanwhile", "shaken" }, order)
    ch:close()
  end)

  it("shakes hands with the first transfer", function()
    local client, server = psk()
    local a, b = qio.pair()
    local x = assert(a:starttls(client, { handshake = false }))
    local y = assert(b:starttls(server, { server = true, handshake = false }))
    assert.is_nil(x:tlsinfo().version)
    local reader = qio.spawn(function() return y:readexactly(3) end)
    x:write("abc")
    assert.equal("abc", reader:join())
    assert.equal("TLS1.3", x:tlsinfo().version)
    close_all(x, y)
  end)

  it("tells what was agreed", function()
    local client, server = psk()
    local one, two = tls_pair(client, server, { alpn = { "h2", "irc" } }, { alpn = "irc" })
    local a, b = assert(one:join()), assert(two:join())
    local info = b:tlsinfo()
    assert.equal("irc", info.alpn)
    assert.equal("alice", info.peer_name)
    assert.is_false(info.resumed)
    assert.is_nil(info.peer_certificate)
    assert.equal("string", type(info.cipher))
    assert.equal(a:tlsexport("EXPERIMENTAL-x", 20), b:tlsexport("EXPERIMENTAL-x", 20))
    close_all(a, b)
  end)

  it("gives the channel below back", function()
    local one, two, a, b = tls_pair(psk())
    local x, y = assert(one:join()), assert(two:join())
    local back = qio.spawn(function()
      local line = y:readline()
      assert.is_nil((y:read()))
      return line, y:unwrap(5)
    end)
    x:write("last\n")
    local first = qio.spawn(function() return x:unwrap(5) end)
    assert.equal(a, assert(first:join()))
    local line, below = back:join()
    assert.equal("last", line)
    assert.equal(b, below)
    a:write("plain")
    assert.equal("plain", b:readexactly(5))
    close_all(a, b)
  end)

  it("keeps the channel below to itself", function()
    local one, two, a = tls_pair(psk())
    local x, y = assert(one:join()), assert(two:join())
    local value, _, code = a:read()
    assert.is_nil(value)
    assert.equal(E.BUSY, code)
    close_all(x, y)
    value, _, code = a:read()
    assert.is_nil(value)
    assert.equal(E.CLOSED, code)
  end)

  it("gives up in time", function()
    local client = psk()
    local a, b = qio.pair()
    local value, msg, code = a:starttls(client, { timeout = 0.01 })
    assert.is_nil(value)
    assert.equal("timeout", msg)
    assert.equal(E.TIMEOUT, code)
    local c, d = qio.pair()
    local task = qio.spawn(function() return c:starttls(client, { timeout = 0.01 }) end)
    value, msg = task:join()
    assert.is_nil(value)
    assert.equal("timeout", msg)
    close_all(a, b, c, d)
  end)

  it("is given up when its task is cancelled", function()
    local client = psk()
    local a, b = qio.pair()
    local task = qio.spawn(function() return a:starttls(client) end)
    qio.step()
    assert.is_true(task:cancel())
    local value, msg, code = task:join()
    assert.is_nil(value)
    assert.equal("cancelled", msg)
    assert.equal(E.CANCELLED, code)
    close_all(a, b)
  end)

  it("refuses whom nobody knows", function()
    local client, server = psk(function() return nil end)
    local one, two, a, b = tls_pair(client, server)
    local value, msg, code = two:join()
    assert.is_nil(value)
    assert.equal(E.TLS, code)
    assert.equal("string", type(msg))
    one:join()
    close_all(a, b)
  end)

  it("tells of an error in a function of the credentials", function()
    local client, server = psk(function() error("oops here") end)
    local one, two, a, b = tls_pair(client, server)
    local value, msg, code = two:join()
    assert.is_nil(value)
    assert.matches("oops here", msg)
    assert.equal(E.CALLBACK, code)
    one:join()
    close_all(a, b)
  end)

  it("checks what it is given", function()
    local a, b = qio.pair()
    local ok, msg = pcall(a.starttls, a, {})
    assert.is_false(ok)
    assert.matches("credentials", msg)
    ok, msg = pcall(qio.creds.psk, { no_such_key = 1 })
    assert.is_false(ok)
    assert.matches("no%-such%-key", msg)
    for _, key in ipairs { "ca", "cert", "key", "password" } do
      ok, msg = pcall(qio.creds.x509, { [key] = {} })
      assert.is_false(ok)
      assert.matches("a table is no value", msg)
    end
    ok, msg = pcall(qio.creds.x509, 7)
    assert.is_false(ok)
    assert.matches("table", msg)
    ok, msg = pcall(qio.creds.psk, { server = true, lookup = 7 })
    assert.is_false(ok)
    assert.matches("function", msg)
    close_all(a, b)
  end)

  it("is opened by a URI", function()
    local client, server = psk()
    local listener = assert(qio.listen("unix:" .. dir .. "/tls", { tls = server }))
    local served = qio.spawn(function()
      local ch = assert(listener:accept())
      local line = ch:readline()
      ch:close()
      return line
    end)
    local ch = assert(assert(qio.connect("unix:" .. dir .. "/tls")):starttls(client))
    ch:write("by URI\n")
    assert.equal("by URI", served:join())
    close_all(ch, listener)
  end)

  it("shows and checks certificates", function()
    if not pki then return end
    local asked = {}
    local server = assert(qio.creds.x509{ dir = pki, server = true,
                                          authorize = function(_, identity)
                                            asked[#asked + 1] = identity
                                            return true
                                          end })
    local one, two = tls_pair(assert(qio.creds.x509{ dir = pki }), server,
                              { hostname = "localhost" })
    local a, b = assert(one:join()), assert(two:join())
    a:write("x")
    assert.equal("x", b:readexactly(1))
    assert.same({ "CN=a client" }, asked)
    assert.equal("CN=localhost", a:tlsinfo().peer_name)
    assert.equal(1, #a:tlsinfo().peer_chain)
    close_all(a, b)
  end)

  it("takes no empty access list, which would let everybody in", function()
    if not pki then return end
    local server = assert(qio.creds.x509{ dir = pki, server = true })
    local a, b = assert(qio.pair())
    assert.error_matches(function() b:starttls(server, { server = true, tls_acl = {} }) end,
                         "has to have a rule")
    close_all(a, b)
  end)

  it("lets nobody in that authorize does not", function()
    if not pki then return end
    local server = assert(qio.creds.x509{ dir = pki, server = true,
                                          authorize = function() return false end })
    local one, two, a, b = tls_pair(assert(qio.creds.x509{ dir = pki }), server,
                                    { hostname = "localhost" })
    local value, _, code = two:join()
    assert.is_nil(value)
    assert.equal(E.TLS, code)
    local ch = one:join()
    if ch then ch:close() end
    close_all(a, b)
  end)
end)

describe("a WebSocket", function()
  local function ws_pair(client, server)
    client, server = client or {}, server or {}
    client.mode, server.mode = client.mode or "messages", server.mode or "messages"
    server.server = true
    return both(function(ch) return ch:websocket(client) end,
                function(ch) return ch:websocket(server) end)
  end

  it("carries messages", function()
    local one, two = ws_pair()
    local a, b = assert(one:join()), assert(two:join())
    assert.equal("websocket", a:kind())
    assert.equal(a, a:send("words", "text"))
    assert.equal(a, a:send("\0\255"))
    assert.equal(a, a:send(""))
    assert.same({ "words", "text" }, { b:recv() })
    assert.same({ "\0\255", "binary" }, { b:recv() })
    assert.same({ "", "binary" }, { b:recv() })
    local big = ("0123456789"):rep(100000)
    local reader = qio.spawn(function() return b:recv() end)
    a:send(big)
    assert.is_true(reader:join() == big)
    close_all(a, b)
  end)

  it("carries a stream", function()
    local one, two = ws_pair({ mode = "stream" }, { mode = "stream" })
    local a, b = assert(one:join()), assert(two:join())
    a:write("one line\n")
    assert.equal("one line", b:readline())
    local value, _, code = a:send("x")
    assert.is_nil(value)
    assert.equal(E.NOTSUP, code)
    close_all(a, b)
  end)

  it("tells why it ended", function()
    local one, two = ws_pair()
    local a, b = assert(one:join()), assert(two:join())
    a:send("last", "text")
    assert(a:closewith(3000, "enough"))
    assert.equal("last", (b:recv()))
    for _ = 1, 2 do
      local value, msg, code, number, reason = b:recv()
      assert.is_nil(value)
      assert.same({ "closed", E.EOF, 3000, "enough" }, { msg, code, number, reason })
    end
    local _, msg = a:recv()
    assert.equal("closed", msg)
    close_all(a, b)
  end)

  it("asks about a request", function()
    local seen = {}
    local one, two = ws_pair({ path = "/p", protocols = { "x", "y" }, headers = { "X-Who: me" } },
                             { on_request = function(ch)
                               seen[1], seen[2] = ch:request("path"), ch:request("X-Who")
                               return "y"
                             end, protocols = {} })
    local a, b = assert(one:join()), assert(two:join())
    assert.same({ "/p", "me" }, seen)
    assert.equal("y", a:request("protocol"))
    close_all(a, b)
  end)

  it("refuses a request", function()
    local one, two, a, b = ws_pair({}, { on_request = function() return 404 end })
    local value, msg = one:join()
    assert.is_nil(value)
    assert.matches("404", msg)
    assert.is_nil((two:join()))
    close_all(a, b)
  end)

  it("asks about the clients of a listener with the first transfer", function()
    local path = "ws+unix:" .. dir .. "/ws"
    local asked = 0
    local listener = assert(qio.listen(path, { ws_mode = "messages", on_request = function()
      asked = asked + 1
    end }))
    local served = qio.spawn(function()
      local ch = assert(listener:accept())
      ch:send((ch:recv()), "text")
      ch:close()
    end)
    local client = assert(qio.connect("unix:" .. dir .. "/ws"))
    local ch = assert(client:websocket{ mode = "messages" })
    ch:send("hello", "text")
    assert.equal("hello", (ch:recv()))
    served:join()
    assert.equal(1, asked)
    close_all(ch, listener)
  end)

  it("loses no part of a message to a time-out", function()
    local one, two = ws_pair()
    local a, b = assert(one:join()), assert(two:join())
    b:settimeout(0.01)
    local value, msg = b:recv()
    assert.is_nil(value)
    assert.equal("timeout", msg)
    a:settimeout(0.01)
    local big = ("x"):rep(8 * 1024 * 1024)
    local ok, why, code, sent = a:send(big)
    assert.is_nil(ok)
    assert.equal("timeout", why)
    assert.equal(E.TIMEOUT, code)
    assert.is_true(sent > 0 and sent < #big)
    a:settimeout(nil)
    b:settimeout(nil)
    local writer = qio.spawn(function() return a:send("next") end)
    assert.is_true(b:recv() == big)
    assert.equal("next", (b:recv()))
    assert(writer:join())
    close_all(a, b)
  end)

  it("goes over TLS", function()
    local one, two = tls_pair(psk())
    local x, y = assert(one:join()), assert(two:join())
    local server = qio.spawn(function() return y:websocket{ server = true, mode = "messages" } end)
    local a = assert(x:websocket{ mode = "messages" })
    local b = assert(server:join())
    a:send("secret", "text")
    assert.equal("secret", (b:recv()))
    -- A task that has written waits, without turning in circles, until all is out of all layers.
    local big = ("x"):rep(300000)
    local writer = qio.spawn(function() return a:send(big) end)
    local turns = 0
    while turns < 50 and qio.step(0) do turns = turns + 1 end
    assert.equal("waiting", writer:status())
    assert.is_true(turns < 50)
    assert.is_true(b:recv() == big)
    assert.equal(a, writer:join())
    assert.equal("TLS1.3", a:tlsinfo().version)
    assert.is_nil((qio.null():tlsinfo()))
    close_all(a, b)
  end)
end)
