# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an event loop tries, in as many steps as it takes.

Owns: the verbs that are more than one call of the channel.  Each is a function of timeout=TRY that
gives None where it would have to wait and remembers how far it came; one that has read has undo(),
which gives that back to the channel when it is given up half-way.  In the thread of the loop.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

from . import _qio
from ._types import Descriptor, Readable
from .channel import Channel
from .errors import ClosedError, IncompleteReadError, LimitError

#: As timeout=: do not wait, whatever the channel's mode is.
TRY: Any = _qio.TRY
CHUNK = 65536


class Try(Protocol):
    """Something that tries."""

    def __call__(self, *, timeout: Any) -> Any: ...


def _give_back(channel: Channel, data: Readable) -> None:
    if data:
        try:
            channel._unread(data)
        except ClosedError:
            pass        # nobody can read it any more


class Exactly:
    """Tries to read n bytes."""

    __slots__ = ("_channel", "_data", "_view", "_have", "_eof_ok")

    def __init__(self, channel: Channel, n: int, eof_ok: bool) -> None:
        n = operator.index(n)
        if n < 0:
            raise ValueError(f"n has to be at least 0, not {n}")
        self._channel = channel
        self._data = bytearray(n)
        self._view = memoryview(self._data)
        self._have = 0
        self._eof_ok = eof_ok

    def __call__(self, *, timeout: Any) -> bytes | None:
        while self._have < len(self._data):
            got = self._channel.readinto(self._view[self._have:], timeout=timeout)
            if got is None:
                return None
            if got == 0:
                return self._end()
            self._have += got
        return bytes(self._data)

    def _end(self) -> bytes:
        if self._have == 0 and self._eof_ok:
            return b""
        partial, self._have = bytes(self._view[:self._have]), 0
        raise IncompleteReadError(partial, len(self._data))

    def undo(self) -> None:
        """Give back what was read."""
        _give_back(self._channel, self._view[:self._have])


class ToTheEnd:
    """Tries to read until the end."""

    __slots__ = ("_channel", "_parts")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._parts: list[bytes] = []

    def __call__(self, *, timeout: Any) -> bytes | None:
        # At most so many at once, or one who sends without end keeps the loop.
        for _ in range(16):
            data = self._channel.read_some(CHUNK, timeout=timeout)
            if data is None:
                return None
            if not data:
                return b"".join(self._parts)
            self._parts.append(data)
        return None

    def undo(self) -> None:
        """Give back what was read."""
        _give_back(self._channel, b"".join(self._parts))


class Line:
    """Tries to read a line of at most so many bytes."""

    __slots__ = ("_channel", "_size")

    def __init__(self, channel: Channel, size: int) -> None:
        self._channel = channel
        self._size = size

    def __call__(self, *, timeout: Any) -> bytes | None:
        try:
            return self._channel.read_until(b"\n", limit=self._size, timeout=timeout)
        except LimitError:
            return self._channel.read_some(self._size, timeout=timeout)


class Pieces:
    """Tries to write several buffers, and what is written out of every layer."""

    __slots__ = ("_channel", "_rest", "_done")

    def __init__(self, channel: Channel, buffers: Sequence[Readable]) -> None:
        self._channel = channel
        self._rest = [view for view in map(_bytes_view, buffers) if view]
        self._done = 0

    def __call__(self, *, timeout: Any) -> int | None:
        while self._rest:
            count = self._channel.writev(self._rest, timeout=timeout)
            if count is None:
                return None
            self._advance(count)
        return None if self._channel._try_flush() is None else self._done

    def _advance(self, count: int) -> None:
        self._done += count
        taken = 0
        for view in self._rest:
            if count < len(view):
                break
            count -= len(view)
            taken += 1
        del self._rest[:taken]
        if count:
            self._rest[0] = self._rest[0][count:]


def _bytes_view(buffer: Readable) -> memoryview:
    try:
        return memoryview(buffer).cast("B")
    except TypeError as error:
        raise TypeError(f"a buffer has to be bytes-like and contiguous: {error}") from None


class WithFds:
    """Tries to send descriptors, which go with the first byte, and the rest of the data."""

    __slots__ = ("_channel", "_rest", "_fds", "_done")

    def __init__(self, channel: Channel, data: Readable, fds: Sequence[Descriptor]) -> None:
        self._channel = channel
        self._rest = _bytes_view(data)
        self._fds: Sequence[Descriptor] = list(fds) if not isinstance(fds, (str, bytes)) else fds
        self._done = 0

    def __call__(self, *, timeout: Any) -> int | None:
        while True:
            if self._done:
                count = self._channel.write(self._rest, timeout=timeout)
            else:
                count = self._channel.send_fds(self._rest, self._fds, timeout=timeout)
            if count is None:
                return None
            self._done += count
            self._rest = self._rest[count:]
            if not self._rest:
                return self._done


class Flush:
    """Does something once, and then tries until what was written is out of every layer."""

    __slots__ = ("_channel", "_first")

    def __init__(self, channel: Channel, first: Try | None = None) -> None:
        self._channel = channel
        self._first = first

    def __call__(self, *, timeout: Any) -> bool | None:
        if self._first is not None:
            if self._first(timeout=timeout) is None:
                return None
            self._first = None
        return self._channel._try_flush()
