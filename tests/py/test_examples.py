# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every file of examples/ runs, against the real peer where it has one, and meets bad peers."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

import qio

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'
sys.path.insert(0, str(EXAMPLES))

from demo_qmp import StorageDaemon, known_data  # noqa: E402
from qmp import CommandError, ProtocolError  # noqa: E402

MIB = 1024 * 1024
PYTHON = sys.executable
DEMO_TOOLS = ('qemu-storage-daemon', 'lua5.4', 'luajit', 'certtool', 'chromium')


def run(*argv, **keys):
    """A program that has to end by itself: its status, output and error output as text."""
    return subprocess.run([str(arg) for arg in argv], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=40, check=False, **keys)


def output_of(*argv, **keys):
    done = run(*argv, **keys)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ''
    return done.stdout


# ---- the short ones ----

def test_layers_py():
    assert output_of(PYTHON, '-X', 'dev', EXAMPLES / 'layers.py') == 'HELLO OVER TLS1.3\n'


def test_aio_echo_py():
    assert output_of(PYTHON, '-X', 'dev', EXAMPLES / 'aio_echo.py') == (
        'hello over socket\nhello 0 over tls\nhello 1 over tls\n')


def test_custom_py():
    assert output_of(PYTHON, '-X', 'dev', EXAMPLES / 'custom.py') == (
        'HELLO FROM THE INSIDE\nthe wire has TLS records only\n')


def test_hello_py():
    assert output_of(PYTHON, '-X', 'dev', EXAMPLES / 'hello.py') == 'HELLO FROM PYTHON\n'


@pytest.mark.needs('lua5.4')
def test_hello_lua():
    lines = output_of('lua5.4', EXAMPLES / 'hello.lua').splitlines()
    assert sorted(lines) == ['HELLO FROM ANOTHER TASK', 'HELLO FROM LUA']


@pytest.mark.needs('lua5.4')
@pytest.mark.parametrize('host', ['luv', 'cqueues'])
def test_hosted_lua(host):
    if subprocess.run(['lua5.4', '-e', f'require "{host}"'], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip(f'not installed: lua-{host}')
    lines = output_of('lua5.4', EXAMPLES / 'hosted.lua', host)
    assert lines == f'HELLO FROM {host.upper()}\n'


@pytest.mark.needs('luajit')
def test_hello_luajit():
    assert output_of('luajit', EXAMPLES / 'ffi' / 'hello.lua') == 'HELLO FROM LUAJIT\n'


def test_hello_ctypes():
    path = EXAMPLES / 'ffi' / 'hello_ctypes.py'
    assert output_of(PYTHON, '-X', 'dev', path) == 'HELLO FROM CTYPES\n'


def test_hello_cffi():
    pytest.importorskip('cffi')
    assert output_of(PYTHON, EXAMPLES / 'ffi' / 'hello_cffi.py') == 'HELLO FROM CFFI\n'


@pytest.mark.needs('cc', 'pkg-config')
def test_hello_c(tmp_path):
    """As its first line says, with nothing but what pkg-config gives."""
    flags = output_of('pkg-config', '--cflags', '--libs', 'qio').split()
    program = tmp_path / 'hello'
    output_of('cc', '-Wall', '-Wextra', '-Werror', EXAMPLES / 'hello.c', '-o', program, *flags)
    assert output_of(program) == 'HELLO FROM C\n'


def test_fdpass(tmp_path):
    (tmp_path / 'file').write_bytes(known_data(3 * MIB + 17))
    text = output_of(PYTHON, '-X', 'dev', EXAMPLES / 'fdpass.py', tmp_path / 'file')
    assert f'which read {3 * MIB + 17} bytes' in text
    assert text.endswith('which is what the file holds\n')


def test_serve200():
    text = output_of(PYTHON, '-X', 'dev', EXAMPLES / 'serve200.py')
    assert text.startswith('200 clients served, 200 of them at once\n1000 lines, ')
    assert text.endswith('every line came back to its client as it was sent\n')


def test_serve200_tells_of_clients_that_fail(tmp_path, monkeypatch):
    """Clients that cannot start end the server, with their status."""
    import serve200

    (tmp_path / 'python').write_text('#!/bin/sh\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    with pytest.raises(RuntimeError, match='ended with status 3'):
        serve200.serve()


# ---- the storage daemon ----

@pytest.fixture
def daemon(tmp_path):
    """The daemon with one exported disk of 2 MiB, and the file that the disk is."""
    path = tmp_path / 'disk.img'
    path.write_bytes(known_data(2 * MIB))
    with StorageDaemon(str(tmp_path)) as running:
        running.add_disk('disk', str(path))
        running.start_nbd()
        running.export('disk', 'disk', 'a disk')
        running.path = path
        yield running


@pytest.mark.needs('qemu-storage-daemon')
def test_qmp_schema(daemon):
    before = daemon.qmp.received
    schema = daemon.qmp.execute('query-qmp-schema')
    assert daemon.qmp.received - before > 100_000
    assert {'name': 'quit', 'ret-type': '0', 'meta-type': 'command', 'arg-type': '0'}.keys() <= \
        next(entry for entry in schema if entry['name'] == 'quit').keys()


@pytest.mark.needs('qemu-storage-daemon')
def test_qmp_refusals(daemon):
    with pytest.raises(CommandError) as caught:
        daemon.qmp.execute('no-such-command')
    assert caught.value.error_class == 'CommandNotFound'
    assert 'no-such-command' in caught.value.desc
    with pytest.raises(CommandError) as caught:
        daemon.add_disk('other', str(daemon.path) + '.missing')
    assert caught.value.error_class == 'GenericError'
    assert 'No such file' in caught.value.desc
    assert daemon.qmp.execute('query-block-exports')[0]['id'] == 'export-disk'


@pytest.mark.needs('qemu-storage-daemon')
def test_daemon_quits(daemon):
    assert daemon.quit() == 0
    assert [event['event'] for event in daemon.qmp.events] == ['BLOCK_EXPORT_DELETED']
    with pytest.raises((ProtocolError, ConnectionResetError)):
        daemon.qmp.wait_event('NEVER')


@pytest.mark.needs('qemu-storage-daemon')
def test_daemon_is_closed_without_quit(daemon):
    daemon.close()
    assert daemon.command.returncode == 0


def test_daemon_that_cannot_start(tmp_path, monkeypatch):
    fake = tmp_path / 'qemu-storage-daemon'
    fake.write_text('#!/bin/sh\nexit 7\n')
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    with pytest.raises(RuntimeError, match='qemu-storage-daemon ended: exit status 7'):
        StorageDaemon(str(tmp_path))


@pytest.mark.needs('qemu-storage-daemon', 'lua5.4')
def test_nbd_lua(daemon):
    lines = output_of('lua5.4', EXAMPLES / 'nbd.lua', daemon.nbd_uri, 'disk',
                      daemon.path).splitlines()
    for number, line in enumerate(lines[:2], 1):
        assert line.startswith(f"connection {number}: 'disk' has {2 * MIB} bytes")
        assert line.endswith('16 reads of 65536 bytes equal the file')
    order = lines[2].removeprefix('blocks came in over connections ').split()
    assert order.count('1') == order.count('2') == 16 and len(order) == 32


@pytest.mark.needs('qemu-storage-daemon', 'lua5.4')
@pytest.mark.parametrize('at, block', [(0, 0), (MIB - 1, MIB - 65536)])
def test_nbd_lua_finds_one_wrong_byte(daemon, tmp_path, at, block):
    data = bytearray(daemon.path.read_bytes())
    data[at] ^= 1
    (tmp_path / 'other').write_bytes(data)
    done = run('lua5.4', EXAMPLES / 'nbd.lua', daemon.nbd_uri, 'disk', tmp_path / 'other')
    assert done.returncode == 1
    assert f'the block at {block} is not that of the file' in done.stderr


@pytest.mark.needs('qemu-storage-daemon', 'lua5.4')
def test_nbd_lua_as_a_module(daemon):
    script = f'''
        package.path = "{EXAMPLES}/?.lua;" .. package.path
        local nbd = require "nbd"
        local disk <close> = nbd.connect("{daemon.nbd_uri}", "disk")
        print(disk.size, #disk:read(disk.size - 10, 10))
        print(select(2, pcall(disk.read, disk, disk.size, 1)))
        print(#disk:read(0, 1))
        print(select(2, pcall(disk.read, disk, 0, 1 << 30)))
        print(select(2, pcall(nbd.connect, "{daemon.nbd_uri}", "no such export")))
        print(select(2, pcall(nbd.connect, "unix:/no/such/socket")))
    '''
    lines = output_of('lua5.4', '-e', script).splitlines()
    assert lines[0] == f'{2 * MIB}\t10'
    assert lines[1] == f'NBD: read of 1 at {2 * MIB}: invalid argument (22)'
    assert lines[2] == '1'
    assert lines[3] == 'NBD: a read of 1073741824 bytes, more than 33554432'
    assert lines[4].startswith('NBD: the server refuses (error 6): ')
    assert lines[5].startswith('NBD: unix:/no/such/socket: ')


@pytest.mark.needs('qemu-storage-daemon', 'luajit')
def test_exports_luajit(daemon):
    for number in range(9):
        daemon.export('disk', f'more{number}', 'w' * 400 * number)
    lines = output_of('luajit', EXAMPLES / 'ffi' / 'exports.lua', daemon.nbd_uri).splitlines()
    expected = [f'export "more{number}": ' + 'w' * 400 * number for number in range(9)]
    assert lines[:-1] == ['export "disk": a disk'] + expected
    assert re.fullmatch(r'10 exports, from \d+ events, no callback', lines[-1])


# ---- NBD servers that are none ----

@pytest.fixture
def scripted_server(tmp_path):
    """serve(answer, ...): each client gets its answer at once, and then the end; gives the URI."""
    listeners, threads = [], []

    def serve(*answers):
        listener = qio.listen(f'unix:{tmp_path}/scripted')
        listeners.append(listener)

        def answer_all():
            for answer in answers:
                with listener.accept(timeout=20) as client:
                    client.write_all(answer, timeout=20)
                    client.send_eof()
                    try:
                        while client.read_some(timeout=20):
                            pass
                    except qio.Error:
                        pass            # it went away with a reset

        threads.append(threading.Thread(target=answer_all))
        threads[-1].start()
        return f'unix:{tmp_path}/scripted'

    yield serve
    for thread in threads:
        thread.join(20)
    for listener in listeners:
        listener.close()


GREETING = b'NBDMAGICIHAVEOPT\0\3'
REPLY = bytes.fromhex('0003e889045565a9')


def option_reply(option, kind, data=b'', length=None):
    size = len(data) if length is None else length
    return (REPLY + option.to_bytes(4, 'big') + kind.to_bytes(4, 'big') + size.to_bytes(4, 'big')
            + data)


NBD_ANSWERS = {
    'nothing': (b'', 'reading from the server: closed'),
    'half a greeting': (GREETING[:9], 'reading from the server: closed'),
    'http': (b'HTTP/1.1 400 Bad Request\r\n\r\n', 'this is no NBD server'),
    'oldstyle': (b'NBDMAGIC\0\0\x42\2\x81\x86\x12\x53' + bytes(144), 'this is no NBD server'),
    'not fixed': (GREETING[:-1] + b'\0', 'cannot do fixed newstyle'),
    'wrong magic': (GREETING + bytes(20), 'not a reply to option 7'),
    'other option': (GREETING + option_reply(3, 1), 'not a reply to option 7'),
    'too long': (GREETING + option_reply(7, 3, length=0xffffffff),
                 'a reply of 4294967295 bytes to option 7'),
    'cut off': (GREETING + option_reply(7, 3, b'abc', length=12), 'closed'),
    'refused': (GREETING + option_reply(7, 0x80000002, b'not for you\x1b['),
                'the server refuses (error 2): "not for you\\27["'),
    'no size': (GREETING + option_reply(7, 1), 'does not tell the size'),
}


@pytest.mark.needs('lua5.4')
@pytest.mark.parametrize('name', NBD_ANSWERS)
def test_nbd_lua_with_a_bad_server(name, scripted_server, tmp_path):
    answer, message = NBD_ANSWERS[name]
    done = run('lua5.4', EXAMPLES / 'nbd.lua', scripted_server(answer, answer), 'disk', tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, 'no traceback'


EXPORT = option_reply(3, 2, b'\0\0\0\1a')
EXPORTS_ANSWERS = {
    'nothing': (b'', 'the server closed the connection'),
    'http': (b'HTTP/1.1 400 Bad Request\r\n\r\n', 'no NBD server'),
    'cut off': (GREETING + EXPORT + EXPORT[:-1], 'the server closed the connection'),
    'wrong magic': (GREETING + bytes(20), 'not a reply to a list'),
    'too long': (GREETING + option_reply(3, 2, length=1 << 20), 'too long'),
    'too many': (GREETING + EXPORT * 1001, 'too long'),
    'long name': (GREETING + option_reply(3, 2, b'\0\0\0\x09abc'), 'refuses to list'),
    'short': (GREETING + option_reply(3, 2, b'\0'), 'refuses to list'),
    'refused': (GREETING + option_reply(3, 0x80000002, b'no'), 'refuses to list'),
}


@pytest.mark.needs('luajit')
@pytest.mark.parametrize('name', EXPORTS_ANSWERS)
def test_exports_luajit_with_a_bad_server(name, scripted_server):
    answer, message = EXPORTS_ANSWERS[name]
    done = run('luajit', EXAMPLES / 'ffi' / 'exports.lua', scripted_server(answer))
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.needs('luajit')
def test_exports_luajit_byte_by_byte_end(scripted_server):
    """A whole list and the end of the stream at once."""
    uri = scripted_server(GREETING + EXPORT + option_reply(3, 1))
    text = output_of('luajit', EXAMPLES / 'ffi' / 'exports.lua', uri)
    assert text.startswith('export "a": \n1 exports')


# ---- the demo itself ----

@pytest.fixture
def short_tmp():
    """A folder for the demo's own, with a short name because of the sockets."""
    with tempfile.TemporaryDirectory(prefix='qio-test-') as folder:
        yield pathlib.Path(folder)


def demo_env(folder, **env):
    return {**os.environ, 'TMPDIR': str(folder), **env}


@pytest.mark.needs(*DEMO_TOOLS)
def test_demo(short_tmp):
    text = output_of(PYTHON, '-X', 'dev', EXAMPLES / 'demo.py', env=demo_env(short_tmp))
    assert re.findall(r'^  (\d)\. ', text, re.M) == list('123456789')
    assert len(re.findall(r'^     took \d+ ms$', text, re.M)) == 9
    assert 'all steps verified' in text
    assert os.listdir(short_tmp) == []


def with_fake(short_tmp, tmp_path, name, script):
    """An environment in which a program is replaced."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return demo_env(short_tmp, PATH=f'{folder}:{os.environ["PATH"]}')


@pytest.mark.needs(*DEMO_TOOLS)
@pytest.mark.parametrize('name, script, number, message', [
    ('qemu-storage-daemon', '#!/bin/sh\nexit 9\n', 1, 'exit status 9'),
    ('lua5.4', '#!/bin/sh\necho told a lie; exit 1\n', 2, 'ended with status 1'),
    ('luajit', '#!/bin/sh\necho export none\necho end\n', 3, 'not so: these are the two exports'),
    ('certtool', '#!/bin/sh\necho no, thank you; exit 1\n', 7, 'no, thank you'),
])
def test_demo_fails_on_a_mismatch(short_tmp, tmp_path, name, script, number, message):
    done = run(PYTHON, EXAMPLES / 'demo.py', env=with_fake(short_tmp, tmp_path, name, script))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f'demo: FAILED in step {number} ') and message in last
    assert os.listdir(short_tmp) == []


def test_demo_names_what_is_missing(tmp_path):
    done = run(PYTHON, EXAMPLES / 'demo.py', env=demo_env(tmp_path, PATH=str(tmp_path)))
    assert done.returncode == 1
    assert 'luajit (Debian package luajit)' in done.stderr
    assert 'qemu-storage-daemon (Debian package qemu-system-common)' in done.stderr


@pytest.mark.needs(*DEMO_TOOLS)
def test_demo_names_a_folder_that_is_too_long(tmp_path):
    folder = tmp_path / ('x' * 80)
    folder.mkdir()
    done = run(PYTHON, EXAMPLES / 'demo.py', env=demo_env(folder))
    assert done.returncode == 1
    assert 'set TMPDIR to one of at most 36 bytes' in done.stderr


@pytest.mark.needs(*DEMO_TOOLS)
@pytest.mark.parametrize('signum, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_cleans_up_after_a_signal(short_tmp, tmp_path, signum, status):
    """It is stopped while it waits for a program of step 2 that never ends."""
    env = with_fake(short_tmp, tmp_path, 'lua5.4',
                    '#!/bin/sh\necho waiting as $$\nexec sleep 600\n')
    with subprocess.Popen([PYTHON, EXAMPLES / 'demo.py'], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        pids = []
        for line in demo.stdout:
            pids += re.findall(r' as (?:process )?(\d+)', line)
            if 'waiting as' in line:
                break
        demo.send_signal(signum)
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode == status, errors
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert os.listdir(short_tmp) == []


def test_every_example_is_run_here():
    text = ''.join(path.read_text(encoding='utf-8')
                   for path in pathlib.Path(__file__).parent.glob('*.py'))
    for path in EXAMPLES.rglob('*'):
        if path.suffix in ('.py', '.lua', '.c'):
            assert re.search(rf"['/]{re.escape(path.name)}'|from {path.stem} import", text), \
                f'no test runs {path}'
