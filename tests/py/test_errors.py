# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exceptions: which class a failure has, and what it carries."""

import builtins
import errno
import io
import os
import pickle
import socket

import pytest

import qio
from qio import errors

# every errno that has a builtin of its own, and where it comes out of the library
BUILTINS = {
    errno.EPIPE: 'BrokenPipeError', errno.ECHILD: 'ChildProcessError',
    errno.ECONNABORTED: 'ConnectionAbortedError', errno.ECONNREFUSED: 'ConnectionRefusedError',
    errno.ECONNRESET: 'ConnectionResetError', errno.EEXIST: 'FileExistsError',
    errno.ENOENT: 'FileNotFoundError', errno.EINTR: 'InterruptedError',
    errno.EISDIR: 'IsADirectoryError', errno.ENOTDIR: 'NotADirectoryError',
    errno.EACCES: 'PermissionError', errno.EPERM: 'PermissionError',
    errno.ESRCH: 'ProcessLookupError', errno.ETIMEDOUT: 'TimeoutError',
    errno.EAGAIN: 'BlockingIOError', errno.ESHUTDOWN: 'BrokenPipeError',
    errno.EALREADY: 'BlockingIOError', errno.EINPROGRESS: 'BlockingIOError',
}


@pytest.mark.parametrize('number, name', BUILTINS.items())
def test_an_errno_has_the_class_that_python_gives_it(number, name):
    assert type(OSError(number, '')).__name__ == name, 'the table is right'
    error = errors.error_for(-1, number, 1, number, 7, 'said so')
    assert type(error) is getattr(qio, name)
    assert isinstance(error, getattr(builtins, name)) and isinstance(error, qio.Error)
    assert error.errno == number and error.strerror == 'said so'
    assert (error.code, error.domain, error.number, error.bytes_written) == (-1, 1, number, 7)


def test_another_errno_is_a_plain_error():
    error = errors.error_for(-1, errno.EIO, 1, errno.EIO, 0, 'broken')
    assert type(error) is qio.Error and error.errno == errno.EIO


@pytest.mark.parametrize('name, bases', [
    ('ClosedError', [ValueError]), ('InvalidError', [ValueError]), ('BusyError', []),
    ('UnsupportedError', [io.UnsupportedOperation, ValueError]), ('AbortedError', []),
    ('TimeoutError', [TimeoutError]), ('LimitError', []), ('ResolveError', []),
    ('TruncatedError', []), ('IncompleteReadError', [EOFError]), ('ForkedError', []),
    ('OutOfMemoryError', [MemoryError]), ('ConnectionError', [ConnectionError]),
])
def test_every_error_is_a_qio_error_and_what_programs_expect(name, bases):
    cls = getattr(qio, name)
    assert issubclass(cls, qio.Error) and issubclass(cls, OSError)
    for base in bases:
        assert issubclass(cls, base)


def test_a_refused_connection(tmp_path):
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=f'127.0.0.1:{port}') as caught:
        qio.connect(f'tcp://127.0.0.1:{port}')
    assert isinstance(caught.value, qio.ConnectionRefusedError)
    assert caught.value.errno == errno.ECONNREFUSED and caught.value.number == errno.ECONNREFUSED


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        qio.open_file(tmp_path / 'nowhere')
    with pytest.raises(qio.IsADirectoryError):
        qio.open_file(tmp_path, 'w')
    (tmp_path / 'plain').touch()
    with pytest.raises(qio.NotADirectoryError):
        qio.open_file(tmp_path / 'plain' / 'below')
    with pytest.raises(qio.FileNotFoundError):
        qio.connect(f'unix:{tmp_path}/nowhere')
    with pytest.raises(qio.FileNotFoundError):
        qio.command(['/no/such/program'])


def test_a_reset_connection():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        peer = socket.create_connection(('127.0.0.1', listener.port))
        with listener.accept(timeout=10) as channel:
            linger = b'\x01\0\0\0' + bytes(4)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.close()
            with pytest.raises(ConnectionResetError) as caught:
                channel.read_some(timeout=10)
            assert isinstance(caught.value, qio.ConnectionResetError)


def test_memory_has_no_descriptor():
    with qio.buffer() as buffer:
        for verb in (buffer.fileno, buffer.detach):
            with pytest.raises(io.UnsupportedOperation) as caught:
                verb()
            assert isinstance(caught.value, qio.UnsupportedError)
        with pytest.raises(qio.UnsupportedError):
            buffer.send_eof()


def test_details_of_an_incomplete_read():
    with qio.buffer(b'abc') as buffer:
        with pytest.raises(qio.IncompleteReadError, match='3 of 10') as caught:
            buffer.read_exactly(10)
    error = caught.value
    assert (error.partial, error.expected) == (b'abc', 10)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.partial, copy.expected) == (b'abc', 10)


def test_errors_have_no_hidden_cause():
    with pytest.raises(qio.ClosedError) as caught:
        with qio.null() as null:
            pass
        null.read()
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert caught.value.code < 0 and caught.value.errno is None


def test_text_of_an_error_is_in_the_language_of_the_error():
    """Bytes that are no UTF-8 come out too."""
    with pytest.raises(qio.FileNotFoundError):
        qio.open_file(b'/no/such/\xff\xfe')
    name = os.fsdecode(b'/no/such/\xff')
    with pytest.raises(qio.FileNotFoundError):
        qio.open_file(name)


def test_star_import_leaves_the_builtins_alone():
    names = {}
    exec('from qio import *', names)
    for name in dir(builtins):
        assert name not in qio.__all__
    assert names['connect'] is qio.connect
    missing = [name for name in qio.__all__ if not hasattr(qio, name)]
    assert not missing
