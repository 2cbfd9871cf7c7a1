# SPDX-License-Identifier: LGPL-2.1-or-later
"""The transports of qio.aio: what asyncio's protocols and streams are promised of one."""

import asyncio
import socket

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, collected, run


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    keep_open = False

    def __init__(self):
        self.told = []
        self.data = b''
        self.event = asyncio.Event()

    def _tell(self, *what):
        self.told.append(what)
        self.event.set()

    def connection_made(self, transport):
        self.transport = transport
        self._tell('made')

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.event.set()

    def eof_received(self):
        self._tell('eof')
        return self.keep_open

    def pause_writing(self):
        self._tell('pause')

    def resume_writing(self):
        self._tell('resume')

    def connection_lost(self, error):
        self._tell('lost', error)

    async def until(self, fn):
        while not fn():
            self.event.clear()
            await self.event.wait()

    async def lost(self):
        await self.until(lambda: self.told[-1][0] == 'lost')
        return self.told[-1][1]


async def connected(factory=Recorder):
    ours, theirs = qio.pair()
    transport, protocol = await aio.create_connection(factory, ours)
    return transport, protocol, aio.AsyncChannel(theirs)


def test_bytes_both_ways_and_the_end(loop):
    async def main():
        transport, protocol, other = await connected()
        assert isinstance(transport, asyncio.Transport)
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        transport.write(b'hello ')
        transport.writelines([b'wor', bytearray(b'ld'), memoryview(b'!')])
        assert await other.read_exactly(12) == b'hello world!'
        await other.write(b'answer')
        await protocol.until(lambda: protocol.data == b'answer')
        assert not transport.is_closing()
        await other.send_eof()
        assert await protocol.lost() is None
        assert transport.is_closing()
        assert protocol.told == [('made',), ('eof',), ('lost', None)]
        assert await other.read() == b''
        transport.close()
        transport.abort()
        transport.write(b'into the void')
        other.close()
    run(loop, main)


def test_half_open(loop):
    async def main():
        transport, protocol, other = await connected()
        protocol.keep_open = True
        await other.send_eof()
        await protocol.until(lambda: ('eof',) in protocol.told)
        transport.write(b'still here')
        assert transport.can_write_eof()
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError, match='write_eof'):
            transport.write(b'x')
        assert await other.read() == b'still here'
        transport.close()
        assert await protocol.lost() is None
        other.close()
    run(loop, main)


def test_flow_control(loop):
    async def main():
        transport, protocol, other = await connected()
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        sent = 0
        while protocol.told[-1] != ('pause',):
            transport.write(b'x' * 10_000)
            sent += 10_000
        assert transport.get_write_buffer_size() > 1000
        transport.write(b'y' * 777)
        assert protocol.told == [('made',), ('pause',)]
        transport.write_eof()
        assert await other.read() == b'x' * sent + b'y' * 777
        assert protocol.told == [('made',), ('pause',), ('resume',)]
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.lost()
        other.close()
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(high=1, low=2)
    run(loop, main)


def test_close_writes_what_waits_and_abort_does_not(loop):
    async def main():
        for end in ('close', 'abort'):
            transport, protocol, other = await connected()
            transport.write(bytes(3_000_000))
            assert transport.get_write_buffer_size() > 0
            getattr(transport, end)()
            assert transport.is_closing()
            data = await other.read()
            assert await protocol.lost() is None
            assert len(data) == 3_000_000 if end == 'close' else len(data) < 3_000_000
            other.close()
    run(loop, main)


def test_pause_and_resume_reading(loop):
    async def main():
        transport, protocol, other = await connected()
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        await other.write(b'x')
        for _ in range(5):
            await asyncio.sleep(0)
        assert protocol.data == b''
        transport.resume_reading()
        await protocol.until(lambda: protocol.data == b'x')
        transport.pause_reading()
        transport.close()
        assert await protocol.lost() is None
        other.close()
    run(loop, main)


class Buffered(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.buffer = bytearray(7)
        self.data = b''
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, n):
        self.data += self.buffer[:n]

    def connection_lost(self, error):
        self.lost.set_result(error)


def test_buffered_protocol(loop):
    async def main():
        _, protocol, other = await connected(Buffered)
        await other.write(b'0123456789' * 100)
        other.close()
        assert await protocol.lost is None
        assert protocol.data == b'0123456789' * 100
    run(loop, main)


def test_errors(loop):
    told = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for name in ('data_received', 'connection'):
            transport, protocol, other = await connected()
            if name == 'connection':
                other.close()
                transport.pause_reading()
                while not transport.is_closing():
                    transport.write(b'x')
                    await asyncio.sleep(0)
                assert isinstance(await protocol.lost(), (BrokenPipeError, ConnectionResetError))
                assert told == []               # an ordinary end
            else:
                def fail(data):
                    raise KeyError(data)
                protocol.data_received = fail
                transport.set_protocol(protocol)
                await other.write(b'x')
                error = await protocol.lost()
                assert isinstance(error, KeyError)
                assert told.pop()['exception'] is error
                assert await other.read() == b''
                other.close()
        with pytest.raises(TypeError):
            transport.write('text')
    run(loop, main)
    assert told == []


def test_extra_info(loop):
    async def main():
        server = await aio.start_server(aio.AsyncChannel.read, 'tcp://127.0.0.1:0')
        transport, _ = await aio.create_connection(Recorder, server.address)
        assert transport.get_extra_info('peername') == ('127.0.0.1', server.port)
        sock = transport.get_extra_info('socket')
        assert sock.family == socket.AF_INET
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info('sockname') == sock.getsockname()
        assert transport.get_extra_info('channel').kind == 'socket'
        assert transport.get_extra_info('cipher') is None
        assert transport.get_extra_info('nonsense', 'default') == 'default'
        transport.close()
        await server.wait_closed() if server.close() else None
        await server.aclose()
    run(loop, main)


def test_streams(loop):
    async def main():
        async def echo(channel):
            reader, writer = await aio.open_streams(channel)
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await aio.start_server(echo, 'tcp://127.0.0.1:0') as server:
            reader, writer = await aio.open_streams(server.address)
            writer.write(b'one\n' * 50_000)
            writer.write_eof()
            assert await reader.read() == b'ONE\n' * 50_000
            writer.close()
            await writer.wait_closed()
    run(loop, main)


def test_over_layers(loop):
    async def main():
        key = bytes(range(32))
        ends = [aio.AsyncChannel(channel) for channel in qio.pair()]
        server = qio.TLSCreds.psk(lookup={'alice': key}.get, server=True)
        client = qio.TLSCreds.psk(user='alice', key=key)
        ends = await asyncio.gather(ends[0].websocket(server=True), ends[1].websocket())
        ends = await asyncio.gather(ends[0].start_tls(server, server=True),
                                    ends[1].start_tls(client))
        transport, protocol = await aio.create_connection(Recorder, ends[0])
        assert transport.get_extra_info('cipher')[1] == 'TLS1.3'
        transport.write(b'x' * 2_000_000)
        assert protocol.told == [('made',), ('pause',)]
        transport.write(b'last')
        transport.close()
        assert await ends[1].read_exactly(2_000_004) == b'x' * 2_000_000 + b'last'
        assert await ends[1].read() == b''
        assert await protocol.lost() is None
        await ends[1].aclose()
        a, b = (aio.AsyncChannel(channel) for channel in qio.pair())
        a, b = await asyncio.gather(a.start_tls(server, server=True), b.start_tls(client))
        transport, protocol = await aio.create_connection(Recorder, a)
        await b.write(b'y' * 500_000)
        await protocol.until(lambda: len(protocol.data) == 500_000)
        await b.send_eof()
        assert await protocol.lost() is None
        await b.aclose()
    run(loop, main)


def test_a_server_of_protocols(loop):
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data[::-1])

    async def main():
        async with await aio.create_server(Echo, 'tcp://127.0.0.1:0') as server:
            async with await aio.connect(server.address) as client:
                await client.write(b'abc')
                assert await client.read_some() == b'cba'
    run(loop, main)


def test_channels_without_a_descriptor(loop):
    async def main():
        transport, protocol = await aio.create_connection(Recorder, qio.buffer(b'all of it'))
        assert await protocol.lost() is None
        assert protocol.data == b'all of it'
        command = qio.command(['cat'])
        transport, protocol = await aio.create_connection(Recorder, command)
        assert transport.get_extra_info('pid') == command.pid
        transport.write(b'through the cat')
        await protocol.until(lambda: protocol.data == b'through the cat')
        transport.write_eof()
        assert await protocol.lost() is None
    run(loop, main)


def test_the_channel_closed_behind_its_back(loop):
    async def main():
        transport, protocol, other = await connected()
        transport.get_extra_info('channel').close()
        assert await protocol.lost() is None
        other.close()
        del transport, protocol
        collected()
    run(loop, main)
