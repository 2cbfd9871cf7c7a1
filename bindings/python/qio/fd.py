# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptors that somebody owns."""

from __future__ import annotations

import io
from typing import IO, Any, NoReturn

from . import _qio


class Fd(_qio.Fd):
    """An open descriptor and the duty to close it, as received with recv_fds().

    Usable wherever Python takes an object with fileno(); `with` closes it; dropping an open one
    warns and closes it.
    """

    __slots__ = ("__weakref__",)

    def open(self, mode: str = "rb", buffering: int = -1, encoding: str | None = None) -> IO[Any]:
        """A file object, which owns the descriptor from then on."""
        file = io.open(self.fileno(), mode, buffering, encoding)
        self.detach()
        return file

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Fd cannot be pickled or copied: os.dup() makes a second descriptor")
