# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.trio: whoever looks at a channel may take what a task waits for out of its descriptor, into a
layer or the read-ahead.  The task has to be woken all the same.
"""

import pytest
import trio

from looks import LOOKS, NEWS, in_thread
from triorig import CLIENT, SERVER, AsyncChannel, Result, in_trio, layered, pair, settle

KINDS = ('plain', 'tls', 'websocket')


async def news_beside_a_reader(kind, look):
    """What comes for a reader that waits is found by the look, which may take some of it."""
    a, b = await layered(kind)
    async with a, b, trio.open_nursery() as nursery:
        reader = Result(nursery, a.read_some)
        await settle()
        b.channel.write(NEWS, timeout=1)
        taken = look(a)
        taken = taken if isinstance(taken, int) else await taken
        assert await reader.get() == NEWS[taken:]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('look', LOOKS)
@in_trio
async def test_a_look_of_the_channel_beside_a_reader(kind, look):
    await news_beside_a_reader(kind, lambda a: LOOKS[look](a.channel))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('verb, args', [('wait', ['in']), ('wait', ['out']), ('write', [b'old'])])
@in_trio
async def test_another_verb_beside_a_reader(kind, verb, args):
    async def look(a):
        await getattr(a, verb)(*args)
        return 0
    await news_beside_a_reader(kind, look)


@pytest.mark.parametrize('kind', KINDS)
@in_trio
async def test_what_a_reader_gives_back_beside_a_wait(kind):
    """The wait begins when the reader has taken all that came."""
    a, b = await layered(kind)
    async with a, b, trio.open_nursery() as nursery:
        reader = Result(nursery, a.read_exactly, 100)
        await settle()
        b.channel.write(NEWS, timeout=1)
        while a.channel.wait('in', timeout=0):
            await trio.sleep(0)
        wait = Result(nursery, a.wait, 'in')
        await settle()
        reader.scope.cancel()
        assert await wait.get()
        assert await a.read_exactly(len(NEWS)) == NEWS


@pytest.mark.parametrize('kind', KINDS)
@in_trio
async def test_a_shutdown_of_the_channel_beside_a_reader(kind):
    a, b = await layered(kind)
    async with a, b, trio.open_nursery() as nursery:
        reader = Result(nursery, a.read_some)
        await settle()
        a.channel.shutdown('read')
        assert await reader.get() == b''


@pytest.mark.parametrize('who', ['the task', 'the channel', 'the writer'])
@in_trio
async def test_a_handshake_beside_a_reader(who):
    """Whoever takes its steps decodes what comes behind it."""
    a, b = pair()
    one = AsyncChannel(a.channel.start_tls(SERVER, server=True, handshake=False))
    two = AsyncChannel(b.channel.start_tls(CLIENT, handshake=False))
    async with one, two, trio.open_nursery() as nursery:
        reader = Result(nursery, one.read_exactly, len(NEWS))
        await settle()
        other = Result(nursery, two.write, NEWS)
        if who == 'the task':
            await one.handshake()
        elif who == 'the channel':
            await trio.to_thread.run_sync(in_thread(lambda channel: channel.handshake()),
                                          one.channel)
        else:
            await one.write(b'old')
        assert await reader.get() == NEWS
        await other.get()
