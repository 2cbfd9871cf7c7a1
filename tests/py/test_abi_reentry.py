# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every function of the flat ABI from inside every kind of callback: legal, or a code that says
why not; never a crash, a hang or a lost release."""

import ctypes

import pytest

from flat import CALLBACKS, CONST, FUNCTIONS, is_handle, lib, live, new_error
from flat_scene import Scene
from flat_tls import new_creds, new_pair, new_tls, psk_client, put_key, shake

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


def _psk(caller, creds, release):
    def lookup(creds, user, key, cap, user_data, error):
        caller.call()
        return put_key(key, cap)

    keep = CALLBACKS['qioh_psk_fn'](lookup)
    assert lib.qioh_creds_set_psk_lookup(creds, keep, 1, release, None) == 0
    return keep


def _authorize(caller, creds, release):
    def let_in(channel, identity, user_data, error):
        caller.call()
        return 1

    def lookup(creds, user, key, cap, user_data, error):
        return put_key(key, cap)

    keep = CALLBACKS['qioh_authorize_fn'](let_in), CALLBACKS['qioh_psk_fn'](lookup)
    assert lib.qioh_creds_set_psk_lookup(creds, keep[1], 1, CALLBACKS['qioh_release_fn'](0),
                                         None) == 0
    assert lib.qioh_creds_set_authorize(creds, keep[0], 1, release, None) == 0
    return keep


@pytest.mark.parametrize('kind', [_psk, _authorize])
@pytest.mark.parametrize('name', FUNCTIONS)
def test_function_while_hands_are_shaken(name, kind, tmp_path):
    """From what credentials ask, inside a call, with a TLS channel locked."""
    before = live()
    scene = Scene(tmp_path)
    caller = Caller(FUNCTIONS[name], scene)
    release = CALLBACKS['qioh_release_fn'](lambda user_data: caller.release())
    creds = new_creds(lib.qioh_creds_new_psk, True)
    keep = kind(caller, creds, release)
    below = new_pair()
    client_creds = psk_client()
    client = new_tls(lib.qioh_channel_new_tls_client, below[0], client_creds)
    server = new_tls(lib.qioh_channel_new_tls_server, below[1], creds)
    assert shake(client, server) is None
    assert caller.calls == 1
    assert caller.failure is None
    for channel in (client, server, *below):
        lib.qioh_channel_unref(channel)
    assert caller.releases == 0
    lib.qioh_creds_unref(client_creds)
    lib.qioh_creds_unref(creds)
    assert caller.releases == 1
    if caller.given_up:
        scene.handles.pop(caller.given_up)
    scene.end()
    assert live() == before
    del keep


@pytest.mark.parametrize('name', [name for name, function in FUNCTIONS.items()
                                  if any(parameter.type == 'qioh_channel *'
                                         for parameter in function.parameters)])
def test_function_on_the_channel_that_shakes_hands(name, tmp_path):
    """On the very channel whose peer wants to be let in, and on the one below it."""
    before = live()
    for below_it in (False, True):
        scene = Scene(tmp_path)
        function = FUNCTIONS[name]
        keep, below, seen = [], new_pair(), []

        def let_in(channel, identity, user_data, error):
            subject = below[1] if below_it else channel
            error = new_error()
            arguments = scene.arguments(function, error)
            for i, parameter in enumerate(function.parameters):
                if parameter.type == 'qioh_channel *':
                    arguments[i] = subject
            result = getattr(lib, name)(*arguments)
            seen.append(result)
            if result is not None:
                scene.took(function, result, arguments)
            return 1

        def lookup(creds, user, key, cap, user_data, error):
            return put_key(key, cap)

        creds = new_creds(lib.qioh_creds_new_psk, True)
        keep = (CALLBACKS['qioh_psk_fn'](lookup), CALLBACKS['qioh_authorize_fn'](let_in),
                CALLBACKS['qioh_release_fn'](0))
        assert lib.qioh_creds_set_psk_lookup(creds, keep[0], 1, keep[2], None) == 0
        assert lib.qioh_creds_set_authorize(creds, keep[1], 1, keep[2], None) == 0
        client_creds = psk_client()
        client = new_tls(lib.qioh_channel_new_tls_client, below[0], client_creds)
        server = new_tls(lib.qioh_channel_new_tls_server, below[1], creds)
        shake(client, server)
        assert len(seen) == 1
        unref = lib.qioh_channel_unref
        gone = name == 'qioh_channel_unref'
        for channel in (client, below[0], *([] if gone and not below_it else [server]),
                        *([] if gone and below_it else [below[1]])):
            unref(channel)
        lib.qioh_creds_unref(client_creds)
        lib.qioh_creds_unref(creds)
        scene.end()
        assert live() == before


@pytest.mark.parametrize('name', FUNCTIONS)
def test_function_inside_a_closure(name, tmp_path):
    """In a call of a closure that comes from outside the library, also on that very closure."""
    before = live()
    scene = Scene(tmp_path)
    caller = Caller(FUNCTIONS[name], scene)
    keep = (CALLBACKS['qioh_closure_fn'](lambda *arguments: caller.call()),
            CALLBACKS['qioh_release_fn'](lambda user_data: caller.release()))
    lib.qioh_closure_unref(scene.handles['qioh_closure *'])
    closure = lib.qioh_closure_new(b'v()', keep[0], 1, keep[1], None)
    scene.handles['qioh_closure *'] = closure
    ctypes.CFUNCTYPE(None)(lib.qioh_closure_get_code(closure, None))()
    assert caller.calls == 1
    assert caller.failure is None
    assert caller.releases == (caller.given_up == 'qioh_closure *')
    if caller.given_up:
        scene.handles.pop(caller.given_up)
    scene.end()
    assert caller.releases == 1
    assert live() == before
