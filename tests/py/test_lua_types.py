# SPDX-License-Identifier: LGPL-2.1-or-later
"""The LuaCATS stubs against the module's own tables: none missing, none surplus, and the
parameters' names agree."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUBS = sorted((ROOT / 'bindings/lua/types').glob('*.lua'))
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


def real():
    output = subprocess.run(['lua5.4', '-e', LIST], capture_output=True, text=True, timeout=50,
                            check=True).stdout
    return {(line[0], line[1]): (line[2], line[3])
            for line in (row.split('\t') for row in output.splitlines())}


def text():
    return '\n'.join(path.read_text(encoding='utf-8') for path in STUBS)


def stubs():
    """{(class, name): parameters or None for a field}, with self where it is a method."""
    found = {}
    fields_of = None
    documented = []
    for line in text().splitlines():
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
        if match and fields_of == 'qio':
            found['qio', match[1]] = None
        if line == 'qio.creds = {}':
            found['qio', 'creds'] = None
    return found


@pytest.mark.needs('lua5.4')
def test_stubs_name_what_is_there():
    there, written = real(), stubs()
    assert len(there) > 100
    assert set(there) - set(written) == set(), 'not in the stubs'
    assert set(written) - set(there) == set(), 'only in the stubs'
    for key, (kind, parameters) in there.items():
        assert (written[key] is not None) == (kind == 'function'), key
        if parameters != '?' and kind == 'function':
            assert written[key] == parameters, key


def test_stubs_use_classes_that_they_define():
    defined = set(re.findall(r'^---@(?:class|alias) (qio[\w.]*)', text(), re.M))
    lines = re.findall(r'^---@(?:param|return|field|alias) .*', text(), re.M)
    used = set(re.findall(r'\bqio\.\w+', '\n'.join(lines)))
    assert used - defined == set()


@pytest.mark.needs('lua5.1', 'lua5.4')
@pytest.mark.parametrize('lua', ['lua5.1', 'lua5.4'])
def test_stubs_are_lua(lua):
    for path in STUBS:
        subprocess.run([lua, path], check=True, timeout=50)
