# SPDX-License-Identifier: LGPL-2.1-or-later
"""A channel in Python through ctypes alone, with no callback: one thread answers the events, and
what lies on top of the channel does not know."""

import ctypes
import threading

import pytest

from flat import CONST, STRUCTS, lib, live, new_error
from flat_tls import good, new_creds, new_tls, shake

SERVER, CLIENT = 1, 0


class Cable:
    """Two queued channels; a thread pulls from each and pushes to the other."""

    def __init__(self, change=lambda data: data):
        self.change = change
        self.loop = lib.qioh_loop_new(None)
        self.ends = [lib.qioh_channel_new_queued(self.loop, end, None) for end in (0, 1)]
        for end in self.ends:
            good(lib.qioh_channel_set_timeout(end, 30000, None), new_error())
        self.held = [b'', b'']
        self.kinds = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def carry(self, end):
        """From one end to the other, until there is nothing more or no more room."""
        buf = ctypes.create_string_buffer(8192)
        while True:
            if not self.held[end]:
                n = lib.qioh_channel_pull(self.ends[end], buf, 8192, None)
                if n <= 0:
                    return
                self.held[end] = self.change(buf.raw[:n])
            n = lib.qioh_channel_push(self.ends[1 - end], self.held[end], len(self.held[end]),
                                      None)
            if n <= 0:
                return
            self.held[end] = self.held[end][n:]

    def serve(self):
        event = STRUCTS['qioh_event'](struct_size=ctypes.sizeof(STRUCTS['qioh_event']))
        released = 0
        while released < 2:
            if lib.qioh_loop_next_events(self.loop, ctypes.pointer(event), 1, -1, None) != 1:
                continue
            self.kinds.append(event.kind)
            if event.kind == CONST.QIOH_EV_CUSTOM_WRITE:
                self.carry(event.cookie)
            elif event.kind == CONST.QIOH_EV_CUSTOM_READ:
                self.carry(1 - event.cookie)
            else:
                assert event.kind == CONST.QIOH_EV_RELEASED
                released += 1

    def end(self):
        for end in self.ends:
            assert lib.qioh_channel_close(end, None) == 0
        self.thread.join(30)
        assert not self.thread.is_alive()
        for end in self.ends:
            lib.qioh_channel_unref(end)
        lib.qioh_loop_unref(self.loop)


@pytest.fixture
def cable():
    before, made = live(), Cable()
    yield made
    made.end()
    assert live() == before


def read_all(channel, size):
    buf, error = ctypes.create_string_buffer(size), new_error()
    assert lib.qioh_channel_read_all(channel, buf, size, error) == 0, error.message
    return buf.raw


def test_a_blocking_read_waits_for_the_thread_that_answers(cable):
    for round_ in range(20):
        data = b'%d bottles' % round_
        assert lib.qioh_channel_write(cable.ends[0], data, len(data), None) == len(data)
        assert read_all(cable.ends[1], len(data)) == data
    assert CONST.QIOH_EV_CUSTOM_WRITE in cable.kinds


def test_more_than_the_queues_hold_goes_through(cable):
    data = bytes(range(256)) * 4096
    writer = threading.Thread(target=lib.qioh_channel_write_all,
                              args=(cable.ends[1], data, len(data), None))
    writer.start()
    assert read_all(cable.ends[0], len(data)) == data
    writer.join()


def test_tls_runs_over_it(cable):
    creds = [new_creds(lib.qioh_creds_new_anon, server) for server in (False, True)]
    tls = [new_tls(make, channel, one) for make, channel, one in zip(
        (lib.qioh_channel_new_tls_client, lib.qioh_channel_new_tls_server), cable.ends, creds)]
    failures = []
    server = threading.Thread(target=lambda: failures.append(
        lib.qioh_channel_handshake(tls[SERVER], 30000, None)))
    server.start()
    assert lib.qioh_channel_handshake(tls[CLIENT], 30000, None) == 0
    server.join()
    assert failures == [0]
    assert shake(*tls) is None
    assert lib.qioh_channel_write_all(tls[CLIENT], b'in secret', 9, None) == 0
    assert read_all(tls[SERVER], 9) == b'in secret'
    for channel, one in zip(tls, creds):
        lib.qioh_channel_close(channel, None)
        lib.qioh_channel_unref(channel)
        lib.qioh_creds_unref(one)


def test_the_serving_thread_cannot_wait_for_itself():
    error = new_error()
    loop = lib.qioh_loop_new(None)
    channel = lib.qioh_channel_new_queued(loop, 3, None)
    event = STRUCTS['qioh_event']()
    assert lib.qioh_loop_next_events(loop, ctypes.pointer(event), 1, 0, None) == 0
    buf = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_read(channel, buf, 4, error) == CONST.QIOH_E_BUSY
    assert b'this thread' in error.message
    assert lib.qioh_channel_try_read(channel, buf, 4, None) == CONST.QIOH_E_AGAIN
    # What it did ask for is told, and can be answered.
    assert lib.qioh_loop_next_events(loop, ctypes.pointer(event), 1, 0, None) == 1
    assert (event.kind, event.bytes, event.cookie) == (CONST.QIOH_EV_CUSTOM_READ, 4, 3)
    assert lib.qioh_channel_push(channel, b'1234', 4, None) == 4
    assert lib.qioh_channel_read(channel, buf, 4, None) == 4
    lib.qioh_channel_unref(channel)
    lib.qioh_loop_unref(loop)
