# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exceptions.

Every failure of the library is a qio.Error, which is an OSError.  One that has an errno is also
the builtin exception of that errno; a few are also what Python programs expect in their place
(a closed channel is a ValueError, as a closed file).  The C half calls error_for() once for each
failure; nothing else decides which class an error has.
"""

from __future__ import annotations

import builtins
import errno as _errno
import io as _io

from . import _qio


class Error(OSError):
    """A failure of the library.

    code: what failed, one of the library's QIOH_E_ numbers.
    domain, number: what number means (errno, resolver code, exit status ...) and its value.
    bytes_written: how far a write came before it failed.
    counts: how far a relay came, as Counts.
    """

    code: int = 0
    domain: int = 0
    number: int = 0
    bytes_written: int = 0
    counts: tuple[int, int] | None = None


class ConnectionError(Error, builtins.ConnectionError):
    """A connection failed."""


class BrokenPipeError(ConnectionError, builtins.BrokenPipeError):
    """The other side does not read any more."""


class ConnectionAbortedError(ConnectionError, builtins.ConnectionAbortedError):
    """The connection was given up."""


class ConnectionRefusedError(ConnectionError, builtins.ConnectionRefusedError):
    """Nobody listens there."""


class ConnectionResetError(ConnectionError, builtins.ConnectionResetError):
    """The other side broke the connection off."""


class BlockingIOError(Error, builtins.BlockingIOError):
    """The call would have to wait."""


class ChildProcessError(Error, builtins.ChildProcessError):
    """No such child; the exit status of a command is unknown."""


class FileExistsError(Error, builtins.FileExistsError):
    """There is a file of that name."""


class FileNotFoundError(Error, builtins.FileNotFoundError):
    """There is no file of that name."""


class InterruptedError(Error, builtins.InterruptedError):
    """A signal ended the call."""


class IsADirectoryError(Error, builtins.IsADirectoryError):
    """A directory is no place for that."""


class NotADirectoryError(Error, builtins.NotADirectoryError):
    """A directory was expected."""


class PermissionError(Error, builtins.PermissionError):
    """The system does not allow it."""


class ProcessLookupError(Error, builtins.ProcessLookupError):
    """There is no such process."""


class TimeoutError(Error, builtins.TimeoutError):
    """The time was over.  What was read is still in the channel; see bytes_written."""


class InvalidError(Error, ValueError):
    """An argument or a URI is wrong; the message says where."""


class BusyError(Error):
    """Somebody else reads (or writes, or dispatches) already."""


class ClosedError(Error, ValueError):
    """The channel was closed here."""


class AbortedError(Error):
    """cancel() or close() ended the call."""


class UnsupportedError(Error, _io.UnsupportedOperation):
    """This kind of channel cannot do that."""


class TruncatedError(Error):
    """Something was cut off: descriptors (those that came are closed), or a TLS stream."""


class TLSError(Error):
    """TLS failed; number is that of the alert when domain says so."""


class CertificateError(TLSError):
    """A certificate is not good: the other side's, its name, its identity, or one of our own."""


class TLSTruncatedError(TLSError, TruncatedError):
    """The other side ended without saying so: what came before may not be all."""


class WebSocketError(Error):
    """A WebSocket ended, or its handshake failed.

    close_code: the code of the close frame (1006 when there was none), 0 in a handshake.
    reason: what the other side gave as its reason.
    """

    close_code: int = 0
    reason: str = ""


class ProtocolError(Error):
    """The other side does not speak the protocol."""


class LimitError(Error):
    """More bytes than the limit allows; they are still in the channel."""


class ResolveError(Error):
    """The host name has no address."""


class ForkedError(Error):
    """The object belongs to the parent process."""


class OutOfMemoryError(Error, MemoryError):
    """There is no memory for that."""


class IncompleteReadError(Error, EOFError):
    """The stream ended early.

    partial: the bytes that came; expected: how many were wanted.
    """

    def __init__(self, partial: bytes, expected: int) -> None:
        super().__init__(f"the stream ended after {len(partial)} of {expected} bytes")
        self.code = _qio.QIOH_E_EOF
        self.partial = partial
        self.expected = expected

    def __reduce__(self) -> tuple[type, tuple[bytes, int]]:
        return type(self), (self.partial, self.expected)


_BY_CODE: dict[int, type[Error]] = {
    _qio.QIOH_E_AGAIN: BlockingIOError,
    _qio.QIOH_E_INTR: InterruptedError,
    _qio.QIOH_E_INVAL: InvalidError,
    _qio.QIOH_E_BUSY: BusyError,
    _qio.QIOH_E_CLOSED: ClosedError,
    _qio.QIOH_E_NOMEM: OutOfMemoryError,
    _qio.QIOH_E_NOTSUP: UnsupportedError,
    _qio.QIOH_E_TIMEOUT: TimeoutError,
    _qio.QIOH_E_CANCELLED: AbortedError,
    _qio.QIOH_E_FORKED: ForkedError,
    _qio.QIOH_E_TRUNCATED: TruncatedError,
    _qio.QIOH_E_RESOLVE: ResolveError,
    _qio.QIOH_E_LIMIT: LimitError,
    _qio.QIOH_E_TLS: TLSError,
    _qio.QIOH_E_TLS_TRUNCATED: TLSTruncatedError,
    _qio.QIOH_E_PROTOCOL: ProtocolError,
}

#: TLS errors with numbers from here on are about a certificate; below, it is an alert's.
_CERTIFICATE = 256

_BY_ERRNO: dict[int, type[Error]] = {
    _errno.EAGAIN: BlockingIOError,
    _errno.EALREADY: BlockingIOError,
    _errno.EINPROGRESS: BlockingIOError,
    _errno.EPIPE: BrokenPipeError,
    _errno.ESHUTDOWN: BrokenPipeError,
    _errno.ECHILD: ChildProcessError,
    _errno.ECONNABORTED: ConnectionAbortedError,
    _errno.ECONNREFUSED: ConnectionRefusedError,
    _errno.ECONNRESET: ConnectionResetError,
    _errno.EEXIST: FileExistsError,
    _errno.ENOENT: FileNotFoundError,
    _errno.EINTR: InterruptedError,
    _errno.EISDIR: IsADirectoryError,
    _errno.ENOTDIR: NotADirectoryError,
    _errno.EACCES: PermissionError,
    _errno.EPERM: PermissionError,
    _errno.ESRCH: ProcessLookupError,
    _errno.ETIMEDOUT: TimeoutError,
}


def _websocket_error(code: int, number: int, message: str) -> WebSocketError:
    """code EOF: the other side has closed, and the message is its reason."""
    reason = ""
    if code == _qio.QIOH_E_EOF:
        reason = message
        message = f"the other side closed the WebSocket with code {number}"
        if reason:
            message += f": {reason}"
    error = WebSocketError(message)
    error.code, error.domain, error.number = code, _qio.QIOH_DOMAIN_WEBSOCKET, number
    error.close_code, error.reason = number, reason
    return error


def error_for(code: int, sys_errno: int, domain: int, number: int, written: int,
              message: str) -> Error:
    """The exception for a qioh_error; called from C."""
    if code == _qio.QIOH_E_SYSTEM:
        cls = _BY_ERRNO.get(sys_errno, Error)
    elif domain == _qio.QIOH_DOMAIN_WEBSOCKET:
        return _websocket_error(code, number, message)
    elif code == _qio.QIOH_E_TLS and number >= _CERTIFICATE:
        cls = CertificateError
    else:
        cls = _BY_CODE.get(code, Error)
    error = cls(sys_errno, message) if sys_errno > 0 else cls(message)
    error.code = code
    error.domain = domain
    error.number = number
    error.bytes_written = written
    return error
