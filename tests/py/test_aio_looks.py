# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio: whoever looks at a channel may take what another task waits for out of its descriptor,
into a layer or the read-ahead.  The other has to be woken all the same.
"""

import asyncio

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, run
from looks import LOOKS, NEWS
from qio.aio import AsyncChannel
from test_aio_layers import psk, tls_pair, websocket_pair


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


async def plain_pair():
    return map(AsyncChannel, qio.pair())


async def ws_over_tls_pair():
    a, b = await tls_pair()
    return await asyncio.gather(a.websocket(server=True), b.websocket())


PAIRS = {'plain': plain_pair, 'tls': tls_pair, 'websocket': websocket_pair,
         'both': ws_over_tls_pair}


@pytest.fixture(params=PAIRS)
def pair(request):
    """Makes a pair of channels."""
    return PAIRS[request.param]


async def waits(awaitable):
    """A task that waits for its descriptor."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def news_beside_a_reader(pair, look):
    """What comes for a reader that waits is found by the look, which may take some of it."""
    a, b = await pair()
    reader = await waits(a.read_some())
    b.channel.write(NEWS, timeout=1)
    taken = look(a)
    taken = await taken if asyncio.iscoroutine(taken) else taken
    assert await asyncio.wait_for(reader, 10) == NEWS[taken:]
    await asyncio.gather(a.aclose(), b.aclose())


@pytest.mark.parametrize('look', LOOKS)
def test_a_look_of_the_channel_beside_a_reader(loop, pair, look):
    run(loop, lambda: news_beside_a_reader(pair, lambda a: LOOKS[look](a.channel)))


@pytest.mark.parametrize('verb, args', [('wait', ['in']), ('wait', ['out']), ('write', [b'old'])])
def test_another_verb_beside_a_reader(loop, pair, verb, args):
    async def look(a):
        await getattr(a, verb)(*args)
        return 0
    run(loop, lambda: news_beside_a_reader(pair, look))


def test_what_a_reader_gives_back_beside_a_wait(loop, pair):
    """The wait begins when the reader has taken all that came."""
    async def main():
        a, b = await pair()
        reader = await waits(a.read_exactly(100))
        b.channel.write(NEWS, timeout=1)
        while a.channel.wait('in', timeout=0):
            await asyncio.sleep(0)
        wait = await waits(a.wait('in'))
        reader.cancel()
        assert await asyncio.wait_for(wait, 10)
        assert await a.read_exactly(len(NEWS)) == NEWS
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_a_shutdown_of_the_channel_beside_a_reader(loop, pair):
    async def main():
        a, b = await pair()
        reader = await waits(a.read_some())
        a.channel.shutdown('read')
        assert await asyncio.wait_for(reader, 10) == b''
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


async def reader_before_the_handshake():
    """Two ends whose hands are not shaken, and who reads the first four bytes of one of them."""
    server, client = psk()
    a, b = map(AsyncChannel, qio.pair())
    one = AsyncChannel(a.channel.start_tls(server, server=True, handshake=False))
    two = AsyncChannel(b.channel.start_tls(client, handshake=False))
    return one, two, await waits(one.read_exactly(4))


def test_a_handshake_by_both_directions(loop):
    """The writer does the steps of the handshake, and decodes what comes behind it."""
    async def main():
        one, two, reader = await reader_before_the_handshake()
        writer = asyncio.ensure_future(one.write(b'old'))
        other = asyncio.gather(two.write(b'news'), two.read_exactly(3))
        assert await asyncio.wait_for(reader, 10) == b'news'
        await asyncio.wait_for(writer, 10)
        assert (await other)[1] == b'old'
        await asyncio.gather(one.aclose(), two.aclose())
    run(loop, main)


def test_a_handshake_beside_a_reader(loop):
    """The task of the handshake is the library's own: it looks in no way that the loop sees."""
    async def main():
        one, two, reader = await reader_before_the_handshake()
        other = asyncio.ensure_future(two.write(b'news'))
        await one.handshake()
        assert await asyncio.wait_for(reader, 10) == b'news'
        await other
        await asyncio.gather(one.aclose(), two.aclose())
    run(loop, main)


def test_a_look_beside_a_transport(loop, pair):
    async def main():
        a, b = await pair()
        reader, writer = await aio.open_streams(a)
        wait = await waits(reader.readexactly(4))
        b.channel.write(b'news', timeout=1)
        assert a.channel.wait('in', timeout=0)
        assert await asyncio.wait_for(wait, 10) == b'news'
        writer.close()
        await asyncio.gather(writer.wait_closed(), b.aclose())
    run(loop, main)
