# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.aio: whoever looks at a layer decodes what another task waits for.

The other's descriptor says nothing any more then; it has to be woken all the same.
"""

import asyncio

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, run
from qio.aio import AsyncChannel
from test_aio_layers import psk, tls_pair, websocket_pair


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


async def ws_over_tls_pair():
    a, b = await tls_pair()
    return await asyncio.gather(a.websocket(server=True), b.websocket())


PAIRS = {'tls': tls_pair, 'websocket': websocket_pair, 'both': ws_over_tls_pair}


@pytest.fixture(params=PAIRS)
def pair(request):
    """Makes a pair of channels with layers."""
    return PAIRS[request.param]


async def waits(awaitable):
    """A task that waits for its descriptor."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


def test_a_wait_beside_a_reader(loop, pair):
    async def main():
        a, b = await pair()
        reader = await waits(a.read_some())
        b.channel.write(b'news', timeout=1)
        assert await a.wait('in')
        assert await asyncio.wait_for(reader, 10) == b'news'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_a_look_of_the_channel_beside_a_reader(loop, pair):
    async def main():
        a, b = await pair()
        reader = await waits(a.read_some())
        b.channel.write(b'news', timeout=1)
        assert a.channel.wait('in', timeout=0)
        assert await asyncio.wait_for(reader, 10) == b'news'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_a_writer_beside_a_reader(loop, pair):
    async def main():
        a, b = await pair()
        reader = await waits(a.read_some())
        b.channel.write(b'news', timeout=1)
        await a.write(b'old')
        assert await asyncio.wait_for(reader, 10) == b'news'
        assert await b.read_some() == b'old'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_a_wait_for_room_beside_a_reader(loop, pair):
    async def main():
        a, b = await pair()
        reader = await waits(a.read_some())
        b.channel.write(b'news', timeout=1)
        assert await a.wait('out')
        assert await asyncio.wait_for(reader, 10) == b'news'
        await asyncio.gather(a.aclose(), b.aclose())
    run(loop, main)


def test_a_handshake_by_both_directions(loop):
    """The writer does the steps of the handshake, and decodes what comes behind it."""
    async def main():
        server, client = psk()
        a, b = map(AsyncChannel, qio.pair())
        one = AsyncChannel(a.channel.start_tls(server, server=True, handshake=False))
        two = AsyncChannel(b.channel.start_tls(client, handshake=False))
        reader = await waits(one.read_exactly(4))
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
        server, client = psk()
        a, b = map(AsyncChannel, qio.pair())
        one = AsyncChannel(a.channel.start_tls(server, server=True, handshake=False))
        two = AsyncChannel(b.channel.start_tls(client, handshake=False))
        reader = await waits(one.read_exactly(4))
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
