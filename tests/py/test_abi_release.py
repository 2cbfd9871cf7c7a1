# SPDX-License-Identifier: LGPL-2.1-or-later
"""Release exactly once: for every function of the header that takes a release function, in every
way in which its registration can fail, end, or be left behind; and RELEASED exactly once for every
function that takes a cookie."""

import ctypes
import os

import pytest

from flat import CONST, FUNCTIONS, STRUCTS, is_handle, lib, live, new_error
from registrations import ROWS, Registration, in_thread, takes_release

ENDS = [(name, end) for name, row in ROWS.items() for end in row[1]]
REFUSALS = [(name, how) for name, row in ROWS.items() for how in row[2]]


def test_every_function_that_takes_a_release_has_a_row():
    assert set(ROWS) == {name for name, function in FUNCTIONS.items() if takes_release(function)}


@pytest.fixture
def make():
    before, made = live(), []

    def register_after(name):
        made.append(Registration(name))
        if ROWS[name][0]:
            ROWS[name][0](made[0])
        return made[0]

    yield register_after
    made[0].end()
    assert made[0].releases == 1
    assert live() == before


@pytest.mark.parametrize('name, end', ENDS, ids=lambda value: getattr(value, '__name__', value))
def test_released_once_when_it_ends(name, end, make):
    it = make(name)
    it.register()
    assert it.went_well(), it.error.message
    assert it.releases == 0
    end(it)
    assert it.releases == 1


@pytest.mark.parametrize('name', ROWS)
def test_released_once_when_everything_is_given_up(name, make):
    it = make(name)
    it.register()
    assert it.went_well(), it.error.message


def settle(it):
    """After a failure: by the end of the call, or by the loop's next dispatch."""
    assert not it.went_well()
    it.turn()
    assert it.releases == 1
    assert it.calls == 0


@pytest.mark.parametrize('name', ROWS)
def test_released_once_without_a_function(name, make):
    it = make(name)
    if name == 'qioh_channel_new_custom':
        it.ops.readv = type(it.ops.readv)()
        it.register()       # it needs none: reads are NOTSUP
        assert it.went_well()
    else:
        it.register(fn=type(it.fn)(), dispatch=type(it.fn)())
        settle(it)


@pytest.mark.parametrize('name', ROWS)
@pytest.mark.parametrize('bad', ['null', 'stale', 'of another kind', 'noise'])
def test_released_once_with_a_bad_handle(name, bad, make):
    function = FUNCTIONS[name]
    handles = [p for p in function.parameters if is_handle(p.type)]
    if name == 'qioh_channel_new_custom' and bad == 'null':
        handles = []                # its loop may be NULL
    it = make(name)
    for parameter in handles:
        stale = lib.qioh_options_new(None)
        lib.qioh_options_unref(stale)
        value = {'null': None, 'stale': stale, 'noise': 0x123456789abcdef1,
                 'of another kind': it.channel if parameter.name != 'channel' else it.loop}[bad]
        it.releases = 0
        it.register(**{parameter.name: value})
        settle(it)
    if not handles:
        it.register()


@pytest.mark.parametrize('name, how', REFUSALS)
def test_released_once_when_it_is_refused(name, how, make):
    it = make(name)
    change = ROWS[name][2][how]
    if callable(change):
        change(it)
        it.register()
    else:
        it.register(**change)
    settle(it)


@pytest.mark.parametrize('name', ROWS)
def test_a_forked_child_releases_nothing_of_the_parents(name, make):
    it = make(name)
    it.register()
    assert it.went_well()
    pid = os.fork()
    if pid == 0:
        code = 100
        try:
            it.turn(1)
            it.end()
            code = it.releases + it.calls
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- events ----

class Told:
    """A loop, what can be registered in it, and the kinds of the events that came."""

    def __init__(self):
        self.loop = lib.qioh_loop_new(None)
        pair = (ctypes.c_void_p * 2)()
        assert lib.qioh_channel_new_pair(ctypes.addressof(pair), None) == 0
        self.channel, self.peer = pair
        self.listener = lib.qioh_listener_open_uri(b'unix:', None, None)
        argv = (ctypes.c_char_p * 2)(b'cat', None)
        self.command = lib.qioh_channel_new_command(ctypes.addressof(argv), None, None)
        self.fd = os.open('/dev/null', os.O_RDONLY)
        self.events = []

    def register(self, function):
        values = {'loop': self.loop, 'channel': self.channel, 'listener': self.listener,
                  'fd': self.fd, 'condition': CONST.QIOH_IN, 'after_ms': 0, 'every_ms': 1,
                  'cookie': 5, 'uri': b'null:', 'options': None, 'timeout_ms': -1,
                  'a': self.channel, 'b': self.command, 'error': new_error()}
        if function.name == 'qioh_task_start_wait_exit':
            values['channel'] = self.command
        handle = getattr(lib, function.name)(*(values[p.name] for p in function.parameters))
        assert handle, values['error'].message
        return handle

    def take(self):
        events = (STRUCTS['qioh_event'] * 4)()
        for _ in range(6):
            n = lib.qioh_loop_next_events(self.loop, events, 4, 0, None)
            assert n >= 0
            self.events += [event.kind for event in events[:n]]
            assert all(event.cookie == 5 for event in events[:n])

    def end(self):
        for handle in (self.channel, self.peer, self.command):
            lib.qioh_channel_close(handle, None)
            lib.qioh_channel_unref(handle)
        lib.qioh_listener_unref(self.listener)
        lib.qioh_loop_unref(self.loop)
        os.close(self.fd)


WITH_COOKIE = [name for name, function in FUNCTIONS.items()
               if any(p.name == 'cookie' for p in function.parameters)]


def end_of(function, handle):
    """How this side ends it."""
    noun = function.result[:-2]
    verb = {'qioh_watch': 'remove', 'qioh_task': 'cancel', 'qioh_channel': 'close'}[noun]
    return getattr(lib, f'{noun}_{verb}'), handle, None


@pytest.mark.parametrize('name', WITH_COOKIE)
@pytest.mark.parametrize('way', ['ended', 'ended by another thread', 'given up'])
def test_released_is_the_last_event_and_comes_once(name, way):
    before = live()
    function, told = FUNCTIONS[name], Told()
    handle = told.register(function)
    end, *arguments = end_of(function, handle)
    told.take()
    finished = CONST.QIOH_EV_RELEASED in told.events       # a task that had nothing to wait for
    unref = getattr(lib, function.result[:-2] + '_unref')
    if way == 'given up' and function.result == 'qioh_channel *':
        unref(handle)               # nobody else holds it, so it ends
    elif way == 'ended by another thread':
        in_thread(end, *arguments)
    else:
        end(*arguments)
    if not (way == 'given up' and function.result == 'qioh_channel *'):
        unref(handle)
    told.take()
    assert told.events.count(CONST.QIOH_EV_RELEASED) == 1
    assert told.events[-1] == CONST.QIOH_EV_RELEASED
    if function.result == 'qioh_task *':
        assert told.events.count(CONST.QIOH_EV_TASK) == 1
    assert finished <= (function.result == 'qioh_task *')
    told.end()
    assert live() == before


@pytest.mark.parametrize('name', WITH_COOKIE)
def test_a_loop_that_closes_tells_nothing_more_and_keeps_nothing(name):
    before = live()
    function, told = FUNCTIONS[name], Told()
    handle = told.register(function)
    assert lib.qioh_loop_close(told.loop, None) == 0
    event = STRUCTS['qioh_event']()
    assert lib.qioh_loop_next_events(told.loop, ctypes.pointer(event), 1, 0,
                                     None) == CONST.QIOH_E_CLOSED
    getattr(lib, function.result[:-2] + '_unref')(handle)
    told.end()
    assert live() == before
