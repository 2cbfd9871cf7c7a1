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


# ---- ALPN ----

ALPN = {'openssl': ['-alpn', 'second,first'], 'gnutls': ['--alpn=first', '--alpn=second']}
# What the client's own output says; s_client's is silent with -brief, and the library's end tells.
SAID = {'openssl': '', 'gnutls': 'Application protocol: second'}


@pytest.mark.parametrize('peer', ['openssl', 'gnutls'])
def test_alpn_of_a_server(pki, peer):
    with tls.SERVERS[peer]('x509', '1.3', pki, *ALPN[peer]) as server, \
            connect(server.port, 'x509', '1.3', pki, alpn=['third', 'second']) as channel:
        assert channel.tls.alpn == 'second'
        channel.write_all(LINE)
        assert channel.readline()
        channel.send_eof()


@pytest.mark.parametrize('peer', ['openssl', 'gnutls'])
def test_alpn_of_a_client(pki, peer):
    def serve(client):
        with client.start_tls(creds('x509', '1.3', True, pki), server=True,
                              alpn=['third', 'second']) as channel:
            echo_lines(channel)
            return channel.tls.alpn

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve) as serving, \
            tls.CLIENTS[peer]('x509', '1.3', pki, listener.port, *ALPN[peer]) as client:
        assert SAID[peer] in client.exchange(LINE)
    assert serving.results == ['second']


def test_alpn_with_python(pki):
    with tls.PythonServer('x509', '1.3', pki, alpn=['first', 'second']) as server, \
            connect(server.port, 'x509', '1.3', pki, alpn=['second']) as channel:
        assert channel.tls.alpn == 'second'
        channel.send_eof()
        assert channel.read_some() == b''
    assert server.seen['alpn'] == 'second'


# ---- sessions that are taken up again ----

@pytest.mark.parametrize('version', tls.VERSIONS)
@pytest.mark.parametrize('peer', tls.SERVERS)
def test_resumption_with_a_server(pki, peer, version):
    """Its ticket is in the credentials; the second handshake is the short one."""
    ours, resumed = creds('x509', version, False, pki), []
    with tls.SERVERS[peer]('x509', version, pki, clients=2) as server:
        for _ in range(2):
            plain = qio.connect(f'tcp://127.0.0.1:{server.port}', timeout=PATIENCE)
            plain.settimeout(PATIENCE)
            with plain.start_tls(ours, hostname=tls.HOST) as channel:
                channel.write_all(LINE)
                assert channel.readline()
                resumed.append(channel.tls.resumed)
                channel.send_eof()
    assert resumed == [False, True]
    if peer == 'python':
        assert server.seen['resumed']


@pytest.mark.parametrize('version', tls.VERSIONS)
def test_resumption_with_a_client(pki, version):
    ours = creds('x509', version, True, pki)

    def serve(client):
        with client.start_tls(ours, server=True) as channel:
            echo_lines(channel)
            return channel.tls.resumed

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve, clients=2) as serving:
        client = tls.PythonClient('x509', version, pki, listener.port)
        for _ in range(2):
            client.exchange(LINE)
    assert serving.results == [False, True] and client.resumed


# ---- new keys in the middle (TLS 1.3) ----

@pytest.mark.parametrize('peer', tls.SERVERS)
def test_our_rekey(pki, peer):
    with tls.SERVERS[peer]('x509', '1.3', pki) as server, \
            connect(server.port, 'x509', '1.3', pki) as channel:
        for _ in range(3):
            channel.write_all(LINE)
            assert channel.readline()
            channel.rekey()
        channel.write_all(LINE)
        assert channel.readline()
        channel.send_eof()


def test_rekey_of_a_client(pki):
    """gnutls-cli does it when a line of its input says so."""
    def serve(client):
        with client.start_tls(creds('x509', '1.3', True, pki), server=True) as channel:
            echo_lines(channel)

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve), \
            tls.GnutlsClient('x509', '1.3', pki, listener.port, '--inline-commands') as client:
        client.wait_for('^- Handshake was completed')
        client.write(b'^rekey^\n')
        client.exchange(b'after the keys have changed\n')


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
