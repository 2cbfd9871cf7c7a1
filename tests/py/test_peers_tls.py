# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS with openssl, gnutls-serv and gnutls-cli, Python's ssl: each kind of credentials, each version,
each role.  Which cells there are, and why others are none, is in peers/tls.py.
"""

import threading

import pytest

import qio
from library_side import Serving, creds, echo_lines
from peers import PATIENCE, tls

pytestmark = pytest.mark.needs('openssl', 'gnutls-serv', 'gnutls-cli')
LINE = b'the quick brown fox jumps over the lazy dog\n'
BULK = bytes(i * 31 % 251 for i in range(1_000_003))


def connect(port, kind, version, pki, **keys):
    plain = qio.connect(f'tcp://127.0.0.1:{port}', timeout=PATIENCE)
    plain.settimeout(PATIENCE)
    return plain.start_tls(creds(kind, version, False, pki), hostname=tls.HOST, **keys)


@pytest.mark.parametrize('peer, kind, version', tls.cells(tls.SERVERS))
def test_client(pki, peer, kind, version):
    with tls.SERVERS[peer](kind, version, pki) as server, \
            connect(server.port, kind, version, pki) as channel:
        channel.write_all(LINE)
        back = channel.readline()
        assert back == (LINE.rstrip()[::-1] + b'\n' if server.reverses else LINE)
        assert channel.tls.version == f'TLS{version}'
        if kind.startswith('x509'):
            assert channel.tls.peer_certificate.startswith(b'\x30\x82')
            assert channel.tls.peer_name == 'CN=localhost'
        channel.send_eof()
        if peer == 'python':            # it answers close_notify with its own
            assert channel.read_some() == b''
    if peer == 'python':
        assert server.seen['version'] == f'TLSv{version}'
        assert bool(server.seen['client']) == (kind == 'x509-client')


@pytest.mark.parametrize('peer, kind, version', tls.cells(tls.CLIENTS))
def test_server(pki, peer, kind, version):
    def serve(client):
        channel = client.start_tls(creds(kind, version, True, pki), server=True)
        with channel:
            echo_lines(channel)         # ends with close_notify, or raises
            return channel.tls.version, channel.tls.peer_name

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve) as serving, \
            tls.CLIENTS[peer](kind, version, pki, listener.port) as client:
        text = client.exchange(LINE)
    assert f'TLSv{version}' in text or f'TLS{version}' in text
    names = {'x509-client': 'CN=a client', 'psk': tls.PSK_USER}
    assert serving.results == [(f'TLS{version}', names.get(kind))]


@pytest.mark.parametrize('version', tls.VERSIONS)
def test_bulk_both_ways_at_once(pki, version):
    """A megabyte there while it comes back."""
    with tls.PythonServer('x509', version, pki) as server, \
            connect(server.port, 'x509', version, pki) as channel:
        writer = threading.Thread(target=lambda: (channel.write_all(BULK), channel.send_eof()))
        writer.start()
        back = channel.read()
        writer.join(PATIENCE)
    assert back == BULK


# ---- refused: the library by the peer, the peer by the library ----

def stranger(pki):
    """The certificates of an authority that nobody trusts here."""
    class Stranger:
        dir = pki.other_dir
        ca = pki.other_dir / 'ca-cert.pem'
        server_cert, server_key = dir / 'server-cert.pem', dir / 'server-key.pem'
        client_cert, client_key = dir / 'client-cert.pem', dir / 'client-key.pem'
        psk_file = pki.psk_file

    return Stranger


@pytest.mark.parametrize('version', tls.VERSIONS)
@pytest.mark.parametrize('peer', ['openssl', 'gnutls'])
def test_client_refuses_a_stranger(pki, peer, version):
    with tls.SERVERS[peer]('x509', version, stranger(pki)) as server:
        with pytest.raises(qio.CertificateError):
            connect(server.port, 'x509', version, pki)


@pytest.mark.parametrize('version', tls.VERSIONS)
@pytest.mark.parametrize('peer', ['openssl', 'gnutls'])
def test_server_refuses_a_stranger(pki, peer, version):
    """One that trusts us, but whose own certificate we do not know."""
    known = stranger(pki)
    known.ca = pki.ca

    def serve(client):
        with pytest.raises(qio.CertificateError):
            client.start_tls(creds('x509-client', version, True, pki), server=True)

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve), \
            tls.CLIENTS[peer]('x509-client', version, known, listener.port) as client:
        assert 'alert' in client.wait_exit(status=None)
