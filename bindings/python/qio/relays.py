# SPDX-License-Identifier: LGPL-2.1-or-later
"""Relays: bytes copied between two channels, both ways, by the library.

The library does the work; Python is asked for the filter and told of the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from . import _qio
from ._types import Readable
from .errors import Error

if TYPE_CHECKING:
    from .channel import Channel
    from .loop import Loop

Filter = Callable[[int, bytes], Optional[Readable]]


class Counts(NamedTuple):
    """Bytes that the other side has accepted, each way."""

    a_to_b: int
    b_to_a: int


class Relay:
    """A relay in a Loop: see Loop.relay().  Dropping it leaves it running."""

    __slots__ = ("_task", "__weakref__")

    _task: _qio.Task

    def __init__(self) -> None:
        raise TypeError("Loop.relay() makes relays")

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @property
    def counts(self) -> Counts:
        """Bytes that were accepted by the other side so far; at any time, from any thread."""
        return Counts(*self._task.counts())

    @property
    def lost(self) -> Counts:
        """Once it has ended: bytes that the filter gave and that were not sent."""
        return Counts(*self._task.lost())

    def cancel(self) -> None:
        """End it: its result is an AbortedError.  What was read and not written is read again by
        the next reader of its channel.  Any thread."""
        self._task.cancel()

    def result(self) -> Counts | None:
        """The counts when it succeeded, None while it runs; raises what it failed with, which has
        the counts as its attribute `counts`."""
        try:
            return self.counts if self._task.status() else None
        except Error as error:
            error.counts = self.counts
            raise

    def __repr__(self) -> str:
        counts = self.counts
        return f"<Relay {'ended' if self.done else 'running'} {counts.a_to_b}>{counts.b_to_a}<>"


def _start(loop: Loop, a: Channel, b: Channel, filter: Filter | None, keys: dict[str, Any],
           on_done: Callable[[Relay], Any] | None) -> Relay:
    """The relay of these arguments, in a loop."""
    relay = Relay.__new__(Relay)
    options = {key: value for key, value in keys.items() if value is not None} or None
    relay._task = loop._relay(a, b, options, filter, lambda: on_done and on_done(relay))
    return relay


def _keys(idle_timeout: Any, buffer: Any, limit: Any) -> dict[str, Any]:
    for name, value in (("buffer", buffer), ("limit", limit)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} has to be a number of bytes or None, "
                            f"not {type(value).__name__}")
    if idle_timeout is not None and (isinstance(idle_timeout, bool) or
                                     not isinstance(idle_timeout, (int, float))):
        raise TypeError("idle_timeout has to be a number of seconds or None, "
                        f"not {type(idle_timeout).__name__}")
    if isinstance(idle_timeout, float):
        idle_timeout = format(idle_timeout, ".6f")
    return {"idle-timeout": idle_timeout, "buffer": buffer, "limit": limit}
