# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls on TLS and WebSocket that wait: signals end them, time-outs bound them, threads share them.

Each call is tried on a stack that has shaken hands and whose other side says nothing.
"""

import contextlib
import os
import random
import threading
import time

import pytest

import qio
from pki import PSK_KEY
from rigs import PATIENCE, in_thread, read_n
from test_signals import bell, ended_by_the_bell, raise_bell

BIG = bytes(20_000_000)
WAIT = 0.03


def client_creds():
    return qio.TLSCreds.psk(user='alice', key=PSK_KEY)


def server_creds():
    return qio.TLSCreds.psk(lookup=lambda user: PSK_KEY, server=True)


def shake(layers, a, b):
    """Both ends with the layers on, from the lowest up."""
    for layer in layers:
        made = []
        if layer == 'tls':
            serve = lambda: made.append(b.start_tls(server_creds(), server=True))   # noqa: E731
        else:
            serve = lambda: made.append(b.websocket(server=True, mode=layer))       # noqa: E731
        with in_thread(serve):
            a = a.start_tls(client_creds()) if layer == 'tls' else a.websocket(mode=layer)
        b = made[0]
    return a, b


@contextlib.contextmanager
def stack(*layers):
    a, b = shake(layers, *qio.pair())
    with a, b:
        yield a, b


STACKS = {'tls': ['tls'], 'ws': ['stream'], 'wss': ['tls', 'stream'],
          'tls in ws': ['stream', 'tls'], 'tls in tls': ['tls', 'tls']}
BYTE_CALLS = {
    'read': lambda a: a.read(), 'read_some': lambda a: a.read_some(),
    'readinto': lambda a: a.readinto(bytearray(10)),
    'readinto large': lambda a: a.readinto(bytearray(100_000)), 'readline': lambda a: a.readline(),
    'read_exactly': lambda a: a.read_exactly(5), 'peek': lambda a: a.peek(),
    'readv': lambda a: a.readv([bytearray(5)]), 'wait': lambda a: a.wait(qio.IN),
    'write': lambda a: a.write(BIG), 'write_all': lambda a: a.write_all(BIG),
    'writev': lambda a: a.writev([BIG, b'x']), 'unwrap': lambda a: a.unwrap(),
}
MESSAGE_CALLS = {'recv': lambda a: a.recv(), 'send': lambda a: a.send(BIG),
                 'iterate': lambda a: list(a), 'close': lambda a: a.close(1000, timeout=None)}


@pytest.mark.parametrize('name', STACKS)
def test_a_signal_ends_the_call(name):
    for call in BYTE_CALLS.values():
        with stack(*STACKS[name]) as (a, _):
            with ended_by_the_bell(), bell(raise_bell):
                call(a)
            with contextlib.suppress(qio.Error):    # what an ended write left, nobody takes
                a.close()


@pytest.mark.parametrize('name', MESSAGE_CALLS)
def test_a_signal_ends_a_message(name):
    with stack('tls', 'messages') as (a, _):
        with ended_by_the_bell(), bell(raise_bell):
            MESSAGE_CALLS[name](a)


def test_a_signal_ends_a_handshake(tmp_path):
    for start in (lambda a: a.start_tls(client_creds()),
                  lambda a: a.start_tls(server_creds(), server=True),
                  lambda a: a.websocket(), lambda a: a.websocket(server=True)):
        a, b = qio.pair()
        with a, b:
            with ended_by_the_bell(), bell(raise_bell):
                start(a)
            assert a.closed
    a, b = qio.pair()
    with b, a.start_tls(client_creds(), handshake=False) as layer:
        for call in (layer.handshake, lambda: layer.read(1), lambda: layer.write(BIG)):
            with ended_by_the_bell(), bell(raise_bell):
                call()
            assert not layer.closed
    path = tmp_path / 's'
    with qio.listen(f'unix:{path}'):
        for scheme in ('tls+unix', 'ws+unix', 'ws+tls+unix'):
            keys = {'tls': client_creds()} if 'tls' in scheme else {}
            with ended_by_the_bell(), bell(raise_bell):
                qio.connect(f'{scheme}:{path}', **keys)


@pytest.mark.parametrize('name', STACKS)
def test_a_handler_that_returns_ends_nothing(name):
    with stack(*STACKS[name]) as (a, b):
        rung = []
        with bell(lambda signum, frame: rung.append(signum), every=0.002):
            with in_thread(lambda: (b.write(BIG[:1_000_000]), b.send_eof())):
                assert len(a.read()) == 1_000_000
            while len(rung) < 3:
                with contextlib.suppress(qio.TimeoutError):
                    a.wait(qio.OUT, timeout=0.01)


@pytest.mark.parametrize('name', STACKS)
def test_time_outs(name):
    with stack(*STACKS[name]) as (a, b):
        for call in (lambda: a.read_some(timeout=WAIT), lambda: a.read_exactly(3, timeout=WAIT),
                     lambda: a.readline(timeout=WAIT), lambda: a.peek(timeout=WAIT)):
            start = time.monotonic()
            with pytest.raises(qio.TimeoutError):
                call()
            assert time.monotonic() - start >= WAIT
        with pytest.raises(qio.TimeoutError) as caught:
            a.write(BIG, timeout=WAIT)
        sent = caught.value.bytes_written
        assert 0 < sent < len(BIG)
        with in_thread(a.write_all, b'and on'):
            assert read_n(b, sent + 6) == BIG[:sent] + b'and on'


def test_what_a_write_left_in_the_layers_is_sent_before_it_returns():
    """All is accepted soon, but the last of it is out only when the reader has made room."""
    for layers in STACKS.values():
        with stack(*layers) as (a, b):
            with in_thread(a.write, BIG[:1_500_000]):
                assert len(read_n(b, 1_500_000)) == 1_500_000
    with stack('tls', 'messages') as (a, b):
        with in_thread(a.send, BIG[:1_500_000]):
            assert len(b.recv()) == 1_500_000


@pytest.mark.parametrize('name', STACKS)
def test_leaving_with_an_exception_is_not_hidden_by_what_close_could_not_send(name):
    with pytest.raises(qio.TimeoutError):
        with stack(*STACKS[name]) as (a, _):
            a.write(BIG, timeout=0.01)


@pytest.mark.parametrize('name', STACKS)
def test_both_directions_at_once(name):
    data = random.Random(name).randbytes(2_000_000)
    with stack(*STACKS[name]) as (a, b):
        with in_thread(a.write_all, data), in_thread(b.write_all, data[::-1]):
            results = []
            with in_thread(lambda: results.append(read_n(b, len(data)))):
                assert read_n(a, len(data)) == data[::-1]
            assert results == [data]


def test_close_ends_calls_of_other_threads():
    for layers in (*STACKS.values(), ['messages']):
        with stack(*layers) as (a, _):
            def read():
                with pytest.raises((qio.AbortedError, qio.ClosedError)):
                    a.recv() if layers == ['messages'] else a.read_exactly(1)

            def write():
                with pytest.raises((qio.AbortedError, qio.ClosedError)):
                    a.send(BIG) if layers == ['messages'] else a.write_all(BIG)

            with in_thread(read), in_thread(write):
                a.close()


def test_a_handshake_goes_on_while_python_does(tmp_path):
    """A busy thread of Python and a handshake that waits do not stop each other."""
    stop = threading.Event()
    turns = [0]

    def spin():
        while not stop.is_set():
            turns[0] += 1

    with in_thread(spin):
        try:
            with stack('tls', 'messages') as (a, b):
                a.send('x')
                assert b.recv() == 'x'
        finally:
            stop.set()
    assert turns[0] > 0


def test_in_a_forked_child_a_layer_is_the_parents():
    with stack('tls') as (a, b):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                a.write(b'x')
            except qio.ForkedError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        a.write(b'of the parent')
        assert b.read_exactly(13) == b'of the parent'
        assert b.wait(qio.IN, timeout=0) == 0


def test_cancel_ends_a_wait_and_loses_nothing():
    with stack('tls') as (a, b):
        def read():
            with pytest.raises(qio.AbortedError):
                a.read_exactly(4, timeout=PATIENCE)

        with in_thread(read) as thread:
            b.write(b'hal')
            while thread.is_alive():
                a.cancel()
        b.write(b'f')
        assert a.read_exactly(4) == b'half'
