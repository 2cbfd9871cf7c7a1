-- SPDX-License-Identifier: LGPL-2.1-or-later
---@meta qio.compat.socket
--
-- types/compat.lua: what require "qio.compat.socket" gives: LuaSocket's names over qio's channels.
--
-- Owns nothing that runs.  A test holds every name and parameter to the module's own tables.

---@class qio.compat.socket
---@field _VERSION string
---@field _SETSIZE integer
---@field BLOCKSIZE integer
---@field sinkt table<string, function>
---@field sourcet table<string, function>
local socket = {}

---@class qio.compat.tcp
local tcp = {}

---@class qio.compat.dns
socket.dns = {}

---@param value? number
---@param mode? string
---@return any result
---@return string? message
---@return any extra
function tcp:settimeout(value, mode) end

---@return any result
---@return string? message
---@return any extra
function tcp:gettimeout() end

---@param options? table
---@return qio.compat.tcp? object
---@return string? message
function socket.tcp(options) end

---@param options? table
---@return qio.compat.tcp? object
---@return string? message
function socket.tcp4(options) end

---@param options? table
---@return qio.compat.tcp? object
---@return string? message
function socket.tcp6(options) end

---@param channel qio.channel
---@return qio.compat.tcp? object
---@return string? message
function socket.wrap(channel) end

---@return nil
---@return string message
function socket.udp() end

---@return nil
---@return string message
function socket.udp4() end

---@return nil
---@return string message
function socket.udp6() end

---@param host string
---@param port integer|string
---@return any result
---@return string? message
---@return any extra
function tcp:connect(host, port) end

---@param host string
---@param port integer|string
---@return any result
---@return string? message
---@return any extra
function tcp:bind(host, port) end

---@return any result
---@return string? message
---@return any extra
function tcp:listen() end

---@return any result
---@return string? message
---@return any extra
function tcp:accept() end

---@param pattern string|integer|nil
---@param prefix? string
---@return any result
---@return string? message
---@return any extra
function tcp:receive(pattern, prefix) end

---@return any result
---@return string? message
---@return any extra
function tcp:dirty() end

---@param data string
---@param i? integer
---@param j? integer
---@return any result
---@return string? message
---@return any extra
function tcp:send(data, i, j) end

---@param how "receive"|"send"|"both"|nil
---@return any result
---@return string? message
---@return any extra
function tcp:shutdown(how) end

---@return any result
---@return string? message
---@return any extra
function tcp:close() end

---@return any result
---@return string? message
---@return any extra
function tcp:getsockname() end

---@return any result
---@return string? message
---@return any extra
function tcp:getpeername() end

---@param host string
---@param port integer|string
---@return any result
---@return string? message
---@return any extra
function tcp:setpeername(host, port) end

---@param host string
---@param port integer|string
---@return any result
---@return string? message
---@return any extra
function tcp:setsockname(host, port) end

---@return any result
---@return string? message
---@return any extra
function tcp:getfamily() end

---@return any result
---@return string? message
---@return any extra
function tcp:getfd() end

---@return any result
---@return string? message
---@return any extra
function tcp:getstats() end

---@param received integer
---@param sent integer
---@param age number
---@return any result
---@return string? message
---@return any extra
function tcp:setstats(received, sent, age) end

---@param option string
---@param value any
---@return any result
---@return string? message
---@return any extra
function tcp:setoption(option, value) end

---@param option string
---@return any result
---@return string? message
---@return any extra
function tcp:getoption(option) end

---@param host string
---@param port integer|string
---@return qio.compat.tcp? object
---@return string? message
function socket.connect(host, port) end

---@param host string
---@param port integer|string
---@return qio.compat.tcp? object
---@return string? message
function socket.connect4(host, port) end

---@param host string
---@param port integer|string
---@return qio.compat.tcp? object
---@return string? message
function socket.connect6(host, port) end

---@param host string
---@param port integer|string
---@param backlog? integer
---@return qio.compat.tcp? object
---@return string? message
function socket.bind(host, port, backlog) end

---@param seconds? number
function socket.sleep(seconds) end

---@return number
function socket.gettime() end

---@param count integer
---@param ... any
---@return any ...
function socket.skip(count, ...) end

---@param readers? table
---@param writers? table
---@param timeout? number
---@return table readable
---@return table writable
---@return string? message
function socket.select(readers, writers, timeout) end

---@param finalizer? function
---@return function
function socket.newtry(finalizer) end

---@param ... any
---@return any ...
function socket.try(...) end

---@param fn function
---@return function
function socket.protect(fn) end

---@param functions table<string, function>
---@return function
function socket.choose(functions) end

---@param name string
---@param first any
---@param second any
---@return function
function socket.sink(name, first, second) end

---@param name string
---@param first any
---@param second any
---@return function
function socket.source(name, first, second) end

---@return any result
---@return any extra
function socket.dns.gethostname() end

---@param host string
---@return any result
---@return any extra
function socket.dns.toip(host) end

---@param host string
---@return any result
---@return any extra
function socket.dns.getaddrinfo(host) end

return socket
