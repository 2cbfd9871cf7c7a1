# SPDX-License-Identifier: LGPL-2.1-or-later
"""connect() and listen(): URIs, keyword arguments, what is allowed, and what is said of errors."""

import builtins
import contextlib
import errno
import os
import pathlib
import re
import socket
import stat
import struct

import pytest

import qio
from rigs import PATIENCE, in_thread


def free_port():
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def option(channel, level, name):
    with socket.socket(fileno=os.dup(channel.fileno())) as sock:
        return sock.getsockopt(level, name)


def exchange(a, b):
    a.write(b'ping')
    assert b.read_exactly(4, timeout=PATIENCE) == b'ping'
    b.write(b'pong')
    assert a.read_exactly(4, timeout=PATIENCE) == b'pong'


# ---- every scheme ----

@pytest.mark.parametrize('host', ['127.0.0.1', '[::1]', '[::]', '0.0.0.0'])
def test_tcp(host):
    target = {'[::]': '[::1]', '0.0.0.0': '127.0.0.1'}.get(host, host)
    with qio.listen(f'tcp://{host}:0') as listener:
        with qio.connect(f'tcp://{target}:{listener.port}') as a:
            with listener.accept(timeout=PATIENCE) as b:
                assert isinstance(a, qio.SocketChannel)
                exchange(a, b)
                assert a.peer_address == f'tcp://{target}:{listener.port}'
                assert a.local_address.startswith(f'tcp://{target}:')
                assert b.peer_address.endswith(a.local_address.rpartition(':')[2])
                assert a.peer_cred is None


def test_unix(tmp_path):
    path = tmp_path / 'a socket?%'
    uri = 'unix:' + str(path).replace('%', '%25').replace('?', '%3F').replace(' ', '%20')
    with qio.listen(uri) as listener:
        assert listener.address == uri
        assert stat.S_ISSOCK(path.stat().st_mode)
        with qio.connect(uri) as a, listener.accept(timeout=PATIENCE) as b:
            exchange(a, b)
            assert a.peer_address == uri
            assert b.local_address == uri
            assert a.peer_cred == qio.PeerCred(os.getpid(), os.getuid(), os.getgid())
            assert b.peer_cred.pid == os.getpid()


def test_abstract(tmp_path):
    uri = f'abstract:qio-{os.getpid()}-{tmp_path.name}'
    with qio.listen(uri) as listener:
        assert listener.address == uri
        with qio.connect(uri) as a, listener.accept(timeout=PATIENCE) as b:
            exchange(a, b)
            assert a.peer_address == uri
    with pytest.raises(ConnectionRefusedError):
        qio.connect(uri)


def test_fd_takes_the_descriptor():
    ours, theirs = socket.socketpair()
    with theirs:
        number = ours.detach()
        with qio.connect(f'fd:{number}') as channel:
            assert channel.fileno() == number
            channel.write(b'x')
            assert theirs.recv(1) == b'x'
        with pytest.raises(OSError):
            os.fstat(number)


def test_an_fd_that_is_not_open_is_refused():
    with pytest.raises(ValueError, match='1000000'):
        qio.connect('fd:1000000')


def test_file_reads_writes_and_appends(tmp_path):
    path = tmp_path / 'file'
    with qio.connect(f'file:{path}?mode=w') as channel:
        assert isinstance(channel, qio.FileChannel)
        channel.write(b'one\n')
    with qio.connect(f'file:{path}', mode='a') as channel:
        channel.write(b'two\n')
    with qio.connect(f'file:{path}?mode=w', mode='rw') as channel:     # the argument wins
        assert list(channel) == [b'one\n', b'two\n']
    with qio.connect(f'file:{path}') as channel:
        assert channel.read() == b'one\ntwo\n'
        assert not channel.writable()


@pytest.mark.parametrize('how', [
    lambda path: qio.connect(f'file:{path}?mode=w&permissions=640'),
    lambda path: qio.connect(f'file:{path}', mode='w', permissions=0o640),
    lambda path: qio.connect(f'file:{path}', mode='w', permissions='640'),
])
def test_permissions_are_octal_in_text_and_a_number_in_python(tmp_path, how):
    before = os.umask(0)
    try:
        how(tmp_path / 'file').close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'file').stat().st_mode) == 0o640


def test_exec_runs_a_program_when_it_is_allowed():
    with qio.connect('exec:printf?arg=%25s-&arg=a%20b&arg=c', allow='all') as channel:
        assert isinstance(channel, qio.CommandChannel)
        assert channel.read() == b'a b-c-'
    assert channel.returncode == 0
    with qio.connect('exec:/usr/bin/env?env=A=b%26c', allow='exec', env=['X=y', 'Z=']) as channel:
        assert channel.read() == b'X=y\nZ=\n'
    with qio.connect('exec:/usr/bin/env?env=A=b', allow='exec', env=()) as channel:
        assert channel.read() == b''
    with qio.connect('exec:pwd', allow=['net', 'exec'], cwd=pathlib.Path('/usr')) as channel:
        assert channel.read() == b'/usr\n'


def test_null_and_buffer():
    with qio.connect('null:') as channel:
        assert isinstance(channel, qio.NullChannel)
    with qio.connect('buffer:') as channel:
        assert isinstance(channel, qio.BufferChannel)
        channel.write(b'x')
        assert channel.getvalue() == b'x'


@pytest.mark.parametrize('uri', ['file:/tmp/x', 'exec:cat', 'null:', 'buffer:'])
def test_what_cannot_listen_says_so(uri):
    with pytest.raises(qio.Error, match=uri.partition(':')[0]):
        qio.listen(uri, allow='all')


# ---- what is allowed ----

@pytest.mark.parametrize('allow', [{}, {'allow': 'net,unix'}, {'allow': ['file', 'fd']}])
def test_exec_is_refused_unless_it_is_allowed(allow, tmp_path):
    with pytest.raises(PermissionError, match='exec.*allow') as caught:
        qio.connect(f'exec:touch?arg={tmp_path}/made', **allow)
    assert isinstance(caught.value, qio.PermissionError)
    assert caught.value.errno == errno.EACCES
    assert os.listdir(tmp_path) == []


def test_a_uri_cannot_allow_itself():
    with pytest.raises(ValueError, match='allow'):
        qio.connect('exec:true?allow=all')


def test_allow_narrows_the_schemes(tmp_path):
    with pytest.raises(PermissionError, match='file'):
        qio.connect(f'file:{tmp_path}/x?mode=w', allow='net,unix')
    with pytest.raises(PermissionError):
        qio.connect('tcp://127.0.0.1:1', allow='unix')
    with qio.connect('null:', allow='null'):
        pass
    with pytest.raises(PermissionError):
        qio.listen(f'unix:{tmp_path}/s', allow='net')
    assert os.listdir(tmp_path) == []


def test_an_empty_allow_is_not_the_default():
    with pytest.raises(ValueError, match='allow'):
        qio.connect('null:', allow=[])


def test_an_unknown_word_in_allow_is_named():
    with pytest.raises(ValueError, match='allow.*everything'):
        qio.connect('null:', allow='everything')


# ---- keys ----

def test_the_socket_keys_reach_the_socket():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        uri = listener.address
        for keys, text in (({'nodelay': True, 'keep_alive': True}, ''),
                           ({}, '?nodelay=on&keep-alive=on'),
                           ({'nodelay': True}, '?nodelay=off&keep-alive=on')):
            with qio.connect(uri + text, **keys) as channel:
                assert option(channel, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                assert option(channel, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        with qio.connect(uri, keep_alive=False, nodelay=False) as channel:
            assert option(channel, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
            assert option(channel, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


def test_name_names_the_channel():
    with qio.connect('null:?name=a%20sink') as channel:
        assert channel.name == 'a sink'
    with qio.connect('null:?name=one', name='two') as channel:
        assert channel.name == 'two'


@pytest.mark.parametrize('wrong, nearest', [
    ('nodelai', 'nodelay'), ('keepalive', 'keep-alive'), ('mod', 'mode'), ('timeOut', 'timeout')])
def test_an_unknown_key_is_named_with_the_nearest(wrong, nearest):
    message = f'unknown key "{wrong}"; the nearest is "{nearest}"'
    with pytest.raises(ValueError, match=message):
        qio.connect(f'null:?{wrong}=on')
    with pytest.raises(ValueError, match=message):
        qio.connect('null:', **{wrong: 'on'})


def test_keyword_arguments_are_the_keys_with_underscores(tmp_path):
    with pytest.raises(ValueError, match='unknown key "close-timeouts"; the nearest is "close-t'):
        qio.connect('null:', close_timeouts=1)


@pytest.mark.parametrize('uri, keys, key', [
    ('null:?mode=r', {}, 'mode'), ('null:', {'mode': 'r'}, 'mode'),
    ('unix:/s', {'nodelay': True}, 'nodelay'), ('tcp://127.0.0.1:1', {'cwd': '/'}, 'cwd')])
def test_a_key_that_has_no_use_there_is_named(uri, keys, key):
    with pytest.raises(ValueError, match=f'"{key}" has no use with'):
        qio.connect(uri, **keys)


@pytest.mark.parametrize('key, value', [
    ('nodelay', 'maybe'), ('nodelay', 2), ('keep_alive', 'yes'), ('nodelay', b'\0')])
def test_a_bad_value_is_named_with_its_key(key, value):
    with pytest.raises(ValueError, match=key.replace('_', '-')):
        qio.connect('tcp://127.0.0.1:1', **{key: value})


@pytest.mark.parametrize('value', [object(), {}, 1j, len])
def test_a_value_of_no_use_at_all_is_a_type_error(value):
    with pytest.raises(TypeError, match='nodelay'):
        qio.connect('tcp://127.0.0.1:1', nodelay=value)


@pytest.mark.parametrize('backlog', [0, -1, 65536, 2**70])
def test_a_backlog_out_of_range_is_named(tmp_path, backlog):
    with pytest.raises((ValueError, OverflowError), match='backlog'):
        qio.listen(f'unix:{tmp_path}/s', backlog=backlog)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('bad', [None, 1, b'null:', ['null:']])
def test_a_uri_is_text(bad):
    for call in (qio.connect, qio.listen):
        with pytest.raises(TypeError, match='uri'):
            call(bad)


def test_a_uri_with_a_nul_is_refused():
    with pytest.raises(ValueError, match='uri'):
        qio.connect('null:\0')


# ---- errors in URIs ----

@pytest.mark.parametrize('uri, position, piece', [
    ('', 0, ''),
    ('null', 0, 'null'),
    ('nul:', 0, 'nearest is "null"'),
    ('null:x', 5, '"x"'),
    ('file:', 0, 'path is missing'),
    ('exec:', 0, 'program is missing'),
    ('file://host/path', 5, 'no host'),
    ('null: ', 5, 'space'),
    ('null:?name=a%2', 12, '"%2"'),
    ('null:?name=%00', 11, 'NUL'),
    ('null:#x', 5, 'fragment'),
    ('null:?', 6, 'key=value'),
    ('null:?name', 6, 'key=value'),
    ('null:?name=a&', 13, 'key=value'),
    ('null:?name=a&name=b', 13, 'given twice'),
    ('file:/x?mode=q', 13, 'r, w, rw or a'),
    ('null:?stderr-fd=1', 6, 'cannot be part of a URI'),
    ('null:?timeout=soon', 14, 'timeout'),
    ('tcp://127.0.0.1', 15, 'port'),
    ('tcp://127.0.0.1:x', 16, 'port'),
    ('unix:/' + 'x' * 107, 5, 'at most 107 bytes'),
])
def test_every_error_names_its_place(uri, position, piece):
    with pytest.raises(ValueError) as caught:
        qio.connect(uri)
    assert isinstance(caught.value, qio.Error)
    assert re.search(r'position (\d+)', str(caught.value)).group(1) == str(position)
    assert piece in str(caught.value)


@pytest.mark.parametrize('uri', ['tcp://127.0.0.1:65536', 'tcp://127.0.0.1:x', 'tcp://[::1:1',
                                 'tcp://127.0.0.1:-1', 'tcp://:1', 'tcp://127.0.0.1:0',
                                 'unix:', 'abstract:', 'fd:x', 'fd:-1', 'fd:99999999999'])
def test_an_address_that_is_none_is_refused(uri):
    with pytest.raises(ValueError):
        qio.connect(uri)


def test_a_unix_path_of_107_bytes_fits_and_a_longer_one_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with qio.listen('unix:' + 'x' * 107) as listener:
        qio.connect(listener.address).close()
    for call in (qio.connect, qio.listen):
        with pytest.raises(ValueError, match='at most 107 bytes'):
            call('unix:' + 'x' * 108)


# ---- when nobody answers ----

@pytest.mark.parametrize('make_uri', [
    lambda tmp_path: f'tcp://127.0.0.1:{free_port()}',
    lambda tmp_path: f'abstract:qio-nobody-{os.getpid()}-{tmp_path.name}',
])
def test_connection_refused_is_both_classes_and_names_the_address(tmp_path, make_uri):
    uri = make_uri(tmp_path)
    with pytest.raises(builtins.ConnectionRefusedError) as caught:
        qio.connect(uri)
    assert isinstance(caught.value, qio.ConnectionRefusedError)
    assert isinstance(caught.value, qio.Error)
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.errno == errno.ECONNREFUSED
    assert uri.partition(':')[2].strip('/') in str(caught.value)


def test_a_unix_path_that_is_not_there_is_a_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / 's'))) as caught:
        qio.connect(f'unix:{tmp_path}/s')
    assert isinstance(caught.value, qio.Error)


@contextlib.contextmanager
def deaf_server(tmp_path):
    """The URI of a unix socket whose queue is full, so that a connect waits."""
    path = str(tmp_path / 'deaf')
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen(0)
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(path) == errno.EAGAIN:
                break
        yield f'unix:{path}', server


@pytest.mark.parametrize('timeout', [0.02, qio.Deadline(0), 0])
def test_a_connect_that_takes_too_long_times_out(tmp_path, timeout):
    with deaf_server(tmp_path) as (uri, _):
        with pytest.raises(builtins.TimeoutError) as caught:
            qio.connect(uri, timeout=timeout)
        assert isinstance(caught.value, qio.TimeoutError)


def test_the_timeout_may_be_in_the_uri_and_the_argument_wins(tmp_path):
    with deaf_server(tmp_path) as (uri, _):
        with pytest.raises(qio.TimeoutError):
            qio.connect(f'{uri}?timeout=0.02')
        with pytest.raises(qio.TimeoutError):
            qio.connect(f'{uri}?timeout=1000', timeout=0.02)


def test_a_connect_goes_through_when_the_server_comes_back(tmp_path):
    with deaf_server(tmp_path) as (uri, server):

        def accept_all():
            for _ in range(2):
                server.accept()[0].close()

        with in_thread(accept_all), qio.connect(uri, timeout=PATIENCE) as channel:
            assert channel.peer_address == uri


@pytest.mark.parametrize('bad, error', [(-1, ValueError), ('1', TypeError), (float('nan'),
                                                                             ValueError)])
def test_a_bad_timeout_is_named(bad, error):
    with pytest.raises(error, match='timeout'):
        qio.connect('null:', timeout=bad)


@pytest.mark.parametrize('timeout', [None, 0, 1, 1.5, float('inf'), qio.Deadline(1)])
def test_what_opens_at_once_takes_any_timeout(timeout):
    qio.connect('null:', timeout=timeout).close()


# ---- addresses ----

def test_a_pair_has_no_names_and_knows_its_peer():
    a, b = qio.pair()
    with a, b:
        assert a.peer_address == a.local_address == 'unix:'
        assert a.peer_cred == qio.PeerCred(os.getpid(), os.getuid(), os.getgid())


def test_addresses_stay_known_after_close():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with qio.connect(listener.address) as channel:
            known = channel.local_address, channel.peer_address
        assert (channel.local_address, channel.peer_address) == known
        assert known[1] == listener.address


def test_a_files_addresses_are_none(tmp_path):
    with qio.connect(f'file:{tmp_path}/x?mode=w') as channel:
        assert (channel.local_address, channel.peer_address, channel.peer_cred) == (None,) * 3


def test_odd_bytes_in_a_peers_path_come_back_encoded(tmp_path):
    path = os.fsencode(tmp_path) + b'/\xff\n%'
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        uri = f'unix:{tmp_path}/%FF%0A%25'
        with qio.connect(uri) as channel:
            assert channel.peer_address == uri


def test_a_peer_that_resets_is_a_connection_reset():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        with qio.connect(f'tcp://127.0.0.1:{server.getsockname()[1]}') as channel:
            peer = server.accept()[0]
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            peer.close()
            with pytest.raises(builtins.ConnectionResetError) as caught:
                channel.read_some(timeout=PATIENCE)
            assert isinstance(caught.value, qio.ConnectionResetError)
