# SPDX-License-Identifier: LGPL-2.1-or-later
"""The promises that hold for every channel, whatever it is made of: see rigs.py for the kinds,
stacks.py for layers on them.

Most tests run in blocking and in non-blocking mode: what changes is who waits, not what comes.
"""

import os
import threading

import pytest

import qio
import rigs
from rigs import PATIENCE, RIGS, in_thread, read_n
from stacks import STACKS, stack_rig

pytestmark = pytest.mark.conformance
ALL = [*RIGS, *STACKS]
READING = [*rigs.READING, *STACKS]
WRITING = [*rigs.WRITING, *STACKS]
WAITING = [*rigs.WAITING, *STACKS]
ENDING = [*rigs.ENDING, *STACKS]
# A WebSocket ends as a whole.
HALF_ENDING = [name for name in ENDING if not name.startswith('ws-')]
BULK = bytes(i * 31 % 251 for i in range(300_007))


@pytest.fixture(params=['blocking', 'nonblocking'])
def blocking(request):
    return request.param == 'blocking'


@pytest.fixture
def make(request, tmp_path, blocking):
    """make(name): a rig in the mode of the test, closed when the test ends."""
    made = []

    def make_rig(name):
        if name in STACKS:
            rig = stack_rig(name, tmp_path, request.getfixturevalue('pki'))
        else:
            rig = RIGS[name](tmp_path)
        made.append(rig)
        rig.channel.setblocking(blocking)
        return rig

    yield make_rig
    for rig in made:
        rig.close()


def check_bulk(data):
    """Equal to BULK, without printing both when it is not."""
    assert len(data) == len(BULK)
    assert next((i for i in range(len(BULK)) if data[i] != BULK[i]), None) is None


def patient(channel, method, *args):
    """The method's result, waiting for it where the channel does not."""
    while (result := method(*args)) is None:
        assert channel.wait(qio.MORE, timeout=PATIENCE), 'nothing comes'
    return result


# ---- reading ----

@pytest.mark.parametrize('name', READING)
@pytest.mark.parametrize('size', [1, 7, 4096])
def test_reads_what_was_sent(make, name, size):
    rig = make(name)
    rig.feed(BULK[:size])
    assert read_n(rig.channel, size) == BULK[:size]


@pytest.mark.parametrize('name', READING)
def test_reads_bulk_while_it_is_sent(make, name):
    rig = make(name)
    if rig.loopback or not rig.waits:
        with in_thread(rig.feed, BULK) as thread:
            if not rig.waits:
                thread.join()
            check_bulk(read_n(rig.channel, len(BULK)))
        return
    with in_thread(lambda: (rig.feed(BULK), rig.end())):
        check_bulk(read_n(rig.channel, len(BULK) + 1))


@pytest.mark.parametrize('name', READING)
def test_end_is_the_end_and_stays(make, name):
    rig = make(name)
    rig.feed(b'last')
    rig.end()
    assert read_n(rig.channel, 100) == b'last'
    for _ in range(3):
        assert patient(rig.channel, rig.channel.read_some) == b''
    assert patient(rig.channel, rig.channel.readline) == b''
    assert patient(rig.channel, rig.channel.readinto, bytearray(4)) == 0
    assert patient(rig.channel, rig.channel.peek) == b''


@pytest.mark.parametrize('name', READING)
def test_reading_nothing_is_no_end(make, name):
    rig = make(name)
    rig.feed(b'ab')
    assert patient(rig.channel, rig.channel.peek, 2)
    assert rig.channel.read(0) == b''
    assert rig.channel.readinto(bytearray()) == 0
    assert read_n(rig.channel, 2) == b'ab'


@pytest.mark.parametrize('name', READING)
def test_read_exactly(make, name):
    rig = make(name)
    rig.feed(b'0123456789')
    rig.end()
    assert rig.channel.read_exactly(4) == b'0123'
    assert rig.channel.read_exactly(0) == b''
    with pytest.raises(qio.IncompleteReadError) as caught:
        rig.channel.read_exactly(7)
    assert caught.value.partial == b'456789'
    assert caught.value.expected == 7
    assert rig.channel.read_exactly(3, eof_ok=True) == b''


LINES = b'one\n\nthree\r\n' + b'x' * 5000 + b'\nno newline'


@pytest.mark.parametrize('name', READING)
@pytest.mark.parametrize('size', [1, 7, len(LINES)])
def test_lines_however_they_come(make, name, size):
    rig = make(name)

    def feed():
        for i in range(0, len(LINES), size):
            rig.feed(LINES[i:i + size])
        rig.end()

    lines = []
    with in_thread(feed) as thread:
        if not rig.waits:
            thread.join()
        while line := patient(rig.channel, rig.channel.readline):
            lines.append(line)
    assert lines == LINES.splitlines(keepends=True)


@pytest.mark.parametrize('name', READING)
def test_read_until_takes_the_first_of_many(make, name):
    rig = make(name)
    rig.feed(b'a:b;c::d')
    rig.end()

    def until():
        return patient(rig.channel, rig.channel.read_until, (b';', b'::'))

    assert [until(), until(), until(), until()] == [b'a:b;', b'c::', b'd', b'']


@pytest.mark.parametrize('name', READING)
def test_limit_loses_nothing(make, name):
    rig = make(name)
    rig.feed(b'a long line\n')
    patient(rig.channel, rig.channel.peek, 4)
    with pytest.raises(qio.LimitError):
        while rig.channel.read_until(b'\n', limit=4) is None:
            assert rig.channel.wait(qio.MORE, timeout=PATIENCE)
    assert patient(rig.channel, rig.channel.readline) == b'a long line\n'


@pytest.mark.parametrize('name', READING)
def test_peek_leaves_the_bytes(make, name):
    rig = make(name)
    rig.feed(b'abc')
    first = patient(rig.channel, rig.channel.peek, 1)
    assert first == b'a'
    assert rig.channel.pending >= 1
    assert rig.channel.wait(qio.IN, timeout=0) & qio.IN
    assert read_n(rig.channel, 3) == b'abc'


@pytest.mark.parametrize('name', READING)
def test_read_into_parts(make, name):
    rig = make(name)
    rig.feed(b'abcdefg')
    parts = [bytearray(2), bytearray(0), bytearray(10)]
    n = patient(rig.channel, rig.channel.readv, parts)
    assert 1 <= n <= 7
    assert b''.join(parts)[:n] == b'abcdefg'[:n]
    assert read_n(rig.channel, 7 - n) == b'abcdefg'[n:]


# ---- waiting ----

@pytest.mark.parametrize('name', WAITING)
def test_timeout_loses_nothing(make, name):
    rig = make(name)
    with pytest.raises(qio.TimeoutError):
        rig.channel.read_some(10, timeout=0.001)
    rig.feed(b'ab')
    with pytest.raises(qio.TimeoutError) as caught:
        rig.channel.read_exactly(3, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    rig.feed(b'c')
    assert rig.channel.read_exactly(3) == b'abc'


@pytest.mark.parametrize('name', WAITING)
def test_timeout_of_the_channel(make, name):
    rig = make(name)
    rig.channel.setblocking(True)
    rig.channel.settimeout(0.001)
    assert rig.channel.gettimeout() == 0.001
    with pytest.raises(qio.TimeoutError):
        rig.channel.read_some()
    rig.channel.settimeout(None)
    rig.feed(b'x')
    assert rig.channel.read_some() == b'x'


@pytest.mark.parametrize('name', WAITING)
def test_nonblocking_read_of_nothing_is_none(make, name, blocking):
    rig = make(name)
    rig.channel.setblocking(False)
    assert rig.channel.getblocking() is False
    assert rig.channel.read_some() is None
    assert rig.channel.readinto(bytearray(1)) is None
    assert rig.channel.readline() is None
    assert rig.channel.peek() is None


@pytest.mark.parametrize('name', WAITING)
def test_wait_says_what_a_read_would_do(make, name):
    rig = make(name)
    assert not rig.channel.wait(qio.IN, timeout=0)
    assert not rig.channel.wait(qio.IN, timeout=0.001)
    rig.feed(b'x')
    assert rig.channel.wait(qio.IN, timeout=PATIENCE) & qio.IN
    assert rig.channel.wait('in', timeout=None) & qio.IN
    assert read_n(rig.channel, 1) == b'x'
    assert not rig.channel.wait(qio.IN, timeout=0)
    rig.end()
    assert rig.channel.wait(qio.IN, timeout=PATIENCE)
    assert patient(rig.channel, rig.channel.read_some) == b''


@pytest.mark.parametrize('name', WRITING)
def test_writable_at_once(make, name):
    assert make(name).channel.wait(qio.OUT, timeout=PATIENCE) & qio.OUT


@pytest.mark.parametrize('name', WAITING)
def test_watch_fires_for_bytes_and_for_the_end(make, name):
    rig = make(name)
    loop = qio.Loop()
    seen = []

    def on_readable(channel, condition):
        assert channel is rig.channel
        seen.append(channel.read_some())
        return seen[-1] != b''      # False: the watch is over

    loop.watch(rig.channel, qio.IN, on_readable)
    assert loop.run_once(0) == 0
    rig.feed(b'x')
    while not seen:
        assert loop.run_once(PATIENCE)
    assert seen == [b'x']
    assert loop.run_once(0) == 0
    rig.end()
    while len(seen) < 2:
        assert loop.run_once(PATIENCE)
    assert seen == [b'x', b'']
    loop.close()


@pytest.mark.parametrize('name', READING)
def test_watch_sees_what_is_read_ahead(make, name):
    rig = make(name)
    loop = qio.Loop()
    seen = []
    rig.feed(b'ab')
    patient(rig.channel, rig.channel.peek, 2)
    loop.watch(rig.channel, qio.IN, lambda channel, condition: seen.append(condition) or False)
    assert loop.run_once(PATIENCE)
    assert seen[0] & qio.IN
    assert read_n(rig.channel, 2) == b'ab'
    loop.close()


# ---- writing ----

@pytest.mark.parametrize('name', WRITING)
@pytest.mark.parametrize('size', [1, 7, 4096])
def test_writes_arrive(make, name, size):
    rig = make(name)
    rig.channel.write_all(BULK[:size])
    assert rig.drain(size) == BULK[:size]


@pytest.mark.parametrize('name', WRITING)
def test_write_all_finishes_in_either_mode(make, name):
    rig = make(name)
    with in_thread(rig.channel.write_all, BULK) as thread:
        if not rig.waits:
            thread.join()
        check_bulk(rig.drain(len(BULK)))


@pytest.mark.parametrize('name', WRITING)
def test_writes_parts_in_order(make, name):
    rig = make(name)
    rig.channel.writev_all([b'ab', b'', bytearray(b'cd'), memoryview(b'xefx')[1:3]])
    assert rig.drain(6) == b'abcdef'


@pytest.mark.parametrize('name', WRITING)
def test_writing_nothing(make, name):
    rig = make(name)
    assert rig.channel.write(b'') == 0
    rig.channel.write_all(b'')
    rig.channel.write_all(b'x')
    assert rig.drain(1) == b'x'


@pytest.mark.parametrize('name', ENDING + ['pipe-write'])
def test_full_channel(make, name, blocking):
    """Non-blocking: counts, then None.  Blocking: TimeoutError that tells what was taken."""
    rig = make(name)
    block = b'x' * 65536
    sent = 0
    if blocking:
        with pytest.raises(qio.TimeoutError) as caught:
            while True:
                sent += rig.channel.write(block, timeout=0.02)
        sent += caught.value.bytes_written
    else:
        while (n := rig.channel.write(block)) is not None:
            sent += n
        assert not rig.channel.wait(qio.OUT, timeout=0)
    assert sent > 0
    with in_thread(rig.channel.write_all, b'end'):
        while sent:
            sent -= len(rig.drain(min(sent, 65536)))
        assert rig.drain(3) == b'end'


@pytest.mark.parametrize('name', HALF_ENDING)
def test_send_eof_ends_writing_alone(make, name):
    rig = make(name)
    rig.channel.write_all(b'bye')
    rig.channel.send_eof()
    assert rig.drain(3) == b'bye'
    assert rig.drain(1) == b''
    with pytest.raises(BrokenPipeError):
        rig.channel.write_all(b'more')
    rig.feed(b'answer')
    assert read_n(rig.channel, 6) == b'answer'


@pytest.mark.parametrize('name', ENDING + ['pipe-write'])
def test_writing_to_nobody_is_an_error_not_a_signal(make, name):
    rig = make(name)
    (rig.file if name == 'pipe-write' else rig.peer).close()
    expected = BrokenPipeError, ConnectionResetError
    if name in STACKS:      # the end without a word may be seen first
        expected += qio.TLSTruncatedError, qio.WebSocketError
    with pytest.raises(expected):
        for _ in range(3):      # TCP learns it with the answer to the first
            rig.channel.write_all(b'x')
            rig.channel.wait(qio.IN, timeout=0.2)


# ---- the end ----

@pytest.mark.parametrize('name', ALL)
def test_closed_is_closed(make, name):
    channel = make(name).channel
    channel.name = 'it'
    kind = channel.kind
    channel.close()
    channel.close()
    assert channel.closed
    for call in (lambda: channel.read_some(), lambda: channel.readinto(bytearray(1)),
                 lambda: channel.write(b'x'), lambda: channel.write_all(b'x'),
                 lambda: channel.peek(), lambda: channel.readline(),
                 lambda: channel.wait(qio.IN, timeout=0)):
        with pytest.raises(qio.ClosedError):
            call()
    assert (channel.name, channel.kind) == ('it', kind)


@pytest.mark.parametrize('name', ALL)
def test_with_closes(make, name):
    with make(name).channel as channel:
        assert not channel.closed
    assert channel.closed


@pytest.mark.parametrize('name', WAITING)
def test_close_ends_a_read_of_another_thread(make, name):
    rig = make(name)
    started = threading.Event()

    def read():
        started.set()
        with pytest.raises((qio.AbortedError, qio.ClosedError)):
            rig.channel.read_exactly(1)

    with in_thread(read):
        assert started.wait(PATIENCE)
        rig.channel.close()


@pytest.mark.parametrize('name', WAITING)
def test_close_tells_a_watch_once(make, name):
    rig = make(name)
    loop = qio.Loop()
    seen = []
    loop.watch(rig.channel, qio.IN, lambda channel, condition: seen.append(condition))
    rig.channel.close()
    while loop.run_once(0):
        pass
    assert len(seen) == 1
    assert seen[0] & qio.NVAL
    loop.close()


@pytest.mark.parametrize('name', [name for name in RIGS if name not in ('buffer', 'command') and
                                  not name.startswith('python-')])
def test_detach_gives_the_descriptor_away(make, name):
    channel = make(name).channel
    fd = channel.fileno()
    assert os.get_inheritable(fd) is False
    taken = channel.detach()
    os.fstat(taken)
    os.close(taken)
    assert channel.closed


@pytest.mark.parametrize('name', [name for name in RIGS if name.endswith(('-read', '-write'))])
def test_wrong_direction_is_an_error(make, name):
    rig = make(name)
    with pytest.raises(qio.Error):
        rig.channel.read_some() if name.endswith('-write') else rig.channel.write(b'x')


@pytest.mark.parametrize('name', READING)
def test_bad_arguments_are_named(make, name):
    rig = make(name)
    rig.feed(b'kept')
    with pytest.raises((TypeError, ValueError)):
        rig.channel.read_exactly(-1)
    with pytest.raises((TypeError, ValueError)):
        rig.channel.read_until(b'')
    with pytest.raises(TypeError):
        rig.channel.readinto(b'read-only')
    with pytest.raises(TypeError):
        rig.channel.write('text')
    with pytest.raises((TypeError, ValueError)):
        rig.channel.read_some(1, timeout=-1)
    assert read_n(rig.channel, 4) == b'kept'
