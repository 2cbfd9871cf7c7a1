# SPDX-License-Identifier: LGPL-2.1-or-later
"""A little of everything, for each Python: run by test_wheel.py, prints where qio is."""

import asyncio
import gc
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import socket
import threading
import weakref

import qio


def refuses(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except error as raised:
        return raised
    raise AssertionError(f'{function} raised no {error}')


def streams():
    a, b = qio.pair()
    with a, b:
        a.write(b'one\ntwo')
        assert b.readline() == b'one\n'
        a.send_eof()
        assert b.read() == b'two'
        b.setblocking(False)
        data = bytearray(3)
        b.write(b'abc')
        assert a.readinto(data) == 3 and data == b'abc'
        assert b.readinto(data) == 0
        refuses(qio.IncompleteReadError, b.read_exactly, 5)
        refuses(TypeError, a.write, 'text')
    refuses(ValueError, a.write, b'x')
    with socket.socket() as nobody:                     # bound, and nobody listens
        nobody.bind(('127.0.0.1', 0))
        uri = 'tcp://127.0.0.1:%d' % nobody.getsockname()[1]
        refuses(ConnectionRefusedError, qio.connect, uri, timeout=10)
    refuses(TypeError, qio.Channel)


def descriptors():
    a, b = qio.pair()
    with a, b:
        reader, writer = os.pipe()
        a.send_fds(b'x', [reader])
        os.close(reader)
        data, fds = b.recv_fds(1)
        with fds[0].open('rb') as file:
            os.write(writer, b'through')
            os.close(writer)
            assert file.read() == b'through'


def command():
    with qio.command(['tr', 'a-z', 'A-Z']) as tr:
        tr.write(b'hello\n')
        tr.send_eof()
        assert tr.readline(timeout=10) == b'HELLO\n'
        assert tr.wait_exit(timeout=10) == 0


def layers():
    key = b'correct horse battery'
    server = qio.TLSCreds.psk(lookup=lambda user: key if user == 'me' else None, server=True)
    client = qio.TLSCreds.psk(user='me', key=key)

    def shout(listener):
        with listener.accept(timeout=10) as channel:
            for message in channel:
                channel.send(message.upper())

    with qio.listen('ws+tls+tcp://127.0.0.1:0', tls=server, ws_mode='messages') as listener:
        thread = threading.Thread(target=shout, args=[listener])
        thread.start()
        with qio.connect(listener.address, tls=client, ws_mode='messages', timeout=10) as ws:
            assert ws.tls.version == 'TLS1.3'
            ws.send('hello')
            assert ws.recv(timeout=10) == 'HELLO'
        thread.join()


def loops():
    def fail():
        raise KeyError('from a callback')

    with qio.Loop() as loop:
        loop.defer(fail)
        assert refuses(KeyError, loop.run_once, 10).args == ('from a callback',)
        a, b = qio.pair()
        c, d = qio.pair()
        with a, b, c, d:
            done = []
            loop.relay(b, c, on_done=lambda relay: (done.append(relay.result()), loop.quit()))
            a.write(b'12345')
            a.send_eof()
            d.send_eof()
            loop.run()
            assert done == [qio.Counts(5, 0)]
            assert d.read() == b'12345'


def awaited():
    import qio.aio as aio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data[::-1])

    async def handler(channel):
        async for line in channel:
            await channel.write(line.upper())

    async def main():
        async with await aio.start_server(handler, 'tcp://127.0.0.1:0') as server:
            async with await aio.connect(server.address) as client:
                task = asyncio.ensure_future(client.readline())
                await asyncio.sleep(0)
                await client.write(b'hello\n')
                assert await task == b'HELLO\n'
                try:
                    await asyncio.wait_for(client.read_exactly(1), 0.01)
                except asyncio.TimeoutError:
                    pass
                else:
                    raise AssertionError
                await asyncio.gather(client.write(b'x' * 300000 + b'\n'), client.read_exactly(300001))
        a, b = qio.pair()
        transport, _ = await aio.create_connection(Echo, a)
        b = aio.AsyncChannel(b)
        await b.write(b'abc')
        assert await b.read_some() == b'cba'
        transport.close()
        assert await b.read() == b''
        b.close()

    asyncio.run(main(), debug=True)


def garbage():
    """A loop, its callback and what that holds are a cycle; the collector ends it."""
    class Holder:
        pass

    holder = Holder()
    holder.loop = qio.Loop()
    holder.loop.add_timer(100, lambda: holder)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def every_module():
    for module in pkgutil.iter_modules(qio.__path__):
        if module.name not in ('trio', '_trio') or importlib.util.find_spec('trio'):
            importlib.import_module(f'qio.{module.name}')


streams()
descriptors()
command()
layers()
loops()
awaited()
garbage()
every_module()
print(pathlib.Path(qio.__file__).parent)
