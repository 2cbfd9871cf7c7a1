# SPDX-License-Identifier: LGPL-2.1-or-later
"""A module that was built for another Lua: an error that says so, never a crash."""

import os
import subprocess

import pytest

from flat import BUILD, ROOT

LUAS = {'lua5.1': '5.1', 'lua5.3': '5.3', 'lua5.4': '5.4', 'luajit': 'luajit'}


def require(lua, kind, script='print(require "qio"._NAME)'):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('LUA_CPATH')}
    environment['LUA_CPATH'] = f'{BUILD}/bindings/lua/{kind}/?.so'
    return subprocess.run([lua, '-e', script], capture_output=True, text=True, timeout=50,
                          env=environment, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize('kind', LUAS.values())
@pytest.mark.parametrize('lua', [pytest.param(lua, marks=pytest.mark.needs(lua)) for lua in LUAS])
def test_a_module_for_another_lua(lua, kind):
    done = require(lua, kind)
    if LUAS[lua] == kind or (lua, kind) == ('luajit', '5.1'):
        assert (done.stdout, done.stderr, done.returncode) == ('qio\n', '', 0)
    else:
        assert done.returncode == 1
        assert 'qio.core was built for another Lua than this' in done.stderr
        assert f'{BUILD}/bindings/lua/{kind}/qio/core.so' in done.stderr


@pytest.mark.needs('luajit')
def test_the_module_for_5_1_in_luajit():
    """What is installed for both: a task, a channel, pcall."""
    done = require('luajit', '5.1', """
        local qio = require "qio"
        local a, b = qio.pair()
        local task = qio.spawn(function() return pcall(b.readline, b) end)
        qio.step()
        a:write("through pcall\\n")
        print(task:join())
    """)
    assert (done.stdout, done.stderr, done.returncode) == ('true\tthrough pcall\n', '', 0)


HOST = """
#include <stdio.h>
#include <lauxlib.h>
#include <lualib.h>
/* Lua asks the library's own function, which this is put before. */
static lua_Number says = LUA_VERSION_NUM;
#if LUA_VERSION_NUM == 503
const lua_Number *lua_version(lua_State *L) { return &says; }
#else
lua_Number lua_version(lua_State *L) { return says; }
#endif
int main(void)
{
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    says = 599;
    if (luaL_dostring(L, "print(pcall(require, 'qio'))")) {
        puts(lua_tostring(L, -1));
    }
    lua_close(L);
    return 0;
}
"""


@pytest.mark.needs('gcc', 'pkg-config')
@pytest.mark.parametrize('kind', ['5.3', '5.4'])
def test_a_module_for_an_older_lua_with_the_same_symbols(kind, tmp_path):
    (tmp_path / 'host.c').write_text(HOST)
    flags = subprocess.run(['pkg-config', '--cflags', '--libs', f'lua{kind}'], check=True,
                           capture_output=True, text=True, timeout=50).stdout.split()
    subprocess.run(['gcc', '-rdynamic', tmp_path / 'host.c', *flags, '-o', tmp_path / 'host'],
                   check=True, timeout=50)
    done = subprocess.run([tmp_path / 'host'], capture_output=True, text=True, timeout=50,
                          check=True)
    assert 'false' in done.stdout and 'version mismatch' in done.stdout, done.stdout
