# SPDX-License-Identifier: LGPL-2.1-or-later
"""Forked children: they may drop what they inherit and take its descriptors, nothing else."""

import os
import pickle
import signal
import sys
import warnings

import pytest

import qio
from rigs import PATIENCE


def in_child(fn):
    """fn's result, or the exception it raised, from a forked child."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_fd)
            signal.alarm(PATIENCE)          # a child that hangs ends all the same
            warnings.simplefilter('error')
            try:
                result = fn()
            except BaseException as error:
                result = f'{type(error).__name__}: {error}'
            with open(write_fd, 'wb') as file:
                pickle.dump(result, file)
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd, 'rb') as file:
        data = file.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, 'the child died'
    return pickle.loads(data)


@pytest.fixture
def pair():
    a, b = qio.pair()
    with a, b:
        yield a, b


@pytest.mark.parametrize('call', [
    lambda a: a.read_some(), lambda a: a.write(b'x'), lambda a: a.wait(qio.IN, timeout=1),
    lambda a: a.readline(), lambda a: a.readinto(bytearray(1)), lambda a: a.setblocking(False),
    lambda a: a.shutdown('both'), lambda a: a.writev([b'x']), lambda a: a.peek(),
])
def test_a_channel_of_the_parent_is_the_parents(pair, call):
    a, b = pair
    result = in_child(lambda: call(a))
    assert result.startswith('ForkedError'), result
    assert not b.wait(qio.IN, timeout=0)
    b.write(b'for the parent')
    assert a.read_some() == b'for the parent'


def test_its_descriptor_can_be_taken(pair):
    a, b = pair

    def child():
        fd = a.fileno()
        with open(a.detach(), 'wb', buffering=0) as file:
            file.write(b'from the child')
        return fd

    assert in_child(child) == a.fileno()
    assert b.read_exactly(14, timeout=PATIENCE) == b'from the child'
    a.write(b'and the parent goes on')
    assert b.read_exactly(22, timeout=PATIENCE) == b'and the parent goes on'


def test_a_child_makes_its_own(pair):
    def child():
        a, b = qio.pair()
        with a, b:
            a.write(b'x')
            assert b.read(1) == b'x'
        with qio.Loop() as loop:
            seen = []
            loop.add_timer(0, lambda: (seen.append(1), loop.quit()))
            loop.run()
        with qio.command(['echo', 'hello']) as echo:
            return echo.read()

    assert in_child(child) == b'hello\n'


def test_dropping_in_the_child_disturbs_nobody(tmp_path):
    a, b = qio.pair()
    listener = qio.listen(f'unix:{tmp_path}/s')
    loop = qio.Loop()
    seen = []
    loop.watch(a, qio.IN, lambda channel, condition: seen.append(channel.read_some()))
    command = qio.command(['cat'])

    def child():
        import gc
        nonlocal a, b, listener, loop, command
        warnings.simplefilter('ignore')
        del a, b, listener, loop, command
        gc.collect()
        return 'dropped'

    assert in_child(child) == 'dropped'
    b.write(b'still there')
    loop.run_once(PATIENCE)
    assert seen == [b'still there']
    with qio.connect(f'unix:{tmp_path}/s') as client, listener.accept(timeout=PATIENCE) as served:
        client.write(b'x')
        assert served.read(1) == b'x'
    command.write(b'alive')
    assert command.read_exactly(5, timeout=PATIENCE) == b'alive'
    command.close()
    assert command.returncode == 0
    for thing in (a, b, listener, loop):
        thing.close()


def test_closing_in_the_child_gives_an_error_or_closes_the_childs_part(tmp_path):
    with qio.command(['cat']) as command, qio.listen(f'unix:{tmp_path}/s') as listener:
        def child():
            results = []
            for thing in (command, listener):
                try:
                    thing.close()
                    results.append('closed')
                except qio.ForkedError:
                    results.append('forked')
            return results

        assert set(in_child(child)) <= {'closed', 'forked'}
        command.write(b'x')
        assert command.read_exactly(1, timeout=PATIENCE) == b'x'
        qio.connect(f'unix:{tmp_path}/s').close()
        listener.accept(timeout=PATIENCE).close()


def test_multiprocessing_by_fork(pair):
    import multiprocessing
    a, b = pair
    context = multiprocessing.get_context('fork')

    def body(fd):
        with qio.from_fd(os.dup(fd)) as channel:
            channel.write(b'from a process')
        sys.exit(0)

    process = context.Process(target=body, args=(a.fileno(),))
    process.start()
    assert b.read_exactly(14, timeout=PATIENCE) == b'from a process'
    process.join(PATIENCE)
    assert process.exitcode == 0
    process.close()
