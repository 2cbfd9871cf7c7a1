# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS through the flat ABI, for tests: credentials by a shared key, and two ends in one thread.

Owns: what keeps callbacks and handles alive; nothing here waits, so that a handshake that gets
stuck fails instead of hanging.
"""

import ctypes

from flat import CALLBACKS, CONST, lib, new_error

USER = b'alice'
KEY = bytes(range(16))


def good(result, error):
    assert result is not None and result >= 0, error.message
    return result


def new_options(**keys):
    """Options of key=value: str as text, bytes as bytes, a list one by one, an int handle of
    credentials for tls_creds."""
    error = new_error()
    options = lib.qioh_options_new(error)
    for name, value in keys.items():
        key = name.replace('_', '-').encode()
        if name == 'tls_creds':
            good(lib.qioh_options_set_creds(options, value, error), error)
        elif isinstance(value, bytes):
            made = ctypes.create_string_buffer(value, len(value) + 1)
            good(lib.qioh_options_set_bytes(options, key, ctypes.addressof(made), len(value),
                                            error), error)
        else:
            for one in value if isinstance(value, list) else [value]:
                good(lib.qioh_options_add_str(options, key, str(one).encode(), error), error)
    return options


def new_creds(make, server, **keys):
    error = new_error()
    options = new_options(**keys)
    creds = make(options, int(server), error)
    lib.qioh_options_unref(options)
    assert creds, error.message
    return creds


def psk_client(user=USER, key=KEY):
    return new_creds(lib.qioh_creds_new_psk, False, tls_psk_user=user.decode(), tls_psk_key=key)


def put_key(key, cap):
    """What a lookup function does with the key it found."""
    assert cap >= len(KEY)
    ctypes.memmove(key, KEY, len(KEY))
    return len(KEY)


class PskServer:
    """Credentials of a server that looks keys up by calling `lookup(user)`, a length or a code."""

    def __init__(self, lookup=None):
        self.users = []
        self.releases = 0
        self.lookup = lookup
        self.keep = CALLBACKS['qioh_psk_fn'](self._lookup), CALLBACKS['qioh_release_fn'](
            self._release)
        error = new_error()
        self.creds = new_creds(lib.qioh_creds_new_psk, True)
        good(lib.qioh_creds_set_psk_lookup(self.creds, *self.keep[:1], 5, self.keep[1], error),
             error)

    def _lookup(self, creds, user, key, cap, user_data, error):
        assert user_data == 5
        self.users.append(user if isinstance(user, bytes) else ctypes.string_at(user))
        if self.lookup:
            return self.lookup(error)
        return put_key(key, cap)

    def _release(self, user_data):
        self.releases += 1


def new_pair():
    error = new_error()
    pair = (ctypes.c_void_p * 2)()
    good(lib.qioh_channel_new_pair(ctypes.addressof(pair), error), error)
    return list(pair)


def new_tls(make, channel, creds, **keys):
    error = new_error()
    options = new_options(**keys) if keys else None
    tls = make(channel, creds, options, error)
    lib.qioh_options_unref(options)
    assert tls, error.message
    return tls


def shake(*channels):
    """Takes turns until all are done.  Returns: the failure of one, or None."""
    left = list(channels)
    for _ in range(50):
        for channel in list(left):
            error = new_error()
            result = lib.qioh_channel_handshake(channel, 0, error)
            if result == 0:
                left.remove(channel)
            elif result != CONST.QIOH_E_TIMEOUT:
                return error
        if not left:
            return None
    raise AssertionError('the handshake does not end')


class TlsPair:
    """Two TLS channels on a pair of sockets, after their handshake unless told otherwise."""

    def __init__(self, shaken=True):
        self.below = new_pair()
        self.server_creds = PskServer()
        self.client_creds = psk_client()
        self.client = new_tls(lib.qioh_channel_new_tls_client, self.below[0], self.client_creds)
        self.server = new_tls(lib.qioh_channel_new_tls_server, self.below[1],
                              self.server_creds.creds)
        if shaken:
            assert shake(self.client, self.server) is None

    def end(self):
        for channel in (self.client, self.server, *self.below):
            lib.qioh_channel_unref(channel)
        lib.qioh_creds_unref(self.client_creds)
        lib.qioh_creds_unref(self.server_creds.creds)
        assert self.server_creds.releases == 1


def get_text(function, *arguments):
    """What a function copies out as text."""
    error = new_error()
    length = good(function(*arguments, None, 0, error), error)
    made = ctypes.create_string_buffer(length + 1)
    assert function(*arguments, ctypes.addressof(made), length + 1, error) == length, error.message
    assert len(made.value) == length
    return made.value.decode()
