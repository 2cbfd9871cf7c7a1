# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for every Python test: nothing left open, nothing left running, nothing skipped in CI.

Run the suite with `./run /usr/bin/python3 -m pytest tests/py` (or `./test python`), which sets
the paths that `import qio` needs.
"""

import gc
import os
import shutil

import pytest

IN_CI = os.environ.get('CI') == 'true'

# Servers such as nginx are in the administrator's folder, which not everybody has on the path.
os.environ['PATH'] += os.pathsep + '/usr/sbin'


def pytest_configure(config):
    """A sanitizer's library that ./run put in front is for the processes that run tests; programs
    that tests start do without it (one that needs it is started with ./run, which has QIO_PRELOAD).
    """
    if not getattr(config.option, 'numprocesses', None):      # else this one only starts workers
        os.environ.pop('LD_PRELOAD', None)


def open_fds():
    """{number: what it is} of this process, such as {5: 'socket:[1234]'}."""
    fds = {}
    for name in os.listdir('/proc/self/fd'):
        try:
            fds[int(name)] = os.readlink(f'/proc/self/fd/{name}')
        except FileNotFoundError:
            pass            # the one that listdir had
    return fds


def children():
    """The pids of child processes, running or not yet waited for."""
    pids = set()
    for task in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{task}/children', encoding='ascii') as file:
                pids.update(int(pid) for pid in file.read().split())
        except FileNotFoundError:
            pass            # a thread that has ended meanwhile
    return pids


@pytest.fixture(scope='session', autouse=True)
def _warm_up():
    """Fills the caches that live as long as the process, so that they are no leak of a test."""
    import qio

    a, b = qio.pair()
    with a, b:
        a.write(b'x')
        b.read(1)
        b.wait(qio.IN, timeout=0.001)
        loop = qio.Loop()
        loop.run_once(0)
    del a, b, loop
    gc.collect()


@pytest.fixture(scope='module', autouse=True)
def _collect():
    """Tests that count handles are not to count what an earlier module left to the collector."""
    gc.collect()


@pytest.fixture(scope='session')
def pki(tmp_path_factory):
    """Certificates, keys and a PSK file: see pki.py."""
    if shutil.which('certtool') is None:
        pytest.skip('not installed: certtool')
    from pki import Pki

    return Pki(tmp_path_factory.mktemp('pki'))


def _left(fds_before, children_before):
    """What is there that was not, or is gone that was, in words; empty when nothing is."""
    fds = open_fds()
    left = children() - children_before
    gone = {fd: what for fd, what in fds_before.items() if fds.get(fd) != what}
    new = {fd: what for fd, what in fds.items() if fds_before.get(fd) != what}
    words = []
    if new or gone:
        words.append(f'descriptors left open: {new}; gone: {gone}')
    if left:
        words.append(f'child processes left: {left}')
    return ', '.join(words)


@pytest.fixture(autouse=True)
def _nothing_left():
    """Compares what the descriptors are, not how many: one may have taken another's number."""
    before = open_fds(), children()
    yield
    if _left(*before):
        gc.collect()        # an unfinished cycle is no leak; collecting always would be slow
        left = _left(*before)
        assert not left, left


def pytest_runtest_setup(item):
    for mark in item.iter_markers('needs'):
        missing = [tool for tool in mark.args if shutil.which(tool) is None]
        if missing:
            pytest.skip(f'not installed: {", ".join(missing)}')


def _forbid_skip(report):
    """In CI everything is installed (scripts/dependencies): a skip means a lost test."""
    if IN_CI and report.skipped and not hasattr(report, 'wasxfail'):
        report.outcome = 'failed'
        report.longrepr = f'skipped, which CI does not allow: {report.longrepr}'


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    _forbid_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    outcome = yield
    _forbid_skip(outcome.get_result())
