# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listeners: where clients come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from . import _qio
from ._types import Timeout
from .channel import Channel
from .errors import AbortedError, ClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

#: With layers or without: tcp://host:port, ws+tcp://[v6]:port?..., vsock://cid:port
_PORT = re.compile(r"[a-z+]*(?:tcp|vsock|ws|wss)://[^/?]*:(\d+)(?:[/?]|$)")


class Listener(_qio.Listener):
    """Listens on one or more addresses; iterating gives the channel of each client.

    A client that is gone before it was accepted is passed over, and being out of descriptors is
    a pause: neither comes out as an exception.  Accepting does no handshake: that is for the
    channel's first transfer, or its handshake().
    """

    __slots__ = ("_creds", "_on_request")

    def accept(self, *, timeout: Timeout = None) -> Channel:
        """Wait for a client and give its channel."""
        channel = self._accept(timeout)
        self._give(channel)
        return channel

    def accept_now(self) -> Channel | None:
        """The channel of a client who waits already, None when there is none."""
        channel = self._accept_now()
        if channel is not None:
            self._give(channel)
        return channel

    def _give(self, channel: Any) -> None:
        if (creds := getattr(self, "_creds", None)) is not None:
            channel._creds = creds
        if (on_request := getattr(self, "_on_request", None)) is not None:
            channel._set_on_request(on_request)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses as URIs, with what the system chose; also after close()."""
        return self._addresses()

    @property
    def address(self) -> str:
        """The first address."""
        return self._addresses()[0]

    @property
    def port(self) -> int | None:
        """The port of the first address, None when that has none."""
        match = _PORT.match(self.address)
        return int(match[1]) if match else None

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed()

    def clients(self, *, timeout: Timeout = None) -> Iterator[Channel]:
        """The channel of each client until the listener is closed, waiting at most timeout for
        each."""
        while True:
            try:
                client = self.accept(timeout=timeout)
            except (AbortedError, ClosedError):
                if not self.closed:
                    raise
                return
            yield client

    def __iter__(self) -> Iterator[Channel]:
        return self.clients()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
