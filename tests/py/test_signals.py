# SPDX-License-Identifier: LGPL-2.1-or-later
"""Signals: Ctrl-C ends every call that waits; a handler that raises nothing ends none.

The signals come again and again, so that no test depends on when the call begins to wait.
"""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest

import qio
from rigs import PATIENCE, in_thread


class Bell(Exception):
    pass


@contextlib.contextmanager
def bell(handler, every=0.01):
    """A thread rings for the main thread; not a timer, which pytest-timeout needs."""
    old = signal.signal(signal.SIGUSR1, handler)
    main = threading.main_thread().ident
    stop = threading.Event()

    def ring():
        while not stop.wait(every):
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=ring)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        thread.join()
        signal.signal(signal.SIGUSR1, old)


armed = False


def raise_bell(signum, frame):
    """Before the call, as after it, the bell means nothing: on a busy machine it may ring early."""
    if armed:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)       # one is enough
        raise Bell


@contextlib.contextmanager
def ended_by_the_bell():
    global armed
    with pytest.raises(Bell):
        try:
            armed = True
            yield
        finally:
            armed = False


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


BIG = bytes(10_000_000)

CALLS = {
    'read': lambda a, b: a.read(10),
    'read to the end': lambda a, b: a.read(),
    'read_some': lambda a, b: a.read_some(),
    'read_some large': lambda a, b: a.read_some(1_000_000),
    'read_exactly': lambda a, b: a.read_exactly(10),
    'readinto': lambda a, b: a.readinto(bytearray(10)),
    'readinto view': lambda a, b: a.readinto(memoryview(bytearray(10))),
    'readinto timeout': lambda a, b: a.readinto(bytearray(10), timeout=PATIENCE),
    'readv': lambda a, b: a.readv([bytearray(10)]),
    'readline': lambda a, b: a.readline(),
    'read_until': lambda a, b: a.read_until([b'x', b'y'], timeout=PATIENCE),
    'peek': lambda a, b: a.peek(),
    'recv_fds': lambda a, b: a.recv_fds(10),
    'next line': lambda a, b: next(a),
    'wait': lambda a, b: a.wait(qio.IN),
    'write': lambda a, b: a.write(BIG),
    'write timeout': lambda a, b: a.write(BIG, timeout=PATIENCE),
    'write_all': lambda a, b: a.write_all(BIG),
    'writev': lambda a, b: a.writev([BIG, BIG]),
    'writev_all': lambda a, b: a.writev_all([BIG, BIG]),
    'send_fds': lambda a, b: a.send_fds(BIG, [0]),
    'run': lambda a, b: qio.Loop().run(),
    'run_once': lambda a, b: qio.Loop().run_once(),
    'makefile': lambda a, b: a.makefile('rb').read(10),
}


@pytest.mark.parametrize('name', CALLS)
def test_a_handler_that_raises_ends_the_call(pair, name):
    with bell(raise_bell):
        with ended_by_the_bell():
            CALLS[name](*pair)


def test_a_handler_that_raises_ends_accept_and_wait_exit_and_connect(tmp_path):
    with qio.listen(f'unix:{tmp_path}/s') as listener:
        with bell(raise_bell), ended_by_the_bell():
            listener.accept()
        with bell(raise_bell), ended_by_the_bell():
            next(iter(listener))
    with qio.command(['cat']) as cat:
        with bell(raise_bell), ended_by_the_bell():
            cat.wait_exit()
        with bell(raise_bell), ended_by_the_bell():
            cat.read_some()
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(tmp_path / 'full'))
        full.listen(0)
        with qio.connect(f'unix:{tmp_path}/full'):
            with bell(raise_bell), ended_by_the_bell():
                qio.connect(f'unix:{tmp_path}/full')


def test_a_handler_that_raises_ends_opening_a_fifo(tmp_path):
    os.mkfifo(tmp_path / 'fifo')
    with bell(raise_bell), ended_by_the_bell():
        qio.open_file(tmp_path / 'fifo')
    with bell(raise_bell), ended_by_the_bell():
        qio.connect(f'file:{tmp_path}/fifo?mode=w')


REQUEST = (b'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
           b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')


def stuffed(channel):
    """How many bytes it took until there was room for none."""
    channel.setblocking(False)
    done = 0
    while (n := channel.write(BIG)) is not None:
        done += n
    channel.setblocking(True)
    return done


def test_a_handler_that_raises_ends_the_sending_of_a_handshakes_last_word(pair):
    """The handshake is done nevertheless: it is no failure, and the next call sends the rest."""
    a, b = pair
    junk = stuffed(a)
    b.write_all(REQUEST)
    with a.websocket(server=True, handshake=False) as ws:
        for _ in range(2):
            with bell(raise_bell), ended_by_the_bell():
                ws.handshake()
        with bell(lambda *args: None, every=0.002), in_thread(lambda: b.read_exactly(junk)):
            ws.handshake(timeout=PATIENCE)
        assert b.read_until(b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
        ws.write(b'abc')
        assert b.read_exactly(5) == b'\x82\x03abc'


def test_a_handler_that_raises_ends_closing_a_command():
    """The child is not impressed by the end of its input; the handler comes long before the 60 s."""
    command = qio.command(['sleep', '1000'], close_timeout=60)
    start = time.monotonic()
    with bell(raise_bell), ended_by_the_bell():
        command.close()
    assert time.monotonic() - start < PATIENCE
    command.kill()
    assert command.wait_exit(timeout=PATIENCE) == -signal.SIGKILL


def test_a_handler_that_returns_does_not_shorten_the_close_of_a_command():
    command = qio.command(['sleep', '1000'], close_timeout=0.1)
    start = time.monotonic()
    with bell(lambda *args: None, every=0.005):
        command.close()
    assert 0.05 <= time.monotonic() - start < PATIENCE
    assert command.returncode == -signal.SIGTERM


@pytest.mark.parametrize('name', ['read_exactly', 'readline', 'read to the end', 'read_until'])
def test_what_an_interrupted_read_had_is_still_there(pair, name):
    a, b = pair
    b.write(b'abc')
    with bell(raise_bell), ended_by_the_bell():
        CALLS[name](a, b)
    b.write(b'defgh\nij')
    assert a.read_exactly(11, timeout=PATIENCE) == b'abcdefgh\nij'


def test_a_handler_that_returns_ends_nothing(pair):
    a, b = pair
    rings = []
    with bell(lambda *args: rings.append(1), every=0.002):
        start = time.monotonic()
        with pytest.raises(qio.TimeoutError):
            a.read_some(timeout=0.05)
        assert time.monotonic() - start >= 0.05 and rings
        with pytest.raises(qio.TimeoutError):
            a.write_all(BIG, timeout=0.05)
        assert not qio.Loop().run_once(0.03)


def test_bytes_survive_a_storm_of_signals(pair):
    a, b = pair
    data = os.urandom(2_000_000)
    rings = []
    with bell(lambda *args: rings.append(1), every=0.0005):
        with in_thread(lambda: b.write_all(data, timeout=PATIENCE)):
            assert a.read_exactly(len(data), timeout=PATIENCE) == data
        with in_thread(lambda: b.read_exactly(len(data), timeout=PATIENCE)):
            a.write(data, timeout=PATIENCE)
        with qio.command(['cat']) as cat:
            with in_thread(lambda: (cat.write_all(data), cat.send_eof())):
                assert cat.read() == data
            assert cat.wait_exit(timeout=PATIENCE) == 0
    assert rings


def test_a_handler_may_use_the_channel(pair):
    a, b = pair

    def handler(signum, frame):
        b.write(b'from the handler')
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    with bell(handler):
        assert a.read_some() == b'from the handler'


def test_ctrl_c(pair):
    """SIGINT as the terminal sends it; Python's own handler raises."""
    a, _ = pair
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        def press(signum, frame):
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.raise_signal(signal.SIGINT)

        with bell(press), pytest.raises(KeyboardInterrupt):
            a.read_some()
        loop = qio.Loop()
        loop.add_timer(0, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    finally:
        signal.signal(signal.SIGINT, old)
