/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host.c: a C program with a Lua script inside: the program has the loop and one end of a
 * channel, the script has the other end and tasks.
 *
 *   cc host.c $(pkg-config --cflags --libs qio-lua5.4) -o host
 *
 * (or qio-luajit, qio-lua5.3, qio-lua5.1).  Prints what the script answers.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <lua.h>
#include <lualib.h>
#include <lauxlib.h>
#include <qio/channel-socket.h>
#include <qio/qio-lua.h>

static const char script[] =
    "local qio = require 'qio'\n"
    "local ch = ...\n"
    "qio.spawn(function()\n"
    "  local line = ch:readline()              -- suspends the task, never the program\n"
    "  while line do\n"
    "    ch:write(line:upper(), '\\n')\n"
    "    line = ch:readline()\n"
    "  end\n"
    "  ch:close()\n"
    "end)\n";

static int complain(lua_State *L, const char *what)
{
    const char *text = lua_tostring(L, -1);

    fprintf(stderr, "%s: %s\n", what, text ? text : "an error without a text");
    return 1;
}

/* Protected, as it raises; the channel is at 1. */
static int start_script(lua_State *L)
{
    if (luaL_loadstring(L, script) != 0) {
        return lua_error(L);
    }
    qio_lua_push(L, (QIOChannel *)lua_touserdata(L, 1));
    lua_call(L, 1, 0);
    return 0;
}

/* The program's own loop: its end of the channel, and the script's descriptor. */
static int serve(lua_State *L, int fd)
{
    struct pollfd fds[2] = { { fd, POLLIN, 0 }, { qio_lua_get_fd(L), POLLIN, 0 } };
    char answer[100];
    ssize_t n;

    if (fds[1].fd < 0) {
        return complain(L, "qio_lua_get_fd");
    }
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            perror("poll");
            return 1;
        }
        if (fds[1].revents && qio_lua_dispatch(L, 0) < 0) {
            return complain(L, "qio_lua_dispatch");
        }
        if (fds[0].revents) {
            n = recv(fd, answer, sizeof answer, 0);
            if (n <= 0) {
                return n < 0;                       /* the script has closed its end */
            }
            fwrite(answer, 1, (size_t)n, stdout);
        }
    }
}

static int run(lua_State *L, int fd, QIOChannel *channel)
{
    static const char request[] = "hello from C\nand again\n";

    if (qio_lua_init(L, NULL, QIO_LUA_HOSTED) != 0) {
        return complain(L, "qio_lua_init");
    }
    lua_pushcfunction(L, start_script);
    lua_pushlightuserdata(L, channel);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        return complain(L, "the script");
    }
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 || shutdown(fd, SHUT_WR) < 0) {
        perror("send");
        return 1;
    }
    return serve(L, fd);
}

int main(void)
{
    lua_State *L = luaL_newstate();
    QIOChannelSocket *channel;
    Error *err = NULL;
    int fds[2], status;

    if (!L || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        perror("start");
        return 1;
    }
    channel = qio_channel_socket_new_fd(fds[1], &err);
    if (!channel) {
        fprintf(stderr, "%s\n", qio_error_get_pretty(err));
        return 1;
    }
    luaL_openlibs(L);
    status = run(L, fds[0], QIO_CHANNEL(channel));
    lua_close(L);
    qio_object_unref(channel);
    return status;
}
