# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs with qio.trio as a type checker sees them: see programs.py."""

from __future__ import annotations

from typing import assert_type

import trio  # type: ignore[import]

import qio


async def shout(channel: qio.trio.AsyncChannel) -> None:
    async for line in channel:
        await channel.write(line.upper())


async def verbs(channel: qio.trio.AsyncChannel) -> None:
    assert_type(await channel.write(b"one\n"), int)
    assert_type(await channel.readline(), bytes)
    assert_type(await channel.writev([b"two", bytearray(b"\n")]), int)
    assert_type(await channel.read_exactly(4), bytes)
    assert_type(channel.peer_address, "str | None")
    assert_type(channel.stream(), qio.trio.ChannelStream)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listener = await qio.trio.start_server(shout, "unix:", nursery=nursery)
        assert_type(listener, qio.trio.AsyncListener)
        async with await qio.trio.connect(listener.address, timeout=5) as channel:
            assert_type(channel, qio.trio.AsyncChannel)
            await verbs(channel)
        nursery.cancel_scope.cancel()
    a, b = qio.pair()
    c, d = qio.pair()
    for channel_ in (a, d):
        channel_.send_eof()
    counts = await qio.trio.relay(b, qio.trio.AsyncChannel(c))
    assert_type(counts, qio.Counts)
    for end in (a, b, c, d):
        end.close()


async def mistakes(channel: qio.trio.AsyncChannel) -> None:
    """Not run: each line is wrong."""
    await channel.write("text")                 # type: ignore[arg-type]
    await channel.read_exactly()                # type: ignore[call-arg]
    await channel.readline(timeout=5)           # type: ignore[call-arg]
    qio.trio.AsyncChannel("unix:/path")         # type: ignore[arg-type]


if __name__ == "__main__":
    trio.run(main)
