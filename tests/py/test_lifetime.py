# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects, references and the collector: who keeps whom, and what is left when nobody does."""

import abc
import contextlib
import copy
import gc
import pickle
import subprocess
import sys
import textwrap
import tracemalloc
import typing
import warnings
import weakref

import pytest

import qio
from qio import _qio
from leaks import grown_by
from rigs import PATIENCE

KINDS = (_qio.QIOH_KIND_CHANNEL, _qio.QIOH_KIND_LISTENER, _qio.QIOH_KIND_LOOP,
         _qio.QIOH_KIND_WATCH, _qio.QIOH_KIND_FDSET, _qio.QIOH_KIND_OPTIONS)


@pytest.fixture(autouse=True)
def no_handle_is_left():
    """Counts the library's handles by kind."""
    gc.collect()
    before = [_qio.debug_live(kind) for kind in KINDS]
    yield
    gc.collect()
    assert [_qio.debug_live(kind) for kind in KINDS] == before


@contextlib.contextmanager
def unclosed(what):
    """What is dropped inside warns that it was not closed."""
    with pytest.warns(ResourceWarning, match=f'unclosed <{what}'):
        yield
        gc.collect()


# ---- identity ----

def test_a_handle_has_one_object():
    a, b = qio.pair()
    with a, b, qio.Loop() as loop:
        seen = []
        loop.watch(a, qio.OUT, lambda channel, condition: seen.append(channel) or False)
        loop.run_once(PATIENCE)
        assert seen[0] is a


def test_a_watched_channel_lives_as_long_as_its_watch():
    loop = qio.Loop()
    a, b = qio.pair()
    seen = []
    watch = loop.watch(a, qio.IN, lambda channel, condition: seen.append(channel.read_some()))
    a = weakref.ref(a)
    gc.collect()
    assert a() is not None
    b.write(b'x')
    loop.run_once(PATIENCE)
    assert seen == [b'x']
    a().close()
    watch.remove()
    loop.run_once(0)
    assert a() is None
    b.close()
    loop.close()


@pytest.mark.parametrize('n', [1000])
def test_many_objects_come_and_go(n):
    """The map from handles to objects grows, shrinks and never mixes two up."""
    kept = {}
    for i in range(n):
        channel = qio.buffer(b'%d' % i)
        if i % 3:
            kept[i] = channel
        if i % 7 == 0 and i % 3 and i > 10:
            kept.pop(next(iter(kept)), None)
    for i, channel in kept.items():
        assert channel.getvalue() == b'%d' % i


# ---- the end of objects ----

@pytest.mark.parametrize('make, what', [
    (lambda tmp_path: qio.pair()[0], 'SocketChannel'),
    (lambda tmp_path: qio.open_file(tmp_path / 'x', 'w'), 'FileChannel'),
    (lambda tmp_path: qio.listen(f'unix:{tmp_path}/s'), 'Listener'),
])
def test_dropping_what_is_open_warns_and_closes(make, what, tmp_path):
    with unclosed(what):
        make(tmp_path)


def test_dropping_a_command_warns_and_waits_for_nobody():
    with unclosed('CommandChannel'):
        command = qio.command(['sleep', '1000'])
        pid = command.pid
        command.kill()
        command.wait_exit(timeout=PATIENCE)
        del command
    assert pid


def test_memory_and_loops_may_just_be_dropped():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        qio.buffer(b'x')
        qio.null()
        qio.Loop()
        gc.collect()


def test_a_closed_or_detached_channel_does_not_warn():
    a, b = qio.pair()
    a.close()
    with qio.from_fd(b.detach()):
        pass


def test_the_warning_says_where_it_was_made():
    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            qio.pair()[0].close()           # the other one is dropped
            gc.collect()
        source, = [w.source for w in caught if w.category is ResourceWarning]
        place = tracemalloc.get_object_traceback(source)
        assert place is not None and place[0].filename.endswith(('test_lifetime.py', 'opening.py'))
        source.close()
    finally:
        tracemalloc.stop()
        caught.clear()


def test_dropping_the_last_reference_in_the_middle_of_a_call():
    import threading
    a, b = qio.pair()
    box = [a]
    del a
    started = threading.Event()

    def read():
        channel = box.pop()
        started.set()
        try:
            assert channel.read_exactly(3, timeout=PATIENCE) == b'abc'
        finally:
            channel.close()

    thread = threading.Thread(target=read)
    thread.start()
    started.wait(PATIENCE)
    gc.collect()
    b.write(b'abc')
    thread.join(PATIENCE)
    assert not thread.is_alive()
    b.close()


# ---- cycles and callables ----

@pytest.mark.parametrize('register', [
    lambda loop, fn: loop.add_timer(1000, fn),
    lambda loop, fn: loop.add_timer(1000, fn, every=1000),
    lambda loop, fn: loop.defer(fn),
    lambda loop, fn: loop.watch(0, qio.OUT, fn),
], ids=['timer', 'repeating', 'defer', 'descriptor'])
def test_a_cycle_of_a_loop_and_its_functions_is_collected(register):
    gone = []
    for _ in range(50):
        loop = qio.Loop()

        class Fn:
            def __call__(self, *args):
                pass

        fn = Fn()
        fn.loop = loop
        weakref.finalize(fn, gone.append, 1)
        register(loop, fn)
        del loop, fn
    gc.collect()
    assert len(gone) == 50


def test_a_cycle_through_a_channel_is_collected():
    gone = []
    for _ in range(50):
        loop = qio.Loop()
        a, b = qio.pair()

        class Fn:
            def __call__(self, channel, condition):
                pass

        fn = Fn()
        fn.everything = (loop, a, b)
        weakref.finalize(fn, gone.append, 1)
        loop.watch(a, qio.IN, fn)
        loop.watch(b, qio.IN, fn)
        a.close()
        b.close()
        del loop, a, b, fn
    gc.collect()
    assert len(gone) == 50


def test_a_cycle_through_an_attribute_is_collected():
    class Mine(qio.Loop):
        pass

    gone = []
    for _ in range(50):
        loop = Mine()
        loop.me = loop
        weakref.finalize(loop, gone.append, 1)
        del loop
    gc.collect()
    assert len(gone) == 50


def fn_of_refs(*args):
    return False


@pytest.mark.parametrize('how', ['fires', 'removed', 'loop closed', 'loop dropped', 'refused'])
def test_a_function_is_released_exactly_once(how):
    loop = qio.Loop()
    a, b = qio.pair()
    with a, b:
        before = sys.getrefcount(fn_of_refs)
        watches = [loop.watch(a, qio.OUT, fn_of_refs), loop.watch(b, qio.OUT, fn_of_refs),
                   loop.add_timer(0, fn_of_refs), loop.add_timer(0, fn_of_refs, every=1)]
        loop.defer(fn_of_refs)
        assert sys.getrefcount(fn_of_refs) == before + 5
        if how == 'fires':
            for _ in range(10):
                loop.run_once(0.01)
        elif how == 'removed':
            for watch in watches:
                watch.remove()
            assert sys.getrefcount(fn_of_refs) == before + 1
            loop.run_once(0)
        elif how == 'loop closed':
            loop.close()
        elif how == 'refused':
            loop.close()
            for call in (lambda: loop.watch(a, qio.IN, fn_of_refs),
                         lambda: loop.add_timer(1, fn_of_refs), lambda: loop.defer(fn_of_refs)):
                with pytest.raises(qio.ClosedError):
                    call()
        else:
            del loop
            gc.collect()
        assert sys.getrefcount(fn_of_refs) == before
        del watches
        assert sys.getrefcount(fn_of_refs) == before


def test_error_paths_leak_nothing():
    a, b = qio.pair()
    with a, b, qio.Loop() as loop:
        data = bytearray(10)
        calls = [lambda: a.read_some(timeout=0), lambda: a.read_exactly(10, timeout=0),
                 lambda: a.readinto(data, timeout=0), lambda: a.readv([data], timeout=0),
                 lambda: a.readline(timeout=0), lambda: a.read_until(b'', timeout=0),
                 lambda: a.write('text'), lambda: a.write_all(None), lambda: a.writev([b'', 3]),
                 lambda: a.send_fds(b'x', [-1]), lambda: a.recv_fds(1, timeout=0),
                 lambda: qio.connect('nonsense:'), lambda: qio.open_file('/no/such'),
                 lambda: loop.watch(a, qio.IN, None), lambda: loop.watch(object(), qio.IN, print),
                 lambda: qio.command(['/no/such'], env={'A': '1'}, cwd='/'),
                 lambda: qio.listen('tcp://300.300.300.300:0')]
        assert grown_by(calls, 100, settling=200) < 4096
        data.append(1)                      # BufferError if an export were left


@pytest.mark.parametrize('call', [
    lambda a, data: a.readinto(data, timeout=0), lambda a, data: a.readv([data], timeout=0),
    lambda a, data: a.write(data), lambda a, data: a.writev([data]),
    lambda a, data: a.send_fds(data, []), lambda a, data: a.write_all(data),
])
def test_a_buffer_is_free_after_the_call(call):
    a, b = qio.pair()
    with a, b:
        data = bytearray(10)
        with contextlib.suppress(qio.Error):
            call(a, data)
        data.append(1)


def test_a_buffer_is_held_while_the_call_waits():
    import threading
    a, b = qio.pair()
    with a, b:
        for size in (10, 100_000):
            data = bytearray(size)
            done = threading.Event()

            def read():
                a.readinto(data)
                done.set()

            thread = threading.Thread(target=read)
            thread.start()
            held = False
            while not held and not done.is_set():
                try:
                    data.append(0)
                    data.pop()
                except BufferError:
                    held = True
            b.write(b'x')
            thread.join(PATIENCE)
            assert held and data[0] == ord('x')


# ---- good Python citizens ----

def test_objects_cannot_be_made_by_hand():
    for cls in (qio.Channel, qio.SocketChannel, qio.FileChannel, qio.Listener, qio.Watch,
                _qio.Channel, type('Mine', (qio.Channel,), {'__init__': lambda self: None})):
        for make in (cls, lambda: cls.__new__(cls)):
            with pytest.raises(TypeError, match='cannot make a .*: use '):
                make()
    with pytest.raises(TypeError):
        object.__new__(qio.Channel)
    with pytest.raises(TypeError, match='Loop'):
        qio.Loop(1)


def test_a_loop_may_have_a_subclass():
    class Mine(qio.Loop):
        def __init__(self, name):
            self.name = name

    with Mine('mine') as loop:
        assert loop.name == 'mine' and loop.run_once(0) == 0


def test_classes_mix_with_abc_and_protocol():
    class Plain(qio.Channel, abc.ABC):
        pass

    class HasRead(typing.Protocol):
        def read(self) -> bytes: ...

    class Both(qio.Channel, HasRead):
        pass

    assert issubclass(Plain, qio.Channel) and issubclass(Both, qio.Channel)


def test_weak_references_and_no_stray_attributes():
    with qio.buffer() as buffer:
        assert weakref.ref(buffer)() is buffer
        with pytest.raises(AttributeError):
            buffer.no_such_attribute = 1
        assert not {name for name in dir(buffer) if name in ('this', 'thisown', 'own', 'acquire',
                                                             'disown', 'append')}


def test_no_pickle_and_no_copy():
    for thing in (qio.buffer(), qio.null()):
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                way(thing)
    with qio.Loop() as loop:
        for way in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError):
                way(loop)


def test_methods_can_be_replaced_for_tests(monkeypatch):
    monkeypatch.setattr(qio.SocketChannel, 'write', lambda self, b: 'replaced')
    a, b = qio.pair()
    with a, b:
        assert a.write(b'x') == 'replaced'


# ---- the end of the interpreter ----

EXITS = {
    'open channels': 'import qio; a, b = qio.pair(); c = qio.buffer()',
    'a loop with watches': '''
        import qio
        a, b = qio.pair()
        loop = qio.Loop()
        loop.watch(a, qio.IN, print)
        loop.add_timer(0, print, every=1)
        loop.defer(print)
    ''',
    'a loop that runs in a daemon thread': '''
        import qio, threading
        loop = qio.Loop()
        started = threading.Event()
        loop.add_timer(0, started.set, every=0.0001)
        threading.Thread(target=loop.run, daemon=True).start()
        started.wait()
    ''',
    'a read that waits in a daemon thread': '''
        import qio, threading
        a, b = qio.pair()
        threading.Thread(target=a.read, daemon=True).start()
    ''',
    'sys.exit in a callback': '''
        import qio, sys
        loop = qio.Loop()
        loop.add_timer(0, sys.exit)
        loop.run()
    ''',
    'an object in a cycle with its module': '''
        import qio, sys
        qio.keep = [qio.Loop(), *qio.pair()]
        qio.keep[0].watch(qio.keep[1], qio.IN, lambda *args: qio)
        sys.keep = qio.keep
    ''',
    'a finaliser that uses a channel': '''
        import qio
        a, b = qio.pair()
        class Last:
            def __del__(self, a=a):
                a.write(b'x')
        last = Last()
    ''',
    'a command': 'import qio; c = qio.command(["cat"])',
}


@pytest.mark.parametrize('name', EXITS)
def test_the_interpreter_ends_quietly(name):
    code = textwrap.dedent(EXITS[name])
    done = subprocess.run([sys.executable, '-X', 'dev', '-W', 'ignore::ResourceWarning', '-c', code],
                          capture_output=True, text=True, timeout=PATIENCE * 2, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
