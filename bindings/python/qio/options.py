# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options: keyword arguments as the library takes them.

Owns: what Python values stand for.  The keys are those of URIs with `_` for `-`; what a key takes
is checked by the library, which names the key in its error.
"""

from __future__ import annotations

import os
from typing import Any

from . import _qio


def value_of(key: str, value: Any) -> Any:
    """One option as the library takes it: text, a number, bytes, or a list of texts."""
    if value is True:
        return "on"
    if value is False:
        return "off"
    if value is None:
        return "none"
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return format(value, ".6f")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (list, tuple)):
        if not value and key == "env":
            return [""]                         # no variables, which is not ours
        if not value and key == "allow":
            raise ValueError('allow has to name something, such as "net"')
        if not value and key in ("tls_acl", "tls-acl"):
            raise ValueError(f'{key} has to have a rule; "!*" lets nobody in')
        return [os.fsdecode(item) if isinstance(item, os.PathLike) else item for item in value]
    if isinstance(value, (os.PathLike, _qio.TLSCreds)):
        return value if isinstance(value, _qio.TLSCreds) else os.fsdecode(value)
    raise TypeError(f"{key} has to be a str, number, bool, path or list, "
                    f"not {type(value).__name__}")


def as_options(keys: dict[str, Any]) -> dict[str, Any] | None:
    """Keyword arguments as the C half takes them; None for none."""
    return {key.replace("_", "-"): value_of(key, value) for key, value in keys.items()} or None
