# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -m qio`: each command as a process of its own, with real sockets and pipes."""

import argparse
import contextlib
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
import tty

import pytest

import qio
from qio import __main__ as tool
from pki import PSK_KEY, PSK_USER

TOOL = [sys.executable, '-X', 'dev', '-W', 'error', '-m', 'qio']


def run(*words, data=b'', status=0, **kwargs):
    """What a command writes; what it says on standard error when it is to fail."""
    done = subprocess.run([*TOOL, *map(str, words)], input=data, capture_output=True, timeout=20,
                          **kwargs)
    assert (done.returncode, b'Traceback' in done.stderr) == (status, False), done.stderr.decode()
    return done.stderr.decode() if status else done.stdout


@contextlib.contextmanager
def started(*words, **kwargs):
    """A command that runs; it is ended with SIGTERM unless it has ended."""
    with subprocess.Popen([*TOOL, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **kwargs) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=20)


def address_of(process):
    """Where a started listener listens."""
    line = process.stderr.readline().decode()
    assert line.startswith('qio: listening on '), line + process.stderr.read().decode()
    return line.split()[-1]


def finish(process, data=b'', status=0):
    out, err = process.communicate(data, timeout=20)
    assert process.returncode == status, err.decode()
    return out


# ---- connect, listen ----

@pytest.mark.parametrize('uri', ['tcp://127.0.0.1:0', 'unix:', 'ws://127.0.0.1:0/'])
def test_a_listener_and_a_client_talk(uri):
    with started('listen', uri) as server, started(address_of(server)) as client:
        client.stdin.write(b'question\n')
        client.stdin.flush()
        assert server.stdout.readline() == b'question\n'
        server.stdin.write(b'answer\n')
        server.stdin.flush()
        assert client.stdout.readline() == b'answer\n'
        assert finish(client) == b''
        assert finish(server) == b''


def test_each_side_may_end_before_it_has_heard_everything():
    """A half-close: what comes back after our end is written out."""
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with started('connect', listener.address) as client:
            with listener.accept(timeout=10) as channel:
                client.stdin.write(b'all of it')
                client.stdin.close()
                client.stdin = None
                assert channel.read(timeout=10) == b'all of it'
                channel.write_all(b'x' * 1000000)
            assert len(finish(client)) == 1000000


def test_a_client_ends_with_the_other_side_though_its_input_stays_open():
    with qio.listen('unix:') as listener, started(listener.address) as client:
        with listener.accept(timeout=10) as channel:
            channel.write_all(b'goodbye\n')
        assert client.stdout.read() == b'goodbye\n'
        assert client.wait(20) == 0


def test_what_is_written_to_one_that_has_said_all_arrives():
    with qio.listen('unix:') as listener, started(listener.address) as client:
        with listener.accept(timeout=10) as channel:
            channel.send_eof()
            writer = threading.Thread(target=finish, args=[client, b'x' * 1000000])
            writer.start()
            assert len(channel.read(timeout=10)) == 1000000
            writer.join()


def test_the_end_of_the_input_is_kept_back_when_asked_to():
    with qio.listen('unix:') as listener, started('connect', '-K', listener.address) as client:
        with listener.accept(timeout=10) as channel:
            client.stdin.write(b'x')
            client.stdin.close()
            client.stdin = None
            assert channel.read_exactly(1, timeout=10) == b'x'
            with pytest.raises(qio.TimeoutError):
                channel.read_exactly(1, timeout=0.1)
        assert finish(client) == b''


def test_a_terminal_is_standard_input_as_well():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with qio.listen('unix:') as listener:
        process = subprocess.Popen([*TOOL, listener.address], stdin=theirs, stdout=theirs)
        os.close(theirs)
        with process, listener.accept(timeout=10) as channel:
            os.write(ours, b'typed')
            assert channel.read_exactly(5, timeout=10) == b'typed'
            channel.write_all(b'shown')
            assert os.read(ours, 5) == b'shown'
            channel.close()                     # while a read of the terminal waits
            assert process.wait(20) == 0
    os.close(ours)


def test_without_standard_input_and_output():
    with qio.listen('unix:') as listener:
        client = subprocess.Popen(['/bin/sh', '-c', 'exec "$@" <&- >&-', 'sh', *TOOL,
                                   listener.address], stderr=subprocess.PIPE)
        with listener.accept(timeout=10) as channel:
            assert channel.read(timeout=10) == b''
            channel.write_all(b'for nobody')
        assert client.communicate(timeout=20) == (None, b'')
        assert client.returncode == 0


def test_a_program_in_place_of_standard_input_and_output():
    with qio.listen('unix:') as listener:
        with started(listener.address, '--', 'sh', '-c', 'read x; echo "<$x>"; exit 5') as client:
            with listener.accept(timeout=10) as channel:
                channel.write_all(b'hello\n')
                assert channel.readline(timeout=10) == b'<hello>\n'
            finish(client, status=5)


def test_each_client_has_a_program_of_its_own():
    with started('listen', '-k', 'unix:', '--', 'tr', 'a-z', 'A-Z') as server:
        address = address_of(server)
        with qio.connect(address) as first, qio.connect(address) as second:
            for channel, text in (second, b'two'), (first, b'one'):
                channel.write_all(text)
                channel.send_eof()
                assert channel.read(timeout=10) == text.upper()
        server.send_signal(signal.SIGINT)
        finish(server, status=130)
    assert not os.path.exists(address.partition(':')[2])


def test_a_listener_that_stays_serves_one_after_the_other():
    with started('listen', '-k', 'unix:') as server:
        address = address_of(server)
        for text in b'one', b'two':
            with qio.connect(address) as channel:
                channel.write_all(text)
            assert server.stdout.read(3) == text


# ---- layers ----

@pytest.fixture(scope='module')
def keys(tmp_path_factory):
    """The -o options of a server and a client that share a key."""
    file = tmp_path_factory.mktemp('psk') / 'keys.psk'
    file.write_text(f'{PSK_USER}:{PSK_KEY.hex()}\n')
    return ([f'-otls-psk-file={file}'], [f'-otls-psk-file={file}', f'-otls-psk-user={PSK_USER}'])


@pytest.mark.parametrize('uri', ['tls+tcp://127.0.0.1:0', 'tls+unix:', 'ws+tls+tcp://127.0.0.1:0'])
def test_tls(uri, keys):
    server_keys, client_keys = keys
    with started('listen', *server_keys, uri) as server:
        address = address_of(server)
        with started('connect', *client_keys, address) as client:
            assert finish(client, b'secret') == b''
        assert finish(server) == b'secret'


def test_tls_with_certificates(pki):
    with started('listen', f'tls+unix:?tls-dir={pki.dir}') as server:
        address = address_of(server).partition('?')[0]
        facts = run('info', f'-otls-dir={pki.dir}', '-otls-hostname=localhost', address)
        assert b'kind: tls\n' in facts and b'over: socket\n' in facts and b'TLS: TLS1.3' in facts


def test_messages(keys):
    server_keys, client_keys = keys
    with started('listen', '-m', *server_keys, 'ws+tls+tcp://127.0.0.1:0') as server:
        address = address_of(server)
        with started('-m', *client_keys, address) as client:
            client.stdin.write('grüße\nzwei\n'.encode())
            client.stdin.flush()
            assert server.stdout.readline() == 'grüße\n'.encode()
            assert server.stdout.readline() == b'zwei\n'
            server.stdin.write(b'answer\n')
            server.stdin.flush()
            assert client.stdout.readline() == b'answer\n'
            assert finish(client) == b''
        finish(server)


# ---- relay ----

def test_relay_between_two_uris():
    with qio.listen('unix:') as left, qio.listen('tcp://127.0.0.1:0') as right:
        with started('relay', '-v', left.address, right.address) as process:
            with left.accept(timeout=10) as a, right.accept(timeout=10) as b:
                a.write_all(b'there')
                a.send_eof()
                assert b.read(timeout=10) == b'there'
                b.write_all(b'back again')
                b.send_eof()
                assert a.read(timeout=10) == b'back again'
            _, said = process.communicate(timeout=20)
            assert process.returncode == 0
            assert b'5 bytes one way, 10 the other' in said


def test_relay_for_every_client():
    with started('relay', '-l', 'tcp://127.0.0.1:0', 'exec:tr?arg=a-z&arg=A-Z') as process:
        address = address_of(process)
        with qio.connect(address) as one, qio.connect(address) as two:
            for channel in two, one:
                channel.write_all(b'hello')
                channel.send_eof()
                assert channel.read(timeout=10) == b'HELLO'
        with qio.connect(address):
            process.terminate()                 # with a client that says nothing
            finish(process, status=143)


def test_a_client_whose_other_side_is_not_there_ends_no_relay(tmp_path):
    with started('relay', '-l', 'unix:', f'unix:{tmp_path}/nobody') as process:
        address = address_of(process)
        for _ in range(2):
            with qio.connect(address) as channel:
                assert channel.read(timeout=10) == b''
            assert b'No such file or directory' in process.stderr.readline()


# ---- send, recv, info, run ----

def accepted(listener, function):
    """Run function(channel) with the next client in a thread; its result when called."""
    results = []

    def serve():
        with listener.accept(timeout=10) as channel:
            results.append(function(channel))

    thread = threading.Thread(target=serve)
    thread.start()

    def result():
        thread.join(20)
        return results[0]

    return result


def test_send_words_and_standard_input():
    with qio.listen('unix:') as listener:
        got = accepted(listener, lambda channel: channel.read(timeout=10))
        run('send', listener.address, 'one', 'two words')
        assert got() == b'one\ntwo words\n'
        got = accepted(listener, lambda channel: channel.read(timeout=10))
        run('send', '-n', listener.address, 'one', 'two')
        assert got() == b'onetwo'
        got = accepted(listener, lambda channel: len(channel.read(timeout=10)))
        run('send', listener.address, data=b'x' * 300000)
        assert got() == 300000


def test_what_was_sent_arrives_though_the_answer_is_not_read():
    def echo(channel):
        data = b''
        while chunk := channel.read_some():
            data += chunk
            channel.write_all(chunk)
        return data

    with qio.listen('tcp://127.0.0.1:0') as listener:
        got = accepted(listener, echo)
        run('send', listener.address, data=b'y' * 1000000)
        assert len(got()) == 1000000


def test_send_messages_and_receive_them():
    def talk(channel):
        channel.send('first')
        channel.send(b'second')
        return channel.recv(), channel.recv()

    with qio.listen('ws+unix:', ws_mode='messages') as listener:
        got = accepted(listener, talk)
        run('send', '-m', listener.address, 'text', 'more')
        assert got() == ('text', 'more')
        got = accepted(listener, lambda channel: (channel.send('first'), channel.send(b'second')))
        assert run('recv', '-m', listener.address) == b'first\nsecond\n'
        got()


def test_send_a_descriptor(tmp_path):
    path = tmp_path / 'file'
    path.write_text('contents')

    def receive(channel):
        data, (fd,) = channel.recv_fds(100)
        with fd.open('r') as file:
            return data, file.read()

    with qio.listen('unix:') as listener, open(path, encoding='ascii') as file:
        got = accepted(listener, receive)
        run('send', '--fd', file.fileno(), listener.address, pass_fds=[file.fileno()])
        assert got() == (b'\0', 'contents')


@pytest.mark.parametrize('options, expected', [
    ([], b'one\ntwo\nthree'), (['-n', 2], b'one\ntwo\n'), (['-c', 5], b'one\nt')])
def test_receive(options, expected):
    with qio.listen('unix:') as listener:
        got = accepted(listener, lambda channel: channel.write_all(b'one\ntwo\nthree'))
        assert run('recv', *options, listener.address) == expected
        got()


def test_fewer_bytes_than_wanted_are_a_failure():
    assert run('recv', '-c', 9, 'exec:echo?arg=hello', status=1) == \
        'qio: the stream ended after 6 of 9 bytes\n'


def test_info():
    facts = dict(line.split(': ', 1) for line in run('info').decode().splitlines())
    assert facts['qio'] == qio.__version__
    assert pathlib.Path(facts['package']) == pathlib.Path(qio.__file__).parent
    with qio.listen('unix:') as listener:
        facts = run('info', listener.address).decode()
        assert f'peer: pid {os.getpid()}, uid {os.getuid()}, gid {os.getgid()}\n' in facts


def test_run_a_script(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys, qio\nprint(qio.buffer(sys.argv[1].encode()).read())\nsys.exit(4)')
    done = subprocess.run([*TOOL, 'run', script, 'word'], capture_output=True, timeout=20,
                          cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, b"b'word'\n")


@pytest.mark.needs('lua5.4')
def test_run_a_lua_script(tmp_path):
    script = tmp_path / 'script.lua'
    script.write_text('print(require("qio").buffer(arg[1]):read("a"))')
    assert run('run', script, 'word') == b'word\n'


# ---- what goes wrong ----

@pytest.mark.parametrize('words, status, said', [
    (['unix:/no/such/place'], 1, 'cannot connect to unix:/no/such/place: '
                                 'No such file or directory'),
    (['tcpx://x'], 2, 'unknown scheme "tcpx"; the nearest is "tcp"'),
    (['null:', '-o', 'nodelai=on'], 2, 'unknown key "nodelai"; the nearest is "nodelay"'),
    (['null:', '-o', 'nodelay'], 2, "-o wants KEY=VALUE, not 'nodelay'"),
    (['run', '/no/such/script.py'], 1, 'no such file: /no/such/script.py'),
    (['null:', '-o', 'tls=x'], 2, 'tls has to be a qio.TLSCreds'),
    (['listen', 'exec:cat'], 2, 'exec'),
    ([], 2, 'usage: qio'),
    (['listen'], 2, 'the following arguments are required: URI'),
    (['recv', '-n', '0', 'null:'], 2, 'argument -n/--lines'),
    (['connect', '-m', 'null:', '--', 'cat'], 2, 'messages are for standard input'),
    (['send', '-m', 'null:', 'x'], 2, 'the key "ws-mode" has no use with null:'),
])
def test_errors_are_one_line_and_a_status(words, status, said):
    assert said in run(*words, status=status)


def test_bytes_that_are_no_text_make_no_message():
    def close(channel):
        with contextlib.suppress(qio.WebSocketError):
            channel.recv(timeout=10)

    with qio.listen('ws+unix:', ws_mode='messages') as listener:
        got = accepted(listener, close)
        assert "can't decode byte 0xff" in run('-m', listener.address, data=b'\xff\n', status=1)
        got()
        got = accepted(listener, lambda channel: channel.recv(timeout=10))
        run('send', '-mb', listener.address, data=b'\xff\n')
        assert got() == b'\xff'


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('words', [['connect'], ['recv'], ['relay']])
def test_a_signal_ends_it_without_a_word(words, number, status):
    with qio.listen('unix:') as listener:
        if words[0] == 'relay':
            words = ['relay', listener.address]
        with started(*words, listener.address) as process:
            channels = [listener.accept(timeout=10) for _ in range(1 + (words[0] == 'relay'))]
            channels[0].write_all(b'x')
            if words[0] == 'relay':             # what comes says that the command is at work
                assert channels[1].read_exactly(1, timeout=10) == b'x'
            else:
                assert process.stdout.read(1) == b'x'
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out, err) == (status, b'', b'')
            for channel in channels:
                channel.close()


def test_an_output_that_nobody_reads_ends_it():
    with qio.listen('unix:') as listener, started(listener.address) as process:
        process.stdout.close()
        process.stdout = None
        with listener.accept(timeout=10) as channel:
            with contextlib.suppress(qio.BrokenPipeError, qio.ConnectionResetError):
                while True:
                    channel.write_all(b'x' * 65536, timeout=10)
        finish(process, status=141)


@pytest.mark.parametrize('command', ['', 'connect', 'listen', 'relay', 'run', 'info', 'send',
                                     'recv'])
def test_every_command_has_help(command):
    assert run(*filter(None, [command]), '--help').startswith(b'usage: qio ' + command.encode())


def test_the_version():
    assert run('--version').decode() == f'qio {qio.__version__}\n'


def test_a_signal_ends_the_tool_while_a_client_begins(monkeypatch, tmp_path):
    def start(thread):
        raise SystemExit(143)

    clients = tool._Clients(argparse.Namespace(clients=1), lambda channel: None)
    listener = qio.listen(f'unix:{tmp_path}/s')
    with qio.connect(listener.address):
        monkeypatch.setattr(threading.Thread, 'start', start)
        with pytest.raises(SystemExit, match='143'):
            clients.run(listener)
    assert listener.closed
