# SPDX-License-Identifier: LGPL-2.1-or-later
"""A channel as an asyncio transport, for libraries that want one.

Owns: what happens once in the life of a connection: its beginning, its end, flow control, and what
is known of it.  What happens for each message is C (pytransport.c): reading, and writing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from typing import Any, Callable

from . import _qio
from ._async import _leaf
from ._types import Readable
from .channel import Channel

#: Failures of the other side that are nobody's mistake here.
_ORDINARY = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


class _Socket:
    """What libraries ask of get_extra_info("socket"): options and names of the channel's own."""

    __slots__ = ("_channel", "family", "type", "proto")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.family, self.type, self.proto = self._with(
            lambda sock: (sock.family, sock.type, sock.proto))

    def _with(self, fn: Callable[[socket.socket], Any]) -> Any:
        with socket.socket(fileno=os.dup(self._channel.fileno())) as sock:
            return fn(sock)

    def fileno(self) -> int:
        """The descriptor, which stays the channel's."""
        return self._channel.fileno()

    def getsockopt(self, *args: Any) -> Any:
        """As a socket's."""
        return self._with(lambda sock: sock.getsockopt(*args))

    def setsockopt(self, *args: Any) -> None:
        """As a socket's."""
        self._with(lambda sock: sock.setsockopt(*args))

    def getsockname(self) -> Any:
        """As a socket's."""
        return self._with(lambda sock: sock.getsockname())

    def getpeername(self) -> Any:
        """As a socket's."""
        return self._with(lambda sock: sock.getpeername())

    def __repr__(self) -> str:
        return f"<socket of {self._channel!r}>"


class Transport(asyncio.Transport):
    """A channel with the face of an asyncio transport; the channel belongs to it.

    protocol is an asyncio.Protocol or BufferedProtocol, which is told of the connection in the next
    turn of the loop.  Works on any channel: sockets, commands, TLS, WebSockets in stream mode,
    channels written in Python.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel,
                 protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._loop = loop
        self._channel = channel
        self._engine = _qio.Engine(self, channel)
        self._set(write=self._engine.write)     # C, called for each message
        self._closing = False
        self._lost = False
        self._eof_wanted = False
        self._info: dict[str, Any] = {}
        self._when_lost: Callable[[], Any] | None = None
        self.set_protocol(protocol)
        loop.call_soon(self._begin)

    def _begin(self) -> None:
        if not self._lost:
            self._protocol.connection_made(self)
            if not self._closing:
                self._engine.start()

    def _set(self, **methods: Callable[..., Any]) -> None:
        self.__dict__.update(methods)

    # ---- what the engine tells ----

    def _eof(self) -> None:
        """The other side has ended its direction."""
        keep = getattr(self._protocol, "eof_received", lambda: None)()
        if not keep:
            self.close()

    def _fatal(self, error: BaseException) -> None:
        """The connection is lost."""
        if not isinstance(error, _ORDINARY):
            self._loop.call_exception_handler({
                "message": "Fatal error on transport", "exception": error, "transport": self,
                "protocol": self._protocol})
        self._end(error)

    def _tell(self, method: str) -> None:
        try:
            getattr(self._protocol, method)()
        except Exception as error:
            self._loop.call_exception_handler({
                "message": f"protocol.{method}() failed", "exception": error, "transport": self,
                "protocol": self._protocol})

    def _pause(self) -> None:
        """More waits to be written than the high mark."""
        self._tell("pause_writing")

    def _resume(self) -> None:
        """No more waits than the low mark."""
        self._tell("resume_writing")

    def _drained(self) -> None:
        """Everything is written."""
        if self._closing:
            self._end(None)
        elif self._eof_wanted:
            self._shutdown()

    # ---- the end ----

    def _shutdown(self) -> None:
        self._eof_wanted = False
        try:
            self._channel._try_shutdown("write")
        except OSError as error:
            self._fatal(error)

    def _end(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._engine.stop()
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error if isinstance(error, Exception) else None)
        finally:
            try:
                self._channel.close()
            except OSError:
                pass                            # a goodbye that was not sent
            if self._when_lost is not None:
                self._when_lost()

    def when_lost(self, fn: Callable[[], Any]) -> None:
        """Call fn() after connection_lost() was called."""
        self._when_lost = fn

    def close(self) -> None:
        """Stop reading, write what waits, and then close: connection_lost(None)."""
        if self._closing:
            return
        self._closing = True
        self._engine.pause()
        if not self._engine.pending():
            self._end(None)

    def abort(self) -> None:
        """Close at once, dropping what waits to be written."""
        self._end(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def __del__(self) -> None:
        if not getattr(self, "_lost", True):
            self._engine.stop()                 # the channel warns for itself

    # ---- the protocol ----

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is called from now on."""
        self._protocol: Any = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._engine.set_protocol(protocol.buffer_updated, protocol.get_buffer)
        else:
            self._engine.set_protocol(getattr(protocol, "data_received", None), None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is called."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # ---- reading ----

    def is_reading(self) -> bool:
        """Whether what comes is handed to the protocol."""
        return not self._closing and self._engine.is_reading()

    def pause_reading(self) -> None:
        """Leave what comes in the channel."""
        if not self._closing:
            self._engine.pause()

    def resume_reading(self) -> None:
        """Hand what comes to the protocol again."""
        if not self._closing:
            self._engine.start()

    # ---- writing ----

    def writelines(self, list_of_data: Iterable[Readable]) -> None:
        """Write each of the buffers."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """End the writing direction after what waits."""
        if self._closing or self._eof_wanted:
            return
        self._eof_wanted = True
        self._set(write=self._after_eof)
        if not self._engine.pending():
            self._shutdown()

    def _after_eof(self, data: Readable) -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    def can_write_eof(self) -> bool:
        """Whether one direction can end alone."""
        return self._channel.kind != "websocket"

    def get_write_buffer_size(self) -> int:
        """How many bytes wait to be written."""
        return self._engine.waiting()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks: (low, high)."""
        return self._engine.limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The protocol's pause_writing() is called when more than high bytes wait,
        resume_writing() when no more than low do."""
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._engine.set_limits(high, low)

    # ---- what is known ----

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """"channel", "peername", "sockname", "socket", "cipher", "peercert" (DER), "tls", "pid"."""
        if name not in self._info:
            try:
                self._info[name] = self._find_out(name)
            except OSError:
                return default
        value = self._info[name]
        return default if value is None else value

    def _find_out(self, name: str) -> Any:
        channel = self._channel
        if name == "channel":
            return channel
        if name == "tls":
            return channel.tls
        if name == "cipher":
            tls = channel.tls
            return None if tls is None else (tls.cipher, tls.version, None)
        if name == "peercert":
            tls = channel.tls
            return None if tls is None else tls.peer_certificate
        if name == "pid":
            return getattr(_leaf(channel), "pid", None)
        leaf = _leaf(channel)
        if leaf.kind == "socket" and name in ("socket", "peername", "sockname"):
            sock = _Socket(leaf)
            if name == "socket":
                return sock
            return sock.getpeername() if name == "peername" else sock.getsockname()
        return None

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<Transport {state} of {self._channel!r}>"

