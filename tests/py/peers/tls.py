# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS peers: openssl s_server and s_client, gnutls-serv and gnutls-cli, Python's ssl module.

Owns: how each is told the credentials (KINDS) and the version.  A server answers each line: in
reverse order of its bytes (s_server) or as it is (the others); a client sends what it is given
and shows what comes.  The certificates and keys are those of pki.py.
"""

import contextlib
import os
import socket
import ssl
import threading

from pki import PSK_KEY, PSK_USER

from . import BUILD, PATIENCE, Peer, PeerFailed, accept, listen_tcp

KINDS = ['anon', 'x509', 'x509-client', 'psk']
VERSIONS = ['1.2', '1.3']
HOST = 'localhost'

# Of the cells {kind x version}: TLS 1.3 has no anonymous key exchange (RFC 8446, C.5: it always
# authenticates by certificate or PSK), so anon is a matter of 1.2 alone, with every peer.
CELLS = [(kind, version) for kind in KINDS for version in VERSIONS
         if (kind, version) != ('anon', '1.3')]


def openssl_version(version):
    return '-tls' + version.replace('.', '_')


def openssl_keys(kind, server, pki):
    """The options of s_server and s_client that give the credentials."""
    if kind == 'anon':
        return ['-cipher', 'aNULL:@SECLEVEL=0', *['-nocert'] * server]
    if kind == 'psk':
        return ['-psk', PSK_KEY.hex(), '-psk_identity', PSK_USER, *['-nocert'] * server]
    if server:
        keys = ['-cert', pki.server_cert, '-key', pki.server_key]
        if kind == 'x509-client':
            keys += ['-CAfile', pki.ca, '-Verify', '3', '-verify_return_error']
        return keys
    keys = ['-CAfile', pki.ca, '-verify_return_error', '-verify_hostname', HOST]
    if kind == 'x509-client':
        keys += ['-cert', pki.client_cert, '-key', pki.client_key]
    return keys


def gnutls_priority(kind, version, server):
    extra = {'anon': ':+ANON-ECDH:+ANON-DH', 'psk': ':+ECDHE-PSK:+DHE-PSK:+PSK'}.get(kind, '')
    if (kind, version, server) == ('psk', '1.2', False):
        # gnutls-cli 3.7.9 crashes when it describes an ephemeral key exchange with PSK.
        extra = ':-KX-ALL:+PSK'
    return f'NORMAL:-VERS-ALL:+VERS-TLS{version}{extra}'


def gnutls_keys(kind, server, pki):
    if kind == 'anon':
        return []
    if kind == 'psk':
        return (['--pskpasswd', pki.psk_file] if server else
                ['--pskusername', PSK_USER, '--pskkey', PSK_KEY.hex()])
    if server:
        keys = ['--x509certfile', pki.server_cert, '--x509keyfile', pki.server_key]
        if kind == 'x509-client':
            return [*keys, '--x509cafile', pki.ca, '--require-client-cert',
                    '--verify-client-cert']
        return [*keys, '--disable-client-cert']
    keys = ['--x509cafile', pki.ca]
    if kind == 'x509-client':
        keys += ['--x509certfile', pki.client_cert, '--x509keyfile', pki.client_key]
    return keys


# ---- servers: a context manager with a port, which answers each line ----

class OpensslServer(Peer):
    reverses = True

    def __init__(self, kind, version, pki, *more, clients=1):
        super().__init__(['openssl', 's_server', '-accept', '127.0.0.1:0', '-rev',
                          '-naccept', clients, openssl_version(version),
                          *openssl_keys(kind, True, pki), *more])

    def ready(self):
        self.port = int(self.wait_for(r'^ACCEPT 127\.0\.0\.1:(\d+)').group(1))


class GnutlsServer(Peer):
    """It listens on every address of the machine: a small library in front of the C library
    (tests/c/loopback.c) keeps it on the loopback interface and tells the port."""

    reverses = False

    def __init__(self, kind, version, pki, *more, clients=None):
        super().__init__(['gnutls-serv', '--echo', '--port=0', '--priority',
                          gnutls_priority(kind, version, True), *gnutls_keys(kind, True, pki),
                          *more],
                         env={'LD_PRELOAD': str(BUILD / 'tests/c/loopback.so')})

    def ready(self):
        self.port = int(self.wait_for(r'listening on 127\.0\.0\.1:(\d+)$').group(1))


class PythonServer:
    """Python's ssl module in a thread.  PSK came to it with Python 3.13 only, so not here."""

    reverses = False

    def __init__(self, kind, version, pki, *, alpn=None, clients=1):
        self.context = python_context(kind, version, True, pki)
        if alpn:
            self.context.set_alpn_protocols(alpn)
        self.clients = clients
        self.listener = listen_tcp()
        self.port = self.listener.getsockname()[1]
        self.seen = {}
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            for _ in range(self.clients):
                self._serve()
        except (OSError, PeerFailed) as error:
            self.failure = error

    def _serve(self):
        with accept(self.listener) as plain, \
                self.context.wrap_socket(plain, server_side=True) as tls:
            self.seen = {'version': tls.version(), 'cipher': tls.cipher()[0],
                         'client': tls.getpeercert(), 'resumed': tls.session_reused,
                         'alpn': tls.selected_alpn_protocol()}
            while data := tls.recv(65536):
                tls.sendall(data)
            tls.unwrap()                # its close_notify came: ours

    def close(self):
        self.thread.join(PATIENCE)
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, *exc_info):
        self.close()
        if exc_type is None and self.failure:
            raise self.failure


SERVERS = {'openssl': OpensslServer, 'gnutls': GnutlsServer, 'python': PythonServer}


# ---- clients: sends a line to a port, wants it back, ends; gives what was negotiated ----

class OpensslClient(Peer):
    def __init__(self, kind, version, pki, port, *more):
        super().__init__(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', '-brief',
                          '-nocommands', '-servername', HOST, openssl_version(version),
                          *openssl_keys(kind, False, pki), *more])

    def exchange(self, line):
        self.wait_for(r'^CONNECTION ESTABLISHED')
        self.write(line)
        self.wait_for(f'^{line.decode().rstrip()}$')
        self.end_input()                # it says close_notify
        return self.wait_exit()


class GnutlsClient(Peer):
    def __init__(self, kind, version, pki, port, *more):
        super().__init__(['gnutls-cli', '--port', port, '--sni-hostname', HOST,
                          '--verify-hostname', HOST, '--priority',
                          gnutls_priority(kind, version, False), *gnutls_keys(kind, False, pki),
                          *more, '127.0.0.1'])

    def exchange(self, line):
        self.wait_for(r'^- Handshake was completed')
        self.write(line)
        self.wait_for(f'^{line.decode().rstrip()}$')
        self.end_input()
        return self.wait_exit()


class PythonClient:
    def __init__(self, kind, version, pki, port, *, alpn=None):
        self.context = python_context(kind, version, False, pki)
        if alpn:
            self.context.set_alpn_protocols(alpn)
        self.port = port
        self.session = self.alpn = None
        self.resumed = False

    def exchange(self, line):
        with socket.create_connection(('127.0.0.1', self.port), timeout=PATIENCE) as plain, \
                self.context.wrap_socket(plain, server_hostname=HOST,
                                         session=self.session) as tls:
            tls.sendall(line)
            back = b''
            while len(back) < len(line) and (data := tls.recv(65536)):
                back += data
            assert back == line
            version = tls.version()
            self.session, self.resumed = tls.session, tls.session_reused
            self.alpn = tls.selected_alpn_protocol()
            with contextlib.suppress(ssl.SSLZeroReturnError):
                tls.unwrap()
            return version

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass


CLIENTS = {'openssl': OpensslClient, 'gnutls': GnutlsClient, 'python': PythonClient}


def python_context(kind, version, server, pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = \
        ssl.TLSVersion['TLSv' + version.replace('.', '_')]
    if kind == 'anon':
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers('aNULL:@SECLEVEL=0')
        return context
    if server or kind == 'x509-client':
        name = 'server' if server else 'client'
        context.load_cert_chain(pki.dir / f'{name}-cert.pem', pki.dir / f'{name}-key.pem')
    if not server or kind == 'x509-client':
        context.load_verify_locations(pki.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def cells(peers):
    """(peer, kind, version) of every cell that is possible."""
    return [(peer, kind, version) for peer in peers for kind, version in CELLS
            if (peer, kind) != ('python', 'psk')]
