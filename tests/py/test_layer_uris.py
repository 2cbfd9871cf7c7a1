# SPDX-License-Identifier: LGPL-2.1-or-later
"""URIs with layers, opened and listened on through the flat ABI, with certificates: who is expected
to be at the other end, what a URI may name, and listeners in every way they are used."""

import concurrent.futures
import ctypes
import signal
import threading

import pytest

from flat import CALLBACKS, CONST, STRUCTS, lib, live, new_error
from flat_tls import get_text, good, new_creds, new_options
from flat_ws import recv, send


@pytest.fixture(autouse=True)
def _no_handle_is_left():
    before = live()
    yield
    assert live() == before


@pytest.fixture
def other_thread():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


def open_uri(uri, **keys):
    """A channel, or an error struct."""
    error = new_error()
    options = new_options(**keys) if keys else None
    channel = lib.qioh_channel_open_uri(uri.encode(), options, error)
    lib.qioh_options_unref(options)
    return channel or error


def listen(uri, **keys):
    error = new_error()
    options = new_options(**keys) if keys else None
    listener = lib.qioh_listener_open_uri(uri.encode(), options, error)
    lib.qioh_options_unref(options)
    assert listener, error.message
    return listener, get_text(lib.qioh_listener_get_address, listener, 0)


def accept(listener):
    error = new_error()
    channel = lib.qioh_listener_accept(listener, 20000, error)
    assert channel, error.message
    return channel


def unref(*channels):
    for channel in channels:
        lib.qioh_channel_unref(channel)


def write(channel, data):
    error = new_error()
    made = ctypes.create_string_buffer(data, len(data))
    good(lib.qioh_channel_write_all(channel, ctypes.addressof(made), len(data), error), error)


def read(channel, size):
    error = new_error()
    made = ctypes.create_string_buffer(size)
    good(lib.qioh_channel_read_all(channel, ctypes.addressof(made), size, error), error)
    return made.raw


def meet(pool, listener, uri, **keys):
    """Both ends of a connection, hands shaken; or what the client was told."""
    opening = pool.submit(open_uri, uri, **keys)
    server = accept(listener)
    lib.qioh_channel_handshake(server, 20000, None)
    client = opening.result()
    if not isinstance(client, int):
        unref(server)
        server = None
    return client, server


def keys_of(pki, uri):
    """What both ends need for TLS, if there is any."""
    return {'tls_dir': str(pki.dir)} if 'tls' in uri or 'wss' in uri else {}


STACKS = [
    'tls+tcp://127.0.0.1:0', 'tls+tcp://[::1]:0', 'tls+tcp://localhost:0', 'tls+unix:',
    'ws://127.0.0.1:0', 'ws://127.0.0.1:0/chat', 'ws+unix:', 'wss://127.0.0.1:0/a/b?name=x',
    'ws+tls+unix:', 'tls+ws+tcp://127.0.0.1:0', 'tls+tls+unix:', 'ws+ws+unix:',
    'tls+wss://127.0.0.1:0', 'ws+tls+ws+tls+unix:',
]


@pytest.mark.parametrize('uri', STACKS)
def test_a_listener_prints_what_a_client_opens(uri, pki, other_thread):
    listener, address = listen(uri, **keys_of(pki, uri))
    assert address.startswith(uri.replace('ws+tcp:', 'ws:').split(':')[0] + ':')
    assert ('/chat' in uri) == address.endswith('/chat')
    # The names of a certificate are of hosts, and a unix socket is on none.
    host = {'tls_hostname': 'localhost'} if 'tls' in uri and 'unix' in uri else {}
    client, server = meet(other_thread, listener, address, **keys_of(pki, uri), **host)
    assert isinstance(client, int), client.message
    write(client, b'to the server')
    assert read(server, 13) == b'to the server'
    write(server, b'x' * 100000)
    assert read(client, 100000) == b'x' * 100000
    unref(client, server)
    lib.qioh_listener_unref(listener)


# ---- who is expected ----

@pytest.mark.parametrize('host, wrong', [('localhost', 'elsewhere.example'),
                                         ('127.0.0.1', '127.0.0.2')])
def test_the_host_of_the_uri_is_whom_the_certificate_has_to_name(host, wrong, pki, other_thread):
    listener, address = listen('tls+tcp://127.0.0.1:0', tls_dir=str(pki.dir), tls_verify='off')
    uri = address.replace('127.0.0.1', host)
    client, server = meet(other_thread, listener, uri, tls_ca=pki.ca.read_bytes(), ipv6='off')
    assert isinstance(client, int), client.message
    assert get_text(lib.qioh_channel_tls_get_str, client, b'hostname') == host
    unref(client, server)
    error, _ = meet(other_thread, listener, uri, tls_ca=pki.ca.read_bytes(), tls_hostname=wrong)
    assert error.code == CONST.QIOH_E_TLS and wrong.encode() in error.message
    assert error.number >= 256
    lib.qioh_listener_unref(listener)


def test_a_unix_socket_needs_a_host_name_to_verify(pki, other_thread):
    listener, address = listen('tls+unix:', tls_dir=str(pki.dir), tls_verify='off')
    error, _ = meet(other_thread, listener, address, tls_ca=pki.ca.read_bytes())
    assert error.code == CONST.QIOH_E_TLS
    client, server = meet(other_thread, listener, address, tls_verify='off')
    assert isinstance(client, int), client.message
    unref(client, server)
    lib.qioh_listener_unref(listener)


def test_an_unknown_authority_is_refused(pki, other_thread):
    listener, address = listen('wss://127.0.0.1:0', tls_dir=str(pki.dir), tls_verify='off')
    error, _ = meet(other_thread, listener, address, tls_dir=str(pki.other_dir))
    assert error.code == CONST.QIOH_E_TLS and error.number >= 256
    lib.qioh_listener_unref(listener)


# ---- what a URI may name ----

FILES = ['tls-dir', 'tls-ca', 'tls-cert', 'tls-key', 'tls-crl', 'tls-psk-file']


@pytest.mark.parametrize('key', FILES)
def test_files_in_a_uri_need_the_caller(key, pki, tmp_path):
    uri = f'tls+unix:{tmp_path}/no?{key}={pki.dir}'
    error = open_uri(uri)
    assert error.code == CONST.QIOH_E_SYSTEM and error.sys_errno == 13
    assert f'position {uri.index(key)}'.encode() in error.message
    assert open_uri(uri, allow='net,unix,file').sys_errno == 13
    options = new_options(allow='unix')
    assert not lib.qioh_listener_open_uri(uri.encode(), options, error)
    assert error.sys_errno == 13
    lib.qioh_options_unref(options)


def test_with_permission_a_uri_says_it_all(pki, other_thread):
    files = f'tls-dir={pki.dir}'
    listener, address = listen(f'tls+tcp://127.0.0.1:0?{files}', allow='all')
    assert '?' not in address
    client, server = meet(other_thread, listener, f'{address}?{files}&tls-alpn=x', allow='all')
    assert isinstance(client, int), client.message
    assert get_text(lib.qioh_channel_tls_get_str, server, b'peer-name') == 'CN=a client'
    unref(client, server)
    lib.qioh_listener_unref(listener)


def test_credentials_of_the_caller_win_over_the_uri(pki, other_thread):
    creds = new_creds(lib.qioh_creds_new_x509, False, tls_ca=pki.ca.read_bytes())
    listener, address = listen('tls+tcp://127.0.0.1:0', tls_dir=str(pki.dir), tls_verify='off')
    client, server = meet(other_thread, listener, f'{address}?tls-anon=on', tls_creds=creds)
    assert isinstance(client, int), client.message
    lib.qioh_creds_unref(creds)
    write(client, b'!')
    assert read(server, 1) == b'!'
    unref(client, server)
    lib.qioh_listener_unref(listener)


@pytest.mark.parametrize('uri, keys, part', [
    ('tls+unix:/no/such/s', {'tls_ca': b'this is no certificate'}, b'tls-ca'),
    ('tls+unix:/no/such/s', {'tls_ca': b''}, b'tls-ca'),
    ('tls+unix:/no/such/s', {'tls_priority': 'NONSENSE'}, b'priority'),
    ('tls+unix:/no/such/s', {'tls_dir': '/no/such/folder'}, b'/no/such/folder'),
    ('ws+unix:/no/such/s', {'ws_path': 'x'}, b'ws-path'),
    ('ws+unix:/no/such/s', {'tls_verify': 'off'}, b'"tls-verify" has no use with ws+unix:'),
    ('tls+unix:/no/such/s', {'ws_mode': 'stream'}, b'"ws-mode" has no use with tls+unix:'),
])
def test_settings_that_are_wrong(uri, keys, part):
    error = open_uri(uri, **keys)
    assert part in error.message
    assert error.code in (CONST.QIOH_E_INVAL, CONST.QIOH_E_TLS, CONST.QIOH_E_SYSTEM)


# ---- the end of opening ----

def test_a_server_that_says_nothing_costs_the_time_out(pki):
    listener, address = listen('unix:')
    for key in ('timeout', 'handshake_timeout'):
        for layer in ('tls', 'ws', 'ws+tls'):
            keys = {'tls_verify': 'off'} if 'tls' in layer else {}
            error = open_uri(f'{layer}+{address}', **{key: '0.02'}, **keys)
            assert error.code == CONST.QIOH_E_TIMEOUT
    lib.qioh_listener_unref(listener)


def test_a_signal_ends_opening():
    listener, address = listen('unix:')
    before = signal.signal(signal.SIGALRM, lambda signum, frame: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        error = open_uri(f'tls+{address}', tls_verify='off')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert error.code == CONST.QIOH_E_INTR
    lib.qioh_listener_unref(listener)


@pytest.mark.parametrize('answer', [b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\x15\x03\x03\x00\x02\x02\x28',
                                    b'', b'\x00' * 5000])
@pytest.mark.parametrize('layer', ['tls', 'ws', 'ws+tls'])
def test_a_server_that_says_something_else(layer, answer, other_thread):
    listener, address = listen('unix:')
    keys = {'tls_verify': 'off'} if 'tls' in layer else {}
    opening = other_thread.submit(open_uri, f'{layer}+{address}', **keys)
    server = accept(listener)
    error = new_error()
    made = ctypes.create_string_buffer(answer, len(answer) + 1)
    lib.qioh_channel_write(server, ctypes.addressof(made), len(answer), error)
    lib.qioh_channel_shutdown(server, CONST.QIOH_SHUTDOWN_WRITE, None)
    error = opening.result()
    assert error.code in (CONST.QIOH_E_TLS, CONST.QIOH_E_TLS_TRUNCATED, CONST.QIOH_E_PROTOCOL,
                          CONST.QIOH_E_EOF, CONST.QIOH_E_SYSTEM), error.message
    unref(server)
    lib.qioh_listener_unref(listener)


# ---- listeners ----

def test_accept_never_shakes_hands(pki):
    listener, address = listen('wss://127.0.0.1:0', tls_dir=str(pki.dir))
    mute = open_uri('tcp' + address[3:].rstrip('/'))
    client = accept(listener)
    assert lib.qioh_channel_get_kind(client, None) == CONST.QIOH_CHANNEL_WEBSOCKET
    assert get_text(lib.qioh_channel_get_peer_address, client) == get_text(
        lib.qioh_channel_get_local_address, mute)
    made = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_try_read(client, ctypes.addressof(made), 4,
                                     None) == CONST.QIOH_E_AGAIN
    unref(mute, client)
    lib.qioh_listener_unref(listener)


def test_a_watch_tells_of_clients_and_accept_has_the_layers(pki):
    listener, address = listen('tls+unix:', tls_dir=str(pki.dir))
    loop = lib.qioh_loop_new(None)
    accepted = []

    def on_client(watch, listener, user_data, error):
        accepted.append(lib.qioh_listener_accept(listener, 0, error))
        return 1

    keep = CALLBACKS['qioh_listener_fn'](on_client), CALLBACKS['qioh_release_fn'](lambda data: None)
    watch = lib.qioh_watch_new_listener(loop, listener, keep[0], 0, keep[1], None)
    mute = open_uri(address[len('tls+'):])
    assert lib.qioh_loop_dispatch(loop, 20000, None) == 1
    assert [lib.qioh_channel_get_kind(channel, None)
            for channel in accepted] == [CONST.QIOH_CHANNEL_TLS]
    unref(mute, *accepted)
    lib.qioh_watch_unref(watch)
    lib.qioh_loop_unref(loop)
    lib.qioh_listener_unref(listener)


def test_events_tell_of_clients_too(pki):
    listener, address = listen('ws+unix:')
    loop = lib.qioh_loop_new(None)
    watch = lib.qioh_watch_new_listener_queued(loop, listener, 9, None)
    mute = open_uri(address[len('ws+'):])
    events = (STRUCTS['qioh_event'] * 4)()
    assert lib.qioh_loop_next_events(loop, events, 4, 20000, None) == 1
    assert (events[0].kind, events[0].cookie) == (CONST.QIOH_EV_ACCEPT, 9)
    client = accept(listener)
    assert lib.qioh_channel_get_kind(client, None) == CONST.QIOH_CHANNEL_WEBSOCKET
    unref(mute, client)
    lib.qioh_watch_unref(watch)
    lib.qioh_loop_unref(loop)
    lib.qioh_listener_unref(listener)


def test_many_clients_of_which_some_are_rude(pki, other_thread):
    listener, address = listen('wss://127.0.0.1:0', tls_dir=str(pki.dir), tls_verify='off',
                               ws_mode='messages')
    tcp = 'tcp' + address[3:]
    served = threading.Semaphore(0)

    def clients():
        for i in range(12):
            if i % 3 == 0:
                rude = open_uri(tcp)
                write(rude, b'\x00not a hello\r\n\r\n')
            else:
                client = open_uri(address, tls_ca=pki.ca.read_bytes(), ws_mode='messages')
                assert isinstance(client, int), client.message
                send(client, b'%d' % i)
                served.acquire()
                rude = client
            unref(rude)

    running = other_thread.submit(clients)
    got = []
    for i in range(12):
        client = accept(listener)
        if lib.qioh_channel_handshake(client, 20000, None) == 0:
            got.append(recv(client, flags=0)[0])
            served.release()
        unref(client)
    running.result()
    assert got == [b'%d' % i for i in range(12) if i % 3]
    lib.qioh_listener_unref(listener)


def test_requests_are_answered_by_the_server(other_thread):
    listener, address = listen('ws://127.0.0.1:0', ws_request='on', ws_protocol=['a', 'b'])
    opening = other_thread.submit(open_uri, address + '?ws-protocol=b')
    server = accept(listener)
    assert lib.qioh_channel_handshake(server, 20000, None) == 1
    assert get_text(lib.qioh_channel_ws_get_request, server, b'host') == address[len('ws://'):]
    assert lib.qioh_channel_ws_accept(server, None, None) == 0
    assert lib.qioh_channel_handshake(server, 20000, None) == 0
    client = opening.result()
    assert get_text(lib.qioh_channel_ws_get_request, client, b'protocol') == 'b'
    unref(client, server)
    lib.qioh_listener_unref(listener)


# ---- opening as an operation, all in this thread ----

class Opening:
    """A task that opens, its loop, and the listener's end, which shakes hands by turns with it."""

    def __init__(self, uri, **keys):
        error = new_error()
        self.loop = lib.qioh_loop_new(error)
        options = new_options(**keys) if keys else None
        self.task = lib.qioh_task_start_open_uri(uri.encode(), options, self.loop, 7, error)
        lib.qioh_options_unref(options)
        assert self.task, error.message
        self.server = None

    def turn(self, listener):
        """One step of each side.  Returns: the result of the task, AGAIN until there is one."""
        if self.server is None:
            self.server = lib.qioh_listener_accept(listener, 0, None)
        else:
            lib.qioh_channel_handshake(self.server, 0, None)
        events = (STRUCTS['qioh_event'] * 4)()
        lib.qioh_loop_next_events(self.loop, events, 4, 1, None)
        return lib.qioh_task_status(self.task, None)

    def run(self, listener):
        for _ in range(5000):
            status = self.turn(listener)
            if status != CONST.QIOH_E_AGAIN:
                return status
        raise AssertionError('the operation does not end')

    def end(self, *channels):
        unref(*channels)
        lib.qioh_channel_unref(self.server)
        lib.qioh_task_unref(self.task)
        lib.qioh_loop_unref(self.loop)


@pytest.mark.parametrize('uri', STACKS)
def test_a_task_opens_what_a_call_opens(uri, pki):
    listener, address = listen(uri, **keys_of(pki, uri))
    host = {'tls_hostname': 'localhost'} if 'tls' in uri and 'unix' in uri else {}
    opening = Opening(address, name='by task', **keys_of(pki, uri), **host)
    error = new_error()
    status = opening.run(listener)
    lib.qioh_task_get_error(opening.task, error, None)
    assert status == 0, error.message
    client = lib.qioh_task_take_channel(opening.task, error)
    assert client, error.message
    assert get_text(lib.qioh_channel_get_name, client) == 'by task'
    write(client, b'to the server')
    lib.qioh_channel_flush(client, None)
    assert read(opening.server, 13) == b'to the server'
    opening.end(client)
    lib.qioh_listener_unref(listener)


def test_a_task_is_cancelled_at_every_step(pki):
    uri = 'wss://127.0.0.1:0'
    listener, address = listen(uri, **keys_of(pki, uri))
    for turns in range(100):
        opening = Opening(address, **keys_of(pki, uri))
        status = CONST.QIOH_E_AGAIN
        for _ in range(turns):
            status = opening.turn(listener)
        if status == 0:
            opening.end()
            break
        assert status == CONST.QIOH_E_AGAIN
        assert lib.qioh_task_cancel(opening.task, None) == 0
        assert opening.run(listener) == CONST.QIOH_E_CANCELLED
        opening.end()
        while channel := lib.qioh_listener_accept(listener, 0, None):
            lib.qioh_channel_unref(channel)     # connected before it was cancelled
    assert status == 0 and turns > 2
    lib.qioh_listener_unref(listener)


def test_a_task_fails_as_a_call_does(pki, tmp_path):
    error = new_error()
    listener, address = listen('unix:')
    cases = [
        (f'tls+{address}', {'tls_verify': 'off', 'timeout': '0.02'}, CONST.QIOH_E_TIMEOUT),
        (f'ws+{address}', {'handshake_timeout': '0.02'}, CONST.QIOH_E_TIMEOUT),
        (f'tls+unix:{tmp_path}/none', {'tls_verify': 'off'}, CONST.QIOH_E_SYSTEM),
        (f'tls+{address}?tls-dir={pki.dir}', {}, CONST.QIOH_E_SYSTEM),
        (f'tls+{address}', {'tls_priority': 'NONSENSE'}, None),
        (f'ws+{address}', {'tls_verify': 'off'}, CONST.QIOH_E_INVAL),
        ('tls+buffer:', {'tls_verify': 'off'}, None),
        ('ws+null:', {}, None),
    ]
    for uri, keys, code in cases:
        opening = Opening(uri, **keys)
        status = opening.run(listener)
        assert status < 0 and status == (code or status), uri
        assert lib.qioh_task_get_error(opening.task, error, None) == 1
        call = open_uri(uri, **keys)
        assert (call.code, call.sys_errno) == (error.code, error.sys_errno), uri
        if code != CONST.QIOH_E_TIMEOUT:        # a task and a call wait each in their words
            assert call.message == error.message
        opening.end()
    lib.qioh_listener_unref(listener)
