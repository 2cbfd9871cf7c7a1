# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the Lua specs and the guide's examples under each interpreter, and does to one what only
an outside can: Ctrl-C."""

import importlib.util
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

import pytest

from flat import BUILD

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPECS = sorted((ROOT / 'tests/lua').glob('*_spec.lua'))
LUAS = ['lua5.1', 'lua5.3', 'lua5.4', 'luajit']
FOR_LUAJIT = {'ffi_spec'}
RUNNER = ROOT / 'tests/lua/runner.lua'


def environment_of(lua, **more):
    """5.1 and LuaJIT look at one variable, and each has a module of its own."""
    environment = dict(os.environ, **more)
    if lua == 'lua5.1':
        environment['LUA_CPATH'] = f'{BUILD}/bindings/lua/5.1/?.so;;'
    return environment


def cases():
    for lua in LUAS:
        for spec in SPECS:
            if lua == 'luajit' or spec.stem not in FOR_LUAJIT:
                yield pytest.param(lua, spec, id=f'{lua}-{spec.stem}', marks=pytest.mark.needs(lua))


@pytest.mark.timeout(120)
@pytest.mark.parametrize('lua, spec', cases())
def test_spec(request, lua, spec, tmp_path):
    environment = environment_of(lua, QIO_TEST_DIR=str(tmp_path))
    if spec.stem == 'layer_spec':
        environment['QIO_TEST_PKI'] = str(request.getfixturevalue('pki').dir)
    done = subprocess.run([lua, RUNNER, spec], capture_output=True, text=True, timeout=100,
                          env=environment, stdin=subprocess.DEVNULL, check=False)
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith('not ok')]
    assert done.returncode == 0 and not failed, done.stdout + done.stderr
    passed = [line for line in lines if line.startswith('ok ')]
    assert passed and lines[-1] == f'1..{len(passed)}', done.stdout + done.stderr


def examples():
    """The Lua blocks of the guide: `lua`, `lua 5.4` or `lua jit` for one interpreter, `lua not-5.1`
    for all but one."""
    text = (ROOT / 'docs/lua.md').read_text(encoding='utf-8')
    blocks = re.findall(r'^```lua *(\S*)\n(.*?)^```', text, re.M | re.S)
    assert len(blocks) > 5
    for number, (only, code) in enumerate(blocks, 1):
        for lua in LUAS:
            name = only.removeprefix('not-')
            if (name in lua) == (name == only):
                yield pytest.param(lua, code, id=f'{lua}-{number}', marks=pytest.mark.needs(lua))


@pytest.mark.timeout(60)
@pytest.mark.parametrize('lua, code', examples())
def test_example_of_the_guide(lua, code):
    done = subprocess.run([lua, '-e', code], capture_output=True, text=True, timeout=50,
                          stdin=subprocess.DEVNULL, env=environment_of(lua), check=False)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


# Each waits for ever; a line says that it is about to.
WAITS = {
    'read': 'local a, b = qio.pair() ready() b:read(1)',
    'write': 'local a, b = qio.pair() ready() while true do a:write(("x"):rep(65536)) end',
    'readline': 'local a, b = qio.pair() a:write("no end") ready() b:readline()',
    'accept': 'local l = assert(qio.listen("tcp://127.0.0.1:0")) ready() l:accept()',
    'connect': 'local name = "abstract:qio-lua-full-" .. tostring({}):match("%w+$") '
               'local l = assert(qio.listen(name, { backlog = 1 })) local held = {} repeat '
               'local c = qio.connect(name, { timeout = 0.05 }) held[#held + 1] = c until not c '
               'ready() qio.connect(name)',
    'sleep': 'ready() qio.sleep(1000)',
    'run': 'qio.spawn(function() local a, b = qio.pair() ready() b:read(1) end) qio.run()',
    'join': 'local t = qio.spawn(function() ready() qio.sleep(1000) end) t:join()',
    'loop': 'local l = qio.loop() ready() l:run()',
    'waitexit': 'local c = assert(qio.command{"sleep", "1000"}) print(c:pid()) ready() '
                'local ok, msg = pcall(c.waitexit, c) c:kill(9) c:waitexit() error(msg, 0)',
    'close': 'local c = assert(qio.command({"sleep", "1000"}, { close_timeout = 1000 })) ready() '
             'local ok, msg = pcall(c.close, c) c:kill(9) c:close() error(msg, 0)',
    'accept_in_task': 'local l = assert(qio.listen("tcp://127.0.0.1:0")) '
                      'qio.spawn(function() ready() l:accept() end) qio.run()',
}


def wait_until_asleep(pid):
    """Until the process waits in the kernel; it has nothing else to wait for on the way there."""
    while True:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            if file.read().rpartition(')')[2].split()[0] in 'SZ':
                return
        os.sched_yield()


@pytest.mark.timeout(60)
@pytest.mark.parametrize('lua', [pytest.param(lua, marks=pytest.mark.needs(lua)) for lua in LUAS])
@pytest.mark.parametrize('name', WAITS)
def test_interrupt_ends_a_wait(lua, name):
    script = 'local qio = require "qio"\n' \
        'local function ready() print("ready") io.stdout:flush() end\n' + WAITS[name]
    with subprocess.Popen([lua, '-e', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, env=environment_of(lua)) as child:
        try:
            while 'ready' not in child.stdout.readline():
                pass
            wait_until_asleep(child.pid)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert 'interrupted!' in err, err
    assert child.returncode == 1


# The main chunk is interrupted in a wait and goes on: alone, and while tasks exist.
AFTER = {
    'alone': '',
    'with_tasks': 'qio.spawn(function() qio.sleep(1000) end)',
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize('lua', [pytest.param(lua, marks=pytest.mark.needs(lua)) for lua in LUAS])
@pytest.mark.parametrize('name', AFTER)
def test_channels_work_after_an_interrupt(lua, name):
    script = 'local qio = require "qio"\n' + AFTER[name] + """
        local a, b = qio.pair()
        a:write("half ")
        print("ready") io.stdout:flush()
        local ok, err = pcall(b.readline, b)
        assert(not ok and err:find("interrupted"))
        a:write("line\\n")
        assert(b:readline() == "half line")
        local t = qio.spawn(function() return b:readexactly(2) end)
        a:write("ok")
        print(t:join())
    """
    with subprocess.Popen([lua, '-e', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, env=environment_of(lua)) as child:
        try:
            assert child.stdout.readline() == 'ready\n'
            wait_until_asleep(child.pid)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert (out, err, child.returncode) == ('ok\n', '', 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('lua', [pytest.param(lua, marks=pytest.mark.needs(lua)) for lua in LUAS])
def test_no_descriptor_left_is_a_result(lua):
    """Opening, waiting (which needs a loop) and accepting say EMFILE, and work again later."""
    script = """
        local qio = require "qio"
        local a, b = qio.pair()
        local held, msg, code = {}
        repeat
          held[#held + 1], msg, code = qio.file("/dev/null")
        until code
        assert(code == qio.errno.EMFILE and msg:find("Too many open files"), msg)
        local task = qio.spawn(function() return b:read() end)
        local ok, why, number = task:join()
        assert(not ok and number == qio.errno.EMFILE, tostring(why))
        assert(select(3, qio.pair()) == qio.errno.EMFILE)
        assert(select(3, qio.listen("tcp://127.0.0.1:0")) == qio.errno.EMFILE)
        for _, ch in ipairs(held) do ch:close() end
        a:write("fine")
        print(task:join())
    """
    done = subprocess.run([lua, '-e', script], capture_output=True, text=True, timeout=50,
                          stdin=subprocess.DEVNULL, check=False, env=environment_of(lua),
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))
    assert (done.stdout, done.stderr, done.returncode) == ('fine\n', '', 0)


def test_every_function_of_the_abi_is_there_or_left_out_for_a_reason():
    spec = importlib.util.spec_from_file_location('abi', ROOT / 'tools/abi.py')
    abi = importlib.util.module_from_spec(spec)
    sys.modules['abi'] = abi        # its dataclasses look for it
    spec.loader.exec_module(abi)
    functions = {function.name.removeprefix('qioh_') for function in abi.parse().functions}
    text = (ROOT / 'bindings/lua/qio_core.i').read_text(encoding='utf-8')
    reasons = text[text.index('What is left out'):text.index('%module')]
    script = 'for name in pairs(require "qio.core") do print(name) end'
    there = set(subprocess.run(['lua5.4', '-e', script], capture_output=True, text=True,
                               timeout=30, check=True).stdout.split())
    assert len(functions) > 90
    missing = {name for name in functions - there if not name.endswith('_unref')}
    assert missing <= set(re.findall(r'\w+', reasons)), missing


def test_no_pointer_goes_through_the_checks_of_swig():
    """They take nil and any userdata for a handle: each type needs a typemap of ours, or %ignore."""
    text = (BUILD / 'bindings/lua/qio_core_wrap.c').read_text(encoding='utf-8')
    assert not re.findall(r'SWIG_ConvertPtr\(L,\d.*|SWIG_NewPointerObj\(L,result.*', text)
