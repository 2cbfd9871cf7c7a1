# SPDX-License-Identifier: LGPL-2.1-or-later
"""File channels around descriptors from outside: pipes, FIFOs, terminals; who owns them, and what
stays as it was."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import tty

import pytest

import qio
from rigs import PATIENCE, in_thread, read_n

BULK = bytes(i * 7 % 251 for i in range(1_000_003))


@pytest.fixture
def path(tmp_path):
    """The name of a file with ten bytes in it."""
    path = tmp_path / 'file'
    path.write_bytes(b'0123456789')
    return path


@contextlib.contextmanager
def both_ends(make):
    """The descriptors that make() gives, closed at the end unless somebody took them."""
    ends = list(make())
    try:
        yield ends
    finally:
        for fd in ends:
            if fd is not None:
                os.close(fd)


def flags_of(fd):
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def raw_pty():
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave


# ---- descriptors from outside ----

def from_outside(name, path):
    """(a descriptor to read from, its other end or None)."""
    if name == 'file':
        return os.open(path, os.O_RDWR), None
    if name == 'null':
        return os.open('/dev/null', os.O_RDWR), None
    if name == 'pty-slave':
        return tuple(reversed(raw_pty()))
    return {'pipe': os.pipe, 'pty-master': raw_pty}[name]()


FOREIGN = ['file', 'null', 'pipe', 'pty-master', 'pty-slave']


@pytest.mark.parametrize('flags', [0, os.O_NONBLOCK])
@pytest.mark.parametrize('name', FOREIGN)
def test_o_nonblock_of_a_foreign_descriptor_stays_as_it_was(path, name, flags):
    with both_ends(lambda: from_outside(name, path)) as ends:
        fcntl.fcntl(ends[0], fcntl.F_SETFL, flags_of(ends[0]) | flags)
        before = flags_of(ends[0])
        with qio.from_fd(os.dup(ends[0])) as channel:
            for blocking in (False, True):
                channel.setblocking(blocking)
                channel.read_some(1) if not blocking else channel.wait('in', timeout=0)
                assert flags_of(ends[0]) == before
                assert flags_of(channel.fileno()) == before
            taken = channel.detach()
        assert flags_of(taken) == before
        os.close(taken)
        if ends[1] is None:
            ends.pop()


@pytest.mark.parametrize('name', ['pipe', 'pty-master', 'pty-slave'])
def test_nonblocking_reads_of_foreign_descriptors_do_not_wait(path, name):
    with both_ends(lambda: from_outside(name, path)) as ends:
        with qio.from_fd(os.dup(ends[0])) as channel:
            channel.setblocking(False)
            assert channel.read_some() is None
            assert not channel.wait('in', timeout=0)
            os.write(ends[1], b'x')
            assert channel.wait('in', timeout=PATIENCE) & qio.IN
            assert channel.read_some() == b'x'
            assert channel.read_some() is None


def test_a_pty_carries_bytes_both_ways():
    with both_ends(raw_pty) as ends:
        with qio.from_fd(os.dup(ends[0])) as master, qio.from_fd(os.dup(ends[1])) as slave:
            assert master.isatty() and slave.isatty()
            master.write_all(b'to the slave\n')
            assert slave.readline(timeout=PATIENCE) == b'to the slave\n'
            slave.write_all(b'to the master\n')
            assert master.readline(timeout=PATIENCE) == b'to the master\n'


def test_a_large_write_to_a_pty_ends_when_the_other_side_reads():
    with both_ends(raw_pty) as ends:
        with qio.from_fd(os.dup(ends[0])) as master, qio.from_fd(os.dup(ends[1])) as slave:
            with in_thread(slave.write_all, BULK[:100_000]):
                assert read_n(master, 100_000) == BULK[:100_000]


def test_a_nonblocking_write_to_a_full_pty_takes_part():
    with both_ends(raw_pty) as ends, qio.from_fd(os.dup(ends[1])) as slave:
        slave.setblocking(False)
        total = 0
        while (n := slave.write(BULK[:65536])) is not None:
            total += n
        assert 0 < total < 1_000_000


def test_closing_the_slave_is_the_end_or_an_error_of_the_master():
    with both_ends(raw_pty) as ends, qio.from_fd(os.dup(ends[0])) as master:
        os.close(ends.pop())
        with pytest.raises(qio.Error) as caught:
            master.read_some(timeout=PATIENCE)
        assert caught.value.errno == errno.EIO


def test_opening_a_terminal_does_not_make_it_the_controlling_one():
    """In a session of its own, where an open without O_NOCTTY would."""
    script = '''
import os, qio, sys
os.setsid()
channel = qio.open_file(sys.argv[1], 'rw')
again = qio.from_fd(os.dup(channel.fileno()))
try:
    os.open('/dev/tty', os.O_RDWR)
except OSError:
    print('none')
channel.close()
again.close()
'''
    with both_ends(raw_pty) as ends:
        done = subprocess.run([sys.executable, '-c', script, os.ttyname(ends[1])],
                              capture_output=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == (b'none\n', b'')


def test_the_settings_of_a_terminal_stay(path):
    with both_ends(os.openpty) as ends:
        before = termios.tcgetattr(ends[1])
        with qio.from_fd(os.dup(ends[1])) as channel:
            channel.setblocking(False)
            channel.read_some()
            assert termios.tcgetattr(ends[1]) == before
        assert termios.tcgetattr(ends[1]) == before


def test_a_pipe_of_subprocess_reads_and_writes():
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
        before = flags_of(stdin), flags_of(stdout)
        with qio.from_fd(os.dup(stdin)) as to_cat, qio.from_fd(os.dup(stdout)) as from_cat:
            assert (flags_of(stdin), flags_of(stdout)) == before
            process.stdin.close()
            with in_thread(lambda: (to_cat.write_all(BULK), to_cat.close())):
                assert from_cat.read() == BULK


def test_a_child_does_not_see_its_inherited_pipe_turn_nonblocking():
    """The child's standard input is the description that a channel here reads as well."""
    script = ('import fcntl, os, sys; sys.stdin.readline();'
              'print(bool(fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK))')
    with both_ends(os.pipe) as (reader, writer):
        with subprocess.Popen([sys.executable, '-c', script], stdin=reader,
                              stdout=subprocess.PIPE) as child:
            with qio.from_fd(os.dup(reader)) as channel:
                channel.setblocking(False)
                assert channel.read_some() is None
                os.write(writer, b'\n')
                assert child.communicate(timeout=PATIENCE)[0] == b'False\n'


@pytest.mark.parametrize('make', [os.pipe, os.openpty])
def test_pipes_and_terminals_have_no_position(make):
    with both_ends(make) as ends, qio.from_fd(os.dup(ends[0])) as channel:
        assert not channel.seekable()
        for call in (lambda: channel.seek(0), lambda: channel.tell(),
                     lambda: channel.pread(1, 0)):
            with pytest.raises(OSError):
                call()


# ---- FIFOs ----

def test_a_fifo_ends_when_the_last_writer_is_gone(tmp_path):
    path = tmp_path / 'fifo'
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    with qio.open_file(path) as reader, qio.open_file(path, 'w') as writer:
        os.close(keep)
        writer.write(b'abc')
        assert reader.read_some() == b'abc'
        reader.setblocking(False)
        assert reader.read_some() is None
        writer.close()
        assert reader.wait('in', timeout=PATIENCE)
        assert reader.read_some() == b''


def test_opening_a_fifo_waits_for_the_other_side_as_open_does(tmp_path):
    path = tmp_path / 'fifo'
    os.mkfifo(path)
    got = []

    def read():
        with qio.open_file(path) as reader:
            got.append(reader.read())

    with in_thread(read), qio.open_file(path, 'w') as writer:
        writer.write_all(b'hello')
    assert got == [b'hello']


# ---- pipes that fill ----

def test_a_large_write_waits_for_a_slow_reader():
    with both_ends(os.pipe) as ends, qio.from_fd(os.dup(ends[1])) as writer:
        got = bytearray()

        def read_slowly():
            while len(got) < len(BULK):
                got.extend(os.read(ends[0], 4099))

        with in_thread(read_slowly):
            assert writer.write(BULK) == len(BULK)
    assert got == BULK


def test_a_timed_out_write_says_how_far_it_came():
    with both_ends(os.pipe) as ends, qio.from_fd(os.dup(ends[1])) as writer:
        with pytest.raises(qio.TimeoutError) as caught:
            writer.write(BULK, timeout=0.01)
        n = caught.value.bytes_written
        assert 0 < n < len(BULK)
        got = b''
        while len(got) < n:
            got += os.read(ends[0], n - len(got))
        assert got == BULK[:n]
        assert not select.select([ends[0]], [], [], 0)[0]


def test_a_nonblocking_write_takes_what_fits_and_then_nothing():
    with both_ends(os.pipe) as ends, qio.from_fd(os.dup(ends[1])) as writer:
        writer.setblocking(False)
        total = 0
        while (n := writer.write(BULK[total:])) is not None:
            total += n
        assert total == fcntl.fcntl(ends[1], fcntl.F_GETPIPE_SZ)
        assert not writer.wait('out', timeout=0)
        assert os.read(ends[0], 65536) == BULK[:65536]
        assert writer.wait('out', timeout=PATIENCE) & qio.OUT


def test_a_broken_pipe_is_an_exception_and_no_signal():
    """With SIGPIPE at its default, where a signal would end the program."""
    script = '''
import os, qio, signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
reader, writer = os.pipe()
os.close(reader)
for channel in (qio.from_fd(writer), qio.command(['true'])):
    if channel.kind == 'command':
        channel.wait_exit()
    try:
        channel.write(b'x' * 100000)
    except BrokenPipeError as error:
        print(error.errno, isinstance(error, qio.BrokenPipeError))
    channel.close()
print(signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, []))
'''
    done = subprocess.run([sys.executable, '-W', 'error', '-c', script], capture_output=True,
                          timeout=PATIENCE, text=True)
    assert done.stderr == ''
    assert done.stdout == f'{errno.EPIPE} True\n' * 2 + 'set() set()\n'


def test_a_sigpipe_that_waited_before_still_waits():
    signals = {signal.SIGPIPE}
    handler = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        signal.raise_signal(signal.SIGPIPE)
        with both_ends(os.pipe) as ends, qio.from_fd(os.dup(ends[1])) as writer:
            os.close(ends.pop(0))
            with pytest.raises(BrokenPipeError):
                writer.write(b'x')
        assert signal.sigtimedwait(signals, 0) is not None
    finally:
        signal.signal(signal.SIGPIPE, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


# ---- who owns the descriptor ----

@pytest.mark.parametrize('bad', [None, 1.5, '1', True, [], object()])
def test_from_fd_of_what_is_no_descriptor_is_a_type_error(bad):
    with pytest.raises(TypeError, match='fd'):
        qio.from_fd(bad)


@pytest.mark.parametrize('bad', [-1, -2**31, 2**31, 2**70, 1_000_000])
def test_from_fd_of_a_number_that_is_not_open_is_refused(bad):
    with pytest.raises((ValueError, OverflowError), match='fd'):
        qio.from_fd(bad)


def test_from_fd_takes_an_fd_object_on_success_only():
    reader, writer = os.pipe()
    os.close(writer)
    fd = qio.Fd(reader)
    with qio.from_fd(fd) as channel:
        assert fd.closed
        assert channel.fileno() == reader
    with pytest.raises(qio.ClosedError):
        qio.from_fd(fd)


def test_a_foreign_pipe_does_not_wait_even_without_a_descriptor_to_spare():
    script = '''
import os, qio, resource
reader, writer = os.pipe()
resource.setrlimit(resource.RLIMIT_NOFILE, (writer + 1, writer + 1))
channel = qio.from_fd(reader)
channel.setblocking(False)
assert channel.read_some() is None
os.write(writer, b'x')
assert channel.read_some() == b'x'
assert channel.detach() == reader
os.write(writer, b'y')
print(os.read(reader, 2))
'''
    done = subprocess.run([sys.executable, '-W', 'error', '-c', script], capture_output=True,
                          timeout=PATIENCE, text=True)
    assert (done.stdout, done.stderr) == ("b'y'\n", '')


def test_detach_gives_the_descriptor_away_and_closes_the_channel(path):
    channel = qio.open_file(path)
    channel.read(2)
    fd = channel.fileno()
    assert channel.detach() == fd
    assert channel.closed
    assert channel.fileno() == -1
    channel.close()
    assert os.read(fd, 100) == b'23456789'
    os.close(fd)
    with pytest.raises(qio.ClosedError):
        channel.detach()


def test_detach_with_bytes_read_ahead_is_refused_as_they_would_be_lost():
    with both_ends(os.pipe) as ends, qio.from_fd(os.dup(ends[0])) as channel:
        os.write(ends[1], b'one\ntwo\n')
        assert channel.readline() == b'one\n'
        with pytest.raises(qio.BusyError):
            channel.detach()
        assert channel.read_some() == b'two\n'
        os.close(channel.detach())


def test_close_closes_the_descriptor_once(path):
    channel = qio.open_file(path)
    fd = channel.fileno()
    channel.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    again = os.open(path, os.O_RDONLY)
    channel.close()
    os.fstat(again)
    os.close(again)


def test_the_standard_streams_of_a_program_can_be_channels():
    script = '''
import os, qio
with qio.from_fd(os.dup(0)) as stdin, qio.from_fd(os.dup(1)) as stdout:
    for line in stdin:
        stdout.write_all(line.upper())
'''
    done = subprocess.run([sys.executable, '-c', script], input=b'one\ntwo\n',
                          stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    assert done.stdout == b'ONE\nTWO\n'
