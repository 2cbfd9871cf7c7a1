# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio over channels written in Python, and signals."""

import asyncio
import os
import random
import signal
import subprocess
import sys

import pytest

import qio
from aioloops import LOOPS, run
from qio.aio import AsyncChannel


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


class Memory(qio.CustomChannel):
    """One direction's worth of memory; what is written is read by the other end."""

    def __init__(self, room=10_000):
        super().__init__()
        self.data, self.room, self.other, self.ended = bytearray(), room, None, False

    def readinto(self, b):
        if not self.data:
            return 0 if self.ended else None
        n = min(len(b), len(self.data))
        b[:n] = self.data[:n]
        del self.data[:n]
        self.other.notify()
        return n

    def write(self, b):
        n = min(len(b), self.room - len(self.other.data))
        self.other.data += b[:n]
        self.other.notify()
        return n or None

    def shutdown(self, how):
        self.other.ended = True
        self.other.notify()

    def close(self):
        self.other.ended = True
        self.other.notify()


def memory_pair():
    a, b = Memory(), Memory()
    a.other, b.other = b, a
    return AsyncChannel(a), AsyncChannel(b)


def test_channels_that_notify(loop):
    async def main():
        a, b = memory_pair()
        task = asyncio.create_task(b.read_exactly(5))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        await a.write(b'hello')
        assert await task == b'hello'
        write = asyncio.create_task(a.write(b'x' * 100_000))
        second = asyncio.create_task(a.write(b'second'))
        assert await b.read_exactly(100_000) == b'x' * 100_000
        assert await write == 100_000
        assert await b.read_some() == b'second'
        assert await second == 6
        for end in ('cancel', 'close'):
            task = asyncio.create_task(b.read_some())
            await asyncio.sleep(0)
            task.cancel() if end == 'cancel' else b.close()
            with pytest.raises(asyncio.CancelledError if end == 'cancel' else qio.AbortedError):
                await task
        a.close()
        a.channel.other = b.channel.other = None
    run(loop, main)


def test_layers_over_channels_that_notify(loop):
    async def main():
        key = bytes(range(32))
        a, b = memory_pair()
        ends = a.channel, b.channel
        server = qio.TLSCreds.psk(lookup={'alice': key}.get, server=True)
        a, b = await asyncio.gather(a.start_tls(server, server=True),
                                    b.start_tls(qio.TLSCreds.psk(user='alice', key=key)))
        a, b = await asyncio.gather(a.websocket(server=True, mode='messages'),
                                    b.websocket(mode='messages'))
        sends = [asyncio.create_task(a.send(message)) for message in ('one', b'x' * 200_000)]
        assert await b.recv() == 'one'
        assert await b.recv() == b'x' * 200_000
        await asyncio.gather(*sends)
        await asyncio.gather(a.aclose(), b.aclose())
        for end in ends:
            end.other = None
    run(loop, main)


def test_random_cancellations_of_a_channel_that_notifies(loop):
    rng = random.Random(5)
    sent = rng.randbytes(20_000)

    async def main():
        a, b = memory_pair()
        got = bytearray()

        async def write():
            rest = sent
            while rest:
                n = rng.randrange(1, 300)
                await a.write(rest[:n])
                rest = rest[n:]
                await asyncio.sleep(0)
            await a.send_eof()

        async def read():
            if rng.random() < 0.5:
                got.extend(await b.read_exactly(rng.randrange(1, 500)))
            else:
                got.extend(await b.read_some(rng.randrange(1, 500)))

        writer = asyncio.create_task(write())
        while not writer.done() or len(got) < len(sent):
            task = asyncio.create_task(read())
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except qio.IncompleteReadError as error:
                got.extend(error.partial)
        assert got == sent
        a.close()
        b.close()
        a.channel.other = b.channel.other = None
    run(loop, main)


def test_exceptions_of_a_channel_are_the_same_objects(loop):
    class Failing(qio.CustomChannel):
        def __init__(self):
            super().__init__()
            self.error, self.once = None, False

        def readinto(self, b):
            if self.error:
                self.fail()

        def write(self, b):
            self.fail()

        def fail(self):
            error = self.error
            if self.once:
                self.error = None
            raise error

    async def main():
        channel = AsyncChannel(failing := Failing())
        task = asyncio.create_task(channel.read_exactly(3))
        await asyncio.sleep(0)
        failing.error = KeyError('mine')
        failing.notify()
        with pytest.raises(KeyError) as caught:
            await task
        assert caught.value is failing.error
        for call in (lambda: channel.write(b'x'), channel.readline, channel.read_some,
                     lambda: channel.writev([b'x'])):
            with pytest.raises(KeyError) as caught:
                await call()
            assert caught.value is failing.error
        failing.error = asyncio.CancelledError('from inside')
        with pytest.raises(asyncio.CancelledError) as caught:
            await channel.read_some()
        assert caught.value is failing.error
        failing.error, failing.once = ValueError('below tls'), True
        error = failing.error
        with pytest.raises(ValueError) as caught:
            await channel.start_tls(qio.TLSCreds.psk(user='a', key=bytes(16)))
        assert caught.value is error
        channel.close()
    run(loop, main)


def test_a_channel_that_reads_itself(loop):
    class Silly(qio.CustomChannel):
        def readinto(self, b):
            self.task = self.operation.send(None)

    async def main():
        channel = AsyncChannel(silly := Silly())
        silly.operation = channel.read_some()
        with pytest.raises(RuntimeError, match='that runs'):
            await silly.operation
        del silly.operation
        channel.close()
    run(loop, main)


INTERRUPTED = '''
import asyncio, sys, qio, qio.aio
if sys.argv[1] == 'uvloop':
    import uvloop
    uvloop.install()

async def main():
    a, b = map(qio.aio.AsyncChannel, qio.pair())
    try:
        print('waiting', flush=True)
        if sys.argv[2] == 'read':
            await b.read_exactly(1)
        elif sys.argv[2] == 'write':
            await b.write(bytes(10_000_000))
        elif sys.argv[2] == 'handshake':
            await b.start_tls(qio.TLSCreds.psk(user='a', key=bytes(16)))
        else:
            await qio.aio.AsyncChannel(qio.command(['sleep', '1000'], close_timeout=0)).wait_exit()
    finally:
        print('cleaned up', flush=True)
        a.close()
        b.close()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print('interrupted', flush=True)
'''


@pytest.mark.parametrize('what', ['read', 'write', 'handshake', 'exit'])
def test_ctrl_c(loop, what):
    with subprocess.Popen([sys.executable, '-W', 'ignore', '-c', INTERRUPTED, loop, what],
                          stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == 'waiting\n'
        while not waits(child.pid):
            pass
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == 'cleaned up\ninterrupted\n'
        assert child.wait() == 0


def waits(pid):
    """Whether the process sleeps in a system call that waits for descriptors."""
    try:
        with open(f'/proc/{pid}/syscall', encoding='ascii') as file:
            number = file.read().split()[0]
    except OSError:
        return False
    return number in (str(232), str(281), str(22), str(441)) if os.uname().machine == 'x86_64' \
        else number != 'running'
