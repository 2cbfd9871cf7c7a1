# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels written in Python beside threads, layers, the collector, fork and the interpreter's end."""

import gc
import os
import socket
import subprocess
import sys
import threading
import traceback
import weakref

import pytest

import qio
from flat import ROOT, live
from rigs import PATIENCE, in_thread
from written import (Asked, Boom, InMemory, MemoryPair, OverSocket, Told, memory_ends, put,
                     socket_ends)


# ---- threads ----

@pytest.mark.parametrize('kind', [InMemory, Asked])
@pytest.mark.parametrize('layers', [[], ['tls'], ['ws'], ['ws', 'tls']])
def test_both_directions_at_once_beside_a_busy_thread(kind, layers):
    """The interpreter's lock and the locks of layers never wait for each other."""
    ends = [MemoryPair(), MemoryPair()]
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    tops = [None, None]
    data = bytes(range(256)) * 400

    def shake(i):
        tops[i] = put(ends[i], layers, i == 1)

    with in_thread(shake, 1):
        shake(0)
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            for top in tops:
                top.pending
                top.transport

    def send(top):
        for i in range(0, len(data), 5000):
            top.write(data[i:i + 5000])

    with in_thread(spin):
        try:
            with in_thread(send, tops[0]), in_thread(send, tops[1]):
                with in_thread(lambda: got.append(tops[1].read_exactly(len(data)))) if (
                        got := []) is not None else None:
                    assert tops[0].read_exactly(len(data)) == data
                assert got == [data]
        finally:
            stop.set()
    for top in tops:
        top.close()


# ---- life ----

def test_cycles_are_collected():
    class Cycle(Told):
        def __init__(self):
            super().__init__(None)
            self.me = self
            self.call = lambda: self

    gc.collect()
    before = live()
    refs = [weakref.ref(Cycle()) for _ in range(50)]
    gc.collect()
    assert [ref() for ref in refs] == [None] * 50
    assert live() == before


def test_cycles_through_a_layer_a_watch_and_an_exception_are_collected():
    def make():
        channel = Told(Boom('kept'))
        channel.loop = qio.Loop()
        channel.watch = channel.loop.watch(channel, qio.IN, lambda ch, cond: channel)
        channel.wait(qio.IN, timeout=0)
        try:
            channel.read(1)
        except Boom as error:
            channel.error = error
        other = Told(None, lambda b: len(b))
        other.layer = other.websocket(handshake=False)
        return weakref.ref(channel), weakref.ref(other)

    refs = [ref for _ in range(20) for ref in make()]
    gc.collect()
    assert not any(ref() for ref in refs)


def test_dropping_it_closes_it():
    closes = []

    class Channel(Told):
        def close(self):
            closes.append(1)

    Channel()
    gc.collect()
    assert closes == [1]
    with Channel():
        pass
    gc.collect()
    assert closes == [1, 1]


class Buried:
    ends = None

    def __del__(self):
        self.ends.append('del')


@pytest.mark.parametrize('calls_super', [False, True])
@pytest.mark.parametrize('mixed_in', [False, True])
@pytest.mark.parametrize('cycle', [False, True])
def test_a_del_of_the_class_takes_nothing_from_the_end(calls_super, mixed_in, cycle):
    ends = []

    class Own(Told):
        if not mixed_in:
            def __del__(self):
                ends.append('del')
                if calls_super:
                    super().__del__()

        def close(self):
            ends.append('close')

    class Mixed(Buried, Own):
        pass

    channel = Mixed() if mixed_in else Own()
    channel.ends = ends
    channel.cycle = channel if cycle else None
    del channel
    gc.collect()
    assert ends == ['del', 'close']


def test_a_del_that_fails_takes_nothing_from_the_end(monkeypatch):
    closes = []

    class Channel(Told):
        def __del__(self):
            raise Boom('buried')

        def close(self):
            closes.append(1)

    told = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda raised: told.append(str(raised.exc_value)))
    Channel()
    gc.collect()
    assert told == ['buried']
    assert closes == [1]


def test_a_del_of_the_class_and_a_descriptor_warn_once():
    class Channel(OverSocket):
        def __del__(self):
            super().__del__()

    ours, theirs = socket.socketpair()
    with theirs, pytest.warns(ResourceWarning, match='unclosed <.*Channel') as told:
        Channel(ours)
        gc.collect()
    assert len(told) == 1


def test_a_descriptor_that_is_dropped_open_is_warned_of():
    ours, theirs = socket.socketpair()
    with theirs, pytest.warns(ResourceWarning, match='unclosed <OverSocket'):
        OverSocket(ours)
        gc.collect()


def test_a_layer_keeps_what_it_lies_on():
    channel, stream = memory_ends(InMemory)
    top = channel.websocket(handshake=False)
    ref = weakref.ref(channel)
    del channel
    stream.channel = None
    gc.collect()
    assert ref() is not None and top.transport is ref()
    closes = ref().closes
    top.close()
    assert ref().closes == closes + 1
    del top
    gc.collect()
    assert ref() is None


def test_a_relay_keeps_its_ends():
    channel, stream = memory_ends(InMemory)
    a, peer = qio.pair()
    with a, peer, qio.Loop() as loop:
        loop.relay(channel, a, on_done=lambda relay: loop.quit())
        ref = weakref.ref(channel)
        del channel
        stream.channel.notify()
        stream.channel, kept = None, stream.channel
        del kept
        gc.collect()
        stream.channel = ref()
        stream.sendall(b'all of it')
        stream.close_write()
        peer.send_eof()
        loop.run()
        assert peer.read() == b'all of it'
        ref().close()
        stream.channel = None
    gc.collect()
    assert ref() is None


EXIT = '''
import qio, threading
class Channel(qio.CustomChannel):
    def readinto(self, b): return None
    def write(self, b): return len(b)
    def close(self): print("closed", flush=True)
kept = Channel()
lost = Channel()
lost.me = lost
layer = Channel().websocket(handshake=False)
threading.Thread(target=lambda: kept.read(1), daemon=True).start()
loop = qio.Loop()
loop.watch(kept, qio.IN, lambda ch, cond: None)
print("end")
'''


def test_the_interpreter_ends_with_channels_alive():
    done = subprocess.run([ROOT / 'run', sys.executable, '-X', 'dev', '-c', EXIT], timeout=50,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('end')
    assert 'Traceback' not in done.stderr


def test_a_forked_child_leaves_the_parent_s_channel_alone():
    channel, theirs = socket_ends()
    with channel, theirs:
        child = os.fork()
        if child == 0:
            try:
                channel.read(1)
            except qio.ForkedError:
                os._exit(channel.closes)
            except BaseException:
                traceback.print_exc()
            os._exit(9)
        assert os.waitpid(child, 0)[1] == 0
        theirs.sendall(b'still here')
        assert channel.read(20) == b'still here'


def test_what_was_forked_makes_its_own():
    child = os.fork()
    if child == 0:
        good = Told(lambda b: b.__setitem__(slice(0, 1), b'x') or 1).read(1) == b'x'
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
