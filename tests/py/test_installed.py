# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a C program finds once the library is installed: headers, pkg-config file, symbols."""

import os
import re
import subprocess

import pytest

from flat import BUILD, ROOT

SOURCES = ROOT / 'tests/installed'
LUA_HEADER = 'qio-lua.h'        # for those who have Lua: no other header leads to it
LUA_PACKAGES = {'5.1': 'qio-lua5.1', '5.3': 'qio-lua5.3', '5.4': 'qio-lua5.4',
                'luajit': 'qio-luajit'}


def run(*command, **environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=55, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installed:
    def __init__(self, root):
        run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', root)
        found = [path for path in root.rglob('qio.pc')]
        assert len(found) == 1
        self.libdir = found[0].parents[1]
        self.headers = next(root.rglob('include/qio'))
        self.environment = {
            'PKG_CONFIG_PATH': str(found[0].parent), 'PKG_CONFIG_SYSROOT_DIR': str(root),
        }
        self.root = root

    def flags(self, package='qio'):
        """With the system's own headers found in the system, not below the folder."""
        own, others = [], []
        for flag in run('pkg-config', '--cflags', '--libs', package, **self.environment).split():
            path = flag[2:]
            (own if os.path.exists(path) or flag.startswith('-l') else others).append(flag)
        return own + [flag[:2] + flag[2:].replace(str(self.root), '', 1) for flag in others]

    def build(self, compiler, source, out, *options, package='qio'):
        run(compiler, '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter',
            '-Wno-missing-field-initializers', *options, SOURCES / source, *self.flags(package),
            '-pthread', '-o', out)
        return self.start(out)

    def start(self, *command):
        return run(*command, LD_LIBRARY_PATH=str(self.libdir))


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp('root'))


@pytest.mark.needs('gcc', 'g++', 'meson', 'pkg-config')
@pytest.mark.parametrize('compiler, options', [
    ('gcc', ['-std=gnu11']), ('g++', ['-x', 'c++', '-std=gnu++11'])])
def test_every_declaration_of_the_2018_header(installed, compiler, options, tmp_path):
    output = installed.build(compiler, 'seed-api.c', tmp_path / 'seed-api', *options)
    assert output == '30 functions, 10 members, type qio-channel\n'


@pytest.mark.needs('gcc', 'meson', 'pkg-config')
def test_a_class_written_from_the_2018_header_alone(installed, tmp_path):
    installed.build('gcc', 'seed-subclass.c', tmp_path / 'seed-subclass', '-std=gnu11', '-g')


@pytest.mark.needs('gcc', 'g++', 'meson', 'pkg-config')
@pytest.mark.parametrize('compiler, suffix', [('gcc', 'c'), ('g++', 'cc')])
def test_every_public_header_stands_alone(installed, compiler, suffix, tmp_path):
    headers = sorted(installed.headers.glob('*.h'))
    assert len(headers) > 15
    for header in headers:
        source = tmp_path / f'{header.stem}.{suffix}'
        if header.name == 'qioh-abi.h':
            continue        # qioh.h is its wrapper
        source.write_text(f'#include <qio/{header.name}>\nint main(void) {{ return 0; }}\n')
        for package in LUA_PACKAGES.values() if header.name == LUA_HEADER else ['qio']:
            run(compiler, '-fsyntax-only', '-Wall', '-Wextra', '-Werror', source,
                *installed.flags(package))


@pytest.mark.needs('meson')
def test_public_headers_are_those_that_qio_h_leads_to(installed):
    from flat import abi
    names = {path.name for path in installed.headers.glob('*.h')}
    assert names - {LUA_HEADER} == set(abi.public_headers())


# ---- programs with Lua in them ----

HOST = ROOT / 'examples/host.c'


@pytest.mark.needs('gcc', 'meson', 'pkg-config')
@pytest.mark.parametrize('kind', LUA_PACKAGES)
def test_a_program_with_a_script_in_it(installed, kind, tmp_path):
    output = installed.build('gcc', HOST, tmp_path / 'host', package=LUA_PACKAGES[kind])
    assert output == 'HELLO FROM C\nAND AGAIN\n'


@pytest.mark.needs('gcc', 'meson', 'pkg-config', 'valgrind')
def test_a_program_with_a_script_in_it_under_valgrind(installed, tmp_path):
    installed.build('gcc', HOST, tmp_path / 'host', '-g', package='qio-lua5.4')
    output = installed.start('valgrind', '-q', '--error-exitcode=9', '--leak-check=full',
                             '--errors-for-leak-kinds=definite,indirect', '--track-fds=yes',
                             tmp_path / 'host')
    assert output == 'HELLO FROM C\nAND AGAIN\n'


@pytest.mark.needs('g++', 'meson', 'pkg-config')
def test_a_program_in_cxx_with_a_script_in_it(installed, tmp_path):
    """lua.hpp first, or nothing of Lua first."""
    for number, first in enumerate(['#include <lua.hpp>', '']):
        source = tmp_path / f'host{number}.cc'
        source.write_text(first + """
#include <qio/qio-lua.h>
extern "C" {
#include <lualib.h>
#include <lauxlib.h>
}
#include <cstdio>
int main()
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    int status = qio_lua_init(L, nullptr, QIO_LUA_HOSTED);
    std::printf("%d %d %d\\n", status, qio_lua_get_fd(L) >= 0, qio_lua_dispatch(L, 0));
    lua_close(L);
    return 0;
}
""")
        assert installed.build('g++', source, tmp_path / f'host{number}',
                               package='qio-lua5.4').startswith('0 1 ')


@pytest.mark.needs('gcc', 'meson')
@pytest.mark.parametrize('kind', LUA_PACKAGES)
def test_the_library_for_lua_defines_what_its_header_declares(installed, kind):
    text = (installed.headers / LUA_HEADER).read_text(encoding='utf-8')
    declared = set(re.findall(r'^[\w *]*?\b(luaopen_qio|qio_lua_\w+)\(', text, re.M))
    lines = run('readelf', '-sW', installed.libdir / f'lib{LUA_PACKAGES[kind]}.a').splitlines()
    visible = {line.split()[7] for line in lines
               if ' GLOBAL DEFAULT ' in line and ' UND ' not in line}
    assert len(declared) > 8
    assert visible == declared | {'luaopen_qio_core'}
