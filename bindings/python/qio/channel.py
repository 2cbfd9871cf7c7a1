# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels.

The verbs are C (see qio_channel.i for their help); here is what makes a channel a good Python
object: properties, `with`, iteration, and the io.RawIOBase protocol, so that io.BufferedReader,
io.TextIOWrapper and friends take a channel as it is.
"""

from __future__ import annotations

import fcntl
import io
import operator
import os
import signal as _signal
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, cast

from . import _qio
from ._types import Readable, Timeout
from .errors import LimitError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from .tls import TLSChannel, TLSCreds, TLSInfo
    from .websocket import Headers, OnRequest, WebSocketChannel

_Layer = TypeVar("_Layer", bound="Channel")

_KINDS = {
    _qio.QIOH_CHANNEL_OTHER: "other",
    _qio.QIOH_CHANNEL_SOCKET: "socket",
    _qio.QIOH_CHANNEL_FILE: "file",
    _qio.QIOH_CHANNEL_COMMAND: "command",
    _qio.QIOH_CHANNEL_BUFFER: "buffer",
    _qio.QIOH_CHANNEL_NULL: "null",
    _qio.QIOH_CHANNEL_TLS: "tls",
    _qio.QIOH_CHANNEL_WEBSOCKET: "websocket",
    _qio.QIOH_CHANNEL_CUSTOM: "custom",
    _qio.QIOH_CHANNEL_QUEUED: "queued",
}


#: The limit of a line, and of read_until() when it is given none.
_LINE_MAX = 16777216


def _count(value: Any, name: str) -> int | None:
    """An integer or None."""
    try:
        return None if value is None else operator.index(value)
    except TypeError:
        raise TypeError(f"{name} has to be an integer or None, "
                        f"not {type(value).__name__}") from None


def _close_quietly(channel: Channel) -> None:
    try:
        channel.close()
    except OSError:
        pass


class PeerCred(NamedTuple):
    """Who is on the other side of a unix socket, as the kernel knew it at connect."""

    pid: int
    uid: int
    gid: int


class Channel(_qio.Channel):
    """A stream of bytes in both directions; every kind has the same methods.

    timeout= is seconds, a qio.Deadline, or None for no limit; left out, the channel decides
    (settimeout, setblocking).  Reads give None where a non-blocking channel has nothing, b"" or
    0 at the end.  One thread may read while another writes; close() is for any thread.
    """

    __slots__ = ()

    # ---- what it is ----

    @property
    def kind(self) -> str:
        """"socket", "file", "command", "buffer", "null" ..."""
        return _KINDS[self._kind()]

    @property
    def name(self) -> str | None:
        """A name for messages and debugging."""
        return self._name()

    @name.setter
    def name(self, name: str) -> None:
        self._set_name(name)

    @property
    def local_address(self) -> str | None:
        """Our address as a URI; None when it has none."""
        return self._local_address()

    @property
    def peer_address(self) -> str | None:
        """The other side's address as a URI; None when it has none."""
        return self._peer_address()

    @property
    def peer_cred(self) -> PeerCred | None:
        """PeerCred of a unix socket's other side; None for other channels."""
        cred = self._peer_cred()
        return None if cred is None else PeerCred(*cred)

    @property
    def pending(self) -> int:
        """Bytes held above the descriptor (read ahead, decoded): a poll does not see them."""
        return self._pending()

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._closed()

    # ---- the end ----

    def send_eof(self) -> None:
        """End the writing direction: the other side reads its end of stream."""
        self.shutdown("write")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        # What close() could not send is no news to who leaves with an exception, Ctrl-C included.
        if exc and exc[0] is not None:
            _close_quietly(self)
        else:
            self.close()

    # ---- layers ----

    def start_tls(self, creds: "TLSCreds", *, server: bool = False, hostname: str | None = None,
                  alpn: Sequence[str] | None = None, handshake: bool = True,
                  timeout: Timeout = ..., **keys: Any) -> "TLSChannel":
        """Put TLS on the channel, which belongs to the new one from then on.

        Bytes that were read ahead are the first that TLS gets; nothing is lost or slipped in.
        hostname: what a client checks the certificate against.  The handshake is done before
        this returns, within timeout, or else with the first transfer or handshake(): on a
        non-blocking channel without timeout, or with handshake=False.  When it fails both
        channels are closed.  Other keys are those of URIs: tls_relaxed, tls_resume, tls_acl,
        handshake_timeout ...
        """
        from .tls import start

        layer = start(self, creds, server, hostname, alpn, keys)
        return self._begin(layer, handshake, timeout)

    def websocket(self, *, server: bool = False, host: str | None = None,
                  path: str | None = None, origin: str | None = None,
                  protocols: Sequence[str] | None = None, headers: "Headers | None" = None,
                  mode: str | None = None, deflate: bool | None = None,
                  max_message: int | None = None, on_request: "OnRequest | None" = None,
                  handshake: bool = True, timeout: Timeout = ...,
                  **keys: Any) -> "WebSocketChannel":
        """Put a WebSocket on the channel, which belongs to the new one from then on.

        mode: "stream" (bytes, the default) or "messages".  on_request(channel) is asked by a
        server what to do with the client's request: see qio.websocket.OnRequest.  The handshake
        is done as by start_tls().  Other keys are those of URIs: ws_max_inflated,
        handshake_timeout ...
        """
        from .websocket import start

        values = {"ws_host": host, "ws_path": path, "ws_origin": origin,
                  "ws_protocol": protocols, "ws_header": headers, "ws_mode": mode,
                  "ws_deflate": deflate, "ws_max_message": max_message}
        layer = start(self, server, on_request, values, keys)
        return self._begin(layer, handshake, timeout)

    def _begin(self, layer: _Layer, handshake: bool, timeout: Timeout) -> _Layer:
        """The layer waits as the channel below did; its handshake, if it is to be done now."""
        patience = self.gettimeout()
        if patience is not None:
            layer.settimeout(patience)
        if handshake and (patience != 0 or timeout is not ...):
            try:
                layer.handshake(timeout=timeout)
            except BaseException:
                _close_quietly(layer)
                raise
        return layer

    @property
    def transport(self) -> "Channel | None":
        """The channel that this one lies on; None when it lies on none.  Only to look at: its
        transfers are BusyError."""
        return self._transport()

    def unwrap(self, *, timeout: Timeout = ...) -> "Channel":
        """End the layer in order, as the other side has to as well, and give the channel below.

        What was written is sent first.  BusyError while there are bytes that nobody has read.
        """
        return self._unwrap(self.gettimeout() if timeout is ... else timeout)

    @property
    def tls(self) -> "TLSInfo | None":
        """What is known of the TLS on this channel, or below it; None when there is none."""
        from .tls import TLSInfo

        channel: Channel | None = self
        while channel is not None:
            if channel._kind() == _qio.QIOH_CHANNEL_TLS:
                return TLSInfo(channel)
            channel = channel.transport
        return None

    # ---- lines ----

    def readline(self, size: int | None = -1, *, timeout: Timeout = ...) -> bytes | None:
        """Read up to and with the next newline, or what is left; at most size bytes."""
        size = _count(size, "size")
        if size is None or size < 0 or size > _LINE_MAX:
            return self._read_line(timeout)
        if size == 0:
            return b""
        try:
            return self.read_until(b"\n", limit=size, timeout=timeout)
        except LimitError:
            return self.read_some(size, timeout=timeout)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    # ---- the io.RawIOBase protocol ----

    def readall(self) -> bytes | None:
        """Read until the end."""
        return self.read()

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines until the end; with hint, stop after so many bytes."""
        hint = _count(hint, "hint")
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def writelines(self, lines: Iterable[Readable]) -> None:
        """Write each of the lines, all of it."""
        if isinstance(lines, (bytes, bytearray, memoryview)) or not isinstance(lines, Iterable):
            raise TypeError("lines has to be an iterable of bytes-like objects, "
                            f"not {type(lines).__name__}")
        for line in lines:
            self.write_all(line)

    def _access(self) -> int:
        """O_RDONLY, O_WRONLY or O_RDWR; what has no descriptor of its own goes both ways."""
        try:
            fd = self.fileno()
        except UnsupportedError:
            return os.O_RDWR
        return os.O_RDWR if fd < 0 else fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE

    def readable(self) -> bool:
        """Whether the descriptor is open for reading."""
        return self._access() != os.O_WRONLY

    def writable(self) -> bool:
        """Whether the descriptor is open for writing."""
        return self._access() != os.O_RDONLY

    def seekable(self) -> bool:
        """Whether seek() works."""
        try:
            self._seek(0, io.SEEK_CUR)
        except OSError:
            return False
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position of a file or buffer; the new position."""
        return self._seek(offset, whence)

    def tell(self) -> int:
        """The position of a file or buffer."""
        return self._seek(0, io.SEEK_CUR)

    def truncate(self, size: int | None = None) -> NoReturn:
        """Not supported: raises UnsupportedError."""
        raise UnsupportedError("a channel cannot be truncated")

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            fd = self.fileno()
        except UnsupportedError:
            return False
        return fd >= 0 and os.isatty(fd)

    def makefile(self, mode: str = "r", buffering: int = -1, *, encoding: str | None = None,
                 errors: str | None = None, newline: str | None = None) -> IO[Any]:
        """A buffered file object over the channel, as socket.makefile() makes: closing the file
        flushes it and leaves the channel open.  mode: "r", "w" or "rw", with "b" for bytes."""
        if not isinstance(mode, str) or not set(mode) <= set("rwb") or not set(mode) & set("rw"):
            raise ValueError(f'mode has to be "r", "w" or "rw", with "b" for bytes, not {mode!r}')
        if not isinstance(buffering, int):
            raise TypeError(f"buffering has to be an integer, not {type(buffering).__name__}")
        reads, writes, binary = "r" in mode, "w" in mode, "b" in mode
        raw: Any = _File(self, reads, writes)
        if buffering == 0:
            if not binary:
                raise ValueError("buffering=0 is for binary modes only")
            return cast("IO[Any]", raw)
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        file: Any
        if reads and writes:
            file = io.BufferedRWPair(raw, raw, size)
        else:
            file = io.BufferedReader(raw, size) if reads else io.BufferedWriter(raw, size)
        if binary:
            return cast("IO[Any]", file)
        text: Any = io.TextIOWrapper(file, encoding, errors, newline)
        text.mode = mode
        return cast("IO[Any]", text)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied")


io.RawIOBase.register(Channel)


class _File(io.RawIOBase):
    """What makefile() puts its buffers on: closing it leaves the channel alone."""

    def __init__(self, channel: Channel, reads: bool, writes: bool) -> None:
        self._channel = channel
        self._reads = reads
        self._writes = writes

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def readinto(self, b: Any) -> int | None:
        return self._channel.readinto(b)

    def write(self, b: Any) -> int | None:
        return self._channel.write(b)

    def fileno(self) -> int:
        return self._channel.fileno()

    @property
    def name(self) -> str | None:
        return self._channel.name


class SocketChannel(Channel):
    """A socket: TCP, unix or any connected one."""

    __slots__ = ()


class FileChannel(Channel):
    """A file, pipe, FIFO, terminal or other device."""

    __slots__ = ()


class NullChannel(Channel):
    """Swallows what is written; reading is at the end."""

    __slots__ = ()


class BufferChannel(Channel):
    """Memory, with one position for reading and writing, as a file has."""

    __slots__ = ()

    def getvalue(self) -> bytes:
        """All the bytes, wherever the position is."""
        return self.pread(self._size(), 0)


class CommandChannel(Channel):
    """A child process: writing is its standard input, reading its standard output."""

    __slots__ = ("_stderr",)

    _stderr: Channel | None

    @property
    def pid(self) -> int:
        """The process id; also after close()."""
        return self._pid()

    @property
    def returncode(self) -> int | None:
        """None while it runs, then its exit status or minus the signal that ended it; also after
        close().  ChildProcessError when another part of the program has reaped it."""
        return self._exit_status()

    @property
    def stderr(self) -> Channel | None:
        """The channel of its standard error; None unless it was started with stderr="pipe"."""
        try:
            return self._stderr
        except AttributeError:
            pass
        try:
            self._stderr = self._take_stderr()
        except UnsupportedError:
            self._stderr = None
        return self._stderr

    def wait_exit(self, *, timeout: Timeout = None) -> int:
        """Wait until it has ended and give the returncode; also after close()."""
        return self._wait_exit(timeout)

    def send_signal(self, signum: int) -> None:
        """Send a signal; does nothing when it has ended."""
        self._kill(signum)

    def terminate(self) -> None:
        """Ask it to end: SIGTERM."""
        self._kill(_signal.SIGTERM)

    def kill(self) -> None:
        """End it: SIGKILL."""
        self._kill(_signal.SIGKILL)
