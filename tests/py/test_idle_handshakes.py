# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that begin a handshake and never end it, by the hundred, against one listener.

One takes a descriptor here, one in the server, and one there for the timer of each layer.

Owns: Idlers, plain sockets that send nothing or the first half of a greeting and then wait to be
dropped.  Run as a program it says what a number of them costs:
    ./run python3 tests/py/test_idle_handshakes.py 5000 tls
"""

import asyncio
import functools
import os
import resource
import select
import socket
import sys
import threading
import time

import pytest

import qio
import qio.aio as aio

PATIENCE = 60
HALVES = {
    'tls': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(100),
    'ws': b'GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websock',
    'tls+ws': b'GET / HTTP/1.1\r\nHost: localhost\r\n',
}


class Idlers(threading.Thread):
    """count clients of a server; every second one says the half of what it should."""

    def __init__(self, server, count, half, on_connected):
        super().__init__()
        self.address = ('127.0.0.1', server.port)
        self.count, self.half, self.on_connected = count, half, on_connected
        self.dropped = 0

    def run(self):
        poll = select.poll()
        socks = {}
        for i in range(self.count):
            sock = socket.create_connection(self.address)
            socks[sock.fileno()] = sock
            poll.register(sock, select.POLLIN)
            if i % 2:
                sock.send(self.half)
        self.on_connected()
        deadline = time.monotonic() + PATIENCE
        while socks and time.monotonic() < deadline:
            for fd, _ in poll.poll(1000):
                self.look(poll, socks, fd)
        for sock in socks.values():
            sock.close()

    def look(self, poll, socks, fd):
        """Its last words, an alert or a reply, come before the end."""
        try:
            if socks[fd].recv(4096):
                return
        except ConnectionResetError:
            pass
        self.dropped += 1
        poll.unregister(fd)
        socks.pop(fd).close()


def descriptors():
    return len(os.listdir('/proc/self/fd'))


def resident():
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def flood(layers, count, handshake_timeout):
    """Returns: KiB a connection when all are there, the clients that were dropped, descriptors
    before and after."""
    async def handler(channel):
        await channel.write_all(await channel.read_exactly(5))

    async def talk(server):
        async with await aio.connect(server.address, tls=anon[1]) as client:
            await client.write_all(b'hello')
            assert await client.read_exactly(5) == b'hello'

    loop = asyncio.get_running_loop()
    anon = [qio.TLSCreds.anon(server=server) if 'tls' in layers else None for server in (1, 0)]
    start = functools.partial(aio.start_server, handler, f'{layers}+tcp://127.0.0.1:0',
                              backlog=1024, tls=anon[0], handshake_timeout=handshake_timeout)
    async with await start() as server:     # what the loop itself needs is there after it
        await talk(server)
    before = descriptors()
    async with await start() as server:
        memory = resident()
        connected = asyncio.Event()
        idlers = Idlers(server, count, HALVES[layers],
                        lambda: loop.call_soon_threadsafe(connected.set))
        idlers.start()
        await connected.wait()
        await talk(server)          # it came after them all
        each = (resident() - memory) / count / 1024
        await loop.run_in_executor(None, idlers.join)
        await talk(server)
    await loop.shutdown_default_executor()
    return each, idlers.dropped, before, descriptors()


@pytest.mark.parametrize('layers', HALVES)
def test_idle_handshakes_are_dropped_and_accepting_goes_on(layers):
    each, dropped, before, after = asyncio.run(flood(layers, 150, 1))
    assert dropped == 150
    assert after == before
    assert each < 100       # KiB; about 20 were seen, and some of it is the allocator's


def main(count, layers):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    each, dropped, before, after = asyncio.run(flood(layers, count, 10))
    print(f'{layers}: {count} idle clients, {each:.1f} KiB each, {dropped} dropped, '
          f'descriptors {before} before, {after} after')


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2])
