# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio, on asyncio's own loop and on uvloop."""

import asyncio
import contextvars
import os
import random
import socket
import subprocess
import sys
import threading

import pytest

import qio
from aioloops import LOOPS, collected, run
from verbs import every_verb

aio = pytest.importorskip('qio.aio')
AsyncChannel = aio.AsyncChannel


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


def pair():
    return map(AsyncChannel, qio.pair())


# ---- reading and writing ----

def test_verbs(loop):
    run(loop, lambda: every_verb(*pair()))


def test_waits_for_what_comes(loop):
    async def main():
        a, b = pair()
        async with a, b:
            calls = [lambda: b.read_some(10), lambda: b.readinto(bytearray(10)),
                     lambda: b.read_exactly(3), lambda: b.readline(), lambda: b.peek(3),
                     lambda: b.readv([bytearray(3)]), lambda: b.recv_fds(3)]
            for call in calls:
                task = asyncio.create_task(call())
                for _ in range(3):
                    await asyncio.sleep(0)
                assert not task.done()
                await a.write(b'ab\n')
                assert await task in (b'ab\n', 3, (b'ab\n', []))
                if call is calls[4]:
                    assert await b.read_some() == b'ab\n'
    run(loop, main)


def test_large_writes_wait_for_the_reader_and_go_out_whole(loop):
    async def main():
        a, b = pair()
        async with a, b:
            size = 400_000
            writes = [asyncio.create_task(a.write(bytes([i]) * size)) for i in range(4)]
            for i in range(4):
                assert await b.read_exactly(size) == bytes([i]) * size
            assert await asyncio.gather(*writes) == [size] * 4
    run(loop, main)


def test_a_cancelled_write_tells_how_far_it_came_and_lets_the_next_one_go(loop):
    async def main():
        a, b = pair()
        async with a, b:
            first = asyncio.create_task(a.write(b'x' * 5_000_000))
            second = asyncio.create_task(a.write(b'never'))
            third = asyncio.create_task(a.writev([b'th', b'ird']))
            while a.channel.wait(qio.OUT, timeout=0):
                await asyncio.sleep(0)
            second.cancel()
            first.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await first
            written = caught.value.bytes_written
            assert 0 < written < 5_000_000
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await b.read_exactly(written) == b'x' * written
            assert await b.read_some() == b'third'
            assert await third == 5
    run(loop, main)


def test_a_second_reader_is_busy(loop):
    async def main():
        a, b = pair()
        async with a, b:
            task = asyncio.create_task(b.read_some())
            await asyncio.sleep(0)
            for call in (b.read_some, b.readline, AsyncChannel(b.channel).read):
                with pytest.raises(qio.BusyError):
                    await call()
            await a.write(b'x')
            assert await task == b'x'
    run(loop, main)


def test_the_mode_does_not_matter_and_stays(loop):
    async def main():
        for blocking in (True, False):
            a, b = pair()
            async with a, b:
                b.channel.setblocking(blocking)
                task = asyncio.create_task(b.read_exactly(2))
                await asyncio.sleep(0)
                await a.write(b'ab')
                assert await task == b'ab'
                assert b.channel.getblocking() is blocking
                if loop == 'asyncio':           # uvloop's library sets every descriptor
                    assert os.get_blocking(b.fileno())
    run(loop, main)


def test_what_an_operation_is(loop):
    """A coroutine to everything in asyncio; and one that nobody awaits is told of."""
    async def main():
        a, b = pair()
        async with a, b:
            await a.write(b'0123456789')
            assert await asyncio.wait_for(b.read_some(1), 5) == b'0'
            assert await asyncio.gather(b.read_some(1), a.write(b'x')) == [b'1', 1]
            assert await asyncio.shield(b.read_some(1)) == b'2'
            assert await asyncio.create_task(b.read_exactly(1)) == b'3'
            assert asyncio.iscoroutine(operation := b.read_some(1))
            assert not asyncio.isfuture(operation)
            assert await operation == b'4'
            with pytest.raises(RuntimeError, match='reuse'):
                await operation
            with pytest.warns(RuntimeWarning, match='never awaited'):
                b.read_some(1)
                collected()
            assert await b.read_some(1) == b'5'
            (operation := b.read_some(1)).close()
            assert await b.read_some(1) == b'6'
    run(loop, main)


def test_the_context_of_a_task_is_its_own(loop):
    var = contextvars.ContextVar('var', default='none')

    async def reader(channel, value):
        var.set(value)
        for _ in range(3):
            await channel.read_exactly(2)
            assert var.get() == value
        return asyncio.current_task()

    async def main():
        pairs = [tuple(pair()) for _ in range(3)]
        tasks = [asyncio.create_task(reader(ours, str(i))) for i, (ours, _) in enumerate(pairs)]
        for _ in range(6):
            for _, other in pairs:
                await other.write(b'x')
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == tasks
        assert var.get() == 'none'
        for ends in pairs:
            for end in ends:
                end.close()
    run(loop, main)


# ---- cancellation, time ----

def test_timeouts_lose_nothing(loop):
    async def main():
        a, b = pair()
        async with a, b:
            await a.write(b'half a li')
            for call in (b.readline, lambda: b.read_exactly(20), b.read):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(call(), 0.01)
            await a.write(b'ne\n')
            assert await b.readline() == b'half a line\n'
    run(loop, main)


@pytest.mark.parametrize('seed', range(4))
def test_random_cancellations_lose_no_byte(loop, seed):
    """Readers are cancelled at any moment; the bytes that the others got are all that was sent."""
    rng = random.Random(seed)
    sent = bytes(rng.randrange(256) for _ in range(10_000))

    async def main():
        a, b = pair()
        got = bytearray()
        buf = bytearray(64)

        async def read():
            which = rng.randrange(5)
            if which == 0:
                got.extend(await b.read_some(rng.randrange(1, 50)))
            elif which == 1:
                n = await b.readinto(memoryview(buf)[:rng.randrange(1, 64)])
                got.extend(buf[:n])
            elif which == 2:
                got.extend(await b.read_exactly(rng.randrange(1, 9)))
            elif which == 3:
                got.extend(await b.read_until([b'\0', b'\1', b'\2']))
            else:
                assert await b.peek(3)

        async def write():
            rest = sent
            while rest:
                n = rng.randrange(1, 40)
                await a.write(rest[:n])
                rest = rest[n:]
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
            await a.send_eof()

        writer = asyncio.create_task(write())
        cancelled = ended = 0
        while not ended:
            task = asyncio.create_task(read())
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.6:
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
            except (qio.IncompleteReadError, AssertionError) as error:
                got.extend(getattr(error, 'partial', b''))
            ended = writer.done() and len(got) >= len(sent)
        assert bytes(got) == sent
        assert cancelled > 20
        a.close()
        b.close()
    run(loop, main)


def test_a_reader_that_never_waits_gives_the_loop_its_turn(loop):
    async def main():
        a, b = pair()
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with a, b:
            counter = asyncio.create_task(count())
            await asyncio.sleep(0)
            await a.write(bytes(500))
            before = turns
            for _ in range(500):
                await b.read_some(1)
            assert turns - before >= 20
            counter.cancel()
    run(loop, main)


# ---- descriptors and loops ----

def test_close_ends_who_waits_and_the_number_can_be_used_again(loop):
    async def main():
        for again in range(3):
            a, b = pair()
            numbers = a.fileno(), b.fileno()
            task = asyncio.create_task(b.read_some())
            for _ in range(2):
                await asyncio.sleep(0)
            if again == 0:
                b.close()
            elif again == 1:
                b.channel.close()
            else:
                await b.aclose()
            with pytest.raises(qio.AbortedError):
                await task
            a.close()
            # The loop's own transports take the numbers, too.
            ends = socket.socketpair()
            assert {end.fileno() for end in ends} == set(numbers)
            reader, writer = await asyncio.open_connection(sock=ends[0])
            ends[1].sendall(b'x')
            assert await reader.read(1) == b'x'
            writer.close()
            await writer.wait_closed()
            ends[1].close()
    run(loop, main)


def test_a_number_closed_behind_the_back_of_the_loop(loop):
    """The descriptor goes without a word; the next channel of that number is heard all the same."""
    async def main():
        for _ in range(3):
            a, b = pair()
            task = asyncio.create_task(b.read_some())
            await asyncio.sleep(0)
            await a.write(b'x')
            assert await task == b'x'           # the reader stays registered
            replacement, other = socket.socketpair()
            os.dup2(replacement.fileno(), b.fileno())
            replacement.close()
            c = AsyncChannel(qio.from_fd(os.dup(b.fileno())))
            task = asyncio.create_task(c.read_some())
            await asyncio.sleep(0)
            other.sendall(b'y')
            assert await task == b'y'
            for end in (a, b, c, other):
                end.close()
    run(loop, main)


def test_detach_and_cancel(loop):
    async def main():
        a, b = pair()
        task = asyncio.create_task(b.read_some())
        await asyncio.sleep(0)
        b.cancel()
        with pytest.raises(qio.AbortedError):
            await task
        await a.write(b'x')
        fd = b.channel.detach()
        with socket.socket(fileno=fd) as sock:
            assert sock.recv(5) == b'x'
        a.close()
    run(loop, main)


def test_close_from_another_thread(loop):
    async def main():
        a, b = pair()
        task = asyncio.create_task(b.read_some())
        await asyncio.sleep(0)
        thread = threading.Thread(target=b.channel.close)
        thread.start()
        with pytest.raises(qio.AbortedError):
            await task
        thread.join()
        while not b.closed:
            await asyncio.sleep(0)
        a.close()
    run(loop, main)


@pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning')
def test_dropped_on_another_thread(loop):
    async def main():
        a, b = pair()
        task = asyncio.create_task(b.read_some())
        await asyncio.sleep(0)
        await a.write(b'x')
        await task                              # the reader stays registered
        del task
        left = [b.channel]
        del b
        await asyncio.sleep(0)                  # what called this holds the task

        def drop():
            left.clear()
            collected()

        thread = threading.Thread(target=drop)
        thread.start()
        assert await a.read_some() == b''
        thread.join()
        a.close()
    run(loop, main)


def test_loops_in_sequence_and_in_threads(loop):
    a, b = pair()

    async def once(data):
        task = asyncio.create_task(b.read_exactly(len(data)))
        await asyncio.sleep(0)
        await a.write(data)
        return await task

    for data in (b'one', b'two', b'three'):
        assert run(loop, lambda data=data: once(data)) == data
    results = []

    def thread():
        c, d = pair()

        async def main():
            for _ in range(50):
                task = asyncio.create_task(d.read_some())
                await asyncio.sleep(0)
                await c.write(b'x')
                results.append(await task)
            c.close()
            d.close()
        run(loop, main)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results == [b'x'] * 150
    assert run(loop, lambda: once(b'four')) == b'four'
    a.close()
    b.close()


def test_a_dropped_task_is_kept_by_what_it_waits_for(loop):
    async def main():
        a, b = pair()
        done = []

        async def read():
            done.append(await b.read_some())

        asyncio.create_task(read())
        await asyncio.sleep(0)
        collected()
        await a.write(b'x')
        while not done:
            await asyncio.sleep(0)
        assert done == [b'x']
        a.close()
        b.close()
    run(loop, main)


def test_importing_qio_imports_no_asyncio():
    code = 'import sys, qio; assert "asyncio" not in sys.modules; import qio.aio'
    subprocess.run([sys.executable, '-c', code], check=True, timeout=50)


# ---- connecting and serving ----

def test_a_server(loop, tmp_path):
    async def main():
        async def handler(channel):
            async for line in channel:
                await channel.write(line.upper())

        for uri in ('tcp://127.0.0.1:0', f'unix:{tmp_path}/socket'):
            async with await aio.start_server(handler, uri) as server:
                async with await aio.connect(server.address) as client:
                    await client.write(b'one\ntwo\n')
                    assert await client.readline() == b'ONE\n'
                    await client.send_eof()
                    assert await client.read() == b'TWO\n'
            assert not server.is_serving()
    run(loop, main)


def test_errors_of_connect(loop, tmp_path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await aio.connect(f'unix:{tmp_path}/nobody')
        with pytest.raises(qio.InvalidError):
            await aio.connect('nonsense://x')
        with pytest.raises(TypeError):
            await aio.connect(7)
        with pytest.raises(TypeError):
            AsyncChannel(socket.socket)
    run(loop, main)
