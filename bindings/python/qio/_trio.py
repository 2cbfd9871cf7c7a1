# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a task of trio waits for a channel; qio.trio is made of it.

Owns: the home of a run of trio (who waits for which descriptor, and a loop of the library for what
has no descriptor and for tasks), and the state of each channel that is used in trio: who reads it,
who writes, who is to write next.  All in the thread of the run; a close from another thread is
handed over to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections import deque
from typing import Any, Optional

import outcome  # type: ignore[import]
import trio  # type: ignore[import]

from . import _qio
from ._hooks import CLOSING, LOOKED
from .channel import Channel
from .conditions import IN, MORE, OUT
from .errors import AbortedError, Error
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

    __slots__ = ("condition", "ways", "aborted", "looked", "fd", "event", "token")

    def __init__(self, condition: int) -> None:
        self.condition = condition
        self.ways = condition | IN if condition & MORE else condition
        self.aborted = False
        self.looked = False
        self.fd = -1
        self.event: Any = None
        self.token = trio.lowlevel.current_trio_token()

    def is_here(self) -> bool:
        """Whether the run of trio that it waits in is this thread's."""
        try:
            return trio.lowlevel.current_trio_token() is self.token
        except RuntimeError:
            return False

    def wake(self) -> None:
        """Let it look again; from the thread of its run."""
        if self.event is not None:
            self.event.set()
        elif self.fd >= 0:
            trio.lowlevel.notify_closing(self.fd)

    def wake_soon(self) -> None:
        """The same from any thread."""
        if self.is_here():
            self.wake()
        else:
            with contextlib.suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self.wake)

    def abort(self) -> None:
        """End it, from any thread."""
        self.aborted = True
        self.wake_soon()

    # ---- how to wait ----

    async def ready(self, channel: Channel) -> None:
        """Wait until a try may succeed; any number of false alarms."""
        self.looked = False
        where = True if self.aborted else channel._get_poll(self.condition)
        if where is True:
            await trio.lowlevel.checkpoint()
        elif where is None:
            await self.by_watch(channel)
        else:
            fd, events = where
            await self._by_descriptor(fd, events)
        if self.aborted or (where is None and channel.closed):
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
            if self.looked:
                await trio.lowlevel.checkpoint()
            elif events == IN | OUT:
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

    __slots__ = ("reading", "writing", "turns", "waits", "closing", "__weakref__")

    def __init__(self) -> None:
        self.reading = False
        self.writing = False
        self.turns: deque[tuple[Any, Any]] = deque()    # tasks that are to write, with their runs
        self.waits: set[Wait] = set()
        self.closing = False                    # who comes now may find a descriptor that goes

    async def turn(self) -> None:
        """Wait until it is this task's turn to write."""
        if not self.writing:
            self.writing = True
            return
        turn = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        self.turns.append(turn)

        def abort(_: Any) -> Any:
            if turn not in self.turns:
                return trio.lowlevel.Abort.FAILED       # another thread has just given it its turn
            self.turns.remove(turn)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def next(self) -> None:
        """The turn of the next, who finds writing as it is."""
        while self.turns:
            if _resume(self.turns.popleft(), outcome.Value(None)):
                return
        self.writing = False

    def new_wait(self, condition: int) -> Wait:
        wait = Wait(condition)
        self.waits.add(wait)
        wait.aborted = self.closing
        return wait

    def look_again(self, channel: Channel) -> None:
        """After a call that may have moved into a layer or the read-ahead what a task waits for:
        its descriptor says nothing any more.  One that fails is woken to see it."""
        for wait in list(self.waits):
            wait.looked = True          # of another thread, before it waits
            try:
                ready = wait.fd >= 0 and channel._get_poll(wait.condition) is True
            except Error:
                ready = True
            if ready:
                wait.wake_soon()

    def abort(self, condition: int) -> None:
        for wait in list(self.waits):
            if wait.ways & condition:
                wait.abort()
        while condition & OUT and self.turns:
            _resume(self.turns.popleft(), outcome.Error(AbortedError("the wait was cancelled")))


def _resume(turn: tuple[Any, Any], result: Any) -> bool:
    """Go on with a task that waits for its turn, in its own run; false when that is over."""
    task, token = turn
    with contextlib.suppress(RuntimeError):
        if trio.lowlevel.current_trio_token() is token:
            trio.lowlevel.reschedule(task, result)
            return True
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(trio.lowlevel.reschedule, task, result)
        return True
    return False


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
    if state is None:
        return False
    # First this, then who waits: another thread adds itself first, and then looks at this.
    state.closing = state.closing or close
    elsewhere = [wait for wait in state.waits if not wait.is_here()]
    if elsewhere and not close:
        return True
    for wait in elsewhere:
        try:
            wait.token.run_sync_soon(channel.close)
            return True
        except trio.RunFinishedError:
            state.waits.discard(wait)
    state.abort(IN | OUT)
    return False


def _looked(channel: Channel) -> None:
    state: Optional[State] = _states.get(channel)
    if state is not None and state.waits:
        state.look_again(channel)


def _forked() -> None:
    """In the child nobody waits: the kernel's side of trio is the parent's, too, and to wake a task
    in the child would take the descriptor away from there."""
    for state in list(_states.values()):
        state.waits.clear()
        state.turns.clear()


os.register_at_fork(after_in_child=_forked)
_qio.set_hook(CLOSING, _closing)
_qio.set_hook(LOOKED, _looked)
