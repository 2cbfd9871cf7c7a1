# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction budgets of the Python module: what a call costs, counted, never timed.

User-space instructions under callgrind, down to the libc wrappers of the system calls, less
those of an empty loop.  The counts hardly vary; who goes over one looks for what was added to
the path, and raises it only with a reason in the commit.  The interpreter starts once, which
takes longest under callgrind: each count is a forked child's.
"""

import os
import re
import subprocess
import sys

import pytest

FEW, MANY = 2000, 8000

PROGRAM = '''
import os
import sys
import qio

def empty(n):
    for _ in range(n):
        pass

def noop(n):
    for _ in range(n):
        a.getblocking()

def message(n):
    buf = bytearray(1)
    for _ in range(n):
        a.write(b'x')
        b.readinto(buf)

def message_by_bound_methods(n):
    buf = bytearray(1)
    write, readinto = a.write, b.readinto
    for _ in range(n):
        write(b'x')
        readinto(buf)

def line(n):
    for _ in range(n):
        a.write(b'x\\n')
        b.readline()

class Written(qio.CustomChannel):
    def readinto(self, b):
        return 1

    def write(self, b):
        return len(b)

def method(n):
    written = Written()
    buf = bytearray(1)
    for _ in range(n):
        written.write(b'x')
        written.readinto(buf)

for case in sys.argv[1].split():
    for n in map(int, sys.argv[2:]):
        child = os.fork()
        if child == 0:
            a, b = qio.pair()
            globals()[case](n)
            os._exit(0)
        os.waitpid(child, 0)
        print(case, n, child, flush=True)
'''
BUDGETS = {
    'noop': 480,
    'message': 1000,
    'message_by_bound_methods': 900,
    'line': 3600,
    'method': 5500,
}


@pytest.fixture(scope='module')
def each():
    """Instructions of one round of each case."""
    environment = {**os.environ, 'PYTHONHASHSEED': '0', 'PYTHONMALLOC': 'pymalloc'}
    done = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
                           sys.executable, '-c', PROGRAM, ' '.join(['empty', *BUDGETS]),
                           str(FEW), str(MANY)], env=environment, check=True,
                          capture_output=True, text=True, timeout=250)
    counts = {}
    for line in done.stdout.splitlines():
        case, n, pid = line.split()
        counts[case, int(n)] = int(re.search(rf'=={pid}== Collected : (\d+)', done.stderr)[1])
    return {case: (counts[case, MANY] - counts[case, FEW]) / (MANY - FEW)
            for case in ['empty', *BUDGETS]}


@pytest.mark.timeout(300)
@pytest.mark.needs('valgrind')
@pytest.mark.parametrize('case', BUDGETS)
def test_a_call_stays_within_its_budget(each, case):
    count = each[case] - each['empty']
    print(f'{case}: {count:.0f} instructions, budget {BUDGETS[case]}')
    assert count <= BUDGETS[case]
