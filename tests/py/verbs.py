# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs of an AsyncChannel, awaited in whichever event loop."""

import pytest

import qio


async def every_verb(a, b):
    """Over two ends that talk to each other, which are closed at the end."""
    async with a, b:
        assert await a.write(b'hello\nworld and more') == 20
        assert await b.peek(5) == b'hello'
        assert await b.readline() == b'hello\n'
        assert await b.read_exactly(5) == b'world'
        buf = bytearray(4)
        assert await b.readinto(buf) == 4
        assert buf == b' and'
        assert await b.read_some() == b' more'
        assert await a.writev([b'one', b'', b'two;', memoryview(b'x')]) == 8
        first, rest = bytearray(2), bytearray(9)
        assert await b.readv([first, rest]) == 8
        assert first + rest[:6] == b'onetwo;x'
        await a.write_all(b'a;b')
        assert await b.read_until([b',', b';'], limit=10) == b'a;'
        assert await a.wait(qio.OUT) == qio.OUT
        assert await a.wait('out') == qio.OUT
        await a.flush()
        await a.send_eof()
        assert await b.read() == b'b'
        assert await b.read_some() == await b.read(3) == await b.readline() == b''
        assert await b.read_exactly(3, eof_ok=True) == b''
        assert await b.readinto(buf) == 0
        with pytest.raises(qio.IncompleteReadError):
            await b.read_exactly(3)
    assert a.closed and b.closed
