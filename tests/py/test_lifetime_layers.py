# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lifetimes above the plain channels: layers, relays, channels written in Python.

test_lifetime.py has the same questions for channels and loops alone: cycles that the collector
ends, error paths that leak nothing, interpreters that end with work left over.
"""

import contextlib
import gc
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

import qio
from leaks import grown_by
from streams import PATIENCE

HERE = pathlib.Path(__file__).parent
KEY = b'correct horse battery'


class Fn:
    """A callable that can be watched going."""

    def __call__(self, *args):
        pass


def creds_lookup():
    fn = Fn()
    fn.creds = qio.TLSCreds.psk(lookup=fn, server=True)
    return fn


def creds_authorize():
    fn = Fn()
    fn.creds = qio.TLSCreds.psk(lookup=lambda user: KEY, server=True, authorize=fn)
    return fn


def creds_of_a_channel():
    fn = Fn()
    a, b = qio.pair()
    fn.creds = qio.TLSCreds.psk(lookup=fn, server=True)
    fn.channel = a.start_tls(fn.creds, server=True, handshake=False)
    fn.channel.close()
    b.close()
    return fn


def request_of_a_websocket():
    fn = Fn()
    a, b = qio.pair()
    fn.channel = a.websocket(server=True, on_request=fn, handshake=False)
    fn.channel.close()
    b.close()
    return fn


def filter_of_a_relay():
    fn = Fn()
    fn.loop = qio.Loop()
    fn.channels = [*qio.pair(), *qio.pair()]
    fn.relay = fn.loop.relay(fn.channels[0], fn.channels[2], filter=fn)
    for channel in fn.channels:
        channel.close()
    return fn


def end_of_a_relay():
    fn = Fn()
    fn.loop = qio.Loop()
    fn.relay = fn.loop.relay(qio.null(), qio.null(), on_done=fn)
    return fn


class Written(qio.CustomChannel):
    def readinto(self, b):
        return None

    def write(self, b):
        return len(b)


def written_channel():
    channel = Written()
    channel.me = channel
    return channel


def written_channel_below_tls():
    channel = Written()
    channel.layer = channel.start_tls(qio.TLSCreds.psk(user='me', key=KEY), handshake=False)
    channel.layer.close()
    return channel


def written_channel_of_a_loop():
    loop = qio.Loop()
    channel = Written(loop=loop)
    channel.fn = Fn()
    channel.fn.loop = loop
    loop.watch(channel, qio.IN, channel.fn)
    channel.close()
    return channel


@pytest.mark.parametrize('make', [
    creds_lookup, creds_authorize, creds_of_a_channel, request_of_a_websocket, filter_of_a_relay,
    end_of_a_relay, written_channel, written_channel_below_tls, written_channel_of_a_loop])
def test_a_cycle_is_collected(make):
    gone = []
    for _ in range(50):
        weakref.finalize(make(), gone.append, 1)
    gc.collect()
    gc.collect()            # what a finaliser closed may have held the next
    assert len(gone) == 50


# ---- errors ----

def fails(server, client):
    a, b = qio.pair()
    with a, b:
        thread = threading.Thread(target=lambda: contextlib.suppress(qio.Error).__enter__())
        thread.start()
        thread.join()
        layer = a.start_tls(client, handshake=False)
        with layer:
            b.write(b'nonsense, and no server hello\n')
            layer.handshake(timeout=PATIENCE)


def refused_websocket():
    a, b = qio.pair()
    with a, b, a.websocket(handshake=False) as layer:
        b.write(b'HTTP/1.1 404 Not here\r\n\r\n')
        layer.handshake(timeout=PATIENCE)


def failing_filter():
    a, b = qio.pair()
    c, d = qio.pair()
    with a, b, c, d:
        a.write(b'x')
        qio.relay(b, c, filter=lambda direction, data: 1 // 0)


class Failing(qio.CustomChannel):
    def readinto(self, b):
        raise KeyError('mine')

    def write(self, b):
        return 'not a number'


def test_error_paths_leak_nothing():
    client = qio.TLSCreds.psk(user='me', key=KEY)
    server = qio.TLSCreds.psk(lookup=lambda user: KEY, server=True)
    data = bytearray(10)
    calls = [
        lambda: fails(server, client), refused_websocket, failing_filter,
        lambda: Failing().readinto(data), lambda: Failing().write(data),
        lambda: Failing().start_tls(client), lambda: qio.CustomChannel(),
        lambda: qio.TLSCreds.x509(ca='/no/such'), lambda: qio.TLSCreds.psk(key='text'),
        lambda: qio.connect('null:', tls_ca='x'), lambda: qio.connect('tls+null:', tls=client),
        lambda: qio.null().start_tls(server), lambda: qio.null().start_tls(object()),
        lambda: qio.null().websocket(server=True, on_request=5),
        lambda: qio.relay(qio.null(), None), lambda: qio.relay(qio.null(), qio.null(), buffer='x'),
    ]
    assert grown_by(calls, 20, settling=20) < 4096
    data.append(1)                          # BufferError if an export were left


# ---- the end of the interpreter ----

EXITS = {
    'layers': '''
        import qio
        a, b = qio.pair()
        creds = qio.TLSCreds.psk(user='me', key=b'correct horse battery')
        layer = a.start_tls(creds, handshake=False).websocket(handshake=False)
        layer.setblocking(False)
        layer.write(b'x')
    ''',
    'a relay in a loop': '''
        import qio
        a, b = qio.pair()
        c, d = qio.pair()
        loop = qio.Loop()
        relay = loop.relay(b, c, filter=lambda direction, data: data, on_done=print)
        a.write(b'x')
        loop.run_once(1)
    ''',
    'a relay in a daemon thread': '''
        import qio, threading
        a, b = qio.pair()
        c, d = qio.pair()
        threading.Thread(target=qio.relay, args=[b, c], daemon=True).start()
        a.write(b'x')
        d.read(1)
    ''',
    'tasks of asyncio that wait, in a loop that is dropped': '''
        import asyncio, qio, qio.aio
        loop = asyncio.new_event_loop()
        keep = []
        async def main():
            a, b = map(qio.aio.AsyncChannel, qio.pair())
            keep.extend([a, b, loop.create_task(a.read_some()), loop.create_task(b.readline())])
            await asyncio.sleep(0)
        loop.run_until_complete(main())
        for task in keep[2:]:
            task._log_destroy_pending = False
        loop.close()
    ''',
    'tasks of trio that another one ends': '''
        import trio, qio, qio.trio
        a, b = map(qio.trio.AsyncChannel, qio.pair())
        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.read_some)
                nursery.start_soon(b.write, b"x" * 10000000)
                await trio.testing.wait_all_tasks_blocked()
                raise SystemExit(0)
        import trio.testing
        trio.run(main)
    ''',
    'a run of trio in a daemon thread': '''
        import threading, trio, qio, qio.trio
        waits = threading.Event()
        a, b = map(qio.trio.AsyncChannel, qio.pair())
        class Instrument(trio.abc.Instrument):
            def before_io_wait(self, timeout):
                waits.set()
        def run():
            trio.run(a.read_some, instruments=[Instrument()])
        threading.Thread(target=run, daemon=True).start()
        waits.wait()
    ''',
    'a listener in a daemon thread': '''
        import qio, threading
        listener = qio.listen('tcp://127.0.0.1:0')
        threading.Thread(target=listener.accept, daemon=True).start()
    ''',
    'a channel written in Python with a watch': '''
        import qio
        class Written(qio.CustomChannel):
            def readinto(self, b):
                return None
            def close(self):
                pass
        loop = qio.Loop()
        channel = Written(loop=loop)
        loop.watch(channel, qio.IN, print)
        loop.run_once(0)
    ''',
    'a channel written in Python in a cycle with its module': '''
        import qio, sys
        class Written(qio.CustomChannel):
            def readinto(self, b):
                return None
            def close(self):
                assert qio
        channel = sys.keep = qio.keep = Written()
        channel.me = channel
    ''',
    'a read of a channel written in Python in a daemon thread': '''
        import qio, threading
        called = threading.Event()
        class Written(qio.CustomChannel):
            def readinto(self, b):
                called.set()
        channel = Written()
        threading.Thread(target=channel.read, daemon=True).start()
        called.wait()
    ''',
}


@pytest.mark.parametrize('name', EXITS)
def test_the_interpreter_ends_quietly(name):
    code = textwrap.dedent(EXITS[name])
    done = subprocess.run([sys.executable, '-X', 'dev', '-W', 'ignore::ResourceWarning', '-c', code],
                          capture_output=True, text=True, timeout=PATIENCE * 2, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


# ---- the development mode ----

@pytest.mark.parametrize('module', ['test_errors', 'test_one_reader', 'test_loop', 'test_arguments'])
def test_the_development_mode_finds_nothing(module):
    """Debugging allocators and every warning an error."""
    done = subprocess.run(
        [sys.executable, '-X', 'dev', '-W', 'error', '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
         str(HERE / f'{module}.py')],
        capture_output=True, text=True, timeout=50, env={**os.environ, 'PYTHONDEVMODE': '1'})
    assert done.returncode == 0, done.stdout + done.stderr
