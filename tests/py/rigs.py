# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels of every kind, each with an independent other side, for the conformance suite.

Owns: RIGS, the table of kinds.  A new kind or stack of layers joins the suite by one entry here.
The other side is made of Python's own socket and os functions, so that the library is not
checked against itself.
"""

import contextlib
import os
import socket
import threading

import qio
import written

PATIENCE = 20       # seconds: a bound for what comes at once, never waited out


class Rig:
    """A channel under test and what its other side can do.

    reads, writes: the directions it has.  waits: reading waits for the other side (a file is
    always ready).  loopback: what is written comes back, as with cat.
    """

    reads = writes = waits = True
    loopback = False

    def __init__(self, channel):
        self.channel = channel
        self.stack = contextlib.ExitStack()
        self.stack.callback(channel.close)

    def feed(self, data):
        """Bytes for the channel to read."""
        raise NotImplementedError

    def end(self):
        """No more bytes for the channel to read."""
        raise NotImplementedError

    def drain(self, n):
        """The next n bytes that the channel wrote."""
        raise NotImplementedError

    def close(self):
        """Also lets go of the channel: a command keeps its pidfd as long as it is referenced."""
        self.stack.close()
        self.channel = None


class SocketRig(Rig):
    def __init__(self, channel, peer):
        super().__init__(channel)
        self.peer = self.stack.enter_context(peer)
        peer.settimeout(PATIENCE)

    def feed(self, data):
        self.peer.sendall(data)

    def end(self):
        self.peer.shutdown(socket.SHUT_WR)

    def drain(self, n):
        parts = []
        while n > 0 and (data := self.peer.recv(n)):
            parts.append(data)
            n -= len(data)
        return b''.join(parts)


class PipeReadRig(Rig):
    writes = False

    def __init__(self, channel, fd):
        super().__init__(channel)
        self.file = self.stack.enter_context(open(fd, 'wb', buffering=0))

    def feed(self, data):
        view = memoryview(data)
        while view:
            view = view[self.file.write(view):]

    def end(self):
        self.file.close()


class PipeWriteRig(Rig):
    reads = False

    def __init__(self, channel, fd):
        super().__init__(channel)
        self.file = self.stack.enter_context(open(fd, 'rb'))

    def drain(self, n):
        return self.file.read(n)


class CommandRig(Rig):
    loopback = True

    def feed(self, data):
        self.channel.write_all(data)

    def end(self):
        self.channel.send_eof()

    def drain(self, n):
        return read_n(self.channel, n)


class FileRig(Rig):
    """Bytes are put at the end of the file; reading starts at its beginning."""

    waits = False

    def __init__(self, channel, path):
        super().__init__(channel)
        self.path = path
        self.drained = 0

    def feed(self, data):
        with open(self.path, 'ab') as file:
            file.write(data)

    def end(self):
        pass

    def drain(self, n):
        with open(self.path, 'rb') as file:
            file.seek(self.drained)
            self.drained += n
            return file.read(n)


class BufferRig(Rig):
    waits = False

    def __init__(self):
        super().__init__(qio.buffer())
        self.drained = 0

    def feed(self, data):
        position = self.channel.tell()
        self.channel.seek(0, os.SEEK_END)
        self.channel.write_all(data)
        self.channel.seek(position)

    def end(self):
        pass

    def drain(self, n):
        self.drained += n
        return self.channel.pread(n, self.drained - n)


class StreamRig(Rig):
    """peer: a stream, see streams.py."""

    def __init__(self, channel, peer):
        super().__init__(channel)
        self.peer = peer
        self.stack.callback(peer.close)

    def feed(self, data):
        self.peer.sendall(data)

    def end(self):
        self.peer.close_write()

    def drain(self, n):
        parts = []
        while n > 0 and (data := self.peer.recv(n)):
            parts.append(data)
            n -= len(data)
        return b''.join(parts)


def read_n(channel, n):
    """n bytes in either mode, or what there is before the end."""
    parts = []
    while n > 0:
        data = channel.read_some(n)
        if data is None:
            assert channel.wait(qio.IN, timeout=PATIENCE), 'nothing comes'
            continue
        if not data:
            break
        parts.append(data)
        n -= len(data)
    return b''.join(parts)


@contextlib.contextmanager
def in_thread(function, *args):
    """Runs the function beside the block, waits for it, and raises what it raised."""
    failures = []

    def body():
        try:
            function(*args)
        except BaseException as error:      # handed to the caller below
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
    assert not thread.is_alive(), 'the thread does not end'
    if failures:
        raise failures[0]


def connected(tmp_path, family, address, uri):
    """The channel connects to a listening socket of Python's."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        if family == socket.AF_INET:
            uri += str(server.getsockname()[1])
        channel = qio.connect(uri)
        return SocketRig(channel, server.accept()[0])


def accepted(uri, family, make_address):
    """The channel is accepted from a socket of Python's."""
    with qio.listen(uri) as listener:
        peer = socket.socket(family)
        peer.connect(make_address(listener))
        return SocketRig(listener.accept(timeout=PATIENCE), peer)


def rig_pair(tmp_path):
    channel, other = qio.pair()
    return SocketRig(channel, socket.socket(fileno=other.detach()))


def rig_fd(tmp_path):
    ours, theirs = socket.socketpair()
    return SocketRig(qio.from_fd(ours.detach()), theirs)


def rig_socket(tmp_path):
    ours, theirs = socket.socketpair()
    return SocketRig(qio.from_socket(ours), theirs)


def rig_unix_connected(tmp_path):
    path = str(tmp_path / 's')
    return connected(tmp_path, socket.AF_UNIX, path, f'unix:{path}')


def rig_unix_accepted(tmp_path):
    path = str(tmp_path / 's')
    return accepted(f'unix:{path}', socket.AF_UNIX, lambda listener: path)


def rig_abstract_connected(tmp_path):
    name = f'qio-{os.getpid()}-{tmp_path.name}'
    return connected(tmp_path, socket.AF_UNIX, f'\0{name}', f'abstract:{name}')


def rig_tcp_connected(tmp_path):
    return connected(tmp_path, socket.AF_INET, ('127.0.0.1', 0), 'tcp://127.0.0.1:')


def rig_tcp_accepted(tmp_path):
    return accepted('tcp://127.0.0.1:0', socket.AF_INET,
                    lambda listener: ('127.0.0.1', listener.port))


def rig_pipe_read(tmp_path):
    ours, theirs = os.pipe()
    return PipeReadRig(qio.from_fd(ours), theirs)


def rig_pipe_write(tmp_path):
    theirs, ours = os.pipe()
    return PipeWriteRig(qio.from_fd(ours), theirs)


def rig_fifo_read(tmp_path):
    path = str(tmp_path / 'fifo')
    os.mkfifo(path)
    theirs = os.open(path, os.O_RDWR)       # so that neither open waits for the other
    channel = qio.open_file(path, 'r')
    writer = os.open(path, os.O_WRONLY)
    os.close(theirs)
    return PipeReadRig(channel, writer)


def rig_command(tmp_path):
    return CommandRig(qio.command(['cat']))


def rig_file(tmp_path):
    path = str(tmp_path / 'file')
    return FileRig(qio.open_file(path, 'rw'), path)


def rig_buffer(tmp_path):
    return BufferRig()


def rig_python_socket(tmp_path):
    return SocketRig(*written.socket_ends())


def rig_python_memory(tmp_path):
    return StreamRig(*written.memory_ends(written.InMemory))


def rig_python_asked(tmp_path):
    return StreamRig(*written.memory_ends(written.Asked))


RIGS = {
    'pair': rig_pair,
    'fd': rig_fd,
    'socket': rig_socket,
    'unix-connected': rig_unix_connected,
    'unix-accepted': rig_unix_accepted,
    'abstract-connected': rig_abstract_connected,
    'tcp-connected': rig_tcp_connected,
    'tcp-accepted': rig_tcp_accepted,
    'pipe-read': rig_pipe_read,
    'pipe-write': rig_pipe_write,
    'fifo-read': rig_fifo_read,
    'command': rig_command,
    'file': rig_file,
    'buffer': rig_buffer,
    'python-socket': rig_python_socket,
    'python-memory': rig_python_memory,
    'python-asked': rig_python_asked,
}
READING = [name for name in RIGS if name != 'pipe-write']
WRITING = [name for name in RIGS if not name.endswith('-read')]
WAITING = [name for name in READING if name not in ('file', 'buffer')]
ENDING = [name for name in WRITING if name not in ('file', 'buffer', 'pipe-write', 'command')]
