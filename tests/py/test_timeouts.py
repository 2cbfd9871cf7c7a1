# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time-outs and deadlines.  No upper bound is tested but generous ones; lower bounds are exact:
a call that is to wait must not come back early."""

import math
import socket
import time

import pytest

import qio
from rigs import PATIENCE, in_thread

WAIT = 0.03


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


def took(fn):
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        fn()
    assert isinstance(caught.value, qio.TimeoutError)
    return time.monotonic() - start


@pytest.mark.parametrize('timeout', [WAIT, qio.Deadline, 0, 0.0])
def test_a_read_waits_as_long_as_it_was_told(pair, timeout):
    a, _ = pair
    if timeout is qio.Deadline:
        timeout = qio.Deadline(WAIT)
        expected = timeout.remaining
    else:
        expected = timeout
    assert expected <= took(lambda: a.read_some(timeout=timeout)) < PATIENCE


def test_one_deadline_serves_several_calls(pair):
    a, b = pair
    deadline = qio.Deadline(WAIT)
    b.write(b'line\nxyz')
    assert a.readline(timeout=deadline) == b'line\n'
    assert a.read_exactly(3, timeout=deadline) == b'xyz'
    took(lambda: a.read_some(timeout=deadline))
    assert deadline.expired and deadline.remaining == 0
    assert took(lambda: a.read_some(timeout=deadline)) < PATIENCE
    b.write(b'late')
    assert a.read_some(timeout=deadline) == b'late', 'an expired deadline still tries'


def test_a_deadline_runs_while_bytes_trickle(pair):
    """It limits the call, not the wait for each byte."""
    a, b = pair
    calls = []

    def trickle():
        loop.run_once(0)

    loop = qio.Loop()
    loop.add_timer(0, lambda: calls.append(b.write(b'x')), every=0.002)
    stop = []

    def run():
        while not stop:
            loop.run_once(0.05)

    with in_thread(run):
        assert took(lambda: a.read_exactly(10_000_000, timeout=0.05)) >= 0.05
        stop.append(True)
    assert a.pending == len(calls) or a.pending + len(a.read_some(1_000_000)) >= a.pending


def test_none_waits_for_ever_whatever_the_channel_says(pair):
    a, b = pair
    a.settimeout(0.001)

    def late():
        assert not a.wait(qio.OUT, timeout=0) & qio.IN
        b.write(b'x')

    with in_thread(late):
        assert a.read_exactly(1, timeout=None) == b'x'
    a.setblocking(False)
    with in_thread(late):
        assert a.read_exactly(1, timeout=None) == b'x'
    with in_thread(late):
        assert a.read_some(timeout=PATIENCE) == b'x'


def test_settimeout_is_a_sockets(pair):
    a, _ = pair
    assert a.gettimeout() is None and a.getblocking() is True
    a.settimeout(2.5)
    assert a.gettimeout() == 2.5 and a.getblocking() is True
    a.settimeout(0)
    assert a.gettimeout() == 0.0 and a.getblocking() is False
    assert a.read_some() is None
    a.settimeout(None)
    assert a.gettimeout() is None and a.getblocking() is True
    a.setblocking(False)
    assert a.gettimeout() == 0.0
    a.setblocking(True)
    assert a.gettimeout() is None
    a.settimeout(0.0001)
    assert a.gettimeout() == 0.001, 'rounded up, never to "does not block"'
    a.settimeout(WAIT)
    assert took(a.read_some) >= WAIT
    assert took(lambda: a.read_exactly(1)) >= WAIT
    assert took(a.readline) >= WAIT
    assert took(lambda: a.wait(qio.IN) or a.read_some(timeout=0)) >= WAIT


def test_a_write_that_times_out_says_how_far_it_came(pair):
    a, b = pair
    data = bytes(8_000_000)
    for verb in (a.write, a.write_all):
        with pytest.raises(qio.TimeoutError) as caught:
            verb(data, timeout=WAIT)
        done = caught.value.bytes_written
        assert 0 <= done < len(data)
        assert len(b.read_exactly(done, timeout=PATIENCE)) == done
        assert not b.wait(qio.IN, timeout=0)


def test_a_vector_that_times_out_says_how_far_it_came(pair):
    a, b = pair
    parts = [bytes([i % 251]) * 999 for i in range(5000)]
    with pytest.raises(qio.TimeoutError) as caught:
        a.writev(parts, timeout=WAIT)
    done = caught.value.bytes_written
    assert 0 < done < 999 * 5000
    assert b.read_exactly(done, timeout=PATIENCE) == b''.join(parts)[:done]
    assert not b.wait(qio.IN, timeout=0)


def test_accept_connect_and_exit_have_time_outs(tmp_path):
    with qio.listen(f'unix:{tmp_path}/s', backlog=1) as listener:
        assert took(lambda: listener.accept(timeout=WAIT)) >= WAIT
        assert took(lambda: listener.accept(timeout=0)) < PATIENCE
        assert took(lambda: listener.accept(timeout=qio.Deadline(WAIT))) < PATIENCE
    with qio.command(['cat']) as cat:
        assert took(lambda: cat.wait_exit(timeout=WAIT)) >= WAIT
        cat.send_eof()
        assert cat.wait_exit(timeout=PATIENCE) == 0


def test_a_connect_that_nobody_answers_ends(tmp_path):
    """A unix listener whose queue is full lets a client wait."""
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(tmp_path / 's'))
        full.listen(0)
        with qio.connect(f'unix:{tmp_path}/s'):
            for timeout in (WAIT, qio.Deadline(WAIT)):
                assert took(lambda: qio.connect(f'unix:{tmp_path}/s', timeout=timeout)) < PATIENCE


def test_run_once_has_a_time_out():
    loop = qio.Loop()
    start = time.monotonic()
    assert loop.run_once(WAIT) == 0
    assert time.monotonic() - start >= WAIT
    assert loop.run_once(0) == 0
    assert loop.run_once(timeout=qio.Deadline(0)) == 0


def test_huge_times_are_no_limit(pair):
    a, b = pair
    b.write(b'xyz')
    for timeout in (1e9, 1e300, math.inf, None, False):
        assert a.read_some(1, timeout=timeout) if b.write(b'-') else None


@pytest.mark.parametrize('wrong, error', [
    (-1, ValueError), (-0.001, ValueError), (math.nan, ValueError), ('1', TypeError),
    (True, TypeError), (b'1', TypeError), (object(), TypeError), ([], TypeError),
])
def test_times_that_make_no_sense_are_named(pair, wrong, error):
    a, b = pair
    for call in (lambda: a.read_some(timeout=wrong), lambda: a.write(b'x', timeout=wrong),
                 lambda: a.readinto(bytearray(1), timeout=wrong), lambda: a.settimeout(wrong),
                 lambda: a.wait(qio.IN, timeout=wrong), lambda: a.read_until(b'x', timeout=wrong),
                 lambda: qio.Loop().run_once(wrong), lambda: a.readline(timeout=wrong)):
        with pytest.raises(error, match='timeout'):
            call()
    assert not b.wait(qio.IN, timeout=0), 'nothing was written'


def test_deadline():
    deadline = qio.Deadline(1000)
    assert 999 < deadline.remaining <= 1000 and not deadline.expired
    assert 'Deadline' in repr(deadline)
    assert qio.Deadline(0).expired
    for wrong, error in [(-1, ValueError), (math.nan, ValueError), ('1', TypeError),
                         (True, TypeError), (None, TypeError)]:
        with pytest.raises(error, match='seconds'):
            qio.Deadline(wrong)
