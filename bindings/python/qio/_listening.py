# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a listener is in every event loop.

Owns: its names, and the iteration over its clients; how to wait for one is said by accept() of a
subclass.  In the thread of the loop.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from .errors import Error
from .listener import Listener

C = TypeVar("C")

#: Seconds that who accepts looks away for want of a descriptor to wait with.  One for a client the
#: listener itself waits out.
PAUSE_S = 0.1


def is_shortage(error: Error) -> bool:
    """Whether it passes when others let go of something."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listening(Generic[C]):
    """Listens; iterating gives each client until it is closed."""

    __slots__ = ("listener",)

    #: What accept() raises when it is closed.
    _ENDS: tuple[type[BaseException], ...] = ()

    def __init__(self, listener: Listener) -> None:
        if not isinstance(listener, Listener):
            raise TypeError(f"listener has to be a qio.Listener, not {type(listener).__name__}")
        self.listener = listener

    async def accept(self) -> C:
        """Wait for a client; its handshake is not done."""
        raise NotImplementedError

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses as URIs, with what the system chose."""
        return self.listener.addresses

    @property
    def address(self) -> str:
        """The first address."""
        return self.listener.address

    @property
    def port(self) -> int | None:
        """The port of the first address, None when that has none."""
        return self.listener.port

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self.listener.closed

    async def clients(self) -> AsyncIterator[C]:
        """Each client until the listener is closed."""
        while True:
            try:
                client = await self.accept()
            except self._ENDS:
                if not self.closed:
                    raise
                return
            yield client

    def __aiter__(self) -> AsyncIterator[C]:
        return self.clients()
