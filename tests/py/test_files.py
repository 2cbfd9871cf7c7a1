# SPDX-License-Identifier: LGPL-2.1-or-later
"""File channels that are opened by name: files, folders, devices; what they do with a position."""

import errno
import os
import re
import stat
import termios

import pytest

import qio
from rigs import PATIENCE

BULK = bytes(i * 7 % 251 for i in range(1_000_003))


@pytest.fixture
def path(tmp_path):
    """The name of a file with ten bytes in it."""
    path = tmp_path / 'file'
    path.write_bytes(b'0123456789')
    return path


# ---- opening by name ----

def test_r_reads_and_does_not_write(path):
    with qio.open_file(path) as channel:
        assert isinstance(channel, qio.FileChannel)
        assert channel.kind == 'file'
        assert (channel.readable(), channel.writable(), channel.seekable()) == (True, False, True)
        assert channel.read() == b'0123456789'
        with pytest.raises(qio.Error) as caught:
            channel.write(b'x')
        assert caught.value.errno == errno.EBADF
    assert path.read_bytes() == b'0123456789'


def test_w_empties_the_file_and_does_not_read(path):
    with qio.open_file(path, 'w') as channel:
        assert path.read_bytes() == b''
        assert (channel.readable(), channel.writable()) == (False, True)
        assert channel.write(b'new') == 3
        with pytest.raises(qio.Error) as caught:
            channel.read_some()
        assert caught.value.errno == errno.EBADF
    assert path.read_bytes() == b'new'


def test_rw_keeps_what_is_there(path):
    with qio.open_file(path, 'rw') as channel:
        assert (channel.readable(), channel.writable()) == (True, True)
        assert channel.write(b'ab') == 2
        assert channel.read(2) == b'23'
    assert path.read_bytes() == b'ab23456789'


def test_a_writes_at_the_end_wherever_that_has_moved(path):
    with qio.open_file(path, 'a') as channel:
        channel.write(b'ab')
        with open(path, 'ab') as other:
            other.write(b'--')
        channel.write(b'cd')
    assert path.read_bytes() == b'0123456789ab--cd'


@pytest.mark.parametrize('mode', ['w', 'rw', 'a'])
def test_writing_modes_make_the_file(tmp_path, mode):
    with qio.open_file(tmp_path / 'new', mode) as channel:
        channel.write(b'x')
    assert (tmp_path / 'new').read_bytes() == b'x'


@pytest.mark.parametrize('umask, permissions, result', [
    (0o022, 0o666, 0o644),
    (0o077, 0o666, 0o600),
    (0o000, 0o640, 0o640),
    (0o022, 0o755, 0o755),
])
def test_permissions_of_a_new_file_are_less_the_umask(tmp_path, umask, permissions, result):
    before = os.umask(umask)
    try:
        qio.open_file(tmp_path / 'new', 'w', permissions=permissions).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'new').stat().st_mode) == result


@pytest.mark.parametrize('form', [str, os.fsencode, lambda path: path])
def test_a_path_may_be_text_bytes_or_a_path_object(path, form):
    with qio.open_file(form(path)) as channel:
        assert channel.read() == b'0123456789'


def test_a_name_that_is_no_utf8_opens(tmp_path):
    name = os.fsencode(tmp_path) + b'/\xff\xfe'
    with qio.open_file(name, 'w') as channel:
        channel.write(b'x')
    with qio.open_file(os.fsdecode(name)) as channel:
        assert channel.read() == b'x'


def test_the_descriptor_is_close_on_exec(path):
    with qio.open_file(path) as channel:
        assert not os.get_inheritable(channel.fileno())


# ---- what cannot be opened ----

def test_a_missing_file_is_named_with_its_errno(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        qio.open_file(tmp_path / 'none')
    assert isinstance(caught.value, qio.FileNotFoundError)
    assert caught.value.errno == errno.ENOENT
    assert str(tmp_path / 'none') in str(caught.value)


def test_a_file_is_no_folder(path):
    with pytest.raises(NotADirectoryError) as caught:
        qio.open_file(path / 'below')
    assert str(path / 'below') in str(caught.value)


def test_a_folder_cannot_be_written(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        qio.open_file(tmp_path, 'rw')
    assert caught.value.errno == errno.EISDIR
    assert str(tmp_path) in str(caught.value)


def test_a_folder_opens_for_reading_and_its_read_fails(tmp_path):
    with qio.open_file(tmp_path) as channel:
        with pytest.raises(IsADirectoryError):
            channel.read_some()


def test_odd_names_are_escaped_in_the_message(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        qio.open_file(f'{tmp_path}/a\nb\x1b[1m')
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('mode', ['', 'x', 'wr', 'r+', 'rb'])
def test_an_unknown_mode_is_named_with_those_there_are(path, mode):
    with pytest.raises(ValueError, match=re.escape(f'"{mode}"')) as caught:
        qio.open_file(path, mode)
    assert 'r, w, rw or a' in str(caught.value)


@pytest.mark.parametrize('bad', [None, 1, 1.5, [], object()])
def test_what_is_no_path_is_a_type_error(bad):
    with pytest.raises(TypeError, match='path'):
        qio.open_file(bad)


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(ValueError, match='path'):
        qio.open_file('/tmp/a\0b')


@pytest.mark.parametrize('bad', [-1, 0o10000, 2**40])
def test_permissions_out_of_range_are_named(tmp_path, bad):
    with pytest.raises((ValueError, OverflowError), match='permissions'):
        qio.open_file(tmp_path / 'new', 'w', permissions=bad)
    assert not (tmp_path / 'new').exists()


# ---- the position ----

def test_seek_and_tell_as_a_file(path):
    with qio.open_file(path, 'rw') as channel:
        assert channel.tell() == 0
        assert channel.seek(4) == 4
        assert channel.read(2) == b'45'
        assert channel.tell() == 6
        assert channel.seek(0, os.SEEK_CUR) == 6
        assert channel.seek(-1, os.SEEK_CUR) == 5
        assert channel.seek(-3, os.SEEK_END) == 7
        assert channel.read() == b'789'
        assert channel.seek(20) == 20
        assert channel.read() == b''
        channel.write(b'x')
    assert path.read_bytes() == b'0123456789' + bytes(10) + b'x'


def test_a_seek_before_the_start_is_an_error_and_moves_nothing(path):
    with qio.open_file(path) as channel:
        channel.seek(3)
        with pytest.raises(OSError):
            channel.seek(-1)
        with pytest.raises(OSError):
            channel.seek(-11, os.SEEK_END)
        assert channel.tell() == 3


@pytest.mark.parametrize('whence', [-1, 7, 1000])
def test_an_unknown_whence_is_an_error(path, whence):
    with qio.open_file(path) as channel:
        with pytest.raises((ValueError, OSError)):
            channel.seek(0, whence)
        assert channel.tell() == 0


def test_tell_counts_from_the_reader_not_from_what_was_read_ahead(path):
    with qio.open_file(path) as channel:
        assert channel.peek(1)
        assert channel.pending > 1
        assert channel.tell() == 0
        channel.read(3)
        assert channel.tell() == 3
        assert channel.seek(2, os.SEEK_CUR) == 5
        assert channel.read(2) == b'56'


def test_a_write_after_a_readline_goes_where_the_reader_is(tmp_path):
    path = tmp_path / 'lines'
    path.write_bytes(b'one\ntwo\nthree\n')
    with qio.open_file(path, 'rw') as channel:
        assert channel.readline() == b'one\n'
        channel.write(b'TWO')
        assert channel.tell() == 7
        assert channel.readline() == b'\n'
        assert channel.readline() == b'three\n'
    assert path.read_bytes() == b'one\nTWO\nthree\n'


def test_a_seek_drops_what_was_read_ahead(path):
    with qio.open_file(path, 'rw') as channel:
        assert channel.peek(10) == b'0123456789'
        path.write_bytes(b'abcdefghij')
        channel.seek(0)
        assert channel.pending == 0
        assert channel.read(3) == b'abc'


def test_pread_and_pwrite_leave_the_position_alone(path):
    with qio.open_file(path, 'rw') as channel:
        channel.read(1)
        assert channel.pread(3, 5) == b'567'
        assert channel.pread(100, 8) == b'89'
        assert channel.pread(5, 10) == b''
        assert channel.pwrite(b'ab', 1) == 2
        view = bytearray(4)
        assert channel.pread_into(view, 0) == 4
        assert view == b'0ab3'
        assert channel.tell() == 1
        assert channel.read(2) == b'ab'


@pytest.mark.parametrize('call', [
    lambda channel: channel.pread(1, -1),
    lambda channel: channel.pwrite(b'x', -1),
    lambda channel: channel.pread(-1, 0),
])
def test_negative_offsets_and_sizes_are_refused(path, call):
    with qio.open_file(path, 'rw') as channel:
        with pytest.raises((ValueError, OSError)):
            call(channel)
    assert path.read_bytes() == b'0123456789'


# ---- always ready ----

def test_dev_null_swallows_and_is_at_the_end():
    with qio.open_file('/dev/null', 'rw') as channel:
        channel.setblocking(False)
        assert channel.wait('in', timeout=0) & qio.IN
        assert channel.read_some() == b''
        assert channel.write(BULK) == len(BULK)


def test_dev_full_is_out_of_space():
    with qio.open_file('/dev/full', 'w') as channel:
        with pytest.raises(qio.Error) as caught:
            channel.write(b'x')
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.bytes_written == 0


def test_dev_zero_reads_zeros_in_both_modes():
    with qio.open_file('/dev/zero') as channel:
        assert channel.read_exactly(100_000) == bytes(100_000)
        channel.setblocking(False)
        assert channel.read_some(10) == bytes(10)


@pytest.mark.parametrize('mode', ['r', 'rw'])
def test_a_watch_on_a_file_is_ready_at_once(path, mode):
    with qio.open_file(path, mode) as channel, qio.Loop() as loop:
        seen = []

        def on_readable(channel, condition):
            seen.append(channel.read(4))
            return seen[-1] != b''

        loop.watch(channel, 'in', on_readable)
        while not seen or seen[-1]:
            assert loop.run_once(PATIENCE)
        assert seen == [b'0123', b'4567', b'89', b'']


# ---- terminal lines ----

@pytest.fixture
def line():
    """Both sides of a terminal, in the mode of a shell's."""
    master, slave = os.openpty()
    yield qio.Fd(master), slave
    os.close(slave)


def test_a_line_is_set_up_by_its_uri(line):
    far, slave = line
    with qio.from_fd(far) as other:
        with qio.connect(f'file:{os.ttyname(slave)}?mode=rw&raw=on&speed=115200') as channel:
            _, oflag, cflag, lflag, *speeds, _ = termios.tcgetattr(slave)
            assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
            assert not oflag & termios.OPOST
            assert cflag & termios.CSIZE == termios.CS8
            assert cflag & termios.CLOCAL
            assert speeds == [termios.B115200, termios.B115200]
            channel.write(b'\x03\x04\r\n\x00')
            assert other.read_exactly(5, timeout=PATIENCE) == b'\x03\x04\r\n\x00'
            other.write(b'\x11\x13\x7f\r')
            assert channel.read_exactly(4, timeout=PATIENCE) == b'\x11\x13\x7f\r'
        # The settings are the line's: nothing is put back.
        assert not termios.tcgetattr(slave)[3] & termios.ICANON


def test_keys_of_a_line_are_for_terminals_only(path, tmp_path):
    for name in (path, '/dev/null'):
        with pytest.raises(qio.Error, match=str(name)) as caught:
            qio.connect(f'file:{name}?mode=rw&raw=on')
        assert caught.value.code == -10
    with pytest.raises(FileNotFoundError):
        qio.connect(f'file:{tmp_path}/ttyS0?mode=rw&raw=on')
    assert not (tmp_path / 'ttyS0').exists()
    assert path.read_bytes() == b'0123456789'


@pytest.mark.parametrize('speed, says', [(12345, 'speed: 12345'), (0, 'speed'), ('fast', 'speed')])
def test_a_speed_that_is_none_is_named(line, speed, says):
    far, slave = line
    with pytest.raises(ValueError, match=says):
        qio.connect(f'file:{os.ttyname(slave)}', mode='rw', speed=speed)
    far.close()
