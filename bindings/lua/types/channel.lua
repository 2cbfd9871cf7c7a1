-- SPDX-License-Identifier: LGPL-2.1-or-later
---@meta
--
-- types/channel.lua: the objects of qio that carry bytes: channels, listeners, owned descriptors,
-- blocks; beside types/qio.lua, which says the rest.
--
-- Owns nothing that runs.  A test holds every name and parameter to the module's own tables.

-- ---- channels ----

---@class qio.channel
local channel = {}

---What is there, up to so many bytes; a line without or with its end; everything until the end.
---@param what? integer|"l"|"L"|"a"
---@return string? data
---@return string? message
---@return integer? code
function channel:read(what) end

---@param n integer
---@return string? data
---@return string? message
---@return integer? code
function channel:readexactly(n) end

---@param delims string|string[]
---@param limit? integer
---@return string? data
---@return string? message
---@return integer? code
function channel:readuntil(delims, limit) end

---@param limit? integer
---@return string? line
---@return string? message
---@return integer? code
function channel:readline(limit) end

---@return string? data
---@return string? message
---@return integer? code
function channel:readall() end

---@param block qio.bytes
---@param offset? integer
---@param len? integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:readinto(block, offset, len) end

---@param format? "l"|"L"
---@return fun(): string?
function channel:lines(format) end

---@param n integer
---@return string? data
---@return string? message
---@return integer? code
function channel:peek(n) end

---@param n integer
---@param offset integer
---@return string? data
---@return string? message
---@return integer? code
function channel:pread(n, offset) end

---Writes all of its arguments.
---@param ... string|number|qio.bytes
---@return qio.channel? self
---@return string? message
---@return integer? code
---@return integer? written
function channel:write(...) end

---@param data string
---@param offset integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:pwrite(data, offset) end

---@return boolean? ok
---@return string? message
---@return integer? code
function channel:flush() end

---@param data string
---@param fds (integer|qio.fd|qio.channel|qio.listener)[]
---@return qio.channel? self
---@return string? message
---@return integer? code
---@return integer? written
function channel:sendfds(data, fds) end

---@param n? integer
---@return string? data
---@return qio.fd[]|string fds
---@return integer? code
function channel:recvfds(n) end

---@return boolean? ok
---@return string? message
---@return integer? code
function channel:close() end

---@param how? "read"|"write"|"both"
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:shutdown(how) end

---@param whence? "set"|"cur"|"end"
---@param offset? integer
---@return integer? position
---@return string? message
---@return integer? code
function channel:seek(whence, offset) end

---The most seconds that an operation may take; nil: no limit.
---@param seconds? number|false
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:settimeout(seconds) end

---@param enabled boolean
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:setdelay(enabled) end

---@param enabled boolean
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:setcork(enabled) end

---The descriptor, which stays the channel's.
---@return integer? fd
---@return string? message
---@return integer? code
function channel:fd() end

---The descriptor, which is the caller's from then on.
---@return integer? fd
---@return string? message
---@return integer? code
function channel:detach() end

---How many bytes can be read without the descriptor.
---@return integer? count
---@return string? message
---@return integer? code
function channel:pending() end

---@return integer? size
---@return string? message
---@return integer? code
function channel:size() end

---@return string? data
---@return string? message
---@return integer? code
function channel:getvalue() end

---@return string? uri
---@return string? message
---@return integer? code
function channel:localaddress() end

---@return string? uri
---@return string? message
---@return integer? code
function channel:peeraddress() end

---@return integer? pid
---@return integer|string uid
---@return integer gid
function channel:peercred() end

---@param name? string
---@return string|boolean|nil name
---@return string? message
---@return integer? code
function channel:name(name) end

---@return ("other"|"socket"|"file"|"command"|"buffer"|"null"|"tls"|"websocket"|"custom"|"queued")? kind
---@return string? message
---@return integer? code
function channel:kind() end

---@return integer? pid
---@return string? message
---@return integer? code
function channel:pid() end

---@param signum? integer
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:kill(signum) end

---The exit status; nil, "signal", number; nil, "timeout", -2 while it runs.
---@return integer? status
---@return string? message
---@return integer? number
function channel:exitstatus() end

---@return integer? status
---@return string? message
---@return integer? number
function channel:waitexit() end

---The read end of the standard error of a command with stderr = "pipe"; once.
---@return qio.channel? channel
---@return string? message
---@return integer? code
function channel:stderr() end

---@param timeout? number seconds
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:handshake(timeout) end

---@param credentials qio.creds
---@param options? qio.tls_options
---@return qio.channel? channel
---@return string? message
---@return integer? code
function channel:starttls(credentials, options) end

---@param options? qio.websocket_options
---@return qio.channel? channel
---@return string? message
---@return integer? code
function channel:websocket(options) end

---The channel below; only to look at.
---@return qio.channel? channel
---@return string? message
---@return integer? code
function channel:transport() end

---@param timeout? number seconds
---@return qio.channel? channel
---@return string? message
---@return integer? code
function channel:unwrap(timeout) end

---@return { version: string?, cipher: string?, alpn: string?, hostname: string?, peer_name: string?, peer_certificate: string?, peer_chain: string[], resumed: boolean }? info
---@return string? message
---@return integer? code
function channel:tlsinfo() end

---@param label string
---@param length integer
---@param context? string
---@return string? key
---@return string? message
---@return integer? code
function channel:tlsexport(label, length, context) end

---@param key string
---@return string? value
---@return string? message
---@return integer? code
function channel:request(key) end

---@param message string
---@param kind? "binary"|"text"
---@return qio.channel? self
---@return string? message
---@return integer? code
---@return integer? sent
function channel:send(message, kind) end

---A message and its kind; at the end nil, "closed", -18, the other side's code and reason.
---@return string? message
---@return string kind
---@return integer? code
---@return integer? close_code
---@return string? reason
function channel:recv() end

---@param data? string
---@return boolean? ok
---@return string? message
---@return integer? code
function channel:ping(data) end

---@param code? integer
---@param reason? string
---@return boolean? ok
---@return string? message
---@return integer? number
function channel:closewith(code, reason) end

-- ---- listeners, descriptors, blocks ----

---@class qio.listener
local listener = {}

---@param timeout? number|false seconds
---@return qio.channel? channel
---@return string? message
---@return integer? code
function listener:accept(timeout) end

---@return fun(): qio.channel?
function listener:clients() end

---@param index? integer
---@return string? uri
---@return string? message
---@return integer? code
function listener:address(index) end

---@return integer? port
---@return string? message
---@return integer? code
function listener:port() end

---@return integer? fd
---@return string? message
---@return integer? code
function listener:fd() end

---@return boolean? ok
---@return string? message
---@return integer? code
function listener:close() end

---@class qio.fd
local fd = {}

---@return integer? number
function fd:fileno() end

---@return integer? number
function fd:detach() end

---@return boolean
function fd:close() end

---@return qio.channel? channel
---@return string? message
---@return integer? code
function fd:open() end

---@class qio.bytes
---@operator len: integer
local bytes = {}

---@param i? integer
---@param j? integer
---@return string
function bytes:sub(i, j) end

---@param data qio.bytes_like
---@param offset? integer
---@return qio.bytes
function bytes:put(data, offset) end
