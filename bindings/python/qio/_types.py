# SPDX-License-Identifier: LGPL-2.1-or-later
"""What arguments may be, for type checkers and readers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

from .deadline import Deadline

if TYPE_CHECKING:
    from typing_extensions import TypeAlias
if sys.version_info >= (3, 10):
    from types import EllipsisType
elif TYPE_CHECKING:
    from builtins import ellipsis as EllipsisType
else:
    EllipsisType = type(...)


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int: ...


#: Seconds, a Deadline, None for no limit; ... is what the channel says.
Timeout: TypeAlias = Union[float, Deadline, None, EllipsisType]
#: qio.IN, qio.OUT or both; "in" and "out".
Condition: TypeAlias = Union[int, str]
Readable: TypeAlias = Union[bytes, bytearray, memoryview]
Writable: TypeAlias = Union[bytearray, memoryview]
Path: TypeAlias = Union[str, bytes, "os.PathLike[Any]"]
Descriptor: TypeAlias = Union[int, HasFileno]
#: The value of an option: what a key takes is in docs/python.md.
Value: TypeAlias = Union[str, int, float, bool, None, bytes, "os.PathLike[Any]", Sequence[str]]
