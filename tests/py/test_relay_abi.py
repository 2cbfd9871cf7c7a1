# SPDX-License-Identifier: LGPL-2.1-or-later
"""Relays of the flat ABI: told by an event, with and without a filter."""

import ctypes

import pytest

from flat import CALLBACKS, CONST, STRUCTS, lib, live, new_error

COOKIE = 77


class World:
    """near[0] - ends[0] = relay = ends[1] - near[1]."""

    def __init__(self):
        self.loop = lib.qioh_loop_new(None)
        self.events = (STRUCTS['qioh_event'] * 8)()
        self.keep = []
        self.released = 0
        self.dispatched = []
        self.near, self.ends = zip(*(self.pair() for _ in range(2)))
        self.task = None

    def pair(self):
        made = (ctypes.c_void_p * 2)()
        assert lib.qioh_channel_new_pair(ctypes.addressof(made), None) == 0
        for channel in made:
            assert lib.qioh_channel_set_blocking(channel, 0, None) == 0
        return tuple(made)

    def start(self, options=None):
        error = new_error()
        self.task = lib.qioh_task_start_relay(*self.ends, options, self.loop, COOKIE, error)
        assert self.task, error.message

    def filter(self, function):
        def release(user_data):
            self.released += 1

        self.keep += [CALLBACKS['qioh_filter_fn'](function),
                      CALLBACKS['qioh_release_fn'](release)]
        return lib.qioh_task_set_filter(self.task, *self.keep[-2:-1], 5, self.keep[-1],
                                        new_error())

    def next(self, timeout_ms=-1):
        count = lib.qioh_loop_next_events(self.loop, self.events, 8, timeout_ms, None)
        assert count >= 0
        return [self.events[i] for i in range(count)]

    def ended(self):
        """The status in the TASK event; a dispatch when one is due."""
        while True:
            for event in self.next():
                if event.kind == CONST.QIOH_EV_DISPATCH:
                    self.dispatched.append(lib.qioh_loop_dispatch(self.loop, 0, None))
                elif event.kind == CONST.QIOH_EV_TASK:
                    assert (event.cookie, event.task) == (COOKIE, self.task)
                    return event.status

    def settle(self):
        """Until nothing is due, neither a callback nor an event."""
        while lib.qioh_loop_dispatch(self.loop, 0, None) > 0 or self.next(0):
            pass

    def write(self, channel, data):
        assert lib.qioh_channel_write_all(channel, data, len(data), None) == 0

    def end(self, channel):
        assert lib.qioh_channel_shutdown(channel, CONST.QIOH_SHUTDOWN_WRITE, None) == 0

    def read(self, channel):
        buffer = ctypes.create_string_buffer(1000)
        count = lib.qioh_channel_try_read(channel, buffer, 1000, None)
        return buffer.raw[:count] if count >= 0 else count

    def counts(self, function=lib.qioh_task_get_counts):
        numbers = (ctypes.c_uint64 * 2)()
        address = ctypes.addressof(numbers)
        assert function(self.task, address, address + 8, None) == 0
        return tuple(numbers)

    def drop(self):
        for handle in self.near + self.ends:
            lib.qioh_channel_unref(handle)
        lib.qioh_task_unref(self.task)
        lib.qioh_loop_unref(self.loop)


@pytest.fixture
def world():
    before = live()
    made = World()
    yield made
    made.drop()
    assert live() == before


def test_it_runs_under_next_events(world):
    world.start()
    world.write(world.near[0], b'hello')
    world.write(world.near[1], b'back')
    world.end(world.near[0])
    world.end(world.near[1])
    assert world.ended() == 0
    assert lib.qioh_task_status(world.task, None) == 0
    assert world.counts() == (5, 4)
    assert world.counts(lib.qioh_task_get_lost) == (0, 0)
    assert world.read(world.near[1]) == b'hello'
    assert world.read(world.near[0]) == b'back'
    assert world.read(world.near[0]) == b''


def test_it_runs_while_somebody_waits(world):
    world.start()
    world.write(world.near[0], b'hello')
    assert lib.qioh_task_wait(world.task, 0, None) == 0
    assert world.read(world.near[1]) == b'hello'
    assert lib.qioh_task_status(world.task, None) == CONST.QIOH_E_AGAIN
    assert lib.qioh_task_cancel(world.task, None) == 0
    assert lib.qioh_task_wait(world.task, -1, None) == 1
    error = new_error()
    assert lib.qioh_task_status(world.task, error) == CONST.QIOH_E_CANCELLED


def test_others_find_both_channels_busy(world):
    world.start()
    for channel in world.ends:
        assert world.read(channel) == CONST.QIOH_E_BUSY
        assert lib.qioh_channel_try_write(channel, b'x', 1, None) == CONST.QIOH_E_BUSY
    assert lib.qioh_task_cancel(world.task, None) == 0
    assert world.ended() == CONST.QIOH_E_CANCELLED
    assert world.read(world.ends[0]) == CONST.QIOH_E_AGAIN


def test_closing_a_channel_ends_it(world):
    world.start()
    assert lib.qioh_channel_close(world.ends[1], None) == 0
    assert world.ended() == CONST.QIOH_E_CANCELLED


def test_a_filter_is_called_in_dispatch_and_replaces(world):
    calls = []

    def reverse(task, direction, buf, length, user_data, error):
        assert (task, user_data) == (world.task, 5)
        calls.append((direction, length))
        if length == 0 or direction == 1:
            return 0
        data = ctypes.string_at(buf, length)[::-1]
        assert lib.qioh_task_put(task, data, length, error) == 0
        return 1

    world.start()
    assert world.filter(reverse) == 0
    world.write(world.near[0], b'hello')
    world.write(world.near[1], b'back')
    kinds = {event.kind for _ in range(3) for event in world.next(0)}
    assert kinds <= {CONST.QIOH_EV_DISPATCH}
    assert calls == []                          # next_events calls nobody
    world.end(world.near[0])
    world.end(world.near[1])
    assert world.ended() == 0
    assert world.read(world.near[1]) == b'olleh'
    assert world.read(world.near[0]) == b'back'
    assert sorted(calls) == [(0, 0), (0, 5), (1, 0), (1, 4)]
    world.settle()
    assert world.released == 1
    assert lib.qioh_task_put(world.task, b'x', 1, None) == CONST.QIOH_E_INVAL


def test_a_filter_that_fails_gives_the_task_its_error(world):
    def fail(task, direction, buf, length, user_data, error):
        error[0].code = CONST.QIOH_E_PROTOCOL
        error[0].message = b'no such word'
        return CONST.QIOH_E_PROTOCOL

    world.start()
    assert world.filter(fail) == 0
    world.write(world.near[0], b'hello')
    assert world.ended() == CONST.QIOH_E_PROTOCOL
    assert world.dispatched[-1] == CONST.QIOH_E_PROTOCOL        # as with every callback
    error = new_error()
    assert lib.qioh_task_status(world.task, error) == CONST.QIOH_E_PROTOCOL
    assert error.message == b'no such word'
    assert world.read(world.ends[0]) == b'hello'
    world.settle()
    assert world.released == 1


def test_a_filter_comes_too_late(world):
    world.start()
    world.next(0)
    assert world.filter(lambda *arguments: 0) == CONST.QIOH_E_BUSY
    world.settle()
    assert world.released == 1
    assert lib.qioh_task_cancel(world.task, None) == 0


def test_other_tasks_are_no_relays(world):
    task = lib.qioh_task_start_handshake(world.near[0], -1, world.loop, 1, None)
    number = ctypes.c_uint64()
    assert lib.qioh_task_get_counts(task, ctypes.addressof(number), None, None) == \
        CONST.QIOH_E_NOTSUP
    assert lib.qioh_task_put(task, b'x', 1, None) == CONST.QIOH_E_NOTSUP
    lib.qioh_task_unref(task)
    world.next()
    world.next()


@pytest.mark.parametrize('key, value, code', [
    (b'limit', b'3', CONST.QIOH_E_LIMIT), (b'idle-timeout', b'0.01', CONST.QIOH_E_TIMEOUT),
])
def test_bounds(world, key, value, code):
    options = lib.qioh_options_new(None)
    assert lib.qioh_options_set_str(options, key, value, None) == 0
    world.start(options)
    lib.qioh_options_unref(options)
    world.write(world.near[0], b'hello')
    assert world.ended() == code


def test_what_is_no_setting_of_a_relay(world):
    options = lib.qioh_options_new(None)
    assert lib.qioh_options_set_str(options, b'mode', b'r', None) == 0
    error = new_error()
    assert not lib.qioh_task_start_relay(*world.ends, options, world.loop, 1, error)
    assert error.code == CONST.QIOH_E_INVAL
    assert b'"mode"' in error.message
    lib.qioh_options_unref(options)
