# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS channels and credentials through the flat ABI: what only they have, the functions of the
caller that they ask, and the channel below."""

import ctypes
import os
import ssl

import pytest

from flat import CALLBACKS, CONST, FUNCTIONS, lib, live, new_error
from flat_scene import Scene
from flat_tls import (KEY, PskServer, TlsPair, get_text, good, new_creds, new_options, new_pair,
                      new_tls, psk_client, shake)


@pytest.fixture(autouse=True)
def _no_handle_is_left():
    before = live()
    yield
    assert live() == before


@pytest.fixture
def pair():
    made = TlsPair()
    yield made
    made.end()


def read(channel, size=100):
    error = new_error()
    buffer = ctypes.create_string_buffer(size)
    count = good(lib.qioh_channel_read(channel, ctypes.addressof(buffer), size, error), error)
    return buffer.raw[:count]


def write(channel, data):
    error = new_error()
    buffer = ctypes.create_string_buffer(data, len(data))
    assert good(lib.qioh_channel_write(channel, ctypes.addressof(buffer), len(data), error),
                error) == len(data)


# ---- what was agreed ----

def test_what_was_agreed(pair):
    assert lib.qioh_channel_get_kind(pair.client, None) == CONST.QIOH_CHANNEL_TLS
    for key in (b'version', b'cipher', b'suite', b'group', b'alpn', b'resumed'):
        agreed = get_text(lib.qioh_channel_tls_get_str, pair.client, key)
        assert agreed == get_text(lib.qioh_channel_tls_get_str, pair.server, key)
    assert get_text(lib.qioh_channel_tls_get_str, pair.client, b'version') == 'TLS1.3'
    assert get_text(lib.qioh_channel_tls_get_str, pair.server, b'peer-name') == 'alice'
    assert pair.server_creds.users == [b'alice']
    write(pair.client, b'over the wire')
    assert read(pair.server) == b'over the wire'


def test_what_was_agreed_stays_known_after_close(pair):
    assert lib.qioh_channel_close(pair.client, None) == 0
    assert get_text(lib.qioh_channel_tls_get_str, pair.client, b'version') == 'TLS1.3'
    assert lib.qioh_channel_get_kind(pair.client, None) == CONST.QIOH_CHANNEL_TLS


def test_before_the_handshake_nothing_is_agreed():
    pair = TlsPair(shaken=False)
    error = new_error()
    assert lib.qioh_channel_tls_get_str(pair.client, b'version', None, 0,
                                        error) == CONST.QIOH_E_INVAL
    assert b'handshake' in error.message
    pair.end()


def test_faults_of_arguments(pair):
    error = new_error()
    room = ctypes.create_string_buffer(4)
    cases = [(b'versio', ctypes.addressof(room), 4, CONST.QIOH_E_INVAL, b'versio'),
             (None, ctypes.addressof(room), 4, CONST.QIOH_E_INVAL, b'key is NULL'),
             (b'version', None, 4, CONST.QIOH_E_INVAL, b'buf is NULL'),
             (b'version', ctypes.addressof(room), 4, CONST.QIOH_E_TRUNCATED, b'7')]
    for key, buf, cap, code, part in cases:
        assert lib.qioh_channel_tls_get_str(pair.client, key, buf, cap, error) == code
        assert part in error.message
    export = lib.qioh_channel_tls_export
    assert export(pair.client, None, None, 0, ctypes.addressof(room), 4,
                  error) == CONST.QIOH_E_INVAL
    assert export(pair.client, b'l', None, 3, ctypes.addressof(room), 4,
                  error) == CONST.QIOH_E_INVAL
    assert export(pair.client, b'l', None, 0, None, 4, error) == CONST.QIOH_E_INVAL
    assert error.message == b'buf is NULL'


def test_export_gives_both_ends_the_same(pair):
    def export(channel, label, context):
        error = new_error()
        out = ctypes.create_string_buffer(32)
        made = ctypes.create_string_buffer(context, len(context))
        good(lib.qioh_channel_tls_export(channel, label, ctypes.addressof(made), len(context),
                                         ctypes.addressof(out), 32, error), error)
        return out.raw

    label = b'EXPORTER-test'
    assert export(pair.client, label, b'c') == export(pair.server, label, b'c')
    assert export(pair.client, label, b'c') != export(pair.client, label, b'd')


def test_rekey_keeps_the_stream(pair):
    for i in range(3):
        error = new_error()
        good(lib.qioh_channel_tls_rekey(pair.client, error), error)
        write(pair.client, b'%d' % i)
        assert read(pair.server) == b'%d' % i
        write(pair.server, b'back')
        assert read(pair.client) == b'back'


def test_peer_certificate_of_a_shared_key_is_none(pair):
    error = new_error()
    assert lib.qioh_channel_tls_get_peer_certificate(pair.client, 0, None, 0, error) == 0


def test_peer_certificate(pki):
    below = new_pair()
    server_creds = new_creds(lib.qioh_creds_new_x509, True, tls_dir=str(pki.dir))
    client_creds = new_creds(
        lib.qioh_creds_new_x509, False, tls_ca=pki.ca.read_bytes(),
        tls_cert=pki.client_cert.read_bytes(), tls_key=pki.client_key.read_bytes())
    server = new_tls(lib.qioh_channel_new_tls_server, below[1], server_creds)
    client = new_tls(lib.qioh_channel_new_tls_client, below[0], client_creds,
                     tls_hostname='localhost')
    error = shake(client, server)
    assert error is None, error.message
    error = new_error()
    length = good(lib.qioh_channel_tls_get_peer_certificate(client, 0, None, 0, error), error)
    der = ctypes.create_string_buffer(length)
    assert lib.qioh_channel_tls_get_peer_certificate(client, 0, ctypes.addressof(der), length,
                                                     error) == length
    assert der.raw == ssl.PEM_cert_to_DER_cert(pki.server_cert.read_text())
    assert lib.qioh_channel_tls_get_peer_certificate(client, 0, ctypes.addressof(der), 1,
                                                     error) == CONST.QIOH_E_TRUNCATED
    assert lib.qioh_channel_tls_get_peer_certificate(client, 9, None, 0, error) == 0
    for channel in (client, server, *below):
        lib.qioh_channel_unref(channel)
    lib.qioh_creds_unref(server_creds)
    lib.qioh_creds_unref(client_creds)


# ---- other kinds of channels ----

ONLY_TLS = [name for name in FUNCTIONS if name.startswith('qioh_channel_tls_')]


@pytest.mark.parametrize('name', ONLY_TLS)
def test_other_channels_are_of_the_wrong_type(name, tmp_path):
    scene = Scene(tmp_path)
    error = new_error()
    arguments = scene.arguments(FUNCTIONS[name], error)
    for other in (scene.handles['qioh_channel *'], lib.qioh_channel_new_null(None)):
        arguments[0] = other
        assert getattr(lib, name)(*arguments) == CONST.QIOH_E_WRONGTYPE
        assert b'TLS' in error.message and b'qio-channel-' in error.message
    lib.qioh_channel_unref(other)
    scene.end()


def test_a_handshake_on_a_channel_without_one_is_done():
    null = lib.qioh_channel_new_null(None)
    assert lib.qioh_channel_handshake(null, 0, None) == 0
    error = new_error()
    assert lib.qioh_channel_handshake(null, -2, error) == CONST.QIOH_E_INVAL
    lib.qioh_channel_close(null, None)
    assert lib.qioh_channel_handshake(null, 0, error) == CONST.QIOH_E_CLOSED
    lib.qioh_channel_unref(null)


# ---- the channel below ----

def test_the_transport_has_one_token(pair):
    assert lib.qioh_channel_get_transport(pair.client, None) == pair.below[0]
    assert lib.qioh_channel_get_transport(pair.client, None) == pair.below[0]
    error = new_error()
    assert not lib.qioh_channel_get_transport(pair.below[0], error)
    assert error.code == CONST.QIOH_E_NOTSUP


def test_a_borrowed_transport_lasts_as_long_as_the_layer(pair):
    lib.qioh_channel_unref(pair.below[0])
    before = live(CONST.QIOH_KIND_CHANNEL)
    transport = lib.qioh_channel_get_transport(pair.client, None)
    assert transport == lib.qioh_channel_get_transport(pair.client, None)
    assert live(CONST.QIOH_KIND_CHANNEL) == before + 1
    assert lib.qioh_channel_get_kind(transport, None) == CONST.QIOH_CHANNEL_SOCKET
    error = new_error()
    assert lib.qioh_channel_try_read(transport, None, 0, error) == CONST.QIOH_E_BUSY
    lib.qioh_channel_unref(pair.client)
    assert lib.qioh_channel_get_kind(transport, None) == CONST.QIOH_E_BADHANDLE
    pair.client = pair.below[0] = None


def test_a_stack_tells_the_socket_at_its_bottom(pair):
    address = get_text(lib.qioh_channel_get_peer_address, pair.client)
    assert address == get_text(lib.qioh_channel_get_peer_address, pair.below[0])
    pid, uid, gid = (ctypes.c_uint32() for _ in range(3))
    error = new_error()
    good(lib.qioh_channel_get_peer_cred(pair.client, ctypes.addressof(pid), ctypes.addressof(uid),
                                        ctypes.addressof(gid), error), error)
    assert pid.value == os.getpid()
    lib.qioh_channel_close(pair.client, None)
    assert get_text(lib.qioh_channel_get_peer_address, pair.client) == address


def test_closing_either_closes_both(pair):
    assert lib.qioh_channel_close(pair.below[0], None) == 0
    error = new_error()
    room = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_read(pair.client, ctypes.addressof(room), 4,
                                 error) == CONST.QIOH_E_CLOSED
    assert lib.qioh_channel_close(pair.server, None) == 0
    assert lib.qioh_channel_read(pair.below[1], ctypes.addressof(room), 4,
                                 error) == CONST.QIOH_E_CLOSED


def test_taking_the_transport_back(pair):
    error = new_error()
    # The other side has to say its end too, which it does when it is asked to.
    assert not lib.qioh_channel_take_transport(pair.client, 0, error)
    assert error.code == CONST.QIOH_E_TIMEOUT
    assert read(pair.server) == b''
    taken = [lib.qioh_channel_take_transport(end, 5000, error)
             for end in (pair.server, pair.client)]
    assert taken == [pair.below[1], pair.below[0]], error.message
    write(taken[0], b'in the clear')
    assert read(taken[1]) == b'in the clear'
    room = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_read(pair.client, ctypes.addressof(room), 4,
                                 error) == CONST.QIOH_E_CLOSED
    for handle in taken:
        lib.qioh_channel_unref(handle)


def test_a_taken_transport_outlives_a_borrowed_one(pair):
    borrowed = lib.qioh_channel_get_transport(pair.client, None)
    lib.qioh_channel_unref(pair.below[0])
    error = new_error()
    lib.qioh_channel_take_transport(pair.client, 0, error)
    assert read(pair.server) == b''
    server_end = lib.qioh_channel_take_transport(pair.server, 5000, error)
    client_end = lib.qioh_channel_take_transport(pair.client, 5000, error)
    assert client_end == borrowed
    lib.qioh_channel_unref(pair.client)
    assert lib.qioh_channel_get_kind(client_end, None) == CONST.QIOH_CHANNEL_SOCKET
    lib.qioh_channel_unref(client_end)
    lib.qioh_channel_unref(server_end)
    assert lib.qioh_channel_get_kind(client_end, None) == CONST.QIOH_E_BADHANDLE
    pair.client = pair.below[0] = None


# ---- what is asked while hands are shaken ----

def shake_with(server_creds, client_creds=None, **keys):
    """Both ends of a handshake and what it failed with."""
    below = new_pair()
    client_creds = client_creds or psk_client()
    client = new_tls(lib.qioh_channel_new_tls_client, below[0], client_creds)
    server = new_tls(lib.qioh_channel_new_tls_server, below[1], server_creds, **keys)
    error = shake(server, client)
    lib.qioh_creds_unref(client_creds)
    for channel in below:
        lib.qioh_channel_unref(channel)
    return client, server, error


def end(*channels):
    for channel in channels:
        lib.qioh_channel_unref(channel)


def test_an_unknown_user_is_kept_out():
    creds = PskServer(lookup=lambda error: 0)
    client, server, error = shake_with(creds.creds)
    assert error.code == CONST.QIOH_E_TLS
    assert creds.users == [b'alice']
    end(client, server)
    lib.qioh_creds_unref(creds.creds)
    assert creds.releases == 1


def test_a_failure_of_the_function_is_the_failure_of_the_handshake():
    def fail(error):
        error.contents.message = b'the table of keys is on fire'
        return CONST.QIOH_E_LIMIT

    creds = PskServer(lookup=fail)
    client, server, error = shake_with(creds.creds)
    assert error.code == CONST.QIOH_E_LIMIT
    assert b'the table of keys is on fire' in error.message
    end(client, server)
    lib.qioh_creds_unref(creds.creds)


@pytest.mark.parametrize('result', [-4000, CONST.QIOH_E_AGAIN, 1 << 20])
def test_a_result_that_is_none_is_a_fault_of_the_function(result):
    creds = PskServer(lookup=lambda error: result)
    client, server, error = shake_with(creds.creds)
    assert error.code == CONST.QIOH_E_CALLBACK
    end(client, server)
    lib.qioh_creds_unref(creds.creds)


def test_the_last_channel_releases_the_function():
    creds = PskServer()
    client, server, error = shake_with(creds.creds)
    assert error is None
    lib.qioh_creds_unref(creds.creds)
    assert creds.releases == 0
    end(client)
    assert creds.releases == 0
    end(server)
    assert creds.releases == 1


class Authorize:
    """Asked about a peer: answers `result`, after `then` was called with the channel."""

    def __init__(self, creds, result, then=None):
        self.asked = []
        self.releases = 0
        self.result, self.then = result, then
        self.keep = CALLBACKS['qioh_authorize_fn'](self._ask), CALLBACKS['qioh_release_fn'](
            self._release)
        error = new_error()
        good(lib.qioh_creds_set_authorize(creds, self.keep[0], 6, self.keep[1], error), error)

    def _ask(self, channel, identity, user_data, error):
        self.asked.append(identity if isinstance(identity, bytes) else ctypes.string_at(identity))
        if self.then:
            self.then(channel)
        return self.result

    def _release(self, user_data):
        assert user_data == 6
        self.releases += 1


@pytest.mark.parametrize('result, code', [(1, None), (0, CONST.QIOH_E_TLS), (2, CONST.QIOH_E_TLS),
                                          (CONST.QIOH_E_BUSY, CONST.QIOH_E_BUSY)])
def test_who_may_come_in(result, code):
    creds = PskServer()
    authorize = Authorize(creds.creds, result)
    client, server, error = shake_with(creds.creds)
    assert authorize.asked == [b'alice']
    assert (error.code if error else None) == code
    if error:
        # Nothing was let through, and it stays so.
        room = ctypes.create_string_buffer(4)
        assert lib.qioh_channel_try_read(server, ctypes.addressof(room), 4, error) == code
    end(client, server)
    lib.qioh_creds_unref(creds.creds)
    assert (authorize.releases, creds.releases) == (1, 1)


def test_the_channel_that_asks_has_its_own_token_and_is_busy():
    seen = []

    def look(channel):
        room = ctypes.create_string_buffer(4)
        seen.append((channel, lib.qioh_channel_try_read(channel, ctypes.addressof(room), 4, None)))

    creds = PskServer()
    authorize = Authorize(creds.creds, 1, look)
    client, server, error = shake_with(creds.creds)
    assert error is None
    assert seen == [(server, CONST.QIOH_E_BUSY)]
    end(client, server)
    lib.qioh_creds_unref(creds.creds)
    assert authorize.releases == 1


def test_functions_are_set_before_use_and_on_the_right_kind():
    error = new_error()
    releases = []
    nothing = ctypes.cast(None, CALLBACKS['qioh_psk_fn'])
    keep = (CALLBACKS['qioh_psk_fn'](lambda *arguments: 0),
            CALLBACKS['qioh_authorize_fn'](lambda *arguments: 0),
            CALLBACKS['qioh_release_fn'](releases.append))
    anon = new_creds(lib.qioh_creds_new_anon, True)
    assert lib.qioh_creds_set_psk_lookup(anon, keep[0], 1, keep[2], error) == CONST.QIOH_E_INVAL
    assert releases == [1]
    assert lib.qioh_creds_set_authorize(anon, keep[1], 2, keep[2], error) == CONST.QIOH_E_INVAL
    assert releases == [1, 2]
    lib.qioh_creds_unref(anon)

    creds = PskServer()
    client, server, failure = shake_with(creds.creds)
    assert failure is None
    assert lib.qioh_creds_set_authorize(creds.creds, keep[1], 3, keep[2],
                                        error) == CONST.QIOH_E_BUSY
    assert releases == [1, 2, 3]
    assert lib.qioh_creds_set_psk_lookup(creds.creds, nothing, 4, keep[2],
                                         error) == CONST.QIOH_E_INVAL
    assert releases == [1, 2, 3, 4]
    end(client, server)
    lib.qioh_creds_unref(creds.creds)


# ---- settings ----

def test_settings_of_the_other_thing_are_refused():
    error = new_error()
    options = new_options(tls_alpn=['a'])
    assert not lib.qioh_creds_new_psk(options, 0, error)
    assert error.code == CONST.QIOH_E_INVAL
    assert b'"tls-alpn" has no use with credentials' in error.message
    lib.qioh_options_unref(options)

    creds = psk_client()
    below = new_pair()
    options = new_options(tls_verify='off')
    assert not lib.qioh_channel_new_tls_client(below[0], creds, options, error)
    assert b'"tls-verify" has no use with a TLS channel' in error.message
    lib.qioh_options_unref(options)
    assert not lib.qioh_channel_new_tls_server(below[0], creds, None, error)
    assert error.code == CONST.QIOH_E_INVAL and b'client' in error.message
    assert not lib.qioh_creds_new_psk(None, 2, error)
    assert b'server is 2' in error.message
    lib.qioh_creds_unref(creds)
    end(*below)


def test_a_name_and_protocols_are_taken():
    creds = PskServer()
    client_creds = psk_client()
    below = new_pair()
    client = new_tls(lib.qioh_channel_new_tls_client, below[0], client_creds,
                     tls_alpn=['one', 'two'], name='the client')
    server = new_tls(lib.qioh_channel_new_tls_server, below[1], creds.creds, tls_alpn=['two'])
    assert shake(client, server) is None
    assert get_text(lib.qioh_channel_tls_get_str, client, b'alpn') == 'two'
    assert get_text(lib.qioh_channel_get_name, client) == 'the client'
    end(client, server, *below)
    lib.qioh_creds_unref(client_creds)
    lib.qioh_creds_unref(creds.creds)


def test_secrets_are_bytes_and_are_not_shown():
    error = new_error()
    options = lib.qioh_options_new(error)
    assert lib.qioh_options_set_str(options, b'tls-password', b'hunter2',
                                    error) == CONST.QIOH_E_INVAL
    assert b'bytes' in error.message and b'hunter2' not in error.message
    made = ctypes.create_string_buffer(KEY, len(KEY))
    good(lib.qioh_options_set_bytes(options, b'tls-psk-key', ctypes.addressof(made), len(KEY),
                                    error), error)
    lib.qioh_options_unref(options)
