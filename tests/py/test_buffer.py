# SPDX-License-Identifier: LGPL-2.1-or-later
"""The channels that are memory (checked against io.BytesIO) and the one that is nothing."""

import io
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import qio

SIZES = st.integers(0, 40)
DATA = st.one_of(st.binary(max_size=40), st.sampled_from([b'\n', b'a\nb\n', b'\r\n', b'\0']))


class BufferAgainstBytesIO(RuleBasedStateMachine):
    """Every call goes to a channel and to a BytesIO, which have to agree on all there is to see."""

    def __init__(self):
        super().__init__()
        self.channel = qio.buffer()
        self.model = io.BytesIO()

    def teardown(self):
        with self.channel:
            self.getvalue()
            self.tell()

    @rule(data=DATA)
    def write(self, data):
        assert self.channel.write(data) == self.model.write(data)

    @rule(parts=st.lists(DATA, max_size=4))
    def writev(self, parts):
        assert self.channel.writev(parts) == self.model.write(b''.join(parts))

    @rule(n=SIZES)
    def read(self, n):
        assert self.channel.read(n) == self.model.read(n)

    @rule()
    def read_to_the_end(self):
        assert self.channel.read() == self.model.read()

    @rule(n=SIZES)
    def readinto(self, n):
        ours, theirs = bytearray(n), bytearray(n)
        assert self.channel.readinto(ours) == self.model.readinto(theirs)
        assert ours == theirs

    @rule(sizes=st.lists(SIZES, max_size=4))
    def readv(self, sizes):
        parts = [bytearray(n) for n in sizes]
        n = self.channel.readv(parts)
        assert b''.join(parts)[:n] == self.model.read(sum(sizes))

    @rule(size=st.one_of(st.none(), st.just(-1), SIZES))
    def readline(self, size):
        assert self.channel.readline(size) == self.model.readline(-1 if size is None else size)

    @rule(delims=st.lists(st.sampled_from([b'\n', b'\r\n', b'\0', b'b']), min_size=1, max_size=3))
    def read_until(self, delims):
        rest = self.model.getvalue()[self.model.tell():]
        ends = [rest.index(delim) + len(delim) for delim in delims if delim in rest]
        assert self.channel.read_until(tuple(delims)) == self.model.read(min(ends, default=None))

    @rule(n=st.integers(1, 40))
    def peek(self, n):
        here = self.model.tell()
        peeked = self.channel.peek(n)
        expected = self.model.getvalue()[here:here + n]
        assert expected.startswith(peeked) and bool(peeked) == bool(expected)

    @rule(n=SIZES, offset=st.integers(0, 200))
    def pread(self, n, offset):
        assert self.channel.pread(n, offset) == self.model.getvalue()[offset:offset + n]

    @precondition(lambda self: self.channel.pending == 0)   # does not reach what is read ahead
    @rule(data=DATA, offset=st.integers(0, 200))
    def pwrite(self, data, offset):
        here = self.model.tell()
        self.model.seek(offset)
        assert self.channel.pwrite(data, offset) == self.model.write(data)
        self.model.seek(here)

    @rule(offset=st.integers(0, 200))
    def seek_from_the_start(self, offset):
        assert self.channel.seek(offset) == self.model.seek(offset)

    @rule(offset=st.integers(-60, 60))
    def seek_from_here_or_the_end(self, offset):
        for whence, base in ((os.SEEK_CUR, self.model.tell()),
                             (os.SEEK_END, len(self.model.getvalue()))):
            if base + offset >= 0:
                assert self.channel.seek(offset, whence) == self.model.seek(base + offset)

    @precondition(lambda self: self.model.tell() < 60)
    @rule(offset=st.integers(61, 100))
    def seek_before_the_start_is_refused(self, offset):
        with pytest.raises(ValueError):
            self.channel.seek(-offset, os.SEEK_CUR)

    # No invariants: telling the position drops what is read ahead, which is to be tested too.
    @rule()
    def tell(self):
        assert self.channel.tell() == self.model.tell()

    @rule()
    def getvalue(self):
        assert self.channel.getvalue() == self.model.getvalue()


BufferAgainstBytesIO.TestCase.settings = settings(max_examples=60, stateful_step_count=40,
                                                  deadline=None, derandomize=True,
                                                  database=None)
TestBufferAgainstBytesIO = BufferAgainstBytesIO.TestCase


def test_a_buffer_begins_with_a_copy_of_the_data():
    data = bytearray(b'abc')
    with qio.buffer(data) as channel:
        assert isinstance(channel, qio.BufferChannel)
        data[:] = b'xyz'
        assert channel.tell() == 0
        assert channel.getvalue() == b'abc'
        assert channel.read() == b'abc'


@pytest.mark.parametrize('data', [b'abc', bytearray(b'abc'), memoryview(b'abc'),
                                  memoryview(bytearray(b'-abc-'))[1:4]])
def test_a_buffer_takes_any_bytes(data):
    with qio.buffer(data) as channel:
        assert channel.getvalue() == b'abc'


@pytest.mark.parametrize('data', ['abc', 3, None, [1, 2], object()])
def test_a_buffer_of_what_is_no_bytes_is_a_type_error(data):
    with pytest.raises(TypeError, match='data|bytes-like'):
        qio.buffer(data)


def test_a_gap_reads_as_zeros():
    with qio.buffer(b'abc') as channel:
        channel.seek(5)
        assert channel.read() == b''
        assert channel.getvalue() == b'abc'     # a seek alone makes none
        channel.write(b'x')
        assert channel.getvalue() == b'abc\0\0x'


def test_a_seek_to_nowhere_moves_nothing():
    with qio.buffer(b'abc') as channel:
        channel.seek(1)
        for offset, whence in ((-1, os.SEEK_SET), (-2, os.SEEK_CUR), (-4, os.SEEK_END),
                               (2**63 - 1, os.SEEK_CUR), (0, 9)):
            with pytest.raises((ValueError, OSError)):
                channel.seek(offset, whence)
            assert channel.tell() == 1


@pytest.mark.parametrize('offset', [2**63, -2**63 - 1, 2**100])
def test_an_offset_beyond_64_bits_is_an_error(offset):
    with qio.buffer(b'abc') as channel:
        for call in (lambda: channel.seek(offset), lambda: channel.pread(1, offset),
                     lambda: channel.pwrite(b'x', offset)):
            with pytest.raises((OverflowError, ValueError)):
                call()


def test_a_write_too_far_out_is_an_error_and_changes_nothing():
    with qio.buffer(b'abc') as channel:
        for offset in (2**63 - 1, 2**62):
            with pytest.raises((OSError, MemoryError)):
                channel.pwrite(b'xx', offset)
        assert channel.getvalue() == b'abc'


def test_a_buffer_is_always_ready_in_both_modes():
    with qio.buffer() as channel:
        for blocking in (True, False):
            channel.setblocking(blocking)
            assert channel.wait(qio.IN | qio.OUT, timeout=0) == qio.IN | qio.OUT
            assert channel.read_some() == b''


def test_a_buffer_has_no_descriptor():
    with qio.buffer() as channel:
        for call in (channel.fileno, channel.detach):
            with pytest.raises(io.UnsupportedOperation):
                call()
        assert (channel.readable(), channel.writable(), channel.seekable()) == (True,) * 3
        assert not channel.isatty()
        assert channel.local_address is None
        assert channel.peer_cred is None


def test_a_closed_buffer_has_no_value():
    channel = qio.buffer(b'abc')
    channel.close()
    with pytest.raises(ValueError):
        channel.getvalue()


def test_a_write_goes_where_the_reader_is_not_behind_what_was_read_ahead():
    with qio.buffer(b'abcdef') as channel:
        assert channel.peek(6) == b'abcdef'
        assert channel.read(3) == b'abc'
        channel.write(b'Y')
        assert channel.getvalue() == b'abcYef'
        assert channel.read() == b'ef'


def test_two_megabytes_in_small_pieces_come_back_whole():
    with qio.buffer() as channel:
        piece = bytes(range(256)) * 8
        for _ in range(1024):
            channel.write(piece)
        channel.seek(0)
        assert channel.read() == piece * 1024


# ---- the null channel ----

@pytest.mark.parametrize('blocking', [True, False])
def test_null_swallows_everything_and_is_at_the_end(blocking):
    with qio.null() as channel:
        channel.setblocking(blocking)
        assert isinstance(channel, qio.NullChannel)
        assert channel.kind == 'null'
        assert channel.write(b'x' * 1_000_000) == 1_000_000
        assert channel.writev([b'ab', b'', b'c']) == 3
        channel.write_all(b'y')
        assert channel.read() == b''
        assert channel.read_some() == b''
        assert channel.readline() == b''
        assert channel.peek() == b''
        assert channel.readinto(bytearray(3)) == 0
        assert channel.read_exactly(1, eof_ok=True) == b''
        with pytest.raises(EOFError):
            channel.read_exactly(1)
        assert channel.wait(qio.IN | qio.OUT, timeout=0) == qio.IN | qio.OUT


def test_null_has_no_descriptor():
    with qio.null() as channel:
        with pytest.raises(io.UnsupportedOperation):
            channel.fileno()
