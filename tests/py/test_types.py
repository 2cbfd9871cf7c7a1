# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package and programs that use it, as type checkers see them.

typed/programs.py is run as well, so that what it says of types is said of what happens.  The
checker's cache is in the build folder: a second run is quick.
"""

import pathlib
import subprocess
import sys

import pytest

import qio
from flat import BUILD

PACKAGE = pathlib.Path(qio.__file__).parent
PROGRAMS = sorted((pathlib.Path(__file__).parent / 'typed').glob('*.py'))
pytestmark = pytest.mark.needs('mypy')


def run(*command):
    environment = {'PATH': '/usr/bin:/bin', 'PYTHONPATH': str(PACKAGE.parent),
                   'MYPYPATH': str(PACKAGE.parent)}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=55, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mypy(*arguments):
    return run(sys.executable, '-m', 'mypy', '--strict', '--cache-dir', BUILD / 'mypy', *arguments)


def test_the_package_is_well_typed():
    checked = mypy('-p', 'qio').split()
    assert int(checked[checked.index('source') - 1]) == len([
        path for path in PACKAGE.iterdir() if path.suffix in ('.py', '.pyi')])


def test_the_package_is_well_typed_for_the_oldest_python():
    mypy('--python-version', '3.9', '-p', 'qio')


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda path: path.stem)
def test_programs_are_well_typed_and_mistakes_are_found(program):
    mypy(program)


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda path: path.stem)
def test_programs_do_what_their_types_say(program):
    run(sys.executable, '-X', 'dev', '-W', 'error', program)


def test_the_stub_of_the_module_is_what_the_module_is(tmp_path):
    """The numbers of the ABI that the package does not use are not in the stub."""
    allowed = tmp_path / 'allowed'
    allowed.write_text(r'qio\._qio\.QIOH_[A-Z_]+' + '\n', encoding='ascii')
    run(sys.executable, '-m', 'mypy.stubtest', 'qio._qio', '--allowlist', allowed)
