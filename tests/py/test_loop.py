# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loops in Python: watches, timers, deferred calls, and what their functions raise."""

import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback

import pytest

import qio
from rigs import PATIENCE, in_thread


@pytest.fixture
def loop():
    with qio.Loop() as loop:
        yield loop


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


def turn_until(loop, done):
    """Turns the loop until done() is true."""
    deadline = qio.Deadline(PATIENCE)
    while not done():
        loop.run_once(deadline)
        assert not deadline.expired, 'it never happens'


# ---- watches ----

def test_a_function_gets_the_channel_itself_and_a_condition(loop, pair):
    a, b = pair
    calls = []
    loop.watch(a, qio.IN, lambda *args: calls.append(args))
    b.write(b'x')
    turn_until(loop, lambda: calls)
    (channel, condition), = calls
    assert channel is a and condition is qio.IN


def test_a_subclass_comes_back_as_itself(loop):
    with qio.listen('tcp://127.0.0.1:0') as listener:
        seen = []
        loop.watch(listener, 'in', lambda where, condition: seen.append((where, condition)))
        with qio.connect(listener.address):
            turn_until(loop, lambda: seen)
            assert seen[0] == (listener, qio.IN)
            listener.accept(timeout=0).close()


@pytest.mark.parametrize('result, keeps', [
    (None, True), (True, True), (0, True), ('', True), ([], True), (False, False),
])
def test_only_the_object_false_removes(loop, pair, result, keeps):
    a, b = pair
    calls = []

    def fn(channel, condition):
        calls.append(1)
        return result

    loop.watch(a, qio.IN, fn)
    b.write(b'x')
    turn_until(loop, lambda: calls)
    loop.run_once(0)
    loop.run_once(0)
    assert (len(calls) > 1) is keeps


def test_remove(loop, pair):
    a, b = pair
    calls = []
    watch = loop.watch(a, qio.IN, lambda *args: calls.append(1))
    b.write(b'x')
    watch.remove()
    watch.remove()
    loop.run_once(0)
    assert not calls


def test_remove_inside_the_function_and_of_another_watch(loop, pair):
    a, b = pair
    calls = []
    watches = [loop.watch(a, qio.OUT, lambda c, k, i=i: (calls.append(i),
                                                         [w.remove() for w in watches]))
               for i in range(3)]
    turn_until(loop, lambda: calls)
    loop.run_once(0)
    assert len(calls) == 1, 'the first removed all'


def test_dropping_the_watch_object_leaves_the_watch(loop, pair):
    a, b = pair
    calls = []
    loop.watch(a, qio.IN, lambda *args: calls.append(1))
    b.write(b'x')
    turn_until(loop, lambda: calls)


def test_closing_gives_one_last_call(loop, pair):
    a, _ = pair
    calls = []
    loop.watch(a, qio.IN, lambda channel, condition: calls.append((channel, condition)))
    a.close()
    turn_until(loop, lambda: calls)
    loop.run_once(0)
    (channel, condition), = calls
    assert channel is a and condition & qio.NVAL


def test_closing_inside_the_function(loop, pair):
    a, b = pair
    calls = []

    def fn(channel, condition):
        calls.append(condition)
        channel.close()

    loop.watch(a, qio.IN, fn)
    b.write(b'x')
    turn_until(loop, lambda: len(calls) == 2)
    assert not calls[0] & qio.NVAL and calls[1] & qio.NVAL
    assert not loop.run_once(0)


def test_hup_is_told(loop, pair):
    a, b = pair
    calls = []
    loop.watch(a, qio.IN, lambda channel, condition: calls.append(condition))
    b.close()
    turn_until(loop, lambda: calls)
    assert calls[0] & qio.HUP and a.read() == b''


def test_several_watches_on_one_channel(loop, pair):
    a, b = pair
    seen = []
    for name in 'xyz':
        loop.watch(a, qio.IN, lambda c, k, name=name: seen.append(name) or False)
    loop.watch(a, qio.OUT, lambda c, k: seen.append('out') or False)
    b.write(b'-')
    turn_until(loop, lambda: len(seen) == 4)
    assert sorted(seen) == ['out', 'x', 'y', 'z']


def test_a_socket_or_a_number_can_be_watched(loop):
    a, b = socket.socketpair()
    with a, b:
        seen = []
        loop.watch(a, qio.IN, lambda what, condition: seen.append(what) or False)
        loop.watch(b.fileno(), 'out', lambda what, condition: seen.append(what) or False)
        b.send(b'x')
        turn_until(loop, lambda: len(seen) == 2)
        assert a in seen and b.fileno() in seen


def test_many_idle_watches_and_one_that_fires(loop):
    pairs = [qio.pair() for _ in range(200)]
    try:
        seen = []
        for a, _ in pairs:
            loop.watch(a, qio.IN, lambda channel, condition: seen.append(channel.read_some(10)))
        pairs[123][1].write(b'hello')
        turn_until(loop, lambda: seen)
        assert seen == [b'hello']
    finally:
        for a, b in pairs:
            a.close()
            b.close()


def test_a_watch_on_a_closed_channel_is_refused_or_told(loop):
    a, b = qio.pair()
    b.close()
    a.close()
    calls = []
    try:
        loop.watch(a, qio.IN, lambda channel, condition: calls.append(condition))
    except qio.ClosedError:
        return
    turn_until(loop, lambda: calls)
    assert calls[0] & qio.NVAL


# ---- timers and deferred calls ----

def test_timers(loop):
    calls = []
    start = time.monotonic()
    loop.add_timer(0.02, lambda: calls.append(time.monotonic() - start))
    turn_until(loop, lambda: calls)
    assert calls[0] >= 0.02
    assert loop.run_once(0) == 0, 'it fires once'


def test_a_timer_that_repeats_until_it_says_false(loop):
    calls = []
    loop.add_timer(0, lambda: calls.append(1) if len(calls) < 2 else False, every=0.001)
    turn_until(loop, lambda: len(calls) == 2)
    turn_until(loop, lambda: loop.run_once(0.05) == 0)
    assert len(calls) == 2


def test_a_timer_can_be_removed(loop):
    calls = []
    timer = loop.add_timer(0, lambda: calls.append(1), every=0.001)
    turn_until(loop, lambda: calls)
    timer.remove()
    del calls[:]
    loop.run_once(0.01)
    assert not calls


def test_timers_fire_in_the_order_of_their_times(loop):
    order = []
    for after in (0.03, 0.01, 0.02):
        loop.add_timer(after, lambda after=after: order.append(after))
    turn_until(loop, lambda: len(order) == 3)
    assert order == [0.01, 0.02, 0.03]


def test_deferred_calls_come_in_order_and_once(loop):
    order = []
    for i in range(5):
        loop.defer(lambda i=i: order.append(i))
    turn_until(loop, lambda: len(order) == 5)
    loop.run_once(0)
    assert order == list(range(5))


def test_defer_from_another_thread_wakes_the_loop(loop):
    seen = []
    with in_thread(lambda: loop.defer(lambda: (seen.append(threading.get_ident()), loop.quit()))):
        loop.run()
    assert seen == [threading.get_ident()]


# ---- run ----

def test_quit_before_and_inside_run(loop):
    loop.quit()
    loop.run()
    loop.add_timer(0, loop.quit)
    loop.run()


def test_quit_and_wakeup_from_another_thread(loop):
    with in_thread(loop.quit):
        loop.run()
    with in_thread(loop.wakeup):
        while loop.run_once(PATIENCE):
            pass


def test_running_a_loop_inside_itself_is_busy(loop):
    caught = []

    def nested():
        for call in (loop.run, lambda: loop.run_once(0), loop.close):
            with pytest.raises(qio.BusyError):
                call()
            caught.append(1)

    loop.defer(nested)
    turn_until(loop, lambda: len(caught) == 3)


def test_one_loop_may_run_inside_another(loop, pair):
    a, b = pair
    inner = qio.Loop()
    seen = []

    def outer_call():
        inner.watch(a, qio.IN, lambda c, k: seen.append(c.read_some()) or False)
        b.write(b'inner')
        turn_until(inner, lambda: seen)

    loop.defer(outer_call)
    turn_until(loop, lambda: seen)
    assert seen == [b'inner']


def test_one_descriptor_stands_for_the_loop(loop, pair):
    a, b = pair
    seen = []
    loop.watch(a, qio.IN, lambda channel, condition: seen.append(channel.read_some()))
    with selectors.DefaultSelector() as selector:
        selector.register(loop.fileno(), selectors.EVENT_READ)
        loop.run_once(0)
        assert not selector.select(0)
        b.write(b'x')
        assert selector.select(PATIENCE)
        while not seen:
            loop.run_once(0)
        assert seen == [b'x']
        loop.run_once(0)
        assert not selector.select(0)
        loop.add_timer(0.001, lambda: seen.append('timer'))
        assert selector.select(PATIENCE)
        loop.run_once(0)
        assert seen[-1] == 'timer'


def test_a_closed_loop():
    with qio.Loop() as loop:
        loop.add_timer(0, print, every=1)
    for call in (loop.run, loop.run_once, lambda: loop.defer(print),
                 lambda: loop.add_timer(1, print)):
        with pytest.raises(qio.ClosedError):
            call()
    loop.close()


# ---- exceptions ----

class Oops(Exception):
    pass


def raising(error):
    def fn(*args):
        raise error
    return fn


def test_an_exception_leaves_as_the_same_object(loop, pair):
    a, b = pair
    error = Oops('from the function')
    calls = []
    b.write(b'x')
    loop.watch(a, qio.IN, lambda c, k: calls.append(1) or raising(error)())
    with pytest.raises(Oops) as caught:
        loop.run()
    assert caught.value is error
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert 'fn' in frames and frames[0] == sys._getframe().f_code.co_name
    loop.run_once(0)
    assert calls == [1], 'its watch is removed'
    assert a.read_some() == b'x'


@pytest.mark.parametrize('register', [
    lambda loop, fn: loop.add_timer(0, fn),
    lambda loop, fn: loop.add_timer(0, fn, every=0.001),
    lambda loop, fn: loop.defer(fn),
], ids=['timer', 'repeating timer', 'defer'])
@pytest.mark.parametrize('cls', [Oops, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
@pytest.mark.parametrize('run', ['run', 'run_once'])
def test_every_exception_of_every_function_comes_out(loop, register, cls, run):
    error = cls()
    register(loop, raising(error))
    with pytest.raises(cls) as caught:
        while True:
            getattr(loop, run)()
    assert caught.value is error
    assert loop.run_once(0) == 0


def test_an_exception_of_a_callback_that_calls_another_loop(loop):
    inner = qio.Loop()
    error = Oops()
    inner.defer(raising(error))
    loop.defer(inner.run)
    with pytest.raises(Oops) as caught:
        loop.run()
    assert caught.value is error


def test_an_exception_that_the_function_handles_is_its_own(loop):
    inner = qio.Loop()
    seen = []

    def handles():
        inner.defer(raising(Oops()))
        with pytest.raises(Oops):
            inner.run()
        seen.append(1)

    loop.defer(handles)
    turn_until(loop, lambda: seen)


def test_what_was_due_besides_is_not_lost(loop):
    seen = []
    loop.defer(lambda: seen.append('before'))
    loop.defer(raising(Oops()))
    loop.defer(lambda: seen.append('after'))
    with pytest.raises(Oops):
        loop.run()
    turn_until(loop, lambda: len(seen) == 2)
    assert seen == ['before', 'after']


def test_a_function_of_the_wrong_shape_raises_out_of_run(loop, pair):
    a, _ = pair
    loop.watch(a, qio.OUT, lambda: None)
    with pytest.raises(TypeError, match='positional argument'):
        loop.run()


def test_a_signal_handler_runs_while_the_loop_waits(loop):
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda *args: (seen.append(1), loop.quit()))
    try:
        with in_thread(lambda: os.kill(os.getpid(), signal.SIGUSR1)):
            loop.run()
        assert seen
    finally:
        signal.signal(signal.SIGUSR1, old)
