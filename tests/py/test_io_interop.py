# SPDX-License-Identifier: LGPL-2.1-or-later
"""Channels where Python expects files: io, selectors, subprocess, asyncio, archives, buffers."""

import array
import asyncio
import copy
import ctypes
import io
import json
import mmap
import os
import pickle
import selectors
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile

import pytest

import qio
from rigs import PATIENCE, in_thread

DATA = bytes(i * 13 % 251 for i in range(200_003))


@pytest.fixture
def ends():
    a, b = qio.pair()
    with a, b:
        yield a, b


# ---- makefile ----

def test_makefile_reads_and_writes_bytes(ends):
    with ends[0].makefile('wb') as out, ends[1].makefile('rb') as file:
        assert isinstance(out, io.BufferedWriter)
        assert isinstance(file, io.BufferedReader)
        out.write(b'one\ntwo\n')
        out.flush()
        assert file.readline() == b'one\n'
        assert file.peek(1)[:3] == b'two'
        assert next(file) == b'two\n'


def test_makefile_both_ways(ends):
    with ends[0].makefile('rwb') as a, ends[1].makefile('rwb') as b:
        assert isinstance(a, io.BufferedRWPair)
        a.write(b'ping\n')
        a.flush()
        assert b.readline() == b'ping\n'
        b.write(b'pong\n')
        b.flush()
        assert a.readline() == b'pong\n'


def test_makefile_of_text_with_encoding_and_newline(ends):
    with ends[0].makefile('w', encoding='latin-1', newline='\r\n') as out:
        out.write('grün\nrot\n')
    ends[0].send_eof()
    assert ends[1].peek(100) == b'gr\xfcn\r\nrot\r\n'
    with ends[1].makefile('r', encoding='latin-1') as file:
        assert isinstance(file, io.TextIOWrapper)
        assert file.mode == 'r'
        assert file.readlines() == ['grün\n', 'rot\n']


def test_makefile_of_text_takes_an_error_handler(ends):
    ends[0].write(b'a\xffb')
    ends[0].send_eof()
    with ends[1].makefile(encoding='ascii', errors='replace') as file:
        assert file.read() == 'a�b'


def test_makefile_without_buffer_writes_at_once(ends):
    with ends[0].makefile('wb', buffering=0) as out:
        out.write(b'now')
        assert ends[1].read_some() == b'now'
    with ends[1].makefile('rb', 0) as file:
        ends[0].write(b'ab')
        assert file.read(1) == b'a'
        assert file.read(10) == b'b'


def test_closing_the_file_flushes_and_leaves_the_channel_open(ends):
    with ends[0].makefile('wb') as out:
        out.write(b'data')
    assert not ends[0].closed
    ends[0].write(b' and more')
    assert ends[1].read_exactly(13) == b'data and more'


def test_the_file_knows_the_descriptor_and_the_name(ends):
    ends[0].name = 'the channel'
    with ends[0].makefile('rb') as file:
        assert file.fileno() == ends[0].fileno()
        assert file.raw.name == 'the channel'


@pytest.mark.parametrize('mode', ['', 'b', 'x', 'r+', 'a', None, 1])
def test_any_other_mode_is_refused(ends, mode):
    with pytest.raises(ValueError, match='mode'):
        ends[0].makefile(mode)


def test_unbuffered_text_is_refused(ends):
    with pytest.raises(ValueError, match='buffering'):
        ends[0].makefile('r', buffering=0)


def test_a_line_longer_than_the_buffer_comes_whole(ends):
    with in_thread(ends[0].write_all, b'x' * 300_000 + b'\n'):
        with ends[1].makefile('rb', buffering=512) as file:
            assert len(file.readline()) == 300_001


# ---- the io module's own wrappers ----

def test_a_channel_is_a_raw_io_base(ends):
    assert isinstance(ends[0], io.RawIOBase)
    assert issubclass(qio.Channel, io.IOBase)
    for make in (qio.buffer, qio.null):
        with make() as channel:
            assert isinstance(channel, io.RawIOBase)


def test_a_buffered_reader_takes_a_channel(ends):
    ends[0].write(b'one\ntwo\nthree')
    ends[0].send_eof()
    reader = io.BufferedReader(ends[1])
    assert reader.readline() == b'one\n'
    assert reader.read() == b'two\nthree'
    reader.close()
    assert ends[1].closed


def test_a_text_wrapper_over_a_buffered_pair_goes_both_ways(ends):
    text = io.TextIOWrapper(io.BufferedRWPair(ends[1], ends[1]), 'utf-8', write_through=True)
    ends[0].write('hallo wörld\n'.encode())
    assert text.readline() == 'hallo wörld\n'
    text.write('zurück\n')
    text.flush()
    assert ends[0].readline() == 'zurück\n'.encode()
    text.close()


def test_a_buffered_random_over_a_file_channel(tmp_path):
    with qio.open_file(tmp_path / 'f', 'rw') as channel:
        with io.BufferedRandom(channel) as file:
            file.write(b'0123456789')
            file.seek(3)
            assert file.read(2) == b'34'
            file.seek(-1, os.SEEK_END)
            file.write(b'X')
    assert (tmp_path / 'f').read_bytes() == b'012345678X'


def test_a_buffered_writer_passes_a_broken_pipe_on(ends):
    ends[1].close()
    writer = io.BufferedWriter(ends[0])
    writer.write(b'x')
    with pytest.raises(BrokenPipeError):
        writer.flush()
    with pytest.raises(BrokenPipeError):
        writer.close()


def test_a_nonblocking_channel_gives_none_as_a_raw_file_does(ends):
    ends[1].setblocking(False)
    reader = io.BufferedReader(ends[1])
    assert reader.read(1) is None
    ends[0].write(b'x')
    assert reader.read(10) == b'x'
    reader.detach()


def test_lines_by_iteration_and_in_lists(ends):
    ends[0].writelines([b'1\n', bytearray(b'2\n'), b'3'])
    ends[0].send_eof()
    assert ends[1].readlines(2) == [b'1\n']
    assert list(ends[1]) == [b'2\n', b'3']
    assert ends[1].readall() == b''


def test_readline_takes_a_size(ends):
    ends[0].write(b'abcdef\ngh\n')
    assert ends[1].readline(0) == b''
    assert ends[1].readline(4) == b'abcd'
    assert ends[1].readline(3) == b'ef\n'
    assert ends[1].readline(100) == b'gh\n'


def test_what_it_can_do_is_told_as_for_a_file(ends, tmp_path):
    assert (ends[0].readable(), ends[0].writable(), ends[0].seekable()) == (True, True, False)
    with pytest.raises(io.UnsupportedOperation):
        ends[0].truncate()
    for call in (ends[0].tell, lambda: ends[0].seek(0)):
        with pytest.raises(OSError):
            call()
    assert not ends[0].isatty()


# ---- programs that take files ----

def test_copyfileobj_both_ways(ends):
    with in_thread(lambda: (shutil.copyfileobj(io.BytesIO(DATA), ends[0]), ends[0].send_eof())):
        out = io.BytesIO()
        shutil.copyfileobj(ends[1], out)
    assert out.getvalue() == DATA


def test_json_through_text_files(ends):
    value = {'id': 1, 'text': 'ü', 'list': [1.5, None]}
    with ends[0].makefile('w', encoding='utf-8') as out:
        json.dump(value, out)
    ends[0].send_eof()
    with ends[1].makefile('r', encoding='utf-8') as file:
        assert json.load(file) == value


def test_pickles_through_a_channel(ends):
    with in_thread(lambda: [pickle.dump(value, ends[0]) for value in (DATA, {'a': 1})]):
        with ends[1].makefile('rb') as file:
            assert [pickle.load(file), pickle.load(file)] == [DATA, {'a': 1}]


@pytest.mark.parametrize('compression', ['', 'gz'])
def test_a_tar_stream_is_read_from_a_channel(ends, compression):
    def send():
        with tarfile.open(fileobj=ends[0], mode=f'w|{compression}') as tar:
            for name in ('a', 'b'):
                info = tarfile.TarInfo(name)
                info.size = len(DATA)
                tar.addfile(info, io.BytesIO(DATA))
        ends[0].send_eof()

    with in_thread(send), tarfile.open(fileobj=ends[1], mode=f'r|{compression}') as tar:
        assert [(member.name, tar.extractfile(member).read() == DATA) for member in tar] == \
            [('a', True), ('b', True)]


def test_a_zip_file_is_written_to_and_read_from_a_file_channel(tmp_path):
    with qio.open_file(tmp_path / 'z', 'rw') as channel:
        with zipfile.ZipFile(channel, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('member', DATA)
        channel.seek(0)
        with zipfile.ZipFile(channel) as archive:
            assert archive.testzip() is None
            assert archive.read('member') == DATA


def test_a_zip_file_streams_into_a_channel_that_cannot_seek(ends):
    received = []
    with in_thread(lambda: received.append(ends[1].read())):
        with zipfile.ZipFile(ends[0], 'w') as archive:
            archive.writestr('member', DATA)
        ends[0].send_eof()
    with zipfile.ZipFile(io.BytesIO(received[0])) as archive:
        assert archive.read('member') == DATA


def test_a_channel_is_the_standard_stream_of_a_subprocess(ends):
    ends[0].write(b'b\na\n')
    ends[0].send_eof()
    subprocess.run(['sort'], stdin=ends[1], stdout=ends[1], check=True, timeout=PATIENCE)
    assert ends[0].read_exactly(4) == b'a\nb\n'


def test_print_writes_to_a_text_file(ends):
    with ends[0].makefile('w') as out:
        print('a', 1, sep='-', file=out)
    assert ends[1].readline() == b'a-1\n'


# ---- loops of Python's ----

def test_selectors_take_a_channel(ends):
    with selectors.DefaultSelector() as selector:
        selector.register(ends[1], selectors.EVENT_READ)
        assert selector.select(0) == []
        ends[0].write(b'x')
        ((key, _),) = selector.select(PATIENCE)
        assert key.fileobj is ends[1]
        assert ends[1].read_some() == b'x'
        selector.unregister(ends[1])


def test_asyncio_watches_the_descriptor(ends):
    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        ends[1].setblocking(False)
        loop.add_reader(ends[1].fileno(), lambda: got.set_result(ends[1].read_some()))
        loop.call_soon(ends[0].write, b'x')
        try:
            return await asyncio.wait_for(got, PATIENCE)
        finally:
            loop.remove_reader(ends[1].fileno())

    assert asyncio.run(main()) == b'x'


def test_asyncio_hosts_a_whole_loop_by_its_descriptor(ends):
    async def main():
        host = asyncio.get_running_loop()
        got = host.create_future()
        with qio.Loop() as loop:
            loop.watch(ends[1], 'in', lambda channel, _: got.set_result(channel.read_some()) or
                       False)
            host.add_reader(loop.fileno(), loop.run_once, 0)
            host.call_soon(ends[0].write, b'x')
            try:
                return await asyncio.wait_for(got, PATIENCE)
            finally:
                host.remove_reader(loop.fileno())

    assert asyncio.run(main()) == b'x'


# ---- buffers of every kind ----

def buffers(n):
    """Writable buffers of n bytes, of every kind that Python has."""
    return [bytearray(n), memoryview(bytearray(n)), array.array('B', bytes(n)), mmap.mmap(-1, n),
            (ctypes.c_char * n)(), memoryview(bytearray(n + 2))[1:-1],
            memoryview(bytearray(n)).cast('H')]


@pytest.mark.parametrize('kind', range(7))
def test_any_buffer_is_read_into_and_written_from(ends, kind):
    buffer = buffers(8)[kind]
    ends[0].write(b'abcdefgh')
    assert ends[1].readinto(buffer) == 8
    assert bytes(memoryview(buffer).cast('B')) == b'abcdefgh'
    assert ends[1].write(buffer) == 8
    assert ends[0].read_some() == b'abcdefgh'
    if isinstance(buffer, mmap.mmap):
        buffer.close()      # nothing holds it any more


@pytest.mark.parametrize('kind', range(7))
def test_any_buffer_serves_in_lists(ends, kind):
    first, second = buffers(4)[kind], buffers(8)[kind]
    ends[0].writev([b'abcd', b'efgh'])
    assert ends[1].readv([first, second]) == 8
    assert ends[1].writev([first, second]) == 12
    assert ends[0].read_some() == b'abcdefgh' + bytes(4)


@pytest.mark.parametrize('bad', ['text', 3, None, [1], object()])
def test_what_is_no_buffer_is_a_type_error(ends, bad):
    for call in (ends[0].write, ends[0].write_all, ends[0].readinto,
                 lambda b: ends[0].writev([b'x', b]), lambda b: ends[0].readv([b]),
                 lambda b: ends[0].pwrite(b, 0)):
        with pytest.raises(TypeError):
            call(bad)
    ends[1].setblocking(False)
    assert ends[1].read_some() is None


def test_a_buffer_with_gaps_is_refused(ends):
    gaps = memoryview(bytearray(8))[::2]
    for call in (ends[0].write, ends[0].readinto):
        with pytest.raises(BufferError):
            call(gaps)


def test_a_bytearray_can_grow_again_after_every_call(ends):
    buffer = bytearray(b'abc')
    ends[0].write(buffer)
    buffer.append(1)
    ends[1].readinto(buffer)
    buffer.append(2)
    ends[1].close()
    with pytest.raises(BrokenPipeError):
        ends[0].write(buffer)
    buffer.append(3)
    with pytest.raises(qio.ClosedError):
        ends[1].readinto(buffer)
    buffer.append(4)


def test_more_blocks_than_one_system_call_takes_go_in_order(ends):
    blocks = [b'%05d' % i for i in range(5000)]
    with in_thread(ends[0].writev_all, blocks):
        got = ends[1].read_exactly(25_000)
    assert got == b''.join(blocks)
    with in_thread(lambda: ends[0].write_all(got)):
        parts = [bytearray(5) for _ in range(5000)]
        n = ends[1].readv(parts)
        rest = ends[1].read_exactly(25_000 - n)
    assert b''.join(parts)[:n] + rest == got


def test_empty_lists_and_empty_blocks_are_nothing(ends):
    assert ends[0].writev([]) == 0
    assert ends[0].writev([b''] * 2000) == 0
    ends[0].writev_all([b'', b'x', b''])
    assert ends[1].readv([bytearray(), bytearray(1)]) == 1
    assert ends[1].readv([]) == 0


# ---- what a channel is not ----

@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize('make', [lambda: qio.command(['cat']), qio.buffer,
                                  qio.null, lambda: qio.open_file('/dev/null')])
def test_it_cannot_be_copied_or_pickled(make, duplicate):
    with make() as channel:
        with pytest.raises(TypeError, match=type(channel).__name__):
            duplicate(channel)


def test_two_channels_are_equal_only_to_themselves(ends):
    assert ends[0] != ends[1]
    assert len({ends[0], ends[1], ends[0]}) == 2


def test_standard_streams_survive_a_channel_around_a_copy():
    script = '''
import os, qio, sys
with qio.from_fd(os.dup(1)).makefile('w') as out:
    print('by channel', file=out)
print('by print')
'''
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == (b'by channel\nby print\n', b'')


def test_sockets_of_pythons_and_channels_change_hands(ends):
    with socket.socket(fileno=ends[0].detach()) as sock:
        sock.sendall(b'x')
        assert ends[1].read_some() == b'x'
        with qio.from_socket(sock) as channel:
            assert sock.fileno() == -1
            channel.write(b'y')
            assert ends[1].read_some() == b'y'
