# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction budgets of the Lua module and of qio.ffi: what an operation costs, counted, never
timed.

User-space instructions under callgrind, the interpreter's own and the libc wrappers of the system
calls included.  They vary by a few in a hundred; who goes over one looks for what was added to the
path, and raises it only with a reason in the commit.
"""

import re
import subprocess

import pytest

FEW, MANY = 1000, 5000

# A read of a channel that is written in Lua, made from Lua.
METHOD = '''
local qio = require "qio"
local data = "12345"
local ch = qio.newclass({ read = function() return data end })()
for _ = 1, tonumber(arg[1]) do assert(ch:read(5) == data) end
'''

# A message, and the event that tells of it.
QUEUE = '''
local qio = require "qio.ffi"
local ffi = require "ffi"
local loop = assert(qio.loop())
local a, b = assert(qio.pair())
local watch = assert(loop:watch(b, qio.C.QIOH_IN, 1))
local events, buf = qio.events(8), ffi.new("uint8_t[64]")
for _ = 1, tonumber(arg[1]) do
  assert(a:try_writefrom(buf, 64) == 64)
  assert(loop:next_events(events, 8, -1) == 1)
  assert(events[0].channel:try_readinto(buf, 64) == 64)
end
watch:remove()
'''


def instructions(lua, program, n):
    # LuaJIT writes code while it runs.
    err = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
                          '--smc-check=all-non-file', lua, program, str(n)],
                         check=True, capture_output=True, text=True, timeout=50).stderr
    return int(re.search(r'Collected : (\d+)', err)[1])


@pytest.mark.timeout(120)
@pytest.mark.needs('valgrind')
@pytest.mark.parametrize('lua, script, budget', [
    pytest.param('lua5.4', METHOD, 3000, marks=pytest.mark.needs('lua5.4'), id='method'),
    pytest.param('luajit', QUEUE, 1970, marks=pytest.mark.needs('luajit'), id='queue'),
])
def test_an_operation_stays_within_its_budget(tmp_path, lua, script, budget):
    program = tmp_path / 'program.lua'
    program.write_text(script, encoding='utf-8')
    each = (instructions(lua, program, MANY) - instructions(lua, program, FEW)) / (MANY - FEW)
    print(f'{lua}: {each:.0f} instructions, budget {budget}')
    assert each <= budget
