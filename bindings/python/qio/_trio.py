# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a task of trio waits for a channel; qio.trio is made of it.

Owns: the home of a run of trio (who waits for which descriptor, and a loop of the library for what
has no descriptor and for tasks), and the state of each channel that is used in trio: who reads it,
who writes, who is to write next.  All in the thread of the run; a close from another thread is
handed over to it.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from typing import Any, Optional

import outcome  # type: ignore[import]
import trio  # type: ignore[import]

from . import _qio
from ._hooks import CLOSING
from .channel import Channel
from .conditions import IN, MORE, OUT
from .errors import AbortedError
from .listener import Listener
from .loop import Loop

_log = logging.getLogger("qio")


class Told(Exception):
    """In place of an exception that reaches who awaits by another way."""


class Home:
    """Of one trio.run()."""

    def __init__(self) -> None:
        #: Who waits for a descriptor, for others to wait with: trio has room for one.
        self.spots: dict[tuple[int, int], Any] = {}
        self._loop: Optional[Loop] = None

    def loop(self) -> Loop:
        """The loop of the library: one descriptor that is readable while it has something to do."""
        if self._loop is None:
            self._loop = Loop()
            trio.lowlevel.spawn_system_task(self._run, self._loop)
        return self._loop

    async def _run(self, loop: Loop) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(loop.fileno())
                try:
                    loop.run_once(0)
                except Told:
                    pass
                except Exception:
                    # Of a function that nobody awaits; trio has no place for it.
                    _log.exception("a function that the library called has failed")
        finally:
            self._loop = None
            loop.close()


_homes = trio.lowlevel.RunVar("qio")


def home() -> Home:
    """That of this run."""
    try:
        found: Home = _homes.get()
    except LookupError:
        found = Home()
        _homes.set(found)
    return found


class Wait:
    """One task that waits for a channel."""

    __slots__ = ("condition", "ways", "aborted", "fd", "event")

    def __init__(self, condition: int) -> None:
        self.condition = condition
        self.ways = condition | IN if condition & MORE else condition
        self.aborted = False
        self.fd = -1
        self.event: Any = None

    def abort(self) -> None:
        self.aborted = True
        if self.event is not None:
            self.event.set()
        elif self.fd >= 0:
            trio.lowlevel.notify_closing(self.fd)

    # ---- how to wait ----

    async def ready(self, channel: Channel) -> None:
        """Wait until a try may succeed; any number of false alarms."""
        where = channel._get_poll(self.condition)
        if where is True:
            await trio.lowlevel.checkpoint()
        elif where is None:
            await self.by_watch(channel)
        else:
            fd, events = where
            await self._by_descriptor(fd, events)
        if self.aborted:
            raise AbortedError("the wait was cancelled")

    async def by_watch(self, channel: Channel | Listener) -> None:
        self.event = trio.Event()
        watch = home().loop().watch(channel, self.condition, self._fire)
        try:
            await self.event.wait()
        finally:
            self.event = None
            watch.remove()

    def _fire(self, *_: Any) -> bool:
        if self.event is not None:
            self.event.set()
        return False

    async def _by_descriptor(self, fd: int, events: int) -> None:
        self.fd = fd
        try:
            if events == IN | OUT:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._first, nursery, fd, IN)
                    nursery.start_soon(self._first, nursery, fd, OUT)
            else:
                await self._one_way(fd, OUT if events == OUT else IN)
        finally:
            self.fd = -1

    async def _first(self, nursery: Any, fd: int, way: int) -> None:
        await self._one_way(fd, way)
        nursery.cancel_scope.cancel()

    async def _one_way(self, fd: int, way: int) -> None:
        """One task waits for the descriptor, others wait with it: of two layers the lower may have
        to write for a reader and a writer of the upper at once."""
        spots = home().spots
        spot = spots.get((fd, way))
        if spot is not None:
            await spot.wait()
            return
        spot = spots[fd, way] = trio.Event()
        wait_for = trio.lowlevel.wait_readable if way == IN else trio.lowlevel.wait_writable
        try:
            await wait_for(fd)
        except trio.ClosedResourceError:
            pass                # abort(), of us or of another: we look again
        finally:
            del spots[fd, way]
            spot.set()


class State:
    """Who reads and who writes a channel, by whichever AsyncChannel."""

    __slots__ = ("reading", "writing", "turns", "waits", "token", "__weakref__")

    def __init__(self) -> None:
        self.reading = False
        self.writing = False
        self.turns: deque[Any] = deque()        # tasks that are to write, in order
        self.waits: set[Wait] = set()
        self.token: Any = None                  # of the run of trio in which they wait

    async def turn(self) -> None:
        """Wait until it is this task's turn to write."""
        if not self.writing:
            self.writing = True
            return
        task = trio.lowlevel.current_task()
        self.turns.append(task)

        def abort(_: Any) -> Any:
            self.turns.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def next(self) -> None:
        """The turn of the next, who finds writing as it is."""
        if self.turns:
            trio.lowlevel.reschedule(self.turns.popleft())
        else:
            self.writing = False

    def new_wait(self, condition: int) -> Wait:
        wait = Wait(condition)
        self.waits.add(wait)
        self.token = trio.lowlevel.current_trio_token()
        return wait

    def look_again(self, channel: Channel, me: Optional[Wait]) -> None:
        """After a try on a layer, which may have decoded what another task waits for: its descriptor
        says nothing any more."""
        for wait in self.waits:
            if wait is not me and wait.fd >= 0 and channel._get_poll(wait.condition) is True:
                trio.lowlevel.notify_closing(wait.fd)

    def abort(self, condition: int) -> None:
        for wait in list(self.waits):
            if wait.ways & condition:
                wait.abort()
        while condition & OUT and self.turns:
            trio.lowlevel.reschedule(self.turns.popleft(), outcome.Error(
                AbortedError("the wait was cancelled")))


#: The state of each channel that is in use, by its object: one that is gone takes it along.
_states: Any = weakref.WeakKeyDictionary()


def state_of(channel: Channel) -> State:
    """The one of that channel."""
    state: Optional[State] = _states.get(channel)
    if state is None:
        state = _states[channel] = State()
    return state


def _closing(channel: Channel, close: bool) -> bool:
    """The channel's descriptor goes, by whoever's hand: nobody may wait for it any more.  True when
    that cannot be from this thread: a close is left to that of trio, a detach refused."""
    state: Optional[State] = _states.get(channel)
    if state is None or not state.waits:
        return False
    try:
        here = trio.lowlevel.current_trio_token() is state.token
    except RuntimeError:
        here = False
    if here:
        state.abort(IN | OUT)
        return False
    if not close:
        return True
    try:
        state.token.run_sync_soon(channel.close)
    except trio.RunFinishedError:
        return False
    return True


_qio.set_hook(CLOSING, _closing)
