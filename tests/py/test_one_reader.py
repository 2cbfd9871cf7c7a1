# SPDX-License-Identifier: LGPL-2.1-or-later
"""One reader and one writer at a time: a second one is told so at once, and takes no byte of the
first, however long that waits and however many parts its record comes in."""

import os
import signal
import threading
import time

import pytest

import qio

PATIENCE = 10

READS = {
    'read': lambda ch: ch.read(1),
    'read to the end': lambda ch: ch.read(),
    'read_some': lambda ch: ch.read_some(),
    'read_some large': lambda ch: ch.read_some(1_000_000),
    'read_exactly': lambda ch: ch.read_exactly(3),
    'read_until': lambda ch: ch.read_until(b'\n'),
    'readline': lambda ch: ch.readline(),
    'readinto bytearray': lambda ch: ch.readinto(bytearray(1)),
    'readinto memoryview': lambda ch: ch.readinto(memoryview(bytearray(1))),
    'readinto timeout': lambda ch: ch.readinto(bytearray(1), timeout=PATIENCE),
    'readv': lambda ch: ch.readv([bytearray(1)]),
    'peek': lambda ch: ch.peek(1),
    'recv_fds': lambda ch: ch.recv_fds(1),
    'iteration': lambda ch: next(ch),
}

WRITES = {
    'write bytes': lambda ch: ch.write(b'x'),
    'write view': lambda ch: ch.write(memoryview(b'x')),
    'write timeout': lambda ch: ch.write(b'x', timeout=PATIENCE),
    'write_all': lambda ch: ch.write_all(b'x'),
    'writev': lambda ch: ch.writev([b'x', b'y']),
    'writev_all': lambda ch: ch.writev_all([b'x', b'y']),
    'send_fds': lambda ch: ch.send_fds(b'x', []),
    'flush': lambda ch: ch.flush(),
}


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


def wait_until_busy(call):
    """Until somebody else is inside.  The call moves nothing and keeps the GIL, so it is not in
    the way of who is about to go in."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            call()
        except qio.BusyError:
            return
        os.sched_yield()
    raise AssertionError('the first call is not inside')


def start_reader(channel, call):
    thread = threading.Thread(target=call)
    thread.start()
    wait_until_busy(lambda: channel.read(0))
    return thread


@pytest.mark.parametrize('second', READS)
@pytest.mark.parametrize('first', ['read_exactly', 'readinto bytearray', 'readline'])
def test_a_second_reader_is_busy_while_the_first_waits(pair, first, second):
    a, b = pair
    got = []
    thread = start_reader(b, lambda: got.append(READS[first](b)))
    for _ in range(2):
        with pytest.raises(qio.BusyError) as caught:
            READS[second](b)
        assert 'reading' in str(caught.value)
    assert b.write(b'w') == 1               # the other direction is free
    a.write(b'xx\n' if first != 'readinto bytearray' else b'x')
    thread.join(PATIENCE)
    assert got == [{'read_exactly': b'xx\n', 'readline': b'xx\n', 'readinto bytearray': 1}[first]]
    a.write(b'abc\n')
    a.shutdown('write')
    READS[second](b)                        # the direction is free again


@pytest.mark.parametrize('second', WRITES)
def test_a_second_writer_is_busy_while_the_first_waits(pair, second):
    a, b = pair
    data = b'first' * 1_000_000
    thread = threading.Thread(target=lambda: b.write_all(data))
    thread.start()
    wait_until_busy(lambda: b.write(b''))
    with pytest.raises(qio.BusyError) as caught:
        WRITES[second](b)
    assert 'writing' in str(caught.value)
    assert a.read_exactly(len(data), timeout=PATIENCE) == data
    thread.join(PATIENCE)
    WRITES[second](b)                       # free again
    assert a.wait('in', timeout=0) == (0 if second == 'flush' else qio.IN)


def test_records_of_two_readers_never_mix(pair):
    """Each takes whole records or none, whoever comes first."""
    a, b = pair
    records = []

    def take():
        while True:
            try:
                record = b.read_exactly(3, eof_ok=True)
            except qio.BusyError:
                os.sched_yield()
                continue
            if not record:
                return
            records.append(record)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    expected = [b'%03d' % i for i in range(300)]
    for record in expected:
        a.write(record[:1])
        a.write(record[1:])
    a.shutdown('write')
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(records) == expected


def test_a_failed_call_leaves_the_direction_free(pair):
    a, b = pair
    for _ in range(2):
        with pytest.raises(qio.TimeoutError):
            b.read_exactly(1, timeout=0)
        with pytest.raises(qio.TimeoutError):
            b.readinto(bytearray(1), timeout=0)
        with pytest.raises(TypeError):
            b.read('x')
        with pytest.raises(TypeError):
            b.readinto(b'', timeout=0)
        with pytest.raises(TypeError):
            b.write(None)
        with pytest.raises(TypeError):
            b.write('x', timeout=0)
    assert b.write(b'x') == 1 and a.read(1) == b'x'


def test_a_signal_handler_is_a_second_reader_too(pair):
    """It runs in the middle of the first one's wait."""
    a, b = pair
    seen = []

    def handler(signum, frame):
        try:
            b.read(1)
        except qio.BusyError as error:
            seen.append(error)
        a.write(b'xyz')

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        main = threading.current_thread()

        def ring():
            wait_until_busy(lambda: b.read(0))
            signal.pthread_kill(main.ident, signal.SIGUSR1)

        thread = threading.Thread(target=ring)
        thread.start()
        assert b.read_exactly(3, timeout=PATIENCE) == b'xyz'
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert len(seen) == 1
