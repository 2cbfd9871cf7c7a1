-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- qio.layer: TLS and WebSocket: credentials, channels over channels, messages.
--
-- Owns: qio.creds and the methods of channels that have to do with layers.
-- Rules: as in qio.channel.  A handshake is an operation of the loop, so it suspends the task it
-- is done in; where nobody else is to run it blocks in C.

local core = require "qio.core"
local check = require "qio.check"
local make_options = require "qio.options"
local sched = require "qio.sched"
local channel_module = require "qio.channel"

local errno = core.errno
local INTR, TIMEOUT, EOF, CLOSED = errno.INTR, errno.TIMEOUT, errno.EOF, errno.CLOSED
local NOTSUP, TRUNCATED, CANCELLED = errno.NOTSUP, errno.TRUNCATED, errno.CANCELLED
local DONTWAIT, now, typename = core.DONTWAIT, core.now, core.typename
local READ, WRITE = sched.READ, sched.WRITE
local attempt, check_channel = channel_module.attempt, channel_module.check
local requests = sched.requests

local CHUNK = 65536                     -- what one call asks of a message
local TLS, TEXT, BINARY, CLOSE = core.CHANNEL_TLS, core.WS_TEXT, core.WS_BINARY, core.WS_CLOSE

local Channel = core.methods "qio.channel"
local layer = {}

-- ---- credentials ----

local creds = {}
layer.creds = creds

-- The table less the keys in `own`, with "tls_" before the others' names.
local function creds_options(keys, own, method)
  if keys ~= nil and type(keys) ~= "table" then
    check.bad(1, method, "table", check.describe(keys), 3)
  end
  local options = {}
  for key, value in pairs(keys or {}) do
    if not own[key] then
      options[type(key) == "string" and "tls_" .. key or key] = value
    end
  end
  return options
end

local function set_function(object, set, fn, name, method)
  if fn == nil then return object end
  if type(fn) ~= "function" then
    error(("bad argument #1 to '%s' (option '%s': function expected, got %s)"):format(method, name,
          typename(fn)), 3)
  end
  local ok, msg, code = set(object, fn)
  if not ok then return nil, msg, code end
  return object
end

local OWN = { server = true, authorize = true, lookup = true }

local function server_flag(keys)
  return keys and keys.server and 1 or 0
end

--- Certificates: ca, cert, key, crl (each a path, or PEM text), dir (a folder with ca-cert.pem,
-- server-cert.pem ...), password, verify (true), priority, server (false); authorize(channel,
-- identity) is asked about each peer.
function creds.x509(keys)
  local options = make_options(creds_options(keys, OWN, "x509"), 1, "x509")
  local object, msg, code = core.creds_new_x509(options, server_flag(keys))
  if not object then return nil, msg, code end
  return set_function(object, core.creds_set_authorize, keys and keys.authorize, "authorize",
                      "x509")
end

local PSK = { file = "psk_file", user = "psk_user", key = "psk_key" }

--- A key that both sides have: user and key (raw bytes) or file; of a server file, or
-- lookup(user), which returns the key or nil.
function creds.psk(keys)
  local names = {}
  for key, value in pairs(type(keys) == "table" and keys or {}) do names[PSK[key] or key] = value end
  if keys ~= nil and type(keys) ~= "table" then names = keys end
  local options = make_options(creds_options(names, OWN, "psk"), 1, "psk")
  local object, msg, code = core.creds_new_psk(options, server_flag(keys))
  if object then
    object, msg, code = set_function(object, core.creds_set_psk_lookup, keys and keys.lookup,
                                     "lookup", "psk")
  end
  if not object then return nil, msg, code end
  return set_function(object, core.creds_set_authorize, keys and keys.authorize, "authorize", "psk")
end

--- No proof of who anybody is: safe from listeners, not from impostors.
function creds.anon(keys)
  local options = make_options(creds_options(keys, OWN, "anon"), 1, "anon")
  return core.creds_new_anon(options, server_flag(keys))
end

--- The URI for options that have credentials: with TLS in it.
function layer.with_tls(uri, options)
  if type(options) ~= "table" or options.tls == nil then return uri end
  local scheme = (uri:match("^([^:]*):") or ""):lower()
  if ("+" .. scheme .. "+"):find("+tls+", 1, true) or scheme:match("wss$") then return uri end
  return "tls+" .. uri
end

-- ---- handshakes ----

local function milliseconds(deadline)
  return deadline and math.max(0, math.ceil(deadline - now())) or -1
end

-- 0 done, 1 a request waits; nil, message, code.
local function shake(self, deadline)
  if not sched.alone() then
    local operation, msg, code = sched.operate("shaking hands", function(loop, cookie)
      return core.task_start_handshake(self, milliseconds(deadline), loop, cookie)
    end)
    if not operation then return nil, msg, code end
    deadline = 0                                -- what is left to ask is known
  end
  local status, msg, code
  repeat
    status, msg, code = core.channel_handshake(self, milliseconds(deadline))
  until status or code ~= INTR
  return status, msg, code
end

-- What a function of on_request says, done.
local function obey(self, answer)
  local kind = type(answer)
  if answer == nil or answer == true then return core.channel_ws_accept(self, nil) end
  if answer == false then return core.channel_ws_reject(self, 403, nil) end
  if kind == "string" then return core.channel_ws_accept(self, answer) end
  if kind == "number" then return core.channel_ws_reject(self, answer, nil) end
  error("on_request has to return a boolean, a subprotocol or an HTTP status, not a " .. kind, 0)
end

-- Does the handshake, and asks whoever answers requests.
local function handshake(self, deadline)
  while true do
    local status, msg, code = shake(self, deadline)
    if not status then return nil, msg, code end
    local fn = requests[self]
    if status == 0 then
      requests[self] = nil
      -- Its last word may be held back, and whoever reads next would wait for the answer.
      local ok
      ok, msg, code = channel_module.push_out(self, deadline)
      if not ok and (code == TIMEOUT or code == CANCELLED) then return nil, msg, code end
      return true
    end
    local fine, ok
    if fn then
      fine, ok, msg, code = pcall(function() return obey(self, fn(self)) end)
      if not fine then
        core.channel_ws_reject(self, 500, nil)
        error(ok, 0)
      end
    else
      ok, msg, code = core.channel_ws_accept(self, nil)
    end
    if not ok then return nil, msg, code end
  end
end

sched.answer = handshake

-- Keys for the library and the function on_request of a table of options.
function layer.take_on_request(options, method)
  local fn = type(options) == "table" and options.on_request
  if not fn then return options end
  if type(fn) ~= "function" then
    error(("bad argument #2 to '%s' (option 'on_request': function expected, got %s)"):format(
          method, typename(fn)), 3)
  end
  local keys = { ws_request = true }
  for key, value in pairs(options) do
    if key ~= "on_request" then keys[key] = value end
  end
  return keys, fn
end

function layer.answer_with(object, fn)
  requests[object] = fn
end

--- Does the handshake of a layer now; otherwise the first transfer does.  timeout: seconds.
function Channel:handshake(timeout)
  check_channel(self, "handshake")
  local ms = check.seconds(timeout, 1, "handshake")
  return handshake(self, ms >= 0 and now() + ms)
end

-- Options of a new layer: ours, and the library's by their own names.
local function split(keys, names, method, index)
  if keys ~= nil and type(keys) ~= "table" then
    check.bad(index, method, "table of options", check.describe(keys), 3)
  end
  local own, rest = {}, {}
  for key, value in pairs(keys or {}) do
    local name = names[key]
    if name == true then
      own[key] = value
    else
      rest[name or key] = value
    end
  end
  local ms = check.seconds(own.timeout, index, method)
  own.deadline = ms >= 0 and now() + ms
  return own, rest
end

-- The layer with its handshake done, if that is wanted; else both channels are closed.
local function begin(below, above, msg, code, own)
  if not above then return nil, msg, code end
  local _, ms = core.channel_get_timeout(below)
  core.channel_set_timeout(above, ms)
  requests[above] = own.on_request
  if own.handshake == false then return above end
  local ok
  ok, msg, code = handshake(above, own.deadline)
  if ok then return above end
  above:close()
  return nil, msg, code
end

local TLS_NAMES = {
  server = true, handshake = true, timeout = true, hostname = "tls_hostname", alpn = "tls_alpn",
}

local function as_list(options, key)
  if type(options[key]) == "string" then options[key] = { options[key] } end
end

--- TLS over the channel, which belongs to the new channel from then on.  options: server,
-- hostname (what a client checks the certificate against), alpn, timeout, handshake = false, and
-- keys of URIs.
function Channel:starttls(credentials, options)
  check_channel(self, "starttls")
  if typename(credentials) ~= "qio.creds" then
    check.bad(1, "starttls", "credentials (qio.creds.x509, psk, anon)",
              check.describe(credentials))
  end
  local own, rest = split(options, TLS_NAMES, "starttls", 2)
  as_list(rest, "tls_alpn")
  local new = own.server and core.channel_new_tls_server or core.channel_new_tls_client
  local above, msg, code = new(self, credentials, make_options(rest, 2, "starttls"))
  return begin(self, above, msg, code, own)
end

local WS_NAMES = {
  server = true, handshake = true, timeout = true, on_request = true, host = "ws_host",
  path = "ws_path", origin = "ws_origin", protocols = "ws_protocol", headers = "ws_header",
  mode = "ws_mode", deflate = "ws_deflate", max_message = "ws_max_message",
}

--- A WebSocket over the channel, which belongs to the new channel from then on.  options: server,
-- host, path, origin, protocols, headers ({ "Name: value" }), mode ("stream", or "messages" for
-- send and recv), on_request, timeout, handshake = false, and keys of URIs.
-- on_request(channel) answers a client: nil or true lets it in, a string does with that
-- subprotocol, false or a number refuses it with that HTTP status.
function Channel:websocket(options)
  check_channel(self, "websocket")
  local own, rest = split(options, WS_NAMES, "websocket", 1)
  if own.on_request ~= nil then
    if type(own.on_request) ~= "function" then
      check.bad(1, "websocket", "function as on_request", check.describe(own.on_request))
    end
    rest.ws_request = true
  end
  as_list(rest, "ws_protocol")
  local new = own.server and core.channel_new_ws_server or core.channel_new_ws_client
  local above, msg, code = new(self, make_options(rest, 1, "websocket"))
  return begin(self, above, msg, code, own)
end

--- The channel that this one lies on; only to look at.
Channel.transport = core.transport

--- Ends the layer in order and gives the channel below back.  timeout: seconds.
function Channel:unwrap(timeout)
  check_channel(self, "unwrap")
  local ms = check.seconds(timeout, 1, "unwrap")
  local deadline = ms >= 0 and now() + ms
  while true do
    local alone = sched.alone()
    local below, msg, code = core.take_transport(self, alone and milliseconds(deadline) or 0)
    if below then return below end
    if code == TIMEOUT and not alone then
      local ok
      ok, msg, code = sched.wait(self, READ, deadline)
      if not ok then return nil, msg, code end
    elseif code ~= INTR then
      return nil, msg, code
    end
  end
end

-- ---- what is known ----

-- The TLS channel in a stack, or nil.
local function find_tls(channel)
  while channel do
    if core.channel_get_kind(channel) == TLS then return channel end
    channel = core.transport(channel)
  end
end

local function known(channel, key)
  local text = core.channel_tls_get_str(channel, key)
  return text ~= "" and text or nil
end

local function certificate(channel, index)
  local size = 16384
  while true do
    local data, _, code = core.channel_tls_get_peer_certificate(channel, index, size)
    if data then return data ~= "" and data or nil end
    if code ~= TRUNCATED or size > 1048576 then return nil end
    size = size * 4
  end
end

--- A table with version, cipher, alpn, hostname, peer_name, peer_certificate (DER), peer_chain and
-- resumed of the TLS on the channel, or below it; nil when there is none.
function Channel:tlsinfo()
  check_channel(self, "tlsinfo")
  local channel = find_tls(self)
  if not channel then return nil, "there is no TLS", NOTSUP end
  local chain = {}
  repeat
    local one = certificate(channel, #chain)
    chain[#chain + 1] = one
  until not one
  return {
    version = known(channel, "version"), cipher = known(channel, "cipher"),
    alpn = known(channel, "alpn"), hostname = known(channel, "hostname"),
    peer_name = known(channel, "peer-name"), resumed = known(channel, "resumed") == "on",
    peer_certificate = chain[1], peer_chain = chain,
  }
end

--- Key material that both sides can derive and nobody else (RFC 5705).
function Channel:tlsexport(label, length, context)
  check_channel(self, "tlsexport")
  check.text(label, 1, "tlsexport")
  check.count(length, 2, "tlsexport", 1, 16384)
  if context ~= nil then check.is(context, "string", 3, "tlsexport") end
  local channel = find_tls(self)
  if not channel then return nil, "there is no TLS", NOTSUP end
  return core.tls_export(channel, label, length, context)
end

--- What a WebSocket's client asked for: "path", "protocols", "origin", "protocol" (what was
-- agreed), or the name of a header; nil when it was not sent.
function Channel:request(key)
  check_channel(self, "request")
  return core.channel_ws_get_request(self, check.text(key, 1, "request"))
end

-- ---- messages ----

local KINDS = { text = TEXT, binary = BINARY, [TEXT] = "text", [BINARY] = "binary" }
local unsent = setmetatable({}, { __mode = "k" })       -- channel -> rest of a message, opcode
local parts_of = setmetatable({}, { __mode = "k" })     -- channel -> parts of a message
local ended = setmetatable({}, { __mode = "k" })        -- channel -> code and reason of the end

-- A message that was begun is sent whole, if need be by the next send.
local function push(self, data, opcode, deadline)
  local sent = 0
  repeat
    local n, msg, code = attempt(self, WRITE, deadline, core.ws_send, data, sent, opcode, DONTWAIT)
    if not n then
      if sent > 0 then unsent[self] = { data:sub(sent + 1), opcode } end
      return nil, msg, code, sent > 0 and sent or nil
    end
    sent = sent + n
    if msg then
      n, msg, code = channel_module.push_out(self, deadline)
      if not n then return nil, msg, code, sent end
    end
  until sent >= #data
  return self
end

--- Sends a message, whole; kind: "binary" (the default) or "text".  Returns the channel.
function Channel:send(message, kind)
  check_channel(self, "send")
  check.is(message, "string", 1, "send")
  local opcode = check.choice(kind == nil and "binary" or kind, 2, "send",
                              { text = TEXT, binary = BINARY }, '"text" or "binary"')
  local deadline = channel_module.deadline_of(self)
  local rest = unsent[self]
  if rest then
    unsent[self] = nil
    local ok, msg, code = push(self, rest[1], rest[2], deadline)
    if not ok then
      unsent[self] = unsent[self] or rest
      return nil, msg, code
    end
  end
  return push(self, message, opcode, deadline)
end

-- nil, "closed", -18, the code and the reason of the other side.
local function at_end(self, frame)
  local why = ended[self]
  if not why then
    local high, low = frame:byte(1, 2)
    why = { low and high * 256 + low or 1005, frame:sub(3) }
    ended[self] = why
  end
  return nil, "closed", EOF, why[1], why[2]
end

--- The next message and its kind ("text", "binary").  When the other side has closed: nil,
-- "closed", -18, its code, its reason.
function Channel:recv()
  check_channel(self, "recv")
  local opcode, fin
  local function try(channel)
    local data, what, last, extra = core.ws_recv(channel, CHUNK, DONTWAIT)
    if not data then return nil, what, last, extra end
    opcode, fin = what, last
    return data
  end
  local deadline = channel_module.deadline_of(self)
  while true do
    local data, msg, code = attempt(self, READ, deadline, try)
    if not data and ended[self] and code ~= CLOSED then return at_end(self) end
    if not data then return nil, msg, code end
    if opcode == CLOSE then return at_end(self, data) end
    local parts = parts_of[self]
    if fin and not parts then return data, KINDS[opcode] end
    parts = parts or {}
    parts_of[self] = parts
    parts[#parts + 1] = data
    if fin then
      parts_of[self] = nil
      return table.concat(parts), KINDS[opcode]
    end
  end
end

--- Sends a ping with up to 125 bytes.
function Channel:ping(data)
  check_channel(self, "ping")
  data = check.is(data == nil and "" or data, "string", 1, "ping")
  local ok, msg, code = attempt(self, WRITE, nil, core.channel_ws_ping, data)
  if not ok then return nil, msg, code end
  return true
end

--- Begins the end of a WebSocket: what was sent goes out, then a close frame with the code (1000)
-- and reason.  recv tells when the other side has answered; then close the channel.
function Channel:closewith(code, reason)
  check_channel(self, "closewith")
  code = check.count(code, 1, "closewith", 1000, 4999, 1000)
  if reason ~= nil then check.text(reason, 2, "closewith") end
  local ok, msg, number = core.channel_ws_close(self, code, reason)
  if not ok then return nil, msg, number end
  return true
end

return layer
