# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs with qio.aio and qio.testing as a type checker sees them: see programs.py."""

from __future__ import annotations

import asyncio
from typing import assert_type

import qio
from qio.testing import MemoryChannel, memory_pair, no_leaks, psk_creds, serve


async def shout(channel: qio.aio.AsyncChannel) -> None:
    async for line in channel:
        await channel.write(line.upper())


async def main() -> None:
    server_creds, client_creds = psk_creds()
    server = await qio.aio.start_server(shout, "tls+unix:", tls=server_creds)
    assert_type(server, qio.aio.Server)
    async with server:
        async with await qio.aio.connect(server.address, tls=client_creds, timeout=5) as channel:
            assert_type(channel, qio.aio.AsyncChannel)
            assert_type(await channel.write(b"one\n"), int)
            assert_type(await channel.readline(), bytes)
            assert_type(await channel.readinto(bytearray(0)), int)
            assert_type(channel.peer_address, "str | None")
            assert channel.tls is not None
            assert_type(channel.tls.version, "str | None")


class Upper(qio.CustomChannel):
    """A channel of one's own: its methods are others than the verbs of their names."""

    def __init__(self, text: str) -> None:
        self.rest = text.upper().encode()

    def readinto(self, b: memoryview) -> int:  # type: ignore[override]
        n = min(len(b), len(self.rest))
        b[:n], self.rest = self.rest[:n], self.rest[n:]
        return n


def testing() -> None:
    def answer(channel: qio.Channel) -> None:
        channel.write_all(b"answer\n")

    with no_leaks():
        a, b = memory_pair(chunk=3)
        assert_type(a, MemoryChannel)
        with a, b:
            a.write(b"x")
            assert_type(b.incoming, bytes)
            assert_type(b.read_error, "BaseException | None")
        with serve(answer) as listener:
            assert_type(listener, qio.Listener)
            with qio.connect(listener.address, timeout=5) as channel:
                assert_type(channel.readline(), "bytes | None")
        with Upper("text") as upper:
            assert upper.read_exactly(4) == b"TEXT"


async def mistakes(channel: qio.aio.AsyncChannel) -> None:
    """Not run: each line is wrong."""
    await channel.write("text")                 # type: ignore[arg-type]
    await channel.read_exactly()                # type: ignore[call-arg]
    await channel.readline(timeout=5)           # type: ignore[call-arg]
    qio.aio.AsyncChannel("unix:/path")          # type: ignore[arg-type]
    memory_pair(chunk="all")                    # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
    testing()
