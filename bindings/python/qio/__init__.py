# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio: I/O channels.

One object for sockets, files, commands and memory, blocking or not, with deadlines on every
call.  `connect(uri)` opens any of them; docs/python.md is the guide.
"""

import typing as _typing

from . import _hooks  # noqa: F401  (tells the C half about the classes; before anything opens)
from ._qio import version_string as _version_string
from .channel import (
    BufferChannel,
    Channel,
    CommandChannel,
    FileChannel,
    NullChannel,
    PeerCred,
    SocketChannel,
)
from .conditions import ERR, HUP, IN, MORE, NVAL, OUT, Cond
from .custom import CustomChannel
from .deadline import Deadline
from .errors import (
    AbortedError,
    BlockingIOError as BlockingIOError,
    BrokenPipeError as BrokenPipeError,
    BusyError,
    CertificateError,
    ChildProcessError as ChildProcessError,
    ClosedError,
    ConnectionAbortedError as ConnectionAbortedError,
    ConnectionError as ConnectionError,
    ConnectionRefusedError as ConnectionRefusedError,
    ConnectionResetError as ConnectionResetError,
    Error,
    FileExistsError as FileExistsError,
    FileNotFoundError as FileNotFoundError,
    ForkedError,
    IncompleteReadError,
    InterruptedError as InterruptedError,
    InvalidError,
    IsADirectoryError as IsADirectoryError,
    LimitError,
    NotADirectoryError as NotADirectoryError,
    OutOfMemoryError,
    PermissionError as PermissionError,
    ProcessLookupError as ProcessLookupError,
    ProtocolError,
    ResolveError,
    TimeoutError as TimeoutError,
    TLSError,
    TLSTruncatedError,
    TruncatedError,
    UnsupportedError,
    WebSocketError,
)
from .fd import Fd
from .listener import Listener
from .loop import Loop, Watch, relay
from .opening import (
    buffer,
    command,
    connect,
    from_fd,
    from_socket,
    listen,
    null,
    open_file,
    pair,
)
from .relays import Counts, Relay
from .tls import TLSChannel, TLSCreds, TLSInfo
from .websocket import WebSocketChannel, WebSocketRequest

if _typing.TYPE_CHECKING:
    from . import aio as aio, testing as testing, trio as trio
else:
    def __getattr__(name):
        """Modules once somebody asks: `import qio` alone loads no event loop."""
        if name not in ("aio", "testing", "trio"):
            raise AttributeError(f"module 'qio' has no attribute {name!r}")
        from importlib import import_module

        return import_module(f"qio.{name}")

__version__ = _version_string()

# Without the names of builtins: `from qio import *` does not change what they mean.
__all__ = [
    "AbortedError", "BufferChannel", "BusyError", "CertificateError", "Channel", "ClosedError",
    "CommandChannel", "Cond", "Counts", "CustomChannel", "Deadline", "ERR", "Error", "Fd", "FileChannel", "ForkedError", "HUP", "IN",
    "IncompleteReadError", "InvalidError", "LimitError", "Listener", "Loop", "MORE",
    "NVAL", "NullChannel", "OUT", "OutOfMemoryError", "PeerCred", "ProtocolError", "Relay",
    "ResolveError", "SocketChannel",
    "TLSChannel", "TLSCreds", "TLSError", "TLSInfo", "TLSTruncatedError", "TruncatedError",
    "UnsupportedError", "Watch", "WebSocketChannel", "WebSocketError", "WebSocketRequest", "buffer",
    "command", "connect", "from_fd", "from_socket", "listen", "null", "open_file", "pair",
    "relay",
]
