-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- The Lua module as a rock, over an installed libqio.  scripts/rock puts together the archive that
-- source.url names, with the wrapper in it, so that building it takes no SWIG:
--
--   scripts/rock && cd build/rock/qio-scm-1 && luarocks make
rockspec_format = "3.0"
package = "qio"
version = "scm-1"

source = {
  url = "qio-scm-1.tar.gz",
  dir = "qio-scm-1",
}

description = {
  summary = "I/O channels: sockets, files, commands, TLS and WebSocket behind one object, with tasks",
  detailed = [[
    Channels that look blocking and are not: in a task an operation suspends the task, in the main
    chunk it lets the tasks run until it is done.]],
  license = "LGPL-2.1-or-later",
  labels = { "network", "io", "async", "tls", "websocket" },
}

dependencies = { "lua >= 5.1, < 5.5" }

supported_platforms = { "linux" }

external_dependencies = {
  QIO = { header = "qio/qioh.h", library = "qio" },
}

build = {
  type = "builtin",
  modules = {
    ["qio.core"] = {
      sources = {
        "bindings/lua/qio_core_wrap.c",
        "bindings/lua/qio_core_box.c",
        "bindings/lua/qio_core_cb.c",
        "bindings/lua/qio_core_custom.c",
        "bindings/lua/qio_core_io.c",
        "bindings/lua/qio_core_layer.c",
        "bindings/lua/qio_core_rt.c",
        "bindings/lua/qio_core_task.c",
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "bindings/lua", "$(QIO_INCDIR)" },
      libdirs = { "$(QIO_LIBDIR)" },
      libraries = { "qio", "pthread" },
    },
    ["qio"] = "bindings/lua/qio.lua",
    ["qio.channel"] = "bindings/lua/qio/channel.lua",
    ["qio.check"] = "bindings/lua/qio/check.lua",
    ["qio.compat.socket"] = "bindings/lua/qio/compat/socket.lua",
    ["qio.layer"] = "bindings/lua/qio/layer.lua",
    ["qio.listener"] = "bindings/lua/qio/listener.lua",
    ["qio.newclass"] = "bindings/lua/qio/newclass.lua",
    ["qio.nursery"] = "bindings/lua/qio/nursery.lua",
    ["qio.options"] = "bindings/lua/qio/options.lua",
    ["qio.relay"] = "bindings/lua/qio/relay.lua",
    ["qio.sched"] = "bindings/lua/qio/sched.lua",
    ["qio.task"] = "bindings/lua/qio/task.lua",
  },
  copy_directories = {},
}
