-- SPDX-License-Identifier: LGPL-2.1-or-later
-- LuaJIT over the flat ABI: the header goes to ffi.cdef as it is.
local ffi = require "ffi"
local here = arg[0]:match("^(.*/)") or "./"
ffi.cdef(assert(io.open(here .. "../../core/abi/qioh-abi.h")):read("*a"))
local qio, err = ffi.load("qio"), ffi.new("qioh_error")

local function check(ok) return ok or error(ffi.string(err.message), 2) end

local argv = ffi.new("const char *[4]", { "tr", "a-z", "A-Z" })
local tr = qio.qioh_channel_new_command(argv, nil, err)
check(tr ~= nil)
check(qio.qioh_channel_write_all(tr, "hello from luajit\n", 18, err) == 0)
check(qio.qioh_channel_shutdown(tr, qio.QIOH_SHUTDOWN_WRITE, err) == 0)
local line = ffi.new("char[80]")
local n = qio.qioh_channel_read(tr, line, 80, err)
check(n > 0)
io.write(ffi.string(line, n))
check(qio.qioh_channel_close(tr, err) == 0)
qio.qioh_channel_unref(tr)
