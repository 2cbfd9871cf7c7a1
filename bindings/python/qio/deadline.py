# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deadlines: one limit for several calls."""

from __future__ import annotations

import time


class Deadline:
    """A moment that several calls have to be done by: pass it as timeout=.

    >>> deadline = Deadline(5)
    >>> channel.write_all(request, timeout=deadline)
    >>> channel.read_until(b"\\n", timeout=deadline)
    """

    __slots__ = ("_monotonic_",)

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"seconds has to be a number, not {type(seconds).__name__}")
        if not seconds >= 0:
            raise ValueError(f"seconds has to be at least 0, not {seconds!r}")
        self._monotonic_ = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._monotonic_ - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self._monotonic_

    def __repr__(self) -> str:
        return f"<Deadline in {self.remaining:.3f} s>"
