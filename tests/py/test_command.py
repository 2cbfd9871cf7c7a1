# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands: how they are started, what they inherit, and every way in which they end."""

import contextlib
import errno
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

import qio
from rigs import PATIENCE, in_thread

STUBBORN = ['sh', '-c', "trap '' TERM; echo ready; exec sleep 1000"]


def shell(script, **options):
    return qio.command(['sh', '-c', script], **options)


def output(channel):
    with channel:
        return channel.read(timeout=PATIENCE)


@contextlib.contextmanager
def environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


# ---- starting ----

def test_arguments_arrive_as_they_are():
    arguments = ['a b', '', '*', '$HOME', "'", '\n', 'ü', '-n']
    with qio.command([sys.executable, '-c', 'import sys; print(sys.argv[1:])', *arguments]) as it:
        assert isinstance(it, qio.CommandChannel)
        assert it.kind == 'command'
        assert it.read().decode() == f'{arguments}\n'


def test_arguments_may_be_bytes_and_paths(tmp_path):
    argv = [b'printf', pathlib.PurePath('%s-'), b'\xff\xfe', os.fsdecode(b'\xfd'), tmp_path]
    assert output(qio.command(argv)) == b'\xff\xfe-\xfd-' + os.fsencode(tmp_path) + b'-'


def test_a_name_without_slash_is_looked_up_in_path(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'qio-test-program').mkdir()         # a folder of that name is passed over
    bin = tmp_path / 'bin'
    bin.mkdir()
    program(bin / 'qio-test-program', '#!/bin/sh\necho found\n')
    with environment(PATH=f'{tmp_path}/none:{tmp_path}/empty:{tmp_path}:{bin}'):
        assert output(qio.command(['qio-test-program'])) == b'found\n'


def test_the_path_of_a_given_environment_is_the_one_that_counts(tmp_path):
    program(tmp_path / 'qio-test-program', '#!/bin/sh\necho found\n')
    assert output(qio.command(['qio-test-program'], env={'PATH': str(tmp_path)})) == b'found\n'
    with environment(PATH=str(tmp_path)), pytest.raises(FileNotFoundError):
        qio.command(['qio-test-program'], env={'PATH': '/nowhere'})


@pytest.mark.parametrize('name', ['qio-no-such-program', '/no/such/qio-program', './qio-none'])
def test_a_missing_program_is_named(name):
    with pytest.raises(FileNotFoundError) as caught:
        qio.command([name])
    assert isinstance(caught.value, qio.Error)
    assert caught.value.errno == errno.ENOENT
    assert name in str(caught.value)


def test_what_may_not_be_run_is_a_permission_error(tmp_path):
    path = tmp_path / 'data'
    path.write_text('data')
    with pytest.raises(PermissionError, match='data'):
        qio.command([path])
    with pytest.raises(PermissionError):
        qio.command([tmp_path])


def test_a_file_that_is_no_program_is_an_error_by_name(tmp_path):
    with pytest.raises(OSError, match='junk') as caught:
        qio.command([program(tmp_path / 'junk', '\x01\x02')])
    assert caught.value.errno == errno.ENOEXEC


@pytest.mark.parametrize('argv, error', [
    ([], ValueError), ((), ValueError), ([''], (ValueError, FileNotFoundError)),
    ('true', TypeError), (b'true', TypeError), (None, TypeError), ([1], TypeError),
    (['true', None], TypeError), (['true', 'a\0b'], ValueError),
])
def test_what_is_no_argument_list_is_refused(argv, error):
    with pytest.raises(error):
        qio.command(argv)


def test_argv_may_be_any_sequence():
    assert output(qio.command(('echo', 'a'))) == b'a\n'


# ---- what the child gets ----

def test_the_environment_is_ours_unless_it_is_given():
    with environment(QIO_TEST='ours'):
        assert output(shell('echo $QIO_TEST')) == b'ours\n'
        assert output(qio.command(['/usr/bin/env'], env={'QIO_TEST': 'a=b c'})) == \
            b'QIO_TEST=a=b c\n'
        assert output(qio.command(['/usr/bin/env'], env={})) == b''


@pytest.mark.parametrize('env, error', [
    (['A=b'], TypeError), ({'A': 1}, TypeError), ({1: 'a'}, TypeError),
    ({'A': 'x\0y'}, ValueError), ({'A=B': 'c'}, ValueError), ({'': 'x'}, ValueError),
])
def test_what_is_no_environment_is_refused(env, error):
    with pytest.raises(error):
        qio.command(['true'], env=env)


def test_cwd_is_where_it_starts(tmp_path):
    assert output(qio.command(['pwd'], cwd=tmp_path)) == os.fsencode(tmp_path) + b'\n'
    program(tmp_path / 'here', '#!/bin/sh\necho here\n')
    assert output(qio.command(['./here'], cwd=tmp_path)) == b'here\n'


@pytest.mark.parametrize('cwd, error', [
    ('/no/such/folder', FileNotFoundError), ('/dev/null', NotADirectoryError)])
def test_a_cwd_that_is_no_folder_is_named(cwd, error):
    with pytest.raises(error, match=cwd):
        qio.command(['true'], cwd=cwd)


# Two that glibc keeps for itself, and ignores in every child that it spawns.
GLIBC_SIGNALS = 1 << 31 | 1 << 32


def test_it_has_three_descriptors_and_default_signals():
    """Of a shell, since Python ignores signals by itself."""
    inherited = os.dup(0)
    os.set_inheritable(inherited, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
        found = output(shell("ls -m /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status"))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.close(inherited)
    descriptors, blocked, ignored = found.splitlines()
    assert descriptors == b'0, 1, 2, 3'         # the last one reads the folder
    assert int(blocked.split()[1], 16) == 0
    assert int(ignored.split()[1], 16) & ~GLIBC_SIGNALS == 0


# ---- standard error ----

def test_stderr_is_ours_by_default():
    reader, writer = os.pipe()
    done = subprocess.run([sys.executable, '-c',
                           "import qio; qio.command(['sh', '-c', 'echo oops >&2']).close()"],
                          stderr=writer, timeout=PATIENCE)
    os.close(writer)
    assert done.returncode == 0
    with open(reader, 'rb') as file:
        assert file.read() == b'oops\n'


def test_stderr_null_is_nowhere():
    assert output(shell('echo oops >&2; readlink /proc/$$/fd/2', stderr='null')) == b'/dev/null\n'


def test_stderr_merged_comes_in_order_with_the_output():
    assert output(shell('echo 1; echo 2 >&2; echo 3', stderr='merge')) == b'1\n2\n3\n'


def test_stderr_pipe_is_a_channel_of_its_own():
    with shell('echo out; echo oops >&2', stderr='pipe') as it:
        errors = it.stderr
        assert it.stderr is errors
        assert errors.kind == 'file'
        assert not errors.writable()
        assert it.read() == b'out\n'
        assert errors.read() == b'oops\n'
        it.close()
        assert not errors.closed
        errors.close()


def test_a_stderr_taken_outlives_the_command():
    with shell('echo oops >&2', stderr='pipe') as it:
        errors = it.stderr
    assert it.returncode == 0
    with errors:
        assert errors.read() == b'oops\n'


def test_stderr_is_none_unless_it_is_piped():
    with shell('true') as it:
        assert it.stderr is None


def test_stderr_may_go_to_a_descriptor_or_a_file(tmp_path):
    with open(tmp_path / 'log', 'w+b') as log:
        shell('echo 1 >&2', stderr=log).close()
        shell('echo 2 >&2', stderr=log.fileno()).close()
        log.seek(0)
        assert log.read() == b'1\n2\n'


@pytest.mark.parametrize('bad, error', [
    ('file', ValueError), (None, TypeError), (True, TypeError), (1.5, TypeError),
    (-1, ValueError), (1_000_000, ValueError)])
def test_any_other_stderr_is_refused(bad, error):
    with pytest.raises(error, match='stderr'):
        shell('true', stderr=bad)


# ---- input and output ----

def test_send_eof_ends_its_input_and_leaves_its_output():
    with qio.command(['sort']) as it:
        it.write_all(b'b\na\n')
        it.send_eof()
        it.send_eof()
        assert it.read() == b'a\nb\n'
        assert it.wait_exit() == 0
        with pytest.raises(BrokenPipeError):
            it.write(b'x')


def test_a_command_that_does_not_read_is_a_broken_pipe():
    with qio.command(['true']) as it:
        it.wait_exit(timeout=PATIENCE)
        with pytest.raises(BrokenPipeError):
            it.write(bytes(100_000))


def test_more_than_a_pipe_holds_goes_both_ways_at_once():
    data = bytes(i % 251 for i in range(1_000_000))
    with qio.command(['cat']) as it:
        with in_thread(lambda: (it.write_all(data), it.send_eof())):
            assert it.read() == data


def test_a_command_has_no_one_descriptor():
    with qio.command(['cat']) as it:
        for call in (it.fileno, it.detach):
            with pytest.raises(qio.UnsupportedError):
                call()


# ---- its end ----

def test_pid_is_the_childs():
    with shell('echo $$') as it:
        assert it.pid == int(it.read())
    assert it.pid > 0


def test_returncode_is_none_while_it_runs():
    with qio.command(['cat']) as it:
        assert it.returncode is None
        it.send_eof()
        assert it.wait_exit(timeout=PATIENCE) == 0
        assert it.returncode == 0


@pytest.mark.parametrize('status', [0, 1, 42, 255])
def test_exit_status_is_visible_before_and_after_close(status):
    with shell(f'exit {status}') as it:
        assert it.wait_exit(timeout=PATIENCE) == status
    assert it.returncode == status
    assert it.wait_exit() == status
    assert it.wait_exit(timeout=0) == status


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_the_signal_that_ended_it_is_visible_before_and_after_close(number):
    with qio.command(['sleep', '1000']) as it:
        it.send_signal(number)
        assert it.wait_exit(timeout=PATIENCE) == -number
    assert it.returncode == -number


def test_terminate_and_kill():
    with shell("trap 'echo got it; exit 7' TERM; echo ready; while :; do read x; done") as it:
        assert it.readline(timeout=PATIENCE) == b'ready\n'
        it.terminate()
        it.send_eof()
        assert it.wait_exit(timeout=PATIENCE) == 7
    with qio.command(STUBBORN) as it:
        assert it.readline(timeout=PATIENCE) == b'ready\n'
        it.terminate()
        it.kill()
        assert it.wait_exit(timeout=PATIENCE) == -signal.SIGKILL


def test_signals_after_its_end_do_nothing():
    with qio.command(['true']) as it:
        it.wait_exit(timeout=PATIENCE)
        it.terminate()
    it.kill()
    it.send_signal(0)
    assert it.returncode == 0


@pytest.mark.parametrize('bad', [-1, 1000, 2**40])
def test_what_is_no_signal_is_named(bad):
    with qio.command(['cat']) as it:
        with pytest.raises((ValueError, OverflowError), match='signum'):
            it.send_signal(bad)


def test_wait_exit_times_out_while_it_runs():
    with qio.command(['cat']) as it:
        for timeout in (0, 0.001, qio.Deadline(0)):
            with pytest.raises(qio.TimeoutError):
                it.wait_exit(timeout=timeout)
        assert it.returncode is None


def test_two_threads_wait_for_the_same_end():
    results = []
    with qio.command(['cat']) as it:
        with in_thread(lambda: results.append(it.wait_exit())):
            with in_thread(lambda: results.append(it.wait_exit())):
                it.send_eof()
    assert results == [0, 0]


def test_wait_exit_goes_on_while_another_thread_closes():
    results = []
    with qio.command(STUBBORN, close_timeout=0) as it:
        it.readline()
        with in_thread(lambda: results.append(it.wait_exit())):
            it.close()
    assert results == [-signal.SIGKILL]


def test_close_ends_its_input_first():
    with shell('cat; exit 3') as it:
        pass
    assert it.returncode == 3


def test_a_child_that_ignores_sigterm_is_killed_when_close_timeout_is_over():
    with qio.command(STUBBORN, close_timeout=0.3) as it:
        assert it.readline(timeout=PATIENCE) == b'ready\n'
        started = time.monotonic()
    assert time.monotonic() - started >= 0.3
    assert it.returncode == -signal.SIGKILL
    assert not os.path.exists(f'/proc/{it.pid}')


def test_close_timeout_is_the_limit_of_all_that_close_does():
    """Half of it for the end of its input, half for SIGTERM: the smallest of three is below
    what a whole for each would take."""

    def close_seconds():
        with qio.command(STUBBORN, close_timeout=0.2) as it:
            it.readline(timeout=PATIENCE)
            started = time.monotonic()
        return time.monotonic() - started

    assert min(close_seconds() for _ in range(3)) < 0.4


def test_a_close_timeout_of_nothing_waits_for_nothing():
    with qio.command(STUBBORN, close_timeout=0) as it:
        assert it.readline(timeout=PATIENCE) == b'ready\n'
    assert it.returncode == -signal.SIGKILL


def test_without_a_close_timeout_close_waits_until_it_ends(tmp_path):
    """It ends when told by a FIFO, well after SIGTERM would have ended it."""
    os.mkfifo(tmp_path / 'fifo')
    it = shell(f'read x < {tmp_path}/fifo; exit 9', close_timeout=None)
    with in_thread(it.close):
        with open(tmp_path / 'fifo', 'w') as fifo:
            fifo.write('\n')
    assert it.returncode == 9


@pytest.mark.parametrize('bad, error', [(-1, ValueError), ('x', ValueError), ([], TypeError)])
def test_a_bad_close_timeout_is_named(bad, error):
    with pytest.raises((error, TypeError), match='close.timeout'):
        shell('true', close_timeout=bad)


def test_close_leaves_no_zombie_and_no_process():
    commands = [qio.command(['cat']) for _ in range(5)]
    pids = [it.pid for it in commands]
    for it in commands:
        it.close()
    assert [pid for pid in pids if os.path.exists(f'/proc/{pid}')] == []


def test_a_dropped_command_warns_and_leaves_no_zombie():
    it = qio.command(['cat'])
    pid = it.pid
    pidfd = os.pidfd_open(pid)
    with pytest.warns(ResourceWarning, match='unclosed'):
        del it
    assert select.select([pidfd], [], [], PATIENCE)[0]      # its input has ended, so cat has
    os.close(pidfd)
    qio.command(['true']).close()                           # collects its status
    assert not os.path.exists(f'/proc/{pid}')


def test_a_child_reaped_by_somebody_else_has_no_known_status():
    with qio.command(['true']) as it:
        os.waitpid(it.pid, 0)
        with pytest.raises(ChildProcessError):
            it.wait_exit(timeout=PATIENCE)
        with pytest.raises(qio.ChildProcessError):
            it.returncode
        it.kill()


def test_an_exit_does_not_wait_for_who_keeps_the_output_open():
    """A grandchild holds the pipe; the child itself has ended."""
    with shell('sleep 1000 & echo $!', close_timeout=0) as it:
        grandchild = int(it.readline())
        try:
            assert it.wait_exit(timeout=PATIENCE) == 0
        finally:
            os.kill(grandchild, signal.SIGKILL)


# ---- signals to us ----

def test_ctrl_c_ends_wait_exit_and_the_child_runs_on():
    with qio.command(['cat']) as it:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            it.wait_exit(timeout=PATIENCE)
        timer.join()
        assert it.returncode is None
        it.send_eof()
        assert it.wait_exit(timeout=PATIENCE) == 0


def test_another_signal_is_handled_and_wait_exit_goes_on():
    seen = []
    with qio.command(['cat']) as it:

        def on_signal(number, frame):
            seen.append(number)
            it.send_eof()

        before = signal.signal(signal.SIGUSR1, on_signal)
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            assert it.wait_exit(timeout=PATIENCE) == 0
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_a_hundred_commands_in_turn_leave_nothing():
    for _ in range(100):
        with qio.command(['true']) as it:
            assert it.wait_exit() == 0


# ---- on a terminal ----

def test_a_command_may_have_a_terminal_of_its_own():
    script = '[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && exec 3<>/dev/tty && stty size'
    assert output(shell(script, pty=True, size=(33, 101))) == b'33 101\r\n'
    assert output(shell('[ -t 0 ] || echo none')) == b'none\n'


def test_a_terminal_echoes_and_learns_of_the_end():
    with shell('read line; echo "got $line"; cat; echo end', pty=True) as it:
        it.write(b'hello\n')
        assert it.read_until(b'got hello\r\n', timeout=PATIENCE) == b'hello\r\ngot hello\r\n'
        it.send_eof()
        assert it.read(timeout=PATIENCE).endswith(b'end\r\n')
        assert it.wait_exit(timeout=PATIENCE) == 0


def test_closing_a_terminal_hangs_up():
    it = shell('echo ready; exec sleep 1000', pty=True)
    assert it.readline(timeout=PATIENCE) == b'ready\r\n'
    it.close()
    assert it.returncode == -signal.SIGHUP


def test_a_control_character_is_a_signal_on_a_terminal():
    with shell('trap "echo stopped; exit 3" INT; echo ready; while :; do read x; done',
               pty=True) as it:
        assert it.readline(timeout=PATIENCE) == b'ready\r\n'
        it.write(b'\x03')
        assert it.read(timeout=PATIENCE).endswith(b'stopped\r\n')
        assert it.wait_exit(timeout=PATIENCE) == 3


@pytest.mark.parametrize('options, error', [
    ({'pty': 1}, TypeError), ({'pty': True, 'size': 5}, TypeError),
    ({'pty': True, 'size': (1, 2, 3)}, TypeError), ({'pty': True, 'size': (-1, 2)}, ValueError),
    ({'size': (1, 2)}, ValueError),
])
def test_what_is_no_terminal_is_refused(options, error):
    with pytest.raises(error):
        qio.command(['true'], **options)
