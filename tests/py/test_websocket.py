# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSockets in Python: messages, the request of a client, the end, and being patient."""

import contextlib
import gc
import os
import resource
import socket
import struct

import pytest

import qio
from rigs import PATIENCE, in_thread
from streams import SocketStream, TlsStream, client_context, server_context
from wspeer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WsError, WsStream, encode_frame

MEGABYTE = os.urandom(1 << 20)


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


@contextlib.contextmanager
def both(pair, client_keys=None, server_keys=None, mode='messages'):
    """The two ends with a WebSocket between them."""
    made = []
    server_keys = {'mode': mode, **(server_keys or {})}
    with in_thread(lambda: made.append(pair[1].websocket(server=True, **server_keys))):
        layer = pair[0].websocket(**{'mode': mode, **(client_keys or {})})
    with layer, made[0]:
        yield layer, made[0]


@contextlib.contextmanager
def opposite(server=False, mode='messages', peer_keys=None, **keys):
    """A WebSocket of ours and the independent peer on its other side."""
    ours, theirs = socket.socketpair()
    with theirs:
        peer = WsStream(SocketStream(theirs), server=not server, protocols=['binary'],
                        **(peer_keys or {}))
        with in_thread(peer.handshake):
            layer = qio.from_socket(ours).websocket(server=server, mode=mode,
                                                    protocols=['binary'], **keys)
        with layer:
            yield layer, peer


ROLES = pytest.mark.parametrize('server', [False, True], ids=['client', 'server'])


# ---- messages ----

@ROLES
def test_messages_both_ways(server):
    with opposite(server) as (ws, peer):
        assert isinstance(ws, qio.WebSocketChannel)
        assert (ws.kind, ws.ws_mode, ws.protocol) == ('websocket', 'messages', 'binary')
        for message in ('text', 'Grüße, 世界', b'bytes', '', b'', 'x' * 200, bytes(70_000)):
            assert ws.send(message) is True
            assert peer.recv_message() == message
            peer.send(message)
            got = ws.recv()
            assert got == message
            assert type(got) is type(message)


@ROLES
def test_large_messages(server):
    with opposite(server) as (ws, peer):
        with in_thread(ws.send, MEGABYTE):
            assert peer.recv_message() == MEGABYTE
        with in_thread(peer.send, MEGABYTE):
            assert ws.recv() == MEGABYTE
        text = 'äöü' * 100_000
        with in_thread(peer.send, text):
            assert ws.recv() == text


def test_buffers_of_every_kind():
    with opposite() as (ws, peer):
        for message in (bytearray(b'array'), memoryview(b'xviewx')[1:5]):
            ws.send(message)
            assert peer.recv_message() == bytes(message)
        for wrong in (None, 7, ['x'], object()):
            with pytest.raises(TypeError, match='message has to be'):
                ws.send(wrong)
        for call in (lambda: ws.send(), lambda: ws.send('a', 'b'), lambda: ws.recv(1),
                     lambda: ws.send('a', wait=1), lambda: ws.recv(timeout=-1)):
            with pytest.raises((TypeError, ValueError)):
                call()


@ROLES
def test_fragments_with_a_ping_between(server):
    with opposite(server) as (ws, peer):
        peer.send_frame(TEXT, 'gr'.encode(), fin=False)
        peer.send_frame(PING, b'are you there')
        peer.send_frame(CONTINUATION, 'ü'.encode()[:1], fin=False)
        peer.send_frame(CONTINUATION, b'', fin=False)
        peer.send_frame(CONTINUATION, 'ü'.encode()[1:])
        assert ws.recv() == 'grü'
        assert peer.recv_frame() == (PONG, b'are you there', True)


def test_ping():
    with opposite() as (ws, peer):
        ws.ping()
        assert peer.recv_frame() == (PING, b'', True)
        ws.ping('text')
        assert peer.recv_frame() == (PING, b'text', True)
        peer.send_frame(PONG, b'text')
        peer.send('next')
        assert ws.recv() == 'next'
        with pytest.raises(ValueError):
            ws.ping(bytes(126))


def test_iterating_gives_messages_until_the_end():
    with opposite() as (ws, peer):
        for message in ('one', b'', 'three'):
            peer.send(message)
        peer.send_close(1000)
        assert list(ws) == ['one', b'', 'three']


def test_iterating_tells_an_end_that_nobody_wanted():
    with opposite() as (ws, peer):
        peer.send('one')
        peer.send_close(1011, 'on fire')
        seen = []
        with pytest.raises(qio.WebSocketError) as caught:
            for message in ws:
                seen.append(message)
        assert (caught.value.close_code, caught.value.reason) == (1011, 'on fire')
        assert seen == ['one']


# ---- a stream of bytes ----

@ROLES
def test_stream(server):
    with opposite(server, mode=None) as (ws, peer):
        assert ws.ws_mode == 'stream'
        ws.write(b'in one frame')
        assert peer.recv_frame() == (BINARY, b'in one frame', True)
        peer.send_frame(BINARY, b'first li', fin=False)
        peer.send_frame(CONTINUATION, b'ne\nsecond')
        peer.send_frame(BINARY, b' line\n')
        assert [ws.readline(), next(iter(ws))] == [b'first line\n', b'second line\n']
        for call in (lambda: ws.send('x'), lambda: ws.recv()):
            with pytest.raises(qio.UnsupportedError):
                call()
        peer.send_close()
        assert ws.read() == b''


def test_stream_refuses_text():
    with opposite(mode='stream') as (ws, peer):
        peer.send('text')
        with pytest.raises(qio.WebSocketError) as caught:
            ws.read(10)
        assert caught.value.close_code == 1003
        assert peer.recv_message() is None
        assert peer.got_close[0] == 1003


# ---- the end ----

@ROLES
@pytest.mark.parametrize(('code', 'reason'), [
    (1000, ''), (1001, 'away'), (1002, ''), (1008, 'no'), (3000, 'ä'), (4999, 'x' * 123)])
def test_close_codes_in(server, code, reason):
    with opposite(server) as (ws, peer):
        peer.send_close(code, reason)
        for _ in range(3):
            with pytest.raises(qio.WebSocketError) as caught:
                ws.recv()
            assert (caught.value.close_code, caught.value.reason) == (code, reason)
        assert peer.recv_message() is None
        assert peer.got_close[0] == code
        with pytest.raises(qio.Error):
            ws.send('too late')


@pytest.mark.parametrize('size', [1, 4096, 69507, 69600, 69630, 69631, 69632])
def test_close_in_the_middle_of_a_message(size):
    """The frame comes whole, however much room the message that was begun has left."""
    with opposite() as (ws, peer):
        with in_thread(lambda: (peer.send_frame(TEXT, b'x' * size, fin=False),
                                peer.send_close(4001, 'a reason'))):
            with pytest.raises(qio.WebSocketError) as caught:
                ws.recv()
        assert (caught.value.close_code, caught.value.reason) == (4001, 'a reason')


def test_close_without_a_code():
    with opposite() as (ws, peer):
        peer.send_frame(CLOSE)
        with pytest.raises(qio.WebSocketError) as caught:
            ws.recv()
        assert (caught.value.close_code, caught.value.reason) == (1005, '')
        assert peer.recv_frame() == (CLOSE, b'', True)


@ROLES
def test_close_handshake(server):
    with opposite(server) as (ws, peer):
        peer.send('still on its way')
        with in_thread(ws.close, 3001, 'enough'):
            assert peer.recv_message() is None
            assert peer.got_close == (3001, 'enough')
        assert ws.closed
        ws.close(1000)
        ws.close()
        with pytest.raises(qio.ClosedError):
            ws.recv()


def test_close_does_not_wait_for_ever():
    with opposite() as (ws, peer):
        ws.close(1000, timeout=0.02)
        assert ws.closed
        assert peer.recv_frame()[0] == CLOSE


@pytest.mark.parametrize('mode', ['messages', 'stream'])
def test_close_does_not_wait_for_who_goes_on_sending(monkeypatch, mode):
    calls = []

    def more(self, *args, **keys):
        calls.append(keys)
        assert len(calls) < 5
        return b'more'

    with opposite(mode=mode) as (ws, peer):
        with monkeypatch.context() as patch:
            patch.setattr(qio.WebSocketChannel, 'recv', more)
            patch.setattr(qio.WebSocketChannel, 'read_some', more)
            ws.close(1000, timeout=0)
        assert len(calls) == 1
        assert ws.closed
        assert peer.recv_frame()[0] == CLOSE


def test_plain_close_says_goodbye():
    with opposite() as (ws, peer):
        ws.close()
        assert peer.recv_frame() == (CLOSE, struct.pack('!H', 1000), True)


@pytest.mark.parametrize('code', [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_codes_that_may_not_be_sent(code):
    with opposite() as (ws, peer):
        if code:
            with pytest.raises(ValueError):
                ws.close(code)
        with pytest.raises(ValueError):
            ws.close(reason='a reason alone')
        with pytest.raises(ValueError):
            ws.close(1000, 'x' * 124)
        ws.send('still open')
        assert peer.recv_message() == 'still open'


def test_going_away_without_a_word():
    with opposite() as (ws, peer):
        peer.send('last')
        peer.close()
        assert ws.recv() == 'last'
        with pytest.raises(qio.WebSocketError) as caught:
            ws.recv()
        assert caught.value.close_code == 1006


@ROLES
@pytest.mark.parametrize(('frame', 'code'), [
    ({'opcode': 3}, 1002), ({'opcode': BINARY, 'rsv': 4}, 1002),
    ({'opcode': CONTINUATION, 'payload': b'x'}, 1002),
    ({'opcode': PING, 'fin': False}, 1002), ({'opcode': PING, 'payload': bytes(126)}, 1002),
    ({'opcode': BINARY, 'payload': b'x', 'size_bytes': 2}, 1002),
    ({'opcode': TEXT, 'payload': b'\xff'}, 1007), ({'opcode': CLOSE, 'payload': b'x'}, 1002),
    ({'opcode': CLOSE, 'payload': b'\x03\xee'}, 1002),
    ({'opcode': CLOSE, 'payload': b'\x03\xe8\xff'}, 1007)])
def test_broken_rules(server, frame, code):
    with opposite(server) as (ws, peer):
        peer.send_frame(**frame)
        with pytest.raises(qio.WebSocketError) as caught:
            ws.recv()
        assert caught.value.close_code == code
        assert peer.recv_message() is None
        assert peer.got_close[0] == code


@ROLES
def test_masking_is_demanded_of_clients_only(server):
    with opposite(server) as (ws, peer):
        peer.send_frame(BINARY, b'x', mask=None if server else b'mask')
        with pytest.raises(qio.WebSocketError) as caught:
            ws.recv()
        assert caught.value.close_code == 1002


def test_too_long_a_message():
    with opposite(max_message=1000) as (ws, peer):
        peer.send(bytes(1000))
        assert len(ws.recv()) == 1000
        peer.send(bytes(1001))
        with pytest.raises(qio.WebSocketError) as caught:
            ws.recv()
        assert caught.value.close_code == 1009


# ---- being patient ----

def test_a_timeout_loses_no_part_of_a_message():
    with opposite() as (ws, peer):
        with pytest.raises(qio.TimeoutError):
            ws.recv(timeout=0.001)
        peer.send_frame(TEXT, b'half', fin=False)
        with pytest.raises(qio.TimeoutError):
            ws.recv(timeout=0.01)
        peer.send_frame(CONTINUATION, b' and half')
        assert ws.recv() == 'half and half'


def test_no_memory_for_a_message_tears_none():
    with opposite(max_message=1 << 30) as (ws, peer):
        frame = encode_frame(BINARY, b'm' * (40 << 20), fin=True, mask=None)
        with in_thread(lambda: (peer.lower.sendall(frame), peer.send('next'))):
            with open('/proc/self/statm', encoding='ascii') as file:
                pages = int(file.read().split()[0])
            limits = resource.getrlimit(resource.RLIMIT_AS)
            size = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (50 << 20), limits[1]))
            try:
                with pytest.raises(MemoryError):
                    ws.recv()
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
            assert ws.recv() == b'm' * (40 << 20)
            assert ws.recv() == 'next'


def test_nonblocking():
    with opposite() as (ws, peer):
        ws.setblocking(False)
        assert ws.recv() is None
        peer.send('x')
        assert ws.wait(qio.IN, timeout=PATIENCE)
        assert ws.recv() == 'x'
        sent = 0
        while ws.send(bytes([sent % 256]) * 50_000):
            sent += 1
        assert sent > 0
        assert not ws.wait(qio.OUT, timeout=0)
        ws.settimeout(None)
        with in_thread(lambda: (ws.flush(), ws.send('end'))):
            for i in range(sent):
                assert peer.recv_message() == bytes([i % 256]) * 50_000
            assert peer.recv_message() == 'end'


def test_a_message_that_timed_out_is_whole_in_the_end():
    with opposite() as (ws, peer):
        big = os.urandom(10 << 20)
        with pytest.raises(qio.TimeoutError) as caught:
            ws.send(big, timeout=0.02)
        assert 0 < caught.value.bytes_written < len(big)
        with in_thread(ws.send, 'next'):
            assert peer.recv_message() == big
            assert peer.recv_message() == 'next'


def test_one_reader_and_one_writer():
    with both_of_a_pair() as (a, b):
        with in_thread(lambda: pytest.raises((qio.AbortedError, qio.ClosedError), a.recv)):
            while not a_is_busy(a):
                pass
            a.send('beside it')
            assert b.recv() == 'beside it'
            a.close()


def a_is_busy(channel):
    try:
        channel.recv(timeout=0)
    except qio.BusyError:
        return True
    except qio.TimeoutError:
        return False


@contextlib.contextmanager
def both_of_a_pair(**keys):
    ends = qio.pair()
    with both(ends, **keys) as layers:
        yield layers


def test_watch_tells_of_messages(pair):
    with both(pair) as (a, b):
        loop = qio.Loop()
        seen = []
        loop.watch(b, qio.IN, lambda channel, condition: seen.append(channel.recv()))
        for i in range(10):
            a.send(str(i))
        while len(seen) < 10:
            assert loop.run_once(PATIENCE)
        assert seen == [str(i) for i in range(10)]
        assert loop.run_once(0) == 0
        loop.close()


def test_deflate(pair):
    with both(pair, {'deflate': True}, {'deflate': True}) as (a, b):
        for message in ('a' * 100_000, '', b'x', os.urandom(1000)):
            a.send(message)
            assert b.recv() == message
            b.send(message)
            assert a.recv() == message


# ---- the request ----

def test_what_the_client_asked_for(pair):
    client = {'host': 'example.org', 'path': '/a/b?c=d', 'origin': 'https://example.org',
              'protocols': ['one', 'two'], 'headers': {'X-Who': 'me', 'Cookie': 'a=b'}}
    server = {'protocols': ['two'], 'on_request': lambda channel: None}
    with both(pair, client, server) as (a, b):
        assert b.request.path == '/a/b?c=d'
        assert b.request.host == 'example.org'
        assert b.request.origin == 'https://example.org'
        assert b.request.protocols == ('one', 'two')
        assert b.request.header('x-who') == 'me'
        assert b.request.header('X-None') is None
        assert a.protocol == b.protocol == 'two'
        assert '/a/b' in repr(b.request)


@pytest.mark.parametrize(('answer', 'protocol'), [
    (None, None), (True, None), ('chat', 'chat')])
def test_on_request_lets_in(pair, answer, protocol):
    asked = []

    def on_request(channel):
        asked.append((channel.request.path, channel.kind))
        return answer

    with both(pair, {'path': '/x', 'protocols': ['chat']},
              {'on_request': on_request, 'protocols': []}) as (a, b):
        a.send('hello')
        assert b.recv() == 'hello'
        assert a.protocol == protocol
    assert asked == [('/x', 'websocket')]


@pytest.mark.parametrize(('answer', 'status'), [(False, 403), (404, 404), (503, 503)])
def test_on_request_refuses(pair, answer, status):
    with in_thread(pytest.raises, qio.Error,
                   lambda: pair[1].websocket(server=True, on_request=lambda channel: answer)):
        with pytest.raises(qio.WebSocketError, match=str(status)):
            pair[0].websocket()


class Oops(Exception):
    pass


def test_exception_in_on_request(pair):
    def on_request(channel):
        raise Oops('here')

    with in_thread(pytest.raises, Oops,
                   lambda: pair[1].websocket(server=True, on_request=on_request)):
        with pytest.raises(qio.WebSocketError, match='500'):
            pair[0].websocket()


@pytest.mark.parametrize('use', [lambda channel: channel.handshake(),
                                 lambda channel: channel.recv()])
def test_on_request_that_comes_back_to_its_channel(pair, use):
    def on_request(channel):
        with pytest.raises(qio.BusyError, match='on_request'):
            use(channel)

    def serve():
        with pair[1].websocket(server=True, mode='messages', on_request=on_request) as server:
            assert server.recv() == 'here'

    with in_thread(serve):
        with pair[0].websocket(mode='messages') as client:
            client.send('here')


def test_nonsense_from_on_request(pair):
    with in_thread(pytest.raises, TypeError,
                   lambda: pair[1].websocket(server=True, on_request=lambda channel: [])):
        with pytest.raises(qio.WebSocketError, match='500'):
            pair[0].websocket()


@pytest.mark.parametrize('blocking', [True, False])
def test_on_request_is_asked_by_the_first_transfer(pair, blocking):
    asked = []
    server = pair[1].websocket(server=True, mode='messages', handshake=False,
                               on_request=lambda channel: asked.append(channel.request.path))
    server.setblocking(blocking)

    def serve():
        while (message := server.recv()) is None:
            server.wait(qio.IN, timeout=0.01)
        server.setblocking(True)
        server.send(message)

    with in_thread(serve):
        client = pair[0].websocket(path='/first', mode='messages')
        client.send('hello')
        assert client.recv() == 'hello'
    assert asked == ['/first']
    client.close()
    server.close()


def test_headers_cannot_be_injected(pair):
    for keys in ({'path': '/a b\r\nX: y'}, {'host': 'a\r\nb'}, {'origin': 'x\ny'},
                 {'headers': {'X': 'a\r\nY: b'}}, {'protocols': ['a b']}):
        with pytest.raises(ValueError):
            pair[0].websocket(**keys)
    pair[0].write(b'untouched')
    assert pair[1].read_exactly(9) == b'untouched'


def test_a_server_that_is_none():
    ours, theirs = socket.socketpair()
    with theirs, qio.from_socket(ours) as channel:
        with in_thread(theirs.sendall, b'HTTP/1.1 200 OK\r\n\r\n'):
            with pytest.raises(qio.Error):
                channel.websocket()
        assert channel.closed


def test_a_client_that_is_none():
    ours, theirs = socket.socketpair()
    with theirs, qio.from_socket(ours) as channel:
        theirs.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        with pytest.raises(qio.Error):
            channel.websocket(server=True)
        assert theirs.recv(100).startswith(b'HTTP/1.1 4')


def test_a_frame_behind_the_request_is_the_first():
    ours, theirs = socket.socketpair()
    with theirs, qio.from_socket(ours) as channel:
        peer = WsStream(SocketStream(theirs), protocols=['binary'])
        peer.send_request()
        peer.send('early')
        with channel.websocket(server=True, mode='messages') as ws:
            assert ws.recv() == 'early'


# ---- by URI, and over TLS ----

@pytest.mark.parametrize('secure', [False, True])
def test_connect_and_listen(pki, tmp_path, secure):
    keys = {'tls': qio.TLSCreds.x509(dir=pki.dir, server=True, verify=False)} if secure else {}
    scheme = 'ws+tls+unix' if secure else 'ws+unix'
    seen = []

    def on_request(channel):
        seen.append((channel.request.path, channel.tls and channel.tls.version))

    with qio.listen(f'{scheme}:{tmp_path / "s"}', ws_mode='messages', on_request=on_request,
                    **keys) as listener:
        def serve():
            with listener.accept(timeout=PATIENCE) as server:
                for message in server:
                    server.send(message)

        if secure:
            keys = {'tls': qio.TLSCreds.x509(ca=pki.ca), 'tls_hostname': 'localhost'}
        with in_thread(serve):
            with qio.connect(f'{scheme}:{tmp_path / "s"}', ws_path='/p', ws_mode='messages',
                             **keys) as client:
                assert isinstance(client, qio.WebSocketChannel)
                client.send('echo')
                assert client.recv() == 'echo'
                assert (client.tls is not None) == secure
                client.close(1000)
    assert seen == [('/p', 'TLS1.3' if secure else None)]


def test_secure_websocket_against_other_libraries(pki):
    ours, theirs = socket.socketpair()
    with theirs:
        tls = TlsStream(SocketStream(theirs), server_context(pki), server=True)
        peer = WsStream(tls, server=True)
        with in_thread(lambda: (tls.handshake(), peer.handshake())):
            ws = qio.from_socket(ours).start_tls(
                qio.TLSCreds.x509(ca=pki.ca), hostname='localhost').websocket(mode='messages')
        with ws:
            ws.send('x' * 1000)
            assert peer.recv_message() == 'x' * 1000
            assert ws.tls.peer_name == 'CN=localhost'
            assert [ws.kind, ws.transport.kind, ws.transport.transport.kind] == \
                ['websocket', 'tls', 'socket']


def test_objects_are_let_go():
    live = qio._qio.debug_live(qio._qio.QIOH_KIND_CHANNEL)
    with both_of_a_pair() as (a, b):
        a.send('x' * 100_000)
        with pytest.raises(qio.TimeoutError):
            a.recv(timeout=0)
    del a, b
    gc.collect()
    assert qio._qio.debug_live(qio._qio.QIOH_KIND_CHANNEL) == live
