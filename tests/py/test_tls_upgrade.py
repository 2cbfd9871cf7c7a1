# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS put on a channel that was in use, taken off again, and how it ends and waits."""

import contextlib
import gc
import ssl

import pytest

import qio
from rigs import PATIENCE, in_thread
from streams import SocketStream, TlsStream, client_context, server_context
from tlsends import both, echo, opposite, pair, x509_client, x509_server  # noqa: F401


# ---- upgrades in place ----

def test_client_hello_that_was_read_ahead(pki, opposite):
    """The line and the ClientHello come in one segment: the first TLS input is what was left."""
    channel, sock = opposite
    stream = SocketStream(sock)
    other = TlsStream(stream, client_context(pki), hostname='localhost')
    with pytest.raises(ssl.SSLWantReadError):
        other.tls.do_handshake()
    sock.sendall(b'STARTTLS\r\n' + other.outgoing.read())
    assert channel.readline() == b'STARTTLS\r\n'
    assert channel.pending > 100
    with in_thread(other.handshake):
        layer = channel.start_tls(x509_server(pki), server=True)
    with layer:
        other.sendall(b'whole')
        assert layer.read_exactly(5) == b'whole'


def test_plaintext_is_not_slipped_in(pki, opposite):
    channel, sock = opposite
    sock.sendall(b'STARTTLS\r\nINJECTED\r\n')
    assert channel.readline() == b'STARTTLS\r\n'
    with pytest.raises(qio.TLSError):
        channel.start_tls(x509_server(pki), server=True)
    assert channel.closed


def test_the_channel_below_belongs_to_the_layer(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        for call in (lambda: pair[0].read_some(1), lambda: pair[0].write(b'x'),
                     lambda: pair[0].peek(), lambda: pair[0].readline(),
                     lambda: pair[0].start_tls(x509_client(pki)), lambda: pair[0].detach()):
            with pytest.raises(qio.BusyError):
                call()
        assert a.transport is pair[0]
        assert pair[0].transport is None
        assert a.tls.version
        echo(a, b)
        pair[0].close()
        assert a.closed
        b.close()
        assert pair[1].closed


def test_failed_start_leaves_the_channel_alone(pki, pair):
    with pytest.raises(qio.InvalidError):
        pair[0].start_tls(x509_server(pki))
    with pytest.raises(qio.InvalidError):
        pair[0].start_tls(x509_client(pki), no_such_key='x')
    with pytest.raises(TypeError):
        pair[0].start_tls(None)
    pair[0].write(b'still plain')
    assert pair[1].read_exactly(11) == b'still plain'


def test_unwrap_gives_the_channel_below_back(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        echo(a, b)
        results = []
        with in_thread(lambda: results.append(b.unwrap(timeout=PATIENCE))):
            below = a.unwrap(timeout=PATIENCE)
        assert below is pair[0]
        assert results == [pair[1]]
        assert a.closed
        assert not below.closed
        echo(*pair, b'plain again')


def test_tls_in_tls(pki, pair):
    with both(pair, x509_client(pki), x509_server(pki)) as outer:
        with both(outer, x509_client(pki), x509_server(pki)) as (a, b):
            echo(a, b, bytes(100_000))
            assert a.transport is outer[0]
            assert a.transport.transport is pair[0]


def test_dropping_the_channel_below_warns_of_nothing(pki):
    a, b = qio.pair()
    layer = a.start_tls(x509_client(pki), hostname='localhost', handshake=False)
    del a
    gc.collect()
    assert layer.transport.kind == 'socket'
    layer.close()
    b.close()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_dropping_the_layer_warns(pki):
    a, b = qio.pair()
    layer = a.start_tls(x509_client(pki), hostname='localhost', handshake=False)
    del a
    with pytest.warns(ResourceWarning, match='unclosed <TLSChannel'):
        del layer
        gc.collect()
    assert b.read() == b''
    b.close()


# ---- the end ----

def test_an_end_without_a_word_is_a_truncation(pki, opposite):
    channel, sock = opposite
    other = TlsStream(SocketStream(sock), server_context(pki), server=True)
    with in_thread(other.handshake):
        layer = channel.start_tls(x509_client(pki), hostname='localhost')
    other.sendall(b'all of it?')
    sock.close()
    with layer:
        assert layer.read_exactly(10) == b'all of it?'
        for _ in range(2):
            with pytest.raises(qio.TruncatedError) as caught:
                layer.read()
            assert isinstance(caught.value, qio.TLSError)
        for _ in range(2):                  # the writer is told what the reader saw
            with pytest.raises(qio.TLSTruncatedError, match='without its close_notify'):
                layer.write(b'too late')


def test_relaxed(pki, opposite):
    channel, sock = opposite
    other = TlsStream(SocketStream(sock), server_context(pki), server=True)
    with in_thread(other.handshake):
        layer = channel.start_tls(x509_client(pki), hostname='localhost', tls_relaxed=True)
    other.sendall(b'all')
    sock.close()
    with layer:
        assert layer.read() == b'all'
        for _ in range(2):
            with pytest.raises(BrokenPipeError, match='the peer has ended the connection'):
                layer.write(b'too late')


# ---- waiting ----

def test_timeout_of_a_handshake(pki, opposite):
    with pytest.raises(qio.TimeoutError):
        opposite[0].start_tls(x509_client(pki), hostname='localhost', timeout=0.01)
    assert opposite[0].closed


def test_deadline_of_the_handshake_in_all(pki, opposite):
    layer = opposite[0].start_tls(x509_server(pki), server=True, handshake=False,
                                  handshake_timeout=0.02)
    with layer, pytest.raises(qio.TimeoutError):
        layer.read(1)


def test_deadline_in_all_holds_for_a_call_without_one(pki, opposite):
    layer = opposite[0].start_tls(x509_server(pki), server=True, handshake=False,
                                  handshake_timeout=0.02)
    with layer, pytest.raises(qio.TimeoutError):
        layer.handshake()


def test_a_try_leaves_the_handshake_to_go_on(pki, pair):
    a = pair[0].start_tls(x509_client(pki), hostname='localhost', handshake=False)
    b = pair[1].start_tls(x509_server(pki), server=True, handshake=False)
    with a, b:
        turns = 0
        left = {a, b}
        while left:
            turns += 1
            assert turns < 100
            for end in list(left):
                with contextlib.suppress(qio.TimeoutError):
                    end.handshake(timeout=0)
                    left.discard(end)
        echo(a, b)


def test_nonblocking_channels_shake_hands_as_they_are_used(pki, pair):
    for end in pair:
        end.setblocking(False)
    a = pair[0].start_tls(x509_client(pki), hostname='localhost')
    b = pair[1].start_tls(x509_server(pki), server=True)
    with a, b:
        assert a.getblocking() is False
        got = sent = None
        turns = 0
        assert b.read_some() is None
        while not got:
            turns += 1
            assert turns < 100
            sent = sent or a.write(b'x')
            got = b.read_some()
        assert got[:1] == b'x'


def test_a_watch_sees_what_is_decoded_inside(pki, pair):
    """One record, read a byte at a time: every byte is told of, with nothing more to come."""
    with both(pair, x509_client(pki), x509_server(pki)) as (a, b):
        loop = qio.Loop()
        seen = []

        def on_readable(channel, condition):
            seen.append(channel.read_some(1))

        loop.watch(b, qio.IN, on_readable)
        a.write(bytes(range(100)))
        while len(seen) < 100:
            assert loop.run_once(PATIENCE)
        assert b''.join(seen) == bytes(range(100))
        assert loop.run_once(0) == 0
        loop.close()
