# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ends of TLS connections for the tests of TLS, and what they have in common."""

import contextlib
import socket
import ssl

import pytest

import qio
from rigs import PATIENCE, in_thread

X509, PSK, ANON = qio.TLSCreds.x509, qio.TLSCreds.psk, qio.TLSCreds.anon


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


@pytest.fixture
def opposite():
    """A channel and the socket on its other side."""
    ours, theirs = socket.socketpair()
    with qio.from_socket(ours) as channel, theirs:
        theirs.settimeout(PATIENCE)
        yield channel, theirs


@contextlib.contextmanager
def both(pair, client, server, client_keys=None, server_keys=None):
    """The two ends with TLS between them."""
    a, b = pair
    made = []
    keys = {'hostname': 'localhost', **(client_keys or {})}
    with in_thread(lambda: made.append(b.start_tls(server, server=True, **(server_keys or {})))):
        layer = a.start_tls(client, **keys)
    with layer, made[0]:
        yield layer, made[0]


def x509_client(pki, **more):
    return X509(**{'ca': pki.ca, **more})


def x509_server(pki, **more):
    return X509(**{'dir': pki.dir, 'server': True, 'verify': False, **more})


def first_byte(channel, creds, **keys):
    """In TLS 1.3 a client's own handshake may be over before the server refuses it."""
    with channel.start_tls(creds, **keys) as layer:
        return layer.read(1)


@contextlib.contextmanager
def refused(error, channel, creds):
    """Beside the block the server's end fails with the error."""
    def serve():
        with pytest.raises(error):
            first_byte(channel, creds, server=True)

    with in_thread(serve):
        yield


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def echo(a, b, data=b'hello'):
    a.write(data)
    assert b.read_exactly(len(data)) == data
    b.write(data[::-1])
    assert a.read_exactly(len(data)) == data[::-1]
