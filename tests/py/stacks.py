# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stacks of TLS and WebSocket for the conformance suite, with an independent other side.

Owns: STACKS, the table of stacks: what the channel under test lies on, and its layers from the
lowest up, each with the role of the channel.  The other side is made of streams.py and wspeer.py.
"""

import functools
import socket
import ssl

import qio
import written
from rigs import StreamRig, in_thread
from streams import Lender, SocketStream, TlsStream, client_context, server_context
from wspeer import WsStream

STACKS = {
    'tls-client': ('unix', ['tls-client']),
    'tls-server': ('unix', ['tls-server']),
    'tls12-client': ('unix', ['tls12-client']),
    'ws-client': ('unix', ['ws-client']),
    'ws-server': ('unix', ['ws-server']),
    'tls-over-ws': ('unix', ['ws-client', 'tls-client']),
    'ws-over-tls': ('unix', ['tls-server', 'ws-server']),
    'tls-in-tls': ('unix', ['tls-client', 'tls-server']),
    'tls-command': ('command', ['tls-client']),
    'ws-command': ('command', ['ws-server']),
    'tls-over-ws-command': ('command', ['ws-server', 'tls-client']),
    'ws-over-tls-command': ('command', ['tls-client', 'ws-client']),
    'tls-python-socket': ('python-socket', ['tls-client']),
    'tls-python-memory': ('python-memory', ['tls-server']),
    'ws-python-memory': ('python-memory', ['ws-client']),
    'ws-over-tls-python-memory': ('python-memory', ['tls-client', 'ws-client']),
    'tls-in-tls-command': ('command', ['tls-server', 'tls-client']),
}


@functools.cache
def client_creds(pki):
    return qio.TLSCreds.x509(ca=pki.ca)


@functools.cache
def server_creds(pki):
    return qio.TLSCreds.x509(dir=pki.dir, server=True, verify=False)


def put_tls(channel, stream, pki, server, version=None):
    if server:
        other = TlsStream(stream, client_context(pki, version), hostname='localhost')
    else:
        other = TlsStream(stream, server_context(pki, version=version), server=True)
    with in_thread(other.handshake):
        creds = server_creds(pki) if server else client_creds(pki)
        layer = channel.start_tls(creds, server=server,
                                  hostname=None if server else 'localhost')
    return layer, other


def put_ws(channel, stream, pki, server):
    other = WsStream(stream, server=not server, protocols=['binary'])
    with in_thread(other.handshake):
        layer = channel.websocket(server=server, protocols=['binary'])
    return layer, other


LAYERS = {
    'tls-client': functools.partial(put_tls, server=False),
    'tls-server': functools.partial(put_tls, server=True),
    'tls12-client': functools.partial(put_tls, server=False, version=ssl.TLSVersion.TLSv1_2),
    'ws-client': functools.partial(put_ws, server=False),
    'ws-server': functools.partial(put_ws, server=True),
}


def unix_ends(tmp_path):
    ours, theirs = socket.socketpair()
    return qio.from_socket(ours), SocketStream(theirs)


def command_ends(tmp_path):
    """The child is ended at once: it has nothing to say."""
    lender = Lender(tmp_path)
    return qio.command(lender.argv, close_timeout=0), lender.stream()


def python_socket_ends(tmp_path):
    channel, theirs = written.socket_ends()
    return channel, SocketStream(theirs)


def python_memory_ends(tmp_path):
    return written.memory_ends(written.InMemory)


CARRIERS = {'unix': unix_ends, 'command': command_ends, 'python-socket': python_socket_ends,
            'python-memory': python_memory_ends}


def stack_rig(name, tmp_path, pki):
    carrier, layers = STACKS[name]
    channel, stream = CARRIERS[carrier](tmp_path)
    try:
        for layer in layers:
            channel, stream = LAYERS[layer](channel, stream, pki)
    except BaseException:
        channel.close()
        stream.close()
        raise
    return StreamRig(channel, stream)
