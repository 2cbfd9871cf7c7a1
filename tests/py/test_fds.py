# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptors that travel with bytes, and the objects that own them."""

import array
import contextlib
import copy
import errno
import fcntl
import gc
import os
import pickle
import re
import socket
import subprocess
import sys

import pytest

import qio
from rigs import PATIENCE, read_n


@pytest.fixture
def ends():
    with contextlib.ExitStack() as stack:
        a, b = qio.pair()
        yield stack.enter_context(a), stack.enter_context(b)


@pytest.fixture
def channel_and_socket():
    """A channel, and the other side as a socket of Python's, for what a peer of any make does."""
    ours, theirs = socket.socketpair()
    with qio.from_socket(ours) as channel, theirs:
        yield channel, theirs


@pytest.fixture
def files(tmp_path):
    """files(n): n open files, each with its number in it."""
    with contextlib.ExitStack() as stack:

        def make(n):
            made = []
            for i in range(n):
                file = stack.enter_context(open(tmp_path / str(i), 'w+b', buffering=0))
                file.write(b'%d' % i)
                made.append(file)
            return made

        yield make


def content(fd):
    return os.pread(fd.fileno(), 100, 0)


def close_all(fds):
    for fd in fds:
        fd.close()


# ---- sending and receiving ----

@pytest.mark.parametrize('count', [0, 1, 2, 253])
def test_descriptors_arrive_in_order_with_their_bytes(ends, tmp_path, count):
    path = tmp_path / 'file'
    path.write_bytes(b'x')
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, 'rb')) for _ in range(count)]
        for i, file in enumerate(files):
            file.seek(i)
        assert ends[0].send_fds(b'data', files) == 4
        data, fds = ends[1].recv_fds(100)
        assert data == b'data'
        assert [os.lseek(fd.fileno(), 0, os.SEEK_CUR) for fd in fds] == list(range(count))
        assert all(isinstance(fd, qio.Fd) for fd in fds)
        close_all(fds)


def test_more_than_253_are_refused_and_nothing_is_sent(ends):
    with pytest.raises((ValueError, qio.LimitError), match='253'):
        ends[0].send_fds(b'data', [0] * 254)
    ends[1].setblocking(False)
    assert ends[1].recv_fds(10) is None


def test_numbers_and_objects_with_fileno_may_be_mixed(ends, files):
    a, b, c = files(3)
    received = None
    with qio.Fd(os.dup(c.fileno())) as owned, qio.open_file('/dev/null') as channel:
        assert ends[0].send_fds(b'x', (a.fileno(), b, owned, channel)) == 1
        data, received = ends[1].recv_fds(1)
        assert not owned.closed
        assert not channel.closed
    assert [content(fd) for fd in received[:3]] == [b'0', b'1', b'2']
    close_all(received)


def test_the_senders_descriptors_stay_open_and_as_they_were(ends):
    reader, writer = os.pipe()
    flags = fcntl.fcntl(reader, fcntl.F_GETFL), fcntl.fcntl(reader, fcntl.F_GETFD)
    ends[0].send_fds(b'x', [reader])
    _, (fd,) = ends[1].recv_fds(1)
    assert (fcntl.fcntl(reader, fcntl.F_GETFL), fcntl.fcntl(reader, fcntl.F_GETFD)) == flags
    with fd, qio.from_fd(fd) as channel:
        channel.setblocking(False)
        assert channel.read_some() is None
        assert fcntl.fcntl(reader, fcntl.F_GETFL) == flags[0]
    os.close(reader)
    os.close(writer)


def test_received_descriptors_are_close_on_exec(channel_and_socket):
    channel, peer = channel_and_socket
    os.set_inheritable(peer.fileno(), True)
    socket.send_fds(peer, [b'x'], [peer.fileno()])
    _, (fd,) = channel.recv_fds(1)
    with fd:
        assert not os.get_inheritable(fd.fileno())


@pytest.mark.parametrize('fds, error', [
    ([-1], (ValueError, OverflowError)), ([1_000_000], (ValueError, OSError)), (['0'], TypeError),
    ([None], TypeError), ([True], TypeError), (0, TypeError), (None, TypeError),
    ([2**40], (ValueError, OverflowError)), ([object()], TypeError),
])
def test_what_is_no_descriptor_is_refused_and_nothing_is_sent(ends, fds, error):
    with pytest.raises(error):
        ends[0].send_fds(b'x', fds)
    ends[1].setblocking(False)
    assert ends[1].recv_fds(1) is None


def test_descriptors_need_a_byte_to_travel_with(ends):
    with pytest.raises((ValueError, OSError)):
        ends[0].send_fds(b'', [0])
    ends[1].setblocking(False)
    assert ends[1].recv_fds(1) is None


@pytest.mark.parametrize('make', [
    lambda: qio.from_fd(os.open('/dev/null', os.O_RDWR)), qio.buffer, qio.null,
    lambda: qio.command(['cat'])])
def test_channels_that_pass_no_descriptors_say_so(make):
    with make() as channel:
        with pytest.raises(qio.Error):
            channel.send_fds(b'x', [0])


def test_tcp_passes_no_descriptors():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with qio.connect(listener.address) as a, listener.accept(timeout=PATIENCE) as b:
            with pytest.raises(qio.Error):
                a.send_fds(b'x', [0])
            a.write(b'y')
            assert b.read_some() == b'y'


def test_a_large_message_carries_its_descriptors_with_the_first_byte(ends, files):
    data = bytes(i % 251 for i in range(1_000_000))
    ends[0].setblocking(False)
    sent = ends[0].send_fds(data, files(1))
    assert 0 < sent < len(data)
    got, (fd,) = ends[1].recv_fds(1)
    assert got == data[:1]
    with fd:
        assert content(fd) == b'0'
    assert read_n(ends[1], sent - 1) == data[1:sent]


def test_a_full_socket_takes_neither_bytes_nor_descriptors(ends, files):
    ends[0].setblocking(False)
    while ends[0].write(bytes(65536)) is not None:
        pass
    assert ends[0].send_fds(b'x', files(1)) is None
    with pytest.raises(qio.TimeoutError):
        ends[0].setblocking(True)
        ends[0].send_fds(b'x', files(1), timeout=0.001)


def test_recv_fds_without_descriptors_is_a_read(ends):
    ends[0].write(b'plain')
    assert ends[1].recv_fds(100) == (b'plain', [])
    ends[0].close()
    assert ends[1].recv_fds(100) == (b'', [])


def test_recv_fds_times_out_as_a_read(ends):
    with pytest.raises(qio.TimeoutError):
        ends[1].recv_fds(1, timeout=0.001)
    ends[0].send_fds(b'x', [0])
    data, fds = ends[1].recv_fds(1, timeout=PATIENCE)
    assert (data, len(fds)) == (b'x', 1)
    close_all(fds)


@pytest.mark.parametrize('n, maxfds', [(-1, 1), (1, -1), (1, 254)])
def test_sizes_out_of_range_are_refused(ends, n, maxfds):
    ends[0].write(b'x')
    if maxfds == 254:
        assert ends[1].recv_fds(n, maxfds) == (b'x', [])
        return
    with pytest.raises(ValueError):
        ends[1].recv_fds(n, maxfds)
    assert ends[1].read_some() == b'x'


# ---- which bytes they belong to ----

def test_each_set_comes_with_its_own_bytes(ends, files):
    a, b = files(2)
    ends[0].send_fds(b'first', [a])
    ends[0].write(b'plain')
    ends[0].send_fds(b'second', [b])
    seen = b''
    sets = []
    while len(seen) < 16:
        data, fds = ends[1].recv_fds(100)
        if fds:
            sets.append((len(seen), [content(fd) for fd in fds]))
            close_all(fds)
        seen += data
    assert seen == b'firstplainsecond'
    assert [numbers for _, numbers in sets] == [[b'0'], [b'1']]
    # The kernel may give plain bytes that came before with a set, never a set too late.
    assert [at for at, _ in sets] == [0, 5] or [at for at, _ in sets] == [0, 10]


@pytest.mark.parametrize('ahead', ['peek', 'readline'])
def test_a_set_waits_in_the_channel_when_bytes_before_it_were_read_ahead(ends, files, ahead):
    ends[0].write(b'line\n')
    if ahead == 'peek':
        assert ends[1].peek(1) == b'l'
    ends[0].send_fds(b'with set', files(1))
    assert ends[1].readline() == b'line\n'
    data, (fd,) = ends[1].recv_fds(100)
    with fd:
        assert data == b'with set'
        assert content(fd) == b'0'


def test_peek_leaves_the_descriptors_with_the_bytes(ends, files):
    ends[0].send_fds(b'data', files(1))
    assert ends[1].peek(2)
    assert ends[1].peek(4) == b'data'
    data, (fd,) = ends[1].recv_fds(10)
    with fd:
        assert (data, content(fd)) == (b'data', b'0')


def test_a_read_that_did_not_ask_closes_them(ends):
    reader, writer = os.pipe()
    ends[0].send_fds(b'data', [writer])
    os.close(writer)
    assert ends[1].read_some() == b'data'
    with open(reader, 'rb') as file:
        assert file.read() == b''       # nobody holds the other end any more


def test_sets_held_by_a_channel_are_closed_with_it():
    reader, writer = os.pipe()
    a, b = qio.pair()
    with a:
        a.send_fds(b'data', [writer])
        os.close(writer)
        assert b.peek(4) == b'data'
        b.close()
    del b
    with open(reader, 'rb') as file:
        assert file.read() == b''


def test_more_descriptors_than_wanted_are_an_error_and_closed(ends, files):
    ends[0].send_fds(b'data', files(3))
    with pytest.raises(qio.TruncatedError, match='3.*maxfds is 2'):
        ends[1].recv_fds(10, 2)
    ends[0].write(b'goes on')
    assert ends[1].recv_fds(10) == (b'goes on', [])


def test_running_out_of_descriptors_is_a_truncated_error_and_leaks_none():
    script = '''
import os, qio, resource
a, b = qio.pair()
files = [os.dup(0) for _ in range(8)]
a.send_fds(b'data', files)
for fd in files:
    os.close(fd)
lowest = min(files)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, hard))
try:
    b.recv_fds(10)
except qio.TruncatedError as error:
    print('truncated')
assert not any(os.path.exists(f'/proc/self/fd/{fd}') for fd in range(lowest, lowest + 20))
a.write(b'goes on')
print(b.recv_fds(10))
a.close()
b.close()
'''
    done = subprocess.run([sys.executable, '-W', 'error', '-c', script], capture_output=True,
                          timeout=PATIENCE, text=True)
    assert done.stderr == ''
    assert done.stdout == "truncated\n(b'goes on', [])\n"


# ---- with peers of other makes ----

def test_a_socket_of_pythons_receives_what_a_channel_sends(channel_and_socket, files):
    channel, peer = channel_and_socket
    channel.send_fds(b'data', files(2))
    data, fds, flags, _ = socket.recv_fds(peer, 10, 10)
    assert (data, [os.pread(fd, 10, 0) for fd in fds]) == (b'data', [b'0', b'1'])
    for fd in fds:
        os.close(fd)


def test_a_channel_receives_what_a_socket_of_pythons_sends_in_two_parts(channel_and_socket, files):
    """Two control messages at once are nothing that Linux sends, so a set and bytes of others."""
    channel, peer = channel_and_socket
    rights = array.array('i', [file.fileno() for file in files(2)])
    peer.sendmsg([b'da', b'ta'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    data, fds = channel.recv_fds(10)
    assert (data, [content(fd) for fd in fds]) == (b'data', [b'0', b'1'])
    close_all(fds)


def test_a_channel_itself_can_be_passed(ends):
    inner, other = qio.pair()
    with other:
        with inner:
            ends[0].send_fds(b'x', [inner])
        _, (fd,) = ends[1].recv_fds(1)
        with qio.from_fd(fd) as passed:
            passed.write_all(b'through the passed one')
            passed.send_eof()
            assert other.read() == b'through the passed one'


def test_passing_many_sets_leaks_nothing(ends, files):
    (file,) = files(1)
    for _ in range(300):
        ends[0].send_fds(b'x', [file, file])
        _, fds = ends[1].recv_fds(1)
        close_all(fds)


# ---- the owner of a descriptor ----

def test_fd_owns_a_descriptor_until_close():
    number = os.dup(0)
    fd = qio.Fd(number)
    assert (fd.fileno(), fd.closed, repr(fd)) == (number, False, f'<Fd {number}>')
    fd.close()
    fd.close()
    assert fd.closed
    with pytest.raises(OSError):
        os.fstat(number)
    with pytest.raises(qio.ClosedError):
        fd.fileno()


def test_with_closes_it_unless_it_was_detached():
    with qio.Fd(os.dup(0)) as fd:
        number = fd.fileno()
    with pytest.raises(OSError):
        os.fstat(number)
    with qio.Fd(os.dup(0)) as fd:
        number = fd.detach()
    os.close(number)
    with pytest.raises(qio.ClosedError):
        fd.detach()
    with pytest.raises(qio.ClosedError):
        fd.__enter__()


def test_open_makes_a_file_that_owns_the_descriptor(files):
    (file,) = files(1)
    fd = qio.Fd(os.dup(file.fileno()))
    os.lseek(fd.fileno(), 0, os.SEEK_SET)
    with fd.open('r', encoding='ascii') as text:
        assert fd.closed
        assert text.read() == '0'
    with qio.Fd(os.dup(file.fileno())) as fd:
        with pytest.raises(ValueError):
            fd.open('nonsense')
        assert not fd.closed


def test_it_serves_wherever_an_object_with_fileno_does(files):
    (file,) = files(1)
    with qio.Fd(os.dup(file.fileno())) as fd:
        assert os.fstat(fd.fileno()).st_size == 1
        subprocess.run(['echo', 'hello'], stdout=fd, check=True, timeout=PATIENCE)
    assert content(file) == b'0hello\n'


def test_a_dropped_one_warns_and_is_closed():
    reader, writer = os.pipe()
    fd = qio.Fd(writer)
    with pytest.warns(ResourceWarning, match=re.escape(f'unclosed <Fd {writer}>')):
        del fd
        gc.collect()
    with open(reader, 'rb') as file:
        assert file.read() == b''


@pytest.mark.parametrize('bad, error', [
    (-1, OSError), (1_000_000, OSError), ('0', TypeError), (None, TypeError), (True, TypeError),
    (2**40, (ValueError, OverflowError)), (0.5, TypeError)])
def test_what_is_no_open_descriptor_makes_no_fd(bad, error):
    with pytest.raises(error) as caught:
        qio.Fd(bad)
    if error is OSError:
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_cannot_be_copied_or_pickled(duplicate):
    with qio.Fd(os.dup(0)) as fd:
        with pytest.raises(TypeError, match='dup'):
            duplicate(fd)
