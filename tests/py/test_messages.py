# SPDX-License-Identifier: LGPL-2.1-or-later
"""Misuse of every argument: the error is a TypeError or a ValueError that names the argument and
says what would be right, and nothing has happened to the channel."""

import pytest

import qio

OBJECT = object()
NOT_UTF8 = '\udcff'

# What is called with a channel -> the error, and a piece of its text.
ON_A_CHANNEL = {
    'pread without n': (lambda ch: ch.pread(), TypeError, r"Channel\.pread\(\) .* 'n'"),
    'pread without offset': (lambda ch: ch.pread(1), TypeError, r"Channel\.pread\(\) .* 'offset'"),
    'cancel of two': (lambda ch: ch.cancel(1, 2), TypeError, r'Channel\.cancel expected at most 1'),
    'cancel of a word': (lambda ch: ch.cancel('inn'), ValueError, 'condition .*qio.IN.* not .inn.'),
    'read of a str': (lambda ch: ch.read('1'), TypeError, 'n has to be an integer, not str'),
    'read of a float': (lambda ch: ch.read(1.0), TypeError, 'n has to be an integer, not float'),
    'read of a bool': (lambda ch: ch.read(True), TypeError, 'n has to be an integer, not bool'),
    'read of -2': (lambda ch: ch.read(-2), ValueError, r'n has to be from -1 to \d+, not -2'),
    'read of 2^64': (lambda ch: ch.read(2**64), ValueError, r'n has to be from -1 to'),
    'read_some of -1': (lambda ch: ch.read_some(-1), ValueError, 'n has to be from 0 to'),
    'read_exactly of None': (lambda ch: ch.read_exactly(None), TypeError, 'n has to be an integer'),
    'timeout by position': (lambda ch: ch.read(1, 1), TypeError, 'timeout .* by keyword'),
    'timeout -1': (lambda ch: ch.read(1, timeout=-1), ValueError, 'timeout .* at least 0, not -1'),
    'timeout nan': (lambda ch: ch.read(1, timeout=float('nan')), ValueError, 'timeout .* not nan'),
    'timeout True': (lambda ch: ch.read(1, timeout=True), TypeError, 'timeout=True means nothing'),
    'timeout str': (lambda ch: ch.read(1, timeout='1'), TypeError,
                    r'timeout has to be seconds, a qio\.Deadline or None .* not str'),
    'limit by position': (lambda ch: ch.read_until(b'x', 1), TypeError, 'limit .* by keyword'),
    'limit 0': (lambda ch: ch.read_until(b'x', limit=0), ValueError, 'limit: 0 is not between'),
    'limit of a GiB': (lambda ch: ch.read_until(b'x', limit=2**30), ValueError,
                       'limit: .* 16777216'),
    'delims of a str': (lambda ch: ch.read_until('x'), TypeError, 'delims has to be bytes .* str'),
    'delims of strs': (lambda ch: ch.read_until([b'x', 'y']), TypeError, r'delims\[1\] .* str'),
    'delims None': (lambda ch: ch.read_until(None), TypeError, 'delims has to be bytes or a seq'),
    'no delims': (lambda ch: ch.read_until([]), ValueError, 'delims .* from 1 to 16 .* not 0'),
    '17 delims': (lambda ch: ch.read_until([b'x'] * 17), ValueError, 'delims .* 16 .* not 17'),
    'an empty delim': (lambda ch: ch.read_until([b'x', b'']), ValueError, r'delims\[1\].* 1 to 64'),
    'a long delim': (lambda ch: ch.read_until(b'x' * 65), ValueError, r'delims\[0\].* 1 to 64'),
    'readline of a str': (lambda ch: ch.readline('1'), TypeError,
                          'size has to be an integer or None'),
    'readlines of a str': (lambda ch: ch.readlines('1'), TypeError, 'hint has to be an integer or'),
    'readinto of bytes': (lambda ch: ch.readinto(b'x'), TypeError,
                          'b .* writable buffer, and bytes'),
    'readinto of None': (lambda ch: ch.readinto(None), TypeError,
                         'b .* writable buffer .* NoneType'),
    'readinto of none': (lambda ch: ch.readinto(), TypeError, r'readinto\(\) takes one buffer'),
    'readinto of two': (lambda ch: ch.readinto(bytearray(1), 1), TypeError, 'takes one buffer'),
    'readinto n=': (lambda ch: ch.readinto(bytearray(1), n=1), TypeError, "no argument 'n', only"),
    'readv of one': (lambda ch: ch.readv(bytearray(1)), TypeError, 'buffers .* not one buffer'),
    'readv of bytes': (lambda ch: ch.readv([bytearray(1), b'']), TypeError,
                       r'buffers\[1\] .*writable'),
    'recv_fds of -1': (lambda ch: ch.recv_fds(-1), ValueError, 'n has to be from 0 to'),
    'recv_fds of -1 fds': (lambda ch: ch.recv_fds(1, -1), ValueError, 'maxfds has to be from 0 to'),
    'write of a str': (lambda ch: ch.write('x'), TypeError, 'b has to be a bytes-like .* not str'),
    'write of two': (lambda ch: ch.write(b'x', b'y'), TypeError, r'write\(\) takes one buffer'),
    'write_all of None': (lambda ch: ch.write_all(None), TypeError, 'b has to be a bytes-like'),
    'writev of a str': (lambda ch: ch.writev('xy'), TypeError, 'buffers .* sequence .* not str'),
    'writev of ints': (lambda ch: ch.writev([b'x', 3]), TypeError, r'buffers\[1\] .* not int'),
    'writelines of one': (lambda ch: ch.writelines(b'x'), TypeError,
                          'lines .* iterable .* not bytes'),
    'writelines of None': (lambda ch: ch.writelines(None), TypeError, 'lines .* iterable'),
    'pwrite at -1': (lambda ch: ch.pwrite(b'x', -1), ValueError, 'offset: -1 is negative'),
    'send_fds of bytes': (lambda ch: ch.send_fds(b'x', b'x'), TypeError,
                          'fds .* sequence .* bytes'),
    'send_fds of a str': (lambda ch: ch.send_fds(b'x', [0, 'x']), TypeError, r'fds\[1\] .*fileno'),
    'send_fds of one': (lambda ch: ch.send_fds(b'x', 0), TypeError, 'fds .* sequence .* not int'),
    'send_fds of no data': (lambda ch: ch.send_fds(b'', [0]), ValueError, 'at least one byte'),
    'send_fds of closed': (lambda ch: ch.send_fds(b'x', [999]), OSError, 'fd 999.*Bad file'),
    'wait for None': (lambda ch: ch.wait(None), TypeError, 'condition .* "in" or "out", not None'),
    'wait for nothing': (lambda ch: ch.wait(0), ValueError, 'condition .* qio.IN, .* not 0'),
    'wait for HUP alone': (lambda ch: ch.wait(qio.HUP), ValueError, 'condition .* qio.IN'),
    'wait for bytes': (lambda ch: ch.wait(NOT_UTF8), ValueError, 'condition .* qio.IN'),
    'settimeout -1': (lambda ch: ch.settimeout(-1), ValueError, 'timeout has to be at least 0'),
    'settimeout ...': (lambda ch: ch.settimeout(...), TypeError, 'timeout .* not Ellipsis'),
    'shutdown of a word': (lambda ch: ch.shutdown('all'), ValueError, 'how has to be "read", "wri'),
    'shutdown of 3': (lambda ch: ch.shutdown(3), ValueError, 'how has to be .* not 3'),
    'shutdown of None': (lambda ch: ch.shutdown(None), TypeError, 'how has to be a string or'),
    'makefile of a word': (lambda ch: ch.makefile('x'), ValueError,
                           'mode has to be "r", "w" or "rw"'),
    'makefile buffering': (lambda ch: ch.makefile('r', 'x'), TypeError, 'buffering .* integer'),
    'name of bytes': (lambda ch: setattr(ch, 'name', b'x'), TypeError, 'name has to be a str'),
    'name with NUL': (lambda ch: setattr(ch, 'name', 'a\0b'), ValueError, 'name has a NUL'),
    'name in no UTF-8': (lambda ch: setattr(ch, 'name', NOT_UTF8), ValueError, 'name .* UTF-8'),
    'kind': (lambda ch: setattr(ch, 'kind', 'x'), AttributeError, "'kind'"),
    'an attribute': (lambda ch: setattr(ch, 'nane', 'x'), AttributeError, "'nane'"),
}

ELSEWHERE = {
    'Channel': (qio.Channel, TypeError, r'cannot make a Channel .* qio\.connect'),
    'SocketChannel': (qio.SocketChannel, TypeError, r'cannot make a SocketChannel .* qio\.conn'),
    'Listener': (qio.Listener, TypeError, r'cannot make a Listener .* qio\.listen'),
    'Watch': (qio.Watch, TypeError, r'cannot make a Watch .* Loop\.watch'),
    'new': (lambda: qio.Channel.__new__(qio.Channel), TypeError, 'cannot make a Channel'),
    'Loop(1)': (lambda: qio.Loop(1), TypeError, r'Loop\(\) takes no arguments'),
    'Fd -1': (lambda: qio.Fd(-1), qio.Error, 'fd: -1 is not an open descriptor'),
    'Fd 999': (lambda: qio.Fd(999), qio.Error, 'fd: 999 is not an open descriptor'),
    'Fd str': (lambda: qio.Fd('1'), TypeError, 'fd has to be an integer'),
    'Deadline': (lambda: qio.Deadline('1'), TypeError, 'seconds has to be a number'),
    'Deadline -1': (lambda: qio.Deadline(-1), ValueError, 'seconds has to be at least 0'),
    'connect None': (lambda: qio.connect(None), TypeError, 'uri has to be a str'),
    'connect NUL': (lambda: qio.connect('null:\0'), ValueError, 'uri has a NUL'),
    'connect not UTF-8': (lambda: qio.connect(NOT_UTF8), ValueError, 'uri .* UTF-8'),
    'connect nothing': (lambda: qio.connect(''), ValueError, 'URI at position 0.* tcp, unix'),
    'connect key': (lambda: qio.connect('null:', modus='r'), ValueError, '"modus"; .* "mode"'),
    'connect value': (lambda: qio.connect('null:', mode=OBJECT), TypeError, 'mode has to be a str'),
    'connect list': (lambda: qio.connect('null:', arg=['x', 3]), TypeError, r'arg\[1\] has to be'),
    'connect timeout': (lambda: qio.connect('null:', timeout=-1), ValueError, 'timeout has to be'),
    'listen key': (lambda: qio.listen('tcp://127.0.0.1:0', backlog=0), ValueError,
                   'backlog.* 1 to'),
    'listen null': (lambda: qio.listen('null:'), ValueError, 'null'),
    'from_fd str': (lambda: qio.from_fd('1'), TypeError, r'fd has to be an int or a qio\.Fd'),
    'from_fd -1': (lambda: qio.from_fd(-1), ValueError, 'fd has to be from 0 to'),
    'from_fd 999': (lambda: qio.from_fd(999), qio.Error, '999'),
    'from_socket': (lambda: qio.from_socket(1), TypeError, 'sock has to be a socket'),
    'open_file None': (lambda: qio.open_file(None), TypeError, 'path has to be a str, bytes or'),
    'open_file NUL': (lambda: qio.open_file('a\0'), ValueError, 'path has a NUL'),
    'open_file mode': (lambda: qio.open_file('/dev/null', 'x'), ValueError,
                       'mode .* r, w, rw or a'),
    'open_file permissions': (lambda: qio.open_file('/dev/null', permissions=-1), ValueError,
                              'permissions has to be from 0'),
    'buffer str': (lambda: qio.buffer('x'), TypeError, 'data has to be a bytes-like'),
    'command str': (lambda: qio.command('true'), TypeError, 'argv has to be a sequence of str'),
    'command int': (lambda: qio.command(['true', 3]), TypeError, r'argv\[1\] has to be a str'),
    'command NUL': (lambda: qio.command(['true', 'a\0']), ValueError, r'argv\[1\] has a NUL'),
    'command nothing': (lambda: qio.command([]), ValueError, 'argv has no program'),
    'command env': (lambda: qio.command(['true'], env=3), TypeError, 'env has to be a mapping'),
    'command env list': (lambda: qio.command(['true'], env=['A=b']), TypeError, 'env .* mapping'),
    'command env name': (lambda: qio.command(['true'], env={3: ''}), TypeError, 'name in env'),
    'command env =': (lambda: qio.command(['true'], env={'A=b': ''}), ValueError, "text without '='"),
    'command env value': (lambda: qio.command(['true'], env={'A': 3}), TypeError, r"env\['A'\]"),
    'command cwd': (lambda: qio.command(['true'], cwd=3), TypeError, 'cwd has to be a str'),
    'command stderr word': (lambda: qio.command(['true'], stderr='x'), ValueError,
                            'stderr .*"pipe"'),
    'command stderr -1': (lambda: qio.command(['true'], stderr=-1), ValueError, 'stderr .* not -1'),
    'command stderr 999': (lambda: qio.command(['true'], stderr=999), ValueError, 'stderr.* 999'),
    'command stderr None': (lambda: qio.command(['true'], stderr=None), TypeError, 'stderr has to'),
    'command close_timeout': (lambda: qio.command(['true'], close_timeout=-1), ValueError,
                              'close-timeout.* seconds'),
    'debug_live': (lambda: qio._qio.debug_live(99), ValueError, 'kind'),
}

ON_A_LOOP = {
    'watch None': (lambda loop: loop.watch(None, 'in', print), TypeError, 'channel .*fileno'),
    'watch -1': (lambda loop: loop.watch(-1, 'in', print), ValueError, 'channel has to be from 0'),
    'watch 999': (lambda loop: loop.watch(999, 'in', print), qio.Error, 'descriptor 999'),
    'watch condition': (lambda loop: loop.watch(0, 'x', print), ValueError, 'condition has to be'),
    'watch fn': (lambda loop: loop.watch(0, 'in', 3), TypeError, 'fn has to be callable, not int'),
    'watch two': (lambda loop: loop.watch(0, 'in'), TypeError, r"Loop\.watch\(\) .* 'fn'"),
    'timer str': (lambda loop: loop.add_timer('1', print), TypeError, 'after has to be seconds'),
    'timer bool': (lambda loop: loop.add_timer(True, print), TypeError, 'after has to be seconds'),
    'timer -1': (lambda loop: loop.add_timer(-1, print), ValueError, 'after has to be from 0 to'),
    'timer nan': (lambda loop: loop.add_timer(float('nan'), print), ValueError, 'after .* not nan'),
    'timer inf': (lambda loop: loop.add_timer(float('inf'), print), ValueError, 'after .* not inf'),
    'timer fn': (lambda loop: loop.add_timer(1, None), TypeError, 'fn has to be callable'),
    'timer every 0': (lambda loop: loop.add_timer(1, print, every=0), ValueError,
                      'every .*more than 0'),
    'timer every by position': (lambda loop: loop.add_timer(1, print, 1), TypeError,
                                'every .*keyword'),
    'defer': (lambda loop: loop.defer(None), TypeError, 'fn has to be callable'),
    'run_once': (lambda loop: loop.run_once(-1), ValueError, 'timeout has to be at least 0'),
    'run': (lambda loop: loop.run(1), TypeError, r'Loop\.run\(\) takes no arguments'),
}


def params(table):
    return [pytest.param(*row, id=name) for name, row in table.items()]


@pytest.mark.parametrize('call, error, text', params(ON_A_CHANNEL))
def test_on_a_channel(call, error, text):
    a, b = qio.pair()
    with a, b:
        b.write(b'still here')
        with pytest.raises(error, match=text):
            call(a)
        assert a.read(100, timeout=1) == b'still here'
        b.close()
        assert a.read() == b''


@pytest.mark.parametrize('call, error, text', params(ELSEWHERE))
def test_elsewhere(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize('call, error, text', params(ON_A_LOOP))
def test_on_a_loop(call, error, text):
    with qio.Loop() as loop:
        with pytest.raises(error, match=text):
            call(loop)
        assert loop.run_once(0) == 0


def test_a_listener_has_clients_and_nothing_else_to_watch():
    with qio.Loop() as loop, qio.listen('tcp://127.0.0.1:0') as listener:
        for condition in ('out', qio.IN | qio.OUT, qio.MORE):
            with pytest.raises(ValueError, match='condition has to be qio.IN for a Listener'):
                loop.watch(listener, condition, print)
        loop.watch(listener, 'in', print).remove()


@pytest.mark.parametrize('name, call', [
    ('defer', lambda loop, ch: loop.defer(print)),
    ('add_timer', lambda loop, ch: loop.add_timer(0, print)),
    ('watch', lambda loop, ch: loop.watch(ch, 'in', print)),
    ('run', lambda loop, ch: loop.run()),
    ('run_once', lambda loop, ch: loop.run_once(0)),
    ('quit', lambda loop, ch: loop.quit()),
    ('wakeup', lambda loop, ch: loop.wakeup()),
    ('fileno', lambda loop, ch: loop.fileno()),
])
def test_a_closed_loop_says_so(name, call):
    loop = qio.Loop()
    loop.close()
    loop.close()
    with qio.null() as channel, pytest.raises(qio.ClosedError, match='the loop is closed'):
        call(loop, channel)


def test_readline_takes_any_size():
    with qio.buffer(b'one\ntwo\n') as ch:
        assert ch.readline(2**40) == b'one\n'
        assert ch.readline(0) == b''
        assert ch.readline(2) == b'tw'
        assert ch.readline(None) == b'o\n'
        assert ch.readline(-5) == b''


def test_stderr_may_be_a_descriptor(tmp_path):
    with open(tmp_path / 'err', 'wb') as file:
        for stderr in (file, file.fileno()):
            with qio.command(['sh', '-c', 'echo out; echo err >&2'], stderr=stderr) as child:
                assert child.read() == b'out\n'
                assert child.stderr is None
                assert child.wait_exit(timeout=10) == 0
    assert (tmp_path / 'err').read_bytes() == b'err\nerr\n'


def test_reprs_say_what_it_is():
    a, b = qio.pair()
    child = qio.command(['cat'])
    with a, b, child, qio.listen('tcp://127.0.0.1:0') as listener:
        assert repr(a) == f'<SocketChannel fd={a.fileno()}>'
        a.name = 'left'
        assert repr(a) == f'<SocketChannel left fd={a.fileno()}>'
        assert repr(child) == f'<CommandChannel pid={child.pid}>'
        assert repr(listener) == f'<Listener {listener.address}>'
    assert repr(a) == '<SocketChannel closed>'
    assert repr(child) == '<CommandChannel closed>'
    assert repr(listener) == '<Listener closed>'
