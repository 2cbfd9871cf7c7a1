# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels in trio.

Owns: AsyncChannel, trio's streams of channels, opening, relays and servers; _trio.py is how they
wait.  Loaded when it is asked for: `import qio` alone does not import trio.

Every await is a checkpoint: a try comes before it and nothing can be cancelled after one that has
succeeded, so no byte is lost.  Ctrl-C is held back inside of it for the same reason.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import trio  # type: ignore[import]

from . import _qio
from ._async import CLOSE_TIMEOUT, AsyncVerbs, Start, prepare_connect
from ._listening import PAUSE_S, Listening, is_shortage
from ._tries import CHUNK, TRY
from ._trio import Told, Wait, home, state_of
from ._types import Condition, Readable, Timeout, Value
from .channel import Channel
from .conditions import IN, OUT
from .errors import AbortedError, BusyError, ClosedError, Error
from .listener import Listener
from .opening import prepare_listen
from .relays import Counts, Filter, _keys
from .tls import TLSCreds
from .websocket import OnRequest

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncChannel", "AsyncListener", "ChannelStream", "connect", "listen", "open_streams",
           "relay", "serve", "start_server"]

T = TypeVar("T")
_protected = trio.lowlevel.enable_ki_protection


# ---- channels ----

class AsyncChannel(AsyncVerbs, trio.abc.AsyncResource):  # type: ignore[misc]
    """A channel in trio: the verbs of Channel, to be awaited.

    Made around any channel, whose mode does not matter and does not change.  One task may read
    while another writes; a second reader gets BusyError, concurrent writes go out whole, in turn.
    stream() is the same as a trio.abc.HalfCloseableStream.
    """

    __slots__ = ("_channel", "_state")

    def __init__(self, channel: Channel) -> None:
        if not isinstance(channel, Channel):
            raise TypeError(f"channel has to be a qio.Channel, not {type(channel).__name__}")
        self._channel = channel
        self._state = state_of(channel)

    @property
    def channel(self) -> Channel:
        """The channel, whose own calls do not wait for trio."""
        return self._channel

    def stream(self) -> ChannelStream:
        """The channel as a trio.abc.HalfCloseableStream, with trio's exceptions."""
        return ChannelStream(self)

    def close(self) -> None:
        """Close at once: layers say their goodbye if that does not wait, a command is not waited
        for.  Prefer aclose()."""
        self._forget()
        self._channel.close()

    async def aclose(self, *, timeout: Optional[float] = CLOSE_TIMEOUT) -> None:
        """Close in order: what layers hold back and their goodbyes are sent and, of a command, its
        end is awaited, for at most so many seconds; nobody's answer is waited for.  Who reads or
        writes gets AbortedError.  Closed whatever comes of it."""
        await super().aclose(timeout=timeout)
        await trio.lowlevel.checkpoint()

    # ---- what the verbs are made of ----

    @_protected  # type: ignore[misc]
    async def _reading(self, condition: int, fn: Callable[..., Optional[T]], /, *args: Any,
                       **kwargs: Any) -> T:
        state = self._state
        if state.reading:
            raise BusyError("somebody else reads from this channel")
        state.reading = True
        try:
            return await self._until(condition, fn, args, kwargs)
        finally:
            state.reading = False

    @_protected  # type: ignore[misc]
    async def _writing(self, condition: int, fn: Callable[..., Optional[T]], /, *args: Any,
                       **kwargs: Any) -> T:
        state = self._state
        await trio.lowlevel.checkpoint_if_cancelled()
        await state.turn()
        try:
            return await self._until(condition, fn, args, kwargs)
        finally:
            state.next()

    @_protected  # type: ignore[misc]
    async def _waiting(self, condition: Condition, fn: Callable[..., Optional[T]], /, *args: Any,
                       **kwargs: Any) -> T:
        return await self._until(_mask(condition), fn, args, kwargs)

    async def _until(self, condition: int, fn: Callable[..., Optional[T]], args: Any,
                     kwargs: Any) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        wait: Optional[Wait] = None
        try:
            while (result := fn(*args, timeout=TRY, **kwargs)) is None:
                if wait is None:
                    wait = self._state.new_wait(condition)
                await wait.ready(self._channel)
        except BaseException as error:
            _give_up(fn, error)
            raise
        finally:
            if wait is not None:
                self._state.waits.discard(wait)
        if wait is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def _task(self, start: Start) -> _qio.Task:
        try:
            task: _qio.Task = await _task(start)
        finally:
            self._state.look_again(self._channel)   # a handshake reads what comes behind it, too
        return task

    async def _within(self, seconds: Optional[float], awaitable: Awaitable[Any]) -> None:
        with trio.move_on_after(math.inf if seconds is None else seconds):
            await awaitable

    def _again(self, channel: Channel) -> Self:
        return type(self)(channel)

    def _abort(self, condition: int, /) -> None:
        self._state.abort(condition)

    def _forget(self) -> None:
        self._state.abort(IN | OUT)


def _mask(condition: Condition) -> int:
    if isinstance(condition, str):
        return {"in": IN, "out": OUT}.get(condition, IN | OUT)
    return condition


def _give_up(fn: Any, error: BaseException) -> None:
    """What a function that tries in several steps had is given back, or told of."""
    undo = getattr(fn, "undo", None)
    if undo is not None:
        with contextlib.suppress(ClosedError):
            undo()
    done = getattr(fn, "_done", 0)
    if done:
        error.bytes_written = done + getattr(error, "bytes_written", 0)  # type: ignore[attr-defined]


@_protected  # type: ignore[misc]
async def _task(start: Start) -> _qio.Task:
    """Run a task of the library to its end; it is cancelled, and waited for, when its caller is."""
    await trio.lowlevel.checkpoint_if_cancelled()
    ended = trio.Event()
    task = start(home().loop(), ended.set)
    try:
        await ended.wait()
    except BaseException:
        task.cancel()
        with trio.CancelScope(shield=True):
            await ended.wait()
        raise
    return task


# ---- as trio's own streams ----

@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """trio's exceptions for ours."""
    try:
        yield
    except (ClosedError, AbortedError) as error:
        raise trio.ClosedResourceError(str(error)) from None
    except BusyError as error:
        raise trio.BusyResourceError(str(error)) from None
    except Error as error:
        raise trio.BrokenResourceError(str(error)) from error


class ChannelStream(trio.abc.HalfCloseableStream):  # type: ignore[misc]
    """A channel as trio's streams are: for libraries that take any of them."""

    def __init__(self, channel: AsyncChannel) -> None:
        self.channel = channel
        self._sending = False
        self._ended = False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One sender at a time, as trio's streams have it."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            with _translated():
                yield
        finally:
            self._sending = False

    def _check(self) -> None:
        if self.channel.closed:
            raise trio.ClosedResourceError("the stream is closed")
        if self._ended:
            raise trio.ClosedResourceError("send_eof() was called")

    async def send_all(self, data: Readable) -> None:
        """Send all of it."""
        with self._alone():
            await trio.lowlevel.checkpoint()
            self._check()
            await self.channel.write(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        with self._alone():
            await trio.lowlevel.checkpoint()
            self._check()
            await self.channel.wait(OUT)

    async def send_eof(self) -> None:
        """End the sending direction; a second time does nothing."""
        with self._alone():
            await trio.lowlevel.checkpoint()
            if self._ended and not self.channel.closed:
                return
            self._check()
            await self.channel.send_eof()
            self._ended = True

    async def receive_some(self, max_bytes: Optional[int] = None) -> bytes:
        """Receive at most so many bytes; b"" at the end."""
        if max_bytes is not None and (not isinstance(max_bytes, int) or max_bytes < 1):
            raise (ValueError if isinstance(max_bytes, int) else TypeError)(
                "max_bytes has to be a number from 1 on")
        with _translated():
            return await self.channel.read_some(CHUNK if max_bytes is None else max_bytes)

    async def aclose(self) -> None:
        """Close the channel."""
        await self.channel.aclose()


def open_streams(channel: AsyncChannel | Channel) -> ChannelStream:
    """The stream of a channel, which trio has in one for both directions."""
    return (channel if isinstance(channel, AsyncChannel) else AsyncChannel(channel)).stream()


# ---- opening and serving ----

async def connect(uri: str, *, timeout: Timeout = ..., tls: Optional[TLSCreds] = None,
                  **keys: Value) -> AsyncChannel:
    """Open the channel that a URI describes, as qio.connect() does; names are looked up in the
    background, and handshakes are done."""
    uri, options = prepare_connect(uri, timeout, tls, keys)
    task = await _task(lambda loop, done: loop._open(uri, options, done))
    channel: Any = task.take_channel()
    if tls is not None:
        channel._creds = tls
    return AsyncChannel(channel)


class AsyncListener(Listening[AsyncChannel],
                    trio.abc.Listener[AsyncChannel]):  # type: ignore[misc]
    """Listens; iterating gives each client until it is closed."""

    __slots__ = ("_waits",)
    _ENDS = (trio.ClosedResourceError,)

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._waits: set[Wait] = set()

    @_protected  # type: ignore[misc]
    async def accept(self) -> AsyncChannel:
        """Wait for a client; its handshake is not done.  Closed: trio.ClosedResourceError."""
        await trio.lowlevel.checkpoint()
        with _translated():
            while (channel := self.listener.accept_now()) is None:
                wait = Wait(IN)
                self._waits.add(wait)
                try:
                    await wait.by_watch(self.listener)
                except Error as error:
                    if not is_shortage(error):
                        raise
                    await trio.sleep(PAUSE_S)
                finally:
                    self._waits.discard(wait)
        return AsyncChannel(channel)

    def close(self) -> None:
        """Stop listening; who accepts gets trio.ClosedResourceError."""
        self.listener.close()
        for wait in self._waits:
            wait.abort()

    async def aclose(self) -> None:
        """As close()."""
        self.close()
        await trio.lowlevel.checkpoint()



async def listen(uri: str, *, backlog: Optional[int] = None, tls: Optional[TLSCreds] = None,
                 on_request: Optional[OnRequest] = None, **keys: Value) -> AsyncListener:
    """Listen where a URI says, as qio.listen() does; names are looked up in the background."""
    uri, options = prepare_listen(uri, backlog, tls, on_request, keys)
    task = await _task(lambda loop, done: loop._listen(uri, options, done))
    listener: Any = task.take_listener()
    listener._creds, listener._on_request = tls, on_request
    return AsyncListener(listener)


Handler = Callable[[AsyncChannel], Awaitable[None]]


async def _serve_one(client: AsyncChannel, handler: Handler) -> None:
    async with client:
        try:
            await client.handshake()
        except Error:
            return                      # who speaks no TLS is no client
        await handler(client)


async def serve(handler: Handler, uri: str, *, backlog: Optional[int] = None,
                tls: Optional[TLSCreds] = None, on_request: Optional[OnRequest] = None,
                task_status: Any = trio.TASK_STATUS_IGNORED, **keys: Value) -> None:
    """Listen where a URI says and run handler(channel) in a task for each client, once its
    handshake is done (a client that has not shaken hands after handshake_timeout is dropped), until
    the listener is closed or this is cancelled.

    `listener = await nursery.start(serve, handler, uri)` gives the AsyncListener.  The channel is
    closed when the handler returns; what a handler raises ends the server, as in trio.
    """
    async with await listen(uri, backlog=backlog, tls=tls, on_request=on_request,
                            **keys) as listener:
        task_status.started(listener)
        async with trio.open_nursery() as nursery:
            async for client in listener:
                nursery.start_soon(_serve_one, client, handler)


async def start_server(handler: Handler, uri: str, *, nursery: Any,
                       **keys: Any) -> AsyncListener:
    """serve() in a nursery: its listener once it listens."""
    async def run(task_status: Any) -> None:
        await serve(handler, uri, task_status=task_status, **keys)

    listener: AsyncListener = await nursery.start(run)
    return listener


async def relay(a: AsyncChannel | Channel, b: AsyncChannel | Channel, *,
                filter: Optional[Filter] = None, idle_timeout: Optional[float] = None,
                buffer: Optional[int] = None, limit: Optional[int] = None) -> Counts:
    """Copy both ways until both have ended, as qio.relay() does; how many bytes went each way."""
    raised: list[BaseException] = []
    keys = {key: value for key, value in _keys(idle_timeout, buffer, limit).items()
            if value is not None}

    def asked(direction: int, data: bytes) -> Optional[Readable]:
        assert filter is not None
        try:
            return filter(direction, data)
        except BaseException as error:
            raised.append(error)
            raise Told from None

    ends = [end.channel if isinstance(end, AsyncChannel) else end for end in (a, b)]
    task = await _task(lambda loop, done: loop._relay(
        ends[0], ends[1], keys or None, None if filter is None else asked, done))
    if raised:
        raise raised[0]
    try:
        task.status()
    except Error as error:
        error.counts = Counts(*task.counts())
        raise
    return Counts(*task.counts())

