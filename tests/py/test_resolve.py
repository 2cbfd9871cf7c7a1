# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of hosts: what they stand for, and that nobody is held up while one is looked up.

A name that never gets an answer is made by a small library in front of the C library's, in a
process of its own.
"""

import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

import qio
from rigs import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]

SLOW_NAMES = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");

    if (node && strcmp(node, "slow.test") == 0) {
        for (;;) {
            poll(0, 0, -1);
        }
    }
    if (node && strcmp(node, "ready.test") == 0) {      /* with a byte from QIO_READY for each */
        char byte;

        while (read(atoi(getenv("QIO_READY")), &byte, 1) != 1) {
        }
        node = "127.0.0.1";
    }
    if (node && strcmp(node, "again.test") == 0) {
        return EAI_AGAIN;
    }
    return next(node && strcmp(node, "here.test") == 0 ? "127.0.0.1" : node, service, hints, found);
}
'''


@pytest.fixture(scope='module')
def slow_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp('names')
    (folder / 'slow.c').write_text(SLOW_NAMES)
    subprocess.run(['gcc', '-shared', '-fPIC', '-o', folder / 'slow.so', folder / 'slow.c', '-ldl'],
                   check=True, timeout=PATIENCE)
    return folder / 'slow.so'


def start(slow_names, code):
    """A Python with the library in front; what it prints is to be read."""
    return subprocess.Popen(
        [ROOT / 'run', 'sh', '-c', 'LD_PRELOAD="$LD_PRELOAD $1" exec "$2" -c "$3"', 'sh',
         slow_names, sys.executable, 'import qio\n' + code],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(slow_names, code):
    with start(slow_names, code) as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, output
    return output


def test_localhost():
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        with qio.connect(f'tcp://localhost:{port}') as channel:
            accepted = server.accept()[0]
            with accepted:
                assert channel.peer_address == f'tcp://127.0.0.1:{port}'
                channel.write(b'abc')
                assert accepted.recv(3) == b'abc'


def test_a_name_that_is_none():
    with pytest.raises(qio.ResolveError, match='no-such-host.invalid') as caught:
        qio.connect('tcp://no-such-host.invalid:1')
    assert caught.value.number in (socket.EAI_NONAME, socket.EAI_AGAIN, -5)
    with pytest.raises(qio.ResolveError):
        qio.listen('tcp://no-such-host.invalid:0')


def test_numeric_looks_nothing_up():
    with pytest.raises(ValueError, match='"localhost" is a name'):
        qio.connect('tcp://localhost:1', numeric=True)


def test_a_listener_takes_every_address_of_a_name():
    with qio.listen('tcp://localhost:0') as listener:
        ports = {int(re.search(r':(\d+)$', address).group(1)) for address in listener.addresses}
        assert ports == {listener.port}
        for address in listener.addresses:
            qio.connect(address).close()
            listener.accept(timeout=PATIENCE).close()


def test_a_range_of_ports():
    with qio.listen('tcp://127.0.0.1:0') as first:
        last = min(first.port + 20, 65535)
        with qio.listen(f'tcp://127.0.0.1:{first.port}', to=last) as second:
            assert first.port < second.port <= last
        with pytest.raises(OSError, match='in use'):
            qio.listen(f'tcp://127.0.0.1:{first.port}?to={first.port}')


@pytest.mark.needs('gcc')
def test_the_number_says_why(slow_names):
    output = run(slow_names, '''
import socket
try:
    qio.connect('tcp://again.test:1')
except qio.ResolveError as error:
    assert error.number == socket.EAI_AGAIN, error.number
    print(error)
''')
    assert 'again.test' in output


@pytest.mark.needs('gcc')
def test_the_deadline_counts_while_a_name_is_looked_up(slow_names):
    output = run(slow_names, '''
for call in qio.connect, qio.listen:
    try:
        call('tcp://slow.test:1', timeout=0.05)
    except TimeoutError as error:
        print(error)
with qio.listen('tcp://here.test:0') as listener:
    print(listener.address)
''')
    assert output.count('slow.test') == 2
    assert 'tcp://127.0.0.1:' in output


@pytest.mark.needs('gcc')
@pytest.mark.parametrize('call', ['connect', 'listen'])
def test_ctrl_c_ends_a_look_up(slow_names, call):
    process = start(slow_names, f'''
import signal, threading
ready = threading.Event()
def say():
    ready.wait()
    print('waiting', flush=True)        # another thread runs meanwhile
threading.Timer(0.01, say).start()
try:
    ready.set()
    qio.{call}('tcp://slow.test:1', timeout=None)
except KeyboardInterrupt:
    print('interrupted')
''')
    with process:
        assert process.stdout.readline() == 'waiting\n'
        while process.poll() is None:       # one may come before the wait
            process.send_signal(signal.SIGINT)
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
        assert 'interrupted\n' in process.stdout.read()


@pytest.mark.needs('gcc')
def test_signals_do_not_begin_a_look_up_again_and_again(slow_names):
    """A handler that raises nothing ends no call (PEP 475): after the first signal the same look-up
    goes on through all others.  Two look-ups get an answer, and no third one is made."""
    output = run(slow_names, '''
import os, signal, threading
reading, writing = os.pipe()
os.environ['QIO_READY'] = str(reading)
main, stop, rings = threading.main_thread().ident, threading.Event(), []
def count(signum, frame):
    rings.append(1)
    if len(rings) == 10:
        os.write(writing, b'xx')
signal.signal(signal.SIGUSR1, count)
def ring():
    while not stop.wait(0.005):
        signal.pthread_kill(main, signal.SIGUSR1)
thread = threading.Thread(target=ring)
thread.start()
with qio.listen('tcp://127.0.0.1:0') as listener:
    channel = qio.connect(f'tcp://ready.test:{listener.port}', timeout=15)
    channel.close()
stop.set()
thread.join()
print('rings', len(rings) >= 10)
''')
    assert 'rings True' in output


@pytest.mark.needs('gcc')
def test_a_loop_goes_on_while_four_names_hang(slow_names):
    """All the resolver's threads hang: numeric hosts need none, and nothing else waits for them."""
    output = run(slow_names, '''
import threading
def hang():
    try:
        qio.connect('tcp://slow.test:1', timeout=30)
    except qio.Error:
        pass
for _ in range(5):
    threading.Thread(target=hang, daemon=True).start()
loop = qio.Loop()
with qio.listen('tcp://127.0.0.1:0') as listener:
    ticks = []
    def tick():
        ticks.append(1)
        qio.connect(listener.address).close()
        listener.accept(timeout=20).close()
        if len(ticks) == 5:
            loop.quit()
    loop.add_timer(0.001, tick, every=0.001)
    loop.run()
print('ticks', len(ticks), flush=True)
import os
os._exit(0)
''')
    assert 'ticks 5' in output


def test_what_a_service_manager_passed(tmp_path):
    """The form of socket activation: descriptors from 3 on, with names in the environment."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        code = f'''
import os
os.dup2({server.fileno()}, 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')
before = dict(os.environ)
import qio
with qio.listen('fd:web') as listener:
    print(listener.address, flush=True)
    with listener.accept(timeout=20) as channel:
        channel.write(channel.read_exactly(3)[::-1])
    assert not os.get_inheritable(listener.fileno())
assert dict(os.environ) == before
'''
        process = subprocess.Popen(
            [ROOT / 'run', sys.executable, '-c', code], pass_fds=[server.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout.readline() == f'tcp://127.0.0.1:{port}\n'
            with socket.create_connection(('127.0.0.1', port), timeout=PATIENCE) as client:
                client.sendall(b'abc')
                assert client.recv(3) == b'cba'
            assert process.wait(PATIENCE) == 0


AIO = '''
import asyncio, qio.aio
async def main():
    listening = asyncio.ensure_future(qio.aio.listen('tcp://slow.test:0'))
    listener = await qio.aio.listen('tcp://here.test:0')        # others go on
    client = await qio.aio.connect(listener.address)
    served = await listener.accept()
    await client.write(b'on')
    print(await served.read_exactly(2), listening.done())
    listening.cancel()
    try:
        await listening
    except asyncio.CancelledError:
        print('cancelled')
    try:
        await qio.aio.start_server(None, 'tcp://slow.test:0', timeout=0.05)
    except TimeoutError as error:
        print(error)
asyncio.run(main())
'''

TRIO = '''
import trio, qio.trio
async def main():
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qio.trio.listen, 'tcp://slow.test:0')
            listener = await qio.trio.listen('tcp://here.test:0')
            client = await qio.trio.connect(listener.address)
            served = await listener.accept()
            await client.write(b'on')
            print(await served.read_exactly(2), scope.cancelled_caught)
            scope.cancel()
    if scope.cancelled_caught:
        print('cancelled')
    try:
        await qio.trio.listen('tcp://slow.test:0', timeout=0.05)
    except TimeoutError as error:
        print(error)
trio.run(main)
'''


@pytest.mark.needs('gcc')
@pytest.mark.parametrize('code', [AIO, TRIO], ids=['aio', 'trio'])
def test_a_name_that_hangs_holds_no_event_loop_up(slow_names, code):
    output = run(slow_names, code)
    assert "b'on' False\ncancelled\n" in output
    assert 'did not end in time' in output


LUA = '''
local qio = require "qio"
local slow = qio.spawn(function() return qio.listen("tcp://slow.test:0") end)
local late = qio.spawn(function() return qio.listen("tcp://slow.test:0", { timeout = 0.05 }) end)
local other = qio.spawn(function()
  local listener = assert(qio.listen("tcp://here.test:0"))
  local client = assert(qio.connect(listener:address()))
  local served = assert(listener:accept())
  assert(client:write("on"))
  return served:read()
end)
print(other:join(), slow:status())
slow:cancel()
print(select(2, slow:join()))
print(select(3, late:join()) == qio.errno.TIMEOUT)
-- with no task, in the call
print(select(3, qio.listen("tcp://slow.test:0", { timeout = 0.05 })) == qio.errno.TIMEOUT)
print((qio.listen("tcp://here.test:0")))
'''


@pytest.mark.needs('gcc', 'lua5.4')
def test_a_name_that_hangs_holds_no_task_of_lua_up(slow_names):
    process = subprocess.run(
        [ROOT / 'run', 'sh', '-c', 'LD_PRELOAD="$LD_PRELOAD $1" exec lua5.4 -e "$2"', 'sh',
         slow_names, LUA],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == 'on\twaiting'
    assert lines[1].startswith('cancelled')
    assert lines[2:4] == ['true', 'true']
    assert lines[4].startswith('qio.listener')
