# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random calls of every function of the flat ABI (abi_random.py), each seed in a process of its
own; the millions are test-handle.c's, with fewer functions."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CALLS = 50000


@pytest.mark.conformance
@pytest.mark.parametrize('seed', range(4))
def test_random_calls_do_no_harm(seed, tmp_path):
    done = subprocess.run(
        [HERE.parent.parent / 'run', sys.executable, HERE / 'abi_random.py', str(seed), str(CALLS), tmp_path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f'seed {seed}: {done.stdout}{done.stderr}'
    assert f'{CALLS} calls' in done.stdout
