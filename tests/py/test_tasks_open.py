# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opening by URI as an operation of the flat ABI: pulled as an event, waited for, cancelled."""

import contextlib
import ctypes
import socket

import pytest

from flat import CONST, lib, live, new_error
from rigs import PATIENCE
from test_tasks import COOKIE, World


@pytest.fixture
def world():
    before = live()
    made = World()
    yield made
    lib.qioh_loop_unref(made.loop)
    assert live() == before


@contextlib.contextmanager
def opening(world, uri, options=None):
    error = new_error()
    task = lib.qioh_task_start_open_uri(uri.encode(), options, world.loop, COOKIE, error)
    assert task, error.message
    try:
        yield task
    finally:
        lib.qioh_task_unref(task)


def test_a_name_is_opened_while_events_are_pulled(world):
    with socket.create_server(('127.0.0.1', 0)) as server:
        with opening(world, f'tcp://localhost:{server.getsockname()[1]}') as task:
            assert world.ended(task) == CONST.QIOH_OK
            channel = lib.qioh_task_take_channel(task, None)
            assert channel
            error = new_error()
            assert not lib.qioh_task_take_channel(task, error)      # once
            assert error.code == CONST.QIOH_E_BUSY
            with server.accept()[0] as peer:
                data = ctypes.create_string_buffer(b'abc')
                assert lib.qioh_channel_write_all(channel, ctypes.addressof(data), 3, None) >= 0
                assert peer.recv(3) == b'abc'
            lib.qioh_channel_unref(channel)


@contextlib.contextmanager
def listening(world, uri, options=None):
    error = new_error()
    task = lib.qioh_task_start_listen_uri(uri.encode(), options, world.loop, COOKIE, error)
    assert task, error.message
    try:
        yield task
    finally:
        lib.qioh_task_unref(task)


def test_a_name_is_listened_on_while_events_are_pulled(world):
    error = new_error()
    with listening(world, 'tcp://localhost:0') as task:
        assert not lib.qioh_task_take_channel(task, error)          # another kind
        assert error.code == CONST.QIOH_E_NOTSUP
        assert world.ended(task) == CONST.QIOH_OK
        listener = lib.qioh_task_take_listener(task, error)
        assert listener, error.message
        assert not lib.qioh_task_take_listener(task, error)         # once
        assert error.code == CONST.QIOH_E_BUSY
    address = ctypes.create_string_buffer(100)
    assert lib.qioh_listener_get_address(listener, 0, ctypes.addressof(address), 100, None) > 0
    client = lib.qioh_channel_open_uri(address.value, None, error)
    assert client, error.message
    accepted = lib.qioh_listener_accept(listener, -1, error)
    assert accepted, error.message
    for unref, handle in ((lib.qioh_channel_unref, client), (lib.qioh_channel_unref, accepted),
                          (lib.qioh_listener_unref, listener)):
        unref(handle)


def test_what_cannot_be_listened_on(world):
    error = new_error()
    assert not lib.qioh_task_start_listen_uri(None, None, world.loop, COOKIE, error)
    assert error.code == CONST.QIOH_E_INVAL
    for uri, code in (('null:', CONST.QIOH_E_INVAL), ('nonsense:', CONST.QIOH_E_INVAL),
                      ('tcp://no-such-host.invalid:0', CONST.QIOH_E_RESOLVE)):
        with listening(world, uri) as task:
            assert world.ended(task) == code
            assert not lib.qioh_task_take_listener(task, error)
            assert error.code == code
    with opening(world, 'null:') as task:
        assert world.ended(task) == CONST.QIOH_OK
        assert not lib.qioh_task_take_listener(task, error)
        assert error.code == CONST.QIOH_E_NOTSUP


def test_listening_is_cancelled(world):
    with listening(world, 'tcp://127.0.0.1:0') as task:
        assert lib.qioh_task_cancel(task, None) == 0
        assert world.ended(task) == CONST.QIOH_E_CANCELLED
        assert not lib.qioh_task_take_listener(task, None)


def test_a_channel_that_nobody_takes_is_closed(world):
    with socket.create_server(('127.0.0.1', 0)) as server:
        with opening(world, f'tcp://127.0.0.1:{server.getsockname()[1]}') as task:
            assert lib.qioh_task_wait(task, -1, None) == 1
            assert world.ended(task) == CONST.QIOH_OK
        with server.accept()[0] as peer:
            peer.settimeout(PATIENCE)
            assert peer.recv(1) == b''


@pytest.mark.parametrize('uri, code, number', [
    ('tcp://no-such-host.invalid:1', CONST.QIOH_E_RESOLVE, None),
    ('unix:/no/such/socket', CONST.QIOH_E_SYSTEM, 2),
    ('fd:1000000', CONST.QIOH_E_INVAL, 0),
])
def test_a_failure_is_the_status(world, uri, code, number):
    with opening(world, uri) as task:
        assert world.ended(task) == code
        error = new_error()
        assert lib.qioh_task_get_error(task, error, None) == 1
        assert error.code == code
        if number is None:
            assert error.domain == CONST.QIOH_DOMAIN_RESOLVE and error.number < 0
        else:
            assert error.number == number
        assert not lib.qioh_task_take_channel(task, None)


@pytest.mark.parametrize('uri, piece', [
    ('tcp://127.0.0.1', b'position'), ('nonsense:', b'nonsense'), ('exec:true', b'allow'),
])
def test_a_wrong_uri_fails_the_task(world, uri, piece):
    with opening(world, uri) as task:
        error = new_error()
        assert lib.qioh_task_status(task, error) < 0
        assert piece in error.message
        assert world.ended(task) == error.code


def test_cancelled(world):
    with socket.create_server(('127.0.0.1', 0), backlog=0) as server:
        uri = f'tcp://127.0.0.1:{server.getsockname()[1]}'
        with opening(world, uri) as task:
            assert lib.qioh_task_cancel(task, None) >= 0
            assert world.ended(task) == CONST.QIOH_E_CANCELLED
