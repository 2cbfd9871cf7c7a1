# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loops: functions called when channels are ready, timers, deferred calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from . import _qio
from ._qio import Watch as Watch
from .channel import Channel
from .relays import Counts, Filter, Relay, _keys, _start

if TYPE_CHECKING:
    from typing_extensions import Self


class Loop(_qio.Loop):
    """An event loop; one descriptor (fileno()) stands for all that it waits for.

    Functions are called inside run() and run_once() only.  What one of them raises leaves from
    there, the same object; its watch is removed.  Dropping the loop removes its watches.
    """

    __slots__ = ()

    def relay(self, a: Channel, b: Channel, *, filter: Filter | None = None,
              idle_timeout: float | None = None, buffer: int | None = None,
              limit: int | None = None,
              on_done: Callable[[Relay], Any] | None = None) -> Relay:
        """Copy from a to b and from b to a while this loop runs, as qio.relay() does.

        on_done(relay) is called once, whichever way it ends; a filter's exception leaves from
        run() and ends the relay.
        """
        if on_done is not None and not callable(on_done):
            raise TypeError(f"on_done has to be callable, not {type(on_done).__name__}")
        return _start(self, a, b, filter, _keys(idle_timeout, buffer, limit), on_done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _serve_signals() -> None:
    """Does nothing: that it runs is what makes the interpreter call signal handlers."""


def relay(a: Channel, b: Channel, *, filter: Filter | None = None,
          idle_timeout: float | None = None, buffer: int | None = None,
          limit: int | None = None) -> Counts:
    """Copy from a to b and from b to a until both have ended; how many bytes went each way.

    The end of one is passed on by shutting the other's writing down, once everything is written;
    where that cannot be (a file), the first end is the end of all.  Both channels belong to the
    relay meanwhile.  When it fails or is interrupted, what was read and not written is read again
    by the next reader, and the Error has `counts`.

    filter(direction, data): direction 0 is from a to b, 1 from b to a; b"" comes once at the end.
    It returns the bytes to send instead, or None for unchanged; what it raises leaves from here.
    idle_timeout: seconds in which nothing moves either way.  buffer: bytes held in each direction
    (65536).  limit: the most bytes to read in each direction; more is a LimitError.
    """
    with Loop() as loop:
        task = loop.relay(a, b, filter=filter, idle_timeout=idle_timeout, buffer=buffer,
                          limit=limit, on_done=lambda _: loop.quit())
        if threading.current_thread() is threading.main_thread():
            # A signal that comes while bytes are moved does not interrupt the sleep that follows.
            loop.add_timer(0.2, _serve_signals, every=0.2)
        loop.run()
        return cast(Counts, task.result())
