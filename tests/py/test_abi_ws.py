# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSockets through the flat ABI: messages, the request and its answer, the end, and stacks."""

import ctypes

import pytest

from flat import CONST, FUNCTIONS, lib, live, new_error
from flat_scene import Scene
from flat_tls import TlsPair, get_text, good, new_options, new_pair, shake
from flat_ws import WsPair, new_ws, recv, send

TEXT, BINARY, CLOSE, PING, PONG = (CONST.QIOH_WS_TEXT, CONST.QIOH_WS_BINARY, CONST.QIOH_WS_CLOSE,
                                   CONST.QIOH_WS_PING, CONST.QIOH_WS_PONG)


@pytest.fixture(autouse=True)
def _no_handle_is_left():
    before = live()
    yield
    assert live() == before


@pytest.fixture
def pair():
    made = WsPair()
    yield made
    made.end()


# ---- messages ----

def test_messages_both_ways(pair):
    assert lib.qioh_channel_get_kind(pair.client, None) == CONST.QIOH_CHANNEL_WEBSOCKET
    for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
        send(one, b'bytes \x00\xff')
        send(one, 'Grüße'.encode(), TEXT)
        send(one, b'')
        assert recv(other) == (b'bytes \x00\xff', BINARY, 1)
        assert recv(other) == ('Grüße'.encode(), TEXT, 1)
        assert recv(other) == (b'', BINARY, 1)
        assert recv(other) is None


def test_a_message_in_parts_and_one_that_is_read_in_parts(pair):
    send(pair.client, b'one ', TEXT, CONST.QIOH_DONTWAIT | CONST.QIOH_WS_PARTIAL)
    assert recv(pair.server) == (b'one ', TEXT, 0)
    send(pair.client, b'two', TEXT)
    assert recv(pair.server, 1) == (b't', TEXT, 0)
    assert recv(pair.server) == (b'wo', TEXT, 1)


def test_outputs_may_be_null(pair):
    send(pair.client, b'x')
    made = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_ws_recv(pair.server, ctypes.addressof(made), 4, CONST.QIOH_DONTWAIT,
                                    None, None, None) == 1


def test_what_a_stream_is_not_and_messages_are_not(pair):
    error = new_error()
    made = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_try_read(pair.client, ctypes.addressof(made), 4,
                                     error) == CONST.QIOH_E_NOTSUP
    stream = WsPair(client={'ws_mode': 'stream'}, ws_mode='stream')
    assert lib.qioh_channel_ws_send(stream.client, ctypes.addressof(made), 4, BINARY, 0,
                                    error) == CONST.QIOH_E_NOTSUP
    assert good(lib.qioh_channel_try_write(stream.client, ctypes.addressof(made), 4, error),
                error) == 4
    assert good(lib.qioh_channel_read(stream.server, ctypes.addressof(made), 4, error), error) == 4
    stream.end()


@pytest.mark.parametrize('opcode, flags', [(0, 1), (3, 1), (CLOSE, 1), (PING, 1), (2**31, 1),
                                           (2**32 - 1, 1), (BINARY, 8), (BINARY, 2**32 - 1)])
def test_opcodes_and_flags_that_are_none(pair, opcode, flags):
    error = new_error()
    made = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_ws_send(pair.client, ctypes.addressof(made), 4, opcode, flags,
                                    error) == CONST.QIOH_E_INVAL
    assert lib.qioh_channel_ws_send(pair.client, None, 4, BINARY, 1, error) == CONST.QIOH_E_INVAL
    assert recv(pair.server, flags=2**32 - 8).code == CONST.QIOH_E_INVAL


def test_pings_come_back_when_they_are_wanted(pair):
    error = new_error()
    made = ctypes.create_string_buffer(b'beat')
    good(lib.qioh_channel_ws_ping(pair.client, ctypes.addressof(made), 4, error), error)
    assert recv(pair.server) is None            # it was answered
    assert recv(pair.client, flags=CONST.QIOH_DONTWAIT | CONST.QIOH_WS_PONGS) == (b'beat', PONG, 1)
    assert lib.qioh_channel_ws_ping(pair.client, ctypes.addressof(made), 126,
                                    error) == CONST.QIOH_E_INVAL


# ---- the end ----

def test_a_close_says_why_once(pair):
    error = new_error()
    good(lib.qioh_channel_ws_close(pair.client, 4000, b'enough', error), error)
    good(lib.qioh_channel_ws_close(pair.client, 1000, None, error), error)
    assert recv(pair.server) == (b'\x0f\xa0enough', CLOSE, 1)
    failed = recv(pair.server)
    assert (failed.code, failed.domain, failed.number) == (
        CONST.QIOH_E_PROTOCOL, CONST.QIOH_DOMAIN_WEBSOCKET, 4000)
    made = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_ws_send(pair.client, ctypes.addressof(made), 4, BINARY, 1, error) < 0
    assert error.code == CONST.QIOH_E_SYSTEM


def test_a_clean_end_is_an_end(pair):
    error = new_error()
    good(lib.qioh_channel_ws_close(pair.client, 1000, None, error), error)
    assert recv(pair.server) == (b'\x03\xe8', CLOSE, 1)
    assert recv(pair.server) == (b'', CLOSE, 1)


@pytest.mark.parametrize('code, reason', [(999, None), (1005, None), (5000, None), (0, b'reason'),
                                          (1000, b'x' * 124), (1000, b'\xff'), (2**32 - 1, None)])
def test_codes_that_are_none(pair, code, reason):
    error = new_error()
    assert lib.qioh_channel_ws_close(pair.client, code, reason, error) == CONST.QIOH_E_INVAL
    send(pair.client, b'still here')
    assert recv(pair.server)[0] == b'still here'


# ---- the request ----

def test_what_was_asked_for():
    pair = WsPair(client={'ws_path': '/chat?room=1', 'ws_host': 'example.org:81',
                          'ws_origin': 'http://example.org', 'ws_protocol': ['soup', 'binary'],
                          'ws_header': ['X-One: 1']}, ws_path='/chat')
    ask = {key: get_text(lib.qioh_channel_ws_get_request, pair.server, key)
           for key in (b'path', b'host', b'origin', b'protocols', b'protocol', b'x-ONE')}
    assert ask == {b'path': '/chat?room=1', b'host': 'example.org:81',
                   b'origin': 'http://example.org', b'protocols': 'soup, binary',
                   b'protocol': 'binary', b'x-ONE': '1'}
    assert get_text(lib.qioh_channel_ws_get_request, pair.client, b'upgrade') == 'websocket'
    error = new_error()
    made = ctypes.create_string_buffer(4)
    get = lib.qioh_channel_ws_get_request
    assert get(pair.server, b'no-such', None, 0, error) == CONST.QIOH_E_INVAL
    assert get(pair.server, None, None, 0, error) == CONST.QIOH_E_INVAL
    assert get(pair.server, b'path', None, 4, error) == CONST.QIOH_E_INVAL
    assert get(pair.server, b'path', ctypes.addressof(made), 4, error) == CONST.QIOH_E_TRUNCATED
    assert made.raw == b'\0' * 4
    lib.qioh_channel_close(pair.server, None)
    assert get_text(get, pair.server, b'path') == '/chat?room=1'
    pair.end()


def test_before_the_request_there_is_nothing_to_tell():
    pair = WsPair(shaken=False)
    error = new_error()
    assert lib.qioh_channel_ws_get_request(pair.server, b'path', None, 0,
                                           error) == CONST.QIOH_E_AGAIN
    assert error.code == 0
    pair.end()


def test_a_request_waits_for_its_answer():
    pair = WsPair(shaken=False, client={'ws_protocol': ['one', 'two']}, ws_request='on',
                  ws_protocol=['two', 'one'])
    error = new_error()
    assert lib.qioh_channel_ws_accept(pair.server, None, error) == CONST.QIOH_E_INVAL
    pair.ask()
    assert lib.qioh_channel_handshake(pair.server, 0, error) == 1
    assert lib.qioh_channel_ws_accept(pair.server, b'three', error) == CONST.QIOH_E_INVAL
    good(lib.qioh_channel_ws_accept(pair.server, b'two', error), error)
    assert shake(pair.server, pair.client) is None
    assert get_text(lib.qioh_channel_ws_get_request, pair.client, b'protocol') == 'two'
    send(pair.client, b'in')
    assert recv(pair.server)[0] == b'in'
    pair.end()


def test_a_request_is_turned_away():
    pair = WsPair(shaken=False, ws_request='on')
    pair.ask()
    error = new_error()
    assert lib.qioh_channel_ws_reject(pair.server, 200, None, error) == CONST.QIOH_E_INVAL
    good(lib.qioh_channel_ws_reject(pair.server, 403, b'go away', error), error)
    assert lib.qioh_channel_handshake(pair.server, 0, error) < 0
    failed = shake(pair.client)
    assert failed.code == CONST.QIOH_E_PROTOCOL and b'403' in failed.message
    pair.end()


def test_settings_are_checked_before_anything_is_sent():
    below = new_pair()
    error = new_error()
    for key, value in (('ws_path', 'no-slash'), ('ws_host', 'a b'), ('ws_header', 'Host: x'),
                       ('tls_verify', 'off')):
        options = new_options(**{key: value})
        assert not lib.qioh_channel_new_ws_client(below[0], options, error)
        assert error.code == CONST.QIOH_E_INVAL
        assert key.replace('_', '-').encode() in error.message
        lib.qioh_options_unref(options)
    ws = new_ws(lib.qioh_channel_new_ws_client, below[0], name='by name')
    assert get_text(lib.qioh_channel_get_name, ws) == 'by name'
    lib.qioh_channel_unref(ws)
    for channel in below:
        lib.qioh_channel_unref(channel)


# ---- other kinds of channels ----

ONLY_WS = [name for name in FUNCTIONS if name.startswith('qioh_channel_ws_')]


@pytest.mark.parametrize('name', ONLY_WS)
def test_other_channels_are_of_the_wrong_type(name, tmp_path):
    scene = Scene(tmp_path)
    error = new_error()
    arguments = scene.arguments(FUNCTIONS[name], error)
    for other in (scene.handles['qioh_channel *'], scene.tls_channel()):
        arguments[0] = other
        assert getattr(lib, name)(*arguments) == CONST.QIOH_E_WRONGTYPE
        assert b'WebSocket' in error.message and b'qio-channel-' in error.message
    scene.end()


# ---- stacks ----

def test_over_tls_and_tls_is_found_below():
    tls = TlsPair()
    client = new_ws(lib.qioh_channel_new_ws_client, tls.client, ws_mode='messages')
    server = new_ws(lib.qioh_channel_new_ws_server, tls.server, ws_mode='messages')
    assert shake(client, server) is None
    send(client, b'twice wrapped')
    assert recv(server)[0] == b'twice wrapped'
    assert lib.qioh_channel_get_transport(client, None) == tls.client
    assert lib.qioh_channel_get_transport(tls.client, None) == tls.below[0]
    assert get_text(lib.qioh_channel_tls_get_str, tls.client, b'version') == 'TLS1.3'
    assert get_text(lib.qioh_channel_get_peer_address, client) == 'unix:'
    # Closing the top closes all.
    assert lib.qioh_channel_close(client, None) == 0
    made = ctypes.create_string_buffer(4)
    for channel in (client, tls.client, tls.below[0]):
        assert lib.qioh_channel_read(channel, ctypes.addressof(made), 4,
                                     None) == CONST.QIOH_E_CLOSED
    lib.qioh_channel_unref(client)
    lib.qioh_channel_unref(server)
    tls.end()


def test_the_stack_is_taken_apart_again():
    pair = WsPair(client={'ws_mode': 'stream'}, ws_mode='stream')
    error = new_error()
    made = ctypes.create_string_buffer(4)
    assert not lib.qioh_channel_take_transport(pair.client, 0, error)
    assert error.code == CONST.QIOH_E_TIMEOUT
    assert lib.qioh_channel_read(pair.server, ctypes.addressof(made), 4, error) == 0
    ends = [lib.qioh_channel_take_transport(end, 5000, error) for end in (pair.server, pair.client)]
    assert ends == [pair.below[1], pair.below[0]], error.message
    assert lib.qioh_channel_try_write(ends[0], ctypes.addressof(made), 4, error) == 4
    for handle in ends:
        lib.qioh_channel_unref(handle)
    pair.end()
