# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels written in Python.

What a class writes is what the library calls; the verbs of Channel come through the library.  The
rules of both are in docs/python.md.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from . import _qio
from .channel import Channel
from .errors import ClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._types import Condition
    from .loop import Loop

# The order is that of QioOp in pycustom.h.
_OPS = ("readinto", "write", "close", "shutdown", "seek", "flush", "fileno", "get_poll",
        "recv_fds", "send_fds")


def _find(cls: type, name: str) -> Any:
    """What the class, or one that it is made of, has written; None when that is nothing."""
    for base in cls.__mro__:
        if base is CustomChannel:
            return None
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _with_the_end(written: Any) -> Any:
    """The __del__() of a class, after which the channel ends as it does without one."""
    @functools.wraps(written)
    def finalize(self: Any) -> None:
        try:
            written(self)
        finally:
            super(CustomChannel, self).__del__()

    setattr(finalize, "_qio_end", True)
    return finalize


class CustomChannel(Channel):
    """A channel whose transfers are methods of a class of your own.

    Write any of these; none of them may wait:

    readinto(b): put bytes into b; how many, 0 at the end, None when there is nothing yet.
    write(b): take some of the bytes b; how many, None when there is no room.
    close(): the end, once.  shutdown(how): "read", "write" or "both".
    seek(offset, whence): the new position.  flush(): send what is held back.
    fileno(): a descriptor that is ready when the channel is, or
    get_poll(condition): for qio.IN or qio.OUT: a descriptor, (descriptor, condition) for another
    condition of it, True when a transfer would not wait, None without a descriptor.
    recv_fds(n, maxfds), send_fds(b, fds): transfers with descriptors; (bytes, descriptors), a count.

    Without a descriptor call notify() whenever a transfer may not wait any more.  BlockingIOError
    means None.  Another exception leaves, the same object, from the call that led there, through
    TLS and whatever else lies between.

    Everywhere but inside itself a method that you write is the channel's verb of that name, which
    waits and checks as on every channel and calls yours: x.readinto(b) waits for bytes, x.write(b)
    takes all of b, x.close() closes.  loop: whose functions call notify(): a call that would wait
    inside of it is BusyError.
    """

    _written = 0

    def __new__(cls, *args: Any, loop: Loop | None = None, **kwargs: Any) -> Self:
        if not cls._written:
            raise TypeError(f"{cls.__name__} has to write readinto(), write() or both")
        if abstract := getattr(cls, "__abstractmethods__", None):
            raise TypeError(f"{cls.__name__} is abstract: it has no {', '.join(sorted(abstract))}")
        channel: Self = _qio.custom_new(cls, loop, cls._written)
        return channel

    def __init__(self, *, loop: Loop | None = None) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._written = 0
        for number, name in enumerate(_OPS):
            found = _find(cls, name)
            if found is None:
                continue
            cls._written |= 1 << number
            if not isinstance(found, _qio.CustomOp):
                setattr(cls, name, _qio.CustomOp(found, getattr(Channel, name, None), number))
        found = _find(cls, "__del__")
        if found is not None and not hasattr(found, "_qio_end"):
            setattr(cls, "__del__", _with_the_end(found))

    def notify(self, condition: Condition = _qio.QIOH_IN | _qio.QIOH_OUT, /) -> None:
        """Reading, writing or both may not wait any more: whoever waits looks again.  Does nothing
        on a closed channel.  Any thread."""
        try:
            self._notify(condition)
        except ClosedError:
            pass

    def readable(self) -> bool:
        """Whether the class reads."""
        return bool(self._written & (1 << _OPS.index("readinto") | 1 << _OPS.index("recv_fds")))

    def writable(self) -> bool:
        """Whether the class writes."""
        return bool(self._written & (1 << _OPS.index("write") | 1 << _OPS.index("send_fds")))
