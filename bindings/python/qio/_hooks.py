# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells the C half which Python classes stand for what.  The numbers are those of QioHook in
qiopy.h."""

from . import _qio
from .channel import (
    BufferChannel,
    Channel,
    CommandChannel,
    FileChannel,
    NullChannel,
    SocketChannel,
)
from .conditions import Cond
from .custom import CustomChannel
from .errors import IncompleteReadError, error_for
from .fd import Fd
from .listener import Listener
from .tls import TLSChannel, TLSCreds
from .websocket import WebSocketChannel

_ERROR, _INCOMPLETE, _CONDITIONS, _FD, _LISTENER, _CREDS, _CHANNEL = range(7)
#: For qio.trio, which registers them when it is loaded.
CLOSING, LOOKED = _CHANNEL + 16, _CHANNEL + 17

if _qio.abi_version() != _qio.QIOH_ABI_VERSION:
    raise ImportError(f"libqio has ABI version {_qio.abi_version()}, this module was built for "
                      f"{_qio.QIOH_ABI_VERSION}")

_qio.set_hook(_ERROR, error_for)
_qio.set_hook(_INCOMPLETE, IncompleteReadError)
_qio.set_hook(_CONDITIONS, tuple(Cond(mask) for mask in range(64)))
_qio.set_hook(_FD, Fd)
_qio.set_hook(_LISTENER, Listener)
_qio.set_hook(_CREDS, TLSCreds)
for _kind, _class in {
    _qio.QIOH_CHANNEL_OTHER: Channel,
    _qio.QIOH_CHANNEL_SOCKET: SocketChannel,
    _qio.QIOH_CHANNEL_FILE: FileChannel,
    _qio.QIOH_CHANNEL_COMMAND: CommandChannel,
    _qio.QIOH_CHANNEL_BUFFER: BufferChannel,
    _qio.QIOH_CHANNEL_NULL: NullChannel,
    _qio.QIOH_CHANNEL_TLS: TLSChannel,
    _qio.QIOH_CHANNEL_WEBSOCKET: WebSocketChannel,
    _qio.QIOH_CHANNEL_CUSTOM: Channel,          # one of another language
}.items():
    _qio.set_hook(_CHANNEL + _kind, _class)
    _qio.adopt(_class)
_qio.adopt(CustomChannel)
_qio.adopt_messages(WebSocketChannel)
