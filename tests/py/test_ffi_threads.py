# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runtimes whose threads hop between calls: nothing in the library belongs to a thread.

Go's scheduler, Java's pools and Node's asynchronous calls move to another thread when they like;
here many channels are used at once under each, and every error is its own caller's.  In Python
each call of a whole conversation runs on a thread that was made for it.
"""

import ctypes
import importlib.util
import threading

import pytest

import qio
from fficlients import EXAMPLES, THREADS, make_ready, run, serve
from rigs import PATIENCE, in_thread

CHANNELS, ROUNDS = 24, 50


@pytest.mark.parametrize('name', THREADS)
def test_threads_that_hop_between_calls(name):
    done = run(make_ready(THREADS[name]).command, CHANNELS, ROUNDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ''
    said = dict(line.split(': ') for line in done.stdout.splitlines())
    assert int(said['rounds']) == CHANNELS * ROUNDS
    assert int(said['threads']) > 1
    assert said['left'] == '0'


def on_fresh_threads(function):
    """Makes each call of it on a thread of its own."""
    def call(*args):
        results = []
        with in_thread(lambda: results.append(function(*args))):
            pass
        return results[0]
    return call


def load_client():
    """The client of examples/ffi/ctypes as a module of its own."""
    path = EXAMPLES / 'ctypes' / 'talk.py'
    spec = importlib.util.spec_from_file_location('ctypes_talk', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_call_of_a_conversation_on_a_thread_of_its_own(tmp_path, capsys):
    client = load_client()
    calls = {name: value for name, value in vars(client).items()
             if isinstance(value, ctypes._CFuncPtr)
             or getattr(value, '__qualname__', '') == 'declare.<locals>.call'}
    assert {'open_uri', 'next_events', 'channel_unref'} < set(calls)
    for name, function in calls.items():
        setattr(client, name, on_fresh_threads(function))
    (tmp_path / 'file').write_text('a line\n')
    with qio.listen(f'unix:{tmp_path}/s') as listener, in_thread(serve, listener, 'ctypes'):
        client.talk(listener.address, str(tmp_path / 'file'))
    assert capsys.readouterr().out.splitlines()[:-1] == [
        'event: HELLO FROM CTYPES', 'file: A LINE', 'rot13: A SECRET OF CTYPES',
        'refused: QIOH_E_CALLBACK: only ASCII is turned', 'released: 1',
        'stale: QIOH_E_BADHANDLE']


def test_errors_of_calls_at_once_are_not_mixed_up(tmp_path):
    """Each of the threads fails in its own way, again and again, and reads its own words."""
    client = load_client()
    start = threading.Barrier(8)

    def fail(number):
        start.wait(PATIENCE)
        for turn in range(100):
            path = f'{tmp_path}/{number}/{turn}'
            with pytest.raises(client.QioError, match=f'unix:{path}: No such file'):
                client.open_uri(f'unix:{path}'.encode(), None)

    threads = [threading.Thread(target=fail, args=[n]) for n in range(1, 8)]
    with in_thread(fail, 0):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(PATIENCE)
