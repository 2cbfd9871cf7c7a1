# SPDX-License-Identifier: LGPL-2.1-or-later
"""The gates of conftest.py are held to their word with planted failures."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
PLANTED = {
    'clean': ('passed', '''
        def test_it():
            pass
    '''),
    'fd_leak': ('descriptors left open', '''
        import os
        def test_it():
            os.open('/dev/null', os.O_RDONLY)
    '''),
    'fd_closed': ('gone: {', '''
        import os
        fd = os.open('/dev/null', os.O_RDONLY)
        def test_it():
            os.close(fd)
    '''),
    'fd_replaced': ('descriptors left open', '''
        import os
        fd = os.open('/dev/null', os.O_RDONLY)
        def test_it():
            other = os.open('/dev/zero', os.O_RDONLY)
            os.dup2(other, fd)
            os.close(other)
    '''),
    'child_left': ('child processes left', '''
        import os
        import signal
        def test_it():
            if os.fork() == 0:
                os._exit(0)
    '''),
    'hang': ('Timeout', '''
        import pytest, threading
        @pytest.mark.timeout(1)
        def test_it():
            threading.Event().wait()
    '''),
    'warning': ('ResourceWarning', '''
        def test_it():
            open('/dev/null')
    '''),
    'skip': ('skipped, which CI does not allow', '''
        import pytest
        def test_it():
            pytest.skip('no reason')
    '''),
    'skip_of_a_module': ('skipped, which CI does not allow', '''
        import pytest
        pytest.importorskip('no_such_module')
    '''),
    'missing_tool': ('not installed: no-such-tool', '''
        import pytest
        @pytest.mark.needs('sh', 'no-such-tool')
        def test_it():
            pass
    '''),
    'unknown_mark': ('not found in `markers`', '''
        import pytest
        @pytest.mark.no_such_mark
        def test_it():
            pass
    '''),
}


def run_planted(tmp_path, text, **env):
    (tmp_path / 'conftest.py').write_text((HERE / 'conftest.py').read_text())
    lines = text.split('\n')
    (tmp_path / 'test_planted.py').write_text('\n'.join(line[8:] for line in lines))
    return subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider',
         '-c', str(HERE.parent.parent / 'pytest.ini'), '--rootdir', str(tmp_path), str(tmp_path)],
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=50, check=False)


@pytest.mark.parametrize('name', PLANTED)
def test_gate(name, tmp_path):
    expected, text = PLANTED[name]
    done = run_planted(tmp_path, text, CI='true')
    assert expected in done.stdout, done.stdout + done.stderr
    assert (done.returncode == 0) == (name == 'clean'), done.stdout


@pytest.mark.parametrize('name', ['skip', 'missing_tool'])
def test_skip_is_allowed_outside_ci(name, tmp_path):
    done = run_planted(tmp_path, PLANTED[name][1], CI='')
    assert '1 skipped' in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
