# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels written in Python, with the stream that is their other side.

Owns: OverSocket, which has a descriptor; InMemory, which tells of itself by notify(); and Asked, the
same that also answers get_poll().  MemoryStream is the other side of the last two: one for which the
thread may wait, as for a socket.
"""

import socket
import threading

import qio
from streams import PATIENCE

ROOM = 100_000


class OverSocket(qio.CustomChannel):
    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.closes = 0

    def readinto(self, b):
        return self.sock.recv_into(b)       # BlockingIOError: nothing yet

    def write(self, b):
        return self.sock.send(b)

    def recv_fds(self, n, maxfds):
        data, fds, _, _ = socket.recv_fds(self.sock, n, maxfds)
        return data, fds

    def send_fds(self, b, fds):
        return socket.send_fds(self.sock, [b], fds)

    def shutdown(self, how):
        self.sock.shutdown({'read': socket.SHUT_RD, 'write': socket.SHUT_WR,
                            'both': socket.SHUT_RDWR}[how])

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.closes += 1
        self.sock.close()


class Pipe:
    """One direction of a MemoryStream."""

    def __init__(self):
        self.data = bytearray()
        self.ended = False


class InMemory(qio.CustomChannel):
    """Every other byte that is wanted, so that nobody takes a short count for the last one."""

    def __init__(self, stream):
        self.stream = stream
        self.closes = 0

    def readinto(self, b):
        pipe = self.stream.to_channel
        with self.stream.changed:
            n = min(len(b), len(pipe.data), 4099)
            if n == 0:
                return 0 if pipe.ended else None
            b[:n] = pipe.data[:n]
            del pipe.data[:n]
            self.stream.changed.notify_all()
            return n

    def write(self, b):
        pipe = self.stream.from_channel
        with self.stream.changed:
            if self.stream.closed or pipe.ended:
                raise BrokenPipeError('the other side is gone')
            n = min(len(b), ROOM - len(pipe.data))
            if n == 0:
                return None
            pipe.data += b[:n]
            self.stream.changed.notify_all()
            return n

    def shutdown(self, how):
        with self.stream.changed:
            if how != 'read':
                self.stream.from_channel.ended = True
            if how != 'write':
                self.stream.to_channel.ended = True
            self.stream.changed.notify_all()
        self.notify()

    def close(self):
        self.closes += 1
        with self.stream.changed:
            self.stream.from_channel.ended = True
            self.stream.changed.notify_all()


class Asked(InMemory):
    def get_poll(self, condition):
        with self.stream.changed:
            if condition & qio.IN:
                return bool(self.stream.to_channel.data or self.stream.to_channel.ended)
            return self.stream.closed or len(self.stream.from_channel.data) < ROOM


class MemoryStream:
    def __init__(self, kind=InMemory):
        self.changed = threading.Condition()
        self.to_channel, self.from_channel = Pipe(), Pipe()
        self.closed = False
        self.channel = kind(self)

    def _change(self, condition):
        self.changed.notify_all()
        self.channel.notify(condition)

    def sendall(self, data):
        view = memoryview(bytes(data))
        while view:
            with self.changed:
                assert self.changed.wait_for(
                    lambda: self.closed or len(self.to_channel.data) < ROOM, PATIENCE)
                n = ROOM - len(self.to_channel.data)
                self.to_channel.data += view[:n]
                self._change(qio.IN)
            view = view[n:]

    def recv(self, n):
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.from_channel.data or self.from_channel.ended, PATIENCE)
            data = bytes(self.from_channel.data[:n])
            del self.from_channel.data[:n]
            self._change(qio.OUT)
            return data

    def close_write(self):
        with self.changed:
            self.to_channel.ended = True
            self._change(qio.IN)

    def close(self):
        with self.changed:
            self.closed = self.to_channel.ended = True
            self._change(qio.IN | qio.OUT)


def memory_ends(kind):
    stream = MemoryStream(kind)
    return stream.channel, stream


def socket_ends():
    """The test's end as a plain socket."""
    ours, theirs = socket.socketpair()
    return OverSocket(ours), theirs


class Told(qio.CustomChannel):
    """Does what it is told."""

    def __init__(self, read=None, write=None):
        self.reads = [read]
        self.on_write = write

    def readinto(self, b):
        what = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
        if isinstance(what, BaseException):
            raise what
        return what(b) if callable(what) else what

    def write(self, b):
        if isinstance(self.on_write, BaseException):
            raise self.on_write
        return self.on_write(b) if callable(self.on_write) else self.on_write


class MemoryPair(qio.CustomChannel):
    """One end of two; see its peer."""

    def __init__(self):
        self.data = bytearray()
        self.ended = False
        self.peer = None

    def readinto(self, b):
        n = min(len(b), len(self.data))
        if n == 0:
            return 0 if self.ended else None
        b[:n] = self.data[:n]
        del self.data[:n]
        self.peer.notify(qio.OUT)
        return n

    def write(self, b):
        n = min(len(b), 3000 - len(self.peer.data))
        if n <= 0:
            return None
        self.peer.data += b[:n]
        self.peer.notify(qio.IN)
        return n

    def close(self):
        self.peer.ended = True
        self.peer.notify()


class Boom(Exception):
    pass


class Raising(OverSocket):
    """Raises `boom` from its transfers once that is set."""

    boom = None

    def readinto(self, b):
        if self.boom:
            raise self.boom
        return super().readinto(b)

    def recv_fds(self, n, maxfds):
        if self.boom:
            raise self.boom
        return super().recv_fds(n, maxfds)

    def write(self, b):
        if self.boom:
            raise self.boom
        return super().write(b)


def put(channel, layers, server):
    for layer in layers:
        if layer == 'tls':
            channel = channel.start_tls(qio.TLSCreds.anon(server=server), server=server)
        else:
            channel = channel.websocket(server=server)
    return channel
