# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real programs at the other end: how they are started, told to be ready, and stopped.

Owns: Peer, a child process of the test.  Nothing here waits by sleeping: a server either inherits
a socket that listens already (clients may connect before it runs), or a line of its output says
that it listens.  Sockets are unix sockets in the folder of the test, or on 127.0.0.1 with a port
that the kernel chose.  Each peer is a context manager, and is stopped by its pid at the end.
The modules beside this one: tls, nbd, websock, browser.
"""

import contextlib
import os
import pathlib
import re
import select
import socket
import subprocess
import threading

PATIENCE = 20       # seconds: a bound for what comes at once, never waited out
HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
BUILD = ROOT / os.environ.get('QIO_BUILD', 'build')
PYTHON = '/usr/bin/python3'


class PeerFailed(AssertionError):
    """The program did not do its part; the message has what it printed."""


class Peer:
    """A program of which output and errors are kept; standard input is a pipe.

    output: all it has written, both streams, as it came.  A thread of ours takes it, so that a
    full pipe never stops the program.
    """

    def __init__(self, argv, *, listener=None, stdin=subprocess.PIPE, env=None):
        """It takes the listener: when it ends, clients are refused and do not wait for ever."""
        self.argv = [str(argument) for argument in argv]
        self.output = ''
        self._changed = threading.Condition()
        self._ended = False
        with listener or contextlib.nullcontext():
            self.process = subprocess.Popen(
                self.argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()] if listener else [],
                env={**os.environ, 'LC_ALL': 'C.UTF-8', **(env or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        with self.process.stdout as stream:
            while data := os.read(stream.fileno(), 65536):
                with self._changed:
                    self.output += data.decode('utf-8', 'backslashreplace')
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern):
        """The match of a regular expression in the output, as soon as it is there."""
        def look():
            return re.search(pattern, self.output, re.M) or self._ended

        with self._changed:
            self._changed.wait_for(look, PATIENCE)
            match = re.search(pattern, self.output, re.M)
        if not match:
            self._fail(f'no "{pattern}"')
        return match

    def _fail(self, what):
        raise PeerFailed(f'{what} from {" ".join(self.argv)}; it wrote:\n{self.output}')

    def write(self, data):
        """To its standard input."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end_input(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait_exit(self, status=0):
        """It ends by itself, with this status; gives all its output."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._fail('no end')
        self._reader.join(PATIENCE)
        if status is not None and self.process.returncode != status:
            self._fail(f'exit status {self.process.returncode}, not {status},')
        return self.output

    def close(self):
        if self.process.stdin:
            self.end_input()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE / 4)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)

    def ready(self):
        """Waits until clients may come, where a line of the output says so."""

    def __enter__(self):
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info):
        self.close()


def listen_unix(path):
    """A socket that listens, for a program to inherit."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    return listener


def listen_tcp():
    return socket.create_server(('127.0.0.1', 0), backlog=8)


def activated(argv, listener, **more):
    """A program that knows socket activation: descriptor 3 is the socket that listens."""
    script = 'fd=$1; shift; export LISTEN_FDS=1 LISTEN_PID=$$; exec 3<&"$fd"; exec "$@"'
    return Peer(['/bin/bash', '-c', script, 'activated', listener.fileno(), *argv],
                listener=listener, **more)


def run(*argv, data=None, status=0, env=None):
    """Runs a program to its end and gives its output, both streams."""
    done = subprocess.run([str(argument) for argument in argv], input=data, timeout=PATIENCE * 2,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=None if data is not None else subprocess.DEVNULL,
                          env={**os.environ, 'LC_ALL': 'C.UTF-8', **(env or {})})
    text = done.stdout.decode('utf-8', 'backslashreplace')
    if status is not None and done.returncode != status:
        raise PeerFailed(f'{" ".join(map(str, argv))} ended with status {done.returncode}:\n{text}')
    return text


class Splice:
    """Copies between two plain sockets both ways in threads, until both have ended."""

    def __init__(self, a, b):
        self.sockets = a, b
        self.threads = [threading.Thread(target=self._copy, args=pair, daemon=True)
                        for pair in ((a, b), (b, a))]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)
        for end in self.sockets:
            end.close()


def accept(listener):
    """One client of a plain listening socket, or a failure in time."""
    if not select.select([listener], [], [], PATIENCE)[0]:
        raise PeerFailed('nobody connects')
    client, _ = listener.accept()
    client.settimeout(PATIENCE)
    return client
