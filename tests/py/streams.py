# SPDX-License-Identifier: LGPL-2.1-or-later
"""Byte streams for the other side of a test: sockets, the pipes of a child, and TLS over any.

Owns: nothing of the library: TLS is Python's ssl (OpenSSL), so that the library is not checked
against itself.  A stream has sendall(), recv(n) (b'' at the end), close_write() and close();
wspeer.py adds WebSocket.  One thread may send while another receives.
"""

import os
import socket
import ssl
import sys
import threading

PATIENCE = 20       # seconds: a bound for what comes at once, never waited out


class SocketStream:
    def __init__(self, sock):
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.sendall = sock.sendall
        self.recv = sock.recv

    def close_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


class PipeStream:
    """Two descriptors: one to read from and one to write to."""

    def __init__(self, reading, writing):
        self.reading = open(reading, 'rb', buffering=0)
        self.writing = open(writing, 'wb', buffering=0)

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self.writing.write(view):]

    def recv(self, n):
        return self.reading.read(n)

    def close_write(self):
        self.writing.close()

    def close(self):
        self.writing.close()
        self.reading.close()


class TlsStream:
    """Python's ssl in memory, so that it goes over any stream."""

    def __init__(self, lower, context, *, server=False, hostname=None):
        self.lower = lower
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server,
                                    server_hostname=hostname)
        self.using, self.sending = threading.Lock(), threading.Lock()
        self.decoded = b''

    def _flush(self):
        with self.sending:
            with self.using:
                data = self.outgoing.read()
            if data:
                self.lower.sendall(data)

    def _run(self, function, *args):
        while True:
            with self.using:
                try:
                    result, wants = function(*args), False
                except ssl.SSLWantReadError:
                    wants = True
            self._flush()
            if not wants:
                return result
            data = self.lower.recv(65536)
            with self.using:
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def handshake(self):
        try:
            self._run(self.tls.do_handshake)
        except ssl.SSLError:
            self._flush()       # the alert
            raise

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self._run(self.tls.write, view):]

    def recv(self, n):
        if self.decoded:
            data, self.decoded = self.decoded[:n], self.decoded[n:]
            return data
        try:
            return self._run(self.tls.read, n)
        except ssl.SSLZeroReturnError:
            return b''

    def close_write(self):
        """close_notify.  What has come is decoded first: unwrap() refuses to drop it."""
        with self.using:
            try:
                while data := self.tls.read():
                    self.decoded += data
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                pass
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
        self._flush()

    def close(self):
        self.lower.close()


def server_context(pki, folder=None, version=None):
    """Python's ssl as a server with the certificate of a folder."""
    folder = folder or pki.dir
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / 'server-cert.pem', folder / 'server-key.pem')
    context.load_verify_locations(pki.ca)
    return with_version(context, version)


def client_context(pki, version=None, certificate=False):
    """Python's ssl as a client that trusts the authority of the tests."""
    context = ssl.create_default_context(cafile=pki.ca)
    if certificate:
        context.load_cert_chain(pki.client_cert, pki.client_key)
    return with_version(context, version)


def with_version(context, version):
    if version:
        context.minimum_version = context.maximum_version = version
    return context


# The child of a command channel hands the other ends of its pipes to the test and waits.
LENDER = '''
import os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect(sys.argv[1])
    socket.send_fds(test, [b"x"], [0, 1])
    os.close(0)
    os.close(1)
    test.recv(1)
'''


class Lender:
    """Lends the standard input and output of a command's child.

    argv is the command; stream() is its other side, in this process, once the child runs.  The
    child lives until the stream is closed.
    """

    def __init__(self, tmp_path):
        self.path = str(tmp_path / 'lender')
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        self.server.settimeout(PATIENCE)
        self.argv = [sys.executable, '-I', '-S', '-c', LENDER, self.path]

    def stream(self):
        with self.server:
            child = self.server.accept()[0]
        os.unlink(self.path)
        child.settimeout(PATIENCE)
        _, fds, _, _ = socket.recv_fds(child, 1, 2)
        return LentStream(child, *fds)


class LentStream(PipeStream):
    def __init__(self, child, reading, writing):
        super().__init__(reading, writing)
        self.child = child

    def close(self):
        super().close()
        self.child.close()
