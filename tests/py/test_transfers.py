# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transfers: any mix of verbs gives the same bytes, and lists of any length go through."""

import os
import random

import pytest

import qio
from rigs import PATIENCE, in_thread

VERBS = ['read', 'read_some', 'read_exactly', 'readinto', 'view', 'readv', 'peek', 'until']


@pytest.fixture(params=['pair', 'command', 'pipe'])
def ends(request):
    """(writer, reader)"""
    if request.param == 'pair':
        writer, reader = qio.pair()
    elif request.param == 'command':
        writer = reader = qio.command(['cat'])
    else:
        read_fd, write_fd = os.pipe()
        writer, reader = qio.from_fd(write_fd), qio.from_fd(read_fd)
    with writer, reader:
        yield writer, reader


def read_by(channel, verb, size):
    if verb == 'readinto':
        space = bytearray(size)
        count = channel.readinto(space, timeout=PATIENCE)
        return space[:count]
    if verb == 'view':
        space = memoryview(bytearray(size * 2)).cast('H')
        count = channel.readinto(space, timeout=PATIENCE)
        return space.tobytes()[:count]
    if verb == 'readv':
        parts = [bytearray(size), bytearray(), bytearray(size)]
        count = channel.readv(parts, timeout=PATIENCE)
        return b''.join(parts)[:count]
    if verb == 'peek':
        seen = channel.peek(size, timeout=PATIENCE)
        assert seen and channel.read_exactly(len(seen), timeout=PATIENCE) == seen
        return seen
    if verb == 'until':
        try:
            return channel.read_until([b'\x00', b'\x01'], limit=size, timeout=PATIENCE)
        except qio.LimitError:
            return channel.read_exactly(size, timeout=PATIENCE)
    return getattr(channel, verb)(size, timeout=PATIENCE)


@pytest.mark.parametrize('blocking', [True, False])
@pytest.mark.parametrize('seed', range(4))
def test_any_mix_of_verbs_gives_the_same_bytes(ends, blocking, seed):
    writer, reader = ends
    dice = random.Random(seed)
    data = dice.randbytes(30_000) + bytes(5000)     # the tail is for what asks for too much
    wanted = 30_000
    writer.setblocking(blocking)
    reader.setblocking(blocking)

    def send():
        cuts = random.Random(seed + 100)
        at = 0
        while at < len(data):
            size = cuts.choice([1, 2, 17, 500, 3000])
            piece = data[at:at + size]
            if cuts.random() < 0.5:
                writer.write_all(piece, timeout=PATIENCE)
            else:
                writer.writev_all([piece[:7], b'', piece[7:]], timeout=PATIENCE)
            at += size

    got = bytearray()
    with in_thread(send):
        while len(got) < wanted:
            got += read_by(reader, dice.choice(VERBS), dice.choice([1, 3, 64, 1000]))
        rest = reader.read_exactly(len(data) - len(got), timeout=PATIENCE)
    assert got + rest == data


@pytest.mark.parametrize('count', [1023, 1024, 1025, 5000])
def test_more_buffers_than_the_kernel_takes_at_once(ends, count):
    writer, reader = ends
    data = os.urandom(count)
    with in_thread(lambda: writer.writev_all([data[i:i + 1] for i in range(count)],
                                             timeout=PATIENCE)):
        got = bytearray()
        while len(got) < count:
            parts = [bytearray(1) for _ in range(count)]
            got += b''.join(parts[:reader.readv(parts, timeout=PATIENCE)])
    assert got == data


def test_large_messages_release_the_lock_and_arrive(ends):
    writer, reader = ends
    data = os.urandom(3_000_000)
    with in_thread(lambda: writer.write(data, timeout=PATIENCE)):
        space = bytearray(len(data))
        view = memoryview(space)
        while view:
            view = view[reader.readinto(view, timeout=PATIENCE):]
    assert space == data


def test_odd_buffers(ends):
    import array
    writer, reader = ends
    numbers = array.array('I', range(100))
    assert writer.write(numbers) == 400
    back = array.array('I', bytes(400))
    assert reader.readinto(memoryview(back).cast('B')[:200], timeout=PATIENCE) <= 200
    with pytest.raises(BufferError):
        writer.write(memoryview(bytes(100))[::2])
    with pytest.raises((BufferError, TypeError)):
        reader.readinto(memoryview(bytes(100)))

    class Mine(bytes):
        pass

    class Array(bytearray):
        pass

    assert writer.write(Mine(b'ab')) == 2
    assert reader.readinto(Array(2), timeout=PATIENCE) > 0


def test_cancel_ends_a_wait_and_the_channel_lives_on(ends):
    import threading
    writer, reader = ends
    done = threading.Event()

    def cancel():               # the reader may not wait yet: until it ends, again and again
        while not done.wait(0.002):
            reader.cancel(qio.IN)

    with in_thread(cancel):
        with pytest.raises(qio.AbortedError):
            reader.read_some(timeout=PATIENCE)
        done.set()
    writer.write_all(b'still here')
    assert reader.read_exactly(10, timeout=PATIENCE) == b'still here'
