# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opening channels and listeners.

Keyword arguments are the keys of URIs with `_` for `-`; they win over those in the URI.  What a
key takes is checked by the library, which names the key in its error.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, overload

from . import _qio
from ._types import Descriptor, Path, Readable, Timeout, Value
from .channel import (
    BufferChannel,
    Channel,
    CommandChannel,
    FileChannel,
    NullChannel,
    SocketChannel,
)
from .fd import Fd
from .listener import Listener
from .options import as_options, value_of
from .tls import TLSCreds, check_creds
from .websocket import OnRequest, WebSocketChannel


def _with_tls(uri: Any, tls: Any, keys: dict[str, Any]) -> Any:
    """The URI with TLS in it, for those credentials."""
    keys["tls"] = check_creds(tls, "tls")
    if not isinstance(uri, str):
        return uri
    schemes = uri.partition(":")[0].lower().split("+")
    return uri if "tls" in schemes or "wss" in schemes else f"tls+{uri}"


# "messages" is refused where there is no WebSocket.
@overload
def connect(uri: str, *, ws_mode: Literal["messages"], timeout: Timeout = ...,
            tls: TLSCreds | None = None, **keys: Value) -> WebSocketChannel: ...


@overload
def connect(uri: str, *, timeout: Timeout = ..., tls: TLSCreds | None = None,
            **keys: Value) -> Channel: ...


def connect(uri: str, *, timeout: Timeout = ..., tls: TLSCreds | None = None,
            **keys: Value) -> Channel:
    """Open the channel that a URI describes.

    tcp://host:port, unix:/path, abstract:name, fd:N, file:/path?mode=rw, exec:prog?arg=..,
    null:, buffer:; tls+URI and ws+URI for layers, ws://host:port/path, wss://.  timeout: seconds
    or a Deadline for all of it, handshakes included (30 s by default), None for no limit.
    tls: credentials; a URI that has no TLS gets it.  exec: needs allow="all", because a URI
    often comes from a configuration file.
    """
    if tls is not None:
        uri = _with_tls(uri, tls, keys)
    channel: Any = _qio.channel_open_uri(uri, as_options(keys) or {}, timeout)
    if tls is not None:
        channel._creds = tls
    return cast(Channel, channel)


def prepare_listen(uri: str, backlog: int | None, tls: TLSCreds | None,
                   on_request: OnRequest | None,
                   keys: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The URI and options of a listen()."""
    if backlog is not None:
        keys["backlog"] = backlog
    if tls is not None:
        uri = _with_tls(uri, tls, keys)
    if on_request is not None:
        if not callable(on_request):
            raise TypeError(f"on_request has to be callable, not {type(on_request).__name__}")
        keys["ws_request"] = True
    return uri, as_options(keys)


def listen(uri: str, *, backlog: int | None = None, tls: TLSCreds | None = None,
           on_request: OnRequest | None = None, **keys: Value) -> Listener:
    """Listen where a URI says (tcp://127.0.0.1:0, unix:/path ...); port 0 is chosen by the
    system, see Listener.port.

    tls: credentials with server=True; a URI that has no TLS gets it.  on_request(channel): asked
    about each client of a ws listener, see qio.websocket.OnRequest.
    """
    uri, options = prepare_listen(uri, backlog, tls, on_request, keys)
    listener: Any = _qio.listener_open_uri(uri, options)
    listener._creds, listener._on_request = tls, on_request
    return cast(Listener, listener)


def pair() -> tuple[SocketChannel, SocketChannel]:
    """Two connected channels (unix sockets)."""
    return _qio.channel_new_pair()


def from_fd(fd: int | Fd) -> Channel:
    """A channel around a descriptor (an int or a qio.Fd), which it owns from then on; when this
    fails the descriptor stays the caller's."""
    if isinstance(fd, Fd):
        channel = _qio.channel_new_fd(fd.fileno())
        fd.detach()
        return channel
    if isinstance(fd, bool) or not isinstance(fd, int):
        raise TypeError(f"fd has to be an int or a qio.Fd, not {type(fd).__name__}")
    return _qio.channel_new_fd(fd)


def from_socket(sock: socket.socket) -> SocketChannel:
    """A channel around a socket, which is detached: the channel owns the descriptor."""
    if not (hasattr(sock, "fileno") and hasattr(sock, "detach")):
        raise TypeError(f"sock has to be a socket, not {type(sock).__name__}")
    channel = _qio.channel_new_fd(sock.fileno())
    sock.detach()
    return cast(SocketChannel, channel)


def open_file(path: Path, mode: str = "r", *, permissions: int = 0o666) -> FileChannel:
    """Open a file, FIFO or device.  mode: "r", "w" (create or empty), "rw" (create), "a"."""
    return _qio.channel_new_file(path, mode, permissions)


def buffer(data: Readable = b"") -> BufferChannel:
    """A channel that reads and writes memory, beginning with a copy of data."""
    return _qio.channel_new_buffer(data)


def null() -> NullChannel:
    """A channel that swallows what is written and is at its end for reading."""
    return _qio.channel_new_null()


def _text(value: Any, name: str) -> str:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} has to be a str, bytes or os.PathLike, "
                        f"not {type(value).__name__}")
    return os.fsdecode(value)


def _environment(env: Any) -> list[str]:
    """NAME=value strings of a mapping; one empty string stands for none at all."""
    if not hasattr(env, "items"):
        raise TypeError(f"env has to be a mapping of str to str, not {type(env).__name__}")
    words = []
    for name, value in env.items():
        text = _text(name, "a name in env")
        if not text or "=" in text:
            raise ValueError(f"env has the name {text!r}, which has to be text without '='")
        words.append(f"{text}={_text(value, f'env[{name!r}]')}")
    return words or [""]


def _stderr(stderr: Any) -> dict[str, Any]:
    """The option that says where standard error goes."""
    if isinstance(stderr, str):
        if stderr not in ("inherit", "null", "merge", "pipe"):
            raise ValueError('stderr has to be "inherit", "null", "merge", "pipe" or a '
                             f"descriptor, not {stderr!r}")
        return {"stderr": stderr}
    if isinstance(stderr, bool) or not (isinstance(stderr, int) or hasattr(stderr, "fileno")):
        raise TypeError("stderr has to be a str, a descriptor or an object with fileno(), "
                        f"not {type(stderr).__name__}")
    number = stderr if isinstance(stderr, int) else stderr.fileno()
    if not 0 <= number < 2**31:
        raise ValueError(f"stderr has to be an open descriptor, not {number}")
    return {"stderr-fd": number}


def _size(size: Any) -> tuple[int, int]:
    """The rows and columns of a terminal."""
    if not (isinstance(size, (tuple, list)) and len(size) == 2 and
            all(isinstance(n, int) and not isinstance(n, bool) for n in size)):
        raise TypeError(f"size has to be a tuple of two ints, rows and columns, not {size!r}")
    return size[0], size[1]


def command(argv: Sequence[Path], *, env: Mapping[str, str] | None = None,
            cwd: Path | None = None, stderr: str | Descriptor = "inherit",
            pty: bool = False, size: tuple[int, int] | None = None,
            close_timeout: float | None = 5) -> CommandChannel:
    """Start a program (looked up in PATH, no shell): writing is its standard input, reading its
    standard output.

    env: the whole environment, None for ours.  stderr: "inherit", "null", "merge" (with standard
    output), "pipe" (see CommandChannel.stderr) or a descriptor.  pty: the program has a terminal
    of its own, of size (rows, columns), whose other side the channel is; send_eof() types the
    end-of-file character, close() hangs up.  close_timeout: how long close()
    waits for it to end, by itself and then after SIGTERM, before it is killed.
    """
    options = _stderr(stderr)
    if close_timeout is not None and not isinstance(close_timeout, (int, float)):
        raise TypeError("close_timeout has to be a number of seconds or None, "
                        f"not {type(close_timeout).__name__}")
    options["close-timeout"] = value_of("close_timeout", close_timeout)
    if not isinstance(pty, bool):
        raise TypeError(f"pty has to be a bool, not {type(pty).__name__}")
    if pty:
        options["pty"] = "on"
    if size is not None:
        options["rows"], options["columns"] = _size(size)
    if env is not None:
        options["env"] = _environment(env)
    if cwd is not None:
        options["cwd"] = _text(cwd, "cwd")
    return _qio.channel_new_command(argv, options)
