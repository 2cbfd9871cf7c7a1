# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio against asyncio's own streams and protocols, on asyncio's loop and on uvloop.

One operation is a 64 B message to the other side and one back, both ends in one loop on one thread,
over a unix socket; in bulk, 64 KiB written and read.  Slices of the case and of its floor
alternate; times are of the process's processor.
usage: aio.py asyncio|uvloop      Output: the lines of bench.h.
"""

import asyncio
import os
import socket
import sys
import time

import qio
import qio.aio

KIND = sys.argv[1]
MESSAGE, BULK = 64, 65536
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 200))


class Channels:
    """await readinto, await write."""

    async def start(self):
        self.a, self.b = map(qio.aio.AsyncChannel, qio.pair())
        self.task = asyncio.create_task(self.echo(self.b))

    @staticmethod
    async def echo(channel):
        buf = bytearray(MESSAGE)
        while await channel.readinto(buf):
            await channel.write(buf)

    async def run(self, n):
        channel, out, buf = self.a, bytes(MESSAGE), bytearray(MESSAGE)
        for _ in range(n):
            await channel.write(out)
            await channel.readinto(buf)

    async def stop(self):
        self.a.close()
        await self.task
        self.b.close()


class Exactly(Channels):
    """As streams: await read_exactly, await write."""

    @staticmethod
    async def echo(channel):
        while data := await channel.read_exactly(MESSAGE, True):
            await channel.write(data)

    async def run(self, n):
        channel, out = self.a, bytes(MESSAGE)
        for _ in range(n):
            await channel.write(out)
            await channel.read_exactly(MESSAGE)


class Streams:
    async def start(self):
        a, b = socket.socketpair()
        self.a, self.to_a = await asyncio.open_connection(sock=a)
        self.b, self.to_b = await asyncio.open_connection(sock=b)
        self.task = asyncio.create_task(self.echo(self.b, self.to_b))

    @staticmethod
    async def echo(reader, writer):
        try:
            while True:
                writer.write(await reader.readexactly(MESSAGE))
        except asyncio.IncompleteReadError:
            pass

    async def run(self, n):
        out = bytes(MESSAGE)
        for _ in range(n):
            self.to_a.write(out)
            await self.a.readexactly(MESSAGE)

    async def stop(self):
        self.to_a.close()
        await self.task
        self.to_b.close()


class PingPong(asyncio.Protocol):
    left = 0
    end = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        PingPong.left -= 1
        if PingPong.left > 0:
            self.transport.write(data)
        else:
            PingPong.end.set_result(None)


class Protocols:
    async def start(self):
        loop = asyncio.get_running_loop()
        self.transports = [(await loop.create_connection(PingPong, sock=end))[0]
                           for end in socket.socketpair()]

    async def run(self, n):
        PingPong.left = 2 * n
        PingPong.end = asyncio.get_running_loop().create_future()
        self.transports[0].write(bytes(MESSAGE))
        await PingPong.end

    async def stop(self):
        for transport in self.transports:
            transport.close()


class Transports(Protocols):
    """The same protocol on our transports."""

    async def start(self):
        self.transports = [(await qio.aio.create_connection(PingPong, channel))[0]
                           for channel in qio.pair()]


class Bulk:
    """64 KiB written and read by one task."""

    async def start(self):
        self.a, self.b = map(qio.aio.AsyncChannel, qio.pair())

    async def run(self, n):
        out, buf = bytes(BULK), bytearray(BULK)
        write, readinto = self.a.write, self.b.readinto
        for _ in range(n):
            await write(out)
            left = BULK
            while left:
                left -= await readinto(buf)

    async def stop(self):
        self.a.close()
        self.b.close()


class RawBulk:
    """The same with blocking sockets."""

    async def start(self):
        self.a, self.b = socket.socketpair()

    async def run(self, n):
        out, buf = bytes(BULK), bytearray(BULK)
        for _ in range(n):
            self.a.sendall(out)
            left = BULK
            while left:
                left -= self.b.recv_into(buf)

    async def stop(self):
        self.a.close()
        self.b.close()


async def slice_ns(case, n):
    start = time.process_time_ns()
    await case.run(n)
    return (time.process_time_ns() - start) / n


async def count(case):
    n = 1
    while await slice_ns(case, n) * n < 2e6:
        n *= 2
    return n


async def compare(title, rows):
    """rows: (name, case, floor, goal) of cases that are measured in turn, each once."""
    cases = list(dict.fromkeys(case for row in rows for case in row[1:3]))
    made = {case: case() for case in cases}
    for case in made.values():
        await case.start()
    counts = {case: await count(made[case]) for case in cases}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for case in cases:
            best[case] = min(best[case], await slice_ns(made[case], counts[case]))
    for name, case, floor, goal in rows:
        print(f"{KIND}: {title}{name}\t{best[case]:.1f}\t{best[floor]:.1f}\t"
              f"{best[case] / best[floor]:.3f}\t{goal}", flush=True)
    for case in made.values():
        await case.stop()


async def main():
    # asyncio reads into 256 KiB that the C library maps afresh each time, until some larger block
    # was freed once: without this its own figures are three times as bad.
    bytearray(4 << 20)
    own = KIND == "asyncio"
    await compare("64 B ", [
        ("await readinto, write / Protocol", Channels, Protocols, 1.3 if own else 1.4),
        ("await readinto, write / streams", Channels, Streams, 0.8 if own else 1.0),
        ("await read_exactly, write / streams", Exactly, Streams, 0),
        ("Transport / Protocol", Transports, Protocols, 1.0),
    ])
    await compare("64 KiB ", [
        ("await write, readinto / raw sockets", Bulk, RawBulk, round(1 / 0.95, 3)),
    ])


def run():
    if KIND == "uvloop":
        try:
            import uvloop
        except ImportError:
            print("uvloop: 64 B await\tnot found")
            return
        uvloop.install()
    asyncio.run(main())


run()
