# SPDX-License-Identifier: LGPL-2.1-or-later
"""The LuaCATS stubs against the module's own tables: none missing, none surplus, and the
parameters' names agree."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = ROOT / 'bindings/lua/types'
STUBS = [TYPES / 'channel.lua', TYPES / 'qio.lua']
FUNCTION = re.compile(r'^function ([\w.]+)([.:])(\w+)\(([^)]*)\) end$')

# Prints CLASS NAME KIND and the parameters of what is written in Lua.
LIST = r"""
local qio, core = require "qio", require "qio.core"
local function parameters(fn)
  local info, names = debug.getinfo(fn, "uS"), {}
  if info.what == "C" then return "?" end
  for i = 1, info.nparams do names[i] = debug.getlocal(fn, i) end
  if info.isvararg then names[#names + 1] = "..." end
  return table.concat(names, ",")
end
local function list(class, t)
  for name, value in pairs(t) do
    if not name:find("^__") then
      print(class, name, type(value), type(value) == "function" and parameters(value) or "")
    end
  end
end
list("qio", qio)
list("qio.creds", qio.creds)
for _, class in ipairs { "channel", "listener", "loop", "watch", "fd", "bytes" } do
  list(class, core.methods("qio." .. class))
end
list("task", getmetatable(qio.spawn(function() end)).__index)
list("nursery", getmetatable(qio.nursery()).__index)
local _, instance = qio.newclass { read = function() end }()
local index = {}
for name, value in pairs(getmetatable(instance).__index) do
  if name ~= "read" then index[name] = value end
end
list("instance", index)
"""


COMPAT = LIST[:LIST.index('list("qio"')] + r"""
local socket = require "qio.compat.socket"
list("socket", socket)
list("socket.dns", socket.dns)
list("tcp", getmetatable(socket.tcp()).__index)
"""


def real(script=LIST):
    output = subprocess.run(['lua5.4', '-e', script], capture_output=True, text=True, timeout=50,
                            check=True).stdout
    return {(line[0], line[1]): (line[2], line[3])
            for line in (row.split('\t') for row in output.splitlines())}


def text(paths):
    return '\n'.join(path.read_text(encoding='utf-8') for path in paths)


def stubs(paths, module='qio'):
    """{(class, name): parameters or None for a field}, with self where it is a method; module: the
    class whose fields count, named by the last part."""
    name = module.rpartition('.')[2]
    found = {}
    fields_of = None
    documented = []
    for line in text(paths).splitlines():
        match = FUNCTION.match(line)
        if match:
            names = [name for name in match[4].replace(' ', '').split(',') if name]
            assert documented == names, f'{line}: @param says {documented}'
            assert (match[1], match[3]) not in found
            found[match[1], match[3]] = ','.join((['self'] if match[2] == ':' else []) + names)
        if line.startswith('---@param '):
            documented.append(line.split()[1].rstrip('?'))
        elif not line.startswith('---'):
            documented = []
        match = re.match(r'---@class ([\w.]+)', line)
        if match:
            fields_of = match[1]
        match = re.match(r'---@field (\w+) ', line)
        if match and fields_of == module:
            found[name, match[1]] = None
        match = re.match(r'(\w+)\.(\w+) = \{\}$', line)
        if match:
            found[match[1], match[2]] = None
    return found


def check(there, written):
    assert set(there) - set(written) == set(), 'not in the stubs'
    assert set(written) - set(there) == set(), 'only in the stubs'
    for key, (kind, parameters) in there.items():
        assert (written[key] is not None) == (kind == 'function'), key
        if parameters != '?' and kind == 'function':
            assert written[key] == parameters, key


@pytest.mark.needs('lua5.4')
def test_stubs_name_what_is_there():
    there = real()
    assert len(there) > 100
    check(there, stubs(STUBS))


@pytest.mark.needs('lua5.4')
def test_stubs_of_luasocket_names():
    there = real(COMPAT)
    assert len(there) > 40
    check(there, stubs([TYPES / 'compat.lua'], 'qio.compat.socket'))


@pytest.mark.needs('luajit')
def test_stubs_of_the_ffi():
    """Its methods belong to metatypes, which nobody can look into: they are what the source says."""
    source = (ROOT / 'bindings/lua/qio/ffi.lua').read_text(encoding='utf-8')
    there = {(match[1], match[3]): ','.join((['self'] if match[2] == ':' else []) +
                                           match[4].replace(' ', '').split(',')).rstrip(',')
             for match in re.finditer(r'^function (\w+)([.:])(\w+)\(([^)]*)\)$', source, re.M)
             if not match[3].startswith('__')}
    output = subprocess.run(['luajit', '-e', 'for name, value in pairs(require "qio.ffi") do '
                             'print(name, type(value)) end'],
                            capture_output=True, text=True, timeout=50, check=True).stdout
    written = stubs([TYPES / 'ffi.lua'], 'qio.ffi')
    names = dict(line.split('\t') for line in output.splitlines())
    assert {name for kind, name in written if kind == 'ffi' or kind == 'qio'} == set(names)
    functions = {key: value for key, value in written.items() if value is not None}
    assert functions == there


def test_stubs_use_classes_that_they_define():
    everything = text(TYPES.glob('*.lua'))
    defined = set(re.findall(r'^---@(?:class|alias) (qio[\w.]*)', everything, re.M))
    lines = re.findall(r'^---@(?:param|return|field|alias) .*', everything, re.M)
    used = set(re.findall(r'\bqio\.[\w.]+', '\n'.join(lines)))
    assert used - defined == set()


@pytest.mark.needs('lua5.1', 'lua5.4')
@pytest.mark.parametrize('lua', ['lua5.1', 'lua5.4'])
def test_stubs_are_lua(lua):
    for path in TYPES.glob('*.lua'):
        subprocess.run([lua, path], check=True, timeout=50)
