# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction budgets of the Python module: what a call costs, counted, never timed.

User-space instructions under callgrind, down to the libc wrappers of the system calls, less
those of an empty loop.  The counts hardly vary; who goes over one looks for what was added to
the path, and raises it only with a reason in the commit.
"""

import os
import re
import subprocess
import sys

import pytest

FEW, MANY = 2000, 8000

PROGRAM = '''
import sys
import qio

a, b = qio.pair()

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

globals()[sys.argv[1]](int(sys.argv[2]))
a.close()
b.close()
'''


def instructions(case, n):
    environment = {**os.environ, 'PYTHONHASHSEED': '0', 'PYTHONMALLOC': 'pymalloc'}
    err = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
                          sys.executable, '-c', PROGRAM, case, str(n)], env=environment,
                         check=True, stderr=subprocess.PIPE, text=True, timeout=100).stderr
    return int(re.search(r'Collected : (\d+)', err)[1])


def each(case):
    return (instructions(case, MANY) - instructions(case, FEW)) / (MANY - FEW)


@pytest.fixture(scope='module')
def empty():
    return each('empty')


@pytest.mark.timeout(300)
@pytest.mark.needs('valgrind')
@pytest.mark.parametrize('case, budget', [
    ('noop', 480),
    ('message', 1000),
    ('message_by_bound_methods', 900),
    ('line', 3600),
    ('method', 5500),
])
def test_a_call_stays_within_its_budget(empty, case, budget):
    count = each(case) - empty
    print(f'{case}: {count:.0f} instructions, budget {budget}')
    assert count <= budget
