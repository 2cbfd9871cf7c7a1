# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSockets through the flat ABI, for tests: two ends in one thread; nothing here waits."""

import ctypes

from flat import CONST, lib, new_error
from flat_tls import good, new_options, new_pair, shake


def new_ws(make, channel, **keys):
    error = new_error()
    options = new_options(**keys) if keys else None
    ws = make(channel, options, error)
    lib.qioh_options_unref(options)
    assert ws, error.message
    return ws


class WsPair:
    """A client and a server with the face of messages, after their handshake unless told
    otherwise."""

    def __init__(self, shaken=True, client=None, **server):
        self.below = new_pair()
        self.client = new_ws(lib.qioh_channel_new_ws_client, self.below[0],
                             **{'ws_mode': 'messages', **(client or {})})
        self.server = new_ws(lib.qioh_channel_new_ws_server, self.below[1],
                             **{'ws_mode': 'messages', **server})
        if shaken:
            error = shake(self.client, self.server)
            assert error is None, error.message

    def ask(self):
        """Until the server has a request that waits for an answer."""
        for _ in range(20):
            client = lib.qioh_channel_handshake(self.client, 0, None)
            assert client == CONST.QIOH_E_TIMEOUT
            server = lib.qioh_channel_handshake(self.server, 0, None)
            if server == 1:
                return
            assert server == CONST.QIOH_E_TIMEOUT
        raise AssertionError('no request comes')

    def end(self):
        for channel in (self.client, self.server, *self.below):
            lib.qioh_channel_unref(channel)


def send(channel, data, opcode=CONST.QIOH_WS_BINARY, flags=CONST.QIOH_DONTWAIT):
    error = new_error()
    made = ctypes.create_string_buffer(data, len(data) + 1)
    return good(lib.qioh_channel_ws_send(channel, ctypes.addressof(made), len(data), opcode, flags,
                                         error), error)


def recv(channel, size=1000, flags=CONST.QIOH_DONTWAIT):
    """(data, opcode, fin), or an error struct."""
    error = new_error()
    made = ctypes.create_string_buffer(size)
    opcode, fin = ctypes.c_uint32(77), ctypes.c_uint32(77)
    count = lib.qioh_channel_ws_recv(channel, ctypes.addressof(made), size, flags,
                                     ctypes.addressof(opcode), ctypes.addressof(fin), error)
    if count < 0:
        assert (opcode.value, fin.value) == (77, 77)
        return error if count != CONST.QIOH_E_AGAIN else None
    return made.raw[:count], opcode.value, fin.value
