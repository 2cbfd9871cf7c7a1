-- SPDX-License-Identifier: LGPL-2.1-or-later
---@meta qio
--
-- types/qio.lua: what require "qio" gives, for editors and checkers that read LuaCATS.
--
-- Owns nothing that runs.  A test holds every name and parameter to the module's own tables.
-- Rule of results: the value, or nil, message, code: see docs/lua.md.

---@class qio
---@field _NAME "qio"
---@field _VERSION string
---@field errno table<string, integer> error numbers of the system and of the library, by name
---@field IN integer
---@field OUT integer
---@field ERR integer
---@field HUP integer
---@field NVAL integer
local qio = {}

---@alias qio.direction "in"|"out"|"inout"|integer
---@alias qio.bytes_like string|qio.bytes
---@alias qio.owned_fd integer|qio.fd
---@alias qio.waitable qio.channel|qio.listener

---The keys are those of URIs with "_" for "-".
---@class qio.options
---@field timeout? number seconds, in total; 30 for connect
---@field tls? qio.creds
---@field on_request? fun(channel: qio.channel): boolean|string|integer|nil
---@field [string] string|number|boolean|table|qio.creds|function

---@class qio.command_options
---@field env? string[]|table<string, string>
---@field cwd? string
---@field stderr? "inherit"|"null"|"merge"|"pipe"
---@field pty? boolean
---@field rows? integer
---@field columns? integer
---@field close_timeout? number seconds

---@class qio.relay_options
---@field filter? fun(direction: 0|1, data: string): string?
---@field idle_timeout? number seconds
---@field buffer? integer
---@field limit? integer

---@class qio.tls_options
---@field server? boolean
---@field hostname? string
---@field alpn? string|string[]
---@field timeout? number seconds
---@field handshake? boolean
---@field [string] any

---@class qio.websocket_options
---@field server? boolean
---@field host? string
---@field path? string
---@field origin? string
---@field protocols? string|string[]
---@field headers? string[]
---@field mode? "stream"|"messages"
---@field deflate? boolean
---@field max_message? integer
---@field on_request? fun(channel: qio.channel): boolean|string|integer|nil
---@field timeout? number seconds
---@field handshake? boolean
---@field [string] any

---Opens a channel by a URI.
---@param uri string
---@param options? qio.options
---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.connect(uri, options) end

---Listens at a URI.
---@param uri string
---@param options? qio.options
---@return qio.listener? listener
---@return string? message
---@return integer? code
function qio.listen(uri, options) end

---Two connected channels.
---@return qio.channel? one
---@return qio.channel|string other
---@return integer? code
function qio.pair() end

---A channel around a descriptor, which it owns from then on.
---@param fd qio.owned_fd
---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.fromfd(fd) end

---@param path string
---@param mode? "r"|"w"|"rw"|"a"
---@param permissions? integer
---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.file(path, mode, permissions) end

---Starts a program: writing is its standard input, reading its output.
---@param argv string[]
---@param options? qio.command_options
---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.command(argv, options) end

---@param data? string
---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.buffer(data) end

---@return qio.channel? channel
---@return string? message
---@return integer? code
function qio.null() end

---A block of memory for readinto.
---@param size integer
---@return qio.bytes
function qio.bytes(size) end

---@class qio.methods
---@field read? fun(self: qio.instance, max: integer): string?, string?, integer?
---@field write? fun(self: qio.instance, data: string): integer|boolean|qio.channel|nil, any, integer?, integer?
---@field close? fun(self: qio.instance): any, any, integer?
---@field shutdown? fun(self: qio.instance, how: "read"|"write"|"both"): any, any, integer?
---@field seek? fun(self: qio.instance, whence: "set"|"cur"|"end", offset: integer): integer?, any, integer?
---@field poll? fun(self: qio.instance, direction: "in"|"out"): qio.channel|qio.owned_fd|true|nil, ("in"|"out")?
---@field flush? fun(self: qio.instance): any, any, integer?
---@field [string] any

---@class qio.class
---@operator call(table?): qio.channel

---A class of channels written in Lua; class(instance) gives a channel and the instance.
---@param methods qio.methods
---@return qio.class
function qio.newclass(methods) end

---An instance of a class, what its methods get as self.
---@class qio.instance
---@field [string] any
local instance = {}

---Whoever waits for the channel looks again.
---@param condition? qio.direction
---@return boolean? ok
---@return string? message
---@return integer? code
function instance:notify(condition) end

---@return qio.channel? channel
---@return string? message
---@return integer? code
function instance:channel() end

---Starts fn(...) as a task.
---@param fn function
---@param ... any
---@return qio.task
function qio.spawn(fn, ...) end

---Runs until every task has ended, or until quit.
---@return boolean? ok
---@return string? message
---@return integer? code
function qio.run() end

---One turn of the loop.
---@param timeout? number seconds
---@return boolean? happened
---@return string? message
---@return integer? code
function qio.step(timeout) end

---@param duration number seconds
---@return boolean? ok
---@return string? message
---@return integer? code
function qio.sleep(duration) end

---Sets what gets errors of tasks and callbacks; returns the one before.
---@param fn? fun(err: any)
---@return fun(err: any) before
function qio.onerror(fn) end

---Copies both ways between two channels until both have ended.
---@param a qio.channel
---@param b qio.channel
---@param options? qio.relay_options
---@return integer? a_to_b
---@return integer|string b_to_a
---@return integer? code
function qio.relay(a, b, options) end

---With a function: runs it and its tasks to their ends; without: a nursery.
---@param fn? fun(nursery: qio.nursery): ...
---@return any ...
function qio.nursery(fn) end

---The descriptor that is readable while there is something for step to do.
---@return integer? fd
---@return string? message
---@return integer? code
function qio.pollfd() end

---fn is called instead of waiting.
---@param fn? fun(fd: integer, seconds: number?)
---@return (fun(fd: integer, seconds: number?))? before
function qio.setwaiter(fn) end

---As cqueues and LuaSocket's select want it.
---@return table
function qio.pollable() end

---@return qio.loop? loop
---@return string? message
---@return integer? code
function qio.loop() end

-- ---- credentials ----

---@class qio.creds

---@class qio.credsmaker
qio.creds = {}

---@class qio.x509_keys
---@field ca? string path or PEM text, as the next three
---@field cert? string
---@field key? string
---@field crl? string
---@field dir? string
---@field password? string
---@field priority? string
---@field verify? boolean
---@field server? boolean
---@field authorize? fun(channel: qio.channel, identity: string): boolean

---@param keys? qio.x509_keys
---@return qio.creds? creds
---@return string? message
---@return integer? code
function qio.creds.x509(keys) end

---@param keys? { user?: string, key?: string, file?: string, server?: boolean, lookup?: fun(user: string): string?, authorize?: fun(channel: qio.channel, identity: string): boolean }
---@return qio.creds? creds
---@return string? message
---@return integer? code
function qio.creds.psk(keys) end

---@param keys? { server?: boolean }
---@return qio.creds? creds
---@return string? message
---@return integer? code
function qio.creds.anon(keys) end

-- ---- tasks ----

---@class qio.task
local task = {}

---What the function returned; nil, error, -16 when it failed.
---@param timeout? number|false seconds
---@return any ...
function task:join(timeout) end

---Whether it was alive.
---@return boolean
function task:cancel() end

---@return "ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
function task:status() end

---@class qio.nursery
local nursery = {}

---@param fn function
---@param ... any
---@return qio.task? task
---@return string? message
---@return integer? code
function nursery:spawn(fn, ...) end

---@return boolean? ok
---@return any err
---@return integer? code
function nursery:join() end

---@return boolean
function nursery:cancel() end

-- ---- the loop ----

---@class qio.loop
local loop = {}

---fn(object, condition) until it returns false; a listener has no condition.
---@param object qio.waitable
---@param condition qio.direction|function
---@param fn? fun(object: qio.waitable, condition: integer): boolean?
---@return qio.watch? watch
---@return string? message
---@return integer? code
function loop:watch(object, condition, fn) end

---@param after number seconds
---@param fn fun(): boolean?
---@param every? number seconds
---@return qio.watch? watch
---@return string? message
---@return integer? code
function loop:add_timer(after, fn, every) end

---@param fn fun()
---@return boolean? ok
---@return string? message
---@return integer? code
function loop:defer(fn) end

---A relay as a task.
---@param a qio.channel
---@param b qio.channel
---@param options? qio.relay_options
---@return qio.task
function loop:relay(a, b, options) end

---@return boolean? ok
---@return string? message
---@return integer? code
function loop:run() end

---@param timeout? number seconds
---@return boolean? happened
---@return string? message
---@return integer? code
function loop:step(timeout) end

---@return boolean
function loop:quit() end

---@return integer? fd
---@return string? message
---@return integer? code
function loop:fd() end

---@class qio.watch
local watch = {}

---@return boolean? ok
---@return string? message
---@return integer? code
function watch:remove() end

return qio
