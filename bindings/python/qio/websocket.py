# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSocket channels.

Owns: WebSocketChannel and what a client's request looks like.  A WebSocket is a stream of bytes
as every channel, or, with mode="messages", a channel of messages: send() and recv() are C (see
pywebsock.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from ._types import Readable, Timeout
from .channel import Channel
from .deadline import Deadline
from .errors import Error, WebSocketError
from .options import as_options

#: How long close(code) waits for the other side's answer.
CLOSE_TIMEOUT = 5.0
#: Codes that end a conversation as both sides wanted.
_CLEAN = (1000, 1001, 1005)

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]


class WebSocketRequest:
    """What a client asks for: of a server's channel from its handshake on."""

    __slots__ = ("_channel",)

    def __init__(self, channel: "WebSocketChannel") -> None:
        self._channel = channel

    @property
    def path(self) -> str | None:
        """The path with its query, as it was sent."""
        return self._channel._ws_request("path")

    @property
    def host(self) -> str | None:
        """The Host header."""
        return self._channel._ws_request("host")

    @property
    def origin(self) -> str | None:
        """Where the page comes from that a browser has the connection made for."""
        return self._channel._ws_request("origin")

    @property
    def protocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, as it prefers them."""
        text = self._channel._ws_request("protocols") or ""
        return tuple(word.strip() for word in text.split(",") if word.strip())

    def header(self, name: str) -> str | None:
        """The value of a header, None when it was not sent."""
        return self._channel._ws_request(name)

    def __repr__(self) -> str:
        return f"<WebSocketRequest {self.path}>"


#: True or None lets the client in, a str does with that subprotocol, False or a number refuses
#: with that HTTP status.
Answer = Union[bool, str, int, None]
OnRequest = Callable[["WebSocketChannel"], Answer]


class WebSocketChannel(Channel):
    """A WebSocket over another channel: see Channel.websocket().

    In mode "stream" it is read and written as any channel, in binary messages of no meaning.  In
    mode "messages" send() and recv() carry str (text) and bytes (binary), and iterating gives
    messages until the other side closes.
    """

    __slots__ = ("_creds",)

    if TYPE_CHECKING:
        def send(self, message: str | Readable, /, *, timeout: Timeout = ...) -> bool | None:
            """Send a message."""

        def recv(self, *, timeout: Timeout = ...) -> str | bytes | None:
            """Wait for a message."""

    @property
    def ws_mode(self) -> str:
        """"stream" or "messages"."""
        return self._ws_request("mode") or "stream"

    @property
    def request(self) -> WebSocketRequest:
        """What the client asked for."""
        return WebSocketRequest(self)

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, None for none."""
        return self._ws_request("protocol")

    def ping(self, data: str | Readable = b"") -> None:
        """Send a ping with up to 125 bytes; the answer is not told."""
        self._ping(data.encode() if isinstance(data, str) else data)

    def close(self, code: int | None = None, reason: str = "", *,
              timeout: float | Deadline | None = CLOSE_TIMEOUT) -> None:
        """Close the channel, and what it lies on.

        Without a code it says goodbye (1000) and waits for nothing, as every close().  With one
        it does the close handshake: sends code and reason, waits at most timeout for the other
        side to answer, dropping the messages that still come, and then closes.
        """
        if code is None:
            if reason:
                raise ValueError("reason needs a code: close(1000, reason)")
            Channel.close(self)
            return
        if self.closed:
            return
        try:
            self._ws_close(code, reason)
        except ValueError:
            raise                       # nothing was sent, and the caller can do better
        except Error:
            Channel.close(self)
            return
        try:
            self._await_end(timeout)
        finally:
            Channel.close(self)

    def _await_end(self, timeout: float | Deadline | None) -> None:
        if not isinstance(timeout, Deadline) and timeout is not None:
            timeout = Deadline(timeout)
        messages = self.ws_mode == "messages"
        try:
            while (self.recv(timeout=timeout) is not None if messages
                   else self.read_some(timeout=timeout)):
                if timeout is not None and timeout.expired:
                    break               # one who goes on sending is not waited for either
        except Error:
            pass                        # the end, or none in time

    def _messages(self) -> Iterator[str | bytes]:
        try:
            while (message := self.recv()) is not None:
                yield message
        except WebSocketError as error:
            if error.close_code not in _CLEAN:
                raise

    def __iter__(self) -> Any:
        return self._messages() if self.ws_mode == "messages" else Channel.__iter__(self)


def _header_lines(headers: Any) -> list[str]:
    """"Name: value" of a mapping or of pairs; those that are lines already stay."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    return [pair if isinstance(pair, str) else f"{pair[0]}: {pair[1]}" for pair in pairs]


def start(channel: Channel, server: bool, on_request: OnRequest | None,
          values: dict[str, Any], keys: dict[str, Any]) -> WebSocketChannel:
    """A WebSocket layer on a channel, before its handshake."""
    keys.update((name, value) for name, value in values.items() if value is not None)
    if "ws_header" in keys and "headers" not in keys:
        keys["ws_header"] = _header_lines(keys["ws_header"])
    protocols = keys.get("ws_protocol")
    if isinstance(protocols, str):
        keys["ws_protocol"] = [protocols]
    elif protocols is not None:
        keys["ws_protocol"] = list(protocols)
    if on_request is not None:
        if not server:
            raise ValueError("on_request is for a server: server=True")
        if not callable(on_request):
            raise TypeError(f"on_request has to be callable, not {type(on_request).__name__}")
        keys["ws_request"] = True
    layer = channel._new_websocket(as_options(keys), server)
    if on_request is not None:
        layer._set_on_request(on_request)
    return layer
