# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loops: functions called when channels are ready, timers, deferred calls."""

from typing import Self

from . import _qio
from ._qio import Watch  # noqa: F401


class Loop(_qio.Loop):
    """An event loop; one descriptor (fileno()) stands for all that it waits for.

    Functions are called inside run() and run_once() only.  What one of them raises leaves from
    there, the same object; its watch is removed.  Dropping the loop removes its watches.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
