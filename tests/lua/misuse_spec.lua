-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Wrong arguments: every function and metamethod gives an error, never a crash, and says what
-- would be right.
local qio = require "qio"
local core = require "qio.core"

-- A light userdata, which plain Lua has no function for; Lua 5.1 has none at all.
local function light()
  local up = 0
  return debug.upvalueid and debug.upvalueid(function() return up end, 1)
end

local WRONG = {
  ["nil"] = function() return nil end,
  boolean = function() return true end,
  number = function() return 4711 end,
  string = function() return "text" end,
  table = function() return {} end,
  ["function"] = function() return print end,
  file = function() return io.stdout end,
  ["light userdata"] = light,
  thread = function() return coroutine.create(function() end) end,
}

-- These take nothing that could be wrong.
local TAKES_ANYTHING = {
  abi_version = true, version_string = true, now = true, token = true, typename = true,
  loop_new = true, fdset_new = true, options_new = true, channel_new_null = true,
  channel_new_pair = true, onerror = true, is_channel = true, yield = true,
  in_method = true,
}
-- These may go well with one of the values.
local MAY_WORK = {
  bytes = { number = true }, fd_own = { number = true }, status_name = { number = true },
  debug_live = { number = true }, debug_describe = { number = true },
  channel_new_buffer = { string = true },
}

describe("every function of qio.core", function()
  it("refuses a wrong first argument", function()
    local count = 0
    for name, fn in pairs(core) do
      if type(fn) == "function" and not TAKES_ANYTHING[name] then
        for kind, make in pairs(WRONG) do
          if not (MAY_WORK[name] and MAY_WORK[name][kind]) then
            local value = make()
            local ok, first, msg, code = pcall(fn, value, value, value, value, value, value)
            -- nil for a text or for options means that there is none: an error result.
            if ok and not (first == nil and type(msg) == "string" and code < 0) then
              error(("%s(%s) gave %s"):format(name, kind, tostring(first)))
            end
            count = count + 1
          end
        end
      end
    end
    assert.is_true(count > 500)
  end)

  it("refuses a missing argument", function()
    for name, fn in pairs(core) do
      if type(fn) == "function" and not TAKES_ANYTHING[name] then
        local ok, first, msg, code = pcall(fn)
        if ok and not (first == nil and type(msg) == "string" and code < 0) then
          error(name .. "() gave " .. tostring(first))
        end
      end
    end
  end)

  it("refuses a handle of another kind", function()
    local a, b = qio.pair()
    local loop = qio.loop()
    assert.error_matches(function() core.channel_get_fd(loop) end,
                         "qio.channel expected, got qio.loop")
    assert.error_matches(function() core.loop_get_fd(a) end, "qio.loop expected, got qio.channel")
    assert.error_matches(function() core.next_events(a, {}, 0) end, "qio.loop expected")
    assert.error_matches(function() core.channel_open_uri("null:", a) end, "qio.options expected")
    a:close()
    b:close()
  end)

  it("ignores surplus arguments", function()
    local ch = qio.null()
    assert.equal(core.CHANNEL_NULL, core.channel_get_kind(ch, 1, "x", {}))
    ch:close()
  end)
end)

describe("every metamethod", function()
  it("refuses what is not its own", function()
    local a, b = qio.pair()
    local objects = { a, qio.loop(), qio.bytes(3), core.options_new(), core.fdset_new(),
                      qio.listen("tcp://127.0.0.1:0") }
    for _, object in ipairs(objects) do
      local meta = debug.getmetatable(object)
      for name, fn in pairs(meta) do
        if type(fn) == "function" then
          for kind, make in pairs(WRONG) do
            local ok = pcall(fn, make())
            if ok then error(core.typename(object) .. "." .. name .. " took a " .. kind) end
          end
        end
      end
      assert.is_false(getmetatable(object))
    end
    assert.is_false(pcall(debug.getmetatable(a).__gc, objects[2]))
    a:close()
    b:close()
    objects[6]:close()
  end)

  it("may be called twice", function()
    local a, b = qio.pair()
    local gc = debug.getmetatable(a).__gc
    gc(a)
    gc(a)
    local ok, msg, code = a:close()
    assert.is_nil(ok)
    assert.equal(qio.errno.BADHANDLE, code)
    assert.matches("released", tostring(a))
    assert.equal("string", type(msg))
    b:close()
  end)
end)

describe("every method", function()
  it("refuses a wrong self", function()
    local kinds = { "qio.channel", "qio.listener", "qio.loop", "qio.watch", "qio.fd", "qio.bytes" }
    local count = 0
    for _, kind in ipairs(kinds) do
      for name, fn in pairs(core.methods(kind)) do
        for what, make in pairs(WRONG) do
          local ok, err = pcall(fn, make(), 1, 1)
          if ok then error(kind .. ":" .. name .. " took a " .. what) end
          -- Methods in C are named by where Lua finds them.
          if not err:find("calling '" .. name .. "' on bad self", 1, true) then
            assert.matches("bad argument #1 to '[%w_.?]+' %(" .. kind .. " expected, got", err)
          end
          count = count + 1
        end
      end
    end
    assert.is_true(count > 300)
  end)

  it("names the argument and what would be right, at the line of the caller", function()
    local a, b = qio.pair()
    local loop = qio.loop()
    local cases = {
      { function() a:read("x") end, "#1 to 'read' %(\"l\", \"L\", \"a\" or a number expected" },
      { function() a:read(-1) end, "#1 to 'read' %(integer from 0" },
      { function() a:read(1.5) end, "#1 to 'read' %(integer" },
      { function() a:read({}) end, "#1 to 'read'" },
      { function() a:readexactly() end, "#1 to 'readexactly' %(integer from 0 to" },
      { function() a:readexactly("3") end, "#1 to 'readexactly' %(integer .* got string \"3\"" },
      { function() a:readuntil() end, "#1 to 'readuntil' %(string or table" },
      { function() a:readuntil("") end, "#1 to 'readuntil' %(delimiters of 1 to 64 bytes" },
      { function() a:readuntil({}) end, "#1 to 'readuntil'" },
      { function() a:readuntil({ "a", 3 }) end, "#1 to 'readuntil'" },
      { function() a:readuntil("\n", 0) end, "#2 to 'readuntil' %(integer from 1" },
      { function() a:readinto("block") end, "#1 to 'readinto' %(qio.bytes expected" },
      { function() a:readinto(qio.bytes(4), 5) end, "#2 to 'readinto' %(integer from 0 to 4" },
      { function() a:readinto(qio.bytes(4), 1, 4) end, "#3 to 'readinto' %(integer from 0 to 3" },
      { function() a:lines("a") end, "#1 to 'lines'" },
      { function() a:peek(0) end, "#1 to 'peek' %(integer from 1" },
      { function() a:write({}) end, "#1 to 'write' %(string, number or qio.bytes expected" },
      { function() a:write("x", nil) end, "#2 to 'write'" },
      { function() a:shutdown("up") end, "#1 to 'shutdown' %(\"read\", \"write\" or \"both\"" },
      { function() a:seek("start") end, "#1 to 'seek' %(\"set\", \"cur\" or \"end\"" },
      { function() a:seek("set", 0.5) end, "#2 to 'seek'" },
      { function() a:settimeout("1") end, "#1 to 'settimeout' %(seconds of 0 or more, or nil" },
      { function() a:settimeout(-1) end, "#1 to 'settimeout'" },
      { function() a:sendfds("x", 3) end, "#2 to 'sendfds' %(table expected" },
      { function() a:sendfds("", {}) end, "#1 to 'sendfds' %(at least one byte" },
      { function() a:sendfds("x", { "1" }) end, "#2 to 'sendfds'" },
      { function() a:kill(0) end, "#1 to 'kill' %(integer from 1 to 64" },
      { function() qio.connect() end, "#1 to 'connect' %(string expected, got nil" },
      { function() qio.connect("null:", 3) end, "#2 to 'connect' %(table of options" },
      { function() qio.connect("null:", { tiemout = 3 }) end, "#2 to 'connect' .*tiemout" },
      { function() qio.connect("null:", { timeout = { 1, 2 } }) end, "#2 to 'connect'" },
      { function() qio.listen(3) end, "#1 to 'listen' %(string expected" },
      { function() qio.fromfd("1") end, "#1 to 'fromfd'" },
      { function() qio.fromfd(-1) end, "#1 to 'fromfd' %(integer from 0" },
      { function() qio.file("x", "r+") end, "#2 to 'file' %(\"r\", \"w\", \"rw\" or \"a\"" },
      { function() qio.command("ls") end, "#1 to 'command' %(table expected" },
      { function() qio.command({}) end, "#1 to 'command' %(at least the name of a program" },
      { function() qio.command({ "a", 1 }) end, "#1 to 'command'" },
      { function() qio.buffer(3) end, "#1 to 'buffer' %(string expected" },
      { function() qio.bytes(-1) end, "#1 to 'bytes' %(integer from 0" },
      { function() qio.spawn(3) end, "#1 to 'spawn' %(function expected" },
      { function() qio.sleep() end, "#1 to 'sleep' %(seconds" },
      { function() qio.sleep(0 / 0) end, "#1 to 'sleep' %(seconds" },
      { function() qio.step("1") end, "#1 to 'step'" },
      { function() qio.onerror(1) end, "#1 to 'onerror' %(function or nil" },
      { function() qio.setwaiter(1) end, "#1 to 'setwaiter' %(function or nil" },
      { function() loop:watch(3) end, "#1 to 'watch' %(qio.channel or qio.listener" },
      { function() loop:watch(a, "up", print) end, "#2 to 'watch' %(\"in\", \"out\"" },
      { function() loop:watch(a, "in") end, "#3 to 'watch' %(function expected" },
      { function() loop:add_timer("x", print) end, "#1 to 'add_timer'" },
      { function() loop:add_timer(1) end, "#2 to 'add_timer' %(function expected" },
      { function() loop:defer() end, "#1 to 'defer' %(function expected" },
      { function() qio.spawn(print):join(-1) end, "#1 to 'join' %(seconds of 0 or more" },
      { function() qio.spawn(print):join(0 / 0) end, "#1 to 'join' %(seconds of 0 or more" },
      { function() a:read(1.5) end, "#1 to 'read' %(integer .* got number 1.5%)" },
      { function() a:readexactly(-1) end, "#1 to 'readexactly' %(integer .* got number %-1%)" },
      { function() a:shutdown(("x"):rep(1000)) end, '#1 to .* got string "x+"%.%.%.%)' },
      { function() qio.connect("unix:/a\0b") end, "#1 to 'connect' %(string without zero bytes" },
      { function() qio.listen("unix:/a\0b") end, "#1 to 'listen' %(string without zero bytes" },
      { function() qio.file("a\0b") end, "#1 to 'file' %(string without zero bytes" },
      { function() qio.command({ "a\0b" }) end, "#1 to 'command' %(strings without zero bytes" },
      { function() a:name("a\0b") end, "#1 to 'name' %(string without zero bytes" },
      { function() qio.connect("null:", { mode = "a\0b" }) end,
        "#2 to 'connect' %(option 'mode': there is a zero" },
      { function() qio.connect("null:", { timeout = 2 ^ 63 }) end,
        "#2 .*option 'timeout': .* seconds" },
      { function() qio.command({ "true" }, { env = { A = {} } }) end,
        "#2 to 'command' %(option 'env': the value of A is a table" },
      { function() qio.command({ "true" }, { env = { ["A=b"] = "" } }) end,
        "#2 to 'command' %(option 'env': a name without '=' expected" },
    }
    for _, case in ipairs(cases) do
      assert.error_matches(case[1], "misuse_spec.lua:%d+: bad argument " .. case[2])
    end
    a:close()
    b:close()
  end)

  it("takes any time that is a time", function()
    for _, time in ipairs({ 1e10, 1e300, 1 / 0 }) do
      assert.is_true(qio.loop():add_timer(time, print, time):remove())
      local a, b = qio.pair()
      assert.is_true(a:settimeout(time))
      b:write("x")
      assert.equal("x", a:read())
      a:close()
      b:close()
      qio.spawn(function() end)
      assert.is_true(qio.step(time))
    end
  end)
end)

describe("what may turn the loop", function()
  local CALLS = {
    function() qio.run() end, function() qio.step() end,
    function() qio.loop():run() end, function() qio.loop():step() end,
  }

  it("is refused in a task, at the line of the caller", function()
    local task = qio.spawn(function()
      for _, call in ipairs(CALLS) do
        assert.error_matches(call, "misuse_spec.lua:%d+: [%w.:]+ inside a task")
      end
    end)
    local ok, err, code = task:join()
    assert.equal(nil, code, err)
    assert.is_nil(ok)
  end)

  it("is refused in a callback, at the line of the caller, as every wait but for a channel",
     function()
    local command = qio.command({ "cat" })
    local calls = {
      function() qio.sleep(0) end, function() command:waitexit() end,
      function() qio.spawn(print):join() end,
    }
    for _, call in ipairs(CALLS) do calls[#calls + 1] = call end
    local seen = 0
    for _, call in ipairs(calls) do
      qio.loop():defer(function()
        assert.error_matches(call, "misuse_spec.lua:%d+: .* inside a callback of the loop")
        seen = seen + 1
      end)
    end
    qio.step(1)
    assert.equal(#calls, seen)
    command:close()
  end)
end)

describe("a closed channel", function()
  it("gives a result, never an error", function()
    local a, b = qio.pair()
    a:close()
    for _, call in ipairs({
      function() return a:read() end, function() return a:write("x") end,
      function() return a:readline() end, function() return a:readexactly(3) end,
      function() return a:readall() end, function() return a:peek(1) end,
      function() return a:sendfds("x", {}) end, function() return a:recvfds() end,
    }) do
      local value, msg, code = call()
      assert.is_nil(value)
      assert.equal("closed", msg)
      assert.equal(qio.errno.CLOSED, code)
    end
    assert.is_true(a:close())
    assert.equal("socket", a:kind())
    b:close()
  end)
end)
