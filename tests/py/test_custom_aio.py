# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels written in Python, awaited: with a descriptor and without one, under TLS, and with
exceptions that come while somebody waits."""

import asyncio

import pytest

import qio
from aioloops import LOOPS, collected, run
from rigs import PATIENCE
from written import Asked, Boom, InMemory, MemoryPair, Told, memory_ends, socket_ends

aio = pytest.importorskip('qio.aio')


@pytest.fixture(autouse=True)
def _collected():
    """An exception holds the frames that it went through, and so the loop."""
    yield
    collected()


@pytest.fixture(params=LOOPS)
def loop(request):
    return request.param


@pytest.mark.parametrize('kind', [InMemory, Asked, None])
def test_a_channel_written_in_python_is_awaited(loop, kind):
    channel, other = memory_ends(kind) if kind else socket_ends()

    async def feed():
        for _ in range(5):
            await asyncio.sleep(0)
            other.sendall(b'x' * 1000)

    async def main():
        async with aio.AsyncChannel(channel) as ch:
            feeding = asyncio.ensure_future(feed())
            assert await asyncio.wait_for(ch.read_exactly(5000), PATIENCE) == b'x' * 5000
            await feeding
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ch.read_some(10), 0.01)
            await ch.write(b'abc')
            assert other.recv(10) == b'abc'

    run(loop, main)
    other.close()


def test_an_exception_leaves_from_the_await(loop):
    boom = Boom('awaited')

    async def main():
        channel = Told(None)
        ch = aio.AsyncChannel(channel)
        reading = asyncio.ensure_future(ch.read_some(1))
        await asyncio.sleep(0)
        assert not reading.done()
        channel.reads = [boom, None]
        channel.notify(qio.IN)
        with pytest.raises(Boom) as caught:
            await asyncio.wait_for(reading, PATIENCE)
        assert caught.value is boom
        await ch.aclose()

    run(loop, main)


def test_an_exception_of_a_handshake_leaves_from_the_await(loop):
    boom = Boom('no hands')

    async def main():
        ch = aio.AsyncChannel(Told(boom, lambda b: len(b)))
        with pytest.raises(Boom) as caught:
            await asyncio.wait_for(ch.start_tls(qio.TLSCreds.anon()), PATIENCE)
        assert caught.value is boom

    run(loop, main)


def test_tls_over_it_is_awaited_in_both_directions(loop):
    ends = MemoryPair(), MemoryPair()
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    data = bytes(range(256)) * 300

    async def main():
        client, server = await asyncio.wait_for(asyncio.gather(
            aio.AsyncChannel(ends[0]).start_tls(qio.TLSCreds.anon()),
            aio.AsyncChannel(ends[1]).start_tls(qio.TLSCreds.anon(server=True), server=True)),
            PATIENCE)

        async def echo():
            while part := await server.read_some():
                await server.write(part)

        echoing = asyncio.ensure_future(echo())
        _, back = await asyncio.wait_for(asyncio.gather(client.write(data),
                                                        client.read_exactly(len(data))), PATIENCE)
        assert back == data
        await client.aclose()
        await asyncio.wait_for(echoing, PATIENCE)
        await server.aclose()

    run(loop, main)
