# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSocket with python3-websockets and node-ws, through nginx and haproxy, and with websockify.

What a server does and what the steps are called is in peers/ws_peer.py.  Both peers take all of
them in both roles, in plain and over TLS, with compression and without.
"""

import contextlib
import ctypes
import socket
import threading

import pytest

import flat
import qio
from library_side import Serving, creds, serve_messages
from peers import PATIENCE, accept, listen_tcp, listen_unix, tls, websock

pytestmark = pytest.mark.needs('node', 'nginx', 'haproxy', 'websockify')
BULK = bytes(i * 31 % 251 for i in range(65536))
KEYS = {'ws_mode': 'messages', 'ws_protocol': ['binary', 'chat']}


# ---- the steps of our client ----

def echo(ws, message):
    ws.send(message)
    back = ws.recv()
    assert back == message and type(back) is type(message)


def step_text(ws):
    for message in ('hello', '', 'gr\u00fc\u00df dich \u2603 \U0001f600', 'x' * 125, 'x' * 126):
        echo(ws, message)


def step_binary(ws):
    for message in (bytes(range(256)), b'', b'\0' * 125, b'\xff' * 126):
        echo(ws, message)


def step_fragmented(ws):
    """Theirs; our own are in test_our_fragments()."""
    ws.send('!fragments a b cd')
    assert ws.recv() == 'abcd'


def step_bulk(ws):
    for size in (65535, 65536):
        echo(ws, BULK[:size])


def step_ping(ws):
    ws.ping(b'are you there')
    echo(ws, 'still here')
    ws.send('!ping payload')
    assert ws.recv() == 'pong payload'      # it got our pong


def step_close(ws):
    ws.send('!close 4001 gone f\u00fcr good')
    with pytest.raises(qio.WebSocketError) as caught:
        ws.recv()
    assert (caught.value.close_code, caught.value.reason) == (4001, 'gone f\u00fcr good')


def step_close_by_client(ws):
    ws.close(4002, 'enough', timeout=PATIENCE)
    assert ws.closed


def step_protocol(ws):
    assert ws.protocol == 'chat'
    echo(ws, 'x')


OUR_STEPS = {'text': step_text, 'binary': step_binary, 'fragmented': step_fragmented,
             'bulk': step_bulk, 'ping': step_ping, 'close': step_close,
             'close-by-client': step_close_by_client, 'protocol': step_protocol}
assert list(OUR_STEPS) == websock.STEPS


def take_step(step, uri, **keys):
    if step == 'protocol':
        keys['ws_protocol'] = ['unknown', 'chat']
    with qio.connect(uri, timeout=PATIENCE, ws_mode='messages', **keys) as ws:
        ws.settimeout(PATIENCE)
        OUR_STEPS[step](ws)


# ---- one to one ----

STEPS = pytest.mark.parametrize('step', websock.STEPS)
PEERS = pytest.mark.parametrize('peer', websock.PROGRAMS)
DEFLATE = pytest.mark.parametrize('deflate', [False, True], ids=['plain', 'deflate'])


@pytest.fixture(scope='module')
def servers(tmp_path_factory):
    """The path of a server of each kind; they run as long as the tests of this file."""
    folder = tmp_path_factory.mktemp('servers')
    with contextlib.ExitStack() as stack:
        for name in websock.PROGRAMS:
            stack.enter_context(websock.Server(name, listen_unix(folder / name)))
        yield folder


@PEERS
@STEPS
@DEFLATE
def test_client(servers, peer, step, deflate):
    take_step(step, f'ws+unix:{servers}/{peer}', ws_deflate=deflate)


@PEERS
@STEPS
@DEFLATE
def test_server(tmp_path, peer, step, deflate):
    listener = qio.listen(f'ws+unix:{tmp_path}/s', ws_deflate=deflate, **KEYS)
    with Serving(listener, serve_messages) as serving:
        websock.client(peer, step, f'unix:{tmp_path}/s', deflate=deflate)
    if step == 'close-by-client':
        assert serving.results == [(4002, 'enough')]


@PEERS
@pytest.mark.parametrize('version', tls.VERSIONS)
def test_client_over_tls(pki, peer, version):
    listener = listen_tcp()
    port = listener.getsockname()[1]
    with websock.Server(peer, listener, pki.server_cert, pki.server_key):
        for step in ('text', 'bulk', 'close'):
            take_step(step, f'wss://localhost:{port}/', tls=creds('x509', version, False, pki))


@PEERS
@pytest.mark.parametrize('version', tls.VERSIONS)
def test_server_over_tls(pki, peer, version):
    listener = qio.listen('wss://127.0.0.1:0/', tls=creds('x509', version, True, pki), **KEYS)
    with Serving(listener, serve_messages, clients=2):
        for step in ('bulk', 'close'):
            websock.client(peer, step, f'wss://localhost:{listener.port}/', ca=pki.ca)


@PEERS
def test_our_fragments(servers, peer):
    """Through the flat ABI, which can send a message in parts."""
    send, recv, const = flat.lib.qioh_channel_ws_send, flat.lib.qioh_channel_ws_recv, flat.CONST
    with flat_channel(f'ws+unix:{servers}/{peer}', b'messages') as channel:
        parts = [b'one ', b'', b'tw', 'o th\u00e9e'.encode()]
        for part in parts:
            more = const.QIOH_WS_PARTIAL if part is not parts[-1] else 0
            assert send(channel, part, len(part), const.QIOH_WS_TEXT, more, None) == len(part)
        buf = ctypes.create_string_buffer(100)
        opcode, fin = ctypes.c_uint32(), ctypes.c_uint32()
        n = recv(channel, buf, 100, 0, ctypes.byref(opcode), ctypes.byref(fin), None)
        assert (buf.raw[:max(n, 0)], opcode.value, fin.value) == \
            (b''.join(parts), const.QIOH_WS_TEXT, 1)


@contextlib.contextmanager
def flat_channel(uri, mode):
    options = flat.lib.qioh_options_new(None)
    assert flat.lib.qioh_options_set_str(options, b'ws-mode', mode, None) == 0
    channel = flat.lib.qioh_channel_open_uri(uri.encode(), options, None)
    flat.lib.qioh_options_unref(options)
    assert channel
    try:
        yield channel
    finally:
        flat.lib.qioh_channel_close(channel, None)
        flat.lib.qioh_channel_unref(channel)


# ---- proxies in front of a server ----

PROXIES = pytest.mark.parametrize('proxy', websock.PROXIES)
WITH_TLS = pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])


def start_proxy(proxy, folder, target, pki, secure):
    cert = [pki.server_cert, pki.server_key] if secure else []
    return websock.PROXIES[proxy](folder, folder / 'proxy', target, *cert)


@PROXIES
@WITH_TLS
@PEERS
def test_client_through_a_proxy(pki, servers, tmp_path, proxy, secure, peer):
    keys = {'tls': creds('x509', '1.3', False, pki), 'tls_hostname': 'localhost'} if secure else {}
    uri = f'{"ws+tls" if secure else "ws"}+unix:{tmp_path}/proxy'
    with start_proxy(proxy, tmp_path, servers / peer, pki, secure):
        for step in websock.STEPS:
            take_step(step, uri, **keys)


@PROXIES
@PEERS
def test_server_behind_a_proxy(pki, tmp_path, proxy, peer):
    listener = qio.listen(f'ws+unix:{tmp_path}/s', **KEYS)
    steps = ('fragmented', 'bulk', 'close')
    with Serving(listener, serve_messages, clients=len(steps)), \
            start_proxy(proxy, tmp_path, tmp_path / 's', pki, False):
        for step in steps:
            websock.client(peer, step, f'unix:{tmp_path}/proxy')


@WITH_TLS
def test_stream_through_websockify(pki, tmp_path, secure):
    """The other face: bytes, which websockify hands on to a server that knows no WebSocket."""
    plain, listener = listen_unix(tmp_path / 'plain'), listen_tcp()
    host = f'localhost:{listener.getsockname()[1]}'
    cert = [pki.server_cert, pki.server_key] if secure else []
    keys = {'tls': creds('x509', '1.3', False, pki)} if secure else {}
    with plain, websock.Websockify(listener, tmp_path / 'plain', *cert), \
            qio.connect(f'{"wss" if secure else "ws"}://{host}/', timeout=PATIENCE,
                        ws_protocol=['binary'], **keys) as channel:
        channel.settimeout(PATIENCE)
        with accept(plain) as server:
            assert channel.ws_mode == 'stream' and channel.protocol == 'binary'
            channel.write_all(b'there')
            assert server.recv(100) == b'there'
            writer = threading.Thread(target=channel.write_all, args=[BULK * 8])
            writer.start()
            got = b''
            while len(got) < 8 * len(BULK):
                got += server.recv(65536)
            writer.join(PATIENCE)
            assert got == BULK * 8
            server.sendall(b'and back')
            assert channel.read_exactly(8) == b'and back'
            server.shutdown(socket.SHUT_RDWR)
            assert channel.read_some() == b''
