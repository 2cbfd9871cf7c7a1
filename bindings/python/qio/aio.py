# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels in asyncio, on its own loop and on uvloop.

Owns: what the event loop has of ours (a home: descriptors that are watched, and a loop of the
library for what has no descriptor), AsyncChannel, opening, and servers.  Loaded when it is asked
for: `import qio` alone does not import asyncio.
"""

from __future__ import annotations

import asyncio
import asyncio.events
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from . import _qio
from ._async import AsyncVerbs, Start, prepare_connect
from ._listening import PAUSE_S, Listening, is_shortage
from ._transport import Transport
from ._types import Timeout, Value
from .channel import Channel
from .errors import AbortedError, ClosedError, Error
from .listener import Listener
from .loop import Loop, Watch
from .opening import prepare_listen
from .relays import Counts, Filter, Relay
from .tls import TLSCreds
from .websocket import OnRequest

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncChannel", "AsyncListener", "Server", "Transport", "connect", "create_connection",
           "create_server", "listen", "open_streams", "relay", "start_server"]


def _is_callback(error: Exception) -> bool:
    """Whether it only says that a function has raised something."""
    return isinstance(error, Error) and error.code == _qio.QIOH_E_CALLBACK


class _Home(_qio.Home):
    """An event loop that ours lives in; an attribute of it."""

    __slots__ = ("_loop", "_raised", "_claimed")
    _loop: Loop
    #: What functions have raised in this dispatch, until the await claims it that it belongs to.
    _raised: list[Exception]
    _claimed: bool
    cancelled_error = asyncio.CancelledError

    def qio_loop(self) -> Loop:
        """The loop of the library in this one: one descriptor that is readable while it has
        something to do."""
        try:
            return self._loop
        except AttributeError:
            pass
        loop = self._loop = Loop()
        self._raised = []
        self.loop.add_reader(loop.fileno(), self._dispatch)
        return loop

    def _dispatch(self) -> None:
        """Call what is due.  What a function raised for which somebody waits (a filter, a lookup
        of keys) is raised by that await; the rest is the event loop's."""
        for _ in range(16):
            self._claimed = False
            try:
                self._loop.run_once(0)
            except Exception as error:
                if not (self._claimed and _is_callback(error)):
                    self._raised.append(error)
                continue                        # the end of what it ended is due behind it
            break
        unclaimed, self._raised = self._raised, []
        for failure in unclaimed:
            self.loop.call_exception_handler(
                {"message": "a function called by qio failed", "exception": failure})

    def claim(self, task: _qio.Task) -> Exception | None:
        """What the task failed with: the very exception of a function, if it was that.  In the
        dispatch that the function ended status() raises it, after that it is with the others."""
        try:
            task.status()
        except Exception as error:
            if not _is_callback(error):
                self._claimed = True
                return error
            for raised in self._raised:
                if type(raised).__name__ in str(error):
                    self._raised.remove(raised)
                    return raised
            return error
        return None

    def _watch(self, channel: Channel | Listener, condition: int,
               fn: Callable[..., Any]) -> Watch:
        return self.qio_loop().watch(channel, condition, fn)


_qio.set_aio(asyncio.events.get_running_loop, _Home)


def _home() -> Any:
    """The home of the running loop."""
    loop: Any = asyncio.get_running_loop()
    try:
        return loop._qio_home
    except AttributeError:
        loop._qio_home = home = _Home(loop)
        return home


def _resolve(future: asyncio.Future[Any], result: Any = None) -> None:
    if not future.done():
        future.set_result(result)


async def _until_end(task: _qio.Task, end: asyncio.Future[Exception | None]) -> None:
    """Wait for the end of a task, which is cancelled when its caller is."""
    try:
        failure = await end
    except BaseException:
        task.cancel()
        raise
    if failure is not None:
        raise failure


async def _task(start: Start) -> _qio.Task:
    """Run a task of the library to its end."""
    home = _home()
    end = home.loop.create_future()
    task = start(home.qio_loop(), lambda: _resolve(end, home.claim(task)))
    await _until_end(task, end)
    return task


class AsyncChannel(_qio.AsyncChannel, AsyncVerbs):
    """A channel in an asyncio loop: the verbs of Channel, to be awaited.

    Made around any channel, whose mode does not matter and does not change.  It belongs to no loop:
    each await is one of the loop that runs it.  One task may read while another writes; a second
    reader gets BusyError, concurrent writes go out whole, in turn.
    """

    __slots__ = ()

    async def _task(self, start: Start) -> _qio.Task:
        try:
            return await _task(start)
        finally:
            self._look_again()          # a handshake reads what comes behind it, too

    async def _within(self, seconds: float | None, awaitable: Coroutine[Any, Any, Any]) -> None:
        try:
            await asyncio.wait_for(awaitable, seconds)
        except asyncio.TimeoutError:
            pass

    def _again(self, channel: Channel) -> Self:
        return type(self)(channel)


def _drop_channel(task: _qio.Task) -> None:
    try:
        task.take_channel().close()
    except Error:
        pass


def _drop_listener(task: _qio.Task) -> None:
    try:
        task.take_listener().close()
    except Error:
        pass


async def connect(uri: str, *, timeout: Timeout = ..., tls: TLSCreds | None = None,
                  **keys: Value) -> AsyncChannel:
    """Open the channel that a URI describes, as qio.connect() does; names are looked up in the
    background, and handshakes are done."""
    uri, options = prepare_connect(uri, timeout, tls, keys)
    opening: list[_qio.Task] = []

    def start(loop: Loop, done: Callable[[], None]) -> _qio.Task:
        opening.append(loop._open(uri, options, done))
        return opening[0]

    try:
        await _task(start)
    except BaseException:
        for task in opening:                    # it may have succeeded just now
            _drop_channel(task)
        raise
    channel: Any = opening[0].take_channel()
    if tls is not None:
        channel._creds = tls
    return AsyncChannel(channel)


class AsyncListener(Listening[AsyncChannel]):
    """Listens; iterating gives each client until it is closed."""

    __slots__ = ("_waiting",)
    _ENDS = (AbortedError, ClosedError)

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._waiting: set[asyncio.Future[None]] = set()

    async def accept(self) -> AsyncChannel:
        """Wait for a client; its handshake is not done."""
        home = _home()
        while (channel := self.listener.accept_now()) is None:
            try:
                await self._wait(home)
            except Error as error:
                if not is_shortage(error):
                    raise
                await asyncio.sleep(PAUSE_S)
        return AsyncChannel(channel)

    async def _wait(self, home: Any) -> None:
        ready = home.loop.create_future()

        def fire(*_: Any) -> bool:
            _resolve(ready)
            return False

        watch = home._watch(self.listener, 1, fire)
        self._waiting.add(ready)
        try:
            await ready
        finally:
            self._waiting.discard(ready)
            watch.remove()

    def close(self) -> None:
        """Stop listening; who accepts gets AbortedError."""
        self.listener.close()
        for ready in self._waiting:
            if not ready.done():
                ready.set_exception(AbortedError("the listener was closed"))

    async def aclose(self) -> None:
        """As close()."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


async def listen(uri: str, *, backlog: int | None = None, tls: TLSCreds | None = None,
                 on_request: OnRequest | None = None, **keys: Value) -> AsyncListener:
    """Listen where a URI says, as qio.listen() does; names are looked up in the background."""
    uri, options = prepare_listen(uri, backlog, tls, on_request, keys)
    opening: list[_qio.Task] = []

    def start(loop: Loop, done: Callable[[], None]) -> _qio.Task:
        opening.append(loop._listen(uri, options, done))
        return opening[0]

    try:
        await _task(start)
    except BaseException:
        for task in opening:                    # it may have succeeded just now
            _drop_listener(task)
        raise
    listener: Any = opening[0].take_listener()
    listener._creds, listener._on_request = tls, on_request
    return AsyncListener(listener)


Handler = Callable[[AsyncChannel], Awaitable[None]]


class Server:
    """Accepts clients and runs a task for each; made by start_server()."""

    def __init__(self, listener: AsyncListener, handler: Handler) -> None:
        self._listener = listener
        self._handler = handler
        self._clients: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        try:
            async for client in self._listener:
                task = asyncio.get_running_loop().create_task(self._serve(client))
                self._clients.add(task)
                task.add_done_callback(self._clients.discard)
        except Exception as error:
            self._report(f"no more clients at {self.address}", error)
        finally:
            self.close()

    async def _serve(self, client: AsyncChannel) -> None:
        try:
            try:
                await client.handshake()
            except Error:
                return                  # who speaks no TLS is no client
            await self._handler(client)
        except Exception as error:
            self._report(f"the handler of {client!r} failed", error)
        finally:
            await client.aclose()

    def _report(self, message: str, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": message, "exception": error})

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses as URIs, with what the system chose."""
        return self._listener.addresses

    @property
    def address(self) -> str:
        """The first address."""
        return self._listener.address

    @property
    def port(self) -> int | None:
        """The port of the first address, None when that has none."""
        return self._listener.port

    def is_serving(self) -> bool:
        """Whether it accepts clients."""
        return not self._listener.closed

    def close(self) -> None:
        """Accept no more clients; those that are there go on."""
        self._listener.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed and the last client is gone."""
        await asyncio.gather(self._accepting, *self._clients, return_exceptions=True)

    async def aclose(self) -> None:
        """Accept no more clients, cancel those that are there, and wait for their end."""
        self.close()
        for task in self._clients:
            task.cancel()
        await self.wait_closed()

    async def serve_forever(self) -> None:
        """Serve until this is cancelled, then close as aclose() does."""
        try:
            await asyncio.shield(self._accepting)
        finally:
            await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


async def start_server(handler: Handler, uri: str, *, backlog: int | None = None,
                       tls: TLSCreds | None = None, on_request: OnRequest | None = None,
                       **keys: Value) -> Server:
    """Listen where a URI says and call handler(channel) in a task for each client, once its
    handshake is done (a client that has not shaken hands after handshake_timeout is dropped).  The
    channel is closed when the handler returns."""
    listener = await listen(uri, backlog=backlog, tls=tls, on_request=on_request, **keys)
    return Server(listener, handler)


# ---- transports and streams ----

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)


async def _channel_of(channel: Channel | AsyncChannel | str, keys: dict[str, Any]) -> Channel:
    if isinstance(channel, str):
        return (await connect(channel, **keys)).channel
    if keys:
        raise TypeError(f"{next(iter(keys))} is for connecting, and a channel is connected")
    return channel.channel if isinstance(channel, AsyncChannel) else channel


async def create_connection(protocol_factory: Callable[[], _ProtocolT],
                            channel: Channel | AsyncChannel | str,
                            **keys: Any) -> tuple[Transport, _ProtocolT]:
    """As loop.create_connection(): a transport and its protocol, on a channel or what a URI
    describes, keys being those of connect()."""
    inner = await _channel_of(channel, keys)
    protocol = protocol_factory()
    transport = Transport(asyncio.get_running_loop(), inner, protocol)
    await asyncio.sleep(0)                      # connection_made() was called then
    return transport, protocol


async def create_server(protocol_factory: Callable[[], asyncio.BaseProtocol], uri: str,
                        **keys: Any) -> Server:
    """As loop.create_server(): a transport and a protocol for each client."""
    async def handler(channel: AsyncChannel) -> None:
        lost = asyncio.get_running_loop().create_future()
        transport = Transport(asyncio.get_running_loop(), channel.channel, protocol_factory())
        transport.when_lost(lambda: _resolve(lost))
        try:
            await lost
        finally:
            transport.abort()
    return await start_server(handler, uri, **keys)


async def open_streams(channel: Channel | AsyncChannel | str, *, limit: int = 65536,
                       **keys: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As asyncio.open_connection(): a StreamReader and a StreamWriter, on a channel or what a URI
    describes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    transport, protocol = await create_connection(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), channel, **keys)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


# ---- relays ----

async def relay(a: Channel | AsyncChannel, b: Channel | AsyncChannel, *,
                filter: Filter | None = None, idle_timeout: float | None = None,
                buffer: int | None = None, limit: int | None = None) -> Counts:
    """Copy from a to b and from b to a until both have ended, as qio.relay() does, in this loop.

    Cancelled, what was read and not written is read again by the next reader.
    """
    ends = [end.channel if isinstance(end, AsyncChannel) else end for end in (a, b)]
    home = _home()
    end = home.loop.create_future()
    relay: Relay = home.qio_loop().relay(
        *ends, filter=filter, idle_timeout=idle_timeout, buffer=buffer, limit=limit,
        on_done=lambda relay: _resolve(end, home.claim(relay._task)))
    try:
        await _until_end(relay._task, end)
    except Error as error:
        error.counts = relay.counts
        raise
    counts = relay.result()
    assert counts is not None
    return counts
