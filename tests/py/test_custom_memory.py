# SPDX-License-Identifier: LGPL-2.1-or-later
"""Methods of a CustomChannel that pull away the memory that their caller works on."""

import asyncio

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, run


class Shrinking(qio.CustomChannel):
    """Lets go of what it has to read into, and empties it."""

    def readinto(self, b):
        whole, size = b.obj, len(b)
        b.release()
        whole.clear()
        return size


def test_a_buffer_that_is_shrunk_is_an_error():
    with Shrinking() as channel, pytest.raises(BufferError, match='Shrinking.readinto'):
        channel.read_some(1 << 20)


class Meddling(qio.CustomChannel):
    """Is full at first; then it does something in the middle of a write, of which it takes a
    part."""

    def __init__(self):
        self.full = True
        self.meddle = None
        self.written = bytearray()

    def readinto(self, b):
        return None

    def write(self, b):
        if self.full:
            return None
        meddle, self.meddle = self.meddle, None
        if meddle:
            meddle()
        self.written += b[:1000 if meddle else 100_000]
        return min(len(b), 1000 if meddle else 100_000)


@pytest.fixture(params=[True, False], ids=['kept', 'at-once'])
def kept(request):
    """Whether what is written was kept before, for want of room."""
    return request.param


async def meddle(kept, what):
    """Writes, with what(transport) in the middle of it; the channel and the transport."""
    channel = Meddling()
    transport, _ = await aio.create_connection(asyncio.Protocol, channel)
    channel.meddle = lambda: what(transport)
    channel.full = kept
    transport.write(b'x' * 4_000_000)
    channel.full = False
    channel.notify('out')
    return channel, transport


@pytest.mark.parametrize('loop', LOOPS)
def test_a_write_in_the_middle_of_a_write_goes_behind_it(loop, kept):
    async def main():
        channel, transport = await meddle(kept, lambda t: t.write(b'y' * 50_000_000))
        while transport.get_write_buffer_size():
            await asyncio.sleep(0)
        assert channel.written == b'x' * 4_000_000 + b'y' * 50_000_000
        transport.abort()
        await asyncio.sleep(0)
    run(loop, main)


@pytest.mark.parametrize('loop', LOOPS)
def test_an_abort_in_the_middle_of_a_write(loop, kept):
    async def main():
        channel, transport = await meddle(kept, lambda t: t.abort())
        while not transport.is_closing():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert set(channel.written) <= set(b'x')
        assert channel.closed
    run(loop, main)
