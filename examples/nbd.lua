-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- nbd: a small NBD client (fixed newstyle negotiation, reads), and a program that uses it.
--
--   local nbd = require "nbd"
--   local disk <close> = nbd.connect("unix:/run/nbd.sock", "name of the export")
--   print(disk.size, disk:read(0, 512))
--   nbd.connect("tcp://host:10809", "", { tls = qio.creds.psk { file = "keys.psk", user = "me" } })
--
--   lua5.4 nbd.lua URI EXPORT FILE [KEYS USER]
--       reads the first MiB over two connections at once, each a task, and compares it with the
--       file; with a file of pre-shared keys and the name of one over TLS
--
-- Rules: what goes wrong raises a string; in a task, join() gives it.  Every call waits in its
-- task alone; one task at a time for each connection.  Lengths that the server chooses are
-- bounded, and what it says is checked before it is used.

local qio = require "qio"

local OPTION_MAGIC = "IHAVEOPT"
local REPLY_MAGIC = 0x3e889045565a9             -- of an option
local REQUEST_MAGIC, SIMPLE_REPLY_MAGIC = 0x25609513, 0x67446698
local FIXED_NEWSTYLE, NO_ZEROES = 1, 2          -- handshake flags, the same in both directions
local OPT_ABORT, OPT_STARTTLS, OPT_GO = 2, 5, 7
local REP_ACK, REP_INFO = 1, 3                  -- an error has the highest bit set
local INFO_EXPORT = 0
local CMD_READ, CMD_DISC = 0, 2
local CAN_MULTI_CONN = 1 << 8                   -- transmission flags

local REPLY_LIMIT = 65536                       -- the most bytes of an option's reply
local READ_LIMIT = 32 * 1024 * 1024             -- what every server has to take in one request
local TIMEOUT = 20                              -- seconds for each read or write

local ERRORS = { [1] = "not permitted", [5] = "I/O error", [12] = "out of memory",
                 [22] = "invalid argument", [28] = "no space left", [75] = "too large",
                 [95] = "not supported", [108] = "the server is shutting down" }

local nbd = {}
local Client = {}
Client.__index = Client

local function fail(fmt, ...)
  error("NBD: " .. fmt:format(...), 0)
end

-- Exactly n bytes.
local function receive(self, n)
  local data, message = self.channel:readexactly(n)
  if not data then fail("reading from the server: %s", message) end
  return data
end

local function send(self, data)
  local ok, message = self.channel:write(data)
  if not ok then fail("writing to the server: %s", message) end
end

-- ---- negotiation ----

local function greet(self)
  local magic, option_magic, flags = (">c8c8I2"):unpack(receive(self, 18))
  if magic ~= "NBDMAGIC" or option_magic ~= OPTION_MAGIC then
    fail("this is no NBD server, or one of before 2011")
  end
  if flags & FIXED_NEWSTYLE == 0 then fail("the server cannot do fixed newstyle negotiation") end
  send(self, (">I4"):pack(flags & (FIXED_NEWSTYLE | NO_ZEROES)))
end

local function receive_option_reply(self, option)
  local magic, of, kind, length = (">I8I4I4I4"):unpack(receive(self, 20))
  if magic ~= REPLY_MAGIC or of ~= option then fail("not a reply to option %d", option) end
  if length > REPLY_LIMIT then fail("a reply of %d bytes to option %d", length, option) end
  local data = receive(self, length)
  if kind >= 0x80000000 then
    fail("the server refuses (error %d): %s", kind & 0x7fffffff, ("%q"):format(data))
  end
  return kind, data
end

-- NBD_OPT_STARTTLS: after its ACK everything is TLS, on the same connection.
local function start_tls(self, creds, hostname)
  send(self, OPTION_MAGIC .. (">I4I4"):pack(OPT_STARTTLS, 0))
  if receive_option_reply(self, OPT_STARTTLS) ~= REP_ACK then fail("no answer to STARTTLS") end
  local tls, message = self.channel:starttls(creds, { hostname = hostname, timeout = TIMEOUT })
  if not tls then fail("TLS with the server: %s", message) end
  self.channel = tls
  tls:settimeout(TIMEOUT)
end

-- NBD_OPT_GO: chooses an export; after its ACK the connection is for requests.
local function go(self, export)
  local data = (">s4I2"):pack(export, 0)        -- no information beside the size asked for
  send(self, OPTION_MAGIC .. (">I4s4"):pack(OPT_GO, data))
  repeat
    local kind, reply = receive_option_reply(self, OPT_GO)
    if kind == REP_INFO and #reply == 12 and (">I2"):unpack(reply) == INFO_EXPORT then
      self.size, self.flags = (">I8I2"):unpack(reply, 3)
    end
  until kind == REP_ACK
  if not self.size then fail("the server does not tell the size of '%s'", export) end
end

--- Connects to a URI and opens an export (default: the server's default one).
-- options: tls, credentials to go on with TLS; hostname, for certificates.
-- The client has: size in bytes, flags, multi_conn (whether connections see each other's writes).
function nbd.connect(uri, export, options)
  options = options or {}
  local channel, message = qio.connect(uri, { timeout = TIMEOUT })
  if not channel then fail("%s: %s", uri, message) end
  local self = setmetatable({ channel = channel, cookie = 0 }, Client)
  channel:settimeout(TIMEOUT)
  local ok, err = pcall(function()
    greet(self)
    if options.tls then start_tls(self, options.tls, options.hostname) end
    go(self, export or "")
  end)
  if not ok then
    pcall(send, self, OPTION_MAGIC .. (">I4I4"):pack(OPT_ABORT, 0))
    self.channel:close()                        -- TLS closes what it lies on
    error(err, 0)
  end
  self.multi_conn = self.flags & CAN_MULTI_CONN ~= 0
  return self
end

-- ---- requests ----

local function request(self, kind, offset, length)
  self.cookie = self.cookie + 1
  send(self, (">I4I2I2I8I8I4"):pack(REQUEST_MAGIC, 0, kind, self.cookie, offset, length))
end

--- Reads length bytes at the offset.
function Client:read(offset, length)
  if length > READ_LIMIT then fail("a read of %d bytes, more than %d", length, READ_LIMIT) end
  request(self, CMD_READ, offset, length)
  local magic, err, cookie = (">I4I4I8"):unpack(receive(self, 16))
  if magic ~= SIMPLE_REPLY_MAGIC or cookie ~= self.cookie then
    fail("not the reply to this request")
  end
  if err ~= 0 then
    fail("read of %d at %d: %s (%d)", length, offset, ERRORS[err] or "unknown error", err)
  end
  return receive(self, length)
end

--- Says goodbye and closes.  A connection that is broken is closed all the same.
function Client:close()
  pcall(request, self, CMD_DISC, 0, 0)
  self.channel:close()
end
Client.__close = Client.close

if ... == "nbd" then return nbd end             -- required; else the program below

-- ---- the program ----

local BLOCK, TOTAL, CONNECTIONS = 65536, 1048576, 2

local uri, export, path, keys, user = ...
if not path or keys and not user then
  io.stderr:write("usage: lua5.4 nbd.lua URI EXPORT FILE [KEYS USER]\n")
  os.exit(2)
end

local tls = keys and assert(qio.creds.psk { file = keys, user = user })
local order = {}                                -- which connection got each block

local function read_and_compare(number)
  local disk <close> = nbd.connect(uri, export, { tls = tls })
  disk.secured = disk.channel:tlsinfo()
  local file <close> = assert(qio.file(path, "r"))
  assert(disk.size == file:size(), "the export and the file differ in size")
  assert(disk.size >= TOTAL, "the export is smaller than " .. TOTAL .. " bytes")
  for offset = 0, TOTAL - 1, BLOCK do
    if disk:read(offset, BLOCK) ~= file:pread(BLOCK, offset) then
      fail("connection %d: the block at %d is not that of the file", number, offset)
    end
    order[#order + 1] = number
  end
  return disk
end

qio.onerror(function() end)                     -- join tells it
local tasks = {}
for number = 1, CONNECTIONS do tasks[number] = qio.spawn(read_and_compare, number) end
qio.run()
for number, task in ipairs(tasks) do
  local disk, message = task:join()
  if not disk then
    io.stderr:write(("connection %d: %s\n"):format(number, message))
    os.exit(1)
  end
  print(("connection %d: '%s' has %d bytes, flags 0x%x; %d reads of %d bytes equal the file"):format(
        number, export, disk.size, disk.flags, TOTAL // BLOCK, BLOCK))
end
local secured = tasks[1]:join().secured
if secured then
  print(("all of it over %s, %s: both ends have the key of '%s'"):format(secured.version,
        secured.cipher, user))
end
print("blocks came in over connections " .. table.concat(order, " "))
