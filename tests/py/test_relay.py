# SPDX-License-Identifier: LGPL-2.1-or-later
"""Relays in Python: blocking, and in a Loop."""

import concurrent.futures
import contextlib
import gc
import os
import signal
import threading
import weakref

import pytest

import qio
from rigs import PATIENCE
from stacks import STACKS, stack_rig


class Outcome:
    """What a call in another thread came to."""

    def __init__(self, future):
        self.future = future

    def result(self):
        return self.future.result(PATIENCE)


@contextlib.contextmanager
def beside(function, *arguments):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield Outcome(pool.submit(function, *arguments))


@pytest.fixture
def scene():
    """near a - end a, end b - near b."""
    (near_a, a), (near_b, b) = qio.pair(), qio.pair()
    with near_a, a, near_b, b:
        for near in (near_a, near_b):
            near.settimeout(PATIENCE)
        yield near_a, a, b, near_b


# ---- blocking ----

def test_both_ways_until_both_have_ended(scene):
    near_a, a, b, near_b = scene
    with beside(qio.relay, a, b) as relay:
        near_a.write(b'hello')
        assert near_b.read_exactly(5) == b'hello'
        near_b.write(b'back')
        assert near_a.read_exactly(4) == b'back'
        near_a.send_eof()
        assert near_b.read() == b''
        near_b.write(b' late')
        near_b.send_eof()
        assert near_a.read() == b' late'
        assert relay.result() == qio.Counts(a_to_b=5, b_to_a=9)


@pytest.mark.parametrize('shared', [False, True])
def test_bulk_by_splicing_and_by_copying(scene, shared):
    """A socket that came from outside may have another owner, and is not spliced."""
    bulk = bytes(i * 7 % 251 for i in range(3_000_001))
    near_a, a, b, near_b = scene
    if shared:
        b = qio.from_fd(b.detach())
    with beside(qio.relay, a, b) as relay, beside(near_b.read) as reader:
        near_a.write(bulk)
        near_a.send_eof()
        assert reader.result() == bulk
        near_b.send_eof()
        assert relay.result() == (len(bulk), 0)
    b.close()


def test_through_a_command():
    near, a = qio.pair()
    with near, a, qio.command(['sort']) as sort:
        near.write(b'b\na\n')
        near.send_eof()
        assert qio.relay(a, sort) == (4, 4)
        assert near.read(timeout=PATIENCE, n=4) == b'a\nb\n'


def test_a_console_by_relay():
    near, a = qio.pair()
    with near, a, qio.command(['sh', '-c', 'stty -echo; echo ready; cat; echo bye'],
                              pty=True) as console:
        with beside(qio.relay, a, console) as relay:
            assert near.readline(timeout=PATIENCE) == b'ready\r\n'
            near.write(b'hello\n')
            assert near.readline(timeout=PATIENCE) == b'hello\r\n'
            near.send_eof()
            assert near.readline(timeout=PATIENCE) == b'bye\r\n'
            assert relay.result().a_to_b == 6


def test_a_file_is_the_end_of_all(scene, tmp_path):
    near_a, a, b, near_b = scene
    path = tmp_path / 'log'
    with qio.open_file(path, 'w') as log:
        near_a.write(b'some lines\n')
        near_a.send_eof()
        assert qio.relay(a, log) == (11, 0)
    assert path.read_bytes() == b'some lines\n'


def test_channels_are_usable_afterwards(scene):
    near_a, a, b, near_b = scene
    for _ in range(3):
        with pytest.raises(qio.TimeoutError) as caught:
            qio.relay(a, b, idle_timeout=0.01)
        assert caught.value.counts == (0, 0)
    near_a.write(b'hello')
    assert a.read(5) == b'hello'


@pytest.mark.timeout(60)
@pytest.mark.parametrize('stack', STACKS)
@pytest.mark.parametrize('end', [0, 1])
def test_either_end_may_be_a_layer(scene, tmp_path, pki, stack, end):
    near, a, _, _ = scene
    bulk = bytes(i * 7 % 251 for i in range(300_001))
    rig = stack_rig(stack, tmp_path, pki)
    with rig.stack, beside(qio.relay, *[(a, rig.channel), (rig.channel, a)][end]) as relay:
        with beside(rig.drain, len(bulk)) as drained:
            near.write(bulk)
            assert drained.result() == bulk
        with beside(rig.feed, bulk):
            assert near.read_exactly(len(bulk)) == bulk
        rig.end()
        assert near.read() == b''
        near.send_eof()
        assert sorted(relay.result()) == [len(bulk)] * 2


# ---- what ends it ----

def test_the_limit(scene):
    near_a, a, b, near_b = scene
    near_a.write(b'0123456789')
    with pytest.raises(qio.LimitError) as caught:
        qio.relay(a, b, limit=4)
    assert caught.value.counts == qio.Counts(4, 0)
    assert near_b.read_exactly(4) == b'0123'
    assert a.read_exactly(6) == b'456789'


def test_a_close_of_another_thread(scene):
    near_a, a, b, near_b = scene
    with beside(qio.relay, a, b) as relay:
        near_a.write(b'x')
        assert near_b.read_exactly(1) == b'x'
        b.close()
        with pytest.raises(qio.AbortedError):
            relay.result()


def test_an_interrupt_leaves_what_was_not_written(scene):
    """The writer is stuck behind the relay, which is stuck behind a reader that does not read."""
    bulk = bytes(i * 7 % 251 for i in range(4_000_000))
    near_a, a, b, near_b = scene

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    def when_it_runs():
        near_b.peek(1)
        os.kill(os.getpid(), signal.SIGUSR1)

    def write():
        near_a.write(bulk)
        near_a.send_eof()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with beside(write):
            with pytest.raises(KeyboardInterrupt), beside(when_it_runs):
                qio.relay(a, b)
            b.send_eof()
            assert near_b.read() + a.read() == bulk
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_interpreter_lock_is_released(scene):
    near_a, a, b, near_b = scene
    ticks = []
    with beside(qio.relay, a, b) as relay:
        for _ in range(100):
            ticks.append(near_a.write(b'x'))
        assert near_b.read_exactly(100) == b'x' * 100
        near_a.close()
        near_b.close()
        assert relay.result() == (100, 0)


# ---- the filter ----

def test_a_filter_changes_passes_and_adds(scene):
    near_a, a, b, near_b = scene
    seen = []

    def shout(direction, data):
        seen.append((direction, data))
        if direction == 1:
            return None
        return data.upper() if data else b'!'

    near_a.write(b'hello')
    near_a.send_eof()
    near_b.write(b'back')
    near_b.send_eof()
    assert qio.relay(a, b, filter=shout) == (6, 4)
    assert near_b.read() == b'HELLO!'
    assert near_a.read() == b'back'
    assert sorted(seen) == [(0, b''), (0, b'hello'), (1, b''), (1, b'back')]


@pytest.mark.parametrize('result', [b'', bytearray(), memoryview(b'')])
def test_a_filter_may_swallow(scene, result):
    near_a, a, b, near_b = scene
    for near in (near_a, near_b):
        near.write(b'something')
        near.send_eof()
    assert qio.relay(a, b, filter=lambda direction, data: result) == (0, 0)
    assert near_b.read() == near_a.read() == b''


def test_what_a_filter_raises_leaves_from_the_call(scene):
    near_a, a, b, near_b = scene
    oops = KeyError('oops')

    def fail(direction, data):
        raise oops

    near_a.write(b'hello')
    with pytest.raises(KeyError) as caught:
        qio.relay(a, b, filter=fail)
    assert caught.value is oops
    assert a.read(5) == b'hello'                # nobody has sent it


@pytest.mark.parametrize('result', ['text', 5, ()])
def test_a_filter_returns_bytes(scene, result):
    near_a, a, b, near_b = scene
    near_a.write(b'hello')
    with pytest.raises(TypeError, match='filter'):
        qio.relay(a, b, filter=lambda direction, data: result)


def test_what_a_filter_may_give_is_bounded(scene):
    near_a, a, b, near_b = scene
    near_a.write(b'hello')
    with pytest.raises(qio.LimitError):
        qio.relay(a, b, filter=lambda direction, data: bytes(17 << 20))


# ---- in a loop ----

def test_in_a_loop(scene):
    near_a, a, b, near_b = scene
    ended = []
    with qio.Loop() as loop:
        relay = loop.relay(a, b, on_done=ended.append)
        assert isinstance(relay, qio.Relay)
        assert relay.result() is None
        assert 'running' in repr(relay)
        near_a.write(b'hello')
        while relay.counts != (5, 0):
            loop.run_once(PATIENCE)
        assert near_b.read_exactly(5) == b'hello'
        assert not relay.done
        near_a.send_eof()
        near_b.send_eof()
        while not ended:
            loop.run_once(PATIENCE)
        assert ended == [relay]
        assert relay.done
        assert relay.result() == (5, 0)
        assert relay.lost == (0, 0)


def test_many_in_one_loop():
    with qio.Loop() as loop:
        ends = [(qio.pair(), qio.pair()) for _ in range(50)]
        left = set(range(50))
        relays = [loop.relay(a, b, on_done=lambda _, i=i: left.discard(i))
                  for i, ((_, a), (b, _)) in enumerate(ends)]
        for i, ((near_a, _), (_, near_b)) in enumerate(ends):
            near_a.write(str(i).encode())
            near_a.send_eof()
            near_b.send_eof()
        while left:
            loop.run_once(PATIENCE)
        for i, ((near_a, a), (b, near_b)) in enumerate(ends):
            assert near_b.read() == str(i).encode()
            assert relays[i].result() == (len(str(i)), 0)
            for channel in (near_a, a, b, near_b):
                channel.close()


def test_cancelling_in_a_loop(scene):
    near_a, a, b, near_b = scene
    with qio.Loop() as loop:
        relay = loop.relay(a, b, on_done=lambda _: loop.quit())
        with pytest.raises(qio.BusyError):
            a.read(1, timeout=0)
        threading.Thread(target=relay.cancel).start()
        loop.run()
        with pytest.raises(qio.AbortedError) as caught:
            relay.result()
        assert caught.value.counts == (0, 0)
        near_a.write(b'x')
        assert a.read(1) == b'x'


def test_a_filter_s_exception_leaves_from_run(scene):
    near_a, a, b, near_b = scene
    near_a.write(b'hello')
    with qio.Loop() as loop:
        relay = loop.relay(a, b, filter=lambda direction, data: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.run()
        assert relay.done
        with pytest.raises(qio.Error):
            relay.result()


def test_closing_the_loop_ends_it_and_frees_the_functions(scene):
    near_a, a, b, near_b = scene

    def keep(direction, data):
        return None

    gone = weakref.ref(keep)
    loop = qio.Loop()
    relay = loop.relay(a, b, filter=keep)
    del keep
    loop.close()
    assert relay.done
    with pytest.raises(qio.AbortedError):
        relay.result()
    gc.collect()
    assert gone() is None
    near_a.write(b'x')
    assert a.read(1) == b'x'


def test_a_cycle_through_a_filter_is_found(scene):
    near_a, a, b, near_b = scene
    loop = qio.Loop()

    def keep(direction, data):
        return loop and None

    gone = weakref.ref(keep)
    loop.relay(a, b, filter=keep)
    del keep, loop
    gc.collect()
    assert gone() is None
    near_a.write(b'x')
    assert a.read(1) == b'x'


# ---- misuse ----

@pytest.mark.parametrize('arguments, error', [
    ({'filter': 5}, TypeError), ({'buffer': 'x'}, TypeError), ({'buffer': 0}, ValueError),
    ({'buffer': 1 << 40}, ValueError), ({'limit': -1}, ValueError), ({'limit': 1.5}, TypeError),
    ({'idle_timeout': 'x'}, TypeError), ({'idle_timeout': -1}, ValueError),
    ({'nonsense': 1}, TypeError),
])
def test_what_is_no_argument_of_a_relay(scene, arguments, error):
    near_a, a, b, near_b = scene
    with pytest.raises(error):
        qio.relay(a, b, **arguments)
    near_a.write(b'x')
    assert a.read(1) == b'x'


def test_what_cannot_be_relayed(scene):
    near_a, a, b, near_b = scene
    with pytest.raises(ValueError, match='two channels'):
        qio.relay(a, a)
    with pytest.raises(TypeError, match='b has to be'):
        qio.relay(a, 5)
    b.close()
    with pytest.raises(qio.ClosedError):
        qio.relay(a, b)
    with pytest.raises(TypeError):
        qio.Relay()
