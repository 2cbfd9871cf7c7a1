# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.trio: opening, serving, as trio's own streams, and in several runs."""

import contextlib
import subprocess
import sys
import threading

import pytest
import trio
import trio.testing

import qio
import qio.trio as qtrio
from streams import PATIENCE
from triorig import CLIENT, SERVER, AsyncChannel, Result, in_trio, layered, settle


# ---- opening and serving ----

@pytest.mark.parametrize('uri', ['unix:', 'tcp://127.0.0.1:0', 'tls+tcp://127.0.0.1:0', 'ws+unix:'])
@in_trio
async def test_a_server(uri):
    tls = {'tls': SERVER} if uri.startswith('tls') else {}

    async def shout(channel):
        async for line in channel:
            await channel.write(line.upper())

    async with trio.open_nursery() as nursery:
        listener = await qtrio.start_server(shout, uri, nursery=nursery, **tls)
        assert listener.port or uri.endswith('unix:')

        async def ask(text):
            async with await qtrio.connect(listener.address,
                                           **{'tls': CLIENT} if tls else {}) as channel:
                await channel.write(text)
                assert await channel.readline() == text.upper()

        async with trio.open_nursery() as clients:
            for text in (b'one\n', b'two\n', b'three\n'):
                clients.start_soon(ask, text)
        nursery.cancel_scope.cancel()


@in_trio
async def test_a_client_that_speaks_no_tls_ends_no_server():
    served = []

    async def serve(channel):
        served.append(await channel.read())

    async with trio.open_nursery() as nursery:
        listener = await qtrio.start_server(serve, 'tls+unix:', nursery=nursery, tls=SERVER)
        path = listener.address.partition('unix:')[2]
        async with await qtrio.connect(f'unix:{path}') as channel:
            await channel.write(b'GET / HTTP/1.1\r\n\r\n')
            with contextlib.suppress(qio.ConnectionResetError):
                await channel.read()
        async with await qtrio.connect(listener.address, tls=CLIENT) as channel:
            await channel.write(b'x')
        await settle()
        listener.close()
    assert served == [b'x']


@in_trio
async def test_what_a_handler_raises_ends_the_server():
    async def fail(channel):
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        async with trio.open_nursery() as nursery:
            listener = await qtrio.start_server(fail, 'unix:', nursery=nursery)
            async with await qtrio.connect(listener.address) as channel:
                await channel.read()


@in_trio
async def test_errors_of_connect(tmp_path):
    with pytest.raises(FileNotFoundError):
        await qtrio.connect(f'unix:{tmp_path}/nobody')
    with pytest.raises(qio.InvalidError):
        await qtrio.connect('nonsense:')
    with qio.listen('unix:') as silent:
        with trio.move_on_after(0.02) as scope:
            await qtrio.connect(f'tls+{silent.address}', tls=CLIENT)
        assert scope.cancelled_caught
        with pytest.raises(qio.TimeoutError):
            await qtrio.connect(f'tls+{silent.address}', tls=CLIENT, timeout=0.02)
        with silent.accept(), silent.accept():
            pass


@in_trio
async def test_accept_is_cancelled_and_closed():
    listener = await qtrio.listen('unix:')
    with trio.move_on_after(0.02) as scope:
        await listener.accept()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        result = Result(nursery, listener.accept)
        await settle()
        await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await result.get()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


# ---- as trio's streams ----

async def make_streams():
    return tuple(qtrio.open_streams(channel) for channel in qio.pair())


async def make_tls_streams():
    a, b = await layered('tls')
    return a.stream(), b.stream()


async def make_clogged():
    ends = qio.pair()
    for end in ends:
        end.setblocking(False)
        while end.write(b'x' * 65536):
            pass
    return tuple(map(qtrio.open_streams, ends))


@in_trio
async def test_trios_own_checks():
    await trio.testing.check_half_closeable_stream(make_streams, make_clogged)


@in_trio
async def test_trios_own_checks_over_tls():
    await trio.testing.check_half_closeable_stream(make_tls_streams, None)


@in_trio
async def test_trios_own_server_takes_a_listener():
    async def echo(channel):
        await channel.write(await channel.readline())

    async with trio.open_nursery() as nursery:
        listener = await qtrio.listen('unix:')
        assert isinstance(listener, trio.abc.Listener)
        await nursery.start(trio.serve_listeners, echo, [listener])
        async with await qtrio.connect(listener.address) as channel:
            await channel.write(b'hello\n')
            assert await channel.readline() == b'hello\n'
        nursery.cancel_scope.cancel()


# ---- runs ----

def test_importing_qio_imports_no_trio():
    code = 'import qio, sys; assert "trio" not in sys.modules; import qio.trio; qio.trio.connect'
    subprocess.run([sys.executable, '-c', code], check=True, timeout=PATIENCE * 2)


def test_one_channel_in_runs_after_each_other_and_in_threads():
    a, b = qio.pair()

    async def ask(text):
        async with trio.open_nursery() as nursery:
            result = Result(nursery, AsyncChannel(b).read_some)
            await settle()
            await AsyncChannel(a).write(text)
            assert await result.get() == text

    for _ in range(3):
        trio.run(ask, b'x')
    thread = threading.Thread(target=trio.run, args=[ask, b'y'])
    thread.start()
    thread.join()
    a.close()
    b.close()


def test_ctrl_c_loses_no_byte():
    """KeyboardInterrupt comes between two awaits, never inside of one."""
    code = '''if True:
        import os, signal, sys, threading, trio, qio, qio.trio
        a, b = map(qio.trio.AsyncChannel, qio.pair())
        total = got = 0
        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        async def main():
            global got, total
            a.channel.write(b'x' * 1000)
            total += 1000
            threading.Timer(0.001, interrupt).start()
            while got < total:
                got += len(await b.read_some(1))
            await trio.sleep_forever()
        for _ in range(20):
            try:
                trio.run(main)
            except KeyboardInterrupt:
                pass
        left = total - got
        assert left == 0 or len(b.channel.read_exactly(left)) == left, left
        b.channel.setblocking(False)
        assert b.channel.read_some(1) is None
        a.close(), b.close()
    '''
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code], timeout=PATIENCE * 2,
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
