# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beginnings and ends in qio.aio: servers, connects that are given up, what is collected, what is
left at the end of a loop and of the interpreter."""

import asyncio
import gc
import os
import random
import subprocess
import sys
import tracemalloc
import weakref

import pytest

import qio
from aioloops import LOOPS, collected, run
from qio import _qio, aio
from qio.aio import AsyncChannel


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


def pair():
    return map(AsyncChannel, qio.pair())


async def turns(n=3):
    for _ in range(n):
        await asyncio.sleep(0)


# ---- servers ----

def test_a_listener(loop, tmp_path):
    async def main():
        async with await aio.listen(f'unix:{tmp_path}/socket', backlog=5) as listener:
            task = asyncio.create_task(listener.accept())
            await turns()
            assert not task.done()
            async with await aio.connect(listener.address) as client:
                async with await task as served:
                    await client.write(b'x')
                    assert await served.read_some() == b'x'
            task = asyncio.create_task(listener.accept())
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            clients = []

            async def collect():
                async for client in listener:
                    clients.append(client)
            task = asyncio.create_task(collect())
            for i in range(3):
                (await aio.connect(listener.address)).close()
                while len(clients) <= i:
                    await asyncio.sleep(0)
            listener.listener.close()           # the library's own, under a waiting accept
            await task
            for client in clients:
                client.close()
            with pytest.raises(qio.ClosedError):
                await listener.accept()
        with pytest.raises(TypeError):
            aio.AsyncListener(5)
    run(loop, main)


def test_a_handler_that_fails_is_told_to_the_loop_and_serves_on(loop):
    told = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def handler(channel):
            if await channel.readline() == b'fail\n':
                raise KeyError('the handler')
            await channel.write(b'fine')

        async with await aio.start_server(handler, 'unix:') as server:
            for word, answer in ((b'fail\n', b''), (b'go on\n', b'fine')):
                async with await aio.connect(server.address) as client:
                    await client.write(word)
                    assert await client.read() == answer
    run(loop, main)
    assert [type(context['exception']) for context in told] == [KeyError]


def test_serve_forever_and_wait_closed(loop):
    async def main():
        ended = []

        async def handler(channel):
            try:
                await channel.read()
            finally:
                ended.append(channel)

        server = await aio.start_server(handler, 'tcp://127.0.0.1:0')
        task = asyncio.create_task(server.serve_forever())
        client = await aio.connect(server.address)
        await client.write(b'x')
        await turns(10)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()               # a client is there
        await client.aclose()
        await waiting
        assert len(ended) == 1
        await task
        server = await aio.start_server(handler, 'tcp://127.0.0.1:0')
        task = asyncio.create_task(server.serve_forever())
        client = await aio.connect(server.address)
        await client.write(b'x')
        await turns(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(ended) == 2                  # cancelled
        assert not server.is_serving()
        client.close()
    run(loop, main)


# ---- given up ----

def test_connects_that_are_given_up_leave_nothing(loop, tmp_path):
    """At whatever moment: before, while and just when it succeeds."""
    rng = random.Random(1)

    async def main():
        listener = await aio.listen(f'unix:{tmp_path}/socket', backlog=100)
        cancelled = 0
        for _ in range(40):
            task = asyncio.create_task(aio.connect(listener.address))
            await turns(rng.randrange(5))
            task.cancel()
            try:
                (await task).close()
            except asyncio.CancelledError:
                cancelled += 1
            try:
                (await asyncio.wait_for(listener.accept(), 0.001)).close()
            except asyncio.TimeoutError:
                pass
        assert cancelled
        listener.close()
    run(loop, main)


def test_aclose_that_is_cancelled_closes(loop):
    async def main():
        command = AsyncChannel(qio.command(['sleep', '1000'], close_timeout=0.05))
        task = asyncio.create_task(command.aclose(timeout=None))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert command.closed
        await command.wait_exit()
    run(loop, main)


def test_a_loop_that_ends_with_somebody_waiting(loop):
    a, b = pair()

    async def main():
        asyncio.create_task(b.read_some())
        await turns()
    run(loop, main)                             # which cancels what is left

    async def again():
        await a.write(b'x')
        return await b.read_some()
    assert run(loop, again) == b'x'
    a.close()
    b.close()


# ---- nothing is kept ----

def test_a_loop_and_all_of_ours_in_it_is_collected(loop):
    gone = []

    async def main():
        a, b = pair()
        await a.write(b'x')
        assert await b.read_some() == b'x'
        task = asyncio.create_task(b.read_some())
        await turns()
        await a.write(b'y')
        await task
        assert await AsyncChannel(qio.command(['true'])).wait_exit() == 0
        home = asyncio.get_running_loop()._qio_home
        gone.extend([weakref.ref(home), weakref.ref(asyncio.get_running_loop()), weakref.ref(a),
                     weakref.ref(a.channel)])
        a.close()
        b.close()
    collected()
    before = {kind: _qio.debug_live(kind) for kind in (_qio.QIOH_KIND_LOOP, _qio.QIOH_KIND_WATCH)}
    with pytest.warns(ResourceWarning):         # the command was not closed
        run(loop, main)
        collected()
    assert [ref() for ref in gone] == [None] * 4
    assert before == {kind: _qio.debug_live(kind) for kind in before}


def test_a_cycle_through_a_waiting_task_is_collected(loop):
    """Channel, operation, task, coroutine, channel: without the loop nothing holds them."""
    class Holder:
        pass

    def make():
        one = LOOPS[loop]()

        async def wait(holder):
            await holder.channel.read_some()

        holder = Holder()
        a, holder.channel = pair()
        holder.task = one.create_task(wait(holder))
        holder.task._log_destroy_pending = False
        one.call_soon(one.call_soon, one.stop)
        one.run_forever()
        one.close()
        holder.channel.channel.close()
        a.close()
        return weakref.ref(holder)
    gone = make()
    collected()
    assert gone() is None


def test_errors_and_cancellations_keep_no_memory():
    async def some(n):
        a, b = pair()
        buf = bytearray(4)
        for _ in range(n):
            task = asyncio.create_task(b.readinto(buf))
            await asyncio.sleep(0)
            try:
                await b.read_exactly(4)
            except qio.BusyError:
                pass
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            write = asyncio.create_task(a.write(bytes(10)))
            await write
            await b.readline() if n < 0 else await b.read_some()
        buf.append(1)                           # nobody holds an export of it
        a.close()
        b.close()

    async def main():
        tracemalloc.start()
        try:
            await some(4000)                    # fills caches
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await some(1000)
            gc.collect()
            # an object each time would be more
            assert tracemalloc.get_traced_memory()[0] - before < 16 * 1000
        finally:
            tracemalloc.stop()
    run('asyncio', main, debug=False)


# ---- the end of the interpreter, forks ----

EXIT = '''
import asyncio, sys, qio, qio.aio
if sys.argv[1] == 'uvloop':
    import uvloop
    uvloop.install()
a, b = map(qio.aio.AsyncChannel, qio.pair())
kept = []

async def main():
    kept.append(asyncio.get_running_loop())
    kept.append(asyncio.create_task(b.read_some()))
    kept.append(asyncio.create_task(qio.aio.AsyncChannel(qio.command(['sleep', '9'],
                                                         stderr='null', close_timeout=0)).wait_exit()))
    transport, _ = await qio.aio.create_connection(asyncio.Protocol, qio.pair()[0])
    kept.append(transport)
    await asyncio.sleep(0)
    if sys.argv[2] == 'exit':
        sys.exit(3)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
'''


@pytest.mark.parametrize('how', ['exit', 'fall'])
def test_the_interpreter_ends_with_everything_open(loop, how):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', EXIT, loop, how],
                          capture_output=True, timeout=50, check=False)
    assert done.returncode == (3 if how == 'exit' else 0), done.stderr.decode()


def test_a_forked_child_can_drop_what_it_inherits(loop):
    a, b = pair()

    async def main():
        task = asyncio.create_task(b.read_some())
        await turns()
        pid = os.fork()
        if pid == 0:
            try:
                task.cancel()
                os.close(b.channel.detach())
                os.close(a.channel.detach())
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        await a.write(b'still here')
        assert await task == b'still here'
    run(loop, main, debug=False)
    a.close()
    b.close()
