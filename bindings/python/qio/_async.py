# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs of a channel in an event loop, whichever loop that is.

A verb is a function that tries, with timeout=TRY: it gives None where it would have to wait and
leaves every byte in the channel.  How to wait, one reader at a time and writers in turn, is said by
_reading(), _writing(), _waiting() and _task() of a subclass: in qio.aio they are C, in qio.trio
Python.  What tries in several steps is in _tries.py.  Every
try is synchronous and nothing is awaited after one that succeeds, so a cancellation loses no byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _qio
from ._tries import CHUNK, TRY, Exactly, Flush, Line, Pieces, ToTheEnd, WithFds
from ._types import Condition, Descriptor, Readable, Timeout, Writable
from .channel import _LINE_MAX, Channel, CommandChannel, PeerCred, _close_quietly, _count
from .conditions import IN, MORE, OUT, Cond
from .errors import TimeoutError, UnsupportedError, WebSocketError
from .deadline import Deadline
from .fd import Fd
from .loop import Loop
from .opening import _with_tls
from .options import as_options
from .websocket import _CLEAN, WebSocketChannel, WebSocketRequest

if TYPE_CHECKING:
    from typing_extensions import Self

    from .tls import TLSCreds, TLSInfo
    from .websocket import Headers, OnRequest

T = TypeVar("T")

#: Seconds that aclose() gives the orderly end of the layers.
CLOSE_TIMEOUT = 5.0

#: Starts a task in the loop of the library, which is to call the function at its end.
Start = Callable[[Loop, Callable[[], None]], "_qio.Task"]


def _leaf(channel: Channel) -> Channel:
    """The channel at the bottom of the layers."""
    while (below := channel.transport) is not None:
        channel = below
    return channel


class AsyncVerbs:
    """What AsyncChannel is in every event loop; see Channel for what a verb promises.

    There is no timeout=: use that of the event loop.  After a cancellation every byte that was
    not returned is still in the channel.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        @property
        def channel(self) -> Channel:
            """The channel, whose own calls do not wait for the event loop."""

    # ---- what a subclass has ----

    def _reading(self, condition: int, fn: Callable[..., T | None], /, *args: Any,
                 **kwargs: Any) -> Coroutine[Any, Any, T]:
        """Call fn(*args, timeout=TRY, **kwargs) until it gives something, waiting for the
        condition in between, as the one reader."""
        raise NotImplementedError

    def _writing(self, condition: int, fn: Callable[..., T | None], /, *args: Any,
                 **kwargs: Any) -> Coroutine[Any, Any, T]:
        """As _reading(), when it is this one's turn to write."""
        raise NotImplementedError

    def _waiting(self, condition: Condition, fn: Callable[..., T | None], /, *args: Any,
                 **kwargs: Any) -> Coroutine[Any, Any, T]:
        """As _reading(), for what neither reads nor writes."""
        raise NotImplementedError

    async def _task(self, start: Start) -> _qio.Task:
        """Start a task in the loop of the library (start(loop, on_done)) and wait for its end; it
        is cancelled, and waited for, when the caller is."""
        raise NotImplementedError

    async def _within(self, seconds: float | None, awaitable: Coroutine[Any, Any, Any]) -> None:
        """Await it for at most so long."""
        raise NotImplementedError

    def _again(self, channel: Channel) -> Self:
        """Of another channel, the same as this."""
        raise NotImplementedError

    def _forget(self) -> None:
        """The channel's descriptor is about to be closed by somebody else."""
        raise NotImplementedError

    def _abort(self, condition: int, /) -> None:
        """End who waits for it: AbortedError."""
        raise NotImplementedError

    # ---- reading ----

    def readinto(self, b: Writable, /) -> Coroutine[Any, Any, int]:
        """Read once into a writable buffer.  Bytes read, 0 at the end."""
        return self._reading(IN, self.channel.readinto, b)

    def read_some(self, n: int = CHUNK, /) -> Coroutine[Any, Any, bytes]:
        """Read at most n bytes in one chunk; b'' at the end."""
        return self._reading(IN, self.channel.read_some, n)

    def read(self, n: int | None = -1, /) -> Coroutine[Any, Any, bytes]:
        """Read at most n bytes in one chunk; without n, all until the end."""
        n = _count(n, "n")
        if n is not None and n >= 0:
            return self.read_some(n)
        return self._reading(IN, ToTheEnd(self.channel))

    def read_exactly(self, n: int, eof_ok: bool = False) -> Coroutine[Any, Any, bytes]:
        """Read n bytes.  The end before that raises IncompleteReadError; with eof_ok an end before
        the first byte gives b''."""
        return self._reading(IN, Exactly(self.channel, n, eof_ok))

    def read_until(self, delims: Readable | Sequence[Readable], *,
                   limit: int = _LINE_MAX) -> Coroutine[Any, Any, bytes]:
        """Read up to and with the first delimiter (bytes, or a sequence of them), or what is left
        at the end.  LimitError when limit bytes hold none; nothing is consumed then."""
        return self._reading(MORE, self.channel.read_until, delims, limit=limit)

    def readline(self, size: int | None = -1) -> Coroutine[Any, Any, bytes]:
        """Read up to and with the next newline, or what is left; at most size bytes."""
        size = _count(size, "size")
        if size is None or size < 0 or size > _LINE_MAX:
            return self._reading(MORE, self.channel.read_until, b"\n")
        if size == 0:
            return self.read_some(0)
        return self._reading(MORE, Line(self.channel, size))

    def readv(self, buffers: Sequence[Writable]) -> Coroutine[Any, Any, int]:
        """Read once into several buffers, in order.  Bytes read, 0 at the end."""
        return self._reading(IN, self.channel.readv, buffers)

    def peek(self, n: int = CHUNK) -> Coroutine[Any, Any, bytes]:
        """Give up to n of the next bytes and leave them to be read."""
        return self._reading(IN, self.channel.peek, n)

    def recv_fds(self, n: int, maxfds: int = 253) -> Coroutine[Any, Any, tuple[bytes, list[Fd]]]:
        """Read at most n bytes and the descriptors that came with them."""
        return self._reading(IN, self.channel.recv_fds, n, maxfds)

    # ---- writing ----

    def write(self, b: Readable, /) -> Coroutine[Any, Any, int]:
        """Write all of b, out of every layer; its length.  Concurrent writes go out whole, one
        after the other."""
        return self._writing(OUT, Pieces(self.channel, [b]))

    def write_all(self, b: Readable, /) -> Coroutine[Any, Any, int]:
        """As write()."""
        return self.write(b)

    def writev(self, buffers: Sequence[Readable]) -> Coroutine[Any, Any, int]:
        """As write(), for several buffers in order."""
        return self._writing(OUT, Pieces(self.channel, buffers))

    def writev_all(self, buffers: Sequence[Readable]) -> Coroutine[Any, Any, int]:
        """As writev()."""
        return self.writev(buffers)

    def flush(self) -> Coroutine[Any, Any, bool]:
        """Send what the channel holds back."""
        return self._writing(OUT, Flush(self.channel))

    def send_fds(self, data: Readable, fds: Sequence[Descriptor]) -> Coroutine[Any, Any, int]:
        """Write data with descriptors (ints or objects with fileno()); they are duplicated and go
        with the first byte."""
        return self._writing(OUT, WithFds(self.channel, data, fds))

    def shutdown(self, how: Any, /) -> Coroutine[Any, Any, bool]:
        """End a direction, "read", "write" or "both", after the writes that wait their turn."""
        def first(*, timeout: Any) -> bool:
            self.channel._try_shutdown(how)
            return True
        return self._writing(OUT, Flush(self.channel, first))

    def send_eof(self) -> Coroutine[Any, Any, bool]:
        """End the writing direction: the other side reads its end of stream."""
        return self.shutdown("write")

    # ---- waiting and the end ----

    def wait(self, condition: Condition, /) -> Coroutine[Any, Any, Cond]:
        """Wait until a transfer in that direction would not block; the conditions that hold."""
        def ready(*, timeout: Any) -> Cond | None:
            return self.channel.wait(condition, timeout=0) or None
        return self._waiting(condition, ready)

    def cancel(self, condition: int = 5, /) -> None:
        """Interrupt who waits for the condition (IN|OUT by default): AbortedError."""
        self._abort(condition)
        self.channel.cancel(condition)

    def close(self) -> None:
        """Close at once: layers say their goodbye if that does not wait, a command is not waited
        for in the event loop.  Prefer aclose()."""
        self.channel.close()

    async def aclose(self, *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Close in order: what layers hold back and their goodbyes are sent and, of a command, its
        end is awaited, for at most so many seconds; nobody's answer is waited for.  Who reads or
        writes gets AbortedError.  Closed whatever comes of it; when this is cancelled a
        command is killed."""
        if self.channel.closed:
            return
        self._forget()
        try:
            if self.channel.transport is not None:
                await self._within(timeout, self._writing(OUT, Flush(self.channel, self._goodbye)))
            leaf = _leaf(self.channel)
            if isinstance(leaf, CommandChannel):
                await self._end_command(leaf, timeout)
        except OSError:
            pass        # the other side's trouble with the goodbye is nobody's news
        finally:
            self._forget()
            _close_quietly(self.channel)

    async def _end_command(self, command: CommandChannel, timeout: float | None) -> None:
        ms = -1 if timeout is None else max(0, int(timeout * 1000))
        try:
            await self._task(lambda loop, done: loop._close_channel(self.channel, ms, done))
        except BaseException:
            command.kill()      # nobody waits until it is told to end in the orderly way
            raise

    def _goodbye(self, *, timeout: Any) -> bool:
        try:
            self.channel._try_shutdown("write")
        except UnsupportedError:
            pass        # a WebSocket says it in its close()
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.aclose()

    # ---- what it is ----

    @property
    def kind(self) -> str:
        """"socket", "file", "command", "buffer", "null" ..."""
        return self.channel.kind

    @property
    def name(self) -> str | None:
        """A name for messages and debugging."""
        return self.channel.name

    @property
    def local_address(self) -> str | None:
        """Our address as a URI; None when it has none."""
        return self.channel.local_address

    @property
    def peer_address(self) -> str | None:
        """The other side's address as a URI; None when it has none."""
        return self.channel.peer_address

    @property
    def peer_cred(self) -> PeerCred | None:
        """PeerCred of a unix socket's other side; None for other channels."""
        return self.channel.peer_cred

    @property
    def pending(self) -> int:
        """Bytes held above the descriptor (read ahead, decoded)."""
        return self.channel.pending

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self.channel.closed

    @property
    def tls(self) -> "TLSInfo | None":
        """What is known of the TLS on this channel, or below it; None when there is none."""
        return self.channel.tls

    def fileno(self) -> int:
        """The descriptor, which stays the channel's; -1 after close."""
        return self.channel.fileno()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.channel!r}>"

    # ---- layers ----

    async def handshake(self) -> None:
        """Do what has to come before the first byte of a layer, within its handshake_timeout."""
        while True:
            task = await self._task(
                lambda loop, done: loop._handshake(self.channel, -1, done))
            if not task.result():
                return
            self.channel._answer_request()

    async def start_tls(self, creds: "TLSCreds", *, server: bool = False,
                        hostname: str | None = None, alpn: Sequence[str] | None = None,
                        **keys: Any) -> Self:
        """Put TLS on the channel, which belongs to the new one from then on; the handshake is done.

        Bytes that were read ahead are the first that TLS gets; nothing is lost or slipped in.  When
        the handshake fails, or is cancelled, both are closed.  Arguments are as of
        Channel.start_tls().
        """
        layer = self.channel.start_tls(creds, server=server, hostname=hostname, alpn=alpn,
                                       handshake=False, **keys)
        return await self._shake(layer)

    async def websocket(self, *, server: bool = False, host: str | None = None,
                        path: str | None = None, origin: str | None = None,
                        protocols: Sequence[str] | None = None, headers: "Headers | None" = None,
                        mode: str | None = None, deflate: bool | None = None,
                        max_message: int | None = None, on_request: "OnRequest | None" = None,
                        **keys: Any) -> Self:
        """Put a WebSocket on the channel, which belongs to the new one from then on; the handshake
        is done.  Arguments are as of Channel.websocket()."""
        layer = self.channel.websocket(
            server=server, host=host, path=path, origin=origin, protocols=protocols,
            headers=headers, mode=mode, deflate=deflate, max_message=max_message,
            on_request=on_request, handshake=False, **keys)
        return await self._shake(layer)

    async def _shake(self, layer: Channel) -> Self:
        above = self._again(layer)
        try:
            await above.handshake()
        except BaseException:
            above._forget()
            layer.close()
            raise
        return above

    def unwrap(self) -> Coroutine[Any, Any, Self]:
        """End the layer in order, as the other side has to as well, and give the channel below."""
        return self._reading(IN, self._try_unwrap)

    def _try_unwrap(self, *, timeout: Any) -> Self | None:
        try:
            return self._again(self.channel.unwrap(timeout=0))
        except TimeoutError:
            return None

    # ---- messages of a WebSocket ----

    def _messages(self) -> WebSocketChannel:
        if not isinstance(self.channel, WebSocketChannel):
            raise UnsupportedError(f"a {self.kind} channel has no messages")
        return self.channel

    def send(self, message: str | Readable, /) -> Coroutine[Any, Any, bool]:
        """Send a str as text, a bytes-like object as binary, as one message."""
        channel = self._messages()

        def first(*, timeout: Any) -> bool | None:
            return channel.send(message, timeout=timeout)
        return self._writing(OUT, Flush(channel, first))

    def recv(self) -> Coroutine[Any, Any, str | bytes]:
        """Wait for a message.  WebSocketError, with close_code and reason, when the other side has
        closed."""
        return self._reading(IN, self._messages().recv)

    def ping(self, data: str | Readable = b"") -> None:
        """Send a ping with up to 125 bytes; the answer is not told."""
        self._messages().ping(data)

    @property
    def request(self) -> WebSocketRequest:
        """What the client of a WebSocket asked for."""
        return self._messages().request

    @property
    def protocol(self) -> str | None:
        """The subprotocol of a WebSocket agreed on, None for none."""
        return self._messages().protocol

    async def _lines(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def _each_message(self) -> AsyncIterator[str | bytes]:
        try:
            while True:
                yield await self.recv()
        except WebSocketError as error:
            if error.close_code not in _CLEAN:
                raise

    def __aiter__(self) -> AsyncIterator[Any]:
        """The messages of a WebSocket of that mode, else the lines."""
        if isinstance(self.channel, WebSocketChannel) and self.channel.ws_mode == "messages":
            return self._each_message()
        return self._lines()

    # ---- commands ----

    def _command(self) -> CommandChannel:
        if not isinstance(self.channel, CommandChannel):
            raise UnsupportedError(f"a {self.kind} channel has no process")
        return self.channel

    @property
    def pid(self) -> int:
        """The process id of a command; also after close()."""
        return self._command().pid

    @property
    def returncode(self) -> int | None:
        """Of a command: None while it runs, then its exit status or minus the signal."""
        return self._command().returncode

    @property
    def stderr(self) -> Self | None:
        """The channel of a command's standard error; None unless it was started with
        stderr="pipe"."""
        channel = self._command().stderr
        return None if channel is None else self._again(channel)

    async def wait_exit(self) -> int:
        """Wait until a command has ended and give the returncode; also after close()."""
        command = self._command()
        task = await self._task(lambda loop, done: loop._wait_exit(command, done))
        task.status()
        return command.wait_exit(timeout=0)

    def send_signal(self, signum: int) -> None:
        """Send a command a signal; does nothing when it has ended."""
        self._command().send_signal(signum)

    def terminate(self) -> None:
        """Ask a command to end: SIGTERM."""
        self._command().terminate()

    def kill(self) -> None:
        """End a command: SIGKILL."""
        self._command().kill()


def prepare_connect(uri: str, timeout: Timeout, tls: "TLSCreds | None",
                    keys: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URI and options of a connect()."""
    if tls is not None:
        uri = _with_tls(uri, tls, keys)
    if timeout is not ...:
        keys["timeout"] = timeout.remaining if isinstance(timeout, Deadline) else timeout
    return uri, as_options(keys) or {}
