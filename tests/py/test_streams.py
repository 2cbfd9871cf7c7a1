# SPDX-License-Identifier: LGPL-2.1-or-later
"""The other sides that tests are made of, against one another, without the library."""

import socket
import ssl

import pytest

from rigs import in_thread
from streams import SocketStream, TlsStream, client_context, server_context
from wspeer import BINARY, CLOSE, WsError, WsStream, accept_for, encode_frame

BULK = bytes(i * 7 % 251 for i in range(100_000))


def tls(a, b, pki):
    return (TlsStream(a, client_context(pki), hostname='localhost'),
            TlsStream(b, server_context(pki), server=True))


def ws(a, b, pki):
    return WsStream(a, protocols=['chat']), WsStream(b, server=True, protocols=['chat'])


@pytest.fixture
def ends():
    a, b = socket.socketpair()
    with a, b:
        yield SocketStream(a), SocketStream(b)


def read_n(stream, n):
    parts = []
    while n > 0 and (data := stream.recv(n)):
        parts.append(data)
        n -= len(data)
    return b''.join(parts)


@pytest.mark.parametrize('layers', [[tls], [ws], [ws, tls], [tls, ws], [tls, tls]])
def test_stack(pki, ends, layers):
    a, b = ends
    for layer in layers:
        a, b = layer(a, b, pki)
        with in_thread(a.handshake):
            b.handshake()
    for source, sink in ((a, b), (b, a)):
        with in_thread(source.sendall, BULK):
            assert read_n(sink, len(BULK)) == BULK
    a.sendall(b'last')
    a.close_write()
    assert read_n(b, 10) == b'last'
    assert b.recv(1) == b''


def test_a_stranger_is_refused(pki, ends):
    a, b = ends
    b = TlsStream(b, server_context(pki, pki.other_dir), server=True)
    with in_thread(pytest.raises, ssl.SSLError, b.handshake):
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsStream(a, client_context(pki), hostname='localhost').handshake()


def test_the_vector_of_the_rfc():
    assert accept_for('dGhlIHNhbXBsZSBub25jZQ==') == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    assert encode_frame(1, b'Hello', mask=b'\x37\xfa\x21\x3d').hex() == '818537fa213d7f9f4d5158'
    assert encode_frame(BINARY, bytes(256)).startswith(b'\x82\x7e\x01\x00')
    assert encode_frame(BINARY, bytes(65536)).startswith(b'\x82\x7f' + bytes(5) + b'\x01\0\0')


def test_messages_and_the_end(ends):
    a, b = ws(*ends, None)
    with in_thread(a.handshake):
        b.handshake()
    assert (a.protocol, b.protocol) == ('chat', 'chat')
    for message in ('text', b'bytes', '', b''):
        a.send(message)
        assert b.recv_message() == message
    a.send_close(3000, 'why')
    assert b.recv_message() is None
    assert a.recv_message() is None
    assert a.got_close == b.got_close == (3000, 'why')


@pytest.mark.parametrize('frame', [
    encode_frame(3, mask=b'mask'), encode_frame(BINARY, rsv=4, mask=b'mask'),
    encode_frame(BINARY), encode_frame(CLOSE, bytes(126), mask=b'mask'),
    encode_frame(BINARY, b'x', size_bytes=2, mask=b'mask'), encode_frame(0, mask=b'mask')])
def test_broken_rules_are_told(ends, frame):
    a, b = ends
    a.sendall(frame)
    with pytest.raises(WsError):
        WsStream(b, server=True).recv_message()
