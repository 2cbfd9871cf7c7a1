# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rockspec: its fields, the files that it names, and the rock built from what scripts/rock
puts together, without a network and without SWIG."""

import json
import os
import subprocess

import pytest

from flat import BUILD, ROOT

SPEC = ROOT / 'qio-scm-1.rockspec'
LAYER = ROOT / 'bindings/lua'
READ = """
local env = {}
local chunk
if setfenv then
  chunk = setfenv(assert(loadfile(arg[1])), env)
else
  chunk = assert(loadfile(arg[1], "t", env))
end
chunk()
local function write(value)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value):gsub("\\\\\\n", "\\\\n") or tostring(value)
  end
  local parts, list = {}, #value > 0
  for key, one in pairs(value) do
    parts[#parts + 1] = list and write(one) or ("%q:%s"):format(key, write(one))
  end
  return (list and "[%s]" or "{%s}"):format(table.concat(parts, ","))
end
print((write(env)))
"""


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=100, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def spec(tmp_path_factory):
    script = tmp_path_factory.mktemp('spec') / 'read.lua'
    script.write_text(READ)
    return json.loads(run('lua5.4', script, SPEC))


@pytest.mark.needs('lua5.4')
def test_fields(spec):
    assert set(spec) == {'rockspec_format', 'package', 'version', 'source', 'description',
                         'dependencies', 'supported_platforms', 'external_dependencies', 'build'}
    assert SPEC.name == f'{spec["package"]}-{spec["version"]}.rockspec'
    assert spec['rockspec_format'] == '3.0'
    assert spec['description']['license'] == 'LGPL-2.1-or-later'
    assert spec['dependencies'] == ['lua >= 5.1, < 5.5']
    assert spec['external_dependencies'] == {'QIO': {'header': 'qio/qioh.h', 'library': 'qio'}}
    assert spec['build']['type'] == 'builtin'


@pytest.mark.needs('lua5.4')
def test_every_file_of_the_module_is_named_and_there(spec):
    modules = dict(spec['build']['modules'])
    core = modules.pop('qio.core')
    layer = {str(path.relative_to(ROOT)) for path in LAYER.rglob('*.lua')
             if 'types' not in path.parts}
    layer.remove('bindings/lua/qio/ffi.lua')        # reads the header of the ABI: is not of Lua
    assert set(modules.values()) == layer
    for name, file in modules.items():
        assert file == 'bindings/lua/' + name.replace('.', '/') + '.lua'
    sources = {str(path.relative_to(ROOT)) for path in LAYER.glob('qio_core_*.c')}
    assert set(core['sources']) == sources | {'bindings/lua/qio_core_wrap.c'}
    assert core['libraries'] == ['qio', 'pthread']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp('rock')
    run(ROOT / 'scripts/rock', where)
    return where


@pytest.mark.needs('lua5.4', 'swig', 'tar')
def test_the_archive_has_what_the_rockspec_names(folder, spec):
    names = run('tar', '-tzf', folder / spec['source']['url']).splitlines()
    files = {name.removeprefix('qio-scm-1/') for name in names if not name.endswith('/')}
    core = spec['build']['modules']['qio.core']
    assert files >= {'qio-scm-1.rockspec', 'LICENSE', 'bindings/lua/qio_core_rt.h',
                     'bindings/lua/qio_core_wrap.c', 'bindings/lua/qio/sched.lua',
                     *core['sources']}


@pytest.mark.needs('luarocks', 'lua5.4', 'swig', 'gcc')
def test_the_rock_is_built_and_works(folder, tmp_path):
    version = '5.4'
    run('luarocks', f'--lua-version={version}', '--tree', tmp_path / 'tree', 'make',
        f'QIO_INCDIR={BUILD}/core/include', f'QIO_LIBDIR={BUILD}/core',
        cwd=folder / 'qio-scm-1', env=dict(os.environ, HOME=str(tmp_path)))
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('LUA_')}
    environment['LUA_PATH'] = f'{tmp_path}/tree/share/lua/{version}/?.lua'
    environment['LUA_CPATH'] = f'{tmp_path}/tree/lib/lua/{version}/?.so'
    output = run(f'lua{version}', '-e', 'local qio = require "qio" local a, b = qio.pair() '
                 'a:write("from a rock\\n") print(b:readline(), require "qio.compat.socket"._VERSION)',
                 env=environment)
    assert output.startswith('from a rock\t')
