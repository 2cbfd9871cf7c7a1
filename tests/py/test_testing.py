# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.testing: what other people's tests are to rely on."""

import gc
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import qio
from qio.testing import Certificates, memory_pair, no_leaks, psk_creds, serve
from streams import PATIENCE


@pytest.fixture
def ends():
    a, b = memory_pair()
    yield a, b
    a.close()
    b.close()


# ---- the pair ----

def test_a_pair_has_no_descriptors_and_carries_bytes_both_ways(ends):
    a, b = ends
    with no_leaks():
        with memory_pair()[0]:
            pass
    for x, y in (a, b), (b, a):
        x.write(b'one\ntwo')
        assert y.incoming == b'one\ntwo' and x.written == 7
        assert y.readline(timeout=PATIENCE) == b'one\n'
        assert y.read_exactly(3, timeout=PATIENCE) == b'two'
    with pytest.raises(qio.UnsupportedError):
        a.fileno()
    assert a.other is b and b.other is a


def test_a_byte_at_a_time(ends):
    a, b = memory_pair(chunk=1)
    with a, b:
        a.write(b'hello\n')
        assert b.incoming == b'hello\n'
        assert b.read_some(timeout=PATIENCE) == b'h'
        assert b.readline(timeout=PATIENCE) == b'ello\n'
        b.setblocking(False)
        assert b.write(b'answer') == 1
        b.write_chunk = 4
        assert b.write(b'answer') == 4
        b.write_chunk = None
        assert b.write(b'answer') == 6
        a.read_chunk = 3
        assert a.read_some(timeout=PATIENCE) == b'aan'


def test_a_full_pair_makes_the_writer_wait(ends):
    a, b = memory_pair(capacity=10)
    with a, b:
        a.setblocking(False)
        assert a.write(b'x' * 100) == 10
        assert a.write(b'x') is None
        with pytest.raises(qio.TimeoutError) as caught:
            a.setblocking(True)
            a.settimeout(0.01)
            a.write(b'y' * 5)
        assert caught.value.bytes_written == 0
        a.settimeout(PATIENCE)
        writer = threading.Thread(target=a.write_all, args=[b'y' * 1000])
        writer.start()
        assert b.read_exactly(1010, timeout=PATIENCE) == b'x' * 10 + b'y' * 1000
        writer.join()


def test_a_reader_in_another_thread_is_woken(ends):
    a, b = ends
    got = []
    reader = threading.Thread(target=lambda: got.append(b.read(timeout=PATIENCE)))
    reader.start()
    a.write(b'some')
    a.write(b'thing')
    a.send_eof()
    reader.join()
    assert got == [b'something']
    with pytest.raises(qio.BrokenPipeError):
        a.write(b'x')


def test_what_is_frozen_arrives_when_it_is_thawed(ends):
    a, b = ends
    a.freeze()
    a.write(b'late')
    a.send_eof()
    with pytest.raises(qio.TimeoutError):
        b.read_some(timeout=0.01)
    assert b.incoming == b'late'
    a.thaw()
    assert b.read(timeout=PATIENCE) == b'late'


def test_errors_of_ones_own(ends):
    a, b = ends
    mine = KeyError('mine')
    a.write(b'before')
    b.read_error = mine
    assert b.read_some(timeout=PATIENCE) == b'before'
    with pytest.raises(KeyError) as caught:
        b.read_some(timeout=PATIENCE)
    assert caught.value is mine
    b.read_error = None
    b.write_error = OSError(28, 'no space')
    with pytest.raises(OSError) as caught:
        b.write(b'x')
    assert caught.value.errno == 28


def test_a_cut_ends_both(ends):
    a, b = ends
    a.write(b'lost')
    b.cut()
    for end in a, b:
        with pytest.raises(ConnectionResetError):
            end.read_some(timeout=PATIENCE)
        with pytest.raises(BrokenPipeError):
            end.write(b'x')


def test_closing_is_the_end_for_the_other_side(ends):
    a, b = ends
    a.write(b'last')
    a.close()
    assert b.read(timeout=PATIENCE) == b'last'
    with pytest.raises(qio.BrokenPipeError):
        b.write(b'x')


def test_a_loop_watches_a_pair(ends):
    a, b = ends
    seen = []
    with qio.Loop() as loop:
        def ready(channel, condition):
            seen.append((channel, condition, channel.read_some(timeout=0)))
            loop.quit()

        loop.watch(b, qio.IN, ready)
        loop.defer(lambda: print(a.write(b'x')))
        loop.run()
    assert seen == [(b, qio.IN, b'x')]


@pytest.mark.parametrize('chunk', [None, 1, 7])
def test_tls_and_websocket_over_a_pair(chunk):
    a, b = memory_pair(chunk=chunk)
    server_creds, client_creds = psk_creds()
    results = []

    def serving():
        with a.start_tls(server_creds, server=True, timeout=PATIENCE) as tls:
            with tls.websocket(server=True, mode='messages', timeout=PATIENCE) as ws:
                results.append(ws.recv(timeout=PATIENCE))
                ws.send(b'x' * 10000)

    thread = threading.Thread(target=serving)
    thread.start()
    with b.start_tls(client_creds, timeout=PATIENCE) as tls:
        with tls.websocket(mode='messages', timeout=PATIENCE) as ws:
            ws.send('hello')
            assert ws.recv(timeout=PATIENCE) == b'x' * 10000
    thread.join()
    assert results == ['hello']


@pytest.mark.parametrize('arguments, error', [
    ({'capacity': 0}, ValueError), ({'chunk': 0}, ValueError), ({'chunk': 1.5}, TypeError),
    ({'capacity': True}, TypeError), ({'loop': 5}, TypeError)])
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        memory_pair(**arguments)


# ---- servers ----

def shout(channel):
    for line in channel:
        channel.write(line.upper())


@pytest.mark.parametrize('uri', ['unix:', 'tcp://127.0.0.1:0'])
def test_a_server_for_the_block(uri):
    with no_leaks():
        with serve(shout, uri) as listener:
            for text in b'one\n', b'two\n':
                with qio.connect(listener.address, timeout=PATIENCE) as channel:
                    channel.write(text)
                    assert channel.readline(timeout=PATIENCE) == text.upper()


def test_a_server_with_layers():
    server_creds, client_creds = psk_creds('somebody')

    def answer(channel):
        channel.send(channel.tls.peer_name + channel.recv())

    with serve(answer, 'ws+tls+unix:', tls=server_creds, ws_mode='messages') as listener:
        with qio.connect(listener.address, tls=client_creds, ws_mode='messages') as channel:
            channel.send('!')
            assert channel.recv(timeout=PATIENCE) == 'somebody!'


def test_what_a_handler_raises_comes_out():
    def fail(channel):
        raise KeyError('in the handler')

    with pytest.raises(KeyError, match='in the handler'):
        with serve(fail) as listener:
            with qio.connect(listener.address) as channel:
                assert channel.read(timeout=PATIENCE) == b''


def test_what_the_block_raises_comes_out_first():
    with pytest.raises(ZeroDivisionError):
        with serve(lambda channel: 1 / 0 or channel) as listener:
            with qio.connect(listener.address) as channel:
                channel.read(timeout=PATIENCE)
                raise ZeroDivisionError


def test_a_handler_that_does_not_return_is_ended():
    with serve(lambda channel: channel.write(b'x') and channel.read(), timeout=0.01) as listener:
        client = qio.connect(listener.address)
        assert client.read(1, timeout=PATIENCE) == b'x'
    with client:
        assert client.read(timeout=PATIENCE) == b''


# ---- credentials ----

@pytest.mark.needs('certtool')
def test_certificates(tmp_path):
    made = Certificates(tmp_path / 'pki', names=['one.example', 'two.example'], client='somebody')
    with serve(lambda channel: channel.write(channel.tls.peer_name.encode() + b'\n'), 'tls+unix:',
               tls=made.server(verify=True)) as listener:
        with qio.connect(listener.address, tls=made.client(),
                         tls_hostname='two.example') as channel:
            assert channel.readline(timeout=PATIENCE) == b'CN=somebody\n'
    with serve(lambda channel: channel.write(b'x'), 'tls+unix:', tls=made.server()) as listener:
        with qio.connect(listener.address, tls=made.client(certificate=False),
                         tls_hostname='one.example') as channel:
            assert channel.read(timeout=PATIENCE) == b'x'
    other = Certificates(tmp_path / 'other')
    with pytest.raises(qio.CertificateError):
        with serve(lambda channel: channel.read(), 'tls+unix:', tls=made.server()) as listener:
            qio.connect(listener.address, tls=other.client(), tls_hostname='one.example')


def test_without_certtool(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(FileNotFoundError, match='certtool'):
        Certificates(tmp_path)


# ---- leaks ----

class Cycle:
    pass


def leave_a_descriptor(kept):
    kept.append(open('/dev/null'))


def leave_a_channel(kept):
    kept.append(qio.buffer(b'x'))


def leave_a_loop(kept):
    kept.append(qio.Loop())


def leave_a_child(kept):
    kept.append(subprocess.Popen(['sleep', '100']))


def raise_from_nowhere(kept):
    class Bad:
        def __del__(self):
            raise KeyError('from a finalizer')

    Bad()


@pytest.mark.parametrize('leave, words', [
    (leave_a_descriptor, "descriptors left open: {.*'/dev/null'"),
    (leave_a_channel, '1 channel handles left, among .*<BufferChannel at'),
    (leave_a_loop, '1 loop handles left'),
    (leave_a_child, 'child processes left'),
    (raise_from_nowhere, 'not raised: .*KeyError: .from a finalizer')])
def test_what_is_left_is_told(leave, words):
    kept = []
    with pytest.raises(AssertionError, match=words):
        with no_leaks():
            leave(kept)
    for one in kept:
        if hasattr(one, 'kill'):
            one.kill()
            one.communicate()
        if hasattr(one, 'close'):
            one.close()


def test_what_is_gone_is_told():
    fd = os.open('/dev/null', os.O_RDONLY)
    with pytest.raises(AssertionError, match='descriptors gone'):
        with no_leaks():
            os.close(fd)


def test_what_is_turned_off_is_not_looked_at():
    kept = []
    with no_leaks(fds=False, handles=False):
        kept.append(qio.pair())
    for channel in kept[0]:
        channel.close()


def test_nothing_is_left_and_cycles_are_no_leak():
    with no_leaks():
        one = Cycle()
        one.me = one
        one.loop = qio.Loop()
        one.channel = qio.buffer()
        del one
    hook = sys.unraisablehook
    with pytest.raises(ZeroDivisionError), no_leaks():
        raise ZeroDivisionError
    assert sys.unraisablehook is hook
    gc.collect()


# ---- as a plugin ----

PLUGIN = '''
    import qio, pytest
    pytest_plugins = ["qio.testing"]

    def test_fixtures(qio_pair, qio_psk, qio_certificates, qio_no_leaks):
        a, b = qio_pair
        a.write(b"x")
        assert b.read(1) == b"x"
        assert isinstance(qio_psk[0], qio.TLSCreds)
        assert qio_certificates.ca.exists()

    def test_a_leak(qio_no_leaks):
        global kept
        kept = qio.buffer()

    class TestClass:
        def test_not_raised(self, qio_no_leaks):
            class Bad:
                def __del__(self):
                    raise KeyError("from a finalizer")
            Bad()

    def test_fails_by_itself(qio_no_leaks):
        global other
        other = qio.buffer()
        assert False, "its own words"

    def test_clean(qio_no_leaks):
        pass
'''


@pytest.mark.needs('certtool')
def test_the_fixtures(tmp_path):
    (tmp_path / 'test_it.py').write_text(textwrap.dedent(PLUGIN))
    done = subprocess.run([sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '-rfE',
                           '--tb=line', str(tmp_path)],
                          capture_output=True, text=True, timeout=50, cwd=tmp_path)
    last = done.stdout.splitlines()
    assert '2 failed, 3 passed, 2 errors' in last[-1], done.stdout + done.stderr
    text = done.stdout
    assert 'channel handles left' in text and 'from a finalizer' in text
    assert 'its own words' in text
