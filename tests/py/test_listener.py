# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listeners: where they listen, whom they accept, what never comes out of them, and their end."""

import errno
import os
import pickle
import selectors
import socket
import stat
import struct
import subprocess
import sys
import threading

import pytest

import qio
from rigs import PATIENCE, in_thread


@pytest.fixture(params=['unix', 'tcp', 'tcp6', 'abstract'])
def uri(request, tmp_path):
    return {'unix': f'unix:{tmp_path}/s', 'tcp': 'tcp://127.0.0.1:0', 'tcp6': 'tcp://[::1]:0',
            'abstract': f'abstract:qio-listen-{os.getpid()}-{tmp_path.name}'}[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 's'


def connect_socket(listener):
    """A socket of Python's that is connected to the (TCP) listener."""
    return socket.create_connection(('127.0.0.1', listener.port))


# ---- where ----

def test_clients_come_in_order_and_are_channels(uri):
    with qio.listen(uri) as listener:
        assert isinstance(listener, qio.Listener)
        for i in range(3):
            with qio.connect(listener.address) as client:
                client.write(b'%d' % i)
                with listener.accept(timeout=PATIENCE) as accepted:
                    assert isinstance(accepted, qio.SocketChannel)
                    assert accepted.getblocking()
                    assert accepted.read_some() == b'%d' % i


def test_a_port_of_0_is_chosen_and_told():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        assert listener.port > 0
        assert listener.address == f'tcp://127.0.0.1:{listener.port}'
        assert listener.addresses == (listener.address,)
        with socket.socket(fileno=os.dup(listener.fileno())) as sock:
            assert sock.getsockname() == ('127.0.0.1', listener.port)


def test_a_port_of_ipv6_is_told():
    with qio.listen('tcp://[::1]:0') as listener:
        assert listener.address == f'tcp://[::1]:{listener.port}'


def test_a_unix_listener_has_no_port(path):
    with qio.listen(f'unix:{path}') as listener:
        assert listener.port is None
        assert listener.address == f'unix:{path}'


def test_a_path_that_ends_like_a_port_is_no_port(tmp_path):
    with qio.listen(f'unix:{tmp_path}/a:80') as listener:
        assert listener.port is None


def test_a_port_in_use_is_an_error_by_name():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with pytest.raises(OSError) as caught:
            qio.listen(listener.address)
        assert caught.value.errno == errno.EADDRINUSE
        assert f'127.0.0.1:{listener.port}' in str(caught.value)


def test_a_port_is_free_again_at_once():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with qio.connect(listener.address), listener.accept():
            pass
    with qio.listen(listener.address) as again:
        assert again.address == listener.address


def test_the_backlog_is_set():
    with qio.listen('tcp://127.0.0.1:0', backlog=1) as listener:
        with socket.socket(fileno=os.dup(listener.fileno())) as sock:
            # tcp_info of a listening socket: tcpi_sacked is the backlog
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from('I', info, 28)[0] == 1


def test_the_descriptor_is_close_on_exec(uri):
    with qio.listen(uri) as listener, qio.connect(listener.address), listener.accept() as client:
        assert not os.get_inheritable(listener.fileno())
        assert not os.get_inheritable(client.fileno())


# ---- socket files ----

def test_a_stale_socket_file_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    with qio.listen(f'unix:{path}') as listener:
        qio.connect(listener.address).close()


def test_a_live_socket_file_is_left_alone(path):
    with qio.listen(f'unix:{path}') as listener:
        with pytest.raises(OSError) as caught:
            qio.listen(f'unix:{path}')
        assert isinstance(caught.value, qio.Error)
        assert caught.value.errno == errno.EADDRINUSE
        assert str(path) in str(caught.value)
        with qio.connect(f'unix:{path}'), listener.accept(timeout=PATIENCE):
            pass


@pytest.mark.parametrize('what', ['file', 'folder', 'link'])
def test_what_is_no_socket_is_never_removed(path, what):
    if what == 'file':
        path.write_text('precious')
    elif what == 'folder':
        path.mkdir()
    else:
        path.symlink_to('nowhere')
    with pytest.raises(OSError) as caught:
        qio.listen(f'unix:{path}')
    assert caught.value.errno == errno.EADDRINUSE
    assert path.is_symlink() or path.exists()


def test_close_removes_the_socket_file(path):
    listener = qio.listen(f'unix:{path}')
    assert path.exists()
    listener.close()
    assert not path.exists()


def test_close_leaves_a_socket_file_that_is_somebody_elses(path):
    listener = qio.listen(f'unix:{path}')
    path.unlink()
    with qio.listen(f'unix:{path}') as other:
        listener.close()
        assert path.exists()
        with qio.connect(f'unix:{path}'), other.accept(timeout=PATIENCE):
            pass


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none'):
        qio.listen(f'unix:{tmp_path}/none/s')


# ---- accepting ----

@pytest.mark.parametrize('timeout', [0, 0.001, qio.Deadline(0)])
def test_accept_times_out_when_nobody_comes(uri, timeout):
    with qio.listen(uri) as listener:
        with pytest.raises(TimeoutError) as caught:
            listener.accept(timeout=timeout)
        assert isinstance(caught.value, qio.TimeoutError)
        with qio.connect(listener.address), listener.accept(timeout=0):
            pass


def test_accept_waits_for_one_who_comes_later(uri):
    clients = []
    with qio.listen(uri) as listener:
        with in_thread(lambda: clients.append(listener.accept())):
            with qio.connect(listener.address):
                pass
        clients.pop().close()


def test_a_client_that_is_gone_again_is_passed_over_or_at_its_end():
    """A reset before accept: the kernel may hand the dead connection out, or tell ECONNABORTED."""
    with qio.listen('tcp://127.0.0.1:0') as listener:
        gone = connect_socket(listener)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        gone.close()
        with connect_socket(listener) as alive:
            alive.sendall(b'alive')
            seen = []
            while b'alive' not in seen:
                with listener.accept(timeout=PATIENCE) as client:
                    try:
                        seen.append(client.read_some(timeout=PATIENCE))
                    except ConnectionResetError:
                        seen.append(None)
            assert seen in ([b'alive'], [None, b'alive'], [b'', b'alive'])


def test_being_out_of_descriptors_is_a_pause_and_no_exception():
    """With none left, accept() waits; the client gets in once one is free."""
    script = '''
import os, qio, resource, threading
listener = qio.listen('tcp://127.0.0.1:0')
waiting = [qio.connect(listener.address) for _ in range(3)]
try:
    listener.accept(timeout=0).close()
except qio.TimeoutError:
    pass
spare = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, spare + 1))
try:
    listener.accept(timeout=0.05)
except qio.TimeoutError as error:
    print('timed out:', 'descriptors' in str(error))
accepted = []
thread = threading.Thread(target=lambda: accepted.append(listener.accept(timeout=20)))
thread.start()
os.close(spare)
thread.join()
print(accepted[0].peer_address == waiting[1].local_address)
for it in [listener, *waiting, *accepted]:
    it.close()
'''
    done = subprocess.run([sys.executable, '-W', 'error', '-c', script], capture_output=True,
                          timeout=PATIENCE, text=True)
    assert done.stderr == ''
    assert done.stdout == 'timed out: True\nTrue\n'


def test_a_hundred_clients_are_served(uri):
    def serve():
        for client in listener:
            with client:
                client.write_all(client.read_exactly(3).upper())

    with qio.listen(uri, backlog=128) as listener:
        with in_thread(serve):
            clients = [qio.connect(listener.address) for _ in range(100)]
            for i, client in enumerate(clients):
                client.write_all(b'a%02d' % i)
            for i, client in enumerate(clients):
                with client:
                    assert client.read_exactly(3, timeout=PATIENCE) == b'A%02d' % i
            listener.close()


def test_two_threads_accept_different_clients():
    accepted = []
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with in_thread(lambda: accepted.append(listener.accept())):
            with in_thread(lambda: accepted.append(listener.accept())):
                a, b = qio.connect(listener.address), qio.connect(listener.address)
    with a, b, accepted[0], accepted[1]:
        assert {client.peer_address for client in accepted} == {a.local_address, b.local_address}


@pytest.mark.parametrize('bad, error', [(-1, ValueError), ('1', TypeError), ([], TypeError)])
def test_a_bad_timeout_is_named(bad, error):
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with pytest.raises(error, match='timeout'):
            listener.accept(timeout=bad)


# ---- iterating ----

def test_iteration_ends_when_another_thread_closes(uri):
    with qio.listen(uri) as listener:
        first = threading.Event()
        served = []

        def serve():
            for client in listener:
                with client:
                    served.append(client)
                    first.set()

        with in_thread(serve):
            with qio.connect(listener.address):
                assert first.wait(PATIENCE)
            listener.close()
    assert len(served) == 1


def test_iteration_ends_when_its_own_body_closes(uri):
    with qio.listen(uri) as listener, qio.connect(listener.address):
        for client in listener:
            client.close()
            listener.close()
        assert list(listener) == []


def test_clients_gives_up_when_nobody_comes_in_time(uri):
    with qio.listen(uri) as listener, qio.connect(listener.address):
        clients = listener.clients(timeout=0)
        next(clients).close()
        with pytest.raises(qio.TimeoutError):
            next(clients)


def test_a_deadline_bounds_all_clients_together():
    with qio.listen('tcp://127.0.0.1:0') as listener, qio.connect(listener.address):
        clients = listener.clients(timeout=qio.Deadline(0))
        next(clients).close()           # who is there already comes at once
        with pytest.raises(qio.TimeoutError):
            next(clients)


# ---- loops ----

def test_a_watch_tells_of_each_client(uri):
    with qio.listen(uri) as listener, qio.Loop() as loop:
        seen = []

        def on_client(it, condition):
            assert it is listener
            assert condition & qio.IN
            it.accept(timeout=0).close()
            seen.append(condition)

        watch = loop.watch(listener, 'in', on_client)
        assert loop.run_once(0) == 0
        for n in (1, 2):
            with qio.connect(listener.address):
                while len(seen) < n:
                    assert loop.run_once(PATIENCE)
            assert loop.run_once(0) == 0
        watch.remove()
        with qio.connect(listener.address):
            assert loop.run_once(0) == 0
        assert len(seen) == 2


def test_closing_a_watched_listener_tells_the_watch_once(uri):
    listener = qio.listen(uri)
    with qio.Loop() as loop:
        seen = []
        loop.watch(listener, 'in', lambda it, condition: seen.append(condition))
        listener.close()
        while loop.run_once(0):
            pass
    assert len(seen) == 1
    assert seen[0] & qio.NVAL


def test_its_descriptor_serves_in_a_selector(uri):
    with qio.listen(uri) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, 'data')
        assert selector.select(0) == []
        with qio.connect(listener.address):
            ((key, events),) = selector.select(PATIENCE)
            assert (key.fileobj, key.data, events) == (listener, 'data', selectors.EVENT_READ)
            listener.accept(timeout=0).close()
        assert selector.select(0) == []


# ---- the end ----

def test_after_close_nothing_is_accepted_and_the_addresses_are_still_known(uri):
    listener = qio.listen(uri)
    known = listener.address, listener.addresses, listener.port
    assert not listener.closed
    listener.close()
    listener.close()
    assert listener.closed
    assert listener.fileno() == -1
    assert (listener.address, listener.addresses, listener.port) == known
    with pytest.raises(qio.ClosedError):
        listener.accept(timeout=0)
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        qio.connect(known[0])


def test_with_closes_also_when_something_is_raised(uri):
    with pytest.raises(ZeroDivisionError):
        with qio.listen(uri) as listener:
            1 / 0
    assert listener.closed


def test_close_ends_a_waiting_accept_of_another_thread(uri):
    with qio.listen(uri) as listener:

        def accept():
            with pytest.raises((qio.AbortedError, qio.ClosedError)):
                listener.accept()

        with in_thread(accept), in_thread(accept):
            listener.close()


def test_clients_outlive_their_listener(uri):
    with qio.listen(uri) as listener, qio.connect(listener.address) as a:
        b = listener.accept()
    with b:
        a.close()
        assert b.read() == b''


def test_a_dropped_listener_warns_and_frees_its_address(path):
    listener = qio.listen(f'unix:{path}')
    with pytest.warns(ResourceWarning, match='unclosed'):
        del listener
    assert not path.exists()


def test_a_listener_cannot_be_pickled():
    with qio.listen('tcp://127.0.0.1:0') as listener:
        with pytest.raises(TypeError):
            pickle.dumps(listener)


def test_a_listener_is_made_by_listen_only():
    for call in (qio.Listener, lambda: qio.Listener.__new__(qio.Listener)):
        with pytest.raises((TypeError, ValueError)):
            call().accept(timeout=0)
