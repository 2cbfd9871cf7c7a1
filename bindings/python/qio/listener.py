# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listeners: where clients come from."""

from collections.abc import Iterator
from typing import Self

from . import _qio
from ._types import Timeout
from .channel import SocketChannel
from .errors import AbortedError, ClosedError


class Listener(_qio.Listener):
    """Listens on one or more addresses; iterating gives the channel of each client.

    A client that is gone before it was accepted is passed over, and being out of descriptors is
    a pause: neither comes out as an exception.
    """

    __slots__ = ()

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
        scheme, _, rest = self.address.partition(":")
        return int(rest.rpartition(":")[2]) if scheme in ("tcp", "vsock") else None

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed()

    def clients(self, *, timeout: Timeout = None) -> Iterator[SocketChannel]:
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

    def __iter__(self) -> Iterator[SocketChannel]:
        return self.clients()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
