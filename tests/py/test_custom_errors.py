# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exceptions of a channel that is written in Python, on their way through the library; and its
methods that come back to it."""

import gc
import socket
import sys
import traceback

import pytest

import qio
from rigs import PATIENCE, in_thread
from written import Boom, InMemory, MemoryStream, Raising, Told, put

LAYERS = [[], ['tls'], ['ws'], ['tls', 'ws'], ['ws', 'tls'], ['tls', 'tls']]


@pytest.fixture
def raising():
    """A channel over a socket whose methods can be made to raise, and the other side."""
    ours, theirs = socket.socketpair()
    channel, peer = Raising(ours), qio.from_socket(theirs)
    yield channel, peer
    peer.close()
    channel.boom = None
    channel.close()


# ---- exceptions ----

@pytest.mark.parametrize('layers', LAYERS)
@pytest.mark.parametrize('verb', ['read', 'read_until', 'write', 'peek', 'read_exactly'])
def test_the_same_exception_leaves_through_any_layers(raising, layers, verb):
    bottom, peer = raising
    tops = []
    with in_thread(lambda: tops.append(put(peer, layers, True))):
        top = put(bottom, layers, False)
    boom = bottom.boom = Boom('out of paper')
    call = {'read': lambda: top.read(1), 'read_until': lambda: top.read_until(b'\n'),
            'write': lambda: top.write(b'x'), 'peek': lambda: top.peek(1),
            'read_exactly': lambda: top.read_exactly(3)}[verb]
    with pytest.raises(Boom) as caught:
        call()
    assert caught.value is boom
    names = [frame.name for frame in traceback.extract_tb(boom.__traceback__)]
    assert names[-1] in ('readinto', 'write', 'recv_fds') and '<lambda>' in names
    bottom.boom = None
    top.close()
    tops[0].close()


def test_an_exception_of_a_handshake_leaves():
    boom = Boom('no hands')
    with pytest.raises(Boom) as caught:
        Told(boom, lambda b: len(b)).start_tls(qio.TLSCreds.anon())
    assert caught.value is boom
    with pytest.raises(Boom) as caught:
        Told(None, boom).websocket()
    assert caught.value is boom


def test_an_exception_met_while_waiting_leaves_from_the_next_transfer():
    boom = Boom('later')
    channel = Told(boom)
    assert channel.wait(qio.IN, timeout=0) == qio.IN
    with pytest.raises(Boom) as caught:
        channel.read(1)
    assert caught.value is boom


def test_an_exception_met_in_a_loop_leaves_from_the_next_transfer():
    boom = Boom('later')
    channel = Told(None)
    failures = []

    def ready(ch, condition):
        try:
            ch.read(1)
        except Boom as error:
            failures.append(error)
        return False

    with qio.Loop() as loop:
        loop.watch(channel, qio.IN, ready)
        loop.run_once(timeout=0)
        assert not failures
        channel.reads = [boom, None]
        channel.notify(qio.IN)
        loop.run_once(timeout=PATIENCE)
    assert failures == [boom]


def test_an_exception_leaves_a_relay():
    boom = Boom('in between')
    (a, peer), null = qio.pair(), qio.null()
    with peer, null:
        with pytest.raises(Boom) as caught:
            qio.relay(a, Told(boom))
        assert caught.value is boom
        a.close()


def test_an_exception_of_a_relay_is_its_result_in_another_thread():
    boom = Boom('elsewhere')
    channel = Told(boom)
    a, peer = qio.pair()
    with a, peer, qio.Loop() as loop:
        with in_thread(lambda: (started.append(loop.relay(channel, a, on_done=lambda r: loop.quit())),
                                loop.run())) if (started := []) is not None else None:
            pass
        with pytest.raises(Boom) as caught:
            started[0].result()
    assert caught.value is boom


@pytest.mark.parametrize('boom', [KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_any_exception_leaves(boom):
    with pytest.raises(type(boom)) as caught:
        Told(boom).read(1)
    assert caught.value is boom


def test_an_exception_of_close_leaves_and_the_channel_is_closed():
    class Channel(Told):
        def close(self):
            raise Boom('stuck')

    channel = Channel()
    with pytest.raises(Boom):
        channel.close()
    assert channel.closed
    channel.close()


def test_a_second_exception_is_reported(monkeypatch):
    """TLS hears of the first and says a last word, which fails as well."""
    reported = []
    monkeypatch.setattr(sys, 'unraisablehook', reported.append)
    first, second = Boom('first'), Boom('second')
    channel = Told(first, second)
    assert channel.wait(qio.IN, timeout=0)
    with pytest.raises(Boom) as caught:
        channel.write(b'x')
    assert caught.value is second and second.__context__ is first
    assert not reported
    channel = Told(Boom('nobody asks'))
    channel.wait(qio.IN, timeout=0)
    del channel
    gc.collect()
    assert [str(it.exc_value) for it in reported] == ['nobody asks']


# ---- coming back in ----

def test_a_method_may_close_its_channel():
    class Channel(qio.CustomChannel):
        closes = 0

        def readinto(self, b):
            self.close()
            assert self.closes == 0
            b[:2] = b'ok'
            return 2

        def close(self):
            self.closes += 1

    channel = Channel()
    assert channel.read(10) == b'ok'
    assert channel.closes == 1
    with pytest.raises(qio.ClosedError):
        channel.read(10)


def test_a_method_cannot_wait_for_its_own_channel():
    def read(b):
        with pytest.raises(qio.BusyError):
            channel.wait(qio.IN, timeout=1)
        with pytest.raises(qio.BusyError):
            channel.read(1)
        return 0

    channel = Told(read)
    assert channel.read(1) == b''


@pytest.mark.parametrize('layer', ['tls', 'ws'])
def test_a_method_cannot_use_the_layer_above(layer, raising):
    bottom, peer = raising
    tops, busy = [], []
    with in_thread(lambda: tops.append(put(peer, [layer], True))):
        top = put(bottom, [layer], False)

    class Look(Exception):
        def __bool__(self):
            try:
                top.read(1)
            except qio.BusyError as error:
                busy.append(error)
            return False

    bottom.boom = Look()
    tops[0].write(b'x')
    assert top.read(1) == b'x'
    assert busy
    bottom.boom = None
    top.close()
    tops[0].close()


def test_a_wait_inside_the_loop_that_notifies_is_busy():
    stream = None

    def inside():
        try:
            channel.read_exactly(1, timeout=5)
        except qio.BusyError as error:
            seen.append(error)

    seen = []
    with qio.Loop() as loop:
        class InLoop(InMemory):
            def __init__(self, stream, *, loop):
                super().__init__(stream)

        stream = MemoryStream(lambda stream: InLoop(stream, loop=loop))
        channel = stream.channel
        loop.defer(inside)
        loop.run_once(timeout=PATIENCE)
        assert len(seen) == 1
        stream.sendall(b'x')
        assert channel.read_exactly(1) == b'x'
        channel.close()
