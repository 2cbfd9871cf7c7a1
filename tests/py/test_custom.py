# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels written in Python: what a class may write and return, and memory.  That they are channels
like any other is test_conformance.py's."""

import abc
import copy
import inspect
import io
import os
import socket
from unittest import mock

import pytest

import qio
from written import OverSocket, Told, socket_ends


# ---- what a class writes ----

def test_a_class_has_to_write_something():
    with pytest.raises(TypeError, match='has to write readinto'):
        qio.CustomChannel()


def test_what_is_not_written_is_not_supported():
    class Reader(qio.CustomChannel):
        def readinto(self, b):
            return 0

    channel = Reader()
    assert channel.kind == 'custom'
    assert (channel.readable(), channel.writable(), channel.seekable()) == (True, False, False)
    for call in (lambda: channel.write(b'x'), lambda: channel.shutdown('write'),
                 lambda: channel.seek(0), channel.fileno, lambda: channel.send_fds(b'x', [0]),
                 lambda: channel.pread(1, 0)):
        with pytest.raises((qio.UnsupportedError, qio.InvalidError)):
            call()
    channel.flush()
    channel.close()
    channel.close()
    with pytest.raises(qio.ClosedError):
        channel.read(1)


def test_init_need_not_be_called():
    class Careless(Told):
        def __init__(self):
            pass

    assert Careless().kind == 'custom'


def test_verbs_are_the_channels_outside_and_the_class_s_inside():
    calls = []

    class Below(qio.CustomChannel):
        def readinto(self, b):
            calls.append('below')
            b[:1] = b'x'
            return 1

        def close(self):
            calls.append('close below')

    class Above(Below):
        def readinto(self, b):
            calls.append('above')
            with pytest.raises(qio.BusyError):
                self.read(1)
            return super().readinto(b)

        def close(self):
            super().close()
            calls.append('close above')

    channel = Above()
    assert channel.readinto(bytearray(4)) == 1
    assert calls == ['above', 'below']
    channel.close()
    channel.close()
    assert calls[2:] == ['close below', 'close above']


def test_a_mixin_may_write_the_methods():
    class Ones:
        def readinto(self, b):
            b[:] = b'1' * len(b)
            return len(b)

    class Channel(Ones, qio.CustomChannel):
        pass

    assert Channel().read_exactly(5) == b'11111'
    assert Channel().readinto(bytearray(3)) == 3


def test_methods_can_be_replaced():
    class Channel(qio.CustomChannel):
        def readinto(self, b):
            return 0

    channel = Channel()
    assert channel.read(1) == b''
    Channel.readinto = lambda self, b: b.__setitem__(slice(0, 2), b'ab') or 2
    assert channel.read(5) == b'ab'


def test_it_is_an_ordinary_class():
    class Channel(qio.CustomChannel, abc.ABC):
        def __init__(self, data: bytes, *more):
            self.data = data

        def readinto(self, b):
            """Reads."""
            return 0

        @abc.abstractmethod
        def further(self):
            pass

    with pytest.raises(TypeError, match='abstract'):
        Channel(b'')

    class Complete(Channel):
        further = None

    channel = Complete(b'x', 1, 2)
    assert channel.data == b'x'
    assert Channel.readinto.__doc__ == 'Reads.'
    assert str(inspect.signature(Channel.readinto)) == '(self, b)'
    with mock.patch.object(Channel, 'readinto', lambda self, b: b.__setitem__(0, 7) or 1):
        assert channel.read(1) == b'\7'
    assert channel.read(1) == b''
    with pytest.raises(TypeError):
        copy.copy(channel)


def test_looking_at_it_calls_no_method():
    class Unfinished(qio.CustomChannel):
        def readinto(self, b):
            raise AssertionError

        def fileno(self):
            raise AssertionError

        def get_poll(self, condition):
            raise AssertionError

    channel = Unfinished()
    assert repr(channel).startswith('<Unfinished at')
    assert not channel.closed and channel.pending == 0
    channel.close()
    assert channel.closed and channel.fileno() == -1


def test_seek_and_flush():
    class File(qio.CustomChannel):
        def __init__(self):
            self.file = io.BytesIO(b'0123456789')
            self.flushed = 0

        def readinto(self, b):
            return self.file.readinto(b)

        def write(self, b):
            return self.file.write(b)

        def seek(self, offset, whence):
            return self.file.seek(offset, whence)

        def flush(self):
            self.flushed += 1

    channel = File()
    assert channel.seek(4) == 4
    assert channel.read(2) == b'45'
    assert channel.peek(1)[:1] == b'6'
    assert channel.tell() == 6
    assert channel.write(b'xy') == 2
    assert channel.flushed
    assert channel.seek(0) == 0
    assert channel.read() == b'012345xy89'


def test_shutdown_is_told_the_direction():
    class Channel(qio.CustomChannel):
        def write(self, b):
            return len(b)

        def shutdown(self, how):
            seen.append(how)

    seen = []
    channel = Channel()
    channel.shutdown('read')
    channel.shutdown(socket.SHUT_WR)
    channel.shutdown('both')
    channel.send_eof()
    assert seen == ['read', 'write', 'both', 'write']


def test_blocking_io_error_means_would_block():
    channel = Told(BlockingIOError(), BlockingIOError())
    channel.setblocking(False)
    assert channel.read(1) is None
    assert channel.write(b'x') is None
    with pytest.raises(TimeoutError):
        channel.read_exactly(1, timeout=0.01)


def test_descriptors_pass():
    ours, theirs = socket_ends()
    with ours, theirs, open('/dev/null') as null:
        assert ours.send_fds(b'take', [null, null]) == 4
        data, fds, _, _ = socket.recv_fds(theirs, 10, 5)
        assert (data, len(fds)) == (b'take', 2)
        socket.send_fds(theirs, [b'back'], fds)
        for fd in fds:
            os.close(fd)
        data, got = ours.recv_fds(10)
        assert (data, len(got)) == (b'back', 2)
        for fd in got:
            assert os.fstat(fd.fileno()).st_rdev == os.fstat(null.fileno()).st_rdev
            fd.close()
        # Those that nobody asked for are closed.
        socket.send_fds(theirs, [b'more'], [null.fileno()])
        assert ours.read(10) == b'more'


# ---- what a method returns ----

@pytest.mark.parametrize('value, kind, text', [
    (True, TypeError, 'not bool'), ('4', TypeError, 'not str'), (1.0, TypeError, 'not float'),
    (b'abcd', TypeError, 'not bytes'), (5, ValueError, 'from 0 to 4'),
    (-1, ValueError, 'from 0 to 4'), (2**70, ValueError, 'from 0 to 4')])
def test_a_wrong_count_is_told(value, kind, text):
    with pytest.raises(kind, match=rf'Told\.readinto\(\).*{text}'):
        Told(value).read(4)
    with pytest.raises(kind, match=r'Told\.write\(\)'):
        Told(write=value).write(b'abcd')


def test_accepting_nothing_is_no_count():
    with pytest.raises(ValueError, match='from 1 to 3'):
        Told(write=0).write(b'abc')


@pytest.mark.parametrize('value, kind', [
    ('1', TypeError), ((1, 2, 3), TypeError), ((0, 'sideways'), ValueError), (12345, qio.Error)])
def test_a_wrong_get_poll_is_told(value, kind):
    class Channel(Told):
        def get_poll(self, condition):
            return value

    with pytest.raises(kind):
        channel = Channel()
        channel.wait(qio.IN, timeout=0)
        channel.read(1)


def test_get_poll_may_name_another_condition():
    class Swapped(OverSocket):
        def get_poll(self, condition):
            seen.append(condition)
            return self.sock, qio.OUT

    seen = []
    ours, theirs = socket.socketpair()
    with Swapped(ours) as channel, theirs:
        assert channel.wait(qio.IN, timeout=0) == qio.IN
        assert set(seen) == {qio.IN}


# ---- memory ----

def test_a_view_that_is_kept_is_python_s_own_memory():
    kept = []

    def read(b):
        kept.append(b)
        b[:3] = b'abc'
        return 3

    channel = Told(read, lambda b: kept.append(b) or len(b))
    assert channel.read(10) == b'abc'
    assert channel.read(10) == b'abc'
    assert len({id(view.obj) for view in kept}) == 2
    kept[0][:3] = b'xyz'
    assert bytes(kept[1][:3]) == b'abc'
    buffer = bytearray(b'data')
    channel.write(buffer)
    buffer[:] = b'gone'
    assert kept[2] == b'data' and type(kept[2]) is bytes


def test_the_memory_cannot_be_taken_away():
    def read(b):
        with pytest.raises(BufferError):
            b.obj.clear()
        b.release()
        return 0

    assert Told(read).read(4) == b''


def test_a_large_transfer_comes_in_parts():
    sizes = []

    def write(b):
        sizes.append(len(b))
        return len(b)

    assert Told(write=write).write(bytes(3_000_000)) == 3_000_000
    assert max(sizes) <= 1 << 20
