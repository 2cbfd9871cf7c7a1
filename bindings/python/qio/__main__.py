# SPDX-License-Identifier: LGPL-2.1-or-later
"""The qio program: `python3 -m qio`, or `qio` where pip has put it.

Owns: the command line, and who is connected to whom.  One thread reads from the channel and,
for standard input, one writes to it; each client of `listen` and `relay --listen` has a thread.
URIs come from the user here, so they may name anything (allow=all).

Exit status: 0 good, 1 a failure (one line on standard error), 2 a command line or URI that is
wrong, 130 Ctrl-C, 143 SIGTERM, 141 when nobody reads the output; with a program, the program's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Optional, TypeVar

import qio

_COMMANDS = ("connect", "listen", "relay", "run", "info", "send", "recv")
_CHUNK = 65536
#: How long `send` waits for the other side to end as well, so that it has read what was sent.
_GOODBYE = 5.0
#: How long standard input may be silent once the other side has ended.
_IDLE = 0.5
_T = TypeVar("_T")

_EPILOG = """\
A URI is tcp://HOST:PORT, unix:/PATH, abstract:NAME, vsock://CID:PORT, fd:N, file:/PATH?mode=rw,
exec:PROGRAM?arg=A&arg=B, null:, buffer:, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; tls+URI and
ws+URI put a layer on any of them.  Keys follow a "?" (tcp://[::1]:5000?nodelay=on) or come with
-o nodelay=on.  `qio URI` is `qio connect URI`.

examples:
  qio listen tcp://127.0.0.1:5000          qio tcp://127.0.0.1:5000
  qio listen -k unix:/tmp/s -- tr a-z A-Z  qio send unix:/tmp/s hello
  qio relay --listen wss://:8443?tls-dir=/etc/pki tcp://127.0.0.1:5900
  qio -m wss://example.org/chat            qio info tls+tcp://example.org:443

exit status: 0 good, 1 failed, 2 wrong usage, 130 Ctrl-C; of a program behind "--": the program's.
"""


class Failure(Exception):
    """What ends the program with one line on standard error."""

    status = 1


class Usage(Failure):
    """The command line is wrong."""

    status = 2


def _say(arguments: argparse.Namespace, text: str) -> None:
    """A line for people, on standard error."""
    if not arguments.quiet:
        print(f"qio: {text}", file=sys.stderr, flush=True)


# ---- opening ----

def _keys(arguments: argparse.Namespace) -> dict[str, Any]:
    """The -o options, and what the others stand for."""
    keys: dict[str, Any] = {}
    for option in arguments.option:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise Usage(f"-o wants KEY=VALUE, not {option!r}")
        key = key.replace("-", "_")
        keys[key] = [*keys[key], value] if key in keys else [value]
    keys = {key: values[0] if len(values) == 1 else values for key, values in keys.items()}
    keys.setdefault("allow", "all")
    if getattr(arguments, "messages", False):
        keys["ws_mode"] = "messages"
    return keys


def _open(function: Callable[..., _T], uri: str, keys: dict[str, Any]) -> _T:
    """Open a URI; what is wrong with it or its keys is wrong usage."""
    try:
        return function(uri, **keys)
    except (TypeError, ValueError) as error:
        raise Usage(_text(error)) from None


def _connect(arguments: argparse.Namespace, uri: str) -> qio.Channel:
    keys = _keys(arguments)
    if arguments.timeout is not None:
        keys["timeout"] = arguments.timeout
    elif "timeout" in keys:
        raise Usage("the time for connecting is -t SECONDS")
    channel: qio.Channel = _open(qio.connect, uri, keys)
    if arguments.verbose:
        _say(arguments, f"connected to {channel.peer_address or uri}")
    return channel


def _listen(arguments: argparse.Namespace, uri: str) -> qio.Listener:
    listener = _open(qio.listen, uri, _keys(arguments))
    for address in listener.addresses:
        _say(arguments, f"listening on {address}")
    return listener


def _standard(number: int) -> qio.Channel:
    """A channel around standard input or output, which stays open when the channel is closed."""
    try:
        return qio.from_fd(os.dup(number))
    except OSError:
        return qio.null()           # started without it


# ---- messages and bytes between two channels ----

def _chunks(channel: qio.Channel, arguments: argparse.Namespace) -> Iterator[bytes]:
    """What comes from the other side, as it is to be written out."""
    if not arguments.messages:
        while chunk := channel.read_some(_CHUNK):
            yield chunk
        return
    assert isinstance(channel, qio.WebSocketChannel)
    for message in channel:
        yield (message.encode() if isinstance(message, str) else bytes(message)) + b"\n"


def _write(channel: qio.Channel, arguments: argparse.Namespace, data: bytes) -> None:
    """Bytes, or one line as one message."""
    if not arguments.messages:
        channel.write_all(data)
        return
    assert isinstance(channel, qio.WebSocketChannel)
    channel.send(data if arguments.binary else data.decode())


def _end(channel: qio.Channel) -> None:
    """The end of what we say, where the channel can tell it."""
    try:
        channel.send_eof()
    except (qio.UnsupportedError, qio.ClosedError):
        pass


def _say_all(source: qio.Channel, channel: qio.Channel, arguments: argparse.Namespace,
             moved: Callable[[], None] = lambda: None) -> None:
    """Everything from source to the channel, then the end; moved() before and after each write."""
    chunks: Iterator[bytes] = iter(lambda: source.read_some(_CHUNK) or b"", b"")
    if arguments.messages:
        chunks = (line.rstrip(b"\n") for line in source)
    for chunk in chunks:
        moved()
        _write(channel, arguments, chunk)
        moved()
    if not arguments.keep_open:
        _end(channel)


class _Writer(threading.Thread):
    """Standard input on its way to the channel."""

    def __init__(self, channel: qio.Channel, arguments: argparse.Namespace) -> None:
        super().__init__(daemon=True)
        self._channel = channel
        self._arguments = arguments
        self._source = _standard(0)
        self._steps = 0
        self.error: Optional[Exception] = None

    def _moved(self) -> None:
        self._steps += 1

    def run(self) -> None:
        try:
            _say_all(self._source, self._channel, self._arguments, self._moved)
        except (qio.AbortedError, qio.ClosedError):
            pass                            # stop()
        except qio.ConnectionError as error:
            self.error = error              # what the other side still says may be to the point
        except (OSError, UnicodeError) as error:
            self.error = error
            self._channel.close()

    def finish(self) -> None:
        """The other side has said all; it may still listen, so we go on while there is input."""
        steps = -1
        while self.is_alive() and (steps != self._steps or steps % 2):
            steps = self._steps                 # odd: in a write
            self.join(_IDLE)

    def stop(self) -> None:
        """End it wherever it is."""
        self._source.close()
        self.join(_IDLE)
        if self.is_alive():
            self._channel.close()
            self.join()


def _with_standard(channel: qio.Channel, arguments: argparse.Namespace) -> int:
    """Standard input to the channel, the channel to standard output, until it ends."""
    writer = _Writer(channel, arguments)
    writer.start()
    try:
        with _standard(1) as output:
            for chunk in _chunks(channel, arguments):
                _put(output, chunk)
        writer.finish()
    except (qio.AbortedError, qio.ClosedError):
        if writer.error is None:
            raise
    finally:
        writer.stop()
    if writer.error is not None:
        raise writer.error
    return 0


def _put(output: qio.Channel, data: bytes) -> None:
    try:
        output.write_all(data)
    except qio.BrokenPipeError:
        raise SystemExit(141) from None


def _with_program(channel: qio.Channel, arguments: argparse.Namespace) -> int:
    """The channel is the program's standard input and output."""
    with qio.command(arguments.program) as program:
        _relay(program, channel, arguments)
        status = program.wait_exit()
    return status if status >= 0 else 128 - status


def _relay(a: qio.Channel, b: qio.Channel, arguments: argparse.Namespace) -> None:
    counts = qio.relay(a, b, idle_timeout=getattr(arguments, "idle", None))
    if arguments.verbose:
        _say(arguments, f"{counts.a_to_b} bytes one way, {counts.b_to_a} the other")


# ---- clients of a listener ----

_ENDING = (signal.SIGINT, signal.SIGTERM)


class _Clients:
    """Serves the clients of a listener, each in a thread, at most so many at once."""

    def __init__(self, arguments: argparse.Namespace,
                 serve: Callable[[qio.Channel], object]) -> None:
        self._arguments = arguments
        self._serve = serve
        self._room = threading.BoundedSemaphore(arguments.clients)
        self._threads: dict[threading.Thread, qio.Channel] = {}

    def run(self, listener: qio.Listener) -> NoReturn:
        """Until a signal ends it."""
        try:
            while True:
                while not self._room.acquire(timeout=0.5):
                    pass                        # a signal is served between two
                self._start(listener.accept())
        finally:
            listener.close()
            for thread, channel in list(self._threads.items()):
                with contextlib.suppress(qio.ClosedError):      # its thread is as far
                    channel.cancel()
                channel.close()
                if thread.is_alive():           # not when it could not be started
                    thread.join(1)              # one that connects may take its time

    def _start(self, channel: qio.Channel) -> None:
        thread = threading.Thread(target=self._client, args=[channel], daemon=True)
        # A signal in between would leave a thread that runs and is not known to do so yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self._threads[thread] = channel
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def _client(self, channel: qio.Channel) -> None:
        who = channel.peer_address or "a client"
        if self._arguments.verbose:
            _say(self._arguments, f"{who}: connected")
        try:
            with channel:
                self._serve(channel)
        except (qio.AbortedError, qio.ClosedError):
            pass                                # the program ends
        except (OSError, Failure) as error:
            _say(self._arguments, f"{who}: {_text(error)}")
        finally:
            self._threads.pop(threading.current_thread(), None)
            self._room.release()


# ---- the commands ----

def _do_connect(arguments: argparse.Namespace) -> int:
    with _connect(arguments, arguments.uri) as channel:
        return _between(channel, arguments)


def _between(channel: qio.Channel, arguments: argparse.Namespace) -> int:
    return (_with_program if arguments.program else _with_standard)(channel, arguments)


def _do_listen(arguments: argparse.Namespace) -> int:
    with _listen(arguments, arguments.uri) as listener:
        if arguments.keep and arguments.program:
            _Clients(arguments, lambda client: _with_program(client, arguments)).run(listener)
        while arguments.keep:
            try:
                _one_client(listener.accept(), arguments)
            except OSError as error:
                _say(arguments, _text(error))
        channel = listener.accept()
        listener.close()
        return _one_client(channel, arguments)


def _one_client(channel: qio.Channel, arguments: argparse.Namespace) -> int:
    with channel:
        if arguments.verbose:
            _say(arguments, f"{channel.peer_address or 'a client'}: connected")
        return _between(channel, arguments)


def _do_relay(arguments: argparse.Namespace) -> int:
    def serve(client: qio.Channel) -> None:
        with _connect(arguments, arguments.b) as other:
            _relay(client, other, arguments)

    if arguments.listen:
        with _listen(arguments, arguments.a) as listener:
            _Clients(arguments, serve).run(listener)
    with _connect(arguments, arguments.a) as a:
        serve(a)
    return 0


def _do_run(arguments: argparse.Namespace) -> int:
    """The script in place of this process."""
    lua = arguments.script.endswith(".lua")
    if not lua:
        above = [os.path.dirname(os.path.dirname(os.path.abspath(qio.__file__)))]
        above += filter(None, [os.environ.get("PYTHONPATH")])
        os.environ["PYTHONPATH"] = os.pathsep.join(above)
    program = "lua5.4" if lua else sys.executable
    if not os.path.exists(arguments.script):
        raise Failure(f"no such file: {arguments.script}")
    try:
        os.execvp(program, [program, arguments.script, *arguments.args])
    except OSError as error:
        raise Failure(f"{program}: {error.strerror}") from None


def _facts(channel: qio.Channel) -> Iterator[tuple[str, object]]:
    yield "kind", channel.kind
    yield "local address", channel.local_address
    yield "peer address", channel.peer_address
    yield "peer", channel.peer_cred and "pid %d, uid %d, gid %d" % channel.peer_cred
    layer: Optional[qio.Channel] = channel
    while layer is not None:
        if isinstance(layer, qio.WebSocketChannel):
            yield "subprotocol", layer.protocol
        layer = layer.transport
        if layer is not None:
            yield "over", layer.kind
    tls = channel.tls
    if tls is not None:
        yield "TLS", f"{tls.version} {tls.cipher}"
        yield "TLS peer", tls.peer_name
        yield "TLS protocol", tls.alpn


def _do_info(arguments: argparse.Namespace) -> int:
    facts: list[tuple[str, object]] = []
    if arguments.uri is None:
        from . import _qio

        facts += [("qio", qio.__version__), ("ABI", _qio.abi_version()),
                  ("Python", sys.version.split()[0]), ("package", os.path.dirname(qio.__file__)),
                  ("channels", "tcp unix abstract vsock fd file exec null buffer"),
                  ("layers", "tls ws")]
    else:
        with _connect(arguments, arguments.uri) as channel:
            facts += _facts(channel)
    with _standard(1) as output:
        _put(output, "".join(f"{name}: {value}\n" for name, value in facts
                             if value is not None).encode())
    return 0


def _do_send(arguments: argparse.Namespace) -> int:
    with _connect(arguments, arguments.uri) as channel:
        if not arguments.data and not arguments.fd:
            with _standard(0) as source:
                _say_all(source, channel, arguments)
        else:
            _send_words(channel, arguments)
            if not arguments.keep_open:
                _end(channel)
        _await_end(channel, arguments)
    return 0


def _send_words(channel: qio.Channel, arguments: argparse.Namespace) -> None:
    ending = b"" if arguments.messages or arguments.no_newline else b"\n"
    words = [os.fsencode(word) + ending for word in arguments.data]
    if arguments.fd:                            # they need a byte to go with
        channel.send_fds(words.pop(0) if words else b"\0", arguments.fd)
    for word in words:
        _write(channel, arguments, word)


def _await_end(channel: qio.Channel, arguments: argparse.Namespace) -> None:
    """A socket closed with something unread loses what it sent last."""
    deadline = qio.Deadline(_GOODBYE)
    try:
        if arguments.messages:
            assert isinstance(channel, qio.WebSocketChannel)
            while channel.recv(timeout=deadline) is not None and not deadline.expired:
                pass
        else:
            while channel.read_some(_CHUNK, timeout=deadline) and not deadline.expired:
                pass
    except OSError:
        pass


def _do_recv(arguments: argparse.Namespace) -> int:
    with _connect(arguments, arguments.uri) as channel, _standard(1) as output:
        if arguments.bytes is not None:
            _bytes(channel, output, arguments.bytes)
        elif arguments.lines is None:
            for chunk in _chunks(channel, arguments):
                _put(output, chunk)
        else:
            source = _chunks(channel, arguments) if arguments.messages else iter(channel)
            for _, line in zip(range(arguments.lines), source):
                _put(output, line)
    return 0


def _bytes(channel: qio.Channel, output: qio.Channel, count: int) -> None:
    left = count
    while left:
        chunk = channel.read_some(min(left, _CHUNK))
        if not chunk:
            raise Failure(f"the stream ended after {count - left} of {count} bytes")
        _put(output, chunk)
        left -= len(chunk)


# ---- the command line ----

def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-o", dest="option", metavar="KEY=VALUE", action="append", default=[],
                        help="a key of the URI, such as tls-ca=/etc/ca.pem; may be repeated")
    common.add_argument("-t", "--timeout", type=float, metavar="SECONDS",
                        help="how long connecting may take in all, handshakes included (30)")
    common.add_argument("-q", "--quiet", action="store_true", help="no words on standard error")
    common.add_argument("-v", "--verbose", action="store_true", help="say who connects, how much")
    content = argparse.ArgumentParser(add_help=False)
    content.add_argument("-m", "--messages", action="store_true",
                         help="a line is a WebSocket message")
    content.add_argument("-b", "--binary", action="store_true", help="messages sent are binary")
    content.add_argument("-K", "--keep-open", action="store_true",
                         help="do not tell the other side that standard input has ended")
    serving = argparse.ArgumentParser(add_help=False)
    serving.add_argument("--clients", type=_positive, default=100, metavar="N",
                         help="serve at most so many clients at once (100)")

    parser = argparse.ArgumentParser(
        prog="qio", description="Connects channels: sockets, TLS, WebSocket, files, programs.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-V", "--version", action="version", version=f"qio {qio.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str,
                *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".",
                                   parents=[common, *parents])
        made.set_defaults(function=function, program=[])
        return made

    one = command("connect", _do_connect, "standard input and output, or a program, to a URI",
                  content)
    one.usage = "qio connect [options] URI [-- PROGRAM ARG ...]"
    one.add_argument("uri", metavar="URI")
    one = command("listen", _do_listen, "the same for who connects to a URI", content, serving)
    one.usage = "qio listen [options] URI [-- PROGRAM ARG ...]"
    one.add_argument("-k", "--keep", action="store_true",
                     help="one client after the other; with a program, each has its own")
    one.add_argument("uri", metavar="URI")
    one = command("relay", _do_relay, "one URI to another until both have ended", serving)
    one.add_argument("-l", "--listen", action="store_true",
                     help="listen on the first; each client gets its own second")
    one.add_argument("--idle", type=float, metavar="SECONDS", help="end after nothing has moved")
    one.add_argument("a", metavar="URI")
    one.add_argument("b", metavar="URI")
    one = command("run", _do_run, "a Python script that imports qio, or (.lua) one for lua5.4")
    one.add_argument("script", metavar="SCRIPT")
    one.add_argument("args", metavar="ARG", nargs=argparse.REMAINDER)
    one = command("info", _do_info, "what this is, or what is known of a connection to a URI")
    one.add_argument("uri", metavar="URI", nargs="?")
    one = command("send", _do_send, "the words as lines, or standard input; then the end", content)
    one.add_argument("-n", "--no-newline", action="store_true", help="words as they are")
    one.add_argument("--fd", type=int, action="append", metavar="N",
                     help="pass a descriptor along (unix sockets); may be repeated")
    one.add_argument("uri", metavar="URI")
    one.add_argument("data", metavar="WORD", nargs="*")
    one = command("recv", _do_recv, "what comes until the end, or so much of it", content)
    one.add_argument("-c", "--bytes", type=_positive, metavar="N", help="so many bytes")
    one.add_argument("-n", "--lines", type=_positive, metavar="N", help="so many lines or messages")
    one.add_argument("uri", metavar="URI")
    return parser


def _parse(words: list[str]) -> argparse.Namespace:
    """`qio URI` is `qio connect URI`; what is behind -- is a program for connect and listen."""
    program: list[str] = []
    if words and words[0] not in (*_COMMANDS, "-h", "--help", "-V", "--version"):
        words = ["connect", *words]
    if "--" in words and words[0] in ("connect", "listen"):
        at = words.index("--")
        words, program = words[:at], words[at + 1:]
    parser = _parser()
    arguments = parser.parse_args(words)
    if program:
        arguments.program = program
    if program and arguments.messages:
        parser.error("messages are for standard input and output, not for a program")
    return arguments


def _text(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def _fill_standard() -> None:
    """Where we were started without standard input, output or errors, no socket may take its
    number."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return


def main(words: Optional[list[str]] = None) -> int:
    """Run the program with these words, sys.argv's by default; its exit status."""
    arguments = _parse(sys.argv[1:] if words is None else words)
    _fill_standard()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        status: int = arguments.function(arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (OSError, Failure, UnicodeError) as error:
        print(f"qio: {_text(error)}", file=sys.stderr)
        return error.status if isinstance(error, Failure) else 1
    return status


if __name__ == "__main__":
    sys.exit(main())
