# SPDX-License-Identifier: LGPL-2.1-or-later
"""Misuse: every argument that is wrong gives an error that names it, and nothing happens."""

import socket

import pytest

import qio


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b
        assert not a.wait(qio.IN, timeout=0) and not b.wait(qio.IN, timeout=0), 'nothing was sent'


class Odd:
    """Is nothing that any argument could be."""


NOT_INT = [None, 1.5, '1', b'1', Odd(), True]
NOT_SIZE = [*NOT_INT, -1, 1 << 64]

# method, arguments with X where the wrong value goes, the name in the error, wrong values
WRONG = [
    ('read', 'X', 'n', ['1', 1.5, Odd(), -2, 1 << 64]),
    ('read_some', 'X', 'n', NOT_SIZE),
    ('read_exactly', 'X', 'n', NOT_SIZE),
    ('read_until', 'X', 'delims', [None, 'text', 5, Odd(), [b'a', 'text'], [], b'', [b'']]),
    ('read_until', 'D limit=X', 'limit', [*NOT_SIZE, 0, (1 << 24) + 1]),
    ('readinto', 'X', 'b', [None, b'bytes', 'text', 5, Odd(), [bytearray(1)]]),
    ('readv', 'X', 'buffers', [None, bytearray(1), 'text', 5, Odd(), [b'bytes'], [None]]),
    ('peek', 'X', 'n', NOT_SIZE),
    ('pread', 'X 0', 'n', NOT_SIZE),
    ('pread', '1 X', 'offset', NOT_INT),
    ('pread_into', 'X 0', 'b', [None, b'bytes', 5]),
    ('recv_fds', 'X', 'n', NOT_SIZE),
    ('recv_fds', '1 X', 'maxfds', NOT_SIZE),
    ('write', 'X', 'b', [None, 'text', 5, Odd(), [b'x']]),
    ('write_all', 'X', 'b', [None, 'text', 5, Odd(), [b'x']]),
    ('writev', 'X', 'buffers', [None, b'bytes', 'text', 5, Odd(), ['text'], [b'x', None]]),
    ('writev_all', 'X', 'buffers', [None, b'bytes', 'text', 5, Odd(), ['text']]),
    ('pwrite', 'X 0', 'b', [None, 'text', 5]),
    ('pwrite', 'D X', 'offset', NOT_INT),
    ('send_fds', 'X ()', 'data', [None, 'text', 5]),
    ('send_fds', 'D X', 'fds', [None, 5, Odd(), ['0'], [Odd()], [1.5], [-1], [True], [1 << 40]]),
    ('wait', 'X', 'condition', [None, 0, 'nothing', '', 64, 1.5, Odd(), True, qio.HUP, -1]),
    ('cancel', 'X', 'condition', [None, 0, 'nothing', 1.5]),
    ('settimeout', 'X', 'timeout', ['1', -1, True, Odd(), ...]),
    ('shutdown', 'X', 'how', [None, 'all', 3, -1, 1.5, Odd(), True]),
    ('readline', 'size=X', '', ['1', Odd()]),
    ('seek', 'X', 'offset', NOT_INT),
]


@pytest.mark.parametrize('verb, form, name, wrong', WRONG,
                         ids=[f'{verb}-{name or "size"}' for verb, _, name, _ in WRONG])
def test_a_wrong_argument_of_a_channel_is_named(pair, verb, form, name, wrong):
    a, _ = pair
    for value in wrong:
        args, kwargs = [], {}
        for piece in form.split():
            key, _, piece = piece.rpartition('=')
            item = {'X': value, 'D': b'data', '0': 0, '1': 1, '()': ()}[piece]
            if key:
                kwargs[key] = item
            else:
                args.append(item)
        with pytest.raises((TypeError, ValueError, OSError)) as caught:
            getattr(a, verb)(*args, **kwargs)
        assert name in str(caught.value), f'{value!r} gives: {caught.value}'
        assert isinstance(caught.value, (TypeError, ValueError, qio.Error))


@pytest.mark.parametrize('call', [
    lambda a: a.read(1, 2), lambda a: a.read_some(1, 2), lambda a: a.read_exactly(1, False, 2),
    lambda a: a.readv([], 1), lambda a: a.peek(1, 2), lambda a: a.write_all(b'', 1),
    lambda a: a.writev([], 1), lambda a: a.wait('in', 1), lambda a: a.read_until(b'x', 5),
    lambda a: a.write(b'', 1), lambda a: a.readinto(bytearray(), 1),
])
def test_a_time_out_goes_by_keyword(pair, call):
    with pytest.raises(TypeError):
        call(pair[0])


@pytest.mark.parametrize('call', [
    lambda a: a.read(no=1), lambda a: a.write(b'', no=1), lambda a: a.readinto(bytearray(), no=1),
    lambda a: a.write(), lambda a: a.readinto(), lambda a: a.read_exactly(),
    lambda a: a.write(b'', b''), lambda a: a.write(b=b''), lambda a: a.close(1),
    lambda a: a.settimeout(), lambda a: a.shutdown(), lambda a: a.recv_fds(),
])
def test_unknown_and_missing_arguments(pair, call):
    with pytest.raises(TypeError):
        call(pair[0])


@pytest.mark.parametrize('how, twice', [
    ('read', socket.SHUT_RD), ('write', socket.SHUT_WR), ('both', socket.SHUT_RDWR),
])
def test_shutdown_takes_words_and_the_numbers_of_socket(how, twice):
    for value in (how, twice):
        a, b = qio.pair()
        with a, b:
            a.shutdown(value)
            if how != 'read':
                assert b.read() == b''
            if how != 'write':
                assert a.read() == b''


@pytest.mark.parametrize('call, name', [
    (lambda: qio.connect(5), 'uri'),
    (lambda: qio.connect('null:\0'), 'uri'),
    (lambda: qio.connect('null:', no_such_key=1), 'no-such-key'),
    (lambda: qio.connect('null:', timeout='x'), 'timeout'),
    (lambda: qio.connect('null:', mode=Odd()), 'mode'),
    (lambda: qio.connect('wrong:'), 'wrong'),
    (lambda: qio.listen(5), 'uri'),
    (lambda: qio.listen('tcp://127.0.0.1:0', backlog='many'), 'backlog'),
    (lambda: qio.listen('tcp://127.0.0.1:0', no_such=1), 'no-such'),
    (lambda: qio.from_fd('x'), 'fd'), (lambda: qio.from_fd(True), 'fd'),
    (lambda: qio.from_fd(None), 'fd'), (lambda: qio.from_fd(-1), 'fd'),
    (lambda: qio.from_socket(5), 'sock'),
    (lambda: qio.open_file(5), 'path'), (lambda: qio.open_file('a\0b'), 'null byte|NUL|path'),
    (lambda: qio.open_file('/tmp', 5), 'mode'), (lambda: qio.open_file('/tmp', 'x'), 'mode'),
    (lambda: qio.open_file('/tmp', permissions='x'), 'permissions'),
    (lambda: qio.open_file('/tmp', permissions=-1), 'permissions'),
    (lambda: qio.buffer('text'), 'data|buf'), (lambda: qio.buffer(None), 'data|buf'),
    (lambda: qio.command('ls -l'), 'argv'), (lambda: qio.command([]), 'argv'),
    (lambda: qio.command([5]), 'argv'), (lambda: qio.command(None), 'argv'),
    (lambda: qio.command(['ls'], stderr='x'), 'stderr'),
    (lambda: qio.command(['ls'], stderr=None), 'stderr'),
    (lambda: qio.command(['ls'], env=['A=1']), 'env'),
    (lambda: qio.command(['ls'], cwd=5), 'cwd|str, bytes'),
    (lambda: qio.command(['ls'], close_timeout='x'), 'close_timeout'),
    (lambda: qio.Fd('x'), 'fd'), (lambda: qio.Fd(None), 'fd'),
    (lambda: qio.relay(qio.null(), 5), '^b has to be a qio.Channel, not int$'),
    (lambda: qio.null().makefile('x'), 'mode'), (lambda: qio.null().makefile(5), 'mode'),
])
def test_a_wrong_argument_of_a_function_is_named(call, name):
    with pytest.raises((TypeError, ValueError), match=name):
        call()


@pytest.mark.parametrize('call, name', [
    (lambda loop: loop.watch(None, 'in', print), 'channel'),
    (lambda loop: loop.watch('x', 'in', print), 'channel'),
    (lambda loop: loop.watch(0, 'in', None), 'fn'),
    (lambda loop: loop.watch(0, 'neither', print), 'condition'),
    (lambda loop: loop.watch(0, None, print), 'condition'),
    (lambda loop: loop.add_timer('x', print), 'after'),
    (lambda loop: loop.add_timer(-1, print), 'after'),
    (lambda loop: loop.add_timer(float('nan'), print), 'after'),
    (lambda loop: loop.add_timer(float('inf'), print), 'after'),
    (lambda loop: loop.add_timer(1, None), 'fn'),
    (lambda loop: loop.add_timer(1, print, every='x'), 'every'),
    (lambda loop: loop.add_timer(1, print, every=0), 'every'),
    (lambda loop: loop.add_timer(1, print, every=-1), 'every'),
    (lambda loop: loop.add_timer(1, print, 1), 'every'),
    (lambda loop: loop.defer(None), 'fn'),
    (lambda loop: loop.run_once('x'), 'timeout'),
    (lambda loop: loop.run_once(-1), 'timeout'),
])
def test_a_wrong_argument_of_a_loop_is_named(call, name):
    with qio.Loop() as loop:
        with pytest.raises((TypeError, ValueError), match=name):
            call(loop)
        assert loop.run_once(0) == 0


def test_a_failed_constructor_leaves_the_descriptor_to_the_caller(tmp_path):
    a, b = socket.socketpair()
    with a, b:
        a.close()
        with pytest.raises((ValueError, OSError)):
            qio.from_socket(a)
        assert b.fileno() >= 0
    with open(tmp_path / 'x', 'wb') as file:
        with pytest.raises(TypeError):
            qio.from_socket(file.fileno())
        file.write(b'still ours')
