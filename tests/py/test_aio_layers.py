# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio over layers, commands and channels without a descriptor."""

import asyncio
import os
import random
import socket

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, run
from qio.aio import AsyncChannel
from streams import SocketStream, TlsStream, client_context

KEY = bytes(range(32))


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


def pair():
    return map(AsyncChannel, qio.pair())


def psk():
    return (qio.TLSCreds.psk(lookup={'alice': KEY}.get, server=True),
            qio.TLSCreds.psk(user='alice', key=KEY))


async def tls_pair():
    a, b = pair()
    server, client = psk()
    return await asyncio.gather(a.start_tls(server, server=True), b.start_tls(client))


async def websocket_pair(**keys):
    a, b = pair()
    return await asyncio.gather(a.websocket(server=True, **keys), b.websocket(**keys))


# ---- TLS ----

def test_tls(loop):
    async def main():
        a, b = await tls_pair()
        assert isinstance(a, AsyncChannel)
        assert a.kind == b.kind == 'tls'
        assert a.tls.peer_name == 'alice'
        size = 1_000_000
        write = asyncio.create_task(a.write(bytes(size)))
        second = asyncio.create_task(a.write(b'second\n'))
        assert await b.read_exactly(size) == bytes(size)
        assert await b.readline() == b'second\n'
        assert await write == size
        await second
        reader = asyncio.create_task(a.read())
        await b.write(b'and back')
        await b.aclose()
        assert await reader == b'and back'
        await a.aclose()
    run(loop, main)


def test_tls_in_tls_in_a_websocket(loop):
    async def main():
        server, client = psk()
        a, b = await websocket_pair()
        for _ in range(2):
            a, b = await asyncio.gather(a.start_tls(server, server=True), b.start_tls(client))
        write = asyncio.create_task(a.write(b'x' * 300_000))
        assert await b.read_exactly(300_000) == b'x' * 300_000
        await write
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_upgrade_in_place_loses_nothing(loop, pki):
    """The header and the first TLS bytes come in one segment: what was read ahead is TLS input."""
    async def main():
        ours, theirs = socket.socketpair()
        channel = AsyncChannel(qio.from_socket(ours))
        stream = SocketStream(theirs)
        tls = TlsStream(HeaderFirst(stream, b'PROXY header\r\n'), client_context(pki),
                        hostname='localhost')
        client = asyncio.get_running_loop().run_in_executor(
            None, lambda: (tls.handshake(), tls.sendall(b'hello\n'), tls.recv(100)))
        assert await channel.readline() == b'PROXY header\r\n'
        assert channel.pending > 0
        creds = qio.TLSCreds.x509(dir=pki.dir, server=True, verify=False)
        secure = await channel.start_tls(creds, server=True)
        with pytest.raises(qio.BusyError):
            await channel.read_some()
        assert await secure.readline() == b'hello\n'
        await secure.write(b'bye')
        assert (await client)[2] == b'bye'
        await secure.aclose(timeout=0)
        assert channel.closed
        stream.close()
    run(loop, main)


class HeaderFirst:
    """Puts a header before the first bytes that are sent, in the same segment."""

    def __init__(self, stream, header):
        self.stream, self.header = stream, header
        self.recv, self.close = stream.recv, stream.close

    def sendall(self, data):
        self.stream.sendall(self.header + bytes(data))
        self.header = b''


def test_a_handshake_that_fails_closes_both(loop):
    async def main():
        server, _ = psk()
        a, b = pair()
        wrong = qio.TLSCreds.psk(user='alice', key=bytes(32))
        results = await asyncio.gather(a.start_tls(server, server=True), b.start_tls(wrong),
                                       return_exceptions=True)
        assert all(isinstance(result, qio.TLSError) for result in results)
        assert a.closed and b.closed
    run(loop, main)


def test_a_handshake_has_a_deadline_and_can_be_cancelled(loop):
    async def main():
        server, client = psk()
        a, b = pair()
        with pytest.raises(qio.TimeoutError):
            await a.start_tls(server, server=True, handshake_timeout=0.02)
        assert a.closed
        assert await b.read() == b''
        b.close()
        a, b = pair()
        task = asyncio.create_task(a.start_tls(client))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert a.closed
        b.close()
    run(loop, main)


def test_unwrap(loop):
    async def main():
        a, b = await tls_pair()
        a, b = await asyncio.gather(a.unwrap(), b.unwrap())
        assert a.kind == 'socket'
        await a.write(b'in the clear')
        assert await b.read_some() == b'in the clear'
        a.close()
        b.close()
    run(loop, main)


@pytest.mark.parametrize('seed', range(2))
def test_random_cancellations_over_tls(loop, seed):
    rng = random.Random(seed)
    sent = rng.randbytes(200_000)

    async def main():
        a, b = await tls_pair()
        got = bytearray()

        async def read():
            if rng.random() < 0.5:
                got.extend(await b.read_exactly(rng.randrange(1, 3000)))
            else:
                got.extend(await b.read_some(rng.randrange(1, 3000)))

        async def write():
            rest = sent
            while rest:
                n = rng.randrange(1, 2000)
                await a.write(rest[:n])
                rest = rest[n:]
                await asyncio.sleep(0)
            await a.send_eof()

        writer = asyncio.create_task(write())
        cancelled = 0
        while not writer.done() or len(got) < len(sent):
            task = asyncio.create_task(read())
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
            except qio.IncompleteReadError as error:
                got.extend(error.partial)
        assert got == sent
        assert cancelled > 10
        await asyncio.gather(a.aclose(timeout=0), b.aclose(timeout=0))
    run(loop, main, debug=False)


def test_what_a_lookup_raises_is_raised_by_the_await(loop):
    error = KeyError('mine')

    def lookup(user):
        raise error

    async def main():
        a, b = pair()
        results = await asyncio.gather(
            a.start_tls(qio.TLSCreds.psk(lookup=lookup, server=True), server=True),
            b.start_tls(psk()[1]), return_exceptions=True)
        assert results[0] is error
        assert isinstance(results[1], qio.TLSError)
    run(loop, main)


# ---- WebSocket ----

def test_messages(loop):
    async def main():
        a, b = await websocket_pair(mode='messages')
        big = 'grüße' * 100_000
        sends = [asyncio.create_task(a.send(message))
                 for message in ('text', b'bytes', big, memoryview(b'last'))]
        assert [await b.recv() for _ in range(4)] == ['text', b'bytes', big, b'last']
        await asyncio.gather(*sends)
        task = asyncio.create_task(b.recv())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        a.ping(b'are you there?')
        await a.send('one')
        await a.send(b'two')
        await a.aclose()
        assert [message async for message in b] == ['one', b'two']
        with pytest.raises(qio.WebSocketError):
            await b.recv()
        await b.aclose()
        c, d = pair()
        for call in (c.recv, lambda: c.send('x'), c.ping, lambda: c.request):
            with pytest.raises(qio.UnsupportedError):
                call()
        c.close()
        d.close()
    run(loop, main)


def test_a_websocket_server_answers_requests(loop):
    def on_request(channel):
        return channel.request.path == '/chat'

    async def main():
        async def handler(channel):
            async for message in channel:
                await channel.send(message)

        async with await aio.start_server(handler, 'ws://127.0.0.1:0', ws_mode='messages',
                                          on_request=on_request) as server:
            port = server.port
            async with await aio.connect(f'ws://127.0.0.1:{port}/chat',
                                         ws_mode='messages') as client:
                await client.send('hello')
                assert await client.recv() == 'hello'
            with pytest.raises(qio.Error, match='403'):
                await aio.connect(f'ws://127.0.0.1:{port}/other')
    run(loop, main)


def test_a_tls_server_drops_who_speaks_no_tls(loop):
    server_creds, client_creds = psk()

    async def main():
        async def handler(channel):
            await channel.write(await channel.readline())

        async with await aio.start_server(handler, 'tcp://127.0.0.1:0', tls=server_creds,
                                          handshake_timeout=1) as server:
            plain = await aio.connect(server.address.replace('tls+', ''))
            silent = await aio.connect(server.address.replace('tls+', ''))
            await plain.write(b'GET / HTTP/1.0\r\n\r\n')
            async with await aio.connect(server.address, tls=client_creds) as client:
                await client.write(b'hello\n')
                assert await client.readline() == b'hello\n'
                assert client.tls.version == 'TLS1.3'
            with pytest.raises(ConnectionResetError):   # its request was never read
                await plain.read()
            plain.close()
            assert await silent.read() == b''       # dropped when its time was over
            silent.close()
    run(loop, main)


# ---- descriptors, commands, memory ----

def test_descriptors(loop):
    async def main():
        a, b = pair()
        async with a, b:
            read_end, write_end = os.pipe()
            task = asyncio.create_task(b.recv_fds(100))
            await asyncio.sleep(0)
            assert await a.send_fds(b'take this', [write_end]) == 9
            os.close(write_end)
            data, [fd] = await task
            assert data == b'take this'
            async with AsyncChannel(qio.from_fd(fd)) as writer:
                await writer.write(b'through the pipe')
            async with AsyncChannel(qio.from_fd(read_end)) as reader:
                assert await reader.read() == b'through the pipe'
            big = asyncio.create_task(a.send_fds(bytes(1_000_000), [0]))
            data, [fd] = await b.recv_fds(10)
            fd.close()
            rest = await b.read_exactly(1_000_000 - len(data))
            assert rest + data == bytes(1_000_000)
            assert await big == 1_000_000
    run(loop, main)


def test_commands(loop):
    async def main():
        sort = AsyncChannel(qio.command(['sh', '-c', 'sort; echo oops >&2; exit 3'],
                                        stderr='pipe'))
        async with sort:
            await sort.write(b'pear\napple\n')
            await sort.send_eof()
            assert [line async for line in sort] == [b'apple\n', b'pear\n']
            async with sort.stderr as stderr:
                assert await stderr.read() == b'oops\n'
            assert await sort.wait_exit() == 3
            assert sort.returncode == 3
        command = AsyncChannel(qio.command(['cat']))
        task = asyncio.create_task(command.wait_exit())
        await asyncio.sleep(0)
        assert command.returncode is None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        command.terminate()
        assert await command.wait_exit() == -15
        await command.aclose()
        assert await command.wait_exit() == -15
        cat = await aio.connect('exec:cat', allow='all')
        large = asyncio.create_task(cat.write(b'x' * 500_000))
        assert await cat.read_exactly(500_000) == b'x' * 500_000
        await large
        assert cat.stderr is None
        await cat.aclose()
        assert cat.returncode == 0
    run(loop, main)


def test_memory_and_files(loop, tmp_path):
    async def main():
        (tmp_path / 'file').write_bytes(b'one\ntwo\n' * 40_000)
        async with AsyncChannel(qio.open_file(tmp_path / 'file')) as file:
            assert await file.read() == b'one\ntwo\n' * 40_000
        buffer = AsyncChannel(qio.buffer(b'some text\n'))
        assert await buffer.readline() == b'some text\n'
        assert await buffer.read() == b''
        assert await buffer.write(b'more') == 4
        assert buffer.channel.getvalue() == b'some text\nmore'
        assert await AsyncChannel(qio.null()).read() == b''
        assert await buffer.wait('in') & qio.IN
    run(loop, main)


def test_wait(loop):
    async def main():
        a, b = pair()
        async with a, b:
            assert await a.wait(qio.OUT) == qio.OUT
            for condition in (qio.IN, 'in', qio.IN | qio.OUT):
                if condition != qio.IN | qio.OUT:
                    task = asyncio.create_task(b.wait(condition))
                    await asyncio.sleep(0)
                    assert not task.done()
                    await a.write(b'x')
                    assert await task == qio.IN
                    assert await b.read_some() == b'x'
                else:
                    assert await b.wait(condition) == qio.OUT
    run(loop, main)


def test_both_directions_of_one_condition(loop):
    """IN or OUT, where neither holds at first: through the library's own loop."""
    async def main():
        a, b = pair()
        async with a, b:
            b.channel.setblocking(False)
            total = 0
            while n := b.channel.write(bytes(100_000)):
                total += n
            task = asyncio.create_task(b.wait(qio.IN | qio.OUT))
            for _ in range(3):
                await asyncio.sleep(0)
            assert not task.done()
            await a.write(b'x')
            assert await task & qio.IN
    run(loop, main)


# ---- relays ----

def test_relay(loop):
    async def main():
        client, a = pair()
        b, server = pair()
        task = asyncio.create_task(aio.relay(a, b.channel, filter=lambda _, data: data.upper()))
        await client.write(b'hello')
        assert await server.read_some() == b'HELLO'
        with pytest.raises(qio.BusyError):
            await a.read_some()
        await client.send_eof()
        await server.send_eof()
        assert await task == qio.Counts(a_to_b=5, b_to_a=0)
        task = asyncio.create_task(aio.relay(a, b))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for channel in (client, a, b, server):
            channel.close()
    run(loop, main)


def test_a_filter_that_fails_fails_the_relay(loop):
    def fail(direction, data):
        raise KeyError(data)

    async def main():
        client, a = pair()
        b, server = pair()
        task = asyncio.create_task(aio.relay(a, b, filter=fail))
        await client.write(b'x')
        with pytest.raises(KeyError):
            await task
        for channel in (client, a, b, server):
            channel.close()
    run(loop, main)
