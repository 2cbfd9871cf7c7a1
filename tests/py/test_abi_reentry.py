# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every function of the flat ABI from inside every kind of callback: legal, or a code that says
why not; never a crash, a hang or a lost release."""

import ctypes

import pytest

from flat import CALLBACKS, CONST, FUNCTIONS, is_handle, lib, live, new_error
from flat_scene import Scene

REFUSED = {CONST.QIOH_E_AGAIN, CONST.QIOH_E_NOTSUP, CONST.QIOH_E_TIMEOUT, CONST.QIOH_E_SYSTEM,
           CONST.QIOH_E_BUSY, CONST.QIOH_E_INVAL, CONST.QIOH_E_CLOSED, CONST.QIOH_E_BADHANDLE}


class Caller:
    """Calls one function once, when its callback is called."""

    def __init__(self, function, scene):
        self.function = function
        self.scene = scene
        self.calls = 0
        self.releases = 0
        self.given_up = None
        self.failure = None

    def call(self):
        self.calls += 1
        if self.calls > 1:
            return
        error = new_error()
        arguments = self.scene.arguments(self.function, error)
        result = getattr(lib, self.function.name)(*arguments)
        if self.function.name.endswith('_unref'):
            self.given_up = self.function.parameters[0].type
        if is_handle(self.function.result):
            if not result and error.code not in REFUSED:
                self.failure = error.message
        elif isinstance(result, int) and result < 0 and result not in REFUSED:
            self.failure = (result, error.message)
        if result is not None:
            self.scene.took(self.function, result, arguments)

    def release(self):
        self.releases += 1


def _watch(caller, loop, fn, release):
    return lib.qioh_watch_new(loop, caller.scene.handles['qioh_channel *'], CONST.QIOH_OUT, fn,
                              1, release, None)


def _listener(caller, loop, fn, release):
    listener = caller.scene.handles['qioh_listener *']
    address = ctypes.create_string_buffer(100)
    assert lib.qioh_listener_get_address(listener, 0, ctypes.addressof(address), 100, None) > 0
    caller.client = lib.qioh_channel_open_uri(address.value, None, None)
    assert caller.client
    return lib.qioh_watch_new_listener(loop, listener, fn, 1, release, None)


def _fd(caller, loop, fn, release):
    return lib.qioh_watch_new_fd(loop, caller.scene.new_fd(), CONST.QIOH_OUT, fn, 1, release,
                                 None)


def _timer(caller, loop, fn, release):
    return lib.qioh_watch_new_timer(loop, 0, 0, fn, 1, release, None)


def _defer(caller, loop, fn, release):
    assert lib.qioh_loop_defer(loop, fn, 1, release, None) == 0


def _release(caller, loop, fn, release):
    """The call is made from the release function instead."""
    assert lib.qioh_loop_defer(loop, fn, 1, release, None) == 0


KINDS = {
    'watch': ('qioh_watch_fn', _watch),
    'listener': ('qioh_listener_fn', _listener),
    'fd': ('qioh_fd_fn', _fd),
    'timer': ('qioh_timer_fn', _timer),
    'defer': ('qioh_defer_fn', _defer),
    'release': ('qioh_defer_fn', _release),
}


def check(kind, function, own_loop, directory):
    scene = Scene(directory)
    caller = Caller(function, scene)
    callback_type, register = KINDS[kind]

    def fn(*arguments):
        if kind != 'release':
            caller.call()
        return 0

    def release(user_data):
        caller.release()
        if kind == 'release':
            caller.call()

    keep = CALLBACKS[callback_type](fn), CALLBACKS['qioh_release_fn'](release)
    # With its own loop the function acts on the very loop that dispatches it.
    loop = scene.handles['qioh_loop *'] if own_loop else lib.qioh_loop_new(None)
    caller.client = None
    watch = register(caller, loop, *keep)
    for _ in range(20):
        if caller.releases or lib.qioh_loop_dispatch(loop, 100, None) < 0:
            break
    assert caller.calls == 1
    assert caller.failure is None
    lib.qioh_watch_unref(watch)
    lib.qioh_channel_unref(caller.client)
    if not own_loop:
        lib.qioh_loop_unref(loop)
    if caller.given_up:
        scene.handles.pop(caller.given_up)
    scene.end()
    assert caller.releases == 1


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', FUNCTIONS)
def test_function_from_callback(name, kind, tmp_path):
    before = live()
    for own_loop in (False, True):
        check(kind, FUNCTIONS[name], own_loop, tmp_path)
    assert live() == before
