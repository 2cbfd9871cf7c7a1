# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS in Python: credentials, who is let in, what is agreed on, URIs."""

import gc
import pickle
import socket
import ssl
import sys
import threading
import weakref

import pytest

import qio
from pki import PASSWORD, PSK_KEY, PSK_USER
from rigs import PATIENCE, in_thread
from streams import SocketStream, TlsStream, client_context, server_context
from tlsends import (  # noqa: F401
    ANON,
    PSK,
    X509,
    both,
    der,
    echo,
    first_byte,
    opposite,
    pair,
    refused,
    x509_client,
    x509_server,
)

# ---- who is who ----

def test_x509_of_one_side(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        assert isinstance(a, qio.TLSChannel)
        assert (a.kind, b.kind) == ('tls', 'tls')
        echo(a, b)
        assert a.tls.version == b.tls.version == 'TLS1.3'
        assert a.tls.cipher == b.tls.cipher
        assert a.tls.cipher.startswith(('AES', 'CHACHA20'))
        assert a.tls.peer_name == 'CN=localhost'
        assert b.tls.peer_name is None
        assert a.tls.hostname == b.tls.hostname == 'localhost'
        assert a.tls.peer_certificate == der(pki.server_cert)
        assert b.tls.peer_certificate is None
        assert b.tls.peer_chain == ()
        assert a.tls.alpn is None
        assert a.tls.resumed is False
        assert 'TLS1.3' in repr(a.tls)


def test_x509_of_both_sides(pki, pair):
    server = X509(dir=pki.dir, server=True)
    with both(pair, X509(dir=pki.dir), server) as (a, b):
        echo(a, b)
        assert b.tls.peer_name == 'CN=a client'
        assert b.tls.peer_certificate == der(pki.client_cert)


def test_chain(pki, pair):
    server = X509(dir=pki.chain_dir, server=True, verify=False)
    with both(pair, x509_client(pki), server) as (a, b):
        echo(a, b)
        leaf, middle = a.tls.peer_chain
        assert leaf == a.tls.peer_certificate
        assert middle == der(pki.middle_cert)


def test_material_in_memory(pki, pair):
    server = X509(ca=pki.ca.read_bytes(), cert=pki.server_cert.read_bytes(),
                  key=pki.locked_key.read_bytes(), password=PASSWORD, server=True, verify=False)
    with both(pair, X509(ca=pki.ca.read_bytes()), server) as (a, b):
        echo(a, b)


@pytest.mark.parametrize('role', ['client', 'server'])
@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_against_another_library(pki, opposite, role, version):
    channel, sock = opposite
    if role == 'client':
        other = TlsStream(SocketStream(sock), server_context(pki, version=version), server=True)
        creds, keys = x509_client(pki), {'hostname': 'localhost'}
    else:
        other = TlsStream(SocketStream(sock), client_context(pki, version), hostname='localhost')
        creds, keys = x509_server(pki), {'server': True}
    with in_thread(other.handshake):
        layer = channel.start_tls(creds, **keys)
    with layer:
        other.sendall(b'to us')
        assert layer.read_exactly(5) == b'to us'
        layer.write(b'to them')
        assert other.recv(100) == b'to them'
        assert layer.tls.version == version.name.replace('v', '').replace('_', '.')
        assert other.tls.cipher()[0]
        other.close_write()
        assert layer.read() == b''
        layer.send_eof()
        assert other.recv(1) == b''


def test_psk(pki, pair):
    client = PSK(user=PSK_USER, key=PSK_KEY)
    with both(pair, client, PSK(file=pki.psk_file, server=True)) as (a, b):
        echo(a, b)
        assert b.tls.peer_name == PSK_USER
        assert a.tls.peer_certificate is None


def test_psk_of_a_function(pair):
    asked = []

    def lookup(user):
        asked.append(user)
        return PSK_KEY

    with both(pair, PSK(user='bob', key=PSK_KEY), PSK(lookup=lookup, server=True)) as (a, b):
        echo(a, b)
    assert set(asked) == {'bob'}


def test_anonymous(pair):
    with both(pair, ANON(), ANON(server=True)) as (a, b):
        echo(a, b)
        assert a.tls.peer_name is None


# ---- who is not let in ----

@pytest.mark.parametrize(('folder', 'why'), [
    ('other_dir', 'issuer'), ('expired_dir', 'expired'), ('wrong_name_dir', 'localhost'),
    ('revoked_dir', 'revoked')])
def test_a_bad_server_is_a_certificate_error(pki, pair, folder, why):
    server = X509(dir=getattr(pki, folder), server=True, verify=False, sanity=False)
    with pytest.raises(qio.CertificateError, match=why) as caught:
        with refused(qio.TLSError, pair[1], server):
            pair[0].start_tls(x509_client(pki, crl=pki.crl), hostname='localhost')
    assert isinstance(caught.value, qio.TLSError)
    assert caught.value.number >= 256
    assert pair[0].closed


def test_without_a_name_nothing_is_trusted(pki, pair):
    with refused(qio.TLSError, pair[1], x509_server(pki)):
        with pytest.raises(qio.CertificateError, match='host'):
            pair[0].start_tls(x509_client(pki))


def test_unless_verifying_is_off(pki, pair):
    client = X509(verify=False)
    with both(pair, client, X509(dir=pki.other_dir, server=True, verify=False),
              {'hostname': None}) as (a, b):
        echo(a, b)


def test_a_server_demands_a_certificate(pki, pair):
    """In TLS 1.3 the client learns it with its first read."""
    with refused(qio.CertificateError, pair[1], X509(dir=pki.dir, server=True)):
        with pytest.raises(qio.TLSError):
            first_byte(pair[0], x509_client(pki), hostname='localhost')


def test_unknown_user(pki, pair):
    client = PSK(user='mallory', key=PSK_KEY)
    with refused(qio.TLSError, pair[1], PSK(file=pki.psk_file, server=True)):
        with pytest.raises(qio.Error):
            pair[0].start_tls(client)


def test_access_list(pki, pair):
    with both(pair, X509(dir=pki.dir), X509(dir=pki.dir, server=True),
              server_keys={'tls_acl': ['CN=a cl*']}) as (a, b):
        echo(a, b)


# ---- functions of ours in the handshake ----

def test_an_empty_access_list_is_no_open_door(pki, pair):
    creds = X509(dir=pki.dir, server=True)
    with pytest.raises(ValueError, match='has to have a rule'):
        pair[1].start_tls(creds, server=True, handshake=False, tls_acl=[])
    layer = pair[1].start_tls(creds, server=True, handshake=False, tls_acl=['!*'])

    def serve():
        with layer, pytest.raises(qio.CertificateError, match='the access list'):
            layer.handshake()

    with in_thread(serve), pytest.raises(qio.Error):
        first_byte(pair[0], X509(dir=pki.dir), hostname='localhost')


def test_authorize_is_asked(pki, pair):
    asked = []

    def authorize(channel, identity):
        asked.append((channel.kind, identity))
        return True

    server = X509(dir=pki.dir, server=True, authorize=authorize)
    with both(pair, X509(dir=pki.dir), server) as (a, b):
        echo(a, b)
    assert asked == [('tls', 'CN=a client')]


@pytest.mark.parametrize('answer', [False, None, 0])
def test_authorize_refuses(pki, pair, answer):
    server = X509(dir=pki.dir, server=True, authorize=lambda channel, identity: answer)
    with refused(qio.CertificateError, pair[1], server):
        with pytest.raises(qio.TLSError):
            first_byte(pair[0], X509(dir=pki.dir), hostname='localhost')


def test_authorize_of_a_client(pki, pair):
    with refused(qio.Error, pair[1], x509_server(pki)):
        with pytest.raises(qio.CertificateError):
            pair[0].start_tls(x509_client(pki, authorize=lambda channel, identity: False),
                              hostname='localhost')


class Oops(Exception):
    pass


def test_an_exception_leaves_from_the_call_that_shakes_hands(pki, pair):
    raised = Oops('in authorize')

    def authorize(channel, identity):
        raise raised

    def server():
        creds = X509(dir=pki.dir, server=True, authorize=authorize)
        with pytest.raises(Oops) as caught:
            pair[1].start_tls(creds, server=True)
        assert caught.value is raised
        assert pair[1].closed

    with in_thread(server):
        with pytest.raises(qio.Error):
            first_byte(pair[0], X509(dir=pki.dir), hostname='localhost')


def test_an_exception_leaves_from_the_first_transfer(pair):
    def lookup(user):
        raise Oops(user)

    def server():
        layer = pair[1].start_tls(PSK(lookup=lookup, server=True), server=True, handshake=False)
        with pytest.raises(Oops, match='bob'):
            layer.read(1)
        with layer, pytest.raises(qio.Error):
            layer.read(1)

    with in_thread(server):
        with pytest.raises(qio.Error):
            first_byte(pair[0], PSK(user='bob', key=PSK_KEY))


@pytest.mark.parametrize('key', ['text', 17, bytes(100_000), b''],
                         ids=['text', 'number', 'long', 'empty'])
def test_a_lookup_that_gives_no_key(pair, key):
    with refused((TypeError, ValueError), pair[1], PSK(lookup=lambda user: key, server=True)):
        with pytest.raises(qio.Error):
            first_byte(pair[0], PSK(user='bob', key=PSK_KEY))


def test_lookup_that_knows_nobody(pair):
    with refused(qio.TLSError, pair[1], PSK(lookup=lambda user: None, server=True)):
        with pytest.raises(qio.Error):
            first_byte(pair[0], PSK(user='bob', key=PSK_KEY))


def test_a_user_may_have_any_bytes(pair):
    """A peer chooses them: they come as file names do, and raise nothing."""
    user = b'\xff\xfebob'.decode('utf-8', 'surrogateescape')
    seen = []
    server = PSK(lookup=lambda name: seen.append(name) or PSK_KEY, server=True,
                 authorize=lambda channel, name: seen.append(name) is None)
    with both(pair, PSK(user=user, key=PSK_KEY), server) as (a, b):
        echo(a, b)
        assert b.tls.peer_name == user
    assert set(seen) == {user}


def test_looking_at_a_channel_that_shakes_hands(pki, pair):
    """The function keeps the layer to itself; whoever asks meanwhile waits without the GIL."""
    inside, done = threading.Event(), threading.Event()

    def authorize(channel, identity):
        inside.set()
        return done.wait(PATIENCE)

    layer = pair[1].start_tls(X509(dir=pki.dir, server=True, authorize=authorize), server=True,
                              handshake=False)

    def look():
        assert inside.wait(PATIENCE)
        assert layer.closed is False
        assert layer.pending == 0
        with pytest.raises(qio.TimeoutError):
            layer.read_some(timeout=0.01)
        with in_thread(lambda: layer.tls.version):
            done.set()

    with in_thread(look), in_thread(layer.handshake):
        client = pair[0].start_tls(X509(dir=pki.dir), hostname='localhost')
    with client, layer:
        echo(client, layer)


def test_functions_are_let_go(pki, pair):
    def authorize(channel, identity):
        return True

    before = sys.getrefcount(authorize)
    creds = X509(dir=pki.dir, server=True, authorize=authorize)
    with both(pair, X509(dir=pki.dir), creds):
        pass
    del creds
    gc.collect()
    assert sys.getrefcount(authorize) == before


def test_a_cycle_through_credentials_is_found(pki):
    class Server:
        def __init__(self):
            self.creds = X509(dir=pki.dir, server=True, authorize=self.authorize)

        def authorize(self, channel, identity):
            return True

    server = weakref.ref(Server())
    gc.collect()
    assert server() is None


def test_credentials_may_go_before_their_channels(pair):
    asked = []
    layer = pair[1].start_tls(PSK(lookup=lambda user: asked.append(user) or PSK_KEY, server=True),
                              server=True, handshake=False)
    layer._creds = None
    gc.collect()
    with in_thread(layer.handshake):
        client = pair[0].start_tls(PSK(user='bob', key=PSK_KEY))
    with client, layer:
        echo(client, layer)
    assert asked


# ---- what is agreed ----

def test_alpn(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki), {'alpn': ['h2', 'irc']},
              {'alpn': ['irc']}) as (a, b):
        assert a.tls.alpn == b.tls.alpn == 'irc'


def test_resumption(pki):
    client, server = x509_client(pki), x509_server(pki)
    seen = []
    for _ in range(2):
        ends = qio.pair()
        with both(ends, client, server) as (a, b):
            echo(a, b)
            seen.append((a.tls.resumed, b.tls.resumed, a.tls.peer_name))
    assert seen == [(False, False, 'CN=localhost'), (True, True, 'CN=localhost')]


def test_exported_keys_are_equal_on_both_sides(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        keys = a.tls.export('EXPERIMENTAL-test', 32)
        assert len(keys) == 32
        assert keys == b.tls.export('EXPERIMENTAL-test', 32)
        assert keys != a.tls.export('EXPERIMENTAL-test', 32, b'context')
        with pytest.raises(ValueError):
            a.tls.export('EXPERIMENTAL-test', 0)


def test_new_keys_between_transfers(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        for end in (a, b, a):
            end.rekey()
            echo(a, b)
            echo(a, b)              # the answer to the request has come, too
        echo(a, b)


def test_nothing_is_known_before_the_handshake(pki, pair):
    layer = pair[0].start_tls(x509_client(pki), hostname='localhost', handshake=False)
    assert layer.tls.version is None
    assert layer.tls.peer_certificate is None
    assert layer.tls.peer_chain == ()
    assert layer.tls.resumed is False
    assert pair[1].tls is None
    layer.close()


def test_what_is_known_stays_known(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        pass
    assert a.closed
    assert a.tls.version == 'TLS1.3'
    assert a.tls.peer_certificate == der(pki.server_cert)


# ---- arguments ----

def test_an_ssl_context_is_told_what_to_use(pair):
    context = ssl.create_default_context()
    for call in (lambda: pair[0].start_tls(context), lambda: qio.connect('unix:/x', tls=context),
                 lambda: qio.listen('unix:/x', tls=context)):
        with pytest.raises(TypeError, match=r'TLSCreds\.x509'):
            call()


def test_arguments_of_credentials(pki, tmp_path):
    with pytest.raises(FileNotFoundError):
        X509(ca=tmp_path / 'none.pem')
    with pytest.raises(qio.Error):
        X509(ca=b'-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n')
    with pytest.raises(qio.Error):
        X509(cert=pki.server_cert, key=pki.locked_key, password='wrong', server=True, ca=pki.ca)
    with pytest.raises(TypeError, match='bytes'):
        X509(ca=pki.ca.read_text())
    with pytest.raises(TypeError, match='ca has to be'):
        X509(ca=7)
    for name in ('ca', 'cert', 'key', 'crl'):           # nothing of a key comes into a message
        for data in (b'0w\x02\x01\x00secret', b'secret\nsecret', bytearray(b'\0secret')):
            with pytest.raises(qio.InvalidError, match=f'^{name} has to be a path, or PEM') as e:
                X509(**{name: data})
            assert 'secret' not in str(e.value)
    with pytest.raises(TypeError, match='authorize has to be callable'):
        X509(dir=pki.dir, server=True, authorize=7)
    with pytest.raises(TypeError, match='key has to be bytes'):
        PSK(user='x', key='00ff')
    with pytest.raises(qio.InvalidError, match='priority'):
        ANON(priority='NO-SUCH-THING')
    with pytest.raises(TypeError):
        X509(pki.ca)
    with pytest.raises(TypeError):
        qio.TLSCreds()
    with pytest.raises(TypeError):
        pickle.dumps(ANON())
    assert repr(ANON()).startswith('<TLSCreds')


# ---- by URI ----

def test_connect_and_listen_with_credentials(pki, tmp_path):
    path = tmp_path / 's'
    with qio.listen(f'unix:{path}', tls=x509_server(pki)) as listener:
        assert listener.address.startswith('tls+unix:')

        def client():
            with qio.connect(listener.address, tls=x509_client(pki),
                             tls_hostname='localhost') as channel:
                assert isinstance(channel, qio.TLSChannel)
                channel.write(b'by URI')
                assert channel.read() == b''

        with in_thread(client):
            with listener.accept(timeout=PATIENCE) as channel:
                assert channel.tls.version is None      # accept never handshakes
                assert channel.read_exactly(6) == b'by URI'
                assert channel.tls.version == 'TLS1.3'


def test_keys_instead_of_credentials(pki, tmp_path):
    with qio.listen(f'tls+unix:{tmp_path / "s"}', tls_dir=pki.dir, tls_verify=False) as listener:
        with in_thread(serve_one, listener):
            with qio.connect(listener.address, tls_ca=pki.ca.read_bytes(),
                             tls_hostname='localhost', timeout=PATIENCE) as channel:
                assert channel.read() == b'served'


def serve_one(listener):
    with listener.accept(timeout=PATIENCE) as channel:
        channel.write(b'served')


def test_connect_fails_within_its_time(pki, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 's'))
        server.listen()
        with pytest.raises(qio.TimeoutError):
            qio.connect(f'tls+unix:{tmp_path / "s"}', tls=x509_client(pki),
                        tls_hostname='localhost', timeout=0.05)
