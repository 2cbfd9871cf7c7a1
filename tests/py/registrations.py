# SPDX-License-Identifier: LGPL-2.1-or-later
"""One registration of each function of the flat ABI that takes a release function, and every way
in which it can end.

Owns: Registration, which makes what the function needs and counts the calls of its functions; ROWS,
what is special to each function.  Nothing here waits.
"""

import ctypes
import os
import threading

from flat import CALLBACKS, CONST, FUNCTIONS, STRUCTS, is_handle, lib, new_error
from flat_tls import new_creds


def takes_release(function):
    return any(parameter.type in ('qioh_release_fn', 'const qioh_channel_ops *')
               for parameter in function.parameters)


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


class Registration:
    def __init__(self, name):
        self.function = FUNCTIONS[name]
        self.calls = self.releases = 0
        self.answer = 1
        self.inside = lambda: None
        self.result = None
        self.error = new_error()
        self.released = CALLBACKS['qioh_release_fn'](self.note_release)
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.write(self.write_fd, b'x')
        self.loop = lib.qioh_loop_new(None)
        pair = (ctypes.c_void_p * 2)()
        assert lib.qioh_channel_new_pair(ctypes.addressof(pair), None) == 0
        self.channel, self.peer = pair
        assert lib.qioh_channel_write_all(self.peer, b'readable', 8, None) == 0
        self.listener = lib.qioh_listener_open_uri(b'unix:', None, None)
        address = ctypes.create_string_buffer(200)
        lib.qioh_listener_get_address(self.listener, 0, address, 200, None)
        self.client = lib.qioh_channel_open_uri(address.value, None, None)
        self.creds = new_creds(lib.qioh_creds_new_psk, True)
        self.task = None
        self.others = []            # handles with the function that gives them up
        self.values = self.make_values()

    def make_values(self):
        ops = STRUCTS['qioh_channel_ops']()
        ops.struct_size = ctypes.sizeof(ops)
        ops.readv = CALLBACKS['qioh_channel_ops.readv'](lambda *arguments: self.called())
        ops.release = CALLBACKS['qioh_channel_ops.release'](self.note_release)
        self.ops = ops
        fn = next((p.type for p in self.function.parameters if p.type in CALLBACKS), None)
        self.fn = CALLBACKS[fn](lambda *arguments: self.called()) if fn else None
        return {'loop': self.loop, 'channel': self.channel, 'listener': self.listener,
                'creds': self.creds, 'fd': self.read_fd, 'condition': CONST.QIOH_IN,
                'after_ms': 0, 'every_ms': 1, 'signature': b'i32(p)', 'fn': self.fn,
                'dispatch': self.fn, 'ops': ctypes.pointer(ops), 'user_data': 7,
                'release': self.released, 'task': None, 'error': self.error}

    # ---- what the library calls ----

    def called(self):
        assert self.releases == 0
        self.calls += 1
        self.inside()
        assert self.releases == 0
        return self.answer

    def note_release(self, user_data):
        assert user_data == 7
        self.releases += 1

    # ---- registering ----

    def register(self, **changes):
        values = {**self.values, **changes}
        self.result = getattr(lib, self.function.name)(
            *(values[parameter.name] for parameter in self.function.parameters))
        return self.result

    def went_well(self):
        return bool(self.result) if is_handle(self.function.result) else self.result == 0

    def turn(self, times=4):
        for _ in range(times):
            lib.qioh_loop_dispatch(self.loop, 0, None)

    def give_up_loop(self):
        lib.qioh_loop_unref(self.loop)
        self.loop = None

    def end(self):
        """Gives everything up that is still there."""
        if is_handle(self.function.result) and self.result:
            getattr(lib, self.function.result[:-2] + '_unref')(self.result)
        for unref, handle in self.others:
            unref(handle)
        for unref, handle in ((lib.qioh_task_unref, self.task),
                              (lib.qioh_creds_unref, self.creds),
                              (lib.qioh_channel_unref, self.client),
                              (lib.qioh_listener_unref, self.listener),
                              (lib.qioh_channel_unref, self.channel),
                              (lib.qioh_channel_unref, self.peer),
                              (lib.qioh_loop_unref, self.loop)):
            unref(handle)
        os.close(self.read_fd)
        os.close(self.write_fd)


# ---- ends that many have ----

def loop_closed(it):
    assert lib.qioh_loop_close(it.loop, None) == 0


def loop_given_up(it):
    it.give_up_loop()


def removed(it):
    it.turn()
    assert lib.qioh_watch_remove(it.result, None) == 0
    assert it.releases == 0         # not inside the call that removes
    it.turn()


def removed_inside_its_call(it):
    it.inside = lambda: lib.qioh_watch_remove(it.result, None)
    it.turn()
    assert it.calls == 1


def removed_by_another_thread(it):
    in_thread(lib.qioh_watch_remove, it.result, None)
    it.turn()


def answered_0(it):
    it.answer = 0
    it.turn()
    assert it.calls == 1


def failed(it):
    it.answer = CONST.QIOH_E_CALLBACK
    assert CONST.QIOH_E_CALLBACK in [lib.qioh_loop_dispatch(it.loop, 0, None) for _ in range(4)]
    it.turn()
    assert it.calls == 1


def channel_closed(it):
    assert lib.qioh_channel_close(it.channel, None) == 0
    it.turn()


def channel_closed_by_another_thread(it):
    in_thread(lib.qioh_channel_close, it.channel, None)
    it.turn()


def channel_closed_inside_its_call(it):
    it.inside = lambda: lib.qioh_channel_close(it.channel, None)
    it.answer = 0
    it.turn()


def listener_closed(it):
    assert lib.qioh_listener_close(it.listener, None) == 0
    it.turn()


def listener_closed_by_another_thread(it):
    in_thread(lib.qioh_listener_close, it.listener, None)
    it.turn()


def loop_closed_by_another_thread(it):
    in_thread(lib.qioh_loop_close, it.loop, None)


LOOP_ENDS = [loop_closed, loop_given_up, loop_closed_by_another_thread]
WATCH_ENDS = LOOP_ENDS + [removed, removed_inside_its_call, removed_by_another_thread,
                          answered_0, failed]


# ---- what is special ----

def ran(it):
    it.answer = 0
    it.turn()
    assert it.calls == 1


def cancelled(it):
    it.answer = 0
    assert lib.qioh_task_cancel(it.task, None) == 0
    it.turn()


def task_given_up(it):
    """The operation goes on, and tells of its end."""
    it.answer = 0
    lib.qioh_task_unref(it.task)
    it.task = None
    it.turn()


def peers_ended(it):
    it.answer = 0
    for handle in (it.peer, it.client):
        assert lib.qioh_channel_close(handle, None) == 0
    for _ in range(20):
        it.turn()
    assert lib.qioh_task_status(it.task, None) != CONST.QIOH_E_AGAIN


def another(it):
    """The same registration with other functions."""
    fn, release = (type(made)(lambda *arguments: 0) for made in (it.fn, it.released))
    it.others.append((lambda kept: None, (fn, release)))
    return it.register(fn=fn, release=release)


def replaced(it):
    assert another(it) == 0
    it.turn()


def given_up(it):
    getattr(lib, it.function.result[:-2] + '_unref')(it.result)
    it.result = None
    it.turn()


def given_up_by_another_thread(it):
    in_thread(given_up, it)
    it.turn()


def closed_and_given_up(it):
    assert lib.qioh_channel_close(it.result, None) == 0
    assert it.releases == 0
    given_up(it)


def given_up_after_its_loop(it):
    it.give_up_loop()
    given_up(it)


def closure_given_up_inside_its_call(it):
    code = lib.qioh_closure_get_code(it.result, None)

    def inside():
        lib.qioh_closure_unref(it.result)
        it.result = None

    it.inside = inside
    ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(code)(None)
    assert it.calls == 1


def creds_given_up(it):
    lib.qioh_creds_unref(it.creds)
    it.creds = None


def creds_given_up_before_their_channel(it):
    tls = lib.qioh_channel_new_tls_server(it.channel, it.creds, None, it.error)
    assert tls, it.error.message
    creds_given_up(it)
    assert it.releases == 0
    lib.qioh_channel_unref(tls)


def make_task(it):
    lib.qioh_task_unref(it.task)
    it.task = it.values['task'] = lib.qioh_task_start_close(it.client, -1, it.loop, 3, None)


def make_relay(it):
    accepted = lib.qioh_listener_accept(it.listener, 0, None)
    it.others.append((lib.qioh_channel_unref, accepted))
    it.task = it.values['task'] = lib.qioh_task_start_relay(it.channel, accepted, None, it.loop, 3,
                                                            None)
    assert it.task


def twice(it):
    assert another(it) == 0


def lookup_too(it):
    """So that a server with these credentials can begin."""
    fn = CALLBACKS['qioh_psk_fn'](lambda *arguments: 0)
    it.others.append((lambda kept: None, fn))
    assert lib.qioh_creds_set_psk_lookup(it.creds, fn, None, CALLBACKS['qioh_release_fn'](),
                                         None) == 0


def used_creds(it):
    twice(it)
    tls = lib.qioh_channel_new_tls_server(it.channel, it.creds, None, it.error)
    assert tls, it.error.message
    it.others.insert(0, (lib.qioh_channel_unref, tls))


def reported_task(it):
    event = STRUCTS['qioh_event']()
    for _ in range(6):
        lib.qioh_loop_next_events(it.loop, ctypes.pointer(event), 1, 0, None)
    assert event.kind == CONST.QIOH_EV_RELEASED


def closed(noun):
    return lambda it: getattr(lib, f'qioh_{noun}_close')(getattr(it, noun), None)


def unknown_flag(it):
    it.ops.flags = 0x80000000


CREDS_ENDS = [creds_given_up, creds_given_up_before_their_channel, replaced]

# function: (what comes before, how it ends, {how it is refused: before the call, or arguments})
ROWS = {
    'qioh_watch_new': (None, WATCH_ENDS + [channel_closed, channel_closed_by_another_thread,
                                           channel_closed_inside_its_call],
                       {'no condition': {'condition': 0}, 'closed': closed('channel'),
                        'a closed loop': closed('loop')}),
    'qioh_watch_new_listener': (None, WATCH_ENDS + [listener_closed,
                                                    listener_closed_by_another_thread],
                                {'closed': closed('listener'), 'a closed loop': closed('loop')}),
    'qioh_watch_new_fd': (None, WATCH_ENDS, {'no descriptor': {'fd': -1},
                                             'a closed one': {'fd': 1000000},
                                             'no condition': {'condition': 0},
                                             'a closed loop': closed('loop')}),
    'qioh_watch_new_timer': (None, WATCH_ENDS, {'negative': {'after_ms': -1},
                                                'a closed loop': closed('loop')}),
    'qioh_loop_defer': (None, LOOP_ENDS + [ran, failed], {'a closed loop': closed('loop')}),
    'qioh_task_set_callback': (make_task, LOOP_ENDS + [ran, failed, cancelled, task_given_up],
                               {'a second time': twice, 'after its event': reported_task}),
    'qioh_task_set_filter': (make_relay, LOOP_ENDS + [cancelled, peers_ended, channel_closed],
                             {'a second time': twice, 'no relay': make_task}),
    'qioh_creds_set_psk_lookup': (None, CREDS_ENDS, {'after use': used_creds}),
    'qioh_creds_set_authorize': (lookup_too, CREDS_ENDS, {'after use': used_creds}),
    'qioh_closure_new': (None, [given_up, given_up_by_another_thread,
                                closure_given_up_inside_its_call],
                         {'no signature': {'signature': None}, 'a fault': {'signature': b'x()'}}),
    'qioh_channel_new_custom': (None, [given_up, given_up_by_another_thread, closed_and_given_up,
                                       given_up_after_its_loop], {'a flag': unknown_flag,
                                       'a closed loop': closed('loop')}),
}
