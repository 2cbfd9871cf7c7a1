# SPDX-License-Identifier: LGPL-2.1-or-later
"""Forked children of a program that has awaited channels, in asyncio, uvloop and trio.

A child uses nothing of its parent's loop and channels: what it tries is refused, what it makes for
itself works, and the parent goes on undisturbed, with the tasks that were waiting when it forked.
"""

import asyncio
import gc
import multiprocessing

import pytest
import trio

import qio
import qio.aio as aio
from aioloops import LOOPS, run
from test_aio_layers import psk
from test_fork import in_child
from triorig import Result, in_trio, layered, settle

FORK = multiprocessing.get_context('fork')


async def aio_pair(kind):
    a, b = map(aio.AsyncChannel, qio.pair())
    if kind == 'tls':
        server, client = psk()
        a, b = await asyncio.gather(a.start_tls(server, server=True), b.start_tls(client))
    return a, b


def tried(channel):
    """What the channels of the parent say in a child, one after the other."""
    said = []
    for call in (lambda: channel.read_some(timeout=1), lambda: channel.write(b'x', timeout=1),
                 lambda: channel.wait('in', timeout=1)):
        try:
            said.append(call())
        except qio.Error as error:
            said.append(type(error).__name__)
    return said


REFUSED = ['ForkedError'] * 3


def closed_and_dropped(ends):
    """What closing them says in a child, which then gives up its references."""
    said = []
    for end in ends:
        try:
            said.append(end.close())
        except qio.Error as error:
            said.append(type(error).__name__)
    ends.clear()
    gc.collect()
    return said


def in_process(fn):
    """What fn gives in a child of multiprocessing."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=lambda: theirs.send(fn()))
    process.start()
    theirs.close()
    with ours:
        result = ours.recv()
    process.join()
    assert process.exitcode == 0
    process.close()
    return result


FORKS = {'os.fork': in_child, 'multiprocessing': in_process}


@pytest.fixture(params=FORKS)
def fork(request):
    """Runs a function in a child and gives its result."""
    return FORKS[request.param]



def own_asyncio():
    """A loop and channels of the child's own."""
    async def main():
        a, b = await aio_pair('tls')
        reader = asyncio.ensure_future(b.read_exactly(4))
        await asyncio.sleep(0)
        await a.write(b'mine')
        got = await reader
        await asyncio.gather(a.aclose(), b.aclose())
        return got
    return asyncio.new_event_loop().run_until_complete(main())


def own_trio():
    """Without TLS: the credentials that the tests share are of the parent."""
    @in_trio
    async def main(got):
        a, b = await layered('plain')
        async with a, b, trio.open_nursery() as nursery:
            reader = Result(nursery, b.read_exactly, 4)
            await settle()
            await a.write(b'mine')
            got.append(await reader.get())
    got = []
    main(got)
    return got[0]


# ---- asyncio ----

@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


@pytest.mark.parametrize('kind', ['plain', 'tls'])
def test_asyncio_a_child_is_refused_what_the_parent_awaits(loop, kind, fork):
    async def main():
        a, b = await aio_pair(kind)
        reader = asyncio.ensure_future(a.read_exactly(7))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fork(lambda: tried(a.channel)) == REFUSED
        assert fork(lambda: awaited(a)) == 'ForkedError'
        await b.write(b'undistu')
        assert await asyncio.wait_for(reader, 10) == b'undistu'
        await a.write(b'rbed')
        assert await asyncio.wait_for(b.read_exactly(4), 10) == b'rbed'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def awaited(a):
    """What the child gets that awaits a channel of its parent in a loop of its own."""
    async def main():
        try:
            return await a.write(b'x')
        except qio.Error as error:
            return type(error).__name__
    asyncio._set_running_loop(None)
    return asyncio.new_event_loop().run_until_complete(main())


def test_asyncio_a_child_has_its_own(loop, fork):
    def child():
        asyncio._set_running_loop(None)
        return own_asyncio()

    async def main():
        a, b = await aio_pair('plain')
        reader = asyncio.ensure_future(a.read_some())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fork(child) == b'mine'
        b.channel.write(b'undisturbed')
        assert await asyncio.wait_for(reader, 10) == b'undisturbed'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


@pytest.mark.parametrize('kind', ['plain', 'tls'])
def test_asyncio_a_child_that_closes_and_drops_disturbs_nobody(loop, kind, fork):
    """What it removes from its loop would be gone in the parent's: they share the kernel's side."""
    async def main():
        a, b = await aio_pair(kind)
        ends = [a, b]
        reader = asyncio.ensure_future(a.read_some())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert fork(lambda: closed_and_dropped(ends)) == REFUSED[:2]
        await b.write(b'undisturbed')
        assert await asyncio.wait_for(reader, 10) == b'undisturbed'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


# ---- trio ----

@pytest.mark.parametrize('kind', ['plain', 'tls'])
def test_trio_a_child_is_refused_what_the_parent_awaits(kind, fork):
    @in_trio
    async def main():
        a, b = await layered(kind)
        async with a, b, trio.open_nursery() as nursery:
            reader = Result(nursery, a.read_exactly, 11)
            await settle()
            assert fork(lambda: tried(a.channel)) == REFUSED
            await b.write(b'undisturbed')
            assert await reader.get() == b'undisturbed'
    main()


@pytest.mark.parametrize('kind', ['plain', 'tls'])
def test_trio_a_child_that_closes_and_drops_disturbs_nobody(kind, fork):
    @in_trio
    async def main():
        a, b = await layered(kind)
        async with a, b, trio.open_nursery() as nursery:
            reader = Result(nursery, a.read_some)
            await settle()

            ends = [a, b]
            assert fork(lambda: closed_and_dropped(ends)) == REFUSED[:2]
            await b.write(b'undisturbed')
            assert await reader.get() == b'undisturbed'
    main()


def test_trio_a_child_has_its_own_after_the_run(fork):
    @in_trio
    async def main():
        a, b = await layered('tls')
        async with a, b:
            await a.write(b'x')
            assert await b.read_some() == b'x'
    main()
    assert fork(own_trio) == b'mine'
    main()
