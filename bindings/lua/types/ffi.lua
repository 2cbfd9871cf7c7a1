-- SPDX-License-Identifier: LGPL-2.1-or-later
---@meta qio.ffi
--
-- types/ffi.lua: what require "qio.ffi" gives in LuaJIT: objects of the FFI over the flat ABI.
--
-- Owns nothing that runs.  A test holds every name and parameter to bindings/lua/qio/ffi.lua.

---@class qio.ffi
---@field C ffi.namespace* the library: every function and constant of the ABI
---@field creds table<"x509"|"psk"|"anon", fun(keys: table): ffi.cdata*?, string?, integer?>
local qio = {}

---@class qio.ffi.channel: ffi.cdata*
local channel = {}

---@class qio.ffi.listener: ffi.cdata*
local listener = {}

---@class qio.ffi.loop: ffi.cdata*
local loop = {}

---@class qio.ffi.watch: ffi.cdata*
local watch = {}

---@class qio.ffi.task: ffi.cdata*
local task = {}

---@param handle ffi.cdata*
---@return integer
function qio.token(handle) end

---@return { code: integer, errno: integer, domain: integer, number: integer, bytes: integer, message: string }
function qio.last_error() end

---@param keys table
---@return ffi.cdata*
function qio.options(keys) end

---@param uri string
---@param options? table
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function qio.open(uri, options) end

---@param argv string[]
---@param options? table
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function qio.command(argv, options) end

---@param data string
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function qio.buffer(data) end

---@return qio.ffi.channel? one
---@return qio.ffi.channel|string other
---@return integer? code
function qio.pair() end

---@param fd integer
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function qio.fromfd(fd) end

---@param n integer
---@return string? text
---@return string? message
---@return integer? code
function channel:read(n) end

---@param n integer
---@return string? text
---@return string? message
---@return integer? code
function channel:try_read(n) end

---@param buf ffi.cdata*
---@param n integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:readinto(buf, n) end

---@param buf ffi.cdata*
---@param n integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:try_readinto(buf, n) end

---@param buf ffi.cdata*
---@param n integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:fill(buf, n) end

---@param buf ffi.cdata*
---@param n integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:try_writefrom(buf, n) end

---@param n integer
---@return string? text
---@return string? message
---@return integer? code
function channel:peek(n) end

---@param data string
---@return integer? count
---@return string? message
---@return integer? code
function channel:write(data) end

---@param data string
---@return integer? count
---@return string? message
---@return integer? code
function channel:try_write(data) end

---@param condition integer
---@param timeout_ms? integer
---@return integer? count
---@return string? message
---@return integer? code
function channel:wait(condition, timeout_ms) end

---@param timeout_ms? integer
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:settimeout(timeout_ms) end

---@param flag boolean
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:setblocking(flag) end

---@param data string
---@param fds table
---@return integer? count
---@return string? message
---@return integer? code
function channel:sendfds(data, fds) end

---@param n integer
---@return string? text
---@return string? message
---@return integer? code
function channel:recvfds(n) end

---@return string? text
---@return string? message
---@return integer? code
function channel:localaddress() end

---@return string? text
---@return string? message
---@return integer? code
function channel:peeraddress() end

---@param key string
---@return string? text
---@return string? message
---@return integer? code
function channel:tls(key) end

---@param creds ffi.cdata*
---@param server? boolean
---@param options? table
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function channel:starttls(creds, server, options) end

---@param timeout_ms? integer
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:handshake(timeout_ms) end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:exitstatus() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:fd() end

---@param how integer
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:shutdown(how) end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:close() end

---@param data string
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:push(data) end

---@param code integer
---@param message string
---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function channel:push_end(code, message) end

---@param n integer
---@return string? text
---@return string? message
---@return integer? code
function channel:pull(n) end

---@param uri string
---@param options? table
---@return qio.ffi.listener? listener
---@return string? message
---@return integer? code
function qio.listen(uri, options) end

---@param timeout_ms? integer
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function listener:accept(timeout_ms) end

---@param index? integer
---@return string? text
---@return string? message
---@return integer? code
function listener:address(index) end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function listener:close() end

---@return qio.ffi.loop? loop
---@return string? message
---@return integer? code
function qio.loop() end

---@param ch qio.ffi.channel
---@param condition integer
---@param cookie integer
---@return qio.ffi.watch? watch
---@return string? message
---@return integer? code
function loop:watch(ch, condition, cookie) end

---@param l qio.ffi.listener
---@param cookie integer
---@return qio.ffi.watch? watch
---@return string? message
---@return integer? code
function loop:watch_listener(l, cookie) end

---@param fd integer
---@param condition integer
---@param cookie integer
---@return qio.ffi.watch? watch
---@return string? message
---@return integer? code
function loop:watch_fd(fd, condition, cookie) end

---@param cookie integer
---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function loop:channel(cookie) end

---@param after_ms number
---@param every_ms number
---@param cookie integer
---@return qio.ffi.watch? watch
---@return string? message
---@return integer? code
function loop:timer(after_ms, every_ms, cookie) end

---@param uri string
---@param options? table
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:connect(uri, options, cookie) end

--- task:listener() is what it made.
---@param uri string
---@param options? table
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:listen(uri, options, cookie) end

---@param ch qio.ffi.channel
---@param timeout_ms? integer
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:handshake(ch, timeout_ms, cookie) end

---@param ch qio.ffi.channel
---@param timeout_ms? integer
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:finish(ch, timeout_ms, cookie) end

---@param ch qio.ffi.channel
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:wait_exit(ch, cookie) end

---@param a qio.ffi.channel
---@param b qio.ffi.channel
---@param options? table
---@param cookie integer
---@return qio.ffi.task? task
---@return string? message
---@return integer? code
function loop:relay(a, b, options, cookie) end

---@param events ffi.cdata*
---@param size integer
---@param timeout_ms? integer
---@return integer? count
---@return string? message
---@return integer? code
function loop:next_events(events, size, timeout_ms) end

---@param timeout_ms? integer
---@return fun(): ffi.cdata*?
function loop:events(timeout_ms) end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function loop:fd() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function loop:wakeup() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function loop:close() end

---@param size integer
---@return ffi.cdata*
function qio.events(size) end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function task:status() end

---@return qio.ffi.channel? channel
---@return string? message
---@return integer? code
function task:channel() end

---@return qio.ffi.listener? listener
---@return string? message
---@return integer? code
function task:listener() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function task:counts() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function task:cancel() end

---@return integer|boolean|nil result
---@return string? message
---@return integer? code
function watch:remove() end

return qio
