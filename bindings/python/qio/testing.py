# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of programs over channels need.

Owns: memory_pair(), two connected channels without descriptors whose transfers a test can cut
into pieces, hold back and make fail; serve(), a server in threads; psk_creds() and Certificates,
credentials for TLS; no_leaks(), which fails for what a block leaves behind.  As a pytest plugin,
pytest_plugins = ["qio.testing"], they are the fixtures qio_pair, qio_psk, qio_certificates and
qio_no_leaks.  One lock a pair; nobody is called while it is held.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from . import _qio
from .channel import Channel
from .conditions import IN, OUT, Cond
from .custom import CustomChannel
from .errors import AbortedError, BrokenPipeError, ClosedError, ConnectionResetError, Error
from .listener import Listener
from .loop import Loop
from .opening import listen, pair
from .tls import TLSCreds

if TYPE_CHECKING:
    from ._types import Value

__all__ = ["Certificates", "MemoryChannel", "memory_pair", "no_leaks", "psk_creds", "serve"]


# ---- a pair of channels in memory ----

class _Way:
    """One direction of a pair."""

    def __init__(self, capacity: int) -> None:
        self.data = bytearray()
        self.capacity = capacity
        self.ended = False              # the writer has said all
        self.deaf = False               # the reader reads no more
        self.frozen = False
        self.total = 0


class MemoryChannel(CustomChannel):
    """One end of memory_pair().

    read_chunk, write_chunk: how much one transfer moves at most, None for no limit.
    read_error, write_error: what transfers fail with from now on, None for nothing; bytes that
    have come before are read first.
    All four may be set at any time.
    """

    read_chunk: Optional[int]
    write_chunk: Optional[int]

    def __init__(self, ways: tuple[_Way, _Way], lock: threading.Lock, chunk: Optional[int],
                 loop: Optional[Loop] = None) -> None:
        super().__init__(loop=loop)
        self._in, self._out = ways
        self._lock = lock
        self._other: Optional[MemoryChannel] = None
        self.read_chunk = self.write_chunk = chunk
        self._read_error: Optional[BaseException] = None
        self._write_error: Optional[BaseException] = None

    # ---- what the library calls ----

    def readinto(self, b: memoryview) -> Optional[int]:  # type: ignore[override]
        with self._lock:
            way = self._in
            if not way.data or way.frozen:
                if self._read_error is not None:
                    raise self._read_error
                return 0 if (way.ended and not way.frozen) or way.deaf else None
            n = min(len(b), len(way.data), self.read_chunk or len(b))
            b[:n] = way.data[:n]
            del way.data[:n]
        self._tell(OUT)
        return n

    def write(self, b: bytes) -> Optional[int]:  # type: ignore[override]
        with self._lock:
            way = self._out
            if self._write_error is not None:
                raise self._write_error
            if way.ended or way.deaf:
                raise BrokenPipeError(errno.EPIPE, "the other side reads no more")
            n = min(len(b), way.capacity - len(way.data), self.write_chunk or len(b))
            if n <= 0 < len(b):
                return None
            way.data += b[:n]
            way.total += n
        self._tell(IN)
        return n

    def get_poll(self, condition: int) -> bool:
        with self._lock:
            if condition & IN:
                way = self._in
                return way.deaf or self._read_error is not None or \
                    (not way.frozen and bool(way.data or way.ended))
            way = self._out
            return way.ended or way.deaf or self._write_error is not None or \
                len(way.data) < way.capacity

    def shutdown(self, how: str) -> None:  # type: ignore[override]
        with self._lock:
            if how != "read":
                self._out.ended = True
            if how != "write":
                self._in.deaf = True
        self._tell(IN | OUT)
        self.notify()

    def close(self) -> None:
        with self._lock:
            self._out.ended = self._in.deaf = True
            self._in.data.clear()
        self._tell(IN | OUT)

    def _tell(self, condition: Cond) -> None:
        if self._other is not None:
            self._other.notify(condition)

    # ---- what a test does ----

    @property
    def read_error(self) -> Optional[BaseException]:
        """What a read fails with once nothing is there to be read."""
        return self._read_error

    @read_error.setter
    def read_error(self, error: Optional[BaseException]) -> None:
        self._read_error = error
        self.notify(IN)

    @property
    def write_error(self) -> Optional[BaseException]:
        """What a write fails with."""
        return self._write_error

    @write_error.setter
    def write_error(self, error: Optional[BaseException]) -> None:
        self._write_error = error
        self.notify(OUT)

    @property
    def other(self) -> MemoryChannel:
        """The other end."""
        assert self._other is not None
        return self._other

    @property
    def incoming(self) -> bytes:
        """What is on its way to this end, as it is now."""
        with self._lock:
            return bytes(self._in.data)

    @property
    def written(self) -> int:
        """How many bytes this end has taken for the other in all."""
        return self._out.total

    def freeze(self) -> None:
        """From now on nothing that this end has written arrives, not even its end."""
        with self._lock:
            self._out.frozen = True

    def thaw(self) -> None:
        """What was held back arrives, all at once."""
        with self._lock:
            self._out.frozen = False
        self._tell(IN)

    def cut(self) -> None:
        """The connection breaks: ConnectionResetError for both ends, what was on its way is lost."""
        for end in self, self.other:
            with self._lock:
                end._in.data.clear()
                end._in.frozen = False
                end._read_error = ConnectionResetError(
                    errno.ECONNRESET, "the connection was cut")
                end._write_error = BrokenPipeError(errno.EPIPE, "the connection was cut")
            end.notify()


def memory_pair(*, capacity: int = 65536, chunk: Optional[int] = None,
                loop: Optional[Loop] = None) -> tuple[MemoryChannel, MemoryChannel]:
    """Two connected channels in memory, without descriptors.

    capacity: how many bytes may be on their way in each direction before a write waits.
    chunk: how many one transfer moves at most, such as 1 for a byte at a time; each end has
    read_chunk and write_chunk to change it.  loop: where the channels are served from, see
    CustomChannel; without it any thread reads and writes.
    """
    for name, value in ("capacity", capacity), ("chunk", chunk):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} has to be a number of bytes, not {type(value).__name__}")
        if value is not None and value < 1:
            raise ValueError(f"{name} has to be at least 1, not {value}")
    ways, lock = (_Way(capacity), _Way(capacity)), threading.Lock()
    a = MemoryChannel((ways[0], ways[1]), lock, chunk, loop=loop)
    b = MemoryChannel((ways[1], ways[0]), lock, chunk, loop=loop)
    a._other, b._other = b, a
    return a, b


# ---- a server ----

class _Server:
    def __init__(self, handler: Callable[[Channel], Any], listener: Listener) -> None:
        self._handler = handler
        self._listener = listener
        self._clients: list[tuple[threading.Thread, Channel]] = []
        self.errors: list[BaseException] = []

    def accept(self) -> None:
        for channel in self._listener:
            thread = threading.Thread(target=self._serve, args=[channel], daemon=True)
            self._clients.append((thread, channel))
            thread.start()

    def _serve(self, channel: Channel) -> None:
        try:
            with channel:
                try:
                    channel.handshake()
                except Error:
                    return              # who speaks no TLS is no client
                self._handler(channel)
        except BaseException as error:
            if not (channel.closed and isinstance(error, (AbortedError, ClosedError))):
                self.errors.append(error)

    def end(self, timeout: float) -> None:
        for thread, channel in self._clients:
            thread.join(timeout)
            if thread.is_alive():
                channel.close()
                thread.join(timeout)


@contextlib.contextmanager
def serve(handler: Callable[[Channel], Any], uri: str = "unix:", *, timeout: float = 5,
          tls: Optional[TLSCreds] = None, **keys: Value) -> Iterator[Listener]:
    """Call handler(channel) in a thread for each client of a listener while the block runs, once
    its handshake is done.

    The block gets the Listener, whose address is where to connect to.  Handlers have timeout
    seconds to return after the block, then their channels are closed.  What the first of them
    raised is raised at the end, unless the block has raised.
    """
    options: dict[str, Any] = {**keys}
    with listen(uri, tls=tls, **options) as listener:
        server = _Server(handler, listener)
        acceptor = threading.Thread(target=server.accept, daemon=True)
        acceptor.start()
        try:
            yield listener
        finally:
            listener.close()
            acceptor.join()
            server.end(timeout)
    if server.errors:
        raise server.errors[0]


# ---- TLS ----

def psk_creds(user: str = "test") -> tuple[TLSCreds, TLSCreds]:
    """The credentials of a server and of a client who share a new key; nothing is written."""
    key = os.urandom(32)
    return (TLSCreds.psk(lookup=lambda name: key if name == user else None, server=True),
            TLSCreds.psk(user=user, key=key))


class Certificates:
    """A certificate authority for tests and what it has signed, made by certtool (of GnuTLS).

    folder gets ca-cert.pem, ca-key.pem, server-cert.pem, server-key.pem, client-cert.pem and
    client-key.pem: what the key tls-dir takes.  names, addresses: who the server is.
    """

    def __init__(self, folder: Union[str, os.PathLike[str]], *,
                 names: Sequence[str] = ("localhost",),
                 addresses: Sequence[str] = ("127.0.0.1", "::1"),
                 client: str = "client") -> None:
        if shutil.which("certtool") is None:
            raise FileNotFoundError("certtool is not installed; Debian has it in gnutls-bin")
        self.dir = pathlib.Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self._make("ca", ['cn = "Authority for tests"', "ca", "cert_signing_key"])
        self._make("server", [f'cn = "{names[0]}"', "tls_www_server", "signing_key",
                              *(f'dns_name = "{name}"' for name in names),
                              *(f'ip_address = "{address}"' for address in addresses)])
        self._make("client", [f'cn = "{client}"', "tls_www_client", "signing_key"])

    @property
    def ca(self) -> pathlib.Path:
        """The authority's certificate."""
        return self.dir / "ca-cert.pem"

    def server(self, *, verify: bool = False) -> TLSCreds:
        """Credentials of the server; verify: it wants a client's certificate."""
        return TLSCreds.x509(dir=self.dir, server=True, verify=verify)

    def client(self, *, certificate: bool = True) -> TLSCreds:
        """Credentials of the client, which trusts the authority alone."""
        return TLSCreds.x509(dir=self.dir) if certificate else TLSCreds.x509(ca=self.ca)

    def _make(self, name: str, lines: list[str]) -> None:
        template, cert = self.dir / f"{name}.cfg", self.dir / f"{name}-cert.pem"
        key = self.dir / f"{name}-key.pem"
        template.write_text("\n".join([*lines, 'activation_date = "2001-01-01 00:00:00"',
                                       'expiration_date = "2099-01-01 00:00:00"']) + "\n")
        _certtool("--generate-privkey", "--key-type=ecdsa", "--curve=secp256r1",
                  f"--outfile={key}")
        signer = ["--generate-self-signed"]
        if name != "ca":
            signer = ["--generate-certificate", f"--load-ca-certificate={self.ca}",
                      f"--load-ca-privkey={self.dir / 'ca-key.pem'}"]
        _certtool(*signer, f"--load-privkey={key}", f"--template={template}", f"--outfile={cert}")
        template.unlink()


def _certtool(*arguments: str) -> None:
    done = subprocess.run(["certtool", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise RuntimeError(f"certtool failed: {done.stderr}")


# ---- leaks ----

_KINDS = {name[len("QIOH_KIND_"):].lower(): getattr(_qio, name) for name in dir(_qio)
          if name.startswith("QIOH_KIND_") and name != "QIOH_KIND_ANY"}


class _State(NamedTuple):
    """What a process has."""

    fds: dict[int, str]
    children: set[int]
    handles: dict[str, int]


def _open_fds() -> dict[int, str]:
    """{number: what it is}, such as {5: "socket:[1234]"}."""
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):    # the one that listdir had
            fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return fds


def _children() -> set[int]:
    """Child processes, running or not yet waited for."""
    pids: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):              # a thread that has ended meanwhile
            pids.update(map(int, pathlib.Path(
                f"/proc/self/task/{task}/children").read_text().split()))
    return pids


def _state() -> _State:
    return _State(_open_fds(), _children(),
                  {name: _qio.debug_live(kind) for name, kind in _KINDS.items()})


def _left(before: _State, fds: bool, children: bool, handles: bool) -> list[str]:
    """What is there that was not, or is gone that was, in words."""
    now, words = _state(), []
    new = {fd: what for fd, what in now.fds.items() if before.fds.get(fd) != what}
    gone = {fd: what for fd, what in before.fds.items() if now.fds.get(fd) != what}
    if fds and new:
        words.append(f"descriptors left open: {new}")
    if fds and gone:
        words.append(f"descriptors gone: {gone}")
    if children and now.children - before.children:
        words.append(f"child processes left: {sorted(now.children - before.children)}")
    for name, count in now.handles.items() if handles else ():
        excess = count - before.handles[name]
        if excess > 0:
            harmless, others = _objects(name)
            if excess > harmless:
                words.append(f"{excess} {name} handles left{others}")
    return words


def _objects(name: str) -> tuple[int, str]:
    """How many objects of that kind somebody merely has not let go, being closed or only memory;
    and the others, in words."""
    cls = {"channel": Channel, "listener": Listener, "loop": Loop, "creds": TLSCreds}.get(name)
    found = [repr(object) for object in gc.get_objects() if cls and isinstance(object, cls)]
    others = [] if cls is TLSCreds else [text for text in found if not text.endswith(" closed>")]
    return len(found) - len(others), f", among {', '.join(others[:8])}" if others else ""


def _warm_up() -> None:
    """Fill what lives as long as the process."""
    a, b = pair()
    with a, b, Loop() as loop:
        a.write(b"x")
        b.read(1)
        b.wait(IN, timeout=0.001)
        loop.run_once(0)


_warm = False


@contextlib.contextmanager
def no_leaks(*, fds: bool = True, children: bool = True, handles: bool = True,
             unraisable: bool = True) -> Iterator[None]:
    """Fail with an AssertionError for what the block leaves behind, or takes away.

    fds: descriptors, compared by what they are.  children: processes not waited for.  handles:
    objects of the library that live on; a closed one that is still referred to is none.  unraisable: exceptions that could leave from nowhere,
    such as those of finalizers; ResourceWarnings are among them under -W error.  A block that
    raises is not examined.
    """
    global _warm
    if not _warm:
        _warm_up()
        _warm = True
    gc.collect()                        # what earlier tests left is not to go meanwhile
    caught: list[str] = []
    hook = sys.unraisablehook
    if unraisable:
        sys.unraisablehook = lambda raised: caught.append(
            f"{raised.err_msg or 'ignored in'} {raised.object!r}: "
            f"{type(raised.exc_value).__name__}: {raised.exc_value}")
    try:
        before = _state()
        yield
        if _left(before, fds, children, handles) or unraisable:
            gc.collect()                # an unfinished cycle is no leak
        words = _left(before, fds, children, handles)
    finally:
        sys.unraisablehook = hook
    words += [f"not raised: {text}" for text in caught]
    if words:
        raise AssertionError("; ".join(words))


# ---- for pytest ----

if "pytest" in sys.modules:
    import pytest

    @pytest.fixture
    def qio_pair() -> Iterator[tuple[MemoryChannel, MemoryChannel]]:
        """memory_pair(), closed after the test."""
        a, b = memory_pair()
        yield a, b
        for end in a, b:
            with contextlib.suppress(Error):
                end.close()

    @pytest.fixture(scope="session")
    def qio_psk() -> tuple[TLSCreds, TLSCreds]:
        """psk_creds()."""
        return psk_creds()

    @pytest.fixture(scope="session")
    def qio_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
        """Certificates, made once."""
        return Certificates(tmp_path_factory.mktemp("certificates"))

    @pytest.fixture
    def qio_no_leaks() -> Iterator[None]:
        """Fails a test for what it, or a fixture after this one, leaves: see no_leaks()."""
        with no_leaks(unraisable=False):
            yield

    @pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]
    def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
        """pytest catches unraisable exceptions around a test, so ours are caught inside of it."""
        if "qio_no_leaks" not in pyfuncitem.fixturenames:
            yield
            return
        with no_leaks(fds=False, children=False, handles=False):
            outcome: Any = yield
            outcome.get_result()
