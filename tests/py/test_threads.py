# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads: one reader and one writer at once, close and cancel from anywhere, and the GIL."""

import os
import threading
import time

import pytest

import qio
from rigs import PATIENCE, in_thread


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


def test_one_reads_while_another_writes(pair):
    a, b = pair
    out, back = os.urandom(2_000_000), os.urandom(2_000_000)

    def echo():
        with in_thread(lambda: b.write_all(back)):
            assert b.read_exactly(len(out)) == out

    with in_thread(echo):
        with in_thread(lambda: a.write_all(out)):
            assert a.read_exactly(len(back)) == back


@pytest.mark.parametrize('call', [
    lambda channel: channel.read_some(), lambda channel: channel.read_exactly(5),
    lambda channel: channel.readline(), lambda channel: channel.readinto(bytearray(5)),
    lambda channel: channel.wait(qio.IN), lambda channel: channel.recv_fds(5),
    lambda channel: channel.write_all(bytes(50_000_000)), lambda channel: channel.readv([bytearray(5)]),
    lambda channel: channel.read(), lambda channel: channel.peek(),
])
def test_close_ends_every_call_that_waits(pair, call):
    a, _ = pair
    started = threading.Event()

    def body():
        started.set()
        with pytest.raises((qio.AbortedError, qio.ClosedError)):
            call(a)

    with in_thread(body):
        started.wait(PATIENCE)
        a.close()


@pytest.mark.parametrize('seed', range(20))
def test_closing_at_any_moment(seed):
    """The closer spins for a while that differs, so that the close meets every part of a call."""
    a, b = qio.pair()
    with a, b:
        started = threading.Event()

        def read():
            started.set()
            with pytest.raises((qio.AbortedError, qio.ClosedError)):
                while True:
                    a.read_some(10)
                    a.wait(qio.IN)

        with in_thread(read):
            started.wait(PATIENCE)
            for _ in range(seed * 50):
                b.write(b'x')
            a.close()


def test_close_ends_accept(tmp_path):
    listener = qio.listen(f'unix:{tmp_path}/s')
    started = threading.Event()
    clients = []

    def serve():
        started.set()
        clients.extend(listener)

    with in_thread(serve):
        started.wait(PATIENCE)
        listener.close()
    assert clients == []


def test_other_threads_run_while_one_waits(pair):
    a, b = pair
    counted = []

    def count():
        for _ in range(100_000):
            pass
        counted.append(1)
        b.write(b'done')

    with in_thread(count):
        assert a.read_exactly(4) == b'done'
    assert counted


@pytest.mark.parametrize('size', [1, 70_000])
def test_a_busy_thread_does_not_starve_a_ping_pong(pair, size):
    """A bound a hundred times over what it takes; what it would catch is a lost wake-up."""
    a, b = pair
    stop = []

    def spin():
        while not stop:
            pass

    def echo():
        for _ in range(50):
            b.write_all(b.read_exactly(size))

    with in_thread(spin), in_thread(echo):
        start = time.monotonic()
        message = bytes(size)
        for _ in range(50):
            a.write_all(message)
            assert len(a.read_exactly(size)) == size
        stop.append(1)
        assert time.monotonic() - start < PATIENCE


def test_many_threads_with_channels_of_their_own():
    def work():
        a, b = qio.pair()
        with a, b, qio.Loop() as loop:
            seen = []
            loop.watch(b, qio.IN, lambda channel, condition: seen.append(channel.read_some(8)))
            for i in range(100):
                a.write(b'%08d' % i)
                while len(seen) <= i:
                    loop.run_once(PATIENCE)
            assert seen == [b'%08d' % i for i in range(100)]

    with in_thread(work), in_thread(work), in_thread(work), in_thread(work):
        work()


def test_a_second_thread_cannot_dispatch_a_loop():
    with qio.Loop() as loop:
        inside, leave = threading.Event(), threading.Event()
        loop.defer(lambda: (inside.set(), leave.wait(PATIENCE)))
        with in_thread(loop.run_once):
            inside.wait(PATIENCE)
            for call in (loop.run, lambda: loop.run_once(0), loop.close):
                with pytest.raises(qio.BusyError):
                    call()
            leave.set()


def test_watches_come_and_go_from_other_threads():
    a, b = qio.pair()
    with a, b, qio.Loop() as loop:
        b.write(b'x')
        stop = []

        def churn():
            for _ in range(500):
                loop.watch(a, qio.IN, lambda channel, condition: None).remove()
                loop.add_timer(0, lambda: None).remove()
                loop.defer(lambda: None)
            stop.append(1)
            loop.wakeup()

        with in_thread(churn):
            while not stop:
                loop.run_once(0.01)
        for _ in range(3):
            loop.run_once(0)
