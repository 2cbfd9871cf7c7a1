# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations of the flat ABI, as a foreign-function interface without callbacks has them, and one
with: each ends once, and is told of once."""

import contextlib
import ctypes
import threading

import pytest

from flat import CALLBACKS, CONST, STRUCTS, lib, live, new_error

COOKIE = 0x1234567890abcdef


class World:
    """A loop, and commands that end with the test."""

    def __init__(self):
        self.loop = lib.qioh_loop_new(None)
        self.events = (STRUCTS['qioh_event'] * 8)()
        self.keep = []

    def command(self, *argv):
        words = (ctypes.c_char_p * (len(argv) + 1))(*(word.encode() for word in argv), None)
        error = new_error()
        command = lib.qioh_channel_new_command(ctypes.addressof(words), None, error)
        assert command, error.message
        return command

    def next(self, timeout_ms=-1):
        count = lib.qioh_loop_next_events(self.loop, self.events, 8, timeout_ms, None)
        assert count >= 0
        return [self.events[i] for i in range(count)]

    def ended(self, task):
        """The TASK event, which has to be followed by RELEASED and nothing else."""
        event, = self.next()
        assert (event.kind, event.cookie, event.task) == (CONST.QIOH_EV_TASK, COOKIE, task)
        status = event.status
        event, = self.next()
        assert (event.kind, event.cookie) == (CONST.QIOH_EV_RELEASED, COOKIE)
        assert self.next(0) == []
        return status

    def callback(self, made, function):
        pointer = CALLBACKS[made](function)
        self.keep.append(pointer)
        return pointer


@pytest.fixture
def world():
    before = live()
    made = World()
    yield made
    lib.qioh_loop_unref(made.loop)
    assert live() == before


@contextlib.contextmanager
def waiting(world, argv=('sleep', '1000')):
    """A task that waits for a command's end, and the command."""
    command = world.command(*argv)
    task = lib.qioh_task_start_wait_exit(command, world.loop, COOKIE, None)
    assert task
    try:
        yield task, command
    finally:
        lib.qioh_channel_kill(command, 9, None)
        lib.qioh_channel_close(command, None)
        lib.qioh_channel_unref(command)
        lib.qioh_task_unref(task)


def exit_status(command):
    numbers = (ctypes.c_int32 * 2)()
    address = ctypes.addressof(numbers)
    assert lib.qioh_channel_get_exit_status(command, address, address + 4, None) == 0
    return list(numbers)


# ---- told by an event ----

def test_success(world):
    with waiting(world, ('sh', '-c', 'exit 7')) as (task, command):
        assert world.ended(task) == 0
        error = new_error()
        assert lib.qioh_task_status(task, error) == 0
        assert lib.qioh_task_get_error(task, new_error(), error) == 0
        assert exit_status(command) == [7, 0]


def test_it_runs(world):
    with waiting(world) as (task, _command):
        error = new_error()
        assert world.next(0) == []
        assert lib.qioh_task_status(task, error) == CONST.QIOH_E_AGAIN
        assert lib.qioh_task_get_error(task, new_error(), error) == 0
        assert error.code == 0


def test_cancel(world):
    with waiting(world) as (task, _command):
        assert lib.qioh_task_cancel(task, None) == 0
        assert lib.qioh_task_cancel(task, None) == 0
        assert world.ended(task) == CONST.QIOH_E_CANCELLED
        error, detail = new_error(), new_error()
        assert lib.qioh_task_status(task, error) == CONST.QIOH_E_CANCELLED
        assert error.code == CONST.QIOH_E_CANCELLED and b'cancelled' in error.message
        assert lib.qioh_task_get_error(task, detail, None) == 1
        assert detail.message == error.message


def test_cancel_from_another_thread(world):
    with waiting(world) as (task, _command):
        thread = threading.Thread(target=lib.qioh_task_cancel, args=(task, None))
        thread.start()
        assert world.ended(task) == CONST.QIOH_E_CANCELLED
        thread.join()


def test_giving_the_handle_up_does_not_end_it(world):
    command = world.command('cat')
    task = lib.qioh_task_start_wait_exit(command, world.loop, COOKIE, None)
    lib.qioh_task_unref(task)
    assert world.next(0) == []
    assert lib.qioh_task_status(task, None) == CONST.QIOH_E_AGAIN
    assert lib.qioh_channel_close(command, None) == 0
    assert world.ended(task) == 0
    assert lib.qioh_task_status(task, None) == CONST.QIOH_E_BADHANDLE
    lib.qioh_channel_unref(command)


def test_loop_closes(world):
    with waiting(world) as (task, _command):
        assert lib.qioh_loop_close(world.loop, None) == 0
        assert lib.qioh_task_status(task, None) == CONST.QIOH_E_CANCELLED
        error = new_error()
        assert not lib.qioh_task_start_wait_exit(_command, world.loop, COOKIE, error)
        assert error.code == CONST.QIOH_E_CLOSED


def test_loop_is_given_up(world):
    with waiting(world) as (task, _command):
        lib.qioh_loop_unref(world.loop)
        assert lib.qioh_task_status(task, None) == CONST.QIOH_E_CANCELLED
        assert lib.qioh_task_wait(task, -1, None) == 1
        error = new_error()
        assert lib.qioh_task_set_callback(task, world.callback('qioh_task_fn', lambda *_: 0), 1,
                                          CALLBACKS['qioh_release_fn'](), error) < 0


# ---- waiting ----

def test_wait(world):
    with waiting(world, ('cat',)) as (task, command):
        assert lib.qioh_task_wait(task, 0, None) == 0
        assert lib.qioh_task_wait(task, 20, None) == 0
        assert lib.qioh_channel_shutdown(command, CONST.QIOH_SHUTDOWN_WRITE, None) == 0
        assert lib.qioh_task_wait(task, -1, None) == 1
        assert lib.qioh_task_status(task, None) == 0
        # The event comes all the same.
        assert world.ended(task) == 0


def test_wait_beside_a_dispatch(world):
    """One thread waits for the task, another for what happens in the loop."""
    with waiting(world) as (task, _command):
        results = []
        thread = threading.Thread(
            target=lambda: results.append(lib.qioh_task_wait(task, -1, None)))
        thread.start()
        for _ in range(50):
            lib.qioh_loop_wakeup(world.loop, None)
            assert world.next() == []
        assert lib.qioh_task_cancel(task, None) == 0
        assert world.ended(task) == CONST.QIOH_E_CANCELLED
        thread.join()
        assert results == [1]


# ---- told by a callback ----

def set_callback(world, task, result=0):
    told, released = [], []

    def function(handle, status, user_data, error):
        told.append((handle, status, user_data))
        assert lib.qioh_task_wait(handle, -1, None) == 1
        return result

    status = lib.qioh_task_set_callback(
        task, world.callback('qioh_task_fn', function), 5,
        world.callback('qioh_release_fn', released.append), None)
    return status, told, released


@pytest.mark.parametrize('ended', [False, True])
def test_callback(world, ended):
    with waiting(world) as (task, _command):
        if ended:
            lib.qioh_task_cancel(task, None)
            assert lib.qioh_task_wait(task, -1, None) == 1
        status, told, released = set_callback(world, task)
        assert status == 0
        lib.qioh_task_cancel(task, None)
        # No event of it, but that something is to be called.
        assert [event.kind for event in world.next()] == [CONST.QIOH_EV_DISPATCH]
        assert told == []
        assert lib.qioh_loop_dispatch(world.loop, -1, None) == 1
        assert told == [(task, CONST.QIOH_E_CANCELLED, 5)]
        assert released == [5]
        assert lib.qioh_loop_dispatch(world.loop, 0, None) == 0
        assert world.next(0) == []


def test_a_failure_of_the_callback_is_the_dispatchs(world):
    with waiting(world) as (task, _command):
        _status, told, released = set_callback(world, task, CONST.QIOH_E_CALLBACK)
        lib.qioh_task_cancel(task, None)
        assert lib.qioh_loop_dispatch(world.loop, -1, None) == CONST.QIOH_E_CALLBACK
        assert len(told) == len(released) == 1


def test_second_callback(world):
    with waiting(world) as (task, _command):
        status, told, released = set_callback(world, task)
        assert status == 0
        status, told_2, released_2 = set_callback(world, task)
        assert status == CONST.QIOH_E_BUSY
        lib.qioh_task_cancel(task, None)
        while lib.qioh_loop_dispatch(world.loop, 0, None) > 0 or not told:
            pass
        assert len(told) == 1 and not told_2
        assert released == released_2 == [5]


def test_callback_after_the_event(world):
    with waiting(world) as (task, _command):
        lib.qioh_task_cancel(task, None)
        event, = world.next()
        assert event.kind == CONST.QIOH_EV_TASK
        status, told, released = set_callback(world, task)
        assert status == CONST.QIOH_E_BUSY
        assert not told and released == [5]


def test_callback_when_the_loop_closes(world):
    with waiting(world) as (task, _command):
        _status, told, released = set_callback(world, task)
        assert lib.qioh_loop_close(world.loop, None) == 0
        assert told == [(task, CONST.QIOH_E_CANCELLED, 5)]
        assert released == [5]


def test_waiting_inside_a_callback_is_refused(world):
    with waiting(world) as (task, _command):
        results = []
        lib.qioh_loop_defer(world.loop, world.callback(
            'qioh_defer_fn',
            lambda *_: results.append(lib.qioh_task_wait(task, -1, None)) or 0), 1,
            CALLBACKS['qioh_release_fn'](), None)
        assert lib.qioh_loop_dispatch(world.loop, -1, None) == 1
        assert results == [CONST.QIOH_E_BUSY]


# ---- what there is to start ----

def test_close_of_a_command(world):
    command = world.command('sh', '-c', 'cat; exit 4')
    task = lib.qioh_task_start_close(command, -1, world.loop, COOKIE, None)
    assert world.ended(task) == 0
    assert exit_status(command) == [4, 0]
    lib.qioh_task_unref(task)
    lib.qioh_channel_unref(command)


def test_close_ends_the_other_tasks_of_a_channel(world):
    pair = (ctypes.c_void_p * 2)()
    assert lib.qioh_channel_new_pair(ctypes.addressof(pair), None) == 0
    task = lib.qioh_task_start_close(pair[0], -1, world.loop, COOKIE, None)
    assert world.ended(task) == 0
    buf = ctypes.create_string_buffer(8)
    assert lib.qioh_channel_read(pair[1], ctypes.addressof(buf), 8, None) == 0
    assert lib.qioh_channel_read(pair[0], ctypes.addressof(buf), 8, None) == CONST.QIOH_E_CLOSED
    lib.qioh_task_unref(task)
    for channel in pair:
        lib.qioh_channel_unref(channel)


def test_handshake_of_a_channel_without(world):
    channel = lib.qioh_channel_new_null(None)
    task = lib.qioh_task_start_handshake(channel, -1, world.loop, COOKIE, None)
    assert world.ended(task) == 0
    error = new_error()
    assert not lib.qioh_task_take_channel(task, error)
    assert error.code == CONST.QIOH_E_NOTSUP
    lib.qioh_task_unref(task)
    lib.qioh_channel_close(channel, None)
    assert not lib.qioh_task_start_wait_exit(channel, world.loop, COOKIE, error)
    assert error.code == CONST.QIOH_E_NOTSUP
    task = lib.qioh_task_start_handshake(channel, -1, world.loop, COOKIE, None)
    assert world.ended(task) == CONST.QIOH_E_CLOSED
    lib.qioh_task_unref(task)
    lib.qioh_channel_unref(channel)


def test_bad_arguments(world):
    channel = lib.qioh_channel_new_null(None)
    error = new_error()
    for start in (lib.qioh_task_start_handshake, lib.qioh_task_start_close):
        assert not start(channel, -2, world.loop, COOKIE, error)
        assert error.code == CONST.QIOH_E_INVAL and b'timeout_ms' in error.message
    with waiting(world) as (task, _command):
        assert lib.qioh_task_wait(task, -5, error) == CONST.QIOH_E_INVAL
        assert lib.qioh_task_get_error(task, None, error) == CONST.QIOH_E_INVAL
        assert b'out' in error.message
        released = []
        assert lib.qioh_task_set_callback(
            task, CALLBACKS['qioh_task_fn'](), 6,
            world.callback('qioh_release_fn', released.append), error) == CONST.QIOH_E_INVAL
        assert b'fn' in error.message
        assert lib.qioh_loop_dispatch(world.loop, 0, None) >= 0
        assert released == [6]
    lib.qioh_channel_unref(channel)


@pytest.mark.parametrize('way', ['event', 'callback'])
def test_many_that_end_in_every_way(world, way):
    """Each is told of once, whatever else goes on."""
    told, tasks = [], []
    commands = [world.command('cat') for _ in range(6)]
    for i in range(60):
        task = lib.qioh_task_start_wait_exit(commands[i % 6], world.loop, i, None)
        if way == 'callback':
            assert lib.qioh_task_set_callback(
                task, world.callback('qioh_task_fn', lambda *_, i=i: told.append(i) or 0), 1,
                CALLBACKS['qioh_release_fn'](), None) == 0
        tasks.append(task)
    canceller = threading.Thread(
        target=lambda: [lib.qioh_task_cancel(task, None) for task in tasks[::3]])
    canceller.start()
    for command in commands:
        assert lib.qioh_channel_shutdown(command, CONST.QIOH_SHUTDOWN_WRITE, None) == 0
    released = []
    while len(told) < 60 or (way == 'event' and len(released) < 60):
        if way == 'callback':
            assert lib.qioh_loop_dispatch(world.loop, -1, None) >= 0
            continue
        for event in world.next():
            assert event.cookie not in released
            (told if event.kind == CONST.QIOH_EV_TASK else released).append(event.cookie)
    canceller.join()
    assert sorted(told) == list(range(60))
    assert lib.qioh_loop_dispatch(world.loop, 0, None) >= 0
    for task in tasks:
        assert lib.qioh_task_status(task, None) in (0, CONST.QIOH_E_CANCELLED)
        lib.qioh_task_unref(task)
    for command in commands:
        lib.qioh_channel_close(command, None)
        lib.qioh_channel_unref(command)


# ---- opening ----

def listen(uri):
    error = new_error()
    listener = lib.qioh_listener_open_uri(uri, None, error)
    assert listener, error.message
    buf = ctypes.create_string_buffer(200)
    assert lib.qioh_listener_get_address(listener, 0, ctypes.addressof(buf), 200, None) > 0
    return listener, buf.value


def test_open_uri(world):
    listener, uri = listen(b'tcp://127.0.0.1:0')
    task = lib.qioh_task_start_open_uri(uri, None, world.loop, COOKIE, None)
    error = new_error()
    assert not lib.qioh_task_take_channel(task, error)
    assert error.code == CONST.QIOH_E_TIMEOUT
    assert world.ended(task) == 0
    client = lib.qioh_listener_accept(listener, -1, None)
    channel = lib.qioh_task_take_channel(task, error)
    assert channel
    assert not lib.qioh_task_take_channel(task, error)
    assert error.code == CONST.QIOH_E_BUSY
    buf = ctypes.create_string_buffer(b'hello')
    assert lib.qioh_channel_write_all(channel, ctypes.addressof(buf), 5, None) == 0
    assert lib.qioh_channel_read_all(client, ctypes.addressof(buf), 5, None) == 0
    lib.qioh_task_unref(task)
    for handle in (channel, client):
        lib.qioh_channel_unref(handle)
    lib.qioh_listener_unref(listener)


def test_open_uri_whose_channel_nobody_takes(world):
    listener, uri = listen(b'tcp://127.0.0.1:0')
    task = lib.qioh_task_start_open_uri(uri, None, world.loop, COOKIE, None)
    client = lib.qioh_listener_accept(listener, 0, None)
    assert lib.qioh_task_wait(task, -1, None) == 1
    client = client or lib.qioh_listener_accept(listener, -1, None)
    assert world.ended(task) == 0
    lib.qioh_task_unref(task)
    buf = ctypes.create_string_buffer(4)
    assert lib.qioh_channel_read(client, ctypes.addressof(buf), 4, None) == 0
    lib.qioh_channel_unref(client)
    lib.qioh_listener_unref(listener)


@pytest.mark.parametrize('uri, code, text', [
    (b'nothing:', CONST.QIOH_E_INVAL, b'nothing'),
    (b'exec:true', CONST.QIOH_E_SYSTEM, b'allow'),
    (b'unix:/no/such/place', CONST.QIOH_E_SYSTEM, b'/no/such/place'),
])
def test_open_uri_fails(world, uri, code, text):
    task = lib.qioh_task_start_open_uri(uri, None, world.loop, COOKIE, None)
    assert world.ended(task) == code
    error = new_error()
    assert not lib.qioh_task_take_channel(task, error)
    assert error.code == code
    assert text in error.message
    lib.qioh_task_unref(task)


def test_open_uri_needs_one(world):
    error = new_error()
    assert not lib.qioh_task_start_open_uri(None, None, world.loop, COOKIE, error)
    assert error.code == CONST.QIOH_E_INVAL and b'uri' in error.message
